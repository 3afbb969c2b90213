//! Checks gates and makes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::policy::GateRules;
use super::{Checker, seconds};
use crate::plan::file::{AtFile, GateFile, RuntimeFile};
use crate::plan::globs::path_glob;
use crate::plan::pointer::Pointer;
use crate::plan::problem::{Quoted, nearest};
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

    fn gate(&mut self, place: &Pointer, file: GateFile, rules: &GateRules) -> Option<Gate> {
        if let Some(name) = &file.name {
            self.name(&place.join("name"), name);
        }
        if let Some(run) = &file.run {
            self.command(&place.join("run"), run);
        }
        self.runtime(place, &file);
        let env = file.env.unwrap_or_default();
        self.env(&place.join("env"), &env);
        let cwd = self.cwd(&place.join("cwd"), file.cwd.as_deref().unwrap_or_default());
        if let Some(inputs) = &file.inputs {
            self.path_globs(&place.join("inputs"), inputs);
        }
        let artifacts = file.artifacts.unwrap_or_default();
        self.path_globs(&place.join("artifacts"), &artifacts);
        let resources = self.claims(&place.join("resources"), &file.resources.unwrap_or_default(), rules);

        let (name, run) = (file.name?, file.run?);
        let required = !rules.optional.contains(&name);
        let at = file.at.as_deref().map_or(GateAt { cone: true, apex: true }, |at| GateAt {
            cone: at.contains(&AtFile::Cone),
            apex: at.contains(&AtFile::Apex),
        });
        if !required && !at.cone {
            let message = format!("the gate {} would never run: optional gates run at the cone only", Quoted(&name));
            self.error_with_hint(&place.join("at"), message, "add `cone`, or take the gate out of `optionalGates`");
        }
        let (clean, context) = (file.clean.unwrap_or(false), file.context.unwrap_or(false));
        Some(Gate {
            definition: definition(&run, &cwd, &env, file.inputs.as_deref(), clean, context),
            retry: rules.retry(&name),
            name: GateName::new(name),
            run,
            cwd,
            env,
            timeout: file.timeout_seconds.map_or(rules.timeout, seconds),
            own_timeout: file.timeout_seconds.is_some(),
            inputs: file.inputs,
            resources,
            at,
            clean,
            context,
            artifacts,
            required,
        })
    }

    fn runtime(&mut self, place: &Pointer, file: &GateFile) {
        let what = match file.runtime {
            Some(RuntimeFile::Container) => "`runtime: container`",
            Some(RuntimeFile::Slurm) => "`runtime: slurm`",
            Some(RuntimeFile::CiService) => "`runtime: ci-service`",
            Some(RuntimeFile::Local) | None => {
                if file.container.is_some() {
                    let hint = "remove it to run the command on this machine";
                    self.not_in_this_build(&place.join("container"), "`container`", hint);
                }
                return;
            }
        };
        self.not_in_this_build(&place.join("runtime"), what, "write `local` to run the command on this machine");
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
        let places: Vec<Pointer> = self.conformity.places(list, patterns.len()).collect();
        for (pattern, place) in patterns.iter().zip(places) {
            self.no_nul(&place, pattern);
            if let Err(error) = path_glob(pattern) {
                self.error(&place, format!("{} is not a glob: {}", Quoted(pattern), error.kind()));
            } else if pattern.starts_with('/') || leaves_tree(pattern) {
                let message =
                    format!("{} can match nothing: paths here are relative and without `..`", Quoted(pattern));
                self.error(&place, message);
            }
        }
    }

    fn claims(&mut self, list: &Pointer, claims: &[String], rules: &GateRules) -> BTreeMap<String, u32> {
        let places: Vec<Pointer> = self.conformity.places(list, claims.len()).collect();
        let mut claimed = BTreeMap::new();
        for (name, place) in claims.iter().zip(places) {
            let Some(limit) = rules.limits.get(name) else {
                if !self.conformity.is_faulty(&Pointer::root().join("policy")) {
                    let message = format!("no limit is called {} in the policy's `resources`", Quoted(name));
                    let near = nearest(name, rules.limits.keys().map(String::as_str));
                    self.report(self.document.error(&place, message).did_you_mean(near));
                }
                continue;
            };
            let count = claimed.entry(name.clone()).or_insert(0_u32);
            *count += 1;
            if *count == limit.saturating_add(1) {
                let message = format!("the gate claims more of {} than the {limit} there are", Quoted(name));
                self.error(&place, message);
            }
        }
        claimed
    }
}

fn leaves_tree(path: &str) -> bool {
    path.split('/').any(|step| step == "..")
}

/// Everything that makes a gate another gate than one with the same name. Every list is led by
/// its length, so that no two definitions run together.
fn definition(
    run: &str,
    cwd: &str,
    env: &BTreeMap<String, String>,
    inputs: Option<&[String]>,
    clean: bool,
    context: bool,
) -> DefinitionDigest {
    let (env_count, input_count) = (env.len().to_string(), inputs.map_or_else(String::new, |i| i.len().to_string()));
    // The order in which globs are written means nothing.
    let mut inputs: Vec<&str> = inputs.unwrap_or_default().iter().map(String::as_str).collect();
    inputs.sort_unstable();
    let flag = |on| if on { "yes" } else { "no" };
    let mut parts = vec![run, cwd, &env_count];
    parts.extend(env.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]));
    parts.push(&input_count);
    parts.extend(inputs);
    parts.extend(["local", flag(clean), flag(context)]);
    DefinitionDigest::of(parts.into_iter().map(str::as_bytes))
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
        let all = [
            definition("x", "", &empty, None, false, false),
            definition("y", "", &empty, None, false, false),
            definition("x", "d", &empty, None, false, false),
            definition("x", "", &env, None, false, false),
            definition("x", "", &empty, Some(&globs), false, false),
            definition("x", "", &empty, Some(&globs[..1]), false, false),
            definition("x", "", &empty, None, true, false),
            definition("x", "", &empty, None, false, true),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(all[4], definition("x", "", &empty, Some(&turned), false, false));
    }
}
