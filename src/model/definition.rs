//! Reading a canonical Compose service definition: what it says of the containers made from it.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::duration::parse_duration;
use super::{Limits, Object, digest_of};

/// The label that marks what is ours: `PROJECT/ENVIRONMENT`.
pub const LABEL_ENVIRONMENT: &str = "stagecraft.environment";
/// The label that says what a container, network or volume was made from.
pub const LABEL_DEFINITION: &str = "stagecraft.definition";

/// The keys that make no other container.
const ASIDE: [&str; 5] = ["build", "depends_on", "profiles", "pull_policy", "scale"];

/// The parts of a definition that a container is made from: what Compose's own hash covers.
pub fn comparable(definition: &Object) -> Object {
    match serde_json::to_value(Comparable(definition)) {
        Ok(Value::Object(kept)) => kept,
        // It is written as a mapping, and a mapping of JSON can always be written.
        _ => Object::new(),
    }
}

/// The digest of what a container is made from: parts of its definition, and what is beside that in the
/// Compose file, which Compose's own hash does not cover.
pub fn fingerprint(definition: &Object, beside: &Object) -> String {
    let digest = match beside.is_empty() {
        true => digest_of(&Comparable(definition)),
        false => digest_of(&(Comparable(definition), beside)),
    };
    digest[..16].to_owned()
}

/// The names that the entries of a section have for what they mount: configs, secrets or volumes.
pub fn sources<'a>(definition: &'a Object, section: &str) -> impl Iterator<Item = &'a str> {
    let entries = definition.get(section).and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| entry.get("source")?.as_str())
}

/// The services of which its containers share a namespace: it is that of one container of theirs.
pub fn shares(definition: &Object) -> impl Iterator<Item = &str> {
    spaces(definition).filter_map(|space| space.strip_prefix("service:"))
}

/// Whether its containers share a namespace with one that belongs to no service here.
pub fn shares_with_others(definition: &Object) -> bool {
    spaces(definition).any(|space| space.starts_with("container:"))
}

fn spaces(definition: &Object) -> impl Iterator<Item = &str> {
    let keys = ["network_mode", "ipc", "pid", "uts", "cgroup"].into_iter();
    keys.filter_map(|key| definition.get(key)?.as_str())
}

/// What `comparable` keeps, as it is written, without a copy of it.
struct Comparable<'a>(&'a Object);

impl Serialize for Comparable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kept = self.0.iter().filter(|(key, _)| !ASIDE.contains(&key.as_str()));
        serializer.collect_map(kept.filter_map(|(key, value)| match (key.as_str(), value) {
            ("deploy", Value::Object(deploy)) => {
                let rest = Without(deploy, "replicas");
                (!rest.is_empty()).then_some((key, Part::Rest(rest)))
            }
            ("labels", Value::Object(labels)) => {
                Some((key, Part::Rest(Without(labels, LABEL_DEFINITION))))
            }
            _ => Some((key, Part::Whole(value))),
        }))
    }
}

/// A mapping without one of its keys.
struct Without<'a>(&'a Object, &'static str);

impl Without<'_> {
    fn is_empty(&self) -> bool {
        self.0.keys().all(|key| key == self.1)
    }
}

enum Part<'a> {
    Whole(&'a Value),
    Rest(Without<'a>),
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Part::Whole(value) => value.serialize(serializer),
            Part::Rest(Without(map, aside)) => {
                serializer.collect_map(map.iter().filter(|(key, _)| key.as_str() != *aside))
            }
        }
    }
}

/// A label's value.
pub fn label<'a>(definition: &'a Object, name: &str) -> Option<&'a str> {
    definition.get("labels")?.get(name)?.as_str()
}

/// How many containers the definition asks for.
pub fn replicas(definition: &Object) -> u32 {
    let number = |value: Option<&Value>| {
        value.and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
    };
    number(definition.get("deploy").and_then(|deploy| deploy.get("replicas")))
        .or_else(|| number(definition.get("scale")))
        .unwrap_or(1)
}

/// How long its containers may take to stop, in whole seconds.
pub fn stop_grace(definition: &Object) -> Option<u64> {
    const SECOND: u64 = 1_000_000_000;
    let nanoseconds = parse_duration(definition.get("stop_grace_period")?.as_str()?).ok()?;
    Some(u64::try_from(nanoseconds).ok()?.div_ceil(SECOND))
}

/// The keys of the networks that its containers are on; none where `network_mode` decides.
pub fn networks(definition: &Object) -> Option<Vec<&str>> {
    if definition.contains_key("network_mode") {
        return None;
    }
    match definition.get("networks") {
        Some(Value::Object(networks)) if !networks.is_empty() => {
            Some(networks.keys().map(String::as_str).collect())
        }
        _ => Some(vec!["default"]),
    }
}

/// The names that its containers answer to on a network, by the network's key: that of the service,
/// and those that the definition gives.
pub fn aliases<'a>(definition: &'a Object, service: &'a str, network: &str) -> BTreeSet<&'a str> {
    let networks = definition.get("networks").and_then(Value::as_object);
    let given = networks.and_then(|networks| networks.get(network)?.get("aliases")?.as_array());
    given.into_iter().flatten().filter_map(Value::as_str).chain([service]).collect()
}

/// The TCP ports that its containers publish on a host port of Docker's choice.
pub fn picked_ports(definition: &Object) -> impl Iterator<Item = u16> {
    let ports = definition.get("ports").and_then(Value::as_array).into_iter().flatten();
    let picked = ports.filter(|port| {
        let tcp = port.get("protocol").and_then(Value::as_str).unwrap_or("tcp") == "tcp";
        tcp && port.get("published").is_none()
    });
    picked.filter_map(|port| port.get("target")?.as_u64()?.try_into().ok())
}

/// What `docker inspect` will show of its restart policy and limits, as Compose hands them over:
/// `deploy` goes before the service's own keys.
pub fn limits(definition: &Object) -> Limits {
    let resources = definition.get("deploy").and_then(|deploy| deploy.get("resources"));
    let limits = resources.and_then(|resources| resources.get("limits"));
    let memory = limits.and_then(|l| l.get("memory")).or_else(|| definition.get("mem_limit"));
    let cpus = limits.and_then(|l| l.get("cpus")).or_else(|| definition.get("cpus"));
    Limits { restart: restart(definition), memory: bytes(memory), nano_cpus: nano(cpus) }
}

fn restart(definition: &Object) -> Option<String> {
    let policy = definition.get("deploy").and_then(|deploy| deploy.get("restart_policy"));
    let Some(policy) = policy else {
        let restart = definition.get("restart").and_then(Value::as_str).unwrap_or("no");
        return (!restart.contains('$')).then(|| restart.to_owned());
    };
    let condition = policy.get("condition").and_then(Value::as_str).unwrap_or("any");
    let attempts = policy.get("max_attempts").and_then(Value::as_u64).unwrap_or(0);
    Some(match (condition, attempts) {
        ("none", _) => "no".to_owned(),
        ("on-failure", 0) => "on-failure".to_owned(),
        ("on-failure", attempts) => format!("on-failure:{attempts}"),
        ("any", _) => "always".to_owned(),
        (other, _) => other.to_owned(),
    })
}

/// Canonical byte sizes are whole numbers, mostly as text. A reference is not known here.
fn bytes(value: Option<&Value>) -> Option<u64> {
    match value {
        None => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
    }
}

fn nano(value: Option<&Value>) -> Option<u64> {
    let cpus: f64 = match value {
        None => 0.0,
        Some(Value::String(text)) => text.parse().ok()?,
        Some(value) => value.as_f64()?,
    };
    // Docker keeps billionths; a CPU count is far below what a float holds exactly.
    Some((cpus * 1e9).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_time_to_stop_is_read_as_compose_writes_it() {
        let grace = |text: &str| stop_grace(&object(json!({"stop_grace_period": text})));
        assert_eq!(grace("1h2m3s"), Some(3723));
        assert_eq!((grace("1.5s"), grace("500ms"), grace("10s")), (Some(2), Some(1), Some(10)));
        assert_eq!((grace("soon"), grace("5"), stop_grace(&Object::new())), (None, None, None));
    }

    #[test]
    fn replicas_and_dependencies_make_no_other_container() {
        let one = object(json!({"image": "a", "deploy": {"replicas": 1}, "depends_on": {"b": {}}}));
        let two = object(json!({"image": "a", "scale": 2}));
        let nothing = Object::new();
        let fingerprint = |definition: &Object| fingerprint(definition, &nothing);
        assert_eq!(fingerprint(&one), fingerprint(&two));
        let other = object(json!({"image": "b"}));
        assert_ne!(fingerprint(&one), fingerprint(&other));
        // Containers carry this in a label: it must not come out otherwise one day.
        let labels = json!({LABEL_DEFINITION: "x", "a": "b"});
        let all = json!({"image": "a", "build": {}, "labels": labels, "scale": 2,
            "deploy": {"replicas": 2, "resources": {}}, "ports": [1]});
        assert_eq!(fingerprint(&one), "a4db6e5b124155fd");
        assert_eq!(fingerprint(&object(all)), "793a2c1ea33e87b6");
        assert_eq!((replicas(&one), replicas(&two)), (1, 2));
    }

    #[test]
    fn deploy_goes_before_the_services_own_limits() {
        let definition = object(json!({
            "restart": "always", "mem_limit": "1024", "cpus": 0.5,
            "deploy": {"resources": {"limits": {"memory": "2048"}},
                       "restart_policy": {"condition": "on-failure", "max_attempts": 3}},
        }));
        let found = limits(&definition);
        assert_eq!(found.restart.as_deref(), Some("on-failure:3"));
        assert_eq!((found.memory, found.nano_cpus), (Some(2048), Some(500_000_000)));
    }

    #[test]
    fn a_limit_that_only_the_host_knows_is_not_compared() {
        let definition = object(json!({"mem_limit": "${LIMIT}", "restart": "${RESTART:-no}"}));
        assert_eq!(limits(&definition), Limits { nano_cpus: Some(0), ..Limits::default() });
    }
}
