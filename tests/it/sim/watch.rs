//! Watches a run step by step: every event is held against the invariants when it is about to be
//! journalled, by what the journal and the world say up to then. It keeps an account of its own and
//! takes nothing from the product's state; beside it runs a replay of the journal, from which the
//! strategy must come to the same steps as it did in the engine.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use lexpr::core::critical_path::GateDurations;
use lexpr::core::judge::Surroundings;
use lexpr::core::state::RunState;
use lexpr::core::strategy;
use lexpr::plan::graph::{Graph, ItemIx};
use lexpr::plan::{Gate, Landing, Policy};
use lexpr::ports::Claim;
use lexpr::vocabulary::event::{
    CompositePurpose, Decision, Event, GateFinished, GateOutcome, ItemDecided, JobPurpose, JobStarted, LandingIntended,
    Overridden, Reason, Recorded, Verdict,
};
use lexpr::vocabulary::names::{CommitId, DefinitionDigest, GroupId, ItemName, JobId, RuntimeName, TreeId, VerdictKey};

use super::World;
use super::answers::Answers;
use super::content::Content;
use super::hands::Inner;
use super::limits::LimitsWatch;

/// How old a measurement of memory may be when a gate starts on it.
const MEASURED_AT_MOST_MS_AGO: u64 = 100;

/// To watch a run is quadratic; one of more items is judged at its end alone.
const MOST_ITEMS: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    AlreadyLanded,
    Undecided,
    Deferred,
    Passed,
    Landed,
    Out,
}

/// What the journal says of one key.
#[derive(Clone, Debug, Default)]
struct Runs {
    passes: u32,
    /// Failed attempts of runs that came to a verdict.
    failures: u32,
    /// Of the run that has not.
    failures_so_far: u32,
    /// The trees it was run on.
    trees: Vec<TreeId>,
    definition: Option<DefinitionDigest>,
}

#[derive(Default)]
struct Account {
    stages: Vec<Stage>,
    jobs: BTreeMap<JobId, JobStarted>,
    runs: HashMap<VerdictKey, Runs>,
    /// By gate: the keys it was run under.
    keys: HashMap<DefinitionDigest, Vec<VerdictKey>>,
    /// Some passes are of runs that nobody saw.
    has_reused: bool,
    /// Trees on which an item can pass: its cone's, and those of its group from it on.
    cones: HashMap<ItemIx, Vec<TreeId>>,
    groups: HashMap<GroupId, Vec<ItemIx>>,
    intended: Option<LandingIntended>,
    overridden: Option<Overridden>,
    last_landed: Option<ItemIx>,
    base: Option<CommitId>,
    tip: Option<(CommitId, TreeId)>,
    /// What the pool was resized to by this process.
    pool: Option<u32>,
    /// Deferred while a dependency met a base that others had moved.
    met_a_moved_base: HashSet<ItemIx>,
    /// It was interrupted or cannot go on.
    is_over: bool,
}

impl Account {
    /// What these depend on landed after all, so they are judged after all.
    fn judge_after_all(&mut self, graph: &Graph) {
        for ix in &self.met_a_moved_base {
            let landed = |dep: &ItemIx| matches!(self.stages[dep.get()], Stage::AlreadyLanded | Stage::Landed);
            if self.stages[ix.get()] == Stage::Deferred && graph.deps(*ix).iter().all(landed) {
                self.stages[ix.get()] = Stage::Undecided;
            }
        }
    }
}

pub struct Watch {
    world: World,
    graph: Arc<Graph>,
    policy: Policy,
    durations: GateDurations,
    /// Others merged these by hand, with or without what they depend on.
    brought: HashSet<ItemIx>,
    /// Those and what is behind them: where others were in the way until they merged one of them
    /// themselves, it lands after what did not wait for it.
    late: HashSet<ItemIx>,
    account: Account,
    limits: LimitsWatch,
    replay: RunState,
    seen: usize,
    answers: Answers,
}

impl Watch {
    pub fn new(world: &World, graph: Arc<Graph>) -> Self {
        let brought = world.others.iter().flat_map(|others| &others.brings);
        let brought: HashSet<ItemIx> = brought.map(|name| graph.find(&ItemName::new(name)).unwrap()).collect();
        let behind = |ix: &ItemIx| graph.closure(*ix).iter().any(|dep| brought.contains(dep));
        let durations = world.known_durations(&graph);
        Self {
            late: graph.indices().filter(|ix| brought.contains(ix) || behind(ix)).collect(),
            brought,
            policy: world.policy(),
            account: Account::default(),
            limits: LimitsWatch::new(&world.limited, &graph),
            replay: RunState::new(Arc::clone(&graph), Surroundings::default(), &durations),
            durations,
            seen: 0,
            answers: Answers::default(),
            world: world.clone(),
            graph,
        }
    }

    /// A new process knows what was written, and nothing else.
    pub fn begin_again(&mut self, inner: &Inner) {
        if self.seen == 0 {
            return;
        }
        let before = std::mem::replace(
            &mut self.replay,
            RunState::new(Arc::clone(&self.graph), Surroundings::default(), &self.durations),
        );
        self.account = Account::default();
        self.limits.begin_again();
        self.answers = Answers::default();
        for recorded in &inner.journal {
            self.replay.apply(&recorded.event).expect("invariant 6: what happened live can happen again");
            self.note(&recorded.event);
            self.limits.note(recorded);
        }
        let all_of_it = inner.journal.len() == self.seen;
        assert!(!all_of_it || before == self.replay, "invariant 6: a replay comes to another state");
        self.seen = inner.journal.len();
    }

    /// An event that is about to be journalled.
    pub fn see(&mut self, recorded: &Recorded, inner: &Inner) {
        if self.graph.len() > MOST_ITEMS {
            return;
        }
        let event = &recorded.event;
        match event {
            Event::JobStarted(job) => self.check_job(job, recorded.at_ms, inner),
            Event::GateFinished(finished) => self.check_verdict(finished, inner),
            Event::ItemDecided(decided) => self.check_decision(decided, inner),
            Event::GroupFormed { base, items, .. } => {
                assert!(!self.account.is_over, "a group is formed in a run that is over");
                assert_eq!(Some(*base), self.account.base, "a group stands on the base");
                assert!(items.len() > 1 && items.len() <= self.world.group_size as usize);
                for ix in items.iter().map(|name| self.ix(name)) {
                    assert_eq!(self.stage(ix), Stage::Undecided, "{} is gated in a group", self.graph.name(ix));
                    self.expect_good_dependencies(ix);
                }
            }
            Event::ApexFormed { base, items, .. } => self.check_apex(*base, items),
            Event::LandingIntended(intended) => {
                let has_to_move = intended.from != intended.to;
                assert!(!has_to_move || !inner.gives_way, "a landing is intended that waits for others");
                let claim = if self.replay.rebases() > 0 { Claim::Overtaken } else { Claim::Proving };
                assert_eq!(inner.claimed, self.world.urgent.then_some(claim), "an urgent run lands by its claim");
                self.check_intent(intended, inner);
            }
            Event::Landed(landed) => {
                let intended = self.account.intended.as_ref().map(|intended| (intended.from, intended.to));
                assert_eq!(intended, Some((landed.from, landed.to)), "invariant 6: it landed without an intent");
                let is_there = landed.from == landed.to || inner.landed.contains(&landed.to);
                assert!(is_there, "invariant 6: what is said to have landed did not");
            }
            Event::TargetMoved { to, landed, .. } => {
                assert!(inner.moved_by_others.contains(to), "the target was not moved there by anybody");
                let told: Vec<ItemIx> = landed.iter().map(|landed| self.ix(&landed.item)).collect();
                assert!(told.is_sorted(), "what others have landed is told in canonical order");
                let content = inner.content_of(*to);
                let is_open = |stage| matches!(stage, Stage::Undecided | Stage::Deferred | Stage::Passed);
                let there = self.graph.indices().filter(|ix| content.has(*ix) && is_open(self.stage(*ix)));
                assert_eq!(told, there.collect::<Vec<_>>(), "what others have landed is told, and nothing else");
            }
            Event::GateStarted { job, key, .. } => {
                let of_job =
                    self.account.jobs.get(job).is_some_and(|job| job.gates.iter().any(|gate| gate.key == *key));
                assert!(of_job, "a gate that is none of its job's");
                assert_eq!(self.runs(key).passes, 0, "invariant 6: a gate runs again that has passed");
            }
            Event::PoolResized { from, to, .. } => {
                let limits = &self.world.limits;
                let at_first = limits.workers_at_first.expect("invariant 7: a fixed pool is resized");
                assert_eq!(*from, self.account.pool.unwrap_or(at_first), "invariant 7: from another size");
                assert!((1..=limits.max_workers).contains(to), "invariant 7: {to} of {} workers", limits.max_workers);
            }
            Event::RunFinished { items, .. } => {
                assert!(self.account.jobs.is_empty(), "a run ends while jobs are in work");
                assert_eq!(*items, self.replay.final_items(), "invariant 6: replay ends where the run did");
            }
            _ => {}
        }
        self.limits.check(recorded);
        let ask = || strategy::next(&self.replay, &self.world.limits, &self.policy);
        self.answers.check_that_it_follows(event, &self.graph, ask);
        self.replay.apply(event).expect("what happens is possible");
        self.note(event);
        self.limits.note(recorded);
        self.seen += 1;
    }

    fn runs(&self, key: &VerdictKey) -> Runs {
        self.account.runs.get(key).cloned().unwrap_or_default()
    }

    fn ix(&self, name: &ItemName) -> ItemIx {
        self.graph.find(name).unwrap()
    }

    fn stage(&self, ix: ItemIx) -> Stage {
        self.account.stages[ix.get()]
    }

    /// Whether a gate sees the same in both.
    fn looks_alike(&self, gate: &Gate, one: &Content, other: &Content) -> bool {
        match &gate.inputs {
            None => one == other,
            Some(inputs) => inputs.iter().all(|name| {
                let ix = self.graph.find(&ItemName::new(name));
                ix.is_none_or(|ix| one.has(ix) == other.has(ix))
            }),
        }
    }

    /// Whether the journal holds a pass of this gate on what it sees of this tree, under one of
    /// these keys where they are given.
    fn has_passed(&self, gate: &Gate, on: &Content, among: Option<&[VerdictKey]>, inner: &Inner) -> bool {
        let keys = self.account.keys.get(&gate.definition).map(Vec::as_slice).unwrap_or_default();
        keys.iter().filter(|key| among.is_none_or(|among| among.contains(key))).any(|key| {
            let runs = &self.account.runs[key];
            runs.passes > 0 && runs.trees.iter().any(|tree| self.looks_alike(gate, &inner.trees[tree], on))
        })
    }

    /// The runtime elsewhere that has a job, and how many it may have.
    fn elsewhere(&self, job: &JobStarted) -> Option<(&RuntimeName, u32)> {
        let mut gates = self.graph.indices().flat_map(|ix| self.graph.gates(ix));
        gates.find(|gate| gate.definition == job.gates[0].definition)?.runtime.elsewhere()
    }

    fn check_job(&self, job: &JobStarted, now: u64, inner: &Inner) {
        let limits = &self.world.limits;
        let jobs = &self.account.jobs;
        assert!(!self.account.is_over, "a job starts in a run that is over");
        let workers = self.account.pool.or(limits.workers_at_first).unwrap_or(limits.max_workers);
        let beside = jobs.values().filter(|other| self.elsewhere(other) == self.elsewhere(job)).count();
        match self.elsewhere(job) {
            None => {
                assert!(beside < workers as usize, "invariant 7: more jobs than workers");
                let most = limits.max_workers;
                assert!(job.worker.0 < most, "invariant 7: worker {} of {most}", job.worker.0);
            }
            Some((runtime, most)) => {
                assert!(beside < most as usize, "invariant 7: more than {most} gates in flight on {runtime}");
                assert_eq!(job.gates.len(), 1, "elsewhere each gate is a job of its own");
            }
        }
        assert!(jobs.values().all(|other| other.worker != job.worker), "invariant 7: a worker does two jobs at once");
        let some_here = jobs.values().any(|other| self.elsewhere(other).is_none());
        let is_held_back = some_here && self.elsewhere(job).is_none();
        if let Some(threshold) = self.world.memory_threshold.filter(|_| is_held_back) {
            let (at, used) = inner.measured.expect("invariant 7: a gate starts before memory was measured");
            assert!(used <= threshold, "invariant 7: a gate starts at {used} bytes of {threshold}");
            assert!(now - at <= MEASURED_AT_MOST_MS_AGO, "invariant 7: a gate starts on memory measured long ago");
        }
        for gate in &job.gates {
            let in_work = jobs.values().any(|other| other.gates.iter().any(|other| other.key == gate.key));
            assert!(!in_work, "equal keys in flight share one run");
            let runs = self.runs(&gate.key);
            let again = matches!(job.purpose, JobPurpose::SecondOpinion { .. }) && limits.second_opinion;
            assert_eq!(runs.passes, 0, "invariant 6: a gate runs again that has passed");
            assert!(
                runs.failures == 0 || (again && runs.failures == 1),
                "invariant 6: a gate runs again that has failed {} times",
                runs.failures
            );
        }
        let content = &inner.trees[&job.tree];
        for ix in self.graph.indices().filter(|ix| content.has(*ix) && self.is_merged_by_the_run(*ix)) {
            for dep in self.graph.deps(ix) {
                let (item, dep_name) = (self.graph.name(ix), self.graph.name(*dep));
                assert!(content.has(*dep), "invariant 2: {item} is gated without {dep_name}");
            }
        }
        if let JobPurpose::Cone { item } = &job.purpose {
            let ix = self.ix(item);
            assert!(content.has(ix), "{item} is not in its cone");
            assert_eq!(self.stage(ix), Stage::Undecided, "{item} is gated on its cone");
            self.expect_good_dependencies(ix);
        }
        if let JobPurpose::Group { group, members } = &job.purpose {
            let merged = self.account.groups[group].iter().filter(|ix| content.has(**ix)).count();
            assert!(merged >= *members as usize, "a group's composite lacks some of those it is gated for");
        }
    }

    fn is_put_last(&self, ix: ItemIx) -> bool {
        self.world.overrides.iter().any(|name| name == self.graph.name(ix).as_str())
    }

    /// By the apex under way.
    fn is_overridden(&self, ix: ItemIx, gate: &Gate) -> bool {
        self.account.overridden.as_ref().is_some_and(|overridden| {
            overridden.item == *self.graph.name(ix)
                && overridden.gates.iter().any(|other| other.definition == gate.definition)
        })
    }

    fn has_cones(&self) -> bool {
        self.world.limits.landing == Landing::Pyramid
    }

    fn is_merged_by_the_run(&self, ix: ItemIx) -> bool {
        self.stage(ix) != Stage::AlreadyLanded && !self.brought.contains(&ix)
    }

    fn expect_good_dependencies(&self, ix: ItemIx) {
        for dep in self.graph.deps(ix) {
            let good = matches!(self.stage(*dep), Stage::AlreadyLanded | Stage::Passed | Stage::Landed);
            let (item, dep) = (self.graph.name(ix), self.graph.name(*dep));
            assert!(good, "invariant 2: {item} is gated or passes before {dep} has passed");
        }
    }

    /// A verdict is what the world saw.
    fn check_verdict(&self, finished: &GateFinished, inner: &Inner) {
        let of_it =
            inner.gates.iter().rev().filter(|run| !run.lost && run.job == finished.job && run.key == finished.key);
        let seen = |wanted: fn(&super::GateRecord) -> bool| of_it.clone().any(wanted);
        match finished.verdict {
            Some(Verdict::Passed { .. }) => assert!(seen(|run| run.passed), "a pass that nobody saw"),
            Some(Verdict::Failed) => assert!(seen(|run| run.failed), "a failure that nobody saw"),
            _ => {}
        }
    }

    fn check_decision(&self, decided: &ItemDecided, inner: &Inner) {
        let ItemDecided { item, decision, reason, .. } = decided;
        let ix = self.ix(item);
        assert!(!self.account.is_over, "{item} is decided in a run that is over");
        // Where the target is red those who cannot be judged are told together, and the suspect last.
        let is_of_many = *decision == Decision::Unjudged && self.world.limits.landing == Landing::Batch;
        if *decision != Decision::Blocked && !is_of_many {
            let undecided = |dep: &ItemIx| self.stage(*dep) == Stage::Undecided;
            let early = self.graph.deps(ix).iter().any(undecided);
            assert!(!early, "invariant 2: {item} was decided while a dependency was not");
        }
        match (decision, reason) {
            (Decision::Passed, _) => {
                self.expect_good_dependencies(ix);
                let cones = self.account.cones.get(&ix).expect("an item passes on its cone or with its group");
                let own = || self.graph.gates(ix).iter().filter(|gate| gate.required && gate.at.cone);
                let passed_on = |tree| own().all(|gate| self.has_passed(gate, &inner.trees[tree], None, inner));
                let proven = self.account.has_reused || cones.iter().any(passed_on);
                assert!(proven, "{item} passes, and its gates did not on any composite of it");
            }
            (Decision::Failed, Some(Reason::GateFailed { key, fails_without_too, .. })) => {
                self.check_blame(ix, key, *fails_without_too, inner);
            }
            (Decision::Blocked, Some(reason)) => {
                let is_own = matches!(reason, Reason::BlockOn { .. } | Reason::DependenciesConflict { .. });
                let is_last = |dep: &ItemIx| self.is_put_last(*dep) && !self.is_put_last(ix);
                let behind = self.graph.deps(ix).iter().any(|dep| self.stage(*dep) == Stage::Out || is_last(dep));
                assert!(is_own || behind, "invariant 2: {item} is blocked by nothing: {reason:?}");
            }
            _ => {}
        }
    }

    /// Nobody fails by a gate that passed with the item, or was not seen to pass without it.
    fn check_blame(&self, ix: ItemIx, key: &VerdictKey, fails_without_too: bool, inner: &Inner) {
        let name = self.graph.name(ix);
        let runs = self.runs(key);
        let wanted = if self.world.limits.second_opinion { 2 } else { 1 };
        assert_eq!(runs.passes, 0, "a flake ejects nobody: {name}");
        assert!(runs.failures >= wanted, "{name} failed after {} failures", runs.failures);
        let gates = self.graph.indices().flat_map(|ix| self.graph.gates(ix).iter().map(move |gate| (ix, gate)));
        let mut of_key = gates.filter(|(_, gate)| Some(gate.definition) == runs.definition);
        if fails_without_too {
            assert!(of_key.all(|(of, _)| of == ix), "{name} fails a shared gate that fails without it too");
            return;
        }
        let (_, gate) = of_key.next().unwrap();
        let compared = runs.trees.iter().any(|with| {
            let without = inner.trees[with].without(ix);
            self.account.has_reused || self.has_passed(gate, &without, None, inner)
        });
        assert!(compared, "{name} is blamed for what nobody saw pass without it");
    }

    /// The first passed items in canonical order, when all before the last of them are decided; without cones
    /// the first of which nothing is known.
    fn check_apex(&self, base: CommitId, items: &[ItemName]) {
        assert!(!self.account.is_over, "an apex is formed in a run that is over");
        if let [item] = items
            && self.is_put_last(self.ix(item))
        {
            let in_work = self.account.jobs.len();
            assert_eq!(in_work, 0, "{item} is overridden before everything else has come to its end");
            return;
        }
        assert_eq!(Some(base), self.account.tip.map(|(commit, _)| commit), "an apex stands on the tip");
        let chosen: Vec<ItemIx> = items.iter().map(|name| self.ix(name)).collect();
        let wanted = if self.has_cones() { Stage::Passed } else { Stage::Undecided };
        let passed = self.graph.indices().filter(|ix| self.stage(*ix) == wanted && !self.is_put_last(*ix));
        let first: Vec<ItemIx> = passed.take(chosen.len()).collect();
        assert_eq!(chosen, first, "invariant 8: an apex is of the first items that passed");
        assert!(chosen.len() <= self.world.limits.batch_size as usize);
        let last = chosen.last().expect("an apex is of something");
        if !self.has_cones() {
            let in_a_train = self.world.limits.landing == Landing::Train;
            assert!(!in_a_train || chosen.len() == 1, "invariant 8: in a train they land one by one");
            return;
        }
        for ix in self.graph.indices().take_while(|ix| ix < last) {
            let is_deferred = |ix: &ItemIx| self.stage(*ix) == Stage::Deferred;
            let waits_in_vain = || self.graph.closure(ix).iter().any(is_deferred);
            let decided = self.stage(ix) != Stage::Undecided || waits_in_vain() || self.is_put_last(ix);
            assert!(decided, "invariant 8: an apex is formed while {} is undecided", self.graph.name(ix));
        }
    }

    fn check_intent(&self, intended: &LandingIntended, inner: &Inner) {
        assert!(!self.account.is_over, "a landing begins in a run that is over");
        assert!(self.account.intended.is_none(), "two landings at once");
        let (tip, tip_tree) = self.account.tip.unwrap();
        assert_eq!(intended.from, tip, "a landing begins at the tip");
        let items: Vec<ItemIx> = intended.items.iter().map(|name| self.ix(name)).collect();
        let first = items.iter().find(|ix| !self.late.contains(ix) && !self.is_put_last(**ix));
        let in_order = items.is_sorted() && first.is_none_or(|first| self.account.last_landed < Some(*first));
        assert!(in_order, "invariant 8: {:?} land out of order", intended.items);
        let mut added = (*inner.trees[&tip_tree]).clone();
        for &ix in &items {
            added = added.with(ix);
            let wanted = if self.has_cones() && !self.is_put_last(ix) { Stage::Passed } else { Stage::Undecided };
            assert_eq!(self.stage(ix), wanted, "{} lands", self.graph.name(ix));
            for dep in self.graph.deps(ix) {
                let good = matches!(self.stage(*dep), Stage::AlreadyLanded | Stage::Landed) || items.contains(dep);
                let (item, dep) = (self.graph.name(ix), self.graph.name(*dep));
                assert!(good, "invariant 2: {item} lands without {dep}");
            }
        }
        let after = &inner.trees[&intended.tree];
        assert!(added == **after, "a landing adds its items and nothing else");
        for &ix in &items {
            for gate in self.graph.gates(ix).iter().filter(|gate| gate.required && gate.at.apex) {
                let proven = self.is_overridden(ix, gate)
                    || self.account.has_reused
                    || self.has_passed(gate, after, Some(&intended.proof), inner);
                let item = self.graph.name(ix);
                assert!(proven, "invariant 1: {item} is to land, and {} has not passed on that tree", gate.name);
            }
        }
    }

    fn note(&mut self, event: &Event) {
        let account = &mut self.account;
        let find = |name: &ItemName| self.graph.find(name).unwrap();
        match event {
            Event::RunStarted(started) => {
                let stage = |landed: bool| if landed { Stage::AlreadyLanded } else { Stage::Undecided };
                account.stages = started.items.iter().map(|item| stage(item.already_landed.is_some())).collect();
                account.base = Some(started.base);
                account.tip = Some((started.base, started.base_tree));
            }
            Event::Composed(composed) => {
                if let CompositePurpose::Cone { item } = &composed.purpose
                    && account.base == Some(composed.base)
                {
                    account.cones.insert(find(item), vec![composed.tree]);
                }
                if let CompositePurpose::Group { group } = &composed.purpose {
                    let steps: Vec<_> = composed.steps.iter().map(|step| (find(&step.item), step.tree)).collect();
                    for ix in &account.groups[group] {
                        let from_it_on = steps.iter().skip_while(|(step, _)| step != ix).map(|(_, tree)| *tree);
                        account.cones.entry(*ix).or_default().extend(from_it_on);
                    }
                }
            }
            Event::JobStarted(job) => {
                for gate in &job.gates {
                    let runs = account.runs.entry(gate.key).or_default();
                    runs.definition = Some(gate.definition);
                    if !runs.trees.contains(&job.tree) {
                        runs.trees.push(job.tree);
                    }
                    let keys = account.keys.entry(gate.definition).or_default();
                    if !keys.contains(&gate.key) {
                        keys.push(gate.key);
                    }
                }
                account.jobs.insert(job.job, (**job).clone());
            }
            Event::JobFinished { job } => drop(account.jobs.remove(job)),
            Event::PoolResized { to, .. } => account.pool = Some(*to),
            Event::GateFinished(finished) => {
                let runs = account.runs.entry(finished.key).or_default();
                let GateFinished { outcome, verdict, .. } = &**finished;
                let failed = matches!(
                    outcome,
                    GateOutcome::Failed { .. } | GateOutcome::Signaled { .. } | GateOutcome::TimedOut { .. }
                );
                runs.failures_so_far += u32::from(failed);
                match verdict {
                    Some(Verdict::Passed { .. }) => runs.passes += 1,
                    Some(Verdict::Failed) => {}
                    Some(Verdict::Unknown) | None => return,
                }
                runs.failures += std::mem::take(&mut runs.failures_so_far);
            }
            Event::VerdictReused { key, .. } => {
                account.has_reused = true;
                account.runs.entry(*key).or_default().passes += 1;
            }
            Event::ItemDecided(decided) => {
                let passed = decided.decision == Decision::Passed;
                account.stages[find(&decided.item).get()] = if passed { Stage::Passed } else { Stage::Out };
            }
            Event::GroupFormed { group, items, .. } => {
                account.groups.insert(*group, items.iter().map(find).collect());
            }
            Event::ItemDeferred { item, reason } => {
                account.stages[find(item).get()] = Stage::Deferred;
                if matches!(reason, Reason::DependencyFailed { .. }) {
                    account.met_a_moved_base.insert(find(item));
                }
            }
            Event::Overridden(overridden) => account.overridden = Some((**overridden).clone()),
            Event::LandingIntended(intended) => account.intended = Some((**intended).clone()),
            Event::Landed(landed) => {
                account.intended = None;
                account.tip = Some((landed.to, landed.tree));
                for item in &landed.items {
                    let ix = find(item);
                    account.stages[ix.get()] = Stage::Landed;
                    let put_last = self.world.overrides.iter().any(|name| name == item.as_str());
                    if !self.late.contains(&ix) && !put_last {
                        account.last_landed = Some(ix);
                    }
                }
                account.judge_after_all(&self.graph);
            }
            Event::TargetMoved { to, to_tree, landed, .. } => {
                account.intended = None;
                for landed in landed {
                    account.stages[find(&landed.item).get()] = Stage::AlreadyLanded;
                }
                account.judge_after_all(&self.graph);
                account.base = Some(*to);
                account.tip = Some((*to, *to_tree));
            }
            Event::RunResumed { landing_is_open, .. } => {
                account.is_over = false;
                account.pool = None;
                account.jobs.clear();
                account.cones.clear();
                if !landing_is_open {
                    account.intended = None;
                }
            }
            Event::Interrupted { .. } | Event::RunHalted { .. } => account.is_over = true,
            _ => {}
        }
    }
}
