//! Any events as a run: what tells of a run and what goes on with one take them as they come.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use lexpr::core::account::Account;
use lexpr::core::critical_path::GateDurations;
use lexpr::core::judge::Surroundings;
use lexpr::core::limits::{Limits, Outcomes};
use lexpr::core::state::RunState;
use lexpr::core::strategy;
use lexpr::core::strategy::groups::divide;
use lexpr::journal::parse;
use lexpr::metrics::Metrics;
use lexpr::overview::{self, Presence, RunOverview};
use lexpr::plan::check::check;
use lexpr::plan::graph::Graph;
use lexpr::plan::{Gate, GroupSize, Item, Landing, Policy, Spend};
use lexpr::progress::facts;
use lexpr::report::json::RunReport;
use lexpr::report::view::RunView;
use lexpr::report::{Format, Report};
use lexpr::status;
use lexpr::vocabulary::event::{Event, LinedUpGate, LinedUpItem, Recorded, RunStarted};
use lexpr::wording::Paint;

use super::journal::signed;

/// Everything one can do with the events of a journal whose checksums are right.
///
/// # Panics
/// Where something does not hold.
pub fn try_all(bytes: &[u8]) {
    let signed = signed(bytes);
    let events = match parse(&signed) {
        Ok(journal) => journal.events,
        // A line that is JSON but no event.
        Err(damage) => {
            let lines: Vec<&[u8]> = signed.split_inclusive(|byte| *byte == b'\n').take(damage.certain).collect();
            parse(&lines.concat()).expect("what is certain can be read").events
        }
    };
    told(&events);
    replayed(&events);
}

/// Everything that shows a run from its events.
fn told(events: &[Recorded]) {
    let account = Account::of(events);
    if let Some(account) = &account {
        assert!(account.landings.iter().all(|landing| landing.from != landing.to));
        account.moves_of_others().for_each(drop);
        account.next_undo(None);
    }
    let overviews = [Presence::Gone, Presence::AtWork(Some(1))].map(|presence| RunOverview::of(events, presence));
    assert!(overviews.iter().all(|overview| overview.is_some() == account.is_some()));
    no_control(&overview::text(&overviews.into_iter().flatten().collect::<Vec<_>>(), u64::MAX, Paint::PLAIN));
    if account.is_none() {
        return;
    }
    let (mut view, metrics) = (RunView::default(), Metrics::new());
    for recorded in events {
        view.apply(recorded);
        metrics.apply(recorded);
        for line in facts::lines(&view, recorded, Paint::PLAIN) {
            no_control(&line);
        }
    }
    assert!(!metrics.render().is_empty());
    if let Some(report) = RunReport::new(&view, metrics.values()) {
        no_control(&status::text(&report, Paint::PLAIN));
        let report = Report::Execute(Box::new(report));
        report.render(Format::Markdown);
        let json = report.render(Format::Json);
        assert!(serde_json::from_str::<Report>(&json).is_ok(), "{json}");
    }
}

/// What a resumption does with a journal, by each way to land: replay through the state's one
/// transition, and the question of what may happen next, after every event.
fn replayed(events: &[Recorded]) {
    let Some(Event::RunStarted(started)) = events.first().map(|first| &first.event) else { return };
    let Some(graph) = graph(started) else { return };
    let graph = Arc::new(graph);
    for (landing, group_size) in WAYS {
        let mut limits = limits(landing);
        limits.groups = divide(&graph, GroupSize::Fixed(group_size), &limits);
        replayed_by(events, &graph, &limits);
    }
}

fn replayed_by(events: &[Recorded], graph: &Arc<Graph>, limits: &Limits) {
    let mut state = RunState::new(Arc::clone(graph), Surroundings::default(), &GateDurations::default());
    for recorded in events {
        if state.apply(&recorded.event).is_err() {
            return;
        }
        strategy::next(&state, limits, &POLICY);
        assert_eq!(state.final_items().len(), graph.len());
        state.next_apex();
        state.next_job();
    }
}

/// Ways to land, and how many items the pyramid gates together.
const WAYS: [(Landing, u32); 4] =
    [(Landing::Pyramid, 1), (Landing::Pyramid, 2), (Landing::Batch, 1), (Landing::Train, 1)];

const fn limits(landing: Landing) -> Limits {
    Limits {
        elsewhere: 0,
        landing,
        max_workers: 4,
        workers_at_first: None,
        batch_size: 3,
        fail_fast: true,
        second_opinion: true,
        spend: Spend::Gates,
        max_rebases: 3,
        history: Outcomes { passed: 0, failed: 0 },
        groups: None,
    }
}

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    check("plan.yaml", b"schemaVersion: v1\nitems: [{ name: a }]\n").expect("it is a plan").plan.policy
});

/// The graph of a run that has no plan, as far as its first event tells: gates know no more than
/// their names and definitions.
fn graph(started: &RunStarted) -> Option<Graph> {
    let names: BTreeSet<_> = started.items.iter().map(|item| &item.name).collect();
    // Two items of one name, or none at all, are in no plan.
    if names.len() != started.items.len() || names.is_empty() {
        return None;
    }
    Graph::new(started.items.iter().map(|lined_up| item(lined_up)).collect(), &[]).ok()
}

fn item(lined_up: &LinedUpItem) -> Item {
    Item {
        name: lined_up.name.clone(),
        branch: lined_up.branch.clone(),
        pin: None,
        deps: lined_up.deps.clone(),
        strategy: lined_up.strategy,
        priority: lined_up.priority,
        gates: lined_up.gates.iter().map(|lined_up| Arc::new(gate(lined_up))).collect(),
    }
}

fn gate(lined_up: &LinedUpGate) -> Gate {
    let LinedUpGate { name, definition, run, cwd, required, by_inputs, clean, runtime: _, image: _ } = lined_up.clone();
    // Of the globs a journal tells only that there are some.
    let inputs = by_inputs.then(|| vec!["**".to_owned()]);
    Gate { cwd, required, inputs, clean, ..Gate::bare(name, definition, run, Duration::from_secs(1)) }
}

fn no_control(text: &str) {
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}
