//! What each strategy will likely cost: gate runs, and how long the run takes, from how long gates took and how
//! often items fail.
//!
//! Closed formulas for items that fail independently of each other, each with its derivation beside it. They
//! tell strategies apart and say what order of magnitude to expect; none of them decides anything. Second
//! opinions are counted by themselves. Plans that are not too large are priced by simulating them instead; what a
//! [`Price`] is, and which of several is the cheapest, is the same for both.

use std::collections::BinaryHeap;

use super::limits::at_least_ms;
use super::work::{Gates, ItemWork, SharedGate, Work};
use crate::plan::Spend;

/// Above it nothing would ever land, and the formulas would divide by nothing.
const HIGHEST_RATE: f64 = 0.95;

/// A way to land.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Each item on its cone, and apexes.
    Pyramid,
    /// As the pyramid, several eligible items at once on one composite.
    PyramidGroups,
    /// Groups straight on the tip, bisected.
    Batch,
    /// Each on all that stand ahead of it.
    Train,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Pyramid, Self::PyramidGroups, Self::Batch, Self::Train];
}

/// What a way will likely cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    pub way: Way,
    pub gate_runs: f64,
    /// Runs besides: of failures for which an item is to be ejected, once more.
    pub confirmations: f64,
    /// What the gate runs take together.
    pub gate_ms: f64,
    pub makespan_ms: f64,
}

/// The longest way through the items: positions from the first to the last, and how long it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriticalPath {
    pub items: Vec<usize>,
    pub ms: u64,
}

/// A number of gate runs and what they take.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    runs: f64,
    ms: f64,
}

impl Amount {
    fn times(self, factor: f64) -> Self {
        Self { runs: self.runs * factor, ms: self.ms * factor }
    }

    fn and(self, other: Self) -> Self {
        Self { runs: self.runs + other.runs, ms: self.ms + other.ms }
    }
}

impl From<Gates> for Amount {
    fn from(gates: Gates) -> Self {
        Self { runs: f64::from(gates.runs), ms: float(gates.ms) }
    }
}

/// What each way costs, in the order of [`Way::ALL`].
pub fn prices(work: &Work, spend: Spend) -> Vec<Price> {
    Way::ALL.into_iter().map(|way| price(work, way, spend)).collect()
}

/// The cheapest of some prices: the fewest gate runs or the shortest run, as the plan wants to spend; the other
/// of these decides between equals.
pub fn cheapest(prices: &[Price], spend: Spend) -> Option<&Price> {
    let order = |price: &Price| match spend {
        Spend::Gates => (price.gate_runs, price.makespan_ms),
        Spend::Time => (price.makespan_ms, price.gate_runs),
    };
    let less = |l: &&Price, r: &&Price| {
        let ((l, l_then), (r, r_then)) = (order(l), order(r));
        l.total_cmp(&r).then(l_then.total_cmp(&r_then))
    };
    prices.iter().min_by(less)
}

fn price(work: &Work, way: Way, spend: Spend) -> Price {
    let model = Model::of(work);
    let (amount, makespan_ms) = match way {
        Way::Pyramid => model.pyramid(),
        Way::PyramidGroups => model.groups(spend),
        Way::Batch => model.batch(spend),
        Way::Train => model.train(),
    };
    let makespan_ms = makespan_ms.max(at_least_ms(&work.bounds, amount.runs, amount.ms));
    let confirmations = model.failure_rate * model.count;
    Price { way, gate_runs: amount.runs, confirmations, gate_ms: amount.ms, makespan_ms }
}

struct Model<'a> {
    work: &'a Work,
    /// Items that would land.
    count: f64,
    workers: f64,
    failure_rate: f64,
    pass_rate: f64,
}

impl<'a> Model<'a> {
    fn of(work: &'a Work) -> Self {
        let failure_rate = work.failure_rate.clamp(0.0, HIGHEST_RATE);
        Self {
            work,
            count: float(work.items.iter().filter(|item| item.lands).count() as u64),
            workers: f64::from(work.workers.max(1)),
            failure_rate,
            pass_rate: 1.0 - failure_rate,
        }
    }

    /// Every cone whose dependencies pass, and every apex. The run takes as long as cones that start in the
    /// order of the critical path, and the last apex.
    fn pyramid(&self) -> (Amount, f64) {
        let chances = self.chances();
        let cones = self.work.items.iter().zip(&chances).map(|(item, chance)| Amount::from(item.cone).times(*chance));
        let cones = cones.fold(Amount::default(), Amount::and);
        let apexes = self.apexes();
        (cones.and(apexes), float(scheduled(&self.work.items, self.work.workers)) + self.last_apex())
    }

    fn apexes(&self) -> Amount {
        self.work.apexes.iter().map(|gates| Amount::from(*gates)).fold(Amount::default(), Amount::and)
    }

    fn last_apex(&self) -> f64 {
        self.work.apexes.last().map_or(0.0, |gates| float(gates.ms))
    }

    /// How likely all dependencies of each item pass. As if what two dependencies need were never the same: a
    /// little low where it is.
    fn chances(&self) -> Vec<f64> {
        let mut chances: Vec<f64> = Vec::with_capacity(self.work.items.len());
        for item in &self.work.items {
            let chance = item.deps.iter().map(|dep| chances[*dep] * self.pass_rate).product();
            chances.push(chance);
        }
        chances
    }

    /// The gates on a composite of `size` items. A gate that `k` of `n` items need is needed there unless none of
    /// the `size` needs it.
    fn composite(&self, size: f64) -> Amount {
        let of = |gate: &SharedGate| {
            let share = (f64::from(gate.items) / self.count.max(1.0)).min(1.0);
            let chance = 1.0 - (1.0 - share).powf(size);
            Amount { runs: chance, ms: chance * float(gate.ms) }
        };
        self.work.together.iter().map(of).fold(Amount::default(), Amount::and)
    }

    /// A group of `size` items, tested whole and, where that fails, bisected for the first that fails. Either
    /// way all before that is done with: of an endless row of items, sum(q^k, k < size) = (1 − q^size) / p are.
    fn group(&self, size: f64, spend: Spend) -> Group {
        let whole_passes = self.pass_rate.powf(size);
        let done = if self.failure_rate > 0.0 { (1.0 - whole_passes) / self.failure_rate } else { size };
        // With free slots each round splits what lies between into one part more than there are slots.
        let parts = match spend {
            Spend::Gates => 2.0,
            Spend::Time => self.workers + 1.0,
        };
        let rounds = (1.0 - whole_passes) * size.ln() / f64::ln(parts);
        let probe = self.composite((size / 2.0).max(1.0));
        Group {
            done,
            amount: self.composite(size).and(probe.times(rounds * (parts - 1.0))),
            ms: self.composite(size).ms + probe.ms * rounds,
        }
    }

    /// The size at which a group is as likely to pass as not, which costs the fewest runs; for the shortest
    /// run, the one at which most items are done with in the time.
    fn group_size(&self, most: f64, spend: Spend) -> f64 {
        let mut size = 1.0;
        match spend {
            // The smallest m with q^m + q^(m+1) <= 1 (Gallager and van Voorhis, on geometric sources).
            Spend::Gates => {
                while size < most && self.pass_rate.powf(size) + self.pass_rate.powf(size + 1.0) > 1.0 {
                    size += 1.0;
                }
            }
            Spend::Time => {
                let pace = |size: f64| {
                    let group = self.group(size, spend);
                    group.done / group.ms.max(f64::MIN_POSITIVE)
                };
                while size < most && pace(size + 1.0) > pace(size) {
                    size += 1.0;
                }
            }
        }
        size
    }

    /// The whole set once and, unless it passes, group after group, one after another.
    fn batch(&self, spend: Spend) -> (Amount, f64) {
        if self.count == 0.0 {
            return (Amount::default(), 0.0);
        }
        let whole = self.composite(self.count);
        let refuted = 1.0 - self.pass_rate.powf(self.count);
        let group = self.group(self.group_size(self.count, spend), spend);
        let groups = refuted * self.count / group.done;
        (whole.and(group.amount.times(groups)), whole.ms + group.ms * groups)
    }

    /// Groups of items of one level at the same time, one after another where one needs the other, and apexes.
    fn groups(&self, spend: Spend) -> (Amount, f64) {
        if self.count == 0.0 {
            return (Amount::default(), 0.0);
        }
        let depth = float(depth(&self.work.items));
        let on_a_level = (self.count / depth).max(1.0);
        // Slots do more with a group each than with the parts of one.
        let best = self.group_size(on_a_level, Spend::Gates);
        let size = match (self.work.group_size, spend) {
            (Some(size), _) => f64::from(size).min(on_a_level),
            (None, Spend::Gates) => best,
            (None, Spend::Time) => best.min((on_a_level / self.workers).ceil().max(1.0)),
        };
        let group = self.group(size, Spend::Gates);
        let groups = self.count / group.done;
        let amount = group.amount.times(groups);
        let makespan = (group.ms * groups / self.workers).max(group.ms * depth);
        (amount.and(self.apexes()), makespan + self.last_apex())
    }

    /// As many positions at once as there are workers, each by the gates of its own item. Of those ahead of a
    /// position in the window, half of the window on average, each that fails makes it be gated anew.
    fn train(&self) -> (Amount, f64) {
        let window = self.workers.min(self.count.max(1.0));
        let again = 1.0 + self.failure_rate * (window - 1.0) / 2.0;
        let amount = self.composite(1.0).times(self.count * again);
        (amount, amount.ms / window)
    }
}

struct Group {
    /// Items that are landed or thrown out by it.
    done: f64,
    amount: Amount,
    ms: f64,
}

/// How many items stand one upon another at most.
fn depth(items: &[ItemWork]) -> u64 {
    let mut heights: Vec<u64> = Vec::with_capacity(items.len());
    for item in items {
        heights.push(1 + item.deps.iter().map(|dep| heights[*dep]).max().unwrap_or(0));
    }
    heights.into_iter().max().unwrap_or(1)
}

/// For each item, how long the longest way from its start to the end of all that needs it is.
fn ways(items: &[ItemWork]) -> Vec<u64> {
    let mut after = vec![0; items.len()];
    let mut ways = vec![0; items.len()];
    for (at, item) in items.iter().enumerate().rev() {
        ways[at] = item.cone.ms + after[at];
        for dep in &item.deps {
            after[*dep] = after[*dep].max(ways[at]);
        }
    }
    ways
}

/// The longest way through the cones; of several the one that begins first.
pub fn critical_path(items: &[ItemWork]) -> CriticalPath {
    let ways = ways(items);
    let mut dependents = vec![Vec::new(); items.len()];
    for (at, item) in items.iter().enumerate() {
        for dep in &item.deps {
            dependents[*dep].push(at);
        }
    }
    let longest = |those: &mut dyn Iterator<Item = usize>| those.max_by_key(|at| (ways[*at], std::cmp::Reverse(*at)));
    let mut at = longest(&mut (0..items.len()).filter(|at| items[*at].deps.is_empty()));
    let mut path = CriticalPath { items: Vec::new(), ms: at.map_or(0, |at| ways[at]) };
    while let Some(item) = at {
        path.items.push(item);
        at = longest(&mut dependents[item].iter().copied());
    }
    path
}

/// How long the cones take on so many workers, each free one taking the eligible item with the longest way
/// ahead.
fn scheduled(items: &[ItemWork], workers: u32) -> u64 {
    use std::cmp::Reverse;

    let ways = ways(items);
    let mut dependents = vec![Vec::new(); items.len()];
    let mut waiting: Vec<usize> = items.iter().map(|item| item.deps.len()).collect();
    for (at, item) in items.iter().enumerate() {
        for dep in &item.deps {
            dependents[*dep].push(at);
        }
    }
    let eligible = (0..items.len()).filter(|at| waiting[*at] == 0);
    let mut eligible: BinaryHeap<(u64, Reverse<usize>)> = eligible.map(|at| (ways[at], Reverse(at))).collect();
    let mut in_work: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut free = workers.max(1);
    let mut now = 0;
    loop {
        while free > 0
            && let Some((_, Reverse(at))) = eligible.pop()
        {
            in_work.push(Reverse((now + items[at].cone.ms, at)));
            free -= 1;
        }
        let Some(Reverse((end, at))) = in_work.pop() else { return now };
        now = end;
        free += 1;
        for &dependent in &dependents[at] {
            waiting[dependent] -= 1;
            if waiting[dependent] == 0 {
                eligible.push((ways[dependent], Reverse(dependent)));
            }
        }
    }
}

pub(super) fn float(number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate of milliseconds or of items, below 2^52")]
    {
        number as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::graph::ItemIx;

    /// So many independent items that share one gate of a second, with apexes of fifty.
    fn independent(count: usize, workers: u32, failure_rate: f64) -> Work {
        let gate = Gates { runs: 1, ms: 1000 };
        Work {
            items: vec![ItemWork { ix: ItemIx::default(), lands: true, deps: Vec::new(), cone: gate }; count],
            apexes: vec![gate; count.div_ceil(50)],
            together: vec![SharedGate { items: u32::try_from(count).unwrap(), ms: 1000 }],
            workers,
            failure_rate,
            group_size: None,
            bounds: Vec::new(),
        }
    }

    fn of(work: &Work, way: Way, spend: Spend) -> Price {
        price(work, way, spend)
    }

    #[test]
    fn a_batch_costs_hardly_more_than_what_there_is_to_learn() {
        for rate in [0.01, 0.05, 0.1, 0.2] {
            let work = independent(1000, 8, rate);
            let entropy = -(rate * f64::log2(rate) + (1.0 - rate) * f64::log2(1.0 - rate));
            let bound = entropy / (1.0 - rate);
            let per_landed = of(&work, Way::Batch, Spend::Gates).gate_runs / (1000.0 * (1.0 - rate));
            assert!(per_landed > bound && per_landed < 1.08 * bound + 0.002, "{rate}: {per_landed} and {bound}");
        }
    }

    #[test]
    fn a_pyramid_runs_each_cone_and_each_apex_and_takes_as_many_rounds_as_workers_leave() {
        for (workers, seconds) in [(2, 51.0), (8, 14.0), (32, 5.0)] {
            let price = of(&independent(100, workers, 0.05), Way::Pyramid, Spend::Gates);
            assert_eq!((price.gate_runs, price.makespan_ms), (102.0, seconds * 1000.0), "{workers} workers");
        }
        // Nothing fails: a batch proves all at once.
        let sure = of(&independent(100, 8, 0.0), Way::Batch, Spend::Gates);
        assert_eq!((sure.gate_runs, sure.makespan_ms, sure.confirmations), (1.0, 1000.0, 0.0));
    }

    #[test]
    fn what_stands_on_others_runs_only_if_these_pass_and_after_them() {
        let cone = Gates { runs: 1, ms: 1000 };
        let stack: Vec<ItemWork> = (0..3_usize)
            .map(|at| ItemWork {
                ix: ItemIx::default(),
                lands: true,
                deps: at.checked_sub(1).into_iter().collect(),
                cone,
            })
            .collect();
        let work = Work { items: stack.clone(), workers: 4, failure_rate: 0.5, ..Work::default() };
        let price = of(&work, Way::Pyramid, Spend::Time);
        assert_eq!((price.gate_runs, price.makespan_ms), (1.75, 3000.0));
        assert_eq!(critical_path(&stack), CriticalPath { items: vec![0, 1, 2], ms: 3000 });
        // Beside the stack two that take long: the stack begins first all the same.
        let mut items = stack;
        items.push(ItemWork {
            ix: ItemIx::default(),
            lands: true,
            deps: Vec::new(),
            cone: Gates { runs: 1, ms: 2000 },
        });
        items.push(ItemWork {
            ix: ItemIx::default(),
            lands: true,
            deps: Vec::new(),
            cone: Gates { runs: 1, ms: 1000 },
        });
        assert_eq!(scheduled(&items, 2), 3000);
        assert_eq!(critical_path(&[]), CriticalPath::default());
    }

    #[test]
    fn gates_that_few_items_need_run_on_few_composites() {
        let work = Work {
            together: vec![SharedGate { items: 100, ms: 10 }, SharedGate { items: 1, ms: 1_000_000 }],
            ..independent(100, 4, 0.05)
        };
        let group = Model::of(&work).composite(10.0);
        assert!(group.runs > 1.0 && group.runs < 1.11, "{group:?}");
    }

    #[test]
    fn groups_of_a_size_are_priced_by_it() {
        let of_size = |group_size| {
            let work = Work { group_size, apexes: Vec::new(), ..independent(60, 2, 0.0) };
            of(&work, Way::PyramidGroups, Spend::Gates).gate_runs
        };
        assert_eq!([Some(1), Some(2), Some(3), Some(50)].map(of_size), [60.0, 30.0, 20.0, 60.0 / 50.0]);
    }

    #[test]
    fn the_cheapest_is_what_the_plan_wants_to_save() {
        let work = independent(100, 8, 0.05);
        let named = |spend| cheapest(&prices(&work, spend), spend).unwrap().way;
        assert_eq!((named(Spend::Gates), named(Spend::Time)), (Way::Batch, Way::PyramidGroups));
        // One item is the same to all that need no apex.
        let one = Work { apexes: Vec::new(), ..independent(1, 8, 0.05) };
        assert!(prices(&one, Spend::Gates).iter().all(|price| price.gate_runs > 0.999 && price.makespan_ms > 999.0));
        let none = Work { workers: 3, ..Work::default() };
        assert!(prices(&none, Spend::Time).iter().all(|price| price.gate_runs == 0.0 && price.makespan_ms == 0.0));
    }
}
