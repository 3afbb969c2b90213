//! What came of asking, over all runs of a repository: a small file that each run adds to when it
//! ends. A hint and no more: what cannot be read counts as nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(super) const FILE: &str = "totals.json";

/// The file has some 200 bytes; whatever else it may be is not read.
const MOST_BYTES: u64 = 4096;

/// Counted since the folder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    pub hits: u64,
    pub misses: u64,
    pub sets: u64,
    pub deletes: u64,
    pub evictions: u64,
    /// That of the newest run, in bytes; 0 before the first.
    pub limit_bytes: u64,
}

impl Totals {
    /// `None` where nothing was asked.
    pub fn hit_rate(&self) -> Option<f64> {
        super::hit_rate(self.hits, self.misses)
    }

    /// Of the runs that ended until now.
    pub(super) fn read(folder: &Path) -> Self {
        let file = File::open(folder.join(FILE));
        file.map(|mut file| read(&mut file)).unwrap_or_default()
    }

    /// Adds a run's to them.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn add(folder: &Path, run: &Self) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // Let go of when the file is closed.
        file.lock()?;
        let before = read(&mut file);
        let sum = Self {
            hits: before.hits.saturating_add(run.hits),
            misses: before.misses.saturating_add(run.misses),
            sets: before.sets.saturating_add(run.sets),
            deletes: before.deletes.saturating_add(run.deletes),
            evictions: before.evictions.saturating_add(run.evictions),
            limit_bytes: run.limit_bytes,
        };
        let text = serde_json::to_vec(&sum).unwrap_or_default();
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(&text)
    }
}

fn read(file: &mut File) -> Totals {
    let mut text = Vec::new();
    match file.take(MOST_BYTES).read_to_end(&mut text) {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => Totals::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_end_at_once_are_all_counted() {
        let folder = tempfile::tempdir().unwrap();
        let run = Totals { hits: 1, misses: 2, limit_bytes: 7, ..Totals::default() };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| Totals::add(folder.path(), &run).unwrap()));
            }
        });
        let all = Totals { hits: 160, misses: 320, limit_bytes: 7, ..Totals::default() };
        assert_eq!(Totals::read(folder.path()), all);
        std::fs::write(folder.path().join(FILE), b"{\"hits\": -").unwrap();
        assert_eq!(Totals::read(folder.path()), Totals::default());
    }
}
