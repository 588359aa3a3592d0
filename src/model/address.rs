//! Addresses: the stable, sortable, printable names of resources.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What sort of thing an address names. The order is the order of plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A private network of the cloud's.
    Vpc,
    /// A firewall of the cloud's.
    Firewall,
    /// A machine of the cloud's, on which a host will be.
    Machine,
    /// Block storage of the cloud's, attached to a machine.
    Disk,
    /// An address that stays when the machine that it leads to is another one.
    ReservedIp,
    /// What spreads requests over gateways.
    LoadBalancer,
    /// A host made ready for Docker: its engine, the Compose plugin, and updates.
    Bootstrap,
    /// A disk in its place on a host.
    Mount,
    /// A host's membership of the private network.
    Mesh,
    /// A zone of the domain name system.
    Zone,
    /// Records of the domain name system, by name and type.
    Dns,
    /// The project in which a cloud lists what an environment has.
    Project,
    /// A host made ready for us: its directory under `/var/lib/stagecraft`.
    Host,
    /// A Docker network on a host.
    Network,
    /// A Docker volume on a host.
    Volume,
    /// The environment's env file on a host.
    Env,
    /// A file of ours on a host, by its path below the environment's directory.
    File,
    /// A command that runs once per release, before a Compose service rolls.
    Command,
    /// A Compose service on a host: all its containers there.
    Service,
    /// The routes of a Compose service on a gateway.
    Route,
    /// The environment's release record.
    Release,
}

impl Kind {
    const ALL: [Kind; 21] = [
        Kind::Vpc,
        Kind::Firewall,
        Kind::Machine,
        Kind::Disk,
        Kind::ReservedIp,
        Kind::LoadBalancer,
        Kind::Bootstrap,
        Kind::Mount,
        Kind::Mesh,
        Kind::Zone,
        Kind::Dns,
        Kind::Project,
        Kind::Host,
        Kind::Network,
        Kind::Volume,
        Kind::Env,
        Kind::File,
        Kind::Command,
        Kind::Service,
        Kind::Route,
        Kind::Release,
    ];

    /// Whether something of the sort is destroyed only where somebody said so: data or an address goes
    /// with it for good.
    pub fn is_precious(self) -> bool {
        matches!(self, Kind::Machine | Kind::Disk | Kind::ReservedIp | Kind::LoadBalancer)
    }

    /// Whether it has an address that does not change with machines.
    pub fn is_lasting(self) -> bool {
        matches!(self, Kind::ReservedIp | Kind::LoadBalancer)
    }

    /// The word before the dot.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Vpc => "vpc",
            Kind::Firewall => "firewall",
            Kind::Machine => "machine",
            Kind::Disk => "disk",
            Kind::ReservedIp => "reserved_ip",
            Kind::LoadBalancer => "load_balancer",
            Kind::Bootstrap => "bootstrap",
            Kind::Mount => "mount",
            Kind::Mesh => "mesh",
            Kind::Zone => "zone",
            Kind::Dns => "dns",
            Kind::Project => "project",
            Kind::Host => "host",
            Kind::Network => "network",
            Kind::Volume => "volume",
            Kind::Env => "env",
            Kind::File => "file",
            Kind::Command => "command",
            Kind::Service => "service",
            Kind::Route => "route",
            Kind::Release => "release",
        }
    }
}

/// A resource's name: `service.app-1/api`, `file.app-1/compose.yml`, `host.app-1`,
/// `release.staging`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, schemars::JsonSchema)]
#[schemars(with = "String")]
pub struct Address {
    kind: Kind,
    // A graph has many copies of the same few texts.
    scope: Arc<str>,
    name: Option<Arc<str>>,
}

impl Address {
    /// `vpc.NAME`.
    pub fn vpc(name: &str) -> Self {
        Self { kind: Kind::Vpc, scope: name.into(), name: None }
    }
    /// `firewall.NAME`.
    pub fn firewall(name: &str) -> Self {
        Self { kind: Kind::Firewall, scope: name.into(), name: None }
    }
    /// `machine.HOST`.
    pub fn machine(host: &str) -> Self {
        Self { kind: Kind::Machine, scope: host.into(), name: None }
    }
    /// `disk.HOST/NAME`.
    pub fn disk(host: &str, name: &str) -> Self {
        Self { kind: Kind::Disk, scope: host.into(), name: Some(name.into()) }
    }
    /// `reserved_ip.HOST`.
    pub fn reserved_ip(host: &str) -> Self {
        Self { kind: Kind::ReservedIp, scope: host.into(), name: None }
    }
    /// `load_balancer.NAME`.
    pub fn load_balancer(name: &str) -> Self {
        Self { kind: Kind::LoadBalancer, scope: name.into(), name: None }
    }
    /// `bootstrap.HOST`.
    pub fn bootstrap(host: &str) -> Self {
        Self { kind: Kind::Bootstrap, scope: host.into(), name: None }
    }
    /// `mount.HOST/NAME`, by the name of its disk.
    pub fn mount(host: &str, name: &str) -> Self {
        Self { kind: Kind::Mount, scope: host.into(), name: Some(name.into()) }
    }
    /// `mesh.HOST`.
    pub fn mesh(host: &str) -> Self {
        Self { kind: Kind::Mesh, scope: host.into(), name: None }
    }
    /// `zone.NAME`.
    pub fn zone(name: &str) -> Self {
        Self { kind: Kind::Zone, scope: name.into(), name: None }
    }
    /// `dns.NAME/TYPE`, by the whole name.
    pub fn dns(name: &str, kind: &str) -> Self {
        Self { kind: Kind::Dns, scope: name.into(), name: Some(kind.into()) }
    }
    /// `project.ENVIRONMENT`.
    pub fn project(environment: &str) -> Self {
        Self { kind: Kind::Project, scope: environment.into(), name: None }
    }
    /// `host.HOST`.
    pub fn host(host: &str) -> Self {
        Self { kind: Kind::Host, scope: host.into(), name: None }
    }
    /// `network.HOST/NAME`, by the network's key in the Compose file.
    pub fn network(host: &str, name: &str) -> Self {
        Self { kind: Kind::Network, scope: host.into(), name: Some(name.into()) }
    }
    /// `volume.HOST/NAME`, by the volume's key in the Compose file.
    pub fn volume(host: &str, name: &str) -> Self {
        Self { kind: Kind::Volume, scope: host.into(), name: Some(name.into()) }
    }
    /// `env.HOST`.
    pub fn env(host: &str) -> Self {
        Self { kind: Kind::Env, scope: host.into(), name: None }
    }
    /// `file.HOST/PATH`, by the path below the environment's directory.
    pub fn file(host: &str, path: &str) -> Self {
        Self { kind: Kind::File, scope: host.into(), name: Some(path.into()) }
    }
    /// `command.HOST/SERVICE`: the release command of a service, on the host where it runs.
    pub fn command(host: &str, service: &str) -> Self {
        Self { kind: Kind::Command, scope: host.into(), name: Some(service.into()) }
    }
    /// `service.HOST/SERVICE`.
    pub fn service(host: &str, service: &str) -> Self {
        Self { kind: Kind::Service, scope: host.into(), name: Some(service.into()) }
    }
    /// `route.GATEWAY/SERVICE`.
    pub fn route(gateway: &str, service: &str) -> Self {
        Self { kind: Kind::Route, scope: gateway.into(), name: Some(service.into()) }
    }
    /// `release.ENVIRONMENT`.
    pub fn release(environment: &str) -> Self {
        Self { kind: Kind::Release, scope: environment.into(), name: None }
    }

    /// What sort of thing this names.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// The same on another host.
    pub fn moved_to(&self, host: &str) -> Self {
        Self { scope: host.into(), ..self.clone() }
    }
    /// The host the resource is on; none for what is on no host.
    pub fn on_host(&self) -> Option<&str> {
        (!self.is_infrastructure() && self.kind != Kind::Release).then_some(self.scope())
    }
    /// Whether it is below the application: of the cloud's, or what makes a machine a host.
    pub fn is_infrastructure(&self) -> bool {
        self.kind < Kind::Host
    }
    /// What stands between the dot and the slash.
    pub fn scope(&self) -> &str {
        &self.scope
    }
    /// What it is written with, one after the other.
    fn pieces(&self) -> impl Iterator<Item = &str> {
        let name = self.name().into_iter().flat_map(|name| ["/", name]);
        [self.kind.name(), ".", self.scope()].into_iter().chain(name)
    }
    /// What stands behind the slash, if anything.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().try_for_each(|piece| f.write_str(piece))
    }
}

/// What makes a text no address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an address; addresses look like `service.app-1/api`")]
pub struct ParseAddressError(String);

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseAddressError(text.to_owned());
        let (kind, rest) = text.split_once('.').ok_or_else(refuse)?;
        let kind = Kind::ALL.into_iter().find(|k| k.name() == kind).ok_or_else(refuse)?;
        let (scope, name) = match rest.split_once('/') {
            Some((scope, name)) => (scope, Some(name)),
            None => (rest, None),
        };
        let wants_name = !matches!(
            kind,
            Kind::Vpc
                | Kind::Firewall
                | Kind::Machine
                | Kind::ReservedIp
                | Kind::LoadBalancer
                | Kind::Bootstrap
                | Kind::Mesh
                | Kind::Zone
                | Kind::Project
                | Kind::Host
                | Kind::Env
                | Kind::Release
        );
        if scope.is_empty() || wants_name != name.is_some() {
            return Err(refuse());
        }
        Ok(Self { kind, scope: scope.into(), name: name.map(Into::into) })
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Large graphs are full of them, and a formatter takes its time.
        serializer.serialize_str(&self.pieces().collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_reads_back_as_it_prints() {
        for address in [
            Address::vpc("shop-staging"),
            Address::firewall("shop-staging"),
            Address::machine("app-1"),
            Address::disk("app-1", "data"),
            Address::reserved_ip("app-1"),
            Address::load_balancer("gateways"),
            Address::bootstrap("app-1"),
            Address::mount("app-1", "data"),
            Address::mesh("app-1"),
            Address::zone("shop.example"),
            Address::dns("api.shop.example", "A"),
            Address::project("staging"),
            Address::host("app-1"),
            Address::network("app-1", "back"),
            Address::volume("db-1", "postgres_data"),
            Address::env("app-1"),
            Address::file("app-1", "compose.yml"),
            Address::command("app-1", "api"),
            Address::service("app-1.example.net", "api"),
            Address::route("gw-1", "api"),
            Address::release("staging"),
        ] {
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn half_an_address_is_refused() {
        for text in ["", "service", "service.app-1", "host.", "host.a/b", "ghost.app-1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
