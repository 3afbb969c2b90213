//! Whose turn it is to move a target. Runs beside each other land one after another: each has the
//! landing lock from its look at the target until all that goes along has followed. Whom a run lets
//! land first is another question: see `right_of_way`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Inner, LocalLander};
use crate::git::command::GitError;
use crate::git::lock::{LandingLock, LockError, Purpose};
use crate::git::refusal::LandRefusal;

/// How long another landing is waited for without a word: most take less.
const A_MOMENT: Duration = Duration::from_secs(1);

/// A landing is a push, a ref and some files. One that lasts longer hangs at its remote or at a
/// prompt, and whoever waits for it can be resumed.
const LONGEST_LANDING: Duration = Duration::from_secs(600);

/// Between looks at a landing lock that another one has.
pub const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Who is waited for, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited<'a> {
    /// The holder of the landing lock.
    Landing(&'a str),
    /// An urgent run that is about to land.
    Urgent(&'a str),
}

type Hears = dyn Fn(Awaited<'_>) + Send + Sync;

/// Who is to be told that others are waited for.
#[derive(Clone, Default)]
pub(super) struct Listener(Option<Arc<Hears>>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.0.is_some()).finish()
    }
}

impl Listener {
    pub(super) fn hear(&self, awaited: Awaited<'_>) {
        if let Some(listener) = &self.0 {
            listener(awaited);
        }
    }
}

/// Waiting for a lock, by looks at it.
#[derive(Debug)]
pub struct Waiting {
    begun: Instant,
    longest: Duration,
    is_told: bool,
}

/// What one who waits does after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    LookAgain,
    /// And say that one waits.
    SayIt,
    GiveUp,
}

impl Default for Waiting {
    fn default() -> Self {
        Self::for_at_most(LONGEST_LANDING)
    }
}

impl Waiting {
    pub(super) fn for_at_most(longest: Duration) -> Self {
        Self { begun: Instant::now(), longest, is_told: false }
    }

    /// After a look that found the lock held. The holder, where it is time to say that it is waited for.
    ///
    /// # Errors
    /// A refusal where it was waited for long enough, or the lock cannot be looked at.
    pub fn goes_on(&mut self, found: LockError) -> Result<Option<String>, LandRefusal> {
        let (holder, target) = holder(found)?;
        match self.now() {
            Step::LookAgain => Ok(None),
            Step::SayIt => Ok(Some(holder)),
            Step::GiveUp => {
                Err(LandRefusal::LandingTakesLong { target, holder, minutes: LONGEST_LANDING.as_secs() / 60 })
            }
        }
    }

    pub(super) fn now(&mut self) -> Step {
        self.step(self.begun.elapsed())
    }

    fn step(&mut self, waited: Duration) -> Step {
        if waited >= self.longest {
            Step::GiveUp
        } else if waited >= A_MOMENT && !self.is_told {
            self.is_told = true;
            Step::SayIt
        } else {
            Step::LookAgain
        }
    }
}

/// In words, and of which target.
fn holder(found: LockError) -> Result<(String, String), LandRefusal> {
    match found {
        LockError::Held { holder, target, .. } => Ok((holder, target)),
        LockError::Io { doing, path, source } => Err(GitError::io(doing, path)(source).into()),
    }
}

impl LocalLander {
    /// The same, and `listener` hears who lands on the target where that is waited for.
    #[must_use]
    pub fn told_to(self, listener: impl Fn(Awaited<'_>) + Send + Sync + 'static) -> Self {
        Self(self.0, Listener(Some(Arc::new(listener))))
    }

    /// The landing lock of the target: for who looks at the target and its checkouts, or moves them,
    /// other than through [`crate::ports::Lander`], which takes it by itself.
    ///
    /// # Errors
    /// [`LockError::Held`] where another landing has it: see [`Waiting`].
    pub fn try_turn(&self, purpose: Purpose) -> Result<LandingLock, LockError> {
        self.0.try_turn(purpose)
    }
}

impl Inner {
    pub(super) fn try_turn(&self, purpose: Purpose) -> Result<LandingLock, LockError> {
        LandingLock::acquire(&self.settings.common_dir, &self.settings.target, &self.settings.run, purpose)
    }

    /// Waits for the landing lock, unless `cancel` is true by then. Blocks.
    pub(super) fn turn(&self, cancel: &watch::Receiver<bool>, listener: &Listener) -> Result<LandingLock, LandRefusal> {
        let mut waiting = Waiting::default();
        loop {
            let found = match self.try_turn(Purpose::Landing) {
                Ok(turn) => return Ok(turn),
                Err(found) => found,
            };
            if *cancel.borrow() {
                let (holder, target) = holder(found)?;
                return Err(LandRefusal::StoppedBeforeItsTurn { target, holder });
            }
            if let Some(holder) = waiting.goes_on(found)? {
                listener.hear(Awaited::Landing(&holder));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// For what nothing cuts short.
pub(super) fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_landing_that_is_waited_for_is_told_once_after_a_moment_and_given_up_in_the_end() {
        let mut waiting = Waiting::default();
        let mut step = |seconds| waiting.step(Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 2, 599, 600, 601].map(&mut step),
            [Step::LookAgain, Step::SayIt, Step::LookAgain, Step::LookAgain, Step::GiveUp, Step::GiveUp]
        );
    }
}
