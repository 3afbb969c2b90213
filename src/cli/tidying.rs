//! What a run keeps while it goes on and lets go once it has ended: refs that keep commits from `git gc`, the folder of its
//! composites, its lock. What dead runs left is put right by whoever comes next.

use std::path::Path;

use super::failure::Failure;
use super::{leftovers, status};
use crate::crash;
use crate::engine;
use crate::git::command::GitError;
use crate::git::keeps;
use crate::git::pins::Pins;
use crate::git::repo::{Target, UserRepo};
use crate::journal;
use crate::runs::{self, Hold, RunFolder};
use crate::vocabulary::event::Event;
use crate::vocabulary::names::{CommitId, RunId};

/// Whether a run that ended so came to its end; others can be resumed.
pub(super) fn is_final(exit_code: u8) -> bool {
    matches!(exit_code, engine::exit::ALL_LANDED | engine::exit::ITEMS_LEFT)
}

/// Keeps every other process from working on a run that there is already.
///
/// # Errors
/// Where one is at it, or has removed it.
pub(super) fn hold(folder: &RunFolder) -> Result<Hold, Failure> {
    let hold = folder.hold().map_err(|error| Failure::internal(error.to_string()))?;
    hold.ok_or_else(|| {
        Failure::usage(format!("run {} is in the hands of another lexpr", folder.id))
            .with_hint("`lexpr runs` shows whether it is still there once that has ended")
    })
}

/// What a run that has ended so needs no more: what landed is in the user's store by now, and
/// everything else can be made again. Does it again without harm.
///
/// # Errors
/// Where refs cannot be changed.
pub(super) fn tidy_up(repo: &UserRepo, folder: &RunFolder, exit_code: u8) -> Result<(), Failure> {
    if is_final(exit_code) {
        let_go(repo, &folder.id)?;
    }
    // What cannot be removed costs space and nothing else.
    let _ = std::fs::remove_dir_all(folder.quarantine());
    crash::point!("composites.removed");
    Ok(())
}

/// Keeps from `git gc` what a run needs, for as long as it is not let go: the target as it is and the heads of all items.
/// Before the run's first event is written.
///
/// # Errors
/// Where a ref cannot be written.
pub(super) fn keep_what_it_needs(
    common_dir: &Path,
    run: &RunId,
    target: &Target,
    heads: impl IntoIterator<Item = CommitId>,
) -> Result<(), GitError> {
    let needed: Vec<CommitId> = heads.into_iter().chain([target.commit]).collect();
    Pins::of(common_dir).keep(run, "needed", target.tree, &needed)
}

/// Lets go of what is kept from `git gc` for a run: by refs and, where a process of it was killed
/// while it landed, by files beside packs.
///
/// # Errors
/// Where refs or these files cannot be changed.
pub(super) fn let_go(repo: &UserRepo, run: &RunId) -> Result<(), Failure> {
    Pins::of(repo.common_dir()).release(run)?;
    Ok(keeps::release(&repo.objects().join("pack"), run)?)
}

/// Puts right what dead runs left. Those that were killed before their first event have done nothing
/// that could be resumed, and are removed; of those that were killed after their last one nobody
/// resumes anything, and what they had elsewhere and what was kept for them is let go.
///
/// # Errors
/// Where folders cannot be read, or refs or folders not be removed.
pub(super) async fn tidy_after_dead_runs(repo: &UserRepo) -> Result<(), Failure> {
    let common_dir = repo.common_dir();
    for folder in runs::folders(common_dir).map_err(status::not_found)? {
        let path = folder.journal();
        if journal::first(&path).is_some() {
            tidy_up_if_ended(repo, &folder).await?;
            continue;
        }
        // One whose journal is damaged has begun, and whoever asks for it is told of the damage.
        if path.exists() && journal::read(&path).is_err() {
            continue;
        }
        // Who begins one holds it.
        let Some(hold) = hold_if_dead(common_dir, &folder)? else { continue };
        Pins::of(common_dir).release(&folder.id)?;
        crash::point!("run.forget");
        folder.remove(&hold).map_err(|error| Failure::internal(error.to_string()))?;
    }
    Ok(())
}

/// A run that came to its end and still has the folder of its composites did not tidy up.
async fn tidy_up_if_ended(repo: &UserRepo, folder: &RunFolder) -> Result<(), Failure> {
    if folder.quarantine().exists()
        && let Some(Event::RunFinished { exit_code, .. }) = journal::last(&folder.journal()).map(|last| last.event)
        && is_final(exit_code)
        && let Some(_hold) = hold_if_dead(repo.common_dir(), folder)?
    {
        leftovers::clear_everywhere(repo, folder).await;
        tidy_up(repo, folder, exit_code)?;
    }
    Ok(())
}

/// `None` where a process is at it.
fn hold_if_dead(common_dir: &Path, folder: &RunFolder) -> Result<Option<Hold>, Failure> {
    let hold = folder.hold().map_err(|error| Failure::internal(error.to_string()))?;
    if hold.is_some() {
        leftovers::settle_gits(common_dir, folder)?;
    }
    Ok(hold)
}
