//! Checks what runs gates: the policy's `runtimes`, and what each gate asks of one.

use std::collections::BTreeMap;

use super::policy::{GateRules, at};
use super::{Checker, seconds};
use crate::plan::file::GateFile;
use crate::plan::pointer::Pointer;
use crate::plan::problem::{Quoted, nearest};
use crate::plan::runtime::{
    Asked, CI_SERVICE, CONTAINER, ContainerPolicy, LOCAL, Mount, NoRuntime, Runtime, RuntimePolicy, Runtimes, SLURM,
    SlurmMode, SlurmNeeds, SlurmPolicy,
};
use crate::plan::runtimes_file::{
    MountFile, MountKindFile, RuntimeKindFile, RuntimePolicyFile, SlurmFile, SlurmModeFile,
};
use crate::vocabulary::names::RuntimeName;

/// Names of keys, and whether they are there.
type Keys<'a> = &'a [(&'static str, bool)];

const MEBIBYTE: u64 = 1024 * 1024;

impl Checker<'_> {
    pub(super) fn runtimes(
        &mut self,
        files: BTreeMap<String, RuntimePolicyFile>,
        default: Option<String>,
        has_exchange: bool,
    ) -> Runtimes {
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
                if matches!(policy, RuntimePolicy::CiService(_)) && !has_exchange {
                    let message =
                        "a CI service needs an `exchange`: a repository that it follows, to which commits are sent";
                    let hint = "add `exchange: …` to the policy, with that repository's URL";
                    self.error_with_hint(&place.join("type"), message, hint);
                }
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
        let kind = match file.kind? {
            RuntimeKindFile::Container => CONTAINER,
            RuntimeKindFile::Slurm => SLURM,
            RuntimeKindFile::CiService => CI_SERVICE,
        };
        if name != kind && matches!(name, CONTAINER | SLURM | CI_SERVICE) {
            let message = format!("a runtime called {} would be taken for one of that type", Quoted(name));
            let problem = self.document.error_at_key(place, message);
            self.report(problem.hint("give it another name"));
        }
        self.keys_of_other_kinds(place, kind, &file);
        if kind == CI_SERVICE {
            return self.ci_service_policy(place, file).map(RuntimePolicy::CiService);
        }
        let pass_env = file.pass_env.unwrap_or_default();
        for (index, variable) in pass_env.iter().enumerate() {
            if variable.contains(['=', '\0']) {
                let message = format!("{} cannot be the name of a variable", Quoted(variable));
                self.error(&place.join("passEnv").join(index), message);
            }
        }
        if kind == CONTAINER {
            return Some(RuntimePolicy::Container(ContainerPolicy {
                engine: self.no_option(&place.join("engine"), file.engine),
                image: self.no_option(&place.join("image"), file.image),
                network: self.no_option(&place.join("network"), file.network).filter(|network| network != "none"),
                memory_bytes: file.memory_mb.map(|megabytes| megabytes.saturating_mul(MEBIBYTE)),
                // The schema holds it between 0.01 and 4096.
                milli_cpus: file.cpus.map(|cpus| (cpus * 1000.0).round() as u32),
                user: file.user,
                mounts: self.mounts(&place.join("mounts"), file.mounts),
                pass_env,
            }));
        }
        let mode = match (file.mode, file.nodes) {
            (Some(SlurmModeFile::Batch), nodes) => {
                if nodes.is_some() {
                    let message = "`nodes` has no effect: each gate is a job of its own";
                    let problem = self.document.error_at_key(&place.join("nodes"), message);
                    self.report(problem.warning().hint("leave it out, or write `mode: pool`"));
                }
                if !pass_env.is_empty() {
                    let message = "Slurm writes the environment of a job into a file, where nothing is a secret";
                    self.error_with_hint(&place.join("passEnv"), message, "write `mode: pool`, or leave it out");
                }
                SlurmMode::Batch
            }
            (Some(SlurmModeFile::Pool) | None, nodes) => SlurmMode::Pool { nodes: nodes.unwrap_or(1) },
        };
        if let Some(cpus) = file.cpus.filter(|cpus| cpus.fract() != 0.0) {
            self.error(&place.join("cpus"), format!("{cpus} is no number of processors that a cluster could give"));
        }
        if let Some(folder) = file.work_dir.as_deref().filter(|folder| !folder.starts_with('/')) {
            let message = format!("{} is no path from the root", Quoted(folder));
            self.error_with_hint(&place.join("workDir"), message, "begin it with a slash");
        }
        let defaults = SlurmPolicy::default();
        let needs = SlurmFile {
            partition: file.partition,
            account: file.account,
            qos: file.qos,
            constraint: file.constraint,
            cpus: file.cpus.map(|cpus| cpus as u32),
            memory_mb: file.memory_mb,
            gpus: file.gpus,
            time_minutes: file.time_minutes,
        };
        Some(RuntimePolicy::Slurm(SlurmPolicy {
            mode,
            max_in_flight: file.max_in_flight.unwrap_or(defaults.max_in_flight),
            queue_limit: file.queue_minutes.map_or(defaults.queue_limit, minutes),
            work_dir: file.work_dir,
            pass_env,
            needs: self.slurm_needs(place, needs),
        }))
    }

    /// Says which keys are of no use to a runtime of this kind.
    fn keys_of_other_kinds(&mut self, place: &Pointer, kind: &str, file: &RuntimePolicyFile) {
        let of_containers = [
            ("engine", file.engine.is_some()),
            ("image", file.image.is_some()),
            ("network", file.network.is_some()),
            ("user", file.user.is_some()),
            ("mounts", file.mounts.is_some()),
        ];
        let of_machines = [
            ("passEnv", file.pass_env.is_some()),
            ("memoryMB", file.memory_mb.is_some()),
            ("cpus", file.cpus.is_some()),
        ];
        let of_elsewhere =
            [("maxInFlight", file.max_in_flight.is_some()), ("queueMinutes", file.queue_minutes.is_some())];
        let of_clusters = [
            ("mode", file.mode.is_some()),
            ("nodes", file.nodes.is_some()),
            ("timeMinutes", file.time_minutes.is_some()),
            ("workDir", file.work_dir.is_some()),
            ("partition", file.partition.is_some()),
            ("account", file.account.is_some()),
            ("qos", file.qos.is_some()),
            ("constraint", file.constraint.is_some()),
            ("gpus", file.gpus.is_some()),
        ];
        let of_ci_services = [
            ("service", file.service.is_some()),
            ("url", file.url.is_some()),
            ("scheduler", file.scheduler.is_some()),
            ("builder", file.builder.is_some()),
            ("repository", file.repository.is_some()),
            ("checks", file.checks.is_some()),
            ("app", file.app.is_some()),
            ("tokenEnv", file.token_env.is_some()),
            ("userEnv", file.user_env.is_some()),
            ("passwordEnv", file.password_env.is_some()),
            ("reportMinutes", file.report_minutes.is_some()),
        ];
        let groups: [(Keys, &[&str], &str); 5] = [
            (&of_containers, &[CONTAINER], "of containers"),
            (&of_machines, &[CONTAINER, SLURM], "of containers and clusters"),
            (&of_elsewhere, &[SLURM, CI_SERVICE], "of clusters and CI services"),
            (&of_clusters, &[SLURM], "of clusters"),
            (&of_ci_services, &[CI_SERVICE], "of CI services"),
        ];
        for (keys, _, whose) in groups.iter().filter(|(_, kinds, _)| !kinds.contains(&kind)) {
            for (key, _) in keys.iter().filter(|(_, is_there)| *is_there) {
                let message = format!("`{key}` is {whose}, and this runtime is `type: {kind}`");
                self.report(self.document.error_at_key(&place.join(*key), message));
            }
        }
    }

    fn slurm_needs(&mut self, place: &Pointer, file: SlurmFile) -> SlurmNeeds {
        SlurmNeeds {
            partition: self.no_option(&place.join("partition"), file.partition),
            account: self.no_option(&place.join("account"), file.account),
            qos: self.no_option(&place.join("qos"), file.qos),
            constraint: self.no_option(&place.join("constraint"), file.constraint),
            cpus: file.cpus,
            memory_mb: file.memory_mb,
            gpus: file.gpus,
            time_limit: file.time_minutes.map(minutes),
        }
    }

    /// A repository's address: what git could take for nothing else, and holds no password.
    pub(super) fn exchange(&mut self, address: String) -> Option<String> {
        let place = at("exchange");
        let is_path_or_url = address.starts_with('/') || address.contains("://") || is_scp_like(&address);
        if !is_path_or_url {
            let message = format!("{} is neither a URL nor a path from the root", Quoted(&address));
            self.error_with_hint(&place, message, "nodes know no remotes of yours: write where the repository is");
            return None;
        }
        let with_password = address.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.split_once('@'));
        if with_password.is_some_and(|(user, _)| user.contains(':')) {
            let message = "a password has no place in a plan";
            self.error_with_hint(&place, message, "let git on the nodes know it, by a credential helper or a key");
            return None;
        }
        self.no_option(&place, Some(address))
    }

    /// What runs a gate, and what it asks of that; no runtime where something is wrong.
    pub(super) fn runtime(
        &mut self,
        place: &Pointer,
        file: &mut GateFile,
        rules: &GateRules,
    ) -> (Option<Runtime>, Asked) {
        let (container, slurm, ci_service) = (file.container.take(), file.slurm.take(), file.ci_service.take());
        let (asks_for_a_container, asks_for_a_cluster) = (container.is_some(), slurm.is_some());
        let asks_for_a_service = ci_service.is_some();
        let names_an_image = container.as_ref().is_some_and(|file| file.image.is_some());
        let mut asked = container.map_or_else(Asked::default, |file| Asked {
            image: self.no_option(&place.join("container").join("image"), file.image),
            entrypoint: file.entrypoint,
            mounts: self.mounts(&place.join("container").join("mounts"), file.mounts),
            ..Asked::default()
        });
        asked.ci_service = self.ci_asked(&place.join("ciService"), ci_service.unwrap_or_default());
        asked.slurm = self.slurm_needs(&place.join("slurm"), slurm.unwrap_or_default());
        let default = rules.runtimes.default.as_ref().map_or(LOCAL, RuntimeName::as_str);
        let named = file.runtime.as_deref();
        let name = named.unwrap_or(default);
        // What was found wrong with the policy need not be found wrong with every gate.
        let policy_is_faulty = self.conformity.is_faulty(&Pointer::root().join("policy"));
        if names_an_image && asked.image.is_none() {
            return (None, asked);
        }
        if named.is_some_and(|name| !self.is_known_runtime(&place.join("runtime"), name, &rules.runtimes)) {
            return (None, asked);
        }
        let runtime = match rules.runtimes.of(name, &asked) {
            Ok(runtime) => runtime,
            Err(NoRuntime::Unknown(_)) => return (None, asked),
            Err(error @ (NoRuntime::NoImage(_) | NoRuntime::NoJudge { .. })) => {
                if !policy_is_faulty {
                    let key = if named.is_some() { place.join("runtime") } else { place.join("name") };
                    let hint = match error {
                        NoRuntime::NoJudge { key, .. } => {
                            format!("add `ciService: {{ {key}: … }}` to the gate, or `{key}` to the runtime")
                        }
                        _ => "add `container: { image: … }` to the gate, or an `image` to the runtime".to_owned(),
                    };
                    self.error_with_hint(&key, error.to_string(), &hint);
                }
                return (None, asked);
            }
        };
        if runtime.ci_service().is_some() && file.artifacts.as_ref().is_some_and(|globs| !globs.is_empty()) {
            let message = format!("artifacts are not brought back from where {} runs gates", Quoted(name));
            let hint = "leave them out, or run this gate on this machine (`runtime: local`)";
            self.error_with_hint(&place.join("artifacts"), message, hint);
        }
        let idle = [
            ("container", asks_for_a_container && runtime.container().is_none()),
            ("slurm", asks_for_a_cluster && runtime.cluster().is_none()),
            ("ciService", asks_for_a_service && runtime.ci_service().is_none()),
        ];
        for (key, _) in idle.into_iter().filter(|(_, is_idle)| *is_idle && !policy_is_faulty) {
            let message = format!("`{key}` has no effect: `{name}` runs this gate");
            let problem = self.document.error_at_key(&place.join(key), message);
            let add =
                if key == "ciService" { "a `runtime` of that type".to_owned() } else { format!("`runtime: {key}`") };
            self.report(problem.warning().hint(format!("add {add}, or leave it out")));
        }
        self.time_of_job(place, file, &runtime);
        if runtime.ci_service().is_some() {
            self.idle_with_a_ci_service(place, file);
        }
        (Some(runtime), asked)
    }

    /// Says so where a job ends before its gate's own time is up: Slurm ends it, which is no verdict.
    fn time_of_job(&mut self, place: &Pointer, file: &GateFile, runtime: &Runtime) {
        let limit = runtime.cluster().and_then(|cluster| cluster.needs.time_limit);
        let (Some(seconds), Some(limit)) = (file.timeout_seconds, limit) else { return };
        if seconds >= limit.as_secs() && !self.conformity.is_faulty(&place.join("timeoutSeconds")) {
            let minutes = limit.as_secs() / 60;
            let message =
                format!("Slurm ends what runs this gate after `timeMinutes: {minutes}`, before its own time is up");
            let problem = self.document.error_at_key(&place.join("timeoutSeconds"), message).warning();
            self.report(problem.hint("ask for more `timeMinutes`: getting ready takes some, too"));
        }
    }

    /// Says so where there is no runtime of that name.
    fn is_known_runtime(&mut self, place: &Pointer, name: &str, runtimes: &Runtimes) -> bool {
        let is_known = runtimes.names().any(|known| known == name);
        // A runtime that is written wrongly is no unknown one.
        let is_written = self.document.has(&at("runtimes").join(name.to_owned()));
        if !is_known && !is_written {
            let message = format!("no runtime is called {}", Quoted(name));
            let near = nearest(name, runtimes.names());
            let problem = self.document.error(place, message).did_you_mean(near);
            let hint = match name {
                CI_SERVICE => {
                    "a CI service has to be named in `policy.runtimes`, with `type: ci-service` and its `url`"
                }
                _ => "there are `local`, `container`, `slurm` and those that `policy.runtimes` names",
            };
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
    pub(super) fn no_option(&mut self, place: &Pointer, word: Option<String>) -> Option<String> {
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

pub(super) fn minutes(minutes: u64) -> std::time::Duration {
    seconds(minutes.saturating_mul(60))
}

/// `HOST:PATH`, as git takes it for ssh (git-clone(1), "GIT URLS").
fn is_scp_like(address: &str) -> bool {
    address.split_once(':').is_some_and(|(host, path)| !host.is_empty() && !host.contains('/') && !path.is_empty())
}
