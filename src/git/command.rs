//! Starting the `git` program so that only what lexpr says decides what it does.
//!
//! The caller's `GIT_*` variables are dropped (a hook or a wrapper may have set them for
//! another repository), messages are in English because some are read, and nothing ever waits
//! for a person at a prompt.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread::ScopedJoinHandle;

use rustix::process::Signal;

use crate::crash;
use crate::disk::room::first_full;

/// Whose configuration git reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Config {
    /// The repository's own alone: for the repositories lexpr makes, so that no machine's or
    /// user's setting changes what a merge or a checkout gives.
    RepositoryOnly,
    /// As the user has it: for what is done in the user's own repository in their name.
    Users,
}

/// Put before a git command: what it writes is on disk before it answers, whatever `core.fsync` says.
pub const DURABLE: [&str; 4] = ["-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync"];

/// Put before every git command: no hook runs, wherever hooks lie, and no program is asked which
/// files have changed. A fresh clone has neither, and what a repository brings of them was put there
/// by whoever made it.
const STARTS_NOTHING: [&str; 4] = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];

/// git could not be started, or answered with a failure.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git could not be started: {0}{hint}", hint = if is_gone(.0) { "; is it still on the PATH?" } else { "" })]
    NotStarted(#[source] std::io::Error),
    #[error("`git {command}` failed ({status}): {stderr}")]
    Failed { command: String, status: String, stderr: String },
    #[error("`git {command}` gave an answer that lexpr cannot read: {why}")]
    Unreadable { command: String, why: String },
    #[error("{doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
}

/// Whether a program could not be started because there is none.
pub fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

impl GitError {
    /// For `map_err`: an I/O failure with what was being done, such as `writing`, and where.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

/// How the C library and git name what a machine lacks or refuses, whatever is asked of it. Read in
/// English: git is started so.
const LACK_OF_ROOM: [&str; 3] = ["No space left on device", "Out of diskspace", "Disk quota exceeded"];
const OTHER_TROUBLE: [&str; 10] = [
    "File too large",
    "SIGXFSZ",
    "Permission denied",
    "Read-only file system",
    "Too many open files",
    "Cannot allocate memory",
    "Out of memory",
    // No process or thread can be added.
    "Resource temporarily unavailable",
    "Input/output error",
    "Transport endpoint is not connected",
];
/// What git says where it could open a file, and not write all of it: not why, though the machine alone can
/// be the reason.
const UNWRITTEN: [&str; 4] =
    ["unable to write file", "unable to write new index file", "Unable to write new index file", "couldn't write '"];

/// Whether a message tells of a full disk.
pub fn tells_of_a_full_disk(message: &str) -> bool {
    LACK_OF_ROOM.iter().any(|text| message.contains(text))
}

/// Whether a message tells of trouble with the machine, which no other item would be spared.
pub fn tells_of_trouble(message: &str) -> bool {
    tells_of_a_full_disk(message) || OTHER_TROUBLE.iter().chain(&UNWRITTEN).any(|text| message.contains(text))
}

/// What to do about trouble of which a message tells, where that is plain.
pub fn remedy(message: &str) -> Option<&'static str> {
    let tells = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if tells_of_a_full_disk(message) {
        Some("free some space there, or raise the quota")
    } else if tells(&["Permission denied", "Read-only file system", "Operation not permitted"]) {
        Some("make that place writable for the user that runs lexpr (see `ls -ld` and `findmnt -T` of it)")
    } else if tells(&[
        "Too many open files",
        "Resource temporarily unavailable",
        "Cannot allocate memory",
        "Out of memory",
    ]) {
        Some("see what the machine and its limits (`ulimit -a`) leave for open files, processes and memory")
    } else if tells(&UNWRITTEN) {
        Some("see whether the disk there fails, or a quota is used up")
    } else {
        None
    }
}

impl GitError {
    /// It is the machine's, and no tree's or commit's fault: git is gone or was killed, a disk is full.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::NotStarted(_) => true,
            // As an exit status by which a process was ended is shown.
            Self::Failed { status, .. } if status.starts_with("signal:") => true,
            _ => tells_of_trouble(&self.to_string()),
        }
    }

    /// Says so where one of the disks under `folders`, to which the git wrote that failed, is full: git often
    /// does not. To be asked before what was half written is removed. Blocks.
    fn on_disks_under<'a>(mut self, folders: impl IntoIterator<Item = &'a Path>) -> Self {
        if let Self::Failed { stderr: told, .. } | Self::Unreadable { why: told, .. } = &mut self
            && !tells_of_a_full_disk(told)
            && let Some(full) = first_full(folders)
        {
            *told = format!("{told}{}{full}", if told.is_empty() { "" } else { "; " });
        }
        self
    }
}

/// A git directory and how to run git in it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Git {
    /// Passed as `--git-dir`: git looks for no repository of its own.
    git_dir: PathBuf,
    work_tree: Option<PathBuf>,
    /// Another index than the repository's own.
    index: Option<PathBuf>,
    config: Config,
    terminal: Terminal,
    settings: Settings,
}

/// Keys and values of configuration that go before what files say.
pub type Settings = Arc<[(OsString, OsString)]>;

/// Whether the terminal's signals and questions reach git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    /// Ctrl-C is lexpr's to act on: a git it has started ends what it is at.
    Apart,
    /// What git starts, such as ssh, may ask for a passphrase, and Ctrl-C ends it.
    Shared,
}

impl Git {
    pub fn new(git_dir: impl Into<PathBuf>, config: Config) -> Self {
        Self {
            git_dir: git_dir.into(),
            work_tree: None,
            index: None,
            config,
            terminal: Terminal::Apart,
            settings: Arc::default(),
        }
    }

    /// The same repository with `work_tree` as its working tree.
    pub fn with_work_tree(&self, work_tree: impl Into<PathBuf>) -> Self {
        Self { work_tree: Some(work_tree.into()), ..self.clone() }
    }

    /// The same repository with its index at `index`, beside which git makes its lock.
    pub fn with_index(&self, index: impl Into<PathBuf>) -> Self {
        Self { index: Some(index.into()), ..self.clone() }
    }

    /// The same repository with these settings, whatever its files say.
    pub fn with_settings(&self, settings: Settings) -> Self {
        Self { settings, ..self.clone() }
    }

    /// Another git directory, under the same configuration.
    pub fn at(&self, git_dir: impl Into<PathBuf>) -> Self {
        Self::new(git_dir, self.config)
    }

    /// The same repository for talking to remotes: whoever is asked for a passphrase can answer.
    pub fn at_the_terminal(&self) -> Self {
        Self { terminal: Terminal::Shared, ..self.clone() }
    }

    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// A command with everything but its arguments set.
    pub fn command(&self) -> Command {
        let mut command = bare_command(self.config);
        if self.terminal == Terminal::Shared {
            command.process_group(rustix::process::getpgrp().as_raw_nonzero().get());
        }
        command.arg("--git-dir").arg(&self.git_dir);
        if let Some(index) = &self.index {
            command.env("GIT_INDEX_FILE", index);
        }
        set(&mut command, self.config, &self.settings);
        if let Some(work_tree) = &self.work_tree {
            command.arg("--work-tree").arg(work_tree).current_dir(work_tree);
        } else {
            // A folder that exists whatever happens to the caller's: git insists on one.
            command.current_dir(&self.git_dir);
        }
        command
    }

    /// The error for one of this repository that ended with a status it should not have.
    pub fn failed<S: AsRef<OsStr>>(&self, args: &[S], output: &Output) -> GitError {
        self.on_its_disks(failed(args, output))
    }

    /// What one of this repository said that failed, for where the command is beside the point.
    pub fn why_failed(&self, output: &Output) -> String {
        match self.failed::<&str>(&[], output) {
            GitError::Failed { stderr, .. } => stderr,
            other => other.to_string(),
        }
    }

    /// Says so where the failure befell a git to whose files a full disk leaves no room. Blocks.
    pub fn on_its_disks(&self, error: GitError) -> GitError {
        let objects = self.git_dir.join("objects");
        let index = self.index.as_deref().and_then(Path::parent);
        let folders = [self.work_tree.as_deref(), Some(&*self.git_dir), Some(&*objects), index];
        error.on_disks_under(folders.into_iter().flatten())
    }

    fn expect_success<S: AsRef<OsStr>>(&self, args: &[S], output: Output) -> Result<Vec<u8>, GitError> {
        expect_success(args, output).map_err(|error| self.on_its_disks(error))
    }

    /// Runs git to its end and gives its standard output.
    ///
    /// # Errors
    /// Where git cannot be started or its exit status is not 0.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Vec<u8>, GitError> {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self.expect_success(&args, self.output(&args, None)?)
    }

    /// As [`Git::run`], with `input` as git's standard input.
    pub fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Result<Vec<u8>, GitError> {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self.expect_success(&args, self.output(&args, Some(input))?)
    }

    /// As [`Git::run`], as text without the newline at its end.
    pub fn line<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String, GitError> {
        let mut text = String::from_utf8_lossy(&self.run(args)?).into_owned();
        text.truncate(text.trim_end_matches('\n').len());
        Ok(text)
    }

    /// Runs git to its end, whatever its exit status. One that a signal ended has said neither yes nor
    /// no: that is an error.
    pub fn output<S: AsRef<OsStr>>(&self, args: &[S], input: Option<&[u8]>) -> Result<Output, GitError> {
        let run = || {
            let mut command = self.command();
            command.args(args);
            output(command, input)
        };
        let mut done = run()?;
        // A Ctrl-C reaches one that is just being started and not in its own process group yet. It has done nothing.
        if done.status.signal() == Some(Signal::INT.as_raw()) {
            done = run()?;
        }
        said(args, done)
    }

    /// As [`Git::output`] without input, of several at the same time: for short answers to questions that
    /// have nothing to do with each other.
    pub fn outputs<const N: usize>(&self, questions: [&[&str]; N]) -> [Result<Output, GitError>; N] {
        side_by_side(questions.map(|args| {
            let mut command = self.command();
            command.args(args);
            (args, command)
        }))
    }
}

/// One that a signal ended has said neither yes nor no: that is an error.
fn said<S: AsRef<OsStr>>(args: &[S], output: Output) -> Result<Output, GitError> {
    if output.status.code().is_none() { Err(failed(args, &output)) } else { Ok(output) }
}

/// The variable by which a git is known that outlives the lexpr that started it: its value is the mark of
/// the run.
pub const STARTED_BY: &str = "LEXPR_GIT_OF";

static RUN: OnceLock<String> = OnceLock::new();

/// From now on every git that this process starts says which run it works for. The first counts.
pub fn work_for(mark: String) {
    let _ = RUN.set(mark);
}

/// What of the caller's `GIT_*` variables is configuration (which repository is meant, is not):
/// settings given in the environment, and how to reach and identify oneself to remotes. By prefix.
const USERS_SETTINGS: [&[u8]; 7] =
    [b"GIT_CONFIG_", b"GIT_SSH", b"GIT_ASKPASS", b"GIT_SSL_", b"GIT_PROXY_", b"GIT_HTTP_", b"GIT_ALLOW_PROTOCOL"];

/// `git` without a repository: for `git --version` and for finding out where one is.
pub fn bare_command(config: Config) -> Command {
    #[expect(clippy::disallowed_methods, reason = "this is the place where git is started")]
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        let kept =
            config == Config::Users && USERS_SETTINGS.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix));
        if name.as_encoded_bytes().starts_with(b"GIT_") && !kept {
            command.env_remove(name);
        }
    }
    command
        .args(STARTS_NOTHING)
        // An object that is missing is missing: it is not fetched by what a remote's settings start.
        .env("GIT_NO_LAZY_FETCH", "1")
        // What others get of a commit: replacements and grafts stay in this repository. The file is
        // not there and cannot be; git warns of one that is.
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_GRAFT_FILE", "/dev/null/none")
        // Messages that lexpr reads or passes on are the English ones.
        .env("LC_ALL", "C")
        // A run waits for no password.
        .env("GIT_TERMINAL_PROMPT", "0")
        // `status` must not rewrite the user's index behind their back.
        .env("GIT_OPTIONAL_LOCKS", "0")
        // In a process group of its own no Ctrl-C reaches it: the target's checkout is not left
        // half moved, and a merge under way is no error.
        .process_group(0)
        .stdin(Stdio::null());
    if let Some(run) = RUN.get() {
        command.env(STARTED_BY, run);
    }
    if config == Config::RepositoryOnly {
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            // The default of core.attributesFile lies under XDG_CONFIG_HOME or HOME.
            .env("XDG_CONFIG_HOME", "/dev/null");
    }
    command
}

/// Adds settings to those that the caller's environment may hold (git-config(1), `GIT_CONFIG_COUNT`):
/// unlike `-c`, whatever a key holds.
fn set(command: &mut Command, config: Config, settings: &Settings) {
    if settings.is_empty() {
        return;
    }
    let before = std::env::var("GIT_CONFIG_COUNT").ok().filter(|_| config == Config::Users);
    let before: usize = before.and_then(|count| count.parse().ok()).unwrap_or_default();
    for (at, (key, value)) in settings.iter().enumerate() {
        let at = before + at;
        command.env(format!("GIT_CONFIG_KEY_{at}"), key).env(format!("GIT_CONFIG_VALUE_{at}"), value);
    }
    command.env("GIT_CONFIG_COUNT", (before + settings.len()).to_string());
}

/// Runs a command to its end, whatever its exit status.
pub fn output(mut command: Command, input: Option<&[u8]>) -> Result<Output, GitError> {
    let Some(input) = input else { return finish(start(command)) };
    command.stdin(Stdio::piped());
    let mut child = start(command).map_err(GitError::NotStarted)?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // On a thread of its own, or both sides could wait for a full pipe to empty.
        let feeding = std::thread::Builder::new().spawn_scoped(scope, move || {
            if let Some(mut stdin) = stdin {
                // A git that stops reading early says why on stderr, with a failing status.
                let _ = stdin.write_all(input);
            }
        });
        // Without a thread it reads nothing, and ends.
        let output = child.wait_with_output();
        feeding.and(output).map_err(GitError::NotStarted)
    })
}

/// Runs gits at the same time, each to its end, whatever their exit statuses. One that a signal ended is an
/// error, as in [`Git::output`].
pub fn together<const N: usize>(commands: [Command; N]) -> [Result<Output, GitError>; N] {
    side_by_side(commands.map(|command| {
        let args: Vec<OsString> = command.get_args().skip(STARTS_NOTHING.len()).map(OsStr::to_owned).collect();
        (args, command)
    }))
}

/// Each with the arguments by which it is told of.
fn side_by_side<S: AsRef<OsStr>, A: AsRef<[S]>, const N: usize>(
    commands: [(A, Command); N],
) -> [Result<Output, GitError>; N] {
    let under_way = commands.map(|(args, command)| (args, start(command)));
    under_way.map(|(args, child)| said(args.as_ref(), finish(child)?))
}

fn start(mut command: Command) -> std::io::Result<Child> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    crash::point!(&under_way(&command));
    Ok(child)
}

fn finish(child: std::io::Result<Child>) -> Result<Output, GitError> {
    child.and_then(Child::wait_with_output).map_err(GitError::NotStarted)
}

/// What a thread came to that worked beside its starter. A panic in it goes on here.
///
/// # Errors
/// Where it could not be started.
pub fn joined<T>(started: std::io::Result<ScopedJoinHandle<'_, T>>) -> Result<T, GitError> {
    let ended = started.map_err(GitError::NotStarted)?.join();
    Ok(ended.unwrap_or_else(|panic| resume_unwind(panic)))
}

/// The place at which a git has been started and not waited for.
#[cfg(feature = "failpoints")]
fn under_way(command: &Command) -> String {
    let known = |arg: &&OsStr| UNDER_WAY.iter().any(|name| arg == name);
    let name = command.get_args().find(known).map_or("other".into(), OsStr::to_string_lossy);
    format!("git.{name}.under-way")
}

/// The gits that change something.
#[cfg(feature = "failpoints")]
const UNDER_WAY: [&str; 7] =
    ["update-ref", "push", "read-tree", "clean", "checkout-index", "hash-object", "merge-tree"];

/// The standard output of a git that ended well.
pub fn expect_success<S: AsRef<OsStr>>(args: &[S], output: Output) -> Result<Vec<u8>, GitError> {
    if output.status.success() { Ok(output.stdout) } else { Err(failed(args, &output)) }
}

/// The error for a git that ended with a status it should not have.
pub fn failed<S: AsRef<OsStr>>(args: &[S], output: &Output) -> GitError {
    GitError::Failed {
        command: shown(args),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }
}

/// The arguments as a person would read them.
pub fn shown<S: AsRef<OsStr>>(args: &[S]) -> String {
    args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ")
}
