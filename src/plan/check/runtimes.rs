//! Checks what runs gates: the policy's `runtimes`, and what each gate asks of one.

use std::collections::BTreeMap;

use super::Checker;
use super::policy::{GateRules, at};
use crate::plan::pointer::Pointer;
use crate::plan::problem::{Quoted, nearest};
use crate::plan::runtime::{Asked, ContainerPolicy, LOCAL, Mount, NoRuntime, Runtime, RuntimePolicy, Runtimes};
use crate::plan::runtimes_file::{ContainerFile, MountFile, MountKindFile, RuntimeKindFile, RuntimePolicyFile};
use crate::vocabulary::names::RuntimeName;

const MEBIBYTE: u64 = 1024 * 1024;

impl Checker<'_> {
    pub(super) fn runtimes(&mut self, files: BTreeMap<String, RuntimePolicyFile>, default: Option<String>) -> Runtimes {
        let mut named = BTreeMap::new();
        for (name, file) in files {
            let place = at("runtimes").join(name.clone());
            if name.trim().is_empty() || name.trim() != name || name.chars().any(char::is_control) {
                let problem = self.document.error_at_key(&place, format!("{} cannot name a runtime", Quoted(&name)));
                self.report(problem.hint("name it by what it is for, as gates do: `runtime: boxed`"));
            } else if name == LOCAL {
                let problem = self.document.error_at_key(&place, "`local` is this machine's shell in every plan");
                self.report(problem.hint("give this runtime another name"));
            } else if let Some(policy) = self.runtime_policy(&place, &name, file) {
                named.insert(RuntimeName::new(&name), policy);
            }
        }
        let mut runtimes = Runtimes { named, default: None };
        if let Some(name) = default.filter(|name| name != LOCAL)
            && self.is_known_runtime(&at("defaultRuntime"), &name, &runtimes)
        {
            runtimes.default = Some(RuntimeName::new(&name));
        }
        runtimes
    }

    fn runtime_policy(&mut self, place: &Pointer, name: &str, file: RuntimePolicyFile) -> Option<RuntimePolicy> {
        let is_of_another_kind = match file.kind? {
            RuntimeKindFile::Container => matches!(name, "slurm" | "ci-service"),
            kind => {
                let what = if kind == RuntimeKindFile::Slurm { "`type: slurm`" } else { "`type: ci-service`" };
                self.not_in_this_build(&place.join("type"), what, "write `container`, or leave the runtime out");
                return None;
            }
        };
        if is_of_another_kind {
            let message = format!("a runtime called {} would be taken for one of that type", Quoted(name));
            let problem = self.document.error_at_key(place, message);
            self.report(problem.hint("give it another name"));
        }
        let pass_env = file.pass_env.unwrap_or_default();
        for (index, variable) in pass_env.iter().enumerate() {
            if variable.contains(['=', '\0']) {
                let message = format!("{} cannot be the name of a variable", Quoted(variable));
                self.error(&place.join("passEnv").join(index), message);
            }
        }
        Some(RuntimePolicy::Container(ContainerPolicy {
            engine: self.no_option(&place.join("engine"), file.engine),
            image: self.no_option(&place.join("image"), file.image),
            network: self.no_option(&place.join("network"), file.network).filter(|network| network != "none"),
            memory_bytes: file.memory_mb.map(|megabytes| megabytes.saturating_mul(MEBIBYTE)),
            // The schema holds it between 0.01 and 4096.
            milli_cpus: file.cpus.map(|cpus| (cpus * 1000.0).round() as u32),
            user: file.user,
            mounts: self.mounts(&place.join("mounts"), file.mounts),
            pass_env,
        }))
    }

    /// What runs a gate, and what it asks of that; `local` where something is wrong.
    pub(super) fn runtime(
        &mut self,
        place: &Pointer,
        named: Option<&str>,
        container: Option<ContainerFile>,
        rules: &GateRules,
    ) -> (Runtime, Asked) {
        let asks_for_a_container = container.is_some();
        let names_an_image = container.as_ref().is_some_and(|file| file.image.is_some());
        let asked = container.map_or_else(Asked::default, |file| Asked {
            image: self.no_option(&place.join("container").join("image"), file.image),
            entrypoint: file.entrypoint,
            mounts: self.mounts(&place.join("container").join("mounts"), file.mounts),
        });
        let default = rules.runtimes.default.as_ref().map_or(LOCAL, RuntimeName::as_str);
        let name = named.unwrap_or(default);
        // What was found wrong with the policy need not be found wrong with every gate.
        let policy_is_faulty = self.conformity.is_faulty(&Pointer::root().join("policy"));
        if names_an_image && asked.image.is_none() {
            return (Runtime::Local, asked);
        }
        if named.is_some_and(|name| !self.is_known_runtime(&place.join("runtime"), name, &rules.runtimes)) {
            return (Runtime::Local, asked);
        }
        let runtime = match rules.runtimes.of(name, &asked) {
            Ok(runtime) => runtime,
            Err(NoRuntime::Unknown(_)) => Runtime::Local,
            Err(error @ NoRuntime::NoImage(_)) => {
                if !policy_is_faulty {
                    let key = if named.is_some() { place.join("runtime") } else { place.join("name") };
                    let hint = "add `container: { image: … }` to the gate, or an `image` to the runtime";
                    self.error_with_hint(&key, error.to_string(), hint);
                }
                return (Runtime::Local, asked);
            }
        };
        if asks_for_a_container && runtime == Runtime::Local && !policy_is_faulty {
            let message = format!("`container` has no effect: `{name}` runs this gate");
            let problem = self.document.error_at_key(&place.join("container"), message);
            self.report(problem.warning().hint("add `runtime: container`, or leave it out"));
        }
        (runtime, asked)
    }

    /// Says so where there is no runtime of that name.
    fn is_known_runtime(&mut self, place: &Pointer, name: &str, runtimes: &Runtimes) -> bool {
        if matches!(name, "slurm" | "ci-service") && !runtimes.names().any(|known| known == name) {
            let hint = "write `local` to run the command on this machine";
            self.not_in_this_build(place, &format!("`{name}`"), hint);
            return false;
        }
        let is_known = runtimes.names().any(|known| known == name);
        // A runtime that is written wrongly is no unknown one.
        let is_written = self.document.has(&at("runtimes").join(name.to_owned()));
        if !is_known && !is_written {
            let message = format!("no runtime is called {}", Quoted(name));
            let near = nearest(name, runtimes.names());
            let problem = self.document.error(place, message).did_you_mean(near);
            let hint = "there are `local`, `container` and those that `policy.runtimes` names";
            self.report(if near.is_some() { problem } else { problem.hint(hint) });
        }
        is_known
    }

    fn mounts(&mut self, list: &Pointer, files: Option<Vec<MountFile>>) -> Vec<Mount> {
        let files = files.unwrap_or_default();
        let places: Vec<Pointer> = self.conformity.places(list, files.len()).collect();
        let mut mounts = Vec::with_capacity(files.len());
        for (file, place) in files.into_iter().zip(places) {
            let (Some(source), Some(target)) = (file.source, file.target) else { continue };
            let is_volume = matches!(file.kind, Some(MountKindFile::Volume));
            let mut is_sound = true;
            for (key, text) in [("source", &source), ("target", &target)] {
                // Engines take mounts as one word, in which commas part what is said of them.
                if text.contains([',', '\0', '\n', '"']) {
                    is_sound = false;
                    let message =
                        format!("{} cannot be mounted: it holds a comma, a quote or a line break", Quoted(text));
                    self.error(&place.join(key), message);
                }
            }
            if !is_volume && !source.starts_with('/') {
                is_sound = false;
                let hint = "write the whole path, or `type: volume`";
                self.error_with_hint(
                    &place.join("source"),
                    format!("{} is no path from the root", Quoted(&source)),
                    hint,
                );
            }
            if !target.starts_with('/') {
                is_sound = false;
                let message = format!("{} is no path from the root of the container", Quoted(&target));
                self.error_with_hint(&place.join("target"), message, "begin it with a slash");
            }
            if is_sound {
                let read_only = file.read_only.unwrap_or(false);
                mounts.push(Mount { source, target, is_volume, read_only });
            }
        }
        mounts
    }

    /// A word for a command line, and none that would be taken for an option there.
    fn no_option(&mut self, place: &Pointer, word: Option<String>) -> Option<String> {
        let word = word?;
        if word.starts_with('-') || word.trim().is_empty() || word.chars().any(char::is_control) {
            let message = format!(
                "{} cannot be meant: it is blank, begins with a dash or holds a control character",
                Quoted(&word)
            );
            self.error(place, message);
            return None;
        }
        Some(word)
    }
}
