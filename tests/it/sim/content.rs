//! What is in a tree, and what the world remembers of gates and landings.

use std::sync::Arc;

use lexpr::plan::graph::ItemIx;
use lexpr::vocabulary::names::{CommitId, DefinitionDigest, JobId, TreeId, VerdictKey};

/// What is in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// One bit an item, by canonical position.
    items: Vec<u64>,
    /// One bit for each time that somebody else moved the target.
    pub moves: u64,
}

impl Content {
    pub fn of(items: usize) -> Self {
        Self { items: vec![0; items.div_ceil(64)], moves: 0 }
    }

    pub fn has(&self, ix: ItemIx) -> bool {
        self.items[ix.get() / 64] >> (ix.get() % 64) & 1 == 1
    }

    pub fn with(&self, ix: ItemIx) -> Self {
        let mut content = self.clone();
        content.items[ix.get() / 64] |= 1 << (ix.get() % 64);
        content
    }

    pub fn without(&self, ix: ItemIx) -> Self {
        let mut content = self.clone();
        content.items[ix.get() / 64] &= !(1 << (ix.get() % 64));
        content
    }

    pub fn tree(&self) -> TreeId {
        let words: Vec<u8> = self.items.iter().chain([&self.moves]).flat_map(|word| word.to_le_bytes()).collect();
        TreeId::from_bytes(&super::twenty_bytes(&[b"tree", &words])).unwrap()
    }
}

/// One ended attempt of a gate, as the world saw it.
#[derive(Clone, Debug)]
pub struct GateRecord {
    pub gate: String,
    pub definition: DefinitionDigest,
    pub key: VerdictKey,
    pub what: Arc<Content>,
    pub passed: bool,
    pub failed: bool,
    pub clean_slot: bool,
    pub job: JobId,
    /// It was rate limited, which says nothing.
    pub refused: bool,
    /// Its run came to a verdict with it.
    pub judged: bool,
    /// lexpr ended it.
    pub stopped: bool,
    /// The run was killed before it had recorded it.
    pub lost: bool,
}

/// One move of the target by the run.
#[derive(Clone, Debug)]
pub struct LandingRecord {
    pub to: CommitId,
    pub before: Arc<Content>,
    pub after: Arc<Content>,
    /// How many gate records there were by then.
    pub gate_records: usize,
}
