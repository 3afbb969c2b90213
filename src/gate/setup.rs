//! When a slot has to be set up: the stamp that says what it was set up for. Running the
//! plan's setup command is the job's part.

use crate::git::command::{Config, Git, GitError};
use crate::git::slot::Slot;
use crate::plan::Setup;
use crate::plan::globs::{GlobError, path_globs};
use crate::plan::runtime::Runtime;
use crate::vocabulary::names::{SubjectDigest, TreeId};

/// It could not be told what a slot is to be set up for.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("reading the tree to see whether the setup must run again: {0}")]
    Git(#[from] GitError),
    #[error("an input of the setup is no glob: {0}")]
    Glob(#[from] GlobError),
}

/// What a slot is set up for when the setup has run on `tree`: the command, what runs it, and the files of the
/// tree (paths, modes and contents) that match its inputs. Blocks.
///
/// # Errors
/// Where the tree, which the slot must hold, cannot be read.
pub(super) fn stamp(setup: &Setup, runtime: &Runtime, slot: &Slot, tree: TreeId) -> Result<String, SetupError> {
    let mut entries = Vec::new();
    if !setup.inputs.is_empty() {
        let inputs = path_globs(&setup.inputs)?;
        let git = Git::new(slot.path().join(".git"), Config::RepositoryOnly);
        // -z: names as they are, each entry `mode type id TAB path`.
        let listed = git.run(["ls-tree", "-r", "-z", "--full-tree", &tree.to_string()])?;
        let matches = |entry: &&[u8]| {
            let path = entry.iter().position(|&byte| byte == b'\t').map(|tab| &entry[tab + 1..]);
            path.is_some_and(|path| inputs.is_match(as_path(path)))
        };
        entries = listed.split(|&byte| byte == 0).filter(matches).map(<[u8]>::to_vec).collect();
    }
    let definition = runtime.define(setup.definition);
    let parts = std::iter::once(definition.as_bytes()).chain(entries.iter().map(Vec::as_slice));
    Ok(SubjectDigest::of(parts).to_string())
}

fn as_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).as_ref()
}
