//! Desired state: what should exist, as a graph of resources. This is what a release stores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Address, Host, InfraSpec, Kind, Object, RouteSpec, Site, digest_of, is_default, sha256_hex,
};

/// What should exist in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Names and paths.
    pub site: Site,
    /// The version deployed (`IMAGE_TAG`), if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The hosts, by name.
    pub hosts: BTreeMap<String, Host>,
    /// Where hosts reach each other, as far as files may say it: what was so once need not be so later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, String>,
    /// Whether a part of it is left for later: what is not there yet has then never been made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Which cloud objects are never destroyed, whoever asks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protection: Protection,
    /// The resources and their edges.
    pub resources: BTreeMap<Address, Resource>,
}

impl Desired {
    /// Gives hosts the names that they have by now.
    pub fn rename(&mut self, names: &BTreeMap<String, String>) {
        let free = names.iter().filter(|(_, new)| !self.hosts.contains_key(*new));
        let names: BTreeMap<String, String> =
            free.map(|(old, new)| (old.clone(), new.clone())).collect();
        if names.is_empty() {
            return;
        }
        let name = |old: String| names.get(&old).cloned().unwrap_or(old);
        let address = |old: Address| match old.on_host().and_then(|host| names.get(host)) {
            Some(new) => old.moved_to(new),
            None => old,
        };
        let hosts = std::mem::take(&mut self.hosts).into_iter();
        self.hosts = hosts.map(|(old, host)| (name(old), host)).collect();
        for (key, host) in &mut self.hosts {
            host.name.clone_from(key);
        }
        let addresses = std::mem::take(&mut self.addresses).into_iter();
        self.addresses = addresses.map(|(old, ip)| (name(old), ip)).collect();
        let resources = std::mem::take(&mut self.resources).into_iter();
        let resources = resources.map(|(old, mut resource)| {
            resource.after = resource.after.into_iter().map(address).collect();
            if let Spec::Route(route) = &mut resource.spec {
                let sources = std::mem::take(&mut route.sources).into_iter();
                route.sources = sources.map(|(old, reach)| (name(old), reach)).collect();
            }
            (address(old), resource)
        });
        self.resources = resources.collect();
    }

    /// Leaves out what is on some hosts.
    pub fn forget(&mut self, hosts: &[String]) {
        let is_there = |host: &str| hosts.iter().any(|gone| gone == host);
        self.hosts.retain(|name, _| !is_there(name));
        self.resources.retain(|address, _| !address.on_host().is_some_and(is_there));
        for resource in self.resources.values_mut() {
            if let Spec::Route(route) = &mut resource.spec {
                route.sources.retain(|host, _| !is_there(host));
            }
        }
    }

    /// What tells it from another one: a digest of its parts and of the digests of its resources. It is
    /// made sooner than that of its JSON, under which a release stores it.
    pub fn digest(&self) -> String {
        // A service is the same one on most of its hosts, and need be written down only once.
        let mut known: BTreeMap<*const ServiceSpec, String> = BTreeMap::new();
        let mut of = |spec: &Spec| match spec {
            Spec::Service(service) => {
                known.entry(Arc::as_ptr(service)).or_insert_with(|| digest_of(spec)).clone()
            }
            // Text is most of it, and takes longer to be written as JSON than to be digested.
            Spec::File(file) => digest_of(&(&file.path, file.mode, sha256_hex(&file.content))),
            _ => digest_of(spec),
        };
        // Named one by one, so that none that comes can be forgotten.
        let Self { site, version, hosts, addresses, partial, protection, resources } = self;
        let resources: Vec<_> = (resources.iter())
            .map(|(address, Resource { spec, after })| (address, of(spec), after))
            .collect();
        digest_of(&(site, version, hosts, addresses, partial, protection, resources))
    }
}

/// Which cloud objects are never destroyed, whoever asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// None.
    #[default]
    Nothing,
    /// The machines, disks and reserved addresses of these hosts.
    Hosts(BTreeSet<String>),
    /// All machines and disks, and all addresses that stay.
    Everything,
}

impl Protection {
    /// Whether it covers an object.
    pub fn covers(&self, address: &Address) -> bool {
        address.kind().is_precious()
            && match self {
                Protection::Nothing => false,
                Protection::Hosts(hosts) => {
                    address.kind() != Kind::LoadBalancer && hosts.contains(address.scope())
                }
                Protection::Everything => true,
            }
    }
}

/// One thing that should exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// What it should be.
    pub spec: Spec,
    /// What must be there before it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<Address>,
}

/// What a resource should be, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    /// The environment's directory on a host.
    Host(HostSpec),
    /// A Docker network.
    Network(NetworkSpec),
    /// A Docker volume.
    Volume(VolumeSpec),
    /// The env file.
    Env(EnvSpec),
    /// A file of ours.
    File(FileSpec),
    /// A Compose service. On most of its hosts it is the same.
    Service(Arc<ServiceSpec>),
    /// The routes of a Compose service on a gateway.
    Route(Box<RouteSpec>),
    /// A part of the infrastructure below the application.
    Infra(InfraSpec),
}

/// The environment's directory on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// Its absolute path.
    pub directory: String,
}

/// A Docker network that Compose will find and use as its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Docker's name for it.
    pub name: String,
    /// The canonical Compose definition (driver, internal, ipam, labels, …).
    pub definition: Object,
}

/// A Docker volume that Compose will find and use as its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Docker's name for it.
    pub name: String,
    /// The canonical Compose definition (driver, driver_opts, labels).
    pub definition: Object,
}

/// The env file on a host: names only, never values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvSpec {
    /// Its path on the host.
    pub path: String,
    /// Where its content comes from.
    pub source: EnvSource,
}

/// Where an env file's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum EnvSource {
    /// The operator's secrets file, read when the file is written.
    Secrets {
        /// The keys it holds.
        keys: BTreeSet<String>,
    },
    /// A version that the host has kept; how a rollback restores values that nobody sees.
    Version {
        /// The version's id, as the host computed it.
        id: String,
    },
    /// Somebody else writes it on the host; Stagecraft only reads it.
    Host,
}

/// A file of ours on a host. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// The absolute path.
    pub path: String,
    /// The permission bits, e.g. `0o640`.
    pub mode: u32,
    /// The whole content.
    pub content: String,
}

/// A Compose service on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// The service's name in the Compose file.
    pub service: String,
    /// Its definition in the rendered Compose file, from which containers are made.
    pub definition: Object,
    /// What the label `stagecraft.definition` of its containers says: the digest of the parts of
    /// the definition that a container is made from.
    pub fingerprint: String,
    /// The image reference to run.
    pub image: String,
    /// The exact image, where it is known: a rollback pins what a release ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<ImagePin>,
    /// How many containers.
    pub replicas: u32,
    /// What its containers' `HostConfig` must say.
    pub limits: Limits,
    /// Docker's names of the networks its containers are on; none where it shares another's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<BTreeSet<String>>,
    /// The fixed name of its container, where the file gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// Which env keys it uses.
    pub env: EnvUse,
    /// How it is rolled out.
    pub rollout: RolloutSpec,
    /// The tier in which it is: services of earlier ones go before it.
    #[serde(default)]
    pub tier: Tier,
    /// Whether its containers end by themselves (`restart: no` one-off jobs that others wait on
    /// with `service_completed_successfully`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub completes: bool,
    /// The words of a command that runs once per release, in the new image, before the service rolls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release_command: Vec<String>,
}

/// The three tiers: each is in place before the next one begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Roles `db` and `cache`.
    Stateful,
    /// Every other role.
    #[default]
    Application,
    /// Role `gateway`.
    Gateway,
}

impl Tier {
    /// The tier of a role, by its name.
    pub fn of(role: &str) -> Self {
        match role {
            "db" | "cache" => Tier::Stateful,
            "gateway" => Tier::Gateway,
            _ => Tier::Application,
        }
    }
}

/// What `docker update` can change in a running container. A limit that only the host knows (it comes
/// from the env file) is none, and is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The restart policy (`no`, `always`, `unless-stopped`, `on-failure:3`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// Bytes of memory; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Billionths of a CPU; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
}

/// An image held fast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ImagePin {
    /// Docker's image id on the host that ran it.
    pub id: String,
    /// The registry digest (`sha256:…`), where the image came from a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Which keys of the env file a service uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvUse {
    /// The whole file (`env_file:`).
    All,
    /// These keys, by interpolation; possibly none.
    Keys(BTreeSet<String>),
}

impl EnvUse {
    /// Adds what another uses.
    pub fn add(&mut self, other: &EnvUse) {
        match (&mut *self, other) {
            (EnvUse::Keys(keys), EnvUse::Keys(others)) => keys.extend(others.iter().cloned()),
            (EnvUse::Keys(_), EnvUse::All) => *self = EnvUse::All,
            (EnvUse::All, _) => {}
        }
    }

    /// Which of some changed keys the service uses.
    pub fn affected<'a>(&self, changed: &'a BTreeSet<String>) -> Vec<&'a str> {
        changed
            .iter()
            .map(String::as_str)
            .filter(|key| match self {
                EnvUse::All => true,
                EnvUse::Keys(keys) => keys.contains(*key),
            })
            .collect()
    }
}

/// How a service's containers are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutSpec {
    /// New beside old, or old before new.
    pub order: RolloutOrder,
    /// Why it is replaced in place although start-first is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long a new container may take to become healthy, in milliseconds.
    pub health_timeout_ms: u64,
    /// Whether there is a healthcheck; without one, running is healthy.
    pub has_healthcheck: bool,
    /// How long a stopping container may take, in seconds.
    pub stop_grace_s: u64,
    /// How long a new container is watched after it became healthy, in milliseconds.
    pub monitor_ms: u64,
    /// How many hosts may roll at once.
    pub max_parallel: u32,
    /// How long requests to a container that is out of the routes may take to end, in milliseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drain_ms: u64,
    /// How long a proxy that follows containers by itself may take to see new ones, in milliseconds;
    /// 0 where none does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub settle_ms: u64,
    /// The words of a command that runs in each container that goes, before it is stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hook: Vec<String>,
    /// How many replicas on a host roll at once; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// How many replicas roll, on the first host, before somebody has to confirm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u32>,
    /// What happens to the services that were rolled already when it fails.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
    /// The path of the docker-rollout plugin on the host, where that replaces the containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
}

/// What happens when a rollout fails.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Everything goes back to the newest release that succeeded.
    #[default]
    Rollback,
    /// Everything stays as it is.
    Pause,
}

/// Which goes first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOrder {
    /// Start the new, wait for health, then stop the old.
    #[default]
    StartFirst,
    /// Stop the old, then start the new in its place.
    StopFirst,
}
