//! Landing on a remote as well: it moves first, under a lease, or nothing does.
#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lexpr::git::land::{LanderSettings, LocalLander};
use lexpr::git::refusal::LandRefusal;
use lexpr::ports::LandOutcome;
use lexpr::vocabulary::names::CommitId;

use crate::land_world::{Entry, FILE, LandWorld, Repo, file, land, refused};

const BEFORE: [Entry; 1] = [(FILE, b"a", b"1\n")];
const AFTER: [Entry; 1] = [(FILE, b"a", b"2\n")];

struct World {
    here: LandWorld,
    remote: Repo,
}

impl World {
    fn new() -> Self {
        let here = LandWorld::new(&BEFORE);
        let remote = Repo::init(&here.folder.path().join("remote.git"), &["--bare"]);
        let url = remote.dir().to_str().unwrap();
        here.user.run(&["remote", "add", "origin", url]);
        here.user.run(&["tag", "-a", "-m", "a tag", "v1"]);
        here.user.run(&["config", "push.followTags", "true"]);
        here.user.run(&["push", "-q", "--no-follow-tags", "origin", "main"]);
        Self { here, remote }
    }

    fn lander(&self, to: &str) -> LocalLander {
        LocalLander::new(LanderSettings { push: Some(to.to_owned()), ..self.here.settings() })
    }

    fn land(&self) -> (CommitId, LandOutcome) {
        let to = self.here.composite(&AFTER);
        (to, land(&self.lander("origin"), self.here.request(to)).unwrap())
    }

    fn theirs(&self, repo: &Repo) -> CommitId {
        repo.commit(&[file("theirs", "x\n")], &[self.here.base])
    }

    fn is_untouched(&self) {
        assert_eq!(self.here.user.at("main"), self.here.base);
        assert_eq!(self.here.user.run(&["status", "--porcelain"]), "");
    }
}

fn hook(repo: &Repo, name: &str, script: &str) {
    let path = repo.dir().join("hooks").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_landing_moves_the_remote_and_then_the_local_target() {
    for by_url in [false, true] {
        let world = World::new();
        let url = world.remote.dir().to_str().unwrap();
        let name = if by_url { url } else { "origin" };
        world.lander(name).preflight(world.here.base).unwrap();
        let to = world.here.composite(&AFTER);
        let outcome = land(&world.lander(name), world.here.request(to)).unwrap();
        let moved_checkouts = vec![world.here.work_tree().display().to_string()];
        assert_eq!(outcome, LandOutcome::Landed { pushed_to: Some(name.to_owned()), moved_checkouts });
        assert_eq!(world.remote.at("main"), to);
        assert_eq!(world.here.user.at("main"), to);
        assert_eq!(world.remote.run(&["for-each-ref", "--format=%(refname)"]), "refs/heads/main", "nothing else");
    }
}

#[test]
fn the_start_is_refused_unless_the_remotes_target_is_at_base() {
    let world = World::new();
    let theirs = world.theirs(&world.remote);
    world.remote.set("refs/heads/main", theirs);
    // Matches the pattern, not the name.
    world.remote.set("refs/heads/refs/heads/main", world.here.base);
    match world.lander("origin").preflight(world.here.base).unwrap_err() {
        LandRefusal::RemoteElsewhere { now, expected, .. } => {
            assert_eq!((now, expected), (Some(theirs), world.here.base));
        }
        other => panic!("{other}"),
    }
    world.remote.run(&["update-ref", "-d", "refs/heads/main"]);
    let refusal = world.lander("origin").preflight(world.here.base).unwrap_err().to_string();
    assert!(refusal.contains("at no commit"), "{refusal}");
    let refusal = world.lander("nowhere").preflight(world.here.base).unwrap_err();
    assert!(matches!(refusal, LandRefusal::RemoteRefuses { .. }), "{refusal}");
    assert!(refusal.to_string().contains("nowhere"), "{refusal}");
    let refusal = world.lander("--all").preflight(world.here.base).unwrap_err().to_string();
    assert!(refusal.contains("--all"), "{refusal}");
    world.is_untouched();
}

#[test]
fn the_place_that_is_asked_is_the_one_that_is_pushed_to() {
    let world = World::new();
    let elsewhere = Repo::init(&world.here.folder.path().join("elsewhere.git"), &["--bare"]);
    world.here.user.run(&["config", "remote.origin.pushurl", elsewhere.dir().to_str().unwrap()]);
    let refusal = world.lander("origin").preflight(world.here.base).unwrap_err().to_string();
    assert!(refusal.contains("at no commit"), "{refusal}");
}

#[test]
fn a_remote_that_moved_meanwhile_is_left_alone_and_so_is_the_local_target() {
    let world = World::new();
    world.lander("origin").preflight(world.here.base).unwrap();
    let theirs = world.theirs(&world.remote);
    world.remote.set("refs/heads/main", theirs);
    let message = refused(world.land().1);
    assert!(message.contains(&theirs.to_string()) && message.contains("fetch"), "{message}");
    assert_eq!(world.remote.at("main"), theirs);
    world.is_untouched();
}

#[test]
fn a_remote_that_says_no_is_quoted() {
    let world = World::new();
    hook(&world.remote, "pre-receive", "echo 'main is frozen' >&2; exit 1");
    let message = refused(world.land().1);
    assert!(message.contains("main is frozen"), "{message}");
    assert_eq!(world.remote.at("main"), world.here.base);
    world.is_untouched();
}

#[test]
fn a_push_that_an_earlier_try_finished_is_not_an_obstacle() {
    let world = World::new();
    let to = world.here.composite(&AFTER);
    world.here.quarantine.run(&["push", "-q", world.remote.dir().to_str().unwrap(), &format!("{to}:refs/heads/main")]);
    let (again, outcome) = world.land();
    assert_eq!(again, to);
    assert!(matches!(outcome, LandOutcome::Landed { .. }), "{outcome:?}");
    assert_eq!(world.here.user.at("main"), to);
}

/// The connection breaks after the remote did what it was asked to.
#[test]
fn a_push_whose_answer_is_lost_counts_if_the_remote_has_it() {
    let world = World::new();
    hook(&world.remote, "post-update", "kill -9 $PPID");
    let (to, outcome) = world.land();
    assert_eq!(world.remote.at("main"), to);
    assert!(matches!(outcome, LandOutcome::Landed { .. }), "{outcome:?}");
    assert_eq!(world.here.user.at("main"), to);
}

#[test]
fn a_local_target_that_moved_during_the_push_is_left_alone_and_the_message_says_what_landed() {
    let world = World::new();
    let theirs = world.theirs(&world.here.user);
    world.here.user.run(&["checkout", "-q", "--detach"]);
    // The remote's hook stands in for somebody who is at work here meanwhile.
    let here = world.here.user.dir().display().to_string();
    let move_it = format!("env -i PATH=\"$PATH\" git --git-dir='{here}' update-ref refs/heads/main {theirs}");
    hook(&world.remote, "pre-receive", &move_it);
    world.lander("origin").preflight(world.here.base).unwrap();
    let (to, outcome) = world.land();
    let message = refused(outcome);
    assert!(message.contains("landed on origin") && message.contains(&to.to_string()), "{message}");
    assert!(message.contains(&theirs.to_string()), "{message}");
    assert_eq!((world.remote.at("main"), world.here.user.at("main")), (to, theirs));
}

#[test]
fn a_local_target_that_moved_before_keeps_the_remote_from_moving() {
    let world = World::new();
    let theirs = world.theirs(&world.here.user);
    world.here.user.run(&["checkout", "-q", "--detach"]);
    world.here.user.set("refs/heads/main", theirs);
    assert_eq!(world.land().1, LandOutcome::TargetMoved { to: theirs });
    assert_eq!(world.remote.at("main"), world.here.base);
}

#[test]
fn a_dirty_checkout_keeps_the_remote_from_moving_too() {
    let world = World::new();
    fs::write(Path::new(&world.here.work_tree().join("a")), "mine\n").unwrap();
    let message = refused(world.land().1);
    assert!(message.contains(": a"), "{message}");
    assert_eq!((world.remote.at("main"), world.here.user.at("main")), (world.here.base, world.here.base));
}
