//! Items of a plan that are no branches of the repository: other revisions, and branches that are gone. A gone one has
//! landed where the target has its head, as a run had it. A merge that names such a branch may have brought an earlier
//! one, may have taken nothing of it, or be reverted by now: it is told of, and proves nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::survey::{self, Base};
use crate::cli::failure::Failure;
use crate::draft::update::{LastSeen, Lost, SeenBy};
use crate::git::branches::Branch;
use crate::git::named_merges::{NamedMerge, named_merges};
use crate::git::reflog;
use crate::git::repo::{Named, RepoError, Target, UserRepo};
use crate::journal;
use crate::plan::Item;
use crate::runs;
use crate::vocabulary::event::Event;
use crate::vocabulary::names::{CommitId, RunId};

/// What became of the items that are no branches.
#[derive(Default)]
pub(super) struct Traces {
    /// Those that are revisions all the same, under the names that the plan has for them.
    pub revisions: Vec<Branch>,
    /// Gone, and the target has them: each with the reason.
    pub landed: Vec<(String, String)>,
    /// Gone, and nothing says that the target has them.
    pub lost: Vec<Lost>,
}

/// Finds out what became of `items`, none of which is one of the branches `all`.
pub(super) fn trace(repo: &UserRepo, target: &Target, items: &[&Item], all: &[Branch]) -> Result<Traces, Failure> {
    let mut traces = Traces::default();
    let base = Base::of(target).name;
    let Resolved { known, gone } = resolved(repo, target.short_name(), items)?;
    let revision = |(item, head): (&Item, CommitId)| Branch { name: item.branch.clone(), head, is_local: false };
    traces.revisions = known.into_iter().map(revision).collect();
    if gone.is_empty() {
        return Ok(traces);
    }
    let mut landed: BTreeMap<&str, String> = BTreeMap::new();
    let seen = seen_by_runs(repo, &gone)?;
    let heads: Vec<Branch> = seen
        .iter()
        .map(|(name, (head, _))| Branch { name: (*name).to_owned(), head: *head, is_local: false })
        .collect();
    if !heads.is_empty() {
        let fates = survey::relations(repo, target.commit, &heads)?.already_landed;
        for ((name, (head, run)), fate) in seen.iter().zip(fates) {
            if let Some(why) = fate {
                let why = why.in_words(&base);
                landed.insert(name, format!("its branch is gone, and {}, as run {run} had it: {why}", head.short()));
            }
        }
    }
    let open: Vec<&Item> = gone.iter().copied().filter(|item| !landed.contains_key(&*item.branch)).collect();
    let (merges, left) = match open.as_slice() {
        [] => Default::default(),
        _ => (named_merges(repo.git(), target.commit)?, left_at(repo, &open)?),
    };
    for item in open {
        let merge = merges.get(&item.branch).or_else(|| merges.get(without_remote(&item.branch, all)));
        let by_run = seen.get(&*item.branch).map(|(head, run)| LastSeen { head: *head, by: SeenBy::Run(run.clone()) });
        let by_reflog = || left.get(&*item.branch).map(|head| LastSeen { head: *head, by: SeenBy::Reflog });
        traces.lost.push(Lost {
            item: item.name.as_str().to_owned(),
            branch: item.branch.clone(),
            seen: by_run.or_else(by_reflog),
            merge: merge.map(|NamedMerge { commit, date }| format!("{} of {date}", commit.short())),
            elsewhere: elsewhere(&item.branch, all),
        });
    }
    traces.landed = landed.into_iter().map(|(branch, why)| (branch.to_owned(), why)).collect();
    Ok(traces)
}

/// A remote's branch of the same name.
fn elsewhere(branch: &str, all: &[Branch]) -> Option<String> {
    let below = format!("/{branch}");
    all.iter().find(|other| !other.is_local && other.name.ends_with(&below)).map(|other| other.name.clone())
}

/// Items by whether a run would find a head for them.
struct Resolved<'a> {
    known: Vec<(&'a Item, CommitId)>,
    gone: Vec<&'a Item>,
}

fn resolved<'a>(repo: &UserRepo, target: &str, items: &[&'a Item]) -> Result<Resolved<'a>, Failure> {
    let named = |items: &[&'a Item]| -> Vec<Named<'a>> {
        items.iter().map(|item| Named { name: &item.name, branch: &item.branch, pin: item.pin.as_deref() }).collect()
    };
    let missing: BTreeSet<usize> = match repo.resolve(target, &named(items)) {
        Ok(_) => BTreeSet::new(),
        Err(RepoError::Unresolved(problems)) => problems.iter().filter_map(|problem| problem.item).collect(),
        Err(error) => return Err(error.into()),
    };
    let (gone, known): (Vec<_>, Vec<_>) = items.iter().enumerate().partition(|(at, _)| missing.contains(at));
    let known: Vec<&Item> = known.into_iter().map(|(_, item)| *item).collect();
    let heads = repo.resolve(target, &named(&known))?.heads;
    // A tag that is not where the plan pins it is there all the same: what that comes to is for people.
    let mut nowhere = Vec::new();
    for (_, item) in gone {
        if repo.commit(&item.branch)?.is_none() {
            nowhere.push(*item);
        }
    }
    Ok(Resolved { known: known.into_iter().zip(heads).collect(), gone: nowhere })
}

/// By branch, the head that the newest run which had it found it at, where that commit is still there.
fn seen_by_runs<'a>(repo: &UserRepo, gone: &[&'a Item]) -> Result<BTreeMap<&'a str, (CommitId, RunId)>, Failure> {
    let mut seen: BTreeMap<&str, (CommitId, RunId)> = BTreeMap::new();
    let mut runs = runs::list(repo.common_dir()).map_err(|error| Failure::internal(error.to_string()))?;
    while let Some(run) = runs.pop().filter(|_| seen.len() < gone.len()) {
        let Some(Event::RunStarted(started)) = journal::first(&run.journal()).map(|first| first.event) else {
            continue;
        };
        let heads: BTreeMap<&str, CommitId> = started.items.iter().map(|item| (&*item.branch, item.head)).collect();
        for item in gone {
            if let Some(head) = heads.get(&*item.branch) {
                seen.entry(&item.branch).or_insert_with(|| (*head, started.run.clone()));
            }
        }
    }
    let missing = repo.missing(&seen.values().map(|(head, _)| *head).collect::<Vec<_>>())?;
    seen.retain(|_, (head, _)| !missing.contains(head));
    Ok(seen)
}

/// By branch, the commit it was at when somebody last left it for another, where that commit is still there.
fn left_at(repo: &UserRepo, gone: &[&Item]) -> Result<HashMap<String, CommitId>, Failure> {
    let mut left = reflog::left_at(repo.git());
    left.retain(|branch, _| gone.iter().any(|item| item.branch == *branch));
    let missing = repo.missing(&left.values().copied().collect::<Vec<_>>())?;
    left.retain(|_, head| !missing.contains(head));
    Ok(left)
}

/// `feature/x` of `origin/feature/x`, where there are branches of an `origin`.
fn without_remote<'a>(branch: &'a str, all: &[Branch]) -> &'a str {
    let is_remote =
        |first: &str| all.iter().any(|other| !other.is_local && other.name.split('/').next() == Some(first));
    branch.split_once('/').filter(|(first, _)| is_remote(first)).map_or(branch, |(_, rest)| rest)
}
