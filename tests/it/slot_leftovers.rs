//! Slots: what a gate left besides tracked content, what of it stays warm, and what reaches nobody.
#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use lexpr::git::slot::{Clean, Slot, SwitchedBy};
use rustix::fs::FileType;

use crate::land_world::{Repo, SCRIPT, expected, file, listing};
use crate::slot_world::{KEEP, World, first_tree, gate_git, second_tree, seen_to_keep_times};

#[test]
fn ignored_files_stay_unless_they_are_asked_to_go() {
    let world = World::new();
    let (first, second) = (world.commit(&first_tree()), world.commit(&second_tree()));
    let mut slot = world.pool.take().unwrap();
    let ignored = ["x.o", "out/build/y"];
    slot.switch_to(&first, KEEP).unwrap();
    fs::create_dir_all(slot.path().join("out/build")).unwrap();
    for name in ignored {
        fs::write(slot.path().join(name), "warm").unwrap();
    }
    slot.set_setup_stamp(Some("npm ci")).unwrap();
    slot.switch_to(&second, KEEP).unwrap();
    assert!(ignored.iter().all(|name| slot.path().join(name).exists()));
    assert_eq!(slot.setup_stamp().as_deref(), Some("npm ci"));
    drop(slot);

    let mut slot = world.pool.take().unwrap();
    assert_eq!(slot.setup_stamp().as_deref(), Some("npm ci"), "a slot stays set up from run to run");
    slot.switch_to(&first, Clean::IgnoredToo).unwrap();
    assert_eq!(listing(slot.path()), expected(&first_tree()));
    assert_eq!(slot.setup_stamp(), None, "what the setup made may be gone");
}

#[test]
fn files_that_are_ignored_no_more_go() {
    let world = World::new();
    let ignoring = world.commit(&[file(".gitignore", "out/\n"), file("a", "1\n")]);
    let not_ignoring = [file("a", "1\n")];
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&ignoring, KEEP).unwrap();
    fs::create_dir(slot.path().join("out")).unwrap();
    fs::write(slot.path().join("out/x"), "x").unwrap();
    slot.switch_to(&world.commit(&not_ignoring), KEEP).unwrap();
    assert_eq!(listing(slot.path()), expected(&not_ignoring));
}

/// Everything in a working tree but `.git`, with its rights, its owner and group, how many names it has, and what was attached to it.
fn natures(folder: &Path) -> Vec<(std::path::PathBuf, [u32; 3], u64, bool)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let names = if meta.is_dir() { 1 } else { meta.nlink() };
        let attached = !meta.is_symlink() && rustix::fs::getxattr(&path, "user.lexpr", &mut [0; 8][..]).is_ok();
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            open.retain(|path| *path != folder.join(".git"));
        }
        found.push((
            path.strip_prefix(folder).unwrap().to_owned(),
            [meta.mode(), meta.uid(), meta.gid()],
            names,
            attached,
        ));
    }
    found.sort();
    found
}

#[test]
fn what_a_gate_did_besides_content_reaches_nobody_whoever_makes_the_switch() {
    let of = |converts: &'static str, content: &'static str| {
        vec![
            file(".gitattributes", converts),
            file("deep/inner/a", "1\n"),
            file("src/b", content),
            (SCRIPT, b"src/run", b"#!/bin/sh\n"),
        ]
    };
    type Deed = (&'static str, fn(&Path));
    fn rights_of(top: &Path, names: &[&str], mode: u32) {
        for name in names {
            fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let attach = |path: &Path| {
        rustix::fs::setxattr(path, "user.lexpr", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    };
    let mut deeds: Vec<Deed> = vec![
        ("folders nobody may write to", |top| rights_of(top, &["src", "deep/inner", "deep"], 0o555)),
        ("folders everybody may write to", |top| rights_of(top, &["src", "deep", ""], 0o777)),
        ("a folder nobody may look into", |top| rights_of(top, &["src"], 0o000)),
        ("folders that hand on their group", |top| rights_of(top, &["src", "deep", ""], 0o2755)),
        ("folders and files of another owner", |top| {
            // Nobody else can give something away.
            if rustix::process::geteuid().is_root() {
                for name in ["", ".git", ".git/HEAD", "deep", "deep/inner", "src", "src/b"] {
                    chown(top.join(name), Some(4711), Some(4712)).unwrap();
                }
            }
        }),
        ("files nobody may write to", |top| rights_of(top, &["src/b", "src/run"], 0o444)),
        ("a file for its owner alone", |top| rights_of(top, &["deep/inner/a"], 0o600)),
        ("a second name", |top| fs::hard_link(top.join("src/b"), top.join("../kept")).unwrap()),
        ("a repository around a folder without files of its own", |top| drop(Repo::init(&top.join("deep"), &[]))),
        ("rules that hide themselves and more", |top| {
            fs::write(top.join("src/.gitignore"), "*\n").unwrap();
            fs::write(top.join("src/conftest.py"), "evil\n").unwrap();
        }),
        ("the same at the top", |top| {
            fs::write(top.join(".gitignore"), "*\n").unwrap();
            fs::write(top.join("conftest.py"), "evil\n").unwrap();
        }),
    ];
    deeds.push(("pipes and sockets, which git does not see", |top| {
        fs::create_dir(top.join("made")).unwrap();
        for place in ["deep/inner/p", "deep/p", "src/p", "p", "made/p"] {
            special(&top.join(place));
        }
        fs::remove_file(top.join("src/b")).unwrap();
        special(&top.join("src/b"));
    }));
    deeds.push(("nothing", |_| ()));
    for (converts, by_git) in [("*.bat text\n", false), ("*.bat eol=crlf\n", true)] {
        let world = World::new();
        let trees = [of(converts, "one\n"), of(converts, "two\n")];
        let targets = trees.each_ref().map(|tree| world.commit(tree));
        let mut slot = world.pool.take().unwrap();
        slot.switch_to(&targets[0], KEEP).unwrap();
        let new = natures(slot.path());
        let git_dir = slot.path().join(".git");
        let owners =
            || ["", "HEAD"].map(|name| fs::metadata(git_dir.join(name)).map(|it| (it.uid(), it.gid())).unwrap());
        let (ours, mut at) = (owners(), 0);
        let mut after = |slot: &mut Slot, deed: &str| {
            at = 1 - at;
            slot.switch_to(&targets[at], KEEP).unwrap();
            assert_eq!(natures(slot.path()), new, "{deed}");
            assert_eq!(owners(), ours, "{deed}");
            assert_eq!(listing(slot.path()), expected(&trees[at]), "{deed}");
        };
        for (name, deed) in &deeds {
            deed(slot.path());
            after(&mut slot, name);
            let _ = fs::remove_file(slot.path().join("../kept"));
        }
        for name in ["src", "src/b", "deep/inner/a"] {
            attach(&slot.path().join(name));
            after(&mut slot, &format!("something attached to {name}"));
        }
        assert_eq!(matches!(slot.switched_by(), Some(SwitchedBy::Git(_))), by_git, "{:?}", slot.switched_by());
    }
}

/// A pipe, and beside it a socket.
fn special(path: &Path) {
    for (kind, path) in [(FileType::Fifo, path.to_owned()), (FileType::Socket, path.with_extension("sock"))] {
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o666.into(), 0).unwrap();
    }
}

#[test]
fn invariant_1_a_pipe_or_a_socket_that_a_gate_left_is_gone_however_its_name_is_ignored() {
    let world = World::new();
    let of = |converts: &'static str, content: &'static str| {
        world.commit(&[file(".gitattributes", converts), file(".gitignore", "*.o\n*.sock\n"), file("a", content)])
    };
    for (converts, by_git) in [("*.bat text\n", false), ("*.bat eol=crlf\n", true)] {
        let (first, second) = (of(converts, "1\n"), of(converts, "2\n"));
        let mut slot = world.pool.take().unwrap();
        slot.switch_to(&first, Clean::IgnoredToo).unwrap();
        let inside = |name: &str| slot.path().join(name);
        let (warm, left) = ([inside("x.o"), inside("made/y.o")], [inside("p"), inside("made/p"), inside("made/q.o")]);
        fs::create_dir(inside("made")).unwrap();
        warm.iter().for_each(|path| fs::write(path, "warm").unwrap());
        // Twice: what is left to be found by a cleaning, and where it is known what is ignored.
        for to in [second, first] {
            left.iter().for_each(|path| special(path));
            slot.switch_to(&to, KEEP).unwrap();
            assert_eq!(matches!(slot.switched_by(), Some(SwitchedBy::Git(_))), by_git, "{:?}", slot.switched_by());
            assert!(warm.iter().all(|path| path.exists()));
            for path in &left {
                assert!(path.symlink_metadata().is_err(), "{}", path.display());
                assert!(path.with_extension("sock").symlink_metadata().is_err(), "{}", path.display());
            }
        }
        fs::remove_file(&warm[0]).unwrap();
        special(&warm[0]);
        slot.switch_to(&second, KEEP).unwrap();
        assert!(warm[0].symlink_metadata().is_err(), "what was an ignored file");
    }
}

/// Beside tracked files in a folder that is ignored, and in one that is tracked from now on. git would call the files
/// changed, or not see others.
#[test]
fn invariant_1_what_git_would_heed_goes_however_its_name_is_ignored() {
    let world = World::new();
    let rules = file(".gitignore", "*.d\nnew/.git*\n");
    let first = [rules, file("a", "1\n"), file("x.d/lines", "crlf\r\n")];
    let second = [rules, file("a", "2\n"), file("x.d/lines", "crlf\r\n")];
    let third = [&second[..], &[file("new/deep/lines", "crlf\r\n")]].concat();
    let targets = [&first[..], &second, &third].map(|entries| world.commit(entries));
    for (heeded, content) in [(".gitattributes", "* text eol=crlf\n"), (".gitignore", "*\n")] {
        let mut slot = world.pool.take().unwrap();
        slot.switch_to(&targets[0], Clean::IgnoredToo).unwrap();
        fs::write(slot.path().join("x.d").join(heeded), content).unwrap();
        fs::create_dir(slot.path().join("new")).unwrap();
        fs::write(slot.path().join("new").join(heeded), content).unwrap();
        for (to, entries) in [(targets[1], second.to_vec()), (targets[2], third.clone())] {
            slot.switch_to(&to, KEEP).unwrap();
            let mut found = listing(slot.path());
            if to.tree == targets[1].tree {
                assert!(found.remove(format!("new/{heeded}").as_bytes()).is_some(), "nothing there is tracked");
            }
            assert_eq!(found, expected(&entries), "{heeded}, {:?}", slot.switched_by());
            assert_eq!(gate_git(&slot, &["status", "--porcelain"]), "");
        }
    }
}

/// What tools make for themselves, such as `.venv/.gitignore`, hides their own folder, and keeps it warm.
#[test]
fn a_folder_that_ignores_itself_stays_where_nothing_in_it_is_tracked() {
    let world = World::new();
    let (first, second) = (world.commit(&[file("a", "1\n")]), world.commit(&[file("a", "2\n")]));
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    fs::create_dir(slot.path().join(".venv")).unwrap();
    fs::write(slot.path().join(".venv/.gitignore"), "*\n").unwrap();
    fs::write(slot.path().join(".venv/warm"), "x").unwrap();
    for to in [second, first] {
        slot.switch_to(&to, KEEP).unwrap();
        assert!(slot.path().join(".venv/warm").exists());
    }
}

/// It was ignored, and nothing was there when the rules changed.
#[test]
fn invariant_1_what_was_ignored_once_is_not_taken_for_ignored_under_other_rules() {
    let world = World::new();
    let first = world.commit(&[file(".gitignore", "*.o\n"), file("a", "1\n")]);
    let second = world.commit(&[file(".gitignore", "*.x\n"), file("a", "1\n")]);
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    let built = slot.path().join("x.o");
    fs::write(&built, "warm").unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    fs::remove_file(&built).unwrap();
    slot.switch_to(&second, KEEP).unwrap();
    fs::write(&built, "new").unwrap();
    slot.switch_to(&second, KEEP).unwrap();
    assert!(!built.exists());
}

/// It stays for what is ignored in it, in a folder that nothing came to or went from.
#[test]
fn invariant_1_what_a_gate_makes_in_a_folder_that_is_tracked_no_more_goes() {
    let world = World::new();
    let rules = file(".gitignore", "*.o\n");
    let second = world.commit(&[rules, file("above/other", "1\n")]);
    let first = world.commit(&[rules, file("above/other", "1\n"), file("above/in/deep/it", "1\n")]);
    let mut slot = world.pool.take().unwrap();
    seen_to_keep_times(&mut slot, &first);
    let deep = slot.path().join("above/in/deep");
    fs::write(deep.join("x.o"), "warm").unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    slot.switch_to(&second, KEEP).unwrap();
    fs::write(deep.join("new"), "").unwrap();
    slot.switch_to(&second, KEEP).unwrap();
    assert!(!deep.join("new").exists() && deep.join("x.o").exists());
}

#[test]
fn a_folder_that_is_tracked_no_more_and_ignores_itself_is_not_in_a_clean_slot() {
    let world = World::new();
    let first = world.commit(&[file("above/in/it", "1\n"), file("above/other", "1\n")]);
    let second = world.commit(&[file("above/other", "1\n")]);
    let mut slot = world.pool.take().unwrap();
    seen_to_keep_times(&mut slot, &first);
    let cache = slot.path().join("above/in/cache");
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join(".gitignore"), "*\n").unwrap();
    slot.switch_to(&second, KEEP).unwrap();
    assert!(cache.exists(), "what is ignored stays");
    slot.switch_to(&second, Clean::IgnoredToo).unwrap();
    assert_eq!(listing(slot.path()), expected(&[file("above/other", "1\n")]));
}
