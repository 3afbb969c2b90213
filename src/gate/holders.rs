//! Whether somebody may hold a lock file of git's. Such a file says nothing of who made it, and stays
//! when they are killed.

use std::path::PathBuf;

/// Whether a living process may hold one of `locks`, which are of the repository whose git directory
/// and working trees are `places`: it has one open, or it is a git that may be at work there. Sees
/// this machine alone. Where there is no /proc, yes.
pub fn may_hold(locks: &[PathBuf], places: &[PathBuf]) -> bool {
    os::may_hold(locks, places)
}

#[cfg(target_os = "linux")]
mod os {
    use std::path::PathBuf;

    use procfs::process::{FDTarget, Process, all_processes};

    pub(super) fn may_hold(locks: &[PathBuf], places: &[PathBuf]) -> bool {
        let Ok(processes) = all_processes() else { return true };
        // The kernel tells of paths without symbolic links.
        let places: Vec<PathBuf> = places.iter().filter_map(|place| place.canonicalize().ok()).collect();
        let locks: Vec<PathBuf> = locks.iter().filter_map(|lock| lock.canonicalize().ok()).collect();
        processes.flatten().any(|process| has_open(&process, &locks) || is_git_at(&process, &places))
    }

    fn has_open(process: &Process, locks: &[PathBuf]) -> bool {
        let Ok(open) = process.fd() else { return false };
        open.flatten().any(|fd| matches!(fd.target, FDTarget::Path(path) if locks.contains(&path)))
    }

    /// git goes to the top of the working tree, or to the git directory, before it begins, unless it
    /// is told both from outside.
    fn is_git_at(process: &Process, places: &[PathBuf]) -> bool {
        // One that is gone holds nothing.
        let Ok(stat) = process.stat() else { return false };
        if stat.state == 'Z' || !(stat.comm == "git" || stat.comm.starts_with("git-")) {
            return false;
        }
        // Another user's cannot be looked at.
        let (Ok(cwd), Ok(args), Ok(environment)) = (process.cwd(), process.cmdline(), process.environ()) else {
            return process.is_alive();
        };
        let is_told = args.iter().any(|arg| arg.starts_with("--git-dir") || arg.starts_with("--work-tree"))
            || environment.keys().any(|name| name == "GIT_DIR" || name == "GIT_WORK_TREE");
        is_told || places.iter().any(|place| cwd.starts_with(place))
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::path::PathBuf;

    pub(super) fn may_hold(_: &[PathBuf], _: &[PathBuf]) -> bool {
        true
    }
}
