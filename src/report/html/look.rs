//! How far an item has come, as pictures show it: a word, a sign and a shape of its own, so that none is told by colour
//! alone.

use crate::report::dry_run::{DryRunItem, Forecast};
use crate::report::json::ItemReport;
use crate::report::view::Stage;
use crate::vocabulary::event::FinalStatus;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Look {
    Landed,
    /// It landed although its gates did not pass.
    Overridden,
    /// Of a dry run: it would land if its gates pass.
    Lands,
    /// Of a dry run: it would land whether its gates pass or not.
    Overridable,
    LandedBefore,
    Passed,
    Running,
    Waiting,
    Failed,
    Conflicted,
    Blocked,
    Unjudged,
    Skipped,
}

/// The outline of an item in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Round,
    Square,
    /// With its corners cut off.
    Cut,
    /// With pointed sides.
    Pointed,
    /// With sides that lean to the right.
    Slanted,
}

impl Look {
    pub fn of(item: &ItemReport) -> Self {
        match item.stage {
            Some(Stage::Running) => Self::Running,
            Some(Stage::Waiting | Stage::Deferred) => Self::Waiting,
            Some(Stage::Passed) => Self::Passed,
            None | Some(Stage::Done) => match item.status {
                FinalStatus::Landed if item.overridden.is_some() => Self::Overridden,
                FinalStatus::Landed => Self::Landed,
                FinalStatus::AlreadyLanded => Self::LandedBefore,
                FinalStatus::Failed => Self::Failed,
                FinalStatus::Conflicted => Self::Conflicted,
                FinalStatus::Blocked => Self::Blocked,
                FinalStatus::Unjudged => Self::Unjudged,
                FinalStatus::NotLanded => Self::Passed,
                FinalStatus::Skipped => Self::Skipped,
            },
        }
    }

    pub fn of_planned(item: &DryRunItem) -> Self {
        match item.forecast {
            Forecast::Lands if item.lands_last().is_some() => Self::Overridable,
            Forecast::Lands => Self::Lands,
            Forecast::AlreadyLanded => Self::LandedBefore,
            Forecast::Conflicted => Self::Conflicted,
            Forecast::Blocked => Self::Blocked,
        }
    }

    /// Also the class that colours it.
    pub fn class(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::Overridden => "overridden",
            Self::Lands => "lands",
            Self::Overridable => "overridable",
            Self::LandedBefore => "before",
            Self::Passed => "passed",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Conflicted => "conflicted",
            Self::Blocked => "blocked",
            Self::Unjudged => "unjudged",
            Self::Skipped => "skipped",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::LandedBefore => "landed before",
            Self::Overridable => "lands last",
            other => other.class(),
        }
    }

    /// What depends on it is blocked.
    pub fn blocks(self) -> bool {
        matches!(self, Self::Failed | Self::Conflicted | Self::Blocked)
    }

    pub fn sign(self) -> char {
        match self {
            Self::Landed => '✓',
            Self::Overridden | Self::Overridable => '!',
            Self::LandedBefore => '=',
            Self::Passed => '○',
            Self::Running => '▶',
            Self::Waiting | Self::Lands => '·',
            Self::Failed => '✗',
            Self::Conflicted => '≠',
            Self::Blocked => '⊘',
            Self::Unjudged => '?',
            Self::Skipped => '–',
        }
    }

    pub fn shape(self) -> Shape {
        match self {
            Self::Landed | Self::LandedBefore | Self::Passed => Shape::Round,
            Self::Running | Self::Waiting | Self::Lands | Self::Skipped => Shape::Square,
            Self::Failed | Self::Unjudged => Shape::Cut,
            Self::Conflicted | Self::Blocked => Shape::Pointed,
            Self::Overridden | Self::Overridable => Shape::Slanted,
        }
    }
}
