//! What goes wrong with a machine in the middle of a run: each ends with a clear message and exit
//! code, the journal stays whole, and the run goes on once the cause is gone, to the very commit
//! that an undisturbed run lands.
//!
//! Disks are small ones in memory, in a mount namespace of the test's own (`unshare -rm`).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::cli_runs::runs;
use crate::cli_world::{Said, World};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

fn world() -> World {
    World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("c", "main", &[("c", "1")])])
}

/// Three items, one after another; each gate runs `gate.sh` and nothing else.
const PLAN: &str = "schemaVersion: v1\npolicy: {maxWorkers: 1}\ngates: [{name: g, run: 'sh \"$WORLD/gate.sh\"'}]\n\
                    items: [{name: a}, {name: b}, {name: c}]\n";

/// The same, where every slot's switch takes a git: line ends are converted.
fn world_of_converted_files() -> World {
    let world = world();
    world.git(&["checkout", "-q", "main"]);
    fs::write(world.repo().join(".gitattributes"), "* text eol=crlf\n").unwrap();
    world.git(&["add", ".gitattributes"]);
    world.git(&["commit", "-q", "-m", "Convert"]);
    world
}

fn undisturbed() -> String {
    undisturbed_in(&world())
}

fn undisturbed_in(world: &World) -> String {
    fs::write(world.path("gate.sh"), "true\n").unwrap();
    let plan = world.plan(PLAN);
    let mut command = world.command(["merge", plan.to_str().unwrap(), "--execute"]);
    let said: Said = command.env("WORLD", world.path("")).output().unwrap().into();
    said.expect(0);
    world.main()
}

/// How a run ended that something happened to, how it ended when it was resumed, and where main was
/// then, seen from where the disks are.
struct Troubled {
    run: Said,
    resumed: Said,
    main: String,
}

/// `before`, a run, `after`, its resumption: lines for the shell in which `$REPO` and `$WORLD` are
/// folders and `$LEXPR` is the binary. What `happens` does so in the first gate that runs.
fn troubled(world: &World, before: &str, happens: &str, after: &str) -> Troubled {
    let gate =
        format!("[ -e \"$WORLD/happened\" ] || {{ touch \"$WORLD/happened\"\n{happens}\n}}\nseq 1 2000 || exit 1\n");
    fs::write(world.path("gate.sh"), gate).unwrap();
    world.plan(PLAN);
    let script = format!(
        "{before}\n\
         \"$LEXPR\" merge \"$WORLD/plan.yaml\" --execute >\"$WORLD/1.out\" 2>\"$WORLD/1.err\"; echo $? >\"$WORLD/1.code\"\n\
         {after}\n\
         \"$LEXPR\" resume >\"$WORLD/2.out\" 2>\"$WORLD/2.err\"; echo $? >\"$WORLD/2.code\"\n\
         git rev-parse main >\"$WORLD/main\"\n"
    );
    let said = in_namespace(world, &script);
    let read = |name: &str| fs::read_to_string(world.path(name)).unwrap_or_else(|_| panic!("{said:?}"));
    let told = |number: u8| Said {
        code: read(&format!("{number}.code")).trim().parse().unwrap(),
        stdout: read(&format!("{number}.out")),
        stderr: read(&format!("{number}.err")),
    };
    Troubled { run: told(1), resumed: told(2), main: read("main").trim().to_owned() }
}

fn in_namespace(world: &World, script: &str) -> Said {
    let path = world.path("script.sh");
    fs::write(&path, script).unwrap();
    let mut command = world.shell("exec unshare -rm sh ../script.sh");
    command.env("LEXPR", env!("CARGO_BIN_EXE_lexpr")).env("WORLD", world.path("")).env("REPO", world.repo());
    let said: Said = command.output().unwrap().into();
    assert!(!said.stderr.contains("unshare failed"), "this test needs the right to mount: {said:?}");
    said
}

/// An empty disk of so many KiB at `folder`.
fn disk(folder: &str, size: u32) -> String {
    format!("mkdir -p {folder}; mount -t tmpfs -o size={size}k tmpfs {folder}")
}

fn fill(folder: &str) -> String {
    format!("dd if=/dev/zero of={folder}/fill bs=1k 2>/dev/null")
}

#[track_caller]
fn ended_well_after(troubled: Troubled, code: i32, complaint: &str) {
    ended_as(&undisturbed(), troubled, code, complaint);
}

fn ended_as(undisturbed: &str, troubled: Troubled, code: i32, complaint: &str) {
    let Troubled { run, resumed, main } = troubled;
    let run = run.expect(code);
    let told = format!("{}{}", run.stderr, run.stdout);
    assert!(told.contains(complaint), "no {complaint:?} in {told}");
    resumed.expect(0);
    assert_eq!(main, undisturbed);
}

#[test]
fn invariant_6_a_disk_that_is_full_when_an_event_is_journalled_loses_nothing() {
    let world = world();
    // Its last lines are in the journal, which has no room for them.
    let happens = format!("seq 1 2000\n{}\nexit 0", fill("$REPO/.git/lexpr"));
    let troubled = troubled(&world, &disk("$REPO/.git/lexpr", 512), &happens, "rm $REPO/.git/lexpr/fill");
    assert!(troubled.run.stderr.contains("lexpr resume"), "{}", troubled.run.stderr);
    ended_well_after(troubled, 1, "No space left on device");
}

#[test]
fn a_git_that_a_ctrl_c_met_while_it_was_being_started_is_started_again() {
    // Whose lines are both taken, by git alone.
    let first = [("f", "1\n"), (".gitattributes", "f merge=union\n")];
    let world = World::new(&first, &[("a", "main", &[("f", "1\na\n")]), ("b", "main", &[("f", "1\nb\n")])]);
    let plan = world.plan("schemaVersion: v1\ngates: [{ name: g, run: 'true' }]\nitems: [{ name: a }, { name: b }]\n");
    let script = "mkdir ../bin; cat >../bin/git <<END\n#!/bin/sh\ncase \" \\$* \" in *' merge-tree '*) \
                  [ -e '$PWD/../met' ] || { : >'$PWD/../met'; kill -INT \\$\\$; };; esac\n\
                  exec '$(command -v git)' \"\\$@\"\nEND\nchmod +x ../bin/git; PATH=$PWD/../bin:$PATH; \
                  exec \"$LEXPR\" merge \"$PLAN\" --execute";
    let mut command = world.shell(script);
    Said::from(command.env("LEXPR", env!("CARGO_BIN_EXE_lexpr")).env("PLAN", plan).output().unwrap()).expect(0);
    assert!(world.path("met").exists(), "no git was asked to merge");
}

#[test]
fn a_run_whose_first_event_had_no_room_is_not_said_to_go_on() {
    let world = world();
    world.plan(PLAN);
    // No file may become longer than half a kB, and the event holds the plan.
    let mut command = world.shell("ulimit -f 1; exec \"$LEXPR\" merge ../plan.yaml --execute");
    let said = Said::from(command.env("LEXPR", env!("CARGO_BIN_EXE_lexpr")).output().unwrap()).expect(1);
    assert!(said.stderr.contains("nothing was done: run the plan again"), "{said:?}");
    assert!(!said.stderr.contains("resume"), "{said:?}");
}

#[test]
fn a_full_disk_under_the_logs_stops_the_run_and_fails_no_item() {
    let world = world();
    let logs = "$REPO/.git/lexpr/runs/*/logs";
    let happens = format!("logs=$(echo {logs}); {}; {}", disk("$logs", 64), fill("$logs"));
    let troubled = troubled(&world, "true", &happens, &format!("umount {logs}"));
    ended_well_after(troubled, 1, "could not be written to its log: No space left on device");
}

#[test]
fn a_full_disk_under_the_slots_stops_the_run_and_fails_no_item() {
    let world = world();
    // More than the slot itself gives free.
    let happens = format!("{}\ntrue", fill("$WORLD/disk"));
    let before = format!("{}; export XDG_CACHE_HOME=$WORLD/disk", disk("$WORLD/disk", 400));
    let troubled = troubled(&world, &before, &happens, "rm $WORLD/disk/fill");
    assert!(troubled.run.stderr.contains("lexpr resume"), "{}", troubled.run.stderr);
    ended_well_after(troubled, 1, "running a gate: preparing a slot");
}

/// git says of a file only that it could not be written.
#[test]
fn a_nearly_full_disk_under_the_slots_stops_the_run_with_a_word_and_fails_no_item() {
    const SIZE: u32 = 3072;
    let text = |name: &str| format!("{name}{name}\n").repeat(8000);
    let texts = ["a", "b", "c"].map(text);
    let world = || {
        let [a, b, c] = texts.each_ref().map(String::as_str);
        World::new(README, &[("a", "main", &[("a", a)]), ("b", "main", &[("b", b)]), ("c", "main", &[("c", c)])])
    };
    let undisturbed = undisturbed_in(&world());
    // From hardly any to enough for the first item and not for all.
    let told: Vec<String> = [4, 24, 32, 44, 60]
        .map(|left: u32| {
            let world = world();
            let fill = format!("dd if=/dev/zero of=$WORLD/disk/fill bs=1k count={} 2>/dev/null", SIZE - left);
            let disk = disk("$WORLD/disk", SIZE);
            let before = format!("{disk}; {fill}; export XDG_CACHE_HOME=$WORLD/disk");
            let troubled = troubled(&world, &before, "true", "rm $WORLD/disk/fill");
            let told = troubled.run.stderr.clone();
            assert!(told.contains("lexpr resume") && told.contains("free some space"), "{left} KiB: {told}");
            ended_as(&undisturbed, troubled, 1, "preparing a slot");
            told
        })
        .into();
    let mut silent = told.iter().filter(|told| told.contains("unable to write file")).peekable();
    assert!(silent.peek().is_some(), "{told:?}");
    assert!(silent.all(|told| told.contains("No space left on device under ")), "{told:?}");
}

/// A quota is used up, say, which the kernel does not tell of.
#[test]
fn a_git_that_cannot_write_a_file_and_does_not_say_why_stops_the_run_and_fails_no_item() {
    let before = "mkdir $WORLD/bin; printf '#!/bin/sh\\ncase \"$*\" in *\" read-tree \"*) [ -e \"%s/off\" ] && { echo error: unable to write file a >&2; exit 128; };; esac\\nexec \"%s\" \"$@\"\\n' \
                  $WORLD $(command -v git) >$WORLD/bin/git; chmod +x $WORLD/bin/git; export PATH=$WORLD/bin:$PATH";
    let world = world_of_converted_files();
    let troubled = troubled(&world, before, "touch $WORLD/off", "rm $WORLD/off");
    assert!(troubled.run.stderr.contains("a quota is used up"), "{}", troubled.run.stderr);
    ended_as(&undisturbed_in(&world_of_converted_files()), troubled, 1, "unable to write file");
}

#[test]
fn a_full_disk_under_the_users_objects_moves_nothing() {
    let world = world();
    let before = format!(
        "mv $REPO/.git/objects $WORLD/objects; {}; cp -a $WORLD/objects/. $REPO/.git/objects",
        disk("$REPO/.git/objects", 800)
    );
    let happens = format!("{}\ntrue", fill("$REPO/.git/objects"));
    let troubled = troubled(&world, &before, &happens, "rm $REPO/.git/objects/fill");
    ended_well_after(troubled, 1, "No space left on device");
}

#[test]
fn a_target_that_may_no_longer_be_written_stops_the_run_with_exit_code_4() {
    let world = world();
    let refs = "$REPO/.git/refs";
    let happens = format!("mount --bind {refs} {refs}; mount -o remount,bind,ro {refs}");
    let troubled = troubled(&world, "true", &happens, &format!("umount {refs}"));
    assert_eq!(runs(&world)[0]["state"], "finished");
    ended_well_after(troubled, 4, "Read-only file system");
}

#[test]
fn invariant_6_a_permission_lost_in_mid_run_stops_it_fails_no_item_and_loses_nothing() {
    // Root, and without what lets root write where nobody may.
    let before = "printf '#!/bin/sh\\nexec setpriv --bounding-set=-dac_override,-dac_read_search \"%s\" \"$@\"' \"$LEXPR\" \
                  >$WORLD/lexpr; chmod +x $WORLD/lexpr; LEXPR=$WORLD/lexpr";
    for (folder, code) in [
        ("$REPO", 4),
        ("$REPO/.git", 4),
        ("$REPO/.git/refs/heads", 4),
        ("$REPO/.git/objects/pack", 1),
        ("$REPO/.git/lexpr/runs/*", 1),
        ("$REPO/.git/lexpr/runs/*/logs", 1),
        ("$REPO/.git/lexpr/runs/*/composites.git/objects", 1),
    ] {
        let world = world();
        let troubled = troubled(&world, before, &format!("chmod -w {folder}"), &format!("chmod u+w {folder}"));
        assert!(
            troubled.run.stdout.contains("lexpr resume") || troubled.run.stderr.contains("lexpr resume"),
            "{folder}"
        );
        ended_well_after(troubled, code, "Permission denied");
        assert_eq!(fs::read_dir(only_run(&world).join("receipts")).unwrap().count(), 1, "{folder}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_stops_a_run_with_a_word_and_fails_no_item() {
    let world = world();
    // Of the kernel's blocks, 512 bytes each.
    let troubled = troubled(&world, "ulimit -S -f 40", "seq 1 20000", "ulimit -S -f unlimited");
    ended_well_after(troubled, 1, "File too large");
}

fn only_run(world: &World) -> std::path::PathBuf {
    let mut runs = fs::read_dir(world.repo().join(".git/lexpr/runs")).unwrap();
    runs.next().unwrap().unwrap().path()
}

#[test]
fn a_git_that_is_gone_in_mid_run_stops_it_and_fails_no_item() {
    let world = world();
    let before = "mkdir $WORLD/bin; ln -s $(command -v git) $WORLD/bin/git\n\
                  for tool in sh touch mv seq; do ln -s $(command -v $tool) $WORLD/bin/$tool; done\n\
                  export PATH=$WORLD/bin";
    let happens = "mv $WORLD/bin/git $WORLD/bin/gone";
    let troubled = troubled(&world, before, happens, "mv $WORLD/bin/gone $WORLD/bin/git");
    ended_well_after(troubled, 1, "git could not be started");
}

/// As by a kernel that is out of memory.
#[test]
fn a_git_that_is_killed_in_mid_run_stops_it_and_fails_no_item() {
    let before = "mkdir $WORLD/bin; printf '#!/bin/sh\\n[ -e \"%s/off\" ] && kill -9 $$\\nexec \"%s\" \"$@\"\\n' \
                  $WORLD $(command -v git) >$WORLD/bin/git; chmod +x $WORLD/bin/git; export PATH=$WORLD/bin:$PATH";
    let killed = |world: &World| troubled(world, before, "touch $WORLD/off", "rm $WORLD/off");
    // The one that is started next asks where the target is: its silence is no answer. Or it switches
    // a slot.
    ended_well_after(killed(&world()), 1, "SIGKILL");
    ended_as(&undisturbed_in(&world_of_converted_files()), killed(&world_of_converted_files()), 1, "SIGKILL");
}

/// Some of them are asked at the same time. What they say by their status alone, such as that a setting is
/// not there, must not be heard where they said nothing.
#[test]
fn any_git_that_is_killed_before_a_run_begins_keeps_it_from_beginning() {
    let world = world();
    fs::write(world.path("gate.sh"), "true\n").unwrap();
    let plan = world.plan(PLAN);
    let main = world.main();
    let real: Said = world.shell("command -v git").output().unwrap().into();
    let bin = world.path("bin");
    // Where the target could not be looked at, it cannot be moved.
    let asked = [
        ("--version", 1),
        ("--absolute-git-dir", 1),
        ("HEAD^{commit}", 1),
        ("promisor", 1),
        ("cat-file", 1),
        ("symbolic-ref", 4),
        ("show-ref", 4),
        ("gpgSign", 4),
        ("worktree list", 4),
        ("update-ref", 4),
        ("hash-object", 1),
    ];
    for (one, code) in asked {
        fs::create_dir(&bin).unwrap();
        let git = bin.join("git");
        let script =
            format!("#!/bin/sh\ncase \"$*\" in *'{one}'*) kill -9 $$;; esac\nexec {} \"$@\"\n", real.stdout.trim());
        fs::write(&git, script).unwrap();
        fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
        let mut merge = world.command(["merge", plan.to_str().unwrap(), "--execute"]);
        let said: Said = merge.env("WORLD", world.path("")).output().unwrap().into();
        fs::remove_dir_all(&bin).unwrap();
        let said = said.expect(code);
        assert!(said.stderr.contains("SIGKILL"), "{one}: {}", said.stderr);
        assert_eq!(world.main(), main, "{one}");
    }
}

#[test]
fn in_a_read_only_repository_nothing_begins_and_what_only_reads_works() {
    let world = world();
    fs::write(world.path("gate.sh"), "true\n").unwrap();
    world.plan(PLAN);
    let script = "mount --bind $REPO $REPO; mount -o remount,bind,ro $REPO; cd $REPO\n\
                  for command in \"merge ../plan.yaml\" \"merge ../plan.yaml --execute\" runs clean; do\n\
                  $LEXPR $command >>$WORLD/out 2>&1; echo $? >>$WORLD/codes\n\
                  done\n";
    in_namespace(&world, script);
    let said = fs::read_to_string(world.path("out")).unwrap();
    assert_eq!(fs::read_to_string(world.path("codes")).unwrap(), "0\n1\n0\n0\n", "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
}

#[test]
fn a_place_that_cannot_be_written_to_is_named_with_what_to_do_before_any_gate_runs() {
    for (folder, code, what_to_do) in [
        (".git/objects", 4, "make that place writable"),
        (".git/objects/pack", 4, "make that place writable"),
        (".git/lexpr", 1, "make that place writable"),
        ("../cache/lexpr", 1, "XDG_CACHE_HOME"),
    ] {
        let world = world();
        fs::write(world.path("gate.sh"), "touch $WORLD/gated\n").unwrap();
        world.plan(PLAN);
        let script = format!(
            "mkdir -p $REPO/{folder}; cd $REPO/{folder}; place=$(pwd -P); mount --bind $place $place; mount -o remount,bind,ro $place; cd $REPO\n\
             $LEXPR merge ../plan.yaml --execute >$WORLD/out 2>&1; echo $? >$WORLD/code\n"
        );
        in_namespace(&world, &script);
        let said = fs::read_to_string(world.path("out")).unwrap();
        assert_eq!(fs::read_to_string(world.path("code")).unwrap(), format!("{code}\n"), "{folder}: {said}");
        let path = folder.trim_start_matches("../");
        assert!(said.contains(path) && said.contains(what_to_do), "{folder}: {said}");
        assert!(said.contains("Read-only file system") && !world.path("gated").exists(), "{folder}: {said}");
    }
}

#[test]
fn a_gate_that_fills_the_disk_fails_alone_and_its_slot_is_emptied_for_the_next() {
    let world = world();
    // Not even the room is left that the slot's own files had.
    let gate = "[ -e a ] || exit 0\nrm -rf .git\ndd if=/dev/zero of=junk bs=1k 2>/dev/null\nexit 1\n";
    fs::write(world.path("gate.sh"), gate).unwrap();
    world.plan(PLAN);
    let script = format!(
        "{}\nexport XDG_CACHE_HOME=$WORLD/disk\n\
         $LEXPR merge $WORLD/plan.yaml --execute --report $WORLD/report.json >$WORLD/out 2>&1; echo $? >$WORLD/code\n",
        disk("$WORLD/disk", 600)
    );
    in_namespace(&world, &script);
    let said = fs::read_to_string(world.path("out")).unwrap();
    assert_eq!(fs::read_to_string(world.path("code")).unwrap(), "3\n", "{said}");
    let report = world.report(&world.path("report.json"));
    assert_eq!(crate::cli_world::statuses(&report), ["a failed", "b landed", "c landed"], "{said}");
    assert!(said.contains("| lexpr: No space left on device under "), "it is told what the gate met: {said}");
}

/// Somebody fills the disk, and the gate, which needs some of it, fails.
#[test]
fn a_gate_that_fails_on_a_disk_that_stays_full_is_no_verdict_and_the_run_goes_on_once_there_is_room() {
    for (disk_at, before) in [("$WORLD/disk", "XDG_CACHE_HOME=$WORLD/disk"), ("$WORLD/tmp", "TMPDIR=$WORLD/tmp")] {
        let world = world();
        let before = format!("{}; export {before}", disk(disk_at, 2000));
        // What it fills is not the slot's, and what it makes is gone when it has ended.
        let happens = format!("{}\ndd if=/dev/zero of={disk_at}/more bs=64k count=1 || exit 1", fill(disk_at));
        let troubled = troubled(&world, &before, &happens, &format!("rm {disk_at}/fill {disk_at}/more"));
        let told = format!("{}{}", troubled.run.stdout, troubled.run.stderr);
        assert!(told.contains("lexpr resume"), "{told}");
        ended_well_after(troubled, 1, "No space left on device under ");
    }
}

#[test]
fn a_gate_that_fails_with_words_of_a_full_disk_where_there_is_room_has_failed() {
    let world = world();
    fs::write(
        world.path("gate.sh"),
        "[ -e a ] || exit 0\necho >>$WORLD/tries; echo 'No space left on device' >&2; exit 1\n",
    )
    .unwrap();
    let plan = PLAN.replace("maxWorkers: 1", "maxWorkers: 1, secondOpinion: false");
    let (plan, report) = (world.plan(&plan), world.path("report.json"));
    let mut command =
        world.command(["merge", plan.to_str().unwrap(), "--execute", "--report", report.to_str().unwrap()]);
    let said: Said = command.env("WORLD", world.path("")).output().unwrap().into();
    said.expect(3);
    assert_eq!(crate::cli_world::statuses(&world.report(&report)), ["a failed", "b landed", "c landed"]);
    assert_eq!(fs::read_to_string(world.path("tries")).unwrap().lines().count(), 1);
}

#[test]
fn invariant_7_a_limit_of_64_open_files_slows_a_run_and_nothing_else() {
    let names: Vec<String> = (0..30).map(|number| format!("item-{number}")).collect();
    let files: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(name.as_str(), "1")]).collect();
    let branches: Vec<_> = names.iter().zip(&files).map(|(name, files)| (name.as_str(), "main", &files[..])).collect();
    let world = World::new(README, &branches);
    let items: String = names.iter().map(|name| format!("  - name: {name}\n")).collect();
    let plan = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 32}}\ngates: [{{name: g, run: 'sleep 0.1'}}]\nitems:\n{items}"
    );
    let (plan, lexpr) = (world.plan(&plan), env!("CARGO_BIN_EXE_lexpr"));
    let line = format!("ulimit -n 64; exec {lexpr} merge {} --execute", plan.display());
    let said: Said = world.shell(&line).output().unwrap().into();
    said.expect(0);
    assert_eq!(world.files_on_main().len(), 31);
}

/// Codes 0 and 1, and 3 with no item failed: 2 would blame the plan or the command line, 101 is a panic.
#[test]
fn too_few_open_files_or_processes_end_a_command_with_a_word_and_are_not_the_plans_fault() {
    let world = world();
    fs::write(world.path("gate.sh"), "true\n").unwrap();
    let plan = world.plan(PLAN);
    let lexpr = world.path("lexpr");
    // Written by this process, it could not be run while another test's child, which has a copy of the descriptor, has
    // not come as far as its exec ("text file busy").
    let copied = world.shell(&format!("cp {} {}", env!("CARGO_BIN_EXE_lexpr"), lexpr.display())).status();
    assert!(copied.unwrap().success());
    let said = |before: &str, limit: &str, args: &str| {
        let line = format!("exec {before} prlimit {limit} {} {args}", lexpr.display());
        let mut command = world.shell(&line);
        let said: Said = command.env("WORLD", world.path("")).env("RUST_BACKTRACE", "0").output().unwrap().into();
        // Where the limit hits the gate's own shell alone, that is what the gate says, on the target, too.
        let is_the_gates = said.code == 3 && said.stdout.contains("Cannot fork") && !said.stdout.contains("failed a");
        let is_clear = said.code == 0 || said.code == 1 && said.stderr.contains("error: ") || is_the_gates;
        assert!(is_clear && !said.stderr.contains("panicked"), "{line}: {said:?}");
        said.code
    };
    let merge = format!("merge {} --execute --afresh", plan.display());
    let codes: Vec<i32> = (5..44).map(|files| said("", &format!("--nofile={files}"), &merge)).collect();
    assert!(codes.contains(&1), "some of these are too few: {codes:?}");
    for files in 5..16 {
        for args in ["runs", "status", "clean --dry-run"] {
            said("", &format!("--nofile={files}"), args);
        }
    }
    // Of processes root may have as many as it likes; threads count.
    let nobody = "setpriv --reuid=54321 --clear-groups";
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let given: Said = world.shell("chown -R 54321 ..").output().unwrap().into();
        given.expect(0);
    }
    let codes: Vec<i32> =
        (2..9).map(|number| said(if is_root { nobody } else { "" }, &format!("--nproc={number}"), &merge)).collect();
    assert!(codes.contains(&1), "some of these are too few: {codes:?}");
}
