//! How Docker Engine, the Compose plugin and security updates get onto Debian and Ubuntu: one script that
//! does what is left to do.
//! Sources: docs.docker.com/engine/install/debian and …/ubuntu, docs.docker.com/config/daemon.

use serde_json::{Map, Value, json};

use super::inspect::Facts;
use crate::model::{Failure, Host, InfraSpec};
use crate::world::quote::quote;

/// Functions for installing packages. `quiet` runs a command, and shows its last lines and gives up when
/// it fails; `candidate` says which version of a package could be had.
pub const PACKAGES: &str = r#"set -u
LC_ALL=C; PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
DEBIAN_FRONTEND=noninteractive
export LC_ALL PATH DEBIAN_FRONTEND
umask 022
give_up() { printf 'stagecraft-reason: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
quiet() {
  "$@" >"$work/log" 2>&1 </dev/null && return 0
  tail -n 15 "$work/log" >&2
  give_up "this failed: $*"
}
# A new machine may still be at its own first installations.
if has cloud-init; then cloud-init status --wait >/dev/null 2>&1 || :; fi
# What was interrupted in the middle is finished before anything else.
for pause in 1 2 5 10 20 30 60 0; do
  [ -n "$(dpkg --audit 2>/dev/null)" ] || break
  dpkg --configure -a >"$work/log" 2>&1 </dev/null && break
  sleep "$pause"
done
updated=
update() {
  [ -z "$updated" ] || return 0
  for pause in 2 5 10 20 0; do
    apt-get update -q >"$work/log" 2>&1 </dev/null && { updated=yes; return 0; }
    sleep "$pause"
  done
  tail -n 15 "$work/log" >&2
  give_up 'the lists of packages could not be had: apt-get update'
}
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p' | grep -v '^(none)'; }
install() { quiet apt-get install -y -q --no-install-recommends \
  -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"; }
. /etc/os-release
"#;

/// Docker's own repository.
const FROM_DOCKER: &str = r#"
if [ ! -e /etc/apt/sources.list.d/docker.list ]; then
  update
  install ca-certificates curl
  install -d -m 755 /etc/apt/keyrings 2>/dev/null || mkdir -p /etc/apt/keyrings
  quiet curl -fsSL "https://download.docker.com/linux/$ID/gpg" -o /etc/apt/keyrings/docker.asc
  chmod a+r /etc/apt/keyrings/docker.asc
  printf 'deb [arch=%s signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/%s %s stable\n' \
    "$(dpkg --print-architecture)" "$ID" "$VERSION_CODENAME" >"$work/docker.list"
  mv "$work/docker.list" /etc/apt/sources.list.d/docker.list
  updated=
fi
"#;

/// Which packages there are differs: Docker's, Ubuntu's, and Debian's, which was version 1 until Debian 12.
const COMPOSE: &str = r#"
compose_package() {
  for package in docker-compose-plugin docker-compose-v2; do
    [ -z "$(candidate "$package")" ] || { echo "$package"; return 0; }
  done
  case $(candidate docker-compose) in 1.* | '') ;; *) echo docker-compose ;; esac
}
if ! docker compose version >/dev/null 2>&1; then
  update
  package=$(compose_package)
  [ -n "$package" ] || give_up "$PRETTY_NAME has no package of the Compose plugin; set \`bootstrap: { docker: docker }\`"
  install "$package"
fi
"#;

const ENGINE: &str = r#"
answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
if ! answers; then
  if has systemctl && [ -d /run/systemd/system ]; then
    quiet systemctl enable --now docker
  else
    quiet service docker start
  fi
  tries=0
  until answers; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || give_up 'the Docker engine was installed and does not answer'
    sleep 1
  done
fi
docker compose version >/dev/null 2>&1 || give_up 'Docker does not find the Compose plugin that was installed'
"#;

const UPGRADES: &str = r#"
on() { case $(apt-config dump "APT::Periodic::$1") in *'"0"'* | '') return 1 ;; esac; }
if ! dpkg-query -W -f '${Status}\n' unattended-upgrades 2>/dev/null | grep -q '^install ok installed'; then
  update
  install unattended-upgrades
fi
if ! on Update-Package-Lists || ! on Unattended-Upgrade; then
  printf 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n' >"$work/periodic"
  mv "$work/periodic" /etc/apt/apt.conf.d/99stagecraft
fi
"#;

/// The script that makes a host what it should be.
///
/// # Errors
/// The host is of a sort that is not supported.
pub fn script(host: &Host, facts: &Facts, wanted: &InfraSpec) -> Result<String, Failure> {
    if !facts.root {
        return Err(Failure::new(format!("{}: packages are installed by root alone", host.name))
            .hint("set `user: root` at the host"));
    }
    let text = |name: &str| wanted.value(name).and_then(Value::as_str);
    let mut parts = vec![PACKAGES.to_owned()];
    if text("docker").is_some() {
        if !facts.docker {
            is_supported(host, facts)?;
            let packages = match text("source") {
                Some("distribution") => "update\ninstall docker.io\n".to_owned(),
                _ => format!(
                    "{FROM_DOCKER}update\n\
                     install docker-ce docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin\n"
                ),
            };
            parts.push(configuration(facts));
            parts.push(packages);
        }
        if !facts.compose {
            parts.push(COMPOSE.to_owned());
        }
        parts.push(ENGINE.to_owned());
    }
    if wanted.value("unattended_upgrades") == Some(&Value::Bool(true)) && !facts.upgrades {
        is_supported(host, facts)?;
        parts.push(UPGRADES.to_owned());
    }
    Ok(parts.concat())
}

/// Whether packages can be installed there.
pub fn is_supported(host: &Host, facts: &Facts) -> Result<(), Failure> {
    match facts.is_supported() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "{} has {}, on which nothing can be installed",
            host.name,
            facts.system()
        ))
        .hint("use Debian or Ubuntu, or install Docker by hand")),
    }
}

/// Writes the engine's configuration before it first starts: logs that can't fill the disk, and containers
/// that outlive an update of the engine. What the file says already stays.
fn configuration(facts: &Facts) -> String {
    let usual = json!({
        "live-restore": true,
        "log-driver": "json-file",
        "log-opts": { "max-size": "10m", "max-file": "3" },
    });
    let text = facts.engine.as_deref().unwrap_or("{}");
    let Ok(Value::Object(mut settings)) = serde_json::from_str::<Value>(text) else {
        // The engine will say what is wrong with it.
        return String::new();
    };
    let own_driver = settings.contains_key("log-driver");
    for (key, value) in usual.as_object().unwrap_or(&Map::new()) {
        if !(own_driver && key == "log-opts") {
            settings.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    let text = format!("{:#}\n", Value::Object(settings));
    format!(
        "mkdir -p /etc/docker\nprintf %s {} >\"$work/daemon.json\"\n\
         mv \"$work/daemon.json\" /etc/docker/daemon.json\n",
        quote(&text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_own_settings_stay() {
        let facts = |text: &str| Facts { engine: Some(text.into()), ..Facts::default() };
        let kept = configuration(&facts(r#"{"log-driver":"journald","bip":"10.0.0.1/24"}"#));
        assert!(kept.contains("journald") && kept.contains("live-restore"), "{kept}");
        assert!(!kept.contains("max-size"), "{kept}");
        assert!(configuration(&Facts::default()).contains("max-size"));
        assert_eq!(configuration(&facts("{")), "");
    }
}
