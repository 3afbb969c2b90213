//! One test for each bug that the proof has found, and what it cannot find by chance.

use rustix::process::{Signal, kill_process};

use crate::case::Case;
use crate::ends::End;
use crate::proof::{kill_and_resume, undisturbed};
use crate::scenario::{Mode, Scenario, Shape};
use crate::world::{Ended, World, wait_for};

#[track_caller]
fn proves(case: &str) {
    let case: Case = case.parse().unwrap();
    let (end, _) = undisturbed(case.scenario);
    match kill_and_resume(&case, &end) {
        Ok(proven) => assert_eq!(proven.kills, case.kills.len(), "{case}: not every place was reached"),
        Err(why) => panic!("{why}"),
    }
}

/// Goes on with a run that was killed once, to the end of an undisturbed one.
#[track_caller]
fn goes_on_to(world: &World, end: &End, told: &str) {
    let Ended::Code(code) = world.run(world.go_on(), None) else { panic!("nobody killed it") };
    let resumed = End::of(world, code).unwrap_or_else(|why| panic!("{told}: {why}\n{}", world.said()));
    resumed.compare(end, 1).unwrap_or_else(|why| panic!("{told}: {why}\n{}", world.said()));
}

#[test]
fn a_run_killed_after_its_end_is_tidied_up_by_its_resumption() {
    for place in ["run.ended", "pins.release.before", "pins.release.after"] {
        proves(&format!("batches/checkout {place}:1"));
    }
}

#[test]
fn a_run_killed_before_its_first_event_leaves_nothing_once_another_begins() {
    for place in
        ["target.lock.held", "composites.create.half", "pins.keep.after", "journal.create.made", "journal.append.torn"]
    {
        proves(&format!("batches/bare {place}:1"));
    }
    // Nor is it in the way of who is killed while removing it.
    proves("batches/bare journal.create.made:1 pins.release.before:1 run.forget:1");
}

#[test]
fn a_receipt_that_was_being_written_leaves_no_second_file() {
    proves("batches/bare receipt.write.beside:2");
}

#[test]
fn objects_that_were_being_taken_in_leave_nothing_half_written_in_the_users_store() {
    proves("batches/checkout objects.migrate.under-way:2");
    proves("batches/checkout objects.migrate.moved:1 objects.migrate.moved:2");
}

#[test]
fn no_gate_outlives_the_resumption_of_a_run_killed_with_its_guards() {
    for manner in ["alone", "guards", "all"] {
        let case: Case = format!("batches/bare gate.start.after:1/{manner}").parse().unwrap();
        let (end, _) = undisturbed(case.scenario);
        let world = World::new(case.scenario);
        let mut command = world.go_on();
        // The first gate never ends, nor does the daemon it starts.
        command.env("HOLD", "1");
        assert_eq!(world.run(command, Some(&case.kills[0])), Ended::Killed);
        let Ended::Code(code) = world.run(world.go_on(), None) else { panic!("nobody killed it") };
        // Which looks for processes, too.
        let resumed = End::of(&world, code).unwrap_or_else(|why| panic!("{manner}: {why}\n{}", world.said()));
        resumed.compare(&end, 1).unwrap_or_else(|why| panic!("{manner}: {why}"));
    }
}

/// A git that lexpr has started is in a process group of its own and goes on when lexpr is killed.
#[test]
fn a_git_that_outlives_lexpr_has_its_way_before_the_run_goes_on() {
    let scenario = Scenario { shape: Shape::Batches, mode: Mode::Bare };
    let (end, _) = undisturbed(scenario);
    let world = World::new(scenario);
    // Holds the target's lock until somebody lets it go.
    let script = "[ \"$1\" = prepared ] && grep -q refs/heads/main || exit 0\n\
                  grep -q landingIntended lexpr/runs/*/journal.jsonl 2>/dev/null || exit 0\n\
                  touch \"$TRACE.held\"; until [ -e \"$TRACE.go\" ]; do sleep 0.01; done\n";
    world.write_script("bare.git/hooks/reference-transaction", script);
    world.heed_hooks();
    let (held, go) = (world.path("trace.held"), world.path("trace.go"));

    let killed = World::start(&mut world.go_on());
    wait_for(|| held.exists());
    kill_process(killed, Signal::KILL).unwrap();
    assert_eq!(world.wait(killed, None), Ended::Killed);

    let passed = world.passed();
    let resumed = World::start(world.go_on().env("LEXPR_CRASH_LIST", &passed));
    let says = |place: &str| std::fs::read_to_string(&passed).is_ok_and(|text| text.lines().any(|line| line == place));
    wait_for(|| says("resume.waits") || says("journal.append.before"));
    let waited = !says("journal.append.before");
    std::fs::write(go, "").unwrap();
    let Ended::Code(code) = world.wait(resumed, None) else { panic!("nobody killed it") };
    assert!(waited, "the run went on beside a git that was moving the target");
    let resumed = End::of(&world, code).unwrap_or_else(|why| panic!("{why}\n{}", world.said()));
    resumed.compare(&end, 1).unwrap();
}

/// As where a machine dies while git is at work: a lock file of git's stays.
#[test]
fn locks_of_gits_that_were_killed_with_lexpr_keep_nothing_from_its_end() {
    for (mode, lock) in [(Mode::Bare, "bare.git/refs/heads/main.lock"), (Mode::Checkout, "repo/.git/lexpr-index.lock")]
    {
        let scenario = Scenario { shape: Shape::Batches, mode };
        let (end, _) = undisturbed(scenario);
        let world = World::new(scenario);
        let held = world.path("trace.held");
        // Once the first landing is under way git is held up while it has the lock.
        let hold = "cat; grep -q landingIntended \"$(git rev-parse --git-dir)\"/lexpr/runs/*/journal.jsonl || exit 0\n\
                    touch \"$TRACE.held\"; exec sleep 600\n";
        match mode {
            Mode::Bare => {
                let script = format!("[ \"$1\" = prepared ] && grep -q refs/heads/main || exit 0\n{hold}");
                world.write_script("bare.git/hooks/reference-transaction", &script);
                world.heed_hooks();
            }
            _ => {
                world.write_script("hold", hold);
                world.write("repo/.git/info/attributes", "* filter=hold\n");
                let hold = world.path("hold").display().to_string();
                world.git_in(&world.start_folder(), &["config", "--global", "filter.hold.smudge", &hold]);
            }
        }
        let killed = World::start(&mut world.go_on());
        wait_for(|| held.exists());
        kill_process(killed, Signal::KILL).unwrap();
        assert_eq!(world.wait(killed, None), Ended::Killed);
        world.kill_processes();
        assert!(world.path(lock).exists(), "git had taken no {lock}");
        match mode {
            Mode::Bare => std::fs::remove_file(world.path("bare.git/hooks/reference-transaction")).unwrap(),
            _ => std::fs::remove_file(world.git_dir().join("info/attributes")).unwrap(),
        }

        let Ended::Code(code) = world.run(world.go_on(), None) else { panic!("nobody killed it") };
        let is_told = world.said().contains(lock);
        assert_eq!(is_told, mode == Mode::Bare, "what is lexpr's own is no news: {}", world.said());
        let resumed = End::of(&world, code).unwrap_or_else(|why| panic!("{lock}: {why}\n{}", world.said()));
        resumed.compare(&end, 1).unwrap_or_else(|why| panic!("{lock}: {why}\n{}", world.said()));
    }
}

#[test]
fn a_lock_that_was_there_before_the_landing_is_named_and_the_landing_finished_once_it_is_gone() {
    for (place, lock) in [
        ("checkout.move.before:1", "repo/.git/index.lock"),
        ("target.swap.before:1", "repo/.git/refs/heads/main.lock"),
        ("target.swap.after:2", "repo/.git/index.lock"),
        ("remote.push.after:1", "repo/.git/refs/heads/main.lock"),
    ] {
        let before_the_run = std::time::SystemTime::now();
        let case: Case = format!("batches/push {place}").parse().unwrap();
        let (end, _) = undisturbed(case.scenario);
        let world = World::new(case.scenario);
        assert_eq!(world.run(world.go_on(), Some(&case.kills[0])), Ended::Killed);
        std::fs::File::create(world.path(lock)).unwrap().set_modified(before_the_run).unwrap();
        for _ in 0..2 {
            assert_eq!(world.run(world.go_on(), None), Ended::Code(4), "{place}: {}", world.said());
            assert!(world.said().contains(lock), "{place}: {}", world.said());
        }
        std::fs::remove_file(world.path(lock)).unwrap();
        goes_on_to(&world, &end, place);
    }
}

#[test]
fn a_lock_that_somebodys_git_holds_is_left_to_it_until_it_is_done() {
    let case: Case = "batches/checkout landing.before:1".parse().unwrap();
    let (end, _) = undisturbed(case.scenario);
    let world = World::new(case.scenario);
    assert_eq!(world.run(world.go_on(), Some(&case.kills[0])), Ended::Killed);
    // Somebody writes the message of a `commit -a`, for which git keeps the index's lock, and thinks better of it.
    world.write_script("editor", "touch \"$TRACE.held\"; until [ -e \"$TRACE.go\" ]; do sleep 0.01; done; exit 1\n");
    let mut commit = world.git(&world.start_folder());
    commit
        .args(["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qa", "--allow-empty"])
        .env("GIT_EDITOR", world.path("editor"));
    let mut commit = commit.stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_for(|| world.path("trace.held").exists());
    for _ in 0..2 {
        assert_eq!(world.run(world.go_on(), None), Ended::Code(4), "{}", world.said());
        assert!(world.said().contains("repo/.git/index.lock"), "{}", world.said());
    }
    std::fs::write(world.path("trace.go"), "").unwrap();
    assert!(!commit.wait().unwrap().success());
    goes_on_to(&world, &end, "resumed");
}

/// A commit of the index as it was would take back what has landed.
#[test]
fn nobody_commits_in_a_checkout_that_has_not_followed_the_target_yet() {
    for place in ["target.swap.after", "checkout.move.before", "checkout.index.before"] {
        let case: Case = format!("batches/checkout {place}:1").parse().unwrap();
        let (end, _) = undisturbed(case.scenario);
        let world = World::new(case.scenario);
        assert_eq!(world.run(world.go_on(), Some(&case.kills[0])), Ended::Killed);
        let commit = |what: &[&str]| {
            let mut git = world.git(&world.start_folder());
            git.args(["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "Mine"]).args(what);
            git.output().unwrap()
        };
        for what in [&["--allow-empty"][..], &["--allow-empty", "-a"]] {
            let refused = commit(what);
            assert!(String::from_utf8_lossy(&refused.stderr).contains("index.lock"), "{place}: {refused:?}");
        }
        goes_on_to(&world, &end, place);
    }
}

/// To commit the files of a landing that was cut off takes back what has landed.
#[test]
fn nothing_but_its_end_is_offered_for_a_landing_that_was_cut_off() {
    let case: Case = "batches/checkout checkout.index.before:1".parse().unwrap();
    let (end, _) = undisturbed(case.scenario);
    let world = World::new(case.scenario);
    assert_eq!(world.run(world.go_on(), Some(&case.kills[0])), Ended::Killed);
    let id = world.run_id();
    world.write("other.yaml", "schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: fourth}]\n");
    let offers = |command: std::process::Command, code: i32| {
        let before = world.said().len();
        assert_eq!(world.run(command, None), Ended::Code(code), "{}", world.said());
        let said = world.said()[before..].to_owned();
        assert!(said.contains(&format!("`lexpr resume {id}`")) && !said.contains("commit or stash"), "{said}");
    };
    for plan in ["other.yaml", "plan.yaml"] {
        let mut merge = world.merge(plan);
        merge.arg("--afresh");
        offers(merge, 4);
    }
    offers(world.clean(&id), 2);
    // Nor where somebody has taken the lock away by hand.
    std::fs::remove_file(world.path("repo/.git/index.lock")).unwrap();
    offers(world.merge("other.yaml"), 4);
    goes_on_to(&world, &end, "resumed");
}

#[test]
fn invariant_1_a_switch_that_is_cut_off_has_said_that_it_began() {
    for place in ["slot.switch.written:3", "slot.switch.read:1"] {
        let case: Case = format!("batches/bare {place}").parse().unwrap();
        let world = World::new(case.scenario);
        let Ended::Killed = world.run(world.go_on(), case.kills.first()) else { panic!("{place} was not reached") };
        let mut folders = vec![world.path("cache")];
        let mut begun = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|extension| extension == "notes") {
                    begun += usize::from(std::fs::read_to_string(&path).unwrap().starts_with("lexpr-slot-begun"));
                } else if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        assert!(begun > 0, "{place}");
    }
}
