//! Asking a machine, once in a run, for what gates depend on and no tree holds. The question is put as
//! a gate is run: in a slot, under a guard, with a log and a time limit.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::run::LocalGates;
use super::visible::as_plain_text;
use crate::plan::{FingerprintCommand, Gate};
use crate::ports::{GateRun, GateRunner, Job, JobGateRun, JobNews, PortError};
use crate::vocabulary::event::GateOutcome;
use crate::vocabulary::names::{CommitId, DefinitionDigest, JobId, TreeId, VerdictKey, WorkerId};
use crate::vocabulary::verdict::Fingerprint;

/// A version and a little more.
const SHOWN_BYTES: u64 = 120;

/// The command gave no answer that could be part of a key.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    #[error("the fingerprint `{run}` {how}{}", said(.tail))]
    Failed { run: String, how: String, tail: String },
    #[error("the fingerprint could not be taken: {0}")]
    Port(#[from] PortError),
}

fn said(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!(": {tail}") }
}

impl LocalGates {
    /// What `command` prints on the tree of `base`.
    ///
    /// # Errors
    /// Where it fails, takes too long or cannot be run.
    pub async fn fingerprint(
        &self,
        command: &FingerprintCommand,
        base: CommitId,
        tree: TreeId,
    ) -> Result<Fingerprint, FingerprintError> {
        let (news, mut told) = mpsc::unbounded_channel();
        // Held until the end: nobody cancels it but by ending lexpr, and with it the command.
        let (_cancel, cancelled) = watch::channel(false);
        self.run(job(command, base, tree), news, cancelled).await?;
        let mut answer = None;
        while let Some(news) = told.recv().await {
            match news {
                JobNews::Started { .. } | JobNews::ChecksMissing { .. } | JobNews::Waits { .. } => {}
                JobNews::Finished { run, .. } => answer = Some(run),
                JobNews::Stuck(error) => return Err(error.into()),
            }
        }
        let failed = |how: String, tail: String| FingerprintError::Failed { run: command.run.clone(), how, tail };
        let Some(GateRun { outcome, log, log_digest, tail, .. }) = answer.map(|run| *run) else {
            return Err(failed("was not run".to_owned(), String::new()));
        };
        let how = match outcome {
            GateOutcome::Passed => match log_digest {
                Some(digest) => return Ok(Fingerprint { digest, shown: beginning(&log) }),
                None => format!("left a log that cannot be read, {}", log.display()),
            },
            GateOutcome::Failed { exit_code } => format!("failed with exit code {exit_code}"),
            GateOutcome::Signaled { signal } => format!("was ended by signal {signal}"),
            GateOutcome::TimedOut { after_ms, .. } => format!("took longer than {} s", after_ms / 1000),
            GateOutcome::OutOfMemory { .. } => "was ended for want of memory".to_owned(),
            GateOutcome::RateLimited { exit_code } => format!("was rate limited, exit code {exit_code}"),
            GateOutcome::Cancelled => "was ended".to_owned(),
            GateOutcome::Infrastructure { message } => format!("could not be run: {message}"),
        };
        Err(failed(how, tail))
    }
}

fn job(command: &FingerprintCommand, base: CommitId, tree: TreeId) -> Job {
    let definition = DefinitionDigest::of([b"fingerprint".as_slice()]);
    let gate = Gate {
        own_timeout: true,
        ..Gate::bare("fingerprint".into(), definition, command.run.clone(), command.timeout)
    };
    Job {
        // Those of the run count from 1.
        job: JobId(0),
        worker: WorkerId(0),
        commit: base,
        tree,
        base,
        gates: vec![JobGateRun {
            gate: Arc::new(gate),
            key: VerdictKey::of([b"fingerprint".as_slice(), command.run.as_bytes()]),
            item: None,
            ran: 0,
        }],
        fail_fast: true,
        clean_slot: false,
        setup: None,
    }
}

/// The first line, or as much of it as people need.
fn beginning(log: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|file| file.take(SHOWN_BYTES).read_to_end(&mut bytes));
    let text = read.map(|_| as_plain_text(&String::from_utf8_lossy(&bytes))).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
