//! When what claims a limit may begin: the pace that a resource is given, and the wait after a gate was rate limited.
//! The strategy is told by events, so that it gives the slots to others meanwhile; with nothing else to do the loop
//! waits for the clock.
//!
//! A pace is kept between the beginnings of gates, whatever their slots take to get ready: after a job has started for
//! one, no other does before its gate has begun and the gap is over. What a gate's own `retries` begin is counted,
//! and not held back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::{Engine, EngineError};
use crate::core::state::RunState;
use crate::core::strategy::GateAction;
use crate::core::strategy::claims::limits_on;
use crate::plan::{Gate, Policy, Resource};
use crate::vocabulary::event::{Event, GateFinished, GateOutcome, HeldBy, LimitOn, Recorded};
use crate::vocabulary::names::{DefinitionDigest, JobId, RunId};

/// The first wait after a gate was rate limited, where neither its pace nor its retries say more: most services count by
/// the second.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Doubling stops here: nobody wants to wait longer for a service that serves again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// What the clock has to do with limits.
pub(super) struct Pacing {
    resources: BTreeMap<String, Resource>,
    run: RunId,
    limits: HashMap<LimitOn, Pace>,
}

/// One limit in time.
#[derive(Default)]
struct Pace {
    /// Jobs that were started for it and whose gates have not begun.
    on_the_way: BTreeSet<JobId>,
    next_at_ms: u64,
    refused_until_ms: u64,
    /// How often it was refused since it last was not; gates that are refused together count once.
    refusals: u32,
}

/// Why nothing may begin there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Closed {
    why: HeldBy,
    /// `None`: until a gate has begun, and a while longer.
    until_ms: Option<u64>,
}

impl Pace {
    fn closed(&self, now_ms: u64) -> Option<Closed> {
        let until_ms = self.next_at_ms.max(self.refused_until_ms);
        if self.refused_until_ms > now_ms {
            Some(Closed { why: HeldBy::RateLimit, until_ms: Some(until_ms) })
        } else if !self.on_the_way.is_empty() {
            Some(Closed { why: HeldBy::Pacing, until_ms: None })
        } else if until_ms > now_ms {
            Some(Closed { why: HeldBy::Pacing, until_ms: Some(until_ms) })
        } else {
            None
        }
    }
}

impl Pacing {
    pub(super) fn new(policy: &Policy, run: RunId) -> Self {
        Self { resources: policy.resources.clone(), run, limits: HashMap::new() }
    }

    /// Takes an event in, live or from the run's past, that `state` has not taken in yet.
    pub(super) fn note(&mut self, recorded: &Recorded, state: &RunState) {
        let at_ms = recorded.at_ms;
        match &recorded.event {
            Event::JobStarted(job) => {
                for gate in &job.gates {
                    for limit in self.paces(gate.definition, state) {
                        self.limits.entry(limit).or_default().on_the_way.insert(job.job);
                    }
                }
            }
            Event::GateStarted { job, key, .. } => {
                let gates = state.jobs().get(job).map(|job| job.gates.as_slice()).unwrap_or_default();
                let Some(definition) = gates.iter().find(|gate| gate.key == *key).map(|gate| gate.definition) else {
                    return;
                };
                for limit in self.paces(definition, state) {
                    let gap_ms = millis(self.gap(&limit));
                    let pace = self.limits.entry(limit).or_default();
                    pace.on_the_way.remove(job);
                    pace.next_at_ms = pace.next_at_ms.max(at_ms.saturating_add(gap_ms));
                }
            }
            Event::GateFinished(finished) => self.gate_finished(finished, at_ms, state),
            Event::JobFinished { job } => self.limits.values_mut().for_each(|pace| {
                pace.on_the_way.remove(job);
            }),
            Event::RunResumed { .. } => self.limits.values_mut().for_each(|pace| pace.on_the_way.clear()),
            _ => {}
        }
    }

    fn gate_finished(&mut self, finished: &GateFinished, at_ms: u64, state: &RunState) {
        let is_refused = match &finished.outcome {
            GateOutcome::RateLimited { .. } => true,
            // They say nothing of who serves whom.
            GateOutcome::Cancelled | GateOutcome::Infrastructure { .. } => return,
            GateOutcome::Passed
            | GateOutcome::Failed { .. }
            | GateOutcome::Signaled { .. }
            | GateOutcome::TimedOut { .. }
            | GateOutcome::OutOfMemory { .. } => false,
        };
        if !is_refused && self.limits.values().all(|pace| pace.refusals == 0) {
            return;
        }
        let gates = state.jobs().get(&finished.job).map(|job| job.gates.as_slice()).unwrap_or_default();
        let gate = gates.iter().find(|gate| gate.key == finished.key).map(|gate| gate.definition);
        let Some(gate) = gate.and_then(|definition| state.gate(definition)) else { return };
        for limit in limits_on(state.claims(), &self.resources, gate) {
            let first = self.gap(&limit).max(gate.retry.backoff).max(FIRST_BACKOFF);
            let pace = self.limits.entry(limit.clone()).or_default();
            if !is_refused {
                pace.refusals = 0;
                continue;
            }
            // Of several that were under way together the first says all there is to say of the service.
            if pace.refusals == 0 || pace.refused_until_ms <= at_ms {
                pace.refusals += 1;
            }
            let wait = backoff(first, pace.refusals, &self.run, &limit);
            pace.refused_until_ms = pace.refused_until_ms.max(at_ms.saturating_add(millis(wait)));
        }
    }

    fn gap(&self, limit: &LimitOn) -> Duration {
        match limit {
            LimitOn::Resource { name } => self.resources.get(name).map_or(Duration::ZERO, |resource| resource.gap),
            LimitOn::Gate { .. } => Duration::ZERO,
        }
    }

    /// What a gate of this definition claims that has a pace.
    fn paces(&self, definition: DefinitionDigest, state: &RunState) -> Vec<LimitOn> {
        let names = state.claims().needs(definition).keys();
        let limits = names.map(|name| LimitOn::Resource { name: name.clone() });
        limits.filter(|limit| !self.gap(limit).is_zero()).collect()
    }

    fn closed(&self, limit: &LimitOn, now_ms: u64) -> Option<Closed> {
        self.limits.get(limit)?.closed(now_ms)
    }

    fn closed_to(&self, gate: &Gate, now_ms: u64, state: &RunState) -> Vec<(LimitOn, Closed)> {
        let limits = limits_on(state.claims(), &self.resources, gate).into_iter();
        limits.filter_map(|limit| self.closed(&limit, now_ms).map(|closed| (limit, closed))).collect()
    }
}

/// `first`, doubled with each further refusal, and up to a quarter more: other runs that were refused by the same service
/// do not come back to it together. The same run waits the same times.
fn backoff(first: Duration, nth: u32, run: &RunId, limit: &LimitOn) -> Duration {
    let doubled = 2_u32.checked_pow(nth - 1).and_then(|factor| first.checked_mul(factor));
    let longest = LONGEST_BACKOFF.max(first);
    let plain = doubled.map_or(longest, |doubled| doubled.min(longest));
    let mut hasher = blake3::Hasher::new();
    hasher.update(run.as_str().as_bytes()).update(limit.to_string().as_bytes()).update(&nth.to_le_bytes());
    let share = u32::from(hasher.finalize().as_bytes()[0]);
    plain.saturating_add(plain / 4 * share / 256)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Engine<'_> {
    /// Whether a job has to wait for its pace, or because its like was refused; that is recorded, and the strategy is to be
    /// asked again.
    pub(super) fn is_too_early(&mut self, action: &GateAction) -> Result<bool, EngineError> {
        let Some(first) = action.gates.first() else { return Ok(false) };
        let now_ms = self.now_ms();
        let closed = self.pacing.closed_to(&first.gate, now_ms, &self.state);
        for (limit, closed) in &closed {
            self.hold(limit.clone(), *closed, now_ms)?;
        }
        Ok(!closed.is_empty())
    }

    fn hold(&mut self, limit: LimitOn, closed: Closed, now_ms: u64) -> Result<(), EngineError> {
        if self.state.claims().held().get(&limit) == Some(&closed.why) {
            return Ok(());
        }
        let for_ms = closed.until_ms.map(|until| until.saturating_sub(now_ms));
        self.record(Event::LimitHeld { limit, why: closed.why, for_ms })
    }

    /// Those that only time, or a gate that is about to begin, keeps from going on.
    fn paused(&self) -> impl Iterator<Item = &LimitOn> {
        self.state.claims().held().iter().filter(|(_, why)| **why != HeldBy::Use).map(|(limit, _)| limit)
    }

    /// Lets go on what may; true where something may.
    pub(super) fn let_go(&mut self) -> Result<bool, EngineError> {
        let mut freed = false;
        let now_ms = self.now_ms();
        for limit in self.paused().cloned().collect::<Vec<_>>() {
            match self.pacing.closed(&limit, now_ms) {
                Some(closed) => self.hold(limit, closed, now_ms)?,
                None => {
                    self.record(Event::LimitFreed { limit })?;
                    freed = true;
                }
            }
        }
        Ok(freed)
    }

    /// Something is to be started once its time has come, whatever else is under way.
    pub(super) fn waits_for_its_time(&self) -> bool {
        !self.state.is_interrupted() && self.state.halted().is_none() && self.paused().next().is_some()
    }

    /// In how many milliseconds the first of them may go on; `None` where none waits for the clock.
    pub(super) fn goes_on_in_ms(&self) -> Option<u64> {
        let now_ms = self.now_ms();
        let closed = self.paused().filter_map(|limit| self.pacing.closed(limit, now_ms));
        closed.filter_map(|closed| closed.until_ms).min().map(|until| until.saturating_sub(now_ms))
    }

    /// At the end of a run nothing is held back any more.
    pub(super) fn free_all(&mut self) -> Result<(), EngineError> {
        let held: Vec<LimitOn> = self.state.claims().held().keys().cloned().collect();
        held.into_iter().try_for_each(|limit| self.record(Event::LimitFreed { limit }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_its_first_wait_to_five_minutes_with_a_bounded_jitter() {
        let (run, limit) = (RunId::new("20261121-150000-abcd"), LimitOn::Resource { name: "api".to_owned() });
        for first in [FIRST_BACKOFF, Duration::from_secs(7), Duration::from_secs(900)] {
            for nth in 1..60 {
                let wait = backoff(first, nth, &run, &limit);
                let plain = first.saturating_mul(1 << (nth - 1).min(20)).min(LONGEST_BACKOFF.max(first));
                assert!((plain..=plain * 5 / 4).contains(&wait), "{first:?}, {nth}: {wait:?}");
                assert_eq!(wait, backoff(first, nth, &run, &limit), "invariant 8: nothing random");
            }
        }
    }

    #[test]
    fn a_pace_counts_from_when_a_gate_has_begun_and_a_refusal_from_when_it_was_heard() {
        let mut pace = Pace::default();
        assert_eq!(pace.closed(0), None);
        pace.on_the_way.insert(JobId(1));
        pace.next_at_ms = 500;
        assert_eq!(pace.closed(900), Some(Closed { why: HeldBy::Pacing, until_ms: None }), "its gate has not begun");
        pace.on_the_way.clear();
        assert_eq!(pace.closed(499), Some(Closed { why: HeldBy::Pacing, until_ms: Some(500) }));
        assert_eq!(pace.closed(500), None);
        pace.refused_until_ms = 800;
        assert_eq!(pace.closed(500), Some(Closed { why: HeldBy::RateLimit, until_ms: Some(800) }));
    }
}
