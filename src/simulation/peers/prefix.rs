//! Prefix bisection: a group of the first m items on the tip; if it fails, binary search for the shortest
//! prefix that does. The prefix before it has passed and lands, the item at its end is ejected, and the next
//! group is gathered from what follows. Where the next failing item lies is geometrically distributed, so to
//! search for it is to write a number down in as few bits as possible: the best m is that of Golomb's
//! run-length code (S. Golomb, "Run-length encodings", 1966; shown to be optimal by R. Gallager and
//! D. van Voorhis, "Optimal source codes for geometrically distributed integer alphabets", 1975). One probe at
//! a time, however many workers there are.

use crate::simulation::Setting;
use crate::simulation::figures::Outcome;
use crate::simulation::peers::machine::{Machine, stretch};
use crate::simulation::world::World;

/// With groups of `size` items, at least 1.
pub fn run(world: &World, setting: &Setting, size: usize) -> Outcome {
    let mut machine = Machine::new(world, setting);
    let mut first = 0;
    while first < world.len() {
        let end = first.saturating_add(size.max(1)).min(world.len());
        let whole = stretch::tree(&machine, first..end);
        if machine.passes(whole) {
            stretch::land(&mut machine, first..end);
            first = end;
            continue;
        }
        // The longest prefix known to pass and the shortest known to fail: where it ends, what it holds.
        let (mut passing, mut sound) = (first, machine.tip());
        let (mut failing, mut suspect) = (end, whole);
        while failing - passing > 1 {
            let middle = passing + (failing - passing) / 2;
            let tree = stretch::extended(&machine, sound, first, passing..middle);
            if machine.passes(tree) {
                (passing, sound) = (middle, tree);
            } else {
                (failing, suspect) = (middle, tree);
            }
        }
        let lands = if machine.fails_again(suspect) { passing } else { failing };
        stretch::land(&mut machine, first..lands);
        first = failing;
    }
    machine.finish()
}

/// The group size with the fewest runs where this share of items fails: the smallest m with
/// q^m + q^(m+1) ≤ 1, q = 1 − `fail_rate`. All there are if none ever fails.
pub fn best_size(fail_rate: f64) -> usize {
    let pass_rate = 1.0 - fail_rate;
    if fail_rate <= 0.0 {
        return usize::MAX;
    }
    if pass_rate <= 0.0 {
        return 1;
    }
    // q^m (1 + q) = 1, solved for m.
    let exact = -pass_rate.ln_1p() / (-fail_rate).ln_1p();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above 0; beyond the largest it is the largest"
    )]
    let size = exact.ceil().max(1.0) as usize;
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_size_is_the_smallest_that_golomb_allows() {
        for per_mille in 1..1000 {
            let fail_rate = f64::from(per_mille) / 1000.0;
            let pass_rate = 1.0 - fail_rate;
            let allowed = |m: i32| pass_rate.powi(m) + pass_rate.powi(m + 1) <= 1.0;
            let smallest = (1..).find(|m| allowed(*m)).unwrap();
            assert_eq!(best_size(fail_rate), smallest as usize, "at {fail_rate}");
        }
        assert_eq!([best_size(0.05), best_size(0.1), best_size(0.5), best_size(1.0)], [14, 7, 1, 1]);
        assert_eq!(best_size(0.0), usize::MAX);
    }
}
