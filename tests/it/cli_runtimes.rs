//! What lands does not depend on what runs the gates: one plan by this machine's shell, in containers and on a cluster; and
//! two plans at once by each.

#![expect(clippy::print_stderr, reason = "who asks for the measurement reads it")]

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::cli_world::{Said, World, receipt_gates, statuses};
use crate::containers::{Engine, IMAGE, engine};
use crate::slurm_world;

/// Of a test that CI runs; `LEXPR_RUNTIMES_ITEMS` asks for another number, and for what it took.
const ITEMS: usize = 12;

/// All that gates of these tests are run by.
struct Engines {
    containers: &'static Engine,
    cluster: slurm_world::World,
}

impl Engines {
    fn start() -> Option<Self> {
        Some(Self { containers: engine()?, cluster: slurm_world::World::start()? })
    }

    fn command(&self, world: &World, args: &[&str]) -> Command {
        let mut command = world.command(args);
        command.env("SLURM_CONF", self.cluster.cluster.configuration()).envs(self.containers.variables());
        command
    }

    /// Nothing of a run is left anywhere.
    #[track_caller]
    fn must_be_clear_of(&self, world: &World, what: &str) {
        assert_eq!(self.cluster.cluster.jobs(), [""; 0], "{what}");
        assert_eq!(self.containers.containers_of(world), [""; 0], "{what}");
        let refs = world.git(&["for-each-ref", "--format=%(refname)", "refs/lexpr/"]);
        let sent: Vec<&str> = refs.lines().filter(|name| !name.starts_with("refs/lexpr/runs/")).collect();
        assert_eq!(sent, [""; 0], "{what}");
    }
}

/// A policy with one runtime of each kind, and this many nodes in the pool.
fn policy(world: &World, nodes: u32) -> String {
    let slurm = format!("type: slurm, memoryMB: 50, workDir: \"{}\"", world.path("nodes").display());
    format!(
        "policy:\n  maxWorkers: 2\n  runtimes:\n    boxed: {{ type: container, engine: podman, image: \"{IMAGE}\", mounts: \
         [{{ source: \"{0}\", target: \"{0}\" }}] }}\n    pool: {{ {slurm}, nodes: {nodes} }}\n    jobs: {{ {slurm}, mode: batch }}\n",
        world.path("shared").display()
    )
}

/// Each item adds a file of its own; the eighth adds that of the fourth, too.
fn world(items: usize) -> World {
    let names: Vec<(String, String)> = (0..items).map(|at| (format!("i{at}"), format!("f{at}"))).collect();
    let files = |at: usize| [(names[at].1.as_str(), "x\n"), (if at == 7 { "f3" } else { &names[at].1 }, "x\n")];
    let files: Vec<[(&str, &str); 2]> = (0..items)
        .map(files)
        .map(|[own, other]| if own.0 == other.0 { [own, own] } else { [own, (other.0, "theirs\n")] })
        .collect();
    let branches: Vec<_> =
        names.iter().zip(&files).map(|((name, _), files)| (name.as_str(), "main", &files[..])).collect();
    let world = World::new(&[("a", "a\n")], &branches);
    std::fs::create_dir(world.path("shared")).unwrap();
    world
}

/// The report without what differs from run to run or from runtime to runtime: times, places, who shared a run with whom,
/// and when what was put together to land.
fn comparable(report: &Value) -> Value {
    const DIFFERS: [&str; 28] = [
        "run",
        "arguments",
        "directory",
        "plan",
        "repository",
        "next",
        "runtime",
        "runtimes",
        "image",
        "elsewhere",
        "definition",
        "key",
        "job",
        "log",
        "timeline",
        "apex",
        "apexes",
        "landings",
        "metrics",
        "concurrency",
        "verdictCache",
        "verdictFrom",
        "cacheHitRate",
        "peakMemoryBytes",
        "purpose",
        "reproduce",
        "throttling",
        "planDigest",
    ];
    match report {
        Value::Object(all) => {
            let is_same = |name: &&String| !DIFFERS.contains(&name.as_str()) && !name.ends_with("Ms");
            let same = all.iter().filter(|(name, _)| is_same(name));
            Value::Object(same.map(|(name, value)| (name.clone(), comparable(value))).collect())
        }
        Value::Array(all) => Value::Array(all.iter().map(comparable).collect()),
        other => other.clone(),
    }
}

#[test]
fn invariant_8_the_same_lands_as_the_same_commits_and_is_reported_alike_whatever_runs_the_gates() {
    let Some(engines) = Engines::start() else { return };
    let asked: Option<usize> = std::env::var("LEXPR_RUNTIMES_ITEMS").ok().map(|items| items.parse().unwrap());
    let items = asked.unwrap_or(ITEMS);
    let of_item = |at: usize| {
        let strategy = if at % 5 == 2 { ", strategy: squash" } else { "" };
        let deps = if at % 4 == 2 { format!(", deps: [i{}]", at - 1) } else { String::new() };
        format!("  - {{ name: i{at}{strategy}{deps} }}\n")
    };
    let gates =
        "gates:\n  - { name: unit, run: 'echo judged; test -f a && ! test -f f5 && test -n \"$LEXPR_TREE\"' }\n";
    let of_items: String = (0..items).map(of_item).collect();
    let ends: Vec<(String, Value)> = ["local", "boxed", "pool", "jobs"]
        .into_iter()
        .map(|runtime| {
            let world = world(items);
            let plan = world.plan(&format!("schemaVersion: v1\n{}{gates}items:\n{of_items}", policy(&world, 2)));
            let report = world.path("report.json");
            let (plan, to) = (plan.display().to_string(), report.display().to_string());
            let args = ["merge", &plan, "--execute", "--runtime", runtime, "--report", &to];
            Said::from(engines.command(&world, &args).output().unwrap()).expect(3);
            let report = world.report(&report);
            let proof = &receipt_gates(&mut engines.command(&world, &["verify"]), &report)[0];
            let (by, on) = (proof["runtime"]["name"].as_str(), proof["node"].is_string());
            let expected = (Some(runtime).filter(|name| *name != "local"), ["pool", "jobs"].contains(&runtime));
            assert_eq!((by, on), expected, "{proof}");
            assert_eq!(proof["warmSlot"], !on, "nodes keep nothing from gate to gate");
            engines.must_be_clear_of(&world, runtime);
            if asked.is_some() {
                let took = report["summary"]["durationMs"].as_u64().unwrap();
                let attempts = report["timeline"].as_array().unwrap();
                let attempts: usize = attempts.iter().map(|job| job["gates"].as_array().unwrap().len()).sum();
                let each = took as f64 / attempts as f64;
                eprintln!("{runtime}: {items} items, {attempts} gates, {took} ms, {each:.0} ms a gate");
            }
            (world.main(), report)
        })
        .collect();
    let (main, local) = &ends[0];
    let ends_of = statuses(local);
    for expected in ["i5 failed", "i6 blocked", "i7 conflicted", "i8 landed"] {
        assert!(ends_of.iter().any(|end| end == expected), "{expected}: {ends_of:?}");
    }
    for (other, report) in &ends[1..] {
        assert_eq!(other, main);
        let (local, report) = (comparable(local), comparable(report));
        assert_eq!(serde_json::to_string_pretty(&report).unwrap(), serde_json::to_string_pretty(&local).unwrap());
    }
}

#[test]
fn two_plans_at_once_on_two_targets_of_one_repository_land_each_its_own() {
    let Some(engines) = Engines::start() else { return };
    for runtime in ["boxed", "pool", "jobs"] {
        let world = world(6);
        world.git(&["branch", "next", "main"]);
        let shared = world.path("shared").display().to_string();
        let start = |target: &str, items: std::ops::Range<usize>| -> Child {
            // Neither ends before the other has begun.
            let gate = format!(
                "{{ name: unit, runtime: {runtime}, run: 'touch \"{shared}/{target}\"; until [ -e \"{shared}/main\" ] && \
                 [ -e \"{shared}/next\" ]; do sleep 0.1; done; test -f a' }}"
            );
            let items: String = items.map(|at| format!("  - name: i{at}\n")).collect();
            let policy = policy(&world, 1);
            let text = format!("schemaVersion: v1\ntarget: {target}\n{policy}gates:\n  - {gate}\nitems:\n{items}");
            let plan = world.path(&format!("{target}.yaml"));
            std::fs::write(&plan, text).unwrap();
            let mut command = engines.command(&world, &["merge", &plan.display().to_string(), "--execute"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let runs = [start("main", 0..3), start("next", 3..6)];
        for run in runs {
            Said::from(run.wait_with_output().unwrap()).expect(0);
        }
        let files = |of: &str| world.git(&["ls-tree", "--name-only", of]).replace('\n', " ");
        assert_eq!((files("main"), files("next")), ("a f0 f1 f2".to_owned(), "a f3 f4 f5".to_owned()), "{runtime}");
        engines.must_be_clear_of(&world, runtime);
    }
}
