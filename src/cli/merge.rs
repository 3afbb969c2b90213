//! `lexpr merge`: from a plan to a run of it, or to the forecast of one.

use std::path::Path;
use std::time::Duration;

use tokio::task::{JoinError, spawn_blocking};

use super::conduct::{self, Outcome, Run};
use super::dry_run::MOST_PAIRS_IN_SHORT;
use super::failure::Failure;
use super::given::{self, Options};
use super::prepare::{self, Opened, Overrides, Prepared, Workshop, line_up};
use super::turns::{self, Patience};
use super::{MergeArgs, credentials, dry_run, faces, leftovers, overriding, resume, speak, tidying};
use crate::crash;
use crate::engine;
use crate::git::checkout::Checkout;
use crate::git::command;
use crate::git::land::{self, LocalLander};
use crate::git::lock::{Purpose, RunLock};
use crate::git::refusal::LandRefusal;
use crate::git::repo::UserRepo;
use crate::report::dry_run::DryRun;
use crate::report::{Destination, Report};
use crate::runs::{self, Hold, RunFolder};
use crate::vocabulary::event::FixedImage;
use crate::vocabulary::names::{RunId, RuntimeName};
use crate::wording::Paint;

/// Runs the command.
///
/// # Errors
/// Where the plan or command line is invalid, the target cannot be moved, or lexpr fails.
pub fn run(args: MergeArgs) -> Result<Outcome, Failure> {
    if args.faces.quiet {
        speak::be_quiet();
    }
    if args.faces.on_finish.is_some() && !args.execute {
        return Err(Failure::usage("--on-finish is for runs, and this is a dry run")
            .with_hint("add --execute, or run the command after it yourself"));
    }
    let destinations = conduct::destinations(&args.faces.report)?;
    let folders = args.artifact_dir.clone().into_iter().chain(args.execute.then(conduct::cache_root));
    conduct::check_outputs(&args.faces, folders, &destinations)?;
    refuse_a_password(args.push.as_deref())?;
    refuse_to_write_over(&args)?;
    let opened = open(&args)?;
    let runtime = conduct::runtime(conduct::limits(opened.policy()).max_workers)?;
    if args.execute {
        conduct::see_through(runtime, execute(&args, opened, &destinations))
    } else {
        resume::tell_of_others(opened.repo.common_dir(), &opened)?;
        let overrides = overriding::grant(&args.overrides, &opened)?;
        let options = Options { overrides, arguments: given::arguments(&args), ..Options::default() };
        let unfinished = resume::unfinished_of(opened.repo.common_dir(), &opened)?.map(|folder| folder.id);
        let forecast = runtime.block_on(dry_run::rehearse(opened, &options, MOST_PAIRS_IN_SHORT))?;
        let dry_run = DryRun { unfinished, outlook: Some(forecast.outlook.in_short()), ..forecast.dry_run };
        if let Some(grant) = &options.overrides {
            overriding::foretell(grant, &dry_run);
        }
        let exit_code = if dry_run.is_clean() { engine::exit::ALL_LANDED } else { engine::exit::ITEMS_LEFT };
        let text = dry_run.text(Paint::for_stream(&std::io::stdout()));
        let report = Report::DryRun(Box::new(dry_run));
        if !speak::is_quiet() && !destinations.iter().any(Destination::is_stdout) {
            speak::result(&format!("{text}{}", faces::annotations(&report)))?;
        }
        faces::deliver(&report, &destinations)?;
        Ok(Outcome { exit_code, items: Vec::new() })
    }
}

/// A run's folder, and what is kept for it, which go again unless the run begins.
struct Tentative {
    folder: RunFolder,
    repo: UserRepo,
    /// Until the run has it.
    hold: Option<Hold>,
}

impl Tentative {
    fn create(repo: UserRepo, id: RunId) -> Result<Self, Failure> {
        let made = RunFolder::create(repo.common_dir(), id);
        let (folder, hold) = made.map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Self { folder, repo, hold: Some(hold) })
    }
}

impl Drop for Tentative {
    fn drop(&mut self) {
        // What cannot be removed has no journal and so counts as no run: the next one removes it.
        if self.hold.is_some() && tidying::let_go(&self.repo, &self.folder.id).is_ok() {
            let _ = std::fs::remove_dir_all(&self.folder.path);
        }
    }
}

/// The target for the whole of a run, and whether that was waited for. An urgent run takes nothing.
async fn claim(
    args: &MergeArgs,
    opened: &Opened,
    id: &RunId,
    patience: Patience,
) -> Result<(Option<RunLock>, bool), Failure> {
    let (common_dir, target) = (opened.repo.common_dir(), &opened.target.full_name);
    if args.urgent {
        turns::tell_of_who_pushes(common_dir, target, id, args.push.as_deref())?;
        return Ok((None, false));
    }
    let (lock, waited) = turns::claim(common_dir, target, id, Purpose::Landing, patience).await?;
    Ok((Some(lock), waited))
}

/// A new run, from the claim on its target to the last word on it.
async fn execute(args: &MergeArgs, opened: Opened, destinations: &[Destination]) -> Result<Outcome, Failure> {
    let mut options = options(args, &opened)?;
    let common_dir = opened.repo.common_dir().to_owned();
    let id = runs::fresh_id();
    let patience = Patience::from_now(args.wait, args.deadline);
    let (lock, waited) = claim(args, &opened, &id, patience).await?;
    tidying::tidy_after_dead_runs(&opened.repo).await?;
    let mut tentative = Tentative::create(opened.repo.clone(), id)?;
    if let (true, Some(hold)) = (args.urgent, &tentative.hold) {
        tentative.folder.name_process(hold).map_err(|error| Failure::internal(error.to_string()))?;
    }
    command::work_for(tentative.folder.mark());
    let folder = tentative.folder.clone();
    let mut opened = if waited { open_again(args, &opened.source, &opened.text, &[])? } else { opened };
    if let Some(unfinished) = resume::unfinished_of(&common_dir, &opened)? {
        if !args.afresh {
            return Err(resume::refuse(&unfinished, &opened)?);
        }
        leftovers::clear_for_good(&opened.repo, &unfinished).await?;
    }
    resume::tell_of_others(&common_dir, &opened)?;
    options.images = opened.fix_images()?;
    let workshop = Workshop::in_folder(&folder.quarantine(), &opened)?;
    let (prepared, lander) = get_ready(args, opened, &folder, &workshop, (patience, &options.images)).await?;
    credentials::refuse_without(&prepared)?;
    conduct::tell_of_hooks(&lander)?;
    std::fs::write(folder.plan(), prepared.text.as_bytes())
        .map_err(|error| Failure::io("writing", &folder.plan(), &error))?;
    crash::point!("run.plan-kept");
    let Some(hold) = tentative.hold.take() else { return Err(Failure::internal("the run has begun already")) };
    let run = Run {
        prepared: &prepared,
        folder: &folder,
        workshop,
        lander,
        options: &options,
        faces: &args.faces,
        destinations,
        deadline: patience.left(),
        held: (hold, lock),
    };
    run.conduct(None).await
}

/// The plan in its order, and a lander for which nothing stands in the way; what the run needs is kept for it. Another run
/// may land meanwhile: then the target is taken as it is by then.
async fn get_ready(
    args: &MergeArgs,
    mut opened: Opened,
    folder: &RunFolder,
    workshop: &Workshop,
    (patience, images): (Patience, &[FixedImage]),
) -> Result<(Prepared, LocalLander), Failure> {
    let mut times_left = opened.policy().max_rebases;
    let mut held = None;
    loop {
        let (target, common_dir) = (opened.target.clone(), opened.repo.common_dir().to_owned());
        let (push, no_sign) = (args.push.as_deref(), args.no_sign);
        let lander = conduct::lander(&opened.repo, folder, &target.full_name, push, no_sign, Some(workshop));
        let turn = match held.take() {
            Some(turn) => turn,
            None => turns::landing(&lander, &target.full_name, Purpose::Landing, patience).await?,
        };
        // git is asked, and writes, while items are lined up: both take their time, and neither needs the other.
        let (commit, heads) = (target.commit, opened.heads().to_vec());
        let looking = spawn_blocking({
            let (lander, target) = (lander.clone(), target.clone());
            let (common_dir, run) = (common_dir.clone(), folder.id.clone());
            move || match lander.preflight(commit) {
                Ok(checkouts) => {
                    drop(turn);
                    (Ok(checkouts), None, tidying::keep_what_it_needs(&common_dir, &run, &target, heads))
                }
                refused => (refused, Some(turn), Ok(())),
            }
        });
        let (prepared, looked) = tokio::join!(line_up(opened, &workshop.composer), looking);
        let broke_off = |error: JoinError| Failure::internal(format!("looking at the target broke off: {error}"));
        let prepared = prepared?;
        let (looked, turn, kept) = looked.map_err(broke_off)?;
        kept?;
        let has_room = |checkouts: &[Checkout]| land::must_have_room_for(checkouts, commit, &prepared.arriving);
        let refused = match looked {
            Err(refusal) => (refusal, turn),
            Ok(checkouts) if has_room(&checkouts).is_ok() => return Ok((prepared, lander)),
            Ok(_) => {
                // Or somebody landed it since the look. With the turn in hand nobody does.
                let turn = turns::landing(&lander, &target.full_name, Purpose::Landing, patience).await?;
                match lander.preflight(commit).and_then(|checkouts| has_room(&checkouts)) {
                    Ok(()) => return Ok((prepared, lander)),
                    Err(refusal) => (refusal, Some(turn)),
                }
            }
        };
        match refused {
            (LandRefusal::TargetElsewhere { .. }, turn) if times_left > 0 => {
                // Another run may land faster than this one gets ready: it has to wait, once.
                held = turn;
                times_left -= 1;
                opened = open_again(args, &prepared.source, &prepared.text, images)?;
            }
            (refusal, _) => return Err(resume::in_the_way(&common_dir, &target.full_name, refusal)),
        }
    }
}

fn open(args: &MergeArgs) -> Result<Opened, Failure> {
    prepare::open(&args.plan.to_string_lossy(), &args.repository.repo, &overrides(args))
}

fn open_again(args: &MergeArgs, source: &str, text: &str, images: &[FixedImage]) -> Result<Opened, Failure> {
    let overrides = Overrides { images: images.to_vec(), ..overrides(args) };
    prepare::open_again(source, text, &args.repository.repo, &overrides)
}

fn overrides(args: &MergeArgs) -> Overrides {
    Overrides {
        target: args.target.clone(),
        max_workers: args.max_workers,
        gate_timeout: args.gate_timeout.map(Duration::from_secs),
        runtime: args.runtime.as_deref().map(RuntimeName::new),
        images: Vec::new(),
    }
}

/// The plan is somebody's work.
fn refuse_to_write_over(args: &MergeArgs) -> Result<(), Failure> {
    let same = |file: &Path| match (file.canonicalize(), args.plan.canonicalize()) {
        (Ok(file), Ok(plan)) => file == plan,
        _ => false,
    };
    match args.faces.report.iter().chain(&args.faces.metrics_file).find(|file| same(file)) {
        Some(file) => {
            Err(Failure::usage(format!("{} is the plan itself", file.display())).with_hint("name another file"))
        }
        None => Ok(()),
    }
}

/// What is given on the command line is written down, to be used again when the run is resumed.
fn refuse_a_password(push: Option<&str>) -> Result<(), Failure> {
    let address = push.and_then(|push| push.split_once("://")).map_or("", |(_, rest)| rest);
    let authority = address.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            Err(Failure::usage(format!("the address to push to ({host}) has a password in it")).with_hint(
                "give it a name with `git remote add NAME ADDRESS`, or let a credential helper know the password; \
                 then --push NAME",
            ))
        }
        _ => Ok(()),
    }
}

fn options(args: &MergeArgs, opened: &Opened) -> Result<Options, Failure> {
    let artifact_dir = args
        .artifact_dir
        .as_ref()
        .map(|folder| std::path::absolute(folder).map_err(|error| Failure::io("finding", folder, &error)));
    Ok(Options {
        push: args.push.clone(),
        urgent: args.urgent,
        overrides: overriding::grant(&args.overrides, opened)?,
        no_sign: args.no_sign,
        gate_timeout: args.gate_timeout.map(Duration::from_secs),
        runtime: args.runtime.as_deref().map(RuntimeName::new),
        images: Vec::new(),
        artifact_dir: artifact_dir.transpose()?,
        arguments: given::arguments(args),
        directory: std::env::current_dir().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default(),
    })
}
