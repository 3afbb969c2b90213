//! When a gate is tried again and after how long: the plan's own retries for failures, a few of
//! lexpr's for what kept a gate from being run at all. No clock and no random source: the same
//! run waits the same times.

use std::time::Duration;

use crate::plan::{Gate, Retry};
use crate::ports::GateRun;
use crate::vocabulary::event::{GateOutcome, Verdict};
use crate::vocabulary::names::{RunId, VerdictKey};

/// How often lexpr tries to get one gate to run: what a full disk or a flaky network of a setup
/// takes to recover, and no more.
const INFRASTRUCTURE_TRIES: u32 = 3;
/// A guard that was killed may have been killed by chance, for want of memory, once. A gate that kills
/// it does so each time, and what it started has to be hunted down each time.
const GUARD_TRIES: u32 = 2;
/// So many attempts that met an engine which was away are none of those: it was waited for. One that goes away every time
/// is not waited for for ever.
const EXCUSED_FOR_AN_ENGINE: u32 = 3;
const INFRASTRUCTURE_BACKOFF: Duration = Duration::from_millis(500);
/// Doubling stops here, however often the plan wants a gate tried.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// The shell's words for "found, but not executable" and "not found" (POSIX, XCU 2.8.2): trying
/// again gives the same.
pub(super) const NOT_EXECUTABLE: i32 = 126;
pub(super) const NOT_FOUND: i32 = 127;

/// What follows an attempt.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Again { after: Duration },
    Done(Verdict),
}

/// Whether the next gate of a job is to run after this one came to `verdict`; `None`: it was cancelled.
pub(super) fn goes_on(verdict: Option<Verdict>, gate: &Gate, fail_fast: bool) -> bool {
    match verdict {
        Some(Verdict::Passed { .. }) => true,
        Some(Verdict::Failed) => !(gate.required && fail_fast),
        // What keeps one gate from running keeps the others.
        Some(Verdict::Unknown) | None => false,
    }
}

/// The attempts of one gate on one tree.
#[derive(Debug)]
pub(super) struct Attempts {
    policy: Retry,
    run: RunId,
    key: VerdictKey,
    failures: u32,
    not_run: u32,
    guards_lost: u32,
    excused: u32,
    is_excused: bool,
    is_in_vain: bool,
}

impl Attempts {
    pub(super) fn new(policy: Retry, run: RunId, key: VerdictKey) -> Self {
        Self {
            policy,
            run,
            key,
            failures: 0,
            not_run: 0,
            guards_lost: 0,
            excused: 0,
            is_excused: false,
            is_in_vain: false,
        }
    }

    /// The attempt that has ended took its guard with it.
    pub(super) fn lost_a_guard(&mut self) {
        self.guards_lost += 1;
    }

    /// The engine of the attempt that has ended was away, and came back while it was waited for.
    pub(super) fn met_no_engine(&mut self) {
        self.is_excused = self.excused < EXCUSED_FOR_AN_ENGINE;
        self.excused += 1;
    }

    /// What kept the attempt that has ended from its gate would keep any other.
    pub(super) fn was_in_vain(&mut self) {
        self.is_in_vain = true;
    }

    /// Counts an ended attempt, and writes down in it what follows.
    pub(super) fn settle(&mut self, run: &mut GateRun) -> Next {
        let next = self.after(&run.outcome);
        match next {
            Next::Done(verdict) => run.verdict = Some(verdict),
            Next::Again { after } => {
                run.backoff_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            }
        }
        next
    }

    /// Counts an ended attempt.
    pub(super) fn after(&mut self, outcome: &GateOutcome) -> Next {
        match outcome {
            GateOutcome::Passed => Next::Done(Verdict::Passed { flaky: self.failures > 0 }),
            // Whoever is rate limited gives the slot back meanwhile: the loop asks again.
            GateOutcome::Cancelled | GateOutcome::RateLimited { .. } => Next::Done(Verdict::Unknown),
            GateOutcome::Infrastructure { .. } => {
                if std::mem::take(&mut self.is_excused) {
                    return Next::Again { after: self.backoff(INFRASTRUCTURE_BACKOFF, 1) };
                }
                self.not_run += 1;
                if self.is_in_vain || self.not_run >= INFRASTRUCTURE_TRIES || self.guards_lost >= GUARD_TRIES {
                    return Next::Done(Verdict::Unknown);
                }
                Next::Again { after: self.backoff(INFRASTRUCTURE_BACKOFF, self.not_run) }
            }
            GateOutcome::Failed { exit_code: NOT_EXECUTABLE | NOT_FOUND } => Next::Done(Verdict::Failed),
            GateOutcome::Failed { .. }
            | GateOutcome::Signaled { .. }
            | GateOutcome::TimedOut { .. }
            | GateOutcome::OutOfMemory { .. } => {
                self.failures += 1;
                if self.failures >= self.policy.max_attempts {
                    return Next::Done(Verdict::Failed);
                }
                Next::Again { after: self.backoff(self.policy.backoff, self.failures) }
            }
        }
    }

    /// `first`, doubled with each further attempt, and up to a quarter more: gates that failed
    /// together over one resource do not come back to it together.
    fn backoff(&self, first: Duration, nth: u32) -> Duration {
        let doubled = 2_u32.checked_pow(nth - 1).and_then(|factor| first.checked_mul(factor));
        let plain = doubled.map_or(LONGEST_BACKOFF, |doubled| doubled.min(LONGEST_BACKOFF.max(first)));
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.run.as_str().as_bytes()).update(self.key.as_bytes()).update(&nth.to_le_bytes());
        let share = u32::from(hasher.finalize().as_bytes()[0]);
        plain.saturating_add(plain / 4 * share / 256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: GateOutcome = GateOutcome::Failed { exit_code: 1 };

    fn attempts(max_attempts: u32, backoff_secs: u64) -> Attempts {
        let policy = Retry { max_attempts, backoff: Duration::from_secs(backoff_secs) };
        Attempts::new(policy, "20261121-150000-abcd".into(), VerdictKey::of([b"key".as_slice()]))
    }

    #[test]
    fn backoff_doubles_with_a_bounded_jitter_that_is_the_same_every_time() {
        let waits = |mut attempts: Attempts| -> Vec<Duration> {
            (0..12)
                .map(|_| match attempts.after(&FAILED) {
                    Next::Again { after } => after,
                    Next::Done(verdict) => panic!("{verdict:?}"),
                })
                .collect()
        };
        let once = waits(attempts(100, 5));
        assert_eq!(once, waits(attempts(100, 5)), "invariant 8: nothing random");
        for (nth, wait) in once.iter().enumerate() {
            let plain = Duration::from_secs(5 << nth).min(LONGEST_BACKOFF);
            assert!((plain..=plain * 5 / 4).contains(wait), "attempt {nth}: {wait:?}");
        }
        assert!(waits(attempts(u32::MAX, 0)).iter().all(Duration::is_zero));
    }

    #[test]
    fn a_pass_is_flaky_only_after_a_failure_of_the_gate_itself() {
        let mut flaky = attempts(3, 1);
        assert!(matches!(flaky.after(&FAILED), Next::Again { .. }));
        assert_eq!(flaky.after(&GateOutcome::Passed), Next::Done(Verdict::Passed { flaky: true }));

        let mut clean = attempts(1, 1);
        assert!(matches!(clean.after(&GateOutcome::Infrastructure { message: "disk".into() }), Next::Again { .. }));
        assert_eq!(clean.after(&GateOutcome::Passed), Next::Done(Verdict::Passed { flaky: false }));
    }

    #[test]
    fn attempts_end_at_the_limit_of_the_policy_and_that_of_lexpr() {
        let mut gate = attempts(2, 1);
        assert!(matches!(gate.after(&GateOutcome::Signaled { signal: 11 }), Next::Again { .. }));
        let timed_out = GateOutcome::TimedOut { after_ms: 1, signal: None };
        assert_eq!(gate.after(&timed_out), Next::Done(Verdict::Failed));

        let mut not_run = attempts(100, 1);
        let broken = GateOutcome::Infrastructure { message: "disk".into() };
        for _ in 1..INFRASTRUCTURE_TRIES {
            assert!(matches!(not_run.after(&broken), Next::Again { .. }));
        }
        assert_eq!(not_run.after(&broken), Next::Done(Verdict::Unknown));
    }

    #[test]
    fn a_gate_that_takes_its_guard_with_it_is_tried_once_more() {
        let mut gate = attempts(9, 1);
        let lost = GateOutcome::Infrastructure { message: "guard".into() };
        gate.lost_a_guard();
        assert!(matches!(gate.after(&lost), Next::Again { .. }));
        gate.lost_a_guard();
        assert_eq!(gate.after(&lost), Next::Done(Verdict::Unknown));
    }

    #[test]
    fn an_engine_that_was_away_costs_no_attempt_until_it_goes_away_every_time() {
        let mut gate = attempts(1, 1);
        let mut tried = 0;
        loop {
            tried += 1;
            gate.met_no_engine();
            if let Next::Done(verdict) = gate.after(&GateOutcome::Infrastructure { message: "engine".into() }) {
                assert_eq!(verdict, Verdict::Unknown);
                break;
            }
        }
        assert_eq!(tried, EXCUSED_FOR_AN_ENGINE + INFRASTRUCTURE_TRIES);
    }

    #[test]
    fn what_is_permanent_cancelled_or_rate_limited_is_not_tried_again_in_the_job() {
        for exit_code in [NOT_EXECUTABLE, NOT_FOUND] {
            assert_eq!(attempts(9, 1).after(&GateOutcome::Failed { exit_code }), Next::Done(Verdict::Failed));
        }
        for outcome in [GateOutcome::Cancelled, GateOutcome::RateLimited { exit_code: 75 }] {
            assert_eq!(attempts(9, 1).after(&outcome), Next::Done(Verdict::Unknown));
        }
    }
}
