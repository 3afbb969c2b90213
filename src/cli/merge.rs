//! `lexpr merge`: from a plan to a run of it, or to the forecast of one.

use std::path::Path;
use std::time::Duration;

use super::conduct::{self, Options, Outcome, Patience, Run};
use super::dry_run::MOST_PAIRS_IN_SHORT;
use super::failure::Failure;
use super::prepare::{self, Opened, Overrides, Workshop, line_up};
use super::{MergeArgs, dry_run, faces, leftovers, resume, speak};
use crate::crash;
use crate::engine;
use crate::git::lock::Purpose;
use crate::git::{command, land};
use crate::report::dry_run::DryRun;
use crate::report::{Destination, Report};
use crate::runs::{self, Hold, RunFolder};
use crate::vocabulary::names::RunId;
use crate::wording::Paint;

/// Runs the command.
///
/// # Errors
/// Where the plan or command line is invalid, the target cannot be moved, or lexpr fails.
pub fn run(args: MergeArgs) -> Result<Outcome, Failure> {
    let destinations = conduct::destinations(&args.faces.report)?;
    let folders = args.artifact_dir.clone().into_iter().chain(args.execute.then(conduct::cache_root));
    conduct::check_outputs(&args.faces, folders, &destinations)?;
    refuse_a_password(args.push.as_deref())?;
    refuse_to_write_over(&args)?;
    let opened = open(&args)?;
    let runtime = conduct::runtime(conduct::limits(opened.policy()).max_workers)?;
    if args.execute {
        runtime.block_on(execute(&args, opened, &destinations))
    } else {
        resume::tell_of_others(opened.repo.common_dir(), &opened)?;
        let forecast = runtime.block_on(dry_run::rehearse(opened, MOST_PAIRS_IN_SHORT))?;
        let report = DryRun { outlook: Some(forecast.outlook.in_short()), ..forecast.dry_run };
        let exit_code = if report.is_clean() { engine::exit::ALL_LANDED } else { engine::exit::ITEMS_LEFT };
        if !destinations.iter().any(Destination::is_stdout) {
            speak::result(&report.text(Paint::for_stream(&std::io::stdout())))?;
        }
        faces::deliver(&Report::DryRun(Box::new(report)), &destinations)?;
        Ok(Outcome { exit_code, items: Vec::new() })
    }
}

/// A run's folder that is removed again unless the run begins.
struct Tentative {
    folder: RunFolder,
    _hold: Hold,
    has_begun: bool,
}

impl Tentative {
    fn create(common_dir: &Path, id: RunId) -> Result<Self, Failure> {
        let (folder, hold) = RunFolder::create(common_dir, id).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Self { folder, _hold: hold, has_begun: false })
    }
}

impl Drop for Tentative {
    fn drop(&mut self) {
        if !self.has_begun {
            // What cannot be removed has no journal and so counts as no run.
            let _ = std::fs::remove_dir_all(&self.folder.path);
        }
    }
}

/// A new run, from the claim on its target to the last word on it.
async fn execute(args: &MergeArgs, opened: Opened, destinations: &[Destination]) -> Result<Outcome, Failure> {
    let common_dir = opened.repo.common_dir().to_owned();
    let id = runs::fresh_id();
    let patience = Patience::from_now(args.wait, args.deadline);
    let (_lock, waited) =
        conduct::claim(&common_dir, &opened.target.full_name, &id, Purpose::Landing, patience).await?;
    conduct::tidy_after_dead_runs(&opened.repo)?;
    // Only now, so that a folder whose run has no target is that of a dead one.
    let mut tentative = Tentative::create(&common_dir, id)?;
    command::work_for(tentative.folder.mark());
    let folder = tentative.folder.clone();
    let opened = if waited { open(args)? } else { opened };
    if let Some(unfinished) = resume::unfinished_of(&common_dir, &opened)? {
        if !args.afresh {
            return Err(resume::refuse(&unfinished, &opened)?);
        }
        leftovers::clear_for_good(&opened.repo, &unfinished)?;
    }
    resume::tell_of_others(&common_dir, &opened)?;
    let options = options(args)?;
    let workshop = Workshop::in_folder(&folder.quarantine(), &opened)?;
    let prepared = line_up(opened, &workshop.composer).await?;
    let lander = conduct::lander(
        &prepared.repo,
        &folder,
        &prepared.target.full_name,
        options.push.as_deref(),
        options.no_sign,
        Some(&workshop),
    );
    let in_the_way = |refusal| resume::in_the_way(&common_dir, &prepared.target.full_name, refusal);
    let checkouts = lander.preflight(prepared.target.commit).map_err(in_the_way)?;
    conduct::tell_of_hooks(&lander)?;
    land::must_have_room_for(&checkouts, prepared.target.commit, &prepared.arriving).map_err(in_the_way)?;
    std::fs::write(folder.plan(), prepared.text.as_bytes())
        .map_err(|error| Failure::io("writing", &folder.plan(), &error))?;
    crash::point!("run.plan-kept");
    tentative.has_begun = true;
    let run = Run {
        prepared: &prepared,
        folder: &folder,
        workshop: &workshop,
        lander,
        options: &options,
        faces: &args.faces,
        destinations,
        deadline: patience.left(),
    };
    run.conduct(None).await
}

fn open(args: &MergeArgs) -> Result<Opened, Failure> {
    let overrides = Overrides {
        target: args.target.clone(),
        max_workers: args.max_workers,
        gate_timeout: args.gate_timeout.map(Duration::from_secs),
    };
    prepare::open(&args.plan.to_string_lossy(), &args.repository.repo, &overrides)
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

fn options(args: &MergeArgs) -> Result<Options, Failure> {
    let artifact_dir = args
        .artifact_dir
        .as_ref()
        .map(|folder| std::path::absolute(folder).map_err(|error| Failure::io("finding", folder, &error)));
    Ok(Options {
        push: args.push.clone(),
        no_sign: args.no_sign,
        gate_timeout: args.gate_timeout.map(Duration::from_secs),
        artifact_dir: artifact_dir.transpose()?,
    })
}
