//! `lexpr plan`: writes a plan for the branches that match, brings one up to date, or says how two differ.

pub mod args;
mod ask;
mod diff;
mod gone;
mod survey;
mod update;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use args::OntoArgs;
use survey::Base;

use super::failure::{EXIT_INVALID, Failure};
use super::{PlanArgs, PlanCommand, speak};
use crate::diagnostics;
use crate::draft::gates::{FILES_READ, GuessedGate, guess};
use crate::draft::{Draft, DraftGate, plan_text};
use crate::git::branches::{self, Branch, BranchGlobs};
use crate::git::own_commits::root_files;
use crate::git::repo::{Named, Target, UserRepo};
use crate::plan::check::Invalid;
use crate::plan::natural::natural_cmp;
use crate::vocabulary::names::CommitId;
use crate::wording::{count, shell_word, shown};

/// Runs the command.
///
/// # Errors
/// Where the repository cannot be used, a glob or a gate is malformed, or nothing matches.
pub fn run(args: &PlanArgs) -> Result<u8, Failure> {
    match (&args.command, &args.update) {
        (Some(PlanCommand::Diff(args)), _) => diff::run(args),
        (None, Some(file)) => update::run(args, file),
        (None, None) => write(args),
    }
}

fn write(args: &PlanArgs) -> Result<u8, Failure> {
    let named = named_gates(&args.gates)?;
    if args.interactive && !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Failure::usage("--interactive: there is no terminal to ask on"));
    }
    if let Some(file) = args.output.as_deref().filter(|file| file.exists()) {
        return Err(exists(file));
    }
    let repo = UserRepo::open(&args.repository.repo)?;
    let mut draft = drafted(&repo, &args.all_globs(), &args.onto, named)?;
    let mut output = args.output.clone();
    if args.interactive {
        ask::shape(&mut draft, &mut output)?;
    }
    tell_of(&draft);
    let text = plan_text(&draft);
    let Some(file) = output else {
        speak::result(&text)?;
        return Ok(0);
    };
    create(&file, &text)?;
    let name = file.display().to_string();
    speak::note(&format!(
        "{}: {} to land on {}\n",
        shown(&name),
        count(draft.items.len(), "item"),
        shown(&draft.target)
    ));
    speak::note(&format!("next: lexpr merge {} shows what would happen, --execute does it\n", shown(&name)));
    Ok(0)
}

/// A plan for the branches that match, with these gates or, where there are none, guessed ones.
///
/// # Errors
/// Where there is no such target, a glob is malformed, or nothing matches.
pub(super) fn drafted(
    repo: &UserRepo,
    globs: &[String],
    onto: &OntoArgs,
    named: Vec<DraftGate>,
) -> Result<Draft, Failure> {
    let all = branches::all(repo.git())?;
    let short = |name: &str| name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
    let is_local = |name: &&str| all.iter().any(|branch| branch.is_local && branch.name == short(name));
    let base = onto.base.as_deref();
    let target = target(repo, &all, onto.target.as_deref().or_else(|| base.filter(is_local)))?;
    let base = match base {
        None => Base::of(&target),
        Some(base) => Base { commit: commit(repo, base)?, name: shown(&short(base)).into_owned() },
    };
    let chosen = matching(globs, &all, target.short_name())?;
    if chosen.is_empty() && globs.is_empty() {
        let name = shown(target.short_name()).into_owned();
        return Err(Failure::usage(format!("there is no local branch beside {name} to be landed"))
            .with_hint("make one, or name those of a remote: 'origin/**'"));
    }
    if chosen.is_empty() {
        return Err(Failure::usage("no branch matches").with_hint("quote globs, and see `git branch --all`"));
    }
    let facts = survey::facts(repo, &target, &base, &chosen, &all)?;
    let mut draft = Draft::of(target.short_name().to_owned(), &facts);
    draft.gates = named;
    if draft.gates.is_empty() {
        let guess = guess(&root_files(repo.git(), target.commit, &FILES_READ)?);
        let guessed = |gate: GuessedGate| DraftGate { name: gate.name, run: gate.run, why: Some(gate.why) };
        draft.gates = guess.gates.into_iter().map(guessed).collect();
        draft.setup = guess.setup;
        draft.other_gates = guess.others;
    }
    Ok(draft)
}

/// What a person should know of a draft: what it leaves out, and what was guessed.
pub(super) fn tell_of(draft: &Draft) {
    for (name, why) in &draft.left_out {
        speak::note(&format!("left out {}: {why}\n", shown(name)));
    }
    if draft.gates.is_empty() && !draft.items.is_empty() {
        speak::note(
            "warning: no gate was found, so nothing would judge what lands: name one with --gate NAME=COMMAND, or write \
             `gates` into the plan\n",
        );
    }
    for gate in &draft.gates {
        if let Some(why) = &gate.why {
            speak::note(&format!("guessed the gate {}: {}, as {}\n", shown(&gate.name), shown(&gate.run), shown(why)));
        }
    }
}

/// Shows what is wrong with a plan.
fn invalid(invalid: &Invalid) -> Failure {
    speak::note(&diagnostics::text(&invalid.source_text, &invalid.problems, speak::diagnostics_style()));
    Failure::shown(EXIT_INVALID)
}

/// The gates of the command line.
pub(super) fn named_gates(gates: &[String]) -> Result<Vec<DraftGate>, Failure> {
    let mut named: Vec<DraftGate> = Vec::new();
    for gate in gates {
        let (name, run) = parse_gate(gate)?;
        if named.iter().any(|other| other.name == name) {
            return Err(Failure::usage(format!("--gate: there are two gates named {}", shown(name))));
        }
        named.push(DraftGate { name: name.to_owned(), run: run.to_owned(), why: None });
    }
    Ok(named)
}

fn parse_gate(gate: &str) -> Result<(&str, &str), Failure> {
    match gate.split_once('=') {
        Some((name, command)) if !name.is_empty() && !command.is_empty() => Ok((name, command)),
        _ => Err(Failure::usage(format!("--gate {gate:?} is not of the form NAME=COMMAND"))
            .with_hint("for example --gate test='cargo test'")),
    }
}

/// What a plan lands on where nobody says so: the first of these that is a branch, else what is checked out.
const USUAL_TARGETS: [&str; 3] = ["main", "master", "trunk"];

pub(super) fn target(repo: &UserRepo, all: &[Branch], named: Option<&str>) -> Result<Target, Failure> {
    let no_items: [Named<'_>; 0] = [];
    let usual = || USUAL_TARGETS.into_iter().find(|name| all.iter().any(|branch| branch.name == *name));
    let name = match named.or_else(usual) {
        Some(name) => name.to_owned(),
        None => branches::checked_out(repo.git())?.ok_or_else(|| {
            Failure::usage("there is no branch main, master or trunk, and no branch is checked out")
                .with_hint("name the branch to land on with --target")
        })?,
    };
    Ok(repo.resolve(&name, &no_items)?.target)
}

/// The commit that `--base` names.
fn commit(repo: &UserRepo, base: &str) -> Result<CommitId, Failure> {
    repo.commit(base)?.ok_or_else(|| {
        Failure::usage(format!("--base {}: there is no such branch or revision", shown(base)))
            .with_hint("see `git branch --all` and `git tag`")
    })
}

/// The branches that match, the target left out, in natural order; without globs all local ones.
fn matching(globs: &[String], all: &[Branch], target: &str) -> Result<Vec<Branch>, Failure> {
    let everywhere = BranchGlobs::new(globs).map_err(|error| Failure::usage(error.to_string()))?;
    let is_meant = |branch: &&Branch| if globs.is_empty() { branch.is_local } else { everywhere.matches(&branch.name) };
    let mut chosen: Vec<Branch> = all.iter().filter(|branch| branch.name != target).filter(is_meant).cloned().collect();
    for pattern in everywhere.without_a_match(&chosen) {
        let is_target = BranchGlobs::new(&[pattern.to_owned()]).is_ok_and(|glob| glob.matches(target));
        let but = if is_target { " but the target" } else { "" };
        speak::note(&format!("warning: {} matches no branch{but}\n", shown(pattern)));
    }
    chosen.sort_by(|left, right| natural_cmp(&left.name, &right.name));
    Ok(chosen)
}

/// What brings the plan up to date, as a shell reads it.
pub(super) fn update_command(repository: &Path, plan: &str) -> String {
    let repo = match repository.to_string_lossy() {
        here if here == "." => String::new(),
        elsewhere => format!(" --repo {}", shell_word(&elsewhere)),
    };
    format!("lexpr plan{repo} --update {}", shell_word(plan))
}

fn exists(file: &Path) -> Failure {
    let name = file.display();
    Failure::usage(format!("{name} is there already"))
        .with_hint(format!("lexpr plan --update {name} brings it up to date"))
}

/// Writes a file that is not there yet.
pub(super) fn create(file: &Path, text: &str) -> Result<(), Failure> {
    let mut new =
        std::fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(file),
            _ => Failure::io("writing", file, &error),
        })?;
    new.write_all(text.as_bytes()).map_err(|error| Failure::io("writing", file, &error))
}
