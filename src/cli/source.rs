//! Reads the plan that a command was given: a file, or standard input for `-`.

use std::fs::File;
use std::io::{self, Read};

use crate::plan::check::{Checked, Invalid, check};
use crate::plan::problem::{Problem, Source};
use crate::plan::spanned::MAX_BYTES;
use crate::plan::unreadable::too_large;

/// Reads and checks the plan at `path`; `-` is standard input.
///
/// # Errors
/// With all problems of the plan; that it cannot be read is one.
pub fn read_plan(path: &str) -> Result<Checked, Invalid> {
    check(path, &read_bytes(path)?)
}

/// The bytes of the plan at `path`; `-` is standard input.
///
/// # Errors
/// That it cannot be read, as a problem of the plan.
pub fn read_bytes(path: &str) -> Result<Vec<u8>, Invalid> {
    read(path).map_err(|problem| {
        let source_text = Source { name: path.to_owned(), text: "".into() };
        Invalid { source_text, problems: vec![*problem] }
    })
}

/// No more than a plan can have, and one byte more to tell: an endless device is refused like a
/// large file, and the file by its size, before it is read.
fn read(path: &str) -> Result<Vec<u8>, Box<Problem>> {
    let most = MAX_BYTES as u64;
    let io_error = |error: io::Error| Box::new(cannot_read(path, &error));
    let mut bytes = Vec::new();
    if path == "-" {
        io::stdin().lock().take(most + 1).read_to_end(&mut bytes).map_err(io_error)?;
    } else {
        let file = File::open(path).map_err(io_error)?;
        let size = file.metadata().map_err(io_error)?.len();
        if size > most {
            return Err(Box::new(too_large()));
        }
        bytes.reserve_exact(usize::try_from(size).unwrap_or(0));
        file.take(most + 1).read_to_end(&mut bytes).map_err(io_error)?;
    }
    Ok(bytes)
}

fn cannot_read(path: &str, error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Problem::error("there is no such file").hint("name a plan, or `-` to read one from standard input")
        }
        io::ErrorKind::IsADirectory => Problem::error("this is a folder").hint("name the plan in it"),
        _ => Problem::error(format!("cannot read {path}: {error}")),
    }
}
