//! Groups: eligible items gated together on one composite, for fewer gate runs than one for each item. A group
//! that passes has passed for all of its items. One that is refused is searched for the first item that breaks
//! it, which is judged on its own cone as if there had been no group, while the others go on without it: so no
//! item fails by a group, and what is charged to it is what the pyramid would charge it with.

use std::collections::HashSet;
use std::sync::Arc;

use super::batch::{group_size, pass_rate, split};
use super::bisect::{Search, search};
use super::{Action, GateAction, Judged, Round};
use crate::core::groups::{Groups, Lane, Share};
use crate::core::judge::{Judgement, Keys, Wanted, judge, wanted_by};
use crate::core::limits::Limits;
use crate::core::state::{Group, MadeGroup, Phase};
use crate::plan::graph::{Graph, ItemIx};
use crate::plan::{GroupSize, Policy, Spend};
use crate::vocabulary::event::{CompositePurpose, Decision, Event, ItemDecided, JobPurpose, SingledOutFor};

/// Groups that a lane is long, where the size is chosen: what is left of a refused group then mostly fills up
/// again, and lanes stay short enough to end at about the same time.
const GROUPS_PER_LANE: usize = 4;

/// For the shortest run: a lane whose group is refused asks one question at a time, and another has work then.
const LANES_PER_WORKER: usize = 2;

/// So many next to each other hardly ever fail each by itself.
const ROW_OF_SUSPECTS: usize = 3;

/// Fewer items together save no time.
const SHORTEST_LANE: usize = 3;

/// Which items the plan wants gated together; `None` where each is gated by itself.
///
/// As many together as are about as likely to pass as not cost the fewest runs; for the shortest run, only as
/// many as leave every worker something to do.
pub fn divide(graph: &Graph, size: GroupSize, limits: &Limits) -> Option<Arc<Groups>> {
    let workers = limits.width_at_first().max(1) as usize;
    let groups = match size {
        GroupSize::Fixed(1) => return None,
        // The same groups on any number of workers.
        GroupSize::Fixed(size) => Groups::divide(graph, |items| {
            let group_size = size as usize;
            Share { lanes: items.div_ceil(group_size.max(1)), group_size }
        }),
        GroupSize::Auto => {
            let group_size = group_size(pass_rate(limits.history));
            Groups::divide(graph, |items| {
                let lanes = items.div_ceil(group_size * GROUPS_PER_LANE);
                let for_all_workers = (workers * LANES_PER_WORKER).min(items / SHORTEST_LANE);
                let lanes = if limits.spend == Spend::Time { lanes.max(for_all_workers) } else { lanes };
                Share { lanes, group_size }
            })
        }
    };
    Some(Arc::new(groups))
}

impl Round<'_> {
    /// Forms the next group of an item's lane: the first that nothing is known of. All of a lane become eligible
    /// together, so that who that is hangs on verdicts alone and not on who was first. True where the item is to
    /// be judged alone instead.
    pub(super) fn group_or_alone(
        &mut self,
        groups: &Groups,
        busy: &HashSet<usize>,
        ix: ItemIx,
        policy: &Policy,
    ) -> bool {
        if self.state.is_singled_out(ix) {
            return true;
        }
        let (number, lane) = groups.lane(ix);
        if busy.contains(&number) {
            return false;
        }
        let is_open = |other: &ItemIx| self.state.is_fresh(*other) && !self.state.is_singled_out(*other);
        let items: Vec<ItemIx> = lane.items.iter().copied().filter(is_open).take(lane.group_size).collect();
        if items == [ix] {
            return true;
        }
        if self.follows_a_row_of_suspects(lane, items.first()) {
            for ix in items {
                self.single_out(None, ix, SingledOutFor::Neighbours);
            }
            return false;
        }
        let blocked = items.iter().filter(|other| self.is_blocked_by(policy, **other)).count();
        if blocked == 0 {
            let items = items.iter().map(|other| self.state.graph().name(*other).clone()).collect();
            let base = self.state.base().commit;
            self.record(Event::GroupFormed { group: self.state.next_group(), base, items });
        }
        false
    }

    /// Lanes in which a group is under way.
    pub(super) fn busy_lanes(&self, groups: &Groups) -> HashSet<usize> {
        let under_way = self.state.groups();
        under_way.iter().flat_map(|group| &group.items).map(|ix| groups.lane(*ix).0).collect()
    }

    /// Where one after another was singled out the target itself may be red, and a search is in vain.
    fn follows_a_row_of_suspects(&self, lane: &Lane, first: Option<&ItemIx>) -> bool {
        let before = first.and_then(|first| lane.items.binary_search(first).ok()).unwrap_or(0);
        let row = lane.items[..before].iter().rev().take(ROW_OF_SUSPECTS);
        before >= ROW_OF_SUSPECTS && row.copied().all(|ix| self.state.is_singled_out(ix))
    }

    pub(super) fn judge_group(&mut self, group: &Group) {
        let Some(made) = &group.made else { return self.compose_group(group) };
        let merged = |ix: &ItemIx| made.members.iter().any(|(member, _)| member == ix);
        let aside: Vec<ItemIx> = group.items.iter().copied().filter(|ix| !merged(ix)).collect();
        if !aside.is_empty() {
            for ix in aside {
                self.single_out(Some(group), ix, SingledOutFor::Conflict);
            }
            return;
        }
        match self.search_group(group, made, 1) {
            Search::Passed => self.pass_first(group, made, made.members.len()),
            Search::Probe(prefixes) => {
                for prefix in prefixes {
                    self.probe_group(group, made, prefix);
                }
            }
            Search::Suspect { passing } => {
                let (suspect, at) = made.members[passing];
                self.pass_first(group, made, passing);
                match self.judge_at(&made.keys[passing], made.gates_of(passing + 1), at.tree, group.base) {
                    Some(Judgement::Failed(gate)) => {
                        let why = SingledOutFor::Gate { gate: gate.gate.name.clone(), key: gate.key };
                        self.single_out(Some(group), suspect, why);
                    }
                    // What cannot be run says nothing of who is to blame.
                    Some(Judgement::Unrunnable(gate, _)) => {
                        for (ix, _) in &made.members[passing..] {
                            self.single_out(
                                Some(group),
                                *ix,
                                SingledOutFor::Infrastructure { gate: gate.gate.name.clone() },
                            );
                        }
                    }
                    Some(Judgement::Passed | Judgement::Open(_)) | None => {}
                }
            }
        }
    }

    /// An answer to what its search waits for is on its way. While earlier runs are asked for one, and composites are made
    /// that have to be gated in any case, nobody looks further ahead.
    pub(super) fn is_being_searched(&self, group: &Group) -> bool {
        let of_it = |purpose: &JobPurpose| matches!(purpose, JobPurpose::Group { group: of, .. } if *of == group.id);
        self.state.jobs().values().any(|job| of_it(&job.purpose))
    }

    pub(super) fn is_something_being_made(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Compose { .. } | Action::Digest { .. }))
    }

    /// What the next answers may ask for, on slots that would stand empty.
    pub(super) fn look_into(&mut self, group: &Group) {
        let Some(made) = group.made.as_ref().filter(|made| !made.members.is_empty()) else { return };
        if self.would_only_wait(made) {
            return;
        }
        self.gate_base(group, made);
        if let Search::Probe(prefixes) = self.search_group(group, made, self.search_width()) {
            for prefix in prefixes {
                self.probe_group(group, made, prefix);
            }
        }
    }

    /// No slot is free for what might be asked of a group, and nothing else would come of asking: no digest, nobody who
    /// waits for a limit, and no want of a slot that is not known.
    fn would_only_wait(&self, made: &MadeGroup) -> bool {
        let is_plain = |wanted: &Wanted| wanted.gate.inputs.is_none() && self.limited.is_out_of(&wanted.gate);
        self.free_slots == 0 && self.lacks_a_slot && made.gates.iter().all(|(_, wanted)| is_plain(wanted))
    }

    /// Whoever is singled out is compared with the base. Of a gate whose `inputs` are the base's own the group itself
    /// says as much.
    fn gate_base(&mut self, group: &Group, made: &MadeGroup) {
        let base = self.state.base();
        let stands_on_base = |ix: &&ItemIx| self.state.cone_dependencies(**ix).is_empty();
        let Some(&first) = group.items.iter().find(stands_on_base).filter(|_| group.base == base.commit) else {
            return;
        };
        let wanted: Vec<Wanted> =
            wanted_by(self.state.graph(), first).filter(|wanted| wanted.required && wanted.gate.at.cone).collect();
        let (on_base, on_group) = (Keys::default(), Keys::default());
        let Some(gates) = self.keyed(&on_base, wanted.iter(), base.tree, base.commit) else { return };
        let Some((_, whole)) = made.members.last() else { return };
        let Some(on_group) = self.keyed(&on_group, wanted.iter(), whole.tree, group.base) else { return };
        let state = self.state;
        let changed = gates.iter().zip(on_group).filter(|(gate, there)| gate.key != there.key);
        let with_standing = changed.map(|(gate, _)| (gate, state.own_standing(&gate.key)));
        if let Judgement::Open(gates) = judge(with_standing, self.limits.fail_fast) {
            let purpose = JobPurpose::Blame { item: self.state.graph().name(first).clone() };
            self.gate(GateAction { purpose, at: base, base: base.commit, gates, clean_slot: false, more: false });
        }
    }

    fn compose_group(&mut self, group: &Group) {
        let mut items: Vec<ItemIx> =
            group.items.iter().flat_map(|ix| self.state.cone_dependencies(*ix)).chain(group.items.clone()).collect();
        items.sort_unstable();
        items.dedup();
        let purpose = CompositePurpose::Group { group: group.id };
        self.actions.push(Action::Compose { purpose, base: group.base, items });
    }

    fn search_group(&self, group: &Group, made: &MadeGroup, width: usize) -> Search {
        let rate = pass_rate(self.limits.history);
        let passes = |prefix: usize| {
            let (_, at) = made.members[prefix - 1];
            match self.judge_at(&made.keys[prefix - 1], made.gates_of(prefix), at.tree, group.base)? {
                Judgement::Passed => Some(true),
                // Whether it can be run there is for each item's own cone to find out.
                Judgement::Failed(_) | Judgement::Unrunnable(..) => Some(false),
                Judgement::Open(_) => None,
            }
        };
        search(made.members.len(), width, &|items| split(items, rate), passes)
    }

    fn probe_group(&mut self, group: &Group, made: &MadeGroup, prefix: usize) {
        let (_, at) = made.members[prefix - 1];
        let purpose = JobPurpose::Group { group: group.id, members: u32::try_from(prefix).unwrap_or(u32::MAX) };
        // Nothing is settled of what a search still asks for.
        let (keys, wanted) = (&made.keys[prefix - 1], made.gates_of(prefix));
        let _: Judged = self.judge_or_gate(keys, wanted, at, group.base, purpose);
    }

    /// Those among the first `count` members that are not told yet.
    fn pass_first(&mut self, group: &Group, made: &MadeGroup, count: usize) {
        let Some((_, at)) = count.checked_sub(1).map(|last| made.members[last]) else { return };
        let gates: Vec<Wanted> = made.gates_of(count).cloned().collect();
        for (ix, _) in &made.members[..count] {
            if *self.state.phase(*ix) == Phase::Eligible {
                self.decide(ItemDecided {
                    item: self.state.graph().name(*ix).clone(),
                    decision: Decision::Passed,
                    reason: None,
                    gates: self.item_verdicts(*ix, Some((&gates, at.tree, group.base))),
                });
            }
        }
    }

    fn single_out(&mut self, group: Option<&Group>, ix: ItemIx, why: SingledOutFor) {
        if *self.state.phase(ix) == Phase::Eligible {
            let item = self.state.graph().name(ix).clone();
            self.record(Event::SingledOut { group: group.map(|group| group.id), item, why });
        }
    }
}
