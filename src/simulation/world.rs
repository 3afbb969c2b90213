//! Who is broken, who clashes and when a gate lies, drawn from a seed.

use crate::simulation::random::Random;

/// How often things go wrong; each from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Share of items that fail a gate by themselves.
    pub fail: f64,
    /// Share of items that pass by themselves and fail together with at least one other.
    pub clash: f64,
    /// Share of gate runs that fail although what they judge is in order.
    pub flake: f64,
}

/// What is true of a plan's items, by canonical position.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    pub seed: u64,
    pub rates: Rates,
    broken: Vec<bool>,
    /// For each item those that it clashes with, ascending.
    clashes: Vec<Vec<u32>>,
}

impl World {
    /// Draws a world of `items` items. The same seed draws the same world.
    pub fn draw(items: usize, rates: Rates, seed: u64) -> Self {
        let mut random = Random::of(&[seed, 1]);
        let broken = (0..items).map(|_| random.is(rates.fail)).collect();
        let mut clashes = vec![Vec::new(); items];
        let mut random = Random::of(&[seed, 2]);
        for (one, other) in pairs(items, pair_probability(items, rates.clash), &mut random) {
            clashes[one].push(u32::try_from(other).unwrap_or(u32::MAX));
            clashes[other].push(u32::try_from(one).unwrap_or(u32::MAX));
        }
        Self { seed, rates, broken, clashes }
    }

    /// Draws so many worlds of which, taken together, exactly the share of items that is asked for is broken, to
    /// the nearest item: their mean says more than that of as many that are drawn one by one. (D. E. Knuth, "The Art
    /// of Computer Programming", volume 2, algorithm 3.4.2 S.)
    pub fn draw_together(items: usize, rates: Rates, worlds: usize) -> Vec<Self> {
        let mut random = Random::of(&[worlds as u64, items as u64, 7]);
        let mut left = worlds * items;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of items, which are far fewer than 2^52"
        )]
        let mut to_break = (left as f64 * rates.fail).round() as usize;
        let mut is_broken = || {
            #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
            let breaks = random.unit() * (left as f64) < to_break as f64;
            left -= 1;
            to_break -= usize::from(breaks);
            breaks
        };
        (1..=worlds as u64)
            .map(|seed| Self { broken: (0..items).map(|_| is_broken()).collect(), ..Self::draw(items, rates, seed) })
            .collect()
    }

    pub fn len(&self) -> usize {
        self.broken.len()
    }

    pub fn is_empty(&self) -> bool {
        self.broken.is_empty()
    }

    /// Whether the item fails wherever it is.
    pub fn is_broken(&self, item: usize) -> bool {
        self.broken[item]
    }

    /// Those that the item fails together with, ascending.
    pub fn clashes(&self, item: usize) -> impl Iterator<Item = usize> + '_ {
        self.clashes[item].iter().map(|other| *other as usize)
    }

    /// Whether the item, added to what `has` says is there, breaks it.
    pub fn breaks(&self, item: usize, has: impl Fn(usize) -> bool) -> bool {
        self.broken[item] || self.clashes(item).any(has)
    }

    /// Whether a run lies that judges what is in order: the `nth` of this gate on this tree, whichever
    /// strategy asks.
    pub fn is_flake(&self, gate: u64, tree: u64, nth: u64) -> bool {
        Random::of(&[self.seed, 3, gate, tree, nth]).is(self.rates.flake)
    }

    /// What the `nth` run of this gate on this tree takes, whichever strategy asks, where `mean_ms` is usual.
    pub fn takes_ms(&self, mean_ms: u64, spread: f64, gate: u64, tree: u64, nth: u64) -> u64 {
        if spread <= 0.0 {
            return mean_ms;
        }
        let variance = spread.mul_add(spread, 1.0).ln();
        let deviate = Random::of(&[self.seed, 6, gate, tree, nth]).normal();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "milliseconds"
        )]
        let drawn = (mean_ms as f64 * (variance.sqrt().mul_add(deviate, -variance / 2.0)).exp()).round() as u64;
        drawn.min(longest_ms(mean_ms, spread))
    }
}

/// What no run takes longer than: ten standard deviations above the mean.
pub fn longest_ms(mean_ms: u64, spread: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds"
    )]
    let longest = (mean_ms as f64 * spread.mul_add(10.0, 1.0)) as u64;
    longest
}

/// With which probability each pair clashes, so that this share of `items` clashes with at least one other.
pub fn pair_probability(items: usize, share: f64) -> f64 {
    if items < 2 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "nobody simulates 2^52 items")]
    let others = (items - 1) as f64;
    1.0 - (1.0 - share).powf(1.0 / others)
}

/// Each pair of numbers below `items` with this probability, without going through all of them: how many
/// pairs are skipped until the next is geometrically distributed.
fn pairs(items: usize, probability: f64, random: &mut Random) -> Vec<(usize, usize)> {
    let mut drawn = Vec::new();
    if probability <= 0.0 {
        return drawn;
    }
    // Pair number k of one is (one, one + 1 + k).
    let (mut one, mut next) = (0, random.failures_before_success(probability));
    while one + 1 < items {
        let of_this = items - one - 1;
        if next < of_this {
            drawn.push((one, one + 1 + next));
            next = (next + 1).saturating_add(random.failures_before_success(probability));
        } else {
            next -= of_this;
            one += 1;
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_has_as_many_of_each_kind_as_its_rates_say() {
        let rates = Rates { fail: 0.05, clash: 0.02, flake: 0.01 };
        let world = World::draw(100_000, rates, 7);
        let share = |of: &dyn Fn(usize) -> bool| (0..world.len()).filter(|item| of(*item)).count() as f64 / 1e5;
        assert!((share(&|item| world.is_broken(item)) - 0.05).abs() < 0.004);
        assert!((share(&|item| world.clashes(item).next().is_some()) - 0.02).abs() < 0.003);
        assert!((share(&|item| world.is_flake(0, item as u64, 1)) - 0.01).abs() < 0.002);
        for item in 0..world.len() {
            assert!(world.clashes(item).all(|other| other != item && world.clashes(other).any(|back| back == item)));
        }
        assert_eq!(world, World::draw(100_000, rates, 7));
        assert_ne!(world, World::draw(100_000, rates, 8));
    }

    #[test]
    fn worlds_drawn_together_have_as_many_broken_items_as_are_asked_for() {
        let rates = Rates { fail: 0.05, clash: 0.0, flake: 0.0 };
        for (items, worlds, broken) in [(20, 40, 40), (12, 40, 24), (1, 20, 1), (0, 3, 0), (7, 1, 0)] {
            let drawn = World::draw_together(items, rates, worlds);
            let is_broken = |world: &World| (0..items).filter(|item| world.is_broken(*item)).count();
            assert_eq!((drawn.len(), drawn.iter().map(is_broken).sum::<usize>()), (worlds, broken));
            assert_eq!(drawn, World::draw_together(items, rates, worlds));
        }
        let all = World::draw_together(3, Rates { fail: 1.0, ..rates }, 2);
        assert!(all.iter().all(|world| (0..3).all(|item| world.is_broken(item))));
    }

    #[test]
    fn runs_take_their_mean_on_average_and_lie_as_far_apart_as_the_spread_says() {
        let world = World::draw(1, Rates { fail: 0.0, clash: 0.0, flake: 0.0 }, 3);
        let drawn: Vec<f64> = (0..20_000).map(|nth| world.takes_ms(60_000, 0.5, 7, 8, nth) as f64).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let variance = drawn.iter().map(|ms| (ms - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
        assert!((mean / 60_000.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() / mean - 0.5).abs() < 0.03, "{}", variance.sqrt() / mean);
        assert_eq!(world.takes_ms(60_000, 0.0, 7, 8, 1), 60_000);
        assert_eq!(world.takes_ms(60_000, 0.5, 7, 8, 1), world.takes_ms(60_000, 0.5, 7, 8, 1));
    }

    #[test]
    fn nothing_goes_wrong_at_rates_of_nothing_and_everything_at_one() {
        let none = Rates { fail: 0.0, clash: 0.0, flake: 0.0 };
        let world = World::draw(200, none, 1);
        assert!((0..200).all(|item| !world.breaks(item, |_| true) && !world.is_flake(0, 0, item as u64)));
        let all = World::draw(5, Rates { fail: 1.0, clash: 1.0, flake: 1.0 }, 1);
        assert!((0..5).all(|item| all.is_broken(item) && all.clashes(item).count() == 4 && all.is_flake(0, 0, 9)));
        assert!(World::draw(0, none, 1).is_empty());
    }
}
