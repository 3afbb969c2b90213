//! How long a controller is waited for that does not answer. Whether there is a job of a gate, and what became of it, it alone
//! knows: until it says so no other job may be started for that gate.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use super::client::ClientError;
use super::{Cluster, LOOK_AGAIN, Trouble};
use crate::gate::elsewhere::Errand;
use crate::gate::elsewhere::worker::{LONGEST_PREPARATION, setup_limit};

/// A controller that is started anew is back within seconds, one that moves to its backup within a minute or two.
const CONTROLLER_BACK: Duration = Duration::from_secs(180);
/// A node may be so busy that a shell does not get to say a word for some time.
const SILENCE: Duration = Duration::from_secs(45);
/// Beside fetching: a prolog, sending back a long log, an epilog.
const SLACK: Duration = Duration::from_secs(600);

/// How long lexpr waits for what has no time of its own.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A controller that has not answered for so long is told of, and given up by whom no job may be running for.
    pub controller: Duration,
    /// What a job may take beyond the times that its gate is given.
    pub job: Duration,
    /// A worker that says that it is there every few seconds, and has not for so long, is taken for lost.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { controller: CONTROLLER_BACK, job: LONGEST_PREPARATION.saturating_add(SLACK), silence: SILENCE }
    }
}

impl Cluster {
    /// How long a job of its own may take from when it has begun: the worker on the node ends it before that.
    pub(super) fn longest_job(&self, errand: &Errand) -> Duration {
        let limits = [errand.timeout, self.settings.grace, setup_limit(errand), self.settings.patience.job];
        limits.iter().fold(Duration::ZERO, |sum, limit| sum.saturating_add(*limit))
    }
}

/// Says in a gate's log why it waits.
pub(super) fn note(errand: &Errand, why: &str) {
    // Where it cannot be written there is no place to say so.
    let _ = OpenOptions::new()
        .append(true)
        .open(&errand.log)
        .and_then(|mut log| log.write_all(format!("[lexpr: {why}]\n").as_bytes()));
}

/// One question that must be answered before anything else is done for an errand.
pub(super) struct Asking<'a> {
    cluster: &'a Cluster,
    errand: &'a Errand,
    begun: Instant,
    is_told: bool,
}

impl<'a> Asking<'a> {
    pub(super) fn begin(cluster: &'a Cluster, errand: &'a Errand) -> Self {
        Self { cluster, errand, begun: Instant::now(), is_told: false }
    }

    /// Takes silence for no answer: then it is to be asked again, for as long as the errand's job may take. The gate's log
    /// tells why it waits.
    ///
    /// # Errors
    /// `error`, where that is an answer; and where the time is up.
    pub(super) async fn bear(&mut self, error: ClientError) -> Result<(), Trouble> {
        if !error.is_silence() {
            return Err(error.into());
        }
        let silent_for = self.begun.elapsed();
        if silent_for > self.cluster.longest_job(self.errand) {
            let seconds = silent_for.as_secs();
            return Err(Trouble::Said(format!(
                "{error}; it was waited for {seconds} s, which is longer than the gate's job may take"
            )));
        }
        if !self.is_told {
            self.is_told = true;
            let waits = format!(
                "{error}; for {} s by now. Until it does it is not known what became of the gate's job, and no other is started",
                silent_for.as_secs()
            );
            note(self.errand, &waits);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(())
    }
}
