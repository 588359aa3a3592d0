//! Looking: all hosts at once, and the Compose files in force read by our own loader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::task::JoinSet;

use super::{Engine, Problem};
use crate::config::compose::load_text;
use crate::model::{
    Address, COMPOSE_FILE, Desired, Host, HostState, KNOWN_AFTER_APPLY, Observed, Outcome, Release,
    ReleaseHead, Sight, Spec, sha256_hex, stamp,
};
use crate::state::Store;
use crate::world::simulated::{ComposeFile, ReadCompose};

impl Engine {
    /// What there is: on the environment's hosts, and on those that the newest release concerned
    /// and the configuration no longer names.
    ///
    /// # Errors
    /// The store cannot be read. A host that cannot be is no error but a blocked sight.
    pub async fn look(
        &self,
        forget: &[String],
    ) -> Result<(Observed, BTreeMap<String, Host>), Problem> {
        let Look { observed, hosts, .. } =
            self.look_at(forget, &Coming::default(), Vec::new()).await?;
        Ok((observed, hosts))
    }

    /// As `look`, with hosts that are about to be, or have just become, empty, and with some more `besides`.
    pub(super) async fn look_at(
        &self,
        forget: &[String],
        coming: &Coming,
        besides: Vec<Host>,
    ) -> Result<Look, Problem> {
        if let Some(found) = self.world.survey().await? {
            let head = self.store.releases().await?.last().map(ReleaseHead::from);
            let observed = Observed { head, infrastructure: Some(found), ..Observed::default() };
            return Ok(Look { observed, ..Look::default() });
        }
        let mut hosts = self.environment.hosts.clone();
        let mut observed =
            Observed { hosts: self.probe(hosts.values()).await, ..Observed::default() };
        observed.head = match &self.store {
            Store::Host(_) => newest(&observed).or_else(|| coming.head.clone()),
            store => store.releases().await?.last().map(ReleaseHead::from),
        };
        coming.fill_in(&mut observed);
        let mut former = match &observed.head {
            Some(head) => self.former_hosts(head).await?,
            None => Vec::new(),
        };
        let known: BTreeSet<String> = former.iter().map(|host| host.name.clone()).collect();
        former.extend(besides.into_iter().filter(|host| !known.contains(&host.name)));
        former.retain(|host| !self.environment.hosts.contains_key(&host.name));
        // A host that only has another name by now is looked at under that.
        let mut renamed = BTreeMap::new();
        former.retain(|host| {
            let other = self.environment.hosts.values().find(|other| host.is_at(other));
            renamed.extend(other.map(|other| (host.name.clone(), other.name.clone())));
            other.is_none() && !forget.contains(&host.name)
        });
        if !former.is_empty() {
            former = self.find_former(former).await?;
        }
        let mut sights = self.probe(former.iter()).await;
        sights.retain(|name, sight| {
            let same = observed.hosts.iter().find(|(_, other)| is_of_one_host(sight, other));
            renamed.extend(same.map(|(other, _)| (name.clone(), other.clone())));
            same.is_none()
        });
        former.retain(|host| sights.contains_key(&host.name));
        observed.hosts.extend(sights);
        hosts.extend(former.into_iter().map(|host| (host.name.clone(), host)));
        Ok(Look { observed, hosts, renamed })
    }

    /// The hosts that the newest release concerned and the configuration does not name. One that
    /// did not succeed may have left behind what it was to take away: then those count, too, of
    /// the releases before it, up to the last that did.
    async fn former_hosts(&self, head: &ReleaseHead) -> Result<Vec<Host>, Problem> {
        let gone =
            |names: &[String]| names.iter().any(|name| !self.environment.hosts.contains_key(name));
        let mut former = BTreeMap::new();
        if head.outcome == Outcome::Succeeded && !gone(&head.hosts) {
            return Ok(Vec::new());
        }
        for release in self.store.releases().await?.iter().rev() {
            if gone(&release.hosts) {
                for (name, host) in self.desired_of(release).await?.hosts {
                    former.entry(name).or_insert(host);
                }
            }
            if release.outcome == Outcome::Succeeded {
                break;
            }
        }
        former.retain(|name, _| !self.environment.hosts.contains_key(name));
        Ok(former.into_values().collect())
    }

    pub(super) async fn probe(
        &self,
        hosts: impl Iterator<Item = &Host>,
    ) -> BTreeMap<String, Sight> {
        let mut probes = JoinSet::new();
        for host in hosts.cloned() {
            let world = self.world.clone();
            probes.spawn(async move { (host.name.clone(), world.probe(&host).await) });
        }
        probes.join_all().await.into_iter().collect()
    }

    /// Reads the Compose files in force that are not the desired ones; the differ wants to know
    /// what they say. One that is no Compose file any more tells nothing.
    pub(super) fn read_deployed(&self, desired: &Desired, observed: &mut Observed) {
        for (host, sight) in &mut observed.hosts {
            let Sight::Seen(state) = sight else { continue };
            let Some(found) = state.files.get(COMPOSE_FILE) else { continue };
            let wanted = desired.resources.get(&Address::file(host, COMPOSE_FILE));
            if let Some(Spec::File(wanted)) = wanted.map(|resource| &resource.spec)
                && wanted.content == found.content
            {
                continue;
            }
            let services = (self.read_compose)(&found.content).services.clone();
            state.deployed.get_or_insert_default().services = services;
        }
    }

    /// The desired state that a release stored.
    pub(super) async fn desired_of(&self, release: &Release) -> Result<Desired, Problem> {
        let text = self.store.get_blob(&release.desired).await?;
        serde_json::from_str(&text).map_err(|error| {
            let what = format!("release {} can't be read back: {error}", release.number);
            crate::model::Failure::new(what).into()
        })
    }
}

/// What there is.
#[derive(Default)]
pub(super) struct Look {
    pub observed: Observed,
    /// Every host that was looked at.
    pub hosts: BTreeMap<String, Host>,
    /// The names of the configuration's hosts by those that they had before.
    pub renamed: BTreeMap<String, String>,
}

/// What will become of hosts when what is below the application is as it should be.
#[derive(Clone, Default)]
pub(super) struct Coming {
    /// Those that will have nothing on them.
    pub empty: BTreeSet<String>,
    /// Those that will have another address.
    pub joining: BTreeSet<String>,
    /// Whether it is so by now, so that their addresses are known.
    pub are_there: bool,
    /// The newest release, where those that will be empty keep it alone.
    pub head: Option<ReleaseHead>,
}

impl Coming {
    /// Whether nothing becomes of any host.
    pub fn is_nobody(&self) -> bool {
        self.empty.is_empty() && self.joining.is_empty()
    }

    /// Whether where a host is reached is not known yet.
    pub fn is_unknown(&self, host: &str) -> bool {
        !self.are_there && (self.empty.contains(host) || self.joining.contains(host))
    }

    /// Puts empty hosts in the place of what was seen, and unknown addresses in the place of those that
    /// change. What is really on a host is seen when it is looked at under the lock.
    fn fill_in(&self, observed: &mut Observed) {
        for (name, sight) in &mut observed.hosts {
            let mesh_ip = match (&*sight, self.is_unknown(name)) {
                (_, true) => Some(KNOWN_AFTER_APPLY.to_owned()),
                (Sight::Seen(state), false) => state.mesh_ip.clone(),
                // It does not answer, which is said as it is.
                (Sight::Blocked(_), false) => continue,
            };
            if self.empty.contains(name) {
                *sight = Sight::Seen(Box::new(HostState { mesh_ip, ..HostState::default() }));
            } else if let Sight::Seen(state) = sight {
                state.mesh_ip = mesh_ip;
            }
        }
    }
}

/// Whether two sights show the same containers, so that it is one host that has two names.
fn is_of_one_host(one: &Sight, other: &Sight) -> bool {
    match (one, other) {
        (Sight::Seen(one), Sight::Seen(other)) => {
            one.containers.keys().any(|id| other.containers.contains_key(id))
        }
        _ => false,
    }
}

fn newest(observed: &Observed) -> Option<ReleaseHead> {
    let heads = observed.hosts.values().filter_map(|sight| match sight {
        Sight::Seen(state) => state.head.clone(),
        Sight::Blocked(_) => None,
    });
    // Of one release the record that knows its end is the newer one.
    heads.max_by_key(|head| (head.number, head.outcome != Outcome::Running))
}

/// Reads rendered Compose files, each text once: hosts with the same role have the same.
pub fn compose_reader() -> ReadCompose {
    let known: Mutex<BTreeMap<String, Arc<OnceLock<Arc<ComposeFile>>>>> = Mutex::default();
    Arc::new(move |text| {
        let place = {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(sha256_hex(text)).or_default().clone()
        };
        place.get_or_init(|| Arc::new(read_compose(text))).clone()
    })
}

fn read_compose(text: &str) -> ComposeFile {
    let Ok(loaded) = load_text(COMPOSE_FILE, stamp::body(text)) else {
        return ComposeFile::default();
    };
    let project = loaded.project;
    ComposeFile {
        services: project
            .services
            .into_iter()
            .map(|(name, service)| (name, Arc::unwrap_or_clone(service).canonical))
            .collect(),
        networks: project.networks.into_iter().map(|(key, n)| (key, n.name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_release_the_record_that_knows_its_end_counts() {
        let seen = |outcome| {
            let head = ReleaseHead {
                number: 7,
                version: None,
                previous_version: None,
                outcome,
                desired: String::new(),
                hosts: Vec::new(),
                previous_good: None,
                fell_back: None,
            };
            Sight::Seen(Box::new(HostState { head: Some(head), ..HostState::default() }))
        };
        for (a, b) in [(Outcome::Failed, Outcome::Running), (Outcome::Running, Outcome::Failed)] {
            let hosts = [("a".to_owned(), seen(a)), ("b".to_owned(), seen(b))].into();
            let found = newest(&Observed { hosts, ..Observed::default() });
            assert_eq!(found.map(|head| head.outcome), Some(Outcome::Failed));
        }
    }
}
