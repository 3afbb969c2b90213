//! Worktrees that have the target checked out: which there are, and whether they may be moved.
//! Moving them is for who holds them ([`Held`]). Worktrees that have something else checked out are
//! read, never written.

mod held;

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::command::{Git, GitError};
use super::filters::RepositoryFilters;
use super::refusal::{LandRefusal, shown_path};
use crate::vocabulary::names::CommitId;

pub use held::{Held, remove_left_by};
pub(super) use held::{LOCK as INDEX_LOCK, holder};

/// How long a commit that somebody is making there is waited for.
const LONGEST_COMMIT: Duration = Duration::from_secs(2);

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Takes up stat data of files that were touched and are as they were.
const REFRESH: [&str; 3] = ["update-index", "-q", "--refresh"];

/// A worktree that has the target checked out.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Its top folder.
    pub path: PathBuf,
    target: String,
    common_dir: PathBuf,
    git: Git,
    filters: RepositoryFilters,
}

/// One record of `git worktree list --porcelain -z`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    path: PathBuf,
    /// A full ref name; `None` where HEAD is detached.
    branch: Option<String>,
    bare: bool,
    locked: bool,
}

fn parse_worktrees(listed: &[u8]) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for line in listed.split(|byte| *byte == 0) {
        let (word, rest) = match line.iter().position(|byte| *byte == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        if word == b"worktree" {
            records.push(Record { path: OsStr::from_bytes(rest).into(), ..Record::default() });
        } else if let Some(record) = records.last_mut() {
            match word {
                b"branch" => record.branch = Some(String::from_utf8_lossy(rest).into_owned()),
                b"bare" => record.bare = true,
                b"locked" => record.locked = true,
                _ => {}
            }
        }
    }
    records
}

/// The worktrees that have `target` checked out, and that are there.
///
/// `repository`'s git directory is the one all worktrees share. `started_in` is the top of the
/// working tree lexpr was started in, if it was: git itself does not know where a main working
/// tree lies whose git directory is elsewhere.
///
/// # Errors
/// A refusal where there is one that lexpr cannot reach, or where a rebase or bisection that
/// began on `target` is under way: it counts on finding it as it was.
pub fn of_target(repository: &Git, target: &str, started_in: Option<&Path>) -> Result<Vec<Checkout>, LandRefusal> {
    refuse_held(repository.git_dir(), target)?;
    let records = parse_worktrees(&repository.run(["worktree", "list", "--porcelain", "-z"])?);
    let mut checkouts = Vec::new();
    for (at, record) in records.into_iter().enumerate() {
        if record.bare || record.branch.as_deref() != Some(target) {
            continue;
        }
        // git lists the main working tree first.
        let path = if at == 0 { main_work_tree(repository, target, record.path, started_in)? } else { record.path };
        if !path.exists() || at > 0 && !is_linked(repository, &path)? {
            if record.locked {
                return Err(LandRefusal::WorktreeMissing { target: target.to_owned(), worktree: path });
            }
            // Deleted by hand, or something else is in its place: `git worktree prune` would drop it.
            continue;
        }
        let git_dir = if at == 0 { repository.git_dir().to_owned() } else { path.join(".git") };
        let git = repository.at(git_dir).with_work_tree(&path);
        let git = repository.at(git.line(["rev-parse", "--absolute-git-dir"])?).with_work_tree(&path);
        let filters = RepositoryFilters::of(&git)?;
        let git = git.with_settings(filters.settings());
        let common_dir = repository.git_dir().to_owned();
        checkouts.push(Checkout { path, target: target.to_owned(), common_dir, git, filters });
    }
    Ok(checkouts)
}

/// git takes the folder of `.git` for it. A submodule's lies where `core.worktree` says, and one
/// with a separate git directory is known to whoever stands in it alone.
fn main_work_tree(
    repository: &Git,
    target: &str,
    listed: PathBuf,
    started_in: Option<&Path>,
) -> Result<PathBuf, LandRefusal> {
    if listed.join(".git").exists() {
        return Ok(listed);
    }
    let args = ["config", "--get", "core.worktree"];
    let configured = repository.output(&args, None)?;
    if configured.status.success() {
        let path = configured.stdout.strip_suffix(b"\n").unwrap_or(&configured.stdout);
        let worktree = repository.git_dir().join(OsStr::from_bytes(path));
        // Whoever made the repository may name any folder there; a submodule's leads back.
        if leads_to(repository, &worktree)? {
            return Ok(worktree);
        }
        let git_dir = repository.git_dir().to_owned();
        return Err(LandRefusal::WorktreeElsewhere { target: target.to_owned(), worktree, git_dir });
    }
    match started_in {
        Some(top) if leads_to(repository, top)? => Ok(top.to_owned()),
        _ => {
            let git_dir = repository.git_dir().to_owned();
            Err(LandRefusal::WorktreeUnknown { target: target.to_owned(), git_dir })
        }
    }
}

/// Where the `.git` of a working tree leads to, if it has one.
fn git_dir_of(repository: &Git, worktree: &Path) -> Result<Option<PathBuf>, GitError> {
    let asked = repository.at(worktree.join(".git"));
    if fs::symlink_metadata(asked.git_dir()).is_err() {
        return Ok(None);
    }
    let answer = asked.with_work_tree(worktree).output(&["rev-parse", "--absolute-git-dir"], None)?;
    let path = answer.stdout.strip_suffix(b"\n").filter(|_| answer.status.success());
    Ok(path.and_then(|path| fs::canonicalize(OsStr::from_bytes(path)).ok()))
}

fn leads_to(repository: &Git, worktree: &Path) -> Result<bool, GitError> {
    Ok(git_dir_of(repository, worktree)?
        .is_some_and(|theirs| fs::canonicalize(repository.git_dir()).ok() == Some(theirs)))
}

/// Whether a folder that the repository names as a linked worktree is one.
fn is_linked(repository: &Git, worktree: &Path) -> Result<bool, GitError> {
    let ours = fs::canonicalize(repository.git_dir().join("worktrees")).ok();
    Ok(git_dir_of(repository, worktree)?.is_some_and(|theirs| theirs.parent() == ours.as_deref()))
}

/// While a rebase or a bisection runs, HEAD is detached and its branch stands in a file.
fn refuse_held(common_dir: &Path, target: &str) -> Result<(), LandRefusal> {
    const STATES: [(&str, &str); 3] =
        [("rebase-merge/head-name", "rebase"), ("rebase-apply/head-name", "rebase"), ("BISECT_START", "bisection")];
    let linked = fs::read_dir(common_dir.join("worktrees")).into_iter().flatten().flatten().map(|entry| entry.path());
    for git_dir in std::iter::once(common_dir.to_owned()).chain(linked) {
        for (file, operation) in STATES {
            let Ok(name) = fs::read_to_string(git_dir.join(file)) else { continue };
            let name = name.trim_end();
            if name == target || target.strip_prefix("refs/heads/") == Some(name) {
                // `gitdir` names the .git file of a linked worktree; the main one has none.
                let worktree = fs::read_to_string(git_dir.join("gitdir")).map_or(common_dir.to_owned(), |dot_git| {
                    Path::new(dot_git.trim_end()).parent().unwrap_or(&git_dir).to_owned()
                });
                return Err(LandRefusal::HeldByOperation { target: target.to_owned(), worktree, operation });
            }
        }
    }
    Ok(())
}

impl Checkout {
    /// Its own git directory, where its index is.
    pub fn git_dir(&self) -> &Path {
        self.git.git_dir()
    }

    /// Nothing staged, nothing tracked modified, no merge or the like under way, no other git at
    /// work there. Changes nothing, not even the index's stat data.
    ///
    /// # Errors
    /// A refusal that names what is there.
    pub fn must_be_clean(&self) -> Result<(), LandRefusal> {
        self.must_be_at_rest()?;
        self.must_need_no_filter_of_the_repository("HEAD")?;
        // Submodules' folders are left alone by a landing, and one that moved a submodule's commit
        // leaves its folder behind until the user updates it: that must not stop the next run.
        let args =
            ["status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=all"];
        let status = self.git.run(args)?;
        let paths: Vec<String> =
            status.split(|byte| *byte == 0).filter_map(|line| line.get(3..)).map(shown_path).collect();
        if paths.is_empty() {
            return Ok(());
        }
        Err(LandRefusal::Dirty { target: self.target.clone(), worktree: self.path.clone(), paths })
    }

    /// Files would be written, and compared, as the repository's own filters make them, which are not
    /// started.
    fn must_need_no_filter_of_the_repository(&self, commit: &str) -> Result<(), LandRefusal> {
        let Some(found) = self.filters.used_in(&self.git, commit)? else { return Ok(()) };
        Err(LandRefusal::RepositoryFilter {
            target: self.target.clone(),
            worktree: self.path.clone(),
            filter: shown_path(&found.filter),
            path: shown_path(&found.path),
        })
    }

    fn must_be_at_rest(&self) -> Result<(), LandRefusal> {
        const FILES: [(&str, &str); 3] =
            [("MERGE_HEAD", "merge"), ("sequencer", "cherry-pick or revert"), ("rebase-apply", "rebase or am")];
        // Refs like any other where refs are kept in tables.
        const REFS: [(&str, &str); 2] = [("CHERRY_PICK_HEAD", "cherry-pick"), ("REVERT_HEAD", "revert")];
        let mut under_way =
            FILES.iter().find(|(file, _)| self.git.git_dir().join(file).exists()).map(|(_, operation)| *operation);
        for (name, operation) in REFS {
            let asked = self.git.output(&["rev-parse", "--verify", "--quiet", name], None)?;
            under_way = under_way.or(asked.status.success().then_some(operation));
        }
        let (target, worktree) = (self.target.clone(), self.path.clone());
        if let Some(operation) = under_way {
            return Err(LandRefusal::OperationUnderWay { target, worktree, operation });
        }
        // git takes it with O_EXCL, waits for nobody, and would refuse to move the checkout.
        let lock = self.git_dir().join(held::LOCK);
        if fs::symlink_metadata(&lock).is_ok() { Err(self.locked(lock)) } else { Ok(()) }
    }

    fn locked(&self, lock: PathBuf) -> LandRefusal {
        // One whose folder somebody removed is brought to its end by nobody.
        let by = held::holder(&lock).filter(|run| self.common_dir.join("lexpr/runs").join(run.as_str()).is_dir());
        LandRefusal::IndexLocked { target: self.target.clone(), worktree: self.path.clone(), lock, by }
    }

    /// Whether nothing untracked, ignored or not, lies where files would arrive on `base`: the part
    /// of [`Checkout::must_be_free_for`] that can be said before it is known what will land.
    /// `arriving` are paths from the top; the index holds what `base` holds.
    ///
    /// # Errors
    /// A refusal that names what is in the way.
    pub fn must_have_room_for(&self, base: CommitId, arriving: &[PathBuf]) -> Result<(), LandRefusal> {
        let mut found = self.found_in_the_place_of(arriving.iter().map(PathBuf::as_path));
        if !found.is_empty() {
            let tracked = self.git.run(["ls-tree", "-r", "-z", "--name-only", "--full-tree", &base.to_string()])?;
            for path in tracked.split(|byte| *byte == 0) {
                found.remove(Path::new(OsStr::from_bytes(path)));
            }
        }
        self.refuse_in_the_way(&found)
    }

    /// Whether the working tree can follow the target from one commit to the other without
    /// losing anything: changes to files that stay as they are may remain.
    ///
    /// # Errors
    /// A refusal that names what is in the way.
    pub fn must_be_free_for(&self, from: CommitId, to: CommitId) -> Result<(), LandRefusal> {
        self.must_be_at_rest()?;
        self.must_have_a_way(from, to)
    }

    fn must_have_a_way(&self, from: CommitId, to: CommitId) -> Result<(), LandRefusal> {
        let (from, to) = (from.to_string(), to.to_string());
        self.must_need_no_filter_of_the_repository(&to)?;
        self.must_have_room_between(&from, &to)?;
        // On a copy of the index: git locks what it may write, and killed now would leave the lock.
        let folder = tempfile::tempdir().map_err(GitError::io("making a folder in", std::env::temp_dir()))?;
        let index = folder.path().join("index");
        held::copy_index(&self.git.git_dir().join("index"), &index)?;
        let git = self.git.with_index(index);
        // -n: checks all that the real one will, then stops.
        let dry_run = ["read-tree", "-n", "-m", "-u", "--no-recurse-submodules", &from, &to];
        if git.output(&dry_run, None)?.status.success() {
            return Ok(());
        }
        // To read-tree a file is modified when its stat data are, say after `touch`: compare contents.
        let refreshed = git.output(&REFRESH, None)?;
        let checked = git.output(&dry_run, None)?;
        if checked.status.success() {
            return Ok(());
        }
        let changed: HashSet<PathBuf> =
            self.changes(&from, &to)?.into_iter().map(|change| change.path.to_owned()).collect();
        let modified =
            git.run(["diff-index", "--name-only", "-z", "--no-renames", "--ignore-submodules=all", &from])?;
        let mut paths: Vec<String> = modified
            .split(|byte| *byte == 0)
            .filter(|path| changed.contains(Path::new(OsStr::from_bytes(path))))
            .map(shown_path)
            .collect();
        paths.dedup();
        let (target, worktree) = (self.target.clone(), self.path.clone());
        if paths.is_empty() {
            let stderr = if checked.stderr.is_empty() { &refreshed.stderr } else { &checked.stderr };
            let why = String::from_utf8_lossy(stderr).trim().to_owned();
            return Err(LandRefusal::CannotMoveAlong { target, worktree, why });
        }
        Err(LandRefusal::InTheWay { target, worktree, paths })
    }

    /// Whether the index went along when somebody moved the target from one commit to the other, as it
    /// does with `git commit` and `git merge`, and does not with `git update-ref` or a push from
    /// elsewhere. Changes nothing. For who has the target's landing lock, and not this checkout.
    ///
    /// # Errors
    /// A refusal that names what was left behind, or the run that was killed before it had followed.
    pub fn must_have_followed(&self, before: CommitId, now: CommitId) -> Result<(), LandRefusal> {
        // `git commit -a` moves the branch first, and the index takes its lock's place after.
        let lock = self.git_dir().join(held::LOCK);
        let begun = Instant::now();
        let is_anothers = || fs::symlink_metadata(&lock).is_ok() && held::holder(&lock).is_none();
        while is_anothers() && begun.elapsed() < LONGEST_COMMIT {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let came: HashSet<PathBuf> = self.changed_paths(before, now)?.into_iter().collect();
        let paths: Vec<String> = self
            .staged_against(now)?
            .iter()
            .filter(|path| came.contains(*path))
            .map(|path| shown_path(path.as_os_str().as_bytes()))
            .collect();
        if paths.is_empty() {
            return Ok(());
        }
        if held::holder(&lock).is_some() {
            return Err(self.locked(lock));
        }
        let way = Box::new((before, now));
        Err(LandRefusal::LeftBehind { target: self.target.clone(), worktree: self.path.clone(), way, paths })
    }

    fn changed_paths(&self, from: CommitId, to: CommitId) -> Result<Vec<PathBuf>, GitError> {
        let changes = self.changes(&from.to_string(), &to.to_string())?;
        Ok(changes.into_iter().map(|change| change.path).collect())
    }

    /// The paths of which the index holds something else than `commit`.
    fn staged_against(&self, commit: CommitId) -> Result<HashSet<PathBuf>, GitError> {
        let args = ["diff-index", "--cached", "--name-only", "-z", "--no-renames", "--ignore-submodules=none"];
        let listed = self.git.run(args.into_iter().chain([commit.to_string().as_str()]))?;
        let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
    }

    /// Nothing untracked, ignored or not, lies where the landing puts a file: git would overwrite
    /// ignored files, and the folders of submodules that become files.
    fn must_have_room_between(&self, from: &str, to: &str) -> Result<(), LandRefusal> {
        let changes = self.changes(from, to)?;
        let arriving = changes.iter().filter(|change| change.to == Kind::File && change.from != Kind::File);
        let mut found = self.found_in_the_place_of(arriving.map(|change| change.path.as_path()));
        for leaving in changes.iter().filter(|change| change.to == Kind::Nothing && change.from == Kind::File) {
            found.remove(&leaving.path);
        }
        self.refuse_in_the_way(&found)
    }

    fn refuse_in_the_way(&self, found: &BTreeSet<PathBuf>) -> Result<(), LandRefusal> {
        if found.is_empty() {
            return Ok(());
        }
        let paths = found.iter().map(|path| shown_path(path.as_os_str().as_bytes())).collect();
        Err(LandRefusal::InTheWay { target: self.target.clone(), worktree: self.path.clone(), paths })
    }

    /// All files, tracked or not, that lie where files would arrive: at their paths, below them, or
    /// in the place of a folder above.
    fn found_in_the_place_of<'a>(&self, arriving: impl Iterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
        let mut found = Vec::new();
        for path in arriving {
            self.look_for_files(path, &mut found);
        }
        found.into_iter().collect()
    }

    fn look_for_files(&self, arriving: &Path, found: &mut Vec<PathBuf>) {
        let mut above: Vec<&Path> = arriving.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        above.reverse();
        for path in above {
            match fs::symlink_metadata(self.path.join(path)) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return found.push(path.to_owned()),
                Err(_) => return,
            }
        }
        match fs::symlink_metadata(self.path.join(arriving)) {
            Ok(meta) if meta.is_dir() => self.all_files_below(arriving, found),
            Ok(_) => found.push(arriving.to_owned()),
            Err(_) => {}
        }
    }

    fn all_files_below(&self, folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(self.path.join(folder)) else {
            // What cannot be seen cannot be spared.
            return found.push(folder.to_owned());
        };
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.all_files_below(&path, found),
                _ => found.push(path),
            }
        }
    }

    fn changes(&self, from: &str, to: &str) -> Result<Vec<Change>, GitError> {
        let args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--ignore-submodules=none", from, to];
        let raw = self.git.run(args)?;
        parse_changes(&raw)
            .ok_or_else(|| GitError::Unreadable { command: args.join(" "), why: "not a list of changes".to_owned() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nothing,
    /// A file or a symbolic link.
    File,
    Submodule,
}

#[derive(Debug, PartialEq, Eq)]
struct Change {
    path: PathBuf,
    from: Kind,
    to: Kind,
}

/// `:100644 100755 <id> <id> M NUL path NUL` and so on: git's `diff-format`, raw, with -z.
fn parse_changes(raw: &[u8]) -> Option<Vec<Change>> {
    let kind = |mode: &[u8]| match mode {
        b"000000" => Kind::Nothing,
        b"160000" => Kind::Submodule,
        _ => Kind::File,
    };
    let mut changes = Vec::new();
    let mut parts = raw.split(|byte| *byte == 0);
    while let Some(modes) = parts.next().filter(|part| !part.is_empty()) {
        let path = PathBuf::from(OsStr::from_bytes(parts.next()?));
        changes.push(Change { path, from: kind(modes.get(1..7)?), to: kind(modes.get(8..14)?) });
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worktrees_are_read_whatever_their_paths_hold() {
        let listed = b"worktree /a b\0HEAD 1111\0branch refs/heads/main\0\0worktree /c\nd\0HEAD 2222\0detached\0\
                       locked on a stick\0\0worktree /e.git\0bare\0\0";
        let main = Record { path: "/a b".into(), branch: Some("refs/heads/main".into()), ..Record::default() };
        let linked = Record { path: "/c\nd".into(), locked: true, ..Record::default() };
        let bare = Record { path: "/e.git".into(), bare: true, ..Record::default() };
        assert_eq!(parse_worktrees(listed), [main, linked, bare]);
    }

    #[test]
    fn changes_are_read_with_what_stood_and_what_will_stand() {
        let raw = b":000000 100644 0 1 A\0a\nb\0:160000 120000 1 2 T\0c\0:100755 000000 1 0 D\0d\0";
        let change = |path: &str, from, to| Change { path: path.into(), from, to };
        assert_eq!(
            parse_changes(raw).unwrap(),
            [
                change("a\nb", Kind::Nothing, Kind::File),
                change("c", Kind::Submodule, Kind::File),
                change("d", Kind::File, Kind::Nothing)
            ]
        );
        assert_eq!(parse_changes(b""), Some(vec![]));
        assert_eq!(parse_changes(b":1\0a\0"), None);
    }
}
