//! Merging a text in process where git's answer is certain: where what the two sides changed is kept
//! apart by lines that git must find unchanged on both.
//!
//! It answers with git's result or not at all, never with a verdict of its own. What it relies on is
//! how git merges a text (`xdl_merge` in `xdiff/xmerge.c`): it compares the base with each side, by the
//! `histogram` algorithm (`merge_start` in `merge-ort.c`; `xdiff/xhistogram.c`), slides each changed
//! group of lines as far as equal lines allow (`xdl_change_compact`), and takes a group as it is where
//! at least one line that neither side changed lies between it and every group of the other side. Then
//! the result is the base with the groups of both sides, and no line of it is git's choice.
//!
//! So all that has to be known is where git cannot have found a change. Lines are called unique that
//! stand once in the base and once in the side; `P` are the lines both begin with, `S` those both end
//! with.
//!
//! 1. *A unique line in `P` is matched with itself, and so is all before it.* Histogram takes the
//!    longest run of equal lines that holds one that stands once in (that part of) the base, then goes
//!    on to both sides of it. Let `u` be the unique line. The run through `u` begins at the top, and is
//!    longer than any run that lies before `u` in the base and after it in the side. A run the other way
//!    round would hold a line that stands once in the base, behind `u`, and in the side before `u`, which
//!    is in `P`: so it stands in the base there, too. Whichever run is taken, then, either holds `u`,
//!    and with it all of `P` before it, or leaves `u` and all before it to the part above, of which the
//!    same is true. For `S` likewise.
//! 2. *A block `K` of m equal lines between `P` and `S` that holds a unique line is matched with itself,
//!    if every run of m equal lines that is not in line with it lies before `K` on both sides, or behind
//!    it on both.* `K`'s own run is found, as its unique line stands once in the base. One that is taken
//!    instead has as many lines as `K` at least, and a run of so many lines cannot touch or cross `K`
//!    without a run of exactly m doing so. Hence it leaves `K` whole to one of the parts, of which the same is true. As
//!    long as a part holds `K`, histogram does not fall back to another algorithm: it does so only
//!    where all that is common stands more than 64 times.
//! 3. *No changed group slides over a unique line*: it would have to end or begin with that line, which
//!    then stood twice. (That git trims `P` and `S` beforehand, in some versions, changes nothing: `K`
//!    lies in neither.)
//!
//! What lies between two lines so fixed, and differs, is a gap. If the gaps of one side and those of the
//! other have a fixed line between them each time, git finds no conflict, and this is the result.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use gix::bstr::ByteSlice;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Longer texts are left to git; it takes no longer for them than for others.
const MAX_BYTES: usize = 4 << 20;

/// Neither are texts of more lines: what is known of each takes some 400 bytes, at the worst.
const MAX_LINES: usize = 1 << 18;

/// More blocks than this are not looked at for one side.
const MAX_BLOCKS: usize = 256;

/// A line: equal ones have equal numbers.
type Line = u32;

/// Asked for one key, or for all of them where their order does not show. Lines are what anybody pushed: the seed is another
/// in each process, so that nobody can write lines beforehand that all fall into one place.
type Map<K, V> = HashMap<K, V, RandomState>;

/// What git makes of `ours` and `theirs`, which come from `base`, all of them without attributes;
/// `None` where only git can tell.
pub fn merge(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    let known = Base::of(base.to_vec())?;
    let (our_changes, their_changes) = (known.changes(ours)?, known.changes(theirs)?);
    our_changes
        .keep_clear_of(&their_changes)
        .then(|| put_together(base, (ours, &our_changes), (theirs, &their_changes)))
}

/// Where a side may differ from the base, in bytes.
#[derive(Debug)]
pub struct Changes(Vec<Gap>);

impl Changes {
    /// A line that is fixed on both sides lies between all that one side changed and all that the other did.
    pub fn keep_clear_of(&self, other: &Self) -> bool {
        // Those of one side have one anyway.
        in_order(&self.0, &other.0).windows(2).all(|pair| pair[0].base.end < pair[1].base.start)
    }
}

fn in_order<'a>(one: &'a [Gap], other: &'a [Gap]) -> Vec<&'a Gap> {
    let mut gaps: Vec<&Gap> = one.iter().chain(other).collect();
    gaps.sort_by_key(|gap| (gap.base.start, gap.base.end));
    gaps
}

/// The base with the changes of both sides, which must keep clear of each other.
pub fn put_together(base: &[u8], ours: (&[u8], &Changes), theirs: (&[u8], &Changes)) -> Vec<u8> {
    let mut parts: Vec<(&Gap, &[u8])> = Vec::with_capacity(ours.1.0.len() + theirs.1.0.len());
    for (side, changes) in [ours, theirs] {
        parts.extend(changes.0.iter().map(|gap| (gap, &side[gap.side.clone()])));
    }
    parts.sort_by_key(|(gap, _)| gap.base.start);
    let mut merged = Vec::with_capacity(base.len().max(ours.0.len()).max(theirs.0.len()));
    let mut at = 0;
    for (gap, part) in parts {
        merged.extend_from_slice(&base[at..gap.base.start]);
        merged.extend_from_slice(part);
        at = gap.base.end;
    }
    merged.extend_from_slice(&base[at..]);
    merged
}

/// Whether it may be a text that could be merged here. git looks for NUL in the first 8000 bytes (`buffer_is_binary`); such a
/// file is not merged.
fn may_be_text(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_BYTES && bytes.find_byte(0).is_none()
}

/// A text by lines, each with its line break.
struct Text {
    lines: Vec<Line>,
    /// Where each line begins, and where the last one ends.
    starts: Vec<u32>,
}

impl Text {
    fn with_room_for(lines: usize) -> Self {
        let mut starts = Vec::with_capacity(lines + 1);
        starts.push(0);
        Self { lines: Vec::with_capacity(lines), starts }
    }

    fn push(&mut self, line: Line, end: usize) {
        self.lines.push(line);
        self.starts.push(short(end));
    }

    fn bytes_of(&self, lines: Range<usize>) -> Range<usize> {
        self.starts[lines.start] as usize..self.starts[lines.end] as usize
    }

    /// Where each line stands that stands once; by the number of the line.
    fn only_places(&self, lines: usize) -> Vec<Place> {
        let mut places = vec![Place::Nowhere; lines];
        for (at, line) in self.lines.iter().enumerate() {
            let place = &mut places[*line as usize];
            *place = if *place == Place::Nowhere { Place::Once(short(at)) } else { Place::Often };
        }
        places
    }
}

/// Of a text that is not too long.
fn short(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// What sides come from: a text and what is known of its lines, for as many sides as there are.
pub struct Base {
    bytes: Vec<u8>,
    text: Text,
    /// Its own lines alone have one.
    places: Vec<Place>,
    numbers: Numbers,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").field("lines", &self.text.lines.len()).finish_non_exhaustive()
    }
}

/// Lines of a text by what stands in them. The text is not kept twice: what is kept is where a line stands first.
struct Numbers {
    by_content: HashTable<Line>,
    /// By the number of the line.
    first: Vec<Range<u32>>,
    hasher: RandomState,
}

impl Numbers {
    fn of(&mut self, text: &[u8], at: Range<usize>) -> Line {
        let Self { by_content, first, hasher } = self;
        let line = |number: Line| &text[within(&first[number as usize])];
        let hash = hasher.hash_one(&text[at.clone()]);
        let equal = |known: &Line| line(*known) == &text[at.clone()];
        match by_content.entry(hash, equal, |known| hasher.hash_one(line(*known))) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                let number = short(first.len());
                unknown.insert(number);
                first.push(short(at.start)..short(at.end));
                number
            }
        }
    }

    fn find(&self, text: &[u8], line: &[u8]) -> Option<Line> {
        let equal = |known: &Line| text[within(&self.first[*known as usize])] == *line;
        self.by_content.find(self.hasher.hash_one(line), equal).copied()
    }
}

fn within(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

impl Base {
    /// `None` for what is no text that could be merged here.
    pub fn of(bytes: Vec<u8>) -> Option<Self> {
        /// Lines have some thirty bytes each.
        const USUAL_LINE: usize = 32;
        if !may_be_text(&bytes) {
            return None;
        }
        let room = bytes.len() / USUAL_LINE;
        let by_content = HashTable::with_capacity(room);
        let mut numbers = Numbers { by_content, first: Vec::with_capacity(room), hasher: RandomState::default() };
        let mut text = Text::with_room_for(room);
        let mut begins = 0;
        for line in bytes.lines_with_terminator() {
            let ends = begins + line.len();
            text.push(numbers.of(&bytes, begins..ends), ends);
            begins = ends;
            if text.lines.len() > MAX_LINES {
                return None;
            }
        }
        let places = text.only_places(numbers.first.len());
        Some(Self { bytes, text, places, numbers })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a side changed; `None` where that is no text that could be merged here.
    pub fn changes(&self, side: &[u8]) -> Option<Changes> {
        let (text, kinds) = may_be_text(side).then(|| self.read_side(side))??;
        let in_bytes = |gap: Gap| Gap { base: self.text.bytes_of(gap.base), side: text.bytes_of(gap.side) };
        Some(Changes(gaps(self, &text, kinds).into_iter().map(in_bytes).collect()))
    }

    fn place(&self, line: Line) -> Place {
        self.places.get(line as usize).copied().unwrap_or(Place::Nowhere)
    }

    /// Most lines of a side are the base's, in its order: these are compared, and only the others looked up. With how many
    /// numbers the lines of both have; `None` where it has too many lines.
    fn read_side(&self, side: &[u8]) -> Option<(Text, usize)> {
        let kinds = self.numbers.first.len();
        let mut text = Text::with_room_for(self.text.lines.len());
        let mut new: Map<&[u8], Line> = Map::default();
        let (mut at, mut expected) = (0, 0);
        while at < side.len() {
            if text.lines.len() == MAX_LINES {
                return None;
            }
            let rest = &side[at..];
            if let Some(line) = self.text.lines.get(expected) {
                let bytes = &self.bytes[self.text.bytes_of(expected..expected + 1)];
                // Without a line break it is the last one of the base, and has to be that of the side.
                if rest.starts_with(bytes) && (bytes.ends_with(b"\n") || bytes.len() == rest.len()) {
                    at += bytes.len();
                    text.push(*line, at);
                    expected += 1;
                    continue;
                }
            }
            let line = &rest[..rest.find_byte(b'\n').map_or(rest.len(), |end| end + 1)];
            let number = self.numbers.find(&self.bytes, line).unwrap_or_else(|| {
                let next = short(kinds + new.len());
                *new.entry(line).or_insert(next)
            });
            if let Place::Once(at) = self.place(number) {
                expected = at as usize + 1;
            }
            at += line.len();
            text.push(number, at);
        }
        Some((text, kinds + new.len()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Once(u32),
    Often,
}

/// What of the base a side has something else in place of: by lines, then by bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gap {
    base: Range<usize>,
    side: Range<usize>,
}

/// Equal lines of base and side, whose first and last are fixed.
#[derive(Clone, Copy, Debug)]
struct Run {
    base: usize,
    side: usize,
    len: usize,
}

/// Where a side may differ from the base: everywhere but between fixed lines that nothing parts. `kinds` is how many
/// numbers lines have.
fn gaps(base: &Base, side: &Text, kinds: usize) -> Vec<Gap> {
    let (b, s) = (&base.text.lines[..], &side.lines[..]);
    let prefix = b.iter().zip(s).take_while(|(b, s)| b == s).count();
    if prefix == b.len() && prefix == s.len() {
        return Vec::new();
    }
    let most = b.len().min(s.len()) - prefix;
    let suffix = b.iter().rev().zip(s.iter().rev()).take(most).take_while(|(b, s)| b == s).count();
    let in_side = side.only_places(kinds);
    let once = |line: Line| match (base.place(line), in_side[line as usize]) {
        (Place::Once(base), Place::Once(side)) => Some((base as usize, side as usize)),
        _ => None,
    };
    let top = (0..prefix).rev().find(|at| once(b[*at]).is_some()).map_or(0, |last| last + 1);
    let bottom = (b.len() - suffix..b.len()).find(|at| once(b[*at]).is_some()).unwrap_or(b.len());
    let mut runs = vec![Run { base: 0, side: 0, len: top }];
    runs.extend(blocks(b, s, prefix, suffix, once));
    let shift_end = s.len() + bottom - b.len();
    runs.push(Run { base: bottom, side: shift_end, len: b.len() - bottom });
    let between = runs.windows(2).map(|pair| Gap {
        base: pair[0].base + pair[0].len..pair[1].base,
        side: pair[0].side + pair[0].len..pair[1].side,
    });
    between.collect()
}

/// The blocks between the common beginning and end that are fixed, in order, each from a unique line
/// to a unique line.
fn blocks(
    base: &[Line],
    side: &[Line],
    prefix: usize,
    suffix: usize,
    once: impl Fn(Line) -> Option<(usize, usize)>,
) -> Vec<Run> {
    let (base_end, side_end) = (base.len() - suffix, side.len() - suffix);
    let mut found: Vec<Run> = Vec::new();
    let mut windows: Map<usize, Windows> = Map::default();
    let mut common = None;
    let mut at = prefix;
    let mut tried = 0;
    while at < base_end && tried < MAX_BLOCKS {
        let Some((_, across)) = once(base[at]).filter(|(_, across)| (prefix..side_end).contains(across)) else {
            at += 1;
            continue;
        };
        tried += 1;
        let run = run_through((at, &base[..base_end]), (across, &side[..side_end]), prefix);
        // Two parts of it that cover it, of a size that few others have.
        let size = 1 << run.len.ilog2();
        let common = common.get_or_insert_with(|| Stretches::of(base, side, &once));
        let windows = windows.entry(size).or_insert_with(|| Windows::of(base, side, size, common));
        let fixed = |skipped: usize| {
            let block = Run { base: run.base + skipped, side: run.side + skipped, len: size };
            let unique = |at: &usize| once(base[*at]).is_some();
            let (first, last) = (rows(&block).find(unique)?, rows(&block).rfind(unique)?);
            windows.keep_clear_of(&block).then_some(first..last + 1)
        };
        let fixed = match (fixed(0), fixed(run.len - size)) {
            (Some(left), Some(right)) => Some(left.start..right.end),
            (left, right) => left.or(right),
        };
        found.extend(fixed.map(|base| Run {
            side: base.start - run.base + run.side,
            len: base.len(),
            base: base.start,
        }));
        at = run.base + run.len;
    }
    found
}

fn rows(run: &Run) -> Range<usize> {
    run.base..run.base + run.len
}

/// The longest run of equal lines through a place of each, from `first` on.
fn run_through((at, base): (usize, &[Line]), (across, side): (usize, &[Line]), first: usize) -> Run {
    let equal = |(l, r): &(&Line, &Line)| l == r;
    let before = base[first..at].iter().rev().zip(side[first..across].iter().rev()).take_while(equal).count();
    let after = base[at..].iter().zip(&side[across..]).take_while(equal).count();
    Run { base: at - before, side: across - before, len: before + after }
}

/// All runs of equal lines that hold a unique one, each as long as it gets, in the base's order.
fn unique_runs(base: &[Line], side: &[Line], once: &impl Fn(Line) -> Option<(usize, usize)>) -> Vec<Run> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < base.len() {
        let Some((_, across)) = once(base[at]) else {
            at += 1;
            continue;
        };
        let run = run_through((at, base), (across, side), 0);
        // Whatever is unique in it lies in line with it.
        at = run.base + run.len;
        found.push(run);
    }
    found
}

/// Where lines stand that are unique, and where such that are not.
struct Stretches {
    unique: Vec<Run>,
    others_in_base: Vec<Range<usize>>,
    others_in_side: Vec<Range<usize>>,
}

impl Stretches {
    fn of(base: &[Line], side: &[Line], once: &impl Fn(Line) -> Option<(usize, usize)>) -> Self {
        let others = |lines: &[Line]| {
            let mut at = 0;
            let stretches = lines.split(|line| once(*line).is_some()).map(|stretch| {
                let begins = at;
                at += stretch.len() + 1;
                begins..begins + stretch.len()
            });
            stretches.filter(|stretch| !stretch.is_empty()).collect()
        };
        Self { unique: unique_runs(base, side, once), others_in_base: others(base), others_in_side: others(side) }
    }
}

/// All runs of so many lines that base and side have in common.
struct Windows {
    /// Those that hold a unique line, and so stand once in each, where they lie in line with each other.
    unique: Vec<Common>,
    /// The others, equal ones as one.
    others: Vec<Common>,
}

/// First and last place in the base and in the side.
struct Common {
    base: (usize, usize),
    side: (usize, usize),
}

impl Windows {
    fn of(base: &[Line], side: &[Line], size: usize, stretches: &Stretches) -> Self {
        let long = stretches.unique.iter().filter(|run| run.len >= size);
        let first_and_last = |first: usize, run: &Run| (first, first + run.len - size);
        let unique =
            long.map(|run| Common { base: first_and_last(run.base, run), side: first_and_last(run.side, run) });
        let unique = unique.collect();
        let mut in_base: Map<u64, (usize, usize)> = Map::default();
        for (at, hash) in rolling(base, size, &stretches.others_in_base) {
            in_base.entry(hash).and_modify(|(_, last)| *last = at).or_insert((at, at));
        }
        let mut others: Map<u64, Common> = Map::default();
        for (at, hash) in rolling(side, size, &stretches.others_in_side) {
            if let Some(base) = in_base.get(&hash) {
                let common = others.entry(hash).or_insert(Common { base: *base, side: (at, at) });
                common.side.1 = at;
            }
        }
        Self { unique, others: others.into_values().collect() }
    }

    /// Whether every run that is not in line with the block lies before it on both sides, or behind it
    /// on both. (Of runs in line with each other all do if the last one lies before it or the first one behind it:
    /// there is always one between those that lie before it and those behind.)
    fn keep_clear_of(&self, block: &Run) -> bool {
        let Run { base, side, len } = *block;
        let is_clear = |common: &Common| {
            let ((first, last), (across, last_across)) = (common.base, common.side);
            let is_before = last + len <= base && last_across + len <= side;
            let is_behind = first >= base + len && across >= side + len;
            is_before || is_behind
        };
        let is_in_line = |common: &Common| common.base.0 + side == common.side.0 + base;
        let is_single = |common: &Common| common.base.0 == common.base.1 && common.side.0 == common.side.1;
        self.unique.iter().all(|common| is_in_line(common) || is_clear(common))
            && self.others.iter().all(|common| is_single(common) && is_in_line(common) || is_clear(common))
    }
}

/// A number for every run of `size` lines that lies in one of these stretches; equal runs have equal ones. Where unequal ones
/// have, too, less is taken for fixed.
fn rolling<'a>(
    lines: &'a [Line],
    size: usize,
    stretches: &'a [Range<usize>],
) -> impl Iterator<Item = (usize, u64)> + 'a {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let highest = (1..size).fold(1_u64, |power, _| power.wrapping_mul(FACTOR));
    stretches.iter().filter(move |stretch| stretch.len() >= size).flat_map(move |stretch| {
        let mut hash = 0_u64;
        stretch.clone().filter_map(move |at| {
            if at >= stretch.start + size {
                hash = hash.wrapping_sub(highest.wrapping_mul(u64::from(lines[at - size]) + 1));
            }
            hash = hash.wrapping_mul(FACTOR).wrapping_add(u64::from(lines[at]) + 1);
            // The low bits of a product know little of its factors.
            (at + 1 >= stretch.start + size).then(|| (at + 1 - size, hash ^ (hash >> 29)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(base: &str, ours: &str, theirs: &str) -> Option<String> {
        let text = merge(base.as_bytes(), ours.as_bytes(), theirs.as_bytes())?;
        Some(String::from_utf8(text).unwrap())
    }

    #[test]
    fn changes_with_a_unique_line_between_them_are_merged() {
        let both = merged("a\nb\nc\nd\ne\n", "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n");
        assert_eq!(both.as_deref(), Some("A\nb\nc\nd\nE\n"));
        // Added at the end and at the beginning, a line taken out in between on a side of several changes.
        let both = merged("a\nb\nc\nd\ne", "0\na\nb\nc\nd\ne\nf\n", "a\nb\nd\ne");
        assert_eq!(both.as_deref(), Some("0\na\nb\nd\ne\nf\n"));
    }

    #[test]
    fn changes_that_touch_or_meet_and_lines_that_may_have_moved_are_gits_to_judge() {
        assert_eq!(merged("a\nb\nc\n", "A\nb\nc\n", "a\nB\nc\n"), None);
        assert_eq!(merged("a\nb\nc\n", "A\nb\nc\n", "0\nb\nc\n"), None);
        // Nothing unique lies between.
        assert_eq!(merged("a\n}\n}\nc\n", "A\n}\n}\nc\n", "a\n}\n}\nC\n"), None);
        // Which of the two blocks stayed and which one moved is the algorithm's choice.
        let (x, y) = ("x1\nx2\nx3\n", "y1\ny2\ny3\n");
        let swapped = format!("0\n{y}{x}1\n");
        assert_eq!(merged(&format!("0\n{x}{y}1\n"), &swapped, &format!("0\n{x}{y}1\n2\n").replace("x2", "X2")), None);
        // Neither, where no line of what may have moved stands once: git takes `baa` for what stayed, not `cd`.
        let lines = |text: &str| text.chars().map(|line| format!("{line}\n")).collect::<String>();
        assert_eq!(merged(&lines("abaacda"), &lines("abaaceda"), &lines("bcdbaa")), None);
        assert_eq!(merged("a\nb\0\nc\n", "A\nb\0\nc\n", "a\nb\0\nC\n"), None);
    }
}
