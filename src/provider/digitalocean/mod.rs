//! DigitalOcean: machines, block storage, private networks and firewalls over its HTTP API.

mod acts;
mod api;
mod read;
mod rules;
mod token;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::model::{Act, Address, CloudObject, CloudState, Failure, Site};
use crate::world::{Cloud, Later};
use api::{Api, Refusal};

pub use wanted::desired;

/// Where the API is. `DIGITALOCEAN_API_URL` names another place, as it does for `doctl`.
const BASE: &str = "https://api.digitalocean.com";

/// DigitalOcean, for one environment.
#[derive(Clone)]
pub struct DigitalOcean {
    account: Arc<Account>,
}

/// An account, and which of its objects count.
struct Account {
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
        let account = Account { api: Api::new(&base, &token), site: site.clone() };
        Ok(Self { account: Arc::new(account) })
    }

    /// Does something that waits, on a thread of its own.
    fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Account) -> Result<T, Failure> + Send + 'static,
    ) -> Later<'static, Result<T, Failure>> {
        let account = self.account.clone();
        let task = tokio::task::spawn_blocking(move || work(&account));
        Box::pin(async move {
            match task.await {
                Ok(result) => result,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        })
    }
}

impl Cloud for DigitalOcean {
    fn survey(&self) -> Later<'_, Result<CloudState, Failure>> {
        self.apart(|account| {
            account.survey().map_err(|refusal| {
                account.failure("DigitalOcean can't be asked what there is", &refusal)
            })
        })
    }

    fn perform<'a>(&'a self, act: &'a Act) -> Later<'a, Result<(), Failure>> {
        let act = act.clone();
        self.apart(move |account| account.perform(&act))
    }
}

impl Account {
    /// The environment's machines, as the API has them.
    fn machines(&self) -> Result<Vec<Value>, Refusal> {
        self.api.list(&format!("/v2/droplets?tag_name={}", wanted::mark(&self.site)), "droplets")
    }

    fn survey(&self) -> Result<CloudState, Refusal> {
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

    fn failure(&self, what: &str, refusal: &Refusal) -> Failure {
        let failure = Failure::new(format!("{what}: {refusal}"));
        match refusal {
            Refusal::Said { status: 401 | 403, .. } => {
                failure.hint("check the token: it must be valid, and may read and write")
            }
            Refusal::Said { status: 429, .. } => {
                failure.hint("the API's limit for this hour is used up; wait, and run it again")
            }
            Refusal::Said { .. } => failure,
            Refusal::Lost(_) => {
                failure.hint("nothing is known about whether it was done; run it again to find out")
            }
        }
    }
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
