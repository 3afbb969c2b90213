//! `lexpr doctor`: whether a run could begin here, and what of it would be missing. Looks, and changes nothing.

mod ci_service;
mod machine;
mod places;
mod repository;
mod runtime;

use std::path::PathBuf;

use clap::Args;
use tokio::sync::watch;

use super::failure::Failure;
use super::{CheckFormat, RepositoryArgs, conduct, signals, speak};
use crate::doctor::{Check, Checkup, Finding, Mark, text};
use crate::engine::exit;
use crate::git::repo::{RepoError, UserRepo};
use crate::git::version::GitVersion;
use crate::ports::PortError;
use crate::wording::{Paint, shown};

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is changed. Exit codes: 0 a run can begin, whatever warnings say; 1 something failed, or \
lexpr itself did; 2 the command line or the plan is invalid; 130 a runtime was being proved and you stopped that."
)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// The branch to land on; the default is main, master or trunk, whichever there is, else what is checked out
    #[arg(long, value_name = "REF")]
    pub target: Option<String>,
    /// Prove a runtime instead: run a gate that passes, one that fails and one that is cancelled, in a small repository
    /// made for that; a CI service judges the plan's target
    #[arg(long, value_name = "NAME", conflicts_with = "target")]
    pub runtime: Option<String>,
    /// The plan that has the runtime; default: plan.yaml
    #[arg(long, value_name = "PLAN", requires = "runtime")]
    pub plan: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
}

/// Runs the command. What is wrong is its answer, with exit code 1.
///
/// # Errors
/// Where standard output cannot be written, or there is no such runtime.
pub fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let checkup = Checkup::new(match &args.runtime {
        Some(name) => runtime::findings(name, args)?,
        None => findings(args),
    });
    match args.format {
        CheckFormat::Text => speak::result(&text(&checkup, Paint::for_stream(&std::io::stdout())))?,
        CheckFormat::Json => {
            let json = serde_json::to_value(&checkup).expect("a checkup is made of strings");
            speak::result(&format!("{json:#}\n"))?;
        }
    }
    Ok(if checkup.healthy { exit::ALL_LANDED } else { exit::LEXPR_FAILED })
}

fn findings(args: &DoctorArgs) -> Vec<Finding> {
    let mut findings = vec![git(GitVersion::installed().map_err(RepoError::from))];
    match UserRepo::open(&args.repository.repo) {
        Ok(repo) => {
            findings.extend(repository::findings(&repo, args.target.as_deref()));
            findings.extend(places::of_repository(&repo));
            findings.extend(repository::what_runs_left(&repo));
        }
        Err(RepoError::GitTooOld { .. } | RepoError::Git(_)) if findings[0].mark == Mark::Fail => {
            findings.push(Finding::fail(Check::Repository, "not looked at, for want of a git that can"));
        }
        Err(error) => findings.push(failed(Check::Repository, error.into())),
    }
    findings.extend(places::of_user());
    findings.extend(machine::findings());
    findings
}

fn git(installed: Result<GitVersion, RepoError>) -> Finding {
    let update = "install git 2.41 or newer";
    match installed {
        Err(error) => failed(Check::GitVersion, error.into()),
        Ok(version) if version < GitVersion::OLDEST => {
            let found = RepoError::GitTooOld { installed: version }.to_string();
            Finding::fail(Check::GitVersion, found).remedy(update)
        }
        Ok(version) if version < GitVersion::ATTR_SOURCE => Finding::warn(Check::GitVersion, version.to_string())
            .meaning(
                "before 2.41 merges that attributes decide (merge, text, eol, … in .gitattributes) are refused, and each \
                 merge takes a process of its own",
            )
            .remedy(update),
        Ok(version) => Finding::ok(Check::GitVersion, version.to_string())
            .meaning("it merges in memory (2.38), many in one process and by any tree's attributes (2.41)"),
    }
}

/// Tries something on a runtime, so that Ctrl-C leaves nothing of it: the first signal turns the receiver true, after which
/// `tries` ends what runs and clears up; the second ends lexpr at once.
///
/// # Errors
/// Where it was stopped.
fn until_stopped<Tries: Future<Output = Result<Vec<Finding>, Failure>>>(
    tries: impl FnOnce(watch::Receiver<bool>) -> Tries,
) -> Result<Vec<Finding>, Failure> {
    let (stop, stopped) = watch::channel(false);
    let found =
        conduct::see_through(conduct::runtime(1)?, async { signals::until_stopped(tries(stopped), &stop).await });
    let Some(found) = found else { std::process::exit(i32::from(exit::INTERRUPTED)) };
    match found {
        Ok(findings) if *stop.borrow() => {
            let left = findings.iter().filter(|finding| finding.mark == Mark::Fail);
            left.for_each(|finding| speak::must_know(&format!("{}\n", shown(&finding.found))));
            Err(Failure::interrupted("you stopped the trials; nothing is proved"))
        }
        found => found,
    }
}

/// Comes back when whoever waits for the trials wants no more of them.
async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// As somebody typed it, more or less.
fn command_of(name: &str) -> String {
    format!("lexpr doctor --runtime {name}")
}

/// Something of the trials may be left on a runtime.
fn not_cleared(name: &str, error: &PortError) -> Finding {
    Finding::fail(Check::Runtime, format!("{name}: {error}"))
        .meaning("something of the trials may be left there")
        .remedy("`lexpr clean` takes it away, once that works")
}

/// Says what is about to be tried: it may take a while.
fn trying(name: &str, what: &str) {
    speak::note(&format!("{}: {what} …\n", shown(name)));
}

/// What kept a thing from being looked at.
fn failed(check: Check, failure: Failure) -> Finding {
    let finding = Finding::fail(check, failure.message);
    failure.hint.into_iter().fold(finding, Finding::remedy)
}
