//! Runs beside each other: what an urgent one claims while it has an apex under proof, and how the others
//! hold their landings back meanwhile. A landing is intended only once the run may land, so that what is
//! journalled of it never waits; everything else goes on.

use tokio::sync::watch;

use super::{Done, Engine, EngineError, port};
use crate::ports::{Claim, PortError};

/// Whether the run may land, as far as others are concerned.
#[derive(Debug, Default)]
pub(super) enum Way {
    #[default]
    Unknown,
    /// Turned true, ends the wait.
    Waits(watch::Sender<bool>),
    /// Until the next landing, which is about to be intended.
    Free,
}

impl Engine<'_> {
    /// Whether a landing may begin. If not, it is waited for, and asked for again.
    pub(super) fn has_the_way(&mut self) -> bool {
        match std::mem::take(&mut self.way) {
            Way::Free => true,
            Way::Waits(stop) => {
                self.way = Way::Waits(stop);
                false
            }
            Way::Unknown => {
                let (stop, stopped) = watch::channel(false);
                let Some(wait) = self.ports.lander.gives_way(self.setup.started.urgent, stopped) else { return true };
                self.way = Way::Waits(stop);
                self.launch(async move { Done::Waited(wait.await) });
                false
            }
        }
    }

    pub(super) fn waited(&mut self, result: Result<bool, PortError>) -> Result<(), EngineError> {
        self.way = Way::Unknown;
        if result.map_err(port("waiting to land"))? {
            self.way = Way::Free;
        }
        Ok(())
    }

    /// After all that may happen now has been begun: claims what the state asks for, and waits for no landing
    /// that will not be.
    pub(super) fn mind_others(&mut self) -> Result<(), EngineError> {
        if matches!(self.way, Way::Free) {
            self.way = Way::Unknown;
        }
        let is_over = self.state.is_interrupted() || self.state.halted().is_some();
        if is_over {
            self.stop_waiting();
        }
        let claim = match self.state.apex() {
            Some(_) if is_over || !self.setup.started.urgent => None,
            Some(_) if self.state.rebases() > 0 => Some(Claim::Overtaken),
            Some(_) => Some(Claim::Proving),
            None => None,
        };
        if claim != self.claimed {
            self.ports.lander.claim(claim).map_err(port("claiming the right of way"))?;
            self.claimed = claim;
        }
        Ok(())
    }

    pub(super) fn stop_waiting(&self) {
        if let Way::Waits(stop) = &self.way {
            stop.send_replace(true);
        }
    }
}
