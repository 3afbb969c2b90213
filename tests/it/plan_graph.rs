//! The graph and the one order of a plan: properties for any plan, and the shapes people have.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;

use lexpr::plan::check::check;
use lexpr::plan::graph::{Graph, ItemIx};
use lexpr::plan::natural::natural_cmp;
use lexpr::plan::{Item, Plan};
use lexpr::vocabulary::names::{ItemName, MergeStrategy};
use proptest::prelude::*;

fn item(name: &str, deps: &[&str], priority: i64) -> Item {
    Item {
        name: ItemName::new(name),
        branch: name.to_owned(),
        pin: None,
        deps: deps.iter().map(ItemName::new).collect(),
        strategy: MergeStrategy::Merge,
        priority,
        gates: Vec::new(),
    }
}

/// Items named by letters; `("b", "ac")` depends on `a` and `c`.
fn graph(shape: &[(&str, &[&str])]) -> Graph {
    Graph::new(shape.iter().map(|(name, deps)| item(name, deps, 0)).collect(), &[]).unwrap()
}

fn order(graph: &Graph) -> Vec<&str> {
    graph.indices().map(|ix| graph.name(ix).as_str()).collect()
}

fn levels(graph: &Graph) -> Vec<Vec<&str>> {
    graph.levels().iter().map(|level| level.iter().map(|ix| graph.name(*ix).as_str()).collect()).collect()
}

#[test]
fn a_chain_of_three_has_three_levels() {
    let chain = graph(&[("c", &["b"]), ("b", &["a"]), ("a", &[])]);
    assert_eq!(levels(&chain), [["a"], ["b"], ["c"]]);
    assert_eq!(order(&chain), ["a", "b", "c"]);
}

#[test]
fn independent_items_stand_beside_those_that_others_wait_for() {
    let shape = graph(&[("a", &[]), ("b", &[]), ("c", &["a"]), ("d", &["a", "b"]), ("e", &["c", "d"]), ("f", &[])]);
    assert_eq!(levels(&shape), [vec!["a", "b", "f"], vec!["c", "d"], vec!["e"]]);
    assert_eq!(order(&shape), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn a_chain_of_ten_is_ten_deep_and_numbered_as_people_count() {
    let names: Vec<String> = (1..=10).map(|n| format!("pr-{n}")).collect();
    let items = names.iter().enumerate().map(|(at, name)| {
        let dep: Vec<&str> = at.checked_sub(1).map(|before| names[before].as_str()).into_iter().collect();
        item(name, &dep, 0)
    });
    let chain = Graph::new(items.rev().collect(), &[]).unwrap();
    assert_eq!(order(&chain), names);
    assert_eq!(chain.levels().len(), 10);
    assert_eq!(chain.closure(ItemIx::new(9)).len(), 9);
}

#[test]
fn twelve_wide_is_one_level_in_natural_order() {
    let names: Vec<String> = (1..=12).map(|n| format!("pr-{n}")).collect();
    let wide = Graph::new(names.iter().rev().map(|name| item(name, &[], 0)).collect(), &[]).unwrap();
    assert_eq!(levels(&wide), [names]);
}

#[test]
fn the_pyramid_of_permissions_has_three_levels() {
    let pyramid = graph(&[
        ("permissions", &["auth", "users"]),
        ("users", &["api", "db"]),
        ("auth", &["db", "api"]),
        ("db", &[]),
        ("api", &[]),
    ]);
    assert_eq!(levels(&pyramid), [vec!["api", "db"], vec!["auth", "users"], vec!["permissions"]]);
}

#[test]
fn files_that_list_dependents_first_mean_the_same() {
    let backwards = graph(&[("C", &["B"]), ("B", &["A"]), ("A", &[])]);
    assert_eq!(order(&backwards), ["A", "B", "C"]);
}

#[test]
fn priority_is_inherited_by_what_it_waits_for() {
    let items = vec![item("a", &[], 0), item("b", &[], 5), item("y", &[], 0), item("z", &["y"], 9)];
    let graph = Graph::new(items, &[]).unwrap();
    assert_eq!(order(&graph), ["y", "z", "b", "a"]);
}

#[test]
fn a_chain_of_a_hundred_thousand_does_not_overflow_the_stack() {
    let name = |n: usize| format!("pr-{n}");
    let chain: Vec<Item> = (0..100_000)
        .map(|n| if n == 0 { item(&name(0), &[], 0) } else { item(&name(n), &[&name(n - 1)], 0) })
        .collect();
    let graph = Graph::new(chain, &[]).unwrap();
    assert_eq!(graph.levels().len(), 100_000);
}

/// Any items without cycles: each depends on some of those before it, then all are shuffled.
fn acyclic() -> impl Strategy<Value = Vec<Item>> {
    (1_usize..14)
        .prop_flat_map(|count| {
            let deps = prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), count);
            (deps, prop::collection::vec(-2_i64..3, count), Just((0..count).collect::<Vec<_>>()).prop_shuffle())
        })
        .prop_map(|(deps, priorities, numbers)| {
            let name = |at: usize| format!("pr-{}", numbers[at]);
            (0..deps.len())
                .map(|at| {
                    let deps: Vec<String> = deps[at].iter().filter(|_| at > 0).map(|dep| name(dep.index(at))).collect();
                    item(&name(at), &deps.iter().map(String::as_str).collect::<Vec<_>>(), priorities[at])
                })
                .collect()
        })
}

/// Any items at all, cycles and self-dependencies included.
fn any_items() -> impl Strategy<Value = Vec<Item>> {
    (1_usize..10).prop_flat_map(|count| prop::collection::vec(prop::collection::vec(0..count, 0..3), count)).prop_map(
        |deps| {
            deps.iter()
                .enumerate()
                .map(|(at, deps)| {
                    let deps: Vec<String> = deps.iter().map(|dep| format!("n{dep}")).collect();
                    item(&format!("n{at}"), &deps.iter().map(String::as_str).collect::<Vec<_>>(), 0)
                })
                .collect()
        },
    )
}

/// Whether an item depends on itself, directly or not, found the slow way.
fn has_cycle(items: &[Item]) -> bool {
    let count = items.len();
    let position: HashMap<&ItemName, usize> = items.iter().enumerate().map(|(at, item)| (&item.name, at)).collect();
    let mut reaches = vec![vec![false; count]; count];
    for (at, item) in items.iter().enumerate() {
        for dep in &item.deps {
            reaches[at][position[dep]] = true;
        }
    }
    for via in 0..count {
        for from in 0..count {
            for to in 0..count {
                reaches[from][to] |= reaches[from][via] && reaches[via][to];
            }
        }
    }
    (0..count).any(|at| reaches[at][at])
}

/// Canonical order, by its definition: of all that could come next, the one with the highest
/// priority among itself and its dependents, then the first by name.
fn order_by_definition(items: &[Item]) -> Vec<ItemName> {
    fn inherited(of: &Item, items: &[Item]) -> i64 {
        let dependents = items.iter().filter(|item| item.deps.contains(&of.name));
        dependents.map(|item| inherited(item, items)).fold(of.priority, i64::max)
    }
    let mut order: Vec<ItemName> = Vec::new();
    while order.len() < items.len() {
        let ready =
            items.iter().filter(|item| !order.contains(&item.name) && item.deps.iter().all(|dep| order.contains(dep)));
        let next = ready
            .min_by(|l, r| {
                inherited(r, items)
                    .cmp(&inherited(l, items))
                    .then_with(|| natural_cmp(l.name.as_str(), r.name.as_str()))
            })
            .unwrap();
        order.push(next.name.clone());
    }
    order
}

fn names(graph: &Graph) -> Vec<ItemName> {
    graph.indices().map(|ix| graph.name(ix).clone()).collect()
}

proptest! {
    #[test]
    fn invariant_8_the_order_is_canonical_and_file_position_means_nothing(
        (items, shuffled) in acyclic().prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle())),
    ) {
        let graph = Graph::new(items.clone(), &[]).unwrap();
        prop_assert_eq!(names(&graph), order_by_definition(&items));
        let again = Graph::new(shuffled, &[]).unwrap();
        prop_assert_eq!(names(&graph), names(&again));
    }

    #[test]
    fn dependencies_come_first_and_levels_follow_them(items in acyclic()) {
        let graph = Graph::new(items, &[]).unwrap();
        for ix in graph.indices() {
            prop_assert!(graph.deps(ix).iter().all(|dep| *dep < ix));
            let expected = graph.deps(ix).iter().map(|dep| graph.level(*dep) + 1).max().unwrap_or(0);
            prop_assert_eq!(graph.level(ix), expected);
            for dep in graph.deps(ix) {
                prop_assert!(graph.dependents(*dep).contains(&ix));
                prop_assert!(graph.closure(ix).contains(dep));
            }
            prop_assert_eq!(graph.find(graph.name(ix)), Some(ix));
        }
        prop_assert_eq!(graph.levels().concat().len(), graph.len());
    }

    #[test]
    fn implied_dependencies_order_like_named_ones(items in acyclic(), keep in any::<u64>()) {
        let named = Graph::new(items.clone(), &[]).unwrap();
        let position: HashMap<ItemName, usize> =
            items.iter().enumerate().map(|(at, item)| (item.name.clone(), at)).collect();
        let mut implied = Vec::new();
        let mut stripped = items;
        for (at, item) in stripped.iter_mut().enumerate() {
            if keep >> (at % 64) & 1 == 0 {
                implied.extend(item.deps.drain(..).map(|dep| (at, position[&dep])));
            }
        }
        let half = Graph::new(stripped, &implied).unwrap();
        prop_assert_eq!(names(&named), names(&half));
        for ix in named.indices() {
            prop_assert_eq!(named.deps(ix), half.deps(ix));
        }
    }

    #[test]
    fn cycles_are_found_exactly_where_there_are_some_and_are_whole(items in any_items()) {
        match Graph::new(items.clone(), &[]) {
            Ok(_) => prop_assert!(!has_cycle(&items)),
            Err(cycles) => {
                prop_assert!(has_cycle(&items));
                for cycle in &cycles {
                    let members = &cycle.0;
                    for (at, &from) in members.iter().enumerate() {
                        let to = members[(at + 1) % members.len()];
                        prop_assert!(items[from].deps.contains(&items[to].name));
                    }
                }
                // Every cycle is told of: without the first edge of each, fewer are left.
                let mut broken = items.clone();
                for cycle in &cycles {
                    let to = items[cycle.0[1 % cycle.0.len()]].name.clone();
                    broken[cycle.0[0]].deps.retain(|dep| *dep != to);
                }
                let edges = |items: &[Item]| items.iter().map(|item| item.deps.len()).sum::<usize>();
                prop_assert!(edges(&broken) < edges(&items));
            }
        }
    }

    #[test]
    fn a_written_plan_is_ordered_like_the_items_it_was_written_from(items in acyclic()) {
        let mut text = String::from("schemaVersion: v1\nitems:\n");
        for item in &items {
            let deps: Vec<&str> = item.deps.iter().map(ItemName::as_str).collect();
            text += &format!("  - {{ name: {}, priority: {}, deps: [{}] }}\n", item.name, item.priority, deps.join(", "));
        }
        let Plan { items: read, .. } = check("plan.yaml", text.as_bytes()).unwrap().plan;
        prop_assert_eq!(names(&Graph::new(read, &[]).unwrap()), names(&Graph::new(items, &[]).unwrap()));
    }
}
