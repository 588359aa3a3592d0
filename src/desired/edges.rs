//! Edges between services: what `depends_on` says, on one host or across several, and the tiers.

use std::collections::{BTreeMap, BTreeSet};

use super::Blueprint;
use crate::config::compose::{Condition, Project};
use crate::model::{Address, Resource};

/// Adds the edges between services to the resources.
pub fn connect(
    blueprint: &Blueprint,
    project: &Project,
    resources: &mut BTreeMap<Address, Resource>,
) {
    let places = &blueprint.placements;
    for (name, placement) in places {
        let dependencies = dependencies(project, name);
        let earlier_tiers = places.iter().filter(|(other, other_placement)| {
            other_placement.tier < placement.tier && !reaches(project, other, name)
        });
        let before: BTreeSet<&str> = dependencies
            .into_iter()
            .filter(|dependency| places.contains_key(*dependency))
            .chain(earlier_tiers.map(|(other, _)| other.as_str()))
            .collect();
        let before: BTreeSet<Address> = before
            .iter()
            .flat_map(|other| places[*other].hosts.iter().map(|host| Address::service(host, other)))
            .collect();
        for host in &placement.hosts {
            if let Some(resource) = resources.get_mut(&Address::service(host, name)) {
                resource.after.extend(before.iter().cloned());
            }
        }
    }
}

/// The services that a service depends on.
pub fn dependencies<'a>(project: &'a Project, name: &str) -> BTreeSet<&'a str> {
    let service = project.services.get(name);
    service
        .map(|service| service.depends_on.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// Whether one service depends on another, directly or not.
fn reaches(project: &Project, from: &str, to: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(name) = next.pop() {
        if name == to {
            return true;
        }
        next.extend(dependencies(project, name).into_iter().filter(|name| seen.insert(*name)));
    }
    false
}

/// Whether others wait for a service to end: it is a job, and its end is no failure.
pub fn completes(project: &Project, name: &str) -> bool {
    project.services.values().any(|service| {
        service.depends_on.get(name).is_some_and(|d| d.condition == Condition::Completed)
    })
}
