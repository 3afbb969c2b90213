//! How far each item of a run has come, counted by state.

use std::collections::HashMap;

use crate::vocabulary::event::{JobPurpose, RunStarted, Step};
use crate::vocabulary::names::{GroupId, ItemName};

/// What an item waits for or has come to: the values of the label `state`. They sum to the items
/// of the run.
pub(super) const QUEUE_STATES: [&str; 5] = ["waiting", "eligible", "running", "passed", "done"];

/// The items of a run.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: HashMap<ItemName, Tracked>,
    dependents: HashMap<ItemName, Vec<ItemName>>,
    /// The items of each group that could be merged, in canonical order.
    groups: HashMap<GroupId, Vec<ItemName>>,
}

#[derive(Debug)]
struct Tracked {
    state: State,
    /// Dependencies that have not passed.
    waits_for: usize,
    running: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Undecided,
    Passed,
    Done,
}

impl Queue {
    /// Takes in the items of a run that begins.
    pub(super) fn line_up(&mut self, run: &RunStarted) {
        for item in &run.items {
            let state = if item.already_landed.is_some() { State::Done } else { State::Undecided };
            let tracked = Tracked { state, waits_for: item.deps.len(), running: 0 };
            self.items.insert(item.name.clone(), tracked);
            for dep in &item.deps {
                self.dependents.entry(dep.clone()).or_default().push(item.name.clone());
            }
        }
        for item in run.items.iter().filter(|item| item.already_landed.is_some()) {
            self.release_dependents(&item.name);
        }
    }

    /// What stands together in a group is known.
    pub(super) fn group_made(&mut self, group: GroupId, steps: &[Step]) {
        self.groups.insert(group, steps.iter().map(|step| step.item.clone()).collect());
    }

    /// A job on its way to verdicts on items begins.
    pub(super) fn job_started(&mut self, purpose: &JobPurpose) {
        self.change_running(purpose, |running| running + 1);
    }

    pub(super) fn job_finished(&mut self, purpose: &JobPurpose) {
        self.change_running(purpose, |running| running.saturating_sub(1));
    }

    fn change_running(&mut self, purpose: &JobPurpose, change: impl Fn(u32) -> u32) {
        let gated = match purpose {
            JobPurpose::Cone { item } | JobPurpose::Train { item, .. } => std::slice::from_ref(item),
            JobPurpose::Group { group, members } => {
                let items = self.groups.get(group).map_or(&[][..], Vec::as_slice);
                &items[..items.len().min(*members as usize)]
            }
            JobPurpose::Apex { .. } | JobPurpose::SecondOpinion { .. } | JobPurpose::Blame { .. } => &[],
        };
        for item in gated {
            if let Some(item) = self.items.get_mut(item) {
                item.running = change(item.running);
            }
        }
    }

    /// Jobs went with the process that had them.
    pub(super) fn resumed(&mut self) {
        self.items.values_mut().for_each(|item| item.running = 0);
    }

    pub(super) fn passed(&mut self, item: &ItemName) {
        if let Some(tracked) = self.items.get_mut(item)
            && tracked.state == State::Undecided
        {
            tracked.state = State::Passed;
            self.release_dependents(item);
        }
    }

    /// False where it was done already.
    pub(super) fn done(&mut self, item: &ItemName) -> bool {
        let Some(tracked) = self.items.get_mut(item) else { return false };
        std::mem::replace(&mut tracked.state, State::Done) != State::Done
    }

    /// How many items there are of each of [`QUEUE_STATES`].
    pub(super) fn counts(&self) -> [i64; QUEUE_STATES.len()] {
        let mut counts = [0; QUEUE_STATES.len()];
        for item in self.items.values() {
            counts[item.queue_state()] += 1;
        }
        counts
    }

    fn release_dependents(&mut self, item: &ItemName) {
        for dependent in self.dependents.remove(item).into_iter().flatten() {
            if let Some(tracked) = self.items.get_mut(&dependent) {
                tracked.waits_for = tracked.waits_for.saturating_sub(1);
            }
        }
    }
}

impl Tracked {
    /// A position in [`QUEUE_STATES`].
    fn queue_state(&self) -> usize {
        match self.state {
            State::Done => 4,
            State::Passed => 3,
            State::Undecided if self.running > 0 => 2,
            State::Undecided if self.waits_for == 0 => 1,
            State::Undecided => 0,
        }
    }
}
