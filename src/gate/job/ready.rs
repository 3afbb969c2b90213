//! A slot made ready for a gate: it holds the job's tree and nothing that another gate left but what is ignored, and the plan's
//! setup has prepared it. Why it could not be made so, and who is at fault.

use std::path::PathBuf;
use std::time::Duration;

use super::boxing::why_not;
use super::{Attempt, JobRun, blocking, make_log};
use crate::gate::artifacts;
use crate::gate::client::{Guard, GuardedCommand, shell};
use crate::gate::container::Boxed;
use crate::gate::environment::{Environment, of_slot};
use crate::gate::protocol::{Cause, End, Ended};
use crate::gate::setup::stamp;
use crate::git::command::{GitError, tells_of_trouble};
use crate::git::slot::{Clean, Slot, SlotTarget};
use crate::plan::Setup;
use crate::ports::PortError;
use crate::vocabulary::event::GateOutcome;

/// A setup downloads and builds what a project needs; one that takes longer than this hangs.
const SETUP_TIMEOUT: Duration = Duration::from_secs(3600);
/// Why a gate could not begin.
pub(in crate::gate) enum NotReady {
    Cancelled,
    /// `log` says more, where there is one.
    Failed {
        message: String,
        log: Option<PathBuf>,
    },
    /// The machine is at fault, and would be with any other gate: there is nothing to be said of
    /// this one.
    Trouble(String),
}

impl NotReady {
    fn because(doing: &str, error: impl std::fmt::Display) -> Self {
        Self::told(format!("{doing}: {error}"))
    }

    fn told(message: String) -> Self {
        if tells_of_trouble(&message) { Self::Trouble(message) } else { Self::Failed { message, log: None } }
    }
}

impl JobRun<'_> {
    /// A slot that holds the job's tree and nothing that another gate left but what is ignored,
    /// set up; and the environment of what runs in it.
    pub(in crate::gate) async fn get_ready(
        &mut self,
        attempt: Attempt<'_>,
    ) -> Result<Result<Environment, NotReady>, PortError> {
        if *self.cancel.borrow() {
            return Ok(Err(NotReady::Cancelled));
        }
        let gate = &attempt.gate.gate;
        // Where the disk was full nothing is kept warm.
        let is_clean = gate.clean || self.forgiven > 0 || (self.job.clean_slot && attempt.position == 0);
        let clean = if is_clean { Clean::IgnoredToo } else { Clean::TrackedAndUntracked };
        let (globs, cwd) = (gate.artifacts.clone(), gate.cwd.clone());
        let remove_leftovers =
            move |slot: &Slot| artifacts::remove_leftovers(&globs, &slot.path().join(cwd), slot.path());
        if let Err(not_ready) = self.switch(clean, remove_leftovers).await? {
            return Ok(Err(not_ready));
        }
        let slots = self.worker.slot.as_ref().map(Slot::git_env).unwrap_or_default();
        let environment = of_slot(&self.gates.settings.environment, slots, &self.surroundings());
        if self.forgiven > 0
            && let Some(full) = self.full_disk(&environment).await?
        {
            let message = format!("gate {} failed, which counts for nothing: {full}, with its slot emptied", gate.name);
            return Ok(Err(NotReady::Trouble(message)));
        }
        if let Some(setup) = self.job.setup.clone()
            && let Err(not_ready) = self.set_up(&setup, attempt, &environment).await?
        {
            return Ok(Err(not_ready));
        }
        if *self.cancel.borrow() {
            return Ok(Err(NotReady::Cancelled));
        }
        Ok(Ok(environment))
    }

    /// Puts the job's tree into the worker's slot, which is taken if there is none yet.
    async fn switch(
        &mut self,
        clean: Clean,
        before: impl FnOnce(&Slot) + Send + 'static,
    ) -> Result<Result<(), NotReady>, PortError> {
        let not_ready = |error: GitError| match error.is_trouble() {
            true => NotReady::Trouble(format!("preparing a slot: {error}")),
            false => NotReady::because("preparing a slot", error),
        };
        let mut slot = match self.worker.take_slot(&self.gates.pool).await? {
            Ok(slot) => slot,
            Err(error) => return Ok(Err(not_ready(error))),
        };
        // It starts while files are written. One that does not is started again when it is needed, and whatever
        // stands against it is told then.
        let at_work = if self.worker.guard.is_none() { slot.at_work().ok() } else { None };
        let guard = async {
            match at_work {
                Some(at_work) => Guard::start(&self.gates.settings.guard_exe, at_work).await.ok(),
                None => None,
            }
        };
        let target = SlotTarget { commit: self.job.commit, tree: self.job.tree, base: self.job.base };
        let switching = blocking(move || {
            before(&slot);
            let switched = slot.switch_to(&target, clean);
            (slot, switched)
        });
        let (guard, done) = tokio::join!(guard, switching);
        if guard.is_some() {
            self.worker.guard = guard;
        }
        let (slot, switched) = done?;
        self.worker.slot = Some(slot);
        Ok(switched.map_err(not_ready))
    }

    /// Runs the plan's setup, unless the slot is set up for this very tree's inputs. Only what
    /// git ignores outlasts it, so that the first gate finds what the second does.
    async fn set_up(
        &mut self,
        setup: &Setup,
        attempt: Attempt<'_>,
        environment: &Environment,
    ) -> Result<Result<(), NotReady>, PortError> {
        let (plan, tree) = (setup.clone(), self.job.tree);
        let runtime = attempt.gate.gate.runtime.clone();
        let stamp =
            self.in_slot(move |slot| stamp(&plan, &runtime, slot, tree).map_err(|error| error.to_string())).await?;
        let stamp = match stamp {
            Ok(stamp) => stamp,
            Err(message) => return Ok(Err(NotReady::told(message))),
        };
        let is_set_up = |slot: Option<&Slot>| slot.and_then(Slot::setup_stamp).as_ref() == Some(&stamp);
        if is_set_up(self.worker.slot.as_ref()) {
            return Ok(Ok(()));
        }
        // From here until it has succeeded the folder is set up for nothing.
        if let Err(not_ready) = self.remember_setup(None) {
            return Ok(Err(not_ready));
        }
        let log = self.log_path("setup", attempt);
        if let Err(error) = make_log(&log) {
            return Ok(Err(NotReady::because("making the setup's log file", error)));
        }
        let slot = self.slot_path();
        let boxed = match self.box_up(attempt, &setup.run, None, &log).await? {
            Ok(boxed) => boxed,
            Err(message) => return Ok(Err(NotReady::Failed { message, log: Some(log) })),
        };
        let command = GuardedCommand {
            argv: &boxed.as_deref().map_or_else(|| shell(&setup.run), |boxed| boxed.argv().to_vec()),
            at_death: &boxed.as_deref().map_or_else(Vec::new, Boxed::removal),
            cwd: boxed.as_deref().map_or(slot.as_path(), Boxed::folder),
            environment,
            log: &log,
            log_rules: self.log_rules(environment, &attempt.gate.gate),
            timeout: SETUP_TIMEOUT,
            grace: self.gates.settings.grace,
        };
        let (ended, _) = self.run_guarded(&command).await;
        let by_itself = matches!(&ended, Ok(ended) if ended.cause == Cause::Itself);
        let outcome = match boxed.as_ref().filter(|_| by_itself) {
            Some(boxed) => Some(self.ask(boxed, SETUP_TIMEOUT, &log).await?),
            None => None,
        };
        self.unbox(boxed, &log).await?;
        if matches!(outcome, Some(GateOutcome::Cancelled)) {
            return Ok(Err(NotReady::Cancelled));
        }
        let unanswered = outcome.and_then(why_not);
        let why = match ended {
            Ok(_) if unanswered.is_some() => unanswered,
            Ok(Ended { end: End::Code(0), cause: Cause::Itself, .. }) => None,
            Ok(Ended { cause: Cause::Cancel, .. }) => return Ok(Err(NotReady::Cancelled)),
            Ok(Ended { cause: Cause::Timeout, .. }) => Some(format!("took longer than {} s", SETUP_TIMEOUT.as_secs())),
            Ok(Ended { end: End::Code(code), .. }) => Some(format!("failed with exit code {code}")),
            Ok(Ended { end: End::Signal(signal), .. }) => Some(format!("was ended by signal {signal}")),
            Err(error) if tells_of_trouble(&error.to_string()) => {
                return Ok(Err(NotReady::Trouble(format!("the setup `{}` could not be run: {error}", setup.run))));
            }
            Err(error) => Some(format!("could not be run: {error}")),
        };
        if let Some(why) = why {
            if let Some(full) = self.full_disk(environment).await? {
                self.forgiven += 1;
                let message = format!("the setup `{}` {why}, and {full}", setup.run);
                return Ok(Err(NotReady::Failed { message, log: Some(log) }));
            }
            return Ok(Err(NotReady::Failed { message: format!("the setup `{}` {why}", setup.run), log: Some(log) }));
        }
        if let Err(not_ready) = self.remember_setup(Some(&stamp)) {
            return Ok(Err(not_ready));
        }
        if let Err(not_ready) = self.switch(Clean::TrackedAndUntracked, |_| {}).await? {
            return Ok(Err(not_ready));
        }
        if is_set_up(self.worker.slot.as_ref()) {
            return Ok(Ok(()));
        }
        let message = format!("the setup `{}` left the slot in a state that cannot be switched", setup.run);
        Ok(Err(NotReady::Failed { message, log: Some(log) }))
    }

    fn remember_setup(&mut self, stamp: Option<&str>) -> Result<(), NotReady> {
        let Some(slot) = &mut self.worker.slot else { return Ok(()) };
        slot.set_setup_stamp(stamp).map_err(|error| NotReady::because("remembering what the slot is set up for", error))
    }

    /// Blocking work on the worker's slot.
    async fn in_slot<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Slot) -> Result<T, String> + Send + 'static,
    ) -> Result<Result<T, String>, PortError> {
        let Some(slot) = self.worker.slot.take() else { return Ok(Err("there is no slot".to_owned())) };
        let (slot, done) = blocking(move || {
            let done = work(&slot);
            (slot, done)
        })
        .await?;
        self.worker.slot = Some(slot);
        Ok(done)
    }
}
