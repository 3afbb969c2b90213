//! What a step says beside what its gate prints, and whether it says anything at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::gate::elsewhere::Errand;
use crate::gate::elsewhere::account::{Account, nonce};

/// What a step says beside what its gate prints.
pub(super) struct Files {
    pub(super) account: PathBuf,
    pub(super) engine: PathBuf,
}

impl Files {
    pub(super) fn beside(log: &Path) -> Self {
        let beside = |what: &str| {
            let mut path = log.as_os_str().to_owned();
            path.push(what);
            PathBuf::from(path)
        };
        let files = Self { account: beside(".account"), engine: beside(".srun") };
        files.remove();
        files
    }

    pub(super) fn account(&self, errand: &Errand) -> Account {
        let text = std::fs::read(&self.account).unwrap_or_default();
        Account::read(&text, &nonce(&errand.ticket, errand.commit))
    }

    /// What srun itself says; not that the worker failed, which the worker says.
    pub(super) fn engine(&self) -> Vec<String> {
        let text = std::fs::read(&self.engine).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("Exited with exit code"));
        lines.map(str::to_owned).collect()
    }

    pub(super) fn remove(&self) {
        // Where they are not there, or stay, nothing depends on it.
        let _ = std::fs::remove_file(&self.account);
        let _ = std::fs::remove_file(&self.engine);
    }
}

/// For how long nothing was heard of a worker.
#[derive(Debug, Default)]
pub(super) struct Silence {
    heard_bytes: u64,
    pub(super) lasts: Duration,
}

impl Silence {
    /// Counted in looks, and not by the clock: a lexpr that is stopped hears nothing either.
    pub(super) fn look(&mut self, files: &Files, after: Duration) {
        let bytes = std::fs::metadata(&files.account).map_or(0, |account| account.len());
        self.lasts = if bytes == self.heard_bytes { self.lasts + after } else { Duration::ZERO };
        self.heard_bytes = bytes;
    }
}
