//! What a run that was killed left behind in the user's repository besides its journal: gits still at
//! work, and lock files of gits that were killed with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Failure;
use super::scratch::Abandoned;
use super::{conduct, prepare, resume, speak};
use crate::core::account::Account;
use crate::gate::elsewhere::Exchange;
use crate::gate::{container, holders, orphans};
use crate::git::command::{Config, Git};
use crate::git::land::LocalLander;
use crate::git::pins::Pins;
use crate::git::repo::UserRepo;
use crate::plan::runtime::Runtime;
use crate::runs::RunFolder;
use crate::vocabulary::event::{Event, FixedImage, Recorded};
use crate::wording::shown;

/// A program that writes refs by itself (an editor's) holds a lock for milliseconds. One that is the
/// same file after this long is held by no such program.
const LONGEST_UNSEEN_HOLD: Duration = Duration::from_secs(1);

/// How often it is looked.
const LOOKS: usize = 3;

/// File systems stamp files with the time of the last tick of the kernel's clock.
const TIMESTAMPS_LAG: Duration = Duration::from_millis(100);

/// Of a killed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gits {
    Gone,
    AtWork,
}

/// A git of a killed run that is still at work has its way first, and so has what asks a cluster for something; then nothing
/// changes any more behind the back of whoever looks. What it was killed over in the run's own refs is removed.
///
/// # Errors
/// Where a lock in the run's own refs cannot be removed.
pub(super) fn settle_gits(common_dir: &Path, folder: &RunFolder) -> Result<Gits, Failure> {
    let run = &folder.id;
    let left = orphans::wait_for_git(&folder.mark());
    if left > 0 {
        speak::note(&format!(
            "{left} programs that run {run} started, gits or a cluster's, are still at work and are left to it\n"
        ));
        return Ok(Gits::AtWork);
    }
    // Nobody but this process works for the run, and nobody else writes its refs.
    Pins::of(common_dir).remove_locks(run)?;
    Ok(Gits::Gone)
}

/// Both of what follows, for a run whose target and folder this process holds.
///
/// # Errors
/// Where the run's journal cannot be read, or a lock not be removed.
pub(super) fn clear(repo: &UserRepo, folder: &RunFolder) -> Result<(), Failure> {
    if settle_gits(repo.common_dir(), folder)? == Gits::AtWork {
        return Ok(());
    }
    let (past, started) = resume::read(folder)?;
    let lander = conduct::lander(repo, folder, &started.target, None, true, None);
    lander.let_go_of_checkouts()?;
    remove_locks(&lander, &past.events)
}

/// For a run in whose place another begins: its gates are ended, here and elsewhere, and of its locks those are removed
/// that are on nothing it was moving. Checkouts that it has half moved stay held, so that nobody takes
/// its files for their own. A run that cannot be read, or that somebody is at, is left as it is.
///
/// # Errors
/// Where a lock cannot be removed.
pub(super) async fn clear_for_good(repo: &UserRepo, folder: &RunFolder) -> Result<(), Failure> {
    let held = folder.hold().map_err(|error| Failure::internal(error.to_string()))?;
    let (Some(_held), Ok((past, started))) = (held, resume::read(folder)) else { return Ok(()) };
    let gits = settle_gits(repo.common_dir(), folder)?;
    clear_everywhere(repo, folder).await;
    if gits == Gits::Gone && moving_since(&past.events).is_none() {
        remove_locks(&conduct::lander(repo, folder, &started.target, None, true, None), &past.events)?;
    }
    Ok(())
}

/// Ends all gates of a run that nobody goes on with, wherever they run, and removes what it had there. What was still asking
/// for one is to have been waited for ([`settle_gits`]).
pub(super) async fn clear_everywhere(repo: &UserRepo, folder: &RunFolder) {
    // Of a journal that cannot be read nobody knows which engines it had containers of.
    let images = resume::read(folder).map_or_else(|_| Vec::new(), |(_, started)| started.images);
    end_gates(folder, &images);
    clear_elsewhere(repo, folder).await;
}

/// Takes off clusters and CI services what a run left there that nobody goes on with: allocations, jobs, builds, and commits
/// that were sent. What cannot be taken off is told.
async fn clear_elsewhere(repo: &UserRepo, folder: &RunFolder) {
    let Ok((_, started)) = resume::read(folder) else { return };
    // Most runs have none, and of those no plan need be read.
    if started.items.iter().flat_map(|item| &item.gates).all(|gate| gate.runtime.is_none()) {
        return;
    }
    let left = |why: &str| speak::note(&format!("what run {} had elsewhere may be left: {why}\n", folder.id));
    let plan = match std::fs::read(folder.plan()) {
        Ok(plan) => plan,
        Err(error) => return left(&format!("its plan cannot be read: {error}")),
    };
    let (prepared, _) = match prepare::again(&plan, repo.clone(), &started, None) {
        Ok(prepared) => prepared,
        Err(failure) => return left(&failure.message),
    };
    let mut runtimes: Vec<&Runtime> = Vec::new();
    for gate in prepared.graph.indices().flat_map(|ix| prepared.graph.gates(ix)) {
        // Whichever runtime sent it to a cluster, one finds all that the run has there.
        let is_known = |known: &&Runtime| match (known.ci_service(), gate.runtime.ci_service()) {
            (Some(known), Some(service)) => known.policy == service.policy,
            (None, None) => true,
            _ => false,
        };
        if gate.runtime.elsewhere().is_some() && !runtimes.iter().any(is_known) {
            runtimes.push(&gate.runtime);
        }
    }
    if runtimes.is_empty() {
        return;
    }
    let git = Git::new(repo.common_dir(), Config::Users);
    let exchange = Exchange::new(git, conduct::exchange_of(&prepared.policy, repo), folder.id.clone());
    if let Err(error) = conduct::clear_elsewhere(&prepared.policy, exchange, folder, &runtimes).await {
        left(&error.message);
    }
}

/// Takes away what a command that is no run had elsewhere, and that nobody is at any more.
///
/// # Errors
/// Where something may be left.
pub(super) async fn clear_abandoned(abandoned: &Abandoned) -> Result<(), Failure> {
    let Abandoned { note, folder } = abandoned;
    let (plan, runtime) = note.plan(folder)?;
    if let left @ 1.. = orphans::wait_for_git(&folder.mark()) {
        return Err(Failure::internal(format!("{left} programs that it started are still at work")));
    }
    end_gates(folder, &note.images);
    let exchange = Exchange::new(Git::new(&note.repository, Config::Users), note.exchange.as_str(), note.run.clone());
    conduct::clear_elsewhere(&plan.policy, exchange, folder, &[&runtime]).await
}

/// Removes containers of the run, however they came to be left: while their engine was away nobody could. How many.
pub(super) fn remove_containers(folder: &RunFolder, images: &[FixedImage]) -> usize {
    container::remove_of_run(images, &folder.mark()).unwrap_or_else(|error| {
        speak::note(&format!("containers of run {} may be left: {error}\n", folder.id));
        0
    })
}

/// Ends gates of the run whose guard was killed with it.
pub(super) fn end_gates(folder: &RunFolder, images: &[FixedImage]) {
    let run = &folder.id;
    // Before their processes: with these a container would end by itself, and be taken for one that has failed.
    let removed = remove_containers(folder, images);
    if removed > 0 {
        speak::note(&format!("{removed} containers outlived run {run} and were removed\n"));
    }
    let ended = orphans::end_all(&folder.mark());
    if ended > 0 {
        speak::note(&format!("{ended} processes of gates outlived run {run} and were ended\n"));
        // One of them may have been making a container.
        remove_containers(folder, images);
    }
}

/// Removes the lock files that a git of the run left on what it was moving when it was killed:
/// those made since the run said what it would move, which nobody can hold. Where a git may be at
/// work in the repository they stay, and who needs them names them.
///
/// # Errors
/// Where one cannot be removed.
fn remove_locks(lander: &LocalLander, past: &[Recorded]) -> Result<(), Failure> {
    let begun = past.first().map(|recorded| recorded.at_ms);
    let mut found = Vec::new();
    for (paths, since) in [(lander.locks_of_all_refs(), begun), (lander.locks_of_target(), moving_since(past))] {
        let Some(since) = since.map(|at_ms| UNIX_EPOCH + Duration::from_millis(at_ms) - TIMESTAMPS_LAG) else {
            continue;
        };
        found.extend(paths.into_iter().filter_map(|path| Some((made(&path).filter(|made| *made >= since)?, path))));
    }
    if found.is_empty() {
        return Ok(());
    }
    let places = lander.places();
    let is_unheld = |found: &mut Vec<(SystemTime, PathBuf)>| {
        std::thread::sleep(LONGEST_UNSEEN_HOLD);
        found.retain(|(made_then, path)| made(path) == Some(*made_then));
        let paths: Vec<PathBuf> = found.iter().map(|(_, path)| path.clone()).collect();
        !holders::may_hold(&paths, &places)
    };
    // A git somewhere else that is just beginning or ending cannot be looked at.
    if !(0..LOOKS).any(|_| is_unheld(&mut found)) {
        return Ok(());
    }
    for (_, path) in found {
        std::fs::remove_file(&path).map_err(|error| Failure::io("removing", &path, &error))?;
        speak::note(&format!(
            "{} was left by a git that ended with the run, and is removed\n",
            shown(&path.display().to_string())
        ));
    }
    Ok(())
}

fn made(path: &Path) -> Option<SystemTime> {
    std::fs::symlink_metadata(path).ok()?.modified().ok()
}

/// When a move of the target began of which it is not known what became, in milliseconds since the
/// Unix epoch.
fn moving_since(past: &[Recorded]) -> Option<u64> {
    let account = Account::of(past)?;
    let is_move = |event: &Event| matches!(event, Event::LandingIntended(_) | Event::UndoIntended { .. });
    let begun = past.iter().rev().find(|recorded| is_move(&recorded.event));
    begun.filter(|_| account.landing.is_some() || account.undoing.is_some()).map(|recorded| recorded.at_ms)
}
