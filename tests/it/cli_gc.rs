//! What a run needs survives whatever the user does to the repository's other objects meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::cli_world::World;

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

fn world() -> World {
    World::new(
        README,
        &[
            ("a", "main", &[("a", "1")]),
            ("b", "main", &[("b", "1")]),
            ("c", "b", &[("c", "1")]),
            ("d", "main", &[("d", "1")]),
        ],
    )
}

/// A plan that depends on what lands in what order; the gate `run` is the first item's.
fn plan(run: &str) -> String {
    format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 1, performance: {{batchSize: 2}}}}\ngates: [{{name: g, run: 'true'}}]\n\
         items:\n  - {{name: a, priority: 9, gates: [{{name: first, run: '{run}'}}]}}\n  - {{name: b}}\n  - {{name: c}}\n  - {{name: d, strategy: squash}}\n"
    )
}

fn undisturbed() -> String {
    let world = world();
    world.merge(&plan("true"), &["--execute"]).expect(0);
    world.main()
}

/// Makes git tell `text`, a script for the shell, of every change of refs.
fn hook(world: &World, text: &str) -> PathBuf {
    world.heed_hooks();
    let hook = world.repo().join(".git/hooks/reference-transaction");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, text).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    hook
}

fn keep_files(world: &World) -> usize {
    let pack = fs::read_dir(world.repo().join(".git/objects/pack")).unwrap();
    pack.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|name| name == "keep")).count()
}

#[test]
fn invariant_6_branches_that_are_deleted_and_pruned_in_mid_run_land_all_the_same() {
    let world = world();
    let repo = world.repo();
    let script = world.path("prune.sh");
    // A gate knows nothing of the user's repository, nor has it its git's environment.
    let text = format!(
        "set -e\nunset $(env | sed -n \"s/^\\(GIT_[A-Z_]*\\)=.*/\\1/p\")\ncd {}\ngit branch -D b c d >&2 || exit 0\n\
         git reflog expire --expire=now --all\ngit gc -q --prune=now\n",
        repo.display()
    );
    fs::write(&script, text).unwrap();
    let lost = world.git(&["commit-tree", "-m", "Nobody's", "main^{tree}"]);
    world.merge(&plan(&format!("sh {}", script.display())), &["--execute"]).expect(0);
    assert_eq!(world.main(), undisturbed());
    assert_eq!(world.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/a\nrefs/heads/main");
    let mut looked_for = world.shell(&format!("git cat-file -e {lost}"));
    assert!(!looked_for.output().unwrap().status.success(), "the gate did prune");
    world.git(&["fsck", "--strict"]);
    assert_eq!(keep_files(&world), 0);
}

#[test]
fn invariant_6_what_comes_for_a_landing_survives_a_gc_before_the_ref_moves() {
    let world = world();
    let (main, seen) = (world.main(), world.path("seen"));
    // Prepared means that refs are locked and not moved. gc itself would want to lock them, too: this
    // is what it does to objects.
    let text = format!(
        "#!/bin/sh\n[ $1 = prepared ] && grep -q ' refs/heads/main$' || exit 0\n\
         [ $(git rev-parse main) = {main} ] && ls .git/objects/pack/*.keep >> {} 2>/dev/null\n\
         git repack -qad && git prune --expire=now\n",
        seen.display()
    );
    let hook = hook(&world, &text.replace(".git/objects", &world.repo().join(".git/objects").to_string_lossy()));
    let expected = undisturbed();
    world.merge(&plan("true"), &["--execute"]).expect(0);
    fs::remove_file(hook).unwrap();
    assert_eq!(world.main(), expected);
    world.git(&["fsck", "--strict"]);
    assert_eq!(fs::read_to_string(seen).unwrap().lines().count(), 1, "the hook came before the first landing");
    assert_eq!(keep_files(&world), 0, "they are gone once the ref has moved");
}

#[test]
fn a_run_that_was_killed_while_it_landed_leaves_no_keep_file_once_it_is_resumed() {
    let world = world();
    let once = world.path("once");
    // The parent of git is lexpr.
    let text = format!(
        "#!/bin/sh\n[ $1 = prepared ] && grep -q ' refs/heads/main$' || exit 0\n[ -e {once} ] && exit 0\ntouch {once}\n\
         kill -9 $(ps -o ppid= -p $PPID)\nexit 1\n",
        once = once.display()
    );
    hook(&world, &text);
    // The hook fires at the look before the run as well.
    fs::write(&once, "").unwrap();
    let arm = format!("rm -f {}", once.display());
    let said = world.merge(&plan(&arm), &["--execute"]);
    assert_eq!(said.code, -1, "it was killed: {said:?}");
    assert_eq!(keep_files(&world), 1);
    world.lexpr(["resume"]).expect(0);
    assert_eq!((world.main(), keep_files(&world)), (undisturbed(), 0));
}
