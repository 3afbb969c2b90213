//! The processes of this machine as a tree: who descends from whom, how much memory they hold,
//! and sending them signals without ever hitting a stranger that got a dead one's number.
//! Who is to be ended, and when, is decided elsewhere.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, getpid};

/// One process at the time the table was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub group: i32,
    /// The process's start in clock ticks since boot. With the pid it names one process for good:
    /// a number is given again, but not within a tick.
    pub started: u64,
    /// Physical memory it has mapped. Pages that several processes share count for each of them.
    pub resident_bytes: u64,
    /// Processor time that it took, and those of its descendants that have ended and were asked how,
    /// in microseconds.
    pub cpu_us: u64,
    /// It has ended and its parent has not asked how.
    pub is_zombie: bool,
}

/// Who descends from whom, at one time.
#[derive(Clone, Debug, Default)]
pub struct ProcessTable {
    children: HashMap<i32, Vec<Process>>,
    resident_bytes: HashMap<i32, u64>,
}

impl ProcessTable {
    /// Reads all of /proc; `None` where there is none. A process that starts or ends meanwhile
    /// may be in it or not.
    pub fn read() -> Option<Self> {
        let mut table = Self::default();
        for (parent, process) in os::processes()? {
            table.children.entry(parent).or_default().push(process);
            table.resident_bytes.insert(process.pid, process.resident_bytes);
        }
        Some(table)
    }

    /// This process alone, as if it had no relatives; `None` where there is no /proc.
    fn of_this_process() -> Option<Self> {
        let process = Self::process(getpid().as_raw_nonzero().get())?;
        let resident_bytes = HashMap::from([(process.pid, process.resident_bytes)]);
        Some(Self { children: HashMap::new(), resident_bytes })
    }

    /// This user's processes that have `name` set to `value` in their environment, zombies and
    /// this process left out.
    pub fn with_variable(name: &str, value: &OsStr) -> Vec<Process> {
        os::with_variable(name, value)
    }

    /// One process, without reading the others.
    pub fn process(pid: i32) -> Option<Process> {
        os::process(pid).map(|(_, process)| process)
    }

    /// What one process holds; 0 where there is no such process.
    pub fn resident_bytes(&self, pid: i32) -> u64 {
        self.resident_bytes.get(&pid).copied().unwrap_or_default()
    }

    /// All processes below `pid`, parents before their children; `pid` itself is not among them.
    pub fn descendants(&self, pid: i32) -> Vec<Process> {
        let mut found: Vec<Process> = self.children.get(&pid).cloned().unwrap_or_default();
        let mut next = 0;
        while let Some(process) = found.get(next) {
            if let Some(children) = self.children.get(&process.pid) {
                found.extend(children);
            }
            next += 1;
        }
        found
    }

    /// What all processes below `pid` hold together.
    pub fn descendants_bytes(&self, pid: i32) -> u64 {
        self.descendants(pid).iter().map(|process| process.resident_bytes).sum()
    }

    /// Processor time that all processes below `pid` took, in microseconds.
    pub fn descendants_cpu_us(&self, pid: i32) -> u64 {
        self.descendants(pid).iter().map(|process| process.cpu_us).sum()
    }
}

impl Process {
    /// Sends a signal, unless the process is gone: never to another one that has its number now.
    /// A failure is not told: whoever ends processes looks again who is left.
    pub fn signal(&self, signal: Signal) {
        os::signal(*self, signal);
    }

    /// Whether it still runs, or waits to be reaped.
    pub fn is_there(&self) -> bool {
        os::process(self.pid).is_some_and(|(_, now)| now.started == self.started)
    }
}

/// Whether this process was started with the signal of this number ignored; no where that cannot
/// be told.
pub fn is_ignored(signal: u32) -> bool {
    os::ignored_signals().is_some_and(|mask| signal > 0 && mask >> (signal - 1) & 1 == 1)
}

/// Makes this process the parent of every orphan among its descendants (Linux; elsewhere orphans
/// go to the first process, and only process groups can be ended).
///
/// # Errors
/// Where the kernel refuses.
pub fn become_subreaper() -> std::io::Result<()> {
    os::become_subreaper()
}

/// Whether orphans come to this process, so that having no child means having no descendant.
pub const ORPHANS_COME_TO_US: bool = cfg!(target_os = "linux");

/// Becomes readable when the process ends; `None` where the kernel has nothing of the kind
/// (before Linux 5.3) or the process is gone.
pub fn exit_descriptor(pid: Pid) -> Option<OwnedFd> {
    os::pidfd(pid)
}

/// The table of processes, read no more often than is needed and affordable, for all who ask.
#[derive(Debug, Default)]
pub struct RecentProcesses(Mutex<Option<Read>>);

#[derive(Debug)]
struct Read {
    at: Instant,
    cost: Duration,
    table: Arc<ProcessTable>,
}

impl RecentProcesses {
    /// Reading takes at most one part in this many of one core's time.
    const SHARE: u32 = 20;

    /// For a process that has no descendants yet: to know that, nobody needs to look at all others.
    pub fn before_any_descendant() -> Self {
        let begun = Instant::now();
        let alone = ProcessTable::of_this_process();
        Self(Mutex::new(alone.map(|table| Read { at: begun, cost: Duration::ZERO, table: Arc::new(table) })))
    }

    /// A table at most `max_age` old, or older where reading is costly (thousands of processes).
    /// Blocks while it is read: 10 µs or so a process. `None` where there is no /proc.
    pub fn table(&self, max_age: Duration) -> Option<Arc<ProcessTable>> {
        // A panic while the table was read leaves the older one, which is as good as any.
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = &*read
            && read.at.elapsed() <= max_age.max(read.cost * Self::SHARE)
        {
            return Some(Arc::clone(&read.table));
        }
        let begun = Instant::now();
        let table = Arc::new(ProcessTable::read()?);
        *read = Some(Read { at: begun, cost: begun.elapsed(), table: Arc::clone(&table) });
        Some(table)
    }
}

/// Microseconds of so many clock ticks, in which /proc counts time.
pub fn ticks_to_us(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000) / os::ticks_per_second().max(1)
}

/// Whether a process of this user has its working directory in `folder`. Where there is no /proc, no.
pub fn is_somebody_in(folder: &Path) -> bool {
    // The kernel tells of paths without symbolic links.
    folder.canonicalize().is_ok_and(|folder| os::is_somebody_in(&folder))
}

#[cfg(target_os = "linux")]
mod os {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use procfs::process::{Stat, all_processes};
    use rustix::fd::OwnedFd;
    use rustix::process::{
        Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal, set_child_subreaper,
    };

    use super::Process;

    /// Each with its parent's pid.
    pub(super) fn processes() -> Option<Vec<(i32, Process)>> {
        // A process that ends while it is looked at is as good as one that ended before.
        let stats = all_processes().ok()?.filter_map(|process| process.and_then(|process| process.stat()).ok());
        Some(stats.map(read).collect())
    }

    /// One bit a signal, as proc(5) has it in `status`.
    pub(super) fn ignored_signals() -> Option<u64> {
        Some(procfs::process::Process::myself().ok()?.status().ok()?.sigign)
    }

    pub(super) fn with_variable(name: &str, value: &OsStr) -> Vec<Process> {
        let wanted = [name.as_bytes(), b"=", value.as_bytes()].concat();
        let is_wanted = |process: &procfs::process::Process| {
            // Those of other users are not to be read.
            let environment = std::fs::read(format!("/proc/{}/environ", process.pid())).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
        };
        let own = getpid().as_raw_nonzero().get();
        let processes = all_processes().into_iter().flatten().flatten();
        processes
            .filter(|process| process.pid() != own && is_wanted(process))
            .filter_map(|process| process.stat().ok().map(|stat| read(stat).1))
            .filter(|process| !process.is_zombie)
            .collect()
    }

    pub(super) fn is_somebody_in(folder: &Path) -> bool {
        let processes = all_processes().into_iter().flatten().flatten();
        // Those of other users are not to be looked at; a zombie is nowhere.
        processes.filter_map(|process| process.cwd().ok()).any(|cwd| cwd.starts_with(folder))
    }

    pub(super) fn process(pid: i32) -> Option<(i32, Process)> {
        Some(read(procfs::process::Process::new(pid).ok()?.stat().ok()?))
    }

    fn read(stat: Stat) -> (i32, Process) {
        let process = Process {
            pid: stat.pid,
            group: stat.pgrp,
            started: stat.starttime,
            resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
            cpu_us: super::ticks_to_us(stat.utime + stat.stime + waited_for(stat.cutime) + waited_for(stat.cstime)),
            is_zombie: stat.state == 'Z',
        };
        (stat.ppid, process)
    }

    /// Ticks of children, which procfs takes for a number that may be negative.
    fn waited_for(ticks: i64) -> u64 {
        u64::try_from(ticks).unwrap_or(0)
    }

    pub(super) fn ticks_per_second() -> u64 {
        procfs::ticks_per_second()
    }

    pub(super) fn signal(process: Process, signal: Signal) {
        let Some(pid) = Pid::from_raw(process.pid) else { return };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Whoever the descriptor stands for, it is looked at after it was opened: if it is
            // the one that was meant, so is the one that the descriptor stands for.
            Ok(fd) if process.is_there() => drop(pidfd_send_signal(fd, signal)),
            Err(rustix::io::Errno::NOSYS) if process.is_there() => drop(kill_process(pid, signal)),
            _ => {}
        }
    }

    pub(super) fn become_subreaper() -> std::io::Result<()> {
        // Any pid means yes.
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    pub(super) fn pidfd(pid: Pid) -> Option<OwnedFd> {
        pidfd_open(pid, PidfdFlags::empty()).ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::ffi::OsStr;

    use rustix::fd::OwnedFd;
    use rustix::process::{Pid, Signal};

    use super::Process;

    pub(super) fn processes() -> Option<Vec<(i32, Process)>> {
        None
    }

    pub(super) fn ignored_signals() -> Option<u64> {
        None
    }

    pub(super) fn with_variable(_: &str, _: &OsStr) -> Vec<Process> {
        Vec::new()
    }

    pub(super) fn is_somebody_in(_: &Path) -> bool {
        false
    }

    pub(super) fn process(_: i32) -> Option<(i32, Process)> {
        None
    }

    /// What it is nearly everywhere; nothing is counted in it here.
    pub(super) fn ticks_per_second() -> u64 {
        100
    }

    pub(super) fn signal(_: Process, _: Signal) {}

    pub(super) fn become_subreaper() -> std::io::Result<()> {
        Ok(())
    }

    pub(super) fn pidfd(_: Pid) -> Option<OwnedFd> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, resident_bytes: u64) -> Process {
        Process { pid, group: 1, started: 7, resident_bytes, cpu_us: resident_bytes / 2, is_zombie: false }
    }

    #[test]
    fn descendants_are_found_at_every_depth_and_nobody_else_is() {
        let children = HashMap::from([
            (1, vec![process(2, 1), process(9, 1000)]),
            (2, vec![process(3, 10), process(4, 20)]),
            (4, vec![process(5, 300)]),
        ]);
        let table = ProcessTable { children, resident_bytes: HashMap::new() };
        let pids: Vec<i32> = table.descendants(2).iter().map(|process| process.pid).collect();
        assert_eq!(pids, [3, 4, 5]);
        assert_eq!(table.descendants_bytes(2), 330);
        assert_eq!(table.descendants_bytes(5), 0);
        assert_eq!(table.descendants_cpu_us(2), 165);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_in_the_table_and_holds_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(ProcessTable::read().unwrap().resident_bytes(own) > 0);
        let process = ProcessTable::process(own).unwrap();
        assert!(process.is_there());
        let another_with_its_number = Process { started: process.started + 1, ..process };
        assert!(!another_with_its_number.is_there());
    }
}
