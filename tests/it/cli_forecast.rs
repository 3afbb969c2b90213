//! `lexpr forecast`, and what the dry run's summary says of it: the real binary and real git.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::cli_merge::contents;
use crate::cli_world::{NewBranch, Said, World};

/// `lines` of text, some of them replaced.
fn text(lines: u32, replaced: &[(u32, &str)]) -> String {
    let line = |at: u32| replaced.iter().find(|(line, _)| *line == at).map(|(_, text)| (*text).to_owned());
    (1..=lines).map(|at| line(at).unwrap_or_else(|| format!("line {at}\n"))).collect()
}

fn forecast(world: &World, plan: &str, format: &str) -> Said {
    let plan = world.plan(plan);
    world.lexpr([Path::new("forecast"), &plan, Path::new("--format"), Path::new(format)])
}

fn json(world: &World, plan: &str) -> Value {
    let said = forecast(world, plan, "json");
    assert!(matches!(said.code, 0 | 3), "{said:?}");
    serde_json::from_str(&said.stdout).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// `hub` changes three lines, each of which another branch changes, too; `c` also removes what `d` changes, and
/// `e` stands on `d`. `f` has nothing to do with any of them.
fn hub() -> World {
    let base = text(40, &[]);
    let all = text(40, &[(10, "H\n"), (20, "H\n"), (30, "H\n")]);
    let (a, b, c) = (text(40, &[(10, "A\n")]), text(40, &[(20, "B\n")]), text(40, &[(30, "")]));
    let d = text(9, &[(5, "D\n")]);
    let gone = text(9, &[]);
    let branches: [NewBranch<'_>; 7] = [
        ("hub", "main", &[("lib.rs", &all)]),
        ("ia", "main", &[("lib.rs", &a)]),
        ("ib", "main", &[("lib.rs", &b)]),
        ("ic", "main", &[("lib.rs", &c)]),
        ("id", "main", &[("gone", &d)]),
        ("ie", "id", &[("e", "e\n")]),
        ("if", "main", &[("f", "f\n")]),
    ];
    let world = World::new(&[("lib.rs", &base), ("gone", &gone)], &branches);
    world.git(&["checkout", "-q", "ic"]);
    world.git(&["rm", "-q", "gone"]);
    world.git(&["commit", "-q", "-m", "Remove it"]);
    world.git(&["checkout", "-q", "main"]);
    world
}

const HUB: &str = "schemaVersion: v1\npolicy: {maxWorkers: 2}\ngates: [{name: unit, run: 'true'}]\nitems: \
                   [{name: hub}, {name: ia}, {name: ib}, {name: ic}, {name: id}, {name: ie, deps: [id]}, {name: if}]\n";

#[test]
fn a_forecast_says_who_clashes_with_whom_and_at_which_lines() {
    let told = json(&hub(), HUB);
    let pair = |clash: &Value| {
        let place = &clash["places"][0];
        let lines = place["hunks"].as_array().unwrap().first().map(|hunk| {
            let side = |of: &str| format!("{}+{}", hunk[of]["start"], hunk[of]["count"]);
            format!("{} {}", side("first"), side("second"))
        });
        let names = [&clash["first"], &clash["second"], &place["path"], &place["kind"]];
        let names: Vec<&str> = names.iter().map(|name| name.as_str().unwrap()).collect();
        format!("{} {}", names.join(" "), lines.unwrap_or_default()).trim_end().to_owned()
    };
    let clashes: Vec<String> = told["clashes"].as_array().unwrap().iter().map(pair).collect();
    assert_eq!(
        clashes,
        [
            "hub ia lib.rs contents 10+1 10+1",
            "hub ib lib.rs contents 20+1 20+1",
            "hub ic lib.rs contents 30+1 30+0",
            "ic id gone modify/delete",
            "ic ie gone modify/delete",
        ]
    );
    let heirs: Vec<&Value> = told["clashes"].as_array().unwrap().iter().map(|clash| &clash["inheritedFrom"]).collect();
    assert!(heirs[..4].iter().all(|origin| origin.is_null()));
    assert_eq!(names(heirs[4]), ["ic", "id"]);
    // Those of ia, ib and ic do not clash with each other, and nobody with what shares no path.
    assert_eq!((told["pairs"]["compared"].as_u64(), told["pairs"]["clashing"].as_u64()), (Some(8), Some(5)));
}

#[test]
fn hotspots_are_named_with_the_items_that_change_them_and_not_with_those_that_build_on_these() {
    let told = json(&hub(), HUB);
    let spots = told["hotspots"].as_array().unwrap();
    let told: Vec<_> = spots.iter().map(|spot| (spot["path"].as_str().unwrap(), names(&spot["items"]))).collect();
    assert_eq!(told, [("lib.rs", vec!["hub", "ia", "ib", "ic"]), ("gone", vec!["ic", "id"])]);
    assert_eq!(spots[0]["clashes"].as_u64(), Some(3));
}

#[test]
fn the_priorities_it_suggests_let_land_what_it_says() {
    let world = hub();
    let told = json(&world, HUB);
    let order = &told["order"];
    assert_eq!(names(&order["setAside"]), ["ia", "ib", "ic"]);
    let better = &order["suggestion"];
    assert_eq!((names(&better["setAside"]), better["isLeast"].as_bool()), (vec!["hub", "ic"], Some(true)));
    let mut plan = HUB.to_owned();
    for wanted in better["priorities"].as_array().unwrap() {
        let name = wanted["item"].as_str().unwrap();
        plan = plan.replace(&format!("{{name: {name}"), &format!("{{name: {name}, priority: {}", wanted["priority"]));
    }
    let again = json(&world, &plan);
    assert_eq!(names(&again["order"]["setAside"]), names(&better["setAside"]));
    assert!(again["order"]["suggestion"].is_null(), "it is the best there is: {}", again["order"]);
    let said = world.merge(&plan, &["--execute"]).expect(3);
    assert_eq!(world.files_on_main(), ["e", "f", "gone", "lib.rs"], "{said:?}");
}

#[test]
fn a_terminal_is_shown_the_matrix_and_what_follows_from_it() {
    let said = forecast(&hub(), HUB, "text").expect(3);
    let shown: Vec<&str> = said.stdout.lines().take_while(|line| !line.starts_with("Cost")).collect();
    let apex = shown.iter().find_map(|line| line.strip_prefix("  apex 1: 4 items as ")).unwrap();
    let told = said.stdout.split("\nCost").nth(1).unwrap();
    for words in
        ["pyramid ", "train ", "cheapest: fewest gate runs", "the mean of 24 simulated runs", "0 verdicts known"]
    {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    assert_eq!(
        shown.join("\n").replace(apex, "COMMIT"),
        "4 of 7 items would land on main if every gate passed: 3 conflicted

Merges: 7 cones, 1 apex
  conflicted ia: conflicts with hub in lib.rs
  conflicted ib: conflicts with hub in lib.rs
  conflicted ic: conflicts with id in gone, lib.rs
  apex 1: 4 items as COMMIT

Clashes: 5 of 8 pairs that may meet
        1 2 3 4 5 6 7
  1 hub . x x x . . .
  2 ia  x . . . . . .
  3 ib  x . . . . . .
  4 ic  x . . . x i .
  5 id  . . . x . d .
  6 ie  . . . i d . .
  7 if  . . . . . . .
  x clash, i clash of what they build on, d dependency, . none

  hub x ia: lib.rs: lines 10 against 10
  hub x ib: lib.rs: lines 20 against 20
  hub x ic: lib.rs: lines 30 against none before 30
  ic x id: gone (modify/delete)
  ic x ie: as ic x id

Hotspots: 2 paths changed by more than one item
  lib.rs: 4 items, 3 clashes: hub, ia, ib, ic
  gone: 2 items, 1 clash: ic, id

Order
  In this order 3 items would be set aside: ia, ib, ic.
  With priority -1 for hub, ic it would be 2 items: hub, ic.
"
    );
}

#[test]
fn the_summary_of_a_dry_run_has_it_in_short_and_so_do_its_reports() {
    let world = hub();
    let report = world.path("report.json");
    let said = world.merge(HUB, &["--report", report.to_str().unwrap()]).expect(3);
    for line in [
        "  5 of 8 pairs that share a path clash; 4 items change lib.rs\n",
        "  1 item more would land with other priorities: `lexpr forecast` names them\n",
        "  expected: about 8 gate runs in 5.",
    ] {
        assert!(said.stdout.contains(line), "{line} is not in\n{}", said.stdout);
    }
    let (_, basis) = said.stdout.split_once(" gate runs in 5.").unwrap();
    let basis = basis.lines().next().unwrap();
    assert!(basis.ends_with("s; durations of 1 gate, guessed"), "no gate has run yet: {}", said.stdout);
    let outlook = &world.report(&report)["outlook"];
    assert_eq!((outlook["clashingPairs"].as_u64(), outlook["hotspot"]["items"].as_u64()), (Some(5), Some(4)));
    assert!(!forecast(&world, HUB, "json").stdout.contains("\"outlook\""), "there it is the whole");
    let markdown = world.path("report.md");
    world.merge(HUB, &["--report", markdown.to_str().unwrap()]).expect(3);
    let text = std::fs::read_to_string(markdown).unwrap();
    assert!(text.contains("- 5 of 8 pairs that share a path clash; 4 items change lib.rs\n"), "{text}");
    let command = "- 1 item more would land with other priorities: `lexpr forecast` names them\n";
    assert!(text.contains(command), "{text}");
}

#[test]
fn durations_of_earlier_runs_make_the_cost_and_the_longest_chain_the_critical_path() {
    let world = World::new(
        &[("README", "read\n")],
        &[
            ("low", "main", &[("low", "1")]),
            ("high", "low", &[("high", "1")]),
            ("other", "main", &[("other", "1")]),
            ("later", "main", &[("later", "1")]),
        ],
    );
    let plan = |items: &str| {
        format!(
            "schemaVersion: v1\npolicy: {{maxWorkers: 2}}\ngates: [{{name: g, run: 'sleep 0.3'}}]\nitems: {items}\n"
        )
    };
    let rest = plan("[{name: low}, {name: high, deps: [low]}, {name: other}]");
    let before = json(&world, &rest);
    assert_eq!(before["cost"]["gatesOfUnknownDuration"].as_u64(), Some(1));
    assert_eq!(before["cost"]["criticalPath"]["ms"].as_u64(), Some(2000), "a second each is guessed");
    world.merge(&plan("[{name: later}]"), &["--execute"]).expect(0);
    let cost = &json(&world, &rest)["cost"];
    assert_eq!((cost["gates"].as_u64(), cost["gatesOfUnknownDuration"].as_u64()), (Some(1), Some(0)));
    assert_eq!(names(&cost["criticalPath"]["items"]), ["low", "high"]);
    let ms = cost["criticalPath"]["ms"].as_u64().unwrap();
    assert!((600..2000).contains(&ms), "{cost}");
    let pyramid = &cost["strategies"][0];
    // Each of three cones, of which one is gated only if another passes, and the apex; a failure is compared with
    // the base.
    let about = |key: &str, expected: f64| {
        let told = pyramid[key].as_f64().unwrap();
        assert!((told / expected - 1.0).abs() < 0.05, "{key}: {told}, and not {expected}");
    };
    assert_eq!(pyramid["strategy"].as_str(), Some("pyramid"));
    about("gateRuns", 4.0);
    about("makespanMs", ms as f64 / 2.0 * 3.0);
    assert_eq!(cost["simulatedRuns"].as_u64(), Some(24));
    assert_eq!((cost["cheapest"].as_str(), cost["spend"].as_str()), (Some("batch"), Some("gates")));
    assert_eq!(cost["failureRateIs"].as_str(), Some("remembered"), "one landed");
}

#[test]
fn invariant_5_a_forecast_leaves_every_byte_of_the_repository_as_it_was() {
    let world = hub();
    let before = contents(&world.repo());
    for format in ["text", "json", "html"] {
        forecast(&world, HUB, format).expect(3);
    }
    assert_eq!(contents(&world.repo()), before);
    let left: Vec<_> = contents(&world.path("cache")).into_keys().filter(|path| !path.ends_with('/')).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn invariant_8_two_forecasts_of_one_plan_differ_in_time_alone() {
    let world = hub();
    let (mut one, mut other) = (json(&world, HUB), json(&world, HUB));
    for told in [&mut one, &mut other] {
        told["durationMs"] = Value::Null;
    }
    assert_eq!(one, other);
}

#[test]
fn names_and_paths_of_others_are_text_on_the_page() {
    let world = World::new(&[("README", "read\n")], &[]);
    let path = "a\"><img src=x onerror=alert(1)>.txt";
    let names = ["x<script>alert(1)<", "y'\"onmouseover=\"alert(1)", "z&lt;b&gt;"];
    for name in names {
        world.git(&["checkout", "-q", "-b", name, "main"]);
        std::fs::write(world.repo().join(path), name).unwrap();
        world.git(&["add", "."]);
        world.git(&["commit", "-q", "-m", "<b>work</b>"]);
    }
    world.git(&["checkout", "-q", "main"]);
    let items: Vec<String> =
        names.iter().map(|name| format!("{{name: {}}}", serde_json::to_string(name).unwrap())).collect();
    let plan = format!("schemaVersion: v1\nitems: [{}]\n", items.join(", "));
    let page = forecast(&world, &plan, "html").expect(3).stdout;
    for markup in ["<script", "<img", "<b>", "\"alert", "\"onmouse"] {
        assert!(!page.contains(markup), "{markup} is on the page:\n{page}");
    }
    assert!(page.contains("x&lt;script&gt;alert(1)&lt;") && page.contains("z&amp;lt;b&amp;gt;"), "{page}");
    // Nothing is loaded, and nothing would be.
    assert!(page.contains("default-src 'none'") && !page.contains("http:") && !page.contains("https:"), "{page}");
    // Every clash of the matrix is a link to where it is told.
    for number in 0..3 {
        let (link, row) = (format!("href=\"#clash-{number}\""), format!("<tr id=\"clash-{number}\">"));
        assert!(page.matches(&link).count() == 2 && page.matches(&row).count() == 1, "{page}");
    }
}

#[test]
fn a_forecast_matches_its_schema_which_has_not_drifted() {
    let world = hub();
    let schema = world.lexpr(["schema", "forecast"]).expect(0).stdout;
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/forecast.schema.json");
    assert!(
        std::fs::read_to_string(kept).unwrap_or_default() == schema,
        "schemas/forecast.schema.json has drifted: run `cargo run -- schema forecast > schemas/forecast.schema.json`"
    );
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let nothing = "schemaVersion: v1\nitems: [{name: none, branch: main}]\n";
    for plan in [HUB, nothing] {
        let told = json(&world, plan);
        let errors: Vec<String> = validator.iter_errors(&told).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// Puts a git before the real one that does `first`, a piece of a shell script, and then what it is asked to.
fn git_that(world: &World, first: &str) {
    // Not one that an earlier call put there: it would start itself, for ever.
    let _ = std::fs::remove_file(world.path("bin/git"));
    let real = String::from_utf8(world.shell("command -v git").output().unwrap().stdout).unwrap();
    let script = format!("#!/bin/sh\ngit={}\n{first}\nexec \"$git\" \"$@\"\n", real.trim());
    std::fs::create_dir_all(world.path("bin")).unwrap();
    std::fs::write(world.path("bin/git"), script).unwrap();
    std::fs::set_permissions(world.path("bin/git"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn pairs_at_which_git_breaks_down_are_named_and_keep_nothing_else_from_being_told() {
    let world = hub();
    let usual = json(&world, HUB);
    // Of several questions at once it answers none: each is asked by itself.
    git_that(
        &world,
        "case \" $* \" in *' --stdin '*) in=$(cat); [ $(echo \"$in\" | wc -l) = 1 ] || exit 128; \
         echo \"$in\" | \"$git\" \"$@\"; exit;; esac",
    );
    let one_by_one = json(&world, HUB);
    assert_eq!(one_by_one["clashes"], usual["clashes"]);
    assert_eq!(one_by_one["pairs"], usual["pairs"]);
    git_that(&world, "case \" $* \" in *' --stdin '*) echo 'BUG: x.c' >&2; exit 134;; esac");
    let broken = json(&world, HUB);
    assert_eq!(broken["clashes"].as_array().unwrap().len(), 0);
    let undecided = broken["pairs"]["undecided"].as_array().unwrap();
    assert_eq!(names(&undecided[0]), ["hub", "ia"]);
    assert_eq!(undecided.len(), 5);
    for format in ["text", "html"] {
        assert!(forecast(&world, HUB, format).expect(3).stdout.contains("git breaks down on"), "{format}");
    }
}

#[test]
fn a_git_that_takes_one_question_at_a_time_gives_the_same_answers() {
    let world = hub();
    let usual = json(&world, HUB);
    git_that(
        &world,
        "case \" $* \" in *' --version '*) echo 'git version 2.40.1'; exit;; *' --stdin '*) exit 129;; esac",
    );
    let old = json(&world, HUB);
    assert_eq!((&old["clashes"], &old["pairs"]), (&usual["clashes"], &usual["pairs"]));
}

#[test]
fn a_plan_without_clashes_and_one_with_nothing_to_land_have_forecasts_too() {
    let world = hub();
    let clean = forecast(&world, "schemaVersion: v1\nitems: [{name: ia}, {name: if}]\n", "text").expect(0).stdout;
    assert!(clean.contains("Clashes: 0 of 0 pairs") && !clean.contains("Order"), "{clean}");
    for format in ["text", "json", "html"] {
        forecast(&world, "schemaVersion: v1\nitems: [{name: none, branch: main}]\n", format).expect(0);
    }
    // What does not merge by itself is in no pair, and no order helps it.
    world.git(&["checkout", "-q", "main"]);
    world.write("lib.rs", "all new\n");
    world.git(&["commit", "-q", "-a", "-m", "Write it anew"]);
    let told = json(&world, HUB);
    assert_eq!(names(&told["pairs"]["apart"]), ["hub", "ia", "ib", "ic"]);
    assert_eq!((told["clashes"].as_array().unwrap().len(), names(&told["order"]["setAside"]).len()), (0, 0));
    let plan = world.plan("schemaVersion: v1\nitems: [{name: nowhere}]\n");
    let said = world.lexpr([Path::new("forecast"), &plan]).expect(2);
    assert!(said.stderr.contains("there is no branch"), "{said:?}");
}
