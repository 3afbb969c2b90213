//! Bringing a composite's objects from the quarantine into the user's own object store, just
//! before a landing: until then nothing lexpr made is in the user's repository.
//!
//! One pack, written and synced by git. Then the walk `git fetch` makes before it moves a ref:
//! all that the new commits reach is there, without the quarantine's help. (`index-pack
//! --strict` would not do: it checks the form of what is in the pack, refuses old histories for
//! slips that git itself only warns about, and stops at the pack's edge.)

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::thread;

use super::command::{DURABLE, Git, GitError, failed, shown};
use super::keeps::{self, Keep};
use crate::vocabulary::names::{CommitId, RunId};

/// A `git prune` in the user's repository removes the file that git is just writing a pack to, too.
const MOST_ATTEMPTS: u32 = 3;

/// `PACK`, a version and the number of objects, four bytes each.
const PACK_HEADER: usize = 12;

/// Makes `wanted` and all it reaches part of `into`; what `present` reaches is there already.
/// Does it again without harm. What came stays until the keep is dropped, whatever `git gc` does;
/// by then a ref must hold it.
///
/// # Errors
/// Where git fails, or where, after all, something that `wanted` reaches is missing in `into`.
pub fn bring(
    quarantine: &Git,
    into: &Git,
    wanted: CommitId,
    present: &[CommitId],
    run: &RunId,
) -> Result<Option<Keep>, GitError> {
    let mut revisions = format!("{wanted}\n");
    for commit in present {
        revisions.push_str(&format!("^{commit}\n"));
    }
    let folder = pack_folder(into)?;
    let mut attempt = 1;
    let hash = loop {
        match pack_over(quarantine, into, &revisions, run) {
            Ok(hash) => break hash,
            Err(_) if attempt < MOST_ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    };
    let keep = hash.map(|hash| Keep::of(&folder, &hash));
    sync_pack_folder(&folder)?;
    into.run_with_input(["rev-list", "--objects", "--quiet", "--stdin"], revisions.as_bytes())?;
    Ok(keep)
}

/// `git pack-objects` there into `git index-pack` here, unless the pack is empty. The hash of the
/// pack where a `.keep` file was made for it.
fn pack_over(from: &Git, into: &Git, revisions: &str, run: &RunId) -> Result<Option<String>, GitError> {
    // --delta-base-offset: smaller, and read by every git that can read the rest.
    let pack_args = ["pack-objects", "--revs", "--stdout", "--delta-base-offset", "-q"];
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
        let packed = scope.spawn(move || packer.wait_with_output());
        let indexed = pack.map_or(Ok(None), |pack| index(into, pack, run));
        (packed.join(), indexed)
    });
    let packed = packed.map_err(|_| unreadable(&pack_args, "its reader stopped"))?.map_err(GitError::NotStarted)?;
    match indexed? {
        // A packer that failed by itself cut the pack short; one that a signal ended lost its reader.
        Some(indexed) if !indexed.status.success() && (packed.status.success() || packed.status.code().is_none()) => {
            Err(failed(&["index-pack", "--stdin"], &indexed))
        }
        indexed if packed.status.success() => Ok(indexed.and_then(|indexed| kept(&indexed.stdout))),
        _ => Err(failed(&pack_args, &packed)),
    }
}

/// `keep<tab><hash>`; `pack<tab><hash>` where there was a `.keep` file already (git-index-pack(1)).
fn kept(answer: &[u8]) -> Option<String> {
    let answer = std::str::from_utf8(answer).ok()?;
    answer.trim().strip_prefix("keep\t").map(str::to_owned)
}

/// `None` where the pack is empty: git would keep it all the same.
fn index(into: &Git, mut pack: impl Read + Send, run: &RunId) -> Result<Option<Output>, GitError> {
    let mut header = [0; PACK_HEADER];
    if pack.read_exact(&mut header).is_err() || header[8..] == [0; 4] {
        // Let the packer end by itself; it says what went wrong, if anything did.
        let _ = std::io::copy(&mut pack, &mut std::io::sink());
        return Ok(None);
    }
    let mut indexer = into.command();
    let keep = format!("--keep={}", keeps::note(run));
    indexer.args(DURABLE).args(["index-pack", "--stdin", &keep]);
    indexer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut indexer: Child = indexer.spawn().map_err(GitError::NotStarted)?;
    let stdin = indexer.stdin.take();
    thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A pack cut short is refused by its checksum.
                let _ = stdin.write_all(&header).and_then(|()| std::io::copy(&mut pack, &mut stdin));
            }
        });
        indexer.wait_with_output().map(Some).map_err(GitError::NotStarted)
    })
}

fn pack_folder(repository: &Git) -> Result<PathBuf, GitError> {
    // Relative to the folder git runs in, unless it is absolute.
    Ok(repository.git_dir().join(repository.line(["rev-parse", "--git-path", "objects/pack"])?))
}

/// git syncs the pack's content; its name is the folder's.
fn sync_pack_folder(folder: &Path) -> Result<(), GitError> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(GitError::io("syncing", folder)(error)),
        _ => Ok(()),
    }
}

fn unreadable(args: &[&str], why: &str) -> GitError {
    GitError::Unreadable { command: shown(args), why: why.to_owned() }
}
