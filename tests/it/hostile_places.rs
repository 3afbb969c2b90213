//! A repository cannot make lexpr write outside its slots and the target's checkout, nor take objects
//! from anywhere but its own store: places and pointers that lead elsewhere.

use std::fs;
use std::os::unix::fs::symlink;

use crate::cli_world::World;
use crate::hostile_world::Trapped;

const PLAN: &str = "schemaVersion: v1\ngates: [{name: g, run: 'test -e README.md'}]\nitems: [{name: a}]\n";

fn world() -> World {
    World::new(&[("README.md", "# A project\n")], &[("a", "main", &[("a", "1")])])
}

/// Somebody's folder with a file of theirs; panics when asked whether it is as it was, if it is not.
fn elsewhere(world: &World) -> impl Fn() + use<> {
    let folder = world.path("elsewhere");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("theirs"), "theirs\n").unwrap();
    move || {
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["theirs"]);
        assert_eq!(fs::read_to_string(folder.join("theirs")).unwrap(), "theirs\n");
    }
}

#[test]
fn a_working_tree_that_only_the_configuration_names_is_not_written_to() {
    let world = world();
    let is_untouched = elsewhere(&world);
    // As a repository looks that is all git directory, with an index that says that nothing is missing.
    fs::rename(world.repo(), world.path("made")).unwrap();
    fs::rename(world.path("made/.git"), world.repo()).unwrap();
    let config = "[core]\n\tbare = false\n\tworktree = ../elsewhere\n\tsparseCheckout = true\n";
    let file = world.repo().join("config");
    fs::write(&file, fs::read_to_string(&file).unwrap() + config).unwrap();
    fs::write(world.repo().join("info/sparse-checkout"), "/a\n").unwrap_or_else(|_| {
        fs::create_dir(world.repo().join("info")).unwrap();
        fs::write(world.repo().join("info/sparse-checkout"), "/a\n").unwrap();
    });
    world.git(&["update-index", "--skip-worktree", "README.md"]);
    assert_eq!(world.git(&["status", "--porcelain", "--untracked-files=no"]), "");
    let main = world.git(&["rev-parse", "main"]);
    let said = world.merge(PLAN, &["--execute"]).expect(4);
    assert!(said.stderr.contains("has no .git that leads back there"), "{}", said.stderr);
    is_untouched();
    assert_eq!(world.git(&["rev-parse", "main"]), main);
}

#[test]
fn a_linked_worktree_that_is_none_is_not_written_to() {
    let world = world();
    let is_untouched = elsewhere(&world);
    world.git(&["checkout", "-q", "--detach"]);
    world.git(&["worktree", "add", "-q", "../linked", "main"]);
    let gitdir = world.repo().join(".git/worktrees/linked/gitdir");
    let other = world.path("elsewhere");
    fs::write(&gitdir, format!("{}/.git\n", other.display())).unwrap();
    world.merge(PLAN, &["--execute"]).expect(0);
    is_untouched();

    // A repository of somebody's that has files of the same names.
    let victim = World::new(&[("README.md", "# Theirs\n")], &[]);
    fs::write(&gitdir, format!("{}/.git\n", victim.repo().display())).unwrap();
    let main = world.main();
    world.git(&["update-ref", "refs/heads/main", "main~1"]);
    world.merge(PLAN, &["--execute"]).expect(0);
    assert_eq!(world.main(), main);
    assert_eq!(victim.git(&["status", "--porcelain"]), "");
    assert_eq!(victim.files_on_main(), ["README.md"]);
    assert!(!victim.repo().join("a").exists());
}

#[test]
fn a_link_in_the_checkout_is_not_written_through() {
    let world = world();
    let is_untouched = elsewhere(&world);
    // Where an item brings a folder somebody has put a link.
    let plan = "schemaVersion: v1\nitems: [{name: b}]\n";
    world.git(&["checkout", "-q", "-b", "b"]);
    fs::create_dir(world.repo().join("folder")).unwrap();
    world.write("folder/theirs", "mine\n");
    world.git(&["add", "."]);
    world.git(&["commit", "-qm", "A folder"]);
    world.git(&["checkout", "-q", "main"]);
    symlink(world.path("elsewhere"), world.repo().join("folder")).unwrap();
    let said = world.merge(plan, &["--execute"]).expect(4);
    assert!(said.stderr.contains("folder"), "{}", said.stderr);
    is_untouched();
}

#[test]
fn replaced_and_grafted_commits_are_what_others_have_of_them() {
    let world = world();
    let honest = world.git(&["commit-tree", "-p", "main", "-m", "Same", "a^{tree}"]);
    world.write("evil", "1");
    world.git(&["add", "evil"]);
    let evil = world.git(&["write-tree"]);
    world.git(&["reset", "-q", "--hard"]);
    let evil = world.git(&["commit-tree", "-p", "main", "-m", "Evil", &evil]);
    world.git(&["branch", "-q", "same", &honest]);
    world.git(&["replace", "a", &evil]);
    let tree = world.git(&["rev-parse", "main^{tree}"]);
    world.git(&["replace", "main", &evil]);
    fs::create_dir_all(world.repo().join(".git/info")).unwrap();
    fs::write(world.repo().join(".git/info/grafts"), format!("{honest}\n")).unwrap();
    world.git(&["checkout", "-q", "--detach"]);
    let plan = "schemaVersion: v1\ngates: [{name: g, run: 'test ! -e evil'}]\nitems: [{name: a}]\n";
    world.merge(plan, &[]).expect(0);
    world.merge(plan, &["--execute"]).expect(0);
    let run = crate::cli_runs::runs(&world)[0]["run"].as_str().unwrap().to_owned();
    let journal = world.repo().join(".git/lexpr/runs").join(run).join("journal.jsonl");
    assert!(fs::read_to_string(journal).unwrap().contains(&format!("\"baseTree\":\"{tree}\"")));
    let files = world.git(&["--no-replace-objects", "ls-tree", "--name-only", "main"]);
    assert_eq!(files, "README.md\na");
    // Has no history for who heeds grafts; its change is there already for who does not.
    world.merge("schemaVersion: v1\nitems: [{name: same}]\n", &["--execute"]).expect(0);
}

#[test]
fn an_object_that_is_missing_is_fetched_from_nowhere() {
    for key in ["remote.evil.promisor", "remote.evil.partialclonefilter", "extensions.partialClone"] {
        let trapped = Trapped::new(world());
        let fetch = trapped.command("fetch");
        trapped.set("remote.evil.url", &format!("ext::{fetch}"));
        trapped.set("core.repositoryFormatVersion", "1");
        trapped.set(key, if key.ends_with("promisor") { "true" } else { "evil" });
        let blob = trapped.world.git(&["-c", "core.hooksPath=/dev/null", "rev-parse", "a:a"]);
        fs::remove_file(trapped.world.repo().join(".git/objects").join(&blob[..2]).join(&blob[2..])).unwrap_or(());
        trapped.marks();
        for args in [&[][..], &["--execute"]] {
            let said = trapped.world.merge(PLAN, args).expect(2);
            assert!(said.stderr.contains("partial clone"), "{}", said.stderr);
        }
        trapped.nothing_was_started(key);
    }
}
