//! The guard, spoken to as lexpr speaks to it: whatever a command does, it and all it started
//! end when they should, and how it ended is told as it was.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Far longer than anything here takes on the slowest machine: reached only where a test fails.
const DEADLINE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Waits until there is something to read.
fn wait_for(what: &str, fd: impl AsFd) {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let ready = loop {
        match poll(&mut fds, Some(&DEADLINE)) {
            // Another test's child has ended.
            Err(Errno::INTR) => {}
            ready => break ready.unwrap(),
        }
    };
    assert_eq!(ready, 1, "waited too long until {what}");
}

/// What `look` finds in the file, as soon as it finds something: it looks whenever the folder changes.
fn found_in<T>(path: &Path, look: impl Fn(&Path) -> Option<T>) -> T {
    let changes = inotify::init(CreateFlags::CLOEXEC).unwrap();
    let what_changes = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, path.parent().unwrap(), what_changes).unwrap();
    loop {
        if let Some(found) = look(path) {
            return found;
        }
        wait_for(&format!("{} is written", path.display()), &changes);
        let told: &mut [u8] = &mut [0; 4096];
        rustix::io::read(&changes, told).unwrap();
    }
}

/// Waits until there is a file.
pub fn wait_for_file(path: &Path) {
    found_in(path, |path| path.exists().then_some(()));
}

/// The number that a process wrote to a file, once it is there whole.
pub fn number_in(path: &Path) -> i32 {
    found_in(path, |path| fs::read_to_string(path).ok()?.strip_suffix('\n')?.trim().parse().ok())
}

/// Waits until the process, which need not be a child, has ended.
pub fn wait_for_end(pid: i32) {
    match pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) {
        Ok(process) => wait_for(&format!("process {pid} ends"), process),
        Err(error) => assert_eq!(error, Errno::SRCH, "it has ended, and nothing else"),
    }
}

/// Gone or a zombie: it runs no more.
pub fn has_ended(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

pub fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// What [`DAEMON`] runs. Its number is in the file named first once it is ready.
pub const DAEMON_SCRIPT: &str = "[ \"$2\" = stubborn ] && trap '' TERM; echo $$ > $1; exec sleep 1000";
/// A daemon as they are in the wild: in a session of its own, its parent gone.
pub const DAEMON: &str = "setsid sh -c 'sh daemon.sh pid &' &";
const STUBBORN_DAEMON: &str = "setsid sh -c 'sh daemon.sh pid stubborn &' &";
/// Waits until the daemon is ready.
const UNTIL_READY: &str = "until [ -s pid ]; do sleep 0.01; done;";

#[expect(clippy::disallowed_methods, reason = "tests play lexpr's part")]
fn program(path: &str) -> Command {
    Command::new(path)
}

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("daemon.sh"), DAEMON_SCRIPT).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A request to run `script` in the folder.
    fn start(&self, run: u64, script: &str) -> Value {
        fs::write(self.path("log"), "").unwrap();
        json!({
            "do": "start", "run": run, "argv": ["/bin/sh", "-c", script], "cwd": self.folder.path(),
            "env": [["PATH", std::env::var("PATH").unwrap()]], "log": self.path("log"),
            "log_rules": { "max_bytes": 1_000_000, "secrets": [] },
            "timeout_ms": 1_000_000, "grace_ms": 1_000_000, "at_death": [],
        })
    }
}

struct Guard {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Guard {
    fn new() -> Self {
        Self::with_input(Stdio::piped())
    }

    fn with_input(input: Stdio) -> Self {
        let mut command = program(env!("CARGO_BIN_EXE_lexpr"));
        let mut child = command.arg("guard").stdin(input).stdout(Stdio::piped()).spawn().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap());
        let mut guard = Self { requests: child.stdin.take(), child, replies };
        assert_eq!(guard.reply()["is"], "ready");
        guard
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn send(&mut self, request: &Value) {
        writeln!(self.requests.as_mut().unwrap(), "{request}").unwrap();
    }

    fn reply(&mut self) -> Value {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Starts a command and gives its process.
    fn start(&mut self, request: &Value) -> i32 {
        self.send(request);
        let started = self.reply();
        assert_eq!(started["is"], "started", "{started}");
        i32::try_from(started["pid"].as_i64().unwrap()).unwrap()
    }

    /// Waits until the command has ended: how and why.
    fn ended(&mut self) -> (Value, Value) {
        let ended = self.reply();
        assert_eq!(ended["is"], "ended", "{ended}");
        assert_eq!(ended["survivors"], json!([]));
        (ended["end"].clone(), ended["cause"].clone())
    }

    fn run(&mut self, request: &Value) -> (Value, Value) {
        self.start(request);
        self.ended()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.requests.take());
        // At its input's end a guard always ends.
        let _ = self.child.wait();
    }
}

fn code(code: i32) -> Value {
    json!({ "code": code })
}

fn signal(signal: i32) -> Value {
    json!({ "signal": signal })
}

#[test]
fn a_guard_runs_one_command_after_another_and_tells_how_each_ended() {
    let (world, mut guard) = (World::new(), Guard::new());
    for (run, (script, end)) in [
        ("exit 0", code(0)),
        ("exit 3", code(3)),
        ("no-such-command", code(127)),
        ("kill -SEGV $$", signal(11)),
        // Not inherited as ignored, though the guard itself does not die of them.
        ("kill -TERM $$", signal(15)),
        ("kill -INT $$", signal(2)),
        ("kill -HUP $$", signal(1)),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(guard.run(&world.start(run as u64, script)), (end, json!("itself")), "{script}");
    }
}

#[test]
fn what_cannot_be_started_is_told_and_the_next_command_runs() {
    let (world, mut guard) = (World::new(), Guard::new());
    let mut request = world.start(1, "");
    request["argv"] = json!(["/no/such/program"]);
    guard.send(&request);
    let reply = guard.reply();
    assert_eq!(reply["is"], "notStarted");
    assert!(reply["why"].as_str().unwrap().contains("/no/such/program"), "{reply}");
    assert_eq!(guard.run(&world.start(2, "exit 4")).0, code(4));
}

#[test]
fn a_command_has_the_environment_it_was_given_and_an_empty_input() {
    let (world, mut guard) = (World::new(), Guard::new());
    let mut request = world.start(1, "");
    request["argv"] = json!(["/usr/bin/env", "-0"]);
    request["env"] = json!([["A", "1"], ["B", [255, 10]]]);
    assert_eq!(guard.run(&request).0, code(0));
    assert_eq!(fs::read(world.path("log")).unwrap(), b"A=1\0B=\xff\n\0");
    assert_eq!(guard.run(&world.start(2, "cat && echo end")).0, code(0));
    assert_eq!(fs::read(world.path("log")).unwrap(), b"end\n");
}

#[test]
fn a_timeout_ends_a_command_that_obeys_with_its_true_signal() {
    let (world, mut guard) = (World::new(), Guard::new());
    let mut request = world.start(1, "sleep 1000; echo not reached");
    request["timeout_ms"] = json!(100);
    assert_eq!(guard.run(&request), (signal(15), json!("timeout")));
    assert_eq!(fs::read(world.path("log")).unwrap(), b"");
}

#[test]
fn a_timeout_kills_a_command_that_ignores_being_asked_and_its_daemon() {
    let (world, mut guard) = (World::new(), Guard::new());
    let mut request = world.start(1, &format!("trap '' TERM; {DAEMON} sleep 1000"));
    // Time for the trap to be set on a busy machine.
    request["timeout_ms"] = json!(2000);
    request["grace_ms"] = json!(50);
    guard.start(&request);
    let daemon = number_in(&world.path("pid"));
    assert_eq!(guard.ended(), (signal(9), json!("timeout")));
    assert!(has_ended(daemon));
}

#[test]
fn a_timed_out_command_that_ends_by_itself_when_asked_keeps_its_exit_code() {
    let (world, mut guard) = (World::new(), Guard::new());
    let mut request = world.start(1, "trap 'echo tidied; exit 5' TERM; while :; do sleep 0.01; done");
    request["timeout_ms"] = json!(2000);
    assert_eq!(guard.run(&request), (code(5), json!("timeout")));
    // The shell itself says that its `sleep` was terminated, too.
    assert!(fs::read(world.path("log")).unwrap().ends_with(b"tidied\n"));
}

#[test]
fn a_cancel_ends_the_command_it_is_meant_for_and_all_it_started() {
    let (world, mut guard) = (World::new(), Guard::new());
    let mut request =
        world.start(2, &format!("trap '' TERM; {STUBBORN_DAEMON} {UNTIL_READY} echo > ready; sleep 1000"));
    request["grace_ms"] = json!(50);
    guard.start(&request);
    let daemon = number_in(&world.path("pid"));
    wait_for_file(&world.path("ready"));
    // Of a command that had ended when it was sent.
    guard.send(&json!({ "do": "cancel", "run": 1 }));
    guard.send(&json!({ "do": "cancel", "run": 2 }));
    assert_eq!(guard.ended(), (signal(9), json!("cancel")));
    assert!(has_ended(daemon));
    // A late one does not hit the next.
    guard.send(&json!({ "do": "cancel", "run": 2 }));
    assert_eq!(guard.run(&world.start(3, "exit 6")), (code(6), json!("itself")));
}

#[test]
fn what_a_command_leaves_behind_is_gone_when_it_has_ended() {
    let (world, mut guard) = (World::new(), Guard::new());
    let background = "sh daemon.sh pid &";
    for (run, started) in [background, DAEMON, STUBBORN_DAEMON].into_iter().enumerate() {
        let _ = fs::remove_file(world.path("pid"));
        let script = format!("{started} {UNTIL_READY} exit 9");
        assert_eq!(guard.run(&world.start(run as u64, &script)), (code(9), json!("itself")), "{started}");
        assert!(has_ended(number_in(&world.path("pid"))), "{started}");
    }
}

#[test]
fn a_process_that_forks_and_exits_over_and_over_does_not_outrun_the_guard() {
    let (world, mut guard) = (World::new(), Guard::new());
    fs::write(world.path("hop.sh"), "trap '' TERM; echo $$ > hop; sh hop.sh &").unwrap();
    let script = "setsid sh hop.sh & until [ -s hop ]; do sleep 0.01; done; exit 9";
    assert_eq!(guard.run(&world.start(1, script)), (code(9), json!("itself")));
}

#[test]
fn a_command_that_closes_its_output_lives_on() {
    let (world, mut guard) = (World::new(), Guard::new());
    let pid = guard.start(&world.start(1, "exec >&- 2>&-; until [ -e go ]; do sleep 0.01; done; exit 8"));
    assert!(!has_ended(pid));
    fs::write(world.path("go"), "").unwrap();
    assert_eq!(guard.ended(), (code(8), json!("itself")));
}

#[test]
fn signals_that_hit_the_guard_do_not_set_the_command_loose() {
    let (world, mut guard) = (World::new(), Guard::new());
    guard.start(&world.start(1, "until [ -e go ]; do sleep 0.01; done; exit 7"));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        send(guard.pid(), signal);
    }
    fs::write(world.path("go"), "").unwrap();
    assert_eq!(guard.ended(), (code(7), json!("itself")));
}

/// The end of lexpr is played by a process that holds the guard's pipe, and nobody else does.
#[test]
fn invariant_6_when_lexpr_is_killed_the_guard_ends_all_even_daemons_and_itself() {
    let world = World::new();
    let request = world.start(1, &format!("trap '' TERM; {STUBBORN_DAEMON} echo $$ > command; sleep 1000"));
    let mut holder = program("/bin/sh")
        .args(["-c", "printf '%s\\n' \"$1\"; exec sleep 1000", "sh", &request.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut guard = Guard::with_input(holder.stdout.take().unwrap().into());
    assert_eq!(guard.reply()["is"], "started");
    let (command, daemon) = (number_in(&world.path("command")), number_in(&world.path("pid")));
    assert!(!has_ended(command) && !has_ended(daemon));

    send(i32::try_from(holder.id()).unwrap(), Signal::KILL);
    holder.wait().unwrap();
    assert!(guard.child.wait().unwrap().success());
    assert!(has_ended(command) && has_ended(daemon));
}

#[test]
fn a_request_that_cannot_be_read_ends_the_guard_with_all_it_runs() {
    let (world, mut guard) = (World::new(), Guard::new());
    let pid = guard.start(&world.start(1, "sleep 1000"));
    guard.send(&json!("nonsense"));
    assert!(!guard.child.wait().unwrap().success());
    assert!(has_ended(pid));
}
