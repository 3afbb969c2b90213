//! Bringing a composite's objects from the quarantine into the user's own object store, just
//! before a landing: until then nothing lexpr made is in the user's repository.
//!
//! One pack, checked, indexed and synced by git beside the store, so that a crash leaves nothing half written
//! in it, and moved there. Then the walk `git fetch` makes before it moves a ref:
//! all that the new commits reach is there, without the quarantine's help. (`index-pack
//! --strict` would not do: it checks the form of what is in the pack, refuses old histories for
//! slips that git itself only warns about, and stops at the pack's edge.)

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use gix::objs::Exists;
use gix::odb;

use super::command::{DURABLE, Git, GitError, shown};
use super::keeps::{self, Keep};
use super::objects::{ObjectStore, Objects, from_commit};
use super::slot::quoted;
use super::{new_objects, pack};
use crate::crash;
use crate::vocabulary::names::{CommitId, RunId};

/// `PACK`, a version and the number of objects, four bytes each.
const PACK_HEADER: usize = 12;

/// Decoded trees that are kept hold no more entries: the next landing looks at few of the last one's.
const MOST_ENTRIES: usize = 12_000;

/// As it is told.
const INDEX_PACK: [&str; 2] = ["index-pack", "--stdin"];

/// A repository and where it keeps its objects.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    pub git: &'a Git,
    pub objects: &'a Path,
}

/// The quarantine that composites are made in.
#[derive(Debug)]
pub struct Origin {
    git: Git,
    /// Opened no later than with the first landing.
    objects: Mutex<Option<Objects>>,
}

impl Origin {
    /// `made`: what is in it, where it is open already.
    pub fn new(git: Git, made: Option<&ObjectStore>) -> Self {
        Self { git, objects: Mutex::new(made.map(|made| made.objects().keeping(MOST_ENTRIES))) }
    }

    /// Whole objects as a pack, which saves a process that would find few deltas among them. `None` where they
    /// are many, or cannot be read: git looks for deltas, and has the words for what is wrong.
    fn small_pack(&self, store: &Path, wanted: CommitId, present: &[CommitId]) -> Option<Vec<u8>> {
        // What a panic left can be used: all that is remembered is what was read.
        let mut opened = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.is_none() {
            *opened = Some(Objects::open(self.git.git_dir()).ok()?.keeping(MOST_ENTRIES));
        }
        let objects = opened.as_mut()?;
        let hash = objects.hash();
        let mut store = odb::at(store, hash).ok()?;
        store.refresh_never();
        let present = present.iter().copied().map(from_commit).collect();
        let new = new_objects::reached(objects, from_commit(wanted), &present, |id| store.exists(&id));
        pack::bytes(&new.ok()??, hash).ok()
    }
}

/// Makes `wanted` and all it reaches part of `into`; what `present` reaches is there already.
/// Does it again without harm. What came stays until the keep is dropped, whatever `git gc` does;
/// by then a ref must hold it.
///
/// # Errors
/// Where git fails, or where, after all, something that `wanted` reaches is missing in `into`.
pub fn bring(
    quarantine: &Origin,
    into: Store<'_>,
    wanted: CommitId,
    present: &[CommitId],
    run: &RunId,
) -> Result<Option<Keep>, GitError> {
    let mut revisions = format!("{wanted}\n");
    for commit in present {
        revisions.push_str(&format!("^{commit}\n"));
    }
    crash::point!("objects.migrate.before");
    let Store { git: into, objects } = into;
    // One for each landing; what a crash leaves goes with the quarantine.
    let incoming = tempfile::Builder::new()
        .prefix("incoming-")
        .tempdir_in(quarantine.git.git_dir())
        .map_err(GitError::io("making a folder in", quarantine.git.git_dir()))?;
    let incoming = incoming.path();
    let to = Incoming { objects, folder: incoming, run };
    let hash = match quarantine.small_pack(objects, wanted, present) {
        Some(pack) => pack_over(into, &to, &pack)?,
        None => pack_over_by_git(&quarantine.git, into, &to, &revisions)?,
    };
    crash::point!("objects.migrate.packed");
    let keep = hash.map(|hash| Keep::of(&objects.join("pack"), &hash));
    take_in(&incoming.join("pack"), &objects.join("pack"))?;
    into.run_with_input(["rev-list", "--objects", "--quiet", "--stdin"], revisions.as_bytes())?;
    crash::point!("objects.migrate.after");
    Ok(keep)
}

/// Where a pack is made, and for what.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    /// The store it is for.
    objects: &'a Path,
    /// Where it is written, out of reach of whoever prunes the store.
    folder: &'a Path,
    run: &'a RunId,
}

impl Incoming<'_> {
    /// It writes here, whatever it indexes for.
    fn unindexed(&self, into: &Git, indexed: &Output) -> GitError {
        into.at(self.folder).failed(&INDEX_PACK, indexed)
    }
}

fn pack_over(into: &Git, incoming: &Incoming<'_>, pack: &[u8]) -> Result<Option<String>, GitError> {
    match index(into, incoming, pack)? {
        Some(indexed) if !indexed.status.success() => Err(incoming.unindexed(into, &indexed)),
        indexed => Ok(indexed.and_then(|indexed| kept(&indexed.stdout))),
    }
}

/// `git pack-objects` there into `git index-pack` here, unless the pack is empty. The hash of the
/// pack where a `.keep` file was made for it.
fn pack_over_by_git(
    from: &Git,
    into: &Git,
    incoming: &Incoming<'_>,
    revisions: &str,
) -> Result<Option<String>, GitError> {
    // --local: what the store has itself, such as the heads, is not copied; the walk that follows sees
    // that it is there. --delta-base-offset: smaller, and read by every git that can read the rest.
    // One thread: the same objects give the same pack, which is then there already.
    let pack_args =
        ["-c", "pack.threads=1", "pack-objects", "--revs", "--local", "--stdout", "--delta-base-offset", "-q"];
    let mut packer = from.command();
    packer.args(pack_args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut packer = packer.spawn().map_err(GitError::NotStarted)?;
    if let Some(mut stdin) = packer.stdin.take() {
        // It reads all before it writes anything. One that stops early says why on stderr.
        let _ = stdin.write_all(revisions.as_bytes());
    }
    let pack = packer.stdout.take();
    let (packed, indexed) = thread::scope(|scope| {
        // What the packer says is read on a thread of its own, or it could wait for a full pipe.
        let packed = thread::Builder::new().spawn_scoped(scope, move || packer.wait_with_output());
        let packed = packed.map_err(GitError::NotStarted)?;
        let indexed = pack.map_or(Ok(None), |pack| index(into, incoming, pack));
        Ok::<_, GitError>((packed.join(), indexed))
    })?;
    let packed = packed.map_err(|_| unreadable(&pack_args, "its reader stopped"))?.map_err(GitError::NotStarted)?;
    match indexed? {
        // A packer that failed by itself cut the pack short; one that a signal ended lost its reader.
        Some(indexed) if !indexed.status.success() && (packed.status.success() || packed.status.code().is_none()) => {
            Err(incoming.unindexed(into, &indexed))
        }
        indexed if packed.status.success() => Ok(indexed.and_then(|indexed| kept(&indexed.stdout))),
        _ => Err(from.failed(&pack_args, &packed)),
    }
}

/// `keep<tab><hash>`; `pack<tab><hash>` where there was a `.keep` file already (git-index-pack(1)).
fn kept(answer: &[u8]) -> Option<String> {
    let answer = std::str::from_utf8(answer).ok()?;
    answer.trim().strip_prefix("keep\t").map(str::to_owned)
}

/// `None` where the pack is empty: git would keep it all the same.
fn index(into: &Git, incoming: &Incoming<'_>, mut pack: impl Read + Send) -> Result<Option<Output>, GitError> {
    let mut header = [0; PACK_HEADER];
    if pack.read_exact(&mut header).is_err() || header[8..] == [0; 4] {
        // Let the packer end by itself; it says what went wrong, if anything did.
        let _ = std::io::copy(&mut pack, &mut std::io::sink());
        return Ok(None);
    }
    let folder = incoming.folder.join("pack");
    fs::create_dir_all(&folder).map_err(GitError::io("creating", &folder))?;
    let mut indexer = into.command();
    indexer
        .env("GIT_OBJECT_DIRECTORY", incoming.folder)
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", OsString::from_vec(quoted(incoming.objects)));
    let keep = format!("--keep={}", keeps::note(incoming.run));
    indexer
        .args(DURABLE)
        .args(["index-pack", "--stdin", &keep])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut indexer: Child = indexer.spawn().map_err(GitError::NotStarted)?;
    let stdin = indexer.stdin.take();
    crash::point!("objects.migrate.under-way");
    thread::scope(|scope| {
        let feeding = thread::Builder::new().spawn_scoped(scope, move || {
            if let Some(mut stdin) = stdin {
                // A pack cut short is refused by its checksum.
                let _ = stdin.write_all(&header).and_then(|()| std::io::copy(&mut pack, &mut stdin));
            }
        });
        // Without a thread it is given nothing, and ends.
        let output = indexer.wait_with_output();
        feeding.and(output).map(Some).map_err(GitError::NotStarted)
    })
}

/// Moves the files of packs: what keeps them from being pruned first, then those without which an
/// index is none (as git does it). git has synced what is in them; their names are the folder's.
fn take_in(from: &Path, to: &Path) -> Result<(), GitError> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(GitError::io("reading", from))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(PathBuf::from(entry.map_err(GitError::io("reading", from))?.file_name()));
    }
    fs::create_dir_all(to).map_err(GitError::io("creating", to))?;
    let rank = |name: &PathBuf| match name.extension().and_then(OsStr::to_str) {
        Some("keep") => 0,
        Some("idx") => 2,
        _ => 1,
    };
    names.sort_by_key(rank);
    for name in names {
        let (source, destination) = (from.join(&name), to.join(&name));
        match fs::rename(&source, &destination) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => copy_in(&source, &destination),
            moved => moved,
        }
        .map_err(GitError::io("writing", &destination))?;
        crash::point!("objects.migrate.moved");
    }
    File::open(to).and_then(|folder| folder.sync_all()).map_err(GitError::io("syncing", to))
}

/// Where the store is on another file system than the repository.
fn copy_in(source: &Path, destination: &Path) -> std::io::Result<()> {
    // git takes what begins so for garbage once it is old.
    let beside = destination.with_file_name(format!("tmp_{}", destination.file_name().unwrap_or_default().display()));
    fs::copy(source, &beside)?;
    File::open(&beside)?.sync_all()?;
    fs::rename(&beside, destination)?;
    fs::remove_file(source)
}

fn unreadable(args: &[&str], why: &str) -> GitError {
    GitError::Unreadable { command: shown(args), why: why.to_owned() }
}
