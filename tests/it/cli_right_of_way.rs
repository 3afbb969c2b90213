//! Urgent runs have the right of way, and what they or people land of another run's items is known there:
//! with real processes; `engine_beside` has the same in virtual time.

use std::fs;
use std::io::{BufRead, BufReader, Read};

use lexpr::git::lock::ClaimLock;
use lexpr::ports::Claim;
use lexpr::vocabulary::names::RunId;
use rustix::process::Signal;

use crate::cli_runs::runs;
use crate::cli_urgent::{
    README, end, events, held_where, ids, kill, land_urgently, main_was_only_ever_at_what_was_gated, of, plan,
    start_normal, start_urgent, touch, world,
};
use crate::cli_world::{World, wait_for};
use crate::gate_guard::send;

/// What an urgent run of another process claims of main while it has an apex under proof.
fn hold_claim(world: &World, claim: Claim) -> ClaimLock {
    let run = RunId::new("20260101-000000-000-aaaa");
    ClaimLock::acquire(&world.repo().join(".git"), "refs/heads/main", &run, claim).unwrap()
}

/// What is said until somebody waits for that urgent run.
fn until_it_gives_way(said: &mut impl BufRead) {
    let mut line = String::new();
    while !line.starts_with("waiting for an urgent run to land on main: run 20260101-000000-000-aaaa (process ") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it waits for nobody");
    }
}

#[test]
fn a_run_holds_its_landing_back_for_an_urgent_one_says_so_once_and_lands_when_that_is_gone() {
    let world = world();
    let mut normal = start_normal(&world, &[]);
    let claim = hold_claim(&world, Claim::Proving);
    touch(&world, "go");
    let mut said = BufReader::new(normal.stderr.take().unwrap());
    until_it_gives_way(&mut said);
    let run = ids(&world)[0].clone();
    assert_eq!(world.files_on_main(), ["README.md"]);
    // All that it has to gate it has gated by now.
    assert!(of(&events(&world, &run), "landingIntended").is_empty(), "intended before it may land");
    drop(claim);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(normal.wait().unwrap().code(), Some(0), "{rest}");
    assert!(!rest.contains("waiting for"), "once is enough: {rest}");
    assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
}

#[test]
fn a_signal_ends_the_wait_for_an_urgent_run_and_the_run_is_resumed_without_a_gate() {
    let world = world();
    let mut normal = start_normal(&world, &[]);
    let claim = hold_claim(&world, Claim::Proving);
    touch(&world, "go");
    let mut said = BufReader::new(normal.stderr.take().unwrap());
    until_it_gives_way(&mut said);
    send(i32::try_from(normal.id()).unwrap(), Signal::TERM);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(normal.wait().unwrap().code(), Some(130), "{rest}");
    let run = ids(&world)[0].clone();
    let gated = fs::read_to_string(world.path("trace")).unwrap();
    assert!(of(&events(&world, &run), "landingIntended").is_empty(), "there is nothing to be finished");
    // The resumption waits as the run did.
    let mut resumed = world.start(["resume", &run]);
    until_it_gives_way(&mut BufReader::new(resumed.stderr.take().unwrap()));
    drop(claim);
    assert_eq!(resumed.wait().unwrap().code(), Some(0));
    assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
    assert_eq!(fs::read_to_string(world.path("trace")).unwrap(), gated);
}

#[test]
fn a_run_waits_for_an_urgent_one_from_when_that_has_an_apex_and_until_it_is_killed() {
    let world = world();
    let gates = world.path("gates.sh");
    // The cone of hot is held by `hot-go`; what stands on main once a has landed by `apex-go`.
    let script = |file: &str, go: &str| {
        let [started, go] = [&format!("{go}-started"), go].map(|name| world.path(name).display().to_string());
        format!("[ ! -e {file} ] || {{ touch {started}; until [ -e {go} ]; do sleep 0.02; done; }}\n")
    };
    fs::write(&gates, script("hot", "hot-go") + &script("a", "apex-go")).unwrap();
    let trace = world.path("trace").display().to_string();
    let gate = format!("git rev-parse HEAD^{{tree}} >> {trace}; sh {}", gates.display());
    let urgent = plan(&world, "urgent.yaml", &gate, &["hot"]);
    let has = |file: &str| world.path(file).exists().then_some(());
    let urgent = world.start(["merge", &urgent, "--execute", "--urgent"]);
    wait_for("the gate of hot", || has("hot-go-started"));
    // While it judges its item nobody needs to wait.
    let first = plan(&world, "first.yaml", &held_where(&world, "nothing", "no", "no"), &["a"]);
    world.lexpr(["merge", &first, "--execute"]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
    touch(&world, "hot-go");
    wait_for("the gate of the urgent apex", || has("apex-go-started"));
    let mut normal = {
        let plan = plan(&world, "normal.yaml", &held_where(&world, "nothing", "no", "no"), &["b"]);
        world.start(["merge", &plan, "--execute"])
    };
    let mut said = BufReader::new(normal.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with(&format!(
        "waiting for an urgent run to land on main: run {} (process {}) is about to land",
        ids(&world)[0],
        urgent.id()
    )) {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it waits for nobody");
    }
    kill(urgent);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(normal.wait().unwrap().code(), Some(0), "{rest}");
    assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
    touch(&world, "apex-go");
    world.lexpr(["resume"]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot"]);
    main_was_only_ever_at_what_was_gated(&world);
    let locks = fs::read_dir(world.repo().join(".git/lexpr/locks")).unwrap();
    let names: Vec<String> = locks.map(|lock| lock.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.contains("+urgent") && !name.contains("+overtaken")), "{names:?}");
}

#[test]
fn a_train_of_short_gates_does_not_keep_an_urgent_run_waiting() {
    let items: Vec<String> = (0..40).map(|at| format!("i{at:02}")).collect();
    let files: Vec<[(&str, &str); 1]> = items.iter().map(|item| [(item.as_str(), "1\n")]).collect();
    let mut branches: Vec<_> =
        items.iter().zip(&files).map(|(item, files)| (item.as_str(), "main", files.as_slice())).collect();
    let hot: &[(&str, &str)] = &[("hot", "1\n")];
    branches.push(("hot", "main", hot));
    let world = World::new(README, &branches);
    let listed: Vec<String> = items.iter().map(|item| format!("{{name: {item}}}")).collect();
    let trace = format!("git rev-parse HEAD^{{tree}} >> {}", world.path("trace").display());
    let text = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 2, landing: train}}\ngates: [{{name: g, run: '{trace}; sleep 0.05'}}]\nitems: [{}]\n",
        listed.join(", ")
    );
    let train = world.start(["merge", world.plan(&text).to_str().unwrap(), "--execute"]);
    wait_for("the train to land", || world.files_on_main().contains(&"i00".to_owned()).then_some(()));
    // Longer than several of its landings take.
    let urgent = plan(&world, "urgent.yaml", &format!("{trace}; sleep 1"), &["hot"]);
    world.lexpr(["merge", &urgent, "--execute", "--urgent"]).expect(0);
    let landed = world.files_on_main();
    assert!(landed.contains(&"hot".to_owned()) && !landed.contains(&"i39".to_owned()), "{landed:?}");
    end(train).expect(0);
    assert_eq!(world.files_on_main().len(), 42);
    let urgent = events(&world, &ids(&world)[1]);
    assert!(of(&urgent, "targetMoved").len() <= 2, "{}", of(&urgent, "targetMoved").len());
    main_was_only_ever_at_what_was_gated(&world);
}

#[test]
fn an_urgent_run_waits_for_another_one_that_was_overtaken_and_for_none_that_was_not() {
    let world = world();
    let proving = hold_claim(&world, Claim::Proving);
    land_urgently(&world, "warm", &[]).expect(0);
    drop(proving);
    let overtaken = hold_claim(&world, Claim::Overtaken);
    let mut urgent = start_urgent(&world);
    touch(&world, "hot-go");
    let mut said = BufReader::new(urgent.stderr.take().unwrap());
    until_it_gives_way(&mut said);
    drop(overtaken);
    assert_eq!(urgent.wait().unwrap().code(), Some(0));
    assert_eq!(world.files_on_main(), ["README.md", "hot", "warm"]);
}

#[test]
fn what_an_urgent_run_or_a_person_has_landed_of_a_run_is_already_landed_by_name_of_the_commit() {
    for strategy in ["merge", "squash", "rebase"] {
        for landing in ["pyramid", "batch", "train"] {
            let world = world();
            let gate = held_where(&world, "b", "started", "go");
            let items = ["a", "b", "hot", "warm"].map(|item| format!("{{name: {item}, strategy: {strategy}}}"));
            let plan_of = |items: &[String], gate: &str| {
                format!(
                    "schemaVersion: v1\npolicy: {{maxWorkers: 1, landing: {landing}}}\ngates: [{{name: g, run: '{gate}'}}]\nitems: [{}]\n",
                    items.join(", ")
                )
            };
            let report = world.path("report.json");
            let whole = world.plan(&plan_of(&items, &gate));
            let args = ["merge", whole.to_str().unwrap(), "--execute", "--report", report.to_str().unwrap()];
            let begin = world.main();
            let normal = world.start(args);
            wait_for("the gate of b", || world.path("started").exists().then_some(()));
            let hotfix = world.path("hotfix.yaml");
            fs::write(&hotfix, plan_of(&items[2..3], &held_where(&world, "nothing", "no", "no"))).unwrap();
            world.lexpr(["merge", hotfix.to_str().unwrap(), "--execute", "--urgent"]).expect(0);
            let hot = world.main();
            world.git(&["merge", "-q", "--no-ff", "-m", "by hand", "warm"]);
            let by_hand = world.main();
            touch(&world, "go");
            let said = end(normal).expect(0);
            let how = format!("{strategy}, {landing}: {}", said.stdout);
            assert!(said.stderr.contains("others had landed 2 items on main: hot, warm"), "{how} {}", said.stderr);
            let report = world.report(&report);
            let ends = report["items"].as_array().unwrap();
            let end = |item: &str| ends.iter().find(|end| end["name"] == item).unwrap().clone();
            assert_eq!(
                (&end("hot")["status"], &end("hot")["landedAs"]),
                (&"alreadyLanded".into(), &hot.into()),
                "{how}"
            );
            let warm = end("warm");
            assert_eq!(
                (&warm["status"], &warm["landedAs"]),
                (&"alreadyLanded".into(), &by_hand.clone().into()),
                "{how}"
            );
            assert_eq!((&end("a")["status"], &end("b")["status"]), (&"landed".into(), &"landed".into()), "{how}");
            assert_eq!(report["summary"]["alreadyLanded"], 2, "{how}");
            assert_eq!(world.git(&["rev-list", "--count", "--first-parent", &format!("{begin}..main")]), "4", "{how}");
            assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot", "warm"]);
            assert!(runs(&world).iter().all(|run| run["state"] == "finished"));
            world.lexpr(["verify", report["run"].as_str().unwrap()]).expect(0);
        }
    }
}
