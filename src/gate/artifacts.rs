//! Keeping the files that a gate leaves in its slot, by glob, and making sure beforehand that
//! none of an earlier gate's is there to be taken for its. Nothing outside the slot is read,
//! whatever symbolic links say, and what a gate wrote is never executed or interpreted.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use globset::GlobMatcher;

use super::log::as_file_name;
use super::secrets::strike;
use crate::plan::globs::path_glob;
use crate::ports::JobGateRun;
use crate::vocabulary::event::Artifact;
use crate::vocabulary::names::JobId;

/// Files kept of one attempt: each is named in the journal and in the report.
const MOST_FILES: usize = 5_000;

/// Where what one attempt leaves is kept.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    /// Copies of what the globs match, at their paths relative to the gate's cwd.
    pub(super) collected: PathBuf,
    /// `LEXPR_ARTIFACTS`: what the gate itself puts here stays.
    pub(super) written: PathBuf,
    /// As its folders were made.
    made: Option<[Nature; 2]>,
}

/// What the folder of one attempt's shelf is called.
pub(super) fn folder_name(job: JobId, run: &JobGateRun, attempt: u32) -> String {
    let (gate, key) = (as_file_name(run.gate.name.as_str()), run.key.in_file_names());
    let of_item = run.item.as_ref().map(|item| format!("{}-", as_file_name(item.as_str()))).unwrap_or_default();
    format!("{of_item}job-{}-{gate}-{key}-{attempt}", job.0)
}

/// What shows that nobody did anything to a folder: owner, rights, and when it changed last.
type Nature = (u32, u32, u32, i64, i64);

impl Shelf {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { collected: folder.join("collected"), written: folder.join("written"), folder, made: None }
    }

    /// Makes the folder that the gate may write to, or takes the one that is to spare: a file system takes
    /// longer to make and remove folders than to rename one.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub(super) fn make(&mut self, spare: Option<Spare>) -> io::Result<()> {
        let taken = spare.is_some_and(|spare| spare.becomes(&self.folder));
        if !taken {
            fs::create_dir_all(&self.written)?;
        }
        self.made = self.nature();
        Ok(())
    }

    fn nature(&self) -> Option<[Nature; 2]> {
        let of = |folder: &Path| {
            let found = fs::symlink_metadata(folder).ok()?;
            Some((found.uid(), found.gid(), found.mode(), found.ctime(), found.ctime_nsec()))
        };
        Some([of(&self.folder)?, of(&self.written)?])
    }

    /// Done with: an empty one says nothing. It is to spare if nobody touched it.
    fn put_away(self) -> Option<Spare> {
        let is_empty = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if self.made.is_some() && self.nature() == self.made && is_empty(&self.written) {
            return Some(Spare(Some(self)));
        }
        self.remove_if_empty();
        None
    }

    fn remove_if_empty(&self) {
        // remove_dir leaves one that is not.
        for folder in [&self.written, &self.folder] {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// An empty shelf for the next attempt; without one it is removed.
#[derive(Debug)]
pub(super) struct Spare(Option<Shelf>);

impl Spare {
    fn becomes(mut self, folder: &Path) -> bool {
        let renamed = self.0.as_ref().is_some_and(|shelf| fs::rename(&shelf.folder, folder).is_ok());
        if renamed {
            self.0 = None;
        }
        renamed
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(shelf) = &self.0 {
            shelf.remove_if_empty();
        }
    }
}

/// What an attempt left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// In order of their paths: those that globs match, then those the gate put on its shelf.
    pub(super) artifacts: Vec<Artifact>,
    /// Globs without a file, in plan order, with the reason where it is not that none is there.
    pub(super) missing: Vec<String>,
}

impl Kept {
    /// The same, with names in which secrets stand told without them; the files keep theirs.
    pub(super) fn without(mut self, secrets: &[Vec<u8>]) -> Self {
        strike(self.artifacts.iter_mut().flat_map(|kept| [&mut kept.source, &mut kept.stored]), secrets);
        self
    }
}

/// Copies what `globs` match below `cwd`, which lies in `slot`, and lists what the gate wrote.
/// A failure to copy is told as a missing artifact: it changes no verdict. With the shelf, where it was not used.
pub(super) fn keep(globs: &[String], cwd: &Path, slot: &Path, shelf: Shelf) -> (Kept, Option<Spare>) {
    let mut kept = Kept::default();
    let mut seen = BTreeSet::new();
    for glob in globs {
        match keep_matches(glob, cwd, slot, &shelf, &mut seen, &mut kept.artifacts) {
            Ok(true) => {}
            Ok(false) => kept.missing.push(glob.clone()),
            Err(why) => kept.missing.push(format!("{glob} ({why})")),
        }
    }
    kept.artifacts.sort_by(|a, b| a.source.cmp(&b.source));
    list_written(&shelf, &mut kept);
    (kept, shelf.put_away())
}

/// Below a shelf's folder: what came from elsewhere, until it is kept. `collected` is of the gate's cwd, `written` of its shelf.
pub(super) const BROUGHT: &str = "brought";

/// As [`keep`], of what was brought from where the gate ran; its folder goes. Links that the gate put on its shelf over there
/// lead nowhere here.
///
/// # Errors
/// Where the folders of the shelf cannot be made or removed.
pub(super) fn keep_brought(globs: &[String], shelf: Shelf) -> io::Result<Kept> {
    let brought = shelf.folder.join(BROUGHT);
    let (collected, written) = (brought.join("collected"), brought.join("written"));
    fs::create_dir_all(&collected)?;
    fs::create_dir_all(&written)?;
    let mut put_there = Vec::new();
    walk(&written, &mut put_there);
    for path in put_there {
        if !fs::symlink_metadata(&path)?.is_file() {
            fs::remove_file(path)?;
        }
    }
    fs::rename(&written, &shelf.written)?;
    let (kept, spare) = keep(globs, &collected, &collected, shelf.clone());
    drop(spare);
    fs::remove_dir_all(&brought)?;
    shelf.remove_if_empty();
    Ok(kept)
}

/// Removes what `globs` match below `cwd`, if that is in `slot`: an ignored file that an earlier
/// gate left must not pass for this one's. Tracked files among them are brought back by the
/// switch that follows.
pub(super) fn remove_leftovers(globs: &[String], cwd: &Path, slot: &Path) {
    for glob in globs {
        let Ok(search) = Search::new(glob, cwd, slot) else { continue };
        for (_, path) in search.matches().into_iter().take(MOST_FILES) {
            // What cannot be removed is as it would be without this.
            let _ = fs::remove_file(path);
        }
    }
}

fn keep_matches(
    glob: &str,
    cwd: &Path,
    slot: &Path,
    shelf: &Shelf,
    seen: &mut BTreeSet<PathBuf>,
    artifacts: &mut Vec<Artifact>,
) -> Result<bool, String> {
    let mut found = false;
    for (relative, path) in Search::new(glob, cwd, slot)?.matches() {
        // A link is followed, but not out of the slot, and only to a file.
        let Some(real) = within(slot, &path).filter(|real| real.is_file()) else { continue };
        found = true;
        if !seen.insert(relative.clone()) {
            continue;
        }
        if seen.len() > MOST_FILES {
            return Err(format!("only the first {MOST_FILES} files were kept"));
        }
        let stored = shelf.collected.join(&relative);
        let copy = || {
            fs::create_dir_all(stored.parent().unwrap_or(&shelf.collected))?;
            fs::copy(real, &stored)
        };
        let bytes = copy().map_err(|error| format!("{} could not be kept: {error}", relative.display()))?;
        artifacts.push(Artifact {
            source: relative.to_string_lossy().into_owned(),
            stored: stored.to_string_lossy().into_owned(),
            bytes,
        });
    }
    Ok(found)
}

fn list_written(shelf: &Shelf, kept: &mut Kept) {
    let mut files = Vec::new();
    walk(&shelf.written, &mut files);
    if files.len() > MOST_FILES {
        kept.missing.push(format!("$LEXPR_ARTIFACTS (holds {} files; {MOST_FILES} are listed)", files.len()));
    }
    for path in files.into_iter().take(MOST_FILES) {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let relative = path.strip_prefix(&shelf.written).unwrap_or(&path);
        kept.artifacts.push(Artifact {
            source: format!("$LEXPR_ARTIFACTS/{}", relative.to_string_lossy()),
            stored: path.to_string_lossy().into_owned(),
            bytes: meta.len(),
        });
    }
}

/// One glob below one folder.
struct Search {
    /// `None` for a glob without wildcards: it stands for one file, or for all in one folder.
    matcher: Option<GlobMatcher>,
    /// Where paths are relative to.
    top: PathBuf,
    /// The deepest folder or file that everything the glob matches lies in or is; `None` where it
    /// is not in the slot.
    start: Option<PathBuf>,
    /// It is a folder, or a link to one in the slot.
    is_folder: bool,
}

impl Search {
    fn new(glob: &str, cwd: &Path, slot: &Path) -> Result<Self, String> {
        let glob = glob.strip_prefix("./").unwrap_or(glob).trim_end_matches('/');
        if Path::new(glob).components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err("it must be a path below the gate's cwd".to_owned());
        }
        let top = within(slot, cwd).ok_or("the gate's cwd is not in the tree")?;
        let is_plain = |part: &&str| !part.contains(['*', '?', '[', '{', '\\']);
        let start = glob.split('/').take_while(is_plain).fold(top.clone(), |path, part| path.join(part));
        let is_inside = start == top || start.parent().is_some_and(|parent| within(slot, parent).is_some());
        let start = is_inside.then_some(start);
        let is_folder = start.as_ref().and_then(|start| within(slot, start)).is_some_and(|real| real.is_dir());
        let matcher = if glob.split('/').all(|part| is_plain(&part)) {
            None
        } else {
            Some(path_glob(glob).map_err(|error| error.to_string())?.compile_matcher())
        };
        Ok(Self { matcher, top, start, is_folder })
    }

    /// Files and links, each with its path relative to the top, in order of their paths.
    fn matches(&self) -> Vec<(PathBuf, PathBuf)> {
        let mut files = Vec::new();
        match &self.start {
            Some(start) if self.is_folder => walk_folder(start, &mut files),
            Some(start) => walk(start, &mut files),
            None => {}
        }
        let relative = |path: PathBuf| Some((path.strip_prefix(&self.top).ok()?.to_owned(), path));
        let is_match = |path: &Path| self.matcher.as_ref().is_none_or(|matcher| matcher.is_match(path));
        files.into_iter().filter_map(relative).filter(|(relative, _)| is_match(relative)).collect()
    }
}

/// All files and links at or below `path`, sorted. Links are not followed.
fn walk(path: &Path, files: &mut Vec<PathBuf>) {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => walk_folder(path, files),
        Ok(_) => files.push(path.to_owned()),
        Err(_) => {}
    }
}

/// What repositories keep for themselves is not looked at.
fn walk_folder(folder: &Path, files: &mut Vec<PathBuf>) {
    // A folder that cannot be read holds nothing that could be copied.
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> =
        entries.flatten().filter(|entry| entry.file_name() != ".git").map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        walk(&path, files);
    }
}

/// `path` without links, if that is `folder` or in it.
pub(super) fn within(folder: &Path, path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    path.starts_with(folder.canonicalize().ok()?).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct World {
        _folder: tempfile::TempDir,
        slot: PathBuf,
        shelf: Shelf,
    }

    impl World {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (slot, shelf) = (folder.path().join("slot"), Shelf::new(folder.path().join("shelf")));
            fs::create_dir_all(&slot).unwrap();
            let world = Self { slot, shelf, _folder: folder };
            for (path, content) in files {
                let path = world.slot.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            world
        }

        fn keep(&self, cwd: &str, globs: &[&str]) -> (Vec<String>, Vec<String>) {
            let globs: Vec<String> = globs.iter().map(|&glob| glob.to_owned()).collect();
            let (kept, _) = keep(&globs, &self.slot.join(cwd), &self.slot, self.shelf.clone());
            for artifact in &kept.artifacts {
                let stored = fs::read(&artifact.stored).unwrap();
                assert_eq!(stored.len() as u64, artifact.bytes);
            }
            (kept.artifacts.into_iter().map(|artifact| artifact.source).collect(), kept.missing)
        }
    }

    #[test]
    fn files_of_one_basename_are_kept_apart_and_globs_without_a_match_are_named() {
        let world =
            World::new(&[("p/a/junit.xml", "1"), ("p/b/junit.xml", "22"), ("p/cov/x/y.html", ""), ("q.xml", "")]);
        let (kept, missing) =
            world.keep("p", &["**/junit.xml", "a/*.xml", "cov", "*.xml", "/etc/passwd", "../q.xml", "a["]);
        assert_eq!(kept, ["a/junit.xml", "b/junit.xml", "cov/x/y.html"]);
        assert_eq!(missing.len(), 4, "{missing:?}");
        assert_eq!(missing[0], "*.xml");
        assert_eq!(fs::read_to_string(world.shelf.collected.join("b/junit.xml")).unwrap(), "22");
    }

    #[test]
    fn links_lead_nowhere_outside_the_slot() {
        let world = World::new(&[("real/r.txt", "r"), (".git/config", "secret")]);
        let outside = world.slot.parent().unwrap().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("s.txt"), "secret").unwrap();
        symlink(&outside, world.slot.join("out")).unwrap();
        symlink(outside.join("s.txt"), world.slot.join("s.txt")).unwrap();
        symlink("real", world.slot.join("in")).unwrap();
        symlink("real/r.txt", world.slot.join("r-link.txt")).unwrap();

        let (kept, missing) = world.keep("", &["out/*.txt", "out/s.txt", "out", "s.txt", "in/*.txt", "r-link.txt"]);
        assert_eq!(kept, ["in/r.txt", "r-link.txt"]);
        assert_eq!(missing, ["out/*.txt", "out/s.txt", "out", "s.txt"]);
        assert_eq!(world.keep("", &["**"]).0, ["r-link.txt", "real/r.txt"]);
        assert_eq!(world.keep("out", &["*.txt"]).0, [""; 0]);

        let everything = ["**", "out/*", "out", "in/*"].map(str::to_owned);
        remove_leftovers(&everything, &world.slot, &world.slot);
        remove_leftovers(&everything, &world.slot.join("out"), &world.slot);
        assert_eq!(fs::read_to_string(outside.join("s.txt")).unwrap(), "secret");
        assert!(!world.slot.join("real/r.txt").exists());
    }

    #[test]
    fn what_a_gate_puts_on_its_shelf_is_listed_and_an_empty_shelf_leaves_no_folder() {
        let mut world = World::new(&[]);
        world.shelf.make(None).unwrap();
        fs::create_dir(world.shelf.written.join("shots")).unwrap();
        fs::write(world.shelf.written.join("shots/1.png"), "png").unwrap();
        assert_eq!(world.keep("", &[]).0, ["$LEXPR_ARTIFACTS/shots/1.png"]);

        let mut world = World::new(&[]);
        world.shelf.make(None).unwrap();
        assert_eq!(world.keep("", &[]).0, [""; 0]);
        assert!(!world.shelf.folder.exists());
    }

    #[test]
    fn a_shelf_becomes_the_next_one_only_if_nobody_touched_it() {
        let world = World::new(&[]);
        let inode = |shelf: &Shelf| fs::symlink_metadata(&shelf.written).unwrap().ino();
        let next = |name: &str, spare: Option<Spare>| {
            let mut shelf = Shelf::new(world.slot.parent().unwrap().join("shelves").join(name));
            shelf.make(spare).unwrap();
            shelf
        };
        let leave = |shelf: Shelf| keep(&[], &world.slot, &world.slot, shelf).1;
        let first = next("1", None);
        let (path, made) = (first.folder.clone(), inode(&first));
        let second = next("2", leave(first));
        assert!(!path.exists());
        assert_eq!(inode(&second), made);

        type Touch = fn(&Shelf);
        let touches: [(&str, Touch); 4] = [
            ("put a file there", |shelf| fs::write(shelf.written.join("f"), "").unwrap()),
            ("and beside it", |shelf| fs::write(shelf.folder.join("f"), "").unwrap()),
            ("took rights away", |shelf| fs::set_permissions(&shelf.written, Permissions::from_mode(0o500)).unwrap()),
            ("removed it", |shelf| fs::remove_dir(&shelf.written).unwrap()),
        ];
        for (what, touch) in touches {
            let shelf = next(what, None);
            touch(&shelf);
            assert!(leave(shelf).is_none(), "{what}");
        }
        let folder = second.folder.clone();
        drop(leave(second));
        assert!(!folder.exists());
    }
}
