//! The load balancer before the gateways: it passes connections on as they are, so that the gateways keep the
//! certificates.
//! Source: docs.digitalocean.com/reference/api, "Load Balancers".

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{read, wanted};
use crate::model::{Address, InfraObject, InfraSpec, Site};

/// What it is when it serves.
pub const ACTIVE: &str = "active";

/// How a rule looks for us: `tcp 80`, or `https 443 to http 8080` where they differ.
fn rule(it: &Value) -> String {
    let end = |side: &str| {
        let protocol = it[format!("{side}_protocol")].as_str().unwrap_or_default();
        format!("{protocol} {}", it[format!("{side}_port")])
    };
    let (entry, target) = (end("entry"), end("target"));
    if entry == target { entry } else { format!("{entry} to {target}") }
}

fn health(it: &Value) -> String {
    format!("{} {}", it["protocol"].as_str().unwrap_or_default(), it["port"])
}

/// A load balancer; none where it is not the environment's. `vpcs` are the environment's networks by id.
pub fn read(
    site: &Site,
    it: &Value,
    vpcs: &BTreeMap<String, Address>,
) -> Option<(Address, InfraObject)> {
    let name = it["name"].as_str()?;
    let address = Address::load_balancer(name.strip_prefix(&wanted::name(site, ""))?);
    let mut rules: Vec<String> =
        it["forwarding_rules"].as_array().into_iter().flatten().map(rule).collect();
    rules.sort();
    let vpc = read::text(&it["vpc_uuid"]);
    let attributes = BTreeMap::from([
        ("region".to_owned(), it["region"]["slug"].clone()),
        ("nodes".to_owned(), it["size_unit"].clone()),
        ("vpc".to_owned(), json!(vpcs.get(&vpc).map_or(vpc, Address::to_string))),
        ("tag".to_owned(), it["tag"].clone()),
        ("forwards".to_owned(), json!(rules)),
        ("health_check".to_owned(), json!(health(&it["health_check"]))),
        ("state".to_owned(), it["status"].clone()),
    ]);
    let ip = it["ip"].as_str().filter(|ip| !ip.is_empty());
    let project = it["project_id"].as_str().map(|id| ("project".to_owned(), id.to_owned()));
    let ip = ip.map(|ip| ("public_ip".to_owned(), ip.to_owned()));
    let given = ip.into_iter().chain(project).collect();
    let (id, name) = (read::text(&it["id"]), name.to_owned());
    Some((address, InfraObject { id, name, attributes, given }))
}

/// What is posted for a new one. A gateway counts after 10 s of answering.
pub fn body(object: &InfraSpec, vpc: &str) -> Value {
    let value = |name: &str| object.value(name).cloned().unwrap_or_default();
    let port = |text: &str| -> Value {
        let (protocol, port) = text.split_once(' ').unwrap_or_default();
        json!({ "protocol": protocol, "port": port.parse::<u16>().unwrap_or_default() })
    };
    let rules = value("forwards");
    let rules = rules.as_array().into_iter().flatten().filter_map(Value::as_str).map(|text| {
        let Value::Object(it) = port(text) else { return Value::Null };
        json!({
            "entry_protocol": it["protocol"], "entry_port": it["port"],
            "target_protocol": it["protocol"], "target_port": it["port"],
        })
    });
    let mut health = port(value("health_check").as_str().unwrap_or_default());
    health["check_interval_seconds"] = 5.into();
    health["healthy_threshold"] = 2.into();
    json!({
        "name": object.name, "region": value("region"), "size_unit": value("nodes"),
        "vpc_uuid": vpc, "tag": value("tag"), "forwarding_rules": rules.collect::<Vec<_>>(),
        "health_check": health,
    })
}

/// What is posted for one that is there so that some of it changes, and everything else stays: what is not
/// said would fall back to what is usual.
pub fn changed(mut it: Value, changes: Value) -> Value {
    let region = it["region"]["slug"].take();
    it["region"] = region;
    if let Value::Object(fields) = &mut it {
        let given = ["id", "ip", "ipv6", "status", "created_at", "size", "algorithm"];
        fields.retain(|key, value| !given.contains(&key.as_str()) && !value.is_null());
    }
    if let Value::Object(changes) = changes {
        for (key, value) in changes {
            match (&mut it[&key], value) {
                (Value::Object(parts), Value::Object(more)) => parts.extend(more),
                (field, value) => *field = value,
            }
        }
    }
    if let Value::Object(fields) = &mut it {
        // One of them alone says for which machines it is.
        let tagged = fields.get("tag").is_some_and(|tag| tag != "");
        fields.remove(if tagged { "droplet_ids" } else { "tag" });
    }
    it
}
