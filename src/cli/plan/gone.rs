//! Items of a plan that are no branches of the repository: other revisions, and branches that are gone. A gone one has
//! landed where a run landed its head, and the target has that. A merge that names such a branch may have brought an earlier
//! one, may have taken nothing of it, or be reverted by now: it is told of, and proves nothing.
//!
//! Whether a branch moved between a run that landed it and its end leaves no sure trace: its reflog goes with it, and that of
//! a worktree's `HEAD` with the worktree. By far the most are deleted because they have landed, so what a run of lexpr's own
//! landed goes, and is said with that doubt and with the way back; unless there is still a commit that came after it and that
//! has no name. Where the run had merely seen a head that others have
//! landed since, work after that is likely (mostly the gates had failed, and somebody mended the branch), so the item stays
//! until a person says otherwise; as it does where a remote has more of the branch.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::survey::{self, Base};
use crate::cli::failure::Failure;
use crate::draft::update::{LastSeen, Lost, Renamed, SeenBy};
use crate::git::branches::Branch;
use crate::git::named_merges::{NamedMerge, named_merges};
use crate::git::reflog;
use crate::git::repo::{Named, RepoError, Target, UserRepo};
use crate::git::unreachable;
use crate::journal;
use crate::plan::{Item, Plan};
use crate::runs;
use crate::vocabulary::event::Event;
use crate::vocabulary::names::{CommitId, RunId};
use crate::wording::shell_word;

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

/// Finds out what became of `items` of `plan`, none of which is one of the branches `all`.
pub(super) fn trace(
    repo: &UserRepo,
    target: &Target,
    plan: &Plan,
    items: &[&Item],
    all: &[Branch],
) -> Result<Traces, Failure> {
    let mut traces = Traces::default();
    let Resolved { known, gone } = resolved(repo, target.short_name(), items)?;
    let revision = |(item, head): (&Item, CommitId)| Branch { name: item.branch.clone(), head, is_local: false };
    traces.revisions = known.into_iter().map(revision).collect();
    if gone.is_empty() {
        return Ok(traces);
    }
    let runs = seen_by_runs(repo, &gone)?;
    let left = left_at(repo, &gone)?;
    let of_remotes = gone.iter().filter_map(|item| elsewhere(&item.branch, all)).map(|branch| branch.head);
    let known = runs.values().map(|(head, _)| *head).chain(left.values().copied()).chain(of_remotes).collect();
    let fates = fates(repo, target, known)?;
    let fate = |head: CommitId| fates.get(&head).cloned().flatten();
    let heads = runs.values().map(|(head, _)| *head).filter(|head| fate(*head).is_some()).collect();
    let after = unreachable::after(repo.git(), &repo.common_dir().join("objects"), &heads)?;
    let names = NewNames::of(repo, plan, target, all);
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
        let remote = elsewhere(branch, all);
        let seen = match (run, left) {
            (Some((head, run)), None) => {
                let landed = fate(*head);
                let after = after.get(head).copied();
                let has_more = remote.is_some_and(|remote| fate(remote.head).is_none());
                if let (Some(why), None, false) = (&landed, after, has_more)
                    && let Some(run) = landed_by_run(repo, item, *head)?
                {
                    let (head, word) = (head.short(), shell_word(short(branch)));
                    let why = format!(
                        "its branch is gone, and run {run} landed it at {head}: {why}; nothing here says whether it moved \
                         since (`git branch {word} {head}` has it back)"
                    );
                    traces.landed.push((branch.to_owned(), why));
                    continue;
                }
                Some(match after {
                    Some(head) => LastSeen { head, by: SeenBy::After(run.clone()), landed: None },
                    None => LastSeen { head: *head, by: SeenBy::Run(run.clone()), landed },
                })
            }
            (_, Some(head)) => Some(LastSeen { head, by: SeenBy::Reflog, landed: fate(head) }),
            (None, None) => None,
        };
        let merge = merges.get(branch).or_else(|| merges.get(without_remote(branch, all)));
        let renamed = names.of_branch(short(branch), seen.as_ref().map(|seen| seen.head));
        traces.lost.push(Lost {
            item: item.name.as_str().to_owned(),
            branch: short(branch).to_owned(),
            seen,
            renamed,
            merge: merge.map(|NamedMerge { commit, date }| format!("{} of {date}", commit.short())),
            elsewhere: remote.map(|remote| remote.name.clone()),
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

/// The branch that is meant by a revision that is none: as people call it.
fn short(branch: &str) -> &str {
    branch.strip_prefix("refs/heads/").or_else(|| branch.strip_prefix("heads/")).unwrap_or(branch)
}

/// The branches that a plan lacks, as what has become of those that are gone.
struct NewNames<'a> {
    renamed: BTreeMap<String, String>,
    unplanned: Vec<&'a Branch>,
}

impl<'a> NewNames<'a> {
    fn of(repo: &UserRepo, plan: &Plan, target: &Target, all: &'a [Branch]) -> Self {
        let planned: HashSet<&str> = plan.items.iter().map(|item| short(&item.branch)).collect();
        let is_new = |branch: &&Branch| {
            branch.is_local && branch.name != target.short_name() && !planned.contains(&*branch.name)
        };
        Self { renamed: reflog::renamed(repo.git()), unplanned: all.iter().filter(is_new).collect() }
    }

    /// What `gone`, last at `head`, is called now.
    fn of_branch(&self, gone: &str, head: Option<CommitId>) -> Option<Renamed> {
        let is_there = |name: &str| self.unplanned.iter().any(|branch| branch.name == name);
        let mut seen = BTreeSet::from([gone]);
        let mut name = gone;
        while let Some(next) = self.renamed.get(name).filter(|next| seen.insert(next)) {
            name = next;
            if is_there(name) {
                return Some(Renamed { to: name.to_owned(), is_sure: true });
            }
        }
        let mut at_head = self.unplanned.iter().filter(|branch| Some(branch.head) == head);
        let only = at_head.next().filter(|_| at_head.next().is_none())?;
        Some(Renamed { to: only.name.clone(), is_sure: false })
    }
}

/// The newest run that landed the item's branch at this head.
fn landed_by_run(repo: &UserRepo, item: &Item, head: CommitId) -> Result<Option<RunId>, Failure> {
    let mut runs = runs::list(repo.common_dir()).map_err(|error| Failure::internal(error.to_string()))?;
    while let Some(run) = runs.pop() {
        let Some(Event::RunStarted(started)) = journal::first(&run.journal()).map(|first| first.event) else {
            continue;
        };
        let Some(had) = started.items.iter().find(|had| *had.branch == *item.branch && had.head == head) else {
            continue;
        };
        // A damaged journal says nothing.
        let events = journal::read(&run.journal()).map(|read| read.events).unwrap_or_default();
        let lands = |event: &Event| matches!(event, Event::Landed(landed) if landed.items.contains(&had.name));
        if events.iter().any(|recorded| lands(&recorded.event)) {
            return Ok(Some(started.run));
        }
    }
    Ok(None)
}

fn is_within(repo: &UserRepo, commit: CommitId, head: CommitId) -> bool {
    repo.git().run(["merge-base", "--is-ancestor", &commit.to_string(), &head.to_string()]).is_ok()
}

/// A remote's branch of the same name.
fn elsewhere<'a>(branch: &str, all: &'a [Branch]) -> Option<&'a Branch> {
    let below = format!("/{}", short(branch));
    all.iter().find(|other| !other.is_local && other.name.ends_with(&below))
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
