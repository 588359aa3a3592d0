//! Hosts: how each is named and reached.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A machine that runs a part of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The name in `stagecraft.yml`, and in addresses.
    pub name: String,
    /// Where `ssh` connects: a name that `~/.ssh/config` or DNS knows, or an IP address.
    pub address: String,
    /// The log-in user; `ssh` decides when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The SSH port; `ssh` decides when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A private key's path for `ssh -i`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_file: Option<String>,
    /// Where the other hosts reach it, if that is not `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_address: Option<String>,
    /// The public key by which it is known, as `known_hosts` has it; `ssh` decides when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// What the address resolves to, where somebody told us who should know; else `ssh` finds out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// Whether `ssh` gets there only through this machine's Tailscale client.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub through_tailscale: bool,
    /// How commands reach it.
    pub transport: Transport,
    /// The roles it has.
    pub roles: BTreeSet<String>,
}

impl Host {
    /// Whether it is reached where another one is.
    pub fn is_at(&self, other: &Host) -> bool {
        !self.address.is_empty()
            && (self.transport, &self.address, self.port)
                == (other.transport, &other.address, other.port)
    }

    /// A host of which nothing is known but its name, by which `ssh` reaches it.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: name.to_owned(),
            user: None,
            port: None,
            identity_file: None,
            private_address: None,
            host_key: None,
            resolved: None,
            through_tailscale: false,
            transport: Transport::Ssh,
            roles: BTreeSet::new(),
        }
    }
}

/// How commands reach a host.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// The system's `ssh`.
    #[default]
    Ssh,
    /// A shell on this machine.
    Local,
}

/// Where an environment lives on each of its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// The path of the env file that Compose reads on the hosts, if the environment has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_path: Option<String>,
}

impl Site {
    /// The name under which Compose knows the environment (its project name, in Compose's words).
    pub fn compose_project(&self) -> String {
        format!("{}-{}", self.project, self.environment)
    }
    /// The value of the label that marks what is ours.
    pub fn mark(&self) -> String {
        format!("{}/{}", self.project, self.environment)
    }
    /// The directory on a host that holds everything of ours.
    pub fn directory(&self) -> String {
        format!("/var/lib/stagecraft/{}/{}", self.project, self.environment)
    }
    /// The absolute path of one of our files, from its path below the directory.
    pub fn path(&self, relative: &str) -> String {
        format!("{}/{relative}", self.directory())
    }
    /// The Compose file in force.
    pub fn compose_file(&self) -> String {
        self.path(COMPOSE_FILE)
    }
}

/// The Compose file's path below the environment's directory on a host.
pub const COMPOSE_FILE: &str = "compose.yml";
