//! What is known of a plan's items before any gate runs: what landed before, which of them do not merge, what they
//! change, and which verdicts earlier runs left. Without it all merge, and each tree is new.

use std::collections::{BTreeSet, HashMap};

use crate::plan::graph::ItemIx;
use crate::vocabulary::names::DefinitionDigest;

#[derive(Clone, Debug, Default)]
pub struct Beforehand {
    /// In the target: neither merged nor gated.
    pub landed: BTreeSet<ItemIx>,
    /// They do not merge onto the base, whatever else is there.
    pub apart: BTreeSet<ItemIx>,
    /// For each item those that it does not merge with.
    pub clashes: HashMap<ItemIx, Vec<ItemIx>>,
    /// For lists of a gate's `inputs`: the items that change what these match. For other lists any item may.
    pub touched: Vec<(Vec<String>, BTreeSet<ItemIx>)>,
    /// Gates that passed on the base with exactly these items, ascending.
    pub passes: Vec<(Vec<ItemIx>, DefinitionDigest)>,
}

impl Beforehand {
    /// Whether an item does not merge onto what `has` says is there; with which other one, where it is one.
    pub(super) fn meets(&self, item: ItemIx, has: impl Fn(usize) -> bool) -> Option<Option<ItemIx>> {
        if self.apart.contains(&item) {
            return Some(None);
        }
        let with = self.clashes.get(&item)?.iter().find(|other| has(other.get()))?;
        Some(Some(*with))
    }

    /// Whether an item changes what a gate with these `inputs` looks at.
    pub(super) fn touches(&self, item: ItemIx, inputs: Option<&[String]>) -> bool {
        self.touched.iter().find(|(globs, _)| Some(globs.as_slice()) == inputs).is_none_or(|(_, by)| by.contains(&item))
    }

    /// Whether a gate has passed with the item there.
    pub(super) fn has_passed(&self, item: ItemIx, gate: DefinitionDigest) -> bool {
        self.passes.iter().any(|(items, passed)| *passed == gate && items.binary_search(&item).is_ok())
    }
}
