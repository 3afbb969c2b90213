//! What a rehearsal shows of verdicts that earlier runs left: which gates need not run on which items.

use std::collections::{HashMap, HashSet};

use crate::core::judge::{Surroundings, whole_tree};
use crate::plan::graph::{Graph, ItemIx};
use crate::vocabulary::event::{Composed, CompositePurpose, Event};
use crate::vocabulary::names::{CommitId, DefinitionDigest, SubjectDigest, TreeId, VerdictKey};
use crate::vocabulary::verdict;

#[derive(Default)]
pub(super) struct Known {
    /// How many there are.
    pub verdicts: u32,
    /// Gates that passed on the base with exactly these items, ascending.
    pub passes: Vec<(Vec<ItemIx>, DefinitionDigest)>,
}

impl Known {
    pub(super) fn of(events: &[Event], graph: &Graph, surroundings: &Surroundings) -> Self {
        let reused: HashSet<VerdictKey> = events
            .iter()
            .filter_map(|event| match event {
                Event::VerdictReused { key, .. } => Some(*key),
                _ => None,
            })
            .collect();
        let mut known = Self { verdicts: u32::try_from(reused.len()).unwrap_or(u32::MAX), passes: Vec::new() };
        if reused.is_empty() {
            return known;
        }
        let seen: HashMap<(TreeId, DefinitionDigest), SubjectDigest> = events
            .iter()
            .filter_map(|event| match event {
                Event::InputsDigested { tree, definition, subject } => Some(((*tree, *definition), *subject)),
                _ => None,
            })
            .collect();
        for (tree, items) in trees(events, graph) {
            // Of items that share a gate one has it.
            let mut told = HashSet::new();
            for gate in items.iter().flat_map(|ix| graph.gates(*ix)) {
                let subject = match gate.inputs {
                    None => Some(whole_tree(tree)),
                    Some(_) => seen.get(&(tree, gate.definition)).copied(),
                };
                let key = subject.map(|subject| verdict::key(subject, gate.definition, None, surroundings));
                if !gate.context && key.is_some_and(|key| reused.contains(&key)) && told.insert(gate.definition) {
                    known.passes.push((items.clone(), gate.definition));
                }
            }
        }
        known
    }
}

/// The trees that were made, each with the items that it has beyond the base, ascending.
fn trees(events: &[Event], graph: &Graph) -> Vec<(TreeId, Vec<ItemIx>)> {
    let mut at: HashMap<CommitId, Vec<ItemIx>> = HashMap::new();
    let mut trees = Vec::new();
    let mut landed_before: HashSet<ItemIx> = HashSet::new();
    for event in events {
        match event {
            Event::RunStarted(run) => {
                at.insert(run.base, Vec::new());
                let before = run.items.iter().filter(|item| item.already_landed.is_some());
                landed_before.extend(before.filter_map(|item| graph.find(&item.name)));
            }
            Event::Composed(composed) => {
                let (Some(base), Some(more)) = (at.get(&composed.base), added(composed, graph)) else { continue };
                let mut items: Vec<ItemIx> = base.iter().copied().chain(more).collect();
                items.retain(|ix| !landed_before.contains(ix));
                items.sort_unstable();
                items.dedup();
                trees.push((composed.tree, items.clone()));
                at.insert(composed.commit, items);
            }
            _ => {}
        }
    }
    trees
}

/// The items that a composite has beyond its base; `None` where they do not matter.
fn added(composed: &Composed, graph: &Graph) -> Option<Vec<ItemIx>> {
    match &composed.purpose {
        CompositePurpose::Cone { item } if composed.set_aside.is_empty() => {
            let ix = graph.find(item)?;
            Some([graph.closure(ix), vec![ix]].concat())
        }
        CompositePurpose::Train { item } if composed.set_aside.is_empty() => Some(vec![graph.find(item)?]),
        CompositePurpose::Cone { .. } | CompositePurpose::Train { .. } | CompositePurpose::Without { .. } => None,
        CompositePurpose::Group { .. } | CompositePurpose::Apex { .. } => {
            Some(composed.steps.iter().filter_map(|step| graph.find(&step.item)).collect())
        }
    }
}
