//! Hearing what things came to: news of jobs, composites, digests and landings become events.

use std::sync::Arc;

use super::{Done, Engine, EngineError, LandingEnd, Moved, RunningJob, port};
use crate::core::strategy::LandAction;
use crate::plan::Gate;
use crate::ports::{ComposeItem, GateRun, JobGateRun, JobNews, KnownPass, PortError};
use crate::vocabulary::event::{
    Composed, CompositePurpose, Event, GateFinished, GateOutcome, HaltReason, Landed, Verdict,
};
use crate::vocabulary::names::{CommitId, GateName, ItemName, JobId, TreeId, VerdictKey};
use crate::vocabulary::verdict::{FoundPass, KeyParts};

impl Engine<'_> {
    pub(super) fn hear(&mut self, news: JobNews) -> Result<(), EngineError> {
        match news {
            JobNews::Started { job, gate, attempt, node } => {
                if let Some(run) = self.running.get(&job).and_then(|running| running.gates.get(gate)) {
                    let (gate, key) = (run.gate.name.clone(), run.key);
                    self.record(Event::GateStarted { job, gate, key, attempt, node })?;
                }
            }
            JobNews::ChecksMissing { job, gate, attempt, checks } => {
                if let Some(run) = self.running.get(&job).and_then(|running| running.gates.get(gate)) {
                    let (gate, key) = (run.gate.name.clone(), run.key);
                    self.record(Event::ChecksMissing { job, gate, key, attempt, checks })?;
                }
            }
            JobNews::Waits { job, gate, attempt, why } => {
                if let Some(run) = self.running.get(&job).and_then(|running| running.gates.get(gate)) {
                    let (gate, key) = (run.gate.name.clone(), run.key);
                    self.record(Event::GateWaits { job, gate, key, attempt, why })?;
                }
            }
            JobNews::Finished { job, gate, attempt, run } => self.gate_finished(job, gate, attempt, *run)?,
            JobNews::Stuck(error) => return Err(super::port("running a gate")(error)),
        }
        Ok(())
    }

    fn gate_finished(&mut self, job: JobId, gate: usize, attempt: u32, run: GateRun) -> Result<(), EngineError> {
        let Some(running) = self.running.get_mut(&job) else { return Ok(()) };
        let Some(JobGateRun { gate, key, item, .. }) = running.gates.get(gate).cloned() else { return Ok(()) };
        running.has_judged |= run.verdict.is_some() && run.outcome != GateOutcome::Cancelled;
        let (tree, context) = (running.tree, item.map(|item| (item, running.base)));
        let store = self.ports.verdicts.clone();
        let pass = store.as_ref().and_then(|_| self.pass_of(&gate, tree, context, &run));
        let finished = Box::new(GateFinished {
            job,
            gate: gate.name.clone(),
            key,
            attempt,
            outcome: run.outcome,
            verdict: run.verdict,
            duration_ms: run.duration_ms,
            backoff_ms: run.backoff_ms,
            peak_memory_bytes: run.peak_memory_bytes,
            log: run.log.to_string_lossy().into(),
            log_digest: run.log_digest,
            tail: run.tail,
            artifacts: run.artifacts,
            missing_artifacts: run.missing_artifacts,
            elsewhere: run.elsewhere,
        });
        let now_ms = self.now_ms();
        if let Some(adaptive) = self.adaptive.as_mut().filter(|_| finished.elsewhere.is_none()) {
            adaptive.gate_finished(&finished, gate.definition, now_ms);
        }
        self.record(Event::GateFinished(finished))?;
        if let (Some(store), Some(pass)) = (store, pass) {
            store.remember(FoundPass { at_ms: self.last_ms, ..pass });
        }
        Ok(())
    }

    /// What later runs are told of a gate that has passed, but for when that was.
    fn pass_of(
        &self,
        gate: &Gate,
        tree: TreeId,
        context: Option<(ItemName, CommitId)>,
        run: &GateRun,
    ) -> Option<FoundPass> {
        let Some(Verdict::Passed { flaky }) = run.verdict else { return None };
        let parts = KeyParts {
            gate: gate.parts(),
            subject: self.state.subject(gate, tree)?,
            tree,
            context,
            surroundings: self.setup.surroundings.clone(),
        };
        Some(FoundPass {
            parts,
            run: self.setup.started.run.clone(),
            at_ms: 0,
            duration_ms: run.duration_ms,
            flaky,
            log: run.log_digest.map(|digest| (run.log.clone(), digest)),
        })
    }

    pub(super) fn finish(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Composed { purpose, base, result, duration_us } => {
                self.composing.remove(&purpose);
                let composite = result.map_err(port("making a composite"))?;
                let has_prefixes = matches!(purpose, CompositePurpose::Apex { .. } | CompositePurpose::Group { .. });
                self.record(Event::Composed(Box::new(Composed {
                    purpose,
                    base,
                    commit: composite.commit,
                    tree: composite.tree,
                    steps: if has_prefixes { composite.steps } else { Vec::new() },
                    set_aside: composite.set_aside,
                    duration_us,
                })))
            }
            Done::Digested { tree, definition, result } => {
                self.digesting.remove(&(tree, definition));
                let subject = result.map_err(port("reading what a gate's inputs match"))?;
                self.record(Event::InputsDigested { tree, definition, subject })
            }
            Done::Job { job, result } => self.job_finished(job, result.err()),
            Done::Landing { action, result, duration_us } => self.landing_finished(action, result, duration_us),
            Done::Waited(result) => self.waited(result),
            Done::LookedUp { gates, known } => self.looked_up(gates, known),
            Done::Looked { tip, result } => self.looked(tip, result),
            Done::NeverBegun => Ok(()),
        }
    }

    /// Records the passes that earlier runs found.
    fn looked_up(
        &mut self,
        gates: Vec<(GateName, VerdictKey)>,
        known: Vec<Option<KnownPass>>,
    ) -> Result<(), EngineError> {
        for ((gate, key), known) in gates.into_iter().zip(known) {
            self.looking_up.remove(&key);
            match known {
                None => drop(self.unknown.insert(key)),
                Some(KnownPass { from, remembered }) => {
                    let remembered = remembered.map(Box::new);
                    self.record(Event::VerdictReused { gate, key, from, remembered })?;
                }
            }
        }
        Ok(())
    }

    fn job_finished(&mut self, job: JobId, failure: Option<PortError>) -> Result<(), EngineError> {
        if let Some(RunningJob { gates, has_judged: false, cancel, .. }) = self.running.remove(&job)
            && !*cancel.borrow()
            && let Some(JobGateRun { gate, key, .. }) = gates.first()
        {
            // A job that judges nothing would be asked for again and again.
            let message = failure.map_or_else(|| "the job ended without a word".to_owned(), |error| error.to_string());
            self.record(Event::GateFinished(Box::new(GateFinished {
                job,
                gate: gate.name.clone(),
                key: *key,
                attempt: 1,
                outcome: GateOutcome::Infrastructure { message },
                verdict: Some(Verdict::Unknown),
                duration_ms: 0,
                backoff_ms: None,
                peak_memory_bytes: None,
                log: "".into(),
                log_digest: None,
                tail: String::new(),
                artifacts: Vec::new(),
                missing_artifacts: Vec::new(),
                elsewhere: None,
            })))?;
        }
        self.record(Event::JobFinished { job })
    }

    /// The items that others may land before the run does.
    pub(super) fn yet_to_land(&self) -> Vec<Arc<ComposeItem>> {
        let items = self.setup.graph.indices().filter(|ix| self.state.phase(*ix).is_yet_to_land());
        items.map(|ix| Arc::clone(&self.setup.items[ix.get()])).collect()
    }

    pub(super) fn target_moved(&mut self, from: CommitId, moved: Moved) -> Result<(), EngineError> {
        let Moved { to, to_tree, mut landed } = moved;
        // Since they were looked for, some may have been decided.
        landed.retain(|landed| {
            let ix = self.setup.graph.find(&landed.item);
            ix.is_some_and(|ix| self.state.phase(ix).is_yet_to_land())
        });
        self.record(Event::TargetMoved { from, to, to_tree, landed })
    }

    pub(super) fn landing_finished(
        &mut self,
        action: LandAction,
        result: Result<LandingEnd, PortError>,
        duration_us: u64,
    ) -> Result<(), EngineError> {
        match result.map_err(port("landing"))? {
            LandingEnd::Landed { pushed_to, moved_checkouts, receipt } => {
                self.record(Event::Landed(Box::new(Landed {
                    apex: action.apex,
                    from: action.from.commit,
                    to: action.to.commit,
                    tree: action.to.tree,
                    items: action.items.iter().map(|ix| self.setup.graph.name(*ix).clone()).collect(),
                    pushed_to,
                    moved_checkouts,
                    receipt,
                    duration_us,
                })))?;
            }
            LandingEnd::Moved(moved) => {
                self.target_moved(action.from.commit, moved)?;
                if self.state.rebases() > self.setup.limits.max_rebases {
                    let message = format!(
                        "{} was moved by others {} times in a row while this run was about to move it",
                        self.setup.started.target,
                        self.state.rebases()
                    );
                    self.record(Event::RunHalted { why: HaltReason::TargetKeepsMoving, message, advice: None })?;
                }
            }
            LandingEnd::Refused { message, advice } => {
                self.record(Event::RunHalted { why: HaltReason::TargetNotMovable, message, advice })?;
            }
        }
        self.sync()
    }
}
