//! Which jobs the named limits let start. All that a job claims is claimed at once; whoever asked before and
//! waits for what is in use keeps a place on all that it claims, so that nobody who asks for less overtakes it.
//! As every claim is within its limit, one may always start when nothing runs.
//!
//! A gate that claims more than those before it, has a pace to keep, may be rate limited or runs elsewhere begins a job of
//! its own: so nothing is held while gates run that do not need it, and no slot stands waiting for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::claims::{Claims, Needs};
use crate::core::judge::KeyedGate;
use crate::core::state::RunState;
use crate::plan::{Gate, Resource};
use crate::vocabulary::event::{Event, HeldBy, LimitOn};

/// What one asking of a strategy knows of the limits.
pub(super) struct Queue<'a> {
    claims: &'a Claims,
    resources: &'a BTreeMap<String, Resource>,
    in_use: BTreeMap<&'a str, u32>,
    /// Somebody waits for these, or keeps a place on them.
    promised: BTreeSet<&'a str>,
    /// Of these there is not enough for somebody who asked.
    lacking: BTreeSet<LimitOn>,
    /// Somebody waits for these to be over.
    paused: BTreeSet<LimitOn>,
    /// How many jobs were held back.
    held_back: usize,
}

impl<'a> Queue<'a> {
    pub(super) fn new(state: &'a RunState, resources: &'a BTreeMap<String, Resource>) -> Self {
        let claims = state.claims();
        let mut in_use = BTreeMap::new();
        if !claims.is_empty() {
            let held = state.jobs().values().flat_map(|job| claims.held_by(job));
            for (name, amount) in held {
                // Without a limit nobody counts.
                if let Some((name, _)) = resources.get_key_value(&name) {
                    let sum: &mut u32 = in_use.entry(name.as_str()).or_default();
                    *sum = sum.saturating_add(amount);
                }
            }
        }
        Self {
            claims,
            resources,
            in_use,
            promised: BTreeSet::new(),
            lacking: BTreeSet::new(),
            paused: BTreeSet::new(),
            held_back: 0,
        }
    }

    fn needs(&self, gate: &Gate) -> &'a Needs {
        self.claims.needs(gate.definition)
    }

    /// Nothing that is limited has to do with this gate.
    pub(super) fn is_out_of(&self, gate: &Gate) -> bool {
        self.needs(gate).is_empty() && gate.rate_limit_exit_code.is_none() && gate.runtime.elsewhere().is_none()
    }

    /// How many of `gates`, from the first on, make one job.
    pub(super) fn in_one_job(&self, gates: &[KeyedGate]) -> usize {
        let Some((first, behind)) = gates.split_first() else { return 0 };
        let at_hand = self.needs(&first.gate);
        let begins_a_job = |gate: &KeyedGate| {
            gate.gate.rate_limit_exit_code.is_some()
                || [first, gate].iter().any(|gate| gate.gate.runtime.elsewhere().is_some())
                || self.needs(&gate.gate).iter().any(|(name, amount)| {
                    at_hand.get(name).is_none_or(|there| there < amount) || has_a_pace(self.resources, name)
                })
        };
        1 + behind.iter().position(begins_a_job).unwrap_or(behind.len())
    }

    /// Whether a job of these gates may claim what it needs, which is what its first gate does.
    pub(super) fn lets_start(&mut self, gates: &[KeyedGate]) -> bool {
        let Some(first) = gates.first() else { return true };
        let paused = limits_on(self.claims, self.resources, &first.gate);
        let paused: Vec<LimitOn> = paused.into_iter().filter(|limit| is_paused(self.claims, limit)).collect();
        if !paused.is_empty() {
            // Nobody is served there for now, so nobody else has to wait behind this one.
            self.paused.extend(paused);
            self.held_back += 1;
            return false;
        }
        let needs = self.needs(&first.gate);
        let is_lacking = |(name, amount): &(&'a String, &u32)| {
            let limit = self.resources.get(*name).and_then(|resource| resource.limit).unwrap_or(u32::MAX);
            let in_use = self.in_use.get(name.as_str()).copied().unwrap_or(0);
            self.promised.contains(name.as_str()) || in_use.saturating_add(**amount) > limit
        };
        let lacking: Vec<LimitOn> =
            needs.iter().filter(is_lacking).map(|(name, _)| LimitOn::Resource { name: name.clone() }).collect();
        if lacking.is_empty() {
            return true;
        }
        self.promised.extend(needs.keys().map(String::as_str));
        self.lacking.extend(lacking);
        self.held_back += 1;
        false
    }

    /// A job of these gates starts.
    pub(super) fn take(&mut self, gates: &[KeyedGate]) {
        for (name, amount) in gates.first().map(|first| self.needs(&first.gate)).into_iter().flatten() {
            let sum = self.in_use.entry(name.as_str()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// How many jobs have to wait for a limit.
    pub(super) fn held_back(&self) -> usize {
        self.held_back
    }

    /// What the limits come to hold back or to let go, once everything that could start has been asked for: what is
    /// in use costs something only where slots stand empty.
    pub(super) fn changes(&self, has_free_slots: bool) -> Vec<Event> {
        let held = self.claims.held();
        let still = |limit: &LimitOn, why: HeldBy| match why {
            HeldBy::Use => has_free_slots && self.lacking.contains(limit),
            HeldBy::Pacing | HeldBy::RateLimit => self.paused.contains(limit),
        };
        let freed = held.iter().filter(|(limit, why)| !still(limit, **why));
        let freed = freed.map(|(limit, _)| Event::LimitFreed { limit: limit.clone() });
        let new = self.lacking.iter().filter(|limit| has_free_slots && !held.contains_key(limit));
        let new = new.map(|limit| Event::LimitHeld { limit: limit.clone(), why: HeldBy::Use, for_ms: None });
        freed.chain(new).collect()
    }
}

fn has_a_pace(resources: &BTreeMap<String, Resource>, name: &str) -> bool {
    resources.get(name).is_some_and(|resource| !resource.gap.is_zero())
}

/// What keeps a gate waiting while it is rate limited, or has to keep a pace: all that it claims which has one. A gate
/// that claims nothing of the kind, and may be rate limited, waits for its own like.
pub fn limits_on(claims: &Claims, resources: &BTreeMap<String, Resource>, gate: &Gate) -> Vec<LimitOn> {
    let paced = claims.needs(gate.definition).keys().filter(|name| has_a_pace(resources, name));
    let paced: Vec<LimitOn> = paced.map(|name| LimitOn::Resource { name: name.clone() }).collect();
    match (paced.is_empty(), gate.rate_limit_exit_code) {
        (true, Some(_)) => vec![LimitOn::Gate { name: gate.name.clone() }],
        _ => paced,
    }
}

fn is_paused(claims: &Claims, limit: &LimitOn) -> bool {
    claims.held().get(limit).is_some_and(|why| *why != HeldBy::Use)
}
