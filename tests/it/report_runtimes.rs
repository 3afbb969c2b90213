//! What the faces say of gates that this machine's shell does not run: which runtime had them, in which image, on which
//! node, and how long they waited for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lexpr::metrics::Metrics;
use lexpr::progress::screen::Size;
use lexpr::progress::{Beside, Live};
use lexpr::report::html::{Mode, parts};
use lexpr::report::json::RunReport;
use lexpr::report::view::RunView;
use lexpr::report::{Format, Report, summary};
use lexpr::vocabulary::event::{
    Decision, Event, FinalStatus, FixedImage, GateOutcome, ItemGateStatus, LinedUpItem, MissingChecks, RanElsewhere,
    Reason, Recorded, Verdict,
};
use lexpr::vocabulary::names::{GateName, JobId, RuntimeName};
use lexpr::wording::Paint;
use lexpr::{status, why};

use crate::fake_terminal::FakeTerminal;
use crate::progress_picture::show_all;
use crate::report_faces::trace_slices;
use crate::report_stories::{Story, commit, cone_of, item, key};

const IMAGE: &str = "docker.io/library/debian:12";
const IMAGE_ID: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// `lint` runs in a container, `e2e` on a cluster, everything else here.
fn begin(items: Vec<LinedUpItem>) -> Story {
    let mut story = Story::begin(items);
    let Event::RunStarted(run) = &mut story.events[0].event else { panic!("a run begins first") };
    let items = run.items.iter_mut().map(Arc::make_mut);
    for gate in items.flat_map(|item| &mut item.gates).map(Arc::make_mut) {
        match gate.name.as_str() {
            "lint" => {
                gate.runtime = Some(RuntimeName::new("boxed"));
                gate.image = Some(IMAGE.to_owned());
            }
            "e2e" => gate.runtime = Some(RuntimeName::new("pool")),
            _ => {}
        }
    }
    run.images.push(FixedImage {
        runtime: RuntimeName::new("boxed"),
        image: IMAGE.to_owned(),
        engine: "podman".to_owned(),
        id: IMAGE_ID.to_owned(),
    });
    story
}

/// The newest event was one of an attempt on this node.
fn on(story: &mut Story, on: Option<&str>, waited_ms: u64) {
    match &mut story.events.last_mut().unwrap().event {
        Event::GateStarted { node, .. } => *node = on.map(str::to_owned),
        Event::GateFinished(run) => {
            run.elsewhere = Some(RanElsewhere { node: on.map(str::to_owned), queued_ms: waited_ms });
        }
        other => panic!("nothing of a gate: {other:?}"),
    }
}

fn end(story: &mut Story, job: JobId, name: &str, attempt: u32, outcome: GateOutcome) {
    let verdict = match &outcome {
        GateOutcome::Passed => Some(Verdict::Passed { flaky: false }),
        GateOutcome::Infrastructure { .. } => None,
        _ => Some(Verdict::Failed),
    };
    story.end(job, "e2e", key("e2e", name), attempt, outcome, verdict, "2 tests failed\n");
}

/// One gate here, one in a container, and on a cluster one that passes, one that fails, one whose first node is lost, one
/// that no node had at first, and one that waits for a node still.
fn story() -> Story {
    let all = ["auth", "bad", "lost", "shop", "waits"];
    let gates = |name: &str| if name == "auth" { vec!["unit", "lint", "e2e"] } else { vec!["e2e"] };
    let mut story = begin(all.iter().map(|name| item(name, 0, &[], &gates(name))).collect());
    let here = [("unit", key("unit", "auth"), true), ("lint", key("lint", "auth"), true)];
    let job = story.cone("auth").job(0, cone_of("auth"), &here);
    let passed = Some(Verdict::Passed { flaky: false });
    for (gate, key, _) in here {
        story.start(job, gate, key, 1).wait(600);
        story.end(job, gate, key, 1, GateOutcome::Passed, passed, "");
    }
    story.tell(Event::JobFinished { job });
    let jobs: Vec<JobId> = (0..)
        .zip(all)
        .map(|(nth, name)| story.cone(name).job(4 + nth, cone_of(name), &[("e2e", key("e2e", name), true)]))
        .collect();
    for (nth, node) in [(0, "w2"), (1, "w10"), (2, "w2")] {
        story.wait(100).start(jobs[nth], "e2e", key("e2e", all[nth]), 1);
        on(&mut story, Some(node), 0);
    }
    story.wait(900);
    let lost = GateOutcome::Infrastructure { message: "the node w2 was lost".to_owned() };
    end(&mut story, jobs[2], "lost", 1, lost);
    on(&mut story, Some("w2"), 300);
    end(&mut story, jobs[0], "auth", 1, GateOutcome::Passed);
    on(&mut story, Some("w2"), 100);
    end(&mut story, jobs[1], "bad", 1, GateOutcome::Failed { exit_code: 7 });
    on(&mut story, Some("w10"), 200);
    story.start(jobs[3], "e2e", key("e2e", "shop"), 1);
    let queued = GateOutcome::Infrastructure { message: "it was queued for 20m 00s".to_owned() };
    end(&mut story, jobs[3], "shop", 1, queued);
    on(&mut story, None, 1_200_000);
    for (nth, name) in [(2, "lost"), (3, "shop")] {
        story.start(jobs[nth], "e2e", key("e2e", name), 2);
        on(&mut story, Some("w10"), 0);
    }
    story.wait(1200);
    for (nth, name) in [(2, "lost"), (3, "shop")] {
        end(&mut story, jobs[nth], name, 2, GateOutcome::Passed);
        on(&mut story, Some("w10"), 400);
        story.tell(Event::JobFinished { job: jobs[nth] });
        story.passed(name, &[("e2e", key("e2e", name), ItemGateStatus::Passed)]);
    }
    let reason =
        Reason::GateFailed { gate: GateName::new("e2e"), key: key("e2e", "bad"), apex: None, fails_without_too: false };
    story.decide("bad", Decision::Failed, Some(reason), &[("e2e", key("e2e", "bad"), ItemGateStatus::Failed)]);
    for job in &jobs[..2] {
        story.tell(Event::JobFinished { job: *job });
    }
    let of_auth = ["unit", "lint", "e2e"].map(|gate| (gate, key(gate, "auth"), ItemGateStatus::Passed));
    story.passed("auth", &of_auth);
    story
}

/// It lands in the end, but for what failed and what no node took.
fn landed() -> Vec<Recorded> {
    let mut story = story();
    let proof = [("unit", "auth"), ("lint", "auth"), ("e2e", "auth"), ("e2e", "lost")];
    story.apex(1, &["auth", "lost", "shop"], Vec::new());
    story.lands(1, commit("base"), &["auth", "lost", "shop"], proof.map(|(gate, on)| key(gate, on)).to_vec());
    let ends = ["auth", "bad", "lost", "shop", "waits"].map(|name| {
        let status = match name {
            "bad" => FinalStatus::Failed,
            "waits" => FinalStatus::Skipped,
            _ => FinalStatus::Landed,
        };
        (name, status, None)
    });
    story.finish(3, &ends)
}

fn report(events: &[Recorded]) -> RunReport {
    RunReport::new(&RunView::of(events), BTreeMap::new()).unwrap()
}

fn part(report: &RunReport, id: &str, mode: Mode) -> String {
    parts(report, mode).into_iter().find(|part| part.id == id).unwrap().html
}

#[test]
fn the_page_says_where_gates_ran_and_draws_a_lane_for_each_node() {
    let report = report(&landed());
    let parts = ["summary", "timeline", "items", "landings"].map(|id| part(&report, id, Mode::Still));
    insta::assert_snapshot!("runtimes_page", parts.join("\n"));
}

#[test]
fn the_live_page_says_which_node_has_a_gate_and_which_gates_wait_for_one() {
    let events = story().events;
    let running = events.iter().rposition(|event| matches!(event.event, Event::GateStarted { .. })).unwrap();
    let report = report(&events[..=running]);
    let parts = ["summary", "now"].map(|id| part(&report, id, Mode::Live));
    insta::assert_snapshot!("runtimes_live", parts.join("\n"));
}

#[test]
fn a_gate_that_waits_for_a_check_that_nothing_reports_as_is_said_to_wherever_it_is_looked_at() {
    let mut story = begin(vec![item("auth", 0, &[], &["e2e"])]);
    let e2e = key("e2e", "auth");
    let job = story.cone("auth").job(4, cone_of("auth"), &[("e2e", e2e, true)]);
    let missing = |quiet_ms: u64| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (missing, expected) = (names(&["build"]), names(&["build", "lint"]));
        let checks = MissingChecks { missing, expected, present: names(&["biuld", "lint"]), more: 3, quiet_ms };
        Event::ChecksMissing { job, gate: GateName::new("e2e"), key: e2e, attempt: 1, checks: Box::new(checks) }
    };
    story.wait(60_000).tell(missing(60_000));
    story.wait(60_000).tell(missing(120_000));
    let said = "nothing has reported as build on this commit for 2 min 0 s; these checks are expected: build, lint; these \
                exist: biuld, lint and 3 more";
    let report_of = |story: &Story| report(&story.events);
    let (now, of_run) = (part(&report_of(&story), "now", Mode::Live), report_of(&story));
    assert!(now.contains(said), "{now}");
    let why = why::text(&of_run, &of_run.items[0], Paint::PLAIN);
    assert!(why.contains(&format!("It waits: {said}.")), "{why}");
    let terminal = FakeTerminal::new(Size { columns: 120, rows: 20 });
    let view: Arc<Mutex<RunView>> = Arc::default();
    let (seen, goes_on) = (Arc::clone(&view), Arc::default());
    let mut live = Live::on(seen, terminal.clone(), Paint::PLAIN, Arc::new(|| 0), goes_on, Beside::default());
    show_all(&view, &mut live, &story.events);
    let shown = terminal.unwrapped();
    assert!(shown.contains("auth: queued | nothing has reported as build on this commit for 2 min"), "{shown}");
    assert_eq!(shown.matches(" missing ").count(), 1, "{shown}");
    let json = Report::Execute(Box::new(of_run)).render(Format::Json);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["timeline"][0]["unreported"]["missing"], serde_json::json!(["build"]));
    let metrics = |story: &Story| {
        let metrics = Metrics::new();
        story.events.iter().for_each(|event| metrics.apply(event));
        metrics.render()
    };
    assert!(metrics(&story).contains("lex_pr_runtime_unreported{runtime=\"pool\"} 1\n"), "{}", metrics(&story));

    // And no longer, once it is there.
    story.start(job, "e2e", e2e, 1);
    assert!(!part(&report_of(&story), "now", Mode::Live).contains("reported"));
    assert!(metrics(&story).contains("lex_pr_runtime_unreported{runtime=\"pool\"} 0\n"), "{}", metrics(&story));
}

#[test]
fn status_and_why_say_which_node_has_a_gate_and_that_another_waits_for_one() {
    let mut story = begin(vec![item("auth", 0, &[], &["e2e"]), item("here", 0, &[], &["unit"])]);
    let e2e = key("e2e", "auth");
    let job = story.cone("auth").job(4, cone_of("auth"), &[("e2e", e2e, true)]);
    let unit = key("unit", "here");
    let local = story.cone("here").job(0, cone_of("here"), &[("unit", unit, true)]);
    story.wait(2000).start(local, "unit", unit, 1);
    let says = |expected: &str, story: &Story| {
        let report = report(&story.events);
        let (why, status) = (why::text(&report, &report.items[0], Paint::PLAIN), status::text(&report, Paint::PLAIN));
        assert!(why.contains(&format!("It {expected}.")), "{why}");
        assert!(status.contains(&format!("    {expected}\n")), "{status}");
        assert_eq!(status.matches(", for ").count(), 1, "of this machine's gates nothing: {status}");
    };
    says("waits for a node (pool), for 2.0s", &story);
    let waits = |why: Option<&str>| {
        let why = why.map(str::to_owned);
        Event::GateWaits { job, gate: GateName::new("e2e"), key: e2e, attempt: 1, why }
    };
    story.tell(waits(Some("Slurm says ReqNodeNotAvail")));
    says("waits for a node (pool), for 2.0s: Slurm says ReqNodeNotAvail", &story);
    let page = part(&report(&story.events), "now", Mode::Live);
    assert!(page.contains("waits for a node: Slurm says ReqNodeNotAvail"), "{page}");
    story.tell(waits(None));
    says("waits for a node (pool), for 2.0s", &story);
    story.start(job, "e2e", e2e, 1);
    on(&mut story, Some("w2"), 2000);
    story.wait(3000).start(local, "unit", unit, 2);
    says("has e2e running on w2 (pool), for 3.0s", &story);
}

#[test]
fn texts_for_people_and_for_ci_say_where_gates_ran() {
    let report = report(&landed());
    let all: Vec<String> = report.items.iter().map(|item| why::text(&report, item, Paint::PLAIN)).collect();
    let summary = summary::text(&report, Paint::PLAIN);
    insta::assert_snapshot!("runtimes_text", format!("{}\n{summary}", all.join("\n")));
    let whole = Report::Execute(Box::new(report));
    insta::assert_snapshot!("runtimes_markdown", whole.render(Format::Markdown));
    let junit = whole.render(Format::Junit);
    insta::assert_snapshot!("runtimes_junit", junit);
    quick_junit::Report::deserialize_from_str(&junit).unwrap();
}

#[test]
fn reports_for_machines_have_runtimes_images_and_nodes_and_match_their_schema() {
    let whole = Report::Execute(Box::new(report(&landed())));
    let text = whole.render(Format::Json);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let boxed = serde_json::json!({ "name": "boxed", "image": IMAGE, "imageId": IMAGE_ID });
    assert_eq!(json["items"][0]["gates"][1]["runtime"], boxed);
    assert_eq!(json["landings"][0]["proof"][1]["runtime"], boxed);
    assert_eq!(json["landings"][0]["proof"][3]["node"], "w10");
    assert_eq!(json["items"][0]["gates"][0]["runtime"], serde_json::Value::Null);
    insta::assert_snapshot!("runtimes_json", serde_json::to_string_pretty(&json["runtimes"]).unwrap());
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), whole);
    let schemas = [
        (lexpr::report::report_schema(), vec![json]),
        (lexpr::report::event_schema(), landed().iter().map(|event| serde_json::to_value(event).unwrap()).collect()),
    ];
    for (schema, documents) in schemas {
        let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
        for document in documents {
            let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{document}: {errors:?}");
        }
    }
}

#[test]
fn gates_that_a_node_has_at_once_are_rows_of_their_own_in_a_trace() {
    let whole = Report::Execute(Box::new(report(&landed())));
    let trace: serde_json::Value = serde_json::from_str(&whole.render(Format::Trace)).unwrap();
    let rows: Vec<&str> = trace["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .filter_map(|event| event["args"]["name"].as_str())
        .collect();
    assert_eq!(rows, ["landings", "worker 1", "w2", "w2", "w10", "w10", "no node"]);
    trace_slices(&trace);
}
