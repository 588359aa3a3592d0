//! Where hosts are of which the configuration does not say it: on the private network, where this machine is
//! on it and sees them, else where the cloud has their machines.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::mesh;
use crate::config::stagecraft::{Environment, File};
use crate::model::{Address, Failure, Host, InfraState, Site, Transport};
use crate::world::tailnet::Status;

/// What is known about an environment's hosts before anybody is asked.
pub struct Finder {
    /// The hosts for which nothing says where they are.
    open: BTreeSet<String>,
    /// Their names on the private network, where there is one.
    names: BTreeMap<String, String>,
    /// The tag by which their devices are known.
    mark: String,
    has_cloud: bool,
    /// Whether a host that has no machine stays where it is known to be.
    keeps_known: bool,
    /// Whether a device is looked at twice: it may be what the machine before left on the network.
    doubts_devices: bool,
}

impl Finder {
    /// For the hosts of an environment.
    pub fn new(file: &File, environment: &Environment, site: &Site) -> Self {
        let open = environment.hosts.iter().filter(|(name, host)| {
            let machine = environment.machines.get(*name);
            host.transport == Transport::Ssh && machine.is_some_and(|machine| machine.made)
        });
        let open = open.map(|(name, _)| name.clone()).collect();
        Self::of(file, environment, site, open, false)
    }

    /// As `new`, for work in which machines come and go.
    pub fn doubting(file: &File, environment: &Environment, site: &Site) -> Self {
        Self { doubts_devices: true, ..Self::new(file, environment, site) }
    }

    /// The hosts whose machines the cloud makes.
    pub fn made(&self) -> BTreeSet<String> {
        if self.has_cloud { self.open.clone() } else { BTreeSet::new() }
    }

    /// For hosts that an environment had once: those that still have a machine, or are on the private
    /// network, are found there, and the others where they were.
    pub fn former(file: &File, environment: &Environment, site: &Site, hosts: &[Host]) -> Self {
        let open = hosts.iter().filter(|host| host.transport == Transport::Ssh);
        let open = open.map(|host| host.name.clone()).collect();
        Self::of(file, environment, site, open, true)
    }

    fn of(
        file: &File,
        environment: &Environment,
        site: &Site,
        open: BTreeSet<String>,
        keeps_known: bool,
    ) -> Self {
        let names = open.iter().filter(|_| environment.has_mesh_names());
        let names = names.map(|name| (name.clone(), environment.mesh_name(name))).collect();
        let (mark, has_cloud) = (mesh::mark(site), file.cloud.is_some());
        Self { open, names, mark, has_cloud, keeps_known, doubts_devices: false }
    }

    /// Says of hosts where they are and by which keys they are known. `machines` says what the cloud has;
    /// it is asked where the private network does not tell all. One that has no machine has no address.
    ///
    /// # Errors
    /// The cloud can't be asked.
    pub fn find(
        &self,
        hosts: &mut BTreeMap<String, Host>,
        machines: impl Fn() -> Result<InfraState, Failure>,
    ) -> Result<(), Failure> {
        let state = if self.doubts_devices && self.has_cloud { Some(machines()?) } else { None };
        let status = if self.names.is_empty() { None } else { Status::here() };
        let status = status.unwrap_or_default();
        let mut seen = BTreeSet::new();
        let mut told = true;
        for name in &self.open {
            let Some(host) = hosts.get_mut(name) else { continue };
            if let Some(mesh_name) = self.names.get(name)
                && !state.as_ref().is_some_and(|state| is_older(&status, mesh_name, state, name))
                && status.place(host, mesh_name, &self.mark)
            {
                seen.insert(name);
            }
            told &= seen.contains(name) && host.host_key.is_some();
        }
        if told || !self.has_cloud {
            return Ok(());
        }
        let state = state.map_or_else(machines, Ok)?;
        for name in &self.open {
            let Some(host) = hosts.get_mut(name) else { continue };
            let machine = state.first(&Address::machine(name));
            if machine.is_none() && self.keeps_known {
                continue;
            }
            host.through_tailscale &= seen.contains(name);
            let given = |what: &str| machine.and_then(|machine| machine.given.get(what).cloned());
            if !seen.contains(name) {
                host.resolved = None;
                host.address = given("public_ip").unwrap_or_default();
                host.private_address = given("private_ip");
            }
            // The same `sshd` answers on both ways.
            let known = host.host_key.take().filter(|_| seen.contains(name));
            host.host_key = known.or_else(|| given("host_key"));
        }
        Ok(())
    }
}

/// Whether the device with a name was on the private network before the host's machine was made.
fn is_older(status: &Status, mesh_name: &str, state: &InfraState, host: &str) -> bool {
    let machine = state.first(&Address::machine(host));
    let made = machine.and_then(|it| it.given.get("created")?.parse::<Timestamp>().ok());
    let joined = status.named(mesh_name);
    let joined = joined.and_then(|it| it.created.as_ref()?.parse::<Timestamp>().ok());
    made.zip(joined).is_some_and(|(made, joined)| joined < made)
}
