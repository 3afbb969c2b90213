//! A run as a trace that Perfetto and Chrome's `about:tracing` open: a row for each worker and for each gate that a node
//! has at once, a slice for each job with its gates in it, and a mark for each landing.
//!
//! The format is the JSON of the Trace Event Format (docs.google.com, "Trace Event Format"): `X` are
//! complete events, `M` metadata, `i` instants; times are microseconds, here since the run began.

use serde_json::{Value, json};

use super::Report;
use super::json::{GateSpan, Landing, Occupation, RunReport};
use super::lanes::{Bar, Lane, lanes};
use super::outcome::outcome_text;
use crate::vocabulary::event::JobPurpose;
use crate::vocabulary::names::ItemName;
use crate::wording::{count, shown};

/// lexpr is the one process of a trace.
const PROCESS: u32 = 1;

/// The row of landings, above all workers.
const LANDINGS: u32 = 0;

/// The trace as one JSON text, of a dry run, in which nothing takes time, without a slice. Ends with a newline.
pub fn render(report: &Report) -> String {
    let events = match report {
        Report::Execute(report) => events(report),
        Report::DryRun(report) => {
            vec![named("process_name", LANDINGS, &format!("lexpr, a dry run of {}: nothing ran", shown(&report.plan)))]
        }
    };
    format!("{}\n", json!({ "displayTimeUnit": "ms", "traceEvents": events }))
}

fn events(report: &RunReport) -> Vec<Value> {
    let mut events = vec![
        named("process_name", LANDINGS, &format!("lexpr {}", report.run)),
        named("thread_name", LANDINGS, "landings"),
    ];
    let lanes = lanes(&report.timeline);
    let tracks = lanes.iter().flat_map(|lane| lane.tracks.iter().map(move |track| (lane, track)));
    let rows: Vec<_> = tracks.zip(LANDINGS + 1..).filter(|((_, track), _)| !track.is_empty()).collect();
    let name = |((lane, _), row): &((&Lane<'_>, _), _)| named("thread_name", *row, &shown(&lane.whose.to_string()));
    events.extend(rows.iter().map(name));
    for ((_, track), row) in rows {
        for bar in track {
            events.push(slice(report, bar, row));
            events.extend(bar.gates().iter().map(|gate| gate_slice(report, gate, row)));
        }
    }
    events.extend(report.landings.iter().map(|landing| mark(report, landing)));
    events
}

fn named(what: &str, row: u32, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": PROCESS, "tid": row, "args": { "name": name } })
}

/// Since the run began, in microseconds.
fn micros(report: &RunReport, at_ms: u64) -> u64 {
    at_ms.saturating_sub(report.started_at_ms).saturating_mul(1000)
}

/// What has not ended lasts as long as is known.
fn lasted(report: &RunReport, from_ms: u64, to_ms: Option<u64>) -> u64 {
    to_ms.unwrap_or(report.ended_at_ms).saturating_sub(from_ms).saturating_mul(1000)
}

fn slice(report: &RunReport, bar: &Bar<'_>, row: u32) -> Value {
    json!({
        "ph": "X",
        "name": purpose_words(bar.job),
        "cat": "job",
        "pid": PROCESS,
        "tid": row,
        "ts": micros(report, bar.started_at_ms()),
        "dur": lasted(report, bar.started_at_ms(), bar.ended_at_ms()),
        "args": { "items": bar.job.items },
    })
}

fn gate_slice(report: &RunReport, gate: &GateSpan, row: u32) -> Value {
    let mut args = json!({
        "attempt": gate.attempt,
        "outcome": gate.outcome.as_ref().map_or("running".to_owned(), outcome_text),
    });
    if let Some(runtime) = &gate.runtime {
        args["runtime"] = runtime.to_string().into();
    }
    if let Some(queued_ms) = gate.queued_ms {
        args["queuedMs"] = queued_ms.into();
    }
    json!({
        "ph": "X",
        "name": gate.gate,
        "cat": "gate",
        "pid": PROCESS,
        "tid": row,
        "ts": micros(report, gate.started_at_ms),
        "dur": lasted(report, gate.started_at_ms, gate.ended_at_ms),
        "args": args,
    })
}

fn mark(report: &RunReport, landing: &Landing) -> Value {
    let overridden = report.overridden_by(landing);
    let mut args = json!({ "items": landing.items, "from": landing.from, "to": landing.to });
    if let Some(overridden) = overridden {
        args["overridden"] = overridden.to_string().into();
    }
    json!({
        "ph": "i",
        "s": "p",
        "name": format!("{} landed{}", count(landing.items.len(), "item"), if overridden.is_some() { ", overridden" } else { "" }),
        "cat": "landing",
        "pid": PROCESS,
        "tid": LANDINGS,
        "ts": micros(report, landing.at_ms),
        "args": args,
    })
}

/// What a job was for, in words: `auth`, `auth, once more`, `the first 3 of apex 2`.
pub fn purpose_words(job: &Occupation) -> String {
    let name = |item: &ItemName| shown(item.as_str()).into_owned();
    let items = &job.items;
    match &job.purpose {
        JobPurpose::Cone { item } => name(item),
        JobPurpose::SecondOpinion { item } if job.without_item => format!("without {}, once more", name(item)),
        JobPurpose::SecondOpinion { item } => format!("{}, once more", name(item)),
        JobPurpose::Blame { item } => format!("without {}", name(item)),
        JobPurpose::Train { item, ahead } => format!("{} behind {}", name(item), count(*ahead as usize, "other")),
        JobPurpose::Group { members, .. } => format!("{} together", count(*members as usize, "item")),
        JobPurpose::Apex { members: 1, .. } => items
            .first()
            .map_or_else(|| "1 item on the target".to_owned(), |item| format!("{} on the target", name(item))),
        JobPurpose::Apex { members, .. } => format!("{} on the target", count(*members as usize, "item")),
    }
}
