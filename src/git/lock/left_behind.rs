//! A lock whose holder is dead, and which is not free yet. A process that was just being started has copies of
//! all descriptors of the one that started it until it execs, and so has its locks (flock(2)), even if that
//! was killed meanwhile. It is about to let go of them.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Far longer than it takes to exec on a machine under load. All of it is waited where the holder is
/// a process that cannot be seen from here, as in another container.
const LONGEST: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Takes a lock; `None` where somebody has it that is not known to be dead. `named` is the process that is said to have it.
///
/// # Errors
/// Those of `take`.
pub fn outwait_the_dead<T, E>(
    named: impl Fn() -> Option<u32>,
    take: impl Fn() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let begun = Instant::now();
    loop {
        let taken = take()?;
        if taken.is_some() || !named().is_some_and(is_gone) || begun.elapsed() > LONGEST {
            return Ok(taken);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// It has ended, whether or not the process that started it has taken notice.
fn is_gone(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    process.is_some_and(|process| test_kill_process(process) == Err(Errno::SRCH) || is_zombie(process))
}

#[cfg(target_os = "linux")]
fn is_zombie(process: Pid) -> bool {
    let stat = procfs::process::Process::new(process.as_raw_pid()).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.state == 'Z')
}

/// Where it cannot be told: it counts as there until it was noticed.
#[cfg(not(target_os = "linux"))]
fn is_zombie(_process: Pid) -> bool {
    false
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "processes that end")]

    use std::cell::Cell;
    use std::convert::Infallible;
    use std::process::{Command, Stdio};

    use super::super::{Extent, LockError, Purpose, RunLock, path_of, take_file};
    use super::*;
    use crate::vocabulary::names::RunId;

    fn dead() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    /// How often a lock is asked for that is free at the third time.
    fn asked(named: Option<u32>) -> (Option<()>, u32) {
        let asked = Cell::new(0);
        let taken = outwait_the_dead(
            || named,
            || {
                asked.set(asked.get() + 1);
                Ok::<_, Infallible>((asked.get() == 3).then_some(()))
            },
        );
        (taken.unwrap(), asked.get())
    }

    #[test]
    fn a_lock_that_a_dead_process_has_still_is_waited_for_and_that_of_a_living_one_is_not() {
        assert_eq!(asked(Some(dead())), (Some(()), 3));
        assert_eq!(asked(Some(std::process::id())), (None, 1));
        assert_eq!(asked(Some(0)), (None, 1));
        assert_eq!(asked(None), (None, 1));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_whose_end_nobody_took_notice_of_is_dead() {
        use rustix::process::{WaitId, WaitIdOptions, waitid};

        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(asked(Some(child.id())), (None, 1));
        drop(child.stdin.take());
        let child_id = Pid::from_child(&child);
        waitid(WaitId::Pid(child_id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        assert_eq!(asked(Some(child.id())), (Some(()), 3));
        child.wait().unwrap();
    }

    #[test]
    fn a_run_killed_while_it_started_a_process_keeps_nobody_from_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (target, run) = ("refs/heads/main", RunId::new("20260101-000000-aaaa"));
        drop(RunLock::acquire(dir.path(), target, &run, Purpose::Landing).unwrap());
        let path = path_of(dir.path(), target, Extent::Run);
        let lock = take_file(&path).unwrap().unwrap();
        std::fs::write(&path, format!("run {run} (process {}) is landing\n", dead())).unwrap();
        // Has a copy of the descriptor, as has what was not yet at its exec when it was alone.
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(lock).spawn().unwrap();
        let refused = || RunLock::acquire(dir.path(), target, &run, Purpose::Landing).map(drop);
        std::thread::scope(|scope| {
            let acquired = scope.spawn(refused);
            drop(child.stdin.take());
            acquired.join().unwrap().unwrap();
        });
        child.wait().unwrap();
        // Whoever lives keeps it.
        let _held = RunLock::acquire(dir.path(), target, &run, Purpose::Landing).unwrap();
        assert!(matches!(refused(), Err(LockError::Held { .. })));
    }
}
