//! Which commands likely judge a repository, from the files at its root: for who names no gate.
//!
//! Guesses: each says what it comes from, and a person reads them before anything runs. Files that a
//! language's own tools read come first; a Makefile or a justfile is asked where there are none of them, and named
//! beside them where there are.

use std::collections::BTreeMap;

/// The files that say something, at the root of a repository. Of lock files it is enough that they are there.
pub const FILES_READ: [&str; 22] = [
    "Cargo.toml",
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "bun.lock",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "tox.ini",
    "pytest.ini",
    "uv.lock",
    "poetry.lock",
    "go.mod",
    "GNUmakefile",
    "makefile",
    "Makefile",
    "justfile",
    "Justfile",
    ".justfile",
    "conftest.py",
];

/// The files at a repository's root that are among [`FILES_READ`], by name, with what they say.
pub type RootFiles = BTreeMap<String, String>;

/// A gate that nobody named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuessedGate {
    pub name: String,
    pub run: String,
    /// What it was guessed from: `Cargo.toml has a [workspace]`.
    pub why: String,
}

/// What has to be done in a working folder before a gate can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuessedSetup {
    pub run: String,
    pub inputs: Vec<String>,
}

/// What a repository's files say of gates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guess {
    pub gates: Vec<GuessedGate>,
    pub setup: Option<GuessedSetup>,
    /// Commands that may do as well, each with the file that has it: `make test (Makefile)`.
    pub others: Vec<String>,
}

/// What `files` say.
pub fn guess(files: &RootFiles) -> Guess {
    let mut guess = Guess::default();
    let languages = [cargo(files), node(files, &mut guess.setup), python(files), go(files)];
    let several = languages.iter().filter(|gates| !gates.is_empty()).count() > 1;
    for (tool, mut gate) in languages.into_iter().flatten() {
        if several {
            gate.name = format!("{tool}-{}", gate.name);
        }
        guess.gates.push(gate);
    }
    for (file, command) in [just(files), make(files)].into_iter().flatten() {
        if guess.gates.is_empty() {
            let why = format!("{file} has {}", command.rsplit(' ').next().unwrap_or_default());
            guess.gates.push(GuessedGate { name: "test".to_owned(), run: command, why });
        } else {
            guess.others.push(format!("{command} ({file})"));
        }
    }
    guess
}

/// Gates of one language, each with the tool that tells it from another's of the same name.
type Found = Vec<(&'static str, GuessedGate)>;

fn gate(tool: &'static str, name: &str, run: impl Into<String>, why: impl Into<String>) -> (&'static str, GuessedGate) {
    (tool, GuessedGate { name: name.to_owned(), run: run.into(), why: why.into() })
}

fn cargo(files: &RootFiles) -> Found {
    let Some(manifest) = files.get("Cargo.toml") else { return Vec::new() };
    let is_workspace = manifest.lines().any(|line| line.trim() == "[workspace]");
    vec![if is_workspace {
        gate("cargo", "test", "cargo test --workspace", "Cargo.toml has a [workspace]")
    } else {
        gate("cargo", "test", "cargo test", "there is a Cargo.toml")
    }]
}

/// Lock files, whose tool they are, and how it installs what they say and nothing else.
const NODE: [(&str, &str, &str); 5] = [
    ("package-lock.json", "npm", "npm ci"),
    ("npm-shrinkwrap.json", "npm", "npm ci"),
    ("pnpm-lock.yaml", "pnpm", "pnpm install --frozen-lockfile"),
    ("yarn.lock", "yarn", "yarn install --frozen-lockfile"),
    ("bun.lock", "bun", "bun install --frozen-lockfile"),
];

/// What `npm init` writes where there are no tests.
const NO_TESTS: &str = "no test specified";

fn node(files: &RootFiles, setup: &mut Option<GuessedSetup>) -> Found {
    let package = files.get("package.json").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let script = |name: &str| package.as_ref()?.get("scripts")?.get(name)?.as_str();
    let lock = NODE.iter().find(|(lock, ..)| files.contains_key(*lock));
    let tool = lock.map_or("npm", |(_, tool, _)| tool);
    let mut gates = Vec::new();
    for name in ["test", "lint"] {
        if script(name).is_some_and(|script| !script.contains(NO_TESTS)) {
            gates.push(gate(tool, name, format!("{tool} run {name}"), format!("package.json has a script `{name}`")));
        }
    }
    if let Some((lock, _, install)) = lock.filter(|_| !gates.is_empty()) {
        let inputs = vec!["package.json".to_owned(), (*lock).to_owned()];
        *setup = Some(GuessedSetup { run: (*install).to_owned(), inputs });
    }
    gates
}

fn python(files: &RootFiles) -> Found {
    let has = |name: &str| files.contains_key(name);
    let mentions = ["pyproject.toml", "setup.cfg"]
        .into_iter()
        .find(|name| files.get(*name).is_some_and(|text| text.contains("pytest")));
    let own = ["pytest.ini", "conftest.py"].into_iter().find(|name| has(name));
    if let Some(file) = own.or(mentions) {
        let run = if has("uv.lock") {
            "uv run pytest"
        } else if has("poetry.lock") {
            "poetry run pytest"
        } else {
            "python3 -m pytest"
        };
        let why = if own.is_some() { format!("there is a {file}") } else { format!("{file} mentions pytest") };
        return vec![gate("pytest", "test", run, why)];
    }
    if has("tox.ini") { vec![gate("tox", "test", "tox", "there is a tox.ini")] } else { Vec::new() }
}

fn go(files: &RootFiles) -> Found {
    if files.contains_key("go.mod") {
        vec![gate("go", "test", "go test ./...", "there is a go.mod")]
    } else {
        Vec::new()
    }
}

/// What such recipes and targets are called, the likeliest first.
const RECIPES: [&str; 3] = ["test", "check", "ci"];

fn just(files: &RootFiles) -> Option<(&'static str, String)> {
    let name = ["justfile", "Justfile", ".justfile"].into_iter().find(|name| files.contains_key(*name))?;
    let recipe = RECIPES.iter().find(|recipe| has_rule(&files[name], recipe))?;
    Some((name, format!("just {recipe}")))
}

fn make(files: &RootFiles) -> Option<(&'static str, String)> {
    // In the order in which GNU make looks for them.
    let name = ["GNUmakefile", "makefile", "Makefile"].into_iter().find(|name| files.contains_key(*name))?;
    let target = RECIPES.iter().find(|target| has_rule(&files[name], target))?;
    Some((name, format!("make {target}")))
}

/// Whether a line begins a rule of this name: `test:`, `test: build`, `@test:`, and not `test := x`.
fn has_rule(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let rest = line.trim_start_matches('@').strip_prefix(name).map(str::trim_start);
        rest.and_then(|rest| rest.strip_prefix(':')).is_some_and(|rest| !rest.trim_start_matches(':').starts_with('='))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(files: &[(&str, &str)]) -> Guess {
        guess(&files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    fn gates(files: &[(&str, &str)]) -> Vec<String> {
        guessed(files).gates.into_iter().map(|gate| format!("{}={}", gate.name, gate.run)).collect()
    }

    #[test]
    fn each_language_is_known_by_its_files() {
        assert_eq!(gates(&[("Cargo.toml", "[package]\n")]), ["test=cargo test"]);
        assert_eq!(gates(&[("Cargo.toml", "[workspace]\nmembers = []\n")]), ["test=cargo test --workspace"]);
        assert_eq!(gates(&[("go.mod", "")]), ["test=go test ./..."]);
        assert_eq!(gates(&[("pyproject.toml", "[tool.pytest.ini_options]")]), ["test=python3 -m pytest"]);
        assert_eq!(gates(&[("pyproject.toml", "dev = [\"pytest\"]"), ("uv.lock", "")]), ["test=uv run pytest"]);
        assert_eq!(gates(&[("setup.py", ""), ("tox.ini", "")]), ["test=tox"]);
        assert_eq!(gates(&[("pyproject.toml", "")]), [""; 0]);
        assert_eq!(gates(&[("Makefile", "all: x\ntest: all\n\tx\n")]), ["test=make test"]);
        assert_eq!(gates(&[("Makefile", "test := x\ncheck:\n")]), ["test=make check"]);
        assert_eq!(gates(&[("Makefile", "tests:\n")]), [""; 0]);
        assert_eq!(gates(&[("justfile", "@ci: test\n"), ("Makefile", "test:\n")]), ["test=just ci"]);
        assert_eq!(gates(&[]), [""; 0]);
    }

    #[test]
    fn scripts_of_a_package_are_run_by_the_tool_whose_lock_file_there_is() {
        let package = r#"{ "scripts": { "test": "vitest", "lint": "eslint .", "dev": "vite" } }"#;
        assert_eq!(gates(&[("package.json", package)]), ["test=npm run test", "lint=npm run lint"]);
        let pnpm = guessed(&[("package.json", package), ("pnpm-lock.yaml", "")]);
        assert_eq!(pnpm.gates[0].run, "pnpm run test");
        assert_eq!(pnpm.setup.unwrap().inputs, ["package.json", "pnpm-lock.yaml"]);
        let empty = r#"{ "scripts": { "test": "echo \"Error: no test specified\" && exit 1" } }"#;
        assert_eq!(guessed(&[("package.json", empty), ("yarn.lock", "")]), Guess::default());
        assert_eq!(gates(&[("package.json", "{ no json")]), [""; 0]);
    }

    #[test]
    fn gates_of_several_languages_are_told_apart_and_other_ways_named() {
        let guess = guessed(&[("Cargo.toml", ""), ("go.mod", ""), ("Makefile", "test:\n"), ("justfile", "test:\n")]);
        let names: Vec<_> = guess.gates.iter().map(|gate| &*gate.name).collect();
        assert_eq!(names, ["cargo-test", "go-test"]);
        assert_eq!(guess.others, ["just test (justfile)", "make test (Makefile)"]);
    }
}
