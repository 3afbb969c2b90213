//! `lexpr status`: what a run did, from its journal.

use std::collections::BTreeMap;

use super::failure::Failure;
use super::{RepositoryArgs, StatusArgs, speak};
use crate::clock::SystemClock;
use crate::git::repo::UserRepo;
use crate::journal;
use crate::ports::Clock as _;
use crate::report::json::RunReport;
use crate::report::view::RunView;
use crate::runs::{self, RunsError};
use crate::status;
use crate::vocabulary::event::Recorded;
use crate::wording::Paint;

/// Runs the command.
///
/// # Errors
/// Where there is no such run, or its journal cannot be read.
pub fn run(args: &StatusArgs) -> Result<u8, Failure> {
    let report = load(&args.repository, args.run.as_deref())?;
    speak::result(&status::text(&report, Paint::for_stream(&std::io::stdout())))?;
    Ok(0)
}

/// What the journal of a run says: of the newest one, of the one whose id begins so.
///
/// # Errors
/// Where there is no such run, or its journal cannot be read.
pub(super) fn load(repository: &RepositoryArgs, run: Option<&str>) -> Result<RunReport, Failure> {
    let repo = UserRepo::open(&repository.repo)?;
    let folder = runs::find(repo.common_dir(), run).map_err(not_found)?;
    let journal = journal::read(&folder.journal()).map_err(|error| Failure::internal(error.to_string()))?;
    if journal.torn_bytes > 0 {
        speak::note(&format!("the journal's last {} bytes are no whole event and are left out\n", journal.torn_bytes));
    }
    let mut view = RunView::of(&journal.events);
    if view.ending.is_none() && folder.is_held() {
        view.goes_on(SystemClock::new().now_ms());
    } else if view.ending.is_none() {
        view.died();
        if view.is_dead {
            speak::note("this run was ended from outside, and nothing of it is running\n");
        }
    }
    RunReport::new(&view, BTreeMap::new())
        .ok_or_else(|| Failure::internal(format!("run {} was cut off before its first event", folder.id)))
}

/// Shows what the events of a run tell, and gives it.
///
/// # Errors
/// Where standard output cannot be written.
pub(super) fn show(events: &[Recorded]) -> Result<Option<RunReport>, Failure> {
    let report = RunReport::new(&RunView::of(events), BTreeMap::new());
    if let Some(report) = &report {
        speak::result(&status::text(report, Paint::for_stream(&std::io::stdout())))?;
    }
    Ok(report)
}

pub(super) fn not_found(error: RunsError) -> Failure {
    let message = error.to_string();
    let failure =
        if matches!(error, RunsError::Io { .. }) { Failure::internal(message) } else { Failure::usage(message) };
    match error {
        RunsError::None => failure.with_hint("`lexpr merge PLAN --execute` makes a run"),
        RunsError::Ambiguous { .. } => failure.with_hint("give as much of the id as only one run has"),
        RunsError::Unknown { .. } | RunsError::Io { .. } => failure,
    }
}
