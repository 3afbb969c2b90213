//! What is known of texts that are merged in process: what they come from, and what sides changed of it. Found out once, by
//! whoever comes first: who merges, or who reads ahead for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gix::ObjectId;

use super::objects::{Objects, ObjectsError};
use super::text_merge::{Base, Changes};

/// Changes of texts are remembered up to this many, some 200 bytes each.
const MAX_KNOWN_CHANGES: usize = 20_000;

/// Texts that others come from are kept as long as they have no more bytes together; what is known of their lines takes
/// as much again.
const MAX_KEPT_BYTES: usize = 1 << 20;
const MAX_KEPT: usize = 64;

/// What a side changed of what it comes from; `None` where one of them is no text.
type Known = Option<Arc<Changes>>;

#[derive(Debug, Default)]
pub struct Texts {
    /// The one that was asked for last first; `None` where it is no text.
    bases: Mutex<VecDeque<(ObjectId, Option<Arc<Base>>)>>,
    /// By the text that it comes from, and the side.
    changes: Mutex<HashMap<(ObjectId, ObjectId), Known>>,
}

/// Whoever panicked while it was held had nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Texts {
    /// What a side changed of a text, looked at once: the same branch is merged with many others. The side's `text` is
    /// read if need be.
    ///
    /// # Errors
    /// Where a text cannot be read.
    pub fn changes(
        &self,
        objects: &Objects,
        base: ObjectId,
        side: ObjectId,
        text: &mut Option<Vec<u8>>,
    ) -> Result<Known, ObjectsError> {
        if let Some(known) = self.known(base, side) {
            return Ok(known);
        }
        let text: &[u8] = text.insert(objects.blob(side)?);
        self.changes_of(objects, base, side, text)
    }

    fn known(&self, base: ObjectId, side: ObjectId) -> Option<Known> {
        lock(&self.changes).get(&(base, side)).cloned()
    }

    /// The same of a side's text that is at hand.
    ///
    /// # Errors
    /// Where the base cannot be read.
    pub fn changes_of(
        &self,
        objects: &Objects,
        base: ObjectId,
        side: ObjectId,
        text: &[u8],
    ) -> Result<Known, ObjectsError> {
        if let Some(known) = self.known(base, side) {
            return Ok(known);
        }
        let changes = self.base(objects, base)?.and_then(|base| base.changes(text)).map(Arc::new);
        let mut known = lock(&self.changes);
        if known.len() >= MAX_KNOWN_CHANGES {
            known.clear();
        }
        known.insert((base, side), changes.clone());
        Ok(changes)
    }

    /// A text that sides come from: most branches change what others change, too. `None` where it is no text.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn base(&self, objects: &Objects, id: ObjectId) -> Result<Option<Arc<Base>>, ObjectsError> {
        let mut bases = lock(&self.bases);
        let known = bases.iter().position(|(known, _)| *known == id);
        if let Some(known) = known.and_then(|at| bases.remove(at)) {
            let base = known.1.clone();
            bases.push_front(known);
            return Ok(base);
        }
        // Others need not wait for this one.
        drop(bases);
        let base = Base::of(objects.blob(id)?).map(Arc::new);
        let mut bases = lock(&self.bases);
        bases.push_front((id, base.clone()));
        let mut kept = 0;
        let fits = bases.iter().take_while(|(_, base)| {
            kept += base.as_ref().map_or(0, |base| base.bytes().len());
            kept <= MAX_KEPT_BYTES
        });
        // The last one is used right away, however long it is.
        let fitting = fits.count().clamp(1, MAX_KEPT);
        bases.truncate(fitting);
        Ok(base)
    }
}
