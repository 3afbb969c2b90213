//! Gates: each attempt judges the job's tree and nothing else, ends with all it started, and is
//! told as it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use lexpr::gate::processes::RecentProcesses;
use lexpr::memory::TreeMemory;
use lexpr::plan::{Gate, Retry};
use lexpr::ports::GateRunner;
use lexpr::ports::{Job, JobNews, MemoryGauge};
use lexpr::vocabulary::event::{GateOutcome, Verdict};
use lexpr::vocabulary::names::{JobId, WorkerId};
use tokio::sync::{mpsc, watch};

use crate::gate_guard::{DAEMON, DAEMON_SCRIPT, has_ended, number_in, wait_for_end, wait_for_file};
use crate::gate_world::{FAILED, PASSED, UNKNOWN, World, failed, for_item, gate, output, setup, verdicts, word};
use crate::land_world::{LINK, file};

/// Far longer than a test may take: a wait that is not cut short fails it.
const FOR_EVER: Duration = Duration::from_secs(100_000);

fn tries(max_attempts: u32, backoff: Duration) -> Retry {
    Retry { max_attempts, backoff }
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_run_in_order_and_each_outcome_is_what_happened() {
    let world = World::new();
    let gates = [
        gate("fine", "true"),
        Gate { required: false, ..gate("optional", "exit 3") },
        gate("crash", "kill -SEGV $$"),
        gate("after", "true"),
    ];
    let mut job = world.job(world.commit(&[]), gates);
    let expected = [
        (0, 1, GateOutcome::Passed, PASSED),
        (1, 1, failed(3), FAILED),
        (2, 1, GateOutcome::Signaled { signal: 11 }, FAILED),
        (3, 1, GateOutcome::Passed, PASSED),
    ];
    assert_eq!(verdicts(&world.run(job.clone()).await), expected[..3], "fail-fast");
    job.fail_fast = false;
    assert_eq!(verdicts(&world.run(job).await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_is_told_with_the_signal_and_the_limit() {
    let world = World::new();
    let finished = world.run_one(Gate { timeout: Duration::from_millis(100), ..gate("slow", "sleep 1000") }).await;
    let outcome = GateOutcome::TimedOut { after_ms: 100, signal: Some(15) };
    assert_eq!(verdicts(&finished), [(0, 1, outcome, FAILED)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_leaves_a_daemon_has_ended_only_when_the_daemon_has() {
    let world = World::new();
    let tree = world.commit(&[file("daemon.sh", DAEMON_SCRIPT)]);
    let pid = world.path("pid");
    let run = format!("ln -s {pid} pid; {DAEMON} until [ -s pid ]; do sleep 0.01; done", pid = word(&pid));
    assert_eq!(world.run(world.job(tree, [gate("daemon", &run)])).await[0].2.verdict, PASSED);
    assert!(has_ended(number_in(&pid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_after_a_failure_is_flaky_and_every_attempt_judges_the_same_tree() {
    let world = World::new();
    let run = format!(
        "cat a.txt; ls; echo $LEXPR_ATTEMPT; echo dirt > a.txt; echo dirt > new; [ -e {m} ] || {{ touch {m}; exit 1; }}",
        m = word(&world.path("marker"))
    );
    let finished = world.run_one(Gate { retry: tries(3, Duration::from_millis(8)), ..gate("e2e", &run) }).await;
    let expected = [(0, 1, failed(1), None), (0, 2, GateOutcome::Passed, Some(Verdict::Passed { flaky: true }))];
    assert_eq!(verdicts(&finished), expected);
    assert!(matches!(finished[0].2.backoff_ms, Some(8..=10)), "{:?}", finished[0].2.backoff_ms);
    assert_eq!(finished[1].2.backoff_ms, None);
    assert_eq!(output(&finished[0].2), "a\na.txt\n1\n");
    assert_eq!(output(&finished[1].2), "a\na.txt\n2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_ever_run_is_not_tried_again() {
    let world = World::new();
    for (run, exit_code) in [("no-such-command-anywhere", 127), ("./a.txt", 126)] {
        let finished = world.run_one(Gate { retry: tries(5, FOR_EVER), ..gate("unit", run) }).await;
        assert_eq!(verdicts(&finished), [(0, 1, failed(exit_code), FAILED)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cwd_that_is_not_in_the_tree_fails_the_gate_and_says_so() {
    let world = World::new();
    fs::create_dir(world.path("outside")).unwrap();
    let goal = world.path("outside").into_os_string().into_encoded_bytes();
    let tree = world.commit(&[file("sub/b.txt", "b"), (LINK, b"link", &goal), (LINK, b"inner", b"sub")]);
    let at = |cwd: &str| Gate { cwd: cwd.to_owned(), retry: tries(5, FOR_EVER), ..gate("unit", "ls; pwd > /dev/null") };
    for cwd in ["link", "missing", "a.txt", "sub/../../.."] {
        let finished = world.run(world.job(tree, [at(cwd)])).await;
        assert_eq!(verdicts(&finished), [(0, 1, failed(126), FAILED)], "{cwd}");
        assert!(
            finished[0].2.tail.contains(&format!("`{cwd}` is not a folder of this tree")),
            "{}",
            finished[0].2.tail
        );
    }
    for cwd in ["sub", "inner"] {
        assert_eq!(output(&world.run(world.job(tree, [at(cwd)])).await[0].2), "b.txt\n", "{cwd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_sees_what_it_is_told_and_git_sees_the_slot_alone() {
    let world = World::with_environment(&[
        ("HOME", "/nowhere"),
        ("GIT_DIR", "/somewhere/else"),
        ("GIT_WORK_TREE", "/somewhere/else"),
        ("LEXPR_ITEM", "of another lexpr"),
    ]);
    let tree = world.commit(&[]);
    let env: BTreeMap<String, String> = [("OWN".to_owned(), "1 $X".to_owned())].into();
    let run = "env | grep -E '^(LEXPR_|OWN|HOME|GIT_DIR|GIT_WORK)' | sort; git rev-parse HEAD refs/heads/main; \
               git status --porcelain; git stash list";
    let told = |context| Gate { env: env.clone(), context, ..gate("a gate", run) };
    let commit = tree.to_string();
    let id = world.repo.tree_of(tree);
    let finished = world.run(for_item(world.job(tree, [told(false), told(true)]), "auth/login")).await;
    for (position, attempt, run) in &finished {
        let text = output(run);
        let artifacts = text.lines().find_map(|line| line.strip_prefix("LEXPR_ARTIFACTS=")).unwrap();
        assert!(artifacts.starts_with(world.path("artifacts").to_str().unwrap()), "{artifacts}");
        let context = [format!("LEXPR_BASE={commit}"), "LEXPR_ITEM=auth/login".to_owned()];
        let mut expected = vec![
            "HOME=/nowhere".to_owned(),
            format!("LEXPR_ARTIFACTS={artifacts}"),
            format!("LEXPR_ATTEMPT={attempt}"),
            format!("LEXPR_COMMIT={commit}"),
            "LEXPR_GATE=a gate".to_owned(),
            "LEXPR_GATE_OF=20261121-150000-abcd@1.2".to_owned(),
            "LEXPR_RUN=20261121-150000-abcd".to_owned(),
            format!("LEXPR_TREE={id}"),
            "OWN=1 $X".to_owned(),
        ];
        if *position == 1 {
            expected.extend(context);
            expected.sort();
        }
        expected.extend([commit.clone(), commit.clone()]);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
    assert_eq!(finished.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_gate_finds_the_tree_as_it_is_and_what_git_ignores_still_warm() {
    let world = World::new();
    let dirty = "echo dirt >> a.txt; rm .gitignore; echo > new; mkdir d; echo > d/x; echo warm > b.o; \
                 git -c user.name=G -c user.email=g@x commit -qam dirt; git tag mine";
    let look = "ls -A; cat a.txt; git status --porcelain; git tag; git log --oneline | wc -l";
    let commit = world.commit(&[]);
    let gates = [gate("dirty", dirty), gate("look", look), Gate { clean: true, ..gate("clean", look) }];
    let finished = world.run(world.job(commit, gates)).await;
    assert_eq!(verdicts(&finished).iter().map(|told| told.3).collect::<Vec<_>>(), [PASSED; 3]);
    assert_eq!(output(&finished[1].2), ".git\n.gitignore\na.txt\nb.o\na\n1\n");
    assert_eq!(output(&finished[2].2), ".git\n.gitignore\na.txt\na\n1\n");

    // A worker's next job is in the same slot, another worker's is not.
    world.run(world.job(commit, [gate("warm", "echo > c.o")])).await;
    let look = |worker, clean_slot| Job {
        worker: WorkerId(worker),
        clean_slot,
        ..world.job(commit, [gate("list", "ls *.o; true")])
    };
    assert_eq!(output(&world.run(look(0, false)).await[0].2), "c.o\n");
    assert!(!output(&world.run(look(1, false)).await[0].2).contains("c.o\n"));
    assert!(!output(&world.run(look(0, true)).await[0].2).starts_with("c.o\n"), "a clean slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_runs_once_per_slot_and_again_when_its_inputs_change_or_its_work_is_removed() {
    let world = World::new();
    let count = world.path("count");
    let run = format!("echo x >> {}; mkdir -p target; cat lock > target/ready; echo dirt > a.txt", word(&count));
    let setup = Arc::new(setup(&run, &["lock"]));
    let job = |lock: &str, other: &str, gates: Vec<Gate>| Job {
        setup: Some(setup.clone()),
        ..world.job(world.commit(&[file("lock", lock), file("other", other)]), gates)
    };
    let look = || gate("look", "cat target/ready a.txt");
    let check = async |job: Job, lock: &str, times: usize| {
        for (_, _, run) in world.run(job).await {
            assert_eq!((run.verdict, output(&run)), (PASSED, format!("{lock}a\n")));
        }
        assert_eq!(world.text("count").len(), 2 * times);
    };
    check(job("1\n", "", vec![look(), look()]), "1\n", 1).await;
    check(job("1\n", "changed", vec![look()]), "1\n", 1).await;
    check(job("2\n", "", vec![look()]), "2\n", 2).await;
    check(Job { worker: WorkerId(7), ..job("2\n", "", vec![look()]) }, "2\n", 3).await;
    check(job("2\n", "", vec![look(), Gate { clean: true, ..look() }]), "2\n", 4).await;
    check(Job { clean_slot: true, ..job("2\n", "", vec![look()]) }, "2\n", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_fails_is_no_verdict_on_the_tree_and_is_tried_again() {
    let world = World::new();
    let broken = |run: &str, commit| Job {
        setup: Some(Arc::new(setup(run, &[]))),
        ..world.job(commit, [gate("unit", "true"), gate("next", "true")])
    };
    let finished = world.run(broken("echo registry is down; exit 4", world.commit(&[]))).await;
    let message = "the setup `echo registry is down; exit 4` failed with exit code 4".to_owned();
    let outcome = GateOutcome::Infrastructure { message };
    let expected = [(0, 1, outcome.clone(), None), (0, 2, outcome.clone(), None), (0, 3, outcome, UNKNOWN)];
    assert_eq!(verdicts(&finished), expected, "and the next gate has not begun");
    assert_eq!(finished[2].2.tail, "registry is down");

    let once = format!("[ -e {m} ] || {{ touch {m}; exit 1; }}", m = word(&world.path("marker")));
    let recovered = world.run(broken(&once, world.commit(&[]))).await;
    let last = verdicts(&recovered)[1..].to_vec();
    assert_eq!(last, [(0, 2, GateOutcome::Passed, PASSED), (1, 1, GateOutcome::Passed, PASSED)], "not flaky");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_killed_is_replaced_and_its_command_ended() {
    let world = World::new();
    let run = format!(
        "[ -e {m} ] && exit 0; echo $$ > {p}; touch {m}; kill -KILL $PPID; sleep 1000",
        m = word(&world.path("marker")),
        p = word(&world.path("pid"))
    );
    let finished = world.run_one(gate("unit", &run)).await;
    assert!(matches!(&finished[0].2.outcome, GateOutcome::Infrastructure { message } if message.contains("guard")));
    assert_eq!(verdicts(&finished)[1..], [(0, 2, GateOutcome::Passed, PASSED)]);
    wait_for_end(number_in(&world.path("pid")));
}

/// Sometimes before it has told that the command runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_its_command_kills_at_once_leaves_nothing_behind() {
    for _ in 0..20 {
        let world = World::new();
        let (marker, pid) = (word(&world.path("marker")), word(&world.path("pid")));
        let run = format!("[ -e {marker} ] && exit 0; echo $$ > {pid}; : > {marker}; kill -KILL $PPID; sleep 1000");
        world.run_one(gate("unit", &run)).await;
        wait_for_end(number_in(&world.path("pid")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_lexpr_from_running_a_gate_is_no_verdict_and_ends_the_job() {
    let world = World::new();
    // A file where the folder for logs should be.
    fs::write(world.path("logs"), "").unwrap();
    let finished = world.run(world.job(world.commit(&[]), [gate("unit", "true"), gate("next", "true")])).await;
    assert_eq!(finished.len(), 3);
    assert_eq!((finished[2].0, finished[2].2.verdict), (0, UNKNOWN));
    assert!(matches!(&finished[2].2.outcome, GateOutcome::Infrastructure { message } if message.contains("logs")));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_7_output_of_any_size_is_in_the_log_whole_and_not_in_memory() {
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    let world = World::new();
    let before = peak();
    let finished =
        world.run_one(gate("loud", "head -c 100000000 /dev/zero | tr '\\0' x; printf '\\nend \\377\\n'")).await;
    let run = &finished[0].2;
    assert_eq!(fs::metadata(&run.log).unwrap().len(), 100_000_007);
    assert_eq!(run.tail, "end \u{fffd}");
    assert!(peak() - before < 50_000_000, "{} bytes more", peak() - before);
    assert_eq!(run.log_digest.unwrap().to_string().len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_gates_with_odd_names_lie_apart_in_the_folder_for_logs() {
    let world = World::new();
    let names = ["../up", "a/b", "a b", "prüfung\n", &"x".repeat(200), "-"];
    let gates = names.map(|name| gate(name, "echo $LEXPR_GATE"));
    let finished = world.run(world.job(world.commit(&[]), gates)).await;
    for ((_, _, run), name) in finished.iter().zip(names) {
        assert_eq!(run.log.parent().unwrap(), world.path("logs"));
        assert_eq!(output(run).trim_end(), name.trim_end());
    }
    assert_eq!(fs::read_dir(world.path("logs")).unwrap().count(), names.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_those_of_this_attempt_even_of_a_failed_one() {
    let world = World::new();
    let tree = world.commit(&[file("p/x.txt", "")]);
    let with = |run: &str| Gate {
        cwd: "p".to_owned(),
        artifacts: vec!["target/**/junit.xml".to_owned(), "*.png".to_owned(), "x.txt".to_owned()],
        ..gate("unit/all", run)
    };
    let write = "mkdir -p target/a target/b; echo a > target/a/junit.xml; echo bb > target/b/junit.xml; \
                 echo own > \"$LEXPR_ARTIFACTS/notes\"; exit 1";
    let first = world.run(for_item(world.job(tree, [with(write)]), "auth/login")).await;
    let run = &first[0].2;
    let kept: Vec<(&str, u64)> = run.artifacts.iter().map(|a| (a.source.as_str(), a.bytes)).collect();
    let expected = [("target/a/junit.xml", 2), ("target/b/junit.xml", 3), ("x.txt", 0), ("$LEXPR_ARTIFACTS/notes", 4)];
    assert_eq!(kept, expected);
    assert_eq!(run.missing_artifacts, ["*.png"]);
    for artifact in &run.artifacts {
        assert!(artifact.stored.starts_with(world.path("artifacts/auth-login-job-1-").to_str().unwrap()));
        assert_eq!(fs::metadata(&artifact.stored).unwrap().len(), artifact.bytes);
    }

    // The ignored files of the first are still in the slot when the second begins, and are not its.
    let second = world.run(Job { job: JobId(2), ..world.job(tree, [with("ls target/a")]) }).await;
    let run = &second[0].2;
    assert_eq!((run.verdict, output(run).as_str()), (PASSED, ""));
    assert_eq!(run.artifacts.iter().map(|a| a.source.as_str()).collect::<Vec<_>>(), ["x.txt"]);
    assert_eq!(run.missing_artifacts, ["target/**/junit.xml", "*.png"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_running_gate_and_the_job() {
    let world = World::new();
    let (cancel, cancelled) = watch::channel(false);
    let run = format!("echo $$ > {}; sleep 1000", word(&world.path("pid")));
    let retry = tries(5, FOR_EVER);
    let job = world.job(world.commit(&[]), [Gate { retry, ..gate("unit", &run) }, gate("next", "true")]);
    let (finished, pid) = tokio::join!(world.run_with(job.clone(), cancelled.clone()), async {
        let path = world.path("pid");
        let pid = tokio::task::spawn_blocking(move || number_in(&path)).await.unwrap();
        cancel.send(true).unwrap();
        pid
    });
    assert_eq!(verdicts(&finished), [(0, 1, GateOutcome::Cancelled, UNKNOWN)]);
    assert!(has_ended(pid));
    // A job that is cancelled before it begins starts nothing.
    assert_eq!(verdicts(&world.run_with(job, cancelled).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_cuts_a_backoff_and_a_setup_short() {
    let world = World::new();
    let (cancel, cancelled) = watch::channel(false);
    let (sender, mut news) = mpsc::unbounded_channel();
    let retry = tries(2, FOR_EVER);
    let job = world.job(world.commit(&[]), [Gate { retry, ..gate("unit", "exit 1") }]);
    let (ended, ()) = tokio::join!(world.gates.run(job.clone(), sender, cancelled), async {
        while let Some(news) = news.recv().await {
            if let JobNews::Finished { run, .. } = news {
                assert_eq!(run.verdict, None, "another attempt follows");
                break;
            }
        }
        cancel.send(true).unwrap();
        assert!(news.recv().await.is_none(), "it does not any more");
    });
    ended.unwrap();

    let (cancel, cancelled) = watch::channel(false);
    let run = format!("echo $$ > {}; sleep 1000", word(&world.path("setup")));
    let job = Job { setup: Some(Arc::new(setup(&run, &[]))), ..job };
    let (finished, ()) = tokio::join!(world.run_with(job, cancelled), async {
        let path = world.path("setup");
        tokio::task::spawn_blocking(move || number_in(&path)).await.unwrap();
        cancel.send(true).unwrap();
    });
    assert_eq!(verdicts(&finished), [], "no gate had begun");
    assert!(has_ended(number_in(&world.path("setup"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_7_memory_of_gates_counts_wherever_their_processes_hang() {
    const HELD: u64 = 60_000_000;
    let world = World::new();
    // In a session of its own, its parent gone: only the guard ties it to lexpr.
    let script = format!(
        "x=$(head -c {HELD} /dev/zero | tr '\\0' x); echo > \"$HELD\"; until [ -e \"$GO\" ]; do sleep 0.01; done; echo > \"$DONE\""
    );
    let tree = world.commit(&[file("hold.sh", &script)]);
    let env = [("HELD", "held"), ("GO", "go"), ("DONE", "done")];
    let env = env.map(|(name, file)| (name.to_owned(), world.path(file).to_str().unwrap().to_owned())).into();
    let run = "setsid sh -c 'sh hold.sh &' & until [ -e \"$DONE\" ]; do sleep 0.01; done";
    let (held, go) = (world.path("held"), world.path("go"));
    let (finished, ()) = tokio::join!(world.run(world.job(tree, [Gate { env, ..gate("big", run) }])), async {
        tokio::task::spawn_blocking(move || {
            wait_for_file(&held);
            // One that nobody asked before has no older answer.
            let memory = TreeMemory::new(Arc::new(RecentProcesses::default()));
            assert!(memory.used_bytes().unwrap() >= HELD);
            fs::write(go, "").unwrap();
        })
        .await
        .unwrap();
    });
    assert_eq!(finished[0].2.verdict, PASSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_cannot_be_prepared_is_no_verdict() {
    let world = World::new();
    let commit = world.commit(&[]);
    let mut job = world.job(commit, [gate("unit", "true")]);
    // No such objects.
    job.tree = "1".repeat(40).parse().unwrap();
    let finished = world.run(job).await;
    assert_eq!(finished.last().unwrap().2.verdict, UNKNOWN);
    let tail = &finished[0].2.tail;
    assert!(tail.starts_with("lexpr: preparing a slot: "), "{tail}");
    let mode = fs::metadata(&finished[0].2.log).unwrap().permissions().mode();
    assert_eq!(mode & 0o400, 0o400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_past_its_limit_keeps_both_ends_and_says_what_is_missing() {
    // 1 MiB is the limit here, and this is 40 times as much on one endless line.
    let world = World::with_short_logs(1024 * 1024);
    let run = "printf BEGIN; head -c 41943040 /dev/zero | tr '\\0' x; printf END; exit 1";
    let finished = world.run_one(gate("chatty", run)).await;
    assert_eq!(finished[0].2.outcome, failed(1));
    let log = fs::read_to_string(&finished[0].2.log).unwrap();
    assert!(log.len() < 1024 * 1024 + 200, "{} bytes", log.len());
    assert!(log.starts_with("BEGINxxx") && log.ends_with("xxxEND"));
    let missing = 41_943_040 + 8 - 1024 * 1024;
    assert!(log.contains(&format!("{missing} bytes are left out here")), "{missing}");
    assert!(finished[0].2.tail.ends_with("END"), "{}", finished[0].2.tail);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_struck_out_of_what_a_gate_prints() {
    let world = World::with_environment(&[("GITHUB_TOKEN", "ghp_0123456789"), ("WORD", "harmless")]);
    let run = "echo \"$WORD $GITHUB_TOKEN\"; printf ghp_01; sleep 0.05; printf 23456789; echo $OWN_PASSWORD; exit 1";
    let own = BTreeMap::from([("OWN_PASSWORD".to_owned(), "correct horse".to_owned())]);
    let finished = world.run_one(Gate { env: own, ..gate("leaky", run) }).await;
    let log = fs::read_to_string(&finished[0].2.log).unwrap();
    assert_eq!(log, "harmless ***\n******\n");
    assert!(!finished[0].2.tail.contains("0123"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_closes_its_output_and_lives_on_is_waited_for() {
    let world = World::new();
    let finished = world.run_one(gate("quiet", "exec >&- 2>&-; sleep 0.2; exit 7")).await;
    assert_eq!(finished[0].2.outcome, failed(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_stops_itself_is_ended_when_its_time_is_up() {
    let world = World::new();
    let stopped = Gate { timeout: Duration::from_millis(100), ..gate("stopped", "kill -STOP $$; sleep 1000") };
    let finished = world.run_one(stopped).await;
    let outcome = GateOutcome::TimedOut { after_ms: 100, signal: Some(15) };
    assert_eq!(verdicts(&finished), [(0, 1, outcome, FAILED)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_kills_its_guard_leaves_nothing_behind_all_the_same() {
    let world = World::new();
    let pid = world.path("pid");
    let pid_file = word(&pid);
    let run = format!(
        "rm -f {pid_file}; setsid sh -c 'echo $$ > \"$0\"; exec sleep 1000' {pid_file} &
         until test -s {pid_file}; do sleep 0.01; done; kill -9 $PPID; sleep 1000"
    );
    let finished = world.run_one(gate("vandal", &run)).await;
    assert_eq!(finished.last().unwrap().2.verdict, UNKNOWN);
    // What the last attempt left was ended before it was reported; those before it, before the next.
    let daemon = number_in(&pid);
    assert!(has_ended(daemon), "{daemon} lives on");
}
