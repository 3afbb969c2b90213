//! Speculation best first, as in Uber's SubmitQueue (S. Ananthanarayanan et al., "Keeping master green at
//! scale", EuroSys 2019). A conflict analyser says which pairs of items conflict. An item is built on the tip
//! under one assumption for each earlier undecided item that it conflicts with: this one lands, that one does
//! not. Of all such builds those run whose assumptions are likeliest to come true, as many as there are
//! workers; others are stopped. An item lands when what was assumed of it came true and its build has passed;
//! it is ejected when that build has failed, twice.
//!
//! How it is modelled:
//! - What the analyser says is [`Analyser`]. The paper's compares build targets, which these worlds do not
//!   have, so there are two ends: one that flags the pairs that do clash and no others, better than any
//!   there is, and one that tells no two items apart, as one gate that judges everything does.
//! - As in the paper, what lands beside an item that it does not conflict with is not tested together with
//!   it: with the exact analyser the tip holds trees that no gate has seen. No other peer does that.
//! - The paper learns from an item's author and history how likely it lands. Here each item has the same
//!   chance, the share of this world's items that land, until a build of it has passed or failed.
//! - All workers are used all the time, however little a build promises, as the paper's fixed budget is.

use std::collections::{BTreeMap, BTreeSet};

use crate::simulation::Setting;
use crate::simulation::figures::Outcome;
use crate::simulation::peers::machine::{Finished, Machine, Ticket, Tree};
use crate::simulation::peers::speculation::{Cost, Odds, Path, cheapest_paths};
use crate::simulation::world::World;

/// Which pairs of items are held to conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Analyser {
    /// Those that clash, and no others.
    Exact,
    /// All.
    Blind,
}

pub fn run(world: &World, setting: &Setting, analyser: Analyser) -> Outcome {
    let mut queue = Queue::new(world, setting, analyser);
    loop {
        queue.choose();
        let finished = queue.machine.advance();
        if finished.is_empty() {
            return queue.machine.finish();
        }
        let heard: BTreeSet<usize> = finished.into_iter().filter_map(|run| queue.heard(run)).collect();
        queue.decide(heard);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running(Ticket),
    Passed,
    Failed,
    /// Failed with all its assumptions come true, and judged once more.
    Again(Ticket),
    /// Failed again.
    Refused,
}

#[derive(Debug)]
struct Build {
    /// Those that were assumed to land and are undecided yet, ascending.
    landing: Vec<usize>,
    tree: Tree,
    state: State,
}

impl Build {
    fn assumes(&self, item: usize) -> bool {
        self.landing.binary_search(&item).is_ok()
    }

    fn forget(&mut self, item: usize) {
        if let Ok(at) = self.landing.binary_search(&item) {
            self.landing.remove(at);
        }
    }
}

/// What is held of an item of which nothing is known, and of one whose build passed or failed that assumes
/// what is likeliest.
#[derive(Clone, Copy, Debug)]
struct Prospects {
    unknown: Odds,
    passed: Odds,
    failed: Odds,
}

impl Prospects {
    fn of(world: &World, setting: &Setting) -> Self {
        let rates = world.rates;
        // Of two that clash the later one does not land.
        let lands = (1.0 - rates.fail) * (1.0 - rates.clash / 2.0);
        let lied = if setting.second_opinion { rates.flake * lands } else { 0.0 };
        let lands_though_failed = lied / (lied + 1.0 - lands).max(f64::MIN_POSITIVE);
        Self { unknown: Odds::of(lands), passed: Odds::of(1.0), failed: Odds::of(lands_though_failed) }
    }
}

#[derive(Debug)]
struct Queue<'world> {
    machine: Machine<'world>,
    analyser: Analyser,
    prospects: Prospects,
    odds: Vec<Odds>,
    decided: Vec<bool>,
    /// All before it are decided.
    first: usize,
    /// Undecided items that have builds, and those of their builds whose assumptions may come true.
    builds: BTreeMap<usize, Vec<Build>>,
    running: BTreeMap<Ticket, usize>,
    /// Items that wait for a worker to be judged once more.
    suspects: BTreeSet<usize>,
    /// With an exact analyser: what the likeliest build of each item costs, and all undecided in that order.
    least: Vec<Cost>,
    order: BTreeSet<(Cost, usize)>,
}

impl<'world> Queue<'world> {
    fn new(world: &'world World, setting: &Setting, analyser: Analyser) -> Self {
        let prospects = Prospects::of(world, setting);
        let mut queue = Self {
            machine: Machine::new(world, setting),
            analyser,
            prospects,
            odds: vec![prospects.unknown; world.len()],
            decided: vec![false; world.len()],
            first: 0,
            builds: BTreeMap::new(),
            running: BTreeMap::new(),
            suspects: BTreeSet::new(),
            least: Vec::new(),
            order: BTreeSet::new(),
        };
        if analyser == Analyser::Exact {
            queue.least = (0..world.len()).map(|item| queue.least_cost(item)).collect();
            queue.order = queue.least.iter().copied().zip(0..).collect();
        }
        queue
    }

    /// Earlier undecided items that this one conflicts with, ascending.
    fn conflicts(&self, item: usize) -> Vec<usize> {
        match self.analyser {
            Analyser::Exact => {
                let earlier = self.machine.world.clashes(item).take_while(|other| *other < item);
                earlier.filter(|other| !self.decided[*other]).collect()
            }
            // They are decided in canonical order.
            Analyser::Blind => (self.first..item).collect(),
        }
    }

    /// Later undecided items that conflict with this one; where all do, those that have builds.
    fn dependents(&self, item: usize) -> Vec<usize> {
        match self.analyser {
            Analyser::Exact => {
                let later = self.machine.world.clashes(item).skip_while(|other| *other < item);
                later.filter(|other| !self.decided[*other]).collect()
            }
            Analyser::Blind => self.builds.range(item + 1..).map(|(other, _)| *other).collect(),
        }
    }

    fn least_cost(&self, item: usize) -> Cost {
        self.conflicts(item).into_iter().map(|other| self.odds[other].least()).sum()
    }

    /// Second opinions first, then the builds whose assumptions are likeliest, those under way before others
    /// as likely. What else is under way is stopped.
    fn choose(&mut self) {
        let judged_again = self.running.values().filter(|item| self.is_judged_again(**item)).count();
        let budget = self.machine.workers().saturating_sub(judged_again + self.suspects.len());
        let coming = self.cheapest(budget);
        let mut candidates: Vec<(Cost, Option<Ticket>, Option<Path>)> = Vec::new();
        for (ticket, item) in &self.running {
            let build = self.builds[item].iter().find(|build| build.state == State::Running(*ticket));
            candidates.extend(build.map(|build| (self.cost(*item, build), Some(*ticket), None)));
        }
        candidates.extend(coming.into_iter().map(|path| (path.cost, None, Some(path))));
        // Stable: those under way come first among equals.
        candidates.sort_by_key(|(cost, ..)| *cost);
        let others = candidates.split_off(budget.min(candidates.len()));
        others.into_iter().filter_map(|(_, ticket, _)| ticket).for_each(|ticket| self.stop(ticket));
        while self.machine.free() > 0
            && let Some(item) = self.suspects.pop_first()
        {
            self.judge_again(item);
        }
        candidates.into_iter().filter_map(|(.., path)| path).for_each(|path| self.build(path));
    }

    fn cheapest(&self, wanted: usize) -> Vec<Path> {
        let conflicts = |item| self.conflicts(item).into_iter().map(|other| (other, self.odds[other])).collect();
        let has = |path: &Path| {
            self.builds.get(&path.item).is_some_and(|builds| builds.iter().any(|build| build.landing == path.landing))
        };
        match self.analyser {
            Analyser::Exact => cheapest_paths(self.order.iter().map(|(_, item)| *item), conflicts, wanted, has),
            Analyser::Blind => cheapest_paths(self.first..self.decided.len(), conflicts, wanted, has),
        }
    }

    fn cost(&self, item: usize, build: &Build) -> Cost {
        self.conflicts(item).into_iter().map(|other| self.odds[other].of_assuming(build.assumes(other))).sum()
    }

    fn is_judged_again(&self, item: usize) -> bool {
        self.builds.get(&item).into_iter().flatten().any(|build| matches!(build.state, State::Again(_)))
    }

    fn build(&mut self, path: Path) {
        let Path { item, landing, .. } = path;
        let has = |other: usize| landing.binary_search(&other).is_ok();
        let base = landing.iter().fold(self.machine.tip(), |tree, other| self.machine.with(tree, *other, has));
        let tree = self.machine.with(base, item, has);
        let ticket = self.machine.start(tree);
        self.running.insert(ticket, item);
        self.builds.entry(item).or_default().push(Build { landing, tree, state: State::Running(ticket) });
    }

    fn judge_again(&mut self, item: usize) {
        for build in self.builds.get_mut(&item).into_iter().flatten() {
            let ticket = self.machine.start_second_opinion(build.tree);
            self.running.insert(ticket, item);
            build.state = State::Again(ticket);
        }
    }

    /// Stops a build that is not worth its worker; it may be chosen anew.
    fn stop(&mut self, ticket: Ticket) {
        self.machine.stop(ticket);
        if let Some(builds) = self.running.remove(&ticket).and_then(|item| self.builds.get_mut(&item)) {
            builds.retain(|build| build.state != State::Running(ticket));
        }
    }

    /// Notes a verdict; which item it is about.
    fn heard(&mut self, run: Finished) -> Option<usize> {
        let item = self.running.remove(&run.ticket)?;
        for build in self.builds.get_mut(&item)? {
            build.state = match build.state {
                State::Running(ticket) | State::Again(ticket) if ticket == run.ticket && run.passed => State::Passed,
                State::Running(ticket) if ticket == run.ticket => State::Failed,
                State::Again(ticket) if ticket == run.ticket => State::Refused,
                other => other,
            };
        }
        Some(item)
    }

    /// Decides what these items' verdicts decide, and what follows from that for later ones.
    fn decide(&mut self, mut about: BTreeSet<usize>) {
        // What follows always follows for later ones: each is looked at once.
        while let Some(item) = about.pop_first() {
            if self.note_odds(item) {
                about.extend(self.dependents(item));
            }
            if !self.conflicts(item).is_empty() {
                continue;
            }
            // Without anything left to assume there is one.
            match self.builds.get(&item).and_then(|builds| builds.first()).map(|build| build.state) {
                Some(State::Passed) => about.extend(self.settle(item, true)),
                Some(State::Failed) if self.machine.has_second_opinions() => {
                    self.suspects.insert(item);
                }
                Some(State::Failed | State::Refused) => about.extend(self.settle(item, false)),
                Some(State::Running(_) | State::Again(_)) | None => {}
            }
        }
    }

    /// What is held of an item by what the build said, if it has finished, that assumes what is likeliest of
    /// each of its conflicts. Whether that is something else than before.
    fn note_odds(&mut self, item: usize) -> bool {
        let mut likeliest = self.conflicts(item);
        likeliest.retain(|other| self.odds[*other].is_likely());
        let mut builds = self.builds.get(&item).into_iter().flatten();
        let odds = match builds.find(|build| build.landing == likeliest).map(|build| build.state) {
            None | Some(State::Running(_)) => self.prospects.unknown,
            Some(State::Passed) => self.prospects.passed,
            Some(State::Failed | State::Again(_) | State::Refused) => self.prospects.failed,
        };
        if self.analyser == Analyser::Exact {
            self.put_in_order(item);
        }
        std::mem::replace(&mut self.odds[item], odds) != odds
    }

    fn put_in_order(&mut self, item: usize) {
        let least = self.least_cost(item);
        if self.order.remove(&(self.least[item], item)) {
            self.least[item] = least;
            self.order.insert((least, item));
        }
    }

    /// Lands or ejects an item, and drops what assumed otherwise; whom that concerns.
    fn settle(&mut self, item: usize, lands: bool) -> Vec<usize> {
        if lands {
            self.machine.land(item);
        }
        self.decided[item] = true;
        self.builds.remove(&item);
        if let Some(least) = self.least.get(item) {
            self.order.remove(&(*least, item));
        }
        while self.decided.get(self.first).is_some_and(|decided| *decided) {
            self.first += 1;
        }
        let concerned = self.dependents(item);
        for other in &concerned {
            let Some(builds) = self.builds.get_mut(other) else { continue };
            for refuted in builds.extract_if(.., |build| build.assumes(item) != lands) {
                if let State::Running(ticket) = refuted.state {
                    self.machine.stop(ticket);
                    self.running.remove(&ticket);
                }
            }
            if lands {
                builds.iter_mut().for_each(|build| build.forget(item));
            }
        }
        concerned
    }
}
