//! Which git is installed and what it can do.

use std::fmt;
use std::process::{Command, Output};

use super::command::{Config, GitError, bare_command, output, shown};

/// A release of git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitVersion {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for GitVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl GitVersion {
    /// The first with `merge-tree --write-tree`.
    pub const OLDEST: Self = Self { major: 2, minor: 38 };
    /// The first with `--attr-source`.
    pub const ATTR_SOURCE: Self = Self { major: 2, minor: 41 };

    /// What asks the git on PATH.
    pub fn question() -> Command {
        let mut command = bare_command(Config::RepositoryOnly);
        command.arg("--version");
        command
    }

    /// The git on PATH.
    ///
    /// # Errors
    /// Where there is none, or its answer cannot be read.
    pub fn installed() -> Result<Self, GitError> {
        Self::from_answer(&output(Self::question(), None)?)
    }

    /// From the answer to [`GitVersion::question`].
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn from_answer(answer: &Output) -> Result<Self, GitError> {
        let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        Self::parse(&text)
            .ok_or_else(|| GitError::Unreadable { command: shown(&["--version"]), why: format!("it says {text:?}") })
    }

    /// From `git version 2.39.5 (Apple Git-154)`.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix("git version ")?.split(['.', ' ', '-']);
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_whoever_built_them() {
        for text in ["git version 2.39.5", "git version 2.39.5 (Apple Git-154)", "git version 2.39-rc1"] {
            assert_eq!(GitVersion::parse(text), Some(GitVersion { major: 2, minor: 39 }), "{text}");
        }
        assert_eq!(GitVersion::parse("hub version 2"), None);
    }
}
