//! `lexpr plan --interactive`: which of the branches, which gates, and where to write the plan, asked on the terminal.

use std::path::{Path, PathBuf};

use dialoguer::console::Term;
use dialoguer::theme::{ColorfulTheme, SimpleTheme, Theme};
use dialoguer::{Input, MultiSelect};

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::conduct::runtime;
use crate::cli::failure::Failure;
use crate::draft::{Draft, DraftGate, DraftItem};
use crate::wording::{Paint, shown};

/// What a plan is called where nobody says so.
const USUAL_FILE: &str = "plan.yaml";

/// Makes of `draft`, and of where it goes, what the user answers.
pub(super) fn shape(draft: &mut Draft, output: &mut Option<PathBuf>) -> Result<(), Failure> {
    let runtime = runtime(1)?;
    let _entered = runtime.enter();
    // Whoever is asked has no cursor at times: Ctrl-C must not end lexpr before it is there again.
    let _heard = signal(SignalKind::interrupt())
        .map_err(|error| Failure::internal(format!("listening for signals: {error}")))?;
    let answered = answers(draft, output);
    if answered.is_err() {
        // A terminal that is gone needs no cursor.
        let _ = Term::stderr().show_cursor();
    }
    answered
}

fn answers(draft: &mut Draft, output: &mut Option<PathBuf>) -> Result<(), Failure> {
    let coloured = ColorfulTheme::default();
    let theme: &dyn Theme =
        if Paint::for_stream(&std::io::stderr()) == Paint::PLAIN { &SimpleTheme } else { &coloured };
    let labels: Vec<String> = draft.items.iter().map(label).collect();
    let chosen = MultiSelect::with_theme(theme)
        .with_prompt(format!("Branches to land on {} (space chooses, enter goes on)", shown(&draft.target)))
        .items(&labels)
        .defaults(&vec![true; labels.len()])
        .interact_opt()
        .map_err(no_answer)?
        .ok_or_else(given_up)?;
    if chosen.is_empty() {
        return Err(Failure::usage("no branch is chosen, and so nothing was written")
            .with_hint("space chooses one and a all of them; globs go on the command line: lexpr plan 'feature/*'"));
    }
    draft.keep(&chosen);
    if draft.gates.is_empty() {
        let name = "test".to_owned();
        draft.gates.push(DraftGate { name, run: String::new(), why: None });
    }
    for gate in &mut draft.gates {
        let run: String = Input::with_theme(theme)
            .with_prompt(format!("Command of the gate {} (empty: no such gate)", shown(&gate.name)))
            .with_initial_text(gate.run.as_str())
            .allow_empty(true)
            .interact_text()
            .map_err(no_answer)?;
        if run != gate.run {
            gate.why = None;
        }
        gate.run = run;
    }
    draft.gates.retain(|gate| !gate.run.trim().is_empty());
    if output.is_none() {
        let file: String = Input::with_theme(theme)
            .with_prompt("Write the plan to")
            .default(USUAL_FILE.to_owned())
            .validate_with(
                |file: &String| {
                    if Path::new(file).exists() { Err("it is there already; name another") } else { Ok(()) }
                },
            )
            .interact_text()
            .map_err(no_answer)?;
        *output = Some(PathBuf::from(file));
    }
    Ok(())
}

fn label(item: &DraftItem) -> String {
    let deps: Vec<_> = item.deps.iter().map(|dep| shown(&dep.name)).collect();
    let after = if deps.is_empty() { String::new() } else { format!("  after {}", deps.join(", ")) };
    format!("{}{after}", shown(&item.name))
}

fn no_answer(error: dialoguer::Error) -> Failure {
    let dialoguer::Error::IO(error) = error;
    match error.kind() {
        std::io::ErrorKind::Interrupted => given_up(),
        _ => Failure::internal(format!("asking on the terminal: {error}")),
    }
}

fn given_up() -> Failure {
    Failure::interrupted("nothing was written")
}
