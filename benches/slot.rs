//! Getting a tree in front of a gate: a warm slot goes from one cone to another and back.

mod world;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lexpr::git::slot::{Clean, SlotPool, SlotSettings, SlotTarget, SwitchedBy};
use world::{Changes, Repository};

fn switch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slot");
    group.sample_size(20);
    for (name, changes) in [("own files", Changes::OwnFile), ("lines of one text", Changes::OwnLine)] {
        for files in [50, 3_000] {
            there_and_back(&mut group, &format!("{name}, {files} files"), &Repository::new(files, 2, changes));
        }
    }
    group.finish();
}

/// Between the cones of two branches.
fn there_and_back(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, repository: &Repository) {
    let user = repository.open();
    let base = repository.commit("main");
    let cones: Vec<SlotTarget> = repository
        .items(2)
        .iter()
        .map(|item| {
            let tree = repository.git.line(["rev-parse", &format!("{}^{{tree}}", item.head)]).expect("it is there");
            SlotTarget { commit: item.head, tree: tree.parse().expect("git names trees so"), base }
        })
        .collect();
    let pool = SlotPool::new(SlotSettings {
        cache_root: repository.folder.path().join("cache"),
        repository_id: "bench".to_owned(),
        object_dirs: vec![user.objects().to_owned()],
        store: None,
        target_branch: "main".to_owned(),
    });
    let mut slot = pool.take().expect("a slot");
    let mut go = |to: &SlotTarget| slot.switch_to(to, Clean::TrackedAndUntracked).expect("a switch");
    go(&cones[1]);
    group.throughput(Throughput::Elements(2));
    group.bench_function(BenchmarkId::new("there and back", name), |bench| {
        bench.iter(|| cones.iter().for_each(&mut go))
    });
    assert_eq!(slot.switched_by(), Some(SwitchedBy::InProcess));
}

criterion_group!(benches, switch);
criterion_main!(benches);
