//! The world: every effect there is. Real hosts over SSH or a local shell, and the simulated world.
//! Performs and observes what it is told; decides nothing.

pub mod secrets;
pub mod simulated;

use crate::model::{Effect, Failure, Host, Sight};
use simulated::Simulated;

/// A world to observe and to act upon.
pub enum World {
    /// Hosts in one JSON file.
    Simulated(Simulated),
}

impl World {
    /// Looks at a host.
    pub async fn probe(&self, host: &Host) -> Sight {
        match self {
            World::Simulated(world) => world.probe(&host.name),
        }
    }

    /// Performs an effect on a host.
    ///
    /// # Errors
    /// It could not be done, or it is not known whether it was.
    pub async fn perform(&self, _host: &Host, effect: &Effect) -> Result<(), Failure> {
        match self {
            World::Simulated(world) => world.perform(effect),
        }
    }
}
