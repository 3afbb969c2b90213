//! `lexpr undo`: puts the target back to where it was before a run landed, or forward again.

use super::conduct;
use super::failure::Failure;
use super::resume;
use super::turns::{self, Patience};
use super::{UndoArgs, leftovers, speak, status, tidying};
use crate::core::account::{Account, Undoing};
use crate::git::land::{Commits, LocalLander, Moved, Way};
use crate::git::lock::Purpose;
use crate::git::pins::Pins;
use crate::git::refusal::LandRefusal;
use crate::git::repo::UserRepo;
use crate::journal::JournalFile;
use crate::ports::{Clock, Journal};
use crate::runs::{self, RunFolder};
use crate::vocabulary::event::{Event, Recorded, UndoDirection, Undone};
use crate::vocabulary::names::{CommitId, TreeId};
use crate::wording::{count, list, ref_name, shown};

/// The name under which the commits of landings that are taken back are kept alive.
const KEPT_AS: &str = "undone";

/// Runs the command.
///
/// # Errors
/// Where there is no such run, it landed nothing, or the target is not where it has to be.
pub fn run(args: &UndoArgs) -> Result<u8, Failure> {
    let repo = UserRepo::open(&args.repository.repo)?;
    let folder = runs::find(repo.common_dir(), Some(&args.run)).map_err(status::not_found)?;
    conduct::runtime(1)?.block_on(undo(args, &repo, &folder))
}

async fn undo(args: &UndoArgs, repo: &UserRepo, folder: &RunFolder) -> Result<u8, Failure> {
    let target = resume::read(folder)?.1.target;
    let patience = Patience::from_now(args.wait, None);
    let (_lock, _) = turns::claim(repo.common_dir(), &target, &folder.id, Purpose::Undoing, patience).await?;
    let _hold = tidying::hold(folder)?;
    turns::no_urgent_run(repo.common_dir(), &target, &folder.id, patience).await?;
    leftovers::clear(repo, folder)?;
    // Read again: whoever had the target may have been this very run.
    if let Some(settled) = settle(repo, folder, patience).await? {
        speak::note(&settled.note);
        if settled.was_done {
            return Ok(0);
        }
    }
    let account = account(folder)?;
    let undoing = what_to_do(args, &account)?;
    let scene = Scene::new(repo, folder, &account, &undoing);
    let _turn = turns::landing(&scene.lander, &target, Purpose::Undoing, patience).await?;
    scene.must_be_possible(&account)?;
    scene.lander.undo_preflight(&scene.way())?;
    conduct::tell_of_hooks(&scene.lander)?;
    let mut diary = Diary::open(folder)?;
    if undoing.direction == UndoDirection::Back {
        let tree = repo.git().line(["rev-parse", "--verify", &format!("{}^{{tree}}", undoing.from)])?;
        let tree: TreeId = tree.parse().map_err(|error| Failure::internal(format!("reading a tree: {error}")))?;
        scene.pins.keep(&folder.id, KEPT_AS, tree, &[undoing.from])?;
    }
    diary.write(Event::UndoIntended {
        direction: undoing.direction,
        from: undoing.from,
        to: undoing.to,
        push: undoing.push.clone(),
    })?;
    match scene.lander.undo(&scene.way(), &scene.reflog()) {
        Ok(moved) => {
            scene.done(&mut diary, &moved)?;
            speak::result(&told(&account, &undoing, &moved))?;
            Ok(0)
        }
        // How far it came is not known; whoever looks next asks git.
        Err(LandRefusal::Git(error)) => Err(Failure::from(error).with_hint(scene.finish_it())),
        Err(refusal) => {
            scene.forget()?;
            diary.write(Event::UndoGivenUp { why: refusal.to_string() })?;
            Err(refusal.into())
        }
    }
}

/// What became of an undo that was cut off.
pub(super) struct Settled {
    /// The target was moved, then or now.
    pub was_done: bool,
    /// In words, with a newline.
    pub note: String,
}

/// Whether an undo of the run was begun of which it is not known what became.
///
/// # Errors
/// Where the run's journal cannot be read.
pub(super) fn is_open(folder: &RunFolder) -> Result<bool, Failure> {
    Ok(account(folder)?.undoing.is_some())
}

/// Finishes what an undo began whose process ended, or finds that it did nothing. Needs the lock
/// of the run's target.
///
/// # Errors
/// Where something keeps it from its end.
pub(super) async fn settle(
    repo: &UserRepo,
    folder: &RunFolder,
    patience: Patience,
) -> Result<Option<Settled>, Failure> {
    let account = account(folder)?;
    let Some(undoing) = &account.undoing else { return Ok(None) };
    let scene = Scene::new(repo, folder, &account, undoing);
    let _turn = turns::landing(&scene.lander, &scene.target, Purpose::Undoing, patience).await?;
    let found = match scene.lander.recover_undo(&scene.way(), &scene.reflog()) {
        Ok(found) => found,
        Err(LandRefusal::Git(error)) => return Err(Failure::from(error).with_hint(scene.finish_it())),
        Err(refusal) => {
            return Err(match refusal.advice() {
                Some(advice) => Failure::target(refusal.to_string()).with_hint(format!("{advice}, then run again")),
                None => Failure::target(refusal.to_string()),
            });
        }
    };
    let mut diary = Diary::open(folder)?;
    let was_done = found.is_some();
    let note = match found {
        Some(moved) => {
            scene.done(&mut diary, &moved)?;
            format!(
                "an undo of run {} was cut off; it is finished now:\n{}",
                folder.id,
                told(&account, undoing, &moved)
            )
        }
        None => {
            scene.forget()?;
            diary.write(Event::UndoGivenUp { why: "it was cut off before it moved anything".to_owned() })?;
            format!("an undo of run {} was cut off before it moved anything\n", folder.id)
        }
    };
    Ok(Some(Settled { was_done, note }))
}

/// Whether the undo of a run could be undone as things stand: the target is where that left it.
///
/// # Errors
/// Where git fails.
pub(super) fn can_come_back(repo: &UserRepo, folder: &RunFolder, account: &Account) -> Result<bool, Failure> {
    let Some((before, _)) = account.way().filter(|_| account.is_undone) else { return Ok(false) };
    match conduct::lander(repo, folder, &account.started.target, None, true, None).current_target() {
        Ok(now) => Ok(now == before),
        Err(LandRefusal::Git(error)) => Err(error.into()),
        Err(_) => Ok(false),
    }
}

fn account(folder: &RunFolder) -> Result<Account, Failure> {
    let (past, _) = resume::read(folder)?;
    Account::of(&past.events).ok_or_else(|| Failure::internal(format!("run {} has no first event", folder.id)))
}

/// Refuses what the journal alone rules out.
fn what_to_do(args: &UndoArgs, account: &Account) -> Result<Undoing, Failure> {
    let run = &account.started.run;
    let remote = account.started.push.as_deref();
    let push = match (args.push, remote) {
        (false, _) => None,
        (true, Some(remote)) => Some(remote.to_owned()),
        (true, None) => {
            return Err(Failure::usage(format!("run {run} was not pushed anywhere by lexpr"))
                .with_hint("undo it here without --push, then push with a lease of your own"));
        }
    };
    let Some(undoing) = account.next_undo(push) else {
        return Err(match account.landing {
            Some(_) => Failure::usage(format!(
                "of run {run} it is not recorded what it moved: there is nothing to undo that is known"
            ))
            .with_hint(cut_off(account)),
            None => Failure::usage(format!("run {run} has moved nothing: there is nothing to undo")),
        });
    };
    let is_there = account.is_on_remote == Some(true);
    match (&undoing.push, undoing.direction, is_there) {
        (Some(remote), UndoDirection::Back, false) => {
            Err(Failure::usage(format!("{remote} does not have what run {run} landed: it was taken back there before"))
                .with_hint("undo it here without --push"))
        }
        _ => Ok(undoing),
    }
}

fn cut_off(account: &Account) -> String {
    format!(
        "a landing of it was cut off; `lexpr resume {}` finds out what became of it, then it can be undone",
        account.started.run
    )
}

/// Where an undo takes place.
struct Scene<'a> {
    folder: &'a RunFolder,
    undoing: &'a Undoing,
    /// Its full name.
    target: String,
    lander: LocalLander,
    pins: Pins,
}

impl<'a> Scene<'a> {
    fn new(repo: &UserRepo, folder: &'a RunFolder, account: &Account, undoing: &'a Undoing) -> Self {
        let lander = conduct::lander(repo, folder, &account.started.target, undoing.push.as_deref(), true, None);
        Self { folder, undoing, target: account.started.target.clone(), lander, pins: Pins::of(repo.common_dir()) }
    }

    fn way(&self) -> Way {
        let Undoing { direction, from, to, only_on_remote, .. } = *self.undoing;
        Way { direction, from, to, only_on_remote }
    }

    fn reflog(&self) -> String {
        match self.undoing.direction {
            UndoDirection::Back => format!("lexpr: undo run {}", self.folder.id),
            UndoDirection::Forward => format!("lexpr: undo the undo of run {}", self.folder.id),
        }
    }

    fn finish_it(&self) -> String {
        format!("`lexpr undo {}` finds out how far it came and finishes it", self.folder.id)
    }

    /// Records it. What need not be kept alive any more is let go first: once it is on record nobody
    /// comes back to it.
    fn done(&self, diary: &mut Diary, moved: &Moved) -> Result<(), Failure> {
        let Undoing { direction, from, to, .. } = *self.undoing;
        if direction == UndoDirection::Forward {
            self.let_go()?;
        }
        diary.write(Event::Undone(Box::new(Undone {
            direction,
            from,
            to,
            pushed_to: moved.pushed_to.clone(),
            moved_checkouts: moved.moved_checkouts.clone(),
        })))
    }

    /// After an undo that came to nothing: what it would have left behind is in the target still.
    fn forget(&self) -> Result<(), Failure> {
        match self.undoing.direction {
            UndoDirection::Back if !self.undoing.only_on_remote => self.let_go(),
            UndoDirection::Back | UndoDirection::Forward => Ok(()),
        }
    }

    fn let_go(&self) -> Result<(), Failure> {
        Ok(self.pins.let_go(&self.folder.id, KEPT_AS)?)
    }

    fn must_take_back_its_own_alone(&self, account: &Account) -> Result<(), Failure> {
        let moves: Vec<_> = account.moves_of_others().collect();
        if moves.is_empty() {
            return Ok(());
        }
        let mut theirs = Commits { count: 0, first: Vec::new() };
        for (lacks, has) in moves {
            let commits = self.lander.commits_between(lacks, has)?;
            theirs.count += commits.count;
            theirs.first.extend(commits.first);
        }
        Err(Failure::target(format!(
            "between two landings of run {} others added {} to {}, which an undo would take back, too: {}",
            self.folder.id,
            count(theirs.count, "commit"),
            ref_name(&account.started.target),
            named(&theirs)
        ))
        .with_hint("revert what is to go with `git revert`"))
    }

    /// Refuses, with names, what would take back or lose the work of others.
    fn must_be_possible(&self, account: &Account) -> Result<(), Failure> {
        let target = ref_name(&account.started.target);
        let run = &self.folder.id;
        let Undoing { direction, from, to, only_on_remote, .. } = *self.undoing;
        let left_at = if only_on_remote { to } else { from };
        let now = self.lander.current_target().map_err(|refusal| refusal.where_it_was(left_at))?;
        if let Some(landing) = account.landing.as_ref().filter(|landing| landing.from != now && landing.to == now) {
            return Err(Failure::target(format!(
                "{target} is at {now}, and of run {run} it is not recorded that it landed {}",
                list(landing.items.iter().map(|item| item.as_str()))
            ))
            .with_hint(cut_off(account)));
        }
        if only_on_remote {
            return if now == to { Ok(()) } else { Err(self.moved_since_here(now)?) };
        }
        if direction == UndoDirection::Back {
            self.must_take_back_its_own_alone(account)?;
        }
        if now == from {
            return Ok(());
        }
        let (was_left, there) = match direction {
            UndoDirection::Back => (format!("run {run} left it at {from}"), "the run"),
            UndoDirection::Forward => (format!("the undo of run {run} left it at {from}"), "the undo"),
        };
        if self.lander.contains(now, from)? {
            let commits = self.lander.commits_between(from, now)?;
            return Err(Failure::target(format!(
                "{target} was built upon: since {there} it has {} more, the first being {}",
                count(commits.count, "commit"),
                commits.first.first().map(|first| shown(first).into_owned()).unwrap_or_default()
            ))
            .with_hint(match direction {
                UndoDirection::Back => "revert what is to go with `git revert`",
                UndoDirection::Forward => "run the plan again: its items land on top",
            }));
        }
        let how = if self.lander.contains(from, now)? { "commits were taken back" } else { "it was rewound" };
        Err(Failure::target(format!("{target} is at {now}, and {was_left}: {how} since"))
            .with_hint(format!("see `git reflog {target}` for who moved it")))
    }

    /// What was taken back here is to be taken back on the remote, too, and here is more by now.
    fn moved_since_here(&self, now: CommitId) -> Result<Failure, Failure> {
        let Undoing { from, to, push, .. } = self.undoing;
        let (run, full, remote) = (&self.folder.id, &self.target, push.as_deref().unwrap_or_default());
        let target = ref_name(full);
        let moved = format!("{target} is at {now}, and the undo of run {run} left it at {to}: it was moved since");
        // With what the run landed, on which somebody has built on the remote.
        if self.lander.contains(now, *from)? {
            return Ok(Failure::target(format!("{moved}, and has what the run landed again"))
                .with_hint(format!("revert what is to go with `git revert`, and push that to {remote}")));
        }
        Ok(Failure::target(moved).with_hint(format!(
            "`git push --force-with-lease={full}:{from} {remote} {to}:{full}` takes back on {remote} what the run \
             landed there, whatever {target} is here"
        )))
    }
}

fn named(commits: &Commits) -> String {
    let named: Vec<_> = commits.first.iter().map(|commit| shown(commit)).collect();
    let more = commits.count.saturating_sub(named.len());
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", named.join(", "))
}

/// What was done, for standard output; ends with a newline.
fn told(account: &Account, undoing: &Undoing, moved: &Moved) -> String {
    let run = shown(account.started.run.as_str());
    let target = ref_name(&account.started.target);
    let items = account.landings.iter().map(|landing| landing.items.len()).sum::<usize>();
    let (from, to) = (undoing.from.short(), undoing.to.short());
    if let Some(remote) = moved.pushed_to.as_deref().map(shown).filter(|_| undoing.only_on_remote) {
        return format!(
            "run {run} is undone on {remote}, too: {target} is back there from {from} at {to}\n\
             Next: `lexpr undo {run} --push` brings it forward again here and there, as long as nobody moves {target}.\n"
        );
    }
    let mut text = match undoing.direction {
        UndoDirection::Back => {
            format!("run {run} is undone: {target} is back from {from} at {to}, without its {}\n", count(items, "item"))
        }
        UndoDirection::Forward => format!(
            "the undo of run {run} is undone: {target} is forward again from {from} at {to}, with its {}\n",
            count(items, "item")
        ),
    };
    for checkout in &moved.moved_checkouts {
        text.push_str(&format!("  moved along: {}\n", shown(checkout)));
    }
    let remote = account.started.push.as_deref().map(shown);
    match (&moved.pushed_to, remote, undoing.direction, account.is_on_remote) {
        (Some(remote), ..) => text.push_str(&format!("  {} was moved, too\n", shown(remote))),
        (None, Some(remote), UndoDirection::Back, Some(true)) => text.push_str(&format!(
            "  {remote} still has what it landed: `lexpr undo {run} --push` takes it back there, too\n"
        )),
        (None, Some(remote), UndoDirection::Forward, Some(false)) => {
            text.push_str(&format!("  {remote} does not have it: push {target} when you like\n"));
        }
        _ => {}
    }
    match undoing.direction {
        UndoDirection::Back => {
            let push = if moved.pushed_to.is_some() { " --push" } else { "" };
            text.push_str(&format!(
                "Next: `lexpr undo {run}{push}` undoes this again, as long as nobody moves {target}.\n"
            ))
        }
        UndoDirection::Forward => text.push_str("Next: nothing; all is as the run left it.\n"),
    }
    text
}

/// A run's journal, to which a few events are added.
struct Diary {
    journal: JournalFile,
    seq: u64,
    last_ms: u64,
}

impl Diary {
    fn open(folder: &RunFolder) -> Result<Self, Failure> {
        let (past, _) = resume::read(folder)?;
        conduct::tell_of_the_cut(folder, &past);
        let journal = JournalFile::reopen(&folder.journal(), past.cut_bytes)
            .map_err(|error| Failure::internal(error.to_string()))?;
        let last = past.events.last();
        Ok(Self { journal, seq: last.map_or(0, |last| last.seq), last_ms: last.map_or(0, |last| last.at_ms) })
    }

    /// Durable once this returns.
    fn write(&mut self, event: Event) -> Result<(), Failure> {
        self.seq += 1;
        self.last_ms = self.last_ms.max(crate::clock::SystemClock::new().now_ms());
        self.journal.append(&Recorded { seq: self.seq, at_ms: self.last_ms, event })?;
        Ok(self.journal.sync()?)
    }
}
