//! What is shown of an item that could not be judged: its own run of a gate, and no other item's.

use std::collections::BTreeMap;

use lexpr::progress::facts;
use lexpr::report::json::RunReport;
use lexpr::report::summary;
use lexpr::report::view::RunView;
use lexpr::vocabulary::event::{
    Decision, Event, FinalStatus, GateOutcome, ItemGateStatus, JobPurpose, Reason, Recorded, Verdict,
};
use lexpr::vocabulary::names::{DefinitionDigest, GateName, ItemName};
use lexpr::why;
use lexpr::wording::Paint;

use crate::report_stories::{Story, cone_of, item, key, tree};

fn report(events: &[Recorded]) -> RunReport {
    RunReport::new(&RunView::of(events), BTreeMap::new()).unwrap()
}

/// The log that the item's failure names, and that which shows its gate failing on the target.
fn logs(report: &RunReport, item: &str) -> (Option<String>, Option<String>) {
    let item = report.items.iter().find(|other| other.name.as_str() == item).unwrap();
    let log = |failure: &lexpr::report::json::AttemptReport| failure.run.log.to_string();
    (item.failure.as_deref().map(log), item.target_failure.as_deref().map(log))
}

fn lines(events: &[Recorded]) -> String {
    let mut view = RunView::default();
    let mut text = String::new();
    for event in events {
        view.apply(event);
        for line in facts::lines(&view, event, Paint::PLAIN) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// Three items of which each fails to be set up, all before the first is decided.
fn without_setup() -> Vec<Recorded> {
    let all = ["p1", "p2", "p3"];
    let mut story = Story::begin(all.map(|name| item(name, 0, &[], &["g"])).to_vec());
    for name in all {
        let key = key("g", name);
        let job = story.cone(name).job(0, cone_of(name), &[("g", key, true)]);
        let outcome = || GateOutcome::Infrastructure { message: "the setup failed\nwith exit code 3".into() };
        for attempt in 1..=2 {
            let verdict = (attempt == 2).then_some(Verdict::Unknown);
            story.start(job, "g", key, attempt).end(job, "g", key, attempt, outcome(), verdict, name);
        }
        story.tell(Event::JobFinished { job });
    }
    let why =
        || Reason::Infrastructure { gate: GateName::new("g"), message: "the setup failed\nwith exit code 3".into() };
    for name in all {
        story.decide(name, Decision::Unjudged, Some(why()), &[("g", key("g", name), ItemGateStatus::Unjudged)]);
    }
    story.finish(3, &all.map(|name| (name, FinalStatus::Unjudged, Some(why()))))
}

#[test]
fn an_item_whose_gate_could_not_be_run_is_shown_its_own_last_attempt() {
    let events = without_setup();
    let report = report(&events);
    let (text, progress) = (summary::text(&report, Paint::PLAIN), lines(&events));
    for (at, name) in ["p1", "p2", "p3"].into_iter().enumerate() {
        let log = format!("/var/lexpr/logs/{}-g-2.log", at + 1);
        assert_eq!(logs(&report, name), (Some(log.clone()), None), "{name}");
        let item = report.items.iter().find(|item| item.name.as_str() == name).unwrap();
        let why = why::text(&report, item, Paint::PLAIN);
        assert!(why.contains(&log) && why.contains(&format!("| {name}\n")), "{why}");
        for text in [&text, &progress] {
            let from = text.find(&format!("unjudged {name}:")).or_else(|| text.find(&format!("unjudged   {name}:")));
            let told = &text[from.unwrap()..];
            assert!(told[told.find("log: ").unwrap()..].starts_with(&format!("log: {log}\n")), "{text}");
        }
    }
}

#[test]
fn a_message_of_several_lines_is_one_line_for_people_and_stays_as_it_is_for_machines() {
    let report = report(&without_setup());
    let text = summary::text(&report, Paint::PLAIN);
    assert!(text.contains("unjudged p1: gate g could not be run: the setup failed; with exit code 3\n"), "{text}");
    assert!(text.contains("  g: could not be run: the setup failed; with exit code 3, attempt 2\n"), "{text}");
    assert!(!text.contains("\\n"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["items"][0]["because"]["message"], "the setup failed\nwith exit code 3");
}

/// As the batch does it where the target is red: all together, the first alone, and the target, twice.
fn batch_on_a_red_target() -> Vec<Recorded> {
    let all = ["a", "b", "fix"];
    let mut story = Story::begin(all.map(|name| item(name, 0, &[], &["u"])).to_vec());
    story.apex(1, &all, Vec::new()).probe(1, 3, "u", false).probe(1, 1, "u", false);
    let a = || ItemName::new("a");
    let on_target = key("u", "some");
    for purpose in [JobPurpose::Blame { item: a() }, JobPurpose::SecondOpinion { item: a() }] {
        let job = story.job_on(0, purpose, &[("u", on_target, true)], tree("some"));
        story.start(job, "u", on_target, 1);
        story.end(
            job,
            "u",
            on_target,
            1,
            GateOutcome::Failed { exit_code: 1 },
            Some(Verdict::Failed),
            "on the target\n",
        );
        story.tell(Event::JobFinished { job });
    }
    let definition = DefinitionDigest::of([b"u".as_slice()]);
    story.tell(Event::GateRedOnTarget { gate: GateName::new("u"), definition, tree: tree("some") });
    let red = || Reason::RedOnTarget { gate: GateName::new("u"), key: key("u", "apex 1 first 1") };
    for name in ["b", "fix", "a"] {
        story.decide(name, Decision::Unjudged, Some(red()), &[]);
    }
    story.finish(3, &all.map(|name| (name, FinalStatus::Unjudged, Some(red()))))
}

#[test]
fn where_the_target_is_red_that_is_shown_and_a_failure_of_its_own_only_of_an_item_that_was_gated() {
    let events = batch_on_a_red_target();
    let report = report(&events);
    let on_target = Some("/var/lexpr/logs/4-u-1.log".to_owned());
    assert_eq!(logs(&report, "a"), (Some("/var/lexpr/logs/2-u-1.log".to_owned()), on_target.clone()));
    for name in ["b", "fix"] {
        assert_eq!(logs(&report, name), (None, on_target.clone()), "{name}");
    }
    let reproduced: Vec<bool> = report.items.iter().map(|item| item.reproduce.is_some()).collect();
    assert_eq!(reproduced, [true, false, false]);
    let text = summary::text(&report, Paint::PLAIN);
    assert!(text.contains("u on main, without any item: exit status 1 after 1.2s\n  | on the target\n"), "{text}");
    assert!(
        text.contains("highest `priority` (`lexpr gate run ITEM u` tries one)"),
        "the next step names the way for one that repairs it: {text}"
    );
    let fix = why::text(&report, &report.items[2], Paint::PLAIN);
    assert!(
        fix.contains("`lexpr gate run fix u 20261121-090000-ab12`") && fix.contains("the highest `priority`"),
        "{fix}"
    );
    let progress = lines(&events);
    assert_eq!(progress.matches("on main, without any item").count(), 1, "{progress}");
    assert_eq!(progress.matches("reproduce: ").count(), 1, "{progress}");
}

#[test]
fn a_second_opinion_on_what_an_item_is_compared_with_is_not_told_as_one_on_the_item() {
    let events = batch_on_a_red_target();
    let progress = lines(&events);
    assert!(progress.contains("red        u on what a stands on, without it (second opinion)"), "{progress}");
    assert!(!progress.contains("u on a (second opinion)"), "{progress}");
    let a = &report(&events).items[0];
    let without: Vec<&str> = a.without_item.iter().map(|attempt| &*attempt.run.log).collect();
    assert_eq!(without, ["/var/lexpr/logs/3-u-1.log", "/var/lexpr/logs/4-u-1.log"]);
    let mut story = Story::begin(vec![item("a", 0, &[], &["u"])]);
    let key = key("u", "a");
    let job = story.cone("a").job(0, JobPurpose::SecondOpinion { item: ItemName::new("a") }, &[("u", key, true)]);
    story.start(job, "u", key, 1);
    story.end(job, "u", key, 1, GateOutcome::Failed { exit_code: 1 }, Some(Verdict::Failed), "");
    assert!(lines(&story.events).contains("u on a (second opinion)"), "{}", lines(&story.events));
}
