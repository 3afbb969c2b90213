//! How much memory lexpr and all it started hold, and how much there is. Measures alone: when
//! that holds work back is decided elsewhere.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::gate::processes::{ProcessTable, RecentProcesses};
use crate::ports::MemoryGauge;

/// How old an answer may be: gates take seconds to grow.
const MAX_AGE: Duration = Duration::from_millis(200);
/// For how long an answer is given again.
const ANSWER_HOLDS: Duration = Duration::from_millis(50);
/// Where Linux mounts its cgroups (cgroups(7)); version 1 alone is not read.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The memory of this process and all its descendants, guards and gates among them.
///
/// Where this process is in a cgroup (version 2) with nothing else in it, that is what the
/// kernel has charged to it without the pages of files, which it drops when it needs them. Else
/// the resident memory of all processes added up, in which pages that processes share (such as
/// those of a library) count more than once: it errs upwards. Without /proc there is no measure.
#[derive(Debug)]
pub struct TreeMemory {
    processes: Arc<RecentProcesses>,
    pid: i32,
    cgroup: Option<PathBuf>,
    /// The last answer: it is asked for with every event.
    last: Mutex<Option<(Instant, Option<u64>)>>,
}

impl TreeMemory {
    pub fn new(processes: Arc<RecentProcesses>) -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        Self { processes, pid, cgroup: own_cgroup(), last: Mutex::default() }
    }

    fn holds_only_ours(&self, cgroup: &Path, table: &ProcessTable) -> bool {
        let ours: HashSet<i32> =
            table.descendants(self.pid).iter().map(|process| process.pid).chain([self.pid]).collect();
        // Those of groups further down would be counted, too.
        let has_subgroups = fs::read_dir(cgroup)
            .map_or(true, |entries| entries.flatten().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())));
        let Ok(members) = fs::read_to_string(cgroup.join("cgroup.procs")) else { return false };
        !has_subgroups && members.lines().all(|pid| pid.parse().is_ok_and(|pid| ours.contains(&pid)))
    }
}

/// What memory is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A cgroup (version 2) of lexpr's own.
    Cgroup,
    /// /proc, process by process.
    Processes,
}

impl MemoryGauge for TreeMemory {
    fn used_bytes(&self) -> Option<u64> {
        // A panic while it was measured leaves the answer before, which is as good as any.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, used)) = last.filter(|(at, _)| at.elapsed() <= ANSWER_HOLDS) {
            return used;
        }
        let at = Instant::now();
        let used = self.measure();
        *last = Some((at, used));
        used
    }
}

impl TreeMemory {
    fn measure(&self) -> Option<u64> {
        self.measured().map(|(_, used)| used)
    }

    /// How memory is measured here, and what is held now, in bytes; `None` where there is no measure.
    pub fn measured(&self) -> Option<(Measure, u64)> {
        let table = self.processes.table(MAX_AGE)?;
        if let Some(cgroup) = &self.cgroup
            && self.holds_only_ours(cgroup, &table)
            && let Some(charged) = charged_without_files(cgroup)
        {
            return Some((Measure::Cgroup, charged));
        }
        Some((Measure::Processes, table.resident_bytes(self.pid) + table.descendants_bytes(self.pid)))
    }
}

/// What can be used before the machine, or the cgroup that this process lives in, runs out:
/// bytes; `None` where that cannot be told.
pub fn available_bytes() -> Option<u64> {
    let machine = meminfo_available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = own_cgroup().map(|own| {
        let up_to_root = own.ancestors().take_while(|group| group.starts_with(CGROUP_ROOT)).map(Path::to_owned);
        up_to_root.filter_map(|group| left_in(&group)).min()
    });
    Some(groups.flatten().map_or(machine, |left| machine.min(left)))
}

/// The limit on memory (`memory.max`) that is the lowest of this process's cgroup and those above it, in bytes;
/// `None` where there is none.
pub fn cgroup_limit() -> Option<u64> {
    let own = own_cgroup()?;
    let up_to_root = own.ancestors().take_while(|group| group.starts_with(CGROUP_ROOT));
    up_to_root.filter_map(|group| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()).min()
}

/// What a cgroup may still take, files' pages counted as free; `None` where it has no limit.
fn left_in(cgroup: &Path) -> Option<u64> {
    let limit: u64 = fs::read_to_string(cgroup.join("memory.max")).ok()?.trim().parse().ok()?;
    Some(limit.saturating_sub(charged_without_files(cgroup)?))
}

fn charged_without_files(cgroup: &Path) -> Option<u64> {
    let charged: u64 = fs::read_to_string(cgroup.join("memory.current")).ok()?.trim().parse().ok()?;
    let stat = fs::read_to_string(cgroup.join("memory.stat")).ok()?;
    Some(charged.saturating_sub(droppable(&stat)))
}

/// The pages of files on disk in a `memory.stat`: `file` holds those in memory alone, too.
fn droppable(stat: &str) -> u64 {
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    value("file").saturating_sub(value("shmem"))
}

fn meminfo_available(meminfo: &str) -> Option<u64> {
    let kibibytes = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kibibytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The cgroup (version 2) of this process, unless it is the root, which holds everything.
pub(crate) fn own_cgroup() -> Option<PathBuf> {
    cgroup_of(&fs::read_to_string("/proc/self/cgroup").ok()?)
}

fn cgroup_of(proc_self_cgroup: &str) -> Option<PathBuf> {
    let path = proc_self_cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let inside_container = path.is_empty() && Path::new(CGROUP_ROOT).join("memory.current").exists();
    (!path.is_empty() || inside_container).then(|| Path::new(CGROUP_ROOT).join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_documented() {
        assert_eq!(meminfo_available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2048 * 1024));
        assert_eq!(meminfo_available("MemTotal: 9 kB\n"), None);
        assert_eq!(droppable("anon 10\nfile 500\nfile_mapped 7\nshmem 100\n"), 400);
        assert_eq!(
            cgroup_of("1:name=systemd:/\n0::/user.slice/a.scope\n").unwrap(),
            Path::new("/sys/fs/cgroup/user.slice/a.scope")
        );
        assert_eq!(cgroup_of("4:memory:/x\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_measured_and_memory_is_available() {
        let used = TreeMemory::new(Arc::default()).used_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&used), "{used}");
        assert!(available_bytes().unwrap() > 1 << 20);
    }
}
