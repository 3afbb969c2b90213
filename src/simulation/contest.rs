//! Who is compared: lexpr's strategies, and what other queues would do with the same items.

use std::sync::Arc;

use super::Setting;
use super::figures::{Figures, Outcome, figures};
use super::peers::submit_queue::{self, Analyser};
use super::peers::{bors, prefix, serial, zuul};
use super::run::{Scenario, SimulationError, run};
use super::world::{Rates, World};
use crate::core::limits::{Limits, Outcomes};
use crate::plan::{GroupSize, Landing, Spend};

/// Zuul's window has no ceiling by itself.
const NO_CEILING: usize = usize::MAX;

/// Each item gated by itself, where it is gated at all before it is to land.
const ALONE: GroupSize = GroupSize::Fixed(1);

/// What a repository remembers in which items have failed at these rates for long.
fn learned(rates: Rates) -> Outcomes {
    const ITEMS: f64 = 1000.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a thousand")]
    let failed = (rates.fail * ITEMS).round() as u32;
    Outcomes { passed: (ITEMS as u32).saturating_sub(failed), failed }
}

/// A way to land many items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    Pyramid,
    Groups,
    Batch,
    BatchForTime,
    Train,
    Serial,
    BorsOnAll,
    Bors8,
    Bors16,
    Zuul,
    SubmitQueue,
    PrefixBisection,
}

impl Contestant {
    /// In the order in which they are shown.
    pub const ALL: [Self; 12] = [
        Self::Batch,
        Self::BatchForTime,
        Self::Groups,
        Self::Pyramid,
        Self::Train,
        Self::PrefixBisection,
        Self::Bors16,
        Self::Bors8,
        Self::BorsOnAll,
        Self::Serial,
        Self::Zuul,
        Self::SubmitQueue,
    ];

    /// What it is called in words and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pyramid => "pyramid",
            Self::Groups => "groups, spend: time",
            Self::Batch => "batch",
            Self::BatchForTime => "batch, spend: time",
            Self::Train => "train",
            Self::Serial => "one after another",
            Self::BorsOnAll => "bors, all at once",
            Self::Bors8 => "bors, batches of 8",
            Self::Bors16 => "bors, batches of 16",
            Self::Zuul => "train, as Zuul's",
            Self::SubmitQueue => "as SubmitQueue",
            Self::PrefixBisection => "prefix bisection",
        }
    }

    /// A strategy of lexpr's own, which knows dependencies and gates of several kinds.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Pyramid | Self::Groups | Self::Batch | Self::BatchForTime | Self::Train)
    }

    fn lands(self, scenario: &Scenario, world: &Arc<World>, setting: &Setting) -> Result<Outcome, SimulationError> {
        let ours = |landing, spend, group_size| {
            let batch_size = if landing == Landing::Pyramid { scenario.limits.batch_size } else { u32::MAX };
            let history = if setting.is_first_run { Outcomes::default() } else { learned(world.rates) };
            let limits = Limits { landing, spend, batch_size, history, ..scenario.limits.clone() };
            run(&Scenario { limits, group_size, ..scenario.clone() }, world, setting)
        };
        Ok(match self {
            Self::Pyramid => return ours(Landing::Pyramid, Spend::Gates, ALONE),
            Self::Groups => return ours(Landing::Pyramid, Spend::Time, GroupSize::Auto),
            Self::Batch => return ours(Landing::Batch, Spend::Gates, ALONE),
            Self::BatchForTime => return ours(Landing::Batch, Spend::Time, ALONE),
            Self::Train => return ours(Landing::Train, Spend::Gates, ALONE),
            Self::Serial => serial::run(world, setting),
            Self::BorsOnAll => bors::run(world, setting, None),
            Self::Bors8 => bors::run(world, setting, Some(8)),
            Self::Bors16 => bors::run(world, setting, Some(16)),
            Self::Zuul => zuul::run(world, setting, NO_CEILING),
            // All items have one gate, so any two may be in each other's way.
            Self::SubmitQueue => submit_queue::run(world, setting, Analyser::Blind),
            Self::PrefixBisection => prefix::run(world, setting, prefix::best_size(world.rates.fail)),
        })
    }

    /// Lands the scenario's items in as many worlds as there are seeds.
    ///
    /// # Errors
    /// Where a run of lexpr's own hangs or fails, which would be a bug.
    pub fn compete(
        self,
        scenario: &Scenario,
        rates: Rates,
        setting: &Setting,
        seeds: std::ops::Range<u64>,
    ) -> Result<Figures, SimulationError> {
        let runs: Result<Vec<_>, SimulationError> = seeds
            .map(|seed| {
                let world = Arc::new(World::draw(scenario.graph.len(), rates, seed));
                let outcome = self.lands(scenario, &world, setting)?;
                Ok((world, outcome))
            })
            .collect();
        Ok(figures(&runs?))
    }
}
