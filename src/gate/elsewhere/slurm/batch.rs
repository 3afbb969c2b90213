//! Gates as jobs of their own. A job outlives the lexpr that submitted it, and sends back what came of it by git; whoever
//! asks for the same ticket finds the job, or what it sent. What it prints is heard meanwhile where it runs for a while.
//!
//! No two jobs of one gate are there at once, whatever becomes of lexpr and of Slurm's controller: while that cannot be asked
//! nothing is submitted (`patience`), what is left of an earlier attempt is ended first, and of two jobs of one name Slurm itself
//! holds back the second.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, watch};

use super::client::{ClientError, LONGEST_CALL};
use super::listening::Listening;
use super::patience::Asking;
use super::queue::{JobSeen, Phase, Queue};
use super::{Cluster, Trouble, blocking, excluding, millis};
use crate::gate::client::cancelled;
use crate::gate::elsewhere::account::{Account, EngineSays, nonce};
use crate::gate::elsewhere::exchange::{BroughtLog, object_format};
use crate::gate::elsewhere::worker::{SCRIPT, quoted};
use crate::gate::elsewhere::{Errand, Returned, Word};
use crate::vocabulary::event::GateOutcome;

/// Between looks at one job, of which all of a run are looked at together: often at a short one, and never much later than
/// it has taken so far.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LATER_LOOKS: Duration = Duration::from_secs(2);
const LATE_BY: u32 = 5;
/// Shorter ones have ended before anybody looks.
const HEARD_AFTER: Duration = Duration::from_secs(2);
/// What a cancelled job may take to end, beyond its gate's grace, before it is not waited for any more.
const CANCELLED_SLACK: Duration = Duration::from_secs(5);
/// How often it is tried to submit one job while the controller comes and goes.
const SUBMISSIONS: u32 = 5;

#[derive(Debug)]
pub(super) struct Batch {
    cluster: Arc<Cluster>,
    queue: Arc<Queue>,
    /// What there was before this lexpr asked for anything.
    before: OnceCell<Before>,
    /// By ticket. Each is submitted once, however many ask and whoever stops waiting.
    submitted: Mutex<HashMap<String, Arc<OnceCell<u64>>>>,
}

/// What was left by a lexpr that is gone.
#[derive(Debug)]
struct Before {
    jobs: Vec<JobSeen>,
    /// Full names of refs of the exchange.
    refs: HashSet<String>,
}

/// What is to be done about an errand.
enum Start {
    Submit,
    Follow(u64),
    /// It has sent back what came of it.
    TakeResult(JobEnd),
}

/// What was seen of a job on the way to its end.
#[derive(Debug, Default)]
struct Followed {
    /// Until a node had it.
    queued_ms: Option<u64>,
    listening: Option<Listening>,
    /// Where in the log begins what was heard of it.
    heard_from: Option<u64>,
}

/// How a job was seen to end.
enum JobEnd {
    Seen(JobSeen),
    /// Slurm forgets jobs (slurm.conf(5), MinJobAge).
    Forgotten,
    /// lexpr ended it, for this reason.
    Cut(String),
    Cancelled,
}

impl Batch {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let queue = Arc::new(Queue::new(cluster.client.clone(), cluster.prefix()));
        Self { cluster, queue, before: OnceCell::new(), submitted: Mutex::default() }
    }

    pub(super) async fn run(
        &self,
        errand: &Errand,
        mut cancel: watch::Receiver<bool>,
        started: impl FnOnce(&str) + Send,
        tell: &(impl Fn(Word) + Send + Sync),
    ) -> Result<Returned, Trouble> {
        let asked = Instant::now();
        let mut seen = Followed::default();
        let start = tokio::select! {
            start = self.start(errand) => start?,
            () = cancelled(&mut cancel) => return Ok(Returned::early(GateOutcome::Cancelled, asked)),
        };
        let end = match start {
            Start::TakeResult(end) => end,
            Start::Follow(job) => {
                // Whoever was stopped before has taken it away, should the job have been out of reach.
                self.cluster.push(errand).await?;
                self.follow(errand, job, asked, &mut cancel, started, &mut seen).await?
            }
            Start::Submit => {
                let job = tokio::select! {
                    job = self.submit(errand) => job?,
                    // Should it be submitted by now, it is ended when the run is cleared up.
                    () = cancelled(&mut cancel) => return Ok(Returned::early(GateOutcome::Cancelled, asked)),
                };
                self.follow(errand, job, asked, &mut cancel, started, &mut seen).await?
            }
        };
        let queued_ms = seen.queued_ms.unwrap_or_else(|| millis(asked.elapsed()));
        if let JobEnd::Seen(JobSeen { state, .. }) = &end
            && state == "TIMEOUT"
        {
            // It would have no more time.
            tell(Word::InVain);
        }
        let returned = self.what_came_of(errand, end, queued_ms, seen.heard_from).await;
        let has_ended = |returned: &Returned| {
            !matches!(returned.outcome, GateOutcome::Cancelled | GateOutcome::Infrastructure { .. })
        };
        if !returned.as_ref().is_ok_and(has_ended) {
            // Who asks again wants another try.
            self.submitted().insert(errand.ticket.clone(), Arc::default());
        }
        returned
    }

    async fn before(&self, errand: &Errand) -> Result<&Before, Trouble> {
        let since = Instant::now();
        self.before
            .get_or_try_init(async || {
                // In this order: what a job sends is there before it has ended.
                let jobs = look(&self.cluster, &self.queue, errand, since).await?.to_vec();
                let exchange = self.cluster.settings.exchange.clone();
                let refs = self.cluster.of_exchange(move || exchange.refs()).await?;
                Ok(Before { jobs, refs: refs.into_iter().collect() })
            })
            .await
    }

    fn submitted(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceCell<u64>>>> {
        // Nothing in here can be half done.
        self.submitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for what was left of an errand that this lexpr is asked for the first time.
    async fn start(&self, errand: &Errand) -> Result<Start, Trouble> {
        let before = self.before(errand).await?;
        if self.submitted().contains_key(&errand.ticket) {
            return Ok(Start::Submit);
        }
        let name = self.job_name(errand);
        let mut jobs: Vec<&JobSeen> = before.jobs.iter().filter(|job| job.name == name).collect();
        jobs.sort_by_key(|job| job.id);
        // The first counts, should a killed lexpr have left two.
        if let Some(job) = jobs.iter().find(|job| job.phase() != Phase::Ended) {
            return Ok(Start::Follow(job.id));
        }
        if before.refs.contains(&self.cluster.settings.exchange.name_of(&result_of(&errand.ticket))) {
            let end = jobs.last().map_or(JobEnd::Forgotten, |job| JobEnd::Seen((*job).clone()));
            return Ok(Start::TakeResult(end));
        }
        // One that has ended without a word is as good as none.
        Ok(Start::Submit)
    }

    /// The job of an errand, submitted unless it was.
    async fn submit(&self, errand: &Errand) -> Result<u64, Trouble> {
        let cell = Arc::clone(self.submitted().entry(errand.ticket.clone()).or_default());
        let (cluster, queue) = (Arc::clone(&self.cluster), Arc::clone(&self.queue));
        let submission = Submission { cluster, queue, name: self.job_name(errand), errand: errand.clone() };
        // It goes on if nobody waits for it any more: else there might be a job that nobody knows of.
        let submitting = tokio::spawn(async move { cell.get_or_try_init(|| submission.submit()).await.copied() });
        submitting.await.map_err(|error| Trouble::Said(format!("submitting a job ended early: {error}")))?
    }

    /// As Slurm knows it.
    pub(super) fn job_name(&self, errand: &Errand) -> String {
        format!("{}.{}", self.cluster.name(), errand.ticket)
    }

    /// Waits for a job to end, or ends it, and hears what it prints.
    async fn follow(
        &self,
        errand: &Errand,
        job: u64,
        asked: Instant,
        cancel: &mut watch::Receiver<bool>,
        started: impl FnOnce(&str) + Send,
        seen: &mut Followed,
    ) -> Result<JobEnd, Trouble> {
        let end = self.wait_for(errand, job, asked, cancel, started, seen).await;
        if let Some(listening) = seen.listening.take() {
            seen.heard_from = Some(listening.end().await);
        }
        end
    }

    async fn wait_for(
        &self,
        errand: &Errand,
        job: u64,
        asked: Instant,
        cancel: &mut watch::Receiver<bool>,
        started: impl FnOnce(&str) + Send,
        followed: &mut Followed,
    ) -> Result<JobEnd, Trouble> {
        let settings = &self.cluster.settings;
        let longest = self.cluster.longest_job(errand);
        let since = Instant::now();
        let mut started = Some(started);
        let mut running_since = None;
        let mut is_listened_to = false;
        loop {
            let jobs = tokio::select! {
                jobs = look(&self.cluster, &self.queue, errand, since) => jobs?,
                () = cancelled(cancel) => return Ok(self.end_cancelled(job).await),
            };
            let Some(seen) = jobs.iter().find(|seen| seen.id == job) else { return Ok(JobEnd::Forgotten) };
            let cut = match seen.phase() {
                Phase::Ended => return Ok(JobEnd::Seen(seen.clone())),
                Phase::Waiting if asked.elapsed() > settings.queue_limit => {
                    let minutes = asked.elapsed().as_secs() / 60;
                    Some(format!("job {job} was queued for {minutes} min; Slurm says why it waits: {}", seen.reason))
                }
                Phase::Waiting => None,
                Phase::Running | Phase::Ending => {
                    if let Some(started) = started.take() {
                        started(&seen.node);
                        followed.queued_ms = Some(millis(asked.elapsed()));
                    }
                    let since = *running_since.get_or_insert_with(Instant::now);
                    if !is_listened_to && since.elapsed() >= HEARD_AFTER && seen.phase() == Phase::Running {
                        is_listened_to = true;
                        followed.listening = Listening::to(&self.cluster, errand, job);
                    }
                    let is_overdue = since.elapsed() > longest;
                    is_overdue.then(|| {
                        format!("job {job} on {} had not ended {} s after it began", seen.node, longest.as_secs())
                    })
                }
            };
            if let Some(why) = cut {
                end(&self.cluster, &self.queue, job).await?;
                return Ok(JobEnd::Cut(why));
            }
            let so_far = running_since.unwrap_or(since).elapsed();
            tokio::select! {
                () = tokio::time::sleep((so_far / LATE_BY).clamp(FIRST_LOOK, LATER_LOOKS)) => {}
                () = cancelled(cancel) => return Ok(self.end_cancelled(job).await),
            }
        }
    }

    /// Ends the job of a cancelled errand, while somebody waits for lexpr to end: where that cannot be asked for, the job is ended
    /// before another of its gate begins, and when the run is cleared up.
    async fn end_cancelled(&self, job: u64) -> JobEnd {
        if self.cluster.end_job_hurriedly(job).await.is_ok() {
            let limit = self.cluster.settings.grace + CANCELLED_SLACK;
            let _ = tokio::time::timeout(limit, self.queue.sees_the_end_of(job, FIRST_LOOK)).await;
        }
        JobEnd::Cancelled
    }

    async fn what_came_of(
        &self,
        errand: &Errand,
        end: JobEnd,
        queued_ms: u64,
        heard_from: Option<u64>,
    ) -> Result<Returned, Trouble> {
        let (exchange, sent) = (self.cluster.settings.exchange.clone(), errand.clone());
        let into = BroughtLog { path: sent.log, rules: sent.log_rules, instead_of: heard_from };
        let brought = blocking(move || exchange.bring(&result_of(&sent.ticket), object_format(sent.commit), &into));
        let (mut engine, why, node) = match end {
            JobEnd::Cancelled => {
                let account = Account::default();
                return Ok(account.returned(GateOutcome::Cancelled, &EngineSays::default(), queued_ms));
            }
            JobEnd::Cut(why) => (EngineSays::default(), why, None),
            JobEnd::Forgotten => {
                let why = "Slurm does not know the job any more, and it has sent nothing back; a longer MinJobAge keeps jobs known";
                (EngineSays::default(), why.to_owned(), None)
            }
            JobEnd::Seen(job) => {
                let JobSeen { id, state, reason, node, .. } = job;
                let against_a_pass = (state != "COMPLETED").then(|| format!("the state of job {id} is {state}"));
                let advice = match state.as_str() {
                    "TIMEOUT" => self.cluster.time_limit_to_see_to(),
                    "NODE_FAIL" | "BOOT_FAIL" => "; its node is lost, see `sinfo -R`",
                    _ => "",
                };
                let why = format!("job {id} ended as {state} ({reason}) and has sent nothing back{advice}");
                let out_of_memory = state == "OUT_OF_MEMORY";
                (EngineSays { against_a_pass, out_of_memory, remarks: Vec::new() }, why, Some(node))
            }
        };
        let brought =
            brought.await?.map_err(|error| Trouble::Said(format!("bringing back what came of the gate: {error}")))?;
        let mut account = match &brought {
            Some(text) => Account::read(text, &nonce(&errand.ticket, errand.commit)),
            None => Account::default(),
        };
        if account.node.is_none() {
            account.node = node.filter(|node| !node.is_empty());
        }
        if brought.is_none() && !engine.out_of_memory {
            engine.remarks.clear();
            return Ok(account.returned(account.infrastructure(&engine, &why), &engine, queued_ms));
        }
        Ok(account.returned(account.outcome(errand, &engine), &engine, queued_ms))
    }
}

/// One job to be submitted.
struct Submission {
    cluster: Arc<Cluster>,
    queue: Arc<Queue>,
    name: String,
    errand: Errand,
}

impl Submission {
    /// Ends jobs of earlier attempts of the same gate, which are there where nobody could be asked to end them, or where lexpr
    /// was killed before it had.
    async fn end_earlier(&self) -> Result<(), Trouble> {
        let Some((of_key, attempt)) = attempt_of(&self.name).filter(|(_, attempt)| *attempt > 0) else { return Ok(()) };
        let jobs = look(&self.cluster, &self.queue, &self.errand, Instant::now()).await?;
        let is_earlier = |job: &&JobSeen| {
            job.phase() != Phase::Ended
                && attempt_of(&job.name).is_some_and(|(key, nth)| key == of_key && nth < attempt)
        };
        for job in jobs.iter().filter(is_earlier) {
            end(&self.cluster, &self.queue, job.id).await?;
        }
        Ok(())
    }

    async fn submit(&self) -> Result<u64, Trouble> {
        self.end_earlier().await?;
        let settings = &self.cluster.settings;
        let at = self.cluster.push(&self.errand).await?;
        let result = settings.exchange.name_of(&result_of(&self.errand.ticket));
        let variables = self.cluster.instructions(&self.errand, &at, Some(&result)).variables()?;
        let mut args = vec![
            "--parsable".to_owned(),
            // A job that is started anew by Slurm waits two minutes, and lexpr tries again by itself.
            "--no-requeue".to_owned(),
            format!("--job-name={}", self.name),
            // Should there be two of this name, by a client that outlived its lexpr, never both at once.
            "--dependency=singleton".to_owned(),
            "--nodes=1".to_owned(),
            "--ntasks=1".to_owned(),
            format!("--cpus-per-task={}", self.cluster.cpus()),
            "--chdir=/".to_owned(),
            // What the gate prints, the worker has.
            "--output=/dev/null".to_owned(),
            "--error=/dev/null".to_owned(),
            // Nothing of the caller's, and no profile of the user's on the node.
            "--export=NIL".to_owned(),
        ];
        args.extend(settings.needs.memory_mb.map(|mb| format!("--mem={mb}")));
        args.extend(settings.needs.gpus.map(|gpus| format!("--gpus={gpus}")));
        args.extend(self.cluster.request());
        let excluded = excluding(self.cluster.shunned().keys());
        let mut args: Vec<&str> = args.iter().chain(&excluded).map(String::as_str).collect();
        // Slurm keeps a job's environment in a file as it does the script: what is not to be seen is in neither.
        let mut script = b"#!/bin/sh\n".to_vec();
        for (name, value) in &variables {
            script.extend_from_slice(&[name.as_bytes(), b"=", &quoted(value.as_bytes()), b"\n"].concat());
        }
        script.extend_from_slice(SCRIPT.as_bytes());
        for submission in 1.. {
            match self.cluster.client.once("sbatch", &args, &script, LONGEST_CALL).await {
                // `job` or `job;cluster`.
                Ok(said) => {
                    let id = said.trim().split(';').next().and_then(|id| id.parse().ok());
                    return id.ok_or_else(|| Trouble::Said(format!("sbatch gave no job id: {said}")));
                }
                Err(error) if error.is_silence() && submission < SUBMISSIONS => {
                    // It may have been heard all the same. This waits until the controller is back.
                    let jobs = look(&self.cluster, &self.queue, &self.errand, Instant::now()).await?;
                    if let Some(job) = jobs.iter().find(|job| job.name == self.name && job.phase() != Phase::Ended) {
                        return Ok(job.id);
                    }
                }
                // Perhaps since no node is left that the gate may have.
                Err(ClientError::Refused { .. }) if args.last().copied() == excluded.as_deref() => drop(args.pop()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Trouble::Said("the job could not be submitted".to_owned()))
    }
}

/// The queue, once there is a controller that says so; see [`Queue::look`].
async fn look(cluster: &Cluster, queue: &Queue, errand: &Errand, since: Instant) -> Result<Arc<[JobSeen]>, Trouble> {
    let mut asking = Asking::begin(cluster, errand);
    loop {
        match queue.look(since).await {
            Ok(jobs) => return Ok(jobs),
            Err(error) => asking.bear(error).await?,
        }
    }
}

/// Ends a job and waits until it has ended.
async fn end(cluster: &Cluster, queue: &Queue, job: u64) -> Result<(), Trouble> {
    cluster.end_job(job).await?;
    match queue.sees_the_end_of(job, FIRST_LOOK).await? {
        true => Ok(()),
        false => Err(Trouble::Said(format!("job {job} does not end; see `scontrol show job {job}`"))),
    }
}

/// A job's name without the number of the attempt that it is of, and that; see [`Errand::ticket`].
fn attempt_of(name: &str) -> Option<(&str, u32)> {
    let (of_key, attempt) = name.rsplit_once('-')?;
    Some((of_key, attempt.parse().ok()?))
}

/// Where a worker sends what came of an errand.
fn result_of(ticket: &str) -> String {
    format!("{ticket}-result")
}
