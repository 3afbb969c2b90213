//! `lexpr resume`: goes on with a run from its journal.

use std::path::Path;

use super::conduct::{self, Outcome, Run};
use super::failure::Failure;
use super::given::Options;
use super::prepare::{self, Opened, Workshop};
use super::turns::{self, Patience};
use super::{ResumeArgs, credentials, faces, leftovers, speak, status, tidying, undo};
use crate::core::account::Account;
use crate::crash;
use crate::engine::{self, Past};
use crate::git::command;
use crate::git::lock::Purpose;
use crate::git::refusal::LandRefusal;
use crate::git::repo::UserRepo;
use crate::journal::{self, ReadJournal};
use crate::report::Report;
use crate::runs::{self, RunFolder};
use crate::vocabulary::event::{EVENT_FORMAT, Event, Recorded, RunStarted, UndoDirection};
use crate::wording::{count, list, ref_name, shown};

/// How many unfinished runs of other plans are told of.
const RUNS_TOLD: usize = 3;

/// Runs the command. A run that came to its end ends as it did then, so that a loop of this
/// command comes to an end, too.
///
/// # Errors
/// Where there is no such run, its journal is damaged, or what a merge may fail of.
pub fn run(args: &ResumeArgs) -> Result<Outcome, Failure> {
    if args.faces.quiet {
        speak::be_quiet();
    }
    let destinations = conduct::destinations(&args.faces.report)?;
    conduct::check_outputs(&args.faces, [conduct::cache_root()], &destinations)?;
    let repo = UserRepo::open(&args.repository.repo)?;
    let folder = find(repo.common_dir(), args.run.as_deref())?;
    let asked = args.max_workers.unwrap_or(prepare::workers_of(&read(&folder)?.1));
    let runtime = conduct::runtime(conduct::workers(Some(asked)).0)?;
    conduct::see_through(runtime, resume(args, repo, &folder, &destinations))
}

async fn resume(
    args: &ResumeArgs,
    repo: UserRepo,
    folder: &RunFolder,
    destinations: &[crate::report::Destination],
) -> Result<Outcome, Failure> {
    let common_dir = repo.common_dir().to_owned();
    let RunStarted { target, urgent, .. } = read(folder)?.1;
    let patience = Patience::from_now(args.wait, args.deadline);
    let claim = || turns::claim(&common_dir, &target, &folder.id, Purpose::Landing, patience);
    let lock = if urgent { None } else { Some(claim().await?.0) };
    let hold = tidying::hold(folder)?;
    if urgent {
        folder.name_process(&hold).map_err(|error| Failure::internal(error.to_string()))?;
    }
    // An undo has the target to itself, that of an urgent run, too.
    let _for_the_undo = if urgent && undo::is_open(folder)? { Some(claim().await?) } else { None };
    leftovers::clear(&repo, folder)?;
    tidying::tidy_after_dead_runs(&repo).await?;
    let settled = undo::settle(&repo, folder, patience).await?;
    if let Some(settled) = &settled {
        speak::note(&settled.note);
    }
    // Read again: whoever had the target may have been this very run.
    let (past, started) = read(folder)?;
    let account = Account::of(&past.events);
    // It may have been asked for by one that was killed before it wrote it.
    let tell = || match status::show(&past.events)? {
        Some(report) => faces::deliver(&Report::Execute(Box::new(report)), destinations),
        None => Ok(()),
    };
    if let Some(account) = account.as_ref().filter(|account| account.is_undone) {
        // To bring an undo to its end was what was left to do.
        if settled.is_some_and(|settled| settled.was_done) {
            tell()?;
            return Ok(Outcome { exit_code: engine::exit::ALL_LANDED, items: Vec::new() });
        }
        let back = match undo::can_come_back(&repo, folder, account)? {
            true => format!("; or `lexpr undo {}` undoes the undo, then it can be resumed", folder.id),
            false => String::new(),
        };
        return Err(Failure::usage(format!("run {} was undone: what it landed is taken back", folder.id))
            .with_hint(format!("run its plan again{back}")));
    }
    if let Some((exit_code, items)) = account.and_then(|account| account.ending)
        && tidying::is_final(exit_code)
    {
        speak::note(&format!("run {} came to its end: nothing is left to resume\n", folder.id));
        // It may have been killed before it had tidied up.
        if folder.quarantine().exists() {
            leftovers::clear_everywhere(&repo, folder).await;
        }
        tidying::tidy_up(&repo, folder, exit_code)?;
        tell()?;
        return Ok(Outcome { exit_code, items });
    }
    command::work_for(folder.mark());
    leftovers::end_gates(folder, &started.images);
    let text = std::fs::read(folder.plan()).map_err(|error| {
        Failure::io("reading", &folder.plan(), &error).with_hint(
            "without the plan that it began with a run cannot go on: run that plan again, with --afresh; what has \
             landed is not landed twice",
        )
    })?;
    let (prepared, settings) = prepare::again(&text, repo, &started, args.max_workers)?;
    credentials::refuse_without(&prepared)?;
    remove_half_made(&folder.quarantine())?;
    crash::point!("resume.cleaned");
    let workshop = Workshop::new(&folder.quarantine(), &prepared.repo, settings)?;
    let options = Options::of(&started);
    let lander = conduct::lander(
        &prepared.repo,
        folder,
        &started.target,
        options.push.as_deref(),
        options.no_sign,
        Some(&workshop),
    );
    conduct::tell_of_hooks(&lander)?;
    let setup = conduct::run_setup(&prepared, folder.id.clone(), &options, started.fingerprint.clone());
    let state = past.state(&setup.graph, &setup.surroundings).map_err(|error| {
        Failure::internal(format!("the journal of run {} is not of its plan: {error}", folder.id))
            .with_hint("run the plan again; what has landed is not landed twice")
    })?;
    // Also where the landing that was cut short is to be finished: here a signal ends the wait.
    let turn = turns::landing(&lander, &started.target, Purpose::Landing, patience).await?;
    // What that left behind is brought to its end first.
    if state.landing().is_none() {
        let now = lander.current_target().map_err(|refusal| refusal.where_it_was(state.tip().commit))?;
        lander.preflight(now)?;
    }
    drop(turn);
    let (common_dir, heads) = (prepared.repo.common_dir(), prepared.items.iter().map(|item| item.head));
    tidying::keep_what_it_needs(common_dir, &folder.id, &prepared.target, heads)?;
    let run = Run {
        prepared: &prepared,
        folder,
        workshop,
        lander,
        options: &options,
        faces: &args.faces,
        destinations,
        deadline: patience.left(),
        held: (hold, lock),
    };
    run.conduct(Some(past)).await
}

/// The named run, or the newest that can be resumed; one that is going on only where there is no other.
fn find(common_dir: &Path, named: Option<&str>) -> Result<RunFolder, Failure> {
    if named.is_some() {
        return runs::find(common_dir, named).map_err(status::not_found);
    }
    let newest = runs::find(common_dir, None).map_err(status::not_found)?;
    let all = runs::list(common_dir).map_err(status::not_found)?;
    let mut going_on = None;
    for folder in all.into_iter().rev().filter(is_unfinished) {
        if !folder.is_held() {
            return Ok(folder);
        }
        going_on.get_or_insert(folder);
    }
    Ok(going_on.unwrap_or(newest))
}

/// A run that began, has not come to its end and is not undone, or whose undo has not; one whose
/// journal cannot be read counts, so that somebody is told.
pub(super) fn is_unfinished(folder: &RunFolder) -> bool {
    match journal::read(&folder.journal()) {
        Ok(journal) => Account::of(&journal.events).as_ref().is_some_and(is_open),
        Err(_) => true,
    }
}

/// It has not come to its end and is not undone, or its undo has not.
pub(super) fn is_open(account: &Account) -> bool {
    let is_over = account.ending.as_ref().is_some_and(|(exit_code, _)| tidying::is_final(*exit_code));
    account.undoing.is_some() || !is_over && !account.is_undone
}

pub(super) fn read(folder: &RunFolder) -> Result<(Past, RunStarted), Failure> {
    let journal = journal::read(&folder.journal()).map_err(|error| {
        Failure::internal(error.to_string())
            .with_hint("run the plan again; what has landed is not landed twice. `git log` shows what has")
    })?;
    begun(folder, journal)
}

/// What a run recorded, by its journal.
pub(super) fn begun(folder: &RunFolder, journal: ReadJournal) -> Result<(Past, RunStarted), Failure> {
    let past = Past { cut_bytes: journal.torn_bytes as u64, events: journal.events };
    match past.events.first().map(|recorded| &recorded.event) {
        Some(Event::RunStarted(started)) if started.format == EVENT_FORMAT => {
            let started = RunStarted::clone(started);
            Ok((past, started))
        }
        Some(Event::RunStarted(started)) => Err(Failure::usage(format!(
            "run {} was recorded by lexpr {} in another format: resume it with that version",
            folder.id, started.version
        ))),
        _ => Err(Failure::usage(format!("run {} was ended before its first event: nothing was done", folder.id))
            .with_hint("run its plan again")),
    }
}

/// Objects that were being written when the run ended may be damaged; all of them can be made
/// again, and are the same.
fn remove_half_made(quarantine: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(quarantine) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::io("removing", quarantine, &error)),
        _ => Ok(()),
    }
}

/// The newest run of this plan onto this target, where it has not come to its end.
///
/// # Errors
/// Where runs cannot be listed.
pub(super) fn unfinished_of(common_dir: &Path, opened: &Opened) -> Result<Option<RunFolder>, Failure> {
    let all = runs::list(common_dir).map_err(status::not_found)?;
    let is_of_plan = |folder: &RunFolder| match journal::first(&folder.journal()) {
        Some(Recorded { event: Event::RunStarted(started), .. }) => {
            started.plan_digest == opened.digest() && started.target == opened.target.full_name
        }
        _ => false,
    };
    Ok(all.into_iter().rev().find(is_of_plan).filter(is_unfinished))
}

/// Says which runs of other plans, or of this one before it was edited, have not come to their end
/// and would land on the same target what this plan lands. Of a run with this very plan, see
/// [`unfinished_of`].
///
/// # Errors
/// Where runs cannot be listed.
pub(super) fn tell_of_others(common_dir: &Path, opened: &Opened) -> Result<(), Failure> {
    let all = runs::list(common_dir).map_err(status::not_found)?;
    let newest_first = all.into_iter().rev().filter(|folder| !is_over(folder) && !folder.is_held());
    let notes: Vec<String> = newest_first.filter_map(|folder| note_on(&folder, opened)).collect();
    notes.iter().take(RUNS_TOLD).for_each(|note| speak::note(note));
    if let more @ 1.. = notes.len().saturating_sub(RUNS_TOLD) {
        speak::note(&format!("and {} more, see `lexpr runs`\n", count(more, "such run")));
    }
    Ok(())
}

/// By its last event alone.
fn is_over(folder: &RunFolder) -> bool {
    match journal::last(&folder.journal()).map(|last| last.event) {
        Some(Event::RunFinished { exit_code, .. }) => tidying::is_final(exit_code),
        Some(Event::Undone(undone)) => undone.direction == UndoDirection::Back,
        _ => false,
    }
}

fn note_on(folder: &RunFolder, opened: &Opened) -> Option<String> {
    let Event::RunStarted(started) = journal::first(&folder.journal())?.event else { return None };
    let shared = opened.shared_with(&started);
    let is_its_plan = started.plan == opened.source && opened.source != "-";
    let is_another = started.plan_digest != opened.digest();
    if started.target != opened.target.full_name || !is_another || shared.is_empty() && !is_its_plan {
        return None;
    }
    let account = Account::of(&journal::read(&folder.journal()).ok()?.events).filter(is_open)?;
    let run = &started.run;
    let ways = match finishing(&account) {
        Some(command) => format!("it was cut off while it moved the target: `{command}` finishes that"),
        None => {
            let is_where_it_left_it = account.way().is_some_and(|(_, after)| after == opened.target.commit);
            let undo = if is_where_it_left_it {
                format!(", `lexpr undo {run}` takes back what it landed")
            } else {
                String::new()
            };
            format!("`lexpr resume {run}` goes on with it{undo}, `lexpr clean {run}` removes it")
        }
    };
    let items = match shared.is_empty() {
        true => String::new(),
        false => format!(" and has items of this one ({})", list(shared.iter().map(|item| item.as_str()))),
    };
    Some(format!(
        "run {run} of {} onto {} has not come to its end{items}: {ways}\n",
        shown(&started.plan),
        ref_name(&started.target)
    ))
}

/// The command that finishes what a run was doing to the target when it was cut off: a landing, or an
/// undo. `None` where nothing is open.
pub(super) fn finishing(account: &Account) -> Option<String> {
    let command = match (&account.undoing, &account.landing) {
        (Some(_), _) => "undo",
        (None, Some(_)) => "resume",
        (None, None) => return None,
    };
    Some(format!("lexpr {command} {}", account.started.run))
}

/// What stands in the way in a checkout of `target`, told as what it may be: files of a landing that
/// was cut off there. To commit those would take back what has landed.
pub(super) fn in_the_way(common_dir: &Path, target: &str, refusal: LandRefusal) -> Failure {
    let is_in_a_checkout =
        matches!(refusal, LandRefusal::Dirty { .. } | LandRefusal::IndexLocked { .. } | LandRefusal::InTheWay { .. });
    let failure = Failure::from(refusal);
    if !is_in_a_checkout {
        return failure;
    }
    let all = runs::list(common_dir).unwrap_or_default();
    let dead = all.iter().rev().filter(|folder| !folder.is_held());
    let accounts = dead.filter_map(|folder| Account::of(&journal::read(&folder.journal()).ok()?.events));
    let mut of_target = accounts.filter(|account| account.started.target == target);
    match of_target.find_map(|account| Some((finishing(&account)?, account.started.run))) {
        Some((command, run)) => failure.with_hint(format!(
            "run {run} was cut off while it moved the target, and this is its work: `{command}` finishes it; commit \
             nothing there before"
        )),
        None => failure,
    }
}

/// A new run of a plan whose last run has not come to its end would judge again what is judged: both
/// ways to go on.
///
/// # Errors
/// Where git fails.
pub(super) fn refuse(unfinished: &RunFolder, opened: &Opened) -> Result<Failure, Failure> {
    let run = &unfinished.id;
    if unfinished.is_held() {
        return Ok(Failure::target(format!("run {run} of this plan is going on"))
            .with_hint("wait until it has ended, or end it; with --afresh a new run begins beside it"));
    }
    let failure = Failure::usage(format!("run {run} of this plan has not come to its end"));
    let account = journal::read(&unfinished.journal()).ok().and_then(|journal| Account::of(&journal.events));
    let Some(account) = account else {
        return Ok(failure.with_hint("its journal cannot be read: with --afresh a new run begins"));
    };
    if let Some(command) = finishing(&account).filter(|_| account.undoing.is_some()) {
        return Ok(failure.with_hint(format!("its undo was cut off: `{command}` finishes that first")));
    }
    let lander = conduct::lander(&opened.repo, unfinished, &opened.target.full_name, None, true, None);
    if let Some((_, after)) = account.way()
        && !lander.contains(opened.target.commit, after)?
    {
        return Ok(failure.with_hint(format!(
            "what it landed was taken back from {} since: with --afresh a new run begins",
            ref_name(&opened.target.full_name)
        )));
    }
    Ok(failure.with_hint(format!(
        "`lexpr resume {run}` goes on with it and runs no gate again; with --afresh a new run begins"
    )))
}
