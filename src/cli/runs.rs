//! `lexpr runs`: the runs of a repository, the newest first.

use super::failure::Failure;
use super::{RunsArgs, RunsFormat, speak, status, tidying};
use crate::clock::SystemClock;
use crate::git::lock;
use crate::git::repo::UserRepo;
use crate::journal::{self, JournalError};
use crate::overview::{self, Presence, RunOverview};
use crate::ports::Clock as _;
use crate::runs::{self, RunFolder};
use crate::vocabulary::event::{Event, Recorded};
use crate::wording::Paint;

/// Runs the command.
///
/// # Errors
/// Where there is no repository, or its runs cannot be listed.
pub fn run(args: &RunsArgs) -> Result<u8, Failure> {
    let repo = UserRepo::open(&args.repository.repo)?;
    let mut folders = runs::list(repo.common_dir()).map_err(status::not_found)?;
    folders.reverse();
    let overviews: Vec<RunOverview> = folders.iter().map(|folder| overview(repo.common_dir(), folder)).collect();
    match args.format {
        RunsFormat::Text if overviews.is_empty() => speak::note("no run is kept in this repository\n"),
        RunsFormat::Text => {
            let now_ms = SystemClock::new().now_ms();
            speak::result(&overview::text(&overviews, now_ms, Paint::for_stream(&std::io::stdout())))?;
        }
        RunsFormat::Json => {
            let json = serde_json::to_value(&overviews).expect("an overview is made of strings and numbers");
            speak::result(&format!("{json:#}\n"))?;
        }
    }
    Ok(0)
}

/// What a run came to, whatever its journal is like.
pub(super) fn overview(common_dir: &std::path::Path, folder: &RunFolder) -> RunOverview {
    let first = journal::first(&folder.journal());
    // Asked before the journal is read: a run that ends in between has its end in there.
    let presence = if folder.is_held() { Presence::AtWork(None) } else { Presence::Gone };
    if let (Presence::Gone, Some(first)) = (presence, &first)
        && let Some(last) = journal::last(&folder.journal()).filter(is_the_end)
        && journal::is_intact(&folder.journal())
        && let Some(overview) = RunOverview::of(&[first.clone(), last], presence)
    {
        return overview;
    }
    let presence = match (presence, first.map(|first| first.event)) {
        (Presence::AtWork(_), Some(Event::RunStarted(started))) => {
            // The target's lock names who undoes an urgent run.
            let holder = lock::holder(common_dir, &started.target, &folder.id);
            Presence::AtWork(holder.or_else(|| folder.process().filter(|_| started.urgent)))
        }
        (presence, _) => presence,
    };
    match journal::read(&folder.journal()) {
        Ok(journal) if journal.events.is_empty() => RunOverview::without_events(folder.id.clone(), presence),
        Ok(journal) => RunOverview::of(&journal.events, presence).unwrap_or_else(|| {
            RunOverview::damaged(folder.id.clone(), "its journal does not begin as one does".to_owned(), presence)
        }),
        Err(error) => RunOverview::damaged(folder.id.clone(), damage(&error), presence),
    }
}

/// A run that came to its end needs no more than what it began and ended with: what follows its end,
/// an undo or what it was killed over, is what is last then, and an undo of it leaves no way on but its
/// own.
fn is_the_end(last: &Recorded) -> bool {
    matches!(&last.event, Event::RunFinished { exit_code, .. } if tidying::is_final(*exit_code))
}

/// In fewer words than the error itself has: the run is named already.
fn damage(error: &JournalError) -> String {
    match error {
        JournalError::Damaged { line, why, certain, .. } => {
            format!("its journal is damaged in line {line} ({why}); the {certain} events before it are intact")
        }
        JournalError::Io { source, .. } => format!("its journal cannot be read: {source}"),
    }
}
