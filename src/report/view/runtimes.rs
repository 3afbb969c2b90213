//! What runs which gate, as far as that is not this machine's shell.

use std::collections::HashMap;

use super::{AttemptView, RunView};
use crate::vocabulary::event::{RanBy, RunStarted};
use crate::vocabulary::names::{DefinitionDigest, RuntimeName};

/// By definition: gates that run otherwise are other ones.
#[derive(Clone, Debug, Default)]
pub struct Runtimes(HashMap<DefinitionDigest, RanBy>);

impl Runtimes {
    pub(super) fn of(run: &RunStarted) -> Self {
        let gates = run.items.iter().flat_map(|item| &item.gates);
        let ran_by = |runtime: &RuntimeName, image: Option<&String>| {
            let fixed = image.and_then(|image| run.images.iter().find(|fixed| fixed.is_of(runtime, image)));
            RanBy { name: runtime.clone(), image: image.cloned(), image_id: fixed.map(|fixed| fixed.id.clone()) }
        };
        Self(
            gates
                .filter_map(|gate| Some((gate.definition, ran_by(gate.runtime.as_ref()?, gate.image.as_ref()))))
                .collect(),
        )
    }
}

impl RunView {
    /// `None`: this machine's shell.
    pub fn ran_by(&self, definition: DefinitionDigest) -> Option<&RanBy> {
        self.runtimes.0.get(&definition)
    }

    /// The same of an attempt that has ended.
    pub fn ran_by_of(&self, attempt: &AttemptView) -> Option<&RanBy> {
        let gates = self.jobs.get(&attempt.run.job).map(|job| job.gates.as_slice()).unwrap_or_default();
        self.ran_by(gates.iter().find(|gate| gate.key == attempt.run.key)?.definition)
    }
}
