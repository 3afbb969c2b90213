//! A repository made for one measurement: a base of so many files, and branches on it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use lexpr::git::command::{Config, Git, bare_command, output};
use lexpr::git::repo::UserRepo;
use lexpr::plan::graph::ItemIx;
use lexpr::ports::ComposeItem;
use lexpr::vocabulary::names::{CommitId, ItemName, MergeStrategy};
use tempfile::TempDir;

/// Lines of the text that branches may share.
const LINES: usize = 5_000;

/// What each branch changes.
#[derive(Clone, Copy, Debug)]
pub enum Changes {
    /// A file of its own: nothing meets.
    OwnFile,
    /// A line of one long text, far from those of others.
    OwnLine,
}

/// A bare repository with `main` and branches `b0`, `b1` …
#[derive(Debug)]
pub struct Repository {
    pub folder: TempDir,
    pub git: Git,
}

impl Repository {
    /// `files` are spread over folders of ten.
    pub fn new(files: usize, branches: usize, changes: Changes) -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let path = folder.path().join("repo.git");
        let mut init = bare_command(Config::RepositoryOnly);
        init.args(["init", "-q", "--bare", "-b", "main"]).arg(&path);
        assert!(output(init, None).is_ok_and(|done| done.status.success()), "git init");
        let git = Git::new(&path, Config::RepositoryOnly);
        git.run_with_input(["fast-import", "--quiet"], stream(files, branches, changes).as_bytes())
            .expect("git takes the commits");
        Self { folder, git }
    }

    pub fn path(&self) -> &Path {
        self.git.git_dir()
    }

    pub fn open(&self) -> UserRepo {
        UserRepo::open(self.path()).expect("it was made just now")
    }

    pub fn commit(&self, revision: &str) -> CommitId {
        let text = self.git.line(["rev-parse", &format!("{revision}^{{commit}}")]).expect("it is there");
        text.parse().expect("git names commits so")
    }

    /// The branches in order, as items that merge.
    pub fn items(&self, branches: usize) -> Vec<Arc<ComposeItem>> {
        let heads =
            self.git.line(["for-each-ref", "--sort=version:refname", "--format=%(objectname)", "refs/heads/b*"]);
        let heads = heads.expect("branches are there");
        let item = |(at, head): (usize, &str)| {
            Arc::new(ComposeItem {
                ix: ItemIx::new(at),
                name: ItemName::new(format!("b{at}")),
                branch: format!("b{at}"),
                head: head.parse().expect("git names commits so"),
                strategy: MergeStrategy::Merge,
                deps: Vec::new(),
                merged: Vec::new(),
                overridden: None,
            })
        };
        heads.lines().take(branches).enumerate().map(item).collect()
    }
}

fn stream(files: usize, branches: usize, changes: Changes) -> String {
    let who = "committer Carl <carl@example.com> 1700000000 +0000\n";
    let mut text = format!("commit refs/heads/main\nmark :1\n{who}data 5\nbase\n");
    let file = |text: &mut String, path: &str, content: &str| {
        // Writing to a string does not fail.
        let _ = write!(text, "M 100644 inline {path}\ndata {}\n{content}\n", content.len());
    };
    let long = |changed: Option<usize>| -> String {
        let line = |at| if Some(at) == changed { format!("line {at}, changed\n") } else { format!("line {at}\n") };
        (0..LINES).map(line).collect()
    };
    for at in 0..files {
        file(&mut text, &format!("d{}/f{at}", at / 10), &format!("content of file {at}\n"));
    }
    file(&mut text, "long", &long(None));
    for at in 0..branches {
        let _ = write!(text, "commit refs/heads/b{at}\n{who}data 3\nb\n\nfrom :1\n");
        match changes {
            Changes::OwnFile => file(&mut text, &format!("d{}/b{at}", at % files.div_ceil(10).max(1)), "its own\n"),
            Changes::OwnLine => file(&mut text, "long", &long(Some(at * LINES / branches))),
        }
    }
    text
}
