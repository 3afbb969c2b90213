//! Which gates a composite needs, what their verdicts are filed under, and what the known
//! verdicts come to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use crate::plan::Gate;
use crate::plan::graph::{Graph, ItemIx};
use crate::vocabulary::event::{GateOutcome, Verdict};
use crate::vocabulary::names::{DefinitionDigest, SubjectDigest, TreeId, VerdictKey};
pub use crate::vocabulary::verdict::Surroundings;

/// A gate that a composite needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub gate: Arc<Gate>,
    /// For a gate with `context: true`: the item whose name it is told.
    pub context: Option<ItemIx>,
    pub required: bool,
}

impl Wanted {
    /// What makes two wanted gates one.
    pub fn identity(&self) -> (DefinitionDigest, Option<ItemIx>) {
        (self.gate.definition, self.context)
    }
}

/// A [`Wanted`] gate on one tree.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedGate {
    pub gate: Arc<Gate>,
    pub context: Option<ItemIx>,
    pub required: bool,
    pub key: VerdictKey,
}

/// The gates of one composite on its tree, once their keys have been worked out: a strategy looks at every open
/// composite after every event, and a key is a digest. To work them out again says the same, so that no state is
/// another for what is in one or not.
#[derive(Clone, Debug, Default)]
pub struct Keys(OnceLock<Arc<[KeyedGate]>>);

impl Keys {
    /// What `work_out` says, which is asked until it says something.
    pub fn get_or(&self, work_out: impl FnOnce() -> Option<Arc<[KeyedGate]>>) -> Option<&[KeyedGate]> {
        if let Some(known) = self.0.get() {
            return Some(known);
        }
        let gates = work_out()?;
        Some(self.0.get_or_init(|| gates))
    }
}

impl PartialEq for Keys {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The gates of an item's cone: the required gates of all items in it, and the item's own
/// optional ones, distinct, in canonical order of items and plan order of gates.
pub fn cone_gates(graph: &Graph, unlanded_deps: &[ItemIx], item: ItemIx) -> Vec<Wanted> {
    let of_deps = unlanded_deps.iter().flat_map(|&ix| wanted_by(graph, ix)).filter(|wanted| wanted.required);
    distinct(of_deps.chain(wanted_by(graph, item)).filter(|wanted| wanted.gate.at.cone))
}

/// The gates of an apex, each with the position of the first member that needs it: a prefix of
/// k members needs those whose position is below k.
pub fn apex_gates(graph: &Graph, members: &[ItemIx]) -> Vec<(usize, Wanted)> {
    let mut seen = HashSet::new();
    members
        .iter()
        .enumerate()
        .flat_map(|(at, &ix)| wanted_by(graph, ix).map(move |wanted| (at, wanted)))
        .filter(|(_, wanted)| wanted.required && wanted.gate.at.apex && seen.insert(wanted.identity()))
        .collect()
}

/// Of gates that have the position of the first member that needs them: those that the first `members` need.
pub fn needed_by_first(gates: &[(usize, Wanted)], members: usize) -> impl Iterator<Item = &Wanted> + Clone {
    gates.iter().filter(move |(first, _)| *first < members).map(|(_, wanted)| wanted)
}

/// What an item asks for itself, in plan order.
pub fn wanted_by(graph: &Graph, ix: ItemIx) -> impl Iterator<Item = Wanted> {
    graph.gates(ix).iter().map(move |gate| Wanted {
        gate: Arc::clone(gate),
        context: gate.context.then_some(ix),
        required: gate.required,
    })
}

fn distinct(wanted: impl Iterator<Item = Wanted>) -> Vec<Wanted> {
    let mut kept: Vec<Wanted> = Vec::new();
    let mut position = HashMap::new();
    for one in wanted {
        match position.entry(one.identity()) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(kept.len());
                kept.push(one);
            }
            // Required by one of the items means required.
            std::collections::hash_map::Entry::Occupied(entry) => kept[*entry.get()].required |= one.required,
        }
    }
    kept
}

/// What a gate without `inputs` looks at: the tree as a whole.
pub fn whole_tree(tree: TreeId) -> SubjectDigest {
    SubjectDigest::of([b"tree".as_slice(), tree.as_bytes()])
}

/// All that is known of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRuns {
    /// Those of other runs included.
    passes: u32,
    /// Known from other runs: the machine may be another by now.
    remembered: u32,
    failures: u32,
    /// Failed attempts of runs that have not come to a verdict: another attempt, or another run
    /// where this one was broken off, may pass.
    failures_so_far: u32,
    /// lexpr could not run the gate, within the limit of its own retries.
    unrunnable: Option<String>,
    /// How often in a row it was rate limited.
    rate_limited: u32,
    /// Ended ones, whatever they came to.
    attempts: u32,
}

/// So often in a row a gate is asked for again that is rate limited: with doubling waits that takes a good quarter of an
/// hour. Whoever is refused for longer will be for good.
pub const MOST_RATE_LIMITS: u32 = 10;

/// What the runs of one key come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// One pass is enough: a failure beside it is a flake.
    Passed {
        flaky: bool,
    },
    /// Failed, every time it ran.
    Failed {
        more_than_once: bool,
    },
    Unrunnable(&'a str),
}

impl KnownRuns {
    /// A pass is known from an earlier run.
    pub fn reuse(&mut self) {
        self.passes += 1;
        self.remembered += 1;
    }

    /// What could not be run in one process may be in the next.
    pub fn forget_unrunnable(&mut self) {
        self.unrunnable = None;
        self.rate_limited = 0;
    }

    /// Counts one ended attempt. `verdict` is what its run came to, if it was the last attempt.
    pub fn count(&mut self, outcome: &GateOutcome, verdict: Option<Verdict>) {
        self.attempts += 1;
        if outcome.is_failure() {
            self.failures_so_far += 1;
        }
        match outcome {
            GateOutcome::RateLimited { .. } => self.rate_limited += 1,
            GateOutcome::Cancelled => {}
            _ => self.rate_limited = 0,
        }
        match verdict {
            None => return,
            Some(Verdict::Passed { .. }) => self.passes += 1,
            Some(Verdict::Failed) => {}
            Some(Verdict::Unknown) => {
                if let GateOutcome::Infrastructure { message } = outcome {
                    self.unrunnable = Some(message.clone());
                }
                if self.rate_limited >= MOST_RATE_LIMITS {
                    self.unrunnable = Some(format!("rate limited {MOST_RATE_LIMITS} times in a row"));
                }
                return;
            }
        }
        self.failures += std::mem::take(&mut self.failures_so_far);
    }

    /// How many attempts have ended.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// `None` while no run has come to a verdict.
    pub fn standing(&self) -> Option<Standing<'_>> {
        self.standing_of(self.passes)
    }

    /// The same, of what this run has seen itself.
    pub fn own_standing(&self) -> Option<Standing<'_>> {
        self.standing_of(self.passes - self.remembered)
    }

    fn standing_of(&self, passes: u32) -> Option<Standing<'_>> {
        match (passes, self.failures, &self.unrunnable) {
            (1.., failures, _) => Some(Standing::Passed { flaky: failures > 0 }),
            (0, 2.., _) => Some(Standing::Failed { more_than_once: true }),
            // Also where a single failure was to be confirmed: nobody is ejected on half a proof,
            // and what cannot be run is not asked for for ever.
            (0, _, Some(message)) => Some(Standing::Unrunnable(message)),
            (0, 1, None) => Some(Standing::Failed { more_than_once: false }),
            (0, 0, None) => None,
        }
    }
}

/// What the known verdicts say of one composite.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Every required gate passed, and every optional one ran.
    Passed,
    /// A required gate failed: the first in order that did.
    Failed(KeyedGate),
    /// A required gate could not be run.
    Unrunnable(KeyedGate, String),
    /// These have no verdict yet and have to be run, in order.
    Open(Vec<KeyedGate>),
}

/// Judges a composite by `gates`, each with its standing. With `fail_fast` the first one in order
/// that is no pass settles it, and what stands behind it is not asked for; without, every gate is
/// run first. Either way it is the order that decides and never which verdict was known first:
/// another composite may have run an equal gate at any time.
pub fn judge<'a>(gates: impl Iterator<Item = (&'a KeyedGate, Option<Standing<'a>>)>, fail_fast: bool) -> Judgement {
    let mut open = Vec::new();
    let mut failed = None;
    let mut unrunnable = None;
    for (gate, standing) in gates {
        match standing {
            None => {
                open.push(gate.clone());
                continue;
            }
            Some(Standing::Passed { .. }) => continue,
            Some(_) if !gate.required => continue,
            Some(Standing::Failed { .. }) if failed.is_none() => failed = Some(Judgement::Failed(gate.clone())),
            Some(Standing::Unrunnable(message)) if unrunnable.is_none() => {
                unrunnable = Some(Judgement::Unrunnable(gate.clone(), message.to_owned()));
            }
            Some(_) => {}
        }
        if fail_fast {
            break;
        }
    }
    if !open.is_empty() {
        return Judgement::Open(open);
    }
    failed.or(unrunnable).unwrap_or(Judgement::Passed)
}

/// How many of `gates` are judged at all: with `fail_fast`, none behind the first required one
/// that is known not to pass.
pub fn reached<'a>(gates: impl Iterator<Item = (bool, Option<Standing<'a>>)>, fail_fast: bool) -> usize {
    let mut count = 0;
    for (required, standing) in gates {
        count += 1;
        if fail_fast && required && matches!(standing, Some(Standing::Failed { .. } | Standing::Unrunnable(_))) {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> GateOutcome {
        GateOutcome::Failed { exit_code: 1 }
    }

    fn broken() -> GateOutcome {
        GateOutcome::Infrastructure { message: "no slot".to_owned() }
    }

    fn known(runs: &[(GateOutcome, Option<Verdict>)]) -> KnownRuns {
        let mut known = KnownRuns::default();
        for (outcome, verdict) in runs {
            known.count(outcome, *verdict);
        }
        known
    }

    #[test]
    fn one_pass_beside_a_failure_is_a_flake_and_two_failures_stand_firm() {
        let pass = (GateOutcome::Passed, Some(Verdict::Passed { flaky: false }));
        let fail = (failed(), Some(Verdict::Failed));
        assert_eq!(known(&[]).standing(), None);
        assert_eq!(known(std::slice::from_ref(&pass)).standing(), Some(Standing::Passed { flaky: false }));
        assert_eq!(known(&[fail.clone(), pass]).standing(), Some(Standing::Passed { flaky: true }));
        assert_eq!(known(std::slice::from_ref(&fail)).standing(), Some(Standing::Failed { more_than_once: false }));
        assert_eq!(known(&[fail.clone(), fail]).standing(), Some(Standing::Failed { more_than_once: true }));
    }

    #[test]
    fn attempts_count_once_their_run_has_come_to_a_verdict() {
        let first = (failed(), None);
        assert_eq!(known(std::slice::from_ref(&first)).standing(), None);
        let both = [first.clone(), (failed(), Some(Verdict::Failed))];
        assert_eq!(known(&both).standing(), Some(Standing::Failed { more_than_once: true }));
        let cancelled = [first, (GateOutcome::Cancelled, Some(Verdict::Unknown))];
        assert_eq!(known(&cancelled).standing(), None);
    }

    #[test]
    fn a_gate_that_is_rate_limited_is_asked_for_again_until_it_never_seems_to_end() {
        let limited = (GateOutcome::RateLimited { exit_code: 75 }, Some(Verdict::Unknown));
        let most = MOST_RATE_LIMITS as usize;
        assert_eq!(known(&vec![limited.clone(); most - 1]).standing(), None);
        let given_up = known(&vec![limited.clone(); most]);
        assert_eq!(given_up.standing(), Some(Standing::Unrunnable("rate limited 10 times in a row")));
        let mut runs = vec![limited; most - 1];
        runs.insert(4, (failed(), Some(Verdict::Failed)));
        assert_eq!(known(&runs).standing(), Some(Standing::Failed { more_than_once: false }), "not in a row");
    }

    #[test]
    fn a_failure_that_could_not_be_confirmed_is_no_verdict() {
        let runs = [(failed(), Some(Verdict::Failed)), (broken(), Some(Verdict::Unknown))];
        assert_eq!(known(&runs).standing(), Some(Standing::Unrunnable("no slot")));
    }
}
