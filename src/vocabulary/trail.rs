//! How a target came to be where it is: the steps it took since a run began.

use std::fmt;
use std::sync::Arc;

use super::names::{ItemName, TreeId};

/// The target went from one tree to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStep {
    /// The item that landed; `None` where others moved the target.
    pub item: Option<ItemName>,
    pub before: TreeId,
    pub after: TreeId,
}

/// Steps in the order in which they were taken. Each composite is made with the trail that led beneath it, and there are
/// as many of them as items: so a copy shares all that there is, and nothing is copied when a step is added.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Last>>);

struct Last {
    step: TargetStep,
    before: Trail,
    /// Of all steps.
    digest: [u8; 32],
}

impl Trail {
    pub fn push(&mut self, step: TargetStep) {
        let mut hasher = blake3::Hasher::new();
        let name = step.item.as_ref().map_or("", |name| name.as_str());
        hasher.update(&self.digest()).update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(step.before.as_bytes()).update(step.after.as_bytes());
        let before = std::mem::take(self);
        self.0 = Some(Arc::new(Last { step, before, digest: *hasher.finalize().as_bytes() }));
    }

    /// The last step first.
    pub fn backwards(&self) -> impl Iterator<Item = &TargetStep> {
        std::iter::successors(self.0.as_ref(), |last| last.before.0.as_ref()).map(|last| &last.step)
    }

    /// The same for equal steps, and for no others.
    pub fn digest(&self) -> [u8; 32] {
        self.0.as_ref().map_or([0; 32], |last| last.digest)
    }
}

impl Drop for Last {
    /// Of as many steps as there are items each would drop the one before it within itself, and the stack would not do.
    fn drop(&mut self) {
        let mut before = self.before.0.take();
        while let Some(mut last) = before.and_then(Arc::into_inner) {
            before = last.before.0.take();
        }
    }
}

impl Extend<TargetStep> for Trail {
    fn extend<T: IntoIterator<Item = TargetStep>>(&mut self, steps: T) {
        steps.into_iter().for_each(|step| self.push(step));
    }
}

impl FromIterator<TargetStep> for Trail {
    fn from_iter<T: IntoIterator<Item = TargetStep>>(steps: T) -> Self {
        let mut trail = Self::default();
        trail.extend(steps);
        trail
    }
}

impl PartialEq for Trail {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Trail {}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.backwards()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(nth: u32) -> TargetStep {
        let tree = |nth: u32| TreeId::from_bytes(&[nth.to_be_bytes(); 5].concat()).unwrap();
        let item = (!nth.is_multiple_of(3)).then(|| ItemName::new(format!("item-{nth}")));
        TargetStep { item, before: tree(nth), after: tree(nth + 1) }
    }

    #[test]
    fn a_way_is_told_backwards_and_a_copy_goes_on_by_itself() {
        let mut trail: Trail = (0..3).map(step).collect();
        let copy = trail.clone();
        trail.push(step(3));
        assert_eq!(trail.backwards().cloned().collect::<Vec<_>>(), [3, 2, 1, 0].map(step));
        assert_eq!(copy.backwards().count(), 3);
        assert_eq!(copy, (0..3).map(step).collect());
        assert_ne!(trail, copy);
        assert_eq!((Trail::default().backwards().count(), Trail::default()), (0, Trail::default()));
        // Others moved it to where an item would have led.
        assert_ne!(
            [step(1)].into_iter().collect::<Trail>(),
            [TargetStep { item: None, ..step(1) }].into_iter().collect()
        );
    }

    #[test]
    fn a_way_of_a_million_steps_is_dropped_on_a_small_stack() {
        let drop_one = || drop((0..1_000_000).map(step).collect::<Trail>());
        std::thread::Builder::new().stack_size(128 * 1024).spawn(drop_one).unwrap().join().unwrap();
    }
}
