//! Values that must not be written: nothing that a run leaves behind holds them.

use std::path::{Path, PathBuf};

use crate::cli_world::{Said, World};

const SECRET: &str = "ghp_averysecretvalue";

const PLAN: &str = "schemaVersion: v1
policy:
  secondOpinion: false
  redact: [LOOKS_HARMLESS]
gates:
  - name: leaky
    run: |
      echo \"$DEPLOY_TOKEN $LOOKS_HARMLESS\"; env
      echo \"auth $DEPLOY_TOKEN\" | grep --color=always averysecret
      echo 1 > \"$LEXPR_ARTIFACTS/of $DEPLOY_TOKEN\"; echo 1 > \"by $DEPLOY_TOKEN.out\"
      test ! -e b.txt
    artifacts: [\"*.out\"]
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

const CREDENTIALS: &str = "schemaVersion: v1
policy:
  secondOpinion: false
  setup: { run: 'env' }
gates:
  - name: leaky
    run: |
      env; env | tr -d '\\n' | base64 -w 0
      echo \"login failed for app with ${DATABASE_URL#*app:}\" >&2
      printf 'user:%s' \"$MYSQL_PWD\" | base64; printf '\"%s\"' \"$(printf %s \"$SESSION_COOKIE\" | sed 's/\"/\\\\\"/')\"
      echo \"mode is $TOKEN_MODE at $PWD on port $SECRET_PORT\"
      test ! -e b.txt
items:
  - { name: a }
  - { name: b }
";

#[test]
fn what_only_a_value_or_the_end_of_a_name_tells_is_in_nothing_that_a_run_writes_and_words_are() {
    let world = World::new(&[("f", "1\n")], &[("a", "main", &[("a.txt", "a")]), ("b", "main", &[("b.txt", "b")])]);
    let plan = world.plan(CREDENTIALS);
    let (report, markdown) = (world.path("r.json"), world.path("r.md"));
    let mut command = world.command(["merge", "--execute", "--progress", "plain"]);
    command.arg(plan).arg("--report").arg(&report).arg("--report").arg(&markdown);
    command.envs([
        ("DATABASE_URL", "postgres://app:dbS3cret@db.example.org/app"),
        ("MYSQL_PWD", "mysql-hunter2"),
        ("NPM_AUTH", "bnBtOmF1dGg="),
        ("SESSION_COOKIE", "a\"b-cookie"),
        ("SENTRY_DSN", "https://0123456789abcdef0123@sentry.example.org/1"),
        ("DEPLOY_KEY", "-----BEGIN-----\nline-of-the-key\n-----END-----\n"),
        ("PROXY", "http://me:proxyS3cret@proxy:3128"),
        ("TOKEN_MODE", "true"),
        ("SECRET_PORT", "8080"),
    ]);
    let said: Said = command.output().unwrap().into();
    let said = said.expect(3);
    let mut files = vec![report, markdown];
    all_files(&world.repo().join(".git"), &mut files);
    all_files(&world.path("cache"), &mut files);
    let mut written: Vec<(String, Vec<u8>)> =
        files.iter().map(|file| (file.display().to_string(), std::fs::read(file).unwrap())).collect();
    written.push(("the terminal".to_owned(), format!("{}{}", said.stdout, said.stderr).into_bytes()));
    for (place, content) in &written {
        let text = String::from_utf8_lossy(content);
        for secret in [
            "dbS3cret",
            "mysql-hunter2",
            "bnBtOmF1dGg=",
            "b-cookie",
            "0123456789abcdef0123",
            "line-of-the-key",
            "proxyS3cret",
            // `mysql-hunter2` and `user:mysql-hunter2` in Base64.
            "bXlzcWwtaHVudGVy",
            "eXNxbC1odW50ZXIy",
        ] {
            assert!(!text.contains(secret), "{secret} is in {place}");
        }
    }
    let is_said = |text: &str| written.iter().any(|(_, content)| String::from_utf8_lossy(content).contains(text));
    assert!(is_said("login failed for app with ***@db.example.org"), "and no more than that");
    assert!(is_said("mode is true at /") && is_said("on port 8080"), "words and numbers are no secrets");
}

#[test]
fn a_password_in_the_address_to_push_to_is_refused() {
    let world = World::new(&[("f", "1\n")], &[("a", "main", &[("a.txt", "a")])]);
    let plan = "schemaVersion: v1\nitems:\n  - { name: a, gates: [] }\n";
    let said = world.merge(plan, &["--execute", "--push", "https://ann:hunter2@example.org/x.git"]).expect(2);
    assert!(said.stderr.contains("git remote add") && !said.stderr.contains("hunter2"), "{}", said.stderr);
}
