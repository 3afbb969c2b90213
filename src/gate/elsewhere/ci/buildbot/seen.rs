//! What Buildbot says of requests, builds and their logs, and what is believed of it. Pure: JSON in, outcome out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{NONCE, TICKET};
use crate::gate::elsewhere::ci::plain;
use crate::vocabulary::event::GateOutcome;
use crate::vocabulary::names::CommitId;

/// Buildbot's numbers for how something ended (buildbot/process/results.py).
const SUCCESS: i64 = 0;
pub(super) const WARNINGS: i64 = 1;
const FAILURE: i64 = 2;
const NAMES: [&str; 7] = ["success", "warnings", "failure", "skipped", "exception", "retry", "cancelled"];

/// Of what Buildbot says in words, so many characters are told.
const LONGEST_TEXT: usize = 200;
/// Of builders, so many names are told.
const MOST_NAMES: usize = 20;

/// Buildbot has no exit status for a build: what it has failed with says no more than that.
const FAILED: i32 = 1;

/// The entries of a list that an answer holds under `key`. One that is not as it should be is passed by: nothing is a pass
/// for want of something else.
pub(super) fn list<T: DeserializeOwned>(answer: &Value, key: &str) -> Vec<T> {
    let entries = answer.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    entries.iter().filter_map(|entry| T::deserialize(entry).ok()).collect()
}

/// As one line, and no longer one than somebody reads.
pub(super) fn read(text: &str) -> String {
    plain(text, LONGEST_TEXT)
}

fn name_of(results: Option<i64>) -> String {
    let name = results.and_then(|results| usize::try_from(results).ok()).and_then(|at| NAMES.get(at));
    name.map_or_else(|| format!("results {results:?}"), |name| (*name).to_owned())
}

/// A request for a build.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct RequestSeen {
    #[serde(rename = "buildrequestid")]
    pub(super) id: u64,
    pub(super) complete: bool,
    pub(super) results: Option<i64>,
    /// That of its build set.
    #[serde(skip)]
    pub(super) reason: String,
}

impl RequestSeen {
    /// Whether it is of this errand: others may have tickets that this one's is the beginning of.
    pub(super) fn is_of(&self, reason: &str) -> bool {
        self.reason.match_indices(reason).any(|(at, found)| {
            let next = self.reason[at + found.len()..].chars().next();
            next.is_none_or(|next| !next.is_ascii_alphanumeric() && next != '-')
        })
    }

    /// Whether it has come to something, or may yet. One that was ended, or that Buildbot gave up, is as good as none.
    pub(super) fn is_worth_it(&self) -> bool {
        !self.complete || matches!(self.results, Some(SUCCESS | WARNINGS | FAILURE))
    }

    /// How it ended that no build came of.
    pub(super) fn without_a_build(&self) -> String {
        format!("it ended without a build: {}", name_of(self.results))
    }
}

/// One build, with the properties that were asked for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BuildSeen {
    #[serde(rename = "buildid")]
    pub(super) id: u64,
    #[serde(rename = "buildrequestid")]
    pub(super) request: u64,
    number: u64,
    pub(super) complete: bool,
    pub(super) results: Option<i64>,
    #[serde(default)]
    state_string: String,
    /// In seconds since the Unix epoch.
    started_at: Option<f64>,
    complete_at: Option<f64>,
    /// Each a value and where it is from.
    #[serde(default)]
    properties: BTreeMap<String, Value>,
}

impl BuildSeen {
    fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.get(0)?.as_str()
    }

    pub(super) fn worker(&self) -> Option<String> {
        self.property("workername").map(read)
    }

    pub(super) fn took_ms(&self) -> Option<u64> {
        Some(((self.complete_at? - self.started_at?).max(0.0) * 1000.0) as u64)
    }

    /// What is believed of a build that has ended: that it passed only where it says so, is the errand's, and had this very
    /// commit; that the gate failed only where it had the commit, too.
    pub(super) fn outcome(&self, commit: CommitId, ticket: &str, nonce: &str) -> GateOutcome {
        let infrastructure = |why: &str| {
            let worker = self.worker().map(|worker| format!("worker {worker}, ")).unwrap_or_default();
            GateOutcome::Infrastructure { message: format!("{worker}build {}: {why}", self.number) }
        };
        if !self.complete {
            return infrastructure("it has not ended");
        }
        if self.property(TICKET) != Some(ticket) || self.property(NONCE) != Some(nonce) {
            return infrastructure(&format!(
                "it does not bear what lexpr forced it with; does the force scheduler declare `{TICKET}` and `{NONCE}`?"
            ));
        }
        let said = read(&self.state_string);
        match self.results {
            Some(results @ (SUCCESS | WARNINGS | FAILURE)) => {
                let expected = commit.to_string();
                match self.property("got_revision") {
                    Some(revision) if revision == expected => match results {
                        SUCCESS => GateOutcome::Passed,
                        _ => GateOutcome::Failed { exit_code: FAILED },
                    },
                    Some(other) => {
                        infrastructure(&format!("it had {} checked out, and not {expected} ({said})", read(other)))
                    }
                    None => infrastructure(&format!("it ended without the commit checked out: {said}")),
                }
            }
            other => infrastructure(&format!("it ended as {} ({said})", name_of(other))),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StepSeen {
    #[serde(rename = "stepid")]
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) started_at: Option<f64>,
    pub(super) complete: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct LogSeen {
    #[serde(rename = "logid")]
    pub(super) id: u64,
    #[serde(rename = "type")]
    kind: String,
    pub(super) num_lines: u64,
    pub(super) complete: bool,
}

impl LogSeen {
    /// Neither HTML nor a log that was deleted.
    pub(super) fn is_text(&self) -> bool {
        self.has_streams() || self.kind == "t"
    }

    /// Each line begins with a letter: `o` and `e` for what was printed, `h` for what Buildbot adds, such as the worker's
    /// environment.
    fn has_streams(&self) -> bool {
        self.kind == "s"
    }
}

/// What was printed, of a piece of a log.
pub(super) fn printed(answer: &Value, log: &LogSeen) -> String {
    let mut text = String::new();
    for piece in list::<Value>(answer, "logchunks") {
        let lines = piece["content"].as_str().unwrap_or_default();
        if log.has_streams() {
            let printed = lines.split_inclusive('\n').filter(|line| !line.starts_with('h'));
            text.extend(printed.map(|line| line.get(1..).unwrap_or_default()));
        } else {
            text.push_str(lines);
        }
    }
    text
}

/// That there is no builder of this name among all there are, and what to do about it.
pub(super) fn no_builder(builders: &[Value], builder: &str) -> (String, String) {
    // One that the configuration has no more is no master's.
    let is_there = |found: &&Value| found["masterids"].as_array().is_none_or(|masters| !masters.is_empty());
    let names = builders.iter().filter(is_there).filter_map(|found| Some(read(found["name"].as_str()?)));
    let names: Vec<String> = names.take(MOST_NAMES).collect();
    let there = if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
    let remedy = "add it to master.cfg, or correct `builder` in the plan";
    (format!("it has no builder `{builder}`; {there}"), remedy.to_owned())
}

/// What keeps a force scheduler from forcing a gate's builds, and what to do about it.
pub(super) fn scheduler_lacks(answer: &Value, scheduler: &str, builder: &str) -> Vec<(String, String)> {
    let schedulers = list::<Value>(answer, "forceschedulers");
    let Some(found) = schedulers.first() else {
        let remedy = "add one to master.cfg, or correct `scheduler` in the plan";
        return vec![(format!("it has no force scheduler `{scheduler}`"), remedy.to_owned())];
    };
    let mut lacks = Vec::new();
    if found["enabled"] == Value::Bool(false) {
        let remedy = "enable it where schedulers are listed in Buildbot's pages";
        lacks.push((format!("the force scheduler `{scheduler}` is disabled"), remedy.to_owned()));
    }
    let builders = found["builder_names"].as_array().cloned().unwrap_or_default();
    if !builders.iter().any(|name| name == builder) {
        let remedy = format!("add {builder:?} to its `builderNames`");
        lacks.push((format!("the force scheduler `{scheduler}` is none of the builder `{builder}`"), remedy));
    }
    let mut fields = Vec::new();
    collect_fields(&found["all_fields"], &mut fields);
    for property in [TICKET, NONCE].into_iter().filter(|property| !fields.iter().any(|field| field == property)) {
        let remedy = format!("add `util.StringParameter(name={property:?}, default=\"\")` to its `properties`");
        lacks.push((format!("the force scheduler `{scheduler}` takes no property `{property}`"), remedy));
    }
    lacks
}

/// Names of parameters, which may be nested.
fn collect_fields(fields: &Value, names: &mut Vec<String>) {
    for field in fields.as_array().map_or(&[][..], Vec::as_slice) {
        names.extend(field["name"].as_str().map(str::to_owned));
        collect_fields(&field["fields"], names);
    }
}

/// Names of the workers that are connected and take builds.
pub(super) fn workers_at_work(answer: &Value) -> Vec<String> {
    let workers = list::<Value>(answer, "workers");
    let is_at_work = |worker: &&Value| {
        let is_connected = worker["connected_to"].as_array().is_some_and(|masters| !masters.is_empty());
        is_connected && worker["paused"] != Value::Bool(true) && worker["graceful"] != Value::Bool(true)
    };
    workers.iter().filter(is_at_work).filter_map(|worker| Some(read(worker["name"].as_str()?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn commit() -> CommitId {
        "1".repeat(40).parse().unwrap()
    }

    fn outcome(change: impl FnOnce(&mut Value)) -> GateOutcome {
        let mut build = json!({
            "buildid": 7, "buildrequestid": 9, "number": 3, "complete": true, "results": 0, "state_string": "build successful",
            "started_at": 100, "complete_at": 103, "workerid": 1, "builderid": 1,
            "properties": {
                TICKET: ["r/t-1", "Force Build Form"], NONCE: ["n", "Force Build Form"],
                "got_revision": ["1".repeat(40), "Git"], "workername": ["w1", "Worker"],
            },
        });
        change(&mut build);
        BuildSeen::deserialize(&build).unwrap().outcome(commit(), "r/t-1", "n")
    }

    #[test]
    fn invariant_1_a_pass_is_believed_only_of_an_ended_build_of_this_errand_and_commit_that_says_so() {
        assert_eq!(outcome(|_| {}), GateOutcome::Passed);
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 14] = [
            ("not ended", |build| build["complete"] = json!(false)),
            ("no results", |build| build["results"] = json!(null)),
            ("skipped", |build| build["results"] = json!(3)),
            ("exception", |build| build["results"] = json!(4)),
            ("retry", |build| build["results"] = json!(5)),
            ("cancelled", |build| build["results"] = json!(6)),
            ("unheard of", |build| build["results"] = json!(7)),
            ("no properties", |build| build["properties"] = json!({})),
            ("another ticket", |build| build["properties"][TICKET] = json!(["r/t-10", "Force Build Form"])),
            ("another nonce", |build| build["properties"][NONCE] = json!(["m", "Force Build Form"])),
            ("another commit", |build| build["properties"]["got_revision"] = json!(["2".repeat(40), "Git"])),
            ("a short commit", |build| build["properties"]["got_revision"] = json!(["1".repeat(12), "Git"])),
            ("of several repositories", |build| {
                build["properties"]["got_revision"] = json!([{"": "1".repeat(40)}, "Git"])
            }),
            ("no commit", |build| {
                build["properties"].as_object_mut().unwrap().remove("got_revision");
            }),
        ];
        for (what, change) in changes {
            let outcome = outcome(change);
            assert!(matches!(outcome, GateOutcome::Infrastructure { .. }), "{what}: {outcome:?}");
        }
    }

    #[test]
    fn a_gate_has_failed_only_where_the_commit_was_there() {
        let failed = GateOutcome::Failed { exit_code: FAILED };
        assert_eq!(outcome(|build| build["results"] = json!(2)), failed);
        assert_eq!(outcome(|build| build["results"] = json!(1)), failed, "warnings are no pass");
        let fetch_failed = outcome(|build| {
            build["results"] = json!(2);
            build["state_string"] = json!("failed update");
            build["properties"].as_object_mut().unwrap().remove("got_revision");
        });
        let message = "worker w1, build 3: it ended without the commit checked out: failed update".to_owned();
        assert_eq!(fetch_failed, GateOutcome::Infrastructure { message });
    }

    #[test]
    fn a_request_is_found_by_its_own_ticket_and_not_by_one_that_begins_like_it() {
        let request = |reason: &str| RequestSeen { id: 1, complete: false, results: None, reason: reason.to_owned() };
        let ours = "lexpr r/ab-1";
        assert!(request("A build was forced by 'user': lexpr r/ab-1").is_of(ours));
        assert!(request("lexpr r/ab-1 (forced)").is_of(ours));
        assert!(!request("A build was forced by 'user': lexpr r/ab-10").is_of(ours));
        assert!(!request("lexpr r/ab-1-2").is_of(ours));
        let ended = |results| RequestSeen { complete: true, results: Some(results), ..request("") };
        assert!([SUCCESS, WARNINGS, FAILURE].into_iter().all(|results| ended(results).is_worth_it()));
        assert!(!(3..7).any(|results| ended(results).is_worth_it()));
    }

    #[test]
    fn what_buildbot_adds_to_a_log_is_not_taken_for_what_was_printed() {
        let log = |kind: &str| LogSeen { id: 1, kind: kind.to_owned(), num_lines: 3, complete: true };
        let answer = json!({"logchunks": [{"logid": 1, "firstline": 0, "content": "hPATH=/bin\noout\neerr\n"}]});
        assert_eq!(printed(&answer, &log("s")), "out\nerr\n");
        assert_eq!(printed(&answer, &log("t")), "hPATH=/bin\noout\neerr\n");
        assert!(!log("h").is_text() && !log("d").is_text());
    }
}
