//! What `lexpr doctor` says of the machine, and of the terminal it is asked on.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Access;

use crate::cli::conduct;
use crate::doctor::{Check, Finding};
use crate::gate::SHELL;
use crate::load::MachineLoad;
use crate::memory::{Measure, TreeMemory, available_bytes, cgroup_limit};
use crate::plan::MaxWorkers;
use crate::progress::screen::{Stderr, Terminal as _};
use crate::wording::{Paint, bytes, count};

pub(super) fn findings() -> Vec<Finding> {
    vec![system(), processors(), memory(), pressure(), open_files(), shell(), loopback(), terminal()]
}

fn system() -> Finding {
    let found = format!("{}, {}", std::env::consts::OS, std::env::consts::ARCH);
    if cfg!(target_os = "linux") {
        return Finding::ok(Check::System, found);
    }
    Finding::warn(Check::System, found)
        .meaning("only on Linux is all ended that a gate leaves behind, and is memory measured")
}

fn processors() -> Finding {
    let (workers, _) = conduct::workers(None);
    let (most, _) = conduct::workers(Some(MaxWorkers::Auto));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Finding::ok(Check::Processors, count(cores, "core"))
        .meaning(format!("{workers} at work at once by default, up to {most} with `maxWorkers: auto`"))
}

fn memory() -> Finding {
    let available = available_bytes().map(bytes);
    let limit = cgroup_limit().map(|limit| format!(", a cgroup's limit is {}", bytes(limit))).unwrap_or_default();
    match (available, TreeMemory::new(Arc::default()).measured()) {
        (Some(available), Some((measure, _))) => {
            let how = match measure {
                Measure::Cgroup => "what a run takes is read from its cgroup (version 2)",
                Measure::Processes => {
                    "what a run takes is added up over its processes: pages that they share count more than once. In a \
                     cgroup of its own (`systemd-run --user --scope lexpr …`) it is exact"
                }
            };
            Finding::ok(Check::Memory, format!("{available} available{limit}")).meaning(how)
        }
        _ => Finding::warn(Check::Memory, "it cannot be measured here")
            .meaning("maxMemoryMB and memoryThresholdPercent hold nothing back")
            .remedy("mount /proc, if this is Linux; else give few workers"),
    }
}

fn pressure() -> Finding {
    if MachineLoad::new(Arc::default()).counts_stalls() {
        return Finding::ok(Check::Pressure, "the kernel counts stalls on processors and disks");
    }
    Finding::warn(Check::Pressure, "the kernel counts no stalls (/proc/pressure)")
        .meaning("`maxWorkers: auto` goes by memory and idle processors alone; nothing else needs them")
        .remedy("boot with psi=1, where `maxWorkers: auto` is wanted")
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let found = limit.map_or("no limit".to_owned(), |limit| format!("at most {limit}"));
    let (workers, most) = (conduct::workers(None).0, conduct::most_workers());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if (most as usize) < cores {
        return Finding::warn(Check::OpenFiles, found)
            .meaning(format!(
                "enough for {} at once, where there are {}",
                count(most as usize, "worker"),
                count(cores, "core")
            ))
            .remedy("raise it: `ulimit -n`");
    }
    Finding::ok(Check::OpenFiles, found).meaning(format!("enough for {} at once", count(workers as usize, "worker")))
}

fn shell() -> Finding {
    match rustix::fs::access(SHELL, Access::EXEC_OK) {
        Ok(()) => {
            let is = std::fs::canonicalize(SHELL).ok().filter(|is| is != Path::new(SHELL));
            let is = is.map(|is| format!(", which is {}", is.display())).unwrap_or_default();
            Finding::ok(Check::Shell, format!("gates are read by {SHELL}{is}"))
        }
        Err(error) => Finding::fail(Check::Shell, format!("{SHELL}: {}", std::io::Error::from(error)))
            .meaning("no gate could be started")
            .remedy("install a POSIX shell there"),
    }
}

fn loopback() -> Finding {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(_) => Finding::ok(Check::Loopback, "--metrics-addr can listen on this machine"),
        Err(error) => Finding::warn(Check::Loopback, format!("nothing can listen on {}: {error}", Ipv4Addr::LOCALHOST))
            .meaning("--metrics-addr would be refused")
            .remedy("use --metrics-file, or bring the loopback interface up (`ip link set lo up`)"),
    }
}

fn terminal() -> Finding {
    let stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return Finding::ok(Check::Terminal, "none on standard error").meaning("a run is shown as plain lines");
    }
    let colour = if Paint::for_stream(&stderr) == Paint::PLAIN { "no colour" } else { "colour" };
    let found = format!("{} columns, {colour}", Stderr(std::io::stderr()).size().columns);
    if speaks_utf8(|name| std::env::var(name).ok()) {
        return Finding::ok(Check::Terminal, found).meaning("a run is shown live");
    }
    Finding::warn(Check::Terminal, format!("{found}, and a locale that is not UTF-8"))
        .meaning("names of branches and items that are not ASCII may be shown wrong")
        .remedy("set LC_ALL or LANG to a UTF-8 locale, such as C.UTF-8")
}

/// The first of these that is set says it (setlocale(3)).
fn speaks_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    let set = set.unwrap_or_default().to_ascii_lowercase();
    set.contains("utf-8") || set.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_says_whether_it_is_utf_8() {
        let says = |all: &str, lang: &str| {
            speaks_utf8(|name| match name {
                "LC_ALL" => Some(all.to_owned()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            })
        };
        assert!(says("", "en_US.UTF-8") && says("C.utf8", "C"));
        assert!(!says("C", "en_US.UTF-8") && !says("", ""));
    }
}
