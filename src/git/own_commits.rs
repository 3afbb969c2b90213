//! What branches bring of their own: the commits that the base has not, with their messages, and the
//! files at the root of a commit.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::command::{Git, GitError};
use crate::vocabulary::names::CommitId;

/// A commit as `git log` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCommit {
    pub id: CommitId,
    /// As UTF-8, in whatever encoding it was written.
    pub message: String,
}

/// For each of `heads` the commits that it has and neither `base` nor another of the heads that it contains has, the
/// oldest first.
///
/// # Errors
/// Where git fails or a commit is not there.
pub fn own_commits(git: &Git, base: CommitId, heads: &[CommitId]) -> Result<Vec<Vec<OwnCommit>>, GitError> {
    // From standard input: there may be more heads than arguments. Parents last, as a walk needs them.
    let args =
        ["log", "--stdin", "--no-show-signature", "-z", "--topo-order", "--encoding=UTF-8", "--format=%H %P%n%B"];
    let mut input = format!("^{base}\n");
    heads.iter().for_each(|head| input.extend([head.to_string().as_str(), "\n"]));
    let answer = git.run_with_input(args, input.as_bytes())?;
    let answer = String::from_utf8_lossy(&answer);
    let mut commits: HashMap<CommitId, (Vec<CommitId>, &str)> = HashMap::new();
    let mut places: HashMap<CommitId, usize> = HashMap::new();
    for record in answer.split('\0').filter(|record| !record.is_empty()) {
        let unreadable = || GitError::Unreadable { command: "log".to_owned(), why: format!("{record:?}") };
        let (ids, message) = record.split_once('\n').unwrap_or((record, ""));
        let ids: Result<Vec<CommitId>, _> = ids.split_whitespace().map(str::parse).collect();
        let ids = ids.map_err(|_| unreadable())?;
        let (id, parents) = ids.split_first().ok_or_else(unreadable)?;
        places.insert(*id, places.len());
        commits.insert(*id, (parents.to_vec(), message));
    }
    let stops: HashSet<CommitId> = heads.iter().copied().collect();
    let own = |head: &CommitId| {
        let (mut seen, mut open) = (HashSet::from([*head]), vec![*head]);
        let mut own = Vec::new();
        while let Some(id) = open.pop() {
            let Some((parents, message)) = commits.get(&id) else { continue };
            own.push(OwnCommit { id, message: (*message).to_owned() });
            open.extend(parents.iter().filter(|parent| !stops.contains(parent) && seen.insert(**parent)));
        }
        own.sort_by_key(|commit| std::cmp::Reverse(places.get(&commit.id).copied()));
        own
    };
    Ok(heads.iter().map(own).collect())
}

/// What those of `names` say that are files at the root of `commit`: text as UTF-8, what cannot be
/// read as such with replacements. Files of more than 256 KiB are there and say nothing.
///
/// # Errors
/// Where git fails or a commit is not there.
pub fn root_files(git: &Git, commit: CommitId, names: &[&str]) -> Result<BTreeMap<String, String>, GitError> {
    let listing = git.run(["ls-tree", "-z", "--long", &commit.to_string()])?;
    let mut files = BTreeMap::new();
    for entry in String::from_utf8_lossy(&listing).split('\0') {
        // `<mode> blob <id> <size>\t<name>`, git-ls-tree(1).
        let Some((facts, name)) = entry.split_once('\t') else { continue };
        let facts: Vec<&str> = facts.split_whitespace().collect();
        let [mode, "blob", id, size] = facts.as_slice() else { continue };
        let is_file = mode.starts_with("100");
        if !is_file || !names.contains(&name) {
            continue;
        }
        let is_small = size.parse::<u64>().is_ok_and(|size| size <= MOST_BYTES);
        let text = if is_small { git.run(["cat-file", "blob", id])? } else { Vec::new() };
        files.insert(name.to_owned(), String::from_utf8_lossy(&text).into_owned());
    }
    Ok(files)
}

/// Manifests and Makefiles are shorter; lock files, of which it is enough that they are there, are not.
const MOST_BYTES: u64 = 256 * 1024;
