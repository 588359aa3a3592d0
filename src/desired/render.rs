//! Rendering: one Compose file per host, in which what runs elsewhere is reached over the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::rendered::Rendered;
use super::{Blueprint, Facts, Placed, Places, Traffic, refuse};
use crate::config::compose::Project;
use crate::config::diagnostic::Diagnostic;
use crate::config::yaml;
use crate::model::definition::{LABEL_DEFINITION, LABEL_ENVIRONMENT, sources};
use crate::model::image::is_reference;
use crate::model::{Object, Site};

/// What is rendered, and for whom; the same for all hosts.
pub struct Scene<'a> {
    pub blueprint: &'a Blueprint,
    pub project: &'a Project,
    pub facts: &'a Facts,
    pub places: Places<'a>,
    pub sections: Sections,
    pub traffic: Traffic,
}

/// The keys of a service that its host's Compose file doesn't have as they are.
const ASIDE: [&str; 6] = ["build", "depends_on", "develop", "profiles", "pull_policy", "scale"];

/// What of its host a service's definition depends on.
#[derive(PartialEq)]
pub struct Surroundings<'a> {
    /// The services that it depends on and that run there, too.
    beside: Vec<&'a str>,
    /// The container ports at which gateways on other hosts reach it.
    routed: Vec<u16>,
    /// The host's address, where it is reached at that.
    ip: Option<String>,
}

impl<'a> Surroundings<'a> {
    /// What a host is to a service.
    pub fn of(scene: &'a Scene, host: &str, placed: &Placed) -> Result<Self, Diagnostic> {
        let Scene { blueprint, facts, places, traffic, .. } = scene;
        let routed = traffic.published(host, placed);
        let ip = match placed.published.is_empty() && routed.is_empty() {
            true => None,
            false => Some(mesh_ip(blueprint, facts, host)?),
        };
        let beside = places.dependencies(placed).filter(|dependency| dependency.is_on(host));
        let beside = beside.map(|dependency| dependency.name).collect();
        Ok(Self { beside, routed, ip })
    }

    /// Whether a service that it depends on runs there, too.
    pub fn has(&self, service: &str) -> bool {
        self.beside.contains(&service)
    }

    /// Entries of `ports` that publish some on the host's address; at which port says `published`.
    fn ports(&self, ports: &[u16], published: impl Fn(u16) -> Option<String>) -> Vec<Value> {
        let entry = |port: &u16| {
            let mut entry = json!({
                "mode": "ingress", "host_ip": self.ip, "target": port, "protocol": "tcp",
            });
            if let Some(published) = published(*port) {
                entry["published"] = published.into();
            }
            entry
        };
        ports.iter().map(entry).collect()
    }
}

/// A service's definition as its host's Compose file has it, but for the label that says its digest.
pub fn service(
    scene: &Scene,
    host: &str,
    placed: &Placed,
    surroundings: &Surroundings,
) -> Result<Object, Diagnostic> {
    let Scene { blueprint, project, facts, places, traffic, .. } = scene;
    let Placed { name, service, placement, .. } = *placed;
    let canonical = service.canonical.iter().filter(|(key, _)| !ASIDE.contains(&key.as_str()));
    let mut definition: Object =
        canonical.map(|(key, value)| (key.clone(), value.clone())).collect();
    let awaited = service.canonical.get("depends_on");
    definition.insert("image".into(), image(blueprint, project, facts, placed)?.into());
    let replicas = placement.replicas.map(u64::from);
    let replicas = replicas.or(service.replicas).unwrap_or(1);
    set(&mut definition, "deploy", "replicas", replicas.into());

    let mut kept = Map::new();
    for dependency in places.dependencies(placed) {
        let other = dependency.name;
        if surroundings.has(other) {
            let entry = awaited.and_then(|awaited| awaited.get(other));
            kept.extend(entry.map(|entry| (other.to_owned(), entry.clone())));
            continue;
        }
        let mut addresses = Vec::new();
        for host in &dependency.placement.hosts {
            addresses.push(format!("{other}={}", mesh_ip(blueprint, facts, host)?).into());
        }
        push(&mut definition, "extra_hosts", addresses);
    }
    if !kept.is_empty() {
        definition.insert("depends_on".into(), kept.into());
    }
    links(scene, surroundings, &mut definition)?;
    if !placed.published.is_empty() {
        let same = |port: u16| Some(port.to_string());
        push(&mut definition, "ports", surroundings.ports(&placed.published, same));
    } else if placed.is_needed_elsewhere {
        let message = format!(
            "service `{name}` runs on {host} and services on other hosts depend on it, but it \
             names no port"
        );
        return Err(point(project, name, Diagnostic::error("render::no-port", message))
            .help(format!("add `expose: [\"PORT\"]` to `{name}` in the Compose file")));
    }
    traffic.adapt(blueprint, name, &mut definition);
    if !surroundings.routed.is_empty() {
        push(&mut definition, "ports", surroundings.ports(&surroundings.routed, |_| None));
    }
    set(&mut definition, "labels", LABEL_ENVIRONMENT, blueprint.site.mark().into());
    refuse::service(project, host, placed, &definition, surroundings)?;
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

pub(super) fn push(
    definition: &mut Object,
    section: &str,
    values: impl IntoIterator<Item = Value>,
) {
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
    placed: &Placed,
) -> Result<String, Diagnostic> {
    let name = placed.name;
    let refuse = |message: String, help: &str| {
        Err(point(project, name, Diagnostic::error("render::image", message)).help(help))
    };
    match (&placed.service.image, &blueprint.registry, &facts.version) {
        (Some(image), _, _) if image.contains("${") => refuse(
            format!("the image of `{name}` depends on a value that only the host knows: {image}"),
            "set the variable under `variables:` of the environment, or with --version",
        ),
        (Some(image), _, version) if !is_reference(image) => refuse(
            format!("the image of `{name}` comes to `{image}`, which is no reference to one"),
            match version {
                None => "give a version with --version, if it is `IMAGE_TAG` that is missing",
                Some(_) => "write it as in `registry.example/name:tag`",
            },
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

/// Links to services of other hosts become names of those hosts.
fn links(
    scene: &Scene,
    surroundings: &Surroundings,
    definition: &mut Object,
) -> Result<(), Diagnostic> {
    let Some(Value::Array(links)) = definition.get_mut("links") else { return Ok(()) };
    let parts = |link: &Value| {
        let link = link.as_str().unwrap_or_default();
        let (service, alias) = link.split_once(':').unwrap_or((link, link));
        (service.to_owned(), alias.to_owned())
    };
    let (kept, gone): (Vec<Value>, _) =
        std::mem::take(links).into_iter().partition(|link| surroundings.has(&parts(link).0));
    match kept.is_empty() {
        true => drop(definition.remove("links")),
        false => *links = kept,
    }
    for (service, alias) in gone.iter().map(parts).filter(|(service, alias)| service != alias) {
        let Some(placed) = scene.places.get(&service) else { continue };
        for host in &placed.placement.hosts {
            let ip = mesh_ip(scene.blueprint, scene.facts, host)?;
            push(definition, "extra_hosts", [format!("{alias}={ip}").into()]);
        }
    }
    Ok(())
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

/// What the services of a host use of the project's other sections, by key.
pub struct Used<'a> {
    pub networks: BTreeSet<&'a str>,
    pub volumes: BTreeSet<&'a str>,
    /// Those, and whatever else mounts name: what a mount is may be known on the host alone.
    mounted: BTreeSet<&'a str>,
    configs: BTreeSet<&'a str>,
    secrets: BTreeSet<&'a str>,
}

impl<'a> Used<'a> {
    /// What rendered services use.
    pub fn by(services: impl Iterator<Item = &'a Rendered> + Clone) -> Self {
        let keys = |of: fn(&'a Rendered) -> &'a BTreeSet<String>| {
            services.clone().flat_map(of).map(String::as_str).collect()
        };
        let sourced = |section: &str| {
            services
                .clone()
                .flat_map(|service| sources(&service.spec.definition, section))
                .collect()
        };
        Self {
            networks: keys(|service| &service.networks),
            volumes: keys(|service| &service.volumes),
            mounted: sourced("volumes"),
            configs: sourced("configs"),
            secrets: sourced("secrets"),
        }
    }
}

/// The keys of the volumes that a definition mounts.
pub fn volumes(definition: &Object) -> impl Iterator<Item = &str> {
    let mounts = definition.get("volumes").and_then(Value::as_array).into_iter().flatten();
    mounts
        .filter(|mount| mount.get("type").and_then(Value::as_str) == Some("volume"))
        .filter_map(|mount| mount.get("source")?.as_str())
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
    pub fn used(&self, key: &str, used: &BTreeSet<&str>) -> Object {
        let section = self.0.get(key).into_iter().flatten();
        let section = section.filter(|(name, _)| used.contains(name.as_str()));
        let section: Object = section.map(|(name, value)| (name.clone(), value.clone())).collect();
        let there = (!section.is_empty()).then(|| (key.to_owned(), section.into()));
        there.into_iter().collect()
    }
}

/// The Compose file's text: the services, and of the other sections what they use.
pub fn file<'a>(
    sections: &Sections,
    site: &Site,
    services: impl Iterator<Item = &'a Rendered> + Clone,
    used: &Used,
) -> String {
    let mut before = Map::new();
    before.insert("name".into(), site.compose_project().into());
    before.extend(sections.used("networks", &used.networks));
    before.extend(sections.used("configs", &used.configs));
    before.extend(sections.used("secrets", &used.secrets));
    // The services' entries are written already; in the order of keys, volumes alone follow them.
    let mut text = yaml::emit(&before.into());
    text.reserve(services.clone().map(|service| service.entry.len()).sum::<usize>() + 1024);
    text.push_str("services:\n");
    text.extend(services.map(|service| service.entry.as_str()));
    let volumes = sections.used("volumes", &used.mounted);
    if !volumes.is_empty() {
        text.push_str(&yaml::emit(&volumes.into()));
    }
    text
}
