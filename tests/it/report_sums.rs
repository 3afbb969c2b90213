//! Whatever happens in a run, and wherever it is cut off, its numbers add up.

use std::collections::BTreeMap;

use lexpr::metrics::Metrics;
use lexpr::report::json::{RunReport, Summary};
use lexpr::report::view::RunView;
use lexpr::vocabulary::event::{Decision, Event, FinalStatus, GateOutcome, ItemGateStatus, Reason, Recorded, Verdict};
use lexpr::vocabulary::names::{GateName, ItemName};
use proptest::prelude::*;

use crate::report_stories::{Story, commit, cone_of, item, key};

/// What becomes of one item.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lands,
    LandsAfterRetry,
    Fails,
    Unjudged,
    Cancelled,
    NeverStarts,
    LandedBefore,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Lands),
        1 => Just(Fate::LandsAfterRetry),
        1 => Just(Fate::Fails),
        1 => Just(Fate::Unjudged),
        1 => Just(Fate::Cancelled),
        1 => Just(Fate::NeverStarts),
        1 => Just(Fate::LandedBefore),
    ]
}

fn tell(fates: &[Fate]) -> Vec<Recorded> {
    let name = |at: usize| format!("item-{at}");
    let items = fates
        .iter()
        .enumerate()
        .map(|(at, fate)| {
            let mut item = item(&name(at), 0, &[], &["unit"]);
            item.already_landed = matches!(fate, Fate::LandedBefore).then(|| "in base".to_owned());
            item
        })
        .collect();
    let mut story = Story::begin(items);
    let gate = GateName::new("unit");
    let mut ready = Vec::new();
    let mut ends = Vec::new();
    for (at, fate) in fates.iter().enumerate() {
        let name = name(at);
        let key = key("unit", &name);
        let outcomes: &[(GateOutcome, Option<Verdict>)] = match fate {
            Fate::Lands => &[(GateOutcome::Passed, Some(Verdict::Passed { flaky: false }))],
            Fate::LandsAfterRetry => &[
                (GateOutcome::Failed { exit_code: 1 }, None),
                (GateOutcome::Passed, Some(Verdict::Passed { flaky: true })),
            ],
            Fate::Fails => &[(GateOutcome::Signaled { signal: 11 }, Some(Verdict::Failed))],
            Fate::Unjudged => &[(GateOutcome::Infrastructure { message: String::new() }, Some(Verdict::Unknown))],
            Fate::Cancelled => &[(GateOutcome::Cancelled, Some(Verdict::Unknown))],
            Fate::NeverStarts | Fate::LandedBefore => &[],
        };
        if !outcomes.is_empty() {
            let job = story.cone(&name).job(at as u32 % 4, cone_of(&name), &[("unit", key, true)]);
            for (attempt, (outcome, verdict)) in (1..).zip(outcomes) {
                story.start(job, "unit", key, attempt).wait(100);
                story.end(job, "unit", key, attempt, outcome.clone(), *verdict, "");
            }
            story.tell(Event::JobFinished { job });
        }
        let failed = Reason::GateFailed { gate: gate.clone(), key, apex: None, fails_without_too: false };
        let broken = Reason::Infrastructure { gate: gate.clone(), message: String::new() };
        let (status, reason) = match fate {
            Fate::Lands | Fate::LandsAfterRetry => {
                story.passed(&name, &[("unit", key, ItemGateStatus::Passed)]);
                ready.push(name.clone());
                (FinalStatus::Landed, None)
            }
            Fate::Fails => {
                story.decide(&name, Decision::Failed, Some(failed.clone()), &[("unit", key, ItemGateStatus::Failed)]);
                (FinalStatus::Failed, Some(failed))
            }
            Fate::Unjudged => {
                story.decide(&name, Decision::Unjudged, Some(broken.clone()), &[]);
                (FinalStatus::Unjudged, Some(broken))
            }
            Fate::Cancelled | Fate::NeverStarts => (FinalStatus::Skipped, None),
            Fate::LandedBefore => (FinalStatus::AlreadyLanded, None),
        };
        ends.push((name, status, reason));
    }
    if !ready.is_empty() {
        let ready: Vec<&str> = ready.iter().map(String::as_str).collect();
        story.apex(1, &ready, Vec::new()).lands(1, commit("base"), &ready, Vec::new());
    }
    let ends: Vec<_> = ends.iter().map(|(name, status, reason)| (name.as_str(), *status, reason.clone())).collect();
    story.finish(0, &ends)
}

fn sum_of_statuses(summary: &Summary) -> usize {
    summary.successful
        + summary.already_landed
        + summary.failed
        + summary.conflicted
        + summary.blocked
        + summary.skipped
        + summary.unjudged
        + summary.not_landed
        + summary.open
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn statuses_sum_to_total_wherever_a_run_is_cut_off(
        fates in prop::collection::vec(fate(), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let events = tell(&fates);
        let cut = 1 + cut.index(events.len());
        let report = RunReport::new(&RunView::of(&events[..cut]), BTreeMap::new()).unwrap();
        prop_assert_eq!(report.summary.total, fates.len());
        prop_assert_eq!(sum_of_statuses(&report.summary), fates.len());
        let in_order: Vec<ItemName> = report.items.iter().map(|item| item.name.clone()).collect();
        let lined_up: Vec<ItemName> = (0..fates.len()).map(|at| ItemName::new(format!("item-{at}"))).collect();
        prop_assert_eq!(in_order, lined_up, "canonical order, whatever finished first");
    }

    #[test]
    fn metrics_add_up_with_the_events_wherever_a_run_is_cut_off(
        fates in prop::collection::vec(fate(), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let events = tell(&fates);
        let events = &events[..=cut.index(events.len())];
        let metrics = Metrics::new();
        events.iter().for_each(|event| metrics.apply(event));
        let values = metrics.values();
        let sum = |prefix: &str| -> f64 {
            values.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
        };
        let count = |is: &dyn Fn(&Event) -> bool| events.iter().filter(|event| is(&event.event)).count() as f64;

        let attempts = count(&|event| matches!(event, Event::GateFinished(_)));
        prop_assert_eq!(values["lex_pr_gate_execution_seconds_count"], attempts);
        let by_outcome = values["lex_pr_gate_success_total"]
            + values["lex_pr_gate_failure_total"]
            + sum("lex_pr_gate_inconclusive_total");
        prop_assert_eq!(by_outcome, attempts);
        let composed = count(&|event| matches!(event, Event::Composed(_)));
        prop_assert_eq!(values["lex_pr_merge_execution_seconds_count"], composed);
        prop_assert_eq!(sum("lex_pr_queue_items{"), fates.len() as f64);
        let began = count(&|event| matches!(event, Event::JobStarted(_)));
        let ended = count(&|event| matches!(event, Event::JobFinished { .. }));
        prop_assert_eq!(values["lex_pr_active_workers"], began - ended);
        prop_assert_eq!(sum("lex_pr_jobs_total{"), began);
        let decided = count(&|event| matches!(event, Event::ItemDecided(one) if one.decision != Decision::Passed));
        prop_assert_eq!(sum("lex_pr_merge_failure_total{"), decided);
        let finished = count(&|event| matches!(event, Event::RunFinished { .. }));
        prop_assert_eq!(values["lex_pr_plan_execution_seconds_count"], finished);
        let report = RunReport::new(&RunView::of(events), BTreeMap::new()).unwrap();
        prop_assert_eq!(values["lex_pr_merge_success_total"], report.summary.successful as f64);
        prop_assert_eq!(values["lex_pr_events_total"], events.len() as f64);
    }
}
