//! The environment a gate runs in: the caller's without what belongs to the caller's repository,
//! the slot's, the gate's own, and what lexpr tells it. Nothing is read here but the arguments.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::orphans::STARTED_FOR;
use crate::ports::JobGateRun;
use crate::vocabulary::names::{CommitId, ItemName, RunId, TreeId};

/// What lexpr tells commands in slots. Those a command is not told are unset, lest it take
/// those of a lexpr that runs this one for its own.
const TOLD: [&str; 8] = [
    "LEXPR_RUN",
    "LEXPR_GATE",
    "LEXPR_COMMIT",
    "LEXPR_TREE",
    "LEXPR_ATTEMPT",
    "LEXPR_ARTIFACTS",
    "LEXPR_ITEM",
    "LEXPR_BASE",
];

/// A whole environment.
pub(super) type Environment = BTreeMap<OsString, OsString>;

/// What every command in a slot is told.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) run: &'a RunId,
    pub(super) mark: &'a str,
    pub(super) commit: CommitId,
    pub(super) tree: TreeId,
}

/// What a gate is told beyond that.
#[derive(Debug)]
pub(super) struct GateTold<'a> {
    pub(super) name: &'a str,
    pub(super) attempt: u32,
    pub(super) artifacts: &'a Path,
    /// For a gate with `context: true`.
    pub(super) context: Option<(&'a ItemName, CommitId)>,
}

impl<'a> GateTold<'a> {
    /// What one attempt of a gate is told, whose composite stands on `base`.
    pub(super) fn of(run: &'a JobGateRun, base: CommitId, attempt: u32, artifacts: &'a Path) -> Self {
        let context = run.item.as_ref().filter(|_| run.gate.context).map(|item| (item, base));
        Self { name: run.gate.name.as_str(), attempt, artifacts, context }
    }
}

/// The environment of commands in a slot: `callers` without `GIT_*`, which point git at the
/// caller's repository; then `slots`, which keep git in the slot; then what lexpr tells.
pub(super) fn of_slot(
    callers: &[(OsString, OsString)],
    slots: Vec<(OsString, OsString)>,
    told: &Surroundings,
) -> Environment {
    let is_callers_own = |name: &OsStr| {
        !name.as_encoded_bytes().starts_with(b"GIT_") && !TOLD.iter().any(|told| OsStr::new(told) == name)
    };
    let mut environment: Environment = callers.iter().filter(|(name, _)| is_callers_own(name)).cloned().collect();
    environment.extend(slots);
    told.tell(&mut environment);
    environment
}

impl Surroundings<'_> {
    fn tell(&self, environment: &mut Environment) {
        tell(environment, "LEXPR_RUN", self.run);
        tell(environment, STARTED_FOR, self.mark);
        tell(environment, "LEXPR_COMMIT", self.commit);
        tell(environment, "LEXPR_TREE", self.tree);
    }
}

/// Adds a gate's own variables, which may replace the caller's and the slot's, and what lexpr
/// tells it, which nothing replaces.
pub(super) fn of_gate(
    mut environment: Environment,
    own: &BTreeMap<String, String>,
    surroundings: &Surroundings,
    told: &GateTold,
) -> Environment {
    environment.extend(own.iter().map(|(name, value)| (name.into(), value.into())));
    surroundings.tell(&mut environment);
    tell(&mut environment, "LEXPR_GATE", told.name);
    tell(&mut environment, "LEXPR_ATTEMPT", told.attempt);
    environment.insert("LEXPR_ARTIFACTS".into(), told.artifacts.into());
    if let Some((item, base)) = told.context {
        tell(&mut environment, "LEXPR_ITEM", item);
        tell(&mut environment, "LEXPR_BASE", base);
    }
    environment
}

/// The environment of a gate that sees nothing of this machine's: its own variables, and what lexpr tells it.
/// [`GateTold::artifacts`] is a folder there, or is told by whoever knows where it is.
pub(super) fn of_gate_elsewhere(
    own: &BTreeMap<String, String>,
    surroundings: &Surroundings,
    told: &GateTold,
) -> Environment {
    let mut environment = of_gate(Environment::new(), own, surroundings, told);
    environment.remove(OsStr::new("LEXPR_ARTIFACTS"));
    // It finds its repository where it stands, and no question of git's holds it up.
    environment.entry("GIT_TERMINAL_PROMPT".into()).or_insert("0".into());
    environment
}

fn tell(environment: &mut Environment, name: &str, value: impl ToString) {
    environment.insert(name.into(), value.to_string().into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn later_sources_win_but_what_lexpr_tells_stands() {
        let callers = pairs(&[
            ("PATH", "/bin"),
            ("CI", "1"),
            ("GIT_DIR", "/home/ann/project/.git"),
            ("GIT_INDEX_FILE", "/x"),
            ("LEXPR_ITEM", "of another lexpr"),
            ("LEXPR_COMMIT", "of another lexpr"),
        ]);
        let run = RunId::from("r1");
        let (commit, tree) = ("1".repeat(40).parse().unwrap(), "2".repeat(40).parse().unwrap());
        let slots = pairs(&[("GIT_CEILING_DIRECTORIES", "/cache")]);
        let surroundings = Surroundings { run: &run, mark: "r1@1.2", commit, tree };
        let environment = of_slot(&callers, slots, &surroundings);
        let own = BTreeMap::from(
            [("CI", "2"), ("LEXPR_RUN", "mine"), ("GIT_AUTHOR_NAME", "Gate")]
                .map(|(n, v)| (n.to_owned(), v.to_owned())),
        );
        let told = GateTold { name: "unit", attempt: 2, artifacts: Path::new("/a"), context: None };
        let environment = of_gate(environment, &own, &surroundings, &told);
        let ones = "1".repeat(40);
        let twos = "2".repeat(40);
        let expected = pairs(&[
            ("CI", "2"),
            ("GIT_AUTHOR_NAME", "Gate"),
            ("GIT_CEILING_DIRECTORIES", "/cache"),
            ("LEXPR_ARTIFACTS", "/a"),
            ("LEXPR_ATTEMPT", "2"),
            ("LEXPR_COMMIT", &ones),
            ("LEXPR_GATE", "unit"),
            ("LEXPR_GATE_OF", "r1@1.2"),
            ("LEXPR_RUN", "r1"),
            ("LEXPR_TREE", &twos),
            ("PATH", "/bin"),
        ]);
        assert_eq!(environment.into_iter().collect::<Vec<_>>(), expected);
    }
}
