//! What named limits held back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus::{Counter, IntCounterVec, IntGauge};

use super::registrar::Registrar;
use crate::vocabulary::event::{Event, HeldBy, LimitOn, Recorded};

#[derive(Debug)]
pub(super) struct LimitMetrics {
    held: IntCounterVec,
    held_seconds: Counter,
    holding: IntGauge,
    /// Since when each holds something back.
    now: Mutex<HashMap<LimitOn, u64>>,
}

fn label(why: HeldBy) -> &'static str {
    match why {
        HeldBy::Use => "in_use",
        HeldBy::Pacing => "pacing",
        HeldBy::RateLimit => "rate_limit",
    }
}

impl LimitMetrics {
    pub(super) fn new(all: &Registrar) -> Self {
        let reasons = [HeldBy::Use, HeldBy::Pacing, HeldBy::RateLimit].map(label);
        Self {
            held: all.counters("limit_held_total", "Times that a named limit held work back.", "why", &reasons),
            held_seconds: all.float_counter("limit_held_seconds_total", "Time that named limits held work back."),
            holding: all.gauge("limits_holding", "Named limits that hold work back now."),
            now: Mutex::default(),
        }
    }

    pub(super) fn apply(&self, recorded: &Recorded) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = match &recorded.event {
            Event::LimitHeld { limit, why, .. } => {
                self.held.with_label_values(&[label(*why)]).inc();
                now.insert(limit.clone(), recorded.at_ms)
            }
            Event::LimitFreed { limit } => now.remove(limit),
            Event::RunResumed { .. } | Event::RunFinished { .. } => {
                now.clear();
                None
            }
            _ => None,
        };
        self.holding.set(i64::try_from(now.len()).unwrap_or(i64::MAX));
        if let Some(since_ms) = ended {
            #[expect(clippy::cast_precision_loss, reason = "no run takes 2^52 ms")]
            self.held_seconds.inc_by(recorded.at_ms.saturating_sub(since_ms) as f64 / 1e3);
        }
    }
}
