//! Where a service runs: its hosts, its tier, and what the configuration says of its rollout.

use std::time::Duration;

use crate::model::RolloutOrder;

/// A service's place.
#[derive(Debug, Clone)]
pub struct Placement {
    /// What goes before what.
    pub tier: Tier,
    /// The hosts that run it, in order.
    pub hosts: Vec<String>,
    /// How many containers on each host, where the configuration says.
    pub replicas: Option<u32>,
    /// The order asked for.
    pub order: Option<RolloutOrder>,
    /// How long a new container may take to become healthy.
    pub health_timeout: Option<Duration>,
    /// How long a new container is watched after it became healthy.
    pub monitor: Duration,
    /// How many hosts roll at once.
    pub max_parallel: u32,
}

/// The three tiers: each is in place before the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Roles `db` and `cache`.
    Stateful,
    /// Every other role.
    Application,
    /// Role `gateway`.
    Gateway,
}

impl Tier {
    /// The tier of a role, by its name.
    pub fn of(role: &str) -> Self {
        match role {
            "db" | "cache" => Tier::Stateful,
            "gateway" => Tier::Gateway,
            _ => Tier::Application,
        }
    }
}
