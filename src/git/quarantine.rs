//! A bare repository of lexpr's own in which every composite is made. It reads the user's objects
//! through alternates; what is written stays in it until a landing takes it over. It holds no refs
//! and no configuration but its own.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::odb::alternate;

use super::command::{Config, Git, GitError};
use super::objects::ObjectStore;
use super::repo::{ObjectFormat, UserRepo};
use super::version::GitVersion;
use crate::crash;

/// The folder of one quarantine. Whoever gave the folder removes it.
#[derive(Clone, Debug)]
pub struct Quarantine {
    git: Git,
    version: GitVersion,
    store: ObjectStore,
}

impl Quarantine {
    /// Makes the quarantine, or opens the one that is there already with all it holds.
    ///
    /// # Errors
    /// Where its files cannot be written.
    pub fn create(folder: &Path, user: &UserRepo) -> Result<Self, GitError> {
        let write = |path: PathBuf, content: &[u8]| fs::write(&path, content).map_err(GitError::io("writing", path));
        for needed in ["objects/info", "objects/pack", "refs/heads"] {
            let path = folder.join(needed);
            fs::create_dir_all(&path).map_err(GitError::io("making folder", path))?;
        }
        let mut alternates = Vec::new();
        for objects in lenders(user.objects()) {
            alternates.extend(line_of(&objects));
            alternates.push(b'\n');
        }
        write(folder.join("objects/info/alternates"), &alternates)?;
        crash::point!("composites.create.half");
        write(folder.join("config"), config(user.object_format()).as_bytes())?;
        // Points to a branch that is never made: git takes a folder without HEAD for no repository.
        write(folder.join("HEAD"), b"ref: refs/heads/quarantine\n")?;
        crash::point!("composites.create.after");
        let store =
            ObjectStore::open(folder).map_err(|error| GitError::io("opening", folder)(std::io::Error::other(error)))?;
        Ok(Self { git: Git::new(folder, Config::RepositoryOnly), version: user.version(), store })
    }

    /// git in the quarantine, with no configuration but the quarantine's.
    pub fn git(&self) -> &Git {
        &self.git
    }

    pub fn folder(&self) -> &Path {
        self.git.git_dir()
    }

    /// All that is in it, and through it the user's objects.
    pub fn store(&self) -> &ObjectStore {
        &self.store
    }

    /// What a slot names as its alternate to see every composite and, through it, the user's objects.
    pub fn objects(&self) -> PathBuf {
        self.folder().join("objects")
    }

    pub fn version(&self) -> GitVersion {
        self.version
    }
}

fn config(format: ObjectFormat) -> String {
    // gc.auto: nothing here is referenced, and all of it is needed.
    match format {
        ObjectFormat::Sha1 => "[core]\n\trepositoryFormatVersion = 0\n\tbare = true\n[gc]\n\tauto = 0\n".to_owned(),
        ObjectFormat::Sha256 => {
            "[core]\n\trepositoryFormatVersion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = sha256\n\
             [gc]\n\tauto = 0\n"
                .to_owned()
        }
    }
}

/// The folder of a repository's objects, and all that it borrows from. Each is named, as a relative path in one of them begins
/// there (gitrepository-layout(5)), and gix begins it at the folder that it was asked to open.
fn lenders(objects: &Path) -> Vec<PathBuf> {
    let mut all = vec![objects.to_owned()];
    let mut at = 0;
    while let Some(folder) = all.get(at).cloned() {
        at += 1;
        let named = fs::read(folder.join("info/alternates")).unwrap_or_default();
        for lender in alternate::parse(&named).unwrap_or_default() {
            // As git does, one that is not there is passed over.
            let Ok(lender) = folder.join(lender).canonicalize() else { continue };
            if !all.contains(&lender) {
                all.push(lender);
            }
        }
    }
    all
}

/// A line of `objects/info/alternates`: as it is or, where git would read it otherwise, quoted like
/// a string in C (gitrepository-layout(5)).
fn line_of(objects: &Path) -> Vec<u8> {
    let path = objects.as_os_str().as_bytes();
    if !path.contains(&b'\n') && !path.starts_with(b"\"") && !path.starts_with(b"#") {
        return path.to_vec();
    }
    let mut quoted = vec![b'"'];
    for &byte in path {
        match byte {
            b'\n' => quoted.extend_from_slice(b"\\n"),
            b'"' | b'\\' => quoted.extend_from_slice(&[b'\\', byte]),
            _ => quoted.push(byte),
        }
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_git_would_misread_are_quoted() {
        assert_eq!(line_of(Path::new("/a b/\"c\"\\/objects")), b"/a b/\"c\"\\/objects");
        assert_eq!(line_of(Path::new("/a\nb/\"c\"\\")), b"\"/a\\nb/\\\"c\\\"\\\\\"");
    }
}
