//! What an environment has in its cloud: which cloud that is, and what it should have.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Engine, Problem, Workspace, site};
use crate::config::stagecraft::{self, CloudProvider, Environment};
use crate::model::{Address, CloudState, Desired, Failure, Part, Protection, Request};
use crate::provider::digitalocean::{self, DigitalOcean};
use crate::world::Cloud;

/// Where the records, journals and the lock of infrastructure are kept, below the project's folder. Hosts
/// can't keep them: there may be none yet.
pub(super) const STATE: &str = ".stagecraft/infrastructure";

/// Opens the cloud that an environment is in.
pub(super) fn open(
    workspace: &Workspace,
    environment: &Environment,
) -> Result<Arc<dyn Cloud>, Problem> {
    if environment.world == stagecraft::World::Simulated {
        let what = format!("environment `{}` is simulated; it is in no cloud", environment.name);
        return Err(Failure::new(what).hint("name another one with --env").into());
    }
    let cloud = workspace.config.file.cloud.as_ref().ok_or_else(|| {
        Failure::new("the configuration names no cloud")
            .hint("add `cloud: { provider: digitalocean }` to stagecraft.yml")
    })?;
    match cloud.provider {
        CloudProvider::DigitalOcean => {
            Ok(Arc::new(DigitalOcean::open(&cloud.digitalocean.token_env, &site(environment))?))
        }
    }
}

/// Gives hosts for which nothing says where they are the addresses and keys that the cloud knows; one that
/// has no machine yet has no address.
///
/// # Errors
/// The cloud can't be asked, or does not say by which key a machine is known.
pub(super) fn locate(workspace: &Workspace, environment: &mut Environment) -> Result<(), Problem> {
    let made = environment.machines.iter().filter(|(_, machine)| machine.made);
    let lost: Vec<String> = made.map(|(name, _)| name.clone()).collect();
    let is_elsewhere = environment.has_mesh_names()
        || environment.world != stagecraft::World::Hosts
        || workspace.config.file.cloud.is_none();
    if lost.is_empty() || is_elsewhere {
        return Ok(());
    }
    let state = open(workspace, environment)?.survey()?;
    for name in lost {
        let machine = state.objects.get(&Address::machine(&name)).and_then(|found| found.first());
        let given = |what: &str| machine.and_then(|machine| machine.given.get(what).cloned());
        let Some(host) = environment.hosts.get_mut(&name) else { continue };
        host.address = given("public_ip").unwrap_or_default();
        host.private_address = given("private_ip");
        host.host_key = given("host_key");
        if host.host_key.is_none() && !host.address.is_empty() {
            return Err(Failure::new(format!(
                "the cloud does not say by which key {name} is known"
            ))
            .hint("set `address:` at the host, and log in once by hand; `ssh` decides then")
            .into());
        }
    }
    Ok(())
}

impl Engine {
    /// What the cloud should have.
    pub(super) fn infrastructure(&self, request: &Request) -> Result<Desired, Problem> {
        let file = &self.workspace.config.file;
        let cloud = file.cloud.as_ref().ok_or_else(|| Failure::new("there is no cloud"))?;
        let mesh = file.network.provider;
        let resources = match (request.part, cloud.provider) {
            (Part::Infrastructure, CloudProvider::DigitalOcean) => {
                digitalocean::resources(&self.environment, &cloud.digitalocean, mesh, &self.site)?
            }
            _ => BTreeMap::new(),
        };
        Ok(Desired {
            site: self.site.clone(),
            version: None,
            hosts: BTreeMap::new(),
            protection: self.protection(),
            resources,
        })
    }

    fn protection(&self) -> Protection {
        if self.environment.protect {
            return Protection::Everything;
        }
        let machines = self.environment.machines.iter();
        Protection::Hosts(
            machines.filter(|(_, machine)| machine.protect).map(|(name, _)| name.clone()).collect(),
        )
    }

    /// What the cloud has of the environment.
    ///
    /// # Errors
    /// It did not answer, or the environment was not opened for its infrastructure.
    pub async fn survey(&self) -> Result<CloudState, Problem> {
        let found = self.world.survey().await?;
        Ok(found.ok_or_else(|| Failure::new("there is no cloud"))?)
    }
}
