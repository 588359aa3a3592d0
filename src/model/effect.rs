//! Effects: the single, idempotent acts that plans are made of and worlds perform.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Address, ImagePin, InfraSpec, Object, Pick, RouteSpec, is_default};

/// A container as a plan names it: the id acts, the name is for people.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct ContainerRef {
    /// Docker's full id.
    pub id: String,
    /// Its name when the plan was made.
    pub name: String,
}

/// One idempotent act on one host, or on the cloud. Doing it twice is the same as doing it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Effect {
    /// The host's name; [`CLOUD`] for what the cloud does.
    pub host: String,
    /// What is done there.
    #[serde(flatten)]
    pub act: Act,
}

/// Where the effects of a cloud are.
pub const CLOUD: &str = "cloud";

/// What an effect does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Makes the environment's directory and what belongs in it.
    PrepareHost {
        /// The absolute path.
        directory: String,
    },
    /// Writes a file beside its place, syncs it, and renames it into place.
    WriteFile {
        /// The absolute path.
        path: String,
        /// The permission bits.
        mode: u32,
        /// The whole content.
        content: String,
    },
    /// Removes a file.
    RemoveFile {
        /// The absolute path.
        path: String,
    },
    /// Writes the env file from the operator's secrets, mode 0600, and keeps the version.
    WriteEnv {
        /// The absolute path.
        path: String,
        /// The keys to write; the values are looked up when the effect is performed.
        keys: BTreeSet<String>,
    },
    /// Puts a kept version of the env file back in force.
    RestoreEnv {
        /// The absolute path.
        path: String,
        /// The kept version's id.
        version: String,
    },
    /// Gives a file its permission bits and root as its owner again.
    SetMode {
        /// The absolute path.
        path: String,
        /// The permission bits.
        mode: u32,
    },
    /// Creates a network, marked as Compose's and ours.
    CreateNetwork {
        /// Docker's name.
        name: String,
        /// Its key in the Compose file.
        key: String,
        /// The canonical Compose definition.
        definition: Object,
    },
    /// Removes a network; containers still on it are taken off first.
    RemoveNetwork {
        /// Docker's name.
        name: String,
    },
    /// Creates a volume, marked as Compose's and ours.
    CreateVolume {
        /// Docker's name.
        name: String,
        /// Its key in the Compose file.
        key: String,
        /// The canonical Compose definition.
        definition: Object,
    },
    /// Removes a volume and the data in it.
    RemoveVolume {
        /// Docker's name.
        name: String,
    },
    /// Makes an image present under its reference.
    PullImage {
        /// The reference (`repo:tag`).
        image: String,
        /// The exact image that the reference must mean, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pin: Option<ImagePin>,
    },
    /// Starts containers from the Compose file in force until there are `replicas` of the service
    /// besides those named.
    Start {
        /// The service.
        service: String,
        /// How many besides.
        replicas: u32,
        /// The containers that do not count and are left alone.
        beside: Vec<ContainerRef>,
        /// The Compose file to use instead of the one in force: how an undo goes back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compose: Option<String>,
    },
    /// Stops the service's containers and starts `replicas` new ones in their place.
    Recreate {
        /// The service.
        service: String,
        /// How many.
        replicas: u32,
        /// The Compose file to use instead of the one in force: how an undo goes back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compose: Option<String>,
    },
    /// Waits until the service's containers besides those named are healthy.
    AwaitHealthy {
        /// The service.
        service: String,
        /// How many there must be.
        replicas: u32,
        /// The containers that do not count.
        beside: Vec<ContainerRef>,
        /// Milliseconds until it is too late.
        timeout_ms: u64,
        /// Milliseconds after health in which an exit counts as failure.
        monitor_ms: u64,
        /// Whether the containers are expected to end by themselves with exit code 0.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        completes: bool,
    },
    /// Lets requests to containers end, as `Drain` does, then stops them, each of which may take `grace_s`
    /// seconds before it is killed, and removes them.
    Stop {
        /// Which.
        containers: Vec<ContainerRef>,
        /// Milliseconds that requests may take to end; at 0 nobody waits for them.
        #[serde(default, skip_serializing_if = "is_default")]
        drain_ms: u64,
        /// Seconds.
        grace_s: u64,
    },
    /// Removes containers, whatever their state; their volumes stay.
    Remove {
        /// Which.
        containers: Vec<ContainerRef>,
    },
    /// Removes the service's containers besides those named.
    RemoveBeside {
        /// The service.
        service: String,
        /// The containers to keep.
        keep: Vec<ContainerRef>,
        /// How many of the others stay, the oldest: those of batches that are done.
        #[serde(default, skip_serializing_if = "is_default")]
        spare: u32,
    },
    /// Starts stopped containers and wakes paused ones.
    Resume {
        /// Which.
        containers: Vec<ContainerRef>,
    },
    /// Gives a container its name back.
    Rename {
        /// Which.
        container: ContainerRef,
        /// The name.
        name: String,
    },
    /// Gives containers their restart policy back.
    SetRestart {
        /// Which.
        containers: Vec<ContainerRef>,
        /// The policy as `docker update --restart` takes it.
        policy: String,
    },
    /// Writes a file of routes with the servers that there are, and sees the proxy take it up.
    Route {
        /// The file, on the effect's host.
        route: Box<RouteSpec>,
        /// The hosts whose servers are looked up anew, and which of their containers those are. The
        /// servers of other hosts stay as the file has them.
        renew: BTreeMap<String, Pick>,
        /// Whether each of these hosts must have a server.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        needed: bool,
    },
    /// Waits until nobody is connected to any port on which the containers listen, or too long.
    Drain {
        /// Which.
        containers: Vec<ContainerRef>,
        /// Milliseconds after which they are left to their own way of stopping.
        timeout_ms: u64,
    },
    /// Replaces a service's containers with the docker-rollout plugin.
    Plugin {
        /// The plugin's absolute path on the host.
        plugin: String,
        /// The service.
        service: String,
        /// How long a new container may take to become healthy, in milliseconds.
        timeout_ms: u64,
        /// How long the old stay after the new are healthy, in milliseconds.
        settle_ms: u64,
        /// The words of a command that runs in each container that goes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hook: Vec<String>,
    },
    /// Runs a command in a container of its own, made from the service's definition in force, and
    /// removes that container. A run that an earlier process has left at work is waited for first.
    Run {
        /// The service.
        service: String,
        /// Its words.
        command: Vec<String>,
    },
    /// Waits until somebody confirms that the rollout may go on. Asked of people, not of a host.
    Confirm {
        /// The service.
        service: String,
        /// How many of its containers run the new version.
        canary: u32,
    },
    /// Lets time pass in which a proxy that follows containers by itself sees the new ones.
    Settle {
        /// Milliseconds.
        wait_ms: u64,
    },
    /// Makes an object of the cloud's, unless there is one with its mark, and waits until it is ready.
    CreateObject {
        /// Which.
        address: Address,
        /// What it is to be.
        object: InfraSpec,
    },
    /// Changes an object of the cloud's where it is, and waits until that is done.
    ChangeObject {
        /// Which.
        address: Address,
        /// The cloud's id of it.
        id: String,
        /// What it is to be.
        object: InfraSpec,
        /// The attributes that change.
        attributes: BTreeSet<String>,
    },
    /// Destroys an object of the cloud's.
    DestroyObject {
        /// Which.
        address: Address,
        /// The cloud's id of it.
        id: String,
    },
    /// Runs a command in each container that runs.
    Hook {
        /// Which.
        containers: Vec<ContainerRef>,
        /// Its words.
        command: Vec<String>,
    },
}

/// What an effect had to say, line by line: the output of a command that somebody wants to read.
pub type Said = Vec<String>;

impl Act {
    /// The part of the infrastructure that it is about, if it is about one.
    pub fn object(&self) -> Option<&Address> {
        match self {
            Act::CreateObject { address, .. }
            | Act::ChangeObject { address, .. }
            | Act::DestroyObject { address, .. } => Some(address),
            _ => None,
        }
    }

    /// One word for it, as progress lines and the journal use.
    pub fn name(&self) -> &'static str {
        match self {
            Act::PrepareHost { .. } => "prepare",
            Act::WriteFile { .. } => "write",
            Act::RemoveFile { .. } => "delete",
            Act::WriteEnv { .. } => "write",
            Act::RestoreEnv { .. } => "restore",
            Act::SetMode { .. } => "chmod",
            Act::CreateNetwork { .. } | Act::CreateVolume { .. } => "create",
            Act::RemoveNetwork { .. } | Act::RemoveVolume { .. } => "remove",
            Act::PullImage { .. } => "pull",
            Act::Start { .. } => "start",
            Act::Recreate { .. } => "recreate",
            Act::AwaitHealthy { .. } => "healthy",
            Act::Stop { .. } => "stop",
            Act::Remove { .. } | Act::RemoveBeside { .. } => "remove",
            Act::Resume { .. } => "resume",
            Act::Rename { .. } => "rename",
            Act::SetRestart { .. } => "update",
            Act::Route { .. } => "route",
            Act::Drain { .. } => "drain",
            Act::Settle { .. } => "settle",
            Act::Hook { .. } => "hook",
            Act::Plugin { .. } => "roll",
            Act::Run { .. } => "run",
            Act::Confirm { .. } => "confirm",
            Act::CreateObject { .. } => "create",
            Act::ChangeObject { .. } => "change",
            Act::DestroyObject { .. } => "destroy",
        }
    }
}

/// Why an effect could not be performed. It holds no secret.
#[derive(
    Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, schemars::JsonSchema,
)]
#[error("{what}")]
pub struct Failure {
    /// What happened, in one sentence with the host.
    pub what: String,
    /// What was said about it: the command's last lines, a container's log and health output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure that needs no more than its sentence.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), detail: Vec::new(), hint: None }
    }
    /// Adds what was said about it.
    pub fn detail(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.detail.extend(lines.into_iter().map(Into::into));
        self
    }
    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
