//! What the live view says at any size: the picture as a pure function, for eyes and for any moment and terminal, and
//! how little of it is written when little of it has changed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lexpr::progress::picture::{At, Busy, Counts, Moment, rows};
use lexpr::progress::screen::{Screen, Size};
use lexpr::progress::{Beside, Live};
use lexpr::report::view::{RunView, VerdictCounts};
use lexpr::vocabulary::event::{Event, GateOutcome, LinedUpItem, Recorded, Verdict};
use lexpr::vocabulary::names::DefinitionDigest;
use lexpr::wording::Paint;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use unicode_width::UnicodeWidthStr as _;

use crate::fake_terminal::FakeTerminal;
use crate::report_stories::{Story, cone_of, item, key};

fn size(columns: usize, rows: usize) -> Size {
    Size { columns, rows }
}

fn busy(elapsed_ms: u64, expected_ms: Option<u64>, subject: &str, gate: &str, attempt: u32, output: &str) -> Busy {
    let at = match gate {
        "" => At::Preparing,
        gate => At::Gate { name: gate.to_owned(), attempt, node: None },
    };
    Busy { elapsed_ms, expected_ms, subject: subject.into(), at, output: output.into() }
}

/// In the middle of a run of many items, some of them with names that nobody should give.
fn moment() -> Moment {
    Moment {
        elapsed_ms: 83_000,
        counts: Counts {
            total: 500,
            landed: 120,
            failed: 3,
            conflicted: 1,
            blocked: 7,
            unjudged: 0,
            passed: 41,
            running: 6,
            waiting: 322,
        },
        left_ms: Some(312_000),
        memory_bytes: Some(512 << 20),
        memory_limit_bytes: Some(4 << 30),
        verdicts: VerdictCounts { hits: 88, misses: 77 },
        busy: vec![
            busy(12_000, Some(30_000), "auth", "unit", 1, "   Compiling lexpr v0.1.0 (/home/ann/work/lexpr)"),
            busy(95_000, Some(31_000), "feature/the-longest-name-of-all", "end-to-end tests", 2, "page 3 of 10"),
            busy(400, None, "docs", "", 1, "added 312 packages in 4s"),
            busy(5_000, Some(200), "日本語の支店", "検査", 1, "日本語の出力は二倍の幅を取ります、どこまでも"),
            busy(
                5_000,
                None,
                "a\u{1b}[2Jb\u{202e}c",
                "un\rit",
                1,
                "\u{2764}\u{fe0f} \u{1f468}\u{200d}\u{1f469} \u{1b}]0;x",
            ),
            busy(61_000, Some(600_000), "apex 3 (50 items)", "unit", 1, ""),
        ],
        ..Moment::default()
    }
}

fn text(now: &Moment, size: Size) -> String {
    rows(now, size, Paint::PLAIN).join("\n")
}

#[test]
fn the_picture_at_several_sizes() {
    for (columns, rows) in [(20, 10), (40, 15), (80, 24), (200, 50)] {
        insta::assert_snapshot!(format!("picture_{columns}x{rows}"), text(&moment(), size(columns, rows)));
    }
}

#[test]
fn what_a_run_waits_for_or_was_asked_is_in_the_header() {
    let now = Moment {
        stops: true,
        throttled: true,
        held_by: vec!["resource db".into()],
        workers: Some(8),
        busy: Vec::new(),
        ..moment()
    };
    insta::assert_snapshot!(text(&now, size(250, 24)));
    assert_eq!(text(&now, size(20, 24)), "120/500, stopping");
    assert_eq!(text(&now, size(33, 24)), "1m 120/500, 3 failed, stopping");
}

#[test]
fn a_header_loses_the_least_important_first_and_each_part_at_once() {
    let now = Moment { busy: Vec::new(), ..moment() };
    let lost_at = |part: &str| (1..250).rev().find(|&columns| !text(&now, size(columns, 24)).contains(part)).unwrap();
    let order = ["verdicts known", "512 MiB", "41 passed", "6 running", " left", "1 conflicted", "3 failed", "120"];
    let lost: Vec<usize> = order.map(lost_at).to_vec();
    assert!(lost.is_sorted_by(|wider, narrower| wider > narrower), "{lost:?}");
}

#[test]
fn workers_that_have_no_row_are_counted() {
    let workers =
        |number: usize| (0..number).map(|at| busy(1000, None, &format!("item-{at}"), "unit", 1, "")).collect();
    let now = |number| Moment { busy: workers(number), ..moment() };
    let lines = |number, rows| text(&now(number), size(60, rows)).lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(15, 24).len(), 16, "two thirds of 24 rows");
    assert_eq!(lines(16, 24)[14..], ["   1s item-13: unit", "  + 2 more workers"]);
    assert_eq!(lines(500, 10)[5], "  + 496 more workers");
    assert_eq!(lines(2, 4)[1], "  2 workers");
    assert_eq!(lines(1, 4)[1], "   1s item-0: unit");
    assert_eq!(lines(9, 3).len(), 1);
    assert!(lines(9, 1).is_empty(), "a terminal of one row has no place that stays");
}

/// Text of letters, wide and combining ones, and everything that moves a cursor.
fn any_text() -> impl Strategy<Value = String> {
    let c = prop_oneof![
        4 => prop::char::range(' ', '~'),
        1 => prop::sample::select(vec!['日', '\u{1b}', '\r', '\n', '\t', '\u{7}', '\u{9b}', '\u{301}', '\u{fe0f}', '❤']),
        1 => prop::sample::select(vec!['\u{200d}', '\u{202e}', '👩', '🏽', '🇩', '🇪', 'ﷺ', 'ل', 'ا', '\u{1160}', '각', '…']),
        1 => any::<char>(),
    ];
    prop::collection::vec(c, 0..40).prop_map(String::from_iter)
}

fn any_busy() -> impl Strategy<Value = Busy> {
    let gate = (any_text(), 1_u32..4, prop::option::of(any_text()));
    let gate = gate.prop_map(|(name, attempt, node)| At::Gate { name, attempt, node });
    let at = prop_oneof![Just(At::Preparing), Just(At::Queued), gate];
    let ms = || prop_oneof![0_u64..200_000, any::<u64>()];
    (ms(), prop::option::of(ms()), any_text(), at, any_text()).prop_map(
        |(elapsed_ms, expected_ms, subject, at, output)| Busy { elapsed_ms, expected_ms, subject, at, output },
    )
}

fn any_moment() -> impl Strategy<Value = Moment> {
    let n = || prop_oneof![Just(0_usize), 0_usize..1000];
    let numbers = (n(), n(), n(), n(), n(), n(), n(), n());
    let flags = (any::<bool>(), any::<bool>(), prop::collection::vec(any_text(), 0..3), prop::option::of(1_u32..100));
    let sizes = (prop::option::of(any::<u64>()), prop::option::of(any::<u64>()), prop::option::of(any::<u64>()));
    let rest = (any::<u64>(), 0_u64..10_000, 0_u64..10_000, prop::collection::vec(any_busy(), 0..12));
    (numbers, flags, sizes, rest).prop_map(
        |(
            (landed, failed, conflicted, blocked, unjudged, passed, running, waiting),
            (stops, throttled, held_by, workers),
            (left_ms, memory_bytes, memory_limit_bytes),
            (elapsed_ms, hits, misses, busy),
        )| {
            let total = landed + failed + conflicted + blocked + unjudged + passed + running + waiting;
            let counts = Counts { total, landed, failed, conflicted, blocked, unjudged, passed, running, waiting };
            let verdicts = VerdictCounts { hits, misses };
            Moment {
                elapsed_ms,
                counts,
                stops,
                throttled,
                held_by,
                workers,
                left_ms,
                memory_bytes,
                memory_limit_bytes,
                verdicts,
                busy,
            }
        },
    )
}

fn seed() -> RngSeed {
    match ProptestConfig::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_261_126),
        asked_for => asked_for,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: seed(), ..ProptestConfig::default() })]

    #[test]
    fn no_line_is_as_wide_as_the_terminal_and_no_block_as_high(
        now in any_moment(), columns in prop_oneof![0_usize..40, 0_usize..220], height in 0_usize..25,
    ) {
        let lines = rows(&now, size(columns, height), Paint::COLOURED);
        prop_assert!(lines.len() < height.max(1), "{} lines on {height} rows", lines.len());
        let plain: Vec<String> = lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        for line in &plain {
            prop_assert!(line.width() < columns.max(1), "{line:?} is {} wide of {columns}", line.width());
            prop_assert!(!line.contains(|c: char| c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c)), "{line:?}");
        }
        prop_assert_eq!(&plain, &rows(&now, size(columns, height), Paint::PLAIN), "colours are all that colour adds");
    }

    #[test]
    fn every_busy_worker_has_a_line_or_is_counted(now in any_moment(), columns in 30_usize..220, height in 4_usize..25) {
        let lines = rows(&now, size(columns, height), Paint::PLAIN);
        let last = lines.last().unwrap().trim();
        let more = last.strip_prefix("+ ").and_then(|rest| rest.split_once(" more worker")).map(|(more, _)| more);
        let counted: Option<usize> = more.or_else(|| last.strip_suffix(" workers")).and_then(|more| more.parse().ok());
        let (counted, lines_of_workers) = match counted {
            Some(counted) if lines.len() > 1 && counted + lines.len() - 2 == now.busy.len() => (counted, lines.len() - 2),
            _ => (0, lines.len() - 1),
        };
        prop_assert_eq!(counted + lines_of_workers, now.busy.len());
    }
}

#[test]
fn a_line_that_has_not_changed_is_not_written_and_nothing_is_where_nothing_has() {
    let terminal = FakeTerminal::new(size(40, 10));
    let mut screen = Screen::new(terminal.clone());
    let block = |lines: [&str; 3]| lines.map(str::to_owned);
    screen.draw(&[], &block(["header", "one", "two"]));
    let frames = terminal.frames();
    screen.draw(&[], &block(["header", "one", "two"]));
    assert_eq!(terminal.frames(), frames, "nothing has changed");
    screen.draw(&[], &block(["header", "uno", "two"]));
    let frame = terminal.frames().pop().unwrap();
    assert!(frame.contains("uno") && !frame.contains("header") && !frame.contains("two"), "{frame:?}");
    assert!(!frame.contains("\u{1b}[J"), "what stays is never gone: {frame:?}");
    assert_eq!(terminal.text(), "header\nuno\ntwo\n");
    screen.draw(&[], &block(["header", "uno", "two"])[..2]);
    assert_eq!(terminal.text(), "header\nuno\n");
    screen.draw(&[], &block(["header", "u", "two and more"]));
    assert_eq!(terminal.text(), "header\nu\ntwo and more\n");
    screen.draw(&["above".to_owned()], &block(["header", "u", "two"]));
    assert_eq!(terminal.text(), "above\nheader\nu\ntwo\n");
    terminal.resize(size(30, 10));
    screen.draw(&[], &block(["header", "u", "two"]));
    assert_eq!(terminal.text(), "above\nheader\nu\ntwo\n");
}

#[test]
fn what_gates_took_in_earlier_runs_is_what_they_are_expected_to_take() {
    let gate = |name: &str| DefinitionDigest::of([name.as_bytes()]);
    let mut story = Story::begin(vec![item("a", 0, &[], &["unit"]), item("b", 0, &[], &["unit"])]);
    story.cone("a");
    let job = story.job(0, cone_of("a"), &[("unit", key("unit", "a"), true)]);
    story.start(job, "unit", key("unit", "a"), 1);
    let began_ms = story.events.last().unwrap().at_ms;
    let shown = story.events.len();
    let terminal = FakeTerminal::new(size(100, 20));
    let now = Arc::new(AtomicU64::new(began_ms));
    let clock = Arc::clone(&now);
    let beside = Beside { durations: [(gate("unit"), 30_000)].into(), ..Beside::default() };
    let clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let view: Arc<Mutex<RunView>> = Arc::default();
    let mut live =
        Live::on(Arc::clone(&view), terminal.clone(), Paint::PLAIN, clock, Arc::new(AtomicBool::new(false)), beside);
    show_all(&view, &mut live, &story.events);
    assert!(terminal.text().contains(" 0s of ~30s a: unit"), "{}", terminal.text());
    // Two items for several workers, and an apex that proves them together.
    assert!(terminal.text().contains("~1m 00s left"), "{}", terminal.text());
    now.fetch_add(12_000, Ordering::Relaxed);
    live.redraw();
    assert!(terminal.text().contains("12s of ~30s a: unit"), "{}", terminal.text());
    let passed = Some(Verdict::Passed { flaky: false });
    story.end(job, "unit", key("unit", "a"), 1, GateOutcome::Passed, passed, "").tell(Event::JobFinished { job });
    let job = story.job(0, cone_of("b"), &[("unit", key("unit", "b"), true)]);
    story.start(job, "unit", key("unit", "b"), 1);
    show_all(&view, &mut live, &story.events[shown..]);
    assert!(terminal.text().contains("of ~1s b: unit"), "what this run saw is newer: {}", terminal.text());
}

/// Shows `events` as their run would: once its view has them.
pub fn show_all(view: &Mutex<RunView>, live: &mut Live, events: &[Recorded]) {
    for event in events {
        view.lock().unwrap().apply(event);
        live.show(event);
    }
}

#[test]
fn what_is_gated_on_the_very_tree_that_will_land_is_not_expected_to_be_gated_twice() {
    let left = |items: Vec<LinedUpItem>, running: &str| {
        let mut story = Story::begin(items);
        story.cone(running);
        let job = story.job(0, cone_of(running), &[("unit", key("unit", running), true)]);
        story.start(job, "unit", key("unit", running), 1);
        let now_ms = story.events.last().unwrap().at_ms;
        let terminal = FakeTerminal::new(size(100, 20));
        let unit = DefinitionDigest::of([b"unit".as_slice()]);
        let beside = Beside { durations: [(unit, 45_000)].into(), ..Beside::default() };
        let clock = Arc::new(move || now_ms);
        let view: Arc<Mutex<RunView>> = Arc::default();
        let mut live = Live::on(
            Arc::clone(&view),
            terminal.clone(),
            Paint::PLAIN,
            clock,
            Arc::new(AtomicBool::new(false)),
            beside,
        );
        show_all(&view, &mut live, &story.events);
        terminal.text()
    };
    let alone = left(vec![item("a", 0, &[], &["unit"])], "a");
    assert!(alone.contains("~45s left"), "{alone}");
    // The last of a stack is gated with all of it.
    let stack = left(vec![item("a", 0, &[], &["unit"]), item("b", 1, &["a"], &["unit"])], "a");
    assert!(stack.contains("~1m 30s left"), "{stack}");
    let two = left(vec![item("a", 0, &[], &["unit"]), item("b", 0, &[], &["unit"])], "a");
    assert!(two.contains("~1m 30s left"), "an apex of both is another tree: {two}");
}

#[test]
fn the_last_line_that_a_gate_printed_stands_beside_it() {
    let logs = tempfile::tempdir().unwrap();
    let mut story = Story::begin(vec![item("a", 0, &[], &["unit", "lint"])]);
    story.cone("a");
    let gates = [("unit", key("unit", "a"), true), ("lint", key("lint", "a"), true)];
    let job = story.job(0, cone_of("a"), &gates);
    story.start(job, "unit", key("unit", "a"), 1);
    let terminal = FakeTerminal::new(size(60, 20));
    let beside = Beside { logs: Some(logs.path().to_owned()), ..Beside::default() };
    let view: Arc<Mutex<RunView>> = Arc::default();
    let mut live = Live::on(
        Arc::clone(&view),
        terminal.clone(),
        Paint::PLAIN,
        Arc::new(|| 0),
        Arc::new(AtomicBool::new(false)),
        beside,
    );
    show_all(&view, &mut live, &story.events);
    let shown = story.events.len();
    let log = format!("unit-{}{}", key("unit", "a").in_file_names(), job.log_ending(1));
    std::fs::write(logs.path().join(log), "\u{1b}[31mone\u{1b}[0m\n 10%\r 20%").unwrap();
    live.redraw();
    assert!(terminal.text().contains("a: unit | 20%\n"), "{}", terminal.text());
    let passed = Some(Verdict::Passed { flaky: false });
    story.end(job, "unit", key("unit", "a"), 1, GateOutcome::Passed, passed, "");
    story.start(job, "lint", key("lint", "a"), 1);
    show_all(&view, &mut live, &story.events[shown..]);
    assert!(terminal.text().contains("a: lint\n"), "what one gate printed is no other's: {}", terminal.text());
}
