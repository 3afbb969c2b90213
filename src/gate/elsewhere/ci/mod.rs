//! Gates that a CI service judges, which is there already and set up by others: it is sent a commit, on a branch of the
//! exchange, and asked what came of it. How it is asked is each service's own; that nothing but its clear word on this
//! very commit is a pass holds for all of them.

mod buildbot;
mod github;
mod http;
mod identity;
mod transcript;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::buildbot::Buildbot;
use self::github::{Checks, GitHub};
use self::http::HttpError;
use self::identity::Identity;
use super::{Errand, Exchange, Returned, Word};
use crate::gate::job::make_log;
use crate::git::command::GitError;
use crate::plan::ci_service::{CiJudge, CiServer, CiServicePolicy, Credentials};
use crate::ports::PortError;
use crate::vocabulary::event::{GateOutcome, MissingChecks, in_one_line};
use crate::vocabulary::names::{CommitId, RunId};

/// For a service that is away when the run has ended, and as long again for the exchange.
const LONGEST_CLEARING: Duration = Duration::from_secs(300);
/// Whatever goes wrong, so many characters tell it.
const LONGEST_MESSAGE: usize = 4000;

/// What holds for all gates that one run hands to one CI service.
#[derive(Clone, Debug)]
pub struct CiSettings {
    pub run: RunId,
    pub policy: CiServicePolicy,
    /// Of which the service follows the branches.
    pub exchange: Exchange,
    /// The caller's, in which is what lexpr makes itself known with.
    pub environment: Vec<(OsString, OsString)>,
}

/// What there is of what a gate needs, for whoever wants to know before a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// How long the service took to answer.
    pub answered_in: Duration,
    /// What keeps it from judging a gate; each with what to do about it.
    pub lacks: Vec<(String, String)>,
    /// Of Buildbot: workers of the builder that are connected, and take builds.
    pub workers: Vec<String>,
    /// Of GitHub: checks that nothing reports as on the commit that was looked at. They may on others.
    pub unreported: Option<MissingChecks>,
}

/// A CI service as one run has it.
#[derive(Debug)]
pub struct Ci {
    run: RunId,
    exchange: Exchange,
    service: Service,
}

#[derive(Debug)]
enum Service {
    Buildbot(Buildbot),
    GitHub(Box<GitHub>),
    /// Nobody may ask it.
    Closed {
        why: String,
        has_builds: bool,
    },
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
    /// Trying again comes to the same.
    #[error("{0}")]
    Permanent(String),
}

/// What a service could not be shown for want of it, by the variable that should hold it.
pub fn lacks_credentials(credentials: &Credentials, environment: &[(OsString, OsString)]) -> Option<String> {
    Identity::of(credentials, environment).err()
}

impl Ci {
    /// The exchange of `settings` is the run's; what is sent there are branches.
    pub fn new(settings: CiSettings) -> Self {
        let settings = CiSettings { exchange: settings.exchange.as_branches(), ..settings };
        let (run, exchange) = (settings.run.clone(), settings.exchange.clone());
        let service = match Identity::of(&settings.policy.credentials, &settings.environment) {
            Err(why) => {
                let has_builds = matches!(settings.policy.server, CiServer::Buildbot { .. });
                Service::Closed { why, has_builds }
            }
            Ok(identity) => match &settings.policy.server {
                CiServer::Buildbot { .. } => Service::Buildbot(Buildbot::new(settings, identity)),
                CiServer::GitHub { .. } => Service::GitHub(Box::new(GitHub::new(settings, identity))),
            },
        };
        Self { run, exchange, service }
    }

    /// Has an errand's commit judged, or finds what came of it. `tell` hears what is known meanwhile; `cancel` turning
    /// true ends it there. A future that is dropped ends nothing: who asks again finds it. What of an errand says
    /// how to run a command is not for a CI service.
    ///
    /// # Errors
    /// Where lexpr itself fails. What goes wrong with the service, or on the way there, is an outcome.
    pub async fn run(
        &self,
        judge: &CiJudge,
        errand: &Errand,
        cancel: watch::Receiver<bool>,
        tell: impl Fn(Word) + Send + Sync,
    ) -> Result<Returned, PortError> {
        make_log(&errand.log).map_err(|error| PortError {
            message: format!("making {}: {error}", errand.log.display()),
            hint: Some("see to that first".to_owned()),
        })?;
        let asked = Instant::now();
        let returned = match (&self.service, judge) {
            (Service::Buildbot(buildbot), CiJudge::Builder { scheduler, builder }) => {
                buildbot.run((scheduler, builder), errand, cancel, &tell).await
            }
            (Service::GitHub(github), judge) => match checks(judge) {
                Some(checks) => github.run(checks, errand, cancel, &tell).await,
                None => Err(Trouble::strange()),
            },
            (Service::Closed { why, .. }, _) => Err(Trouble::Permanent(why.clone())),
            (Service::Buildbot(_), CiJudge::Checks { .. }) => Err(Trouble::strange()),
        };
        if let Err(Trouble::Permanent(_)) = &returned {
            tell(Word::InVain);
        }
        let infrastructure = |message: &str| {
            let message = self.service.struck(&plain(message, LONGEST_MESSAGE));
            GateOutcome::Infrastructure { message }
        };
        Ok(match returned {
            Ok(Returned { outcome: GateOutcome::Infrastructure { message }, node, queued_ms, ran_ms, .. }) => {
                Returned { node, queued_ms, ran_ms, ..Returned::early(infrastructure(&message), asked) }
            }
            Ok(returned) => returned,
            Err(trouble) => Returned::early(infrastructure(&trouble.to_string()), asked),
        })
    }

    /// Ends and removes all that is left of the run: what is asked for there, and branches.
    ///
    /// # Errors
    /// Where the service or the exchange cannot be asked, or something does not end.
    pub async fn clear(&self) -> Result<(), PortError> {
        self.clear_within(LONGEST_CLEARING).await
    }

    /// The same for somebody who does not wait: the service gets so much time, and then the exchange.
    ///
    /// # Errors
    /// As [`Self::clear`]. Whatever the one comes to, the other is cleared up.
    pub async fn clear_within(&self, limit: Duration) -> Result<(), PortError> {
        let ended = tokio::time::timeout(limit, async {
            match &self.service {
                Service::Buildbot(buildbot) => buildbot.clear().await,
                Service::Closed { why, has_builds: true } => Err(Trouble::Permanent(why.clone())),
                Service::GitHub(_) | Service::Closed { .. } => Ok(()),
            }
        });
        let ended = match ended.await {
            Ok(ended) => ended.map_err(|trouble| trouble.to_string()),
            Err(_) => Err(format!("it gave no answer within {} s", limit.as_secs())),
        };
        let branches = self.exchange.branch_of("");
        let ended = ended.map_err(|why| format!("{why}; builds of branches below `{branches}` may be left"));
        let cleared = self.exchange.clear(limit).await.map_err(|not_cleared| not_cleared.to_string());
        let left: Vec<String> = [ended.err(), cleared.err()].into_iter().flatten().collect();
        if left.is_empty() {
            return Ok(());
        }
        let message = format!("clearing up after run {} on the CI service: {}", self.run, left.join("; "));
        Err(PortError { message, hint: None })
    }

    /// What there is of what a gate needs; of GitHub, by what has reported on `commit`.
    ///
    /// # Errors
    /// Where the service cannot be asked.
    pub async fn inspect(&self, judge: &CiJudge, commit: CommitId) -> Result<Inspection, PortError> {
        let inspected = match (&self.service, judge) {
            (Service::Buildbot(buildbot), CiJudge::Builder { scheduler, builder }) => {
                buildbot.inspect(scheduler, builder).await
            }
            (Service::GitHub(github), judge) => match checks(judge) {
                Some(checks) => github.inspect(&checks, commit).await,
                None => Err(Trouble::strange()),
            },
            (Service::Closed { why, .. }, _) => Err(Trouble::Permanent(why.clone())),
            (Service::Buildbot(_), CiJudge::Checks { .. }) => Err(Trouble::strange()),
        };
        inspected
            .map_err(|trouble| PortError { message: trouble.to_string(), hint: Some(self.remedy(&trouble).to_owned()) })
    }
}

impl Ci {
    /// What to do about a service that cannot be asked.
    fn remedy(&self, trouble: &Trouble) -> &'static str {
        match (trouble, &self.service) {
            (_, Service::Closed { .. }) => {
                "set it in the environment that lexpr runs in, or correct its name in the plan"
            }
            (Trouble::Http(HttpError::Refused { status: 401 | 403, .. }), _) => {
                "see whether what `tokenEnv`, or `userEnv` and `passwordEnv`, name in the plan may ask that"
            }
            _ => "see whether the `url` of the runtime is right, and whether it answers from here",
        }
    }
}

impl Service {
    fn struck(&self, said: &str) -> String {
        match self {
            Self::Buildbot(buildbot) => buildbot.struck(said),
            Self::GitHub(github) => github.struck(said),
            Self::Closed { .. } => said.to_owned(),
        }
    }
}

impl Trouble {
    /// A gate that another service is to judge.
    fn strange() -> Self {
        Self::Said("this service is none that judges so; this is a bug in lexpr, please report it".to_owned())
    }
}

fn checks(judge: &CiJudge) -> Option<Checks<'_>> {
    match judge {
        CiJudge::Checks { repository, checks, app, report_limit } => {
            Some(Checks { repository, required: checks, app: app.as_deref(), report_limit: *report_limit })
        }
        CiJudge::Builder { .. } => None,
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

/// What somebody else says, as one line of so many characters at most: it goes into events, and onto terminals.
fn plain(text: &str, most: usize) -> String {
    in_one_line(text).chars().filter(|c| !c.is_control()).take(most).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_what_somebody_says_are_told_apart() {
        assert_eq!(
            plain("fatal: no repository\nfatal: no access\x1b[1m\n\nand so on\n", 99),
            "fatal: no repository; fatal: no access[1m; and so on"
        );
        assert_eq!(plain("abc", 2), "ab");
    }
}
