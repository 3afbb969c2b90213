//! The batch: no cones. The next items in canonical order stand straight on the tip, as many as are about as
//! likely to pass together as not; what is refused is searched for its first culprit, and what comes after
//! that one gathers again. It takes the fewest gate runs: each answer is worth nearly a bit, and there are
//! not many more bits to be had than the entropy of who fails (S. W. Golomb, "Run-length encodings", 1966;
//! R. G. Gallager and D. C. Van Voorhis, "Optimal source codes for geometrically distributed integer
//! alphabets", 1975).

use super::Round;
use crate::core::limits::Outcomes;
use crate::plan::Policy;
use crate::plan::graph::ItemIx;
use crate::vocabulary::event::Event;

/// What is believed of items before any of them was seen: one in twenty fails, as a Beta(1, 19) has it.
const BELIEVED: Outcomes = Outcomes { passed: 19, failed: 1 };

impl Round<'_> {
    pub(super) fn batch(&mut self, policy: &Policy) {
        if self.state.apex().is_none() && self.state.landing().is_none() {
            self.gather(policy);
        } else {
            self.apex();
        }
    }

    /// Forms an apex of the next items that nothing was found out about. In canonical order dependencies
    /// come first, so they are in it or have landed.
    fn gather(&mut self, policy: &Policy) {
        let seen = self.state.outcomes() + self.limits.history;
        // Where nothing at all is known, all of them are worth one try.
        let most = if seen == Outcomes::default() { usize::MAX } else { group_size(pass_rate(seen)) };
        let most = most.min(self.limits.batch_size as usize);
        let items: Vec<ItemIx> = self.state.undecided().take(most).collect();
        let blocked = items.iter().filter(|ix| self.is_blocked_by(policy, **ix)).count();
        if items.is_empty() || blocked > 0 {
            return;
        }
        let items = items.iter().map(|ix| self.state.graph().name(*ix).clone()).collect();
        self.record(Event::ApexFormed { apex: self.state.next_apex(), base: self.state.tip().commit, items });
    }
}

/// The share of items that pass, as far as is known.
pub fn pass_rate(seen: Outcomes) -> f64 {
    let Outcomes { passed, failed } = seen + BELIEVED;
    f64::from(passed) / (f64::from(passed) + f64::from(failed))
}

/// How many items to gate together where each passes with probability `rate`, below 1: the smallest m with
/// rate^m + rate^(m+1) at most 1 (Gallager and Van Voorhis).
pub fn group_size(rate: f64) -> usize {
    let mut together = rate;
    let mut size = 1;
    while together + together * rate > 1.0 {
        together *= rate;
        size += 1;
    }
    size
}

/// Where to look into a refused stretch of `items`, at least 2, of which each passes with probability
/// `rate`: after how many of them it is as likely as not that the first culprit has come by. Earlier than in the middle,
/// as the first culprit is likelier to stand near the beginning.
pub fn split(items: usize, rate: f64) -> usize {
    let powers = |count: usize| {
        let mut power = 1.0;
        // Below this nothing is left to be halved, however many more there are.
        for _ in 0..count {
            power *= rate;
            if power < 1e-9 {
                break;
            }
        }
        power
    };
    let half = f64::midpoint(1.0, powers(items));
    let (mut before, mut at, mut place) = (1.0, rate, 1);
    while at > half && place + 1 < items {
        before = at;
        at *= rate;
        place += 1;
    }
    // The one before it may come closer.
    if place > 1 && before - half < half - at { place - 1 } else { place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_as_likely_to_pass_as_not() {
        for (rate, size) in [(0.5, 1), (0.62, 2), (0.9, 7), (0.95, 14), (0.99, 69)] {
            assert_eq!(group_size(rate), size, "{rate}");
        }
        assert_eq!(pass_rate(Outcomes::default()), 0.95);
        assert_eq!(pass_rate(Outcomes { passed: 76, failed: 4 }), 0.95);
    }

    #[test]
    fn a_refused_stretch_is_split_where_both_answers_are_as_likely() {
        for rate in [0.5, 0.8, 0.95, 0.999] {
            for items in 2..200 {
                let share = |place: usize| {
                    (1.0 - f64::powi(rate, i32::try_from(place).unwrap()))
                        / (1.0 - f64::powi(rate, i32::try_from(items).unwrap()))
                };
                let place = split(items, rate);
                let off = |place: usize| (share(place) - 0.5).abs();
                let best = (1..items).map(off).fold(f64::INFINITY, f64::min);
                assert!(place >= 1 && place < items && off(place) < best + 1e-6, "{items} at {rate}: {place}");
            }
        }
        assert_eq!(split(1_000_000, 0.95), 14);
    }
}
