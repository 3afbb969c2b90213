//! Whom a run lets land first. Each landing of others has the apex of an urgent run proven anew, so that one
//! that lands faster than urgent gates take would keep the urgent run waiting until its own last landing.
//!
//! While an urgent run has an apex under proof, those that are not urgent hold their landings back. Before it
//! has one nobody needs to: what it gates until then are verdicts that no landing takes from it. Urgent
//! runs land as they come, but for those who were overtaken: they go first, and of these the one that began
//! first, so that nobody waits in a ring and each that waits waits for one proof. Whoever comes later than the
//! wait is not waited for, and nobody is waited for longer than [`LONGEST_RIGHT_OF_WAY`].

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::sync::watch;

use super::turn::{Awaited, LOOK_AGAIN, Listener, Step, Waiting};
use super::{Inner, LocalLander, off_the_loop};
use crate::git::lock::{ClaimLock, Claimant, LockError, claimants, forget_claims};
use crate::ports::{Claim, PortError};

/// Twice what a gate may take where nobody says otherwise. Urgent gates that take longer, or hang, hold up
/// nobody beyond that; their run then proves its apex once more, as it would without any right of way.
const LONGEST_RIGHT_OF_WAY: Duration = Duration::from_secs(3600);

/// What a run has claimed.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    proving: Option<ClaimLock>,
    overtaken: Option<ClaimLock>,
}

impl LocalLander {
    /// See [`crate::ports::Lander::gives_way`].
    pub(super) fn wait_for_others(
        &self,
        urgent: bool,
        cancel: watch::Receiver<bool>,
    ) -> Option<BoxFuture<'static, Result<bool, PortError>>> {
        let Self(inner, listener) = self.clone();
        match inner.who_goes_first(urgent) {
            Ok(first) if first.is_empty() => None,
            Ok(first) => Some(off_the_loop("waiting to land", move || {
                Ok(give_way(first, LONGEST_RIGHT_OF_WAY, &cancel, &listener))
            })),
            Err(error) => Some(ready(Err(inner.unreadable(&error))).boxed()),
        }
    }
}

impl Inner {
    fn who_goes_first(&self, urgent: bool) -> io::Result<Vec<Claimant>> {
        let settings = &self.settings;
        let claim = if urgent { Claim::Overtaken } else { Claim::Proving };
        let mut first = claimants(&settings.common_dir, &settings.target, claim)?;
        let claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_overtaken = claimed.overtaken.is_some();
        first.retain(|other| other.run != settings.run && (!is_overtaken || other.run < settings.run));
        Ok(first)
    }

    pub(super) fn claim(&self, claim: Option<Claim>) -> Result<(), PortError> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = &self.settings;
        let take = |claim| {
            ClaimLock::acquire(&settings.common_dir, &settings.target, &settings.run, claim)
                .map(Some)
                .map_err(|error: LockError| PortError { message: error.to_string(), hint: None })
        };
        if claim.is_none() {
            claimed.proving = None;
        } else if claimed.proving.is_none() {
            claimed.proving = take(Claim::Proving)?;
        }
        if claim != Some(Claim::Overtaken) {
            claimed.overtaken = None;
        } else if claimed.overtaken.is_none() {
            claimed.overtaken = take(Claim::Overtaken)?;
        }
        if claim.is_none() {
            forget_claims(&settings.common_dir, &settings.target, &settings.run);
        }
        Ok(())
    }

    fn unreadable(&self, error: &io::Error) -> PortError {
        let message = format!("looking who is about to land on {}: {error}", self.settings.target);
        PortError { message, hint: None }
    }
}

/// Waits until none of these wants to land any more, or for so long; false where `cancel` turned true before. Blocks.
fn give_way(mut first: Vec<Claimant>, longest: Duration, cancel: &watch::Receiver<bool>, listener: &Listener) -> bool {
    let mut waiting = Waiting::for_at_most(longest);
    loop {
        first.retain(Claimant::is_there);
        let Some(next) = first.first() else { return true };
        if *cancel.borrow() {
            return false;
        }
        match waiting.now() {
            Step::LookAgain => {}
            Step::SayIt => listener.hear(Awaited::Urgent(&next.in_words())),
            Step::GiveUp => return true,
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::names::RunId;

    #[test]
    fn a_run_whose_urgent_gates_hang_is_waited_for_no_longer_than_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let (target, run) = ("refs/heads/main", RunId::new("20260101-000000-000-aaaa"));
        let claim = ClaimLock::acquire(dir.path(), target, &run, Claim::Proving).unwrap();
        let there = || claimants(dir.path(), target, Claim::Proving).unwrap();
        let (stop, stopped) = watch::channel(false);
        let listener = Listener::default();
        assert!(give_way(there(), Duration::ZERO, &stopped, &listener), "the time is over");
        stop.send_replace(true);
        assert!(!give_way(there(), LONGEST_RIGHT_OF_WAY, &stopped, &listener), "the wait is");
        let seen = there();
        drop(claim);
        assert!(give_way(seen, LONGEST_RIGHT_OF_WAY, &stopped, &listener), "nobody is there any more");
    }
}
