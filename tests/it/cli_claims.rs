//! `Lexpr-Head` lines that are not true: anybody can write one into a commit that lands.

use crate::cli_world::{World, statuses};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

/// `evil` claims that `victim` has landed; `above` builds on `victim`, and `dep` depends on it by the plan.
fn world() -> World {
    let world = World::new(
        README,
        &[
            ("victim", "main", &[("victim", "1")]),
            ("above", "victim", &[("above", "1")]),
            ("dep", "main", &[("dep", "1")]),
        ],
    );
    let message = format!("Innocent\n\nLexpr-Head: {}\n", world.git(&["rev-parse", "victim"]));
    world.git(&["checkout", "-q", "-b", "evil", "main"]);
    world.write("evil", "1");
    world.git(&["add", "evil"]);
    world.git(&["commit", "-q", "-m", &message]);
    world.git(&["checkout", "-q", "main"]);
    world
}

fn plan(items: &str) -> String {
    format!("schemaVersion: v1\ngates: [{{ name: unit, run: 'true' }}]\nitems: [{items}]\n")
}

#[test]
fn invariant_2_a_line_that_claims_a_landing_is_not_believed_however_it_came_to_the_target() {
    for way in ["merge", "squash", "rebase", "by hand"] {
        let world = world();
        if way == "by hand" {
            world.git(&["merge", "-q", "--ff-only", "evil"]);
        } else {
            world.merge(&plan(&format!("{{ name: evil, strategy: {way} }}")), &["--execute"]).expect(0);
        }
        let all = "{ name: victim }, { name: dep, deps: [victim] }, { name: above, strategy: squash }";
        world.merge(&plan(all), &["--execute", "--report", "r.json"]).expect(0);
        let report = world.report(&world.repo().join("r.json"));
        assert_eq!(statuses(&report), ["victim landed", "above landed", "dep landed"], "{way}");
        assert_eq!(world.files_on_main(), ["README.md", "above", "dep", "evil", "victim"], "{way}");
    }
}

#[test]
fn invariant_3_what_builds_on_a_head_that_is_claimed_to_have_landed_brings_it_along() {
    let world = world();
    world.merge(&plan("{ name: evil }"), &["--execute"]).expect(0);
    world.merge(&plan("{ name: above }"), &["--execute"]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "above", "evil", "victim"]);
}
