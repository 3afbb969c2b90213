//! Slots: whatever a gate did to its `.git`, the next gate finds a repository that knows its own commit and nothing else.
#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use lexpr::git::slot::{Slot, SlotTarget};

use crate::land_world::{expected, listing};
use crate::slot_world::{KEEP, World, first_tree, gate_git, second_tree, seen_to_keep_times};

#[test]
fn whatever_a_gate_did_to_the_repository_is_undone() {
    let world = World::new();
    let first = world.commit(&first_tree());
    let mut slot = world.pool.take().unwrap();
    let dir = slot.path().to_owned();
    let write = |name: &str, content: &str| fs::write(dir.join(name), content).unwrap();
    type Abuse<'a> = Box<dyn Fn(&Slot) + 'a>;
    let abuses: Vec<(&str, Abuse)> = vec![
        (
            "staged",
            Box::new(|slot| {
                write("a", "staged\n");
                write("staged", "x");
                gate_git(slot, &["add", "a", "staged"]);
            }),
        ),
        (
            "committed",
            Box::new(|slot| {
                write("a", "committed\n");
                write("committed", "x");
                gate_git(slot, &["add", "-A"]);
                gate_git(slot, &["commit", "-qm", "by the gate"]);
            }),
        ),
        (
            "stashed",
            Box::new(|slot| {
                write("a", "stashed\n");
                gate_git(slot, &["stash"]);
            }),
        ),
        (
            "hidden from git",
            Box::new(|slot| {
                gate_git(slot, &["update-index", "--assume-unchanged", "a"]);
                gate_git(slot, &["update-index", "--skip-worktree", "dir/b"]);
                write("a", "hidden\n");
                write("dir/b", "hidden\n");
            }),
        ),
        (
            "configuration, hooks, branches, excludes, sparse checkout",
            Box::new(|slot| {
                gate_git(slot, &["config", "core.autocrlf", "true"]);
                gate_git(slot, &["branch", "more"]);
                gate_git(slot, &["sparse-checkout", "set", "w\u{f6}rter"]);
                fs::create_dir_all(dir.join(".git/hooks")).unwrap();
                write(".git/hooks/post-index-change", "#!/bin/sh\ntouch hooked\n");
                let hook = dir.join(".git/hooks/post-index-change");
                fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
                fs::create_dir_all(dir.join(".git/info")).unwrap();
                write(".git/info/exclude", "junk\n");
                write(".git/info/attributes", "* eol=crlf\n");
                write("junk", "x");
            }),
        ),
        (
            "a line of the configuration replaced by one as long, with the old time",
            Box::new(|_| {
                let path = dir.join(".git/config");
                let (text, modified) =
                    (fs::read_to_string(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
                write(".git/config", &text.replace("filemode = true", "symlinks=false "));
                fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            }),
        ),
        ("an object somewhere", Box::new(|_| write(".git/objects/info/packs", "P pack-0.pack\n"))),
        ("a branch moved", Box::new(|_| write(".git/refs/heads/release/1.0", &format!("{}\n", "1".repeat(40))))),
        ("HEAD made a branch", Box::new(|_| write(".git/HEAD", "ref: refs/heads/release/1.0\n"))),
        (
            "HEAD for nobody to write",
            Box::new(|_| fs::set_permissions(dir.join(".git/HEAD"), fs::Permissions::from_mode(0o400)).unwrap()),
        ),
        (
            "HEAD with a second name elsewhere",
            Box::new(|_| {
                fs::hard_link(dir.join(".git/HEAD"), world.folder.path().join("HEAD")).unwrap();
                fs::write(world.folder.path().join("HEAD"), "nobody writes here\n").unwrap();
            }),
        ),
        (
            "index led elsewhere",
            Box::new(|_| {
                fs::write(world.folder.path().join("index"), "nobody writes here\n").unwrap();
                fs::remove_file(dir.join(".git/index")).unwrap();
                symlink(world.folder.path().join("index"), dir.join(".git/index")).unwrap();
            }),
        ),
        ("index locked", Box::new(|_| write(".git/index.lock", ""))),
        ("index destroyed", Box::new(|_| write(".git/index", "DIRC nonsense"))),
        ("repository removed", Box::new(|_| fs::remove_dir_all(dir.join(".git")).unwrap())),
        (
            "repository replaced by a file",
            Box::new(|_| {
                fs::remove_dir_all(dir.join(".git")).unwrap();
                write(".git", "gitdir: /nowhere\n");
            }),
        ),
        (
            "repository moved away and linked to",
            Box::new(|_| {
                let away = world.folder.path().join("away.git");
                fs::rename(dir.join(".git"), &away).unwrap();
                symlink(away, dir.join(".git")).unwrap();
            }),
        ),
    ];
    seen_to_keep_times(&mut slot, &first);
    let laid = inside(&slot);
    for (what, abuse) in abuses {
        slot.switch_to(&first, KEEP).unwrap();
        abuse(&slot);
        slot.switch_to(&first, KEEP).unwrap();
        assert_eq!(listing(slot.path()), expected(&first_tree()), "{what}");
        assert_eq!(gate_git(&slot, &["status", "--porcelain"]), "", "{what}");
        assert_eq!(inside(&slot), laid, "{what}");
        assert_eq!(
            gate_git(&slot, &["for-each-ref", "--format=%(refname) %(objectname)"]),
            format!("refs/heads/release/1.0 {}", first.base),
            "{what}"
        );
        assert_eq!(gate_git(&slot, &["stash", "list"]), "", "{what}");
        let settings = gate_git(&slot, &["config", "--list", "--name-only"]);
        assert!(!settings.contains("autocrlf") && !settings.contains("sparse"), "{what}: {settings}");
    }
    for name in ["HEAD", "index"] {
        assert_eq!(fs::read_to_string(world.folder.path().join(name)).unwrap(), "nobody writes here\n");
    }
}

/// What `.git` holds, with everybody's rights, but the index's content.
fn inside(slot: &Slot) -> Vec<(String, u32, String)> {
    fn walk(top: &Path, dir: &Path, found: &mut Vec<(String, u32, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            let is_text = meta.is_file() && name != "index";
            let content = if is_text { fs::read_to_string(&path).unwrap() } else { String::new() };
            found.push((name, meta.mode(), content));
            if meta.is_dir() {
                walk(top, &path, found);
            }
        }
    }
    let (top, mut found) = (slot.path().join(".git"), Vec::new());
    walk(&top, &top, &mut found);
    found.sort();
    found
}

/// Switches, and sees that `.git` is the one that was there.
fn kept(slot: &mut Slot, to: &SlotTarget) {
    let identity = |slot: &Slot| {
        let config = fs::metadata(slot.path().join(".git/config")).unwrap();
        (config.ino(), config.ctime(), config.ctime_nsec())
    };
    let before = identity(slot);
    slot.switch_to(to, KEEP).unwrap();
    assert_eq!(identity(slot), before, "`.git` is laid anew although it need not be");
}

#[test]
fn a_repository_that_nothing_was_done_to_serves_the_next_gate_and_knows_its_commit() {
    let world = World::new();
    let (first, second) = (world.commit(&first_tree()), world.commit(&second_tree()));
    let mut slot = world.pool.take().unwrap();
    seen_to_keep_times(&mut slot, &first);
    for (to, other) in [(first, second), (second, first)] {
        let to = SlotTarget { base: first.base, ..to };
        slot.switch_to(&SlotTarget { base: first.base, ..other }, KEEP).unwrap();
        kept(&mut slot, &to);
        assert_eq!(gate_git(&slot, &["rev-parse", "HEAD"]), to.commit.to_string());
        assert_eq!(gate_git(&slot, &["status", "--porcelain"]), "");
    }
    // Where the target is at has changed.
    let moved = SlotTarget { base: second.commit, ..first };
    kept(&mut slot, &moved);
    assert_eq!(gate_git(&slot, &["rev-parse", "release/1.0"]), second.commit.to_string());
    assert_eq!(gate_git(&slot, &["for-each-ref", "--format=%(refname)"]), "refs/heads/release/1.0");
}
