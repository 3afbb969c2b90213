//! What a gate with `inputs` sees of a tree: a digest of the entries that its globs match.

use gix::ObjectId;
use globset::GlobSet;

use super::objects::{Objects, ObjectsError};
use super::shadow::ComposeError;
use crate::plan::globs::{GlobError, path_globs};
use crate::vocabulary::names::SubjectDigest;

/// Compiled `inputs` globs: matched against whole paths from the tree's root; `*` and `?` stay
/// within a folder, `**` does not.
#[derive(Debug)]
pub struct Inputs {
    globs: GlobSet,
    /// What each glob's matches all begin with; folders elsewhere are not looked into.
    prefixes: Vec<Vec<u8>>,
}

impl Inputs {
    /// # Errors
    /// Where a glob cannot be read.
    pub fn new(patterns: &[String]) -> Result<Self, GlobError> {
        let globs = path_globs(patterns)?;
        let prefixes = patterns.iter().map(|pattern| literal_prefix(pattern).as_bytes().to_vec()).collect();
        Ok(Self { globs, prefixes })
    }

    fn may_match_below(&self, folder: &[u8]) -> bool {
        self.prefixes.iter().any(|prefix| {
            let shared = prefix.len().min(folder.len());
            prefix[..shared] == folder[..shared]
        })
    }

    /// Paths, modes and ids of all entries that match, in the order of their paths' bytes, folder by
    /// folder. Submodules count as entries.
    ///
    /// # Errors
    /// Where a tree cannot be read.
    pub fn digest(&self, objects: &mut Objects, tree: ObjectId) -> Result<SubjectDigest, ComposeError> {
        let mut parts = Vec::new();
        self.collect(objects, tree, &mut Vec::new(), &mut parts)?;
        Ok(SubjectDigest::of(parts.iter().map(Vec::as_slice)))
    }

    fn collect(
        &self,
        objects: &mut Objects,
        tree: ObjectId,
        path: &mut Vec<u8>,
        parts: &mut Vec<Vec<u8>>,
    ) -> Result<(), ObjectsError> {
        use std::os::unix::ffi::OsStrExt;
        for entry in &objects.tree(tree)?.entries {
            let len = path.len();
            path.extend_from_slice(&entry.name);
            if entry.is_tree() {
                path.push(b'/');
                if self.may_match_below(path) {
                    self.collect(objects, entry.id, path, parts)?;
                }
            } else if self.globs.is_match(std::ffi::OsStr::from_bytes(path)) {
                parts.push(path.clone());
                parts.push(entry.mode.to_le_bytes().to_vec());
                parts.push(entry.id.as_slice().to_vec());
            }
            path.truncate(len);
        }
        Ok(())
    }
}

/// What stands before the first character with a meaning of its own.
fn literal_prefix(pattern: &str) -> &str {
    pattern.split(['*', '?', '[', '{', '\\']).next().unwrap_or("")
}
