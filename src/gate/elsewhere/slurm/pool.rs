//! Gates as steps of one allocation: granted once, and then a gate begins within milliseconds. What a step prints comes
//! through its `srun`, which runs here under a guard, as a local gate does. A step whose `srun` is gone goes on unheard:
//! it is ended before the gate is run again.

mod ending;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::client::Client;
use super::hearing::{Files, Silence};
use super::patience::note;
use super::queue::{self, JobSeen, Phase, Queue};
use super::{Cluster, LONGEST_END, LOOK_AGAIN, Trouble, excluding, millis, scancel, shunned_of};
use crate::gate::client::{Guard, GuardError, GuardedCommand, cancelled, shell};
use crate::gate::elsewhere::account::{Account, EngineSays};
use crate::gate::elsewhere::worker::{LONGEST_PREPARATION, LONGEST_SENDING, SCRIPT, quoted, setup_limit};
use crate::gate::elsewhere::{Errand, Returned};
use crate::gate::environment::Environment;
use crate::gate::orphans::STARTED_FOR;
use crate::gate::protocol::{End, Ended};
use crate::vocabulary::event::GateOutcome;

/// Between looks at what a worker has said: soon at first, since a node that is there begins at once.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LATER_LOOKS: Duration = Duration::from_millis(200);
const WHILE_IT_RUNS: Duration = Duration::from_millis(500);
/// What a node may take, beyond a gate's time and its grace, to say that its time was up.
const SLACK: Duration = Duration::from_secs(30);
/// The same where nobody waits for what it has to say, and somebody for the end.
const STOPPED_SLACK: Duration = Duration::from_secs(3);
/// How often one attempt of a gate gets another allocation because somebody took the one it had.
const RENEWALS: u32 = 3;
/// `srun` has nothing to write down.
const SRUN_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Pool {
    cluster: Arc<Cluster>,
    nodes: u32,
    queue: Queue,
    allocation: tokio::sync::Mutex<Option<Allocation>>,
    /// Idle ones.
    guards: Mutex<Vec<Guard>>,
    /// Tickets of gates that have begun and not ended; whether somebody waits for them.
    under_way: Arc<Mutex<HashMap<String, bool>>>,
}

#[derive(Clone, Debug)]
struct Allocation {
    job: u64,
    /// As many as it has room for gates: whoever waits here asks Slurm nothing meanwhile.
    turns: Arc<Semaphore>,
}

/// Why a gate is ended before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Cancelled,
    Queued,
    NotPrepared,
    Overdue,
    /// Nothing was heard of the worker.
    Silent,
}

/// Somebody waits for a gate. Dropped before it has ended, nobody does.
struct Waiting {
    under_way: Arc<Mutex<HashMap<String, bool>>>,
    ticket: String,
    ended: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut under_way = locked(&self.under_way);
        if self.ended {
            under_way.remove(&self.ticket);
        } else {
            under_way.insert(self.ticket.clone(), false);
        }
    }
}

impl Pool {
    pub(super) fn new(cluster: Arc<Cluster>, nodes: u32) -> Self {
        let queue = Queue::new(cluster.client.clone(), cluster.name());
        Self {
            cluster,
            nodes,
            queue,
            allocation: tokio::sync::Mutex::default(),
            guards: Mutex::default(),
            under_way: Arc::default(),
        }
    }

    pub(super) async fn run(
        &self,
        errand: &Errand,
        mut cancel: watch::Receiver<bool>,
        started: impl FnOnce(&str) + Send,
    ) -> Result<Returned, Trouble> {
        let limit = self.cluster.settings.queue_limit;
        let mut started = Some(started);
        for renewal in 0.. {
            let asked = Instant::now();
            let ready = tokio::select! {
                () = cancelled(&mut cancel) => return Ok(Returned::early(GateOutcome::Cancelled, asked)),
                ready = tokio::time::timeout(limit, self.get_ready(errand)) => ready,
            };
            let Ok(ready) = ready else { return Err(Trouble::Said(queued_for(asked))) };
            let (at, allocation, _turn) = ready?;
            let mut waiting = self.waiting(&errand.ticket);
            let step = Step { errand, at: &at, allocation: &allocation, asked };
            let told = |node: &str| {
                if let Some(started) = started.take() {
                    started(node);
                }
            };
            let returned = self.run_step(&step, &mut cancel, told).await;
            // What a worker that is not heard runs may go on.
            waiting.ended = matches!(&returned, Ok(returned) if !is_infrastructure(returned));
            if waiting.ended {
                return returned;
            }
            self.look_again_at(&allocation).await;
            if *cancel.borrow() {
                // What could not be ended is, before anything else is begun in the allocation, and when the run is cleared up.
                return Ok(Returned::early(GateOutcome::Cancelled, asked));
            }
            if renewal == RENEWALS || !self.was_taken(allocation.job).await? {
                return returned;
            }
            note(
                errand,
                &format!("the allocation {} is gone; another is asked for, and the gate begins anew", allocation.job),
            );
        }
        Err(Trouble::Said("the pool lost its allocation again and again".to_owned()))
    }

    /// Whether somebody took the allocation away, which is nothing that the gate or a node did. It has ended by then.
    async fn was_taken(&self, job: u64) -> Result<bool, Trouble> {
        let begun = Instant::now();
        loop {
            let jobs = self.queue.look(Instant::now()).await?;
            let seen = jobs.iter().find(|seen| seen.id == job);
            match seen.map(|seen| (seen.phase(), seen.state.as_str())) {
                Some((Phase::Ending, _)) if begun.elapsed() < LONGEST_END => tokio::time::sleep(LOOK_AGAIN).await,
                Some((Phase::Ended, "CANCELLED" | "PREEMPTED")) => return Ok(true),
                _ => return Ok(false),
            }
        }
    }

    async fn get_ready(&self, errand: &Errand) -> Result<(String, Allocation, OwnedSemaphorePermit), Trouble> {
        let (at, allocation) = futures::future::try_join(self.cluster.push(errand), self.allocation(errand)).await?;
        let turn = Arc::clone(&allocation.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Trouble::Said("the pool was closed".to_owned()))?;
        if locked(&self.under_way).contains_key(&errand.ticket) {
            self.end_steps(allocation.job, errand).await?;
        }
        Ok((at, allocation, turn))
    }

    fn waiting(&self, ticket: &str) -> Waiting {
        locked(&self.under_way).insert(ticket.to_owned(), true);
        Waiting { under_way: Arc::clone(&self.under_way), ticket: ticket.to_owned(), ended: false }
    }

    /// The allocation of the run: the one that is there, or a new one.
    async fn allocation(&self, errand: &Errand) -> Result<Allocation, Trouble> {
        let mut allocation = self.allocation.lock().await;
        if let Some(allocation) = &*allocation {
            return Ok(allocation.clone());
        }
        let job = match self.granted().await? {
            Some(job) => job,
            None => self.ask_for_nodes().await?,
        };
        let job = self.without_unheard_steps(job, errand).await?;
        let cpus = self.cluster.cpus();
        let per_node = job.cpus / job.nodes.max(1) / cpus;
        let turns = usize::try_from(per_node.max(1) * job.nodes.max(1)).unwrap_or(1);
        let found = Allocation { job: job.id, turns: Arc::new(Semaphore::new(turns)) };
        *allocation = Some(found.clone());
        Ok(found)
    }

    /// The allocation that is there, once it is granted.
    async fn granted(&self) -> Result<Option<JobSeen>, Trouble> {
        let name = self.cluster.name();
        let mut pause = LOOK_AGAIN;
        loop {
            let mut jobs = queue::jobs(&self.cluster.client, &name).await?;
            jobs.retain(|job| job.name == name && matches!(job.phase(), Phase::Waiting | Phase::Running));
            jobs.sort_by_key(|job| job.id);
            let mut jobs = jobs.into_iter();
            let Some(first) = jobs.next() else { return Ok(None) };
            for other in jobs {
                // Of a lexpr that was killed while it asked.
                self.cluster.end_job(other.id).await?;
            }
            if first.phase() == Phase::Running {
                return Ok(Some(first));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn ask_for_nodes(&self) -> Result<JobSeen, Trouble> {
        let settings = &self.cluster.settings;
        let mut args = vec![
            // The allocation is there once salloc(1) has ended, and stays.
            "--no-shell".to_owned(),
            "--quiet".to_owned(),
            format!("--job-name={}", self.cluster.name()),
            format!("--nodes={}", self.nodes),
            // Whole nodes, with all their memory: steps share it out.
            "--exclusive".to_owned(),
            "--mem=0".to_owned(),
            // The loss of one node is not that of the others.
            "--no-kill".to_owned(),
        ];
        args.extend(settings.needs.gpus.map(|gpus| format!("--gpus-per-node={gpus}")));
        args.extend(self.cluster.request());
        let (client, limit): (Client, Duration) = (self.cluster.client.clone(), settings.queue_limit);
        // It goes on if nobody waits for this gate any more: the allocation is found by its name.
        let asking = tokio::spawn(async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            client.once("salloc", &args, b"", limit).await
        });
        asking.await.map_err(|error| Trouble::Said(format!("asking for nodes ended early: {error}")))??;
        let gone = || {
            Trouble::Said("the allocation that Slurm granted is gone; see `sacct` or the partition's limits".to_owned())
        };
        self.granted().await?.ok_or_else(gone)
    }

    /// Something went wrong with it: whoever comes next looks whether it is there.
    async fn look_again_at(&self, suspect: &Allocation) {
        let mut allocation = self.allocation.lock().await;
        if allocation.as_ref().is_some_and(|allocation| Arc::ptr_eq(&allocation.turns, &suspect.turns)) {
            *allocation = None;
        }
    }

    async fn guard(&self) -> Result<Guard, GuardError> {
        let idle = locked(&self.guards).pop();
        match idle {
            Some(guard) => Ok(guard),
            None => {
                // There is no slot that it would hold.
                let nothing =
                    File::open("/dev/null").map_err(|error| GuardError::NoSlot(format!("/dev/null: {error}")))?;
                Guard::start(&self.cluster.settings.guard_exe, nothing).await
            }
        }
    }

    async fn run_step(
        &self,
        step: &Step<'_>,
        cancel: &mut watch::Receiver<bool>,
        started: impl FnOnce(&str) + Send,
    ) -> Result<Returned, Trouble> {
        let (errand, settings) = (step.errand, &self.cluster.settings);
        let files = Files::beside(&errand.log);
        let variables = self.cluster.instructions(errand, step.at, None).variables()?;
        let names: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
        let run = self.srun(step, &names, &files, self.excluded(step.allocation.job).await?);
        let mut environment: Environment = self.cluster.client.environment().iter().cloned().collect();
        environment.extend(variables.into_iter().map(|(name, value)| (name.into(), value)));
        environment.insert(STARTED_FOR.into(), settings.mark.clone().into());
        // By which a guard that was killed has what it ran ended.
        environment.insert("LEXPR_ARTIFACTS".into(), files.account.clone().into());
        let command = GuardedCommand {
            argv: &shell(&run),
            at_death: &[],
            cwd: Path::new("/"),
            environment: &environment,
            log: &errand.log,
            log_rules: errand.log_rules.clone(),
            // What ends it is told below: only there it is known when the gate has begun.
            timeout: Duration::MAX,
            grace: SRUN_GRACE,
        };
        let mut guard = self.guard().await?;
        let (abort, mut aborted) = watch::channel(false);
        // Who has asked lexpr to stop does not wait for a controller that is away.
        let client_for = |cut: Cut| match cut {
            Cut::Cancelled => self.cluster.client.hurried(),
            _ => self.cluster.client.clone(),
        };
        let (ended, cut, queued) = {
            let mut running = pin!(guard.run(&command, &mut aborted));
            let mut queued = None;
            let watched = self.watch(step, &files, started, &mut queued);
            let first = tokio::select! {
                ended = &mut running => Ok(ended),
                cut = watched => Err(cut),
                () = cancelled(cancel) => Err(Cut::Cancelled),
            };
            match first {
                Ok(ended) => (ended, None, queued),
                Err(cut) => {
                    let patience = match cut {
                        // Of one that is not heard nothing will come.
                        Cut::Silent => Duration::ZERO,
                        Cut::Cancelled => settings.grace + STOPPED_SLACK,
                        _ => settings.grace + SLACK,
                    };
                    // The worker ends the gate and tidies up. What it has to say comes through `srun`.
                    let told = self.tell_to_end(&client_for(cut), &files.account(errand)).await;
                    let ended = match &told {
                        Ok(Some(_)) => tokio::time::timeout(patience, &mut running).await.ok(),
                        Ok(None) | Err(_) => None,
                    };
                    match (ended, told) {
                        (Some(ended), _) => (ended, Some(cut), queued),
                        (None, Err(error)) if cut != Cut::Cancelled => return Err(error.into()),
                        (None, told) => {
                            if let Ok(Some(id)) = &told {
                                scancel(&client_for(cut), &[id]).await?;
                            }
                            abort.send_replace(true);
                            (running.await, Some(cut), queued)
                        }
                    }
                }
            }
        };
        if let Ok(_) | Err(GuardError::NotStarted(_)) = ended {
            locked(&self.guards).push(guard);
        }
        let account = files.account(errand);
        let said = files.engine();
        files.remove();
        if cut == Some(Cut::Cancelled) {
            self.end_cancelled_steps(step.allocation.job, errand).await?;
            let none = EngineSays::default();
            return Ok(account.returned(
                GateOutcome::Cancelled,
                &none,
                queued.unwrap_or_else(|| millis(step.asked.elapsed())),
            ));
        }
        // Who comes next sees to one that was not heard.
        if cut != Some(Cut::Silent) && (cut.is_some() || !account.is_over()) {
            // It may have begun at the last moment, or be on a node that nobody hears.
            self.end_steps(step.allocation.job, errand).await?;
        }
        let engine = self.engine_says(step, (ended?, cut.is_some()), &account, said).await?;
        let outcome = match cut {
            Some(Cut::Queued) => account.infrastructure(&engine, &queued_for(step.asked)),
            Some(Cut::NotPrepared) => account.infrastructure(
                &engine,
                &format!("the gate had not begun after {} s of getting ready", LONGEST_PREPARATION.as_secs()),
            ),
            Some(Cut::Overdue | Cut::Silent) if account.is_over() => account.outcome(errand, &engine),
            Some(Cut::Silent) => account.infrastructure(
                &engine,
                &format!("nothing was heard of the gate for {} s", settings.patience.silence.as_secs()),
            ),
            Some(Cut::Overdue) => {
                account.infrastructure(&engine, "the gate's time was up, and the node did not say so")
            }
            // A cancelled one has come back before.
            Some(Cut::Cancelled) | None => account.outcome(errand, &engine),
        };
        Ok(account.returned(outcome, &engine, queued.unwrap_or_else(|| millis(step.asked.elapsed()))))
    }

    /// Nodes of the allocation that get no gate, as an option.
    async fn excluded(&self, job: u64) -> Result<Option<String>, Trouble> {
        let shunned = self.cluster.shunned();
        if shunned.is_empty() {
            return Ok(None);
        }
        let client = &self.cluster.client;
        let jobs = self.queue.look(Instant::now()).await?;
        // Of one that is gone, `srun` says so.
        let Some(job) = jobs.iter().find(|seen| seen.id == job && !seen.node.is_empty()) else { return Ok(None) };
        let mut there = queue::names_of(client, &job.node).await?;
        let lost = queue::lost_nodes(client).await?;
        there.retain(|node| !lost.contains(node));
        Ok(excluding(shunned_of(&shunned, &there)))
    }

    /// The command that runs a step, for a shell.
    fn srun(&self, step: &Step<'_>, names: &[&str], files: &Files, excluded: Option<String>) -> String {
        let settings = &self.cluster.settings;
        let mut words = vec![
            "exec".to_owned(),
            "srun".to_owned(),
            "--quiet".to_owned(),
            format!("--jobid={}", step.allocation.job),
            format!("--job-name={}", step.errand.ticket),
            "--nodes=1".to_owned(),
            "--ntasks=1".to_owned(),
            // No more than is asked for here: others run beside it.
            "--exact".to_owned(),
            format!("--cpus-per-task={}", self.cluster.cpus()),
            // 0: whatever there is, and held from nobody.
            format!("--mem={}", settings.needs.memory_mb.unwrap_or_default()),
            "--mpi=none".to_owned(),
            "--chdir=/".to_owned(),
            "--input=none".to_owned(),
            // By name: the values are in the environment of srun alone.
            format!("--export={}", names.join(",")),
            // Opened here. A `%` would be a pattern.
            format!("--error={}", files.account.display().to_string().replace('%', "%%")),
        ];
        words.extend(settings.needs.gpus.map(|gpus| format!("--gpus-per-task={gpus}")));
        words.extend(excluded);
        words.extend(["/bin/sh", "-c", SCRIPT, "lexpr-worker"].map(str::to_owned));
        let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
        format!("{} 2>{}", words.join(" "), shell_word(&files.engine.display().to_string()))
    }

    /// Tells when the gate is to be ended, if it does not end.
    async fn watch(&self, step: &Step<'_>, files: &Files, started: impl FnOnce(&str), queued: &mut Option<u64>) -> Cut {
        let (errand, settings) = (step.errand, &self.cluster.settings);
        let mut pause = FIRST_LOOK;
        let mut started = Some(started);
        let mut at_node = None;
        let mut overdue = None;
        let mut silence = Silence::default();
        loop {
            tokio::time::sleep(pause).await;
            if at_node.is_some() {
                silence.look(files, pause);
                if silence.lasts > settings.patience.silence {
                    if !self.is_suspended(step.allocation.job).await {
                        return Cut::Silent;
                    }
                    silence.lasts = Duration::ZERO;
                }
            }
            if let Some(overdue) = overdue {
                if Instant::now() >= overdue {
                    return Cut::Overdue;
                }
                continue;
            }
            pause = (pause * 2).min(LATER_LOOKS);
            let account = files.account(errand);
            if let (Some(node), Some(started)) = (&account.node, started.take_if(|_| account.node.is_some())) {
                started(node);
                *queued = Some(millis(step.asked.elapsed()));
                at_node = Some(Instant::now());
                pause = FIRST_LOOK;
            }
            if account.has_begun {
                let limit = errand.timeout.saturating_add(settings.grace).saturating_add(LONGEST_SENDING + SLACK);
                // Never, where no clock goes so far.
                overdue = Instant::now().checked_add(limit).or(overdue);
                pause = WHILE_IT_RUNS;
                continue;
            }
            match at_node {
                None if step.asked.elapsed() > settings.queue_limit => return Cut::Queued,
                Some(since) if since.elapsed() > LONGEST_PREPARATION + setup_limit(errand) => return Cut::NotPrepared,
                _ => {}
            }
        }
    }

    /// Whether Slurm has stopped what runs in the allocation, or does not say.
    async fn is_suspended(&self, job: u64) -> bool {
        let is_it = |seen: &JobSeen| seen.id == job && matches!(seen.state.as_str(), "SUSPENDED" | "STOPPED");
        self.queue.look(Instant::now()).await.map_or(true, |jobs| jobs.iter().any(is_it))
    }

    async fn engine_says(
        &self,
        step: &Step<'_>,
        (ended, is_cut): (Ended, bool),
        account: &Account,
        said: Vec<String>,
    ) -> Result<EngineSays, Trouble> {
        let tells_of_memory = |line: &str| line.contains("oom_kill") || line.contains("Out Of Memory");
        let out_of_memory =
            said.iter().any(|line| tells_of_memory(line)) || account.engine_remarks().any(tells_of_memory);
        let mut against_a_pass = match ended.end {
            End::Code(0) => None,
            End::Code(code) => Some(format!("srun ended with exit code {code}")),
            // Where it had to be: it goes on for as long as somebody has the step's output.
            End::Signal(_) if is_cut && account.is_over() => Some(
                "Slurm did not end its step, which may be because a process that the gate left holds its output"
                    .to_owned(),
            ),
            End::Signal(signal) => Some(format!("srun was ended by signal {signal}")),
        };
        if out_of_memory {
            against_a_pass = Some("Slurm ended something for want of memory".to_owned());
        }
        if against_a_pass.is_none() {
            let jobs = self.queue.look(Instant::now()).await?;
            let job = jobs.iter().find(|job| job.id == step.allocation.job);
            against_a_pass = match job {
                Some(job) if matches!(job.phase(), Phase::Running | Phase::Ending) => None,
                Some(job) => Some(format!("the allocation's state is {}", job.state)),
                None => Some("Slurm does not know the allocation any more".to_owned()),
            };
        }
        Ok(EngineSays { against_a_pass, out_of_memory, remarks: said })
    }
}

fn is_infrastructure(returned: &Returned) -> bool {
    matches!(returned.outcome, GateOutcome::Infrastructure { .. })
}

/// One gate in an allocation.
struct Step<'a> {
    errand: &'a Errand,
    /// The ref.
    at: &'a str,
    allocation: &'a Allocation,
    asked: Instant,
}

fn queued_for(asked: Instant) -> String {
    let minutes = asked.elapsed().as_secs() / 60;
    format!("the gate was queued for {minutes} min and no node had room; `squeue --start` and `sinfo` may say why")
}

fn shell_word(word: &str) -> String {
    String::from_utf8_lossy(&quoted(word.as_bytes())).into_owned()
}

/// Nothing in these can be half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
