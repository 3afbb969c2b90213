//! Merging three trees in process where git's answer is certain: where every name that one side changed
//! since the merge base is, on the other side, still what it was, or a text in which nothing meets.
//!
//! It answers with git's result or with [`Spliced::AskGit`], never with a verdict of its own. What
//! it relies on is git's default strategy, `ort` (`merge-ort.c`), with one merge base:
//!
//! - A path that is a file (or link, or submodule) on all sides it is on, and that one side left
//!   as it was, becomes what the other side made of it: changed, added or removed. The same change
//!   of a file on both sides is that change. (`collect_merge_info_callback`, `process_entry`)
//! - Renames are pairs of a path that a side removed and a path that it added. A rename acts on
//!   anything but its own two paths only if the *other* side changed the source, or has something
//!   at the destination. Both would be a name changed on both sides, for which git is asked;
//!   otherwise the renamed file's base and other side are equal, and the merge of it is the
//!   renaming side's own file. So it does not matter which renames git sees, nor how it is set up
//!   to look for them. (`process_renames`, the trivial cases of `handle_content_merge`)
//! - Directory renames move what one side added in a folder that the other removed whole. Such a
//!   folder is a name that one side has no longer and the other has changed: git is asked.
//!   (`collect_rename_info` fills `dirs_removed` for exactly those.)
//! - A text that both sides changed is merged where [`super::text_merge`] knows what git makes of it,
//!   and no `.gitattributes` from the top of the tree merged into down to the file may say how to merge it.
//!   It is neither end of a rename: it is there on all sides. Line endings have no say, as
//!   `merge.renormalize` is off. (`handle_content_merge`, `ll_merge`)
//!
//! Names that change between file and folder, and trees that git would not have written the same
//! way (it might rewrite their entries while it merges), are left to git wherever they occur among
//! the changes of either side.

use std::borrow::Cow;
use std::collections::{HashMap, hash_map};
use std::sync::Arc;

use gix::ObjectId;

use super::attributes::{self, MergeRules};
use super::objects::{Entry, Objects, ObjectsError, Tree, mode};
use super::text_merge;

/// Pairs of trees whose difference was looked at are remembered up to this many: as many as a map of 8,192 places takes,
/// and 0.6 MB. Who is merged alone and then with others is asked for again soon.
const MAX_KNOWN_PAIRS: usize = 7_168;

/// Changes of texts are remembered up to this many, some 200 bytes each.
const MAX_KNOWN_CHANGES: usize = 20_000;

/// What splicing came to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// The tree that git, too, would make.
    Tree(ObjectId),
    /// Something meets; only git can say what comes of it.
    AskGit,
}

/// Splices trees. Remembers which differences hold nothing odd, so that a growing composite is not
/// looked through again for each item.
#[derive(Debug, Default)]
pub struct Splicer {
    /// (before, after; `None` for a folder that is not there) -> nothing odd in between
    plain: HashMap<(Option<ObjectId>, Option<ObjectId>), bool>,
    /// What each `.gitattributes` that was looked at says.
    rules: HashMap<ObjectId, MergeRules>,
    /// (base, side) -> what the side changed; `None` where that is no text
    changes: HashMap<(ObjectId, ObjectId), Option<Arc<text_merge::Changes>>>,
    /// Nothing is written, and the tree that comes out is none.
    looks_only: bool,
}

enum Stop {
    AskGit,
    Failed(ObjectsError),
}

impl From<ObjectsError> for Stop {
    fn from(err: ObjectsError) -> Self {
        Self::Failed(err)
    }
}

impl Splicer {
    /// Merges tree `theirs` into tree `ours`, whose one merge base has tree `base`.
    ///
    /// # Errors
    /// Where a tree cannot be read, or the result not be written.
    pub fn splice(
        &mut self,
        objects: &mut Objects,
        base: ObjectId,
        ours: ObjectId,
        theirs: ObjectId,
    ) -> Result<Spliced, ObjectsError> {
        if !self.is_plain(objects, Some(base), Some(theirs))? || !self.is_plain(objects, Some(base), Some(ours))? {
            return Ok(Spliced::AskGit);
        }
        if base == theirs || ours == theirs {
            return Ok(Spliced::Tree(ours));
        }
        if base == ours {
            return Ok(Spliced::Tree(theirs));
        }
        match self.merge_folder(objects, Some(base), ours, theirs, &mut Vec::new(), None) {
            Ok(Some(tree)) => Ok(Spliced::Tree(tree)),
            // Each side removed what the other kept: git writes the empty tree.
            Ok(None) => Ok(Spliced::Tree(objects.write_tree(Vec::new())?)),
            Err(Stop::AskGit) => Ok(Spliced::AskGit),
            Err(Stop::Failed(err)) => Err(err),
        }
    }

    /// Whether [`Splicer::splice`] would make a tree; makes none.
    ///
    /// # Errors
    /// Where a tree or a text cannot be read.
    pub fn would_splice(
        &mut self,
        objects: &mut Objects,
        base: ObjectId,
        ours: ObjectId,
        theirs: ObjectId,
    ) -> Result<bool, ObjectsError> {
        self.looks_only = true;
        let spliced = self.splice(objects, base, ours, theirs);
        self.looks_only = false;
        Ok(spliced? != Spliced::AskGit)
    }

    /// Whether all trees that differ between `before` and `after` are as git writes them, and no name
    /// turns from a file into a folder or back.
    fn is_plain(
        &mut self,
        objects: &mut Objects,
        before: Option<ObjectId>,
        after: Option<ObjectId>,
    ) -> Result<bool, ObjectsError> {
        if before == after {
            return Ok(true);
        }
        if let Some(known) = self.plain.get(&(before, after)) {
            return Ok(*known);
        }
        let (old, new) = (optional(objects, before)?, optional(objects, after)?);
        let mut plain =
            old.as_ref().is_none_or(|tree| tree.canonical) && new.as_ref().is_none_or(|tree| tree.canonical);
        let (mut old, mut new) = (entries(old.as_ref()), entries(new.as_ref()));
        while plain && let Some(name) = first_name(&[old, new]) {
            let (l, r) = (take(&mut old, name), take(&mut new, name));
            plain = match (l, r) {
                (Some(l), Some(r)) if l == r => true,
                (Some(l), Some(r)) if l.is_tree() != r.is_tree() => false,
                (l, r) => {
                    let folder = |entry: Option<&Entry>| entry.filter(|entry| entry.is_tree()).map(|entry| entry.id);
                    self.is_plain(objects, folder(l), folder(r))?
                }
            };
        }
        if self.plain.len() >= MAX_KNOWN_PAIRS {
            self.plain.clear();
        }
        self.plain.insert((before, after), plain);
        Ok(plain)
    }

    /// Merges one folder that both sides have and that differs on both; `None` where nothing is left.
    /// It lies at `path`, and `above` is the folder that it lies in.
    fn merge_folder(
        &mut self,
        objects: &mut Objects,
        base: Option<ObjectId>,
        ours: ObjectId,
        theirs: ObjectId,
        path: &mut Vec<u8>,
        above: Option<&Here<'_>>,
    ) -> Result<Option<ObjectId>, Stop> {
        let base = optional(objects, base)?;
        let (our_tree, their_tree) = (objects.tree(ours)?, objects.tree(theirs)?);
        let (mut b, mut o, mut t) = (entries(base.as_ref()), entries(Some(&our_tree)), entries(Some(&their_tree)));
        let mut merged: Vec<Entry> = Vec::with_capacity(o.len() + t.len());
        let (mut is_ours, mut is_theirs) = (true, true);
        while let Some(name) = first_name(&[b, o, t]) {
            let (base, ours, theirs) = (take(&mut b, name), take(&mut o, name), take(&mut t, name));
            let entry = if base == theirs {
                ours.cloned()
            } else if base == ours {
                theirs.cloned()
            } else {
                let here = Here { tree: &our_tree, above };
                let end = path.len();
                path.extend_from_slice(name);
                let merged = self.merge_entry(objects, [base, ours, theirs], path, &here);
                path.truncate(end);
                merged?
            };
            is_ours &= entry.as_ref() == ours;
            is_theirs &= entry.as_ref() == theirs;
            merged.extend(entry);
        }
        match () {
            // git writes no empty folders.
            () if merged.is_empty() => Ok(None),
            () if is_ours => Ok(Some(ours)),
            () if is_theirs => Ok(Some(theirs)),
            () if self.looks_only => Ok(Some(ours)),
            () => Ok(Some(objects.write_tree(merged)?)),
        }
    }

    /// Merges one name that differs from the base on both sides.
    fn merge_entry(
        &mut self,
        objects: &mut Objects,
        [base, ours, theirs]: [Option<&Entry>; 3],
        path: &mut Vec<u8>,
        here: &Here<'_>,
    ) -> Result<Option<Entry>, Stop> {
        // A name that one side removed may be a renamed file or folder that the other changed.
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Err(Stop::AskGit) };
        match base {
            // The same change to a file that stays: no rename can begin or end here. (The same
            // addition on both sides could be the end of one.)
            Some(base) if ours == theirs && !base.is_tree() && !ours.is_tree() => Ok(Some(ours.clone())),
            // Folders, even equal ones, hold what may be renamed: looked into.
            base if ours.is_tree() && theirs.is_tree() && base.is_none_or(Entry::is_tree) => {
                path.push(b'/');
                let base = base.map(|base| base.id);
                let id = self.merge_folder(objects, base, ours.id, theirs.id, path, Some(here))?;
                Ok(id.map(|id| Entry { id, ..ours.clone() }))
            }
            Some(base) if is_file(base) && base.mode == ours.mode && base.mode == theirs.mode => {
                if self.has_rule(objects, path, here)? {
                    return Err(Stop::AskGit);
                }
                let ids = [base.id, ours.id, theirs.id];
                let texts = Texts { ids, read: if self.looks_only { None } else { Some(read(objects, ids)?) } };
                let [our_changes, their_changes] = self.changes(objects, &texts)?;
                let (our_changes, their_changes) = our_changes.zip(their_changes).ok_or(Stop::AskGit)?;
                if !our_changes.keep_clear_of(&their_changes) {
                    return Err(Stop::AskGit);
                }
                let Some(texts) = texts.read else { return Ok(Some(ours.clone())) };
                let (our_side, their_side) = ((&texts[1][..], &*our_changes), (&texts[2][..], &*their_changes));
                let merged = text_merge::put_together(&texts[0], our_side, their_side);
                Ok(Some(Entry { id: objects.write_blob(&merged)?, ..ours.clone() }))
            }
            _ => Err(Stop::AskGit),
        }
    }

    /// What two sides changed of a text, each looked at once: the same branch is merged with many others.
    fn changes(
        &mut self,
        objects: &Objects,
        texts: &Texts,
    ) -> Result<[Option<Arc<text_merge::Changes>>; 2], ObjectsError> {
        if self.changes.len() >= MAX_KNOWN_CHANGES {
            self.changes.clear();
        }
        let [base, ours, theirs] = texts.ids;
        let known = |side: ObjectId| self.changes.get(&(base, side)).cloned();
        Ok(match [known(ours), known(theirs)] {
            [Some(ours), Some(theirs)] => [ours, theirs],
            [None, None] => {
                let all = [texts.get(objects, 0)?, texts.get(objects, 1)?, texts.get(objects, 2)?];
                let [our_changes, their_changes] = text_merge::changes(&all[0], [&all[1], &all[2]]);
                [self.keep(base, ours, our_changes), self.keep(base, theirs, their_changes)]
            }
            [Some(known), None] => [known, self.change(objects, texts, 2)?],
            [None, Some(known)] => [self.change(objects, texts, 1)?, known],
        })
    }

    fn change(
        &mut self,
        objects: &Objects,
        texts: &Texts,
        side: usize,
    ) -> Result<Option<Arc<text_merge::Changes>>, ObjectsError> {
        let [changes] = text_merge::changes(&texts.get(objects, 0)?, [&texts.get(objects, side)?]);
        Ok(self.keep(texts.ids[0], texts.ids[side], changes))
    }

    fn keep(
        &mut self,
        base: ObjectId,
        side: ObjectId,
        changes: Option<text_merge::Changes>,
    ) -> Option<Arc<text_merge::Changes>> {
        let changes = changes.map(Arc::new);
        self.changes.insert((base, side), changes.clone());
        changes
    }

    /// Whether attributes may say how the file at `path` is merged.
    fn has_rule(&mut self, objects: &Objects, path: &[u8], here: &Here<'_>) -> Result<bool, ObjectsError> {
        for folder in std::iter::successors(Some(here), |here| here.above) {
            let Some(file) = folder.tree.entry(attributes::FILE_NAME) else { continue };
            // What git reads through a link need not be known here.
            if !is_file(file) {
                return Ok(true);
            }
            let rules = match self.rules.entry(file.id) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(unknown) => unknown.insert(MergeRules::parse(&objects.blob(file.id)?)),
            };
            if rules.may_concern(path) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Base, ours and theirs of a text.
struct Texts {
    ids: [ObjectId; 3],
    /// Where they are needed anyway.
    read: Option<[Vec<u8>; 3]>,
}

impl Texts {
    fn get(&self, objects: &Objects, at: usize) -> Result<Cow<'_, [u8]>, ObjectsError> {
        match &self.read {
            Some(texts) => Ok(Cow::Borrowed(&texts[at])),
            None => objects.blob(self.ids[at]).map(Cow::Owned),
        }
    }
}

fn read(objects: &Objects, [base, ours, theirs]: [ObjectId; 3]) -> Result<[Vec<u8>; 3], ObjectsError> {
    Ok([objects.blob(base)?, objects.blob(ours)?, objects.blob(theirs)?])
}

/// A folder of the tree merged into, and those above it.
struct Here<'a> {
    tree: &'a Tree,
    above: Option<&'a Here<'a>>,
}

/// Neither a folder nor a link nor a submodule.
pub(super) fn is_file(entry: &Entry) -> bool {
    matches!(entry.mode, mode::FILE | mode::EXECUTABLE)
}

/// What differs between two trees: paths from the root, with the entries before and after. Folders
/// are looked into, never named.
///
/// # Errors
/// Where a tree cannot be read.
pub fn changes(
    objects: &mut Objects,
    before: ObjectId,
    after: ObjectId,
    found: &mut Vec<Change>,
) -> Result<(), ObjectsError> {
    collect_changes(objects, Some(before), Some(after), &mut Vec::new(), found)
}

/// One path that two trees do not agree on.
#[derive(Clone, Debug)]
pub struct Change {
    pub path: Vec<u8>,
    /// `None` where there is nothing, or a folder.
    pub before: Option<Entry>,
    pub after: Option<Entry>,
}

fn collect_changes(
    objects: &mut Objects,
    before: Option<ObjectId>,
    after: Option<ObjectId>,
    path: &mut Vec<u8>,
    found: &mut Vec<Change>,
) -> Result<(), ObjectsError> {
    if before == after {
        return Ok(());
    }
    let (old, new) = (optional(objects, before)?, optional(objects, after)?);
    let (mut old, mut new) = (entries(old.as_ref()), entries(new.as_ref()));
    while let Some(name) = first_name(&[old, new]) {
        let (l, r) = (take(&mut old, name), take(&mut new, name));
        if l == r {
            continue;
        }
        let len = path.len();
        path.extend_from_slice(name);
        let file = |entry: Option<&Entry>| entry.filter(|entry| !entry.is_tree()).cloned();
        let folder = |entry: Option<&Entry>| entry.filter(|entry| entry.is_tree()).map(|entry| entry.id);
        let (before, after) = (file(l), file(r));
        if before.is_some() || after.is_some() {
            found.push(Change { path: path.clone(), before, after });
        }
        path.push(b'/');
        collect_changes(objects, folder(l), folder(r), path, found)?;
        path.truncate(len);
    }
    Ok(())
}

fn optional(objects: &mut Objects, id: Option<ObjectId>) -> Result<Option<Arc<Tree>>, ObjectsError> {
    id.map(|id| objects.tree(id)).transpose()
}

fn entries(tree: Option<&Arc<Tree>>) -> &[Entry] {
    tree.map_or(&[], |tree| &tree.entries)
}

/// The least name that any of the lists begins with.
fn first_name<'a>(lists: &[&'a [Entry]]) -> Option<&'a [u8]> {
    lists.iter().filter_map(|list| list.first()).map(|entry| &*entry.name).min()
}

/// Takes the first entry off where it has this name.
fn take<'a>(list: &mut &'a [Entry], name: &[u8]) -> Option<&'a Entry> {
    let first = list.first()?;
    if *first.name != *name {
        return None;
    }
    *list = &list[1..];
    Some(first)
}
