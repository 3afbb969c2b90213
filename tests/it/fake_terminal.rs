//! A terminal in memory that does what common ones do (xterm's control sequences, as far as they
//! are needed here; the lines wrap anew when it is resized) and keeps all that scrolled away.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard};

use lexpr::progress::screen::{Size, Terminal};
use unicode_width::UnicodeWidthChar as _;

#[derive(Clone, Debug)]
pub struct FakeTerminal {
    screen: Arc<Mutex<Screen>>,
}

#[derive(Debug)]
struct Screen {
    actual: Size,
    /// What it says its size is.
    told: Size,
    in_background: bool,
    rows: Vec<Row>,
    row: usize,
    column: usize,
    frames: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    /// One for each cell; the second one of a wide character is empty.
    cells: Vec<String>,
    /// The text goes on in the next row because this one was full. Only erasing ends that, not
    /// other text.
    goes_on: bool,
}

impl FakeTerminal {
    pub fn new(size: Size) -> Self {
        let screen = Screen {
            actual: size,
            told: size,
            in_background: false,
            rows: vec![Row::default()],
            row: 0,
            column: 0,
            frames: Vec::new(),
        };
        Self { screen: Arc::new(Mutex::new(screen)) }
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap()
    }

    /// All rows, those that scrolled away too, up to the cursor or the last one with text.
    pub fn text(&self) -> String {
        self.screen().rows_as_text(false)
    }

    /// As `text`, with what was wrapped joined again.
    pub fn unwrapped(&self) -> String {
        self.screen().rows_as_text(true)
    }

    /// What was written, as it was.
    pub fn frames(&self) -> Vec<String> {
        self.screen().frames.clone()
    }

    pub fn put_in_background(&self, in_background: bool) {
        self.screen().in_background = in_background;
    }

    pub fn resize(&self, size: Size) {
        self.resize_silently(size);
        self.tell_size();
    }

    /// Says what its size is now.
    pub fn tell_size(&self) {
        let mut screen = self.screen();
        screen.told = screen.actual;
    }

    /// Wraps all lines anew, as most terminals do that are resized, and says so later, as tmux
    /// does while a window is dragged.
    pub fn resize_silently(&self, size: Size) {
        let screen = &mut *self.screen();
        assert_eq!(screen.column, 0, "the cursor rests at the beginning of a line");
        let below = screen.rows.split_off(screen.row);
        assert!(below.iter().all(|row| row.cells.is_empty()), "nothing stands below the cursor");
        let mut lines: Vec<Vec<String>> = Vec::new();
        let mut goes_on = false;
        for row in std::mem::take(&mut screen.rows) {
            if goes_on {
                lines.last_mut().unwrap().extend(row.cells);
            } else {
                lines.push(row.cells);
            }
            goes_on = row.goes_on;
        }
        for line in lines {
            let count = line.len().div_ceil(size.columns).max(1);
            for at in 0..count {
                let end = line.len().min((at + 1) * size.columns);
                let cells = line[at * size.columns..end].to_vec();
                screen.rows.push(Row { cells, goes_on: at + 1 < count });
            }
        }
        screen.row = screen.rows.len();
        // The cursor's own row. The empty ones below it are the first that a lower window loses.
        screen.rows.push(Row::default());
        screen.actual = size;
    }
}

impl Screen {
    fn rows_as_text(&self, joined: bool) -> String {
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&row.cells.concat());
            if !(joined && row.goes_on) {
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
            }
        }
        text.trim_end().to_owned() + "\n"
    }

    /// The first row that has not scrolled away: no cursor gets above it.
    fn top(&self) -> usize {
        self.rows.len().saturating_sub(self.actual.rows)
    }

    fn down(&mut self) {
        self.row += 1;
        if self.rows.len() <= self.row {
            self.rows.push(Row::default());
        }
    }

    fn put(&mut self, c: char) {
        let width = c.width().unwrap();
        let columns = self.actual.columns;
        if self.column + width > columns {
            self.rows[self.row].goes_on = true;
            self.down();
            self.column = 0;
        }
        let column = self.column;
        let cells = &mut self.rows[self.row].cells;
        if width == 0 {
            cells[column - 1].push(c);
            return;
        }
        if cells.len() < column + width {
            cells.resize(column + width, " ".to_owned());
        }
        cells[column] = c.to_string();
        cells[column + 1..column + width].fill(String::new());
        self.column += width;
    }

    fn control(&mut self, arguments: &str, function: char) {
        match (arguments, function) {
            (up, 'A') => self.row = self.row.saturating_sub(up.parse().unwrap()).max(self.top()),
            ("", 'J') => {
                assert_eq!(self.column, 0);
                let from = self.row;
                self.rows[from..].fill(Row::default());
            }
            ("", 'K') => {
                let (row, column) = (self.row, self.column);
                self.rows[row].cells.truncate(column);
            }
            (_, 'm') | ("?2026", 'h' | 'l') => {}
            other => panic!("{other:?} is not known to this terminal"),
        }
    }
}

impl Write for FakeTerminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut screen = self.screen();
        let text = std::str::from_utf8(bytes).expect("a frame is written whole");
        screen.frames.push(text.to_owned());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => screen.column = 0,
                '\n' => screen.down(),
                '\u{1b}' => {
                    assert_eq!(chars.next(), Some('['));
                    let mut arguments = String::new();
                    let function = loop {
                        match chars.next().expect("a control sequence ends") {
                            c if c.is_ascii_alphabetic() => break c,
                            c => arguments.push(c),
                        }
                    };
                    screen.control(&arguments, function);
                }
                c => {
                    assert!(!c.is_control(), "{c:?} reached the terminal");
                    screen.put(c);
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Terminal for FakeTerminal {
    fn size(&self) -> Size {
        self.screen().told
    }

    fn is_in_foreground(&self) -> bool {
        !self.screen().in_background
    }
}
