//! Checks gates and makes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::policy::GateRules;
use super::{Checker, seconds};
use crate::plan::conform::missing_key;
use crate::plan::file::{AtFile, GateFile};
use crate::plan::globs::{bounded_together, path_glob};
use crate::plan::limits_file::ClaimsFile;
use crate::plan::pointer::{Pointer, Step};
use crate::plan::problem::{Quoted, nearest};
use crate::plan::runtime::Runtime;
use crate::plan::{Gate, GateAt};
use crate::vocabulary::names::{DefinitionDigest, GateName};

/// Variables that lexpr sets itself.
const OWN_VARIABLES: &str = "LEXPR_";

impl Checker<'_> {
    /// The gates of one list, which stands at `list`.
    pub(super) fn gates(&mut self, list: &Pointer, files: Vec<GateFile>, rules: &GateRules) -> Vec<Arc<Gate>> {
        let places: Vec<Pointer> = self.conformity.places(list, files.len()).collect();
        let mut first: BTreeMap<String, Pointer> = BTreeMap::new();
        let mut gates = Vec::with_capacity(files.len());
        for (file, place) in files.into_iter().zip(places) {
            if let Some(name) = &file.name {
                if let Some(before) = first.get(name) {
                    let message = format!("two gates here are called {}", Quoted(name));
                    let mut problem = self.document.error(&place.join("name"), message);
                    problem.related.push((self.document.used_at(&before.join("name")), "the first".to_owned()));
                    self.report(problem.hint("reports and policies tell them apart by name"));
                } else {
                    first.insert(name.clone(), place.clone());
                }
            }
            gates.extend(self.gate(&place, file, rules).map(Arc::new));
        }
        gates
    }

    fn gate(&mut self, place: &Pointer, mut file: GateFile, rules: &GateRules) -> Option<Gate> {
        if let Some(name) = &file.name {
            self.name(|| place.join("name"), name);
        }
        if let Some(run) = &file.run {
            self.command(&place.join("run"), run);
        }
        let (runtime, asked) = self.runtime(place, &mut file, rules);
        let run_of_its_own = runtime.as_ref().is_some_and(|runtime| runtime.ci_service().is_some());
        if file.run.is_none() && !run_of_its_own {
            // Whoever runs it may be one that needs none.
            if runtime.is_some() && !self.conformity.is_faulty(&place.join("run")) {
                self.report(missing_key(self.document, place, "run"));
            }
            return None;
        }
        let env = file.env.unwrap_or_default();
        self.env(&place.join("env"), &env);
        let cwd = self.cwd(&place.join("cwd"), file.cwd.as_deref().unwrap_or_default());
        if let Some(inputs) = &file.inputs {
            self.path_globs(&place.join("inputs"), inputs);
        }
        let artifacts = file.artifacts.unwrap_or_default();
        self.path_globs(&place.join("artifacts"), &artifacts);
        let resources = self.claims(&place.join("resources"), file.resources, rules);

        let (name, run) = (file.name?, file.run.unwrap_or_default());
        let required = !rules.optional.contains(&name);
        let at = file.at.as_deref().map_or(GateAt { cone: true, apex: true }, |at| GateAt {
            cone: at.contains(&AtFile::Cone),
            apex: at.contains(&AtFile::Apex),
        });
        if !required && !at.cone {
            let message = format!("the gate {} would never run: optional gates run at the cone only", Quoted(&name));
            self.error_with_hint(&place.join("at"), message, "add `cone`, or take the gate out of `optionalGates`");
        }
        if let Some(landing) = rules.landing.without_cones().filter(|_| required && !at.apex) {
            let message = format!("the gate {} would never run: `landing: {landing}` gates no cones", Quoted(&name));
            self.error_with_hint(&place.join("at"), message, "add `apex`, or write `landing: pyramid`");
        }
        let (clean, context) = (file.clean.unwrap_or(false), file.context.unwrap_or(false));
        let definition = Definition {
            name: &name,
            run: &run,
            cwd: &cwd,
            env: &env,
            inputs: file.inputs.as_deref(),
            artifacts: &artifacts,
            timeout_seconds: file.timeout_seconds,
            clean,
            context,
            rate_limit_exit_code: file.rate_limit_exit_code,
        };
        let digest = definition.digest();
        let gate = Gate {
            definition: digest,
            local_definition: digest,
            runtime: Runtime::Local,
            asked,
            retry: rules.retry(&name),
            name: GateName::new(name),
            run,
            cwd,
            env,
            timeout: file.timeout_seconds.map_or(rules.timeout, seconds),
            own_timeout: file.timeout_seconds.is_some(),
            inputs: file.inputs,
            resources,
            rate_limit_exit_code: file.rate_limit_exit_code,
            at,
            clean,
            context,
            artifacts,
            required,
        };
        Some(gate.run_by(runtime.unwrap_or_default()))
    }

    fn env(&mut self, place: &Pointer, env: &BTreeMap<String, String>) {
        for (key, value) in env {
            if key.is_empty() || key.contains(['=', '\0']) {
                let message = format!("{} cannot be the name of a variable", Quoted(key));
                self.report(self.document.error_at_key(&place.join(key.clone()), message));
            } else if key.starts_with(OWN_VARIABLES) {
                let message = format!("{}: variables that begin with `{OWN_VARIABLES}` are set by lexpr", Quoted(key));
                self.report(self.document.error_at_key(&place.join(key.clone()), message));
            }
            self.no_nul(&place.join(key.clone()), value);
        }
    }

    /// A folder of the tree: no `.`, no doubled or trailing slashes; empty for the root.
    fn cwd(&mut self, place: &Pointer, cwd: &str) -> String {
        self.no_nul(place, cwd);
        if cwd.starts_with('/') {
            let message = format!("{} is not a folder of the tree: it begins with a slash", Quoted(cwd));
            self.error_with_hint(place, message, "write it relative to the root of the repository");
        } else if leaves_tree(cwd) {
            let message = format!("{} leaves the tree, or may: it holds `..`", Quoted(cwd));
            self.error_with_hint(place, message, "write it relative to the root of the repository");
        }
        let steps: Vec<&str> = cwd.split('/').filter(|step| !step.is_empty() && *step != ".").collect();
        steps.join("/")
    }

    pub(super) fn path_globs(&mut self, list: &Pointer, patterns: &[String]) {
        if !self.one_matcher(list, patterns) {
            return;
        }
        let places: Vec<Pointer> = self.conformity.places(list, patterns.len()).collect();
        for (pattern, place) in patterns.iter().zip(places) {
            self.no_nul(&place, pattern);
            if let Err(error) = path_glob(pattern) {
                self.error(&place, format!("{} is not a glob: {error}", Quoted(pattern)));
            } else if pattern.starts_with('/') || leaves_tree(pattern) {
                let message =
                    format!("{} can match nothing: paths here are relative and without `..`", Quoted(pattern));
                self.error(&place, message);
            }
        }
    }

    /// Says so where there are more globs than can be matched.
    pub(super) fn one_matcher(&mut self, list: &Pointer, patterns: &[String]) -> bool {
        let bounded = bounded_together(patterns);
        if let Err(error) = &bounded {
            self.report(self.document.error_at_key(list, error.to_string()));
        }
        bounded.is_ok()
    }

    fn claims(&mut self, at: &Pointer, claims: Option<ClaimsFile>, rules: &GateRules) -> BTreeMap<String, u32> {
        let claims: Vec<(String, u32, Pointer)> = match claims {
            None => Vec::new(),
            Some(ClaimsFile::Names(names)) => {
                let places: Vec<Pointer> = self.conformity.places(at, names.len()).collect();
                names.into_iter().zip(places).map(|(name, place)| (name, 1, place)).collect()
            }
            Some(ClaimsFile::Amounts(amounts)) => {
                let placed = |(name, amount): (String, u32)| (name.clone(), amount, at.join(name));
                amounts.into_iter().map(placed).collect()
            }
        };
        let mut claimed = BTreeMap::new();
        for (name, amount, place) in claims {
            let Some(resource) = rules.resources.get(&name) else {
                if !self.conformity.is_faulty(&Pointer::root().join("policy")) {
                    let message = format!("no limit is called {} in the policy's `resources`", Quoted(&name));
                    let near = nearest(&name, rules.resources.keys().map(String::as_str));
                    self.claimed.extend(near.map(str::to_owned));
                    let problem = match place.steps().last() {
                        Some(Step::Key(_)) => self.document.error_at_key(&place, message),
                        _ => self.document.error(&place, message),
                    };
                    self.report(problem.did_you_mean(near));
                }
                continue;
            };
            if !self.claimed.contains(&name) {
                self.claimed.insert(name.clone());
            }
            let limit = resource.limit.unwrap_or(u32::MAX);
            let sum = claimed.entry(name.clone()).or_insert(0_u32);
            let before = std::mem::replace(sum, sum.saturating_add(amount));
            if before <= limit && *sum > limit {
                let message = format!("the gate claims more of {} than the {limit} there are", Quoted(&name));
                self.error(&place, message);
            }
        }
        claimed
    }
}

fn leaves_tree(path: &str) -> bool {
    path.split('/').any(|step| step == "..")
}

/// Everything that makes a gate another gate: what the command sees, its own name among it
/// (`LEXPR_GATE`), how long it may take, and what is kept of it.
#[derive(Clone, Copy)]
struct Definition<'a> {
    name: &'a str,
    run: &'a str,
    cwd: &'a str,
    env: &'a BTreeMap<String, String>,
    inputs: Option<&'a [String]>,
    artifacts: &'a [String],
    /// Of its own; the policy's holds for all gates alike.
    timeout_seconds: Option<u64>,
    clean: bool,
    context: bool,
    rate_limit_exit_code: Option<u8>,
}

impl Definition<'_> {
    /// Every list is led by its length, so that no two definitions run together.
    fn digest(&self) -> DefinitionDigest {
        let sorted = |globs: &[String]| {
            // The order in which globs are written means nothing.
            let mut globs = globs.to_vec();
            globs.sort_unstable();
            globs
        };
        let flag = |on| if on { "yes" } else { "no" }.to_owned();
        let mut parts =
            vec![self.name.to_owned(), self.run.to_owned(), self.cwd.to_owned(), self.env.len().to_string()];
        parts.extend(self.env.iter().flat_map(|(key, value)| [key.clone(), value.clone()]));
        parts.push(self.inputs.map_or_else(String::new, |inputs| inputs.len().to_string()));
        parts.extend(sorted(self.inputs.unwrap_or_default()));
        parts.push(self.artifacts.len().to_string());
        parts.extend(sorted(self.artifacts));
        parts.push(self.timeout_seconds.map_or_else(String::new, |seconds| seconds.to_string()));
        parts.extend(["local".to_owned(), flag(self.clean), flag(self.context)]);
        parts.extend(self.rate_limit_exit_code.map(|code| code.to_string()));
        DefinitionDigest::of(parts.iter().map(String::as_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_changes_with_everything_that_can_change_a_verdict() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let empty = BTreeMap::new();
        let globs = ["a".to_owned(), "b".to_owned()];
        let turned = ["b".to_owned(), "a".to_owned()];
        let plain = Definition {
            name: "g",
            run: "x",
            cwd: "",
            env: &empty,
            inputs: None,
            artifacts: &[],
            timeout_seconds: None,
            clean: false,
            context: false,
            rate_limit_exit_code: None,
        };
        let all = [
            plain,
            Definition { name: "h", ..plain },
            Definition { run: "y", ..plain },
            Definition { cwd: "d", ..plain },
            Definition { env: &env, ..plain },
            Definition { inputs: Some(&globs), ..plain },
            Definition { inputs: Some(&globs[..1]), ..plain },
            Definition { artifacts: &globs, ..plain },
            Definition { timeout_seconds: Some(1), ..plain },
            Definition { clean: true, ..plain },
            Definition { context: true, ..plain },
            Definition { rate_limit_exit_code: Some(75), ..plain },
        ];
        let distinct: std::collections::HashSet<_> = all.iter().map(Definition::digest).collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(all[5].digest(), Definition { inputs: Some(&turned), ..plain }.digest());
    }
}
