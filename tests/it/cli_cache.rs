//! Verdicts that outlast a run, through the real binary: what runs again and what does not, and that
//! nothing lands on a verdict that is not one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::cli_world::{Said, World, statuses};

/// Each gate leaves a line in a file beside the repository when it runs.
fn plan(world: &World, policy: &str, gates: &str, items: &str) -> String {
    let ran = world.path("ran").display().to_string();
    format!(
        "schemaVersion: v1\npolicy: {{{policy}}}\ngates:\n{}\nitems:\n{items}\n",
        gates.replace("RAN", &format!("echo $LEXPR_GATE >> {ran}"))
    )
}

const UNIT: &str = "  - {name: unit, run: 'RAN; ! ls bad* 2>/dev/null && echo all fine'}";

fn items(names: &[&str]) -> String {
    names.iter().map(|name| format!("  - {{name: {name}}}\n")).collect()
}

/// What ran since this was last asked, one word a run.
fn ran(world: &World) -> Vec<String> {
    let path = world.path("ran");
    let ran = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(path);
    ran.lines().map(str::to_owned).collect()
}

/// Lands the plan from `base` again: the run's report.
#[track_caller]
fn again(world: &World, plan: &str, base: &str, code: i32) -> Value {
    world.git(&["reset", "-q", "--hard", base]);
    let report = world.path("report.json");
    world.merge(plan, &["--execute", "--report", report.to_str().unwrap()]).expect(code);
    world.report(&report)
}

fn four() -> World {
    World::new(
        &[("README.md", "# A project\n")],
        &[
            ("a", "main", &[("a", "1")]),
            ("b", "a", &[("b", "1")]),
            ("c", "main", &[("c", "1")]),
            ("d", "main", &[("d", "1")]),
        ],
    )
}

/// The files of all remembered verdicts.
fn entries(world: &World) -> Vec<PathBuf> {
    let folder = |path: PathBuf| {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let shelves = folder(world.repo().join(".git/lexpr/verdicts/1"));
    shelves.into_iter().filter(|shelf| shelf.is_dir()).flat_map(folder).collect()
}

#[test]
fn invariant_5_a_dry_run_knows_what_earlier_runs_proved_and_changes_nothing_of_it() {
    let world = four();
    let base = world.main();
    let plan = plan(&world, "", UNIT, &items(&["a", "b", "c", "d"]));
    again(&world, &plan, &base, 0);
    world.git(&["reset", "-q", "--hard", &base]);
    let remembered = || -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
        let of = |path: PathBuf| (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap(), path);
        entries(&world).into_iter().map(of).map(|(bytes, modified, path)| (path, bytes, modified)).collect()
    };
    // One of them is damaged: whoever runs the gate will see to it.
    let damaged = entries(&world).pop().unwrap();
    fs::write(&damaged, "damaged").unwrap();
    let before = remembered();
    let said = world.merge(&plan, &[]).expect(0);
    assert!(said.stdout.contains(&format!("{} verdicts known already", before.len() - 1)), "{}", said.stdout);
    assert!(remembered() == before);
}

#[test]
fn a_second_run_of_an_unchanged_plan_from_the_same_base_runs_no_gate() {
    let world = four();
    let base = world.main();
    let plan = plan(&world, "", UNIT, &items(&["a", "b", "c", "d"]));
    let first = again(&world, &plan, &base, 0);
    let landed = world.main();
    let gates = ran(&world).len();
    assert!(gates >= 4, "{gates}");
    let cache = &first["summary"]["verdictCache"];
    assert_eq!((&cache["hits"], &cache["sets"]), (&Value::from(0), &Value::from(gates)));

    let second = again(&world, &plan, &base, 0);
    assert_eq!(ran(&world), [""; 0]);
    assert_eq!(world.main(), landed, "invariant 8: the same commits");
    let summary = &second["summary"];
    assert_eq!(summary["cacheHitRate"], 1.0);
    assert_eq!(summary["verdictCache"]["hitRate"], 1.0);
    assert_eq!(summary["verdictCache"]["entries"], gates);
    assert_eq!(summary["verdictsReused"]["gates"], gates);
    assert_eq!(summary["metrics"]["lex_pr_cache_hits_total{cache=\"lasting\"}"], gates as f64);
    assert_eq!(summary["metrics"]["lex_pr_verdict_cache_sets_total"], 0.0);
    assert!(summary["metrics"]["lex_pr_verdict_cache_size_bytes"].as_f64().unwrap() > 0.0);
    // Whose the verdicts were is told, and their logs are still there.
    let gate = &second["items"][0]["gates"][0];
    assert_eq!((&gate["verdictFrom"], &gate["earlierRun"]), (&"earlierRun".into(), &first["run"]));
    assert_eq!(fs::read_to_string(gate["earlierLog"].as_str().unwrap()).unwrap(), "all fine\n");
}

#[test]
fn after_one_item_changed_only_what_it_can_reach_runs_again() {
    let world = four();
    let base = world.main();
    let plan = plan(&world, "", UNIT, &items(&["a", "b", "c", "d"]));
    again(&world, &plan, &base, 0);
    let gates = ran(&world).len();
    world.git(&["checkout", "-q", "c"]);
    world.write("c", "2");
    world.git(&["commit", "-qam", "Think again"]);
    world.git(&["checkout", "-q", "main"]);
    let report = again(&world, &plan, &base, 0);
    // Its own cone and the apex.
    assert_eq!(ran(&world), ["unit", "unit"]);
    assert_eq!(report["summary"]["verdictCache"]["misses"], 2);
    assert_eq!(report["summary"]["verdictCache"]["hits"], gates - 2);
}

#[test]
fn at_least_85_percent_of_repeated_work_is_known() {
    let names: Vec<String> = (0..20).map(|number| format!("i{number:02}")).collect();
    let files: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(name.as_str(), "1")]).collect();
    let branches: Vec<_> = names.iter().zip(&files).map(|(name, files)| (name.as_str(), "main", &files[..])).collect();
    let world = World::new(&[("README.md", "# A project\n")], &branches);
    let base = world.main();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let plan = plan(&world, "", UNIT, &items(&names));
    again(&world, &plan, &base, 0);
    let (mut hits, mut asked) = (0, 0);
    // What people do all day: the same again, then once more with a branch that was worked on.
    for (round, name) in names.iter().enumerate().take(4) {
        if round % 2 == 1 {
            world.git(&["checkout", "-q", name]);
            world.write(name, &format!("round {round}"));
            world.git(&["commit", "-qam", "Go on"]);
            world.git(&["checkout", "-q", "main"]);
        }
        let report = again(&world, &plan, &base, 0);
        let cache = &report["summary"]["verdictCache"];
        hits += cache["hits"].as_u64().unwrap();
        asked += cache["hits"].as_u64().unwrap() + cache["misses"].as_u64().unwrap();
    }
    let percent = 100 * hits / asked;
    assert!(percent >= 85, "{hits} of {asked} were known, {percent} %");
}

#[test]
fn invariant_1_a_failure_is_never_remembered_and_neither_is_what_was_not_judged() {
    let world = World::new(
        &[("README.md", "# A project\n")],
        &[("a", "main", &[("a", "1")]), ("x", "main", &[("bad-x", "1")])],
    );
    let base = world.main();
    let plan = plan(&world, "", UNIT, &items(&["a", "x"]));
    let first = again(&world, &plan, &base, 3);
    assert_eq!(statuses(&first), ["a landed", "x failed"]);
    ran(&world);
    let second = again(&world, &plan, &base, 3);
    assert_eq!(statuses(&second), ["a landed", "x failed"]);
    // Failed, failed again in a clean slot, and passed without it: all of that is seen anew.
    assert_eq!(ran(&world), ["unit"; 3]);
}

#[test]
fn a_target_that_has_turned_red_since_blames_nobody_on_a_remembered_pass() {
    let world = four();
    let base = world.main();
    let broken = world.path("broken").display().to_string();
    let plan = plan(&world, "", &format!("  - {{name: unit, run: 'RAN; ! [ -e {broken} ]'}}"), &items(&["a", "b"]));
    again(&world, &plan, &base, 0);
    // Nothing in any tree says so: the machine has changed.
    fs::write(world.path("broken"), "").unwrap();
    world.git(&["checkout", "-q", "b"]);
    world.write("b", "2");
    world.git(&["commit", "-qam", "Think again"]);
    world.git(&["checkout", "-q", "main"]);
    let report = again(&world, &plan, &base, 3);
    let statuses = statuses(&report);
    assert!(!statuses.iter().any(|status| status.contains("failed")), "{statuses:?}");
    assert_eq!(statuses[1], "b unjudged");
}

#[test]
fn what_a_landing_rests_on_can_be_verified_although_another_run_found_it() {
    let world = four();
    let base = world.main();
    let plan = plan(&world, "", UNIT, &items(&["a", "b"]));
    let first = again(&world, &plan, &base, 0);
    let second = again(&world, &plan, &base, 0);
    assert_eq!(ran(&world).len(), 2);
    let (first, second) = (first["run"].as_str().unwrap(), second["run"].as_str().unwrap());
    let receipts = world.repo().join(".git/lexpr/runs").join(second).join("receipts");
    let receipt = fs::read_dir(receipts).unwrap().next().unwrap().unwrap().path();
    let gate = world.report(&receipt)["gates"][0].clone();
    assert_eq!((&gate["name"], &gate["foundBy"]), (&"unit".into(), &first.into()));

    let said = world.lexpr(["verify", second]).expect(0);
    assert!(said.stdout.contains(&format!("passed in run {first}")), "{}", said.stdout);
    assert!(said.stdout.contains("log of unit"), "{}", said.stdout);
    world.lexpr(["clean", first]).expect(0);
    let said = world.lexpr(["verify", second]).expect(0);
    assert!(
        said.stdout.contains("its journal is not there any more, but the verdict is remembered"),
        "{}",
        said.stdout
    );
    for entry in entries(&world) {
        fs::remove_file(entry).unwrap();
    }
    let said = world.lexpr(["verify", second]).expect(3);
    assert!(said.stdout.contains("whose journal is not there any more"), "{}", said.stdout);
}

#[test]
fn a_damaged_verdict_is_no_verdict() {
    let world = four();
    let base = world.main();
    let plan = plan(&world, "", UNIT, &items(&["a"]));
    again(&world, &plan, &base, 0);
    assert_eq!(ran(&world), ["unit"]);
    let entry = entries(&world).remove(0);
    let mut bytes = fs::read(&entry).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&entry, bytes).unwrap();
    let report = again(&world, &plan, &base, 0);
    assert_eq!(ran(&world), ["unit"]);
    let cache = &report["summary"]["verdictCache"];
    assert_eq!((&cache["deletes"], &cache["sets"]), (&1.into(), &1.into()));
    again(&world, &plan, &base, 0);
    assert_eq!(ran(&world), [""; 0]);
}

#[test]
fn who_wants_no_memory_or_a_short_one_gets_it() {
    let world = four();
    let base = world.main();
    for policy in ["performance: {enableCaching: false}", "performance: {cacheTTLSeconds: 0}"] {
        let plan = plan(&world, policy, UNIT, &items(&["a"]));
        for _ in 0..2 {
            again(&world, &plan, &base, 0);
            assert_eq!(ran(&world), ["unit"], "{policy}");
        }
    }
}

#[test]
fn another_salt_or_another_answer_of_the_machine_and_nothing_is_known() {
    let world = four();
    let base = world.main();
    let machine = world.path("machine").display().to_string();
    let with = |salt: &str| {
        let policy = format!("cacheSalt: '{salt}', fingerprint: {{run: 'cat {machine}'}}");
        plan(&world, &policy, UNIT, &items(&["a"]))
    };
    let ran_with = |salt: &str, answer: &str| {
        fs::write(world.path("machine"), answer).unwrap();
        again(&world, &with(salt), &base, 0);
        ran(&world).len()
    };
    assert_eq!(ran_with("1", "rustc 1.95"), 1);
    assert_eq!(ran_with("1", "rustc 1.95"), 0);
    assert_eq!(ran_with("2", "rustc 1.95"), 1);
    assert_eq!(ran_with("1", "rustc 1.96"), 1);
    assert_eq!(ran_with("1", "rustc 1.95"), 0, "what was known then is known still");
}

#[test]
fn a_fingerprint_is_taken_once_in_a_run_where_gates_run_and_without_one_nothing_begins() {
    let world = four();
    let base = world.main();
    let asked = world.path("asked").display().to_string();
    let with = |run: &str| {
        plan(&world, &format!("fingerprint: {{run: '{run}', timeoutSeconds: 1}}"), UNIT, &items(&["a", "b", "c"]))
    };
    again(&world, &with(&format!("cat README.md; pwd | grep -c cache; echo x >> {asked}")), &base, 0);
    assert_eq!(fs::read_to_string(&asked).unwrap(), "x\n");
    for (run, why) in [
        ("echo no such compiler; exit 3", "failed with exit code 3: no such compiler"),
        ("exec sleep 1000", "took longer than 1 s"),
        ("/no/such/command", "failed with exit code 127"),
    ] {
        world.git(&["reset", "-q", "--hard", &base]);
        ran(&world);
        let said = world.merge(&with(run), &["--execute", "--afresh"]).expect(1);
        assert!(said.stderr.contains(&format!("the fingerprint `{run}` {why}")), "{}", said.stderr);
        assert_eq!((ran(&world).len(), world.main()), (0, base.clone()));
    }
    // Who wants no verdicts remembered is not asked.
    let policy = "fingerprint: {run: 'false'}, performance: {enableCaching: false}";
    again(&world, &plan(&world, policy, UNIT, &items(&["a"])), &base, 0);
}

#[test]
fn a_run_that_goes_on_after_the_machine_has_changed_keeps_its_keys_and_leaves_nothing_to_others() {
    let world = four();
    let machine = world.path("machine");
    fs::write(&machine, "rustc 1.95").unwrap();
    let policy = format!("maxWorkers: 1, fingerprint: {{run: 'cat {}'}}", machine.display());
    // Its last gate puts a file in the way of the landing.
    let mess = format!("  - {{name: mess, at: [apex], run: 'RAN; echo x > {}'}}", world.repo().join("a").display());
    let plan = plan(&world, &policy, &format!("{UNIT}\n{mess}"), &items(&["a", "c"]));
    world.merge(&plan, &["--execute"]).expect(4);
    let known = entries(&world).len();
    fs::remove_file(world.repo().join("a")).unwrap();
    fs::write(&machine, "rustc 1.96").unwrap();
    ran(&world);
    let said = world.lexpr(["resume"]).expect(0);
    assert!(said.stderr.contains("said \"rustc 1.95\" when the run began, and says \"rustc 1.96\""), "{}", said.stderr);
    assert_eq!(ran(&world), [""; 0], "invariant 6: no verdict that was journalled is found again");
    assert_eq!(entries(&world).len(), known);
}

#[test]
fn items_that_leave_a_gates_inputs_as_the_tip_has_them_share_the_tips_one_verdict() {
    let world = World::new(
        &[("README.md", "# A project\n"), ("docs/index", "fine\n")],
        &[
            ("a", "main", &[("a", "1")]),
            ("b", "a", &[("b", "1")]),
            ("c", "main", &[("c", "1")]),
            ("d", "main", &[("docs/d", "1")]),
            ("later", "main", &[("later", "1")]),
        ],
    );
    let base = world.main();
    let gates = format!("{UNIT}\n  - {{name: docs, run: 'RAN; grep -rq fine docs', inputs: ['docs/**']}}");
    let plan = |names: &[&str]| plan(&world, "", &gates, &items(names));
    let docs = || ran(&world).iter().filter(|gate| *gate == "docs").count();
    again(&world, &plan(&["a", "b", "c"]), &base, 0);
    assert_eq!(docs(), 1, "of three cones and an apex");
    again(&world, &plan(&["a", "b", "c", "d"]), &base, 0);
    assert_eq!(docs(), 1, "of what d makes of the docs, on its cone and on the apex");
    // The target has moved on elsewhere.
    let (landed, report) = (world.main(), world.path("report.json"));
    world.merge(&plan(&["later"]), &["--execute", "--report", report.to_str().unwrap()]).expect(0);
    assert_ne!(world.main(), landed);
    assert_eq!(docs(), 0, "the verdict on d's docs is the tip's by now");
}

#[test]
fn a_gate_that_fails_on_the_tips_inputs_is_run_once_more_and_blames_nobody() {
    let world = World::new(
        &[("README.md", "# A project\n"), ("docs/index", "sad\n")],
        &[("a", "main", &[("a", "1")]), ("c", "main", &[("c", "1")])],
    );
    let gates = "  - {name: docs, run: 'RAN; grep -rq fine docs', inputs: ['docs/**']}";
    let report = again(&world, &plan(&world, "", gates, &items(&["a", "c"])), &world.main(), 3);
    assert_eq!(statuses(&report), ["a unjudged", "c unjudged"]);
    assert_eq!(report["redOnTarget"], serde_json::json!(["docs"]));
    assert_eq!(ran(&world).len(), 2);
}

fn json(said: Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap()
}

#[test]
fn stats_say_what_there_is_and_what_came_of_asking_and_clear_forgets_it() {
    let world = four();
    let base = world.main();
    let empty = world.lexpr(["cache", "stats"]).expect(0);
    assert!(empty.stdout.starts_with("0 verdicts in "), "{}", empty.stdout);
    let plan = plan(&world, "performance: {cacheMaxMB: 7}", UNIT, &items(&["a", "c"]));
    again(&world, &plan, &base, 0);
    again(&world, &plan, &base, 0);
    let stats = json(world.lexpr(["cache", "stats", "--format", "json"]).expect(0));
    assert_eq!((&stats["entries"], &stats["sizeBytes"]), (&3.into(), &(3 * 4096).into()));
    let counted: Vec<&Value> = ["hits", "misses", "sets", "deletes", "evictions"].map(|what| &stats[what]).to_vec();
    assert_eq!(counted, [3, 3, 3, 0, 0]);
    assert_eq!((&stats["hitRate"], &stats["limitBytes"]), (&0.5.into(), &(7 << 20).into()));
    let text = world.lexpr(["cache", "stats"]).expect(0).stdout;
    assert!(text.contains("6 by all runs: 3 known (50 %), 3 not") && text.contains("of at most 7.0 MiB"), "{text}");

    ran(&world);
    let said = world.lexpr(["cache", "clear"]).expect(0);
    assert!(said.stdout.starts_with("3 verdicts forgotten"), "{}", said.stdout);
    assert_eq!(world.lexpr(["cache", "clear"]).expect(0).stdout, "nothing is remembered\n");
    again(&world, &plan, &base, 0);
    assert_eq!(ran(&world).len(), 3);
}

#[test]
fn explain_says_which_part_of_the_key_is_not_that_of_the_nearest_known_verdict() {
    let world = four();
    let base = world.main();
    let explain = |args: &[&str]| {
        let args = [&["cache", "explain", "--format", "json"], args].concat();
        json(world.lexpr(args).expect(0))
    };
    let first = plan(&world, "", UNIT, &items(&["a", "c"]));
    again(&world, &first, &base, 0);
    let first_run = explain(&["unit", "a"]);
    assert_eq!((&first_run["outcome"]["how"], &first_run["nearest"]), (&"ran".into(), &Value::Null));

    again(&world, &first, &base, 0);
    let second = explain(&["unit", "a"]);
    assert_eq!(second["outcome"], serde_json::json!({"how": "reused", "from": first_run["run"]}));
    assert_eq!((&second["nearest"]["key"], &second["nearest"]["differs"]), (&second["key"], &serde_json::json!([])));

    let parts = |explanation: &Value| -> Vec<String> {
        let differs = explanation["nearest"]["differs"].as_array().unwrap();
        differs.iter().map(|differs| differs["part"].as_str().unwrap().to_owned()).collect()
    };
    let gate = UNIT.replace("all fine", "still fine");
    again(&world, &plan(&world, "cacheSalt: x", &gate, &items(&["a", "c"])), &base, 0);
    assert_eq!(parts(&explain(&["unit", "a"])), ["command", "cacheSalt"]);
    let text = world.lexpr(["cache", "explain", "unit", "a"]).expect(0).stdout;
    assert!(text.contains("unit on a ran in run") && text.contains("differs  cacheSalt: none then, x here"), "{text}");

    world.git(&["checkout", "-q", "c"]);
    world.write("c", "2");
    world.git(&["commit", "-qam", "Think again"]);
    world.git(&["checkout", "-q", "main"]);
    again(&world, &first, &base, 0);
    assert_eq!(parts(&explain(&["unit", "c"])), ["tree"]);
    assert_eq!(explain(&["unit", "a"])["outcome"]["how"], "reused");

    let aged = plan(&world, "performance: {cacheTTLSeconds: 0}", UNIT, &items(&["a", "c"]));
    again(&world, &aged, &base, 0);
    let explanation = explain(&["unit", "a"]);
    assert_eq!((parts(&explanation), &explanation["nearest"]["isOutOfDate"]), (vec![], &true.into()));

    // An earlier run is explained by what was known then.
    let run = first_run["run"].as_str().unwrap();
    assert_eq!(explain(&["unit", "a", "--run", run])["outcome"]["how"], "ran");
    let said = world.lexpr(["cache", "explain", "unti", "a"]).expect(2);
    assert!(said.stderr.contains("a has no gate \"unti\"") && said.stderr.contains("unit"), "{}", said.stderr);
    world.lexpr(["cache", "explain", "unit", "x"]).expect(2);
}

#[test]
fn where_nothing_can_be_remembered_the_run_goes_on_and_says_so_once() {
    let world = four();
    let base = world.main();
    fs::create_dir_all(world.repo().join(".git/lexpr")).unwrap();
    fs::write(world.repo().join(".git/lexpr/verdicts"), "in the way").unwrap();
    let plan = plan(&world, "", UNIT, &items(&["a", "c", "d"]));
    let said: Said = world.merge(&plan, &["--execute"]).expect(0);
    assert_eq!(said.stderr.matches("not all verdicts are remembered").count(), 1, "{}", said.stderr);
    assert_ne!(world.main(), base);
}

#[test]
fn a_dry_run_leaves_what_is_remembered_as_it_was() {
    let world = four();
    let base = world.main();
    let plan = plan(&world, "", UNIT, &items(&["a"]));
    again(&world, &plan, &base, 0);
    world.git(&["reset", "-q", "--hard", &base]);
    let state = || -> Vec<_> {
        entries(&world).iter().map(|path| (path.clone(), fs::metadata(path).unwrap().mtime_nsec())).collect()
    };
    let before = state();
    world.merge(&plan, &[]).expect(0);
    assert_eq!(state(), before);
}
