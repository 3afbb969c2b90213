//! What documents come to: defaults, schema, sharing, output for programs, the commands.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lexpr::cli::SchemaOf;
use lexpr::cli::check as check_command;
use lexpr::cli::schema;
use lexpr::diagnostics::{self, Style};
use lexpr::plan::check::check;
use lexpr::plan::file::schema_json;
use lexpr::plan::{CachePlace, DirectoryRenames, MaxWorkers, Plan, Retry, Spend};
use lexpr::vocabulary::names::{ItemName, MergeStrategy};

fn plan(text: &str) -> Plan {
    check("plan.yaml", text.as_bytes())
        .unwrap_or_else(|invalid| {
            panic!("{}", diagnostics::text(&invalid.source_text, &invalid.problems, Style::Plain))
        })
        .plan
}

#[test]
fn the_published_schema_is_the_one_that_is_enforced() {
    let published = fs::read_to_string("schemas/plan.schema.json").unwrap_or_default();
    assert!(
        published == schema_json(),
        "schemas/plan.schema.json is not what the types say; make it again with\n    \
         cargo run -- schema plan > schemas/plan.schema.json"
    );
    assert_eq!(schema::text(SchemaOf::Plan), published);
}

#[test]
fn every_key_of_the_schema_says_what_it_is_for() {
    let schema: serde_json::Value = serde_json::from_str(&schema_json()).unwrap();
    for (name, of) in schema["$defs"].as_object().unwrap().iter().chain([(&"the plan".to_owned(), &schema)]) {
        assert!(of["description"].is_string(), "{name}");
        assert_eq!(of["additionalProperties"], false, "{name}");
    }
    for name in ["Policy", "Item", "Gate", "Performance", "Merge", "Retry", "Setup"] {
        for (key, value) in schema["$defs"][name]["properties"].as_object().unwrap() {
            assert!(value["description"].is_string(), "{name}.{key}");
        }
    }
}

#[test]
fn a_plan_that_says_little_gets_every_default() {
    let plan = plan("schemaVersion: v1\ngates: [{ name: unit, run: make }]\nitems: [{ name: a }]\n");
    assert_eq!(plan.target, "main");
    let policy = &plan.policy;
    assert_eq!((policy.max_workers, policy.spend), (None, Spend::Gates));
    assert!(policy.fail_fast && policy.second_opinion);
    assert!(policy.setup.is_none() && policy.committer.is_none() && policy.block_on.is_empty());
    assert!(policy.merge.renames);
    assert_eq!(policy.merge.directory_renames, DirectoryRenames::Conflict);
    let performance = &policy.performance;
    assert_eq!((performance.max_memory_bytes, performance.memory_threshold_percent), (None, 80));
    assert!(performance.throttle_on_memory && performance.caching);
    assert_eq!((performance.batch_size, performance.cache_ttl), (None, Duration::from_secs(3600)));
    assert_eq!(performance.cache_max_bytes, 512 << 20);
    let item = &plan.items[0];
    assert_eq!((item.branch.as_str(), &item.pin, item.priority), ("a", &None, 0));
    assert_eq!(item.strategy, MergeStrategy::Merge);
    let gate = &item.gates[0];
    assert_eq!((gate.cwd.as_str(), gate.timeout), ("", Duration::from_secs(1800)));
    assert!(gate.required && gate.at.cone && gate.at.apex && !gate.clean && !gate.context);
    assert_eq!(gate.retry, Retry { max_attempts: 1, backoff: Duration::ZERO });
}

#[test]
fn every_key_of_the_schema_that_this_build_has_arrives() {
    let plan = plan(
        r#"
schemaVersion: "1.4.2"
target: refs/heads/release
policy:
  maxWorkers: 3
  landing: pyramid
  requiredGates: [unit]
  optionalGates: [lint]
  blockOn: ["wip-*"]
  spend: time
  groupSize: 1
  failFast: false
  secondOpinion: false
  setup: { run: npm ci, inputs: [package-lock.json] }
  committer: { name: Ann, email: ann@example.com }
  retries: { unit: { maxAttempts: 4, backoffSeconds: 1.5 } }
  mergeRule: { type: strict-required }
  gateTimeoutSeconds: 90
  resources: { db: 2, api: { limit: 3, pacing: safe }, llm: { pacing: 750 }, gpu: { limit: 4 } }
  merge: { renames: false, directoryRenames: true }
  performance:
    maxMemoryMB: 256
    memoryThresholdPercent: 70
    throttleOnMemory: false
    batchSize: 7
    enableCaching: false
    cacheTTLSeconds: 0
    cacheMaxMB: 3
  cacheSalt: again
  fingerprint: { run: rustc -V, timeoutSeconds: 5 }
items:
  - name: auth
    branch: origin/feature/auth
    sha: ABCDEF0123
    strategy: squash-weave
    priority: -4
    gates:
      - name: unit
        run: cargo test
        cwd: ./crates//auth/
        env: { RUST_BACKTRACE: "1" }
        timeoutSeconds: 60
        inputs: [crates/auth/**]
        resources: [db, db]
        rateLimitExitCode: 75
        at: [apex]
        clean: true
        context: true
        artifacts: ["*.xml"]
        runtime: local
      - { name: lint, run: cargo clippy, resources: { api: 3, llm: 1 } }
"#,
    );
    assert_eq!(plan.target, "refs/heads/release");
    let policy = &plan.policy;
    assert_eq!((policy.max_workers, policy.spend), (Some(MaxWorkers::Fixed(3)), Spend::Time));
    assert!(!policy.fail_fast && !policy.second_opinion);
    assert!(policy.block_on[0].1.is_match("wip-42"));
    assert_eq!(policy.setup.as_ref().unwrap().inputs, ["package-lock.json"]);
    assert_eq!(policy.committer.as_ref().unwrap().name, "Ann");
    assert_eq!((policy.merge.renames, policy.merge.directory_renames), (false, DirectoryRenames::True));
    let performance = &policy.performance;
    assert_eq!((performance.max_memory_bytes, performance.memory_threshold_percent), (Some(256 << 20), 70));
    assert!(!performance.throttle_on_memory && !performance.caching);
    assert_eq!((performance.batch_size, performance.cache_ttl), (Some(7), Duration::ZERO));
    assert_eq!(performance.cache_max_bytes, 3 << 20);
    assert_eq!(policy.cache_salt.as_deref(), Some("again"));
    let fingerprint = policy.fingerprint.as_ref().unwrap();
    assert_eq!((fingerprint.run.as_str(), fingerprint.timeout), ("rustc -V", Duration::from_secs(5)));
    let item = &plan.items[0];
    assert_eq!((item.branch.as_str(), item.pin.as_deref()), ("origin/feature/auth", Some("abcdef0123")));
    assert_eq!((item.strategy, item.priority), (MergeStrategy::Squash, -4));
    let [unit, lint] = &item.gates[..] else { panic!("two gates") };
    assert_eq!((unit.cwd.as_str(), unit.timeout), ("crates/auth", Duration::from_secs(60)));
    assert_eq!(unit.env["RUST_BACKTRACE"], "1");
    assert_eq!(unit.inputs.as_deref().unwrap(), ["crates/auth/**"]);
    assert_eq!(unit.resources["db"], 2);
    assert_eq!(lint.resources, [("api".to_owned(), 3), ("llm".to_owned(), 1)].into());
    assert_eq!((unit.rate_limit_exit_code, lint.rate_limit_exit_code), (Some(75), None));
    let resource = |name: &str| (policy.resources[name].limit, policy.resources[name].gap.as_millis());
    let expected = [(Some(2), 0), (Some(3), 2000), (None, 750), (Some(4), 0)];
    assert_eq!(["db", "api", "llm", "gpu"].map(resource), expected);
    assert!(unit.required && unit.clean && unit.context && unit.at.apex && !unit.at.cone);
    assert_eq!(unit.retry, Retry { max_attempts: 4, backoff: Duration::from_millis(1500) });
    assert!(!lint.required && unit.own_timeout && !lint.own_timeout);
    assert_eq!(lint.timeout, Duration::from_secs(90));
}

#[test]
fn a_place_that_machines_share_is_known_to_builds_that_can_reach_it() {
    let text =
        "schemaVersion: v1\npolicy: {cache: 'file:///mnt/team'}\nitems: [{name: a, gates: [{name: g, run: x}]}]\n";
    let checked = check("plan.yaml", text.as_bytes());
    if cfg!(feature = "shared-cache") {
        assert_eq!(checked.unwrap().plan.policy.cache, Some(CachePlace::Folder("/mnt/team".to_owned())));
    } else {
        let problems = checked.unwrap_err().problems;
        assert_eq!(problems[0].message, "`cache` is not available in this build");
    }
}

#[test]
fn all_forms_of_version_one_are_read() {
    for version in ["v1", "1", "\"1\"", "1.0.0", "\"1.0.0\"", "1.27.3"] {
        plan(&format!("schemaVersion: {version}\nitems: [{{ name: a }}]\n"));
    }
    for version in ["v2", "2", "0", "\"1.0\"", "1.5", "2.0.0", "v1.0.0", "[]"] {
        let text = format!("schemaVersion: {version}\nitems: [{{ name: a }}]\n");
        assert!(check("plan.yaml", text.as_bytes()).is_err(), "{version}");
    }
}

#[test]
fn items_without_gates_of_their_own_share_those_of_the_plan() {
    let plan = plan(
        "schemaVersion: v1\ngates: [{ name: unit, run: make }]\nitems:\n  - name: a\n  - { name: b, gates: [] }\n  \
         - { name: c, gates: [{ name: unit, run: make }] }\n",
    );
    let [a, b, c] = &plan.items[..] else { panic!("three items") };
    assert!(Arc::ptr_eq(&a.gates[0], &b.gates[0]));
    assert_eq!(a.gates[0].definition, c.gates[0].definition);
}

#[test]
fn an_item_without_any_gate_is_valid() {
    assert!(plan("schemaVersion: v1\nitems: [{ name: a }]\n").items[0].gates.is_empty());
}

#[test]
fn words_that_yaml_once_took_for_booleans_and_numbers_are_names() {
    let plan =
        plan("schemaVersion: v1\nitems: [{ name: no }, { name: on }, { name: 010 }, { name: 1_0 }, { name: .nan }]\n");
    let names: Vec<&str> = plan.items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["no", "on", "010", "1_0", ".nan"]);
}

#[test]
fn the_digest_of_a_plan_is_that_of_its_bytes() {
    let text = "schemaVersion: v1\nitems: [{ name: a }]\n";
    assert_eq!(plan(text).digest, plan(text).digest);
    assert_ne!(plan(text).digest, plan(&format!("{text}# the same, with a comment\n")).digest);
}

#[test]
fn problems_found_later_can_still_be_placed() {
    let text = "schemaVersion: v1\ntarget: main\nitems:\n  - name: a\n    branch: gone\n  - name: b\n";
    let checked = check("plan.yaml", text.as_bytes()).unwrap();
    let at = |problem: lexpr::plan::problem::Problem| {
        let span = problem.at.unwrap();
        (problem.path.to_string(), span.line, span.column)
    };
    let places = &checked.places;
    assert_eq!(at(places.error_at_item(&ItemName::new("a"), "branch", "x")), ("items[0].branch".to_owned(), 5, 13));
    assert_eq!(at(places.error_at_item(&ItemName::new("b"), "branch", "x")), ("items[1].name".to_owned(), 6, 11));
    assert_eq!(at(places.error_at_key("target", "x")), ("target".to_owned(), 2, 9));
}

#[test]
fn programs_get_every_problem_as_json() {
    let mut out = Vec::new();
    let code = check_command::run("tests/it/bad_plans/several.yaml", check_command::Format::Json, &mut out).unwrap();
    assert_eq!(code, 2);
    let problems: Vec<serde_json::Value> = serde_json::from_slice(&out).unwrap();
    assert_eq!(problems.len(), 12);
    insta::assert_snapshot!(serde_json::to_string_pretty(&problems[8]).unwrap());
    for problem in &problems {
        assert!(problem["line"].as_u64().unwrap() > 0 && problem["column"].as_u64().unwrap() > 0);
        assert_eq!(problem["file"], "tests/it/bad_plans/several.yaml");
    }
}

#[test]
fn a_valid_plan_is_said_to_be_one() {
    let shown = |path: &str, format| {
        let mut out = Vec::new();
        let code = check_command::run(path, format, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    };
    let text = check_command::Format::Text(Style::Plain);
    insta::assert_snapshot!(shown("plans/diamond.yaml", text).1);
    assert_eq!(shown("plans/diamond.yaml", check_command::Format::Json), (0, "[]\n".to_owned()));
    let (code, none) = shown("plans/no-such-plan.yaml", text);
    assert_eq!(code, 2);
    insta::assert_snapshot!(none);
    let (code, folder) = shown("plans", text);
    assert_eq!(code, 2);
    insta::assert_snapshot!(folder);
}
