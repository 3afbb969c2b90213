//! Gates on a real cluster: in a pool and as jobs of their own, they end as they would here, and what goes wrong on the way
//! is never a pass and never the gate's fault.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use lexpr::gate::elsewhere::Errand;
use lexpr::gate::elsewhere::slurm::Slurm;
use lexpr::plan::runtime::SlurmMode;
use lexpr::vocabulary::event::GateOutcome;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::gate_guard::{has_ended, number_in, wait_for_end};
use crate::land_world::file;
use crate::slurm_world::{BOTH, POOL, ROOM, RUN, World, run, run_with, until, word};

pub fn infrastructure(outcome: &GateOutcome) -> &str {
    let GateOutcome::Infrastructure { message } = outcome else { panic!("{outcome:?}") };
    message
}

pub fn named(errand: Errand, mode: SlurmMode) -> Errand {
    let ticket = format!("{}-{}", errand.ticket, if mode == POOL { "pool" } else { "batch" });
    let log = errand.log.with_file_name(format!("{ticket}.log"));
    Errand { ticket, log, ..errand }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_judges_the_very_tree_and_every_outcome_is_told_as_it_was() {
    let Some(world) = World::start() else { return };
    let commit = world.commit(&[file("run.sh", "exit 3\n")]);
    let tree = world.repo.tree_of(commit);
    for mode in BOTH {
        let slurm = world.slurm(mode);
        let at = |ticket: &str, command: &str| named(world.errand_at(commit, ticket, command), mode);
        let look = "git rev-parse HEAD 'HEAD^{tree}'; git status --porcelain; ls; cat sub/b.txt; echo err >&2";
        let (passed, log) = run(&slurm, &at("look", look)).await;
        assert_eq!(passed.outcome, GateOutcome::Passed, "{mode:?}: {log}");
        assert_eq!(log, format!("{commit}\n{tree}\na.txt\nrun.sh\nsub\nb\nerr\n"), "{mode:?}");
        assert!(["w1", "w2"].contains(&passed.node.as_deref().unwrap()));

        let failed = |exit_code| GateOutcome::Failed { exit_code };
        let limit = Duration::from_millis(700);
        let timed_out = GateOutcome::TimedOut { after_ms: 700, signal: None };
        let setup =
            "echo ready > target-of-setup; mkdir target; echo kept > target/it; echo changed > a.txt; echo set up";
        for (expected, printed, errand) in [
            (failed(7), "no\n", at("seven", "echo no; exit 7")),
            (GateOutcome::Signaled { signal: 11 }, "", at("crash", "kill -SEGV $$")),
            (
                failed(127),
                "sh: 1: no-such-command: not found\n",
                at("missing", "no-such-command 2>&1 | sed s,.*sh,sh,; exit 127"),
            ),
            (failed(3), "", at("script", "sh run.sh")),
            (GateOutcome::Passed, "b.txt\n", Errand { cwd: "sub".to_owned(), ..at("cwd", "ls") }),
            (
                failed(126),
                "lexpr: the gate's cwd `sub/../..` is not a folder of this tree\n",
                Errand { cwd: "sub/../..".to_owned(), ..at("outside", "ls") },
            ),
            (timed_out.clone(), "", Errand { timeout: limit, ..at("slow", "sleep 1000") }),
            (
                GateOutcome::TimedOut { after_ms: 700, signal: Some(9) },
                "",
                Errand { timeout: limit, ..at("stubborn", "trap '' TERM; sleep 1000 & sleep 1000") },
            ),
            (
                timed_out,
                "tidied\n",
                Errand { timeout: limit, ..at("tidy", "trap 'sleep 0.3; echo tidied; exit' TERM; sleep 1000 & wait") },
            ),
            (
                GateOutcome::Passed,
                "set up\na\na.txt\nrun.sh\nsub\ntarget\nkept\n",
                Errand { setup: Some(setup.to_owned()), ..at("setup", "cat a.txt; ls; cat target/it") },
            ),
            (GateOutcome::Passed, "", at("daemon", "sleep 1000 & exit 0")),
        ] {
            let (came, log) = run(&slurm, &errand).await;
            assert_eq!((came.outcome, log.as_str()), (expected, printed), "{mode:?} {}", errand.ticket);
        }
        let broken = Errand { setup: Some("echo broken; exit 4".to_owned()), ..at("broken", "true") };
        let (came, log) = run(&slurm, &broken).await;
        assert!(infrastructure(&came.outcome).contains("the setup `echo broken; exit 4` failed with exit code 4"));
        assert_eq!(log, "broken\n");

        assert_eq!(world.leftovers(), [""; 0], "nothing stays on a node but its cache");
        let refs = world.exchange.run(&["for-each-ref", "--format=%(refname)"]);
        assert!(refs.contains(&commit.to_string()), "{refs}");
        slurm.clear().await.unwrap();
        assert_eq!(world.cluster.jobs(), [""; 0]);
        assert_eq!(world.exchange.run(&["for-each-ref"]), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_gets_its_own_variables_and_none_of_the_callers_but_those_that_are_passed() {
    let Some(world) = World::start() else { return };
    for mode in BOTH {
        let own = [("LEXPR_GATE", "unit"), ("TEXT", "it's \"$HOME\"\n`two` lines"), ("own", "x")];
        let env: BTreeMap<String, String> = own.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let errand = named(world.errand("env", "env -0 | tr '\\n\\0' '|\\n'; readlink /proc/self/fd/0"), mode);
        let slurm = world.slurm(mode);
        let (came, log) = run(&slurm, &Errand { env: env.clone(), ..errand.clone() }).await;
        assert_eq!(came.outcome, GateOutcome::Passed);
        let has = |line: &str| log.lines().any(|found| found == line);
        assert!(has("LEXPR_GATE=unit") && has("TEXT=it's \"$HOME\"|`two` lines") && has("own=x"), "{log}");
        assert!(has("/dev/null"), "a closed stdin: {log}");
        for absent in ["CALLERS", "TOKEN", "ERRAND_", "SSH_", "CARGO"] {
            assert!(!log.contains(absent), "{absent} in {log}");
        }
        let passing = Errand {
            ticket: format!("{}-passing", errand.ticket),
            env,
            pass_env: vec!["TOKEN".to_owned(), "ABSENT".to_owned()],
            command: format!(
                "printf %s \"$TOKEN\"; cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' > {}",
                word(&world.cluster.path("seen"))
            ),
            ..errand
        };
        let (_cancel, cancelled) = watch::channel(false);
        let came = run_with(&slurm, &passing, cancelled).await;
        if mode == POOL {
            assert_eq!(came.unwrap().1, "it's a\nsecret");
            let seen = fs::read(world.cluster.path("seen")).unwrap();
            let seen = String::from_utf8_lossy(&seen);
            assert!(seen.contains("srun") && !seen.contains("a\nsecret"), "on no command line");
        } else {
            let error = came.unwrap_err();
            assert!(error.hint.unwrap().contains("pool"), "Slurm would write it into a file: refused");
        }
        slurm.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_100_mb_is_bounded_with_both_of_its_ends() {
    let Some(world) = World::start() else { return };
    for mode in BOTH {
        let print = "echo first; yes 'a line of thirty-two characters' | head -c 100000000; echo; echo last";
        let mut errand = named(world.errand("long", print), mode);
        errand.log_rules.max_bytes = 4 * 1024 * 1024;
        let slurm = world.slurm(mode);
        let (came, log) = run(&slurm, &errand).await;
        assert_eq!(came.outcome, GateOutcome::Passed, "{mode:?}");
        assert!(log.starts_with("first\n") && log.ends_with("\nlast\n"), "{mode:?}");
        assert!(log.contains("left out"), "{mode:?}");
        let expected = 4 * 1024 * 1024 - 500..4 * 1024 * 1024 + 500;
        assert!(expected.contains(&log.len()), "{mode:?}: {}", log.len());
        if mode == SlurmMode::Batch {
            let sent = format!("refs/lexpr/{RUN}/{}-result:log", errand.ticket);
            let bytes: usize = world.exchange.run(&["cat-file", "-s", &sent]).parse().unwrap();
            assert!(expected.contains(&bytes), "no node keeps or sends more: {bytes}");
        }
        slurm.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gate_prints_is_seen_while_it_runs_and_stands_in_the_log_once() {
    let Some(world) = World::start() else { return };
    for mode in BOTH {
        let slurm = world.slurm(mode);
        let go = world.cluster.path(if mode == POOL { "go-pool" } else { "go-batch" });
        let command = format!("echo early; until [ -e {} ]; do sleep 0.1; done; echo late", word(&go));
        let errand = named(world.errand("seen", &command), mode);
        let look = async {
            let log = || fs::read_to_string(&errand.log).unwrap_or_default();
            until("what it printed is there", || (log() == "early\n").then_some(())).await;
            fs::write(&go, "").unwrap();
        };
        let ((came, log), ()) = tokio::join!(run(&slurm, &errand), look);
        assert_eq!((came.outcome, log.as_str()), (GateOutcome::Passed, "early\nlate\n"), "{mode:?}");

        // Of one that sends nothing back, what was heard is all there is.
        let errand = named(world.errand("cut", "echo early; sleep 1000"), mode);
        let (cancel, cancelled) = watch::channel(false);
        let stop = async {
            let log = || fs::read_to_string(&errand.log).unwrap_or_default();
            until("what it printed is there", || (log() == "early\n").then_some(())).await;
            cancel.send_replace(true);
        };
        let (came, ()) = tokio::join!(run_with(&slurm, &errand, cancelled), stop);
        let (came, log) = came.unwrap();
        assert_eq!(came.outcome, GateOutcome::Cancelled, "{mode:?}");
        // A shell may say that it was ended.
        assert!(log.starts_with("early\n"), "{mode:?}: {log}");
        slurm.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_gate_is_ended_where_it_runs_with_all_it_started() {
    let Some(world) = World::start() else { return };
    for mode in BOTH {
        let slurm = world.slurm(mode);
        let pid = world.cluster.path(if mode == POOL { "pid-pool" } else { "pid-batch" });
        let command = format!("echo here; sh -c 'trap : TERM; echo $$ > {}; sleep 1000; sleep 1000'", word(&pid));
        let errand = named(world.errand("cancel", &command), mode);
        let (cancel, cancelled) = watch::channel(false);
        let stop = async {
            until("the gate runs", || pid.exists().then_some(())).await;
            cancel.send_replace(true);
        };
        let (came, ()) = tokio::join!(run_with(&slurm, &errand, cancelled), stop);
        assert_eq!(came.unwrap().0.outcome, GateOutcome::Cancelled, "{mode:?}");
        assert!(has_ended(number_in(&pid)), "{mode:?}");
        until("the worker has tidied up", || world.leftovers().is_empty().then_some(())).await;

        let (cancel, cancelled) = watch::channel(false);
        cancel.send_replace(true);
        let early = run_with(&slurm, &named(world.errand("early", "true"), mode), cancelled).await.unwrap();
        assert_eq!(early.0.outcome, GateOutcome::Cancelled, "{mode:?}");
        // Who is asked for it again later runs it.
        assert_eq!(run(&slurm, &Errand { command: "true".to_owned(), ..errand }).await.0.outcome, GateOutcome::Passed);
        slurm.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_gates_wide_all_end_and_nodes_never_have_more_than_they_have_room_for() {
    let Some(world) = World::start() else { return };
    for mode in BOTH {
        let mut settings = world.settings(mode);
        if mode == POOL {
            // Memory is shared out where no gate asks for any.
            settings.needs.memory_mb = None;
        }
        let slurm = Slurm::new(settings);
        let folder = world.cluster.path(if mode == POOL { "wide-pool" } else { "wide-batch" });
        fs::create_dir(&folder).unwrap();
        // How many are at it, and for long enough to meet others.
        let command = format!(
            "cd {} && touch on-$LEXPR_GATE && ls | grep -c ^on- > seen-$LEXPR_GATE; sleep 0.3; rm on-$LEXPR_GATE; exit $LEXPR_GATE",
            word(&folder)
        );
        let gates = (0..40).map(|n| {
            let errand = named(world.errand(&format!("wide-{n}"), &command), mode);
            Errand { env: BTreeMap::from([("LEXPR_GATE".to_owned(), (n % 3).to_string())]), ..errand }
        });
        // Each with a name of its own.
        let errands: Vec<Errand> = gates
            .enumerate()
            .map(|(n, errand)| {
                let command = errand
                    .command
                    .replace("on-$LEXPR_GATE", &format!("on-{n}"))
                    .replace("seen-$LEXPR_GATE", &format!("seen-{n}"));
                Errand { command, ..errand }
            })
            .collect();
        let came = join_all(errands.iter().map(|errand| run(&slurm, errand))).await;
        for (n, (came, log)) in came.iter().enumerate() {
            let expected = match n as i32 % 3 {
                0 => GateOutcome::Passed,
                exit_code => GateOutcome::Failed { exit_code },
            };
            assert_eq!(came.outcome, expected, "{mode:?} {n}: {log}");
        }
        let nodes: std::collections::BTreeSet<_> = came.iter().map(|(came, _)| came.node.clone()).collect();
        assert_eq!(nodes.len(), 2, "{mode:?}: both nodes were used");
        let seen =
            (0..40).map(|n| fs::read_to_string(folder.join(format!("seen-{n}"))).unwrap().trim().parse().unwrap());
        let most: usize = seen.max().unwrap();
        assert!((2..=2 * ROOM).contains(&most), "{mode:?}: {most} at once");
        slurm.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_what_cannot_be_fetched_or_is_another_commit_is_an_infrastructure_failure() {
    let Some(world) = World::start() else { return };
    for mode in BOTH {
        let slurm = world.slurm(mode);
        let (came, _) = run(&slurm, &named(world.errand("fine", "true"), mode)).await;
        assert_eq!(came.outcome, GateOutcome::Passed);
        // It is asked for with a tree that the commit does not have.
        let lie = Errand { tree: "1".repeat(40).parse().unwrap(), ..named(world.errand("lie", "true"), mode) };
        let (came, _) = run(&slurm, &lie).await;
        assert!(infrastructure(&came.outcome).contains("it checked out the tree"), "{mode:?}");

        // Nodes find no exchange where lexpr found one.
        let gone = world.cluster.path("gone.git");
        let hook = world.exchange.dir().join("hooks/post-receive");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(
            &hook,
            format!("#!/bin/sh\nrm hooks/post-receive\nmv {} {}\n", word(world.exchange.dir()), word(&gone)),
        )
        .unwrap();
        fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let commit = world.commit(&[file("sent", "anew\n")]);
        let errand = named(world.errand_at(commit, "unfetched", "echo ran"), mode);
        let coming_back = async {
            if mode == SlurmMode::Batch {
                // What went wrong can only be told through it.
                let account = until("the worker is at a loss", || {
                    let gates = fs::read_dir(world.work_dir()).ok()?.flatten();
                    let mut accounts = gates.filter_map(|gate| fs::read_to_string(gate.path().join("account")).ok());
                    accounts.find(|account| account.contains("lexpr-trouble"))
                });
                account.await;
                fs::rename(&gone, world.exchange.dir()).unwrap();
            }
        };
        let ((came, log), ()) = tokio::join!(run(&slurm, &errand), coming_back);
        let message = infrastructure(&came.outcome);
        assert!(message.contains("the commit could not be fetched from the exchange"), "{mode:?}: {message}");
        assert!(message.contains("does not appear to be a git repository"), "with git's own words: {message}");
        assert_eq!(log, "", "no gate ran");
        if mode == POOL {
            fs::rename(&gone, world.exchange.dir()).unwrap();
        }

        // lexpr finds none.
        fs::rename(world.exchange.dir(), &gone).unwrap();
        let (came, _) = run(&slurm, &named(world.errand("unpushed", "true"), mode)).await;
        assert!(infrastructure(&came.outcome).contains("the exchange"), "{mode:?}");
        fs::rename(&gone, world.exchange.dir()).unwrap();
        slurm.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_a_node_that_dies_in_mid_gate_passes_nothing_and_the_others_go_on() {
    for mode in BOTH {
        let Some(mut world) = World::start() else { return };
        let slurm = world.slurm(mode);
        let pid = world.cluster.path("pid");
        let command = format!(
            "echo here; echo $SLURMD_NODENAME > {}; echo $$ > {}; sleep 1000",
            word(&world.cluster.path("node")),
            word(&pid)
        );
        let errand = named(world.errand("lost", &command), mode);
        let lose = async {
            until("the gate runs", || pid.exists().then_some(())).await;
            let node = fs::read_to_string(world.cluster.path("node")).unwrap();
            (node.trim().to_owned(), number_in(&pid))
        };
        let running = run(&slurm, &errand);
        tokio::pin!(running);
        let (node, pid) = tokio::select! { _ = &mut running => panic!("it has ended"), lost = lose => lost };
        world.cluster.lose_node(&node, pid);
        let (came, _) = running.await;
        let message = infrastructure(&came.outcome);
        assert!(message.contains(&node), "{mode:?}: {message}");
        let again = named(world.errand("again", "true"), mode);
        let (came, _) = run(&slurm, &again).await;
        assert_eq!(came.outcome, GateOutcome::Passed, "{mode:?}");
        assert_ne!(came.node.as_deref(), Some(node.as_str()), "{mode:?}");
        slurm.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_started_anew_in_mid_gate_costs_no_gate() {
    for mode in BOTH {
        let Some(mut world) = World::start() else { return };
        let slurm = world.slurm(mode);
        let (begun, go) = (world.cluster.path("begun"), world.cluster.path("go"));
        let wait = format!("touch {}; until [ -e {} ]; do sleep 0.05; done; echo done", word(&begun), word(&go));
        let errand = named(world.errand("long", &wait), mode);
        let running = run(&slurm, &errand);
        tokio::pin!(running);
        tokio::select! {
            _ = &mut running => panic!("it has ended"),
            () = until("the gate runs", || begun.exists().then_some(())) => {}
        }
        world.cluster.stop_controller();
        fs::write(&go, "").unwrap();
        world.cluster.restart_controller();
        let (came, log) = running.await;
        assert_eq!((came.outcome, log.as_str()), (GateOutcome::Passed, "done\n"), "{mode:?}");
        slurm.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_gates_of_one_composite_share_one_push_and_all_refs_go_with_another() {
    let Some(world) = World::start() else { return };
    let pushes = world.cluster.path("pushes");
    let hook = world.exchange.dir().join("hooks/post-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    // A line for each push, with the names of the refs; of results there are as many as gates.
    fs::write(&hook, format!("#!/bin/sh\necho $(sed 's/.* //' | grep -v -e '-result$') >> {}\n", word(&pushes)))
        .unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for mode in BOTH {
        fs::write(&pushes, "").unwrap();
        let slurm = world.slurm(mode);
        let commits = [world.commit(&[file("one", "1\n")]), world.commit(&[file("two", "2\n")])];
        let gates = ["a", "b", "c"].map(|name| (commits[0], name)).into_iter().chain([(commits[1], "d")]);
        let errands: Vec<Errand> =
            gates.map(|(commit, name)| named(world.errand_at(commit, name, "true"), mode)).collect();
        for (came, log) in join_all(errands.iter().map(|errand| run(&slurm, errand))).await {
            assert_eq!(came.outcome, GateOutcome::Passed, "{mode:?}: {log}");
        }
        slurm.clear().await.unwrap();
        let pushes = fs::read_to_string(&pushes).unwrap();
        let mut pushes: Vec<&str> = pushes.lines().filter(|line| !line.is_empty()).collect();
        let removed: Vec<&str> = pushes.pop().unwrap().split(' ').collect();
        pushes.sort_unstable();
        let mut sent = commits.map(|commit| format!("refs/lexpr/{RUN}/{commit}"));
        sent.sort_unstable();
        assert_eq!(pushes, sent, "{mode:?}");
        assert_eq!(removed, sent, "{mode:?}");
        assert_eq!(world.exchange.run(&["for-each-ref"]), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_gates_session_ends_with_the_gate_too() {
    let Some(world) = World::start() else { return };
    for mode in BOTH {
        let slurm = world.slurm(mode);
        let leave = |name: &str| {
            let pid = world.cluster.path(&format!("{name}-{}", if mode == POOL { "pool" } else { "batch" }));
            let stray = format!(
                "setsid sh -c 'echo $$ > {0}; exec sleep 1000' & until [ -s {0} ]; do sleep 0.05; done",
                word(&pid)
            );
            // Inside of a word that is quoted already.
            (stray.replace(&word(&pid), &pid.display().to_string()), pid)
        };
        let (stray, pid) = leave("passed");
        let (came, log) = run(&slurm, &named(world.errand("leaves", &stray), mode)).await;
        assert_eq!(came.outcome, GateOutcome::Passed, "{mode:?}: {log}");
        assert!(has_ended(number_in(&pid)), "{mode:?}: after a pass");

        let (stray, pid) = leave("cancelled");
        let errand = named(world.errand("cut", &format!("{stray}; sleep 1000")), mode);
        let (cancel, cancelled) = watch::channel(false);
        let stop = async {
            until("the gate runs", || fs::read(&pid).is_ok_and(|pid| !pid.is_empty()).then_some(())).await;
            cancel.send_replace(true);
        };
        let (came, ()) = tokio::join!(run_with(&slurm, &errand, cancelled), stop);
        assert_eq!(came.unwrap().0.outcome, GateOutcome::Cancelled, "{mode:?}");
        assert!(has_ended(number_in(&pid)), "{mode:?}: after it was cancelled");
        slurm.clear().await.unwrap();
    }
}

/// What neither its process group nor its environment tells of, and what has the gate's output still.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_a_pass_stands_whoever_the_gate_left_with_its_output() {
    let Some(world) = World::start() else { return };
    let slurm = world.slurm(POOL);
    let pid = world.cluster.path("stranger");
    let stray = format!(
        "setsid env -i /bin/sh -c 'echo $$ > {0}; exec /bin/sleep 1000' & until [ -s {0} ]; do sleep 0.05; done; echo last words",
        pid.display()
    );
    let begun = Instant::now();
    let (came, log) = run(&slurm, &world.errand("leaves-a-stranger", &stray)).await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    assert_eq!(log, "last words\n");
    assert!(begun.elapsed() < Duration::from_secs(40), "nobody waits for it: {:?}", begun.elapsed());
    kill_process(Pid::from_raw(number_in(&pid)).unwrap(), Signal::KILL).unwrap();
    slurm.clear().await.unwrap();
}

/// What a gate leaves that counts how often it was begun, and ended.
pub fn counting(world: &World) -> (String, impl Fn() -> (usize, usize) + use<>) {
    let (begun, ended) = (world.cluster.path("begun"), world.cluster.path("ended"));
    let go = world.cluster.path("go");
    let command = format!(
        "echo $$ >> {}; until [ -e {} ]; do sleep 0.05; done; echo >> {}; echo done",
        word(&begun),
        word(&go),
        word(&ended)
    );
    let lines = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default().lines().count();
    (command, move || (lines(&begun), lines(&ended)))
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_a_job_whose_lexpr_is_gone_is_found_again_and_no_second_one_is_submitted() {
    let Some(mut world) = World::start() else { return };
    let (command, count) = counting(&world);
    let errand = named(world.errand("once", &command), SlurmMode::Batch);
    {
        let forgotten = world.slurm(SlurmMode::Batch);
        tokio::select! {
            _ = run(&forgotten, &errand) => panic!("it has ended"),
            () = until("the gate runs", || (count().0 == 1).then_some(())) => {}
        }
    }
    // Another lexpr, as after a kill.
    let resumed = world.slurm(SlurmMode::Batch);
    let is_followed = AtomicBool::new(false);
    let (_cancel, cancelled) = watch::channel(false);
    let running = resumed.run(&errand, cancelled, |_| is_followed.store(true, Ordering::Relaxed));
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => panic!("it has ended"),
        () = until("the job is found", || is_followed.load(Ordering::Relaxed).then_some(())) => {}
    }
    fs::write(world.cluster.path("go"), "").unwrap();
    let came = running.await.unwrap();
    let log = fs::read_to_string(&errand.log).unwrap();
    assert_eq!((came.outcome, log.as_str()), (GateOutcome::Passed, "done\n"));
    assert_eq!(count(), (1, 1));
    assert_eq!(world.cluster.said("squeue", &["-h", "--states=all", "-o", "%i"]).lines().count(), 1, "one job");
    // Yet another, when Slurm has forgotten all.
    world.cluster.stop_controller();
    world.cluster.restart_controller_from_nothing();
    let late = world.slurm(SlurmMode::Batch);
    let (came, log) = run(&late, &errand).await;
    assert_eq!((came.outcome, log.as_str()), (GateOutcome::Passed, "done\n"));
    assert_eq!(count(), (1, 1));
    late.clear().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_a_step_that_nobody_hears_any_more_is_ended_before_its_gate_runs_again() {
    let Some(world) = World::start() else { return };
    let (command, count) = counting(&world);
    let errand = named(world.errand("once", &command), POOL);
    let slurm = world.slurm(POOL);
    // Asked for again by the same lexpr, and by another.
    for (nth, asks) in [&slurm, &slurm, &world.slurm(POOL)].into_iter().enumerate() {
        tokio::select! {
            _ = run(asks, &errand) => panic!("it has ended"),
            () = until("the gate runs", || (count().0 == nth + 1).then_some(())) => {}
        }
        let pids = fs::read_to_string(world.cluster.path("begun")).unwrap();
        let before = pids.lines().take(nth).map(|pid| pid.parse().unwrap());
        assert!(before.into_iter().all(has_ended), "no two at once");
    }
    fs::write(world.cluster.path("go"), "").unwrap();
    let last = world.slurm(POOL);
    let (came, log) = run(&last, &errand).await;
    assert_eq!(came.outcome, GateOutcome::Passed);
    assert!(log.ends_with("are not heard any more, and are ended first]\ndone\n"), "it says why it waited: {log}");
    let jobs = world.cluster.said("squeue", &["-h", "--states=all", "-o", "%i"]);
    assert_eq!(jobs.lines().count(), 1, "one allocation");
    last.clear().await.unwrap();
    let pids = fs::read_to_string(world.cluster.path("begun")).unwrap();
    pids.lines().for_each(|pid| wait_for_end(pid.parse().unwrap()));
    until("workers have tidied up", || world.leftovers().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_no_node_has_room_for_is_given_up_with_the_reason() {
    let Some(world) = World::start() else { return };
    world.cluster.said("scontrol", &["update", "PartitionName=gates", "State=DOWN"]);
    for mode in BOTH {
        let mut settings = world.settings(mode);
        settings.queue_limit = Duration::from_secs(1);
        let slurm = Slurm::new(settings);
        let begun = Instant::now();
        let (came, _) = run(&slurm, &named(world.errand("waits", "true"), mode)).await;
        let message = infrastructure(&came.outcome);
        assert!(message.contains("queued for"), "{mode:?}: {message}");
        assert!(begun.elapsed() < Duration::from_secs(60));
        slurm.clear().await.unwrap();
        assert_eq!(world.cluster.jobs(), [""; 0], "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_munge_a_person_is_told_what_to_look_at() {
    let Some(world) = World::start() else { return };
    for mode in BOTH {
        let mut settings = world.settings(mode);
        let elsewhere = world.cluster.path("other.conf");
        let text = fs::read_to_string(world.cluster.configuration()).unwrap().replace("munge.sock", "no.sock");
        fs::write(&elsewhere, text).unwrap();
        settings.environment.retain(|(name, _)| name != "SLURM_CONF");
        settings.environment.push(("SLURM_CONF".into(), elsewhere.into()));
        let slurm = Slurm::new(settings);
        let (came, _) = run(&slurm, &named(world.errand("stranger", "true"), mode)).await;
        let message = infrastructure(&came.outcome);
        assert!(message.contains("munged"), "{mode:?}: {message}");
    }
}
