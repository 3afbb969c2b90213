//! The command that a person wants to be run when a run has ended, under a guard like a gate: it has its time and no
//! more, and whatever it started ends with it, and with lexpr. It is in nobody's way: the run has ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::client::{Guard, GuardedCommand, shell};
use super::environment::Environment;
use super::protocol::{Cause, End, Ended};
use super::pump::LogRules;
use super::secrets;

/// Enough for a message to be sent over a slow network; who waits for lexpr does not wait for ever.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);
/// Of what it prints nothing is kept: all of it goes on to somebody.
const PRINTS_AT_MOST: u64 = u64::MAX;
const CHUNK_BYTES: usize = 64 * 1024;
/// What the guard has in this place, by which it opens its own.
const GUARDS_STDERR: &str = "/dev/fd/2";
/// By which the command's standard input is opened.
const REPORT: &str = "LEXPR_REPORT";

/// A command to be run at the end.
#[derive(Debug)]
pub struct OnFinish<'a> {
    /// Given to the shell.
    pub command: &'a str,
    /// What it is told beside the caller's environment.
    pub told: Vec<(&'static str, String)>,
    /// What it reads on standard input.
    pub report: &'a Path,
    /// Where it runs.
    pub cwd: &'a Path,
    /// As in [`super::GateSettings`].
    pub guard_exe: &'a Path,
    /// As in [`super::GateSettings`].
    pub redact: &'a [String],
}

impl OnFinish<'_> {
    /// Runs it, until `cancel` turns true at most. What it prints goes `to` whoever wants it as it comes, secrets struck out,
    /// with a newline at its end.
    ///
    /// # Errors
    /// Why it failed, if it did.
    pub async fn run(&self, mut cancel: watch::Receiver<bool>, to: impl Write + Send + 'static) -> Result<(), String> {
        let why = match self.run_and_pass_on(&mut cancel, to).await {
            Ok(Ended { end: End::Code(0), cause: Cause::Itself, .. }) => return Ok(()),
            Ok(Ended { cause: Cause::Timeout, .. }) => format!("took longer than {} s", TIME_LIMIT.as_secs()),
            Ok(Ended { cause: Cause::Cancel, .. }) => "was ended by a signal to lexpr".to_owned(),
            Ok(Ended { end: End::Code(code), .. }) => format!("failed with exit code {code}"),
            Ok(Ended { end: End::Signal(signal), .. }) => format!("was ended by signal {signal}"),
            Err(why) => format!("could not be run: {why}"),
        };
        Err(why)
    }

    async fn run_and_pass_on(
        &self,
        cancel: &mut watch::Receiver<bool>,
        to: impl Write + Send + 'static,
    ) -> Result<Ended, String> {
        let (printed, pipe) = io::pipe().map_err(|error| error.to_string())?;
        let (at_its_end, is_passed_on) = oneshot::channel::<()>();
        let passing_on = std::thread::Builder::new().spawn(move || {
            // That somebody could not be shown it is nothing of the command's.
            let _ = pass_on(printed, to);
            drop(at_its_end);
        });
        passing_on.map_err(|error| format!("starting a thread for its output: {error}"))?;
        // The guard alone has the pipe's other end, which is closed with it.
        let ended = self.run_guarded(cancel, pipe).await;
        // A guard that is lost may not let go of it.
        let patience = if ended.is_ok() { Duration::MAX } else { GRACE };
        // It ends by being dropped.
        let _ = tokio::time::timeout(patience, is_passed_on).await;
        ended
    }

    async fn run_guarded(&self, cancel: &mut watch::Receiver<bool>, pipe: PipeWriter) -> Result<Ended, String> {
        let mut environment: Environment = std::env::vars_os().collect();
        environment.extend(self.told.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
        environment.insert(REPORT.into(), self.report.into());
        let variables = environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let secrets = secrets::values(variables, self.redact);
        let mut guard =
            Guard::start(self.guard_exe, File::from(OwnedFd::from(pipe))).await.map_err(|error| error.to_string())?;
        let command = GuardedCommand {
            // A guard's command has nothing to read by itself.
            argv: &shell(&format!("exec <\"${REPORT}\"\n{}", self.command)),
            at_death: &[],
            cwd: self.cwd,
            environment: &environment,
            log: Path::new(GUARDS_STDERR),
            log_rules: LogRules { max_bytes: PRINTS_AT_MOST, secrets },
            timeout: TIME_LIMIT,
            grace: GRACE,
        };
        guard.run(&command, cancel).await.map_err(|error| error.to_string())
    }
}

fn pass_on(mut from: impl io::Read, mut to: impl Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut is_line = true;
    loop {
        match from.read(&mut chunk) {
            Ok(0) if is_line => return Ok(()),
            Ok(0) => return to.write_all(b"\n"),
            Ok(read) => {
                is_line = chunk[read - 1] == b'\n';
                to.write_all(&chunk[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
