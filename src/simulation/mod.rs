//! A run without a repository: the real strategies and the real loop, in virtual time, on items of which
//! it is known from the beginning who is broken and who clashes. Beside them the ways in which other
//! queues work, on the same items, so that what each of them spends can be compared. Starts no process and
//! reads no file.

pub mod beforehand;
pub mod contest;
pub mod figures;
mod hands;
pub mod peers;
pub mod random;
pub mod run;
pub mod time;
pub mod trace;
pub mod world;

/// On what a simulated run runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Gates that run at once at most; at least 1.
    pub workers: usize,
    /// What a run of the one gate takes that all items share.
    pub gate_ms: u64,
    /// How far runs of one gate lie apart: their standard deviation, as a share of their mean. They are
    /// log-normally distributed, as times are that many small things lengthen; 0: all take the mean.
    pub spread: f64,
    /// A failure for which an item would be ejected is run once more on the same tree first.
    pub second_opinion: bool,
    /// Nothing is known of earlier runs: how often items fail has to be learned.
    pub is_first_run: bool,
}
