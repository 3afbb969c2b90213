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

impl FixedImage {
    pub fn is_of(&self, runtime: &RuntimeName, image: &str) -> bool {
        self.runtime == *runtime && self.image == image
    }
}
