//! What the runtimes did that are not this machine's shell.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::view::{AttemptView, RunView};
use crate::vocabulary::event::{GateOutcome, RanBy};
use crate::vocabulary::names::RuntimeName;

/// One runtime, with the attempts of gates that have ended there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeReport {
    pub name: RuntimeName,
    /// What its containers were made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageReport>,
    pub attempts: u64,
    /// Those of them that it could not run.
    pub infrastructure_failures: u64,
    pub run_ms: u64,
    /// How many attempts each of its nodes had; none where it has none, or nobody told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, u64>,
    /// What its attempts waited for a node, in all and at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Queued>,
}

/// An image, as the plan names it and as its engine knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    pub name: String,
    pub id: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Queued {
    pub total_ms: u64,
    pub most_ms: u64,
}

impl RuntimeReport {
    fn new(name: &RuntimeName) -> Self {
        Self {
            name: name.clone(),
            images: Vec::new(),
            attempts: 0,
            infrastructure_failures: 0,
            run_ms: 0,
            nodes: BTreeMap::new(),
            queued: None,
        }
    }

    fn add(&mut self, attempt: &AttemptView) {
        let run = &attempt.run;
        self.attempts += 1;
        self.infrastructure_failures += u64::from(matches!(run.outcome, GateOutcome::Infrastructure { .. }));
        self.run_ms = self.run_ms.saturating_add(run.duration_ms);
        let Some(elsewhere) = &run.elsewhere else { return };
        if let Some(node) = &elsewhere.node {
            *self.nodes.entry(node.clone()).or_default() += 1;
        }
        let queued = self.queued.get_or_insert_default();
        queued.total_ms = queued.total_ms.saturating_add(elsewhere.queued_ms);
        queued.most_ms = queued.most_ms.max(elsewhere.queued_ms);
    }
}

/// By name, all that gates of the run name.
pub(super) fn of(view: &RunView) -> Vec<RuntimeReport> {
    let mut images: BTreeMap<&RuntimeName, BTreeSet<ImageReport>> = BTreeMap::new();
    let gates = view.items.iter().flat_map(|item| &item.lined_up.gates);
    for RanBy { name, image, image_id } in gates.filter_map(|gate| view.ran_by(gate.definition)) {
        let image = image.clone().map(|name| ImageReport { name, id: image_id.clone() });
        images.entry(name).or_default().extend(image);
    }
    let mut runtimes: BTreeMap<&RuntimeName, RuntimeReport> = BTreeMap::new();
    for (name, images) in images {
        let images = images.into_iter().collect();
        runtimes.insert(name, RuntimeReport { images, ..RuntimeReport::new(name) });
    }
    for attempt in &view.attempts {
        let runtime = view.ran_by_of(attempt).and_then(|ran_by| runtimes.get_mut(&ran_by.name));
        runtime.into_iter().for_each(|runtime| runtime.add(attempt));
    }
    runtimes.into_values().collect()
}
