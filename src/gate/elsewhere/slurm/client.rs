//! Asking Slurm: its own client programs, in an environment that names the cluster and says nothing else. What they answer
//! is text; what it means is the caller's.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::crash;
use crate::gate::orphans::STARTED_FOR;
use crate::git::command::{STARTED_BY, is_gone};
use crate::vocabulary::event::in_one_line;

/// Of the caller's environment: where the cluster is, who asks, and how programs are found. Everything else of Slurm's
/// would be options (sbatch(1), srun(1): "INPUT ENVIRONMENT VARIABLES").
const KEPT: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LD_LIBRARY_PATH",
    "SLURM_CONF",
    "SLURM_CONF_SERVER",
    "SLURM_CLUSTERS",
    "SLURM_JWT",
    "KRB5CCNAME",
];
/// A client that has said nothing for so long hangs.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(100);
/// The same while somebody who has asked lexpr to stop waits, or only wants to be told.
const LONGEST_GLANCE: Duration = Duration::from_secs(5);
/// Programs that change nothing: nobody need wait for one that is not waited for any more.
const QUESTIONS: [&str; 3] = ["squeue", "sinfo", "scontrol"];
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What clients say of a controller that is not there (slurm_errno.h).
const ABSENT: [&str; 6] = [
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Zero Bytes were transmitted",
    "Slurm backup controller in standby mode",
    "Slurm controller is not responding",
];

/// Slurm could not be asked, or would not.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("`{program}` could not be started: {why}")]
    NotStarted { program: String, why: String },
    #[error("`{program}` gave no answer within {seconds} s; see whether `sinfo` answers{said}")]
    Hangs {
        program: String,
        seconds: u64,
        /// `: …`, or nothing.
        said: String,
    },
    #[error("`{program}`: the Slurm controller does not answer; see whether `sinfo` does: {said}")]
    Absent { program: String, said: String },
    #[error(
        "`{program}`: Slurm does not accept who asks; see whether munged runs here and has the cluster's key: {said}"
    )]
    Stranger { program: String, said: String },
    #[error("`{program}` failed: {said}")]
    Refused { program: String, said: String },
}

impl ClientError {
    /// Nobody heard the question, as far as is known, or its answer was not heard: it may be asked again.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::Hangs { .. })
    }
}

/// How to start Slurm's programs.
#[derive(Clone, Debug)]
pub(super) struct Client {
    environment: Vec<(OsString, OsString)>,
    /// By which what was started for the run is known, should lexpr be killed.
    mark: OsString,
    /// How long a question is asked again that nobody answers.
    patience: Duration,
    longest_call: Duration,
}

impl Client {
    /// `callers`: the caller's environment.
    pub(super) fn new(callers: &[(OsString, OsString)], mark: &str, patience: Duration) -> Self {
        let is_kept = |name: &OsStr| KEPT.iter().any(|kept| name == *kept);
        let mut environment: Vec<_> = callers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
        // Messages that are read are the English ones, and times the same for everybody.
        environment.push(("LC_ALL".into(), "C".into()));
        Self { environment, mark: mark.into(), patience, longest_call: LONGEST_CALL }
    }

    /// The same without patience, for who cannot wait.
    pub(super) fn hurried(&self) -> Self {
        Self { patience: Duration::ZERO, longest_call: LONGEST_GLANCE, ..self.clone() }
    }

    /// Whether there is a controller, which is known at once: of one that is not there every other program finds out by and by.
    ///
    /// # Errors
    /// Where there is none, or Slurm cannot be asked.
    pub(super) async fn ping(&self) -> Result<(), ClientError> {
        let absent = |said: &str| {
            let said = said
                .split(['\n', ';'])
                .map(str::trim)
                .filter(|line| line.contains(" is "))
                .collect::<Vec<_>>()
                .join("; ");
            ClientError::Absent { program: "scontrol ping".to_owned(), said }
        };
        match self.once("scontrol", &["ping"], b"", self.longest_call).await {
            Ok(said) if said.contains(" is UP") => Ok(()),
            Ok(said) | Err(ClientError::Refused { said, .. }) => Err(absent(&said)),
            Err(error) => Err(error),
        }
    }

    pub(super) fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// Asks something that may be asked again: while there is no controller, it is.
    pub(super) async fn ask(&self, program: &str, args: &[&str]) -> Result<String, ClientError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.once(program, args, b"", self.longest_call).await {
                Err(ClientError::Absent { .. }) if begun.elapsed() < self.patience => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    /// Starts something that goes on by itself; what it prints is the caller's to read, and what it complains of nobody's.
    /// Whoever resumes the run ends it, as it does gates.
    pub(super) fn start(&self, program: &str, args: &[&str]) -> Result<std::process::Child, ClientError> {
        let mut command = self.command(program, args);
        command.env(STARTED_FOR, &self.mark);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|error| not_started(program, &error))
    }

    fn command(&self, program: &str, args: &[&str]) -> std::process::Command {
        #[expect(clippy::disallowed_methods, reason = "this is the place where Slurm's programs are started")]
        let mut command = std::process::Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            // Ctrl-C is lexpr's to act on.
            .process_group(0);
        command
    }

    /// Asks once, with something for the program to read, and so much time. A program that
    /// takes longer, or is not waited for, goes on; whoever resumes the run waits for it.
    pub(super) async fn once(
        &self,
        program: &str,
        args: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Result<String, ClientError> {
        let mut command = Command::from(self.command(program, args));
        command
            .env(STARTED_BY, &self.mark)
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(QUESTIONS.contains(&program));
        let not_started = |error: std::io::Error| not_started(program, &error);
        crash::point!(&format!("slurm.{program}.before"));
        let mut child = command.spawn().map_err(not_started)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing says why.
            let _ = stdin.write_all(input).await;
        }
        crash::point!(&format!("slurm.{program}.under-way"));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (said, complained) = (child.stdout.take(), child.stderr.take());
        let ended = tokio::time::timeout(limit, async {
            let read = (read(said, &mut stdout), read(complained, &mut stderr));
            tokio::try_join!(child.wait(), read.0, read.1).map(|(status, (), ())| status)
        });
        let ended = ended.await;
        crash::point!(&format!("slurm.{program}.after"));
        match ended {
            Ok(Ok(status)) => answer(program, &Output { status, stdout, stderr }),
            Ok(Err(error)) => Err(not_started(error)),
            Err(_) => {
                let said = on_one_line(&stderr);
                let said = if said.is_empty() { said } else { format!(": {said}") };
                Err(ClientError::Hangs { program: program.to_owned(), seconds: limit.as_secs(), said })
            }
        }
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> std::io::Result<()> {
    match from {
        Some(mut from) => from.read_to_end(into).await.map(drop),
        None => Ok(()),
    }
}

fn on_one_line(text: &[u8]) -> String {
    in_one_line(&String::from_utf8_lossy(text)).into_owned()
}

fn not_started(program: &str, error: &std::io::Error) -> ClientError {
    let hint = if is_gone(error) { "; is Slurm's client installed, and on the PATH?" } else { "" };
    ClientError::NotStarted { program: program.to_owned(), why: format!("{error}{hint}") }
}

fn answer(program: &str, output: &Output) -> Result<String, ClientError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let program = program.to_owned();
    // `scontrol ping` tells of its failure as of its success.
    let said = on_one_line(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
    let tells = |what: &str| said.contains(what);
    Err(if tells("unge") || tells("Invalid authentication credential") || tells("Protocol authentication error") {
        ClientError::Stranger { program, said }
    } else if ABSENT.iter().any(|absent| tells(absent)) {
        ClientError::Absent { program, said }
    } else {
        ClientError::Refused { program, said }
    })
}
