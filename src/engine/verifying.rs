//! Whether a receipt is true: its composite is made again from base and heads alone, and its
//! verdicts are looked up in what the run recorded. Reads receipts that anybody may have written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunSetup;
use super::receipt::{self, RECEIPT_FORMAT, Receipt, ReceiptGate, ReceiptItem};
use crate::core::state::ImpossibleTransition;
use crate::plan::graph::ItemIx;
use crate::ports::{ComposeItem, ComposeRequest, Composer, Composite, PortError};
use crate::vocabulary::event::{Event, Recorded, Verdict};
use crate::vocabulary::names::{CommitId, DefinitionDigest, JobId, RunId, SubjectDigest, TreeId, VerdictKey};
use crate::vocabulary::trail::Trail;

/// A receipt of 10,000 items has some 3 MB.
pub const MAX_RECEIPT_BYTES: u64 = 32 * 1024 * 1024;

/// The longest name, branch or path that a receipt may hold, in bytes.
const MAX_TEXT: usize = 4096;

/// A receipt in which little is true may differ in everything.
const MAX_DIFFERENCES: usize = 20;

/// Enough of a text to tell it from another: a digest, a path.
const LONGEST_SHOWN: usize = 200;

/// What somebody says is a receipt.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub receipt: Receipt,
    /// As it was written, with all that is in it.
    json: Value,
}

/// What was looked at, and how that stands to what the receipt claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub what: String,
    pub finding: Finding,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Finding {
    /// As claimed.
    Ok,
    /// Not as claimed.
    Differs,
    /// What the claim cannot be checked without is not there any more.
    Gone,
    /// There is no evidence for it here, nor against it.
    Unchecked,
    /// The receipt claims nothing about it.
    Note,
}

impl Finding {
    /// Whether the receipt cannot be held to be true.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Differs | Self::Gone)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Differs => "differs",
            Self::Gone => "gone",
            Self::Unchecked => "unchecked",
            Self::Note => "note",
        }
    }
}

impl Check {
    pub fn new(what: impl Into<String>, finding: Finding, message: impl Into<String>) -> Self {
        Self { what: what.into(), finding, message: message.into() }
    }

    /// Ok where `found` is what is claimed.
    fn compare<T: PartialEq + std::fmt::Display>(what: &str, claimed: &T, found: &T) -> Self {
        if claimed == found {
            Self::new(what, Finding::Ok, claimed.to_string())
        } else {
            Self::new(what, Finding::Differs, format!("the receipt says {claimed}, it is {found}"))
        }
    }
}

/// The text is no receipt that could be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReceipt {
    #[error("it is no JSON: {0}")]
    NotJson(String),
    #[error("it is no receipt: it has no number `format`")]
    NoFormat,
    #[error("its format is {0}, and this lexpr reads format {RECEIPT_FORMAT}")]
    OtherFormat(u64),
    #[error("it is no receipt: {0}")]
    Shape(String),
    #[error("it is no receipt that lexpr wrote: {place} holds {value:?}")]
    Value { place: String, value: String },
}

/// Reads a receipt and refuses what none of lexpr's own can hold.
///
/// # Errors
/// Where the text is not such a one.
pub fn read(text: &[u8]) -> Result<Claimed, BadReceipt> {
    let json: Value = serde_json::from_slice(text).map_err(|error| BadReceipt::NotJson(error.to_string()))?;
    match json.get("format").and_then(Value::as_u64).ok_or(BadReceipt::NoFormat)? {
        format if format == u64::from(RECEIPT_FORMAT) => {}
        other => return Err(BadReceipt::OtherFormat(other)),
    }
    let receipt = Receipt::deserialize(&json).map_err(|error| BadReceipt::Shape(error.to_string()))?;
    for (place, text, is_fine) in texts(&receipt) {
        if !is_fine(text) || text.len() > MAX_TEXT {
            let value = text.chars().take(80).collect();
            return Err(BadReceipt::Value { place, value });
        }
    }
    Ok(Claimed { receipt, json })
}

type Rule = fn(&str) -> bool;

/// Every text of a receipt with its place and what must hold of it.
fn texts(receipt: &Receipt) -> Vec<(String, &str, Rule)> {
    let some: Rule = |text| !text.is_empty() && !text.contains(char::is_control);
    let person: Rule = |text| !text.contains(['<', '>']) && !text.contains(char::is_control);
    let run: Rule = |run| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let branch: Rule = |name| {
        let has_none_of = |refused: &[char]| !name.contains(refused);
        name.starts_with("refs/heads/")
            && !name.contains("..")
            && has_none_of(&[' ', '~', '^', ':', '?', '*', '[', '\\', '\0'])
    };
    let path: Rule = |path| path.split('/').all(|part| part != "..") && !path.contains('\0');
    let mut texts = vec![("run".to_owned(), receipt.run.as_str(), run), ("target".into(), &receipt.target, branch)];
    for (list, items) in [("landedBefore", &receipt.landed_before), ("items", &receipt.items)] {
        for (at, item) in items.iter().enumerate() {
            texts.push((format!("{list}[{at}].name"), item.name.as_str(), some));
            texts.push((format!("{list}[{at}].branch"), &item.branch, some));
        }
    }
    if let Some(committer) = &receipt.committer {
        texts.push(("committer.name".into(), &committer.name, person));
        texts.push(("committer.email".into(), &committer.email, person));
    }
    if let Some(overridden) = &receipt.overridden {
        texts.push(("overridden.item".into(), overridden.item.as_str(), some));
        texts.push(("overridden.by".into(), &overridden.by, some));
        texts.extend(overridden.reason.as_deref().map(|reason| ("overridden.reason".to_owned(), reason, some)));
        for (at, gate) in overridden.gates.iter().enumerate() {
            texts.push((format!("overridden.gates[{at}].gate"), gate.gate.as_str(), some));
        }
    }
    for (at, gate) in receipt.gates.iter().enumerate() {
        texts.extend(gate.name.as_ref().map(|name| (format!("gates[{at}].name"), name.as_str(), some)));
        texts.extend(gate.found_by.as_ref().map(|found_by| (format!("gates[{at}].foundBy"), found_by.as_str(), run)));
        texts.extend(gate.log.as_deref().map(|log| (format!("gates[{at}].log"), log, path)));
    }
    texts
}

/// All commits that the composite is made of, each with what it is there.
pub fn ingredients(receipt: &Receipt) -> Vec<(String, CommitId)> {
    let mut needed = vec![("base".to_owned(), receipt.base)];
    for item in all_items(receipt) {
        needed.push((format!("head of {}", item.name), item.head));
        needed.extend(item.merged.iter().map(|head| (format!("merged before {}", item.name), *head)));
    }
    needed
}

fn all_items(receipt: &Receipt) -> impl Iterator<Item = &ReceiptItem> {
    receipt.landed_before.iter().chain(&receipt.items)
}

/// Makes the composite again and compares it.
///
/// # Errors
/// Where it cannot be made for reasons that no receipt gives.
pub async fn composite(receipt: &Receipt, composer: &dyn Composer) -> Result<Vec<Check>, PortError> {
    let items = all_items(receipt).enumerate().map(|(at, item)| {
        Arc::new(ComposeItem {
            ix: ItemIx::new(at),
            name: item.name.clone(),
            branch: item.branch.clone(),
            head: item.head,
            strategy: item.strategy,
            // They decide who is set aside with whom, and nobody was.
            deps: Vec::new(),
            merged: item.merged.clone(),
            overridden: receipt.overridden.as_ref().map(|why| why.to_string().into()),
        })
    });
    let request = ComposeRequest { base: receipt.base, items: items.collect(), beneath: Trail::default() };
    let made: Composite = composer.compose(request).await?;
    let before = match receipt.landed_before.len().checked_sub(1) {
        None => Some(receipt.base),
        Some(last) => made.steps.get(last).map(|step| step.commit),
    };
    let mut checks: Vec<Check> = made
        .set_aside
        .iter()
        .map(|aside| {
            let message = format!("{} cannot be merged there", aside.item);
            Check::new("items", Finding::Differs, message)
        })
        .collect();
    checks.push(Check::compare("commit", &receipt.composite, &made.commit));
    checks.push(Check::compare("tree", &receipt.tree, &made.tree));
    if before != Some(receipt.from) {
        let message = format!("the receipt says {}, which is not what the items were merged onto", receipt.from);
        checks.push(Check::new("from", Finding::Differs, message));
    }
    Ok(checks)
}

/// What a run recorded of its gates, as far as a receipt of it can be held against it.
#[derive(Debug, Default)]
struct Evidence {
    /// The trees that a gate ran on when it passed.
    passes: HashMap<VerdictKey, Vec<Option<TreeId>>>,
    reused: HashMap<VerdictKey, RunId>,
    subjects: HashMap<(TreeId, DefinitionDigest), SubjectDigest>,
    definitions: HashMap<VerdictKey, DefinitionDigest>,
}

impl Evidence {
    fn of(events: &[Recorded]) -> Self {
        let mut evidence = Self::default();
        let mut trees: HashMap<JobId, TreeId> = HashMap::new();
        for recorded in events {
            match &recorded.event {
                Event::GateFinished(run) if matches!(run.verdict, Some(Verdict::Passed { .. })) => {
                    evidence.passes.entry(run.key).or_default().push(trees.get(&run.job).copied());
                }
                Event::VerdictReused { key, from, .. } => {
                    evidence.reused.insert(*key, from.clone());
                }
                Event::JobStarted(job) => {
                    trees.insert(job.job, job.tree);
                    evidence.definitions.extend(job.gates.iter().map(|gate| (gate.key, gate.definition)));
                }
                Event::InputsDigested { tree, definition, subject } => {
                    evidence.subjects.insert((*tree, *definition), *subject);
                }
                _ => {}
            }
        }
        evidence
    }

    /// Whether a gate that ran on `ran_on` speaks for `tree`: it is the same, or equal in the
    /// gate's inputs.
    fn speaks_for(&self, key: VerdictKey, ran_on: TreeId, tree: TreeId) -> bool {
        let Some(definition) = self.definitions.get(&key) else { return ran_on == tree };
        let subject = |tree| self.subjects.get(&(tree, *definition));
        ran_on == tree || subject(tree).is_some_and(|here| subject(ran_on) == Some(here))
    }
}

/// What is known here of earlier runs.
pub trait Earlier {
    /// The events of a run; `None` where its journal is not here or cannot be read.
    fn events(&self, run: &RunId) -> Option<Vec<Recorded>>;

    /// Whether a pass of that run is remembered under the key.
    fn remembers(&self, key: VerdictKey, run: &RunId) -> bool;
}

/// What a run recorded, for its receipts to be held against.
#[derive(Debug)]
pub struct Records {
    /// Of every landing that was begun.
    receipts: Vec<Receipt>,
    evidence: Evidence,
}

impl Records {
    /// # Errors
    /// Where the events are not those of a run with this setup.
    pub fn of(setup: &RunSetup, events: &[Recorded]) -> Result<Self, ImpossibleTransition> {
        Ok(Self { receipts: receipt::all(setup, events)?, evidence: Evidence::of(events) })
    }

    /// Holds every value of a receipt against them, and the passes that it rests on.
    pub fn check(&self, claimed: &Claimed, earlier: &dyn Earlier) -> Vec<Check> {
        let receipt = &claimed.receipt;
        let mut checks = self.values(claimed);
        checks.extend(receipt.gates.iter().map(|gate| verdict(receipt, gate, &self.evidence, earlier)));
        checks.extend(receipt.overridden.iter().map(|overridden| {
            let message = format!("no proof: {overridden}");
            Check::new("override", Finding::Note, message)
        }));
        checks
    }

    fn values(&self, claimed: &Claimed) -> Vec<Check> {
        let same_landing = |made: &&Receipt| made.apex == claimed.receipt.apex;
        let same_commit = |made: &&Receipt| same_landing(made) && made.composite == claimed.receipt.composite;
        let made = || self.receipts.iter();
        let Some(made) = made().rfind(same_commit).or_else(|| made().rfind(same_landing)) else {
            return vec![Check::new("journal", Finding::Differs, "the run's journal has no such landing")];
        };
        let made = serde_json::to_value(made).expect("a receipt is made of strings, numbers and lists");
        let mut found = Vec::new();
        differences(&mut String::new(), &claimed.json, &made, &mut found);
        if found.is_empty() {
            return vec![Check::new("journal", Finding::Ok, "every value is as the run's journal has it")];
        }
        let more = found.len().saturating_sub(MAX_DIFFERENCES);
        found.truncate(MAX_DIFFERENCES);
        if more > 0 {
            found.push(Check::new("journal", Finding::Differs, format!("so do {more} more values")));
        }
        found
    }
}

/// One check for every value in which `claimed` is not `made`, with its place in the receipt.
fn differences(place: &mut String, claimed: &Value, made: &Value, found: &mut Vec<Check>) {
    let mut inner = |name: &str, claimed: Option<&Value>, made: Option<&Value>| {
        let end = place.len();
        place.push_str(name);
        differences(place, claimed.unwrap_or(&Value::Null), made.unwrap_or(&Value::Null), found);
        place.truncate(end);
    };
    match (claimed, made) {
        (Value::Object(claimed), Value::Object(made)) => {
            let keys: BTreeSet<&String> = claimed.keys().chain(made.keys()).collect();
            for key in keys {
                inner(&format!(".{key}"), claimed.get(key), made.get(key));
            }
        }
        (Value::Array(claimed), Value::Array(made)) => {
            for at in 0..claimed.len().max(made.len()) {
                inner(&format!("[{at}]"), claimed.get(at), made.get(at));
            }
        }
        _ if claimed == made => {}
        _ => {
            let message = format!("the receipt says {}, the run's journal {}", brief(claimed), brief(made));
            found.push(Check::new(place.trim_start_matches('.'), Finding::Differs, message));
        }
    }
}

/// A value in few words.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Object(_) | Value::Array(_) => "something else".to_owned(),
        Value::String(text) => text.chars().take(LONGEST_SHOWN).collect(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn verdict(receipt: &Receipt, gate: &ReceiptGate, evidence: &Evidence, earlier: &dyn Earlier) -> Check {
    let what = format!("gate {}", title(gate));
    let passed = |message: &str| Check::new(&what, Finding::Ok, message);
    let differs = |message: &str| Check::new(&what, Finding::Differs, message);
    if let Some(passes) = evidence.passes.get(&gate.key) {
        let mut trees = passes.iter().flatten();
        return match trees.any(|ran_on| evidence.speaks_for(gate.key, *ran_on, receipt.tree)) {
            true => passed("passed"),
            false => differs("it passed on another tree"),
        };
    }
    let Some(run) = evidence.reused.get(&gate.key) else {
        return differs("the run's journal has no pass of it");
    };
    match earlier.events(run) {
        None if earlier.remembers(gate.key, run) => {
            passed(&format!("passed in run {run}: its journal is not there any more, but the verdict is remembered"))
        }
        None => Check::new(&what, Finding::Gone, format!("known from run {run}, whose journal is not there any more")),
        Some(events) if Evidence::of(&events).passes.contains_key(&gate.key) => passed(&format!("passed in run {run}")),
        Some(_) => differs(&format!("known from run {run}, whose journal has no pass of it")),
    }
}

/// What to call a gate of a receipt.
pub fn title(gate: &ReceiptGate) -> String {
    gate.name.as_ref().map_or_else(|| format!("with key {}", gate.key), ToString::to_string)
}
