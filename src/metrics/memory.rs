//! The memory that a run holds, and the work that was held back for it.

use std::fmt;
use std::sync::OnceLock;

use prometheus::{Counter, IntCounter, IntGauge};

use super::as_gauge;
use super::registrar::Registrar;
use crate::vocabulary::event::{Event, Recorded};

#[derive(Debug)]
pub(super) struct MemoryMetrics {
    usage: IntGauge,
    peak: IntGauge,
    limit: IntGauge,
    throttles: IntCounter,
    throttle_seconds: Counter,
    throttled: IntGauge,
    measured_by: OnceLock<Measure>,
}

/// Gives what is held now, in bytes, where that can be told.
type Gauge = Box<dyn Fn() -> Option<u64> + Send + Sync>;

struct Measure(Gauge);

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measure")
    }
}

impl MemoryMetrics {
    pub(super) fn new(all: &Registrar) -> Self {
        Self {
            usage: all.gauge("memory_usage_bytes", "Memory that lexpr and its gates hold together."),
            peak: all.gauge("memory_peak_bytes", "The most memory that lexpr and its gates held together."),
            limit: all.gauge("memory_limit_bytes", "The memory limit of the run, 0 for none."),
            throttles: all.counter("throttle_total", "Times that work was held back for memory."),
            throttle_seconds: all.float_counter("throttle_seconds_total", "Time that work was held back for memory."),
            throttled: all.gauge("throttled", "1 while work is held back for memory, else 0."),
            measured_by: OnceLock::new(),
        }
    }

    pub(super) fn apply(&self, recorded: &Recorded) {
        match &recorded.event {
            Event::RunStarted(run) => self.limit.set(as_gauge(run.memory_limit_bytes.unwrap_or(0))),
            Event::Throttled { used_bytes, .. } => {
                self.throttles.inc();
                self.throttled.set(1);
                self.set_usage(*used_bytes);
            }
            Event::Unthrottled { used_bytes, waited_ms } => {
                #[expect(clippy::cast_precision_loss, reason = "no run takes 2^52 ms")]
                self.throttle_seconds.inc_by(*waited_ms as f64 / 1e3);
                self.throttled.set(0);
                self.set_usage(*used_bytes);
            }
            Event::RunResumed { .. } => self.throttled.set(0),
            Event::RunFinished { peak_memory_bytes, .. } => {
                self.throttled.set(0);
                self.peak.set(self.peak.get().max(as_gauge(*peak_memory_bytes)));
            }
            _ => {}
        }
    }

    pub(super) fn set_usage(&self, bytes: u64) {
        let bytes = as_gauge(bytes);
        self.usage.set(bytes);
        self.peak.set(self.peak.get().max(bytes));
    }

    pub(super) fn ask(&self, gauge: impl Fn() -> Option<u64> + Send + Sync + 'static) {
        self.measured_by.get_or_init(|| Measure(Box::new(gauge)));
    }

    /// Measures anew, where there is somebody to ask.
    pub(super) fn measure(&self) {
        if let Some(used) = self.measured_by.get().and_then(|Measure(gauge)| gauge()) {
            self.set_usage(used);
        }
    }
}
