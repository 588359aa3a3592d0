//! What DigitalOcean tells of its objects, as attributes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::wanted::{mark, name};
use super::{hostkey, rules, wanted};
use crate::model::{Address, FIXED, InfraObject, Site};

/// The part of a description that says whose an object is: `stagecraft shop/staging disk.db-1/data`.
pub fn description(site: &Site, address: &Address) -> String {
    format!("{}{address}", mark_of(site))
}

/// What such a description begins with.
pub fn mark_of(site: &Site) -> String {
    format!("stagecraft {} ", site.mark())
}

/// The address in a description of ours.
fn described(site: &Site, object: &Value) -> Option<Address> {
    let text = object["description"].as_str()?;
    text.strip_prefix(&mark_of(site))?.parse().ok()
}

/// The address of something whose name is `stagecraft.shop.staging.REST`.
fn named(site: &Site, object: &Value, address: fn(&str) -> Address) -> Option<Address> {
    object["name"].as_str()?.strip_prefix(&name(site, "")).map(address)
}

/// A text, or a number as one: some ids are the one, some the other.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn object(it: &Value, attributes: Value, given: BTreeMap<String, String>) -> InfraObject {
    let attributes = match attributes {
        Value::Object(attributes) => attributes.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    InfraObject { id: text(&it["id"]), name: text(&it["name"]), attributes, given }
}

/// The tags of an object.
pub fn tags(object: &Value) -> impl Iterator<Item = &str> {
    object["tags"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// A private network; none where it is not the environment's.
pub fn vpc(site: &Site, it: &Value) -> Option<(Address, InfraObject)> {
    let address = named(site, it, Address::vpc)?;
    // The first network of a region is its default one, and can't be deleted.
    let fixed = it["default"] == true;
    let given = fixed.then(|| (FIXED.to_owned(), "default".to_owned())).into_iter().collect();
    Some((address, object(it, json!({ "region": it["region"] }), given)))
}

/// A firewall; none where it is not the environment's.
pub fn firewall(site: &Site, it: &Value) -> Option<(Address, InfraObject)> {
    let address = named(site, it, Address::firewall)?;
    let mut tags: Vec<&str> = tags(it).collect();
    tags.sort_unstable();
    let attributes = json!({
        "inbound": rules::read(&it["inbound_rules"], true),
        "outbound": rules::read(&it["outbound_rules"], false),
        "tags": tags,
    });
    Some((address, object(it, attributes, BTreeMap::new())))
}

/// A machine that has the environment's tag. `vpcs` are the environment's networks by id.
pub fn machine(
    site: &Site,
    it: &Value,
    vpcs: &BTreeMap<String, Address>,
) -> (Address, InfraObject) {
    // Other tags are other people's.
    let mark = mark(site);
    let ours = |tag: &&str| {
        tag.strip_prefix(&mark).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    };
    let mut own: Vec<&str> = tags(it).filter(ours).collect();
    own.sort_unstable();
    let vpc = text(&it["vpc_uuid"]);
    let features = it["features"].as_array().into_iter().flatten();
    let mut attributes = json!({
        "region": it["region"]["slug"],
        "size": it["size_slug"],
        "vpc": vpcs.get(&vpc).map_or(vpc, Address::to_string),
        "tags": own,
        "backups": features.clone().any(|feature| feature == "backups"),
        "power": power(it),
    });
    // The name of an image moves on to its next version, and leaves machines of the one before without.
    if let Some(slug) = it["image"]["slug"].as_str() {
        attributes["image"] = slug.into();
    }
    let mut given = BTreeMap::new();
    for network in it["networks"]["v4"].as_array().into_iter().flatten() {
        let kind = network["type"].as_str().unwrap_or_default();
        if let Some(ip) = network["ip_address"].as_str() {
            given.entry(format!("{kind}_ip")).or_insert_with(|| ip.to_owned());
        }
    }
    given.extend(it["created_at"].as_str().map(|at| ("created".to_owned(), at.to_owned())));
    if let Some(key) = tags(it).find_map(hostkey::of_tag) {
        given.insert("host_key".into(), key);
    }
    (Address::machine(&text(&it["name"])), object(it, attributes, given))
}

/// The public addresses of a machine.
pub fn public(machine: &Value) -> impl Iterator<Item = &str> {
    let networks = machine["networks"]["v4"].as_array().into_iter().flatten();
    networks.filter(|it| it["type"] == "public").filter_map(|it| it["ip_address"].as_str())
}

/// Leaves out of a machine's addresses those that may lead to another one tomorrow.
pub fn leave_out(machine: &mut Value, reserved: &BTreeSet<&str>) {
    if let Some(networks) = machine["networks"]["v4"].as_array_mut() {
        networks.retain(|it| !it["ip_address"].as_str().is_some_and(|ip| reserved.contains(ip)));
    }
}

/// Whether a machine runs: `on`, `off`, or `new` while it is being made.
pub fn power(machine: &Value) -> &str {
    match machine["status"].as_str().unwrap_or_default() {
        "active" => "on",
        "archive" => "off",
        other => other,
    }
}

/// A disk; none where it is not the environment's. `machines` are the environment's machines by id.
pub fn disk(
    site: &Site,
    it: &Value,
    machines: &BTreeMap<String, Address>,
) -> Option<(Address, InfraObject)> {
    let address =
        described(site, it).or_else(|| tags(it).find_map(|tag| wanted::marked_disk(site, tag)))?;
    let holder = it["droplet_ids"].as_array().and_then(|ids| ids.first()).map(text);
    let holder = holder.map(|id| machines.get(&id).map_or(id, Address::to_string));
    let attributes = json!({
        "region": it["region"]["slug"],
        "size_gib": it["size_gigabytes"],
        "attached_to": holder,
    });
    Some((address, object(it, attributes, BTreeMap::new())))
}
