//! How a host joins a private network: its client is installed, and brought up with a key that it alone may
//! use.
//! Sources: tailscale.com/kb/1080/cli, pkgs.tailscale.com/stable.

use std::time::Duration;

use serde_json::Value;

use super::super::host::{Facts, Hosts, PACKAGES, until};
use super::{Mesh, RUNNING, listed, state};
use crate::model::{Failure, Host, InfraSpec};
use crate::world::quote::{quote, quote_all};

/// How long it may take to install a client and bring it up.
pub const TIME: Duration = Duration::from_secs(900);
/// How long the network may take to know a host that has joined.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a host's membership.
pub const LEAVE: &str = "command -v tailscale >/dev/null 2>&1 || exit 0\ntailscale logout\n";

/// Installs the client: from where the host has its packages already, or from Tailscale's own place.
const CLIENT: &str = r#"
if ! has tailscale; then
  update
  if [ -z "$(candidate tailscale)" ]; then
    install ca-certificates curl
    at="https://pkgs.tailscale.com/stable/$ID/$VERSION_CODENAME"
    quiet curl -fsSL "$at.noarmor.gpg" -o "$work/tailscale.gpg"
    quiet curl -fsSL "$at.tailscale-keyring.list" -o "$work/tailscale.list"
    mkdir -p /usr/share/keyrings
    mv "$work/tailscale.gpg" /usr/share/keyrings/tailscale-archive-keyring.gpg
    mv "$work/tailscale.list" /etc/apt/sources.list.d/tailscale.list
    updated=
    update
  fi
  install tailscale
fi
if has systemctl && [ -d /run/systemd/system ]; then quiet systemctl enable --now tailscaled; fi
"#;

impl Mesh {
    /// Makes a host a member, whatever it was before.
    pub(super) fn join(
        &self,
        hosts: &Hosts,
        host: &Host,
        wanted: &InfraSpec,
    ) -> Result<(), Failure> {
        let facts = hosts.await_facts(host)?;
        let tags = listed(wanted.value("tags"));
        self.clear(host, &facts)?;
        let site = &self.site;
        let what = format!("{} {} {}", site.project, site.environment, host.name);
        // A client that is in needs no key, and one that is given a bad one is out.
        let key = match state(&facts).0 == RUNNING {
            true => None,
            false => Some(self.control.key(&tags, &what).map_err(|refusal| {
                refusal.failure(&format!("{} can't be let into the private network", host.name))
            })?),
        };
        if facts.tailscale.is_none() {
            super::super::host::is_supported(host, &facts)?;
        }
        // Headscale takes tags from the key alone, and refuses a client that asks for them.
        let asked = if wanted.value("login_server").is_some() { &[] } else { tags.as_slice() };
        hosts.run(host, &script(&host.name, wanted, asked, key.as_deref()), TIME).map_err(
            |failure| {
                // Whatever a client says, the key is not for other eyes.
                let hide = |text: &String| match &key {
                    Some(key) => text.replace(key, "(sensitive)"),
                    None => text.clone(),
                };
                Failure {
                    what: hide(&failure.what),
                    detail: failure.detail.iter().map(hide).collect(),
                    hint: failure.hint,
                }
            },
        )?;
        self.settle(hosts, host, wanted)
    }

    /// Removes devices of the host's name that are not the host: those of machines that are gone. The name
    /// has to be free.
    fn clear(&self, host: &Host, facts: &Facts) -> Result<(), Failure> {
        let (_, status) = state(facts);
        let own = status.and_then(|status| status.own);
        for device in self.devices()?.into_iter().flatten() {
            let ours = device.tags.contains(&self.mark) && device.hostname == host.name;
            if ours && !own.as_ref().is_some_and(|own| device.is(own)) {
                self.control.remove(&device.id).map_err(|refusal| {
                    refusal.failure(&format!("a former {} can't be removed", host.name))
                })?;
            }
        }
        Ok(())
    }

    /// Waits until the network knows the host, and sees to what the client can't say.
    fn settle(&self, hosts: &Hosts, host: &Host, wanted: &InfraSpec) -> Result<(), Failure> {
        let asked = || -> Result<_, Failure> {
            let (state, status) = state(&hosts.await_facts(host)?);
            let own = status.and_then(|status| status.own);
            Ok(own.filter(|_| state == RUNNING))
        };
        let late = || {
            Failure::new(format!("{} has joined the private network and is not on it", host.name))
                .hint(format!("see `tailscale status` on {}", host.name))
        };
        let own = until(PATIENCE, asked, late)?;
        if own.label() != wanted.name {
            let what = format!(
                "{} is called {} on the private network, where the other name is taken",
                host.name,
                own.label()
            );
            return Err(Failure::new(what).hint(
                "remove the device that has the name, or give the host another; then run it again",
            ));
        }
        if !self.control.is_open() {
            return Ok(());
        }
        let known = || {
            let devices = self.devices()?.unwrap_or_default();
            Ok(devices.into_iter().find(|device| device.is(&own)))
        };
        let late = || Failure::new(format!("the control server does not know {}", host.name));
        let device = until(PATIENCE, known, late)?;
        let (mut has, mut wants) = (device.tags.clone(), listed(wanted.value("tags")));
        has.sort();
        wants.sort();
        let tags = if has == wants { Ok(()) } else { self.control.set_tags(&device.id, &wants) };
        let key = if device.expires { self.control.keep_key(&device.id) } else { Ok(()) };
        tags.and(key).map_err(|refusal| {
            refusal.failure(&format!("{} is on the private network, half set up", host.name))
        })
    }
}

/// The script that brings the client up. The key is in a file that only root reads, for as long as it is
/// needed: what a command is given everybody on the host can see.
fn script(name: &str, wanted: &InfraSpec, tags: &[String], key: Option<&str>) -> String {
    let mut words = vec![
        "--reset".to_owned(),
        format!("--hostname={name}"),
        "--accept-risk=lose-ssh".to_owned(),
        "--timeout=90s".to_owned(),
    ];
    if !tags.is_empty() {
        words.push(format!("--advertise-tags={}", tags.join(",")));
    }
    if wanted.value("ssh") == Some(&Value::Bool(true)) {
        words.push("--ssh".to_owned());
    }
    if let Some(server) = wanted.value("login_server").and_then(Value::as_str) {
        words.push(format!("--login-server={server}"));
    }
    let words = quote_all(words.iter().map(String::as_str));
    let up = match key {
        Some(key) => format!(
            "(umask 077; printf %s {} >\"$work/key\")\n\
             quiet tailscale up --auth-key=\"file:$work/key\" {words}\n",
            quote(key)
        ),
        None => format!("quiet tailscale up {words}\n"),
    };
    format!("{PACKAGES}{CLIENT}{up}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, Rule};

    #[test]
    fn the_key_is_in_no_argument() {
        let ssh = Attribute { value: true.into(), rule: Rule::InPlace };
        let wanted =
            InfraSpec { name: "app-1".into(), attributes: [("ssh".to_owned(), ssh)].into() };
        let script = script("app-1", &wanted, &["tag:shop".into()], Some("tskey-auth-secret"));
        let line = script.lines().find(|line| line.contains("tailscale up")).unwrap();
        assert!(line.contains("--ssh") && line.contains("--advertise-tags=tag:shop"), "{line}");
        assert!(!line.contains("secret"), "{line}");
        // `printf` is the shell's own: nobody sees its arguments.
        assert_eq!(script.matches("tskey-auth-secret").count(), 1);
    }
}
