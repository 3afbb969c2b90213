//! `lexpr simulate`: what it draws.

use crate::cli_world::World;

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

/// Twelve items of which one is broken and two clash, as docs/strategies.md shows them.
const TWELVE: &[&str] = &[
    "simulate",
    "--random",
    "12",
    "--max-workers",
    "3",
    "--fail",
    "8",
    "--clash",
    "12",
    "--flake",
    "5",
    "--seed",
    "352",
    "--format",
    "svg",
    "--trace",
    "--only",
];

#[test]
fn the_pictures_of_runs_in_the_documentation_are_what_simulate_draws() {
    let world = World::new(README, &[]);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/strategies");
    for strategy in ["pyramid", "groups", "batch", "train"] {
        let drawn = world.lexpr(TWELVE.iter().copied().chain([strategy])).expect(0).stdout;
        let kept = std::fs::read_to_string(folder.join(format!("{strategy}.svg"))).unwrap();
        assert!(drawn == kept, "docs/strategies/{strategy}.svg is another picture: `just pictures` draws it anew");
    }
}

#[test]
fn a_run_of_a_plan_is_drawn_with_the_names_of_its_items_and_only_by_our_own_strategies() {
    let world = World::new(README, &[]);
    let plan =
        "schemaVersion: v1\ngates: [{name: unit, run: 'true'}]\nitems:\n  - name: a<b\n  - {name: two, deps: [a<b]}\n";
    let plan = world.plan(plan);
    let args = ["simulate", plan.to_str().unwrap(), "--fail", "0", "--max-workers", "2", "--trace", "--format", "svg"];
    let drawn = world.lexpr(args).expect(0).stdout;
    let names = ["batch", "batch, spend: time", "groups, spend: time", "pyramid", "train"];
    for name in names {
        assert!(drawn.contains(&format!(">{name}<tspan")), "{name}");
    }
    assert_eq!(drawn.matches("class=\"n\"").count(), names.len(), "no other queue has events");
    assert!(drawn.contains("1 a&lt;b, 2 two") && drawn.contains("<title>the cone of a&lt;b: gate unit passed</title>"));
    assert!(!drawn.contains("a<b"));
}

#[test]
fn a_run_is_drawn_as_a_picture_and_as_nothing_else() {
    let world = World::new(README, &[]);
    for format in ["text", "json"] {
        let said = world.lexpr(["simulate", "--random", "3", "--trace", "--format", format]).expect(2);
        assert!(said.stderr.contains("--format svg"), "{}", said.stderr);
    }
}

#[test]
fn behind_the_last_seed_comes_the_first() {
    let world = World::new(README, &[]);
    let figures = |seed: &str, runs: &str| {
        let args = ["simulate", "--random", "9", "--only", "train", "--format", "json", "--seed", seed, "--runs", runs];
        let told: serde_json::Value = serde_json::from_str(&world.lexpr(args).expect(0).stdout).unwrap();
        told["strategies"][0]["makespanSeconds"].as_f64().unwrap_or_else(|| panic!("{told}"))
    };
    let last = u64::MAX.to_string();
    let (last_alone, first, both) = (figures(&last, "1"), figures("0", "1"), figures(&last, "2"));
    assert!(last_alone > 0.0, "the last seed is simulated");
    assert!((both - f64::midpoint(last_alone, first)).abs() < 1e-6, "{last_alone} {first} {both}");
}
