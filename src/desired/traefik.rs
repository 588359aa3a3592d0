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

use serde_json::{Map, Value, json};

use crate::model::{Backend, Routes, Section, section_objects as objects};

use labels::Node;
use options::LABELS;

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
