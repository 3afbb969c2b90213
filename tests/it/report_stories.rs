//! Hand-made runs for the tests of the faces: a builder for sequences of events, and a few
//! stories told with it.

use std::sync::Arc;

use lexpr::vocabulary::event::{
    Composed, CompositePurpose, Conflict, Decision, EVENT_FORMAT, Event, FinalItem, FinalStatus, GateFinished,
    GateOutcome, HaltReason, ItemDecided, ItemGateStatus, ItemVerdict, JobGate, JobPurpose, JobStarted, Landed,
    LandingIntended, LinedUpGate, LinedUpItem, Overridden, OverriddenGate, OverrideGrant, PoolReason, Reason, Recorded,
    RunStarted, SetAside, SetAsideCause, Step, Verdict,
};
use lexpr::vocabulary::names::{
    ApexId, CommitId, DefinitionDigest, GateName, GroupId, ItemName, JobId, MergeStrategy, PlanDigest, RunId, TreeId,
    VerdictKey, WorkerId,
};

/// 2026-11-21T09:00:00Z
const BEGAN_AT_MS: u64 = 1_795_251_600_000;

pub fn commit(of: &str) -> CommitId {
    CommitId::from_bytes(&bytes_of("commit", of)).unwrap()
}

pub fn tree(of: &str) -> TreeId {
    TreeId::from_bytes(&bytes_of("tree", of)).unwrap()
}

/// The key of a gate on a tree.
pub fn key(gate: &str, on: &str) -> VerdictKey {
    VerdictKey::of([gate.as_bytes(), on.as_bytes()])
}

fn bytes_of(kind: &str, text: &str) -> [u8; 20] {
    let mut id = [0; 20];
    id[..16].copy_from_slice(PlanDigest::of([kind.as_bytes(), text.as_bytes()]).as_bytes());
    id
}

pub fn gate(name: &str, required: bool) -> LinedUpGate {
    LinedUpGate {
        name: GateName::new(name),
        definition: DefinitionDigest::of([name.as_bytes()]),
        run: format!("make {name}"),
        cwd: String::new(),
        required,
        by_inputs: false,
        clean: false,
        runtime: None,
        image: None,
    }
}

pub fn item(name: &str, level: u32, deps: &[&str], gates: &[&str]) -> LinedUpItem {
    LinedUpItem {
        name: ItemName::new(name),
        branch: format!("feature/{name}"),
        head: commit(&format!("head of {name}")),
        strategy: MergeStrategy::Merge,
        priority: 0,
        level,
        deps: deps.iter().map(ItemName::new).collect(),
        merged: Vec::new(),
        implied: Vec::new(),
        gates: gates.iter().map(|name| Arc::new(gate(name, true))).collect(),
        already_landed: None,
    }
}

pub fn names(items: &[&str]) -> Vec<ItemName> {
    items.iter().map(ItemName::new).collect()
}

/// A sequence of events that is being told.
pub struct Story {
    pub events: Vec<Recorded>,
    /// Milliseconds since the run began.
    now: u64,
    jobs: u64,
}

impl Story {
    pub fn begin(items: Vec<LinedUpItem>) -> Self {
        let mut story = Self { events: Vec::new(), now: 0, jobs: 0 };
        story.tell(Event::RunStarted(Box::new(RunStarted {
            format: EVENT_FORMAT,
            run: RunId::new("20261121-090000-ab12"),
            version: "0.1.0".into(),
            plan: "plan.yaml".into(),
            arguments: Vec::new(),
            directory: String::new(),
            plan_digest: PlanDigest::of([b"plan".as_slice()]),
            repository: "/home/ann/shop/.git".into(),
            target: "refs/heads/main".into(),
            base: commit("base"),
            base_tree: tree("base"),
            push: None,
            urgent: false,
            overrides: None,
            no_sign: false,
            runtime: None,
            images: Vec::new(),
            gate_timeout_ms: None,
            artifact_dir: None,
            max_workers: 4,
            workers_at_first: None,
            batch_size: 50,
            memory_limit_bytes: Some(4 << 30),
            fingerprint: None,
            items: items.into_iter().map(std::sync::Arc::new).collect(),
        })));
        story
    }

    pub fn wait(&mut self, ms: u64) -> &mut Self {
        self.now += ms;
        self
    }

    pub fn tell(&mut self, event: Event) -> &mut Self {
        let seq = self.events.len() as u64 + 1;
        self.events.push(Recorded { seq, at_ms: BEGAN_AT_MS + self.now, event });
        self
    }

    /// Makes the item's cone.
    pub fn cone(&mut self, name: &str) -> &mut Self {
        self.tell(Event::Composed(Box::new(Composed {
            purpose: CompositePurpose::Cone { item: ItemName::new(name) },
            base: commit("base"),
            commit: commit(name),
            tree: tree(name),
            steps: Vec::new(),
            set_aside: Vec::new(),
            duration_us: 1500,
        })))
    }

    /// Forms and makes an apex of `members`.
    pub fn apex(&mut self, id: u32, members: &[&str], aside: Vec<SetAside>) -> &mut Self {
        let mut items = names(members);
        items.extend(aside.iter().map(|aside| aside.item.clone()));
        self.tell(Event::ApexFormed { apex: ApexId(id), base: commit("base"), items });
        let step = |name: &&str| Step {
            item: ItemName::new(name),
            commit: commit(&format!("apex {id} {name}")),
            tree: tree(&format!("apex {id} {name}")),
        };
        let steps: Vec<Step> = members.iter().map(step).collect();
        let top = steps.last().unwrap();
        self.tell(Event::Composed(Box::new(Composed {
            purpose: CompositePurpose::Apex { apex: ApexId(id) },
            base: commit("base"),
            commit: top.commit,
            tree: top.tree,
            steps: steps.clone(),
            set_aside: aside,
            duration_us: 12_000,
        })))
    }

    /// On the item's cone where it is for that or a second opinion, else on some tree.
    pub fn job(&mut self, worker: u32, purpose: JobPurpose, gates: &[(&str, VerdictKey, bool)]) -> JobId {
        let tree = match &purpose {
            JobPurpose::Cone { item } | JobPurpose::SecondOpinion { item } => tree(item.as_str()),
            _ => tree("some"),
        };
        self.job_on(worker, purpose, gates, tree)
    }

    pub fn job_on(
        &mut self,
        worker: u32,
        purpose: JobPurpose,
        gates: &[(&str, VerdictKey, bool)],
        tree: TreeId,
    ) -> JobId {
        self.jobs += 1;
        let job = JobId(self.jobs);
        let gates = gates
            .iter()
            .map(|(name, key, required)| JobGate {
                name: GateName::new(name),
                key: *key,
                definition: DefinitionDigest::of([name.as_bytes()]),
                required: *required,
            })
            .collect();
        self.tell(Event::JobStarted(Box::new(JobStarted {
            job,
            worker: WorkerId(worker),
            purpose,
            commit: commit("some"),
            tree,
            gates,
            more: false,
        })));
        job
    }

    pub fn start(&mut self, job: JobId, gate: &str, key: VerdictKey, attempt: u32) -> &mut Self {
        self.tell(Event::GateStarted { job, gate: GateName::new(gate), key, attempt, node: None })
    }

    /// Ends an attempt, with a tail that the words of the story give.
    #[expect(clippy::too_many_arguments, reason = "one for each thing that an attempt may differ in")]
    pub fn end(
        &mut self,
        job: JobId,
        gate: &str,
        key: VerdictKey,
        attempt: u32,
        outcome: GateOutcome,
        verdict: Option<Verdict>,
        tail: &str,
    ) -> &mut Self {
        let retried = verdict.is_none();
        self.tell(Event::GateFinished(Box::new(GateFinished {
            job,
            gate: GateName::new(gate),
            key,
            attempt,
            outcome,
            verdict,
            duration_ms: 1200,
            backoff_ms: retried.then_some(5000),
            peak_memory_bytes: Some(200 << 20),
            log: format!("/var/lexpr/logs/{}-{gate}-{attempt}.log", job.0).into(),
            log_digest: None,
            tail: tail.to_owned(),
            artifacts: Vec::new(),
            missing_artifacts: Vec::new(),
            elsewhere: None,
        })))
    }

    /// One gate, passed at once, in a job of its own on the item's cone.
    pub fn passes(&mut self, worker: u32, name: &str, gate: &str) -> &mut Self {
        let key = key(gate, name);
        let job = self.cone(name).job(worker, cone_of(name), &[(gate, key, true)]);
        self.start(job, gate, key, 1).wait(1200);
        self.end(job, gate, key, 1, GateOutcome::Passed, Some(Verdict::Passed { flaky: false }), "ok\n");
        self.tell(Event::JobFinished { job });
        self.passed(name, &[(gate, key, ItemGateStatus::Passed)])
    }

    /// A whole job on an apex or a prefix of it.
    pub fn probe(&mut self, id: u32, members: u32, gate: &str, passes: bool) -> &mut Self {
        let key = key(gate, &format!("apex {id} first {members}"));
        let job = self.job(0, JobPurpose::Apex { apex: ApexId(id), members }, &[(gate, key, true)]);
        self.start(job, gate, key, 1).wait(3000);
        let (outcome, verdict) = if passes {
            (GateOutcome::Passed, Verdict::Passed { flaky: false })
        } else {
            (GateOutcome::Failed { exit_code: 2 }, Verdict::Failed)
        };
        self.end(job, gate, key, 1, outcome, Some(verdict), "3 tests failed\n");
        self.tell(Event::JobFinished { job })
    }

    pub fn passed(&mut self, name: &str, gates: &[(&str, VerdictKey, ItemGateStatus)]) -> &mut Self {
        self.decide(name, Decision::Passed, None, gates)
    }

    pub fn decide(
        &mut self,
        name: &str,
        decision: Decision,
        reason: Option<Reason>,
        gates: &[(&str, VerdictKey, ItemGateStatus)],
    ) -> &mut Self {
        let gates = gates
            .iter()
            .map(|(gate, key, status)| ItemVerdict {
                gate: GateName::new(gate),
                key: Some(*key),
                required: true,
                status: *status,
            })
            .collect();
        self.tell(Event::ItemDecided(Box::new(ItemDecided { item: ItemName::new(name), decision, reason, gates })))
    }

    /// Lands the first of an apex's items.
    pub fn lands(&mut self, id: u32, from: CommitId, items: &[&str], proof: Vec<VerdictKey>) -> &mut Self {
        let last = format!("apex {id} {}", items.last().unwrap());
        self.tell(Event::LandingIntended(Box::new(LandingIntended {
            apex: ApexId(id),
            from,
            to: commit(&last),
            tree: tree(&last),
            items: names(items),
            proof,
            push: None,
        })));
        self.wait(20).tell(Event::Landed(Box::new(Landed {
            apex: ApexId(id),
            from,
            to: commit(&last),
            tree: tree(&last),
            items: names(items),
            pushed_to: None,
            moved_checkouts: Vec::new(),
            receipt: Some(format!("/home/ann/shop/.git/lexpr/receipts/{id}.json")),
            duration_us: 20_000,
        })))
    }

    pub fn finish(&mut self, exit_code: u8, ends: &[(&str, FinalStatus, Option<Reason>)]) -> Vec<Recorded> {
        let items = ends
            .iter()
            .map(|(name, status, reason)| FinalItem {
                name: ItemName::new(name),
                status: *status,
                reason: reason.clone(),
            })
            .collect();
        self.tell(Event::RunFinished { exit_code, peak_memory_bytes: 900 << 20, items });
        self.events.clone()
    }
}

/// A new process has it, with so many workers where that is told.
pub fn resumed(max_workers: Option<u32>) -> Event {
    Event::RunResumed {
        version: "0.1.0".to_owned(),
        cut_bytes: 0,
        landing_is_open: false,
        max_workers,
        workers_at_first: None,
    }
}

pub fn cone_of(name: &str) -> JobPurpose {
    JobPurpose::Cone { item: ItemName::new(name) }
}

/// Two items: one lands, and one whose gate is red lands behind it, because somebody let it.
pub fn overriding() -> Vec<Recorded> {
    let mut story = Story::begin(vec![item("auth", 0, &[], &["unit"]), item("it's\u{202e} bad", 0, &[], &["unit"])]);
    let (by, reason) = ("Ann <ann@example.com>".to_owned(), Some("the \"card\" sandbox is down".to_owned()));
    let bad = ItemName::new("it's\u{202e} bad");
    if let Event::RunStarted(run) = &mut story.events[0].event {
        run.overrides =
            Some(Box::new(OverrideGrant { items: vec![bad.clone()], by: by.clone(), reason: reason.clone() }));
    }
    story.passes(0, "auth", "unit").apex(0, &["auth"], Vec::new());
    story.lands(0, commit("base"), &["auth"], vec![key("unit", "auth")]);
    story.apex(1, &[bad.as_str()], Vec::new()).probe(1, 1, "unit", false);
    let gate = OverriddenGate {
        gate: GateName::new("unit"),
        key: key("unit", "apex 1 first 1"),
        definition: DefinitionDigest::of([b"unit".as_slice()]),
        status: ItemGateStatus::Failed,
    };
    let overridden = Overridden { apex: ApexId(1), item: bad.clone(), by, reason, gates: vec![gate] };
    story.tell(Event::Overridden(Box::new(overridden)));
    story.lands(1, commit("apex 0 auth"), &[bad.as_str()], Vec::new());
    story.finish(0, &[("auth", FinalStatus::Landed, None), (bad.as_str(), FinalStatus::Landed, None)])
}

/// Nine items with nearly every fate: two land at once, one is flaky and lands, one shares a
/// gate's run, one fails, one is blocked by it, one conflicts at the tip, one is ejected by a
/// bisection, one was there before. Work is held back for memory once.
pub fn eventful() -> Vec<Recorded> {
    let mut old = item("old", 0, &[], &["unit"]);
    old.already_landed = Some("in base".into());
    let mut search_ui = item("search-ui", 2, &["search"], &["unit"]);
    search_ui.implied = names(&["search"]);
    let mut docs = item("docs", 0, &[], &["lint", "links"]);
    Arc::make_mut(&mut docs.gates[1]).required = false;
    let mut story = Story::begin(vec![
        item("auth", 0, &[], &["unit", "lint"]),
        item("breaker", 0, &[], &["unit"]),
        docs,
        old,
        item("search", 1, &["auth"], &["unit"]),
        search_ui,
        item("theme", 0, &[], &["lint"]),
        item("wobbly", 0, &[], &["unit"]),
    ]);
    let ok = Some(Verdict::Passed { flaky: false });

    // auth and docs share the verdict of lint, whose inputs neither touches.
    let lint = key("lint", "everywhere");
    let auth = story.cone("auth").job(0, cone_of("auth"), &[("unit", key("unit", "auth"), true), ("lint", lint, true)]);
    story.start(auth, "unit", key("unit", "auth"), 1).wait(1200);
    story.end(auth, "unit", key("unit", "auth"), 1, GateOutcome::Passed, ok, "").start(auth, "lint", lint, 1);
    let docs = story.cone("docs").job(1, cone_of("docs"), &[("links", key("links", "docs"), false)]);
    story.start(docs, "links", key("links", "docs"), 1).wait(800);
    story.end(auth, "lint", lint, 1, GateOutcome::Passed, ok, "").tell(Event::JobFinished { job: auth });
    story.passed(
        "auth",
        &[("unit", key("unit", "auth"), ItemGateStatus::Passed), ("lint", lint, ItemGateStatus::Passed)],
    );
    let timed_out = GateOutcome::TimedOut { after_ms: 1200, signal: Some(9) };
    story.end(docs, "links", key("links", "docs"), 1, timed_out, Some(Verdict::Failed), "GET https://…\n");
    story.tell(Event::JobFinished { job: docs });
    story.passed(
        "docs",
        &[("lint", lint, ItemGateStatus::Passed), ("links", key("links", "docs"), ItemGateStatus::Failed)],
    );

    story.tell(Event::Throttled { used_bytes: 3500 << 20, threshold_bytes: 3277 << 20 });
    story.wait(4200).tell(Event::Unthrottled { used_bytes: 900 << 20, waited_ms: 4200 });
    story.passes(1, "breaker", "unit");

    let wobbly_key = key("unit", "wobbly");
    let wobbly = story.cone("wobbly").job(2, cone_of("wobbly"), &[("unit", wobbly_key, true)]);
    story.start(wobbly, "unit", wobbly_key, 1).wait(1200);
    story.end(wobbly, "unit", wobbly_key, 1, GateOutcome::Failed { exit_code: 1 }, None, "connection reset\n");
    story.wait(5000).start(wobbly, "unit", wobbly_key, 2).wait(1200);
    story.end(wobbly, "unit", wobbly_key, 2, GateOutcome::Passed, Some(Verdict::Passed { flaky: true }), "");
    story.tell(Event::JobFinished { job: wobbly });
    story.passed("wobbly", &[("unit", wobbly_key, ItemGateStatus::Flaky)]);

    let search_key = key("unit", "search");
    let red = "\u{1b}[31mFAILED\u{1b}[0m search::finds_nothing\n  left: 1\n right: 0\n";
    for purpose in [cone_of("search"), JobPurpose::SecondOpinion { item: ItemName::new("search") }] {
        if matches!(purpose, JobPurpose::Cone { .. }) {
            story.cone("search");
        }
        let job = story.job(0, purpose, &[("unit", search_key, true)]);
        story.start(job, "unit", search_key, 1).wait(1200);
        story.end(job, "unit", search_key, 1, GateOutcome::Failed { exit_code: 101 }, Some(Verdict::Failed), red);
        story.tell(Event::JobFinished { job });
    }
    let blame_key = key("unit", "auth alone");
    let blame = story.job(0, JobPurpose::Blame { item: ItemName::new("search") }, &[("unit", blame_key, true)]);
    story.start(blame, "unit", blame_key, 1).wait(1200);
    story.end(blame, "unit", blame_key, 1, GateOutcome::Passed, ok, "").tell(Event::JobFinished { job: blame });
    let failed =
        Reason::GateFailed { gate: GateName::new("unit"), key: search_key, apex: None, fails_without_too: false };
    story.decide("search", Decision::Failed, Some(failed.clone()), &[("unit", search_key, ItemGateStatus::Failed)]);
    let blocked = Reason::DependencyFailed { root: ItemName::new("search") };
    story.decide("search-ui", Decision::Blocked, Some(blocked.clone()), &[]);
    story.cone("theme");
    let theme = story.job(3, cone_of("theme"), &[("lint", key("lint", "theme"), true)]);
    story.start(theme, "lint", key("lint", "theme"), 1).wait(1200);
    story.end(theme, "lint", key("lint", "theme"), 1, GateOutcome::Passed, ok, "");
    story.tell(Event::JobFinished { job: theme });
    story.passed("theme", &[("lint", key("lint", "theme"), ItemGateStatus::Passed)]);

    let conflict = Conflict {
        with: Some(ItemName::new("docs")),
        paths: vec!["site/style.css".into()],
        messages: vec!["CONFLICT (content): Merge conflict in site/style.css".into()],
    };
    let aside = SetAside { item: ItemName::new("theme"), cause: SetAsideCause::Conflict(conflict.clone()) };
    story.apex(1, &["auth", "breaker", "docs", "wobbly"], vec![aside]);
    story.probe(1, 4, "unit", false).probe(1, 2, "unit", false).probe(1, 1, "unit", true);
    story.lands(1, commit("base"), &["auth"], vec![key("unit", "apex 1 first 1")]);
    let ejected = Reason::GateFailed {
        gate: GateName::new("unit"),
        key: key("unit", "apex 1 first 2"),
        apex: Some(ApexId(1)),
        fails_without_too: false,
    };
    story.decide(
        "breaker",
        Decision::Failed,
        Some(ejected.clone()),
        &[("unit", key("unit", "breaker"), ItemGateStatus::Passed)],
    );
    story.apex(2, &["docs", "wobbly"], Vec::new()).probe(2, 2, "unit", true);
    story.lands(2, commit("apex 1 auth"), &["docs", "wobbly"], vec![key("unit", "apex 2 first 2"), lint]);
    let conflicts = Reason::Conflict { at_tip: true, conflict };
    story.decide(
        "theme",
        Decision::Conflicted,
        Some(conflicts.clone()),
        &[("lint", key("lint", "theme"), ItemGateStatus::Passed)],
    );
    story.finish(
        3,
        &[
            ("auth", FinalStatus::Landed, None),
            ("breaker", FinalStatus::Failed, Some(ejected)),
            ("docs", FinalStatus::Landed, None),
            ("old", FinalStatus::AlreadyLanded, None),
            ("search", FinalStatus::Failed, Some(failed)),
            ("search-ui", FinalStatus::Blocked, Some(blocked)),
            ("theme", FinalStatus::Conflicted, Some(conflicts)),
            ("wobbly", FinalStatus::Landed, None),
        ],
    )
}

/// Everything lands: two items, one of them with a verdict from an earlier run.
/// A pool of workers that adapts.
pub fn adaptive() -> Vec<Recorded> {
    let mut story = Story::begin(vec![item("a", 0, &[], &["unit"]), item("b", 0, &[], &["unit"])]);
    if let Event::RunStarted(started) = &mut story.events[0].event {
        started.workers_at_first = Some(2);
    }
    for (from, to, reason) in [
        (2, 3, PoolReason::WorkWaits { idle_percent: Some(172), gate_percent: Some(34) }),
        (3, 4, PoolReason::WorkWaits { idle_percent: None, gate_percent: None }),
        (4, 3, PoolReason::NoGain { percent: 0 }),
        (3, 4, PoolReason::WorkWaits { idle_percent: Some(8), gate_percent: Some(2) }),
        (4, 3, PoolReason::CpuPressure { percent: 91 }),
        (3, 2, PoolReason::IoPressure { percent: 64 }),
        (2, 1, PoolReason::MemoryTight { used_bytes: 3500 << 20, threshold_bytes: 3277 << 20 }),
    ] {
        story.wait(2000).tell(Event::PoolResized { from, to, reason });
    }
    story.passes(0, "a", "unit");
    story.events
}

/// Two items in a group, which is being gated: so far the first has been, by itself and in ten seconds.
pub fn grouped() -> Vec<Recorded> {
    let item = |name| item(name, 0, &[], &["unit"]);
    let mut story = Story::begin(vec![item("a"), item("b"), item("c"), item("d"), item("e")]);
    story.cone("a");
    let job = story.job(0, cone_of("a"), &[("unit", key("unit", "a"), true)]);
    story.wait(10_000).tell(Event::JobFinished { job });
    story.passed("a", &[]);
    story.tell(Event::GroupFormed { group: GroupId(1), base: commit("base"), items: names(&["b", "c", "d"]) });
    let step = |name: &&str| Step { item: ItemName::new(name), commit: commit(name), tree: tree(name) };
    story.tell(Event::Composed(Box::new(Composed {
        purpose: CompositePurpose::Group { group: GroupId(1) },
        base: commit("base"),
        commit: commit("c"),
        tree: tree("c"),
        steps: ["b", "c"].iter().map(step).collect(),
        set_aside: Vec::new(),
        duration_us: 10,
    })));
    let gates = [("unit", key("unit", "c"), true)];
    story.job(0, JobPurpose::Group { group: GroupId(1), members: 2 }, &gates);
    story.wait(2_000).tell(Event::Unthrottled { used_bytes: 0, waited_ms: 0 });
    story.events
}

pub fn smooth() -> Vec<Recorded> {
    let mut story = Story::begin(vec![item("a", 0, &[], &["unit"]), item("b", 1, &["a"], &["unit"])]);
    story.passes(0, "a", "unit").cone("b");
    let remembered = key("unit", "b");
    story.tell(Event::VerdictReused {
        gate: GateName::new("unit"),
        key: remembered,
        from: RunId::new("20261120-180000-77ff"),
        remembered: None,
    });
    story.passed("b", &[("unit", remembered, ItemGateStatus::Passed)]);
    story.apex(1, &["a", "b"], Vec::new());
    story.lands(1, commit("base"), &["a", "b"], vec![remembered]);
    story.finish(0, &[("a", FinalStatus::Landed, None), ("b", FinalStatus::Landed, None)])
}

/// The target cannot be moved, after somebody else moved it once, a gate is red on it, and a gate
/// could not be run.
pub fn halted() -> Vec<Recorded> {
    let mut story = Story::begin(vec![
        item("a", 0, &[], &["unit"]),
        item("b", 0, &[], &["e2e"]),
        item("c", 0, &[], &["lint"]),
        item("d", 0, &[], &["unit"]),
    ]);
    story.passes(0, "a", "unit");
    let no_slot = GateOutcome::Infrastructure { message: "no space left on device\nsecond line".into() };
    let e2e = key("e2e", "b");
    let job = story.cone("b").job(1, cone_of("b"), &[("e2e", e2e, true)]);
    story.start(job, "e2e", e2e, 1).wait(10);
    story.end(job, "e2e", e2e, 1, no_slot, Some(Verdict::Unknown), "").tell(Event::JobFinished { job });
    let cannot = Reason::Infrastructure { gate: GateName::new("e2e"), message: "no space left on device".into() };
    story.decide("b", Decision::Unjudged, Some(cannot.clone()), &[("e2e", e2e, ItemGateStatus::Unjudged)]);
    story.tell(Event::GateRedOnTarget {
        gate: GateName::new("lint"),
        definition: DefinitionDigest::of([b"lint".as_slice()]),
        tree: tree("base"),
    });
    let red = Reason::RedOnTarget { gate: GateName::new("lint"), key: key("lint", "c") };
    story.tell(Event::ItemDeferred { item: ItemName::new("c"), reason: red.clone() });
    story.decide("c", Decision::Unjudged, Some(red.clone()), &[]);
    story.tell(Event::TargetMoved {
        from: commit("base"),
        to: commit("theirs"),
        to_tree: tree("theirs"),
        landed: Vec::new(),
    });
    story.tell(Event::Interrupted { signal: "SIGINT".into() });
    story.tell(Event::RunHalted {
        why: HaltReason::TargetNotMovable,
        message: "main is checked out in /home/ann/shop, which has uncommitted changes: a, b".into(),
        advice: Some("commit or stash the changes in /home/ann/shop".into()),
    });
    story.finish(
        4,
        &[
            ("a", FinalStatus::NotLanded, None),
            ("b", FinalStatus::Unjudged, Some(cannot)),
            ("c", FinalStatus::Unjudged, Some(red)),
            ("d", FinalStatus::Skipped, None),
        ],
    )
}

/// One item whose name, branch, gate and output try to break out of whatever shows them.
pub fn hostile() -> Vec<Recorded> {
    let name = "a|b`c`<script>alert(1)</script>*x*_y_[l](http://e) \u{1b}[2J\u{202e}gnp";
    let gate = "unit | `rm` <b>\u{7}";
    let mut story = Story::begin(vec![item(name, 0, &[], &[gate])]);
    let key = key(gate, name);
    let job = story.cone(name).job(0, cone_of(name), &[(gate, key, true)]);
    story.start(job, gate, key, 1).wait(1200);
    let tail = "```\n</details><h1>gone</h1>\n````\n| a | b |\n\u{1b}]0;title\u{7}\u{1b}[2Jend \u{9b}31m\u{202e}\r\nprogress 1%\rprogress 99%\n";
    story.end(job, gate, key, 1, GateOutcome::Failed { exit_code: 1 }, Some(Verdict::Failed), tail);
    story.tell(Event::JobFinished { job });
    let failed = Reason::GateFailed { gate: GateName::new(gate), key, apex: None, fails_without_too: true };
    story.decide(name, Decision::Failed, Some(failed.clone()), &[(gate, key, ItemGateStatus::Failed)]);
    story.finish(3, &[(name, FinalStatus::Failed, Some(failed))])
}

/// The events up to where a gate of `search` is run without it, the last of them an hour ago.
pub fn hung() -> Vec<Recorded> {
    let mut events = eventful();
    let running = events.iter().position(|event| serde_json::to_string(event).unwrap().contains("blame")).unwrap();
    events.truncate(running + 2);
    let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap();
    let now_ms = u64::try_from(since_epoch.as_millis()).unwrap();
    let last_ms = events.last().unwrap().at_ms;
    for event in &mut events {
        event.at_ms = now_ms - HOUR_MS - (last_ms - event.at_ms);
    }
    events
}

const HOUR_MS: u64 = 3_600_000;
