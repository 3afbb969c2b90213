//! A real Slurm cluster of two nodes on loopback, each test its own, and errands for it.
//!
//! Where Slurm is not installed the tests say that they did not run; with `CI` set they fail.

#![expect(clippy::disallowed_methods, reason = "a cluster is started, as an administrator would")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lexpr::gate::LogRules;
use lexpr::gate::elsewhere::slurm::{Patience, Slurm, SlurmSettings};
use lexpr::gate::elsewhere::{Errand, Exchange, Returned, Word};
use lexpr::plan::runtime::{SlurmMode, SlurmNeeds};
use lexpr::ports::PortError;
use lexpr::vocabulary::names::CommitId;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::cli_world::wait_for;
use crate::land_world::{Entry, Repo, file};

pub const NODES: [&str; 2] = ["w1", "w2"];
pub const RUN: &str = "20261121-150000-abcd";
pub const POOL: SlurmMode = SlurmMode::Pool { nodes: 2 };
pub const BOTH: [SlurmMode; 2] = [POOL, SlurmMode::Batch];
/// Gates that one node has room for, with a processor each.
pub const ROOM: usize = 4;

/// What takes longer than this on a busy machine does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks until there is something to be seen, while gates go on.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Says past the capture of output why a test is none, so that nobody takes it for a pass. CI wants all of them.
pub fn not_run(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    let terminal = File::options().append(true).open("/dev/stderr");
    let _ = terminal.and_then(|mut terminal| terminal.write_all(format!("\nNOT RUN: {why}\n").as_bytes()));
}

/// Daemons in the foreground, ended with it.
pub struct Cluster {
    folder: TempDir,
    munged: Child,
    controller: Option<Child>,
    nodes: BTreeMap<&'static str, Child>,
}

impl Cluster {
    /// `None` where there is no Slurm.
    fn start(wrap: impl Fn(&Path) -> Vec<String>) -> Option<Self> {
        let missing = ["munged", "slurmctld", "slurmd", "srun"].into_iter().find(|program| {
            let mut look = command("sh");
            !look.args(["-c", "command -v \"$1\" >/dev/null", "sh", program]).status().unwrap().success()
        });
        if let Some(missing) = missing {
            not_run(&format!("{missing} is not installed (Debian: slurmctld slurmd slurm-client munge)"));
            return None;
        }
        let folder = TempDir::new().unwrap();
        // munged wants to see that nobody else can put a socket there.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        for name in ["run", "log", "state"] {
            fs::create_dir(at(name)).unwrap();
        }
        let key: Vec<u8> = (0..=255).collect();
        fs::write(at("munge.key"), key).unwrap();
        fs::set_permissions(at("munge.key"), Permissions::from_mode(0o600)).unwrap();
        write_configuration(folder.path());
        let socket = at("run/munge.sock");
        let munged = command("munged")
            .args(["--foreground", "--force", "--num-threads=2"])
            .args([format!("--key-file={}", at("munge.key")), format!("--socket={socket}")])
            .args([format!("--pid-file={}", at("run/munged.pid")), format!("--log-file={}", at("log/munged"))])
            .arg(format!("--seed-file={}", at("munge.seed")))
            .spawn()
            .unwrap();
        wait_for("munged", || Path::new(&socket).exists().then_some(()));
        let mut cluster = Self { folder, munged, controller: None, nodes: BTreeMap::new() };
        cluster.start_controller(&[]);
        for node in NODES {
            let line = wrap(cluster.folder.path());
            let (program, before) = line.split_first().unwrap();
            let mut slurmd = command(program);
            slurmd.args(before).args(["-D", "-N", node]).env("SLURM_CONF", cluster.configuration());
            cluster.nodes.insert(node, slurmd.spawn().unwrap());
        }
        wait_for("both nodes are idle", || {
            let idle = cluster.said("sinfo", &["-h", "-N", "-t", "idle", "-o", "%N"]);
            (idle.lines().count() == NODES.len()).then_some(())
        });
        Some(cluster)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn configuration(&self) -> PathBuf {
        self.path("slurm.conf")
    }

    fn start_controller(&mut self, options: &[&str]) {
        let mut slurmctld = command("slurmctld");
        let started = slurmctld.arg("-D").args(options).env("SLURM_CONF", self.configuration()).spawn().unwrap();
        self.controller = Some(started);
    }

    pub fn stop_controller(&mut self) {
        end(&mut self.controller.take().unwrap());
    }

    /// As it was.
    pub fn restart_controller(&mut self) {
        self.start_controller(&[]);
    }

    /// With no memory of any job.
    pub fn restart_controller_from_nothing(&mut self) {
        fs::remove_dir_all(self.path("state")).unwrap();
        fs::create_dir(self.path("state")).unwrap();
        self.start_controller(&["-c"]);
    }

    /// What a program of Slurm's says; nothing where it fails.
    pub fn said(&self, program: &str, args: &[&str]) -> String {
        let mut asked = command(program);
        let output = asked.args(args).env("SLURM_CONF", self.configuration()).stdout(Stdio::piped()).output().unwrap();
        if output.status.success() { String::from_utf8(output.stdout).unwrap() } else { String::new() }
    }

    /// Jobs that have not ended.
    pub fn jobs(&self) -> Vec<String> {
        self.said("squeue", &["-h", "-o", "%j"]).lines().map(str::to_owned).collect()
    }

    /// The node's daemon and what watches over the step there are killed, and the daemon is started anew. What the step runs goes
    /// on.
    pub fn lose_daemons(&mut self, node: &'static str, pid_of_gate: i32) {
        let watcher = watcher_of(pid_of_gate);
        let mut daemon = self.nodes.remove(node).unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        kill_process(Pid::from_raw(watcher).unwrap(), Signal::KILL).unwrap();
        let mut slurmd = command("slurmd");
        slurmd.args(["-D", "-N", node]).env("SLURM_CONF", self.configuration());
        self.nodes.insert(node, slurmd.spawn().unwrap());
    }

    /// As if the power was cut: the node's daemon, what watches over the step there, and all of the step.
    pub fn lose_node(&mut self, node: &str, pid_of_gate: i32) {
        let watcher = watcher_of(pid_of_gate);
        let processes: Vec<i32> =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        let mut lost = vec![watcher];
        while let Some(more) = processes
            .iter()
            .find(|pid| !lost.contains(*pid) && parent_of(**pid).is_some_and(|parent| lost.contains(&parent)))
        {
            lost.push(*more);
        }
        // From the top: nobody shall tell of the end of what is below it.
        let mut daemon = self.nodes.remove(node).unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        for pid in lost {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.controller.is_some() {
            self.said("scancel", &["--me"]);
            let begun = Instant::now();
            while !self.jobs().is_empty() && begun.elapsed() < Duration::from_secs(15) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        self.nodes.values_mut().for_each(end);
        self.controller.iter_mut().for_each(end);
        end(&mut self.munged);
    }
}

pub fn end(process: &mut Child) {
    let _ = kill_process(Pid::from_child(process), Signal::TERM);
    let begun = Instant::now();
    while matches!(process.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = process.kill();
    let _ = process.wait();
}

/// Where daemons are found, too, and with no word of theirs on the test's own output.
pub fn command(program: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap();
    path.push(":/usr/sbin:/sbin");
    let mut command = Command::new(program);
    command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Of loopback, and different ones.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn write_configuration(folder: &Path) {
    let ports: [u16; 3] = free_ports();
    let user = command("id").arg("-un").stdout(Stdio::piped()).output().unwrap();
    let user = String::from_utf8(user.stdout).unwrap();
    let (d, user) = (folder.display(), user.trim());
    let mut text = format!(
        "ClusterName=lexprtest\n\
         SlurmctldHost=localhost(127.0.0.1)\n\
         SlurmctldPort={}\n\
         SlurmUser={user}\n\
         SlurmdUser={user}\n\
         AuthType=auth/munge\n\
         AuthInfo=socket={d}/run/munge.sock\n\
         CredType=cred/munge\n\
         ProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\n\
         MpiDefault=none\n\
         SelectType=select/cons_tres\n\
         SelectTypeParameters=CR_Core_Memory\n\
         SchedulerParameters=batch_sched_delay=0\n\
         StateSaveLocation={d}/state\n\
         SlurmdSpoolDir={d}/spool-%n\n\
         SlurmctldPidFile={d}/run/slurmctld.pid\n\
         SlurmdPidFile={d}/run/slurmd-%n.pid\n\
         SlurmctldLogFile={d}/log/slurmctld\n\
         SlurmdLogFile={d}/log/slurmd-%n\n\
         CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
         ReturnToService=2\n\
         SlurmdTimeout=10\n\
         KillWait=2\n\
         MinJobAge=300\n\
         SlurmdParameters=config_overrides\n",
        ports[0]
    );
    for (node, port) in NODES.iter().zip(&ports[1..]) {
        text.push_str(&format!(
            "NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={ROOM} RealMemory=1000\n"
        ));
    }
    text.push_str("PartitionName=gates Nodes=w1,w2 Default=YES MaxTime=60 State=UP\n");
    fs::write(folder.join("slurm.conf"), text).unwrap();
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

fn watcher_of(pid_of_gate: i32) -> i32 {
    let mut watcher = pid_of_gate;
    while name_of(watcher) != "slurmstepd" {
        watcher = parent_of(watcher).unwrap();
    }
    watcher
}

fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim().to_owned()
}

/// A cluster, a repository with commits, and an exchange.
pub struct World {
    pub cluster: Cluster,
    pub repo: Repo,
    pub exchange: Repo,
}

/// What came of an errand, and what its log has.
pub type Came = (Returned, String);

impl World {
    /// `None` where there is no Slurm; that is said then.
    pub fn start() -> Option<Self> {
        Self::start_nodes(|_| vec!["slurmd".to_owned()])
    }

    /// With the command that each node's slurmd is started by, given the folder of all that is of the test.
    pub fn start_nodes(wrap: impl Fn(&Path) -> Vec<String>) -> Option<Self> {
        let cluster = Cluster::start(wrap)?;
        let repo = Repo::init(&cluster.path("repository.git"), &["--bare"]);
        let exchange = Repo::init(&cluster.path("exchange.git"), &["--bare"]);
        fs::create_dir_all(cluster.path("logs")).unwrap();
        Some(Self { cluster, repo, exchange })
    }

    pub fn settings(&self, mode: SlurmMode) -> SlurmSettings {
        let environment: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), std::env::var_os("PATH").unwrap()),
            ("SLURM_CONF".into(), self.cluster.configuration().into()),
            ("CALLERS".into(), "own".into()),
            ("TOKEN".into(), "it's a\nsecret".into()),
        ];
        SlurmSettings {
            name: "cluster".to_owned(),
            run: RUN.into(),
            mark: format!("{RUN}@1.2"),
            mode,
            needs: SlurmNeeds { partition: Some("gates".to_owned()), memory_mb: Some(50), ..SlurmNeeds::default() },
            queue_limit: Duration::from_secs(1000),
            exchange: Exchange::new(self.repo.git.clone(), self.exchange.dir().to_str().unwrap(), RUN.into()),
            work_dir: Some(self.work_dir()),
            environment,
            guard_exe: PathBuf::from(env!("CARGO_BIN_EXE_lexpr")),
            grace: Duration::from_secs(2),
            patience: Patience::default(),
        }
    }

    /// With a script that is started for one of Slurm's programs, and finds that itself by its name.
    pub fn settings_with(&self, mode: SlurmMode, program: &str, script: &str) -> SlurmSettings {
        let mut settings = self.settings(mode);
        let before = self.cluster.path("bin").join(program);
        fs::create_dir_all(before.parent().unwrap()).unwrap();
        fs::write(&before, format!("#!/bin/sh\nPATH=${{PATH#*:}}\n{script}\n")).unwrap();
        fs::set_permissions(&before, Permissions::from_mode(0o755)).unwrap();
        for (_, path) in settings.environment.iter_mut().filter(|(name, _)| name == "PATH") {
            let folders = std::env::split_paths(&*path).collect::<Vec<_>>();
            *path = std::env::join_paths([before.parent().unwrap().to_owned()].into_iter().chain(folders)).unwrap();
        }
        settings
    }

    pub fn slurm(&self, mode: SlurmMode) -> Slurm {
        Slurm::new(self.settings(mode))
    }

    /// On both nodes.
    pub fn work_dir(&self) -> PathBuf {
        self.cluster.path("work")
    }

    /// What workers left.
    pub fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.work_dir()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with("cache-")).collect()
    }

    pub fn commit(&self, entries: &[Entry]) -> CommitId {
        let mut all = vec![file(".gitignore", "target/\n"), file("a.txt", "a\n"), file("sub/b.txt", "b\n")];
        all.extend_from_slice(entries);
        self.repo.commit(&all, &[])
    }

    pub fn errand(&self, ticket: &str, command: &str) -> Errand {
        self.errand_at(self.commit(&[]), ticket, command)
    }

    pub fn errand_at(&self, commit: CommitId, ticket: &str, command: &str) -> Errand {
        Errand {
            ticket: ticket.to_owned(),
            commit,
            tree: self.repo.tree_of(commit),
            setup: None,
            command: command.to_owned(),
            cwd: String::new(),
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            artifacts: Vec::new(),
            timeout: Duration::from_secs(1000),
            log: self.cluster.path(&format!("logs/{ticket}.log")),
            log_rules: LogRules { max_bytes: 200 * 1024 * 1024, secrets: Vec::new() },
        }
    }
}

/// Runs an errand to its end.
pub async fn run(slurm: &Slurm, errand: &Errand) -> Came {
    let (_cancel, cancelled) = watch::channel(false);
    run_with(slurm, errand, cancelled).await.unwrap()
}

pub async fn run_with(slurm: &Slurm, errand: &Errand, cancel: watch::Receiver<bool>) -> Result<Came, PortError> {
    let begun = OnceLock::new();
    let tell = |word: Word| {
        if let Word::Begun(node) = word {
            begun.set(node).unwrap();
        }
    };
    let returned = slurm.run(errand, cancel, tell).await?;
    if let (Some(told), Some(node)) = (begun.get(), &returned.node) {
        assert_eq!(told, node);
    }
    let log = String::from_utf8_lossy(&fs::read(&errand.log).unwrap()).into_owned();
    Ok((returned, log))
}

/// As a shell word.
pub fn word(path: &Path) -> String {
    format!("'{}'", path.display())
}
