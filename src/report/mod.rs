//! Reports: what a run did, or a dry run would do, as JSON, as Markdown and as the few lines at
//! the end of a command.
//!
//! [`view::RunView`] gathers events, [`json::RunReport`] is made from it, and everything else is
//! made from that. Nothing here runs, decides or prints.

pub mod dry_run;
pub mod json;
pub mod markdown;
pub mod summary;
pub mod view;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::output::{OutputError, append_file, write_file};
use crate::vocabulary::event::Recorded;
use dry_run::DryRun;
use json::RunReport;

/// What GitHub takes as the summary of one step: 1 MiB, everything beyond is an error
/// (docs.github.com, "Workflow commands", "Step isolation and limits").
pub const STEP_SUMMARY_BYTES: usize = 1024 * 1024;

/// A report of either kind; `mode` tells which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "camelCase")]
pub enum Report {
    /// Of a run.
    Execute(Box<RunReport>),
    /// Of a dry run.
    DryRun(Box<DryRun>),
}

/// The forms a report can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Markdown,
}

/// Where a report goes, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub path: PathBuf,
    pub format: Format,
}

/// The name of a report's file does not say in which form it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--report {path:?}: the file's extension says what is written, and must be .json or .md")]
pub struct UnknownFormat {
    pub path: PathBuf,
}

impl Destination {
    /// # Errors
    /// The extension is neither `.json` nor `.md` (in any case).
    pub fn from_path(path: impl Into<PathBuf>) -> Result<Self, UnknownFormat> {
        let path = path.into();
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("json") => Ok(Self { path, format: Format::Json }),
            Some("md") => Ok(Self { path, format: Format::Markdown }),
            _ => Err(UnknownFormat { path }),
        }
    }
}

impl Report {
    /// The whole report in the given form. Ends with a newline.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let mut json = serde_json::to_string_pretty(self).expect("a report has string keys and finite numbers");
                json.push('\n');
                json
            }
            Format::Markdown => markdown::render(self),
        }
    }

    /// # Errors
    /// The file cannot be written; what stood there then still does.
    pub fn write(&self, to: &Destination) -> Result<(), OutputError> {
        write_file(&to.path, self.render(to.format).as_bytes())
    }

    /// Appends the Markdown report to the file that `$GITHUB_STEP_SUMMARY` names, cut to what
    /// GitHub takes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append_step_summary(&self, file: &Path) -> Result<(), OutputError> {
        append_file(file, markdown::render_within(self, STEP_SUMMARY_BYTES).as_bytes())
    }
}

/// The JSON schema of [`Report`], as `schemas/report.schema.json` holds it.
pub fn report_schema() -> String {
    schema_text(&schemars::schema_for!(Report))
}

/// The JSON schema of [`Recorded`], one line of `--progress json` and of the journal, as
/// `schemas/event.schema.json` holds it.
pub fn event_schema() -> String {
    schema_text(&schemars::schema_for!(Recorded))
}

fn schema_text(schema: &schemars::Schema) -> String {
    let mut text = serde_json::to_string_pretty(schema).expect("a schema has string keys");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_chooses_the_form_and_others_are_named() {
        assert_eq!(Destination::from_path("a/report.JSON").unwrap().format, Format::Json);
        assert_eq!(Destination::from_path("report.md").unwrap().format, Format::Markdown);
        for refused in ["report", "report.html", "-", ".json"] {
            let error = Destination::from_path(refused).unwrap_err();
            assert!(error.to_string().contains(".json or .md"), "{error}");
        }
    }
}
