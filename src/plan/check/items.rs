//! Checks items, their dependencies and what they must have, and makes them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::policy::GateRules;
use super::{Checker, PlacedItem, item_names};
use crate::plan::file::GateFile;
use crate::plan::graph::{Edges, ItemIx, Rows, find_cycles, narrow};
use crate::plan::pointer::Pointer;
use crate::plan::problem::{Problem, Quoted, nearest};
use crate::plan::{Gate, Item};
use crate::vocabulary::names::{ItemName, MergeStrategy};

/// How many dependencies of a cycle are shown with their lines; its message names all.
const SHOWN_EDGES: usize = 40;

impl Checker<'_> {
    pub(super) fn items(
        &mut self,
        items: Vec<PlacedItem<'_>>,
        plan_gates: Vec<GateFile>,
        rules: &GateRules,
    ) -> Vec<Item> {
        let list = Pointer::root().join("items");
        if items.is_empty() && !self.conformity.is_faulty(&list) {
            let problem = self.document.error_at_key(&list, "the plan has no items: nothing will land");
            self.report(problem.warning());
        }
        let position = self.names(&items);
        let known = resolved(&items, &position);
        let edges = self.dependencies(&items, &known);
        self.cycles(&items, &known, &edges);

        let gates_place = Pointer::root().join("gates");
        let plan_gates = self.gates(&gates_place, plan_gates, rules);
        // One text for each name, however many depend on it.
        let names: Vec<ItemName> = items.iter().map(|item| ItemName::new(item.file.name.unwrap_or_default())).collect();
        let mut inherited = false;
        let mut made = Vec::with_capacity(items.len());
        for (at, (item, name)) in items.into_iter().zip(&names).enumerate() {
            inherited |= item.file.gates.as_ref().is_none_or(Vec::is_empty);
            let deps = item.file.deps.iter().flatten().zip(known.row(at));
            let deps = deps.map(|(dep, at)| at.map_or_else(|| ItemName::new(dep), |at| names[at.get()].clone()));
            let deps = deps.collect();
            made.extend(self.item(item, name, deps, &plan_gates, rules));
        }
        if inherited && !self.conformity.is_faulty(&gates_place) {
            self.something_at_apex(&gates_place, "items without gates of their own", &plan_gates);
        }
        made
    }

    fn item(
        &mut self,
        item: PlacedItem<'_>,
        name: &ItemName,
        deps: Vec<ItemName>,
        plan_gates: &[Arc<Gate>],
        rules: &GateRules,
    ) -> Option<Item> {
        let place = item.place();
        let file = item.file;
        if let Some(branch) = file.branch {
            self.revision(|| place.join("branch"), branch);
        }
        let own = file.gates.unwrap_or_default();
        let gates = if own.is_empty() {
            plan_gates.to_vec()
        } else {
            let list = place.join("gates");
            let gates = self.gates(&list, own, rules);
            if let Some(name) = file.name
                && !self.conformity.is_faulty(&place)
            {
                self.something_at_apex(&list, &format!("item {}", Quoted(name)), &gates);
            }
            gates
        };
        self.has_required(&place, file.name?, &gates, rules);
        Some(Item {
            branch: file.branch.or(file.name)?.to_owned(),
            name: name.clone(),
            pin: file.sha.map(str::to_ascii_lowercase),
            deps,
            strategy: file.strategy.map_or_else(MergeStrategy::default, MergeStrategy::from),
            priority: file.priority.unwrap_or(0),
            gates,
        })
    }

    /// A tree on which no required gate ran would land unproven.
    fn something_at_apex(&mut self, place: &Pointer, whose: &str, gates: &[Arc<Gate>]) {
        let mut required = gates.iter().filter(|gate| gate.required).peekable();
        if required.peek().is_some() && required.all(|gate| !gate.at.apex) {
            let message = format!("no required gate of {whose} runs at the apex, so what lands would be untested");
            let problem = self.document.error_at_key(place, message);
            self.report(problem.hint("give at least one of them `at: [cone, apex]`, which is the default"));
        }
    }

    fn has_required(&mut self, place: &Pointer, item: &str, gates: &[Arc<Gate>], rules: &GateRules) {
        if self.conformity.is_faulty(place) || self.conformity.is_faulty(&Pointer::root().join("gates")) {
            return;
        }
        for required in &rules.required {
            // Where no item at all has the gate, the policy's own list has been called wrong.
            let known = self.known_gates.contains(required);
            if known && !gates.iter().any(|gate| gate.name.as_str() == required) {
                let message =
                    format!("item {} has no gate called {}, which is required", Quoted(item), Quoted(required));
                let have: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
                let problem = self.document.error(&place.join("name"), message);
                self.report(match nearest(required, have.iter().copied()) {
                    Some(word) => problem.hint(format!("it has {}", Quoted(word))),
                    None => problem.hint("`policy.requiredGates` names the gates that every item must have"),
                });
            }
        }
    }

    /// Checks the names of items, and says where the first of each name is in `items`.
    fn names<'a>(&mut self, items: &[PlacedItem<'a>]) -> HashMap<&'a str, usize> {
        let mut position: HashMap<&str, usize> = HashMap::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let Some(name) = item.file.name else { continue };
            self.name(|| item.place().join("name"), name);
            match position.entry(name) {
                Entry::Vacant(free) => {
                    free.insert(at);
                }
                Entry::Occupied(first) => {
                    let message = format!("two items are called {}", Quoted(name));
                    let mut problem = self.document.error(&item.place().join("name"), message);
                    let first = items[*first.get()].place().join("name");
                    problem.related.push((self.document.used_at(&first), "the first".to_owned()));
                    self.report(problem.hint("names are unique in a plan"));
                }
            }
        }
        position
    }

    /// Checks dependencies, and says who depends on whom, by positions in `items`. An item that
    /// depends on itself is reported here and is no edge in what is returned.
    fn dependencies(&mut self, items: &[PlacedItem<'_>], known: &Rows<Option<ItemIx>>) -> Edges {
        let mut edges = Edges::with_capacity(items.len(), items.len());
        // The item that last depended on this one.
        let mut last = vec![None; items.len()];
        for (at, item) in items.iter().enumerate() {
            let name = item.file.name.unwrap_or_default();
            let deps = item.file.deps.as_deref().unwrap_or_default();
            let mut places = DepPlaces { item, kept: None };
            for (index, (&dep, other)) in deps.iter().zip(known.row(at)).enumerate() {
                match other.map(ItemIx::get) {
                    _ if dep == name => {
                        let message = format!("item {} depends on itself", Quoted(dep));
                        self.error(&places.of(index, self), message);
                    }
                    Some(other) if last[other] == Some(at) => {
                        let place = places.of(index, self);
                        let problem = self.document.error(&place, format!("{} stands here twice", Quoted(dep)));
                        self.report(problem.warning());
                    }
                    Some(other) => {
                        last[other] = Some(at);
                        if other != at {
                            edges.push(narrow(other));
                        }
                    }
                    None => {
                        let place = places.of(index, self);
                        self.unknown_dependency(&place, dep);
                    }
                }
            }
            edges.end_row();
        }
        edges
    }

    fn unknown_dependency(&mut self, place: &Pointer, dep: &str) {
        let document = self.document;
        if self.names.get_or_insert_with(|| item_names(document).collect()).contains(dep) {
            return;
        }
        let near = if self.suggestions > 0 {
            self.suggestions -= 1;
            nearest(dep, item_names(document))
        } else {
            None
        };
        let problem = self.document.error(place, format!("no item is called {}", Quoted(dep)));
        self.report(problem.did_you_mean(near));
    }

    fn cycles(&mut self, items: &[PlacedItem<'_>], known: &Rows<Option<ItemIx>>, edges: &Edges) {
        for cycle in find_cycles(edges) {
            let members = &cycle.0;
            let edges: Vec<(&str, &str, Pointer)> = members
                .iter()
                .zip(members.iter().cycle().skip(1))
                .filter_map(|(&from, &to)| {
                    let index = known.row(from).iter().position(|dep| dep.map(ItemIx::get) == Some(to))?;
                    let place = DepPlaces { item: &items[from], kept: None }.of(index, self);
                    Some((items[from].file.name.unwrap_or_default(), items[to].file.name.unwrap_or_default(), place))
                })
                .collect();
            self.report(self.cycle(&edges));
        }
    }

    /// One cycle, whole, with the line of every dependency in it.
    fn cycle(&self, edges: &[(&str, &str, Pointer)]) -> Problem {
        let mut chain: Vec<&str> = edges.iter().map(|(from, ..)| *from).collect();
        chain.extend(chain.first().copied());
        let spans: Vec<_> = edges.iter().map(|(.., place)| self.document.used_at(place)).collect();
        let lines: Vec<String> = spans.iter().map(|span| span.line.to_string()).collect();
        let message = format!("dependency cycle: {} (lines {})", chain.join(" -> "), lines.join(", "));

        let depends = |from: &str, to: &str| format!("{} depends on {}", Quoted(from), Quoted(to));
        let mut problem = Problem::error(message).hint("remove one of these dependencies");
        let mut shown = edges.iter().zip(&spans).take(SHOWN_EDGES);
        if let Some(((from, to, place), span)) = shown.next() {
            problem.path = place.clone();
            problem.at = Some(*span);
            problem.label = Some(depends(from, to));
        }
        problem.related.extend(shown.map(|((from, to, _), span)| (*span, depends(from, to))));
        // What an alias stands for is written elsewhere: show that too.
        for (.., place) in edges.iter().take(SHOWN_EDGES) {
            let written = self.document.written_at(place);
            if !spans.contains(&written) && problem.related.iter().all(|(at, _)| *at != written) {
                problem.related.push((written, "written here".to_owned()));
            }
        }
        problem
    }
}

/// Which of `items` each of their dependencies is, in the order of the document; `None` for one
/// that none of them is called.
fn resolved(items: &[PlacedItem<'_>], position: &HashMap<&str, usize>) -> Rows<Option<ItemIx>> {
    let mut known = Rows::with_capacity(items.len(), items.len());
    for item in items {
        for dep in item.file.deps.iter().flatten() {
            known.push(position.get(dep).map(|at| ItemIx::new(*at)));
        }
        known.end_row();
    }
    known
}

/// Where the dependencies of one item stand, for those few that something is said about.
struct DepPlaces<'i, 'a> {
    item: &'i PlacedItem<'a>,
    /// Where some of what the document has is left out: the places of what is not.
    kept: Option<Vec<Pointer>>,
}

impl DepPlaces<'_, '_> {
    fn of(&mut self, index: usize, checker: &Checker<'_>) -> Pointer {
        let list = self.item.place().join("deps");
        if !checker.conformity.is_faulty(&list) {
            return list.join(index);
        }
        let deps = self.item.file.deps.as_ref().map_or(0, Vec::len);
        let kept = self.kept.get_or_insert_with(|| checker.conformity.places(&list, deps).collect());
        kept[index].clone()
    }
}
