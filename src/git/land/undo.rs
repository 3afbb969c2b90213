//! Moving the target between where a run found it and where it left it, with all that goes along:
//! a landing's steps in a landing's order, only that nothing has to be made or brought here first.

use super::{Inner, LocalLander, Unmoved, paths};
use crate::git::command::GitError;
use crate::git::refusal::LandRefusal;
use crate::vocabulary::event::UndoDirection;
use crate::vocabulary::names::CommitId;

/// A way of the target, back or forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub direction: UndoDirection,
    pub from: CommitId,
    pub to: CommitId,
    /// The target here has gone it before, and the remote's is to follow.
    pub only_on_remote: bool,
}

/// The target was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub pushed_to: Option<String>,
    pub moved_checkouts: Vec<String>,
}

/// Commits that one history has beyond another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commits {
    pub count: usize,
    /// The oldest ones, each as `<short id> <subject>`.
    pub first: Vec<String>,
}

/// How many of them are named.
const COMMITS_NAMED: usize = 5;

impl LocalLander {
    /// Before anything moves: whether the target could go this way as things stand. Changes
    /// nothing. Blocks; with a remote, on the network. This and what follows here is for who has the
    /// landing lock ([`LocalLander::try_turn`]).
    ///
    /// # Errors
    /// The first thing that stands against it.
    pub fn undo_preflight(&self, way: &Way) -> Result<(), LandRefusal> {
        self.0.undo_preflight(way)
    }

    /// Moves the target this way: the remote's first, where there is one, then the local one by
    /// compare-and-swap, then what has it checked out. `reflog` is the reflog's line. Blocks.
    ///
    /// # Errors
    /// A refusal; nothing has changed then, unless it says what.
    pub fn undo(&self, way: &Way, reflog: &str) -> Result<Moved, LandRefusal> {
        self.0.undo(way, reflog)
    }

    /// What became of a way whose process ended before it could tell, brought to its end where it
    /// was begun; `None` where nothing was done. Blocks.
    ///
    /// # Errors
    /// A refusal where something keeps it from its end.
    pub fn recover_undo(&self, way: &Way, reflog: &str) -> Result<Option<Moved>, LandRefusal> {
        self.0.recover_undo(way, reflog)
    }

    /// The commits that `has` reaches and `lacks` does not. Blocks.
    ///
    /// # Errors
    /// Where one of them is missing.
    pub fn commits_between(&self, lacks: CommitId, has: CommitId) -> Result<Commits, GitError> {
        self.0.commits_between(lacks, has)
    }

    /// Whether `descendant` holds `ancestor`; one that is not in the store is held by nothing. Blocks.
    ///
    /// # Errors
    /// Where git fails.
    pub fn contains(&self, descendant: CommitId, ancestor: CommitId) -> Result<bool, GitError> {
        self.0.contains(descendant, ancestor)
    }
}

impl Inner {
    fn undo_preflight(&self, way: &Way) -> Result<(), LandRefusal> {
        let Way { from, to, only_on_remote, .. } = *way;
        let symbolic = ["symbolic-ref", "--quiet", &self.settings.target];
        self.must_be_a_branch(&self.repository.output(&symbolic, None)?)?;
        self.must_still_be_at(if only_on_remote { to } else { from })?;
        let args = ["cat-file", "-e", &format!("{to}^{{commit}}")];
        if !self.store.output(&args, None)?.status.success() {
            return Err(LandRefusal::CommitGone { target: self.settings.target.clone(), to });
        }
        if !only_on_remote {
            for checkout in self.checkouts()? {
                checkout.must_be_clean()?;
                checkout.must_be_free_for(from, to)?;
            }
            self.must_be_writable(from)?;
        }
        match &self.remote {
            // Where it has gone this way already, as one that was cut off may have, nothing is left to push.
            Some(remote) if remote.now(&self.remotes)? != Some(to) => remote.must_be_at(&self.remotes, from),
            _ => Ok(()),
        }
    }

    fn must_still_be_at(&self, expected: CommitId) -> Result<(), LandRefusal> {
        let now = self.current_target()?;
        let target = self.settings.target.clone();
        if now == expected { Ok(()) } else { Err(LandRefusal::TargetElsewhere { target, now, expected }) }
    }

    fn undo(&self, way: &Way, reflog: &str) -> Result<Moved, LandRefusal> {
        let Way { from, to, only_on_remote, .. } = *way;
        if only_on_remote {
            self.must_still_be_at(to)?;
            if let Some(remote) = &self.remote {
                remote.land(&self.remotes, from, to)?;
            }
            return Ok(Moved { pushed_to: self.settings.push.clone(), moved_checkouts: Vec::new() });
        }
        self.must_still_be_at(from)?;
        let checkouts = self.checkouts()?;
        let held = self.hold(&checkouts, from, to)?;
        if let Some(remote) = &self.remote {
            remote.land(&self.remotes, from, to)?;
        }
        if let Err(unmoved) = self.swap(from, to, reflog)? {
            return Err(match (&self.remote, unmoved) {
                (Some(remote), unmoved) => self.moved_on_remote_only(&remote.name, to, unmoved.to_string()),
                (None, Unmoved::Refused(refusal)) => refusal,
                (None, Unmoved::Elsewhere { from: expected, now }) => {
                    LandRefusal::TargetElsewhere { target: self.settings.target.clone(), now, expected }
                }
            });
        }
        self.move_along(&held, from, to).map_err(|refusal| match refusal {
            LandRefusal::LandedOnRemoteOnly { remote, why, .. } => self.moved_on_remote_only(&remote, to, why),
            other => other,
        })?;
        Ok(Moved { pushed_to: self.settings.push.clone(), moved_checkouts: paths(&checkouts) })
    }

    fn moved_on_remote_only(&self, remote: &str, to: CommitId, why: String) -> LandRefusal {
        LandRefusal::MovedOnRemoteOnly { remote: remote.to_owned(), target: self.settings.target.clone(), to, why }
    }

    fn recover_undo(&self, way: &Way, reflog: &str) -> Result<Option<Moved>, LandRefusal> {
        let Way { direction, from, to, only_on_remote } = *way;
        let pushed_to = self.settings.push.clone();
        if only_on_remote {
            let there = self.remote.as_ref().map(|remote| remote.now(&self.remotes)).transpose()?.flatten();
            return Ok((there == Some(to)).then_some(Moved { pushed_to, moved_checkouts: Vec::new() }));
        }
        let now = self.current_target().map_err(|refusal| refusal.where_it_was(from))?;
        // Others may have built on it since.
        let was_done = now == to
            || self.contains(now, to)?
                && match direction {
                    UndoDirection::Back => !self.contains(now, from)?,
                    UndoDirection::Forward => true,
                };
        if was_done {
            return Ok(Some(Moved { pushed_to, moved_checkouts: self.catch_up(from, to, now)? }));
        }
        match &self.remote {
            // The remote went this way, and nothing but this repository lags behind.
            Some(remote) if now == from && remote.now(&self.remotes)? == Some(to) => self.undo(way, reflog).map(Some),
            _ => Ok(None),
        }
    }

    fn commits_between(&self, lacks: CommitId, has: CommitId) -> Result<Commits, GitError> {
        let range = format!("{lacks}..{has}");
        let ids = self.store.line(["rev-list", "--reverse", "--topo-order", &range])?;
        let count = ids.lines().count();
        let mut args = vec!["rev-list", "--no-walk=unsorted", "--abbrev-commit", "--format=%h %s"];
        args.extend(ids.lines().take(COMMITS_NAMED));
        // Each is headed by a line of its own, `commit <id>`.
        let told = if count == 0 { String::new() } else { self.store.line(args)? };
        Ok(Commits { count, first: told.lines().skip(1).step_by(2).map(str::to_owned).collect() })
    }
}
