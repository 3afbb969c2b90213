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

    /// What was running ended with its process.
    pub(super) fn resumed(&mut self, at: u64, max_workers: Option<u32>, workers_at_first: Option<u32>) {
        self.resumptions += 1;
        self.interrupted = None;
        self.halted = None;
        self.ending = None;
        self.throttling.now = false;
        if let (Some(run), Some(max_workers)) = (&mut self.run, max_workers) {
            run.max_workers = max_workers;
            self.most_workers = self.most_workers.max(max_workers);
        }
        self.resizing.begin_again(max_workers, workers_at_first);
        for item in &mut self.items {
            item.last_word = None;
        }
        self.cut_jobs_off(self.pauses.last().map_or(at, |pause| pause.from_ms), at);
    }

    /// Those that were at work are taken to have been until the process told its last.
    fn cut_jobs_off(&mut self, cut_off_at_ms: u64, at: u64) {
        for pool in [&mut self.pool, &mut self.elsewhere] {
            pool.begin_again(cut_off_at_ms, at);
        }
        let cut_off: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| job.ended_at_ms.is_none()).map(|(id, _)| *id).collect();
        for id in cut_off {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.is_cut_off = true;
            }
            self.job_finished(cut_off_at_ms, id);
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
        self.cut_jobs_off(self.latest_at_ms, self.latest_at_ms);
    }
}
