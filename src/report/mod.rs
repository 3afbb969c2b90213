//! Reports: what a run did, or a dry run would do, as JSON, as Markdown and as the few lines at
//! the end of a command; and the forecast of a run, also as a page for a browser.
//!
//! [`view::RunView`] gathers events, [`json::RunReport`] is made from it, and everything else is
//! made from that. Nothing here runs, decides or prints.

mod command;
pub mod dry_run;
pub mod forecast;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod lanes;
pub mod markdown;
pub mod outcome;
pub mod reproduce;
pub mod resizing;
pub mod summary;
pub mod trace;
pub mod undo;
pub mod view;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::output::{OutputError, append_file, to_stdout, write_file};
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
    /// For CI servers.
    Junit,
    /// One page that needs nothing else.
    Html,
    /// For Perfetto and Chrome.
    Trace,
}

/// Where a report goes, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    place: Place,
    format: Format,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Which then must hold nothing else.
    Stdout,
    File(PathBuf),
}

/// The name of a report's file does not say in which form it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--report {path}: the extension says what is written: .json, .md, .html, .xml (JUnit) or .trace (Perfetto), or - for JSON on standard output", path = .path.display())]
pub struct UnknownFormat {
    pub path: PathBuf,
}

impl Destination {
    /// What `--report` names: a file that ends in `.json`, `.md`, `.html`, `.xml` or `.trace` (in any case), or `-` for JSON
    /// on standard output. Open descriptors such as `/dev/fd/63` have no extension and get JSON.
    ///
    /// # Errors
    /// Any other extension, and none.
    pub fn from_path(path: impl Into<PathBuf>) -> Result<Self, UnknownFormat> {
        let path = path.into();
        if path == Path::new("-") || path == Path::new("/dev/stdout") {
            return Ok(Self { place: Place::Stdout, format: Format::Json });
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        let format = match extension.as_deref() {
            Some("json") => Format::Json,
            Some("md") => Format::Markdown,
            Some("html") => Format::Html,
            Some("xml") => Format::Junit,
            Some("trace") => Format::Trace,
            None if path.starts_with("/dev/fd") => Format::Json,
            _ => return Err(UnknownFormat { path }),
        };
        Ok(Self { place: Place::File(path), format })
    }

    pub fn file(path: impl Into<PathBuf>, format: Format) -> Self {
        Self { place: Place::File(path.into()), format }
    }

    pub fn stdout(format: Format) -> Self {
        Self { place: Place::Stdout, format }
    }

    /// It takes standard output for itself.
    pub fn is_stdout(&self) -> bool {
        self.place == Place::Stdout
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
            Format::Junit => junit::render(self),
            Format::Html => html::render(self),
            Format::Trace => trace::render(self),
        }
    }

    /// # Errors
    /// The file cannot be written; what stood there then still does.
    pub fn write(&self, to: &Destination) -> Result<(), OutputError> {
        let text = self.render(to.format);
        match &to.place {
            Place::File(path) => write_file(path, text.as_bytes()),
            Place::Stdout => to_stdout(&text).map_err(OutputError::Stdout),
        }
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
        let format = |path: &str| Destination::from_path(path).unwrap().format;
        assert_eq!(format("a/report.JSON"), Format::Json);
        assert_eq!(format("report.md"), Format::Markdown);
        assert_eq!(format("run.trace"), Format::Trace);
        assert_eq!(format("/dev/fd/63"), Format::Json);
        assert!(Destination::from_path("-").unwrap().is_stdout());
        for refused in ["report", "report.pdf", ".json", "/dev/null"] {
            let error = Destination::from_path(refused).unwrap_err();
            assert!(error.to_string().contains(".json, .md, .html, .xml (JUnit) or .trace"), "{error}");
        }
    }
}
