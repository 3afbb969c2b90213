//! Landing and the target itself: moved by compare-and-swap in every kind of repository, with
//! all its objects, or not at all.
#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Barrier};

use lexpr::git::command::{Config, bare_command, output};
use lexpr::git::land::LocalLander;
use lexpr::git::lock::Purpose;
use lexpr::git::migrate::{self, Origin, Store};
use lexpr::git::refusal::LandRefusal;
use lexpr::plan::graph::ItemIx;
use lexpr::ports::{ComposeItem, LandOutcome, LandRequest, Lander, Whereabouts};
use lexpr::vocabulary::names::{ApexId, CommitId, MergeStrategy, RunId};

use crate::cli_world::wait_for as wait_until;
use crate::land_world::{Entry, FILE, LandWorld, file, land, refused, wait_for};

const BEFORE: [Entry; 1] = [(crate::land_world::FILE, b"a", b"1\n")];
const AFTER: [Entry; 1] = [(crate::land_world::FILE, b"a", b"2\n")];

fn is_whole(world: &LandWorld, commit: CommitId) {
    world.user.run(&["fsck", "--full", "--strict", "--no-dangling", &commit.to_string()]);
}

#[test]
fn every_kind_of_repository_can_be_landed_in() {
    let mut kinds = vec![vec!["--bare"], vec!["--bare", "--object-format=sha256"], vec![]];
    // git 2.45 and later.
    let mut probe = bare_command(Config::RepositoryOnly);
    let folder = tempfile::tempdir().unwrap();
    probe.args(["init", "-q", "--ref-format=reftable"]).arg(folder.path());
    if output(probe, None).unwrap().status.success() {
        kinds.extend([vec!["--bare", "--ref-format=reftable"], vec!["--ref-format=reftable"]]);
    }
    for options in kinds {
        let world = LandWorld::with(&options, &BEFORE);
        world.lander().preflight(world.base).unwrap();
        let (to, outcome) = world.land(&AFTER);
        assert!(matches!(outcome, LandOutcome::Landed { .. }), "{options:?}: {outcome:?}");
        assert_eq!(world.user.at("refs/heads/main"), to);
        assert_eq!(world.lander().current_target().unwrap(), to);
        // The user's repository needs nothing of lexpr's any more.
        fs::remove_dir_all(world.quarantine.dir()).unwrap();
        is_whole(&world, to);
    }
}

#[test]
fn a_target_that_others_have_moved_is_seen_at_a_glance_and_then_looked_at() {
    let world = LandWorld::with(&["--bare"], &BEFORE);
    let lander = world.lander();
    let look = |tip: CommitId| lander.elsewhere(tip).map(|look| wait_for(look).unwrap());
    assert_eq!(look(world.base), None);
    let child = world.user.commit(&AFTER, &[world.base]);
    world.user.set("refs/heads/main", child);
    assert_eq!(look(world.base), Some(Some(Whereabouts::Moved { to: child })));
    assert_eq!(look(child), None);
    // While another one lands nothing is known.
    let turn = lander.try_turn(Purpose::Landing).unwrap();
    assert_eq!(look(world.base), Some(None));
    drop(turn);
    let aside = world.user.commit(&AFTER, &[]);
    world.user.set("refs/heads/main", aside);
    assert!(matches!(look(world.base), Some(Some(Whereabouts::Lost { .. }))));
    // Not at a glance: a landing sees it.
    world.user.set("refs/heads/main", child);
    world.user.run(&["pack-refs", "--all"]);
    assert_eq!(look(world.base), None);
}

#[test]
fn nothing_of_a_composite_is_in_the_users_store_before_it_lands_and_no_more_than_it_needs_after() {
    let world = LandWorld::new(&BEFORE);
    // An item whose history is the user's already, merged in the quarantine.
    let head = world.user.commit(&[file("a", "1\n"), file("b", "item\n")], &[world.base]);
    world.user.set("refs/heads/item", head);
    let unrelated = world.composite(&[file("never", "landed\n")]);
    let tree = world.quarantine.tree(&[file("a", "1\n"), file("b", "item\n"), file("c", "made\n")]);
    let to = world.quarantine.commit_tree(&tree.to_string(), &[world.base, head], "merge");
    assert!(!world.has(to));
    let item = ComposeItem {
        ix: ItemIx::new(0),
        name: "item".into(),
        branch: "item".to_owned(),
        head,
        strategy: MergeStrategy::Merge,
        deps: Vec::new(),
        merged: Vec::new(),
        overridden: None,
    };
    let request = LandRequest { items: vec![Arc::new(item)], ..world.request(to) };
    assert!(matches!(land(&world.lander(), request).unwrap(), LandOutcome::Landed { .. }));
    assert!(world.has(to) && !world.has(unrelated));
    let counts = world.user.run(&["count-objects", "-v"]);
    // The commit, its tree and the one new file.
    assert!(counts.contains("in-pack: 3") && counts.contains("packs: 1"), "{counts}");
    let reflog = world.user.run(&["reflog", "show", "-1", "--format=%gs", "main"]);
    assert_eq!(reflog, "lexpr: land 1 item");
    fs::remove_dir_all(world.quarantine.dir()).unwrap();
    is_whole(&world, to);
}

/// In process where it is little, and by git where it is much.
#[test]
fn a_landing_brings_what_git_would_and_nothing_else() {
    for big in [0, 9 << 20] {
        let world = LandWorld::new(&BEFORE);
        // A folder comes from a branch, deep ones change and come back, a file moves and one goes.
        let head =
            world.user.commit(&[file("a", "1\n"), file("new/deep/x", "x\n"), file("new/y", "y\n")], &[world.base]);
        world.user.set("refs/heads/item", head);
        // Nothing that compresses.
        let mut content = Vec::new();
        blake3::Hasher::new().finalize_xof().take(big).read_to_end(&mut content).unwrap();
        let steps = [
            vec![file("a", "1\n"), file("new/deep/x", "x\n"), file("new/y", "y\n"), file("d/e/f", "1\n")],
            vec![file("a", "2\n"), file("new/deep/x", "2\n"), file("new/y", "y\n"), file("d/e/f", "1\n")],
            vec![file("a", "2\n"), file("new/deep/x", "x\n"), file("moved", "y\n"), file("d/e/f", "2\n")],
            vec![file("a", "1\n"), file("new/deep/x", "3\n"), (FILE, b"big", &content)],
        ];
        let mut to = world.base;
        for (at, step) in steps.iter().enumerate() {
            let tree = world.quarantine.tree(step);
            let parents = if at == 0 { vec![to, head] } else { vec![to] };
            to = world.quarantine.commit_tree(&tree.to_string(), &parents, &format!("step {at}"));
        }
        let range = [to.to_string(), format!("^{}", world.base), format!("^{head}")];
        let listed =
            world.quarantine.run(&["rev-list", "--objects", "--no-object-names", &range[0], &range[1], &range[2]]);
        let has = |id: &str| world.user.git.output(&["cat-file", "-e", id], None).unwrap().status.success();
        let expected: BTreeSet<String> = listed.lines().filter(|id| !has(id)).map(str::to_owned).collect();
        let git = world.user.git.at(world.user.dir());
        let store = Store { git: &git, objects: &world.settings().objects };
        let origin = Origin::new(world.quarantine.git.clone(), None);
        migrate::bring(&origin, store, to, &[world.base, head], &RunId::new("r")).unwrap();
        let brought =
            world.user.run(&["cat-file", "--batch-all-objects", "--batch-check=%(objectname)", "--unordered"]);
        let loose = world.user.run(&["count-objects", "-v"]);
        assert!(loose.contains(&format!("in-pack: {}\n", expected.len())), "{loose}\n{expected:#?}");
        assert!(expected.iter().all(|id| brought.contains(id)));
        world.user.set("refs/heads/main", to);
        fs::remove_dir_all(world.quarantine.dir()).unwrap();
        is_whole(&world, to);
    }
}

#[test]
fn objects_that_are_there_already_are_not_brought_again() {
    let world = LandWorld::new(&BEFORE);
    let to = world.composite(&AFTER);
    let (quarantine, git) = (Origin::new(world.quarantine.git.clone(), None), world.user.git.at(world.user.dir()));
    let store = Store { git: &git, objects: &world.settings().objects };
    for _ in 0..2 {
        migrate::bring(&quarantine, store, to, &[world.base], &RunId::new("r")).unwrap();
    }
    migrate::bring(&quarantine, store, to, &[to], &RunId::new("r")).unwrap();
    assert!(world.user.run(&["count-objects", "-v"]).contains("packs: 1"));
}

#[test]
fn a_landing_that_would_lack_objects_is_an_error_and_moves_nothing() {
    let world = LandWorld::new(&BEFORE);
    let to = world.composite(&AFTER);
    // Taken for the user's, but only the quarantine has it.
    let git = world.user.git.at(world.user.dir());
    let store = Store { git: &git, objects: &world.settings().objects };
    let error = migrate::bring(
        &Origin::new(world.quarantine.git.clone(), None),
        store,
        to,
        &[world.base, to],
        &RunId::new("r"),
    )
    .unwrap_err();
    assert!(error.to_string().contains(&to.to_string()), "{error}");
    // Only there in part.
    let blob = world.quarantine.blob(b"2\n");
    fs::remove_file(world.quarantine.objects().join(&blob[..2]).join(&blob[2..])).unwrap();
    let error = land(&world.lander(), world.request(to)).unwrap_err();
    assert!(error.message.contains(&blob), "{error}");
    assert_eq!(world.user.at("main"), world.base);
}

#[test]
fn a_target_that_somebody_moved_is_left_where_it_is() {
    let world = LandWorld::with(&["--bare"], &BEFORE);
    let theirs = world.user.commit(&[file("theirs", "x\n")], &[world.base]);
    world.user.set("refs/heads/main", theirs);
    let (_, outcome) = world.land(&AFTER);
    assert_eq!(outcome, LandOutcome::TargetMoved { to: theirs });
    assert_eq!(world.user.at("main"), theirs);
    let refusal = world.lander().preflight(world.base).unwrap_err().to_string();
    assert!(refusal.contains(&theirs.to_string()), "{refusal}");
    world.user.run(&["update-ref", "-d", "refs/heads/main"]);
    let message = refused(world.land(&AFTER).1);
    assert!(message.contains("does not exist"), "{message}");
}

/// Many landings at once from one commit: each saw the target where it expected it, or not, but
/// only one can have moved it.
#[test]
fn of_many_landings_at_once_exactly_one_wins() {
    const RACERS: usize = 6;
    let world = LandWorld::with(&["--bare"], &BEFORE);
    let composites: Vec<CommitId> = (0..RACERS).map(|n| world.composite(&[file("a", &format!("by {n}\n"))])).collect();
    let start = Barrier::new(RACERS);
    let outcomes: Vec<LandOutcome> = std::thread::scope(|scope| {
        let (world, start) = (&world, &start);
        let racer = |to: CommitId| {
            move || {
                let request = world.request(to);
                start.wait();
                land(&world.lander(), request).unwrap()
            }
        };
        let racers: Vec<_> = composites.iter().map(|to| scope.spawn(racer(*to))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let now = world.user.at("main");
    let winners: Vec<CommitId> = std::iter::zip(&composites, &outcomes)
        .filter(|(_, outcome)| matches!(outcome, LandOutcome::Landed { .. }))
        .map(|(to, _)| *to)
        .collect();
    assert_eq!(winners, [now]);
    for outcome in outcomes {
        match outcome {
            LandOutcome::Landed { .. } => {}
            LandOutcome::TargetMoved { to } => assert_eq!(to, now),
            // git waits for a locked ref only so long.
            LandOutcome::Refused { message, .. } => assert!(message.contains("lock"), "{message}"),
        }
    }
}

#[test]
fn a_lost_race_is_told_from_a_refusal() {
    let world = LandWorld::with(&["--bare"], &BEFORE);
    let theirs = world.user.commit(&[file("theirs", "x\n")], &[world.base]);
    let main = world.user.dir().join("refs/heads/main");
    let lock = main.with_extension("lock");
    fs::write(&lock, "").unwrap();
    let message = refused(world.land(&AFTER).1);
    assert!(message.contains("main.lock"), "{message}");
    assert_eq!(world.user.at("main"), world.base);

    // Somebody has the lock when lexpr has looked at the target and comes to move it: they move it.
    world.user.run(&["config", "core.filesRefLockTimeout", "-1"]);
    let outcome = std::thread::scope(|scope| {
        let landing = scope.spawn(|| world.land(&AFTER).1);
        wait_until("lexpr's git to wait for the lock", || is_waiting(world.user.dir()).then_some(()));
        fs::write(&main, format!("{theirs}\n")).unwrap();
        fs::remove_file(&lock).unwrap();
        landing.join().unwrap()
    });
    assert_eq!(outcome, LandOutcome::TargetMoved { to: theirs });
}

/// Whether there is a `git update-ref` for this repository.
fn is_waiting(git_dir: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let commands = processes.map(|process| fs::read(process.join("cmdline")).unwrap_or_default());
    commands
        .map(|command| String::from_utf8_lossy(&command).into_owned())
        .any(|command| command.contains("\0update-ref\0") && command.contains(&git_dir.display().to_string()))
}

#[test]
fn a_target_that_cannot_be_changed_is_refused_before_anything_runs() {
    let world = LandWorld::with(&["--bare"], &BEFORE);
    fs::write(world.user.dir().join("refs/heads/main.lock"), "").unwrap();
    let refusal = world.lander().preflight(world.base).unwrap_err();
    assert!(matches!(refusal, LandRefusal::TargetLocked { .. }), "{refusal}");
    assert!(refusal.to_string().contains("main.lock"), "{refusal}");
}

#[test]
fn a_symbolic_target_is_refused_by_the_name_it_stands_for() {
    let world = LandWorld::with(&["--bare"], &BEFORE);
    world.user.run(&["symbolic-ref", "refs/heads/trunk", "refs/heads/main"]);
    let settings = lexpr::git::land::LanderSettings { target: "refs/heads/trunk".to_owned(), ..world.settings() };
    let refusal = LocalLander::new(settings).preflight(world.base).unwrap_err().to_string();
    assert!(refusal.contains("refs/heads/main"), "{refusal}");
}

#[test]
fn signing_that_is_asked_for_is_never_silently_dropped() {
    let world = LandWorld::with(&["--bare"], &BEFORE);
    for (value, refused) in [("true", true), ("yes", true), ("false", false)] {
        world.user.run(&["config", "commit.gpgSign", value]);
        let answer = world.lander().preflight(world.base);
        assert_eq!(matches!(answer, Err(LandRefusal::Signing)), refused, "{value}");
        let settings = lexpr::git::land::LanderSettings { no_sign: true, ..world.settings() };
        LocalLander::new(settings).preflight(world.base).unwrap();
    }
    world.user.run(&["config", "commit.gpgSign", "perhaps"]);
    assert!(matches!(world.lander().preflight(world.base), Err(LandRefusal::Git(_))));
}

#[test]
fn a_receipt_is_written_whole_and_again() {
    let world = LandWorld::with(&["--bare"], &BEFORE);
    let lander = world.lander();
    for tree in ["first", "second"] {
        let receipt = serde_json::json!({ "tree": tree });
        let path = wait_for(lander.write_receipt(ApexId(7), receipt.clone())).unwrap();
        assert_eq!(path, world.settings().run_dir.join("receipts/7.json"));
        let read: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, receipt);
    }
    assert_eq!(fs::read_dir(world.settings().run_dir.join("receipts")).unwrap().count(), 1, "no file left beside it");
    fs::write(Path::new(&world.folder.path().join("a file")), "").unwrap();
    let settings = lexpr::git::land::LanderSettings { run_dir: world.folder.path().join("a file"), ..world.settings() };
    let error = wait_for(LocalLander::new(settings).write_receipt(ApexId(1), serde_json::Value::Null)).unwrap_err();
    assert!(error.message.contains("receipts/1.json"), "{error}");
}
