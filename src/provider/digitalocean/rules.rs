//! Rules of firewalls as texts that people can read, and as the API has them.

use serde_json::{Map, Value, json};

/// Where everything on the internet is.
pub const ANYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// A rule as a text: `tcp 22 from 0.0.0.0/0, ::/0` or `udp all from tag shop`.
pub fn text(protocol: &str, ports: &str, word: &str, who: &[String]) -> String {
    let mut who = who.to_vec();
    who.sort();
    format!("{protocol} {ports} {word} {}", who.join(", "))
}

/// The rules that the API lists under `inbound_rules` or `outbound_rules`, as texts in order.
pub fn read(rules: &Value, inbound: bool) -> Value {
    let (word, key) = if inbound { ("from", "sources") } else { ("to", "destinations") };
    let rules = rules.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut texts: Vec<String> = rules
        .iter()
        .map(|rule| {
            let ports = match rule["ports"].as_str() {
                None | Some("0" | "" | "all") => "all",
                Some(ports) => ports,
            };
            let mut who: Vec<String> = Vec::new();
            for (kind, list) in rule[key].as_object().into_iter().flatten() {
                let list = list.as_array().into_iter().flatten();
                who.extend(list.map(|one| match (kind.as_str(), one.as_str()) {
                    ("addresses", Some(address)) => address.to_owned(),
                    ("tags", Some(tag)) => format!("tag {tag}"),
                    (kind, _) => format!("{kind} {one}"),
                }));
            }
            text(rule["protocol"].as_str().unwrap_or_default(), ports, word, &who)
        })
        .collect();
    texts.sort();
    texts.into()
}

/// A list of texts as the API takes it.
pub fn write(texts: &Value, inbound: bool) -> Value {
    let key = if inbound { "sources" } else { "destinations" };
    let texts = texts.as_array().into_iter().flatten().filter_map(Value::as_str);
    let rules = texts.map(|text| {
        let mut words = text.splitn(4, ' ');
        let protocol = words.next().unwrap_or_default();
        let ports = words.next().filter(|ports| *ports != "all").unwrap_or("0");
        let who = words.nth(1).unwrap_or_default();
        let (tags, addresses): (Vec<&str>, Vec<&str>) =
            who.split(", ").partition(|one| one.starts_with("tag "));
        let mut place = Map::new();
        if !addresses.is_empty() {
            place.insert("addresses".into(), addresses.into());
        }
        if !tags.is_empty() {
            let tags: Vec<&str> = tags.iter().map(|tag| &tag[4..]).collect();
            place.insert("tags".into(), tags.into());
        }
        let mut rule = json!({ "protocol": protocol, "ports": ports });
        rule[key] = place.into();
        rule
    });
    rules.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_back_as_they_were_written() {
        let texts = json!(["tcp 22 from 0.0.0.0/0, ::/0", "udp all from tag a, tag b"]);
        assert_eq!(read(&write(&texts, true), true), texts);
    }

    #[test]
    fn all_ports_have_one_name() {
        let rules =
            json!([{ "protocol": "icmp", "ports": "0", "sources": { "addresses": ["::/0"] } }]);
        assert_eq!(read(&rules, true), json!(["icmp all from ::/0"]));
    }
}
