//! Random worlds: plans, what fails, conflicts, flakes and clashes in them, how long things take,
//! and what goes wrong around a run.

use lexpr::plan::{Landing, Spend};
use lexpr::vocabulary::event::{Event, FinalItem, ItemVerdict};
use proptest::prelude::*;

use super::{
    Busyness, Effect, GateSpec, ItemSpec, Limited, Mishap, OthersMove, Outcome, Rule, Stop, When, World, gate, mix,
};

/// Everything about a world that may change how long things take and who is first.
#[derive(Clone, Debug)]
pub struct Pace {
    workers: u32,
    seed: u64,
    longest_gate_ms: u64,
    longest_hand_ms: u64,
    spend: Spend,
    memory_limited: bool,
    memory_peaks: bool,
    limited: Limited,
}

pub fn paces() -> impl Strategy<Value = Pace> {
    let gate_ms = prop_oneof![Just(0_u64), Just(10), Just(5000)];
    let hand_ms = prop_oneof![Just(0_u64), Just(10), Just(3000)];
    let memory = prop_oneof![2 => Just((false, false)), 1 => Just((true, false)), 1 => Just((true, true))];
    (1_u32..7, any::<u64>(), gate_ms, hand_ms, any::<bool>(), memory, limited()).prop_map(
        |(workers, seed, longest_gate_ms, longest_hand_ms, time, (memory_limited, memory_peaks), limited)| Pace {
            workers,
            seed,
            longest_gate_ms,
            longest_hand_ms,
            spend: if time { Spend::Time } else { Spend::Gates },
            memory_limited,
            memory_peaks,
            limited,
        },
    )
}

/// Half of the worlds have named limits; none of them may change what a run comes to.
fn limited() -> impl Strategy<Value = Limited> {
    let resource = (prop::option::of(1_u32..4), prop_oneof![2 => Just(0_u64), 1 => Just(500), 1 => Just(2000)]);
    let gates = || prop::sample::select(vec!["unit", "lint", "e2e", "unit2", "slow", "quick", "own0", "part"]);
    let claims = prop::collection::vec((gates(), 0_usize..2, 1_u32..4), 0..6);
    let refused = prop::collection::vec((gates(), 0_u32..4), 0..3);
    let some = (resource.clone(), resource, claims, refused).prop_map(|(db, api, claims, refused)| {
        let resources = [("db", db), ("api", api)];
        let claim = |(run, at, amount): (&str, usize, u32)| {
            let (name, (limit, _)) = resources[at];
            (run.to_owned(), name.to_owned(), amount.min(limit.unwrap_or(u32::MAX)))
        };
        Limited {
            claims: claims.into_iter().map(claim).collect(),
            refused: refused.into_iter().map(|(run, times)| (run.to_owned(), times)).collect(),
            resources: resources.map(|(name, resource)| (name.to_owned(), resource)).into(),
        }
    });
    prop_oneof![Just(Limited::default()), some]
}

impl Pace {
    /// What flakes while the target is red is seen to do so where runs are spent for time, and not where they are saved.
    pub fn spending_as(self, other: &Self) -> Self {
        Self { spend: other.spend, ..self }
    }
}

pub fn at_pace(world: World, pace: &Pace) -> World {
    world.workers(pace.workers).seed(pace.seed).with(|world| {
        world.longest_gate_ms = pace.longest_gate_ms;
        world.longest_hand_ms = pace.longest_hand_ms;
        world.limits.spend = pace.spend;
        // Half of them have a pool that adapts to whatever is measured.
        if mix(pace.seed, ADAPTS).is_multiple_of(2) {
            let at_first = 1 + mix(pace.seed, AT_FIRST) % u64::from(pace.workers);
            world.limits.workers_at_first = u32::try_from(at_first).ok();
            world.load = Busyness::Wild;
        }
        world.limited = pace.limited.clone();
        // Half of them know how long gates took before, or think so: that decides who starts first.
        world.durations = KNOWN_GATES
            .iter()
            .zip(1..)
            .filter(|_| pace.seed.is_multiple_of(2))
            .map(|(gate, at)| ((*gate).to_owned(), mix(pace.seed, at) % 10_000))
            .collect();
        if pace.memory_limited {
            // Two jobs are one too many.
            world.memory = vec![10, 60, 120];
            world.memory_threshold = Some(100);
            world.memory_peaks = pace.memory_peaks;
        }
    })
}

/// What a pace's number is mixed with, to say whether its pool adapts, and from how many workers.
const ADAPTS: u64 = 31_337;
const AT_FIRST: u64 = 31_338;

/// Of which durations may be known; of others they are guessed.
const KNOWN_GATES: [&str; 5] = ["unit", "unit2", "e2e", "quick", "own0"];

pub fn name(at: usize) -> String {
    format!("i{at}")
}

/// Up to `most` items, as many of one number as of another.
pub fn some_items(most: usize) -> BoxedStrategy<Vec<ItemSpec>> {
    items(1..=most).boxed()
}

/// Few items more often than many, which teach less a second.
pub fn few_or_many_items(most: usize) -> BoxedStrategy<Vec<ItemSpec>> {
    prop_oneof![4 => items(1..=6), 3 => items(1..=20), 1 => items(1..=most)].boxed()
}

/// Each item may depend on earlier ones; priorities shuffle the canonical order.
fn items(how_many: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<ItemSpec>> {
    let item = (prop::collection::vec(any::<prop::sample::Index>(), 0..4), 0_i64..3, 0_u8..20);
    prop::collection::vec(item, how_many).prop_map(|items| {
        items
            .into_iter()
            .enumerate()
            .map(|(at, (deps, priority, landed))| {
                let mut deps: Vec<String> =
                    deps.iter().filter(|_| at > 0).map(|dep| name(dep.index(at.max(1)))).collect();
                deps.sort();
                deps.dedup();
                ItemSpec { name: name(at), deps, priority, gates: None, already_landed: landed == 0 }
            })
            .collect()
    })
}

pub fn subset(items: usize, upto: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec((0..items).prop_map(name), 0..=upto).prop_map(|mut names| {
        names.sort();
        names.dedup();
        names
    })
}

pub fn shared_gates() -> Vec<GateSpec> {
    vec![gate("unit"), gate("lint").optional(), gate("e2e").attempts(2)]
}

pub fn effects() -> impl Strategy<Value = Effect> {
    prop_oneof![
        6 => Just(Effect::Fails),
        3 => Just(Effect::FailsAtFirst(1)),
        1 => Just(Effect::TimesOut),
    ]
}

/// Rules on some of these gates. A rule on few items fails more than one on many.
pub fn rules(gates: Vec<&'static str>, items: usize, most: usize) -> impl Strategy<Value = Vec<Rule>> {
    let present =
        prop_oneof![1 => subset(items, 0), 8 => subset(items, 1), 8 => subset(items, 2), 6 => subset(items, 3)];
    let absent = prop_oneof![4 => subset(items, 0), 1 => subset(items, 1)];
    let rule = (prop::sample::select(gates), present, absent, effects());
    prop::collection::vec(rule, 0..=most).prop_map(|rules| {
        rules
            .into_iter()
            .map(|(gate, present, absent, effect)| Rule { gate: gate.to_owned(), present, absent, effect })
            .collect()
    })
}

pub fn pairs(items: usize, most: usize) -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(((0..items), (0..items)), 0..=most)
        .prop_map(|pairs| pairs.into_iter().filter(|(a, b)| a != b).map(|(a, b)| (name(a), name(b))).collect())
}

/// A world in which all items share all gates, and which fails by monotone rules alone: what it
/// comes to can be said by plainer means.
pub fn plain_worlds(items: BoxedStrategy<Vec<ItemSpec>>) -> impl Strategy<Value = World> {
    items
        .prop_flat_map(|items| {
            let n = items.len();
            (Just(items), rules(vec!["unit", "lint", "e2e"], n, 5), pairs(n, 3), 1_u32..12, any::<bool>(), landings())
        })
        .prop_map(|(mut items, mut rules, conflicts, batch, fail_fast, landing)| {
            for rule in &mut rules {
                rule.absent.clear();
                rule.effect = Effect::Fails;
                if rule.present.is_empty() && rule.gate != "lint" {
                    rule.present.push(name(0));
                }
            }
            items.iter_mut().for_each(|item| item.already_landed = false);
            World { items, rules, conflicts, ..World::of("") }.gates(shared_gates()).batch(batch).with(|world| {
                world.limits.fail_fast = fail_fast;
                (world.limits.landing, world.group_size) = landing;
            })
        })
}

/// How items land, and how many the pyramid gates together.
pub fn landings() -> impl Strategy<Value = (Landing, u32)> {
    prop_oneof![
        3 => Just((Landing::Pyramid, 1)),
        2 => (2_u32..6).prop_map(|size| (Landing::Pyramid, size)),
        2 => Just((Landing::Batch, 1)),
        2 => Just((Landing::Train, 1)),
    ]
}

/// Own gates, gates told their item, gates on declared inputs, gates on one side only.
pub fn gate_lists(items: usize) -> impl Strategy<Value = Vec<Option<Vec<GateSpec>>>> {
    let own = |at: usize| {
        let kinds = vec![
            gate("unit"),
            gate("unit").running("unit2"),
            gate("unit").told_its_item(),
            gate("lint").optional(),
            gate("lint"),
            gate("e2e").attempts(2),
            gate("slow").only_on_apexes(),
            gate("quick").only_on_cones(),
            gate("own").running(["own0", "own1", "own2"][at % 3]),
            gate("part").looking_at(&[&name(at), &name(at / 2)]),
            gate("part").running("half").looking_at(&[&name(at % 2)]),
        ];
        prop_oneof![
            2 => Just(None),
            3 => prop::sample::subsequence(kinds, 0..5).prop_map(Some),
        ]
    };
    (0..items).map(own).collect::<Vec<_>>()
}

/// Anything goes, flakes included.
pub fn worlds(items: BoxedStrategy<Vec<ItemSpec>>) -> impl Strategy<Value = World> {
    items
        .prop_flat_map(|items| {
            let n = items.len();
            let gates = vec!["unit", "lint", "e2e", "unit2", "slow", "quick", "own0", "own1", "own2", "part", "half"];
            let knobs = (1_u32..12, any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.1), landings());
            (Just(items), gate_lists(n), rules(gates, n, 10), pairs(n, 4), knobs)
        })
        .prop_map(|(mut items, gates, rules, conflicts, (batch, fail_fast, second_opinion, blocks, landing))| {
            for (item, gates) in items.iter_mut().zip(gates) {
                item.gates = gates;
            }
            World { items, rules, conflicts, ..World::of("") }.gates(shared_gates()).batch(batch).with(|world| {
                world.limits.fail_fast = fail_fast;
                world.limits.second_opinion = second_opinion;
                (world.limits.landing, world.group_size) = landing;
                if blocks {
                    world.block_on.push("sl*".to_owned());
                }
            })
        })
}

/// What a run came to, without anything that may depend on time.
#[derive(Debug, PartialEq)]
pub struct Result {
    landed: Vec<String>,
    target: String,
    items: Vec<FinalItem>,
    verdicts: Vec<Vec<ItemVerdict>>,
}

pub fn result(outcome: &Outcome) -> Result {
    let verdicts = outcome.graph.indices().map(|ix| {
        let of_item = |event: &Event| match event {
            Event::ItemDecided(decided) if decided.item == *outcome.graph.name(ix) => Some(decided.gates.clone()),
            _ => None,
        };
        outcome.events.iter().rev().find_map(|recorded| of_item(&recorded.event)).unwrap_or_default()
    });
    Result {
        landed: outcome.landed(),
        target: outcome.hands.target().to_string(),
        items: outcome.end().items.clone(),
        verdicts: verdicts.collect(),
    }
}

/// What may go wrong around a run that ends by itself.
pub fn mishaps() -> impl Strategy<Value = Vec<Mishap>> {
    let mishap = prop_oneof![
        (1_usize..6).prop_map(Mishap::MovedBeforeLanding),
        (1_usize..4).prop_map(Mishap::RefusedLanding),
        (0_u64..20_000).prop_map(Mishap::Interrupt),
    ];
    prop::collection::vec(mishap, 0..4)
}

/// Ends before the end, at any event or time.
pub fn stops() -> impl Strategy<Value = Vec<Stop>> {
    let stop = prop_oneof![
        3 => (1_usize..150).prop_map(Stop::Kill),
        2 => (1_usize..150, 0_usize..4).prop_map(|(events, part)| Stop::PowerLoss(events, part)),
        1 => (1_usize..4).prop_map(Stop::KillOnceMoved),
        1 => (0_u64..20_000).prop_map(Stop::Interrupt),
    ];
    prop::collection::vec(stop, 1..6)
}

/// A world, everything that goes wrong in it, and what its run must come to all the same.
#[derive(Clone, Debug)]
pub struct Trial {
    pub world: World,
    pub comes_to: ComesTo,
}

#[derive(Clone, Debug)]
pub enum ComesTo {
    /// Nothing in it hangs on a moment: what an undisturbed run comes to, at this other pace.
    TheSameUndisturbed(Pace),
    /// Others move the target and are in nobody's way: what one item after another comes to.
    TheSameOneByOne,
    /// What others did, and which gates could not be run, hangs on the moment: the invariants alone.
    AnyEnd,
}

/// How often a run is taken up again that must come to its end: more often than it can be stopped.
const TAKEN_UP: usize = 40;

/// Everything at once.
pub fn trials(most: usize) -> impl Strategy<Value = Trial> {
    let paced = |world, pace: Pace, stops, mishaps| {
        at_pace(world, &pace).with(|world| {
            world.stops = stops;
            world.mishaps = mishaps;
            world.taken_up = TAKEN_UP;
        })
    };
    let disturbed = move || (paces(), prop::collection::vec(stop(), 0..6), passing_mishaps());
    let timeless = (worlds(few_or_many_items(most)), disturbed(), paces(), urgent_beside()).prop_map(
        move |(world, (pace, stops, mishaps), other, urgent_beside)| Trial {
            comes_to: ComesTo::TheSameUndisturbed(other.spending_as(&pace)),
            world: paced(world, pace, stops, mishaps).with(|world| world.urgent_beside = urgent_beside),
        },
    );
    let beside_others = (plain_worlds(few_or_many_items(most)), disturbed(), others(0)).prop_map(
        move |(world, (pace, stops, mishaps), others)| Trial {
            world: paced(world, pace, stops, mishaps).with(|world| world.others = others),
            comes_to: ComesTo::TheSameOneByOne,
        },
    );
    let wild = worlds(few_or_many_items(most))
        .prop_flat_map(|world| {
            let n = world.items.len();
            (Just(world), others(n), unrunnable(n))
        })
        .prop_flat_map(move |(world, others, unrunnable)| {
            let knobs = (prop_oneof![Just(0_usize), 0..TAKEN_UP], 0_u32..12);
            let overrides = prop_oneof![2 => Just(Vec::new()), 1 => subset(world.items.len(), 3)];
            (Just((world, others, unrunnable)), disturbed(), knobs, (urgent_beside(), any::<bool>(), overrides))
        })
        .prop_map(move |((world, others, unrunnable), (pace, stops, mishaps), (taken_up, max_rebases), beside)| {
            Trial {
                world: paced(world, pace, stops, mishaps).with(|world| {
                    (world.urgent_beside, world.urgent, world.overrides) = beside;
                    world.others = others;
                    world.rules.extend(unrunnable);
                    world.taken_up = taken_up;
                    world.limits.max_rebases = max_rebases;
                }),
                comes_to: ComesTo::AnyEnd,
            }
        });
    prop_oneof![3 => timeless, 1 => beside_others, 3 => wild]
}

/// Moments of fast runs and of slow ones.
fn moments() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..60, 0_u64..3000, 0_u64..20_000]
}

/// An end before the end, at any event or time.
fn stop() -> impl Strategy<Value = Stop> {
    let events = || prop_oneof![1_usize..12, 1_usize..150];
    prop_oneof![
        3 => events().prop_map(Stop::Kill),
        2 => (events(), 0_usize..4).prop_map(|(events, part)| Stop::PowerLoss(events, part)),
        2 => (1_usize..6).prop_map(Stop::KillOnceMoved),
        1 => moments().prop_map(Stop::Interrupt),
    ]
}

/// What keeps a run from going on once, and is over when it is taken up again.
fn passing_mishaps() -> impl Strategy<Value = Vec<Mishap>> {
    let mishap = prop_oneof![
        (1_usize..6).prop_map(Mishap::RefusedLanding),
        (1_usize..3).prop_map(Mishap::RefusedRecovery),
        (1_usize..6).prop_map(Mishap::ReceiptLost),
        (1_usize..6).prop_map(Mishap::BrokenLanding),
        moments().prop_map(Mishap::Interrupt),
        (1_u64..300).prop_map(Mishap::JournalFull),
        (1_usize..60).prop_map(Mishap::BrokenComposite),
        (1_usize..80).prop_map(Mishap::StuckGate),
    ];
    prop::collection::vec(mishap, 0..4)
}

/// Moves of the target by others, who merge some of so many items by hand, and are in the way of
/// some.
fn others(items: usize) -> impl Strategy<Value = Vec<OthersMove>> {
    let when = prop_oneof![
        2 => (1_usize..8).prop_map(When::BeforeLanding),
        2 => moments().prop_map(When::At),
        1 => (1_usize..6).prop_map(When::Between),
    ];
    let some =
        move |upto| prop::collection::vec((0..items.max(1)).prop_map(name), 0..=if items == 0 { 0 } else { upto });
    let others = (when, some(1), some(2));
    let others = others.prop_map(|(when, brings, conflicts_with)| OthersMove { when, brings, conflicts_with });
    prop::collection::vec(others, 0..6)
}

/// When urgent runs are about to land beside one.
fn urgent_beside() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((moments(), 1_u64..5000), 0..3)
}

/// Gates that lexpr cannot run where some item is in the tree.
fn unrunnable(items: usize) -> impl Strategy<Value = Vec<Rule>> {
    let effect = prop_oneof![
        Just(Effect::CannotRun),
        (1_u32..5).prop_map(Effect::CannotRunAtFirst),
        Just(Effect::BreaksOff),
        Just(Effect::FailsThenBreaksOff),
    ];
    let rule = (prop::sample::select(vec!["unit", "lint", "slow", "e2e"]), (0..items).prop_map(name), effect);
    let rule = rule.prop_map(|(gate, item, effect)| Rule {
        gate: gate.to_owned(),
        present: vec![item],
        absent: Vec::new(),
        effect,
    });
    prop::collection::vec(rule, 0..3)
}
