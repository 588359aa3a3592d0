//! What an environment has in its cloud: which cloud that is, and what it should have.

use std::collections::BTreeMap;

use super::{Engine, Problem, Workspace};
use crate::config::stagecraft::{self, CloudProvider, Environment};
use crate::model::{CloudState, Desired, Failure, Part, Request, Site};
use crate::provider::digitalocean::{self, DigitalOcean};
use crate::world::Cloud;

/// Where the records, journals and the lock of infrastructure are kept, below the project's folder. Hosts
/// can't keep them: there may be none yet.
pub(super) const STATE: &str = ".stagecraft/infrastructure";

/// Opens the cloud that an environment is in.
pub(super) fn open(
    workspace: &Workspace,
    environment: &Environment,
    site: &Site,
) -> Result<Box<dyn Cloud>, Problem> {
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
            Ok(Box::new(DigitalOcean::open(&cloud.digitalocean.token_env, site)?))
        }
    }
}

impl Engine {
    /// What the cloud should have.
    pub(super) fn infrastructure(&self, request: &Request) -> Result<Desired, Problem> {
        let file = &self.workspace.config.file;
        let cloud = file.cloud.as_ref().ok_or_else(|| Failure::new("there is no cloud"))?;
        let mesh = file.network.provider;
        let mut desired = match cloud.provider {
            CloudProvider::DigitalOcean => {
                digitalocean::desired(&self.environment, &cloud.digitalocean, mesh, &self.site)?
            }
        };
        if request.part != Part::Infrastructure {
            desired.resources = BTreeMap::new();
        }
        Ok(desired)
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
