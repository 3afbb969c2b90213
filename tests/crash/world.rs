//! One repository in one of the landing modes, and the real binary in it, ended as a test wants.

#![expect(clippy::disallowed_methods, reason = "a person starts lexpr and git")]

use std::collections::{HashMap, HashSet};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lexpr::git::scratch;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

use crate::case::{Kill, Manner};
use crate::scenario::{FIRST, Mode, Scenario};

/// Far beyond what anything here takes: what lasts this long hangs.
const PATIENCE: Duration = Duration::from_secs(180);

pub struct World {
    folder: TempDir,
    mode: Mode,
}

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Killed,
}

impl World {
    pub fn new(scenario: Scenario) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap(), mode: scenario.mode };
        std::fs::create_dir(world.path("home")).unwrap();
        let first = world.path("repo");
        scratch::create(&first, FIRST, scenario.shape.branches()).unwrap();
        match scenario.mode {
            Mode::Checkout | Mode::Urgent => {}
            Mode::Bare => {
                world.git_in(world.folder.path(), &["clone", "-q", "--bare", "repo", "bare.git"]);
                std::fs::remove_dir_all(first).unwrap();
            }
            Mode::Worktree => {
                world.git_in(&first, &["checkout", "-q", "-b", "elsewhere"]);
                world.git_in(&first, &["worktree", "add", "-q", "../linked", "main"]);
                // Work in progress, not to be touched.
                std::fs::write(first.join("README.md"), "mine\n").unwrap();
                std::fs::write(first.join("untracked"), "mine, too\n").unwrap();
            }
            Mode::Push => {
                world.git_in(world.folder.path(), &["clone", "-q", "--bare", "repo", "remote.git"]);
                world.git_in(&first, &["remote", "add", "upstream", "../remote.git"]);
            }
        }
        std::fs::write(world.path("plan.yaml"), scenario.shape.plan()).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where lexpr is started.
    pub fn start_folder(&self) -> PathBuf {
        self.path(if self.mode == Mode::Bare { "bare.git" } else { "repo" })
    }

    pub fn git_dir(&self) -> PathBuf {
        self.path(if self.mode == Mode::Bare { "bare.git" } else { "repo/.git" })
    }

    /// Working trees of the user's.
    pub fn checkouts(&self) -> Vec<PathBuf> {
        let names: &[&str] = match self.mode {
            Mode::Bare => &[],
            Mode::Checkout | Mode::Push | Mode::Urgent => &["repo"],
            Mode::Worktree => &["repo", "linked"],
        };
        names.iter().map(|name| self.path(name)).collect()
    }

    pub fn remote(&self) -> Option<PathBuf> {
        (self.mode == Mode::Push).then(|| self.path("remote.git"))
    }

    /// What gates append to when they begin, a line each: `gate tree`.
    pub fn trace(&self) -> PathBuf {
        self.path("trace")
    }

    /// The places that lexpr has passed, a line each.
    pub fn passed(&self) -> PathBuf {
        self.path("passed")
    }

    /// Makes the repository's hooks an instrument of the test: lexpr's git starts none, so one of the
    /// test's is put before it that does.
    pub fn heed_hooks(&self) {
        let path = std::env::var_os("PATH").unwrap();
        let real = std::env::split_paths(&path).map(|folder| folder.join("git")).find(|git| git.exists()).unwrap();
        let script = format!(
            "for arg; do shift\n[ \"$arg\" = core.hooksPath=/dev/null ] && arg=core.hooksPath='{}'\n\
             set -- \"$@\" \"$arg\"\ndone\nexec {} \"$@\"\n",
            self.git_dir().join("hooks").display(),
            real.display()
        );
        self.write_script("bin/git", &script);
    }

    fn set_up(&self, command: &mut Command) {
        let before = Some(self.path("bin")).filter(|bin| bin.exists());
        let path = std::env::var_os("PATH").unwrap();
        command
            .env_clear()
            .env("PATH", std::env::join_paths(before.into_iter().chain(std::env::split_paths(&path))).unwrap())
            .env("HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("TRACE", self.trace())
            .stdin(Stdio::null());
    }

    pub fn git(&self, folder: &Path) -> Command {
        let mut command = Command::new("git");
        self.set_up(&mut command);
        command.current_dir(folder);
        command
    }

    pub fn git_in(&self, folder: &Path, args: &[&str]) -> String {
        let output = self.git(folder).args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?} in {}: {stderr}", folder.display());
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Writes a file at a path from this world's top, in folders made for it.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// A shell script that can be run.
    pub fn write_script(&self, path: &str, lines: &str) {
        self.write(path, &format!("#!/bin/sh\n{lines}"));
        std::fs::set_permissions(self.path(path), Permissions::from_mode(0o755)).unwrap();
    }

    /// The newest run's journal, if there is one that holds anything.
    pub fn journal(&self) -> Option<PathBuf> {
        let runs = std::fs::read_dir(self.git_dir().join("lexpr/runs")).ok()?;
        let mut journals: Vec<_> = runs.map(|run| run.unwrap().path().join("journal.jsonl")).collect();
        journals.sort();
        journals.pop().filter(|path| lexpr::journal::first(path).is_some())
    }

    fn lexpr(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lexpr"));
        self.set_up(&mut command);
        command.current_dir(self.start_folder());
        let said = File::options().create(true).append(true).open(self.path("said")).unwrap();
        command.stdout(said.try_clone().unwrap()).stderr(said);
        command
    }

    /// `lexpr merge`, or `lexpr resume` where there is something to resume.
    pub fn go_on(&self) -> Command {
        let mut command = self.lexpr();
        if self.journal().is_some() {
            command.arg("resume");
        } else {
            command.arg("merge").arg(self.path("plan.yaml")).arg("--execute");
            match self.mode {
                Mode::Push => drop(command.args(["--push", "upstream"])),
                Mode::Urgent => drop(command.arg("--urgent")),
                Mode::Bare | Mode::Checkout | Mode::Worktree => {}
            }
        }
        command
    }

    /// The newest run's.
    pub fn run_id(&self) -> String {
        let journal = self.journal().unwrap();
        journal.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// `lexpr merge` of another plan, which is in this file.
    pub fn merge(&self, plan: &str) -> Command {
        let mut command = self.lexpr();
        command.arg("merge").arg(self.path(plan)).arg("--execute");
        command
    }

    pub fn clean(&self, run: &str) -> Command {
        let mut command = self.lexpr();
        command.args(["clean", run]);
        command
    }

    /// `lexpr undo` of the newest run, on the remote, too, where there is one.
    pub fn undo(&self) -> Command {
        let mut command = self.lexpr();
        command.arg("undo").arg(self.run_id());
        if self.mode == Mode::Push {
            command.arg("--push");
        }
        command
    }

    /// Runs a command of lexpr's to its end, which may be the one asked for.
    pub fn run(&self, mut command: Command, kill: Option<&Kill>) -> Ended {
        command.env("LEXPR_CRASH_LIST", self.passed());
        if let Some(kill) = kill {
            command.env("LEXPR_CRASH_AT", format!("{}:{}", kill.place, kill.passage));
            if kill.manner != Manner::Alone {
                command.env("LEXPR_CRASH_HOW", "stop");
            }
        }
        let pid = Self::start(&mut command);
        self.wait(pid, kill)
    }

    pub fn start(command: &mut Command) -> Pid {
        Pid::from_raw(i32::try_from(command.spawn().unwrap().id()).unwrap()).unwrap()
    }

    /// Waits for the end of lexpr, which `kill` may be.
    pub fn wait(&self, pid: Pid, kill: Option<&Kill>) -> Ended {
        let begun = Instant::now();
        loop {
            match waitpid(Some(pid), WaitOptions::NOHANG | WaitOptions::UNTRACED).unwrap() {
                Some((_, status)) if status.stopped() => {
                    end_with(pid, kill.map_or(Manner::Alone, |kill| kill.manner));
                }
                Some((_, status)) => {
                    return match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Ended::Code(code),
                        (None, Some(signal)) if signal == Signal::KILL.as_raw() => Ended::Killed,
                        other => panic!("ended by {other:?}: {}", self.said()),
                    };
                }
                None if begun.elapsed() > PATIENCE => {
                    kill_process(pid, Signal::KILL).unwrap();
                    panic!("lexpr hangs: {}", self.said());
                }
                None => std::thread::park_timeout(Duration::from_millis(3)),
            }
        }
    }

    /// All that lexpr has said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    /// Processes that were started for this world and live, by pid, with their command line.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark = format!("TRACE={}", self.trace().display());
        let mut found = Vec::new();
        for pid in pids() {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
                found.push((pid, command_line(pid)));
            }
        }
        found
    }

    /// Ends them all, and waits until they are gone.
    pub fn kill_processes(&self) {
        while let Some((pid, _)) = self.processes().first() {
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever a failed case left behind.
        self.kill_processes();
        if std::env::var_os("LEXPR_PROVE_KEEP").is_some() {
            let _ = Command::new("cp").arg("-a").arg(self.folder.path()).arg("/tmp/lexpr-prove-kept").status();
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub fn wait_for(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never comes to that");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Ends the stopped process, and before it those of its descendants that are to go with it.
fn end_with(pid: Pid, manner: Manner) {
    let own = pid.as_raw_nonzero().get();
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in pids() {
        children.entry(parent(process)).or_default().push(process);
    }
    let (mut open, mut found) = (vec![own], HashSet::new());
    while let Some(at) = open.pop() {
        for child in children.get(&at).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    for process in found {
        let dies = match manner {
            Manner::Alone => false,
            Manner::Guards => command_line(process).starts_with("lexpr-guard"),
            Manner::All => true,
        };
        if dies {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_raw(process).unwrap(), Signal::KILL);
        }
    }
    kill_process(pid, Signal::KILL).unwrap();
}

fn pids() -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which is in brackets, come the state and the parent.
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
}

fn command_line(pid: i32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}
