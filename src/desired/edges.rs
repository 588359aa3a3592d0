//! Edges between services: what `depends_on` says, on one host or across several.

use std::collections::{BTreeMap, BTreeSet};

use super::{Blueprint, Places};
use crate::config::compose::Project;
use crate::model::{Address, Resource};

/// Adds the edges between services to the resources. A dependency that runs on the same host is
/// waited for there, any other on all its hosts. Tiers need no edges: the order knows them.
pub fn connect(
    blueprint: &Blueprint,
    project: &Project,
    places: &Places,
    resources: &mut BTreeMap<Address, Resource>,
) {
    for (name, placement) in &blueprint.placements {
        let dependencies = dependencies(project, name);
        for host in &placement.hosts {
            let Some(resource) = resources.get_mut(&Address::service(host, name)) else { continue };
            for dependency in &dependencies {
                if places.is_on(dependency, host) {
                    resource.after.insert(Address::service(host, dependency));
                } else if let Some(other) = blueprint.placements.get(*dependency) {
                    let everywhere = other.hosts.iter();
                    resource.after.extend(everywhere.map(|on| Address::service(on, dependency)));
                }
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
