//! Proving a runtime before it is trusted: a gate that passes, one that fails and one that is cancelled are run by it, on
//! a small repository made for that, and what it says of each is held against what it should say.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::{DoctorArgs, asked_to_stop, ci_service, command_of, trying, until_stopped};
use crate::cli::clearing::Clearing;
use crate::cli::failure::{EXIT_INVALID, Failure};
use crate::cli::scratch::{Note, ScratchFolder};
use crate::cli::source::read_plan;
use crate::cli::{leftovers, speak};
use crate::diagnostics;
use crate::doctor::{Check, Finding};
use crate::gate::elsewhere::{AllGates, Exchange, GatesElsewhere};
use crate::gate::processes::RecentProcesses;
use crate::gate::{GateSettings, LocalGates, container, orphans, own_executable};
use crate::git::command::{self, Config, Git};
use crate::git::quarantine::Quarantine;
use crate::git::repo::{Target, UserRepo};
use crate::git::scratch::{self, ScratchCommit};
use crate::git::slot::{SlotPool, SlotSettings, repository_id};
use crate::plan::check::Checked;
use crate::plan::runtime::{Asked, Cluster, DEFAULT_QUEUE_LIMIT, LOCAL, Runtime, SlurmMode};
use crate::plan::{Gate, Plan};
use crate::ports::{GateRun, GateRunner, Job, JobGateRun, JobNews, PortError};
use crate::report::outcome::outcome_text;
use crate::runs::{self, RunFolder};
use crate::vocabulary::event::{FixedImage, GateOutcome};
use crate::vocabulary::names::{DefinitionDigest, JobId, RunId, VerdictKey, WorkerId};
use crate::wording::{count, duration, shown};

/// What the gates look for in the tree.
const FILE: (&str, &str) = ("probe.txt", "lexpr was here\n");
/// A status that nothing else gives.
const STATUS: i32 = 37;
/// Longer than any runtime takes to start a gate, and no longer than somebody waits for an answer.
const LIMIT: Duration = Duration::from_secs(300);

/// A node is waited for so long where the plan has no `queueMinutes`.
const LONGEST_QUEUED: Duration = Duration::from_secs(120);
/// What has not begun for so long is told of.
const TOLD_TO_WAIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What was asked of a runtime.
#[derive(Clone, Copy)]
enum Trial {
    Passes,
    Fails,
    Cancelled,
}

impl Trial {
    const ALL: [Self; 3] = [Self::Passes, Self::Fails, Self::Cancelled];

    fn name(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Fails => "fails",
            Self::Cancelled => "is-cancelled",
        }
    }

    /// What is said of it as it begins.
    fn told(self) -> &'static str {
        match self {
            Self::Passes => "a gate that should pass",
            Self::Fails => "a gate that should fail",
            Self::Cancelled => "a gate that is cancelled",
        }
    }

    fn command(self) -> String {
        let (path, text) = (FILE.0, FILE.1.trim_end());
        match self {
            // What gates do in their tree, whose owner may be somebody else: they write in it, and ask git about it.
            Self::Passes => format!(
                "read -r line <{path} && [ \"$line\" = '{text}' ] && [ -n \"$LEXPR_COMMIT\" ] && echo >written && \
                 {{ ! command -v git >/dev/null || [ \"$(git rev-parse HEAD)\" = \"$LEXPR_COMMIT\" ]; }}"
            ),
            Self::Fails => format!("exit {STATUS}"),
            Self::Cancelled => "echo begun; while :; do sleep 1; done".to_owned(),
        }
    }
}

/// Runs the trials. What cannot be tried is a finding, too.
///
/// # Errors
/// Where the plan cannot be read, or has no such runtime.
pub(super) fn findings(name: &str, args: &DoctorArgs) -> Result<Vec<Finding>, Failure> {
    let (runtime, checked) = find(name, args)?;
    if let (Some(service), Some(checked)) = (runtime.ci_service(), &checked) {
        return ci_service::findings(name, service, checked, &args.repository);
    }
    let mut findings = Vec::new();
    let runtime = match runtime.container().map(|boxed| (boxed, container::fix(boxed, |_| {}))) {
        None => runtime,
        Some((_, Err(error))) => {
            return Ok(vec![Finding::fail(Check::Runtime, format!("{name}: {error}")).remedy(error.hint())]);
        }
        Some((boxed, Ok(image))) => {
            let what = format!("{name}: {}, image {} ({})", image.engine, boxed.image, image.id);
            findings.push(Finding::ok(Check::Runtime, what));
            container::fixed(boxed, &[image]).unwrap_or(Runtime::Local)
        }
    };
    let mut scratch = ScratchFolder::create()?;
    let place = RunFolder { id: RunId::new(format!("doctor-{}", runs::fresh_id())), path: scratch.path().to_owned() };
    command::work_for(place.mark());
    let tried = until_stopped(|stop| try_all((name, &runtime), checked.as_ref(), &mut scratch, &place, stop));
    orphans::end_all(&place.mark());
    scratch.remove();
    findings.extend(tried?);
    Ok(findings)
}

/// What is asked of a cluster, which only a gate that ran there shows to be had.
fn asked_for(cluster: &Cluster) -> String {
    let way = match cluster.policy.mode {
        SlurmMode::Pool { nodes } => format!("a pool of {}", count(nodes as usize, "node")),
        SlurmMode::Batch => "a job for each gate".to_owned(),
    };
    let partition = cluster.needs.partition.as_deref().map_or_else(String::new, |name| format!(", partition {name}"));
    format!("{way}{partition}, {} at once", cluster.policy.max_in_flight)
}

/// The runtime of that name as gates of the plan have it.
fn find(name: &str, args: &DoctorArgs) -> Result<(Runtime, Option<Checked>), Failure> {
    if name == LOCAL && args.plan.is_none() {
        return Ok((Runtime::Local, None));
    }
    let path = args.plan.as_deref().unwrap_or(Path::new("plan.yaml")).to_string_lossy().into_owned();
    let checked = read_plan(&path).map_err(|invalid| {
        speak::must_know(&diagnostics::text(&invalid.source_text, &invalid.problems, speak::diagnostics_style()));
        match args.plan {
            Some(_) => Failure::shown(EXIT_INVALID),
            None => Failure::usage(format!("{} is where the runtime was looked for", shown(&path)))
                .with_hint("`--plan` names another plan that has it"),
        }
    })?;
    let plan = &checked.plan;
    // With the image of the first gate that it runs, where the policy names none.
    let gates = plan.items.iter().flat_map(|item| &item.gates);
    let asked = gates.clone().find(|gate| gate.runtime.name().is_some_and(|of| of.as_str() == name));
    let asked = asked.map_or_else(Asked::default, |gate| gate.asked.clone());
    let runtime = plan.policy.runtimes.of(name, &asked).map_err(|error| {
        let names: Vec<&str> = plan.policy.runtimes.names().collect();
        Failure::usage(error.to_string()).with_hint(format!("the plan has {}", names.join(", ")))
    })?;
    Ok((runtime, Some(checked)))
}

async fn try_all(
    (name, runtime): (&str, &Runtime),
    checked: Option<&Checked>,
    scratch: &mut ScratchFolder,
    place: &RunFolder,
    mut stop: watch::Receiver<bool>,
) -> Result<Vec<Finding>, Failure> {
    let (gates, exchange, target) = workbench(checked.map(|checked| &checked.plan), place)?;
    let images: Vec<FixedImage> = runtime.container().and_then(|boxed| boxed.fixed.clone()).into_iter().collect();
    if let (Some(runtime), Some(checked)) = (runtime.name(), checked) {
        let note = Note {
            run: place.id.clone(),
            command: command_of(name),
            runtime: runtime.clone(),
            exchange,
            repository: place.quarantine(),
            images: images.clone(),
        };
        scratch.write_down(&note, &checked.places.source().text)?;
    }
    let mut findings = Vec::new();
    let answers = tokio::select! {
        answers = gates.elsewhere().answers(runtime) => answers,
        () = asked_to_stop(&mut stop) => Ok(()),
    };
    if let Err(error) = answers {
        // Nothing was sent there that would have to be taken away.
        return Ok(vec![Finding::fail(Check::Runtime, format!("{name}: {error}"))]);
    }
    for (at, trial) in Trial::ALL.into_iter().enumerate() {
        trying(name, trial.told());
        let begun = Instant::now();
        let ended = run((&gates, &target, &place.logs()), (name, runtime), trial, at, &mut stop).await;
        if *stop.borrow() {
            break;
        }
        let Judged { finding, could_be_run } = judge(name, trial, ended, begun.elapsed());
        let asked = runtime.cluster().filter(|_| matches!(trial, Trial::Passes)).map(asked_for);
        if !could_be_run && matches!(trial, Trial::Passes) {
            let asked = asked.map(|asked| format!("; asked for: {asked}")).unwrap_or_default();
            findings.push(Finding { found: format!("{}{asked}", finding.found), ..finding });
            let others: Vec<&str> = Trial::ALL[1..].iter().map(|trial| trial.told()).collect();
            let skipped = format!("{name}: {} were not tried, as no gate can be run", others.join(" and "));
            findings.push(Finding::warn(Check::Runtime, skipped));
            break;
        }
        findings.extend(asked.map(|asked| Finding::ok(Check::Runtime, format!("{name}: Slurm, {asked}"))));
        findings.push(finding);
        if !could_be_run {
            break;
        }
    }
    leftovers::remove_containers(place, &images);
    let clearing = Clearing { gates: gates.elsewhere(), is_hurried: *stop.borrow() };
    match clearing.to_its_end(asked_to_stop(&mut stop)).await {
        Ok(()) => scratch.strike_out(),
        Err(error) => {
            let left = Finding::fail(Check::Runtime, format!("{name}: {}", error.message));
            findings.push(match error.hint {
                Some(hint) => left.remedy(hint),
                None => left,
            });
        }
    }
    Ok(findings)
}

/// How long a node is waited for: as long as the plan says, or as long as somebody waits for an answer.
fn queue_limit(cluster: &Cluster) -> Duration {
    let limit = cluster.policy.queue_limit;
    if limit == DEFAULT_QUEUE_LIMIT { LONGEST_QUEUED } else { limit }
}

/// A repository with one commit, what runs gates on it, and the address that nodes have it from.
fn workbench(plan: Option<&Plan>, place: &RunFolder) -> Result<(AllGates, String, Target), Failure> {
    let path = place.path.join("repository");
    let first = ScratchCommit { message: "Something to run gates on", files: &[FILE] };
    scratch::create(&path, first, &[]).map_err(|error| Failure::internal(error.to_string()))?;
    let repo = UserRepo::open(&path)?;
    let target = repo.resolve("main", &[])?.target;
    let quarantine =
        Quarantine::create(&place.quarantine(), &repo).map_err(|error| Failure::internal(error.to_string()))?;
    let slots = SlotPool::new(SlotSettings {
        cache_root: place.path.join("slots"),
        repository_id: repository_id(repo.common_dir()),
        object_dirs: vec![repo.objects().to_owned(), quarantine.objects()],
        store: Some(quarantine.store().clone()),
        target_branch: target.short_name().to_owned(),
    });
    let settings = GateSettings {
        run: place.id.clone(),
        mark: place.mark(),
        logs: place.logs(),
        artifacts: place.artifacts(),
        guard_exe: own_executable().map_err(|error| Failure::internal(format!("finding lexpr itself: {error}")))?,
        environment: std::env::vars_os().collect(),
        log_max_bytes: 1024 * 1024,
        redact: plan.map(|plan| plan.policy.redact.clone()).unwrap_or_default(),
        grace: GateSettings::DEFAULT_GRACE,
        engine_patience: GateSettings::ENGINE_PATIENCE,
    };
    let address = plan.and_then(|plan| plan.policy.exchange.clone());
    let address = address.unwrap_or_else(|| repo.common_dir().to_string_lossy().into_owned());
    let exchange = Exchange::new(Git::new(quarantine.folder(), Config::Users), address.as_str(), settings.run.clone());
    let elsewhere = GatesElsewhere::new(settings.clone(), exchange);
    let here = LocalGates::new(settings, slots, Arc::new(RecentProcesses::default()));
    Ok((AllGates::new(here, elsewhere), address, target))
}

/// How a trial ended: its last attempt and, of a cancelled one, how long it took from when that was asked.
type Ended = Result<(Option<GateRun>, Option<Duration>), PortError>;

/// Waits until the gate that is cancelled has begun to print. Nothing tells of that: a log is what a gate wrote.
async fn said_something(logs: &Path) {
    loop {
        let files = std::fs::read_dir(logs).into_iter().flatten().flatten();
        let is_its_log = |name: &str| name.starts_with(Trial::Cancelled.name()) && name.ends_with(".log");
        let mut of_it = files.filter(|file| is_its_log(&file.file_name().to_string_lossy()));
        if of_it.any(|file| file.metadata().is_ok_and(|file| file.is_file() && file.len() > 0)) {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn run(
    (gates, target, logs): (&AllGates, &Target, &Path),
    (name, runtime): (&str, &Runtime),
    trial: Trial,
    at: usize,
    stop: &mut watch::Receiver<bool>,
) -> Ended {
    let definition = DefinitionDigest::of([trial.name().as_bytes()]);
    let gate = Gate::bare(trial.name().into(), definition, trial.command(), LIMIT).run_by(runtime.clone());
    let job = Job {
        job: JobId(at as u64),
        worker: WorkerId(0),
        commit: target.commit,
        tree: target.tree,
        base: target.commit,
        gates: vec![JobGateRun {
            key: VerdictKey::of([definition.as_bytes()]),
            gate: Arc::new(gate),
            item: None,
            ran: 0,
        }],
        fail_fast: true,
        clean_slot: false,
        setup: None,
    };
    let is_batch = runtime.cluster().is_some_and(|cluster| cluster.policy.mode == SlurmMode::Batch);
    let (tell, mut news) = mpsc::unbounded_channel();
    let (cancel, cancelled) = watch::channel(false);
    let mut asked = None;
    let mut last = None;
    let (mut waits, mut has_begun, mut held_up, mut is_given_up) = (true, false, None, false);
    let queue_limit = runtime.cluster().map_or(LIMIT, queue_limit);
    let given_up = tokio::time::sleep(queue_limit);
    tokio::pin!(given_up);
    let mut done = gates.run(job, tell, cancelled);
    let ended = loop {
        tokio::select! {
            biased;
            () = asked_to_stop(stop), if !*cancel.borrow() => drop(cancel.send_replace(true)),
            Some(told) = news.recv() => match told {
                JobNews::Finished { run, .. } => last = Some(*run),
                // What it prints comes back with what came of it: that a node has it is all there is to wait for.
                JobNews::Started { .. } if is_batch && matches!(trial, Trial::Cancelled) => {
                    asked = Some(Instant::now());
                    cancel.send_replace(true);
                }
                JobNews::Started { .. } => {
                    waits = false;
                    has_begun = true;
                }
                JobNews::Waits { why: Some(why), .. } => {
                    waits = false;
                    trying(name, &format!("it has not begun yet: {why}"));
                    held_up = Some(why);
                }
                JobNews::Waits { .. } | JobNews::ChecksMissing { .. } | JobNews::Stuck(_) => {}
            },
            () = tokio::time::sleep(TOLD_TO_WAIT), if waits => {
                waits = false;
                trying(name, "it has not begun yet, and is waited for");
            }
            () = &mut given_up, if !has_begun && !is_given_up => {
                is_given_up = true;
                cancel.send_replace(true);
            }
            ended = &mut done => break ended,
            // It is to be ended where it runs, and not before it got there.
            () = said_something(logs), if has_begun && asked.is_none() && !is_batch && matches!(trial, Trial::Cancelled) => {
                asked = Some(Instant::now());
                cancel.send_replace(true);
            }
        }
    };
    while let Ok(told) = news.try_recv() {
        if let JobNews::Finished { run, .. } = told {
            last = Some(*run);
        }
    }
    ended?;
    if is_given_up && !has_begun {
        let why = held_up.map(|why| format!(": {why}")).unwrap_or_default();
        let minutes = queue_limit.as_secs() / 60;
        return Err(PortError { message: format!("no node had a gate within {minutes} min{why}"), hint: None });
    }
    Ok((last, asked.map(|asked: Instant| asked.elapsed())))
}

/// What a trial showed.
struct Judged {
    finding: Finding,
    /// Whatever came of it, the runtime ran it.
    could_be_run: bool,
}

fn judge(name: &str, trial: Trial, ended: Ended, took: Duration) -> Judged {
    let outcome = ended.as_ref().ok().and_then(|(run, _)| Some(&run.as_ref()?.outcome));
    let could_be_run = !matches!(outcome, None | Some(GateOutcome::Infrastructure { .. }));
    Judged { could_be_run, finding: finding_of(name, trial, ended, took) }
}

fn finding_of(name: &str, trial: Trial, ended: Ended, took: Duration) -> Finding {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (run, until_gone) = match ended {
        Ok(ended) => ended,
        Err(error) => return Finding::fail(Check::Runtime, format!("{name}: {error}")),
    };
    let took = duration(millis(took));
    let outcome = run.as_ref().map(|run| &run.outcome);
    match (trial, outcome) {
        (Trial::Passes, Some(GateOutcome::Passed)) => {
            Finding::ok(Check::Runtime, format!("{name}: a gate found the tree and passed, {took} in all"))
        }
        (Trial::Fails, Some(GateOutcome::Failed { exit_code: STATUS })) => Finding::ok(
            Check::Runtime,
            format!("{name}: a gate that fails was told from one that passes, {took} in all"),
        ),
        (Trial::Cancelled, Some(GateOutcome::Cancelled)) => {
            let gone = duration(millis(until_gone.unwrap_or_default()));
            Finding::ok(Check::Runtime, format!("{name}: a gate that was cancelled was gone after {gone}"))
        }
        (trial, outcome) => {
            let came_to = outcome.map_or_else(|| "was not run".to_owned(), outcome_text);
            let finding = Finding::fail(Check::Runtime, format!("{name}: {}: {came_to}", trial.told()));
            let says_more = |tail: &String| tail.lines().any(|line| !came_to.contains(line.trim()));
            match run.map(|run| run.tail).filter(says_more) {
                Some(tail) => finding.meaning(format!("it said: {tail}")),
                None => finding,
            }
        }
    }
}
