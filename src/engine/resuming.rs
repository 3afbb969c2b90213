//! Taking a run up where its journal ends: first what became of a landing that was begun, then
//! where the target is now. Everything else follows from the state, as it does live.

use std::sync::Arc;

use super::starting::{moved, write_receipt};
use super::{Engine, EngineError, LandingEnd, port, receipt};
use crate::core::critical_path::GateDurations;
use crate::core::judge::Surroundings;
use crate::core::limits::Limits;
use crate::core::state::{ImpossibleTransition, RunState, Standpoint};
use crate::core::strategy::LandAction;
use crate::plan::graph::Graph;
use crate::ports::{LandRequest, Recovery, Whereabouts};
use crate::vocabulary::event::{Event, HaltReason, LandingIntended, Recorded};

/// What a run has recorded so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// From `runStarted` on, without gaps.
    pub events: Vec<Recorded>,
    /// Bytes at the journal's end that were no whole event.
    pub cut_bytes: u64,
}

impl Past {
    /// Where the run stands.
    ///
    /// # Errors
    /// Where the events are not those of a run of this plan.
    pub fn state(&self, graph: &Arc<Graph>, surroundings: &Surroundings) -> Result<RunState, ImpossibleTransition> {
        let mut state = RunState::new(Arc::clone(graph), surroundings.clone(), &GateDurations::default());
        for recorded in &self.events {
            state.apply(&recorded.event)?;
        }
        Ok(state)
    }
}

impl Engine<'_> {
    pub(super) async fn take_up(&mut self, past: Past) -> Result<(), EngineError> {
        let mut intended_at_ms = 0;
        for recorded in &past.events {
            self.passes.note(&recorded.event, &self.state);
            self.pacing.note(recorded, &self.state);
            self.state.apply(&recorded.event)?;
            self.seq = recorded.seq;
            self.last_ms = self.last_ms.max(recorded.at_ms);
            if matches!(recorded.event, Event::LandingIntended(_)) {
                intended_at_ms = recorded.at_ms;
            }
        }
        self.behind_ms = self.last_ms.saturating_sub(self.ports.clock.now_ms());
        let stuck = match self.state.landing().cloned() {
            Some(intended) => self.recover(intended, intended_at_ms).await?,
            None => None,
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let landing_is_open = stuck.is_some();
        let Limits { max_workers, workers_at_first, .. } = self.setup.limits;
        let max_workers = Some(max_workers);
        let cut_bytes = past.cut_bytes;
        self.record(Event::RunResumed { version, cut_bytes, landing_is_open, max_workers, workers_at_first })?;
        match stuck {
            Some(halted) => self.record(halted),
            None => self.look_for_the_target().await,
        }
    }

    /// The end of a landing that was begun `at_ms`, where it had one; the event that ends the run where something keeps the
    /// landing from its end.
    async fn recover(&mut self, intended: LandingIntended, at_ms: u64) -> Result<Option<Event>, EngineError> {
        let items = intended.items.iter().filter_map(|name| self.setup.graph.find(name));
        let action = LandAction {
            apex: intended.apex,
            from: self.state.tip(),
            to: Standpoint { commit: intended.to, tree: intended.tree },
            items: items.collect(),
            proof: intended.proof.clone(),
        };
        let begun = std::time::Instant::now();
        let recovered = if intended.from == intended.to {
            Recovery::Landed { pushed_to: None, moved_checkouts: Vec::new() }
        } else {
            self.ports.lander.recover(self.land_request(&action)).await.map_err(port("finishing a landing"))?
        };
        match recovered {
            Recovery::NotLanded => Ok(None),
            Recovery::Refused { message, advice } => Ok(Some(stuck(message, advice))),
            Recovery::Landed { pushed_to, moved_checkouts } => {
                let receipt = receipt::receipt(&self.setup, &self.state, &self.passes, &intended, at_ms);
                let receipt = match intended.from == intended.to {
                    true => None,
                    false => {
                        let written = write_receipt(&*self.ports.lander, action.apex, &receipt).await;
                        Some(written.map_err(port("finishing a landing"))?)
                    }
                };
                let landed = LandingEnd::Landed { pushed_to, moved_checkouts, receipt };
                let duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.landing_finished(action, Ok(landed), duration_us)?;
                Ok(None)
            }
        }
    }

    pub(super) fn land_request(&self, action: &LandAction) -> LandRequest {
        LandRequest {
            apex: action.apex,
            from: action.from.commit,
            to: action.to.commit,
            tree: action.to.tree,
            items: action.items.iter().map(|ix| Arc::clone(&self.setup.items[ix.get()])).collect(),
        }
    }

    async fn look_for_the_target(&mut self) -> Result<(), EngineError> {
        let tip = self.state.tip().commit;
        match self.ports.lander.whereabouts(tip).await.map_err(port("looking for the target"))? {
            Whereabouts::There => Ok(()),
            Whereabouts::Moved { to } => {
                let moved = moved(&*self.ports.composer, tip, to, self.yet_to_land()).await;
                self.target_moved(tip, moved.map_err(port("reading the target"))?)
            }
            Whereabouts::Lost { message, advice } => self.record(stuck(message, advice)),
        }
    }
}

fn stuck(message: String, advice: Option<String>) -> Event {
    Event::RunHalted { why: HaltReason::TargetNotMovable, message, advice }
}
