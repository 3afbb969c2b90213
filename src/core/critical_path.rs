//! How long the longest way from each item to the end of all that depends on it is: what is on the critical
//! path starts first. Known durations are of earlier runs; they decide the order of starting, never what lands.

use std::collections::HashMap;

use crate::plan::graph::Graph;
use crate::vocabulary::names::DefinitionDigest;

/// What a gate of which nothing is known takes where nothing is known of its siblings either, in milliseconds.
const GUESSED_MS: u64 = 1000;

/// Bits that sets of gates may take for all items together: 8 MiB. Beyond, only an item's own gates count.
const MOST_BITS: usize = 1 << 26;

const BITS: usize = u64::BITS as usize;

/// How long gates took when they passed, in milliseconds, by what defines them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateDurations {
    by_gate: HashMap<DefinitionDigest, u64>,
    /// The median of all that are known.
    typical: Option<u64>,
}

impl FromIterator<(DefinitionDigest, u64)> for GateDurations {
    fn from_iter<T: IntoIterator<Item = (DefinitionDigest, u64)>>(known: T) -> Self {
        let by_gate: HashMap<DefinitionDigest, u64> = known.into_iter().collect();
        let mut all: Vec<u64> = by_gate.values().copied().collect();
        all.sort_unstable();
        Self { typical: all.get(all.len() / 2).copied(), by_gate }
    }
}

impl GateDurations {
    /// Of those among `gates` that are known; what is not known is guessed from these.
    #[must_use]
    pub fn of(&self, gates: impl Iterator<Item = DefinitionDigest>) -> Self {
        gates.filter_map(|gate| Some((gate, *self.by_gate.get(&gate)?))).collect()
    }

    /// A gate of this definition has run before.
    pub fn knows(&self, gate: DefinitionDigest) -> bool {
        self.by_gate.contains_key(&gate)
    }

    /// How long a gate takes, or likely does where that is not known.
    pub fn ms(&self, gate: DefinitionDigest) -> u64 {
        self.by_gate.get(&gate).copied().or(self.typical).unwrap_or(GUESSED_MS)
    }
}

/// For each item, in canonical order: milliseconds from the start of its gates to the end of those of the last
/// of its dependents, were there slots for all. A cone's gates are those of all items in it that the run gates.
pub fn lengths(graph: &Graph, known: &GateDurations) -> Vec<u64> {
    let known = known.of(graph.indices().flat_map(|ix| graph.gates(ix)).map(|gate| gate.definition));
    let weights = weights(graph, &known);
    let mut lengths = vec![0; graph.len()];
    for ix in graph.indices().rev() {
        let after = graph.dependents(ix).iter().map(|dependent| lengths[dependent.get()]).max().unwrap_or(0);
        // Each item takes some time besides its gates.
        lengths[ix.get()] = after + 1 + weights[ix.get()];
    }
    lengths
}

/// How long the gates of each item's cone take, one after another.
fn weights(graph: &Graph, known: &GateDurations) -> Vec<u64> {
    let mut numbers: HashMap<DefinitionDigest, usize> = HashMap::new();
    let mut durations = Vec::new();
    for gate in graph.indices().flat_map(|ix| graph.gates(ix)).filter(|gate| gate.at.cone) {
        numbers.entry(gate.definition).or_insert_with(|| {
            durations.push(known.ms(gate.definition));
            durations.len() - 1
        });
    }
    let words = durations.len().div_ceil(BITS);
    let inherits = graph.len().saturating_mul(words * BITS) <= MOST_BITS;
    // For each item a bit for each gate that its dependents run, too: its own and its dependencies'.
    let mut handed_on = vec![0_u64; if inherits { graph.len() * words } else { 0 }];
    graph
        .indices()
        .map(|ix| {
            let own = graph.gates(ix).iter().filter(|gate| gate.at.cone);
            if !inherits {
                return own.map(|gate| known.ms(gate.definition)).sum();
            }
            let mut cone = vec![0_u64; words];
            for dep in graph.deps(ix) {
                let of_dep = &handed_on[dep.get() * words..][..words];
                cone.iter_mut().zip(of_dep).for_each(|(all, more)| *all |= more);
            }
            let handed = &mut handed_on[ix.get() * words..][..words];
            handed.copy_from_slice(&cone);
            for gate in own {
                let number = numbers[&gate.definition];
                let (word, bit) = (number / BITS, 1 << (number % BITS));
                cone[word] |= bit;
                // Optional gates are run for the item alone.
                handed[word] |= if gate.required { bit } else { 0 };
            }
            let is_set = |number: &usize| cone[number / BITS] >> (number % BITS) & 1 == 1;
            (0..durations.len()).filter(is_set).map(|number| durations[number]).sum()
        })
        .collect()
}
