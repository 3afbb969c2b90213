//! What a gate in a job of its own prints, while it runs: a second step of the job reads it out. It is to be looked at, and
//! no evidence of anything: what the worker sends back counts, and stands in the log instead of it.

use std::fs::OpenOptions;
use std::io;
use std::process::Child;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::Cluster;
use crate::gate::elsewhere::Errand;
use crate::gate::pump::pump;

/// Where the worker keeps what the gate prints (`worker.sh`), to its end and on.
const READ_OUT: &str = "\
for log in \"${1:-${TMPDIR:-/tmp}/lexpr-$(id -un)}/gate-$2.\"*/log; do exec tail -c +1 -f \"$log\"; done";

/// A step that reads out a log, for as long as this is there.
#[derive(Debug)]
pub(super) struct Listening {
    srun: Child,
    heard: Option<JoinHandle<io::Result<u64>>>,
    /// What the log held before.
    bytes_before: u64,
}

impl Listening {
    /// Adds what the gate prints to the errand's log. `None`: it cannot be heard, which costs nothing but the sight of it;
    /// before 20.11, Slurm has no steps beside others.
    pub(super) fn to(cluster: &Arc<Cluster>, errand: &Errand, job: u64) -> Option<Self> {
        let job = format!("--jobid={job}");
        let work_dir = cluster.settings.work_dir.as_deref().and_then(|folder| folder.to_str()).unwrap_or_default();
        let mut args = vec!["--quiet", &job, "--job-name=listen", "--nodes=1", "--ntasks=1", "--cpus-per-task=1"];
        // It takes nothing from the gate.
        args.extend(["--overlap", "--mem=0", "--mpi=none", "--chdir=/", "--input=none", "--export=NONE"]);
        args.extend(["/bin/sh", "-c", READ_OUT, "lexpr-listen", work_dir, &errand.ticket]);
        let log = OpenOptions::new().append(true).open(&errand.log).ok()?;
        let bytes_before = log.metadata().ok()?.len();
        let mut srun = cluster.client.start("srun", &args).ok()?;
        let heard = srun.stdout.take().map(|printed| {
            let rules = errand.log_rules.clone();
            tokio::task::spawn_blocking(move || pump(printed, log, &rules))
        });
        Some(Self { srun, heard, bytes_before })
    }

    /// Ends it. Where in the log begins what was heard, in bytes.
    pub(super) async fn end(mut self) -> u64 {
        self.hang_up();
        if let Some(heard) = self.heard.take() {
            // How much that was is of no interest.
            let _ = heard.await;
        }
        self.bytes_before
    }

    fn hang_up(&mut self) {
        // It may have ended by itself.
        let _ = self.srun.kill();
        let _ = self.srun.wait();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.hang_up();
    }
}
