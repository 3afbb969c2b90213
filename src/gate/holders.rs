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
    use std::ffi::OsString;
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
        let told = TOLD_BY_VARIABLE.iter().filter_map(|name| environment.get(&OsString::from(name)).map(PathBuf::from));
        let told = told.chain(told_by_arguments(&args));
        // Where it is itself the kernel says without symbolic links, also of a folder that is gone.
        told.map(|path| cwd.join(path))
            .map(|path| path.canonicalize().unwrap_or(path))
            .chain([cwd.clone()])
            .any(|at| places.iter().any(|place| at.starts_with(place)))
    }

    const TOLD_BY_VARIABLE: [&str; 3] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"];

    /// `--git-dir=PATH`, `--git-dir PATH`, and the same of the working tree.
    fn told_by_arguments(args: &[String]) -> impl Iterator<Item = PathBuf> + '_ {
        args.iter().enumerate().filter_map(|(at, arg)| {
            let rest = ["--git-dir", "--work-tree"].iter().find_map(|option| arg.strip_prefix(option))?;
            match rest.strip_prefix('=') {
                Some(path) => Some(path.into()),
                None => args.get(at + 1).filter(|_| rest.is_empty()).map(PathBuf::from),
            }
        })
    }

    #[cfg(test)]
    mod tests {
        use std::path::Path;

        use super::*;

        #[test]
        fn a_git_is_where_its_arguments_say() {
            let args = ["git", "--git-dir", "/a b", "--work-tree=c", "status", "--git-dirs", "--git-dir"];
            let args: Vec<String> = args.map(str::to_owned).into();
            assert_eq!(told_by_arguments(&args).collect::<Vec<_>>(), [Path::new("/a b"), Path::new("c")]);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::path::PathBuf;

    pub(super) fn may_hold(_: &[PathBuf], _: &[PathBuf]) -> bool {
        true
    }
}
