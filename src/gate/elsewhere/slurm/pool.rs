//! Gates as steps of one allocation: granted once, and then a gate begins within milliseconds. What a step prints comes
//! through its `srun`, which runs here under a guard, as a local gate does. A step whose `srun` is gone goes on unheard:
//! it is ended before the gate is run again.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::client::Client;
use super::queue::{self, JobSeen, Phase, Queue};
use super::{Cluster, LONGEST_END, LOOK_AGAIN, Trouble, cancelled_early, millis};
use crate::gate::client::{Guard, GuardError, GuardedCommand, cancelled, shell};
use crate::gate::elsewhere::account::{Account, EngineSays, nonce};
use crate::gate::elsewhere::worker::{LONGEST_PREPARATION, SCRIPT, quoted, setup_limit};
use crate::gate::elsewhere::{Errand, Returned};
use crate::gate::environment::Environment;
use crate::gate::orphans::STARTED_FOR;
use crate::gate::protocol::{End, Ended};
use crate::vocabulary::event::GateOutcome;

/// Between looks at what a worker has said: soon at first, since a node that is there begins at once.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LATER_LOOKS: Duration = Duration::from_millis(200);
/// What a node may take, beyond a gate's time and its grace, to say that its time was up.
const SLACK: Duration = Duration::from_secs(30);
/// What nobody hears has this long, beyond its grace, to end in an allocation that can be given back otherwise.
const UNHEARD_END: Duration = Duration::from_secs(10);
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
        let asked = Instant::now();
        let limit = self.cluster.settings.queue_limit;
        let ready = tokio::select! {
            () = cancelled(&mut cancel) => return Ok(cancelled_early(asked)),
            ready = tokio::time::timeout(limit, self.get_ready(errand)) => ready,
        };
        let Ok(ready) = ready else { return Err(Trouble::Said(queued_for(asked))) };
        let (at, allocation, _turn) = ready?;
        let mut waiting = self.waiting(&errand.ticket);
        let step = Step { errand, at: &at, allocation: &allocation, asked };
        let returned = self.run_step(&step, &mut cancel, started).await;
        let is_suspect = match &returned {
            Ok(returned) => matches!(returned.outcome, GateOutcome::Infrastructure { .. }),
            Err(_) => true,
        };
        if is_suspect {
            self.look_again_at(&allocation).await;
        }
        waiting.ended = returned.is_ok();
        returned
    }

    async fn get_ready(&self, errand: &Errand) -> Result<(String, Allocation, OwnedSemaphorePermit), Trouble> {
        let (at, allocation) = futures::future::try_join(self.cluster.push(errand), self.allocation()).await?;
        let turn = Arc::clone(&allocation.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Trouble::Said("the pool was closed".to_owned()))?;
        if locked(&self.under_way).contains_key(&errand.ticket) {
            self.end_steps(allocation.job, |name| name == errand.ticket).await?;
        }
        Ok((at, allocation, turn))
    }

    fn waiting(&self, ticket: &str) -> Waiting {
        locked(&self.under_way).insert(ticket.to_owned(), true);
        Waiting { under_way: Arc::clone(&self.under_way), ticket: ticket.to_owned(), ended: false }
    }

    /// The allocation of the run: the one that is there, or a new one.
    async fn allocation(&self) -> Result<Allocation, Trouble> {
        let mut allocation = self.allocation.lock().await;
        if let Some(allocation) = &*allocation {
            return Ok(allocation.clone());
        }
        let job = match self.granted().await? {
            Some(job) => job,
            None => self.ask_for_nodes().await?,
        };
        let job = self.without_unheard_steps(job).await?;
        let cpus = self.cluster.cpus();
        let per_node = job.cpus / job.nodes.max(1) / cpus;
        let turns = usize::try_from(per_node.max(1) * job.nodes.max(1)).unwrap_or(1);
        let found = Allocation { job: job.id, turns: Arc::new(Semaphore::new(turns)) };
        *allocation = Some(found.clone());
        Ok(found)
    }

    /// The allocation, without steps that nobody hears: whoever started them is gone, and with it what they print. Another one
    /// where they do not end. A `srun` that was killed after it had asked for a step and before it had started it leaves one
    /// that has no processes, that no signal reaches and that ends with its allocation alone.
    async fn without_unheard_steps(&self, job: JobSeen) -> Result<JobSeen, Trouble> {
        let is_heard = |name: &str| locked(&self.under_way).get(name) == Some(&true);
        let limit = match locked(&self.under_way).values().any(|is_heard| *is_heard) {
            true => LONGEST_END,
            false => self.cluster.settings.grace + UNHEARD_END,
        };
        let left = self.steps_left(job.id, |name| !is_heard(name), limit).await?;
        if left.is_empty() {
            return Ok(job);
        }
        if locked(&self.under_way).values().any(|is_heard| *is_heard) {
            return Err(do_not_end(&left));
        }
        self.cluster.end_job(job.id).await?;
        let begun = Instant::now();
        let is_it = |seen: &JobSeen| seen.id == job.id && seen.phase() != Phase::Ended;
        while self.queue.look(Instant::now()).await?.iter().any(is_it) {
            if begun.elapsed() > LONGEST_END {
                return Err(do_not_end(&left));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.ask_for_nodes().await
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

    /// Ends the steps of these names, and waits until they have ended.
    async fn end_steps(&self, job: u64, of: impl Fn(&str) -> bool) -> Result<(), Trouble> {
        let left = self.steps_left(job, of, LONGEST_END).await?;
        if left.is_empty() { Ok(()) } else { Err(do_not_end(&left)) }
    }

    /// Ends the steps of these names: those that have not ended when the time is up. What is on a node that is lost has, as far
    /// as anybody can tell.
    async fn steps_left(&self, job: u64, of: impl Fn(&str) -> bool, limit: Duration) -> Result<Vec<String>, Trouble> {
        let client = &self.cluster.client;
        let begun = Instant::now();
        let (mut is_told, mut is_killed) = (false, false);
        let mut pause = LOOK_AGAIN;
        loop {
            let mut steps = queue::steps(client, job).await?;
            steps.retain(|step| of(&step.name));
            if !steps.is_empty() && is_told {
                let lost = queue::lost_nodes(client).await?;
                steps.retain(|step| !lost.contains(&step.node));
            }
            if steps.is_empty() || begun.elapsed() > limit {
                return Ok(steps.into_iter().map(|step| step.id).collect());
            }
            let ids: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
            if !is_told {
                self.cluster.scancel(&[&["--signal=TERM"], ids.as_slice()].concat()).await?;
                is_told = true;
            } else if !is_killed && begun.elapsed() > self.cluster.settings.grace + SLACK {
                self.cluster.scancel(&ids).await?;
                is_killed = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
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
        let run = self.srun(step, &names, &files);
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
                    if let Some(id) = files.account(errand).step {
                        // The worker ends the gate and tidies up. What it has to say comes through `srun`.
                        self.cluster.scancel(&["--signal=TERM", &id]).await?;
                        let patience = settings.grace + SLACK;
                        if let Ok(ended) = tokio::time::timeout(patience, &mut running).await {
                            (ended, Some(cut), queued)
                        } else {
                            self.cluster.scancel(&[&id]).await?;
                            abort.send_replace(true);
                            (running.await, Some(cut), queued)
                        }
                    } else {
                        abort.send_replace(true);
                        (running.await, Some(cut), queued)
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
        if cut.is_some() || !account.is_over() {
            // It may have begun at the last moment, or be on a node that nobody hears.
            self.end_steps(step.allocation.job, |name| name == errand.ticket).await?;
        }
        let engine = self.engine_says(step, ended?, &account, said).await?;
        let outcome = match cut {
            Some(Cut::Cancelled) => GateOutcome::Cancelled,
            Some(Cut::Queued) => account.infrastructure(&engine, &queued_for(step.asked)),
            Some(Cut::NotPrepared) => account.infrastructure(
                &engine,
                &format!("the gate had not begun after {} s of getting ready", LONGEST_PREPARATION.as_secs()),
            ),
            Some(Cut::Overdue) if account.is_over() => account.outcome(errand, &engine),
            Some(Cut::Overdue) => {
                account.infrastructure(&engine, "the gate's time was up, and the node did not say so")
            }
            None => account.outcome(errand, &engine),
        };
        Ok(account.returned(outcome, &engine, queued.unwrap_or_else(|| millis(step.asked.elapsed()))))
    }

    /// The command that runs a step, for a shell.
    fn srun(&self, step: &Step<'_>, names: &[&str], files: &Files) -> String {
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
        words.extend(self.cluster.shunned());
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
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LATER_LOOKS);
            let account = files.account(errand);
            if let (Some(node), Some(started)) = (&account.node, started.take_if(|_| account.node.is_some())) {
                started(node);
                *queued = Some(millis(step.asked.elapsed()));
                at_node = Some(Instant::now());
                pause = FIRST_LOOK;
            }
            if account.has_begun {
                let limit = errand.timeout.saturating_add(settings.grace).saturating_add(SLACK);
                tokio::time::sleep(limit).await;
                return Cut::Overdue;
            }
            match at_node {
                None if step.asked.elapsed() > settings.queue_limit => return Cut::Queued,
                Some(since) if since.elapsed() > LONGEST_PREPARATION + setup_limit(errand) => return Cut::NotPrepared,
                _ => {}
            }
        }
    }

    async fn engine_says(
        &self,
        step: &Step<'_>,
        ended: Ended,
        account: &Account,
        said: Vec<String>,
    ) -> Result<EngineSays, Trouble> {
        let tells_of_memory = |line: &str| line.contains("oom_kill") || line.contains("Out Of Memory");
        let out_of_memory =
            said.iter().any(|line| tells_of_memory(line)) || account.engine_remarks().any(tells_of_memory);
        let mut against_a_pass = match ended.end {
            End::Code(0) => None,
            End::Code(code) => Some(format!("srun ended with exit code {code}")),
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

/// One gate in an allocation.
struct Step<'a> {
    errand: &'a Errand,
    /// The ref.
    at: &'a str,
    allocation: &'a Allocation,
    asked: Instant,
}

/// What a step says beside what its gate prints.
struct Files {
    account: PathBuf,
    engine: PathBuf,
}

impl Files {
    fn beside(log: &Path) -> Self {
        let beside = |what: &str| {
            let mut path = log.as_os_str().to_owned();
            path.push(what);
            PathBuf::from(path)
        };
        let files = Self { account: beside(".account"), engine: beside(".srun") };
        files.remove();
        files
    }

    fn account(&self, errand: &Errand) -> Account {
        let text = std::fs::read(&self.account).unwrap_or_default();
        Account::read(&text, &nonce(&errand.ticket, errand.commit))
    }

    /// What srun itself says; not that the worker failed, which the worker says.
    fn engine(&self) -> Vec<String> {
        let text = std::fs::read(&self.engine).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("Exited with exit code"));
        lines.map(str::to_owned).collect()
    }

    fn remove(&self) {
        // Where they are not there, or stay, nothing depends on it.
        let _ = std::fs::remove_file(&self.account);
        let _ = std::fs::remove_file(&self.engine);
    }
}

fn do_not_end(steps: &[String]) -> Trouble {
    Trouble::Said(format!("steps {} do not end, and their gates are not run again beside them", steps.join(", ")))
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
