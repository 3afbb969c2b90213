//! A look at the target that costs nothing worth speaking of, for between landings: whoever moves a branch writes
//! a file of one line. Where there is none (refs are kept in a table, or packed, which happens to those that stay
//! where they are) the next landing is the first to see it.

use std::fs;

use futures::future::BoxFuture;

use super::{Inner, LocalLander, answer, off_the_loop};
use crate::git::lock::Purpose;
use crate::ports::{PortError, Whereabouts};
use crate::vocabulary::names::CommitId;

impl LocalLander {
    /// See [`crate::ports::Lander::elsewhere`].
    pub(super) fn looks_elsewhere(
        &self,
        tip: CommitId,
    ) -> Option<BoxFuture<'static, Result<Option<Whereabouts>, PortError>>> {
        self.0.glimpse().filter(|now| *now != tip)?;
        let Self(inner, _) = self.clone();
        let look = move || {
            // What somebody lands just now is half done.
            let Ok(_turn) = inner.try_turn(Purpose::Landing) else { return Ok(None) };
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
