//! Whole runs, by real engines, that are killed around the start of a gate and around its result being taken, at places that
//! `src/crash.rs` knows: the run that goes on finds what was started, starts nothing beside it, and nothing is left anywhere;
//! nor where nobody goes on. Needs the feature `failpoints`.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli_world::{Said, World, statuses, wait_for};
use crate::containers::{Docker, Engine, IMAGE, engine};
use crate::slurm_world;

/// Where a run is killed, and who with it.
#[derive(Clone, Copy, Debug)]
struct Kill {
    /// `place:passage`.
    at: &'static str,
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// lexpr, at the very place.
    Lexpr,
    /// lexpr and its guards, once the gate runs, which never ends by itself.
    LexprAndGuards,
}

const fn lexpr(at: &'static str) -> Kill {
    Kill { at, who: Who::Lexpr }
}

/// Around the result, wherever it comes from: taken, told of, told of and perhaps journalled, journalled.
const AROUND_THE_RESULT: [Kill; 4] = [
    lexpr("gate.report.before:1"),
    lexpr("gate.news.before:2"),
    lexpr("gate.news.after:2"),
    lexpr("elsewhere.clear.before:1"),
];

/// By the id of a run.
type Look<'a> = dyn Fn(&str) -> Vec<String> + Sync + 'a;

/// What runs gates, as one test has it.
struct Runtime<'a> {
    /// Of the plan.
    name: &'static str,
    variables: Vec<(&'static str, PathBuf)>,
    /// What the engine still has of the run of this id.
    left: Box<Look<'a>>,
    /// The client that must not be asked to start a second beside the first, where gates cannot see each other.
    client: Option<&'static str>,
}

impl<'a> Runtime<'a> {
    fn of_cluster(name: &'static str, cluster: &'a slurm_world::World) -> Self {
        let left = |run: &str| cluster.cluster.jobs().into_iter().filter(|job| job.contains(run)).collect();
        let variables = vec![("SLURM_CONF", cluster.cluster.configuration())];
        Self { name, variables, left: Box::new(left), client: None }
    }

    fn of_podman(engine: &'a Engine) -> Self {
        let left = |run: &str| {
            let listed = engine.podman(&["ps", "--all", "--format", "{{.ID}} {{.Status}} {{.Labels}}"]).stdout;
            String::from_utf8(listed).unwrap().lines().filter(|line| line.contains(run)).map(str::to_owned).collect()
        };
        Self { name: "podman", variables: engine.variables().into(), left: Box::new(left), client: Some("podman") }
    }

    fn of_docker(docker: &'a Docker) -> Self {
        let left = |_: &str| {
            let listed = docker.docker(&["ps", "--all", "--format", "{{.ID}} {{.Status}}"]).stdout;
            String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect()
        };
        let (name, value) = docker.variable();
        Self { name: "docker", variables: vec![(name, value.into())], left: Box::new(left), client: Some("docker") }
    }
}

/// A run of one gate.
struct Scene<'a> {
    world: World,
    runtime: &'a Runtime<'a>,
}

impl<'a> Scene<'a> {
    fn new(runtime: &'a Runtime<'a>) -> Self {
        let world = World::new(&[("a", "a\n")], &[("i0", "main", &[("f0", "x\n")])]);
        std::fs::create_dir(world.path("shared")).unwrap();
        let scene = Self { world, runtime };
        scene.write_plan();
        if let Some(client) = runtime.client {
            // The label stands behind the name.
            let look =
                format!("[ -z \"$({{real}} ps -q --filter \"label=$5\")\" ] || echo two >>{}", scene.shared("two"));
            scene.wrap(client, &format!("case $1 in run) {look} ;; esac"));
        }
        scene
    }

    fn shared(&self, name: &str) -> String {
        self.world.path("shared").join(name).display().to_string()
    }

    fn write_plan(&self) {
        let at = |name: &str| self.shared(name);
        // Each holds a lock for as long as it lives, where there are locks.
        let gate = format!(
            "exec 9>>{}; if command -v flock >/dev/null; then flock -n 9 || echo two >>{}; fi; echo \"$LEXPR_COMMIT\" >>{runs}; \
             if [ -e {} ] && [ \"$(wc -l <{runs})\" -eq 1 ]; then while :; do sleep 0.1; done; fi; [ -f f0 ]",
            at("alone"),
            at("two"),
            at("hold"),
            runs = at("runs"),
        );
        let slurm = format!("type: slurm, memoryMB: 50, workDir: \"{}\"", self.world.path("nodes").display());
        let shared = self.world.path("shared");
        let boxed = format!(
            "type: container, image: \"{IMAGE}\", mounts: [{{ source: \"{0}\", target: \"{0}\" }}]",
            shared.display()
        );
        self.world.plan(&format!(
            "schemaVersion: v1\npolicy:\n  maxWorkers: 2\n  defaultRuntime: {}\n  runtimes:\n    pool: {{ {slurm}, nodes: 1 }}\n    \
             jobs: {{ {slurm}, mode: batch }}\n    podman: {{ {boxed}, engine: podman }}\n    docker: {{ {boxed}, engine: docker }}\n\
             gates:\n  - {{ name: unit, run: {gate:?} }}\nitems:\n  - name: i0\n",
            self.runtime.name
        ));
    }

    /// Puts a script before a program that lexpr starts, which comes after it; `{real}` stands for that one.
    fn wrap(&self, program: &str, before: &str) {
        let path = std::env::var_os("PATH").unwrap();
        let real = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists()).unwrap();
        let real = real.display().to_string();
        let wrapped = self.world.path("bin").join(program);
        std::fs::create_dir_all(wrapped.parent().unwrap()).unwrap();
        let script = format!("#!/bin/sh\n{}\nexec {real} \"$@\"\n", before.replace("{real}", &real));
        std::fs::write(&wrapped, script).unwrap();
        std::fs::set_permissions(&wrapped, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.world.command(args);
        command.envs(self.runtime.variables.iter().map(|(name, value)| (name, value)));
        command.env("LEXPR_CRASH_LIST", self.world.path("passed"));
        command
    }

    fn has_passed(&self, place: &str) -> bool {
        std::fs::read_to_string(self.world.path("passed")).is_ok_and(|all| all.lines().any(|line| line == place))
    }

    fn runs(&self) -> Vec<String> {
        let runs = std::fs::read_to_string(self.world.path("shared/runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    /// Runs until it is killed. The run's id.
    fn run_until(&self, kill: Kill) -> String {
        let plan = self.world.path("plan.yaml").display().to_string();
        let mut merge = self.command(&["merge", &plan, "--execute"]);
        merge.env("LEXPR_CRASH_AT", kill.at);
        if kill.who == Who::LexprAndGuards {
            std::fs::write(self.world.path("shared/hold"), "").unwrap();
            merge.env("LEXPR_CRASH_HOW", "stop");
        }
        let mut lexpr = merge.spawn().unwrap();
        if kill.who == Who::LexprAndGuards {
            self.wait_for_the_gate();
            self.kill_with_guards(&mut lexpr);
        }
        let ended = lexpr.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "{kill:?}: it was not killed, and ended with {ended}");
        let runs = self.world.repo().join(".git/lexpr/runs");
        runs.read_dir().unwrap().next().unwrap().unwrap().file_name().into_string().unwrap()
    }

    fn wait_for_the_gate(&self) {
        wait_for("the gate to begin", || (self.runs().len() == 1).then_some(()));
    }

    fn kill_with_guards(&self, lexpr: &mut Child) {
        for process in self.world.processes() {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            if line.starts_with(b"lexpr-guard") {
                let pid = process.file_name().unwrap().to_str().unwrap().parse().unwrap();
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
        }
        lexpr.kill().unwrap();
    }

    #[track_caller]
    fn must_have_left_nothing(&self, run: &str, told: &str) {
        wait_for(&format!("{told}: all that was started to be gone"), || {
            self.world.processes().is_empty().then_some(())
        });
        assert_eq!((self.runtime.left)(run), [""; 0], "{told}");
        let refs = self.world.git(&["for-each-ref", "--format=%(refname)", "refs/lexpr/"]);
        assert_eq!(refs.lines().find(|name| !name.starts_with("refs/lexpr/runs/")), None, "{told}");
        let nodes = self.world.path("nodes");
        wait_for(&format!("{told}: workers to tidy up"), || nothing_but_caches(&nodes).then_some(()));
    }

    #[track_caller]
    fn clean(&self, run: &str, told: &str) {
        let said = Said::from(self.command(&["clean", run]).output().unwrap()).expect(0);
        assert!(!said.stderr.contains("may be left"), "{told}: {}", said.stderr);
        self.must_have_left_nothing(run, told);
        let folders = self.world.repo().join(".git/lexpr/runs").read_dir().unwrap().count();
        assert_eq!(folders, 0, "{told}: the run's folder is gone");
        assert_eq!(self.world.git(&["for-each-ref", "refs/lexpr/"]), "", "{told}");
    }
}

fn nothing_but_caches(work: &Path) -> bool {
    let entries = std::fs::read_dir(work).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).all(|name| name.starts_with("cache-"))
}

/// Kills a run and goes on with it; `most`: how often its gate may have begun by then.
fn kill_and_resume(runtime: &Runtime<'_>, kill: Kill, most: usize) {
    let (scene, told) = (Scene::new(runtime), format!("{} {kill:?}", runtime.name));
    let run = scene.run_until(kill);
    let report = scene.world.path("report.json");
    let resumed = scene.command(&["resume", "--report", &report.display().to_string()]).output().unwrap();
    let said = Said::from(resumed);
    assert_eq!(said.code, 0, "{told}: {}", said.stderr);
    for complaint in ["still at work", "may be left"] {
        assert!(!said.stderr.contains(complaint), "{told}: {}", said.stderr);
    }
    assert_eq!(statuses(&scene.world.report(&report)), ["i0 landed"], "{told}");
    assert_eq!(scene.world.files_on_main(), ["a", "f0"], "{told}");
    let runs = scene.runs();
    assert!((1..=most).contains(&runs.len()), "{told}: the gate began {} times", runs.len());
    assert!(!scene.world.path("shared/two").exists(), "{told}: two were there at once");
    scene.must_have_left_nothing(&run, &told);
    scene.clean(&run, &told);
}

/// Each of `all`, so many at once.
fn side_by_side<T: Sync>(all: &[T], at_once: usize, work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(one);
                }
            });
        }
    });
}

#[test]
fn invariant_6_a_run_killed_around_a_job_of_its_own_has_one_job_and_believes_it() {
    let Some(cluster) = slurm_world::World::start() else { return };
    let runtime = Runtime::of_cluster("jobs", &cluster);
    let around_the_start =
        ["slurm.sbatch.before:1", "slurm.sbatch.under-way:1", "slurm.sbatch.after:1", "gate.news.after:1"];
    let kills: Vec<Kill> = around_the_start.map(lexpr).into_iter().chain(AROUND_THE_RESULT).collect();
    side_by_side(&kills, 4, |kill| kill_and_resume(&runtime, *kill, 1));
    let jobs = cluster.cluster.said("squeue", &["-h", "--states=all", "-o", "%i"]);
    assert_eq!(jobs.lines().count(), kills.len(), "one for each run");
}

#[test]
fn invariant_6_a_run_killed_around_a_step_of_its_pool_goes_on_with_one_step_at_a_time() {
    let Some(cluster) = slurm_world::World::start() else { return };
    let runtime = Runtime::of_cluster("pool", &cluster);
    let before = ["slurm.salloc.before:1", "slurm.salloc.under-way:1", "slurm.salloc.after:1", "gate.start.before:1"];
    let mut kills: Vec<(Kill, usize)> = before.map(|at| (lexpr(at), 1)).into();
    kills.push((lexpr("gate.start.after:1"), 2));
    kills.push((Kill { at: "gate.start.after:1", who: Who::LexprAndGuards }, 2));
    kills.push((lexpr("gate.end:1"), 2));
    kills.extend(AROUND_THE_RESULT.map(|kill| (kill, 2)));
    side_by_side(&kills, 2, |(kill, most)| kill_and_resume(&runtime, *kill, *most));
}

/// The same places for every engine.
fn around_a_container(runtime: &Runtime<'_>) {
    let mut kills = vec![
        (lexpr("gate.start.before:1"), 1),
        (lexpr("gate.start.after:1"), 2),
        (Kill { at: "gate.start.after:1", who: Who::LexprAndGuards }, 2),
        (lexpr("gate.end:1"), 2),
    ];
    kills.extend(AROUND_THE_RESULT.map(|kill| (kill, 2)));
    side_by_side(&kills, 1, |(kill, most)| kill_and_resume(runtime, *kill, *most));
}

#[test]
fn invariant_6_a_run_killed_around_a_container_of_podman_goes_on_with_one_at_a_time() {
    let Some(engine) = engine() else { return };
    around_a_container(&Runtime::of_podman(engine));
}

#[test]
fn invariant_6_a_run_killed_around_a_container_of_docker_goes_on_with_one_at_a_time() {
    let Some(docker) = Docker::start() else { return };
    around_a_container(&Runtime::of_docker(&docker));
}

#[test]
fn a_killed_run_that_nobody_goes_on_with_leaves_nothing_once_it_is_cleaned() {
    let Some(cluster) = slurm_world::World::start() else { return };
    let (jobs, pool) = (Runtime::of_cluster("jobs", &cluster), Runtime::of_cluster("pool", &cluster));
    let begun = Kill { at: "gate.start.after:1", who: Who::LexprAndGuards };
    let kills = [
        (&jobs, lexpr("slurm.sbatch.under-way:1")),
        (&jobs, lexpr("slurm.sbatch.after:1")),
        (&pool, lexpr("slurm.salloc.under-way:1")),
        (&pool, begun),
    ];
    for (runtime, kill) in kills {
        let scene = Scene::new(runtime);
        let run = scene.run_until(kill);
        scene.clean(&run, &format!("{} {kill:?}", runtime.name));
    }
}

#[test]
fn invariant_1_what_a_job_of_a_killed_run_says_of_one_commit_is_no_word_on_another_with_the_same_tree() {
    let Some(cluster) = slurm_world::World::start() else { return };
    let runtime = Runtime::of_cluster("jobs", &cluster);
    let scene = Scene::new(&runtime);
    let run = scene.run_until(lexpr("slurm.sbatch.after:1"));
    wait_for("the job to send what came of it", || {
        let refs = scene.world.git(&["for-each-ref", "--format=%(refname)", "refs/lexpr/"]);
        refs.contains("-result").then_some(())
    });
    scene.world.git(&["commit", "-q", "--allow-empty", "-m", "Nothing new"]);
    let report = scene.world.path("report.json");
    Said::from(scene.command(&["resume", "--report", &report.display().to_string()]).output().unwrap()).expect(0);
    let report = scene.world.report(&report);
    assert_eq!(statuses(&report), ["i0 landed"]);
    let attempts = report["items"][0]["gates"][0]["attempts"].as_array().unwrap();
    let how: Vec<&str> = attempts.iter().map(|attempt| attempt["outcome"]["how"].as_str().unwrap()).collect();
    assert_eq!(how, ["infrastructure", "passed"], "{attempts:?}");
    assert_eq!(scene.runs()[1..], [scene.world.main()], "and once on the commit that landed");
    scene.must_have_left_nothing(&run, "resumed");
}

#[test]
fn what_still_asks_for_a_job_when_its_run_is_cleaned_is_waited_for() {
    let Some(cluster) = slurm_world::World::start() else { return };
    let runtime = Runtime::of_cluster("jobs", &cluster);
    let scene = Scene::new(&runtime);
    let (script, go) = (scene.shared("script"), scene.shared("go"));
    scene.wrap("sbatch", &format!("cat >{script}; until [ -e {go} ]; do sleep 0.05; done; exec <{script}"));
    let run = scene.run_until(lexpr("slurm.sbatch.under-way:1"));
    let mut clean = scene.command(&["clean", &run]).spawn().unwrap();
    let waits = wait_for("somebody to wait, or not to", || match clean.try_wait().unwrap() {
        Some(_) => Some(false),
        None => scene.has_passed("resume.waits").then_some(true),
    });
    std::fs::write(go, "").unwrap();
    assert_eq!(clean.wait().unwrap().code(), Some(0));
    scene.must_have_left_nothing(&run, "cleaned");
    assert!(waits);
}

#[test]
fn a_container_that_is_being_made_when_its_run_is_cleaned_is_removed() {
    let Some(engine) = engine() else { return };
    let runtime = Runtime::of_podman(engine);
    let scene = Scene::new(&runtime);
    let (listed, runs) = (scene.shared("listed"), scene.shared("runs"));
    // The list is taken before the container is there, and read once its gate runs.
    scene.wrap(
        "podman",
        &format!(
            "case $1 in run) touch {asked}; until [ -e {listed} ]; do sleep 0.05; done ;;\n\
             ps) if ! [ -e {listed} ]; then {{real}} \"$@\"; touch {listed}; until [ -s {runs} ]; do sleep 0.05; done; exit; fi ;; esac",
            asked = scene.shared("asked")
        ),
    );
    std::fs::write(scene.world.path("shared/hold"), "").unwrap();
    let plan = scene.world.path("plan.yaml").display().to_string();
    let mut lexpr = scene.command(&["merge", &plan, "--execute"]).spawn().unwrap();
    let asked = scene.world.path("shared/asked");
    wait_for("the container to be asked for", || asked.exists().then_some(()));
    scene.kill_with_guards(&mut lexpr);
    lexpr.wait().unwrap();
    let runs = scene.world.repo().join(".git/lexpr/runs");
    let run = runs.read_dir().unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    scene.clean(&run, "cleaned");
}

#[test]
fn who_listens_to_a_job_is_nobody_to_wait_for_when_the_run_goes_on() {
    let Some(cluster) = slurm_world::World::start() else { return };
    let runtime = Runtime::of_cluster("jobs", &cluster);
    let scene = Scene::new(&runtime);
    let go = scene.shared("go");
    let text = std::fs::read_to_string(scene.world.path("plan.yaml")).unwrap();
    let waits = format!("echo heard; until [ -e {go} ]; do sleep 0.1; done; exec 9>>");
    scene.world.plan(&text.replacen("exec 9>>", &waits, 1));
    let plan = scene.world.path("plan.yaml").display().to_string();
    let mut lexpr = scene.command(&["merge", &plan, "--execute"]).spawn().unwrap();
    let runs = scene.world.repo().join(".git/lexpr/runs");
    wait_for("what the gate prints to be heard", || {
        let logs =
            runs.read_dir().ok()?.flatten().flat_map(|run| run.path().join("logs").read_dir()).flatten().flatten();
        let mut logs = logs.filter_map(|log| std::fs::read_to_string(log.path()).ok());
        logs.any(|log| log.contains("heard")).then_some(())
    });
    lexpr.kill().unwrap();
    lexpr.wait().unwrap();
    let mut resumed = scene.command(&["resume"]).spawn().unwrap();
    wait_for("the run to go on, or to wait", || {
        (scene.has_passed("resume.cleaned") || scene.has_passed("resume.waits")).then_some(())
    });
    std::fs::write(go, "").unwrap();
    assert_eq!(resumed.wait().unwrap().code(), Some(0));
    assert!(!scene.has_passed("resume.waits"));
    assert_eq!(scene.runs().len(), 1);
}
