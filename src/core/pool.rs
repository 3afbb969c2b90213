//! How many workers a run should have where the plan leaves that to lexpr (`maxWorkers: auto`): a
//! function of what was measured. Who measures, and when, is the engine's business.
//!
//! It grows by a half at a time (at least by one) while all workers are at it, more work waits, memory
//! and processors have room for what another gate will likely take, and it has been seen, for a while
//! at most, what the size that it has gets done. It takes back what it added when gates wait for
//! processors or the disk, or when more of them got hardly more done. Only memory takes it below the
//! size it began with, which is what a fixed pool would be: pressure may be other programs' doing. What
//! it took back it does not try again for a while, and each time for longer.

use std::collections::HashMap;

use crate::vocabulary::event::PoolReason;
use crate::vocabulary::names::DefinitionDigest;

/// The most workers a processor gets: gates that only wait would take any number, and each has a
/// working folder of its own on the disk.
pub const MOST_PER_CORE: u32 = 4;

/// How long is measured before each decision, in milliseconds: long enough for the effect of the one
/// before to show in what the kernel counts.
pub const WINDOW_MS: u64 = 2000;

/// Of one processor: a gate that takes less than this waits rather than computes, and nobody's
/// pressure on the processors says anything about more of its kind.
const COMPUTES_FROM: f64 = 0.1;

/// Shares of the time in which something waited for a processor. In between nothing changes.
const WAITS_LITTLE: f64 = 0.3;
const WAITS_MUCH: f64 = 0.7;

/// Shares of the time in which nothing went on for waiting for a disk.
const STALLS_LITTLE: f64 = 0.3;
const STALLS_MUCH: f64 = 0.6;

/// Gates that must pass before a size is judged by what it gets done; of a larger pool, one a worker.
const FEWEST_PASSES: u32 = 4;

/// For how long a size is kept to see what it gets done before a larger one is tried all the same, in
/// milliseconds: gates may take minutes.
const LONGEST_TRIAL_MS: u64 = 10_000;

/// The part of what more workers could bring that they must bring, to be kept.
const LEAST_PART_OF_GAIN: f64 = 0.25;

/// By how much more workers must have been at it for their gain to be seen at all.
const LEAST_MORE_BUSY: f64 = 1.1;

/// For how long a size that was given up is not tried again, in milliseconds: at first, and at most.
/// Each time it is twice as long.
const FIRST_PAUSE_MS: u64 = 30_000;
const LONGEST_PAUSE_MS: u64 = 1_800_000;

/// What was measured since the last decision, over [`WINDOW_MS`] or more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// When it ended, in milliseconds.
    pub at_ms: u64,
    /// Jobs in work at its end.
    pub busy: u32,
    /// The same on average.
    pub mean_busy: f64,
    /// A composite waited for a slot and nothing else, at every look.
    pub work_waits: bool,
    /// `None` where memory holds nothing back.
    pub memory: Option<Memory>,
    /// The share of the time in which something that could run waited for a processor, 0 to 1.
    pub waited_for_cpu: Option<f64>,
    /// The share of the time in which nothing went on for waiting for a disk, 0 to 1.
    pub stalled_on_io: Option<f64>,
    /// Processors that were idle, on average.
    pub idle_cores: Option<f64>,
    /// Processors that lexpr and all it started took, on average.
    pub own_cores: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub used_bytes: u64,
    /// Above it nothing new starts.
    pub threshold_bytes: u64,
    /// What a gate held at its peak, on average over those that have ended; 0 where none was measured.
    pub per_gate_bytes: u64,
}

/// Another size of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    pub from: u32,
    pub to: u32,
    pub reason: PoolReason,
}

/// What a size got done.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Done {
    size: u32,
    busy: f64,
    /// How many gates of their usual length end in the time of one.
    speed: f64,
}

/// What has been seen since the pool has its size.
#[derive(Clone, Copy, Debug, Default)]
struct Stay {
    since_ms: u64,
    windows: u32,
    busy: f64,
    passes: u32,
    took_ms: u64,
    /// What the same gates usually take.
    usual_ms: u64,
    is_judged: bool,
}

/// Decides on the size of the pool, one window after another.
#[derive(Clone, Debug)]
pub struct Controller {
    size: u32,
    at_first: u32,
    ceiling: u32,
    stay: Stay,
    /// The largest size that is known to get more done than those before it.
    best: Option<Done>,
    /// No larger size is tried before this time.
    given_up: Option<(u32, u64)>,
    /// For how long, the next time.
    pause_ms: u64,
    /// The last change was to more workers.
    has_grown: bool,
    /// What gates took when they first passed.
    usual_ms: HashMap<DefinitionDigest, u64>,
}

impl Controller {
    /// Of a pool that has `at_first` workers since `now_ms`, and never more than `ceiling`.
    pub fn new(at_first: u32, ceiling: u32, now_ms: u64) -> Self {
        let at_first = at_first.max(1);
        Self {
            size: at_first,
            at_first,
            ceiling: ceiling.max(at_first),
            stay: Stay { since_ms: now_ms, ..Stay::default() },
            best: None,
            given_up: None,
            pause_ms: FIRST_PAUSE_MS,
            has_grown: false,
            usual_ms: HashMap::new(),
        }
    }

    /// A gate has passed. One that began before the pool had its size says nothing about it.
    pub fn gate_passed(&mut self, gate: DefinitionDigest, at_ms: u64, took_ms: u64) {
        let took_ms = took_ms.max(1);
        let usual_ms = *self.usual_ms.entry(gate).or_insert(took_ms);
        if at_ms.saturating_sub(took_ms) >= self.stay.since_ms {
            self.stay.passes += 1;
            self.stay.took_ms = self.stay.took_ms.saturating_add(took_ms);
            self.stay.usual_ms = self.stay.usual_ms.saturating_add(usual_ms);
        }
    }

    /// What should be changed after this window; the pool has that size from then on.
    pub fn decide(&mut self, window: &Window) -> Option<Resize> {
        self.stay.windows += 1;
        self.stay.busy += window.mean_busy;
        let (to, reason) = self.shrink(window).or_else(|| self.judge()).or_else(|| self.grow(window))?;
        let from = std::mem::replace(&mut self.size, to);
        self.stay = Stay { since_ms: window.at_ms, ..Stay::default() };
        if to < from {
            self.given_up = Some((to, window.at_ms.saturating_add(self.pause_ms)));
            if self.has_grown {
                self.pause_ms = self.pause_ms.saturating_mul(2).min(LONGEST_PAUSE_MS);
            }
            self.best = self.best.filter(|best| best.size <= to);
        }
        self.has_grown = to > from;
        Some(Resize { from, to, reason })
    }

    /// What the machine lacks.
    fn shrink(&self, window: &Window) -> Option<(u32, PoolReason)> {
        // What was taken back before shows once the gates have ended that run above it.
        if window.busy > self.size {
            return None;
        }
        if let Some(Memory { used_bytes, threshold_bytes, .. }) = window.memory
            && used_bytes > threshold_bytes
            && self.size > 1
        {
            let to = (self.size - 1).min(window.busy.saturating_sub(1)).max(1);
            return Some((to, PoolReason::MemoryTight { used_bytes, threshold_bytes }));
        }
        if self.size <= self.at_first {
            return None;
        }
        let to = (self.size - (self.size / 4).max(1)).max(self.at_first);
        let much = |share: Option<f64>, much: f64| share.filter(|share| *share >= much).map(percent);
        // Bursts of it are no pressure: then some processors are idle.
        let is_full = window.idle_cores.is_none_or(|idle| idle < 1.0);
        if let Some(percent) = much(window.waited_for_cpu, WAITS_MUCH).filter(|_| is_full && window.computes()) {
            return Some((to, PoolReason::CpuPressure { percent }));
        }
        much(window.stalled_on_io, STALLS_MUCH).map(|percent| (to, PoolReason::IoPressure { percent }))
    }

    /// Whether the size gets more done than the one before, once that can be told: back where not.
    fn judge(&mut self) -> Option<(u32, PoolReason)> {
        let stay = &mut self.stay;
        if stay.is_judged || stay.passes < FEWEST_PASSES.max(self.size) {
            return None;
        }
        stay.is_judged = true;
        let busy = stay.busy / f64::from(stay.windows);
        let done = Done { size: self.size, busy, speed: busy * stay.usual_ms as f64 / stay.took_ms as f64 };
        let Some(best) = self.best.filter(|best| best.size < self.size) else {
            self.best = Some(done);
            return None;
        };
        let (could, did) = (done.busy / best.busy, done.speed / best.speed);
        if could < LEAST_MORE_BUSY {
            // Nothing to learn: there was no work for more of them.
            return None;
        }
        if did < 1.0 + (could - 1.0) * LEAST_PART_OF_GAIN {
            return Some((best.size, PoolReason::NoGain { percent: percent((did - 1.0).max(0.0)) }));
        }
        self.best = Some(done);
        None
    }

    fn grow(&self, window: &Window) -> Option<(u32, PoolReason)> {
        let little = |share: Option<f64>, little: f64| share.is_none_or(|share| share < little);
        let most = match self.given_up {
            Some((size, until_ms)) if window.at_ms < until_ms => size,
            _ => self.ceiling,
        };
        if !window.work_waits || !little(window.stalled_on_io, STALLS_LITTLE) || self.size >= most {
            return None;
        }
        let sees_processors = window.waited_for_cpu.is_some() || window.idle_cores.is_some();
        let was_tried = window.at_ms.saturating_sub(self.stay.since_ms) >= LONGEST_TRIAL_MS && sees_processors;
        if !self.stay.is_judged && !was_tried {
            return None;
        }
        let mut more = (self.size / 2).max(1).min(most - self.size);
        if let Some(room) = window.memory.and_then(|memory| memory.room(window.busy, self.size)) {
            more = more.min(room);
        }
        if window.computes() {
            if !little(window.waited_for_cpu, WAITS_LITTLE) {
                return None;
            }
            if let Some(idle) = window.idle_cores {
                more = more.min((idle / window.cores_per_gate()) as u32);
            }
        }
        let reason = PoolReason::WorkWaits {
            idle_percent: window.idle_cores.map(percent),
            gate_percent: window.own_cores.map(|_| percent(window.cores_per_gate())),
        };
        (more > 0).then_some((self.size + more, reason))
    }
}

impl Window {
    /// Processors that a gate takes; where it is not measured, one.
    fn cores_per_gate(&self) -> f64 {
        self.own_cores.map_or(1.0, |cores| cores / self.mean_busy.max(1.0))
    }

    fn computes(&self) -> bool {
        self.cores_per_gate() >= COMPUTES_FROM
    }
}

impl Memory {
    /// For how many more gates there is room once all workers are at it, with gates that hold what gates
    /// hold at their peak; `None` where nobody knows what they hold.
    fn room(self, busy: u32, workers: u32) -> Option<u32> {
        let (busy, workers) = (u64::from(busy), u64::from(workers.max(busy)));
        let per_gate = self.per_gate_bytes.max(self.used_bytes.checked_div(busy).unwrap_or(0));
        let of_those_to_come = per_gate.saturating_mul(workers - busy);
        let at_their_peak = self.per_gate_bytes.saturating_mul(workers);
        let will_be_used = self.used_bytes.saturating_add(of_those_to_come).max(at_their_peak);
        let room = self.threshold_bytes.saturating_sub(will_be_used).checked_div(per_gate)?;
        Some(u32::try_from(room).unwrap_or(u32::MAX))
    }
}

/// Of a share that is not negative; of two processors that are idle, 200.
fn percent(share: f64) -> u32 {
    (share * 100.0).round() as u32
}

#[cfg(test)]
mod tests;
