//! What `lexpr runs` says: a line for every run of a repository, and what to do next about those
//! that have not come to their end. Where the events come from is the command's business.

use std::fmt::Write as _;

use serde::Serialize;

use crate::vocabulary::event::{Event, FinalStatus, Landed, Recorded, RunStarted, UndoDirection};
use crate::vocabulary::names::RunId;
use crate::wording::{Paint, Tone, ago, block, ref_name, shown};

/// One run, as far as its journal tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunOverview {
    pub run: RunId,
    /// Where the plan was read from. With all that follows `None` where the journal does not tell.
    pub plan: Option<String>,
    /// The full name of the ref that moves.
    pub target: Option<String>,
    /// It needs no leave of the run that has the target.
    pub urgent: Option<bool>,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: Option<u64>,
    /// Of its last event.
    pub last_at_ms: Option<u64>,
    #[serde(flatten)]
    pub state: State,
    /// Items that are in the target, those that were there before included.
    pub landed: Option<usize>,
    pub items: Option<usize>,
    pub exit_code: Option<u8>,
    /// What to do about a run that has not come to its end.
    pub next: Option<String>,
}

/// What has become of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum State {
    Running {
        /// `None` where it has not said yet.
        process: Option<u32>,
    },
    /// What it landed is being taken back, or brought again.
    BeingUndone {
        /// `None` where it has not said yet.
        process: Option<u32>,
    },
    Finished,
    /// An undo of it was begun, and nobody is at it any more.
    UndoCutOff,
    /// What it landed was taken back.
    Undone,
    Interrupted,
    /// Something that is no item's fault kept it from going on.
    Stopped {
        why: String,
    },
    /// Its process is gone and told no end.
    Died,
    /// It was ended before its first event: nothing was done.
    NeverBegan,
    Damaged {
        why: String,
    },
}

/// Whether a process works on the run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Gone,
    /// With its number, where it is known.
    AtWork(Option<u32>),
}

impl RunOverview {
    /// Of a run whose journal holds no event.
    pub fn without_events(run: RunId, presence: Presence) -> Self {
        Self::untold(run, State::NeverBegan, presence)
    }

    /// Of a run whose journal cannot be read, or not to its end.
    pub fn damaged(run: RunId, why: String, presence: Presence) -> Self {
        Self::untold(run, State::Damaged { why }, presence)
    }

    /// Of a run whose journal tells nothing; `gone` is what it is where nobody is at it.
    fn untold(run: RunId, gone: State, presence: Presence) -> Self {
        let state = match presence {
            Presence::AtWork(process) => State::Running { process },
            Presence::Gone => gone,
        };
        let next = match state {
            State::NeverBegan => Some(format!("`lexpr clean {run}` removes what is left of it")),
            State::Damaged { .. } => Some(format!(
                "run its plan again: what has landed is not landed twice; `lexpr clean {run}` removes what is left"
            )),
            _ => None,
        };
        Self {
            run,
            plan: None,
            target: None,
            urgent: None,
            started_at_ms: None,
            last_at_ms: None,
            state,
            landed: None,
            items: None,
            exit_code: None,
            next,
        }
    }

    /// Of a run with these events; all of them, or the first and the last where that is the run's
    /// end. `None` where the first is not a run's first.
    pub fn of(events: &[Recorded], presence: Presence) -> Option<Self> {
        let (first, last) = (events.first()?, events.last()?);
        let Event::RunStarted(started) = &first.event else { return None };
        // What follows a run's end, but for its resumption, is not the run itself.
        let newest_turn = events.iter().rev().find_map(|recorded| match &recorded.event {
            Event::RunFinished { exit_code, items, .. } => Some(Some((*exit_code, items))),
            Event::RunResumed { .. } => Some(None),
            _ => None,
        });
        let end = newest_turn.flatten();
        let halt = halted(events);
        let undo = Undo::of(events);
        let state = match (presence, end) {
            (Presence::AtWork(process), _) if undo.is_begun => State::BeingUndone { process },
            (Presence::AtWork(process), _) => State::Running { process },
            (Presence::Gone, _) if undo.is_begun => State::UndoCutOff,
            (Presence::Gone, _) if undo.is_done => State::Undone,
            (Presence::Gone, Some((0 | 3, _))) => State::Finished,
            (Presence::Gone, Some((130, _))) => State::Interrupted,
            (Presence::Gone, Some(_)) => {
                State::Stopped { why: halt.as_ref().map_or("it could not go on", |halt| halt.message).to_owned() }
            }
            (Presence::Gone, None) => match &halt {
                Some(halt) => State::Stopped { why: halt.message.to_owned() },
                None => State::Died,
            },
        };
        let is_done = |status| matches!(status, FinalStatus::Landed | FinalStatus::AlreadyLanded);
        let landed = match end {
            _ if undo.is_done => landed_by(started, events, |landed| landed.from == landed.to),
            Some((_, items)) => items.iter().filter(|item| is_done(item.status)).count(),
            None => landed_by(started, events, |_| true),
        };
        let run = &started.run;
        let next = match &state {
            State::Running { .. }
            | State::BeingUndone { .. }
            | State::Finished
            | State::Undone
            | State::NeverBegan
            | State::Damaged { .. } => None,
            State::UndoCutOff => Some(format!("`lexpr undo {run}` finds out how far it came and finishes it")),
            State::Interrupted | State::Died => Some(format!("`lexpr resume {run}` goes on with it")),
            State::Stopped { .. } => Some(match halt.and_then(|halt| halt.advice) {
                Some(advice) => format!("{advice}, then `lexpr resume {run}`"),
                None => format!("`lexpr resume {run}` once the cause is gone"),
            }),
        };
        Some(Self {
            run: run.clone(),
            plan: Some(started.plan.clone()),
            target: Some(started.target.clone()),
            urgent: Some(started.urgent),
            started_at_ms: Some(first.at_ms),
            last_at_ms: Some(last.at_ms),
            state,
            landed: Some(landed),
            items: Some(started.items.len()),
            exit_code: end.filter(|_| presence == Presence::Gone).map(|(exit_code, _)| exit_code),
            next,
        })
    }

    fn words(&self) -> (String, Tone) {
        let urgent = if self.urgent == Some(true) { "urgent, " } else { "" };
        match &self.state {
            State::Running { process: Some(process) } => (format!("{urgent}running (process {process})"), Tone::Notice),
            State::Running { process: None } => (format!("{urgent}running"), Tone::Notice),
            State::BeingUndone { process: Some(process) } => {
                (format!("being undone (process {process})"), Tone::Notice)
            }
            State::BeingUndone { process: None } => ("being undone".to_owned(), Tone::Notice),
            State::UndoCutOff => ("undo cut off".to_owned(), Tone::Bad),
            State::Finished if self.exit_code == Some(0) => ("finished".to_owned(), Tone::Good),
            State::Finished => ("finished".to_owned(), Tone::Quiet),
            State::Undone => ("undone".to_owned(), Tone::Quiet),
            State::Interrupted => ("interrupted".to_owned(), Tone::Notice),
            State::Stopped { .. } => ("stopped".to_owned(), Tone::Bad),
            State::Died => ("died".to_owned(), Tone::Bad),
            State::NeverBegan => ("ended before it began".to_owned(), Tone::Quiet),
            State::Damaged { .. } => ("damaged".to_owned(), Tone::Bad),
        }
    }

    /// What its line does not say, to be put below it.
    fn below(&self) -> Vec<String> {
        let why = match &self.state {
            State::Stopped { why } | State::Damaged { why } => Some(block(why)),
            _ => None,
        };
        let next = self.next.as_deref().map(|next| format!("Next: {}", shown(next)));
        why.into_iter().chain(next).collect()
    }
}

/// What was done about the run's landings afterwards.
struct Undo {
    /// One was begun, and its end is not recorded.
    is_begun: bool,
    /// They are taken back.
    is_done: bool,
}

impl Undo {
    fn of(events: &[Recorded]) -> Self {
        let newest = events.iter().rev().find_map(|recorded| match &recorded.event {
            Event::UndoIntended { .. } => Some(true),
            Event::Undone(_) | Event::UndoGivenUp { .. } => Some(false),
            _ => None,
        });
        let done = events.iter().rev().find_map(|recorded| match &recorded.event {
            Event::Undone(undone) => Some(undone.direction),
            _ => None,
        });
        Self { is_begun: newest == Some(true), is_done: done == Some(UndoDirection::Back) }
    }
}

/// Those that were there before the run, and those of the landings that count.
fn landed_by(started: &RunStarted, events: &[Recorded], counts: impl Fn(&Landed) -> bool) -> usize {
    let before = started.items.iter().filter(|item| item.already_landed.is_some()).count();
    let since: usize = events
        .iter()
        .map(|recorded| match &recorded.event {
            Event::Landed(landed) if counts(landed) => landed.items.len(),
            Event::TargetMoved { landed, .. } => landed.len(),
            _ => 0,
        })
        .sum();
    before + since
}

/// Why the run could not go on when it was last at work, and what to do before it does.
struct Halt<'a> {
    message: &'a str,
    advice: Option<&'a str>,
}

fn halted(events: &[Recorded]) -> Option<Halt<'_>> {
    let of_newest_turn = events.iter().rev().take_while(|recorded| !matches!(recorded.event, Event::RunResumed { .. }));
    of_newest_turn.map(|recorded| &recorded.event).find_map(|event| match event {
        Event::RunHalted { message, advice, .. } => Some(Halt { message, advice: advice.as_deref() }),
        _ => None,
    })
}

/// A table for standard output, in the order given. Ends with a newline.
pub fn text(runs: &[RunOverview], now_ms: u64, paint: Paint) -> String {
    const HEADS: [&str; 6] = ["RUN", "WHEN", "TARGET", "STATE", "LANDED", "EXIT"];
    let rows: Vec<[String; 6]> = runs.iter().map(|run| cells(run, now_ms)).collect();
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(widest);
    let mut out = paint.paint(Tone::Quiet, &line(&HEADS.map(str::to_owned), &widths, |_, cell| cell));
    out.push('\n');
    for (run, row) in runs.iter().zip(&rows) {
        let tone = run.words().1;
        let painted = line(row, &widths, |column, cell| match HEADS[column] {
            "RUN" => paint.paint(Tone::Strong, &cell),
            "STATE" => paint.paint(tone, &cell),
            _ => cell,
        });
        out.push_str(&painted);
        out.push('\n');
        for more in run.below().iter().flat_map(|text| text.lines()) {
            let _ = writeln!(out, "  {more}");
        }
    }
    out
}

fn cells(run: &RunOverview, now_ms: u64) -> [String; 6] {
    let unknown = || "-".to_owned();
    [
        shown(run.run.as_str()).into_owned(),
        run.started_at_ms.map_or_else(unknown, |at| ago(now_ms, at)),
        run.target.as_deref().map_or_else(unknown, |target| ref_name(target).into_owned()),
        run.words().0,
        match (run.landed, run.items) {
            (Some(landed), Some(items)) => format!("{landed} of {items}"),
            _ => unknown(),
        },
        run.exit_code.map_or_else(String::new, |code| code.to_string()),
    ]
}

/// The cells of a line under each other, without spaces at its end.
fn line(cells: &[String; 6], widths: &[usize; 6], paint: impl Fn(usize, String) -> String) -> String {
    let mut line = String::new();
    let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or_default();
    for (column, cell) in cells.iter().enumerate().take(last + 1) {
        let padding = if column == last { 0 } else { widths[column] - cell.chars().count() + 2 };
        line.push_str(&paint(column, cell.clone()));
        line.push_str(&" ".repeat(padding));
    }
    line
}
