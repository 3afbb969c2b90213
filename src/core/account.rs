//! What a run's events say of it as a whole: what it landed, whether it came to its end, whether
//! it was undone. Needs no plan, so that it can be told of any journal.

use crate::vocabulary::event::{
    Event, FinalItem, HaltReason, Landed, LandingIntended, Recorded, RunStarted, UndoDirection,
};
use crate::vocabulary::names::CommitId;

/// A run as its journal leaves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub started: RunStarted,
    /// Those that moved the target, in order.
    pub landings: Vec<Landed>,
    /// A landing that was begun, and of which it is not known what became.
    pub landing: Option<LandingIntended>,
    /// A landing that was refused before anything moved; a resumption looks at it once more.
    refused: Option<LandingIntended>,
    /// The newest resumption could not bring it to its end.
    is_stuck: bool,
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
    /// The target here was put back before, and the remote's was not.
    pub only_on_remote: bool,
}

impl Account {
    /// `None` where the first event is not there.
    pub fn of(events: &[Recorded]) -> Option<Self> {
        let Some(Event::RunStarted(started)) = events.first().map(|recorded| &recorded.event) else { return None };
        let mut account = Self {
            started: RunStarted::clone(started),
            landings: Vec::new(),
            landing: None,
            refused: None,
            is_stuck: false,
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
            Event::LandingIntended(intended) => {
                (self.landing, self.refused) = (Some(LandingIntended::clone(intended)), None);
            }
            // With a remote it may have landed there.
            Event::RunHalted { why: HaltReason::TargetNotMovable, .. }
                if self.started.push.is_none() && !self.is_stuck =>
            {
                self.refused = self.landing.take();
            }
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
                let refused = self.refused.take();
                self.landing = self.landing.take().or(refused).filter(|_| *landing_is_open);
                self.is_stuck = *landing_is_open;
                self.ending = None;
            }
            Event::RunFinished { exit_code, items, .. } => self.ending = Some((*exit_code, items.clone())),
            Event::UndoIntended { direction, from, to, push } => {
                let only_on_remote = self.is_undone && *direction == UndoDirection::Back;
                self.undoing =
                    Some(Undoing { direction: *direction, from: *from, to: *to, push: push.clone(), only_on_remote });
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

    /// What an undo of the run would do now. Where the remote has kept what was taken back here, one
    /// that is to move the remote, too, takes it back there.
    pub fn next_undo(&self, push: Option<String>) -> Option<Undoing> {
        let (before, after) = self.way()?;
        let only_on_remote = self.is_undone && push.is_some() && self.is_on_remote == Some(true);
        Some(match self.is_undone && !only_on_remote {
            false => Undoing { direction: UndoDirection::Back, from: after, to: before, push, only_on_remote },
            true => Undoing { direction: UndoDirection::Forward, from: before, to: after, push, only_on_remote },
        })
    }
}
