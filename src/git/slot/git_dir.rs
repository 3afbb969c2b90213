//! The `.git` that a gate finds in its slot: as if just cloned, with nothing in it but what lexpr says.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::folder::{remove, write_over};
use super::nature::{RIGHTS, folder_rights_like};
use super::{SlotSettings, SlotTarget};
use crate::crash;
use crate::git::command::GitError;

/// A path in `.git`.
enum Part {
    Folder,
    File(Vec<u8>),
    /// A file that every switch writes over.
    Written,
}

/// What lies in `.git`, a folder before what is in it.
fn parts(settings: &SlotSettings, to: &SlotTarget) -> Vec<(PathBuf, Part)> {
    let mut alternates = Vec::new();
    for dir in &settings.object_dirs {
        alternates.extend(quoted(dir));
        alternates.push(b'\n');
    }
    let (version, extensions) = match to.commit.as_bytes().len() {
        20 => (0, ""),
        _ => (1, "[extensions]\n\tobjectFormat = sha256\n"),
    };
    let config = format!(
        "[core]\n\trepositoryformatversion = {version}\n\tbare = false\n\tfilemode = true\n\
         \tlogallrefupdates = false\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n{extensions}"
    );
    let branch = branch(settings);
    let mut parts: Vec<(PathBuf, Part)> =
        ["", "objects", "objects/info"].map(|name| (name.into(), Part::Folder)).into();
    let mut above: Vec<&Path> = branch.ancestors().skip(1).filter(|path| *path != Path::new("")).collect();
    above.reverse();
    parts.extend(above.into_iter().map(|path| (path.to_owned(), Part::Folder)));
    parts.push(("objects/info/alternates".into(), Part::File(alternates)));
    parts.push(("config".into(), Part::File(config.into_bytes())));
    parts.extend([branch, "index".into(), "HEAD".into()].map(|name| (name, Part::Written)));
    parts
}

/// The target's branch, as gates see it.
fn branch(settings: &SlotSettings) -> PathBuf {
    Path::new("refs/heads").join(&settings.target_branch)
}

/// Makes `.git` a repository that knows HEAD and the target's branch alone; only its index is still to be
/// written. It is removed, whatever it is, and laid anew, and the answer is true; unless it may stay, as it
/// is what would be laid. Then it has the rights of a file that lexpr made itself, which is named.
///
/// # Errors
/// Where files cannot be removed or written.
pub(super) fn renew(
    git_dir: &Path,
    settings: &SlotSettings,
    to: &SlotTarget,
    may_stay_like: Option<&Path>,
) -> Result<bool, GitError> {
    let parts = parts(settings, to);
    let refs = || {
        let refs = [(git_dir.join("HEAD"), to.commit), (git_dir.join(branch(settings)), to.base)];
        refs.into_iter().try_for_each(|(path, commit)| {
            write_over(&path, format!("{commit}\n").as_bytes()).map_err(GitError::io("writing", &path)).map(drop)
        })
    };
    if may_stay_like.is_some_and(|like| is_as_laid(git_dir, &parts, like).unwrap_or(false)) && refs().is_ok() {
        return Ok(false);
    }
    remove(git_dir)?;
    crash::point!("slot.switch.bare");
    for (name, part) in &parts {
        let path = git_dir.join(name);
        let laid = match part {
            Part::Folder => fs::create_dir(&path),
            Part::File(content) => fs::write(&path, content),
            Part::Written => File::create(&path).map(drop),
        };
        laid.map_err(GitError::io("writing", &path))?;
    }
    refs()?;
    Ok(true)
}

/// Whether `.git` is what would be laid, but for what is in files that are written over: every path is what
/// it shall be, with the owner and the rights that lexpr gives it, and there is no other. A file with a
/// second name is somebody's.
fn is_as_laid(git_dir: &Path, parts: &[(PathBuf, Part)], like: &Path) -> io::Result<bool> {
    let ours = fs::symlink_metadata(like)?;
    let file_rights = ours.mode() & RIGHTS;
    let folder_rights = folder_rights_like(ours.mode());
    for (name, part) in parts {
        let path = git_dir.join(name);
        let found = fs::symlink_metadata(&path)?;
        let is_ours = (found.uid(), found.gid()) == (ours.uid(), ours.gid());
        let rights = found.mode() & RIGHTS;
        let is_as_laid = match part {
            Part::Folder => {
                let below = parts.iter().filter(|(below, _)| below != name && below.parent() == Some(name)).count();
                found.is_dir() && rights == folder_rights && fs::read_dir(&path)?.count() == below
            }
            Part::File(_) | Part::Written if !found.is_file() || found.nlink() != 1 || rights != file_rights => false,
            Part::File(content) => found.len() == content.len() as u64 && fs::read(&path)? == *content,
            Part::Written => true,
        };
        if !is_ours || !is_as_laid {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An index is as good as its own modification time: git compares the contents of files that
/// are not older, and a copy that looks younger would be trusted too far.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn lay_index(git_dir: &Path, index: &[u8], modified: SystemTime) -> Result<(), GitError> {
    let path = git_dir.join("index");
    write_over(&path, index).and_then(|file| file.set_modified(modified)).map_err(GitError::io("writing", &path))
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
