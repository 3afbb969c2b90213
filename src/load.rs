//! How busy the machine's processors and disks are, as the kernel counts it. Measures alone: what
//! follows from it is decided elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::gate::processes::{self, ProcessTable, RecentProcesses};
use crate::memory::own_cgroup;
use crate::ports::{Load, LoadGauge};

/// How old a table of processes may be: windows are ten times as long.
const MAX_AGE: Duration = Duration::from_millis(200);

/// Where Linux counts stalls of the whole machine (Documentation/accounting/psi.rst).
const PRESSURE: &str = "/proc/pressure";

/// The load of this machine. Stalls are those of this process's cgroup (version 2) where the kernel
/// counts them, as those are of lexpr and its gates and hold what a quota does to them, too; else those
/// of the machine. What a kernel does not count is not measured: without /proc that is everything.
#[derive(Debug)]
pub struct MachineLoad {
    processes: Arc<RecentProcesses>,
    pid: i32,
    cgroup: Option<PathBuf>,
}

impl MachineLoad {
    pub fn new(processes: Arc<RecentProcesses>) -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        Self { processes, pid, cgroup: own_cgroup() }
    }

    /// Whether stalls on processors and disks are counted here.
    pub fn counts_stalls(&self) -> bool {
        self.stalled_us("cpu", "some").is_some() && self.stalled_us("io", "full").is_some()
    }

    /// Microseconds of the line that begins with `who` (`some` or `full`).
    fn stalled_us(&self, what: &str, who: &str) -> Option<u64> {
        let own = self.cgroup.as_ref().map(|cgroup| cgroup.join(format!("{what}.pressure")));
        let files = own.into_iter().chain([Path::new(PRESSURE).join(what)]);
        files.filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| total_us(&text, who))
    }

    fn own_us(&self) -> Option<u64> {
        let table = self.processes.table(MAX_AGE)?;
        Some(ProcessTable::process(self.pid)?.cpu_us + table.descendants_cpu_us(self.pid))
    }
}

impl LoadGauge for MachineLoad {
    fn load(&self) -> Load {
        Load {
            waited_for_cpu_us: self.stalled_us("cpu", "some"),
            stalled_on_io_us: self.stalled_us("io", "full"),
            idle_us: fs::read_to_string("/proc/stat").ok().and_then(|stat| idle_us(&stat)),
            own_us: self.own_us(),
        }
    }
}

fn total_us(pressure: &str, who: &str) -> Option<u64> {
    let line = pressure.lines().find_map(|line| line.strip_prefix(who)?.strip_prefix(' '))?;
    line.split(' ').find_map(|field| field.strip_prefix("total="))?.parse().ok()
}

/// Of all processors: idle, and idle while something waits for a disk (proc_stat(5)).
fn idle_us(stat: &str) -> Option<u64> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut ticks = all.split_whitespace().skip(3).map(|field| field.parse::<u64>().ok());
    let idle = ticks.next()?? + ticks.next()??;
    Some(processes::ticks_to_us(idle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_documented() {
        let pressure = "some avg10=0.11 avg60=0.22 avg300=0.41 total=714969118\n\
                        full avg10=0.11 avg60=0.22 avg300=0.33 total=398316804\n";
        assert_eq!(total_us(pressure, "some"), Some(714_969_118));
        assert_eq!(total_us(pressure, "full"), Some(398_316_804));
        assert_eq!(total_us("some avg10=0.11\n", "some"), None);
        assert_eq!(total_us("", "full"), None);
        let stat = "cpu  10 20 30 400 50 0 1 2 3 4\ncpu0 1 2 3 4 5\n";
        assert_eq!(idle_us(stat), Some(processes::ticks_to_us(450)));
        assert_eq!(idle_us("cpu  1 2\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_is_idle_at_times_and_this_process_computes() {
        let gauge = MachineLoad::new(Arc::default());
        let load = gauge.load();
        assert!(load.idle_us.unwrap() > 0);
        // Until the kernel has counted a tick of it, or more where others are first.
        while gauge.load().own_us.unwrap() == load.own_us.unwrap() {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
    }
}
