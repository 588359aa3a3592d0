//! Providers: what a cloud, a private network or a host can do, in a folder for each. A new one is a folder,
//! and its lines in [`Ground`], which is all of an environment's infrastructure.

pub mod digitalocean;
mod finder;
mod host;
mod http;
mod mesh;

use std::collections::{BTreeMap, BTreeSet};

use crate::config::stagecraft::{CloudProvider, Environment, File};
use crate::model::{
    Act, Address, Blocked, BlockedReason, Failure, Host, InfraState, Kind, Resource, Site, Spec,
    Transport,
};
use crate::world::Infrastructure;
use digitalocean::DigitalOcean;
pub use finder::Finder;
use host::{Facts, Hosts};
use mesh::Mesh;

/// Everything below an environment's application.
pub struct Ground {
    cloud: Option<DigitalOcean>,
    mesh: Option<Mesh>,
    hosts: Hosts,
    /// How hosts are reached, as far as the configuration says.
    known: BTreeMap<String, Host>,
    finder: Finder,
    /// Those whose machines the cloud makes.
    made: BTreeSet<String>,
    /// Those that are made ready, and whether Docker is a part of that.
    ready: BTreeMap<String, bool>,
    /// Where disks should be.
    mounts: BTreeSet<Address>,
}

/// What an environment needs below its application.
///
/// # Errors
/// Something is not said that has to be, or can't be had.
pub fn resources(
    file: &File,
    environment: &Environment,
    site: &Site,
) -> Result<BTreeMap<Address, Resource>, Failure> {
    let mut resources = match &file.cloud {
        Some(cloud) => match cloud.provider {
            CloudProvider::DigitalOcean => digitalocean::resources(
                environment,
                &cloud.digitalocean,
                file.network.provider,
                site,
            )?,
        },
        None => BTreeMap::new(),
    };
    resources.extend(host::resources(environment, file.bootstrap.as_ref())?);
    let mounts = host::mount::resources(environment);
    for address in mounts.keys() {
        // A disk may be for what Docker keeps, and is not put over what is there already.
        if let Some(ready) = resources.get_mut(&Address::bootstrap(address.scope())) {
            ready.after.insert(address.clone());
        }
    }
    resources.extend(mounts);
    resources.extend(mesh::resources(environment, &file.network, site)?);
    // Nothing waits for what nobody wants.
    let wanted: BTreeSet<Address> = resources.keys().cloned().collect();
    for resource in resources.values_mut() {
        resource.after.retain(|address| wanted.contains(address));
    }
    Ok(resources)
}

/// The machines that the cloud has of an environment.
///
/// # Errors
/// There is no token, or the cloud can't be asked.
pub fn machines(
    file: &File,
    environment: &Environment,
    site: &Site,
) -> Result<InfraState, Failure> {
    match &file.cloud {
        Some(cloud) => match cloud.provider {
            CloudProvider::DigitalOcean => {
                DigitalOcean::open(&cloud.digitalocean, environment, site)?.machines_found()
            }
        },
        None => Ok(InfraState::default()),
    }
}

impl Ground {
    /// Opens what an environment has below its application; none where its configuration names nothing.
    ///
    /// # Errors
    /// A token or key is missing, or opens nothing.
    pub fn open(
        file: &File,
        environment: &Environment,
        site: &Site,
    ) -> Result<Option<Self>, Failure> {
        let cloud = match &file.cloud {
            Some(cloud) => match cloud.provider {
                CloudProvider::DigitalOcean => {
                    Some(DigitalOcean::open(&cloud.digitalocean, environment, site)?)
                }
            },
            None => None,
        };
        let mesh = Mesh::open(&file.network, site)?;
        if cloud.is_none() && mesh.is_none() && file.bootstrap.is_none() {
            return Ok(None);
        }
        let ready = host::resources(environment, file.bootstrap.as_ref())?;
        let finder = Finder::doubting(file, environment, site);
        Ok(Some(Self {
            made: finder.made(),
            finder,
            cloud,
            mesh,
            hosts: Hosts::from_env(),
            known: environment.hosts.clone(),
            ready: ready
                .iter()
                .map(|(address, it)| (address.scope().into(), wants_docker(it)))
                .collect(),
            mounts: host::mount::resources(environment).into_keys().collect(),
        }))
    }

    /// The hosts, each with where it is now, if it is anywhere.
    fn placed(
        &self,
        machines: impl Fn() -> Result<InfraState, Failure>,
    ) -> Result<BTreeMap<String, Host>, Failure> {
        let mut hosts = self.known.clone();
        self.finder.find(&mut hosts, machines)?;
        hosts.retain(|name, host| {
            let trusted = !self.made.contains(name) || host.host_key.is_some();
            host.transport == Transport::Ssh && !host.address.is_empty() && trusted
        });
        Ok(hosts)
    }

    /// Looks at the hosts themselves, as far as anything of them is wanted.
    fn look(&self, state: &mut InfraState) -> Result<(), Failure> {
        let mut hosts = self.placed(|| Ok(state.clone()))?;
        for name in &self.made {
            match self.power(name, state).as_deref() {
                Some("on") if hosts.contains_key(name) => {}
                Some("on") => {
                    let detail = format!("the cloud does not say by which key {name} is known");
                    let reason = BlockedReason::LoginRefused;
                    self.block(name, &Blocked { reason, detail }, state);
                }
                // What is off tells nothing of what is on it.
                Some("off") => {
                    hosts.remove(name);
                    let bootstrap = Address::bootstrap(name);
                    let ready = self.ready.contains_key(name).then_some(&bootstrap);
                    for address in ready.into_iter().chain(self.mounts_of(name)) {
                        state.add(address.clone(), host::unseen(name));
                    }
                }
                _ => drop(hosts.remove(name)),
            }
        }
        hosts.retain(|name, _| {
            let ready = self.ready.contains_key(name);
            self.mesh.is_some() || ready || self.mounts_of(name).next().is_some()
        });
        let mut facts: BTreeMap<String, Facts> = BTreeMap::new();
        for (name, seen) in self.hosts.inspect(hosts.into_values().collect()) {
            match seen {
                Ok(seen) => drop(facts.insert(name, seen)),
                Err(blocked) => self.block(&name, &blocked, state),
            }
        }
        let disks = self.devices(state);
        for (name, facts) in &facts {
            for (address, object) in host::mount::read(name, facts, &disks) {
                state.add(address, object);
            }
            let Some(wants_docker) = self.ready.get(name) else { continue };
            let address = Address::bootstrap(name);
            match host::read(facts, name, self.made.contains(name), *wants_docker) {
                Ok(object) => object.into_iter().for_each(|it| state.add(address.clone(), it)),
                Err(blocked) => drop(state.blocked.insert(address, blocked)),
            }
        }
        if let Some(mesh) = &self.mesh {
            let devices = mesh.devices()?;
            mesh.read(devices.as_deref(), &facts, &self.made, state);
        }
        Ok(())
    }

    /// Whether the cloud says that a machine is `on` or `off`.
    fn power(&self, name: &str, state: &InfraState) -> Option<String> {
        let machine = state.first(&Address::machine(name))?;
        machine.attributes.get("power")?.as_str().map(str::to_owned)
    }

    /// Nothing is known of a host that can't be asked.
    fn block(&self, name: &str, blocked: &Blocked, state: &mut InfraState) {
        if self.ready.contains_key(name) {
            state.blocked.insert(Address::bootstrap(name), blocked.clone());
        }
        if self.mesh.is_some() {
            state.blocked.insert(Address::mesh(name), blocked.clone());
        }
        for mount in self.mounts_of(name) {
            state.blocked.insert(mount.clone(), blocked.clone());
        }
    }

    /// The places for disks that a host should have.
    fn mounts_of<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Address> {
        self.mounts.iter().filter(move |mount| mount.scope() == host)
    }

    /// The disks that there are, by the devices that they are on the hosts that have them.
    fn devices(&self, state: &InfraState) -> BTreeMap<String, Address> {
        let disks = state.objects.iter().filter(|(address, _)| address.kind() == Kind::Disk);
        let named = disks.flat_map(|(address, found)| found.iter().map(move |it| (address, it)));
        named.map(|(address, it)| (digitalocean::device(&it.name), address.clone())).collect()
    }

    /// Does something with a place for a disk.
    fn place_disk(&self, act: &Act, address: &Address, host: &Host) -> Result<(), Failure> {
        let (Act::CreateObject { object, .. } | Act::ChangeObject { object, .. }) = act else {
            return self.hosts.unmount(host, address.name().unwrap_or_default());
        };
        let disk = Address::disk(address.scope(), address.name().unwrap_or_default());
        let found = self.cloud.as_ref().map(|cloud| cloud.device_of(&disk)).transpose()?;
        let device = found.flatten().ok_or_else(|| {
            Failure::new(format!("{disk} is not there"))
                .hint("run it again: it goes on from what there is")
        })?;
        self.hosts.mount(host, &device, object)
    }

    /// Where a host is now.
    fn reached(&self, name: &str) -> Result<Option<Host>, Failure> {
        let machines = || match &self.cloud {
            Some(cloud) => cloud.machines_found(),
            None => Ok(InfraState::default()),
        };
        Ok(self.placed(machines)?.remove(name))
    }

    /// A host that has to be reached.
    fn reachable(&self, name: &str) -> Result<Host, Failure> {
        self.reached(name)?.ok_or_else(|| {
            Failure::new(format!("nothing says how {name} is reached, or by which key"))
                .hint("run it again: its machine may just have been made")
        })
    }
}

fn wants_docker(resource: &Resource) -> bool {
    matches!(&resource.spec, Spec::Infra(spec) if spec.value("docker").is_some())
}

impl Infrastructure for Ground {
    fn survey(&self) -> Result<InfraState, Failure> {
        let mut state = match &self.cloud {
            Some(cloud) => cloud.survey()?,
            None => InfraState::default(),
        };
        self.look(&mut state)?;
        Ok(state)
    }

    fn perform(&self, act: &Act) -> Result<(), Failure> {
        let Some(address) = act.object() else {
            return Err(Failure::new(format!("infrastructure can't {} anything", act.name())));
        };
        match (address.kind(), &self.cloud, &self.mesh) {
            (Kind::Bootstrap, ..) => match act {
                Act::CreateObject { object, .. } | Act::ChangeObject { object, .. } => {
                    self.hosts.make_ready(&self.reachable(address.scope())?, object)
                }
                _ => Ok(()),
            },
            (Kind::Mount, ..) => self.place_disk(act, address, &self.reachable(address.scope())?),
            (Kind::Mesh, _, Some(mesh)) => {
                mesh.perform(act, &self.hosts, self.reached(address.scope())?.as_ref())
            }
            (_, Some(cloud), _) => cloud.carry_out(act),
            (..) => Err(Failure::new(format!("nothing can {} {address}", act.name()))),
        }
    }

    fn adopt(&self, address: &Address, id: &str, key: Option<&str>) -> Result<(), Failure> {
        match (address.kind(), &self.cloud, &self.mesh) {
            (Kind::Mesh, _, Some(mesh)) => mesh.adopt(address, id),
            (Kind::Bootstrap | Kind::Mount | Kind::Mesh | Kind::Project, ..) | (_, None, _) => {
                Err(Failure::new(format!("{address} has no mark, and need not be taken over"))
                    .hint("`stagecraft infra up --dry-run` says what of it differs"))
            }
            (_, Some(cloud), _) => cloud.adopt(address, id, key),
        }
    }
}
