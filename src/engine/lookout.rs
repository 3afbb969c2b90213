//! Looking where the target is before work is begun on it: what is gated where others have moved it away from
//! would be proven once more. A landing looks for itself, so that a look that is left out costs time and
//! nothing else, and where the target keeps moving an apex is formed all the same.

use super::starting::moved;
use super::{Done, Engine, EngineError, Moved, port};
use crate::core::strategy::Action;
use crate::ports::{PortError, Whereabouts};
use crate::vocabulary::event::Event;
use crate::vocabulary::names::{ApexId, CommitId};

/// Between looks for the sake of cones and groups, however many are begun.
const LOOK_EVERY_MS: u64 = 250;
/// So many moves are followed before an apex is formed: cones that fail where the target was are gated once more,
/// and one that moves faster than they pass would have that go on for ever.
const MOST_MOVES_BEFORE_AN_APEX: u32 = 3;

/// What is remembered of looks. What comes of one is an event.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    is_under_way: bool,
    due_ms: u64,
    /// The apex that was to be formed when the target was looked for last.
    apex: Option<ApexId>,
    /// The apex to be formed next, and how many moves were seen before it.
    moves: Option<(ApexId, u32)>,
}

impl Engine<'_> {
    /// Whether work and the next apex have to wait, because somebody seems to have moved the target: it is then being
    /// looked for.
    pub(super) fn looks_out(&mut self, wanted: &[Action]) -> bool {
        if self.lookout.is_under_way {
            return true;
        }
        // What is known is decided first: it would be found out once more where the target is.
        if wanted.iter().any(|action| matches!(action, Action::Record(_)) && !forms_an_apex(action)) {
            return false;
        }
        // Of an apex under way its landing will tell; while one lands the target moves.
        if self.state.apex().is_some() || self.state.landing().is_some() || !self.is_time_to_look(wanted) {
            return false;
        }
        let tip = self.state.tip().commit;
        let Some(look) = self.ports.lander.elsewhere(tip) else { return false };
        self.lookout.is_under_way = true;
        let (composer, yet_to_land) = (self.ports.composer.clone(), self.yet_to_land());
        self.launch(async move {
            let result = match look.await {
                Ok(Some(Whereabouts::Moved { to })) => moved(&*composer, tip, to, yet_to_land).await.map(Some),
                // Nothing that has begun is lost to it: the landing will say what is wrong.
                Ok(Some(Whereabouts::There | Whereabouts::Lost { .. }) | None) => Ok(None),
                Err(error) => Err(error),
            };
            Done::Looked { tip, result }
        });
        true
    }

    /// Before each apex once, and every now and then before anything else.
    fn is_time_to_look(&mut self, wanted: &[Action]) -> bool {
        let now_ms = self.now_ms();
        let next = self.state.next_apex();
        let moves = self.moves_before(next);
        let forms_one = wanted.iter().any(forms_an_apex);
        let begins_work = wanted.iter().any(|action| matches!(action, Action::Compose { .. } | Action::Gate(_)));
        let for_the_apex = forms_one && self.lookout.apex != Some(next);
        let for_the_rest = begins_work && moves < MOST_MOVES_BEFORE_AN_APEX && now_ms >= self.lookout.due_ms;
        if for_the_apex {
            self.lookout.apex = Some(next);
        }
        if for_the_apex || for_the_rest {
            self.lookout.due_ms = now_ms + LOOK_EVERY_MS;
        }
        for_the_apex || for_the_rest
    }

    pub(super) fn looked(
        &mut self,
        tip: CommitId,
        result: Result<Option<Moved>, PortError>,
    ) -> Result<(), EngineError> {
        let moved = result.map_err(port("looking for the target"))?;
        if let Some(moved) = moved {
            // What was heard since.
            self.decide()?;
            let next = self.state.next_apex();
            self.lookout.moves = Some((next, self.moves_before(next) + 1));
            self.target_moved(tip, moved)?;
        }
        self.lookout.is_under_way = false;
        Ok(())
    }

    fn moves_before(&self, next: ApexId) -> u32 {
        self.lookout.moves.filter(|(apex, _)| *apex == next).map_or(0, |(_, moves)| moves)
    }
}

pub(super) fn forms_an_apex(action: &Action) -> bool {
    matches!(action, Action::Record(Event::ApexFormed { .. }))
}
