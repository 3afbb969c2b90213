//! What `lexpr plan` can be asked on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::{CheckFormat, RepositoryArgs};

/// An option that takes several words would take those of GLOB, too, so that these stand before it.
const USAGE: &str = "lexpr plan [OPTIONS] [GLOB]...
       lexpr plan --update <FILE> [GLOB]... [--remove <ITEM>...]
       lexpr plan diff <BEFORE> <AFTER>";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, override_usage = USAGE)]
pub struct PlanArgs {
    #[command(subcommand)]
    pub command: Option<PlanCommand>,
    /// Branches to land: a name or a glob such as 'feature/*' (or 'origin/feature/*'); * stops at a slash, ** does not.
    /// Without any, all local branches; with --update, none beside those of the plan
    #[arg(value_name = "GLOB")]
    pub globs: Vec<String>,
    /// The same, for names that are also words of this command
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub branches: Vec<String>,
    #[command(flatten)]
    pub onto: OntoArgs,
    /// A gate that every item gets; may be given several times. Without any, they are guessed from the repository
    #[arg(long = "gate", value_name = "NAME=COMMAND")]
    pub gates: Vec<String>,
    /// Write the plan to a file that is not there yet
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Ask which branches, which gates and where to
    #[arg(long)]
    pub interactive: bool,
    /// Bring a plan up to date: branches that match and new dependencies come in, what has landed goes; all else, comments
    /// included, stays as it stands. What is commented out stays out. An item whose branch is gone goes where a run landed
    /// it; else it is told of, and stays. Its items are entries of a YAML list, each beginning a line with `- `: a plan in JSON
    /// is written by hand. The plan says what it lands on and by which gates: --base, --target, --gate, --output and
    /// --interactive are for new plans
    #[arg(long, value_name = "FILE", conflicts_with_all = ["base", "target", "gates", "output", "interactive"])]
    pub update: Option<PathBuf>,
    /// With --update: take these items out, whatever the repository says of them: they have landed in some other way, or are
    /// not wanted any more. Nobody waits for them then. Globs stand before it
    #[arg(long, value_name = "ITEM", num_args = 1.., requires = "update")]
    pub remove: Vec<String>,
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// What branches are to land on, and what they are compared with.
#[derive(Debug, Args)]
pub struct OntoArgs {
    /// What branches are compared with: any revision. Those that it has need no landing, and what it has makes no stack.
    /// The default is the target
    #[arg(long, value_name = "REF")]
    pub base: Option<String>,
    /// The branch to land on; the default is --base where that is a local branch, else main, master or trunk, whichever
    /// there is, else what is checked out
    #[arg(long, value_name = "BRANCH")]
    pub target: Option<String>,
}

impl PlanArgs {
    pub(super) fn all_globs(&self) -> Vec<String> {
        self.globs.iter().chain(&self.branches).cloned().collect()
    }
}

#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Say what differs between two plans, whatever their order and spelling
    Diff(PlanDiffArgs),
}

#[derive(Debug, Args)]
pub struct PlanDiffArgs {
    /// The plan as it was, or - for standard input
    pub before: PathBuf,
    /// The plan as it is
    pub after: PathBuf,
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
}
