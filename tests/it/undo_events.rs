//! What the events of an undo mean to the state of a run, and what the faces make of them.

use std::collections::BTreeMap;

use lexpr::core::account::Account;
use lexpr::core::state::ImpossibleTransition;
use lexpr::progress;
use lexpr::report::json::RunReport;
use lexpr::report::summary;
use lexpr::report::view::RunView;
use lexpr::vocabulary::event::{Event, Recorded, UndoDirection, Undone};
use lexpr::vocabulary::names::CommitId;
use lexpr::wording::Paint;

use crate::sim::{Outcome, World};

const BACK: UndoDirection = UndoDirection::Back;
const FORWARD: UndoDirection = UndoDirection::Forward;

fn intended(direction: UndoDirection, from: CommitId, to: CommitId) -> Event {
    Event::UndoIntended { direction, from, to, push: Some("origin".to_owned()) }
}

fn undone(direction: UndoDirection, from: CommitId, to: CommitId) -> Event {
    Event::Undone(Box::new(Undone {
        direction,
        from,
        to,
        pushed_to: Some("origin".to_owned()),
        moved_checkouts: Vec::new(),
    }))
}

/// A run of three items in three landings, from where to where it moved the target.
fn landed() -> (Outcome, CommitId, CommitId) {
    let outcome = World::of("a b c").workers(1).batch(1).run();
    let (before, after) = Account::of(&outcome.events).unwrap().way().unwrap();
    assert_ne!(before, after);
    (outcome, before, after)
}

fn and_then(outcome: &Outcome, events: &[Event]) -> Vec<Recorded> {
    let mut all = outcome.events.clone();
    for event in events {
        let last = all.last().unwrap();
        all.push(Recorded { seq: last.seq + 1, at_ms: last.at_ms + 60_000, event: event.clone() });
    }
    all
}

#[test]
fn a_run_is_undone_and_brought_back_after_its_end_and_does_nothing_in_between() {
    let (outcome, before, after) = landed();
    let mut state = outcome.replayed(outcome.events.len());
    let resumed = Event::RunResumed {
        version: String::new(),
        cut_bytes: 0,
        landing_is_open: false,
        max_workers: None,
        workers_at_first: None,
    };
    state.apply(&intended(BACK, after, before)).unwrap();
    assert_eq!(state.clone().apply(&resumed), Err(ImpossibleTransition::Undone));
    state.apply(&undone(BACK, after, before)).unwrap();
    assert_eq!(state.clone().apply(&resumed), Err(ImpossibleTransition::Undone));
    // Once back is back, and forward is where it came from.
    assert_eq!(state.clone().apply(&intended(BACK, after, before)), Err(ImpossibleTransition::NoUndo));
    assert_eq!(state.clone().apply(&intended(FORWARD, after, before)), Err(ImpossibleTransition::NoUndo));
    state.apply(&intended(FORWARD, before, after)).unwrap();
    state.apply(&undone(FORWARD, before, after)).unwrap();
    state.apply(&resumed).unwrap();
}

#[test]
fn what_was_taken_back_here_alone_is_taken_back_once_more_for_the_remote_and_no_other_way() {
    let (outcome, before, after) = landed();
    let mut state = outcome.replayed(outcome.events.len());
    let here = Event::Undone(Box::new(Undone {
        direction: BACK,
        from: after,
        to: before,
        pushed_to: None,
        moved_checkouts: Vec::new(),
    }));
    state.apply(&intended(BACK, after, before)).unwrap();
    state.apply(&here).unwrap();
    let unpushed = Event::UndoIntended { direction: BACK, from: after, to: before, push: None };
    assert_eq!(state.clone().apply(&unpushed), Err(ImpossibleTransition::NoUndo));
    assert_eq!(state.clone().apply(&intended(BACK, before, after)), Err(ImpossibleTransition::NoUndo));
    state.apply(&intended(BACK, after, before)).unwrap();
    state.apply(&undone(BACK, after, before)).unwrap();
    assert_eq!(state.clone().apply(&intended(BACK, after, before)), Err(ImpossibleTransition::NoUndo));
    state.apply(&intended(FORWARD, before, after)).unwrap();
}

#[test]
fn an_undo_ends_as_it_was_intended_or_is_given_up() {
    let (outcome, before, after) = landed();
    let mut state = outcome.replayed(outcome.events.len());
    let given_up = Event::UndoGivenUp { why: String::new() };
    assert_eq!(state.clone().apply(&undone(BACK, after, before)), Err(ImpossibleTransition::NoUndo));
    assert_eq!(state.clone().apply(&given_up), Err(ImpossibleTransition::NoUndo));
    state.apply(&intended(BACK, after, before)).unwrap();
    assert_eq!(state.clone().apply(&undone(BACK, before, after)), Err(ImpossibleTransition::NoUndo));
    assert_eq!(state.clone().apply(&intended(BACK, after, before)), Err(ImpossibleTransition::NoUndo));
    state.apply(&given_up).unwrap();
    state
        .apply(&Event::RunResumed {
            version: String::new(),
            cut_bytes: 0,
            landing_is_open: false,
            max_workers: None,
            workers_at_first: None,
        })
        .unwrap();
}

#[test]
fn an_account_says_what_the_next_undo_does() {
    let (outcome, before, after) = landed();
    let account = |events: &[Event]| Account::of(&and_then(&outcome, events)).unwrap();
    let fresh = account(&[]);
    assert_eq!((fresh.landings.len(), fresh.is_undone, fresh.is_on_remote), (3, false, None));
    assert_eq!(fresh.moves_of_others().count(), 0);
    let next = fresh.next_undo(None).unwrap();
    assert_eq!((next.direction, next.from, next.to), (BACK, after, before));

    let begun = account(&[intended(BACK, after, before)]);
    assert!(!begun.is_undone && begun.undoing.is_some() && begun.ending.is_some());
    let back = account(&[intended(BACK, after, before), undone(BACK, after, before)]);
    assert_eq!((back.is_undone, back.undoing.clone(), back.is_on_remote), (true, None, Some(false)));
    let next = back.next_undo(None).unwrap();
    assert_eq!((next.direction, next.from, next.to), (FORWARD, before, after));
}

#[test]
fn every_face_tells_of_an_undo_and_counts_no_time_for_it() {
    let (outcome, before, after) = landed();
    let report = |events: &[Event]| RunReport::new(&RunView::of(&and_then(&outcome, events)), BTreeMap::new()).unwrap();
    let plain = report(&[]);
    let begun = report(&[intended(BACK, after, before)]);
    assert_eq!((begun.undone, begun.undo_begun), (false, Some(BACK)));
    assert!(begun.next.contains("lexpr undo"), "{}", begun.next);
    let back = report(&[intended(BACK, after, before), undone(BACK, after, before)]);
    assert_eq!((back.undone, back.undos.len(), back.undo_begun), (true, 1, None));
    assert_eq!((back.summary.duration_ms, back.ended_at_ms), (plain.summary.duration_ms, plain.ended_at_ms));
    let text = summary::text(&back, Paint::PLAIN);
    assert!(text.contains("undone since") && text.contains("also on origin"), "{text}");

    let events = and_then(&outcome, &[undone(BACK, after, before), Event::UndoGivenUp { why: "no\nway".to_owned() }]);
    let view = RunView::of(&events);
    let lines: Vec<String> = events[events.len() - 2..]
        .iter()
        .flat_map(|event| progress::facts::lines(&view, event, Paint::PLAIN))
        .collect();
    assert!(lines[0].contains("undone") && lines[0].contains("and on origin"), "{lines:?}");
    assert!(lines[1].contains("not undone") && lines[1].contains("no; way"), "{lines:?}");
}

#[test]
fn a_landing_that_a_resumption_left_open_is_open_to_an_account_as_it_is_to_the_state() {
    let (outcome, ..) = landed();
    let intent = outcome.events.iter().position(|recorded| matches!(recorded.event, Event::LandingIntended(_)));
    let upto = intent.unwrap() + 1;
    for landing_is_open in [true, false] {
        let resumed = Event::RunResumed {
            version: String::new(),
            cut_bytes: 0,
            landing_is_open,
            max_workers: None,
            workers_at_first: None,
        };
        let mut state = outcome.replayed(upto);
        state.apply(&resumed).unwrap();
        let mut events = outcome.events[..upto].to_vec();
        events.push(Recorded { seq: upto as u64 + 1, at_ms: 0, event: resumed });
        assert_eq!(Account::of(&events).unwrap().landing.as_ref(), state.landing());
        assert_eq!(state.landing().is_some(), landing_is_open);
    }
}
