//! How a host joins a private network: its client is installed, and brought up with a key that it alone may
//! use.
//! Sources: tailscale.com/kb/1080/cli, pkgs.tailscale.com/stable.

use std::time::Duration;

use serde_json::Value;

use super::super::host::{BASICS, Facts, Hosts, PACKAGES, is_root, is_supported, until};
use super::super::http::Refusal;
use super::control::Device;
use super::{Mesh, OUT, RUNNING, STOPPED, client, listed};
use crate::model::{Failure, Host, InfraSpec};
use crate::world::quote::{quote, quote_all};

/// How long it may take to install a client and bring it up.
pub const TIME: Duration = Duration::from_secs(900);
/// How long the network may take to know a host that has joined.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a host's membership, when nobody is connected by way of it any more.
pub const LEAVE: &str = "command -v tailscale >/dev/null 2>&1 || exit 0\n\
    nohup sh -c 'sleep 1; tailscale logout' </dev/null >/dev/null 2>&1 &\n";

/// Installs the client, and lets programs listen on its address before it has one: from where the host has its packages already, or from Tailscale's own place.
const CLIENT: &str = r#"
if ! has tailscale; then
  update
  if [ -z "$(candidate tailscale)" ]; then
    packages ca-certificates curl
    at="https://pkgs.tailscale.com/stable/$ID/$VERSION_CODENAME"
    quiet curl -fsSL "$at.noarmor.gpg" -o "$work/tailscale.gpg"
    quiet curl -fsSL "$at.tailscale-keyring.list" -o "$work/tailscale.list"
    mkdir -p /usr/share/keyrings
    put "$work/tailscale.gpg" /usr/share/keyrings/tailscale-archive-keyring.gpg
    put "$work/tailscale.list" /etc/apt/sources.list.d/tailscale.list
    updated=
    update
  fi
  packages tailscale
fi
if has systemctl && [ -d /run/systemd/system ]; then quiet systemctl enable --now tailscaled; fi
printf 'net.ipv4.ip_nonlocal_bind = 1\n-net.ipv6.ip_nonlocal_bind = 1\n' >"$work/sysctl"
mkdir -p /etc/sysctl.d
put "$work/sysctl" /etc/sysctl.d/60-stagecraft.conf
{ echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind; } 2>/dev/null ||
  give_up 'net.ipv4.ip_nonlocal_bind can not be set here: containers could not publish on the private network'
echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind 2>/dev/null || :
"#;

impl Mesh {
    /// Makes a host a member, whatever it was before. One that is a member stays what it is otherwise.
    pub(super) fn join(
        &self,
        hosts: &Hosts,
        host: &Host,
        wanted: &InfraSpec,
    ) -> Result<(), Failure> {
        let facts = hosts.await_facts(host)?;
        is_root(host, &facts)?;
        if facts.tailscale.is_none() {
            is_supported(host, &facts)?;
        }
        hosts.run(host, &format!("{BASICS}{PACKAGES}{CLIENT}"), TIME)?;
        let facts = self.settled(hosts, host)?;
        let (state, _) = client(&facts);
        let name = quote(&wanted.name);
        if state == RUNNING {
            let set = format!("tailscale set --hostname={name}\n");
            hosts.run(host, &set, PATIENCE)?;
            if !self.control.is_open() {
                self.is_as_wanted(host, wanted, &self.settled(hosts, host)?)?;
            }
        } else if state == STOPPED {
            // It needs no key, and one that is given a bad one is out. Without a flag it keeps its settings.
            let up = "timeout 45 tailscale up >/dev/null 2>&1 || {\n\
                      echo 'stagecraft-reason: its Tailscale client does not come up by itself: run \
                      `tailscale logout` there, and run it again' >&2; exit 1; }\n";
            hosts.run(host, up, PATIENCE)?;
        } else {
            self.let_in(hosts, host, wanted, &facts)?;
        }
        self.settle(hosts, host, wanted)
    }

    /// What a host says once its client knows what it is.
    fn settled(&self, hosts: &Hosts, host: &Host) -> Result<Facts, Failure> {
        let asked = || -> Result<_, Failure> {
            let facts = hosts.await_facts(host)?;
            let (state, _) = client(&facts);
            is_approved(host, &state)?;
            Ok([RUNNING, STOPPED, OUT].contains(&state.as_str()).then_some(facts))
        };
        until(PATIENCE, asked, || {
            Failure::new(format!("the Tailscale client on {} does not start", host.name))
                .hint(format!("see `journalctl -u tailscaled` on {}", host.name))
        })
    }

    /// Whether a member has the tags that it should, where nobody but a server that can't be asked could give
    /// them to it.
    fn is_as_wanted(&self, host: &Host, wanted: &InfraSpec, facts: &Facts) -> Result<(), Failure> {
        let own = client(facts).1.and_then(|status| status.own).unwrap_or_default();
        let (mut has, mut wants) = (own.tags.unwrap_or_default(), listed(wanted.value("tags")));
        has.sort();
        wants.sort();
        match has == wants && own.key_expiry.is_none() {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{} has other tags, or a key that expires, and an auth key can't change that",
                host.name
            ))
            .hint("give an API token or an OAuth client's secret, or change it by hand")),
        }
    }

    /// Lets a host in that is no member.
    fn let_in(
        &self,
        hosts: &Hosts,
        host: &Host,
        wanted: &InfraSpec,
        facts: &Facts,
    ) -> Result<(), Failure> {
        let tags = listed(wanted.value("tags"));
        self.clear(host, facts)?;
        let site = &self.site;
        let what = format!("{} {} {}", site.project, site.environment, host.name);
        let key = self.control.key(&tags, &what).map_err(|refusal| {
            refusal.failure(&format!("{} can't be let into the private network", host.name))
        })?;
        // Headscale takes tags from the key alone, and refuses a client that asks for them.
        let asked = if wanted.value("login_server").is_some() { &[] } else { tags.as_slice() };
        let up = up(wanted, asked, &key);
        hosts.run(host, &up, TIME).map_err(|failure| {
            // Whatever a client says, the key is not for other eyes.
            let hide = |text: &String| text.replace(&key, "(sensitive)");
            Failure {
                what: hide(&failure.what),
                detail: failure.detail.iter().map(hide).collect(),
                hint: failure.hint,
            }
        })
    }

    /// Removes devices of the host's name that are not the host, which is no member: those of machines that
    /// are gone. The name has to be free.
    fn clear(&self, host: &Host, facts: &Facts) -> Result<(), Failure> {
        if client(facts).0 != OUT {
            return Ok(());
        }
        for device in self.devices()?.into_iter().flatten() {
            if device.tags.contains(&self.mark) && device.hostname == host.name {
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
            let (state, status) = client(&hosts.await_facts(host)?);
            is_approved(host, &state)?;
            let own = status.and_then(|status| status.own);
            Ok(own.filter(|own| state == RUNNING && own.ips.is_some()))
        };
        let late = || {
            Failure::new(format!("{} has joined the private network and is not on it", host.name))
                .hint(format!("see `tailscale status` on {}", host.name))
        };
        let own = until(PATIENCE, asked, late)?;
        if !self.control.is_open() {
            return self.is_called(host, wanted, own.label());
        }
        let known = || {
            let devices = self.devices()?.unwrap_or_default();
            let found = devices.iter().find(|device| device.is(&own)).cloned();
            Ok(found.map(|device| (device, devices)))
        };
        let late = || Failure::new(format!("the control server does not know {}", host.name));
        let (device, devices) = until(PATIENCE, known, late)?;
        let label = |device: &Device| device.name.split('.').next().unwrap_or_default().to_owned();
        let taken = devices.iter().any(|it| it.id != device.id && label(it) == wanted.name);
        let correct = || -> Result<(), Refusal> {
            let (mut has, mut wants) = (device.tags.clone(), listed(wanted.value("tags")));
            has.sort();
            wants.sort();
            if has != wants {
                self.control.set_tags(&device.id, &wants)?;
            }
            if device.expires {
                self.control.keep_key(&device.id)?;
            }
            if label(&device) != wanted.name && !taken {
                self.control.rename(&device.id, &wanted.name)?;
            }
            Ok(())
        };
        correct().map_err(|refusal| {
            refusal.failure(&format!("{} is on the private network, half set up", host.name))
        })?;
        if taken { self.is_called(host, wanted, &label(&device)) } else { Ok(()) }
    }

    /// Whether a host has the name that it should.
    fn is_called(&self, host: &Host, wanted: &InfraSpec, name: &str) -> Result<(), Failure> {
        match name == wanted.name {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{} is called {name} on the private network, where the other name is taken",
                host.name
            ))
            .hint(
                "remove the device that has the name, or give the host another; then run it again",
            )),
        }
    }
}

/// Whether nobody has to approve of a host whose client is in a state: to wait for that is not for us.
fn is_approved(host: &Host, state: &str) -> Result<(), Failure> {
    match state == "NeedsMachineAuth" {
        false => Ok(()),
        true => Err(Failure::new(format!(
            "{} waits to be approved of on the private network",
            host.name
        ))
        .hint("approve of it in the admin console, and run it again")),
    }
}

/// The script that lets a client in. The key is in a file that only root reads, for as long as it is needed:
/// what a command is given everybody on the host can see.
fn up(wanted: &InfraSpec, tags: &[String], key: &str) -> String {
    let mut words = vec![
        // What a client kept of another life is not what is wanted here.
        "--reset".to_owned(),
        format!("--hostname={}", wanted.name),
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
    format!(
        "{BASICS}(umask 077; printf %s {} >\"$work/key\")\n\
         quiet tailscale up --auth-key=\"file:$work/key\" {words}\n",
        quote(key)
    )
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
        let script = up(&wanted, &["tag:shop".into()], "tskey-auth-secret");
        let line = script.lines().find(|line| line.contains("tailscale up")).unwrap();
        assert!(line.contains("--ssh") && line.contains("--advertise-tags=tag:shop"), "{line}");
        assert!(!line.contains("secret"), "{line}");
        // `printf` is the shell's own: nobody sees its arguments.
        assert_eq!(script.matches("tskey-auth-secret").count(), 1);
    }
}
