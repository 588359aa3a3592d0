//! The hosts of an environment: each named in one role or several, its settings gathered from all.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::diagnostic::{Diagnostic, Span};
use crate::model::Transport;

use super::environment::EnvironmentSettings;
use super::kinds::{OneOrMore, Spanned, Table};
use super::texts::{MountPoint, Name};
use super::types::{File, HostSettings, Listed};

/// Hosts by role.
pub(super) type Roles = Table<Name, OneOrMore<Listed>>;

/// A host with all that is said about it.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub settings: HostSettings,
    pub roles: BTreeSet<String>,
}

/// The environment that is this machine during development; it inherits no hosts.
pub(super) const DEVELOPMENT: &str = "dev";

/// The hosts by role that an environment has, if it has any.
pub(super) fn roles<'a>(
    file: &'a File,
    name: &str,
    settings: &'a EnvironmentSettings,
) -> Option<&'a Roles> {
    match &settings.hosts {
        Some(roles) => Some(roles),
        None if name == DEVELOPMENT => None,
        None => Some(&file.hosts),
    }
    .filter(|roles| !roles.is_empty())
}

/// An environment's hosts by name. What it leaves open about one is taken from the top.
pub(super) fn machines(
    file: &File,
    name: &str,
    settings: &EnvironmentSettings,
) -> BTreeMap<String, Machine> {
    let Some(roles) = roles(file, name, settings) else { return BTreeMap::new() };
    let mut machines = gather(roles);
    let above = gather(&file.hosts);
    for (name, machine) in &mut machines {
        if let Some(above) = above.get(name) {
            machine.settings.complete(&above.settings);
        }
    }
    machines
}

fn gather(roles: &Roles) -> BTreeMap<String, Machine> {
    let mut machines: BTreeMap<String, Machine> = BTreeMap::new();
    for (role, listed) in roles.iter() {
        for Listed(host) in listed.iter() {
            let machine = machines
                .entry(host.name.to_string())
                .or_insert_with(|| Machine { settings: host.clone(), roles: BTreeSet::new() });
            machine.settings.complete(host);
            machine.roles.insert(role.to_owned());
        }
    }
    machines
}

impl HostSettings {
    /// Fills what is open from another mention of the same host.
    fn complete(&mut self, other: &Self) {
        let Self {
            name: _,
            address,
            user,
            port,
            transport,
            identity_file,
            region,
            size,
            image,
            volumes,
            reserved_ip,
            protect,
        } = other;
        fill(&mut self.address, address);
        fill(&mut self.user, user);
        fill(&mut self.port, port);
        fill(&mut self.transport, transport);
        fill(&mut self.identity_file, identity_file);
        fill(&mut self.region, region);
        fill(&mut self.size, size);
        fill(&mut self.image, image);
        fill(&mut self.volumes, volumes);
        fill(&mut self.reserved_ip, reserved_ip);
        fill(&mut self.protect, protect);
    }
}

fn fill<T: Clone>(mine: &mut Option<T>, other: &Option<T>) {
    if mine.is_none() {
        mine.clone_from(other);
    }
}

/// What is wrong with a table of hosts by itself: one host described in two ways.
pub(super) fn conflicts(roles: &Roles) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<&str, HostSettings> = BTreeMap::new();
    for (role, listed) in roles.iter() {
        let mut in_role = BTreeSet::new();
        for Listed(host) in listed.iter() {
            let name: &str = &host.name.value;
            found.extend(volumes_twice(host));
            found.extend(idle_address(host));
            if !in_role.insert(name) {
                let message = format!("the role `{role}` lists the host `{name}` twice");
                found.push(
                    Diagnostic::error("config::host-twice", message)
                        .at(&host.name.span, "again")
                        .help("remove one of them"),
                );
            }
            let Some(first) = seen.get_mut(name) else {
                seen.insert(name, host.clone());
                continue;
            };
            let conflict = differs("addresses", &first.address, &host.address)
                .or_else(|| differs("users", &first.user, &host.user))
                .or_else(|| differs("ports", &first.port, &host.port))
                .or_else(|| differs("transports", &first.transport, &host.transport))
                .or_else(|| differs("identity files", &first.identity_file, &host.identity_file))
                .or_else(|| differs("regions", &first.region, &host.region))
                .or_else(|| differs("sizes", &first.size, &host.size))
                .or_else(|| differs("images", &first.image, &host.image))
                .or_else(|| differs("kinds of address", &first.reserved_ip, &host.reserved_ip))
                .or_else(|| differs("kinds of protection", &first.protect, &host.protect));
            if let Some((what, at)) = conflict {
                let message = format!("the host `{name}` has two different {what}");
                found.push(
                    Diagnostic::error("config::host-conflict", message)
                        .at(&at, "the other stands elsewhere under `hosts`")
                        .help("describe the host in one role and give only its name in the others"),
                );
            }
            first.complete(host);
        }
    }
    found
}

/// A host that is somewhere already has no machine to which another address could lead.
fn idle_address(host: &HostSettings) -> Option<Diagnostic> {
    let asked = host.reserved_ip.as_ref().filter(|it| it.value)?;
    host.address.as_ref()?;
    let message = format!("the cloud does not make `{}`: it has an address", host.name.value.0);
    Some(
        Diagnostic::warning("config::idle", message)
            .at(&asked.span, "has no effect")
            .help("leave out one of `address` and `reserved_ip`"),
    )
}

/// Volumes of one host with one name, or in one place.
fn volumes_twice(host: &HostSettings) -> Vec<Diagnostic> {
    let volumes = host.volumes.iter().flatten();
    let names = volumes.clone().map(|it| ("is called", &*it.name.value.0, &it.name.span));
    let places =
        volumes.filter_map(|it| it.mount.as_ref()).map(|it| ("is at", &*it.value.0, &it.span));
    let mut seen = BTreeSet::new();
    let again = names.chain(places).filter(|(what, text, _)| !seen.insert((*what, *text)));
    let again = again.map(|(what, text, at)| {
        let message = format!("another volume of `{}` {what} `{text}`, too", host.name.value.0);
        Diagnostic::error("config::volume-twice", message)
            .at(at, "again")
            .help("give each volume a name and a folder of its own")
    });
    again.chain(volumes_below(host)).collect()
}

/// Volumes whose places are below another's: one would hide the other, depending on which comes first.
fn volumes_below(host: &HostSettings) -> Vec<Diagnostic> {
    let places: Vec<&Spanned<MountPoint>> =
        host.volumes.iter().flatten().filter_map(|it| it.mount.as_ref()).collect();
    let is_above = |one: &&Spanned<MountPoint>, other: &str| {
        other.strip_prefix(&*one.value.0).is_some_and(|rest| rest.starts_with('/'))
    };
    let below = places.iter().filter(|at| places.iter().any(|one| is_above(one, &at.value.0)));
    let problem = |at: &&Spanned<MountPoint>| {
        let message = format!("`{}` is below the place of another volume", at.value.0);
        Diagnostic::error("config::volume-below", message)
            .at(&at.span, "below another's")
            .help("give each volume a folder of its own, beside the others")
    };
    below.map(problem).collect()
}

fn differs<T: PartialEq>(
    what: &'static str,
    first: &Option<Spanned<T>>,
    second: &Option<Spanned<T>>,
) -> Option<(&'static str, Span)> {
    let (first, second) = (first.as_ref()?, second.as_ref()?);
    (first.value != second.value).then(|| {
        // Point at the later one: that is where a reader learns of the contradiction.
        let later = std::cmp::max_by_key(first, second, |at| at.span.range().start);
        (what, later.span.clone())
    })
}

/// Two names for one machine would fight over one folder.
pub(super) fn same_machine(machines: &BTreeMap<String, Machine>) -> Vec<Diagnostic> {
    let mut seen: BTreeMap<(String, Option<u16>), &str> = BTreeMap::new();
    let mut found = Vec::new();
    for (name, machine) in machines {
        let settings = &machine.settings;
        let address = match (settings.transport(), &settings.address) {
            (Transport::Local, _) => "this machine".to_owned(),
            (Transport::Ssh, Some(address)) => address.to_string(),
            (Transport::Ssh, None) => continue,
        };
        let key = (address, settings.port.as_ref().map(|port| port.0));
        if let Some(other) = seen.get(&key) {
            let message =
                format!("the hosts `{other}` and `{name}` are the same machine: {}", key.0);
            found.push(
                Diagnostic::error("config::same-machine", message)
                    .at(&settings.name.span, "a second name")
                    .help("use one name in all its roles"),
            );
        } else {
            seen.insert(key, name);
        }
    }
    found
}

impl HostSettings {
    /// How commands reach it.
    pub fn transport(&self) -> Transport {
        self.transport.as_ref().map(|transport| transport.value).unwrap_or_default()
    }
}
