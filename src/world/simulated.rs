//! The simulated world: hosts, containers, networks, volumes and files in one JSON document. It is
//! what `world: simulated` runs on, and what the property tests drive.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::secrets::Secrets;
use crate::model::{
    Act, Blocked, BlockedReason, Container, ContainerRef, ContainerState, Effect, EnvState,
    Failure, FileState, Health, HostState, ImagePin, Object, ObjectState, Sight, Site, definition,
    digest_of, sha256_hex,
};

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
    /// Images that no registry has.
    #[serde(default)]
    pub missing_images: BTreeSet<String>,
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
    /// Kept env versions by id.
    #[serde(default)]
    pub env_versions: BTreeMap<String, BTreeMap<String, String>>,
}

/// A simulated world in a file.
pub struct Simulated {
    site: Site,
    secrets: Option<Secrets>,
    read_compose: ReadCompose,
    path: PathBuf,
    state: Mutex<SimulatedState>,
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
        let refuse = |error: &dyn std::fmt::Display| {
            Failure::new(format!("the simulated world in {} can't be read", path.display()))
                .detail([error.to_string()])
                .hint("delete the file to begin with an empty world")
        };
        let state = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| refuse(&error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => SimulatedState::default(),
            Err(error) => return Err(refuse(&error)),
        };
        Ok(Self { site, secrets, read_compose, path, state: Mutex::new(state) })
    }

    /// What a probe of the host sees.
    pub fn probe(&self, host: &str) -> Sight {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.probe(host, self.secrets.as_ref(), &self.read_compose)
    }

    /// Performs an effect and saves the world.
    ///
    /// # Errors
    /// As the effect's own; or the file cannot be written.
    pub fn perform(&self, effect: &Effect) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
            mode: 0o600,
            version: version_of(env),
            keys: env.keys().cloned().collect(),
            differing: secrets.map(|secrets| differing(env, &digests(secrets))).unwrap_or_default(),
        });
        state.env_versions = host.env_versions.keys().cloned().collect();
        if let Some(file) = state.files.get(crate::model::COMPOSE_FILE) {
            let hashes = read(&file.content)
                .services
                .iter()
                .map(|(name, definition)| (name.clone(), host.config_hash(definition)))
                .collect();
            state.deployed = Some(crate::model::Deployed { services: BTreeMap::new(), hashes });
        }
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
        if self.faults.unreachable.contains(&effect.host) {
            return Err(Failure::new(format!("{} can't be reached", effect.host)));
        }
        let host = self.hosts.entry(effect.host.clone()).or_default();
        let mut stage = Stage {
            name: &effect.host,
            host,
            faults: &self.faults,
            made: &mut self.made,
            site,
            read,
        };
        stage.perform(&effect.act, secrets)
    }
}

impl SimulatedHost {
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
fn mesh_ip(host: &str) -> String {
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

/// One effect at work on one host.
struct Stage<'a> {
    name: &'a str,
    host: &'a mut SimulatedHost,
    faults: &'a Faults,
    made: &'a mut u64,
    site: &'a Site,
    read: &'a ReadCompose,
}

impl Stage<'_> {
    fn perform(&mut self, act: &Act, secrets: Option<&Secrets>) -> Result<(), Failure> {
        let state = &mut self.host.state;
        match act {
            Act::PrepareHost { .. } => state.directory = true,
            Act::WriteFile { path, mode, content } => {
                let file = FileState { mode: *mode, content: content.clone() };
                let path = self.relative(path);
                self.host.state.files.insert(path, file);
            }
            Act::RemoveFile { path } if Some(path) == self.site.env_path.as_ref() => {
                self.host.env = None;
            }
            Act::RemoveFile { path } => {
                let path = self.relative(path);
                self.host.state.files.remove(&path);
            }
            Act::WriteEnv { .. } => {
                let secrets = secrets.ok_or_else(|| {
                    Failure::new("the secrets file that the plan was made with is gone")
                })?;
                let env = digests(secrets);
                self.host.env_versions.insert(version_of(&env), env.clone());
                self.host.env = Some(env);
            }
            Act::RestoreEnv { version, .. } => {
                let env = self.host.env_versions.get(version).cloned();
                self.host.env = Some(env.ok_or_else(|| {
                    Failure::new(format!("env version {version} is not kept on {}", self.name))
                })?);
            }
            Act::SetMode { path, mode } => {
                let path = self.relative(path);
                if let Some(file) = self.host.state.files.get_mut(&path) {
                    file.mode = *mode;
                }
            }
            Act::CreateNetwork { name, key, definition } => {
                state.networks.entry(name.clone()).or_insert_with(|| object(key, definition));
            }
            Act::CreateVolume { name, key, definition } => {
                state.volumes.entry(name.clone()).or_insert_with(|| object(key, definition));
            }
            Act::RemoveNetwork { name } => {
                state.networks.remove(name);
                state.containers.values_mut().for_each(|c| {
                    c.networks.remove(name);
                });
            }
            Act::RemoveVolume { name } => {
                state.volumes.remove(name);
            }
            Act::PullImage { image, pin } => self.pull(image, pin.as_ref())?,
            Act::Start { service, replicas, beside } => {
                let compose = self.compose(None);
                self.start(service, &compose, *replicas, beside)?;
            }
            Act::Recreate { service, replicas, compose } => {
                let compose = self.compose(compose.as_deref());
                self.host.state.containers.retain(|_, c| c.service != *service || !c.ours);
                self.start(service, &compose, *replicas, &[])?;
            }
            Act::AwaitHealthy { service, replicas, beside, .. } => {
                self.await_healthy(service, *replicas, beside)?;
            }
            Act::Stop { containers, .. } => self.each(containers, |container| {
                container.state = ContainerState::Exited;
                container.health = None;
            }),
            Act::Remove { containers } => {
                for container in containers {
                    state.containers.remove(&container.id);
                }
            }
            Act::RemoveBeside { service, keep } => {
                state.containers.retain(|id, container| {
                    container.service != *service || keep.iter().any(|kept| kept.id == *id)
                });
            }
            Act::Resume { containers } => {
                let unhealthy = self.faults.unhealthy_images.clone();
                self.each(containers, |container| run(container, &unhealthy));
            }
            Act::Rename { container, name } => {
                self.each(std::slice::from_ref(container), |found| found.name.clone_from(name));
            }
            Act::SetRestart { containers, policy } => {
                self.each(containers, |found| found.restart.clone_from(policy));
            }
        }
        Ok(())
    }

    fn relative(&self, path: &str) -> String {
        let directory = self.site.directory();
        path.strip_prefix(&directory).unwrap_or(path).trim_start_matches('/').to_owned()
    }

    fn each(&mut self, containers: &[ContainerRef], change: impl Fn(&mut Container)) {
        for container in containers {
            if let Some(found) = self.host.state.containers.get_mut(&container.id) {
                change(found);
            }
        }
    }

    fn pull(&mut self, image: &str, pin: Option<&ImagePin>) -> Result<(), Failure> {
        if self.faults.missing_images.contains(image) {
            return Err(Failure::new(format!("{}: no such image: {image}", self.name))
                .hint("push the image, or correct its name"));
        }
        let digest = format!("sha256:{}", sha256_hex(image));
        let found = pin.cloned().unwrap_or(ImagePin { id: digest.clone(), digest: Some(digest) });
        self.host.state.images.insert(image.to_owned(), found);
        Ok(())
    }

    fn compose(&self, given: Option<&str>) -> Arc<ComposeFile> {
        let in_force = self.host.state.files.get(crate::model::COMPOSE_FILE);
        (self.read)(given.or(in_force.map(|file| file.content.as_str())).unwrap_or_default())
    }

    fn start(
        &mut self,
        service: &str,
        compose: &ComposeFile,
        replicas: u32,
        beside: &[ContainerRef],
    ) -> Result<(), Failure> {
        let definition = compose.services.get(service).ok_or_else(|| {
            Failure::new(format!("the Compose file on {} has no service {service}", self.name))
        })?;
        let text = |key: &str| definition.get(key).and_then(Value::as_str).map(str::to_owned);
        let image = text("image").unwrap_or_default();
        let Some(image_id) = self.host.state.images.get(&image).map(|pin| pin.id.clone()) else {
            return Err(Failure::new(format!("{}: no such image: {image}", self.name)));
        };
        let project = self.site.compose_project();
        let config_hash = self.host.config_hash(definition);
        let limits = definition::limits(definition);
        let label = |name| definition::label(definition, name).unwrap_or_default();
        let named = |key: String| compose.networks.get(&key).cloned().unwrap_or(key);
        let networks = definition::networks(definition).unwrap_or_default();
        loop {
            let siblings = self.host.state.containers.iter().filter(|(_, c)| c.service == service);
            let counted = siblings.clone().filter(|(id, _)| beside.iter().all(|b| b.id != **id));
            if counted.count() >= replicas as usize {
                return Ok(());
            }
            let number = siblings.map(|(_, container)| container.number).max().unwrap_or(0) + 1;
            *self.made += 1;
            let id = sha256_hex(format!("{} {service} {}", self.name, self.made));
            let name = text("container_name").unwrap_or(format!("{project}-{service}-{number}"));
            let mut container = Container {
                name,
                service: service.to_owned(),
                number,
                ours: label(definition::LABEL_ENVIRONMENT) == self.site.mark(),
                fingerprint: label(definition::LABEL_DEFINITION).to_owned(),
                state: ContainerState::Created,
                health: None,
                image: image.clone(),
                image_id: image_id.clone(),
                config_hash: config_hash.clone(),
                restart: limits.restart.clone().unwrap_or_else(|| "no".into()),
                memory: limits.memory.unwrap_or(0),
                nano_cpus: limits.nano_cpus.unwrap_or(0),
                networks: networks.iter().cloned().map(named).collect(),
                exit_code: 0,
            };
            run(&mut container, &self.faults.unhealthy_images);
            self.host.state.containers.insert(id, container);
        }
    }

    fn await_healthy(
        &self,
        service: &str,
        replicas: u32,
        beside: &[ContainerRef],
    ) -> Result<(), Failure> {
        let awaited = self.host.state.containers.iter().filter(|(id, container)| {
            container.service == service && beside.iter().all(|b| b.id != **id)
        });
        let (mut good, mut bad) = (0, Vec::new());
        for (_, container) in awaited {
            match (container.state, container.health) {
                (ContainerState::Running, None | Some(Health::Healthy)) => good += 1,
                (ContainerState::Running, _) => {
                    bad.push(format!("{} is unhealthy", container.name))
                }
                _ => bad.push(format!("{} is not running", container.name)),
            }
        }
        if bad.is_empty() && good >= replicas {
            return Ok(());
        }
        let what = format!("{service} did not become healthy on {}", self.name);
        Err(Failure::new(what).detail(bad))
    }
}

fn object(key: &str, definition: &Object) -> ObjectState {
    ObjectState { key: key.to_owned(), ours: true, definition: digest_of(definition) }
}

fn run(container: &mut Container, unhealthy: &BTreeSet<String>) {
    container.state = ContainerState::Running;
    container.health = match unhealthy.contains(&container.image) {
        true => Some(Health::Unhealthy),
        false => Some(Health::Healthy),
    };
}
