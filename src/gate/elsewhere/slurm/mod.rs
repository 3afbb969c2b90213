//! Gates on a Slurm cluster: as steps of one allocation that is kept (`pool`), or as jobs of their own (`batch`). Slurm says
//! where a gate runs and when; how it ended, the worker's account says.

mod batch;
mod client;
mod hearing;
mod listening;
mod patience;
mod pool;
mod queue;
mod waiting;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::Either;
use tokio::sync::watch;

use self::batch::Batch;
use self::client::{Client, ClientError};
pub use self::patience::Patience;
use self::pool::Pool;
use self::queue::{Phase, Queue};
use super::exchange::NotCleared;
use super::worker::{Instructions, NotAName};
use super::{Errand, Exchange, Returned, Word};
use crate::gate::client::GuardError;
use crate::gate::job::make_log;
use crate::git::command::GitError;
use crate::plan::runtime::{SlurmMode, SlurmNeeds};
use crate::ports::PortError;
use crate::vocabulary::event::GateOutcome;
use crate::vocabulary::names::RunId;

/// What was told to end, and its processes with it, has this long: Slurm's KillWait is 30 s where nobody changed it, and
/// an epilog may take its time.
const LONGEST_END: Duration = Duration::from_secs(120);
/// For removing what is left on the exchange of a run that has ended.
const LONGEST_CLEARING: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A node on which lexpr could not run a gate gets none for so long, while there are others.
const SHUNNED_FOR: Duration = Duration::from_secs(120);

/// What holds for all gates that one run sends to one cluster. What is not set, Slurm decides.
#[derive(Clone, Debug)]
pub struct SlurmSettings {
    /// The runtime's name in the plan; letters, digits, `-` and `_`.
    pub name: String,
    pub run: RunId,
    /// By which processes of the run are known, see [`crate::runs::RunFolder::mark`].
    pub mark: String,
    pub mode: SlurmMode,
    /// Of each gate; in a pool, each node is asked for as many graphics processors. The time limit is that of the allocation,
    /// or of each job; Slurm counts in minutes, and a gate's own limit is lexpr's to keep.
    pub needs: SlurmNeeds,
    /// A gate that has no node for so long is given up.
    pub queue_limit: Duration,
    pub exchange: Exchange,
    /// On nodes; a folder of the user's under `$TMPDIR` where not set.
    pub work_dir: Option<PathBuf>,
    /// The caller's environment, such as [`std::env::vars_os`] gives it.
    pub environment: Vec<(OsString, OsString)>,
    /// As in [`crate::gate::GateSettings`].
    pub guard_exe: PathBuf,
    /// From TERM to KILL when a gate's time is up or it is cancelled.
    pub grace: Duration,
    pub patience: Patience,
}

/// Runs gates on a Slurm cluster.
#[derive(Debug)]
pub struct Slurm {
    cluster: Arc<Cluster>,
    way: Way,
    /// For who tells why gates wait.
    glances: Queue,
}

#[derive(Debug)]
enum Way {
    Pool(Pool),
    Batch(Batch),
}

/// The cluster as one run has it.
#[derive(Debug)]
struct Cluster {
    settings: SlurmSettings,
    client: Client,
    /// Since when.
    shunned: Mutex<BTreeMap<String, Instant>>,
}

/// Why a gate could not be run, or not to its end.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Slurm(#[from] ClientError),
    #[error("the exchange {address}: {source}")]
    Exchange { address: String, source: GitError },
    #[error("{0}")]
    Guard(#[from] GuardError),
    #[error("{0}")]
    Name(#[from] NotAName),
    #[error("{0}")]
    Said(String),
}

impl Slurm {
    pub fn new(settings: SlurmSettings) -> Self {
        let client = Client::new(&settings.environment, &settings.mark, settings.patience.controller);
        let mode = settings.mode;
        let cluster = Arc::new(Cluster { settings, client, shunned: Mutex::default() });
        let way = match mode {
            SlurmMode::Pool { nodes } => Way::Pool(Pool::new(Arc::clone(&cluster), nodes)),
            SlurmMode::Batch => Way::Batch(Batch::new(Arc::clone(&cluster))),
        };
        let glances = Queue::of_glances(&cluster.client, cluster.name());
        Self { cluster, way, glances }
    }

    /// Runs an errand to its end, or finds what came of it. `tell` hears why it waits, and the node once one has it; `cancel`
    /// turning true ends what runs there. A future that is dropped ends nothing: who asks again finds it.
    ///
    /// # Errors
    /// Where lexpr itself fails. What goes wrong on the cluster, or on the way there, is an outcome.
    pub async fn run(
        &self,
        errand: &Errand,
        cancel: watch::Receiver<bool>,
        tell: impl Fn(Word) + Send + Sync,
    ) -> Result<Returned, PortError> {
        make_log(&errand.log).map_err(|error| PortError {
            message: format!("making {}: {error}", errand.log.display()),
            hint: Some("see to that first".to_owned()),
        })?;
        let asked = Instant::now();
        if matches!(self.way, Way::Batch(_)) && !errand.pass_env.is_empty() {
            return Err(PortError {
                message: format!("{} cannot be given to a job of Slurm's in secret", errand.pass_env.join(", ")),
                hint: Some("Slurm writes the environment of a job into a file: use `mode: pool`".to_owned()),
            });
        }
        let has_begun = AtomicBool::new(false);
        let started = |node: &str| {
            has_begun.store(true, Ordering::Relaxed);
            tell(Word::Begun(node.to_owned()));
        };
        let (name, run) = match &self.way {
            Way::Pool(pool) => (self.cluster.name(), Either::Left(pool.run(errand, cancel, started))),
            Way::Batch(batch) => (batch.job_name(errand), Either::Right(batch.run(errand, cancel, started, &tell))),
        };
        let returned = tokio::select! {
            returned = run => returned,
            (job, why) = waiting::watch(&self.glances, &name, &has_begun, &tell) => {
                tell(Word::InVain);
                // Should it not be heard, it never begins.
                let _ = self.cluster.end_job_hurriedly(job).await;
                Err(Trouble::Said(why))
            }
        };
        let returned = returned.unwrap_or_else(|trouble| {
            Returned::early(GateOutcome::Infrastructure { message: trouble.to_string() }, asked)
        });
        if let GateOutcome::Infrastructure { .. } = &returned.outcome {
            self.cluster.settings.exchange.doubt(errand.commit);
            returned.node.iter().for_each(|node| self.cluster.shun(node));
        }
        Ok(returned)
    }

    /// Asks whether the cluster answers.
    ///
    /// # Errors
    /// Where it does not, or not to who asks from here.
    pub async fn answers(&self) -> Result<(), PortError> {
        self.cluster.answers().await.map_err(|error| PortError { message: error.to_string(), hint: None })
    }

    /// Ends and removes all that is left of the run: jobs, allocations, refs. What nodes keep is their cache. A cluster that does
    /// not answer is waited for.
    ///
    /// # Errors
    /// As [`Self::clear_within`].
    pub async fn clear(&self) -> Result<(), PortError> {
        self.clear_with(&self.cluster.client, LONGEST_END, LONGEST_CLEARING).await
    }

    /// The same for somebody who does not wait: the cluster gets so much time, and then the exchange.
    ///
    /// # Errors
    /// Where Slurm or the exchange cannot be asked, or something does not end: what may be left. Whatever the one comes to, the
    /// other is cleared up.
    pub async fn clear_within(&self, limit: Duration) -> Result<(), PortError> {
        self.clear_with(&self.cluster.client.hurried(), limit, limit).await
    }

    async fn clear_with(&self, client: &Client, for_jobs: Duration, for_refs: Duration) -> Result<(), PortError> {
        let settings = &self.cluster.settings;
        // In this order: a job may send back what came of it until it has ended.
        let ended = self.cluster.end_jobs(client, for_jobs).await;
        let cleared = settings.exchange.clear(for_refs).await;
        let mut left = Vec::new();
        let mut hint = None;
        if let Err(trouble) = ended {
            let prefix = self.cluster.prefix();
            left.push(format!("{trouble}; jobs and allocations whose names begin with {prefix} may be left"));
            hint = Some("`squeue --me` shows them, and `scancel` ends one".to_owned());
        }
        left.extend(cleared.err().map(|not_cleared: NotCleared| not_cleared.to_string()));
        if left.is_empty() {
            return Ok(());
        }
        let message = format!("clearing up after run {} on the cluster: {}", settings.run, left.join("; "));
        Err(PortError { message, hint })
    }
}

impl Cluster {
    /// Names of all that was started for the run begin so.
    fn prefix(&self) -> String {
        format!("lexpr-{}.", self.settings.run)
    }

    /// The name of the allocation, or what those of jobs begin with.
    fn name(&self) -> String {
        format!("{}{}", self.prefix(), self.settings.name)
    }

    /// Processors of each gate.
    fn cpus(&self) -> u32 {
        self.settings.needs.cpus.unwrap_or(1)
    }

    /// What to ask Slurm for, whatever it is for.
    fn request(&self) -> Vec<String> {
        let needs = &self.settings.needs;
        let options = [
            ("partition", needs.partition.clone()),
            ("account", needs.account.clone()),
            ("qos", needs.qos.clone()),
            ("constraint", needs.constraint.clone()),
            // Minutes, begun ones too.
            ("time", needs.time_limit.map(|limit| limit.as_secs().div_ceil(60).max(1).to_string())),
        ];
        options.into_iter().filter_map(|(option, value)| Some(format!("--{option}={}", value?))).collect()
    }

    /// For a job that Slurm ended because its time was up.
    fn time_limit_to_see_to(&self) -> &'static str {
        match self.settings.needs.time_limit {
            Some(_) => "; the runtime's `timeMinutes` is less than the gate takes with getting ready",
            None => "; `timeMinutes` of the runtime asks for more than the partition's own time limit",
        }
    }

    fn instructions<'a>(&'a self, errand: &'a Errand, at: &'a str, result: Option<&'a str>) -> Instructions<'a> {
        let settings = &self.settings;
        Instructions {
            errand,
            exchange: &settings.exchange,
            at,
            result,
            work_dir: settings.work_dir.as_deref(),
            grace: settings.grace,
            silence: settings.patience.silence,
            environment: &settings.environment,
        }
    }

    /// Brings the errand's commit to where nodes find it. The ref's full name.
    async fn push(&self, errand: &Errand) -> Result<String, Trouble> {
        let (exchange, commit) = (self.settings.exchange.clone(), errand.commit);
        self.of_exchange(move || exchange.share(commit)).await
    }

    async fn of_exchange<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, Trouble> {
        let done = blocking(work).await?;
        done.map_err(|source| Trouble::Exchange { address: self.settings.exchange.address().to_owned(), source })
    }

    fn shun(&self, node: &str) {
        self.shunned.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), Instant::now());
    }

    /// Nodes that get no gate for now.
    fn shunned(&self) -> BTreeMap<String, Instant> {
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.retain(|_, since| since.elapsed() < SHUNNED_FOR);
        shunned.clone()
    }

    /// Ends all jobs of the run, and waits for so long until they have.
    async fn end_jobs(&self, client: &Client, limit: Duration) -> Result<(), Trouble> {
        let left = |jobs: Vec<queue::JobSeen>| -> Vec<queue::JobSeen> {
            jobs.into_iter().filter(|job| job.phase() != Phase::Ended).collect()
        };
        let begun = Instant::now();
        if limit < LONGEST_END {
            client.ping().await?;
        }
        let mut jobs = left(queue::jobs(client, &self.prefix()).await?);
        for job in &jobs {
            scancel(client, &[&job.id.to_string()]).await?;
        }
        while !jobs.is_empty() {
            if begun.elapsed() > limit {
                let ids: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
                return Err(Trouble::Said(format!("jobs {} were told to end and have not yet", ids.join(", "))));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            jobs = left(queue::jobs(client, &self.prefix()).await?);
        }
        Ok(())
    }

    /// TERM, and KILL after Slurm's KillWait.
    async fn end_job(&self, job: u64) -> Result<(), ClientError> {
        scancel(&self.client, &[&job.to_string()]).await
    }

    /// The same, where nobody waits for a controller that is not there.
    async fn end_job_hurriedly(&self, job: u64) -> Result<(), ClientError> {
        let client = self.client.hurried();
        client.ping().await?;
        scancel(&client, &[&job.to_string()]).await
    }
}

/// One that has ended meanwhile needs no ending.
async fn scancel(client: &Client, args: &[&str]) -> Result<(), ClientError> {
    match client.ask("scancel", args).await {
        Ok(_) => Ok(()),
        Err(ClientError::Refused { said, .. })
            if said.contains("Invalid job id") || said.contains("already completing or completed") =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// As an option, should there be any.
fn excluding<'a>(nodes: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let nodes: Vec<&str> = nodes.into_iter().map(String::as_str).collect();
    (!nodes.is_empty()).then(|| format!("--exclude={}", nodes.join(",")))
}

/// Those of the nodes `there` that are shunned; not the one that has been for longest, where all are.
fn shunned_of<'a>(shunned: &BTreeMap<String, Instant>, there: &'a [String]) -> Vec<&'a String> {
    let mut nodes: Vec<&String> = there.iter().filter(|node| shunned.contains_key(*node)).collect();
    if nodes.len() == there.len() {
        let longest = nodes.iter().min_by_key(|node| shunned.get(**node)).copied();
        nodes.retain(|node| Some(*node) != longest);
    }
    nodes
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Runs what blocks where it holds up no other task.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Trouble::Said(format!("work for a gate elsewhere ended early: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_node_is_left_however_many_are_shunned() {
        let now = Instant::now();
        let shunned = [("w1", 5), ("w2", 1), ("w3", 9)];
        let shunned = shunned.map(|(node, at)| (node.to_owned(), now + Duration::from_secs(at))).into();
        let of = |there: &[&str]| {
            let there: Vec<String> = there.iter().map(|node| (*node).to_owned()).collect();
            excluding(shunned_of(&shunned, &there))
        };
        assert_eq!(of(&["w1", "w2", "w3", "w4"]).as_deref(), Some("--exclude=w1,w2,w3"));
        assert_eq!(of(&["w1", "w2", "w3"]).as_deref(), Some("--exclude=w1,w3"));
        assert_eq!(of(&["w1"]), None);
        assert_eq!(of(&["w4"]), None);
    }
}
