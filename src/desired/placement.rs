//! Where services run: their hosts and tiers, what the configuration says of their rollouts, and
//! what follows from it for all of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::edges::dependencies;
use crate::config::compose::{Condition, Project};
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

/// What every service needs to know of the others, worked out once: asked for service by service it
/// would cost their number squared.
pub struct Places<'a> {
    /// The services of each host.
    by_host: BTreeMap<&'a str, BTreeSet<&'a str>>,
    hosts: BTreeMap<&'a str, BTreeSet<&'a str>>,
    needed_elsewhere: BTreeSet<&'a str>,
    jobs: BTreeSet<&'a str>,
    tiers: BTreeMap<&'a str, Tier>,
}

impl<'a> Places<'a> {
    /// What the placements of a project's services come to.
    pub fn new(placements: &'a BTreeMap<String, Placement>, project: &'a Project) -> Self {
        let hosts: BTreeMap<&str, BTreeSet<&str>> = placements
            .iter()
            .map(|(name, place)| (name.as_str(), place.hosts.iter().map(String::as_str).collect()))
            .collect();
        let mut by_host: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut needed_elsewhere = BTreeSet::new();
        for (name, on) in &hosts {
            for host in on {
                by_host.entry(host).or_default().insert(name);
            }
            for dependency in dependencies(project, name) {
                if hosts.get(dependency).is_some_and(|there| !on.is_subset(there)) {
                    needed_elsewhere.insert(dependency);
                }
            }
        }
        let awaited = project.services.values().flat_map(|service| &service.depends_on);
        let jobs = awaited
            .filter(|(_, dependency)| dependency.condition == Condition::Completed)
            .map(|(name, _)| name.as_str())
            .collect();
        let mut tiers = BTreeMap::new();
        for name in hosts.keys() {
            tier(placements, project, name, &mut tiers);
        }
        Self { by_host, hosts, needed_elsewhere, jobs, tiers }
    }

    /// The services of a host.
    pub fn on_host(&self, host: &str) -> impl Iterator<Item = &'a str> {
        self.by_host.get(host).into_iter().flatten().copied()
    }

    /// Whether a service runs on a host.
    pub fn is_on(&self, service: &str, host: &str) -> bool {
        self.hosts.get(service).is_some_and(|hosts| hosts.contains(host))
    }

    /// Whether a service runs anywhere.
    pub fn is_placed(&self, service: &str) -> bool {
        self.hosts.contains_key(service)
    }

    /// Whether a service on a host that this one does not run on depends on it.
    pub fn is_needed_elsewhere(&self, service: &str) -> bool {
        self.needed_elsewhere.contains(service)
    }

    /// Whether others wait for a service to end: it is a job, and its end is no failure.
    pub fn completes(&self, service: &str) -> bool {
        self.jobs.contains(service)
    }

    /// The tier in which a service really is: that of its role, or a later one that it depends on.
    pub fn tier(&self, service: &str) -> Tier {
        self.tiers.get(service).copied().unwrap_or(Tier::Application)
    }
}

fn tier<'a>(
    placements: &'a BTreeMap<String, Placement>,
    project: &'a Project,
    name: &'a str,
    known: &mut BTreeMap<&'a str, Tier>,
) {
    // Depth first without recursion: chains may be long. Nothing is gone into twice, so that a
    // circle, which the loader refuses, would end here, too.
    let (mut open, mut entered) = (vec![name], BTreeSet::new());
    while let Some(name) = open.last().copied() {
        let placed = || {
            dependencies(project, name)
                .into_iter()
                .filter(|dependency| placements.contains_key(*dependency))
        };
        let unknown: Vec<&str> = placed().filter(|name| !known.contains_key(name)).collect();
        if unknown.is_empty() || !entered.insert(name) {
            let own = placements.get(name).map_or(Tier::Application, |place| place.tier);
            let latest = placed().filter_map(|dependency| known.get(dependency)).max();
            let tier = latest.map_or(own, |latest| own.max(*latest));
            known.insert(name, tier);
            open.pop();
        } else {
            open.extend(unknown);
        }
    }
}
