//! Names: zones and address records. Neither has tags, so what is ours is marked by a TXT record beside
//! it: `_stagecraft.www` for what `www` says, `_stagecraft-zone` for a zone that we made.
//! Source: docs.digitalocean.com/reference/api, "Domains" and "Domain Records".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::http::Refusal;
use super::{DigitalOcean, balancer, read, wanted};
use crate::model::{Address, FIXED, InfraObject, InfraSpec, InfraState};

/// The name of the record that marks a zone.
const ZONE_MARK: &str = "_stagecraft-zone";
/// What the name of a record that marks others begins with.
const MARK: &str = "_stagecraft";

/// How many zones are read at once.
const AT_ONCE: usize = 8;

/// A zone, and a name in it.
struct Place<'a> {
    zone: &'a str,
    /// `@` for the zone's own name.
    label: &'a str,
}

/// The zone that a name is in, of several.
pub fn zone_of<'a>(name: &str, zones: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let within = |zone: &&str| name == *zone || name.ends_with(&format!(".{zone}"));
    zones.filter(within).max_by_key(|zone| zone.len())
}

impl<'a> Place<'a> {
    fn new(name: &'a str, zone: &'a str) -> Self {
        let label = name.strip_suffix(zone).and_then(|rest| rest.strip_suffix('.'));
        Self { zone, label: label.unwrap_or("@") }
    }

    /// The name of the record that marks what is said of it.
    fn mark(&self) -> String {
        match self.label {
            "@" => MARK.to_owned(),
            label => format!("{MARK}.{}", label.replace('*', "_any")),
        }
    }
}

/// Whether a record is one that every zone has from the start.
fn is_given(record: &Value) -> bool {
    record["type"] == "SOA" || record["type"] == "NS"
}

fn is_new(records: &[Value]) -> bool {
    records.iter().all(is_given)
}

/// The whole name of what a label means in a zone.
fn whole(label: &str, zone: &str) -> String {
    if label == "@" { zone.to_owned() } else { format!("{label}.{zone}") }
}

impl DigitalOcean {
    fn alone_with_names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn marking(&self) -> String {
        format!("stagecraft {}", self.site.mark())
    }

    fn records(&self, zone: &str, filter: &str) -> Result<Vec<Value>, Refusal> {
        self.list(&format!("/v2/domains/{zone}/records{filter}"), "domain_records")
    }

    /// The zones that were asked for or that we made, and our records in them. `machines` are what names
    /// can lead to, by public address.
    pub(super) fn names(
        &self,
        machines: &BTreeMap<String, Address>,
        state: &mut InfraState,
    ) -> Result<(), Refusal> {
        let zones = match self.list("/v2/domains", "domains") {
            // A token that may not see names is enough where none are asked for.
            Err(Refusal::Said { status: 403, .. }) if self.zones.is_empty() => return Ok(()),
            zones => zones?,
        };
        let zones: Vec<&str> = zones.iter().filter_map(|it| it["name"].as_str()).collect();
        let mut looked: Vec<Result<Vec<Value>, Refusal>> = Vec::new();
        // A few at a time: the API counts requests.
        for some in zones.chunks(AT_ONCE) {
            looked.extend(std::thread::scope(|scope| {
                let looks = some.iter().map(|zone| scope.spawn(|| self.records(zone, "")));
                let looks: Vec<_> = looks.collect();
                looks.into_iter().map(super::joined).collect::<Vec<_>>()
            }));
        }
        for (zone, records) in zones.into_iter().zip(looked) {
            let records = records?;
            let begun = self.zones.contains(zone) && is_new(&records) && self.has_begun(zone)?;
            // One that a killed run has not come to mark is made once more.
            if !begun {
                self.zone(zone, &records, machines, state);
            }
        }
        Ok(())
    }

    fn zone(
        &self,
        zone: &str,
        records: &[Value],
        machines: &BTreeMap<String, Address>,
        state: &mut InfraState,
    ) {
        let marking = self.marking();
        let ours = |name: &str| {
            records
                .iter()
                .any(|it| it["type"] == "TXT" && it["name"] == name && it["data"] == marking)
        };
        let object = |id: &str, attributes, given| InfraObject {
            id: id.to_owned(),
            name: id.to_owned(),
            attributes,
            given,
        };
        let made = ours(ZONE_MARK);
        if made || self.zones.contains(zone) {
            let given = (!made).then(|| (FIXED.to_owned(), "not made by us".to_owned()));
            let given = given.into_iter().collect();
            state.add(Address::zone(zone), object(zone, BTreeMap::new(), given));
        }
        let mut found: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for record in records.iter().filter(|it| it["type"] == "A") {
            let name = whole(record["name"].as_str().unwrap_or("@"), zone);
            found.entry(name).or_default().push(record);
        }
        // A mark of ours without what it marks is a leftover, and shown as one.
        for record in records.iter().filter(|it| it["type"] == "TXT" && it["data"] == marking) {
            let label = record["name"].as_str().unwrap_or_default();
            let label = match label.strip_prefix(MARK) {
                Some("") => "@".to_owned(),
                Some(rest) if rest.starts_with('.') => rest[1..].replace("_any", "*"),
                _ => continue,
            };
            found.entry(whole(&label, zone)).or_default();
        }
        for (name, records) in found {
            if !ours(&Place::new(&name, zone).mark()) {
                continue;
            }
            let mut data: Vec<String> = records
                .iter()
                .filter_map(|it| it["data"].as_str())
                .map(|ip| machines.get(ip).map_or(ip.to_owned(), Address::to_string))
                .collect();
            data.sort();
            let mut attributes = BTreeMap::from([("data".to_owned(), json!(data))]);
            if let Some(ttl) = records.first().map(|it| it["ttl"].clone()) {
                attributes.insert("ttl".into(), ttl);
            }
            state.add(Address::dns(&name, "A"), object(&name, attributes, BTreeMap::new()));
        }
    }

    pub(super) fn make_zone(&self, zone: &str) -> Result<(), Refusal> {
        let _alone = self.alone_with_names();
        // A zone has no mark from the start; so that it is known whose it is, a tag says it before.
        let tag = self.beginning(zone);
        match self.api.get(&format!("/v2/domains/{zone}")) {
            // Somebody else has been faster; it is theirs, and serves all the same.
            Ok(_) if !self.has_begun(zone)? => return Ok(()),
            Ok(_) => {}
            Err(refusal) if refusal.is_absence() => {
                self.make_tag(&tag)?;
                match self.api.post("/v2/domains", &json!({ "name": zone })) {
                    Ok(_) => {}
                    // Whether it was done is seen at once: a zone is there or not.
                    Err(Refusal::Lost(_)) => {
                        self.api.get(&format!("/v2/domains/{zone}")).map(|_| ())?;
                    }
                    Err(refusal) => return Err(refusal),
                }
            }
            Err(refusal) => return Err(refusal),
        }
        self.put_mark(zone, ZONE_MARK)?;
        self.api.delete(&format!("/v2/tags/{tag}"), None)
    }

    /// The tag that says that we are about to make a zone.
    fn beginning(&self, zone: &str) -> String {
        format!("{}:zone:{}", wanted::mark(&self.site), zone.replace('.', "_"))
    }

    fn has_begun(&self, zone: &str) -> Result<bool, Refusal> {
        match self.api.get(&format!("/v2/tags/{}", self.beginning(zone))) {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.is_absence() => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// Removes a zone that has nothing in it which is not ours.
    pub(super) fn remove_zone(&self, zone: &str) -> Result<(), Refusal> {
        let _alone = self.alone_with_names();
        let records = match self.records(zone, "") {
            Err(refusal) if refusal.is_absence() => return Ok(()),
            other => other?,
        };
        let own = |it: &&Value| is_given(it) || it["data"] == self.marking();
        if let Some(other) = records.iter().find(|it| !own(it)) {
            let (name, kind) = (read::text(&other["name"]), read::text(&other["type"]));
            let message = format!("{zone} has records that are not ours, such as {name} {kind}");
            return Err(Refusal::Said { status: 409, message });
        }
        self.api.delete(&format!("/v2/domains/{zone}"), None)?;
        self.api.delete(&format!("/v2/tags/{}", self.beginning(zone)), None)
    }

    fn put_mark(&self, zone: &str, name: &str) -> Result<(), Refusal> {
        let marking = self.marking();
        let is_there = || -> Result<bool, Refusal> {
            let records = self.records(zone, "")?;
            Ok(records.iter().any(|it| it["name"] == name && it["data"] == marking))
        };
        if is_there()? {
            return Ok(());
        }
        let body = json!({ "type": "TXT", "name": name, "data": marking, "ttl": 1800 });
        self.make_record(zone, &body, is_there)
    }

    /// Makes a record; when the answer is lost, looks before it is made again.
    fn make_record(
        &self,
        zone: &str,
        body: &Value,
        is_there: impl Fn() -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let path = format!("/v2/domains/{zone}/records");
        match self.api.post(&path, body) {
            Err(Refusal::Lost(_)) if !is_there()? => self.api.post(&path, body).map(|_| ()),
            Ok(_) | Err(Refusal::Lost(_)) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// The zone of the configuration's that a name is in.
    fn zone_for(&self, name: &str) -> Result<&str, Refusal> {
        zone_of(name, self.zones.iter().map(String::as_str)).ok_or_else(|| {
            let message = format!("there is no zone for {name}");
            Refusal::Said { status: 404, message }
        })
    }

    /// Makes a name say the addresses that it should, and nothing else. At no time does it say none.
    pub(super) fn settle_name(&self, address: &Address, object: &InfraSpec) -> Result<(), Refusal> {
        let alone = self.alone_with_names();
        let name = address.scope();
        let place = Place::new(name, self.zone_for(name)?);
        let all = self.records(place.zone, "")?;
        self.refuse_conflict(address, &place, &all)?;
        self.put_mark(place.zone, &place.mark())?;
        let ttl = object.value("ttl").cloned().unwrap_or_default();
        let wanted = self.addresses(object)?;
        let path = format!("/v2/domains/{}/records", place.zone);
        let there = |it: &&Value| it["type"] == "A" && it["name"] == place.label;
        let mut stay: Vec<String> = Vec::new();
        let mut surplus: Vec<(String, String)> = Vec::new();
        for record in all.iter().filter(there) {
            let ip = record["data"].as_str().unwrap_or_default().to_owned();
            if !wanted.contains(&ip) || stay.contains(&ip) {
                surplus.push((read::text(&record["id"]), ip));
                continue;
            }
            if record["ttl"] != ttl {
                let body = json!({ "type": "A", "ttl": ttl });
                self.api.put(&format!("{path}/{}", read::text(&record["id"])), &body)?;
            }
            stay.push(ip);
        }
        for ip in wanted.iter().filter(|ip| !stay.contains(ip)) {
            let body = json!({ "type": "A", "name": place.label, "data": ip, "ttl": ttl });
            self.make_record(place.zone, &body, || {
                let records = self.records(place.zone, "")?;
                Ok(records.iter().any(|it| there(&it) && it["data"] == *ip))
            })?;
        }
        surplus.iter().try_for_each(|(id, _)| self.api.delete(&format!("{path}/{id}"), None))?;
        if self.is_there(surplus.iter().map(|(_, ip)| ip))? {
            // Whoever has heard the old answer still goes there, and what is there may be about to go. Other
            // names need not wait for that.
            drop(alone);
            std::thread::sleep(Duration::from_secs(ttl.as_u64().unwrap_or_default()));
        }
        Ok(())
    }

    /// Whether any of some addresses still leads to something of the environment's.
    fn is_there<'a>(&self, ips: impl Iterator<Item = &'a String>) -> Result<bool, Refusal> {
        let ips: BTreeSet<&String> = ips.collect();
        if ips.is_empty() {
            return Ok(false);
        }
        let machines = self.machines()?;
        let machines = machines.iter().map(|it| read::machine(&self.site, it, &BTreeMap::new()));
        let balancers = self.balancers()?;
        let balancers =
            balancers.iter().filter_map(|it| balancer::read(&self.site, it, &BTreeMap::new()));
        let reserved = self.reserved(&self.machines_by_id()?)?;
        let mut all = machines.chain(balancers).chain(reserved);
        Ok(all.any(|(_, it)| it.given.get("public_ip").is_some_and(|ip| ips.contains(ip))))
    }

    /// Whether something at a name is somebody else's. What is said beside an address would lead
    /// elsewhere, and a name that is another's name can have no address.
    fn refuse_conflict(
        &self,
        address: &Address,
        place: &Place<'_>,
        all: &[Value],
    ) -> Result<(), Refusal> {
        let marking = self.marking();
        let ours = all.iter().any(|it| it["name"] == place.mark() && it["data"] == marking);
        let kinds: &[&str] = if ours { &["AAAA", "CNAME"] } else { &["A", "AAAA", "CNAME"] };
        let there =
            |it: &&Value| it["name"] == place.label && kinds.iter().any(|kind| it["type"] == *kind);
        let Some(found) = all.iter().find(there) else { return Ok(()) };
        let (name, kind) = (address.scope(), read::text(&found["type"]));
        let message = match kind == "A" {
            true => format!(
                "{name} has an address already that is not ours; `stagecraft import {address} {name}` \
                 takes it over"
            ),
            false => format!("{name} has a record {kind} already that is not ours; remove it"),
        };
        Err(Refusal::Said { status: 409, message })
    }

    /// The public addresses of what a name leads to.
    fn addresses(&self, object: &InfraSpec) -> Result<Vec<String>, Refusal> {
        let names = object.value("data").and_then(Value::as_array).into_iter().flatten();
        let ip = |name: &str| {
            let found = name.parse().ok().map(|address| self.object_at(&address)).transpose()?;
            let ip = found.flatten().and_then(|object| object.given.get("public_ip").cloned());
            let message = format!("{name} has no public address");
            ip.ok_or(Refusal::Said { status: 404, message })
        };
        names.filter_map(Value::as_str).map(ip).collect()
    }

    /// Takes a name away, and last of all its mark, in whichever zone that is.
    pub(super) fn remove_name(&self, address: &Address) -> Result<(), Refusal> {
        let _alone = self.alone_with_names();
        let zones = self.list("/v2/domains", "domains")?;
        let within = |zone: &&str| zone_of(address.scope(), [*zone].into_iter()).is_some();
        for zone in zones.iter().filter_map(|it| it["name"].as_str()).filter(within) {
            let place = Place::new(address.scope(), zone);
            let mut all = self.records(zone, "")?;
            let is_mark = |it: &Value| it["name"] == place.mark() && it["data"] == self.marking();
            if !all.iter().any(is_mark) {
                continue;
            }
            all.sort_by_key(|it| it["type"] == "TXT");
            let is_name = |it: &Value| it["type"] == "A" && it["name"] == place.label;
            for record in all.iter().filter(|it| is_name(it) || is_mark(it)) {
                let id = read::text(&record["id"]);
                self.api.delete(&format!("/v2/domains/{zone}/records/{id}"), None)?;
            }
        }
        Ok(())
    }

    /// Marks a zone or a name that somebody else has made.
    pub(super) fn adopt_name(&self, address: &Address) -> Result<(), Refusal> {
        if address.kind() == crate::model::Kind::Zone {
            let records = self.records(address.scope(), "")?;
            self.refuse_other_mark(&records, ZONE_MARK)?;
            return self.put_mark(address.scope(), ZONE_MARK);
        }
        let place = Place::new(address.scope(), self.zone_for(address.scope())?);
        let records = self.records(place.zone, "")?;
        self.refuse_other_mark(&records, &place.mark())?;
        if !records.iter().any(|it| it["type"] == "A" && it["name"] == place.label) {
            let message = format!("{} has no A record", address.scope());
            return Err(Refusal::Said { status: 404, message });
        }
        self.put_mark(place.zone, &place.mark())
    }

    /// Whether the mark of another environment is there already.
    fn refuse_other_mark(&self, records: &[Value], mark: &str) -> Result<(), Refusal> {
        let marking = self.marking();
        let other = records.iter().find(|it| {
            let data = it["data"].as_str().unwrap_or_default();
            it["name"] == mark && data.starts_with("stagecraft ") && data != marking
        });
        match other {
            Some(other) => Err(wanted::belongs_to(other["data"].as_str().unwrap_or_default())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_the_nearest_zone() {
        let zones = ["example", "shop.example", "op.example"];
        let of = |name| zone_of(name, zones.into_iter());
        assert_eq!(of("api.shop.example"), Some("shop.example"));
        assert_eq!(of("shop.example"), Some("shop.example"));
        assert_eq!(of("www.example"), Some("example"));
        assert_eq!(of("shop.test"), None);
    }

    #[test]
    fn every_name_has_a_mark_of_its_own() {
        let mark = |name| Place::new(name, "shop.example").mark();
        assert_eq!(mark("shop.example"), "_stagecraft");
        assert_eq!(mark("www.shop.example"), "_stagecraft.www");
        assert_eq!(mark("*.shop.example"), "_stagecraft._any");
    }
}
