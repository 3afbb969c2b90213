//! `lexpr plan --update`: brings a plan that is there up to date with the repository.

use std::collections::BTreeSet;
use std::path::Path;

use super::survey::{self, Base};
use super::{gone, invalid, matching, target, update_command};
use crate::cli::failure::Failure;
use crate::cli::{PlanArgs, speak};
use crate::draft::Draft;
use crate::draft::update::{Fate, updated};
use crate::git::branches::{self, Branch};
use crate::git::repo::UserRepo;
use crate::output::rewrite_file;
use crate::plan::Plan;
use crate::plan::amend::Outline;
use crate::plan::check::check;
use crate::plan::natural::natural_cmp;
use crate::plan::problem::nearest;
use crate::wording::shown;

/// Runs the command.
///
/// # Errors
/// Where the plan cannot be read or brought up to date, or the repository cannot be used.
pub(super) fn run(args: &PlanArgs, file: &Path) -> Result<u8, Failure> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::usage(format!("--update {name}: {error}"))
            .with_hint("name a plan that is there; without --update one is written anew")
    })?;
    let checked = check(&name, &bytes).map_err(|wrong| invalid(&wrong))?;
    let outline = Outline::read(&name, &bytes).map_err(|problem| {
        let failure = Failure::usage(format!("--update {name}: {}", problem.message));
        problem.hint.iter().fold(failure, |failure, hint| failure.with_hint(hint.as_str()))
    })?;
    let unwanted = unwanted(&args.remove, &checked.plan)?;
    let repo = UserRepo::open(&args.repository.repo)?;
    let all = branches::all(repo.git())?;
    let target = target(&repo, &all, Some(&checked.plan.target))?;
    let base = Base::of(&target);
    let globs = args.all_globs();
    let mut chosen = if globs.is_empty() { Vec::new() } else { matching(&globs, &all, target.short_name())? };
    let mut no_branches = Vec::new();
    for item in &checked.plan.items {
        match branch_of(&item.branch, &all) {
            Some(branch) if !chosen.contains(branch) => chosen.push(branch.clone()),
            Some(_) => {}
            None => no_branches.push(item),
        }
    }
    let outline = outline.with_branches(|revision| match branch_of(revision, &all) {
        Some(branch) => branch.name.clone(),
        None => revision.to_owned(),
    });
    let traces = gone::trace(&repo, &target, &checked.plan, &no_branches, &all)?;
    chosen.extend(traces.revisions);
    chosen.sort_by(|left, right| natural_cmp(&left.name, &right.name));
    let facts = survey::facts(&repo, &target, &base, &chosen, &all)?;
    let mut draft = Draft::of(target.short_name().to_owned(), &facts);
    draft.left_out.extend(traces.landed);
    let others = if globs.is_empty() { others(&repo, &base, &all, &chosen, target.short_name())? } else { 0 };
    let command = update_command(&args.repository.repo, &name);
    let fate = Fate { base: &base.name, command: &command, unwanted: &unwanted, lost: &traces.lost };
    let updated = updated(&outline, &draft, &fate);
    // What was valid stays valid, or nothing is written, and nothing said of what would have been.
    check(&name, updated.text.as_bytes()).map_err(|wrong| {
        speak::note(&format!("{} is written in a way that lexpr cannot change; it would become:\n", shown(&name)));
        invalid(&wrong)
    })?;
    for note in &updated.notes {
        speak::note(&format!("{note}\n"));
    }
    if others > 0 {
        let are = if others == 1 { "branch is" } else { "branches are" };
        speak::note(&format!("{others} other local {are} not in it: `{command} '**'` adds what is to land\n"));
    }
    // A mark that some editors begin a file with stays.
    let mark = if bytes.starts_with(BYTE_ORDER_MARK) { "\u{feff}" } else { "" };
    let text = format!("{mark}{}", updated.text);
    if text.as_bytes() == bytes {
        let how = if updated.is_done { "is up to date" } else { "stays as it was" };
        speak::note(&format!("{} {how}\n", shown(&name)));
    } else {
        rewrite_file(file, text.as_bytes()).map_err(|error| Failure::internal(error.to_string()))?;
    }
    Ok(0)
}

/// The branch that a revision names, by its short name, `heads/a`, `refs/heads/a` or `refs/remotes/origin/a`.
fn branch_of<'a>(revision: &str, all: &'a [Branch]) -> Option<&'a Branch> {
    let local = revision.strip_prefix("refs/heads/").or_else(|| revision.strip_prefix("heads/"));
    let remote = revision.strip_prefix("refs/remotes/").or_else(|| revision.strip_prefix("remotes/"));
    let named =
        |name: &str, is_local: bool| all.iter().find(|branch| branch.is_local == is_local && branch.name == name);
    let by_name = all.iter().find(|branch| branch.name == revision);
    by_name.or_else(|| named(local?, true)).or_else(|| named(remote?, false))
}

/// How many local branches are neither the target nor among `chosen`, and have something that the base has not.
fn others(repo: &UserRepo, base: &Base, all: &[Branch], chosen: &[Branch], target: &str) -> Result<usize, Failure> {
    let is_other = |branch: &&Branch| branch.is_local && branch.name != target && !chosen.contains(branch);
    let others: Vec<Branch> = all.iter().filter(is_other).cloned().collect();
    let landed = survey::relations(repo, base.commit, &others)?.already_landed;
    Ok(landed.iter().filter(|landed| landed.is_none()).count())
}

/// The items of `--remove`.
fn unwanted(names: &[String], plan: &Plan) -> Result<BTreeSet<String>, Failure> {
    for name in names {
        if !plan.items.iter().any(|item| item.name.as_str() == name) {
            let failure = Failure::usage(format!("--remove {}: there is no such item", shown(name)));
            let near = nearest(name, plan.items.iter().map(|item| item.name.as_str()));
            return Err(failure.with_hint(match near {
                Some(near) => format!("did you mean {}?", shown(near)),
                None => "all words behind --remove are items: globs stand before --remove".to_owned(),
            }));
        }
    }
    Ok(names.iter().cloned().collect())
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
