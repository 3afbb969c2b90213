//! Why a target cannot be moved, in words that say what to do: an answer, not a failure of
//! lexpr's. Only the words; the looking is done where the thing looked at is known.

use std::fmt;
use std::path::PathBuf;

use super::command::GitError;
use crate::vocabulary::names::CommitId;

/// Paths named in a message; the rest are counted.
const PATHS_SHOWN: usize = 10;

/// The target cannot be moved as things stand.
#[derive(Debug, thiserror::Error)]
pub enum LandRefusal {
    #[error("{target} does not exist any more")]
    TargetGone { target: String },
    #[error("{target} is at {now}, not at {expected}: somebody moved it; run again")]
    TargetElsewhere { target: String, now: CommitId, expected: CommitId },
    #[error(
        "{target} was moved to {now}, which does not hold {lacks}, where it was before: somebody took commits back; \
         look at it, then run again"
    )]
    TargetRewound { target: String, now: CommitId, lacks: CommitId },
    #[error("{target} is a symbolic ref to {points_to}: name that as the target")]
    TargetSymbolic { target: String, points_to: String },
    #[error(
        "{target} is checked out in {worktree}, which has uncommitted changes: commit or stash them, or check out \
         another branch there, then run again: {}",
        Listed(paths)
    )]
    Dirty { target: String, worktree: PathBuf, paths: Vec<String> },
    #[error(
        "{target} is checked out in {worktree}, where a {operation} is under way: finish or abort it, then run again"
    )]
    OperationUnderWay { target: String, worktree: PathBuf, operation: &'static str },
    #[error(
        "{target} is checked out in {worktree}, where {lock} exists: another git is at work there; let it finish, or \
         remove the file if none is, then run again"
    )]
    IndexLocked { target: String, worktree: PathBuf, lock: PathBuf },
    #[error("{target} is being worked on by a {operation} in {worktree}: finish or abort it, then run again")]
    HeldByOperation { target: String, worktree: PathBuf, operation: &'static str },
    #[error(
        "{target} is checked out in {worktree}, where these stand in the way of what lands (modified, untracked or \
         ignored): move them away, then run again: {}",
        Listed(paths)
    )]
    InTheWay { target: String, worktree: PathBuf, paths: Vec<String> },
    #[error("{target} is checked out in {worktree}, which cannot be moved along: {why}")]
    CannotMoveAlong { target: String, worktree: PathBuf, why: String },
    #[error(
        "{target} is checked out in {worktree}, which is locked and not there now: make it available, or remove it \
         with `git worktree remove --force`, then run again"
    )]
    WorktreeMissing { target: String, worktree: PathBuf },
    #[error(
        "{target} is checked out in a working tree that {git_dir} does not name: start lexpr in it, then run again"
    )]
    WorktreeUnknown { target: String, git_dir: PathBuf },
    #[error("commit.gpgSign is set, and lexpr does not sign what it makes: give --no-sign to land unsigned commits")]
    Signing,
    #[error("{target} cannot be changed: {why}")]
    TargetLocked { target: String, why: String },
    #[error("{remote} has {target} at {}, not at {expected}: fetch it, bring your {target} to it, then run again",
        now.map_or("no commit".to_owned(), |now| now.to_string()))]
    RemoteElsewhere { remote: String, target: String, now: Option<CommitId>, expected: CommitId },
    #[error("{target} cannot be pushed to {remote}: {why}")]
    RemoteRefuses { remote: String, target: String, why: String },
    #[error(
        "landed on {remote} as {landed}, but {target} here was left alone: {why}; bring it to {remote}'s, then run \
         again"
    )]
    LandedOnRemoteOnly { remote: String, target: String, landed: CommitId, why: String },
    /// lexpr could not find out.
    #[error(transparent)]
    Git(#[from] GitError),
}

struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..self.0.len().min(PATHS_SHOWN)].join(", "))?;
        match self.0.len().saturating_sub(PATHS_SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// A path for a message: bytes that are no UTF-8 replaced, line breaks and their like escaped.
pub(super) fn shown_path(path: &[u8]) -> String {
    String::from_utf8_lossy(path)
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
