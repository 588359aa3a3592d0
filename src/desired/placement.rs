//! Where services run: their hosts and tiers, what the configuration says of their rollouts, and
//! what follows from it for all of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::config::compose::{Condition, Project, Service};
use crate::model::{OnFailure, RolloutOrder, Tier};

/// A service's place.
#[derive(Debug, Clone)]
pub struct Placement {
    /// What goes before what.
    pub tier: Tier,
    /// The hosts that run it, in order.
    pub hosts: Vec<String>,
    /// How many containers on each host, where the configuration says.
    pub replicas: Option<u32>,
    /// The order asked for.
    pub order: Option<RolloutOrder>,
    /// How long a new container may take to become healthy.
    pub health_timeout: Option<Duration>,
    /// How long a new container is watched after it became healthy.
    pub monitor: Duration,
    /// How many hosts roll at once.
    pub max_parallel: u32,
    /// How long requests to a container that is out of the routes may take to end.
    pub drain: Duration,
    /// The words of a command that runs in each container that goes.
    pub drain_hook: Vec<String>,
    /// How many replicas on a host roll at once.
    pub batch: Option<u32>,
    /// How many replicas roll before somebody has to confirm.
    pub canary: Option<u32>,
    /// What happens to services that were rolled already when it fails.
    pub on_failure: OnFailure,
    /// Whether docker-rollout replaces the containers.
    pub by_plugin: bool,
    /// The words of a command that runs once per release.
    pub release_command: Vec<String>,
}

/// A service that has a place, and what it needs to know of the others.
pub struct Placed<'a> {
    pub name: &'a str,
    pub service: &'a Service,
    pub placement: &'a Placement,
    /// Whether a service on a host that this one does not run on depends on it.
    pub is_needed_elsewhere: bool,
    /// The container ports at which it is reached from there.
    pub published: Vec<u16>,
    /// Whether others wait for it to end: it is a job, and its end is no failure.
    pub completes: bool,
    /// The tier in which it really is: that of its role, or a later one that it depends on.
    pub tier: Tier,
    hosts: BTreeSet<&'a str>,
    /// Those that it depends on, by their places in the order of names.
    dependencies: Vec<usize>,
    /// Those of them that it is made anew with.
    followed: Vec<usize>,
}

impl Placed<'_> {
    /// Whether it runs on a host.
    pub fn is_on(&self, host: &str) -> bool {
        self.hosts.contains(host)
    }
}

/// The services that have places. What follows from all of them together is worked out once: asked for
/// service by service it would cost their number squared.
pub struct Places<'a> {
    /// In the order of their names.
    services: Vec<Placed<'a>>,
    by_host: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Places<'a> {
    /// What the placements of a project's services come to.
    pub fn new(placements: &'a BTreeMap<String, Placement>, project: &'a Project) -> Self {
        let awaited = project.services.values().flat_map(|service| &service.depends_on);
        let jobs: BTreeSet<&str> = awaited
            .filter(|(_, dependency)| dependency.condition == Condition::Completed)
            .map(|(name, _)| name.as_str())
            .collect();
        let placed = placements
            .iter()
            .filter_map(|(name, placement)| Some((name, placement, project.services.get(name)?)));
        let mut services: Vec<Placed> = placed
            .map(|(name, placement, service)| Placed {
                name,
                service: service.as_ref(),
                placement,
                is_needed_elsewhere: false,
                published: Vec::new(),
                completes: jobs.contains(name.as_str()),
                tier: placement.tier,
                hosts: placement.hosts.iter().map(String::as_str).collect(),
                dependencies: Vec::new(),
                followed: Vec::new(),
            })
            .collect();
        let mut by_host: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for at in 0..services.len() {
            for host in &services[at].hosts {
                by_host.entry(host).or_default().push(at);
            }
            for name in services[at].service.depends_on.keys() {
                let Some(on) = position(&services, name) else { continue };
                services[at].dependencies.push(on);
                if restarts_with(services[at].service, name) {
                    services[at].followed.push(on);
                }
                let elsewhere = !services[at].hosts.is_subset(&services[on].hosts);
                services[on].is_needed_elsewhere |= elsewhere;
            }
        }
        for placed in services.iter_mut().filter(|placed| placed.is_needed_elsewhere) {
            placed.published = published(placed.service);
        }
        for at in in_order(&services) {
            let awaited = services[at].dependencies.iter().map(|on| services[*on].tier);
            services[at].tier = awaited.fold(services[at].tier, Tier::max);
        }
        Self { services, by_host }
    }

    /// A service by its name.
    pub fn get(&self, name: &str) -> Option<&Placed<'a>> {
        position(&self.services, name).map(|at| &self.services[at])
    }

    /// The services of a host.
    pub fn on_host(&self, host: &str) -> impl Iterator<Item = &Placed<'a>> {
        self.by_host.get(host).into_iter().flatten().map(|at| &self.services[*at])
    }

    /// The services of a host with which one there is made anew.
    pub fn followed(&self, placed: &Placed, host: &str) -> impl Iterator<Item = &Placed<'a>> {
        let followed = placed.followed.iter().map(|at| &self.services[*at]);
        followed.filter(move |followed| followed.is_on(host))
    }

    /// The services that one depends on.
    pub fn dependencies(&self, placed: &Placed) -> impl Iterator<Item = &Placed<'a>> {
        placed.dependencies.iter().map(|at| &self.services[*at])
    }
}

/// Whether a service begins anew when one that it depends on does: because it says so, or because it has a link
/// to it or shares a namespace with it.
fn restarts_with(service: &Service, on: &str) -> bool {
    let entry = service.canonical.get("depends_on").and_then(|all| all.get(on));
    entry.and_then(|entry| entry.get("restart")).and_then(Value::as_bool).unwrap_or_default()
}

/// The container ports that a service's hosts publish on their mesh addresses for dependants on other hosts.
fn published(service: &Service) -> Vec<u16> {
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

fn position(services: &[Placed], name: &str) -> Option<usize> {
    services.binary_search_by(|placed| placed.name.cmp(name)).ok()
}

/// The services, each after those that it depends on.
fn in_order(services: &[Placed]) -> Vec<usize> {
    let (mut order, mut is_done) = (Vec::new(), vec![false; services.len()]);
    let mut entered = is_done.clone();
    for first in 0..services.len() {
        // Depth first without recursion: chains may be long. Nothing is gone into twice, so that a
        // circle, which the loader refuses, would end here, too.
        let mut open = vec![first];
        while let Some(at) = open.last().copied() {
            let before = services[at].dependencies.iter().copied();
            let before: Vec<usize> = before.filter(|on| !is_done[*on]).collect();
            if before.is_empty() || entered[at] {
                open.pop();
                if !is_done[at] {
                    order.push(at);
                }
                is_done[at] = true;
            } else {
                entered[at] = true;
                open.extend(before);
            }
        }
    }
    order
}
