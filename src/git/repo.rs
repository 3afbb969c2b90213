//! The user's repository: where it is, whether lexpr can work with it, and what the plan's target
//! and items are in it. Nothing is written here.

mod facts;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;

use self::facts::{Facts, has_branches, inside};
use super::command::{Config, Git, GitError, failed, joined, shown, tells_of_trouble, together};
use super::version::GitVersion;
use crate::plan::problem::nearest;
use crate::vocabulary::names::{CommitId, ItemName, TreeId};

/// The repository is none that lexpr can work with, or holds not what the plan names.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    #[error("git {installed} is too old: lexpr needs git {} or newer", GitVersion::OLDEST)]
    GitTooOld { installed: GitVersion },
    #[error("{dir} is not in a git repository: {why}")]
    NotARepository { dir: String, why: String },
    #[error(
        "{repository} is a shallow clone, whose missing history decides how branches merge: run `git fetch --unshallow` first"
    )]
    Shallow { repository: String },
    #[error("{repository} is a partial clone, whose objects may be missing: use a full clone")]
    PartialClone { repository: String },
    #[error("{repository} has no commit at HEAD yet, nor any branch: there is nothing to land on")]
    UnbornHead { repository: String },
    #[error("{repository} stores its objects as {format}, which lexpr does not know")]
    UnknownObjectFormat { repository: String, format: String },
    #[error("{}", list(.0))]
    Unresolved(Vec<RefProblem>),
    #[error(transparent)]
    Git(#[from] GitError),
}

fn list(problems: &[RefProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Something the plan names that the repository does not have like that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefProblem {
    /// Which item, as a position in the list that was asked about; `None` for the target.
    pub item: Option<usize>,
    pub message: String,
    /// There is nothing of that name.
    pub is_missing: bool,
    /// The nearest branch, or what else to do.
    pub hint: Option<String>,
}

impl fmt::Display for RefProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// How a repository names its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFormat {
    Sha1,
    Sha256,
}

/// A repository that lexpr can work with.
#[derive(Clone, Debug)]
pub struct UserRepo {
    git: Git,
    common_dir: PathBuf,
    objects: PathBuf,
    format: ObjectFormat,
    bare: bool,
    work_tree: Option<PathBuf>,
    version: GitVersion,
}

/// One item as the plan names it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    pub name: &'a ItemName,
    /// Any revision; the name where the plan gives none.
    pub branch: &'a str,
    /// The commit the branch must be at, 4 to 64 hex digits.
    pub pin: Option<&'a str>,
}

/// What a plan's names are in the repository.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub target: Target,
    /// One per item, in the order asked.
    pub heads: Vec<CommitId>,
}

/// The branch that is to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Such as `refs/heads/main`.
    pub full_name: String,
    pub commit: CommitId,
    pub tree: TreeId,
}

impl Target {
    /// Such as `main`.
    pub fn short_name(&self) -> &str {
        self.full_name.strip_prefix("refs/heads/").unwrap_or(&self.full_name)
    }
}

impl UserRepo {
    /// Opens the repository that `dir` is, or lies in: bare or not, a linked worktree, a subfolder.
    ///
    /// # Errors
    /// Where there is none, git is too old, or the repository is one lexpr cannot work with.
    pub fn open(dir: &Path) -> Result<Self, RepoError> {
        let not_one = |why: String| RepoError::NotARepository { dir: dir.display().to_string(), why };
        if !dir.is_dir() {
            return Err(not_one("there is no such folder".to_owned()));
        }
        let [version, told, partial] =
            together([GitVersion::question(), Facts::question(dir), inside(dir, &["config", "--get-regexp", PARTIAL])]);
        let version = GitVersion::from_answer(&version?)?;
        if version < GitVersion::OLDEST {
            return Err(RepoError::GitTooOld { installed: version });
        }
        let facts = Facts::from_answer(dir, &told?).map_err(|err| match err {
            GitError::Failed { stderr, .. } if !tells_of_trouble(&stderr) => not_one(stderr),
            other => other.into(),
        })?;
        let Facts { git_dir, common_dir, objects, shallow, bare, format, unborn, work_tree } = facts;
        let repository = || git_dir.display().to_string();
        if shallow {
            return Err(RepoError::Shallow { repository: repository() });
        }
        let format = match &*format {
            "sha1" => ObjectFormat::Sha1,
            "sha256" => ObjectFormat::Sha256,
            _ => return Err(RepoError::UnknownObjectFormat { repository: repository(), format }),
        };
        // Status 1: no such key.
        if String::from_utf8_lossy(&partial?.stdout).lines().any(|line| !line.ends_with(" false")) {
            return Err(RepoError::PartialClone { repository: repository() });
        }
        if let Some(error) = unborn {
            if error.is_trouble() {
                return Err(error.into());
            }
            // On a branch that is not there yet others may be landed on all the same.
            if !has_branches(dir)? {
                return Err(RepoError::UnbornHead { repository: repository() });
            }
        }
        let git = Git::new(git_dir, Config::Users);
        Ok(Self { git, common_dir, objects, format, bare, work_tree, version })
    }

    /// git in this repository, as the user has configured it.
    pub fn git(&self) -> &Git {
        &self.git
    }

    pub fn git_dir(&self) -> &Path {
        self.git.git_dir()
    }

    /// The git directory that all worktrees share.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    pub fn objects(&self) -> &Path {
        &self.objects
    }

    pub fn object_format(&self) -> ObjectFormat {
        self.format
    }

    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// The top of the working tree that it was opened in, if it was in one.
    pub fn work_tree(&self) -> Option<&Path> {
        self.work_tree.as_deref()
    }

    pub fn version(&self) -> GitVersion {
        self.version
    }

    /// Finds the target and the heads of all items, in one git process or two.
    ///
    /// # Errors
    /// [`RepoError::Unresolved`] with all that is wrong, the target first, then items in order.
    pub fn resolve(&self, target: &str, items: &[Named<'_>]) -> Result<Resolved, RepoError> {
        let mut questions = Questions::default();
        let candidates = target_candidates(target);
        for name in &candidates {
            questions.ask(format!("{name}^{{commit}}"));
            questions.ask(format!("{name}^{{tree}}"));
        }
        for elsewhere in [format!("refs/tags/{target}"), target.to_owned()] {
            questions.ask(elsewhere);
        }
        for item in items {
            let [local, _] = revisions(item.branch);
            questions.ask(local);
            questions.ask_all(item.pin.map(|pin| format!("{pin}^{{commit}}")));
        }
        let mut answers = questions.put_to(&self.git)?;
        // Most plans name local branches: the costlier question, what else a name may be, is for the rest.
        let mut further = Questions::default();
        for [local, any] in items.iter().map(|item| revisions(item.branch)) {
            further.ask_all(answers.find(&local).is_none().then_some(any));
        }
        if !further.asked.is_empty() {
            answers.0.extend(further.put_to(&self.git)?.0);
        }

        let mut problems = Vec::new();
        let target_found = candidates.iter().find_map(|name| {
            let commit = answers.commit(&format!("{name}^{{commit}}"))?;
            let tree = answers.find(&format!("{name}^{{tree}}"))?.parse().ok()?;
            Some(Target { full_name: name.clone(), commit, tree })
        });
        let mut branches = None;
        let mut branches = |repo: &Self| -> Result<Vec<String>, GitError> {
            if branches.is_none() {
                branches = Some(repo.branches()?);
            }
            Ok(branches.clone().unwrap_or_default())
        };
        if target_found.is_none() {
            let (message, hint) = if answers.find(&format!("refs/tags/{target}")).is_some() {
                (format!("target {target:?} is a tag"), Some("lexpr moves branches only".to_owned()))
            } else if answers.find(target).is_some() {
                (format!("target {target:?} is not a local branch"), Some("name a branch under refs/heads".to_owned()))
            } else {
                let names = branches(self)?;
                let near = alike(target, &names);
                (format!("target {target:?} does not exist"), near.map(|near| format!("did you mean {near:?}?")))
            };
            problems.push(RefProblem { item: None, message, is_missing: target_found.is_none(), hint });
        }
        let mut heads = Vec::with_capacity(items.len());
        let mut unnamed = None;
        for (at, item) in items.iter().enumerate() {
            match head_of(item, &answers) {
                Ok(head) => heads.push(head),
                Err(Missing { message, look_for }) => {
                    if look_for && unnamed.is_none() {
                        // What another item means, or lands on, is not what this one meant.
                        let named: HashSet<&str> = items.iter().map(|item| item.branch).chain([target]).collect();
                        let names = branches(self)?.into_iter();
                        unnamed = Some(names.filter(|name| !named.contains(&**name)).collect::<Vec<_>>());
                    }
                    let names = unnamed.as_deref().filter(|_| look_for).unwrap_or_default();
                    let hint = alike(item.branch, names).map(|near| format!("did you mean {near:?}?"));
                    problems.push(RefProblem { item: Some(at), message, is_missing: look_for, hint });
                }
            }
        }
        match target_found {
            Some(target) if problems.is_empty() => Ok(Resolved { target, heads }),
            _ => Err(RepoError::Unresolved(problems)),
        }
    }

    /// The commit that `revision` is, a local branch before a tag; `None` where it is none.
    ///
    /// # Errors
    /// Where git fails.
    pub fn commit(&self, revision: &str) -> Result<Option<CommitId>, GitError> {
        let meanings = revisions(revision);
        let mut questions = Questions::default();
        questions.ask_all(meanings.clone());
        let answers = questions.put_to(&self.git)?;
        Ok(meanings.iter().find_map(|meaning| answers.commit(meaning)))
    }

    /// Those of `commits` that are not there, in one git process.
    ///
    /// # Errors
    /// Where git fails.
    pub fn missing(&self, commits: &[CommitId]) -> Result<Vec<CommitId>, GitError> {
        let input: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
        let args = ["cat-file", "--batch-check=%(objecttype)"];
        let answers = self.as_plumbing().run_with_input(args, input.as_bytes())?;
        let answers = String::from_utf8_lossy(&answers);
        let is_there = answers.lines().map(|answer| answer == "commit").chain(std::iter::repeat(false));
        Ok(commits.iter().zip(is_there).filter(|(_, is_there)| !is_there).map(|(commit, _)| *commit).collect())
    }

    /// Whether the branch of this full name holds `commit`; `None` where there is no such branch.
    ///
    /// # Errors
    /// Where git fails.
    pub fn holds(&self, branch: &str, commit: CommitId) -> Result<Option<bool>, GitError> {
        let git = self.as_plumbing();
        let shown = git.output(&["show-ref", "--verify", "--hash", "--", branch], None)?;
        if !shown.status.success() {
            return Ok(None);
        }
        if !self.missing(&[commit])?.is_empty() {
            return Ok(Some(false));
        }
        let tip = String::from_utf8_lossy(&shown.stdout);
        let args = ["merge-base", "--is-ancestor", &commit.to_string(), tip.trim()];
        let asked = git.output(&args, None)?;
        match asked.status.code() {
            Some(0) => Ok(Some(true)),
            Some(1) => Ok(Some(false)),
            _ => Err(failed(&args, &asked)),
        }
    }

    /// git in this repository, whatever the user has configured.
    fn as_plumbing(&self) -> Git {
        Git::new(&self.common_dir, Config::RepositoryOnly)
    }

    /// The addresses of all remotes, as they are configured.
    ///
    /// # Errors
    /// Where git fails.
    pub fn remote_addresses(&self) -> Result<Vec<String>, GitError> {
        let args = ["config", "-z", "--get-regexp", r"^remote\..*\.url$"];
        let told = self.git.output(&args, None)?;
        match told.status.code() {
            // `key LF value NUL` and so on.
            Some(0) => Ok(String::from_utf8_lossy(&told.stdout)
                .split('\0')
                .filter_map(|set| Some(set.split_once('\n')?.1.to_owned()))
                .collect()),
            // There are none.
            Some(1) => Ok(Vec::new()),
            _ => Err(failed(&args, &told)),
        }
    }

    /// Local and remote-tracking branches by the names people use.
    fn branches(&self) -> Result<Vec<String>, GitError> {
        let text = self.git.line(["for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads", "refs/remotes"])?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// The settings of partial clones.
const PARTIAL: &str = r"^(extensions\.partialclone|remote\..*\.(promisor|partialclonefilter))$";

/// The branches that a target may mean, the likeliest first.
fn target_candidates(target: &str) -> Vec<String> {
    if target.starts_with("refs/heads/") {
        return vec![target.to_owned()];
    }
    let mut candidates = vec![format!("refs/heads/{target}")];
    candidates.extend(target.strip_prefix("heads/").map(|name| format!("refs/heads/{name}")));
    // `main~1` would resolve below refs/heads, but it names no branch (git-check-ref-format(1)).
    candidates.retain(|name| !name.contains(['~', '^', ':', ' ', '\\', '*', '?', '[']) && !name.contains("@{"));
    candidates
}

/// What a branch of the plan may mean: a local branch first, whatever tag has the same name.
fn revisions(branch: &str) -> [String; 2] {
    // All that follows `:/` is what is looked for in messages, and what is found is a commit.
    let peeled = if branch.starts_with(":/") { branch.to_owned() } else { format!("{branch}^{{commit}}") };
    [format!("refs/heads/{branch}^{{commit}}"), peeled]
}

struct Missing {
    message: String,
    /// Whether the name of a branch that exists would help.
    look_for: bool,
}

fn head_of(item: &Named<'_>, answers: &Answers) -> Result<CommitId, Missing> {
    let [local, any] = revisions(item.branch);
    let local = answers.commit(&local);
    let at = local.or_else(|| answers.commit(&any));
    let (name, branch) = (item.name, item.branch);
    let Some(pin) = item.pin else {
        return at.ok_or_else(|| Missing {
            message: format!("item {name:?}: there is no branch or revision {branch:?}"),
            look_for: true,
        });
    };
    let pin = pin.to_ascii_lowercase();
    let pinned = answers.commit(&format!("{pin}^{{commit}}")).filter(|commit| commit.to_string().starts_with(&pin));
    // A name of the plan's own that happens to be a tag or the like names no branch to compare with.
    let at = at.filter(|_| local.is_some() || branch != name.as_str() || pinned.is_none());
    match (at, pinned) {
        (Some(at), _) if at.to_string().starts_with(&pin) => Ok(at),
        (Some(at), _) => Err(Missing {
            message: format!("item {name:?}: {branch:?} has moved: it is at {}, the plan pins {pin}", at.short()),
            look_for: false,
        }),
        (None, Some(pinned)) => Ok(pinned),
        (None, None) => Err(Missing {
            message: format!("item {name:?}: there is neither a branch {branch:?} nor a commit {pin}"),
            look_for: true,
        }),
    }
}

/// The name that `wanted` may be a misspelling of. Names with other numbers are others: `task-3` is not `task-41`.
fn alike<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    fn digits(name: &str) -> impl Iterator<Item = char> + '_ {
        name.chars().filter(char::is_ascii_digit)
    }
    nearest(wanted, names.iter().map(String::as_str).filter(|name| digits(name).eq(digits(wanted))))
}

/// Revisions to look up, many at once.
#[derive(Default)]
struct Questions {
    asked: Vec<String>,
}

impl Questions {
    fn ask(&mut self, revision: String) {
        // One a line: what holds a newline cannot be asked, and no ref does.
        if !revision.contains('\n') {
            self.asked.push(revision);
        }
    }

    fn ask_all(&mut self, revisions: impl IntoIterator<Item = String>) {
        revisions.into_iter().for_each(|revision| self.ask(revision));
    }

    fn put_to(mut self, git: &Git) -> Result<Answers, GitError> {
        /// To find so many branches, each a file of its own, takes longer than to start a git.
        const MANY: usize = 100;
        if self.asked.len() < MANY {
            return self.put_to_one(git);
        }
        let rest = Self { asked: self.asked.split_off(self.asked.len() / 2) };
        let (first, rest) = thread::scope(|scope| {
            let rest = thread::Builder::new().spawn_scoped(scope, || rest.put_to_one(git));
            (self.put_to_one(git), joined(rest))
        });
        let mut answers = first?;
        answers.0.extend(rest??.0);
        Ok(answers)
    }

    fn put_to_one(self, git: &Git) -> Result<Answers, GitError> {
        let input = self.asked.iter().map(|revision| format!("{revision}\n")).collect::<String>();
        // Through standard input, where no revision can be taken for an option.
        // What else a full name may mean is not looked for, six files each (gitrevisions(7)): nobody would be told.
        let args = ["-c", "core.warnAmbiguousRefs=false", "cat-file", "--batch-check=%(objectname)"];
        let answered = git.output(&args, Some(input.as_bytes()))?;
        if !answered.status.success() {
            // Some questions, such as for the upstream of a branch that has none, end it.
            return self.put_one_by_one(git);
        }
        let text = String::from_utf8_lossy(&answered.stdout);
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() != self.asked.len() {
            let why = format!("{} answers to {} questions", lines.len(), self.asked.len());
            return Err(GitError::Unreadable { command: shown(&args), why });
        }
        // `<revision> missing` or `ambiguous` is no object id.
        let is_id = |line: &str| line.bytes().all(|b| b.is_ascii_hexdigit());
        let found = self.asked.into_iter().zip(lines).filter(|(_, line)| is_id(line));
        Ok(Answers(found.map(|(revision, id)| (revision, id.to_owned())).collect()))
    }

    fn put_one_by_one(self, git: &Git) -> Result<Answers, GitError> {
        let mut found = HashMap::new();
        for revision in self.asked {
            let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &revision];
            let answer = git.output(&args, None)?;
            if answer.status.success() {
                let id = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
                found.insert(revision, id);
            }
        }
        Ok(Answers(found))
    }
}

struct Answers(HashMap<String, String>);

impl Answers {
    fn find(&self, revision: &str) -> Option<&str> {
        self.0.get(revision).map(String::as_str)
    }

    fn commit(&self, revision: &str) -> Option<CommitId> {
        self.find(revision)?.parse().ok()
    }
}
