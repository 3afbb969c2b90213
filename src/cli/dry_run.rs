//! A dry run: the real engine and the real composer, with gates that pass unseen and a target
//! that moves in name only. What it recorded becomes the forecast.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::conduct::{Options, limits, run_started, surroundings};
use super::failure::Failure;
use super::prepare::{Opened, Workshop, line_up};
use super::scratch::ScratchFolder;
use crate::clock::SystemClock;
use crate::engine::rehearsal::{self, NothingKept};
use crate::engine::{self, RunSetup};
use crate::report::dry_run::{DryRun, DryRunApex, DryRunCone, DryRunItem, Forecast};
use crate::report::json::REPORT_VERSION;
use crate::vocabulary::event::{
    Composed, CompositePurpose, Event, FinalItem, FinalStatus, JobPurpose, LinedUpItem, Recorded,
};
use crate::vocabulary::names::{ApexId, GateName, ItemName, RunId};

/// Makes every composite of the plan, in a folder that is deleted afterwards.
///
/// # Errors
/// Where git or the disk fails.
pub async fn rehearse(opened: Opened) -> Result<DryRun, Failure> {
    let begun = Instant::now();
    let folder = ScratchFolder::create()?;
    let workshop = Workshop::in_folder(folder.path(), &opened)?;
    let prepared = &line_up(opened, &workshop.composer).await?;
    let policy = Arc::clone(&prepared.policy);
    let limits = limits(&policy);
    let setup = RunSetup {
        started: run_started(prepared, RunId::new("dry-run"), &limits, &Options::default()),
        graph: Arc::clone(&prepared.graph),
        items: prepared.items.clone(),
        surroundings: surroundings(&policy, None),
        durations: Arc::default(),
        policy,
        limits,
        memory_threshold: None,
    };
    let ports = rehearsal::ports(workshop.composer, Arc::new(SystemClock::new()));
    let events = Mutex::new(Vec::new());
    let collect = |recorded: &Recorded| {
        events.lock().unwrap_or_else(PoisonError::into_inner).push(recorded.event.clone());
    };
    // Nobody interrupts a dry run gently: there is nothing to bring to an end.
    let (_, no_signals) = mpsc::unbounded_channel();
    engine::run(None, setup, ports, Box::new(NothingKept), vec![Box::new(collect)], no_signals).await?;

    let seen = Rehearsal::of(events.into_inner().unwrap_or_else(PoisonError::into_inner));
    Ok(DryRun {
        report_version: REPORT_VERSION,
        lexpr_version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: prepared.source.clone(),
        plan_digest: prepared.digest,
        repository: prepared.repo.common_dir().to_string_lossy().into_owned(),
        target: prepared.target.full_name.clone(),
        base: prepared.target.commit,
        max_workers: limits.max_workers,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        items: prepared.lined_up.iter().map(|item| seen.item(item)).collect(),
        apexes: seen.apexes,
    })
}

/// What a rehearsal recorded, by item.
#[derive(Default)]
struct Rehearsal {
    cones: HashMap<ItemName, Composed>,
    cone_gates: HashMap<ItemName, Vec<GateName>>,
    apex_gates: HashMap<ApexId, Vec<GateName>>,
    made: HashMap<ApexId, Composed>,
    apexes: Vec<DryRunApex>,
    ends: HashMap<ItemName, FinalItem>,
}

impl Rehearsal {
    fn of(events: Vec<Event>) -> Self {
        let mut seen = Self::default();
        for event in events {
            seen.see(event);
        }
        seen
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Composed(composed) => match composed.purpose.clone() {
                CompositePurpose::Cone { item } => drop(self.cones.insert(item, *composed)),
                CompositePurpose::Apex { apex } => drop(self.made.insert(apex, *composed)),
                CompositePurpose::Without { .. } => {}
            },
            Event::JobStarted(job) => {
                let gates = job.gates.iter().map(|gate| gate.name.clone()).collect();
                match job.purpose.clone() {
                    JobPurpose::Cone { item } => drop(self.cone_gates.insert(item, gates)),
                    JobPurpose::Apex { apex, .. } => drop(self.apex_gates.insert(apex, gates)),
                    JobPurpose::SecondOpinion { .. } | JobPurpose::Blame { .. } => {}
                }
            }
            Event::Landed(landed) if landed.from != landed.to => self.apexes.push(DryRunApex {
                commit: landed.to,
                tree: landed.tree,
                items: landed.items,
                set_aside: self.made.remove(&landed.apex).map(|made| made.set_aside).unwrap_or_default(),
                gates: self.apex_gates.remove(&landed.apex).unwrap_or_default(),
            }),
            Event::RunFinished { items, .. } => {
                self.ends = items.into_iter().map(|item| (item.name.clone(), item)).collect();
            }
            _ => {}
        }
    }

    fn item(&self, item: &LinedUpItem) -> DryRunItem {
        let end = self.ends.get(&item.name);
        let forecast = match end.map(|end| end.status) {
            Some(FinalStatus::Landed) => Forecast::Lands,
            Some(FinalStatus::AlreadyLanded) => Forecast::AlreadyLanded,
            Some(FinalStatus::Conflicted) => Forecast::Conflicted,
            _ => Forecast::Blocked,
        };
        let set_aside = |composed: &&Composed| !composed.set_aside.iter().any(|aside| aside.item == item.name);
        DryRunItem {
            forecast,
            because: end.and_then(|end| end.reason.clone()),
            cone: self.cones.get(&item.name).filter(set_aside).map(|composed| DryRunCone {
                commit: composed.commit,
                tree: composed.tree,
                gates: self.cone_gates.get(&item.name).cloned().unwrap_or_default(),
            }),
            item: item.clone(),
        }
    }
}
