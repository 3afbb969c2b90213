//! The machine that all peers run on: workers, a clock that jumps from the end of one run to the next, what
//! was asked of which tree, and what has landed. It knows no strategy: who asks for a run says what the tree
//! holds and whether it is in order, and the machine lets the gate lie now and then.

use std::collections::BTreeMap;

use crate::simulation::Setting;
use crate::simulation::figures::Outcome;
use crate::simulation::random::Random;
use crate::simulation::world::World;

/// All items share one gate.
const GATE: u64 = 0;

/// What a run judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The same for the same set of items, in whatever order they came together.
    pub id: u64,
    /// Nothing in it is broken and no two clash.
    pub is_sound: bool,
}

/// One run under way. They sort by when they end, then by when they began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    ends_ms: u64,
    nth: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Gate,
    SecondOpinion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Finished {
    pub ticket: Ticket,
    pub passed: bool,
}

#[derive(Debug)]
pub struct Machine<'world> {
    pub world: &'world World,
    setting: Setting,
    now_ms: u64,
    started: u64,
    /// What each run under way will say, and when it began.
    running: BTreeMap<Ticket, (bool, u64)>,
    /// How often each tree was judged.
    judged: BTreeMap<u64, u64>,
    tip: u64,
    outcome: Outcome,
}

impl<'world> Machine<'world> {
    pub fn new(world: &'world World, setting: &Setting) -> Self {
        Self {
            world,
            setting: Setting { workers: setting.workers.max(1), ..*setting },
            now_ms: 0,
            started: 0,
            running: BTreeMap::new(),
            judged: BTreeMap::new(),
            tip: 0,
            outcome: Outcome { landed_ms: vec![None; world.len()], ..Outcome::default() },
        }
    }

    pub fn workers(&self) -> usize {
        self.setting.workers
    }

    /// Workers that have nothing to do.
    pub fn free(&self) -> usize {
        self.setting.workers - self.running.len()
    }

    pub fn has_second_opinions(&self) -> bool {
        self.setting.second_opinion
    }

    pub fn has_landed(&self, item: usize) -> bool {
        self.outcome.landed_ms[item].is_some()
    }

    /// What has landed; always in order, whatever a peer does.
    pub fn tip(&self) -> Tree {
        Tree { id: self.tip, is_sound: true }
    }

    /// `tree` and one item more, where `has` says what is in it besides what landed.
    pub fn with(&self, tree: Tree, item: usize, has: impl Fn(usize) -> bool) -> Tree {
        let breaks = self.world.breaks(item, |other| self.has_landed(other) || has(other));
        Tree { id: tree.id.wrapping_add(Random::of(&[item as u64]).word()), is_sound: tree.is_sound && !breaks }
    }

    /// A run of the gate. Panics without a free worker: a peer that asks for more than there is would be
    /// compared unfairly.
    pub fn start(&mut self, tree: Tree) -> Ticket {
        self.outcome.gate_runs += 1;
        self.run(tree, Why::Gate)
    }

    /// The same tree once more, before somebody is ejected for its failure.
    pub fn start_second_opinion(&mut self, tree: Tree) -> Ticket {
        self.outcome.second_opinions += 1;
        self.run(tree, Why::SecondOpinion)
    }

    fn run(&mut self, tree: Tree, why: Why) -> Ticket {
        assert!(self.free() > 0, "{why:?} without a free worker");
        let nth = self.judged.entry(tree.id).or_default();
        *nth += 1;
        let passes = tree.is_sound && !self.world.is_flake(GATE, tree.id, *nth);
        let takes_ms = self.world.takes_ms(self.setting.gate_ms, self.setting.spread, GATE, tree.id, *nth);
        let ticket = Ticket { ends_ms: self.now_ms + takes_ms, nth: self.started };
        self.started += 1;
        self.running.insert(ticket, (passes, self.now_ms));
        ticket
    }

    /// Ends a run whose verdict nobody wants any more. What it took until now was spent.
    pub fn stop(&mut self, ticket: Ticket) {
        if let Some((_, began_ms)) = self.running.remove(&ticket) {
            self.outcome.gate_ms += self.now_ms - began_ms;
        }
    }

    /// Goes on to the next moment at which a run ends: all that end then, those first that began first.
    /// Nothing if nothing runs.
    pub fn advance(&mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        while let Some(next) = self.running.first_entry() {
            let ends_ms = next.key().ends_ms;
            if !finished.is_empty() && ends_ms > self.now_ms {
                break;
            }
            self.now_ms = ends_ms;
            let (ticket, (passed, began_ms)) = next.remove_entry();
            self.outcome.gate_ms += ends_ms - began_ms;
            finished.push(Finished { ticket, passed });
        }
        finished
    }

    /// Runs the gate and waits for it, for peers that do one thing at a time.
    pub fn passes(&mut self, tree: Tree) -> bool {
        self.start(tree);
        self.advance().iter().all(|run| run.passed)
    }

    /// For the same: whether the failure for which an item is about to be ejected stands.
    pub fn fails_again(&mut self, tree: Tree) -> bool {
        if !self.setting.second_opinion {
            return true;
        }
        self.start_second_opinion(tree);
        self.advance().iter().any(|run| !run.passed)
    }

    pub fn land(&mut self, item: usize) {
        self.outcome.landed_ms[item] = Some(self.now_ms);
        self.tip = self.tip.wrapping_add(Random::of(&[item as u64]).word());
    }

    pub fn finish(mut self) -> Outcome {
        self.outcome.makespan_ms = self.now_ms;
        self.outcome
    }
}

/// Items that lie next to each other in canonical order, for peers that cut the queue into stretches.
pub mod stretch {
    use std::ops::Range;

    use super::{Machine, Tree};

    /// What landed and these.
    pub fn tree(machine: &Machine<'_>, items: Range<usize>) -> Tree {
        extended(machine, machine.tip(), items.start, items)
    }

    /// `tree`, which holds what landed and the items from `first` up to these, and these.
    pub fn extended(machine: &Machine<'_>, tree: Tree, first: usize, items: Range<usize>) -> Tree {
        items.fold(tree, |tree, item| machine.with(tree, item, |other| (first..item).contains(&other)))
    }

    pub fn land(machine: &mut Machine<'_>, items: Range<usize>) {
        items.for_each(|item| machine.land(item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::world::Rates;

    fn setting(workers: usize) -> Setting {
        Setting { workers, gate_ms: 10, spread: 0.0, second_opinion: true, is_first_run: false }
    }

    #[test]
    fn time_jumps_from_end_to_end_and_what_was_stopped_has_cost_what_it_took() {
        let world = World::draw(3, Rates { fail: 0.0, clash: 0.0, flake: 0.0 }, 1);
        let mut machine = Machine::new(&world, &setting(2));
        let trees: Vec<Tree> = (0..3).map(|item| machine.with(machine.tip(), item, |_| false)).collect();
        let first = machine.start(trees[0]);
        assert_eq!(machine.advance(), [Finished { ticket: first, passed: true }]);
        let second = machine.start(trees[1]);
        let third = machine.start_second_opinion(trees[2]);
        assert_eq!(machine.free(), 0);
        machine.stop(second);
        assert_eq!(machine.advance(), [Finished { ticket: third, passed: true }]);
        assert_eq!(machine.advance(), []);
        machine.land(2);
        assert_eq!(machine.tip(), trees[2]);
        let expected = Outcome {
            landed_ms: vec![None, None, Some(20)],
            gate_runs: 2,
            second_opinions: 1,
            gate_ms: 20,
            makespan_ms: 20,
        };
        assert_eq!(machine.finish(), expected);
    }

    #[test]
    #[should_panic(expected = "without a free worker")]
    fn never_more_at_once_than_there_are_workers() {
        let world = World::draw(1, Rates { fail: 0.0, clash: 0.0, flake: 0.0 }, 1);
        let mut machine = Machine::new(&world, &setting(1));
        let tree = machine.tip();
        machine.start(tree);
        machine.start(tree);
    }

    #[test]
    fn a_tree_is_the_same_in_any_order_and_lies_by_its_own_count() {
        let world = World::draw(40, Rates { fail: 0.0, clash: 0.0, flake: 0.5 }, 3);
        let mut machine = Machine::new(&world, &setting(1));
        let (there, back) = (machine.tip(), machine.tip());
        let there = (0..40).fold(there, |tree, item| machine.with(tree, item, |_| true));
        let back = (0..40).rev().fold(back, |tree, item| machine.with(tree, item, |_| true));
        assert_eq!(there, back);
        let said: Vec<bool> = (0..20).map(|_| machine.passes(there)).collect();
        let expected: Vec<bool> = (1..=20).map(|nth| !world.is_flake(GATE, there.id, nth)).collect();
        assert_eq!(said, expected);
        assert!(said.contains(&true) && said.contains(&false));
    }
}
