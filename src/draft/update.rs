//! What brings a plan up to date that a person has changed: new branches and new dependencies come in,
//! what has landed goes, and nothing else is touched.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::names::item_name;
use super::text::{comment, item_text, scalar};
use super::{Draft, DraftDep};
use crate::plan::amend::{Amended, Amendment, NewDep, NewItem, Outline, Outlined};
use crate::plan::natural::natural_cmp;
use crate::plan::reach::reaches;
use crate::vocabulary::names::{CommitId, RunId};
use crate::wording::{list, shell_word, shown};

/// A plan's text after it was brought up to date, and what happened to it.
#[derive(Debug)]
pub struct Updated {
    pub text: String,
    /// A line each: what came, what went, what has to be done by hand.
    pub notes: Vec<String>,
}

/// An item whose branch is gone, and of which nothing says that the target has it.
#[derive(Clone, Debug)]
pub struct Lost {
    pub item: String,
    pub branch: String,
    pub seen: Option<LastSeen>,
    /// A merge in the target that names such a branch, although the target has not the head that was seen last.
    pub merge: Option<String>,
    /// A remote's branch of the same name.
    pub elsewhere: Option<String>,
}

/// Where a run found a branch that is gone by now.
#[derive(Clone, Debug)]
pub struct LastSeen {
    pub head: CommitId,
    pub run: RunId,
}

/// Makes `outline`'s plan what `draft` says. Its items stand for branches, as the plan's do: those that have landed by
/// `draft` go, those that the plan lacks come. What is `lost` stays, for its work would not land and others build on it:
/// who took it out unasked would hide that.
pub fn updated(outline: &Outline, draft: &Draft, lost: &[Lost]) -> Updated {
    let mut notes = Vec::new();
    let mut amendment = Amendment::default();
    let items: BTreeMap<&str, &str> =
        outline.items().iter().map(|item| (item.branch.as_str(), item.name.as_str())).collect();
    for (branch, why) in &draft.left_out {
        match items.get(branch.as_str()) {
            Some(item) => {
                amendment.removed.insert((*item).to_owned());
                notes.push(format!("- {}: {why}", shown(item)));
            }
            None => notes.push(format!("left out {}: {why}", shown(branch))),
        }
    }
    let item_of =
        |branch: &str| items.get(branch).map_or_else(|| item_name(branch), |item| Cow::Borrowed(*item)).into_owned();
    notes.extend(lost.iter().map(|lost| note_of(lost, outline)));
    let mut wiring = Wiring::of(outline);
    for new in &draft.items {
        let deps = new.deps.iter().map(|dep| DraftDep { name: item_of(&dep.name), why: dep.why.clone() });
        let Some(item) = outline.items().iter().find(|item| item.branch == new.name) else {
            let name = item_name(&new.name).into_owned();
            if outline.has_commented_out(&name) {
                notes.push(format!("left out {}: it is commented out", shown(&new.name)));
                continue;
            }
            let mut new = new.clone();
            new.deps = deps.filter(|dep| wiring.add(&name, &dep.name)).collect();
            notes.push(format!("+ {}", shown(&new.name)));
            amendment.added.push(NewItem { lines: item_text(&new, ""), name });
            continue;
        };
        for dep in deps {
            if item.deps.contains(&dep.name) || outline.has_commented_out_dep(item, &dep.name) {
                continue;
            }
            let (dependent, dependency) = (shown(&item.name), shown(&dep.name));
            if !wiring.add(&item.name, &dep.name) {
                notes.push(format!(
                    "{dependent} is not made to depend on {dependency}, which depends on it: {}",
                    dep.why
                ));
                continue;
            }
            notes.push(format!("+ {dependent} depends on {dependency}: {}", dep.why));
            let new = NewDep { scalar: scalar(&dep.name), comment: comment(&dep.why), name: dep.name };
            amendment.deps.push((item.name.clone(), new));
        }
    }
    let Amended { text, left } = outline.amended(&amendment, order(outline));
    notes.extend(left.iter().map(|left| format!("by hand: {}", shown(left))));
    Updated { text, notes }
}

/// What is to be done about an item whose branch is gone.
fn note_of(lost: &Lost, outline: &Outline) -> String {
    let branch = shell_word(&lost.branch);
    let back = match (&lost.elsewhere, &lost.seen) {
        (Some(elsewhere), _) => format!("bring it back with `git branch {branch} {}`", shell_word(elsewhere)),
        (None, Some(LastSeen { head, run })) => {
            format!("bring it back with `git branch {branch} {}`, as run {run} had it", head.short())
        }
        (None, None) => "bring it back".to_owned(),
    };
    let depend = |item: &&Outlined| item.deps.contains(&lost.item);
    let dependents: Vec<&str> = outline.items().iter().filter(depend).map(|item| &*item.name).collect();
    let out = match dependents.as_slice() {
        [] => "take the item out".to_owned(),
        some => format!("take the item out, also of the deps of {}", list(some)),
    };
    let named = if lost.branch == lost.item { String::new() } else { format!(" {}", shown(&lost.branch)) };
    let why = match &lost.merge {
        None => "nothing says that its work is in base".to_owned(),
        Some(merge) => format!("{merge} in base merged another head of that name"),
    };
    format!(
        "left alone {}: its branch{named} is gone, and {why}; merge refuses the plan until you {back}, or {out}",
        shown(&lost.item),
    )
}

/// New items go where they would stand in a plan that is written anew; behind all others where somebody put the items in
/// another order.
fn order(outline: &Outline) -> impl Fn(&str, &str) -> bool {
    let is_natural = outline.items().is_sorted_by(|left, right| natural_cmp(&left.name, &right.name).is_le());
    move |new, other| is_natural && natural_cmp(new, other).is_lt()
}

/// Who depends on whom by now, by name.
struct Wiring(BTreeMap<String, BTreeSet<String>>);

impl Wiring {
    fn of(outline: &Outline) -> Self {
        Self(outline.items().iter().map(|item| (item.name.clone(), item.deps.iter().cloned().collect())).collect())
    }

    /// False, and nothing changes, where that would close a circle.
    fn add(&mut self, dependent: &str, dependency: &str) -> bool {
        let next = |at| self.0.get(at).into_iter().flatten().map(String::as_str);
        if dependent == dependency || reaches(dependency, dependent, next) {
            return false;
        }
        self.0.entry(dependent.to_owned()).or_default().insert(dependency.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::draft::{DraftItem, plan_text};
    use crate::plan::check::check;

    fn item(name: &str, deps: &[&str]) -> DraftItem {
        let dep = |name: &&str| DraftDep { name: (*name).to_owned(), why: "so it is".to_owned() };
        DraftItem { name: name.to_owned(), deps: deps.iter().map(dep).collect(), notes: Vec::new() }
    }

    fn draft(items: &[(&str, &[&str])], landed: &[&str]) -> Draft {
        Draft {
            target: "main".to_owned(),
            items: items.iter().map(|(name, deps)| item(name, deps)).collect(),
            left_out: landed.iter().map(|name| ((*name).to_owned(), "in base".to_owned())).collect(),
            ..Draft::default()
        }
    }

    fn update(text: &str, draft: &Draft) -> Updated {
        let updated = updated(&Outline::read("plan", text.as_bytes()).unwrap(), draft, &[]);
        if let Err(invalid) = check("plan", updated.text.as_bytes()) {
            panic!("{:?}\n{}", invalid.problems, updated.text);
        }
        let again = super::updated(&Outline::read("plan", updated.text.as_bytes()).unwrap(), draft, &[]);
        assert_eq!(again.text, updated.text, "twice is once");
        updated
    }

    const BY_HAND: &str = "\
# My plan.
schemaVersion: v1
target: main # where it goes
gates:
- {name: test, run: 'make  test'}
items:
  # The first.
  - name: a   # mine
    priority: 3
  - { name: b, branch: feature/b, deps: [ a,  'old' ] }
  # It goes.
  - name: old
    deps: # of old
      - a
    # - x
  - name: z
    deps:
      - old
      - b   # because
      # - c
  - branch: y
    name: yy
    gates:
      - name: own
        run: |
          make own
          make more
  # The end.
";

    #[test]
    fn what_a_person_wrote_stays_and_the_rest_is_brought_up_to_date() {
        let now = draft(
            &[("a", &[]), ("c", &["a", "feature/b"]), ("feature/b", &[]), ("y", &["z"]), ("z", &["c", "a"])],
            &["old"],
        );
        let updated = update(BY_HAND, &now);
        let expected = "\
# My plan.
schemaVersion: v1
target: main # where it goes
gates:
- {name: test, run: 'make  test'}
items:
  # The first.
  - name: a   # mine
    priority: 3
  - { name: b, branch: feature/b, deps: [a] }
  - name: z
    deps:
      - b   # because
      - a # so it is
      # - c
  - branch: y
    name: yy
    deps:
      - z # so it is
    gates:
      - name: own
        run: |
          make own
          make more
  - name: c
    deps:
      - a # so it is
      - b # so it is
  # The end.
";
        assert_eq!(updated.text, expected);
        let notes = ["- old: in base", "+ c", "+ yy depends on z: so it is", "+ z depends on a: so it is"];
        assert_eq!(updated.notes, notes);
    }

    #[test]
    fn what_is_commented_out_stays_out() {
        let text = "schemaVersion: v1\nitems:\n  - name: b\n    # - a # not now\n  # - name: \"c\"\n  #   deps: [b]\n";
        let updated = update(text, &draft(&[("a", &[]), ("b", &["a"]), ("c", &["b"])], &[]));
        assert_eq!(
            updated.text,
            "schemaVersion: v1\nitems:\n  - name: a\n  - name: b\n    # - a # not now\n  # - name: \"c\"\n  #   deps: [b]\n"
        );
        assert_eq!(updated.notes, ["+ a", "left out c: it is commented out"]);
    }

    #[test]
    fn a_list_that_empties_or_fills_stays_a_list() {
        let emptied = update("schemaVersion: v1\nitems:\n- name: a\n", &draft(&[], &["a"]));
        assert_eq!(emptied.text, "schemaVersion: v1\nitems: []\n");
        let filled = update("schemaVersion: v1\nitems: []\n", &draft(&[("a", &[])], &[]));
        assert_eq!(filled.text, "schemaVersion: v1\nitems:\n  - name: a\n");
        let no_newline = update("schemaVersion: v1\nitems:\n- name: a", &draft(&[("a", &["b"]), ("b", &[])], &[]));
        assert_eq!(no_newline.text, "schemaVersion: v1\nitems:\n- name: a\n  deps:\n    - b # so it is\n- name: b");
    }

    #[test]
    fn a_circle_is_not_closed_and_what_comes_by_an_alias_is_left_to_people() {
        let circle = "schemaVersion: v1\nitems:\n- name: a\n  deps: [b]\n- name: b\n";
        let updated = update(circle, &draft(&[("a", &[]), ("b", &["a"])], &[]));
        assert_eq!(updated.text, circle);
        assert_eq!(updated.notes, ["b is not made to depend on a, which depends on it: so it is"]);
        let alias = "schemaVersion: v1\nitems:\n- name: a\n- name: b\n  deps: &d [a]\n- name: c\n  deps: *d\n";
        let updated = super::updated(
            &Outline::read("plan", alias.as_bytes()).unwrap(),
            &draft(&[("a", &[]), ("b", &[]), ("c", &["b"])], &[]),
            &[],
        );
        assert_eq!(updated.text, alias);
        assert!(updated.notes[1].starts_with("by hand: deps of c come by an alias"), "{:?}", updated.notes);
        assert!(Outline::read("plan", b"schemaVersion: v1\nitems: [{name: a}]\n").is_err());
    }

    proptest! {
        /// However a plan came to be by updates, it is what is written anew.
        #[test]
        fn a_plan_that_nobody_changed_is_updated_to_what_is_written_anew(
            before in prop::collection::btree_set(0_usize..12, 0..10),
            after in prop::collection::btree_set(0_usize..12, 0..10),
        ) {
            let name = |at: &usize| format!("i{at}");
            let of = |here: &BTreeSet<usize>, landed: Vec<usize>| Draft {
                target: "main".to_owned(),
                items: here.iter().map(|at| DraftItem {
                    name: name(at),
                    deps: here.range(..at).filter(|dep| (*dep + at) % 3 == 0)
                        .map(|dep| DraftDep { name: name(dep), why: "x".to_owned() }).collect(),
                    notes: Vec::new(),
                }).collect(),
                left_out: landed.iter().map(|at| (name(at), "in base".to_owned())).collect(),
                ..Draft::default()
            };
            let first = plan_text(&of(&before, Vec::new()));
            let updated = update(&first, &of(&after, before.difference(&after).copied().collect()));
            let deps = |text: &str| {
                let mut items: Vec<_> = check("plan", text.as_bytes()).unwrap().plan.items.into_iter()
                    .map(|mut item| { item.deps.sort(); (item.name, item.deps) }).collect();
                items.sort();
                items
            };
            prop_assert_eq!(deps(&updated.text), deps(&plan_text(&of(&after, Vec::new()))));
        }
    }
}
