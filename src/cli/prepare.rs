//! From a plan on disk to everything a run needs to know before it starts: the repository, the
//! heads, the graph with what the commits imply.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::{EXIT_INVALID, Failure};
use super::source::read_plan;
use super::speak;
use crate::cache::{Cache, CacheStats};
use crate::diagnostics;
use crate::git::repo::{Named, RefProblem, RepoError, Target, UserRepo};
use crate::git::resolve::{self, Relations};
use crate::plan::check::{Checked, Places};
use crate::plan::graph::{Graph, ItemIx};
use crate::plan::problem::Problem;
use crate::plan::{Gate, Plan};
use crate::ports::ComposeItem;
use crate::vocabulary::event::{LinedUpGate, LinedUpItem};
use crate::vocabulary::names::{CommitId, PlanDigest};

/// A plan that fits its repository.
#[derive(Debug)]
pub struct Prepared {
    /// Where the plan was read from, or `-`.
    pub source: String,
    /// The plan's text, for the run's folder.
    pub text: Arc<str>,
    pub digest: PlanDigest,
    pub policy: Arc<crate::plan::Policy>,
    pub repo: UserRepo,
    pub target: Target,
    pub graph: Arc<Graph>,
    /// In canonical order.
    pub items: Vec<Arc<ComposeItem>>,
    /// In canonical order.
    pub lined_up: Vec<LinedUpItem>,
    /// How long finding heads, implied dependencies and the order took.
    pub resolution: Duration,
    pub order_cache: CacheStats,
}

/// What the command line says instead of the plan.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub target: Option<String>,
    pub max_workers: Option<u32>,
    /// For gates without a timeout of their own.
    pub gate_timeout: Option<Duration>,
}

/// Reads, checks and resolves a plan. Problems of the plan are shown on standard error.
///
/// # Errors
/// Where the plan is invalid, the repository cannot be used, or they do not fit each other.
pub fn prepare(source: &str, repository: &Path, overrides: &Overrides) -> Result<Prepared, Failure> {
    let checked = read_plan(source).map_err(|invalid| {
        speak::note(&diagnostics::text(&invalid.source_text, &invalid.problems, speak::diagnostics_style()));
        Failure::shown(EXIT_INVALID)
    })?;
    if !checked.warnings.is_empty() {
        speak::note(&diagnostics::text(
            checked.places.source(),
            &checked.warnings,
            speak::diagnostics_style(),
        ));
    }
    let Checked { mut plan, places, .. } = checked;
    apply(overrides, &mut plan);
    let repo = UserRepo::open(repository).map_err(unusable)?;
    let begun = Instant::now();
    let named: Vec<Named<'_>> = plan
        .items
        .iter()
        .map(|item| Named { name: &item.name, branch: &item.branch, pin: item.pin.as_deref() })
        .collect();
    let resolved = repo.resolve(&plan.target, &named).map_err(|error| match error {
        RepoError::Unresolved(problems) => unresolved(&problems, &plan, &places, overrides),
        other => unusable(other),
    })?;
    let names_and_heads: Vec<_> =
        plan.items.iter().zip(&resolved.heads).map(|(item, head)| (item.name.clone(), *head)).collect();
    let relations = resolve::relations(&repo, resolved.target.commit, &names_and_heads)?;
    warn_of_implied(&plan, &places, &relations);

    let orders: Cache<PlanDigest, Arc<Graph>> = Cache::new(ORDERS_KEPT, plan.policy.performance.cache_ttl);
    let graph = ordered(&orders, &plan, &relations)?;
    let items = composed_of(&graph, &plan, &resolved.heads);
    let lined_up = lined_up(&graph, &items, &plan, &relations);
    Ok(Prepared {
        source: source.to_owned(),
        text: Arc::clone(&places.source().text),
        digest: plan.digest,
        policy: Arc::new(plan.policy),
        repo,
        target: resolved.target,
        graph,
        items,
        lined_up,
        resolution: begun.elapsed(),
        order_cache: orders.stats(),
    })
}

/// One plan has one order; a process that prepares several remembers so many.
const ORDERS_KEPT: u64 = 16;

fn apply(overrides: &Overrides, plan: &mut Plan) {
    if let Some(target) = &overrides.target {
        plan.target.clone_from(target);
    }
    if overrides.max_workers.is_some() {
        plan.policy.max_workers = overrides.max_workers;
    }
    let Some(timeout) = overrides.gate_timeout else { return };
    for item in &mut plan.items {
        for gate in &mut item.gates {
            if !gate.own_timeout {
                *gate = Arc::new(Gate { timeout, ..(**gate).clone() });
            }
        }
    }
}

fn unusable(error: RepoError) -> Failure {
    match error {
        RepoError::Git(error) => error.into(),
        other => Failure::usage(other.to_string()),
    }
}

/// Problems that only the repository shows, at their places in the plan.
fn unresolved(problems: &[RefProblem], plan: &Plan, places: &Places, overrides: &Overrides) -> Failure {
    let located: Vec<Problem> = problems
        .iter()
        .map(|problem| {
            let mut located = match problem.item.and_then(|at| plan.items.get(at)) {
                Some(item) => {
                    let key = if item.pin.is_some() { "sha" } else { "branch" };
                    places.error_at_item(&item.name, key, &problem.message)
                }
                None if overrides.target.is_some() => Problem::error(&problem.message),
                None => places.error_at_key("target", &problem.message),
            };
            located.hint.clone_from(&problem.hint);
            located
        })
        .collect();
    speak::note(&diagnostics::text(places.source(), &located, speak::diagnostics_style()));
    Failure::shown(EXIT_INVALID)
}

fn warn_of_implied(plan: &Plan, places: &Places, relations: &Relations) {
    let warnings: Vec<Problem> = relations
        .implied
        .iter()
        .map(|(dependent, dependency)| (&plan.items[*dependent], &plan.items[*dependency]))
        .filter(|(dependent, dependency)| !dependent.deps.contains(&dependency.name))
        .map(|(dependent, dependency)| {
            let message =
                format!("{} contains {}, so it depends on it: implied", dependent.name, dependency.name);
            places
                .error_at_item(&dependent.name, "deps", message)
                .warning()
                .hint(format!("add {:?} to its deps", dependency.name.as_str()))
        })
        .collect();
    if !warnings.is_empty() {
        speak::note(&diagnostics::text(places.source(), &warnings, speak::diagnostics_style()));
    }
}

fn ordered(
    orders: &Cache<PlanDigest, Arc<Graph>>,
    plan: &Plan,
    relations: &Relations,
) -> Result<Arc<Graph>, Failure> {
    let signature = signature(plan, relations);
    if let Some(graph) = orders.get(&signature) {
        return Ok(graph);
    }
    let graph = Graph::new(plan.items.clone(), &relations.implied).map_err(|cycles| {
        // The plan itself has none: an implied dependency closes it.
        let cycle: Vec<String> = cycles[0].0.iter().map(|at| plan.items[*at].name.to_string()).collect();
        Failure::usage(format!(
            "dependencies form a cycle with those that the branches imply: {} -> {}",
            cycle.join(" -> "),
            cycle[0]
        ))
        .with_hint("a branch that contains another one depends on it; turn the dependency in the plan around")
    })?;
    let graph = Arc::new(graph);
    orders.insert(signature, Arc::clone(&graph));
    Ok(graph)
}

/// All that the order depends on: the plan and what its branches imply.
fn signature(plan: &Plan, relations: &Relations) -> PlanDigest {
    let edges: Vec<u8> = relations
        .implied
        .iter()
        .flat_map(|(dependent, dependency)| [dependent.to_le_bytes(), dependency.to_le_bytes()].concat())
        .collect();
    PlanDigest::of([plan.digest.as_bytes(), &edges])
}

fn composed_of(graph: &Graph, plan: &Plan, heads: &[CommitId]) -> Vec<Arc<ComposeItem>> {
    let head_of: std::collections::HashMap<_, _> =
        plan.items.iter().zip(heads).map(|(item, head)| (&item.name, *head)).collect();
    graph
        .indices()
        .map(|ix| {
            let item = graph.item(ix);
            Arc::new(ComposeItem {
                ix,
                name: item.name.clone(),
                branch: item.branch.clone(),
                head: head_of[&item.name],
                strategy: item.strategy,
                deps: graph.deps(ix).to_vec(),
            })
        })
        .collect()
}

fn lined_up(graph: &Graph, items: &[Arc<ComposeItem>], plan: &Plan, relations: &Relations) -> Vec<LinedUpItem> {
    let landed: std::collections::HashMap<_, _> = plan
        .items
        .iter()
        .zip(&relations.already_landed)
        .filter_map(|(item, why)| Some((&item.name, why.clone()?)))
        .collect();
    let names = |indices: &[ItemIx]| indices.iter().map(|ix| graph.name(*ix).clone()).collect::<Vec<_>>();
    graph
        .indices()
        .map(|ix| {
            let item = graph.item(ix);
            let implied = names(graph.implied(ix));
            let mut deps = names(graph.deps(ix));
            // Named ones first.
            deps.sort_by_key(|dep| implied.contains(dep));
            LinedUpItem {
                name: item.name.clone(),
                branch: item.branch.clone(),
                head: items[ix.get()].head,
                strategy: item.strategy,
                priority: item.priority,
                level: graph.level(ix),
                deps,
                implied,
                gates: item.gates.iter().map(|gate| lined_up_gate(gate)).collect(),
                already_landed: landed.get(&item.name).cloned(),
            }
        })
        .collect()
}

fn lined_up_gate(gate: &Gate) -> LinedUpGate {
    LinedUpGate {
        name: gate.name.clone(),
        definition: gate.definition,
        run: gate.run.clone(),
        cwd: gate.cwd.clone(),
        required: gate.required,
    }
}
