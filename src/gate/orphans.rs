//! What a killed run left behind that lives: gates whose guard was killed with lexpr, and gits that
//! were at work. They have the mark of the run in their environment.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use super::processes::{ProcessTable, exit_descriptor};
use crate::crash;
use crate::git::command::STARTED_BY;

/// The variable by which what gates started is known.
pub(super) const STARTED_FOR: &str = "LEXPR_GATE_OF";

/// A killed process is gone within milliseconds, unless the kernel holds it (a dead network disk).
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A git that lexpr waits for changes some files and refs; one that takes longer than this waits
/// itself, for a hook or a remote.
const LONGEST_GIT: Duration = Duration::from_secs(60);

/// Waits until every git that worked for the run of this mark has ended, and what it has started, so
/// that nothing changes any more behind the back of whoever looks. Those that take too long stay: how
/// many.
pub fn wait_for_git(mark: &str) -> usize {
    let begun = Instant::now();
    loop {
        let found = ProcessTable::with_variable(STARTED_BY, OsStr::new(mark));
        let Some(death) = found.iter().find_map(|process| exit_descriptor(Pid::from_raw(process.pid)?)) else {
            return found.len();
        };
        crash::point!("resume.waits");
        let timeout = Timespec::try_from(LONGEST_GIT.saturating_sub(begun.elapsed())).ok();
        if !matches!(poll(&mut [PollFd::new(&death, PollFlags::IN)], timeout.as_ref()), Ok(1..)) {
            return found.len();
        }
    }
}

/// Ends every process of this user that gates of the run of this mark started, and waits until they
/// are gone. How many there were.
pub fn end_all(mark: &str) -> usize {
    end_marked(STARTED_FOR, OsStr::new(mark))
}

/// The same for every process that has `name` set to `value`.
pub(super) fn end_marked(name: &str, value: &OsStr) -> usize {
    let mut ended = 0;
    loop {
        let found = ProcessTable::with_variable(name, value);
        if found.is_empty() {
            return ended;
        }
        let deaths: Vec<_> = found
            .iter()
            .filter_map(|process| {
                let death = Pid::from_raw(process.pid).and_then(exit_descriptor);
                process.signal(Signal::KILL);
                death
            })
            .collect();
        ended += found.len();
        for death in &deaths {
            let timeout = Timespec { tv_sec: LONGEST_WAIT.as_secs().cast_signed(), tv_nsec: 0 };
            if !matches!(poll(&mut [PollFd::new(death, PollFlags::IN)], Some(&timeout)), Ok(1..)) {
                // What cannot be killed now holds no slot: slots are locked by those that live.
                return ended;
            }
        }
        if deaths.is_empty() {
            return ended;
        }
    }
}
