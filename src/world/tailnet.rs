//! What a Tailscale client says of its network: `tailscale status --json`, on a host or on this machine.
//! Source: tailscale.com/kb/1080/cli, and `ipnstate.Status` of the client.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::model::Host;

/// How long the client on this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Status {
    /// `Running`, `NeedsLogin`, `NeedsMachineAuth`, `Stopped`, `Starting`, `NoState`.
    pub backend_state: String,
    /// Whether it has a network interface of its own; without one, programs reach the network through it.
    #[serde(rename = "TUN")]
    pub has_interface: bool,
    /// The machine that it is on.
    #[serde(rename = "Self")]
    pub own: Option<Node>,
    /// The others that it may see, by key.
    pub peer: Option<BTreeMap<String, Node>>,
}

/// A machine on the network.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// The control server's id of it.
    #[serde(rename = "ID")]
    pub id: String,
    /// The public key of its client, `nodekey:…`.
    #[serde(rename = "PublicKey")]
    pub key: String,
    /// The name that it gave itself.
    pub host_name: String,
    /// The name that it has on the network, with a full stop at its end.
    #[serde(rename = "DNSName")]
    pub dns_name: String,
    /// Its addresses on the network.
    #[serde(rename = "TailscaleIPs")]
    pub ips: Option<Vec<String>>,
    /// The tags that own it.
    pub tags: Option<Vec<String>>,
    /// Whether the control server hears from it.
    pub online: bool,
    /// When it joined.
    pub created: Option<String>,
    /// When its key ends, if it does.
    pub key_expiry: Option<String>,
    /// The keys by which `ssh` knows it, where it answers Tailscale SSH.
    #[serde(rename = "sshHostKeys")]
    pub ssh_keys: Option<Vec<String>>,
}

impl Node {
    /// The first part of its name on the network.
    pub fn label(&self) -> &str {
        self.dns_name.split('.').next().unwrap_or_default()
    }
}

impl Status {
    /// Reads what the command prints.
    pub fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// What the client on this machine says; none where there is no client that runs.
    pub fn here() -> Option<Self> {
        let mut client = Command::new("tailscale")
            .args(["status", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut said = client.stdout.take()?;
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            if said.read_to_string(&mut text).is_ok() {
                // Who asked may have given up.
                let _ = tell.send(text);
            }
        });
        let text = told.recv_timeout(PATIENCE).ok();
        // One that has not answered by now is as good as none.
        let _ = client.kill();
        let _ = client.wait();
        Self::read(&text?).filter(Self::is_running)
    }

    /// Whether it is on the network.
    pub fn is_running(&self) -> bool {
        self.backend_state == "Running"
    }

    /// The machine with a name on the network, such as `app-1.example.ts.net`.
    pub fn named(&self, name: &str) -> Option<&Node> {
        let peers = self.peer.iter().flat_map(|peers| peers.values());
        let mut all = peers.chain(&self.own);
        all.find(|node| node.dns_name.trim_end_matches('.').eq_ignore_ascii_case(name))
    }

    /// Says of a host how this machine reaches it over the network; whether it can. What has its name and
    /// not the mark is somebody else's.
    pub fn place(&self, host: &mut Host, name: &str, mark: &str) -> bool {
        let ours = |node: &&Node| {
            node.online && node.tags.iter().flatten().any(|tag| tag == mark) && node.ips.is_some()
        };
        let Some(node) = self.named(name).filter(ours) else { return false };
        host.address = name.to_owned();
        host.resolved = node.ips.iter().flatten().next().cloned();
        host.through_tailscale = !self.has_interface;
        // Ed25519 is what every client can check; where the host has another kind alone, that.
        let keys = node.ssh_keys.iter().flatten();
        let key = keys.clone().find(|key| key.starts_with("ssh-ed25519 ")).or(keys.clone().next());
        host.host_key = key.cloned();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_found_by_its_name_with_its_keys() {
        let status = Status::read(
            r#"{"BackendState":"Running","TUN":false,"Self":{"ID":"n1","DNSName":"me.t.ts.net."},
            "Peer":{"k":{"ID":"n2","HostName":"app-1","DNSName":"app-1.t.ts.net.","Online":true,
            "TailscaleIPs":["100.64.0.2"],"Tags":["tag:shop-staging"],
            "sshHostKeys":["ecdsa-sha2-nistp256 B","ssh-ed25519 A"]}}}"#,
        )
        .unwrap();
        let mut host = crate::model::Host::named("app-1");
        assert!(!status.place(&mut host, "app-1.t.ts.net", "tag:shop-production"));
        assert!(status.place(&mut host, "app-1.t.ts.net", "tag:shop-staging"));
        assert_eq!(host.resolved.as_deref(), Some("100.64.0.2"));
        assert!(host.through_tailscale);
        assert_eq!(host.host_key.as_deref(), Some("ssh-ed25519 A"));
        assert!(!status.place(&mut host, "app-2.t.ts.net", "tag:shop-staging"));
        assert_eq!(status.named("app-1.t.ts.net").map(Node::label), Some("app-1"));
    }

    #[test]
    fn a_client_that_is_logged_out_says_so() {
        let status = Status::read(r#"{"BackendState":"NeedsLogin","Self":null,"Peer":null}"#);
        assert!(status.is_some_and(|status| !status.is_running()));
    }
}
