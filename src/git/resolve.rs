//! What the commit graph says about a plan's items: who contains whom, and what has landed already.
//!
//! Commits in, positions out; names only decide between items that have the same head.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use gix::ObjectId;

use super::history::History;
use super::objects::{Objects, ObjectsError, from_commit};
use crate::plan::natural::natural_cmp;
use crate::plan::reach::reaches;
use crate::vocabulary::names::{CommitId, ItemName};

/// One item with its head.
#[derive(Clone, Debug)]
pub struct HeadOf {
    pub name: ItemName,
    pub head: CommitId,
    /// As named in the plan; they decide which of two items with the same head comes first.
    pub deps: Vec<ItemName>,
}

/// What is known of a list of items before anything is merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relations {
    /// (dependent, dependency), as positions in the list, sorted: the nearest ones only; what these
    /// depend on comes through them. For `Graph::new`.
    pub implied: Vec<(usize, usize)>,
    /// One per item: why it needs no landing.
    pub already_landed: Vec<Option<AlreadyLanded>>,
    /// One per item, for `ComposeItem::merged`.
    pub merged: Vec<Vec<CommitId>>,
    /// Where files would come that the base has not, did all items land: paths from the top, sorted.
    /// Conflicts, and directory renames, may make it fewer or others.
    pub arriving: Vec<PathBuf>,
}

/// Why an item needs no landing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlreadyLanded {
    /// The base contains its head.
    InBase,
    /// This commit of the base names its head in a `Lexpr-Head` trailer.
    As(CommitId),
    /// The base has all that it changes, under commits that do not name it: to merge it would change
    /// nothing.
    ByContent,
    /// This head contains it, and has landed by content.
    Below(CommitId),
}

impl AlreadyLanded {
    /// The reason, for people who know the base as `base`.
    pub fn in_words(&self, base: &str) -> String {
        match self {
            Self::InBase => format!("in {base}"),
            Self::As(commit) => format!("in {base} as {}", commit.short()),
            Self::ByContent => format!("its changes are in {base} already"),
            Self::Below(head) => format!("part of {}, whose changes are in {base} already", head.short()),
        }
    }
}

impl std::fmt::Display for AlreadyLanded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.in_words("base"))
    }
}

/// Which items contain which: [`Relations::implied`].
///
/// # Errors
/// Where a commit cannot be read.
pub fn implied(
    objects: &Objects,
    history: &mut History,
    base: ObjectId,
    items: &[HeadOf],
    already_landed: &[Option<AlreadyLanded>],
) -> Result<Vec<(usize, usize)>, ObjectsError> {
    // Only items that still have to land can be waited for.
    let mut by_head: HashMap<ObjectId, Vec<usize>> = HashMap::new();
    for (at, item) in items.iter().enumerate().filter(|(at, _)| already_landed[*at].is_none()) {
        by_head.entry(from_commit(item.head)).or_default().push(at);
    }
    let mut implied = Vec::new();
    for group in by_head.values_mut().filter(|group| group.len() > 1) {
        *group = in_plan_order(items, group);
        implied.extend(group.windows(2).map(|pair| (pair[1], pair[0])));
    }
    let heads: Vec<ObjectId> = by_head.keys().copied().collect();
    let outside = history.outside(objects, base, &heads)?;

    // Parents come first: each commit knows the nearest heads at or below it.
    let mut nearest: HashMap<ObjectId, Rc<BTreeSet<usize>>> = HashMap::new();
    let mut below: HashMap<usize, HashSet<usize>> = HashMap::new();
    for (commit, parents) in outside {
        let mut from_parents = parents.iter().filter_map(|parent| nearest.get(parent));
        let mut heads = from_parents.next().cloned().unwrap_or_default();
        for more in from_parents {
            if !Rc::ptr_eq(&heads, more) && !more.is_subset(&heads) {
                Rc::make_mut(&mut heads).extend(more.iter());
            }
        }
        if let Some(group) = by_head.get(&commit) {
            let needed: Vec<usize> = heads
                .iter()
                .copied()
                .filter(|at| !heads.iter().any(|other| below.get(other).is_some_and(|set| set.contains(at))))
                .collect();
            implied.extend(needed.iter().map(|dependency| (group[0], *dependency)));
            let last = group[group.len() - 1];
            let mut all: HashSet<usize> = group[..group.len() - 1].iter().copied().collect();
            for at in &needed {
                all.insert(*at);
                all.extend(below.get(at).into_iter().flatten());
            }
            below.insert(last, all);
            heads = Rc::new(BTreeSet::from([last]));
        }
        nearest.insert(commit, heads);
    }
    implied.sort_unstable();
    Ok(implied)
}

/// Orders items with one and the same head: by the dependencies they name, then by natural name.
fn in_plan_order(items: &[HeadOf], group: &[usize]) -> Vec<usize> {
    let position: HashMap<&ItemName, usize> = items.iter().enumerate().map(|(at, item)| (&item.name, at)).collect();
    let needs = |at: usize| items[at].deps.iter().filter_map(|dep| position.get(dep).copied());
    let mut left = group.to_vec();
    left.sort_by(|l, r| natural_cmp(items[*l].name.as_str(), items[*r].name.as_str()));
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        // A cycle among what the plan names is the plan's error; any order will do for it.
        let next = left
            .iter()
            .position(|at| !left.iter().any(|other| other != at && reaches(*at, *other, needs)))
            .unwrap_or(0);
        order.push(left.remove(next));
    }
    order
}
