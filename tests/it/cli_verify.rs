//! `lexpr verify`, end to end: a receipt is believed for what can be made and found again alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lexpr::engine::verifying::{self, Earlier, Finding, Records};
use lexpr::vocabulary::event::Recorded;
use lexpr::vocabulary::names::{RunId, VerdictKey};
use serde_json::{Value, json};

use crate::cli_world::{Said, World};
use crate::sim::Store;

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

/// All three strategies, a merge that git has to make, and a stack on a squashed item.
const PLAN: &str = "schemaVersion: v1\npolicy: {maxWorkers: 2, performance: {batchSize: 2}, committer: {name: Bot, email: bot@example.org}}\n\
    gates: [{name: unit, run: 'echo $LEXPR_TREE; test -e README.md'}, {name: lint, run: 'true', inputs: [README.md]}]\n\
    items: [{name: a, strategy: squash}, {name: b, deps: [a]}, {name: c, strategy: rebase}, {name: d}]\n";

fn world() -> World {
    World::new(
        README,
        &[
            ("a", "main", &[("a", "1"), ("list", "1\n2\n3\n4\n5\n6\n7\n8\n9\n")]),
            ("b", "a", &[("b", "2"), ("list", "one\n2\n3\n4\n5\n6\n7\n8\n9\n")]),
            ("c", "a", &[("list", "1\n2\n3\n4\n5\n6\n7\n8\nnine\n")]),
            ("d", "main", &[("d", "4")]),
        ],
    )
}

/// A world in which the plan has landed, with the receipts' files in order.
fn landed() -> (World, String, Vec<PathBuf>) {
    let world = world();
    world.merge(PLAN, &["--execute"]).expect(0);
    let runs = world.repo().join(".git/lexpr/runs");
    let run = fs::read_dir(&runs).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let receipts = runs.join(&run).join("receipts");
    let mut files: Vec<PathBuf> = fs::read_dir(receipts).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2);
    (world, run, files)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The receipt with one change, beside the repository.
fn forged(world: &World, receipt: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut value: Value = serde_json::from_slice(&fs::read(receipt).unwrap()).unwrap();
    change(&mut value);
    let path = world.path("forged.json");
    fs::write(&path, value.to_string()).unwrap();
    path
}

/// `what finding` of every check of the only receipt.
fn findings(said: &Said) -> Vec<String> {
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    value["receipts"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|receipt| receipt["checks"].as_array().unwrap())
        .map(|check| format!("{} {}", check["what"].as_str().unwrap(), check["finding"].as_str().unwrap()))
        .collect()
}

fn check(world: &World, receipt: &Path) -> Said {
    world.lexpr(["verify", text(receipt), "--format", "json"])
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

/// Every file of the repository, with its content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn invariant_5_a_true_receipt_is_verified_and_nothing_is_written() {
    let (world, run, files) = landed();
    let before = contents(&world.repo());
    let said = check(&world, &files[1]).expect(0);
    assert_eq!(
        findings(&said),
        [
            "commit ok",
            "tree ok",
            "target ok",
            "journal ok",
            "gate unit ok",
            "gate lint ok",
            "log of unit ok",
            "log of lint ok",
        ]
    );
    let said = world.lexpr(["verify", &run[..run.len() - 2]]).expect(0);
    says(&said.stdout, &["1.json", "2.json", "2 items on main", "2 receipts verified: everything is as claimed"]);
    assert_eq!(contents(&world.repo()), before);
    assert_eq!(
        fs::read_dir(world.path("cache/lexpr"))
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("dry-run") })
            .count(),
        0
    );
}

#[test]
fn what_a_composite_was_made_of_is_enough_to_make_it_again_and_the_journal_to_believe_its_verdicts() {
    let (world, run, files) = landed();
    let receipt = world.path("kept.json");
    fs::copy(&files[1], &receipt).unwrap();
    world.git(&["branch", "-q", "-D", "a", "b", "c", "d"]);
    // Squashed and rebased items are not in main's history: somebody else's copy of them is.
    for head in heads(&receipt) {
        world.git(&["update-ref", &format!("refs/kept/{head}"), &head]);
    }
    fs::remove_dir_all(world.repo().join(".git/lexpr/runs").join(run)).unwrap();
    // But nobody here can tell that its gates passed.
    let said = check(&world, &receipt).expect(3);
    assert_eq!(
        findings(&said),
        ["commit ok", "tree ok", "target ok", "journal gone", "log of unit unchecked", "log of lint unchecked"]
    );
    says(&world.lexpr(["verify", text(&receipt)]).expect(3).stdout, &["NOT VERIFIED", "there is no evidence here"]);
}

fn heads(receipt: &Path) -> Vec<String> {
    let value: Value = serde_json::from_slice(&fs::read(receipt).unwrap()).unwrap();
    value["items"].as_array().unwrap().iter().map(|item| item["head"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn heads_that_landed_by_content_are_part_of_a_receipt() {
    let world = world();
    // A forge squashed `a` by itself; `b` stands on it.
    world.git(&["merge", "-q", "--squash", "a"]);
    world.git(&["commit", "-q", "-m", "Something else"]);
    let plan = "schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: a}, {name: b, deps: [a], strategy: squash}]\n";
    world.merge(plan, &["--execute"]).expect(0);
    let runs = world.repo().join(".git/lexpr/runs");
    let run = fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
    let receipt = run.join("receipts/1.json");
    let a = world.git(&["rev-parse", "a"]);
    let value: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    assert_eq!(value["items"][0]["merged"], json!([a]), "{value:#}");
    check(&world, &receipt).expect(0);
    let said = check(&world, &forged(&world, &receipt, |value| value["items"][0]["merged"] = json!([]))).expect(3);
    says(&findings(&said).join("\n"), &["commit differs", "items[0].merged[0] differs"]);
}

#[test]
fn a_claim_that_does_not_hold_is_named_and_ends_with_3() {
    let (world, _, files) = landed();
    let other = world.git(&["rev-parse", "main~1"]);
    let other_tree = world.git(&["rev-parse", "main~1^{tree}"]);
    type Forgery<'a> = (&'a str, Box<dyn Fn(&mut Value) + 'a>, &'a [&'a str]);
    let forgeries: Vec<Forgery> = vec![
        ("commit", Box::new(|it| it["composite"] = json!(other)), &["commit differs", "composite differs"]),
        ("tree", Box::new(|it| it["tree"] = json!(other_tree)), &["tree differs", "gate unit differs"]),
        ("from", Box::new(|it| it["from"] = it["composite"].clone()), &["from differs"]),
        (
            "base",
            Box::new(|it| it["base"] = json!(world.git(&["rev-list", "--max-parents=0", "main"]))),
            &["commit differs", "from differs"],
        ),
        (
            "head",
            Box::new(|it| it["items"][0]["head"] = it["items"][1]["head"].clone()),
            &["commit differs", "items[0].head differs"],
        ),
        (
            "item",
            Box::new(|it| drop(it["items"].as_array_mut().unwrap().pop())),
            &["commit differs", "items[1] differs"],
        ),
        (
            "strategy",
            Box::new(|it| it["items"][0]["strategy"] = json!("merge")),
            &["commit differs", "items[0].strategy differs"],
        ),
        (
            "committer",
            Box::new(|it| it["committer"]["name"] = json!("Eve")),
            &["commit differs", "committer.name differs"],
        ),
        ("gate left out", Box::new(|it| drop(it["gates"].as_array_mut().unwrap().pop())), &["gates[1] differs"]),
        (
            "gate made up",
            Box::new(|it| it["gates"][0]["key"] = json!("0".repeat(32))),
            &["gate unit differs", "gates[0].key differs"],
        ),
        ("log digest", Box::new(|it| it["gates"][0]["logDigest"] = json!("0".repeat(32))), &["log of unit differs"]),
    ];
    for (name, change, expected) in forgeries {
        let said = check(&world, &forged(&world, &files[1], change));
        assert_eq!(said.code, 3, "{name}: {}{}", said.stdout, said.stderr);
        let found = findings(&said).join("\n");
        for check in expected {
            assert!(found.contains(check), "{name}: {check:?} is not in\n{found}");
        }
    }
    let forged = forged(&world, &files[1], |it| it["tree"] = json!(other_tree));
    says(&world.lexpr(["verify", text(&forged)]).expect(3).stdout, &["differs", "NOT VERIFIED", "the receipt says"]);
}

/// The places of all single values in it.
fn leaves(place: String, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(format!("{place}/{key}"), value, found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| leaves(format!("{place}/{at}"), value, found));
        }
        _ => found.push(place),
    }
}

#[test]
fn no_value_of_a_receipt_can_be_changed_or_left_out_and_none_added() {
    let (world, run, files) = landed();
    let whole: Value = serde_json::from_slice(&fs::read(&files[1]).unwrap()).unwrap();
    let mut places = Vec::new();
    leaves(String::new(), &whole, &mut places);
    assert!(places.len() > 30, "{places:?}");
    for place in places {
        let change = |it: &mut Value| {
            let value = it.pointer_mut(&place).unwrap();
            *value = match &*value {
                Value::Bool(is) => json!(!*is),
                Value::Number(number) => json!(number.as_u64().unwrap() + 1),
                Value::Null => json!("0".repeat(32)),
                Value::String(text) if text == "true" => json!("false"),
                Value::String(text) if text == "conflict" => json!("true"),
                Value::String(text) if text == "merge" => json!("squash"),
                Value::String(text) if text == "squash" || text == "rebase" => json!("merge"),
                // The next digit, or a letter more.
                Value::String(text) => match text.strip_suffix(|last: char| last.is_ascii_digit()) {
                    Some(rest) => json!(format!("{rest}{}", (text.as_bytes()[text.len() - 1] - b'0' + 1) % 10)),
                    None => match text.strip_suffix(|last: char| ('a'..='f').contains(&last)) {
                        Some(rest) => json!(format!("{rest}0")),
                        None => json!(format!("{text}0")),
                    },
                },
                Value::Array(_) | Value::Object(_) => unreachable!("those are no leaves"),
            };
        };
        let said = check(&world, &forged(&world, &files[1], change));
        let is_seen = said.code == 3 || said.code == 2 && place == "/format";
        assert!(is_seen, "{place} ends with {}:\n{}{}", said.code, said.stdout, said.stderr);
    }
    let without = |it: &mut Value| drop(it["gates"][0].as_object_mut().unwrap().remove("name"));
    says(
        &findings(&check(&world, &forged(&world, &files[1], without)).expect(3)).join("\n"),
        &["gates[0].name differs"],
    );
    let with = |it: &mut Value| it["gates"][0]["reviewedBy"] = json!("Eve");
    says(&check(&world, &forged(&world, &files[1], with)).expect(2).stderr, &["unknown field `reviewedBy`"]);
    let with = |it: &mut Value| it["merge"]["reviewedBy"] = json!("Eve");
    says(
        &findings(&check(&world, &forged(&world, &files[1], with)).expect(3)).join("\n"),
        &["merge.reviewedBy differs"],
    );
    // Nor can a receipt be put into another run's folder.
    let other = forged(&world, &files[1], |it| it["run"] = json!("20200101-000000-000-0000"));
    fs::copy(other, &files[1]).unwrap();
    says(&findings(&world.lexpr(["verify", &run, "--format", "json"]).expect(3)).join("\n"), &["run differs"]);
}

#[test]
fn a_log_that_was_changed_differs_and_one_that_is_gone_cannot_be_checked() {
    let (world, run, files) = landed();
    let value: Value = serde_json::from_slice(&fs::read(&files[1]).unwrap()).unwrap();
    let log = value["gates"][0]["log"].as_str().unwrap();
    fs::write(log, "it passed, believe me\n").unwrap();
    says(&findings(&check(&world, &files[1]).expect(3)).join("\n"), &["log of unit differs", "gate unit ok"]);
    fs::remove_file(log).unwrap();
    says(&findings(&check(&world, &files[1]).expect(0)).join("\n"), &["log of unit unchecked"]);
    // A receipt that is gone is told of, too.
    fs::remove_file(&files[0]).unwrap();
    let said = world.lexpr(["verify", &run, "--format", "json"]).expect(3);
    says(&findings(&said).join("\n"), &["receipt gone", "commit ok"]);
}

#[test]
fn a_verdict_that_the_journal_has_on_another_tree_is_no_proof() {
    let (world, _, files) = landed();
    // The first landing's verdict of a gate without inputs, in the second one's receipt.
    let first: Value = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
    let gate = first["gates"].as_array().unwrap().iter().find(|gate| gate["name"] == "unit").unwrap().clone();
    let said = check(&world, &forged(&world, &files[1], |it| it["gates"][0] = gate)).expect(3);
    says(&said.stdout, &["it passed on another tree"]);
}

#[test]
fn a_composite_whose_commits_are_gone_cannot_be_verified() {
    let (world, _, files) = landed();
    let receipt = world.path("kept.json");
    fs::copy(&files[1], &receipt).unwrap();
    let empty = World::new(README, &[]);
    let said = empty.lexpr(["verify", text(&receipt)]).expect(3);
    says(&said.stdout, &["gone", "head of d", "base", "is not in this repository any more", "NOT VERIFIED"]);
}

#[test]
fn what_was_undone_is_verified_and_said_not_to_be_in_the_target() {
    let (world, run, _) = landed();
    world.lexpr(["undo", &run]).expect(0);
    let said = world.lexpr(["verify", &run]).expect(0);
    says(&said.stdout, &["note", "main does not hold the commit now", "everything is as claimed"]);
}

#[test]
fn a_run_without_landings_and_an_unknown_one() {
    let world = world();
    says(&world.lexpr(["verify", "2026"]).expect(2).stderr, &["no run"]);
    world.merge("schemaVersion: v1\ngates: [{name: g, run: 'false'}]\nitems: [{name: d}]\n", &["--execute"]).expect(3);
    says(&world.lexpr(["verify", "2"]).expect(0).stdout, &["nothing to verify"]);
}

#[test]
fn what_is_no_receipt_of_lexprs_is_refused_with_the_reason() {
    let (world, _, files) = landed();
    let file = world.path("bad.json");
    let path = text(&file).to_owned();
    let refused = |content: &[u8], why: &str| {
        fs::write(&file, content).unwrap();
        let said = world.lexpr(["verify", &path]);
        assert_eq!(said.code, 2, "{why}: {}{}", said.stdout, said.stderr);
        says(&said.stderr, &[why, &path]);
        assert!(!said.stderr.contains("panicked"));
    };
    refused(b"", "no JSON");
    refused(b"\xff\xfe\x00", "no JSON");
    refused(&b"[".repeat(100_000), "no JSON");
    refused(b"[]", "no number `format`");
    refused(b"{\"format\": \"1\"}", "no number `format`");
    refused(b"{\"format\": 99999999999999999999999}", "no number `format`");
    refused(b"{\"format\": 2}", "its format is 2");
    refused(b"{\"format\": 1}", "missing field");
    let whole: Value = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
    let with = |pointer: &str, value: Value| {
        let mut changed = whole.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed.to_string().into_bytes()
    };
    refused(&with("/run", json!("../../../etc")), "run holds");
    refused(&with("/target", json!("--upload-pack=evil")), "target holds");
    refused(&with("/target", json!("refs/heads/../../HEAD")), "target holds");
    refused(&with("/apex", json!(-1)), "invalid value");
    refused(&with("/apex", json!(u64::MAX)), "invalid value");
    refused(&with("/atMs", json!(1e300)), "invalid type");
    refused(&with("/base", json!("--all")), "is not an object id");
    refused(&with("/items/0/head", json!("HEAD")), "is not an object id");
    refused(&with("/items/0/branch", json!("x\nparent 0000")), "items[0].branch holds");
    refused(&with("/items/0/name", json!("x".repeat(10_000))), "items[0].name holds");
    refused(&with("/committer/name", json!("Eve <eve@example.org> 0 +0000\n\n")), "committer.name holds");
    refused(&with("/gates/0/log", json!("/etc/../etc/passwd")), "gates[0].log holds");
    refused(&with("/items", json!({})), "invalid type");
    fs::remove_file(&file).unwrap();
    says(&world.lexpr(["verify", &path]).expect(2).stderr, &["No such file"]);
    says(&world.lexpr(["verify", text(&world.path("home"))]).expect(2).stderr, &["it is no file"]);
}

#[test]
fn a_receipt_makes_nobody_read_a_file_outside_of_its_run() {
    let (world, run, files) = landed();
    let secret = world.path("secret");
    fs::write(&secret, "secret\n").unwrap();
    let is_unchecked = |log: &str| {
        let log = json!(log);
        let said = check(&world, &forged(&world, &files[1], |it| it["gates"][0]["log"] = log));
        says(&findings(&said).join("\n"), &["log of unit unchecked"]);
    };
    is_unchecked(text(&secret));
    is_unchecked("/dev/zero");
    // Nor by way of a link in the run's folder, nor a folder of it.
    let inside = world.repo().join(".git/lexpr/runs").join(&run);
    std::os::unix::fs::symlink(&secret, inside.join("link")).unwrap();
    is_unchecked(&format!("/elsewhere/lexpr/runs/{run}/link"));
    is_unchecked(&format!("/elsewhere/lexpr/runs/{run}/logs"));
}

#[test]
fn a_damaged_journal_is_no_evidence_for_or_against() {
    let (world, run, files) = landed();
    let journal = world.repo().join(".git/lexpr/runs").join(&run).join("journal.jsonl");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[100] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let said = check(&world, &files[1]).expect(3);
    says(&findings(&said).join("\n"), &["commit ok", "journal gone", "log of unit ok"]);
    world.lexpr(["verify", &run]).expect(3);
    fs::remove_dir_all(files[0].parent().unwrap()).unwrap();
    says(&world.lexpr(["verify", &run]).expect(1).stderr, &["damaged"]);
}

#[test]
fn a_plan_that_is_not_the_runs_is_no_evidence_either() {
    let (world, run, files) = landed();
    let plan = world.repo().join(".git/lexpr/runs").join(run).join("plan.yaml");
    fs::write(&plan, PLAN.replace("name: Bot", "name: Eve")).unwrap();
    let said = check(&world, &files[1]).expect(3);
    says(&said.stdout, &["no verdict can be checked", "it is not the one that the run began with"]);
}

#[test]
fn a_copy_of_a_repository_is_verified_by_what_lies_in_the_copy() {
    let (world, run, _) = landed();
    let copy = world.path("copy");
    for (path, content) in contents(&world.repo()) {
        let path = copy.join(path.strip_prefix(world.repo()).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let said = world.lexpr(["verify", &run, "--repo", text(&copy), "--format", "json"]).expect(0);
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    let checks = value["receipts"][0]["checks"].as_array().unwrap();
    let log = checks.iter().find(|check| check["what"] == "log of unit").unwrap();
    assert!(log["message"].as_str().unwrap().starts_with(text(&copy.canonicalize().unwrap())), "{log}");
}

#[test]
fn a_pass_that_an_earlier_run_found_is_looked_up_there() {
    let remembered = Some(Arc::new(Store::default()));
    let sim = crate::sim::World::of("a").with(|sim| sim.remembered.clone_from(&remembered));
    let (first, second) = (sim.run(), sim.run());
    let receipt = verifying::read(second.hands.receipts()[0].to_string().as_bytes()).unwrap();
    assert_eq!(receipt.receipt.gates[0].name, None);
    let told = |earlier: Option<&[Recorded]>, is_remembered: bool| {
        let records = Records::of(&second.setup, &second.events).unwrap();
        let checks = records.check(&receipt, &Told(earlier.map(<[Recorded]>::to_vec), is_remembered));
        let of_gate = checks.iter().find(|check| check.what.starts_with("gate")).unwrap();
        (of_gate.finding, of_gate.message.clone())
    };
    let gate = |earlier| told(earlier, false);
    let (finding, message) = gate(Some(&first.events));
    assert_eq!(finding, Finding::Ok, "{message}");
    let (finding, message) = gate(Some(&first.events[..1]));
    assert_eq!(finding, Finding::Differs, "{message}");
    let (finding, message) = gate(None);
    assert_eq!(finding, Finding::Gone, "{message}");
    let (finding, message) = told(None, true);
    assert_eq!(finding, Finding::Ok, "{message}");
    assert!(message.contains("its journal is not there any more"), "{message}");
    let (finding, message) = told(Some(&first.events[..1]), true);
    assert_eq!(finding, Finding::Differs, "a journal that says otherwise is believed: {message}");
}

/// What is known of any earlier run: its events, and whether its passes are remembered.
struct Told(Option<Vec<Recorded>>, bool);

impl Earlier for Told {
    fn events(&self, _: &RunId) -> Option<Vec<Recorded>> {
        self.0.clone()
    }

    fn remembers(&self, _: VerdictKey, _: &RunId) -> bool {
        self.1
    }
}
