//! From the bytes of a document to a [`Plan`], or to everything that is wrong with it.
//!
//! First the document is held against the schema, then what is left of it is checked for
//! meaning, so that all problems come at once, in the order of the file. Whether a branch
//! exists is not known here; [`Places`] lets those who find out say so with file and line.

mod ci_services;
mod gates;
mod items;
mod policy;
mod runtimes;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::conform::{Conformed, Conformity, conform};
use super::file::{DEFAULT_TARGET, GateFile, ItemFile, MAX_NAME_BYTES, PlanFile};
use super::pointer::Pointer;
use super::problem::{Problem, Quoted, Severity, Source, in_file_order, is_control};
use super::spanned::Document;
use super::tree::Content;
use super::typed::Typed;
use super::{DirectoryRenames, Plan};
use crate::vocabulary::names::{ItemName, PlanDigest};

/// A valid plan, and what its author may want to know.
#[derive(Debug)]
pub struct Checked {
    pub plan: Plan,
    /// In file order.
    pub warnings: Vec<Problem>,
    pub places: Places,
}

/// Why a document is no plan.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", source_text.name, first_of(problems))]
pub struct Invalid {
    /// What the problems' places refer to.
    pub source_text: Source,
    /// At least one error, and any warnings, in file order.
    pub problems: Vec<Problem>,
}

fn first_of(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let first = problems.first().map_or("", |problem| &problem.message);
    if errors > 1 { format!("{first} (and {} more)", errors - 1) } else { first.to_owned() }
}

/// Where the parts of a checked plan stand in its text.
#[derive(Clone, Debug)]
pub struct Places {
    document: Document,
    items: HashMap<ItemName, usize>,
}

impl Places {
    pub fn source(&self) -> &Source {
        self.document.source()
    }

    /// An error at `key` of an item, such as `branch` or `sha`; at its name if it has no such key.
    pub fn error_at_item(&self, item: &ItemName, key: &'static str, message: impl Into<String>) -> Problem {
        let Some(index) = self.items.get(item) else { return Problem::error(message) };
        let item = Pointer::root().join("items").join(*index);
        let key = if self.document.has(&item.join(key)) { key } else { "name" };
        self.document.error(&item.join(key), message)
    }

    /// An error at a key of the document itself, such as `target`; at its start if it has no such key.
    pub fn error_at_key(&self, key: &'static str, message: impl Into<String>) -> Problem {
        self.document.error(&Pointer::root().join(key), message)
    }
}

/// Checks the document `bytes`, which `name` (a path, or `-`) is what to call.
///
/// # Errors
/// With all problems at once, if there is an error among them.
pub fn check(name: &str, bytes: &[u8]) -> Result<Checked, Invalid> {
    let document = Document::read(name, bytes)
        .map_err(|(source_text, problem)| Invalid { source_text, problems: vec![*problem] })?;
    if document.is_empty() {
        let problem = document
            .error(&Pointer::root(), "the plan is empty")
            .hint("begin it with `schemaVersion: v1`, then list the `items`");
        return Err(Invalid { source_text: document.source().clone(), problems: vec![problem] });
    }
    let Conformed { rest, mended, conformity } = conform(&document);
    let mut checker = Checker {
        document: &document,
        conformity,
        problems: document.repeated_keys(),
        names: None,
        suggestions: SUGGESTIONS,
        known_gates: BTreeSet::new(),
        claimed: BTreeSet::new(),
    };
    let plan = checker.plan(&rest, &mended, bytes);
    let Checker { mut problems, conformity, .. } = checker;
    problems.extend(conformity.problems);
    let problems = in_file_order(problems);
    match plan {
        Some(plan) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
            let items = plan.items.iter().enumerate().map(|(index, item)| (item.name.clone(), index)).collect();
            Ok(Checked { plan, warnings: problems, places: Places { document, items } })
        }
        _ => Err(Invalid { source_text: document.source().clone(), problems }),
    }
}

/// An item as the document has it, and where.
struct PlacedItem<'a> {
    /// Its index in the document's list.
    index: usize,
    file: ItemFile<'a>,
}

impl PlacedItem<'_> {
    fn place(&self) -> Pointer {
        Pointer::root().join("items").join(self.index)
    }
}

/// What is left of the items: those of the document but where `mended` has others.
fn item_files<'a>(document: &'a Document, mended: &'a BTreeMap<usize, Value>) -> Result<Vec<PlacedItem<'a>>, String> {
    let source = document.text();
    let items = document.items().unwrap_or_default();
    let mut files = Vec::with_capacity(items.len());
    for (index, node) in items.iter().enumerate() {
        let file = match mended.get(&index) {
            Some(Value::Null) => continue,
            Some(value) => ItemFile::deserialize(value).map_err(|error| error.to_string())?,
            None => ItemFile::deserialize(Typed { node, source }).map_err(|error| error.to_string())?,
        };
        files.push(PlacedItem { index, file });
    }
    Ok(files)
}

/// The names of all items as the document has them, wrong ones included, so that nothing that
/// depends on a wrongly named item is called wrong too.
fn item_names(document: &Document) -> impl Iterator<Item = &str> {
    document.items().unwrap_or_default().iter().filter_map(|item| {
        let name = &item.get("name", document.text())?.value;
        match &name.content {
            Content::Text(text) => Some(text.of(document.text())),
            Content::Signed(_) | Content::Unsigned(_) | Content::Float(_) | Content::Bool(_) => {
                Some(document.written_of(name))
            }
            Content::Null | Content::List(_) | Content::Map(_) | Content::LargeMap(_) => None,
        }
    })
}

/// The names of all gates that some item has.
fn gate_names(plan_gates: &[GateFile], items: &[PlacedItem<'_>]) -> BTreeSet<String> {
    let inherited = items.iter().any(|item| item.file.gates.as_ref().is_none_or(Vec::is_empty));
    let own = items.iter().flat_map(|item| item.file.gates.iter().flatten());
    let mut names = BTreeSet::new();
    for name in own.chain(plan_gates.iter().filter(|_| inherited)).filter_map(|gate| gate.name.as_ref()) {
        if !names.contains(name) {
            names.insert(name.clone());
        }
    }
    names
}

/// How often the nearest name is looked for: with thousands of unknown names among thousands of
/// items that would take longer than everything else.
const SUGGESTIONS: usize = 100;

/// Collects problems while the parts of the plan are made.
struct Checker<'d> {
    document: &'d Document,
    conformity: Conformity,
    problems: Vec<Problem>,
    /// The names of all items as the document has them, from when an unknown one is met.
    names: Option<HashSet<&'d str>>,
    /// How many of [`SUGGESTIONS`] are left.
    suggestions: usize,
    /// The names of all gates that an item has.
    known_gates: BTreeSet<String>,
    /// The limits that a gate claims, or most likely means to.
    claimed: BTreeSet<String>,
}

impl Checker<'_> {
    /// `None` if so much is wrong that there is nothing to make a plan of.
    fn plan(&mut self, rest: &Value, mended: &BTreeMap<usize, Value>, bytes: &[u8]) -> Option<Plan> {
        if !rest.is_object() {
            return None;
        }
        let file = PlanFile::deserialize(rest).map_err(|error| error.to_string());
        let (file, items) = match file.and_then(|file| Ok((file, item_files(self.document, mended)?))) {
            Ok(both) => both,
            Err(error) => {
                let problem = self.document.error(&Pointer::root(), format!("not a plan: {error}"));
                self.report(problem);
                return None;
            }
        };
        let target = file.target.unwrap_or_else(|| DEFAULT_TARGET.to_owned());
        self.revision(|| Pointer::root().join("target"), &target);

        let plan_gates = file.gates.unwrap_or_default();
        let (policy, rules) = self.policy(file.policy.unwrap_or_default());
        self.known_gates = gate_names(&plan_gates, &items);
        self.named_gates(&rules, items.is_empty());
        let no_items = items.is_empty();
        let items = self.items(items, plan_gates, &rules);
        self.unclaimed_limits(&rules, no_items);
        Some(Plan { digest: PlanDigest::of([bytes]), target, policy, items })
    }

    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports an error at the value at `place`.
    fn error(&mut self, place: &Pointer, message: impl Into<String>) {
        self.problems.push(self.document.error(place, message));
    }

    fn error_with_hint(&mut self, place: &Pointer, message: impl Into<String>, hint: &str) {
        self.problems.push(self.document.error(place, message).hint(hint));
    }

    fn not_in_this_build(&mut self, place: &Pointer, what: &str, hint: &str) {
        self.error_with_hint(place, format!("{what} is not available in this build"), hint);
    }

    /// The rules for names of items and gates.
    fn name(&mut self, place: impl FnOnce() -> Pointer, name: &str) {
        if let Some(fault) = name_fault(name) {
            self.error(&place(), format!("the name {} {fault}", Quoted(name)));
        }
    }

    /// What no revision or ref name can be, whatever the repository holds.
    fn revision(&mut self, place: impl FnOnce() -> Pointer, text: &str) {
        if let Some(fault) = revision_fault(text) {
            self.error(&place(), format!("{} {fault}", Quoted(text)));
        }
    }

    /// A command line: something to run, and something a process can be given.
    fn command(&mut self, place: &Pointer, run: &str) {
        if run.trim().is_empty() {
            self.error(place, "the command is empty");
        }
        self.no_nul(place, run);
    }

    fn no_nul(&mut self, place: &Pointer, text: &str) {
        if text.contains('\0') {
            self.error(place, "holds a NUL character, which no process can be given");
        }
    }
}

/// What keeps a text from being the name of an item or a gate.
pub fn name_fault(name: &str) -> Option<String> {
    Some(if name.len() > MAX_NAME_BYTES {
        format!("has {} bytes: at most {MAX_NAME_BYTES} are allowed", name.len())
    } else if let Some(control) = control_in(name) {
        format!("holds the control character U+{:04X}", u32::from(control))
    } else if name.starts_with('-') {
        "begins with a dash, as options do".to_owned()
    } else if name.contains("..") {
        "holds `..`, which git keeps for ranges".to_owned()
    } else {
        return None;
    })
}

/// What keeps a text from being a plan's revision or ref.
pub fn revision_fault(text: &str) -> Option<&'static str> {
    Some(if text.trim().is_empty() {
        "is empty"
    } else if text.chars().any(is_control) {
        "holds a control character"
    } else if text.starts_with('-') {
        "begins with a dash, as options do"
    } else if text.contains("..") {
        "holds `..`: a range is not one commit"
    } else {
        return None;
    })
}

/// The first control character. Most names are plain ASCII, and quickly looked through.
fn control_in(name: &str) -> Option<char> {
    if name.bytes().all(|byte| matches!(byte, b' '..=b'~')) { None } else { name.chars().find(|c| is_control(*c)) }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `true`, `false` or `conflict`; the schema allows nothing else.
fn directory_renames(value: &Value) -> DirectoryRenames {
    match value {
        Value::Bool(true) => DirectoryRenames::True,
        Value::Bool(false) => DirectoryRenames::False,
        _ => DirectoryRenames::Conflict,
    }
}
