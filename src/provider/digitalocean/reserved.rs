//! Reserved addresses. They have neither tags nor names, so tags of the account say whose they are: one before
//! an address is ordered for a host, `…:ip:HOST`, and one that says which it came to be,
//! `…:ip:HOST:203-0-113-9`, which outlives the machine that it led to.
//! Source: docs.digitalocean.com/reference/api, "Reserved IPs" and "Reserved IP Actions".

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::http::Refusal;
use super::{DigitalOcean, read, wanted};
use crate::model::{Address, InfraObject, InfraSpec};

impl DigitalOcean {
    /// The environment's reserved addresses. `machines` are the environment's by id.
    pub(super) fn reserved(
        &self,
        machines: &BTreeMap<String, Address>,
    ) -> Result<Vec<(Address, InfraObject)>, Refusal> {
        let all = self.reserved_list()?;
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let marks = self.marks()?;
        Ok(all.iter().filter_map(|it| self.reserved_one(it, &marks, machines)).collect())
    }

    /// All reserved addresses of the account.
    pub(super) fn reserved_list(&self) -> Result<Vec<Value>, Refusal> {
        self.list_allowed("/v2/reserved_ips", "reserved_ips", self.asks.0)
    }

    /// Waits until it is known where all reserved addresses lead: one that has just been ordered leads nowhere
    /// for a moment.
    pub(super) fn await_addresses(&self) -> Result<(), Refusal> {
        let is_under_way = |it: &Value| it["locked"] == true && it["droplet"].is_null();
        self.until("reserved addresses to lead somewhere", || {
            Ok(!self.reserved_list()?.iter().any(is_under_way))
        })
    }

    fn reserved_one(
        &self,
        it: &Value,
        marks: &BTreeSet<String>,
        machines: &BTreeMap<String, Address>,
    ) -> Option<(Address, InfraObject)> {
        let ip = it["ip"].as_str()?;
        let holder = it["droplet"]["id"].as_u64().map(|id| id.to_string());
        let holder = holder.map(|id| machines.get(&id).map_or(id, Address::to_string));
        let last = format!(":{}", dashed(ip));
        let named = marks.iter().find_map(|mark| mark.strip_suffix(&last));
        // One that a killed run has not come to name leads to the machine that it was ordered for.
        let begun = || {
            let machine = holder.as_ref()?.parse::<Address>().ok()?;
            marks.get(&tagged(machine.scope())).map(String::as_str)
        };
        let host = named.or_else(begun)?.replace('_', ".");
        let attributes = BTreeMap::from([
            ("region".to_owned(), it["region"]["slug"].clone()),
            ("leads_to".to_owned(), json!(holder)),
            ("marked".to_owned(), json!(named.is_some())),
        ]);
        let given = BTreeMap::from([("public_ip".to_owned(), ip.to_owned())]);
        let (id, name) = (ip.to_owned(), ip.to_owned());
        Some((Address::reserved_ip(&host), InfraObject { id, name, attributes, given }))
    }

    fn mark_of_ip(&self, rest: &str) -> String {
        format!("{}:ip:{rest}", wanted::mark(&self.site))
    }

    /// What tags say of the environment's addresses.
    fn marks(&self) -> Result<BTreeSet<String>, Refusal> {
        let tags = self.list("/v2/tags", "tags")?;
        let begin = self.mark_of_ip("");
        let names = tags.iter().filter_map(|tag| tag["name"].as_str());
        Ok(names.filter_map(|name| name.strip_prefix(&begin)).map(str::to_owned).collect())
    }

    /// What has to be posted for an address that leads to a machine, once a tag says that it is ours.
    pub(super) fn order_ip(&self, address: &Address, object: &InfraSpec) -> Result<Value, Refusal> {
        let machine = self.referred(object, "leads_to")?;
        let taken = self.reserved_list()?;
        if let Some(it) = taken.iter().find(|it| read::text(&it["droplet"]["id"]) == machine) {
            let (host, ip) = (address.scope(), read::text(&it["ip"]));
            let message = format!(
                "{host} has a reserved address that is not ours, {ip}; `stagecraft import {address} \
                 {ip}` takes it over"
            );
            return Err(Refusal::Said { status: 409, message });
        }
        self.make_tag(&self.mark_of_ip(&tagged(address.scope())))?;
        Ok(json!({ "droplet_id": machine.parse::<u64>().unwrap_or_default() }))
    }

    /// Makes a reserved address lead where it should, and marks it as the one.
    pub(super) fn settle_ip(
        &self,
        address: &Address,
        ip: &str,
        object: &InfraSpec,
    ) -> Result<(), Refusal> {
        let machine = self.referred(object, "leads_to")?;
        self.mark_ip(address, ip)?;
        let path = format!("/v2/reserved_ips/{ip}");
        let look = || Ok(self.api.get(&path)?["reserved_ip"].take());
        let leads_to = || Ok(read::text(&look()?["droplet"]["id"]));
        // It is on its way there already when it has just been ordered.
        self.until("the address to be free", || Ok(look()?["locked"] != true))?;
        if leads_to()? != machine {
            let id = machine.parse::<u64>().unwrap_or_default();
            let body = json!({ "type": "assign", "droplet_id": id });
            self.action(&format!("{path}/actions"), &body)?;
        }
        self.until("the address to lead to its machine", || Ok(leads_to()? == machine))
    }

    /// Says by a tag which address is a host's, in place of the one that only said that there would be one.
    pub(super) fn mark_ip(&self, address: &Address, ip: &str) -> Result<(), Refusal> {
        self.make_tag(&self.mark_of_ip(&marked(address.scope(), ip)))?;
        self.forget_order(address.scope())
    }

    /// Takes away the tag that says that an address is being ordered for a host.
    pub(super) fn forget_order(&self, host: &str) -> Result<(), Refusal> {
        self.api.delete(&format!("/v2/tags/{}", self.mark_of_ip(&tagged(host))), None)
    }

    /// Gives a reserved address back, and last of all its mark.
    pub(super) fn give_back_ip(&self, address: &Address, ip: &str) -> Result<(), Refusal> {
        let path = format!("/v2/reserved_ips/{ip}");
        match self.api.get(&path) {
            Err(refusal) if refusal.is_absence() => {}
            found => {
                let machine = found?["reserved_ip"]["droplet"].take();
                let ours = wanted::mark(&self.site);
                if !machine.is_null() && !read::tags(&machine).any(|tag| tag == ours) {
                    let message = format!(
                        "it leads to {}, which is not of this environment; unassign it by hand",
                        machine["name"]
                    );
                    return Err(Refusal::Said { status: 409, message });
                }
                if !machine.is_null() {
                    self.action(&format!("{path}/actions"), &json!({ "type": "unassign" }))?;
                }
                self.patiently(|| self.api.delete(&path, None).map(|()| Value::Null))?;
            }
        }
        let mark = self.mark_of_ip(&marked(address.scope(), ip));
        self.api.delete(&format!("/v2/tags/{mark}"), None)?;
        self.forget_order(address.scope())
    }

    /// Whose a reserved address is, if a tag says that it is not that of a host of ours.
    pub(super) fn owner_of_ip(&self, host: &str, ip: &str) -> Result<Option<String>, Refusal> {
        let own = self.mark_of_ip(&marked(host, ip));
        let last = format!(":{}", dashed(ip));
        let tags = self.list("/v2/tags", "tags")?;
        let names = tags.iter().filter_map(|tag| tag["name"].as_str());
        let mut others = names.filter(|name| {
            name.starts_with("stagecraft:") && name.ends_with(&last) && **name != own
        });
        Ok(others.next().map(str::to_owned))
    }

    /// The environment's machines by id.
    pub(super) fn machines_by_id(&self) -> Result<BTreeMap<String, Address>, Refusal> {
        let machines = self.machines()?;
        let known = machines.iter().map(|it| read::machine(&self.site, it, &BTreeMap::new()));
        Ok(known.map(|(address, object)| (object.id, address)).collect())
    }
}

/// An address as it can stand in a tag.
fn dashed(ip: &str) -> String {
    ip.replace('.', "-")
}

/// What the tag of a host's address says of it.
fn marked(host: &str, ip: &str) -> String {
    format!("{}:{}", tagged(host), dashed(ip))
}

/// A host's name as it can stand in a tag; none that the cloud can have has a `_`.
fn tagged(host: &str) -> String {
    host.replace('.', "_")
}
