//! What can be said of a run before any gate runs: which clashes are really those of others, what many items
//! touch, which items to leave out where some clash ([`order`]), and what the strategies will likely cost
//! ([`price`]) of what there is to do ([`work`]).
//!
//! Expectations and advice, never decisions: what lands is for [`super::strategy`] and the verdicts.

pub mod limits;
pub mod order;
pub mod price;
pub mod work;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::plan::graph::{Graph, ItemIx};

/// Two items that clash, and at which paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting<'a> {
    /// The earlier in canonical order.
    pub first: ItemIx,
    pub second: ItemIx,
    pub paths: BTreeSet<&'a str>,
}

/// For each clash the one that it repeats, if it does: at its paths, what one of the items depends on clashes
/// with the other, or with what that depends on. `meetings` are sorted by their items; so each is repeated by
/// later ones only.
pub fn inherited(graph: &Graph, meetings: &[Meeting<'_>]) -> Vec<Option<usize>> {
    let mut at: HashMap<(ItemIx, ItemIx), usize> = HashMap::new();
    let mut origins: Vec<Option<usize>> = Vec::with_capacity(meetings.len());
    for (number, meeting) in meetings.iter().enumerate() {
        let Meeting { first, second, paths } = meeting;
        let below_first = graph.deps(*first).iter().map(|dep| (*dep, *second));
        let below_second = graph.deps(*second).iter().map(|dep| (*first, *dep));
        let origin = below_first.chain(below_second).find_map(|(one, other)| {
            let known = *at.get(&(one.min(other), one.max(other)))?;
            paths.is_subset(&meetings[known].paths).then(|| origins[known].unwrap_or(known))
        });
        origins.push(origin);
        at.insert((*first, *second), number);
    }
    origins
}

/// The paths that more than one item changes, each with these: those of most items first, then by path.
pub fn hotspots<'a>(touched: impl IntoIterator<Item = (ItemIx, &'a [String])>) -> Vec<(&'a str, Vec<ItemIx>)> {
    let mut by_path: BTreeMap<&str, Vec<ItemIx>> = BTreeMap::new();
    for (item, paths) in touched {
        for path in paths {
            by_path.entry(path).or_default().push(item);
        }
    }
    let mut spots: Vec<_> = by_path.into_iter().filter(|(_, items)| items.len() > 1).collect();
    spots.sort_by_key(|(_, items)| Reverse(items.len()));
    spots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Item;
    use crate::vocabulary::names::{ItemName, MergeStrategy};

    fn graph(deps: &[&[usize]]) -> Graph {
        let name = |at: usize| ItemName::new(format!("i{at}"));
        let item = |(at, deps): (usize, &&[usize])| Item {
            name: name(at),
            branch: format!("i{at}"),
            pin: None,
            deps: deps.iter().map(|dep| name(*dep)).collect(),
            strategy: MergeStrategy::Merge,
            priority: 0,
            gates: Vec::new(),
        };
        Graph::new(deps.iter().enumerate().map(item).collect(), &[]).unwrap()
    }

    #[test]
    fn a_clash_is_inherited_where_it_is_at_paths_at_which_what_lies_below_clashes_already() {
        // i0 <- i1 <- i2, and i3 <- i4.
        let graph = graph(&[&[], &[0], &[1], &[], &[3]]);
        let at: HashMap<&str, ItemIx> = graph.indices().map(|ix| (graph.name(ix).as_str(), ix)).collect();
        let meeting = |one: &str, other: &str, paths: &[&'static str]| {
            let (one, other) = (at[one], at[other]);
            Meeting { first: one.min(other), second: one.max(other), paths: paths.iter().copied().collect() }
        };
        let mut meetings = vec![
            meeting("i0", "i3", &["a", "b"]),
            meeting("i1", "i3", &["a"]),
            meeting("i2", "i3", &["a", "c"]),
            meeting("i1", "i4", &["a"]),
        ];
        meetings.sort_by_key(|meeting| (meeting.first, meeting.second));
        let told: Vec<(String, Option<String>)> = meetings
            .iter()
            .zip(inherited(&graph, &meetings))
            .map(|(meeting, origin)| {
                let pair = |of: &Meeting<'_>| format!("{}+{}", graph.name(of.first), graph.name(of.second));
                (pair(meeting), origin.map(|origin| pair(&meetings[origin])))
            })
            .collect();
        let of = |pair: &str| told.iter().find(|(known, _)| known == pair).unwrap().1.clone();
        assert_eq!((of("i0+i3"), of("i1+i3"), of("i1+i4")), (None, Some("i0+i3".into()), Some("i0+i3".into())));
        assert_eq!(of("i2+i3"), None, "c is its own");
    }

    #[test]
    fn hotspots_are_what_most_items_change() {
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let touched = [paths(&["a", "b", "z"]), paths(&["b", "c", "z"]), paths(&["b"])];
        let touched = touched.iter().enumerate().map(|(at, paths)| (ItemIx::new(at), paths.as_slice()));
        let told: Vec<_> = hotspots(touched).into_iter().map(|(path, items)| (path.to_owned(), items.len())).collect();
        assert_eq!(told, [("b".to_owned(), 3), ("z".to_owned(), 2)]);
    }
}
