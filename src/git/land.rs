//! Landing: moving the target, and what goes with it, from one commit to a proven one.
//!
//! In this order, so that each step can be refused while nothing has happened: the objects come
//! into the user's store, checkouts of the target are checked, the remote is pushed to, the ref
//! moves by compare-and-swap, checkouts follow. What may land is decided elsewhere. From the first
//! look at the target to the last step nobody else lands on it: see [`turn`].

mod glimpse;
mod locks;
mod right_of_way;
pub mod turn;
mod undo;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::thread;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::checkout::{self, Checkout, Held};
use super::command::{Config, DURABLE, Git, GitError, failed, joined};
use super::migrate::{self, Origin, Store};
use super::objects::ObjectStore;
use super::push::Remote;
use super::refusal::LandRefusal;
use crate::crash;
use crate::ports::{Claim, LandOutcome, LandRequest, Lander, PortError, Recovery, Whereabouts};
use crate::vocabulary::names::{ApexId, CommitId, RunId};

use right_of_way::Claimed;
use turn::{Listener, never};
pub use undo::{Commits, Moved, Way};

/// Where and how a run lands.
#[derive(Clone, Debug)]
pub struct LanderSettings {
    /// The git directory that all worktrees of the user's repository share; absolute.
    pub common_dir: PathBuf,
    /// The top of the working tree lexpr was started in, if it was in one.
    pub started_in: Option<PathBuf>,
    /// Where that repository keeps its objects; absolute.
    pub objects: PathBuf,
    /// The bare repository in which composites are made; absolute.
    pub quarantine: PathBuf,
    /// What is in it, where it is open already.
    pub made: Option<ObjectStore>,
    /// The full name of the ref to move, such as `refs/heads/main`.
    pub target: String,
    /// The remote to land on as well: its name or its URL.
    pub push: Option<String>,
    /// Land unsigned commits even where the user's configuration asks for signed ones.
    pub no_sign: bool,
    pub run: RunId,
    /// The run's own folder: receipts go to `receipts` in it.
    pub run_dir: PathBuf,
}

/// Lands in a repository on this machine, and on one remote where asked to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalLander(Arc<Inner>, Listener);

#[derive(Debug)]
struct Inner {
    settings: LanderSettings,
    /// The user's repository, in their name: filters, credentials.
    repository: Git,
    /// The same where remotes are found as the user finds them.
    remotes: Git,
    /// The same as plumbing, which no setting of theirs may change.
    store: Git,
    quarantine: Origin,
    remote: Option<Remote>,
    claimed: Mutex<Claimed>,
}

impl LocalLander {
    pub fn new(settings: LanderSettings) -> Self {
        let remote = settings.push.clone().map(|name| Remote { name, target: settings.target.clone() });
        let inner = Inner {
            repository: Git::new(&settings.common_dir, Config::Users),
            remotes: match &settings.started_in {
                // A relative URL is relative to the top of the working tree.
                Some(top) => Git::new(&settings.common_dir, Config::Users).with_work_tree(top),
                None => Git::new(&settings.common_dir, Config::Users),
            },
            store: Git::new(&settings.common_dir, Config::RepositoryOnly),
            quarantine: Origin::new(Git::new(&settings.quarantine, Config::RepositoryOnly), settings.made.as_ref()),
            remote,
            claimed: Mutex::default(),
            settings,
        };
        Self(Arc::new(inner), Listener::default())
    }

    /// Before anything runs: whether a landing on `base` could succeed as things stand. Changes
    /// nothing. Blocks; with a remote, on the network. Gives the checkouts of the target, for
    /// [`must_have_room_for`]. For who has the landing lock ([`LocalLander::try_turn`]): what lands
    /// meanwhile is half done.
    ///
    /// # Errors
    /// The first thing that stands against it.
    pub fn preflight(&self, base: CommitId) -> Result<Vec<Checkout>, LandRefusal> {
        self.0.preflight(base)
    }

    /// A hook that `git push` would start and a landing does not: none of a repository's hooks runs,
    /// wherever its configuration says that they lie.
    ///
    /// # Errors
    /// Where git fails.
    pub fn unasked_push_hook(&self) -> Result<Option<PathBuf>, GitError> {
        self.0.unasked_push_hook()
    }

    /// The commit the target is at. Blocks.
    ///
    /// # Errors
    /// [`LandRefusal::TargetGone`] where there is no such ref.
    pub fn current_target(&self) -> Result<CommitId, LandRefusal> {
        self.0.current_target()
    }
}

/// Before anything runs: whether checkouts of the target have nothing untracked where the files
/// at the paths `arriving` would come on `base`. Blocks; reads the disk at these paths alone.
///
/// # Errors
/// A refusal that names what is in the way.
pub fn must_have_room_for(checkouts: &[Checkout], base: CommitId, arriving: &[PathBuf]) -> Result<(), LandRefusal> {
    checkouts.iter().try_for_each(|checkout| checkout.must_have_room_for(base, arriving))
}

impl Lander for LocalLander {
    fn land(
        &self,
        request: LandRequest,
        cancel: watch::Receiver<bool>,
    ) -> BoxFuture<'_, Result<LandOutcome, PortError>> {
        let Self(inner, listener) = self.clone();
        let refused = |message, advice| LandOutcome::Refused { message, advice };
        let land = move || {
            let _turn = inner.turn(&cancel, &listener)?;
            inner.land(&request)
        };
        off_the_loop("landing", move || answer(land(), refused))
    }

    fn gives_way(
        &self,
        urgent: bool,
        cancel: watch::Receiver<bool>,
    ) -> Option<BoxFuture<'static, Result<bool, PortError>>> {
        self.wait_for_others(urgent, cancel)
    }

    fn claim(&self, claim: Option<Claim>) -> Result<(), PortError> {
        self.0.claim(claim)
    }

    fn recover(&self, request: LandRequest) -> BoxFuture<'_, Result<Recovery, PortError>> {
        let Self(inner, listener) = self.clone();
        let refused = |message, advice| Recovery::Refused { message, advice };
        let recover = move || {
            let _turn = inner.turn(&never(), &listener)?;
            inner.recover(&request)
        };
        off_the_loop("finishing a landing", move || answer(recover(), refused))
    }

    fn whereabouts(&self, tip: CommitId) -> BoxFuture<'_, Result<Whereabouts, PortError>> {
        let Self(inner, listener) = self.clone();
        let lost = |message, advice| Whereabouts::Lost { message, advice };
        let look = move || {
            let _turn = inner.turn(&never(), &listener)?;
            inner.whereabouts(tip)
        };
        off_the_loop("looking for the target", move || answer(look(), lost))
    }

    fn elsewhere(&self, tip: CommitId) -> Option<BoxFuture<'static, Result<Option<Whereabouts>, PortError>>> {
        self.looks_elsewhere(tip)
    }

    fn write_receipt(&self, apex: ApexId, receipt: serde_json::Value) -> BoxFuture<'_, Result<PathBuf, PortError>> {
        let folder = self.0.settings.run_dir.join("receipts");
        off_the_loop("writing a receipt", move || {
            let path = folder.join(format!("{}.json", apex.0));
            let content = format!("{receipt:#}\n");
            write_durably(&folder, &path, content.as_bytes()).map_err(|error| PortError {
                message: format!("writing the receipt {}: {error}", path.display()),
                hint: Some("make room or give lexpr the right to write there, then resume the run".to_owned()),
            })?;
            Ok(path)
        })
    }
}

/// A refusal is an answer; that git failed is none.
fn answer<T>(
    result: Result<T, LandRefusal>,
    refused: impl FnOnce(String, Option<String>) -> T,
) -> Result<T, PortError> {
    match result {
        Err(LandRefusal::Git(error)) => Err(PortError { message: error.to_string(), hint: None }),
        Err(refusal) => Ok(refused(refusal.to_string(), refusal.advice())),
        Ok(answer) => Ok(answer),
    }
}

/// git and disks block; the loop must not.
fn off_the_loop<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> BoxFuture<'static, Result<T, PortError>> {
    Box::pin(async move {
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(PortError { message: format!("{doing} broke off: {error}"), hint: None }))
    })
}

/// All of it or nothing, also after a power loss: written beside, synced, renamed, and the
/// folder synced.
fn write_durably(folder: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    crash::point!("receipt.write.before");
    fs::create_dir_all(folder)?;
    // Always the same name: what a crash leaves there the next attempt takes.
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    crash::point!("receipt.write.beside");
    fs::rename(&beside, path)?;
    crash::point!("receipt.write.after");
    File::open(folder)?.sync_all()
}

impl Inner {
    /// Told by `git symbolic-ref`.
    fn must_be_a_branch(&self, symbolic: &Output) -> Result<(), LandRefusal> {
        if symbolic.status.success() {
            let points_to = String::from_utf8_lossy(&symbolic.stdout).trim().to_owned();
            return Err(LandRefusal::TargetSymbolic { target: self.settings.target.clone(), points_to });
        }
        Ok(())
    }

    fn preflight(&self, base: CommitId) -> Result<Vec<Checkout>, LandRefusal> {
        let target = &self.settings.target;
        let ([symbolic, shown, signing], checkouts, writable) = thread::scope(|scope| {
            // All look at the same and change nothing.
            let checkouts = thread::Builder::new().spawn_scoped(scope, || self.checkouts());
            let writable = thread::Builder::new().spawn_scoped(scope, || self.must_be_writable(base));
            let told = self.repository.outputs([
                &["symbolic-ref", "--quiet", target],
                &["show-ref", "--verify", "--hash", target],
                &SIGNING,
            ]);
            (told, joined(checkouts), joined(writable))
        });
        self.must_be_a_branch(&symbolic?)?;
        let now = self.shown_target(&shown?)?;
        if now != base {
            return Err(LandRefusal::TargetElsewhere { target: target.clone(), now, expected: base });
        }
        if !self.settings.no_sign && is_asked_for(&signing?)? {
            return Err(LandRefusal::Signing);
        }
        let checkouts = checkouts??;
        for checkout in &checkouts {
            checkout.must_be_clean()?;
        }
        writable??;
        if let Some(remote) = &self.remote {
            remote.must_be_at(&self.remotes, base)?;
        }
        Ok(checkouts)
    }

    fn unasked_push_hook(&self) -> Result<Option<PathBuf>, GitError> {
        if self.remote.is_none() {
            return Ok(None);
        }
        let set = self.remotes.output(&["config", "--type=path", "-z", "--get-all", "core.hooksPath"], None)?;
        // The last one is lexpr's own.
        let set = set.stdout.split(|byte| *byte == 0).rev().nth(2).map(|path| PathBuf::from(OsStr::from_bytes(path)));
        let folder = match (set, &self.settings.started_in) {
            // A relative one is relative to where hooks run.
            (Some(set), Some(top)) => top.join(set),
            (Some(set), None) => self.settings.common_dir.join(set),
            (None, _) => self.settings.common_dir.join("hooks"),
        };
        let hook = folder.join("pre-push");
        Ok(Some(hook).filter(|hook| rustix::fs::access(hook, rustix::fs::Access::EXEC_OK).is_ok()))
    }

    /// Goes as far as git goes without changing anything: the ref is locked, verified, let go.
    /// Finds read-only repositories and lock files left behind.
    fn must_be_writable(&self, base: CommitId) -> Result<(), LandRefusal> {
        let target = &self.settings.target;
        let locked = |why: String| LandRefusal::TargetLocked { target: target.clone(), why };
        let transaction = format!("start\nverify {target} {base}\nprepare\nabort\n");
        let tried = self.repository.output(&["update-ref", "--stdin"], Some(transaction.as_bytes()))?;
        if !tried.status.success() {
            return Err(locked(self.repository.why_failed(&tried)));
        }
        // What lands comes as a pack.
        let (objects, pack) = (self.settings.objects.clone(), self.settings.objects.join("pack"));
        for folder in [objects, pack].into_iter().filter(|folder| folder.is_dir()) {
            if let Err(error) = tempfile::tempfile_in(&folder) {
                return Err(LandRefusal::ObjectsLocked { folder, why: error.to_string() });
            }
        }
        Ok(())
    }

    fn current_target(&self) -> Result<CommitId, LandRefusal> {
        self.shown_target(&self.repository.output(&["show-ref", "--verify", "--hash", &self.settings.target], None)?)
    }

    /// Told by `git show-ref`.
    fn shown_target(&self, shown: &Output) -> Result<CommitId, LandRefusal> {
        let target = &self.settings.target;
        if !shown.status.success() {
            return Err(LandRefusal::TargetGone { target: target.clone(), was: None });
        }
        String::from_utf8_lossy(&shown.stdout).trim().parse().map_err(|error| {
            LandRefusal::Git(GitError::Unreadable { command: format!("show-ref {target}"), why: format!("{error}") })
        })
    }

    fn checkouts(&self) -> Result<Vec<Checkout>, LandRefusal> {
        checkout::of_target(&self.repository, &self.settings.target, self.settings.started_in.as_deref())
    }

    fn land(&self, request: &LandRequest) -> Result<LandOutcome, LandRefusal> {
        crash::point!("landing.before");
        let (from, to) = (request.from, request.to);
        let now = self.current_target().map_err(|refusal| refusal.where_it_was(from))?;
        if now != from {
            return self.followed(from, now);
        }
        let heads = request.items.iter().map(|item| item.head);
        let present: Vec<CommitId> = std::iter::once(from).chain(heads).collect();
        let store = Store { git: &self.store, objects: &self.settings.objects };
        let (brought, checkouts) = thread::scope(|scope| {
            // The one takes its time, and does not touch what the other looks at.
            let checkouts = thread::Builder::new().spawn_scoped(scope, || self.checkouts());
            let brought = migrate::bring(&self.quarantine, store, to, &present, &self.settings.run);
            (brought, joined(checkouts))
        });
        let _until_a_ref_holds_it = brought?;
        let checkouts = checkouts??;
        // Before the target moves anywhere, and until they have followed.
        let held = self.hold(&checkouts, from, to)?;
        if let Some(remote) = &self.remote {
            remote.land(&self.remotes, from, to)?;
        }
        if let Err(unmoved) = self.swap(from, to, &message(request.items.len()))? {
            drop(held);
            return self.unmoved(to, unmoved);
        }
        self.move_along(&held, from, to)?;
        Ok(LandOutcome::Landed { pushed_to: self.settings.push.clone(), moved_checkouts: paths(&checkouts) })
    }

    /// In the order of [`Inner::land`], asked backwards: how far did it come?
    fn recover(&self, request: &LandRequest) -> Result<Recovery, LandRefusal> {
        crash::point!("landing.recover.before");
        let (from, to) = (request.from, request.to);
        let now = self.current_target().map_err(|refusal| refusal.where_it_was(from))?;
        let landed = |moved_checkouts| Recovery::Landed { pushed_to: self.settings.push.clone(), moved_checkouts };
        // Others may have built on it since.
        if now == to || self.contains(now, to)? {
            return Ok(landed(self.catch_up(from, to, now)?));
        }
        let Some(remote) = &self.remote else { return Ok(Recovery::NotLanded) };
        if remote.now(&self.remotes)? != Some(to) {
            return Ok(Recovery::NotLanded);
        }
        // The remote has it, and nothing but this repository lags behind. Landing once more pushes
        // nothing and does the rest.
        match self.land(request)? {
            LandOutcome::Landed { pushed_to, moved_checkouts } => Ok(Recovery::Landed { pushed_to, moved_checkouts }),
            LandOutcome::TargetMoved { to: now } => {
                Err(self.on_remote_only(remote, to, Unmoved::Elsewhere { from, now }.to_string()))
            }
            LandOutcome::Refused { message, advice } => Ok(Recovery::Refused { message, advice }),
        }
    }

    fn whereabouts(&self, tip: CommitId) -> Result<Whereabouts, LandRefusal> {
        let now = self.current_target().map_err(|refusal| refusal.where_it_was(tip))?;
        if now == tip {
            return Ok(Whereabouts::There);
        }
        self.must_have_grown(tip, now)?;
        Ok(Whereabouts::Moved { to: now })
    }

    /// Lets checkouts of the target, which the run has moved to `to` and which is at `now`, follow;
    /// which there are.
    fn catch_up(&self, from: CommitId, to: CommitId, now: CommitId) -> Result<Vec<String>, LandRefusal> {
        let follow = || {
            let checkouts = self.checkouts()?;
            for checkout in &checkouts {
                checkout.hold(&self.settings.run)?.catch_up(from, now)?;
            }
            Ok(paths(&checkouts))
        };
        follow().map_err(|refusal| match refusal {
            LandRefusal::Git(error) => LandRefusal::Git(error),
            refusal => {
                let target = self.settings.target.clone();
                LandRefusal::HalfMoved { target, to, refusal: Box::new(refusal) }
            }
        })
    }

    /// All of them, free to go from one commit to the other.
    fn hold<'a>(&self, checkouts: &'a [Checkout], from: CommitId, to: CommitId) -> Result<Vec<Held<'a>>, LandRefusal> {
        let held = checkouts.iter().map(|checkout| checkout.hold(&self.settings.run));
        let held: Vec<Held<'a>> = held.collect::<Result<_, _>>()?;
        held.iter().try_for_each(|checkout| checkout.must_be_free_for(from, to))?;
        Ok(held)
    }

    /// Whether `descendant` holds `ancestor`; one that is not in the store is held by nothing there.
    fn contains(&self, descendant: CommitId, ancestor: CommitId) -> Result<bool, GitError> {
        let is_there = self.store.output(&["cat-file", "-e", &ancestor.to_string()], None)?;
        if !is_there.status.success() {
            return Ok(false);
        }
        self.is_ancestor(ancestor, descendant)
    }

    /// Both must be in the store.
    fn is_ancestor(&self, ancestor: CommitId, descendant: CommitId) -> Result<bool, GitError> {
        let args = ["merge-base", "--is-ancestor", &ancestor.to_string(), &descendant.to_string()];
        let asked = self.store.output(&args, None)?;
        match asked.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failed(&args, &asked)),
        }
    }

    /// One transaction with the expected old value.
    fn swap(&self, from: CommitId, to: CommitId, message: &str) -> Result<Result<(), Unmoved>, GitError> {
        let target = &self.settings.target;
        let transaction = format!("start\nupdate {target} {to} {from}\nprepare\ncommit\n");
        let args: Vec<&str> = DURABLE.into_iter().chain(["update-ref", "-m", message, "--stdin"]).collect();
        crash::point!("target.swap.before");
        let swapped = self.repository.output(&args, Some(transaction.as_bytes()))?;
        crash::point!("target.swap.after");
        if swapped.status.success() {
            return Ok(Ok(()));
        }
        match self.current_target() {
            Ok(now) if now != from => Ok(Err(Unmoved::Elsewhere { from, now })),
            Ok(_) => {
                let why = self.repository.why_failed(&swapped);
                Ok(Err(Unmoved::Refused(LandRefusal::TargetLocked { target: target.clone(), why })))
            }
            Err(LandRefusal::Git(error)) => Err(error),
            Err(gone) => Ok(Err(Unmoved::Refused(gone))),
        }
    }

    /// The target is at `now`. Where that holds what it was at before, work was added to it and the
    /// run goes on from there; where not, something was taken back, and to go on would bring it in
    /// again. Its checkouts, which were at `from` with it, must have followed: what is left behind
    /// there takes back what was added, and a landing on top would leave it so.
    fn must_have_grown(&self, from: CommitId, now: CommitId) -> Result<(), LandRefusal> {
        if !self.is_ancestor(from, now)? {
            return Err(LandRefusal::TargetRewound {
                target: self.settings.target.clone(),
                now,
                lacks: from,
                run: self.settings.run.clone(),
            });
        }
        self.checkouts()?.iter().try_for_each(|checkout| checkout.must_have_followed(from, now))
    }

    fn followed(&self, from: CommitId, now: CommitId) -> Result<LandOutcome, LandRefusal> {
        self.must_have_grown(from, now)?;
        Ok(LandOutcome::TargetMoved { to: now })
    }

    /// What it means that the local target did not move depends on whether the remote's did.
    fn unmoved(&self, to: CommitId, unmoved: Unmoved) -> Result<LandOutcome, LandRefusal> {
        match (&self.remote, unmoved) {
            (None, Unmoved::Elsewhere { from, now }) => self.followed(from, now),
            (None, Unmoved::Refused(refusal)) => Err(refusal),
            (Some(remote), unmoved) => Err(self.on_remote_only(remote, to, unmoved.to_string())),
        }
    }

    fn on_remote_only(&self, remote: &Remote, landed: CommitId, why: String) -> LandRefusal {
        let (remote, target) = (remote.name.clone(), self.settings.target.clone());
        LandRefusal::LandedOnRemoteOnly { remote, target, landed, why }
    }

    /// Checkouts were free for it a moment ago. Should one not follow all the same (a filter that
    /// fails, a full disk), all goes back, but for what was pushed.
    fn move_along(&self, checkouts: &[Held<'_>], from: CommitId, to: CommitId) -> Result<(), LandRefusal> {
        for (at, checkout) in checkouts.iter().enumerate() {
            let Err(error) = checkout.move_along(from, to) else { continue };
            checkout.put_back(from, to)?;
            for moved in &checkouts[..at] {
                moved.move_along(to, from)?;
            }
            let mut why = error.to_string();
            if let Err(unmoved) = self.swap(to, from, "lexpr: take back a landing that a checkout could not follow")? {
                why = format!("{why}; the landing could not be taken back: {unmoved}");
            }
            let refusal = self.cannot_move_along(checkout, why);
            return Err(match &self.remote {
                None => refusal,
                Some(remote) => self.on_remote_only(remote, to, refusal.to_string()),
            });
        }
        Ok(())
    }

    fn cannot_move_along(&self, checkout: &Held<'_>, why: String) -> LandRefusal {
        LandRefusal::CannotMoveAlong { target: self.settings.target.clone(), worktree: checkout.path().to_owned(), why }
    }
}

const SIGNING: [&str; 4] = ["config", "--type=bool", "--get", "commit.gpgSign"];

/// Whether the user's configuration asks for signed commits.
///
/// # Errors
/// Where git fails.
pub fn signing_is_asked_for(repository: &Git) -> Result<bool, GitError> {
    is_asked_for(&repository.output(&SIGNING, None)?)
}

/// Told by `git config`.
fn is_asked_for(signing: &Output) -> Result<bool, GitError> {
    match signing.status.code() {
        Some(0) => Ok(signing.stdout.starts_with(b"true")),
        // Not set.
        Some(1) => Ok(false),
        _ => Err(failed(&SIGNING, signing)),
    }
}

/// Why the local target is not where it should be.
#[derive(Debug, thiserror::Error)]
enum Unmoved {
    #[error("somebody moved it to {now}")]
    Elsewhere { from: CommitId, now: CommitId },
    #[error(transparent)]
    Refused(LandRefusal),
}

/// As they are told.
fn paths(checkouts: &[Checkout]) -> Vec<String> {
    checkouts.iter().map(|checkout| checkout.path.display().to_string()).collect()
}

/// The reflog's line.
fn message(items: usize) -> String {
    let s = if items == 1 { "" } else { "s" };
    format!("lexpr: land {items} item{s}")
}
