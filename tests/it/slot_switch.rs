//! Slots: whatever a gate did, the next composite finds exactly its own tree.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use gix::hash::Kind;
use lexpr::git::index::{self, Stat};
use lexpr::git::slot::{Clean, Slot, SlotPool, SlotTarget, SwitchedBy, repository_id};

use crate::land_world::{Repo, SCRIPT, SUBMODULE, expected, file, listing, path_of};
use crate::slot_world::{KEEP, World, first_tree, gate_git, second_tree, settings};

#[test]
fn a_slot_holds_exactly_the_tree_it_was_switched_to() {
    let world = World::new();
    let (first, second) = (world.commit(&first_tree()), world.commit(&second_tree()));
    let mut slot = world.pool.take().unwrap();
    for (to, entries) in [(first, first_tree()), (second, second_tree()), (first, first_tree())] {
        slot.switch_to(&to, KEEP).unwrap();
        assert_eq!(listing(slot.path()), expected(&entries));
        assert_eq!(gate_git(&slot, &["rev-parse", "HEAD"]), to.commit.to_string());
        assert_eq!(gate_git(&slot, &["status", "--porcelain"]), "");
        // Or the gate's own git would trust files that changed in the same instant.
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let own = slot.path().with_file_name("0.index");
        assert_eq!(modified(&slot.path().join(".git/index")), modified(&own));
    }
}

#[test]
fn a_switch_leaves_files_that_are_right_untouched() {
    let world = World::new();
    let first = world.commit(&[file("same", "same\n"), file("other", "1\n")]);
    let second = world.commit(&[file("same", "same\n"), file("other", "2\n")]);
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    let dir = slot.path().to_owned();
    let identity = |name: &str| {
        let meta = fs::metadata(dir.join(name)).unwrap();
        (meta.ino(), meta.mtime(), meta.mtime_nsec())
    };
    let same = identity("same");
    slot.switch_to(&second, KEEP).unwrap();
    assert_eq!(identity("same"), same);
    assert_eq!(fs::read(slot.path().join("other")).unwrap(), b"2\n");
}

#[test]
fn a_file_that_goes_serves_for_one_that_comes_wherever_that_is() {
    let world = World::new();
    let first = vec![file("a/b/one", "1\n"), file("stays", "x\n"), (SCRIPT, b"run", b"#!/bin/sh\n")];
    let second = vec![file("new/two", "a longer one\n"), file("stays", "x\n"), (SCRIPT, b"bin/go", b"#!/bin/sh\nls\n")];
    let (to_first, to_second) = (world.commit(&first), world.commit(&second));
    let mut slot = world.pool.take().unwrap();
    let dir = slot.path().to_owned();
    let inode = |name: &str| fs::metadata(dir.join(name)).unwrap().ino();
    slot.switch_to(&to_first, KEEP).unwrap();
    let (one, run) = (inode("a/b/one"), inode("run"));
    slot.switch_to(&to_second, KEEP).unwrap();
    assert_eq!((slot.switched_by(), listing(&dir)), (Some(SwitchedBy::InProcess), expected(&second)));
    assert_eq!((inode("new/two"), inode("bin/go")), (one, run), "each serves for one of its kind");
    assert!(!dir.join("a").exists(), "nothing is left of a folder of which all serve elsewhere");
    let built = SystemTime::now() - Duration::from_secs(3600);
    fs::File::open(dir.join("new/two")).unwrap().set_modified(built).unwrap();
    slot.switch_to(&to_first, KEEP).unwrap();
    assert_eq!(listing(&dir), expected(&first));
    let modified = |name: &str| fs::metadata(dir.join(name)).unwrap().modified().unwrap();
    assert!(modified("a/b/one") > built, "whoever goes by times sees that it is new");
}

#[test]
fn what_has_another_name_or_stands_in_the_way_serves_for_nothing() {
    let world = World::new();
    let first = vec![file("a", "precious\n"), file("d/e", "2\n"), file("f", "3\n"), file("empty", "")];
    // A folder where a file was, a file where a folder was, and one with nothing in it.
    let second = vec![file("b", "others\n"), file("d", "5\n"), file("f/g", "6\n"), file("nothing", "")];
    let (to_first, to_second) = (world.commit(&first), world.commit(&second));
    let mut slot = world.pool.take().unwrap();
    let dir = slot.path().to_owned();
    slot.switch_to(&to_first, KEEP).unwrap();
    let kept = dir.with_file_name("kept");
    for round in ["once", "again"] {
        fs::hard_link(dir.join("a"), &kept).unwrap();
        slot.switch_to(&to_second, KEEP).unwrap();
        assert_eq!(slot.switched_by(), Some(SwitchedBy::InProcess), "{round}");
        assert_eq!(listing(&dir), expected(&second), "{round}");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "precious\n", "{round}");
        slot.switch_to(&to_first, KEEP).unwrap();
        assert_eq!(listing(&dir), expected(&first), "{round}");
        fs::remove_file(&kept).unwrap();
    }
}

#[test]
fn whatever_a_gate_did_to_the_working_tree_is_undone() {
    let world = World::new();
    let first = world.commit(&first_tree());
    let mut slot = world.pool.take().unwrap();
    let dir = slot.path().to_owned();
    let elsewhere = world.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let remove = |name: &str| fs::remove_file(dir.join(name)).unwrap();
    let nested = |name: &str| {
        Repo::init(&dir.join(name), &[]);
        fs::write(dir.join(name).join("file"), "x").unwrap();
    };
    type Abuse<'a> = Box<dyn Fn() + 'a>;
    let abuses: Vec<(&str, Abuse)> = vec![
        ("appended", Box::new(|| fs::write(dir.join("a"), "one\nmore\n").unwrap())),
        ("same size, same second", Box::new(|| fs::write(dir.join("a"), "eno\n").unwrap())),
        (
            "same size, same time",
            Box::new(|| {
                let modified = fs::metadata(dir.join("a")).unwrap().modified().unwrap();
                fs::write(dir.join("a"), "eno\n").unwrap();
                fs::File::options().write(true).open(dir.join("a")).unwrap().set_modified(modified).unwrap();
            }),
        ),
        ("deleted", Box::new(|| remove("dir/b"))),
        (
            "made executable",
            Box::new(|| fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o755)).unwrap()),
        ),
        (
            "made not executable",
            Box::new(|| fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o600)).unwrap()),
        ),
        (
            "link retargeted",
            Box::new(|| {
                remove("link");
                symlink("a", dir.join("link")).unwrap();
            }),
        ),
        (
            "file replaced by a link to what it was",
            Box::new(|| {
                fs::rename(dir.join("a"), elsewhere.join("a")).unwrap();
                symlink(elsewhere.join("a"), dir.join("a")).unwrap();
            }),
        ),
        (
            "file replaced by a folder",
            Box::new(|| {
                remove("a");
                fs::create_dir_all(dir.join("a/b/c")).unwrap();
                fs::write(dir.join("a/b/c/d"), "x").unwrap();
            }),
        ),
        (
            "folder replaced by a file",
            Box::new(|| {
                fs::remove_dir_all(dir.join("dir")).unwrap();
                fs::write(dir.join("dir"), "x").unwrap();
            }),
        ),
        (
            "folder moved away and linked to",
            Box::new(|| {
                fs::rename(dir.join("dir"), elsewhere.join("dir")).unwrap();
                symlink(elsewhere.join("dir"), dir.join("dir")).unwrap();
            }),
        ),
        (
            "untracked files and folders",
            Box::new(|| {
                fs::create_dir_all(dir.join("x/y")).unwrap();
                fs::create_dir_all(dir.join("empty/folder")).unwrap();
                fs::write(dir.join("x/y/-z \n"), "x").unwrap();
                fs::write(dir.join("dir/deep/more"), "x").unwrap();
            }),
        ),
        ("a repository", Box::new(|| nested("repo"))),
        ("a repository in a tracked folder", Box::new(|| nested("dir/repo"))),
        (
            "a tracked folder made a repository",
            Box::new(|| {
                Repo::init(&dir.join("dir"), &[]);
            }),
        ),
        (
            "rules that hide what they came with",
            Box::new(|| {
                fs::write(dir.join("dir/.gitignore"), "*.tmp\n").unwrap();
                fs::write(dir.join("dir/x.tmp"), "x").unwrap();
            }),
        ),
        (
            "an untracked link to a folder with files",
            Box::new(|| {
                fs::write(elsewhere.join("precious"), "x").unwrap();
                symlink(&elsewhere, dir.join("shortcut")).unwrap();
            }),
        ),
        (
            "write-protected folders",
            Box::new(|| {
                fs::create_dir_all(dir.join("cache/mod")).unwrap();
                fs::write(dir.join("cache/mod/file"), "x").unwrap();
                fs::set_permissions(dir.join("cache/mod"), fs::Permissions::from_mode(0o555)).unwrap();
            }),
        ),
    ];
    for (what, abuse) in abuses {
        slot.switch_to(&first, KEEP).unwrap();
        abuse();
        slot.switch_to(&first, KEEP).unwrap();
        assert_eq!(listing(slot.path()), expected(&first_tree()), "{what}");
    }
    assert!(elsewhere.join("precious").exists(), "what a link points to is not the slot's");
}

#[test]
fn a_slot_survives_the_loss_of_the_objects_it_was_made_from() {
    let world = World::new();
    let quarantine = Repo::init(&world.folder.path().join("quarantine"), &["--bare"]);
    let lost = quarantine.commit(&second_tree(), &[]);
    let lost = SlotTarget { commit: lost, tree: quarantine.tree_of(lost), base: lost };
    let both = vec![world.repo.objects(), quarantine.objects()];
    SlotPool::new(settings(world.folder.path(), both)).take().unwrap().switch_to(&lost, KEEP).unwrap();
    fs::remove_dir_all(quarantine.dir()).unwrap();

    let mut slot = world.pool.take().unwrap();
    fs::write(slot.path().join("warm.o"), "warm").unwrap();
    slot.switch_to(&world.commit(&first_tree()), KEEP).unwrap();
    assert!(slot.path().join("warm.o").exists(), "not made anew");
    fs::remove_file(slot.path().join("warm.o")).unwrap();
    assert_eq!(listing(slot.path()), expected(&first_tree()));
}

#[test]
fn what_a_killed_run_left_is_in_nobodys_way() {
    let world = World::new();
    let first = world.commit(&first_tree());
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    let beside = |suffix: &str| slot.path().with_file_name(format!("0.{suffix}"));
    let (index, index_lock) = (beside("index"), beside("index.lock"));
    let whole = fs::read(&index).unwrap();
    fs::write(&index_lock, "").unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    assert!(!index_lock.exists());
    for damaged in [&b""[..], b"DIRC", &whole[..whole.len() / 2], &[b'x'; 4000]] {
        fs::write(&index, damaged).unwrap();
        fs::write(slot.path().join("a"), "half\n").unwrap();
        slot.switch_to(&first, KEEP).unwrap();
        assert_eq!(listing(slot.path()), expected(&first_tree()));
    }
    // Damage that only git's own checksum shows.
    let mut flipped = whole.clone();
    flipped[60] ^= 1;
    fs::write(&index, flipped).unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    assert_eq!(listing(slot.path()), expected(&first_tree()));
    // Stopped between writing files and writing the index.
    fs::write(&index, whole).unwrap();
    fs::write(slot.path().join("a"), "One\n").unwrap();
    fs::write(slot.path().join("new"), "x\n").unwrap();
    fs::remove_dir_all(slot.path().join("dir")).unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    assert_eq!(listing(slot.path()), expected(&first_tree()));
}

/// What a power loss may leave, as a file that was written over is not on disk before its times are.
#[test]
fn invariant_1_once_the_machine_has_restarted_contents_count_and_not_times() {
    for restarted in [false, true] {
        let world = World::new();
        let first = world.commit(&[file("a", "new\n"), file("b", "b\n")]);
        let mut slot = world.pool.take().unwrap();
        slot.switch_to(&first, KEEP).unwrap();
        let beside = |suffix: &str| slot.path().with_file_name(format!("0.{suffix}"));
        let (a, index, notes) = (slot.path().join("a"), beside("index"), beside("notes"));
        drop(slot);

        fs::write(&a, "old\n").unwrap();
        let (mut entries, checksum) = index::read(&fs::read(&index).unwrap(), Kind::Sha1).unwrap();
        entries[0].stat = Stat::of(&rustix::fs::stat(&a).unwrap());
        let (bytes, other_checksum) = index::written(&entries, Kind::Sha1).unwrap();
        fs::write(&index, bytes).unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        fs::File::options().write(true).open(&index).unwrap().set_modified(later).unwrap();
        let mut noted = fs::read_to_string(&notes).unwrap();
        noted = noted.replace(&checksum.to_string(), &other_checksum.to_string());
        if restarted {
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
            noted = noted.replace(boot.trim(), "11111111-2222-3333-4444-555555555555");
        }
        fs::write(&notes, noted).unwrap();

        let mut slot = world.pool.take().unwrap();
        slot.switch_to(&first, KEEP).unwrap();
        let expected = if restarted { "new\n" } else { "old\n" };
        assert_eq!(fs::read_to_string(&a).unwrap(), expected, "restarted: {restarted}");
    }
}

#[test]
fn what_a_gate_made_of_a_slots_own_files_is_neither_waited_for_nor_written_through() {
    let world = World::new();
    let (first, second) = (world.commit(&first_tree()), world.commit(&second_tree()));
    let precious = world.folder.path().join("precious");
    for name in ["0.notes", "0.index"] {
        for kind in ["pipe", "hard link", "link"] {
            fs::write(&precious, "precious").unwrap();
            let mut slot = world.pool.take().unwrap();
            let file = slot.path().with_file_name(name);
            slot.switch_to(&first, KEEP).unwrap();
            fs::remove_file(&file).unwrap();
            match kind {
                "pipe" => rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RWXU).unwrap(),
                "hard link" => fs::hard_link(&precious, &file).unwrap(),
                _ => symlink(&precious, &file).unwrap(),
            }
            let modified = fs::metadata(&precious).unwrap().modified().unwrap();
            // In this run, and in the next.
            if kind != "link" {
                slot.switch_to(&second, KEEP).unwrap();
                assert_eq!(listing(slot.path()), expected(&second_tree()), "{name}, {kind}");
            }
            drop(slot);
            let mut slot = world.pool.take().unwrap();
            slot.switch_to(&first, KEEP).unwrap();
            assert_eq!(listing(slot.path()), expected(&first_tree()), "{name}, {kind}");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{name}, {kind}");
            assert_eq!(fs::metadata(&precious).unwrap().modified().unwrap(), modified, "{name}, {kind}");
        }
    }
}

/// Two indexes of one length, half of each: their entries have their places, and git would believe it.
#[test]
fn invariant_1_an_index_that_was_written_half_is_not_believed() {
    let world = World::new();
    let (first, second) =
        (world.commit(&[file("a", "1\n"), file("b", "1\n")]), world.commit(&[file("a", "2\n"), file("b", "2\n")]));
    let mut slot = world.pool.take().unwrap();
    let index = slot.path().with_file_name("0.index");
    // The first one of a slot is git's, which is longer.
    for to in [&first, &second, &first] {
        slot.switch_to(to, KEEP).unwrap();
    }
    let of_first = fs::read(&index).unwrap();
    slot.switch_to(&second, KEEP).unwrap();
    let of_second = fs::read(&index).unwrap();
    assert_eq!(of_first.len(), of_second.len());
    for at in 0..of_first.len() {
        drop(slot);
        fs::write(&index, [&of_second[..at], &of_first[at..]].concat()).unwrap();
        // Late enough that nobody compares contents by themselves.
        let later = SystemTime::now() + Duration::from_secs(60);
        fs::File::options().write(true).open(&index).unwrap().set_modified(later).unwrap();
        slot = world.pool.take().unwrap();
        let to = if at % 2 == 0 { &first } else { &second };
        slot.switch_to(to, KEEP).unwrap();
        let content = if at % 2 == 0 { "1\n" } else { "2\n" };
        assert_eq!(listing(slot.path()), expected(&[file("a", content), file("b", content)]), "byte {at}");
    }
}

/// A file that was added although it is ignored, and is not in the next tree.
#[test]
fn invariant_1_without_an_index_no_file_of_an_earlier_tree_passes_for_what_a_build_made() {
    let without = [file(".gitignore", "out/\n"), file("a", "1\n")];
    let with = [&without[..], &[file("out/b", "1\n")]].concat();
    let world = World::new();
    let (first, second) = (world.commit(&with), world.commit(&without));
    for lost in ["index", "half of it"] {
        let mut slot = world.pool.take().unwrap();
        slot.switch_to(&first, KEEP).unwrap();
        slot.set_setup_stamp(Some("npm ci")).unwrap();
        fs::create_dir_all(slot.path().join("out/.git")).unwrap();
        let index = slot.path().with_file_name("0.index");
        drop(slot);
        if lost == "index" {
            fs::remove_file(&index).unwrap();
        } else {
            let whole = fs::read(&index).unwrap();
            fs::write(&index, &whole[..whole.len() / 2]).unwrap();
        }
        let mut slot = world.pool.take().unwrap();
        slot.switch_to(&second, KEEP).unwrap();
        assert_eq!(listing(slot.path()), expected(&without), "{lost}");
        assert_eq!(slot.setup_stamp(), None, "what the setup made may be gone");
    }
}

#[test]
fn a_slots_folder_that_is_gone_or_no_folder_is_made_anew() {
    let world = World::new();
    let first = world.commit(&first_tree());
    let path = {
        let mut slot = world.pool.take().unwrap();
        slot.switch_to(&first, KEEP).unwrap();
        slot.set_setup_stamp(Some("done")).unwrap();
        slot.path().to_owned()
    };
    let outside = world.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    fs::remove_dir_all(&path).unwrap();
    let spoil: [&dyn Fn(); 3] =
        [&|| {}, &|| fs::write(&path, "a file").unwrap(), &|| symlink(&outside, &path).unwrap()];
    for spoil in spoil {
        spoil();
        let mut slot = world.pool.take().unwrap();
        assert_eq!(slot.setup_stamp(), None);
        slot.switch_to(&first, KEEP).unwrap();
        assert_eq!(listing(&path), expected(&first_tree()));
        fs::remove_dir_all(&path).unwrap();
    }
    assert!(outside.join("precious").exists());
}

#[test]
fn a_tree_that_git_refuses_is_an_error_and_the_slot_stays_warm() {
    let world = World::new();
    let first = world.commit(&first_tree());
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    fs::write(slot.path().join("warm.o"), "warm").unwrap();

    let blob = world.repo.blob(b"[core]\n\tfsmonitor = touch pwned\n");
    let inner = world.repo.git.run_with_input(["mktree"], format!("100644 blob {blob}\tconfig\n").as_bytes()).unwrap();
    let inner = String::from_utf8(inner).unwrap();
    for name in [".git", ".GIT", "git~1"] {
        let line = format!("040000 tree {}\t{name}\n", inner.trim());
        let tree = world.repo.git.run_with_input(["mktree"], line.as_bytes()).unwrap();
        let evil = world.repo.commit_tree(String::from_utf8(tree).unwrap().trim(), &[], "evil");
        let error = slot.switch_to(&world.target(evil), KEEP).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}/config")), "{error}");
        assert!(slot.path().join("warm.o").exists());
    }
    let missing = SlotTarget { tree: "1".repeat(40).parse().unwrap(), ..first };
    assert!(slot.switch_to(&missing, KEEP).is_err());
    assert!(slot.path().join("warm.o").exists());
    drop(slot);
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    assert!(slot.path().join("warm.o").exists(), "also in the next run");
    slot.switch_to(&first, Clean::IgnoredToo).unwrap();
    assert_eq!(listing(slot.path()), expected(&first_tree()));
}

#[test]
fn a_submodule_is_an_empty_folder_whatever_was_put_there() {
    let world = World::new();
    let commit = "2".repeat(40);
    let entries = [file(".gitignore", "*.o\n"), file("a", "1\n"), (SUBMODULE, b"libs/sub", commit.as_bytes())];
    let with = world.commit(&entries);
    let files_there = [file("a", "1\n"), file("libs/sub/file", "no submodule\n")];
    let without = world.commit(&files_there);
    let mut slot = world.pool.take().unwrap();
    let sub = slot.path().join("libs/sub");
    slot.switch_to(&with, KEEP).unwrap();
    assert_eq!(listing(slot.path()), expected(&entries));

    Repo::init(&sub, &[]);
    fs::write(sub.join("left.o"), "x").unwrap();
    slot.switch_to(&with, KEEP).unwrap();
    assert_eq!(listing(slot.path()), expected(&entries));

    Repo::init(&sub, &[]);
    slot.switch_to(&without, KEEP).unwrap();
    assert_eq!(listing(slot.path()), expected(&files_there));

    fs::write(sub.join("ignored-later.o"), "x").unwrap();
    slot.switch_to(&with, KEEP).unwrap();
    assert_eq!(listing(slot.path()), expected(&entries));
}

#[test]
fn line_ends_that_no_attribute_explains_do_not_upset_a_slot() {
    let world = World::new();
    let entries = [file(".gitattributes", "* text=auto\n"), file("crlf", "a\r\nb\r\n")];
    let mut slot = world.pool.take().unwrap();
    let to = world.commit(&entries);
    for _ in 0..2 {
        slot.switch_to(&to, KEEP).unwrap();
        fs::write(slot.path().join("warm"), "").unwrap();
        assert_eq!(fs::read(path_of(slot.path(), b"crlf")).unwrap(), b"a\r\nb\r\n");
    }
}

#[test]
fn files_that_attributes_convert_no_more_are_written_anew() {
    let world = World::new();
    let converted = [file(".gitattributes", "* text eol=crlf\n"), file("a", "1\n"), file("old.o", "1\n")];
    let plain = [file(".gitignore", "*.o\n"), file("a", "1\n")];
    let (converting, not_converting) = (world.commit(&converted), world.commit(&plain));
    let mut slot = world.pool.take().unwrap();
    for _ in 0..2 {
        slot.switch_to(&converting, KEEP).unwrap();
        assert_eq!(fs::read(slot.path().join("a")).unwrap(), b"1\r\n");
        slot.switch_to(&not_converting, KEEP).unwrap();
        assert_eq!(listing(slot.path()), expected(&plain));
        // What a gate left is heeded by nobody, whoever makes the switch.
        fs::write(slot.path().join(".gitattributes"), "* text eol=crlf\n").unwrap();
        fs::remove_file(slot.path().join("a")).unwrap();
        fs::create_dir_all(slot.path().join("a/folder")).unwrap();
        slot.switch_to(&not_converting, KEEP).unwrap();
        assert!(matches!(slot.switched_by(), Some(SwitchedBy::Git(_))));
        assert_eq!(listing(slot.path()), expected(&plain));
    }
}

#[test]
fn a_warm_slot_is_switched_without_git_in_the_next_run_too() {
    let world = World::new();
    let (first, second) = (world.commit(&first_tree()), world.commit(&second_tree()));
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    assert!(matches!(slot.switched_by(), Some(SwitchedBy::Git(_))), "nothing is known of a new slot");
    fs::create_dir(slot.path().join("out")).unwrap();
    fs::write(slot.path().join("out/warm"), "x").unwrap();
    slot.switch_to(&second, KEEP).unwrap();
    assert_eq!(slot.switched_by(), Some(SwitchedBy::InProcess));
    drop(slot);
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    assert_eq!(slot.switched_by(), Some(SwitchedBy::InProcess));
    fs::remove_dir_all(slot.path().join("out")).unwrap();
    assert_eq!(listing(slot.path()), expected(&first_tree()));
}

#[test]
fn invariant_1_no_file_of_a_switch_that_was_cut_off_passes_for_what_a_build_made() {
    let world = World::new();
    let plain = [file(".gitignore", "*.o\n"), file("a", "1\n")];
    let first = world.commit(&plain);
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    fs::write(slot.path().join("built.o"), "x").unwrap();
    slot.set_setup_stamp(Some("set up")).unwrap();
    drop(slot);
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    assert!(slot.path().join("built.o").exists(), "one that came to its end leaves what is ignored");
    drop(slot);
    // As one leaves it that is killed when the first file has come.
    let slot = world.pool.take().unwrap();
    fs::write(slot.path().with_file_name("0.notes"), "lexpr-slot-begun 0\n").unwrap();
    fs::write(slot.path().join("came.o"), "of another tree").unwrap();
    drop(slot);
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    assert_eq!(listing(slot.path()), expected(&plain));
    assert_eq!(slot.setup_stamp(), None, "nor is anything set up");
    fs::write(slot.path().join("built.o"), "x").unwrap();
    slot.switch_to(&first, KEEP).unwrap();
    assert!(slot.path().join("built.o").exists(), "it is over");
}

#[test]
fn slots_work_with_sha256() {
    let world = World::with_options(&["--bare", "--object-format=sha256"]);
    let (first, second) = (world.commit(&first_tree()), world.commit(&second_tree()));
    let mut slot = world.pool.take().unwrap();
    for (to, entries) in [(first, first_tree()), (second, second_tree()), (first, first_tree())] {
        slot.switch_to(&to, KEEP).unwrap();
        assert_eq!(listing(slot.path()), expected(&entries));
        assert_eq!(gate_git(&slot, &["rev-parse", "HEAD"]), to.commit.to_string());
    }
}

#[test]
fn a_slot_is_one_takers_and_the_lowest_free_one_is_taken() {
    let world = World::new();
    let name = |slot: &Slot| slot.path().file_name().unwrap().to_str().unwrap().to_owned();
    let (first, second) = (world.pool.take().unwrap(), world.pool.take().unwrap());
    assert_eq!((name(&first), name(&second)), ("0".into(), "1".into()));
    drop(first);
    let again = world.pool.take().unwrap();
    let third = world.pool.take().unwrap();
    assert_eq!((name(&again), name(&third)), ("0".into(), "2".into()));
}

#[test]
fn repositories_have_names_of_their_own() {
    let id = |path: &str| repository_id(Path::new(path));
    assert!(id("/home/ann/w\u{f6}rk flow/.git").starts_with("w-rk-flow-"));
    assert!(id("/srv/thing.git").starts_with("thing-"));
    assert_ne!(id("/a/thing/.git"), id("/b/thing/.git"));
    assert_eq!(id("/a/thing/.git"), id("/a/thing/.git"));
    assert!(id("/").starts_with("repository-"));
}
