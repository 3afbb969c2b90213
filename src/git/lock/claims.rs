//! What urgent runs claim of a target: a lock file for each run and claim, had by the run's process alone
//! and gone with it, however it ends. Who is to give way looks for those that are had.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{LockError, RunLock, file_name, folder_of, io as failed, is_held, outwait_the_dead, process_in, take_file};
use crate::crash;
use crate::ports::Claim;
use crate::vocabulary::names::RunId;

/// A claim, until it is dropped or the process ends.
#[derive(Debug)]
pub struct ClaimLock {
    path: PathBuf,
    _lock: RunLock,
}

impl Drop for ClaimLock {
    fn drop(&mut self) {
        // While it is locked: nobody else comes for this name. One that stays is had by nobody.
        let _ = fs::remove_file(&self.path);
        crash::point!("claim.given-back");
    }
}

impl ClaimLock {
    /// Takes the lock `<common_dir>/lexpr/locks/<target>+<claim>-<run>.lock`.
    ///
    /// # Errors
    /// An I/O error where the folder cannot be written; [`LockError::Held`] where another process works at this run.
    pub fn acquire(common_dir: &Path, target: &str, run: &RunId, claim: Claim) -> Result<Self, LockError> {
        let folder = folder_of(common_dir);
        fs::create_dir_all(&folder).map_err(failed("making", &folder))?;
        let path = path_of(common_dir, target, run, claim);
        let named = || process_in(&fs::read_to_string(&path).ok()?);
        match outwait_the_dead(named, || take_file(&path)).map_err(failed("locking", &path))? {
            Some(file) => {
                let claimed = Self { _lock: RunLock::held(file, &path, run, "is about to land")?, path };
                crash::point!("claim.taken");
                Ok(claimed)
            }
            None => Err(LockError::Held { holder: format!("run {run}"), target: target.to_owned(), path }),
        }
    }
}

/// Removes what a process that was killed left of the run's claims. For who works at the run, and has none of them.
pub fn forget_claims(common_dir: &Path, target: &str, run: &RunId) {
    for claim in [Claim::Proving, Claim::Overtaken] {
        // As a rule there is none; one that stays is had by nobody.
        let _ = fs::remove_file(path_of(common_dir, target, run, claim));
    }
}

fn path_of(common_dir: &Path, target: &str, run: &RunId, claim: Claim) -> PathBuf {
    folder_of(common_dir).join(format!("{}{run}.lock", prefix(target, claim)))
}

/// Somebody who has a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claimant {
    pub run: RunId,
    path: PathBuf,
}

impl Claimant {
    /// Whether they still have it.
    pub fn is_there(&self) -> bool {
        is_held(&self.path)
    }

    /// For example `run 20260101-120000-abcd (process 4711) is about to land`.
    pub fn in_words(&self) -> String {
        let mut said = String::new();
        // Empty for a moment, or gone by now.
        let _ = File::open(&self.path).and_then(|mut file| file.read_to_string(&mut said));
        match said.trim() {
            "" => format!("run {} is about to land", self.run),
            said => said.to_owned(),
        }
    }
}

/// Those who have such a claim on a target now, by run, the one that began first before the others.
///
/// # Errors
/// Where the folder of locks cannot be read.
pub fn claimants(common_dir: &Path, target: &str, claim: Claim) -> io::Result<Vec<Claimant>> {
    let entries = match fs::read_dir(folder_of(common_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let prefix = prefix(target, claim);
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".lock"));
        if let Some(run) = run {
            found.push(Claimant { run: RunId::new(run), path: entry.path() });
        }
    }
    found.retain(Claimant::is_there);
    found.sort();
    Ok(found)
}

/// No target's name makes a file name with a `+`.
fn prefix(target: &str, claim: Claim) -> String {
    let claim = match claim {
        Claim::Proving => "urgent",
        Claim::Overtaken => "overtaken",
    };
    format!("{}+{claim}-", file_name(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "refs/heads/main";

    #[test]
    fn a_claim_is_seen_by_target_and_kind_in_the_order_in_which_runs_began_and_goes_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let seen = |target, claim| -> Vec<String> {
            claimants(dir.path(), target, claim).unwrap().into_iter().map(|claimant| claimant.run.to_string()).collect()
        };
        assert!(seen(TARGET, Claim::Proving).is_empty(), "not even the folder is there");
        let [first, second] = ["20260101-000000-000-aaaa", "20260101-000001-000-aaaa"].map(RunId::new);
        let later = ClaimLock::acquire(dir.path(), TARGET, &second, Claim::Proving).unwrap();
        let _earlier = ClaimLock::acquire(dir.path(), TARGET, &first, Claim::Proving).unwrap();
        assert_eq!(seen(TARGET, Claim::Proving), [first.as_str(), second.as_str()]);
        assert!(seen(TARGET, Claim::Overtaken).is_empty() && seen("refs/heads/mai", Claim::Proving).is_empty());
        let claimant = claimants(dir.path(), TARGET, Claim::Proving).unwrap().remove(1);
        let process = std::process::id();
        assert_eq!(claimant.in_words(), format!("run {second} (process {process}) is about to land"));
        drop(later);
        assert!(!claimant.is_there() && !claimant.path.exists());
        assert_eq!(seen(TARGET, Claim::Proving), [first.as_str()]);
    }

    #[test]
    fn what_a_dead_process_left_of_a_claim_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunId::new("20260101-000000-000-aaaa");
        drop(ClaimLock::acquire(dir.path(), TARGET, &run, Claim::Proving).unwrap());
        let path = folder_of(dir.path()).join("refs%2fheads%2fmain+urgent-20260101-000000-000-aaaa.lock");
        assert_eq!(path, path_of(dir.path(), TARGET, &run, Claim::Proving));
        fs::write(&path, "run dead (process 1) is about to land\n").unwrap();
        assert!(claimants(dir.path(), TARGET, Claim::Proving).unwrap().is_empty());
        assert_eq!(crate::git::lock::unheld(dir.path()).unwrap(), std::slice::from_ref(&path));
        // Nor the same run, when it is resumed.
        let held = ClaimLock::acquire(dir.path(), TARGET, &run, Claim::Proving).unwrap();
        assert_eq!(claimants(dir.path(), TARGET, Claim::Proving).unwrap().len(), 1);
        drop(held);
        fs::write(&path, "run dead (process 1) is about to land\n").unwrap();
        forget_claims(dir.path(), TARGET, &run);
        assert!(!path.exists());
    }
}
