//! The log of a gate that a CI service judges, as it comes: what the service's own logs say, and what lexpr has to add.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;

use super::Trouble;
use crate::gate::elsewhere::Errand;
use crate::gate::pump::{LogWriter, writer};

pub(super) struct Transcript {
    path: PathBuf,
    to: LogWriter,
    is_at_line_start: bool,
}

impl Transcript {
    pub(super) fn of(errand: &Errand) -> Result<Self, Trouble> {
        let path = errand.log.clone();
        let file = OpenOptions::new().append(true).open(&path);
        let to = file.and_then(|file| writer(file, &errand.log_rules)).map_err(|error| unwritable(&path, &error))?;
        Ok(Self { path, to, is_at_line_start: true })
    }

    pub(super) fn write(&mut self, text: &str) -> Result<(), Trouble> {
        if let Some(last) = text.chars().last() {
            self.is_at_line_start = last == '\n';
        }
        self.to.write(text.as_bytes()).map_err(|error| unwritable(&self.path, &error))
    }

    /// A line of lexpr's own.
    pub(super) fn note(&mut self, note: &str) -> Result<(), Trouble> {
        let line_break = if self.is_at_line_start { "" } else { "\n" };
        self.write(&format!("{line_break}[lexpr: {note}]\n"))
    }

    pub(super) fn finish(self) -> Result<(), Trouble> {
        self.to.finish().map(drop).map_err(|error| unwritable(&self.path, &error))
    }
}

fn unwritable(path: &std::path::Path, error: &io::Error) -> Trouble {
    Trouble::Said(format!("what the gate printed could not be written to {}: {error}", path.display()))
}
