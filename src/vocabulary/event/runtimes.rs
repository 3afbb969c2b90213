//! What a run found of the runtimes that its plan names.

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
