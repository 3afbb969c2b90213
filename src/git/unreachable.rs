//! Commits that nothing leads to any more and that came after a known one: what is left of a branch that went on after it
//! was last seen, and was deleted with its reflog.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::command::{Git, GitError};
use super::pins::NOBODY;
use crate::vocabulary::names::CommitId;

/// Of those of `heads` on which somebody went on, the last commit that did, where neither a ref nor a reflog has it. Only
/// objects that no pack has are looked at, below `objects`: new work is there until `git gc`, and to look through all would
/// take long.
///
/// # Errors
/// Where git fails.
pub fn after(git: &Git, objects: &Path, heads: &BTreeSet<CommitId>) -> Result<BTreeMap<CommitId, CommitId>, GitError> {
    let loose = loose(objects);
    if heads.is_empty() || loose.is_empty() {
        return Ok(BTreeMap::new());
    }
    let answer = git.run_with_input(["cat-file", "--batch-check=%(objectname) %(objecttype)"], loose.as_bytes())?;
    let mut commits = String::new();
    for id in String::from_utf8_lossy(&answer).lines().filter_map(|line| line.strip_suffix(" commit")) {
        // Writing to a string does not fail.
        let _ = writeln!(commits, "{id}");
    }
    if commits.is_empty() {
        return Ok(BTreeMap::new());
    }
    let args = ["log", "--no-walk=unsorted", "--no-show-signature", "--format=%H %P%x00%ce", "--stdin"];
    let answer = git.run_with_input(args, commits.as_bytes())?;
    let mut next: BTreeMap<CommitId, BTreeSet<CommitId>> = BTreeMap::new();
    let answer = String::from_utf8_lossy(&answer);
    for (line, committer) in answer.lines().filter_map(|line| line.split_once('\0')) {
        if committer == NOBODY {
            continue;
        }
        // Who merges a head into something else, as a landing does, does not go on from it.
        let mut ids = line.split(' ').map(str::parse);
        if let (Some(Ok(commit)), Some(Ok(parent))) = (ids.next(), ids.next()) {
            next.entry(parent).or_default().insert(commit);
        }
    }
    let first: BTreeSet<CommitId> = heads.iter().filter_map(|head| next.get(head)).flatten().copied().collect();
    let lost = without_a_name(git, &first)?;
    let mut after = BTreeMap::new();
    for head in heads {
        let mut at = next.get(head).into_iter().flatten().find(|commit| lost.contains(commit)).copied();
        while let Some(commit) = at {
            after.insert(*head, commit);
            at = next.get(&commit).and_then(|commits| commits.first()).copied();
        }
    }
    Ok(after)
}

/// The ids of all loose objects, a line each (gitrepository-layout(5), `objects/[0-9a-f][0-9a-f]`).
fn loose(objects: &Path) -> String {
    let mut ids = String::new();
    for folder in (0..=u8::MAX).map(|first| format!("{first:02x}")) {
        for entry in std::fs::read_dir(objects.join(&folder)).into_iter().flatten().flatten() {
            let rest = entry.file_name();
            let id = format!("{folder}{}", rest.to_string_lossy());
            if id.parse::<CommitId>().is_ok() {
                ids.push_str(&id);
                ids.push('\n');
            }
        }
    }
    ids
}

/// Those of `commits` that neither a ref nor a reflog leads to.
fn without_a_name(git: &Git, commits: &BTreeSet<CommitId>) -> Result<BTreeSet<CommitId>, GitError> {
    if commits.is_empty() {
        return Ok(BTreeSet::new());
    }
    let input: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
    let answer = git.run_with_input(["rev-list", "--stdin", "--not", "--all", "--reflog"], input.as_bytes())?;
    let found = String::from_utf8_lossy(&answer).lines().filter_map(|line| line.parse().ok()).collect();
    Ok(&found & commits)
}
