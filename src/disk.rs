//! What the kernel tells of the file system under a folder: what is free, of what kind it is, how long
//! it takes to have something on disk. Measures alone: what follows from it is decided elsewhere.

pub mod room;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{StatVfsMountFlags, statvfs};

/// A file system, as statvfs(3) has it. A quota is not seen: the kernel tells of the disk as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// For this user: some is kept for root.
    pub free_bytes: u64,
    /// 0 where it is no disk.
    pub size_bytes: u64,
    /// Files that may still be made.
    pub free_files: u64,
    /// 0 where they are not counted.
    pub files: u64,
    pub read_only: bool,
    /// No program on it can be started.
    pub no_exec: bool,
}

impl Disk {
    /// The one under `folder`; `None` where nothing is told of it.
    pub fn under(folder: &Path) -> Option<Self> {
        let disk = statvfs(folder).ok()?;
        let is_root = rustix::process::geteuid().is_root();
        let (blocks, free_files) = if is_root { (disk.f_bfree, disk.f_ffree) } else { (disk.f_bavail, disk.f_favail) };
        Some(Self {
            free_bytes: blocks.saturating_mul(disk.f_frsize),
            size_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
            free_files,
            files: disk.f_files,
            read_only: disk.f_flag.contains(StatVfsMountFlags::RDONLY),
            no_exec: disk.f_flag.contains(StatVfsMountFlags::NOEXEC),
        })
    }
}

/// What a kind of file system means for who keeps files on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Disk,
    /// Gone when the machine is switched off.
    Memory,
    /// Of another machine, on which locks and syncing are what that one makes of them.
    Network,
}

/// Names and numbers of kinds of file systems (statfs(2), linux/magic.h).
const KINDS: [(u64, &str, Nature); 13] = [
    (0xef53, "ext4", Nature::Disk),
    (0x5846_5342, "xfs", Nature::Disk),
    (0x9123_683e, "btrfs", Nature::Disk),
    (0x2fc1_2fc1, "zfs", Nature::Disk),
    (0xf2f5_2010, "f2fs", Nature::Disk),
    (0xca45_1a4e, "bcachefs", Nature::Disk),
    (0x794c_7630, "overlay", Nature::Disk),
    (0x0102_1994, "tmpfs", Nature::Memory),
    (0x8584_58f6, "ramfs", Nature::Memory),
    (0x6969, "nfs", Nature::Network),
    (0xff53_4d42, "cifs", Nature::Network),
    (0xfe53_4d42, "smb2", Nature::Network),
    (0x0102_1997, "9p", Nature::Network),
];

/// What kind of file system is under `folder`; `None` for one that is not known here.
#[cfg(target_os = "linux")]
pub fn kind(folder: &Path) -> Option<(&'static str, Nature)> {
    let number = rustix::fs::statfs(folder).ok()?.f_type;
    // The kernel's numbers have 32 bits; the type in which they are told differs between machines.
    let number = u64::try_from(i128::from(number) & 0xffff_ffff).ok()?;
    known(number)
}

/// Only Linux tells it by number.
#[cfg(not(target_os = "linux"))]
pub fn kind(_folder: &Path) -> Option<(&'static str, Nature)> {
    None
}

#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux tells kinds by number"))]
fn known(number: u64) -> Option<(&'static str, Nature)> {
    KINDS.iter().find(|(known, ..)| *known == number).map(|(_, name, nature)| (*name, *nature))
}

/// How long a small file takes to be on disk, in a file that has no name and so is never seen.
///
/// # Errors
/// Where no file can be made there.
pub fn sync_takes(folder: &Path) -> std::io::Result<Duration> {
    /// About as much as an event.
    const CONTENT: [u8; 512] = [b' '; 512];
    let mut file = tempfile::tempfile_in(folder)?;
    let begun = Instant::now();
    file.write_all(&CONTENT)?;
    file.sync_data()?;
    Ok(begun.elapsed())
}

/// Whether a copy of a file from one folder to the other shares its room with the original (a reflink), as
/// [`std::fs::copy`] asks for where it can.
pub fn copies_share_room(from: &Path, to: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        let shared = || {
            let (mut from, to) = (tempfile::tempfile_in(from)?, tempfile::tempfile_in(to)?);
            from.write_all(b"x")?;
            rustix::fs::ioctl_ficlone(&to, &from).map_err(std::io::Error::from)
        };
        shared().is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (from, to);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_on_a_disk_that_can_be_written() {
        let here = tempfile::tempdir().unwrap();
        let disk = Disk::under(here.path()).unwrap();
        assert!(disk.free_bytes <= disk.size_bytes && !disk.read_only, "{disk:?}");
        assert!(sync_takes(here.path()).is_ok());
        assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0, "nothing is left");
        assert_eq!(Disk::under(Path::new("/nowhere/at/all")), None);
        assert!(sync_takes(Path::new("/nowhere/at/all")).is_err());
        assert!(!copies_share_room(here.path(), Path::new("/nowhere/at/all")));
    }

    #[test]
    fn kinds_are_known_by_the_kernels_numbers() {
        assert_eq!(known(0xef53), Some(("ext4", Nature::Disk)));
        assert_eq!(known(0x0102_1994), Some(("tmpfs", Nature::Memory)));
        assert_eq!(known(1), None);
    }
}
