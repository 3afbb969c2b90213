//! A switch as git makes it: for a slot of which nothing is known, and for whatever is unusual. Needs
//! neither the old commit nor its tree, which went with the run that made them. Afterwards as
//! much is known as the next switch needs to do without git.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Output, Stdio};

use gix::ObjectId;
use rustix::fs::{CWD, Mode, openat};

use super::attributes::{self, Places, sets_attributes};
use super::folder::{empty, is_folder, remove, with_suffix};
use super::git_dir::{lay_index, renew};
use super::known::{Known, is_whole, note_the_beginning, write_notes};
use super::nature::{as_made, is_more_than_a_file, without_attributes};
use super::survey::{Expected, FOLDER, Folders, Ignored, Left, sets_rules, stat_of, survey};
use super::{Clean, Memory, Slot, SlotTarget, write};
use crate::crash;
use crate::git::command::{Config, Git, GitError, failed, output, shown};
use crate::git::index::{Tracked, tracked};
use crate::git::objects::from_tree;

/// Each cleaning removes the topmost `.gitignore` that is not tracked; nobody nests as many.
const MOST_CLEANINGS: usize = 16;

impl Slot {
    pub(super) fn switch_by_git(&self, memory: &mut Memory, to: &SlotTarget, clean: Clean) -> Result<(), GitError> {
        memory.known = None;
        memory.watched.doubt();
        note_the_beginning(&self.notes).map_err(GitError::io("writing", &self.notes))?;
        let id_len = to.tree.as_bytes().len();
        let objects = self.objects(&mut memory.objects).ok();
        // Without its objects git will say what is missing.
        let attributes = objects.and_then(|objects| attributes::places(objects, from_tree(to.tree)).ok());
        let attributes = attributes.unwrap_or_default();
        let is_whole = is_whole(&self.index, from_tree(to.tree).kind());
        let prepare = |entries: &[Tracked<'_>], mode| {
            self.prepare_tracked_folders(entries)?;
            self.remove_odd_files(entries, mode)
        };
        if !is_whole || self.with_tracked(id_len, prepare).is_err() {
            // Its top at least, so that git works in it.
            self.prepare_tracked_folders(&[])?;
            remove(&self.index)?;
        } else if self.converts_otherwise(memory, &attributes, id_len) {
            // Every file goes, and comes anew.
            let nothing = ObjectId::empty_tree(from_tree(to.tree).kind());
            self.git(&self.index, &["read-tree", "--reset", "-u", &nothing.to_string()])?;
        }
        let clean = if self.index.exists() { clean } else { self.clean_without_an_index()? };
        self.remove_foreign_attributes(&attributes);
        // Every tracked file's stat data is compared with the index, and what is not up to date
        // is written. An index as young as its entries makes git compare contents ("racy git").
        self.git(&self.index, &["read-tree", "--reset", "-u", &to.tree.to_string()])?;
        crash::point!("slot.switch.read");
        self.with_tracked(id_len, |entries, _| self.prepare_tracked_folders(entries))?;
        self.clean(clean)?;
        self.learn(memory, to, clean)?;
        if memory.known.is_none() {
            // It has come to its end, and more is not known.
            remove(&self.notes)?;
        }
        let written = fs::read(&self.index).and_then(|bytes| Ok((bytes, fs::metadata(&self.index)?.modified()?)));
        let (bytes, modified) = written.map_err(GitError::io("reading", &self.index))?;
        lay_index(&self.git_dir(), &bytes, modified)
    }

    /// Without an index nobody knows what was tracked: files of an earlier tree that the new one ignores would pass for
    /// what a build made. So nothing stays of what is ignored, nor of what the setup made.
    ///
    /// # Errors
    /// Where it is not forgotten what the slot was set up for.
    fn clean_without_an_index(&self) -> Result<Clean, GitError> {
        remove(&self.setup)?;
        Ok(Clean::IgnoredToo)
    }

    /// Removes what is not tracked, with or without what is ignored.
    pub(super) fn clean(&self, clean: Clean) -> Result<(), GitError> {
        let scope: &[&str] = match clean {
            Clean::TrackedAndUntracked => &["clean", "-q", "-ffd"],
            Clean::IgnoredToo => &["clean", "-q", "-ffdx"],
        };
        // -ff: repositories that a gate made, too.
        let cleaned = self.git(&self.index, scope)?;
        if !cleaned.stderr.is_empty() {
            // A folder it may not read is skipped with a warning and status 0.
            return Err(failed(scope, &cleaned));
        }
        crash::point!("slot.switch.cleaned");
        Ok(())
    }

    /// What a cleaning left, all of it ignored.
    ///
    /// # Errors
    /// Where git fails, or something cannot be removed.
    pub(super) fn ignored(&self) -> Result<Left, GitError> {
        // `matching`: a folder that a pattern names is named as one, and stands for all in it.
        let args = [
            "--no-optional-locks",
            "status",
            "--porcelain",
            "-z",
            "--ignored=matching",
            "--untracked-files=all",
            "--no-renames",
            "--ignore-submodules=all",
        ];
        for _ in 0..MOST_CLEANINGS {
            let told = self.git(&self.index, &args)?.stdout;
            let lines = || told.split(|byte| *byte == 0);
            if lines().any(|line| line.starts_with(b"?? ")) {
                // It was ignored by a `.gitignore` that was not tracked, and that went with the cleaning.
                self.clean(Clean::TrackedAndUntracked)?;
                continue;
            }
            let top = openat(CWD, &self.work_tree, FOLDER, Mode::empty());
            let top = top.map_err(|error| GitError::io("opening", &self.work_tree)(error.into()))?;
            let ignored =
                lines().filter_map(|line| line.strip_prefix(b"!! ")).map(|path| match path.strip_suffix(b"/") {
                    Some(folder) => (folder.to_vec(), Ignored::Folder),
                    None if sets_rules(path) => {
                        (path.to_vec(), Ignored::Rules(stat_of(&top, path).unwrap_or_default()))
                    }
                    None => (path.to_vec(), Ignored::File),
                });
            let ignored: Left = ignored.collect();
            // On the way to it are folders without tracked files that a cleaning leaves, with all in them that git does not see.
            let paths = ignored.keys().map(|path| Path::new(OsStr::from_bytes(path)));
            let folders: BTreeSet<&Path> = paths.flat_map(|path| path.ancestors().skip(1)).collect();
            for folder in folders {
                remove_special(&self.work_tree.join(folder))?;
            }
            return Ok(ignored);
        }
        let why = "what is not tracked comes to light again and again".to_owned();
        Err(GitError::Unreadable { command: shown(&args), why })
    }

    /// Sees what the next switch has to know, and that nothing is left that is neither tracked nor
    /// ignored.
    fn learn(&self, memory: &mut Memory, to: &SlotTarget, clean: Clean) -> Result<(), GitError> {
        let tree = from_tree(to.tree);
        let known = Known::read(&self.index, &self.notes, tree.kind());
        let found = known.and_then(|known| {
            let (left, folders) = (&Left::new(), &Folders::new());
            let folder = self.folder_nature()?;
            let expected = Expected { entries: &known.entries, written: known.written, left, folders, folder };
            let found = survey(&self.work_tree, expected)?;
            Ok((known, found))
        });
        let is_something_left = found.as_ref().map_or(true, |(_, found)| !found.untracked.is_empty());
        let left = match clean {
            Clean::TrackedAndUntracked if is_something_left => self.ignored()?,
            _ => Left::new(),
        };
        let Ok((known, found)) = found else { return Ok(()) };
        let Ok(objects) = self.objects(&mut memory.objects) else { return Ok(()) };
        if found.differing.is_empty()
            && found.foreign.is_empty()
            && memory.harmless.check_all(objects, &known.entries).is_ok()
        {
            write_notes(&self.notes, known.checksum, tree, &left);
            memory.known = Some(Known { tree: Some(tree), left: Some(left), folders: found.folders, ..known });
        }
        Ok(())
    }

    /// Removes what lies where attributes are read from, and is not the tree's: git would heed it.
    fn remove_foreign_attributes(&self, to: &Places) {
        let is_there = |path: &&Vec<u8>| self.work_tree.join(OsStr::from_bytes(path)).symlink_metadata().is_ok();
        for path in to.absent.iter().filter(is_there) {
            // Where a folder is none, there is nothing to heed.
            let _ = write::remove(&self.work_tree, std::iter::once(path.as_slice()), &[]);
        }
    }

    /// Whether files that are the same in both trees may have to be written anew, because attributes
    /// that convert came, went or changed: git does not think of that.
    fn converts_otherwise(&self, memory: &mut Memory, to: &Places, id_len: usize) -> bool {
        let Ok(index) = fs::read(&self.index) else { return false };
        let Ok(entries) = tracked(&index, id_len) else { return false };
        let before = entries
            .iter()
            .filter(|entry| sets_attributes(entry.path.as_os_str().as_bytes()))
            .map(|entry| (entry.path.as_os_str().as_bytes(), entry.mode, ObjectId::from_bytes_or_panic(entry.id)));
        let after = to.files.iter().map(|(path, mode, id)| (path.as_slice(), *mode, *id));
        if before.clone().eq(after.clone()) {
            return false;
        }
        let Ok(objects) = self.objects(&mut memory.objects) else { return false };
        before.chain(after).any(|(path, mode, id)| memory.harmless.check(objects, path, mode, id).is_err())
    }

    /// Deals with what git leaves alone. A tracked folder that became a symbolic link or a file is
    /// removed: git would look at the files behind the link. What was put into a submodule's folder
    /// is removed: to git it belongs to the submodule. So is, in a folder with tracked files below it, a
    /// repository's `.git`, a `.gitignore` that is not tracked, and whatever git does not see: pipes, sockets, devices.
    /// Folders get their rights and their owner back.
    ///
    /// # Errors
    /// Where something cannot be removed.
    fn prepare_tracked_folders(&self, entries: &[Tracked<'_>]) -> Result<(), GitError> {
        let top = std::iter::once(Path::new(""));
        let folders: BTreeSet<&Path> =
            top.chain(entries.iter().flat_map(|entry| entry.path.ancestors().skip(1))).collect();
        let rules: HashSet<&Path> =
            entries.iter().map(|entry| entry.path).filter(|path| sets_rules(path.as_os_str().as_bytes())).collect();
        let made = self.folder_nature();
        // A folder comes before those in it: what is no folder is gone before anybody looks behind it.
        for folder in folders {
            let path = self.work_tree.join(folder);
            match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    remove(&path)?;
                    continue;
                }
                // Missing, with all below it; git makes it.
                Err(_) => continue,
            }
            // Whatever cannot be put right is in git's way, too, and told by it.
            if let Ok(made) = made {
                let _ = as_made(CWD, path.as_os_str().as_bytes(), made);
            }
            if let Ok(opened) = openat(CWD, &path, FOLDER, Mode::empty()) {
                let _ = without_attributes(&opened);
            }
            if !folder.as_os_str().is_empty() {
                // git does not look at what is named so, and takes the folder for another repository's.
                remove(&path.join(".git"))?;
            }
            remove_special(&path)?;
            let own_rules = folder.join(".gitignore");
            if !rules.contains(&*own_rules) {
                remove(&self.work_tree.join(own_rules))?;
            }
        }
        for path in entries.iter().filter(|entry| entry.is_submodule()).map(|entry| self.work_tree.join(entry.path)) {
            if is_folder(&path) {
                empty(&path)?;
            }
        }
        Ok(())
    }

    /// Removes tracked files that are more or other than a file as git makes it, for git to make them anew: it
    /// looks at their content alone.
    ///
    /// # Errors
    /// Where something cannot be removed.
    fn remove_odd_files(&self, entries: &[Tracked<'_>], index_mode: u32) -> Result<(), GitError> {
        for entry in entries.iter().filter(|entry| !entry.is_submodule()) {
            let path = self.work_tree.join(entry.path);
            if is_more_than_a_file(&path, entry.mode, index_mode) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Has `work` done with what lexpr's own index tracks, and with the mode of the index's file; with nothing
    /// where there is no index.
    ///
    /// # Errors
    /// Where the index cannot be read, and those of `work`.
    fn with_tracked(
        &self,
        id_len: usize,
        work: impl FnOnce(&[Tracked<'_>], u32) -> Result<(), GitError>,
    ) -> Result<(), GitError> {
        let unreadable = GitError::io("reading", &self.index);
        let read = fs::read(&self.index).and_then(|bytes| Ok((bytes, fs::metadata(&self.index)?.mode())));
        let (bytes, mode) = match read {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(error)),
        };
        match tracked(&bytes, id_len) {
            Ok(entries) => work(&entries, mode),
            Err(why) => Err(unreadable(std::io::Error::new(ErrorKind::InvalidData, why))),
        }
    }

    /// Whether git can make an index of the tree at all, as far as can be found out here.
    ///
    /// # Errors
    /// Where it cannot.
    pub(super) fn check_tree(&self, to: &SlotTarget) -> Result<(), GitError> {
        let scratch = with_suffix(&self.index, ".check");
        if renew(&self.git_dir(), &self.settings, to, None).is_err() {
            // It is the folder that is in the way, and says nothing about the tree.
            return Ok(());
        }
        let checked = self.git(&scratch, &["read-tree", &to.tree.to_string()]);
        remove(&scratch)?;
        remove(&with_suffix(&scratch, ".lock"))?;
        checked.map(drop)
    }

    fn git(&self, index: &Path, args: &[&str]) -> Result<Output, GitError> {
        let git = Git::new(self.git_dir(), Config::RepositoryOnly).with_work_tree(&self.work_tree);
        let mut command = git.command();
        // It reads no input. One that outlives a killed lexpr keeps others out of the slot.
        command.env("GIT_INDEX_FILE", index).args(args).stdin(Stdio::from(self.at_work()?));
        let output = output(command, None)?;
        if output.status.success() { Ok(output) } else { Err(git.failed(args, &output)) }
    }
}

/// Removes what is neither file, link nor folder from a folder; not from those in it.
///
/// # Errors
/// Where the folder cannot be read, or something cannot be removed.
fn remove_special(folder: &Path) -> Result<(), GitError> {
    let unreadable = || GitError::io("reading", folder);
    for entry in fs::read_dir(folder).map_err(unreadable())? {
        let entry = entry.map_err(unreadable())?;
        let kind = entry.file_type().map_err(unreadable())?;
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}
