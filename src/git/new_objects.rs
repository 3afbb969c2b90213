//! What one commit reaches and others do not, found by looking at how the tree of each commit differs from
//! those of its parents: what `git pack-objects --revs` finds, but only as much of it as fits into memory.

use std::collections::HashSet;

use gix::ObjectId;

use super::objects::{Objects, ObjectsError, mode};
use super::pack::New;

/// Of what is not yet there; more than this does not go through memory.
const MOST_BYTES: usize = 8 << 20;

/// All objects that `wanted` reaches and none of `present` does, but for those that are there already; with their
/// content, older ones first, and in an order that the same history always has. Trees of the past are not
/// looked for: what comes back unchanged from before `present` may be told, though it is reached. `None` where it
/// is too much.
///
/// # Errors
/// Where something that is reached cannot be read.
pub(super) fn reached(
    objects: &mut Objects,
    wanted: ObjectId,
    present: &HashSet<ObjectId>,
    is_there: impl Fn(ObjectId) -> bool,
) -> Result<Option<Vec<New<'static>>>, ObjectsError> {
    let mut found = Found { bytes: 0, objects: Vec::new() };
    let mut seen = HashSet::new();
    // What is new in a tree depends on what stood there before: one that comes back is looked at again.
    let mut compared: HashSet<(ObjectId, Vec<ObjectId>)> = HashSet::new();
    let mut commits = vec![wanted];
    while let Some(id) = commits.pop() {
        if present.contains(&id) || !seen.insert(id) {
            continue;
        }
        let commit = objects.commit(id)?;
        found.add(objects, id, None, &is_there)?;
        let mut before = Vec::new();
        for parent in &commit.parents {
            before.push(objects.commit(*parent)?.tree);
        }
        let mut trees = vec![(commit.tree, before)];
        while let Some((id, before)) = trees.pop() {
            if before.contains(&id) || !compared.insert((id, before.clone())) {
                continue;
            }
            let tree = objects.tree(id)?;
            if seen.insert(id) {
                found.add(objects, id, before.first().copied(), &is_there)?;
            }
            let mut old = Vec::new();
            for id in before {
                old.push(objects.tree(id)?);
            }
            for entry in &tree.entries {
                let entries = || old.iter().filter_map(|tree| tree.entry(&entry.name));
                if entry.mode == mode::SUBMODULE || entries().any(|before| before.id == entry.id) {
                    continue;
                }
                if entry.is_tree() {
                    let before = entries().filter(|before| before.is_tree()).map(|before| before.id).collect();
                    trees.push((entry.id, before));
                } else if seen.insert(entry.id) {
                    let like = entries().find(|before| !before.is_tree()).map(|before| before.id);
                    found.add(objects, entry.id, like, &is_there)?;
                }
            }
            if found.bytes > MOST_BYTES {
                return Ok(None);
            }
        }
        commits.extend(commit.parents.iter().copied());
    }
    // The newest was found first.
    found.objects.reverse();
    Ok(Some(found.objects))
}

struct Found {
    bytes: usize,
    objects: Vec<New<'static>>,
}

impl Found {
    fn add(
        &mut self,
        objects: &Objects,
        id: ObjectId,
        like: Option<ObjectId>,
        is_there: impl Fn(ObjectId) -> bool,
    ) -> Result<(), ObjectsError> {
        if !is_there(id) {
            let (kind, data) = objects.any(id)?;
            self.bytes += data.len();
            self.objects.push(New { id, kind, data: data.into(), like });
        }
        Ok(())
    }
}
