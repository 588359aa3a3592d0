//! Names: zones and address records. Neither has tags, so what is ours is marked by a TXT record beside
//! it: `_stagecraft.www` for what `www` says, `_stagecraft-zone` for a zone that we made.
//! Source: docs.digitalocean.com/reference/api, "Domains" and "Domain Records".

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::super::http::Refusal;
use super::{DigitalOcean, read, wanted};
use crate::model::{Address, FIXED, InfraObject, InfraSpec, InfraState};

/// The name of the record that marks a zone.
const ZONE_MARK: &str = "_stagecraft-zone";
/// What the name of a record that marks others begins with.
const MARK: &str = "_stagecraft";

/// A zone, and a name in it.
struct Place<'a> {
    zone: &'a str,
    /// `@` for the zone's own name.
    label: &'a str,
}

/// The zone that a name is in, of several, and the name in it.
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

    /// The zones that were asked for or that we made, and our records in them. `machines` are the
    /// environment's by their public addresses.
    pub(super) fn names(
        &self,
        machines: &BTreeMap<String, Address>,
        state: &mut InfraState,
    ) -> Result<(), Refusal> {
        let zones = self.list("/v2/domains", "domains")?;
        let zones: Vec<&str> = zones.iter().filter_map(|it| it["name"].as_str()).collect();
        let looked: Vec<Result<Vec<Value>, Refusal>> = std::thread::scope(|scope| {
            let looks: Vec<_> =
                zones.iter().map(|zone| scope.spawn(|| self.records(zone, ""))).collect();
            looks.into_iter().map(super::joined).collect()
        });
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
            Ok(_) => {}
            Err(refusal) if refusal.is_absence() => {
                self.api.post("/v2/tags", &json!({ "name": tag }))?;
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
        self.api.delete(&format!("/v2/domains/{zone}"), None)
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

    fn existing_zone(&self, name: &str) -> Result<String, Refusal> {
        let zones = self.list("/v2/domains", "domains")?;
        let zones = zones.iter().filter_map(|it| it["name"].as_str());
        zone_of(name, zones).map(str::to_owned).ok_or_else(|| {
            let message = format!("the account has no zone for {name}");
            Refusal::Said { status: 404, message }
        })
    }

    /// Makes a name say the addresses that it should, and nothing else.
    pub(super) fn settle_name(&self, address: &Address, object: &InfraSpec) -> Result<(), Refusal> {
        let _alone = self.alone_with_names();
        let zone = self.existing_zone(address.scope())?;
        let place = Place::new(address.scope(), &zone);
        let all = self.records(place.zone, "")?;
        let ours = all.iter().any(|it| it["name"] == place.mark() && it["data"] == self.marking());
        let there = |it: &&Value| it["type"] == "A" && it["name"] == place.label;
        if !ours && all.iter().any(|it| there(&it)) {
            let message = format!(
                "{} has an address already that is not ours; `stagecraft import {address} {}` takes it over",
                address.scope(),
                address.scope()
            );
            return Err(Refusal::Said { status: 409, message });
        }
        self.put_mark(place.zone, &place.mark())?;
        let ttl = object.value("ttl").cloned().unwrap_or_default();
        let wanted = self.addresses(object)?;
        let path = format!("/v2/domains/{}/records", place.zone);
        let mut has = Vec::new();
        for record in all.iter().filter(there) {
            let ip = record["data"].as_str().unwrap_or_default().to_owned();
            let id = read::text(&record["id"]);
            if !wanted.contains(&ip) || has.contains(&ip) {
                self.api.delete(&format!("{path}/{id}"), None)?;
            } else {
                if record["ttl"] != ttl {
                    let body = json!({ "type": "A", "ttl": ttl });
                    self.api.put(&format!("{path}/{id}"), &body)?;
                }
                has.push(ip);
            }
        }
        for ip in wanted.iter().filter(|ip| !has.contains(ip)) {
            let body = json!({ "type": "A", "name": place.label, "data": ip, "ttl": ttl });
            self.make_record(place.zone, &body, || {
                let records = self.records(place.zone, "")?;
                Ok(records.iter().any(|it| there(&it) && it["data"] == *ip))
            })?;
        }
        Ok(())
    }

    /// The public addresses of the machines that a name leads to.
    fn addresses(&self, object: &InfraSpec) -> Result<Vec<String>, Refusal> {
        let machines = self.machines()?;
        let names = object.value("data").and_then(Value::as_array).into_iter().flatten();
        let mut ips = Vec::new();
        for name in names.filter_map(Value::as_str) {
            let found = machines
                .iter()
                .map(|it| read::machine(&self.site, it, &BTreeMap::new()))
                .find(|(address, _)| address.to_string() == name);
            let ip = found.and_then(|(_, object)| object.given.get("public_ip").cloned());
            let ip = ip.ok_or_else(|| Refusal::Said {
                status: 404,
                message: format!("{name} has no public address"),
            })?;
            ips.push(ip);
        }
        Ok(ips)
    }

    /// Takes a name away, and last of all its mark.
    pub(super) fn remove_name(&self, address: &Address) -> Result<(), Refusal> {
        let _alone = self.alone_with_names();
        let zone = match self.existing_zone(address.scope()) {
            Err(refusal) if refusal.is_absence() => return Ok(()),
            other => other?,
        };
        let place = Place::new(address.scope(), &zone);
        let mut all = self.records(place.zone, "")?;
        all.sort_by_key(|it| it["type"] == "TXT");
        for record in &all {
            let is_name = record["type"] == "A" && record["name"] == place.label;
            let is_mark = record["name"] == place.mark() && record["data"] == self.marking();
            if is_name || is_mark {
                let id = read::text(&record["id"]);
                self.api.delete(&format!("/v2/domains/{zone}/records/{id}"), None)?;
            }
        }
        Ok(())
    }

    /// Marks a zone or a name that somebody else has made.
    pub(super) fn adopt_name(&self, address: &Address) -> Result<(), Refusal> {
        if address.kind() == crate::model::Kind::Zone {
            self.api.get(&format!("/v2/domains/{}", address.scope()))?;
            return self.put_mark(address.scope(), ZONE_MARK);
        }
        let zone = self.existing_zone(address.scope())?;
        let place = Place::new(address.scope(), &zone);
        let records = self.records(place.zone, "")?;
        if !records.iter().any(|it| it["type"] == "A" && it["name"] == place.label) {
            let message = format!("{} has no A record", address.scope());
            return Err(Refusal::Said { status: 404, message });
        }
        self.put_mark(place.zone, &place.mark())
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
