//! Gates that were found to fail on the target without anybody's item, and whether what landed since repaired
//! that.

use super::RunView;
use crate::vocabulary::names::{DefinitionDigest, GateName, VerdictKey};

/// In the order they were found.
#[derive(Clone, Debug, Default)]
pub struct RedGates(Vec<RedGate>);

#[derive(Clone, Debug)]
struct RedGate {
    gate: GateName,
    definition: DefinitionDigest,
    /// It passed on a tree that the target was moved to since.
    is_repaired: bool,
    /// The position among the run's attempts of the one that shows it.
    shown_by: Option<usize>,
}

impl RedGates {
    /// The gate fails on the target.
    pub(super) fn found(&mut self, gate: &GateName, definition: DefinitionDigest) {
        match self.0.iter_mut().find(|red| red.definition == definition) {
            Some(red) => red.is_repaired = false,
            None => self.0.push(RedGate { gate: gate.clone(), definition, is_repaired: false, shown_by: None }),
        }
    }

    /// Which attempt shows that it fails there.
    pub(super) fn shown_by(&mut self, definition: DefinitionDigest, position: Option<usize>) {
        if let (Some(red), Some(_)) = (self.0.iter_mut().find(|red| red.definition == definition), position) {
            red.shown_by = position;
        }
    }

    /// The position of that attempt.
    pub(super) fn evidence(&self, definition: DefinitionDigest) -> Option<usize> {
        self.0.iter().find(|red| red.definition == definition)?.shown_by
    }

    /// The target was moved to a tree on which a gate passed if `passed` says so.
    fn landed(&mut self, passed: impl Fn(&GateName, DefinitionDigest) -> bool) {
        for red in &mut self.0 {
            red.is_repaired = red.is_repaired || passed(&red.gate, red.definition);
        }
    }

    fn are_all_repaired(&self) -> bool {
        self.0.iter().all(|red| red.is_repaired)
    }

    /// Each name once.
    pub fn names(&self) -> Vec<GateName> {
        self.named(|_| true)
    }

    /// Those that pass on what has landed since.
    pub fn repaired(&self) -> Vec<GateName> {
        let is_red = |gate: &GateName| self.0.iter().any(|red| red.gate == *gate && !red.is_repaired);
        self.named(|red| !is_red(&red.gate))
    }

    fn named(&self, is_meant: impl Fn(&RedGate) -> bool) -> Vec<GateName> {
        let mut names: Vec<GateName> = Vec::new();
        for red in self.0.iter().filter(|red| is_meant(red)) {
            if !names.contains(&red.gate) {
                names.push(red.gate.clone());
            }
        }
        names
    }
}

impl RunView {
    /// The target was moved to a tree with this proof.
    pub(super) fn note_repairs(&mut self, proof: &[VerdictKey]) {
        if self.red_on_target.are_all_repaired() {
            return;
        }
        let definitions = self.definitions();
        let mut red = std::mem::take(&mut self.red_on_target);
        red.landed(|gate, definition| {
            proof.iter().any(|key| match definitions.get(key) {
                Some(of) => *of == definition,
                None => self.reused.get(key).is_some_and(|reused| reused.gate == *gate),
            })
        });
        self.red_on_target = red;
    }
}
