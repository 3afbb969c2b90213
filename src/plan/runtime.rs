//! Who runs a gate: this machine's shell, or an engine that exists. The policy says what engines there are and how they
//! are used; a gate may ask for more of one. What it asks is part of its definition, as its verdict depends on it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ci_service::{CiAsked, CiService, CiServicePolicy};
use super::runtimes_file::{DEFAULT_MAX_IN_FLIGHT, DEFAULT_QUEUE_MINUTES};
use crate::vocabulary::event::{FixedImage, RanBy};
use crate::vocabulary::names::{DefinitionDigest, RuntimeName};

/// Where a plan does not say how long a node is waited for.
pub const DEFAULT_QUEUE_LIMIT: Duration = Duration::from_secs(DEFAULT_QUEUE_MINUTES * 60);

/// This machine's shell: what every plan has.
pub const LOCAL: &str = "local";
/// Containers of this machine: there without an entry of the policy's, too.
pub const CONTAINER: &str = "container";
/// A Slurm cluster, likewise.
pub const SLURM: &str = "slurm";
/// A CI service, which has to be named.
pub const CI_SERVICE: &str = "ci-service";

/// What runs one gate, with all that both the policy and the gate ask of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Runtime {
    #[default]
    Local,
    Container(Box<Container>),
    Slurm(Box<Cluster>),
    CiService(Box<CiService>),
}

impl Runtime {
    /// `None`: this machine's shell.
    pub fn name(&self) -> Option<&RuntimeName> {
        match self {
            Self::Local => None,
            Self::Container(container) => Some(&container.runtime),
            Self::Slurm(cluster) => Some(&cluster.runtime),
            Self::CiService(service) => Some(&service.runtime),
        }
    }

    /// What a verdict of it is told to have come from; `None`: this machine's shell.
    pub fn ran_by(&self) -> Option<RanBy> {
        let container = self.container();
        let image = container.map(|container| container.image.clone());
        let image_id = container.and_then(|container| Some(container.fixed.as_ref()?.id.clone()));
        self.name().map(|name| RanBy { name: name.clone(), image, image_id })
    }

    pub fn container(&self) -> Option<&Container> {
        match self {
            Self::Container(container) => Some(container),
            Self::Local | Self::Slurm(_) | Self::CiService(_) => None,
        }
    }

    pub fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::Slurm(cluster) => Some(cluster),
            Self::Local | Self::Container(_) | Self::CiService(_) => None,
        }
    }

    pub fn ci_service(&self) -> Option<&CiService> {
        match self {
            Self::CiService(service) => Some(service),
            Self::Local | Self::Container(_) | Self::Slurm(_) => None,
        }
    }

    /// Where it takes no slot of this machine: the runtime, and how many gates that has at once.
    pub fn elsewhere(&self) -> Option<(&RuntimeName, u32)> {
        match self {
            Self::Local | Self::Container(_) => None,
            Self::Slurm(cluster) => Some((&cluster.runtime, cluster.policy.max_in_flight)),
            Self::CiService(service) => Some((&service.runtime, service.policy.max_in_flight)),
        }
    }

    /// Names of variables of lexpr's own environment that gates get.
    pub fn pass_env(&self) -> &[String] {
        match self {
            Self::Local | Self::CiService(_) => &[],
            Self::Container(container) => &container.policy.pass_env,
            Self::Slurm(cluster) => &cluster.policy.pass_env,
        }
    }

    /// What a gate is that `local` would be if it ran here, run by this.
    pub fn define(&self, local: DefinitionDigest) -> DefinitionDigest {
        let parts = match self {
            Self::Local => return local,
            Self::Container(container) => container.parts(),
            Self::Slurm(cluster) => cluster.parts(),
            Self::CiService(service) => service.parts(),
        };
        let all = std::iter::once(local.as_bytes()).chain(parts.iter().map(String::as_bytes));
        DefinitionDigest::of(all)
    }
}

impl std::fmt::Display for Runtime {
    /// For people who compare two.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local => f.write_str(LOCAL),
            Self::Container(container) => {
                write!(f, "{}, image {}", container.runtime, container.image)?;
                container.fixed.as_ref().map_or(Ok(()), |fixed| write!(f, " ({})", fixed.id))
            }
            Self::Slurm(cluster) => {
                let parts = cluster.parts();
                write!(f, "{}, {}", cluster.runtime, parts.join(" ").trim_end())
            }
            Self::CiService(service) => write!(f, "{}, {}", service.runtime, service.parts().join(" ")),
        }
    }
}

/// An entry of the policy's `runtimes`, or what a kind is where it has none.
#[derive(Clone, Debug, PartialEq)]
pub enum RuntimePolicy {
    Container(ContainerPolicy),
    Slurm(SlurmPolicy),
    CiService(CiServicePolicy),
}

/// How gates get onto a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlurmMode {
    /// As steps of one allocation of so many nodes.
    Pool { nodes: u32 },
    /// As jobs of their own.
    Batch,
}

/// What all gates that one runtime sends to a cluster have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct SlurmPolicy {
    pub mode: SlurmMode,
    pub max_in_flight: u32,
    pub queue_limit: Duration,
    /// On nodes.
    pub work_dir: Option<String>,
    /// Names of variables of lexpr's own environment.
    pub pass_env: Vec<String>,
    pub needs: SlurmNeeds,
}

impl Default for SlurmPolicy {
    fn default() -> Self {
        Self {
            mode: SlurmMode::Pool { nodes: 1 },
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            queue_limit: DEFAULT_QUEUE_LIMIT,
            work_dir: None,
            pass_env: Vec::new(),
            needs: SlurmNeeds::default(),
        }
    }
}

/// What a gate asks of a cluster; what it does not, the cluster decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlurmNeeds {
    pub partition: Option<String>,
    pub account: Option<String>,
    pub qos: Option<String>,
    pub constraint: Option<String>,
    pub cpus: Option<u32>,
    pub memory_mb: Option<u64>,
    pub gpus: Option<u32>,
    /// By the cluster's own clock.
    pub time_limit: Option<Duration>,
}

impl SlurmNeeds {
    /// These, and of `policy` what they leave open.
    fn over(&self, policy: &Self) -> Self {
        let text = |own: &Option<String>, policy: &Option<String>| own.clone().or_else(|| policy.clone());
        Self {
            partition: text(&self.partition, &policy.partition),
            account: text(&self.account, &policy.account),
            qos: text(&self.qos, &policy.qos),
            constraint: text(&self.constraint, &policy.constraint),
            cpus: self.cpus.or(policy.cpus),
            memory_mb: self.memory_mb.or(policy.memory_mb),
            gpus: self.gpus.or(policy.gpus),
            time_limit: self.time_limit.or(policy.time_limit),
        }
    }
}

/// The part of a cluster that a gate runs on.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub runtime: RuntimeName,
    pub policy: SlurmPolicy,
    /// The gate's, and of the policy's what it leaves open.
    pub needs: SlurmNeeds,
}

impl Cluster {
    /// By what allocations and jobs for gates that ask for this are told from others: letters, digits, `-` and `_`.
    pub fn place(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = self.runtime.as_str().chars().map(plain).take(40).collect();
        let asked = format!("{:?} {:?}", self.policy.mode, self.needs);
        let digest = DefinitionDigest::of([self.runtime.as_str().as_bytes(), asked.as_bytes()]).to_string();
        format!("{name}-{}", &digest[..8])
    }

    /// All that a verdict may depend on: what kind of node it is, and not how it is come by.
    fn parts(&self) -> Vec<String> {
        let SlurmNeeds { partition, constraint, gpus, .. } = &self.needs;
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        let gpus = gpus.map(|gpus| gpus.to_string()).unwrap_or_default();
        let mut parts = vec![SLURM.to_owned(), word(partition), word(constraint), gpus];
        parts.extend(self.policy.pass_env.iter().cloned());
        parts
    }
}

/// What all containers of one runtime have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerPolicy {
    /// `None`: whichever is there.
    pub engine: Option<String>,
    /// For gates that name none.
    pub image: Option<String>,
    /// As the engine names it; `None`: no network.
    pub network: Option<String>,
    pub memory_bytes: Option<u64>,
    /// Thousandths of a processor.
    pub milli_cpus: Option<u32>,
    /// `UID` or `UID:GID`; `None`: whoever runs lexpr.
    pub user: Option<String>,
    pub mounts: Vec<Mount>,
    /// Names of variables of lexpr's own environment.
    pub pass_env: Vec<String>,
}

/// What a gate asks of a runtime beyond what the policy says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    pub image: Option<String>,
    pub entrypoint: Option<Vec<String>>,
    pub mounts: Vec<Mount>,
    pub slurm: SlurmNeeds,
    pub ci_service: CiAsked,
}

/// A container that a gate runs in.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub runtime: RuntimeName,
    pub policy: ContainerPolicy,
    /// As the plan names it.
    pub image: String,
    /// What that stands for, once it has been asked.
    pub fixed: Option<FixedImage>,
    /// In place of the shell.
    pub entrypoint: Option<Vec<String>>,
    /// The policy's, then the gate's.
    pub mounts: Vec<Mount>,
}

impl Container {
    /// All that a verdict may depend on. Which program starts the container is not among it, nor how much of the machine
    /// it may use.
    fn parts(&self) -> Vec<String> {
        let list = |list: &[String]| std::iter::once(list.len().to_string()).chain(list.to_vec()).collect::<Vec<_>>();
        let option = |text: &Option<String>| list(text.as_slice());
        let mut parts = vec![CONTAINER.to_owned()];
        parts.push(self.fixed.as_ref().map_or(&self.image, |fixed| &fixed.id).clone());
        parts.extend(list(self.entrypoint.as_deref().unwrap_or_default()));
        parts.extend(option(&self.policy.network));
        parts.extend(option(&self.policy.user));
        parts.extend(list(&self.policy.pass_env));
        let mounts: Vec<String> = self.mounts.iter().map(Mount::to_string).collect();
        parts.extend(list(&mounts));
        parts
    }
}

/// A folder or volume of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: String,
    pub target: String,
    pub is_volume: bool,
    pub read_only: bool,
}

impl std::fmt::Display for Mount {
    /// As engines take it for `--mount`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, target, .. } = self;
        write!(f, "type={},source={source},target={target}", if self.is_volume { "volume" } else { "bind" })?;
        if self.read_only { f.write_str(",readonly") } else { Ok(()) }
    }
}

/// There is no such runtime, or it cannot run the gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRuntime {
    #[error("no runtime is called `{0}`")]
    Unknown(String),
    #[error("the gate runs in a container of `{0}`, and neither says of which image")]
    NoImage(String),
    #[error("the gate is judged by the `{key}` of `{runtime}`, and neither says which")]
    NoJudge { runtime: String, key: &'static str },
}

/// The policy's `runtimes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runtimes {
    /// By name; a kind without an entry stands for itself.
    pub named: BTreeMap<RuntimeName, RuntimePolicy>,
    /// What runs gates that name nothing; `None`: this machine's shell.
    pub default: Option<RuntimeName>,
}

impl Runtimes {
    /// Of which runtimes there is one without an entry.
    pub const KINDS: [&str; 2] = [CONTAINER, SLURM];

    /// What the runtime of that name makes of a gate that asks for this.
    ///
    /// # Errors
    /// Where there is none of that name, or it lacks what neither says.
    pub fn of(&self, name: &str, asked: &Asked) -> Result<Runtime, NoRuntime> {
        if name == LOCAL {
            return Ok(Runtime::Local);
        }
        let runtime = RuntimeName::new(name);
        let policy = match (self.named.get(&runtime), name) {
            (Some(policy), _) => policy.clone(),
            (None, CONTAINER) => RuntimePolicy::Container(ContainerPolicy::default()),
            (None, SLURM) => RuntimePolicy::Slurm(SlurmPolicy::default()),
            (None, _) => return Err(NoRuntime::Unknown(name.to_owned())),
        };
        match policy {
            RuntimePolicy::Container(policy) => {
                let image = asked.image.clone().or_else(|| policy.image.clone());
                let image = image.ok_or_else(|| NoRuntime::NoImage(name.to_owned()))?;
                let mounts = policy.mounts.iter().chain(&asked.mounts).cloned().collect();
                let entrypoint = asked.entrypoint.clone();
                let container = Container { runtime, policy, image, fixed: None, entrypoint, mounts };
                Ok(Runtime::Container(Box::new(container)))
            }
            RuntimePolicy::Slurm(policy) => {
                let needs = asked.slurm.over(&policy.needs);
                Ok(Runtime::Slurm(Box::new(Cluster { runtime, policy, needs })))
            }
            RuntimePolicy::CiService(policy) => {
                let judge = policy.server.judge(&asked.ci_service);
                let key = policy.server.judge_key();
                let judge = judge.ok_or_else(|| NoRuntime::NoJudge { runtime: name.to_owned(), key })?;
                Ok(Runtime::CiService(Box::new(CiService { runtime, policy, judge })))
            }
        }
    }

    /// All names there are, for whoever mistypes one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(RuntimeName::as_str).chain(Self::KINDS).chain([LOCAL])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        let policy = ContainerPolicy { image: Some("debian:12".to_owned()), ..ContainerPolicy::default() };
        let named = BTreeMap::from([(RuntimeName::new("boxed"), RuntimePolicy::Container(policy))]);
        let runtimes = Runtimes { named, default: None };
        runtimes.of("boxed", &Asked::default()).unwrap().container().unwrap().clone()
    }

    #[test]
    fn a_gate_is_another_one_with_everything_of_its_container_that_a_verdict_may_depend_on() {
        let mount = Mount { source: "/a".to_owned(), target: "/b".to_owned(), is_volume: false, read_only: false };
        let plain = container();
        let fixed = FixedImage {
            runtime: plain.runtime.clone(),
            image: plain.image.clone(),
            engine: "podman".to_owned(),
            id: "sha256:1".to_owned(),
        };
        let policy = |change: fn(&mut ContainerPolicy)| {
            let mut changed = plain.clone();
            change(&mut changed.policy);
            changed
        };
        let all = [
            plain.clone(),
            Container { image: "debian:13".to_owned(), ..plain.clone() },
            Container { fixed: Some(fixed), ..plain.clone() },
            Container { entrypoint: Some(vec!["bash".to_owned()]), ..plain.clone() },
            Container { mounts: vec![mount.clone()], ..plain.clone() },
            Container { mounts: vec![Mount { read_only: true, ..mount }], ..plain.clone() },
            policy(|policy| policy.network = Some("host".to_owned())),
            policy(|policy| policy.user = Some("0".to_owned())),
            policy(|policy| policy.pass_env = vec!["A".to_owned()]),
        ];
        let local = DefinitionDigest::of([b"gate".as_slice()]);
        let digests: std::collections::HashSet<_> =
            all.iter().map(|container| Runtime::Container(Box::new(container.clone())).define(local)).collect();
        assert_eq!(digests.len(), all.len());
        assert!(!digests.contains(&Runtime::Local.define(local)));
        let of_other_size = policy(|policy| policy.memory_bytes = Some(1));
        assert!(digests.contains(&Runtime::Container(Box::new(of_other_size)).define(local)));
    }

    #[test]
    fn a_gate_asks_a_cluster_for_what_it_needs_itself_before_what_the_policy_says() {
        let needs = SlurmNeeds { cpus: Some(2), partition: Some("long".to_owned()), ..SlurmNeeds::default() };
        let policy = SlurmPolicy { needs, ..SlurmPolicy::default() };
        let named = BTreeMap::from([(RuntimeName::new("big"), RuntimePolicy::Slurm(policy))]);
        let runtimes = Runtimes { named, default: None };
        let slurm = SlurmNeeds { cpus: Some(8), ..SlurmNeeds::default() };
        let asked = Asked { slurm, ..Asked::default() };
        let runtime = runtimes.of("big", &asked).unwrap();
        let cluster = runtime.cluster().unwrap();
        assert_eq!((cluster.needs.cpus, cluster.needs.partition.as_deref()), (Some(8), Some("long")));
        assert_eq!(runtime.elsewhere(), Some((&RuntimeName::new("big"), DEFAULT_MAX_IN_FLIGHT)));
        let local = DefinitionDigest::of([b"gate".as_slice()]);
        let plain = runtimes.of("big", &Asked::default()).unwrap();
        assert_eq!(
            runtime.define(local),
            plain.define(local),
            "a verdict does not depend on how many processors there were"
        );
        let unnamed = runtimes.of("slurm", &asked).unwrap();
        assert_ne!(runtime.define(local), unnamed.define(local), "nor is one partition the other");
    }

    #[test]
    fn a_gate_s_own_image_goes_before_that_of_the_runtime_and_one_there_must_be() {
        let asked = Asked { image: Some("mine".to_owned()), ..Asked::default() };
        let runtimes = Runtimes::default();
        assert_eq!(runtimes.of("container", &asked).unwrap().container().unwrap().image, "mine");
        assert_eq!(runtimes.of("container", &Asked::default()), Err(NoRuntime::NoImage("container".to_owned())));
        assert_eq!(runtimes.of("podman", &asked), Err(NoRuntime::Unknown("podman".to_owned())));
        assert_eq!(runtimes.of(LOCAL, &asked), Ok(Runtime::Local));
    }
}
