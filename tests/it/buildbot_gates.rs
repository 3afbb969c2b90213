//! Gates that a real Buildbot judges: they end as its builds do, and what goes wrong on the way is never a pass and never
//! the gate's fault.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use lexpr::gate::elsewhere::Returned;
use lexpr::gate::elsewhere::ci::Ci;
use lexpr::plan::ci_service::CiServicePolicy;
use lexpr::vocabulary::event::GateOutcome;
use tokio::sync::watch;

use crate::buildbot_world::{Buildbot, World, builder, run, run_by, run_with};
use crate::slurm_world::{free_ports, until, word};

const SUCCESS: Option<i64> = Some(0);
const RETRY: i64 = 5;
const CANCELLED: i64 = 6;

pub fn infrastructure(returned: &Returned) -> &str {
    match &returned.outcome {
        GateOutcome::Infrastructure { message } => message,
        other => panic!("{other:?}"),
    }
}

/// Has a build judge a gate that waits, and cancels it once it runs; what it runs is given back.
pub async fn cancelled_while_it_runs(world: &World, ci: &Ci) -> String {
    let (script, begun, _) = waiting(world);
    let (cancel, cancelled) = watch::channel(false);
    let (errand, gates) = (world.errand("cancelled", &script), builder("gates"));
    let running = run_with(ci, &gates, &errand, cancelled);
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => panic!("it has ended"),
        () = until("the gate runs", || begun.exists().then_some(())) => {}
    }
    cancel.send_replace(true);
    assert_eq!(running.await.0.outcome, GateOutcome::Cancelled);
    script
}

/// A script that says that it has begun and waits to be let go, and the two files.
pub fn waiting(world: &World) -> (String, std::path::PathBuf, std::path::PathBuf) {
    let (begun, go) = (world.path("begun"), world.path("go"));
    let script =
        format!("echo begun; echo >> {}; until [ -e {} ]; do sleep 0.05; done; echo done", word(&begun), word(&go));
    (script, begun, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_passes_and_fails_as_its_steps_do_and_what_it_printed_is_the_gate_s_log() {
    let Some(buildbot) = Buildbot::shared() else { return };
    let world = World::new();
    let ci = world.ci(&buildbot);
    let (came, log) = run(&ci, &world.errand("passes", "echo 'out, hush, hush'; git rev-parse HEAD")).await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    assert!(came.node.as_deref().is_some_and(|node| node.starts_with('w')), "{came:?}");
    let head = world.exchange.run(&["rev-parse", &format!("lexpr/{}/passes", world.run)]);
    let (_, printed) = log.split_once("[lexpr: step gate]\n").unwrap();
    assert_eq!(printed, format!("out, ***, ***\n{}\n", head.trim()));

    let (came, log) = run(&ci, &world.errand("fails", "echo why; exit 7")).await;
    assert_eq!(came.outcome, GateOutcome::Failed { exit_code: 1 }, "{log}");
    assert!(log.ends_with("why\n"), "{log}");

    let (came, log) = run_by(&ci, &builder("warns"), &world.errand("warns", "exit 7")).await;
    assert_eq!(came.outcome, GateOutcome::Failed { exit_code: 1 }, "{log}");
    assert!(log.ends_with("[lexpr: the build ended with warnings, which is no pass]\n"), "{log}");

    assert_eq!(world.sent().len(), 3);
    ci.clear().await.unwrap();
    assert_eq!(world.sent(), [""; 0], "branches go with the run");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_build_prints_is_in_the_log_while_it_runs() {
    let Some(buildbot) = Buildbot::shared() else { return };
    let world = World::new();
    let ci = world.ci(&buildbot);
    let (script, _, go) = waiting(&world);
    let mut errand = world.errand("live", &script);
    // What may be the beginning of a secret is held back.
    errand.log_rules.secrets.clear();
    let running = run(&ci, &errand);
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => panic!("it has ended"),
        () = until("its first line is in the log", || {
            fs::read_to_string(&errand.log).unwrap_or_default().ends_with("begun\n").then_some(())
        }) => {}
    }
    fs::write(go, "").unwrap();
    let (came, log) = running.await;
    assert_eq!(came.outcome, GateOutcome::Passed);
    assert!(log.ends_with("[lexpr: step gate]\nbegun\ndone\n"), "{log}");
    ci.clear().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_a_build_that_had_another_commit_or_none_or_is_not_known_for_ours_is_no_pass_and_no_failure() {
    let Some(buildbot) = Buildbot::shared() else { return };
    let world = World::new();
    let ci = world.ci(&buildbot);
    let bare = lexpr::plan::ci_service::CiJudge::Builder { scheduler: "bare".to_owned(), builder: "gates".to_owned() };
    for (name, judge, expected) in [
        ("unfetchable", builder("unfetchable"), "without the commit checked out"),
        ("another", builder("another commit"), "without the commit checked out"),
        ("bare", bare, "takes no property `lexpr_ticket`"),
        ("missing", builder("missing"), "it has no builder `missing`; there are "),
    ] {
        let (came, log) = run_by(&ci, &judge, &world.errand(name, "exit 0")).await;
        let message = infrastructure(&came);
        assert!(message.contains(expected), "{name}: {message}");
        assert!(log.contains(expected), "{name}: {log}");
    }
    ci.clear().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_stopped_when_its_gate_is_cancelled_and_when_its_time_is_up() {
    let Some(buildbot) = Buildbot::shared() else { return };
    let world = World::new();
    let ci = world.ci(&buildbot);
    let script = cancelled_while_it_runs(&world, &ci).await;
    assert_eq!(buildbot.builds_of(&world.run), [Some(CANCELLED)]);

    let mut errand = world.errand("late", &script);
    errand.timeout = Duration::from_millis(1500);
    let (came, _) = run(&ci, &errand).await;
    assert_eq!(came.outcome, GateOutcome::TimedOut { after_ms: 1500, signal: None });
    assert_eq!(buildbot.builds_of(&world.run), [Some(CANCELLED), Some(CANCELLED)]);
    ci.clear().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_no_worker_takes_is_given_up_with_the_reason_and_one_that_is_cancelled_meanwhile_is_gone() {
    let Some(buildbot) = Buildbot::shared() else { return };
    let world = World::new();
    let policy = CiServicePolicy { queue_limit: Duration::from_secs(1), ..world.policy(&buildbot) };
    let ci = world.ci_of(policy);
    let (came, _) = run_by(&ci, &builder("nobody"), &world.errand("waits", "exit 0")).await;
    assert!(infrastructure(&came).contains("no worker has had the build"), "{came:?}");

    let patient = world.ci(&buildbot);
    let (cancel, cancelled) = watch::channel(false);
    let (errand, nobody) = (world.errand("cancelled", "exit 0"), builder("nobody"));
    let running = run_with(&patient, &nobody, &errand, cancelled);
    let is_asked_for = || {
        let path = format!("buildsets?complete=false&reason__contains={}/cancelled", world.run);
        let sets = buildbot.api(&path)?;
        (!sets["buildsets"].as_array()?.is_empty()).then_some(())
    };
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => panic!("it has ended"),
        () = until("it is asked for", is_asked_for) => {}
    }
    cancel.send_replace(true);
    assert_eq!(running.await.0.outcome, GateOutcome::Cancelled);
    assert_eq!(buildbot.open_requests_of("nobody"), 0);
    ci.clear().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_gates_at_once_are_forty_builds() {
    let Some(buildbot) = Buildbot::shared() else { return };
    let world = World::new();
    let ci = world.ci(&buildbot);
    let errands: Vec<_> = (0..40).map(|at| world.errand(&format!("wide-{at}"), &format!("exit {}", at % 2))).collect();
    let all = join_all(errands.iter().map(|errand| run(&ci, errand))).await;
    for (at, (came, log)) in all.into_iter().enumerate() {
        let expected = if at % 2 == 0 { GateOutcome::Passed } else { GateOutcome::Failed { exit_code: 1 } };
        assert_eq!(came.outcome, expected, "{at}: {log}");
    }
    assert_eq!(buildbot.builds_of(&world.run).len(), 40);
    ci.clear().await.unwrap();
    assert_eq!(world.sent(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_a_build_whose_lexpr_is_gone_is_found_again_and_no_second_one_is_forced() {
    let Some(buildbot) = Buildbot::shared() else { return };
    let world = World::new();
    let (script, begun, go) = waiting(&world);
    let errand = world.errand("once", &script);
    {
        let forgotten = world.ci(&buildbot);
        tokio::select! {
            _ = run(&forgotten, &errand) => panic!("it has ended"),
            () = until("the gate runs", || begun.exists().then_some(())) => {}
        }
    }
    // Another lexpr, as after a kill.
    let resumed = world.ci(&buildbot);
    let is_followed = AtomicBool::new(false);
    let (_cancel, cancelled) = watch::channel(false);
    let gates = builder("gates");
    let running = resumed.run(&gates, &errand, cancelled, |_| is_followed.store(true, Ordering::Relaxed));
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => panic!("it has ended"),
        () = until("the build is found", || is_followed.load(Ordering::Relaxed).then_some(())) => {}
    }
    fs::write(go, "").unwrap();
    assert_eq!(running.await.unwrap().outcome, GateOutcome::Passed);
    // Yet another, when it has ended.
    let (came, log) = run(&world.ci(&buildbot), &errand).await;
    assert_eq!(came.outcome, GateOutcome::Passed);
    assert!(log.ends_with("begun\ndone\n"), "{log}");
    assert_eq!(fs::read_to_string(begun).unwrap().lines().count(), 1);
    assert_eq!(buildbot.builds_of(&world.run), [SUCCESS]);
    resumed.clear().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_left_that_nobody_goes_on_with_is_ended_with_it() {
    let Some(buildbot) = Buildbot::shared() else { return };
    let world = World::new();
    let (script, begun, _) = waiting(&world);
    let errand = world.errand("left", &script);
    {
        let forgotten = world.ci(&buildbot);
        tokio::select! {
            _ = run(&forgotten, &errand) => panic!("it has ended"),
            () = until("the gate runs", || begun.exists().then_some(())) => {}
        }
    }
    world.ci(&buildbot).clear().await.unwrap();
    assert_eq!(buildbot.builds_of(&world.run), [Some(CANCELLED)]);
    assert_eq!(world.sent(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_not_there_is_waited_for_and_then_told() {
    let world = World::new();
    let [port] = free_ports();
    let policy = CiServicePolicy {
        server: lexpr::plan::ci_service::CiServer::Buildbot { scheduler: "lexpr".to_owned(), builder: None },
        credentials: lexpr::plan::ci_service::Credentials::None,
        url: format!("http://127.0.0.1:{port}"),
        max_in_flight: 1,
        queue_limit: Duration::from_secs(1000),
    };
    let ci = world.ci_of(policy);
    let (cancel, cancelled) = watch::channel(false);
    let (errand, gates) = (world.errand("alone", "exit 0"), builder("gates"));
    let running = run_with(&ci, &gates, &errand, cancelled);
    tokio::pin!(running);
    let begun = Instant::now();
    tokio::select! {
        came = &mut running => panic!("{came:?}"),
        () = tokio::time::sleep(Duration::from_millis(300)) => {}
    }
    cancel.send_replace(true);
    assert_eq!(running.await.0.outcome, GateOutcome::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(60), "who cancels need not wait for it");
}

/// With a Buildbot of their own each, as others would not survive that.
mod harm {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn invariant_1_a_worker_that_is_killed_in_mid_build_makes_no_pass_and_buildbot_does_not_begin_anew_by_itself()
    {
        let Some(mut buildbot) = Buildbot::own() else { return };
        let world = World::new();
        let ci = world.ci(&buildbot);
        let (script, begun, go) = waiting(&world);
        let errand = world.errand("lost", &script);
        let running = run(&ci, &errand);
        tokio::pin!(running);
        tokio::select! {
            _ = &mut running => panic!("it has ended"),
            () = until("the gate runs", || begun.exists().then_some(())) => {}
        }
        buildbot.kill_workers();
        // What it left passes now, with nobody to hear of it.
        fs::write(go, "").unwrap();
        let (came, log) = running.await;
        assert!(infrastructure(&came).contains("it ended as retry"), "{came:?}");
        assert!(log.contains("it ended as retry"), "{log}");
        assert_eq!(buildbot.builds_of(&world.run), [Some(RETRY)]);
        until("Buildbot has no more to do for it", || (buildbot.open_requests_of("gates") == 0).then_some(())).await;
        buildbot.start_workers();
        let (came, _) = run(&ci, &world.errand("lost-2", "exit 0")).await;
        assert_eq!(came.outcome, GateOutcome::Passed);
        assert_eq!(buildbot.builds_of(&world.run), [Some(RETRY), SUCCESS]);
        ci.clear().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_master_that_is_started_anew_in_mid_gate_makes_no_pass_and_the_gate_can_be_tried_again() {
        let Some(mut buildbot) = Buildbot::own() else { return };
        for kill in [false, true] {
            let world = World::new();
            let ci = world.ci(&buildbot);
            let (script, begun, go) = waiting(&world);
            let errand = world.errand("restarted", &script);
            let running = run(&ci, &errand);
            tokio::pin!(running);
            tokio::select! {
                _ = &mut running => panic!("it has ended"),
                () = until("the gate runs", || begun.exists().then_some(())) => {}
            }
            if kill {
                buildbot.kill_master();
            } else {
                buildbot.stop_master();
            }
            buildbot.start_master();
            buildbot.wait_for_workers();
            let (came, log) = running.await;
            assert!(infrastructure(&came).contains("it ended as"), "{kill}: {came:?} {log}");
            fs::write(go, "").unwrap();
            let (came, log) = run(&ci, &world.errand("again", &script)).await;
            assert_eq!(came.outcome, GateOutcome::Passed, "{kill}: {log}");
            ci.clear().await.unwrap();
        }
    }
}
