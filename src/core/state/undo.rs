//! Landings that are taken back, and an undo that is undone.

use super::{ImpossibleTransition, RunState};
use crate::vocabulary::event::{UndoDirection, Undone};
use crate::vocabulary::names::CommitId;

impl RunState {
    /// Back, the same way once more where only a remote is left to be put back, or forward again.
    pub(super) fn undo_intended(
        &mut self,
        direction: UndoDirection,
        from: CommitId,
        to: CommitId,
        pushes: bool,
    ) -> Result<(), ImpossibleTransition> {
        let possible = match (direction, self.taken_back) {
            (UndoDirection::Back, taken_back) => {
                taken_back.is_none_or(|way| way == (from, to) && pushes && !self.taken_back_there)
            }
            (UndoDirection::Forward, taken_back) => taken_back == Some((to, from)),
        };
        if !possible || self.undoing.is_some() {
            return Err(ImpossibleTransition::NoUndo);
        }
        self.undoing = Some((direction, from, to));
        Ok(())
    }

    pub(super) fn undone(&mut self, undone: &Undone) -> Result<(), ImpossibleTransition> {
        if self.undoing.take() != Some((undone.direction, undone.from, undone.to)) {
            return Err(ImpossibleTransition::NoUndo);
        }
        self.taken_back_there = undone.pushed_to.is_some();
        self.taken_back = match undone.direction {
            UndoDirection::Back => Some((undone.from, undone.to)),
            UndoDirection::Forward => None,
        };
        Ok(())
    }

    pub(super) fn undo_given_up(&mut self) -> Result<(), ImpossibleTransition> {
        self.undoing.take().map(drop).ok_or(ImpossibleTransition::NoUndo)
    }
}
