//! One job: the gates of one composite, one after another in one slot, each with its attempts.
//! Every attempt finds the same tree, whatever the one before did to the slot. What an outcome
//! means for an item is not known here.

mod boxing;
mod ready;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

pub(super) use ready::NotReady;

use super::artifacts::{self, Kept, Shelf, within};
use super::client::{Guard, GuardError, GuardedCommand, cancelled, shell};
use super::container::Boxed;
use super::environment::{Environment, GateTold, Surroundings, of_gate};
use super::log;
use super::processes::RecentProcesses;
use super::protocol::{Cause, End, Ended};
use super::pump::LogRules;
use super::retry::{Attempts, NOT_EXECUTABLE, Next, goes_on};
use super::run::{GateSettings, LocalGates, Worker};
use super::secrets;
use crate::crash;
use crate::disk::room;
use crate::git::command::{remedy, tells_of_trouble};
use crate::plan::Gate;
use crate::ports::{GateRun, Job, JobGateRun, JobNews, PortError};
use crate::vocabulary::event::{GateOutcome, Verdict};

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
    /// The engine of the container that ran last did not answer for a while.
    pub(super) engine_was_away: bool,
    /// What kept the attempt that ended last from being run will keep every other.
    pub(super) is_in_vain: bool,
    /// Failures of the gate under way that a full disk excuses.
    pub(super) forgiven: u32,
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

impl<'a> JobRun<'a> {
    pub(super) fn new(
        gates: &'a LocalGates,
        worker: &'a mut Worker,
        job: &'a Job,
        news: mpsc::UnboundedSender<JobNews>,
        cancel: watch::Receiver<bool>,
    ) -> Self {
        Self {
            gates,
            worker,
            job,
            news,
            cancel,
            guard_was_lost: false,
            engine_was_away: false,
            is_in_vain: false,
            forgiven: 0,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), PortError> {
        let job = self.job;
        for (position, gate) in job.gates.iter().enumerate() {
            if !goes_on(self.run_gate(position, gate).await?, &gate.gate, job.fail_fast) {
                break;
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
            if std::mem::take(&mut self.engine_was_away) {
                attempts.met_no_engine();
            }
            if std::mem::take(&mut self.is_in_vain) {
                attempts.are_in_vain();
            }
            let next = attempts.settle(&mut run);
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
        let started =
            || JobNews::Started { job: self.job.job, gate: attempt.position, attempt: attempt.number, node: None };
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
        let boxed = match self.box_up(attempt, &gate.run, Some(&shelf.written), &log).await? {
            Ok(boxed) => boxed,
            Err(message) => {
                return self.not_run(message, millis(begun.elapsed()), log, Kept::default()).await.map(Some);
            }
        };
        let command = GuardedCommand {
            argv: &boxed.as_deref().map_or_else(|| shell(&gate.run), |boxed| boxed.argv().to_vec()),
            at_death: &boxed.as_deref().map_or_else(Vec::new, Boxed::removal),
            cwd: boxed.as_deref().map_or(real_cwd.as_path(), Boxed::folder),
            environment: &environment,
            log: &log,
            log_rules: self.log_rules(&environment, gate),
            timeout: gate.timeout,
            grace: self.gates.settings.grace,
        };
        let (ended, peak) = self.run_guarded(&command).await;
        let ended = match ended {
            Ok(ended) => {
                let outcome = self.outcome_of(&ended, gate, boxed.as_ref(), &log).await?;
                Ok((ended, outcome))
            }
            Err(error) => Err(error),
        };
        // Before anything is copied, and before anything is tidied up.
        let is_failure = ended.as_ref().is_ok_and(|(_, outcome)| outcome.is_failure());
        let full = if is_failure { self.full_disk(&environment).await? } else { None };
        let secrets = command.log_rules.secrets.clone();
        self.unbox(boxed, &log).await?;
        let globs = gate.artifacts.clone();
        let (kept, spare) = blocking(move || artifacts::keep(&globs, &cwd, &slot, shelf)).await?;
        self.worker.spare_shelf = spare;
        let kept = kept.without(&secrets);
        match ended {
            Ok((ended, outcome)) => {
                let outcome = match full {
                    Some(full) if self.forgiven < FORGIVEN_ON_A_FULL_DISK => {
                        self.forgiven += 1;
                        GateOutcome::Infrastructure { message: format!("it failed, and {full}") }
                    }
                    Some(full) => {
                        // It counts. Whoever reads what the gate said shall know what it met.
                        write_note(&log, &full.to_string());
                        outcome
                    }
                    None => outcome,
                };
                self.report(outcome, ended.duration_ms, peak, log, kept).await.map(Some)
            }
            Err(error) if tells_of_trouble(&error.to_string()) => Err(self.stuck(error.to_string())),
            Err(error) => self.not_run(error.to_string(), millis(begun.elapsed()), log, kept).await.map(Some),
        }
    }

    /// The first full disk among those that a gate in this environment and lexpr write to.
    async fn full_disk(&self, environment: &Environment) -> Result<Option<room::Full>, PortError> {
        let temporary = environment.get(OsStr::new("TMPDIR")).map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let folders = [self.slot_path(), temporary, self.gates.settings.logs.clone()];
        blocking(move || room::first_full(folders.iter().map(PathBuf::as_path))).await
    }

    fn log_rules(&self, environment: &Environment, gate: &Gate) -> LogRules {
        let settings = &self.gates.settings;
        let variables = environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let passed = gate.runtime.pass_env();
        let redact: Vec<String> = settings.redact.iter().chain(passed).cloned().collect();
        LogRules { max_bytes: settings.log_max_bytes, secrets: secrets::values(variables, &redact) }
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
        let (log_digest, tail) = blocking(move || log::of_ended(&path)).await?;
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
            elsewhere: None,
        })
    }

    /// The environment of a gate in a slot, from that of the slot.
    pub(super) fn told(&self, slots: Environment, attempt: Attempt<'_>, artifacts: &Path) -> Environment {
        let gate = &attempt.gate.gate;
        let told = GateTold::of(attempt.gate, self.job.base, attempt.number, artifacts);
        of_gate(slots, &gate.env, &self.surroundings(), &told)
    }

    fn surroundings(&self) -> Surroundings<'_> {
        let GateSettings { run, mark, .. } = &self.gates.settings;
        Surroundings { run, mark, commit: self.job.commit, tree: self.job.tree }
    }

    pub(super) fn slot_path(&self) -> PathBuf {
        self.worker.slot.as_ref().map(|slot| slot.path().to_owned()).unwrap_or_default()
    }

    fn log_path(&self, name: &str, attempt: Attempt) -> PathBuf {
        self.gates.settings.logs.join(log::file_name(name, attempt.gate.key, self.job.job, attempt.number))
    }

    pub(super) fn artifact_folder(&self, attempt: Attempt) -> PathBuf {
        let name = artifacts::folder_name(self.job.job, attempt.gate, attempt.number);
        self.gates.settings.artifacts.join(name)
    }
}

pub(super) fn outcome_of(ended: &Ended, gate: &Gate) -> GateOutcome {
    let signal = match ended.end {
        End::Signal(signal) => Some(signal),
        End::Code(_) => None,
    };
    match (ended.cause, ended.end) {
        (Cause::Cancel, _) => GateOutcome::Cancelled,
        (Cause::Timeout, _) => GateOutcome::TimedOut { after_ms: millis(gate.timeout), signal },
        (Cause::Itself, End::Code(0)) => GateOutcome::Passed,
        (Cause::Itself, End::Code(exit_code)) => failed(exit_code, gate),
        (Cause::Itself, End::Signal(signal)) => GateOutcome::Signaled { signal },
    }
}

/// What a gate says that ends with a status other than 0.
pub(super) fn failed(exit_code: i32, gate: &Gate) -> GateOutcome {
    match gate.rate_limit_exit_code.map(i32::from) == Some(exit_code) {
        true => GateOutcome::RateLimited { exit_code },
        false => GateOutcome::Failed { exit_code },
    }
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
pub(super) fn make_log(path: &Path) -> std::io::Result<()> {
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
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PortError> {
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
