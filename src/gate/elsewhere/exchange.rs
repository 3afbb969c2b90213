//! How a tree gets to the machines that gate it, and what came of it back: as commits under `refs/lexpr/<run>/` of a
//! repository that both sides reach, or on branches `lexpr/<run>/…` for those who follow branches. Nothing else there is touched. Every function blocks.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::super::pump::{LogRules, pump};
use crate::git::command::{Config, Git, GitError, bare_command, expect_success, output};
use crate::vocabulary::names::{CommitId, RunId};

/// So many refs are removed with one push: a command line has an end.
const AT_ONCE: usize = 200;
/// So many refs that may be left are named; of more, where they are.
const NAMED: usize = 3;

/// A repository that lexpr and its workers reach.
#[derive(Clone, Debug)]
pub struct Exchange {
    git: Git,
    address: String,
    run: RunId,
    /// What the full names of refs begin with.
    root: &'static str,
    /// Commits that were sent for all gates of theirs; held by who sends one, so that the others wait. Of the process, not of the
    /// run: after a resumption each is sent once more, which changes nothing.
    sent: Arc<Mutex<HashMap<CommitId, Sent>>>,
}

/// Whether it is there.
type Sent = Arc<Mutex<bool>>;

/// What a worker sent back could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum BringError {
    #[error("{0}")]
    Git(#[from] GitError),
    #[error("what came of the gate could not be written to {file}: {source}")]
    Written { file: String, source: io::Error },
}

/// What may be left for the run there.
#[derive(Debug, thiserror::Error)]
#[error("the exchange {address}: {why}; {} may be left", self.refs())]
pub(super) struct NotCleared {
    address: String,
    /// What their names begin with.
    below: String,
    left: BTreeSet<String>,
    why: String,
}

impl NotCleared {
    fn refs(&self) -> String {
        if self.left.is_empty() || self.left.len() > NAMED {
            return format!("refs below {}", self.below);
        }
        self.left.iter().cloned().collect::<Vec<_>>().join(", ")
    }
}

impl Exchange {
    /// `git` has the commits; `address` is a URL or an absolute path, and means the same repository here and on nodes.
    pub fn new(git: Git, address: impl Into<String>, run: RunId) -> Self {
        Self { git, address: address.into(), run, root: "refs/lexpr", sent: Arc::default() }
    }

    /// The same with branches, which are what CI services follow.
    pub(super) fn as_branches(&self) -> Self {
        Self { root: "refs/heads/lexpr", ..self.clone() }
    }

    /// The branch of this name, as services call it.
    pub(super) fn branch_of(&self, name: &str) -> String {
        format!("lexpr/{}/{name}", self.run)
    }

    /// As which all that is sent and asked for is known.
    pub(super) fn run(&self) -> &RunId {
        &self.run
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The ref of this name.
    pub(super) fn name_of(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.root, self.run)
    }

    /// Sends a commit there, unless it was: all gates of one composite share one push, and one ref, whose full name this is. It
    /// goes with the run's others.
    pub(super) fn share(&self, commit: CommitId) -> Result<String, GitError> {
        let name = commit.to_string();
        let sent = Arc::clone(self.sent().entry(commit).or_default());
        let mut is_there = sent.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_there {
            self.push(commit, &name)?;
            *is_there = true;
        }
        Ok(self.name_of(&name))
    }

    /// Says that the commit may not be there any more: who needs it next sends it again.
    pub(super) fn doubt(&self, commit: CommitId) {
        self.sent().remove(&commit);
    }

    fn sent(&self) -> std::sync::MutexGuard<'_, HashMap<CommitId, Sent>> {
        // Nothing in here can be half done.
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a commit there, by a name of its own.
    pub(super) fn push(&self, commit: CommitId, name: &str) -> Result<(), GitError> {
        self.send(&[format!("+{commit}:{}", self.name_of(name))])
    }

    /// What is there for the run: full names of refs.
    pub(super) fn refs(&self) -> Result<Vec<String>, GitError> {
        let below = self.name_of("*");
        Ok(self.names(&self.git.at_the_terminal().line(self.listing(&below))?))
    }

    fn listing<'a>(&'a self, below: &'a str) -> [&'a str; 5] {
        ["ls-remote", "--refs", "--", &self.address, below]
    }

    /// A pattern matches at any slash.
    fn names(&self, listed: &str) -> Vec<String> {
        let names = listed.lines().filter_map(|line| line.split_once('\t').map(|(_, name)| name.to_owned()));
        names.filter(|name| name.starts_with(&self.name_of(""))).collect()
    }

    /// Removes all that is there for the run, in so much time.
    pub(super) async fn clear(&self, limit: Duration) -> Result<(), NotCleared> {
        let mut left = self.sent().keys().map(|commit| self.name_of(&commit.to_string())).collect();
        let removed = match tokio::time::timeout(limit, self.remove_all(&mut left)).await {
            Ok(removed) => removed.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it gave no answer within {} s", limit.as_secs())),
        };
        removed.map_err(|why| NotCleared { address: self.address.clone(), below: self.name_of(""), left, why })
    }

    /// `left` is what there is still, as far as is known. A git that is not waited for any more is ended.
    async fn remove_all(&self, left: &mut BTreeSet<String>) -> Result<(), GitError> {
        let below = self.name_of("*");
        *left = self.names(&self.to_its_end(&self.listing(&below)).await?).into_iter().collect();
        while !left.is_empty() {
            let names: Vec<String> = left.iter().take(AT_ONCE).cloned().collect();
            let refspecs: Vec<String> = names.iter().map(|name| format!(":{name}")).collect();
            self.to_its_end(&self.sending(&refspecs)).await?;
            names.iter().for_each(|name| {
                left.remove(name);
            });
        }
        Ok(())
    }

    async fn to_its_end(&self, args: &[&str]) -> Result<String, GitError> {
        let mut command = self.git.at_the_terminal().command();
        command.args(args);
        let output = tokio::process::Command::from(command).kill_on_drop(true).output().await;
        let said = expect_success(args, output.map_err(GitError::NotStarted)?)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    fn send(&self, refspecs: &[String]) -> Result<(), GitError> {
        self.git.at_the_terminal().run(self.sending(refspecs)).map(drop)
    }

    fn sending<'a>(&'a self, refspecs: &'a [String]) -> Vec<&'a str> {
        // As in `git::push`: these refs and nothing with them, no hook and no signature.
        let options = ["push", "--quiet", "--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no"];
        let mut args: Vec<&str> = options.to_vec();
        args.extend(["--", self.address.as_str()]);
        args.extend(refspecs.iter().map(String::as_str));
        args
    }

    /// Fetches what a worker sent to the ref of this name: its account, and what the gate printed, which is added to
    /// `log`. `None`: it has sent nothing.
    pub(super) fn bring(&self, name: &str, format: &str, log: &BroughtLog) -> Result<Option<Vec<u8>>, BringError> {
        let name = self.name_of(name);
        if !self.refs()?.contains(&name) {
            return Ok(None);
        }
        let folder = self.fetch_apart(&name, "refs/lexpr/result", format)?;
        let here = Git::new(folder.path(), Config::RepositoryOnly);
        let account = here.run(["cat-file", "blob", "refs/lexpr/result:account"])?;
        let mut cat = here.command();
        cat.args(["cat-file", "blob", "refs/lexpr/result:log"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut cat = cat.spawn().map_err(GitError::NotStarted)?;
        let printed = cat.stdout.take().ok_or_else(|| GitError::NotStarted(io::ErrorKind::BrokenPipe.into()))?;
        let file = OpenOptions::new().append(true).open(&log.path).and_then(|file| {
            if let Some(bytes) = log.instead_of {
                file.set_len(bytes)?;
            }
            Ok(file)
        });
        let pumped = file.and_then(|file| pump(printed, file, &log.rules));
        let ended = cat.wait().map_err(GitError::NotStarted)?;
        pumped.map_err(|source| BringError::Written { file: log.path.display().to_string(), source })?;
        if !ended.success() {
            let command = "cat-file blob refs/lexpr/result:log".to_owned();
            return Err(GitError::Unreadable { command, why: ended.to_string() }.into());
        }
        Ok(Some(account))
    }

    /// Lays out the files of the commit that a worker sent to the ref of this name, as they are.
    pub(super) fn bring_files(&self, name: &str, commit: &str, format: &str, into: &Path) -> Result<(), BringError> {
        let name = self.name_of(name);
        let folder = self.fetch_apart(&name, "refs/lexpr/files", format)?;
        let here = Git::new(folder.path(), Config::RepositoryOnly).with_work_tree(into);
        let fetched = here.line(["rev-parse", "refs/lexpr/files"])?;
        if fetched != commit {
            let why = format!("it is {fetched}, and the node sent {commit}");
            return Err(GitError::Unreadable { command: format!("fetch {name}"), why }.into());
        }
        // No attribute of the tree's changes them.
        let attributes = folder.path().join("info/attributes");
        let written = fs::create_dir_all(folder.path().join("info"))
            .and_then(|()| fs::write(&attributes, "* -text -ident -filter -working-tree-encoding\n"));
        written.map_err(GitError::io("writing", &attributes))?;
        here.run(["read-tree", "refs/lexpr/files"])?;
        here.run(["checkout-index", "--all", "--quiet"])?;
        Ok(())
    }

    /// Fetches the commit at a ref into a repository of its own: nobody needs these objects again.
    fn fetch_apart(&self, name: &str, to: &str, format: &str) -> Result<TempDir, GitError> {
        let folder = tempfile::tempdir().map_err(GitError::io("making a folder in", std::env::temp_dir()))?;
        let mut init = bare_command(Config::RepositoryOnly);
        let args = ["init", "--quiet", "--bare", "--template="];
        init.args(args).arg(format!("--object-format={format}")).arg(folder.path());
        expect_success(&args, output(init, None)?)?;
        let here = Git::new(folder.path(), Config::Users).at_the_terminal();
        let refspec = format!("{name}:{to}");
        here.run(["fetch", "--quiet", "--no-tags", "--depth=1", "--", &self.address, &refspec])?;
        Ok(folder)
    }
}

/// Where what a gate printed goes.
#[derive(Debug)]
pub(super) struct BroughtLog {
    pub(super) path: PathBuf,
    pub(super) rules: LogRules,
    /// What the file holds from here on, in bytes, gives way.
    pub(super) instead_of: Option<u64>,
}

/// The name that git has for how objects of this repository are named.
pub(super) fn object_format(commit: CommitId) -> &'static str {
    if commit.as_bytes().len() == 32 { "sha256" } else { "sha1" }
}
