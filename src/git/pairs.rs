//! Which items would clash with which: every two that may have to do with each other are merged onto the
//! base, one after the other, before anything is landed. git is the judge here as it is of composites; what
//! is looked at beforehand only says of which pairs nothing can meet.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gix::ObjectId;

use super::command::GitError;
use super::markers::{self, Side};
use super::merge_tree::{Clash, MergeTree, MergeTreeError, Merged};
use super::objects::{Objects, ObjectsError, from_commit};
use super::shadow::{ComposeError, Prefix, Workbench, lossy};
use super::splice::{Change, changes, is_file};
use crate::plan::graph::ItemIx;
use crate::ports::ComposeItem;
use crate::vocabulary::clash::{ClashHunk, ClashPlace};
use crate::vocabulary::names::{CommitId, MergeStrategy};
use crate::vocabulary::trail::Trail;

/// A text beyond this is named as clashing, and its lines are not looked for.
const LARGEST_TEXT: u64 = 4 << 20;

/// Paths and commits looked at of all items together, some 100 bytes each: the items of a high stack have, each,
/// all that those below it have.
const MOST_CONCERNS: usize = 1_000_000;

/// Gits that merge at the same time; each takes some 20 MB.
const MOST_GITS: usize = 8;

/// What the items change, and which of them clash. Items are positions in the list asked about.
#[derive(Debug, Default)]
pub struct Pairs {
    /// For each item the paths that it changes and none of its dependencies changed alike, sorted.
    pub touched: Vec<Vec<String>>,
    /// Items that do not merge onto the base alone, or bring nothing: in no pair.
    pub apart: Vec<usize>,
    /// Pairs that may meet, each merged.
    pub compared: usize,
    /// There are more than were asked for: those of the last items were not looked at.
    pub is_cut: bool,
    /// Sorted by pair.
    pub clashes: Vec<PairClash>,
    /// Pairs at which git itself breaks down.
    pub undecided: Vec<(usize, usize)>,
}

/// Two items that do not merge onto one base.
#[derive(Debug)]
pub struct PairClash {
    pub first: usize,
    pub second: usize,
    /// Sorted by path.
    pub places: Vec<ClashPlace>,
}

/// An item by itself on the base.
struct Alone {
    item: Arc<ComposeItem>,
    merged: Arc<Prefix>,
    own: Vec<Change>,
    /// Paths and folders whose change by another item may matter.
    concerns: BTreeSet<Vec<u8>>,
    /// Where its own history begins. Two that share some of it share one of these.
    roots: Vec<ObjectId>,
    commits: usize,
}

/// A merge that only git can make.
struct Question {
    pair: (usize, usize),
    ours: ObjectId,
    theirs: ObjectId,
}

/// Questions about one tree that is merged into.
struct Batch {
    our_tree: ObjectId,
    questions: Vec<Question>,
}

/// The answer for each pair asked about.
type Answers = Vec<((usize, usize), Answer)>;

enum Answer {
    Clean,
    Clash(Clash),
    /// git gave none.
    Undecided,
}

impl Workbench {
    /// Merges each pair of `items` that may meet onto `base`: the earlier first, then the later. No pair are two
    /// of which one depends on the other. At most `most` pairs, in order.
    ///
    /// # Errors
    /// Where an object cannot be read or written, or git cannot be asked.
    pub fn pairs(&mut self, base: CommitId, items: &[Arc<ComposeItem>], most: usize) -> Result<Pairs, ComposeError> {
        let start = Arc::new(self.start(base)?);
        let mut alone = Vec::with_capacity(items.len());
        let mut pairs = Pairs::default();
        let mut room = MOST_CONCERNS;
        for (at, item) in items.iter().enumerate() {
            if room == 0 {
                pairs.is_cut = true;
                break;
            }
            let by_itself = self.alone(&start, item)?;
            match &by_itself {
                Some(by_itself) => room = room.saturating_sub(by_itself.concerns.len() + by_itself.commits),
                None => pairs.apart.push(at),
            }
            alone.push(by_itself);
        }
        alone.resize_with(items.len(), || None);
        pairs.touched = touched(items, &alone);
        let (candidates, is_cut) = candidates(items, &alone, most);
        pairs.is_cut |= is_cut;
        pairs.compared = candidates.len();

        let mut batches: Vec<Batch> = Vec::new();
        for (first, second) in candidates {
            let (Some(onto), Some(item)) = (&alone[first], &alone[second]) else { continue };
            if let Some((ours, theirs)) = self.question(&onto.merged, &item.item)? {
                let our_tree = onto.merged.tree;
                let question = Question { pair: (first, second), ours, theirs };
                match batches.last_mut().filter(|batch| batch.our_tree == our_tree) {
                    Some(batch) => batch.questions.push(question),
                    None => batches.push(Batch { our_tree, questions: vec![question] }),
                }
            }
        }
        self.counts.by_git += batches.iter().map(|batch| batch.questions.len() as u64).sum::<u64>();
        self.objects.flush()?;
        for (pair, answer) in ask(&mut self.merges, &mut self.objects, &batches)? {
            match answer {
                Answer::Clean => {}
                Answer::Undecided => pairs.undecided.push(pair),
                Answer::Clash(clash) => {
                    let (first, second) = pair;
                    let places = self.places(&clash, items[first].name.as_str(), items[second].name.as_str())?;
                    pairs.clashes.push(PairClash { first, second, places });
                }
            }
        }
        pairs.clashes.sort_by_key(|clash| (clash.first, clash.second));
        pairs.undecided.sort_unstable();
        Ok(pairs)
    }

    /// The item on the base; `None` where it conflicts there or brings nothing.
    fn alone(&mut self, start: &Arc<Prefix>, item: &Arc<ComposeItem>) -> Result<Option<Alone>, ComposeError> {
        let Some(own) = self.own(start.shadow, start.tree, from_commit(item.head))? else { return Ok(None) };
        // How it lands makes no difference to what it meets.
        let item = match item.strategy {
            MergeStrategy::Merge => Arc::clone(item),
            _ => Arc::new(ComposeItem { strategy: MergeStrategy::Merge, ..ComposeItem::clone(item) }),
        };
        let merged = self.add(start, &item, &Trail::default())?;
        if merged.before.as_ref().is_none_or(|(_, added)| added.set_aside.is_some()) {
            return Ok(None);
        }
        let mut on_base = Vec::new();
        changes(&mut self.objects, start.tree, merged.tree, &mut on_base)?;
        let mut concerns = BTreeSet::new();
        // Where the base has moved what the item changes, the two differ.
        concern(&mut self.objects, own.tree, &own.changes, &mut concerns)?;
        concern(&mut self.objects, merged.tree, &on_base, &mut concerns)?;
        if own.left_at.len() > 1 {
            for left_at in &own.left_at {
                let mut since = Vec::new();
                changes(&mut self.objects, *left_at, own.tree, &mut since)?;
                concern(&mut self.objects, own.tree, &since, &mut concerns)?;
            }
        }
        let roots = self.history.roots(&self.objects, &own.commits)?;
        let commits = own.commits.len();
        Ok(Some(Alone { item, merged: Arc::new(merged), own: own.changes, concerns, roots, commits }))
    }

    /// The two commits that git has to be asked about; `None` where it is certain that they merge.
    fn question(&mut self, onto: &Prefix, item: &ComposeItem) -> Result<Option<(ObjectId, ObjectId)>, ComposeError> {
        let head = from_commit(item.head);
        let Some((shadow, divergence)) = self.divergence(onto.shadow, onto.tree, head, &item.merged)? else {
            return Ok(None);
        };
        match divergence.bases[..] {
            [base] => {
                let base = self.objects.commit(base)?.tree;
                let theirs = self.objects.commit(head)?.tree;
                if self.splicer.would_splice(&mut self.objects, base, onto.tree, theirs)? {
                    return Ok(None);
                }
                self.as_siblings(base, onto.tree, theirs).map(Some)
            }
            _ => Ok(Some((shadow, head))),
        }
    }

    /// Where two items clash, with their names for what git names by ids.
    fn places(&mut self, clash: &Clash, first: &str, second: &str) -> Result<Vec<ClashPlace>, ComposeError> {
        let (ours, theirs) = (clash.ours.to_string(), clash.theirs.to_string());
        let conflicts = || clash.messages.iter().filter(|message| message.kind.starts_with("CONFLICT"));
        let mut paths: BTreeSet<&[u8]> = clash.entries.iter().map(|entry| entry.path.as_slice()).collect();
        if paths.is_empty() {
            paths = conflicts().flat_map(|message| &message.paths).map(Vec::as_slice).collect();
        }
        let in_words = |text: &str| {
            // What git puts aside it calls `path~LABEL`, with no slash in the label.
            text.replace(&format!("~{ours}"), &format!("~{}", first.replace('/', "_")))
                .replace(&format!("~{theirs}"), &format!("~{}", second.replace('/', "_")))
                .replace(&ours, first)
                .replace(&theirs, second)
        };
        let mut places = Vec::with_capacity(paths.len());
        for path in paths {
            let message = conflicts().find(|message| message.paths.iter().any(|named| named == path));
            let kind = message.and_then(|message| message.kind.strip_prefix("CONFLICT ("));
            places.push(ClashPlace {
                path: in_words(&lossy(path)),
                kind: kind.unwrap_or_default().trim_end_matches(')').to_owned(),
                message: message.map(|message| in_words(&message.text)).unwrap_or_default(),
                hunks: self.hunks(clash, path, &ours, &theirs)?,
            });
        }
        Ok(places)
    }

    fn hunks(&mut self, clash: &Clash, path: &[u8], ours: &str, theirs: &str) -> Result<Vec<ClashHunk>, ComposeError> {
        let of_stage = |stage| {
            let entry = clash.entries.iter().find(|entry| entry.stage == stage && entry.path == path);
            entry.and_then(|entry| entry.id)
        };
        let (Some(our_blob), Some(their_blob)) = (of_stage(2), of_stage(3)) else { return Ok(Vec::new()) };
        let marked = self.objects.file_at(clash.tree, path)?;
        let Some(marked) = marked.filter(is_file) else { return Ok(Vec::new()) };
        let mut texts = Vec::with_capacity(3);
        for blob in [marked.id, our_blob, their_blob] {
            match self.objects.blob_within(blob, LARGEST_TEXT) {
                Ok(Some(text)) => texts.push(text),
                // A submodule's commit is no blob of this repository.
                Ok(None) | Err(_) => return Ok(Vec::new()),
            }
        }
        let side = |text, label| Side { text, label };
        Ok(markers::hunks(&texts[0], side(&texts[1], ours), side(&texts[2], theirs)))
    }
}

/// Paths that are changed, and folders that are gone with them: what another side adds there may follow a
/// folder that moved. `tree` is what the changes came to.
fn concern(
    objects: &mut Objects,
    tree: ObjectId,
    changes: &[Change],
    concerns: &mut BTreeSet<Vec<u8>>,
) -> Result<(), ObjectsError> {
    let mut known: HashMap<&[u8], bool> = HashMap::new();
    for change in changes {
        concerns.insert(change.path.clone());
        if change.after.is_some() {
            continue;
        }
        let mut path = change.path.as_slice();
        while let Some(end) = path.iter().rposition(|byte| *byte == b'/') {
            path = &path[..end];
            let is_there = match known.get(path) {
                Some(is_there) => *is_there,
                None => {
                    let is_there = objects.is_folder(tree, path)?;
                    known.insert(path, is_there);
                    is_there
                }
            };
            if is_there {
                break;
            }
            concerns.insert(path.to_vec());
        }
    }
    Ok(())
}

/// The pairs that may meet: they change the same path, or one a path in what the other changes as a file or
/// leaves as no folder; or they have commits in common, from which on they may have changed what they leave, seen
/// from the base, as it was. Sorted; and whether there are more.
fn candidates(items: &[Arc<ComposeItem>], alone: &[Option<Alone>], most: usize) -> (Vec<(usize, usize)>, bool) {
    let mut at_path: HashMap<&[u8], Vec<usize>> = HashMap::new();
    // Those that change something below a path.
    let mut below: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let mut with_root: HashMap<ObjectId, Vec<usize>> = HashMap::new();
    for (at, item) in alone.iter().enumerate().filter_map(|(at, item)| Some((at, item.as_ref()?))) {
        for root in &item.roots {
            with_root.entry(*root).or_default().push(at);
        }
        for path in &item.concerns {
            at_path.entry(path).or_default().push(at);
            for above in ancestors(path) {
                let those = below.entry(above).or_default();
                if those.last() != Some(&at) {
                    those.push(at);
                }
            }
        }
    }
    let dependents = dependents(items);
    let mut found = Vec::new();
    for (first, item) in alone.iter().enumerate().filter_map(|(at, item)| Some((at, item.as_ref()?))) {
        let mut others: BTreeSet<usize> = BTreeSet::new();
        for path in &item.concerns {
            let same = std::iter::once(path.as_slice()).chain(ancestors(path)).filter_map(|path| at_path.get(path));
            let meeting = same.chain(below.get(path.as_slice())).flatten();
            others.extend(meeting.filter(|other| **other > first));
        }
        let kin = item.roots.iter().filter_map(|root| with_root.get(root)).flatten();
        others.extend(kin.filter(|other| **other > first));
        if others.is_empty() {
            continue;
        }
        for on_top in all_from(&dependents, first) {
            others.remove(&on_top);
        }
        found.extend(others.into_iter().map(|second| (first, second)));
        if found.len() > most {
            found.truncate(most);
            return (found, true);
        }
    }
    (found, false)
}

/// For each item, those that depend on it directly.
fn dependents(items: &[Arc<ComposeItem>]) -> Vec<Vec<usize>> {
    let position: HashMap<ItemIx, usize> = items.iter().enumerate().map(|(at, item)| (item.ix, at)).collect();
    let mut dependents = vec![Vec::new(); items.len()];
    for (at, item) in items.iter().enumerate() {
        for dep in item.deps.iter().filter_map(|dep| position.get(dep)) {
            dependents[*dep].push(at);
        }
    }
    dependents
}

/// All that is reached from `from`.
fn all_from(edges: &[Vec<usize>], from: usize) -> HashSet<usize> {
    let mut seen = HashSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        open.extend(edges[at].iter().copied().filter(|next| seen.insert(*next)));
    }
    seen
}

fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
    ends.map(|end| &path[..end])
}

/// What each item changes and none of its dependencies changed to the same.
fn touched(items: &[Arc<ComposeItem>], alone: &[Option<Alone>]) -> Vec<Vec<String>> {
    let position: HashMap<ItemIx, usize> = items.iter().enumerate().map(|(at, item)| (item.ix, at)).collect();
    let by_dependency = |item: &ComposeItem, change: &Change| {
        let deps = item.deps.iter().filter_map(|dep| alone[*position.get(dep)?].as_ref());
        deps.flat_map(|dep| &dep.own).any(|other| other.path == change.path && other.after == change.after)
    };
    let of = |(item, alone): (&Arc<ComposeItem>, &Option<Alone>)| {
        let own = alone.iter().flat_map(|alone| &alone.own);
        let mut paths: Vec<String> =
            own.filter(|change| !by_dependency(item, change)).map(|change| lossy(&change.path)).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    };
    items.iter().zip(alone).map(of).collect()
}

/// Asks git, several at a time.
fn ask(merges: &mut MergeTree, objects: &mut Objects, batches: &[Batch]) -> Result<Answers, MergeTreeError> {
    let mut answers = Vec::new();
    if !merges.takes_many() {
        for batch in batches {
            for question in &batch.questions {
                let merged = merges.merge(objects, question.ours, batch.our_tree, question.theirs);
                answers.push((question.pair, unless_broken(merged)?.map_or(Answer::Undecided, answer)));
            }
        }
        return Ok(answers);
    }
    let merges = &*merges;
    let gits = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_GITS).min(batches.len());
    let (next, all) = (AtomicUsize::new(0), Mutex::new((answers, None)));
    std::thread::scope(|scope| {
        let work = || {
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                let made = ask_batch(merges, batch);
                // What others answered before a panic stands.
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                match made {
                    Ok(made) => all.0.extend(made),
                    Err(error) => all.1 = Some(error),
                }
            }
        };
        for _ in 1..gits {
            // Without further threads this one does it all.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    match all.into_inner().unwrap_or_else(PoisonError::into_inner) {
        (_, Some(error)) => Err(error),
        (answers, None) => Ok(answers),
    }
}

fn ask_batch(merges: &MergeTree, batch: &Batch) -> Result<Answers, MergeTreeError> {
    let pairs: Vec<_> = batch.questions.iter().map(|question| (question.ours, question.theirs)).collect();
    if let Some(merged) = unless_broken(merges.merge_all(batch.our_tree, &pairs))? {
        return Ok(batch.questions.iter().map(|question| question.pair).zip(merged.into_iter().map(answer)).collect());
    }
    // One of them broke it: one by one the others have their answers.
    let one_by_one = batch.questions.iter().map(|question| {
        let merged = unless_broken(merges.merge_all(batch.our_tree, &[(question.ours, question.theirs)]))?;
        Ok((question.pair, merged.and_then(|mut made| made.pop()).map_or(Answer::Undecided, answer)))
    });
    one_by_one.collect()
}

/// A git that breaks down on one pair says nothing of the others.
fn unless_broken<T>(merged: Result<T, MergeTreeError>) -> Result<Option<T>, MergeTreeError> {
    match merged {
        Err(MergeTreeError::Git(GitError::Failed { .. })) => Ok(None),
        other => other.map(Some),
    }
}

fn answer(merged: Merged) -> Answer {
    match merged {
        Merged::Clean(_) => Answer::Clean,
        Merged::Conflicted(clash) => Answer::Clash(clash),
    }
}
