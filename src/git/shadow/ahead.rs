//! Which objects a composer will ask for next: told beforehand to who reads ahead.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::thread;

use gix::ObjectId;

use crate::git::objects::{ObjectStore, Objects, ObjectsError, ReadAhead, Wanted, from_commit};
use crate::git::shadow::Workbench;
use crate::git::splice::{Change, is_file};
use crate::ports::ComposeItem;

/// Of fewer items the first is done before there is anything to gain.
const FEWEST: usize = 4;

/// Texts remembered of all items together, 80 bytes each.
const MAX_KNOWN_TEXTS: usize = 3_000;

/// A text that an item changed: as it was, and as it is.
type Text = (ObjectId, ObjectId);

/// Who reads ahead, and what is known of what will be wanted.
#[derive(Debug)]
pub(in crate::git) struct Ahead {
    store: ObjectStore,
    reader: Option<ReadAhead>,
    /// By the item's head.
    texts: HashMap<ObjectId, Box<[Text]>>,
    known_texts: usize,
}

impl Ahead {
    pub(super) fn of(store: ObjectStore) -> Self {
        Self { store, reader: None, texts: HashMap::new(), known_texts: 0 }
    }

    /// Takes down what an item changed.
    fn knows(&mut self, head: ObjectId, changes: &[Change]) {
        let text = |change: &Change| {
            let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
            (is_file(before) && is_file(after) && before.id != after.id).then_some((before.id, after.id))
        };
        let texts: Box<[Text]> = changes.iter().filter_map(text).collect();
        if texts.len() > MAX_KNOWN_TEXTS {
            return;
        }
        self.known_texts += texts.len();
        if self.known_texts > MAX_KNOWN_TEXTS {
            self.texts.clear();
            self.known_texts = texts.len();
        }
        self.texts.insert(head, texts);
    }

    fn want(&mut self, objects: &mut Objects, wanted: Vec<Wanted>) {
        // A second thread on one processor would only be in the way.
        if self.reader.is_none() && thread::available_parallelism().map_or(1, usize::from) > 1 {
            self.reader = ReadAhead::start(&self.store, objects);
        }
        if let Some(reader) = &self.reader {
            reader.want(wanted);
        }
    }
}

impl Workbench {
    /// Before heads are looked at, one after another, that `base` has not.
    pub(in crate::git) fn heads_will_be_looked_at(
        &mut self,
        base: ObjectId,
        heads: impl Iterator<Item = ObjectId>,
    ) -> Result<(), ObjectsError> {
        let mut wanted = Vec::new();
        for head in heads {
            let divergence = self.history.divergence(&self.objects, base, head)?;
            if let Some(left_at) = divergence.and_then(|divergence| divergence.bases.first().copied()) {
                wanted.push(Wanted::Trees { commit: head, since: self.objects.commit(left_at)?.tree });
            }
        }
        if wanted.len() >= FEWEST {
            self.ahead.want(&mut self.objects, wanted);
        }
        Ok(())
    }

    /// After a head was looked at: what it changed will be asked for when it is merged where others changed it, too.
    pub(in crate::git) fn head_was_looked_at(&mut self, head: ObjectId, changes: &[Change]) {
        self.ahead.knows(head, changes);
    }

    /// Before the items of a composite from `done` on are merged; whether they are worth reading ahead for.
    pub(in crate::git) fn items_will_be_merged(&mut self, items: &[Arc<ComposeItem>], done: usize) -> bool {
        /// What is read ahead is soon told anew.
        const LOOKED_BACK: usize = 500;
        const LOOKED_AHEAD: usize = 200;
        if items.len() - done < FEWEST {
            return false;
        }
        let mut wanted = Vec::new();
        let text = |base: ObjectId, side: ObjectId| {
            let texts = Arc::clone(self.splicer.texts());
            // What cannot be read is told to who merges.
            let look = move |objects: &Objects, text: &[u8]| drop(texts.changes_of(objects, base, side, text));
            Wanted::Blob(side, Box::new(look))
        };
        // By what it was: what the first made of it, until the second comes.
        let mut met: HashMap<ObjectId, Option<ObjectId>> = HashMap::new();
        let first = done.saturating_sub(LOOKED_BACK);
        for (at, item) in items.iter().enumerate().take(done + LOOKED_AHEAD).skip(first) {
            let head = from_commit(item.head);
            let mut of_item = vec![Wanted::Commit(head)];
            for (before, after) in self.ahead.texts.get(&head).into_iter().flatten() {
                match met.entry(*before) {
                    Entry::Vacant(unknown) => {
                        unknown.insert(Some(*after));
                    }
                    Entry::Occupied(mut known) => {
                        let with_first = known.get_mut().take().into_iter().chain([*after]);
                        of_item.extend(with_first.map(|side| text(*before, side)));
                    }
                }
            }
            if at >= done {
                wanted.append(&mut of_item);
            }
        }
        self.ahead.want(&mut self.objects, wanted);
        true
    }

    /// After all of that: what was read ahead and not asked for goes.
    pub(in crate::git) fn nothing_is_wanted(&self) {
        if let Some(reader) = &self.ahead.reader {
            reader.rest();
        }
    }
}
