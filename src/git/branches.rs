//! The branches of the user's repository, as a person names them.

use globset::{GlobSet, GlobSetBuilder};

use super::command::{Git, GitError};
use crate::plan::globs::{GlobError, path_glob};
use crate::vocabulary::names::CommitId;

/// A branch, local or remote-tracking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// `feature/a`, or `origin/feature/a`: what git understands on the command line.
    pub name: String,
    pub head: CommitId,
    /// Not a remote's, as it was when last fetched.
    pub is_local: bool,
}

/// A pattern is no glob.
#[derive(Debug, thiserror::Error)]
#[error("{pattern:?} is no glob: {source}")]
pub struct BadGlob {
    pub pattern: String,
    source: GlobError,
}

/// Which names of branches a list of globs means: `*` stays between slashes, `**` does not.
#[derive(Debug)]
pub struct BranchGlobs {
    patterns: Vec<String>,
    set: GlobSet,
}

impl BranchGlobs {
    /// # Errors
    /// For the first pattern that is no glob.
    pub fn new(patterns: &[String]) -> Result<Self, BadGlob> {
        let bad = |pattern: &str| {
            let pattern = pattern.to_owned();
            move |source: GlobError| BadGlob { pattern, source }
        };
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(path_glob(pattern).map_err(bad(pattern))?);
        }
        let all = patterns.join(" ");
        Ok(Self { patterns: patterns.to_vec(), set: set.build().map_err(GlobError::from).map_err(bad(&all))? })
    }

    pub fn matches(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// The patterns that match none of `branches`.
    pub fn without_a_match(&self, branches: &[Branch]) -> Vec<&str> {
        let mut unmatched = vec![true; self.patterns.len()];
        for branch in branches {
            for at in self.set.matches(&branch.name) {
                unmatched[at] = false;
            }
        }
        self.patterns.iter().zip(unmatched).filter(|(_, unmatched)| *unmatched).map(|(pattern, _)| &**pattern).collect()
    }
}

/// All branches, local ones first, each group by name. Symbolic ones such as `origin/HEAD` are
/// left out: they are another branch under a second name.
///
/// # Errors
/// Where git fails.
pub fn all(repository: &Git) -> Result<Vec<Branch>, GitError> {
    let args = ["for-each-ref", "--format=%(objectname) %(symref)%00%(refname)", "refs/heads", "refs/remotes"];
    let answer = repository.run(args)?;
    let mut branches = Vec::new();
    for line in String::from_utf8_lossy(&answer).lines() {
        let unreadable = || GitError::Unreadable { command: "for-each-ref".to_owned(), why: format!("{line:?}") };
        let (id, name) = line.split_once('\0').ok_or_else(unreadable)?;
        let (id, symbolic) = id.split_once(' ').ok_or_else(unreadable)?;
        if !symbolic.is_empty() {
            continue;
        }
        let local = name.strip_prefix("refs/heads/");
        let short = local.or_else(|| name.strip_prefix("refs/remotes/")).ok_or_else(unreadable)?.to_owned();
        let head = id.parse().map_err(|_| unreadable())?;
        branches.push(Branch { name: short, head, is_local: local.is_some() });
    }
    Ok(branches)
}

/// The branch that is checked out, by its short name; `None` where HEAD is detached.
///
/// # Errors
/// Where git cannot be started.
pub fn checked_out(repository: &Git) -> Result<Option<String>, GitError> {
    // It answers with 1 where HEAD is no branch (git-symbolic-ref(1), `--quiet`).
    let answer = repository.output(&["symbolic-ref", "--quiet", "--short", "HEAD"], None)?;
    let name = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    Ok((answer.status.success() && !name.is_empty()).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_between_slashes() {
        let globs = BranchGlobs::new(&["feature/*".to_owned(), "origin/**".to_owned()]).unwrap();
        assert!(globs.matches("feature/a"));
        assert!(!globs.matches("feature/a/b"));
        assert!(globs.matches("origin/feature/a"));
        assert!(!globs.matches("main"));
    }

    #[test]
    fn a_pattern_without_a_match_is_named() {
        let head: CommitId = "1".repeat(40).parse().unwrap();
        let globs = BranchGlobs::new(&["a*".to_owned(), "b*".to_owned()]).unwrap();
        assert_eq!(globs.without_a_match(&[Branch { name: "a1".to_owned(), head, is_local: true }]), ["b*"]);
    }
}
