//! Gates as the loop runs them: real slots of a real repository, real processes under the built
//! lexpr as their guard, and the news that come of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lexpr::gate::processes::RecentProcesses;
use lexpr::gate::{GateSettings, LocalGates};
use lexpr::git::slot::{SlotPool, SlotSettings};
use lexpr::plan::{Gate, Setup};
use lexpr::ports::{GateRun, GateRunner, Job, JobGateRun, JobNews};
use lexpr::vocabulary::event::{GateOutcome, Verdict};
use lexpr::vocabulary::names::{CommitId, DefinitionDigest, ItemName, JobId, VerdictKey, WorkerId};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::land_world::{Entry, Repo, file};

pub struct World {
    pub folder: TempDir,
    pub repo: Repo,
    pub gates: LocalGates,
}

pub fn gate(name: &str, run: &str) -> Gate {
    Gate::bare(name.into(), DefinitionDigest::of([run.as_bytes()]), run.to_owned(), Duration::from_secs(1000))
}

pub fn setup(run: &str, inputs: &[&str]) -> Setup {
    let definition = DefinitionDigest::of([run.as_bytes()]);
    Setup { run: run.to_owned(), inputs: inputs.iter().map(|&glob| glob.to_owned()).collect(), definition }
}

/// Ended attempts: position of the gate, number of the attempt, how it went.
pub type Finished = Vec<(usize, u32, GateRun)>;

pub const PASSED: Option<Verdict> = Some(Verdict::Passed { flaky: false });
pub const FAILED: Option<Verdict> = Some(Verdict::Failed);
pub const UNKNOWN: Option<Verdict> = Some(Verdict::Unknown);

pub fn failed(exit_code: i32) -> GateOutcome {
    GateOutcome::Failed { exit_code }
}

impl World {
    pub fn new() -> Self {
        Self::with_environment(&[])
    }

    /// With variables besides PATH in the caller's environment.
    pub fn with_environment(more: &[(&str, &str)]) -> Self {
        Self::with(more, 200 * 1024 * 1024)
    }

    /// With logs of at most so many bytes.
    pub fn with_short_logs(log_max_bytes: u64) -> Self {
        Self::with(&[], log_max_bytes)
    }

    fn with(more: &[(&str, &str)], log_max_bytes: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let repo = Repo::init(&folder.path().join("repository.git"), &["--bare"]);
        let pool = SlotPool::new(SlotSettings {
            cache_root: folder.path().join("cache"),
            repository_id: "repository".to_owned(),
            object_dirs: vec![repo.objects()],
            store: None,
            target_branch: "main".to_owned(),
        });
        let mut environment: Vec<(OsString, OsString)> = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
        environment.extend(more.iter().map(|(name, value)| (name.into(), value.into())));
        let settings = GateSettings {
            run: "20261121-150000-abcd".into(),
            mark: "20261121-150000-abcd@1.2".to_owned(),
            logs: folder.path().join("logs"),
            artifacts: folder.path().join("artifacts"),
            guard_exe: PathBuf::from(env!("CARGO_BIN_EXE_lexpr")),
            environment,
            log_max_bytes,
            redact: Vec::new(),
            grace: Duration::from_millis(50),
            engine_patience: GateSettings::ENGINE_PATIENCE,
        };
        let gates = LocalGates::new(settings, pool, Arc::new(RecentProcesses::default()));
        Self { folder, repo, gates }
    }

    /// A path outside of every slot, for what gates and tests tell each other.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Everything ending in `.o` and the folder `target` is ignored.
    pub fn commit(&self, entries: &[Entry]) -> CommitId {
        let mut all = vec![file(".gitignore", "*.o\ntarget/\n"), file("a.txt", "a\n")];
        all.extend_from_slice(entries);
        self.repo.commit(&all, &[])
    }

    pub fn job(&self, commit: CommitId, gates: impl IntoIterator<Item = Gate>) -> Job {
        let keyed = |gate: Gate| JobGateRun {
            key: VerdictKey::of([gate.name.as_str().as_bytes(), gate.run.as_bytes(), &[u8::from(gate.context)]]),
            item: None,
            ran: 0,
            gate: Arc::new(gate),
        };
        Job {
            job: JobId(1),
            worker: WorkerId(0),
            commit,
            tree: self.repo.tree_of(commit),
            base: commit,
            gates: gates.into_iter().map(keyed).collect(),
            fail_fast: true,
            clean_slot: false,
            setup: None,
        }
    }

    pub async fn run(&self, job: Job) -> Finished {
        let (_cancel, cancelled) = watch::channel(false);
        self.run_with(job, cancelled).await
    }

    /// Runs a job to its end. That every attempt is told to start before it is told to have ended,
    /// one after another, is seen to here.
    pub async fn run_with(&self, job: Job, cancel: watch::Receiver<bool>) -> Finished {
        let (sender, mut news) = mpsc::unbounded_channel();
        let expected_job = job.job;
        self.gates.run(job, sender, cancel).await.unwrap();
        let mut finished = Vec::new();
        let mut running = None;
        while let Some(news) = news.recv().await {
            match news {
                JobNews::Started { job, gate, attempt, .. } => {
                    assert_eq!((job, running.replace((gate, attempt))), (expected_job, None));
                }
                JobNews::Finished { job, gate, attempt, run } => {
                    assert_eq!((job, running.take()), (expected_job, Some((gate, attempt))));
                    finished.push((gate, attempt, *run));
                }
                JobNews::ChecksMissing { .. } | JobNews::Waits { .. } => panic!("nothing here waits elsewhere"),
                JobNews::Stuck(error) => panic!("{error}"),
            }
        }
        assert_eq!(running, None);
        finished
    }

    /// Runs one gate on a tree of two files.
    pub async fn run_one(&self, gate: Gate) -> Finished {
        self.run(self.job(self.commit(&[]), [gate])).await
    }
}

/// Runs it for an item.
pub fn for_item(mut job: Job, item: &str) -> Job {
    for gate in &mut job.gates {
        gate.item = Some(ItemName::from(item));
    }
    job
}

/// What it came to, attempt by attempt.
pub fn verdicts(finished: &Finished) -> Vec<(usize, u32, GateOutcome, Option<Verdict>)> {
    finished.iter().map(|(gate, attempt, run)| (*gate, *attempt, run.outcome.clone(), run.verdict)).collect()
}

/// What the command of an attempt wrote.
pub fn output(run: &GateRun) -> String {
    fs::read_to_string(&run.log).unwrap()
}

/// As a shell word.
pub fn word(path: &Path) -> String {
    format!("'{}'", path.display())
}
