//! The usual switch, without a process: a survey of the working tree, the difference of two trees,
//! and an index. Whatever is not usual is for git, whose judgement the next survey starts from.
//!
//! Killed in between, the next switch finds the old index. Whatever was written or removed since
//! differs from it, and what came is not tracked by it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;

use gix::ObjectId;

use super::difference::{Change, between};
use super::folder::remove;
use super::git_dir::lay_index;
use super::known::{Known, note_the_beginning, write_index, write_notes};
use super::nature::FolderNature;
use super::paths::{folder_of, folders_to, is_tracked};
use super::survey::{Expected, Folders, Left, Survey, Untracked, is_heeded, sets_rules, survey, survey_some};
use super::write::{self, Coming, Over};
use super::{Clean, ForGit, LookedAt, Memory, Slot, SlotTarget};
use crate::crash;
use crate::git::index::IndexEntry;
use crate::git::objects::{Objects, from_tree, mode};

impl Slot {
    /// # Errors
    /// Where git has to do it. Some of it may be done by then.
    pub(super) fn switch_in_process(&self, memory: &mut Memory, to: &SlotTarget, clean: Clean) -> Result<(), ForGit> {
        let tree = from_tree(to.tree);
        let objects = self.objects(&mut memory.objects)?;
        let known = match memory.known.take() {
            Some(known) => {
                memory.watched.begin(&self.work_tree);
                known
            }
            None => {
                let known = Known::read(&self.index, &self.notes, tree.kind())?;
                memory.harmless.check_all(objects, &known.entries)?;
                known
            }
        };
        let left = known.left.filter(|_| clean == Clean::TrackedAndUntracked).unwrap_or_default();
        let Known { entries, written, folders, tree: from, .. } = known;
        let folders = if memory.folders_have_times { folders } else { Folders::new() };
        let folder = self.folder_nature()?;
        let expected = Expected { entries: &entries, written, left: &left, folders: &folders, folder };
        let found = match memory.watched.touched(&entries) {
            Some((folders, untracked)) => {
                let (found, folders) = survey_some(&self.work_tree, expected, folders, untracked)?;
                memory.looked_at = Some(LookedAt::Folders(folders));
                found
            }
            None => {
                memory.looked_at = Some(LookedAt::Everything);
                survey(&self.work_tree, expected)?
            }
        };
        let changes = changes(objects, from, tree, &entries)?;
        for change in &changes {
            if let Some((mode, id)) = change.to {
                memory.harmless.check(objects, &change.path, mode, id)?;
            }
        }
        let mut rules_changed = changes.iter().any(|change| sets_rules(&change.path));
        rules_changed |= found.differing.iter().any(|at| sets_rules(&entries[*at].path));
        rules_changed |= found.foreign.iter().any(|path| sets_rules(path));
        if clean == Clean::TrackedAndUntracked {
            let untracked = found.untracked.iter().map(|untracked| untracked.path.as_slice()).collect();
            nothing_is_in_the_way(&untracked, &changes)?;
        }
        self.no_folder_is_there_already(&changes, &entries)?;

        let inside = |path: &[u8]| self.work_tree.join(OsStr::from_bytes(path));
        let unremovable = |_| ForGit("something that cannot be removed");
        let away = found.untracked.iter().filter(|_| clean == Clean::IgnoredToo).map(|untracked| &untracked.path);
        for path in away.chain(&found.foreign) {
            remove(&inside(path)).map_err(unremovable)?;
        }
        let Next { mut entries, mut coming, going } = follow(entries, &changes, &found)?;
        let going = reuse(going, &mut coming, &entries);
        if !coming.is_empty() {
            note_the_beginning(&self.notes).map_err(|_| ForGit("notes that cannot be written"))?;
        }
        let mut with_strangers = write::remove(&self.work_tree, going.iter().map(|path| &**path), &entries)?;
        crash::point!("slot.switch.removed");
        write::write(&self.work_tree, objects, &mut entries, &coming)?;
        // Those that could not be moved, and folders in which nothing is left.
        let served = coming.iter().filter_map(Coming::served);
        with_strangers.extend(write::remove(&self.work_tree, served, &entries)?);
        crash::point!("slot.switch.written");
        let written = write_index(&self.index, &entries, tree.kind())?;

        let doubtful = |untracked: &&Untracked| rules_changed || !untracked.is_known;
        let doubtful: Vec<_> =
            found.untracked.iter().filter(doubtful).map(|untracked| inside(&untracked.path)).collect();
        let left = if doubtful.is_empty() && rules_changed {
            // Of what is not there nothing is known under other rules.
            Left::new()
        } else if clean == Clean::IgnoredToo || doubtful.is_empty() {
            left
        } else {
            let uncleaned = |_| ForGit("something that cannot be cleaned");
            self.clean(clean).map_err(uncleaned)?;
            match doubtful.iter().any(|path| path.symlink_metadata().is_ok()) {
                true => self.ignored().map_err(uncleaned)?,
                false if rules_changed => Left::new(),
                false => left,
            }
        };
        write_notes(&self.notes, written.checksum, tree, &left);
        lay_index(&self.git_dir(), &written.bytes, written.at.into())
            .map_err(|_| ForGit("an index that cannot be written"))?;
        memory.watched.settle(coming.iter().map(|coming| entries[coming.at].path.clone()), found.untracked);
        // As nothing came or went in them, their times do not tell of it.
        let folders = found.folders.into_iter().filter(|(folder, _)| !with_strangers.contains(&**folder));
        memory.known = Some(Known {
            entries,
            checksum: written.checksum,
            tree: Some(tree),
            written: written.at,
            left: Some(left),
            folders: folders.collect(),
        });
        Ok(())
    }

    /// In a folder of which nothing was tracked a gate may have done what nobody has looked for: to its rights, for one.
    fn no_folder_is_there_already(&self, changes: &[Change], entries: &[IndexEntry]) -> Result<(), ForGit> {
        let mut before: &[u8] = b"";
        for change in changes.iter().filter(|change| change.to.is_some()) {
            let topmost = folders_to(&change.path).find(|folder| !is_tracked(entries, folder));
            let Some(folder) = topmost.and_then(|folder| folder.strip_suffix(b"/")) else { continue };
            // A file that goes.
            let is_file = entries.binary_search_by(|entry| (*entry.path).cmp(folder)).is_ok();
            if folder != before && !is_file && self.work_tree.join(OsStr::from_bytes(folder)).symlink_metadata().is_ok()
            {
                return Err(ForGit("a folder that is there already"));
            }
            before = folder;
        }
        Ok(())
    }

    /// What folders are that lexpr makes in the working tree.
    pub(super) fn folder_nature(&self) -> Result<FolderNature, ForGit> {
        let above = self.index.parent().unwrap_or(&self.index).metadata();
        // Without an index it is about to be made.
        let ours = self.index.symlink_metadata().or_else(|_| self.lock.metadata());
        ours.and_then(|ours| Ok(FolderNature::like(&ours, &above?))).map_err(|_| ForGit("a lock that cannot be seen"))
    }

    /// Those that the slot's `.git` borrows.
    pub(super) fn objects<'a>(&self, opened: &'a mut Option<Objects>) -> Result<&'a mut Objects, ForGit> {
        /// Trees that are read again are those of the last few composites. Each slot has its own.
        const MOST_ENTRIES: usize = 2_000;
        if opened.is_none() {
            let objects = match &self.settings.store {
                Some(store) => store.objects(),
                // `.git` is laid in the same way every time.
                None => Objects::open(&self.git_dir()).map_err(|_| ForGit("objects that cannot be opened"))?,
            };
            *opened = Some(objects.keeping(MOST_ENTRIES));
        }
        opened.as_mut().ok_or(ForGit("objects that cannot be opened"))
    }
}

/// What must change from `entries`, those of the tree `from` where it is known, to the tree `to`.
fn changes(
    objects: &mut Objects,
    from: Option<ObjectId>,
    to: ObjectId,
    entries: &[IndexEntry],
) -> Result<Vec<Change>, ForGit> {
    // The objects of a run that is over may be gone.
    if let Some(changes) = from.and_then(|from| between(objects, from, to).ok()) {
        return Ok(changes);
    }
    let empty = objects.empty_tree();
    let mut files = between(objects, empty, to)?.into_iter().peekable();
    let mut changes = Vec::new();
    for entry in entries {
        while let Some(added) = files.next_if(|file| file.path < entry.path) {
            changes.push(added);
        }
        match files.next_if(|file| file.path == entry.path) {
            Some(file) if file.to == Some((entry.mode, entry.id)) => {}
            Some(changed) => changes.push(changed),
            None => changes.push(Change { path: entry.path.clone(), to: None }),
        }
    }
    changes.extend(files);
    Ok(changes)
}

/// What is ignored stays, and git decides what becomes of it where a tracked path comes in its place.
fn nothing_is_in_the_way(untracked: &BTreeSet<&[u8]>, changes: &[Change]) -> Result<(), ForGit> {
    if untracked.is_empty() {
        return Ok(());
    }
    for change in changes.iter().filter(|change| change.to.is_some()) {
        let slashes = change.path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut above = slashes.chain([change.path.len()]).map(|end| &change.path[..end]);
        let below = [&change.path, &b"/"[..]].concat();
        let first_below = untracked.range::<[u8], _>((Bound::Included(below.as_slice()), Bound::Unbounded)).next();
        if above.any(|path| untracked.contains(path)) || first_below.is_some_and(|path| path.starts_with(&below)) {
            return Err(ForGit("something ignored where a file comes"));
        }
    }
    for path in untracked.iter().filter(|path| is_heeded(path)) {
        let folder = folder_of(path);
        if changes.iter().any(|change| change.to.is_some() && change.path.starts_with(folder)) {
            return Err(ForGit("something heeded above a file that comes"));
        }
    }
    Ok(())
}

/// The way to the next index.
struct Next {
    entries: Vec<IndexEntry>,
    /// Which of them are to be written.
    coming: Vec<Coming>,
    going: Vec<Going>,
}

/// What is to be removed.
struct Going {
    path: Box<[u8]>,
    /// Of a file that is as an earlier switch left it.
    mode: Option<u32>,
}

fn follow(known: Vec<IndexEntry>, changes: &[Change], found: &Survey) -> Result<Next, ForGit> {
    let mut differs = vec![false; known.len()];
    for &at in &found.differing {
        differs[at] = true;
    }
    let mut next =
        Next { entries: Vec::with_capacity(known.len() + changes.len()), coming: Vec::new(), going: Vec::new() };
    let mut changes = changes.iter().peekable();
    for (entry, differs) in known.into_iter().zip(differs) {
        while let Some(added) = changes.next_if(|change| change.path < entry.path) {
            next.add(added)?;
        }
        match changes.next_if(|change| change.path == entry.path) {
            Some(Change { to: None, path }) => {
                let is_file = matches!(entry.mode, mode::FILE | mode::EXECUTABLE);
                next.going.push(Going { path: path.clone(), mode: (!differs && is_file).then_some(entry.mode) });
            }
            Some(changed) => {
                next.add(changed)?;
                let is_over_its_like = !differs && changed.to.is_some_and(|(mode, _)| mode == entry.mode);
                if let Some(coming) = next.coming.last_mut().filter(|_| is_over_its_like) {
                    coming.over = Some(Over::Here);
                }
            }
            None => {
                if differs {
                    next.coming.push(Coming { at: next.entries.len(), over: None });
                }
                next.entries.push(entry);
            }
        }
    }
    changes.try_for_each(|added| next.add(added))?;
    Ok(next)
}

/// Has files that go serve for those of their kind that come: a file system is slower at making files than at anything
/// else a switch does, and slower still where some were removed a moment ago (ext4's `recently_deleted`). Gives the
/// paths of those that serve for nothing.
fn reuse(going: Vec<Going>, coming: &mut [Coming], entries: &[IndexEntry]) -> Vec<Box<[u8]>> {
    let has_below = |path: &[u8]| is_tracked(entries, &[path, b"/"].concat());
    let is_file = |path: &[u8]| entries.binary_search_by(|entry| (*entry.path).cmp(path)).is_ok();
    let has_file_above = |path: &[u8]| {
        let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.any(|(at, _)| is_file(&path[..at]))
    };
    let mut servants: BTreeMap<u32, VecDeque<Box<[u8]>>> = BTreeMap::new();
    let mut others = Vec::new();
    for Going { path, mode } in going {
        match mode.filter(|_| !has_below(&path) && !has_file_above(&path)) {
            Some(mode) => servants.entry(mode).or_default().push_back(path),
            None => others.push(path),
        }
    }
    for coming in coming.iter_mut().filter(|coming| coming.over.is_none()) {
        let of_its_kind = servants.get_mut(&entries[coming.at].mode);
        coming.over = of_its_kind.and_then(VecDeque::pop_front).map(Over::Elsewhere);
    }
    others.extend(servants.into_values().flatten());
    others
}

impl Next {
    fn add(&mut self, change: &Change) -> Result<(), ForGit> {
        let (mode, id) = change.to.ok_or(ForGit("an index of another tree"))?;
        self.coming.push(Coming { at: self.entries.len(), over: None });
        self.entries.push(IndexEntry { path: change.path.clone(), mode, id, stat: Default::default() });
        Ok(())
    }
}
