//! Any bytes as a plan: read, checked, every problem shown, and what is a plan put in order.

use lexpr::cli::order::{self, Format};
use lexpr::diagnostics::{self, Style};
use lexpr::plan::Plan;
use lexpr::plan::check::{Places, check};
use lexpr::plan::file::MAX_NAME_BYTES;
use lexpr::plan::graph::Graph;
use lexpr::plan::problem::{Problem, Severity, Source};

/// Everything one can do with a document.
///
/// # Panics
/// Where something does not hold.
pub fn try_all(bytes: &[u8]) {
    match check("plan.yaml", bytes) {
        Ok(checked) => {
            assert!(checked.warnings.iter().all(|problem| problem.severity == Severity::Warning));
            shown(checked.places.source(), &checked.warnings);
            placed(&checked.places, &checked.plan);
            ordered(checked.plan);
        }
        Err(invalid) => {
            assert!(invalid.problems.iter().any(|problem| problem.severity == Severity::Error));
            assert!(!invalid.to_string().is_empty());
            shown(&invalid.source_text, &invalid.problems);
        }
    }
}

/// Problems keep to the text, stand in its order, and bring nothing to a terminal that it obeys.
fn shown(source: &Source, problems: &[Problem]) {
    for problem in problems {
        keeps_to(source, problem);
    }
    assert!(problems.is_sorted_by_key(|problem| problem.at.map(|span| span.start)));
    let plain = diagnostics::text(source, problems, Style::Plain);
    assert!(!plain.chars().any(|c| c.is_control() && c != '\n'), "{plain:?}");
    let coloured = diagnostics::text(source, problems, Style::Colour);
    assert!(coloured.len() >= plain.len());
    let json: serde_json::Value = serde_json::from_str(&diagnostics::json(source, problems)).expect("it is JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(problems.len()));
}

fn keeps_to(source: &Source, problem: &Problem) {
    let places = problem.at.into_iter().chain(problem.related.iter().map(|(span, _)| *span));
    assert!(problem.at.is_some(), "{problem:?} has no place");
    for span in places {
        assert!(span.start <= span.end && span.end as usize <= source.text.len(), "{problem:?}");
        assert!(span.line >= 1 && span.column >= 1, "{problem:?}");
        assert!(span.line as usize <= source.text.matches(['\n', '\r']).count() + 1, "{problem:?}");
    }
}

/// What git finds wrong with an item later can be shown, too.
fn placed(places: &Places, plan: &Plan) {
    let later = plan.items.iter().flat_map(|item| {
        ["branch", "sha", "deps"].map(|key| places.error_at_item(&item.name, key, "not in this repository"))
    });
    let mut later: Vec<Problem> = later.chain([places.error_at_key("target", "not in this repository")]).collect();
    later.sort_by_key(|problem| problem.at.map(|span| span.start));
    shown(places.source(), &later);
}

/// Canonical order: no item before its dependencies, each item once.
fn ordered(plan: Plan) {
    let items = plan.items.len();
    for item in &plan.items {
        assert!((1..=MAX_NAME_BYTES).contains(&item.name.as_str().len()));
        assert!(item.gates.iter().all(|gate| gate.retry.max_attempts >= 1 && !gate.timeout.is_zero()));
    }
    let graph = Graph::new(plan.items, &[]).expect("a checked plan has no cycle");
    assert_eq!(graph.len(), items);
    for ix in graph.indices() {
        assert_eq!(graph.find(graph.name(ix)), Some(ix));
        for dep in graph.deps(ix) {
            assert!(*dep < ix && graph.level(*dep) < graph.level(ix));
            assert!(graph.urgency(*dep) >= graph.urgency(ix));
        }
    }
    assert_eq!(graph.levels().iter().map(Vec::len).sum::<usize>(), items);
    for format in [Format::Text, Format::Json, Format::Dot, Format::Mermaid] {
        order::show(&graph, &plan.target, format);
    }
}
