//! One merge of two trees or commits, spliced where nothing meets, else by git; and whether it changes anything.

use gix::ObjectId;

use super::{ComposeError, Outcome, Workbench};
use crate::git::merge_tree::Merged;
use crate::git::splice::Spliced;

impl Workbench {
    /// Whether merging `theirs` into `ours`, whose one merge base has tree `base`, leaves `ours` as it
    /// is.
    pub(in crate::git) fn merges_to_nothing(
        &mut self,
        base: ObjectId,
        ours: ObjectId,
        theirs: ObjectId,
    ) -> Result<bool, ComposeError> {
        Ok(matches!(self.merge(base, ours, theirs)?, Outcome::Tree(tree) if tree == ours))
    }

    /// The same of commits with these merge bases, of which there are some.
    pub(in crate::git) fn brings_nothing(
        &mut self,
        bases: &[ObjectId],
        ours: ObjectId,
        theirs: ObjectId,
    ) -> Result<bool, ComposeError> {
        let our_tree = self.objects.commit(ours)?.tree;
        let outcome = self.merge_commits(bases, ours, our_tree, theirs)?;
        Ok(matches!(outcome, Outcome::Tree(tree) if tree == our_tree))
    }

    /// Merges commits with these merge bases: where there are several, git makes one of them.
    pub(super) fn merge_commits(
        &mut self,
        bases: &[ObjectId],
        ours: ObjectId,
        our_tree: ObjectId,
        theirs: ObjectId,
    ) -> Result<Outcome, ComposeError> {
        match *bases {
            [base] => {
                let (base, theirs) = (self.objects.commit(base)?.tree, self.objects.commit(theirs)?.tree);
                self.merge(base, our_tree, theirs)
            }
            _ => self.merge_by_git(ours, our_tree, theirs),
        }
    }

    /// Merges trees that have one base: spliced where nothing meets, else by git.
    pub(super) fn merge(&mut self, base: ObjectId, ours: ObjectId, theirs: ObjectId) -> Result<Outcome, ComposeError> {
        match self.splicer.splice(&mut self.objects, base, ours, theirs)? {
            Spliced::Tree(tree) => {
                self.counts.spliced += 1;
                Ok(Outcome::Tree(tree))
            }
            Spliced::AskGit => {
                let (our_commit, their_commit) = self.as_siblings(base, ours, theirs)?;
                self.merge_by_git(our_commit, ours, their_commit)
            }
        }
    }

    fn merge_by_git(&mut self, ours: ObjectId, our_tree: ObjectId, theirs: ObjectId) -> Result<Outcome, ComposeError> {
        self.counts.by_git += 1;
        Ok(match self.merges.merge(&mut self.objects, ours, our_tree, theirs)? {
            Merged::Clean(tree) => Outcome::Tree(tree),
            Merged::Conflicted(clash) => Outcome::Clash(clash),
        })
    }
}
