//! One case, `pyramid/checkout target.swap.after:1/alone resume.cleaned:1/all`: where a run lands,
//! and where it, and what goes on with it, is killed.

use std::fmt;
use std::str::FromStr;

use crate::scenario::{Mode, Scenario, Shape};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// lexpr.
    Alone,
    /// lexpr and its guards: gates are left to themselves.
    Guards,
    /// lexpr and every process below it, as when a machine dies.
    All,
}

/// A kill at the n-th passage of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    pub place: String,
    pub passage: u64,
    pub manner: Manner,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub scenario: Scenario,
    /// In this order, one for each process.
    pub kills: Vec<Kill>,
}

const SHAPES: [(&str, Shape); 3] = [("pyramid", Shape::Pyramid), ("stack", Shape::Stack), ("batches", Shape::Batches)];
const MODES: [(&str, Mode); 5] = [
    ("bare", Mode::Bare),
    ("checkout", Mode::Checkout),
    ("worktree", Mode::Worktree),
    ("push", Mode::Push),
    ("urgent", Mode::Urgent),
];
const MANNERS: [(&str, Manner); 3] = [("alone", Manner::Alone), ("guards", Manner::Guards), ("all", Manner::All)];

fn name<T: PartialEq>(of: T, names: &[(&'static str, T)]) -> &'static str {
    names.iter().find(|(_, value)| *value == of).unwrap().0
}

fn value<T: Copy>(named: &str, names: &[(&str, T)]) -> T {
    names.iter().find(|(name, _)| *name == named).unwrap_or_else(|| panic!("{named} is none of these")).1
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", name(self.shape, &SHAPES), name(self.mode, &MODES))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scenario)?;
        self.kills
            .iter()
            .try_for_each(|kill| write!(f, " {}:{}/{}", kill.place, kill.passage, name(kill.manner, &MANNERS)))
    }
}

impl FromStr for Case {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let (shape, mode) = words.next().unwrap().split_once('/').unwrap();
        let scenario = Scenario { shape: value(shape, &SHAPES), mode: value(mode, &MODES) };
        let kills = words.map(|word| {
            let (at, manner) = word.split_once('/').unwrap_or((word, "alone"));
            let (place, passage) = at.rsplit_once(':').unwrap();
            Kill { place: place.to_owned(), passage: passage.parse().unwrap(), manner: value(manner, &MANNERS) }
        });
        Ok(Self { scenario, kills: kills.collect() })
    }
}
