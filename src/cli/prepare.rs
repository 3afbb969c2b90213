//! From a plan on disk to everything a run needs to know before it starts: the repository, the
//! heads, the graph with what the commits imply.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::failure::{EXIT_INVALID, Failure};
use super::plan::update_command;
use super::source::read_bytes;
use super::speak;
use crate::cache::{Cache, CacheStats};
use crate::diagnostics;
use crate::gate::container;
use crate::git::command::joined;
use crate::git::compose::{ComposeSettings, ShadowComposer};
use crate::git::quarantine::Quarantine;
use crate::git::repo::{Named, RefProblem, RepoError, Target, UserRepo};
use crate::git::resolve::{HeadOf, Relations};
use crate::plan::check::{Checked, Invalid, Places, check};
use crate::plan::graph::Graph;
use crate::plan::problem::{Problem, Severity, Source, nearest};
use crate::plan::reach::reaches;
use crate::plan::runtime::NoRuntime;
use crate::plan::{Gate, MaxWorkers, Plan, Policy};
use crate::ports::{ComposeItem, WrittenGates};
use crate::vocabulary::event::{FixedImage, LinedUpItem, RunStarted};
use crate::vocabulary::names::{CommitId, ItemName, PlanDigest, RuntimeName};
use crate::wording::shown;

/// A plan whose target and branches are known.
#[derive(Debug)]
pub struct Opened {
    /// Where the plan was read from, or `-`.
    pub source: String,
    /// The plan's text, for the run's folder.
    pub text: Arc<str>,
    pub repo: UserRepo,
    pub target: Target,
    plan: Plan,
    places: Places,
    /// One per item, in the order of the document.
    heads: Vec<CommitId>,
    begun: Instant,
}

/// A plan that fits its repository, in canonical order.
#[derive(Debug)]
pub struct Prepared {
    pub source: String,
    pub text: Arc<str>,
    pub digest: PlanDigest,
    pub policy: Arc<Policy>,
    pub repo: UserRepo,
    pub target: Target,
    pub graph: Arc<Graph>,
    /// In canonical order.
    pub items: Vec<Arc<ComposeItem>>,
    /// In canonical order.
    pub lined_up: Vec<Arc<LinedUpItem>>,
    /// Where files would come that the base has not: paths from the top.
    pub arriving: Vec<PathBuf>,
    /// How long finding heads, implied dependencies and the order took.
    pub resolution: Duration,
    pub order_cache: CacheStats,
}

/// Where composites are made.
#[derive(Debug)]
pub struct Workshop {
    pub quarantine: Quarantine,
    pub composer: Arc<ShadowComposer>,
}

impl Opened {
    pub fn digest(&self) -> PlanDigest {
        self.plan.digest
    }

    pub fn policy(&self) -> &Policy {
        &self.plan.policy
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// One per item, in the order of the document.
    pub fn heads(&self) -> &[CommitId] {
        &self.heads
    }

    /// Finds out what the images of containers stand for, and has gates run in these and no others. Blocks, for as long
    /// as it takes to pull those that are not here.
    ///
    /// # Errors
    /// Where there is no such image, or no engine.
    pub fn fix_images(&mut self) -> Result<Vec<FixedImage>, Failure> {
        let pulls = |image: &str| speak::note(&format!("pulling {}\n", shown(image)));
        let images = container::fix_images(&self.plan, pulls).map_err(|error| {
            let hint = format!("{}; `lexpr doctor --runtime NAME` tries it", error.hint());
            Failure::internal(error.to_string()).with_hint(hint)
        })?;
        use_images(&images, &mut self.plan);
        Ok(images)
    }

    /// As [`Opened::fix_images`], of those that are here, without pulling any: the names of the others. Blocks.
    pub fn look_for_images(&mut self) -> Vec<String> {
        let (here, missing) = container::images_here(&self.plan);
        use_images(&here, &mut self.plan);
        missing
    }

    /// The items that a run has, too: by name, or by another name the same head.
    pub fn shared_with(&self, started: &RunStarted) -> Vec<&ItemName> {
        let names: HashSet<_> = started.items.iter().map(|item| &item.name).collect();
        let heads: HashSet<_> = started.items.iter().map(|item| item.head).collect();
        let items = self.plan.items.iter().zip(&self.heads);
        items
            .filter(|(item, head)| names.contains(&item.name) || heads.contains(*head))
            .map(|(item, _)| &item.name)
            .collect()
    }
}

impl Workshop {
    /// # Errors
    /// Where the folder cannot be written.
    pub fn in_folder(folder: &Path, opened: &Opened) -> Result<Self, Failure> {
        Self::new(folder, &opened.repo, compose_settings(&opened.plan.policy))
    }

    /// # Errors
    /// Where the folder cannot be written.
    pub fn new(folder: &Path, repo: &UserRepo, settings: ComposeSettings) -> Result<Self, Failure> {
        let quarantine = Quarantine::create(folder, repo)?;
        let composer = Arc::new(ShadowComposer::new(&quarantine, settings)?);
        Ok(Self { quarantine, composer })
    }
}

/// What the command line says instead of the plan.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub target: Option<String>,
    pub max_workers: Option<MaxWorkers>,
    /// For gates without a timeout of their own.
    pub gate_timeout: Option<Duration>,
    /// What runs all gates.
    pub runtime: Option<RuntimeName>,
    /// What the images of containers stand for, as far as that has been asked.
    pub images: Vec<FixedImage>,
}

/// Reads and checks a plan and finds its target and branches. Problems are shown on standard error.
///
/// # Errors
/// Where the plan is invalid, the repository cannot be used, or lacks what the plan names.
pub fn open(source: &str, repository: &Path, overrides: &Overrides) -> Result<Opened, Failure> {
    let bytes = read_bytes(source).map_err(shown_to_be_invalid)?;
    let (checked, repo) = thread::scope(|scope| {
        // git takes as long to say what the repository is as the plan takes to be checked.
        let repo = thread::Builder::new().spawn_scoped(scope, || UserRepo::open(repository));
        (check(source, &bytes), joined(repo))
    });
    let checked = checked.map_err(shown_to_be_invalid)?;
    show(checked.places.source(), &checked.warnings);
    resolve(source, checked, || repo?, repository, overrides)
}

/// A plan that was read before, with its target and branches where they are by now.
///
/// # Errors
/// Where the repository cannot be used, or lacks what the plan names.
pub fn open_again(source: &str, text: &str, repository: &Path, overrides: &Overrides) -> Result<Opened, Failure> {
    let checked = check(source, text.as_bytes()).map_err(shown_to_be_invalid)?;
    resolve(source, checked, || UserRepo::open(repository), repository, overrides)
}

fn shown_to_be_invalid(invalid: Invalid) -> Failure {
    show(&invalid.source_text, &invalid.problems);
    Failure::shown(EXIT_INVALID)
}

fn resolve(
    source: &str,
    checked: Checked,
    repo: impl FnOnce() -> Result<UserRepo, RepoError>,
    repository: &Path,
    overrides: &Overrides,
) -> Result<Opened, Failure> {
    let Checked { mut plan, places, .. } = checked;
    apply(overrides, &mut plan)?;
    let repo = repo()?;
    let begun = Instant::now();
    let named: Vec<Named<'_>> = plan
        .items
        .iter()
        .map(|item| Named { name: &item.name, branch: &item.branch, pin: item.pin.as_deref() })
        .collect();
    let resolved = repo.resolve(&plan.target, &named).map_err(|error| match error {
        RepoError::Unresolved(problems) => {
            let update = Path::new(source).exists().then(|| update_command(repository, source));
            unresolved(&problems, &plan, &places, overrides, update.as_deref())
        }
        other => other.into(),
    })?;
    Ok(Opened {
        source: source.to_owned(),
        text: Arc::clone(&places.source().text),
        repo,
        target: resolved.target,
        plan,
        places,
        heads: resolved.heads,
        begun,
    })
}

/// Finds out how the branches relate and brings the plan into canonical order.
///
/// # Errors
/// Where an object cannot be read, or implied dependencies close a cycle.
pub async fn line_up(opened: Opened, composer: &ShadowComposer) -> Result<Prepared, Failure> {
    let Opened { source, text, repo, target, plan, places, heads, begun } = opened;
    let with_heads = plan
        .items
        .iter()
        .zip(&heads)
        .map(|(item, head)| HeadOf { name: item.name.clone(), head: *head, deps: item.deps.clone() })
        .collect();
    let mut relations = composer.relate(target.commit, with_heads).await?;
    leave_out_what_the_plan_says(&plan, &mut relations);
    warn_of_implied(&plan, &places, &relations);

    let orders: Cache<PlanDigest, Arc<Graph>> = Cache::new(ORDERS_KEPT, plan.policy.performance.cache_ttl);
    let graph = ordered(&orders, &plan, &relations)?;
    let items = composed_of(&graph, &plan, &heads, &relations);
    let lined_up = lined_up(&graph, &items, &plan, &relations);
    Ok(Prepared {
        source,
        text,
        digest: plan.digest,
        policy: Arc::new(plan.policy),
        repo,
        target,
        graph,
        items,
        lined_up,
        arriving: relations.arriving,
        resolution: begun.elapsed(),
        order_cache: orders.stats(),
    })
}

/// The plan of a run that goes on, with heads, implied dependencies and what had landed before as
/// the run found them when it began, whatever has become of branches since.
///
/// # Errors
/// Where `text` is not the plan that the run began with.
pub fn again(
    text: &[u8],
    repo: UserRepo,
    started: &RunStarted,
    max_workers: Option<MaxWorkers>,
) -> Result<(Prepared, ComposeSettings), Failure> {
    let begun = Instant::now();
    let changed = |why: &str| {
        Failure::internal(format!("the plan kept with run {} cannot be used: {why}", started.run))
            .with_hint("run the plan again; what has landed is not landed twice")
    };
    let Checked { mut plan, places, .. } = check(&started.plan, text).map_err(|invalid| {
        show(&invalid.source_text, &invalid.problems);
        changed("it is not valid")
    })?;
    if plan.digest != started.plan_digest {
        return Err(changed("it is not the one that the run began with"));
    }
    let overrides = Overrides {
        target: None,
        max_workers: Some(max_workers.unwrap_or(workers_of(started))),
        gate_timeout: started.gate_timeout_ms.map(Duration::from_millis),
        runtime: started.runtime.clone(),
        images: started.images.clone(),
    };
    apply(&overrides, &mut plan)?;
    let position: HashMap<_, _> = plan.items.iter().enumerate().map(|(at, item)| (item.name.clone(), at)).collect();
    let implied: Vec<(usize, usize)> = started
        .items
        .iter()
        .flat_map(|item| item.implied.iter().map(|dep| (position.get(&item.name), position.get(dep))))
        .filter_map(|(dependent, dep)| Some((*dependent?, *dep?)))
        .collect();
    let graph = Graph::new(plan.items.clone(), &implied).map_err(|_| changed("its dependencies form a cycle"))?;
    let lined_up: HashMap<_, _> = started.items.iter().map(|item| (&item.name, item)).collect();
    let items = graph.indices().map(|ix| {
        let item = graph.item(ix);
        let found = lined_up.get(&item.name).ok_or_else(|| changed("it has other items"))?;
        Ok(Arc::new(ComposeItem::of(&graph, ix, found.head, found.merged.clone())))
    });
    let items: Vec<Arc<ComposeItem>> = items.collect::<Result<_, Failure>>()?;
    let settings = compose_settings(&plan.policy);
    let prepared = Prepared {
        source: started.plan.clone(),
        text: Arc::clone(&places.source().text),
        digest: plan.digest,
        policy: Arc::new(plan.policy),
        repo,
        target: Target { full_name: started.target.clone(), commit: started.base, tree: started.base_tree },
        items,
        lined_up: started.items.clone(),
        graph: Arc::new(graph),
        // What stands in the way is found when it is about to land.
        arriving: Vec::new(),
        resolution: begun.elapsed(),
        order_cache: CacheStats::default(),
    };
    Ok((prepared, settings))
}

/// How many workers a run was to have when it began.
pub(super) fn workers_of(started: &RunStarted) -> MaxWorkers {
    match started.workers_at_first {
        Some(_) => MaxWorkers::Auto,
        None => MaxWorkers::Fixed(started.max_workers),
    }
}

fn compose_settings(policy: &Policy) -> ComposeSettings {
    ComposeSettings {
        merge: policy.merge,
        committer: policy.committer.clone(),
        remember_for: policy.performance.caching.then_some(policy.performance.cache_ttl),
    }
}

fn show(source: &Source, problems: &[Problem]) {
    if !problems.is_empty() {
        let text = diagnostics::text(source, problems, speak::diagnostics_style());
        match problems.iter().any(|problem| problem.severity == Severity::Error) {
            true => speak::must_know(&text),
            false => speak::note(&text),
        }
    }
}

/// One plan has one order; a process that prepares several remembers so many.
const ORDERS_KEPT: u64 = 16;

fn apply(overrides: &Overrides, plan: &mut Plan) -> Result<(), Failure> {
    if let Some(target) = &overrides.target {
        plan.target.clone_from(target);
    }
    if overrides.max_workers.is_some() {
        plan.policy.max_workers = overrides.max_workers;
    }
    if let Some(timeout) = overrides.gate_timeout {
        for gate in plan.items.iter_mut().flat_map(|item| &mut item.gates).filter(|gate| !gate.own_timeout) {
            *gate = Arc::new(Gate { timeout, ..(**gate).clone() });
        }
    }
    if let Some(name) = &overrides.runtime {
        run_all_by(name, plan)?;
    }
    use_images(&overrides.images, plan);
    Ok(())
}

/// Has one runtime run all gates, whatever the plan has run each.
fn run_all_by(name: &RuntimeName, plan: &mut Plan) -> Result<(), Failure> {
    for gate in plan.items.iter_mut().flat_map(|item| &mut item.gates) {
        let runtime = plan.policy.runtimes.of(name.as_str(), &gate.asked).map_err(|error| {
            let is_unknown = matches!(error, NoRuntime::Unknown(_));
            let near = nearest(name.as_str(), plan.policy.runtimes.names()).filter(|_| is_unknown);
            let hint = match (near, &error) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, NoRuntime::NoImage(_)) => {
                    "give the gate `container: { image: … }`, or a runtime of the plan's an `image`".to_owned()
                }
                (None, _) => {
                    "the plan names its runtimes in `policy.runtimes`; `local` is this machine's shell".to_owned()
                }
            };
            Failure::usage(format!("--runtime {name}: gate {}: {error}", gate.name)).with_hint(hint)
        })?;
        if gate.run.is_empty() && runtime.ci_service().is_none() {
            let message = format!("--runtime {name}: gate {} has no `run`, as a CI service needs none", gate.name);
            return Err(Failure::usage(message).with_hint("add what that is to run to the plan"));
        }
        *gate = Arc::new((**gate).clone().run_by(runtime));
    }
    Ok(())
}

/// Has gates run in the very images that were found for them.
fn use_images(images: &[FixedImage], plan: &mut Plan) {
    for gate in plan.items.iter_mut().flat_map(|item| &mut item.gates) {
        if let Some(runtime) = gate.runtime.container().and_then(|container| container::fixed(container, images)) {
            *gate = Arc::new((**gate).clone().run_by(runtime));
        }
    }
}

/// Problems that only the repository shows, at their places in the plan; `update` is what brings that up to date.
fn unresolved(
    problems: &[RefProblem],
    plan: &Plan,
    places: &Places,
    overrides: &Overrides,
    update: Option<&str>,
) -> Failure {
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
            located.hint = problem.hint.clone().or_else(|| {
                let is_gone = problem.is_missing && problem.item.is_some();
                update.filter(|_| is_gone).map(|update| format!("`{update}` says what is known of it"))
            });
            located
        })
        .collect();
    show(places.source(), &located);
    Failure::shown(EXIT_INVALID)
}

/// Keeps the implied dependencies that do not follow from those the plan names.
fn leave_out_what_the_plan_says(plan: &Plan, relations: &mut Relations) {
    let position: HashMap<_, _> = plan.items.iter().enumerate().map(|(at, item)| (&item.name, at)).collect();
    relations.implied.retain(|(dependent, dependency)| {
        let mut seen = HashSet::new();
        let mut open = vec![*dependent];
        while let Some(at) = open.pop() {
            let deps = plan.items[at].deps.iter().filter_map(|dep| position.get(dep).copied());
            open.extend(deps.filter(|dep| seen.insert(*dep)));
        }
        !seen.contains(dependency)
    });
}

fn warn_of_implied(plan: &Plan, places: &Places, relations: &Relations) {
    let position: HashMap<_, _> = plan.items.iter().enumerate().map(|(at, item)| (&item.name, at)).collect();
    let deps_of = |name| position.get(name).map(|at| &plan.items[*at].deps).into_iter().flatten();
    let warnings: Vec<Problem> = relations
        .implied
        .iter()
        .map(|(dependent, dependency)| (&plan.items[*dependent], &plan.items[*dependency]))
        .filter(|(dependent, dependency)| !dependent.deps.contains(&dependency.name))
        // That is a cycle, which is an error of its own.
        .filter(|(dependent, dependency)| !reaches(&dependency.name, &dependent.name, deps_of))
        .map(|(dependent, dependency)| {
            let message = format!("{} contains {}, so it depends on it: implied", dependent.name, dependency.name);
            places
                .error_at_item(&dependent.name, "deps", message)
                .warning()
                .hint(format!("add {:?} to its deps", dependency.name.as_str()))
        })
        .collect();
    show(places.source(), &warnings);
}

fn ordered(orders: &Cache<PlanDigest, Arc<Graph>>, plan: &Plan, relations: &Relations) -> Result<Arc<Graph>, Failure> {
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

fn composed_of(graph: &Graph, plan: &Plan, heads: &[CommitId], relations: &Relations) -> Vec<Arc<ComposeItem>> {
    let position: HashMap<_, _> = plan.items.iter().enumerate().map(|(at, item)| (&item.name, at)).collect();
    graph
        .indices()
        .map(|ix| {
            let at = position[&graph.item(ix).name];
            Arc::new(ComposeItem::of(graph, ix, heads[at], relations.merged[at].clone()))
        })
        .collect()
}

fn lined_up(graph: &Graph, items: &[Arc<ComposeItem>], plan: &Plan, relations: &Relations) -> Vec<Arc<LinedUpItem>> {
    let landed: HashMap<_, _> = plan
        .items
        .iter()
        .zip(&relations.already_landed)
        .filter_map(|(item, why)| Some((&item.name, why.as_ref()?.to_string())))
        .collect();
    let mut written = WrittenGates::default();
    let lined_up = |item: &Arc<ComposeItem>| {
        let already_landed = landed.get(&item.name).cloned();
        Arc::new(LinedUpItem { already_landed, ..item.lined_up(graph, &mut written) })
    };
    items.iter().map(lined_up).collect()
}
