//! Beside what the work of a run is drawn: a lane for each worker, with its jobs, and one for each node that gates ran on
//! elsewhere, with these gates. A node may have several at once: they lie beside each other, on tracks of its lane.

use std::collections::BTreeMap;

use super::json::{GateSpan, Occupation};
use crate::plan::natural::natural_cmp;
use crate::vocabulary::event::GateOutcome;

#[derive(Clone, Debug)]
pub struct Lane<'a> {
    pub whose: Whose<'a>,
    /// One at least. Bars of one track do not overlap.
    pub tracks: Vec<Vec<Bar<'a>>>,
}

/// Workers come first, by number, then nodes in natural order, then what no node had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Counted from 0.
    Worker(u32),
    Node(&'a str),
    /// Gates that came to no node, or to one that nobody told.
    Nowhere,
}

/// A job in a slot, or one attempt of a gate elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Bar<'a> {
    pub job: &'a Occupation,
    gate: Option<&'a GateSpan>,
}

impl Whose<'_> {
    pub fn is_here(self) -> bool {
        matches!(self, Self::Worker(_))
    }
}

impl std::fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Worker(worker) => write!(f, "worker {}", worker + 1),
            Self::Node(node) => f.write_str(node),
            Self::Nowhere => f.write_str("no node"),
        }
    }
}

impl<'a> Bar<'a> {
    /// Milliseconds since the Unix epoch.
    pub fn started_at_ms(&self) -> u64 {
        self.gate.map_or(self.job.started_at_ms, |gate| gate.started_at_ms)
    }

    /// `None` while it goes on.
    pub fn ended_at_ms(&self) -> Option<u64> {
        self.gate.map_or(self.job.ended_at_ms, |gate| gate.ended_at_ms)
    }

    pub fn gates(&self) -> &'a [GateSpan] {
        self.gate.map_or(&self.job.gates, std::slice::from_ref)
    }

    pub fn has_failed(&self) -> bool {
        self.gates().iter().filter_map(|gate| gate.outcome.as_ref()).any(GateOutcome::is_failure)
    }
}

/// Of workers there are all up to the last that had work.
pub fn lanes(timeline: &[Box<Occupation>]) -> Vec<Lane<'_>> {
    let here = || timeline.iter().filter(|job| job.elsewhere.is_none());
    let workers = here().map(|job| job.worker.0 + 1).max().unwrap_or(0);
    let worker = |worker: u32| {
        let jobs = here().filter(|job| job.worker.0 == worker).map(|job| Bar { job, gate: None });
        Lane { whose: Whose::Worker(worker), tracks: vec![jobs.collect()] }
    };
    let (mut nodes, mut nowhere) = (BTreeMap::new(), Vec::new());
    for job in timeline.iter().filter(|job| job.elsewhere.is_some()) {
        for gate in &job.gates {
            let bars = match &gate.node {
                Some(node) => nodes.entry(node.as_str()).or_insert_with(Vec::new),
                None => &mut nowhere,
            };
            bars.push(Bar { job, gate: Some(gate) });
        }
    }
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by(|(left, _), (right, _)| natural_cmp(left, right));
    let nodes = nodes.into_iter().map(|(node, bars)| Lane { whose: Whose::Node(node), tracks: tracks(bars) });
    let nowhere = (!nowhere.is_empty()).then(|| Lane { whose: Whose::Nowhere, tracks: tracks(nowhere) });
    (0..workers).map(worker).chain(nodes).chain(nowhere).collect()
}

/// Each on the first track that is free by then.
fn tracks(mut bars: Vec<Bar<'_>>) -> Vec<Vec<Bar<'_>>> {
    bars.sort_by_key(Bar::started_at_ms);
    let mut tracks: Vec<Vec<Bar<'_>>> = Vec::new();
    for bar in bars {
        let is_free = |track: &&mut Vec<Bar<'_>>| {
            let last = track.last().map(Bar::ended_at_ms);
            last.is_none_or(|ended| ended.is_some_and(|ended| ended <= bar.started_at_ms()))
        };
        match tracks.iter_mut().find(is_free) {
            Some(track) => track.push(bar),
            None => tracks.push(vec![bar]),
        }
    }
    tracks
}

/// For how long at least one of its bars went on, until `now_ms` where one goes on.
pub fn busy_ms(lane: &Lane<'_>, now_ms: u64) -> u64 {
    let mut spans: Vec<(u64, u64)> =
        lane.tracks.iter().flatten().map(|bar| (bar.started_at_ms(), bar.ended_at_ms().unwrap_or(now_ms))).collect();
    spans.sort_unstable();
    let (mut busy_ms, mut until_ms) = (0, 0);
    for (from, to) in spans {
        busy_ms += to.saturating_sub(from.max(until_ms));
        until_ms = until_ms.max(to);
    }
    busy_ms
}
