//! What proves the tree of a landing: the passes that its receipt names, as the events tell of them.

use std::collections::HashMap;

use super::{ApexView, RunView};
use crate::report::json::ProvenBy;
use crate::vocabulary::event::{LinedUpGate, RanBy, Verdict};
use crate::vocabulary::names::{DefinitionDigest, FileDigest, GateName, RunId, VerdictKey};
use crate::vocabulary::verdict::Remembered;

/// A pass that an earlier run found.
#[derive(Clone, Debug)]
pub struct ReusedView {
    pub gate: GateName,
    pub from: RunId,
    /// `None` where the journal, an old one, tells no more of it than what and from where.
    pub definition: Option<DefinitionDigest>,
    /// A copy of its log.
    pub log: Option<String>,
    log_digest: Option<FileDigest>,
    pub duration_ms: u64,
    flaky: bool,
}

impl ReusedView {
    pub(super) fn of(gate: &GateName, from: &RunId, remembered: Option<&Remembered>) -> Self {
        let log = remembered.and_then(|remembered| remembered.log.clone());
        Self {
            gate: gate.clone(),
            from: from.clone(),
            definition: remembered.map(|remembered| remembered.definition),
            log_digest: remembered.and_then(|remembered| remembered.log_digest).filter(|_| log.is_some()),
            log,
            duration_ms: remembered.map_or(0, |remembered| remembered.duration_ms),
            flaky: remembered.is_some_and(|remembered| remembered.flaky),
        }
    }
}

/// What is asked for each landing and is the same for all.
#[derive(Debug)]
pub struct Gates<'a> {
    of_keys: &'a HashMap<VerdictKey, DefinitionDigest>,
    by_definition: HashMap<DefinitionDigest, &'a LinedUpGate>,
}

impl<'a> Gates<'a> {
    pub fn of(view: &'a RunView, of_keys: &'a HashMap<VerdictKey, DefinitionDigest>) -> Self {
        let gates = view.items.iter().flat_map(|item| &item.lined_up.gates);
        Self { of_keys, by_definition: gates.map(|gate| (gate.definition, &**gate)).collect() }
    }
}

impl RunView {
    /// The passes that prove what an apex landed as, in the order in which its receipt has them.
    pub fn proof(&self, apex: &ApexView, gates: &Gates<'_>) -> Vec<ProvenBy> {
        apex.proof.iter().map(|key| self.proven_by(*key, gates)).collect()
    }

    fn proven_by(&self, key: VerdictKey, gates: &Gates<'_>) -> ProvenBy {
        let flaky = self.attempts_of(key).any(|attempt| attempt.flake);
        let passed = |run: Option<Verdict>| matches!(run, Some(Verdict::Passed { .. }));
        let own = self.attempts_of(key).rfind(|attempt| passed(attempt.run.verdict)).map(|attempt| &attempt.run);
        let reused = self.reused.get(&key).filter(|_| own.is_none());
        let definition = reused.and_then(|reused| reused.definition).or_else(|| gates.of_keys.get(&key).copied());
        let gate = definition.and_then(|definition| gates.by_definition.get(&definition));
        let runtime = definition.and_then(|definition| self.ran_by(definition));
        ProvenBy {
            gate: own.map(|run| run.gate.clone()).or_else(|| reused.map(|reused| reused.gate.clone())),
            key,
            earlier_run: reused.map(|reused| reused.from.clone()),
            by_inputs: gate.is_some_and(|gate| gate.by_inputs),
            warm_slot: gate.is_none_or(|gate| !gate.clean) && runtime.is_none_or(RanBy::has_slot),
            flaky: flaky || reused.is_some_and(|reused| reused.flaky),
            duration_ms: own.map_or_else(|| reused.map_or(0, |reused| reused.duration_ms), |run| run.duration_ms),
            log: own.map(|run| run.log.to_string()).or_else(|| reused.and_then(|reused| reused.log.clone())),
            log_digest: own.map_or_else(|| reused.and_then(|reused| reused.log_digest), |run| run.log_digest),
            runtime: runtime.cloned(),
            node: own.and_then(|run| run.elsewhere.as_ref()?.node.clone()),
        }
    }
}
