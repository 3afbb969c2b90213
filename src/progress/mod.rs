//! What is shown of a run while it goes on: live lines on a terminal, calm lines elsewhere, or
//! the events themselves as JSON lines.
//!
//! Progress goes to standard error and JSON lines to standard output; a watcher that goes away
//! ends nothing. No face decides anything or asks anybody.

mod estimate;
pub mod facts;
mod json;
pub mod live;
mod output;
pub mod picture;
mod plain;
pub mod screen;

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::output::Watched;
use crate::report::view::RunView;
use crate::vocabulary::event::Recorded;
use crate::wording::Paint;

pub use json::JsonLines;
pub use live::{Beside, Live};
pub use plain::Plain;

/// What `--progress` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// `live` on a terminal, else `plain`.
    #[default]
    Auto,
    /// A line for every worker, redrawn in place. Where standard error is no terminal: `plain`.
    Live,
    /// A line for every fact that matters.
    Plain,
    /// The events as JSON lines on standard output.
    Json,
    None,
}

impl Choice {
    pub const ALL: [Self; 5] = [Self::Auto, Self::Live, Self::Plain, Self::Json, Self::None];

    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Live => "live",
            Self::Plain => "plain",
            Self::Json => "json",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The word is none of [`Choice`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way to show progress: auto, live, plain, json or none is expected")]
pub struct UnknownChoice(pub String);

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(word: &str) -> Result<Self, UnknownChoice> {
        Self::ALL.into_iter().find(|choice| choice.word() == word).ok_or_else(|| UnknownChoice(word.to_owned()))
    }
}

/// The face that was chosen.
#[derive(Debug)]
pub enum Progress {
    Live(Live),
    Plain(Plain),
    Json(JsonLines),
    None,
}

impl Progress {
    /// The chosen face on this process's own standard streams, over the `view` that the caller keeps up to date.
    /// `continued` is to be set when the process goes on after a stop (SIGCONT). `beside` is asked for by the live
    /// view alone.
    pub fn on_standard_streams(
        choice: Choice,
        view: Arc<Mutex<RunView>>,
        continued: Arc<AtomicBool>,
        beside: impl FnOnce() -> Beside,
    ) -> Self {
        let stderr = std::io::stderr();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let can_redraw = stderr.is_terminal() && !is_dumb;
        let paint = Paint::for_stream(&stderr);
        match choice {
            Choice::Auto | Choice::Live if can_redraw => Self::Live(Live::on_stderr(view, paint, continued, beside())),
            Choice::Auto | Choice::Live | Choice::Plain => Self::Plain(Plain::new(view, Watched::new(stderr), paint)),
            Choice::Json => Self::Json(JsonLines::new(Watched::asked_for(std::io::stdout()))),
            Choice::None => Self::None,
        }
    }

    /// Shows the next event, which the view has taken in.
    ///
    /// # Errors
    /// Standard output, which was asked for, cannot be written, though its reader is there. Told
    /// once; a terminal that cannot be written to has nobody to be told.
    pub fn show(&mut self, recorded: &Recorded) -> std::io::Result<()> {
        match self {
            Self::Live(live) => live.show(recorded),
            Self::Plain(plain) => plain.show(recorded),
            Self::Json(json) => return json.show(recorded),
            Self::None => {}
        }
        Ok(())
    }

    /// Takes an event in that was shown by the process that recorded it.
    pub fn recall(&mut self, recorded: &Recorded) {
        match self {
            Self::Live(live) => live.recall(recorded),
            Self::Plain(_) | Self::Json(_) | Self::None => {}
        }
    }

    /// Shows a line that is no event's, where the face redraws the terminal; otherwise false.
    pub fn note(&mut self, line: &str) -> bool {
        if let Self::Live(live) = self {
            live.note(line.to_owned());
            return true;
        }
        false
    }

    /// Says how much memory lexpr and its gates hold now, in bytes.
    pub fn memory(&mut self, used_bytes: u64) {
        if let Self::Live(live) = self {
            live.memory(used_bytes);
        }
    }

    /// Takes away what is redrawn, so that other text can follow.
    pub fn finish(self) {
        if let Self::Live(live) = self {
            live.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_known_by_its_word() {
        for choice in Choice::ALL {
            assert_eq!(choice.word().parse(), Ok(choice));
        }
        assert!("fancy".parse::<Choice>().unwrap_err().to_string().contains("plain"));
    }
}
