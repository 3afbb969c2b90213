//! Plans that are written for people: which branches, what each depends on, which gates, and for every
//! guess the reason, as a comment beside it.
//!
//! Facts in (branches, who contains whom, what commit messages say, the files at the root), text out:
//! the same facts make the same bytes.

pub mod ci;
pub mod gates;
mod mentions;
mod names;
mod text;
pub mod update;

use std::collections::BTreeSet;

pub use text::plan_text;

use crate::plan::check::revision_fault;
use crate::plan::reach::reaches;
use crate::wording::shown;
use gates::GuessedSetup;
use mentions::mentions;
use names::{Meant, is_request, meant};

/// A branch that matched, with what is known of it.
#[derive(Clone, Debug)]
pub struct BranchFacts {
    pub name: String,
    /// Why it needs no landing.
    pub landed: Option<String>,
    /// It was made where the target was, and nothing has been committed on it since.
    pub without_commits: bool,
    /// The commits that are its own: neither the base's nor those of a branch that it contains.
    pub commits: Vec<CommitFacts>,
}

#[derive(Clone, Debug)]
pub struct CommitFacts {
    /// Short.
    pub id: String,
    pub message: String,
}

/// What was found out of all branches that matched, in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub branches: Vec<BranchFacts>,
    /// (dependent, dependency), positions in `branches`: the heads that each contains, the nearest alone.
    pub contains: Vec<(usize, usize)>,
    /// The other branches of the repository, that messages may mean.
    pub others: Vec<String>,
}

/// A plan to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    pub target: String,
    pub gates: Vec<DraftGate>,
    pub setup: Option<GuessedSetup>,
    /// What may do as a gate, too.
    pub other_gates: Vec<String>,
    pub items: Vec<DraftItem>,
    /// Branches that matched and are not in the plan, each with the reason.
    pub left_out: Vec<(String, String)>,
    /// Of those, the ones that hold no work yet.
    pub without_commits: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftGate {
    pub name: String,
    pub run: String,
    /// What it was guessed from; `None` for one that somebody named.
    pub why: Option<String>,
}

/// A branch to land.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftItem {
    /// The branch's, which is the item's, too, unless it is too long for that: then [`plan_text`] gives both.
    pub name: String,
    pub deps: Vec<DraftDep>,
    /// What a person should know who reads the item.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftDep {
    /// As in [`DraftItem`].
    pub name: String,
    pub why: String,
}

impl Draft {
    /// What follows from the facts; gates are the caller's.
    pub fn of(target: String, facts: &Facts) -> Self {
        let mut draft = Self { target, ..Self::default() };
        for branch in &facts.branches {
            if branch.without_commits {
                draft.left_out.push((branch.name.clone(), "no commits of its own yet".to_owned()));
                draft.without_commits.insert(branch.name.clone());
            } else if let Some(why) = &branch.landed {
                draft.left_out.push((branch.name.clone(), why.clone()));
            }
        }
        draft.items = Wiring::new(facts).items();
        draft.leave_out_what_no_plan_can_name();
        draft
    }

    fn leave_out_what_no_plan_can_name(&mut self) {
        let mut nameable = Vec::with_capacity(self.items.len());
        for (at, item) in self.items.iter().enumerate() {
            match revision_fault(&item.name) {
                None => nameable.push(at),
                Some(fault) => {
                    self.left_out.push((item.name.clone(), format!("no plan can have it: its name {fault}")))
                }
            }
        }
        if nameable.len() < self.items.len() {
            self.keep(&nameable);
        }
    }

    /// Leaves all items out but those at these positions; of what others would have depended on, notes stay.
    pub fn keep(&mut self, positions: &[usize]) {
        let all = std::mem::take(&mut self.items).into_iter().enumerate();
        let (stay, gone): (Vec<_>, Vec<_>) = all.partition(|(at, _)| positions.contains(at));
        let gone: BTreeSet<String> = gone.into_iter().map(|(_, item)| item.name).collect();
        self.items = stay.into_iter().map(|(_, item)| item).collect();
        for item in &mut self.items {
            let (here, absent): (Vec<_>, Vec<_>) = item.deps.drain(..).partition(|dep| !gone.contains(&dep.name));
            item.deps = here;
            item.notes
                .extend(absent.into_iter().map(|dep| format!("{} is not in this plan: {}", shown(&dep.name), dep.why)));
        }
    }
}

/// Who depends on whom, while it is found out.
struct Wiring<'a> {
    facts: &'a Facts,
    names: Vec<&'a str>,
    deps: Vec<BTreeSet<usize>>,
    items: Vec<DraftItem>,
}

impl<'a> Wiring<'a> {
    fn new(facts: &'a Facts) -> Self {
        let item = |branch: &BranchFacts| DraftItem { name: branch.name.clone(), deps: Vec::new(), notes: Vec::new() };
        Self {
            facts,
            names: facts.branches.iter().map(|branch| &*branch.name).collect(),
            deps: vec![BTreeSet::new(); facts.branches.len()],
            items: facts.branches.iter().map(item).collect(),
        }
    }

    fn items(mut self) -> Vec<DraftItem> {
        let facts = self.facts;
        for (at, on) in facts.contains.iter().filter(|(_, on)| facts.branches[*on].landed.is_none()) {
            self.depend(*at, *on, "its head is in this branch".to_owned());
        }
        for (at, branch) in facts.branches.iter().enumerate().filter(|(_, branch)| branch.landed.is_none()) {
            for commit in &branch.commits {
                self.heed(at, commit);
            }
        }
        let has_to_land = |at: &usize| facts.branches[*at].landed.is_none();
        (0..self.items.len()).filter(has_to_land).map(|at| self.items[at].clone()).collect()
    }

    /// What a commit's message says that its branch needs.
    fn heed(&mut self, at: usize, commit: &CommitFacts) {
        for mention in mentions(&commit.message) {
            let says = format!("{} says `{}: {}`", commit.id, mention.key, shown(&mention.word));
            match meant(&mention.word, &self.names) {
                Meant::Branch(on) => {
                    let landed = self.facts.branches[on].landed.is_some();
                    if landed || on == at || self.reaches(at, on) {
                        continue;
                    }
                    if self.reaches(on, at) {
                        let name = shown(self.names[on]);
                        self.note(at, format!("{says}, but {name} depends on this branch"));
                    } else {
                        self.depend(at, on, says);
                    }
                }
                Meant::Several(which) => {
                    let which = which.iter().map(|which| shown(self.names[*which]));
                    self.note(at, format!("{says}, which may be {}", which.collect::<Vec<_>>().join(" or ")));
                }
                Meant::Nothing => {
                    let others: Vec<&str> = self.facts.others.iter().map(String::as_str).collect();
                    match meant(&mention.word, &others) {
                        Meant::Branch(other) => {
                            self.note(at, format!("{says}: {} is not in this plan", shown(others[other])));
                        }
                        _ if mention.alone || is_request(&mention.word) => {
                            self.note(at, format!("{says}, which is no branch here"));
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn depend(&mut self, at: usize, on: usize, why: String) {
        if self.deps[at].insert(on) {
            self.items[at].deps.push(DraftDep { name: self.names[on].to_owned(), why });
        }
    }

    fn note(&mut self, at: usize, note: String) {
        let notes = &mut self.items[at].notes;
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Whether `from` depends on `to`, directly or not.
    fn reaches(&self, from: usize, to: usize) -> bool {
        reaches(from, to, |at| self.deps[at].iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(name: &str, message: &str) -> BranchFacts {
        let commits = vec![CommitFacts { id: "1a2b3c4".to_owned(), message: message.to_owned() }];
        BranchFacts { name: name.to_owned(), landed: None, without_commits: false, commits }
    }

    fn deps(draft: &Draft) -> Vec<String> {
        let deps = |item: &DraftItem| item.deps.iter().map(|dep| dep.name.clone()).collect::<Vec<_>>().join(",");
        draft.items.iter().map(|item| format!("{}:{}", item.name, deps(item))).collect()
    }

    #[test]
    fn what_contains_another_depends_on_it_and_messages_add_to_that() {
        let facts = Facts {
            branches: vec![
                branch("a", ""),
                branch("b", "Depends-on: c, a"),
                branch("c", ""),
                branch("d", "Requires: a"),
            ],
            contains: vec![(3, 1)],
            others: Vec::new(),
        };
        let draft = Draft::of("main".to_owned(), &facts);
        assert_eq!(deps(&draft), ["a:", "b:c,a", "c:", "d:b"], "d has a by way of b");
        assert_eq!(draft.items[1].deps[0].why, "1a2b3c4 says `Depends-on: c`");
    }

    #[test]
    fn what_has_landed_is_left_out_and_nobody_waits_for_it() {
        let mut landed = branch("a", "Depends-on: b");
        landed.landed = Some("in base".to_owned());
        let facts = Facts { branches: vec![landed, branch("b", "Depends-on: a")], ..Facts::default() };
        let draft = Draft::of("main".to_owned(), &facts);
        assert_eq!(deps(&draft), ["b:"]);
        assert_eq!(draft.left_out, [("a".to_owned(), "in base".to_owned())]);
        assert_eq!(draft.items[0].notes, [""; 0]);
    }

    #[test]
    fn what_is_not_kept_is_noted_where_it_was_needed() {
        let facts = Facts {
            branches: vec![branch("a", ""), branch("b", "Requires: a"), branch("c", "Requires: b")],
            ..Facts::default()
        };
        let mut draft = Draft::of("main".to_owned(), &facts);
        draft.keep(&[1, 2]);
        assert_eq!(deps(&draft), ["b:", "c:b"]);
        assert_eq!(draft.items[0].notes, ["a is not in this plan: 1a2b3c4 says `Requires: a`"]);
    }

    #[test]
    fn a_mention_that_cannot_be_heeded_is_noted() {
        let facts = Facts {
            branches: vec![
                branch("a", "Depends-on: b\nRequires: #9, x, y z"),
                branch("b", "Depends-on: a\nRequires: b"),
            ],
            contains: Vec::new(),
            others: vec!["x".to_owned()],
        };
        let draft = Draft::of("main".to_owned(), &facts);
        assert_eq!(deps(&draft), ["a:b", "b:"], "no cycle");
        let of_a = [
            "1a2b3c4 says `Requires: #9`, which is no branch here",
            "1a2b3c4 says `Requires: x`: x is not in this plan",
        ];
        assert_eq!(draft.items[0].notes, of_a);
        assert_eq!(draft.items[1].notes, ["1a2b3c4 says `Depends-on: a`, but a depends on this branch"]);
        let two = Facts { branches: vec![branch("a", "Requires: #1"), branch("x/1", ""), branch("1-y", "")], ..facts };
        assert_eq!(
            Draft::of("main".to_owned(), &two).items[0].notes,
            ["1a2b3c4 says `Requires: #1`, which may be x/1 or 1-y"]
        );
    }
}
