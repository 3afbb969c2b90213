//! Where the commands' words go: results to standard output, everything else to standard error.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use super::failure::Failure;
use crate::diagnostics::Style;
use crate::output::{self, Watched};
use crate::wording::Paint;

/// What the command was asked for.
///
/// # Errors
/// Where standard output cannot be written, for example because a disk behind it is full.
pub fn result(text: &str) -> Result<(), Failure> {
    output::to_stdout(text).map_err(|error| Failure::internal(format!("standard output cannot be written: {error}")))
}

/// Lets `command` write what it was asked for, and sends it to standard output whole.
///
/// # Errors
/// As [`result`].
pub fn with_stdout(command: impl FnOnce(&mut dyn Write) -> std::io::Result<u8>) -> Result<u8, Failure> {
    let mut text = Vec::new();
    let code = command(&mut text).expect("a buffer in memory takes everything");
    result(&String::from_utf8_lossy(&text))?;
    Ok(code)
}

/// Standard error, on which nothing fails for want of a reader.
pub fn stderr() -> impl Write {
    Watched::new(std::io::stderr())
}

/// Set by `--quiet`, before anything is said.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// From now on only [`must_know`] says anything.
pub fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

pub fn is_quiet() -> bool {
    IS_QUIET.load(Ordering::Relaxed)
}

/// What is worth knowing beside the result. Somebody who closed standard error misses it.
pub fn note(text: &str) {
    if !is_quiet() {
        must_know(text);
    }
}

/// What went wrong, and what keeps a command from its end: said however quiet it is to be.
pub fn must_know(text: &str) {
    // `Watched` drops what nobody reads; other failures have nowhere to be told.
    let _ = stderr().write_all(text.as_bytes());
}

/// How diagnostics look on standard error.
pub fn diagnostics_style() -> Style {
    style(Paint::for_stream(&std::io::stderr()))
}

/// How diagnostics look on standard output.
pub fn stdout_style() -> Style {
    style(Paint::for_stream(&std::io::stdout()))
}

fn style(paint: Paint) -> Style {
    if paint == Paint::PLAIN { Style::Plain } else { Style::Colour }
}
