//! What an environment has below its application: what that should be, and where its hosts are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Engine, Problem, Workspace, site};
use crate::config::stagecraft::{self, Environment};
use crate::model::{Desired, Failure, InfraState, Part, Protection, Request, Transport};
use crate::provider::{self, Ground};
use crate::world::Infrastructure;
use crate::world::tailnet::Status;

/// Where the records, journals and the lock of infrastructure are kept, below the project's folder. Hosts
/// can't keep them: there may be none yet.
pub(super) const STATE: &str = ".stagecraft/infrastructure";

/// Opens what is below an environment's application.
pub(super) fn open(
    workspace: &Workspace,
    environment: &Environment,
) -> Result<Arc<dyn Infrastructure>, Problem> {
    if environment.world == stagecraft::World::Simulated {
        let what = format!("environment `{}` is simulated; it is in no cloud", environment.name);
        return Err(Failure::new(what).hint("name another one with --env").into());
    }
    let ground = Ground::open(&workspace.config.file, environment, &site(environment))?;
    let ground = ground.ok_or_else(|| {
        Failure::new("the configuration names no infrastructure").hint(
            "add `cloud: { provider: digitalocean }`, a `network:` or `bootstrap: {}` to stagecraft.yml",
        )
    })?;
    Ok(Arc::new(ground))
}

/// Says of hosts where they are, when the configuration does not: on the private network, where this
/// machine is on it and sees them, else where the cloud says. One that has no machine yet has no address.
///
/// # Errors
/// The cloud can't be asked, or does not say by which key a machine is known.
pub(super) fn locate(workspace: &Workspace, environment: &mut Environment) -> Result<(), Problem> {
    if environment.world != stagecraft::World::Hosts {
        return Ok(());
    }
    let is_open = |environment: &Environment, name: &String| {
        environment.machines.get(name).is_some_and(|machine| machine.made)
    };
    let mut lost: Vec<String> = environment
        .hosts
        .iter()
        .filter(|(name, host)| host.transport == Transport::Ssh && is_open(environment, name))
        .map(|(name, _)| name.clone())
        .collect();
    if environment.has_mesh_names() && !lost.is_empty() {
        let status = Status::here().unwrap_or_default();
        lost.retain(|name| {
            let mesh_name = environment.mesh_name(name);
            let host = environment.hosts.get_mut(name);
            !host.is_some_and(|host| status.place(host, &mesh_name))
        });
    }
    let file = &workspace.config.file;
    if lost.is_empty() || file.cloud.is_none() {
        return Ok(());
    }
    let state = provider::machines(file, &site(environment))?;
    let lost = lost.into_iter().collect();
    provider::place(&mut environment.hosts, &lost, &state);
    for name in &lost {
        let Some(host) = environment.hosts.get(name) else { continue };
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
    /// What there should be below the application.
    pub(super) fn infrastructure(&self, request: &Request) -> Result<Desired, Problem> {
        let file = &self.workspace.config.file;
        let resources = match request.part {
            Part::NoInfrastructure { .. } => BTreeMap::new(),
            _ => provider::resources(file, &self.environment, &self.site)?,
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

    /// What there is below the application.
    ///
    /// # Errors
    /// Somebody did not answer, or the environment was not opened for its infrastructure.
    pub async fn survey(&self) -> Result<InfraState, Problem> {
        let found = self.world.survey().await?;
        Ok(found.ok_or_else(|| Failure::new("there is no infrastructure"))?)
    }
}
