//! Values that must not be written: nothing that a run leaves behind holds them.

use std::path::{Path, PathBuf};

use crate::cli_world::{Said, World};

const SECRET: &str = "ghp_averysecretvalue";

const PLAN: &str = "schemaVersion: v1
policy:
  secondOpinion: false
  redact: [LOOKS_HARMLESS]
gates:
  - { name: leaky, run: 'echo \"$DEPLOY_TOKEN $LOOKS_HARMLESS\"; env; test ! -e b.txt' }
items:
  - { name: a }
  - { name: b }
";

fn all_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn a_secret_in_the_environment_is_in_nothing_that_a_run_writes() {
    let world = World::new(&[("f", "1\n")], &[("a", "main", &[("a.txt", "a")]), ("b", "main", &[("b.txt", "b")])]);
    let plan = world.plan(PLAN);
    let (report, markdown, metrics) = (world.path("r.json"), world.path("r.md"), world.path("m.prom"));
    let mut command = world.command(["merge", "--execute", "--progress", "json"]);
    command.arg(plan).arg("--report").arg(&report).arg("--report").arg(&markdown);
    command.arg("--metrics-file").arg(&metrics);
    let said: Said =
        command.env("DEPLOY_TOKEN", SECRET).env("LOOKS_HARMLESS", "but-is-a-secret").output().unwrap().into();
    let said = said.expect(3);
    let mut files = vec![report, markdown, metrics];
    all_files(&world.repo().join(".git"), &mut files);
    all_files(&world.path("cache"), &mut files);
    let mut logs = 0;
    for file in &files {
        let content = std::fs::read(file).unwrap();
        let text = String::from_utf8_lossy(&content);
        for secret in [SECRET, "but-is-a-secret"] {
            assert!(!text.contains(secret), "{secret} is in {}", file.display());
        }
        logs += usize::from(text.contains("*** ***"));
    }
    assert!(logs > 0, "the gate printed them, and what it printed was kept");
    assert!(!said.stdout.contains(SECRET) && !said.stderr.contains(SECRET));
}

#[test]
fn a_password_in_the_address_to_push_to_is_refused() {
    let world = World::new(&[("f", "1\n")], &[("a", "main", &[("a.txt", "a")])]);
    let plan = "schemaVersion: v1\nitems:\n  - { name: a, gates: [] }\n";
    let said = world.merge(plan, &["--execute", "--push", "https://ann:hunter2@example.org/x.git"]).expect(2);
    assert!(said.stderr.contains("git remote add") && !said.stderr.contains("hunter2"), "{}", said.stderr);
}
