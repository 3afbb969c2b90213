//! What a plan document may say of who runs gates: the policy's `runtimes`, and what a gate asks of one.

use schemars::JsonSchema;
use serde::Deserialize;

/// Enough for an array of gates on a large cluster, and a bound on what one mistake starts.
pub const MOST_IN_FLIGHT: u32 = 10_000;
/// Gates that one runtime elsewhere has at once, where the plan does not say.
pub const DEFAULT_MAX_IN_FLIGHT: u32 = 16;
/// How long a gate may wait for a node, where the plan does not say.
pub const DEFAULT_QUEUE_MINUTES: u64 = 120;

/// How long nothing may report on a commit while a check is missing, where the plan does not say.
pub const DEFAULT_REPORT_MINUTES: u64 = 10;
/// Where GitHub's API is, where the plan does not say.
pub const GITHUB: &str = "https://api.github.com";

/// One way to run gates, by a name that gates and `defaultRuntime` use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Runtime")]
pub struct RuntimePolicyFile {
    /// In containers of this machine (`container`), on a Slurm cluster (`slurm`), or by a CI service that is there
    /// (`ci-service`), which judges commits by what it is set up to do.
    #[serde(rename = "type")]
    #[schemars(required)]
    pub kind: Option<RuntimeKindFile>,

    /// Variables of lexpr's own environment that gates get, too: elsewhere they see none of it otherwise. Their values
    /// are struck out of what gates print.
    #[schemars(inner(length(min = 1)), example = ["CARGO_REGISTRY_TOKEN"])]
    pub pass_env: Option<Vec<String>>,

    /// Megabytes that one gate may use. A gate that is ended for using more has failed, and is told so.
    #[serde(rename = "memoryMB")]
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub memory_mb: Option<u64>,

    /// Processors for one gate; in containers also a fraction of one.
    #[schemars(range(min = 0.01, max = 4096))]
    pub cpus: Option<f64>,

    /// Of containers: what runs them, `podman`, `docker` or the path of a program that takes their arguments.
    /// Default: whichever is there, podman first.
    #[schemars(length(min = 1))]
    pub engine: Option<String>,

    /// Of containers: the image for gates that name none.
    #[schemars(length(min = 1), example = &"docker.io/library/rust:1.95")]
    pub image: Option<String>,

    /// Of containers: the network that gates see, as the engine names it, such as `bridge` or `host`.
    #[schemars(length(min = 1), extend("default" = "none"))]
    pub network: Option<String>,

    /// Of containers: as whom gates run, `UID` or `UID:GID`. Default: whoever runs lexpr.
    #[schemars(regex(pattern = "^[0-9]+(:[0-9]+)?$"), example = &"1000:1000")]
    pub user: Option<String>,

    /// Of containers: what all of them see of the host besides the tree.
    pub mounts: Option<Vec<MountFile>>,

    /// Of a cluster or a CI service: how many gates it has at once, besides the `maxWorkers` of this machine.
    #[schemars(range(min = 1, max = MOST_IN_FLIGHT), extend("default" = DEFAULT_MAX_IN_FLIGHT))]
    pub max_in_flight: Option<u32>,

    /// Of a cluster or a CI service: a gate that nothing has taken up for so long is asked for anew, three times at most.
    #[schemars(range(min = 1, max = 100_000), extend("default" = DEFAULT_QUEUE_MINUTES))]
    pub queue_minutes: Option<u64>,

    /// Of a cluster: each gate a step of one allocation that is kept for the run (`pool`), or a job of its own (`batch`).
    #[schemars(extend("default" = "pool"))]
    pub mode: Option<SlurmModeFile>,

    /// Of a pool: how many nodes it has.
    #[schemars(range(min = 1, max = MOST_IN_FLIGHT), extend("default" = 1))]
    pub nodes: Option<u32>,

    /// Of a cluster: how long a pool, or the job of one gate, may last by the cluster's own clock. Gates end by lexpr's.
    #[schemars(range(min = 1, max = 525_600))]
    pub time_minutes: Option<u64>,

    /// Of a cluster: the folder on each node for what gates need there. Default: one of the user's below `$TMPDIR`.
    #[schemars(length(min = 1), example = &"/scratch/lexpr")]
    pub work_dir: Option<String>,

    /// Of a cluster: the partition that jobs are for.
    #[schemars(length(min = 1))]
    pub partition: Option<String>,

    /// Of a cluster: whose account jobs are charged to.
    #[schemars(length(min = 1))]
    pub account: Option<String>,

    /// Of a cluster: the quality of service that jobs ask for.
    #[schemars(length(min = 1))]
    pub qos: Option<String>,

    /// Of a cluster: features that nodes must have, as Slurm writes them.
    #[schemars(length(min = 1))]
    pub constraint: Option<String>,

    /// Of a cluster: graphics processors for one gate.
    #[schemars(range(min = 1, max = 1024))]
    pub gpus: Option<u32>,

    /// Of a CI service: which one it is.
    pub service: Option<CiServiceFile>,

    /// Of a CI service: where it is, `http://…` or `https://…`; of Buildbot without what its API adds, of GitHub the API
    /// itself. Default for GitHub: `https://api.github.com`.
    #[schemars(length(min = 1), example = &"https://buildbot.example/")]
    pub url: Option<String>,

    /// Of Buildbot: the force scheduler by which builds are asked for.
    #[schemars(length(min = 1), example = &"lexpr")]
    pub scheduler: Option<String>,

    /// Of Buildbot: the builder that judges for gates that name none.
    #[schemars(length(min = 1), example = &"gates")]
    pub builder: Option<String>,

    /// Of GitHub: the repository, to which the `exchange` leads.
    #[schemars(length(min = 3), example = &"octo/shop")]
    pub repository: Option<String>,

    /// Of GitHub: the check runs and statuses, by name, that must all pass for gates that name none.
    #[schemars(length(min = 1), inner(length(min = 1)), example = ["build", "ci/lint"])]
    pub checks: Option<Vec<String>>,

    /// Of GitHub: the slug of the app whose check runs count; statuses, and what others report by the same names, then do not.
    /// Default: all count.
    #[schemars(length(min = 1), example = &"github-actions")]
    pub app: Option<String>,

    /// Of a CI service: the variable of lexpr's own environment that holds the token to ask with; of Buildbot, for a proxy
    /// before it that wants one. Default: nobody's.
    #[schemars(length(min = 1), example = &"GITHUB_TOKEN")]
    pub token_env: Option<String>,

    /// Of Buildbot: the variable of lexpr's own environment that holds the user to log in as. Default: nobody.
    #[schemars(length(min = 1), example = &"BUILDBOT_USER")]
    pub user_env: Option<String>,

    /// Of Buildbot: the variable that holds the password of that user.
    #[schemars(length(min = 1), example = &"BUILDBOT_PASSWORD")]
    pub password_env: Option<String>,

    /// Of GitHub: when nothing new has reported for so long and a check is missing, it is waited for no longer.
    #[schemars(range(min = 1, max = 100_000), extend("default" = DEFAULT_REPORT_MINUTES))]
    pub report_minutes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum CiServiceFile {
    Buildbot,
    Github,
}

/// What a gate asks of a CI service, in place of what the runtime asks for all of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "CiService")]
pub struct CiAskedFile {
    /// Of Buildbot: the builder that judges.
    #[schemars(length(min = 1), example = &"gates")]
    pub builder: Option<String>,

    /// Of GitHub: the check runs and statuses, by name, that must all pass.
    #[schemars(length(min = 1), inner(length(min = 1)), example = ["build"])]
    pub checks: Option<Vec<String>>,
}

/// What a gate asks of a cluster, in place of what the runtime asks for all of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Slurm")]
pub struct SlurmFile {
    /// The partition that its job is for.
    #[schemars(length(min = 1))]
    pub partition: Option<String>,

    /// Whose account its job is charged to.
    #[schemars(length(min = 1))]
    pub account: Option<String>,

    /// The quality of service that its job asks for.
    #[schemars(length(min = 1))]
    pub qos: Option<String>,

    /// Features that its node must have, as Slurm writes them.
    #[schemars(length(min = 1))]
    pub constraint: Option<String>,

    /// Processors for the gate.
    #[schemars(range(min = 1, max = 4096))]
    pub cpus: Option<u32>,

    /// Megabytes that the gate may use.
    #[serde(rename = "memoryMB")]
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub memory_mb: Option<u64>,

    /// Graphics processors.
    #[schemars(range(min = 1, max = 1024))]
    pub gpus: Option<u32>,

    /// How long its job may last by the cluster's own clock.
    #[schemars(range(min = 1, max = 525_600))]
    pub time_minutes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum SlurmModeFile {
    Pool,
    Batch,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum RuntimeKindFile {
    Container,
    Slurm,
    CiService,
}

/// The container a gate runs in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Container")]
pub struct ContainerFile {
    /// The image, as the container's engine names it. With a digest (`NAME@sha256:…`) it is always the same one; of a
    /// tag each run asks once what it stands for. Default: the runtime's.
    #[schemars(length(min = 1))]
    pub image: Option<String>,

    /// What is started in place of `/bin/sh`, word by word; it is given `-c` and the gate's command.
    #[schemars(length(min = 1), inner(length(min = 1)), example = ["/bin/bash"])]
    pub entrypoint: Option<Vec<String>>,

    /// What the container sees of the host besides the tree and the runtime's `mounts`.
    pub mounts: Option<Vec<MountFile>>,
}

/// A folder or volume of the host in a container.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Mount")]
pub struct MountFile {
    /// On the host: a folder's path (`bind`) or a volume's name (`volume`).
    #[schemars(required, length(min = 1))]
    pub source: Option<String>,

    /// Where it stands in the container: a path.
    #[schemars(required, length(min = 1))]
    pub target: Option<String>,

    /// Whether `source` is a folder of the host or a volume of the container's engine.
    #[serde(rename = "type")]
    #[schemars(extend("default" = "bind"))]
    pub kind: Option<MountKindFile>,

    /// Gates may read it and not write to it.
    #[schemars(extend("default" = false))]
    pub read_only: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum MountKindFile {
    Bind,
    Volume,
}
