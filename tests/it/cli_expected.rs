//! What a dry run and a forecast say of gate runs, held against runs: the real binary and real git.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::cli_world::{NewBranch, World};

const ITEMS: usize = 6;

/// Branches that have nothing to do with each other.
fn world() -> World {
    let names: Vec<String> = (0..ITEMS).map(|at| format!("i{at}")).collect();
    let files: Vec<(String, [(&str, &str); 1])> =
        names.iter().map(|name| (name.clone(), [(name.as_str(), "1\n")])).collect();
    let branches: Vec<NewBranch<'_>> =
        files.iter().map(|(name, files)| (name.as_str(), "main", files.as_slice())).collect();
    World::new(&[("README", "read\n")], &branches)
}

/// A plan of these, with a gate that leaves a line wherever it runs.
fn plan(world: &World, policy: &str, more_gates: &str) -> String {
    let log = world.path("gates.log");
    let items: Vec<String> = (0..ITEMS).map(|at| format!("{{name: i{at}}}")).collect();
    format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 2, {policy}}}\ngates: [{{name: unit, run: 'echo unit >> {}'}}\
         {more_gates}]\nitems: [{}]\n",
        log.display(),
        items.join(", ")
    )
}

fn dry(world: &World, plan: &str) -> (Value, String) {
    let report = world.path("dry.json");
    let said = world.merge(plan, &["--report", report.to_str().unwrap()]).expect(0);
    (world.report(&report), said.stdout)
}

fn forecast(world: &World, plan: &str) -> Value {
    let plan = world.plan(plan);
    let said = world.lexpr([Path::new("forecast"), &plan, Path::new("--format"), Path::new("json")]);
    assert!(matches!(said.code, 0 | 3), "{said:?}");
    serde_json::from_str(&said.stdout).unwrap()
}

fn price<'a>(forecast: &'a Value, strategy: &str) -> &'a Value {
    let strategies = forecast["cost"]["strategies"].as_array().unwrap();
    strategies.iter().find(|price| price["strategy"] == strategy).unwrap_or_else(|| panic!("{strategy}: {forecast:#}"))
}

#[test]
fn a_dry_run_counts_the_gates_that_a_run_runs_in_which_all_pass_however_the_plan_lands() {
    for (policy, groups) in [
        ("landing: pyramid", 0),
        ("groupSize: 2", 3),
        ("groupSize: 4", 2),
        ("groupSize: 50", 1),
        ("groupSize: auto", 1),
        ("landing: batch", 0),
        ("landing: train", 0),
    ] {
        let world = world();
        let plan = plan(&world, policy, "");
        let (report, said) = dry(&world, &plan);
        assert_eq!(report["groups"].as_array().map_or(0, Vec::len), groups, "{policy}: {said}");
        world.merge(&plan, &["--execute"]).expect(0);
        let ran = fs::read_to_string(world.path("gates.log")).unwrap().lines().count();
        let line = format!("  {ran} gate{} would have to run if every one passed", if ran == 1 { "" } else { "s" });
        assert!(said.contains(&line), "{policy}: {ran} ran\n{said}");
    }
}

#[test]
fn a_dry_run_names_those_that_would_be_gated_together_and_by_what() {
    let world = world();
    let (report, said) = dry(&world, &plan(&world, "groupSize: 4", ""));
    assert!(said.contains("group 2: i3, i4, i5 as ") && !said.contains("i5; gates"), "{said}");
    assert_eq!(report["groups"][0]["items"], serde_json::json!(["i0", "i1", "i2"]));
    assert_eq!(report["groups"][0]["gates"], serde_json::json!(["unit"]));
    let markdown = world.path("dry.md");
    world.merge(&plan(&world, "groupSize: 4", ""), &["--report", markdown.to_str().unwrap()]).expect(0);
    let text = fs::read_to_string(markdown).unwrap();
    assert!(text.contains("## Group 2\n\n`i3`, `i4`, `i5` as `"), "{text}");
}

#[test]
fn an_apex_names_each_gate_once_where_limits_or_free_slots_split_its_jobs() {
    let world = world();
    let more = ", {name: e2e, run: 'true', resources: [db]}, {name: api, run: 'true', resources: [api]}";
    let policy = "spend: time, resources: {db: 1, api: {limit: 1, pacing: 1}}";
    let (report, said) = dry(&world, &plan(&world, policy, more));
    assert_eq!(report["apexes"][0]["gates"], serde_json::json!(["unit", "e2e", "api"]), "{said}");
    assert!(said.contains("  21 gates would have to run"), "{said}");
}

#[test]
fn groups_are_priced_by_the_size_that_the_plan_asks_for() {
    let world = world();
    let runs = |policy: &str| {
        let told = forecast(&world, &plan(&world, policy, ""));
        (price(&told, "pyramidGroups")["gateRuns"].as_f64().unwrap(), told["cost"]["groupSize"].clone())
    };
    let ((two, two_is), (three, three_is)) = (runs("groupSize: 2"), runs("groupSize: 3"));
    assert!((4.0..5.5).contains(&two) && (3.0..4.5).contains(&three) && three < two, "{two} {three}");
    assert_eq!((two_is, three_is), (Value::from(2), Value::from(3)));
    assert_eq!(runs("groupSize: auto").1, Value::Null);
    let file = world.plan(&plan(&world, "groupSize: 2", ""));
    let text = world.lexpr([Path::new("forecast"), &file]).expect(0).stdout;
    assert!(
        text.contains("pyramid in groups of 2, spend: gates ")
            && text.contains("batch, spend: gates ")
            && text.contains("as the plan has it"),
        "{text}"
    );
}

#[test]
fn a_forecast_expects_what_the_simulator_finds() {
    let world = world();
    for policy in ["landing: pyramid", "landing: pyramid, spend: time"] {
        let plan = plan(&world, policy, "");
        let told = forecast(&world, &plan);
        let file = world.plan(&plan);
        let args = ["simulate", file.to_str().unwrap(), "--first-run", "--gate-seconds", "1", "--runs", "150"];
        let args = args.into_iter().chain(["--format", "json"]);
        let simulated: Value = serde_json::from_str(&world.lexpr(args).expect(0).stdout).unwrap();
        for (strategy, name) in [("pyramid", "pyramid"), ("train", "train"), ("batch", "batch")] {
            let spends_time = policy.contains("time") && strategy == "batch";
            let name = if spends_time { "batch, spend: time" } else { name };
            let all = simulated["strategies"].as_array().unwrap();
            let found = all.iter().find(|found| found["name"] == name).unwrap();
            // Each of the pyramid's and the train's is as it is, however the plan spends, where nothing clashes.
            let runs = found["gateRunsPerLandedItem"].as_f64().unwrap() * found["landed"].as_f64().unwrap() / 150.0;
            for (key, found) in [("gateRuns", runs), ("makespanMs", found["makespanSeconds"].as_f64().unwrap() * 1e3)] {
                let expected = price(&told, strategy)[key].as_f64().unwrap();
                assert!((expected / found - 1.0).abs() < 0.15, "{policy}, {name}: {key} {expected}, found {found}");
            }
        }
    }
}

#[test]
fn what_is_known_from_earlier_runs_is_not_priced_again() {
    let world = world();
    let plan = plan(&world, "landing: pyramid", "");
    let before = forecast(&world, &plan);
    assert!(price(&before, "pyramid")["gateRuns"].as_f64().unwrap() > 6.9);
    world.merge(&plan, &["--execute"]).expect(0);
    let run = fs::read_dir(world.repo().join(".git/lexpr/runs")).unwrap().next().unwrap().unwrap().file_name();
    world.lexpr(["undo", run.to_str().unwrap()]).expect(0);
    let after = forecast(&world, &plan);
    assert_eq!(after["knownVerdicts"].as_u64(), Some(7), "six cones and the apex");
    for strategy in ["pyramid", "batch"] {
        assert_eq!(price(&after, strategy)["gateRuns"].as_f64(), Some(0.0), "{strategy}: {:#}", after["cost"]);
    }
    // It looks at trees that were never made.
    assert!(price(&after, "train")["gateRuns"].as_f64().unwrap() > 0.9);
}

#[test]
fn what_gates_do_not_look_at_costs_nothing_again() {
    let world = world();
    let log = world.path("gates.log");
    let plan = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 2}}\ngates: [{{name: docs, run: 'echo >> {}', inputs: [README]}}]\n\
         items: [{{name: i0}}, {{name: i1}}, {{name: i2}}]\n",
        log.display()
    );
    let told = forecast(&world, &plan);
    for strategy in ["pyramid", "batch", "train"] {
        assert_eq!(price(&told, strategy)["gateRuns"].as_f64(), Some(1.0), "{strategy}");
    }
    world.merge(&plan, &["--execute"]).expect(0);
    assert_eq!(fs::read_to_string(log).unwrap().lines().count(), 1);
}

#[test]
fn a_way_by_which_the_plan_cannot_land_is_not_priced() {
    let world = world();
    let told = forecast(&world, &plan(&world, "landing: pyramid", ", {name: own, run: 'true', at: [cone]}"));
    let told: Vec<&str> = told["cost"]["strategies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|price| price["strategy"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["pyramid", "pyramidGroups"]);
}
