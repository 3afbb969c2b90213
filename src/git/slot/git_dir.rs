//! The `.git` that a gate finds in its slot: as if just cloned, with nothing in it but what lexpr says.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use super::folder::remove;
use super::{SlotSettings, SlotTarget};
use crate::crash;
use crate::git::command::GitError;

/// Removes what is there, whatever it is, and lays a repository that knows HEAD and the target's
/// branch alone. It has no index.
///
/// # Errors
/// Where files cannot be removed or written.
pub(super) fn lay(git_dir: &Path, settings: &SlotSettings, to: &SlotTarget) -> Result<(), GitError> {
    remove(git_dir)?;
    crash::point!("slot.switch.bare");
    let write = |name: &Path, content: &[u8]| {
        let path = git_dir.join(name);
        fs::write(&path, content).map_err(GitError::io("writing", path))
    };
    let branch = Path::new("refs/heads").join(&settings.target_branch);
    for folder in [Path::new("objects/info"), branch.parent().unwrap_or(Path::new("refs/heads"))] {
        let folder = git_dir.join(folder);
        fs::create_dir_all(&folder).map_err(GitError::io("creating", folder))?;
    }
    let mut alternates = Vec::new();
    for dir in &settings.object_dirs {
        alternates.extend(quoted(dir));
        alternates.push(b'\n');
    }
    write(Path::new("objects/info/alternates"), &alternates)?;
    write(&branch, format!("{}\n", to.base).as_bytes())?;
    let (version, extensions) = match to.commit.as_bytes().len() {
        20 => (0, ""),
        _ => (1, "[extensions]\n\tobjectFormat = sha256\n"),
    };
    let config = format!(
        "[core]\n\trepositoryformatversion = {version}\n\tbare = false\n\tfilemode = true\n\
         \tlogallrefupdates = false\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n{extensions}"
    );
    write(Path::new("config"), config.as_bytes())?;
    write(Path::new("HEAD"), format!("{}\n", to.commit).as_bytes())
}

/// An index is as good as its own modification time: git compares the contents of files that
/// are not older, and a copy that looks younger would be trusted too far.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn lay_index(git_dir: &Path, index: &[u8], modified: SystemTime) -> Result<(), GitError> {
    let path = git_dir.join("index");
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(index)?;
        file.set_modified(modified)
    };
    write().map_err(GitError::io("writing", &path))
}

/// A line of `objects/info/alternates`: quoted as C strings are, so that a line break, a leading
/// `#` or a quote in a path is no more than that.
pub(in crate::git) fn quoted(path: &Path) -> Vec<u8> {
    let mut line = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', *byte]),
            b' '..=b'~' => line.push(*byte),
            // Writing to a Vec cannot fail.
            _ => write!(line, "\\{byte:03o}").unwrap_or_default(),
        }
    }
    line.push(b'"');
    line
}
