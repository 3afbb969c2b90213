//! `lexpr forecast PLAN`: what a run would meet and cost, before any gate runs.

use super::conduct;
use super::dry_run::{self, MOST_PAIRS};
use super::failure::Failure;
use super::given::Options;
use super::prepare::{self, Overrides};
use super::{ForecastArgs, ForecastFormat, speak};
use crate::engine;
use crate::wording::Paint;

/// Runs the command and returns the exit code: that of a dry run.
///
/// # Errors
/// Where the plan or command line is invalid, or git or the disk fails.
pub fn run(args: &ForecastArgs) -> Result<u8, Failure> {
    let overrides = Overrides { target: args.target.clone(), max_workers: args.max_workers, ..Overrides::default() };
    let opened = prepare::open(&args.plan.to_string_lossy(), &args.repository.repo, &overrides)?;
    let runtime = conduct::runtime(conduct::limits(opened.policy()).max_workers)?;
    let report = runtime.block_on(dry_run::rehearse(opened, &Options::default(), MOST_PAIRS))?;
    speak::result(&match args.format {
        ForecastFormat::Text => report.text(Paint::for_stream(&std::io::stdout())),
        ForecastFormat::Json => report.json(),
        ForecastFormat::Html => report.html(),
    })?;
    Ok(if report.dry_run.is_clean() { engine::exit::ALL_LANDED } else { engine::exit::ITEMS_LEFT })
}
