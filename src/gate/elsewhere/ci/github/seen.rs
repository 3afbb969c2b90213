//! What GitHub says of a commit, and what is believed of it. Pure: JSON in, where the checks stand out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::gate::elsewhere::ci::plain;
use crate::vocabulary::event::GateOutcome;
use crate::vocabulary::names::CommitId;

/// GitHub has no exit status for a check: one that has failed says no more than that.
const FAILED: i32 = 1;

/// None of GitHub's words is as long.
const LONGEST_WORD: usize = 60;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct CheckRun {
    name: String,
    head_sha: String,
    status: String,
    conclusion: Option<String>,
    app: Option<App>,
}

/// What has made a check run.
#[derive(Clone, Debug, Deserialize)]
struct App {
    slug: Option<String>,
}

/// Of a commit's combined status: the last state of one context.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    context: String,
    state: String,
}

/// All that has reported on a commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Reported {
    pub(super) check_runs: Vec<CheckRun>,
    /// Of which commit the statuses are.
    pub(super) status_sha: String,
    pub(super) statuses: Vec<Status>,
    /// The only one whose reports count.
    pub(super) app: Option<String>,
}

/// Where one report stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Report {
    Passed,
    Failed,
    /// Nobody is at it yet.
    Queued,
    Running,
    /// Neither a pass nor a failure, in GitHub's words.
    Odd(String),
}

/// Where the required checks stand together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// These have not reported.
    Missing(Vec<String>),
    Waiting {
        has_begun: bool,
    },
    Ended(GateOutcome),
}

impl CheckRun {
    fn slug(&self) -> Option<&str> {
        self.app.as_ref()?.slug.as_deref()
    }
}

fn of_check_run(run: &CheckRun) -> Report {
    match (run.status.as_str(), run.conclusion.as_deref()) {
        ("completed", Some("success")) => Report::Passed,
        ("completed", Some("failure")) => Report::Failed,
        ("completed", conclusion) => Report::Odd(plain(conclusion.unwrap_or("without a conclusion"), LONGEST_WORD)),
        ("in_progress", _) => Report::Running,
        ("queued" | "requested" | "waiting" | "pending", _) => Report::Queued,
        (other, _) => Report::Odd(format!("status {}", plain(other, LONGEST_WORD))),
    }
}

fn of_status(status: &Status) -> Report {
    match status.state.as_str() {
        "success" => Report::Passed,
        "failure" => Report::Failed,
        // There is no other word for one that is at work.
        "pending" => Report::Running,
        other => Report::Odd(plain(other, LONGEST_WORD)),
    }
}

impl Reported {
    /// What there is, by name, for a person.
    pub(super) fn names(&self) -> Vec<String> {
        let runs = self.check_runs.iter().map(|run| match run.slug() {
            Some(slug) if !self.counts(run) => format!("{} (by {slug})", run.name),
            None if !self.counts(run) => format!("{} (by nobody known)", run.name),
            _ => run.name.clone(),
        });
        let mut names: Vec<String> = runs.chain(self.statuses.iter().map(|status| status.context.clone())).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How the required ones stand, a line each.
    pub(super) fn told(&self, required: &[String]) -> BTreeMap<String, String> {
        let word = |report: &Report| match report {
            Report::Passed => "passed".to_owned(),
            Report::Failed => "failed".to_owned(),
            Report::Queued => "queued".to_owned(),
            Report::Running => "running".to_owned(),
            Report::Odd(word) => word.clone(),
        };
        let told = |name: &String| {
            let words: Vec<String> = self.reports_on(name).iter().map(word).collect();
            (!words.is_empty()).then(|| (name.clone(), words.join(", ")))
        };
        required.iter().filter_map(told).collect()
    }

    /// Whether anything on the commit has not ended, required or not: what is missing may wait for that.
    pub(super) fn is_any_open(&self) -> bool {
        let all = self.check_runs.iter().map(of_check_run).chain(self.statuses.iter().map(of_status));
        all.into_iter().any(|report| matches!(report, Report::Queued | Report::Running))
    }

    fn counts(&self, run: &CheckRun) -> bool {
        self.app.is_none() || run.slug() == self.app.as_deref()
    }

    fn reports_on(&self, name: &str) -> Vec<Report> {
        let runs = self.check_runs.iter().filter(|run| run.name == name && self.counts(run)).map(of_check_run);
        runs.chain(self.statuses.iter().filter(|status| status.context == name).map(of_status)).collect()
    }

    /// That the gate passed is believed only where each required check has reported on this very commit, and all that did by
    /// its name have ended in success. That it failed, where one says so and none of its name says otherwise.
    pub(super) fn standing(&self, commit: CommitId, required: &[String]) -> Standing {
        let infrastructure = |message: String| Standing::Ended(GateOutcome::Infrastructure { message });
        let sha = commit.to_string();
        let strange = self.check_runs.iter().map(|run| &run.head_sha).chain([&self.status_sha]).find(|of| **of != sha);
        if let Some(strange) = strange {
            let plain: String = strange.chars().filter(char::is_ascii_hexdigit).take(64).collect();
            return infrastructure(format!("GitHub answers for the commit {plain}, and not for {sha}"));
        }
        let all: Vec<(&String, Vec<Report>)> = required.iter().map(|name| (name, self.reports_on(name))).collect();
        let is = |reports: &[Report], what: Report| reports.contains(&what);
        if all.iter().any(|(_, reports)| !reports.is_empty() && reports.iter().all(|report| *report == Report::Failed))
        {
            return Standing::Ended(GateOutcome::Failed { exit_code: FAILED });
        }
        for (name, reports) in &all {
            if let Some(Report::Odd(word)) = reports.iter().find(|report| matches!(report, Report::Odd(_))) {
                return infrastructure(format!(
                    "the check `{name}` ended as {word}, which is neither a pass nor a failure"
                ));
            }
            if is(reports, Report::Failed) && is(reports, Report::Passed) {
                return infrastructure(format!(
                    "what reports as `{name}` disagrees: one has failed and one has passed"
                ));
            }
        }
        let missing: Vec<String> =
            all.iter().filter(|(_, reports)| reports.is_empty()).map(|(name, _)| (*name).clone()).collect();
        if !missing.is_empty() || all.is_empty() {
            return Standing::Missing(missing);
        }
        let mut reports = all.iter().flat_map(|(_, reports)| reports);
        if reports.clone().all(|report| *report == Report::Passed) {
            return Standing::Ended(GateOutcome::Passed);
        }
        Standing::Waiting { has_begun: reports.any(|report| *report != Report::Queued) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(digit: &str) -> String {
        digit.repeat(40)
    }

    fn reported(runs: &[(&str, &str, Option<&str>)], statuses: &[(&str, &str)]) -> Reported {
        let run = |(name, status, conclusion): &(&str, &str, Option<&str>)| CheckRun {
            name: (*name).to_owned(),
            head_sha: sha("1"),
            status: (*status).to_owned(),
            conclusion: conclusion.map(str::to_owned),
            app: Some(App { slug: Some("github-actions".to_owned()) }),
        };
        let status = |(context, state): &(&str, &str)| Status { context: (*context).into(), state: (*state).into() };
        Reported {
            check_runs: runs.iter().map(run).collect(),
            status_sha: sha("1"),
            statuses: statuses.iter().map(status).collect(),
            app: None,
        }
    }

    fn standing(reported: &Reported, required: &[&str]) -> Standing {
        let required: Vec<String> = required.iter().map(|name| (*name).to_owned()).collect();
        reported.standing(sha("1").parse().unwrap(), &required)
    }

    const PASSED: Standing = Standing::Ended(GateOutcome::Passed);

    #[test]
    fn invariant_1_a_pass_takes_each_required_check_completed_in_success_on_this_commit_and_none_that_disagrees() {
        let done = ("build", "completed", Some("success"));
        assert_eq!(standing(&reported(&[done], &[]), &["build"]), PASSED);
        assert_eq!(standing(&reported(&[done, ("other", "completed", Some("failure"))], &[]), &["build"]), PASSED);
        assert_eq!(standing(&reported(&[], &[("ci/x", "success")]), &["ci/x"]), PASSED);
        assert_eq!(
            standing(&reported(&[done], &[("ci/x", "success"), ("build", "success")]), &["build", "ci/x"]),
            PASSED
        );

        let conclusions =
            ["neutral", "cancelled", "skipped", "timed_out", "action_required", "stale", "startup_failure", "?"];
        for conclusion in conclusions.map(Some).into_iter().chain([None]) {
            let standing = standing(&reported(&[("build", "completed", conclusion)], &[]), &["build"]);
            assert!(matches!(standing, Standing::Ended(GateOutcome::Infrastructure { .. })), "{standing:?}");
        }
        for (runs, statuses) in [
            (&[done, ("build", "completed", Some("failure"))][..], &[][..]),
            (&[done][..], &[("build", "failure")][..]),
            (&[done][..], &[("build", "error")][..]),
            (&[done, ("build", "unheard of", None)][..], &[][..]),
        ] {
            let standing = standing(&reported(runs, statuses), &["build"]);
            assert!(matches!(standing, Standing::Ended(GateOutcome::Infrastructure { .. })), "{standing:?}");
        }
        let mut of_another = reported(&[done], &[]);
        of_another.check_runs[0].head_sha = sha("2");
        let mut statuses_of_another = reported(&[done], &[]);
        statuses_of_another.status_sha = sha("2");
        for reported in [of_another, statuses_of_another] {
            let standing = standing(&reported, &["build"]);
            assert!(matches!(standing, Standing::Ended(GateOutcome::Infrastructure { .. })), "{standing:?}");
        }
        assert_eq!(
            standing(&reported(&[done], &[]), &[]),
            Standing::Missing(Vec::new()),
            "nothing required is no pass"
        );
    }

    #[test]
    fn invariant_1_where_the_plan_names_an_app_no_other_s_word_is_a_pass_or_a_failure() {
        let missing = Standing::Missing(vec!["build".to_owned()]);
        for (end, expected) in
            [("success", PASSED), ("failure", Standing::Ended(GateOutcome::Failed { exit_code: FAILED }))]
        {
            let of_actions = reported(&[("build", "completed", Some(end))], &[]);
            let asked_for = |app: &str| Reported { app: Some(app.to_owned()), ..of_actions.clone() };
            assert_eq!(standing(&asked_for("github-actions"), &["build"]), expected);
            assert_eq!(standing(&asked_for("another"), &["build"]), missing);
            assert_eq!(asked_for("another").names(), ["build (by github-actions)"]);
            let mut of_nobody = asked_for("github-actions");
            of_nobody.check_runs[0].app = None;
            assert_eq!(standing(&of_nobody, &["build"]), missing);
        }
    }

    #[test]
    fn what_has_not_ended_is_waited_for_and_what_has_not_reported_is_named() {
        let missing = Standing::Missing(vec!["test".to_owned()]);
        assert_eq!(standing(&reported(&[("build", "completed", Some("success"))], &[]), &["build", "test"]), missing);
        for (status, has_begun) in [("queued", false), ("waiting", false), ("in_progress", true)] {
            let standing = standing(&reported(&[("build", status, None)], &[]), &["build"]);
            assert_eq!(standing, Standing::Waiting { has_begun });
        }
        let again = reported(&[("build", "completed", Some("success")), ("build", "in_progress", None)], &[]);
        assert_eq!(standing(&again, &["build"]), Standing::Waiting { has_begun: true });
        let failed = Standing::Ended(GateOutcome::Failed { exit_code: FAILED });
        assert_eq!(standing(&reported(&[("build", "completed", Some("failure"))], &[]), &["build", "test"]), failed);
    }
}
