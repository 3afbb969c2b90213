//! That what a run does is what its strategy says, asked of a replay of the journal so far: nothing that a decision hangs
//! on lives outside the journal.

use lexpr::core::strategy::Action;
use lexpr::plan::graph::Graph;
use lexpr::vocabulary::event::{Event, HeldBy};

/// What the strategy answered when it was last asked, as far as the journal tells.
#[derive(Default)]
pub struct Answers {
    actions: Vec<Action>,
    /// Since then it may have been asked again.
    may_have_asked: bool,
    /// What it was last seen to say was a decision.
    has_decided: bool,
}

impl Answers {
    pub fn check_that_it_follows(&mut self, event: &Event, graph: &Graph, ask: impl Fn() -> Vec<Action>) {
        if !is_step(event) {
            if is_held_up(event) {
                self.may_have_asked = true;
            } else {
                self.actions.clear();
            }
            return;
        }
        let begins = matches!(event, Event::JobStarted(_) | Event::LandingIntended(_));
        // What begins was asked for knowing of every decision.
        if begins && self.has_decided {
            self.actions.clear();
        }
        self.has_decided = !begins;
        // In the middle of what was asked for, or before it asked again: the journal does not say which.
        if std::mem::take(&mut self.may_have_asked) {
            self.actions.extend(ask());
        }
        if !self.actions.iter().any(|action| leads_to(action, event, graph)) {
            self.actions = ask();
        }
        let follows = self.actions.iter().any(|action| leads_to(action, event, graph));
        assert!(follows, "invariant 6: {event:?} follows from nothing in the journal");
    }
}

/// What the engine may write while it goes through the answers.
fn is_held_up(event: &Event) -> bool {
    matches!(
        event,
        Event::Throttled { .. }
            | Event::Unthrottled { .. }
            | Event::VerdictReused { .. }
            | Event::LimitHeld { .. }
            | Event::LimitFreed { .. }
    )
}

/// What the strategy asked for, as far as it is an event.
fn is_step(event: &Event) -> bool {
    matches!(
        event,
        Event::ApexFormed { .. }
            | Event::Overridden(_)
            | Event::GroupFormed { .. }
            | Event::SingledOut { .. }
            | Event::ItemDecided(_)
            | Event::ItemDeferred { .. }
            | Event::GateRedOnTarget { .. }
            | Event::JobStarted(_)
            | Event::LandingIntended(_)
            | Event::LimitHeld { why: HeldBy::Use, .. }
    )
}

fn leads_to(action: &Action, event: &Event, graph: &Graph) -> bool {
    match (action, event) {
        (Action::Gate(action), Event::JobStarted(job)) => {
            action.purpose == job.purpose
                && (action.at.commit, action.at.tree) == (job.commit, job.tree)
                && action.gates.iter().map(|gate| gate.key).eq(job.gates.iter().map(|gate| gate.key))
        }
        (Action::Land(action), Event::LandingIntended(intended)) => {
            (action.apex, action.from.commit, action.to.commit) == (intended.apex, intended.from, intended.to)
                && action.items.iter().map(|ix| graph.name(*ix)).eq(&intended.items)
                && action.proof == intended.proof
        }
        (Action::Record(recorded), event) => recorded == event,
        _ => false,
    }
}
