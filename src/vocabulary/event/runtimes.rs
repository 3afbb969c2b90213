//! What a run found of the runtimes that its plan names.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vocabulary::names::RuntimeName;

/// What the name of an image stood for when the run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FixedImage {
    pub runtime: RuntimeName,
    /// As the plan names it.
    pub image: String,
    /// The program that has it.
    pub engine: String,
    /// By which that program knows the image, whatever its name comes to stand for.
    pub id: String,
}

/// Where an attempt of a gate ran that took no slot of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RanElsewhere {
    /// `None` where it did not get that far, or nobody told.
    pub node: Option<String>,
    /// From when it was asked for until a node had it.
    pub queued_ms: u64,
}

/// Checks that a gate waits for and that nothing reports as, on the commit that it is to judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MissingChecks {
    pub missing: Vec<String>,
    /// All that the gate needs.
    pub expected: Vec<String>,
    /// What has reported, by name; of many the first.
    pub present: Vec<String>,
    /// How many have reported beside those.
    #[serde(default, skip_serializing_if = "is_none")]
    pub more: u64,
    /// For so long nothing new has reported, and nothing was at work.
    pub quiet_ms: u64,
}

/// serde asks with a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

impl fmt::Display for MissingChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.quiet_ms / 1000;
        let (missing, expected) = (self.missing.join(", "), self.expected.join(", "));
        let present = if self.present.is_empty() { "none".to_owned() } else { self.present.join(", ") };
        write!(
            f,
            "nothing has reported as {missing} on this commit for {} min {} s; these checks are expected: {expected}; \
             these exist: {present}",
            seconds / 60,
            seconds % 60
        )?;
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

/// What ran a gate that this machine's shell did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RanBy {
    pub name: RuntimeName,
    /// Of a container, as the plan names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What that stood for, as its engine knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
}

impl RanBy {
    /// In a slot of this machine, in a container there; whatever has no image runs elsewhere, on a tree of its own.
    pub fn has_slot(&self) -> bool {
        self.image.is_some()
    }
}

impl FixedImage {
    pub fn is_of(&self, runtime: &RuntimeName, image: &str) -> bool {
        self.runtime == *runtime && self.image == image
    }
}
