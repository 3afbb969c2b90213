//! Whether a slot's working tree is watched: from the second switch of a run on, as long as it can be.

use std::collections::BTreeSet;
use std::path::Path;

use super::survey::Untracked;
#[cfg(target_os = "linux")]
use super::watch::{Touched, Unwatchable, Watch};
use crate::git::index::IndexEntry;

/// To begin takes as long as to look at everything once more: who gets one switch is not asked for it.
#[derive(Debug, Default)]
pub(super) enum Watched {
    #[default]
    NotYet,
    #[cfg(target_os = "linux")]
    By(Box<Watch>),
    /// It cannot be, or could no longer.
    Never,
}

impl Watched {
    /// The second switch begins.
    pub(super) fn begin(&mut self, work_tree: &Path) {
        if matches!(self, Self::NotYet) {
            *self = Self::of(work_tree);
        }
    }
}

#[cfg(target_os = "linux")]
impl Watched {
    fn of(work_tree: &Path) -> Self {
        Watch::of(work_tree).map_or(Self::Never, |watch| Self::By(Box::new(watch)))
    }

    /// The folders in which a switch has to look, and what was found at the last look besides what is tracked, which
    /// `entries` are; `None` where it has to look at everything.
    pub(super) fn touched(&mut self, entries: &[IndexEntry]) -> Option<(BTreeSet<Vec<u8>>, &[Untracked])> {
        let Self::By(watch) = self else { return None };
        let touched = watch.touched(entries);
        match touched {
            Err(Unwatchable::ForNow) => *self = Self::NotYet,
            Err(Unwatchable::AtAll) => *self = Self::Never,
            Ok(_) => {}
        }
        match (touched, self) {
            (Ok(Touched::Folders(folders)), Self::By(watch)) => Some((folders, &watch.untracked)),
            _ => None,
        }
    }

    /// A switch that asked has ended: these are the files that it wrote, and this is what it found besides.
    pub(super) fn settle(&mut self, came: impl Iterator<Item = Box<[u8]>>, untracked: Vec<Untracked>) {
        if let Self::By(watch) = self {
            watch.settle(came, untracked);
        }
    }

    /// A switch begins that does not ask.
    pub(super) fn doubt(&mut self) {
        if let Self::By(watch) = self {
            watch.doubt();
        }
    }
}

/// Other systems tell less.
#[cfg(not(target_os = "linux"))]
impl Watched {
    fn of(_: &Path) -> Self {
        Self::Never
    }

    pub(super) fn touched(&mut self, _: &[IndexEntry]) -> Option<(BTreeSet<Vec<u8>>, &[Untracked])> {
        None
    }

    pub(super) fn settle(&mut self, _: impl Iterator<Item = Box<[u8]>>, _: Vec<Untracked>) {}

    pub(super) fn doubt(&mut self) {}
}
