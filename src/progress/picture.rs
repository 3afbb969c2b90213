//! What stands below the lines that scroll: a header and one line for each busy worker, as a pure function of what is
//! known, the terminal's size and its colours. No line is as wide as the terminal, so that none ever wraps: a live
//! line that wraps leaves rubbish behind. What has no room is left out, the least important first.

use super::screen::Size;
use crate::report::view::VerdictCounts;
use crate::wording::{Paint, Tone, bytes, count, cut, list, live_duration, shortened, shown};

/// From so many columns on there is room for a margin and for words where figures would do.
const WIDE_FROM_COLUMNS: usize = 40;

/// What a gate is expected to take is said where so many columns are left for what it is and whom it gates.
const LEAST_NAME_COLUMNS: usize = 20;

/// Before the lines of workers.
const MARGIN: &str = "  ";

/// What the last line of a gate's output needs to say anything.
const LEAST_OUTPUT_COLUMNS: usize = 10;

/// So much of a terminal's height is the block's at most: the rest is for what scrolls, such as the log of a failure.
const SHARE_OF_ROWS: (usize, usize) = (2, 3);

/// The rows that a low terminal gives it all the same.
const LEAST_ROWS: usize = 4;

/// Everything that is shown of one moment of a run.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    pub elapsed_ms: u64,
    pub counts: Counts,
    /// It was asked to stop.
    pub stops: bool,
    /// Work is held back for memory.
    pub throttled: bool,
    /// What holds work back beside memory.
    pub held_by: Vec<String>,
    /// How many workers there are, where that changes.
    pub workers: Option<u32>,
    pub left_ms: Option<u64>,
    /// What lexpr and its gates hold, in bytes.
    pub memory_bytes: Option<u64>,
    pub memory_limit_bytes: Option<u64>,
    pub verdicts: VerdictCounts,
    /// In the order of their lines.
    pub busy: Vec<Busy>,
}

/// Items by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All but those that the target had before.
    pub total: usize,
    pub landed: usize,
    pub failed: usize,
    pub conflicted: usize,
    pub blocked: usize,
    pub unjudged: usize,
    pub passed: usize,
    pub running: usize,
    pub waiting: usize,
}

/// A worker at work. Its texts are made safe to show here.
#[derive(Clone, Debug, Default)]
pub struct Busy {
    /// Since the gate was started, or the job where none is.
    pub elapsed_ms: u64,
    pub expected_ms: Option<u64>,
    /// Whom it gates.
    pub subject: String,
    pub at: At,
    /// The last line that the gate printed.
    pub output: String,
}

/// What a worker is at.
#[derive(Clone, Debug, Default)]
pub enum At {
    /// The slot is made ready.
    #[default]
    Preparing,
    /// No node has it yet.
    Queued,
    Gate {
        name: String,
        attempt: u32,
        /// Of a gate elsewhere.
        node: Option<String>,
    },
}

/// The lines, from the header down: narrower than `size` by a column at least and fewer than its rows. Nothing on a
/// terminal of a single row, which has no place for anything that stays.
pub fn rows(now: &Moment, size: Size, paint: Paint) -> Vec<String> {
    // Terminals differ on where the cursor is after the last column: it stays free.
    let columns = size.columns.saturating_sub(1);
    let room = room(size.rows);
    if room == 0 {
        return Vec::new();
    }
    let is_all = now.busy.len() < room;
    // Of a line on how many there are more, none.
    let shown = if is_all { now.busy.len() } else { room.saturating_sub(2) };
    let busy = &now.busy[..shown];
    let times = Times::of(busy, columns);
    let mut rows = vec![header(now, columns, paint)];
    rows.extend(busy.iter().map(|busy| worker(busy, &times, columns, paint)));
    let more = now.busy.len() - shown;
    if more > 0 && room > 1 {
        let text = if shown == 0 { count(more, "worker") } else { format!("+ {}", count(more, "more worker")) };
        rows.push(paint.paint(Tone::Quiet, &shortened(&format!("{}{text}", times.margin), columns)));
    }
    rows.into_iter().map(|row| cut(&row, columns).0).collect()
}

/// How many rows the block may have: what scrolls has a row at least, and the cursor one.
fn room(rows: usize) -> usize {
    if rows < 2 {
        return 0;
    }
    let share = rows * SHARE_OF_ROWS.0 / SHARE_OF_ROWS.1;
    rows.saturating_sub(2).min(share.max(LEAST_ROWS)).max(1)
}

/// How wide the columns of workers' times are, so that what stands behind them stands below each other.
struct Times {
    margin: &'static str,
    say: fn(u64) -> String,
    elapsed: usize,
    /// Nothing is said of it where this is 0.
    expected: usize,
}

impl Times {
    fn of(busy: &[Busy], columns: usize) -> Self {
        let is_wide = is_wide(columns);
        let say = if is_wide { live_duration } else { shortest_duration };
        let elapsed = busy.iter().map(|busy| say(busy.elapsed_ms).len()).max().unwrap_or(0);
        let expected = busy.iter().filter_map(|busy| busy.expected_ms).map(|ms| expected(ms).len()).max().unwrap_or(0);
        // Two digits from the start: lines that move are hard to read.
        let (margin, elapsed) = if is_wide { (MARGIN, elapsed.max("10s".len())) } else { ("", elapsed) };
        let has_room = margin.len() + elapsed + 1 + expected + 1 + LEAST_NAME_COLUMNS <= columns;
        Self { margin, say, elapsed, expected: if has_room { expected } else { 0 } }
    }
}

/// Whether the terminal is, of which `columns` can be written to.
fn is_wide(columns: usize) -> bool {
    columns >= WIDE_FROM_COLUMNS - 1
}

/// `of ~30s`. No gate takes no time.
fn expected(ms: u64) -> String {
    format!("of ~{}", live_duration(ms.max(1000)))
}

fn worker(busy: &Busy, times: &Times, columns: usize, paint: Paint) -> String {
    let elapsed = format!("{:>1$}", (times.say)(busy.elapsed_ms), times.elapsed);
    // Long past what it took before, it may hang.
    let is_late = busy.expected_ms.is_some_and(|expected_ms| busy.elapsed_ms / 2 > expected_ms.max(1000));
    let mut line = paint.paint(if is_late { Tone::Notice } else { Tone::Quiet }, &elapsed);
    line.insert_str(0, times.margin);
    line.push(' ');
    let mut room = columns.saturating_sub(times.margin.len() + times.elapsed + 1);
    if times.expected > 0 {
        let expected = busy.expected_ms.map(expected).unwrap_or_default();
        line.push_str(&paint.paint(Tone::Quiet, &format!("{expected:<0$} ", times.expected)));
        room = room.saturating_sub(times.expected + 1);
    }
    let gate = match &busy.at {
        At::Preparing => ": preparing".to_owned(),
        At::Queued => ": queued".to_owned(),
        At::Gate { name, attempt, node } => {
            let node = node.as_ref().map(|node| format!(" on {}", even(node))).unwrap_or_default();
            let attempt = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            format!(": {}{node}{attempt}", even(name))
        }
    };
    let subject = even(&busy.subject);
    // Both are cut where there is no room for both, and each has at least what the other leaves.
    let gate_width = width(&gate).min((room / 2).max(room.saturating_sub(width(&subject))));
    let subject = shortened(&subject, room.saturating_sub(gate_width));
    let gate = shortened(&gate, room.saturating_sub(width(&subject)));
    room = room.saturating_sub(width(&subject) + width(&gate));
    line.push_str(&paint.paint(Tone::Strong, &subject));
    line.push_str(&gate);
    let output = even(busy.output.trim());
    let left = room.saturating_sub(SEPARATOR.len());
    if !output.is_empty() && left >= LEAST_OUTPUT_COLUMNS {
        line.push_str(&paint.paint(Tone::Quiet, &format!("{SEPARATOR}{}", shortened(&output, left))));
    }
    line
}

/// Between what lexpr says and what a gate does.
const SEPARATOR: &str = " | ";

/// Safe to show, and as wide as its characters are one by one: a variation selector (U+FE00 to U+FE0F) makes a
/// character wider on some terminals than on others.
fn even(text: &str) -> String {
    shown(text).chars().filter(|c| !('\u{fe00}'..='\u{fe0f}').contains(c)).collect()
}

fn width(text: &str) -> usize {
    cut(text, usize::MAX).1
}

/// A part of the header.
struct Part {
    tone: Tone,
    long: String,
    /// For terminals on which not even the most important parts fit as they are.
    short: String,
    /// The least is the most important.
    rank: u8,
}

impl Part {
    fn text(&self, form: Form) -> &str {
        if form == Form::Long { &self.long } else { &self.short }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Long,
    Short,
}

/// The rank of the time since the run began, which stands before all other parts.
const ELAPSED: u8 = 4;

/// Parts up to this rank are what a header is for: they are shortened before one of them is left out.
const ESSENTIAL: u8 = ELAPSED;

fn header(now: &Moment, columns: usize, paint: Paint) -> String {
    let parts = parts(now);
    // After the elapsed time stands a space, after all others a comma and a space.
    let separator = |part: &Part| if part.rank == ELAPSED { 1 } else { 2 };
    let essential = parts.iter().filter(|part| part.rank <= ESSENTIAL);
    let needed: usize = essential.map(|part| width(&part.long) + separator(part)).sum();
    let form = if is_wide(columns) && needed <= columns + 2 { Form::Long } else { Form::Short };
    let mut by_rank: Vec<usize> = (0..parts.len()).collect();
    by_rank.sort_by_key(|&at| parts[at].rank);
    let (mut taken, mut chosen) = (0, vec![None; parts.len()]);
    for at in by_rank {
        let part = &parts[at];
        let needed = |form: Form| width(part.text(form)) + if taken == 0 { 0 } else { separator(part) };
        // The very first one is cut rather than left out.
        let fitting = [form, Form::Short].into_iter().find(|form| taken + needed(*form) <= columns || taken == 0);
        taken += fitting.map_or(0, needed);
        chosen[at] = fitting;
    }
    let (mut elapsed, mut texts) = (String::new(), Vec::new());
    for (part, form) in parts.iter().zip(chosen) {
        let Some(text) = form.map(|form| paint.paint(part.tone, part.text(form))) else { continue };
        if part.rank == ELAPSED {
            elapsed = text + " ";
        } else {
            texts.push(text);
        }
    }
    elapsed + &texts.join(", ")
}

/// `9s`, `4m`, `2h`.
fn shortest_duration(ms: u64) -> String {
    live_duration(ms).split(' ').next().unwrap_or_default().to_owned()
}

/// In the order they stand in.
fn parts(now: &Moment) -> Vec<Part> {
    let Counts { total, landed, failed, conflicted, blocked, unjudged, passed, running, waiting } = now.counts;
    let mut parts = vec![Part {
        tone: Tone::Strong,
        long: format!("{landed}/{total} landed"),
        short: format!("{landed}/{total}"),
        rank: 0,
    }];
    let mut add = |rank: u8, tone: Tone, long: String, short: Option<String>| {
        let short = short.unwrap_or_else(|| long.clone());
        parts.push(Part { tone, long, short, rank });
    };
    add(ELAPSED, Tone::Quiet, live_duration(now.elapsed_ms), Some(shortest_duration(now.elapsed_ms)));
    let mut add_some = |rank: u8, tone: Tone, number: usize, word: &str| {
        if number > 0 {
            add(rank, tone, format!("{number} {word}"), None);
        }
    };
    add_some(2, Tone::Bad, failed, "failed");
    add_some(3, Tone::Bad, conflicted, "conflicted");
    add_some(5, Tone::Notice, blocked, "blocked");
    add_some(5, Tone::Notice, unjudged, "unjudged");
    add_some(8, Tone::Good, passed, "passed");
    add_some(7, Tone::Quiet, running, "running");
    add_some(9, Tone::Quiet, waiting, "waiting");
    if now.stops {
        add(1, Tone::Notice, "stopping".to_owned(), None);
    }
    let held_back = || Some("held back".to_owned());
    if now.throttled {
        add(10, Tone::Notice, "held back for memory".to_owned(), held_back());
    }
    if !now.held_by.is_empty() {
        add(10, Tone::Notice, format!("held back by {}", even(&list(&now.held_by))), held_back());
    }
    if let Some(workers) = now.workers {
        add(13, Tone::Quiet, count(workers as usize, "worker"), None);
    }
    if let Some(left_ms) = now.left_ms {
        add(
            5,
            Tone::Quiet,
            format!("~{} left", live_duration(left_ms)),
            Some(format!("~{} left", shortest_duration(left_ms))),
        );
    }
    if let Some(used) = now.memory_bytes {
        let limit = now.memory_limit_bytes.map(|limit| format!(" of {}", bytes(limit))).unwrap_or_default();
        add(11, Tone::Quiet, format!("{}{limit}", bytes(used)), Some(bytes(used)));
    }
    let VerdictCounts { hits, misses } = now.verdicts;
    if hits > 0 {
        add(12, Tone::Quiet, format!("{hits} of {} verdicts known", hits + misses), Some(format!("{hits} known")));
    }
    parts
}
