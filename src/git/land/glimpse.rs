//! A look at the target that costs nothing worth speaking of, for between landings: whoever moves a branch writes
//! a file of one line. Where there is none (refs are kept in a table, or packed, which happens to those that stay
//! where they are) the next landing is the first to see it.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::turn::LOOK_AGAIN;
use super::{Inner, LocalLander, answer, off_the_loop};
use crate::git::lock::Purpose;
use crate::ports::{PortError, Whereabouts};
use crate::vocabulary::names::CommitId;

/// For the landing by which the target was just moved: most have ended by then.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl LocalLander {
    /// See [`crate::ports::Lander::elsewhere`].
    pub(super) fn looks_elsewhere(
        &self,
        tip: CommitId,
    ) -> Option<BoxFuture<'static, Result<Option<Whereabouts>, PortError>>> {
        self.0.glimpse().filter(|now| *now != tip)?;
        let Self(inner, _) = self.clone();
        let look = move || {
            let begun = Instant::now();
            // What somebody lands just now is half done.
            let _turn = loop {
                match inner.try_turn(Purpose::Landing) {
                    Ok(turn) => break turn,
                    Err(_) if begun.elapsed() >= LONGEST_WAIT => return Ok(None),
                    Err(_) => sleep(LOOK_AGAIN),
                }
            };
            inner.whereabouts(tip).map(Some)
        };
        let lost = |message, advice| Some(Whereabouts::Lost { message, advice });
        Some(off_the_loop("looking for the target", move || answer(look(), lost)))
    }
}

impl Inner {
    /// Where the target's own file has it.
    fn glimpse(&self) -> Option<CommitId> {
        let file = self.settings.common_dir.join(&self.settings.target);
        fs::read_to_string(file).ok()?.trim_end().parse().ok()
    }
}
