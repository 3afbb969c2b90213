//! The commit graph, as far as it was asked about: merge bases, who contains whom, and which
//! commits name a landed head.
//!
//! The walks are git's own (`commit-reach.c`, paint down to common): newest first, until only
//! commits that both sides have are left to look at. Dates order the walk and never decide its
//! result. Nothing here writes or looks at trees.

mod grown;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use gix::ObjectId;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use self::grown::Grown;
use super::message;
use super::objects::{Objects, ObjectsError};

/// Reachable from the first side.
const ONE: u8 = 1;
/// Reachable from the second side.
const TWO: u8 = 2;
/// Below a common commit: nothing under it can be a best common ancestor.
const STALE: u8 = 4;
const RESULT: u8 = 8;
const QUEUED: u8 = 16;

/// Commits read so far. Grows with what is walked; about 100 bytes a commit.
#[derive(Debug, Default)]
pub struct History {
    /// By the ids of `nodes`, which lie there alone: a table has room for about twice as many as are in it.
    index: HashTable<u32>,
    hasher: RandomState,
    nodes: Vec<Node>,
    /// For each head that some trailer names, the commits that do.
    landed: HashMap<ObjectId, Vec<u32>>,
    marks: Vec<u8>,
    marked: Vec<u32>,
    grown: Grown,
    /// A commit was met that claims to be older than one of its parents. What only one side has may then
    /// depend on where a walk began, and nothing is concluded from another one.
    dates_lie: bool,
}

/// What the walk goes by: the date, and how many ancestors in a row claim no earlier one; for a commit that
/// claims to be older than a parent, more than the parent's. A walk that met parents first would go over the
/// history below them twice.
type Rank = (u64, u32);

#[derive(Debug)]
struct Node {
    id: ObjectId,
    /// The earliest date among those of its children that were read.
    earliest_child: u64,
    /// Apart, because what was just made is rarely read again.
    read: Option<Box<Read>>,
}

#[derive(Debug)]
struct Read {
    parents: Box<[u32]>,
    /// The committer's date.
    seconds: u64,
    rank: Option<Rank>,
    /// The heads its `Lexpr-Head` trailers name.
    lands: Box<[ObjectId]>,
}

/// How two commits lie to each other.
#[derive(Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The best common ancestors, ordered by id: one as a rule, none for unrelated histories,
    /// several where branches were merged crosswise.
    pub bases: Vec<ObjectId>,
    /// What only the second has, parents before children.
    pub own: Vec<ObjectId>,
    /// Heads among `own` that a commit which only the first has names in a `Lexpr-Head` trailer, by head. Anybody can write
    /// such a line: whether it is true is not known here.
    pub claimed: Vec<Claim>,
}

/// That a head has landed, as the message of a commit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    pub head: ObjectId,
    pub by: ObjectId,
}

impl History {
    fn slot(&mut self, id: ObjectId) -> u32 {
        let Self { index, hasher, nodes, .. } = self;
        let hash = |id: &ObjectId| hasher.hash_one(id);
        match index.entry(hash(&id), |at| nodes[*at as usize].id == id, |at| hash(&nodes[*at as usize].id)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let at = u32::try_from(nodes.len()).expect("memory ends before 2^32 commits do");
                vacant.insert(at);
                nodes.push(Node { id, earliest_child: u64::MAX, read: None });
                self.marks.push(0);
                at
            }
        }
    }

    fn known(&self, id: &ObjectId) -> Option<u32> {
        self.index.find(self.hasher.hash_one(id), |at| self.nodes[*at as usize].id == *id).copied()
    }

    fn read(&mut self, objects: &Objects, at: u32) -> Result<&Read, ObjectsError> {
        let slot = at as usize;
        if self.nodes[slot].read.is_none() {
            let commit = objects.commit(self.nodes[slot].id)?;
            let lands: Box<[ObjectId]> = message::landed_heads(&commit.message).into();
            for head in &lands {
                self.landed.entry(*head).or_default().push(at);
            }
            let parents: Box<[u32]> = commit.parents.iter().map(|parent| self.slot(*parent)).collect();
            let seconds = message::Signature::parse(&commit.committer, None).seconds;
            self.dates_lie |= self.nodes[slot].earliest_child < seconds;
            for parent in &parents {
                let parent = &mut self.nodes[*parent as usize];
                parent.earliest_child = parent.earliest_child.min(seconds);
                self.dates_lie |= parent.read.as_ref().is_some_and(|read| read.seconds > seconds);
            }
            self.nodes[slot].read = Some(Box::new(Read { parents, seconds, rank: None, lands }));
        }
        Ok(self.nodes[slot].read.as_ref().expect("read just above"))
    }

    /// Where a commit stands in a walk: before its parents, however their dates lie.
    fn rank(&mut self, objects: &Objects, at: u32) -> Result<Rank, ObjectsError> {
        // A stack of its own: imported histories have long rows of commits with one date.
        let mut open = vec![at];
        while let Some(&commit) = open.last() {
            let read = self.read(objects, commit)?;
            if read.rank.is_some() {
                open.pop();
                continue;
            }
            let (seconds, parents) = (read.seconds, read.parents.clone());
            let mut rank = (seconds, 0);
            let mut waits = false;
            for parent in parents {
                let read = self.read(objects, parent)?;
                match read.rank {
                    _ if read.seconds < seconds => {}
                    Some((above, in_a_row)) => rank = rank.max((above, in_a_row.saturating_add(1))),
                    None => {
                        open.push(parent);
                        waits = true;
                    }
                }
            }
            if !waits && let Some(read) = &mut self.nodes[commit as usize].read {
                read.rank = Some(rank);
                open.pop();
            }
        }
        Ok(self.read(objects, at)?.rank.unwrap_or_default())
    }

    fn clear_marks(&mut self) {
        for at in self.marked.drain(..) {
            self.marks[at as usize] = 0;
        }
    }

    /// Marks what `one` and what `twos` reach, until nothing is left that only one side is known
    /// to reach, and gives the candidates for best common ancestors.
    fn paint(&mut self, objects: &Objects, one: u32, twos: &[u32]) -> Result<Vec<u32>, ObjectsError> {
        self.clear_marks();
        let mut queue = Queue::default();
        self.mark(objects, &mut queue, one, ONE)?;
        for &two in twos {
            self.mark(objects, &mut queue, two, TWO)?;
        }
        let mut candidates = Vec::new();
        while queue.fresh > 0 {
            let Some((_, _, at)) = queue.heap.pop() else { break };
            let mark = &mut self.marks[at as usize];
            *mark &= !QUEUED;
            if *mark & STALE == 0 {
                queue.fresh -= 1;
            }
            let mut flags = *mark & (ONE | TWO | STALE);
            if flags == ONE | TWO {
                if *mark & RESULT == 0 {
                    *mark |= RESULT;
                    candidates.push(at);
                }
                flags |= STALE;
            }
            for parent in self.read(objects, at)?.parents.clone() {
                self.mark(objects, &mut queue, parent, flags)?;
            }
        }
        candidates.retain(|at| self.marks[*at as usize] & STALE == 0);
        Ok(candidates)
    }

    fn mark(&mut self, objects: &Objects, queue: &mut Queue, at: u32, flags: u8) -> Result<(), ObjectsError> {
        let old = self.marks[at as usize];
        let new = old | flags;
        if new == old {
            return Ok(());
        }
        if old == 0 {
            self.marked.push(at);
        }
        self.marks[at as usize] = new | QUEUED;
        if old & QUEUED != 0 {
            if new & STALE != 0 && old & STALE == 0 {
                queue.fresh -= 1;
            }
            return Ok(());
        }
        let rank = self.rank(objects, at)?;
        queue.heap.push((rank, Reverse(self.nodes[at as usize].id), at));
        if new & STALE == 0 {
            queue.fresh += 1;
        }
        Ok(())
    }

    /// Whether `descendant` is `ancestor` or has it in its history.
    ///
    /// # Errors
    /// Where a commit cannot be read.
    pub fn contains(
        &mut self,
        objects: &Objects,
        descendant: ObjectId,
        ancestor: ObjectId,
    ) -> Result<bool, ObjectsError> {
        if descendant == ancestor {
            return Ok(true);
        }
        let (descendant, ancestor) = (self.slot(descendant), self.slot(ancestor));
        self.paint(objects, ancestor, &[descendant])?;
        Ok(self.marks[ancestor as usize] & TWO != 0)
    }

    /// The best common ancestors of two commits, ordered by id.
    ///
    /// # Errors
    /// Where a commit cannot be read.
    pub fn merge_bases(
        &mut self,
        objects: &Objects,
        one: ObjectId,
        two: ObjectId,
    ) -> Result<Vec<ObjectId>, ObjectsError> {
        let (one, two) = (self.slot(one), self.slot(two));
        let candidates = self.paint(objects, one, &[two])?;
        self.independent(objects, candidates)
    }

    /// Drops candidates that others contain: dates that lie can leave such (`remove_redundant`).
    fn independent(&mut self, objects: &Objects, candidates: Vec<u32>) -> Result<Vec<ObjectId>, ObjectsError> {
        let mut kept = candidates.clone();
        if candidates.len() > 1 {
            for &candidate in &candidates {
                let others: Vec<u32> = candidates.iter().copied().filter(|at| *at != candidate).collect();
                self.paint(objects, candidate, &others)?;
                if self.marks[candidate as usize] & TWO != 0 {
                    kept.retain(|at| *at != candidate);
                }
            }
        }
        let mut ids: Vec<ObjectId> = kept.iter().map(|at| self.nodes[*at as usize].id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Those of `commits` of which no parent is among them.
    ///
    /// # Errors
    /// Where a commit cannot be read.
    pub fn roots(&mut self, objects: &Objects, commits: &HashSet<ObjectId>) -> Result<Vec<ObjectId>, ObjectsError> {
        let mut roots = Vec::new();
        for commit in commits {
            let at = self.slot(*commit);
            let parents = self.read(objects, at)?.parents.clone();
            if !parents.iter().any(|parent| commits.contains(&self.nodes[*parent as usize].id)) {
                roots.push(*commit);
            }
        }
        roots.sort_unstable();
        Ok(roots)
    }

    /// How `head` lies to `onto`; `None` where `onto` contains `head` already.
    ///
    /// # Errors
    /// Where a commit cannot be read.
    pub fn divergence(
        &mut self,
        objects: &Objects,
        onto: ObjectId,
        head: ObjectId,
    ) -> Result<Option<Arc<Divergence>>, ObjectsError> {
        if onto == head {
            return Ok(None);
        }
        let (onto_at, head_at) = (self.slot(onto), self.slot(head));
        let root = self.grown.root(onto_at);
        if self.grown.kin(root, head_at).is_none() {
            let (divergence, own) = self.walked(objects, root, head_at)?;
            let named: Vec<ObjectId> = own.iter().flat_map(|at| self.lands(*at)).copied().collect();
            let named: Vec<u32> = named.into_iter().map(|id| self.slot(id)).collect();
            self.grown.learn(root, head_at, divergence, &own, &named);
        }
        if root == onto_at || !self.dates_lie && self.grown.is_untouched(root, onto_at, head_at) {
            return Ok(self.grown.kin(root, head_at).and_then(|kin| kin.divergence.clone()));
        }
        Ok(self.walked(objects, onto_at, head_at)?.0.map(Arc::new))
    }

    /// Tells what was just made: a commit with these parents, whose trailers name these heads. How others
    /// lie to it is then mostly known without a walk.
    pub fn grew(&mut self, made: ObjectId, parents: &[ObjectId], lands: &[ObjectId]) {
        let (from, merged) = match *parents {
            [from] => (from, None),
            [from, merged] => (from, Some(merged)),
            _ => return,
        };
        let (made, from, merged) = (self.slot(made), self.slot(from), merged.map(|id| self.slot(id)));
        let lands: Vec<u32> = lands.iter().map(|id| self.slot(*id)).collect();
        self.grown.grew(made, from, merged, &lands);
    }

    /// The heads that a commit's trailers name, as far as it was read.
    fn lands(&self, at: u32) -> &[ObjectId] {
        self.nodes[at as usize].read.as_ref().map_or(&[], |read| &read.lands)
    }

    /// [`History::divergence`] by a walk, with what the head alone has.
    fn walked(
        &mut self,
        objects: &Objects,
        onto_at: u32,
        head_at: u32,
    ) -> Result<(Option<Divergence>, Vec<u32>), ObjectsError> {
        let candidates = self.paint(objects, onto_at, &[head_at])?;
        if self.marks[head_at as usize] & ONE != 0 {
            return Ok((None, Vec::new()));
        }
        let only = |marks: &[u8], at: u32, side: u8| marks[at as usize] & (ONE | TWO) == side;
        let own: Vec<u32> = self.marked.iter().copied().filter(|at| only(&self.marks, *at, TWO)).collect();
        let mut claimed: Vec<Claim> = Vec::new();
        for &at in self.marked.iter().filter(|at| only(&self.marks, **at, ONE)) {
            let of_the_head = |named: &&ObjectId| self.known(named).is_some_and(|named| only(&self.marks, named, TWO));
            let by = self.nodes[at as usize].id;
            claimed.extend(self.lands(at).iter().filter(of_the_head).map(|head| Claim { head: *head, by }));
        }
        claimed.sort_unstable();
        claimed.dedup();
        let ordered = self.parents_first(own.clone());
        let bases = self.independent(objects, candidates)?;
        Ok((Some(Divergence { bases, own: ordered, claimed }), own))
    }

    /// Orders commits so that parents come before children and, where both may come, older before
    /// younger.
    fn parents_first(&self, commits: Vec<u32>) -> Vec<ObjectId> {
        let members: std::collections::HashSet<u32> = commits.iter().copied().collect();
        let mut waiting: HashMap<u32, usize> = HashMap::new();
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut ready = BinaryHeap::new();
        let key = |at: u32| {
            let node = &self.nodes[at as usize];
            Reverse((node.read.as_ref().map_or(0, |read| read.seconds), node.id, at))
        };
        for &at in &commits {
            let parents = self.nodes[at as usize].read.as_ref().map_or(&[][..], |read| &read.parents);
            let inside = parents.iter().filter(|parent| members.contains(parent));
            let mut count = 0;
            for &parent in inside {
                children.entry(parent).or_default().push(at);
                count += 1;
            }
            if count == 0 {
                ready.push(key(at));
            } else {
                waiting.insert(at, count);
            }
        }
        let mut order = Vec::with_capacity(commits.len());
        while let Some(Reverse((_, id, at))) = ready.pop() {
            order.push(id);
            for &child in children.get(&at).map_or(&[][..], Vec::as_slice) {
                if let Some(count) = waiting.get_mut(&child) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(key(child));
                    }
                }
            }
        }
        order
    }

    /// The commits that `base` has and `head` has not, and that name `head` in a `Lexpr-Head` trailer, ordered by id.
    ///
    /// # Errors
    /// Where a commit cannot be read.
    pub fn naming(&mut self, objects: &Objects, base: ObjectId, head: ObjectId) -> Result<Vec<ObjectId>, ObjectsError> {
        let (base, head_at) = (self.slot(base), self.slot(head));
        // The walk reads every commit that only `base` has, and with them their trailers.
        self.paint(objects, base, &[head_at])?;
        let naming = self.landed.get(&head).map_or(&[][..], Vec::as_slice).iter();
        let in_base = naming.filter(|at| self.marks[**at as usize] & (ONE | TWO) == ONE);
        let mut naming: Vec<ObjectId> = in_base.map(|at| self.nodes[*at as usize].id).collect();
        naming.sort_unstable();
        Ok(naming)
    }

    /// What of `heads` `base` does not contain, with all their ancestors that `base` has not either:
    /// (commit, its parents among them), parents first. One walk, however many heads there are.
    ///
    /// # Errors
    /// Where a commit cannot be read.
    pub fn outside(
        &mut self,
        objects: &Objects,
        base: ObjectId,
        heads: &[ObjectId],
    ) -> Result<Vec<(ObjectId, Vec<ObjectId>)>, ObjectsError> {
        let base = self.slot(base);
        let heads: Vec<u32> = heads.iter().map(|head| self.slot(*head)).collect();
        self.paint(objects, base, &heads)?;
        let outside = self.marked.iter().copied().filter(|at| self.marks[*at as usize] & (ONE | TWO) == TWO).collect();
        let order = self.parents_first(outside);
        let members: std::collections::HashSet<ObjectId> = order.iter().copied().collect();
        Ok(order
            .iter()
            .map(|id| {
                let read = self.known(id).and_then(|at| self.nodes[at as usize].read.as_ref());
                let parents = read.map_or(&[][..], |read| &read.parents);
                let ids = parents.iter().map(|parent| self.nodes[*parent as usize].id);
                (*id, ids.filter(|parent| members.contains(parent)).collect())
            })
            .collect())
    }
}

/// What is still to be looked at, newest first.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<(Rank, Reverse<ObjectId>, u32)>,
    /// How many in the heap are not stale.
    fresh: usize,
}
