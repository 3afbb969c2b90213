//! What a repository says of its branches: who contains whom, what has landed, what their messages mention.

use std::collections::HashSet;

use crate::cli::conduct::runtime;
use crate::cli::failure::Failure;
use crate::cli::prepare::Workshop;
use crate::cli::scratch::ScratchFolder;
use crate::draft::{BranchFacts, CommitFacts, Facts};
use crate::git::branches::Branch;
use crate::git::compose::ComposeSettings;
use crate::git::own_commits::{OwnCommit, own_commits};
use crate::git::reflog;
use crate::git::repo::{Target, UserRepo};
use crate::git::resolve::{AlreadyLanded, HeadOf, Relations};
use crate::plan::{DirectoryRenames, MergeSettings};
use crate::vocabulary::names::{CommitId, ItemName};
use crate::wording::shown;

/// What branches are compared with.
pub(super) struct Base {
    pub commit: CommitId,
    /// As people call it.
    pub name: String,
}

impl Base {
    pub(super) fn of(target: &Target) -> Self {
        Self { commit: target.commit, name: shown(target.short_name()).into_owned() }
    }
}

/// The facts of `chosen`, to land on `target`, of all branches that there are.
pub(super) fn facts(
    repo: &UserRepo,
    target: &Target,
    base: &Base,
    chosen: &[Branch],
    all: &[Branch],
) -> Result<Facts, Failure> {
    let relations = relations(repo, base.commit, chosen)?;
    let is_in_base = |(branch, landed): &(&Branch, &Option<AlreadyLanded>)| {
        branch.is_local && matches!(landed, Some(AlreadyLanded::InBase))
    };
    let in_base: Vec<&Branch> =
        chosen.iter().zip(&relations.already_landed).filter(is_in_base).map(|(branch, _)| branch).collect();
    let without_commits = reflog::without_commits(repo.git(), &target.full_name, &in_base);
    let heads: Vec<CommitId> = chosen.iter().map(|branch| branch.head).collect();
    let own = own_commits(repo.git(), base.commit, &heads)?;
    let facts = |((branch, landed), own): ((&Branch, Option<AlreadyLanded>), Vec<OwnCommit>)| BranchFacts {
        name: branch.name.clone(),
        landed: landed.map(|why| why.in_words(&base.name)),
        without_commits: branch.is_local && without_commits.contains(&branch.name),
        commits: own.into_iter().map(|commit| CommitFacts { id: commit.id.short(), message: commit.message }).collect(),
    };
    let names: HashSet<&str> = chosen.iter().map(|branch| &*branch.name).collect();
    Ok(Facts {
        branches: chosen.iter().zip(relations.already_landed).zip(own).map(facts).collect(),
        contains: relations.implied,
        others: all.iter().map(|branch| branch.name.clone()).filter(|name| !names.contains(&**name)).collect(),
    })
}

/// Which branches contain which, and which have landed: read through a repository of lexpr's own
/// that is deleted again.
pub(super) fn relations(repo: &UserRepo, base: CommitId, branches: &[Branch]) -> Result<Relations, Failure> {
    let folder = ScratchFolder::create()?;
    let merge = MergeSettings { renames: true, directory_renames: DirectoryRenames::Conflict };
    let workshop = Workshop::new(folder.path(), repo, ComposeSettings { merge, committer: None, remember_for: None })?;
    let heads = branches
        .iter()
        .map(|branch| HeadOf { name: ItemName::new(&branch.name), head: branch.head, deps: Vec::new() })
        .collect();
    Ok(runtime(1)?.block_on(workshop.composer.relate(base, heads))?)
}
