//! The guard: a small process, `lexpr guard`, that runs one gate at a time for lexpr and ends
//! everything the gate started, daemons included: when the gate ends, when its time is up, when
//! lexpr says so, and when lexpr dies, however it dies. It knows commands, not gates: no retry,
//! no verdict, no log but the file it is given.
//!
//! It can promise this because orphans among its descendants become its children (on Linux,
//! `PR_SET_CHILD_SUBREAPER`, prctl(2)): once it has no child, none of them is left. That lexpr
//! died it learns from the end of its standard input, a pipe whose other end lexpr alone holds.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, setsid, test_kill_process_group, wait,
};
use rustix::stdio::{stdin, stdout};
use tokio::signal::unix::{SignalKind, signal};

use super::processes::{ORPHANS_COME_TO_US, Process, ProcessTable, become_subreaper, exit_descriptor};
use super::protocol::{Cause, End, Ended, PROTOCOL, Reply, Request, Start, line};
use super::pump::pump;

/// What a command leaves behind has this long from TERM to KILL: nobody waits for it, but a
/// database or a build server may want to write its files.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// A process that is still there this long after KILL waits for hardware or is another user's.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked who is left while everything is being ended: each of them wakes us as
/// it ends, but for those started since the last look.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often orphans that ended are reaped while a command runs, so that they do not pile up.
const REAP_AGAIN: Duration = Duration::from_secs(1);
/// Where the kernel cannot wake us when a process ends.
const WITHOUT_DESCRIPTOR: Duration = Duration::from_millis(20);
/// Descriptors waited on at once: far below the usual limit of 1,024 open files.
const MOST_DESCRIPTORS: usize = 64;

/// How long the rest of a command's output may take to be written once all it started is gone. A
/// stranger that was handed the pipe must not keep the guard.
const LOG_LIMIT: Duration = Duration::from_secs(5);
/// An engine takes a container away in a second or two.
const AT_DEATH_LIMIT: Duration = Duration::from_secs(30);

/// Serves until standard input ends, then kills all descendants.
pub fn run() -> ExitCode {
    let mut cut_short = None;
    let served = set_up().and_then(|()| {
        reply(&Reply::Ready { protocol: PROTOCOL })?;
        serve(&mut Requests::default(), &mut cut_short)
    });
    kill_everything();
    if let Some(start) = cut_short {
        run_at_death(&start);
    }
    // Nobody is left to read a reason: lexpr sees the end of our output and says so.
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn set_up() -> io::Result<()> {
    // Out of the terminal's reach: Ctrl-C is for lexpr to act on, and a gate that asks for a
    // password finds no terminal instead of being stopped. Refused to a leader of a process
    // group alone, such as when started by hand.
    let _ = setsid();
    become_subreaper()?;
    // Whoever means lexpr and hits its guard too must not set the gates loose. Handled, not
    // ignored: what is ignored stays so in every command started. Once installed, tokio's
    // handlers need its runtime no more.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    // A write beyond `ulimit -f` is an error that can be told.
    let too_large = SignalKind::from_raw(Signal::XFSZ.as_raw());
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit(), too_large]
    {
        drop(signal(kind)?);
    }
    Ok(())
}

/// `cut_short` becomes the command that had not ended when lexpr died.
///
/// # Errors
/// Where lexpr can no longer be talked to: all is to be killed.
fn serve(requests: &mut Requests, cut_short: &mut Option<Start>) -> io::Result<()> {
    loop {
        match requests.take()? {
            Some(Request::Start(start)) => {
                let start = cut_short.insert(*start);
                if !run_command(requests, start)? {
                    return Ok(());
                }
                *cut_short = None;
            }
            // The command had ended by itself when this was on its way.
            Some(Request::Cancel { .. }) => {}
            None if requests.ended => return Ok(()),
            None => wait_for(requests, &[], None)?,
        }
    }
}

fn reply(reply: &Reply) -> io::Result<()> {
    let line = line(reply)?;
    let mut rest = line.as_slice();
    while !rest.is_empty() {
        match rustix::io::write(stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What came in on standard input and is not dealt with.
#[derive(Default)]
struct Requests {
    buffer: Vec<u8>,
    ended: bool,
}

impl Requests {
    /// The next whole request.
    fn take(&mut self) -> io::Result<Option<Request>> {
        let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Ok(Some(serde_json::from_slice(&line)?))
    }

    /// Reads what is there; call when there is something, or it waits.
    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        match rustix::io::read(stdin(), &mut chunk) {
            Ok(0) => self.ended = true,
            Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Returns when there may be something new: a request (which is read), one of `exits`, a signal,
/// or `limit` is over.
fn wait_for(requests: &mut Requests, exits: &[OwnedFd], limit: Option<Duration>) -> io::Result<()> {
    let input = stdin();
    let mut descriptors = vec![PollFd::new(&input, PollFlags::IN)];
    descriptors.extend(exits.iter().map(|exit| PollFd::from_borrowed_fd(exit.as_fd(), PollFlags::IN)));
    // A limit beyond the range of the kernel's clock is none.
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(&mut descriptors, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let something_to_read = !descriptors[0].revents().is_empty();
    if something_to_read { requests.read() } else { Ok(()) }
}

/// Runs one command to its end and to the end of everything it started; false where lexpr died before that.
fn run_command(requests: &mut Requests, start: &Start) -> io::Result<bool> {
    let mut command = match Running::start(start) {
        Ok(command) => command,
        Err(why) => return reply(&Reply::NotStarted { why }).map(|()| true),
    };
    let ended = watch_command(requests, &mut command, start.run);
    if !ORPHANS_COME_TO_US && !matches!(ended, Ok(Some(_))) {
        // The group is all that can be reached, and only from here.
        command.signal_all(Signal::KILL);
    }
    match ended? {
        Some(ended) => reply(&Reply::Ended(ended)).map(|()| true),
        None => Ok(false),
    }
}

/// Ends what a command had started beyond our reach, such as a container of a daemon's. Nobody is left to hear how
/// that went, and whoever resumes the run looks for it again.
fn run_at_death(start: &Start) {
    let text = |text| OsString::from(Clone::clone(text));
    let mut argv = start.at_death.iter().map(text);
    let Some(program) = argv.next() else { return };
    #[expect(clippy::disallowed_methods, reason = "this is the place where what gates started is ended")]
    let mut command = Command::new(program);
    command
        .args(argv)
        .current_dir("/")
        .env_clear()
        .envs(start.env.iter().map(|(name, value)| (text(name), text(value))))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(child) = command.spawn() else { return };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let give_up_at = Instant::now() + AT_DEATH_LIMIT;
    while Instant::now() < give_up_at && reap_children(|_, _| {}) {
        let exit = pid.and_then(exit_descriptor);
        let mut descriptors: Vec<PollFd> =
            exit.iter().map(|exit| PollFd::from_borrowed_fd(exit.as_fd(), PollFlags::IN)).collect();
        let limit = Timespec::try_from(LOOK_AGAIN).ok();
        // Whatever it returns, the next round looks for itself.
        let _ = poll(&mut descriptors, limit.as_ref());
    }
    kill_everything();
}

/// `None` when lexpr is gone.
fn watch_command(requests: &mut Requests, command: &mut Running, number: u64) -> io::Result<Option<Ended>> {
    reply(&Reply::Started { pid: command.leader.as_raw_nonzero().get() })?;
    loop {
        command.reap();
        while let Some(request) = requests.take()? {
            match request {
                Request::Cancel { run } if run == number => command.end(Cause::Cancel),
                Request::Cancel { .. } => {}
                Request::Start(_) => return Err(io::Error::other("asked to run two commands at once")),
            }
        }
        if requests.ended {
            return Ok(None);
        }
        command.end_if_due();
        if let Some(ended) = command.ended() {
            return Ok(Some(ended));
        }
        let (exits, limit) = command.what_to_wait_for();
        wait_for(requests, &exits, limit)?;
    }
}

/// A command that was started and has not ended with all it started.
struct Running {
    /// The command itself, and the process group it leads.
    leader: Pid,
    started: Instant,
    /// `None`: never, for a time too far off to be told.
    due: Option<Instant>,
    grace: Duration,
    exited: Option<(WaitStatus, Instant)>,
    /// The command or anything it started is still there, as far as was seen last.
    is_something_left: bool,
    ending: Option<Ending>,
    /// What became of its output, once all who could write to it are gone.
    log: mpsc::Receiver<io::Result<u64>>,
}

/// Everything was sent TERM.
struct Ending {
    cause: Cause,
    kill_at: Instant,
}

impl Running {
    fn start(start: &Start) -> Result<Self, String> {
        let text = |text| OsString::from(Clone::clone(text));
        let log_path = text(&start.log);
        let file = OpenOptions::new().append(true).open(&log_path);
        let file = file.map_err(|error| format!("opening {}: {error}", log_path.display()))?;
        // One for both: what the command's processes write lies one after the other.
        let piped = std::io::pipe().and_then(|(reader, writer)| Ok((reader, writer.try_clone()?, writer)));
        let (output, stdout, stderr) = piped.map_err(|error| format!("making a pipe: {error}"))?;
        let (pumped, log) = mpsc::channel();
        let rules = start.log_rules.clone();
        // It ends with the last process that has the other end of the pipe, and where there is none at
        // once. Whoever waits for it may have given up.
        let pumping = std::thread::Builder::new().spawn(move || drop(pumped.send(pump(output, file, &rules))));
        pumping.map_err(|error| format!("starting a thread for its output: {error}"))?;
        let mut argv = start.argv.iter().map(text);
        let program = argv.next().ok_or("no program was named")?;
        #[expect(clippy::disallowed_methods, reason = "this is the place where gates are started")]
        let mut command = Command::new(&program);
        command
            .args(argv)
            .current_dir(text(&start.cwd))
            .env_clear()
            .envs(start.env.iter().map(|(name, value)| (text(name), text(value))))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0);
        let child = command.spawn().map_err(|error| format!("starting {}: {error}", program.display()))?;
        // With it go our ends of the pipe, so that it ends with the last process that writes to it.
        drop(command);
        let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("it has no process id")?;
        let started = Instant::now();
        Ok(Self {
            leader,
            started,
            due: started.checked_add(Duration::from_millis(start.timeout_ms)),
            grace: Duration::from_millis(start.grace_ms),
            exited: None,
            is_something_left: true,
            ending: None,
            log,
        })
    }

    /// Takes leave of children that have ended, and sees whether others are left.
    fn reap(&mut self) {
        let left = reap_children(|pid, status| {
            if pid == self.leader {
                self.exited = Some((status, Instant::now()));
            }
        });
        self.is_something_left = left || (!ORPHANS_COME_TO_US && test_kill_process_group(self.leader).is_ok());
    }

    /// Sends TERM to everything, unless that was done.
    fn end(&mut self, cause: Cause) {
        if self.ending.is_none() {
            let grace = if cause == Cause::Itself { LEFTOVER_GRACE } else { self.grace };
            if self.is_something_left {
                self.signal_all(Signal::TERM);
            }
            self.ending = Some(Ending { cause, kill_at: Instant::now() + grace });
        }
    }

    /// Does what it is time for.
    fn end_if_due(&mut self) {
        let now = Instant::now();
        if self.exited.is_some() {
            self.end(Cause::Itself);
        } else if self.due.is_some_and(|due| due <= now) {
            self.end(Cause::Timeout);
        }
        if self.is_something_left && self.ending.as_ref().is_some_and(|ending| ending.kill_at <= now) {
            self.signal_all(Signal::KILL);
        }
    }

    /// To each process once: some take a second TERM for impatience. What was stopped is woken, to
    /// hear it.
    fn signal_all(&self, signal: Signal) {
        self.send_all(signal);
        if signal == Signal::TERM {
            self.send_all(Signal::CONT);
        }
    }

    fn send_all(&self, signal: Signal) {
        // At once to the group, and only while its number is the leader's beyond doubt.
        let group_is_ours = self.exited.is_none() || !ORPHANS_COME_TO_US;
        let group_done = group_is_ours && kill_process_group(self.leader, signal).is_ok();
        let leader = self.leader.as_raw_nonzero().get();
        for process in descendants() {
            if !(group_done && process.group == leader) {
                process.signal(signal);
            }
        }
    }

    /// The result, once nothing is left, or nothing that could be ended.
    fn ended(&self) -> Option<Ended> {
        let ending = self.ending.as_ref()?;
        let given_up = self.is_something_left && ending.kill_at + KILL_LIMIT <= Instant::now();
        if self.is_something_left && !given_up {
            return None;
        }
        let (end, at) = match self.exited {
            Some((status, at)) => (end_of(status), at),
            // Even the command itself could not be killed.
            None => (End::Signal(Signal::KILL.as_raw()), Instant::now()),
        };
        let survivors = if given_up { descendants().iter().map(|process| process.pid).collect() } else { Vec::new() };
        let duration_ms = u64::try_from((at - self.started).as_millis()).unwrap_or(u64::MAX);
        let (log_dropped_bytes, log_failure) = match self.log.recv_timeout(LOG_LIMIT) {
            Ok(Ok(dropped)) => (dropped, None),
            Ok(Err(error)) => (0, Some(error.to_string())),
            // Some process that is none of the command's holds the pipe: what is there is in the log.
            Err(_) => (0, None),
        };
        Some(Ended { end, cause: ending.cause, duration_ms, survivors, log_dropped_bytes, log_failure })
    }

    fn what_to_wait_for(&self) -> (Vec<OwnedFd>, Option<Duration>) {
        let now = Instant::now();
        let Some(ending) = &self.ending else {
            let until_due = self.due.map_or(REAP_AGAIN, |due| due.saturating_duration_since(now));
            return match exit_descriptor(self.leader) {
                Some(exit) => (vec![exit], Some(until_due.min(REAP_AGAIN))),
                None => (Vec::new(), Some(until_due.min(WITHOUT_DESCRIPTOR))),
            };
        };
        let exits = exits_of(&descendants());
        let until_kill = ending.kill_at.saturating_duration_since(now);
        (exits, Some(if until_kill.is_zero() { LOOK_AGAIN } else { until_kill.min(LOOK_AGAIN) }))
    }
}

fn descendants() -> Vec<Process> {
    ProcessTable::read().map(|table| table.descendants(getpid().as_raw_nonzero().get())).unwrap_or_default()
}

/// What to wait for until one of them ends. Zombies have: it is their parents that are waited for.
fn exits_of(processes: &[Process]) -> Vec<OwnedFd> {
    processes
        .iter()
        .filter(|process| !process.is_zombie)
        .take(MOST_DESCRIPTORS)
        .filter_map(|process| exit_descriptor(Pid::from_raw(process.pid)?))
        .collect()
}

/// Takes leave of all children that have ended; whether others are left.
fn reap_children(mut each: impl FnMut(Pid, WaitStatus)) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => each(pid, status),
            Ok(None) => return true,
            Err(Errno::INTR) => {}
            // ECHILD: there are none.
            Err(_) => return false,
        }
    }
}

fn end_of(status: WaitStatus) -> End {
    match status.terminating_signal() {
        Some(signal) => End::Signal(signal),
        None => End::Code(status.exit_status().unwrap_or_default()),
    }
}

/// lexpr is gone: no grace, since whoever takes the slot next does not know of us.
fn kill_everything() {
    let give_up_at = Instant::now() + KILL_LIMIT;
    while reap_children(|_, _| {}) && Instant::now() < give_up_at {
        let left = descendants();
        for process in &left {
            process.signal(Signal::KILL);
        }
        let exits = exits_of(&left);
        let mut descriptors: Vec<PollFd> =
            exits.iter().map(|exit| PollFd::from_borrowed_fd(exit.as_fd(), PollFlags::IN)).collect();
        let limit = Timespec::try_from(LOOK_AGAIN).ok();
        // Whatever it returns, the next round looks for itself.
        let _ = poll(&mut descriptors, limit.as_ref());
    }
}
