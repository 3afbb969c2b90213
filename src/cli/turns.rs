//! Whose turn it is on a target: one run at a time has it, urgent ones beside it, and of them all one
//! at a time moves it. What somebody waits for is said, and a signal or the deadline ends the wait.

use std::fs::File;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::failure::Failure;
use super::{signals, speak, status};
use crate::git::land::LocalLander;
use crate::git::land::turn::{Awaited, LOOK_AGAIN, Waiting};
use crate::git::lock::{LandingLock, LockError, Purpose, RunLock};
use crate::journal;
use crate::runs::{self, RunFolder};
use crate::vocabulary::event::{Event, Recorded, RunStarted};
use crate::vocabulary::names::RunId;
use crate::wording::{ref_name, shown};

/// How long somebody waits for a target that another run has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    wait: bool,
    /// When the command is to stop; waiting counts, too. `None`: never, also for a time too far off to be told.
    until: Option<Instant>,
}

impl Patience {
    /// `deadline`: seconds from now.
    pub(super) fn from_now(wait: bool, deadline: Option<u64>) -> Self {
        let until = deadline.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        Self { wait, until }
    }

    /// What is left of the deadline.
    pub(super) fn left(self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }
}

/// Takes the target for one run, waiting where that is wanted. True where it had to wait: by then
/// the target may be elsewhere.
///
/// # Errors
/// Where another run has it and nobody wants to wait, or the wait was ended.
pub(super) async fn claim(
    common_dir: &Path,
    target: &str,
    run: &RunId,
    purpose: Purpose,
    patience: Patience,
) -> Result<(RunLock, bool), Failure> {
    match RunLock::acquire(common_dir, target, run, purpose) {
        Ok(lock) => Ok((lock, false)),
        Err(LockError::Held { holder, .. }) if patience.wait => {
            let (common_dir, target, run) = (common_dir.to_owned(), target.to_owned(), run.clone());
            let note = format!("waiting: {holder} on {target}\n");
            let lock = wait(&note, patience, move || RunLock::wait_for(&common_dir, &target, &run, purpose)).await?;
            lock.map(|lock| (lock, true)).map_err(|error| Failure::target(error.to_string()))
        }
        Err(error @ LockError::Io { .. }) => Err(Failure::internal(error.to_string())),
        Err(error) => {
            let alone = match purpose {
                Purpose::Landing => "",
                Purpose::Undoing => "an undo needs the target to itself, also that of an urgent run: ",
            };
            Err(Failure::target(error.to_string()).with_hint(format!(
                "{alone}wait until it has ended, with --wait if you like, or end it; then run again"
            )))
        }
    }
}

/// Says what is waited for and waits, unless a signal or the deadline ends that.
async fn wait<T: Send + 'static>(
    note: &str,
    patience: Patience,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let stop = signals::asked_to_stop(patience.left());
    speak::must_know(note);
    let (tell, told) = oneshot::channel();
    // On a thread that nothing waits for: whoever has the target may have it for hours.
    let waiting = std::thread::Builder::new().spawn(move || drop(tell.send(work())));
    waiting.map_err(|error| Failure::internal(format!("waiting: a thread could not be started: {error}")))?;
    tokio::select! {
        done = told => done.map_err(|error| Failure::internal(format!("waiting broke off: {error}"))),
        why = stop => Err(stopped(why)),
    }
}

fn stopped(why: &str) -> Failure {
    Failure::interrupted(format!("{why} ended the wait for another run: nothing was done"))
}

/// What is said of others who are waited for.
pub(super) fn waiting_for(target: &str, awaited: Awaited<'_>) -> String {
    match awaited {
        Awaited::Landing(holder) => format!("waiting for another landing on {}: {}", ref_name(target), shown(holder)),
        Awaited::Urgent(run) => format!("waiting for an urgent run to land on {}: {}", ref_name(target), shown(run)),
    }
}

/// The landing lock of the lander's `target`, for a look at it or an undo: waits for as long as a landing takes.
///
/// # Errors
/// Where that is too long, the wait was ended, or the lock cannot be had.
pub(super) async fn landing(
    lander: &LocalLander,
    target: &str,
    purpose: Purpose,
    patience: Patience,
) -> Result<LandingLock, Failure> {
    let mut found = match lander.try_turn(purpose) {
        Ok(turn) => return Ok(turn),
        Err(found) => found,
    };
    let mut stop = pin!(signals::asked_to_stop(patience.left()));
    let mut waiting = Waiting::default();
    loop {
        if let Some(holder) = waiting.goes_on(found)? {
            speak::must_know(&format!("{}\n", waiting_for(target, Awaited::Landing(&holder))));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            why = &mut stop => return Err(stopped(why)),
        }
        found = match lander.try_turn(purpose) {
            Ok(turn) => return Ok(turn),
            Err(found) => found,
        };
    }
}

/// The runs that a process works on now and that land on `target`, but for `own`, each with its first event.
///
/// # Errors
/// Where runs cannot be listed.
fn at_work(common_dir: &Path, target: &str, own: &RunId) -> Result<Vec<(RunFolder, RunStarted)>, Failure> {
    let all = runs::list(common_dir).map_err(status::not_found)?;
    let others = all.into_iter().filter(|folder| folder.id != *own && folder.is_held());
    let on_target = others.filter_map(|folder| match journal::first(&folder.journal()) {
        Some(Recorded { event: Event::RunStarted(started), .. }) if started.target == target => {
            Some((folder, *started))
        }
        _ => None,
    });
    Ok(on_target.collect())
}

/// An undo has the target to itself: urgent runs, which need no leave of who has it, must have ended,
/// or are waited for. One that begins afterwards finds that commits were taken back, and stops.
///
/// # Errors
/// Where one is at work and nobody wants to wait, or the wait was ended.
pub(super) async fn no_urgent_run(
    common_dir: &Path,
    target: &str,
    own: &RunId,
    patience: Patience,
) -> Result<(), Failure> {
    let urgent = at_work(common_dir, target, own)?.into_iter().filter(|(_, started)| started.urgent);
    for (folder, _) in urgent {
        let is_landing = format!("urgent run {} is landing on {target}", folder.id);
        if !patience.wait {
            return Err(Failure::target(is_landing).with_hint(
                "an undo needs the target to itself: wait until it has ended, with --wait if you like, or end it; \
                 then run again",
            ));
        }
        let gone = move || match File::open(&folder.path) {
            Ok(folder) => folder.lock_shared(),
            // Nobody works in a folder that is gone.
            Err(_) => Ok(()),
        };
        let waited = wait(&format!("waiting: {is_landing}\n"), patience, gone).await?;
        waited.map_err(|error| Failure::internal(format!("waiting: {error}")))?;
    }
    Ok(())
}

/// An urgent run that does not push brings a run under way that does so to a stop: its remote lacks
/// what it finds here.
///
/// # Errors
/// Where runs cannot be listed.
pub(super) fn tell_of_who_pushes(
    common_dir: &Path,
    target: &str,
    own: &RunId,
    push: Option<&str>,
) -> Result<(), Failure> {
    for (folder, started) in at_work(common_dir, target, own)? {
        if let Some(remote) = started.push.as_deref().filter(|remote| Some(*remote) != push) {
            let (remote, target) = (shown(remote), ref_name(target));
            speak::note(&format!(
                "run {} is under way and pushes {target} to {remote}: without --push {remote} it stops once this run \
                 has landed, until {remote} has that, too\n",
                folder.id
            ));
        }
    }
    Ok(())
}
