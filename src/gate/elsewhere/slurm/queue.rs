//! What `squeue` says of jobs and steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::LONGEST_END;
use super::client::{Client, ClientError};

/// Between two looks at the queue, whoever asks: a cluster's controller serves many.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// The same for the sake of telling why something waits.
const BETWEEN_GLANCES: Duration = Duration::from_secs(2);

/// One job as Slurm has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobSeen {
    pub(super) id: u64,
    pub(super) name: String,
    /// In Slurm's words: `PENDING`, `RUNNING`, ….
    pub(super) state: String,
    pub(super) node: String,
    /// Of all its nodes.
    pub(super) cpus: u32,
    pub(super) nodes: u32,
    /// Why it waits or ended.
    pub(super) reason: String,
}

/// What is known of a state (squeue(1), "JOB STATE CODES").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    Running,
    /// Its processes are being ended.
    Ending,
    Ended,
}

impl JobSeen {
    pub(super) fn phase(&self) -> Phase {
        match self.state.as_str() {
            "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "RESV_DEL_HOLD"
            | "SPECIAL_EXIT" => Phase::Waiting,
            "RUNNING" | "SUSPENDED" | "STOPPED" | "RESIZING" | "SIGNALING" | "STAGE_OUT" => Phase::Running,
            "COMPLETING" => Phase::Ending,
            _ => Phase::Ended,
        }
    }
}

/// Jobs of this user, ended ones too, for as long as Slurm remembers them.
const JOBS: [&str; 5] = ["--noheader", "--me", "--states=all", "--format=%i|%T|%N|%C|%D|%r|%j", "--array"];

/// All jobs of this user whose names begin with `prefix`.
pub(super) async fn jobs(client: &Client, prefix: &str) -> Result<Vec<JobSeen>, ClientError> {
    let listed = client.ask("squeue", &JOBS).await?;
    Ok(listed.lines().filter_map(read_job).filter(|job| job.name.starts_with(prefix)).collect())
}

fn read_job(line: &str) -> Option<JobSeen> {
    // The name is last: it may hold anything.
    let mut parts = line.splitn(7, '|').map(str::trim);
    let mut part = || parts.next();
    Some(JobSeen {
        id: part()?.parse().ok()?,
        state: part()?.to_owned(),
        node: part()?.to_owned(),
        cpus: part()?.parse().ok()?,
        nodes: part()?.parse().ok()?,
        reason: part()?.to_owned(),
        name: part()?.to_owned(),
    })
}

/// One step that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepSeen {
    /// `job.step`.
    pub(super) id: String,
    pub(super) node: String,
    pub(super) name: String,
}

/// The steps of one job that run.
pub(super) async fn steps(client: &Client, job: u64) -> Result<Vec<StepSeen>, ClientError> {
    let job = format!("--jobs={job}");
    let listed = match client.ask("squeue", &["--noheader", "--steps", &job, "--format=%i|%N|%j"]).await {
        // A job that is not there has none.
        Err(ClientError::Refused { said, .. }) if said.contains("Invalid job id") => return Ok(Vec::new()),
        listed => listed?,
    };
    Ok(listed.lines().filter_map(read_step).collect())
}

fn read_step(line: &str) -> Option<StepSeen> {
    let mut parts = line.splitn(3, '|').map(str::trim);
    let (id, node, name) = (parts.next()?, parts.next()?, parts.next()?);
    // What Slurm starts for the job itself (`1.batch`, `1.extern`) is none of ours.
    id.rsplit('.').next()?.parse::<u32>().ok()?;
    Some(StepSeen { id: id.to_owned(), node: node.to_owned(), name: name.to_owned() })
}

/// The names of a list of nodes (`w[1-2]`).
pub(super) async fn names_of(client: &Client, nodes: &str) -> Result<Vec<String>, ClientError> {
    let listed = client.ask("scontrol", &["show", "hostnames", nodes]).await?;
    Ok(listed.lines().map(|node| node.trim().to_owned()).collect())
}

/// Nodes that Slurm has given up, or hears nothing of.
pub(super) async fn lost_nodes(client: &Client) -> Result<Vec<String>, ClientError> {
    let listed = client.ask("sinfo", &["--noheader", "--Node", "--format=%N|%T"]).await?;
    let nodes = listed.lines().filter_map(|line| line.split_once('|'));
    let is_lost = |state: &str| state.contains("down") || state.trim_end().ends_with('*');
    Ok(nodes.filter(|(_, state)| is_lost(state)).map(|(node, _)| node.to_owned()).collect())
}

/// The queue as all that wait for jobs of one run see it: one question for all of them.
#[derive(Debug)]
pub(super) struct Queue {
    client: Client,
    prefix: String,
    between: Duration,
    seen: tokio::sync::Mutex<Option<Look>>,
}

/// What came of one question.
#[derive(Debug)]
struct Look {
    asked: Instant,
    answered: Instant,
    /// Who waited for the same is not to find out by itself that there is no answer.
    jobs: Result<Arc<[JobSeen]>, ClientError>,
}

impl Queue {
    pub(super) fn new(client: Client, prefix: String) -> Self {
        Self { client, prefix, between: BETWEEN_LOOKS, seen: tokio::sync::Mutex::default() }
    }

    /// For who only wants to tell: it is looked less often, and there may be no answer.
    pub(super) fn of_glances(client: &Client, prefix: String) -> Self {
        Self { between: BETWEEN_GLANCES, ..Self::new(client.hurried(), prefix) }
    }

    /// As [`Queue::look`], once it is known that somebody would answer.
    pub(super) async fn glance(&self, since: Instant) -> Result<Arc<[JobSeen]>, ClientError> {
        self.client.ping().await?;
        self.look(since).await
    }

    /// As it is, or was a moment ago; but never as it was before `since`.
    pub(super) async fn look(&self, since: Instant) -> Result<Arc<[JobSeen]>, ClientError> {
        let mut seen = self.seen.lock().await;
        if let Some(look) = &*seen
            && look.asked >= since
            && look.answered.elapsed() < self.between
        {
            return look.jobs.clone();
        }
        let asked = Instant::now();
        let jobs = jobs(&self.client, &self.prefix).await.map(Arc::from);
        *seen = Some(Look { asked, answered: Instant::now(), jobs: jobs.clone() });
        jobs
    }

    /// Whether a job that was told to end has ended, or is known no more, within [`LONGEST_END`]; looks with a `pause` in between.
    pub(super) async fn sees_the_end_of(&self, job: u64, pause: Duration) -> Result<bool, ClientError> {
        let begun = Instant::now();
        let is_it = |seen: &JobSeen| seen.id == job && seen.phase() != Phase::Ended;
        while self.look(Instant::now()).await?.iter().any(is_it) {
            if begun.elapsed() > LONGEST_END {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_whatever_its_name_holds() {
        let job = read_job("12|RUNNING|w[1-2]|4|2|None|lexpr-r.a|b c").unwrap();
        assert_eq!((job.id, job.name.as_str(), job.cpus, job.nodes), (12, "lexpr-r.a|b c", 4, 2));
        assert_eq!(job.phase(), Phase::Running);
        assert_eq!(read_job("slurm_load_jobs error"), None);
        // Nobody knows all words of all versions: what is unknown has not passed.
        assert_eq!(JobSeen { state: "NODE_FAIL".to_owned(), ..job }.phase(), Phase::Ended);
    }
}
