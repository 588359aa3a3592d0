//! Rendering: one Compose file per host, in which what runs elsewhere is reached over the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::rendered::Rendered;
use super::{Blueprint, Facts, Places, Traffic, edges};
use crate::config::compose::Project;
use crate::config::diagnostic::Diagnostic;
use crate::config::yaml;
use crate::model::definition::{self, LABEL_DEFINITION, LABEL_ENVIRONMENT};
use crate::model::{Object, Site};

/// Docker's names of the networks and volumes that a host's services use and Stagecraft makes, by
/// key.
#[derive(Debug, Default)]
pub struct Objects {
    pub networks: BTreeMap<String, String>,
    pub volumes: BTreeMap<String, String>,
}

/// What is rendered, and for whom; the same for all hosts.
pub struct Scene<'a> {
    pub blueprint: &'a Blueprint,
    pub project: &'a Project,
    pub facts: &'a Facts,
    pub places: Places<'a>,
    pub sections: Sections,
    pub traffic: Traffic,
}

/// A service's definition as its host's Compose file has it, but for the label that says its digest.
pub fn service(scene: &Scene, host: &str, name: &str) -> Result<Object, Diagnostic> {
    let Scene { blueprint, project, facts, places, traffic, .. } = scene;
    let placement = &blueprint.placements[name];
    let mut definition = project.services[name].canonical.clone();
    for key in ["build", "profiles", "pull_policy", "scale", "develop", "depends_on"] {
        definition.remove(key);
    }
    definition.insert("image".into(), image(blueprint, project, facts, name)?.into());
    refuse_project_files(project, name)?;
    let replicas = placement.replicas.map(u64::from);
    let replicas = replicas.or(project.services[name].replicas).unwrap_or(1);
    set(&mut definition, "deploy", "replicas", replicas.into());

    let dependencies = edges::dependencies(project, name);
    let placed = dependencies.into_iter().filter(|dependency| places.is_placed(dependency));
    let (local, remote): (Vec<&str>, Vec<&str>) =
        placed.partition(|dependency| places.is_on(dependency, host));
    let canonical = project.services[name].canonical.get("depends_on");
    let kept: Map<String, Value> = local
        .iter()
        .filter_map(|dependency| {
            Some(((*dependency).to_owned(), canonical?.get(*dependency)?.clone()))
        })
        .collect();
    if !kept.is_empty() {
        definition.insert("depends_on".into(), kept.into());
    }
    for dependency in remote {
        let mut addresses = Vec::new();
        for other in &blueprint.placements[dependency].hosts {
            addresses.push(format!("{dependency}={}", mesh_ip(blueprint, facts, other)?));
        }
        push(&mut definition, "extra_hosts", addresses.into_iter().map(Value::from));
    }
    let published = published_for_others(places, project, name);
    if !published.is_empty() {
        let ip = mesh_ip(blueprint, facts, host)?;
        let ports = published.into_iter().map(|port| {
            json!({
                "mode": "ingress", "host_ip": ip, "target": port,
                "published": port.to_string(), "protocol": "tcp",
            })
        });
        push(&mut definition, "ports", ports);
    } else if places.is_needed_elsewhere(name) {
        let message = format!(
            "service `{name}` runs on {host} and services on other hosts depend on it, but it \
             names no port"
        );
        return Err(point(project, name, Diagnostic::error("render::no-port", message))
            .help(format!("add `expose: [\"PORT\"]` to `{name}` in the Compose file")));
    }
    traffic.adapt(blueprint, facts, host, name, &mut definition)?;
    set(&mut definition, "labels", LABEL_ENVIRONMENT, blueprint.site.mark().into());
    Ok(definition)
}

/// Labels a definition with its digest.
pub fn label(definition: &mut Object, fingerprint: &str) {
    set(definition, "labels", LABEL_DEFINITION, fingerprint.into());
}

fn set(definition: &mut Object, section: &str, key: &str, value: Value) {
    let section = definition.entry(section).or_insert_with(|| json!({}));
    if let Value::Object(section) = section {
        section.insert(key.to_owned(), value);
    }
}

pub(super) fn push(definition: &mut Object, section: &str, values: impl Iterator<Item = Value>) {
    let section = definition.entry(section).or_insert_with(|| json!([]));
    if let Value::Array(section) = section {
        section.extend(values);
    }
}

pub(super) fn point(project: &Project, name: &str, problem: Diagnostic) -> Diagnostic {
    match project.spans.get(name) {
        Some(span) => problem.at(span, "declared here"),
        None => problem,
    }
}

/// The image's reference: the Compose file's, or the registry's for a service that is built.
fn image(
    blueprint: &Blueprint,
    project: &Project,
    facts: &Facts,
    name: &str,
) -> Result<String, Diagnostic> {
    let refuse = |message: String, help: &str| {
        Err(point(project, name, Diagnostic::error("render::image", message)).help(help))
    };
    match (&project.services[name].image, &blueprint.registry, &facts.version) {
        (Some(image), _, _) if image.contains("${") => refuse(
            format!("the image of `{name}` depends on a value that only the host knows: {image}"),
            "set the variable under `variables:` of the environment, or with --version",
        ),
        (Some(image), _, _) => Ok(image.clone()),
        (None, Some(registry), Some(version)) => Ok(format!("{registry}/{name}:{version}")),
        (None, Some(_), None) => refuse(
            format!("`{name}` is built here, and no version says which of its images to run"),
            "give one with --version",
        ),
        (None, None, _) => refuse(
            format!("`{name}` has no `image`, and the project names no registry for built ones"),
            "set `project: { registry: … }` in stagecraft.yml, or `image:` in the Compose file",
        ),
    }
}

/// Files of the project's folder do not exist on hosts.
fn refuse_project_files(project: &Project, name: &str) -> Result<(), Diagnostic> {
    use crate::config::compose::MountKind;
    let relative = |path: &str| path.starts_with('.') && !path.starts_with("/");
    let mounts = project.services[name].volumes.iter();
    let mut bound = mounts
        .filter(|mount| mount.kind == MountKind::Bind)
        .filter_map(|mount| mount.source.as_deref())
        .filter(|source| relative(source));
    match bound.next() {
        None => Ok(()),
        Some(source) => {
            let message =
                format!("`{name}` mounts {source} of the project's folder, which hosts don't have");
            Err(point(project, name, Diagnostic::error("render::project-file", message))
                .help("mount an absolute path of the host or a volume, or put it into the image"))
        }
    }
}

/// The address at which a host is reached from the others.
pub(super) fn mesh_ip(
    blueprint: &Blueprint,
    facts: &Facts,
    host: &str,
) -> Result<String, Diagnostic> {
    if let Some(ip) = facts.mesh_ips.get(host) {
        return Ok(ip.clone());
    }
    let at = &blueprint.hosts[host];
    let address = at.private_address.as_ref().unwrap_or(&at.address);
    address.parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| {
        let message = format!(
            "services on other hosts need {host}'s IP address, and neither its mesh client nor \
             stagecraft.yml says it"
        );
        Diagnostic::error("render::mesh-address", message)
            .help(format!("set `{{ name: {host}, address: IP }}` in stagecraft.yml"))
    })
}

/// The container ports that a service's hosts publish on their mesh addresses, for dependants on other hosts.
pub fn published_for_others(places: &Places, project: &Project, name: &str) -> Vec<u16> {
    if !places.is_needed_elsewhere(name) {
        return Vec::new();
    }
    let service = &project.services[name];
    let exposed = service.canonical.get("expose").and_then(Value::as_array).into_iter().flatten();
    let exposed = exposed.filter_map(|port| {
        let text = port.as_str().map_or_else(|| port.to_string(), str::to_owned);
        text.trim_end_matches("/tcp").parse().ok()
    });
    // What is published anyway is reached at its target port, too.
    let targets = service.ports.iter().filter_map(|port| port.target);
    let everywhere: BTreeSet<u16> = service
        .ports
        .iter()
        .filter(|port| port.host_ip.is_none())
        .filter(|port| port.published.as_deref() == port.target.map(|t| t.to_string()).as_deref())
        .filter_map(|port| port.target)
        .collect();
    let ports: BTreeSet<u16> = exposed.chain(targets).collect();
    ports.difference(&everywhere).copied().collect()
}

/// The networks and volumes that services use and that are not external.
pub fn objects(project: &Project, services: &BTreeMap<&str, Rendered>) -> Objects {
    let mut objects = Objects::default();
    for Rendered { definition, .. } in services.values() {
        for key in definition::networks(definition).into_iter().flatten() {
            if let Some(network) = project.networks.get(&key).filter(|n| !n.external) {
                objects.networks.insert(key, network.name.clone());
            }
        }
        for key in volumes(definition) {
            if let Some(volume) = project.volumes.get(key).filter(|v| !v.external) {
                objects.volumes.insert(key.to_owned(), volume.name.clone());
            }
        }
    }
    objects
}

/// The keys of the volumes that a definition mounts.
pub fn volumes(definition: &Object) -> Vec<&str> {
    let mounts = definition.get("volumes").and_then(Value::as_array).into_iter().flatten();
    mounts
        .filter(|mount| mount.get("type").and_then(Value::as_str) == Some("volume"))
        .filter_map(|mount| mount.get("source")?.as_str())
        .collect()
}

/// A canonical definition as an object; null is the empty one.
pub fn object(canonical: &Value) -> Object {
    canonical.as_object().cloned().unwrap_or_default()
}

/// The canonical sections of the project's Compose file besides its services.
pub struct Sections(BTreeMap<&'static str, Object>);

impl Sections {
    /// A project's sections.
    pub fn of(project: &Project) -> Self {
        let networks = project.networks.iter().map(|(key, n)| (key.clone(), n.canonical.clone()));
        let volumes = project.volumes.iter().map(|(key, v)| (key.clone(), v.canonical.clone()));
        let configs = project.configs.iter().map(|(key, c)| (key.clone(), c.canonical.clone()));
        let secrets = project.secrets.iter().map(|(key, s)| (key.clone(), s.canonical.clone()));
        Self(BTreeMap::from([
            ("networks", networks.collect()),
            ("volumes", volumes.collect()),
            ("configs", configs.collect()),
            ("secrets", secrets.collect()),
        ]))
    }

    /// A section as far as it is used, under its key; nothing where it is not.
    fn used(&self, key: &str, used: &BTreeSet<String>) -> Object {
        let section = self.0.get(key).into_iter().flatten();
        let section = section.filter(|(name, _)| used.contains(*name));
        let section: Object = section.map(|(name, value)| (name.clone(), value.clone())).collect();
        let there = (!section.is_empty()).then(|| (key.to_owned(), section.into()));
        there.into_iter().collect()
    }
}

/// The Compose file's text: the services, and of the other sections what they use.
pub fn file(sections: &Sections, site: &Site, services: &BTreeMap<&str, Rendered>) -> String {
    let definitions = || services.values().map(|service| &service.definition);
    let networks: BTreeSet<String> =
        definitions().filter_map(definition::networks).flatten().collect();
    let sourced = |section: &str| -> BTreeSet<String> {
        let entries = definitions().filter_map(|definition| definition.get(section));
        let entries = entries.filter_map(Value::as_array).flatten();
        entries.filter_map(|entry| entry.get("source")?.as_str()).map(str::to_owned).collect()
    };
    let mut before = Map::new();
    before.insert("name".into(), site.compose_project().into());
    before.extend(sections.used("networks", &networks));
    before.extend(sections.used("configs", &sourced("configs")));
    before.extend(sections.used("secrets", &sourced("secrets")));
    // The services' entries are written already; in the order of keys, volumes alone follow them.
    let mut text = yaml::emit(&before.into());
    text.push_str("services:\n");
    text.extend(services.values().map(|service| service.gist.entry.as_str()));
    let volumes = sections.used("volumes", &sourced("volumes"));
    if !volumes.is_empty() {
        text.push_str(&yaml::emit(&volumes.into()));
    }
    text
}
