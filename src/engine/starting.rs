//! Letting things begin: composites, digests, jobs and landings, each journalled first where it
//! is an event. What they come to is heard in [`super::outcomes`].

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use tokio::sync::watch;

use super::{Done, Engine, EngineError, LandingEnd, Moved, Receipt, RunningJob, receipt};
use crate::core::strategy::{Action, GateAction, LandAction};
use crate::plan::Gate;
use crate::plan::graph::ItemIx;
use crate::ports::{
    ComposeItem, ComposeRequest, Composer, Job, JobGateRun, LandOutcome, LandRequest, Lander, PortError,
};
use crate::vocabulary::event::{CompositePurpose, Event, JobGate, JobPurpose, JobStarted, LandingIntended};
use crate::vocabulary::names::{ApexId, CommitId, TreeId, WorkerId};

impl Engine<'_> {
    /// True where a limit has come to hold something back, and others may go first.
    pub(super) fn start_all(&mut self, actions: Vec<Action>) -> Result<bool, EngineError> {
        let mut is_held_back = false;
        for action in actions {
            match action {
                Action::Record(event) => self.record(event)?,
                Action::Compose { purpose, base, items } => self.start_composing(purpose, base, &items),
                Action::Digest { tree, gate } => self.start_digesting(tree, &gate),
                Action::Gate(action) if self.is_looked_up(&action) => {}
                Action::Gate(action) if self.is_too_early(&action)? => is_held_back = true,
                Action::Gate(action) => self.start_job(action)?,
                Action::Stop { job } => {
                    if let Some(running) = self.running.get(&job) {
                        running.cancel.send_replace(true);
                    }
                }
                Action::Land(action) => self.start_landing(action)?,
            }
        }
        Ok(is_held_back)
    }

    fn start_composing(&mut self, purpose: CompositePurpose, base: CommitId, items: &[ItemIx]) {
        if !self.composing.insert(purpose.clone()) {
            return;
        }
        let items = items.iter().map(|ix| self.compose_item(&purpose, *ix)).collect();
        let beneath = self.state.trail_to(base);
        let composer = Arc::clone(&self.ports.composer);
        let begun = std::time::Instant::now();
        self.launch(async move {
            let result = composer.compose(ComposeRequest { base, items, beneath }).await;
            Done::Composed { purpose, base, result, duration_us: micros_since(begun) }
        });
    }

    /// The item as the composer is to take it.
    fn compose_item(&self, purpose: &CompositePurpose, ix: ItemIx) -> Arc<ComposeItem> {
        let item = &self.setup.items[ix.get()];
        let apex = self.state.apex().filter(|apex| *purpose == CompositePurpose::Apex { apex: apex.id });
        match apex.and_then(|apex| apex.overridden.as_ref()) {
            Some(why) => Arc::new(ComposeItem { overridden: Some(why.to_string().into()), ..ComposeItem::clone(item) }),
            None => Arc::clone(item),
        }
    }

    /// Lets something happen beside the loop; it begins when the loop next waits.
    pub(super) fn launch(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        let abandoned = Arc::clone(&self.abandoned);
        let unless_abandoned =
            async move { if abandoned.load(Ordering::Relaxed) { Done::NeverBegun } else { work.await } };
        self.in_flight.push(unless_abandoned.boxed());
    }

    fn start_digesting(&mut self, tree: TreeId, gate: &Gate) {
        let definition = gate.definition;
        if !self.digesting.insert((tree, definition)) {
            return;
        }
        let inputs = gate.inputs.clone().unwrap_or_default();
        let composer = Arc::clone(&self.ports.composer);
        self.launch(
            async move { Done::Digested { tree, definition, result: composer.digest_inputs(tree, inputs).await } },
        );
    }

    fn start_job(&mut self, action: GateAction) -> Result<(), EngineError> {
        let is_here = action.gates.first().is_none_or(|first| first.gate.runtime.elsewhere().is_none());
        // What runs elsewhere takes no memory of this machine.
        if is_here && self.is_throttled()? {
            return Ok(());
        }
        let job = self.state.next_job();
        let worker = self.free_worker(is_here);
        let gates: Vec<JobGateRun> = action
            .gates
            .iter()
            .map(|keyed| JobGateRun {
                gate: Arc::clone(&keyed.gate),
                key: keyed.key,
                item: keyed.context.map(|ix| self.setup.graph.name(ix).clone()),
                ran: self.state.attempts(&keyed.key),
            })
            .collect();
        self.record(Event::JobStarted(Box::new(JobStarted {
            job,
            worker,
            purpose: action.purpose,
            commit: action.at.commit,
            tree: action.at.tree,
            gates: action
                .gates
                .iter()
                .map(|keyed| JobGate {
                    name: keyed.gate.name.clone(),
                    key: keyed.key,
                    definition: keyed.gate.definition,
                    required: keyed.required,
                })
                .collect(),
            more: action.more,
        })))?;
        for gate in &gates {
            // Should it be asked for once more, somebody may have found out by then.
            self.unknown.remove(&gate.key);
        }
        let (tree, base) = (action.at.tree, action.base);
        let (cancel, cancelled) = watch::channel(false);
        self.running.insert(job, RunningJob { gates: gates.clone(), tree, base, has_judged: false, cancel });
        let work = Job {
            job,
            worker,
            commit: action.at.commit,
            tree: action.at.tree,
            base: action.base,
            gates,
            fail_fast: self.setup.limits.fail_fast,
            clean_slot: action.clean_slot,
            setup: self.setup.policy.setup.clone().map(Arc::new),
        };
        let runner = Arc::clone(&self.ports.gates);
        let news = self.news_sender.clone();
        self.launch(async move { Done::Job { job, result: runner.run(work, news, cancelled).await } });
        Ok(())
    }

    /// Asks what earlier runs know of the gates; true until there is an answer. The strategy then asks
    /// again for what it still lacks.
    fn is_looked_up(&mut self, action: &GateAction) -> bool {
        let Some(store) = &self.ports.verdicts else { return false };
        // A second opinion wants to see for itself, and so does who is about to blame somebody.
        if action.clean_slot || matches!(action.purpose, JobPurpose::Blame { .. }) {
            return false;
        }
        let mut waits = false;
        let mut gates = Vec::new();
        for keyed in action.gates.iter().filter(|keyed| !self.unknown.contains(&keyed.key)) {
            waits = true;
            if self.looking_up.insert(keyed.key) {
                gates.push((keyed.gate.name.clone(), keyed.key));
            }
        }
        if !gates.is_empty() {
            let known = store.passes(gates.iter().map(|(_, key)| *key).collect());
            self.launch(async move { Done::LookedUp { gates, known: known.await } });
        }
        waits
    }

    /// One of this machine has a slot, which stays warm for it: those elsewhere are numbered after them.
    fn free_worker(&self, is_here: bool) -> WorkerId {
        let taken: HashSet<u32> = self.state.jobs().values().map(|job| job.worker.0).collect();
        let first = if is_here { 0 } else { self.setup.limits.max_workers };
        WorkerId((first..).find(|worker| !taken.contains(worker)).unwrap_or(first))
    }

    pub(super) fn is_throttled(&mut self) -> Result<bool, EngineError> {
        let running = self.state.jobs_here() > 0;
        let (throttled, event) = self.throttle.check(self.now_ms(), running);
        if let Some(event) = event {
            self.record(event)?;
        }
        Ok(throttled)
    }

    /// True where work that was held back may start.
    pub(super) fn sample_memory(&mut self) -> Result<bool, EngineError> {
        self.throttle.sample(self.now_ms());
        Ok(self.throttle.is_holding() && !self.is_throttled()?)
    }

    fn start_landing(&mut self, action: LandAction) -> Result<(), EngineError> {
        let moves_nothing = action.from.commit == action.to.commit;
        if self.state.landing().is_some() || (!moves_nothing && !self.has_the_way()) {
            return Ok(());
        }
        let names = |items: &[ItemIx]| items.iter().map(|ix| self.setup.graph.name(*ix).clone()).collect::<Vec<_>>();
        let intended = LandingIntended {
            apex: action.apex,
            from: action.from.commit,
            to: action.to.commit,
            tree: action.to.tree,
            items: names(&action.items),
            proof: action.proof.clone(),
            push: self.setup.started.push.clone(),
        };
        self.record(Event::LandingIntended(Box::new(intended.clone())))?;
        self.sync()?;
        let receipt = receipt::receipt(&self.setup, &self.state, &self.passes, &intended, self.last_ms);
        let begun = std::time::Instant::now();
        if moves_nothing {
            // The target holds these items already; there is nothing to move.
            let landed = LandingEnd::Landed { pushed_to: None, moved_checkouts: Vec::new(), receipt: None };
            let done = Done::Landing { action, result: Ok(landed), duration_us: 0 };
            self.launch(futures::future::ready(done));
            return Ok(());
        }
        let request = self.land_request(&action);
        let yet_to_land = self.yet_to_land();
        let lander = Arc::clone(&self.ports.lander);
        let composer = Arc::clone(&self.ports.composer);
        let stopped = self.stopped.subscribe();
        self.launch(async move {
            let result = land(&*lander, &*composer, request, stopped, receipt, yet_to_land).await;
            Done::Landing { action, result, duration_us: micros_since(begun) }
        });
        Ok(())
    }
}

async fn land(
    lander: &dyn Lander,
    composer: &dyn Composer,
    request: LandRequest,
    stopped: watch::Receiver<bool>,
    receipt: Receipt,
    yet_to_land: Vec<Arc<ComposeItem>>,
) -> Result<LandingEnd, PortError> {
    let (apex, from) = (request.apex, request.from);
    Ok(match lander.land(request, stopped).await? {
        LandOutcome::Landed { pushed_to, moved_checkouts } => {
            // Without its receipt it is not done: it stays open, and a resumption comes back to it.
            let receipt = Some(write_receipt(lander, apex, &receipt).await?);
            LandingEnd::Landed { pushed_to, moved_checkouts, receipt }
        }
        LandOutcome::TargetMoved { to } => LandingEnd::Moved(moved(composer, from, to, yet_to_land).await?),
        LandOutcome::Refused { message, advice } => LandingEnd::Refused { message, advice },
    })
}

/// What it means that others have moved the target.
pub(super) async fn moved(
    composer: &dyn Composer,
    from: CommitId,
    to: CommitId,
    yet_to_land: Vec<Arc<ComposeItem>>,
) -> Result<Moved, PortError> {
    let to_tree = composer.tree_of(to).await?;
    Ok(Moved { to, to_tree, landed: composer.landed_since(from, to, yet_to_land).await? })
}

/// The path at which it is.
pub(super) async fn write_receipt(lander: &dyn Lander, apex: ApexId, receipt: &Receipt) -> Result<String, PortError> {
    let receipt = serde_json::to_value(receipt).expect("a receipt is made of strings, numbers and lists");
    Ok(lander.write_receipt(apex, receipt).await?.to_string_lossy().into_owned())
}

fn micros_since(begun: std::time::Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}
