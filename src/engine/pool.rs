//! Measuring for a pool of workers that adapts: looks at the machine every now and then, makes
//! windows of what it saw, and asks the core what they say.

use std::sync::Arc;

use crate::core::pool::{Controller, Memory, Resize, WINDOW_MS, Window};
use crate::ports::{Load, LoadGauge};
use crate::vocabulary::event::{GateFinished, GateOutcome};
use crate::vocabulary::names::DefinitionDigest;

/// How often is looked.
const LOOK_EVERY_MS: u64 = 500;

/// What is seen at one look besides the load.
pub(super) struct Look {
    pub at_ms: u64,
    /// Jobs in work.
    pub busy: u32,
    pub work_waits: bool,
    /// Used, and the threshold; `None` where memory holds nothing back.
    pub memory: Option<(u64, u64)>,
}

/// Looks since the last decision.
#[derive(Clone, Copy, Default)]
struct Looks {
    begun_ms: u64,
    load: Load,
    number: u32,
    busy: u32,
    /// At every one of them.
    work_waits: bool,
}

pub(super) struct Adaptive {
    controller: Controller,
    gauge: Arc<dyn LoadGauge>,
    looks: Looks,
    last_ms: u64,
    /// Of gates that have ended: how many, and the sum of their peaks.
    peaks: (u64, u64),
}

impl Adaptive {
    pub(super) fn new(at_first: u32, ceiling: u32, gauge: Arc<dyn LoadGauge>, now_ms: u64) -> Self {
        let mut adaptive = Self {
            controller: Controller::new(at_first, ceiling, now_ms),
            gauge,
            looks: Looks::default(),
            last_ms: now_ms,
            peaks: (0, 0),
        };
        adaptive.begin(now_ms);
        adaptive
    }

    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_ms) >= LOOK_EVERY_MS
    }

    pub(super) fn gate_finished(&mut self, finished: &GateFinished, definition: DefinitionDigest, at_ms: u64) {
        if let Some(peak) = finished.peak_memory_bytes {
            self.peaks = (self.peaks.0 + 1, self.peaks.1.saturating_add(peak));
        }
        // One that fails may have ended anywhere.
        if finished.outcome == GateOutcome::Passed {
            self.controller.gate_passed(definition, at_ms, finished.duration_ms);
        }
    }

    /// Takes a look in; what follows from it and those before it, where a window has ended.
    pub(super) fn look(&mut self, look: &Look) -> Option<Resize> {
        self.last_ms = look.at_ms;
        self.looks.number += 1;
        self.looks.busy += look.busy;
        self.looks.work_waits &= look.work_waits;
        let took_ms = look.at_ms.saturating_sub(self.looks.begun_ms);
        if took_ms < WINDOW_MS {
            return None;
        }
        let before = self.looks;
        self.begin(look.at_ms);
        let mean = |of: fn(&Load) -> Option<u64>| {
            let counted_us = of(&self.looks.load)?.saturating_sub(of(&before.load)?);
            Some(counted_us as f64 / (took_ms * 1000) as f64)
        };
        let window = Window {
            at_ms: look.at_ms,
            busy: look.busy,
            mean_busy: f64::from(before.busy) / f64::from(before.number),
            work_waits: before.work_waits,
            memory: look.memory.map(|(used_bytes, threshold_bytes)| Memory {
                used_bytes,
                threshold_bytes,
                per_gate_bytes: self.peaks.1.checked_div(self.peaks.0).unwrap_or(0),
            }),
            waited_for_cpu: mean(|load| load.waited_for_cpu_us),
            stalled_on_io: mean(|load| load.stalled_on_io_us),
            idle_cores: mean(|load| load.idle_us),
            own_cores: mean(|load| load.own_us),
        };
        self.controller.decide(&window)
    }

    fn begin(&mut self, now_ms: u64) {
        self.looks = Looks { begun_ms: now_ms, load: self.gauge.load(), number: 0, busy: 0, work_waits: true };
    }
}
