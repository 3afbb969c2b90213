//! Landing on real repositories, each story told in every way to land: whatever the way, the same items
//! land, what landed was tested, and nobody is thrown out who did nothing.

use std::ffi::OsStr;
use std::fmt::Write as _;

use serde_json::Value;

use crate::cli_world::{NewBranch, Said, World, statuses};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Pyramid,
    Groups,
    Batch,
    Train,
    Auto,
}

impl Way {
    /// As a plan's policy says it.
    fn policy(self) -> &'static str {
        match self {
            Self::Pyramid => "landing: pyramid",
            Self::Groups => "landing: pyramid, groupSize: 3",
            Self::Batch => "landing: batch",
            Self::Train => "landing: train",
            Self::Auto => "landing: auto, spend: time",
        }
    }

    fn has_cones(self) -> bool {
        !matches!(self, Self::Batch | Self::Train)
    }
}

/// Makes a story a test of each way.
macro_rules! in_every_way {
    ($($story:ident),+ $(,)?) => {$(
        mod $story {
            use super::Way;

            #[test]
            fn pyramid() {
                super::$story(Way::Pyramid);
            }

            #[test]
            fn groups() {
                super::$story(Way::Groups);
            }

            #[test]
            fn batch() {
                super::$story(Way::Batch);
            }

            #[test]
            fn train() {
                super::$story(Way::Train);
            }

            #[test]
            fn auto() {
                super::$story(Way::Auto);
            }
        }
    )+};
}

in_every_way!(
    a_stack_of_ten_squashed_branches_lands_as_ten_commits_and_is_known_again,
    what_changes_one_half_runs_no_gate_of_the_other,
    of_two_that_clash_the_later_one_goes,
    of_three_that_clash_only_together_the_last_one_goes,
    a_gate_that_fails_first_everywhere_throws_nobody_out,
    a_gate_runs_where_its_plan_says,
    a_priority_is_that_of_the_dependencies_too,
    the_top_of_a_diamond_is_not_blamed_for_its_sides,
    at_least_85_percent_of_repeated_work_on_folders_is_known,
);

/// A required gate that writes down what it judged and what it thought of it.
#[derive(Clone)]
struct Gate {
    name: String,
    /// For the shell.
    check: String,
    /// The one folder that it looks at, and declares as its inputs; all of the tree where it is empty.
    folder: String,
    /// `[cone, apex]` where it is empty.
    at: &'static str,
}

fn gate(name: &str, check: &str) -> Gate {
    Gate { name: name.to_owned(), check: check.to_owned(), folder: String::new(), at: "" }
}

impl Gate {
    fn of(self, folder: &str) -> Self {
        Self { folder: folder.to_owned(), ..self }
    }

    fn at(self, at: &'static str) -> Self {
        Self { at, ..self }
    }

    /// What git calls the thing that it judges, in a commit or tree that git calls `whole`.
    fn sight(&self, whole: &str) -> String {
        if self.folder.is_empty() { format!("{whole}^{{tree}}") } else { format!("{whole}:{}", self.folder) }
    }

    fn yaml(&self, world: &World) -> String {
        let Self { name, check, folder, at } = self;
        let told = format!(
            "$(git rev-parse {}) $(git ls-files | tr '\\n' ' ')\" >> {}",
            self.sight("HEAD"),
            world.path("ran").display()
        );
        let run = format!("if {check}; then echo \"{name} passed {told}; else echo \"{name} failed {told}; exit 1; fi");
        let mut yaml = format!("{{name: {name}, run: {run:?}");
        if !folder.is_empty() {
            let _ = write!(yaml, ", inputs: ['{folder}/**']");
        }
        if !at.is_empty() {
            let _ = write!(yaml, ", at: {at}");
        }
        yaml + "}"
    }
}

/// One run of a gate.
#[derive(Debug)]
struct Ran {
    gate: String,
    passed: bool,
    /// The tree that it judged.
    tree: String,
    /// All that was there.
    files: Vec<String>,
}

impl Ran {
    fn has(&self, file: &str) -> bool {
        self.files.iter().any(|there| there == file)
    }
}

/// A world and one way to land in it.
struct Story {
    world: World,
    way: Way,
}

/// What a run of lexpr came to.
struct Told {
    said: Said,
    report: Value,
    /// In the order they ended.
    ran: Vec<Ran>,
}

impl Told {
    fn runs_of(&self, gate: &str) -> Vec<&Ran> {
        self.ran.iter().filter(|ran| ran.gate == gate).collect()
    }

    /// The items in the order in which the target got them.
    fn landed(&self) -> Vec<&str> {
        let landings = self.report["landings"].as_array().unwrap().iter();
        landings.flat_map(|landing| landing["items"].as_array().unwrap()).map(|name| name.as_str().unwrap()).collect()
    }
}

impl Story {
    fn new(way: Way, first: &[(&str, &str)], branches: &[NewBranch<'_>]) -> Self {
        Self { world: World::new(first, branches), way }
    }

    /// Branches from `main` that write a file of their own name.
    fn of_files(way: Way, names: &[&str]) -> Self {
        let files: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(*name, "x\n")]).collect();
        let branches: Vec<NewBranch<'_>> =
            names.iter().zip(&files).map(|(name, files)| (*name, "main", &files[..])).collect();
        Self::new(way, README, &branches)
    }

    fn merge(&self, policy: &str, gates: &[Gate], items: &str) -> Said {
        let gates: String = gates.iter().map(|gate| format!("- {}\n", gate.yaml(&self.world))).collect();
        let gates = if gates.is_empty() { String::new() } else { format!("gates:\n{gates}") };
        let plan = format!(
            "schemaVersion: v1\npolicy: {{{}, maxWorkers: 3{policy}}}\n{gates}items:\n{items}",
            self.way.policy()
        );
        let (plan, report) = (self.world.plan(&plan), self.world.path("report.json"));
        let args: [&OsStr; 5] =
            ["merge".as_ref(), plan.as_ref(), "--execute".as_ref(), "--report".as_ref(), report.as_ref()];
        self.world.lexpr(args)
    }

    /// Lands, sees to it that the items end as `expected`, and that what is promised of every run holds:
    /// all that the target was moved to had passed `gates` (or those of `items`, if these have their own).
    #[track_caller]
    fn land(&self, policy: &str, gates: &[Gate], items: &str, expected: &[&str]) -> Told {
        let ran_before = self.ran().len();
        let said = self.merge(policy, gates, items);
        let done = |status: &&str| status.ends_with(" landed") || status.ends_with(" alreadyLanded");
        let said = said.expect(if expected.iter().all(done) { 0 } else { 3 });
        let report = self.world.report(&self.world.path("report.json"));
        assert_eq!(statuses(&report), expected, "{}", said.stdout);
        let failed = expected.iter().filter_map(|status| status.strip_suffix(" failed")).collect::<Vec<_>>();
        assert_eq!(ever_failed(&said.stderr), failed, "{}", said.stderr);
        let told = Told { said, report, ran: self.ran().into_iter().skip(ran_before).collect() };
        self.is_tested(&told, gates);
        self.is_tidy();
        told
    }

    /// Invariant 1, for every move of the target.
    #[track_caller]
    fn is_tested(&self, told: &Told, gates: &[Gate]) {
        let ran = self.ran();
        assert_eq!(told.report["tip"], self.world.main());
        for landing in told.report["landings"].as_array().unwrap() {
            let landed = landing["to"].as_str().unwrap();
            for gate in gates.iter().filter(|gate| !gate.at.contains("cone")) {
                let tree = self.world.git(&["rev-parse", &gate.sight(landed)]);
                let passed = ran.iter().any(|ran| ran.passed && ran.gate == gate.name && ran.tree == tree);
                assert!(passed, "{} had not passed on {tree} when {} landed: {ran:#?}", gate.name, landing["items"]);
            }
        }
    }

    /// The checked-out target moved along, and history is whole.
    #[track_caller]
    fn is_tidy(&self) {
        assert_eq!(self.world.git(&["status", "--porcelain"]), "");
        assert_eq!(self.world.git(&["ls-files"]).lines().collect::<Vec<_>>(), self.world.files_on_main());
        assert_eq!(self.world.git(&["fsck", "--strict", "--no-dangling", "main"]), "");
    }

    /// Every run of a gate so far.
    fn ran(&self) -> Vec<Ran> {
        let told = std::fs::read_to_string(self.world.path("ran")).unwrap_or_default();
        told.lines()
            .map(|line| {
                let mut words = line.split_whitespace().map(str::to_owned);
                let mut word = || words.next().unwrap();
                let (gate, passed, tree) = (word(), word() == "passed", word());
                Ran { gate, passed, tree, files: words.collect() }
            })
            .collect()
    }
}

/// Whom a run called failed, be it for a moment: who is blocked in the end may have been charged before.
fn ever_failed(stderr: &str) -> Vec<&str> {
    let mut names: Vec<&str> = stderr
        .lines()
        .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [_, "failed", name, ..] => name.strip_suffix(':'),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names
}

/// Items of a plan by their names.
fn items(names: &[&str]) -> String {
    names.iter().map(|name| format!("- {{name: {name}}}\n")).collect()
}

/// How each of `names` ends: landed, unless `others` says otherwise.
fn all_landed_but(names: &[&str], others: &[(&str, &str)]) -> Vec<String> {
    let status = |name: &str| others.iter().find(|(other, _)| *other == name).map_or("landed", |(_, status)| status);
    names.iter().map(|name| format!("{name} {}", status(name))).collect()
}

fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn a_stack_of_ten_squashed_branches_lands_as_ten_commits_and_is_known_again(way: Way) {
    let names: Vec<String> = (1..=10).map(|at| format!("s{at}")).collect();
    let names = refs(&names);
    let files: Vec<[(&str, &str); 2]> = names.iter().map(|name| [(*name, "x\n"), ("shared", *name)]).collect();
    // Each writes a line that the one before it wrote: only as a stack do they merge at all.
    let from = std::iter::once(&"main").chain(&names);
    let branches: Vec<NewBranch<'_>> =
        names.iter().zip(from).zip(&files).map(|((name, from), files)| (*name, *from, &files[..])).collect();
    let story = Story::new(way, README, &branches);
    let world = &story.world;
    let base = world.main();
    let stack: String = names.iter().rev().map(|name| format!("- {{name: {name}, strategy: squash}}\n")).collect();
    let gates = [gate("unit", "true")];

    story.land("", &gates, &stack, &refs(&all_landed_but(&names, &[])));
    assert_eq!(
        world.files_on_main(),
        ["README.md", "s1", "s10", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "shared"]
    );
    assert_eq!(world.git(&["show", "main:shared"]), "s10");
    let range = format!("{base}..main");
    let format = "--format=%(trailers:key=Lexpr-Head,valueonly,separator=%x2C)";
    let heads: Vec<String> = names.iter().map(|name| world.git(&["rev-parse", name])).collect();
    assert_eq!(world.git(&["log", "--reverse", format, &range]).lines().collect::<Vec<_>>(), heads);
    assert_eq!(world.git(&["rev-list", "--count", "--min-parents=2", &range]), "0");

    let (landed, gated) = (world.main(), story.ran().len());
    let again: Vec<String> = names.iter().map(|name| format!("{name} alreadyLanded")).collect();
    story.land("", &gates, &stack, &refs(&again));
    assert_eq!(world.main(), landed);
    assert_eq!(story.ran().len(), gated, "a gate ran for what had landed");
}

fn what_changes_one_half_runs_no_gate_of_the_other(way: Way) {
    let first: &[(&str, &str)] = &[("left/base", "x\n"), ("right/base", "x\n")];
    let story = Story::new(
        way,
        first,
        &[
            ("l1", "main", &[("left/l1", "x\n")]),
            ("l2", "main", &[("left/l2", "x\n")]),
            ("l3", "l1", &[("left/l3", "x\n")]),
            ("l4", "main", &[("left/l4", "x\n")]),
            ("l5", "main", &[("left/l5", "x\n")]),
            ("r1", "main", &[("right/r1", "x\n")]),
            ("r2", "main", &[("right/r2", "x\n")]),
            ("r3", "r1", &[("right/r3", "x\n")]),
        ],
    );
    let gates = [gate("left", "true").of("left"), gate("right", "true").of("right")];
    let names = ["l1", "l2", "l3", "r1", "r2", "r3"];
    let told = story.land("", &gates, &items(&names), &refs(&all_landed_but(&names, &[])));
    // One version of a half, one run of its gate, however many trees it stood in: the tip's included.
    for gate in ["left", "right"] {
        let runs = told.runs_of(gate);
        let mut versions: Vec<&str> = runs.iter().map(|ran| ran.tree.as_str()).collect();
        versions.sort_unstable();
        versions.dedup();
        assert_eq!(versions.len(), runs.len(), "{runs:#?}");
    }

    // And where the other half stands as it has landed, its gate has nothing to say.
    let names = ["l4", "l5"];
    let told = story.land("", &gates, &items(&names), &refs(&all_landed_but(&names, &[])));
    assert_eq!(told.runs_of("right").len(), 0, "{:#?}", told.ran);
    assert!(!told.runs_of("left").is_empty());
    assert!(told.report["summary"]["verdictsReused"]["gates"].as_u64() >= Some(1), "{:#}", told.report["summary"]);
    let expected = ["base", "l1", "l2", "l3", "l4", "l5"].map(|name| format!("left/{name}"));
    let expected = expected.into_iter().chain(["base", "r1", "r2", "r3"].map(|name| format!("right/{name}")));
    assert_eq!(story.world.files_on_main(), expected.collect::<Vec<_>>());
}

fn of_two_that_clash_the_later_one_goes(way: Way) {
    let names = ["i1", "i2", "i3", "i4", "i5", "i6"];
    let story = Story::of_files(way, &names);
    let gates = [gate("unit", "! { test -e i2 && test -e i5; }")];
    story.land("", &gates, &items(&names), &refs(&all_landed_but(&names, &[("i5", "failed")])));
    assert_eq!(story.world.files_on_main(), ["README.md", "i1", "i2", "i3", "i4", "i6"]);
}

fn of_three_that_clash_only_together_the_last_one_goes(way: Way) {
    let names = ["i1", "i2", "i3", "i4", "i5", "i6", "i7"];
    let story = Story::of_files(way, &names);
    let gates = [gate("unit", "! { test -e i1 && test -e i4 && test -e i6; }")];
    story.land("", &gates, &items(&names), &refs(&all_landed_but(&names, &[("i6", "failed")])));
    assert_eq!(story.world.files_on_main(), ["README.md", "i1", "i2", "i3", "i4", "i5", "i7"]);
}

fn a_gate_that_fails_first_everywhere_throws_nobody_out(way: Way) {
    let names = ["i1", "i2", "i3", "i4"];
    let story = Story::of_files(way, &names);
    let seen = story.world.path("seen");
    std::fs::create_dir(&seen).unwrap();
    let fails_first = format!("! mkdir {}/$(git rev-parse HEAD^{{tree}}) 2>/dev/null", seen.display());
    let gates = [gate("unit", &fails_first)];
    let told = story.land("", &gates, &items(&names), &refs(&all_landed_but(&names, &[])));
    assert_eq!(story.world.files_on_main(), ["README.md", "i1", "i2", "i3", "i4"]);
    assert_eq!(told.report["flakyGates"], serde_json::json!(["unit"]));
    assert!(told.said.stdout.contains("flaky (failed and passed on one tree): unit"), "{}", told.said.stdout);
    if way.has_cones() {
        let items = told.report["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["gates"][0]["status"] == "flaky"), "{items:#?}");
    }
}

fn a_gate_runs_where_its_plan_says(way: Way) {
    let names = ["i1", "i2", "i3", "i4"];
    let story = Story::of_files(way, &names);
    let own = gate("own", "! test -e i3").at("[cone]");
    let whole = gate("whole", "true").at("[apex]");
    let base = story.world.main();
    if !way.has_cones() {
        let said = story.merge("", &[own, whole.clone()], &items(&names)).expect(2);
        let landing = if way == Way::Batch { "batch" } else { "train" };
        let message = format!("the gate `own` would never run: `landing: {landing}` gates no cones");
        assert!(said.stderr.contains(&message), "{}", said.stderr);
        assert!(said.stderr.contains("add `apex`, or write `landing: pyramid`"), "{}", said.stderr);
        assert_eq!((story.world.main(), story.ran().len()), (base, 0));
        let told = story.land("", &[whole], &items(&names), &refs(&all_landed_but(&names, &[])));
        assert_eq!(told.runs_of("whole").len(), if way == Way::Batch { 1 } else { 4 }, "{:#?}", told.ran);
        return;
    }
    let told = story.land("", &[own, whole], &items(&names), &refs(&all_landed_but(&names, &[("i3", "failed")])));
    assert_eq!(story.world.files_on_main(), ["README.md", "i1", "i2", "i4"]);
    // Once, on what lands: neither on a cone, nor on a group, nor with an item that failed on its own.
    let on_apex = told.runs_of("whole");
    let landed = on_apex.iter().filter(|ran| ran.files == ["README.md", "i1", "i2", "i4"]).count();
    assert_eq!(landed, 1, "{on_apex:#?}");
    assert!(on_apex.iter().all(|ran| !ran.has("i3")), "{on_apex:#?}");
    if way != Way::Auto {
        // For the shortest run, idle slots look at its prefixes too.
        assert_eq!(on_apex.len(), 1, "{on_apex:#?}");
    }
    for name in ["i1", "i2", "i4"] {
        assert!(told.runs_of("own").iter().any(|ran| ran.passed && ran.has(name)), "{:#?}", told.ran);
    }
    if way == Way::Pyramid {
        assert!(told.runs_of("own").iter().all(|ran| ran.files.len() <= 2), "a cone has one item: {:#?}", told.ran);
    }
}

fn a_priority_is_that_of_the_dependencies_too(way: Way) {
    let names = ["top", "z-dep", "m1", "m2", "m3"];
    let story = Story::of_files(way, &names);
    let gates = [gate("unit", "true")];
    let items = "- {name: m1, priority: 50}\n- {name: m2, priority: 50}\n- {name: m3, priority: 50}\n\
                 - {name: top, priority: 100, deps: [z-dep]}\n- {name: z-dep}\n";
    let order = ["z-dep", "top", "m1", "m2", "m3"];
    let small = ", performance: {batchSize: 2}";
    let base = story.world.main();
    let told = story.land(small, &gates, items, &refs(&all_landed_but(&order, &[])));
    assert_eq!(told.landed(), order);
    assert!(told.report["landings"].as_array().unwrap().len() >= 3, "two at a time at most");
    let range = format!("{base}..main");
    let subjects = story.world.git(&["log", "--first-parent", "--reverse", "--format=%s", &range]);
    assert_eq!(subjects.lines().collect::<Vec<_>>(), order.map(|name| format!("Merge {name}: Work on {name}")));
    // Nothing that was gated held the top without what it builds on.
    assert!(told.ran.iter().all(|ran| !ran.has("top") || ran.has("z-dep")), "{:#?}", told.ran);
}

fn the_top_of_a_diamond_is_not_blamed_for_its_sides(way: Way) {
    let story = Story::of_files(way, &["other", "root", "side-1", "side-2", "top"]);
    let gates = [gate("unit", "! { test -e side-1 && test -e side-2; }")];
    let items = "- {name: root}\n- {name: side-1, deps: [root]}\n- {name: side-2, deps: [root]}\n\
                 - {name: top, deps: [side-1, side-2]}\n- {name: other}\n";
    let expected = ["other landed", "root landed", "side-1 landed", "side-2 failed", "top blocked"];
    let told = story.land("", &gates, items, &expected);
    assert_eq!(story.world.files_on_main(), ["README.md", "other", "root", "side-1"]);
    let top = &told.report["items"][4];
    assert_eq!(top["because"]["root"], "side-2", "{top:#}");
}

fn at_least_85_percent_of_repeated_work_on_folders_is_known(way: Way) {
    let names: Vec<String> = (1..=20).map(|at| format!("i{at:02}")).collect();
    let names = refs(&names);
    let paths: Vec<String> = names.iter().map(|name| format!("{name}/file")).collect();
    let files: Vec<[(&str, &str); 1]> = paths.iter().map(|path| [(path.as_str(), "1\n")]).collect();
    let branches: Vec<NewBranch<'_>> =
        names.iter().zip(&files).map(|(name, files)| (*name, "main", &files[..])).collect();
    let story = Story::new(way, README, &branches);
    let world = &story.world;
    let base = world.main();
    let gates: Vec<Gate> = names.iter().map(|name| gate(&format!("check-{name}"), "true").of(name)).collect();
    let items: String = names
        .iter()
        .zip(&gates)
        .map(|(name, gate)| format!("- {{name: {name}, gates: [{}]}}\n", gate.yaml(world)))
        .collect();
    let expected = all_landed_but(&names, &[]);
    let told = story.land("", &[], &items, &refs(&expected));
    assert_eq!(told.ran.len(), 20, "{:#?}", told.ran);

    world.git(&["checkout", "-q", "i07"]);
    world.write("i07/file", "2\n");
    world.git(&["commit", "-qam", "Go on"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["reset", "-q", "--hard", &base]);
    let told = story.land("", &[], &items, &refs(&expected));
    let ran: Vec<&str> = told.ran.iter().map(|ran| ran.gate.as_str()).collect();
    assert_eq!(ran, ["check-i07"]);
    assert_eq!(world.git(&["show", "main:i07/file"]), "2");
    let summary = &told.report["summary"];
    let reused = summary["verdictsReused"]["gates"].as_u64().unwrap();
    assert!(100 * reused >= 85 * (reused + told.ran.len() as u64), "{summary:#}");
    assert!(summary["cacheHitRate"].as_f64().unwrap() >= 0.85, "{summary:#}");
    for (name, gate) in names.iter().zip(&gates) {
        let tree = world.git(&["rev-parse", &gate.sight("main")]);
        let passed = story.ran().iter().any(|ran| ran.passed && ran.gate == gate.name && ran.tree == tree);
        assert!(passed, "{name} landed without its gate");
    }
}

/// The merged text is then new in the oldest commit alone, and in all that look like it.
#[test]
fn a_branch_that_takes_back_what_it_did_lands_with_all_it_had_in_between() {
    let lines = |first: &str, last: &str| {
        let middle: String = (2..20).map(|line| format!("{line}\n")).collect();
        format!("{first}\n{middle}{last}\n")
    };
    let plain = lines("1", "20");
    for strategy in ["merge", "rebase"] {
        let world = World::new(&[("f", &plain)], &[("it", "main", &[("f", &lines("1", "twenty"))])]);
        world.git(&["checkout", "--quiet", "it"]);
        world.write("g", "g\n");
        world.git(&["add", "g"]);
        world.git(&["commit", "--quiet", "--message", "Add g"]);
        world.git(&["revert", "--no-edit", "HEAD"]);
        world.git(&["checkout", "--quiet", "main"]);
        world.write("f", &lines("one", "20"));
        world.git(&["commit", "--quiet", "--all", "--message", "main moved"]);
        let plan = format!("schemaVersion: v1\nitems: [{{name: it, strategy: {strategy}}}]\n");
        world.merge(&plan, &["--execute"]).expect(0);
        assert_eq!(world.git(&["show", "main:f"]), lines("one", "twenty").trim_end());
        world.git(&["fsck", "--strict", "--connectivity-only"]);
    }
}

#[test]
fn a_branch_that_takes_back_what_another_did_lands_on_it_with_what_was_merged_before() {
    let lines: String = (1..21).map(|line| format!("{line}\n")).collect();
    let (first, last) = (lines.replacen("1\n", "one\n", 1), lines.replace("20\n", "twenty\n"));
    let branches: &[NewBranch<'_>] = &[
        ("a", "main", &[("f", &first)]),
        ("b", "main", &[("f", &last)]),
        ("c", "main", &[("g", "g\n")]),
        ("d", "c", &[]),
    ];
    let world = World::new(&[("f", &lines)], branches);
    world.git(&["checkout", "--quiet", "d"]);
    world.git(&["revert", "--no-edit", "c"]);
    world.git(&["checkout", "--quiet", "main"]);
    world
        .merge("schemaVersion: v1\nitems: [{name: a}, {name: b}, {name: c}, {name: d, deps: [c]}]\n", &["--execute"])
        .expect(0);
    assert_eq!(world.files_on_main(), ["f"]);
    world.git(&["fsck", "--strict", "--connectivity-only"]);
}
