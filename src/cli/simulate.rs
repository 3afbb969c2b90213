//! `lexpr simulate`: what landing a plan, or so many items, would cost by each strategy and by other queues'
//! ways, in virtual time. Of a repository it takes what earlier runs taught, and nothing else; it needs none.

mod picture;
mod timeline;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::conduct::limits_beforehand;
use super::failure::Failure;
use super::source::read_plan;
use super::{SimulateArgs, SimulateFormat, speak};
use crate::core::forecast::work::FailureRate;
use crate::diagnostics;
use crate::durations::{self, Recalled};
use crate::git::repo::UserRepo;
use crate::plan::check::check;
use crate::plan::graph::Graph;
use crate::plan::{Gate, MaxWorkers, Policy};
use crate::simulation::Setting;
use crate::simulation::contest::Contestant;
use crate::simulation::figures::Figures;
use crate::simulation::peers::entropy_bound;
use crate::simulation::run::{Scenario, independent};
use crate::simulation::world::{Rates, World};
use crate::vocabulary::names::DefinitionDigest;
use crate::wording;

const MS_PER_SECOND: u64 = 1000;

/// The schema's version: another meaning has another number.
const SIMULATION_VERSION: u32 = 1;

/// What was simulated, and what came of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    pub simulation_version: u32,
    pub items: u64,
    pub workers: u32,
    /// `auto` was asked for. As there is no load to measure, it stays as it begins: one worker a core.
    pub workers_are_auto: bool,
    /// What a run of a gate takes; the mean of all gates where they differ.
    pub gate_seconds: f64,
    /// How many of the plan's gates take what they took in earlier runs.
    pub remembered_gates: u64,
    /// How far runs of one gate lie apart, of a hundred parts of their mean.
    pub spread_percent: f64,
    /// Shares of a hundred.
    pub fail_percent: f64,
    pub clash_percent: f64,
    pub flake_percent: f64,
    /// As many fail as did in earlier runs.
    pub fail_is_remembered: bool,
    pub second_opinion: bool,
    /// Runs of each strategy, in worlds drawn from this seed on.
    pub runs: u64,
    pub seed: u64,
    /// What no strategy can stay below, in gate runs for each item that lands: the entropy of who fails. `null`
    /// where items clash, as more has to be found out then, or have several gates.
    pub fewest_gate_runs: Option<f64>,
    pub strategies: Vec<StrategyFigures>,
    /// What is not compared, and why.
    pub left_out: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrategyFigures {
    pub name: String,
    /// Of lexpr's own.
    pub ours: bool,
    #[serde(flatten)]
    pub figures: Figures,
}

/// The schema of the JSON format.
pub fn schema_json() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Simulation))
        .expect("a schema is made of strings and lists");
    text.push('\n');
    text
}

/// Runs the command and returns the exit code.
///
/// # Errors
/// Where the plan is invalid, or a simulated run comes to no end, which would be a bug.
pub fn run(args: &SimulateArgs) -> Result<u8, Failure> {
    let subject = match (&args.plan, args.random) {
        (Some(plan), _) => match of_plan(&plan.to_string_lossy(), args)? {
            Some(subject) => subject,
            None => return Ok(super::EXIT_INVALID),
        },
        (None, items) => at_random(items.unwrap_or_default() as usize, args),
    };
    if args.trace {
        speak::result(&trace(&subject, args)?)?;
        return Ok(0);
    }
    let simulation = simulate(&subject, args)?;
    let text = match args.format {
        SimulateFormat::Text => text(&simulation),
        SimulateFormat::Json => {
            let json = serde_json::to_string_pretty(&simulation).expect("it is made of strings and numbers");
            format!("{json}\n")
        }
        SimulateFormat::Svg => picture::svg(&simulation),
    };
    speak::result(&text)?;
    Ok(0)
}

/// From 0 to 100.
///
/// # Errors
/// Where it is none of these.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let percent: Result<f64, _> = text.trim_end_matches('%').parse();
    percent
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "not a number from 0 to 100".to_owned())
}

/// What is simulated.
struct Subject {
    scenario: Scenario,
    /// Its items are as other queues know them: without dependencies, with one gate for all that claims no limit.
    is_plain: bool,
    /// Its items were made up.
    is_random: bool,
    remembered_gates: u64,
    failures: FailureRate,
}

/// What a run of a gate takes of which nothing is known.
const UNKNOWN_GATE_SECONDS: u64 = 60;

fn at_random(items: usize, args: &SimulateArgs) -> Subject {
    let (items, gate) = independent(items);
    let policy = check("-", b"schemaVersion: v1\nitems: []\n").expect("a plan without items is one").plan.policy;
    let scenario = Scenario {
        graph: Arc::new(Graph::new(items, &[]).expect("nothing depends on anything")),
        limits: limits_beforehand(&policy),
        group_size: policy.group_size,
        policy: Arc::new(policy),
        gate_ms: HashMap::from([(gate, args.gate_seconds.unwrap_or(UNKNOWN_GATE_SECONDS) * MS_PER_SECOND)]),
        beforehand: Arc::default(),
    };
    Subject { scenario, is_plain: true, is_random: true, remembered_gates: 0, failures: FailureRate::ASSUMED }
}

/// The plan's items, dependencies and gates. `None` where there are problems, which are told by then.
fn of_plan(path: &str, args: &SimulateArgs) -> Result<Option<Subject>, Failure> {
    let checked = match read_plan(path) {
        Ok(checked) => checked,
        Err(invalid) => {
            let style = speak::diagnostics_style();
            speak::note(&diagnostics::text(&invalid.source_text, &invalid.problems, style));
            return Ok(None);
        }
    };
    let plan = checked.plan;
    let graph = Graph::new(plan.items, &[]).map_err(|_| Failure::internal("the plan has a dependency cycle"))?;
    let gates = || graph.indices().flat_map(|ix| graph.gates(ix));
    let Recalled { gates: taught, items: seen } = match (args.first_run, UserRepo::open(&args.repository.repo)) {
        (false, Ok(repo)) => durations::recall(repo.common_dir()),
        // A plan can be looked at anywhere.
        _ => Recalled::default(),
    };
    let taught: HashMap<DefinitionDigest, u64> = match args.gate_seconds {
        None => taught.into_iter().collect(),
        Some(_) => HashMap::new(),
    };
    let unknown_ms = args.gate_seconds.unwrap_or(UNKNOWN_GATE_SECONDS) * MS_PER_SECOND;
    let of_gate = |gate: &Arc<Gate>| (gate.definition, taught.get(&gate.definition).copied().unwrap_or(unknown_ms));
    let gate_ms: HashMap<_, _> = gates().map(of_gate).collect();
    let claims_nothing = gates().all(|gate| gate.resources.is_empty());
    let is_alone = |ix| graph.deps(ix).is_empty() && graph.gates(ix).len() == 1;
    let is_plain = gate_ms.len() == 1 && claims_nothing && graph.indices().all(is_alone);
    let scenario = Scenario {
        limits: limits_beforehand(&plan.policy),
        group_size: plan.policy.group_size,
        policy: Arc::new(plan.policy),
        gate_ms,
        graph: Arc::new(graph),
        beforehand: Arc::default(),
    };
    let remembered_gates = scenario.gate_ms.keys().filter(|gate| taught.contains_key(gate)).count() as u64;
    Ok(Some(Subject { scenario, is_plain, is_random: false, remembered_gates, failures: FailureRate::of(seen) }))
}

/// On what and with what chances, as the command line says or earlier runs do.
struct Terms {
    setting: Setting,
    rates: Rates,
    fail_percent: f64,
    workers: u32,
    workers_are_auto: bool,
}

impl Terms {
    fn of(subject: &Subject, args: &SimulateArgs) -> Self {
        let Subject { scenario, failures, .. } = subject;
        // A mean over earlier runs says no more than its first decimal.
        let fail_percent = args.fail.unwrap_or_else(|| (failures.rate * 1000.0).round() / 10.0);
        let gates = scenario.gate_ms.len().max(1) as u64;
        let workers = match args.max_workers {
            // Simulated workers take nothing of this machine.
            Some(MaxWorkers::Fixed(workers)) => workers,
            Some(MaxWorkers::Auto) => {
                let policy = Policy { max_workers: args.max_workers, ..Policy::clone(&scenario.policy) };
                limits_beforehand(&policy).max_workers
            }
            None => scenario.limits.max_workers,
        };
        let asked = args.max_workers.or(scenario.policy.max_workers);
        let setting = Setting {
            workers: workers as usize,
            gate_ms: scenario.gate_ms.values().sum::<u64>() / gates,
            spread: args.spread / 100.0,
            second_opinion: !args.no_second_opinion && scenario.limits.second_opinion,
            is_first_run: args.first_run,
        };
        let rates = Rates { fail: fail_percent / 100.0, clash: args.clash / 100.0, flake: args.flake / 100.0 };
        Self { setting, rates, fail_percent, workers, workers_are_auto: asked == Some(MaxWorkers::Auto) }
    }
}

/// Who is asked for and can be simulated here.
fn contestants(subject: &Subject, args: &SimulateArgs) -> Result<Vec<Contestant>, Failure> {
    let scenario = &subject.scenario;
    let has_gate_for_cones_alone =
        scenario.graph.indices().flat_map(|ix| scenario.graph.gates(ix)).any(|gate| gate.required && !gate.at.apex);
    let takes_part = |contestant: &Contestant| {
        let gates_no_cones = matches!(contestant, Contestant::Batch | Contestant::BatchForTime | Contestant::Train);
        let is_asked_for = args.only.is_empty() || args.only.iter().any(|part| contestant.name().contains(part));
        let is_possible = contestant.is_ours() || (subject.is_plain && !args.trace);
        is_possible && !(gates_no_cones && has_gate_for_cones_alone) && is_asked_for
    };
    let contestants: Vec<_> = Contestant::ALL.into_iter().filter(takes_part).collect();
    if contestants.is_empty() {
        let names = Contestant::ALL.map(Contestant::name).join("; ");
        return Err(Failure::usage("no strategy that could be simulated here is called so").with_hint(names));
    }
    Ok(contestants)
}

/// The picture of one run of each.
fn trace(subject: &Subject, args: &SimulateArgs) -> Result<String, Failure> {
    if args.format != SimulateFormat::Svg {
        return Err(Failure::usage("--trace draws a picture").with_hint("add --format svg"));
    }
    let Subject { scenario, is_random, .. } = subject;
    let Terms { setting, rates, workers, .. } = Terms::of(subject, args);
    let world = Arc::new(World::draw(scenario.graph.len(), rates, args.seed));
    let mut traces = Vec::new();
    for contestant in contestants(subject, args)? {
        let trace = contestant
            .trace(scenario, &world, &setting)
            .map_err(|error| Failure::internal(format!("{}: {error}", contestant.name())))?;
        traces.extend(trace.map(|trace| (contestant.name(), trace)));
    }
    let names = scenario.graph.indices().map(|ix| scenario.graph.name(ix).as_str());
    Ok(timeline::svg(&timeline::Timelines {
        // Those that were made up here are called by their numbers.
        names: if *is_random { Vec::new() } else { names.collect() },
        world: &world,
        workers,
        gate_ms: setting.gate_ms,
        traces,
    }))
}

fn simulate(subject: &Subject, args: &SimulateArgs) -> Result<Simulation, Failure> {
    let Subject { scenario, is_plain, remembered_gates, failures, .. } = subject;
    let is_plain = *is_plain;
    let Terms { setting, rates, fail_percent, workers, workers_are_auto } = Terms::of(subject, args);
    // Behind the last seed is the first.
    let seeds = || (0..args.runs).map(|nth| args.seed.wrapping_add(nth));
    let strategies: Result<Vec<_>, Failure> = contestants(subject, args)?
        .into_iter()
        .map(|contestant| {
            let figures = contestant
                .compete(scenario, rates, &setting, seeds())
                .map_err(|error| Failure::internal(format!("{}: {error}", contestant.name())))?;
            Ok(StrategyFigures { name: contestant.name().to_owned(), ours: contestant.is_ours(), figures })
        })
        .collect();
    let left_out = (!is_plain).then(|| {
        "other queues are compared on items without dependencies that share one gate and claim no limit, and these are others".to_owned()
    });
    Ok(Simulation {
        simulation_version: SIMULATION_VERSION,
        items: scenario.graph.len() as u64,
        workers,
        workers_are_auto,
        gate_seconds: setting.gate_ms as f64 / MS_PER_SECOND as f64,
        remembered_gates: *remembered_gates,
        spread_percent: args.spread,
        fail_percent,
        fail_is_remembered: args.fail.is_none() && failures.is_learned,
        clash_percent: args.clash,
        flake_percent: args.flake,
        second_opinion: setting.second_opinion,
        runs: args.runs,
        seed: args.seed,
        fewest_gate_runs: (is_plain && args.clash == 0.0 && fail_percent < 100.0).then(|| entropy_bound(rates.fail)),
        strategies: strategies?,
        left_out,
    })
}

fn text(simulation: &Simulation) -> String {
    let plural = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let spread =
        if simulation.spread_percent > 0.0 { format!(" ± {} %", simulation.spread_percent) } else { String::new() };
    let remembered = match simulation.remembered_gates {
        0 => String::new(),
        gates => format!(" ({} as earlier runs had them)", plural(gates, "gate")),
    };
    let auto = if simulation.workers_are_auto { " (auto: one a core, as virtual time measures no load)" } else { "" };
    let mut text = format!(
        "{}, {}{auto}, gates of {}{spread}{remembered}; {} %{} fail, {} % clash, {} % of gate runs lie\n",
        plural(simulation.items, "item"),
        plural(simulation.workers.into(), "worker"),
        span(simulation.gate_seconds),
        simulation.fail_percent,
        if simulation.fail_is_remembered { ", as in earlier runs," } else { "" },
        simulation.clash_percent,
        simulation.flake_percent,
    );
    let _ = writeln!(
        text,
        "mean of {} from seed {}, for each item that landed:\n",
        plural(simulation.runs, "run"),
        simulation.seed
    );
    let wide = simulation.strategies.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let _ = writeln!(
        text,
        "{:wide$}  gate runs  again  gate time      all landed after  wait of half / 90 % / 99 %  wrongly out",
        "strategy"
    );
    for StrategyFigures { name, figures, .. } in &simulation.strategies {
        let wait = &figures.wait_seconds;
        let _ = writeln!(
            text,
            "{name:wide$}  {:9.3}  {:5.3}  {:>9}  {:>20}  {:>26}  {:>9.2} %",
            figures.gate_runs_per_landed_item,
            figures.second_opinions_per_landed_item,
            span(figures.gate_seconds_per_landed_item),
            span(figures.makespan_seconds),
            format!("{} / {} / {}", span(wait.p50), span(wait.p90), span(wait.p99)),
            figures.wrong_ejections_per_hundred_items,
        );
    }
    if let Some(fewest) = simulation.fewest_gate_runs {
        let _ = writeln!(text, "{:wide$}  {fewest:9.3}  as many bits as who fails has", "at least");
    }
    let wrong: u64 = simulation.strategies.iter().map(|one| one.figures.wrong_landings).sum();
    if wrong > 0 {
        let _ = writeln!(text, "\n{} landed that should not have", plural(wrong, "item"));
    }
    if let Some(left_out) = &simulation.left_out {
        let _ = writeln!(text, "\n{left_out}");
    }
    text
}

/// A time of simulated seconds.
fn span(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not below 0")]
    let ms = (seconds * 1000.0).round() as u64;
    wording::duration(ms)
}
