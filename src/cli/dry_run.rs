//! A dry run, with the outlook that goes with it: the real engine and the real composer, with gates that pass unseen and a target
//! that moves in name only. What it recorded becomes the forecast.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::conduct::{limits_beforehand, run_started, surroundings};
use super::credentials;
use super::failure::Failure;
use super::given::Options;
use super::lasting;
use super::outlook::{self, Seen};
use super::prepare::{Opened, Workshop, line_up};
use super::rehearsed::Known;
use super::scratch::ScratchFolder;
use crate::clock::SystemClock;
use crate::core::forecast::work::Rehearsed;
use crate::core::judge::Surroundings;
use crate::core::limits::{Limits, elsewhere};
use crate::core::strategy::groups::divide;
use crate::durations;
use crate::engine::rehearsal::{self, NothingKept};
use crate::engine::{self, RunSetup};
use crate::plan::graph::{Graph, ItemIx};
use crate::plan::{Landing, Spend};
use crate::report::dry_run::{DryRun, DryRunApex, DryRunCone, DryRunGroup, DryRunItem, Forecast};
use crate::report::forecast::ForecastReport;
use crate::report::json::REPORT_VERSION;
use crate::vocabulary::event::{
    Composed, CompositePurpose, Event, FinalItem, FinalStatus, JobGate, JobPurpose, LinedUpItem, OverrideGrant,
    Recorded,
};
use crate::vocabulary::names::{ApexId, GateName, GroupId, ItemName, RunId};

/// Pairs that a forecast merges at most: all of 200 items, were there something to merge in each of them.
pub const MOST_PAIRS: usize = 20_000;

/// Those that a dry run merges for its summary.
pub const MOST_PAIRS_IN_SHORT: usize = 1_000;

/// Makes every composite of the plan, and merges up to `most_pairs` pairs of items, in a folder that is deleted
/// afterwards.
///
/// # Errors
/// Where git or the disk fails.
pub async fn rehearse(mut opened: Opened, options: &Options, most_pairs: usize) -> Result<ForecastReport, Failure> {
    let begun = Instant::now();
    let folder = ScratchFolder::create()?;
    let looks_at_verdicts = lasting::can_be_looked_at(opened.policy());
    let images_not_here = if looks_at_verdicts { opened.look_for_images() } else { Vec::new() };
    let workshop = Workshop::in_folder(folder.path(), &opened)?;
    let prepared = &line_up(opened, &workshop.composer).await?;
    credentials::warn_without(prepared);
    let policy = Arc::clone(&prepared.policy);
    let history = durations::recall(prepared.repo.common_dir()).items;
    let elsewhere = elsewhere(&prepared.graph);
    let mut limits = Limits { history, elsewhere, ..limits_beforehand(&policy) };
    limits.groups = divide(&prepared.graph, policy.group_size, &limits);
    // Nothing is refused, so nobody has to look ahead for who breaks it: each gate runs once on what lands.
    limits.spend = Spend::Gates;
    let setup = RunSetup {
        started: run_started(prepared, RunId::new("dry-run"), &limits, options),
        graph: Arc::clone(&prepared.graph),
        items: prepared.items.clone(),
        surroundings: surroundings(&policy, None),
        durations: Arc::default(),
        policy: Arc::new(rehearsal::policy(&policy)),
        limits: limits.clone(),
        memory_threshold: None,
    };
    let verdicts = lasting::look(prepared).map(|verdicts| verdicts as _);
    let ports = rehearsal::ports(workshop.composer.clone(), Arc::new(SystemClock::new()), verdicts);
    let events = Mutex::new(Vec::new());
    let collect = |recorded: &Recorded| {
        events.lock().unwrap_or_else(PoisonError::into_inner).push(recorded.event.clone());
    };
    // Nobody interrupts a dry run gently: there is nothing to bring to an end.
    let (_, no_signals) = mpsc::unbounded_channel();
    engine::run(None, setup, ports, Box::new(NothingKept), vec![Box::new(collect)], no_signals).await?;

    let events = events.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seen = Rehearsal::of(events, &prepared.graph, &surroundings(&policy, None));
    let outlook = outlook::look(prepared, &workshop, seen.seen(&prepared.graph, &limits), most_pairs).await?;
    let grant = |name| options.overrides.as_ref().filter(|grant| grant.items.contains(name));
    let items = prepared.lined_up.iter().map(|item| seen.item(item, grant(&item.name))).collect();
    let dry_run = DryRun {
        report_version: REPORT_VERSION,
        lexpr_version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: prepared.source.clone(),
        arguments: options.arguments.clone(),
        plan_digest: prepared.digest,
        repository: prepared.repo.common_dir().to_string_lossy().into_owned(),
        target: prepared.target.full_name.clone(),
        base: prepared.target.commit,
        max_workers: limits.max_workers,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        items,
        groups: seen.groups,
        apexes: seen.apexes.into_iter().map(|(apex, _)| apex).collect(),
        images_not_here,
        unfinished: None,
        outlook: None,
    };
    Ok(ForecastReport { dry_run, outlook })
}

/// What a rehearsal recorded, by item.
#[derive(Default)]
struct Rehearsal {
    cones: HashMap<ItemName, Composed>,
    cone_gates: HashMap<ItemName, Vec<JobGate>>,
    formed: HashMap<GroupId, Vec<ItemName>>,
    made_groups: HashMap<GroupId, Composed>,
    group_gates: BTreeMap<GroupId, Vec<JobGate>>,
    groups: Vec<DryRunGroup>,
    apex_gates: HashMap<ApexId, Vec<JobGate>>,
    /// Gates that ran on what lands before its apex was formed.
    train_gates: HashMap<ItemName, Vec<JobGate>>,
    made: HashMap<ApexId, Composed>,
    /// Each with its gates.
    apexes: Vec<(DryRunApex, Vec<JobGate>)>,
    known: Known,
    ends: HashMap<ItemName, FinalItem>,
}

impl Rehearsal {
    fn of(events: Vec<Event>, graph: &Graph, surroundings: &Surroundings) -> Self {
        let mut seen = Self { known: Known::of(&events, graph, surroundings), ..Self::default() };
        for event in events {
            seen.see(event);
        }
        seen.groups = seen.group_gates.iter().filter_map(|(group, gates)| seen.group(*group, gates)).collect();
        seen
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Composed(composed) => match composed.purpose.clone() {
                CompositePurpose::Cone { item } => drop(self.cones.insert(item, *composed)),
                CompositePurpose::Group { group } => {
                    // What its items depend on stands there, too.
                    let members = self.formed.entry(group).or_default();
                    members.retain(|item| composed.steps.iter().any(|step| step.item == *item));
                    self.made_groups.insert(group, *composed);
                }
                CompositePurpose::Apex { apex } => drop(self.made.insert(apex, *composed)),
                CompositePurpose::Without { .. } | CompositePurpose::Train { .. } => {}
            },
            Event::GroupFormed { group, items, .. } => drop(self.formed.insert(group, items)),
            Event::JobStarted(job) => {
                let gates = match job.purpose {
                    JobPurpose::Cone { item } => self.cone_gates.entry(item).or_default(),
                    JobPurpose::Train { item, .. } => self.train_gates.entry(item).or_default(),
                    JobPurpose::Group { group, .. } => self.group_gates.entry(group).or_default(),
                    JobPurpose::Apex { apex, .. } => self.apex_gates.entry(apex).or_default(),
                    JobPurpose::SecondOpinion { .. } | JobPurpose::Blame { .. } => return,
                };
                // What claims a limit has a job of its own.
                gates.extend(job.gates);
            }
            Event::Landed(landed) if landed.from != landed.to => {
                let mut gates = self.apex_gates.remove(&landed.apex).unwrap_or_default();
                gates.extend(landed.items.iter().filter_map(|item| self.train_gates.remove(item)).flatten());
                let apex = DryRunApex {
                    commit: landed.to,
                    tree: landed.tree,
                    items: landed.items,
                    set_aside: self.made.remove(&landed.apex).map(|made| made.set_aside).unwrap_or_default(),
                    gates: names(&gates),
                };
                self.apexes.push((apex, gates));
            }
            Event::RunFinished { items, .. } => {
                self.ends = items.into_iter().map(|item| (item.name.clone(), item)).collect();
            }
            _ => {}
        }
    }

    fn group(&self, group: GroupId, gates: &[JobGate]) -> Option<DryRunGroup> {
        let made = self.made_groups.get(&group)?;
        Some(DryRunGroup {
            items: self.formed.get(&group)?.clone(),
            commit: made.commit,
            tree: made.tree,
            gates: names(gates),
        })
    }

    fn seen(&self, graph: &Graph, limits: &Limits) -> Seen {
        let definitions = |gates: &[JobGate]| gates.iter().map(|gate| gate.definition).collect::<Vec<_>>();
        let status = |ix: ItemIx| self.ends.get(graph.name(ix)).map(|end| end.status);
        let has_landed = |ix: ItemIx| matches!(status(ix), Some(FinalStatus::Landed | FinalStatus::AlreadyLanded));
        let cones = self.cone_gates.iter().filter_map(|(item, gates)| Some((graph.find(item)?, definitions(gates))));
        let landed: Vec<ItemIx> = graph.indices().filter(|ix| status(*ix) == Some(FinalStatus::Landed)).collect();
        let rehearsed = match limits.landing {
            Landing::Pyramid if limits.groups.is_none() => Rehearsed {
                landing: landed,
                cones: cones.collect(),
                apexes: self.apexes.iter().map(|(_, gates)| definitions(gates)).collect(),
            },
            // These gate no cones, or few, and the others are told by them.
            Landing::Pyramid | Landing::Batch | Landing::Train => Rehearsed::as_planned(graph, landed),
        };
        Seen {
            rehearsed,
            left: graph.indices().filter(|ix| !has_landed(*ix)).collect(),
            known_verdicts: self.known.verdicts,
            passes: self.known.passes.clone(),
            workers: limits.max_workers,
        }
    }

    fn item(&self, item: &LinedUpItem, grant: Option<&OverrideGrant>) -> DryRunItem {
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
            may_be_overridden: grant.is_some(),
            override_reason: grant.and_then(|grant| grant.reason.clone()),
            because: end.and_then(|end| end.reason.clone()),
            cone: self.cones.get(&item.name).filter(set_aside).map(|composed| DryRunCone {
                commit: composed.commit,
                tree: composed.tree,
                gates: self.cone_gates.get(&item.name).map(|gates| names(gates)).unwrap_or_default(),
            }),
            item: item.clone(),
        }
    }
}

fn names(gates: &[JobGate]) -> Vec<GateName> {
    gates.iter().map(|gate| gate.name.clone()).collect()
}
