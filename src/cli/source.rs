//! Reads the plan that a command was given: a file, or standard input for `-`.

use std::fs::File;
use std::io::{self, Read};

use crate::plan::check::{Checked, Invalid, check};
use crate::plan::problem::{Problem, Source};

/// Bytes read of a plan, so that an endless device is refused instead of read; what is larger
/// than a plan can be, the reader of plans refuses too.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Reads and checks the plan at `path`; `-` is standard input.
///
/// # Errors
/// With all problems of the plan; that it cannot be read is one.
pub fn read_plan(path: &str) -> Result<Checked, Invalid> {
    let bytes = read(path).map_err(|error| {
        let source_text = Source { name: path.to_owned(), text: "".into() };
        Invalid { source_text, problems: vec![cannot_read(path, &error)] }
    })?;
    check(path, &bytes)
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == "-" {
        io::stdin().lock().take(MAX_BYTES).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
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
