//! One merge of two trees or commits, spliced where nothing meets, else by git; and whether it changes anything.

use gix::ObjectId;

use super::{ComposeError, Outcome, Workbench};
use crate::git::merge_tree::{Clash, Merged};
use crate::git::objects::{Entry, Name, Objects, ObjectsError, mode};
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
                    if let Some(clash) = self.merge_texts(&texts)? {
                        self.counts.by_git += 1;
                        return Ok(Outcome::Clash(clash));
                    }
                }
                Spliced::AskGit => {
                    let (our_commit, their_commit) = self.as_siblings(base, ours, theirs)?;
                    return self.merge_by_git(our_commit, ours, their_commit);
                }
            }
        }
    }

    /// Has git merge texts in trees that hold nothing else: what else there is of a composite has no say in them, and takes git
    /// longer than they do. A conflict of theirs is all there is, as the rest can be spliced.
    fn merge_texts(&mut self, texts: &[MeetingTexts]) -> Result<Option<Clash>, ComposeError> {
        let mut trees = [self.objects.empty_tree(); 3];
        for (side, tree) in trees.iter_mut().enumerate() {
            let files: Vec<File<'_>> = texts.iter().map(|texts| (&*texts.path, texts.mode, texts.ids[side])).collect();
            *tree = write_folder(&mut self.objects, &files)?;
        }
        let [base, ours, theirs] = trees;
        let (our_commit, their_commit) = self.as_siblings(base, ours, theirs)?;
        let merged = match self.merges.merge(&mut self.objects, our_commit, ours, their_commit)? {
            Merged::Conflicted(clash) => return Ok(Some(clash)),
            Merged::Clean(tree) => tree,
        };
        for texts in texts {
            let file = self.objects.file_at(merged, &texts.path)?;
            let damaged = ObjectsError::Damaged { id: merged, what: "git left a file out of a merge that ended well" };
            self.splicer.merged_by_git(texts, file.ok_or(damaged)?.id);
        }
        Ok(None)
    }

    fn merge_by_git(&mut self, ours: ObjectId, our_tree: ObjectId, theirs: ObjectId) -> Result<Outcome, ComposeError> {
        self.counts.by_git += 1;
        Ok(match self.merges.merge(&mut self.objects, ours, our_tree, theirs)? {
            Merged::Clean(tree) => Outcome::Tree(tree),
            Merged::Conflicted(clash) => Outcome::Clash(clash),
        })
    }
}

/// A file by its path, with its mode.
type File<'a> = (&'a [u8], u32, ObjectId);

/// Writes a tree of these files, of which those of a folder stand together.
fn write_folder(objects: &mut Objects, files: &[File<'_>]) -> Result<ObjectId, ObjectsError> {
    let mut entries = Vec::new();
    for together in files.chunk_by(|l, r| top_folder(l.0).is_some() && top_folder(l.0) == top_folder(r.0)) {
        let (path, mode, id) = together[0];
        entries.push(match top_folder(path) {
            None => Entry { name: Name::from(path), mode, id },
            Some(folder) => {
                let below = together.iter().map(|(path, mode, id)| (&path[folder.len() + 1..], *mode, *id));
                let below: Vec<File<'_>> = below.collect();
                Entry { name: Name::from(folder), mode: mode::TREE, id: write_folder(objects, &below)? }
            }
        });
    }
    objects.write_tree(entries)
}

fn top_folder(path: &[u8]) -> Option<&[u8]> {
    path.iter().position(|byte| *byte == b'/').map(|end| &path[..end])
}
