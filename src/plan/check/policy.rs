//! Checks the policy block: what this build can do of it, and what it means for gates.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::{Checker, directory_renames, seconds};
use crate::plan::file::{
    CommitterFile, DEFAULT_CACHE_MAX_MB, DEFAULT_CACHE_TTL_SECONDS, DEFAULT_FINGERPRINT_TIMEOUT_SECONDS,
    DEFAULT_GATE_TIMEOUT_SECONDS, DEFAULT_LOG_MAX_MB, DEFAULT_MAX_REBASES, DEFAULT_MEMORY_THRESHOLD_PERCENT,
    FingerprintFile, GroupSizeFile, LandingFile, OverridesFile, PerformanceFile, PolicyFile, RetryFile, SetupFile,
    SpendFile,
};
use crate::plan::globs::name_glob;
use crate::plan::limits_file::{PacedFile, PacingFile, ResourceFile};
use crate::plan::pointer::Pointer;
use crate::plan::problem::{Problem, Quoted, Severity, nearest};
use crate::plan::runtime::Runtimes;
use crate::plan::{
    AdminGreen, CachePlace, DirectoryRenames, FingerprintCommand, GroupSize, Identity, Landing, MergeSettings,
    Performance, Policy, Resource, Retry, Setup, Spend,
};
use crate::vocabulary::names::DefinitionDigest;

/// `maxMemoryMB` counts these, as the tools that show memory do.
const MEBIBYTE: u64 = 1024 * 1024;

/// What the policy says about gates.
pub(super) struct GateRules {
    pub required: Vec<String>,
    pub optional: HashSet<String>,
    /// The same, in the order of the document.
    pub optional_names: Vec<String>,
    pub retries: BTreeMap<String, Retry>,
    pub timeout: Duration,
    pub landing: Landing,
    pub resources: BTreeMap<String, Resource>,
    pub runtimes: Runtimes,
}

impl GateRules {
    pub(super) fn retry(&self, gate: &str) -> Retry {
        self.retries.get(gate).copied().unwrap_or(Retry { max_attempts: 1, backoff: Duration::ZERO })
    }
}

pub(super) fn at(key: &'static str) -> Pointer {
    Pointer::root().join("policy").join(key)
}

impl Checker<'_> {
    pub(super) fn policy(&mut self, file: PolicyFile) -> (Policy, GateRules) {
        let spend = match file.spend.unwrap_or(SpendFile::Gates) {
            SpendFile::Gates => Spend::Gates,
            SpendFile::Time => Spend::Time,
        };
        let landing = match (file.landing.unwrap_or(LandingFile::Pyramid), spend) {
            (LandingFile::Batch, _) | (LandingFile::Auto, Spend::Gates) => Landing::Batch,
            (LandingFile::Auto, Spend::Time) | (LandingFile::Pyramid, _) => Landing::Pyramid,
            (LandingFile::Train, _) => Landing::Train,
        };
        let group_size = match &file.group_size {
            // The shortest run with hardly more gate runs than the fewest.
            None if matches!((file.landing, spend), (Some(LandingFile::Auto), Spend::Time)) => GroupSize::Auto,
            None => GroupSize::Fixed(1),
            Some(size) if landing != Landing::Pyramid => {
                let message = if landing == Landing::Batch {
                    "`groupSize` has no effect: `landing: batch` decides by itself how many it gates together"
                } else {
                    "`groupSize` has no effect: `landing: train` gates each item where it would stand"
                };
                let problem = self.document.error_at_key(&at("groupSize"), message);
                self.report(problem.warning().hint("leave it out, or write `landing: pyramid`"));
                group_size(size)
            }
            Some(size) => group_size(size),
        };
        let admin_green = file.overrides.and_then(|overrides| self.admin_green(overrides));
        for name in file.resources.iter().flat_map(BTreeMap::keys).filter(|name| name.trim().is_empty()) {
            let problem = self.document.error_at_key(&at("resources").join(name.clone()), "a limit has no name");
            self.report(problem.hint("name it by what there is only so much of, as gates claim it: `db: 1`"));
        }
        let resources: BTreeMap<String, Resource> =
            file.resources.unwrap_or_default().into_iter().map(|(name, file)| (name, resource(&file))).collect();
        let optional_names = file.optional_gates.unwrap_or_default();
        let has_exchange = file.exchange.is_some();
        let runtimes = self.runtimes(file.runtimes.unwrap_or_default(), file.default_runtime, has_exchange);
        let rules = GateRules {
            required: file.required_gates.unwrap_or_default(),
            optional: optional_names.iter().cloned().collect(),
            optional_names,
            retries: file.retries.unwrap_or_default().iter().map(|(gate, file)| (gate.clone(), retry(file))).collect(),
            timeout: seconds(file.gate_timeout_seconds.unwrap_or(DEFAULT_GATE_TIMEOUT_SECONDS)),
            landing,
            resources,
            runtimes,
        };
        let block_on = self.block_on(file.block_on.unwrap_or_default());
        let policy = Policy {
            max_workers: file.max_workers,
            block_on,
            landing,
            spend,
            group_size,
            fail_fast: file.fail_fast.unwrap_or(true),
            second_opinion: file.second_opinion.unwrap_or(true),
            max_rebases: file.max_rebases.unwrap_or(DEFAULT_MAX_REBASES),
            log_max_bytes: file.log_max_mb.unwrap_or(DEFAULT_LOG_MAX_MB) * 1024 * 1024,
            redact: file.redact.unwrap_or_default(),
            resources: rules.resources.clone(),
            setup: file.setup.and_then(|setup| self.setup(setup)),
            committer: file.committer.and_then(|committer| self.committer(committer)),
            admin_green,
            merge: file.merge.map_or(
                MergeSettings { renames: true, directory_renames: DirectoryRenames::Conflict },
                |merge| MergeSettings {
                    renames: merge.renames.unwrap_or(true),
                    directory_renames: merge
                        .directory_renames
                        .map_or(DirectoryRenames::Conflict, |value| directory_renames(&value.0)),
                },
            ),
            cache_salt: file.cache_salt,
            fingerprint: file.fingerprint.and_then(|fingerprint| self.fingerprint(fingerprint)),
            runtimes: rules.runtimes.clone(),
            exchange: file.exchange.and_then(|exchange| self.exchange(exchange)),
            cache: file.cache.and_then(|cache| self.cache(&cache)),
            performance: performance(&file.performance.unwrap_or_default()),
        };
        (policy, rules)
    }

    fn block_on(&mut self, patterns: Vec<String>) -> Vec<(String, globset::GlobMatcher)> {
        let list = at("blockOn");
        if !self.one_matcher(&list, &patterns) {
            return Vec::new();
        }
        let places: Vec<Pointer> = self.conformity.places(&list, patterns.len()).collect();
        let mut globs = Vec::with_capacity(patterns.len());
        for (pattern, place) in patterns.into_iter().zip(places) {
            match name_glob(&pattern) {
                Ok(glob) => globs.push((pattern, glob)),
                Err(error) => self.error(&place, format!("{} is not a glob: {error}", Quoted(&pattern))),
            }
        }
        globs
    }

    fn setup(&mut self, file: SetupFile) -> Option<Setup> {
        let run = file.run?;
        self.command(&at("setup").join("run"), &run);
        let inputs = file.inputs.unwrap_or_default();
        self.path_globs(&at("setup").join("inputs"), &inputs);
        let parts = ["setup", &run].into_iter().chain(inputs.iter().map(String::as_str));
        let definition = DefinitionDigest::of(parts.map(str::as_bytes));
        Some(Setup { run, inputs, definition })
    }

    fn fingerprint(&mut self, file: FingerprintFile) -> Option<FingerprintCommand> {
        let run = file.run?;
        self.command(&at("fingerprint").join("run"), &run);
        let timeout = seconds(file.timeout_seconds.unwrap_or(DEFAULT_FINGERPRINT_TIMEOUT_SECONDS));
        Some(FingerprintCommand { run, timeout })
    }

    fn cache(&mut self, url: &str) -> Option<CachePlace> {
        match CachePlace::parse(url) {
            Ok(CachePlace::Bucket { .. }) if !cfg!(feature = "shared-cache-s3") => {
                self.not_in_this_build(
                    &at("cache"),
                    "`cache: s3://…`",
                    "build lexpr with `--features shared-cache-s3`",
                );
                None
            }
            Ok(_) if !cfg!(feature = "shared-cache") => {
                self.not_in_this_build(
                    &at("cache"),
                    "`cache`",
                    "leave it out, or build lexpr with `--features shared-cache`",
                );
                None
            }
            Ok(place) => Some(place),
            Err(error) => {
                let hint = error.hint();
                self.error_with_hint(&at("cache"), format!("{} {error}", Quoted(url)), hint);
                None
            }
        }
    }

    fn committer(&mut self, file: CommitterFile) -> Option<Identity> {
        let mut part = |key, text: &str| {
            // Git takes these characters as the marks around a name and an address.
            if text.trim().is_empty() || text.contains(['<', '>']) || text.chars().any(char::is_control) {
                let message = format!("{} cannot be the {key} of a committer", Quoted(text));
                self.error_with_hint(&at("committer").join(key), message, "write it without `<`, `>` and line breaks");
            }
        };
        if let Some(name) = &file.name {
            part("name", name);
        }
        if let Some(email) = &file.email {
            part("email", email);
        }
        Some(Identity { name: file.name?, email: file.email? })
    }

    fn admin_green(&mut self, file: OverridesFile) -> Option<AdminGreen> {
        let green = file.admin_green.unwrap_or_default();
        let allowed_users = green.allowed_users.unwrap_or_default();
        if allowed_users.is_empty() {
            let problem = self.document.error_at_key(&at("overrides"), "this lets nobody override a gate");
            self.report(problem.warning().hint("name them in `adminGreen.allowedUsers`, or leave `overrides` out"));
        }
        let place = at("overrides").join("adminGreen").join("allowedUsers");
        for (at, user) in allowed_users.iter().enumerate() {
            if user.trim() != user || user.chars().any(char::is_control) {
                let message = format!("{} is nobody that git could know", Quoted(user));
                self.error_with_hint(
                    &place.join(at),
                    message,
                    "write a name, an address or both, without blanks around it",
                );
            }
        }
        Some(AdminGreen { allowed_users, require_reason: green.require_reason.unwrap_or(true) })
    }

    /// Holds the gates that the policy names against those that exist.
    pub(super) fn named_gates(&mut self, rules: &GateRules, no_items: bool) {
        for (place, name) in self.named("requiredGates", &rules.required) {
            if rules.optional.contains(&name) {
                let message = format!("the gate {} is both required and optional", Quoted(&name));
                self.error_with_hint(&place, message, "remove it from one of the two lists");
            }
        }
        if self.gates_may_be_misread() || no_items {
            return;
        }
        for (place, name) in self.named("requiredGates", &rules.required) {
            self.known_gate(&place, &name, Severity::Error);
        }
        for (place, name) in self.named("optionalGates", &rules.optional_names) {
            self.known_gate(&place, &name, Severity::Warning);
            if let Some(landing) = rules.landing.without_cones().filter(|_| self.known_gates.contains(&name)) {
                let message = format!(
                    "the gate {} does not run: optional gates run at cones only, and `landing: {landing}` gates none",
                    Quoted(&name)
                );
                let problem = self.document.error(&place, message);
                self.report(problem.warning().hint("leave it out, or write `landing: pyramid`"));
            }
        }
        for name in rules.retries.keys() {
            self.known_gate(&at("retries").join(name.clone()), name, Severity::Warning);
        }
    }

    /// Says which limits keep nothing in bounds, once all gates are known.
    pub(super) fn unclaimed_limits(&mut self, rules: &GateRules, no_items: bool) {
        if self.gates_may_be_misread() || no_items {
            return;
        }
        for name in rules.resources.keys().filter(|name| !name.trim().is_empty()) {
            if self.claimed.contains(name) {
                continue;
            }
            let message = format!("no gate claims {}, so it keeps nothing in bounds", Quoted(name));
            let problem = self.document.error_at_key(&at("resources").join(name.clone()), message);
            self.report(problem.warning().hint("name it in `resources` of the gates that need it, or leave it out"));
        }
    }

    /// The schema found fault with more than the policy: what seems to be missing may only be misspelt.
    fn gates_may_be_misread(&self) -> bool {
        let policy = Pointer::root().join("policy");
        !self.conformity.problems.iter().all(|problem: &Problem| problem.path.starts_with(&policy))
    }

    fn known_gate(&mut self, place: &Pointer, name: &str, severity: Severity) {
        if !self.known_gates.contains(name) {
            let message = format!("no item has a gate called {}", Quoted(name));
            let near = nearest(name, self.known_gates.iter().map(String::as_str));
            let problem = self.document.error_at_key(place, message).did_you_mean(near);
            self.report(Problem { severity, ..problem });
        }
    }

    /// The names in a list of the policy, each with its place.
    fn named(&self, key: &'static str, names: &[String]) -> Vec<(Pointer, String)> {
        self.conformity.places(&at(key), names.len()).zip(names.iter().cloned()).collect()
    }
}

/// The schema lets numbers from 1 and `auto` through.
fn group_size(file: &GroupSizeFile) -> GroupSize {
    let size = file.0.as_u64().map(|size| u32::try_from(size).unwrap_or(u32::MAX));
    size.map_or(GroupSize::Auto, GroupSize::Fixed)
}

fn resource(file: &ResourceFile) -> Resource {
    match file {
        ResourceFile::Limit(limit) => Resource { limit: Some(*limit), gap: Duration::ZERO },
        ResourceFile::Paced(PacedFile { limit, pacing }) => {
            let gap_ms = pacing.as_ref().map_or(0, PacingFile::gap_ms);
            Resource { limit: *limit, gap: Duration::from_millis(gap_ms) }
        }
    }
}

fn retry(file: &RetryFile) -> Retry {
    Retry {
        max_attempts: file.max_attempts.unwrap_or(1),
        // The schema holds it between 0 and a day.
        backoff: Duration::try_from_secs_f64(file.backoff_seconds.unwrap_or(0.0)).unwrap_or_default(),
    }
}

fn performance(file: &PerformanceFile) -> Performance {
    Performance {
        max_memory_bytes: file.max_memory_mb.map(|megabytes| megabytes.saturating_mul(MEBIBYTE)),
        memory_threshold_percent: file.memory_threshold_percent.unwrap_or(DEFAULT_MEMORY_THRESHOLD_PERCENT),
        throttle_on_memory: file.throttle_on_memory.unwrap_or(true),
        batch_size: file.batch_size,
        caching: file.enable_caching.unwrap_or(true),
        cache_max_bytes: file.cache_max_mb.unwrap_or(DEFAULT_CACHE_MAX_MB) * MEBIBYTE,
        cache_ttl: seconds(file.cache_ttl_seconds.unwrap_or(DEFAULT_CACHE_TTL_SECONDS)),
    }
}
