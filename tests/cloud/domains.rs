//! The stand-in's zones and records, as DigitalOcean keeps them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::digitalocean::{Account, Answer, absent, ok, page, refused};

impl Account {
    /// Answers what is asked of `/v2/domains/…`.
    pub fn domains(
        &mut self,
        method: &str,
        parts: &[&str],
        query: &BTreeMap<&str, &str>,
        body: &Value,
    ) -> Answer {
        match (method, parts) {
            ("GET", []) => {
                let all = self.zones.keys().map(|name| zone(name)).collect();
                page("domains", all, query)
            }
            ("POST", []) => {
                let name = body["name"].as_str().unwrap().to_owned();
                if self.zones.contains_key(&name) {
                    return refused(422, "unprocessable_entity", "domain already exists");
                }
                self.make_zone(&name);
                ok(201, json!({ "domain": zone(&name) }))
            }
            ("GET", [name]) if self.zones.contains_key(*name) => {
                ok(200, json!({ "domain": zone(name) }))
            }
            ("DELETE", [name]) => match self.zones.remove(*name) {
                Some(_) => (204, None),
                None => absent(),
            },
            (_, [name, "records", rest @ ..]) if self.zones.contains_key(*name) => {
                self.records(method, name, rest, query, body)
            }
            _ => absent(),
        }
    }

    fn records(
        &mut self,
        method: &str,
        zone: &str,
        rest: &[&str],
        query: &BTreeMap<&str, &str>,
        body: &Value,
    ) -> Answer {
        let id = self.next();
        let records = self.zones.get_mut(zone).unwrap();
        match (method, rest) {
            ("GET", []) => page("domain_records", records.values().cloned().collect(), query),
            ("POST", []) => {
                if body["ttl"].as_u64().is_some_and(|ttl| ttl < 30) {
                    return refused(422, "unprocessable_entity", "TTL is too low");
                }
                let record = record(id, body);
                records.insert(id, record.clone());
                ok(201, json!({ "domain_record": record }))
            }
            ("PUT", [id]) => {
                let Some(record) = records.get_mut(&id.parse().unwrap()) else { return absent() };
                for (key, value) in body.as_object().unwrap() {
                    record[key] = value.clone();
                }
                ok(200, json!({ "domain_record": record }))
            }
            ("DELETE", [id]) => match records.remove(&id.parse().unwrap()) {
                Some(_) => (204, None),
                None => absent(),
            },
            _ => absent(),
        }
    }

    /// Makes a zone, which has its name servers from the start.
    pub fn make_zone(&mut self, name: &str) {
        let ns = |number| json!({ "type": "NS", "name": "@", "data": format!("ns{number}.digitalocean.com") });
        let records = (1..=3).map(|number| {
            let id = self.next();
            (id, record(id, &ns(number)))
        });
        let records = records.collect();
        self.zones.insert(name.to_owned(), records);
    }

    /// Adds a record to a zone.
    pub fn make_record(&mut self, zone: &str, kind: &str, name: &str, data: &str) {
        let id = self.next();
        let body = json!({ "type": kind, "name": name, "data": data });
        self.zones.get_mut(zone).unwrap().insert(id, record(id, &body));
    }

    /// What the records of a zone say that are no name servers: `A www 203.0.113.1`.
    pub fn said(&self, zone: &str) -> Vec<String> {
        let records = self.zones.get(zone).into_iter().flat_map(BTreeMap::values);
        let records = records.filter(|it| it["type"] != "NS");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut said: Vec<String> = records
            .map(|it| ["type", "name", "data"].map(|key| text(&it[key])).join(" "))
            .collect();
        said.sort();
        said
    }
}

fn zone(name: &str) -> Value {
    json!({ "name": name, "ttl": 1800, "zone_file": "" })
}

fn record(id: u64, body: &Value) -> Value {
    let ttl = body["ttl"].as_u64().unwrap_or(1800);
    json!({ "id": id, "type": body["type"], "name": body["name"], "data": body["data"], "ttl": ttl,
        "priority": null, "port": null, "weight": null, "flags": null, "tag": null })
}
