//! Making composites: a hundred branches, one after another, onto one base, none of which git is asked about.

mod world;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lexpr::git::compose::{ComposeSettings, ShadowComposer};
use lexpr::git::quarantine::Quarantine;
use lexpr::plan::{DirectoryRenames, MergeSettings};
use lexpr::ports::{ComposeRequest, Composer};
use lexpr::vocabulary::trail::Trail;
use world::{Changes, Repository};

const BRANCHES: usize = 100;

fn compose(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut group = criterion.benchmark_group("compose");
    group.sample_size(10).throughput(Throughput::Elements(BRANCHES as u64));
    for (name, changes) in [("own files", Changes::OwnFile), ("lines of one text", Changes::OwnLine)] {
        for files in [50, 3_000] {
            let repository = Repository::new(files, BRANCHES, changes);
            let (user, base, items) = (repository.open(), repository.commit("main"), repository.items(BRANCHES));
            let mut quarantines = 0;
            // Each time in a quarantine of its own: nothing is remembered, and nothing is there already.
            let mut fresh = || {
                quarantines += 1;
                let folder = repository.folder.path().join(format!("q{quarantines}"));
                let quarantine = Quarantine::create(&folder, &user).expect("a quarantine");
                let merge = MergeSettings { renames: true, directory_renames: DirectoryRenames::Conflict };
                let settings =
                    ComposeSettings { merge, committer: None, remember_for: Some(Duration::from_secs(3600)) };
                ShadowComposer::new(&quarantine, settings).expect("a composer")
            };
            let all = |composer: ShadowComposer| {
                let request = ComposeRequest { base, items: items.clone(), beneath: Trail::default() };
                let composite = runtime.block_on(composer.compose(black_box(request))).expect("a composite");
                assert_eq!((composite.steps.len(), composer.stats().merges.by_git), (BRANCHES, 0));
                composer
            };
            group.bench_function(BenchmarkId::new(name, format!("{files} files")), |bench| {
                bench.iter_batched(&mut fresh, &all, BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, compose);
criterion_main!(benches);
