//! Why a pool of workers that adapts has now another size.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was measured before the change, over the time since the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "because", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum PoolReason {
    /// All workers are at it, more work waits, and the machine has room for it. In percent of one
    /// processor, `None` where it is not measured: what was idle, over all processors added up, and what
    /// a gate took, beside little of which it does not matter what is idle.
    WorkWaits { idle_percent: Option<u32>, gate_percent: Option<u32> },
    /// lexpr and its gates hold more memory than they should.
    MemoryTight { used_bytes: u64, threshold_bytes: u64 },
    /// Percent of the time in which something that could run waited for a processor.
    CpuPressure { percent: u32 },
    /// Percent of the time in which nothing could go on for waiting for a disk.
    IoPressure { percent: u32 },
    /// More workers got hardly more done: so many percent.
    NoGain { percent: u32 },
}

impl PoolReason {
    /// All values of [`PoolReason::label`].
    pub const LABELS: [&'static str; 5] = ["work_waits", "memory_tight", "cpu_pressure", "io_pressure", "no_gain"];

    /// Its name as a label of metrics has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::WorkWaits { .. } => Self::LABELS[0],
            Self::MemoryTight { .. } => Self::LABELS[1],
            Self::CpuPressure { .. } => Self::LABELS[2],
            Self::IoPressure { .. } => Self::LABELS[3],
            Self::NoGain { .. } => Self::LABELS[4],
        }
    }
}

/// As a person is told, with the measurement but for amounts of memory.
impl fmt::Display for PoolReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkWaits { .. } => f.write_str("work waits and the machine has room"),
            Self::MemoryTight { .. } => f.write_str("memory is tight"),
            Self::CpuPressure { percent } => write!(f, "gates waited for a processor {percent} % of the time"),
            Self::IoPressure { percent } => write!(f, "everything waited for the disk {percent} % of the time"),
            Self::NoGain { percent: 0 } => f.write_str("more workers got no more done"),
            Self::NoGain { percent } => write!(f, "more workers got only {percent} % more done"),
        }
    }
}
