//! An engine that really runs containers, with a store of the tests' own and an image of a single program. Where the
//! packages are missing (podman, runc, busybox-static) the tests that want one say so, and under CI they fail.

#![expect(clippy::disallowed_methods, reason = "the engine is a program")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests must see what was not tried")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::cli_world::{World, wait_for};

/// A shell and what it needs to be of any use.
pub const IMAGE: &str = "localhost/lexpr-test:1";

const APPLETS: [&str; 16] = [
    "sh", "cat", "ls", "id", "sleep", "touch", "mkdir", "rm", "env", "head", "tail", "true", "false", "wc", "yes",
    "setsid",
];

/// Where the engine keeps what it has; variables that lead it there.
pub struct Engine {
    folder: PathBuf,
}

/// The engine, made ready once for all tests; `None` where there is none.
pub fn engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    ENGINE.get_or_init(Engine::get_ready).as_ref()
}

fn is_there(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file())
}

impl Engine {
    fn get_ready() -> Option<Self> {
        let missing: Vec<&str> = ["podman", "runc", "busybox"].into_iter().filter(|name| !is_there(name)).collect();
        if !missing.is_empty() {
            assert!(std::env::var_os("CI").is_none(), "CI is to have {missing:?}");
            eprintln!("NOT TRIED: gates in containers, for want of {}", missing.join(", "));
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("containers");
        let engine = Self { folder };
        std::fs::create_dir_all(&engine.folder).unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let hard = |what: &str| {
            let line = limits.lines().find(|line| line.starts_with(what)).unwrap();
            line[26..].split_whitespace().nth(1).unwrap().parse().unwrap_or(u64::MAX)
        };
        // The engine raises both to numbers of its own otherwise, which not every machine lets it.
        let (files, processes) = (hard("Max open files").min(1 << 20), hard("Max processes").min(1 << 15));
        let at = |name: &str| engine.folder.join(name).display().to_string();
        // No folder but the two that the engine hands on to what it leaves to clean up: that does not see this file.
        let write = |name: &str, text: String| std::fs::write(engine.folder.join(name), text).unwrap();
        write(
            "containers.conf",
            format!(
                "[containers]\ndefault_ulimits = [\"nofile={files}:{files}\", \"nproc={processes}:{processes}\"]\n\
                 [engine]\nruntime = \"runc\"\nevents_logger = \"none\"\n"
            ),
        );
        write(
            "storage.conf",
            format!("[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n", at("store"), at("run")),
        );
        let exists = engine.podman(&["image", "exists", IMAGE]).status.success();
        if !exists {
            let root = engine.folder.join("image");
            let _ = std::fs::remove_dir_all(&root);
            std::fs::create_dir_all(root.join("bin")).unwrap();
            let busybox = engine.run(Command::new("sh").args(["-c", "command -v busybox"]));
            let busybox = String::from_utf8(busybox.stdout).unwrap();
            std::fs::copy(busybox.trim(), root.join("bin/busybox")).unwrap();
            for applet in APPLETS {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
            }
            let tar = engine.folder.join("image.tar");
            let made = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
            assert!(made.success());
            let imported = engine.podman(&["import", &tar.display().to_string(), IMAGE]);
            assert!(imported.status.success(), "{imported:?}");
        }
        Some(engine)
    }

    pub fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("CONTAINERS_CONF", self.folder.join("containers.conf")),
            ("CONTAINERS_STORAGE_CONF", self.folder.join("storage.conf")),
        ]
    }

    fn run(&self, command: &mut Command) -> Output {
        command.envs(self.variables()).output().unwrap()
    }

    pub fn podman(&self, args: &[&str]) -> Output {
        self.run(Command::new("podman").args(args))
    }

    /// The containers of runs of this world, of whatever state.
    pub fn containers_of(&self, world: &World) -> Vec<String> {
        let runs = std::fs::read_dir(world.repo().join(".git/lexpr/runs")).into_iter().flatten().flatten();
        let runs: Vec<String> = runs.map(|run| run.file_name().to_string_lossy().into_owned()).collect();
        let listed = self.podman(&["ps", "--all", "--format", "{{.ID}} {{.Labels}}"]);
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed.lines().filter(|line| runs.iter().any(|run| line.contains(run))).map(str::to_owned).collect()
    }
}

/// A docker daemon of a test's own, on a socket in a folder of its own.
pub struct Docker {
    daemon: std::process::Child,
    folder: tempfile::TempDir,
}

impl Docker {
    /// `None` where there is no docker, or whoever tests may not start one.
    pub fn start() -> Option<Self> {
        if !(is_there("dockerd") && is_there("docker")) {
            assert!(std::env::var_os("CI").is_none(), "CI is to have dockerd");
            eprintln!("NOT TRIED: gates in containers of docker, for want of it");
            return None;
        }
        let image = &engine()?.folder.join("image.tar");
        let folder = tempfile::tempdir().unwrap();
        let docker = Self { daemon: Self::daemon(folder.path()), folder };
        docker.wait_until_ready();
        let imported = docker.docker(&["import", &image.display().to_string(), IMAGE]);
        assert!(imported.status.success(), "{imported:?}");
        Some(docker)
    }

    fn daemon(folder: &Path) -> std::process::Child {
        let at = |name: &str| folder.join(name).display().to_string();
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = Command::new("dockerd");
        // It makes no network and touches no firewall.
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--data-root", &at("data")]);
        command.args(["--exec-root", &at("exec"), "--pidfile", &at("pid"), "-H", &format!("unix://{}", at("socket"))]);
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    fn wait_until_ready(&self) {
        wait_for("the docker daemon", || self.docker(&["version"]).status.success().then_some(()));
    }

    /// As an administrator does, with what is in work there.
    pub fn restart(&mut self) {
        self.stop();
        self.daemon = Self::daemon(self.folder.path());
        self.wait_until_ready();
    }

    /// Ends a container while nobody else who asks for the engine gets an answer, until `waits` comes back.
    pub fn kill_unheard(&self, container: &str, waits: impl FnOnce()) {
        let [socket, hidden] = ["socket", "hidden"].map(|name| self.folder.path().join(name));
        std::fs::rename(&socket, &hidden).unwrap();
        let mut kill = Command::new("docker");
        let killed = kill.args(["-H", &format!("unix://{}", hidden.display()), "kill", container]).output().unwrap();
        assert!(killed.status.success(), "{killed:?}");
        waits();
        std::fs::rename(&hidden, &socket).unwrap();
    }

    fn stop(&mut self) {
        if let Some(pid) = i32::try_from(self.daemon.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.daemon.wait();
    }

    pub fn variable(&self) -> (&'static str, String) {
        ("DOCKER_HOST", format!("unix://{}", self.folder.path().join("socket").display()))
    }

    pub fn docker(&self, args: &[&str]) -> Output {
        Command::new("docker").args(args).envs([self.variable()]).output().unwrap()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.stop();
    }
}
