//! What a plan document may say of who runs gates: the policy's `runtimes`, and what a gate asks of one.

use schemars::JsonSchema;
use serde::Deserialize;

/// One way to run gates, by a name that gates and `defaultRuntime` use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Runtime")]
pub struct RuntimePolicyFile {
    /// In containers of this machine (`container`). `slurm` and `ci-service` are not available in this build.
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

    /// Processors for one gate. Containers take fractions of one, too.
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
