//! What a repository is: where its parts lie, how it keeps objects, whether there is anything to land on.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::git::command::{Config, GitError, bare_command, expect_success, failed, output, shown, together};

/// What a repository is, in one answer: three paths and three words.
const FACTS: [&str; 9] = [
    "rev-parse",
    "--absolute-git-dir",
    "--path-format=absolute",
    "--git-common-dir",
    "--git-path",
    "objects",
    "--is-shallow-repository",
    "--is-bare-repository",
    "--show-object-format",
];

/// What is asked beside [`FACTS`]. Where there is no commit, git says what it knows up to there and fails; the way to
/// the top of the working tree is the last, as there may be none to tell.
const USUALLY: [&str; 3] = ["--is-inside-work-tree", "HEAD^{commit}", "--show-cdup"];

/// Whether there is a commit to land on.
const BORN: [&str; 4] = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) git_dir: PathBuf,
    pub(super) common_dir: PathBuf,
    pub(super) objects: PathBuf,
    pub(super) shallow: bool,
    pub(super) bare: bool,
    pub(super) format: String,
    /// Why there is no commit at HEAD, where there is none.
    pub(super) unborn: Option<GitError>,
    /// Started in a git directory there is none.
    pub(super) work_tree: Option<PathBuf>,
}

impl Facts {
    /// What asks for all of it, as it usually can be told.
    pub(super) fn question(dir: &Path) -> Command {
        inside(dir, &[&FACTS[..], &USUALLY].concat())
    }

    /// From the answer to [`Facts::question`], or to others where that was none.
    ///
    /// # Errors
    /// Where `dir` is in no repository.
    pub(super) fn from_answer(dir: &Path, told: &Output) -> Result<Self, GitError> {
        let usual = told.status.success().then(|| Self::usual(dir, &told.stdout)).flatten();
        usual.map_or_else(|| Self::one_by_one(dir), Ok)
    }

    /// From an answer to [`FACTS`] and [`USUALLY`]; `None` where it is not as it usually is, such as with a newline in
    /// a path.
    fn usual(dir: &Path, answer: &[u8]) -> Option<Self> {
        let is_answer = |word: &[u8]| matches!(word, b"true" | b"false");
        let lines: Vec<&[u8]> = answer.strip_suffix(b"\n")?.split(|byte| *byte == b'\n').collect();
        let [git_dir, common_dir, objects, shallow, bare, format, inside, _, way @ ..] = &lines[..] else {
            return None;
        };
        if ![shallow, bare, inside].into_iter().all(|word| is_answer(word)) {
            return None;
        }
        let work_tree = match way {
            // An empty way is the one to where git was started.
            [way] => Some(dir.join(path_of(way.to_vec())).canonicalize().ok()?),
            [] => None,
            [..] => return None,
        };
        let [git_dir, common_dir, objects] = [git_dir, common_dir, objects].map(|path| path_of(path.to_vec()));
        let format = String::from_utf8_lossy(format).into_owned();
        let (shallow, bare) = (*shallow == b"true", *bare == b"true");
        Some(Self { git_dir, common_dir, objects, shallow, bare, format, unborn: None, work_tree })
    }

    /// By questions of which each may fail without the others.
    fn one_by_one(dir: &Path) -> Result<Self, GitError> {
        let [facts, head, top] =
            together([inside(dir, &FACTS), inside(dir, &BORN), inside(dir, &["rev-parse", "--show-toplevel"])]);
        let (answer, head, top) = (expect_success(&FACTS, facts?)?, head?, top?);
        let lines: Vec<&[u8]> = answer.split(|byte| *byte == b'\n').collect();
        // The last one is what follows the last newline.
        let [paths @ .., shallow, bare, format, b""] = &lines[..] else {
            let why = String::from_utf8_lossy(&answer).into_owned();
            return Err(GitError::Unreadable { command: shown(&FACTS), why });
        };
        let [git_dir, common_dir, objects] = match paths {
            [git_dir, common_dir, objects] => [git_dir, common_dir, objects].map(|path| path_of(path.to_vec())),
            // A newline in a path: one at a time, then.
            _ => [
                path_from(dir, &["--absolute-git-dir"])?,
                path_from(dir, &["--path-format=absolute", "--git-common-dir"])?,
                path_from(dir, &["--path-format=absolute", "--git-path", "objects"])?,
            ],
        };
        let format = String::from_utf8_lossy(format).into_owned();
        let unborn = (!head.status.success()).then(|| failed(&BORN, &head));
        let work_tree = Some(path_of(top.stdout)).filter(|path| top.status.success() && !path.as_os_str().is_empty());
        let (shallow, bare) = (shallow == b"true", bare == b"true");
        Ok(Self { git_dir, common_dir, objects, shallow, bare, format, unborn, work_tree })
    }
}

/// Whether there is any branch, which HEAD need not be on.
///
/// # Errors
/// Where git cannot tell.
pub(super) fn has_branches(dir: &Path) -> Result<bool, GitError> {
    const BRANCHES: [&str; 4] = ["for-each-ref", "--count=1", "--format=%(objectname)", "refs/heads"];
    Ok(!expect_success(&BRANCHES, output(inside(dir, &BRANCHES), None)?)?.is_empty())
}

/// A git in `dir`. Not where GIT_DIR and the like say: `bare_command` drops those. The folder is entered
/// rather than named: a name that begins with a dash is no option.
pub(super) fn inside(dir: &Path, args: &[&str]) -> Command {
    let mut command = bare_command(Config::Users);
    command.current_dir(dir).args(args);
    command
}

/// `git rev-parse ARGS` in `dir`, which prints one path.
fn path_from(dir: &Path, args: &[&str]) -> Result<PathBuf, GitError> {
    let args = [&["rev-parse"], args].concat();
    Ok(path_of(expect_success(&args, output(inside(dir, &args), None)?)?))
}

/// A line of an answer.
fn path_of(mut line: Vec<u8>) -> PathBuf {
    line.pop_if(|last| *last == b'\n');
    OsString::from_vec(line).into()
}
