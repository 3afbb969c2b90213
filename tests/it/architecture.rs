//! The house holds: imports go one way, the pure layers are pure, and processes and printing stay
//! where they belong. Reads the source as text.

use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Vocabulary,
    Plan,
    Ports,
    Core,
    Hands,
    Engine,
    Faces,
    Cli,
}

use Layer::{Cli, Core, Engine, Faces, Hands, Plan, Ports, Vocabulary};

/// Every top-level module and its layer. A new module has to take a place here.
const MODULES: &[(&str, Layer)] = &[
    ("vocabulary", Vocabulary),
    ("plan", Plan),
    ("ports", Ports),
    ("core", Core),
    ("git", Hands),
    ("gate", Hands),
    ("cache", Hands),
    ("clock", Hands),
    ("crash", Hands),
    ("disk", Hands),
    ("durations", Hands),
    ("journal", Hands),
    ("load", Hands),
    ("memory", Hands),
    ("runs", Hands),
    ("verdicts", Hands),
    ("engine", Engine),
    ("simulation", Engine),
    ("diagnostics", Faces),
    ("doctor", Faces),
    ("draft", Faces),
    ("metrics", Faces),
    ("output", Faces),
    ("overview", Faces),
    ("progress", Faces),
    ("report", Faces),
    ("serve", Faces),
    ("status", Faces),
    ("why", Faces),
    ("wording", Faces),
    ("cli", Cli),
];

fn may_import(layer: Layer) -> &'static [Layer] {
    match layer {
        Vocabulary => &[Vocabulary],
        Plan => &[Vocabulary, Plan],
        Ports => &[Vocabulary, Plan, Ports],
        Core => &[Vocabulary, Plan, Core],
        Hands => &[Vocabulary, Plan, Ports, Hands],
        Engine => &[Vocabulary, Plan, Ports, Core, Engine],
        Faces => &[Vocabulary, Plan, Faces],
        Cli => &[Vocabulary, Plan, Ports, Core, Hands, Engine, Faces, Cli],
    }
}

/// Files near 600 lines at most: past that there is a second idea in them.
const LONGEST_FILE: usize = 650;

struct Source {
    path: PathBuf,
    module: String,
    /// Without comments and without `mod tests`.
    code: String,
    lines: usize,
}

impl Source {
    fn layer(&self) -> Layer {
        let found = MODULES.iter().find(|(name, _)| *name == self.module);
        found.unwrap_or_else(|| panic!("{} is in no layer: give it one in this test", self.module)).1
    }
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
                let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
                let lines = text.lines().count();
                found.push(Source { code: code_of(&text), path, module, lines });
            }
        }
    }
    found.retain(|source| source.module != "main" && source.module != "lib");
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn code_of(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: Vec<&str> = product.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    code.join("\n")
}

/// The top-level modules that `code` names as `crate::<module>`, in `use` lines and in paths.
fn imported(code: &str) -> Vec<String> {
    code.match_indices("crate::")
        .map(|(at, found)| &code[at + found.len()..])
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn imports_go_downwards_only() {
    let mut wrong = Vec::new();
    for source in sources() {
        let allowed = may_import(source.layer());
        for name in imported(&source.code) {
            match MODULES.iter().find(|(module, _)| *module == name) {
                Some((_, layer)) if allowed.contains(layer) => {}
                Some((_, layer)) => {
                    wrong.push(format!("{}: {:?} imports {name} ({layer:?})", source.path.display(), source.layer()));
                }
                None => wrong.push(format!("{}: crate::{name} is in no layer", source.path.display())),
            }
        }
        // `use crate::{a, b}` would hide its modules from this test.
        if source.code.contains("use crate::{") {
            wrong.push(format!("{}: write one `use crate::module` a line", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pure_layers_know_no_world() {
    const WORLD: &[&str] = &[
        "tokio",
        "std::fs",
        "std::process",
        "std::net",
        "std::env",
        "std::thread",
        "Instant",
        "SystemTime",
        "RandomState",
    ];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| matches!(source.layer(), Vocabulary | Plan | Core)) {
        for word in WORLD {
            if source.code.contains(word) {
                wrong.push(format!("{}: {word}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn processes_start_in_git_and_gate_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        if source.code.contains("Command::new(") && !["git", "gate"].contains(&source.module.as_str()) {
            wrong.push(source.path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "processes start in {}", wrong.join(", "));
}

#[test]
fn only_faces_and_the_command_line_print() {
    const PRINTING: &[&str] = &["println!", "print!(", "eprint!(", "eprintln!", "io::stdout", "io::stderr"];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !matches!(source.layer(), Faces | Cli)) {
        // The guard's standard output is the pipe on which it answers, not a screen.
        let is_guard = source.path.ends_with("gate/guard.rs");
        for word in PRINTING.iter().filter(|word| !(is_guard && **word == "io::stdout")) {
            if source.code.contains(word) {
                wrong.push(format!("{}: {word}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hands_know_neither_graph_nor_strategy() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.layer() == Hands) {
        let knows = source.code.contains("plan::graph::Graph") || source.code.contains("graph::{Graph");
        if knows {
            wrong.push(source.path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_swallows_the_project() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.lines > LONGEST_FILE)
        .map(|source| format!("{}: {} lines", source.path.display(), source.lines))
        .collect();
    assert!(long.is_empty(), "find the second idea in {}", long.join(", "));
}

/// The feature is for `tests/crash` alone.
#[cfg(not(feature = "failpoints"))]
#[test]
fn a_binary_without_the_feature_holds_no_place_to_be_killed_at() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_lexpr")).unwrap();
    let holds = |text: &str| binary.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("landingIntended"), "the search finds what is there");
    for text in ["LEXPR_CRASH", "target.swap.before", "journal.append.torn", "resume.waits", ".under-way"] {
        assert!(!holds(text), "{text}");
    }
}
