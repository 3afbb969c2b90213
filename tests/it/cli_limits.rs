//! Named limits, as a person uses them: real gates, the real binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;

use serde_json::Value;

use crate::cli_world::{Said, World, statuses};

fn world() -> World {
    let branches = ["a", "b", "c"];
    let files = branches.map(|name| [(name, "1")]);
    let branches: Vec<_> = branches.iter().zip(&files).map(|(name, files)| (*name, "main", &files[..])).collect();
    World::new(&[("README.md", "# A project\n")], &branches)
}

/// Lands the plan, whose gates find the world's folder in `$WORLD`, and reads the report.
fn land(world: &World, plan: &str, code: i32) -> (Said, Value) {
    let (plan, report) = (world.plan(plan), world.path("report.json"));
    let args = ["merge", plan.to_str().unwrap(), "--execute", "--report", report.to_str().unwrap()];
    let said: Said = world.command(args).env("WORLD", world.path("")).output().unwrap().into();
    (said.expect(code), world.report(&report))
}

#[test]
fn invariant_7_gates_that_claim_one_database_never_run_together() {
    let world = world();
    // Whoever finds the lock taken fails.
    let plan = "schemaVersion: v1\npolicy: { maxWorkers: 3, resources: { db: 1 } }\n\
                gates: [{ name: e2e, resources: [db], run: 'mkdir \"$WORLD/lock\" && sleep 0.2 && rmdir \"$WORLD/lock\"' }]\n\
                items: [{ name: a }, { name: b }, { name: c }]\n";
    let (said, report) = land(&world, plan, 0);
    assert_eq!(statuses(&report), ["a landed", "b landed", "c landed"]);
    let limits = report["limits"].as_array().unwrap();
    assert_eq!(limits.len(), 1);
    assert_eq!((limits[0]["limit"]["name"].as_str(), limits[0]["why"].as_str()), (Some("db"), Some("use")));
    assert!(limits[0]["heldMs"].as_u64().unwrap() > 0);
    assert!(said.stdout.contains("the limit on db held work back"), "{}", said.stdout);
}

#[test]
fn a_gate_that_exits_with_its_rate_limit_code_is_asked_again_and_fails_nobody() {
    let world = world();
    let plan = "schemaVersion: v1\n\
                gates: [{ name: review, rateLimitExitCode: 75, at: [apex], run: 'echo >>\"$WORLD/runs\"; \
                [ $(wc -l <\"$WORLD/runs\") -ge 3 ] || exit 75' }]\n\
                policy: { landing: batch }\n\
                items: [{ name: a }, { name: b }]\n";
    let (said, report) = land(&world, plan, 0);
    assert_eq!(statuses(&report), ["a landed", "b landed"]);
    assert_eq!(fs::read_to_string(world.path("runs")).unwrap().lines().count(), 3);
    let probe = &report["apexes"][0]["probes"][0];
    let outcomes: Vec<_> =
        probe["attempts"].as_array().unwrap().iter().map(|one| one["outcome"]["how"].clone()).collect();
    assert_eq!(outcomes, ["rateLimited", "rateLimited", "passed"]);
    assert_eq!(probe["passed"], true);
    assert!(said.stderr.contains("rate limited (exit status 75); it is asked for again"), "{}", said.stderr);
    assert!(said.stdout.contains("gate review was rate limited"), "{}", said.stdout);
    assert_eq!(report["summary"]["metrics"]["lex_pr_gate_inconclusive_total{outcome=\"rate_limited\"}"], 2.0);
    assert_eq!(report["summary"]["metrics"]["lex_pr_gate_failure_total"], 0.0);
}

#[test]
fn a_dry_run_waits_for_nobodys_pace() {
    let world = world();
    let plan = "schemaVersion: v1\npolicy: { resources: { api: { limit: 1, pacing: 3600000 } } }\n\
                gates: [{ name: unit, run: 'true' }, { name: api, run: 'true', resources: [api] }]\n\
                items: [{ name: a }, { name: b }, { name: c }]\n";
    let (plan, report) = (world.plan(plan), world.path("report.json"));
    world.lexpr(["merge", plan.to_str().unwrap(), "--report", report.to_str().unwrap()]).expect(0);
    let report = world.report(&report);
    assert_eq!(report["apexes"][0]["gates"], serde_json::json!(["unit", "api"]), "{report}");
    assert_eq!(report["items"][0]["cone"]["gates"], serde_json::json!(["unit", "api"]));
}

#[test]
fn a_simulation_keeps_to_limits_and_paces() {
    let world = world();
    let makespan = |policy: &str, claims: &str| {
        let text = format!(
            "schemaVersion: v1\npolicy: {{ maxWorkers: 3, resources: {policy} }}\n\
             gates: [{{ name: e2e, run: x, resources: {claims} }}]\nitems: [{{ name: a }}, {{ name: b }}, {{ name: c }}]\n"
        );
        let plan = world.plan(&text);
        let only = ["simulate", plan.to_str().unwrap(), "--only", "pyramid", "--gate-seconds", "10", "--fail", "0"];
        let said = world.lexpr(only.into_iter().chain(["--clash", "0", "--flake", "0", "--format", "json"])).expect(0);
        let simulation: Value = serde_json::from_str(&said.stdout).unwrap();
        simulation["strategies"][0]["makespanSeconds"].as_f64().unwrap()
    };
    // Three cones at once and the apex; one after another; each a minute after the one before.
    assert_eq!(makespan("{ db: 3 }", "[db]"), 20.0);
    assert_eq!(makespan("{ db: 1 }", "[db]"), 40.0);
    assert_eq!(makespan("{ api: { pacing: 60000 } }", "{ api: 1 }"), 190.0);
}

#[test]
fn a_forecast_expects_no_run_to_be_shorter_than_its_limits_allow() {
    let world = world();
    let makespan = |policy: &str| {
        let text = format!(
            "schemaVersion: v1\npolicy: {{ maxWorkers: 3, resources: {policy} }}\n\
             gates: [{{ name: e2e, run: x, resources: [db] }}]\nitems: [{{ name: a }}, {{ name: b }}, {{ name: c }}]\n"
        );
        let plan = world.plan(&text);
        let said = world.lexpr(["forecast", plan.to_str().unwrap(), "--format", "json"]).expect(0);
        let forecast: Value = serde_json::from_str(&said.stdout).unwrap();
        let strategies = forecast["cost"]["strategies"].as_array().unwrap().clone();
        let pyramid = strategies.iter().find(|one| one["strategy"] == "pyramid").unwrap();
        ["gateRuns", "gateMs", "makespanMs"].map(|key| pyramid[key].as_f64().unwrap())
    };
    let [runs, gates_ms, free_ms] = makespan("{ db: 3 }");
    assert!(free_ms < 0.7 * gates_ms, "cones at once and the apex: {free_ms} of {gates_ms}");
    assert_eq!(makespan("{ db: 1 }"), [runs, gates_ms, gates_ms], "one by one");
    let [paced_runs, _, paced_ms] = makespan("{ db: { pacing: 60000 } }");
    assert_eq!(paced_runs, runs);
    assert!(paced_ms > (runs - 1.0) * 60_000.0 && paced_ms < (runs + 1.0) * 60_000.0, "{paced_ms} of {runs} runs");
}
