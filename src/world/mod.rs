//! The world: every effect on hosts, over SSH or a local shell, and the simulated world. What a cloud
//! does is its provider's matter; here it is called.
//! Performs and observes what it is told; decides nothing.

pub mod effects;
pub mod hosts;
pub mod infrastructure;
pub mod inspect;
pub mod layout;
pub mod probe;
pub mod quote;
pub mod refusal;
mod routes;
pub mod secrets;
pub mod shell;
pub mod simulated;
pub mod tailnet;
pub mod transport;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use crate::model::{
    Address, Blocked, BlockedReason, Effect, Failure, Host, InfraState, Said, Sight,
};
pub use hosts::HostsWorld;
pub use infrastructure::Infrastructure;
pub use simulated::Simulated;

/// A world to observe and to act upon.
pub enum World {
    /// Machines, over SSH or a local shell.
    Hosts(Arc<HostsWorld>),
    /// What is below an application; not what runs on its hosts.
    Infrastructure(Arc<dyn Infrastructure>),
    /// Hosts in one JSON file.
    Simulated(Box<Simulated>),
    /// Anything else: tests bring worlds in which things go wrong.
    Other(Box<dyn OtherWorld>),
}

/// An answer that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A world as `World` needs it; its methods do what those of the same name do there.
pub trait OtherWorld: Send + Sync {
    /// Looks at a host.
    fn probe<'a>(&'a self, host: &'a Host) -> Later<'a, Sight>;
    /// Performs an effect.
    fn perform<'a>(
        &'a self,
        hosts: &'a BTreeMap<String, Host>,
        effect: &'a Effect,
    ) -> Later<'a, Result<Said, Failure>>;
}

impl World {
    /// Looks at a host.
    pub async fn probe(&self, host: &Host) -> Sight {
        match self {
            World::Hosts(world) => world.probe(host).await,
            World::Simulated(world) => world.probe(&host.name),
            World::Infrastructure(_) => Sight::Blocked(Blocked {
                reason: BlockedReason::Unreachable,
                detail: "only the cloud was asked".to_owned(),
            }),
            World::Other(world) => world.probe(host).await,
        }
    }

    /// Looks at what the cloud has; none where the world has no cloud.
    ///
    /// # Errors
    /// The cloud did not answer, or not wholly.
    pub async fn survey(&self) -> Result<Option<InfraState>, Failure> {
        match self {
            World::Infrastructure(cloud) => {
                let cloud = cloud.clone();
                apart(move || cloud.survey()).await.map(Some)
            }
            World::Hosts(_) | World::Simulated(_) | World::Other(_) => Ok(None),
        }
    }

    /// Puts our mark on a part of the infrastructure that somebody else has made.
    ///
    /// # Errors
    /// There is no such thing, it can't be marked, or the world has no infrastructure.
    pub async fn adopt(
        &self,
        address: &Address,
        id: &str,
        key: Option<&str>,
    ) -> Result<(), Failure> {
        let World::Infrastructure(ground) = self else {
            return Err(Failure::new("there is no infrastructure"));
        };
        let (ground, address, id) = (ground.clone(), address.clone(), id.to_owned());
        let key = key.map(str::to_owned);
        apart(move || ground.adopt(&address, &id, key.as_deref())).await
    }

    /// Performs an effect; what it had to say. `hosts` are all that it may concern, by name: an
    /// effect acts on one, and may have to ask others first.
    ///
    /// # Errors
    /// It could not be done, or it is not known whether it was.
    pub async fn perform(
        &self,
        hosts: &BTreeMap<String, Host>,
        effect: &Effect,
    ) -> Result<Said, Failure> {
        match self {
            World::Hosts(world) => world.perform(hosts, effect).await,
            World::Simulated(world) => world.perform(effect).map(|()| Said::new()),
            World::Infrastructure(cloud) => {
                let (cloud, act) = (cloud.clone(), effect.act.clone());
                apart(move || cloud.perform(&act)).await.map(|()| Said::new())
            }
            World::Other(world) => world.perform(hosts, effect).await,
        }
    }
}

/// Does something that waits, on a thread of its own.
pub async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // It is never aborted.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
