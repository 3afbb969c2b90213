//! A shell where a gate would run: the same tree, set up alike, in the same environment, at the caller's terminal.
//! Nothing that happens in it is a verdict, and no guard watches over it: it is the caller's own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitStatus;

use tokio::process::Command;
use tokio::sync::{mpsc, watch};

use super::artifacts::{Shelf, within};
use super::client::cancelled;
use super::job::{Attempt, JobRun, NotReady};
use super::run::LocalGates;
use crate::ports::{Job, PortError};

/// What a shell came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShellEnd {
    Left(ExitStatus),
    /// It was to end before it began, or its end was not waited for.
    Cancelled,
    /// What the gate needs could not be made ready; the setup's log says more where that failed.
    NotReady(String),
}

impl LocalGates {
    /// Opens `program` where the first gate of the job would run. `opened` is told the folder just before. What the
    /// shell leaves running is the caller's to end, by the mark of the run.
    ///
    /// # Errors
    /// Where lexpr or the machine fails.
    pub async fn shell(
        &self,
        job: &Job,
        program: &OsStr,
        cancel: watch::Receiver<bool>,
        opened: impl FnOnce(&Path),
    ) -> Result<ShellEnd, PortError> {
        let worker = self.worker(job.worker);
        let mut worker = worker.lock().await;
        // There is nobody to be told of attempts.
        let (news, _) = mpsc::unbounded_channel();
        JobRun::new(self, &mut worker, job, news, cancel).shell(program, opened).await
    }
}

impl JobRun<'_> {
    async fn shell(mut self, program: &OsStr, opened: impl FnOnce(&Path)) -> Result<ShellEnd, PortError> {
        let Some(gate) = self.job.gates.first() else {
            return Ok(ShellEnd::NotReady("there is no gate".to_owned()));
        };
        let attempt = Attempt { position: 0, gate, number: 1 };
        let slots = match self.get_ready(attempt).await? {
            Ok(environment) => environment,
            Err(NotReady::Cancelled) => return Ok(ShellEnd::Cancelled),
            Err(NotReady::Failed { message, .. } | NotReady::Trouble(message)) => {
                return Ok(ShellEnd::NotReady(message));
            }
        };
        let mut shelf = Shelf::new(self.artifact_folder(attempt));
        if let Err(error) = shelf.make(None) {
            return Ok(ShellEnd::NotReady(format!("making the gate's artifact folder: {error}")));
        }
        let environment = self.told(slots, attempt, &shelf.written);
        let slot = self.slot_path();
        let cwd = &gate.gate.cwd;
        let Some(folder) = within(&slot, &slot.join(cwd)).filter(|folder| folder.is_dir()) else {
            return Ok(ShellEnd::NotReady(format!("the gate's cwd `{cwd}` is not a folder of this tree")));
        };
        opened(&folder);
        #[expect(clippy::disallowed_methods, reason = "this is the place where a shell is started")]
        let mut command = Command::new(program);
        // In lexpr's own process group, so that the terminal is the shell's as it was lexpr's.
        command.current_dir(&folder).env_clear().envs(&environment);
        let started = command.spawn();
        let mut shell = match started {
            Ok(shell) => shell,
            Err(error) => return Ok(ShellEnd::NotReady(format!("starting {}: {error}", program.display()))),
        };
        tokio::select! {
            status = shell.wait() => match status {
                Ok(status) => Ok(ShellEnd::Left(status)),
                Err(error) => Ok(ShellEnd::NotReady(format!("waiting for {}: {error}", program.display()))),
            },
            () = cancelled(&mut self.cancel) => Ok(ShellEnd::Cancelled),
        }
    }
}
