//! Which builds are most likely to be of use: for [`super::submit_queue`]. A build tests an item under one
//! assumption for each undecided item that it conflicts with directly; how likely all of them come true is
//! the product of their probabilities, and its cost the negative logarithm of that, the lower the better.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// In millionths of a nat: whole numbers, so that the order of two builds is the same on any machine.
pub type Cost = u64;

const NAT: f64 = 1e6;

/// What it costs to assume that an item lands, and that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Odds {
    pub lands: Cost,
    pub fails: Cost,
}

impl Odds {
    /// Nothing is held to be impossible, or no build that needs it would ever be chosen.
    pub fn of(chance_to_land: f64) -> Self {
        let chance = chance_to_land.clamp(0.001, 0.999);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 7 nats")]
        let cost = |of: f64| (-of.ln() * NAT).round() as Cost;
        Self { lands: cost(chance), fails: cost(1.0 - chance) }
    }

    pub fn of_assuming(self, lands: bool) -> Cost {
        if lands { self.lands } else { self.fails }
    }

    pub fn is_likely(self) -> bool {
        self.lands <= self.fails
    }

    pub fn least(self) -> Cost {
        self.lands.min(self.fails)
    }
}

/// An item and what is assumed of its conflicts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    pub cost: Cost,
    pub item: usize,
    /// Those of its undecided conflicts that are assumed to land, ascending; the others are assumed not to.
    pub landing: Vec<usize>,
}

/// All paths of one item: the likeliest, and what it costs to flip each of its assumptions, cheapest first.
#[derive(Debug)]
struct Assumptions {
    item: usize,
    conflicts: Vec<(usize, Odds)>,
    least: Cost,
    /// The further cost, and which conflict.
    flips: Vec<(Cost, usize)>,
}

impl Assumptions {
    fn of(item: usize, conflicts: Vec<(usize, Odds)>) -> Self {
        let least = conflicts.iter().map(|(_, odds)| odds.least()).sum();
        let further = |odds: &Odds| odds.lands.abs_diff(odds.fails);
        let mut flips: Vec<_> = conflicts.iter().enumerate().map(|(at, (_, odds))| (further(odds), at)).collect();
        flips.sort_unstable();
        Self { item, conflicts, least, flips }
    }

    fn path(&self, cost: Cost, flipped: &[usize]) -> Path {
        let mut lands: Vec<bool> = self.conflicts.iter().map(|(_, odds)| odds.is_likely()).collect();
        for flip in flipped {
            lands[self.flips[*flip].1] ^= true;
        }
        let landing = self.conflicts.iter().zip(lands).filter(|(_, lands)| *lands).map(|((item, _), _)| *item);
        Path { cost, item: self.item, landing: landing.collect() }
    }
}

/// The `wanted` cheapest paths of all items that are not `had` already, cheapest first. `items` come in the
/// order of their cheapest paths, and no more of them are looked at than needed.
///
/// The subsets of an item's flips come in the order of what they cost, each once, as each is made from a
/// cheaper one: by one flip more, the next after its last, or by that one instead of its last.
pub fn cheapest_paths(
    items: impl Iterator<Item = usize>,
    conflicts: impl Fn(usize) -> Vec<(usize, Odds)>,
    wanted: usize,
    had: impl Fn(&Path) -> bool,
) -> Vec<Path> {
    let mut coming = items.map(|item| Assumptions::of(item, conflicts(item))).peekable();
    let mut known: Vec<Assumptions> = Vec::new();
    // Cost, which of the known, and its flips.
    let mut heap: BinaryHeap<Reverse<(Cost, usize, Vec<usize>)>> = BinaryHeap::new();
    let mut chosen = Vec::new();
    while chosen.len() < wanted {
        let cheapest = heap.peek().map_or(Cost::MAX, |Reverse((cost, ..))| *cost);
        if let Some(next) = coming.next_if(|next| next.least < cheapest || heap.is_empty()) {
            heap.push(Reverse((next.least, known.len(), Vec::new())));
            known.push(next);
            continue;
        }
        let Some(Reverse((cost, of, flipped))) = heap.pop() else { break };
        let assumptions = &known[of];
        let next = flipped.last().map_or(0, |last| last + 1);
        if let Some((further, _)) = assumptions.flips.get(next) {
            heap.push(Reverse((cost + further, of, [flipped.as_slice(), &[next]].concat())));
            if let Some((last, before)) = flipped.split_last() {
                let without = cost - assumptions.flips[*last].0;
                heap.push(Reverse((without + further, of, [before, &[next]].concat())));
            }
        }
        let path = assumptions.path(cost, &flipped);
        if !had(&path) {
            chosen.push(path);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_cheapest_first_each_once_and_all_of_them() {
        let chances = [0.95, 0.2, 0.5, 0.9];
        let conflicts = |item: usize| (0..item).map(|other| (other, Odds::of(chances[other]))).collect();
        let all = cheapest_paths(0..5, conflicts, usize::MAX, |_| false);
        assert_eq!(all.len(), 1 + 2 + 4 + 8 + 16);
        assert!(all.is_sorted_by_key(|path| path.cost));
        for path in &all {
            let odds = (0..path.item).map(|other| Odds::of(chances[other]).of_assuming(path.landing.contains(&other)));
            assert_eq!(path.cost, odds.sum::<Cost>());
        }
        let mut distinct = all.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(cheapest_paths(0..5, conflicts, 3, |_| false), all[..3]);
        assert_eq!(cheapest_paths(0..5, conflicts, 3, |path| path.item < 2), {
            let later = all.iter().filter(|path| path.item >= 2).cloned();
            later.take(3).collect::<Vec<_>>()
        });
    }

    #[test]
    fn no_more_items_are_looked_at_than_needed() {
        let endless = (0..).inspect(|item| assert!(*item < 20, "{item} cannot be among the five cheapest"));
        let conflicts = |item: usize| (0..item).map(|other| (other, Odds::of(0.9))).collect();
        assert_eq!(cheapest_paths(endless, conflicts, 5, |_| false).len(), 5);
    }
}
