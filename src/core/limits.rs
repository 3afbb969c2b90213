//! The numbers that bound a run, taken from the plan's policy and the command line.

use std::sync::Arc;

use super::groups::Groups;
use crate::plan::{Landing, Spend};
pub use crate::vocabulary::outcomes::Outcomes;

/// What a strategy may use, and how it should use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub landing: Landing,
    /// Slots that may be in work at once; at least 1.
    pub max_workers: u32,
    /// Items that land on one apex; at least 1.
    pub batch_size: u32,
    /// A failed required gate ends the judging of its composite.
    pub fail_fast: bool,
    /// A failure that would eject an item is run once more first.
    pub second_opinion: bool,
    pub spend: Spend,
    pub max_rebases: u32,
    /// How items fared in earlier runs; what lands does not hang on it, only how many are gated together.
    pub history: Outcomes,
    /// Which items are gated together on the way to an apex; `None`: each by itself.
    pub groups: Option<Arc<Groups>>,
}
