//! Whether what a `Lexpr-Head` trailer says is true. It stands in the message of a commit that anybody may have written,
//! and came to the target with whatever brought that commit: believed without a look, it would have items left out
//! that never landed, and others land without what they depend on.

use std::collections::HashMap;

use gix::ObjectId;

use super::history::Claim;
use super::objects::{commit_id, from_commit};
use super::resolve::{AlreadyLanded, HeadOf};
use super::shadow::{ComposeError, Workbench};

impl Workbench {
    /// Which items the history of `base` has, one answer per item.
    ///
    /// # Errors
    /// Where an object cannot be read, or git cannot merge.
    pub(super) fn landed_by_history(
        &mut self,
        base: ObjectId,
        items: &[HeadOf],
    ) -> Result<Vec<Option<AlreadyLanded>>, ComposeError> {
        let mut known: HashMap<ObjectId, Option<AlreadyLanded>> = HashMap::new();
        let mut already_landed = Vec::with_capacity(items.len());
        for item in items {
            let head = from_commit(item.head);
            let answer = match known.get(&head) {
                Some(answer) => *answer,
                None if self.history.contains(&self.objects, base, head)? => Some(AlreadyLanded::InBase),
                None => self.landed_as(base, head)?.map(|id| AlreadyLanded::As(commit_id(id))),
            };
            known.insert(head, answer);
            already_landed.push(answer);
        }
        Ok(already_landed)
    }

    /// The first commit of `base`'s history that truly brought `head` under another id.
    ///
    /// # Errors
    /// Where an object cannot be read, or git cannot merge.
    pub(super) fn landed_as(&mut self, base: ObjectId, head: ObjectId) -> Result<Option<ObjectId>, ComposeError> {
        for by in self.history.naming(&self.objects, base, head)? {
            if self.is_true(Claim { head, by })? {
                return Ok(Some(by));
            }
        }
        Ok(None)
    }

    /// A commit that brought all that a head brings has it: merging the head into it changes nothing. That is so of every
    /// commit that lexpr makes for an item, whatever it was merged onto.
    pub(super) fn is_true(&mut self, claim: Claim) -> Result<bool, ComposeError> {
        if let Some(known) = self.claims.get(&claim) {
            return Ok(*known);
        }
        let Claim { head, by } = claim;
        let bases = self.history.merge_bases(&self.objects, by, head)?;
        let is_true = !bases.is_empty() && self.brings_nothing(&bases, by, head)?;
        self.claims.insert(claim, is_true);
        Ok(is_true)
    }
}
