//! The typed project: what the rest of the program reads, made from the canonical form.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Interpolation;
use super::shape::{self, Shape};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::model::duration::parse_duration;

/// What a load returns.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// What Compose would warn about.
    pub warnings: Vec<Diagnostic>,
}

/// A Compose project.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// The enabled services.
    pub services: BTreeMap<String, Arc<Service>>,
    /// The services whose profiles are not enabled.
    pub disabled: BTreeMap<String, Arc<Service>>,
    /// The networks that enabled services use.
    pub networks: BTreeMap<String, Network>,
    /// The volumes that enabled services use.
    pub volumes: BTreeMap<String, Volume>,
    /// The configs that enabled services use.
    pub configs: BTreeMap<String, Config>,
    /// The secrets that enabled services use.
    pub secrets: BTreeMap<String, Secret>,
    /// The AI models that enabled services use, canonical.
    pub models: BTreeMap<String, Value>,
    /// Top-level `x-` entries.
    pub extensions: BTreeMap<String, Value>,
    /// Where each service is declared.
    pub spans: BTreeMap<String, Span>,
    pub(super) interpolation: Interpolation,
    /// The model as it was written, where nothing was interpolated.
    pub(super) raw: Option<Value>,
}

impl Project {
    /// What `docker compose config --format json` prints, as data: in a fully interpolated project
    /// every `$` is doubled.
    pub fn canonical(&self) -> Value {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        self.printed(shape::to_json)
    }

    /// The project as one Compose file: what `docker compose config` prints as YAML. It can be
    /// read back, and has the extensions and models that the JSON form leaves out.
    pub fn document(&self) -> Value {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut out = self.printed(|_, value| value);
        if !self.models.is_empty() {
            let models = self.models.iter().map(|(key, model)| (key.clone(), model.clone()));
            out["models"] = self.escaped(models.collect());
        }
        out
    }

    /// The project, each resource printed by the shape of its section.
    fn printed(&self, print: impl Fn(&Shape, Value) -> Value) -> Value {
        fn section<T>(of: &BTreeMap<String, T>, print: impl Fn(&T) -> Value) -> Value {
            of.iter().map(|(key, resource)| (key.clone(), print(resource))).collect()
        }
        let mut out = Map::new();
        out.insert("name".to_owned(), self.name.as_str().into());
        let services =
            section(&self.services, |s| print(&shape::SERVICE, s.canonical.clone().into()));
        out.insert("services".to_owned(), services);
        for (key, section) in [
            ("networks", section(&self.networks, |n| print(&shape::NETWORK, n.canonical.clone()))),
            ("volumes", section(&self.volumes, |v| print(&shape::VOLUME, v.canonical.clone()))),
            ("secrets", section(&self.secrets, |s| print(&shape::SECRET, s.canonical.clone()))),
            ("configs", section(&self.configs, |c| print(&shape::CONFIG, c.canonical.clone()))),
        ] {
            if section.as_object().is_some_and(|section| !section.is_empty()) {
                out.insert(key.to_owned(), section);
            }
        }
        out.extend(self.extensions.iter().map(|(key, value)| (key.clone(), value.clone())));
        self.escaped(Value::Object(out))
    }

    fn escaped(&self, value: Value) -> Value {
        match self.interpolation {
            Interpolation::Full => escape(value),
            Interpolation::Off | Interpolation::Template => value,
        }
    }
}

fn escape(value: Value) -> Value {
    let double = super::interpolate::escape;
    match value {
        Value::String(text) if text.contains('$') => Value::String(double(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(escape).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter().map(|(key, value)| (double(&key), escape(value))).collect(),
        ),
        other => other,
    }
}

/// A service. Fields that hold a kept reference where a number belongs read as absent; the
/// canonical form has them as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    /// The image's name.
    pub image: Option<String>,
    /// The command over the image's; `Some(empty)` clears it.
    pub command: Option<Vec<String>>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Mounts.
    pub volumes: Vec<Mount>,
    /// What starts before it.
    pub depends_on: BTreeMap<String, Dependency>,
    /// How its health is known.
    pub healthcheck: Option<Healthcheck>,
    /// How many containers: `scale` or `deploy.replicas`.
    pub replicas: Option<u64>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// How long a stop may take.
    pub stop_grace_period: Option<Duration>,
    /// The profiles that enable it.
    pub profiles: Vec<String>,
    /// The whole service, the source of truth: the form that Compose prints as YAML and reads back.
    pub canonical: Map<String, Value>,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Port {
    /// The container's port; `None` while it is a kept reference.
    pub target: Option<u16>,
    /// The host's port, a range, a kept reference, or nothing for any free port.
    pub published: Option<String>,
    /// The host's address.
    pub host_ip: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// `ingress` or `host`.
    pub mode: String,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// A volume's key, a path, an image; nothing for an anonymous volume.
    pub source: Option<String>,
    /// Where it appears in the container.
    pub target: String,
    /// Whether the container can't write to it.
    pub read_only: bool,
}

/// The kinds of mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// An image's files.
    Image,
    /// A cluster volume.
    Cluster,
    /// A Windows pipe.
    Pipe,
    /// A kept reference decides on the host.
    Unresolved,
}

/// One entry of `depends_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// What is waited for.
    pub condition: Condition,
    /// Whether its absence is an error.
    pub required: bool,
    /// Whether this service restarts with it.
    pub restart: bool,
}

/// What `depends_on` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// `service_started`.
    Started,
    /// `service_healthy`.
    Healthy,
    /// `service_completed_successfully`.
    Completed,
}

/// A health check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `CMD`, `CMD-SHELL` or `NONE` and what follows; empty for the image's own.
    pub test: Vec<String>,
    /// Between checks.
    pub interval: Option<Duration>,
    /// For one check.
    pub timeout: Option<Duration>,
    /// While failures don't count.
    pub start_period: Option<Duration>,
    /// Between checks while starting.
    pub start_interval: Option<Duration>,
    /// Failures until it is unhealthy.
    pub retries: Option<u64>,
    /// Whether the image's check is switched off.
    pub disable: bool,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Network {
    /// Its name in Docker.
    pub name: String,
    /// Whether it exists apart from the project.
    pub external: bool,
    /// Its driver.
    pub driver: Option<String>,
    /// Whether it has no way out.
    pub internal: bool,
    /// The whole of it.
    pub canonical: Value,
}

/// A volume.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Volume {
    /// Its name in Docker.
    pub name: String,
    /// Whether it exists apart from the project.
    pub external: bool,
    /// Its driver.
    pub driver: Option<String>,
    /// The whole of it.
    pub canonical: Value,
}

/// A config.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Its name in Docker.
    pub name: String,
    /// Whether it exists apart from the project.
    pub external: bool,
    /// The file that holds it.
    pub file: Option<String>,
    /// The variable that holds it.
    pub environment: Option<String>,
    /// Its text, where written in place.
    pub content: Option<String>,
    /// The whole of it.
    pub canonical: Value,
}

/// A secret. It never holds the secret's value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Secret {
    /// Its name in Docker.
    pub name: String,
    /// Whether it exists apart from the project.
    pub external: bool,
    /// The file that holds it.
    pub file: Option<String>,
    /// The variable that holds it.
    pub environment: Option<String>,
    /// The whole of it.
    pub canonical: Value,
}

fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().map(str::to_owned)
}

fn field(value: &Value, key: &str) -> Option<String> {
    text(value.get(key))
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn list(value: Option<&Value>) -> Option<Vec<String>> {
    let items = value?.as_array()?;
    Some(items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
}

fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

fn duration(value: Option<&Value>) -> Option<Duration> {
    let nanos = parse_duration(value?.as_str()?).ok()?;
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

impl Service {
    /// The typed service of a canonical one.
    pub fn from_canonical(canonical: Map<String, Value>) -> Self {
        let get = |key: &str| canonical.get(key);
        let items = |key: &str| get(key).and_then(Value::as_array).into_iter().flatten();
        let entries = |key: &str| get(key).and_then(Value::as_object).into_iter().flatten();
        let replicas =
            get("scale").or_else(|| get("deploy").and_then(|deploy| deploy.get("replicas")));
        let labels = entries("labels");
        Self {
            image: text(get("image")),
            command: list(get("command")),
            ports: items("ports").map(Port::from_canonical).collect(),
            volumes: items("volumes").map(Mount::from_canonical).collect(),
            depends_on: entries("depends_on")
                .map(|(key, value)| (key.clone(), Dependency::from_canonical(value)))
                .collect(),
            healthcheck: get("healthcheck").map(Healthcheck::from_canonical),
            replicas: number(replicas),
            labels: labels
                .filter_map(|(key, value)| Some((key.clone(), text(Some(value))?)))
                .collect(),
            stop_grace_period: duration(get("stop_grace_period")),
            profiles: list(get("profiles")).unwrap_or_default(),
            canonical,
        }
    }
}

impl Port {
    fn from_canonical(value: &Value) -> Self {
        let target = number(value.get("target")).and_then(|port| u16::try_from(port).ok());
        Self {
            target,
            published: field(value, "published"),
            host_ip: field(value, "host_ip"),
            protocol: field(value, "protocol").unwrap_or_else(|| "tcp".to_owned()),
            mode: field(value, "mode").unwrap_or_else(|| "ingress".to_owned()),
        }
    }
}

impl Mount {
    fn from_canonical(value: &Value) -> Self {
        let kind = match value.get("type").and_then(Value::as_str) {
            Some("bind") => MountKind::Bind,
            Some("volume") => MountKind::Volume,
            Some("tmpfs") => MountKind::Tmpfs,
            Some("image") => MountKind::Image,
            Some("cluster") => MountKind::Cluster,
            Some("npipe") => MountKind::Pipe,
            _ => MountKind::Unresolved,
        };
        Self {
            kind,
            source: field(value, "source"),
            target: field(value, "target").unwrap_or_default(),
            read_only: flag(value, "read_only"),
        }
    }
}

impl Dependency {
    fn from_canonical(value: &Value) -> Self {
        let condition = match value.get("condition").and_then(Value::as_str) {
            Some("service_healthy") => Condition::Healthy,
            Some("service_completed_successfully") => Condition::Completed,
            _ => Condition::Started,
        };
        let required = value.get("required").and_then(Value::as_bool).unwrap_or(true);
        Self { condition, required, restart: flag(value, "restart") }
    }
}

impl Healthcheck {
    fn from_canonical(value: &Value) -> Self {
        Self {
            test: list(value.get("test")).unwrap_or_default(),
            interval: duration(value.get("interval")),
            timeout: duration(value.get("timeout")),
            start_period: duration(value.get("start_period")),
            start_interval: duration(value.get("start_interval")),
            retries: number(value.get("retries")),
            disable: flag(value, "disable"),
        }
    }
}

impl Network {
    pub(super) fn from_canonical(canonical: Value) -> Self {
        Self {
            name: field(&canonical, "name").unwrap_or_default(),
            external: flag(&canonical, "external"),
            driver: field(&canonical, "driver"),
            internal: flag(&canonical, "internal"),
            canonical,
        }
    }
}

impl Volume {
    pub(super) fn from_canonical(canonical: Value) -> Self {
        Self {
            name: field(&canonical, "name").unwrap_or_default(),
            external: flag(&canonical, "external"),
            driver: field(&canonical, "driver"),
            canonical,
        }
    }
}

impl Config {
    pub(super) fn from_canonical(canonical: Value) -> Self {
        Self {
            name: field(&canonical, "name").unwrap_or_default(),
            external: flag(&canonical, "external"),
            file: field(&canonical, "file"),
            environment: field(&canonical, "environment"),
            content: field(&canonical, "content"),
            canonical,
        }
    }
}

impl Secret {
    pub(super) fn from_canonical(canonical: Value) -> Self {
        Self {
            name: field(&canonical, "name").unwrap_or_default(),
            external: flag(&canonical, "external"),
            file: field(&canonical, "file"),
            environment: field(&canonical, "environment"),
            canonical,
        }
    }
}
