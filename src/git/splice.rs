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
//! - Where such texts are all that is in the way, git is asked about them in trees that hold nothing else. They are
//!   at the same paths on all sides there, too, so no rename begins or ends at them; no attributes apply to them; and what git
//!   makes of a text depends on its three versions alone. What conflicts among them is then all that conflicts.
//!
//! Names that change between file and folder, and trees that git would not have written the same
//! way (it might rewrite their entries while it merges), are left to git wherever they occur among
//! the changes of either side.

use std::collections::{HashMap, hash_map};
use std::sync::Arc;

use gix::ObjectId;

use super::attributes::{self, MergeRules};
use super::objects::{Entry, Objects, ObjectsError, Tree, mode};
use super::text_merge;
use super::texts::Texts;

/// Pairs of trees whose difference was looked at are remembered up to this many: as many as a map of 4,096 places takes,
/// and 0.3 MB. Who is merged alone and then with others is asked for again soon.
const MAX_KNOWN_PAIRS: usize = 3_584;

/// Names that differ between two folders are remembered up to this many, some 200 bytes each.
const MAX_KNOWN_NAMES: usize = 2_500;

/// Of more texts that meet in one merge git is asked with all else: far fewer than are remembered.
const MOST_UNKNOWN: usize = 1_000;

/// What git made of texts is remembered up to this often, 120 bytes each.
const MAX_KNOWN_ANSWERS: usize = 10_000;

/// What splicing came to.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// The tree that git, too, would make.
    Tree(ObjectId),
    /// Nothing meets but in these texts, which only git can merge. With what it [makes of them](Splicer::merged_by_git) the
    /// rest is spliced.
    AskGitAbout(Vec<MeetingTexts>),
    /// Something meets; only git can say what comes of it.
    AskGit,
}

/// A file that is there on all sides, another one on each, to which no attributes apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeetingTexts {
    /// From the top.
    pub path: Vec<u8>,
    pub mode: u32,
    /// Of the base, ours and theirs.
    pub ids: [ObjectId; 3],
}

/// Splices trees. Remembers which differences hold nothing odd, so that a growing composite is not
/// looked through again for each item.
#[derive(Debug, Default)]
pub struct Splicer {
    /// (before, after; `None` for a folder that is not there) -> nothing odd in between
    plain: HashMap<(Option<ObjectId>, Option<ObjectId>), bool>,
    /// (before, after) of folders -> the names that differ
    differing: HashMap<(ObjectId, ObjectId), Arc<[Differing]>>,
    differing_names: usize,
    /// What each `.gitattributes` that was looked at says.
    rules: HashMap<ObjectId, MergeRules>,
    texts: Arc<Texts>,
    /// What git made of texts that met.
    by_git: HashMap<[ObjectId; 3], ObjectId>,
    /// Texts that git has to be asked about before the merge that is being made can be.
    unknown: Vec<MeetingTexts>,
    /// Nothing is written, and the tree that comes out is none.
    looks_only: bool,
}

/// A name by which two folders have something else, or one of them nothing.
#[derive(Debug)]
struct Differing {
    before: Option<Entry>,
    after: Option<Entry>,
}

impl Differing {
    fn name(&self) -> &[u8] {
        self.before.as_ref().or(self.after.as_ref()).map_or(&[], |entry| &*entry.name)
    }
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
        let spliced = self.merge_folder(objects, Some(base), ours, theirs, &mut Vec::new(), None);
        let unknown = std::mem::take(&mut self.unknown);
        let tree = match spliced {
            Ok(_) if !unknown.is_empty() => return Ok(Spliced::AskGitAbout(unknown)),
            Ok(Some(tree)) => tree,
            // Each side removed what the other kept: git writes the empty tree.
            Ok(None) => objects.write_tree(Vec::new())?,
            Err(Stop::AskGit) => return Ok(Spliced::AskGit),
            Err(Stop::Failed(err)) => return Err(err),
        };
        if !self.looks_only {
            // Each of its names is what it is on a side of which that is known.
            self.know_as_plain((Some(base), Some(tree)), true);
        }
        Ok(Spliced::Tree(tree))
    }

    /// What git made of texts that met.
    pub fn merged_by_git(&mut self, texts: &MeetingTexts, merged: ObjectId) {
        if self.by_git.len() >= MAX_KNOWN_ANSWERS {
            self.by_git.clear();
        }
        self.by_git.insert(texts.ids, merged);
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
        Ok(matches!(spliced?, Spliced::Tree(_)))
    }

    /// What differs between two trees, as [`changes`], and looked at for when the second is merged.
    ///
    /// # Errors
    /// Where a tree cannot be read.
    pub fn brought(
        &mut self,
        objects: &mut Objects,
        before: ObjectId,
        after: ObjectId,
    ) -> Result<Vec<Change>, ObjectsError> {
        self.is_plain(objects, Some(before), Some(after))?;
        let mut found = Vec::new();
        self.collect_brought(objects, before, after, &mut Vec::new(), &mut found)?;
        Ok(found)
    }

    fn collect_brought(
        &mut self,
        objects: &mut Objects,
        before: ObjectId,
        after: ObjectId,
        path: &mut Vec<u8>,
        found: &mut Vec<Change>,
    ) -> Result<(), ObjectsError> {
        if before == after {
            return Ok(());
        }
        for differing in self.differing(objects, Some(before), after)?.iter() {
            let len = path.len();
            path.extend_from_slice(differing.name());
            match folders_below(differing.before.as_ref(), differing.after.as_ref(), path, found) {
                (Some(before), Some(after)) => self.collect_brought(objects, before, after, path, found)?,
                (before, after) => collect_changes(objects, before, after, path, found)?,
            }
            path.truncate(len);
        }
        Ok(())
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
        self.know_as_plain((before, after), plain);
        Ok(plain)
    }

    fn know_as_plain(&mut self, trees: (Option<ObjectId>, Option<ObjectId>), plain: bool) {
        if self.plain.len() >= MAX_KNOWN_PAIRS {
            self.plain.clear();
        }
        self.plain.insert(trees, plain);
    }

    /// The names by which two folders differ, in order.
    fn differing(
        &mut self,
        objects: &mut Objects,
        before: Option<ObjectId>,
        after: ObjectId,
    ) -> Result<Arc<[Differing]>, ObjectsError> {
        let key = before.map(|before| (before, after));
        if let Some(known) = key.and_then(|key| self.differing.get(&key)) {
            return Ok(Arc::clone(known));
        }
        let (old, new) = (optional(objects, before)?, objects.tree(after)?);
        let (mut old, mut new) = (entries(old.as_ref()), entries(Some(&new)));
        let mut found = Vec::new();
        while let Some(name) = first_name(&[old, new]) {
            let (before, after) = (take(&mut old, name), take(&mut new, name));
            if before != after {
                let by_itself = |entry: Option<&Entry>| entry.map(Entry::by_itself);
                found.push(Differing { before: by_itself(before), after: by_itself(after) });
            }
        }
        let found: Arc<[Differing]> = found.into();
        let Some(key) = key.filter(|_| found.len() < MAX_KNOWN_NAMES) else { return Ok(found) };
        self.differing_names += found.len() + 1;
        if self.differing_names > MAX_KNOWN_NAMES {
            self.differing.clear();
            self.differing_names = found.len() + 1;
        }
        self.differing.insert(key, Arc::clone(&found));
        Ok(found)
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
        let our_tree = objects.tree(ours)?;
        let differing = self.differing(objects, base, theirs)?;
        let mut rest = entries(Some(&our_tree));
        let mut merged: Vec<Entry> = Vec::with_capacity(rest.len() + differing.len());
        let mut is_ours = true;
        for theirs in differing.iter() {
            let name = theirs.name();
            let before = rest.partition_point(|entry| *entry.name < *name);
            merged.extend_from_slice(&rest[..before]);
            rest = &rest[before..];
            let ours = take(&mut rest, name);
            let entry = if theirs.before.as_ref() == ours {
                theirs.after.clone()
            } else {
                let here = Here { tree: &our_tree, above };
                let end = path.len();
                path.extend_from_slice(name);
                let merged = self.merge_entry(objects, theirs, ours, path, &here);
                path.truncate(end);
                merged?
            };
            is_ours &= entry.as_ref() == ours;
            merged.extend(entry);
        }
        merged.extend_from_slice(rest);
        match () {
            // git writes no empty folders.
            () if merged.is_empty() => Ok(None),
            () if is_ours || self.looks_only || !self.unknown.is_empty() => Ok(Some(ours)),
            () => Ok(Some(objects.write_tree(merged)?)),
        }
    }

    /// Merges one name that differs from the base on both sides.
    fn merge_entry(
        &mut self,
        objects: &mut Objects,
        Differing { before: base, after: theirs }: &Differing,
        ours: Option<&Entry>,
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
            base if ours.is_tree() && theirs.is_tree() && base.as_ref().is_none_or(Entry::is_tree) => {
                path.push(b'/');
                let base = base.as_ref().map(|base| base.id);
                let id = self.merge_folder(objects, base, ours.id, theirs.id, path, Some(here))?;
                Ok(id.map(|id| Entry { id, ..ours.clone() }))
            }
            Some(base) if is_file(base) && base.mode == ours.mode && base.mode == theirs.mode => {
                if self.has_rule(objects, path, here)? {
                    return Err(Stop::AskGit);
                }
                let id = self.merge_texts(objects, [base.id, ours.id, theirs.id], (base.mode, path))?;
                Ok(Some(Entry { id, ..ours.clone() }))
            }
            _ => Err(Stop::AskGit),
        }
    }

    /// Merges a text that both sides changed, from base, ours and theirs. Where only git can, it stays ours until git was asked.
    fn merge_texts(
        &mut self,
        objects: &Objects,
        ids: [ObjectId; 3],
        (mode, path): (u32, &[u8]),
    ) -> Result<ObjectId, Stop> {
        if let Some(merged) = self.by_git.get(&ids) {
            return Ok(*merged);
        }
        if self.unknown.len() == MOST_UNKNOWN {
            return Err(Stop::AskGit);
        }
        let [base, ours, theirs] = ids;
        let (mut our_text, mut their_text) = (None, None);
        let our_changes = self.texts.changes(objects, base, ours, &mut our_text)?;
        let their_changes = self.texts.changes(objects, base, theirs, &mut their_text)?;
        let clear = our_changes.zip(their_changes).filter(|(ours, theirs)| ours.keep_clear_of(theirs));
        match (clear, self.looks_only) {
            (Some(_), true) => Ok(ours),
            (Some((our_changes, their_changes)), false) => {
                let Some(base) = self.texts.base(objects, base)? else { return Err(Stop::AskGit) };
                let [our_text, their_text] = [(ours, our_text), (theirs, their_text)].map(|(id, text)| match text {
                    Some(text) => Ok(text),
                    None => objects.blob(id),
                });
                let (our_text, their_text) = (our_text?, their_text?);
                let merged =
                    text_merge::put_together(base.bytes(), (&our_text, &our_changes), (&their_text, &their_changes));
                Ok(objects.write_blob(&merged)?)
            }
            (None, true) => Err(Stop::AskGit),
            (None, false) => {
                self.unknown.push(MeetingTexts { path: path.to_vec(), mode, ids });
                Ok(ours)
            }
        }
    }

    /// What is known of texts, for who reads ahead.
    pub fn texts(&self) -> &Arc<Texts> {
        &self.texts
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
        let (before, after) = folders_below(l, r, path, found);
        collect_changes(objects, before, after, path, found)?;
        path.truncate(len);
    }
    Ok(())
}

/// Takes down what differs at a path, unless that is folders, which are left to look into at the path that it becomes.
fn folders_below(
    before: Option<&Entry>,
    after: Option<&Entry>,
    path: &mut Vec<u8>,
    found: &mut Vec<Change>,
) -> (Option<ObjectId>, Option<ObjectId>) {
    let file = |entry: Option<&Entry>| entry.filter(|entry| !entry.is_tree()).cloned();
    let folder = |entry: Option<&Entry>| entry.filter(|entry| entry.is_tree()).map(|entry| entry.id);
    if let files @ ((Some(_), _) | (_, Some(_))) = (file(before), file(after)) {
        found.push(Change { path: path.clone(), before: files.0, after: files.1 });
    }
    path.push(b'/');
    (folder(before), folder(after))
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
