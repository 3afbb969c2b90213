//! Whether memory lets another gate start. With nothing running one always may, so that a limit
//! can slow a run and never hang it.

use std::sync::Arc;

use crate::ports::MemoryGauge;
use crate::vocabulary::event::Event;

/// A measurement is good for this long: walking all processes takes milliseconds.
const SAMPLE_IS_FRESH_MS: u64 = 100;

pub(super) struct Throttle {
    /// Bytes; `None`: no limit.
    threshold: Option<u64>,
    gauge: Arc<dyn MemoryGauge>,
    used: u64,
    sampled_at_ms: Option<u64>,
    peak: u64,
    holding_since_ms: Option<u64>,
}

impl Throttle {
    pub(super) fn new(threshold: Option<u64>, gauge: Arc<dyn MemoryGauge>) -> Self {
        Self { threshold, gauge, used: 0, sampled_at_ms: None, peak: 0, holding_since_ms: None }
    }

    /// Measures now, whatever was measured before.
    pub(super) fn sample(&mut self, now_ms: u64) {
        self.used = self.gauge.used_bytes().unwrap_or(0);
        self.peak = self.peak.max(self.used);
        self.sampled_at_ms = Some(now_ms);
    }

    pub(super) fn sample_if_older(&mut self, now_ms: u64, age_ms: u64) {
        if self.sampled_at_ms.is_none_or(|at| now_ms.saturating_sub(at) >= age_ms) {
            self.sample(now_ms);
        }
    }

    /// When to measure again: sooner while work is held back.
    pub(super) fn sample_again_in_ms(&self, usually_ms: u64) -> u64 {
        if self.is_holding() { SAMPLE_IS_FRESH_MS } else { usually_ms }
    }

    /// What was in use when it was last measured, and the threshold, where there is one.
    pub(super) fn pressure(&self) -> Option<(u64, u64)> {
        self.threshold.map(|threshold| (self.used, threshold))
    }

    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak
    }

    /// Whether work is being held back.
    pub(super) fn is_holding(&self) -> bool {
        self.holding_since_ms.is_some()
    }

    /// Whether a new gate must wait, and the event where that has just changed.
    pub(super) fn check(&mut self, now_ms: u64, something_runs: bool) -> (bool, Option<Event>) {
        let Some(threshold) = self.threshold else { return (false, None) };
        self.sample_if_older(now_ms, SAMPLE_IS_FRESH_MS);
        let hold = something_runs && self.used > threshold;
        let event = match (hold, self.holding_since_ms) {
            (true, None) => {
                self.holding_since_ms = Some(now_ms);
                Some(Event::Throttled { used_bytes: self.used, threshold_bytes: threshold })
            }
            (false, Some(since)) => {
                self.holding_since_ms = None;
                Some(Event::Unthrottled { used_bytes: self.used, waited_ms: now_ms.saturating_sub(since) })
            }
            _ => None,
        };
        (hold, event)
    }
}
