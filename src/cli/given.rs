//! What the command line asks of a run: for the run itself and whoever resumes it, and as words that can be shown again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::MergeArgs;
use crate::plan::MaxWorkers;
use crate::vocabulary::event::{FixedImage, OverrideGrant, RunStarted};
use crate::vocabulary::names::RuntimeName;

/// What the command line asks of a run beyond its plan; a resumption asks the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub push: Option<String>,
    pub urgent: bool,
    pub overrides: Option<OverrideGrant>,
    pub no_sign: bool,
    pub gate_timeout: Option<Duration>,
    pub runtime: Option<RuntimeName>,
    /// What was found of the images of containers.
    pub images: Vec<FixedImage>,
    /// Absolute.
    pub artifact_dir: Option<PathBuf>,
    /// All of that as it was given, to be shown.
    pub arguments: Vec<String>,
    /// Where it was given.
    pub directory: String,
}

impl Options {
    /// What was asked of a run when it began.
    pub(super) fn of(started: &RunStarted) -> Self {
        Self {
            push: started.push.clone(),
            urgent: started.urgent,
            overrides: started.overrides.as_deref().cloned(),
            no_sign: started.no_sign,
            gate_timeout: started.gate_timeout_ms.map(Duration::from_millis),
            runtime: started.runtime.clone(),
            images: started.images.clone(),
            artifact_dir: started.artifact_dir.clone().map(Into::into),
            arguments: started.arguments.clone(),
            directory: started.directory.clone(),
        }
    }
}

/// What was given beside the plan and `--execute`, in the order of the manual. How a run is shown, and what is told of its end,
/// changes nothing that it does, and may hold what is nobody's business.
pub(super) fn arguments(args: &MergeArgs) -> Vec<String> {
    let mut words = Words::default();
    let folder = |folder: &Path| folder.to_string_lossy().into_owned();
    words.option("--repo", Some(&args.repository.repo).filter(|repo| **repo != *".").map(|repo| folder(repo)));
    words.option("--target", args.target.clone());
    words.option(
        "--max-workers",
        args.max_workers.map(|workers| match workers {
            MaxWorkers::Auto => "auto".to_owned(),
            MaxWorkers::Fixed(number) => number.to_string(),
        }),
    );
    words.option("--gate-timeout", args.gate_timeout.map(|seconds| seconds.to_string()));
    words.option("--runtime", args.runtime.clone());
    words.option("--artifact-dir", args.artifact_dir.as_deref().map(folder));
    words.option("--push", args.push.as_deref().map(without_user));
    words.option("--deadline", args.deadline.map(|seconds| seconds.to_string()));
    for (flag, is_given) in [("--wait", args.wait), ("--urgent", args.urgent), ("--no-sign", args.no_sign)] {
        words.flag(flag, is_given);
    }
    for item in &args.overrides.overridden {
        words.option("--override", Some(item.clone()));
    }
    let one_line = |reason: &String| reason.split_whitespace().collect::<Vec<_>>().join(" ");
    words.option("--reason", args.overrides.reason.as_ref().map(one_line));
    words.flag("--afresh", args.afresh);
    words.0
}

#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn option(&mut self, option: &str, value: Option<String>) {
        match value {
            // Behind a space it would be read as an option of its own.
            Some(value) if value.starts_with('-') => self.0.push(format!("{option}={value}")),
            Some(value) => self.0.extend([option.to_owned(), value]),
            None => {}
        }
    }

    fn flag(&mut self, flag: &str, is_given: bool) {
        if is_given {
            self.0.push(flag.to_owned());
        }
    }
}

/// A remote's name or address, without who asks there: a token stands in that place, too (RFC 3986, 3.2.1).
fn without_user(remote: &str) -> String {
    let Some((scheme, rest)) = remote.split_once("://") else { return remote.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let has_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    // A password that was not encoded may have a slash of its own: the last @ of all ends it then.
    let is_cut = authority.rsplit_once(':').is_some_and(|(_, port)| !has_port(port));
    let user = authority.rfind('@').or_else(|| rest.rfind('@').filter(|_| is_cut));
    format!("{scheme}://{}", user.map_or(rest, |at| &rest[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_pushes_is_never_shown() {
        for (given, shown) in [
            ("origin", "origin"),
            ("git@example.com:team/x.git", "git@example.com:team/x.git"),
            ("https://example.com/x.git", "https://example.com/x.git"),
            ("https://t0ken@example.com/x.git", "https://example.com/x.git"),
            ("https://ann:pass@example.com:8443/x.git", "https://example.com:8443/x.git"),
            ("https://ann:pa/ss@example.com/x.git", "https://example.com/x.git"),
            ("https://ann:p@ss@example.com/x.git", "https://example.com/x.git"),
            ("https://example.com/x@v2.git", "https://example.com/x@v2.git"),
            ("ssh://git@example.com/x.git", "ssh://example.com/x.git"),
        ] {
            assert_eq!(without_user(given), shown);
        }
    }
}
