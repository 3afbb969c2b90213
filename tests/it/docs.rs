//! What the documentation shows is true: its command lines are ones that lexpr reads, its YAML is YAML, the files for CI
//! are the ones that `lexpr init` writes, and messages that it explains are lexpr's own.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use lexpr::cli::Cli;
use lexpr::draft::ci::Service;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_in(&path, extension));
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// README.md and docs/*.md, by name.
pub fn pages() -> Vec<(String, String)> {
    let mut files = files_in(&root().join("docs"), "md");
    files.push(root().join("README.md"));
    let named = |file: PathBuf| {
        (file.strip_prefix(root()).unwrap().display().to_string(), std::fs::read_to_string(&file).unwrap())
    };
    files.into_iter().map(named).collect()
}

/// The blocks between fences, each with its language.
pub fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

/// What stands between backquotes outside of blocks.
fn inline(page: &str) -> Vec<String> {
    let mut in_block = false;
    let mut prose = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            prose.push_str(line.trim());
            prose.push(' ');
        }
    }
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The command line that begins at `lexpr` in a line of a script, as a shell splits it.
fn words(line: &str) -> Option<Vec<String>> {
    let at = line.match_indices("lexpr ").map(|(at, _)| at).find(|at| {
        let before = line[..*at].trim_end();
        let starts = ["", "$", "- run:", "run:", "-", "&&", ";", "docker run --rm"];
        starts.contains(&before) || before.ends_with("&&") || before.ends_with("$ ")
    })?;
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut begun = false;
    for c in line[at..].chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, ' ') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (None, '>' | '|' | '&' | ';' | '#') => break,
            (_, c) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    Some(words)
}

/// What a page means by these words is something else.
fn filled_in(word: &str) -> String {
    match word {
        "SHELL" => "bash".to_owned(),
        "FORM" => "html".to_owned(),
        "SECONDS" | "N" => "5".to_owned(),
        "GLOB…" => "x".to_owned(),
        other => other.to_owned(),
    }
}

/// Where several words are meant, or nothing in particular.
fn is_an_outline(line: &str) -> bool {
    line.contains(" …") || line.contains('|') || line.contains(" or ")
}

#[test]
fn every_command_line_in_the_documentation_is_one_that_lexpr_reads() {
    let mut read = 0;
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        let scripts =
            blocks(&page).into_iter().flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>());
        let short = inline(&page).into_iter().filter(|code| code.starts_with("lexpr ") && !is_an_outline(code));
        for line in scripts.chain(short) {
            let line = line.trim().replace("[RUN…]", "").replace(['[', ']'], "");
            let Some(words) = words(&line) else { continue };
            read += 1;
            if let Err(error) = Cli::try_parse_from(words.iter().map(|word| filled_in(word)))
                && error.use_stderr()
                // The name of a command by itself is no line to be typed.
                && !(words.len() == 2 && error.kind() == clap::error::ErrorKind::MissingRequiredArgument)
            {
                wrong.push(format!("{name}: {line}\n{error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(read > 50, "only {read} command lines were found");
}

#[test]
fn every_piece_of_yaml_in_the_documentation_is_yaml() {
    let mut read = 0;
    for (name, page) in pages() {
        for (_, text) in blocks(&page).iter().filter(|(language, _)| language == "yaml") {
            let document: Result<serde_json::Value, _> = serde_yaml::from_str(text);
            assert!(document.is_ok(), "{name}: {document:?} in\n{text}");
            read += 1;
        }
    }
    assert!(read > 5, "only {read} pieces were found");
}

#[test]
fn the_files_for_ci_are_shown_as_init_writes_them_and_their_commands_are_read() {
    let page = std::fs::read_to_string(root().join("docs/ci.md")).unwrap();
    for service in [Service::Github, Service::Gitlab] {
        assert!(blocks(&page).iter().any(|(_, text)| text == service.text()), "docs/ci.md lacks {}", service.path());
        let document: serde_json::Value = serde_yaml::from_str(service.text()).unwrap();
        let jobs = if service == Service::Github { &document["jobs"] } else { &document };
        assert!(jobs.as_object().unwrap().len() >= 2, "{document:#}");
    }
}

#[test]
fn the_image_is_made_of_files_that_are_there() {
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--"))
    {
        let mut files: Vec<&str> = line.split(' ').collect();
        files.pop();
        for file in files {
            assert!(root().join(file).exists(), "{file}");
        }
    }
}

#[test]
fn the_reference_of_the_plan_has_not_drifted_from_the_schema() {
    let kept = std::fs::read_to_string(root().join("docs/plan.md")).unwrap_or_default();
    assert!(
        kept == lexpr::plan::reference::markdown(),
        "docs/plan.md has drifted: run `cargo run -- schema plan --markdown > docs/plan.md`"
    );
}

/// Every key below a part of a schema, by its path, with what it says of itself.
fn keys(part: &serde_json::Value, path: &str, found: &mut Vec<(String, String)>) {
    if let Some(properties) = part["properties"].as_object() {
        for (key, value) in properties {
            found.push((format!("{path}.{key}"), value["description"].as_str().unwrap_or_default().to_owned()));
        }
    }
    match part {
        serde_json::Value::Object(parts) => {
            parts.iter().for_each(|(name, part)| keys(part, &format!("{path}.{name}"), found));
        }
        serde_json::Value::Array(parts) => parts.iter().for_each(|part| keys(part, path, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_a_plan_says_what_it_is_for() {
    let mut found = Vec::new();
    keys(lexpr::plan::file::schema().as_value(), "plan", &mut found);
    assert!(found.len() > 70, "only {} keys were found", found.len());
    let silent: Vec<&String> =
        found.iter().filter(|(_, says)| says.split_whitespace().count() < 2).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "these keys have no description: {silent:#?}");
}

#[test]
fn every_message_that_is_explained_is_one_of_lexprs_own() {
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    // A message may be broken over lines in the source, with a backslash at each end.
    let flat = |text: &str| text.split_whitespace().filter(|word| *word != "\\").collect::<Vec<_>>().join(" ");
    let source: String =
        files_in(&root().join("src"), "rs").iter().map(|file| flat(&std::fs::read_to_string(file).unwrap())).collect();
    let messages: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(messages.len() >= 25, "{} messages", messages.len());
    for message in messages {
        // What stands in for a name, a path or a number is `…`.
        for fragment in
            message.split('…').map(|fragment| fragment.trim().trim_matches('`')).filter(|part| part.len() > 3)
        {
            assert!(source.contains(fragment), "{fragment:?} is said nowhere in src/");
        }
    }
}
