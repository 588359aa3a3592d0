//! What is on a host, asked in one round trip.

use crate::model::{Blocked, BlockedReason};
use crate::world::transport::Output;

/// Says one fact on each line, and `end` when it has said all.
pub const SCRIPT: &str = r#"set -u
LC_ALL=C; PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
has() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s %s\n' "$1" "$2"; }
say user "$(id -u)"
if [ -r /etc/os-release ]; then
  (. /etc/os-release; say id "${ID-}"; say version "${VERSION_ID-}"; say codename "${VERSION_CODENAME-}")
fi
if has docker; then
  if timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then say docker answers
  elif has dockerd; then say docker silent
  fi
  if docker compose version >/dev/null 2>&1; then say compose yes; fi
fi
if has apt-config && dpkg-query -W -f '${Status}\n' unattended-upgrades 2>/dev/null | grep -q '^install ok installed'; then
  # Upgrades need lists, and somebody has to fetch them.
  on() { case $(apt-config dump "APT::Periodic::$1") in *'"0"'* | '') return 1 ;; esac; }
  if on Update-Package-Lists && on Unattended-Upgrade; then say upgrades yes; fi
fi
if [ -r /etc/docker/daemon.json ]; then say engine "$(tr -d '\n\r' </etc/docker/daemon.json)"; fi
if [ "$(cat /proc/sys/net/ipv4/ip_nonlocal_bind 2>/dev/null)" = 1 ] &&
  cat /etc/sysctl.conf /etc/sysctl.d/*.conf 2>/dev/null | grep -q '^ *net[./]ipv4[./]ip_nonlocal_bind *= *1'; then say early yes; fi
if has tailscale; then say tailscale "$(timeout 10 tailscale status --json 2>/dev/null | tr -d '\n\r')"; fi
if [ -r /etc/fstab ]; then while read -r device path kind options rest; do
  case $device,$options in '#'*) continue ;; *,*x-stagecraft.disk=*) ;; *) continue ;; esac
  name=${options##*x-stagecraft.disk=}; name=${name%%,*}
  real=$(readlink -f "$device"); bytes=-; used=-; mounted=no
  if [ -b "$real" ]; then
    set -- $(findmnt -n -o SOURCE,OPTIONS -M "$path" | tail -n 1)
    if [ "${1-}" = "$real" ]; then case ,${2-}, in *,ro,*) ;; *) mounted=yes ;; esac; fi
    bytes=$(blockdev --getsize64 "$real" 2>/dev/null) || bytes=-
    case $kind in
      ext*) used=$(dumpe2fs -h "$real" 2>/dev/null | awk -F: '/^Block count/ { n = $2 } /^Block size/ { s = $2 } END { printf "%.0f", n * s }') ;;
    esac
  fi
  say mount "$name $device $path $mounted $bytes $used"
done 2>/dev/null </etc/fstab; fi
say end .
"#;

/// How far a host's Docker engine is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Docker {
    /// There is no engine.
    #[default]
    Absent,
    /// There is one, and it does not answer.
    Silent,
    /// It answers.
    Answers,
}

/// A place for a disk on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The disk's name.
    pub name: String,
    /// The device that should be there.
    pub device: String,
    /// The place.
    pub path: String,
    /// Whether it is there.
    pub mounted: bool,
    /// The device's size.
    pub bytes: Option<u64>,
    /// How much of it the file system has.
    pub used: Option<u64>,
}

impl Mounted {
    /// The size of the file system: the device's, where it has all of that but for a remainder that a file
    /// system may leave at the end.
    pub fn gibibytes(&self) -> Option<u64> {
        const GIB: u64 = 1 << 30;
        const REMAINDER: u64 = 128 << 20;
        let (bytes, used) = (self.bytes?, self.used?);
        Some(if used + REMAINDER >= bytes { bytes } else { used }.div_ceil(GIB))
    }

    fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let &[name, device, path, mounted, bytes, used] = words.as_slice() else { return None };
        Some(Self {
            name: name.to_owned(),
            device: device.to_owned(),
            path: path.to_owned(),
            mounted: mounted == "yes",
            bytes: bytes.parse().ok(),
            used: used.parse().ok().filter(|used| *used > 0),
        })
    }
}

/// What is on a host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// `ID` of its os-release: `debian`, `ubuntu`, ….
    pub id: String,
    /// `VERSION_ID` of it: `12`, `24.04`, ….
    pub version: String,
    /// Whether commands run as root there.
    pub root: bool,
    /// Whether there is a Docker engine.
    pub docker: Docker,
    /// Whether Docker has the Compose plugin.
    pub compose: bool,
    /// Whether it installs security updates by itself.
    pub upgrades: bool,
    /// The engine's configuration file, if there is one.
    pub engine: Option<String>,
    /// Whether programs may listen on an address before the host has it, also after its next start.
    pub binds_early: bool,
    /// The places that it has for disks of ours.
    pub mounts: Vec<Mounted>,
    /// What its Tailscale client says of itself, if there is one; nothing where that is not running.
    pub tailscale: Option<String>,
}

impl Facts {
    /// Whether it is of a sort that can be made ready.
    pub fn is_supported(&self) -> bool {
        ["debian", "ubuntu"].contains(&self.id.as_str())
    }

    /// The system and its version, for people.
    pub fn system(&self) -> String {
        match self.id.is_empty() {
            true => "a system that does not say what it is".to_owned(),
            false => format!("{} {}", self.id, self.version).trim_end().to_owned(),
        }
    }
}

/// Reads the script's answer.
///
/// # Errors
/// It stopped in the middle.
pub fn read(output: &Output) -> Result<Facts, Blocked> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut facts = Facts::default();
    let mut ended = false;
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "user" => facts.root = rest == "0",
            "id" => facts.id = rest.to_owned(),
            "version" => facts.version = rest.to_owned(),
            "docker" if rest == "answers" => facts.docker = Docker::Answers,
            "docker" => facts.docker = Docker::Silent,
            "compose" => facts.compose = true,
            "upgrades" => facts.upgrades = true,
            "engine" => facts.engine = Some(rest.to_owned()),
            "early" => facts.binds_early = true,
            "mount" => facts.mounts.extend(Mounted::read(rest)),
            "tailscale" => facts.tailscale = Some(rest.to_owned()),
            "end" => ended = true,
            // A log-in may say something of its own.
            _ => {}
        }
    }
    match ended {
        true => Ok(facts),
        false => Err(Blocked {
            reason: BlockedReason::HalfAnswer,
            detail: output.stderr.lines().last().unwrap_or("no end to the answer").to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stdout: &str) -> Output {
        let stdout = stdout.as_bytes().to_vec();
        Output { status: 0, stdout, stderr: String::new(), truncated: false }
    }

    #[test]
    fn facts_are_read_and_half_an_answer_is_none() {
        let whole = "Welcome\nuser 0\nid debian\nversion 12\ndocker answers\nmount data /dev/one /srv yes \
                     2147483648 -\ntailscale {}\nend .\n";
        let facts = read(&answer(whole)).unwrap();
        assert!(
            facts.root && facts.docker == Docker::Answers && !facts.compose && facts.is_supported()
        );
        assert_eq!(facts.system(), "debian 12");
        let mounted = &facts.mounts[0];
        assert_eq!((&*mounted.path, mounted.mounted, mounted.used), ("/srv", true, None));
        assert_eq!(facts.tailscale.as_deref(), Some("{}"));
        let half = read(&answer("user 0\nid debian\n")).unwrap_err();
        assert_eq!(half.reason, BlockedReason::HalfAnswer);
    }
}
