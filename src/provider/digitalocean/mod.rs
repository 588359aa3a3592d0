//! DigitalOcean: machines, block storage, private networks, firewalls, addresses, load balancers and names over
//! its HTTP API.

mod acts;
mod adopt;
mod balancer;
mod dns;
mod hostkey;
mod project;
mod read;
mod reserved;
mod rules;
mod token;
mod wait;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::Value;

use super::http::{Api, Refusal};
use crate::config::stagecraft::{self, Environment};
use crate::model::{Address, Failure, InfraObject, InfraState, Site};

pub use wanted::resources;

/// Where the API is. `DIGITALOCEAN_API_URL` names another place, as it does for `doctl`.
const BASE: &str = "https://api.digitalocean.com";

const UNASKED: &str = "DigitalOcean can't be asked what there is";
/// How many results a page has: the most that the API gives.
const PAGE: usize = 200;

/// DigitalOcean, for one environment: an account, and which of its objects count.
pub struct DigitalOcean {
    api: Api,
    site: Site,
    /// The zones that the configuration names.
    zones: BTreeSet<String>,
    /// The project that the configuration names.
    project: Option<String>,
    /// Whether the configuration asks for reserved addresses, and for a load balancer.
    asks: (bool, bool),
    /// Names change one after the other: a list that changes while its pages are read leaves things out.
    names: Mutex<()>,
}

impl DigitalOcean {
    /// The account that a token opens. The token is in the variable that the configuration names, or in
    /// doctl's own configuration.
    ///
    /// # Errors
    /// There is no token.
    pub fn open(
        settings: &stagecraft::DigitalOcean,
        environment: &Environment,
        site: &Site,
    ) -> Result<Self, Failure> {
        let token = token::find(&settings.token_env, &|name| std::env::var(name).ok())?;
        let zones = settings.dns.iter().map(|zone| wanted::zone_name(&zone.value)).collect();
        let base = std::env::var("DIGITALOCEAN_API_URL").unwrap_or_else(|_| BASE.to_owned());
        Ok(Self {
            api: Api::new(&base, &token),
            site: site.clone(),
            zones,
            project: environment.cloud_project.clone(),
            asks: (
                environment.machines.values().any(|machine| machine.made && machine.reserved_ip),
                environment.load_balancer.is_some(),
            ),
            names: Mutex::default(),
        })
    }
}

/// The device that a disk is on the machine that has it.
/// Source: docs.digitalocean.com/products/volumes/how-to/mount.
pub fn device(name: &str) -> String {
    format!("/dev/disk/by-id/scsi-0DO_Volume_{name}")
}

impl DigitalOcean {
    /// Everything that has the environment's mark.
    ///
    /// # Errors
    /// The cloud did not answer, or not wholly.
    pub fn survey(&self) -> Result<InfraState, Failure> {
        self.found().map_err(|refusal| refusal.failure(UNASKED))
    }

    /// The environment's machines alone.
    ///
    /// # Errors
    /// As `survey`.
    pub fn machines_found(&self) -> Result<InfraState, Failure> {
        let machines = self.machines().map_err(|refusal| refusal.failure(UNASKED))?;
        let mut state = InfraState::default();
        for it in &machines {
            let (address, object) = read::machine(&self.site, it, &BTreeMap::new());
            state.add(address, object);
        }
        state.sort();
        Ok(state)
    }

    /// All objects of a list, from all its pages.
    fn list(&self, path: &str, key: &str) -> Result<Vec<Value>, Refusal> {
        let mut all = Vec::new();
        let mark = if path.contains('?') { '&' } else { '?' };
        for page in 1.. {
            let url = format!("{path}{mark}per_page={PAGE}&page={page}");
            let mut answer = self.api.get(&url)?;
            let Some(Value::Array(found)) = answer.get_mut(key).map(Value::take) else {
                return Err(Refusal::Lost(format!("GET {path} answered without `{key}`")));
            };
            all.extend(found);
            if answer.pointer("/links/pages/next").and_then(Value::as_str).is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// The environment's machines, as the API has them, but for addresses that only lead to them.
    fn machines(&self) -> Result<Vec<Value>, Refusal> {
        let path = format!("/v2/droplets?tag_name={}", wanted::mark(&self.site));
        let mut machines = self.list(&path, "droplets")?;
        if machines.iter().any(|it| read::public(it).count() > 1) {
            let reserved = self.reserved_list()?;
            let reserved: BTreeSet<&str> =
                reserved.iter().filter_map(|it| it["ip"].as_str()).collect();
            machines.iter_mut().for_each(|it| read::leave_out(it, &reserved));
        }
        Ok(machines)
    }

    fn balancers(&self) -> Result<Vec<Value>, Refusal> {
        self.list_allowed("/v2/load_balancers", "load_balancers", self.asks.1)
    }

    /// All objects of a list. A token that may not see them is enough where none are asked for.
    fn list_allowed(&self, path: &str, key: &str, asked: bool) -> Result<Vec<Value>, Refusal> {
        match self.list(path, key) {
            Err(Refusal::Said { status: 403, .. }) if !asked => Ok(Vec::new()),
            found => found,
        }
    }

    fn found(&self) -> Result<InfraState, Refusal> {
        let (vpcs, firewalls, balancers, machines, disks) = std::thread::scope(|scope| {
            let vpcs = scope.spawn(|| self.list("/v2/vpcs", "vpcs"));
            let firewalls = scope.spawn(|| self.list("/v2/firewalls", "firewalls"));
            let balancers = scope.spawn(|| self.balancers());
            let machines = scope.spawn(|| self.machines());
            let disks = self.list("/v2/volumes", "volumes");
            (joined(vpcs), joined(firewalls), joined(balancers), joined(machines), disks)
        });
        let mut state = InfraState::default();
        let (mut networks, mut holders, mut places) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (address, object) in vpcs?.iter().filter_map(|it| read::vpc(&self.site, it)) {
            networks.insert(object.id.clone(), address.clone());
            state.add(address, object);
        }
        for (address, object) in firewalls?.iter().filter_map(|it| read::firewall(&self.site, it)) {
            state.add(address, object);
        }
        for it in &machines? {
            let (address, object) = read::machine(&self.site, it, &networks);
            holders.insert(object.id.clone(), address.clone());
            places.extend(place(&address, &object));
            state.add(address, object);
        }
        let balancers = balancers?;
        let balancers = balancers.iter().filter_map(|it| balancer::read(&self.site, it, &networks));
        for (address, object) in self.reserved(&holders)?.into_iter().chain(balancers) {
            places.extend(place(&address, &object));
            state.add(address, object);
        }
        for (address, object) in disks?.iter().filter_map(|it| read::disk(&self.site, it, &holders))
        {
            state.add(address, object);
        }
        self.project(&mut state)?;
        self.names(&places, &mut state)?;
        state.sort();
        Ok(state)
    }
}

/// The public address that something has been given.
fn place(address: &Address, object: &InfraObject) -> Option<(String, Address)> {
    object.given.get("public_ip").map(|ip| (ip.clone(), address.clone()))
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
