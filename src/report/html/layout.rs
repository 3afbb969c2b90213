//! Where the items of the pyramid stand, and the ways of the lines between them.
//!
//! Each level is ordered by where that stands which its items depend on, and which depends on them: crossings are reduced
//! layer by layer with barycentres (Sugiyama, Tagawa and Toda, 1981). A level that is too long for a line is filled
//! column by column, so that neighbours stay neighbours, and lines go between the columns, never behind a box. What
//! has no lines at all stands below the rest, where it is in nobody's way. The same items come to the same places.

use super::pyramid::{BETWEEN_LEVELS, BOX, COLUMNS, GAP, MARGIN, WIDTH};

/// An item, as far as its place depends on it.
pub struct Item<'a> {
    pub level: u32,
    /// Positions of items of lower levels.
    pub deps: &'a [usize],
}

/// Places are those of the left upper corners of boxes.
pub struct Layout {
    pub places: Vec<(i64, i64)>,
    pub height: i64,
    floors: Vec<Floor>,
    /// Which of the floors each item stands on, and in which row and column of it.
    stands: Vec<(usize, usize, usize)>,
}

/// A level, as it is drawn.
struct Floor {
    items: Vec<usize>,
    rows: usize,
    /// The left edge of each column.
    columns: Vec<i64>,
    /// The upper edge of the first row.
    top: i64,
}

/// Up and down so many times: more change little.
const SWEEPS: usize = 12;

/// From column to column.
const STEP: i64 = BOX.0 + GAP.0;

/// So many lines from different items go beside each other between two columns.
const LANES: usize = 5;

/// A line that passes more floors than these goes straight, behind whatever is there: each costs the page some bytes.
const MOST_PASSED: usize = 50;

impl Layout {
    /// Places for `items`, the target above them at the height `target_bottom`.
    pub fn of(items: &[Item<'_>], target_bottom: i64) -> Self {
        let neighbours = Neighbours::of(items);
        let mut layout = Self {
            places: vec![(0, 0); items.len()],
            height: 0,
            floors: ordered(items, &neighbours).into_iter().map(Floor::new).collect(),
            stands: vec![(0, 0, 0); items.len()],
        };
        for (at, floor) in layout.floors.iter().enumerate() {
            for (nth, item) in floor.items.iter().enumerate() {
                layout.stands[*item] = (at, nth % floor.rows, nth / floor.rows);
            }
        }
        layout.shift_columns(&neighbours);
        let mut y = target_bottom;
        for floor in layout.floors.iter_mut().rev() {
            floor.top = y + BETWEEN_LEVELS;
            y = floor.row_top(floor.rows - 1) + BOX.1;
        }
        layout.height = y + MARGIN;
        for (item, (floor, row, column)) in layout.stands.iter().enumerate() {
            let floor = &layout.floors[*floor];
            layout.places[item] = (floor.columns[*column], floor.row_top(*row));
        }
        layout
    }

    /// Columns come as near to what they have lines to as the others of their floor let them.
    fn shift_columns(&mut self, neighbours: &Neighbours) {
        for _ in 0..SWEEPS {
            for at in 0..self.floors.len() {
                let floor = &self.floors[at];
                let wished: Vec<f64> = (0..floor.columns.len())
                    .map(|column| {
                        let members = floor.items.iter().skip(column * floor.rows).take(floor.rows);
                        let others = members.flat_map(|item| neighbours.all(*item));
                        let others = others.map(|other| {
                            let (floor, _, column) = self.stands[other];
                            self.floors[floor].columns[column] as f64
                        });
                        mean(others).unwrap_or(floor.columns[column] as f64)
                    })
                    .collect();
                self.floors[at].columns = apart(&wished);
            }
        }
    }

    /// A colour of `hues` for the lines that begin at an item: neighbours have different ones.
    pub fn hue(&self, item: usize, hues: usize) -> usize {
        let (floor, row, column) = self.stands[item];
        (floor + 2 * row + column) % hues
    }

    /// The way of a line from the upper edge of one box to the lower edge of another that stands higher, as points: every
    /// second stretch, from the second point on, goes straight up between two columns.
    pub fn way(&self, from: usize, to: usize) -> Vec<(i64, i64)> {
        let middle = |item: usize| self.places[item].0 + BOX.0 / 2;
        let ((low, low_row, _), (high, high_row, _)) = (self.stands[from], self.stands[to]);
        let (start, end) = ((middle(from), self.places[from].1), (middle(to), self.places[to].1 + BOX.1));
        // Lines from one item go one way as long as they can, and those of others beside it.
        let aside = 2 * ((from % LANES) as i64 - (LANES / 2) as i64);
        let mut way = vec![start];
        let mut pass = |floor: &Floor, lower: i64, upper: i64, wished: i64| {
            let lane = floor.lane(wished) + aside;
            way.extend([(lane, lower), (lane, upper)]);
        };
        let nearer = |of: i64, than: i64| of + (than - of).signum() * (STEP / 2);
        if low_row > 0 {
            pass(&self.floors[low], start.1 - GAP.1, self.floors[low].top, nearer(start.0, end.0));
        }
        let passed = &self.floors[low + 1..high];
        for floor in passed.iter().filter(|_| passed.len() <= MOST_PASSED) {
            let wished = start.0 + (end.0 - start.0) * (start.1 - floor.top) / (start.1 - end.1).max(1);
            pass(floor, floor.bottom(), floor.top, wished);
        }
        let floor = &self.floors[high];
        if high_row + 1 < floor.rows {
            pass(floor, floor.bottom(), end.1 + GAP.1, nearer(end.0, start.0));
        }
        way.push(end);
        way
    }
}

impl Floor {
    /// In the middle, for the time being.
    fn new(items: Vec<usize>) -> Self {
        let rows = items.len().div_ceil(COLUMNS).max(1);
        let columns = items.len().div_ceil(rows);
        let left = (WIDTH - columns as i64 * STEP + GAP.0) / 2;
        Self { items, rows, columns: (0..columns).map(|column| left + column as i64 * STEP).collect(), top: 0 }
    }

    fn row_top(&self, row: usize) -> i64 {
        self.top + row as i64 * (BOX.1 + GAP.1)
    }

    fn bottom(&self) -> i64 {
        self.row_top(self.rows - 1) + BOX.1
    }

    /// Where nothing stands, as near to `wished` as may be.
    fn lane(&self, wished: i64) -> i64 {
        let sides = self.columns.iter().flat_map(|left| [left - GAP.0 / 2, left + BOX.0 + GAP.0 / 2]);
        let blocked = self.columns.iter().any(|left| (left - GAP.0 / 2..left + BOX.0 + GAP.0 / 2).contains(&wished));
        if blocked { sides.min_by_key(|side| (side - wished).abs()).unwrap_or(wished) } else { wished }
    }
}

/// Who has lines to whom.
struct Neighbours {
    below: Vec<Vec<usize>>,
    above: Vec<Vec<usize>>,
}

impl Neighbours {
    fn of(items: &[Item<'_>]) -> Self {
        let mut neighbours = Self { below: vec![Vec::new(); items.len()], above: vec![Vec::new(); items.len()] };
        for (at, item) in items.iter().enumerate() {
            for dep in item.deps {
                neighbours.below[at].push(*dep);
                neighbours.above[*dep].push(at);
            }
        }
        neighbours
    }

    fn all(&self, item: usize) -> impl Iterator<Item = usize> {
        self.below[item].iter().chain(&self.above[item]).copied()
    }
}

/// The floors from the bottom up, each in its order: what has no lines by itself, then the levels.
fn ordered(items: &[Item<'_>], neighbours: &Neighbours) -> Vec<Vec<usize>> {
    let mut alone = Vec::new();
    let mut levels: Vec<Vec<usize>> = Vec::new();
    // What hangs together begins side by side.
    for at in together(neighbours) {
        let level = items[at].level as usize;
        if level == 0 && neighbours.all(at).next().is_none() {
            alone.push(at);
            continue;
        }
        levels.resize(levels.len().max(level + 1), Vec::new());
        levels[level].push(at);
    }
    alone.sort_unstable();
    // Within its level, from 0 to 1.
    let mut position = vec![0.5; items.len()];
    let mut settle = |level: &mut Vec<usize>, wished: Option<&[Vec<usize>]>| {
        if let Some(others) = wished {
            let of = |at: &usize| mean(others[*at].iter().map(|other| position[*other])).unwrap_or(position[*at]);
            let wishes: std::collections::HashMap<usize, f64> = level.iter().map(|at| (*at, of(at))).collect();
            // Stable: where two wish the same, they stay as they are.
            level.sort_by(|left, right| wishes[left].total_cmp(&wishes[right]));
        }
        for (nth, at) in level.iter().enumerate() {
            position[*at] = (nth as f64 + 0.5) / level.len() as f64;
        }
    };
    levels.iter_mut().for_each(|level| settle(level, None));
    for _ in 0..SWEEPS {
        levels.iter_mut().rev().for_each(|level| settle(level, Some(&neighbours.above)));
        levels.iter_mut().for_each(|level| settle(level, Some(&neighbours.below)));
    }
    std::iter::once(alone).chain(levels).filter(|floor| !floor.is_empty()).collect()
}

/// All items, those that hang together one after another.
fn together(neighbours: &Neighbours) -> Vec<usize> {
    let mut seen = vec![false; neighbours.below.len()];
    let mut order = Vec::with_capacity(seen.len());
    for first in 0..seen.len() {
        let mut open = vec![first];
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut seen[at], true) {
                order.push(at);
                open.extend(neighbours.all(at).filter(|other| !seen[*other]));
            }
        }
    }
    order
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, number) = values.fold((0.0, 0_u32), |(sum, number), value| (sum + value, number + 1));
    (number > 0).then(|| sum / f64::from(number))
}

/// The left edges nearest to those wished for, in squares, that leave every column its room, in the order given: isotonic
/// regression by pooling neighbours that are too near (pool adjacent violators).
fn apart(wished: &[f64]) -> Vec<i64> {
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (at, wish) in wished.iter().enumerate() {
        let mut pool = (wish - at as f64 * STEP as f64, 1);
        while let Some(before) = pools.pop_if(|before| before.0 > pool.0) {
            let number = before.1 + pool.1;
            pool = ((before.0 * before.1 as f64 + pool.0 * pool.1 as f64) / number as f64, number);
        }
        pools.push(pool);
    }
    let rightmost = (WIDTH - MARGIN - BOX.0 - (wished.len() as i64 - 1) * STEP).max(MARGIN);
    let pooled = pools.into_iter().flat_map(|(left, number)| std::iter::repeat_n(left, number));
    pooled.enumerate().map(|(at, left)| (left.round() as i64).clamp(MARGIN, rightmost) + at as i64 * STEP).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Point = (i64, i64);

    /// Stacks of one to six items, some of which need an item of another stack as well, in an order that says nothing of
    /// that: a level and dependencies each.
    fn stacks(number: usize) -> Vec<(u32, Vec<usize>)> {
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut items: Vec<(u32, Vec<usize>)> = Vec::new();
        while items.len() < number {
            for nth in 0..(1 + random(6)).min(number - items.len()) {
                let mut deps: Vec<usize> = (nth > 0).then(|| items.len() - 1).into_iter().collect();
                if !items.is_empty() && random(5) == 0 {
                    deps.push(random(items.len()));
                }
                deps.sort_unstable();
                deps.dedup();
                let level = deps.iter().map(|dep| items[*dep].0 + 1).max().unwrap_or(0);
                items.push((level, deps));
            }
        }
        let mut order: Vec<usize> = (0..number).collect();
        (1..number).rev().for_each(|at| order.swap(at, random(at + 1)));
        let mut shuffled = vec![(0, Vec::new()); number];
        for (old, (level, deps)) in items.into_iter().enumerate() {
            shuffled[order[old]] = (level, deps.iter().map(|dep| order[*dep]).collect());
        }
        shuffled
    }

    fn layout(items: &[(u32, Vec<usize>)]) -> Layout {
        let items: Vec<Item<'_>> = items.iter().map(|(level, deps)| Item { level: *level, deps }).collect();
        Layout::of(&items, MARGIN + BOX.1)
    }

    fn edges(items: &[(u32, Vec<usize>)]) -> Vec<(usize, usize)> {
        items.iter().enumerate().flat_map(|(at, (_, deps))| deps.iter().map(move |dep| (*dep, at))).collect()
    }

    /// The picture that this is held against: each level ordered once, from below, and filled line by line, and lines
    /// straight from box to box.
    fn line_by_line(items: &[(u32, Vec<usize>)]) -> Vec<Vec<Point>> {
        let mut places = vec![(0, 0); items.len()];
        let mut y = 0;
        for level in 0..=items.iter().map(|item| item.0).max().unwrap_or(0) {
            let mut members: Vec<usize> = (0..items.len()).filter(|at| items[*at].0 == level).collect();
            let wished = |at: &usize| mean(items[*at].1.iter().map(|dep| places[*dep].0 as f64)).unwrap_or(0.0);
            members.sort_by(|left, right| wished(left).total_cmp(&wished(right)));
            let lines = members.len().div_ceil(COLUMNS).max(1);
            for line in members.chunks(members.len().div_ceil(lines).max(1)) {
                y -= BOX.1 + GAP.1;
                let left = (WIDTH - line.len() as i64 * STEP) / 2;
                line.iter().enumerate().for_each(|(nth, at)| places[*at] = (left + nth as i64 * STEP, y));
            }
            y -= BETWEEN_LEVELS;
        }
        edges(items).iter().map(|(from, to)| vec![places[*from], places[*to]]).collect()
    }

    /// How often ways cross, those that begin or end at the same point left out.
    fn crossings(ways: &[Vec<Point>]) -> usize {
        let side = |a: Point, b: Point, c: Point| ((b.0 - a.0) * (c.1 - a.1) - (b.1 - a.1) * (c.0 - a.0)).signum();
        let cross = |a: &[Point], b: &[Point]| {
            side(a[0], a[1], b[0]) * side(a[0], a[1], b[1]) < 0 && side(b[0], b[1], a[0]) * side(b[0], b[1], a[1]) < 0
        };
        let mut number = 0;
        for (at, way) in ways.iter().enumerate() {
            for other in ways[..at].iter().filter(|other| other[0] != way[0] && other.last() != way.last()) {
                number += way.windows(2).map(|a| other.windows(2).filter(|b| cross(a, b)).count()).sum::<usize>();
            }
        }
        number
    }

    #[test]
    fn lines_cross_at_most_half_as_often_as_where_levels_are_ordered_once_and_filled_line_by_line() {
        for number in [60, 300] {
            let items = stacks(number);
            let layout = layout(&items);
            let straight: Vec<Vec<Point>> =
                edges(&items).iter().map(|(from, to)| vec![layout.places[*from], layout.places[*to]]).collect();
            let ways: Vec<Vec<Point>> = edges(&items).iter().map(|(from, to)| layout.way(*from, *to)).collect();
            let (before, after, drawn) = (crossings(&line_by_line(&items)), crossings(&straight), crossings(&ways));
            assert!(2 * after.max(drawn) <= before, "{number} items: {before} before, {after} after, {drawn} as drawn");
        }
    }

    #[test]
    fn no_line_passes_behind_a_box_no_two_boxes_meet_and_all_of_it_is_in_the_picture() {
        for items in [stacks(60), stacks(300), stacks(1), vec![(0, Vec::new()); 20]] {
            let layout = layout(&items);
            for (at, (x, y)) in layout.places.iter().enumerate() {
                let inside = *x >= 0 && x + BOX.0 <= WIDTH && *y > MARGIN + BOX.1 && y + BOX.1 <= layout.height;
                assert!(inside, "{at} is at {x} {y}");
                let meets = |(ox, oy): &Point| (x - ox).abs() < BOX.0 && (y - oy).abs() < BOX.1;
                assert_eq!(layout.places.iter().filter(|other| meets(other)).count(), 1, "{at} is met");
            }
            for (from, to) in edges(&items) {
                let way = layout.way(from, to);
                assert!(way.windows(2).all(|stretch| stretch[1].1 <= stretch[0].1), "down again: {way:?}");
                for stretch in way.windows(2) {
                    let [a, b] = [stretch[0], stretch[1]];
                    // A curve stays between its ends.
                    let behind =
                        |(x, y): &Point| a.0.max(b.0) > *x && a.0.min(b.0) < x + BOX.0 && a.1 > *y && b.1 < y + BOX.1;
                    assert!(!layout.places.iter().any(behind), "{from} to {to}: {way:?}");
                    assert!(a.0 > 0 && a.0 < WIDTH, "out of the picture: {way:?}");
                }
            }
        }
    }

    #[test]
    fn a_stack_stands_straight_and_what_has_no_lines_stands_below_all() {
        let layout = layout(&[(0, vec![]), (0, vec![]), (1, vec![1]), (0, vec![]), (2, vec![2])]);
        let columns = [1, 2, 4].map(|at| layout.places[at].0);
        assert_eq!(columns, [columns[0]; 3]);
        assert!(layout.places[0].1 > layout.places[1].1 && layout.places[0].1 == layout.places[3].1);
    }
}
