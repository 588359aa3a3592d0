//! Which items of a list are the same item, so that an override replaces instead of doubling it.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::conceal;
use super::normalise::volumes;
use super::path::Path;
use super::places::Places;
use super::problems::Problems;
use crate::config::yaml::{Map, Node, Value};

/// What names an item.
#[derive(Debug, Clone, Copy)]
enum Index {
    /// What stands before `=`.
    Key,
    /// Where it is mounted.
    Mount,
    /// The device's path in the container.
    Device,
    /// The target, or the source under this folder.
    File(&'static str),
    /// The whole value.
    Expose,
    /// Address, ports and protocol.
    Port,
    /// The file's path.
    EnvFile,
}

static INDEXES: LazyLock<Places<Index>> = LazyLock::new(|| {
    Places::new(&[
        ("networks.*.labels", Index::Key),
        ("networks.*.ipam.options", Index::Key),
        ("services.*.annotations", Index::Key),
        ("services.*.build.args", Index::Key),
        ("services.*.build.additional_contexts", Index::Key),
        ("services.*.build.platform", Index::Key),
        ("services.*.build.tags", Index::Key),
        ("services.*.build.labels", Index::Key),
        ("services.*.cap_add", Index::Key),
        ("services.*.cap_drop", Index::Key),
        ("services.*.configs", Index::File("")),
        ("services.*.deploy.labels", Index::Key),
        ("services.*.devices", Index::Device),
        ("services.*.dns", Index::Key),
        ("services.*.dns_opt", Index::Key),
        ("services.*.dns_search", Index::Key),
        ("services.*.environment", Index::Key),
        ("services.*.env_file", Index::EnvFile),
        ("services.*.expose", Index::Expose),
        ("services.*.labels", Index::Key),
        ("services.*.links", Index::Key),
        ("services.*.networks.*.aliases", Index::Key),
        ("services.*.networks.*.link_local_ips", Index::Key),
        ("services.*.ports", Index::Port),
        ("services.*.profiles", Index::Key),
        ("services.*.secrets", Index::File("/run/secrets")),
        ("services.*.sysctls", Index::Key),
        ("services.*.tmpfs", Index::Key),
        ("services.*.volumes", Index::Mount),
    ])
});

/// Keeps one of each item in the lists that have names; the last one stands in the first's place.
pub(super) fn enforce(model: &mut Node, lenient: bool, problems: &mut Problems) {
    walk(model, &Path::ROOT, &INDEXES, lenient, problems);
}

fn walk(
    node: &mut Node,
    path: &Path,
    place: &Places<Index>,
    lenient: bool,
    problems: &mut Problems,
) {
    match &mut node.value {
        Value::Map(map) => {
            for (key, value) in map.iter_mut() {
                if let Some(place) = place.key(key) {
                    walk(value, &path.key(key), place, lenient, problems);
                }
            }
        }
        Value::List(items) => {
            let Some(index) = place.here else { return };
            let mut kept: Vec<Node> = Vec::with_capacity(items.len());
            let mut seen: HashMap<String, usize> = HashMap::new();
            for (at, item) in items.drain(..).enumerate() {
                match name(index, &item, lenient) {
                    Ok(name) => match seen.get(&name) {
                        Some(earlier) => kept[*earlier] = item,
                        None => {
                            seen.insert(name, kept.len());
                            kept.push(item);
                        }
                    },
                    Err(message) => problems.add(|| {
                        conceal::error(
                            "compose::item",
                            &format!("{}: {message}", path.index(at)),
                            &item,
                        )
                    }),
                }
            }
            *items = kept;
        }
        _ => {}
    }
}

/// Whether items have names at this place.
pub(super) fn is_indexed(path: &Path) -> bool {
    INDEXES.at(path).is_some_and(|place| place.here.is_some())
}

fn name(index: Index, item: &Node, lenient: bool) -> Result<String, String> {
    let unexpected = || Err(format!("{} is not expected here", item.kind_name()));
    match (index, &item.value) {
        (Index::Key, Value::String(text)) => {
            Ok(text.split_once('=').map_or(text.as_str(), |(key, _)| key).to_owned())
        }
        (Index::Key, _) => unexpected(),
        (Index::Mount, Value::Map(map)) => match map.get("target").and_then(Node::as_str) {
            Some(target) => Ok(target.to_owned()),
            None => Err("a mount needs a `target`".to_owned()),
        },
        (Index::Mount, Value::String(text)) => match volumes::parse(text) {
            Ok(mount) => Ok(mount.target),
            Err(_) if lenient => Ok(text.clone()),
            Err(message) => Err(message),
        },
        (Index::Device, Value::Map(map)) => match map.get("target").and_then(Node::as_str) {
            Some(target) => Ok(target.to_owned()),
            None => Err("a device needs a `target`".to_owned()),
        },
        (Index::Device, Value::String(text)) => {
            let mut parts = text.split(':');
            let first = parts.next().unwrap_or_default();
            Ok(parts.next().unwrap_or(first).to_owned())
        }
        (Index::File(folder), Value::String(text)) => Ok(format!("{folder}/{text}")),
        (Index::File(folder), Value::Map(map)) => match map.get("target") {
            Some(target) => Ok(written(Some(target))),
            None => Ok(format!("{folder}/{}", written(map.get("source")))),
        },
        (Index::File(_), _) => unexpected(),
        (Index::Expose, Value::String(_) | Value::Int(_)) => Ok(written(Some(item))),
        (Index::Expose, _) => unexpected(),
        (Index::Port, Value::Int(_) | Value::String(_)) => Ok(written(Some(item))),
        (Index::Port, Value::Map(map)) => port(map),
        (Index::EnvFile, Value::String(text)) => Ok(text.clone()),
        (Index::EnvFile, Value::Map(map)) => match map.get("path").and_then(Node::as_str) {
            Some(path) => Ok(path.to_owned()),
            None => Err("an env file needs a `path`".to_owned()),
        },
        (Index::Mount | Index::Device | Index::Port | Index::EnvFile, _) => Ok(String::new()),
    }
}

fn port(map: &Map) -> Result<String, String> {
    let Some(target) = map.get("target") else {
        return Err("a port needs a `target`".to_owned());
    };
    let or = |key: &str, default: &str| match map.get(key) {
        Some(node) => written(Some(node)),
        None => default.to_owned(),
    };
    // A number and the same digits in quotes are different ports to Compose here.
    let published = match map.get("published") {
        Some(node) if node.as_i64().is_some() => format!("int {}", written(Some(node))),
        other => written(other),
    };
    let (host, protocol) = (or("host_ip", "0.0.0.0"), or("protocol", "tcp"));
    Ok(format!("{host}:{published}:{}/{protocol}", written(Some(target))))
}

fn written(node: Option<&Node>) -> String {
    node.and_then(Node::scalar_text).unwrap_or_default()
}
