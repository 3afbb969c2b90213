//! Gates that do what they like, all in one run of the real binary: each has its verdict and harms no
//! other, and nothing of them is left. Each for itself is in `gate_run`, `gate_guard`, `cli_orphans`
//! and `cli_trouble`.

use std::fs;
use std::path::PathBuf;

use crate::cli_world::{World, statuses};

/// By name, what they run, and what their items come to.
const ENEMIES: &[(&str, &str, &str)] = &[
    // More than it may have: what the C library then says is its own to handle.
    ("hungry", "(ulimit -v 300000; exec tail /dev/zero)", "failed"),
    // As the kernel ends what eats too much.
    ("starved", "kill -9 $$", "failed"),
    // A gigabyte on one line that is no UTF-8.
    ("loud", "head -c 1073741824 /dev/zero | tr '\\0' '\\377'", "landed"),
    ("painter", "printf '\\033[2J\\033]0;title\\007\\r%s' over; exit 1", "failed"),
    ("daemon", "setsid sh -c 'sleep 1000 & setsid sleep 1000' & exec sleep 0.1", "landed"),
    ("mute", "exec >&- 2>&-; sleep 0.2; exit 0", "landed"),
    ("messy", "rm -rf .git README.md; mkdir -p a/b; ln -s / a/b/root; touch a/x; chmod 000 a; mkfifo pipe", "landed"),
    ("honest", "test -e README.md", "landed"),
];

#[test]
fn gates_that_eat_shout_and_hide_have_their_verdicts_and_harm_nobody() {
    let names: Vec<[(&str, &str); 1]> = ENEMIES.iter().map(|(name, ..)| [(*name, *name)]).collect();
    let branches: Vec<_> = ENEMIES.iter().zip(&names).map(|((name, ..), files)| (*name, "main", &files[..])).collect();
    let world = World::new(&[("README.md", "# A project\n")], &branches);
    let mut plan = "schemaVersion: v1\npolicy: {maxWorkers: 3, logMaxMB: 1, secondOpinion: false}\nitems:\n".to_owned();
    for (name, run, _) in ENEMIES {
        let run = serde_json::to_string(run).unwrap();
        plan.push_str(&format!(
            "  - name: {name}\n    gates: [{{name: {name}, run: {run}, at: [cone]}}, \
             {{name: tree, run: 'test -e README.md && test -z \"$(git status --porcelain)\"'}}]\n"
        ));
    }
    let report = world.path("report.json");
    let said = world.merge(&plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
    let report = world.report(&report);
    let mut expected: Vec<String> = ENEMIES.iter().map(|(name, _, status)| format!("{name} {status}")).collect();
    let mut found = statuses(&report);
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{}", said.stdout);
    let shown = format!("{}{}", said.stdout, said.stderr);
    assert!(!shown.contains('\x1b') && !shown.contains('\x07'), "{shown:?}");
    for told in ["memory exhausted", "ended by signal SIGKILL"] {
        assert!(shown.contains(told), "no {told:?} in {shown}");
    }
    let logs: u64 = logs(&world).iter().map(|log| fs::metadata(log).unwrap().len()).sum();
    assert!(logs < 4 * 1024 * 1024, "{logs} bytes of logs");
    // lexpr and its gates together.
    let peak = report["summary"]["peakMemoryBytes"].as_u64().unwrap();
    assert!(peak < 1024 * 1024 * 1024, "{peak} bytes");
    assert_eq!(world.processes(), Vec::<PathBuf>::new());
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_gate_that_kills_its_guard_has_no_verdict_a_reason_and_one_more_try_and_harms_nobody() {
    let world = World::new(&[("f", "1\n")], &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])]);
    let run = "echo once more >>$TRIES; sleep 1000 & setsid sleep 1000 & kill -9 $PPID; sleep 1000";
    let plan = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 1}}\nitems:\n  - name: a\n    gates: [{{name: killer, run: '{run}'}}]\n  \
         - name: b\n    gates: [{{name: good, run: 'true'}}]\n"
    );
    let (plan, report, tries) = (world.plan(&plan), world.path("report.json"), world.path("tries"));
    let mut command =
        world.command(["merge", plan.to_str().unwrap(), "--execute", "--report", report.to_str().unwrap()]);
    let said: crate::cli_world::Said = command.env("TRIES", &tries).output().unwrap().into();
    let said = said.expect(3);
    assert_eq!(statuses(&world.report(&report)), ["a unjudged", "b landed"]);
    assert_eq!(fs::read_to_string(tries).unwrap().lines().count(), 2);
    for told in ["the guard that watches over the command was killed", "SIGKILL", "`kill $PPID`"] {
        assert!(said.stdout.contains(told), "no {told:?} in {}", said.stdout);
    }
    assert_eq!(world.processes(), Vec::<PathBuf>::new());
}

fn logs(world: &World) -> Vec<PathBuf> {
    let runs = fs::read_dir(world.repo().join(".git/lexpr/runs")).unwrap().map(|run| run.unwrap().path().join("logs"));
    runs.flat_map(|logs| fs::read_dir(logs).unwrap().map(|log| log.unwrap().path())).collect()
}
