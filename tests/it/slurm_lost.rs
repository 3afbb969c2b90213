//! Jobs and steps of which nobody can say what became of them: no other is started beside them, and they keep nobody from the
//! gate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use lexpr::gate::elsewhere::Errand;
use lexpr::gate::elsewhere::slurm::Slurm;
use lexpr::plan::runtime::SlurmMode;
use lexpr::vocabulary::event::GateOutcome;

use crate::gate_guard::{has_ended, wait_for_end};
use crate::slurm_gates::{counting, infrastructure, named};
use crate::slurm_world::{NODES, POOL, World, run, until, word};

#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_while_nobody_can_say_what_became_of_a_job_no_other_is_started_for_its_gate() {
    let Some(mut world) = World::start() else { return };
    let mut settings = world.settings(SlurmMode::Batch);
    settings.patience.controller = Duration::from_millis(300);
    let (command, count) = counting(&world);
    let errand = named(world.errand("away", &command), SlurmMode::Batch);
    let slurm = Slurm::new(settings.clone());
    let running = run(&slurm, &errand);
    tokio::pin!(running);
    let begins = until("the gate runs", || (count().0 == 1).then_some(()));
    tokio::select! { _ = &mut running => panic!("it has ended"), () = begins => {} }
    world.cluster.stop_controller();
    let told = until("it is told why it waits", || {
        let log = fs::read_to_string(&errand.log).unwrap_or_default();
        log.contains("the Slurm controller does not answer").then_some(())
    });
    tokio::select! { _ = &mut running => panic!("it was given up"), () = told => {} }
    fs::write(world.cluster.path("go"), "").unwrap();
    world.cluster.restart_controller();
    let (came, log) = running.await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    assert!(log.ends_with("done\n") && log.matches("[lexpr: ").count() <= 1, "{log}");
    assert_eq!(count(), (1, 1));
    let jobs = || world.cluster.said("squeue", &["-h", "--states=all", "-o", "%i"]).lines().count();
    assert_eq!(jobs(), 1, "one job");

    // For no longer than its gate may take: then lexpr has no verdict.
    settings.patience.job = Duration::ZERO;
    let slurm = Slurm::new(settings);
    let begun = world.cluster.path("slow");
    let slow = format!("touch {}; sleep 1000", word(&begun));
    let errand = Errand { timeout: Duration::from_secs(1), ..named(world.errand("slow", &slow), SlurmMode::Batch) };
    let running = run(&slurm, &errand);
    tokio::pin!(running);
    let begins = until("the gate runs", || begun.exists().then_some(()));
    tokio::select! { _ = &mut running => panic!("it has ended"), () = begins => {} }
    world.cluster.stop_controller();
    let (came, _) = running.await;
    let message = infrastructure(&came.outcome);
    assert!(message.contains("longer than the gate's job may take"), "{message}");
    world.cluster.restart_controller();
    slurm.clear().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_no_two_jobs_of_one_gate_are_there_at_once() {
    let Some(world) = World::start() else { return };
    let (command, count) = counting(&world);
    let at = |ticket: &str, command: &str| world.errand(ticket, command);
    {
        let forgotten = world.slurm(SlurmMode::Batch);
        let first = at("left-0", &command);
        tokio::select! {
            _ = run(&forgotten, &first) => panic!("it has ended"),
            () = until("the gate runs", || (count().0 == 1).then_some(())) => {}
        }
    }
    // Whose end was never seen, and that has the next attempt asked for.
    let (slurm, second) = (world.slurm(SlurmMode::Batch), at("left-1", &command));
    let running = run(&slurm, &second);
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => panic!("it has ended"),
        () = until("the second runs", || (count().0 == 2).then_some(())) => {}
    }
    let pids = fs::read_to_string(world.cluster.path("begun")).unwrap();
    assert!(has_ended(pids.lines().next().unwrap().parse().unwrap()), "the first was ended");
    fs::write(world.cluster.path("go"), "").unwrap();
    assert_eq!(running.await.0.outcome, GateOutcome::Passed);

    // Submitted twice, as by a client that outlived its lexpr.
    let twice = "script=$0.script; cat >$script; sbatch \"$@\" <$script >/dev/null; exec sbatch \"$@\" <$script";
    let settings = world.settings_with(SlurmMode::Batch, "sbatch", twice);
    let (alone, two) = (world.cluster.path("alone"), world.cluster.path("two"));
    let command = format!("exec 9>>{}; flock -n 9 || touch {}; sleep 1", word(&alone), word(&two));
    let (came, log) = run(&Slurm::new(settings), &at("twice-0", &command)).await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    assert!(!two.exists(), "both ran at once");
    slurm.clear().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_asked_for_and_never_started_keeps_nobody_from_the_gate() {
    let Some(world) = World::start() else { return };
    let killed = world.cluster.path("killed");
    let killer = world.cluster.path("killer");
    fs::write(&killer, format!("#!/bin/sh\ntouch {}; kill -KILL $PPID\n", word(&killed))).unwrap();
    fs::set_permissions(&killer, fs::Permissions::from_mode(0o755)).unwrap();
    // What srun starts between the two.
    let script = format!("exec srun --prolog={} \"$@\"", word(&killer));
    let errand = named(world.errand("asked", "true"), POOL);
    {
        let forgotten = Slurm::new(world.settings_with(POOL, "srun", &script));
        tokio::select! {
            _ = run(&forgotten, &errand) => panic!("it has ended"),
            () = until("srun is killed", || killed.exists().then_some(())) => {}
        }
    }
    let slurm = world.slurm(POOL);
    let (came, log) = run(&slurm, &errand).await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    slurm.clear().await.unwrap();
    assert_eq!(world.cluster.jobs(), [""; 0]);
}

/// A pool of one node, so that there is no other to go to.
const ALONE: SlurmMode = SlurmMode::Pool { nodes: 1 };

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_step_leaves_a_pool_its_last_node_and_a_lost_allocation_is_asked_for_anew() {
    let Some(world) = World::start() else { return };
    let slurm = world.slurm(ALONE);
    let (command, count) = counting(&world);
    let scancel = |what: &str| {
        let job = world.cluster.said("squeue", &["-h", "-t", "running", "-o", "%i"]);
        world.cluster.said("scancel", &[&format!("{}{what}", job.trim())]);
    };
    let errand = world.errand("lost-0", &command);
    let running = run(&slurm, &errand);
    tokio::pin!(running);
    let begins = until("the gate runs", || (count().0 == 1).then_some(()));
    tokio::select! { _ = &mut running => panic!("it has ended"), () = begins => {} }
    scancel(".0");
    infrastructure(&running.await.0.outcome);

    let errand = world.errand("lost-1", &command);
    let running = run(&slurm, &errand);
    tokio::pin!(running);
    let begins = until("it runs again", || (count().0 == 2).then_some(()));
    tokio::select! { came = &mut running => panic!("it has ended: {came:?}"), () = begins => {} }
    scancel("");
    let begins = until("it runs in another allocation", || (count().0 == 3).then_some(()));
    tokio::select! { came = &mut running => panic!("it has ended: {came:?}"), () = begins => {} }
    fs::write(world.cluster.path("go"), "").unwrap();
    let (came, log) = running.await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    assert!(log.contains("is gone"), "it says why it ran anew: {log}");
    slurm.clear().await.unwrap();
    assert_eq!(world.cluster.jobs(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_daemons_are_gone_keeps_nobody_from_the_gate_and_ends_by_itself() {
    let Some(mut world) = World::start() else { return };
    let mut settings = world.settings(ALONE);
    settings.patience.silence = Duration::from_secs(5);
    settings.grace = Duration::from_millis(500);
    let slurm = Slurm::new(settings);
    let (command, count) = counting(&world);
    let errand = world.errand("left-0", &command);
    let running = run(&slurm, &errand);
    tokio::pin!(running);
    let begins = until("the gate runs", || (count().0 == 1).then_some(()));
    tokio::select! { _ = &mut running => panic!("it has ended"), () = begins => {} }
    let pids = fs::read_to_string(world.cluster.path("begun")).unwrap();
    let pid = pids.trim().parse().unwrap();
    let listed = world.cluster.said("squeue", &["-h", "-t", "running", "-o", "%N"]);
    let node = NODES.into_iter().find(|node| *node == listed.trim()).unwrap();
    world.cluster.lose_daemons(node, pid);
    let message = running.await.0.outcome;
    assert!(infrastructure(&message).contains("nothing was heard of the gate for 5 s"), "{message:?}");
    wait_for_end(pid);

    fs::write(world.cluster.path("go"), "").unwrap();
    let (came, log) = run(&slurm, &world.errand("left-1", &command)).await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    assert!(log.contains("are ended first") && log.contains("given back for another"), "it says why it waited: {log}");
    assert_eq!(count(), (2, 1), "what nobody heard did not come to its end");
    slurm.clear().await.unwrap();
    assert_eq!(world.cluster.jobs(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_go_to_the_only_node_that_there_is_though_a_gate_could_not_be_run_there() {
    let Some(world) = World::start() else { return };
    world.cluster.said("scontrol", &["create", "PartitionName=one", "Nodes=w1"]);
    let mut settings = world.settings(SlurmMode::Batch);
    settings.needs.partition = Some("one".to_owned());
    let slurm = Slurm::new(settings);
    let broken = Errand { setup: Some("exit 4".to_owned()), ..world.errand("broken-0", "true") };
    infrastructure(&run(&slurm, &broken).await.0.outcome);
    let (came, log) = run(&slurm, &world.errand("fine-0", "true")).await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    slurm.clear().await.unwrap();
}
