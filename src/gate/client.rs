//! lexpr's end of a guard: starts one, hands it commands, tells when they have ended with all
//! they started. Dropping it closes the pipe, upon which the guard kills whatever still runs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use super::environment::Environment;
use super::guard::KILL_LIMIT;
use super::orphans;
use super::processes::{Process, ProcessTable};
use super::protocol::{Ended, OsText, PROTOCOL, Reply, Request, Start, line};
use super::pump::LogRules;
use crate::crash;

/// A guard answers in milliseconds; a machine under heavy load may take seconds.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// The guard, or what was asked of it, did not come off.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuardError {
    #[error("the guard process could not be started from {exe}: {source}")]
    Start { exe: String, source: std::io::Error },
    #[error("{exe} started as a guard did not answer as one: {why}")]
    NotAGuard { exe: String, why: String },
    #[error(
        "the guard that watches over the command was killed or ended before it ({0}): by the command itself, such as \
         with `kill $PPID` or `pkill`, by somebody else, or by the kernel for want of memory"
    )]
    Lost(String),
    #[error("the guard process gave an answer that lexpr cannot read: {0}")]
    Unreadable(String),
    #[error("the command could not be started: {0}")]
    NotStarted(String),
    #[error("what the command printed could not be written to its log: {0}")]
    Log(String),
    #[error("{0}")]
    NoSlot(String),
    #[error("processes {0:?} could not be ended: they wait for hardware, or belong to another user")]
    Survivors(Vec<i32>),
}

/// A guard does what it has to do by its own limits; one that takes so much longer has been stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// One command as a guard shall run it.
#[derive(Debug)]
pub(super) struct GuardedCommand<'a> {
    /// The program's path and its arguments, see [`shell`].
    pub(super) argv: &'a [OsString],
    /// What ends what the command starts beyond the guard's reach, should lexpr die before that; empty where it starts
    /// nothing of the kind.
    pub(super) at_death: &'a [OsString],
    pub(super) cwd: &'a Path,
    pub(super) environment: &'a Environment,
    /// An existing file.
    pub(super) log: &'a Path,
    pub(super) log_rules: LogRules,
    pub(super) timeout: Duration,
    /// Between TERM and KILL.
    pub(super) grace: Duration,
}

/// A running guard.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    requests: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
    runs: u64,
}

impl Guard {
    /// Starts `exe guard` and waits until it is ready. It has `at_work` open for as long as it lives,
    /// and nothing that it starts has.
    pub(super) async fn start(exe: &Path, at_work: File) -> Result<Self, GuardError> {
        let start_error = |source| GuardError::Start { exe: exe.display().to_string(), source };
        #[expect(clippy::disallowed_methods, reason = "this is the place where guards are started")]
        let mut command = Command::new(exe);
        command
            .arg0("lexpr-guard")
            .arg("guard")
            // It keeps no folder of the user's from being unmounted or removed.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A guard says nothing there, and each command gets its log in this place.
            .stderr(Stdio::from(at_work));
        crash::point!("guard.start.before");
        let mut child = command.spawn().map_err(start_error)?;
        crash::point!("guard.start.after");
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GuardError::Lost("its pipes are missing".to_owned()));
        };
        let mut guard = Self { child, requests, replies: BufReader::new(replies).lines(), runs: 0 };
        let not_a_guard = |why: String| GuardError::NotAGuard { exe: exe.display().to_string(), why };
        match tokio::time::timeout(READY_LIMIT, guard.reply()).await {
            Ok(Ok(Reply::Ready { protocol: PROTOCOL })) => Ok(guard),
            Ok(Ok(Reply::Ready { .. })) => Err(not_a_guard("lexpr was replaced by another version".to_owned())),
            Ok(Ok(other)) => Err(not_a_guard(format!("{other:?}"))),
            Ok(Err(error)) => Err(not_a_guard(error.to_string())),
            Err(_) => Err(not_a_guard(format!("no answer within {} s", READY_LIMIT.as_secs()))),
        }
    }

    /// The process all that it runs descends from.
    pub(super) fn pid(&self) -> Option<i32> {
        self.child.id().and_then(|pid| i32::try_from(pid).ok())
    }

    /// Runs one command until it, and all it started, has ended. `cancel` turning true ends it.
    ///
    /// # Errors
    /// After any error but [`GuardError::NotStarted`] the guard is of no more use: drop it.
    pub(super) async fn run(
        &mut self,
        command: &GuardedCommand<'_>,
        cancel: &mut watch::Receiver<bool>,
    ) -> Result<Ended, GuardError> {
        let mut leader = None;
        let ended = self.run_watched(command, cancel, &mut leader).await;
        if let Err(GuardError::Lost(_) | GuardError::Unreadable(_)) = &ended {
            // It may have been killed before it could tell that it had started anything.
            end_orphaned_group(leader);
            let mark = OsStr::new("LEXPR_ARTIFACTS");
            if let Some(own) = command.environment.get(mark).cloned() {
                // A folder for each attempt: it tells its processes from all others.
                let ended = tokio::task::spawn_blocking(move || orphans::end_marked("LEXPR_ARTIFACTS", &own)).await;
                // Nothing that can be done about it is left to do.
                drop(ended);
            }
        }
        ended
    }

    /// `leader` is the command's process, once it is known.
    async fn run_watched(
        &mut self,
        command: &GuardedCommand<'_>,
        cancel: &mut watch::Receiver<bool>,
        leader: &mut Option<Process>,
    ) -> Result<Ended, GuardError> {
        self.runs += 1;
        let run = self.runs;
        crash::point!("gate.start.before");
        self.send(&Request::Start(Box::new(start(run, command)))).await?;
        let pid = match self.reply().await? {
            Reply::Started { pid } => pid,
            Reply::NotStarted { why } => return Err(GuardError::NotStarted(why)),
            other => return Err(GuardError::Unreadable(format!("{other:?}"))),
        };
        crash::point!("gate.start.after");
        // For the one case in which there is no guard left to ask.
        *leader = ProcessTable::process(pid);
        let to_end = command.grace + KILL_LIMIT + PATIENCE;
        let reply = tokio::select! {
            reply = self.reply() => reply,
            () = cancelled(cancel) => match self.send(&Request::Cancel { run }).await {
                Ok(()) => self.reply_within(to_end).await,
                Err(error) => Err(error),
            },
            // After a stop (Ctrl-Z) that took longer than this, its answer may be there all the same.
            () = tokio::time::sleep(command.timeout.saturating_add(to_end)) => self.reply_within(PATIENCE).await,
        };
        crash::point!("gate.end");
        match reply? {
            Reply::Ended(Ended { log_failure: Some(why), .. }) => Err(GuardError::Log(why)),
            Reply::Ended(ended) if ended.survivors.is_empty() => Ok(ended),
            Reply::Ended(ended) => Err(GuardError::Survivors(ended.survivors)),
            other => Err(GuardError::Unreadable(format!("{other:?}"))),
        }
    }

    async fn reply_within(&mut self, limit: Duration) -> Result<Reply, GuardError> {
        match tokio::time::timeout(limit, self.reply()).await {
            Ok(reply) => reply,
            Err(_) => Err(self.give_up().await),
        }
    }

    /// A guard that should have answered long ago: a gate may have stopped it. What it watches over
    /// is ended first, while it can still be told by it.
    async fn give_up(&mut self) -> GuardError {
        if let Some(pid) = self.pid() {
            let descendants = ProcessTable::read().map(|table| table.descendants(pid)).unwrap_or_default();
            descendants.iter().for_each(|process| process.signal(Signal::KILL));
        }
        self.lost().await
    }

    async fn send(&mut self, request: &Request) -> Result<(), GuardError> {
        let line = line(request).map_err(|error| GuardError::Unreadable(error.to_string()))?;
        match self.requests.write_all(&line).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.lost().await),
        }
    }

    /// Cancel safe: a reply that was not waited for to the end comes the next time.
    async fn reply(&mut self) -> Result<Reply, GuardError> {
        match self.replies.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line).map_err(|_| GuardError::Unreadable(line)),
            Ok(None) | Err(_) => Err(self.lost().await),
        }
    }

    async fn lost(&mut self) -> GuardError {
        // It closed its output: it is gone, or as good as gone.
        let _ = self.child.start_kill();
        GuardError::Lost(match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        })
    }
}

/// What reads a gate's command.
pub const SHELL: &str = "/bin/sh";

/// A command line as the shell takes it.
pub(super) fn shell(run: &str) -> Vec<OsString> {
    [SHELL, "-c", run].map(OsString::from).into()
}

fn start(run: u64, command: &GuardedCommand) -> Start {
    let text = |text: &OsStr| OsText::from(text);
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Start {
        run,
        argv: command.argv.iter().map(|word| text(word)).collect(),
        at_death: command.at_death.iter().map(|word| text(word)).collect(),
        cwd: text(command.cwd.as_os_str()),
        env: command.environment.iter().map(|(name, value)| (text(name), text(value))).collect(),
        log: text(command.log.as_os_str()),
        log_rules: command.log_rules.clone(),
        timeout_ms: millis(command.timeout),
        grace_ms: millis(command.grace),
    }
}

/// A guard that was killed leaves its command running, with nobody to end it but us: at least
/// the process group, which is nearly always all of it.
fn end_orphaned_group(leader: Option<Process>) {
    if let Some(leader) = leader
        && leader.is_there()
        && let Some(pid) = Pid::from_raw(leader.pid)
    {
        // Gone already, then.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Waits until the value is true; for ever where nobody is left who could make it so.
pub(super) async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|cancelled| *cancelled).await.is_err() {
        std::future::pending().await
    }
}
