//! How many workers were at work, and for how long together.

/// How many jobs ran at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool {
    pub active: u32,
    pub peak: u32,
    /// The sum over all jobs of how long they held a worker.
    pub busy_ms: u64,
    /// When that was last reckoned.
    pub(super) changed_at_ms: u64,
}

impl Pool {
    /// So many more, or fewer, are at work from now on.
    pub(super) fn count(&mut self, at: u64, change: i32) {
        let busy_ms = u64::from(self.active).saturating_mul(at.saturating_sub(self.changed_at_ms));
        self.busy_ms = self.busy_ms.saturating_add(busy_ms);
        self.changed_at_ms = at;
        self.active = self.active.saturating_add_signed(change);
        self.peak = self.peak.max(self.active);
    }

    /// Those at work were cut off at one time; a new process begins at another.
    pub(super) fn begin_again(&mut self, cut_off_at: u64, at: u64) {
        self.count(cut_off_at, 0);
        self.active = 0;
        self.changed_at_ms = at;
    }
}
