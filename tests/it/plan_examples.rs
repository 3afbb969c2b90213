//! The plans in `plans` are valid, are ordered as their comments say, and hold the values that
//! their names promise.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lexpr::cli::order::{self, Format};
use lexpr::diagnostics::{self, Style};
use lexpr::plan::check::{Checked, check};
use lexpr::plan::{MaxWorkers, Plan};
use lexpr::vocabulary::names::MergeStrategy;

fn example(name: &str) -> Checked {
    let path = format!("plans/{name}");
    let bytes = fs::read(&path).unwrap();
    check(&path, &bytes).unwrap_or_else(|invalid| {
        panic!("{}", diagnostics::text(&invalid.source_text, &invalid.problems, Style::Plain))
    })
}

fn plan(name: &str) -> Plan {
    example(name).plan
}

fn shown(name: &str, format: Format) -> String {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = order::run(&format!("plans/{name}"), format, Style::Plain, &mut out, &mut errors).unwrap();
    assert_eq!(code, 0);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_example_is_valid_and_can_be_ordered() {
    let paths: Vec<PathBuf> = fs::read_dir("plans").unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= 12, "{paths:?}");
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let checked = example(name);
        if name != "typescript.json" {
            assert_eq!(checked.warnings, [], "{name}");
        }
        for format in [Format::Text, Format::Json, Format::Dot, Format::Mermaid] {
            assert!(!shown(name, format).is_empty());
        }
    }
}

#[test]
fn the_order_of_the_diamond_is_shown_in_every_format() {
    insta::assert_snapshot!(shown("diamond.yaml", Format::Text));
    insta::assert_snapshot!(shown("diamond.yaml", Format::Dot));
    insta::assert_snapshot!(shown("diamond.yaml", Format::Mermaid));
    insta::assert_snapshot!(shown("diamond.yaml", Format::Json));
}

#[test]
fn the_order_of_the_pyramid_of_the_earlier_tool_is_shown_as_text() {
    insta::assert_snapshot!(shown("typescript.json", Format::Text));
}

#[test]
fn the_scale_presets_hold_the_sizes_they_promise() {
    for (name, workers, batch, megabytes, ttl) in [
        ("scale-under-20.yaml", 2, 10, 512, 3600),
        ("scale-20-to-50.yaml", 4, 25, 1024, 3600),
        ("scale-50-to-100.yaml", 8, 50, 2048, 3600),
        ("scale-over-100.yaml", 16, 100, 4096, 7200),
    ] {
        let policy = plan(name).policy;
        assert_eq!(policy.max_workers, Some(MaxWorkers::Fixed(workers)), "{name}");
        assert_eq!(policy.performance.batch_size, Some(batch), "{name}");
        assert_eq!(policy.performance.max_memory_bytes, Some(megabytes * 1024 * 1024), "{name}");
        assert_eq!(policy.performance.cache_ttl, Duration::from_secs(ttl), "{name}");
    }
}

#[test]
fn strategies_pins_and_committer_arrive() {
    let plan = plan("strategies.yaml");
    let strategies: Vec<MergeStrategy> = plan.items.iter().map(|item| item.strategy).collect();
    assert_eq!(strategies, [MergeStrategy::Merge, MergeStrategy::Squash, MergeStrategy::Rebase]);
    assert_eq!(plan.items[2].pin.as_deref(), Some("3f2a9c1d0b7e4a55"));
    assert_eq!(plan.policy.committer.unwrap().email, "release@example.com");
}

#[test]
fn limits_and_claims_arrive() {
    let plan = plan("limits.yaml");
    let reviews = plan.policy.resources["reviews"];
    assert_eq!((reviews.limit, reviews.gap), (Some(3), Duration::from_secs(2)));
    let [unit, e2e, train, review] = &plan.items[0].gates[..] else { panic!("four gates") };
    assert!(unit.resources.is_empty());
    assert_eq!((e2e.resources["db"], train.resources["gpu"]), (1, 2));
    assert_eq!((review.rate_limit_exit_code, e2e.rate_limit_exit_code), (Some(75), None));
}

#[test]
fn anchors_give_items_the_same_gates() {
    let plan = plan("monorepo.yaml");
    let [limit, pages, dark] = &plan.items[..] else { panic!("three items") };
    let definitions = |item: &lexpr::plan::Item| item.gates.iter().map(|gate| gate.definition).collect::<Vec<_>>();
    assert_eq!(definitions(limit), definitions(pages));
    assert_eq!(dark.gates[1].definition, limit.gates[1].definition);
    assert!(!dark.gates[2].required);
    assert!(limit.gates[1].at.apex && !limit.gates[1].at.cone);
    assert_eq!(dark.gates[0].cwd, "packages/web");
}

#[test]
fn a_plan_of_the_earlier_tool_is_valid_as_it_is() {
    let Checked { plan, warnings, .. } = example("typescript.json");
    let warnings: Vec<_> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, [""; 0]);
    let green = plan.policy.admin_green.as_ref().unwrap();
    assert_eq!((&green.allowed_users[..], green.require_reason), (&["ann".to_owned()][..], true));
    assert_eq!(plan.policy.max_workers, Some(MaxWorkers::Fixed(4)));
    let test = &plan.items[0].gates[1];
    assert_eq!((test.retry.max_attempts, test.retry.backoff), (2, Duration::from_millis(500)));
    assert!(test.required);
    assert_eq!(test.artifacts, ["coverage/**"]);
    assert!(!plan.items[4].gates[2].required);
    // Where a plan names no branch, the item's name is the branch.
    assert_eq!(plan.items[0].branch, "api");
}
