//! What a newcomer does first: the demonstration and the README's commands.

use crate::cli_world::World;

#[test]
fn the_demonstration_does_what_it_set_up_and_says_where_everything_lies() {
    let world = World::new(&[("x", "x")], &[]);
    let folder = world.path("demo");
    let said = world.lexpr(["demo", folder.to_str().unwrap()]).expect(0);
    assert!(said.stdout.contains("All of it happened."), "{}", said.stdout);
    for lies in ["shop/.git", "plan.yaml", "report.md"] {
        assert!(folder.join(lies).exists(), "{lies}");
    }
    // Not twice into one folder.
    world.lexpr(["demo", folder.to_str().unwrap()]).expect(2);
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let world = World::new(
        &[("check.sh", "test -e README.md\n"), ("README.md", "# A project\n")],
        &[("feature/a", "main", &[("a", "1")]), ("feature/b", "feature/a", &[("b", "1")])],
    );
    let bin = world.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lexpr"), bin.join("lexpr")).unwrap();
    let console: Vec<&str> = readme
        .split("```console\n")
        .skip(1)
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    assert!(console.len() >= 6, "the README's commands were not found");
    for line in console {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut shell = world.shell(line);
        let output: crate::cli_world::Said = shell.env("PATH", path).output().unwrap().into();
        assert_eq!(output.code, 0, "{line}\n{}{}", output.stdout, output.stderr);
        // The report and the plan lie in the repository, untracked; main must stay clean otherwise.
    }
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "check.sh"]);
}

#[test]
fn ci_runs_the_readmes_test_command() {
    let readme = include_str!("../../README.md");
    let ci = include_str!("../../.ci/run");
    assert!(readme.contains("cargo run --release -- demo") && readme.contains("\ncargo test "));
    assert!(ci.lines().any(|line| line.starts_with("cargo test")));
}
