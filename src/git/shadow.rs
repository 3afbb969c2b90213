//! Composites, item by item: the shadow history in which every item is a real merge, and the landed
//! line beside it, which is what the target would move to.
//!
//! Synchronous and single-threaded; nothing is remembered between calls but objects and the commit
//! graph. What a step comes to depends on the commits given and on nothing else: no time of day, no
//! machine, no run.

mod ahead;
mod merging;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gix::ObjectId;

use self::ahead::Ahead;
use super::brought::Inspector;
use super::command::{Git, GitError};
use super::history::{Claim, Divergence, History};
use super::merge_tree::{Clash, MergeTree, MergeTreeError};
use super::message::{self, Signature, Squashed, Words};
use super::objects::{Objects, ObjectsError, commit_id, from_commit, from_tree};
use super::quarantine::Quarantine;
use super::splice::{Splicer, changes};
use crate::plan::globs::GlobError;
use crate::plan::{Identity, MergeSettings};
use crate::ports::ComposeItem;
use crate::vocabulary::event::{Conflict, SetAside, SetAsideCause};
use crate::vocabulary::names::{CommitId, ItemName, MergeStrategy};
use crate::vocabulary::trail::Trail;

/// A composite could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    #[error(transparent)]
    Merge(#[from] MergeTreeError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("a glob of inputs is not valid: {0}")]
    Glob(#[from] GlobError),
}

/// What stands after some items: the base alone, or a prefix and one more item.
#[derive(Debug)]
pub struct Prefix {
    pub before: Option<(Arc<Prefix>, Added)>,
    /// Every item so far as a real merge; for merge bases only, never landed.
    pub shadow: ObjectId,
    /// What would land. The shadow itself as long as every item merges.
    pub landed: ObjectId,
    /// The tree of both.
    pub tree: ObjectId,
}

/// One item of a prefix.
#[derive(Debug)]
pub struct Added {
    pub item: Arc<ComposeItem>,
    pub set_aside: Option<Box<SetAsideCause>>,
}

impl Prefix {
    /// The items so far, latest first, each with the prefix before it and the one it makes.
    pub fn backwards(&self) -> impl Iterator<Item = (&Prefix, &Added, &Prefix)> {
        let mut at = self;
        std::iter::from_fn(move || {
            let (before, added) = at.before.as_ref()?;
            let after = std::mem::replace(&mut at, before);
            Some((&**before, added, after))
        })
    }
}

impl Drop for Prefix {
    /// One after another: a chain of thousands would overflow the stack if each dropped the next.
    fn drop(&mut self) {
        let mut next = self.before.take();
        while let Some((prefix, _)) = next {
            next = Arc::try_unwrap(prefix).ok().and_then(|mut prefix| prefix.before.take());
        }
    }
}

/// How many merges were made how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeCounts {
    /// In process.
    pub spliced: u64,
    /// By git.
    pub by_git: u64,
}

/// All that is needed to make composites in one quarantine.
#[derive(Debug)]
pub struct Workbench {
    pub objects: Objects,
    pub history: History,
    pub counts: MergeCounts,
    pub(super) splicer: Splicer,
    pub(super) inspector: Inspector,
    pub(super) merges: MergeTree,
    pub(super) claims: HashMap<Claim, bool>,
    pub(super) ahead: Ahead,
    git: Git,
    committer: Option<Identity>,
}

/// What became of one merge.
enum Outcome {
    Tree(ObjectId),
    Clash(Clash),
}

impl Workbench {
    /// `committer`: as the plan's policy says; `None` takes the committer of what is merged.
    ///
    /// # Errors
    /// Where the quarantine's objects cannot be opened.
    pub fn new(
        quarantine: &Quarantine,
        merge: MergeSettings,
        committer: Option<Identity>,
    ) -> Result<Self, ComposeError> {
        let git = quarantine.git().clone();
        Ok(Self {
            objects: quarantine.store().objects(),
            history: History::default(),
            counts: MergeCounts::default(),
            splicer: Splicer::default(),
            inspector: Inspector::default(),
            merges: MergeTree::new(git.clone(), quarantine.version(), merge),
            claims: HashMap::new(),
            ahead: Ahead::of(quarantine.store().clone()),
            git,
            committer,
        })
    }

    /// The composite of no items.
    ///
    /// # Errors
    /// Where `base` cannot be read.
    pub fn start(&self, base: CommitId) -> Result<Prefix, ComposeError> {
        let base = from_commit(base);
        let tree = self.objects.commit(base)?.tree;
        Ok(Prefix { before: None, shadow: base, landed: base, tree })
    }

    /// The composite of what `before` holds and `item`. What a conflict meets may lie `beneath`.
    ///
    /// # Errors
    /// Where an object cannot be read or written, or git cannot merge. A conflict is no error.
    pub fn add(
        &mut self,
        before: &Arc<Prefix>,
        item: &Arc<ComposeItem>,
        beneath: &Trail,
    ) -> Result<Prefix, ComposeError> {
        let unchanged = |set_aside: Option<SetAsideCause>| Prefix {
            before: Some((Arc::clone(before), Added { item: Arc::clone(item), set_aside: set_aside.map(Box::new) })),
            shadow: before.shadow,
            landed: before.landed,
            tree: before.tree,
        };
        if let Some(on) = dependency_set_aside(before, item) {
            return Ok(unchanged(Some(SetAsideCause::Dependency { on })));
        }
        let head = from_commit(item.head);
        let Some((shadow, divergence)) = self.divergence(before.shadow, before.tree, head, &item.merged)? else {
            return Ok(unchanged(None));
        };
        if divergence.bases.is_empty() {
            let why = format!("{} has no history in common with what it is merged onto", item.branch);
            return Ok(unchanged(Some(cannot_be_merged(why))));
        }
        let head_commit = self.objects.commit(head)?;
        let left_at = self.objects.commit(divergence.bases[0])?.tree;
        if let Some(unsound) = self.inspector.inspect(&mut self.objects, Some(left_at), head_commit.tree)? {
            return Ok(unchanged(Some(cannot_be_merged(unsound.to_string()))));
        }
        let tree = match self.merge_commits(&divergence.bases, shadow, before.tree, head)? {
            Outcome::Tree(tree) => tree,
            Outcome::Clash(clash) => {
                let conflict = self.explain(before, item, beneath, &clash)?;
                return Ok(unchanged(Some(SetAsideCause::Conflict(conflict))));
            }
        };
        let words = self.words(head)?;
        let merge_message = message::merge_message(&item.branch, &message::subject(&words.message));
        let merge_message = message::with_override(merge_message, item.overridden.as_deref());
        let merged = self.commit(tree, &[shadow, head], &words, &merge_message)?;
        let landed = match item.strategy {
            MergeStrategy::Merge if before.landed == shadow => merged,
            MergeStrategy::Merge => self.commit(tree, &[before.landed, head], &words, &merge_message)?,
            MergeStrategy::Squash => self.squash(before.landed, tree, item, &words, &divergence.own)?,
            MergeStrategy::Rebase => match self.replay(before, tree, item, beneath, &divergence.own)? {
                Ok(landed) => landed,
                Err(conflict) => return Ok(unchanged(Some(SetAsideCause::Conflict(conflict)))),
            },
        };
        Ok(Prefix {
            before: Some((Arc::clone(before), Added { item: Arc::clone(item), set_aside: None })),
            shadow: merged,
            landed,
            tree,
        })
    }

    /// How `head` lies to `shadow`, with the shadow that knows what landed earlier of it: heads that
    /// trailers name, and those `merged`. `None` where nothing of it is left to land.
    pub(super) fn divergence(
        &mut self,
        shadow: ObjectId,
        tree: ObjectId,
        head: ObjectId,
        merged: &[CommitId],
    ) -> Result<Option<(ObjectId, Arc<Divergence>)>, ComposeError> {
        let Some(divergence) = self.history.divergence(&self.objects, shadow, head)? else { return Ok(None) };
        let mut landed = Vec::new();
        for claim in &divergence.claimed {
            if !landed.contains(&claim.head) && self.is_true(*claim)? {
                landed.push(claim.head);
            }
        }
        for merged in merged.iter().copied().map(from_commit) {
            if !landed.contains(&merged) && !self.history.contains(&self.objects, shadow, merged)? {
                landed.push(merged);
            }
        }
        if landed.is_empty() {
            return Ok(Some((shadow, divergence)));
        }
        landed.sort_unstable();
        let shadow = self.know_as_merged(shadow, tree, &landed)?;
        Ok(self.history.divergence(&self.objects, shadow, head)?.map(|divergence| (shadow, divergence)))
    }

    /// A shadow in which heads that landed earlier under other ids (squashed, rebased) are merged: the
    /// tree stays, and what builds on them finds its merge base in them.
    fn know_as_merged(
        &mut self,
        shadow: ObjectId,
        tree: ObjectId,
        landed: &[ObjectId],
    ) -> Result<ObjectId, ComposeError> {
        let mut parents = vec![shadow];
        parents.extend(landed);
        let words = self.words(landed[0])?;
        self.commit(tree, &parents, &words, "Landed earlier under another id\n")
    }

    /// One commit with all of the item's changes on the landed line, empty where the line has them
    /// already: later runs know the head by its trailer.
    fn squash(
        &mut self,
        onto: ObjectId,
        tree: ObjectId,
        item: &ComposeItem,
        head: &Words,
        own: &[ObjectId],
    ) -> Result<ObjectId, ComposeError> {
        let mut squashed = Vec::new();
        for id in own {
            if self.objects.commit(*id)?.parents.len() < 2 {
                let words = self.words(*id)?;
                squashed.push(Squashed { author: words.author, message: words.message });
            }
        }
        let message = message::squash_message(&item.branch, &squashed, item.head);
        let message = message::with_override(message, item.overridden.as_deref());
        let mut words = head.clone();
        if let Some(first) = squashed.into_iter().next() {
            words.author = first.author;
        }
        self.commit_on(tree, onto, from_commit(item.head), &words, &message)
    }

    /// The item's own first-parent commits, one after another on the landed line. They must end in
    /// `tree`, the shadow's, or the item conflicts.
    fn replay(
        &mut self,
        before: &Arc<Prefix>,
        tree: ObjectId,
        item: &ComposeItem,
        beneath: &Trail,
        own: &[ObjectId],
    ) -> Result<Result<ObjectId, Conflict>, ComposeError> {
        let mut replayed = Vec::new();
        let mut at = before.tree;
        for id in self.first_parents(from_commit(item.head), before.shadow, own)? {
            let commit = self.objects.commit(id)?;
            if self.only_brings_in(before.shadow, &commit.parents)? {
                continue;
            }
            let base = match commit.parents.first() {
                Some(parent) => self.objects.commit(*parent)?.tree,
                None => self.objects.empty_tree(),
            };
            if let Some(unsound) = self.inspector.inspect(&mut self.objects, Some(base), commit.tree)? {
                let messages = vec![format!("commit {}: {unsound}", commit_id(id).short())];
                return Ok(Err(Conflict { with: None, paths: Vec::new(), messages }));
            }
            match self.merge(base, at, commit.tree)? {
                Outcome::Tree(next) if next == at => {}
                Outcome::Tree(next) => {
                    replayed.push((id, next));
                    at = next;
                }
                Outcome::Clash(clash) => {
                    let mut conflict = self.explain(before, item, beneath, &clash)?;
                    conflict.messages.push(format!("while commit {} was replayed", commit_id(id).short()));
                    return Ok(Err(conflict));
                }
            }
        }
        if at != tree {
            let mut differing = Vec::new();
            changes(&mut self.objects, at, tree, &mut differing)?;
            let mut paths: Vec<String> = differing.iter().map(|change| lossy(&change.path)).collect();
            paths.sort_unstable();
            let messages = vec!["replaying its commits one by one gives another tree than merging it".to_owned()];
            return Ok(Err(Conflict { with: None, paths, messages }));
        }
        if replayed.is_empty() {
            // All of it is there already: an empty commit by which later runs know the head.
            replayed.push((from_commit(item.head), at));
        }
        let mut landed = before.landed;
        let last = replayed.len() - 1;
        for (position, (id, tree)) in replayed.into_iter().enumerate() {
            let words = self.words(id)?;
            let is_last = position == last;
            let message = message::replay_message(&words.message, is_last.then_some(item.head));
            let message = message::with_override(message, item.overridden.as_deref().filter(|_| is_last));
            landed = self.commit_on(tree, landed, id, &words, &message)?;
        }
        Ok(Ok(landed))
    }

    /// Whether a commit is a merge of what `shadow` holds already: as git-rebase(1) does, it is left
    /// out, for its difference from its first parent is not the branch's own work.
    fn only_brings_in(&mut self, shadow: ObjectId, parents: &[ObjectId]) -> Result<bool, ComposeError> {
        for merged in parents.iter().skip(1) {
            if !self.history.contains(&self.objects, shadow, *merged)? {
                return Ok(false);
            }
        }
        Ok(parents.len() > 1)
    }

    /// The first-parent line of `head` among its `own` commits, oldest first.
    fn first_parents(
        &mut self,
        head: ObjectId,
        shadow: ObjectId,
        own: &[ObjectId],
    ) -> Result<Vec<ObjectId>, ComposeError> {
        let own: HashSet<ObjectId> = own.iter().copied().collect();
        let mut line = vec![head];
        while let Some(parent) = self.objects.commit(line[line.len() - 1])?.parents.first()
            && own.contains(parent)
        {
            line.push(*parent);
        }
        // Commits with dates that lie may count as own and not be: the oldest ones, if any.
        while line.len() > 1 && self.history.contains(&self.objects, shadow, line[line.len() - 1])? {
            line.pop();
        }
        line.reverse();
        Ok(line)
    }

    /// Two commits on one parent: git merges them as it would merge the real ones, whose one base is
    /// known by now, and needs not walk the history to find it again, which takes it far longer than
    /// merging. (`--merge-base` would say the same, but is only known to git 2.40 and newer.)
    pub(super) fn as_siblings(
        &self,
        base: ObjectId,
        ours: ObjectId,
        theirs: ObjectId,
    ) -> Result<(ObjectId, ObjectId), ComposeError> {
        let nobody = Signature { name: "lexpr".to_owned(), email: String::new(), seconds: 0, zone: "+0000".to_owned() };
        let write = |tree, parents: &[ObjectId]| {
            self.objects.write_commit(&message::commit_bytes(tree, parents, &nobody, &nobody, "merge base\n"))
        };
        let parent = write(base, &[])?;
        Ok((write(ours, &[parent])?, write(theirs, &[parent])?))
    }

    /// A commit in the name of `words`, dated like the latest of its parents.
    fn commit(
        &mut self,
        tree: ObjectId,
        parents: &[ObjectId],
        words: &Words,
        message: &str,
    ) -> Result<ObjectId, ComposeError> {
        self.write(tree, parents, parents, words, message)
    }

    /// A commit on one parent that stands for `original`, dated like the later of the two.
    fn commit_on(
        &mut self,
        tree: ObjectId,
        parent: ObjectId,
        original: ObjectId,
        words: &Words,
        message: &str,
    ) -> Result<ObjectId, ComposeError> {
        self.write(tree, &[parent], &[parent, original], words, message)
    }

    fn write(
        &mut self,
        tree: ObjectId,
        parents: &[ObjectId],
        dated_like: &[ObjectId],
        words: &Words,
        message: &str,
    ) -> Result<ObjectId, ComposeError> {
        let mut committer = words.committer.clone();
        if let Some(Identity { name, email }) = &self.committer {
            (committer.name, committer.email) = (name.clone(), email.clone());
        }
        for id in dated_like {
            let dated = Signature::parse(&self.objects.commit(*id)?.committer, None);
            if dated.seconds > committer.seconds {
                (committer.seconds, committer.zone) = (dated.seconds, dated.zone);
            }
        }
        let data = message::commit_bytes(tree, parents, &words.author, &committer, message);
        let made = self.objects.write_commit(&data)?;
        self.history.grew(made, parents, &message::landed_heads(message.as_bytes()));
        Ok(made)
    }

    /// A commit's people and message as UTF-8. Encodings other than UTF-8 and Latin-1 are git's job.
    fn words(&self, id: ObjectId) -> Result<Words, ComposeError> {
        let commit = self.objects.commit(id)?;
        let mut words = Words::of(&commit);
        if !message::is_readable(commit.encoding.as_deref()) {
            let format = "--format=%an%x00%ae%x00%cn%x00%ce%x00%B";
            let text = self.git.run(["log", "--no-walk", "--encoding=UTF-8", format, &id.to_string()])?;
            let text = message::to_utf8(&text, None);
            if let [author, author_email, committer, committer_email, body] =
                text.splitn(5, '\0').collect::<Vec<_>>()[..]
            {
                (words.author.name, words.author.email) = (author.to_owned(), author_email.to_owned());
                (words.committer.name, words.committer.email) = (committer.to_owned(), committer_email.to_owned());
                words.message = body.to_owned();
            }
        }
        Ok(words)
    }

    /// A clash in the words of the plan: which item is met, where, and what git says.
    fn explain(
        &mut self,
        before: &Prefix,
        item: &ComposeItem,
        beneath: &Trail,
        clash: &Clash,
    ) -> Result<Conflict, ComposeError> {
        let conflicts = || clash.messages.iter().filter(|message| message.kind.starts_with("CONFLICT"));
        let (ours, theirs) = (clash.ours.to_string(), clash.theirs.to_string());
        // A file in the way of a folder is put aside as `path~LABEL`; git merge's labels are these.
        let aside = format!("~{}", item.branch.replace('/', "_"));
        let shown =
            |path: &Vec<u8>| lossy(path).replace(&format!("~{theirs}"), &aside).replace(&format!("~{ours}"), "~HEAD");
        let mut paths: Vec<String> = clash.entries.iter().map(|entry| shown(&entry.path)).collect();
        if paths.is_empty() {
            paths = conflicts().flat_map(|message| &message.paths).map(shown).collect();
        }
        paths.sort_unstable();
        paths.dedup();
        let in_words = |text: &str| text.replace(&theirs, &item.branch).replace(&ours, "what it is merged onto");
        let messages = conflicts().flat_map(|message| message.text.lines()).map(in_words).collect();
        Ok(Conflict { with: self.met(before, beneath, clash)?, paths, messages })
    }

    /// The latest item before that changed what clashes, of the composite or landed beneath it: by path,
    /// or by the very file git shows as ours. None where others have changed it since.
    fn met(&mut self, before: &Prefix, beneath: &Trail, clash: &Clash) -> Result<Option<ItemName>, ComposeError> {
        let in_messages = clash.messages.iter().filter(|message| message.kind.starts_with("CONFLICT"));
        let paths: HashSet<&[u8]> = clash
            .entries
            .iter()
            .map(|entry| entry.path.as_slice())
            .chain(in_messages.flat_map(|message| message.paths.iter().map(Vec::as_slice)))
            .collect();
        let of_stage = |stage| clash.entries.iter().filter(move |entry| entry.stage == stage);
        // Renamed on their side: ours still has the old path, with this content ...
        let ours: HashSet<ObjectId> = of_stage(2).filter_map(|entry| entry.id).collect();
        let kept: HashSet<&[u8]> = of_stage(2).map(|entry| entry.path.as_slice()).collect();
        // ... or has removed what was there.
        let removed: HashSet<ObjectId> =
            of_stage(1).filter(|entry| !kept.contains(entry.path.as_slice())).filter_map(|entry| entry.id).collect();
        let items =
            before.backwards().map(|(earlier, added, later)| (Some(&added.item.name), earlier.tree, later.tree));
        let beneath =
            beneath.backwards().map(|step| (step.item.as_ref(), from_tree(step.before), from_tree(step.after)));
        for (item, earlier, later) in items.chain(beneath) {
            let mut changed = Vec::new();
            changes(&mut self.objects, earlier, later, &mut changed)?;
            let meets = changed.iter().any(|change| {
                paths.iter().any(|path| related(path, &change.path))
                    || change.after.as_ref().is_some_and(|file| ours.contains(&file.id))
                    || (change.after.is_none() && change.before.as_ref().is_some_and(|file| removed.contains(&file.id)))
            });
            if meets {
                return Ok(item.cloned());
            }
        }
        Ok(None)
    }
}

/// Whether two paths are one, or one lies in the other.
pub(super) fn related(l: &[u8], r: &[u8]) -> bool {
    let (short, long) = if l.len() <= r.len() { (l, r) } else { (r, l) };
    long.starts_with(short) && (long.len() == short.len() || long[short.len()] == b'/')
}

/// Not onto anything.
fn cannot_be_merged(why: String) -> SetAsideCause {
    SetAsideCause::Conflict(Conflict { with: None, paths: Vec::new(), messages: vec![why] })
}

pub(super) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The first of the item's dependencies that was set aside.
fn dependency_set_aside(before: &Prefix, item: &ComposeItem) -> Option<ItemName> {
    let mut found: Vec<_> = before
        .backwards()
        .filter(|(_, added, _)| added.set_aside.is_some() && item.deps.contains(&added.item.ix))
        .map(|(_, added, _)| (added.item.ix, added.item.name.clone()))
        .collect();
    found.sort();
    found.into_iter().next().map(|(_, name)| name)
}

/// The items set aside in a prefix, in order.
pub fn set_aside(prefix: &Prefix) -> Vec<SetAside> {
    let mut found: Vec<SetAside> = prefix
        .backwards()
        .filter_map(|(_, added, _)| {
            Some(SetAside { item: added.item.name.clone(), cause: added.set_aside.as_deref()?.clone() })
        })
        .collect();
    found.reverse();
    found
}
