//! The scripted journal, which sees every event first, and the store of passes that outlive a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use lexpr::ports::{Journal, KnownPass, PortError, VerdictStore};
use lexpr::vocabulary::event::{Event, Recorded};
use lexpr::vocabulary::names::{RunId, VerdictKey};
use lexpr::vocabulary::verdict::FoundPass;

use super::{Hands, Mishap};

/// A run that tells more than this will never end.
const MOST_EVENTS: u64 = 200_000;

pub struct JournalWriter(pub Arc<Hands>);

impl JournalWriter {
    fn is_full(&self, seq: u64) -> bool {
        self.0.has_mishap(Mishap::JournalFull(seq))
    }
}

impl Journal for JournalWriter {
    fn append(&mut self, recorded: &Recorded) -> Result<(), PortError> {
        let inner = &mut *self.0.lock();
        if inner.journal_failed || (!inner.journal_was_full && self.is_full(recorded.seq)) {
            (inner.journal_failed, inner.journal_was_full) = (true, true);
            return Err(PortError { message: "no space left on device".to_owned(), hint: None });
        }
        assert_eq!(recorded.seq, inner.journal.len() as u64 + 1, "events are numbered without gaps");
        assert!(recorded.seq < MOST_EVENTS, "the run does not end");
        self.0.watch.lock().unwrap().see(recorded, inner);
        if let Event::JobStarted(job) = &recorded.event {
            inner.journalled_jobs.insert(job.job);
        }
        inner.journal.push(recorded.clone());
        self.0.time.something_happened();
        self.0.appended.notify_one();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), PortError> {
        let mut inner = self.0.lock();
        inner.synced = inner.journal.len();
        Ok(())
    }
}

/// Passes that outlive a run.
#[derive(Debug, Default)]
pub struct Store(Mutex<HashMap<VerdictKey, RunId>>);

impl VerdictStore for Store {
    fn passes(&self, keys: Vec<VerdictKey>) -> BoxFuture<'static, Vec<Option<KnownPass>>> {
        let passes = self.0.lock().unwrap();
        let known = |key: &VerdictKey| Some(KnownPass { from: passes.get(key)?.clone(), remembered: None });
        ready(keys.iter().map(known).collect()).boxed()
    }

    fn remember(&self, pass: FoundPass) {
        self.0.lock().unwrap().insert(pass.parts.key(), pass.run);
    }
}
