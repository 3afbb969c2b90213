//! Slots that are watched: a switch looks at what a gate had in hand, and misses nothing that it did.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use lexpr::git::slot::{Clean, LookedAt, Slot, SlotTarget, SwitchedBy};
use rustix::fs::{AtFlags, CWD, Timestamps, XattrFlags, setxattr, utimensat};

use crate::land_world::{Entry, expected, file, listing};
use crate::slot_world::{KEEP, World};
use crate::slurm_world::command;

const TREE: [Entry<'static>; 6] = [
    file(".gitignore", "*.o\n/out/\n"),
    file("a", "one\n"),
    file("deep/er/c", "three\n"),
    file("deep/er/d", "four\n"),
    file("dir/b", "two\n"),
    ("120000", b"link", b"dir/b"),
];

/// A slot with this commit in it, of which every file and folder is watched.
fn watched(world: &World, to: &SlotTarget) -> Slot {
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(to, KEEP).unwrap();
    settle(&mut slot, to);
    slot
}

/// Switches until there is nowhere to look. A switch reads files that are as young as its index, and so has them in hand.
fn settle(slot: &mut Slot, to: &SlotTarget) {
    settle_at(slot, to, 0);
}

/// Switches until it is in so many folders that each looks.
fn settle_at(slot: &mut Slot, to: &SlotTarget, folders: usize) {
    /// Of which even a clock of hundredths of seconds tells some apart.
    const MANY: usize = 2_000;
    let is_settled = |slot: &mut Slot| {
        (0..3).all(|_| {
            slot.switch_to(to, KEEP).unwrap();
            slot.looked_at() == Some(LookedAt::Folders(folders))
        })
    };
    let why = "is the folder for temporary files on ext4, xfs, btrfs or tmpfs? Others are not watched";
    assert!((0..MANY).any(|_| is_settled(slot)), "{:?}: {why}", slot.looked_at());
}

/// The same, where something is in a folder that is neither tracked nor ignored itself: it is looked for every time.
fn settle_with_more(slot: &mut Slot, to: &SlotTarget) {
    for _ in 0..3 {
        slot.switch_to(to, KEEP).unwrap();
    }
}

/// Switches, and sees in how many folders it looked, the top among them.
fn looks_at(slot: &mut Slot, to: &SlotTarget, folders: usize) {
    slot.switch_to(to, KEEP).unwrap();
    assert_eq!(slot.switched_by(), Some(SwitchedBy::InProcess));
    assert_eq!(slot.looked_at(), Some(LookedAt::Folders(folders)));
}

#[test]
fn a_switch_looks_at_folders_in_which_somebody_had_something_in_hand_and_at_no_others() {
    let world = World::new();
    let other = TREE.map(|entry| if entry.1 == b"dir/b" { file("dir/b", "other\n") } else { entry });
    let (to, to_other) = (world.commit(&TREE), world.commit(&other));
    let mut slot = watched(&world, &to);
    let dir = slot.path().to_owned();
    looks_at(&mut slot, &to_other, 0);
    // What the last switch wrote.
    looks_at(&mut slot, &to, 1);
    settle(&mut slot, &to);
    let looked = fs::metadata(dir.join("dir/b")).unwrap();
    assert!(looked.is_file() && fs::read_link(dir.join("link")).is_ok() && fs::read_dir(dir.join("dir")).is_ok());
    looks_at(&mut slot, &to, 0);
    assert_eq!(fs::read(dir.join("dir/b")).unwrap(), b"two\n");
    looks_at(&mut slot, &to, 1);
    // A build's output: once for the folder that it is in, and not for what is done in it.
    fs::create_dir(dir.join("out")).unwrap();
    fs::write(dir.join("out/x"), "warm").unwrap();
    settle(&mut slot, &to);
    fs::write(dir.join("out/x"), "warmer").unwrap();
    fs::write(dir.join("out/y"), "warm").unwrap();
    looks_at(&mut slot, &to_other, 0);
    assert_eq!(fs::read(dir.join("out/x")).unwrap(), b"warmer");
    settle(&mut slot, &to);
    fs::write(dir.join("deep/er/new"), "").unwrap();
    fs::write(dir.join("a"), "other\n").unwrap();
    looks_at(&mut slot, &to, 2);
    fs::remove_dir_all(dir.join("out")).unwrap();
    settle(&mut slot, &to);
    assert_eq!(listing(&dir), expected(&TREE));
}

/// Does it, and has nothing but the time of change tell of it.
fn unseen(path: &Path, deed: impl FnOnce()) {
    let before = fs::metadata(path).unwrap();
    deed();
    let times = FileTimes::new().set_modified(before.modified().unwrap()).set_accessed(before.accessed().unwrap());
    File::options().append(true).open(path).unwrap().set_times(times).unwrap();
}

fn python(script: &str, path: &Path) {
    assert!(command("python3").args(["-c", script]).arg(path).status().unwrap().success());
}

fn copy(from: &Path, to: &Path) {
    assert!(command("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn invariant_1_whatever_a_gate_does_in_a_watched_slot_is_undone() {
    let world = World::new();
    let to = world.commit(&TREE);
    let mut slot = watched(&world, &to);
    let dir = slot.path().to_owned();
    let inside = |name: &str| dir.join(name);
    let elsewhere = world.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let outside = elsewhere.join("name");
    type Deed<'a> = (&'static str, Box<dyn Fn() + 'a>);
    let deeds: Vec<Deed> = vec![
        (
            "written through another name",
            Box::new(|| {
                fs::hard_link(inside("deep/er/c"), &outside).unwrap();
                unseen(&outside, || fs::write(&outside, "eerht\n").unwrap());
                fs::remove_file(&outside).unwrap();
            }),
        ),
        (
            "cut short by name",
            Box::new(|| {
                fs::hard_link(inside("a"), &outside).unwrap();
                python("import os, sys\nos.truncate(sys.argv[1], 1)\n", &outside);
                fs::remove_file(&outside).unwrap();
            }),
        ),
        ("cut short", Box::new(|| python("import os, sys\nos.truncate(sys.argv[1], 1)\n", &inside("deep/er/c")))),
        (
            "another name for a link",
            Box::new(|| {
                let script = "import os, sys\nat = sys.argv[1]\nos.link(at, os.path.dirname(at) + '/../link-' + str(os.getpid()), follow_symlinks=False)\n";
                python(script, &inside("link"));
            }),
        ),
        (
            "rights of a folder",
            Box::new(|| fs::set_permissions(inside("deep/er"), Permissions::from_mode(0o777)).unwrap()),
        ),
        (
            "made executable by another name",
            Box::new(|| {
                fs::hard_link(inside("deep/er/c"), &outside).unwrap();
                fs::set_permissions(&outside, Permissions::from_mode(0o755)).unwrap();
                fs::remove_file(&outside).unwrap();
            }),
        ),
        (
            "written through a mapping",
            Box::new(|| {
                let script = "import mmap, sys\nf = open(sys.argv[1], 'r+b')\nm = mmap.mmap(f.fileno(), 0)\nf.close()\nm[0:1] = b'X'\n";
                unseen(&inside("dir/b"), || python(script, &inside("dir/b")));
            }),
        ),
        (
            "replaced by another of its size and times",
            Box::new(|| {
                copy(&inside("deep/er/c"), &outside);
                unseen(&outside, || fs::write(&outside, "eerht\n").unwrap());
                fs::rename(&outside, inside("deep/er/c")).unwrap();
            }),
        ),
        (
            "a folder replaced by a copy, with one file changed",
            Box::new(|| {
                copy(&inside("deep"), &elsewhere.join("deep"));
                let file = elsewhere.join("deep/er/d");
                unseen(&file, || fs::write(&file, "ruof\n").unwrap());
                fs::rename(inside("deep"), elsewhere.join("old")).unwrap();
                fs::rename(elsewhere.join("deep"), inside("deep")).unwrap();
                fs::remove_dir_all(elsewhere.join("old")).unwrap();
            }),
        ),
        (
            "a folder changed while it was elsewhere",
            Box::new(|| {
                fs::rename(inside("deep"), elsewhere.join("deep")).unwrap();
                fs::write(elsewhere.join("deep/er/d"), "other\n").unwrap();
                fs::write(elsewhere.join("deep/er/new"), "").unwrap();
                fs::rename(elsewhere.join("deep"), inside("deep")).unwrap();
            }),
        ),
        (
            "a file that came where a folder was moved away",
            Box::new(|| {
                fs::rename(inside("deep"), elsewhere.join("deep")).unwrap();
                fs::create_dir_all(inside("deep/er")).unwrap();
                fs::write(inside("deep/er/c"), "other\n").unwrap();
                fs::remove_dir_all(elsewhere.join("deep")).unwrap();
            }),
        ),
        (
            "two files in each other's place",
            Box::new(|| {
                fs::rename(inside("deep/er/c"), &outside).unwrap();
                fs::rename(inside("deep/er/d"), inside("deep/er/c")).unwrap();
                fs::rename(&outside, inside("deep/er/d")).unwrap();
            }),
        ),
        ("a file in another folder's place", Box::new(|| fs::rename(inside("deep/er/c"), inside("dir/b")).unwrap())),
        (
            "two names for one file",
            Box::new(|| {
                fs::remove_file(inside("dir/b")).unwrap();
                fs::hard_link(inside("deep/er/c"), inside("dir/b")).unwrap();
            }),
        ),
        (
            "another link",
            Box::new(|| {
                fs::remove_file(inside("link")).unwrap();
                std::os::unix::fs::symlink("a", inside("link")).unwrap();
            }),
        ),
        ("something attached", Box::new(|| setxattr(inside("a"), "user.x", b"y", XattrFlags::empty()).unwrap())),
        (
            "a link made old",
            Box::new(|| {
                let nothing = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
                let times = Timestamps { last_access: nothing, last_modification: nothing };
                utimensat(CWD, inside("link"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            }),
        ),
        (
            "everything removed",
            Box::new(|| {
                fs::remove_dir_all(inside("deep")).unwrap();
                fs::remove_dir_all(inside("dir")).unwrap();
                ["a", "link", ".gitignore"].iter().for_each(|name| fs::remove_file(inside(name)).unwrap());
            }),
        ),
        ("nothing", Box::new(|| ())),
    ];
    let natures = |top: &Path| {
        ["", "a", "link", "dir", "dir/b", "deep", "deep/er", "deep/er/c"].map(|name| {
            let found = fs::symlink_metadata(top.join(name)).unwrap();
            (name, found.mode(), if found.is_dir() { 0 } else { found.nlink() })
        })
    };
    let new = natures(&dir);
    for (what, deed) in &deeds {
        settle(&mut slot, &to);
        // Also in what has just come anew.
        for round in ["once", "again"] {
            deed();
            slot.switch_to(&to, KEEP).unwrap();
            assert_eq!(listing(&dir), expected(&TREE), "{what}, {round}");
            assert_eq!(natures(&dir), new, "{what}, {round}");
            assert_ne!(slot.looked_at(), Some(LookedAt::Everything), "{what}, {round}");
        }
    }
    // However many were done, all are watched.
    settle(&mut slot, &to);
}

/// As one that is not lexpr's to end might: the writing itself is told to nobody.
#[test]
fn invariant_1_what_is_written_through_a_mapping_that_is_still_there_is_undone() {
    const SCRIPT: &str = "import mmap, sys\nf = open(sys.argv[1], 'r+b')\nm = mmap.mmap(f.fileno(), 0)\nm[0:1] = b'X'\n\
                          print(flush=True)\nsys.stdin.read()\n";
    let world = World::new();
    let to = world.commit(&TREE);
    let mut slot = watched(&world, &to);
    let mut python = command("python3");
    python.args(["-c", SCRIPT]).arg(slot.path().join("dir/b")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    BufReader::new(python.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    looks_at(&mut slot, &to, 1);
    assert_eq!(listing(slot.path()), expected(&TREE));
    drop(python.stdin.take());
    assert!(python.wait().unwrap().success());
}

/// Nothing is told of a mapping that comes and goes while the file was opened before, by one who has it open still.
#[test]
fn invariant_1_what_is_written_through_a_mapping_made_after_the_last_look_is_undone() {
    const SCRIPT: &str = "import mmap, sys\nf = open(sys.argv[1], 'r+b', buffering=0)\nfor line in sys.stdin:\n    \
                          m = mmap.mmap(f.fileno(), 0)\n    m[0:1] = b'X'\n    m.close()\n    print(flush=True)\n";
    let world = World::new();
    let to = world.commit(&TREE);
    let mut slot = watched(&world, &to);
    let mut python = command("python3");
    python.args(["-u", "-c", SCRIPT]).arg(slot.path().join("dir/b")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    let mut answers = BufReader::new(python.stdout.take().unwrap());
    let mut write = |stdin: &mut std::process::ChildStdin| {
        stdin.write_all(b"now\n").unwrap();
        answers.read_line(&mut String::new()).unwrap();
    };
    let mut stdin = python.stdin.take().unwrap();
    // So that it has the file open.
    write(&mut stdin);
    for _ in 0..3 {
        settle_at(&mut slot, &to, 1);
        write(&mut stdin);
        slot.switch_to(&to, KEEP).unwrap();
        assert_eq!(listing(slot.path()), expected(&TREE));
    }
    drop(stdin);
    assert!(python.wait().unwrap().success());
    settle(&mut slot, &to);
    assert_eq!(listing(slot.path()), expected(&TREE));
}

#[test]
fn invariant_1_more_than_the_kernel_tells_is_looked_for_everywhere() {
    let world = World::new();
    let to = world.commit(&TREE);
    let mut slot = watched(&world, &to);
    let dir = slot.path().to_owned();
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    // Of the same that is told twice in a row the kernel tells once.
    for _ in 0..most.trim().parse::<usize>().unwrap() {
        for name in ["a", "dir/b"] {
            File::open(dir.join(name)).unwrap();
        }
    }
    fs::write(dir.join("deep/er/c"), "other\n").unwrap();
    slot.switch_to(&to, KEEP).unwrap();
    assert_eq!(slot.looked_at(), Some(LookedAt::Everything));
    assert_eq!(listing(&dir), expected(&TREE));
    settle(&mut slot, &to);
}

#[test]
fn invariant_1_a_slot_that_was_moved_is_not_taken_for_what_was_watched() {
    let world = World::new();
    let to = world.commit(&TREE);
    for (what, levels, is_copy) in [("itself", 1, true), ("what it is in", 2, true), ("and back", 1, false)] {
        let mut slot = watched(&world, &to);
        let dir = slot.path().to_owned();
        let moved = dir.ancestors().nth(levels - 1).unwrap();
        let [aside, other] = ["aside", "other"].map(|name| moved.with_file_name(name));
        if is_copy {
            // Which has what is copied in hand.
            copy(moved, &other);
            let file = other.join(dir.strip_prefix(moved).unwrap()).join("a");
            unseen(&file, || fs::write(&file, "eno\n").unwrap());
            settle(&mut slot, &to);
        }
        fs::rename(moved, &aside).unwrap();
        if is_copy {
            fs::rename(&other, moved).unwrap();
        } else {
            fs::write(aside.join("a"), "other\n").unwrap();
            fs::rename(&aside, moved).unwrap();
        }
        for _ in 0..3 {
            slot.switch_to(&to, KEEP).unwrap();
            assert_eq!(listing(&dir), expected(&TREE), "{what}");
        }
        let _ = fs::remove_dir_all(&aside);
    }
}

/// Nothing in it is touched, neither of what went nor of what came.
#[test]
fn invariant_1_a_folder_that_stands_in_the_place_of_another_is_looked_at_with_all_in_it() {
    let world = World::new();
    let to = world.commit(&TREE);
    let mut slot = watched(&world, &to);
    let dir = slot.path().to_owned();
    let elsewhere = dir.with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for round in 0..2 {
        let [other, old] = ["other", "old"].map(|name| elsewhere.join(format!("{name}-{round}")));
        copy(&dir.join("deep"), &other);
        unseen(&other.join("er/d"), || fs::write(other.join("er/d"), "ruof\n").unwrap());
        settle(&mut slot, &to);
        fs::rename(dir.join("deep"), &old).unwrap();
        fs::rename(&other, dir.join("deep")).unwrap();
        slot.switch_to(&to, KEEP).unwrap();
        assert_eq!(listing(&dir), expected(&TREE));
    }
    // One around the same as before.
    settle(&mut slot, &to);
    fs::rename(dir.join("deep"), elsewhere.join("deep")).unwrap();
    fs::create_dir(dir.join("deep")).unwrap();
    fs::rename(elsewhere.join("deep/er"), dir.join("deep/er")).unwrap();
    settle(&mut slot, &to);
    fs::write(dir.join("deep/new"), "").unwrap();
    slot.switch_to(&to, KEEP).unwrap();
    assert_eq!(listing(&dir), expected(&TREE));
}

/// Where a folder's place was taken by a link, what the link leads to is not the slot's.
#[test]
fn invariant_1_a_link_where_a_folder_was_is_not_followed() {
    let world = World::new();
    let (with, without) = (world.commit(&TREE), world.commit(&TREE[..2]));
    let elsewhere = world.folder.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("er")).unwrap();
    let mut slot = world.pool.take().unwrap();
    slot.switch_to(&with, KEEP).unwrap();
    let dir = slot.path().to_owned();
    // Before anything is watched.
    fs::remove_dir_all(dir.join("deep")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.join("deep")).unwrap();
    for to in [&without, &with, &with] {
        slot.switch_to(to, KEEP).unwrap();
    }
    settle(&mut slot, &with);
    fs::write(elsewhere.join("er/x"), "").unwrap();
    looks_at(&mut slot, &with, 0);
    fs::write(dir.join("deep/er/new"), "").unwrap();
    slot.switch_to(&with, KEEP).unwrap();
    assert_eq!(listing(&dir), expected(&TREE));
}

/// Nobody has it in hand, but it is there.
#[test]
fn invariant_1_what_is_ignored_is_known_of_however_long_ago_it_came() {
    let world = World::new();
    let more = [&TREE[..], &[file("out/y", "y\n")]].concat();
    let (without, with) = (world.commit(&TREE), world.commit(&more));
    for to in [&with, &without] {
        let mut slot = watched(&world, &without);
        let dir = slot.path().to_owned();
        for name in ["out", "deep/out"] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("x.o"), "warm").unwrap();
        }
        fs::write(dir.join("deep/er/x.o"), "warm").unwrap();
        settle_with_more(&mut slot, &without);
        if to.tree == with.tree {
            slot.switch_to(to, KEEP).unwrap();
            assert!(matches!(slot.switched_by(), Some(SwitchedBy::Git(_))), "git decides about `out`");
            assert!(dir.join("deep/er/x.o").exists() && dir.join("out/y").exists());
        }
        slot.switch_to(to, Clean::IgnoredToo).unwrap();
        assert_eq!(listing(&dir), expected(if to.tree == with.tree { &more } else { &TREE }));
    }
}

/// A folder that was there before anything in it was tracked comes without anybody being told.
#[test]
fn invariant_1_a_folder_is_watched_from_when_something_in_it_is_tracked() {
    let world = World::new();
    let more = [&TREE[..], &[file("deep/er/cache/in/it", "x\n"), file("gone/e", "y\n")]].concat();
    let (without, with) = (world.commit(&TREE), world.commit(&more));
    let mut slot = watched(&world, &without);
    let dir = slot.path().to_owned();
    for round in ["once", "again"] {
        fs::create_dir_all(dir.join("deep/er/cache/in")).unwrap();
        for name in ["deep/er/cache/x.o", "deep/er/cache/in/x.o"] {
            fs::write(dir.join(name), "warm").unwrap();
        }
        // With what is ignored in them they stay.
        slot.switch_to(&without, KEEP).unwrap();
        slot.switch_to(&with, KEEP).unwrap();
        for _ in 0..2 {
            slot.switch_to(&with, KEEP).unwrap();
        }
        assert!(dir.join("deep/er/cache/in/x.o").exists(), "{round}");
        for (name, content) in [("deep/er/cache/in/it", "y\n"), ("gone/e", "x\n")] {
            unseen(&dir.join(name), || fs::write(dir.join(name), content).unwrap());
        }
        slot.switch_to(&with, KEEP).unwrap();
        settle(&mut slot, &with);
        fs::write(dir.join("deep/er/cache/in/new"), "").unwrap();
        slot.switch_to(&with, KEEP).unwrap();
        let mut found = listing(&dir);
        for warm in ["deep/er/cache/x.o", "deep/er/cache/in/x.o"] {
            assert!(found.remove(warm.as_bytes()).is_some(), "{round}: {warm}");
        }
        assert_eq!(found, expected(&more), "{round}");
        // They are tracked no more, and stay for what is ignored in them.
        slot.switch_to(&without, KEEP).unwrap();
        fs::write(dir.join("deep/er/cache/in/new"), "").unwrap();
        slot.switch_to(&without, KEEP).unwrap();
        assert!(!dir.join("deep/er/cache/in/new").exists() && dir.join("deep/er/cache/in/x.o").exists(), "{round}");
    }
}

#[test]
fn invariant_1_rules_that_are_not_tracked_are_read_again_when_they_change() {
    let world = World::new();
    let to = world.commit(&TREE);
    let mut slot = watched(&world, &to);
    let dir = slot.path().join("cache");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(".gitignore"), "*\n").unwrap();
    fs::write(dir.join("warm"), "").unwrap();
    for _ in 0..2 {
        slot.switch_to(&to, KEEP).unwrap();
        assert!(dir.join("warm").exists());
    }
    fs::write(dir.join(".gitignore"), "/.gitignore\n").unwrap();
    slot.switch_to(&to, KEEP).unwrap();
    assert!(!dir.join("warm").exists(), "nothing ignores it any more");
}

/// What git does in the slot for a switch of its own is not told in a way that anything could be made of.
#[test]
fn invariant_1_after_a_switch_by_git_everything_is_looked_at() {
    let world = World::new();
    let converting = [file(".gitattributes", "*.bat eol=crlf\n"), file("new/x.bat", "x\n"), file("out/y", "y\n")];
    let (to, to_converting) = (world.commit(&TREE), world.commit(&converting));
    let mut slot = watched(&world, &to);
    let dir = slot.path().to_owned();
    fs::create_dir(dir.join("out")).unwrap();
    fs::write(dir.join("out/x"), "warm").unwrap();
    slot.switch_to(&to, KEEP).unwrap();
    slot.switch_to(&to_converting, KEEP).unwrap();
    assert!(matches!(slot.switched_by(), Some(SwitchedBy::Git(_))));
    slot.switch_to(&to, KEEP).unwrap();
    slot.switch_to(&to, KEEP).unwrap();
    assert_eq!(slot.looked_at(), Some(LookedAt::Everything));
    settle(&mut slot, &to);
    let mut file = File::options().append(true).open(dir.join("a")).unwrap();
    // It stays open, and so it is looked at each time.
    settle_at(&mut slot, &to, 1);
    file.write_all(b"more\n").unwrap();
    looks_at(&mut slot, &to, 1);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"one\n");
}

/// What was done to it while nothing in it was tracked, nobody has looked for.
#[test]
fn invariant_1_a_folder_that_is_there_already_is_as_a_new_one_once_something_in_it_is_tracked() {
    let world = World::new();
    let rules = file(".gitignore", "*.o\n");
    let (with, without) = (world.commit(&[rules, file("gone/sub/f", "x\n")]), world.commit(&[rules]));
    let mut slot = watched(&world, &with);
    let dir = slot.path().to_owned();
    let rights = |name: &str| fs::metadata(dir.join(name)).unwrap().mode();
    let new = rights("gone");
    fs::write(dir.join("gone/sub/x.o"), "warm").unwrap();
    slot.switch_to(&without, KEEP).unwrap();
    for name in ["gone", "gone/sub"] {
        fs::set_permissions(dir.join(name), Permissions::from_mode(0o777)).unwrap();
    }
    slot.switch_to(&with, KEEP).unwrap();
    assert_eq!((rights("gone"), rights("gone/sub")), (new, new));
    assert!(dir.join("gone/sub/x.o").exists());
}
