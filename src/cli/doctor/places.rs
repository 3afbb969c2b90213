//! What `lexpr doctor` says of the folders that runs write to.

use std::path::Path;

use rustix::fs::Access;

use crate::cli::conduct;
use crate::disk::{self, Disk, Nature};
use crate::doctor::{Check, Finding, Mark};
use crate::git::command::remedy;
use crate::git::repo::UserRepo;
use crate::git::slot::repository_id;
use crate::wording::bytes;

/// With less than this a slot for a repository of some size, and what a build leaves in it, may not fit.
const LITTLE_BYTES: u64 = 1024 * 1024 * 1024;

/// An event is on disk before it is acted on: with more than this a run is slow.
const SLOW_SYNC_MS: u128 = 50;

/// Where runs, verdicts and locks are kept, and objects go.
pub(super) fn of_repository(repo: &UserRepo) -> Vec<Finding> {
    let common_dir = repo.common_dir();
    let mut finding = place(Check::GitFolder, common_dir, common_dir);
    if finding.mark == Mark::Ok
        && let Err(error) = rustix::fs::access(repo.objects(), Access::WRITE_OK | Access::EXEC_OK)
    {
        finding = unwritable(Check::GitFolder, repo.objects(), &error.into());
    }
    if finding.mark != Mark::Fail {
        match disk::sync_takes(common_dir) {
            Ok(took) => {
                finding.found.push_str(&format!(", {:.1} ms to have an event on disk", took.as_secs_f64() * 1000.0));
                if took.as_millis() > SLOW_SYNC_MS && finding.mark == Mark::Ok {
                    finding.mark = Mark::Warn;
                    finding.meaning = Some("each event of a run is waited for so long".to_owned());
                }
            }
            Err(error) => finding = unwritable(Check::GitFolder, common_dir, &error),
        }
    }
    let slots = conduct::cache_root().join(repository_id(common_dir));
    let mut in_slots = place(Check::Slots, &slots, existing(&slots));
    if in_slots.mark != Mark::Fail && disk::copies_share_room(existing(&slots), common_dir) {
        in_slots.found.push_str(", artifacts are kept without a copy (reflink)");
    }
    vec![finding, in_slots]
}

/// What does not depend on the repository.
pub(super) fn of_user() -> Vec<Finding> {
    let folder = std::env::temp_dir();
    vec![place(Check::TemporaryFolder, &folder, &folder)]
}

/// The nearest to a place, itself or above it, that is there.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.symlink_metadata().is_ok()).unwrap_or(Path::new("/"))
}

/// Makes a folder in `folder`, which is made where it is missing, and takes all of it away again. What may be written to by
/// its mode alone takes nothing at times: `/proc`.
fn try_to_make_something_in(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    let missing: Vec<&Path> = probe.ancestors().take_while(|above| above.symlink_metadata().is_err()).collect();
    let made = std::fs::create_dir_all(&probe);
    for made in missing {
        // The innermost first. One that is not there was not made, one that is not empty is in use by now.
        let _ = std::fs::remove_dir(made);
    }
    made
}

fn unwritable(check: Check, folder: &Path, error: &std::io::Error) -> Finding {
    let found = format!("{} cannot be written to: {error}", folder.display());
    let known = remedy(&found).unwrap_or("see to what keeps it from being written to");
    let elsewhere = match check {
        Check::Slots => "; or name another folder in XDG_CACHE_HOME",
        Check::TemporaryFolder => "; or name another folder in TMPDIR",
        _ => "",
    };
    Finding::fail(check, found).remedy(format!("{known}{elsewhere}"))
}

/// `folder`, which is made in `there`.
fn place(check: Check, folder: &Path, there: &Path) -> Finding {
    if !there.is_dir() {
        return unwritable(check, there, &std::io::ErrorKind::NotADirectory.into());
    }
    if let Err(error) = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        return unwritable(check, there, &error.into());
    }
    let Some(disk) = Disk::under(there) else {
        return Finding::warn(check, folder.display().to_string()).meaning("nothing is told of the disk under it");
    };
    let kind = disk::kind(there);
    let named = kind.map(|(name, _)| format!(" ({name})")).unwrap_or_default();
    let found = format!("{}: {} free{named}", folder.display(), bytes(disk.free_bytes));
    if let Some(lack) = disk::room::lack(there) {
        return Finding::fail(check, format!("{}: {lack}{named}", folder.display()))
            .meaning("a run stops where it cannot write")
            .remedy("free some space there, or raise the quota");
    }
    if matches!(check, Check::Slots | Check::TemporaryFolder)
        && let Err(error) = try_to_make_something_in(folder)
    {
        return unwritable(check, folder, &error);
    }
    if disk.no_exec && check == Check::Slots {
        return Finding::fail(check, format!("{found}, mounted noexec"))
            .meaning("gates run there, and could start none of their own programs")
            .remedy("name another folder in XDG_CACHE_HOME");
    }
    let kept = matches!(check, Check::Slots | Check::GitFolder);
    match kind {
        Some((_, Nature::Memory)) if kept => Finding::warn(check, found)
            .meaning("it lies in memory: what is there takes memory from gates, and is gone after a restart"),
        Some((_, Nature::Network)) if kept => Finding::warn(check, found)
            .meaning("it is another machine's: locks and a crash's leavings are what that makes of them")
            .remedy("use a disk of this machine, where that can be"),
        _ if disk.free_bytes < LITTLE_BYTES && disk.size_bytes > 0 => Finding::warn(check, found)
            .meaning("builds may not fit")
            .remedy("free some space there, or see `lexpr clean`"),
        _ => Finding::ok(check, found),
    }
}
