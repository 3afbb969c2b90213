//! What each event of a run costs: journalled, and applied to the state.

use std::hint::black_box;
use std::sync::{Arc, Mutex};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use lexpr::clock::SystemClock;
use lexpr::core::judge::Surroundings;
use lexpr::core::limits::{Limits, Outcomes};
use lexpr::core::state::RunState;
use lexpr::engine::rehearsal::{self, NothingKept};
use lexpr::engine::{self, RunSetup};
use lexpr::journal::JournalFile;
use lexpr::plan::check::check;
use lexpr::plan::file::DEFAULT_BATCH_SIZE;
use lexpr::plan::graph::Graph;
use lexpr::plan::{Plan, Spend};
use lexpr::ports::{ComposeItem, ComposeRequest, Composer, Composite, Journal, PortError, WrittenGates};
use lexpr::vocabulary::event::{LandedByOthers, Recorded, Step};
use lexpr::vocabulary::names::{CommitId, RunId, SubjectDigest, TreeId};

const ITEMS: usize = 1_000;

/// Composites by what they are made of, without any tree.
struct InNameOnly;

impl Composer for InNameOnly {
    fn compose(&self, request: ComposeRequest) -> BoxFuture<'_, Result<Composite, PortError>> {
        let mut id = *request.base.as_bytes().first_chunk::<20>().expect("ids of SHA-1");
        let mut steps = Vec::new();
        for item in &request.items {
            let next = blake3::Hasher::new().update(&id).update(item.head.as_bytes()).finalize();
            id.copy_from_slice(&next.as_bytes()[..20]);
            steps.push(Step { item: item.name.clone(), commit: commit(&id), tree: tree(&id) });
        }
        ready(Ok(Composite { commit: commit(&id), tree: tree(&id), steps, set_aside: Vec::new() })).boxed()
    }

    fn tree_of(&self, commit: CommitId) -> BoxFuture<'_, Result<TreeId, PortError>> {
        ready(Ok(tree(commit.as_bytes()))).boxed()
    }

    fn landed_since(
        &self,
        _: CommitId,
        _: CommitId,
        _: Vec<Arc<ComposeItem>>,
    ) -> BoxFuture<'_, Result<Vec<LandedByOthers>, PortError>> {
        // Nobody else moves the target.
        ready(Ok(Vec::new())).boxed()
    }

    fn digest_inputs(&self, tree: TreeId, _: Vec<String>) -> BoxFuture<'_, Result<SubjectDigest, PortError>> {
        ready(Ok(SubjectDigest::of([tree.as_bytes()]))).boxed()
    }
}

fn commit(bytes: &[u8]) -> CommitId {
    CommitId::from_bytes(bytes).expect("20 bytes")
}

fn tree(bytes: &[u8]) -> TreeId {
    TreeId::from_bytes(bytes).expect("20 bytes")
}

/// The graph of a plan in which every third item depends on the one before it, and all that a run of it records.
fn recorded() -> (Arc<Graph>, Vec<Recorded>) {
    let mut text = "schemaVersion: v1\ngates: [{name: unit, run: 'true'}]\nitems:\n".to_owned();
    for at in 0..ITEMS {
        let deps = if at % 3 == 2 { format!("pr-{}", at - 1) } else { String::new() };
        text.push_str(&format!("  - {{ name: pr-{at}, deps: [{deps}] }}\n"));
    }
    let Plan { items, policy, .. } = check("plan.yaml", text.as_bytes()).expect("a valid plan").plan;
    let graph = Arc::new(Graph::new(items, &[]).expect("no cycle"));
    let head = |name: &str| commit(&blake3::hash(name.as_bytes()).as_bytes()[..20]);
    let item = |ix| Arc::new(ComposeItem::of(&graph, ix, head(graph.name(ix).as_str()), Vec::new()));
    let items: Vec<Arc<ComposeItem>> = graph.indices().map(item).collect();
    let limits = Limits {
        landing: policy.landing,
        elsewhere: 0,
        max_workers: 8,
        workers_at_first: None,
        batch_size: DEFAULT_BATCH_SIZE,
        fail_fast: policy.fail_fast,
        second_opinion: policy.second_opinion,
        spend: Spend::Gates,
        max_rebases: policy.max_rebases,
        history: Outcomes::default(),
        groups: None,
    };
    let mut written = WrittenGates::default();
    let lined_up = items.iter().map(|item| std::sync::Arc::new(item.lined_up(&graph, &mut written))).collect();
    let base = (head("base"), tree(head("base").as_bytes()));
    let started = rehearsal::started(RunId::new("20260101-000000-000-aaaa"), base, &limits, lined_up);
    let setup = RunSetup {
        started,
        graph: Arc::clone(&graph),
        items,
        policy: Arc::new(policy),
        limits,
        surroundings: surroundings(),
        durations: Arc::default(),
        memory_threshold: None,
    };
    let ports = rehearsal::ports(Arc::new(InNameOnly), Arc::new(SystemClock::new()), None);
    let events = Mutex::new(Vec::new());
    let collect = |recorded: &Recorded| events.lock().expect("nobody panics").push(recorded.clone());
    let (_, no_signals) = tokio::sync::mpsc::unbounded_channel();
    let run = engine::run(None, setup, ports, Box::new(NothingKept), vec![Box::new(collect)], no_signals);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let end = runtime.block_on(run).expect("the run comes to its end");
    assert_eq!(end.exit_code, engine::exit::ALL_LANDED);
    (graph, events.into_inner().expect("nobody panics"))
}

fn surroundings() -> Surroundings {
    Surroundings { platform: "bench".to_owned(), ..Surroundings::default() }
}

fn events(criterion: &mut Criterion) {
    let (graph, recorded) = recorded();
    let mut group = criterion.benchmark_group("events");
    group.throughput(Throughput::Elements(recorded.len() as u64)).sample_size(20);
    group.bench_function("apply", |bench| {
        let fresh = || RunState::new(Arc::clone(&graph), surroundings(), &Default::default());
        let all = |mut state: RunState| {
            for recorded in &recorded {
                state.apply(black_box(&recorded.event)).expect("it happened so");
            }
            state
        };
        bench.iter_batched(fresh, all, BatchSize::PerIteration);
    });
    let folder = tempfile::tempdir().expect("a folder");
    let mut journals = 0;
    let mut fresh = || {
        journals += 1;
        JournalFile::create(&folder.path().join(format!("journal{journals}"))).expect("a journal")
    };
    group.bench_function("append", |bench| {
        let all = |mut journal: JournalFile| {
            for recorded in &recorded {
                journal.append(black_box(recorded)).expect("it can be written");
            }
            journal.sync().expect("it can be synced");
            journal
        };
        bench.iter_batched(&mut fresh, all, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("append and sync", |bench| {
        let mut journal = fresh();
        let mut at = recorded.iter().cycle();
        bench.iter(|| {
            journal.append(black_box(at.next().expect("there is always one more"))).expect("it can be written");
            journal.sync().expect("it can be synced");
        });
    });
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
