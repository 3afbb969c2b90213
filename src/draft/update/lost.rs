//! Items whose branches are gone, and of which nothing says that their work has landed: what is said of them, and what to
//! do about them.

use std::collections::BTreeSet;

use super::Fate;
use crate::draft::text::scalar;
use crate::plan::amend::{Outline, Outlined};
use crate::vocabulary::names::{CommitId, RunId};
use crate::wording::{list, shell_word, shown};

/// An item whose branch is gone, and of which nothing says that the target has it.
#[derive(Clone, Debug)]
pub struct Lost {
    pub item: String,
    pub branch: String,
    pub seen: Option<LastSeen>,
    /// A merge in the target that names such a branch: no proof, as names are used again.
    pub merge: Option<String>,
    /// A remote's branch of the same name.
    pub elsewhere: Option<String>,
    pub renamed: Option<Renamed>,
}

/// A branch that the plan lacks, and that is, or may be, the lost one under another name.
#[derive(Clone, Debug)]
pub struct Renamed {
    pub to: String,
    /// The reflog says so. Else it is where the lost one was last, as no other is.
    pub is_sure: bool,
}

/// Where a branch that is gone by now was found last.
#[derive(Clone, Debug)]
pub struct LastSeen {
    pub head: CommitId,
    pub by: SeenBy,
    /// Why what the plan lands on has that commit, if it has. The branch may have been elsewhere since.
    pub landed: Option<String>,
}

#[derive(Clone, Debug)]
pub enum SeenBy {
    Run(RunId),
    /// It is a commit without a name that came after the one that the run had.
    After(RunId),
    Reflog,
}

/// What is known of an item whose branch is gone, and how to have that back.
pub(super) fn note_of(lost: &Lost, base: &str) -> String {
    if let Some(Renamed { to, is_sure: true }) = &lost.renamed {
        return format!(
            "left alone {}: its branch was renamed to {}, by the reflog of that",
            shown(&lost.item),
            shown(to)
        );
    }
    let seen = lost.seen.as_ref().map(|LastSeen { head, by, landed }| {
        let by = match by {
            SeenBy::Run(run) => format!("as run {run} had it"),
            SeenBy::After(run) => format!("with what came after run {run}"),
            SeenBy::Reflog => "where it was last left".to_owned(),
        };
        (head.short(), by, landed.as_deref())
    });
    let merge = lost.merge.as_ref().map(|merge| format!("{merge} in {base} merged a branch of that name"));
    let why = match (&seen, merge) {
        (Some((head, by, Some(landed))), _) => {
            format!("of {head}, {by}, it is known: {landed}; it may have moved since")
        }
        (Some((head, _, None)), Some(merge)) => format!("{merge}, but not {head}"),
        (None, Some(merge)) => format!("{merge}, which may have been another"),
        (_, None) => format!("nothing says that its work is in {base}"),
    };
    let branch = shell_word(&lost.branch);
    let back = match (&lost.elsewhere, &seen) {
        (Some(elsewhere), _) => format!("; `git branch {branch} {}` has it back", shell_word(elsewhere)),
        (None, Some((head, by, None))) => format!("; `git branch {branch} {head}` has it back {by}"),
        (None, Some((_, _, Some(_))) | None) => String::new(),
    };
    let again = lost.renamed.as_ref().map_or(String::new(), |renamed| {
        format!("; {} is at that very commit: is it {}, renamed?", shown(&renamed.to), shown(&lost.branch))
    });
    let named = if lost.branch == lost.item { String::new() } else { format!(" {}", shown(&lost.branch)) };
    let is_gone = match (&lost.seen, &lost.merge, &lost.elsewhere) {
        // Nothing has ever heard of it.
        (None, None, None) => format!("there is no such branch{}", if named.is_empty() { "" } else { " as" }) + &named,
        _ => format!("its branch{named} is gone"),
    };
    format!("left alone {}: {is_gone}, and {why}{back}{again}", shown(&lost.item))
}

/// What to do about all that is lost, in a line each for those of which the same is known.
pub(super) fn what_next(lost: &[&Lost], outline: &Outline, removed: &BTreeSet<String>, fate: &Fate<'_>) -> Vec<String> {
    let Fate { base, command, .. } = *fate;
    let is_renamed = |lost: &&&Lost| lost.renamed.as_ref().is_some_and(|renamed| renamed.is_sure);
    let is_known = |lost: &&&Lost| lost.seen.as_ref().is_some_and(|seen| seen.landed.is_some());
    let (renamed, gone): (Vec<&Lost>, Vec<&Lost>) = lost.iter().partition(is_renamed);
    let (known, unknown): (Vec<&Lost>, Vec<&Lost>) = gone.iter().partition(is_known);
    let mut lines = Vec::new();
    if let Some(begin) = begin(&renamed) {
        let (say, they_are) = if renamed.len() == 1 { ("says", "it is") } else { ("say", "they are") };
        lines.push(format!("{begin}; {} {say} what {they_are} called now", keys(&renamed)));
    }
    if let Some(begin) = begin(&known) {
        let takes_out = takes_out(&known, outline, removed, command);
        lines.push(format!("{begin}; if nothing came after what is in {base}, {takes_out}"));
    }
    if let Some(begin) = begin(&unknown) {
        let one = unknown.len() == 1;
        let condition = if one { "if it has landed, or is not" } else { "if they have landed, or are not" };
        lines.push(format!("{begin}; {condition} wanted any more, {}", takes_out(&unknown, outline, removed, command)));
    }
    lines
}

/// `None` where there are none.
fn begin(lost: &[&Lost]) -> Option<String> {
    let are = match lost {
        [] => return None,
        [_] => "it is",
        _ => "they are",
    };
    let maybe: Vec<&Lost> =
        lost.iter().copied().filter(|lost| lost.renamed.as_ref().is_some_and(|renamed| !renamed.is_sure)).collect();
    let maybe = match maybe.as_slice() {
        [] => String::new(),
        [_] => format!("; {} says so if it is called that now", keys(&maybe)),
        _ => format!("; {} say so if they are called that now", keys(&maybe)),
    };
    Some(format!("next: merge refuses the plan until {are} back or out{maybe}"))
}

/// ``"`branch: new` in the item a"``, of each.
fn keys(lost: &[&Lost]) -> String {
    let key = |lost: &&Lost| {
        let to = lost.renamed.as_ref()?.to.as_str();
        Some(format!("`branch: {}` in the item {}", shown(&scalar(to)), shown(&lost.item)))
    };
    lost.iter().filter_map(key).collect::<Vec<_>>().join(", ")
}

fn takes_out(lost: &[&Lost], outline: &Outline, removed: &BTreeSet<String>, command: &str) -> String {
    let names: Vec<&str> = lost.iter().map(|lost| &*lost.item).collect();
    let goes = |item: &Outlined| removed.contains(&item.name) || names.contains(&&*item.name);
    let depends = |item: &&Outlined| !goes(item) && item.deps.iter().any(|dep| names.contains(&&**dep));
    let dependents: Vec<&str> = outline.items().iter().filter(depends).map(|item| &*item.name).collect();
    let from = match dependents.as_slice() {
        [] => String::new(),
        some => format!(", also from the deps of {}", list(some)),
    };
    let words: Vec<String> = names.iter().map(|name| shell_word(name)).collect();
    let them = if names.len() == 1 { "it" } else { "them" };
    format!("`{command} --remove {}` takes {them} out{from}", words.join(" "))
}
