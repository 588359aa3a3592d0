//! The `traefik.*` labels of a Compose service as the configuration of Traefik's file provider: a
//! label's path is the configuration's path. Pure; the servers are handed to `Routes::render`.
//!
//! What Traefik's Docker provider adds to labels is added here, too: the service that a container
//! has without naming one, and the port that it exposes. Its default rule is not, since where a
//! service is reached is nothing to guess. Labels are read as a container has them, that is after
//! Compose's interpolation.

mod labels;
mod options;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use labels::Node;
use options::LABELS;

/// A part of Traefik's configuration that routes to servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// Routed by request.
    Http,
    /// Routed by connection.
    Tcp,
    /// Routed by entry point.
    Udp,
}

impl Section {
    const ALL: [Self; 3] = [Self::Http, Self::Tcp, Self::Udp];

    /// Its name in a configuration and in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A load balancer that wants servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Where it is configured.
    pub section: Section,
    /// Its name there.
    pub name: String,
    /// The containers' port: the one that the labels name, else the lowest that they expose.
    pub port: Option<u16>,
    /// What the servers speak; `http` unless the labels say otherwise. Without meaning for TCP and
    /// UDP.
    pub scheme: String,
    /// What each server carries besides its address: `weight`, `preservePath`, `tls`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub server: Map<String, Value>,
}

impl Backend {
    /// What tells it from the others of the same routes: an HTTP and a TCP service may share a name.
    pub fn id(&self) -> String {
        format!("{}/{}", self.section.name(), self.name)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}

/// How a Compose service is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Routes {
    /// The Compose service.
    pub service: String,
    /// The Docker network on which the labels want the proxy to reach it.
    pub network: Option<String>,
    /// The sections `http`, `tcp`, `udp` and `tls`; load balancers are without servers.
    pub document: Value,
    /// The load balancers, in order.
    pub backends: Vec<Backend>,
}

/// Lifts a service's labels. `None` when Traefik is not to know of it: there are no such labels, or
/// `traefik.enable` is off. `exposed` are the TCP ports that its containers expose.
///
/// # Errors
/// One sentence each for what is no configuration of Traefik's; all name their label.
pub fn lift(
    project: &str,
    service: &str,
    labels: &BTreeMap<String, String>,
    exposed: &[u16],
) -> Result<Option<Routes>, Vec<String>> {
    let mut problems = Vec::new();
    let enable = find(labels, "traefik.enable").map(|(label, value)| match parse_bool(value) {
        Some(on) => on,
        None => {
            problems.push(format!("`{label}` wants `true` or `false`, not {value:?}"));
            true
        }
    });
    if enable == Some(false) {
        return Ok(None);
    }
    let mut lifted = Vec::new();
    for (label, value) in labels {
        let Some(rest) = strip(label, "traefik.") else { continue };
        let first = rest.split('.').next().unwrap_or_default().to_lowercase();
        match first.as_str() {
            "http" | "tcp" | "udp" | "tls" => lifted.push((label.as_str(), value.as_str())),
            "frontend" | "backend" | "port" | "protocol" | "weight" => problems.push(format!(
                "`{label}` is a label of Traefik 1; since version 2 it begins with \
                 `traefik.http.routers.` or `traefik.http.services.`"
            )),
            // Traefik leaves others alone, too: people select containers by labels of their own.
            _ => {}
        }
    }
    let tree = Node::tree(lifted.iter().copied(), &mut problems);
    let typed = labels::typed(&tree, &LABELS, &mut problems).unwrap_or_default();
    let mut document = typed.get("traefik").cloned().unwrap_or_else(|| json!({}));
    let Some(sections) = document.as_object_mut() else { return Err(problems) };
    if sections.is_empty() && enable.is_none() && problems.is_empty() {
        return Ok(None);
    }
    if sections.is_empty() && problems.is_empty() {
        let router = normalised(service);
        problems.push(format!(
            "`traefik.enable` is on, but no label routes to `{service}`: Stagecraft leaves Traefik's \
             default rule out; write `traefik.http.routers.{router}.rule`"
        ));
    }
    let implied = format!("{}-{}", normalised(service), normalised(project));
    let mut backends = Vec::new();
    for section in Section::ALL {
        if let Some(Value::Object(content)) = sections.get_mut(section.name()) {
            let mut lifter =
                Lifter { section, implied: &implied, exposed, problems: &mut problems };
            backends.extend(lifter.section(content));
        }
    }
    sections.retain(|_, section| section.as_object().is_some_and(|s| !s.is_empty()));
    if !problems.is_empty() {
        return Err(problems);
    }
    let network = ["traefik.docker.network", "traefik.swarm.network"];
    let network = network.iter().find_map(|label| find(labels, label)).map(|(_, v)| v.to_owned());
    Ok(Some(Routes { service: service.to_owned(), network, document, backends }))
}

struct Lifter<'a> {
    section: Section,
    implied: &'a str,
    exposed: &'a [u16],
    problems: &'a mut Vec<String>,
}

impl Lifter<'_> {
    /// Completes one section and takes the servers' part out of it.
    fn section(&mut self, content: &mut Map<String, Value>) -> Vec<Backend> {
        self.imply_service(content);
        let mut backends = Vec::new();
        for (name, service) in objects(content, "services") {
            match service.get_mut("loadBalancer").and_then(Value::as_object_mut) {
                Some(balancer) => backends.extend(self.backend(name, balancer)),
                None => self.problems.push(format!(
                    "`traefik.{}.services.{name}` says nothing of a `loadBalancer`, the one kind of \
                     service that labels can describe",
                    self.section.name()
                )),
            }
        }
        self.check_rules(content);
        content.retain(|_, objects| objects.as_object().is_some_and(|o| !o.is_empty()));
        backends
    }

    /// A router that names no service gets the only one, or the one that a container has anyway.
    fn imply_service(&mut self, content: &mut Map<String, Value>) {
        let declared: Vec<String> = objects(content, "services").map(|(n, _)| n.clone()).collect();
        let mut wanted = false;
        for (name, router) in objects(content, "routers") {
            if let Some(named) = router.get("service").and_then(Value::as_str) {
                let local = named.strip_suffix("@file").unwrap_or(named);
                wanted |= declared.is_empty() && local == self.implied;
                continue;
            }
            let service = match declared.as_slice() {
                [] => {
                    wanted = true;
                    self.implied
                }
                [one] => one,
                many => {
                    self.problems.push(format!(
                        "`traefik.{}.routers.{name}.service` is missing, and which of {} it is can't \
                         be told",
                        self.section.name(),
                        many.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", ")
                    ));
                    continue;
                }
            };
            router.insert("service".into(), service.into());
        }
        if wanted {
            content.insert("services".into(), json!({ self.implied: { "loadBalancer": {} } }));
        }
    }

    fn check_rules(&mut self, content: &mut Map<String, Value>) {
        if self.section == Section::Udp {
            return;
        }
        for (name, router) in objects(content, "routers") {
            let rule = router.get("rule").and_then(Value::as_str).unwrap_or_default();
            if rule.trim().is_empty() {
                self.problems.push(format!(
                    "`traefik.{}.routers.{name}.rule` is missing: Stagecraft leaves Traefik's default \
                     rule out",
                    self.section.name()
                ));
            }
        }
    }

    fn backend(&mut self, name: &str, balancer: &mut Map<String, Value>) -> Option<Backend> {
        let label = format!("traefik.{}.services.{name}.loadbalancer.server", self.section.name());
        let server = balancer.remove("server");
        let mut server = match server {
            Some(Value::Object(server)) => server,
            _ => Map::new(),
        };
        if server.remove("url").is_some() {
            self.problems.push(format!(
                "`{label}.url` names a server that is not this service's: its containers are the \
                 servers"
            ));
        }
        let port = match server.remove("port") {
            Some(port) => match port.as_str().and_then(|port| port.parse::<u16>().ok()) {
                Some(port) if port > 0 => Some(port),
                _ => {
                    self.problems.push(format!("`{label}.port` wants a port, not {port}"));
                    None
                }
            },
            None => self.exposed.iter().copied().min(),
        };
        let scheme = server.remove("scheme");
        let scheme = scheme.as_ref().and_then(Value::as_str).filter(|scheme| !scheme.is_empty());
        Some(Backend {
            section: self.section,
            name: name.to_owned(),
            port,
            scheme: scheme.unwrap_or("http").to_owned(),
            server,
        })
    }
}

impl Routes {
    /// The complete configuration for one file. `servers` gives the addresses (`10.0.0.5:8080`) of
    /// each backend by its `id`.
    ///
    /// A backend without servers is one that answers for itself: over HTTP with 503, as a balancer
    /// of nothing; over TCP and UDP it can't be said, so its routers are left out.
    pub fn render(&self, servers: &BTreeMap<String, Vec<String>>) -> Value {
        let mut document = self.document.clone();
        for backend in &self.backends {
            let addresses = servers.get(&backend.id()).map(Vec::as_slice).unwrap_or_default();
            let Some(section) =
                document.get_mut(backend.section.name()).and_then(Value::as_object_mut)
            else {
                continue;
            };
            if addresses.is_empty() && backend.section != Section::Http {
                backend.leave(section);
                continue;
            }
            for (_, service) in objects(section, "services").filter(|(n, _)| **n == backend.name) {
                if addresses.is_empty() {
                    *service = Map::from_iter([("weighted".into(), json!({ "services": [] }))]);
                } else if let Some(Value::Object(balancer)) = service.get_mut("loadBalancer") {
                    let list = addresses.iter().map(|address| backend.entry(address)).collect();
                    balancer.insert("servers".into(), list);
                }
            }
        }
        if let Some(sections) = document.as_object_mut() {
            // Traefik refuses a file with an empty section.
            sections.retain(|_, section| section.as_object().is_some_and(|s| !s.is_empty()));
        }
        document
    }
}

impl Backend {
    fn entry(&self, address: &str) -> Value {
        let mut entry = self.server.clone();
        match self.section {
            Section::Http => {
                entry.insert("url".into(), format!("{}://{address}", self.scheme).into())
            }
            _ => entry.insert("address".into(), address.into()),
        };
        entry.into()
    }

    /// Takes the service and its routers out of a section.
    fn leave(&self, section: &mut Map<String, Value>) {
        if let Some(services) = section.get_mut("services").and_then(Value::as_object_mut) {
            services.remove(&self.name);
        }
        if let Some(routers) = section.get_mut("routers").and_then(Value::as_object_mut) {
            routers.retain(|_, router| {
                let service = router.get("service").and_then(Value::as_str).unwrap_or_default();
                service.strip_suffix("@file").unwrap_or(service) != self.name
            });
        }
        section.retain(|_, objects| objects.as_object().is_some_and(|o| !o.is_empty()));
    }
}

fn objects<'a>(
    content: &'a mut Map<String, Value>,
    kind: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Map<String, Value>)> {
    let all = content.get_mut(kind).and_then(Value::as_object_mut).into_iter().flatten();
    all.filter_map(|(name, object)| Some((name, object.as_object_mut()?)))
}

fn find<'a>(labels: &'a BTreeMap<String, String>, name: &str) -> Option<(&'a str, &'a str)> {
    let found = labels.iter().find(|(label, _)| label.eq_ignore_ascii_case(name));
    found.map(|(label, value)| (label.as_str(), value.as_str()))
}

fn strip<'a>(label: &'a str, prefix: &str) -> Option<&'a str> {
    let head = label.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &label[prefix.len()..])
}

fn parse_bool(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" => Some(false),
        _ => None,
    }
}

/// As Traefik makes names of Docker's names: letters and digits, anything else is one `-`.
fn normalised(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}
