//! What a process leaves unsaid when it ends before its run does.

use super::{LandingBegun, RunView};
use crate::vocabulary::event::{Event, HaltReason};
use crate::vocabulary::names::JobId;

/// A landing of which it is not recorded what became.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenLanding {
    intended: Option<LandingBegun>,
    is_open: bool,
    /// A resumption could not bring it to its end.
    is_stuck: bool,
}

impl OpenLanding {
    pub(super) fn take_in(&mut self, event: &Event) {
        match event {
            Event::LandingIntended(intended) => {
                let (from, to, items) = (intended.from, intended.to, intended.items.clone());
                *self = Self { intended: Some(LandingBegun { from, to, items }), is_open: true, is_stuck: false };
            }
            Event::Landed(_) | Event::TargetMoved { .. } => *self = Self::default(),
            Event::RunResumed { landing_is_open: true, .. } => (self.is_open, self.is_stuck) = (true, true),
            Event::RunResumed { .. } => *self = Self::default(),
            // The answer to a landing that was refused: what it moved, if anything, it says itself.
            Event::RunHalted { why: HaltReason::TargetNotMovable, .. } => self.is_open &= self.is_stuck,
            _ => {}
        }
    }
}

impl RunView {
    /// The landing of which it is not recorded what became: the target may have been moved.
    pub fn landing_begun(&self) -> Option<&LandingBegun> {
        self.landing.intended.as_ref().filter(|_| self.landing.is_open)
    }

    /// What was running ended with its process, nobody knows when.
    pub(super) fn resumed(&mut self, at: u64) {
        self.resumptions += 1;
        self.interrupted = None;
        self.halted = None;
        self.ending = None;
        self.throttling.now = false;
        self.resizing.begin_again();
        for item in &mut self.items {
            item.last_word = None;
        }
        self.end_jobs(at);
    }

    fn end_jobs(&mut self, at: u64) {
        self.pool.active = 0;
        self.pool.changed_at_ms = at;
        let cut_off: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| job.ended_at_ms.is_none()).map(|(id, _)| *id).collect();
        for id in cut_off {
            let last_seen = self.jobs.get(&id).map_or(at, |job| {
                let last = job.attempts.last().and_then(|&position| self.attempts.get(position));
                job.started_at_ms + last.map_or(0, |attempt| attempt.run.duration_ms)
            });
            self.job_finished(last_seen, id);
        }
    }

    /// The run goes on, and it is this late by now: gates that take long tell nothing meanwhile.
    pub fn goes_on(&mut self, now_ms: u64) {
        let now_ms = self.latest_at_ms.max(now_ms);
        self.pool.count(now_ms, 0);
        self.latest_at_ms = now_ms;
    }

    /// Nothing of the run is left that could go on, and it told no end.
    pub fn died(&mut self) {
        self.is_dead = self.halted.is_none();
        self.end_jobs(self.latest_at_ms);
    }
}
