//! One job: the gates of one composite, one after another in one slot, each with its attempts.
//! Every attempt finds the same tree, whatever the one before did to the slot. What an outcome
//! means for an item is not known here.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::artifacts::{self, Kept, Shelf, within};
use super::client::{Guard, GuardError, GuardedCommand, cancelled};
use super::environment::{Environment, GateTold, Surroundings, of_gate, of_slot};
use super::log::{self, as_file_name};
use super::processes::{self, RecentProcesses};
use super::protocol::{Cause, End, Ended};
use super::pump::LogRules;
use super::retry::{Attempts, NOT_EXECUTABLE, Next};
use super::run::{GateSettings, LocalGates, Worker};
use super::secrets;
use super::setup::stamp;
use crate::crash;
use crate::disk::room;
use crate::git::command::{GitError, remedy, tells_of_trouble};
use crate::git::slot::{Clean, Slot, SlotTarget};
use crate::plan::{Gate, Setup};
use crate::ports::{GateRun, Job, JobGateRun, JobNews, PortError};
use crate::vocabulary::event::{GateOutcome, Verdict};

/// A setup downloads and builds what a project needs; one that takes longer than this hangs.
const SETUP_TIMEOUT: Duration = Duration::from_secs(3600);
/// How many failures of one gate on a full disk do not count, each followed by a try in an emptied
/// slot. It counts if it has filled the disk by itself every time, so that no gate is tried for ever.
const FORGIVEN_ON_A_FULL_DISK: u32 = 2;
/// Between looks at a gate's memory: soon at first, for short gates, then as often as peaks of
/// compilers and test runners ask for.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LATER_LOOKS: Duration = Duration::from_millis(250);

/// One job on its way.
pub(super) struct JobRun<'a> {
    pub(super) gates: &'a LocalGates,
    pub(super) worker: &'a mut Worker,
    pub(super) job: &'a Job,
    pub(super) news: mpsc::UnboundedSender<JobNews>,
    pub(super) cancel: watch::Receiver<bool>,
    /// The command that ran last took its guard with it.
    pub(super) guard_was_lost: bool,
    /// Failures of the gate under way that a full disk excuses.
    pub(super) forgiven: u32,
}

/// Why a gate could not begin.
pub(super) enum NotReady {
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

/// One attempt of one gate.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// Of the gate in its job.
    pub(super) position: usize,
    pub(super) gate: &'a JobGateRun,
    /// From 1.
    pub(super) number: u32,
}

impl JobRun<'_> {
    pub(super) async fn run(mut self) -> Result<(), PortError> {
        let job = self.job;
        for (position, gate) in job.gates.iter().enumerate() {
            match self.run_gate(position, gate).await? {
                Some(Verdict::Passed { .. }) => {}
                Some(Verdict::Failed) if !(gate.gate.required && job.fail_fast) => {}
                // What keeps one gate from running keeps the others.
                Some(Verdict::Failed | Verdict::Unknown) | None => return Ok(()),
            }
        }
        Ok(())
    }

    /// All attempts of one gate; `None` where it was cancelled before or between them.
    async fn run_gate(&mut self, position: usize, gate: &JobGateRun) -> Result<Option<Verdict>, PortError> {
        self.forgiven = 0;
        let mut attempts = Attempts::new(gate.gate.retry, self.gates.settings.run.clone(), gate.key);
        for number in 1.. {
            let attempt = Attempt { position, gate, number };
            let Some(mut run) = self.attempt(attempt).await? else { return Ok(None) };
            if std::mem::take(&mut self.guard_was_lost) {
                attempts.lost_a_guard();
            }
            let next = attempts.after(&run.outcome);
            match next {
                Next::Done(verdict) => run.verdict = Some(verdict),
                Next::Again { after } => run.backoff_ms = Some(millis(after)),
            }
            self.tell(JobNews::Finished { job: self.job.job, gate: position, attempt: number, run: Box::new(run) });
            match next {
                Next::Done(verdict) => return Ok(Some(verdict)),
                Next::Again { after } => tokio::select! {
                    () = tokio::time::sleep(after) => {}
                    () = cancelled(&mut self.cancel) => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    fn tell(&self, news: JobNews) {
        crash::point!("gate.news.before");
        // Nobody listens any more: then nobody waits for it either.
        let _ = self.news.send(news);
        crash::point!("gate.news.after");
    }

    /// Says that nothing can be run here for now.
    fn stuck(&self, message: String) -> PortError {
        let hint = remedy(&message).unwrap_or("see to that first");
        let hint = Some(hint.to_owned());
        let error = PortError { message, hint };
        self.tell(JobNews::Stuck(error.clone()));
        error
    }

    /// `None` where it was cancelled before it began.
    async fn attempt(&mut self, attempt: Attempt<'_>) -> Result<Option<GateRun>, PortError> {
        let started = || JobNews::Started { job: self.job.job, gate: attempt.position, attempt: attempt.number };
        let begun = Instant::now();
        let gate = &attempt.gate.gate;
        let log = self.log_path(gate.name.as_str(), attempt);
        let mut shelf = Shelf::new(self.artifact_folder(attempt));
        let environment = match self.get_ready(attempt).await? {
            Ok(environment) => environment,
            Err(NotReady::Cancelled) => return Ok(None),
            Err(NotReady::Trouble(message)) => return Err(self.stuck(message)),
            Err(NotReady::Failed { message, log: Some(log) }) => {
                self.tell(started());
                let outcome = GateOutcome::Infrastructure { message };
                return self.report(outcome, millis(begun.elapsed()), 0, log, Kept::default()).await.map(Some);
            }
            Err(NotReady::Failed { message, log: None }) => {
                self.tell(started());
                return self.not_run(message, millis(begun.elapsed()), log, Kept::default()).await.map(Some);
            }
        };
        self.tell(started());
        let environment = self.told(environment, attempt, &shelf.written);
        let spare = self.worker.spare_shelf.take();
        if let Err(error) = make_log(&log).and_then(|()| shelf.make(spare)) {
            let message = format!("making {} and the gate's artifact folder: {error}", log.display());
            if tells_of_trouble(&message) {
                return Err(self.stuck(message));
            }
            return self.not_run(message, millis(begun.elapsed()), log, Kept::default()).await.map(Some);
        }
        let slot = self.slot_path();
        let cwd = slot.join(&gate.cwd);
        let Some(real_cwd) = within(&slot, &cwd).filter(|real| real.is_dir()) else {
            write_note(&log, &format!("the gate's cwd `{}` is not a folder of this tree", gate.cwd));
            let outcome = GateOutcome::Failed { exit_code: NOT_EXECUTABLE };
            let kept = Kept { missing: gate.artifacts.clone(), ..Kept::default() };
            return self.report(outcome, millis(begun.elapsed()), 0, log, kept).await.map(Some);
        };
        let command = GuardedCommand {
            run: &gate.run,
            cwd: &real_cwd,
            environment: &environment,
            log: &log,
            log_rules: self.log_rules(&environment),
            timeout: gate.timeout,
            grace: self.gates.settings.grace,
        };
        let (ended, peak) = self.run_guarded(&command).await;
        // Before anything is copied, and before anything is tidied up.
        let is_failure = ended.as_ref().is_ok_and(|ended| is_failure(&outcome_of(ended, gate)));
        let full = if is_failure { self.full_disk(&environment).await? } else { None };
        let globs = gate.artifacts.clone();
        let secrets = command.log_rules.secrets.clone();
        let (kept, spare) = blocking(move || artifacts::keep(&globs, &cwd, &slot, shelf)).await?;
        self.worker.spare_shelf = spare;
        let kept = kept.without(&secrets);
        match ended {
            Ok(ended) => {
                let outcome = match full {
                    Some(full) if self.forgiven < FORGIVEN_ON_A_FULL_DISK => {
                        self.forgiven += 1;
                        GateOutcome::Infrastructure { message: format!("it failed, and {full}") }
                    }
                    Some(full) => {
                        // It counts. Whoever reads what the gate said shall know what it met.
                        write_note(&log, &full.to_string());
                        outcome_of(&ended, gate)
                    }
                    None => outcome_of(&ended, gate),
                };
                self.report(outcome, ended.duration_ms, peak, log, kept).await.map(Some)
            }
            Err(error) if tells_of_trouble(&error.to_string()) => Err(self.stuck(error.to_string())),
            Err(error) => self.not_run(error.to_string(), millis(begun.elapsed()), log, kept).await.map(Some),
        }
    }

    /// A slot that holds the job's tree and nothing that another gate left but what is ignored,
    /// set up; and the environment of what runs in it.
    pub(super) async fn get_ready(&mut self, attempt: Attempt<'_>) -> Result<Result<Environment, NotReady>, PortError> {
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
        let mut slot = match self.worker.slot.take() {
            Some(slot) => slot,
            None => {
                // A guard is of the slot that it was started for.
                self.worker.guard = None;
                let pool = self.gates.pool.clone();
                // What got away from its guard may still be at work in a slot.
                match blocking(move || pool.take_unless(processes::is_somebody_in)).await? {
                    Ok(slot) => slot,
                    Err(error) => return Ok(Err(not_ready(error))),
                }
            }
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
        let stamp = self.in_slot(move |slot| stamp(&plan, slot, tree).map_err(|error| error.to_string())).await?;
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
        let command = GuardedCommand {
            run: &setup.run,
            cwd: &slot,
            environment,
            log: &log,
            log_rules: self.log_rules(environment),
            timeout: SETUP_TIMEOUT,
            grace: self.gates.settings.grace,
        };
        let (ended, _) = self.run_guarded(&command).await;
        let why = match ended {
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

    /// The first full disk among those that a gate in this environment and lexpr write to.
    async fn full_disk(&self, environment: &Environment) -> Result<Option<room::Full>, PortError> {
        let temporary = environment.get(OsStr::new("TMPDIR")).map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let folders = [self.slot_path(), temporary, self.gates.settings.logs.clone()];
        blocking(move || room::first_full(folders.iter().map(PathBuf::as_path))).await
    }

    fn log_rules(&self, environment: &Environment) -> LogRules {
        let settings = &self.gates.settings;
        let variables = environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        LogRules { max_bytes: settings.log_max_bytes, secrets: secrets::values(variables, &settings.redact) }
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

    /// Runs a command under the worker's guard, which is started where there is none, and sees
    /// how much memory it takes.
    async fn run_guarded(&mut self, command: &GuardedCommand<'_>) -> (Result<Ended, GuardError>, u64) {
        // One that did not come to its end must not be used again.
        let mut guard = match self.worker.guard.take() {
            Some(guard) => guard,
            None => match self.start_guard().await {
                Ok(guard) => guard,
                Err(error) => return (Err(error), 0),
            },
        };
        let peak = AtomicU64::new(0);
        let pid = guard.pid();
        let ended = tokio::select! {
            ended = guard.run(command, &mut self.cancel) => ended,
            never = watch_memory(&self.gates.processes, pid, &peak) => match never {},
        };
        self.guard_was_lost = matches!(ended, Err(GuardError::Lost(_)));
        if let Ok(_) | Err(GuardError::NotStarted(_)) = ended {
            self.worker.guard = Some(guard);
        }
        (ended, peak.into_inner())
    }

    async fn start_guard(&self) -> Result<Guard, GuardError> {
        let slot = self.worker.slot.as_ref().ok_or_else(|| GuardError::NoSlot("there is no slot".to_owned()))?;
        let at_work = slot.at_work().map_err(|error| GuardError::NoSlot(error.to_string()))?;
        Guard::start(&self.gates.settings.guard_exe, at_work).await
    }

    /// The report on an attempt that lexpr could not run, or not to its end; the log says why.
    async fn not_run(&self, message: String, duration_ms: u64, log: PathBuf, kept: Kept) -> Result<GateRun, PortError> {
        write_note(&log, &message);
        self.report(GateOutcome::Infrastructure { message }, duration_ms, 0, log, kept).await
    }

    async fn report(
        &self,
        outcome: GateOutcome,
        duration_ms: u64,
        peak_memory_bytes: u64,
        log: PathBuf,
        kept: Kept,
    ) -> Result<GateRun, PortError> {
        let path = log.clone();
        crash::point!("gate.report.before");
        // A log that cannot be read has no digest, and its end is not known.
        let (log_digest, tail) =
            blocking(move || (log::digest(&path).ok(), log::tail(&path).unwrap_or_default())).await?;
        Ok(GateRun {
            outcome,
            verdict: None,
            duration_ms,
            backoff_ms: None,
            peak_memory_bytes: (peak_memory_bytes > 0).then_some(peak_memory_bytes),
            log,
            log_digest,
            tail,
            artifacts: kept.artifacts,
            missing_artifacts: kept.missing,
        })
    }

    /// The environment of a gate in a slot, from that of the slot.
    pub(super) fn told(&self, slots: Environment, attempt: Attempt<'_>, artifacts: &Path) -> Environment {
        let gate = &attempt.gate.gate;
        let told = GateTold {
            name: gate.name.as_str(),
            attempt: attempt.number,
            artifacts,
            context: attempt.gate.item.as_ref().filter(|_| gate.context).map(|item| (item, self.job.base)),
        };
        of_gate(slots, &gate.env, &self.surroundings(), &told)
    }

    fn surroundings(&self) -> Surroundings<'_> {
        let GateSettings { run, mark, .. } = &self.gates.settings;
        Surroundings { run, mark, commit: self.job.commit, tree: self.job.tree }
    }

    pub(super) fn slot_path(&self) -> PathBuf {
        self.worker.slot.as_ref().map(|slot| slot.path().to_owned()).unwrap_or_default()
    }

    /// Unique: a key is gated once in a job.
    fn log_path(&self, name: &str, attempt: Attempt) -> PathBuf {
        let (name, key) = (as_file_name(name), attempt.gate.key.in_file_names());
        let ending = self.job.job.log_ending(attempt.number);
        self.gates.settings.logs.join(format!("{name}-{key}{ending}"))
    }

    pub(super) fn artifact_folder(&self, attempt: Attempt) -> PathBuf {
        let job = self.job.job.0;
        let job = match &attempt.gate.item {
            Some(item) => format!("{}-job-{job}", as_file_name(item.as_str())),
            None => format!("job-{job}"),
        };
        let (gate, key) = (as_file_name(attempt.gate.gate.name.as_str()), attempt.gate.key.in_file_names());
        self.gates.settings.artifacts.join(format!("{job}-{gate}-{key}-{}", attempt.number))
    }
}

fn outcome_of(ended: &Ended, gate: &Gate) -> GateOutcome {
    let signal = match ended.end {
        End::Signal(signal) => Some(signal),
        End::Code(_) => None,
    };
    match (ended.cause, ended.end) {
        (Cause::Cancel, _) => GateOutcome::Cancelled,
        (Cause::Timeout, _) => GateOutcome::TimedOut { after_ms: millis(gate.timeout), signal },
        (Cause::Itself, End::Code(0)) => GateOutcome::Passed,
        (Cause::Itself, End::Code(exit_code)) if gate.rate_limit_exit_code.map(i32::from) == Some(exit_code) => {
            GateOutcome::RateLimited { exit_code }
        }
        (Cause::Itself, End::Code(exit_code)) => GateOutcome::Failed { exit_code },
        (Cause::Itself, End::Signal(signal)) => GateOutcome::Signaled { signal },
    }
}

fn is_failure(outcome: &GateOutcome) -> bool {
    matches!(outcome, GateOutcome::Failed { .. } | GateOutcome::Signaled { .. } | GateOutcome::TimedOut { .. })
}

/// Keeps `peak` at the most that all processes below `guard` were seen to hold together.
async fn watch_memory(processes: &Arc<RecentProcesses>, guard: Option<i32>, peak: &AtomicU64) -> Infallible {
    let Some(guard) = guard else { return std::future::pending().await };
    let mut wait = FIRST_LOOK;
    loop {
        tokio::time::sleep(wait).await;
        let processes = Arc::clone(processes);
        if let Ok(Some(table)) = tokio::task::spawn_blocking(move || processes.table(wait)).await {
            peak.fetch_max(table.descendants_bytes(guard), Ordering::Relaxed);
        }
        wait = (wait * 2).min(LATER_LOOKS);
    }
}

/// With its folder, should it be the first in it.
fn make_log(path: &Path) -> std::io::Result<()> {
    open_log(path, File::options().create(true).write(true).truncate(true)).map(drop)
}

fn open_log(path: &Path, options: &fs::OpenOptions) -> std::io::Result<File> {
    match (options.open(path), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder).and_then(|()| options.open(path))
        }
        (opened, _) => opened,
    }
}

/// Adds a line of lexpr's own to a log. Where that fails there is no place left to say so.
fn write_note(log: &Path, note: &str) {
    let _ =
        open_log(log, File::options().create(true).append(true)).and_then(|mut file| writeln!(file, "lexpr: {note}"));
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Runs what blocks where it holds up no other task.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PortError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PortError {
        message: format!("work on a slot ended early: {error}"),
        hint: Some("this is a bug in lexpr; please report it".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_memory_of_all_below_a_guard_is_seen_while_a_gate_runs() {
        // The parent of this process plays the guard: at least this process is below it.
        let guard = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        let peak = AtomicU64::new(0);
        let seen = async {
            while peak.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        let processes = Arc::default();
        tokio::select! {
            never = watch_memory(&processes, guard, &peak) => match never {},
            () = seen => {}
        }
        assert!(peak.into_inner() > 1 << 20);
    }
}
