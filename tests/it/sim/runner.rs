//! The scripted gate runner: what a gate does on a tree is what the world's rules say of it.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use lexpr::ports::{GateRun, GateRunner, Job, JobGateRun, JobNews, PortError};
use lexpr::vocabulary::event::{GateOutcome, Verdict};
use lexpr::vocabulary::names::ItemName;
use tokio::sync::{mpsc, watch};

use super::content::{Content, GateRecord};
use super::limits::REFUSED;
use super::{Effect, Hands, Mishap, mix};

/// How often the scripted runner tries a gate that it cannot run.
pub const INFRASTRUCTURE_ATTEMPTS: u32 = 2;

impl Hands {
    /// Runs all attempts of one gate; true where the job must not go on.
    async fn run_gate(&self, job: &Job, at: usize, news: &Sender, cancel: &mut Cancel) -> Result<bool, PortError> {
        let JobGateRun { gate, key, .. } = &job.gates[at];
        let content = Arc::clone(&self.lock().trees[&job.tree]);
        // A gate with inputs sees nothing else.
        let seen = gate.inputs.as_ref().map(|inputs| {
            let looked_at = inputs.iter().filter_map(|name| self.graph.find(&ItemName::new(name)));
            let there = looked_at.filter(|ix| content.has(*ix));
            there.fold(Content::of(self.graph.len()), |seen, ix| seen.with(ix))
        });
        let effects = self.effects(&gate.run, seen.as_ref().unwrap_or(&content));
        let tried_before = self.lock().attempts.contains_key(key);
        if effects.contains(&Effect::BreaksOff) || (effects.contains(&Effect::FailsThenBreaksOff) && tried_before) {
            return Err(PortError { message: "the slot is gone".to_owned(), hint: None });
        }
        let number = {
            let mut inner = self.lock();
            inner.gates_begun += 1;
            inner.gates_begun
        };
        if self.has_mishap(Mishap::StuckGate(number)) {
            let stuck = PortError { message: "no space left on device".to_owned(), hint: None };
            send(news, JobNews::Stuck(stuck.clone()));
            return Err(stuck);
        }
        for attempt in 1.. {
            send(news, JobNews::Started { job: job.job, gate: at, attempt, node: None });
            let mut refused = false;
            let run_no = {
                let mut inner = self.lock();
                let times = inner.refusals.get(key).copied().unwrap_or(0);
                refused |= times < self.world.limited.refusals(&gate.run);
                if refused {
                    inner.refusals.insert(*key, times + 1);
                }
                let counted = inner.attempts.entry(*key).or_default();
                *counted += 1;
                *counted
            };
            let fixed = effects.iter().find_map(|effect| match effect {
                Effect::Takes(ms) => Some(*ms),
                _ => None,
            });
            let tree = u64::from_le_bytes(job.tree.as_bytes()[..8].try_into().unwrap());
            let varied = mix(mix(self.world.seed, tree), u64::from(run_no)) % (self.world.longest_gate_ms + 1);
            let takes_ms = fixed.unwrap_or(varied);
            let ended = self.unless_cancelled(takes_ms, cancel).await;
            let outcome = match ended {
                true if refused => GateOutcome::RateLimited { exit_code: REFUSED.into() },
                true => outcome(&effects, run_no),
                false => GateOutcome::Cancelled,
            };
            let limit = match outcome {
                GateOutcome::Infrastructure { .. } => INFRASTRUCTURE_ATTEMPTS,
                GateOutcome::Passed | GateOutcome::Cancelled | GateOutcome::RateLimited { .. } => attempt,
                _ => gate.retry.max_attempts,
            };
            let again = attempt < limit;
            let verdict = match outcome {
                _ if again => None,
                GateOutcome::Passed => Some(Verdict::Passed { flaky: attempt > 1 }),
                GateOutcome::Cancelled | GateOutcome::Infrastructure { .. } | GateOutcome::RateLimited { .. } => {
                    Some(Verdict::Unknown)
                }
                _ => Some(Verdict::Failed),
            };
            let passed = outcome == GateOutcome::Passed;
            let failed = is_failure(&outcome);
            self.lock().gates.push(GateRecord {
                gate: gate.run.clone(),
                definition: gate.definition,
                key: *key,
                what: Arc::clone(&content),
                passed,
                failed,
                clean_slot: job.clean_slot,
                job: job.job,
                refused: ended && refused,
                judged: matches!(verdict, Some(Verdict::Passed { .. } | Verdict::Failed)),
                stopped: !ended,
                lost: false,
            });
            let backoff = again.then(|| gate.retry.backoff.as_millis().try_into().unwrap());
            let run = Box::new(gate_run(outcome, verdict, takes_ms, backoff));
            send(news, JobNews::Finished { job: job.job, gate: at, attempt, run });
            if !ended || refused {
                // It did not come to doing what it does at this try.
                let mut inner = self.lock();
                inner.attempts.entry(*key).and_modify(|tries| *tries -= 1);
                if refused && !ended {
                    inner.refusals.entry(*key).and_modify(|times| *times -= 1);
                }
                return Ok(true);
            }
            if !again {
                return Ok(failed && gate.required && job.fail_fast);
            }
            if !self.unless_cancelled(backoff.unwrap_or(0), cancel).await {
                return Ok(true);
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Sleeps; false where the run was cancelled meanwhile.
    async fn unless_cancelled(&self, ms: u64, cancel: &mut Cancel) -> bool {
        if *cancel.borrow() {
            return false;
        }
        let sleep = self.time.sleep(ms);
        let cancelled = cancel.changed();
        matches!(select(std::pin::pin!(sleep), std::pin::pin!(cancelled)).await, Either::Left(_))
    }
}

fn is_failure(outcome: &GateOutcome) -> bool {
    matches!(outcome, GateOutcome::Failed { .. } | GateOutcome::Signaled { .. } | GateOutcome::TimedOut { .. })
}

type Sender = mpsc::UnboundedSender<JobNews>;
type Cancel = watch::Receiver<bool>;

fn send(news: &Sender, what: JobNews) {
    // Nobody listens any more where the run was abandoned.
    let _ = news.send(what);
}

fn outcome(effects: &[Effect], run_no: u32) -> GateOutcome {
    let failed = GateOutcome::Failed { exit_code: 1 };
    let is = |wanted: Effect| effects.contains(&wanted);
    let not_yet = |effect: &Effect| matches!(effect, Effect::CannotRunAtFirst(runs) if run_no <= *runs);
    if is(Effect::CannotRun) || effects.iter().any(not_yet) {
        GateOutcome::Infrastructure { message: "no space left in the slot".to_owned() }
    } else if is(Effect::Fails) || is(Effect::FailsThenBreaksOff) {
        failed
    } else if is(Effect::TimesOut) {
        GateOutcome::TimedOut { after_ms: 1, signal: Some(15) }
    } else if effects.iter().any(|effect| matches!(effect, Effect::FailsAtFirst(runs) if run_no <= *runs)) {
        failed
    } else {
        GateOutcome::Passed
    }
}

fn gate_run(outcome: GateOutcome, verdict: Option<Verdict>, duration_ms: u64, backoff_ms: Option<u64>) -> GateRun {
    GateRun { backoff_ms, log: PathBuf::from("log"), ..GateRun::in_name_only(outcome, verdict, duration_ms) }
}

impl GateRunner for Hands {
    fn run(&self, job: Job, news: Sender, mut cancel: Cancel) -> BoxFuture<'_, Result<(), PortError>> {
        async move {
            {
                let mut inner = self.lock();
                assert!(inner.journalled_jobs.contains(&job.job), "invariant 6: a job before its journal line");
                assert!(*cancel.borrow() || !inner.journal_failed, "nothing starts after the journal has failed");
                self.count_load(&mut inner);
                assert!(inner.in_work.insert(job.worker), "invariant 7: a worker does two jobs at once");
                let workers = self.world.limits.max_workers;
                let in_work = inner.in_work.iter().filter(|worker| worker.0 < workers).count();
                assert!(in_work <= workers as usize, "invariant 7: {in_work} jobs on {workers} workers");
                let is_elsewhere = job.gates[0].gate.runtime.elsewhere().is_some();
                assert_eq!(is_elsewhere, job.worker.0 >= workers, "a slot is for what runs here, and for nothing else");
                inner.most_in_work = inner.most_in_work.max(inner.in_work.len());
                inner.most_here = inner.most_here.max(in_work);
            }
            let mut result = Ok(());
            for at in 0..job.gates.len() {
                match self.run_gate(&job, at, &news, &mut cancel).await {
                    Ok(false) => {}
                    Ok(true) => break,
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            let mut inner = self.lock();
            self.count_load(&mut inner);
            inner.in_work.remove(&job.worker);
            result
        }
        .boxed()
    }
}
