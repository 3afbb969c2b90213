//! `lexpr plan`: writes a plan for the branches that match.

use std::fmt::Write as _;

use super::conduct::runtime;
use super::failure::Failure;
use super::prepare::Workshop;
use super::scratch::ScratchFolder;
use super::{PlanArgs, speak};
use crate::git::branches::{self, Branch, BranchGlobs};
use crate::git::compose::ComposeSettings;
use crate::git::repo::{Named, UserRepo};
use crate::git::resolve::{HeadOf, Relations};
use crate::plan::natural::natural_cmp;
use crate::plan::{DirectoryRenames, MergeSettings};
use crate::vocabulary::names::{CommitId, ItemName};
use crate::wording::shown;

/// Runs the command.
///
/// # Errors
/// Where the repository cannot be used, a glob or a gate is malformed, or nothing matches.
pub fn run(args: &PlanArgs) -> Result<u8, Failure> {
    let gates = args.gates.iter().map(|gate| parse_gate(gate)).collect::<Result<Vec<_>, _>>()?;
    if let Some((at, (name, _))) =
        gates.iter().enumerate().find(|(at, (name, _))| gates[..*at].iter().any(|(other, _)| other == name))
    {
        return Err(Failure::usage(format!("--gate {at}: there are two gates named {}", shown(name))));
    }
    let globs = BranchGlobs::new(&args.globs).map_err(|error| Failure::usage(error.to_string()))?;
    let repo = UserRepo::open(&args.repository.repo)?;
    let no_items: [Named<'_>; 0] = [];
    let target = repo.resolve(&args.base, &no_items)?.target;

    let all = branches::all(repo.git())?;
    let mut chosen: Vec<Branch> =
        all.into_iter().filter(|branch| branch.name != target.short_name() && globs.matches(&branch.name)).collect();
    for pattern in globs.without_a_match(&chosen) {
        speak::note(&format!("warning: no branch matches {}\n", shown(pattern)));
    }
    if chosen.is_empty() {
        return Err(Failure::usage("no branch matches").with_hint("quote globs, and see `git branch --all`"));
    }
    chosen.sort_by(|left, right| natural_cmp(&left.name, &right.name));
    let relations = relations(&repo, target.commit, &chosen)?;
    for (branch, landed) in chosen.iter().zip(&relations.already_landed) {
        if let Some(why) = landed {
            speak::note(&format!("left out {}: {why}\n", shown(&branch.name)));
        }
    }
    speak::result(&plan_text(target.short_name(), &gates, &chosen, &relations))?;
    Ok(0)
}

/// Which branches contain which, and which have landed: read through a repository of lexpr's own
/// that is deleted again.
fn relations(repo: &UserRepo, base: CommitId, branches: &[Branch]) -> Result<Relations, Failure> {
    let folder = ScratchFolder::create()?;
    let merge = MergeSettings { renames: true, directory_renames: DirectoryRenames::Conflict };
    let workshop = Workshop::new(folder.path(), repo, ComposeSettings { merge, committer: None, remember_for: None })?;
    let heads = branches
        .iter()
        .map(|branch| HeadOf { name: ItemName::new(&branch.name), head: branch.head, deps: Vec::new() })
        .collect();
    Ok(runtime(1)?.block_on(workshop.composer.relate(base, heads))?)
}

fn parse_gate(gate: &str) -> Result<(&str, &str), Failure> {
    match gate.split_once('=') {
        Some((name, command)) if !name.is_empty() && !command.is_empty() => Ok((name, command)),
        _ => Err(Failure::usage(format!("--gate {gate:?} is not of the form NAME=COMMAND"))
            .with_hint("for example --gate test='cargo test'")),
    }
}

/// The plan as YAML. Scalars are written as JSON strings, which YAML reads as they are meant.
fn plan_text(target: &str, gates: &[(&str, &str)], branches: &[Branch], relations: &Relations) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let left_out = |at: usize| relations.already_landed[at].is_some();
    let mut text = String::from("schemaVersion: v1\n");
    // Writing to a string does not fail.
    let _ = writeln!(text, "target: {}", quoted(target));
    if gates.is_empty() {
        text.push_str("# No gates: every item passes unseen. Give some with --gate NAME=COMMAND.\n");
    } else {
        text.push_str("gates:\n");
        for (name, command) in gates {
            let _ = writeln!(text, "  - {{ name: {}, run: {} }}", quoted(name), quoted(command));
        }
    }
    text.push_str(if branches.iter().enumerate().all(|(at, _)| left_out(at)) { "items: []\n" } else { "items:\n" });
    for (at, branch) in branches.iter().enumerate().filter(|(at, _)| !left_out(*at)) {
        let _ = writeln!(text, "  - name: {}", quoted(&branch.name));
        let deps: Vec<String> = relations
            .implied
            .iter()
            .filter(|(dependent, dependency)| *dependent == at && !left_out(*dependency))
            .map(|(_, dependency)| quoted(&branches[*dependency].name))
            .collect();
        if !deps.is_empty() {
            let _ = writeln!(text, "    deps: [{}] # contained in this branch", deps.join(", "));
        }
    }
    text
}
