//! Taking off clusters and CI services what was begun there, once the gates have ended: with patience, unless somebody has asked
//! lexpr to stop.

use std::pin::pin;
use std::time::Duration;

use super::speak;
use crate::gate::elsewhere::GatesElsewhere;
use crate::ports::PortError;

/// What takes longer is told of.
const TOLD_TO_WAIT: Duration = Duration::from_secs(2);
/// What does not answer has so long when somebody waits for lexpr to end: once a cluster, or a service, and once the exchange.
const HURRIED: Duration = Duration::from_secs(5);

pub(super) struct Clearing<'a> {
    pub gates: &'a GatesElsewhere,
    /// Somebody waits for lexpr to end.
    pub is_hurried: bool,
}

impl Clearing<'_> {
    /// Clears up. What does not answer is waited for until `stop` comes, and then no more.
    ///
    /// # Errors
    /// What may be left, and why.
    pub(super) async fn to_its_end(&self, stop: impl Future) -> Result<(), PortError> {
        if !self.is_hurried {
            tokio::select! {
                cleared = told(self.gates.clear(), "until it is taken away; Ctrl-C leaves it there") => return cleared,
                _ = stop => {}
            }
        }
        let limit = format!("no longer than {} s", 2 * HURRIED.as_secs());
        told(self.gates.clear_within(HURRIED), &limit).await
    }
}

/// Says that it takes its time.
async fn told<T>(work: impl Future<Output = T>, how_long: &str) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(TOLD_TO_WAIT, &mut work).await {
        return done;
    }
    speak::note(&format!("what the gates had elsewhere is waited for, {how_long}\n"));
    work.await
}
