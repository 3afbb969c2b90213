//! What must hold of every run, whatever happened in it, judged from what the world saw and from
//! the journal alone.

use std::collections::{BTreeMap, HashSet};

use lexpr::core::state::Phase;
use lexpr::engine::verifying::{self, Earlier, Finding, Records};
use lexpr::plan::graph::ItemIx;
use lexpr::plan::{Gate, Landing};
use lexpr::vocabulary::event::{Decision, Event, FinalItem, FinalStatus, JobPurpose, Overridden, Reason, Recorded};
use lexpr::vocabulary::names::{CommitId, ItemName, RunId, VerdictKey};

use super::{Effect, GateRecord, Outcome};

pub fn check(outcome: &Outcome) {
    invariant_1_what_landed_was_tested(outcome);
    invariant_2_dependencies_hold(outcome);
    invariant_5_receipts_are_what_the_journal_makes_of_them(outcome);
    invariant_6_the_journal_tells_all(outcome);
    invariant_7_bounded(outcome);
    every_item_has_one_end(outcome);
    nobody_is_blamed_without_evidence(outcome);
    nothing_runs_twice_without_need(outcome);
    what_lands_is_in_canonical_order(outcome);
}

fn looks_alike(gate: &Gate, run: &GateRecord, outcome: &Outcome, tree: &super::Content) -> bool {
    let same = |name: &String| {
        let ix = outcome.graph.find(&name.as_str().into());
        ix.is_none_or(|ix| run.what.has(ix) == tree.has(ix))
    };
    gate.inputs.as_ref().map_or(*run.what == *tree, |inputs| inputs.iter().all(same))
}

/// Every tree the target was moved to had a pass of every gate that its items require at the apex.
fn invariant_1_what_landed_was_tested(outcome: &Outcome) {
    if outcome.world.remembered.is_some() {
        return;
    }
    let runs = outcome.gate_runs();
    let overridden = overridden(outcome);
    for landing in outcome.hands.landing_records() {
        for ix in outcome.graph.indices().filter(|ix| landing.after.has(*ix) && !landing.before.has(*ix)) {
            for gate in outcome.graph.gates(ix).iter().filter(|gate| gate.required && gate.at.apex) {
                let by_leave = overridden.get(&landing.to).is_some_and(|overridden| {
                    overridden.item == *outcome.graph.name(ix)
                        && overridden.gates.iter().any(|other| other.definition == gate.definition)
                });
                let proven = by_leave
                    || runs[..landing.gate_records].iter().any(|run| {
                        run.passed
                            && run.definition == gate.definition
                            && looks_alike(gate, run, outcome, &landing.after)
                    });
                assert!(
                    proven,
                    "invariant 1: {} landed, {} never passed on that tree",
                    outcome.graph.name(ix),
                    gate.name
                );
            }
        }
    }
}

/// What was let land although its gates did not pass, by the commit that the target was moved to: each alone, nothing else
/// after it, and only what the run was allowed to.
fn overridden(outcome: &Outcome) -> BTreeMap<CommitId, Overridden> {
    let mut overridden: BTreeMap<CommitId, Overridden> = BTreeMap::new();
    let mut latest: Option<Overridden> = None;
    let is_allowed = |name: &ItemName| outcome.world.overrides.iter().any(|allowed| allowed == name.as_str());
    let mut is_at_the_last = false;
    // Where others move the target what was put off may be judged after all, and a gate that could not be run may run later.
    let disturbs = |event: &Event| matches!(event, Event::TargetMoved { .. } | Event::RunResumed { .. });
    let is_disturbed = outcome.events.iter().any(|recorded| disturbs(&recorded.event));
    for recorded in &outcome.events {
        match &recorded.event {
            Event::Overridden(one) => latest = Some((**one).clone()),
            Event::ApexFormed { items, .. } => {
                let last = items.iter().any(is_allowed);
                assert!(!last || items.len() == 1, "what is overridden lands alone");
                assert!(last || !is_at_the_last || is_disturbed, "what is overridden lands last");
                is_at_the_last |= last;
            }
            Event::LandingIntended(intended) => {
                let [item] = &intended.items[..] else { continue };
                if let Some(one) = latest.as_ref().filter(|one| one.item == *item && one.apex == intended.apex) {
                    assert!(is_allowed(item), "{item} is overridden by nobody's leave");
                    assert!(one.gates.iter().all(|gate| !intended.proof.contains(&gate.key)), "overridden and proven");
                    overridden.insert(intended.to, one.clone());
                }
            }
            _ => {}
        }
    }
    overridden
}

/// Every receipt that was written, live or by a resumption, is made again from setup and journal.
fn invariant_5_receipts_are_what_the_journal_makes_of_them(outcome: &Outcome) {
    let records = Records::of(&outcome.setup, &outcome.events).expect("what happened live can happen again");
    for receipt in outcome.hands.receipts() {
        let claimed = verifying::read(receipt.to_string().as_bytes()).expect("lexpr wrote it");
        let checks = records.check(&claimed, &NobodyKnows);
        let differs: Vec<_> = checks.iter().filter(|check| check.finding == Finding::Differs).collect();
        assert!(differs.is_empty(), "invariant 5: {differs:?}");
    }
}

/// Of earlier runs.
struct NobodyKnows;

impl Earlier for NobodyKnows {
    fn events(&self, _: &RunId) -> Option<Vec<Recorded>> {
        None
    }

    fn remembers(&self, _: VerdictKey, _: &RunId) -> bool {
        false
    }
}

fn is_good(phase: &Phase) -> bool {
    matches!(phase, Phase::Passed | Phase::Landed | Phase::AlreadyLanded)
}

fn invariant_2_dependencies_hold(outcome: &Outcome) {
    let graph = &outcome.graph;
    let mut state = outcome.replayed(0);
    for recorded in &outcome.events {
        let deps_are_good = |name| {
            let ix = graph.find(name).unwrap();
            matches!(state.phase(ix), Phase::AlreadyLanded)
                || graph.deps(ix).iter().all(|dep| is_good(state.phase(*dep)))
        };
        match &recorded.event {
            Event::JobStarted(job) => {
                if let JobPurpose::Cone { item } = &job.purpose {
                    assert!(deps_are_good(item), "invariant 2: {item} is gated before its dependencies passed");
                }
            }
            Event::ItemDecided(decided) if decided.decision != Decision::Blocked => {
                let by_itself = matches!(decided.decision, Decision::Failed | Decision::Passed);
                // In one round of decisions a dependency may have gone out just before.
                let undecided = |dep: &ItemIx| matches!(state.phase(*dep), Phase::Waiting | Phase::Eligible);
                let ix = graph.find(&decided.item).unwrap();
                assert!(
                    !by_itself || !graph.deps(ix).iter().any(undecided),
                    "invariant 2: {} was decided while a dependency was not",
                    decided.item
                );
            }
            _ => {}
        }
        state.apply(&recorded.event).unwrap();
    }
    for landing in outcome.hands.landing_records() {
        for ix in graph.indices().filter(|ix| landing.after.has(*ix) && !landing.before.has(*ix)) {
            for dep in graph.deps(ix) {
                let there = landing.after.has(*dep);
                assert!(there, "invariant 2: {} landed without {}", graph.name(ix), graph.name(*dep));
            }
        }
    }
    let end = &outcome.end().items;
    let landed = |ix: ItemIx| matches!(end[ix.get()].status, FinalStatus::Landed | FinalStatus::AlreadyLanded);
    let is_out = |ix: ItemIx| {
        use FinalStatus::{Blocked, Conflicted, Failed, Unjudged};
        matches!(end[ix.get()].status, Failed | Conflicted | Unjudged | Blocked)
    };
    for ix in graph.indices().filter(|ix| end[ix.get()].status != FinalStatus::AlreadyLanded) {
        let behind_a_failure = graph.deps(ix).iter().any(|dep| is_out(*dep));
        let status = end[ix.get()].status;
        let name = graph.name(ix);
        if behind_a_failure {
            assert_eq!(status, FinalStatus::Blocked, "invariant 2: {name} is behind a failure");
        } else if status == FinalStatus::Blocked {
            let why = end[ix.get()].reason.as_ref();
            let behind_an_override = matches!(why, Some(Reason::DependencyOverridden { root })
                if outcome.world.overrides.iter().any(|name| name == root.as_str())
                    && graph.deps(ix).iter().any(|dep| graph.name(*dep) == root));
            let is_own = matches!(why, Some(Reason::BlockOn { .. } | Reason::DependenciesConflict { .. }));
            assert!(is_own || behind_an_override, "invariant 2: {name} is blocked by nothing: {why:?}");
        }
        if status == FinalStatus::Landed {
            assert!(graph.deps(ix).iter().all(|dep| landed(*dep)), "invariant 2: {name} landed before a dependency");
        }
        if let Some(Reason::DependencyFailed { root }) = &end[ix.get()].reason {
            let root = graph.find(root).unwrap();
            assert!(graph.closure(ix).contains(&root), "the root of a block is a dependency");
            assert!(!landed(root), "the root of a block did not land");
        }
    }
}

fn invariant_6_the_journal_tells_all(outcome: &Outcome) {
    assert_eq!(outcome.events, outcome.shown, "invariant 6: what was shown is what was journalled");
    let state = outcome.replayed(outcome.events.len());
    assert_eq!(state.final_items(), outcome.end().items, "invariant 6: replay ends where the run did");

    // What is written is read back, so that a resumption replays the same. That every step follows
    // from a replay is watched while it happens.
    for recorded in &outcome.events {
        let text = serde_json::to_string(recorded).unwrap();
        let read: Recorded = serde_json::from_str(&text).unwrap();
        assert!(read == *recorded, "invariant 6: {recorded:?} is read back as {read:?}");
    }
}

fn invariant_7_bounded(outcome: &Outcome) {
    let workers = outcome.world.limits.max_workers;
    assert!(outcome.hands.most_here() <= workers as usize, "invariant 7: more jobs than workers");
}

fn every_item_has_one_end(outcome: &Outcome) {
    let end = &outcome.end().items;
    assert_eq!(end.len(), outcome.graph.len());
    let summed: usize = FinalStatus::ALL.iter().map(|status| outcome.with_status(*status).len()).sum();
    assert_eq!(summed, end.len(), "statuses sum to the total");
    // By the last process that worked on it.
    let last = outcome.events.iter().rev().take_while(|recorded| !matches!(recorded.event, Event::RunResumed { .. }));
    let cut_short = last
        .map(|recorded| &recorded.event)
        .any(|event| matches!(event, Event::RunHalted { .. } | Event::Interrupted { .. }));
    let state = outcome.replayed(outcome.events.len());
    let deferred = outcome.graph.indices().filter(|ix| matches!(state.phase(*ix), Phase::Deferred(_))).count();
    assert!(cut_short || deferred == 0, "what was put off is decided in the end");
    for FinalItem { name, status, reason } in end {
        let unfinished = matches!(status, FinalStatus::Skipped | FinalStatus::NotLanded);
        assert!(cut_short || !unfinished, "{name} was forgotten: {status}");
        let needs_none = unfinished || matches!(status, FinalStatus::Landed | FinalStatus::AlreadyLanded);
        assert_eq!(reason.is_none(), needs_none, "{name} {status} has the reason {reason:?}");
    }
    let landed: HashSet<String> = outcome.landed().into_iter().collect();
    assert_eq!(landed.len(), outcome.landed().len(), "nothing lands twice");
    assert_eq!(landed, outcome.with_status(FinalStatus::Landed).into_iter().collect());
    let code = outcome.exit_code();
    let all = end.iter().all(|item| matches!(item.status, FinalStatus::Landed | FinalStatus::AlreadyLanded));
    assert!(cut_short || code == if all { 0 } else { 3 }, "exit code {code}");
}

/// An item fails only by a gate that never passed on the tree with it and, unless nobody else has
/// that gate, passed on that tree without it. So neither a flake nor a red target ejects anybody.
fn nobody_is_blamed_without_evidence(outcome: &Outcome) {
    let runs = outcome.gate_runs();
    for FinalItem { name, status, reason } in &outcome.end().items {
        let Some(Reason::GateFailed { key, fails_without_too, .. }) = reason else { continue };
        if *status != FinalStatus::Failed {
            continue;
        }
        let ix = outcome.graph.find(name).unwrap();
        let of_key: Vec<&GateRecord> = runs.iter().filter(|run| run.key == *key).collect();
        let failures = of_key.iter().filter(|run| run.failed).count();
        let wanted = if outcome.world.limits.second_opinion { 2 } else { 1 };
        assert!(!of_key.iter().any(|run| run.passed), "a flake ejects nobody: {name}");
        assert!(failures >= wanted, "{name} failed after {failures} failures");
        let Some(with) = of_key.first() else { panic!("{name} failed by a gate that never ran") };
        if *fails_without_too {
            let own = outcome.graph.gates(ix).iter().any(|gate| gate.definition == with.definition);
            let users = outcome
                .graph
                .indices()
                .filter(|ix| outcome.graph.gates(*ix).iter().any(|gate| gate.definition == with.definition));
            assert!(own && users.count() == 1, "{name} fails a shared gate that fails without it too");
            continue;
        }
        let mut all_gates = outcome.graph.indices().flat_map(|ix| outcome.graph.gates(ix));
        let gate = all_gates.find(|gate| gate.definition == with.definition).unwrap();
        let compared = of_key.iter().any(|with| {
            let without = with.what.without(ix);
            let alike = |run: &GateRecord| looks_alike(gate, run, outcome, &without);
            runs.iter().any(|run| run.passed && run.definition == with.definition && alike(run))
        });
        assert!(compared, "{name} is blamed for what nobody saw pass without it");
    }
}

/// One run of each key, and another only after a failure, for a second opinion.
fn nothing_runs_twice_without_need(outcome: &Outcome) {
    // A run that was stopped before it came to a verdict does not count.
    let mut jobs: BTreeMap<(VerdictKey, u64), (bool, bool, bool)> = BTreeMap::new();
    let runs = outcome.gate_runs();
    for run in runs.iter().filter(|run| !run.lost) {
        let (failed, passed, judged) = jobs.entry((run.key, run.job.0)).or_default();
        *failed |= run.failed;
        *passed |= run.passed;
        let ended_early = run.stopped || run.refused || outcome.world.is_resumed();
        *judged |= run.judged || (!run.failed && !run.passed && !ended_early);
    }
    let mut keys: BTreeMap<VerdictKey, Vec<bool>> = BTreeMap::new();
    for ((key, _), (failed, passed, judged)) in jobs {
        if judged {
            keys.entry(key).or_default().push(failed && !passed);
        }
    }
    for (key, runs) in keys {
        assert!(runs.len() <= 2, "{key} ran {} times", runs.len());
        if runs.len() == 2 {
            assert!(outcome.world.limits.second_opinion && runs[0], "{key} ran again for no reason");
        }
    }
    let second: HashSet<u64> = outcome
        .events
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Event::JobStarted(job) if matches!(job.purpose, JobPurpose::SecondOpinion { .. }) => Some(job.job.0),
            _ => None,
        })
        .collect();
    for run in runs.iter().filter(|run| !run.lost) {
        assert_eq!(run.clean_slot, second.contains(&run.job.0), "a second opinion, and it alone, wants a clean slot");
    }
}

fn what_lands_is_in_canonical_order(outcome: &Outcome) {
    // Where others were in the way until they merged an item themselves, it and what is behind it
    // land after what did not wait for them.
    let brought = outcome.world.others.iter().flat_map(|others| &others.brings);
    let late: HashSet<ItemIx> = brought.filter_map(|name| outcome.graph.find(&name.as_str().into())).collect();
    let put_last = |ix: &ItemIx| outcome.world.overrides.iter().any(|name| name == outcome.graph.name(*ix).as_str());
    let is_late = |ix: &ItemIx| {
        put_last(ix) || late.contains(ix) || outcome.graph.closure(*ix).iter().any(|dep| late.contains(dep))
    };
    let landed = outcome.landed();
    let landed = landed.iter().map(|name| outcome.graph.find(&name.as_str().into()).unwrap());
    let order: Vec<ItemIx> = landed.filter(|ix| !is_late(ix)).collect();
    assert!(order.is_sorted(), "landed out of order: {:?}", outcome.landed());
    let records = outcome.hands.landing_records();
    let mut told: HashSet<CommitId> = HashSet::new();
    let mut intended: Option<CommitId> = None;
    for recorded in &outcome.events {
        let landed = match &recorded.event {
            Event::LandingIntended(about_to) => {
                intended = Some(about_to.to);
                continue;
            }
            Event::Landed(landed) => landed,
            _ => continue,
        };
        told.insert(landed.to);
        if landed.from == landed.to {
            continue;
        }
        let landing = records.iter().find(|record| record.to == landed.to).expect("what landed was seen to land");
        let there = |ix: &ItemIx| landing.after.has(*ix) && !landing.before.has(*ix);
        let added: Vec<_> = outcome.graph.indices().filter(there).map(|ix| outcome.graph.name(ix)).collect();
        let new = |name: &&ItemName| !landing.before.has(outcome.graph.find(name).unwrap());
        let named: Vec<_> = landed.items.iter().filter(new).collect();
        assert_eq!(added, named, "a landing adds its items and nothing else");
    }
    // Something may have kept lexpr from bringing the last one to its end.
    let is_known = |to: CommitId| told.contains(&to) || (intended == Some(to) && outcome.exit_code() != 0);
    assert!(records.iter().all(|record| is_known(record.to)), "the target was moved, and nobody told");
}

/// What a plan comes to by the plainest means: one item after another, no flakes, no speculation,
/// no batches. Only for worlds in which all items share all gates, which fail by rules alone.
pub fn expected(outcome: &Outcome) -> Vec<(String, FinalStatus)> {
    expected_without(outcome, &vec![false; outcome.graph.len()])
}

/// The same where some are not tried at all.
pub fn expected_without(outcome: &Outcome, left_out: &[bool]) -> Vec<(String, FinalStatus)> {
    let graph = &outcome.graph;
    let world = &outcome.world;
    let at = |name: &String| graph.find(&name.as_str().into()).unwrap();
    let conflict = |one: ItemIx, others: &[ItemIx]| {
        world.conflicts.iter().any(|(a, b)| {
            let (a, b) = (at(a), at(b));
            (a == one && others.contains(&b)) || (b == one && others.contains(&a))
        })
    };
    let fails = |items: &[ItemIx]| {
        world.rules.iter().any(|rule| {
            rule.effect == Effect::Fails
                && world.gates.iter().any(|gate| gate.run == rule.gate && gate.required)
                && rule.present.iter().all(|name| items.contains(&at(name)))
        })
    };
    // Without cones no item is looked at but on what has landed.
    let has_cones = world.limits.landing == Landing::Pyramid;
    let mut landed: Vec<ItemIx> = Vec::new();
    let mut end: Vec<FinalStatus> = Vec::new();
    for ix in graph.indices() {
        let deps = graph.closure(ix);
        let cone = [deps.clone(), vec![ix]].concat();
        let tip = [landed.clone(), vec![ix]].concat();
        let status = if left_out[ix.get()] {
            FinalStatus::Skipped
        } else if graph.deps(ix).iter().any(|dep| !landed.contains(dep)) {
            FinalStatus::Blocked
        } else if conflict(ix, &deps) || (!has_cones && conflict(ix, &landed)) {
            FinalStatus::Conflicted
        } else if fails(&[]) {
            FinalStatus::Unjudged
        } else if fails(&cone) {
            FinalStatus::Failed
        } else if conflict(ix, &landed) {
            FinalStatus::Conflicted
        } else if fails(&tip) {
            FinalStatus::Failed
        } else {
            landed.push(ix);
            FinalStatus::Landed
        };
        end.push(status);
    }
    graph.indices().map(|ix| (graph.name(ix).to_string(), end[ix.get()])).collect()
}
