//! Proving a CI service before it is trusted with gates: what it would need is looked for, then it judges the commit that the
//! target is at, and is stopped while it does so once more.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{asked_to_stop, command_of, not_cleared, trying, until_stopped};
use crate::cli::RepositoryArgs;
use crate::cli::failure::Failure;
use crate::cli::missing_checks::unreported_on;
use crate::cli::scratch::{Note, ScratchFolder};
use crate::doctor::{Check, Finding, Mark};
use crate::gate::LogRules;
use crate::gate::elsewhere::ci::{Ci, CiSettings};
use crate::gate::elsewhere::{Errand, Exchange, Returned, Word};
use crate::git::command::{self, Config, Git};
use crate::git::repo::{Target, UserRepo};
use crate::plan::check::Checked;
use crate::plan::ci_service::{CiJudge, CiService};
use crate::ports::PortError;
use crate::report::outcome::outcome_text;
use crate::runs::{self, RunFolder};
use crate::vocabulary::event::GateOutcome;
use crate::vocabulary::names::RunId;
use crate::wording::{duration, list, shown};

/// As long as somebody waits for an answer.
const LIMIT: Duration = Duration::from_secs(1800);
/// Of a log that nobody reads.
const LOG_BYTES: u64 = 1024 * 1024;

/// Looks and tries. What cannot be tried is a finding, too.
///
/// # Errors
/// Where the repository or the target cannot be read.
pub(super) fn findings(
    name: &str,
    service: &CiService,
    checked: &Checked,
    repository: &RepositoryArgs,
) -> Result<Vec<Finding>, Failure> {
    let plan = &checked.plan;
    let repo = UserRepo::open(&repository.repo)?;
    let target = repo.resolve(&plan.target, &[])?.target;
    let run = RunId::new(format!("doctor-{}", runs::fresh_id()));
    let git = Git::new(repo.common_dir(), Config::Users);
    // `check` has it that there is one.
    let address = plan.policy.exchange.clone().unwrap_or_default();
    let exchange = Exchange::new(git, address.as_str(), run.clone());
    let note = Note {
        run: run.clone(),
        command: command_of(name),
        runtime: service.runtime.clone(),
        exchange: address,
        repository: repo.common_dir().to_owned(),
        images: Vec::new(),
    };
    let environment = std::env::vars_os().collect();
    let ci = Ci::new(CiSettings { run, policy: service.policy.clone(), exchange, environment });
    let mut scratch = ScratchFolder::create()?;
    let place = RunFolder { id: note.run.clone(), path: scratch.path().to_owned() };
    command::work_for(place.mark());
    let found = until_stopped(async |stop| {
        let patient = Patient { name, ci: &ci, service, target: &target, logs: &place.path };
        trying(name, &format!("asking {}", shown(&service.policy.url)));
        let mut cut_short = stop.clone();
        let mut findings = tokio::select! {
            findings = patient.look() => findings,
            () = asked_to_stop(&mut cut_short) => return Ok(Vec::new()),
        };
        // Of a service that nothing was asked of nothing has to be taken back; one that is not there would be waited for.
        if findings.iter().all(|finding| finding.mark != Mark::Fail) {
            scratch.write_down(&note, &checked.places.source().text)?;
            findings.extend(patient.try_all(&stop).await);
            match ci.clear().await {
                Ok(()) => scratch.strike_out(),
                Err(error) => findings.push(not_cleared(name, &error)),
            }
        }
        Ok(findings)
    });
    scratch.remove();
    found
}

fn failed(name: &str, error: &PortError) -> Finding {
    let finding = Finding::fail(Check::Runtime, format!("{name}: {}", error.message));
    error.hint.iter().fold(finding, |finding, hint| finding.remedy(hint))
}

/// The service that is looked at.
struct Patient<'a> {
    name: &'a str,
    ci: &'a Ci,
    service: &'a CiService,
    target: &'a Target,
    logs: &'a Path,
}

impl Patient<'_> {
    fn ok(&self, found: impl std::fmt::Display) -> Finding {
        Finding::ok(Check::Runtime, format!("{}: {found}", self.name))
    }

    async fn look(&self) -> Vec<Finding> {
        let inspection = match self.ci.inspect(&self.service.judge, self.target.commit).await {
            Ok(inspection) => inspection,
            Err(error) => return vec![failed(self.name, &error)],
        };
        let (url, at_once) = (shown(&self.service.policy.url), self.service.policy.max_in_flight);
        let answered = duration(millis(inspection.answered_in));
        let what = match &self.service.judge {
            CiJudge::Builder { scheduler, builder } => {
                format!("Buildbot at {url}, scheduler {}, builder {}", shown(scheduler), shown(builder))
            }
            CiJudge::Checks { repository, checks, .. } => {
                let checks = shown(&list(checks)).into_owned();
                // That nothing has reported as some of them is told below.
                let checks = if inspection.unreported.is_none() { format!(", checks {checks}") } else { String::new() };
                format!("GitHub at {url}, repository {repository}{checks}")
            }
        };
        // What is lacking is not there to be told of.
        let found = match inspection.lacks.is_empty() {
            true => format!("{what}, {at_once} at once; it answered in {answered}"),
            false => format!("{url} answered in {answered}"),
        };
        let mut findings = vec![self.ok(found)];
        for (lack, remedy) in inspection.lacks {
            findings.push(Finding::fail(Check::Runtime, format!("{}: {lack}", self.name)).remedy(remedy));
        }
        if let Some(unreported) = &inspection.unreported {
            let found = unreported_on(unreported, self.target);
            let finding = Finding::warn(Check::Runtime, format!("{}: {found}", self.name));
            findings.push(finding.meaning("they may on branches below `lexpr/`, where they have to").remedy(
                "correct `checks` in the plan if that is not their names, or have what reports them run on such branches",
            ));
        }
        if !inspection.workers.is_empty() {
            findings.push(self.ok(format!("workers that are connected: {}", list(&inspection.workers))));
        }
        findings
    }

    async fn try_all(&self, stop: &watch::Receiver<bool>) -> Vec<Finding> {
        let commit = self.target.commit.to_string();
        trying(self.name, &format!("{} at {} is to be judged", shown(self.target.short_name()), &commit[..10]));
        let begun = Instant::now();
        let tell = |word| {
            if let Word::Begun(node) = word {
                let on = if node.is_empty() { String::new() } else { format!(", on {}", shown(&node)) };
                trying(self.name, &format!("it has begun{on}"));
            }
        };
        let judged = self.ci.run(&self.service.judge, &self.errand("judged"), stop.clone(), tell).await;
        if *stop.borrow() {
            return Vec::new();
        }
        let judged = match judged {
            Ok(returned) => self.judged(&returned, begun.elapsed()),
            Err(error) => failed(self.name, &error),
        };
        // What others run on a commit of their own accord is not lexpr's to stop.
        if judged.mark == Mark::Fail || matches!(self.service.judge, CiJudge::Checks { .. }) {
            return vec![judged];
        }
        trying(self.name, "once more, to be cancelled");
        vec![judged, self.cancelled(stop.clone()).await]
    }

    fn judged(&self, returned: &Returned, took: Duration) -> Finding {
        let (branch, commit) = (shown(self.target.short_name()), self.target.commit.to_string());
        let (came_to, took) = (outcome_text(&returned.outcome), duration(millis(took)));
        let found = format!(
            "{branch} at {} was judged: {came_to}, {took} in all, {} of it before it began",
            &commit[..10],
            duration(returned.queued_ms)
        );
        match &returned.outcome {
            GateOutcome::Passed => self.ok(found),
            GateOutcome::Failed { .. } => Finding::warn(Check::Runtime, format!("{}: {found}", self.name))
                .meaning("the service works; but a gate that the target fails itself ejects every item")
                .remedy("see what the builder does, and why that fails"),
            _ => Finding::fail(Check::Runtime, format!("{}: {found}", self.name)),
        }
    }

    async fn cancelled(&self, mut stop: watch::Receiver<bool>) -> Finding {
        let (cancel, cancelled) = watch::channel(false);
        let asked = std::sync::OnceLock::new();
        let begin = |_| {
            let _ = asked.set(Instant::now());
            cancel.send_replace(true);
        };
        let errand = self.errand("cancelled");
        let mut run = pin!(self.ci.run(&self.service.judge, &errand, cancelled, begin));
        let ended = tokio::select! {
            ended = &mut run => ended,
            () = asked_to_stop(&mut stop) => {
                cancel.send_replace(true);
                run.await
            }
        };
        match ended {
            Ok(Returned { outcome: GateOutcome::Cancelled, .. }) => {
                let gone = asked.get().map(Instant::elapsed).unwrap_or_default();
                self.ok(format!("a build that was cancelled was gone after {}", duration(millis(gone))))
            }
            // It was over before it was known to have begun.
            Ok(Returned { outcome: GateOutcome::Passed | GateOutcome::Failed { .. }, .. }) => {
                self.ok("builds end too soon to be cancelled")
            }
            Ok(Returned { outcome, .. }) => {
                let found = format!("{}: a build that was cancelled: {}", self.name, outcome_text(&outcome));
                Finding::fail(Check::Runtime, found)
            }
            Err(error) => failed(self.name, &error),
        }
    }

    fn errand(&self, ticket: &str) -> Errand {
        Errand {
            ticket: ticket.to_owned(),
            commit: self.target.commit,
            tree: self.target.tree,
            setup: None,
            command: String::new(),
            cwd: String::new(),
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            artifacts: Vec::new(),
            timeout: LIMIT,
            log: self.logs.join(format!("{ticket}.log")),
            log_rules: LogRules { max_bytes: LOG_BYTES, secrets: Vec::new() },
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
