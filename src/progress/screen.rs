//! The part of a terminal that is drawn again and again: lines that scroll away above it, and
//! below them a block of lines that each frame replaces whole. It knows nothing of runs.
//!
//! A frame is one write. It does not pad lines to the terminal's width, as indicatif does:
//! padded lines wrap as soon as the window is made narrower and then stay behind
//! (console-rs/indicatif issue 182).

use std::fmt;
use std::io::{self, Write};

use crate::wording::cut;

/// The size of a terminal, in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

impl Size {
    /// What a terminal is taken for that does not say, as the first ones were.
    const UNKNOWN: Self = Self { columns: 80, rows: 24 };
}

/// Where frames go: each `write_all` is a frame.
pub trait Terminal: Write + Send {
    fn size(&self) -> Size;

    /// False while a job of the same terminal's shell runs in the foreground, or the shell itself.
    fn is_in_foreground(&self) -> bool;
}

/// A terminal behind standard error.
#[derive(Debug)]
pub struct Stderr<W>(pub W);

impl<W: Write> Write for Stderr<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + Send> Terminal for Stderr<W> {
    fn size(&self) -> Size {
        match rustix::termios::tcgetwinsize(rustix::stdio::stderr()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
            }
            _ => Size::UNKNOWN,
        }
    }

    fn is_in_foreground(&self) -> bool {
        let group = rustix::termios::tcgetpgrp(rustix::stdio::stderr());
        // A terminal that is not this session's has no jobs to ask about.
        group.map_or(true, |group| group == rustix::process::getpgrp())
    }
}

/// What stands on a terminal and is to be replaced.
pub struct Screen {
    terminal: Box<dyn Terminal>,
    /// The lines of the block that stands right above the cursor, and how many cells wide each is.
    drawn: Vec<(String, usize)>,
    /// The terminal's size when it was drawn.
    size: Size,
}

impl Screen {
    pub fn new(terminal: impl Terminal + 'static) -> Self {
        let terminal: Box<dyn Terminal> = Box::new(terminal);
        Self { size: terminal.size(), terminal, drawn: Vec::new() }
    }

    pub fn size(&self) -> Size {
        self.terminal.size()
    }

    /// Puts `above` where the block begins, for good, and `block` below it in place of the last
    /// one. Lines above wrap as the terminal does it; those of the block are cut, and what has no
    /// row is left out. Where nothing has changed nothing is written. In the background there is
    /// no block: it would be drawn over what somebody types.
    pub fn draw(&mut self, above: &[String], block: &[String]) {
        let size = self.terminal.size();
        let (columns, rows) = (size.columns.max(1), size.rows);
        let room = if self.terminal.is_in_foreground() { rows.saturating_sub(1) } else { 0 };
        // Terminals differ on where the cursor is after the last column: it stays free.
        let block: Vec<_> = block.iter().take(room).map(|line| cut(line, columns - 1)).collect();
        let stands_as_drawn = above.is_empty() && size == self.size;
        if stands_as_drawn && block == self.drawn {
            return;
        }
        let frame = if stands_as_drawn { self.changed(&block) } else { self.anew(above, &block, columns) };
        (self.drawn, self.size) = (block, size);
        // A terminal that went away ends nothing.
        let frame = format!("{HOLD}{frame}{SHOW}");
        let _ = self.terminal.write_all(frame.as_bytes()).and_then(|()| self.terminal.flush());
    }

    /// Nothing but the lines that changed, none of which is gone for a moment: it would flicker.
    fn changed(&self, block: &[(String, usize)]) -> String {
        let mut frame = up(self.drawn.len());
        for (at, line) in block.iter().enumerate() {
            if self.drawn.get(at) != Some(line) {
                frame.push_str(&line.0);
                frame.push_str(ERASE_RIGHT);
            }
            frame.push_str("\r\n");
        }
        if block.len() < self.drawn.len() {
            frame.push_str(ERASE_BELOW);
        }
        frame
    }

    fn anew(&self, above: &[String], block: &[(String, usize)], columns: usize) -> String {
        // Up to where the block begins; a terminal that was made narrower has wrapped it. Rows
        // that are written over without being erased stay joined to the next by that wrap.
        let mut frame = up(self.drawn.iter().map(|(_, width)| width.div_ceil(columns).max(1)).sum());
        if !frame.is_empty() {
            frame.push_str(ERASE_BELOW);
        }
        for line in above.iter().chain(block.iter().map(|(line, _)| line)) {
            frame.push_str(line);
            frame.push_str("\r\n");
        }
        frame
    }

    /// Somebody else wrote below the block since it was drawn: it stays where it is.
    pub fn abandon(&mut self) {
        self.drawn.clear();
    }
}

/// To the beginning of the line so many rows above.
fn up(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("\r\u{1b}[{rows}A") }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

// Synchronized output: a terminal that knows it shows the frame in one piece, others ignore it.
const HOLD: &str = "\u{1b}[?2026h";
const SHOW: &str = "\u{1b}[?2026l";
// ECMA-48: ED and EL.
const ERASE_BELOW: &str = "\u{1b}[J";
const ERASE_RIGHT: &str = "\u{1b}[K";
