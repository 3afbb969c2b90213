//! GitHub, by the check runs and statuses of a commit (REST API 2022-11-28, "Checks", "Commit statuses"): the commit is pushed
//! to a branch, which is what starts what is set up there; then it is looked at until the required checks have ended. Nothing
//! is started or stopped by lexpr itself.

mod seen;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use self::seen::{Reported, Standing};
use super::http::{Http, encoded};
use super::identity::Identity;
use super::transcript::Transcript;
use super::{CiSettings, Inspection, LONGEST_MESSAGE, Trouble, millis, plain, push};
use crate::gate::client::cancelled;
use crate::gate::elsewhere::{Errand, Exchange, Returned, Word};
use crate::vocabulary::event::{GateOutcome, MissingChecks};
use crate::vocabulary::names::CommitId;

/// Between looks at one commit: often at first, and never much later than it has taken so far. What has not changed since is
/// told by a word that counts against no limit.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const LATER_LOOKS: Duration = Duration::from_secs(15);
const LATE_BY: u32 = 5;
/// So long a commit that was pushed may take to be known to those of GitHub's machines that are asked.
const ARRIVAL: Duration = Duration::from_secs(60);
/// The most that GitHub gives at once.
const AT_ONCE: usize = 100;
/// No commit has more reports than in so many answers.
const MOST_ANSWERS: usize = 20;
/// Of what has reported while a check is missing, so many names are told, and so much of each.
const MOST_NAMES: usize = 20;
const LONGEST_NAME: usize = 100;

#[derive(Debug)]
pub(super) struct GitHub {
    http: Http,
    exchange: Exchange,
    queue_limit: Duration,
}

/// What of GitHub judges one gate.
pub(super) struct Checks<'a> {
    pub(super) repository: &'a str,
    pub(super) required: &'a [String],
    /// Whose check runs alone count.
    pub(super) app: Option<&'a str>,
    pub(super) report_limit: Duration,
}

impl GitHub {
    pub(super) fn new(settings: CiSettings, identity: Identity) -> Self {
        let CiSettings { policy, exchange, .. } = settings;
        Self { http: Http::new(policy.url, identity), exchange, queue_limit: policy.queue_limit }
    }

    pub(super) fn struck(&self, said: &str) -> String {
        self.http.struck(said)
    }

    pub(super) async fn run(
        &self,
        checks: Checks<'_>,
        errand: &Errand,
        mut cancel: watch::Receiver<bool>,
        tell: impl Fn(Word) + Send + Sync,
    ) -> Result<Returned, Trouble> {
        let asked = Instant::now();
        // Not with the token among what the log strikes out: that would hold back as much of each line as the token is long.
        let mut transcript = Transcript::of(errand)?;
        let returned = tokio::select! {
            returned = self.follow(&checks, errand, asked, tell, &mut transcript) => returned,
            () = cancelled(&mut cancel) => Ok(Returned::early(GateOutcome::Cancelled, asked)),
        };
        let told = match &returned {
            Ok(Returned { outcome: GateOutcome::Infrastructure { message }, .. }) => Some(message.clone()),
            Ok(_) => None,
            Err(trouble) => Some(trouble.to_string()),
        };
        if let Some(message) = told {
            transcript.note(&self.http.struck(&plain(&message, LONGEST_MESSAGE)))?;
        }
        // Nobody asks about this commit again before long.
        self.http.forget(&of_commit(checks.repository, errand.commit));
        transcript.finish()?;
        returned
    }

    async fn follow(
        &self,
        checks: &Checks<'_>,
        errand: &Errand,
        asked: Instant,
        tell: impl Fn(Word) + Send + Sync,
        transcript: &mut Transcript,
    ) -> Result<Returned, Trouble> {
        push(&self.exchange, errand).await?;
        let mut begun: Option<(u64, Instant)> = None;
        let mut told = BTreeMap::new();
        let (mut quiet_since, mut were_there) = (Instant::now(), Vec::new());
        let mut next_note = checks.report_limit / 10;
        loop {
            let left = begun.map_or(Duration::MAX, |(_, since)| errand.timeout.saturating_sub(since.elapsed()));
            let may_arrive = begun.is_none() && asked.elapsed() < ARRIVAL.min(checks.report_limit);
            let look = self.reported_so_far(checks, errand.commit, may_arrive);
            let look = tokio::time::timeout(left.max(FIRST_LOOK), look);
            let timed_out = |(queued_ms, since): (u64, Instant)| {
                let outcome = GateOutcome::TimedOut { after_ms: millis(errand.timeout), signal: None };
                Returned { queued_ms, ran_ms: millis(since.elapsed()), ..Returned::early(outcome, asked) }
            };
            let (reported, at) = match (look.await, begun) {
                (Ok(reported), _) => (reported?, asked.elapsed()),
                (Err(_), Some(begun)) => return Ok(timed_out(begun)),
                (Err(_), None) => continue,
            };
            let now = reported.told(checks.required);
            for (name, word) in now.iter().filter(|(name, word)| told.get(*name) != Some(*word)) {
                transcript.write(&self.http.struck(&format!("{name}: {word}\n")))?;
            }
            told = now;
            let are_there = reported.names();
            if are_there != were_there || reported.is_any_open() {
                quiet_since = Instant::now();
                were_there = are_there;
            }
            let standing = reported.standing(errand.commit, checks.required);
            let has_begun = matches!(standing, Standing::Ended(_) | Standing::Waiting { has_begun: true });
            if has_begun && begun.is_none() {
                begun = Some((millis(at), Instant::now()));
                tell(Word::Begun(checks.repository.to_owned()));
            }
            match standing {
                Standing::Ended(outcome) => {
                    let (queued_ms, since) = begun.unwrap_or((millis(at), Instant::now()));
                    let node = Some(checks.repository.to_owned());
                    return Ok(Returned {
                        node,
                        queued_ms,
                        ran_ms: millis(since.elapsed()),
                        ..Returned::early(outcome, asked)
                    });
                }
                Standing::Missing(missing) if quiet_since.elapsed() >= next_note => {
                    let quiet = quiet_since.elapsed();
                    let missing = self.missed(missing, &reported, checks.required, quiet);
                    if quiet >= checks.report_limit {
                        // Who asks again finds what is there.
                        return Err(Trouble::Permanent(missing.to_string()));
                    }
                    transcript.note(&missing.to_string())?;
                    tell(Word::ChecksMissing(Box::new(missing)));
                    next_note = (quiet * 2).min(checks.report_limit);
                }
                Standing::Missing(_) | Standing::Waiting { .. } => {}
            }
            match begun {
                Some(begun) if begun.1.elapsed() >= errand.timeout => return Ok(timed_out(begun)),
                None if at > self.queue_limit => {
                    let has_not = |name: &&String| !told.contains_key(*name);
                    let missing: Vec<String> = checks.required.iter().filter(has_not).cloned().collect();
                    let message = match missing.is_empty() {
                        true => format!("nothing has begun to check the commit for {} min", at.as_secs() / 60),
                        // Others are at work all the time.
                        false => self.missed(missing, &reported, checks.required, at).to_string(),
                    };
                    return Ok(Returned::early(GateOutcome::Infrastructure { message }, asked));
                }
                _ => {}
            }
            let mut pause = (at / LATE_BY).clamp(FIRST_LOOK, LATER_LOOKS);
            if let Some((_, since)) = begun {
                pause = pause.min(errand.timeout.saturating_sub(since.elapsed()));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// What is missing, in words that may stand anywhere.
    fn missed(&self, missing: Vec<String>, reported: &Reported, required: &[String], quiet: Duration) -> MissingChecks {
        let names = reported.names();
        let shown = |name: &String| self.http.struck(&plain(name, LONGEST_NAME));
        MissingChecks {
            missing,
            expected: required.to_vec(),
            present: names.iter().take(MOST_NAMES).map(shown).collect(),
            more: names.len().saturating_sub(MOST_NAMES) as u64,
            quiet_ms: millis(quiet),
        }
    }

    /// As [`Self::reported`]; of a commit that was pushed and that GitHub does not know yet, nothing has.
    async fn reported_so_far(
        &self,
        checks: &Checks<'_>,
        commit: CommitId,
        may_arrive: bool,
    ) -> Result<Reported, Trouble> {
        match self.reported(checks, commit).await {
            Err(Trouble::Http(error)) if may_arrive && error.is_unknown() => {
                // Who may not see the repository is answered so, too.
                self.http.once(&of_repository(checks.repository)).await.map_err(|_| error)?;
                Ok(Reported { status_sha: commit.to_string(), ..Reported::default() })
            }
            reported => reported,
        }
    }

    /// All that has reported on a commit.
    async fn reported(&self, checks: &Checks<'_>, commit: CommitId) -> Result<Reported, Trouble> {
        let base = of_commit(checks.repository, commit);
        let mut reported = Reported { app: checks.app.map(str::to_owned), ..Reported::default() };
        self.pages(&format!("{base}/check-runs?filter=latest&"), "check_runs", |_, entries| {
            reported.check_runs.extend(entries.iter().map(read).collect::<Result<Vec<_>, _>>()?);
            Ok(())
        })
        .await?;
        if checks.app.is_some() {
            // Statuses are of no app.
            return Ok(Reported { status_sha: commit.to_string(), ..reported });
        }
        self.pages(&format!("{base}/status?"), "statuses", |answer, entries| {
            reported.status_sha = answer["sha"].as_str().unwrap_or_default().to_owned();
            reported.statuses.extend(entries.iter().map(read).collect::<Result<Vec<_>, _>>()?);
            Ok(())
        })
        .await?;
        Ok(reported)
    }

    async fn pages(
        &self,
        path: &str,
        key: &str,
        mut take: impl FnMut(&Value, &[Value]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut had = 0;
        for page in 1..=MOST_ANSWERS {
            let answer = self.http.get_unless_known(&format!("{path}per_page={AT_ONCE}&page={page}")).await?;
            let entries = answer.get(key).and_then(Value::as_array);
            let entries = entries.ok_or_else(|| Trouble::Said(format!("GitHub's answer has no `{key}`")))?;
            take(&answer, entries)?;
            had += entries.len();
            // What is not seen cannot be said to have passed.
            let total = answer["total_count"].as_u64();
            let total =
                total.ok_or_else(|| Trouble::Said(format!("GitHub does not say how many `{key}` there are")))?;
            if total <= had as u64 {
                return Ok(());
            }
            if entries.is_empty() {
                return Err(Trouble::Said(format!("GitHub says that there are {total} `{key}`, and gives {had}")));
            }
        }
        Err(Trouble::Said(format!("more than {} reports are on this commit", AT_ONCE * MOST_ANSWERS)))
    }

    /// What there is of what a gate needs, by what has reported on `commit`.
    pub(super) async fn inspect(&self, checks: &Checks<'_>, commit: CommitId) -> Result<Inspection, Trouble> {
        let begun = Instant::now();
        self.http.once(&of_repository(checks.repository)).await?;
        let answered_in = begun.elapsed();
        let reported = self.reported(checks, commit).await?;
        let told = reported.told(checks.required);
        let missing: Vec<String> = checks.required.iter().filter(|name| !told.contains_key(*name)).cloned().collect();
        let missed = || self.missed(missing.clone(), &reported, checks.required, Duration::ZERO);
        let unreported = (!missing.is_empty()).then(missed);
        Ok(Inspection { answered_in, lacks: Vec::new(), workers: Vec::new(), unreported })
    }
}

fn of_repository(repository: &str) -> String {
    let (owner, name) = repository.split_once('/').unwrap_or((repository, ""));
    format!("/repos/{}/{}", encoded(owner), encoded(name))
}

fn of_commit(repository: &str, commit: CommitId) -> String {
    format!("{}/commits/{commit}", of_repository(repository))
}

fn read<T: for<'a> Deserialize<'a>>(entry: &Value) -> Result<T, Trouble> {
    T::deserialize(entry).map_err(|error| Trouble::Said(format!("GitHub's answer is not what it should be: {error}")))
}
