//! What reports say of a run that goes on, and of one that was cut off: what is true of it, and nothing of an end that it
//! has not come to.

use std::collections::BTreeMap;

use lexpr::report::json::RunReport;
use lexpr::report::view::RunView;
use lexpr::report::{Format, Report};
use lexpr::vocabulary::event::{Event, Recorded};
use lexpr::wording::Paint;
use lexpr::{status, why};

use crate::report_stories::{Story, cone_of, item, key};

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
        ("waiting", "the run was cut off while it was being judged"),
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
