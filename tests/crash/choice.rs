//! A seeded choice of cases: every place comes before any comes again.

use std::collections::BTreeMap;

use crate::case::{Case, Kill, Manner};
use crate::random::Random;
use crate::scenario::Scenario;

/// How often each place is passed in each scenario's undisturbed run.
pub type Passages = BTreeMap<String, Vec<(Scenario, u64)>>;

/// Places that only a resumption passes.
const OF_RESUMPTION: &[&str] = &[
    "resume.cleaned",
    "journal.reopen.before",
    "journal.reopen.cut",
    "landing.recover.before",
    "checkout.put-back.before",
    "checkout.put-back.removed",
    "checkout.put-back.after",
];

/// Places between a landing's intent and its record, from which a resumption has most to do.
const OF_LANDING: &[&str] = &["target.swap.after", "checkout.move.before", "git.read-tree.under-way"];

/// So many cases of one kill at least.
pub fn choose(passages: &Passages, count: usize, seed: u64) -> Vec<Case> {
    let mut random = Random(seed);
    let mut cases = Vec::new();
    while cases.len() < count {
        let mut round: Vec<&str> = passages.keys().map(String::as_str).chain(OF_RESUMPTION.iter().copied()).collect();
        for at in (1..round.len()).rev() {
            round.swap(at, random.below(at + 1));
        }
        for place in round {
            if cases.len() == count {
                break;
            }
            cases.push(case_at(place, passages, &mut random));
        }
    }
    cases
}

fn case_at(place: &str, passages: &Passages, random: &mut Random) -> Case {
    let is_of_resumption = OF_RESUMPTION.contains(&place);
    // A resumption comes after a kill, at a place after which it has something to do.
    let first = if is_of_resumption { OF_LANDING[random.below(OF_LANDING.len() - 1)] } else { place };
    let known = &passages[first];
    let (scenario, count) = known[random.below(known.len())];
    let mut kills = vec![Kill {
        place: first.to_owned(),
        passage: 1 + random.below(usize::try_from(count).unwrap()) as u64,
        manner: manner(random),
    }];
    if is_of_resumption {
        kills.push(Kill { place: place.to_owned(), passage: 1, manner: manner(random) });
    }
    // The resumption is killed, too, in one case of three.
    if random.below(3) == 0 {
        let all: Vec<&str> = passages.keys().map(String::as_str).chain(OF_RESUMPTION.iter().copied()).collect();
        let place = all[random.below(all.len())].to_owned();
        kills.push(Kill { place, passage: 1 + random.below(3) as u64, manner: manner(random) });
    }
    Case { scenario, kills }
}

fn manner(random: &mut Random) -> Manner {
    match random.below(6) {
        0 => Manner::Guards,
        1 => Manner::All,
        _ => Manner::Alone,
    }
}
