//! A look at some folders, where it is known that nobody had anything else in hand.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Expected, Ignored, Survey, Untracked, Walk, open_top};
use crate::git::slot::ForGit;
use crate::git::slot::paths::{below, folder_of, is_tracked, tracked_above};

/// Looks at nothing but what is directly in these folders, as everything else is as it was at the last look, when
/// `untracked` was found besides. A path that leads to one of them leads through none that changed and is not one
/// of them. Gives how many were looked at, too.
///
/// # Errors
/// As [`survey`].
pub(in crate::git::slot) fn survey_some(
    top: &Path,
    expected: Expected<'_>,
    mut folders: BTreeSet<Vec<u8>>,
    untracked: &[Untracked],
) -> Result<(Survey, usize), ForGit> {
    let top = open_top(top, &expected)?;
    let Expected { entries, left, .. } = expected;
    // What is in folders without tracked files is seen from the nearest above that has some.
    let strays = folders.iter().map(Vec::as_slice).filter(|folder| !is_tracked(entries, folder));
    let is_sure = |untracked: &&Untracked| match left.get(&untracked.path) {
        Some(Ignored::Folder) => untracked.is_folder && is_tracked(entries, folder_of(&untracked.path)),
        Some(Ignored::File) => !untracked.is_folder && is_tracked(entries, folder_of(&untracked.path)),
        Some(Ignored::Rules(_)) | None => false,
    };
    let unsure = untracked.iter().filter(|untracked| !is_sure(untracked)).map(|untracked| folder_of(&untracked.path));
    let also: Vec<Vec<u8>> = strays.chain(unsure).map(|folder| tracked_above(entries, folder).to_vec()).collect();
    folders.extend(also);

    let mut walk = Walk::of(&top, expected);
    let mut looked_at = 0;
    for folder in folders.iter().filter(|folder| is_tracked(entries, folder)) {
        looked_at += 1;
        walk.path = folder.clone();
        walk.depth = folder.iter().filter(|byte| **byte == b'/').count();
        walk.own_children(below(entries, folder))?;
    }
    let mut found = walk.found;
    found.folders.extend(expected.folders.iter().filter(|(path, _)| !folders.contains(&**path)).cloned());
    found.folders.sort_unstable_by(|l, r| l.0.cmp(&r.0));
    let still = untracked.iter().filter(is_sure).filter(|untracked| !folders.contains(folder_of(&untracked.path)));
    found.untracked.extend(still.map(|untracked| Untracked { is_known: true, ..untracked.clone() }));
    Ok((found, looked_at))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gix::ObjectId;
    use rustix::fs::CWD;

    use super::*;
    use crate::git::index::{IndexEntry, Time};
    use crate::git::objects::mode;
    use crate::git::slot::survey::stat_of;

    #[test]
    fn what_cannot_be_vouched_for_is_looked_at_from_where_something_is_tracked() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(place("dir/gone/deep")).unwrap();
        for name in ["dir/a", "dir/gone/deep/new", "dir/x", "dir/out"] {
            std::fs::write(place(name), "").unwrap();
        }
        let stat = stat_of(CWD, std::os::unix::ffi::OsStrExt::as_bytes(place("dir/a").as_os_str())).unwrap();
        let id = ObjectId::empty_blob(gix::hash::Kind::Sha1);
        let entries = [IndexEntry { path: b"dir/a"[..].into(), mode: mode::FILE, id, stat }];
        let left = BTreeMap::from([(b"dir/out".to_vec(), Ignored::File)]);
        let expected = Expected {
            entries: &entries,
            written: Time(u32::MAX, 0),
            left: &left,
            folders: &Vec::new(),
            folder: crate::git::slot::survey::tests::nature_of(folder.path()),
        };
        std::fs::set_permissions(place("dir"), std::fs::metadata(folder.path()).unwrap().permissions()).unwrap();
        let untracked = |path: &str, is_folder| Untracked { path: path.as_bytes().to_vec(), is_folder, is_known: true };
        let look = |touched: &[&str], before: &[Untracked]| {
            let touched = touched.iter().map(|folder| folder.as_bytes().to_vec()).collect();
            let (found, folders) = survey_some(folder.path(), expected, touched, before).unwrap();
            let mut found: Vec<_> =
                found.untracked.into_iter().map(|one| (String::from_utf8(one.path).unwrap(), one.is_known)).collect();
            found.sort_unstable();
            (found, folders)
        };
        let all = vec![("dir/gone".to_owned(), false), ("dir/out".to_owned(), true), ("dir/x".to_owned(), false)];
        assert_eq!(look(&[], &[untracked("dir/out", false)]), (vec![("dir/out".to_owned(), true)], 0));
        assert_eq!(look(&["dir/"], &[untracked("dir/out", false)]), (all.clone(), 1), "once");
        assert_eq!(look(&["dir/gone/deep/"], &[]), (all.clone(), 1), "a folder in which nothing is tracked");
        assert_eq!(look(&[], &[untracked("dir/gone/deep/new", false)]), (all.clone(), 1), "what is in such a folder");
        assert_eq!(look(&[], &[untracked("dir/x", false)]), (all.clone(), 1), "what was not ignored");
        assert_eq!(look(&[], &[untracked("dir/out", true)]), (all, 1), "what was a folder when it was ignored");
    }
}
