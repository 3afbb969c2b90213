//! How steps of a pool's allocation are ended: told to, then killed, then given up. How they run is not known here.

use std::time::{Duration, Instant};

use super::{Pool, SLACK, STOPPED_SLACK, locked};
use crate::gate::elsewhere::Errand;
use crate::gate::elsewhere::account::Account;
use crate::gate::elsewhere::slurm::client::{Client, ClientError};
use crate::gate::elsewhere::slurm::patience::note;
use crate::gate::elsewhere::slurm::queue::{self, JobSeen};
use crate::gate::elsewhere::slurm::{LONGEST_END, LOOK_AGAIN, Trouble, scancel};

/// What nobody hears has this long, beyond its grace, to end in an allocation that can be given back otherwise.
const UNHEARD_END: Duration = Duration::from_secs(10);
/// The same beside gates that are heard, for whose sake the allocation is kept. What neither TERM nor KILL has ended by then has
/// nobody on its node that would do it, and a worker that nobody hears ends by itself.
const UNHEARD_BESIDE: Duration = Duration::from_secs(30);

/// Steps are told to end, then killed, then given up.
struct StepsToEnd {
    job: u64,
    kill_after: Duration,
    limit: Duration,
}

impl Pool {
    /// The allocation, without steps that nobody hears: whoever started them is gone, and with it what they print. Another one
    /// where they do not end. A `srun` that was killed after it had asked for a step and before it had started it leaves one
    /// that has no processes, that no signal reaches and that ends with its allocation alone.
    pub(super) async fn without_unheard_steps(&self, job: JobSeen, errand: &Errand) -> Result<JobSeen, Trouble> {
        let is_heard = |name: &str| locked(&self.under_way).get(name) == Some(&true);
        let others_are_heard = || locked(&self.under_way).values().any(|is_heard| *is_heard);
        let grace = self.cluster.settings.grace;
        let limit = grace + if others_are_heard() { UNHEARD_BESIDE } else { UNHEARD_END };
        let steps = StepsToEnd { job: job.id, kill_after: grace, limit };
        let left = self.steps_left(&self.cluster.client, &steps, Some(errand), |name| !is_heard(name)).await?;
        if left.is_empty() {
            return Ok(job);
        }
        if others_are_heard() {
            note(errand, &format!("steps {} do not end; the gate goes on beside them", left.join(", ")));
            return Ok(job);
        }
        note(errand, &format!("steps {} do not end; their allocation is given back for another", left.join(", ")));
        self.cluster.end_job(job.id).await?;
        if !self.queue.sees_the_end_of(job.id, LOOK_AGAIN).await? {
            return Err(do_not_end(&left));
        }
        self.ask_for_nodes().await
    }

    /// Tells the worker of a step to end: which step, where there is one by now.
    pub(super) async fn tell_to_end(&self, client: &Client, account: &Account) -> Result<Option<String>, ClientError> {
        let Some(id) = &account.step else { return Ok(None) };
        client.ping().await?;
        scancel(client, &["--signal=TERM", id]).await?;
        Ok(Some(id.clone()))
    }

    /// Ends what may be there of a cancelled errand, while somebody waits for lexpr to end.
    pub(super) async fn end_cancelled_steps(&self, job: u64, errand: &Errand) -> Result<(), Trouble> {
        let client = self.cluster.client.hurried();
        client.ping().await?;
        let steps = StepsToEnd { job, kill_after: Duration::ZERO, limit: STOPPED_SLACK };
        let left = self.steps_left(&client, &steps, None, |name| name == errand.ticket).await?;
        if left.is_empty() { Ok(()) } else { Err(do_not_end(&left)) }
    }

    /// Ends the steps of an errand, and waits until they have ended.
    pub(super) async fn end_steps(&self, job: u64, errand: &Errand) -> Result<(), Trouble> {
        let steps = StepsToEnd { job, kill_after: self.cluster.settings.grace + SLACK, limit: LONGEST_END };
        let left = self.steps_left(&self.cluster.client, &steps, None, |name| name == errand.ticket).await?;
        if left.is_empty() { Ok(()) } else { Err(do_not_end(&left)) }
    }

    /// Ends the steps of these names, and says so in the log of an errand that waits for that: those that have not ended when
    /// the time is up. What is on a node that is lost has, as far as anybody can tell.
    async fn steps_left(
        &self,
        client: &Client,
        end: &StepsToEnd,
        waiting: Option<&Errand>,
        of: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, Trouble> {
        let begun = Instant::now();
        let (mut is_told, mut is_killed) = (false, false);
        let mut pause = LOOK_AGAIN;
        loop {
            let mut steps = queue::steps(client, end.job).await?;
            steps.retain(|step| of(&step.name));
            if !steps.is_empty() && is_told {
                let lost = queue::lost_nodes(client).await?;
                steps.retain(|step| !lost.contains(&step.node));
            }
            if steps.is_empty() || begun.elapsed() > end.limit {
                return Ok(steps.into_iter().map(|step| step.id).collect());
            }
            let ids: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
            if !is_told {
                let why = format!("steps {} are not heard any more, and are ended first", ids.join(", "));
                waiting.iter().for_each(|errand| note(errand, &why));
                scancel(client, &[&["--signal=TERM"], ids.as_slice()].concat()).await?;
                is_told = true;
            } else if !is_killed && begun.elapsed() > end.kill_after {
                scancel(client, &ids).await?;
                is_killed = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

fn do_not_end(steps: &[String]) -> Trouble {
    Trouble::Said(format!("steps {} do not end, and their gates are not run again beside them", steps.join(", ")))
}
