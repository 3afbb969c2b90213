//! What `lexpr doctor` says of a repository: how it is made, whether its target could move now, what runs left.

use std::collections::BTreeMap;

use super::failed;
use crate::cli::failure::Failure;
use crate::cli::{clean, plan, runs as overviews, status};
use crate::doctor::{Check, Finding};
use crate::git::branches;
use crate::git::checkout;
use crate::git::command::Git;
use crate::git::filters::RepositoryFilters;
use crate::git::land::signing_is_asked_for;
use crate::git::own_commits::root_files;
use crate::git::refusal::LandRefusal;
use crate::git::repo::{ObjectFormat, Target, UserRepo};
use crate::overview::State;
use crate::runs;
use crate::wording::{bytes, count, list, ref_name};

pub(super) fn findings(repo: &UserRepo, target: Option<&str>) -> Vec<Finding> {
    let mut findings = vec![kind(repo)];
    let all = branches::all(repo.git()).map_err(Failure::from);
    match all.and_then(|all| plan::target(repo, &all, target)) {
        Ok(target) => {
            findings.push(Finding::ok(Check::Target, format!("{} at {}", target.short_name(), target.commit.short())));
            findings.extend(checkouts(repo, &target));
            findings.extend(content(repo, &target));
        }
        Err(failure) => {
            let finding = failed(Check::Target, failure);
            findings.push(finding.remedy("name the branch to land on with --target"));
        }
    }
    findings.push(identity(repo.git()));
    findings.push(signing(repo.git()));
    findings
}

fn kind(repo: &UserRepo) -> Finding {
    let objects = match repo.object_format() {
        ObjectFormat::Sha1 => "SHA-1",
        ObjectFormat::Sha256 => "SHA-256",
    };
    let refs = match setting(repo.git(), "extensions.refStorage") {
        Some(storage) => storage,
        None => "files".to_owned(),
    };
    let place = match (repo.work_tree(), repo.is_bare()) {
        (_, true) => format!("{}, bare", repo.git_dir().display()),
        (Some(top), _) if repo.git_dir() != repo.common_dir() => format!("{}, a linked working tree", top.display()),
        (Some(top), _) => top.display().to_string(),
        (None, _) => repo.git_dir().display().to_string(),
    };
    Finding::ok(Check::Repository, format!("{place}; full history, objects by {objects}, refs in {refs}"))
}

/// A setting as the user has it; `None` where it is not set.
fn setting(git: &Git, key: &str) -> Option<String> {
    let asked = git.output(&["config", "--get", key], None).ok()?;
    let value = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    (asked.status.success() && !value.is_empty()).then_some(value)
}

fn checkouts(repo: &UserRepo, target: &Target) -> Vec<Finding> {
    let shared = repo.git().at(repo.common_dir());
    let name = ref_name(&target.full_name).into_owned();
    let found = match checkout::of_target(&shared, &target.full_name, repo.work_tree()) {
        Ok(found) => found,
        Err(refusal) => return vec![refused(refusal)],
    };
    if found.is_empty() {
        let nowhere = Finding::ok(Check::Checkout, format!("{name} is checked out nowhere"));
        return vec![nowhere.meaning("landing moves the branch and touches no working tree")];
    }
    let look = |checkout: &checkout::Checkout| match checkout.must_be_clean() {
        Ok(()) => {
            let place = checkout.path.display();
            Finding::ok(Check::Checkout, format!("{name} is checked out in {place}, and clean"))
                .meaning("it follows when the branch moves")
        }
        Err(refusal) => refused(refusal),
    };
    found.iter().map(look).collect()
}

fn refused(refusal: LandRefusal) -> Finding {
    let advice = refusal.advice();
    let finding = Finding::fail(Check::Checkout, refusal.to_string());
    advice.into_iter().fold(finding, Finding::remedy)
}

/// What a merge treats as git does, and gates may miss.
fn content(repo: &UserRepo, target: &Target) -> Vec<Finding> {
    let files: BTreeMap<String, String> =
        match root_files(repo.git(), target.commit, &[".gitattributes", ".gitmodules"]) {
            Ok(files) => files,
            Err(error) => return vec![failed(Check::Content, error.into())],
        };
    let mut findings = Vec::new();
    if files.get(".gitattributes").is_some_and(|text| text.contains("filter=lfs")) {
        findings.push(
            Finding::warn(Check::Content, "files are kept by Git LFS")
                .meaning("they are merged as git merges them; in the folders that gates run in they stay pointers")
                .remedy("let the gate, or `policy.setup`, fetch what it needs"),
        );
    }
    if files.contains_key(".gitmodules") {
        findings.push(
            Finding::warn(Check::Content, "there are submodules")
                .meaning("they are merged as git merges them; in the folders that gates run in theirs are empty")
                .remedy("let the gate, or `policy.setup`, fetch what it needs"),
        );
    }
    match RepositoryFilters::of(repo.git()) {
        Ok(filters) => {
            let names: Vec<String> = filters.names().collect();
            if !names.is_empty() {
                let found = format!("filters in the repository's own configuration: {}", list(&names));
                findings.push(
                    Finding::warn(Check::Content, found)
                        .meaning("they are not started; a checkout of the target that needs one is not moved")
                        .remedy("if you trust them, move them to your own configuration (`git config --global`)"),
                );
            }
        }
        Err(error) => findings.push(failed(Check::Content, error.into())),
    }
    findings
}

fn identity(git: &Git) -> Finding {
    let finding = match (setting(git, "user.name"), setting(git, "user.email")) {
        (Some(name), Some(email)) => Finding::ok(Check::Identity, format!("{name} <{email}>")),
        _ => Finding::ok(Check::Identity, "git has no name or address of yours"),
    };
    finding.meaning("commits that land take theirs from the branches' heads, or from `policy.committer`")
}

fn signing(git: &Git) -> Finding {
    match signing_is_asked_for(git) {
        Ok(false) => Finding::ok(Check::Signing, "commits need no signature"),
        Ok(true) => Finding::warn(Check::Signing, "commit.gpgSign is set")
            .meaning("lexpr signs nothing: a run is refused unless it may land unsigned commits")
            .remedy("give --no-sign to `lexpr merge`, if that is all right"),
        Err(error) => failed(Check::Signing, error.into()),
    }
}

/// Runs to go on with, and what can be removed.
pub(super) fn what_runs_left(repo: &UserRepo) -> Vec<Finding> {
    let common_dir = repo.common_dir();
    let folders = match runs::list(common_dir) {
        Ok(folders) => folders,
        Err(error) => return vec![failed(Check::Runs, status::not_found(error))],
    };
    let mut findings = Vec::new();
    for folder in folders.iter().rev() {
        let overview = overviews::overview(common_dir, folder);
        let run = &overview.run;
        findings.extend(match &overview.state {
            State::Finished | State::Undone => None,
            State::Running { .. } | State::BeingUndone { .. } => {
                Some(Finding::ok(Check::Runs, format!("run {run} is going on")))
            }
            State::Damaged { why } => Some(
                Finding::warn(Check::Runs, format!("run {run}: {why}"))
                    .remedy(format!("`lexpr clean {run}` removes it")),
            ),
            State::NeverBegan => {
                let finding = Finding::warn(Check::Runs, format!("run {run} ended before it began: nothing was done"));
                Some(overview.next.iter().fold(finding, |finding, next| finding.remedy(next.as_str())))
            }
            State::Interrupted | State::Stopped { .. } | State::Died | State::UndoCutOff => {
                let finding = Finding::warn(Check::Runs, format!("run {run} has not come to its end"));
                Some(overview.next.iter().fold(finding, |finding, next| finding.remedy(next.as_str())))
            }
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(Check::Runs, format!("{}, none to be resumed", count(folders.len(), "run"))));
    }
    findings.push(match clean::leftovers(repo) {
        Ok((0, _)) => Finding::ok(Check::Leftovers, "nothing"),
        Ok((things, size)) => {
            let found = format!("`lexpr clean` would remove {}, {}", count(things, "thing"), bytes(size));
            Finding::ok(Check::Leftovers, found)
                .meaning("slots among them keep builds warm; see `lexpr clean --dry-run`")
        }
        Err(failure) => failed(Check::Leftovers, failure),
    });
    findings
}
