//! Groups under way: eligible items that are gated together on one composite. A group gives passes and
//! nothing else; whoever may be to blame for a refusal leaves it and is judged alone, on its own cone.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::{ImpossibleTransition, Phase, RunState, Standpoint, StartRank};
use crate::core::judge::{self, Keys, Wanted};
use crate::plan::graph::ItemIx;
use crate::vocabulary::event::{Composed, JobPurpose};
use crate::vocabulary::names::{CommitId, GroupId, ItemName};

/// Items that are gated together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub id: GroupId,
    /// What its composite stands on; the run's base when it was formed.
    pub base: CommitId,
    /// In canonical order.
    pub items: Vec<ItemIx>,
    pub made: Option<MadeGroup>,
    /// Of the first to start among its items.
    pub rank: StartRank,
}

/// A group once its composite is made: base, all that its items depend on, and the items.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeGroup {
    /// The items that could be merged, in canonical order, with the composite up to each: all it depends on
    /// stands before it.
    pub members: Vec<(ItemIx, Standpoint)>,
    /// Each with the position of the first member whose composite needs it.
    pub gates: Arc<[(usize, Wanted)]>,
    /// Of the composite up to each member.
    pub keys: Vec<Keys>,
}

impl MadeGroup {
    /// The gates of the composite of the first `members`.
    pub fn gates_of(&self, members: usize) -> impl Iterator<Item = &Wanted> + Clone {
        judge::needed_by_first(&self.gates, members)
    }
}

/// Questions.
impl RunState {
    /// In start order.
    pub fn groups(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by_key(|group| (group.rank, group.id));
        groups
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    pub fn next_group(&self) -> GroupId {
        GroupId(self.last_group.saturating_add(1))
    }

    /// Whether an item is eligible, in no group, and without a cone on the base.
    pub fn is_fresh(&self, ix: ItemIx) -> bool {
        self.fresh.contains(&(self.start_rank(ix), ix))
    }

    /// Whether an item was singled out of its group, to be judged on its own cone.
    pub fn is_singled_out(&self, ix: ItemIx) -> bool {
        self.items[ix.get()].singled_out
    }
}

/// Transitions.
impl RunState {
    pub(super) fn group_formed(
        &mut self,
        id: GroupId,
        base: CommitId,
        items: &[ItemName],
    ) -> Result<(), ImpossibleTransition> {
        if base != self.base.commit {
            return Err(ImpossibleTransition::Target { at: self.base.commit, expected: base });
        }
        let items = items.iter().map(|name| self.ix(name)).collect::<Result<Vec<_>, _>>()?;
        let mut first = None;
        for &ix in &items {
            let key = (self.start_rank(ix), ix);
            self.expect_phase(ix, "one of a group", |phase| *phase == Phase::Eligible)?;
            if !self.fresh.remove(&key) {
                let item = self.graph.name(ix).clone();
                return Err(ImpossibleTransition::Item { item, from: "under way", to: "one of a group" });
            }
            first = Some(first.map_or(key.0, |first: StartRank| first.min(key.0)));
        }
        let Some(rank) = first else { return Err(ImpossibleTransition::Group(id)) };
        self.last_group = id.0;
        self.groups.insert(id, Group { id, base, items, made: None, rank });
        Ok(())
    }

    /// What a group's composite is; of no use where the group is gone.
    pub(super) fn group_composed(&mut self, id: GroupId, composed: &Composed) -> Result<(), ImpossibleTransition> {
        let Some(group) = self.groups.get(&id).filter(|group| group.base == composed.base) else { return Ok(()) };
        let (mut members, mut gates) = (Vec::new(), Vec::<(usize, Wanted)>::new());
        let mut seen = std::collections::HashMap::new();
        for step in &composed.steps {
            let ix = self.ix(&step.item)?;
            let is_member = group.items.binary_search(&ix).is_ok();
            // A dependency's gates come first with the member behind it; its optional ones have been run.
            for wanted in judge::wanted_by(&self.graph, ix) {
                if !wanted.gate.at.cone || !(is_member || wanted.required) {
                    continue;
                }
                match seen.entry(wanted.identity()) {
                    Entry::Vacant(entry) => {
                        entry.insert(gates.len());
                        gates.push((members.len(), wanted));
                    }
                    // Required by one of the items means required.
                    Entry::Occupied(entry) => gates[*entry.get()].1.required |= wanted.required,
                }
            }
            if is_member {
                members.push((ix, Standpoint { commit: step.commit, tree: step.tree }));
            }
        }
        let keys = vec![Keys::default(); members.len()];
        let made = MadeGroup { members, gates: gates.into(), keys };
        if let Some(group) = self.groups.get_mut(&id) {
            group.made = Some(made);
        }
        Ok(())
    }

    /// Where the item was a part of what was gated, the others are to be gated without it.
    pub(super) fn singled_out(&mut self, id: Option<GroupId>, item: &ItemName) -> Result<(), ImpossibleTransition> {
        let ix = self.ix(item)?;
        self.expect_phase(ix, "singled out", |phase| *phase == Phase::Eligible)?;
        self.items[ix.get()].singled_out = true;
        let Some(id) = id else { return Ok(()) };
        if self.last_group < id.0 {
            return Err(ImpossibleTransition::Group(id));
        }
        let Some(group) = self.groups.get_mut(&id) else { return Ok(()) };
        let Ok(at) = group.items.binary_search(&ix) else { return Ok(()) };
        let was_merged = group.made.as_ref().is_some_and(|made| made.members.iter().any(|(member, _)| *member == ix));
        if was_merged {
            self.dissolve(id);
        } else {
            group.items.remove(at);
            if group.items.is_empty() {
                self.groups.remove(&id);
            }
            self.fresh.insert((self.start_rank(ix), ix));
        }
        Ok(())
    }

    /// Those of a group that have not come to their end are eligible like any other.
    fn dissolve(&mut self, id: GroupId) {
        let Some(group) = self.groups.remove(&id) else { return };
        for ix in group.items {
            if *self.phase(ix) == Phase::Eligible {
                self.fresh.insert((self.start_rank(ix), ix));
            }
        }
    }

    /// An item has passed: its group goes with the last one. Where it does not land, what it was gated with
    /// is gated without it.
    pub(super) fn leave_group(&mut self, ix: ItemIx, passed: bool) {
        let Some(id) = self.groups.values().find(|group| group.items.binary_search(&ix).is_ok()).map(|group| group.id)
        else {
            return;
        };
        let is_last = |group: &Group| group.items.iter().all(|other| *self.phase(*other) != Phase::Eligible);
        if !passed || self.groups.get(&id).is_some_and(is_last) {
            self.dissolve(id);
        }
    }

    /// What has begun on the base that the target has left ends there; the others take the new one.
    pub(super) fn regroup(&mut self) {
        let in_work = |id: &GroupId| {
            let mut jobs = self.jobs.values();
            jobs.any(|job| matches!(&job.purpose, JobPurpose::Group { group, .. } if group == id))
        };
        let idle: Vec<GroupId> = self.groups.keys().filter(|id| !in_work(id)).copied().collect();
        for id in idle {
            self.dissolve(id);
        }
    }

    /// A new process has no composites, and makes none on a base that the run has left.
    pub(super) fn resume_groups(&mut self) {
        let base = self.base.commit;
        let left: Vec<GroupId> =
            self.groups.values().filter(|group| group.base != base).map(|group| group.id).collect();
        for id in left {
            self.dissolve(id);
        }
        for group in self.groups.values_mut() {
            group.made = None;
        }
    }
}
