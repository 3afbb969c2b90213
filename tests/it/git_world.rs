//! A hermetic world of git repositories: temporary folders, one identity, a clock that only this
//! file moves, and no configuration of the machine or its user.

#![expect(clippy::unwrap_used, reason = "where the world of a test breaks, the test ends")]

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lexpr::git::command::{Config, bare_command, output};
use lexpr::git::compose::{ComposeSettings, ShadowComposer};
use lexpr::git::quarantine::Quarantine;
use lexpr::git::repo::UserRepo;
use lexpr::plan::graph::ItemIx;
use lexpr::plan::{DirectoryRenames, MergeSettings};
use lexpr::ports::{ComposeItem, ComposeRequest, Composer, Composite};
use lexpr::vocabulary::names::{CommitId, ItemName, MergeStrategy};
use lexpr::vocabulary::trail::Trail;
use tempfile::TempDir;

/// When the first commit of a world is made; each further one comes a minute later.
const FIRST_COMMIT: u64 = 1_700_000_000;

/// git's own defaults, as a plan without a `merge:` block has them.
pub const GIT_DEFAULTS: MergeSettings = MergeSettings { renames: true, directory_renames: DirectoryRenames::Conflict };

/// One repository with a checkout, on branch `main`, and room beside it.
#[derive(Debug)]
pub struct GitWorld {
    room: TempDir,
    clock: Cell<u64>,
}

impl GitWorld {
    /// With one commit on `main` that holds `README`.
    pub fn new() -> Self {
        let world = Self::empty();
        world.write("README", "hello\n");
        world.commit("first");
        world
    }

    /// Without any commit.
    pub fn empty() -> Self {
        let world = Self { room: TempDir::new().unwrap(), clock: Cell::new(FIRST_COMMIT) };
        std::fs::create_dir(world.repo()).unwrap();
        world.git(["init", "--quiet", "--initial-branch=main"]);
        world
    }

    /// The checkout.
    pub fn repo(&self) -> PathBuf {
        self.room.path().join("repo")
    }

    /// A path beside the checkout.
    pub fn beside(&self, name: impl AsRef<Path>) -> PathBuf {
        self.room.path().join(name)
    }

    /// Runs git in the checkout and gives its output, trimmed. Panics where it fails.
    pub fn git<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.git_in(&self.repo(), args)
    }

    pub fn git_in<S: AsRef<OsStr>>(&self, dir: &Path, args: impl IntoIterator<Item = S>) -> String {
        let (ok, out, err) = self.try_git_in(dir, args, None);
        assert!(ok, "git failed: {err}\n{out}");
        out.trim_end().to_owned()
    }

    /// Whether it succeeded, its output and its errors.
    pub fn try_git_in<S: AsRef<OsStr>>(
        &self,
        dir: &Path,
        args: impl IntoIterator<Item = S>,
        input: Option<&[u8]>,
    ) -> (bool, String, String) {
        let date = format!("{} +0100", self.clock.get());
        let mut command = bare_command(Config::RepositoryOnly);
        command
            .current_dir(dir)
            .args(["-c", "protocol.file.allow=always", "-c", "advice.detachedHead=false"])
            .args(args)
            .env("GIT_AUTHOR_NAME", "Ann Author")
            .env("GIT_AUTHOR_EMAIL", "ann@example.com")
            .env("GIT_COMMITTER_NAME", "Carl Committer")
            .env("GIT_COMMITTER_EMAIL", "carl@example.com")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date)
            .env("HOME", self.room.path());
        let out = output(command, input).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.success(), text(&out.stdout), text(&out.stderr))
    }

    /// Writes a file of the checkout, with the folders above it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.repo().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything in the checkout, a minute after the last commit.
    pub fn commit(&self, message: &str) -> CommitId {
        self.clock.set(self.clock.get() + 60);
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--allow-empty", "-m", message]);
        self.id("HEAD")
    }

    /// Checks `name` out, made anew at `from`.
    pub fn branch(&self, name: &str, from: &str) {
        self.git(["checkout", "--quiet", "-B", name, from]);
    }

    /// A branch made at `from` with one commit that writes these files; `main` is checked out afterwards.
    pub fn branch_with(&self, name: &str, from: &str, files: &[(&str, &str)]) -> CommitId {
        self.branch(name, from);
        for (path, content) in files {
            self.write(path, content);
        }
        let id = self.commit(&format!("work on {name}"));
        self.git(["checkout", "--quiet", "main"]);
        id
    }

    pub fn id(&self, revision: &str) -> CommitId {
        self.git(["rev-parse", "--verify", &format!("{revision}^{{commit}}")]).parse().unwrap()
    }

    pub fn tree(&self, revision: &str) -> String {
        self.git(["rev-parse", "--verify", &format!("{revision}^{{tree}}")])
    }

    /// Runs a `git fast-import` stream: histories with whatever names and modes, in one process.
    pub fn import(&self, stream: &Stream) -> HashMap<String, CommitId> {
        let (ok, _, err) = self.try_git_in(&self.repo(), ["fast-import", "--quiet", "--force"], Some(&stream.bytes));
        assert!(ok, "{err}");
        let refs = self.git(["for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads"]);
        refs.lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(id, name)| (name.to_owned(), id.parse().unwrap()))
            .collect()
    }

    pub fn open(&self) -> UserRepo {
        UserRepo::open(&self.repo()).unwrap()
    }

    /// A composer with a quarantine in a folder of this name beside the checkout.
    pub fn composer(&self, folder: &str) -> ShadowComposer {
        self.composer_with(folder, GIT_DEFAULTS)
    }

    pub fn composer_with(&self, folder: &str, merge: MergeSettings) -> ShadowComposer {
        let quarantine = Quarantine::create(&self.beside(folder), &self.open()).unwrap();
        let settings =
            ComposeSettings { merge, committer: None, remember_for: Some(std::time::Duration::from_secs(3600)) };
        ShadowComposer::new(&quarantine, settings).unwrap()
    }

    /// As [`GitWorld::composer`], for another repository.
    pub fn composer_of(&self, folder: &str, repo: &UserRepo) -> ShadowComposer {
        let quarantine = Quarantine::create(&self.beside(folder), repo).unwrap();
        let settings = ComposeSettings { merge: GIT_DEFAULTS, committer: None, remember_for: None };
        ShadowComposer::new(&quarantine, settings).unwrap()
    }

    /// git in a quarantine made by [`GitWorld::composer`].
    pub fn quarantined<S: AsRef<OsStr>>(&self, folder: &str, args: impl IntoIterator<Item = S>) -> String {
        self.git_in(&self.beside(folder), args)
    }
}

/// An item that merges, in canonical position `ix`.
pub fn item(ix: usize, name: &str, head: CommitId) -> ComposeItem {
    ComposeItem {
        ix: ItemIx::new(ix),
        name: ItemName::new(name),
        branch: name.to_owned(),
        head,
        strategy: MergeStrategy::Merge,
        deps: Vec::new(),
        merged: Vec::new(),
        overridden: None,
    }
}

pub fn compose(composer: &ShadowComposer, base: CommitId, items: &[ComposeItem]) -> Composite {
    let request =
        ComposeRequest { base, items: items.iter().cloned().map(Arc::new).collect(), beneath: Trail::default() };
    block_on(composer.compose(request)).unwrap()
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a tree holds: path to (mode, content); for a submodule the content is the hex of its commit.
pub type Files = BTreeMap<Vec<u8>, (&'static str, Vec<u8>)>;

/// In which minute a commit claims to be made, by its number in a [`Stream`].
pub type MinuteOf = fn(usize) -> usize;

/// Text for `git fast-import`.
#[derive(Debug, Default)]
pub struct Stream {
    bytes: Vec<u8>,
    marks: usize,
    pub minute_of: Option<MinuteOf>,
}

/// A commit of a [`Stream`], to be used as a parent in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

impl Stream {
    /// A commit on `branch` with exactly these files. Its date is a minute after the one before it, unless
    /// the stream says otherwise.
    pub fn commit(&mut self, branch: &str, parents: &[Mark], files: &Files) -> Mark {
        self.marks += 1;
        let minute = self.minute_of.map_or(self.marks, |minute_of| minute_of(self.marks));
        let date = FIRST_COMMIT + 60 * minute as u64;
        let mut head = String::new();
        // Reset first: without it a commit without parents would continue the branch.
        write!(head, "reset refs/heads/{branch}\ncommit refs/heads/{branch}\nmark :{}\n", self.marks).unwrap();
        for (role, name) in [("author", "Ann Author <ann@example.com>"), ("committer", "Carl <carl@example.com>")] {
            writeln!(head, "{role} {name} {date} +0100").unwrap();
        }
        let message = format!("{branch} {}\n", self.marks);
        write!(head, "data {}\n{message}", message.len()).unwrap();
        for (at, parent) in parents.iter().enumerate() {
            writeln!(head, "{} :{}", if at == 0 { "from" } else { "merge" }, parent.0).unwrap();
        }
        head.push_str("deleteall\n");
        self.bytes.extend_from_slice(head.as_bytes());
        for (path, (mode, content)) in files {
            if *mode == "160000" {
                self.bytes.extend_from_slice(b"M 160000 ");
                self.bytes.extend_from_slice(content);
                self.bytes.push(b' ');
                self.path(path);
            } else {
                self.bytes.extend_from_slice(format!("M {mode} inline ").as_bytes());
                self.path(path);
                self.bytes.extend_from_slice(format!("data {}\n", content.len()).as_bytes());
                self.bytes.extend_from_slice(content);
                self.bytes.push(b'\n');
            }
        }
        self.bytes.push(b'\n');
        Mark(self.marks)
    }

    fn path(&mut self, path: &[u8]) {
        self.bytes.push(b'"');
        for byte in path {
            match byte {
                b'"' | b'\\' => self.bytes.extend_from_slice(&[b'\\', *byte]),
                b' '..=b'~' => self.bytes.push(*byte),
                _ => self.bytes.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            }
        }
        self.bytes.extend_from_slice(b"\"\n");
    }
}

/// What plain `git merge` in a fresh clone makes of merging `items` onto `base` one after another.
#[derive(Debug, PartialEq, Eq)]
pub struct MergedByGit {
    pub tree: String,
    /// Items that conflict, with the paths git leaves unmerged.
    pub conflicts: Vec<(String, Vec<String>)>,
    /// The tree after each item that merged.
    pub trees: Vec<String>,
}

impl GitWorld {
    /// `None` where git itself breaks down ("BUG: ..."), as 2.47 does in some rename tangles.
    pub fn merge_by_git(&self, base: CommitId, items: &[ComposeItem]) -> Option<MergedByGit> {
        let clone = TempDir::new_in(self.room.path()).unwrap();
        let dir = clone.path().join("clone");
        let source = self.repo();
        self.git_in(
            self.room.path(),
            [OsStr::new("clone"), "--quiet".as_ref(), "--no-checkout".as_ref(), source.as_ref(), dir.as_ref()],
        );
        self.git_in(&dir, ["checkout", "--quiet", "--detach", &base.to_string()]);
        let mut merged = MergedByGit { tree: String::new(), conflicts: Vec::new(), trees: Vec::new() };
        for item in items {
            let head = item.head.to_string();
            let (ok, _, err) = self.try_git_in(&dir, ["merge", "--quiet", "--no-ff", "-m", "merge", &head], None);
            if ok {
                merged.trees.push(self.git_in(&dir, ["rev-parse", "HEAD^{tree}"]));
            } else {
                if err.starts_with("BUG: ") {
                    return None;
                }
                let (_, unmerged, _) = self.try_git_in(&dir, ["diff", "--name-only", "--diff-filter=U", "-z"], None);
                let mut paths: Vec<String> = unmerged
                    .split('\0')
                    .filter(|path| !path.is_empty())
                    .map(|path| path.replace(&head, &item.branch))
                    .collect();
                paths.sort();
                paths.dedup();
                merged.conflicts.push((item.name.to_string(), paths));
                self.git_in(&dir, ["reset", "--quiet", "--hard"]);
                self.git_in(&dir, ["clean", "-ffdxq"]);
            }
        }
        merged.tree = self.git_in(&dir, ["rev-parse", "HEAD^{tree}"]);
        Some(merged)
    }
}
