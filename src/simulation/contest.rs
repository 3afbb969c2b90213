//! Who is compared: lexpr's strategies, and what other queues would do with the same items.

use std::sync::Arc;

use super::Setting;
use super::figures::{Figures, Outcome, figures};
use super::peers::submit_queue::{self, Analyser};
use super::peers::{bors, prefix, serial, zuul};
use super::run::{Scenario, SimulationError, run, watched};
use super::trace::{Trace, Tracer};
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

/// What a contestant does.
enum Way {
    /// What a plan says that lands so.
    Ours(Landing, Spend, GroupSize),
    Others(fn(&World, &Setting) -> Outcome),
}

/// The scenario, landing so.
fn planned(scenario: &Scenario, way: (Landing, Spend, GroupSize), rates: Rates, setting: &Setting) -> Scenario {
    let (landing, spend, group_size) = way;
    let batch_size = if landing == Landing::Pyramid { scenario.limits.batch_size } else { u32::MAX };
    let history = if setting.is_first_run { Outcomes::default() } else { learned(rates) };
    let limits = Limits { landing, spend, batch_size, history, ..scenario.limits.clone() };
    Scenario { limits, group_size, ..scenario.clone() }
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
        matches!(self.way(), Way::Ours(..))
    }

    fn way(self) -> Way {
        match self {
            Self::Pyramid => Way::Ours(Landing::Pyramid, Spend::Gates, ALONE),
            Self::Groups => Way::Ours(Landing::Pyramid, Spend::Time, GroupSize::Auto),
            Self::Batch => Way::Ours(Landing::Batch, Spend::Gates, ALONE),
            Self::BatchForTime => Way::Ours(Landing::Batch, Spend::Time, ALONE),
            Self::Train => Way::Ours(Landing::Train, Spend::Gates, ALONE),
            Self::Serial => Way::Others(serial::run),
            Self::BorsOnAll => Way::Others(|world, setting| bors::run(world, setting, None)),
            Self::Bors8 => Way::Others(|world, setting| bors::run(world, setting, Some(8))),
            Self::Bors16 => Way::Others(|world, setting| bors::run(world, setting, Some(16))),
            Self::Zuul => Way::Others(|world, setting| zuul::run(world, setting, NO_CEILING)),
            // All items have one gate, so any two may be in each other's way.
            Self::SubmitQueue => Way::Others(|world, setting| submit_queue::run(world, setting, Analyser::Blind)),
            Self::PrefixBisection => {
                Way::Others(|world, setting| prefix::run(world, setting, prefix::best_size(world.rates.fail)))
            }
        }
    }

    fn lands(self, scenario: &Scenario, world: &Arc<World>, setting: &Setting) -> Result<Outcome, SimulationError> {
        match self.way() {
            Way::Ours(landing, spend, group_size) => {
                run(&planned(scenario, (landing, spend, group_size), world.rates, setting), world, setting)
            }
            Way::Others(run) => Ok(run(world, setting)),
        }
    }

    /// One run of a way of lexpr's own, as it went; `None` for the others, which have no events.
    ///
    /// # Errors
    /// Where it hangs or fails, which would be a bug.
    pub fn trace(
        self,
        scenario: &Scenario,
        world: &Arc<World>,
        setting: &Setting,
    ) -> Result<Option<Trace>, SimulationError> {
        let Way::Ours(landing, spend, group_size) = self.way() else { return Ok(None) };
        let scenario = planned(scenario, (landing, spend, group_size), world.rates, setting);
        let mut tracer = Tracer::default();
        watched(&scenario, world, setting, |recorded| tracer.hear(recorded))?;
        Ok(Some(tracer.finish()))
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
        seeds: impl IntoIterator<Item = u64>,
    ) -> Result<Figures, SimulationError> {
        let runs: Result<Vec<_>, SimulationError> = seeds
            .into_iter()
            .map(|seed| {
                let world = Arc::new(World::draw(scenario.graph.len(), rates, seed));
                let outcome = self.lands(scenario, &world, setting)?;
                Ok((world, outcome))
            })
            .collect();
        Ok(figures(&runs?))
    }
}
