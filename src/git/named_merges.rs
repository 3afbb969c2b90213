//! Merges whose messages say which branch they brought: what a history has to say of a branch that is no more.

use std::collections::HashMap;

use super::command::{Git, GitError};
use crate::vocabulary::names::CommitId;

/// A merge that names a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedMerge {
    pub commit: CommitId,
    /// Of its committer: `2026-11-26`.
    pub date: String,
}

/// All branches that merges in the history of `tip` name, each with the newest that does; remote-tracking ones without
/// their remote.
///
/// # Errors
/// Where git fails or the commit is not there.
pub fn named_merges(git: &Git, tip: CommitId) -> Result<HashMap<String, NamedMerge>, GitError> {
    let args =
        ["log", "--merges", "--no-show-signature", "-z", "--encoding=UTF-8", "--date=short", "--format=%H %cd %s"];
    let answer = git.run(args.into_iter().chain([tip.to_string().as_str()]))?;
    let mut found = HashMap::new();
    for record in String::from_utf8_lossy(&answer).split('\0').filter(|record| !record.is_empty()) {
        let unreadable = || GitError::Unreadable { command: "log".to_owned(), why: format!("{record:?}") };
        let [commit, date, subject] = record.splitn(3, ' ').collect::<Vec<_>>().try_into().map_err(|_| unreadable())?;
        let merge = NamedMerge { commit: commit.parse().map_err(|_| unreadable())?, date: date.to_owned() };
        for branch in branches(subject) {
            found.entry(branch.to_owned()).or_insert_with(|| merge.clone());
        }
    }
    Ok(found)
}

/// The branches that the subject of a merge says it brought, as git (git-fmt-merge-msg(1)), forges and lexpr write it.
fn branches(subject: &str) -> Vec<&str> {
    let Some(what) = subject.strip_prefix("Merge ") else { return Vec::new() };
    if let Some(list) = what.strip_prefix("branch ").or_else(|| what.strip_prefix("branches ")) {
        // `'a', 'b' and 'c' into d`
        let list = list.split(" into ").next().unwrap_or_default();
        return list.split('\'').skip(1).step_by(2).collect();
    }
    if let Some(list) = what.strip_prefix("remote-tracking branch ") {
        let name = list.split('\'').nth(1).and_then(|name| name.split_once('/'));
        return name.map(|(_, branch)| branch).into_iter().collect();
    }
    if let Some(request) = what.strip_prefix("pull request ") {
        let name = request.split_once(" from ").and_then(|(_, from)| from.split_once('/'));
        return name.map(|(_, branch)| branch).into_iter().collect();
    }
    vec![what.split_once(": ").map_or(what, |(branch, _)| branch)]
}

#[cfg(test)]
mod tests {
    use super::branches;

    #[test]
    fn what_a_merge_says_it_brought_is_read_as_git_forges_and_lexpr_write_it() {
        assert_eq!(branches("Merge branch 'feature/x'"), ["feature/x"]);
        assert_eq!(branches("Merge branch 'feature/x' into 'main'"), ["feature/x"]);
        assert_eq!(branches("Merge branches 'a', 'b' and 'c' into d"), ["a", "b", "c"]);
        assert_eq!(branches("Merge remote-tracking branch 'origin/feature/x'"), ["feature/x"]);
        assert_eq!(branches("Merge pull request #12 from ann/feature/x"), ["feature/x"]);
        assert_eq!(branches("Merge feature/x: Make it: so"), ["feature/x"]);
        assert_eq!(branches("Merge feature/x"), ["feature/x"]);
        assert_eq!(branches("Merged feature/x"), [""; 0]);
        assert_eq!(branches("Revert \"Merge branch 'feature/x'\""), [""; 0]);
    }
}
