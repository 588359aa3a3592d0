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
    let object = |it: &Mounted| {
        let disk = disks.get(&it.device).map_or(it.device.clone(), Address::to_string);
        let mut attributes = BTreeMap::from([
            ("disk".to_owned(), json!(disk)),
            ("machine".to_owned(), json!(Address::machine(host).to_string())),
            ("path".to_owned(), json!(it.path)),
            ("mounted".to_owned(), json!(it.mounted)),
        ]);
        attributes.extend(it.gibibytes().map(|size| ("size_gib".to_owned(), json!(size))));
        let (id, name) = (it.name.clone(), it.name.clone());
        InfraObject { id, name, attributes, given: BTreeMap::new() }
    };
    facts.mounts.iter().map(|it| (Address::mount(host, &it.name), object(it))).collect()
}

impl Hosts {
    /// Puts a disk, which is a device there, where it should be, whatever of that is done already.
    ///
    /// # Errors
    /// The host can't be reached, the disk does not show up or has no file system, or the place is taken.
    pub fn mount(&self, host: &Host, device: &str, wanted: &InfraSpec) -> Result<(), Failure> {
        is_root(host, &self.await_facts(host)?)?;
        let path = wanted.value("path").and_then(Value::as_str).unwrap_or_default();
        let script = format!(
            "{BASICS}name={} device={} path={}\n{TABLE}{TAKE_AWAY}{PUT}",
            quote(&wanted.name),
            quote(device),
            quote(path)
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
/// the kernel. `ours` says the path that a line of ours has for the disk; `others` says all other lines; `keep` writes
/// the table anew.
const TABLE: &str = r#"
[ -e /etc/fstab ] || : >>/etc/fstab
own=",x-stagecraft.disk=$name,"
ours() { awk -v own="$own" 'index("," $4 ",", own) && $1 !~ /^#/ { print $2; exit }' /etc/fstab; }
others() { awk -v own="$own" '!index("," $4 ",", own) || $1 ~ /^#/' /etc/fstab; }
keep() {
  cp -p /etc/fstab /etc/fstab.stagecraft && cat >/etc/fstab.stagecraft || give_up 'fstab can not be written'
  sync /etc/fstab.stagecraft && mv /etc/fstab.stagecraft /etc/fstab
  if [ -d /run/systemd/system ]; then quiet systemctl daemon-reload; fi
}
"#;

/// Leaves the place that a disk had, unless it is the one that it should have. Containers have mounts of
/// their own, which hold nobody up: `user` says which process has one that this shell has not. (The cloud's own
/// agent may have mounted the disk somewhere else besides; that is nobody's business here.)
const TAKE_AWAY: &str = r#"
was=$(ours)
if [ -n "$was" ] && [ "$was" != "$path" ] && number=$(findmnt -n -o MAJ:MIN -M "$was"); then
  number=$(echo $number)
  umount "$was" 2>"$work/log" || { cat "$work/log" >&2; give_up "something there uses $was; stop it first"; }
  here=$(awk -v number="$number" '$3 == number { print $4, $5 }' "/proc/$$/mountinfo")
  user=$(grep -Hs "^[0-9]* [0-9]* $number " /proc/[0-9]*/mountinfo | while read -r where _ _ root at _; do
    printf '%s\n' "$here" | grep -Fxq "$root $at" || { echo "${where%%/mountinfo:*}"; break; }
  done)
  if [ -n "$user" ]; then
    mount "$was"
    give_up "$(cat "$user/comm") uses $was there; stop it first"
  fi
fi
"#;

const FORGET: &str = "others | keep\n";

/// The disk is never formatted here: what looks empty may be somebody's data. Docker waits for it at every
/// start, so that nothing finds an empty folder where its data should be, and does not start without it.
const PUT: &str = r#"
for pause in 0.2 0.5 1 2 3 5 10 20 20; do
  [ -b "$device" ] && break
  sleep "$pause"
done
[ -b "$device" ] || give_up "its disk does not show up as $device"
kind=$(blkid -p -o value -s TYPE "$device")
[ -n "$kind" ] || give_up "there is no file system on the disk; if nothing is on it, run there: mkfs.ext4 $device"
if others | awk -v path="$path" '$1 !~ /^#/ && $2 == path { found = 1 } END { exit !found }'; then
  give_up "/etc/fstab has something else at $path"
fi
mkdir -p "$path" || give_up "$path can not be made"
mounted=$(findmnt -n -o SOURCE -M "$path" | tail -n 1)
if [ -n "$mounted" ]; then
  [ "$(readlink -f "$mounted")" = "$(readlink -f "$device")" ] || give_up "something else is mounted at $path: $mounted"
elif [ -n "$(ls -A "$path" | grep -vx lost+found)" ]; then
  give_up "there are files in $path, which the disk would hide; move them away first"
fi
options="noatime,nofail,x-systemd.before=docker.service,x-systemd.required-by=docker.service,x-stagecraft.disk=$name"
{ others && printf '%s %s %s %s 0 2\n' "$device" "$path" "$kind" "$options"; } >"$work/fstab"
cmp -s "$work/fstab" /etc/fstab || keep <"$work/fstab"
[ -n "$mounted" ] || quiet mount "$path"
case $kind in ext*) quiet resize2fs "$device" ;; esac
if [ -d /run/systemd/system ] && systemctl -q is-enabled docker 2>/dev/null; then quiet systemctl start docker; fi
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
        // A file system that nothing is known of may be as large as it likes.
        assert_eq!(size(&mounted(20 * GIB, None)), None);
        let (address, object) = &read("db-1", &mounted(GIB, None), &disks)[0];
        assert_eq!(address, &Address::mount("db-1", "data"));
        assert_eq!(object.attributes["disk"], "disk.db-1/data");
    }
}
