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
    let Resolved { known, gone } = resolved(repo, target.short_name(), items)?;
    let revision = |(item, head): (&Item, CommitId)| Branch { name: item.branch.clone(), head, is_local: false };
    traces.revisions = known.into_iter().map(revision).collect();
    if gone.is_empty() {
        return Ok(traces);
    }
    let runs = seen_by_runs(repo, &gone)?;
    let left = left_at(repo, &gone)?;
    let known: BTreeSet<CommitId> = runs.values().map(|(head, _)| *head).chain(left.values().copied()).collect();
    let fates = fates(repo, target, known)?;
    let fate = |head: CommitId| fates.get(&head).cloned().flatten();
    let merges = named_merges(repo.git(), target.commit)?;
    for item in gone {
        let branch = item.branch.as_str();
        let (run, left) = (runs.get(branch), left.get(short(branch)).copied());
        let is_news = |left: &CommitId| match run {
            Some((head, _)) => fate(*left).is_none() && !is_within(repo, *left, *head),
            None => true,
        };
        // Whoever left it at something else since has used the name again, or gone on.
        let left = left.filter(is_news);
        let seen = match (run, left) {
            (Some((head, run)), None) => match fate(*head) {
                Some(why) => {
                    let why = format!("its branch is gone, and {}, as run {run} had it: {why}", head.short());
                    traces.landed.push((branch.to_owned(), why));
                    continue;
                }
                None => Some(LastSeen { head: *head, by: SeenBy::Run(run.clone()), landed: None }),
            },
            (_, Some(head)) => Some(LastSeen { head, by: SeenBy::Reflog, landed: fate(head) }),
            (None, None) => None,
        };
        let merge = merges.get(branch).or_else(|| merges.get(without_remote(branch, all)));
        traces.lost.push(Lost {
            item: item.name.as_str().to_owned(),
            branch: branch.to_owned(),
            seen,
            merge: merge.map(|NamedMerge { commit, date }| format!("{} of {date}", commit.short())),
            elsewhere: elsewhere(branch, all),
        });
    }
    Ok(traces)
}

/// Of each of these commits why the target has it, in words; `None` where it has not.
fn fates(
    repo: &UserRepo,
    target: &Target,
    heads: BTreeSet<CommitId>,
) -> Result<BTreeMap<CommitId, Option<String>>, Failure> {
    if heads.is_empty() {
        return Ok(BTreeMap::new());
    }
    // Each for itself: one that is part of another needs no name.
    let heads: Vec<Branch> =
        heads.into_iter().map(|head| Branch { name: head.to_string(), head, is_local: false }).collect();
    let fates = survey::relations(repo, target.commit, &heads)?.already_landed;
    let base = Base::of(target).name;
    Ok(heads.iter().zip(fates).map(|(head, fate)| (head.head, fate.map(|why| why.in_words(&base)))).collect())
}

fn short(branch: &str) -> &str {
    branch.strip_prefix("refs/heads/").unwrap_or(branch)
}

fn is_within(repo: &UserRepo, commit: CommitId, head: CommitId) -> bool {
    repo.git().run(["merge-base", "--is-ancestor", &commit.to_string(), &head.to_string()]).is_ok()
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
    left.retain(|branch, _| gone.iter().any(|item| short(&item.branch) == branch));
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
