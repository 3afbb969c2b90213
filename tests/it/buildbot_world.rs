//! A real Buildbot on loopback, a master and its workers, and errands for it. Most tests share one; those that do it harm
//! start their own.
//!
//! Where Buildbot is not installed and cannot be had from the package index, the tests say that they did not run; with `CI`
//! set they fail.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use lexpr::gate::LogRules;
use lexpr::gate::elsewhere::ci::{Ci, CiSettings};
use lexpr::gate::elsewhere::{Errand, Exchange, Returned};
use lexpr::plan::ci_service::{CiJudge, CiServer, CiServicePolicy, Credentials};
use lexpr::vocabulary::names::CommitId;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::cli_world::wait_for;
use crate::land_world::{Repo, file};
use crate::slurm_world::{command, free_ports, not_run};

/// That one, so that a new release breaks no commit; .ci/run has it, too.
const VERSION: &str = "4.3.0";
const WORKERS: [&str; 4] = ["w1", "w2", "w3", "w4"];

/// The folder with Buildbot's programs, installed where it was not. `None`: it cannot be had, which is told.
fn programs() -> Option<&'static Path> {
    static PROGRAMS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("buildbot-{VERSION}"));
        // Another test process may be at it.
        let lock = File::create(place.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let complete = place.join("complete");
        if !complete.exists() {
            let ran = |command: &mut Command| command.status().is_ok_and(|status| status.success());
            let packages = [format!("buildbot[bundle]=={VERSION}"), format!("buildbot-worker=={VERSION}")];
            let is_there = ran(command("python3").args(["-m", "venv"]).arg(&place))
                && ran(command(place.join("bin/pip").to_str().unwrap()).args(["install", "--quiet"]).args(packages));
            if !is_there {
                return None;
            }
            File::create(complete).unwrap();
        }
        Some(place.join("bin"))
    });
    if programs.is_none() {
        not_run(&format!(
            "Buildbot is not here: `python3 -m venv` or `pip install buildbot[bundle]=={VERSION}` failed"
        ));
    }
    programs.as_deref()
}

/// A process that ends when whoever started it does, however that ends: it is told by the end of its input.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(log: &Path, set_up: impl FnOnce(&mut Command)) -> Self {
        let to = File::options().create(true).append(true).open(log).unwrap();
        // A shell that waits in the background would have its child's input be nothing.
        let script = "\"$@\" </dev/null >&2 & daemon=$!; echo $daemon; read -r _; kill $daemon; wait $daemon";
        let mut shell = command("sh");
        shell.args(["-c", script, "sh"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(to);
        set_up(&mut shell);
        Self(shell.spawn().unwrap())
    }

    /// That of the program itself.
    fn pid(&mut self) -> rustix::process::Pid {
        let mut line = Vec::new();
        let stdout = self.0.stdout.as_mut().unwrap();
        let mut byte = [0];
        while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        rustix::process::Pid::from_raw(String::from_utf8(line).unwrap().trim().parse().unwrap()).unwrap()
    }

    pub fn stop(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }

    /// As if the power was cut.
    fn kill(mut self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::KILL).unwrap();
        self.stop();
    }
}

/// A master with its workers.
pub struct Buildbot {
    folder: TempDir,
    programs: &'static Path,
    web_port: u16,
    workers_port: u16,
    master: Option<Daemon>,
    workers: Option<Daemon>,
    /// Nobody else may force or stop a build: a user and a password.
    login: Option<(&'static str, &'static str)>,
}

impl Buildbot {
    fn start(login: Option<(&'static str, &'static str)>) -> Option<Self> {
        let programs = programs()?;
        let [web_port, workers_port] = free_ports();
        // Its database waits for the disk after each of the many small things that it writes down.
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let mut buildbot = Self { folder, programs, web_port, workers_port, master: None, workers: None, login };
        for (name, text) in
            [("master.cfg", include_str!("buildbot/master.cfg")), ("workers.tac", include_str!("buildbot/workers.tac"))]
        {
            fs::write(buildbot.folder.path().join(name), text).unwrap();
        }
        let another = Repo::init(&buildbot.folder.path().join("another.git"), &["--bare"]);
        another.set("refs/heads/main", another.commit(&[file("gate.sh", "exit 0\n")], &[]));
        let mut create = command(programs.join("buildbot").to_str().unwrap());
        create.args(["create-master", "--quiet", "."]);
        buildbot.surround(&mut create);
        assert!(create.status().unwrap().success());
        buildbot.start_master();
        buildbot.start_workers();
        Some(buildbot)
    }

    /// One for all tests that run just then.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Buildbot>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = shared.upgrade() {
            return Some(there);
        }
        let started = Arc::new(Self::start(None)?);
        *shared = Arc::downgrade(&started);
        Some(started)
    }

    /// One that a test does with what it likes.
    pub fn own() -> Option<Self> {
        Self::start(None)
    }

    /// One that wants a login.
    pub fn closed(user: &'static str, password: &'static str) -> Option<Self> {
        Self::start(Some((user, password)))
    }

    fn surround(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env("WEB_PORT", self.web_port.to_string())
            .env("WORKERS_PORT", self.workers_port.to_string())
            .env("WORKERS", WORKERS.join(" "))
            .env("ANOTHER_REPOSITORY", self.folder.path().join("another.git"));
    }

    fn twistd(&self, what: &str) -> Daemon {
        let log = self.folder.path().join(format!("{what}.log"));
        Daemon::start(&log, |shell| {
            let pid_file = format!("--pidfile={what}.pid");
            shell.arg(self.programs.join("twistd")).args(["--no_save", "--nodaemon", &pid_file, "--python", what]);
            self.surround(shell);
            // Its workers know nothing of it.
            if let (Some((user, password)), "buildbot.tac") = (self.login, what) {
                shell.env("LOGIN_USER", user).env("LOGIN_PASSWORD", password);
            }
        })
    }

    pub fn start_master(&mut self) {
        self.master = Some(self.twistd("buildbot.tac"));
        wait_for("the master answers", || self.api("builders").map(drop));
    }

    pub fn start_workers(&mut self) {
        self.workers = Some(self.twistd("workers.tac"));
        self.wait_for_workers();
    }

    pub fn wait_for_workers(&self) {
        wait_for("all workers are connected", || {
            let workers = self.api("workers")?;
            let connected = workers["workers"]
                .as_array()?
                .iter()
                .filter(|worker| worker["connected_to"].as_array().is_some_and(|masters| !masters.is_empty()));
            (connected.count() == WORKERS.len()).then_some(())
        });
    }

    pub fn stop_master(&mut self) {
        self.master.take().unwrap().stop();
    }

    pub fn kill_master(&mut self) {
        self.master.take().unwrap().kill();
    }

    /// With all that they run.
    pub fn kill_workers(&mut self) {
        self.workers.take().unwrap().kill();
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.web_port)
    }

    /// What the master answers; nothing where it is not there.
    pub fn api(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.web_port)).ok()?;
        write!(stream, "GET /api/v2/{path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.0 200")
            .then(|| serde_json::from_str(body).ok())?
            .or_else(|| head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).ok()).flatten())
    }

    /// How builds ended that the run asked for, the first first; nothing for one that has not.
    pub fn builds_of(&self, run: &str) -> Vec<Option<i64>> {
        let builds = self.api("builds?property=lexpr_ticket&order=buildid").unwrap();
        let of_run = builds["builds"].as_array().unwrap().iter().filter(|build| {
            build["properties"]["lexpr_ticket"][0].as_str().is_some_and(|ticket| ticket.starts_with(&format!("{run}/")))
        });
        of_run.map(|build| build["results"].as_i64()).collect()
    }

    /// As somebody does on its pages.
    pub fn stop_builds_of(&self, run: &str) {
        let builds = self.api("builds?property=lexpr_ticket&complete=false").unwrap();
        for build in builds["builds"].as_array().unwrap() {
            if !build["properties"]["lexpr_ticket"][0].as_str().is_some_and(|ticket| ticket.starts_with(run)) {
                continue;
            }
            let call = r#"{"jsonrpc": "2.0", "id": 1, "method": "stop", "params": {"reason": "not wanted"}}"#;
            let mut stream = TcpStream::connect(("127.0.0.1", self.web_port)).unwrap();
            let (id, length) = (&build["buildid"], call.len());
            let head =
                format!("POST /api/v2/builds/{id} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json");
            write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{call}").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains(" 200 "), "{answer}");
        }
    }

    /// Requests of whichever run for this builder that nothing has come of.
    pub fn open_requests_of(&self, builder: &str) -> usize {
        let builders = self.api(&format!("builders?name={builder}")).unwrap();
        let id = builders["builders"][0]["builderid"].as_u64().unwrap();
        let open = self.api(&format!("builders/{id}/buildrequests?complete=false")).unwrap();
        open["buildrequests"].as_array().unwrap().len()
    }
}

impl Drop for Buildbot {
    fn drop(&mut self) {
        for daemon in [self.master.take(), self.workers.take()].into_iter().flatten() {
            daemon.stop();
        }
    }
}

/// What came of an errand, and what its log has.
pub type Came = (Returned, String);

/// A repository with commits and an exchange, for errands of one run.
pub struct World {
    folder: TempDir,
    pub repo: Repo,
    pub exchange: Repo,
    pub run: String,
    /// Of lexpr.
    pub environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
}

impl World {
    pub fn new() -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let folder = TempDir::new().unwrap();
        let repo = Repo::init(&folder.path().join("repository.git"), &["--bare"]);
        let exchange = Repo::init(&folder.path().join("exchange.git"), &["--bare"]);
        let run = format!("20261121-150000-{:04x}", RUNS.fetch_add(1, Ordering::Relaxed));
        Self { folder, repo, exchange, run, environment: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn policy(&self, buildbot: &Buildbot) -> CiServicePolicy {
        CiServicePolicy {
            server: CiServer::Buildbot { scheduler: "lexpr".to_owned(), builder: None },
            credentials: Credentials::None,
            url: buildbot.url(),
            max_in_flight: 16,
            queue_limit: Duration::from_secs(1000),
        }
    }

    pub fn ci(&self, buildbot: &Buildbot) -> Ci {
        self.ci_of(self.policy(buildbot))
    }

    pub fn ci_of(&self, policy: CiServicePolicy) -> Ci {
        let address = self.exchange.dir().to_str().unwrap();
        let exchange = Exchange::new(self.repo.git.clone(), address, self.run.as_str().into());
        Ci::new(CiSettings { run: self.run.as_str().into(), policy, exchange, environment: self.environment.clone() })
    }

    /// For a tree whose gate is this script.
    pub fn errand(&self, ticket: &str, script: &str) -> Errand {
        self.errand_at(self.repo.commit(&[file("gate.sh", &format!("{script}\n"))], &[]), ticket)
    }

    pub fn errand_at(&self, commit: CommitId, ticket: &str) -> Errand {
        Errand {
            ticket: ticket.to_owned(),
            commit,
            tree: self.repo.tree_of(commit),
            setup: None,
            command: String::new(),
            cwd: String::new(),
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            artifacts: Vec::new(),
            timeout: Duration::from_secs(1000),
            log: self.path(&format!("{ticket}.log")),
            log_rules: LogRules { max_bytes: 1024 * 1024, secrets: vec![b"hush".to_vec()] },
        }
    }

    /// Branches that the service was sent.
    pub fn sent(&self) -> Vec<String> {
        self.exchange.run(&["for-each-ref", "--format=%(refname)"]).lines().map(str::to_owned).collect()
    }
}

pub fn builder(name: &str) -> CiJudge {
    CiJudge::Builder { scheduler: "lexpr".to_owned(), builder: name.to_owned() }
}

/// Has the builder `gates` judge an errand to its end.
pub async fn run(ci: &Ci, errand: &Errand) -> Came {
    run_by(ci, &builder("gates"), errand).await
}

pub async fn run_by(ci: &Ci, judge: &CiJudge, errand: &Errand) -> Came {
    let (_cancel, cancelled) = watch::channel(false);
    run_with(ci, judge, errand, cancelled).await
}

pub async fn run_with(ci: &Ci, judge: &CiJudge, errand: &Errand, cancel: watch::Receiver<bool>) -> Came {
    let returned = ci.run(judge, errand, cancel, |_| {}).await.unwrap();
    (returned, fs::read_to_string(&errand.log).unwrap())
}
