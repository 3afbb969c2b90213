//! Checks items, their dependencies and what they must have, and makes them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Checker;
use super::policy::GateRules;
use crate::plan::file::{GateFile, ItemFile};
use crate::plan::graph::find_cycles;
use crate::plan::pointer::Pointer;
use crate::plan::problem::{Problem, Quoted, nearest};
use crate::plan::{Gate, Item};
use crate::vocabulary::names::{ItemName, MergeStrategy};

/// How many dependencies of a cycle are shown with their lines; its message names all.
const SHOWN_EDGES: usize = 40;

/// One item, as far as its dependencies are concerned.
struct Node {
    name: String,
    /// What it depends on (a position in the list of nodes), and where that is said.
    deps: Vec<(usize, Pointer)>,
}

impl Checker<'_> {
    pub(super) fn items(
        &mut self,
        files: Vec<ItemFile>,
        plan_gates: Vec<GateFile>,
        rules: &GateRules,
        names: &[String],
    ) -> Vec<Item> {
        let list = Pointer::root().join("items");
        if files.is_empty() && !self.conformity.is_faulty(&list) {
            let problem = self.document.error_at_key(&list, "the plan has no items: nothing will land");
            self.report(problem.warning());
        }
        let places: Vec<Pointer> = self.conformity.places(&list, files.len()).collect();
        let nodes = self.dependencies(&files, &places, names);
        self.cycles(&nodes);

        let gates_place = Pointer::root().join("gates");
        let plan_gates = self.gates(&gates_place, plan_gates, rules);
        let mut inherited = false;
        let items = files
            .into_iter()
            .zip(&places)
            .filter_map(|(file, place)| {
                inherited |= file.gates.as_ref().is_none_or(Vec::is_empty);
                self.item(place, file, &plan_gates, rules)
            })
            .collect();
        if inherited && !self.conformity.is_faulty(&gates_place) {
            self.something_at_apex(&gates_place, "items without gates of their own", &plan_gates);
        }
        items
    }

    fn item(&mut self, place: &Pointer, file: ItemFile, plan_gates: &[Arc<Gate>], rules: &GateRules) -> Option<Item> {
        if let Some(branch) = &file.branch {
            self.revision(&place.join("branch"), branch);
        }
        let own = file.gates.unwrap_or_default();
        let gates = if own.is_empty() {
            plan_gates.to_vec()
        } else {
            let list = place.join("gates");
            let gates = self.gates(&list, own, rules);
            if let Some(name) = &file.name
                && !self.conformity.is_faulty(place)
            {
                self.something_at_apex(&list, &format!("item {}", Quoted(name)), &gates);
            }
            gates
        };
        let name = file.name?;
        self.has_required(place, &name, &gates, rules);
        Some(Item {
            branch: file.branch.unwrap_or_else(|| name.clone()),
            name: ItemName::new(name),
            pin: file.sha.map(|sha| sha.to_ascii_lowercase()),
            deps: file.deps.unwrap_or_default().iter().map(ItemName::new).collect(),
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

    /// Checks names and dependencies, and says who depends on whom. An item that depends on
    /// itself is reported here and is no edge in what is returned.
    fn dependencies(&mut self, files: &[ItemFile], places: &[Pointer], names: &[String]) -> Vec<Node> {
        let mut position: HashMap<&str, usize> = HashMap::with_capacity(files.len());
        for (at, (file, place)) in files.iter().zip(places).enumerate() {
            let Some(name) = file.name.as_deref() else { continue };
            self.name(&place.join("name"), name);
            if let Some(&first) = position.get(name) {
                let message = format!("two items are called {}", Quoted(name));
                let mut problem = self.document.error(&place.join("name"), message);
                problem.related.push((self.document.used_at(&places[first].join("name")), "the first".to_owned()));
                self.report(problem.hint("names are unique in a plan"));
            } else {
                position.insert(name, at);
            }
        }
        let known: HashSet<&str> = names.iter().map(String::as_str).collect();
        let mut nodes = Vec::with_capacity(files.len());
        for (at, (file, place)) in files.iter().zip(places).enumerate() {
            let name = file.name.clone().unwrap_or_default();
            let list = place.join("deps");
            let deps = file.deps.as_deref().unwrap_or_default();
            let dep_places: Vec<Pointer> = self.conformity.places(&list, deps.len()).collect();
            let mut edges: Vec<(usize, Pointer)> = Vec::with_capacity(deps.len());
            let mut seen = HashSet::with_capacity(deps.len());
            for (dep, dep_place) in deps.iter().zip(dep_places) {
                match position.get(dep.as_str()) {
                    _ if *dep == name => {
                        let message = format!("item {} depends on itself", Quoted(dep));
                        self.error(&dep_place, message);
                    }
                    Some(&other) if !seen.insert(other) => {
                        let problem = self.document.error(&dep_place, format!("{} stands here twice", Quoted(dep)));
                        self.report(problem.warning());
                    }
                    Some(&other) if other != at => edges.push((other, dep_place)),
                    Some(_) => {}
                    None if known.contains(dep.as_str()) => {}
                    None => self.unknown_dependency(&dep_place, dep, names),
                }
            }
            nodes.push(Node { name, deps: edges });
        }
        nodes
    }

    fn unknown_dependency(&mut self, place: &Pointer, dep: &str, names: &[String]) {
        let near = if self.suggestions > 0 {
            self.suggestions -= 1;
            nearest(dep, names.iter().map(String::as_str))
        } else {
            None
        };
        let problem = self.document.error(place, format!("no item is called {}", Quoted(dep)));
        self.report(problem.did_you_mean(near));
    }

    fn cycles(&mut self, nodes: &[Node]) {
        let deps: Vec<Vec<usize>> =
            nodes.iter().map(|node| node.deps.iter().map(|(other, _)| *other).collect()).collect();
        for cycle in find_cycles(&deps) {
            let members = &cycle.0;
            let edges: Vec<(&Node, &Node, &Pointer)> = members
                .iter()
                .zip(members.iter().cycle().skip(1))
                .filter_map(|(&from, &to)| {
                    let (_, place) = nodes[from].deps.iter().find(|(other, _)| *other == to)?;
                    Some((&nodes[from], &nodes[to], place))
                })
                .collect();
            self.report(self.cycle(&edges));
        }
    }

    /// One cycle, whole, with the line of every dependency in it.
    fn cycle(&self, edges: &[(&Node, &Node, &Pointer)]) -> Problem {
        let mut chain: Vec<&str> = edges.iter().map(|(from, ..)| from.name.as_str()).collect();
        chain.extend(chain.first().copied());
        let spans: Vec<_> = edges.iter().map(|(.., place)| self.document.used_at(place)).collect();
        let lines: Vec<String> = spans.iter().map(|span| span.line.to_string()).collect();
        let message = format!("dependency cycle: {} (lines {})", chain.join(" -> "), lines.join(", "));

        let depends = |from: &Node, to: &Node| format!("{} depends on {}", Quoted(&from.name), Quoted(&to.name));
        let mut problem = Problem::error(message).hint("remove one of these dependencies");
        let mut shown = edges.iter().zip(&spans).take(SHOWN_EDGES);
        if let Some(((from, to, place), span)) = shown.next() {
            problem.path = (*place).clone();
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
