//! Making, changing and destroying: each looks first, so that doing it twice is doing it once.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::http::Refusal;
use super::hostkey::{self, HostKey};
use super::wait::Pace;
use super::{DigitalOcean, balancer, read, rules, wanted};
use crate::model::{Act, Address, Failure, InfraObject, InfraSpec, Kind};

/// How long a machine may take to shut down before its power is cut.
const SHUTDOWN: Duration = Duration::from_secs(90);
/// How often an object is ordered again whose order was never heard of, and how often it is looked for before.
const TRIES: u32 = 2;
const LOOKS: u32 = 4;

impl DigitalOcean {
    /// Makes, changes or destroys an object, and waits until that is done.
    ///
    /// # Errors
    /// It could not be done, or it is not known whether it was.
    pub fn carry_out(&self, act: &Act) -> Result<(), Failure> {
        let (verb, address, result) = match act {
            Act::CreateObject { address, object } => {
                ("make", address, self.create(address, object))
            }
            Act::ChangeObject { address, id, object, attributes } => {
                ("change", address, self.change(address, id, object, attributes))
            }
            Act::DestroyObject { address, id } => ("destroy", address, self.destroy(address, id)),
            other => {
                return Err(Failure::new(format!("a cloud can't {} anything", other.name())));
            }
        };
        result.map_err(|refusal| refusal.failure(&format!("could not {verb} {address}")))
    }

    /// The device that the disk at an address is on the machine that has it; none where there is no such disk.
    ///
    /// # Errors
    /// The cloud can't be asked.
    pub fn device_of(&self, disk: &Address) -> Result<Option<String>, Failure> {
        let found = self.object_at(disk).map_err(|refusal| refusal.failure(super::UNASKED))?;
        Ok(found.map(|disk| super::device(&disk.name)))
    }

    /// The id of the environment's object at an address.
    pub(super) fn id_of(&self, address: &Address) -> Result<Option<String>, Refusal> {
        Ok(self.object_at(address)?.map(|object| object.id))
    }

    /// The environment's object at an address.
    pub(super) fn object_at(&self, address: &Address) -> Result<Option<InfraObject>, Refusal> {
        let site = &self.site;
        let found = match address.kind() {
            Kind::Machine => self
                .machines()?
                .iter()
                .map(|it| read::machine(site, it, &Default::default()))
                .find(|(found, _)| found == address),
            Kind::Disk => self
                .list("/v2/volumes", "volumes")?
                .iter()
                .filter_map(|it| read::disk(site, it, &Default::default()))
                .find(|(found, _)| found == address),
            Kind::Firewall => self
                .list("/v2/firewalls", "firewalls")?
                .iter()
                .filter_map(|it| read::firewall(site, it))
                .find(|(found, _)| found == address),
            Kind::ReservedIp => self
                .reserved(&self.machines_by_id()?)?
                .into_iter()
                .find(|(found, _)| found == address),
            Kind::LoadBalancer => self
                .balancers()?
                .iter()
                .filter_map(|it| balancer::read(site, it, &Default::default()))
                .find(|(found, _)| found == address),
            _ => self
                .list("/v2/vpcs", "vpcs")?
                .iter()
                .filter_map(|it| read::vpc(site, it))
                .find(|(found, _)| found == address),
        };
        Ok(found.map(|(_, object)| object))
    }

    /// The id of an object that another one refers to.
    pub(super) fn referred(&self, object: &InfraSpec, attribute: &str) -> Result<String, Refusal> {
        let address = object.value(attribute).and_then(Value::as_str).unwrap_or_default();
        let id = match address.parse::<Address>() {
            Ok(address) => self.id_of(&address)?,
            Err(_) => None,
        };
        id.ok_or_else(|| {
            let message = format!("`{attribute}` is {address}, which is not there");
            Refusal::Said { status: 404, message }
        })
    }

    fn create(&self, address: &Address, object: &InfraSpec) -> Result<(), Refusal> {
        match address.kind() {
            Kind::Zone => return self.make_zone(address.scope()),
            Kind::Dns => return self.settle_name(address, object),
            Kind::Project => return self.settle_project(address, object),
            _ => {}
        }
        let id = self.create_once(address, object)?;
        match address.kind() {
            Kind::Machine => self.until("the machine to run", || {
                let it = self.api.get(&format!("/v2/droplets/{id}"))?;
                Ok(read::power(&it["droplet"]) == "on")
            }),
            Kind::Disk => self.attach(&id, object),
            Kind::ReservedIp => self.settle_ip(address, &id, object),
            Kind::LoadBalancer => self.await_balancer(&id),
            _ => Ok(()),
        }
    }

    fn await_balancer(&self, id: &str) -> Result<(), Refusal> {
        self.until("the load balancer to serve", || {
            let it = self.api.get(&format!("/v2/load_balancers/{id}"))?;
            match it["load_balancer"]["status"].as_str() {
                Some("errored") => {
                    let message =
                        "it failed at DigitalOcean; destroy it there, so that another one is made";
                    Err(Refusal::Said { status: 422, message: message.to_owned() })
                }
                status => Ok(status == Some(balancer::ACTIVE)),
            }
        })
    }

    /// Makes an object unless there is one with its mark; its id. When an answer is lost, whether it was
    /// done is seen by looking again.
    fn create_once(&self, address: &Address, object: &InfraSpec) -> Result<String, Refusal> {
        let mut tried = 0;
        let is_address = address.kind() == Kind::ReservedIp;
        loop {
            if is_address {
                self.await_addresses()?;
            }
            if let Some(id) = self.seen(address, tried > 0)? {
                return Ok(id);
            }
            let (path, key, body) = self.order(address, object)?;
            match self.patiently(|| self.api.post(path, &body)) {
                Ok(answer) => {
                    let own = if is_address { "ip" } else { "id" };
                    return Ok(read::text(&answer[key][own]));
                }
                Err(Refusal::Lost(_)) if tried < TRIES => tried += 1,
                Err(refusal @ Refusal::Said { .. }) if is_address => {
                    // No address comes of it that could be taken for ours.
                    self.forget_order(address.scope())?;
                    return Err(refusal);
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// The id of the object at an address. Where it may just have been ordered it is looked for several
    /// times: what was begun may take a moment to show in lists.
    fn seen(&self, address: &Address, ordered: bool) -> Result<Option<String>, Refusal> {
        let mut pause = Duration::from_millis(500);
        for _ in 0..if ordered { LOOKS } else { 0 } {
            if let Some(id) = self.id_of(address)? {
                return Ok(Some(id));
            }
            sleep(pause);
            pause *= 2;
        }
        self.id_of(address)
    }

    /// What has to be posted, where, and under which key the answer has the object.
    fn order(
        &self,
        address: &Address,
        object: &InfraSpec,
    ) -> Result<(&'static str, &'static str, Value), Refusal> {
        let value = |name: &str| object.value(name).cloned().unwrap_or_default();
        let description = read::description(&self.site, address);
        Ok(match address.kind() {
            Kind::Machine => {
                let key = HostKey::new().map_err(|why| {
                    let message = format!("a key for the machine can't be made: {why}");
                    Refusal::Said { status: 0, message }
                })?;
                let mut tags = value("tags");
                if let Value::Array(tags) = &mut tags {
                    tags.push(key.tag().into());
                }
                let body = json!({
                    "name": object.name, "region": value("region"), "size": value("size"),
                    "image": number_or_text(value("image")), "ssh_keys": keys(value("ssh_keys")),
                    "vpc_uuid": self.referred(object, "vpc")?, "tags": tags, "user_data": key.user_data(),
                    "backups": value("backups"), "monitoring": value("monitoring"),
                });
                ("/v2/droplets", "droplet", body)
            }
            Kind::Disk => {
                let body = json!({
                    "name": object.name, "region": value("region"),
                    "size_gigabytes": value("size_gib"), "description": description,
                    "filesystem_type": "ext4", "tags": [wanted::mark(&self.site)],
                });
                ("/v2/volumes", "volume", body)
            }
            Kind::Firewall => {
                // It can name only tags that are there.
                for tag in value("tags").as_array().into_iter().flatten() {
                    self.make_tag(tag.as_str().unwrap_or_default())?;
                }
                ("/v2/firewalls", "firewall", self.firewall(object))
            }
            Kind::ReservedIp => {
                ("/v2/reserved_ips", "reserved_ip", self.order_ip(address, object)?)
            }
            Kind::LoadBalancer => ("/v2/load_balancers", "load_balancer", self.balancer(object)?),
            _ => {
                let body = json!({
                    "name": object.name, "region": value("region"), "description": description,
                });
                ("/v2/vpcs", "vpc", body)
            }
        })
    }

    fn balancer(&self, object: &InfraSpec) -> Result<Value, Refusal> {
        // It can be for a tag only that is there.
        self.make_tag(object.value("tag").and_then(Value::as_str).unwrap_or_default())?;
        Ok(balancer::body(object, &self.referred(object, "vpc")?))
    }

    fn firewall(&self, object: &InfraSpec) -> Value {
        let value = |name: &str| object.value(name).cloned().unwrap_or_default();
        json!({
            "name": object.name,
            "inbound_rules": rules::write(&value("inbound"), true),
            "outbound_rules": rules::write(&value("outbound"), false),
            "tags": value("tags"),
        })
    }

    /// Makes a tag, unless it is there.
    pub(super) fn make_tag(&self, tag: &str) -> Result<(), Refusal> {
        match self.api.post("/v2/tags", &json!({ "name": tag })) {
            Err(Refusal::Said { status: 422, message }) => {
                self.api.get(&format!("/v2/tags/{tag}")).map(|_| ()).map_err(|refusal| {
                    let absent = refusal.is_absence();
                    if absent { Refusal::Said { status: 422, message } } else { refusal }
                })
            }
            other => other.map(|_| ()),
        }
    }

    fn change(
        &self,
        address: &Address,
        id: &str,
        object: &InfraSpec,
        attributes: &BTreeSet<String>,
    ) -> Result<(), Refusal> {
        let changes = |name: &str| attributes.contains(name);
        match address.kind() {
            Kind::Dns => self.settle_name(address, object),
            Kind::Firewall => {
                for tag in object.value("tags").and_then(Value::as_array).into_iter().flatten() {
                    self.make_tag(tag.as_str().unwrap_or_default())?;
                }
                self.api.put(&format!("/v2/firewalls/{id}"), &self.firewall(object)).map(|_| ())
            }
            Kind::Disk => {
                if changes("size_gib") {
                    let size = object.value("size_gib").cloned().unwrap_or_default();
                    self.disk_action(id, json!({ "type": "resize", "size_gigabytes": size }))?;
                }
                if changes("attached_to") {
                    self.detach(id)?;
                    self.attach(id, object)?;
                }
                Ok(())
            }
            Kind::Machine => self.change_machine(id, object, &changes),
            Kind::ReservedIp => self.settle_ip(address, id, object),
            Kind::LoadBalancer => {
                if attributes.iter().any(|name| name != "state") {
                    let path = format!("/v2/load_balancers/{id}");
                    let told = self.api.get(&path)?["load_balancer"].take();
                    let body = balancer::changed(told, self.balancer(object)?);
                    self.patiently(|| self.api.put(&path, &body))?;
                }
                self.await_balancer(id)
            }
            Kind::Project => self.settle_project(address, object),
            _ => Ok(()),
        }
    }

    fn change_machine(
        &self,
        id: &str,
        object: &InfraSpec,
        changes: &dyn Fn(&str) -> bool,
    ) -> Result<(), Refusal> {
        if changes("tags") {
            self.tag(id, object)?;
        }
        if changes("backups") {
            let wanted = object.value("backups").and_then(Value::as_bool).unwrap_or_default();
            let kind = if wanted { "enable_backups" } else { "disable_backups" };
            self.machine_action(id, json!({ "type": kind }))?;
        }
        if changes("size") {
            self.shut_down(id)?;
            let size = object.value("size").cloned().unwrap_or_default();
            // The disk stays as it is, so that the machine can become small again.
            let resized =
                self.machine_action(id, json!({ "type": "resize", "disk": false, "size": size }));
            // A size that it can't have must not leave it off.
            self.power_on(id)?;
            resized?;
        }
        if changes("power") {
            self.power_on(id)?;
        }
        Ok(())
    }

    /// Gives a machine the tags of ours that it should have, and takes those that it should not.
    fn tag(&self, id: &str, object: &InfraSpec) -> Result<(), Refusal> {
        let machine = self.api.get(&format!("/v2/droplets/{id}"))?;
        let (_, found) = read::machine(&self.site, &machine["droplet"], &Default::default());
        let list = |value: Option<&Value>| -> BTreeSet<String> {
            let tags = value.and_then(Value::as_array).into_iter().flatten();
            tags.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let (has, wants) = (list(found.attributes.get("tags")), list(object.value("tags")));
        let body = json!({ "resources": [{ "resource_id": id, "resource_type": "droplet" }] });
        for tag in wants.difference(&has) {
            self.make_tag(tag)?;
            self.api.post(&format!("/v2/tags/{tag}/resources"), &body)?;
        }
        for tag in has.difference(&wants) {
            self.api.delete(&format!("/v2/tags/{tag}/resources"), Some(&body))?;
        }
        Ok(())
    }

    fn power(&self, id: &str) -> Result<String, Refusal> {
        let it = self.api.get(&format!("/v2/droplets/{id}"))?;
        Ok(read::power(&it["droplet"]).to_owned())
    }

    fn power_on(&self, id: &str) -> Result<(), Refusal> {
        if self.power(id)? == "off" {
            self.machine_action(id, json!({ "type": "power_on" }))?;
        }
        self.until("the machine to run", || Ok(self.power(id)? == "on"))
    }

    /// Shuts a machine down by itself, or cuts its power when it takes too long.
    fn shut_down(&self, id: &str) -> Result<(), Refusal> {
        if self.power(id)? == "off" {
            return Ok(());
        }
        match self.machine_action(id, json!({ "type": "shutdown" })) {
            // It may not listen; then its power is cut below.
            Ok(()) | Err(Refusal::Said { .. }) => {}
            Err(lost) => return Err(lost),
        }
        let asked = Instant::now();
        let mut pace = Pace::default();
        while self.power(id)? != "off" {
            if asked.elapsed() > SHUTDOWN {
                return self.machine_action(id, json!({ "type": "power_off" }));
            }
            pace.wait();
        }
        Ok(())
    }

    fn attach(&self, id: &str, object: &InfraSpec) -> Result<(), Refusal> {
        let machine = self.referred(object, "attached_to")?;
        let holders = self.holders(id)?;
        if holders.contains(&machine) {
            return Ok(());
        }
        let droplet: u64 = machine
            .parse()
            .map_err(|_| Refusal::Lost(format!("the machine's id is no number: {machine}")))?;
        self.disk_action(id, json!({ "type": "attach", "droplet_id": droplet }))
    }

    /// Takes a disk off the machine that has it, which is shut down meanwhile: what it has not yet
    /// written would be lost.
    fn detach(&self, id: &str) -> Result<(), Refusal> {
        for machine in self.holders(id)? {
            let found = match self.api.get(&format!("/v2/droplets/{machine}")) {
                Err(refusal) if refusal.is_absence() => continue,
                other => other?,
            };
            let mark = wanted::mark(&self.site);
            if !read::tags(&found["droplet"]).any(|tag| tag == mark) {
                let name = &found["droplet"]["name"];
                let message = format!(
                    "it is attached to {name}, which is not of this environment; detach it by hand"
                );
                return Err(Refusal::Said { status: 409, message });
            }
            let ran = read::power(&found["droplet"]) == "on";
            self.shut_down(&machine)?;
            let droplet: u64 = machine.parse().unwrap_or_default();
            let body = json!({ "type": "detach", "droplet_id": droplet });
            let detached = self.disk_action(id, body);
            if ran {
                self.power_on(&machine)?;
            }
            detached?;
        }
        self.until("the disk to be free", || Ok(self.holders(id)?.is_empty()))
    }

    /// The ids of the machines that a disk is attached to.
    fn holders(&self, id: &str) -> Result<Vec<String>, Refusal> {
        let it = match self.api.get(&format!("/v2/volumes/{id}")) {
            Err(refusal) if refusal.is_absence() => return Ok(Vec::new()),
            other => other?,
        };
        let ids = it["volume"]["droplet_ids"].as_array().into_iter().flatten();
        Ok(ids.map(Value::to_string).collect())
    }

    fn disk_action(&self, id: &str, body: Value) -> Result<(), Refusal> {
        self.action(&format!("/v2/volumes/{id}/actions"), &body)
    }

    pub(super) fn machine_action(&self, id: &str, body: Value) -> Result<(), Refusal> {
        self.action(&format!("/v2/droplets/{id}/actions"), &body)
    }

    fn destroy(&self, address: &Address, id: &str) -> Result<(), Refusal> {
        match address.kind() {
            Kind::Machine => self.destroy_machine(id),
            Kind::Zone => self.remove_zone(id),
            Kind::Dns => self.remove_name(address),
            Kind::ReservedIp => self.give_back_ip(address, id),
            Kind::LoadBalancer => {
                let path = format!("/v2/load_balancers/{id}");
                self.api.delete(&path, None)?;
                self.is_gone("the load balancer to be gone", &path)
            }
            Kind::Project => self.remove_project(id),
            Kind::Disk => {
                self.detach(id)?;
                self.leaves(&format!("/v2/volumes/{id}"), &[409])
            }
            Kind::Firewall => {
                self.api.delete(&format!("/v2/firewalls/{id}"), None)?;
                wanted::tag(&self.site, address.scope()).map_or(Ok(()), |tag| self.drop_tag(&tag))
            }
            // Which of them it is has changed, and may lag behind what is told of it.
            _ => self.leaves(&format!("/v2/vpcs/{id}"), &[403, 409]),
        }
    }

    fn destroy_machine(&self, id: &str) -> Result<(), Refusal> {
        let path = format!("/v2/droplets/{id}");
        let machine = match self.api.get(&path) {
            Err(refusal) if refusal.is_absence() => return Ok(()),
            other => other?,
        };
        // Its disks stay, and so must what it has not yet written to them.
        let disks = machine["droplet"]["volume_ids"].as_array();
        if disks.is_some_and(|disks| !disks.is_empty()) {
            self.shut_down(id)?;
        }
        // What was ordered for it and never came.
        self.forget_order(machine["droplet"]["name"].as_str().unwrap_or_default())?;
        // Nobody else has the tag with its key.
        for tag in read::tags(&machine["droplet"]).filter(|tag| hostkey::is_tag(tag)) {
            self.api.delete(&format!("/v2/tags/{tag}"), None)?;
        }
        self.api.delete(&path, None)?;
        self.is_gone("the machine to be gone", &path)
    }

    /// Takes a tag out of the account, unless machines are known by it.
    fn drop_tag(&self, tag: &str) -> Result<(), Refusal> {
        match self.list(&format!("/v2/droplets?tag_name={tag}"), "droplets")?.is_empty() {
            true => self.api.delete(&format!("/v2/tags/{tag}"), None),
            false => Ok(()),
        }
    }
}

/// An image is named by its slug or by its number.
fn number_or_text(value: Value) -> Value {
    match value.as_str().and_then(|text| text.parse::<u64>().ok()) {
        Some(number) => number.into(),
        None => value,
    }
}

/// SSH keys are named by fingerprint or by number.
fn keys(value: Value) -> Value {
    match value {
        Value::Array(keys) => keys.into_iter().map(number_or_text).collect(),
        other => other,
    }
}
