//! The simulated world: hosts, containers, networks, volumes and files in one JSON document. It is
//! what `world: simulated` runs on, and what the property tests and the simulation drive.

mod containers;
mod routes;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::secrets::Secrets;
use crate::model::{
    Act, Blocked, BlockedReason, Deployed, Effect, EnvState, Failure, HostState, Object, Sight,
    Site, definition, digest_of, sha256_hex,
};
pub use containers::Verdict;
use stage::Stage;

/// Reads a rendered Compose file's text.
pub type ReadCompose = Arc<dyn Fn(&str) -> Arc<ComposeFile> + Send + Sync>;

/// What a rendered Compose file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ComposeFile {
    /// The services' canonical definitions.
    pub services: BTreeMap<String, Object>,
    /// Docker's names of the networks, by key.
    pub networks: BTreeMap<String, String>,
}

/// Everything that exists in a simulated world.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SimulatedState {
    /// The hosts by name; a host that is asked for and missing appears, empty.
    #[serde(default)]
    pub hosts: BTreeMap<String, SimulatedHost>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Faults,
    /// Numbers given to containers so far.
    #[serde(default)]
    pub made: u64,
    /// The time, in milliseconds. It passes only where somebody lets it: see `advance`.
    #[serde(default)]
    pub now_ms: u64,
}

/// What goes wrong in a simulated world; people may edit it to see what happens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Hosts that do not answer.
    #[serde(default)]
    pub unreachable: BTreeSet<String>,
    /// Images whose containers never become healthy.
    #[serde(default)]
    pub unhealthy_images: BTreeSet<String>,
    /// Images whose containers end with an error as soon as they are started.
    #[serde(default)]
    pub crashing_images: BTreeSet<String>,
    /// Images that no registry has.
    #[serde(default)]
    pub missing_images: BTreeSet<String>,
    /// Hosts on which nothing more can be written.
    #[serde(default)]
    pub full_disks: BTreeSet<String>,
    /// How long a container with a healthcheck takes until its health is known, in milliseconds.
    #[serde(default)]
    pub start_ms: u64,
}

/// A simulated host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SimulatedHost {
    /// What a probe sees, but for what is worked out when it looks.
    #[serde(default)]
    pub state: HostState,
    /// The env file in force: key to the digest of its line. Values are not kept.
    #[serde(default)]
    pub env: Option<BTreeMap<String, String>>,
    /// The permission bits of the env file, where they are not as written.
    #[serde(default)]
    pub env_mode: Option<u32>,
    /// Kept env versions by id.
    #[serde(default)]
    pub env_versions: BTreeMap<String, BTreeMap<String, String>>,
    /// Compose's hashes of the services, noted when the file or its env file was written.
    #[serde(default)]
    pub hashes: Option<Hashes>,
    /// When the health of containers that are starting will be known, by container.
    #[serde(default)]
    pub due: BTreeMap<String, u64>,
    /// How many host ports Docker has picked so far.
    #[serde(default)]
    pub picked: u16,
}

/// A simulated world in a file.
pub struct Simulated {
    site: Site,
    secrets: Option<Secrets>,
    read_compose: ReadCompose,
    path: PathBuf,
    // Hosts are looked at all at once.
    state: RwLock<SimulatedState>,
}

impl Simulated {
    /// Opens the world in a file; a file that is not there is an empty world.
    ///
    /// # Errors
    /// The file cannot be read, or is no simulated world.
    pub fn open(
        path: PathBuf,
        site: Site,
        secrets: Option<Secrets>,
        read_compose: ReadCompose,
    ) -> Result<Self, Failure> {
        let refuse = |error: &dyn std::fmt::Display, hint: &str| {
            Failure::new(format!("the simulated world in {} can't be read", path.display()))
                .detail([error.to_string()])
                .hint(hint)
        };
        let damaged = "delete the file to begin with an empty world";
        let state = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| refuse(&error, damaged))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => SimulatedState::default(),
            Err(error) => return Err(refuse(&error, "see that it is a file that you may read")),
        };
        Ok(Self { site, secrets, read_compose, path, state: RwLock::new(state) })
    }

    /// What a probe of the host sees.
    pub fn probe(&self, host: &str) -> Sight {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.probe(host, self.secrets.as_ref(), &self.read_compose)
    }

    /// Performs an effect and saves the world.
    ///
    /// # Errors
    /// As the effect's own; or the file cannot be written.
    pub fn perform(&self, effect: &Effect) -> Result<(), Failure> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = state.perform(&self.site, effect, self.secrets.as_ref(), &self.read_compose);
        self.save(&state)?;
        outcome
    }

    fn save(&self, state: &SimulatedState) -> Result<(), Failure> {
        let write = || -> std::io::Result<()> {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let beside = self.path.with_extension("json.new");
            std::fs::write(&beside, serde_json::to_vec_pretty(state)?)?;
            std::fs::rename(&beside, &self.path)
        };
        write().map_err(|error| {
            Failure::new(format!("the simulated world can't be written to {}", self.path.display()))
                .detail([error.to_string()])
        })
    }
}

impl SimulatedState {
    /// What a probe of the host sees.
    pub fn probe(&self, host: &str, secrets: Option<&Secrets>, read: &ReadCompose) -> Sight {
        if self.faults.unreachable.contains(host) {
            return Sight::Blocked(Blocked {
                reason: BlockedReason::Unreachable,
                detail: format!("the simulated host {host} does not answer"),
            });
        }
        let mesh_ip = Some(mesh_ip(host));
        let Some(host) = self.hosts.get(host) else {
            return Sight::Seen(Box::new(HostState { mesh_ip, ..HostState::default() }));
        };
        let mut state = HostState { mesh_ip, ..host.state.clone() };
        state.env = host.env.as_ref().map(|env| EnvState {
            mode: host.env_mode.unwrap_or(0o600),
            version: version_of(env),
            keys: env.keys().cloned().collect(),
            differing: secrets.map(|secrets| differing(env, &digests(secrets))).unwrap_or_default(),
        });
        state.env_versions = host.env_versions.keys().cloned().collect();
        state.deployed = host
            .hashes(read)
            .map(|noted| Deployed { services: BTreeMap::new(), hashes: noted.services });
        Sight::Seen(Box::new(state))
    }

    /// Performs an effect.
    ///
    /// # Errors
    /// What would go wrong on a real host: it is unreachable, an image is missing, a container does
    /// not become healthy.
    pub fn perform(
        &mut self,
        site: &Site,
        effect: &Effect,
        secrets: Option<&Secrets>,
        read: &ReadCompose,
    ) -> Result<(), Failure> {
        self.perform_until(site, effect, secrets, read, None)
    }

    /// Performs an effect that is cut off after some single changes, as when its host goes down in
    /// the middle of it.
    ///
    /// # Errors
    /// As `perform`; and that it was cut off.
    pub fn perform_until(
        &mut self,
        site: &Site,
        effect: &Effect,
        secrets: Option<&Secrets>,
        read: &ReadCompose,
        cut_after: Option<u32>,
    ) -> Result<(), Failure> {
        if self.faults.unreachable.contains(&effect.host) {
            return Err(Failure::new(format!("{} can't be reached", effect.host)));
        }
        let act = match &effect.act {
            Act::Route { route, renew, needed } => {
                &self.route(&effect.host, route, renew, *needed)?
            }
            act => act,
        };
        let mut stage = Stage {
            name: &effect.host,
            host: self.hosts.entry(effect.host.clone()).or_default(),
            faults: &self.faults,
            made: &mut self.made,
            now_ms: self.now_ms,
            left: cut_after,
            site,
            read,
        };
        let outcome = stage.perform(act, secrets);
        if matches!(act, Act::WriteFile { .. } | Act::WriteEnv { .. } | Act::RestoreEnv { .. })
            && let Some(host) = self.hosts.get_mut(&effect.host)
        {
            host.hashes = host.hashes(read);
        }
        outcome
    }
}

/// What Compose made of a file with an env file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// The digest of the file and of the env file.
    of: String,
    /// The hash of each service.
    services: BTreeMap<String, String>,
}

impl SimulatedHost {
    /// Compose's hashes of the services in force: those noted, while nothing was edited since.
    fn hashes(&self, read: &ReadCompose) -> Option<Hashes> {
        let file = self.state.files.get(crate::model::COMPOSE_FILE)?;
        let of = digest_of(&(sha256_hex(&file.content), &self.env));
        if let Some(noted) = self.hashes.as_ref().filter(|noted| noted.of == of) {
            return Some(noted.clone());
        }
        let services = &read(&file.content).services;
        let hash =
            |(name, definition): (&String, &Object)| (name.clone(), self.config_hash(definition));
        Some(Hashes { of, services: services.iter().map(hash).collect() })
    }

    /// What Compose's hash covers: the definition and the env values that it uses.
    fn config_hash(&self, definition: &Object) -> String {
        let text = Value::Object(definition.clone()).to_string();
        let whole_file = definition.contains_key("env_file");
        let used: BTreeMap<&String, &String> = self
            .env
            .iter()
            .flatten()
            .filter(|(key, _)| whole_file || mentions(&text, key))
            .collect();
        digest_of(&(definition::comparable(definition), used))
    }
}

/// Whether a definition refers to a variable, as `${KEY}` or with an operator.
fn mentions(text: &str, key: &str) -> bool {
    text.match_indices("${").any(|(at, _)| {
        text[at + 2..]
            .strip_prefix(key)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    })
}

/// The address of a simulated host in its mesh: from the name, in the range that meshes use.
pub fn mesh_ip(host: &str) -> String {
    let digest = sha256_hex(host);
    let octet = |at: usize| u8::from_str_radix(&digest[at..at + 2], 16).unwrap_or_default();
    format!("100.{}.{}.{}", 64 + octet(0) % 64, octet(2), octet(4).max(1))
}

fn digests(secrets: &Secrets) -> BTreeMap<String, String> {
    secrets.lines().map(|(key, line)| (key.to_owned(), sha256_hex(line))).collect()
}

fn version_of(env: &BTreeMap<String, String>) -> String {
    digest_of(env)[..16].to_owned()
}

fn differing(
    found: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let keys = found.keys().chain(wanted.keys());
    keys.filter(|key| found.get(*key) != wanted.get(*key)).cloned().collect()
}
