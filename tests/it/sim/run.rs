//! A run of a scripted world: the engine in one process after another, until it has come to its end.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::future::{Either, select};
use lexpr::core::judge::Surroundings;
use lexpr::core::limits::elsewhere;
use lexpr::core::strategy::groups::divide;
use lexpr::engine::{self, EngineError, Observer, Past, Ports, RunEnd, RunSetup};
use lexpr::plan::GroupSize;
use lexpr::ports::ComposeItem;
use lexpr::simulation::time::{Patience, VirtualTime};
use lexpr::vocabulary::event::Recorded;
use tokio::sync::mpsc;

use super::journal::JournalWriter;
use super::{Hands, Mishap, Outcome, Stop, When, World, head};

/// The longest gate is over long before.
const PATIENCE: Patience = Patience { wakes: 300_000, silence_ms: 3_600_000 };

impl World {
    /// Runs the plan in this world to its end.
    pub fn run(&self) -> Outcome {
        let mut divided = self.clone();
        divided.limits.elsewhere = elsewhere(&self.graph());
        divided.limits.groups = divide(&self.graph(), GroupSize::Fixed(self.group_size), &divided.limits);
        divided.run_divided()
    }

    fn run_divided(&self) -> Outcome {
        let graph = Arc::new(self.graph());
        let time = VirtualTime::new(self.seed, PATIENCE);
        let hands = Arc::new(Hands::new(self, Arc::clone(&graph), time.clone()));
        let setup = RunSetup {
            started: self.started(&graph, hands.base(), hands.base_tree()),
            items: graph
                .indices()
                .map(|ix| Arc::new(ComposeItem::of(&graph, ix, head(graph.name(ix)), Vec::new())))
                .collect(),
            graph: Arc::clone(&graph),
            policy: Arc::new(self.policy()),
            limits: self.limits.clone(),
            surroundings: Surroundings::default(),
            durations: Arc::new(self.known_durations(&graph)),
            memory_threshold: self.memory_threshold,
        };
        let ports = Ports {
            composer: hands.clone(),
            gates: hands.clone(),
            lander: hands.clone(),
            clock: Arc::new(time.clone()),
            memory: hands.clone(),
            load: hands.clone(),
            verdicts: self.remembered.clone().map(|store| store as _),
        };
        let shown = Arc::new(Mutex::new(Vec::new()));
        let observer = || -> Observer<'_> {
            let (shown, hands) = (Arc::clone(&shown), Arc::clone(&hands));
            Box::new(move |recorded: &Recorded| {
                assert!(hands.is_last_journalled(recorded), "invariant 6: shown before journalled");
                shown.lock().unwrap().push(recorded.clone());
            })
        };
        let mut stops = self.stops.iter().copied();
        let mut taken_up = 0;
        let mut interrupted = false;
        let mut past: Option<Past> = None;
        let mut processes = 0;
        let end = loop {
            let stop = stops.next();
            let before = past.as_ref().map_or(0, |past| past.events.len());
            hands.begin_again();
            let (signals, interrupts) = mpsc::unbounded_channel();
            let interrupt_at = self.mishaps.iter().find_map(|mishap| match mishap {
                Mishap::Interrupt(at_ms) => Some(*at_ms),
                _ => None,
            });
            let is_interrupted = &mut interrupted;
            let nuisance = async {
                let at_ms = match stop {
                    Some(Stop::Interrupt(at_ms)) => Some(at_ms),
                    Some(_) => None,
                    None => interrupt_at.filter(|_| !*is_interrupted),
                };
                if let Some(at_ms) = at_ms {
                    time.sleep(at_ms.saturating_sub(time.now())).await;
                    *is_interrupted |= stop.is_none();
                    // It no longer listens where it is ending already.
                    let _ = signals.send("SIGINT".to_owned());
                }
                match stop {
                    Some(Stop::Kill(events) | Stop::PowerLoss(events, _)) => hands.journalled(before + events).await,
                    Some(Stop::KillOnceMoved(times)) => hands.moved(times).await,
                    _ => std::future::pending().await,
                }
            };
            let others = hands.others_move_in_time();
            let journal = Box::new(JournalWriter(Arc::clone(&hands)));
            let (setup, ports, observers) = (setup.clone(), ports.clone(), vec![observer()]);
            let run = engine::run(past.clone(), setup, ports, journal, observers, interrupts);
            let end = time.drive(async {
                match select(pin!(run), select(pin!(nuisance), pin!(others))).await {
                    Either::Left((end, _)) => Some(end),
                    Either::Right(_) => None,
                }
            });
            let end = end.unwrap_or_else(|hang| panic!("invariant 7: a hang: {hang}"));
            match (end, stop) {
                (None, stop) => {
                    let kept = hands.die(stop, before);
                    shown.lock().unwrap().truncate(kept);
                }
                (Some(Ok(end)), Some(Stop::Interrupt(_))) if end.exit_code == engine::exit::INTERRUPTED => {}
                (Some(Ok(end)), Some(Stop::Refused)) if end.exit_code == engine::exit::TARGET_NOT_MOVED => {}
                (Some(end), _) if taken_up < self.taken_up && can_go_on(&end) => {
                    taken_up += 1;
                    assert_eq!(hands.jobs_in_work(), 0, "a run that has ended leaves no job behind");
                    hands.die(None, before);
                }
                (Some(end), _) => break end,
            }
            processes += 1;
            hands.others_move(|when| when == When::Between(processes));
            past = match hands.journal() {
                nothing if nothing.is_empty() => None,
                events => Some(Past { events, cut_bytes: 0 }),
            };
        };
        assert_eq!(hands.jobs_in_work(), 0, "a run that has ended leaves no job behind");
        let shown = std::mem::take(&mut *shown.lock().unwrap());
        Outcome { world: self.clone(), graph, setup, end, events: hands.journal(), shown, hands, took_ms: time.now() }
    }
}

/// Whether a run ended before its end by what may be over by now.
fn can_go_on(end: &Result<RunEnd, EngineError>) -> bool {
    match end {
        Ok(end) => !matches!(end.exit_code, engine::exit::ALL_LANDED | engine::exit::ITEMS_LEFT),
        Err(EngineError::Port { .. } | EngineError::Journal(_)) => true,
        Err(EngineError::Impossible(_)) => false,
    }
}
