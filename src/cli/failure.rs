//! Where any error becomes what a person sees: a message, what to do about it, an exit code.

use std::path::Path;

use crate::engine::{EngineError, exit};
use crate::git::command::{GitError, is_gone, remedy};
use crate::git::refusal::LandRefusal;
use crate::git::repo::RepoError;
use crate::ports::PortError;
use crate::wording::block;

/// The plan or the command line is invalid.
pub const EXIT_INVALID: u8 = 2;

/// A command that could not do its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened, and where; empty where that has been shown already.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    pub exit_code: u8,
}

impl Failure {
    /// What was asked for cannot be: the user's to mend, exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit_code: EXIT_INVALID }
    }

    /// What is wrong has been shown already.
    pub fn shown(exit_code: u8) -> Self {
        Self { message: String::new(), hint: None, exit_code }
    }

    /// lexpr itself failed: exit code 1. Where the machine is at fault the hint says what to do.
    pub fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let hint = remedy(&message).map(str::to_owned);
        Self { message, hint, exit_code: exit::LEXPR_FAILED }
    }

    /// The target cannot be moved: exit code 4.
    pub fn target(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit_code: exit::TARGET_NOT_MOVED }
    }

    /// Somebody asked for an end: exit code 130.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit_code: exit::INTERRUPTED }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::internal(format!("{doing} {}: {error}", path.display()))
    }

    /// As it is printed, with a newline at its end; nothing where it has been shown already.
    pub fn text(&self) -> String {
        if self.message.is_empty() {
            return String::new();
        }
        let indented = |text: &str| block(text).replace('\n', "\n  ");
        let hint = self.hint.as_deref().map(|hint| format!("  hint: {}\n", indented(hint))).unwrap_or_default();
        format!("error: {}\n{hint}", indented(&self.message))
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        let failure = Self::internal(error.to_string());
        match error {
            GitError::NotStarted(error) if is_gone(&error) => {
                failure.with_hint("install git 2.38 or newer and put it on the PATH")
            }
            _ => failure,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let hint = match &error {
            EngineError::Port { source, .. } | EngineError::Journal(source) => source.hint.clone(),
            EngineError::Impossible(_) => Some("please report this, with the run's journal".to_owned()),
        };
        let failure = Self::internal(error.to_string());
        Self { hint: hint.or(failure.hint), ..failure }
    }
}

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        match error {
            RepoError::Git(error) => error.into(),
            other => {
                let hint = match &other {
                    RepoError::NotARepository { .. } => {
                        Some("go into a repository, name one with --repo, or make one: `git init`")
                    }
                    RepoError::UnbornHead { .. } => Some("make a first commit on the branch that is to be landed on"),
                    RepoError::PartialClone { .. } => Some("clone it again without --filter"),
                    // The others say it themselves.
                    _ => None,
                };
                Self { hint: hint.map(str::to_owned), ..Self::usage(other.to_string()) }
            }
        }
    }
}

impl From<LandRefusal> for Failure {
    fn from(refusal: LandRefusal) -> Self {
        if let LandRefusal::Git(error @ GitError::NotStarted(_)) = refusal {
            return error.into();
        }
        let again =
            refusal.advice().map_or_else(|| "run again".to_owned(), |advice| format!("{advice}, then run again"));
        Self::target(refusal.to_string()).with_hint(again)
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        let failure = Self::internal(error.message);
        Self { hint: error.hint.or(failure.hint), ..failure }
    }
}
