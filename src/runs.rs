//! The folders that runs leave behind: `<git common dir>/lexpr/runs/<id>/`, each with a journal,
//! a copy of the plan, logs, artifacts and receipts.

use std::convert::Infallible;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::crash;
use crate::git::lock;
use crate::vocabulary::names::RunId;

#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    #[error("{doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("no run is kept in this repository")]
    None,
    #[error("no run begins with {prefix:?}; the newest is {newest}")]
    Unknown { prefix: String, newest: RunId },
    #[error("several runs begin with {prefix:?}, the newest first:\n{}", newest(.runs))]
    Ambiguous {
        prefix: String,
        /// Oldest first.
        runs: Vec<String>,
    },
}

/// A run's folder is ours until this is dropped, or until the process ends, however it does.
#[derive(Debug)]
pub struct Hold {
    folder: File,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A process that is just being started holds a copy of the descriptor until it execs.
        let _ = self.folder.unlock();
    }
}

/// Between looks at a folder that is just being removed, which takes less.
const BEING_REMOVED: Duration = Duration::from_millis(2);

/// The file that names the process of a run whose target's lock does not.
const PROCESS: &str = "process";

/// How many of the runs that were meant, perhaps, a message lists.
const RUNS_LISTED: usize = 10;

/// One a line.
fn newest(runs: &[String]) -> String {
    let mut lines: Vec<String> = runs.iter().rev().take(RUNS_LISTED).cloned().collect();
    if let more @ 1.. = runs.len().saturating_sub(RUNS_LISTED) {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// One run's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    pub id: RunId,
    pub path: PathBuf,
}

impl RunFolder {
    /// Makes the folder of a new run, with an id from [`fresh_id`], and holds it.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(common_dir: &Path, id: RunId) -> Result<(Self, Hold), RunsError> {
        let runs = runs_dir(common_dir);
        std::fs::create_dir_all(&runs).map_err(io("making", &runs))?;
        let folder = Self { path: runs.join(id.as_str()), id };
        loop {
            std::fs::create_dir(&folder.path).map_err(io("making", &folder.path))?;
            if let Some(hold) = folder.hold()? {
                return Ok((folder, hold));
            }
            // In the moment before it was held it was taken for one that a dead run left.
            while folder.path.exists() {
                std::thread::sleep(BEING_REMOVED);
            }
        }
    }

    /// By which processes that were started for the run are known: its id, and the folder itself, so that a
    /// copy of the repository has nothing to do with them.
    pub fn mark(&self) -> String {
        let place = std::fs::metadata(&self.path).map_or((0, 0), |folder| (folder.dev(), folder.ino()));
        format!("{}@{:x}.{:x}", self.id, place.0, place.1)
    }

    /// Keeps every other process from working on this run; `None` where another one is at it, or
    /// has removed it.
    ///
    /// # Errors
    /// Where the folder cannot be opened or locked.
    pub fn hold(&self) -> Result<Option<Hold>, RunsError> {
        let take = || lock::take_folder(&self.path);
        let folder = lock::outwait_the_dead(|| self.process(), take).map_err(io("locking", &self.path))?;
        Ok(folder.map(|folder| Hold { folder }))
    }

    /// Whether a process works on this run. Changes nothing.
    pub fn is_held(&self) -> bool {
        let is_free = || Ok::<_, Infallible>((!lock::is_held(&self.path)).then_some(()));
        matches!(lock::outwait_the_dead(|| self.process(), is_free), Ok(None))
    }

    /// Says which process works on the run, for messages alone: one that is gone has left it, too.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn name_process(&self, _hold: &Hold) -> Result<(), RunsError> {
        let path = self.path.join(PROCESS);
        std::fs::write(&path, format!("{}\n", std::process::id())).map_err(io("writing", &path))?;
        crash::point!("run.process-named");
        Ok(())
    }

    /// What [`RunFolder::name_process`] said last.
    pub fn process(&self) -> Option<u32> {
        std::fs::read_to_string(self.path.join(PROCESS)).ok()?.trim().parse().ok()
    }

    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// The plan as it was read.
    pub fn plan(&self) -> PathBuf {
        self.path.join("plan.yaml")
    }

    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    pub fn receipts(&self) -> PathBuf {
        self.path.join("receipts")
    }

    /// Makes it a run no more: what is left is a folder without a journal, which nobody reads.
    ///
    /// # Errors
    /// Where the journal cannot be removed.
    pub fn forget(&self, _hold: &Hold) -> Result<(), RunsError> {
        match std::fs::remove_file(self.journal()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io("removing", &self.journal())(error)),
            _ => Ok(()),
        }
    }

    /// Removes the folder with all that is in it.
    ///
    /// # Errors
    /// Where something in it cannot be removed.
    pub fn remove(&self, _hold: &Hold) -> Result<(), RunsError> {
        std::fs::remove_dir_all(&self.path).map_err(io("removing", &self.path))
    }

    /// The repository in which the run's composites are made.
    pub fn quarantine(&self) -> PathBuf {
        self.path.join("composites.git")
    }
}

/// The newest run, or the one whose id begins with `prefix`.
///
/// # Errors
/// Where there is none, or more than one.
pub fn find(common_dir: &Path, prefix: Option<&str>) -> Result<RunFolder, RunsError> {
    let mut runs = list(common_dir)?;
    let newest = runs.last().cloned().ok_or(RunsError::None)?;
    let Some(prefix) = prefix else {
        return Ok(newest);
    };
    // Every id begins with nothing, which is what a variable holds that was never set.
    runs.retain(|run| !prefix.is_empty() && run.id.as_str().starts_with(prefix));
    match runs.len() {
        0 => Err(RunsError::Unknown { prefix: prefix.to_owned(), newest: newest.id }),
        1 => Ok(runs.remove(0)),
        _ => Err(RunsError::Ambiguous {
            prefix: prefix.to_owned(),
            runs: runs.iter().map(|run| run.id.to_string()).collect(),
        }),
    }
}

/// All runs that have a journal, oldest first.
///
/// # Errors
/// Where their folder cannot be read.
pub fn list(common_dir: &Path) -> Result<Vec<RunFolder>, RunsError> {
    let mut runs = folders(common_dir)?;
    runs.retain(|run| run.journal().is_file());
    Ok(runs)
}

/// All folders of runs, those of runs that never began included, oldest first.
///
/// # Errors
/// Where they cannot be read.
pub fn folders(common_dir: &Path) -> Result<Vec<RunFolder>, RunsError> {
    let path = runs_dir(common_dir);
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("reading", &path)(error)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io("reading", &path))?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(name) = entry.file_name().to_str().filter(|_| is_folder) {
            runs.push(RunFolder { id: RunId::new(name), path: entry.path() });
        }
    }
    runs.sort_by(|left, right| left.id.cmp(&right.id));
    Ok(runs)
}

/// What `path` and all that is in it take up on the disk, in bytes; what cannot be looked at counts
/// as nothing. A file of several names counts for each of them.
pub fn disk_usage(path: &Path) -> u64 {
    // In units of 512 bytes, whatever the file system's own are (stat(2)).
    const BLOCK: u64 = 512;
    let mut used = 0;
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        used += meta.blocks() * BLOCK;
        if meta.is_dir() {
            open.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    used
}

/// Keeps other processes from making room at the same time; `None` where one is at it.
///
/// # Errors
/// Where lexpr's folder cannot be opened or locked.
pub fn hold_all(common_dir: &Path) -> Result<Option<Hold>, RunsError> {
    let path = common_dir.join("lexpr");
    let hold = || {
        let folder = File::open(&path)?;
        Ok(lock::try_alone(&folder)?.then_some(Hold { folder }))
    };
    hold().map_err(io("locking", &path))
}

fn runs_dir(common_dir: &Path) -> PathBuf {
    common_dir.join("lexpr").join("runs")
}

/// `YYYYMMDD-HHMMSS-mmm-xxxx` in UTC: sorts by time, and the tail keeps two runs apart that begin
/// in the same millisecond.
pub fn fresh_id() -> RunId {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let tail = RandomState::new().build_hasher().finish() & 0xffff;
    RunId::new(format!("{}-{:03}-{tail:04x}", now.strftime("%Y%m%d-%H%M%S"), now.millisecond()))
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RunsError {
    let path = path.to_owned();
    move |source| RunsError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_journal(common_dir: &Path) -> RunFolder {
        let (run, _) = RunFolder::create(common_dir, fresh_id()).unwrap();
        std::fs::write(run.journal(), "").unwrap();
        run
    }

    #[test]
    fn the_newest_run_is_found_and_any_other_by_the_beginning_of_its_id() {
        let common_dir = tempfile::tempdir().unwrap();
        assert!(matches!(find(common_dir.path(), None), Err(RunsError::None)));
        let mut runs = [with_journal(common_dir.path()), with_journal(common_dir.path())];
        runs.sort_by(|left, right| left.id.cmp(&right.id));
        assert_eq!(find(common_dir.path(), None).unwrap(), runs[1]);
        assert_eq!(find(common_dir.path(), Some(runs[0].id.as_str())).unwrap(), runs[0]);
        assert!(matches!(find(common_dir.path(), Some("2")), Err(RunsError::Ambiguous { .. })));
        assert!(matches!(find(common_dir.path(), Some("x")), Err(RunsError::Unknown { .. })));
        runs[0].forget(&runs[0].hold().unwrap().unwrap()).unwrap();
        assert!(matches!(find(common_dir.path(), Some("")), Err(RunsError::Unknown { .. })), "of one run, too");
    }

    #[test]
    fn of_many_runs_that_may_be_meant_the_newest_are_listed() {
        let runs: Vec<String> = (0..12).map(|run| format!("run-{run:02}")).collect();
        let text = RunsError::Ambiguous { prefix: "run".to_owned(), runs: runs.clone() }.to_string();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!((lines.len(), lines[0], lines[9], lines[10]), (11, "run-11", "run-02", "and 2 more"), "{text}");
        assert_eq!(newest(&runs[..2]), "run-01\nrun-00");
    }

    #[test]
    fn a_folder_without_a_journal_is_no_run() {
        let common_dir = tempfile::tempdir().unwrap();
        RunFolder::create(common_dir.path(), fresh_id()).unwrap();
        assert!(matches!(find(common_dir.path(), None), Err(RunsError::None)));
    }
}
