//! Whether one thing leads to another, step by step.

use std::collections::BTreeSet;

/// Whether steps from `from`, one or more of them, lead to `to`. Circles are gone round once.
pub fn reaches<T, I>(from: T, to: T, next: impl Fn(T) -> I) -> bool
where
    T: Copy + Ord,
    I: IntoIterator<Item = T>,
{
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        for step in next(at) {
            if step == to {
                return true;
            }
            if seen.insert(step) {
                open.push(step);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_is_reached_by_a_step_at_least_and_circles_end() {
        let next = |at: usize| match at {
            0 => vec![1, 2],
            1 => vec![3],
            3 => vec![1],
            _ => Vec::new(),
        };
        assert!(reaches(0, 3, next) && reaches(1, 1, next) && reaches(0, 2, next));
        assert!(!reaches(0, 0, next) && !reaches(2, 0, next) && !reaches(3, 2, next));
    }
}
