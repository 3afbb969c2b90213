//! What a process leaves unsaid when it ends before its run does.

use super::RunView;
use crate::vocabulary::names::JobId;

impl RunView {
    /// What was running ended with its process, nobody knows when.
    pub(super) fn resumed(&mut self, at: u64) {
        self.resumptions += 1;
        self.interrupted = None;
        self.halted = None;
        self.ending = None;
        self.throttling.now = false;
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

    /// Nothing of the run is left that could go on, and it did not say so itself.
    pub fn died(&mut self) {
        self.is_dead = true;
        self.end_jobs(self.latest_at_ms);
    }
}
