//! `maxWorkers: auto` on a real machine: facts alone, no times.

use crate::cli_world::{NewBranch, World};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Seconds after which a gate gives up that waits for others of its kind.
const LONGEST_WAIT: u32 = 900;

#[test]
fn gates_that_wait_for_more_of_them_than_there_are_processors_pass_with_auto_also_after_a_resumption() {
    let wanted = cores() + 1;
    let names: Vec<String> = (0..wanted).map(|at| format!("i{at}")).collect();
    let files: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(name.as_str(), "1")]).collect();
    let branches: Vec<NewBranch<'_>> =
        names.iter().zip(&files).map(|(name, files)| (name.as_str(), "main", files.as_slice())).collect();
    let world = World::new(README, &branches);
    let here = world.path("here");
    std::fs::create_dir(&here).unwrap();
    // It waits until so many are at it at once, which are more than a fixed pool has. From then on nobody waits.
    let script = format!(
        "cd {here}; touch $$.run; until [ -e full ] || {{ [ -e go ] && [ $(ls | grep -c 'run$') -ge {wanted} ]; }}; \
         do sleep 1; done; touch full",
        here = here.display()
    );
    let mut plan =
        "schemaVersion: v1\npolicy: {performance: {batchSize: 1000, throttleOnMemory: false}}\nitems:\n".to_owned();
    for name in &names {
        plan.push_str(&format!(
            "  - {{name: {name}, gates: [{{name: slow, run: {script:?}, context: true, timeoutSeconds: {LONGEST_WAIT}}}]}}\n"
        ));
    }
    // Nobody may go yet.
    world.merge(&plan, &["--execute", "--max-workers", "auto", "--deadline", "2"]).expect(130);
    for left in std::fs::read_dir(&here).unwrap() {
        std::fs::remove_file(left.unwrap().path()).unwrap();
    }
    std::fs::write(here.join("go"), "").unwrap();
    let report = world.path("report.json");
    let said = world.lexpr(["resume", "--report", report.to_str().unwrap(), "--progress", "plain"]).expect(0);
    assert!(said.stderr.contains(" workers "), "{}", said.stderr);
    let report = world.report(&report);
    let pool = &report["summary"]["concurrency"]["pool"];
    assert_eq!(pool["atFirst"], cores(), "{pool:#}");
    assert!(pool["most"].as_u64().unwrap() >= wanted as u64, "{pool:#}");
}

#[test]
fn a_dry_run_reckons_with_the_machines_processors() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let report = world.path("report.json");
    let plan = "schemaVersion: v1\npolicy: {maxWorkers: auto}\ngates: [{name: g, run: 'true'}]\nitems: [{name: a}]\n";
    world.merge(plan, &["--report", report.to_str().unwrap()]).expect(0);
    assert_eq!(world.report(&report)["maxWorkers"], cores());
    let simulated = world.lexpr(["simulate", world.plan(plan).to_str().unwrap(), "--format", "json"]).expect(0);
    let simulated: serde_json::Value = serde_json::from_str(&simulated.stdout).unwrap();
    assert_eq!((&simulated["workers"], &simulated["workersAreAuto"]), (&cores().into(), &true.into()));
    let said = world.lexpr(["simulate", "--random", "3", "--max-workers", "auto", "--only", "train"]).expect(0);
    let told = format!(
        "{} (auto: one a core, as virtual time measures no load)",
        if cores() == 1 { "1 worker".to_owned() } else { format!("{} workers", cores()) }
    );
    assert!(said.stdout.contains(&told), "{}", said.stdout);
    let fixed = world.lexpr(["simulate", "--random", "3", "--max-workers", "3", "--only", "train"]).expect(0);
    assert!(fixed.stdout.contains(", 3 workers, gates of"), "{}", fixed.stdout);
}

#[test]
fn a_number_of_workers_is_a_number_or_auto() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let plan = "schemaVersion: v1\nitems: [{name: a}]\n";
    for wrong in ["0", "-1", "1025", "many", "1.5"] {
        let said = world.merge(plan, &["--max-workers", wrong]).expect(2);
        assert!(said.stderr.contains("a whole number from 1 to 1024, or auto, is expected"), "{}", said.stderr);
    }
}
