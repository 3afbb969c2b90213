//! What a command that is no run has other engines do, written down in its folder before anything begins there: should it be
//! killed, `lexpr clean` knows what to take away. Settings are those of the plan, of which a copy is kept beside it; what the
//! plan does not say, such as a token, is not in here either.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::failure::Failure;
use crate::plan::Plan;
use crate::plan::check::{Checked, check};
use crate::plan::runtime::{Asked, Runtime};
use crate::runs::RunFolder;
use crate::vocabulary::event::FixedImage;
use crate::vocabulary::names::{RunId, RuntimeName};

const NAME: &str = "elsewhere.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Note {
    /// As which it is known elsewhere.
    pub run: RunId,
    /// The command, for people.
    pub command: String,
    pub runtime: RuntimeName,
    /// The exchange's address.
    pub exchange: String,
    /// The repository whose ways to the exchange were used.
    pub repository: PathBuf,
    /// Of containers.
    pub images: Vec<FixedImage>,
}

impl Note {
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn write(&self, folder: &RunFolder, plan: &str) -> Result<(), Failure> {
        let path = folder.plan();
        std::fs::write(&path, plan).map_err(|error| Failure::io("writing", &path, &error))?;
        let text = serde_json::to_string(self)
            .map_err(|error| Failure::internal(format!("writing down what begins elsewhere: {error}")))?;
        // It is there as a whole or not at all.
        let (path, first) = (folder.path.join(NAME), folder.path.join("elsewhere.new"));
        std::fs::write(&first, text)
            .and_then(|()| std::fs::rename(&first, &path))
            .map_err(|error| Failure::io("writing", &path, &error))
    }

    /// That of a folder; `None` where there is none, or it cannot be read.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(folder.join(NAME)).ok()?).ok()
    }

    /// The plan that it is of, and the runtime in it.
    ///
    /// # Errors
    /// Where the plan cannot be read, or has no such runtime.
    pub(in crate::cli) fn plan(&self, folder: &RunFolder) -> Result<(Plan, Runtime), Failure> {
        let path = folder.plan();
        let text = std::fs::read(&path).map_err(|error| Failure::io("reading", &path, &error))?;
        let Checked { plan, .. } = check(&path.to_string_lossy(), &text)
            .map_err(|_| Failure::internal(format!("{} is not valid any more", path.display())))?;
        let runtime = runtime_of(&plan, self.runtime.as_str())
            .ok_or_else(|| Failure::internal(format!("{} has no runtime {}", path.display(), self.runtime)))?;
        Ok((plan, runtime))
    }
}

/// As some gate of the plan has it: what is had there is found by any.
fn runtime_of(plan: &Plan, name: &str) -> Option<Runtime> {
    let asked = plan.items.iter().flat_map(|item| &item.gates).map(|gate| gate.asked.clone());
    asked.chain([Asked::default()]).find_map(|asked| plan.policy.runtimes.of(name, &asked).ok())
}
