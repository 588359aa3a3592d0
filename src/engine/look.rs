//! Looking: all hosts at once, and the Compose files in force read by our own loader.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::{Engine, Problem};
use crate::config::compose::load_text;
use crate::model::{
    COMPOSE_FILE, Desired, Host, Observed, Outcome, Release, ReleaseHead, Sight, stamp,
};
use crate::state::Store;
use crate::world::simulated::ComposeFile;

impl Engine {
    /// What there is: on the environment's hosts, and on those that the newest release concerned
    /// and the configuration no longer names.
    ///
    /// # Errors
    /// The store cannot be read. A host that cannot be is no error but a blocked sight.
    pub async fn look(&self) -> Result<(Observed, BTreeMap<String, Host>), Problem> {
        let mut hosts = self.environment.hosts.clone();
        let mut observed = Observed { head: None, hosts: self.probe(hosts.values()).await };
        observed.head = match &self.store {
            Store::Host(_) => newest(&observed),
            store => store.releases().await?.last().map(ReleaseHead::from),
        };
        let former = self.former_hosts(observed.head.as_ref(), &hosts).await?;
        let former: Vec<Host> =
            former.into_values().filter(|host| !hosts.contains_key(&host.name)).collect();
        observed.hosts.extend(self.probe(former.iter()).await);
        hosts.extend(former.into_iter().map(|host| (host.name.clone(), host)));
        Ok((observed, hosts))
    }

    /// The hosts that may still hold something of ours and that the configuration no longer names:
    /// those of the newest release, and of earlier ones as long as none has succeeded since.
    async fn former_hosts(
        &self,
        head: Option<&ReleaseHead>,
        known: &BTreeMap<String, Host>,
    ) -> Result<BTreeMap<String, Host>, Problem> {
        let Some(head) = head else { return Ok(BTreeMap::new()) };
        let names_others = |hosts: &[String]| hosts.iter().any(|name| !known.contains_key(name));
        let releases = match head.outcome {
            Outcome::Succeeded if !names_others(&head.hosts) => Vec::new(),
            Outcome::Succeeded => vec![self.store.release(head.number).await?],
            _ => {
                let mut releases = self.store.releases().await?;
                let good = |release: &Release| release.outcome == Outcome::Succeeded;
                let since = releases.iter().rposition(good).unwrap_or(0);
                releases.split_off(since)
            }
        };
        let mut former = BTreeMap::new();
        for release in releases.iter().filter(|release| names_others(&release.hosts)) {
            former.extend(self.desired_of(release).await?.hosts);
        }
        Ok(former)
    }

    async fn probe(&self, hosts: impl Iterator<Item = &Host>) -> BTreeMap<String, Sight> {
        let mut probes = JoinSet::new();
        for host in hosts.cloned() {
            let world = self.world.clone();
            probes.spawn(async move {
                let mut sight = world.probe(&host).await;
                read_deployed(&mut sight);
                (host.name, sight)
            });
        }
        probes.join_all().await.into_iter().collect()
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

fn newest(observed: &Observed) -> Option<ReleaseHead> {
    let heads = observed.hosts.values().filter_map(|sight| match sight {
        Sight::Seen(state) => state.head.clone(),
        Sight::Blocked(_) => None,
    });
    heads.max_by_key(|head| head.number)
}

/// Reads the Compose file in force. One that is no Compose file any more tells nothing.
fn read_deployed(sight: &mut Sight) {
    let Sight::Seen(state) = sight else { return };
    let Some(file) = state.files.get(COMPOSE_FILE) else { return };
    let services = read_compose(&file.content).services;
    state.deployed.get_or_insert_default().services = services;
}

/// Reads a rendered Compose file's text.
pub fn read_compose(text: &str) -> ComposeFile {
    let Ok(loaded) = load_text(COMPOSE_FILE, stamp::body(text)) else {
        return ComposeFile::default();
    };
    let project = loaded.project;
    ComposeFile {
        services: project
            .services
            .into_iter()
            .map(|(name, service)| (name, service.canonical))
            .collect(),
        networks: project.networks.into_iter().map(|(key, n)| (key, n.name)).collect(),
    }
}
