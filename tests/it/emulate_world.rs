//! The GitHub of npm's `emulate` on loopback: stateful, with git's objects and check runs by GitHub's API. It has no statuses of
//! commits, which a proxy before it answers (there are none), and no git over HTTP: it is told by the API of what lexpr pushes to
//! an exchange beside it.
//!
//! Where it is not installed and cannot be had from the package index, the tests say that they did not run; with `CI` set they
//! fail.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::buildbot_world::Daemon;
use crate::cli_world::wait_for;
use crate::github_world::{self, GitHub, REPOSITORY, Reply, TOKEN, is_about_statuses};
use crate::slurm_world::{command, free_ports, not_run};

/// These, so that a new release breaks no commit. It needs a Node that few systems have yet (`module.registerHooks`).
const PACKAGES: [&str; 2] = ["emulate@0.12.2", "node@22.23.3"];

/// The folder with both, installed where they were not. `None`: they cannot be had, which is told.
fn installed() -> Option<&'static Path> {
    static PLACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGES.join("-"));
        // Another test process may be at it.
        let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulate.lock")).unwrap();
        lock.lock().unwrap();
        let complete = place.join("complete");
        if !complete.exists() {
            fs::create_dir_all(&place).unwrap();
            let mut npm = command("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&place).args(PACKAGES);
            if !npm.status().is_ok_and(|status| status.success()) {
                return None;
            }
            File::create(complete).unwrap();
        }
        Some(place.join("node_modules"))
    });
    if place.is_none() {
        not_run(&format!("emulate is not here: `npm install {}` failed", PACKAGES.join(" ")));
    }
    place.as_deref()
}

/// With an empty repository.
pub struct Emulate {
    port: u16,
    daemon: Option<Daemon>,
    /// By which name it has each commit.
    names: Arc<Mutex<HashMap<String, String>>>,
    _folder: TempDir,
}

impl Emulate {
    pub fn start() -> Option<Self> {
        let modules = installed()?;
        let folder = TempDir::new().unwrap();
        let seed = json!({
            "tokens": { TOKEN: { "login": "octo", "scopes": ["repo"] } },
            "github": { "users": [{ "login": "octo", "name": "Octo", "email": "octo@example.invalid" }] },
        });
        fs::write(folder.path().join("seed.json"), seed.to_string()).unwrap();
        let [port] = free_ports();
        let daemon = Daemon::start(&folder.path().join("log"), |shell| {
            shell.arg(modules.join("node/bin/node")).arg(modules.join("emulate/dist/index.js"));
            shell.args(["start", "--service", "github", "--seed", "seed.json", "--port", &port.to_string()]);
            shell.current_dir(folder.path());
        });
        let emulate = Self { port, daemon: Some(daemon), names: Arc::default(), _folder: folder };
        wait_for("emulate answers", || exchange(port, "GET", "/rate_limit", None));
        let name = REPOSITORY.split_once('/').unwrap().1;
        emulate.post("/user/repos", &json!({ "name": name, "auto_init": false }));
        Some(emulate)
    }

    /// What has it, and says that there are no statuses.
    pub fn proxy(&self) -> GitHub {
        let (port, names) = (self.port, Arc::clone(&self.names));
        GitHub::start(move |asked, _| {
            if is_about_statuses(asked) {
                return github_world::reported(asked, &[], &[]);
            }
            let authorization = asked.header("authorization").unwrap_or_default();
            let names = names.lock().unwrap();
            let path = names.iter().fold(asked.path.clone(), |path, (ours, its)| path.replace(ours, its));
            let (status, body) = exchange(port, "GET", &path, Some((authorization, ""))).unwrap();
            let body = names.iter().fold(body.to_string(), |body, (ours, its)| body.replace(its, ours));
            Reply { status, headers: Vec::new(), body: serde_json::from_str(&body).unwrap() }
        })
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.send("POST", path, body)
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let authorization = format!("Bearer {TOKEN}");
        let (status, answer) =
            exchange(self.port, method, path, Some((&authorization, &body.to_string()))).expect("emulate answers");
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Knows a commit from now on, as if it was pushed. By a name of its own, which the proxy translates: it makes real objects,
    /// but ends every message with a line break.
    pub fn receive(&self, commit: &str) {
        let of_git =
            |what: &str, body: Value| self.post(&format!("/repos/{REPOSITORY}/git/{what}"), &body)["sha"].clone();
        let entry = json!({ "path": "commit", "mode": "100644", "type": "blob", "content": commit });
        let tree = of_git("trees", json!({ "tree": [entry] }));
        let name = of_git("commits", json!({ "message": commit, "tree": tree, "parents": [] }));
        self.names.lock().unwrap().insert(commit.to_owned(), name.as_str().unwrap().to_owned());
    }

    fn name_of(&self, commit: &str) -> String {
        self.names.lock().unwrap()[commit].clone()
    }

    /// A check run, and by what it is known.
    pub fn check(&self, commit: &str, name: &str, status: &str, conclusion: Option<&str>) -> u64 {
        let run = json!({ "name": name, "head_sha": self.name_of(commit), "status": status, "conclusion": conclusion });
        self.post(&format!("/repos/{REPOSITORY}/check-runs"), &run)["id"].as_u64().unwrap()
    }

    pub fn complete(&self, check: u64, conclusion: &str) {
        let end = json!({ "status": "completed", "conclusion": conclusion });
        self.send("PATCH", &format!("/repos/{REPOSITORY}/check-runs/{check}"), &end);
    }
}

impl Drop for Emulate {
    fn drop(&mut self) {
        self.daemon.take().into_iter().for_each(Daemon::stop);
    }
}

/// One question with its authorization and its body; nothing where nobody answers.
fn exchange(port: u16, method: &str, path: &str, with: Option<(&str, &str)>) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let (authorization, body) = with.unwrap_or_default();
    let authorization =
        if authorization.is_empty() { String::new() } else { format!("Authorization: {authorization}\r\n") };
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n{authorization}Content-Type: application/json\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}
