//! Repositories for the tests of slots and landing: in a folder of their own, read by a git that
//! sees no configuration but theirs, with one fixed identity.
#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lexpr::git::command::{Config, Git, bare_command, output};
use lexpr::git::land::{LanderSettings, LocalLander};
use lexpr::ports::{LandOutcome, LandRequest, Lander, PortError};
use lexpr::vocabulary::names::{ApexId, CommitId, RunId, TreeId};
use tempfile::TempDir;
use tokio::sync::watch;

pub const FILE: &str = "100644";
pub const SCRIPT: &str = "100755";
pub const LINK: &str = "120000";
pub const SUBMODULE: &str = "160000";

/// Mode, path, and content: of the file, the link's goal, or the submodule's commit.
pub type Entry<'a> = (&'a str, &'a [u8], &'a [u8]);

/// A file of mode 644.
pub const fn file<'a>(path: &'a str, content: &'a str) -> Entry<'a> {
    (FILE, path.as_bytes(), content.as_bytes())
}

#[derive(Clone, Debug)]
pub struct Repo {
    pub git: Git,
}

impl Repo {
    /// `git init` in `path`, on the branch `main`, with `options` added.
    pub fn init(path: &Path, options: &[&str]) -> Self {
        let mut init = bare_command(Config::RepositoryOnly);
        init.args(["init", "-q", "-b", "main"]).args(options).arg(path);
        let made = output(init, None).unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let bare = options.contains(&"--bare");
        let git = Git::new(if bare { path.to_owned() } else { path.join(".git") }, Config::RepositoryOnly);
        let git = if bare { git } else { git.with_work_tree(path) };
        let repo = Self { git };
        repo.run(&["config", "user.name", "Ann"]);
        repo.run(&["config", "user.email", "ann@example.org"]);
        repo.run(&["config", "commit.gpgSign", "false"]);
        repo
    }

    pub fn dir(&self) -> &Path {
        self.git.git_dir()
    }

    pub fn objects(&self) -> PathBuf {
        self.dir().join("objects")
    }

    pub fn run(&self, args: &[&str]) -> String {
        self.git.line(args).unwrap()
    }

    /// With `input`, and dates that never change.
    fn feed(&self, args: &[&str], index: Option<&Path>, input: &[u8]) -> String {
        let mut command = self.git.command();
        command.args(args).env("GIT_AUTHOR_DATE", "1700000000 +0100").env("GIT_COMMITTER_DATE", "1700000000 +0100");
        if let Some(index) = index {
            command.env("GIT_INDEX_FILE", index);
        }
        let done = output(command, Some(input)).unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    pub fn blob(&self, content: &[u8]) -> String {
        self.feed(&["hash-object", "-w", "--stdin"], None, content)
    }

    pub fn tree(&self, entries: &[Entry]) -> TreeId {
        let mut lines = Vec::new();
        for (mode, path, content) in entries {
            let id = match *mode {
                SUBMODULE => String::from_utf8(content.to_vec()).unwrap(),
                _ => self.blob(content),
            };
            lines.extend_from_slice(format!("{mode} {id}\t").as_bytes());
            lines.extend_from_slice(path);
            lines.push(0);
        }
        let index = self.dir().join("test-index");
        self.feed(&["update-index", "-z", "--index-info"], Some(&index), &lines);
        let tree = self.feed(&["write-tree"], Some(&index), b"");
        let _ = fs::remove_file(index);
        tree.parse().unwrap()
    }

    pub fn commit_tree(&self, tree: &str, parents: &[CommitId], message: &str) -> CommitId {
        let parents: Vec<String> = parents.iter().flat_map(|id| ["-p".to_owned(), id.to_string()]).collect();
        let mut args = vec!["commit-tree", tree];
        args.extend(parents.iter().map(String::as_str));
        self.feed(&args, None, message.as_bytes()).parse().unwrap()
    }

    /// A commit of exactly these entries.
    pub fn commit(&self, entries: &[Entry], parents: &[CommitId]) -> CommitId {
        let tree = self.tree(entries);
        self.commit_tree(&tree.to_string(), parents, "a commit")
    }

    pub fn tree_of(&self, commit: CommitId) -> TreeId {
        self.run(&["rev-parse", &format!("{commit}^{{tree}}")]).parse().unwrap()
    }

    pub fn set(&self, name: &str, commit: CommitId) {
        self.run(&["update-ref", name, &commit.to_string()]);
    }

    pub fn at(&self, name: &str) -> CommitId {
        self.run(&["rev-parse", name]).parse().unwrap()
    }
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    File { executable: bool, content: Vec<u8> },
    Link(Vec<u8>),
    EmptyFolder,
}

pub type Listing = BTreeMap<Vec<u8>, Found>;

/// All files, links and empty folders below `dir`, but for a `.git` at its top.
pub fn listing(dir: &Path) -> Listing {
    let mut found = Listing::new();
    walk(dir, dir, &mut found);
    found
}

fn walk(top: &Path, dir: &Path, found: &mut Listing) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path == top.join(".git") {
            continue;
        }
        let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_symlink() {
            let goal = fs::read_link(&path).unwrap();
            found.insert(name, Found::Link(goal.as_os_str().as_bytes().to_vec()));
        } else if meta.is_file() {
            let executable = meta.permissions().mode() & 0o100 != 0;
            found.insert(name, Found::File { executable, content: fs::read(&path).unwrap() });
        } else if fs::read_dir(&path).unwrap().next().is_none() {
            found.insert(name, Found::EmptyFolder);
        } else {
            walk(top, &path, found);
        }
    }
}

/// What a checkout of exactly these entries looks like.
pub fn expected(entries: &[Entry]) -> Listing {
    let found = |(mode, path, content): &Entry| {
        let found = match *mode {
            LINK => Found::Link(content.to_vec()),
            SUBMODULE => Found::EmptyFolder,
            mode => Found::File { executable: mode == SCRIPT, content: content.to_vec() },
        };
        (path.to_vec(), found)
    };
    entries.iter().map(found).collect()
}

pub fn path_of(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(name))
}

/// What git and the disk know of one worktree: content, index and times, so that even a
/// rewrite of the same bytes shows.
pub fn fingerprint(work_tree: &Path, git_dir: &Path) -> Vec<(PathBuf, Vec<u8>, i64, i64)> {
    let mut marks = Vec::new();
    let mut folders = vec![work_tree.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = match meta.is_file() {
                true => fs::read(&path).unwrap(),
                false => Vec::new(),
            };
            if meta.is_dir() && path.file_name() != Some(OsStr::new(".git")) {
                folders.push(path.clone());
            } else if path.file_name() != Some(OsStr::new(".git")) {
                marks.push((path, content, meta.mtime(), meta.mtime_nsec()));
            }
        }
    }
    for name in ["index", "HEAD", "logs/HEAD", "MERGE_HEAD"] {
        if let Ok(content) = fs::read(git_dir.join(name)) {
            let meta = fs::metadata(git_dir.join(name)).unwrap();
            marks.push((git_dir.join(name), content, meta.mtime(), meta.mtime_nsec()));
        }
    }
    marks.sort();
    marks
}

/// A user's repository, a quarantine that borrows from it, and a lander between them.
pub struct LandWorld {
    pub folder: TempDir,
    pub user: Repo,
    pub quarantine: Repo,
    /// Where `refs/heads/main` is.
    pub base: CommitId,
}

impl LandWorld {
    /// A repository with a working tree in `user`, `main` checked out, at a commit of `entries`.
    pub fn with(options: &[&str], entries: &[Entry]) -> Self {
        let folder = TempDir::new().unwrap();
        let user = Repo::init(&folder.path().join("user"), options);
        let base = user.commit(entries, &[]);
        user.set("refs/heads/main", base);
        if !options.contains(&"--bare") {
            user.run(&["reset", "-q", "--hard"]);
        }
        let mut quarantine_options = vec!["--bare"];
        quarantine_options.extend(options.iter().filter(|option| option.starts_with("--object-format")));
        let quarantine = Repo::init(&folder.path().join("quarantine"), &quarantine_options);
        let alternates = format!("{}\n", user.objects().display());
        fs::write(quarantine.objects().join("info/alternates"), alternates).unwrap();
        Self { folder, user, quarantine, base }
    }

    pub fn new(entries: &[Entry]) -> Self {
        Self::with(&[], entries)
    }

    /// A composite on `base`, known to the quarantine alone.
    pub fn composite(&self, entries: &[Entry]) -> CommitId {
        self.quarantine.commit(entries, &[self.base])
    }

    pub fn settings(&self) -> LanderSettings {
        LanderSettings {
            common_dir: self.user.dir().to_owned(),
            started_in: None,
            objects: self.user.dir().join("objects"),
            quarantine: self.quarantine.dir().to_owned(),
            made: None,
            target: "refs/heads/main".to_owned(),
            push: None,
            no_sign: false,
            run: RunId::new("20260101-000000-000-aaaa"),
            run_dir: self.folder.path().join("run"),
        }
    }

    pub fn lander(&self) -> LocalLander {
        LocalLander::new(self.settings())
    }

    pub fn work_tree(&self) -> PathBuf {
        self.folder.path().join("user")
    }

    pub fn request(&self, to: CommitId) -> LandRequest {
        let tree = self.quarantine.tree_of(to);
        LandRequest { apex: ApexId(1), from: self.base, to, tree, items: Vec::new() }
    }

    /// Lands a composite of `entries` on `base`.
    pub fn land(&self, entries: &[Entry]) -> (CommitId, LandOutcome) {
        let to = self.composite(entries);
        (to, land(&self.lander(), self.request(to)).unwrap())
    }

    pub fn has(&self, commit: CommitId) -> bool {
        let args = ["cat-file", "-e", &commit.to_string()];
        self.user.git.output(&args, None).unwrap().status.success()
    }
}

pub fn land(lander: &LocalLander, request: LandRequest) -> Result<LandOutcome, PortError> {
    wait_for(lander.land(request, watch::channel(false).1))
}

pub fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The message of a refusal and, after a newline, the advice; nothing else will do.
pub fn refused(outcome: LandOutcome) -> String {
    match outcome {
        LandOutcome::Refused { message, advice } => format!("{message}\n{}", advice.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}
