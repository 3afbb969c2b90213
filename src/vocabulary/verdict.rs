//! What a verdict depends on, part by part: the key that it is filed under is made of these, and
//! people are told which of them differed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{
    CommitId, DefinitionDigest, FileDigest, GateName, ItemName, RunId, SubjectDigest, TreeId, VerdictKey,
};

/// What every verdict of a run depends on besides the gate and the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Surroundings {
    /// The definition of `policy.setup`, if there is one.
    pub setup: Option<DefinitionDigest>,
    /// Operating system and architecture, such as `linux-x86_64`.
    pub platform: String,
    /// `policy.cacheSalt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// What `policy.fingerprint` printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

/// What a command said of the machine that gates run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fingerprint {
    /// Of all that it printed.
    pub digest: FileDigest,
    /// The beginning of that, for people.
    pub shown: String,
}

/// The key a verdict is filed under. `context`: the item and base that a gate is told about.
pub fn key(
    subject: SubjectDigest,
    definition: DefinitionDigest,
    context: Option<(&str, CommitId)>,
    surroundings: &Surroundings,
) -> VerdictKey {
    let setup = surroundings.setup.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
    let (item, base) = match &context {
        Some((item, base)) => (item.as_bytes(), base.as_bytes()),
        None => (b"".as_slice(), b"".as_slice()),
    };
    let mut parts =
        vec![subject.as_bytes(), definition.as_bytes(), &setup, surroundings.platform.as_bytes(), item, base];
    if let Some(salt) = &surroundings.salt {
        parts.extend([b"salt".as_slice(), salt.as_bytes()]);
    }
    if let Some(fingerprint) = &surroundings.fingerprint {
        parts.extend([b"fingerprint".as_slice(), fingerprint.digest.as_bytes()]);
    }
    VerdictKey::of(parts)
}

/// A gate as its verdicts depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateParts {
    pub name: GateName,
    pub definition: DefinitionDigest,
    pub run: String,
    pub cwd: String,
    /// Digests of the values of its own variables, by name: enough to see which differs.
    pub env: BTreeMap<String, FileDigest>,
    pub inputs: Option<Vec<String>>,
    pub artifacts: Vec<String>,
    /// Of its own, in milliseconds.
    pub timeout_ms: Option<u64>,
    pub clean: bool,
    /// What ran it, in words; not told of verdicts of before there was more than this machine's shell.
    #[serde(default = "local", skip_serializing_if = "is_local")]
    pub runtime: String,
}

fn local() -> String {
    "local".to_owned()
}

fn is_local(runtime: &str) -> bool {
    runtime == "local"
}

/// All that one key is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyParts {
    pub gate: GateParts,
    /// What the gate looks at: the tree, or what its inputs match there.
    pub subject: SubjectDigest,
    /// Where that was.
    pub tree: TreeId,
    /// For a gate with `context: true`.
    pub context: Option<(ItemName, CommitId)>,
    pub surroundings: Surroundings,
}

impl KeyParts {
    pub fn key(&self) -> VerdictKey {
        let context = self.context.as_ref().map(|(item, base)| (item.as_str(), *base));
        key(self.subject, self.gate.definition, context, &self.surroundings)
    }

    /// The parts in which `self` is not `then`, in the order people think of them. None of two equal
    /// keys.
    pub fn differences(&self, then: &Self) -> Vec<Difference> {
        let mut found = Differences(Vec::new());
        let (now, was) = (&self.gate, &then.gate);
        found.compare("gate", now.name.as_str(), was.name.as_str());
        found.compare("command", &now.run, &was.run);
        found.compare("cwd", &now.cwd, &was.cwd);
        let names: std::collections::BTreeSet<&String> = now.env.keys().chain(was.env.keys()).collect();
        for name in names {
            let words = |env: &BTreeMap<String, FileDigest>| match env.get(name) {
                None => "not set".to_owned(),
                // The value itself may be long, and is in the plan.
                Some(digest) => format!("set, digest {}", &digest.to_string()[..8]),
            };
            found.compare(&format!("env {name}"), &words(&now.env), &words(&was.env));
        }
        let globs = |globs: &[String]| {
            let mut globs = globs.to_vec();
            globs.sort_unstable();
            globs.join(" ")
        };
        let inputs = |gate: &GateParts| gate.inputs.as_deref().map_or_else(|| "the whole tree".to_owned(), globs);
        found.compare("inputs", &inputs(now), &inputs(was));
        found.compare("artifacts", &globs(&now.artifacts), &globs(&was.artifacts));
        let timeout = |gate: &GateParts| gate.timeout_ms.map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms"));
        found.compare("timeout of its own", &timeout(now), &timeout(was));
        found.compare("clean", &now.clean.to_string(), &was.clean.to_string());
        found.compare("runtime", &now.runtime, &was.runtime);
        if found.0.is_empty() && now.definition != was.definition {
            found.compare("definition", &now.definition.to_string(), &was.definition.to_string());
        }
        let context = |parts: &Self| match &parts.context {
            None => "none".to_owned(),
            Some((item, base)) => format!("{item} on {}", base.short()),
        };
        found.compare("context", &context(self), &context(then));
        let setup =
            |parts: &Self| parts.surroundings.setup.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
        found.compare("setup", &setup(self), &setup(then));
        found.compare("platform", &self.surroundings.platform, &then.surroundings.platform);
        let salt = |parts: &Self| parts.surroundings.salt.clone().unwrap_or_else(|| "none".to_owned());
        found.compare("cacheSalt", &salt(self), &salt(then));
        let print = |parts: &Self| match &parts.surroundings.fingerprint {
            None => "none".to_owned(),
            Some(print) => format!("{} (digest {})", print.shown, &print.digest.to_string()[..8]),
        };
        found.compare("fingerprint", &print(self), &print(then));
        if self.subject != then.subject {
            let (part, of_tree) = match &now.inputs {
                None => ("tree", ""),
                Some(_) => ("what the inputs match", "in tree "),
            };
            let place = |parts: &Self| format!("{of_tree}{}", parts.tree.short());
            found.0.push(Difference { part: part.to_owned(), now: place(self), then: place(then) });
        }
        found.0
    }
}

/// A part of a key that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub part: String,
    pub then: String,
    pub now: String,
}

struct Differences(Vec<Difference>);

impl Differences {
    fn compare(&mut self, part: &str, now: &str, then: &str) {
        if now != then {
            self.0.push(Difference { part: part.to_owned(), then: then.to_owned(), now: now.to_owned() });
        }
    }
}

/// What is remembered of a pass, for whoever reuses it to say what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Remembered {
    pub definition: DefinitionDigest,
    /// When the gate passed, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    pub duration_ms: u64,
    /// The gate failed on the same tree before it passed.
    pub flaky: bool,
    /// A copy of the log, in the folder of the run that reuses the pass; `None` where none was kept.
    pub log: Option<String>,
    pub log_digest: Option<FileDigest>,
}

/// A pass as a run tells it to those that come later.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPass {
    pub parts: KeyParts,
    pub run: RunId,
    pub at_ms: u64,
    pub duration_ms: u64,
    pub flaky: bool,
    /// The log's file and its digest.
    pub log: Option<(std::path::PathBuf, FileDigest)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> KeyParts {
        let tree = TreeId::from_bytes(&[1; 20]).unwrap();
        KeyParts {
            gate: GateParts {
                name: "unit".into(),
                definition: DefinitionDigest::of([b"unit".as_slice()]),
                run: "make test".to_owned(),
                cwd: String::new(),
                env: BTreeMap::from([("A".to_owned(), FileDigest::of([b"1".as_slice()]))]),
                inputs: None,
                artifacts: Vec::new(),
                timeout_ms: None,
                clean: false,
                runtime: "local".to_owned(),
            },
            subject: SubjectDigest::of([tree.as_bytes()]),
            tree,
            context: None,
            surroundings: Surroundings { platform: "linux-x86_64".to_owned(), ..Surroundings::default() },
        }
    }

    #[test]
    fn equal_parts_differ_in_nothing_and_every_part_that_differs_is_named() {
        let then = parts();
        assert_eq!(then.differences(&then), []);
        let mut now = parts();
        now.gate.run = "make check".to_owned();
        now.gate.env = BTreeMap::from([("B".to_owned(), FileDigest::of([b"1".as_slice()]))]);
        now.subject = SubjectDigest::of([b"another".as_slice()]);
        now.surroundings.platform = "linux-aarch64".to_owned();
        now.surroundings.salt = Some("2".to_owned());
        let digest = FileDigest::of([b"rustc 1.95".as_slice()]);
        now.surroundings.fingerprint = Some(Fingerprint { digest, shown: "rustc 1.95".to_owned() });
        let named: Vec<String> = now.differences(&then).into_iter().map(|difference| difference.part).collect();
        assert_eq!(named, ["command", "env A", "env B", "platform", "cacheSalt", "fingerprint", "tree"]);
        let command = &now.differences(&then)[0];
        assert_eq!((command.then.as_str(), command.now.as_str()), ("make test", "make check"));
    }

    #[test]
    fn salt_and_fingerprint_make_other_keys_and_neither_passes_for_the_other() {
        let with = |salt: Option<&str>, print: Option<&str>| {
            let mut parts = parts();
            parts.surroundings.salt = salt.map(str::to_owned);
            let digest = |text: &str| FileDigest::of([text.as_bytes()]);
            parts.surroundings.fingerprint =
                print.map(|text| Fingerprint { digest: digest(text), shown: text.to_owned() });
            parts.key()
        };
        let keys = [
            with(None, None),
            with(Some(""), None),
            with(Some("a"), None),
            with(None, Some("a")),
            with(None, Some("b")),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn a_definition_that_differs_in_what_is_not_kept_is_named_all_the_same() {
        let mut now = parts();
        now.gate.definition = DefinitionDigest::of([b"of a later lexpr".as_slice()]);
        assert_eq!(now.differences(&parts())[0].part, "definition");
        assert_ne!(now.key(), parts().key());
    }
}
