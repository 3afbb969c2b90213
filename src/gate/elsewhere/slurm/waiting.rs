//! Why a gate has no node yet, as Slurm tells it: said while it waits, and the end of its waiting where that is in vain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Cluster;
use super::client::ClientError;
use super::queue::{JobSeen, Phase, Queue};
use crate::gate::elsewhere::Word;

/// What has begun by then need not be told of.
const FIRST_GLANCE: Duration = Duration::from_secs(2);
const LATER_GLANCES: Duration = Duration::from_secs(10);
/// A cluster whose reasons come and go is not told of for ever.
const MOST_TOLD: usize = 20;

/// Where waiting is in vain for this reason of Slurm's (squeue(1), "JOB REASON CODES"): what is asked for is never to be had,
/// and what to see to. Whatever is not known, time or somebody else may mend.
fn in_vain(reason: &str) -> Option<&'static str> {
    let exceeds = |reason: &str| {
        (reason.starts_with("QOS") || reason.starts_with("Assoc"))
            && reason.contains("Max")
            && (reason.contains("PerJob") || reason.contains("PerNode"))
    };
    Some(match reason {
        "PartitionNodeLimit" => "the partition never gives so many nodes; see the runtime's `nodes` and `partition`",
        "PartitionTimeLimit" => {
            "the partition never gives so much time; see the runtime's `timeMinutes` and `partition`"
        }
        "BadConstraints" => "no node has what is asked for; see `constraint`, `cpus`, `memoryMB` and `gpus`",
        "InvalidAccount" | "AccountNotAllowed" => "see the runtime's `account`",
        "InvalidQOS" | "QOSNotAllowed" => "see the runtime's `qos`",
        "MaxMemPerLimit" => "no job may have so much memory; see `memoryMB`",
        reason if exceeds(reason) => "no job may have so much; see the limits of its account and its `qos`",
        _ => return None,
    })
}

fn told(reason: &str) -> String {
    match reason {
        "JobHeldAdmin" => "Slurm says JobHeldAdmin: an administrator holds it until somebody releases it".to_owned(),
        "JobHeldUser" => "Slurm says JobHeldUser: it is held until `scontrol release`".to_owned(),
        "Priority" | "Resources" => "others have the nodes".to_owned(),
        reason => format!("Slurm says {reason}"),
    }
}

/// Tells why an errand waits for as long as it `has_begun` not, and comes back where that is in vain: why, and what
/// waits for it.
pub(super) async fn watch(queue: &Queue, name: &str, has_begun: &AtomicBool, tell: impl Fn(Word)) -> (u64, String) {
    let begun = Instant::now();
    let mut pause = FIRST_GLANCE;
    let mut said: Option<String> = None;
    let mut times = 0;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LATER_GLANCES);
        if has_begun.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let seen = queue.glance(begun).await;
        let why = match &seen {
            Err(error) => Some(error.to_string()),
            Ok(jobs) => {
                let is_it = |job: &&JobSeen| job.name == name && job.phase() == Phase::Waiting;
                let job = jobs.iter().find(is_it);
                if let Some((job, why)) = job.and_then(|job| Some((job, in_vain(&job.reason)?))) {
                    return (job.id, format!("job {} can never begin: Slurm says {}: {why}", job.id, job.reason));
                }
                job.filter(|job| !matches!(job.reason.as_str(), "None" | "")).map(|job| told(&job.reason))
            }
        };
        if why == said || times == MOST_TOLD || has_begun.load(Ordering::Relaxed) {
            continue;
        }
        times += 1;
        tell(Word::Waits(why.clone()));
        // Not in the gate's log: what stands there, and its digest, is the same whoever else wanted the nodes.
        said = why;
    }
}

impl Cluster {
    /// Whether Slurm answers whoever asks from here.
    pub(super) async fn answers(&self) -> Result<(), ClientError> {
        let client = self.client.hurried();
        client.ping().await?;
        client.ask("sinfo", &["--noheader", "--format=%R"]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_cannot_mend_is_told_from_what_it_can() {
        for reason in [
            "PartitionNodeLimit",
            "PartitionTimeLimit",
            "BadConstraints",
            "InvalidAccount",
            "InvalidQOS",
            "AssocMaxCpuPerJobLimit",
            "QOSMaxWallDurationPerJobLimit",
            "QOSMaxNodePerJobLimit",
        ] {
            assert!(in_vain(reason).is_some(), "{reason}");
        }
        for reason in [
            "None",
            "Priority",
            "Resources",
            "ReqNodeNotAvail, UnavailableNodes:w[1-2]",
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "JobHeldAdmin",
            "JobHeldUser",
            "QOSMaxJobsPerUserLimit",
            "QOSMaxCpuPerUserLimit",
            "AssocGrpCpuLimit",
            "PartitionDown",
            "a reason that is not known yet",
        ] {
            assert_eq!(in_vain(reason), None, "{reason}");
        }
    }
}
