//! A real repository's pull requests, all open at once: `LEXPR_OPEN_PRS` names a folder with
//! `repo.git`, `plan.yaml` and `expected.json` as `open_prs.py` makes them. Without it, a generated
//! repository of the same shape.

#![expect(clippy::unwrap_used, reason = "where the world of a test breaks, the test ends")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use lexpr::git::repo::{Named, UserRepo};
use lexpr::git::resolve::HeadOf;
use lexpr::plan::graph::ItemIx;
use lexpr::ports::ComposeItem;
use lexpr::vocabulary::names::{CommitId, ItemName};

use crate::compose_cases::conflicts;
use crate::git_world::{GitWorld, block_on, compose, item};

struct OpenRequests {
    world: GitWorld,
    repo: PathBuf,
    /// Name, head, positions of those it depends on.
    items: Vec<(String, CommitId, Vec<usize>)>,
    tree: String,
    not_landed: Vec<String>,
}

/// What `open_prs.py` wrote.
fn from_folder(dir: &Path) -> OpenRequests {
    let plan = std::fs::read_to_string(dir.join("plan.yaml")).unwrap();
    let mut items: Vec<(String, CommitId, Vec<usize>)> = Vec::new();
    let (mut name, mut sha) = (String::new(), None);
    for line in plan.lines().skip_while(|line| *line != "items:") {
        if let Some(value) = line.strip_prefix("  - name: ") {
            name = value.to_owned();
        } else if let Some(value) = line.strip_prefix("    sha: ") {
            sha = Some(value.parse().unwrap());
        } else if let Some(value) = line.strip_prefix("    deps: ") {
            let deps: Vec<String> = serde_json::from_str(value).unwrap();
            let at = |dep: &String| items.iter().position(|(known, ..)| known == dep).unwrap();
            let deps = deps.iter().map(at).collect();
            items.push((name.clone(), sha.take().unwrap(), deps));
        }
    }
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    let not_landed = expected["not_landed"].as_array().unwrap();
    OpenRequests {
        world: GitWorld::new(),
        repo: dir.join("repo.git"),
        items,
        tree: expected["tree"].as_str().unwrap().to_owned(),
        not_landed: not_landed.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
    }
}

/// Forty requests, most of them apart, some in one file, two of which conflict.
fn generated() -> OpenRequests {
    let world = GitWorld::new();
    let text: String = (0..60).map(|line| format!("line {line}\n")).collect();
    for folder in 0..10 {
        world.write(&format!("src/m{folder}/lib.rs"), format!("module {folder}\n"));
    }
    world.write("CHANGELOG", &text);
    let base = world.commit("base");
    let mut items = Vec::new();
    for at in 0..40 {
        let name = format!("pr/{at:03}");
        let changed =
            text.replace(&format!("line {}\n", if at == 30 { 15 } else { at % 20 * 3 }), &format!("pr {at}\n"));
        let own = format!("src/m{}/f{at}.rs", at % 10);
        let shared = if at % 5 == 0 { "CHANGELOG" } else { own.as_str() };
        items.push((name.clone(), world.branch_with(&name, "main", &[(&own, &name), (shared, &changed)]), Vec::new()));
    }
    let composed: Vec<ComposeItem> =
        items.iter().enumerate().map(|(at, (name, head, _))| item(at, name, *head)).collect();
    let expected = world.merge_by_git(base, &composed).unwrap();
    let not_landed = expected.conflicts.into_iter().map(|(name, _)| name).collect();
    OpenRequests { repo: world.repo(), world, items, tree: expected.tree, not_landed }
}

#[test]
#[expect(clippy::print_stdout, reason = "how long it took and how is what it is run on a real repository for")]
fn invariant_3_pull_requests_open_at_once_become_the_tree_that_git_makes_of_them() {
    let requests = match std::env::var_os("LEXPR_OPEN_PRS") {
        Some(dir) => from_folder(Path::new(&dir)),
        None => generated(),
    };
    let repo = UserRepo::open(&requests.repo).unwrap();
    let names: Vec<ItemName> = requests.items.iter().map(|(name, ..)| ItemName::new(name)).collect();
    let pins: Vec<String> = requests.items.iter().map(|(_, head, _)| head.to_string()).collect();
    let named: Vec<Named<'_>> =
        names.iter().zip(&pins).map(|(name, pin)| Named { name, branch: name.as_str(), pin: Some(pin) }).collect();
    let resolved = repo.resolve("main", &named).unwrap();
    let items: Vec<ComposeItem> = requests
        .items
        .iter()
        .zip(&resolved.heads)
        .enumerate()
        .map(|(at, ((name, _, deps), head))| ComposeItem {
            deps: deps.iter().map(|dep| ItemIx::new(*dep)).collect(),
            ..item(at, name, *head)
        })
        .collect();
    let composer = requests.world.composer_of("quarantine", &repo);
    let began = Instant::now();
    let heads: Vec<HeadOf> =
        items.iter().map(|item| HeadOf { name: item.name.clone(), head: item.head, deps: Vec::new() }).collect();
    let relations = block_on(composer.relate(resolved.target.commit, heads)).unwrap();
    assert_eq!(relations.implied, [], "each begins on the base");
    assert!(relations.already_landed.iter().all(Option::is_none));
    println!("related in {:?}", began.elapsed());
    let began = Instant::now();
    let composite = compose(&composer, resolved.target.commit, &items);
    let merges = composer.stats().merges;
    println!(
        "{} items: {} spliced, {} by git, {} set aside, {:?}",
        items.len(),
        merges.spliced,
        merges.by_git,
        composite.set_aside.len(),
        began.elapsed()
    );
    assert_eq!(composite.tree.to_string(), requests.tree);
    let aside: Vec<String> = composite.set_aside.iter().map(|aside| aside.item.to_string()).collect();
    assert_eq!(aside, requests.not_landed);
    assert!(conflicts(&composite).iter().all(|(_, conflict)| !conflict.messages.is_empty()));
}
