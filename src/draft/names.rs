//! Which branch somebody means who writes `feature/a`, `#12` or `PR-12`, and what the item of a branch is called.

use std::borrow::Cow;

use crate::plan::check::name_fault;
use crate::plan::file::MAX_NAME_BYTES;

/// What a word means among some branches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// The position of the branch.
    Branch(usize),
    /// Several of them may be meant: their positions.
    Several(Vec<usize>),
    Nothing,
}

/// What `word` means among `branches`, names such as `feature/a` or `origin/feature/a`: a name as it is; without the
/// remote that it begins with; or, for the number of a request, the one branch that has the number in its name.
pub fn meant(word: &str, branches: &[&str]) -> Meant {
    if let Some(at) = branches.iter().position(|branch| *branch == word) {
        return Meant::Branch(at);
    }
    let on_remotes = all(branches, |branch| branch.split_once('/').is_some_and(|(_, name)| name == word));
    if !on_remotes.is_empty() {
        return one_of(on_remotes);
    }
    let Some(number) = request_number(word) else { return Meant::Nothing };
    let named_for_it = all(branches, |branch| is_named_for(branch, number));
    one_of(if named_for_it.is_empty() { all(branches, |branch| has_number(branch, number)) } else { named_for_it })
}

/// Whether a word is written as a request's number is, so that it names nothing else.
pub fn is_request(word: &str) -> bool {
    request_number(word).is_some()
}

fn all(branches: &[&str], is_meant: impl Fn(&str) -> bool) -> Vec<usize> {
    branches.iter().enumerate().filter(|(_, branch)| is_meant(branch)).map(|(at, _)| at).collect()
}

fn one_of(found: Vec<usize>) -> Meant {
    match found.as_slice() {
        [] => Meant::Nothing,
        [at] => Meant::Branch(*at),
        _ => Meant::Several(found),
    }
}

/// What stands before the number of a request: GitHub's and Gitea's `#`, GitLab's `!`, and what people write.
const BEFORE_A_NUMBER: [&str; 7] = ["#", "!", "pr-", "pr#", "gh-", "mr-", "pr/"];

/// What stands before the number in the address of a request.
const IN_AN_ADDRESS: [&str; 3] = ["/pull/", "/pulls/", "/merge_requests/"];

fn request_number(word: &str) -> Option<&str> {
    let lower = word.to_ascii_lowercase();
    let before = BEFORE_A_NUMBER.iter().find(|before| lower.starts_with(**before)).map(|before| before.len());
    let is_address = lower.starts_with("https://") || lower.starts_with("http://");
    let in_address =
        || IN_AN_ADDRESS.iter().find_map(|part| lower.find(part).map(|at| at + part.len())).filter(|_| is_address);
    let number = word.get(before.or_else(in_address)?..)?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

/// `pr-12`, `pull/12/head`, `fork/mr_12`: a name that says nothing but the number.
fn is_named_for(branch: &str, number: &str) -> bool {
    let lower = branch.to_ascii_lowercase();
    let name = lower.strip_suffix("/head").or_else(|| lower.strip_suffix("/merge")).unwrap_or(&lower);
    let Some(before) = name.strip_suffix(number) else { return false };
    let Some(word) = before.strip_suffix(['-', '_', '/', '#']) else { return false };
    matches!(word.rsplit('/').next(), Some("pr" | "pull" | "pulls" | "mr" | "gh" | "merge-requests"))
}

/// `12-fix-login`, `feature/12_x`: a name in which the number is a word.
fn has_number(branch: &str, number: &str) -> bool {
    branch.split(['/', '-', '_', '#', '.']).any(|word| word == number)
}

/// What the item of a branch is called: as the branch is, or, where that is too long for a name, its beginning and a digest
/// of the whole, whatever other branches there are.
pub fn item_name(branch: &str) -> Cow<'_, str> {
    if name_fault(branch).is_none() {
        return Cow::Borrowed(branch);
    }
    let digest = &blake3::hash(branch.as_bytes()).to_hex()[..DIGEST_DIGITS];
    let room = MAX_NAME_BYTES - DIGEST_DIGITS - 1;
    let beginning = branch.char_indices().take_while(|(at, c)| at + c.len_utf8() <= room).map(|(_, c)| c);
    Cow::Owned(format!("{}-{digest}", beginning.collect::<String>()))
}

/// Enough that no two branches of a repository share them.
const DIGEST_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_too_long_for_a_name_gets_one_of_its_own() {
        assert_eq!(item_name("feature/a"), "feature/a");
        let long = |last: &str| format!("{}{last}", "é".repeat(120));
        let (a, b) = (long("a"), long("b"));
        assert!(name_fault(&a).is_some() && name_fault(&item_name(&a)).is_none(), "{}", item_name(&a));
        assert_ne!(item_name(&a), item_name(&b));
        assert_eq!(item_name(&item_name(&a)), item_name(&a), "a name stays");
    }

    #[test]
    fn a_name_means_itself_before_anything_else() {
        assert_eq!(meant("a", &["origin/a", "a"]), Meant::Branch(1));
        assert_eq!(meant("a", &["origin/a", "b"]), Meant::Branch(0));
        assert_eq!(meant("feature/a", &["origin/feature/a", "x"]), Meant::Branch(0));
        assert_eq!(meant("a", &["origin/a", "fork/a"]), Meant::Several(vec![0, 1]));
        assert_eq!(meant("#1", &["#1", "pr-1"]), Meant::Branch(0));
        assert_eq!(meant("b", &["a"]), Meant::Nothing);
    }

    #[test]
    fn a_number_means_the_branch_that_is_named_for_it() {
        let branches = ["pr-1", "pr-12", "feature/12-login", "fix-13", "a/14", "b_14"];
        assert_eq!(meant("#12", &branches), Meant::Branch(1));
        assert_eq!(meant("PR-13", &branches), Meant::Branch(3));
        assert_eq!(meant("!14", &branches), Meant::Several(vec![4, 5]));
        assert_eq!(meant("#1", &branches), Meant::Branch(0));
        assert_eq!(meant("#2", &branches), Meant::Nothing);
        assert_eq!(meant("12", &branches), Meant::Nothing, "a bare number may be anything");
        assert_eq!(meant("#12x", &branches), Meant::Nothing);
        assert_eq!(meant("https://github.com/o/r/pull/13", &branches), Meant::Branch(3));
        assert_eq!(meant("https://gitlab.com/o/r/-/merge_requests/12", &branches), Meant::Branch(1));
        assert_eq!(meant("#7", &["upstream/pull/7/head"]), Meant::Branch(0));
    }

    #[test]
    fn a_request_is_told_from_a_word() {
        assert!(
            is_request("#12") && is_request("gh-3") && !is_request("python") && !is_request("#") && !is_request("é")
        );
    }
}
