//! DigitalOcean: machines, block storage, private networks and firewalls over its HTTP API.

mod acts;
mod api;
mod hostkey;
mod read;
mod rules;
mod token;
mod wanted;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{Act, Address, CloudObject, CloudState, Failure, Site};
use crate::world::Cloud;
use api::{Api, Refusal};

pub use wanted::resources;

/// Where the API is. `DIGITALOCEAN_API_URL` names another place, as it does for `doctl`.
const BASE: &str = "https://api.digitalocean.com";

/// DigitalOcean, for one environment: an account, and which of its objects count.
pub struct DigitalOcean {
    api: Api,
    site: Site,
}

impl DigitalOcean {
    /// The account that a token opens. The token is in the variable that the configuration names, or in
    /// doctl's own configuration.
    ///
    /// # Errors
    /// There is no token.
    pub fn open(token_env: &str, site: &Site) -> Result<Self, Failure> {
        let token = token::find(token_env, &|name| std::env::var(name).ok())?;
        let base = std::env::var("DIGITALOCEAN_API_URL").unwrap_or_else(|_| BASE.to_owned());
        Ok(Self { api: Api::new(&base, &token), site: site.clone() })
    }
}

impl Cloud for DigitalOcean {
    fn survey(&self) -> Result<CloudState, Failure> {
        self.found()
            .map_err(|refusal| failure("DigitalOcean can't be asked what there is", &refusal))
    }

    fn perform(&self, act: &Act) -> Result<(), Failure> {
        self.carry_out(act)
    }
}

impl DigitalOcean {
    /// The environment's machines, as the API has them.
    fn machines(&self) -> Result<Vec<Value>, Refusal> {
        self.api.list(&format!("/v2/droplets?tag_name={}", wanted::mark(&self.site)), "droplets")
    }

    fn found(&self) -> Result<CloudState, Refusal> {
        let (vpcs, firewalls, machines, disks) = std::thread::scope(|scope| {
            let vpcs = scope.spawn(|| self.api.list("/v2/vpcs", "vpcs"));
            let firewalls = scope.spawn(|| self.api.list("/v2/firewalls", "firewalls"));
            let machines = scope.spawn(|| self.machines());
            let disks = self.api.list("/v2/volumes", "volumes");
            (joined(vpcs), joined(firewalls), joined(machines), disks)
        });
        let mut state = CloudState::default();
        let mut add = |(address, object): (Address, CloudObject)| {
            state.objects.entry(address).or_default().push(object);
        };
        let (mut networks, mut holders) = (BTreeMap::new(), BTreeMap::new());
        for (address, object) in vpcs?.iter().filter_map(|it| read::vpc(&self.site, it)) {
            networks.insert(object.id.clone(), address.clone());
            add((address, object));
        }
        firewalls?.iter().filter_map(|it| read::firewall(&self.site, it)).for_each(&mut add);
        for it in &machines? {
            let (address, object) = read::machine(&self.site, it, &networks);
            holders.insert(object.id.clone(), address.clone());
            add((address, object));
        }
        disks?.iter().filter_map(|it| read::disk(&self.site, it, &holders)).for_each(&mut add);
        for found in state.objects.values_mut() {
            // The one that was there first is the one that counts.
            found.sort_by_key(|object| (object.id.parse::<u64>().ok(), object.id.clone()));
        }
        Ok(state)
    }
}

fn failure(what: &str, refusal: &Refusal) -> Failure {
    let failure = Failure::new(format!("{what}: {refusal}"));
    match refusal {
        Refusal::Said { status: 401 | 403, .. } => {
            failure.hint("check the token: it must be valid, and may read and write")
        }
        Refusal::Said { status: 429, .. } => {
            failure.hint("the API's limit for this hour is used up; wait, and run it again")
        }
        Refusal::Said { .. } => {
            failure.hint("mend what it says, and run it again: it goes on from what there is")
        }
        Refusal::Lost(_) => {
            failure.hint("nothing is known about whether it was done; run it again to find out")
        }
    }
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
