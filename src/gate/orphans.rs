//! What a run's gates left behind where their guard was killed with lexpr: processes that know
//! the run by its id in their environment.

use std::ffi::OsStr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use super::processes::{ProcessTable, exit_descriptor};
use crate::vocabulary::names::RunId;

/// A killed process is gone within milliseconds, unless the kernel holds it (a dead network disk).
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Ends every process of this user that `run` started, and waits until they are gone. How many
/// there were.
pub fn end_all(run: &RunId) -> usize {
    end_marked("LEXPR_RUN", OsStr::new(run.as_str()))
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
