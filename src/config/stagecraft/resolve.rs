//! One environment, resolved: every default filled in, every override applied.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::diagnostic::{Diagnostic, did_you_mean};
use crate::model::{Host, OnFailure, RolloutOrder, Transport};

use super::check::role;
use super::decode::list;
use super::environment::{EnvironmentSettings, ServiceOverride};
use super::hosts::{self, Machine};
use super::kinds::Spanned;
use super::load::Config;
use super::texts::Name;
use super::types::*;

/// An environment with nothing left open.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// The project's name.
    pub project: String,
    /// What its hosts are.
    pub world: World,
    /// The hosts by name; none where it is only for development.
    pub hosts: BTreeMap<String, Host>,
    /// What the cloud makes of each host.
    pub machines: BTreeMap<String, CloudHost>,
    /// The names of each role's hosts, in the order written.
    pub roles: BTreeMap<String, Vec<String>>,
    /// The services that the configuration mentions. [`Environment::service`] knows all others.
    pub services: BTreeMap<String, Service>,
    /// How a service rolls out that says nothing itself.
    pub rollout: Rollout,
    /// The env file: a path on the hosts, or of the project where everything is on this machine.
    pub env_file: Option<String>,
    /// The variables that the Compose files may interpolate. `IMAGE_TAG` is the caller's.
    pub variables: BTreeMap<String, String>,
    /// Where secret values come from.
    pub secrets: SecretsFile,
    /// Where releases, the lock and the journal are kept.
    pub state: State,
    /// How Traefik is set up.
    pub traefik: Traefik,
    /// The domains that it is served under, the main one first.
    pub domains: Vec<String>,
    /// Whether Stagecraft refuses to destroy its hosts and volumes.
    pub protect: bool,
    /// How many nodes the load balancer before its gateways has, if there is to be one.
    pub load_balancer: Option<u32>,
    /// The cloud's project that lists what it has.
    pub cloud_project: Option<String>,
    /// The branch whose pushes deploy it.
    pub branch: Option<String>,
    mesh_domain: Option<String>,
}

/// A service in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its role, where it has one.
    pub role: Option<String>,
    /// The names of the hosts that run it, in the order written; none where it is external.
    pub hosts: Vec<String>,
    /// Where it runs.
    pub mode: Mode,
    /// Whether the environment says `mode: container` outright, which deploys it even though its
    /// Compose profile is not enabled.
    pub requested: bool,
    /// Where it is found, if it is external.
    pub url: Option<String>,
    /// How many containers run on each host, in place of the Compose file's number.
    pub replicas: Option<u32>,
    /// How it rolls out.
    pub rollout: Rollout,
    /// A command that runs once per release.
    pub release_command: Option<Vec<String>>,
}

/// How a service rolls out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Which goes first, where somebody said so.
    pub order: Option<RolloutOrder>,
    /// How long a new container may take to become healthy, where somebody said so.
    pub health_timeout: Option<Duration>,
    /// How many hosts roll at once.
    pub max_parallel: u32,
    /// How many replicas on a host roll at once; all where nothing is said.
    pub batch: Option<u32>,
    /// How long a new container is watched after it became healthy.
    pub monitor: Duration,
    /// How long requests to a container that is out of the routes may take to end.
    pub drain: Duration,
    /// A command that runs in each container that goes.
    pub drain_hook: Option<Vec<String>>,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// How many replicas roll before a confirmation, if that is asked for.
    pub canary: Option<u32>,
    /// Who replaces the containers.
    pub driver: Driver,
}

/// What the cloud makes of a host.
#[derive(Debug, Clone, Default)]
pub struct CloudHost {
    /// The region's slug.
    pub region: Option<String>,
    /// The size's slug.
    pub size: Option<String>,
    /// The image's slug.
    pub image: Option<String>,
    /// Volumes that are attached.
    pub volumes: Vec<CloudVolume>,
    /// Whether its public address stays when its machine is another one.
    pub reserved_ip: bool,
    /// Whether Stagecraft refuses to destroy it.
    pub protect: bool,
    /// Whether the cloud makes it: nothing says that it is anywhere else.
    pub made: bool,
}

/// Where secret values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsFile {
    /// A dotenv file, relative to the configuration.
    pub path: String,
    /// Whether the configuration names it, so that its absence is an error.
    pub required: bool,
}

/// Where releases, the lock and the journal are kept.
#[derive(Debug, Clone)]
pub enum State {
    /// In a folder on this machine.
    Local {
        /// The folder, relative to the configuration.
        path: String,
    },
    /// On the environment's hosts.
    Host,
    /// In a bucket.
    S3(S3),
}

impl Config {
    /// The names of the environments, sorted.
    pub fn environments(&self) -> impl Iterator<Item = &str> {
        self.file.environments.names()
    }

    /// An environment by name, resolved.
    pub fn environment(&self, name: &str) -> Result<Environment, Box<Diagnostic>> {
        match self.file.environments.get(name) {
            Some(settings) => Ok(resolve(&self.file, name, settings)),
            None => Err(Box::new(self.unknown_environment(name))),
        }
    }

    fn unknown_environment(&self, name: &str) -> Diagnostic {
        let names: Vec<&str> = self.environments().collect();
        let help = match did_you_mean(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => {
                "the file has none: add some under `environments`".to_owned()
            }
            None => format!("the environments are {}", list(&names)),
        };
        let message = format!("{} has no environment `{name}`", self.source.name);
        Diagnostic::error("config::unknown-environment", message).help(help)
    }
}

impl Environment {
    /// Whether nothing of it is on another machine.
    pub fn is_local(&self) -> bool {
        self.world == World::Hosts
            && self.hosts.values().all(|host| host.transport == Transport::Local)
    }

    /// The name by which other hosts reach a host.
    pub fn mesh_name(&self, host: &str) -> String {
        match &self.mesh_domain {
            Some(domain) => format!("{host}.{domain}"),
            None => self.hosts.get(host).map_or(host, |host| &host.address).to_owned(),
        }
    }

    /// A service, mentioned or not. One without a role runs where there is only one host.
    pub fn service(&self, name: &str) -> Service {
        self.services.get(name).cloned().unwrap_or_else(|| Service {
            role: None,
            hosts: self.only_host(),
            mode: Mode::Container,
            requested: false,
            url: None,
            replicas: None,
            rollout: self.rollout.clone(),
            release_command: None,
        })
    }

    /// Whether hosts have names on a private network.
    pub fn has_mesh_names(&self) -> bool {
        self.mesh_domain.is_some()
    }

    fn only_host(&self) -> Vec<String> {
        match self.hosts.len() {
            1 => self.hosts.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }
}

fn resolve(file: &File, name: &str, settings: &EnvironmentSettings) -> Environment {
    let machines = hosts::machines(file, name, settings);
    let mesh_domain = mesh_domain(&file.network);
    let cloud = file.cloud.as_ref().map(|cloud| &cloud.digitalocean);
    let here = settings.cloud.as_ref();
    let nodes = here.and_then(|here| here.load_balancer.as_ref());
    let nodes = nodes.or(cloud.and_then(|cloud| cloud.load_balancer.as_ref()));
    let listed = here.and_then(|here| here.project.as_ref());
    let listed = listed.or(cloud.and_then(|cloud| cloud.project.as_ref()));
    let mut environment = Environment {
        name: name.to_owned(),
        project: file.project.name.to_string(),
        world: settings.world,
        hosts: machines
            .iter()
            .map(|(name, machine)| (name.clone(), host(name, machine, mesh_domain.as_deref())))
            .collect(),
        machines: machines
            .iter()
            .map(|(name, machine)| (name.clone(), cloud_host(file, settings, &machine.settings)))
            .collect(),
        roles: hosts::roles(file, name, settings)
            .into_iter()
            .flat_map(|roles| roles.iter())
            .map(|(role, listed)| {
                (role.to_owned(), listed.iter().map(|host| host.0.name.to_string()).collect())
            })
            .collect(),
        services: BTreeMap::new(),
        rollout: merged(&[&settings.rollout]),
        env_file: settings.env_file.as_ref().map(|path| path.to_string()),
        variables: BTreeMap::new(),
        secrets: secrets(file, name, settings),
        state: state(file, settings, &machines),
        traefik: settings.traefik.clone(),
        domains: (settings.domain.iter().chain(&settings.domains))
            .map(|name| name.trim_end_matches('.').to_lowercase())
            .collect(),
        protect: settings.protect,
        load_balancer: nodes.map(|nodes| nodes.0).filter(|nodes| *nodes > 0),
        cloud_project: listed.map(|name| name.0.clone()),
        branch: settings.ci.as_ref().and_then(|ci| ci.branch.as_ref()).map(|name| name.to_string()),
        mesh_domain,
    };
    environment.services = services(file, settings, &environment);
    environment.variables = variables(settings, &environment);
    environment
}

fn mesh_domain(network: &Network) -> Option<String> {
    let domain = match network.provider {
        NetworkProvider::Tailscale => network.tailscale.as_ref()?.tailnet_domain.as_ref(),
        NetworkProvider::Headscale => network.headscale.as_ref()?.tailnet_domain.as_ref(),
        NetworkProvider::None => None,
    };
    domain.map(|domain| domain.to_string())
}

fn host(name: &str, machine: &Machine, mesh_domain: Option<&str>) -> Host {
    let settings = &machine.settings;
    let address = match (&settings.address, mesh_domain) {
        (Some(address), _) => address.to_string(),
        (None, Some(domain)) => format!("{name}.{domain}"),
        (None, None) => name.to_owned(),
    };
    Host {
        address,
        user: settings.user.as_ref().map(|user| user.to_string()),
        port: settings.port.as_ref().map(|port| port.0),
        identity_file: settings.identity_file.as_ref().map(|path| path.to_string()),
        transport: settings.transport(),
        roles: machine.roles.clone(),
        ..Host::named(name)
    }
}

fn cloud_host(file: &File, settings: &EnvironmentSettings, host: &HostSettings) -> CloudHost {
    let cloud = file.cloud.as_ref().map(|cloud| &cloud.digitalocean);
    let here = settings.cloud.as_ref();
    let pick = |own: &Option<Spanned<Name>>, here: Option<&Name>, top: Option<&Name>| {
        own.as_ref().map(|own| &own.value).or(here).or(top).map(|slug| slug.to_string())
    };
    CloudHost {
        region: pick(
            &host.region,
            here.and_then(|here| here.region.as_ref()),
            cloud.and_then(|cloud| cloud.region.as_ref()),
        ),
        size: pick(
            &host.size,
            here.and_then(|here| here.size.as_ref()),
            cloud.and_then(|cloud| cloud.size.as_ref()),
        ),
        image: pick(
            &host.image,
            here.and_then(|here| here.image.as_ref()),
            cloud.and_then(|cloud| cloud.image.as_ref()),
        ),
        volumes: host.volumes.clone().unwrap_or_default(),
        reserved_ip: host.reserved_ip.as_ref().is_some_and(|it| it.value),
        protect: host.protect.as_ref().map_or(settings.protect, |protect| protect.value),
        made: host.address.is_none() && host.transport() == Transport::Ssh,
    }
}

fn secrets(file: &File, name: &str, settings: &EnvironmentSettings) -> SecretsFile {
    match settings.secrets.as_ref().or(file.secrets.as_ref()) {
        Some(secrets) => SecretsFile { path: secrets.file.to_string(), required: true },
        None => SecretsFile { path: format!(".stagecraft/secrets/{name}.env"), required: false },
    }
}

fn state(
    file: &File,
    settings: &EnvironmentSettings,
    machines: &BTreeMap<String, Machine>,
) -> State {
    let chosen = settings.state.as_ref().or(file.state.as_ref());
    let remote = machines.values().any(|machine| machine.settings.transport() == Transport::Ssh);
    let kept_on_hosts = settings.world == World::Hosts && !machines.is_empty();
    let store = chosen.and_then(|state| state.store.as_ref()).map(|store| store.value);
    match (store, chosen.and_then(|state| state.s3.clone())) {
        (Some(Store::S3), Some(s3)) => State::S3(s3),
        (Some(Store::Host), _) if kept_on_hosts => State::Host,
        (None, _) if kept_on_hosts && remote => State::Host,
        _ => State::Local {
            path: chosen.map_or_else(|| ".stagecraft/state".into(), |state| state.path.to_string()),
        },
    }
}

fn services(
    file: &File,
    settings: &EnvironmentSettings,
    environment: &Environment,
) -> BTreeMap<String, Service> {
    let specials = &settings.rest.services;
    let names = file.services.names().chain(specials.names());
    names
        .map(|name| {
            let usual = file.services.get(name);
            let special = specials.get(name);
            (name.to_owned(), service(usual, special, settings, environment))
        })
        .collect()
}

fn service(
    usual: Option<&ServiceSettings>,
    special: Option<&ServiceOverride>,
    settings: &EnvironmentSettings,
    environment: &Environment,
) -> Service {
    let role = role(usual.and_then(|usual| usual.role.as_ref()), special);
    let role = role.map(|role| role.to_string());
    let mode = special.and_then(|special| special.mode).unwrap_or(Mode::Container);
    let hosts = match (&role, mode) {
        (_, Mode::External) => Vec::new(),
        (Some(role), Mode::Container) => environment.roles.get(role).cloned().unwrap_or_default(),
        (None, Mode::Container) => environment.only_host(),
    };
    let rollouts = [
        special.map(|special| &special.rollout),
        usual.map(|usual| &usual.rollout),
        Some(&settings.rollout),
    ];
    let command = special
        .and_then(|special| special.release_command.as_ref())
        .or_else(|| usual.and_then(|usual| usual.release_command.as_ref()));
    Service {
        role,
        hosts,
        mode,
        requested: special.is_some_and(|special| special.mode == Some(Mode::Container)),
        url: special.and_then(|special| special.url.as_ref()).map(|url| url.to_string()),
        replicas: special.and_then(|special| special.replicas).map(|replicas| replicas.0),
        rollout: merged(&rollouts.into_iter().flatten().collect::<Vec<_>>()),
        release_command: command.map(|command| command.0.clone()),
    }
}

/// How long requests may take to end where nobody says so.
const DRAIN: Duration = Duration::from_secs(5);

/// Rollout settings, the nearest first, over the built-in ones.
fn merged(settings: &[&RolloutSettings]) -> Rollout {
    fn first<T>(
        settings: &[&RolloutSettings],
        get: impl Fn(&RolloutSettings) -> Option<T>,
    ) -> Option<T> {
        settings.iter().find_map(|settings| get(settings))
    }
    Rollout {
        order: first(settings, |of| of.order.as_ref().map(|order| order.value)),
        health_timeout: first(settings, |of| of.health_timeout),
        max_parallel: first(settings, |of| of.max_parallel).map_or(1, |count| count.0),
        batch: first(settings, |of| of.batch).map(|count| count.0),
        monitor: first(settings, |of| of.monitor).unwrap_or_default(),
        drain: first(settings, |of| of.drain).unwrap_or(DRAIN),
        drain_hook: first(settings, |of| of.drain_hook.clone()).map(|command| command.0),
        on_failure: first(settings, |of| of.on_failure).unwrap_or_default(),
        canary: first(settings, |of| of.canary).map(|count| count.0),
        driver: first(settings, |of| of.driver).unwrap_or(Driver::Native),
    }
}

/// What the Compose files may interpolate: what is offered, then what is set, which goes before.
fn variables(
    settings: &EnvironmentSettings,
    environment: &Environment,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([("STAGECRAFT_ENV".to_owned(), environment.name.clone())]);
    if let Some(path) = &environment.env_file {
        variables.insert("STAGECRAFT_ENV_FILE".into(), path.clone());
        variables.insert(format!("{}_ENV_FILE", shout(&environment.project)), path.clone());
    }
    if let Some(domain) = environment.domains.first() {
        variables.insert("DOMAIN".into(), domain.clone());
    }
    for (name, service) in &environment.services {
        if let Some(host) = service.hosts.first() {
            variables.insert(format!("{}_HOST", shout(name)), environment.mesh_name(host));
        }
    }
    for (key, value) in settings.rest.variables.iter() {
        variables.insert(key.to_ascii_uppercase(), value.0.clone());
    }
    for (key, value) in settings.variables.iter() {
        variables.insert(key.to_owned(), value.0.clone());
    }
    variables
}

/// A name as a part of a variable's name: capitals, and `_` for everything but letters and digits.
fn shout(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect()
}
