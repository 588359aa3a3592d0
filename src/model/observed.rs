//! Observed state: what a probe found on each host. Unknown and absent are different things.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ImagePin, InfraState, Object, Published, ReleaseHead, image};

/// What was found in one environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The newest release on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<ReleaseHead>,
    /// What there is below the application, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure: Option<InfraState>,
    /// One entry per host that was asked.
    pub hosts: BTreeMap<String, Sight>,
    /// For a rollback: the commands that releases since the one it goes back to have run, by service.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub commands_since: BTreeSet<(String, String)>,
}

/// Whether a host could be looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "sight", rename_all = "snake_case")]
pub enum Sight {
    /// It answered, wholly.
    Seen(Box<HostState>),
    /// It did not; nothing is known about it.
    Blocked(Blocked),
}

impl Observed {
    /// The state of a host that answered.
    pub fn seen(&self, host: &str) -> Option<&HostState> {
        match self.hosts.get(host)? {
            Sight::Seen(state) => Some(state),
            Sight::Blocked(_) => None,
        }
    }

    /// Whether no host answered.
    pub fn is_blind(&self) -> bool {
        self.hosts.values().all(|sight| matches!(sight, Sight::Blocked(_)))
    }
}

/// Why nothing is known about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Blocked {
    /// The class of reason.
    pub reason: BlockedReason,
    /// What was tried and what came back, in one or two lines.
    pub detail: String,
}

/// The classes of reasons for which a host cannot be observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockedReason {
    /// No connection: name unknown, no route, refused, timed out.
    Unreachable,
    /// The connection stood, but the log-in was refused or the host key is not the known one.
    LoginRefused,
    /// The cloud has no machine for it, or has not given it an address.
    NoMachine,
    /// Its system is not one that can be made ready.
    Unsupported,
    /// It is there without our mark.
    NotOurs,
    /// There is no `docker` command.
    NoDocker,
    /// The Docker engine does not answer.
    EngineDown,
    /// Docker has no Compose plugin.
    NoCompose,
    /// The log-in user may not use Docker or read our directory.
    PermissionDenied,
    /// The answer stopped in the middle or could not be read.
    HalfAnswer,
    /// The env file that somebody else should have written is not there.
    EnvMissing,
    /// A gateway could not be observed, and what it routes to would go away.
    GatewayUnseen,
    /// The secret values that a release ran with are no longer kept.
    SecretsGone,
    /// The change would destroy a volume's data.
    WouldDestroyData,
}

/// Everything a probe reads from one host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostState {
    /// Whether the environment's directory exists.
    pub directory: bool,
    /// The host's own address in the mesh, where it knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_ip: Option<String>,
    /// The files of ours, by path below the directory (the store and kept env versions aside).
    pub files: BTreeMap<String, FileState>,
    /// The services of the Compose file in force, each with its canonical definition. None when
    /// there is no such file or it cannot be read as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Deployed>,
    /// The env file; none where the environment has none or the file is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvState>,
    /// The ids of the env versions that the host keeps.
    pub env_versions: BTreeSet<String>,
    /// The containers of our Compose project, one-off runs left out, by id.
    pub containers: BTreeMap<String, Container>,
    /// The networks of our Compose project, by Docker's name.
    pub networks: BTreeMap<String, ObjectState>,
    /// The volumes of our Compose project, by Docker's name.
    pub volumes: BTreeMap<String, ObjectState>,
    /// The images on the host, by reference (`repo:tag`).
    pub images: BTreeMap<String, ImagePin>,
    /// The newest release recorded on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<ReleaseHead>,
}

impl HostState {
    /// The image that a reference means there, if it is there.
    pub fn image(&self, reference: &str) -> Option<&ImagePin> {
        let listed = || self.images.get(&image::familiar(reference));
        self.images.get(reference).or_else(listed)
    }
}

/// A file of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// The permission bits.
    pub mode: u32,
    /// The content.
    pub content: String,
}

/// The Compose file in force, read by our own loader.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// Canonical definitions by service.
    pub services: BTreeMap<String, Object>,
    /// Compose's own hash of each service with the env file in force, as the host computed it
    /// (`docker compose config --hash`).
    pub hashes: BTreeMap<String, String>,
}

/// The env file in force, without a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvState {
    /// The permission bits.
    pub mode: u32,
    /// The id of the version that is in force.
    pub version: String,
    /// The keys that the file holds.
    pub keys: BTreeSet<String>,
    /// The keys whose value is not the one asked for (different, missing or too many). Empty when
    /// nothing was asked for.
    pub differing: BTreeSet<String>,
}

/// A container, as far as we care.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name, without a slash.
    pub name: String,
    /// The Compose service it belongs to.
    pub service: String,
    /// Its number among the service's replicas.
    pub number: u32,
    /// Whether it carries our mark (label `stagecraft.environment`).
    pub ours: bool,
    /// The digest of the definition that it was made from (label `stagecraft.definition`).
    pub fingerprint: String,
    /// Docker's state.
    pub state: ContainerState,
    /// The health, where there is a healthcheck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The image reference it was made with.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// Compose's hash of the definition that it was made from.
    pub config_hash: String,
    /// `HostConfig.RestartPolicy` as Compose writes it (`no`, `always`, `on-failure:3`, …).
    pub restart: String,
    /// `HostConfig.Memory`, bytes; 0 is none.
    pub memory: u64,
    /// `HostConfig.NanoCpus`; 0 is none.
    pub nano_cpus: u64,
    /// The networks that it is on, by Docker's name, and the names that it answers to on each, besides
    /// those that Docker gives by itself.
    pub networks: BTreeMap<String, Vec<String>>,
    /// The ids of the containers with which it shares a namespace that is theirs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub shares: BTreeSet<String>,
    /// The exit code of an exited container.
    pub exit_code: i32,
    /// The TCP ports that it has published, its own to the host's.
    #[serde(default, skip_serializing_if = "Published::is_empty")]
    pub published: Published,
}

/// Docker's container states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ContainerState {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

/// Docker's health states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Health {
    Starting,
    Healthy,
    Unhealthy,
}

/// A network or a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectState {
    /// Its key in the Compose file (label `com.docker.compose.network` or `.volume`).
    pub key: String,
    /// Whether it carries our mark.
    pub ours: bool,
    /// The digest of the definition that it was made from (label `stagecraft.definition`).
    pub definition: String,
}
