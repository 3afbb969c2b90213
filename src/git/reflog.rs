//! What reflogs know of branches: where one was left that is gone by now, what one was called before, and whether anything
//! was ever committed on it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::branches::Branch;
use super::command::Git;
use crate::vocabulary::names::CommitId;

/// By branch, the commit it was at when it was left last, as git-checkout(1) and git-switch(1) note it in the reflog of
/// `HEAD`. What became of it afterwards is not known here, and nothing is where there is no reflog, or no commit yet.
pub fn left_at(git: &Git) -> HashMap<String, CommitId> {
    // The newest come first, and each says where HEAD was after what it tells of.
    let answer = git.run(["log", "--walk-reflogs", "--no-show-signature", "-z", "--format=%H %gs", "HEAD"]);
    let answer = answer.unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer);
    let entries: Vec<(&str, &str)> = answer.split('\0').filter_map(|entry| entry.split_once(' ')).collect();
    let mut left_at = HashMap::new();
    for pair in entries.windows(2) {
        let ((_, said), (before, _)) = (pair[0], pair[1]);
        if let (Some(branch), Ok(head)) = (left(said), before.parse()) {
            left_at.entry(branch.to_owned()).or_insert(head);
        }
    }
    left_at
}

/// `a` of `checkout: moving from a to b`.
fn left(said: &str) -> Option<&str> {
    let (from, _) = said.strip_prefix("checkout: moving from ")?.split_once(" to ")?;
    Some(from)
}

/// By the former name of a branch, what git-branch(1) `-m` made of it last, as the reflogs of what there is and of `HEAD`
/// note it.
pub fn renamed(git: &Git) -> BTreeMap<String, String> {
    let grep = format!("--grep-reflog=^{RENAMED}");
    let args = ["log", "--walk-reflogs", "--no-show-signature", "-z", "--format=%gs", &grep, "--branches", "HEAD"];
    let answer = git.run(args).unwrap_or_default();
    let mut renamed = BTreeMap::new();
    for (from, to) in String::from_utf8_lossy(&answer).split('\0').filter_map(names) {
        renamed.entry(from.to_owned()).or_insert_with(|| to.to_owned());
    }
    renamed
}

const RENAMED: &str = "Branch: renamed refs/heads/";

/// `a` and `b` of `Branch: renamed refs/heads/a to refs/heads/b`.
fn names(said: &str) -> Option<(&str, &str)> {
    said.strip_prefix(RENAMED)?.split_once(" to refs/heads/")
}

/// Those of the local `branches` that were made at a commit that `target`, a full ref name, had at the time, and that have
/// not moved since: nothing was ever committed on them. A branch whose reflog says less is none of them.
pub fn without_commits(git: &Git, target: &str, branches: &[&Branch]) -> BTreeSet<String> {
    let mut without = BTreeSet::new();
    if branches.is_empty() {
        return without;
    }
    let mut args: Vec<String> =
        ["log", "--walk-reflogs", "--no-show-signature", "-z", "--date=unix", "--format=%gD %H %gs"]
            .map(str::to_owned)
            .to_vec();
    args.extend(branches.iter().map(|branch| format!("refs/heads/{}", branch.name)));
    args.push("--".to_owned());
    let answer = git.run(&args).unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer);
    let mut entries: BTreeMap<&str, Vec<Entry<'_>>> = BTreeMap::new();
    for (name, entry) in answer.split('\0').filter_map(entry) {
        entries.entry(name).or_default().push(entry);
    }
    for branch in branches {
        let entries = entries.remove(&*branch.name).unwrap_or_default();
        let head = branch.head.to_string();
        let made = entries.iter().find(|entry| entry.said.starts_with("branch: Created from "));
        let has_moved = entries.iter().any(|entry| entry.commit != head);
        if let Some(made) = made.filter(|_| !has_moved) {
            let target_then = format!("{target}@{{{}}}", made.time);
            if git.run(["merge-base", "--is-ancestor", &head, &target_then]).is_ok() {
                without.insert(branch.name.clone());
            }
        }
    }
    without
}

/// What a reflog says of one move.
struct Entry<'a> {
    /// Seconds since 1970.
    time: &'a str,
    commit: &'a str,
    said: &'a str,
}

/// The branch, and the entry, of `refs/heads/a@{1700000000} <commit> branch: Created from main`.
fn entry(line: &str) -> Option<(&str, Entry<'_>)> {
    let (place, rest) = line.split_once(' ')?;
    let (commit, said) = rest.split_once(' ')?;
    let (name, time) = place.strip_suffix('}')?.split_once("@{")?;
    Some((name.strip_prefix("refs/heads/").unwrap_or(name), Entry { time, commit, said }))
}

#[cfg(test)]
mod tests {
    use super::{left, names};

    #[test]
    fn a_renaming_is_read_as_git_notes_it() {
        let said = "Branch: renamed refs/heads/feature/x to refs/heads/y";
        assert_eq!(names(said), Some(("feature/x", "y")));
        assert_eq!(names("commit: renamed"), None);
    }

    #[test]
    fn what_was_left_is_read_as_git_notes_it() {
        assert_eq!(left("checkout: moving from feature/x to main"), Some("feature/x"));
        assert_eq!(left("commit: moving from a to b"), None);
        assert_eq!(left("checkout: moving"), None);
    }
}
