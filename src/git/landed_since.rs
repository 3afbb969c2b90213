//! What others have landed of a run's items while that was under way, read from commits alone: no tree
//! is looked at, so what came under another id and without a trailer is not known here.

use std::collections::HashMap;
use std::sync::Arc;

use gix::ObjectId;

use super::objects::{Objects, ObjectsError, commit_id, from_commit};
use super::shadow::{ComposeError, Workbench};
use crate::ports::ComposeItem;
use crate::vocabulary::event::LandedByOthers;
use crate::vocabulary::names::CommitId;

/// So far back is looked for the commit that brought an item; a target that grows by more while one apex is
/// gated was moved onto another line.
const LONGEST_LINE: usize = 10_000;

impl Workbench {
    /// As [`crate::ports::Composer::landed_since`].
    ///
    /// # Errors
    /// Where a commit cannot be read.
    pub fn landed_since(
        &mut self,
        from: CommitId,
        to: CommitId,
        items: &[Arc<ComposeItem>],
    ) -> Result<Vec<LandedByOthers>, ComposeError> {
        let (from, to) = (from_commit(from), from_commit(to));
        let brought = brought_by(&self.objects, from, to)?;
        let mut landed = Vec::new();
        for item in items {
            let head = from_commit(item.head);
            let landed_as = if self.history.contains(&self.objects, to, head)? {
                brought.get(&head).copied()
            } else {
                match self.landed_as(to, head)? {
                    None => continue,
                    named => named,
                }
            };
            landed.push(LandedByOthers { item: item.name.clone(), landed_as: landed_as.map(commit_id) });
        }
        Ok(landed)
    }
}

/// For each commit that stands on the first-parent line from `from` to `to`, or was merged into that, the
/// first one on the line by which it came.
fn brought_by(objects: &Objects, from: ObjectId, to: ObjectId) -> Result<HashMap<ObjectId, ObjectId>, ObjectsError> {
    let mut brought = HashMap::new();
    let mut at = to;
    for _ in 0..LONGEST_LINE {
        if at == from {
            break;
        }
        let commit = objects.commit(at)?;
        brought.insert(at, at);
        brought.extend(commit.parents.iter().skip(1).map(|merged| (*merged, at)));
        match commit.parents.first() {
            Some(parent) => at = *parent,
            None => break,
        }
    }
    Ok(brought)
}
