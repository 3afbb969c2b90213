//! `lexpr report`: what a run did, in a form to pass on; and `lexpr why`: what became of one item.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::{RepositoryArgs, speak, status};
use crate::report::{Destination, Format, Report};
use crate::why;
use crate::wording::{Paint, shown};

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run, or as much of its id as only it has; the newest where none is given
    pub run: Option<String>,
    /// The form; the default is what the name of --output ends in, else Markdown
    #[arg(long, value_enum)]
    pub format: Option<ReportFormat>,
    /// The file to write; standard output where none is given
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Json,
    Markdown,
    /// JUnit XML, a suite for each item
    Junit,
    /// One page that needs nothing else
    Html,
    /// For ui.perfetto.dev and chrome://tracing
    Trace,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The item
    pub item: String,
    /// The run, or as much of its id as only it has; the newest where none is given
    pub run: Option<String>,
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// Runs the command.
///
/// # Errors
/// Where there is no such run, its journal cannot be read, or the report cannot be written.
pub fn run(args: &ReportArgs) -> Result<u8, Failure> {
    let destination = destination(args)?;
    let report = Report::Execute(Box::new(status::load(&args.repository, args.run.as_deref())?));
    report.write(&destination).map_err(|error| Failure::internal(error.to_string()))?;
    if let Some(file) = args.output.as_ref().filter(|_| !destination.is_stdout()) {
        speak::note(&format!("{}\n", shown(&file.display().to_string())));
    }
    Ok(0)
}

fn destination(args: &ReportArgs) -> Result<Destination, Failure> {
    let format = args.format.map(|format| match format {
        ReportFormat::Json => Format::Json,
        ReportFormat::Markdown => Format::Markdown,
        ReportFormat::Junit => Format::Junit,
        ReportFormat::Html => Format::Html,
        ReportFormat::Trace => Format::Trace,
    });
    let is_stdout = |file: &PathBuf| file.as_os_str() == "-";
    match (args.output.as_ref().filter(|file| !is_stdout(file)), format) {
        (Some(file), Some(format)) => Ok(Destination::file(file, format)),
        (Some(file), None) => Destination::from_path(file)
            .map_err(|_| Failure::usage(format!("the name {} does not say in which form", file.display())))
            .map_err(|failure| {
                failure.with_hint("give --format, or a name that ends in .json, .md, .html, .xml or .trace")
            }),
        (None, format) => Ok(Destination::stdout(format.unwrap_or(Format::Markdown))),
    }
}

/// Runs `lexpr why`.
///
/// # Errors
/// Where there is no such run or no such item in it.
pub fn why(args: &WhyArgs) -> Result<u8, Failure> {
    let report = status::load(&args.repository, args.run.as_deref())?;
    let Some(item) = report.items.iter().find(|item| item.name.as_str() == args.item) else {
        let names = report.items.iter().map(|item| item.name.as_str());
        let nearest = crate::plan::problem::nearest(&args.item, names);
        let failure = Failure::usage(format!("run {} has no item {}", report.run, shown(&args.item)));
        return Err(match nearest {
            Some(nearest) => failure.with_hint(format!("did you mean {}?", shown(nearest))),
            None => failure.with_hint("`lexpr status` lists the items"),
        });
    };
    speak::result(&why::text(&report, item, Paint::for_stream(&std::io::stdout())))?;
    Ok(0)
}
