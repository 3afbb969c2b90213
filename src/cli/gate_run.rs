//! `lexpr gate run`: one gate of one item, on the commit that a run judged it on, as the run ran it, in a folder that is
//! thrown away. Nothing is journalled, remembered or moved.

mod follow;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::clearing::Clearing;
use super::conduct;
use super::credentials;
use super::failure::Failure;
use super::prepare::{self, Overrides, Prepared, Workshop, line_up};
use super::scratch::{Note, ScratchFolder};
use super::signals::{Stops, asked_to_stop, until_stopped};
use super::{RepositoryArgs, leftovers, resume, speak, status};
use crate::core::judge;
use crate::core::reproduction::{self, Recipe, Story};
use crate::engine::exit;
use crate::gate::elsewhere::{AllGates, Exchange, GatesElsewhere};
use crate::gate::processes::RecentProcesses;
use crate::gate::{GateSettings, LocalGates, ShellEnd, orphans};
use crate::git::command::{self, Config, Git};
use crate::git::repo::UserRepo;
use crate::git::slot::{SlotPool, SlotSettings, repository_id};
use crate::plan::graph::ItemIx;
use crate::plan::problem::nearest;
use crate::plan::{Gate, Retry};
use crate::ports::{ComposeRequest, Composer, Composite, GateRun, GateRunner, Job, JobGateRun, JobNews, PortError};
use crate::report::outcome::{outcome_after, place_of};
use crate::runs::{self, RunFolder, RunsError};
use crate::vocabulary::event::{GateOutcome, Recorded, RunStarted, SetAsideCause};
use crate::vocabulary::names::{CommitId, JobId, RunId, WorkerId};
use crate::vocabulary::trail::Trail;
use crate::vocabulary::verdict;
use crate::wording::{list, ref_name, shown};

/// Of the one job and its one worker.
const JOB: JobId = JobId(1);
const WORKER: WorkerId = WorkerId(0);

#[derive(Debug, Args)]
pub struct GateArgs {
    #[command(subcommand)]
    pub command: GateCommand,
}

#[derive(Debug, Subcommand)]
pub enum GateCommand {
    /// Run one gate of an item once, on the commit that a run judged it on
    Run(GateRunArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Whatever the gate's `retries`, it runs once; limits that it claims (`resources`) do not hold it back. \
Nothing of it is remembered, no ref moves, and its folder is removed at the end. Exit codes: 0 it passed, or the shell was \
left; 1 lexpr itself failed, or could not run the gate; 2 there is no such item, gate or run; 3 it failed, or the item \
cannot be merged there; 130 interrupted."
)]
pub struct GateRunArgs {
    /// The item
    pub item: String,
    /// The gate: one of the item's, or of what it depends on
    pub gate: String,
    /// The run, or as much of its id as only it has; the newest where none is given
    pub run: Option<String>,
    /// As a run of this plan would begin now, instead of as a run did
    #[arg(long, value_name = "PLAN", conflicts_with = "run")]
    pub plan: Option<PathBuf>,
    /// Onto this branch instead of the plan's target
    #[arg(long, value_name = "REF", requires = "plan")]
    pub target: Option<String>,
    /// Open a shell ($SHELL, or sh) where the gate would run, instead of running it
    #[arg(long)]
    pub shell: bool,
    /// Keep the gate's artifacts here
    #[arg(long, value_name = "DIR", conflicts_with = "shell")]
    pub artifact_dir: Option<PathBuf>,
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// Runs the command.
///
/// # Errors
/// Where there is no such run, item or gate, the composite cannot be made, or lexpr fails.
pub fn run(args: &GateRunArgs) -> Result<u8, Failure> {
    let mut scratch = ScratchFolder::create()?;
    // As that of a run: what is started there is known by it.
    let place = RunFolder { id: RunId::new(format!("gate-run-{}", runs::fresh_id())), path: scratch.path().to_owned() };
    // Both at once, so that nothing that the command starts outlives it.
    let ended = conduct::see_through(conduct::runtime(1)?, run_in(args, &mut scratch, &place));
    orphans::end_all(&place.mark());
    if let Some(left) = scratch.remove() {
        speak::note(&format!("{} cannot be removed: remove it by hand\n", left.display()));
    }
    ended
}

async fn run_in(args: &GateRunArgs, scratch: &mut ScratchFolder, place: &RunFolder) -> Result<u8, Failure> {
    let composites = place.quarantine();
    let (prepared, workshop, past) = match &args.plan {
        Some(plan) => {
            let overrides = Overrides { target: args.target.clone(), ..Overrides::default() };
            let mut opened = prepare::open(&plan.to_string_lossy(), &args.repository.repo, &overrides)?;
            opened.fix_images()?;
            let workshop = Workshop::in_folder(&composites, &opened)?;
            (line_up(opened, &workshop.composer).await?, workshop, None)
        }
        None => {
            let repo = UserRepo::open(&args.repository.repo)?;
            let folder = runs::find(repo.common_dir(), args.run.as_deref()).map_err(no_run)?;
            let (past, started) = resume::read(&folder)?;
            let text = std::fs::read(folder.plan()).map_err(|error| Failure::io("reading", &folder.plan(), &error))?;
            let (prepared, settings) = prepare::again(&text, repo, &started, None)?;
            let workshop = Workshop::new(&composites, &prepared.repo, settings)?;
            (prepared, workshop, Some((past.events, started)))
        }
    };
    let bench = Bench { prepared: &prepared, workshop: &workshop, past: past.as_ref() };
    let item = bench.item(&args.item)?;
    let (owner, gate) = bench.gate(item, &args.gate)?;
    let recipe = bench.recipe(item, &gate);
    let made = bench.make(&recipe).await?;
    bench.refuse_without(item, &made)?;
    bench.tell(item, &gate, &recipe, &made);
    let id = past.as_ref().map_or_else(runs::fresh_id, |(_, started)| started.run.clone());
    command::work_for(place.mark());
    let gates = bench.gates(args, id, place)?;
    let job = bench.job(owner, gate, &recipe, &made);
    if args.shell {
        return match job.gates[0].gate.runtime.elsewhere() {
            Some((runtime, _)) => {
                Err(Failure::usage(format!("{runtime} runs this gate: a shell is to be had on this machine"))
                    .with_hint("without --shell the gate runs there again, with its output here"))
            }
            None => shell(gates.here(), &job, place).await,
        };
    }
    credentials::refuse_gate_without(&job.gates[0].gate)?;
    let note = bench.note(args, &job.gates[0].gate, place);
    if let Some(note) = &note {
        scratch.write_down(note, &prepared.text)?;
    }
    let Some(ended) = judge_once(&gates, job, place, args).await else {
        // Asked for an end a second time: nothing is waited for.
        if note.is_some() {
            speak::note("what it began elsewhere may be left there: `lexpr clean` takes it away\n");
        }
        return Ok(exit::INTERRUPTED);
    };
    let is_hurried = matches!(ended, Ok(exit::INTERRUPTED));
    let stop = asked_to_stop(None);
    Clearing { gates: gates.elsewhere(), is_hurried }.to_its_end(stop).await?;
    leftovers::remove_containers(place, note.as_ref().map_or(&[], |note| &note.images));
    scratch.strike_out();
    ended
}

fn no_run(error: RunsError) -> Failure {
    let hint = "`--plan PLAN` runs the gate as a run of that plan would begin now";
    match error {
        RunsError::None | RunsError::Unknown { .. } => status::not_found(error).with_hint(hint),
        other => status::not_found(other),
    }
}

/// What the composite is made with.
struct Bench<'a> {
    prepared: &'a Prepared,
    workshop: &'a Workshop,
    /// The events of the run that is reproduced.
    past: Option<&'a (Vec<Recorded>, RunStarted)>,
}

impl Bench<'_> {
    fn item(&self, name: &str) -> Result<ItemIx, Failure> {
        let graph = &self.prepared.graph;
        graph.find(&name.into()).ok_or_else(|| {
            let whose = match self.past {
                Some((_, started)) => format!("run {}", started.run),
                None => format!("plan {}", shown(&self.prepared.source)),
            };
            let names = || graph.indices().map(|ix| graph.name(ix).as_str());
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean {}?", shown(near)),
                None => format!("it has {}", list(names())),
            };
            Failure::usage(format!("{whose} has no item {}", shown(name))).with_hint(hint)
        })
    }

    /// The item's own gate of that name, or that of the nearest of what it depends on, by which it is judged as well;
    /// and whose it is.
    fn gate(&self, item: ItemIx, name: &str) -> Result<(ItemIx, Arc<Gate>), Failure> {
        let graph = &self.prepared.graph;
        let owners = std::iter::once(item).chain(graph.closure(item).into_iter().rev());
        let mut all = owners.flat_map(|owner| graph.gates(owner).iter().map(move |gate| (owner, gate)));
        if let Some((owner, gate)) = all.clone().find(|(_, gate)| gate.name.as_str() == name) {
            return Ok((owner, Arc::clone(gate)));
        }
        let failure = Failure::usage(format!("{} has no gate {}", shown(graph.name(item).as_str()), shown(name)));
        let own: Vec<&str> = graph.gates(item).iter().map(|gate| gate.name.as_str()).collect();
        Err(match nearest(name, all.by_ref().map(|(_, gate)| gate.name.as_str())) {
            Some(near) => failure.with_hint(format!("did you mean {}?", shown(near))),
            None if own.is_empty() => failure.with_hint("it has none"),
            None => failure.with_hint(format!("it has {}", list(own))),
        })
    }

    fn story(&self) -> Option<Story<'_>> {
        self.past.map(|(events, started)| Story { graph: &self.prepared.graph, started, events })
    }

    fn recipe(&self, item: ItemIx, gate: &Gate) -> Recipe {
        if let Some(story) = self.story() {
            return story.judged_on(item, gate);
        }
        let lined_up = self.prepared.graph.indices().zip(&self.prepared.lined_up);
        let landed: HashSet<ItemIx> =
            lined_up.filter(|(_, item)| item.already_landed.is_some()).map(|(ix, _)| ix).collect();
        let items = reproduction::cone(&self.prepared.graph, item, &landed);
        Recipe { base: self.prepared.target.commit, items, commit: None }
    }

    /// Makes the composite and, where it stands on one that is not in the repository, that first.
    async fn make(&self, recipe: &Recipe) -> Result<Composite, Failure> {
        let repo = &self.prepared.repo;
        let mut steps = vec![recipe.clone()];
        let made = loop {
            let base = steps.last().map_or(recipe.base, |step| step.base);
            if repo.missing(&[base])?.is_empty() {
                break steps;
            }
            let making = self.story().and_then(|story| story.making(base));
            steps.push(making.ok_or_else(|| gone("what it was merged onto", base))?);
        };
        let items = made.iter().flat_map(|step| &step.items).map(|ix| &self.prepared.items[ix.get()]);
        let needed: Vec<_> =
            items.flat_map(|item| item.merged.iter().chain([&item.head]).map(move |id| (item, *id))).collect();
        let commits: Vec<CommitId> = needed.iter().map(|(_, commit)| *commit).collect();
        if let Some(missing) = repo.missing(&commits)?.first()
            && let Some((item, _)) = needed.iter().find(|(_, commit)| commit == missing)
        {
            return Err(gone(&format!("a commit of {}", shown(item.name.as_str())), *missing));
        }
        let mut composite = self.compose(&made[made.len() - 1]).await?;
        for step in made[..made.len() - 1].iter().rev() {
            composite = self.compose(step).await?;
        }
        Ok(composite)
    }

    async fn compose(&self, recipe: &Recipe) -> Result<Composite, PortError> {
        let items = recipe.items.iter().map(|ix| Arc::clone(&self.prepared.items[ix.get()])).collect();
        self.workshop.composer.compose(ComposeRequest { base: recipe.base, items, beneath: Trail::default() }).await
    }

    /// # Errors
    /// Where the item could not become part of the composite.
    fn refuse_without(&self, item: ItemIx, made: &Composite) -> Result<(), Failure> {
        let name = self.prepared.graph.name(item);
        let Some(aside) = made.set_aside.iter().find(|aside| aside.item == *name) else { return Ok(()) };
        let why = match &aside.cause {
            SetAsideCause::Dependency { on } => format!("it depends on {}, which cannot be merged", shown(on.as_str())),
            SetAsideCause::Conflict(conflict) => {
                let with = conflict
                    .with
                    .as_ref()
                    .map_or_else(|| ref_name(&self.prepared.target.full_name), |with| shown(with.as_str()));
                format!("it conflicts with {with} in {}", list(&conflict.paths))
            }
        };
        let message = format!("there is no tree to run the gate on: {} cannot be merged: {why}", shown(name.as_str()));
        Err(Failure { message, hint: None, exit_code: exit::ITEMS_LEFT })
    }

    /// Says on what the gate is about to run.
    fn tell(&self, item: ItemIx, gate: &Gate, recipe: &Recipe, made: &Composite) {
        let graph = &self.prepared.graph;
        let (name, target) = (graph.name(item), ref_name(&self.prepared.target.full_name));
        let what = format!("gate {} of {} at {}", shown(gate.name.as_str()), shown(name.as_str()), made.commit);
        let merged = match recipe.items.as_slice() {
            [] => format!("{target} has it already"),
            items => {
                format!("{} merged onto {}", list(items.iter().map(|ix| graph.name(*ix).as_str())), recipe.base.short())
            }
        };
        speak::note(&format!("{what}: {merged}\n"));
        let (Some((_, started)), Some(story)) = (self.past, self.story()) else { return };
        match recipe.commit {
            Some(commit) if commit != made.commit => speak::note(&format!(
                "warning: run {} judged it on {commit}, and made again that is another commit: this is not what it saw\n",
                started.run
            )),
            None if let Some((red, _)) = story.let_go(name) => speak::note(&format!(
                "run {} judged it on no tree, as {target} itself fails {}: this is {target} as it was, with nothing but \
                 the item and what it depends on\n",
                started.run,
                shown(red.as_str())
            )),
            None if !recipe.items.is_empty() => {
                speak::note(&format!(
                    "run {} did not come to judge it: this is where it would have begun\n",
                    started.run
                ));
            }
            _ => {}
        }
    }

    fn gates(&self, args: &GateRunArgs, id: RunId, place: &RunFolder) -> Result<AllGates, Failure> {
        let artifacts = match &args.artifact_dir {
            Some(folder) => std::path::absolute(folder).map_err(|error| Failure::io("finding", folder, &error))?,
            None => place.artifacts(),
        };
        let slots = SlotPool::new(SlotSettings {
            cache_root: place.path.clone(),
            repository_id: repository_id(self.prepared.repo.common_dir()),
            object_dirs: vec![self.prepared.repo.objects().to_owned(), self.workshop.quarantine.objects()],
            store: Some(self.workshop.quarantine.store().clone()),
            target_branch: self.prepared.target.short_name().to_owned(),
        });
        let settings = GateSettings { run: id, ..conduct::gate_settings(&self.prepared.policy, place, artifacts)? };
        // What the run itself may have there is not this command's.
        let git = Git::new(self.workshop.quarantine.folder(), Config::Users);
        let exchange = Exchange::new(git, self.exchange(), place.id.clone());
        let elsewhere = GatesElsewhere::new(settings.clone(), exchange);
        Ok(AllGates::new(LocalGates::new(settings, slots, Arc::new(RecentProcesses::default())), elsewhere))
    }

    fn exchange(&self) -> String {
        conduct::exchange_of(&self.prepared.policy, &self.prepared.repo)
    }

    /// What it has begun elsewhere, if it is killed; `None` where that ends by itself.
    fn note(&self, args: &GateRunArgs, gate: &Gate, place: &RunFolder) -> Option<Note> {
        Some(Note {
            run: place.id.clone(),
            command: format!("lexpr gate run {} {}", args.item, args.gate),
            runtime: gate.runtime.name()?.clone(),
            exchange: self.exchange(),
            repository: self.workshop.quarantine.folder().to_owned(),
            images: gate.runtime.container().and_then(|boxed| boxed.fixed.clone()).into_iter().collect(),
        })
    }

    fn job(&self, owner: ItemIx, gate: Arc<Gate>, recipe: &Recipe, made: &Composite) -> Job {
        let policy = &self.prepared.policy;
        let surroundings =
            conduct::surroundings(policy, self.past.and_then(|(_, started)| started.fingerprint.clone()));
        let retry = Retry { max_attempts: 1, backoff: Duration::ZERO };
        let item = gate.context.then(|| self.prepared.graph.name(owner).clone());
        let context = item.as_ref().map(|item| (item.as_str(), recipe.base));
        // Nothing is filed under it: it tells logs from each other.
        let key = verdict::key(judge::whole_tree(made.tree), gate.definition, context, &surroundings);
        Job {
            job: JOB,
            worker: WORKER,
            commit: made.commit,
            tree: made.tree,
            base: recipe.base,
            gates: vec![JobGateRun { gate: Arc::new(Gate { retry, ..(*gate).clone() }), key, item, ran: 0 }],
            fail_fast: true,
            clean_slot: true,
            setup: policy.setup.clone().map(Arc::new),
        }
    }
}

fn gone(what: &str, commit: CommitId) -> Failure {
    Failure::usage(format!("{what} ({commit}) is not in this repository any more"))
        .with_hint("`--plan PLAN` runs the gate as a run of that plan would begin now")
}

/// Runs the job's gate with its output to the terminal, and says how it ended; `None` where it did not and is not waited for.
async fn judge_once(gates: &AllGates, job: Job, place: &RunFolder, args: &GateRunArgs) -> Option<Result<u8, Failure>> {
    let name = shown(job.gates[0].gate.name.as_str()).into_owned();
    let (tell, mut news) = mpsc::unbounded_channel();
    let follower = follow::Follower::start(place.logs());
    let (cancel, cancelled) = watch::channel(false);
    let ended = until_stopped(gates.run(job, tell, cancelled), &cancel).await;
    let was_stopped = *cancel.borrow();
    let shown_whole = follower.finish();
    if ended.is_some() {
        // Who does not read on asks for an end a second time.
        until_stopped(shown_whole, &cancel).await;
    }
    ended.map(|done| {
        done?;
        tell_the_end(&mut news, &name, args, was_stopped)
    })
}

fn tell_the_end(
    news: &mut mpsc::UnboundedReceiver<JobNews>,
    name: &str,
    args: &GateRunArgs,
    was_stopped: bool,
) -> Result<u8, Failure> {
    let mut last: Option<GateRun> = None;
    while let Ok(told) = news.try_recv() {
        if let JobNews::Finished { run, .. } = told {
            last = Some(*run);
        }
    }
    let Some(run) = last.filter(|run| run.outcome != GateOutcome::Cancelled && !was_stopped) else {
        return Ok(exit::INTERRUPTED);
    };
    let place = place_of(&run.outcome, run.elsewhere.as_ref());
    speak::note(&format!("gate {name}: {}{}\n", outcome_after(&run.outcome, run.duration_ms), place));
    if args.artifact_dir.is_some() {
        run.artifacts.iter().for_each(|artifact| speak::note(&format!("artifact: {}\n", shown(&artifact.stored))));
    }
    if !run.missing_artifacts.is_empty() {
        speak::note(&format!("missing artifacts: {}\n", list(&run.missing_artifacts)));
    }
    Ok(match run.outcome {
        GateOutcome::Passed => exit::ALL_LANDED,
        GateOutcome::Failed { .. }
        | GateOutcome::Signaled { .. }
        | GateOutcome::TimedOut { .. }
        | GateOutcome::OutOfMemory { .. } => exit::ITEMS_LEFT,
        GateOutcome::Cancelled => exit::INTERRUPTED,
        GateOutcome::Infrastructure { .. } | GateOutcome::RateLimited { .. } => exit::LEXPR_FAILED,
    })
}

/// Opens a shell in the job's place, which hears what the terminal sends by itself.
async fn shell(gates: &LocalGates, job: &Job, place: &RunFolder) -> Result<u8, Failure> {
    let program = std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or(OsString::from("/bin/sh"));
    let gate = Arc::clone(&job.gates[0].gate);
    let opened = |folder: &Path| {
        speak::note(&format!(
            "a shell in {}, as gate {} finds it; it runs: {}\nthe folder is thrown away when you leave the shell\n",
            shown(&folder.to_string_lossy()),
            shown(gate.name.as_str()),
            shown(&gate.run)
        ));
    };
    let follower = follow::Follower::start(place.logs());
    let (cancel, cancelled) = watch::channel(false);
    let mut work = pin!(gates.shell(job, &program, cancelled, opened));
    let mut stops = Stops::listen();
    // The whole of the foreground hears Ctrl-C and Ctrl-\, and it is the shell that is meant.
    let _not_meant = signal(SignalKind::quit());
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended?,
            name = stops.next() => if name != "SIGINT" { cancel.send_replace(true); },
        }
    };
    follower.finish().await;
    match ended {
        ShellEnd::Left(_) => Ok(exit::ALL_LANDED),
        ShellEnd::Cancelled => Ok(exit::INTERRUPTED),
        ShellEnd::NotReady(message) => Err(Failure::internal(message)),
    }
}
