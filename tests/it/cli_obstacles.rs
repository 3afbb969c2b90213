//! What keeps the checked-out target from being moved is said before any gate runs.

use std::path::Path;

use crate::cli_world::World;

const BEGIN: &[(&str, &str)] =
    &[(".gitignore", "*.log\n"), ("README.md", "# A project\n"), ("dir/one", "1"), ("dir/two", "2"), ("old.env", "x")];

/// Two branches: one adds files, the other turns a folder into a file.
fn world() -> World {
    let adds = &[("new/deep/file", "theirs\n"), ("build.log", "theirs\n"), ("thing", "theirs\n")][..];
    let world = World::new(BEGIN, &[("adds", "main", adds), ("turns", "main", &[("other", "1")])]);
    world.git(&["checkout", "-q", "turns"]);
    world.git(&["rm", "-rq", "dir", "old.env"]);
    world.write("dir", "a file now\n");
    world.git(&["add", "."]);
    world.git(&["commit", "-qm", "Turn a folder into a file"]);
    world.git(&["checkout", "-q", "main"]);
    world
}

/// Runs the plan; what was said and whether a gate ran.
fn execute(world: &World) -> (crate::cli_world::Said, bool) {
    let ran = world.path("ran");
    let plan = format!(
        "schemaVersion: v1\ngates: [{{name: g, run: 'touch {}'}}]\nitems: [{{name: adds}}, {{name: turns, strategy: squash}}]\n",
        ran.display()
    );
    let said = world.merge(&plan, &["--execute"]);
    (said, ran.exists())
}

#[test]
fn what_would_be_in_the_way_of_a_landing_is_refused_before_any_gate_runs() {
    let put = |path: &'static str| {
        move |repo: &Path| {
            std::fs::create_dir_all(repo.join(path).parent().unwrap()).unwrap();
            std::fs::write(repo.join(path), "mine\n").unwrap();
        }
    };
    type Obstacle<'a> = (&'a str, Box<dyn Fn(&Path)>);
    let obstacles: Vec<Obstacle> = vec![
        ("thing", Box::new(put("thing"))),
        // Ignored.
        ("build.log", Box::new(put("build.log"))),
        // A folder where a file comes, and a file where a folder does.
        ("thing/inside", Box::new(put("thing/inside"))),
        ("new", Box::new(put("new"))),
        ("new/deep", Box::new(put("new/deep"))),
        // Among what leaves with its folder.
        ("dir/warm.log", Box::new(put("dir/warm.log"))),
        (".git/index.lock", Box::new(put(".git/index.lock"))),
    ];
    for (named, put) in obstacles {
        let world = world();
        let before = world.main();
        put(&world.repo());
        let (said, ran) = execute(&world);
        let said = said.expect(4);
        assert!(said.stderr.contains(named) && said.stderr.contains("run again"), "{named}: {}", said.stderr);
        assert!(!ran, "{named}: a gate ran");
        assert_eq!(world.main(), before, "{named}");
        if named != ".git/index.lock" {
            assert_eq!(std::fs::read_to_string(world.repo().join(named)).unwrap(), "mine\n");
        }
    }
}

#[test]
fn files_that_only_seem_to_be_in_the_way_keep_nothing_from_landing() {
    let world = world();
    // Removed from main since the branches left it, and kept here as an ignored file: no item brings
    // it back.
    world.git(&["rm", "-q", "--cached", "old.env"]);
    world.write(".gitignore", "*.log\n*.env\n");
    world.git(&["commit", "-qam", "old.env is everybody's own"]);
    world.write("untracked", "mine\n");
    world.write("left.log", "mine\n");
    std::fs::create_dir_all(world.repo().join("new/deep")).unwrap();
    let (said, ran) = execute(&world);
    said.expect(0);
    assert!(ran);
    assert_eq!(world.git(&["status", "--porcelain"]), "?? untracked");
    assert_eq!(std::fs::read_to_string(world.repo().join("old.env")).unwrap(), "x");
    assert_eq!(std::fs::read_to_string(world.repo().join("dir")).unwrap(), "a file now\n");
}

#[test]
fn what_is_in_the_way_in_another_worktree_is_nobodys_concern() {
    let world = world();
    world.git(&["checkout", "-q", "-b", "mine"]);
    world.write("thing", "mine\n");
    let (said, ran) = execute(&world);
    said.expect(0);
    assert!(ran);
    assert_eq!(std::fs::read_to_string(world.repo().join("thing")).unwrap(), "mine\n");
}
