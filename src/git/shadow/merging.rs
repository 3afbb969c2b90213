//! One merge of two trees or commits, spliced where nothing meets, else by git; and whether it changes anything.

use gix::ObjectId;

use super::{ComposeError, Outcome, Workbench};
use crate::git::merge_tree::Merged;
use crate::git::objects::{Entry, Name};
use crate::git::splice::{MeetingTexts, Spliced};

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
        let mut by_git_so_far = false;
        loop {
            match self.splicer.splice(&mut self.objects, base, ours, theirs)? {
                Spliced::Tree(tree) => {
                    let counter = if by_git_so_far { &mut self.counts.by_git } else { &mut self.counts.spliced };
                    *counter += 1;
                    return Ok(Outcome::Tree(tree));
                }
                // What it makes of them is known from then on, so nobody asks twice.
                Spliced::AskGitAbout(texts) => {
                    by_git_so_far = true;
                    self.merge_texts(&texts)?;
                }
                Spliced::AskGit => {
                    let (our_commit, their_commit) = self.as_siblings(base, ours, theirs)?;
                    return self.merge_by_git(our_commit, ours, their_commit);
                }
            }
        }
    }

    /// Has git merge texts in trees that hold nothing else: what else there is of a composite has no say in them, and takes git
    /// longer than they do. (Names do not matter, either, where no attributes apply: they are for its messages, and where there is a
    /// conflict, it is asked about the whole.)
    fn merge_texts(&mut self, texts: &[MeetingTexts]) -> Result<(), ComposeError> {
        let name = |at: usize| Name::from(at.to_string().as_bytes());
        let mut trees = [self.objects.empty_tree(); 3];
        for (side, tree) in trees.iter_mut().enumerate() {
            let file =
                |(at, texts): (usize, &MeetingTexts)| Entry { name: name(at), mode: texts.mode, id: texts.ids[side] };
            *tree = self.objects.write_tree(texts.iter().enumerate().map(file).collect())?;
        }
        let [base, ours, theirs] = trees;
        let (our_commit, their_commit) = self.as_siblings(base, ours, theirs)?;
        let merged = match self.merges.merge(&mut self.objects, our_commit, ours, their_commit)? {
            Merged::Clean(tree) => Some(self.objects.tree(tree)?),
            Merged::Conflicted(_) => None,
        };
        for (at, texts) in texts.iter().enumerate() {
            let merged = merged.as_ref().and_then(|tree| tree.entry(&name(at))).map(|entry| entry.id);
            self.splicer.merged_by_git(*texts, merged);
        }
        Ok(())
    }

    fn merge_by_git(&mut self, ours: ObjectId, our_tree: ObjectId, theirs: ObjectId) -> Result<Outcome, ComposeError> {
        self.counts.by_git += 1;
        Ok(match self.merges.merge(&mut self.objects, ours, our_tree, theirs)? {
            Merged::Clean(tree) => Outcome::Tree(tree),
            Merged::Conflicted(clash) => Outcome::Clash(clash),
        })
    }
}
