//! What each item changes by itself, seen from the base: read from trees, before any composite is
//! made. Says what need not be done, and what stands in a run's way, while nothing has begun; what a
//! conflict is, is never said here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use gix::ObjectId;

use super::objects::{Entry, commit_id, from_commit, mode};
use super::resolve::{AlreadyLanded, HeadOf, Relations, implied};
use super::shadow::{ComposeError, Workbench, related};
use super::splice::Change;
use crate::vocabulary::names::{CommitId, ItemName};

/// Of so many items is told beforehand that they will be looked at.
const LOOKED_AHEAD: usize = 250;

/// What one item has that the base's history has not.
pub(super) struct Own {
    head: ObjectId,
    pub(super) tree: ObjectId,
    /// The trees of the commits at which it left the base: one as a rule.
    pub(super) left_at: Vec<ObjectId>,
    /// Its commits, its head among them.
    pub(super) commits: HashSet<ObjectId>,
    /// What it changes since it left the base; since each of them where it left it at several.
    pub(super) changes: Vec<Change>,
}

impl Own {
    fn holds(&self, other: &Self) -> bool {
        self.head != other.head && self.commits.contains(&other.head)
    }
}

impl Workbench {
    /// How items relate to `base` and to each other, and what they bring.
    ///
    /// # Errors
    /// Where an object cannot be read, or git cannot merge.
    pub fn relate(&mut self, base: CommitId, items: &[HeadOf]) -> Result<Relations, ComposeError> {
        let base = from_commit(base);
        let tree = self.objects.commit(base)?.tree;
        let mut already_landed = self.landed_by_history(base, items)?;
        let own = self.own_of_each(base, tree, items, &already_landed);
        self.nothing_is_wanted();
        let own = own?;
        let by_content = self.landed_by_content(tree, items, &own)?;
        for (landed, by_content) in already_landed.iter_mut().zip(by_content) {
            *landed = landed.or(by_content);
        }
        let implied = implied(&self.objects, &mut self.history, base, items, &already_landed)?;
        let mut arriving = BTreeSet::new();
        for (own, landed) in own.iter().zip(&already_landed) {
            if let (Some(own), None) = (own, landed) {
                self.add_arriving(tree, &own.changes, &mut arriving)?;
            }
        }
        let merged = merged(&own, &already_landed);
        Ok(Relations { implied, already_landed, merged, arriving: arriving.into_iter().collect() })
    }

    fn own_of_each(
        &mut self,
        base: ObjectId,
        tree: ObjectId,
        items: &[HeadOf],
        landed: &[Option<AlreadyLanded>],
    ) -> Result<Vec<Option<Own>>, ComposeError> {
        let mut own = Vec::with_capacity(items.len());
        for (items, landed) in items.chunks(LOOKED_AHEAD).zip(landed.chunks(LOOKED_AHEAD)) {
            let to_land = items.iter().zip(landed).filter(|(_, landed)| landed.is_none());
            self.heads_will_be_looked_at(base, to_land.map(|(item, _)| from_commit(item.head)))?;
            for (item, landed) in items.iter().zip(landed) {
                own.push(match landed {
                    Some(_) => None,
                    None => self.own(base, tree, from_commit(item.head))?,
                });
            }
        }
        Ok(own)
    }

    /// What `head` has that `base`, whose tree is `tree`, has not; `None` where that is nothing that could be merged.
    pub(super) fn own(&mut self, base: ObjectId, tree: ObjectId, head: ObjectId) -> Result<Option<Own>, ComposeError> {
        let Some((_, divergence)) = self.divergence(base, tree, head, &[])? else { return Ok(None) };
        let head_tree = self.objects.commit(head)?.tree;
        // What cannot be merged comes nowhere; it is set aside when it is to be.
        if let Some(base) = divergence.bases.first() {
            let left_at = self.objects.commit(*base)?.tree;
            if self.inspector.inspect(&mut self.objects, Some(left_at), head_tree)?.is_some() {
                return Ok(None);
            }
        }
        let mut left_at = Vec::new();
        let mut own: Option<Vec<Change>> = None;
        for &commit in &divergence.bases {
            let tree = self.objects.commit(commit)?.tree;
            left_at.push(tree);
            let since = self.splicer.brought(&mut self.objects, tree, head_tree)?;
            own = Some(match own {
                None => since,
                Some(mut own) => {
                    let paths: HashSet<&[u8]> = since.iter().map(|change| change.path.as_slice()).collect();
                    own.retain(|change| paths.contains(change.path.as_slice()));
                    own
                }
            });
        }
        let (commits, changes) = (divergence.own.iter().copied().collect(), own.unwrap_or_default());
        self.head_was_looked_at(head, &changes);
        Ok(Some(Own { head, tree: head_tree, left_at, commits, changes }))
    }

    /// Which items would change nothing of the base's `tree` if they were merged into it, though they
    /// change something: a forge squashed them, somebody picked their commits.
    ///
    /// What such an item contains has landed with it, whatever the base has of it by now. An item
    /// that is an empty commit, by itself or on top of another, is left to land as it is meant to;
    /// so is one with a dependency that is yet to land and changes the same paths, for what the item
    /// changes is then to be seen on top of that.
    fn landed_by_content(
        &mut self,
        tree: ObjectId,
        items: &[HeadOf],
        own: &[Option<Own>],
    ) -> Result<Vec<Option<AlreadyLanded>>, ComposeError> {
        let mut is_there = Vec::with_capacity(own.len());
        for own in own {
            is_there.push(match own {
                Some(own) => self.is_there(tree, own)?,
                None => false,
            });
        }
        let mut landed = vec![None; own.len()];
        if !is_there.contains(&true) {
            return Ok(landed);
        }
        let position: HashMap<&ItemName, usize> = items.iter().enumerate().map(|(at, item)| (&item.name, at)).collect();
        let with_own = || own.iter().enumerate().filter_map(|(at, own)| Some((at, own.as_ref()?)));
        for (at, item) in with_own().filter(|(at, _)| is_there[*at]) {
            let within: Vec<(usize, &Own)> = with_own().filter(|(_, other)| item.holds(other)).collect();
            if within.iter().any(|(_, other)| other.tree == item.tree) {
                continue;
            }
            let mut needed: HashSet<usize> = HashSet::new();
            let mut open: Vec<usize> = within.iter().map(|(at, _)| *at).chain([at]).collect();
            while let Some(at) = open.pop() {
                let deps = items[at].deps.iter().filter_map(|dep| position.get(dep).copied());
                open.extend(deps.filter(|dep| needed.insert(*dep)));
            }
            let lands_beneath = |dep: &usize| {
                own[*dep].as_ref().is_some_and(|dep_own| {
                    !is_there[*dep] && !item.commits.contains(&dep_own.head) && meet(&item.changes, &dep_own.changes)
                })
            };
            if needed.iter().any(lands_beneath) {
                continue;
            }
            landed[at] = Some(AlreadyLanded::ByContent);
            for (at, _) in within.iter().filter(|(_, other)| !other.changes.is_empty()) {
                let head = commit_id(item.head);
                landed[*at] = match landed[*at] {
                    None => Some(AlreadyLanded::Below(head)),
                    // Of several the same one, in whatever order the plan names them.
                    Some(AlreadyLanded::Below(other)) => Some(AlreadyLanded::Below(head.min(other))),
                    known => known,
                };
            }
        }
        Ok(landed)
    }

    /// Whether `tree` has all that the item changes, and it changes something.
    fn is_there(&mut self, tree: ObjectId, own: &Own) -> Result<bool, ComposeError> {
        let [left_at] = own.left_at[..] else { return Ok(false) };
        if own.changes.is_empty() {
            return Ok(false);
        }
        for change in &own.changes {
            if self.objects.file_at(tree, &change.path)? != change.after {
                return Ok(false);
            }
        }
        // Every path is then as one side left it or both made it, and git's merge is `tree`: unless a
        // path that the item removed counts as the beginning of a rename. That is git's to say.
        let removes = own.changes.iter().any(|change| change.after.is_none());
        Ok(!removes || self.merges_to_nothing(left_at, tree, own.tree)?)
    }

    /// The paths at which `own` changes put files where `tree` has none. A file that the base has
    /// removed and the item changed is none of them: that is a conflict.
    fn add_arriving(
        &mut self,
        tree: ObjectId,
        own: &[Change],
        arriving: &mut BTreeSet<PathBuf>,
    ) -> Result<(), ComposeError> {
        let is_file = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.mode != mode::SUBMODULE);
        for change in own.iter().filter(|change| is_file(&change.after) && !is_file(&change.before)) {
            if !is_file(&self.objects.file_at(tree, &change.path)?) {
                arriving.insert(OsStr::from_bytes(&change.path).into());
            }
        }
        Ok(())
    }
}

fn meet(one: &[Change], other: &[Change]) -> bool {
    one.iter().any(|one| other.iter().any(|other| related(&one.path, &other.path)))
}

/// For each item that is yet to land, the heads that landed by content and have commits in common
/// with it; but for those that contain it: merged before it, they would leave nothing of it.
fn merged(own: &[Option<Own>], already_landed: &[Option<AlreadyLanded>]) -> Vec<Vec<CommitId>> {
    let by_content: Vec<&Own> = own
        .iter()
        .zip(already_landed)
        .filter(|(_, landed)| landed.is_some())
        .filter_map(|(own, _)| own.as_ref())
        .collect();
    own.iter()
        .zip(already_landed)
        .map(|(own, landed)| {
            let Some(own) = own.as_ref().filter(|_| landed.is_none()) else { return Vec::new() };
            let shared = by_content
                .iter()
                .filter(|other| !other.commits.contains(&own.head) && !own.commits.is_disjoint(&other.commits));
            let heads: BTreeSet<CommitId> = shared.map(|other| commit_id(other.head)).collect();
            heads.into_iter().collect()
        })
        .collect()
}
