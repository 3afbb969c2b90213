//! Makes a small repository out of nothing, for `lexpr demo` and for nothing else.

use std::fmt::Write as _;
use std::path::Path;

use super::command::{Config, Git, GitError, bare_command, output, shown};

/// Every commit of a scratch repository is made by this person at this time, so that the
/// demonstration makes the same commits everywhere.
const PERSON: &str = "Demo <demo@example.com> 1767225600 +0000";

/// One commit: files that it writes, by path.
#[derive(Clone, Copy, Debug)]
pub struct ScratchCommit<'a> {
    pub message: &'a str,
    pub files: &'a [(&'a str, &'a str)],
}

/// A branch that begins at another one made before it.
#[derive(Clone, Copy, Debug)]
pub struct ScratchBranch<'a> {
    pub name: &'a str,
    pub from: &'a str,
    pub commits: &'a [ScratchCommit<'a>],
}

/// Creates `folder` as a repository with `main` checked out at `first` and all `branches`.
///
/// # Errors
/// Where git fails, for example because the folder cannot be written.
pub fn create(folder: &Path, first: ScratchCommit<'_>, branches: &[ScratchBranch<'_>]) -> Result<(), GitError> {
    let mut init = bare_command(Config::RepositoryOnly);
    // No template: hooks of this machine have no business here.
    init.args(["init", "--quiet", "--initial-branch=main", "--template="]).arg(folder);
    let result = output(init, None)?;
    if !result.status.success() {
        return Err(GitError::Failed {
            command: shown(&["init"]),
            status: result.status.to_string(),
            stderr: String::from_utf8_lossy(&result.stderr).into_owned(),
        });
    }
    let mut stream = String::new();
    commit(&mut stream, "main", None, first);
    for branch in branches {
        let mut from = Some(branch.from);
        for one in branch.commits {
            commit(&mut stream, branch.name, from.take(), *one);
        }
    }
    let git = Git::new(folder.join(".git"), Config::RepositoryOnly).with_work_tree(folder);
    git.run_with_input(["fast-import", "--quiet"], stream.as_bytes())?;
    git.run(["reset", "--quiet", "--hard"])?;
    Ok(())
}

/// One commit in the format of git-fast-import(1).
fn commit(stream: &mut String, branch: &str, from: Option<&str>, commit: ScratchCommit<'_>) {
    let ScratchCommit { message, files } = commit;
    // Writing to a string does not fail.
    let _ = write!(stream, "commit refs/heads/{branch}\ncommitter {PERSON}\ndata {}\n{message}\n", message.len());
    if let Some(from) = from {
        let _ = writeln!(stream, "from refs/heads/{from}");
    }
    for (path, content) in files {
        let _ = write!(stream, "M 100644 inline {path}\ndata {}\n{content}\n", content.len());
    }
    stream.push('\n');
}
