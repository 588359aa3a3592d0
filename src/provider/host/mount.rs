//! Disks in their places on hosts: mounted, also after a start, before Docker runs.
//! Sources: fstab(5), mount(8), systemd.mount(5).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::Hosts;
use super::inspect::{Facts, Mounted};
use super::install::{BASICS, is_root};
use crate::config::stagecraft::Environment;
use crate::model::{Address, Failure, Host, InfraObject, InfraSpec, Resource, Rule, Spec};
use crate::world::quote::quote;

/// How long a file system may take to be checked and to grow.
const TIME: Duration = Duration::from_secs(1200);
/// Where every disk is to be that the configuration gives a place.
pub fn resources(environment: &Environment) -> BTreeMap<Address, Resource> {
    let mut resources = BTreeMap::new();
    let made = environment.machines.iter().filter(|(_, machine)| machine.made);
    for (host, volume) in made.flat_map(|(host, it)| it.volumes.iter().map(move |it| (host, it))) {
        let Some(path) = &volume.mount else { continue };
        let name = &*volume.name.value.0;
        let (machine, disk) = (Address::machine(host), Address::disk(host, name));
        let attributes = [
            ("disk", disk.to_string().into(), Rule::InPlace),
            ("machine", machine.to_string().into(), Rule::InPlace),
            ("path", path.value.0.as_str().into(), Rule::InPlace),
            ("mounted", true.into(), Rule::InPlace),
            // A smaller disk is another one.
            ("size_gib", volume.size.0.into(), Rule::InPlace),
        ];
        let spec = Spec::Infra(InfraSpec::new(name, attributes));
        resources
            .insert(Address::mount(host, name), Resource { spec, after: [machine, disk].into() });
    }
    resources
}

/// The places that a host has for disks. `disks` are the environment's by the device that each has on it.
pub fn read(
    host: &str,
    facts: &Facts,
    disks: &BTreeMap<String, Address>,
) -> Vec<(Address, InfraObject)> {
    let object = |it: &Mounted, is_only: bool| {
        let disk = disks.get(&it.device).map_or(it.device.clone(), Address::to_string);
        let mut attributes = BTreeMap::from([
            ("disk".to_owned(), json!(disk)),
            ("machine".to_owned(), json!(Address::machine(host).to_string())),
            ("path".to_owned(), json!(it.path)),
            ("mounted".to_owned(), json!(it.mounted && is_only)),
        ]);
        attributes.extend(it.gibibytes().map(|size| ("size_gib".to_owned(), json!(size))));
        let (id, name) = (it.name.clone(), it.name.clone());
        InfraObject { id, name, attributes, given: BTreeMap::new() }
    };
    let mut lines: BTreeMap<&str, Vec<&Mounted>> = BTreeMap::new();
    for it in &facts.mounts {
        lines.entry(&it.name).or_default().push(it);
    }
    // A line that somebody has copied is mended by writing the one that it should be.
    let mounts = lines.into_iter().filter_map(|(name, lines)| {
        let (first, others) = lines.split_first()?;
        Some((Address::mount(host, name), object(first, others.is_empty())))
    });
    mounts.collect()
}

impl Hosts {
    /// Puts a disk, which is a device there, where it should be, whatever of that is done already.
    ///
    /// # Errors
    /// The host can't be reached, the disk does not show up or has no file system, or the place is taken.
    pub fn mount(&self, host: &Host, device: &str, wanted: &InfraSpec) -> Result<(), Failure> {
        is_root(host, &self.await_facts(host)?)?;
        let path = wanted.value("path").and_then(Value::as_str).unwrap_or_default();
        let size = wanted.value("size_gib").and_then(Value::as_u64).unwrap_or_default();
        let script = format!(
            "{BASICS}name={} device={} path={} less={}\n{TABLE}{CHECK}{TAKE_AWAY}{PUT}",
            quote(&wanted.name),
            quote(device),
            quote(path),
            // A disk may have a little less than it is said to have.
            size.saturating_sub(1) << 30,
        );
        self.run(host, &script, TIME)
    }

    /// Takes a disk away from where it was. What is on it stays.
    ///
    /// # Errors
    /// The host can't be reached, or something there still uses it.
    pub fn unmount(&self, host: &Host, name: &str) -> Result<(), Failure> {
        is_root(host, &self.await_facts(host)?)?;
        let script = format!("{BASICS}name={} path=\n{TABLE}{TAKE_AWAY}{FORGET}", quote(name));
        self.run(host, &script, TIME)
    }
}

/// A line of fstab is ours by an option, `x-stagecraft.disk=NAME`; those that begin with `x-` mean nothing to
/// the kernel. `ours` says the device and the path that a line of ours has for the disk; `others` says all other
/// lines; `keep` writes the table anew, with a line of ours or without one. `holder` says which process has a mount
/// of a folder of a file system that this shell has not: containers have mounts of their own.
const TABLE: &str = r#"
mkdir -p /run/lock && : >>/run/lock/stagecraft-fstab || give_up '/run/lock can not be written'
exec 9>>/run/lock/stagecraft-fstab
flock -w 600 9 || give_up 'something else of ours has been at /etc/fstab for ten minutes'
[ -e /etc/fstab ] || : >>/etc/fstab
table=$(readlink -f /etc/fstab)
own=",x-stagecraft.disk=$name,"
ours() { awk -v own="$own" 'index("," $4 ",", own) && $1 !~ /^#/ { print $1, $2; exit }' "$table"; }
others() { awk -v own="$own" '!index("," $4 ",", own) || $1 ~ /^#/' "$table"; }
keep() {
  new=$(mktemp "$table.XXXXXX") || give_up '/etc can not be written'
  lines=$(others | wc -l); [ -z "$1" ] || lines=$((lines + 1))
  # What is not all there must not come into force: a host without its table does not start.
  { cp -p "$table" "$new" && others >"$new" && { [ -z "$1" ] || printf '%s\n' "$1" >>"$new"; } &&
    [ "$(wc -l <"$new")" = "$lines" ] && sync "$new"; } || { rm -f "$new"; give_up '/etc/fstab can not be written'; }
  if cmp -s "$new" "$table"; then
    rm -f "$new"
  else
    mv "$new" "$table" || { rm -f "$new"; give_up '/etc/fstab can not be replaced'; }
    if [ -d /run/systemd/system ]; then quiet systemctl daemon-reload; fi
  fi
}
real() { readlink -f "${1%%\[*}"; }
# What is mounted at a path, on top of whatever else is.
mounted_at() { findmnt -n -o SOURCE -M "$1" | tail -n 1; }
holder() {
  mine=$(awk -v number="$1" '$3 == number { print $4, $5 }' "/proc/$$/mountinfo")
  grep -Hs "^[0-9]* [0-9]* $1 " /proc/[0-9]*/mountinfo | while read -r where _ _ root at _; do
    case $root in "$2" | "${2%/}"/*) ;; *) continue ;; esac
    printf '%s\n' "$mine" | grep -Fxq "$root $at" || { echo "${where%%/mountinfo:*}"; break; }
  done
}
set -- $(ours)
had=${1-} was=${2-}
# Whether what is mounted at a place of ours is ours: our device, or one that is gone, or that another line
# names otherwise.
is_ours() {
  [ "$(real "$1")" != "$(real "$had")" ] || return 0
  case $1 in /dev/*) [ ! -b "${1%%\[*}" ] || [ ! -b "$(real "$had")" ] ;; *) false ;; esac
}
"#;

/// Leaves the place that a disk had, unless it is the one that it should have; what somebody else has mounted
/// there is not ours to take away. (The cloud's own agent may have mounted the disk somewhere else besides; that is
/// nobody's business here.)
const TAKE_AWAY: &str = r#"
if [ -n "$was" ] && [ "$was" != "$path" ]; then
  while at=$(mounted_at "$was") && [ -n "$at" ] && is_ours "$at"; do
    number=$(findmnt -n -o MAJ:MIN -M "$was" | tail -n 1)
    number=$(echo $number)
    umount "$was" 2>"$work/log" || { cat "$work/log" >&2; give_up "something there uses $was; stop it first"; }
    user=$(holder "$number" /)
    if [ -n "$user" ]; then
      mount "$was" 9>&-
      give_up "$(cat "$user/comm") uses $was there; stop it first"
    fi
  done
fi
"#;

const FORGET: &str = "keep ''\n";

/// What has to be so before a disk can have its place, looked at before anything is changed.
const CHECK: &str = r#"
case $path in "${was:-/}"/*) give_up "$path is below $was, where the disk is: run \`stagecraft infra up\` without its \`mount\` first" ;; esac
for pause in 0.2 0.5 1 2 3 5 10 20 20; do
  [ -b "$device" ] && break
  sleep "$pause"
done
[ -b "$device" ] || give_up "its disk does not show up as $device"
kind=$(blkid -p -o value -s TYPE "$device")
[ -n "$kind" ] || give_up "there is no file system on the disk; if nothing is on it, run there: mkfs.ext4 $device"
if others | awk -v path="$path" '$1 !~ /^#/ && $2 == path { found = 1 } END { exit !found }'; then
  give_up "/etc/fstab has something else at $path; a disk that is to leave it has to do so first: run \`stagecraft infra up\` without this one"
fi
mkdir -p "$path" || give_up "$path can not be made"
mounted=$(mounted_at "$path")
if [ -n "$mounted" ]; then
  [ "$(real "$mounted")" = "$(real "$device")" ] || give_up "something else is mounted at $path: $mounted"
else
  [ -z "$(ls -A "$path" | grep -vx lost+found)" ] || give_up "there are files in $path, which the disk would hide; move them away first"
  # Who has the folder would go on writing to what is below.
  set -- $(findmnt -n -o MAJ:MIN,FSROOT,TARGET -T "$(real "$path")" | tail -n 1)
  below=$(real "$path"); below=${2%/}/${below#"${3%/}"/}
  user=$(holder "$1" "$below")
  [ -z "$user" ] || give_up "$(cat "$user/comm") uses $path there, without the disk; stop it first"
fi
"#;

/// The disk is never formatted here: what looks empty may be somebody's data. Docker and what it keeps its
/// images with wait for it at every start, so that nothing finds an empty folder where its data should be, and
/// do not start without it. A line is written only for what can be mounted.
const PUT: &str = r#"
back() { [ -z "$was" ] || [ "$was" = "$path" ] || mount "$was" 9>&-; }
leave() { [ -n "$mounted" ] || umount "$path"; back; }
if [ -z "$mounted" ] && ! mount -t "$kind" -o noatime "$device" "$path" 2>"$work/log" 9>&-; then
  cat "$work/log" >&2
  back
  give_up "the disk can not be mounted at $path"
fi
case ,$(findmnt -n -o OPTIONS -M "$path" | tail -n 1), in *,ro,*)
  leave
  give_up "the disk can only be read; see what is wrong with it there: dmesg" ;;
esac
options=noatime,nofail,x-systemd.wanted-by=local-fs.target
for unit in docker containerd; do options=$options,x-systemd.before=$unit.service,x-systemd.required-by=$unit.service; done
(keep "$device $path $kind $options,x-stagecraft.disk=$name 0 2") || { leave; exit 1; }
if [ -d /run/systemd/system ] && systemctl -q is-enabled docker 2>/dev/null; then quiet systemctl start docker; fi
for pause in 0.5 1 2 5 10 20; do
  [ "$(blockdev --getsize64 "$device")" -le "$less" ] || break
  sleep "$pause"
done
[ "$(blockdev --getsize64 "$device")" -gt "$less" ] || give_up "the disk at $path is still smaller there than it should be"
case $kind in
  ext*) quiet resize2fs "$device" ;;
  xfs) quiet xfs_growfs "$path" ;;
  btrfs) quiet btrfs filesystem resize max "$path" ;;
esac
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(bytes: u64, used: Option<u64>) -> Facts {
        let mounts = vec![Mounted {
            name: "data".into(),
            device: "/dev/disk/by-id/one".into(),
            path: "/srv/data".into(),
            mounted: true,
            bytes: Some(bytes),
            used,
        }];
        Facts { mounts, ..Facts::default() }
    }

    #[test]
    fn a_file_system_that_does_not_fill_its_disk_is_told_by_its_own_size() {
        const GIB: u64 = 1 << 30;
        let disks =
            BTreeMap::from([("/dev/disk/by-id/one".to_owned(), Address::disk("db-1", "data"))]);
        let size =
            |facts: &Facts| read("db-1", facts, &disks)[0].1.attributes.get("size_gib").cloned();
        assert_eq!(size(&mounted(20 * GIB, Some(20 * GIB - 4096))), Some(json!(20)));
        assert_eq!(size(&mounted(20 * GIB, Some(10 * GIB))), Some(json!(10)));
        // A line that is there twice is not as it should be.
        let mut twice = mounted(GIB, None);
        twice.mounts.push(Mounted { path: "/mnt".into(), ..twice.mounts[0].clone() });
        let found = read("db-1", &twice, &disks);
        assert_eq!((found.len(), &found[0].1.attributes["mounted"]), (1, &json!(false)));
        // A file system that nothing is known of may be as large as it likes.
        assert_eq!(size(&mounted(20 * GIB, None)), None);
        let (address, object) = &read("db-1", &mounted(GIB, None), &disks)[0];
        assert_eq!(address, &Address::mount("db-1", "data"));
        assert_eq!(object.attributes["disk"], "disk.db-1/data");
    }
}
