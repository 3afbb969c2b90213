//! What becomes of an item, and why: the decisions of a run, and how every item ends.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Conflict;
use crate::vocabulary::names::{ApexId, CommitId, GateName, ItemName, VerdictKey};

/// A decision on one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemDecided {
    pub item: ItemName,
    pub decision: Decision,
    /// `None` for `passed`.
    pub reason: Option<Reason>,
    /// What is known of the item's own gates, in plan order.
    pub gates: Vec<ItemVerdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// Its gates passed on its cone: it may be part of an apex. The only decision that is not final.
    Passed,
    Failed,
    Conflicted,
    Blocked,
    Unjudged,
}

/// One of an item's gates and the verdict that stands for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemVerdict {
    pub gate: GateName,
    /// `None` where no tree was there to judge.
    pub key: Option<VerdictKey>,
    pub required: bool,
    pub status: ItemGateStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ItemGateStatus {
    Passed,
    /// Passed, after failing on the same tree.
    Flaky,
    Failed,
    /// lexpr could not run it.
    Unjudged,
    /// Not run: an earlier gate failed, or the item never came to it.
    NotRun,
    /// The gate does not run on cones (`at: [apex]`).
    ApexOnly,
}

/// Why an item ended as it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "because", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reason {
    /// A required gate fails with the item and passes without it; `fails_without_too` where only
    /// this item has the gate, which then may test what the item brings.
    GateFailed { gate: GateName, key: VerdictKey, apex: Option<ApexId>, fails_without_too: bool },
    /// It conflicts with the base and its dependencies, or with the tip after all ahead of it.
    Conflict { at_tip: bool, conflict: Conflict },
    /// An item it depends on, directly or not, did not land; `root` is the one it all began with.
    DependencyFailed { root: ItemName },
    /// An item it depends on is overridden: that one lands after all others, and nothing behind it in the same run.
    DependencyOverridden { root: ItemName },
    /// Two of its dependencies conflict with each other.
    DependenciesConflict { first: ItemName, second: ItemName, paths: Vec<String> },
    /// A gate's name matches a glob of `policy.blockOn`.
    BlockOn { gate: GateName, glob: String },
    /// A gate that several items share fails without the item, too.
    RedOnTarget { gate: GateName, key: VerdictKey },
    /// A gate that several items share fails on the item's dependencies without the item.
    DependenciesFail { gate: GateName, key: VerdictKey },
    /// lexpr could not run a gate, and tried more than once.
    Infrastructure { gate: GateName, message: String },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GateFailed { gate, fails_without_too: true, .. } => {
                write!(f, "gate {gate} failed (it fails without this item too: it may test what the item brings)")
            }
            Self::GateFailed { gate, apex: Some(_), .. } => {
                write!(f, "gate {gate} fails with this item on top of those that land before it, and passes without it")
            }
            Self::GateFailed { gate, .. } => write!(f, "gate {gate} failed"),
            Self::Conflict { at_tip, conflict } => {
                match (&conflict.with, at_tip) {
                    (Some(other), _) => write!(f, "conflicts with {other}")?,
                    (None, true) => f.write_str("conflicts with the target's tip")?,
                    (None, false) => f.write_str("conflicts with the base")?,
                }
                match (conflict.paths.is_empty(), conflict.messages.first()) {
                    (true, Some(message)) => write!(f, ": {}", in_one_line(message)),
                    _ => in_paths(f, &conflict.paths),
                }
            }
            Self::DependencyFailed { root } => write!(f, "depends on {root}, which did not land"),
            Self::DependencyOverridden { root } => {
                write!(f, "depends on {root}, which is overridden and so lands last: run the plan again after that")
            }
            Self::DependenciesConflict { first, second, paths } => {
                write!(f, "its dependencies {first} and {second} conflict with each other")?;
                in_paths(f, paths)
            }
            Self::BlockOn { gate, glob } => write!(f, "gate {gate} matches blockOn {glob:?}"),
            Self::RedOnTarget { gate, .. } => write!(f, "the target already fails {gate} without this item"),
            Self::DependenciesFail { gate, .. } => {
                write!(f, "its dependencies together already fail {gate} without this item")
            }
            Self::Infrastructure { gate, message } => {
                write!(f, "gate {gate} could not be run: {}", in_one_line(message))
            }
        }
    }
}

/// The lines of a message, such as one of git's, as one: `a; b`.
pub fn in_one_line(message: &str) -> Cow<'_, str> {
    let message = message.trim();
    if !message.contains('\n') {
        return Cow::Borrowed(message);
    }
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Cow::Owned(lines.join("; "))
}

/// ` in a, b and 3 more`: enough to start looking, never a screenful.
fn in_paths(f: &mut fmt::Formatter<'_>, paths: &[String]) -> fmt::Result {
    const SHOWN: usize = 3;
    if paths.is_empty() {
        return Ok(());
    }
    write!(f, " in {}", paths[..paths.len().min(SHOWN)].join(", "))?;
    match paths.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// An item that others have landed while the run was under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LandedByOthers {
    pub item: ItemName,
    /// The commit on the target's line by which it came; `None` where no single one can be named.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub landed_as: Option<CommitId>,
}

/// How one item ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FinalItem {
    pub name: ItemName,
    pub status: FinalStatus,
    /// For every status but `landed`, `alreadyLanded`, `skipped` and `notLanded`. It may name an
    /// earlier root cause than the item's own decision did: by then all causes are known.
    pub reason: Option<Reason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FinalStatus {
    Landed,
    AlreadyLanded,
    Failed,
    Conflicted,
    Blocked,
    /// The run ended before the item's turn came.
    Skipped,
    /// Something other than the item kept it from being judged.
    Unjudged,
    /// It passed, but the run ended before it could land.
    NotLanded,
}

impl FinalStatus {
    pub const ALL: [Self; 8] = [
        Self::Landed,
        Self::AlreadyLanded,
        Self::Failed,
        Self::Conflicted,
        Self::Blocked,
        Self::Skipped,
        Self::Unjudged,
        Self::NotLanded,
    ];

    /// The word used in reports, for example `alreadyLanded`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::AlreadyLanded => "alreadyLanded",
            Self::Failed => "failed",
            Self::Conflicted => "conflicted",
            Self::Blocked => "blocked",
            Self::Skipped => "skipped",
            Self::Unjudged => "unjudged",
            Self::NotLanded => "notLanded",
        }
    }
}

impl fmt::Display for FinalStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_reads_as_one() {
        assert_eq!(in_one_line("fatal: no\n"), "fatal: no");
        assert_eq!(in_one_line("error: a\r\n\n  hint: b\nfatal: c\n"), "error: a; hint: b; fatal: c");
        let reason =
            Reason::Infrastructure { gate: GateName::new("unit"), message: "git fetch failed\nfatal: no".into() };
        assert_eq!(reason.to_string(), "gate unit could not be run: git fetch failed; fatal: no");
    }
}
