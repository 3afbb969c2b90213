//! What reports say of a run that goes on, and of one that was cut off: what is true of it, and nothing of an end that it
//! has not come to.

use std::collections::BTreeMap;

use lexpr::report::json::RunReport;
use lexpr::report::view::RunView;
use lexpr::report::{Format, Report};
use lexpr::vocabulary::event::{Event, GateOutcome, Recorded, Verdict};
use lexpr::wording::Paint;
use lexpr::{status, why};

use crate::report_stories::{Story, cone_of, item, key, resumed};

/// One passed, one is gated, one waits for it, and one has nothing to wait for but a worker.
fn going_on() -> Vec<Recorded> {
    let items = vec![
        item("auth", 0, &[], &["unit"]),
        item("search", 0, &[], &["unit"]),
        item("search-ui", 1, &["search"], &["unit"]),
        item("theme", 0, &[], &["unit"]),
    ];
    let mut story = Story::begin(items);
    story.passes(0, "auth", "unit");
    let job = story.cone("search").job(0, cone_of("search"), &[("unit", key("unit", "search"), true)]);
    story.start(job, "unit", key("unit", "search"), 1);
    story.events
}

fn report(view: &RunView) -> RunReport {
    RunReport::new(view, BTreeMap::new()).unwrap()
}

fn render(report: RunReport, format: Format) -> String {
    Report::Execute(Box::new(report)).render(format)
}

/// The state and the why of each row of the table of items.
fn rows(markdown: &str) -> Vec<(&str, &str)> {
    let rows = markdown.lines().map(|row| row.split(" | ").collect::<Vec<_>>());
    rows.filter(|cells| cells.len() == 7 && cells[0].starts_with("| ") && cells[0] != "| #")
        .map(|cells| (cells[2], cells[3]))
        .collect()
}

#[test]
fn a_run_that_goes_on_is_reported_as_that() {
    let mut view = RunView::of(&going_on());
    view.goes_on(view.latest_at_ms + 3_600_000);
    let markdown = render(report(&view), Format::Markdown);
    let expected =
        [("passed", ""), ("running", ""), ("waiting", "waits for search"), ("waiting", "waits for its turn")];
    assert_eq!(rows(&markdown), expected, "{markdown}");
    assert!(!markdown.contains("ended") && markdown.contains(": goes on."), "{markdown}");

    let json: serde_json::Value = serde_json::from_str(&render(report(&view), Format::Json)).unwrap();
    let stages: Vec<_> =
        json["items"].as_array().unwrap().iter().map(|item| (&item["stage"], &item["reason"])).collect();
    let of = |stage: &str, reason: Option<&str>| (stage.into(), reason.into());
    let expected: [(serde_json::Value, serde_json::Value); 4] = [
        of("passed", None),
        of("running", None),
        of("waiting", Some("waits for search")),
        of("waiting", Some("waits for its turn")),
    ];
    assert!(
        stages.iter().zip(&expected).all(|(found, wanted)| (found.0, found.1) == (&wanted.0, &wanted.1)),
        "{stages:?}"
    );
    assert_eq!((&json["summary"]["open"], &json["summary"]["total"]), (&4.into(), &4.into()));
    for format in [Format::Markdown, Format::Html, Format::Junit] {
        let text = render(report(&view), format);
        assert!(!text.contains("the run ended"), "{text}");
    }
}

#[test]
fn a_run_that_was_cut_off_is_reported_as_that() {
    let mut view = RunView::of(&going_on());
    view.died();
    let markdown = render(report(&view), Format::Markdown);
    let expected = [
        ("passed", "the run was cut off before it could land"),
        ("cut off", "the run was cut off while it was being judged"),
        ("waiting", "the run was cut off before its gates began"),
        ("waiting", "the run was cut off before its gates began"),
    ];
    assert_eq!(rows(&markdown), expected, "{markdown}");
    assert!(markdown.contains(": was cut off."), "{markdown}");
    for format in [Format::Markdown, Format::Html, Format::Junit, Format::Json] {
        let text = render(report(&view), format);
        assert!(!text.contains("the run ended") && !text.contains("gates had run"), "{text}");
    }
    let report = report(&view);
    let said: String = report.items.iter().map(|item| why::text(&report, item, Paint::PLAIN)).collect();
    assert!(
        said.contains("the run was cut off while it was being judged.") && !said.contains("ended before"),
        "{said}"
    );
    assert!(!status::text(&report, Paint::PLAIN).contains("ended before"));
}

#[test]
fn what_is_under_proof_in_a_run_that_goes_on_is_not_given_up() {
    let mut story = Story::begin(vec![item("auth", 0, &[], &["unit"]), item("theme", 0, &[], &["unit"])]);
    story.passes(0, "auth", "unit").passes(1, "theme", "unit").apex(0, &["auth", "theme"], Vec::new());
    story.probe(0, 2, "unit", true);
    let ended = story.events.pop().unwrap();
    assert!(matches!(ended.event, Event::JobFinished { .. }), "{ended:?}");
    let view = RunView::of(&story.events);
    let markdown = render(report(&view), Format::Markdown);
    assert!(markdown.contains("| 1 | 2 | open |"), "{markdown}");
}

/// How a report calls the gates of the second item of [`going_on`].
fn gate_of_search(view: &RunView) -> (String, String) {
    let markdown = render(report(view), Format::Markdown);
    let row = markdown.lines().find(|line| line.starts_with("| 2 |")).unwrap().split(" | ").collect::<Vec<_>>();
    (row[4].to_owned(), row[5].to_owned())
}

#[test]
fn a_gate_that_runs_is_running_for_as_long_as_it_has_and_one_that_was_cut_off_is_that() {
    let mut view = RunView::of(&going_on());
    view.goes_on(view.latest_at_ms + 60_000);
    let (gate, time) = gate_of_search(&view);
    assert_eq!(gate, "`unit` running");
    assert!(time.starts_with("1m 0"), "{time}");
    assert!(render(report(&view), Format::Junit).contains("<skipped message=\"running\"/>"));
    assert!(render(report(&view), Format::Html).contains("gate <code>unit</code>: running;"));
    let mut dead = RunView::of(&going_on());
    dead.died();
    assert_eq!(gate_of_search(&dead).0, "`unit` cut off");
}

#[test]
fn what_a_gate_said_is_told_before_its_item_is_decided() {
    let items = vec![item("auth", 0, &[], &["unit"]), item("search", 0, &[], &["unit", "lint"])];
    let mut story = Story::begin(items);
    let gates = [("unit", key("unit", "search"), true), ("lint", key("lint", "search"), true)];
    let job = story.passes(0, "auth", "unit").cone("search").job(0, cone_of("search"), &gates);
    story.start(job, "unit", key("unit", "search"), 1);
    let passed = Some(Verdict::Passed { flaky: false });
    story.end(job, "unit", key("unit", "search"), 1, GateOutcome::Passed, passed, "");
    story.start(job, "lint", key("lint", "search"), 1);
    assert_eq!(gate_of_search(&RunView::of(&story.events)).0, "`unit` passed<br>`lint` running");
}

/// Cut off in the midst of a gate, and taken up a minute later with more workers.
fn taken_up() -> Story {
    let mut story = Story::begin(vec![item("auth", 0, &[], &["unit"]), item("search", 0, &[], &["unit"])]);
    let unit = [("unit", key("unit", "auth"), true)];
    let job = story.cone("auth").job(0, cone_of("auth"), &unit);
    story.start(job, "unit", key("unit", "auth"), 1).wait(5000).cone("search").wait(60_000);
    story.tell(resumed(Some(8))).wait(1000);
    let job = story.job(7, cone_of("search"), &[("unit", key("unit", "search"), true)]);
    story.start(job, "unit", key("unit", "search"), 1);
    story
}

#[test]
fn a_pause_counts_nowhere_and_what_was_cut_off_ended_before_it() {
    let report = report(&RunView::of(&taken_up().events));
    let paused: Vec<u64> = report.pauses.iter().map(|pause| pause.to_ms - pause.from_ms).collect();
    assert_eq!(paused, [60_000]);
    let search = &report.items[1];
    assert!(search.started_at_ms.unwrap() - report.started_at_ms > 60_000, "times are as the clock had them");
    assert!(why::text(&report, search, Paint::PLAIN).contains("its gates began 6.0s into the run"));
    let auth = &report.timeline[0];
    assert!(auth.cut_off && auth.ended_at_ms == Some(report.pauses[0].from_ms), "{auth:?}");
    assert_eq!((auth.gates.len(), &auth.gates[0].outcome), (1, &None));
    let page = render(report, Format::Html);
    assert!(
        page.contains("<line class=\"pause\"")
            && page.contains("taken up again 1m 00s later")
            && page.contains("dotted ones"),
        "{page}"
    );
    assert!(page.contains("unit was cut off") && page.contains("from 6.0s on: unit running"), "{page}");
}

#[test]
fn workers_that_a_resumption_brings_have_slots_here() {
    let concurrency = report(&RunView::of(&taken_up().events)).summary.concurrency;
    assert_eq!((concurrency.max_workers, concurrency.peak_elsewhere), (8, 0));
    let mut fewer = taken_up();
    fewer.tell(resumed(Some(2)));
    fewer.job(2, cone_of("search"), &[("unit", key("unit", "search"), true)]);
    let concurrency = report(&RunView::of(&fewer.events)).summary.concurrency;
    assert_eq!((concurrency.max_workers, concurrency.peak_elsewhere), (8, 1), "the third of two is elsewhere");
}

#[test]
fn the_command_of_a_run_is_told_with_the_folder_it_was_given_in() {
    let mut events = going_on();
    let page = |events: &[Recorded]| render(report(&RunView::of(events)), Format::Html);
    assert!(page(&events).contains("in <code>/home/ann/shop/.git</code>"), "what older journals know");
    if let Event::RunStarted(started) = &mut events[0].event {
        "/home/ann/plans".clone_into(&mut started.directory);
    }
    assert!(page(&events).contains("in <code>/home/ann/plans</code>"));
}
