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
    /// How many cells wide each line of the block is that stands right above the cursor.
    drawn: Vec<usize>,
}

impl Screen {
    pub fn new(terminal: impl Terminal + 'static) -> Self {
        Self { terminal: Box::new(terminal), drawn: Vec::new() }
    }

    /// Puts `above` where the block begins, for good, and `block` below it in place of the last
    /// one. Lines above wrap as the terminal does it; those of the block are cut, and where there
    /// are more than rows, the last one says how many are not shown. In the background there is
    /// no block: it would be drawn over what somebody types.
    pub fn draw(&mut self, above: &[String], block: &[String]) {
        let Size { columns, rows } = self.terminal.size();
        let columns = columns.max(1);
        let mut frame = String::from(HOLD);
        let replaced = self.drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum::<usize>();
        if replaced > 0 {
            // Up to where the block begins; a terminal that was made narrower has wrapped it. Rows
            // that are written over without being erased stay joined to the next by that wrap.
            frame.push_str(&format!("\r\u{1b}[{replaced}A{ERASE_BELOW}"));
        }
        for line in above {
            frame.push_str(line);
            frame.push_str("\r\n");
        }
        self.drawn.clear();
        if !block.is_empty() && self.terminal.is_in_foreground() {
            for line in fitting(block, rows) {
                // Terminals differ on where the cursor is after the last column: it stays free.
                let (line, width) = cut(&line, columns - 1);
                frame.push_str(&line);
                frame.push_str("\r\n");
                self.drawn.push(width);
            }
        }
        if frame.len() > HOLD.len() {
            frame.push_str(SHOW);
            // A terminal that went away ends nothing.
            let _ = self.terminal.write_all(frame.as_bytes()).and_then(|()| self.terminal.flush());
        }
    }

    /// Somebody else wrote below the block since it was drawn: it stays where it is.
    pub fn abandon(&mut self) {
        self.drawn.clear();
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

// Synchronized output: a terminal that knows it shows the frame in one piece, others ignore it.
const HOLD: &str = "\u{1b}[?2026h";
const SHOW: &str = "\u{1b}[?2026l";
// ECMA-48: ED.
const ERASE_BELOW: &str = "\u{1b}[J";

/// The first of `block` that leave a row to what scrolls and one to the cursor, at least one.
fn fitting(block: &[String], rows: usize) -> Vec<String> {
    let room = rows.saturating_sub(2).max(1);
    if block.len() <= room {
        return block.to_vec();
    }
    let shown = room.saturating_sub(1).max(1);
    let more = (shown < room).then(|| format!("  and {} more", block.len() - shown));
    block[..shown].iter().cloned().chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: usize) -> Vec<String> {
        (0..lines).map(|line| format!("line {line}")).collect()
    }

    #[test]
    fn a_block_leaves_a_row_to_what_scrolls_and_one_to_the_cursor() {
        assert_eq!(fitting(&block(8), 10), block(8));
        assert_eq!(fitting(&block(9), 10)[6..], ["line 6", "  and 2 more"]);
        assert_eq!(fitting(&block(9), 4), ["line 0", "  and 8 more"]);
        for rows in 0..4 {
            assert_eq!(fitting(&block(9), rows), ["line 0"]);
        }
        assert!(fitting(&[], 10).is_empty());
    }
}
