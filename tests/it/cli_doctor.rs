//! `lexpr doctor` through the real binary: repositories and machines in each state of which it has something to say.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli_runs::start_endless;
use crate::cli_world::{Said, World};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

fn world() -> World {
    World::new(README, &[("c", "main", &[("c", "1")])])
}

fn doctor(world: &World, args: &[&str]) -> Said {
    world.lexpr(["doctor", "--format", "json"].iter().chain(args))
}

/// The findings of one check, as `mark: found (to do: …)`.
fn of(said: &Said, check: &str) -> Vec<String> {
    let told: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .map(|finding| {
            let remedy = text(&finding["remedy"]);
            let remedy = if remedy.is_empty() { remedy } else { format!(" (to do: {remedy})") };
            format!("{}: {}{remedy}", text(&finding["mark"]), text(&finding["found"]))
        })
        .collect()
}

#[track_caller]
fn tells(said: &Said, check: &str, words: &[&str]) {
    let found = of(said, check).join("\n");
    for word in words {
        assert!(found.contains(word), "{check}: {word:?} is not in {found:?}");
    }
}

/// All that is in a folder, with the times of changes.
fn everything(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push((path, meta.modified().unwrap()));
        }
    }
    found.sort();
    found
}

/// Puts a git before the real one that says it is of this release.
fn say_git_is(world: &World, version: &str) {
    // Not one that an earlier call put there: it would start itself, for ever.
    let _ = std::fs::remove_file(world.path("bin/git"));
    let real = String::from_utf8(world.shell("command -v git").output().unwrap().stdout).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' --version '*) echo git version {version}; exit;; esac\nexec {} \"$@\"\n",
        real.trim()
    );
    std::fs::create_dir_all(world.path("bin")).unwrap();
    std::fs::write(world.path("bin/git"), script).unwrap();
    std::fs::set_permissions(world.path("bin/git"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_folder_for_slots_that_cannot_be_made_is_told_whatever_its_mode_says() {
    let world = world();
    let mut command = world.command(["doctor", "--format", "json"]);
    let said: Said = command.env("XDG_CACHE_HOME", "/proc/x").output().unwrap().into();
    tells(&said, "slots", &["fail: /proc/x/lexpr/", "cannot be written to", "XDG_CACHE_HOME"]);
    let cache = world.path("not/there/yet");
    let mut command = world.command(["doctor", "--format", "json"]);
    let said: Said = command.env("XDG_CACHE_HOME", &cache).output().unwrap().into();
    assert!(of(&said, "slots").iter().all(|found| !found.starts_with("fail")), "{:?}", of(&said, "slots"));
    assert!(!world.path("not").exists(), "what was tried is taken away again");
}

#[test]
fn where_all_is_well_doctor_says_so_and_leaves_nothing() {
    let world = world();
    let before = everything(&world.path(""));
    let said = doctor(&world, &[]).expect(0);
    assert_eq!(everything(&world.path("")), before, "nothing is changed");
    tells(&said, "repository", &["ok: ", "full history, objects by SHA-1, refs in files"]);
    tells(&said, "target", &["ok: main at "]);
    tells(&said, "checkout", &["ok: main is checked out in ", "and clean"]);
    for check in ["gitVersion", "signing", "slots", "gitFolder", "runs", "leftovers", "shell", "loopback", "processors"]
    {
        tells(&said, check, &["ok: "]);
    }
    let text = world.lexpr(["doctor"]).expect(0).stdout;
    assert!(text.starts_with("ok    git: 2."), "{text}");
    assert!(text.contains("\nok    checkout: main is checked out in "), "{text}");
    assert!(text.trim_end().lines().last().unwrap().contains(" things looked at"), "{text}");
}

#[test]
fn a_checkup_matches_its_schema_which_has_not_drifted() {
    let world = world();
    let schema = world.lexpr(["schema", "doctor"]).expect(0).stdout;
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/doctor.schema.json");
    assert!(
        std::fs::read_to_string(kept).unwrap_or_default() == schema,
        "schemas/doctor.schema.json has drifted: run `cargo run -- schema doctor > schemas/doctor.schema.json`"
    );
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let nowhere = world.path("home");
    for (args, code) in [(&[][..], 0), (&["--repo", nowhere.to_str().unwrap()][..], 1)] {
        let told = serde_json::from_str(&doctor(&world, args).expect(code).stdout).unwrap();
        let errors: Vec<String> = validator.iter_errors(&told).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn a_repository_that_lexpr_cannot_work_with_fails_with_what_to_do_and_the_machine_is_looked_at_all_the_same() {
    let world = world();
    world.git(&["clone", "-q", "--depth", "1", &format!("file://{}", world.repo().display()), "../shallow"]);
    world.git(&["clone", "-q", "--filter=blob:none", &format!("file://{}", world.repo().display()), "../partial"]);
    world.git(&["init", "-q", "../empty"]);
    let cases = [
        ("home", "is not in a git repository", "git init"),
        ("nowhere", "there is no such folder", "--repo"),
        ("shallow", "is a shallow clone", "git fetch --unshallow"),
        ("partial", "is a partial clone", "without --filter"),
        ("empty", "has no commit at HEAD yet", "make a first commit"),
    ];
    for (folder, found, remedy) in cases {
        let said = doctor(&world, &["--repo", world.path(folder).to_str().unwrap()]).expect(1);
        tells(&said, "repository", &["fail: ", found, remedy]);
        tells(&said, "shell", &["ok: "]);
    }
}

#[test]
fn what_keeps_the_target_from_moving_fails_with_what_to_do() {
    let world = world();
    world.write("README.md", "changed\n");
    tells(&doctor(&world, &[]).expect(1), "checkout", &["fail: ", "uncommitted changes: README.md", "commit or stash"]);
    world.git(&["checkout", "-q", "README.md"]);
    std::fs::write(world.repo().join(".git/MERGE_HEAD"), world.main()).unwrap();
    tells(&doctor(&world, &[]).expect(1), "checkout", &["a merge is under way", "finish or abort the merge"]);
    std::fs::remove_file(world.repo().join(".git/MERGE_HEAD")).unwrap();
    tells(&doctor(&world, &["--target", "mainn"]).expect(1), "target", &["fail: ", "\"mainn\" does not exist"]);
    tells(&doctor(&world, &["--target", "c"]).expect(0), "checkout", &["ok: c is checked out nowhere"]);
    world.git(&["checkout", "-q", "--detach"]);
    tells(&doctor(&world, &[]).expect(0), "checkout", &["ok: main is checked out nowhere"]);
    let bare = world.path("bare");
    world.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    tells(&doctor(&world, &["--repo", bare.to_str().unwrap()]).expect(0), "repository", &["ok: ", ", bare; "]);
}

#[test]
fn what_a_run_will_lack_is_warned_of() {
    let world = world();
    world.git(&["config", "commit.gpgSign", "true"]);
    world.git(&["config", "filter.crypt.smudge", "crypt"]);
    world.write(".gitattributes", "*.png filter=lfs\n");
    world.write(".gitmodules", "");
    world.git(&["add", "."]);
    world.git(&["commit", "-q", "--no-gpg-sign", "-m", "x"]);
    let said = doctor(&world, &[]).expect(0);
    tells(&said, "signing", &["warn: commit.gpgSign is set", "--no-sign"]);
    tells(&said, "content", &["warn: files are kept by Git LFS", "warn: there are submodules", "configuration: crypt"]);
}

#[test]
fn an_old_git_or_none_is_told_of_with_what_it_lacks() {
    let world = world();
    say_git_is(&world, "2.39.5");
    tells(&doctor(&world, &[]).expect(0), "gitVersion", &["warn: 2.39", "install git 2.41"]);
    say_git_is(&world, "2.37.1");
    let said = doctor(&world, &[]).expect(1);
    tells(&said, "gitVersion", &["fail: git 2.37 is too old"]);
    tells(&said, "repository", &["fail: not looked at"]);
    std::fs::create_dir(world.path("none")).unwrap();
    let said: Said =
        world.command(["doctor", "--format", "json"]).env("PATH", world.path("none")).output().unwrap().into();
    tells(&said.expect(1), "gitVersion", &["fail: git could not be started", "install git 2.38 or newer"]);
}

#[test]
fn a_place_that_cannot_be_written_to_fails() {
    let world = world();
    let blocked = world.path("plan.yaml");
    std::fs::write(&blocked, "").unwrap();
    let said: Said =
        world.command(["doctor", "--format", "json"]).env("XDG_CACHE_HOME", blocked).output().unwrap().into();
    tells(&said.expect(1), "slots", &["fail: ", "cannot be written to", "XDG_CACHE_HOME"]);
}

#[test]
fn runs_to_be_resumed_and_what_clean_would_remove_are_named() {
    let world = world();
    let mut run = start_endless(&world, &[]);
    tells(&doctor(&world, &[]), "runs", &["ok: run ", "is going on"]);
    run.kill().unwrap();
    run.wait().unwrap();
    let said = doctor(&world, &[]).expect(0);
    tells(&said, "runs", &["warn: run ", "has not come to its end", "`lexpr resume 2"]);
    tells(&said, "leftovers", &["ok: `lexpr clean` would remove "]);
    let before = everything(&world.repo());
    doctor(&world, &[]).expect(0);
    assert_eq!(everything(&world.repo()), before, "nothing is removed");
}

#[test]
fn doctor_asks_a_service_that_is_none_once_and_says_so() {
    let world = world();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let mut asked = 0;
        for stream in nobody.incoming() {
            let mut line = String::new();
            let mut stream = BufReader::new(stream.unwrap());
            stream.read_line(&mut line).unwrap();
            if line == "enough\n" {
                break;
            }
            asked += 1;
            let _ = stream.get_mut().write_all(b"SSH-2.0-OpenSSH\r\n");
        }
        asked
    });
    let plan = world.plan(&format!(
        "schemaVersion: v1\npolicy:\n  exchange: \"{}\"\n  runtimes:\n    bb: {{ type: ci-service, service: buildbot, \
         url: \"{url}\", scheduler: lexpr, builder: gates }}\ngates:\n  - {{ name: ci, runtime: bb }}\nitems:\n  - name: c\n",
        world.repo().display()
    ));
    let said = world.lexpr(["doctor", "--runtime", "bb", "--plan", plan.to_str().unwrap()]).expect(1);
    assert!(said.stdout.contains("does not answer"), "{}", said.stdout);
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    TcpStream::connect(address).unwrap().write_all(b"enough\n").unwrap();
    assert_eq!(asked.join().unwrap(), 1, "patience is for runs that were working");
}
