//! The command line: what can be asked, in words a person can learn from, and the exit code of
//! each answer. The commands themselves are in the modules beside this one.

mod cache;
pub mod check;
pub mod clean;
mod clearing;
mod conduct;
mod credentials;
pub mod demo;
pub mod doctor;
mod dry_run;
mod expected;
mod faces;
pub mod failure;
pub mod forecast;
pub mod gate_run;
mod given;
pub mod init;
mod lasting;
mod leftovers;
mod man;
pub mod merge;
mod missing_checks;
mod on_finish;
pub mod order;
mod outlook;
mod overriding;
pub mod plan;
mod prepare;
mod rehearsed;
mod report;
pub mod resume;
pub mod runs;
pub mod schema;
mod scratch;
mod signals;
mod simulate;
pub mod source;
mod speak;
pub mod status;
mod tidying;
mod turns;
pub mod undo;
pub mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
pub use plan::args::{PlanArgs, PlanCommand, PlanDiffArgs};
pub use report::{ReportArgs, ReportFormat, WhyArgs};

use crate::gate::guard;
use crate::plan::MaxWorkers;
use failure::{EXIT_INVALID, Failure};

/// Lands many branches at once, and moves the target only to a tree that passed.
#[derive(Debug, Parser)]
#[command(name = "lexpr", version, max_term_width = 100)]
#[command(after_help = "Start with `lexpr demo`: it makes a small repository, lands a dozen branches in it and \
says where everything lies. In your own repository, `lexpr plan 'feature/*' --gate test='make test' > plan.yaml` \
writes a plan, `lexpr merge plan.yaml` shows what would happen, and `lexpr merge plan.yaml --execute` does it.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Land the items of a plan; without --execute, only show what would happen
    Merge(MergeArgs),
    /// Write a plan and a file for CI, where there are none yet
    Init(init::InitArgs),
    /// Print a plan for the branches that match
    Plan(PlanArgs),
    /// Say all that is wrong with a plan
    Check(CheckArgs),
    /// Show a plan's levels and the order in which its items land
    Order(OrderArgs),
    /// Say which items of a plan clash, in which order most land, and what it all will likely cost
    Forecast(ForecastArgs),
    /// Simulate landing a plan, or so many items, by each strategy and as other queues would
    Simulate(SimulateArgs),
    /// Print the JSON schema of a plan, a report, an event, a forecast, a simulation or a checkup
    Schema(SchemaArgs),
    /// Go on with a run that was killed, interrupted or could not move the target
    Resume(ResumeArgs),
    /// Put the target back to where it was before a run landed; once more undoes that
    Undo(UndoArgs),
    /// Make what landed again from its receipt, and say whether it is what the receipt claims
    Verify(VerifyArgs),
    /// Say what a run did, from its journal
    Status(StatusArgs),
    /// Write what a run did as a page, for CI servers, as a trace, as JSON or as Markdown
    Report(ReportArgs),
    /// Say why an item of a run is what it is, and what would change that
    Why(WhyArgs),
    /// Run one gate of an item again where a run judged it, or open a shell there
    Gate(gate_run::GateArgs),
    /// List this repository's runs, the newest first
    Runs(RunsArgs),
    /// Remove what finished runs left: journals, logs, artifacts, receipts, slots
    Clean(CleanArgs),
    /// Say what is remembered of gates from run to run, forget it, or explain why one had to run
    Cache(CacheArgs),
    /// Say whether a run could begin here, and what of it would be missing
    Doctor(doctor::DoctorArgs),
    /// Make a small repository with a dozen branches and land them
    Demo(DemoArgs),
    /// Print the completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write those of all commands to a folder
    Man {
        /// The folder: a page for each command, such as lexpr-merge.1; made where it is missing
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Watch over the gates of one worker; started by lexpr itself
    #[command(hide = true)]
    Guard,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all landed, or the dry run is clean; 1 lexpr itself failed; 2 the plan or the \
command line is invalid; 3 the run ended but an item failed, conflicted, is blocked or unjudged; 4 the target could \
not be moved; 130 interrupted.")]
pub struct MergeArgs {
    /// The plan: a YAML or JSON file, or - for standard input
    pub plan: PathBuf,
    /// Run the gates and move the target; without it nothing is changed
    #[arg(long)]
    pub execute: bool,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Land on this branch instead of the plan's target
    #[arg(long, value_name = "REF")]
    pub target: Option<String>,
    /// Gate at most N composites at once; auto: as many as the machine has room for and get more done
    #[arg(long, value_name = "N|auto", allow_negative_numbers = true)]
    pub max_workers: Option<MaxWorkers>,
    /// How long a gate without a timeout of its own may run
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub gate_timeout: Option<u64>,
    /// Have this runtime run all gates: one of the plan's `policy.runtimes`, container, or local
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// Where gates' artifacts are kept; default: in the run's folder
    #[arg(long, value_name = "DIR")]
    pub artifact_dir: Option<PathBuf>,
    #[command(flatten)]
    pub faces: FaceArgs,
    /// Push each landing to this remote, too, before the local branch moves
    #[arg(long, value_name = "REMOTE")]
    pub push: Option<String>,
    /// Land unsigned commits although commit.gpgSign is set
    #[arg(long)]
    pub no_sign: bool,
    /// Stop after so long as Ctrl-C does, to be resumed
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub deadline: Option<u64>,
    /// Wait while another run has the target, instead of refusing
    #[arg(long)]
    pub wait: bool,
    /// Land beside the run that has the target, which goes on from there and runs no gate of an item again
    #[arg(long, requires = "execute", conflicts_with = "wait")]
    pub urgent: bool,
    #[command(flatten)]
    pub overrides: overriding::OverrideArgs,
    /// Start a new run although one of the same plan has not come to its end
    #[arg(long)]
    pub afresh: bool,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run's id, or the beginning of it; default: the newest that has not come to its end
    pub run: Option<String>,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Gate at most N composites at once; auto: as many as the machine has room for and get more done
    #[arg(long, value_name = "N|auto", allow_negative_numbers = true)]
    pub max_workers: Option<MaxWorkers>,
    #[command(flatten)]
    pub faces: FaceArgs,
    /// Stop after so long as Ctrl-C does, to be resumed
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub deadline: Option<u64>,
    /// Wait while another run has the target, instead of refusing
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is moved where the target is not where the run left it: what others built on top stays. \
Exit codes: 0 undone; 1 lexpr itself failed; 2 there is no such run, or nothing to undo; 4 the target could not be moved."
)]
pub struct UndoArgs {
    /// The run's id, or the beginning of it
    pub run: String,
    /// Move the target of the remote that the run pushed to, too
    #[arg(long)]
    pub push: bool,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Wait while another run has the target, instead of refusing
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all that could be checked is as claimed; 1 lexpr itself failed; 2 there is no such \
receipt or run, or it is none that lexpr could have written; 3 something differs, or the composite cannot be made again."
)]
pub struct VerifyArgs {
    /// A receipt's file, or a run's id or the beginning of it for all its receipts
    #[arg(value_name = "RECEIPT|RUN")]
    pub subject: String,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
}

/// How a run is shown and measured.
#[derive(Clone, Debug, Args)]
pub struct FaceArgs {
    /// Write a report at the end, also of a dry run: what FILE ends in says the form, .json, .md, .html, .xml (JUnit) or
    /// .trace (Perfetto); - for JSON on standard output; may be given several times
    #[arg(long, value_name = "FILE")]
    pub report: Vec<PathBuf>,
    /// Serve /metrics and /healthz here while the run goes on, for example 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_addr: Option<String>,
    /// Write the metrics here when the run has ended, for a textfile collector
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,
    /// Keep serving the metrics for so long after the run
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub metrics_linger: u64,
    /// How the run is shown
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto)]
    pub progress: ProgressKind,
    /// Say nothing but errors and what keeps the run from its end; the exit code and reports tell the rest
    #[arg(long, conflicts_with = "progress")]
    pub quiet: bool,
    /// Run this command when the run has ended, however it did: the JSON report on its standard input, LEXPR_RUN,
    /// LEXPR_EXIT_CODE, LEXPR_TARGET and LEXPR_REPOSITORY in its environment
    #[arg(long, value_name = "COMMAND")]
    pub on_finish: Option<String>,
}

impl FaceArgs {
    /// How the run is shown, with `--quiet` heeded.
    fn shown_as(&self) -> ProgressKind {
        if self.quiet { ProgressKind::None } else { self.progress }
    }
}

#[derive(Clone, Debug, Args)]
pub struct RepositoryArgs {
    /// The repository, or any folder in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub repo: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// Live on a terminal, plain lines elsewhere
    Auto,
    Live,
    Plain,
    /// Every event as a line of JSON on standard output
    Json,
    None,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The plan: a YAML or JSON file, or - for standard input
    pub plan: PathBuf,
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct OrderArgs {
    /// The plan: a YAML or JSON file, or - for standard input
    pub plan: PathBuf,
    #[arg(long, value_enum, default_value_t = OrderFormat::Text)]
    pub format: OrderFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrderFormat {
    Text,
    Json,
    Dot,
    Mermaid,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Who fails, who clashes and which gate runs lie is drawn from the seed, the same for every strategy. Of a \
repository only what earlier runs taught is read. Exit codes: 0 simulated; 1 lexpr itself failed; 2 the plan or the command line is invalid."
)]
pub struct SimulateArgs {
    /// The plan: a YAML or JSON file, or - for standard input
    #[arg(required_unless_present = "random", conflicts_with = "random")]
    pub plan: Option<PathBuf>,
    /// So many items instead, without dependencies and with one gate
    #[arg(long, value_name = "ITEMS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub random: Option<u32>,
    /// Gates that run at once; auto: one a core, as there is no load to measure in virtual time; default: as the plan
    /// or the machine has it
    #[arg(long, value_name = "N|auto", allow_negative_numbers = true)]
    pub max_workers: Option<MaxWorkers>,
    /// Of a hundred items, how many fail by themselves; default: as many as in earlier runs, or 5
    #[arg(long, value_name = "PERCENT", value_parser = simulate::parse_percent)]
    pub fail: Option<f64>,
    /// Of a hundred items, how many pass by themselves and fail beside another
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = simulate::parse_percent)]
    pub clash: f64,
    /// Of a hundred gate runs, how many fail for no reason
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = simulate::parse_percent)]
    pub flake: f64,
    /// What a run of a gate takes; default: what it took in earlier runs, or 60
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub gate_seconds: Option<u64>,
    /// How far runs of one gate lie apart: their standard deviation, of a hundred parts of their mean
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = simulate::parse_percent)]
    pub spread: f64,
    /// Only strategies whose names have this in them; may be given several times
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// How many runs of each the figures are the mean of
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub runs: u64,
    /// Where chance begins: the same seed, the same figures
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// As in a repository without earlier runs, of which nothing is known
    #[arg(long)]
    pub first_run: bool,
    /// Eject on the first failure
    #[arg(long)]
    pub no_second_opinion: bool,
    /// With --format svg: draw one run of each of lexpr's own strategies over time, instead of what they all cost
    #[arg(long)]
    pub trace: bool,
    #[arg(long, value_enum, default_value_t = SimulateFormat::Text)]
    pub format: SimulateFormat,
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SimulateFormat {
    Text,
    Json,
    /// A picture
    Svg,
}

#[derive(Debug, Args)]
#[command(
    after_help = "No gate runs, and nothing is written to the repository. Exit codes are those of a dry run: 0 all \
would land; 1 lexpr itself failed; 2 the plan or the command line is invalid; 3 an item would not land."
)]
pub struct ForecastArgs {
    /// The plan: a YAML or JSON file, or - for standard input
    pub plan: PathBuf,
    #[arg(long, value_enum, default_value_t = ForecastFormat::Text)]
    pub format: ForecastFormat,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Land on this branch instead of the plan's target
    #[arg(long, value_name = "REF")]
    pub target: Option<String>,
    /// Gate at most N composites at once; auto: as many as the machine has room for and get more done
    #[arg(long, value_name = "N|auto", allow_negative_numbers = true)]
    pub max_workers: Option<MaxWorkers>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForecastFormat {
    Text,
    Json,
    /// One page for a browser, with nothing loaded from elsewhere
    Html,
}

#[derive(Debug, Args)]
pub struct SchemaArgs {
    #[arg(value_enum)]
    pub of: SchemaOf,
    /// As a page for people; of a plan alone
    #[arg(long)]
    pub markdown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    Plan,
    Report,
    Event,
    Simulation,
    Forecast,
    Doctor,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The run's id, or the beginning of it; default: the newest
    pub run: Option<String>,
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

#[derive(Debug, Args)]
pub struct RunsArgs {
    #[command(flatten)]
    pub repository: RepositoryArgs,
    #[arg(long, value_enum, default_value_t = RunsFormat::Text)]
    pub format: RunsFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunsFormat {
    Text,
    /// A list, with what the table shows and some more
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "A run that is going on is never touched, and one that can be resumed only where it is named. \
Slots are caches: a run makes those it needs. Receipts are evidence of what landed; keep a copy of those that matter.")]
pub struct CleanArgs {
    /// The runs to remove, by id or the beginning of it; default: all that came to their end, and slots
    pub runs: Vec<String>,
    /// Leave what was used within this time: 7d, 12h or 30m
    #[arg(long, value_name = "DURATION", value_parser = clean::parse_age)]
    pub older_than: Option<std::time::Duration>,
    /// Only show what would go
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    pub command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// How much is remembered, and how often that was of use
    Stats(CacheFolderArgs),
    /// Forget every verdict: each gate runs again
    Clear(CacheFolderArgs),
    /// Say in what a gate's verdict in a run differs from the nearest one that other runs left
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
pub struct CacheFolderArgs {
    #[command(flatten)]
    pub repository: RepositoryArgs,
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The gate's name
    pub gate: String,
    /// The item that has it
    pub item: String,
    /// The run's id, or the beginning of it; default: the newest
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where to make the repository; default: a new temporary folder
    pub dir: Option<PathBuf>,
    /// How the run is shown
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto)]
    pub progress: ProgressKind,
}

/// Reads the command line, does what it asks and returns the exit code.
pub fn main() -> ExitCode {
    // A guard has no use for anything that stands between here and there.
    if std::env::args_os().nth(1).is_some_and(|command| command == "guard") {
        return guard::run();
    }
    // A panic has said what it is about. It is lexpr's failure: what is on record stays.
    ExitCode::from(std::panic::catch_unwind(answer).unwrap_or_else(|_| {
        let failure = Failure::internal("lexpr broke off").with_hint(
            "please report this with what stands above, unless the machine or its limits (`ulimit -a`) left too little; \
             a run it was at goes on with `lexpr resume`",
        );
        speak::must_know(&failure.text());
        failure.exit_code
    }))
}

fn answer() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are errors to clap, and belong on standard output.
            let code = u8::try_from(error.exit_code()).unwrap_or(EXIT_INVALID);
            // Somebody who closed the stream does not want to read it.
            let _ = error.print();
            return code;
        }
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            speak::must_know(&failure.text());
            failure.exit_code
        }
    }
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Merge(args) => merge::run(args).map(|outcome| outcome.exit_code),
        Command::Resume(args) => resume::run(&args).map(|outcome| outcome.exit_code),
        Command::Undo(args) => undo::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Check(args) => {
            let format = match args.format {
                CheckFormat::Text => check::Format::Text(speak::stdout_style()),
                CheckFormat::Json => check::Format::Json,
            };
            speak::with_stdout(|out| check::run(&args.plan.to_string_lossy(), format, out))
        }
        Command::Order(args) => {
            let format = match args.format {
                OrderFormat::Text => order::Format::Text,
                OrderFormat::Json => order::Format::Json,
                OrderFormat::Dot => order::Format::Dot,
                OrderFormat::Mermaid => order::Format::Mermaid,
            };
            speak::with_stdout(|out| {
                let (plan, style) = (args.plan.to_string_lossy(), speak::diagnostics_style());
                order::run(&plan, format, style, out, &mut speak::stderr())
            })
        }
        Command::Simulate(args) => simulate::run(&args),
        Command::Forecast(args) => forecast::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Why(args) => report::why(&args),
        Command::Status(args) => status::run(&args),
        Command::Gate(args) => match args.command {
            gate_run::GateCommand::Run(args) => gate_run::run(&args),
        },
        Command::Runs(args) => runs::run(&args),
        Command::Clean(args) => clean::run(&args),
        Command::Cache(args) => cache::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lexpr", &mut script);
            speak::with_stdout(|out| out.write_all(&script).map(|()| 0))
        }
        Command::Man { output } => man::run(output.as_deref()),
        Command::Guard => Err(Failure::internal("a guard is started before anything else")),
    }
}
