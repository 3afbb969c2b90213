//! Finding the item that breaks a composite, by probing prefixes of it.
//!
//! A pure function of what is known so far: it is asked again after every verdict and replays
//! the search from its beginning, so nothing of it has to be remembered or journalled.

use std::cell::RefCell;
use std::collections::HashMap;

/// What a bisection asks for next. Prefixes are named by how many members they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// The verdicts on these prefixes; the first is the one the search waits for, the others are
    /// those it may ask for next.
    Probe(Vec<usize>),
    /// Prefix `passing` passes and prefix `passing + 1` is refused: the member between is suspect.
    Suspect { passing: usize },
    /// The whole is no longer refused.
    Passed,
}

/// Prefix bisection as DESIGN gives it: lo = 0 and a stack H of refused prefixes, at first the
/// whole; split the way from lo to the least refused one. A refused prefix that turns out to
/// pass (a flake) is popped and becomes lo.
///
/// `split(n)` says how far into a stretch of n members, at least 2, to look: from 1 to n - 1.
/// `known(k)` says whether prefix k passes, `None` where nobody knows yet; prefix 0 counts as
/// passing. `width` is how many probes may run at once: beyond the first they are the questions
/// that follow if the first is answered either way, so that the outcome is the same for every
/// width.
pub fn search(
    members: usize,
    width: usize,
    split: &dyn Fn(usize) -> usize,
    known: impl Fn(usize) -> Option<bool>,
) -> Search {
    // The search is replayed for each further probe, and an answer may cost its maker something.
    let answers = RefCell::new(HashMap::new());
    let known = |prefix: usize| {
        let answered = answers.borrow().get(&prefix).copied();
        answered.unwrap_or_else(|| {
            let answer = known(prefix);
            answers.borrow_mut().insert(prefix, answer);
            answer
        })
    };
    let first = match decisive(members, split, &known) {
        Search::Probe(probe) => probe[0],
        settled => return settled,
    };
    let mut probes = vec![first];
    let mut futures: std::collections::VecDeque<HashMap<usize, bool>> =
        [true, false].into_iter().map(|answer| HashMap::from([(first, answer)])).collect();
    while probes.len() < width {
        let Some(assumed) = futures.pop_front() else { break };
        let answer = |prefix: usize| known(prefix).or_else(|| assumed.get(&prefix).copied());
        if let Search::Probe(probe) = decisive(members, split, &answer) {
            if !probes.contains(&probe[0]) {
                probes.push(probe[0]);
            }
            for passes in [true, false] {
                let mut further = assumed.clone();
                further.insert(probe[0], passes);
                futures.push_back(further);
            }
        }
    }
    Search::Probe(probes)
}

/// One step of the sequential search: at most one probe.
fn decisive(members: usize, split: &dyn Fn(usize) -> usize, known: &dyn Fn(usize) -> Option<bool>) -> Search {
    match known(members) {
        None => return Search::Probe(vec![members]),
        Some(true) => return Search::Passed,
        Some(false) => {}
    }
    let mut passing = 0;
    let mut refused = vec![members];
    while let Some(&least) = refused.last() {
        match known(least) {
            Some(true) => {
                passing = least;
                refused.pop();
                continue;
            }
            // A gate of it flipped to passing and the ones behind it have not run.
            None => return Search::Probe(vec![least]),
            Some(false) => {}
        }
        if least - passing == 1 {
            return Search::Suspect { passing };
        }
        let probe = passing + split(least - passing);
        match known(probe) {
            None => return Search::Probe(vec![probe]),
            Some(true) => passing = probe,
            Some(false) => refused.push(probe),
        }
    }
    Search::Passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a search to its end over fixed answers; gives the end and the rounds and probes it took.
    fn run(answers: &[bool], width: usize) -> (Search, usize, usize) {
        let mut known = HashMap::new();
        let mut rounds = 0;
        loop {
            match search(answers.len(), width, &|items| items / 2, |prefix| known.get(&prefix).copied()) {
                Search::Probe(probes) => {
                    rounds += 1;
                    for probe in probes {
                        known.insert(probe, answers[probe - 1]);
                    }
                }
                end => return (end, rounds, known.len()),
            }
        }
    }

    #[test]
    fn a_single_culprit_is_found_in_logarithmic_time() {
        for culprit in 0..64 {
            let answers: Vec<bool> = (0..64).map(|member| member < culprit).collect();
            let (end, _, probes) = run(&answers, 1);
            assert_eq!(end, Search::Suspect { passing: culprit });
            assert!(probes <= 1 + 6, "{probes} probes for culprit {culprit}");
        }
    }

    #[test]
    fn a_flake_on_the_whole_ends_the_search() {
        let answers = HashMap::from([(4, true), (2, true), (3, true)]);
        assert_eq!(search(4, 1, &|items| items / 2, |prefix| answers.get(&prefix).copied()), Search::Passed);
    }

    #[test]
    fn a_flake_in_the_middle_sends_the_search_to_the_next_refused_prefix() {
        // 8 is refused, 4 was refused and then passed, 6 is not known.
        let answers = HashMap::from([(8, false), (4, true), (2, true), (3, true)]);
        assert_eq!(search(8, 1, &|items| items / 2, |prefix| answers.get(&prefix).copied()), Search::Probe(vec![6]));
    }

    #[test]
    fn however_wide_a_search_is_it_asks_once_for_each_prefix() {
        for width in [1, 8, 64] {
            let asked = RefCell::new(HashMap::new());
            let known = |prefix: usize| {
                *asked.borrow_mut().entry(prefix).or_insert(0) += 1;
                // The first culprit is the last but one.
                matches!(prefix, 1000 | 500 | 750).then_some(prefix < 999)
            };
            search(1000, width, &|items| items / 2, known);
            assert!(asked.borrow().values().all(|times| *times == 1), "{width} wide: {:?}", asked.borrow());
        }
    }

    proptest! {
        #[test]
        fn invariant_8_the_width_of_a_search_changes_its_length_and_not_its_end(
            answers in proptest::collection::vec(any::<bool>(), 1..40), width in 1_usize..9,
        ) {
            let (narrow, narrow_rounds, _) = run(&answers, 1);
            let (wide, wide_rounds, _) = run(&answers, width);
            prop_assert_eq!(&narrow, &wide);
            prop_assert!(wide_rounds <= narrow_rounds);
        }

        #[test]
        fn a_suspect_stands_between_a_passing_and_a_refused_prefix(
            answers in proptest::collection::vec(any::<bool>(), 1..40), width in 1_usize..9,
        ) {
            let passes = |prefix: usize| prefix == 0 || answers[prefix - 1];
            match run(&answers, width).0 {
                Search::Suspect { passing } => prop_assert!(passes(passing) && !passes(passing + 1)),
                Search::Passed => prop_assert!(passes(answers.len())),
                Search::Probe(_) => prop_assert!(false, "a search with all answers known must end"),
            }
        }
    }
}
