//! What runs gates, by the plan's names: how many it has, how long they wait for it and take, and how often it could not
//! run one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus::{CounterVec, IntCounterVec, IntGaugeVec};

use super::registrar::Registrar;
use crate::vocabulary::event::{Event, GateFinished, GateOutcome, Recorded, RunStarted};
use crate::vocabulary::names::{DefinitionDigest, JobId, VerdictKey};

/// This machine's shell, which every plan has.
const LOCAL: &str = "local";

#[derive(Debug)]
pub(super) struct RuntimeMetrics {
    in_flight: IntGaugeVec,
    queue_seconds: CounterVec,
    run_seconds: CounterVec,
    infrastructure_failures: IntCounterVec,
    unreported: IntGaugeVec,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of gates that something else than the shell runs.
    runtimes: HashMap<DefinitionDigest, String>,
    /// Gates of jobs in work.
    gates: HashMap<(JobId, VerdictKey), DefinitionDigest>,
    /// What runs the gate that a job is at.
    running: HashMap<JobId, String>,
    /// What runs the gate that a job waits with for checks that nothing reports as.
    unreported: HashMap<JobId, String>,
}

impl Known {
    fn runtime(&self, job: JobId, key: VerdictKey) -> String {
        let definition = self.gates.get(&(job, key));
        definition.and_then(|definition| self.runtimes.get(definition)).cloned().unwrap_or_else(|| LOCAL.to_owned())
    }
}

impl RuntimeMetrics {
    pub(super) fn new(all: &Registrar) -> Self {
        Self {
            in_flight: all.gauges("runtime_in_flight", "Gates that a runtime has now.", "runtime", &[LOCAL]),
            queue_seconds: all.float_counters(
                "runtime_queue_seconds_total",
                "Time that gates elsewhere waited for a node.",
                "runtime",
                &[LOCAL],
            ),
            run_seconds: all.float_counters(
                "runtime_run_seconds_total",
                "Time that attempts of gates took, by what ran them.",
                "runtime",
                &[LOCAL],
            ),
            infrastructure_failures: all.counters(
                "runtime_infrastructure_failures_total",
                "Attempts of gates that a runtime could not run.",
                "runtime",
                &[LOCAL],
            ),
            unreported: all.gauges(
                "runtime_unreported",
                "Gates that wait for a check that nothing reports as.",
                "runtime",
                &[LOCAL],
            ),
            known: Mutex::default(),
        }
    }

    pub(super) fn apply(&self, recorded: &Recorded) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &recorded.event {
            Event::RunStarted(run) => self.run_started(&mut known, run),
            Event::JobStarted(job) => {
                known.gates.extend(job.gates.iter().map(|gate| ((job.job, gate.key), gate.definition)));
            }
            Event::ChecksMissing { job, key, .. } => {
                let runtime = known.runtime(*job, *key);
                if known.unreported.insert(*job, runtime.clone()).is_none() {
                    self.unreported.with_label_values(&[&runtime]).inc();
                }
            }
            Event::GateStarted { job, key, .. } => {
                let runtime = known.runtime(*job, *key);
                self.has_reported(&mut known, *job);
                self.in_flight.with_label_values(&[&runtime]).inc();
                if let Some(before) = known.running.insert(*job, runtime) {
                    self.in_flight.with_label_values(&[&before]).dec();
                }
            }
            Event::GateFinished(run) => self.gate_finished(&mut known, run),
            Event::JobFinished { job } => {
                known.gates.retain(|(of, _), _| of != job);
                self.gone(&mut known, *job);
            }
            Event::RunResumed { .. } => {
                let jobs: Vec<JobId> = known.running.keys().chain(known.unreported.keys()).copied().collect();
                known.gates.clear();
                jobs.into_iter().for_each(|job| self.gone(&mut known, job));
            }
            _ => {}
        }
    }

    fn run_started(&self, known: &mut Known, run: &RunStarted) {
        for gate in run.items.iter().flat_map(|item| &item.gates) {
            let Some(runtime) = &gate.runtime else { continue };
            known.runtimes.insert(gate.definition, runtime.to_string());
            let label = &[runtime.as_str()];
            // There from the start, so that a rate has something to begin at.
            self.in_flight.with_label_values(label);
            self.queue_seconds.with_label_values(label);
            self.run_seconds.with_label_values(label);
            self.infrastructure_failures.with_label_values(label);
            self.unreported.with_label_values(label);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "no gate takes 2^52 ms")]
    fn gate_finished(&self, known: &mut Known, run: &GateFinished) {
        let runtime = known.runtime(run.job, run.key);
        self.gone(known, run.job);
        self.run_seconds.with_label_values(&[&runtime]).inc_by(run.duration_ms as f64 / 1e3);
        if let Some(elsewhere) = &run.elsewhere {
            self.queue_seconds.with_label_values(&[&runtime]).inc_by(elsewhere.queued_ms as f64 / 1e3);
        }
        if matches!(run.outcome, GateOutcome::Infrastructure { .. }) {
            self.infrastructure_failures.with_label_values(&[&runtime]).inc();
        }
    }

    fn has_reported(&self, known: &mut Known, job: JobId) {
        if let Some(runtime) = known.unreported.remove(&job) {
            self.unreported.with_label_values(&[&runtime]).dec();
        }
    }

    fn gone(&self, known: &mut Known, job: JobId) {
        self.has_reported(known, job);
        if let Some(runtime) = known.running.remove(&job) {
            self.in_flight.with_label_values(&[&runtime]).dec();
        }
    }
}
