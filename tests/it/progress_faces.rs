//! What is shown while a run goes on: the plain lines, the JSON lines, and the live view on a
//! small terminal of our own.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use indicatif::{ProgressDrawTarget, TermLike};
use lexpr::output::Watched;
use lexpr::progress::{JsonLines, Live, Plain};
use lexpr::vocabulary::event::{Event, Recorded};
use lexpr::wording::Paint;

use crate::report_stories::{eventful, halted, hostile, smooth};

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
    let mut face = Plain::new(out.clone(), paint);
    events.iter().for_each(|event| face.show(event));
    out.text()
}

#[test]
fn plain_lines() {
    insta::assert_snapshot!("plain_eventful", plain(&eventful(), Paint::PLAIN));
    insta::assert_snapshot!("plain_smooth", plain(&smooth(), Paint::PLAIN));
    insta::assert_snapshot!("plain_halted", plain(&halted(), Paint::PLAIN));
    insta::assert_snapshot!("plain_hostile", plain(&hostile(), Paint::PLAIN));
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
    events.iter().for_each(|event| face.show(event));
    let read: Vec<Recorded> = out.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, events);
}

#[test]
fn a_closed_pipe_ends_no_run() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut plain = Plain::new(Watched::new(writer.try_clone().unwrap()), Paint::PLAIN);
    let mut json = JsonLines::new(Watched::new(writer));
    for event in eventful() {
        plain.show(&event);
        json.show(&event);
    }
}

/// A terminal that wraps lines, keeps all that was ever written and knows its width.
#[derive(Clone, Debug)]
struct Screen {
    width: usize,
    cells: Arc<Mutex<Cells>>,
}

#[derive(Debug, Default)]
struct Cells {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    fn new(width: usize) -> Self {
        Self { width, cells: Arc::default() }
    }

    fn text(&self) -> String {
        let cells = self.cells.lock().unwrap();
        let lines: Vec<String> =
            cells.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect();
        lines.join("\n").trim_end().to_owned() + "\n"
    }

    fn put(&self, text: &str) {
        let mut cells = self.cells.lock().unwrap();
        for c in anstream::adapter::strip_str(text).to_string().chars() {
            match c {
                '\r' => cells.column = 0,
                '\n' => {
                    cells.row += 1;
                    cells.column = 0;
                }
                c => {
                    assert!(!c.is_control(), "{c:?} reached the terminal");
                    if cells.column == self.width {
                        cells.row += 1;
                        cells.column = 0;
                    }
                    let (row, column) = (cells.row, cells.column);
                    if cells.lines.len() <= row {
                        cells.lines.resize(row + 1, Vec::new());
                    }
                    let line = &mut cells.lines[row];
                    if line.len() <= column {
                        line.resize(column + 1, ' ');
                    }
                    line[column] = c;
                    cells.column += 1;
                }
            }
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.width as u16
    }

    fn height(&self) -> u16 {
        50
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        let mut cells = self.cells.lock().unwrap();
        cells.row = cells.row.saturating_sub(n);
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.cells.lock().unwrap().row += n;
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.cells.lock().unwrap().column += n;
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        let mut cells = self.cells.lock().unwrap();
        cells.column = cells.column.saturating_sub(n);
        Ok(())
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.put(s);
        self.put("\n");
        Ok(())
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.put(s);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        let mut cells = self.cells.lock().unwrap();
        cells.column = 0;
        let row = cells.row;
        if let Some(line) = cells.lines.get_mut(row) {
            line.clear();
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The live view after all of `events`, at the time of the last one.
fn live(events: &[Recorded], width: usize, paint: Paint) -> (Live, Screen) {
    let screen = Screen::new(width);
    let now = Arc::new(Mutex::new(0));
    let clock = Arc::clone(&now);
    let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
    let mut live = Live::on(target, paint, Arc::new(move || *clock.lock().unwrap()));
    for event in events {
        *now.lock().unwrap() = event.at_ms;
        live.show(event);
    }
    (live, screen)
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
    insta::assert_snapshot!("live_narrow", screen.text());
    let (live, screen) = self::live(&eventful(), 20, Paint::PLAIN);
    live.finish();
    let unwrapped: String = screen.text().split_whitespace().collect();
    let expected: String = plain(&eventful(), Paint::PLAIN).split_whitespace().collect();
    assert_eq!(unwrapped, expected, "nothing that scrolled was overwritten");
}
