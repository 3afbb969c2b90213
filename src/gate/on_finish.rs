//! The command that a person wants to be run when a run has ended, under a guard like a gate: it has its time and no
//! more, and whatever it started ends with it, and with lexpr. It is in nobody's way: the run has ended.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::client::{Guard, GuardedCommand, shell};
use super::environment::Environment;
use super::log;
use super::protocol::{Cause, End, Ended};
use super::pump::LogRules;
use super::secrets;

/// Enough for a message to be sent over a slow network; who waits for lexpr does not wait for ever.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);
/// What such a command has to say is short.
const LOG_MAX_BYTES: u64 = 1024 * 1024;
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
    /// What it prints goes here; made anew.
    pub log: &'a Path,
    /// Where it runs.
    pub cwd: &'a Path,
    /// As in [`super::GateSettings`].
    pub guard_exe: &'a Path,
    /// As in [`super::GateSettings`].
    pub redact: &'a [String],
}

impl OnFinish<'_> {
    /// Runs it, until `cancel` turns true at most; what it printed, as far as the end of that goes, and why it failed
    /// if it did.
    pub async fn run(&self, mut cancel: watch::Receiver<bool>) -> (String, Result<(), String>) {
        let ended = self.run_guarded(&mut cancel).await;
        let printed = log::tail(self.log).unwrap_or_default();
        let how = match ended {
            Ok(Ended { end: End::Code(0), cause: Cause::Itself, .. }) => return (printed, Ok(())),
            Ok(Ended { cause: Cause::Timeout, .. }) => format!("took longer than {} s", TIME_LIMIT.as_secs()),
            Ok(Ended { cause: Cause::Cancel, .. }) => "was ended by a signal to lexpr".to_owned(),
            Ok(Ended { end: End::Code(code), .. }) => format!("failed with exit code {code}"),
            Ok(Ended { end: End::Signal(signal), .. }) => format!("was ended by signal {signal}"),
            Err(why) => format!("could not be run: {why}"),
        };
        (printed, Err(how))
    }

    async fn run_guarded(&self, cancel: &mut watch::Receiver<bool>) -> Result<Ended, String> {
        let log = File::create(self.log).map_err(|error| format!("{}: {error}", self.log.display()))?;
        let mut environment: Environment = std::env::vars_os().collect();
        environment.extend(self.told.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
        environment.insert(REPORT.into(), self.report.into());
        let variables = environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let secrets = secrets::values(variables, self.redact);
        let mut guard = Guard::start(self.guard_exe, log).await.map_err(|error| error.to_string())?;
        let command = GuardedCommand {
            // A guard's command has nothing to read by itself.
            argv: &shell(&format!("exec <\"${REPORT}\"\n{}", self.command)),
            at_death: &[],
            cwd: self.cwd,
            environment: &environment,
            log: self.log,
            log_rules: LogRules { max_bytes: LOG_MAX_BYTES, secrets },
            timeout: TIME_LIMIT,
            grace: GRACE,
        };
        guard.run(&command, cancel).await.map_err(|error| error.to_string())
    }
}
