//! Landing and the user's worktrees: those that have the target checked out move along or refuse,
//! all others are left as they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lexpr::git::land::LocalLander;
use lexpr::git::refusal::LandRefusal;
use lexpr::ports::{LandOutcome, LandRequest};

use crate::land_world::{
    Entry, LINK, LandWorld, Repo, SCRIPT, SUBMODULE, expected, file, fingerprint, land, listing, refused,
};

fn before() -> Vec<Entry<'static>> {
    vec![
        file(".gitignore", "*.o\n/out/\n"),
        file("a", "one\n"),
        file("kept", "kept\n"),
        file("gone", "gone\n"),
        file("dir/b", "two\n"),
        file("dir/c", "three\n"),
        file("was-file", "x\n"),
        (LINK, b"link", b"a"),
    ]
}

fn after() -> Vec<Entry<'static>> {
    vec![
        file(".gitignore", "*.o\n/out/\n"),
        file("a", "ONE\n"),
        file("kept", "kept\n"),
        file("dir", "a file now\n"),
        file("was-file/inside", "a folder now\n"),
        file("new file/\u{4e2d}\u{6587}", "unicode\n"),
        file("kept.o", "tracked though ignored\n"),
        (SCRIPT, b"run", b"#!/bin/sh\n"),
        (LINK, b"link", b"kept"),
        ("100644", b"line\nbreak \xff \"quoted\"", b"odd\n"),
    ]
}

fn landed(outcome: LandOutcome) -> Vec<String> {
    match outcome {
        LandOutcome::Landed { moved_checkouts, pushed_to: None } => moved_checkouts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clean_checkout_moves_along() {
    let world = LandWorld::new(&before());
    world.lander().preflight(world.base).unwrap();
    let (to, outcome) = world.land(&after());
    assert_eq!(landed(outcome), [world.work_tree().display().to_string()]);
    assert_eq!(world.user.at("refs/heads/main"), to);
    assert_eq!(world.user.run(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(listing(&world.work_tree()), expected(&after()));
    assert_eq!(world.user.run(&["status", "--porcelain"]), "");
    let reflog = world.user.run(&["reflog", "show", "-1", "--format=%gs", "refs/heads/main"]);
    assert_eq!(reflog, "lexpr: land 0 items");
}

/// Linked worktrees in every state a person leaves them in, and the main one with work in it.
#[test]
fn invariant_4_no_worktree_but_the_targets_is_touched() {
    let world = LandWorld::new(&before());
    let write = |dir: &Path, name: &str, content: &str| fs::write(dir.join(name), content).unwrap();
    world.user.run(&["checkout", "-q", "-b", "mine"]);
    write(&world.work_tree(), "a", "stashed\n");
    world.user.run(&["stash"]);
    write(&world.work_tree(), "a", "modified\n");
    write(&world.work_tree(), "staged", "staged\n");
    world.user.run(&["add", "staged"]);
    write(&world.work_tree(), "run", "untracked where one lands\n");
    let linked = world.folder.path().join("linked");
    world.user.run(&["worktree", "add", "-q", "--detach", linked.to_str().unwrap()]);
    write(&linked, "kept", "modified\n");
    let target = world.folder.path().join("target\nworktree");
    world.user.run(&["worktree", "add", "-q", target.to_str().unwrap(), "main"]);

    let look = || {
        let linked_dir = world.user.dir().join("worktrees/linked");
        let refs = world.user.run(&["for-each-ref"]);
        let others: Vec<String> = refs.lines().filter(|line| !line.ends_with("/main")).map(str::to_owned).collect();
        (fingerprint(&world.work_tree(), world.user.dir()), fingerprint(&linked, &linked_dir), others)
    };
    let seen = look();
    world.lander().preflight(world.base).unwrap();
    assert_eq!(look(), seen);
    let (to, outcome) = world.land(&after());
    assert_eq!(landed(outcome), [target.display().to_string()]);
    assert_eq!(look(), seen);
    assert_eq!(world.user.at("refs/heads/main"), to);
    assert_eq!(listing(&target).len(), expected(&after()).len());
    assert_eq!(fs::read(target.join("a")).unwrap(), b"ONE\n");
}

#[test]
fn invariant_4_a_dirty_checkout_is_refused_before_anything_happens() {
    type Spoil<'a> = (&'a str, &'a str, Box<dyn Fn(&LandWorld)>);
    let write =
        |name: &'static str| move |world: &LandWorld| fs::write(world.work_tree().join(name), "mine\n").unwrap();
    let spoils: Vec<Spoil> = vec![
        ("uncommitted changes", "kept", Box::new(write("kept"))),
        ("uncommitted changes", "dir/b", Box::new(|world| fs::remove_file(world.work_tree().join("dir/b")).unwrap())),
        (
            "uncommitted changes",
            "new\\nname",
            Box::new(|world| {
                fs::write(world.work_tree().join("new\nname"), "x").unwrap();
                world.user.run(&["add", "."]);
            }),
        ),
        (
            "a merge is under way",
            "abort the",
            Box::new(|world| {
                let other = world.user.commit(&[file("other", "x\n")], &[]);
                world.user.run(&["merge", "-q", "--allow-unrelated-histories", "--no-commit", &other.to_string()]);
            }),
        ),
        (
            "a cherry-pick is under way",
            "abort the",
            Box::new(|world| {
                let other = world.user.commit(&[file("a", "conflict\n")], &[world.base]);
                let other = world.user.commit(&[file("a", "more\n")], &[other]);
                let args = ["cherry-pick", &other.to_string()];
                assert!(!world.user.git.output(&args, None).unwrap().status.success());
                world.user.run(&["reset", "-q"]);
                world.user.run(&["update-ref", "CHERRY_PICK_HEAD", &other.to_string()]);
            }),
        ),
    ];
    for (message, detail, spoil) in spoils {
        let world = LandWorld::new(&before());
        spoil(&world);
        let seen = (fingerprint(&world.work_tree(), world.user.dir()), world.user.run(&["count-objects", "-v"]));
        let refusal = world.lander().preflight(world.base).unwrap_err();
        let refusal = format!("{refusal}\n{}", refusal.advice().unwrap());
        assert!(refusal.contains(message) && refusal.contains(detail), "{refusal}");
        assert!(refusal.contains(world.work_tree().to_str().unwrap()), "{refusal}");
        let now = (fingerprint(&world.work_tree(), world.user.dir()), world.user.run(&["count-objects", "-v"]));
        assert_eq!(now, seen, "{message}");
    }
}

#[test]
fn a_rebase_or_bisection_of_the_target_in_any_worktree_is_refused() {
    let world = LandWorld::new(&before());
    let second = world.user.commit(&after(), &[world.base]);
    world.user.set("refs/heads/main", second);
    world.user.run(&["reset", "-q", "--hard"]);
    world.lander().preflight(second).unwrap();
    world.user.run(&["bisect", "start"]);
    world.user.run(&["bisect", "bad"]);
    let refusal = world.lander().preflight(second).unwrap_err().to_string();
    assert!(refusal.contains("bisection"), "{refusal}");
    world.user.run(&["bisect", "reset"]);

    world.user.run(&["checkout", "-q", "--detach"]);
    let linked = world.folder.path().join("linked");
    world.user.run(&["worktree", "add", "-q", linked.to_str().unwrap(), "main"]);
    let there = world.user.git.at(world.user.dir().join("worktrees/linked")).with_work_tree(&linked);
    let onto = world.user.commit(&[file("a", "conflict\n")], &[world.base]).to_string();
    assert!(!there.output(&["rebase", &onto], None).unwrap().status.success(), "it conflicts");
    let refusal = world.lander().preflight(second).unwrap_err().to_string();
    assert!(refusal.contains("rebase") && refusal.contains(linked.to_str().unwrap()), "{refusal}");
}

/// Each is put into the checkout after the start of the run; the landing must name it and spare it.
#[test]
fn whatever_is_in_the_way_of_a_landing_is_named_and_spared() {
    type Put<'a> = (&'a str, Box<dyn Fn(&Path)>);
    let write = |name: &'static str| {
        Box::new(move |dir: &Path| {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), "mine\n").unwrap();
        })
    };
    let puts: Vec<Put> = vec![
        ("a", write("a")),
        ("run", write("run")),
        // Ignored: git itself would overwrite these without a word.
        ("kept.o", write("kept.o")),
        ("dir/left.o", write("dir/left.o")),
        ("run/more.o", write("run/more.o")),
        ("dir/untracked", write("dir/untracked")),
        ("run/deep/untracked", write("run/deep/untracked")),
        // In the place of a folder.
        ("new file", write("new file")),
        ("new file", Box::new(|dir| symlink("out", dir.join("new file")).unwrap())),
        ("gone", write("gone")),
        ("line\\nbreak", write("line\nbreak \u{fffd}")),
    ];
    for (named, put) in puts {
        let world = LandWorld::new(&before());
        let odd = named.starts_with("line");
        let entries = if odd { vec![file("line\nbreak \u{fffd}", "theirs\n")] } else { after() };
        world.lander().preflight(world.base).unwrap();
        put(&world.work_tree());
        let seen = fingerprint(&world.work_tree(), world.user.dir());
        let files = |marks: &[(std::path::PathBuf, Vec<u8>, i64, i64)]| -> Vec<_> {
            marks.iter().filter(|mark| !mark.0.starts_with(world.user.dir())).cloned().collect()
        };
        let message = refused(world.land(&entries).1);
        assert!(message.contains(&format!(": {named}")), "{named}: {message}");
        assert!(message.lines().last().unwrap().contains(world.work_tree().to_str().unwrap()), "{message}");
        assert_eq!(world.user.at("refs/heads/main"), world.base);
        // The index may have been refreshed, nothing else.
        assert_eq!(files(&fingerprint(&world.work_tree(), world.user.dir())), files(&seen), "{named}");
    }
}

#[test]
fn changes_that_are_in_nobodys_way_stay_as_they_are() {
    let world = LandWorld::new(&before());
    let dir = world.work_tree();
    world.lander().preflight(world.base).unwrap();
    fs::write(dir.join("kept"), "modified\n").unwrap();
    fs::write(dir.join("staged"), "staged\n").unwrap();
    world.user.run(&["add", "staged"]);
    fs::write(dir.join("untracked"), "untracked\n").unwrap();
    fs::create_dir(dir.join("out")).unwrap();
    fs::write(dir.join("out/warm"), "ignored\n").unwrap();
    // Touched, not changed; and an empty folder where a file comes.
    let touched = fs::OpenOptions::new().write(true).open(dir.join("a")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::create_dir_all(dir.join("run/empty")).unwrap();
    let (to, outcome) = world.land(&after());
    assert_eq!(landed(outcome).len(), 1);
    assert_eq!(world.user.at("HEAD"), to);
    assert_eq!(world.user.run(&["status", "--porcelain"]), " M kept\nA  staged\n?? untracked");
    assert_eq!(fs::read(dir.join("out/warm")).unwrap(), b"ignored\n");
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"ONE\n");
}

#[test]
fn a_target_that_is_a_linked_worktrees_moves_there() {
    let world = LandWorld::with(&["--bare"], &before());
    let linked = world.folder.path().join("linked \u{4e2d}");
    world.user.run(&["worktree", "add", "-q", linked.to_str().unwrap(), "main"]);
    world.lander().preflight(world.base).unwrap();
    let (to, outcome) = world.land(&after());
    assert_eq!(landed(outcome), [linked.display().to_string()]);
    assert_eq!(listing(&linked), expected(&after()));
    assert_eq!(world.user.at("main"), to);
}

#[test]
fn a_worktree_that_was_deleted_is_no_hindrance_and_a_locked_one_is() {
    let world = LandWorld::with(&["--bare"], &before());
    let linked = world.folder.path().join("linked");
    world.user.run(&["worktree", "add", "-q", linked.to_str().unwrap(), "main"]);
    fs::remove_dir_all(&linked).unwrap();
    world.lander().preflight(world.base).unwrap();
    world.user.run(&["worktree", "lock", linked.to_str().unwrap()]);
    let refusal = world.lander().preflight(world.base).unwrap_err();
    assert!(matches!(refusal, LandRefusal::WorktreeMissing { .. }), "{refusal}");
}

#[test]
fn all_checkouts_of_the_target_move_along() {
    let world = LandWorld::new(&before());
    let linked = world.folder.path().join("linked");
    world.user.run(&["worktree", "add", "-q", "--force", linked.to_str().unwrap(), "main"]);
    let (_, outcome) = world.land(&after());
    assert_eq!(landed(outcome).len(), 2);
    for dir in [linked, world.work_tree()] {
        assert_eq!(listing(&dir), expected(&after()));
    }
}

#[test]
fn a_git_directory_elsewhere_is_no_working_tree() {
    let world = LandWorld::new(&before());
    let elsewhere = world.folder.path().join("elsewhere.git");
    fs::rename(world.user.dir(), &elsewhere).unwrap();
    fs::write(world.work_tree().join(".git"), format!("gitdir: {}\n", elsewhere.display())).unwrap();
    fs::write(world.quarantine.objects().join("info/alternates"), format!("{}\n", elsewhere.join("objects").display()))
        .unwrap();
    let mut settings = world.settings();
    settings.objects = elsewhere.join("objects");
    settings.common_dir = elsewhere;
    let refusal = LocalLander::new(settings.clone()).preflight(world.base).unwrap_err();
    assert!(matches!(refusal, LandRefusal::WorktreeUnknown { .. }), "{refusal}");
    settings.started_in = Some(world.work_tree());
    let lander = LocalLander::new(settings);
    lander.preflight(world.base).unwrap();
    let to = world.composite(&after());
    assert_eq!(landed(land(&lander, world.request(to)).unwrap()).len(), 1);
    assert_eq!(listing(&world.work_tree()), expected(&after()));
}

#[test]
fn a_sparse_checkout_stays_sparse() {
    let world = LandWorld::new(&[file("in/a", "1\n"), file("out/b", "1\n"), file("top", "1\n")]);
    world.user.run(&["sparse-checkout", "set", "in"]);
    assert!(!world.work_tree().join("out").exists());
    world.lander().preflight(world.base).unwrap();
    let entries = [file("in/a", "2\n"), file("in/new", "2\n"), file("out/b", "2\n"), file("out/new", "2\n")];
    assert_eq!(landed(world.land(&entries).1).len(), 1);
    assert_eq!(listing(&world.work_tree()), expected(&[file("in/a", "2\n"), file("in/new", "2\n")]));
    assert_eq!(world.user.run(&["status", "--porcelain"]), "");
}

#[test]
fn submodules_folders_are_left_alone() {
    let (one, two) = ("1".repeat(40), "2".repeat(40));
    let world = LandWorld::new(&[file("a", "1\n"), (SUBMODULE, b"sub", one.as_bytes())]);
    world.user.run(&["config", "submodule.recurse", "true"]);
    world.lander().preflight(world.base).unwrap();
    let moved = [file("a", "2\n"), (SUBMODULE, b"sub", two.as_bytes()), (SUBMODULE, b"more", one.as_bytes())];
    assert_eq!(landed(world.land(&moved).1).len(), 1);
    assert_eq!(listing(&world.work_tree()), expected(&moved));

    // One that is checked out stays where it is, and keeps nobody from landing again.
    let entries = [file(".gitmodules", "[submodule \"sub\"]\n\tpath = sub\n\turl = ./sub\n"), file("a", "1\n")];
    let world = LandWorld::new(&entries);
    let sub = Repo::init(&world.work_tree().join("sub"), &[]);
    let commit = sub.commit(&[file("inner", "1\n")], &[]);
    sub.set("refs/heads/main", commit);
    sub.run(&["reset", "-q", "--hard"]);
    world.user.run(&["submodule", "absorbgitdirs"]);
    world.user.run(&["add", "sub"]);
    world.user.run(&["commit", "-qm", "a submodule"]);
    world.user.run(&["config", "submodule.sub.active", "true"]);
    world.user.run(&["config", "submodule.recurse", "true"]);
    let with_sub = world.user.at("main");
    world.lander().preflight(with_sub).unwrap();
    let to = world.quarantine.commit(&[entries[0], (SUBMODULE, b"sub", two.as_bytes())], &[with_sub]);
    let request = LandRequest { from: with_sub, ..world.request(to) };
    assert_eq!(landed(land(&world.lander(), request).unwrap()).len(), 1);
    assert_eq!(fs::read(world.work_tree().join("sub/inner")).unwrap(), b"1\n");
    assert!(!world.work_tree().join("a").exists());
    assert_eq!(world.user.run(&["status", "--porcelain"]), " M sub");
    world.lander().preflight(to).unwrap();

    // A submodule that becomes a file: what is in its folder is the user's.
    let world = LandWorld::new(&[file("a", "1\n"), (SUBMODULE, b"sub", one.as_bytes())]);
    let sub = Repo::init(&world.work_tree().join("sub"), &[]);
    fs::write(world.work_tree().join("sub/work"), "precious\n").unwrap();
    let message = refused(world.land(&[file("a", "2\n"), file("sub", "a file\n")]).1);
    assert!(message.contains("sub/"), "{message}");
    assert!(world.work_tree().join("sub/work").exists() && sub.dir().join("HEAD").exists());
    assert_eq!(world.user.at("main"), world.base);
}

#[test]
fn a_checkout_that_cannot_follow_takes_the_landing_back() {
    let entries = [file("a", "1\n"), file("b/c", "1\n"), file("d", "1\n"), file("z", "1\n")];
    let world = LandWorld::new(&entries);
    world.lander().preflight(world.base).unwrap();
    // Longer than file systems have it, and nothing that git looks at before it writes.
    let long = "m".repeat(300);
    let lands = [file("a", "2\n"), file("b", "2\n"), file("d/e", "2\n"), file(&long, "x\n"), file("n/o", "2\n")];
    let message = refused(world.land(&lands).1);
    assert!(message.contains(&long), "{message}");
    assert_eq!(world.user.at("main"), world.base);
    assert_eq!(listing(&world.work_tree()), expected(&entries));
    assert_eq!(world.user.run(&["status", "--porcelain"]), "");
}

#[test]
fn a_checkout_in_use_by_another_git_is_refused_at_the_start_and_at_a_landing() {
    for linked in [false, true] {
        let world = LandWorld::with(if linked { &["--bare"] } else { &[] }, &before());
        let (mut dir, mut git_dir) = (world.work_tree(), world.user.dir().to_owned());
        if linked {
            dir = world.folder.path().join("linked");
            world.user.run(&["worktree", "add", "-q", dir.to_str().unwrap(), "main"]);
            git_dir = world.user.dir().join("worktrees/linked");
        }
        let lock = git_dir.join("index.lock");
        fs::write(&lock, "").unwrap();
        let refusal = world.lander().preflight(world.base).unwrap_err();
        assert!(refusal.advice().is_some_and(|advice| advice.contains("remove")), "{refusal}");
        for message in [refusal.to_string(), refused(world.land(&after()).1)] {
            assert!(message.contains(dir.to_str().unwrap()), "{message}");
            assert!(message.contains(lock.to_str().unwrap()), "{message}");
        }
        assert_eq!(world.user.at("main"), world.base);
        assert_eq!(listing(&dir), expected(&before()));
        fs::remove_file(&lock).unwrap();
        world.lander().preflight(world.base).unwrap();
    }
}
