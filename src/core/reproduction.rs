//! What a gate of an item was judged on in a run, from the run's events: what to merge onto what, so that the same
//! commit can be made again. Merging is somebody else's work.

use std::collections::{BTreeSet, HashSet};

use crate::plan::Gate;
use crate::plan::graph::{Graph, ItemIx};
use crate::vocabulary::event::{Composed, CompositePurpose, Event, JobPurpose, Reason, Recorded, RunStarted};
use crate::vocabulary::names::{ApexId, CommitId, GateName, ItemName, VerdictKey};

/// A composite, as what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub base: CommitId,
    /// In canonical order. Empty where the base holds all of it.
    pub items: Vec<ItemIx>,
    /// What the run made of them; `None` where it made nothing.
    pub commit: Option<CommitId>,
}

/// The events of a run of the plan that `graph` is of.
#[derive(Clone, Copy, Debug)]
pub struct Story<'a> {
    pub graph: &'a Graph,
    pub started: &'a RunStarted,
    pub events: &'a [Recorded],
}

impl Story<'_> {
    /// What `gate` was judged on for the item: where the item failed on what was about to land, or the gate runs
    /// there alone, that as far as the item; else its own cone or its place in the train; else the last composite of
    /// several that it was in. Where the run made none for it, or let it go before it gated any, its cone on what it
    /// would have landed on.
    pub fn judged_on(&self, item: ItemIx, gate: &Gate) -> Recipe {
        let name = self.graph.name(item);
        let of_several = |apex: Option<ApexId>| {
            self.composed().find_map(|composed| match &composed.purpose {
                CompositePurpose::Apex { apex: this } if apex.is_none_or(|apex| apex == *this) => {
                    self.as_far_as(composed, name)
                }
                CompositePurpose::Group { .. } if apex.is_none() => self.as_far_as(composed, name),
                _ => None,
            })
        };
        let own = || {
            self.composed().find_map(|composed| match &composed.purpose {
                CompositePurpose::Cone { item: whose } if whose == name => Some(Recipe {
                    base: composed.base,
                    items: cone(self.graph, item, &self.in_base(composed.base)),
                    commit: Some(composed.commit),
                }),
                CompositePurpose::Train { item: whose } if whose == name => {
                    Some(Recipe { base: composed.base, items: vec![item], commit: Some(composed.commit) })
                }
                _ => None,
            })
        };
        if let Some((_, key)) = self.let_go(name) {
            return self.suspected_on(name, key).or_else(own).unwrap_or_else(|| self.alone(item));
        }
        let on_apex = self.ejected_on(name).and_then(|apex| of_several(Some(apex)));
        let apex_alone = || if gate.at.cone { None } else { of_several(None) };
        on_apex.or_else(apex_alone).or_else(own).or_else(|| of_several(None)).unwrap_or_else(|| self.alone(item))
    }

    /// The item with what it depends on, on the tip that it was last to land on, or where the run began. The run made
    /// no such commit.
    fn alone(&self, item: ItemIx) -> Recipe {
        let name = self.graph.name(item);
        let on_apex = self.composed().find(|composed| self.as_far_as(composed, name).is_some());
        let base = on_apex.map_or(self.started.base, |composed| composed.base);
        Recipe { base, items: cone(self.graph, item, &self.in_base(base)), commit: None }
    }

    /// The gate by which the item is not judged, as it fails on the target, and the key of the failure that this began
    /// with, which may have been of another item.
    pub fn let_go(&self, name: &ItemName) -> Option<(&GateName, VerdictKey)> {
        let decided = self.events.iter().rev().find_map(|recorded| match &recorded.event {
            Event::ItemDecided(decided) if decided.item == *name => Some(decided),
            _ => None,
        })?;
        match &decided.reason {
            Some(Reason::RedOnTarget { gate, key }) => Some((gate, *key)),
            _ => None,
        }
    }

    /// What was to land as far as the item, where a gate with this key ran on just that.
    fn suspected_on(&self, name: &ItemName, key: VerdictKey) -> Option<Recipe> {
        self.events.iter().rev().find_map(|recorded| {
            let Event::JobStarted(job) = &recorded.event else { return None };
            let JobPurpose::Apex { apex, members } = &job.purpose else { return None };
            if !job.gates.iter().any(|gate| gate.key == key) {
                return None;
            }
            let is_it = |composed: &&Composed| composed.purpose == CompositePurpose::Apex { apex: *apex };
            let composed = self.composed().find(is_it)?;
            let last = composed.steps.get((*members as usize).checked_sub(1)?)?;
            if last.item == *name { self.as_far_as(composed, name) } else { None }
        })
    }

    /// How the run made a commit that others were merged onto; `None` where it did not.
    pub fn making(&self, commit: CommitId) -> Option<Recipe> {
        self.composed().filter(|composed| composed.base != commit).find_map(|composed| match &composed.purpose {
            CompositePurpose::Train { item } if composed.commit == commit => {
                Some(Recipe { base: composed.base, items: vec![self.graph.find(item)?], commit: Some(commit) })
            }
            CompositePurpose::Apex { .. } => {
                let last = composed.steps.iter().rfind(|step| step.commit == commit)?;
                self.as_far_as(composed, &last.item)
            }
            _ => None,
        })
    }

    /// The newest first. What was made again to say by whom it is overridden was not judged any more.
    fn composed(&self) -> impl Iterator<Item = &Composed> {
        let composed = self.events.iter().rev().filter_map(|recorded| match &recorded.event {
            Event::Composed(composed) => Some((recorded.seq, &**composed)),
            _ => None,
        });
        composed.filter(|(seq, composed)| !self.is_of_an_override(*seq, composed)).map(|(_, composed)| composed)
    }

    fn is_of_an_override(&self, seq: u64, composed: &Composed) -> bool {
        let CompositePurpose::Apex { apex } = &composed.purpose else { return false };
        self.started.overrides.is_some()
            && self
                .events
                .iter()
                .take_while(|recorded| recorded.seq < seq)
                .any(|recorded| matches!(&recorded.event, Event::Overridden(overridden) if overridden.apex == *apex))
    }

    /// The apex on which the item failed a gate that it had passed by itself.
    fn ejected_on(&self, name: &ItemName) -> Option<ApexId> {
        self.events.iter().rev().find_map(|recorded| match &recorded.event {
            Event::ItemDecided(decided) if decided.item == *name => match decided.reason {
                Some(Reason::GateFailed { apex, .. }) => apex,
                _ => None,
            },
            _ => None,
        })
    }

    /// The prefix of a composite of several that ends with this item; `None` where it is not in it.
    fn as_far_as(&self, composed: &Composed, name: &ItemName) -> Option<Recipe> {
        let last = composed.steps.iter().position(|step| step.item == *name)?;
        let items = composed.steps[..=last].iter().map(|step| self.graph.find(&step.item));
        Some(Recipe {
            base: composed.base,
            items: items.collect::<Option<_>>()?,
            commit: Some(composed.steps[last].commit),
        })
    }

    /// The items that the target had when it was at `base`, the last time that it was.
    fn in_base(&self, base: CommitId) -> HashSet<ItemIx> {
        let before = self.started.items.iter().filter(|item| item.already_landed.is_some());
        let mut landed: HashSet<ItemIx> = before.filter_map(|item| self.graph.find(&item.name)).collect();
        let mut there = landed.clone();
        for recorded in self.events {
            let to = match &recorded.event {
                Event::Landed(event) => {
                    landed.extend(event.items.iter().filter_map(|item| self.graph.find(item)));
                    event.to
                }
                Event::TargetMoved { to, landed: by_others, .. } => {
                    landed.extend(by_others.iter().filter_map(|landed| self.graph.find(&landed.item)));
                    *to
                }
                _ => continue,
            };
            if to == base {
                there.clone_from(&landed);
            }
        }
        there
    }
}

/// The item with what it depends on and `in_base` lacks, ascending. An item in base brings nothing of its own:
/// whatever it depends on, it is there.
pub fn cone(graph: &Graph, item: ItemIx, in_base: &HashSet<ItemIx>) -> Vec<ItemIx> {
    let mut seen = BTreeSet::new();
    let mut open = vec![item];
    while let Some(ix) = open.pop() {
        if !in_base.contains(&ix) && seen.insert(ix) {
            open.extend(graph.deps(ix));
        }
    }
    seen.into_iter().collect()
}
