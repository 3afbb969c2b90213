//! What is shown while a run goes on: the plain lines, the JSON lines, and the live view on a
//! small terminal of our own.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lexpr::output::Watched;
use lexpr::progress::screen::Size;
use lexpr::progress::{Beside, JsonLines, Live, Plain};
use lexpr::report::view::RunView;
use lexpr::vocabulary::event::{Event, Recorded};
use lexpr::wording::Paint;

use crate::fake_terminal::FakeTerminal;
use crate::report_stories::{Story, adaptive, eventful, grouped, halted, hostile, item, resumed, smooth};

/// Text that somebody else can look at.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plain(events: &[Recorded], paint: Paint) -> String {
    let out = Shared::default();
    let view = Arc::default();
    let mut face = Plain::new(Arc::clone(&view), out.clone(), paint);
    for event in events {
        view.lock().unwrap().apply(event);
        face.show(event);
    }
    out.text()
}

#[test]
fn plain_lines() {
    insta::assert_snapshot!("plain_eventful", plain(&eventful(), Paint::PLAIN));
    insta::assert_snapshot!("plain_adaptive", plain(&adaptive(), Paint::PLAIN));
    insta::assert_snapshot!("plain_smooth", plain(&smooth(), Paint::PLAIN));
    insta::assert_snapshot!("plain_halted", plain(&halted(), Paint::PLAIN));
    insta::assert_snapshot!("plain_hostile", plain(&hostile(), Paint::PLAIN));
}

#[test]
fn nobody_is_told_that_workers_came_because_next_to_nothing_was_idle() {
    let text = plain(&adaptive(), Paint::PLAIN);
    assert!(text.contains("(a gate takes 34 % of a processor, 1.7 were idle)"), "{text}");
    assert!(
        text.contains("gates hardly compute (one takes 2 % of a processor)") && !text.contains("0.1 were"),
        "{text}"
    );
}

#[test]
fn colours_are_all_that_colour_adds() {
    for events in [eventful(), hostile()] {
        let coloured = plain(&events, Paint::COLOURED);
        assert!(coloured.contains("\u{1b}["));
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain(&events, Paint::PLAIN));
    }
}

#[test]
fn control_characters_of_others_never_reach_the_terminal() {
    let text = plain(&hostile(), Paint::PLAIN);
    assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
}

#[test]
fn json_lines_are_the_events() {
    let out = Shared::default();
    let mut face = JsonLines::new(out.clone());
    let events = [eventful(), halted(), hostile()].concat();
    events.iter().for_each(|event| face.show(event).unwrap());
    let read: Vec<Recorded> = out.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, events);
}

#[test]
fn a_closed_pipe_ends_no_run() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let view: Arc<Mutex<RunView>> = Arc::default();
    let mut plain = Plain::new(Arc::clone(&view), Watched::new(writer.try_clone().unwrap()), Paint::PLAIN);
    let mut json = JsonLines::new(Watched::asked_for(writer));
    for event in eventful() {
        view.lock().unwrap().apply(&event);
        plain.show(&event);
        json.show(&event).unwrap();
    }
}

/// The live view after all of `events`, at the time of the last one.
fn live(events: &[Recorded], columns: usize, paint: Paint) -> (Live, FakeTerminal) {
    let mut watched = Watching::new(Size { columns, rows: 50 }, paint);
    events.iter().for_each(|event| watched.show(event));
    (watched.live, watched.terminal)
}

/// A live view, its terminal, its clock and the signal that it goes on.
struct Watching {
    view: Arc<Mutex<RunView>>,
    live: Live,
    terminal: FakeTerminal,
    now: Arc<AtomicU64>,
    continued: Arc<AtomicBool>,
}

impl Watching {
    fn new(size: Size, paint: Paint) -> Self {
        let terminal = FakeTerminal::new(size);
        let (now, continued) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || clock.load(Ordering::Relaxed));
        let view: Arc<Mutex<RunView>> = Arc::default();
        let (seen, goes_on) = (Arc::clone(&view), Arc::clone(&continued));
        let live = Live::on(seen, terminal.clone(), paint, clock, goes_on, Beside::default());
        Self { view, live, terminal, now, continued }
    }

    fn show(&mut self, event: &Recorded) {
        self.now.store(event.at_ms, Ordering::Relaxed);
        self.view.lock().unwrap().apply(event);
        self.live.show(event);
    }

    /// As the ticker does between events.
    fn tick(&mut self) {
        self.now.fetch_add(200, Ordering::Relaxed);
        self.live.redraw();
    }
}

/// The events up to the one that is running a gate while another worker is at it.
fn busy_prefix() -> Vec<Recorded> {
    let events = eventful();
    let second_job = events
        .iter()
        .position(|event| matches!(&event.event, Event::GateStarted { gate, .. } if gate.as_str() == "links"));
    events[..=second_job.unwrap()].to_vec()
}

#[test]
fn the_live_view_has_a_header_and_a_line_for_each_worker() {
    let (mut live, screen) = live(&busy_prefix(), 100, Paint::PLAIN);
    live.memory(512 << 20);
    live.redraw();
    insta::assert_snapshot!("live_busy", screen.text());
    live.finish();
    insta::assert_snapshot!("live_busy_finished", screen.text());
}

#[test]
fn the_live_view_estimates_what_is_left() {
    let events = eventful();
    let passed = events.iter().filter(|event| matches!(&event.event, Event::ItemDecided(_))).nth(1).unwrap().seq;
    let (live, screen) = live(&events[..passed as usize], 100, Paint::PLAIN);
    insta::assert_snapshot!(screen.text());
    drop(live);
}

#[test]
fn the_estimate_counts_what_a_group_takes_once_for_all_of_it() {
    // So far an item took ten seconds. Of the group's 8 s are left, and two items wait: 28 s of work, by 4 workers,
    // but none is sooner done than one that waits.
    let (view, screen) = live(&grouped(), 100, Paint::PLAIN);
    assert!(screen.text().contains("~10s left"), "{}", screen.text());
    drop(view);
    let mut events = grouped();
    if let Event::RunStarted(started) = &mut events[0].event {
        started.max_workers = 1;
    }
    let (view, screen) = live(&events, 100, Paint::PLAIN);
    assert!(screen.text().contains("~28s left"), "{}", screen.text());
    drop(view);
}

#[test]
fn a_run_that_goes_on_says_how_far_it_had_come() {
    let line = |story: &mut Story| {
        story.tell(resumed(None));
        plain(&story.events, Paint::PLAIN).lines().last().unwrap().to_owned()
    };
    let mut story = Story::begin(vec![item("a", 0, &[], &[]), item("b", 0, &[], &[])]);
    assert!(line(&mut story).ends_with(": 2 items onto main, nothing decided yet"));
    story.passed("a", &[]);
    assert!(line(&mut story).ends_with(": 2 items onto main, 1 decided"));
    story.passed("b", &[]);
    assert!(line(&mut story).ends_with(": 2 items onto main, all decided"));
}

#[test]
fn the_live_view_of_a_run_that_was_asked_to_stop_says_so_and_estimates_nothing() {
    let events = eventful();
    let passed = events.iter().filter(|event| matches!(&event.event, Event::ItemDecided(_))).nth(1).unwrap().seq;
    let mut events = events[..passed as usize].to_vec();
    let last = events.last().unwrap().clone();
    let interrupted = Event::Interrupted { signal: "SIGINT".into() };
    events.push(Recorded { seq: last.seq + 1, at_ms: last.at_ms, event: interrupted });
    let (live, screen) = live(&events, 100, Paint::PLAIN);
    let header = screen.text().lines().find(|line| line.contains(" landed,")).unwrap().to_owned();
    assert!(header.contains("stopping") && !header.contains("left"), "{header}");
    drop(live);
}

#[test]
fn what_the_live_view_leaves_on_the_screen_are_the_plain_lines() {
    for events in [eventful(), halted(), hostile()] {
        let (live, screen) = live(&events, 500, Paint::COLOURED);
        live.finish();
        assert_eq!(screen.text(), plain(&events, Paint::PLAIN));
    }
}

#[test]
fn the_live_view_works_at_twenty_columns() {
    let (mut live, screen) = live(&busy_prefix(), 20, Paint::COLOURED);
    live.memory(512 << 20);
    live.redraw();
    insta::assert_snapshot!("live_narrow", screen.text());
    let (live, screen) = self::live(&eventful(), 20, Paint::PLAIN);
    live.finish();
    let unwrapped: String = screen.text().split_whitespace().collect();
    let expected: String = plain(&eventful(), Paint::PLAIN).split_whitespace().collect();
    assert_eq!(unwrapped, expected, "nothing that scrolled was overwritten");
}

/// How many workers are busy after each of `events`.
fn busy_after(events: &[Recorded]) -> Vec<usize> {
    let steps = events.iter().scan(0, |busy, event| {
        match &event.event {
            Event::JobStarted(_) => *busy += 1,
            Event::JobFinished { .. } => *busy -= 1,
            _ => {}
        }
        Some(*busy)
    });
    steps.collect()
}

/// The last lines of a screen, which are no plain lines.
fn below<'a>(screen: &'a str, above: &str) -> Vec<&'a str> {
    let rest = screen.strip_prefix(above).unwrap_or_else(|| panic!("{screen}\nbegins otherwise than\n{above}"));
    rest.lines().collect()
}

#[test]
fn below_the_finished_lines_stand_one_header_and_the_busy_workers_and_nothing_else() {
    for events in [eventful(), smooth(), halted(), hostile()] {
        let mut watched = Watching::new(Size { columns: 500, rows: 50 }, Paint::COLOURED);
        for (at, busy) in busy_after(&events).into_iter().enumerate() {
            watched.show(&events[at]);
            for tick in 0..2 {
                let text = watched.terminal.text();
                let block = below(&text, &plain(&events[..=at], Paint::PLAIN));
                assert_eq!(block.len(), 1 + busy, "after event {at} and {tick} ticks:\n{text}");
                assert!(block[0].contains(" landed"), "{text}");
                assert!(block[1..].iter().all(|line| line.contains(": ")), "{text}");
                watched.tick();
            }
        }
        watched.live.finish();
        assert_eq!(watched.terminal.text(), plain(&events, Paint::PLAIN));
    }
}

#[test]
fn lines_that_wrap_above_leave_the_block_as_it_is() {
    for columns in [20, 40, 77] {
        let events = hostile();
        let mut watched = Watching::new(Size { columns, rows: 10 }, Paint::COLOURED);
        for (at, busy) in busy_after(&events).into_iter().enumerate() {
            watched.show(&events[at]);
            watched.tick();
            let text = watched.terminal.unwrapped();
            let block = below(&text, &plain(&events[..=at], Paint::PLAIN));
            assert_eq!(block.len(), 1 + busy, "after event {at} at {columns} columns:\n{text}");
        }
    }
}

#[test]
fn the_block_survives_a_window_that_is_made_narrower_and_wider() {
    let events = eventful();
    let mut watched = Watching::new(Size { columns: 100, rows: 30 }, Paint::COLOURED);
    let sizes = [(100, 30), (60, 30), (25, 25), (140, 12), (33, 40)];
    for (at, busy) in busy_after(&events).into_iter().enumerate() {
        watched.show(&events[at]);
        let (columns, rows) = sizes[at % sizes.len()];
        watched.terminal.resize(Size { columns, rows });
        watched.tick();
        let text = watched.terminal.unwrapped();
        let block = below(&text, &plain(&events[..=at], Paint::PLAIN));
        assert_eq!(block.len(), 1 + busy, "after event {at}, at {columns}x{rows}:\n{text}");
    }
    watched.live.finish();
    assert_eq!(watched.terminal.unwrapped(), plain(&events, Paint::PLAIN));
}

#[test]
fn a_terminal_that_tells_its_new_size_late_loses_no_finished_line() {
    let events = eventful();
    let expected = plain(&events, Paint::PLAIN);
    let mut watched = Watching::new(Size { columns: 100, rows: 30 }, Paint::COLOURED);
    for (at, event) in events.iter().enumerate() {
        watched.terminal.resize_silently(Size { columns: [30, 60, 40, 100][at % 4], rows: 30 });
        watched.show(event);
        watched.terminal.tell_size();
        watched.tick();
    }
    watched.live.finish();
    let text = watched.terminal.unwrapped();
    let mut rest = text.as_str();
    for line in expected.lines() {
        // What is left of a block that had wrapped unseen may stand before it.
        let (_, after) = rest.split_once(line).unwrap_or_else(|| panic!("{line:?} is not in its place in\n{text}"));
        rest = after;
    }
}

#[test]
fn after_a_stop_the_block_is_drawn_below_what_the_shell_wrote() {
    let mut watched = Watching::new(Size { columns: 100, rows: 30 }, Paint::PLAIN);
    busy_prefix().iter().for_each(|event| watched.show(event));
    let stopped = watched.terminal.text();
    watched.terminal.clone().write_all(b"^Z\r\nStopped\r\n$ fg\r\n").unwrap();
    watched.continued.store(true, Ordering::Relaxed);
    watched.tick();
    watched.tick();
    let text = watched.terminal.text();
    let block = below(&text, &format!("{stopped}^Z\nStopped\n$ fg\n"));
    assert_eq!(block.len(), 3, "{text}");
    watched.live.finish();
    assert_eq!(watched.terminal.text(), format!("{stopped}^Z\nStopped\n$ fg\n"));
}

#[test]
fn in_the_background_finished_lines_are_all_there_is() {
    let events = eventful();
    let mut watched = Watching::new(Size { columns: 500, rows: 30 }, Paint::PLAIN);
    watched.terminal.put_in_background(true);
    for event in &events[..events.len() / 2] {
        watched.show(event);
        watched.tick();
    }
    assert_eq!(watched.terminal.text(), plain(&events[..events.len() / 2], Paint::PLAIN));
    watched.terminal.put_in_background(false);
    watched.tick();
    let text = watched.terminal.text();
    assert!(!below(&text, &plain(&events[..events.len() / 2], Paint::PLAIN)).is_empty(), "{text}");
    watched.live.finish();
}

#[test]
fn a_note_stands_above_the_block() {
    let events = busy_prefix();
    let mut watched = Watching::new(Size { columns: 100, rows: 30 }, Paint::PLAIN);
    events.iter().for_each(|event| watched.show(event));
    watched.live.note("SIGINT: stopping".to_owned());
    let text = watched.terminal.text();
    let block = below(&text, &format!("{}SIGINT: stopping\n", plain(&events, Paint::PLAIN)));
    assert_eq!(block.len(), 3, "{text}");
}
