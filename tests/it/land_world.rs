//! Repositories for the tests of slots and landing: in a folder of their own, read by a git that
//! sees no configuration but theirs, with one fixed identity.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lexpr::git::command::{Config, Git, bare_command, output};
use lexpr::vocabulary::names::{CommitId, TreeId};

pub const FILE: &str = "100644";
pub const SCRIPT: &str = "100755";
pub const LINK: &str = "120000";
pub const SUBMODULE: &str = "160000";

/// Mode, path, and content: of the file, the link's goal, or the submodule's commit.
pub type Entry<'a> = (&'a str, &'a [u8], &'a [u8]);

/// A file of mode 644.
pub fn file<'a>(path: &'a str, content: &'a str) -> Entry<'a> {
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
