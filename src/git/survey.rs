//! What each item changes by itself, seen from the base: known from trees alone, before anything is
//! merged. Says what stands in a run's way, or need not be done, while nothing has begun; what a
//! merge comes to is never said here.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use gix::ObjectId;

use super::objects::{Entry, from_commit, mode};
use super::resolve::{HeadOf, Relations, relate};
use super::shadow::{ComposeError, Workbench};
use super::splice::{Change, changes};
use crate::vocabulary::names::CommitId;

impl Workbench {
    /// How items relate to `base` and to each other, and what they bring.
    ///
    /// # Errors
    /// Where an object cannot be read.
    pub fn relate(&mut self, base: CommitId, items: &[HeadOf]) -> Result<Relations, ComposeError> {
        let mut relations = relate(&self.objects, &mut self.history, base, items)?;
        let base = from_commit(base);
        let tree = self.objects.commit(base)?.tree;
        let mut arriving = BTreeSet::new();
        for (item, landed) in items.iter().zip(&relations.already_landed) {
            if landed.is_none() {
                let own = self.own_changes(base, tree, from_commit(item.head))?;
                self.add_arriving(tree, &own, &mut arriving)?;
            }
        }
        relations.arriving = arriving.into_iter().collect();
        Ok(relations)
    }

    /// What `head` changes since the commit at which it left `base`, whose tree is `tree`. Where it
    /// left it at several, what it changes since each of them.
    fn own_changes(&mut self, base: ObjectId, tree: ObjectId, head: ObjectId) -> Result<Vec<Change>, ComposeError> {
        let Some((_, divergence)) = self.divergence(base, tree, head, &[])? else { return Ok(Vec::new()) };
        let head_tree = self.objects.commit(head)?.tree;
        let mut own: Option<Vec<Change>> = None;
        for left_at in divergence.bases {
            let left_at = self.objects.commit(left_at)?.tree;
            let mut since = Vec::new();
            changes(&mut self.objects, left_at, head_tree, &mut since)?;
            own = Some(match own {
                None => since,
                Some(mut own) => {
                    let paths: HashSet<&[u8]> = since.iter().map(|change| change.path.as_slice()).collect();
                    own.retain(|change| paths.contains(change.path.as_slice()));
                    own
                }
            });
        }
        Ok(own.unwrap_or_default())
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
