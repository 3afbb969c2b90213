//! Filters that the files of a checkout go through (gitattributes(5)), and whose they are. Those of the
//! user's own configuration make a checkout what it is to them (Git LFS), in a fresh clone, too.
//! Those of the repository's are commands of whoever made it: they are not started, and a checkout
//! that would need them is not moved.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::command::{Git, GitError, Settings, failed};

/// The filters that a repository's own configuration sets, and sets otherwise than the user's does.
#[derive(Clone, Debug, Default)]
pub struct RepositoryFilters {
    names: BTreeSet<Vec<u8>>,
    settings: Settings,
}

/// A file that goes through one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtered {
    /// Such as `lfs`.
    pub filter: Vec<u8>,
    /// From the top of the checkout.
    pub path: Vec<u8>,
}

impl RepositoryFilters {
    /// # Errors
    /// Where git fails.
    pub fn of(git: &Git) -> Result<Self, GitError> {
        let args = ["config", "--show-scope", "-z", "--get-regexp", r"^filter\..*\.(clean|smudge|process|required)$"];
        let found = git.output(&args, None)?;
        match found.status.code() {
            Some(0) => Ok(Self::read(&found.stdout)),
            // There are none.
            Some(1) => Ok(Self::default()),
            _ => Err(failed(&args, &found)),
        }
    }

    /// `scope NUL key LF value NUL` and so on; a key without a value has no LF.
    fn read(told: &[u8]) -> Self {
        let mut values: BTreeMap<&[u8], Value<'_>> = BTreeMap::new();
        let mut parts = told.split(|byte| *byte == 0);
        while let (Some(scope), Some(set)) = (parts.next(), parts.next()) {
            let (key, value) = match set.iter().position(|byte| *byte == b'\n') {
                Some(at) => (&set[..at], &set[at + 1..]),
                None => (set, &b"true"[..]),
            };
            let known = values.entry(key).or_default();
            known.counts = Some(value);
            if !matches!(scope, b"local" | b"worktree") {
                known.users = Some(value);
            }
        }
        let mut names = BTreeSet::new();
        let mut settings = Vec::new();
        for (key, Value { users, counts }) in values {
            if users != counts {
                names.extend(name_in(key).map(<[u8]>::to_vec));
                // Empty: nothing is started.
                let value = users.unwrap_or(if key.ends_with(b".required") { b"false" } else { b"" });
                settings.push((os(key), os(value)));
            }
        }
        Self { names, settings: settings.into() }
    }

    /// Their names, such as `git-crypt`.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.names.iter().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// Under which none of them is started.
    pub fn settings(&self) -> Settings {
        Settings::clone(&self.settings)
    }

    /// The first file of a commit that would go through one of them.
    ///
    /// # Errors
    /// Where git fails.
    pub fn used_in(&self, git: &Git, commit: &str) -> Result<Option<Filtered>, GitError> {
        if self.names.is_empty() {
            return Ok(None);
        }
        // git looks attributes up in an index; before 2.40 not in a commit.
        let folder = tempfile::tempdir().map_err(GitError::io("making a folder in", std::env::temp_dir()))?;
        let index = folder.path().join("index");
        let git = git.with_index(index);
        git.run(["-c", "core.splitIndex=false", "read-tree", commit])?;
        let files = git.run(["ls-files", "-z"])?;
        let told = git.run_with_input(["check-attr", "--cached", "-z", "--stdin", "filter"], &files)?;
        // `path NUL filter NUL value NUL` and so on.
        let parts: Vec<&[u8]> = told.split(|byte| *byte == 0).collect();
        let found = parts.chunks_exact(3).find(|part| self.names.contains(part[2]));
        Ok(found.map(|part| Filtered { filter: part[2].to_vec(), path: part[0].to_vec() }))
    }
}

/// What a key is set to.
#[derive(Default)]
struct Value<'a> {
    /// By the user, the machine or the caller.
    users: Option<&'a [u8]>,
    /// In the end.
    counts: Option<&'a [u8]>,
}

/// From `filter.NAME.clean`.
fn name_in(key: &[u8]) -> Option<&[u8]> {
    let rest = key.strip_prefix(b"filter.")?;
    Some(&rest[..rest.iter().rposition(|byte| *byte == b'.')?])
}

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_the_repositorys_unless_the_users_configuration_says_the_same() {
        let told = b"global\0filter.lfs.clean\ngit-lfs clean\0local\0filter.lfs.clean\ngit-lfs clean\0\
                     local\0filter.a.b=c.smudge\nx\ny\0local\0filter.a.b=c.required\0\
                     system\0filter.s.process\nold\0worktree\0filter.s.process\nnew\0\
                     local\0filter.u.clean\nx\0command\0filter.u.clean\ny\0";
        let found = RepositoryFilters::read(told);
        assert_eq!(found.names.iter().map(Vec::as_slice).collect::<Vec<_>>(), [&b"a.b=c"[..], b"s"]);
        let settings: Vec<(&str, &str)> =
            found.settings.iter().map(|(key, value)| (key.to_str().unwrap(), value.to_str().unwrap())).collect();
        let expected = [("filter.a.b=c.required", "false"), ("filter.a.b=c.smudge", ""), ("filter.s.process", "old")];
        assert_eq!(settings, expected);
    }
}
