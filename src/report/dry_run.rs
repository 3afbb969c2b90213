//! What a run would do, as far as it can be known without running a gate: levels, composites,
//! conflicts and gates. Whoever made the composites fills [`DryRun`] in; here it is only shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forecast::OutlookInShort;
use crate::vocabulary::event::{Conflict, LinedUpItem, Reason, SetAside, SetAsideCause};
use crate::vocabulary::names::{CommitId, GateName, ItemName, PlanDigest, RunId, TreeId};
use crate::wording::{Paint, Tone, count, counted, duration, list, ref_name, shown};

/// As many paths as the sentence of a [`Reason`] names.
const PATHS_IN_SENTENCE: usize = 3;

/// What is said of an item that `--override` names.
const LANDS_LAST: &str = "lands last, overridden if its gates do not pass";

/// The same of one that would not land whatever its gates say.
const NO_HELP: &str = "--override does not help: it is for gates alone";

/// A dry run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// [`super::json::REPORT_VERSION`] of the writer.
    pub report_version: u32,
    /// lexpr's own version.
    pub lexpr_version: String,
    /// Where the plan was read from, or `-`.
    pub plan: String,
    /// What the command line asked for beside the plan, as words; without what only shows a run, and without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    pub plan_digest: PlanDigest,
    /// The git directory that all worktrees share.
    pub repository: String,
    /// The full name of the target's ref.
    pub target: String,
    /// Where the target is.
    pub base: CommitId,
    pub max_workers: u32,
    /// How long it took to find all of this out.
    pub duration_ms: u64,
    /// In canonical order.
    pub items: Vec<DryRunItem>,
    /// Items that would be gated together instead of each on its cone, where the plan has `groupSize`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<DryRunGroup>,
    /// What would land if every gate passed, in order: each on the one before it.
    pub apexes: Vec<DryRunApex>,
    /// Images of gates that are not on this machine: no verdict of these gates is known before they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images_not_here: Vec<String>,
    /// A run of this very plan has not come to its end: `--execute` is refused beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<RunId>,
    /// What `lexpr forecast` says, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlook: Option<OutlookInShort>,
}

/// One item of a dry run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRunItem {
    #[serde(flatten)]
    pub item: LinedUpItem,
    pub forecast: Forecast,
    /// It comes after all others, and lands overridden if its gates do not pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_overridden: bool,
    /// What `--reason` says of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
    /// Why it would not merge.
    pub because: Option<Reason>,
    /// The item on base and its dependencies, where that could be made.
    pub cone: Option<DryRunCone>,
}

/// The composite that an item would be judged on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRunCone {
    pub commit: CommitId,
    pub tree: TreeId,
    /// The gates that would run on it, in order; those with a known verdict are not among them.
    pub gates: Vec<GateName>,
}

/// A composite that several items would be judged on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRunGroup {
    /// In canonical order.
    pub items: Vec<ItemName>,
    pub commit: CommitId,
    pub tree: TreeId,
    /// The gates that would run on it, in order; those with a known verdict are not among them.
    pub gates: Vec<GateName>,
}

/// What would become of an item if every gate passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Forecast {
    /// It merges with everything ahead of it.
    Lands,
    /// The target has it.
    AlreadyLanded,
    /// git reports a conflict.
    Conflicted,
    /// Something it depends on would not land.
    Blocked,
}

/// A composite that would land.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRunApex {
    /// In canonical order, without those set aside.
    pub items: Vec<ItemName>,
    pub commit: CommitId,
    pub tree: TreeId,
    /// Items that could not become part of it.
    pub set_aside: Vec<SetAside>,
    /// The gates that would run on it, in order.
    pub gates: Vec<GateName>,
}

impl DryRun {
    /// Every item would land or has landed.
    pub fn is_clean(&self) -> bool {
        self.items.iter().all(DryRunItem::would_land)
    }

    /// The items of each level, from 0; within a level in canonical order.
    pub fn levels(&self) -> BTreeMap<u32, Vec<&DryRunItem>> {
        let mut levels: BTreeMap<u32, Vec<&DryRunItem>> = BTreeMap::new();
        for item in &self.items {
            levels.entry(item.item.level).or_default().push(item);
        }
        levels
    }

    /// The number of items with this forecast.
    pub fn with(&self, forecast: Forecast) -> usize {
        self.items.iter().filter(|item| item.forecast == forecast).count()
    }

    /// How many times a gate would have to run if every one passed at its first try; without what free slots may ask
    /// for ahead of answers.
    pub fn gate_runs(&self) -> usize {
        let on_cones = self.items.iter().filter_map(|item| item.cone.as_ref()).map(|cone| cone.gates.len());
        let on_groups = self.groups.iter().map(|group| group.gates.len());
        on_cones.chain(on_groups).chain(self.apexes.iter().map(|apex| apex.gates.len())).sum()
    }

    /// Where the target would be if every gate passed.
    pub fn tip(&self) -> CommitId {
        self.apexes.last().map_or(self.base, |apex| apex.commit)
    }

    /// `7 of 8 items would land on main if every gate passed: 1 conflicted`.
    pub fn headline(&self) -> String {
        let mut line = format!(
            "{} of {} would land on {} if every gate passed",
            self.with(Forecast::Lands),
            count(self.items.len(), "item"),
            ref_name(&self.target)
        );
        let others = [
            (Forecast::Conflicted, "conflicted"),
            (Forecast::Blocked, "blocked"),
            (Forecast::AlreadyLanded, "landed before"),
        ];
        line.push_str(&counted(others.into_iter().map(|(forecast, word)| (self.with(forecast), word))));
        line
    }

    /// What could not be looked at, a sentence each.
    pub fn unknown(&self) -> impl Iterator<Item = String> {
        let sentence = |image: &String| format!("image {} is not here: nothing is known of its gates", shown(image));
        self.images_not_here.iter().map(sentence)
    }

    /// The one thing to do next.
    pub fn next_step(&self) -> String {
        if let Some(run) = &self.unfinished {
            return format!("`lexpr resume {run}` goes on with the run of this plan that has not come to its end.");
        }
        // An override asks for it that others wait for a later run.
        let waits = |item: &DryRunItem| matches!(item.because, Some(Reason::DependencyOverridden { .. }));
        let blamed = self.items.iter().find(|item| item.forecast == Forecast::Conflicted);
        let blocked = || self.items.iter().find(|item| item.forecast == Forecast::Blocked && !waits(item));
        if let Some(item) = blamed.or_else(blocked) {
            return format!(
                "see to {}, or run the same command with --execute to land the others.",
                shown(item.item.name.as_str())
            );
        }
        if self.with(Forecast::Lands) == 0 {
            return format!("nothing: everything in the plan is in {} already.", ref_name(&self.target));
        }
        match self.items.iter().filter(|item| waits(item)).count() {
            0 => "run the same command with --execute to gate and land.".to_owned(),
            waiting => format!(
                "run the same command with --execute to gate and land, and once more for the {} behind an override.",
                count(waiting, "item")
            ),
        }
    }

    /// The dry run for a terminal. Ends with a newline.
    pub fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        for (level, items) in self.levels() {
            let _ = writeln!(out, "{}", paint.paint(Tone::Strong, &format!("level {level}")));
            for item in items {
                let _ = writeln!(out, "  {}", item.line(paint));
                for path in item.more_paths() {
                    let _ = writeln!(out, "{:>18}{}", "", shown(path));
                }
            }
        }
        let composite = |out: &mut String, what: &str, of: &str, commit: CommitId, tree: TreeId, gates: &[GateName]| {
            let gates = if gates.is_empty() { "no gates".to_owned() } else { list(names(gates)) };
            let (commit, tree) = (commit.short(), tree.short());
            let _ = writeln!(out, "{}: {of} as {commit}, tree {tree}; gates: {gates}", paint.paint(Tone::Strong, what));
        };
        for (at, group) in self.groups.iter().enumerate() {
            let items = list(group.items.iter().map(ItemName::as_str));
            composite(&mut out, &format!("group {}", at + 1), &items, group.commit, group.tree, &group.gates);
        }
        for (at, apex) in self.apexes.iter().enumerate() {
            let items = count(apex.items.len(), "item");
            composite(&mut out, &format!("apex {}", at + 1), &items, apex.commit, apex.tree, &apex.gates);
        }
        let tone = if self.is_clean() { Tone::Good } else { Tone::Bad };
        let _ = writeln!(out, "{}", paint.paint(tone, &self.headline()));
        let _ = writeln!(
            out,
            "  {} would have to run if every one passed, at most {} at once; looked at in {}; nothing was written to the repository",
            count(self.gate_runs(), "gate"),
            self.max_workers,
            duration(self.duration_ms)
        );
        for line in self.outlook.iter().flat_map(OutlookInShort::lines).chain(self.unknown()) {
            let _ = writeln!(out, "  {line}");
        }
        let _ = writeln!(out, "{} {}", paint.paint(Tone::Strong, "Next:"), self.next_step());
        out
    }
}

impl DryRunItem {
    /// It lands, or has landed.
    pub fn would_land(&self) -> bool {
        matches!(self.forecast, Forecast::Lands | Forecast::AlreadyLanded)
    }

    fn line(&self, paint: Paint) -> String {
        let mut line = format!(
            "{} {}",
            paint.paint(self.forecast.tone(), &format!("{:<13}", self.forecast.words())),
            paint.paint(Tone::Strong, &shown(self.item.name.as_str()))
        );
        if let Some(why) = self.why() {
            let _ = write!(line, ": {}", shown(&why));
        }
        if let Some(note) = self.override_note() {
            let _ = write!(line, "; {}", shown(&note));
        }
        if !self.item.deps.is_empty() {
            let deps =
                list(self.item.deps.iter().map(|dep| {
                    if self.item.implied.contains(dep) { format!("{dep} (implied)") } else { dep.to_string() }
                }));
            let _ = write!(line, "; after {deps}");
        }
        if let Some(cone) = &self.cone
            && !cone.gates.is_empty()
        {
            let _ = write!(line, "; gates: {}", list(names(&cone.gates)));
        }
        line
    }

    /// Said of what would land after all others, whether its gates pass or not.
    pub fn lands_last(&self) -> Option<String> {
        (self.may_be_overridden && self.forecast == Forecast::Lands).then(|| match &self.override_reason {
            None => LANDS_LAST.to_owned(),
            Some(reason) => format!("{LANDS_LAST} ({reason})"),
        })
    }

    /// What `--override` comes to for it, where that names it.
    pub fn override_note(&self) -> Option<String> {
        let in_vain = self.may_be_overridden && !self.would_land();
        self.lands_last().or_else(|| in_vain.then(|| NO_HELP.to_owned()))
    }

    /// What there is to say of it beside its forecast: why it would not land, and what an override comes to.
    pub fn remark(&self) -> Option<String> {
        let parts: Vec<String> = self.why().into_iter().chain(self.override_note()).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Why it would not land, in words.
    pub fn why(&self) -> Option<String> {
        match &self.because {
            Some(Reason::DependencyFailed { root }) => Some(format!("depends on {root}, which would not land")),
            Some(other) => Some(other.to_string()),
            None => self.item.already_landed.clone(),
        }
    }

    /// The paths it conflicts in, where the sentence of [`DryRunItem::why`] names only some.
    fn more_paths(&self) -> &[String] {
        match &self.because {
            Some(
                Reason::Conflict { conflict: Conflict { paths, .. }, .. } | Reason::DependenciesConflict { paths, .. },
            ) if paths.len() > PATHS_IN_SENTENCE => paths,
            _ => &[],
        }
    }
}

impl Forecast {
    pub fn words(self) -> &'static str {
        match self {
            Self::Lands => "lands",
            Self::AlreadyLanded => "landed before",
            Self::Conflicted => "conflicted",
            Self::Blocked => "blocked",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Lands => Tone::Good,
            Self::AlreadyLanded => Tone::Quiet,
            Self::Conflicted => Tone::Bad,
            Self::Blocked => Tone::Notice,
        }
    }
}

/// Why an item is not in a composite, in words.
pub fn set_aside_text(aside: &SetAside) -> String {
    match &aside.cause {
        SetAsideCause::Conflict(conflict) => Reason::Conflict { at_tip: true, conflict: conflict.clone() }.to_string(),
        SetAsideCause::Dependency { on } => format!("depends on {on}, which is not in it"),
    }
}

pub(crate) fn names(gates: &[GateName]) -> impl Iterator<Item = &str> {
    gates.iter().map(GateName::as_str)
}
