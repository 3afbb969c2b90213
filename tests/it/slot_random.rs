//! Random trees, random switches between them, and gates that do anything in between: the slot must
//! be what a fresh checkout is, with the ignored files that git itself would have kept.
//!
//! `LEXPR_SLOT_STEPS` says how many switches, `LEXPR_SLOT_SEED` which.
#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]
#![expect(clippy::print_stdout, reason = "who made the switches is what the test is read for")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use lexpr::git::command::{Config, Git};
use lexpr::git::slot::{Clean, Slot, SlotPool, SlotSettings, SlotTarget, SwitchedBy};
use tempfile::TempDir;

use crate::land_world::{FILE, Found, LINK, Listing, Repo, SCRIPT, SUBMODULE, listing, path_of};
use crate::random::Random;

const STEPS: usize = 120;
const SEED: u64 = 20_261_121;
const TREES: usize = 24;

fn asked<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

fn one_of<'a, T: ?Sized>(random: &mut Random, all: &[&'a T]) -> &'a T {
    all[random.below(all.len())]
}

/// Path to mode and content.
type Tree = BTreeMap<Vec<u8>, (&'static str, Vec<u8>)>;

const NAMES: [&[u8]; 12] = [
    b"a",
    b"a.b",
    b"a0",
    b"B",
    b"d e",
    b"line\n\"feed",
    b"\xff\xfe",
    "\u{fc}".as_bytes(),
    b"dir",
    b"out",
    b"deep",
    b"x.o",
];
/// Some of one length.
const CONTENTS: [&[u8]; 7] = [b"one\n", b"two\n", b"six\n", b"", b"crlf\r\nlines\r\n", b"$Id$\n", b"\0binary\xff"];
const RULES: [&[u8]; 4] = [b"*.o\n/out/\nkept*\n", b"*.o\n", b"kept*\n!kept-not\nd*/\n", b"\n"];
const ATTRIBUTES: [&[u8]; 3] = [b"* text=auto\n*.o binary\n", b"a* linguist-generated diff=x\n", b"*.b eol=lf\n"];
const CONVERTING: [&[u8]; 2] = [b"* text eol=crlf\n", b"a* ident\n"];

fn random_path(random: &mut Random) -> Vec<u8> {
    let depth = 1 + random.below(3);
    let parts: Vec<&[u8]> = (0..depth).map(|_| one_of(random, &NAMES)).collect();
    parts.join(&b'/')
}

fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

fn is_or_is_in(path: &[u8], name: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part == name)
}

/// Adds an entry, in the place of whatever is in its way.
fn put(tree: &mut Tree, path: Vec<u8>, entry: (&'static str, Vec<u8>)) {
    let below = [&path[..], b"/"].concat();
    tree.retain(|other, _| !other.starts_with(&below) && !above(&path).any(|folder| folder == other.as_slice()));
    tree.insert(path, entry);
}

fn put_any(random: &mut Random, tree: &mut Tree) {
    let path = random_path(random);
    let beside = |name: &[u8]| [path.rsplitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default(), name].join(&b'/');
    let beside = |name: &[u8]| beside(name).strip_prefix(b"/").map_or_else(|| beside(name), <[u8]>::to_vec);
    let (path, entry) = match random.below(24) {
        0 | 1 => (beside(b".gitignore"), (FILE, one_of(random, &RULES).to_vec())),
        2 => (beside(b".gitattributes"), (FILE, one_of(random, &ATTRIBUTES).to_vec())),
        3 if random.below(3) == 0 => (beside(b".gitattributes"), (FILE, one_of(random, &CONVERTING).to_vec())),
        4 if random.below(4) == 0 => (path, (SUBMODULE, vec![b'2'; 40])),
        5..7 => (path, (LINK, one_of(random, &[&b"a"[..], b"../outside", b"dir"]).to_vec())),
        7..10 => (path, (SCRIPT, one_of(random, &CONTENTS).to_vec())),
        10 => (path, (FILE, vec![b'x'; 70_000 + random.below(3)])),
        _ => (path, (FILE, one_of(random, &CONTENTS).to_vec())),
    };
    put(tree, path, entry);
}

fn random_trees(random: &mut Random) -> Vec<Tree> {
    let mut trees = vec![Tree::new()];
    while trees.len() < TREES {
        // Mostly near one that is there, as composites are.
        let mut tree = match random.below(6) {
            0 => Tree::new(),
            _ => trees[random.below(trees.len())].clone(),
        };
        let puts = if tree.is_empty() { 25 } else { 1 + random.below(4) };
        for _ in 0..puts {
            put_any(random, &mut tree);
            if random.below(3) == 0 {
                let gone = tree.keys().nth(random.below(tree.len())).unwrap().clone();
                tree.remove(&gone);
            }
        }
        // What converts or is a submodule does not spread over all trees.
        if random.below(2) == 0 {
            tree.retain(|_, (mode, content)| *mode != SUBMODULE && !CONVERTING.contains(&content.as_slice()));
        }
        trees.push(tree);
    }
    trees
}

/// Whether a switch may be lexpr's own.
fn is_plain(tree: &Tree) -> bool {
    tree.values().all(|(mode, content)| *mode != SUBMODULE && !CONVERTING.contains(&content.as_slice()))
}

struct World {
    folder: TempDir,
    repo: Repo,
    pool: SlotPool,
    trees: Vec<Tree>,
    targets: Vec<SlotTarget>,
    /// What a checkout of each gives.
    fresh: Vec<Listing>,
}

impl World {
    fn new(random: &mut Random) -> Self {
        let folder = TempDir::new().unwrap();
        let repo = Repo::init(&folder.path().join("repository.git"), &["--bare"]);
        let trees = random_trees(random);
        let mut stream = Vec::new();
        for (at, tree) in trees.iter().enumerate() {
            let head = format!("commit refs/heads/t{at}\ncommitter A <a@b> 1700000000 +0000\ndata 0\ndeleteall\n");
            stream.extend_from_slice(head.as_bytes());
            for (path, (mode, content)) in tree {
                let mut quoted = String::new();
                path.iter().for_each(|byte| write!(quoted, "\\{byte:03o}").unwrap());
                if *mode == SUBMODULE {
                    let commit = String::from_utf8(content.clone()).unwrap();
                    stream.extend_from_slice(format!("M {mode} {commit} \"{quoted}\"\n").as_bytes());
                } else {
                    let head = format!("M {mode} inline \"{quoted}\"\ndata {}\n", content.len());
                    stream.extend_from_slice(&[head.as_bytes(), content, b"\n"].concat());
                }
            }
        }
        repo.git.run_with_input(["fast-import", "--quiet"], &stream).unwrap();
        let told = repo.run(&["for-each-ref", "--format=%(refname:lstrip=2) %(objectname) %(tree)"]);
        let mut targets: Vec<(usize, SlotTarget)> = told
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let commit = words[1].parse().unwrap();
                (words[0][1..].parse().unwrap(), SlotTarget { commit, tree: words[2].parse().unwrap(), base: commit })
            })
            .collect();
        targets.sort_by_key(|(at, _)| *at);
        let targets: Vec<SlotTarget> = targets.into_iter().map(|(_, target)| target).collect();
        let fresh = targets
            .iter()
            .enumerate()
            .map(|(at, target)| {
                let place = folder.path().join(format!("fresh-{at}"));
                fs::create_dir(&place).unwrap();
                let git = repo.git.with_work_tree(&place).with_index(folder.path().join(format!("fresh-{at}.index")));
                git.run(["read-tree", "--reset", "-u", &target.tree.to_string()]).unwrap();
                let found = listing(&place);
                fs::remove_dir_all(&place).unwrap();
                found
            })
            .collect();
        let pool = SlotPool::new(SlotSettings {
            cache_root: folder.path().join("cache"),
            repository_id: "repository".to_owned(),
            object_dirs: vec![repo.objects()],
            store: None,
            target_branch: "main".to_owned(),
        });
        Self { folder, repo, pool, trees, targets, fresh }
    }
}

/// What git alone makes of the same switches, in a folder in which the same is done.
struct Twin {
    place: PathBuf,
    git: Git,
}

impl Twin {
    fn new(world: &World) -> Self {
        let place = world.folder.path().join("twin");
        fs::create_dir(&place).unwrap();
        let git = world.repo.git.with_work_tree(&place).with_index(world.folder.path().join("twin.index"));
        Self { place, git }
    }

    fn switch(&self, to: &SlotTarget, fresh: &Listing, clean: Clean) {
        self.git.run(["read-tree", "--reset", "-u", &to.tree.to_string()]).unwrap();
        let scope = if clean == Clean::IgnoredToo { "-ffdx" } else { "-ffd" };
        loop {
            self.git.run(["clean", "-q", scope]).unwrap();
            if self.git.line(["ls-files", "--others", "--exclude-standard"]).unwrap().is_empty() {
                break;
            }
        }
        // To git what lies in a submodule's folder is the submodule's, and there it is still when that is none any more.
        for (path, _) in fresh.iter().filter(|(_, found)| **found == Found::EmptyFolder) {
            let folder = path_of(&self.place, path);
            fs::remove_dir_all(&folder).unwrap();
            fs::create_dir(&folder).unwrap();
        }
    }
}

/// What the working tree has besides the tracked paths, but for what is made in the slot alone.
fn untracked(found: &Listing, tracked: &Listing) -> BTreeSet<Vec<u8>> {
    let is_twins = |path: &&Vec<u8>| !tracked.contains_key(*path) && !path.ends_with(b".gitattributes");
    found.keys().filter(is_twins).cloned().collect()
}

/// A file beside the folder is gone, as after another program's tidying up.
const LOST: &str = "a file of the slot lost";

const REPLACED: &str = "a folder removed or replaced";

/// One thing a gate does in `dir`. What is git's own business (`.git`) is done in the slot alone.
fn disturb(random: &mut Random, tree: &Tree, dir: &Path, elsewhere: &Path, is_slot: bool) -> &'static str {
    let files: Vec<&Vec<u8>> = tree.iter().filter(|(_, (mode, _))| *mode != SUBMODULE).map(|(path, _)| path).collect();
    let choice = random.below(26);
    let (which, other) = (random.next(), random.next());
    let any = |number: u64| files.get(usize::try_from(number % 1_000_000).unwrap() % files.len().max(1));
    let Some(file) = any(which) else { return "nothing" };
    let path = path_of(dir, file);
    let folder = path.parent().unwrap().to_owned();
    let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    let write = |path: PathBuf, content: &[u8]| {
        // What is in the way stays: then the gate could not do it.
        let _ = fs::create_dir_all(path.parent().unwrap());
        if !path.is_symlink() && !path.is_dir() {
            let _ = fs::write(path, content);
        }
    };
    match choice {
        0 if is_file => {
            fs::write(&path, b"something else\n").unwrap();
            "written"
        }
        1 | 2 if is_file => {
            // Only the time of change tells.
            let meta = fs::metadata(&path).unwrap();
            let other: Vec<u8> = fs::read(&path).unwrap().iter().map(|byte| byte ^ 1).collect();
            fs::write(&path, other).unwrap();
            let times = FileTimes::new().set_modified(meta.modified().unwrap());
            File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
            "edited, of the same size and time"
        }
        3 if is_file => {
            File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
            "made old"
        }
        4 if is_file => {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            fs::set_permissions(&path, Permissions::from_mode(mode ^ 0o111)).unwrap();
            "made executable, or no more"
        }
        5 => {
            let _ = fs::remove_file(&path);
            "removed"
        }
        6 => {
            if fs::remove_file(&path).is_ok() {
                symlink("nowhere", &path).unwrap();
            }
            "replaced by a link"
        }
        7 => {
            if fs::remove_file(&path).is_ok() {
                fs::create_dir_all(path.join("in/it")).unwrap();
                write(path.join("file"), b"x");
            }
            "replaced by a folder"
        }
        8 if folder != dir && folder.exists() => {
            // To git a link to a folder is as good as the folder.
            fs::remove_dir_all(&folder).unwrap();
            if is_slot && which % 2 == 0 {
                symlink(elsewhere, &folder).unwrap();
            } else if is_slot {
                fs::write(&folder, "x").unwrap();
            }
            REPLACED
        }
        9..12 => {
            write(folder.join("untracked"), b"x");
            "untracked"
        }
        12..15 => {
            write(folder.join("new.o"), b"x");
            write(folder.join("out/y"), b"x");
            write(dir.join("out/deep/y"), b"x");
            write(folder.join("kept-not"), b"x");
            "maybe ignored"
        }
        15 => {
            let _ = fs::create_dir_all(folder.join("empty/er"));
            "empty folders"
        }
        16 => {
            write(dir.join("odd/x.o"), b"x");
            write(dir.join(["odd/y", "odd/deep/z.o"][usize::from(which % 2 == 0)]), b"x");
            "an untracked folder with ignored files"
        }
        17 => {
            write(folder.join(".gitignore.new"), b"x");
            if !folder.join(".gitignore").exists() {
                write(folder.join(".gitignore"), b"*.tmp\n");
            }
            write(folder.join("x.tmp"), b"x");
            "its own rules"
        }
        18 => {
            write(folder.join("cache/.gitignore"), b"*\n");
            write(folder.join("cache/tag"), b"x");
            "a folder that ignores itself"
        }
        19 if is_file => {
            let _ = fs::hard_link(&path, elsewhere.join(format!("link-{which}-{is_slot}")));
            "linked to"
        }
        20 => {
            if let Some(other) = any(other) {
                let _ = fs::rename(&path, path_of(dir, other));
            }
            "renamed"
        }
        21 => {
            let nested = folder.join("nested");
            if !nested.exists() && !folder.is_symlink() && fs::create_dir_all(&folder).is_ok() {
                Repo::init(&nested, &[]);
            }
            // Where git does not see it.
            if is_slot && path.exists() && folder != dir && !folder.join(".git").exists() {
                Repo::init(&folder, &[]);
            }
            "repositories"
        }
        22 if is_slot => {
            let git = Git::new(dir.join(".git"), Config::RepositoryOnly).with_work_tree(dir);
            let _ = fs::write(dir.join("staged"), "x");
            let _ = git.run(["add", "--all"]);
            let _ = git.run(["-c", "user.name=G", "-c", "user.email=g@h", "commit", "-qm", "by a gate"]);
            "committed"
        }
        23 if is_slot => {
            let _ = fs::remove_file(dir.join(".git/index"));
            fs::create_dir_all(dir.join(".git/info")).unwrap();
            fs::write(dir.join(".git/info/exclude"), "*\n").unwrap();
            fs::write(dir.join(".git/info/attributes"), "* eol=crlf\n").unwrap();
            fs::write(dir.join(".git/config"), "[core]\n\tautocrlf = true\n").unwrap();
            "settings"
        }
        24 if is_slot => {
            if !folder.join(".gitattributes").exists() && folder.is_dir() {
                fs::write(folder.join(".gitattributes"), "* text eol=crlf\n").unwrap();
            }
            "its own attributes"
        }
        25 if is_slot => {
            let lost = ["notes", "index"][usize::from(which % 3 == 0)];
            let _ = fs::remove_file(format!("{}.{lost}", dir.display()));
            LOST
        }
        _ => "nothing",
    }
}

#[test]
fn whatever_gates_do_a_slot_is_what_a_fresh_checkout_is() {
    let (steps, seed) = (asked("LEXPR_SLOT_STEPS").unwrap_or(STEPS), asked("LEXPR_SLOT_SEED").unwrap_or(SEED));
    let mut random = Random(seed);
    let mut world = World::new(&mut random);
    let mut twin = Twin::new(&world);
    let mut slot = world.pool.take().unwrap();
    let elsewhere = world.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let (mut at, mut story) = (0, Vec::new());
    let (mut plain, mut plain_in_process, mut in_process) = (0, 0, 0);
    for step in 0..steps {
        // Some worlds, so that not all trees descend from the same few.
        if step > 0 && step % 60 == 0 {
            drop(slot);
            world = World::new(&mut random);
            twin = Twin::new(&world);
            slot = world.pool.take().unwrap();
            fs::create_dir_all(world.folder.path().join("elsewhere")).unwrap();
            story.clear();
            at = 0;
        }
        let elsewhere = world.folder.path().join("elsewhere");
        let is_first = story.is_empty();
        let mut did = Vec::new();
        if !is_first && random.below(5) != 0 {
            for _ in 0..1 + random.below(3) {
                // The same in both.
                let state = random.0;
                let what = disturb(&mut random, &world.trees[at], slot.path(), &elsewhere, true);
                disturb(&mut Random(state), &world.trees[at], &twin.place, &elsewhere, false);
                did.push(what);
                if what == REPLACED {
                    // By something else in one than in the other.
                    break;
                }
            }
        }
        if random.below(12) == 0 || did.contains(&LOST) {
            // Another run.
            drop(slot);
            slot = world.pool.take().unwrap();
            did.push("taken anew");
        }
        let before = at;
        at = if random.below(8) == 0 { at } else { random.below(world.trees.len()) };
        let asked = if random.below(5) == 0 { Clean::IgnoredToo } else { Clean::TrackedAndUntracked };
        // Without its index a slot cannot tell what was tracked from what a build made, and keeps neither.
        let has_index = slot.path().with_file_name("0.index").exists();
        let expected = if has_index { asked } else { Clean::IgnoredToo };
        story.push(format!("{did:?}, to {at} ({asked:?})"));
        let to = &world.targets[at];
        slot.switch_to(to, asked).unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}\n{story:#?}"));
        twin.switch(to, &world.fresh[at], expected);
        let by = slot.switched_by().unwrap();
        story.last_mut().unwrap().push_str(&format!(" by {by:?}"));
        in_process += usize::from(by == SwitchedBy::InProcess);
        if !is_first && did.is_empty() && is_plain(&world.trees[before]) && is_plain(&world.trees[at]) {
            plain += 1;
            plain_in_process += usize::from(by == SwitchedBy::InProcess);
        }
        check(&world, &slot, &twin, at, expected)
            .unwrap_or_else(|why| panic!("seed {seed}, step {step}: {why}\n{story:#?}"));
    }
    println!("{in_process} of {steps} in process, of those nobody disturbed {plain_in_process} of {plain}");
    assert!(plain_in_process * 10 >= plain * 9, "{plain_in_process} of {plain}");
    assert!(in_process * 3 > steps, "{in_process} of {steps}");
}

fn check(world: &World, slot: &Slot, twin: &Twin, at: usize, clean: Clean) -> Result<(), String> {
    let (found, fresh) = (listing(slot.path()), &world.fresh[at]);
    for (path, expected) in fresh {
        if found.get(path) != Some(expected) {
            return Err(format!("{}: {:?}, expected {expected:?}", path.escape_ascii(), found.get(path)));
        }
    }
    let kept = untracked(&found, fresh);
    if clean == Clean::IgnoredToo && !kept.is_empty() {
        return Err(format!("left: {kept:?}"));
    }
    let mut twins = untracked(&listing(&twin.place), fresh);
    // In a folder that was tracked git keeps rules that hide themselves, and a folder named as they are; a slot keeps neither.
    twins.retain(|path| kept.contains(path) || !is_or_is_in(path, b".gitignore"));
    if kept != twins {
        let shown =
            |paths: &BTreeSet<Vec<u8>>| paths.iter().map(|path| OsStr::from_bytes(path).to_owned()).collect::<Vec<_>>();
        return Err(format!("kept: {:?}, git kept {:?}", shown(&kept), shown(&twins)));
    }
    // Which the twin has none of, and [`untracked`] tells nothing of.
    let folders: BTreeSet<&[u8]> = world.trees[at].keys().flat_map(|path| above(path)).chain([&b""[..]]).collect();
    for folder in folders {
        let path = [folder, b".gitattributes"].join(&b"/"[..]);
        let path = path.strip_prefix(b"/").unwrap_or(&path);
        if found.contains_key(path) && !fresh.contains_key(path) {
            return Err(format!("left, and heeded: {}", path.escape_ascii()));
        }
    }
    for (path, (mode, _)) in &world.trees[at] {
        if *mode != SUBMODULE && *mode != LINK {
            let found = fs::symlink_metadata(path_of(slot.path(), path)).unwrap().permissions().mode() & 0o777;
            if !matches!((*mode, found), (FILE, 0o644 | 0o664) | (SCRIPT, 0o755 | 0o775)) {
                return Err(format!("{}: mode {found:o}", path.escape_ascii()));
            }
        }
    }
    let git = Git::new(slot.path().join(".git"), Config::RepositoryOnly).with_work_tree(slot.path());
    let converts = !world.trees[at].values().all(|(_, content)| !CONVERTING.contains(&content.as_slice()));
    // What was committed against its own attributes is never clean.
    let has_crlf = world.trees[at].keys().any(|path| path.ends_with(b".gitattributes"));
    if !(converts || has_crlf) {
        let status = git.line(["status", "--porcelain", "--untracked-files=all"]).unwrap();
        if !status.is_empty() {
            return Err(format!("status: {status}"));
        }
    }
    let untracked = git.line(["ls-files", "--others", "--exclude-standard"]).unwrap();
    if !untracked.is_empty() {
        return Err(format!("untracked: {untracked}"));
    }
    // The index says what the tree says, and nothing of it is missing or hidden.
    let differs = git.line(["diff-index", "--cached", "--name-only", "HEAD"]).unwrap();
    if differs.is_empty() { Ok(()) } else { Err(format!("index: {differs}")) }
}
