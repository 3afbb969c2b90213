//! Gates that GitHub's check runs judge, by an emulator of GitHub that others made (`emulate` of npm) and that keeps what it is
//! told. What it lacks, statuses and much else, is tried with recorded answers (`github_gates`).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lexpr::gate::elsewhere::Word;
use lexpr::vocabulary::event::GateOutcome;
use tokio::sync::watch;

use crate::buildbot_world::run_by;
use crate::cli_world::statuses;
use crate::emulate_world::Emulate;
use crate::github_gates::{PATIENT, checks, ci, infrastructure, lexpr, planned, world};

type Check<'a> = (&'a str, &'a str, Option<&'a str>);

#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_a_gate_ends_as_the_check_runs_of_its_commit_that_an_emulated_github_keeps() {
    let Some(emulate) = Emulate::start() else { return };
    let (world, github) = (world(), emulate.proxy());
    let ci = ci(&world, &github);
    let (passed, failed) = (Ok(GateOutcome::Passed), Ok(GateOutcome::Failed { exit_code: 1 }));
    let neither = |word: &'static str| Err(word);
    let success = |name| (name, "completed", Some("success"));
    let cases: [(&str, &[Check<'_>], Result<GateOutcome, &str>); 8] = [
        ("passes", &[success("build"), success("test")], passed.clone()),
        ("others-fail", &[success("build"), ("lint", "completed", Some("failure")), success("test")], passed.clone()),
        ("fails", &[success("build"), ("test", "completed", Some("failure"))], failed.clone()),
        ("fails-early", &[("build", "queued", None), ("test", "completed", Some("failure"))], failed.clone()),
        // The newest of a name counts.
        ("mended", &[success("build"), ("test", "completed", Some("failure")), success("test")], passed),
        ("spoilt", &[success("build"), success("test"), ("test", "completed", Some("failure"))], failed),
        ("neutral", &[success("build"), ("test", "completed", Some("neutral"))], neither("ended as neutral")),
        ("missing", &[success("build"), success("tset")], neither("expected: build, test; these exist: build, tset")),
    ];
    for (name, reported, expected) in cases {
        let errand = world.errand(name, name);
        emulate.receive(&errand.commit.to_string());
        for (check, status, conclusion) in reported {
            emulate.check(&errand.commit.to_string(), check, status, *conclusion);
        }
        let limit = if name == "missing" { Duration::from_secs(2) } else { PATIENT };
        let (came, log) = run_by(&ci, &checks(&["build", "test"], limit), &errand).await;
        match expected {
            Ok(outcome) => assert_eq!(came.outcome, outcome, "{name}: {log}"),
            Err(word) => assert!(infrastructure(&came).contains(word), "{name}: {came:?}"),
        }
    }
    // A commit that it does not know.
    let judge = checks(&["build"], Duration::from_secs(1));
    let (came, _) = run_by(&ci, &judge, &world.errand("unknown", "unknown")).await;
    assert!(infrastructure(&came).contains("HTTP 404"), "{came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_run_is_followed_from_when_it_is_queued_until_it_is_completed() {
    let Some(emulate) = Emulate::start() else { return };
    let (world, github) = (world(), emulate.proxy());
    let (ci, errand) = (ci(&world, &github), world.errand("followed", ""));
    emulate.receive(&errand.commit.to_string());
    let check = Mutex::new(Some(emulate.check(&errand.commit.to_string(), "build", "in_progress", None)));
    let begun = AtomicBool::new(false);
    // It ends when lexpr has seen it begin.
    let hear = |word| {
        assert_eq!(word, Word::Begun("octo/shop".to_owned()));
        begun.store(true, Ordering::Relaxed);
        emulate.complete(check.lock().unwrap().take().unwrap(), "success");
    };
    let came = ci.run(&checks(&["build"], PATIENT), &errand, watch::channel(false).1, hear).await.unwrap();
    assert_eq!((came.outcome, begun.load(Ordering::Relaxed)), (GateOutcome::Passed, true));
    assert_eq!(std::fs::read_to_string(&errand.log).unwrap(), "build: running\nbuild: passed\n");
}

#[test]
fn a_run_lands_what_an_emulated_github_passes_and_nothing_else() {
    let Some(emulate) = Emulate::start() else { return };
    let github = emulate.proxy();
    let (world, plan) = planned(&["good", "bad", "fine"], &github, "checks: [build], reportMinutes: 1");
    let path = world.plan(&plan).display().to_string();
    let exchange = |args: &[&str]| world.git(&[&["--git-dir=../exchange.git"], args].concat());
    // Whoever is set up there: it judges each commit that is pushed, by what is in it.
    let (is_over, judged) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let judge = || {
        while !is_over.load(Ordering::Relaxed) {
            for commit in exchange(&["for-each-ref", "--format=%(objectname)", "refs/heads/lexpr"]).lines() {
                if judged.lock().unwrap().iter().any(|known| known == commit) {
                    continue;
                }
                judged.lock().unwrap().push(commit.to_owned());
                let is_bad = exchange(&["ls-tree", "--name-only", commit]).lines().any(|path| path == "bad");
                emulate.receive(commit);
                emulate.check(commit, "build", "completed", Some(if is_bad { "failure" } else { "success" }));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let report = world.path("report.json");
    let to = report.display().to_string();
    let said = std::thread::scope(|scope| {
        scope.spawn(judge);
        let said = lexpr(&world, &["merge", &path, "--execute", "--report", &to]);
        is_over.store(true, Ordering::Relaxed);
        said
    });
    said.expect(3);
    assert_eq!(statuses(&world.report(&report)), ["bad failed", "fine landed", "good landed"]);
    assert_eq!(world.files_on_main(), ["a", "fine", "good"]);
}
