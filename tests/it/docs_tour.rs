//! The tour in the documentation: every command of it is run, and what it shows of their output is what they say.

#![expect(clippy::disallowed_methods, reason = "a reader has a shell")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// A command of the tour, and the lines it shows below.
struct Step {
    command: String,
    shown: Vec<String>,
}

/// The commands of all console blocks, in order. A command goes on until its quotes are closed.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_block = false;
    let mut is_open = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = line == "```console";
            continue;
        }
        if !in_block {
            continue;
        }
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
            None if is_open => {
                let command = &mut steps.last_mut().unwrap().command;
                command.push('\n');
                command.push_str(line);
            }
            None => steps.last_mut().expect("output follows a command").shown.push(line.to_owned()),
        }
        is_open = steps.last().is_some_and(|step| step.command.matches('"').count() % 2 == 1);
    }
    steps
}

/// Whether `line` is `shown`, in which `…` stands for anything.
fn is_shown(shown: &str, line: &str) -> bool {
    let parts: Vec<&str> = shown.split('…').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return line == shown };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Runs the steps in one shell in `folder`; what each wrote, standard error after standard output.
fn outputs(steps: &[Step], folder: &Path) -> Vec<String> {
    let mut script = String::from("set -e\n");
    for (at, step) in steps.iter().enumerate() {
        let out = folder.join(format!("said-{at}"));
        script.push_str(&format!("{{ {}\n}} > '{1}' 2> '{1}.err'\n", step.command, out.display()));
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_lexpr")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let work = folder.join("work");
    fs::create_dir(&work).unwrap();
    let ended = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&work)
        .env("PATH", path)
        .env("HOME", folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env_remove("GITHUB_STEP_SUMMARY")
        .env_remove("GITHUB_ACTIONS")
        .status()
        .unwrap();
    let said = |at: usize| {
        let read = |suffix: &str| fs::read_to_string(folder.join(format!("said-{at}{suffix}"))).unwrap_or_default();
        format!("{}{}", read(""), read(".err"))
    };
    let all: Vec<String> = (0..steps.len()).map(said).collect();
    let last = all.iter().rposition(|said| !said.is_empty()).unwrap_or(0);
    assert!(ended.success(), "{ended}; the last to say something: {}\n{}", steps[last].command, all[last]);
    all
}

#[test]
fn every_command_of_the_tour_does_what_it_shows() {
    let steps = steps(&fs::read_to_string("docs/tour.md").unwrap());
    assert!(steps.len() > 20, "{} commands", steps.len());
    let folder = tempfile::tempdir().unwrap();
    let said = outputs(&steps, folder.path());
    for (step, said) in steps.iter().zip(&said) {
        let mut lines = said.lines();
        for shown in &step.shown {
            let found = lines.by_ref().any(|line| is_shown(shown, line));
            assert!(found, "{}\nshould say, after what is above it:\n{shown}\nbut says:\n{said}", step.command);
        }
    }
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    assert!(is_shown("a … b", "a x y b") && is_shown("…", "") && is_shown("a…", "abc") && is_shown("a", "a"));
    assert!(!is_shown("a … b", "a x c") && !is_shown("a", "ab") && !is_shown("…b…", "acd"));
}
