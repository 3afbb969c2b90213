//! What a run's events say of it as a whole: what it landed, whether it came to its end, whether
//! it was undone. Needs no plan, so that it can be told of any journal.

use crate::vocabulary::event::{Event, FinalItem, Landed, LandingIntended, Recorded, RunStarted, UndoDirection};
use crate::vocabulary::names::CommitId;

/// A run as its journal leaves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub started: RunStarted,
    /// Those that moved the target, in order.
    pub landings: Vec<Landed>,
    /// A landing that was begun, and of which it is not known what became.
    pub landing: Option<LandingIntended>,
    /// The exit code and the items, where the run came to an end; it may be one to resume from.
    pub ending: Option<(u8, Vec<FinalItem>)>,
    /// An undo that was begun, and of which it is not known what became.
    pub undoing: Option<Undoing>,
    /// The run's landings are taken back.
    pub is_undone: bool,
    /// The remote has the landings, as far as lexpr moved it; `None` where it never did.
    pub is_on_remote: Option<bool>,
}

/// A way of the target, back or forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undoing {
    pub direction: UndoDirection,
    pub from: CommitId,
    pub to: CommitId,
    /// The remote whose target moves as well.
    pub push: Option<String>,
}

impl Account {
    /// `None` where the first event is not there.
    pub fn of(events: &[Recorded]) -> Option<Self> {
        let Some(Event::RunStarted(started)) = events.first().map(|recorded| &recorded.event) else { return None };
        let mut account = Self {
            started: RunStarted::clone(started),
            landings: Vec::new(),
            landing: None,
            ending: None,
            undoing: None,
            is_undone: false,
            is_on_remote: None,
        };
        events.iter().for_each(|recorded| account.take_in(&recorded.event));
        Some(account)
    }

    fn take_in(&mut self, event: &Event) {
        match event {
            Event::LandingIntended(intended) => self.landing = Some(LandingIntended::clone(intended)),
            Event::Landed(landed) => {
                self.landing = None;
                // Items that bring nothing land without moving it.
                if landed.from != landed.to {
                    self.landings.push(Landed::clone(landed));
                    self.is_on_remote = landed.pushed_to.is_some().then_some(true);
                }
            }
            Event::TargetMoved { .. } => self.landing = None,
            Event::RunResumed { landing_is_open, .. } => {
                if !landing_is_open {
                    self.landing = None;
                }
                self.ending = None;
            }
            Event::RunFinished { exit_code, items, .. } => self.ending = Some((*exit_code, items.clone())),
            Event::UndoIntended { direction, from, to, push } => {
                self.undoing = Some(Undoing { direction: *direction, from: *from, to: *to, push: push.clone() });
            }
            Event::Undone(undone) => {
                self.undoing = None;
                self.is_undone = undone.direction == UndoDirection::Back;
                if undone.pushed_to.is_some() {
                    self.is_on_remote = Some(!self.is_undone);
                }
            }
            Event::UndoGivenUp { .. } => self.undoing = None,
            _ => {}
        }
    }

    /// From where the target was before the first landing to where the last one left it; `None`
    /// where nothing moved it.
    pub fn way(&self) -> Option<(CommitId, CommitId)> {
        Some((self.landings.first()?.from, self.landings.last()?.to))
    }

    /// From where to where others moved the target between two landings.
    pub fn moves_of_others(&self) -> impl Iterator<Item = (CommitId, CommitId)> + '_ {
        let pairs = self.landings.windows(2).map(|pair| (pair[0].to, pair[1].from));
        pairs.filter(|(left, found)| left != found)
    }

    /// What an undo of the run would do now.
    pub fn next_undo(&self, push: Option<String>) -> Option<Undoing> {
        let (before, after) = self.way()?;
        Some(match self.is_undone {
            false => Undoing { direction: UndoDirection::Back, from: after, to: before, push },
            true => Undoing { direction: UndoDirection::Forward, from: before, to: after, push },
        })
    }
}
