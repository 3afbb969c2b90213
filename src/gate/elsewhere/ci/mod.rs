//! Gates that a CI service judges, which is there already and set up by others: it is sent a commit, on a branch of the
//! exchange, and asked what came of it. How it is asked is each service's own; that nothing but its clear word on this
//! very commit is a pass holds for all of them.

mod buildbot;
mod http;
mod transcript;

use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::buildbot::Buildbot;
pub use self::buildbot::Inspection;
use self::http::HttpError;
use super::{Errand, Exchange, Returned};
use crate::gate::job::make_log;
use crate::git::command::GitError;
use crate::plan::ci_service::{CiJudge, CiServer, CiServicePolicy};
use crate::ports::PortError;
use crate::vocabulary::event::GateOutcome;
use crate::vocabulary::names::RunId;

/// What holds for all gates that one run hands to one CI service.
#[derive(Clone, Debug)]
pub struct CiSettings {
    pub run: RunId,
    pub policy: CiServicePolicy,
    /// Of which the service follows the branches.
    pub exchange: Exchange,
}

/// A CI service as one run has it.
#[derive(Debug)]
pub struct Ci {
    settings: CiSettings,
    buildbot: Buildbot,
}

/// Why a gate could not be judged, or not to its end.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("the exchange {address}: {source}")]
    Exchange { address: String, source: GitError },
    #[error("{0}")]
    Said(String),
}

impl Ci {
    /// The exchange of `settings` is the run's; what is sent there are branches.
    pub fn new(settings: CiSettings) -> Self {
        let settings = CiSettings { exchange: settings.exchange.as_branches(), ..settings };
        let CiServer::Buildbot { .. } = settings.policy.server;
        let buildbot = Buildbot::new(settings.clone());
        Self { settings, buildbot }
    }

    /// Has an errand's commit judged, or finds what came of it. `started` is told who is at it once somebody is; `cancel`
    /// turning true ends it there. A future that is dropped ends nothing: who asks again finds it. What of an errand says
    /// how to run a command is not for a CI service.
    ///
    /// # Errors
    /// Where lexpr itself fails. What goes wrong with the service, or on the way there, is an outcome.
    pub async fn run(
        &self,
        judge: &CiJudge,
        errand: &Errand,
        cancel: watch::Receiver<bool>,
        started: impl FnOnce(&str) + Send,
    ) -> Result<Returned, PortError> {
        make_log(&errand.log).map_err(|error| PortError {
            message: format!("making {}: {error}", errand.log.display()),
            hint: Some("see to that first".to_owned()),
        })?;
        let asked = Instant::now();
        let CiJudge::Builder { scheduler, builder } = judge;
        let returned = self.buildbot.run((scheduler, builder), errand, cancel, started).await;
        Ok(returned
            .unwrap_or_else(|trouble| early(GateOutcome::Infrastructure { message: trouble.to_string() }, asked)))
    }

    /// Ends and removes all that is left of the run: what is asked for there, and branches.
    ///
    /// # Errors
    /// Where the service or the exchange cannot be asked, or something does not end.
    pub async fn clear(&self) -> Result<(), PortError> {
        let cleared = match self.buildbot.clear().await {
            Ok(()) => of_exchange(&self.settings.exchange, |exchange| exchange.clear()).await,
            Err(trouble) => Err(trouble),
        };
        cleared.map_err(|trouble| PortError {
            message: format!("clearing up after run {} on the CI service: {trouble}", self.settings.run),
            hint: Some(format!("what is left there is of branches below `{}`", self.settings.exchange.branch_of(""))),
        })
    }

    /// What there is of what a gate needs.
    ///
    /// # Errors
    /// Where the service cannot be asked.
    pub async fn inspect(&self, judge: &CiJudge) -> Result<Inspection, PortError> {
        let CiJudge::Builder { scheduler, builder } = judge;
        self.buildbot.inspect(scheduler, builder).await.map_err(|trouble| PortError {
            message: trouble.to_string(),
            hint: Some("see whether the `url` of the runtime is right, and whether it answers from here".to_owned()),
        })
    }
}

/// Brings the errand's commit to where the service finds it. The branch's name.
async fn push(exchange: &Exchange, errand: &Errand) -> Result<String, Trouble> {
    let (commit, ticket) = (errand.commit, errand.ticket.clone());
    of_exchange(exchange, move |exchange| exchange.push(commit, &ticket)).await?;
    Ok(exchange.branch_of(&errand.ticket))
}

async fn of_exchange<T: Send + 'static>(
    exchange: &Exchange,
    work: impl FnOnce(&Exchange) -> Result<T, GitError> + Send + 'static,
) -> Result<T, Trouble> {
    let exchange = exchange.clone();
    let address = exchange.address().to_owned();
    let done = tokio::task::spawn_blocking(move || work(&exchange)).await;
    let done = done.map_err(|error| Trouble::Said(format!("work for a gate elsewhere ended early: {error}")))?;
    done.map_err(|source| Trouble::Exchange { address, source })
}

/// For a gate that nobody had.
fn early(outcome: GateOutcome, asked: Instant) -> Returned {
    Returned {
        outcome,
        node: None,
        queued_ms: millis(asked.elapsed()),
        ran_ms: 0,
        peak_memory_bytes: None,
        out_of_memory: false,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
