//! `lexpr init` through the real binary.

use crate::cli_world::{Said, World};

const README: &[(&str, &str)] = &[("README.md", "# A project\n"), ("Makefile", "test:\n\ttrue\n")];

fn world() -> World {
    World::new(README, &[("a", "main", &[("a", "1")]), ("b", "a", &[("b", "1")])])
}

fn read(world: &World, path: &str) -> String {
    std::fs::read_to_string(world.repo().join(path)).unwrap()
}

#[test]
fn a_plan_is_written_that_lands_and_a_second_time_nothing_changes() {
    let world = world();
    let said = world.lexpr(["init"]).expect(0);
    assert_eq!(said.stdout, "wrote plan.yaml: 2 items to land on main\n");
    let expected = "guessed the gate test: make test, as Makefile has test\nno file for CI: --ci github or --ci gitlab \
                    writes one\nruns are kept in the git folder and gates run elsewhere: there is nothing to ignore\n\
                    next: lexpr merge plan.yaml shows what would happen, --execute does it\n";
    assert_eq!(said.stderr, expected);
    assert_eq!(read(&world, "plan.yaml"), world.lexpr(["plan"]).expect(0).stdout, "as `lexpr plan` has it");
    world.lexpr(["merge", "plan.yaml", "--execute"]).expect(0);
    assert_eq!(world.git(&["status", "--porcelain"]), "?? plan.yaml", "a run leaves nothing that would be ignored");

    let before = read(&world, "plan.yaml");
    let again = world.lexpr(["init"]).expect(0);
    assert_eq!(again.stdout, "");
    assert!(again.stderr.contains("plan.yaml is there already and stays as it is"), "{}", again.stderr);
    assert!(again.stderr.contains("nothing was written"), "{}", again.stderr);
    assert_eq!(read(&world, "plan.yaml"), before);
}

#[test]
fn the_file_for_ci_is_the_one_whose_the_repository_looks_like_or_that_is_asked_for() {
    let world = world();
    world.git(&["remote", "add", "origin", "git@github.com:a/b.git"]);
    let sub = world.repo().join("sub");
    std::fs::create_dir(&sub).unwrap();
    let said: Said = world.command(["init"]).current_dir(sub).output().unwrap().into();
    assert!(said.expect(0).stdout.contains("wrote .github/workflows/lexpr.yml: set the variable"));
    let workflow = read(&world, ".github/workflows/lexpr.yml");
    assert!(
        world.lexpr(["init", "--ci", "gitlab"]).expect(0).stdout.starts_with("wrote .gitlab/lexpr.yml: include it")
    );
    world.write(".github/workflows/lexpr.yml", "mine\n");
    std::fs::remove_file(world.repo().join("plan.yaml")).unwrap();
    let said = world.lexpr(["init", "a", "--gate", "test=true"]).expect(0);
    assert_eq!(said.stdout, "wrote plan.yaml: 1 item to land on main\n");
    assert_eq!(read(&world, ".github/workflows/lexpr.yml"), "mine\n", "nothing is written over");
    assert!(workflow.contains("lexpr merge plan.yaml --execute"), "{workflow}");
    std::fs::remove_file(world.repo().join("plan.yaml")).unwrap();
    assert!(world.lexpr(["init", "--ci", "none"]).expect(0).stderr.contains("no file for CI"));
}

#[test]
fn where_there_is_nothing_to_land_or_nowhere_to_write_it_says_what_to_do_and_writes_nothing() {
    let world = World::new(README, &[("old", "main", &[("a", "1")])]);
    world.git(&["init", "-q", "../empty"]);
    world.git(&["clone", "-q", "--bare", ".", "../bare"]);
    let cases = [
        ("home", "is not in a git repository", "`git init`"),
        ("empty", "has no commit at HEAD yet", "make a first commit"),
        ("bare", "has no working tree to write to", "lexpr plan -o FILE"),
    ];
    for (folder, what, todo) in cases {
        let said = world.lexpr(["init", "--repo", world.path(folder).to_str().unwrap(), "--ci", "github"]).expect(2);
        assert!(said.stderr.contains(what) && said.stderr.contains(todo), "{}", said.stderr);
    }
    world.git(&["merge", "-q", "old"]);
    let said = world.lexpr(["init", "--ci", "github"]).expect(2);
    assert!(said.stderr.contains("have landed or are left out: there is nothing to land yet"), "{}", said.stderr);
    world.git(&["branch", "-q", "-D", "old"]);
    let said = world.lexpr(["init", "--ci", "github"]).expect(2);
    assert!(said.stderr.contains("there is no local branch beside main"), "{}", said.stderr);
    assert_eq!(world.git(&["status", "--porcelain"]), "", "nothing was written");
}

#[test]
fn a_detached_head_lands_on_main_all_the_same_and_without_one_a_target_is_asked_for() {
    let world = world();
    world.git(&["checkout", "-q", "--detach"]);
    assert!(world.lexpr(["init", "a"]).expect(0).stdout.contains("1 item to land on main"));
    std::fs::remove_file(world.repo().join("plan.yaml")).unwrap();
    world.git(&["branch", "-q", "-m", "main", "other"]);
    let said = world.lexpr(["init", "a"]).expect(2);
    assert!(said.stderr.contains("no branch is checked out") && said.stderr.contains("--target"), "{}", said.stderr);
    assert!(world.lexpr(["init", "a", "--target", "other"]).expect(0).stdout.contains("1 item to land on other"));
}

#[test]
fn no_link_that_a_repository_brings_leads_a_file_out_of_it() {
    let world = world();
    std::os::unix::fs::symlink(world.path("home"), world.repo().join(".github")).unwrap();
    let said = world.lexpr(["init"]).expect(2);
    assert!(said.stderr.contains("leads out of the working tree"), "{}", said.stderr);
    assert_eq!(std::fs::read_dir(world.path("home")).unwrap().count(), 0);
    assert!(!world.repo().join("plan.yaml").exists(), "all or nothing");
}
