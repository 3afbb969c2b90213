//! Objects that are files of their own, then lie in a pack, or in another repository.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use lexpr::git::repo::UserRepo;

use crate::git_world::{GitWorld, compose, item};

fn loose_file(world: &GitWorld, revision: &str) -> PathBuf {
    let id = world.git(["rev-parse", revision]);
    world.repo().join(".git/objects").join(&id[..2]).join(&id[2..])
}

#[test]
fn objects_that_git_packs_between_two_compositions_are_found_again() {
    let world = GitWorld::new();
    world.write("a", "a\n");
    let base = world.commit("base");
    let first = world.branch_with("first", "main", &[("first", "1\n")]);
    let second = world.branch_with("second", "main", &[("second", "2\n")]);
    let composer = world.composer("quarantine");
    let _ = compose(&composer, base, &[item(0, "first", first)]);
    world.git(["gc", "-q", "--prune=now"]);
    assert!(!loose_file(&world, "second").exists());
    let items = [item(0, "first", first), item(1, "second", second)];
    let expected = world.merge_by_git(base, &items).unwrap();
    assert_eq!(compose(&composer, base, &items).tree.to_string(), expected.tree);
}

#[test]
fn invariant_3_objects_that_are_borrowed_by_relative_paths_are_found() {
    let world = GitWorld::new();
    world.write("a", "a\n");
    let base = world.commit("base");
    let items = [
        item(0, "first", world.branch_with("first", "main", &[("first", "1\n")])),
        item(1, "second", world.branch_with("second", "main", &[("second", "2\n")])),
    ];
    let expected = world.merge_by_git(base, &items).unwrap();
    // A folder deeper each, so that a path that begins at the wrong one leads nowhere.
    let (near, far) = (world.beside("near"), world.beside("deeper/far"));
    fs::create_dir(world.beside("deeper")).unwrap();
    let lender = world.repo();
    for (borrower, of, path) in
        [(&near, &lender, "../../../repo/.git/objects"), (&far, &near, "../../../../near/.git/objects")]
    {
        world.git([
            OsStr::new("clone"),
            OsStr::new("-q"),
            OsStr::new("--shared"),
            of.as_os_str(),
            borrower.as_os_str(),
        ]);
        fs::write(borrower.join(".git/objects/info/alternates"), format!("{path}\n")).unwrap();
        let repo = UserRepo::open(borrower).unwrap();
        let folder = format!("quarantine of {}", borrower.file_name().unwrap().display());
        let composite = compose(&world.composer_of(&folder, &repo), base, &items);
        assert_eq!(composite.tree.to_string(), expected.tree, "{}", borrower.display());
    }
}
