//! How Docker Engine, the Compose plugin and security updates get onto Debian and Ubuntu: one script that
//! does what is left to do.
//! Sources: docs.docker.com/engine/install/debian and …/ubuntu, docs.docker.com/config/daemon.

use serde_json::{Map, Value, json};

use super::inspect::{Docker, Facts};
use crate::model::{Failure, Host, InfraSpec};
use crate::world::quote::quote;

/// What every script begins with. `quiet` runs a command, and shows its last lines and gives up when it
/// fails.
pub const BASICS: &str = r#"set -u
LC_ALL=C; PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 022
give_up() { printf 'stagecraft-reason: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
# In memory, where it can be had: nothing of it outlives the machine's next start.
work=$(mktemp -d /run/stagecraft.XXXXXX 2>/dev/null || mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM PIPE
# A file in its place, whole or not at all.
put() {
  cp "$1" "$2.stagecraft" && chmod 644 "$2.stagecraft" && mv "$2.stagecraft" "$2" && return 0
  rm -f "$2.stagecraft"
  give_up "$2 can not be written"
}
# What it starts keeps no lock, which is at 9.
quiet() {
  "$@" >"$work/log" 2>&1 </dev/null 9>&- && return 0
  tail -n 15 "$work/log" >&2
  give_up "this failed: $*"
}
"#;

/// Functions for installing packages, after the basics. `candidate` says which version of a package could be
/// had. Nothing that is there is removed for something that comes.
pub const PACKAGES: &str = r#"
DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
export DEBIAN_FRONTEND NEEDRESTART_MODE
# A new machine may still be at its own first installations.
if has cloud-init; then timeout 600 cloud-init status --wait >/dev/null 2>&1 || :; fi
# What was interrupted in the middle is finished before anything else.
for pause in 1 2 5 10 20 30 60 0; do
  [ -n "$(dpkg --audit 2>/dev/null)" ] || break
  dpkg --force-confdef --force-confold --configure -a >"$work/log" 2>&1 </dev/null && break
  sleep "$pause"
done
updated=
# The lists may be locked by the machine's own first update, which takes minutes.
update() {
  [ -z "$updated" ] || return 0
  for pause in 2 5 10 20 40 60 80 100 0; do
    apt-get update -q -o APT::Update::Error-Mode=any >"$work/log" 2>&1 </dev/null && { updated=yes; return 0; }
    grep -q 'Could not get lock\|Temporary failure\|Could not resolve\|timed out' "$work/log" || break
    sleep "$pause"
  done
  tail -n 15 "$work/log" >&2
  give_up 'the lists of packages could not be had: apt-get update'
}
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p' | grep -v '^(none)'; }
packages() {
  quiet apt-get install -y -q --no-install-recommends --no-remove -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}
. /etc/os-release
"#;

/// Docker's own repository, unless its packages can be had already. That it serves this system is seen
/// before apt is told of it: an entry that it can't follow breaks every update.
const REPOSITORY: &str = r#"
repository() {
  update
  [ -z "$(candidate "$1")" ] || return 0
  packages ca-certificates curl
  at=https://download.docker.com/linux/$ID
  quiet curl -fsSL "$at/dists/$VERSION_CODENAME/Release" -o "$work/release"
  mkdir -p /etc/apt/keyrings
  quiet curl -fsSL "$at/gpg" -o "$work/docker.asc"
  put "$work/docker.asc" /etc/apt/keyrings/stagecraft-docker.asc
  printf 'deb [arch=%s signed-by=/etc/apt/keyrings/stagecraft-docker.asc] %s %s stable\n' \
    "$(dpkg --print-architecture)" "$at" "$VERSION_CODENAME" >"$work/docker.list"
  put "$work/docker.list" /etc/apt/sources.list.d/stagecraft-docker.list
  updated=
  update
}
"#;

/// Which packages there are differs: Docker's, Ubuntu's, and Debian's, which was version 1 until Debian 12.
const COMPOSE: &str = r#"
compose_package() {
  for package in docker-compose-plugin docker-compose-v2; do
    [ -z "$(candidate "$package")" ] || { echo "$package"; return 0; }
  done
  case $(candidate docker-compose) in 1.* | '') ;; *) echo docker-compose ;; esac
}
"#;

const ENGINE: &str = r#"
answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
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
  packages unattended-upgrades
fi
if ! on Update-Package-Lists || ! on Unattended-Upgrade; then
  printf 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n' >"$work/periodic"
  put "$work/periodic" /etc/apt/apt.conf.d/99stagecraft
fi
"#;

/// The script that makes a host what it should be.
///
/// # Errors
/// The host is of a sort that is not supported.
pub fn script(host: &Host, facts: &Facts, wanted: &InfraSpec) -> Result<String, Failure> {
    is_root(host, facts)?;
    let text = |name: &str| wanted.value(name).and_then(Value::as_str);
    let mut parts = vec![BASICS.to_owned(), PACKAGES.to_owned()];
    if text("docker").is_some() {
        let distribution = text("source") == Some("distribution");
        let absent = facts.docker == Docker::Absent;
        if absent || !facts.compose {
            is_supported(host, facts)?;
            parts.push(REPOSITORY.to_owned());
            parts.push(COMPOSE.to_owned());
        }
        if !facts.compose && distribution {
            // Said before anything is installed.
            parts.push(
                "update\n[ -n \"$(compose_package)\" ] || give_up \"$PRETTY_NAME has no package of the \
                 Compose plugin; set \\`bootstrap: { docker: docker }\\`\"\n"
                    .to_owned(),
            );
        }
        if absent {
            parts.push(configuration(facts));
            // Debian has the command in a package of its own from 13 on.
            let packages = match distribution {
                true => {
                    "update\nset -- docker.io\n[ -z \"$(candidate docker-cli)\" ] || set -- \"$@\" docker-cli\n\
                         packages \"$@\"\n"
                }
                false => {
                    "repository docker-ce\npackages docker-ce docker-ce-cli containerd.io docker-buildx-plugin\n"
                }
            };
            parts.push(packages.to_owned());
        }
        if !facts.compose {
            let packages = match distribution {
                true => "packages \"$(compose_package)\"\n",
                false => "repository docker-compose-plugin\npackages docker-compose-plugin\n",
            };
            parts.push(packages.to_owned());
        }
        parts.push(ENGINE.to_owned());
    }
    if wanted.value("unattended_upgrades") == Some(&Value::Bool(true)) && !facts.upgrades {
        is_supported(host, facts)?;
        parts.push(UPGRADES.to_owned());
    }
    Ok(parts.concat())
}

/// Whether we are somebody there who may set it up.
pub fn is_root(host: &Host, facts: &Facts) -> Result<(), Failure> {
    match facts.root {
        true => Ok(()),
        false => Err(Failure::new(format!("{} is set up by root alone", host.name))
            .hint("set `user: root` at the host")),
    }
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
         put \"$work/daemon.json\" /etc/docker/daemon.json\n",
        quote(&text)
    )
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::model::{Attribute, Rule};

    /// Runs a script on a made-up system, where `apt-get`, `curl` and the like note what they are asked.
    fn rehearse(script: &str) -> (bool, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let put = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write(place(name), format!("#!/bin/sh\n{text}\n")).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(place(name), mode).unwrap();
        };
        for name in ["apt-get", "curl", "systemctl", "service", "mkdir", "cp", "mv", "chmod"] {
            let calls = place("calls");
            put(name, &format!("echo {name} \"$@\" >>{}", calls.display()));
        }
        // After the installation there is an engine.
        put("docker", "exit 0");
        put("dpkg", "[ \"$1\" = --audit ] || echo amd64");
        put("dpkg-query", "exit 1");
        put("apt-config", "exit 0");
        put("apt-cache", "exit 0");
        let release = "ID=debian VERSION_ID=13 VERSION_CODENAME=trixie PRETTY_NAME='Debian 13'";
        let script = script.replace(". /etc/os-release", release).replace(
            "PATH=$PATH:/usr/local/sbin",
            &format!("PATH={}:$PATH:/usr/local/sbin", folder.path().display()),
        );
        let script = script.replace(">/etc/apt", ">/dev/null #").replace("tail -n 15", "cat");
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        let calls = std::fs::read_to_string(place("calls")).unwrap_or_default();
        (output.status.success(), calls, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn wanted(source: &str) -> InfraSpec {
        let attribute = |value: Value| Attribute { value, rule: Rule::InPlace };
        let attributes = [
            ("docker".to_owned(), attribute("installed".into())),
            ("source".to_owned(), attribute(source.into())),
            ("unattended_upgrades".to_owned(), attribute(true.into())),
        ];
        InfraSpec { name: "app-1".into(), attributes: attributes.into() }
    }

    #[test]
    fn dockers_own_packages_come_from_its_repository() {
        let facts = Facts { id: "debian".into(), root: true, ..Facts::default() };
        let script = script(&Host::named("app-1"), &facts, &wanted("docker")).unwrap();
        let (done, calls, said) = rehearse(&script);
        assert!(done, "{said}\n{calls}");
        let order = [
            "curl -fsSL https://download.docker.com/linux/debian/dists/trixie/Release",
            "curl -fsSL https://download.docker.com/linux/debian/gpg",
            "stagecraft-docker.list",
            "docker-ce docker-ce-cli containerd.io docker-buildx-plugin",
            "docker-compose-plugin",
            "unattended-upgrades",
        ];
        let mut from = 0;
        for part in order {
            let at = calls[from..].find(part);
            from += at.unwrap_or_else(|| panic!("no {part:?} after {from} in:\n{calls}"));
        }
        assert!(
            calls
                .lines()
                .filter(|line| line.contains(" install "))
                .all(|line| { line.contains("--no-remove") && line.contains("--force-confold") })
        );
    }

    #[test]
    fn a_distribution_without_the_plugin_is_told_before_anything_is_installed() {
        let facts = Facts { id: "debian".into(), root: true, ..Facts::default() };
        let script = script(&Host::named("app-1"), &facts, &wanted("distribution")).unwrap();
        let (done, calls, said) = rehearse(&script);
        assert!(!done && said.contains("Debian 13 has no package of the Compose plugin"), "{said}");
        assert!(!calls.contains(" install "), "{calls}");
    }

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
