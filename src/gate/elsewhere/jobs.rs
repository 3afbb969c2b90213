//! Jobs whose gates run elsewhere, as the loop asks for them: each gate is an errand, and what comes back is told as a
//! gate of this machine tells it. Who has no such gate starts nothing here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::ci::{Ci, CiSettings};
use super::slurm::{Patience, Slurm, SlurmSettings};
use super::{Errand, Exchange, Returned, Word, leavings};
use crate::crash;
use crate::gate::artifacts::{self, Kept};
use crate::gate::client::cancelled;
use crate::gate::environment::{GateTold, Surroundings, of_gate_elsewhere};
use crate::gate::job::failed;
use crate::gate::log;
use crate::gate::orphans::STARTED_FOR;
use crate::gate::pump::LogRules;
use crate::gate::retry::{Attempts, Next, goes_on};
use crate::gate::{GateSettings, LocalGates, secrets};
use crate::plan::ci_service::{CiJudge, CiServicePolicy};
use crate::plan::runtime::{Cluster, Runtime};
use crate::ports::{GateRun, GateRunner, Job, JobGateRun, JobNews, PortError};
use crate::vocabulary::event::{GateOutcome, RanElsewhere, Verdict};

/// All gates of a run: those of this machine, and those that run elsewhere.
#[derive(Debug)]
pub struct AllGates {
    here: LocalGates,
    elsewhere: GatesElsewhere,
}

impl AllGates {
    pub fn new(here: LocalGates, elsewhere: GatesElsewhere) -> Self {
        Self { here, elsewhere }
    }

    pub fn here(&self) -> &LocalGates {
        &self.here
    }

    pub fn elsewhere(&self) -> &GatesElsewhere {
        &self.elsewhere
    }
}

impl GateRunner for AllGates {
    fn run(
        &self,
        job: Job,
        news: mpsc::UnboundedSender<JobNews>,
        cancel: watch::Receiver<bool>,
    ) -> BoxFuture<'_, Result<(), PortError>> {
        match job.gates.first().and_then(|first| self.elsewhere.engine(&first.gate.runtime)) {
            Some(engine) => Box::pin(self.elsewhere.run(engine, job, news, cancel)),
            None => self.here.run(job, news, cancel),
        }
    }
}

/// What runs one gate elsewhere.
enum Engine {
    Slurm(Arc<Slurm>),
    Ci(Arc<Ci>, CiJudge),
}

impl Engine {
    async fn run(
        &self,
        errand: &Errand,
        cancel: watch::Receiver<bool>,
        tell: impl Fn(Word) + Send + Sync,
    ) -> Result<Returned, PortError> {
        match self {
            Self::Slurm(slurm) => slurm.run(errand, cancel, tell).await,
            Self::Ci(ci, judge) => ci.run(judge, errand, cancel, tell).await,
        }
    }
}

/// Gates that run elsewhere.
#[derive(Debug)]
pub struct GatesElsewhere {
    settings: GateSettings,
    exchange: Exchange,
    /// By the part of a cluster that gates ask for; those that ask for another have an allocation of their own.
    clusters: Mutex<Vec<(Cluster, Arc<Slurm>)>>,
    services: Mutex<Vec<(CiServicePolicy, Arc<Ci>)>>,
}

impl GatesElsewhere {
    /// What is had elsewhere is known as of the exchange's run; gates are told that of `settings`.
    pub fn new(settings: GateSettings, exchange: Exchange) -> Self {
        Self { settings, exchange, clusters: Mutex::default(), services: Mutex::default() }
    }

    /// `None`: this machine runs it.
    fn engine(&self, runtime: &Runtime) -> Option<Engine> {
        match runtime {
            Runtime::Local | Runtime::Container(_) => None,
            Runtime::Slurm(cluster) => Some(Engine::Slurm(self.cluster(cluster))),
            Runtime::CiService(service) => Some(Engine::Ci(self.service(&service.policy), service.judge.clone())),
        }
    }

    /// Says that the run had gates run by this before, which [`Self::clear`] is to know.
    pub fn recall(&self, runtime: &Runtime) {
        let _ = self.engine(runtime);
    }

    /// The CI service as gates that it judges have it.
    pub fn service(&self, policy: &CiServicePolicy) -> Arc<Ci> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ci)) = services.iter().find(|(known, _)| known == policy) {
            return Arc::clone(ci);
        }
        let settings = CiSettings {
            run: self.exchange.run().clone(),
            policy: policy.clone(),
            exchange: self.exchange.clone(),
            environment: self.settings.environment.clone(),
        };
        let ci = Arc::new(Ci::new(settings));
        services.push((policy.clone(), Arc::clone(&ci)));
        ci
    }

    /// The cluster as gates that ask for this have it.
    fn cluster(&self, asked: &Cluster) -> Arc<Slurm> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slurm)) = clusters.iter().find(|(known, _)| known == asked) {
            return Arc::clone(slurm);
        }
        let slurm = Arc::new(Slurm::new(self.settings_of(asked)));
        clusters.push((asked.clone(), Arc::clone(&slurm)));
        slurm
    }

    fn settings_of(&self, asked: &Cluster) -> SlurmSettings {
        let settings = &self.settings;
        SlurmSettings {
            name: asked.place(),
            run: self.exchange.run().clone(),
            mark: settings.mark.clone(),
            mode: asked.policy.mode,
            needs: asked.needs.clone(),
            queue_limit: asked.policy.queue_limit,
            exchange: self.exchange.clone(),
            work_dir: asked.policy.work_dir.clone().map(PathBuf::from),
            environment: settings.environment.clone(),
            guard_exe: settings.guard_exe.clone(),
            grace: settings.grace,
            patience: Patience::default(),
        }
    }

    /// Ends and removes all that is left of the run on the clusters and services that it had, if it had any.
    ///
    /// # Errors
    /// Where one cannot be asked, or something does not end. The others are cleared all the same.
    pub async fn clear(&self) -> Result<(), PortError> {
        self.clear_all(None).await
    }

    /// The same for somebody who does not wait: what does not answer is told of after so long, and what may be left there.
    ///
    /// # Errors
    /// As [`Self::clear`].
    pub async fn clear_within(&self, limit: Duration) -> Result<(), PortError> {
        self.clear_all(Some(limit)).await
    }

    async fn clear_all(&self, limit: Option<Duration>) -> Result<(), PortError> {
        // All are of one cluster, and each knows all that the run has there.
        let cluster = self.clusters.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let cluster = async {
            match (&cluster, limit) {
                (None, _) => Ok(()),
                (Some((_, slurm)), None) => slurm.clear().await,
                (Some((_, slurm)), Some(limit)) => slurm.clear_within(limit).await,
            }
        };
        let services = async {
            let mut cleared = Ok(());
            for (_, ci) in &services {
                cleared = cleared.and(match limit {
                    None => ci.clear().await,
                    Some(limit) => ci.clear_within(limit).await,
                });
            }
            cleared
        };
        let (of_cluster, of_services) = tokio::join!(cluster, services);
        of_cluster.and(of_services)
    }

    /// Asks the cluster of a runtime, if it has one, whether it answers.
    ///
    /// # Errors
    /// Where it does not, or not to who asks from here.
    pub async fn answers(&self, runtime: &Runtime) -> Result<(), PortError> {
        match self.engine(runtime) {
            Some(Engine::Slurm(slurm)) => slurm.answers().await,
            Some(Engine::Ci(..)) | None => Ok(()),
        }
    }

    async fn run(
        &self,
        engine: Engine,
        job: Job,
        news: mpsc::UnboundedSender<JobNews>,
        mut cancel: watch::Receiver<bool>,
    ) -> Result<(), PortError> {
        for (position, gate) in job.gates.iter().enumerate() {
            let run = GateOnItsWay { gates: self, engine: &engine, job: &job, gate, position, news: &news };
            if !goes_on(run.to_its_end(&mut cancel).await?, &gate.gate, job.fail_fast) {
                break;
            }
        }
        Ok(())
    }
}

/// One gate of a job, with all its attempts.
struct GateOnItsWay<'a> {
    gates: &'a GatesElsewhere,
    engine: &'a Engine,
    job: &'a Job,
    gate: &'a JobGateRun,
    position: usize,
    news: &'a mpsc::UnboundedSender<JobNews>,
}

impl GateOnItsWay<'_> {
    /// `None` where it was cancelled before or between its attempts.
    async fn to_its_end(&self, cancel: &mut watch::Receiver<bool>) -> Result<Option<Verdict>, PortError> {
        let mut attempts = Attempts::new(self.gate.gate.retry, self.gates.settings.run.clone(), self.gate.key);
        for number in 1.. {
            if *cancel.borrow() {
                return Ok(None);
            }
            let errand = self.errand(number);
            let has_begun = AtomicBool::new(false);
            let is_in_vain = AtomicBool::new(false);
            let (job, gate) = (self.job.job, self.position);
            let hear = |word: Word| match word {
                Word::Begun(node) => {
                    has_begun.store(true, Ordering::Relaxed);
                    let node = Some(node).filter(|node| !node.is_empty());
                    self.tell(JobNews::Started { job, gate, attempt: number, node });
                }
                Word::ChecksMissing(checks) => {
                    self.tell(JobNews::ChecksMissing { job, gate, attempt: number, checks });
                }
                Word::Waits(why) => self.tell(JobNews::Waits { job, gate, attempt: number, why }),
                Word::InVain => is_in_vain.store(true, Ordering::Relaxed),
            };
            let returned = self.engine.run(&errand, cancel.clone(), hear).await?;
            if !has_begun.load(Ordering::Relaxed) {
                if returned.outcome == GateOutcome::Cancelled {
                    return Ok(None);
                }
                hear(Word::Begun(String::new()));
            }
            let mut run = self.report(returned, errand, number).await?;
            if is_in_vain.load(Ordering::Relaxed) {
                attempts.are_in_vain();
            }
            let next = attempts.settle(&mut run);
            self.tell(JobNews::Finished { job, gate, attempt: number, run: Box::new(run) });
            match next {
                Next::Done(verdict) => return Ok(Some(verdict)),
                Next::Again { after } => tokio::select! {
                    () = tokio::time::sleep(after) => {}
                    () = cancelled(cancel) => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    fn tell(&self, news: JobNews) {
        crash::point!("gate.news.before");
        // Nobody listens any more: then nobody waits for it either.
        let _ = self.news.send(news);
        crash::point!("gate.news.after");
    }

    fn errand(&self, number: u32) -> Errand {
        let (gate, settings) = (&self.gate.gate, &self.gates.settings);
        let told = GateTold::of(self.gate, self.job.base, number, Path::new(""));
        let Job { commit, tree, .. } = *self.job;
        let surroundings = Surroundings { run: &settings.run, mark: &settings.mark, commit, tree };
        let mut environment = of_gate_elsewhere(&gate.env, &surroundings, &told);
        // What bears the mark is ended when a run is resumed; a gate over there is found again.
        environment.remove(OsStr::new(STARTED_FOR));
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let pass_env = gate.runtime.pass_env().to_vec();
        let redact: Vec<String> = settings.redact.iter().chain(&pass_env).cloned().collect();
        let own = settings.environment.iter().filter(|(name, _)| pass_env.iter().any(|passed| **passed == **name));
        let variables = own.map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let told_ones = environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let secrets = secrets::values(variables.chain(told_ones), &redact);
        let log = log::file_name(gate.name.as_str(), self.gate.key, self.job.job, number);
        Errand {
            // What the journal knows the end of was another errand.
            ticket: format!("{}-{}", self.gate.key, self.gate.ran + number - 1),
            commit,
            tree,
            setup: self.job.setup.as_ref().map(|setup| setup.run.clone()),
            command: gate.run.clone(),
            cwd: gate.cwd.clone(),
            env: environment.into_iter().map(|(name, value)| (text(name), text(value))).collect(),
            pass_env,
            artifacts: gate.artifacts.clone(),
            timeout: gate.timeout,
            log: settings.logs.join(log),
            log_rules: LogRules { max_bytes: settings.log_max_bytes, secrets },
        }
    }

    async fn report(&self, returned: Returned, errand: Errand, number: u32) -> Result<GateRun, PortError> {
        let gate = &self.gate.gate;
        let Returned { outcome, node, queued_ms, ran_ms, peak_memory_bytes, out_of_memory, left } = returned;
        let limit = gate.runtime.cluster().and_then(|cluster| cluster.needs.memory_mb);
        let outcome = match outcome {
            GateOutcome::Failed { exit_code } if out_of_memory => {
                let limit_bytes = limit.map(|megabytes| megabytes.saturating_mul(1024 * 1024));
                GateOutcome::OutOfMemory { exit_code, limit_bytes }
            }
            GateOutcome::Failed { exit_code } => failed(exit_code, gate),
            other => other,
        };
        crash::point!("gate.report.before");
        let was_run = !matches!(outcome, GateOutcome::Infrastructure { .. } | GateOutcome::Cancelled);
        let folder = self.gates.settings.artifacts.join(artifacts::folder_name(self.job.job, self.gate, number));
        let (exchange, log) = (self.gates.exchange.clone(), errand.log.clone());
        let read = tokio::task::spawn_blocking(move || {
            let kept = if was_run { leavings::bring(&exchange, &errand, &left, &folder) } else { Kept::default() };
            (log::of_ended(&errand.log), kept.without(&errand.log_rules.secrets))
        });
        let ((log_digest, tail), kept) = read.await.map_err(|error| PortError {
            message: format!("reading what came of a gate ended early: {error}"),
            hint: Some("this is a bug in lexpr; please report it".to_owned()),
        })?;
        Ok(GateRun {
            peak_memory_bytes,
            log,
            log_digest,
            tail,
            artifacts: kept.artifacts,
            missing_artifacts: kept.missing,
            elsewhere: Some(RanElsewhere { node, queued_ms }),
            ..GateRun::in_name_only(outcome, None, ran_ms)
        })
    }
}
