//! What a gate's container has to do with its job: it is made for each attempt, asked what the gate came to, and taken
//! away whatever that was. A gate that the shell of this machine runs has none.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Attempt, JobRun, blocking, failed, outcome_of, write_note};
use crate::gate::client::cancelled;
use crate::gate::container::{Boxed, ContainerError, Inside};
use crate::gate::environment::{GateTold, of_gate_elsewhere};
use crate::gate::protocol::{Cause, Ended};
use crate::plan::Gate;
use crate::plan::runtime::Runtime;
use crate::ports::PortError;
use crate::vocabulary::event::GateOutcome;

/// Between two questions to an engine that is away.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl JobRun<'_> {
    /// The container that is to run `command` for a gate, where one is; why it cannot be made.
    pub(super) async fn box_up(
        &self,
        attempt: Attempt<'_>,
        command: &str,
        artifacts: Option<&Path>,
        log: &Path,
    ) -> Result<Result<Option<Arc<Boxed>>, String>, PortError> {
        let gate = &attempt.gate.gate;
        let container = match &gate.runtime {
            Runtime::Local => return Ok(Ok(None)),
            Runtime::Container(container) => container,
            // Whoever sends it here would take what this machine says for what that says.
            Runtime::Slurm(_) | Runtime::CiService(_) => {
                let runtime = gate.runtime.name().map(ToString::to_string).unwrap_or_default();
                return Ok(Err(format!("{runtime} runs it, and not this machine")));
            }
        };
        let told = GateTold::of(attempt.gate, self.job.base, attempt.number, Path::new(""));
        let inside = Inside {
            mark: &self.gates.settings.mark,
            commit: self.job.commit,
            run: command,
            slot: &self.slot_path(),
            objects: self.worker.slot.as_ref().map_or(&[], |slot| slot.object_dirs()),
            // A setup is for the tree as a whole.
            cwd: if artifacts.is_some() { &gate.cwd } else { "" },
            environment: &of_gate_elsewhere(&gate.env, &self.surroundings(), &told),
            artifacts,
            log,
        };
        Ok(Boxed::new(container, &inside).map(|boxed| Some(Arc::new(boxed))))
    }

    /// What an attempt came to, by its own process or by its container.
    pub(super) async fn outcome_of(
        &mut self,
        ended: &Ended,
        gate: &Gate,
        boxed: Option<&Arc<Boxed>>,
        log: &Path,
    ) -> Result<GateOutcome, PortError> {
        let Some(boxed) = boxed.filter(|_| ended.cause == Cause::Itself) else { return Ok(outcome_of(ended, gate)) };
        Ok(match self.ask(boxed, gate.timeout, log).await? {
            GateOutcome::Failed { exit_code } => failed(exit_code, gate),
            other => other,
        })
    }

    /// What a command came to that ended by itself, by its container. An engine that does not answer is waited for, and the
    /// log says so: an attempt that meets none says nothing of its gate, nor would the next.
    pub(super) async fn ask(
        &mut self,
        boxed: &Arc<Boxed>,
        limit: Duration,
        log: &Path,
    ) -> Result<GateOutcome, PortError> {
        let patience = self.gates.settings.engine_patience.min(limit);
        let mut silent_since = None;
        loop {
            let asked = Arc::clone(boxed);
            let away = match blocking(move || asked.outcome()).await? {
                Ok(outcome) => return Ok(outcome),
                Err(error @ ContainerError::ImageGone { .. }) => {
                    self.is_in_vain = true;
                    return Ok(GateOutcome::Infrastructure { message: error.to_string() });
                }
                Err(away) => away,
            };
            self.engine_was_away = true;
            let since = *silent_since.get_or_insert_with(|| {
                write_note(log, &format!("{away}; it is waited for, {} s at most", patience.as_secs()));
                Instant::now()
            });
            if since.elapsed() >= patience {
                self.engine_was_away = false;
                let message = format!("{away}; it was waited for {} s", patience.as_secs());
                return Ok(GateOutcome::Infrastructure { message });
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = cancelled(&mut self.cancel) => return Ok(GateOutcome::Cancelled),
            }
        }
    }

    /// Takes the container away.
    pub(super) async fn unbox(&self, boxed: Option<Arc<Boxed>>, log: &Path) -> Result<(), PortError> {
        let Some(boxed) = boxed else { return Ok(()) };
        if let Err(error) = blocking(move || boxed.remove()).await? {
            write_note(log, &format!("the container could not be removed: {error}"));
        }
        Ok(())
    }
}

/// Why a command in a container, which ended by itself and came to this, has not succeeded; `None` where it has.
pub(super) fn why_not(outcome: GateOutcome) -> Option<String> {
    match outcome {
        GateOutcome::Passed => None,
        GateOutcome::Failed { exit_code } => Some(format!("failed with exit code {exit_code}")),
        GateOutcome::OutOfMemory { .. } => Some("was ended for want of memory".to_owned()),
        GateOutcome::Infrastructure { message } => Some(format!("could not be run: {message}")),
        GateOutcome::Signaled { .. }
        | GateOutcome::TimedOut { .. }
        | GateOutcome::Cancelled
        | GateOutcome::RateLimited { .. } => Some("ended in a way that containers do not".to_owned()),
    }
}
