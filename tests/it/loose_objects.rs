//! Objects that are files of their own, and then lie in a pack.

use std::path::PathBuf;

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
