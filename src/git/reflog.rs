//! Where branches were that are gone: what `HEAD`'s reflog says of leaving them.

use std::collections::HashMap;

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

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn what_was_left_is_read_as_git_notes_it() {
        assert_eq!(left("checkout: moving from feature/x to main"), Some("feature/x"));
        assert_eq!(left("commit: moving from a to b"), None);
        assert_eq!(left("checkout: moving"), None);
    }
}
