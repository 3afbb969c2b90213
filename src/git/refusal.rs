//! Why a target cannot be moved, and what to do about it: an answer, not a failure of lexpr's.
//! Only the words; the looking is done where the thing looked at is known.

use std::fmt;
use std::path::{Path, PathBuf};

use super::command::{GitError, remedy};
use crate::vocabulary::names::{CommitId, RunId};

/// Paths named in a message; the rest are counted.
const PATHS_SHOWN: usize = 10;

/// The target cannot be moved as things stand.
#[derive(Debug, thiserror::Error)]
pub enum LandRefusal {
    #[error("{target} does not exist any more")]
    TargetGone {
        target: String,
        /// Where it was last known to be.
        was: Option<CommitId>,
    },
    #[error("{target} is at {now}, not at {expected}: somebody moved it")]
    TargetElsewhere { target: String, now: CommitId, expected: CommitId },
    #[error(
        "{target} was moved to {now}, which does not hold {lacks}, where it was before: somebody took commits back"
    )]
    TargetRewound { target: String, now: CommitId, lacks: CommitId, run: RunId },
    #[error("{target} is a symbolic ref to {points_to}")]
    TargetSymbolic { target: String, points_to: String },
    #[error("{target} is checked out in {worktree}, which has uncommitted changes: {}", Listed(paths))]
    Dirty { target: String, worktree: PathBuf, paths: Vec<String> },
    #[error("{target} is checked out in {worktree}, where a {operation} is under way")]
    OperationUnderWay { target: String, worktree: PathBuf, operation: &'static str },
    #[error("{target} is checked out in {worktree}, where another git is at work: {lock} exists")]
    IndexLocked {
        target: String,
        worktree: PathBuf,
        lock: PathBuf,
        /// The run that has it, if it is a run's.
        by: Option<RunId>,
    },
    #[error("{target} is being worked on by a {operation} in {worktree}")]
    HeldByOperation { target: String, worktree: PathBuf, operation: &'static str },
    #[error(
        "{target} is checked out in {worktree}, where these stand in the way of what lands (modified, untracked or \
         ignored): {}",
        Listed(paths)
    )]
    InTheWay { target: String, worktree: PathBuf, paths: Vec<String> },
    #[error(
        "{target} is checked out in {worktree}, which did not follow when somebody moved it to {}, and would take \
         back what came with that: {}",
        way.1,
        Listed(paths)
    )]
    LeftBehind {
        target: String,
        worktree: PathBuf,
        /// From where to where it was moved.
        way: Box<(CommitId, CommitId)>,
        paths: Vec<String>,
    },
    /// A process of the run was killed in the middle, and the rest cannot be done now.
    #[error("{target} was moved to {to} by this run, and what goes with that is not done yet: {refusal}")]
    HalfMoved { target: String, to: CommitId, refusal: Box<LandRefusal> },
    #[error("{target} is checked out in {worktree}, which cannot be moved along: {why}")]
    CannotMoveAlong { target: String, worktree: PathBuf, why: String },
    #[error("{target} is checked out in {worktree}, which is locked and not there now")]
    WorktreeMissing { target: String, worktree: PathBuf },
    #[error("{git_dir} says that {target} is checked out in {worktree}, which has no .git that leads back there")]
    WorktreeElsewhere { target: String, worktree: PathBuf, git_dir: PathBuf },
    #[error(
        "{target} is checked out in {worktree}, where the filter {filter} makes files such as {path} what they are: \
         it is a command in the repository's own configuration, and lexpr starts none of those"
    )]
    RepositoryFilter { target: String, worktree: PathBuf, filter: String, path: String },
    #[error("{target} is checked out in a working tree that {git_dir} does not name")]
    WorktreeUnknown { target: String, git_dir: PathBuf },
    #[error("commit.gpgSign is set, and lexpr does not sign what it makes")]
    Signing,
    #[error("{target} cannot be changed: {why}")]
    TargetLocked { target: String, why: String },
    #[error("no objects can be written to {folder}: {why}")]
    ObjectsLocked { folder: PathBuf, why: String },
    #[error("{remote} has {target} at {}, not at {expected}",
        now.map_or("no commit".to_owned(), |now| now.to_string()))]
    RemoteElsewhere { remote: String, target: String, now: Option<CommitId>, expected: CommitId },
    #[error("{target} cannot be pushed to {remote}: {why}")]
    RemoteRefuses { remote: String, target: String, why: String },
    #[error("landed on {remote} as {landed}, but {target} here was left alone: {why}")]
    LandedOnRemoteOnly { remote: String, target: String, landed: CommitId, why: String },
    #[error("{remote} has {target} at {to} now, but {target} here was left alone: {why}")]
    MovedOnRemoteOnly { remote: String, target: String, to: CommitId, why: String },
    #[error("{to}, to which {target} is to go, is not there any more")]
    CommitGone { target: String, to: CommitId },
    /// Another one is waited for no longer.
    #[error("{holder} on {target}, and has been for {minutes} minutes")]
    LandingTakesLong { target: String, holder: String, minutes: u64 },
    #[error("asked to stop while waiting for another landing on {target}: {holder}")]
    StoppedBeforeItsTurn { target: String, holder: String },
    /// lexpr could not find out.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl LandRefusal {
    /// Of a target that is gone: where it was.
    pub fn where_it_was(self, was: CommitId) -> Self {
        match self {
            Self::TargetGone { target, .. } => Self::TargetGone { target, was: Some(was) },
            other => other,
        }
    }

    /// What to do before another run, as half a sentence; `None` where that is not known.
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::TargetGone { target, was: Some(was) } => {
                format!("make it again where it was (`git update-ref {target} {was}`)")
            }
            Self::TargetGone { target, was: None } => format!("make {target} again or name another target"),
            Self::TargetElsewhere { .. } | Self::Git(_) => return None,
            Self::TargetRewound { target, lacks, run, .. } => format!(
                "if that is to stay so, give the run up (`lexpr clean {run}`) and run its plan again; if not, bring them \
                 in again (`git merge {lacks}` with {target} checked out)"
            ),
            Self::TargetSymbolic { points_to, .. } => format!("name {points_to} as the target"),
            Self::Dirty { worktree, .. } => {
                format!("commit or stash the changes in {}, or check out another branch there", worktree.display())
            }
            Self::OperationUnderWay { worktree, operation, .. } | Self::HeldByOperation { worktree, operation, .. } => {
                format!("finish or abort the {operation} in {}", worktree.display())
            }
            Self::IndexLocked { by: Some(run), .. } => {
                format!("run {run} was landing there: `lexpr resume {run}` brings that to its end")
            }
            Self::IndexLocked { lock, .. } => {
                format!("let that git finish or, if there is none, remove {}", lock.display())
            }
            Self::InTheWay { worktree, .. } => format!("move what stands in the way in {} away", worktree.display()),
            Self::LeftBehind { worktree, way, .. } => format!(
                "let it follow (`git -C {} read-tree -m -u {} {}` does, and spares what is yours), or check out another \
                 branch there",
                quoted(worktree),
                way.0,
                way.1
            ),
            Self::HalfMoved { refusal, .. } => return refusal.advice(),
            Self::CannotMoveAlong { worktree, why, .. } => match remedy(why) {
                Some(remedy) => format!("{remedy}, or check out another branch in {}", worktree.display()),
                None => {
                    format!("see why {} cannot be moved along, or check out another branch there", worktree.display())
                }
            },
            Self::WorktreeMissing { worktree, .. } => {
                format!("make {} available, or remove it with `git worktree remove --force`", worktree.display())
            }
            Self::WorktreeElsewhere { worktree, git_dir, .. } => format!(
                "unset core.worktree, or make {} a file that says `gitdir: {}`",
                worktree.join(".git").display(),
                git_dir.display()
            ),
            Self::RepositoryFilter { worktree, filter, .. } => format!(
                "if you trust it, move filter.{filter} to your own configuration (`git config --global`); or check \
                 out another branch in {}",
                worktree.display()
            ),
            Self::WorktreeUnknown { .. } => "start lexpr in that working tree".to_owned(),
            Self::Signing => "give --no-sign to land unsigned commits".to_owned(),
            Self::ObjectsLocked { folder, why } => match remedy(why) {
                Some(remedy) => remedy.to_owned(),
                None => format!("see to what keeps {} from being written to", folder.display()),
            },
            Self::TargetLocked { target, why } => match remedy(why) {
                Some(remedy) => remedy.to_owned(),
                None => format!("see to what keeps git from changing {target}"),
            },
            Self::RemoteElsewhere { remote, target, .. } => {
                format!(
                    "fetch from {remote}, and bring {target} to the same commit here and there by a merge or a push"
                )
            }
            Self::RemoteRefuses { remote, .. } => format!("see to it that {remote} takes the push"),
            Self::CommitGone { .. } | Self::StoppedBeforeItsTurn { .. } => return None,
            Self::LandingTakesLong { .. } => {
                "see what that waits for (a remote, or a prompt for a password), and end it if need be".to_owned()
            }
            Self::LandedOnRemoteOnly { remote, target, .. } | Self::MovedOnRemoteOnly { remote, target, .. } => {
                format!("bring {target} here to where {remote} has it")
            }
        })
    }
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
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
