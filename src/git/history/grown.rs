//! What was merged onto what, so that a composite of a thousand heads is not walked through once more for
//! each of them.
//!
//! Let `made` come from a root commit by merging heads onto it, one after another. Its history is the
//! root's, the merges, and what those heads have that the root has not. A head that has none of these
//! (the merges, too: they are made of their parts alone, and a branch may begin on one that is made
//! again) lies to `made` just as it lies to the root: the same commits are its own, the same ones are common, so the best common ancestors are the same; and no
//! commit that came on the way names one of its own in a trailer. Whatever else there is to know is for
//! the walk.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Divergence;

/// A commit as [`super::History`] counts them.
type At = u32;

/// How a head lies to a root.
#[derive(Debug)]
pub(super) struct Kin {
    /// `None` where the root contains the head.
    pub(super) divergence: Option<Arc<Divergence>>,
    /// Whether no other head is known that shares a commit of its own, and no trailer that names one.
    alone: bool,
}

#[derive(Debug)]
struct Step {
    from: At,
    root: At,
    merged: Option<At>,
    /// What its trailers name.
    lands: Box<[At]>,
}

#[derive(Debug, Default)]
pub(super) struct Grown {
    steps: Vec<Step>,
    /// Where in `steps` a commit is.
    step_of: HashMap<At, u32>,
    kin: HashMap<(At, At), Kin>,
    /// For each root: which head has a commit that the root has not. One of them, if several have.
    owners: HashMap<(At, At), At>,
    /// For each root: what is named by trailers of commits that heads have and it has not.
    named: HashSet<(At, At)>,
}

impl Grown {
    /// The commit that `at` began with; itself where it was not seen growing.
    pub(super) fn root(&self, at: At) -> At {
        self.step(at).map_or(at, |step| step.root)
    }

    fn step(&self, at: At) -> Option<&Step> {
        self.steps.get(*self.step_of.get(&at)? as usize)
    }

    pub(super) fn kin(&self, root: At, head: At) -> Option<&Kin> {
        self.kin.get(&(root, head))
    }

    /// Takes up how `head` lies to `root`: the commits it alone has, and those that their trailers name.
    pub(super) fn learn(&mut self, root: At, head: At, divergence: Option<Divergence>, own: &[At], named: &[At]) {
        let mut alone = true;
        for &commit in own {
            if let Some(other) = self.owners.insert((root, commit), head).filter(|other| *other != head) {
                self.is_not_alone(root, other);
                alone = false;
            }
            alone &= !self.named.contains(&(root, commit));
        }
        self.kin.insert((root, head), Kin { divergence: divergence.map(Arc::new), alone });
        for &commit in named {
            self.named.insert((root, commit));
            if let Some(owner) = self.owners.get(&(root, commit)).copied() {
                self.is_not_alone(root, owner);
            }
        }
    }

    /// `made` is `from` with `merged` merged, if anything, and its trailers name `lands`.
    pub(super) fn grew(&mut self, made: At, from: At, merged: Option<At>, lands: &[At]) {
        let root = self.root(from);
        // What it brings must be known, or who has it in common with others is not.
        if made == root || merged.is_some_and(|head| !self.kin.contains_key(&(root, head))) {
            return;
        }
        let step = Step { from, root, merged, lands: lands.into() };
        match self.step_of.entry(made) {
            Entry::Occupied(known) => self.steps[*known.get() as usize] = step,
            Entry::Vacant(new) => {
                new.insert(u32::try_from(self.steps.len()).expect("there are no more than commits"));
                self.steps.push(step);
            }
        }
    }

    fn is_not_alone(&mut self, root: At, head: At) {
        if let Some(kin) = self.kin.get_mut(&(root, head)) {
            kin.alone = false;
        }
    }

    /// Whether a head that lies to `root` like this lies to `at`, which grew from it, in the same way for sure.
    pub(super) fn is_untouched(&self, root: At, at: At, head: At) -> bool {
        if !self.kin(root, head).is_some_and(|kin| kin.alone && kin.divergence.is_some()) {
            return false;
        }
        let is_its_own = |commit: &At| self.owners.get(&(root, *commit)) == Some(&head);
        let mut at = at;
        while at != root {
            match self.step(at) {
                Some(step) if step.merged != Some(head) && !is_its_own(&at) && !step.lands.iter().any(is_its_own) => {
                    at = step.from;
                }
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_3_nothing_is_concluded_past_a_merge_of_what_nobody_asked_about() {
        let lies = |commit| Divergence { bases: Vec::new(), own: vec![commit], claimed: Vec::new() };
        let id = gix::ObjectId::empty_blob(gix::hash::Kind::Sha1);
        let (root, head, other, strange) = (0, 1, 2, 3);
        let mut grown = Grown::default();
        grown.learn(root, head, Some(lies(id)), &[head], &[]);
        grown.learn(root, other, Some(lies(id)), &[other], &[]);
        grown.grew(10, root, Some(other), &[]);
        assert!(grown.is_untouched(root, 10, head));
        grown.grew(11, 10, Some(strange), &[]);
        assert_eq!(grown.root(11), 11, "it is walked from there");
        assert!(!grown.is_untouched(root, 11, head));
    }

    /// What is made depends on its parts alone: a branch may begin on the very commit that is made again.
    #[test]
    fn invariant_3_a_head_that_has_what_was_made_does_not_lie_as_it_did() {
        let lies = Divergence { bases: Vec::new(), own: Vec::new(), claimed: Vec::new() };
        let (root, head, made) = (0, 1, 10);
        let mut grown = Grown::default();
        grown.learn(root, head, Some(lies), &[head, made], &[]);
        grown.grew(made, root, None, &[]);
        assert!(!grown.is_untouched(root, made, head));
    }
}
