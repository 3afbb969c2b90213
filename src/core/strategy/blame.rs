//! Who a failed gate is charged to. No item fails a gate until that gate has passed on the same
//! composite without the item, in this very run, and until it has failed on the composite with it
//! more than once.

use super::{GateAction, Round};
use crate::core::judge::{KeyedGate, Keys, Standing, Wanted};
use crate::core::state::Standpoint;
use crate::plan::Spend;
use crate::plan::graph::ItemIx;
use crate::vocabulary::event::JobPurpose;
use crate::vocabulary::names::CommitId;

/// A required gate that failed on a composite whose last item is suspected of it.
pub(super) struct Accusation<'a> {
    pub item: ItemIx,
    pub gate: &'a KeyedGate,
    /// The composite with the item.
    pub with: Standpoint,
    /// The same composite without it.
    pub without: Standpoint,
    pub base: CommitId,
}

pub(super) enum Finding {
    /// More has to be run, or is being run.
    Open,
    Guilty {
        /// Nobody else has this gate, and it fails without the item too: it may test what the
        /// item brings.
        fails_without_too: bool,
    },
    /// The gate fails without the item, and other items have it.
    Red,
    Unrunnable(String),
}

impl Round<'_> {
    pub(super) fn blame(&mut self, accusation: &Accusation<'_>) -> Finding {
        let Accusation { item, gate, with, without, base } = *accusation;
        let wanted = Wanted { gate: gate.gate.clone(), context: gate.context, required: true };
        let keys = Keys::default();
        let compared = self.keyed(&keys, std::iter::once(&wanted), without.tree, base).and_then(<[_]>::first);
        let Some(compared) = compared.cloned() else { return Finding::Open };
        let name = self.state.graph().name(item).clone();
        let state = self.state;

        let only_here = state.users(gate.gate.definition) == 1
            && state.graph().gates(item).iter().any(|own| own.definition == gate.gate.definition);

        // What another run saw is no proof against an item: what fails now may fail without it now.
        let fails_without = match state.own_standing(&compared.key) {
            None => {
                let purpose = JobPurpose::Blame { item: name };
                self.gate(GateAction {
                    purpose,
                    at: without,
                    base,
                    gates: vec![compared],
                    clean_slot: false,
                    more: false,
                });
                let is_doubtful = state.standing(&gate.key).is_some_and(|failed| !self.is_firm(failed));
                if self.limits.spend == Spend::Time && is_doubtful {
                    self.second_opinion(item, with, base, gate.clone());
                }
                return Finding::Open;
            }
            Some(Standing::Unrunnable(message)) => return Finding::Unrunnable(message.to_owned()),
            Some(Standing::Passed { .. }) => false,
            // Where nobody else has the gate, a failure without the item is a note and no verdict.
            Some(failed) if only_here || self.is_firm(failed) => true,
            Some(_) => {
                self.second_opinion(item, without, base, compared);
                return Finding::Open;
            }
        };
        let is_red = fails_without && !only_here;
        // Nobody is ejected for it. But where a second opinion may have begun before that was known, it must not hang on
        // who had a slot to spare whether there was one.
        if is_red && self.limits.spend == Spend::Gates {
            return Finding::Red;
        }
        match state.standing(&gate.key) {
            Some(failed) if self.is_firm(failed) && is_red => Finding::Red,
            Some(failed) if self.is_firm(failed) => Finding::Guilty { fails_without_too: fails_without },
            _ => {
                self.second_opinion(item, with, base, gate.clone());
                Finding::Open
            }
        }
    }

    pub(super) fn second_opinion(&mut self, item: ItemIx, at: Standpoint, base: CommitId, gate: KeyedGate) {
        let purpose = JobPurpose::SecondOpinion { item: self.state.graph().name(item).clone() };
        self.gate(GateAction { purpose, at, base, gates: vec![gate], clean_slot: true, more: false });
    }
}
