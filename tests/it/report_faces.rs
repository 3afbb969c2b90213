//! The reports, the summary and the status, each as a whole text.

use std::collections::BTreeMap;
use std::path::Path;

use lexpr::report::dry_run::{DryRun, DryRunApex, DryRunCone, DryRunItem, Forecast};
use lexpr::report::json::{REPORT_VERSION, RunReport};
use lexpr::report::view::RunView;
use lexpr::report::{Destination, Format, Report, event_schema, markdown, report_schema, summary};
use lexpr::vocabulary::event::{Conflict, Reason, Recorded, SetAside, SetAsideCause};
use lexpr::vocabulary::names::{GateName, ItemName, PlanDigest};
use lexpr::wording::Paint;
use lexpr::{status, why};

use crate::report_stories::{adaptive, commit, eventful, halted, hostile, item, names, overriding, smooth, tree};

fn report(events: &[Recorded]) -> RunReport {
    RunReport::new(&RunView::of(events), BTreeMap::new()).unwrap()
}

fn whole(events: &[Recorded]) -> Report {
    Report::Execute(Box::new(report(events)))
}

pub fn dry() -> DryRun {
    let mut old = item("old", 0, &[], &["unit"]);
    old.already_landed = Some("in base".into());
    let conflict = Conflict {
        with: Some(ItemName::new("api")),
        paths: vec!["src/api.rs".into(), "README.md".into()],
        messages: vec!["CONFLICT (content): Merge conflict in src/api.rs".into()],
    };
    let cone =
        |name: &str| Some(DryRunCone { commit: commit(name), tree: tree(name), gates: vec![GateName::new("unit")] });
    let clash = Reason::Conflict { at_tip: true, conflict: conflict.clone() };
    let blocked = Reason::DependencyFailed { root: ItemName::new("auth") };
    let mut users = item("users", 1, &["auth", "api"], &["unit"]);
    users.implied = names(&["api"]);
    DryRun {
        report_version: REPORT_VERSION,
        lexpr_version: "0.1.0".into(),
        plan: "plan.yaml".into(),
        arguments: Vec::new(),
        plan_digest: PlanDigest::of([b"plan".as_slice()]),
        repository: "/home/ann/shop/.git".into(),
        target: "refs/heads/main".into(),
        base: commit("base"),
        max_workers: 4,
        duration_ms: 310,
        items: vec![
            DryRunItem {
                item: item("api", 0, &[], &["unit"]),
                forecast: Forecast::Lands,
                may_be_overridden: false,
                override_reason: None,
                because: None,
                cone: cone("api"),
            },
            DryRunItem {
                item: item("auth", 0, &[], &["unit"]),
                forecast: Forecast::Conflicted,
                may_be_overridden: false,
                override_reason: None,
                because: Some(clash),
                cone: cone("auth"),
            },
            DryRunItem {
                item: old,
                forecast: Forecast::AlreadyLanded,
                may_be_overridden: false,
                override_reason: None,
                because: None,
                cone: None,
            },
            DryRunItem {
                item: users,
                forecast: Forecast::Blocked,
                may_be_overridden: false,
                override_reason: None,
                because: Some(blocked),
                cone: None,
            },
        ],
        groups: Vec::new(),
        apexes: vec![DryRunApex {
            items: names(&["api"]),
            commit: commit("apex"),
            tree: tree("apex"),
            set_aside: vec![
                SetAside { item: ItemName::new("auth"), cause: SetAsideCause::Conflict(conflict) },
                SetAside {
                    item: ItemName::new("users"),
                    cause: SetAsideCause::Dependency { on: ItemName::new("auth") },
                },
            ],
            gates: vec![GateName::new("unit")],
        }],
        images_not_here: Vec::new(),
        unfinished: None,
        outlook: None,
    }
}

#[test]
fn a_run_as_json() {
    insta::assert_snapshot!(whole(&eventful()).render(Format::Json));
}

#[test]
fn a_run_as_markdown() {
    insta::assert_snapshot!(whole(&eventful()).render(Format::Markdown));
}

#[test]
fn a_run_as_the_summary_at_its_end() {
    insta::assert_snapshot!(summary::text(&report(&eventful()), Paint::PLAIN));
    insta::assert_snapshot!("summary_smooth", summary::text(&report(&smooth()), Paint::PLAIN));
    insta::assert_snapshot!("summary_adaptive", summary::text(&report(&adaptive()), Paint::PLAIN));
    insta::assert_snapshot!("summary_halted", summary::text(&report(&halted()), Paint::PLAIN));
}

#[test]
fn a_run_as_status() {
    insta::assert_snapshot!(status::text(&report(&eventful()), Paint::PLAIN));
    insta::assert_snapshot!("status_halted", status::text(&report(&halted()), Paint::PLAIN));
}

#[test]
fn a_run_that_goes_on_as_status() {
    let events = eventful();
    let running = events.iter().position(|event| serde_json::to_string(event).unwrap().contains("blame")).unwrap();
    insta::assert_snapshot!(status::text(&report(&events[..=running]), Paint::PLAIN));
}

#[test]
fn a_dry_run_as_text_and_markdown() {
    insta::assert_snapshot!("dry_run_text", dry().text(Paint::PLAIN));
    insta::assert_snapshot!("dry_run_markdown", Report::DryRun(Box::new(dry())).render(Format::Markdown));
}

#[test]
fn hostile_names_and_logs_stay_text_in_markdown_and_on_a_terminal() {
    let events = hostile();
    let markdown = whole(&events).render(Format::Markdown);
    insta::assert_snapshot!("hostile_markdown", markdown);
    let summary = summary::text(&report(&events), Paint::PLAIN);
    insta::assert_snapshot!("hostile_summary", summary);
    let status = status::text(&report(&events), Paint::PLAIN);
    for text in [&markdown, &summary, &status] {
        assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    }
    // Every row of the table of items has its seven cells and no more.
    let row = markdown.lines().find(|line| line.starts_with("| 1 |")).unwrap();
    assert_eq!(row.matches('|').count(), 8, "{row}");
    assert!(!row.contains('<') || !row.replace("<br>", "").contains('<'), "{row}");
}

#[test]
fn a_run_as_junit() {
    insta::assert_snapshot!(whole(&eventful()).render(Format::Junit));
    insta::assert_snapshot!("dry_run_junit", Report::DryRun(Box::new(dry())).render(Format::Junit));
}

#[test]
fn a_run_as_a_trace() {
    insta::assert_snapshot!(indented(&whole(&eventful()).render(Format::Trace)));
    let of_dry_run = Report::DryRun(Box::new(dry())).render(Format::Trace);
    let of_dry_run: serde_json::Value = serde_json::from_str(&of_dry_run).unwrap();
    let events = of_dry_run["traceEvents"].as_array().unwrap();
    assert_eq!(events.len(), 1, "nothing took time: {of_dry_run}");
    assert_eq!(events[0]["args"]["name"], "lexpr, a dry run of plan.yaml: nothing ran");
}

fn indented(json: &str) -> String {
    serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(json).unwrap()).unwrap()
}

#[test]
fn slices_of_a_trace_lie_in_each_other_and_never_cross() {
    let trace: serde_json::Value = serde_json::from_str(&whole(&eventful()).render(Format::Trace)).unwrap();
    assert!(trace_slices(&trace) > 10);
}

/// How many slices a trace has; none of them may cross another.
#[track_caller]
pub fn trace_slices(trace: &serde_json::Value) -> usize {
    let slices: Vec<(u64, u64, u64)> = trace["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["ph"] == "X")
        .map(|event| {
            let number = |key: &str| event[key].as_u64().unwrap();
            (number("tid"), number("ts"), number("ts") + number("dur"))
        })
        .collect();
    for (row, from, to) in &slices {
        for (other_row, other_from, other_to) in slices.iter().filter(|other| other.0 == *row) {
            let apart = other_to <= from || other_from >= to;
            let within = (other_from >= from && other_to <= to) || (from >= other_from && to <= other_to);
            assert!(apart || within, "{row}: {from}..{to} and {other_row}: {other_from}..{other_to}");
        }
    }
    slices.len()
}

#[test]
fn a_run_and_a_dry_run_as_a_page() {
    insta::assert_snapshot!("page", whole(&eventful()).render(Format::Html));
    insta::assert_snapshot!("page_dry_run", Report::DryRun(Box::new(dry())).render(Format::Html));
}

#[test]
fn what_is_overridden_looks_like_nothing_else_in_pages_and_traces() {
    let report = whole(&overriding());
    let page = report.render(Format::Html);
    for of_it in [
        // The legend and the table's badge.
        "<p><span class=\"badge landed\">✓ landed</span> <span class=\"badge overridden\">! overridden</span></p>",
        "it&#39;s\\u{202e} bad</code></td><td><span class=\"badge overridden\">! overridden</span></td>",
        // The picture, what it says of the item and of the target.
        "<a class=\"item overridden\" href=\"#item-1\"",
        "<title>it&#39;s\\u{202e} bad: overridden: unit failed; by Ann &lt;ann@example.com&gt;: the",
        ": 2 items landed, 1 of them overridden</text>",
        // The line in the timeline.
        "<line class=\"landing overridden\"",
        "<title>1 item landed, overridden, after ",
        // What made it.
        "--execute --override $&#39;it\\&#39;s\\342\\200\\256 bad&#39; --reason &#39;the &quot;card&quot; sandbox is down&#39;</code>",
    ] {
        assert!(page.contains(of_it), "{of_it}\n{page}");
    }
    let trace = report.render(Format::Trace);
    assert!(trace.contains("\"name\":\"1 item landed, overridden\""), "{trace}");
    assert!(trace.contains("\"overridden\":\"unit failed; by Ann <ann@example.com>: the "), "{trace}");
    let without = whole(&smooth());
    let body = without.render(Format::Html).split_once("</style>").unwrap().1.to_owned();
    assert!(!body.contains("overrid") && !without.render(Format::Trace).contains("overrid"), "{body}");
}

#[test]
fn commands_in_a_sentence_are_code_in_pages_and_markdown() {
    let mut killed = report(&eventful());
    (killed.finished, killed.is_dead) = (false, true);
    killed.next = summary::next_step(&killed);
    let killed = Report::Execute(Box::new(killed));
    let (page, markdown) = (killed.render(Format::Html), killed.render(Format::Markdown));
    let next = "</strong> <code>lexpr resume 20261121-090000-ab12</code> goes on with it.</p>";
    assert!(page.contains(next), "{page}");
    assert!(markdown.contains("**Next:** `lexpr resume 20261121-090000-ab12` goes on with it.\n"), "{markdown}");
}

#[test]
fn a_page_of_a_run_that_goes_on_shows_what_is_running() {
    let events = eventful();
    let running = events.iter().position(|event| serde_json::to_string(event).unwrap().contains("blame")).unwrap();
    let page = whole(&events[..=running]).render(Format::Html);
    assert!(page.contains("class=\"badge running\"") && page.contains("class=\"job running\""), "{page}");
}

#[test]
fn a_receipt_of_thousands_of_gates_leaves_the_page_one_that_opens() {
    let mut long = report(&eventful());
    let proof = long.landings[0].proof[0].clone();
    long.landings[0].proof = vec![proof; 10_000];
    let usual = report(&eventful());
    let page = |report: RunReport| Report::Execute(Box::new(report)).render(Format::Html);
    let (usual, long) = (page(usual), page(long));
    assert!(long.contains("9500 more, in the receipt's file"), "{long}");
    assert!(long.len() < usual.len() + 500 * 300, "{} bytes", long.len());
}

#[test]
fn hostile_names_and_logs_stay_text_in_pages_and_junit() {
    let report = whole(&hostile());
    let page = report.render(Format::Html);
    let junit = report.render(Format::Junit);
    for text in [&page, &junit] {
        assert!(!text.contains("<script") && !text.contains("<img"), "{text}");
        assert!(!text.contains(|c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}'), "{text:?}");
    }
    // The page loads nothing, whatever somebody got into it.
    assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'"), "{page}");
    assert!(!page.contains("href=\"h") && !page.contains("src="), "{page}");
    quick_junit::Report::deserialize_from_str(&junit).unwrap();
}

#[test]
fn why_an_item_is_what_it_is() {
    let report = report(&eventful());
    let all: Vec<String> = report.items.iter().map(|item| why::text(&report, item, Paint::PLAIN)).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_step_summary_is_cut_to_what_is_taken_and_says_so() {
    let report = whole(&eventful());
    let full = report.render(Format::Markdown);
    assert_eq!(markdown::render_within(&report, full.len()), full);
    let brief = markdown::render_within(&report, full.len() - 1);
    assert!(brief.len() < full.len() && !brief.contains("finds_nothing") && brief.contains("## Apexes"), "{brief}");
    let cut = markdown::render_within(&report, 600);
    assert!(cut.len() <= 600 && cut.ends_with("The rest did not fit; the report file has it.*\n"), "{cut}");
}

#[test]
fn a_step_summary_is_appended_to_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("summary");
    std::fs::write(&file, "before\n").unwrap();
    whole(&smooth()).append_step_summary(&file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("before\n# 2 of 2 items landed"), "{text}");
}

#[test]
fn a_report_file_is_written_whole_through_a_named_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("report.json");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut events = eventful();
    // A report of some megabytes.
    for event in &mut events {
        if let lexpr::vocabulary::event::Event::GateFinished(run) = &mut event.event {
            run.tail = "x".repeat(1 << 20);
        }
    }
    let report = whole(&events);
    let expected = report.render(Format::Json);
    assert!(expected.len() > 4 << 20);
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::read_to_string(fifo).unwrap()
    });
    report.write(&Destination::from_path(&fifo).unwrap()).unwrap();
    assert!(reader.join().unwrap() == expected);
}

#[test]
fn reports_match_their_schema_and_survive_being_read_back() {
    let schema: serde_json::Value = serde_json::from_str(&report_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let stories = [adaptive(), eventful(), smooth(), halted(), hostile(), overriding(), eventful()[..30].to_vec()];
    let reports = stories.iter().map(|events| whole(events)).chain([Report::DryRun(Box::new(dry()))]);
    for report in reports {
        let text = report.render(Format::Json);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}

#[test]
fn events_match_their_schema() {
    let schema: serde_json::Value = serde_json::from_str(&event_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for event in [adaptive(), eventful(), smooth(), halted(), hostile(), overriding()].concat() {
        let json = serde_json::to_value(&event).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{json}: {errors:?}");
    }
}

#[test]
fn the_schemas_of_reports_and_events_have_not_drifted() {
    for (file, now) in [("report.schema.json", report_schema()), ("event.schema.json", event_schema())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(file);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let word = file.split('.').next().unwrap();
        assert!(
            kept == now,
            "schemas/{file} has drifted: run `cargo run -- schema {word} > schemas/{file}` and look at the difference"
        );
    }
}
