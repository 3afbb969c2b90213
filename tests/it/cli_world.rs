//! A repository, a home of its own and the real binary: for tests that use lexpr as a person does.

#![expect(clippy::disallowed_methods, reason = "a person starts lexpr, git and a shell")]

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lexpr::git::scratch::{self, ScratchBranch, ScratchCommit};
use tempfile::TempDir;

/// Far beyond what anything here takes: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A branch with one commit: its name, the branch it begins at, and the files it writes.
pub type NewBranch<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

pub struct World {
    folder: TempDir,
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Panics with all that was said unless the command ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl World {
    /// A repository with `main` checked out at a commit of `first`, and the branches.
    pub fn new(first: &[(&str, &str)], branches: &[NewBranch<'_>]) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(world.path("home")).unwrap();
        let messages: Vec<String> = branches.iter().map(|(name, ..)| format!("Work on {name}")).collect();
        let commits: Vec<[ScratchCommit<'_>; 1]> =
            branches.iter().zip(&messages).map(|((_, _, files), message)| [ScratchCommit { message, files }]).collect();
        let branches: Vec<ScratchBranch<'_>> = branches
            .iter()
            .zip(&commits)
            .map(|((name, from, _), commits)| ScratchBranch { name, from, commits })
            .collect();
        scratch::create(&world.repo(), ScratchCommit { message: "Begin", files: first }, &branches).unwrap();
        world
    }

    /// For somebody to look at: nothing of it is removed any more.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// Writes a plan beside the repository.
    pub fn plan(&self, text: &str) -> PathBuf {
        let path = self.path("plan.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The binary, in the repository, in an environment that no user or machine has touched.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_lexpr").as_ref(), args)
    }

    /// As [`World::command`], of another build.
    pub fn command_of<S: AsRef<OsStr>>(&self, binary: &OsStr, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary);
        self.set_up(&mut command);
        command.args(args);
        command
    }

    /// Makes hooks of the repository an instrument of the test: lexpr's own git starts none, so a git
    /// of the test's is put before it that does.
    pub fn heed_hooks(&self) {
        let real = self.shell("command -v git").output().unwrap().stdout;
        let real = String::from_utf8(real).unwrap();
        let script = format!(
            "#!/bin/sh\nfor arg; do shift\n[ \"$arg\" = core.hooksPath=/dev/null ] && arg=core.hooksPath='{}'\n\
             set -- \"$@\" \"$arg\"\ndone\nexec {} \"$@\"\n",
            self.repo().join(".git/hooks").display(),
            real.trim()
        );
        std::fs::create_dir(self.path("bin")).unwrap();
        let git = self.path("bin/git");
        std::fs::write(&git, script).unwrap();
        std::fs::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn set_up(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap();
        let before = Some(self.path("bin")).filter(|bin| bin.exists());
        let path = std::env::join_paths(before.into_iter().chain(std::env::split_paths(&path))).unwrap();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(self.repo())
            .stdin(Stdio::null());
    }

    /// A line for the shell, in the repository.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        self.set_up(&mut command);
        command.args(["-c", line]);
        command
    }

    pub fn lexpr<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// `lexpr merge plan.yaml ARGS` with a plan of this text.
    pub fn merge(&self, plan: &str, args: &[&str]) -> Said {
        let plan = self.plan(plan);
        self.lexpr([OsStr::new("merge"), plan.as_os_str()].into_iter().chain(args.iter().map(OsStr::new)))
    }

    /// Starts the binary with its output piped.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// git in the repository; panics where it fails.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        self.set_up(&mut command);
        command.envs([
            ("GIT_AUTHOR_NAME", "Ann"),
            ("GIT_AUTHOR_EMAIL", "ann@example.org"),
            ("GIT_COMMITTER_NAME", "Ann"),
            ("GIT_COMMITTER_EMAIL", "ann@example.org"),
            // The same is the same commit, in whatever world it is made.
            ("GIT_AUTHOR_DATE", "1700000000 +0000"),
            ("GIT_COMMITTER_DATE", "1700000000 +0000"),
        ]);
        let said: Said = command.args(args).output().unwrap().into();
        assert_eq!(said.code, 0, "git {args:?}: {}", said.stderr);
        said.stdout.trim_end().to_owned()
    }

    /// As [`World::git`], with `input` for git to read.
    #[track_caller]
    pub fn feed(&self, args: &[&str], input: &[u8]) -> String {
        let path = self.path("input");
        std::fs::write(&path, input).unwrap();
        let mut command = Command::new("git");
        self.set_up(&mut command);
        let said: Said = command.args(args).stdin(std::fs::File::open(path).unwrap()).output().unwrap().into();
        assert_eq!(said.code, 0, "git {args:?}: {}", said.stderr);
        said.stdout.trim_end().to_owned()
    }

    pub fn write(&self, path: &str, content: &str) {
        std::fs::write(self.repo().join(path), content).unwrap();
    }

    pub fn main(&self) -> String {
        self.git(&["rev-parse", "main"])
    }

    /// The files of main, sorted.
    pub fn files_on_main(&self) -> Vec<String> {
        self.git(&["ls-tree", "-r", "--name-only", "main"]).lines().map(str::to_owned).collect()
    }

    /// Everything that was started in this world and lives, as folders of /proc: it has the world's home.
    pub fn processes(&self) -> Vec<PathBuf> {
        let home = format!("HOME={}", self.path("home").display());
        let environ = |process: &Path| std::fs::read(process.join("environ")).unwrap_or_default();
        let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        let is_ours = |process: &PathBuf| environ(process).split(|byte| *byte == 0).any(|set| set == home.as_bytes());
        processes.filter(is_ours).collect()
    }

    /// The newest run's report.
    pub fn report(&self, file: &Path) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

/// The passes that the receipt of the report's first landing names; `lexpr verify` agrees with it.
#[track_caller]
pub fn receipt_gates(verify: &mut Command, report: &serde_json::Value) -> serde_json::Value {
    let receipt = report["landings"][0]["receipt"].as_str().unwrap();
    Said::from(verify.arg(receipt).output().unwrap()).expect(0);
    let receipt: serde_json::Value = serde_json::from_slice(&std::fs::read(receipt).unwrap()).unwrap();
    receipt["gates"].clone()
}

/// For tests that interrupt what they start, which would be waited for in vain: a signal that somebody ignores is
/// ignored by all that they start.
pub fn must_hear_interrupts() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    let interrupt = 1 << (rustix::process::Signal::INT.as_raw() - 1);
    assert_eq!(
        ignored & interrupt,
        0,
        "SIGINT is ignored here, as by what a script starts with `&`: run the tests in front"
    );
}

/// Waits until `fact` holds; panics where it never does.
#[track_caller]
pub fn wait_for<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The statuses of a report's items, as `name status`, in the report's order.
pub fn statuses(report: &serde_json::Value) -> Vec<String> {
    report["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| format!("{} {}", item["name"].as_str().unwrap(), item["status"].as_str().unwrap()))
        .collect()
}
