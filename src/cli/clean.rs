//! `lexpr clean`: makes room. Locks decide what may go, not looks: what a process holds stays, and
//! what is being removed nobody can take.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Failure;
use super::scratch::{self, Abandoned};
use super::{CleanArgs, conduct, leftovers, resume, speak, status, tidying};
use crate::clock::SystemClock;
use crate::core::account::Account;
use crate::git::pins::Pins;
use crate::git::repo::UserRepo;
use crate::git::slot::repository_id;
use crate::git::{keeps, lock, slot_sweep};
use crate::journal;
use crate::ports::Clock as _;
use crate::runs::{self, Hold, RunFolder, RunsError};
use crate::vocabulary::event::Event;
use crate::vocabulary::names::RunId;
use crate::wording::{ago, bytes, count, shown};

/// Reads `7d`, `12h` or `30m`.
///
/// # Errors
/// Where it is none of them.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 7d, 12h or 30m");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// Runs the command.
///
/// # Errors
/// Where there is no such run, a named one is going on, or something cannot be removed; what could
/// be was.
pub fn run(args: &CleanArgs) -> Result<u8, Failure> {
    let repo = UserRepo::open(&args.repository.repo)?;
    let common_dir = repo.common_dir();
    let named: Vec<RunFolder> = args
        .runs
        .iter()
        .map(|prefix| runs::find(common_dir, Some(prefix)).map_err(status::not_found))
        .collect::<Result<_, _>>()?;
    let mut sweep = Sweep::new(&repo, args.dry_run, args.older_than);
    // Nothing is there to be removed twice where lexpr has left nothing.
    let _alone = match common_dir.join("lexpr").is_dir() && !args.dry_run {
        false => None,
        true => match runs::hold_all(common_dir).map_err(unlocked)? {
            Some(hold) => Some(hold),
            None => return Err(Failure::usage("another `lexpr clean` is at work in this repository")),
        },
    };
    if args.runs.is_empty() {
        sweep.everything()?;
    } else {
        for folder in &named {
            sweep.run_folder(folder, true);
        }
    }
    sweep.tell()
}

/// How many things the command would remove where no run is named, and how many bytes they take. Changes nothing.
///
/// # Errors
/// Where something cannot be looked at.
pub(super) fn leftovers(repo: &UserRepo) -> Result<(usize, u64), Failure> {
    let mut sweep = Sweep::new(repo, true, None);
    sweep.everything()?;
    sweep.failure.map_or(Ok((sweep.things, sweep.freed)), Err)
}

fn unlocked(error: RunsError) -> Failure {
    Failure::internal(error.to_string())
}

/// What there is to be said of a run before it goes.
enum Kind {
    /// It came to its end, with this exit code unless something followed.
    Finished {
        at_ms: u64,
        exit_code: Option<u8>,
    },
    /// It can be resumed.
    Unfinished,
    /// Its journal cannot be read to its end.
    Damaged,
    /// While it moved the target.
    CutOff {
        /// Which finishes that.
        command: String,
    },
    NeverBegun,
}

struct Sweep<'a> {
    repo: &'a UserRepo,
    dry_run: bool,
    now_ms: u64,
    older_than: Option<Duration>,
    things: usize,
    /// Bytes.
    freed: u64,
    text: String,
    /// The first; others are shown as they come.
    failure: Option<Failure>,
}

impl<'a> Sweep<'a> {
    fn new(repo: &'a UserRepo, dry_run: bool, older_than: Option<Duration>) -> Self {
        let now_ms = SystemClock::new().now_ms();
        Self { repo, dry_run, now_ms, older_than, things: 0, freed: 0, text: String::new(), failure: None }
    }
}

impl Sweep<'_> {
    fn everything(&mut self) -> Result<(), Failure> {
        let common_dir = self.repo.common_dir();
        for folder in runs::folders(common_dir).map_err(status::not_found)? {
            self.run_folder(&folder, false);
        }
        self.what_commands_left_elsewhere();
        self.what_no_run_has()?;
        let locks = lock::unheld(common_dir).map_err(|error| Failure::io("reading", common_dir, &error))?;
        self.locks(&locks);
        self.slots()
    }

    /// A run's folder and all that is kept for it.
    fn run_folder(&mut self, folder: &RunFolder, is_named: bool) {
        let hold = if self.dry_run { Ok(None) } else { folder.hold() };
        let hold = match hold {
            Err(error) => return self.failed(unlocked(error)),
            Ok(None) if !self.dry_run || folder.is_held() => return self.is_going_on(folder, is_named),
            Ok(hold) => hold,
        };
        let id = shown(folder.id.as_str()).into_owned();
        let removed = match kind_of(folder) {
            Kind::Finished { at_ms, exit_code } if is_named || self.is_old(at_ms) => {
                let exit_code = exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
                let what = format!("run {id} (ended {}{exit_code}): {}", ago(self.now_ms, at_ms), contents(folder));
                self.remove_run(folder, hold.as_ref(), &what)
            }
            Kind::Finished { .. } => Ok(()),
            Kind::CutOff { command } => return self.is_cut_off(folder, &command, is_named),
            Kind::Unfinished if is_named => {
                let what = format!("run {id}, which had not come to its end: {}", contents(folder));
                self.remove_run(folder, hold.as_ref(), &what)
            }
            Kind::Damaged if is_named => {
                let what = format!("run {id}, whose journal is damaged: {}", contents(folder));
                self.remove_run(folder, hold.as_ref(), &what)
            }
            Kind::Damaged => {
                self.text.push_str(&format!(
                    "left run {id}: its journal is damaged, `lexpr runs` says where; `lexpr clean {id}` removes it\n"
                ));
                Ok(())
            }
            Kind::Unfinished => self.remove_composites(folder, hold.as_ref()),
            Kind::NeverBegun if self.is_old(changed_ms(&folder.path)) => {
                self.remove_run(folder, hold.as_ref(), &format!("folder {id} of a run that never began"))
            }
            Kind::NeverBegun => Ok(()),
        };
        removed.unwrap_or_else(|failure| self.failed(failure));
    }

    /// Its journal alone tells whose the files are that it left in a checkout.
    fn is_cut_off(&mut self, folder: &RunFolder, command: &str, is_named: bool) {
        let why = format!("run {} was cut off while it moved the target", folder.id);
        let hint = format!("`{command}` finishes that, then it can be removed");
        if is_named {
            self.failed(Failure::usage(why).with_hint(hint));
        } else {
            self.text.push_str(&format!("left run {}: {hint}\n", shown(folder.id.as_str())));
        }
    }

    fn is_going_on(&mut self, folder: &RunFolder, is_named: bool) {
        if is_named {
            self.failed(
                Failure::usage(format!("run {} is going on", folder.id)).with_hint("end it first, if you must"),
            );
        } else {
            self.text.push_str(&format!("left run {}: it is going on\n", shown(folder.id.as_str())));
        }
    }

    /// The journal goes first: from then on it is no run, and if this is cut short here, the rest is
    /// found as what a run left that never began.
    fn remove_run(&mut self, folder: &RunFolder, hold: Option<&Hold>, what: &str) -> Result<(), Failure> {
        let size = runs::disk_usage(&folder.path);
        if let Some(hold) = hold {
            leftovers::settle_gits(self.repo.common_dir(), folder)?;
            conduct::runtime(1)?.block_on(leftovers::clear_everywhere(self.repo, folder));
            folder.forget(hold).map_err(unlocked)?;
            tidying::let_go(self.repo, &folder.id)?;
            folder.remove(hold).map_err(unlocked)?;
        }
        self.gone(what, size);
        Ok(())
    }

    /// A resumed run makes its composites again.
    fn remove_composites(&mut self, folder: &RunFolder, hold: Option<&Hold>) -> Result<(), Failure> {
        let (id, composites) = (shown(folder.id.as_str()), folder.quarantine());
        if composites.is_dir() {
            let size = runs::disk_usage(&composites);
            if hold.is_some() {
                std::fs::remove_dir_all(&composites).map_err(|error| Failure::io("removing", &composites, &error))?;
            }
            self.gone(&format!("composites of run {id}, which are made again when it is resumed"), size);
        }
        self.text.push_str(&format!("left run {id}: it can be resumed; `lexpr clean {id}` removes it all the same\n"));
        Ok(())
    }

    /// Refs and packs that are kept for runs whose folder is gone: it is made before anything is
    /// kept, and removed afterwards.
    fn what_no_run_has(&mut self) -> Result<(), Failure> {
        let mut kept_for: HashSet<RunId> = Pins::of(self.repo.common_dir()).runs()?.into_iter().collect();
        kept_for.extend(keeps::left(&self.repo.objects().join("pack"))?.into_iter().map(|(_, run)| run));
        let there = runs::folders(self.repo.common_dir()).map_err(status::not_found)?;
        for folder in there {
            kept_for.remove(&folder.id);
        }
        for run in kept_for {
            if !self.dry_run {
                tidying::let_go(self.repo, &run)?;
            }
            self.gone(&format!("what was kept from git gc for run {}, which is gone", shown(run.as_str())), 0);
        }
        Ok(())
    }

    /// Of commands that were killed, in whichever repository: who has it elsewhere keeps it from all.
    fn what_commands_left_elsewhere(&mut self) {
        for abandoned in scratch::abandoned() {
            let Abandoned { note, folder } = &abandoned;
            if !self.is_old(changed_ms(&folder.path)) {
                continue;
            }
            let size = runs::disk_usage(&folder.path);
            match if self.dry_run { Ok(true) } else { clear(&abandoned) } {
                Ok(true) => {
                    let (command, runtime) = (shown(&note.command), shown(note.runtime.as_str()));
                    self.gone(&format!("what `{command}` left on {runtime} as {}", note.run), size);
                }
                Ok(false) => {}
                Err(failure) => {
                    let hint = format!(
                        "once that works, or has nothing of it any more: `lexpr clean` again, or remove {}",
                        folder.path.display()
                    );
                    let what =
                        format!("what `{}` left as {} may be there still: {}", note.command, note.run, failure.message);
                    self.failed(Failure::internal(what).with_hint(failure.hint.unwrap_or(hint)));
                }
            }
        }
    }

    fn locks(&mut self, unheld: &[std::path::PathBuf]) {
        let mut removed = 0;
        for path in unheld {
            match if self.dry_run { Ok(true) } else { lock::remove_unheld(path) } {
                Ok(is_gone) => removed += usize::from(is_gone),
                Err(error) => self.failed(Failure::io("removing", path, &error)),
            }
        }
        if removed > 0 {
            self.gone(&format!("{} that nobody holds", count(removed, "lock file")), 0);
        }
    }

    fn slots(&mut self) -> Result<(), Failure> {
        let folder = conduct::cache_root().join(repository_id(self.repo.common_dir()));
        for spare in slot_sweep::spares(&folder)? {
            let last_used = millis(spare.last_used);
            if !self.is_old(last_used) {
                continue;
            }
            let size = runs::disk_usage(&spare.path);
            match if self.dry_run { Ok(true) } else { slot_sweep::remove_spare(&spare) } {
                Ok(true) => {
                    let what = if spare.is_slot() { "slot" } else { "folder that could not be removed before," };
                    let used = ago(self.now_ms, last_used);
                    self.gone(&format!("{what} {} (last used {used})", shown(&spare.path.to_string_lossy())), size);
                }
                Ok(false) => {}
                Err(error) => self.failed(error.into()),
            }
        }
        Ok(())
    }

    fn is_old(&self, last_ms: u64) -> bool {
        let age = Duration::from_millis(self.now_ms.saturating_sub(last_ms));
        self.older_than.is_none_or(|older_than| age > older_than)
    }

    fn gone(&mut self, what: &str, size: u64) {
        self.things += 1;
        self.freed += size;
        let removed = if self.dry_run { "would remove" } else { "removed" };
        let size = if size == 0 { String::new() } else { format!(", {}", bytes(size)) };
        self.text.push_str(&format!("{removed} {what}{size}\n"));
    }

    fn failed(&mut self, failure: Failure) {
        if let Some(another) = self.failure.replace(failure) {
            speak::note(&another.text());
        }
    }

    fn tell(self) -> Result<u8, Failure> {
        let freed = if self.dry_run { "would come free" } else { "came free" };
        let sum = match self.text.is_empty() {
            true => "nothing is there to be removed\n".to_owned(),
            false => format!("{}{} {freed}\n", self.text, bytes(self.freed)),
        };
        speak::result(&sum)?;
        self.failure.map_or(Ok(0), Err)
    }
}

/// False where somebody else is at it.
fn clear(abandoned: &Abandoned) -> Result<bool, Failure> {
    let path = &abandoned.folder.path;
    let Some(hold) = abandoned.hold().map_err(|error| Failure::io("locking", path, &error))? else { return Ok(false) };
    conduct::runtime(1)?.block_on(leftovers::clear_abandoned(abandoned))?;
    abandoned.remove(&hold)?;
    Ok(true)
}

fn kind_of(folder: &RunFolder) -> Kind {
    let path = folder.journal();
    if !path.is_file() {
        return Kind::NeverBegun;
    }
    let Ok(journal) = journal::read(&path) else { return Kind::Damaged };
    if let Some(account) = Account::of(&journal.events) {
        if let Some(command) = resume::finishing(&account) {
            return Kind::CutOff { command };
        }
        if resume::is_open(&account) {
            return Kind::Unfinished;
        }
    }
    let last = journal::last(&path);
    let exit_code = last.as_ref().and_then(|last| match &last.event {
        Event::RunFinished { exit_code, .. } => Some(*exit_code),
        _ => None,
    });
    Kind::Finished { at_ms: last.map_or_else(|| changed_ms(&path), |last| last.at_ms), exit_code }
}

/// What goes with a run. Receipts are evidence: they are named.
fn contents(folder: &RunFolder) -> String {
    let files = |folder: &Path| std::fs::read_dir(folder).map_or(0, Iterator::count);
    let with = [(files(&folder.logs()), "log"), (files(&folder.receipts()), "receipt")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| count(number, noun));
    let mut parts: Vec<String> = ["its journal".to_owned()].into_iter().chain(with).collect();
    if folder.artifacts().is_dir() {
        parts.push("artifacts".to_owned());
    }
    parts.join(", ")
}

fn changed_ms(path: &Path) -> u64 {
    path.metadata().and_then(|meta| meta.modified()).map_or(0, millis)
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
