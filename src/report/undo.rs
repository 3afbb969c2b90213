//! What became of a run's landings afterwards: taken back, brought again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::{ItemReport, RunReport};
use crate::vocabulary::event::{Event, Recorded, UndoDirection};
use crate::vocabulary::names::CommitId;
use crate::wording::{ref_name, shown};

/// One move of the target by `lexpr undo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    pub at_ms: u64,
    pub direction: UndoDirection,
    pub from: CommitId,
    pub to: CommitId,
    pub pushed_to: Option<String>,
    pub moved_checkouts: Vec<String>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Undos {
    /// In order.
    pub done: Vec<Undo>,
    /// One was begun, and what became of it is not recorded.
    pub begun: Option<UndoDirection>,
}

impl Undos {
    /// Whether the event is one of an undo: none of the run's own work.
    pub(super) fn take_in(&mut self, recorded: &Recorded) -> bool {
        match &recorded.event {
            Event::UndoIntended { direction, .. } => self.begun = Some(*direction),
            Event::UndoGivenUp { .. } => self.begun = None,
            Event::Undone(undone) => {
                self.begun = None;
                self.done.push(Undo {
                    at_ms: recorded.at_ms,
                    direction: undone.direction,
                    from: undone.from,
                    to: undone.to,
                    pushed_to: undone.pushed_to.clone(),
                    moved_checkouts: undone.moved_checkouts.clone(),
                });
            }
            _ => return false,
        }
        true
    }

    /// The run's landings are taken back.
    pub fn is_undone(&self) -> bool {
        self.done.last().is_some_and(|last| last.direction == UndoDirection::Back)
    }
}

/// The run landed the item, and that landing is taken back.
pub fn is_taken_back(report: &RunReport, item: &ItemReport) -> bool {
    report.undone
        && report.landings.iter().any(|landing| landing.from != landing.to && landing.items.contains(&item.name))
}

/// `undone: main was put back from 1111 to 2222, also on origin`, one for each, and one for one
/// that was cut off.
pub(super) fn facts(report: &RunReport) -> Vec<String> {
    let target = ref_name(&report.target);
    let mut facts: Vec<String> = (0..report.undos.len()).map(|at| fact(&report.undos[..=at], &target)).collect();
    if report.undo_begun.is_some() {
        facts.push(format!(
            "an undo was begun, and its end is not recorded: `lexpr undo {}` finds out and finishes it",
            shown(report.run.as_str())
        ));
    }
    facts
}

/// Of the last of them.
fn fact(undos: &[Undo], target: &str) -> String {
    let [before @ .., undo] = undos else { return String::new() };
    let also = undo.pushed_to.as_deref().map(|remote| format!(", also on {}", shown(remote))).unwrap_or_default();
    let (from, to) = (undo.from.short(), undo.to.short());
    match undo.direction {
        UndoDirection::Back if before.last().is_some_and(|before| before.direction == UndoDirection::Back) => {
            format!("undone{also}: {target} was put back there from {from} to {to}")
        }
        UndoDirection::Back => format!("undone: {target} was put back from {from} to {to}{also}"),
        UndoDirection::Forward => format!("undo undone: {target} was moved forward again from {from} to {to}{also}"),
    }
}
