//! Finding the user's repository and what the plan names in it.

use std::path::Path;

use lexpr::git::repo::{Named, ObjectFormat, RefProblem, RepoError, Resolved, UserRepo};
use lexpr::vocabulary::names::{CommitId, ItemName};

use crate::git_world::{GitWorld, compose, item};

fn resolve(repo: &UserRepo, target: &str, items: &[(&str, &str, Option<&str>)]) -> Result<Resolved, Vec<RefProblem>> {
    let names: Vec<ItemName> = items.iter().map(|(name, ..)| ItemName::new(name)).collect();
    let named: Vec<Named<'_>> =
        items.iter().zip(&names).map(|((_, branch, pin), name)| Named { name, branch, pin: *pin }).collect();
    repo.resolve(target, &named).map_err(|err| match err {
        RepoError::Unresolved(problems) => problems,
        other => panic!("{other}"),
    })
}

fn head(repo: &UserRepo, name: &str, branch: &str, pin: Option<&str>) -> Result<CommitId, String> {
    resolve(repo, "main", &[(name, branch, pin)])
        .map(|resolved| resolved.heads[0])
        .map_err(|problems| problems[0].to_string())
}

#[test]
fn a_repository_is_found_from_its_folders_worktrees_and_bare() {
    let world = GitWorld::new();
    world.write("deep/er/file", "x\n");
    world.commit("deep");
    world.git(["worktree", "add", "--quiet", "-b", "side", "../linked"]);
    world.git(["clone", "--quiet", "--bare", ".", "../bare.git"]);
    let main = UserRepo::open(&world.repo()).unwrap();
    assert_eq!(main.common_dir(), world.repo().join(".git").canonicalize().unwrap());
    assert!(!main.is_bare());
    for inside in [world.repo().join("deep/er"), world.beside("linked"), world.repo().join(".git")] {
        let repo = UserRepo::open(&inside).unwrap();
        assert_eq!(repo.common_dir(), main.common_dir(), "{}", inside.display());
        assert_eq!(repo.objects(), main.objects());
    }
    assert!(UserRepo::open(&world.beside("bare.git")).unwrap().is_bare());
}

#[test]
fn repositories_that_cannot_be_worked_with_are_refused_with_the_reason() {
    let world = GitWorld::new();
    let refused = |dir: &Path| UserRepo::open(dir).unwrap_err().to_string();
    assert!(refused(&world.beside("")).contains("not in a git repository"));
    assert!(refused(&world.beside("nowhere")).contains("no such folder"));
    assert!(matches!(UserRepo::open(&GitWorld::empty().repo()), Err(RepoError::UnbornHead { .. })));
    world.commit("second");
    let source = format!("file://{}", world.repo().display());
    world.git(["clone", "--quiet", "--depth=1", &source, "../shallow"]);
    assert!(matches!(UserRepo::open(&world.beside("shallow")), Err(RepoError::Shallow { .. })));
    world.git(["config", "uploadpack.allowFilter", "true"]);
    world.git(["clone", "--quiet", "--no-checkout", "--filter=blob:none", &source, "../partial"]);
    assert!(matches!(UserRepo::open(&world.beside("partial")), Err(RepoError::PartialClone { .. })));
}

#[test]
fn a_target_is_a_local_branch_however_it_is_written() {
    let world = GitWorld::new();
    world.git(["tag", "v1"]);
    world.git(["update-ref", "refs/remotes/origin/main", "main"]);
    world.branch("heads/odd", "main");
    world.git(["checkout", "--quiet", "main"]);
    let repo = world.open();
    let target = |name: &str| {
        resolve(&repo, name, &[]).map(|found| found.target.full_name).map_err(|problems| problems[0].to_string())
    };
    for name in ["main", "refs/heads/main", "heads/main"] {
        assert_eq!(target(name).as_deref(), Ok("refs/heads/main"));
    }
    assert_eq!(target("heads/odd").as_deref(), Ok("refs/heads/heads/odd"));
    assert!(target("v1").unwrap_err().contains("is a tag"));
    assert!(target("refs/tags/v1").unwrap_err().contains("is not a local branch"));
    assert!(target("origin/main").unwrap_err().contains("is not a local branch"));
    assert!(target("main~0").unwrap_err().contains("is not a local branch"));
    assert_eq!(target("mian").unwrap_err(), "target \"mian\" does not exist (did you mean \"main\"?)");
    assert!(target("--all").unwrap_err().contains("does not exist"));
    assert!(target("").is_err());
    assert_eq!(resolve(&repo, "main", &[]).unwrap().target.tree.to_string(), world.tree("main"));
}

#[test]
fn items_are_any_revision_and_a_branch_goes_before_a_tag_of_its_name() {
    let world = GitWorld::new();
    let first = world.id("main");
    let feature = world.branch_with("feature/auth", "main", &[("a", "a\n")]);
    world.git(["tag", "-a", "-m", "annotated", "feature/auth", "main"]);
    world.git(["tag", "-a", "-m", "annotated", "v1", "refs/heads/feature/auth~1"]);
    world.git(["update-ref", "refs/remotes/origin/feature/auth", "refs/heads/feature/auth"]);
    let repo = world.open();
    for revision in ["feature/auth", "refs/heads/feature/auth", "origin/feature/auth", &feature.to_string()] {
        assert_eq!(head(&repo, "x", revision, None), Ok(feature), "{revision}");
    }
    assert_eq!(head(&repo, "x", "v1", None), Ok(first));
    assert_eq!(head(&repo, "x", "feature/auth~1", None), Ok(first));
    for nothing in ["--all", "-h", "a b", "x\ny", "HEAD:README", ""] {
        assert!(head(&repo, "x", nothing, None).is_err(), "{nothing:?}");
    }
    assert_eq!(
        head(&repo, "x", "feature/auht", None).unwrap_err(),
        "item \"x\": there is no branch or revision \"feature/auht\" (did you mean \"feature/auth\"?)"
    );
}

#[test]
fn a_pinned_branch_must_be_where_the_plan_pins_it() {
    let world = GitWorld::new();
    let first = world.id("main").to_string();
    let feature = world.branch_with("feature", "main", &[("a", "a\n")]);
    let pinned = feature.to_string();
    world.git(["tag", "v1", "main"]);
    let repo = world.open();
    assert_eq!(head(&repo, "x", "feature", Some(&pinned)), Ok(feature));
    assert_eq!(head(&repo, "x", "feature", Some(&pinned[..9].to_uppercase())), Ok(feature));
    assert!(head(&repo, "x", "feature", Some(&first)).unwrap_err().contains("has moved"));
    assert!(head(&repo, "feature", "feature", Some(&first)).unwrap_err().contains("has moved"));
    // A name that is no branch: the commit alone says what is meant ...
    assert_eq!(head(&repo, "pr-1", "pr-1", Some(&pinned)), Ok(feature));
    assert_eq!(head(&repo, "v1", "v1", Some(&pinned)), Ok(feature));
    // ... but a revision that the plan gives must agree.
    assert!(head(&repo, "x", "v1", Some(&pinned)).unwrap_err().contains("has moved"));
    let nowhere = "12".repeat(20);
    assert!(head(&repo, "pr-1", "pr-1", Some(&nowhere)).unwrap_err().contains("neither"));
}

#[test]
fn all_that_is_missing_is_said_at_once_in_order() {
    let world = GitWorld::new();
    let problems = resolve(&world.open(), "trunk", &[("a", "a", None), ("b", "main", None), ("c", "c", None)]);
    let items: Vec<Option<usize>> = problems.unwrap_err().iter().map(|problem| problem.item).collect();
    assert_eq!(items, [None, Some(0), Some(2)]);
}

#[test]
fn sha256_repositories_work() {
    let world = GitWorld::new();
    let dir = world.beside("sha256");
    world.git(["init", "--quiet", "--initial-branch=main", "--object-format=sha256", dir.to_str().unwrap()]);
    let commit = |branch: &str, file: &str| -> CommitId {
        world.git_in(&dir, ["checkout", "--quiet", "-B", branch]);
        std::fs::write(dir.join(file), "x\n").unwrap();
        world.git_in(&dir, ["add", "--all"]);
        world.git_in(&dir, ["commit", "--quiet", "-m", branch]);
        world.git_in(&dir, ["rev-parse", "HEAD"]).parse().unwrap()
    };
    let base = commit("main", "f");
    let a = commit("a", "a");
    world.git_in(&dir, ["checkout", "--quiet", "main"]);
    let b = commit("b", "b");
    let repo = UserRepo::open(&dir).unwrap();
    assert_eq!(repo.object_format(), ObjectFormat::Sha256);
    let composer = world.composer_of("q", &repo);
    let composite = compose(&composer, base, &[item(0, "a", a), item(1, "b", b)]);
    let names = world.quarantined("q", ["ls-tree", "--name-only", &composite.tree.to_string()]);
    assert_eq!(names, "a\nb\nf");
    assert_eq!(composite.commit.to_string().len(), 64);
}

#[test]
fn objects_are_found_through_any_path_and_through_alternates_of_alternates() {
    let world = GitWorld::new();
    let base = world.id("main");
    let a = world.branch_with("a", "main", &[("f", "one\n")]);
    let b = world.branch_with("b", "main", &[("f", "two\n"), ("g", "two\n")]);
    for (at, name) in ["a b", "say \"hi\"", "\"quoted\"", "line\nbreak \"and\" \\ more", "#no comment", "\u{e9}t\u{e9}"]
        .into_iter()
        .enumerate()
    {
        // Its objects are those of the checkout, by an alternate of its own.
        let dir = world.beside(name);
        world.git([Path::new("clone"), Path::new("--quiet"), Path::new("--shared"), Path::new("."), &dir]);
        let repo = UserRepo::open(&dir).unwrap();
        assert_eq!(repo.git_dir(), dir.join(".git").canonicalize().unwrap());
        std::fs::write(dir.join("own"), "own\n").unwrap();
        world.git_in(&dir, ["add", "--all"]);
        world.git_in(&dir, ["commit", "--quiet", "-m", "own"]);
        let own = world.git_in(&dir, ["rev-parse", "HEAD"]).parse().unwrap();
        let folder = format!("quarantine {at} of {name}");
        let composite = compose(&world.composer_of(&folder, &repo), base, &[item(0, "own", own), item(1, "a", a)]);
        assert_eq!(composite.steps.len(), 2, "{name:?}");
        // git, too, finds all of it.
        let composite = compose(&world.composer_of(&folder, &repo), composite.commit, &[item(0, "b", b)]);
        assert_eq!(composite.set_aside.len(), 1, "{name:?}");
    }
}
