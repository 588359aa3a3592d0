//! Several files into one: each key by Compose's own rule, `!reset` and `!override` included.

use std::sync::LazyLock;

use super::path::Path;
use super::places::Places;
use crate::config::diagnostic::Diagnostic;
use crate::config::yaml::{Map, Node, Tag, Value};

/// How the values of one place meet.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Both become lists of `KEY=value` or items, joined.
    Sequence,
    /// Like `Sequence`, without what is there already.
    Hosts,
    /// The later one stands, even where it is null.
    Override,
    /// A string stands for `context`.
    Build,
    /// A list stands for a mapping with defaults.
    DependsOn,
    /// A list stands for a mapping with nothing.
    Keys,
    /// Options merge only where the drivers agree.
    Logging,
    /// Pools merge where their subnets agree.
    Pools,
}

static RULES: LazyLock<Places<Rule>> = LazyLock::new(|| {
    Places::new(&[
        ("networks.*.ipam.config", Rule::Pools),
        ("networks.*.labels", Rule::Sequence),
        ("volumes.*.labels", Rule::Sequence),
        ("services.*.annotations", Rule::Sequence),
        ("services.*.build", Rule::Build),
        ("services.*.build.args", Rule::Sequence),
        ("services.*.build.additional_contexts", Rule::Sequence),
        ("services.*.build.extra_hosts", Rule::Hosts),
        ("services.*.build.labels", Rule::Sequence),
        ("services.*.command", Rule::Override),
        ("services.*.depends_on", Rule::DependsOn),
        ("services.*.deploy.labels", Rule::Sequence),
        ("services.*.dns", Rule::Sequence),
        ("services.*.dns_opt", Rule::Sequence),
        ("services.*.dns_search", Rule::Sequence),
        ("services.*.entrypoint", Rule::Override),
        ("services.*.env_file", Rule::Sequence),
        ("services.*.label_file", Rule::Sequence),
        ("services.*.environment", Rule::Sequence),
        ("services.*.extra_hosts", Rule::Hosts),
        ("services.*.healthcheck.test", Rule::Override),
        ("services.*.labels", Rule::Sequence),
        ("services.*.logging", Rule::Logging),
        ("services.*.models", Rule::Keys),
        ("services.*.networks", Rule::Keys),
        ("services.*.sysctls", Rule::Sequence),
        ("services.*.tmpfs", Rule::Sequence),
        ("services.*.ulimits.*", Rule::Override),
    ])
});

type Merged = Result<Node, Box<Diagnostic>>;

/// What `base` becomes under `over`.
pub(super) fn merge(base: Node, over: Node, path: &Path) -> Merged {
    if let Some(rule) = RULES.at(path).and_then(|place| place.here) {
        return by_rule(rule, base, over, path);
    }
    if over.is_null() {
        return Ok(base);
    }
    let span = base.span.clone();
    match (base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => {
            Ok(Node::new(Value::Map(merge_maps(base, over, path)?), &span))
        }
        (Value::List(mut base), Value::List(over)) => {
            base.extend(over);
            Ok(Node::new(Value::List(base), &span))
        }
        (Value::Map(_) | Value::List(_), other) => {
            let other = Node::new(other, &over.span);
            let message =
                format!("{path}: {} can't override what an earlier file has", other.kind_name());
            Err(Box::new(
                Diagnostic::error("compose::merge", message)
                    .at(&other.span, "this")
                    .help("`!override` replaces the earlier value"),
            ))
        }
        (_, value) => Ok(Node::new(value, &over.span)),
    }
}

/// What one mapping becomes under another, key by key.
pub(super) fn merge_maps(mut base: Map, over: Map, path: &Path) -> Result<Map, Box<Diagnostic>> {
    for (key, entry) in over {
        let merged = match base.remove_in_place(&key) {
            Some(earlier) => merge(earlier, entry.value, &path.key(&key))?,
            None => {
                base.insert_entry(key, entry);
                continue;
            }
        };
        base.restore(&key, merged);
    }
    Ok(base)
}

/// What a service becomes when it extends another.
pub(super) fn extend_service(base: Node, service: Node) -> Merged {
    let services = Path::ROOT.key("services");
    merge(base, service, &services.key("x"))
}

fn by_rule(rule: Rule, base: Node, over: Node, path: &Path) -> Merged {
    let span = if over.is_null() { base.span.clone() } else { over.span.clone() };
    let value = match rule {
        Rule::Override => over.value,
        Rule::Sequence => {
            let mut items = into_sequence(base);
            items.extend(into_sequence(over));
            Value::List(items)
        }
        Rule::Hosts => {
            let mut items = into_sequence(base);
            let added: Vec<Node> = into_sequence(over)
                .into_iter()
                .filter(|item| !items.iter().any(|other| other.value == item.value))
                .collect();
            items.extend(added);
            Value::List(items)
        }
        Rule::Build => Value::Map(merge_maps(context_map(base), context_map(over), path)?),
        Rule::DependsOn => {
            let base = into_mapping(base, Some(("service_started", true)));
            let over = into_mapping(over, Some(("service_started", true)));
            Value::Map(merge_maps(base, over, path)?)
        }
        Rule::Keys => {
            Value::Map(merge_maps(into_mapping(base, None), into_mapping(over, None), path)?)
        }
        Rule::Logging => match (base.value, over.value) {
            (Value::Map(base), Value::Map(over)) => {
                let driver = |map: &Map| map.get("driver").map(|node| node.value.clone());
                match (driver(&base), driver(&over)) {
                    (Some(a), Some(b)) if a != b => Value::Map(over),
                    _ => Value::Map(merge_maps(base, over, path)?),
                }
            }
            (base, Value::Null) => base,
            (_, over) => over,
        },
        Rule::Pools => Value::List(merge_pools(base, over, path)?),
    };
    Ok(Node::new(value, &span))
}

/// `KEY=value` strings of a mapping, in order; a list as it is; a string alone.
fn into_sequence(node: Node) -> Vec<Node> {
    match node.value {
        Value::List(items) => items,
        Value::String(text) => vec![Node::string(text, &node.span)],
        Value::Map(map) => {
            let mut items = Vec::with_capacity(map.len());
            for (key, entry) in map {
                let pair = |value: &Node| {
                    let text = value.scalar_text().unwrap_or_else(|| value.to_json().to_string());
                    Node::string(format!("{key}={text}"), &value.span)
                };
                match &entry.value.value {
                    Value::Null => items.push(Node::string(key.clone(), &entry.key)),
                    Value::List(values) => items.extend(values.iter().map(pair)),
                    _ => items.push(pair(&entry.value)),
                }
            }
            items.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            items
        }
        _ => Vec::new(),
    }
}

fn context_map(node: Node) -> Map {
    match node.value {
        Value::Map(map) => map,
        Value::String(text) => {
            let mut map = Map::default();
            map.insert("context", Node::string(text, &node.span));
            map
        }
        _ => Map::default(),
    }
}

fn into_mapping(node: Node, dependency: Option<(&str, bool)>) -> Map {
    match node.value {
        Value::Map(map) => map,
        Value::List(items) => {
            let mut map = Map::default();
            for item in items {
                let Some(key) = item.as_str() else { continue };
                let value = match dependency {
                    None => Value::Null,
                    Some((condition, required)) => {
                        let mut entry = Map::default();
                        entry.insert("condition", Node::string(condition, &item.span));
                        entry.insert("required", Node::new(Value::Bool(required), &item.span));
                        Value::Map(entry)
                    }
                };
                map.insert(key, Node::new(value, &item.span));
            }
            map
        }
        _ => Map::default(),
    }
}

/// Pools by subnet, with the outcomes that Compose's loop has: an empty side leaves nothing.
fn merge_pools(base: Node, over: Node, path: &Path) -> Result<Vec<Node>, Box<Diagnostic>> {
    let items = |node: Node| match node.value {
        Value::List(items) => Ok(items),
        _ => Err(Box::new(
            Diagnostic::error(
                "compose::merge",
                format!("{path} must be a list, not {}", node.kind_name()),
            )
            .at(&node.span, "here"),
        )),
    };
    let (base, over) = (items(base)?, items(over)?);
    let subnet = |map: &Map| map.get("subnet").map(|node| node.value.clone());
    let mut pools: Vec<(Map, Node)> = Vec::new();
    for original in base {
        let mut right = into_mapping(original.clone(), None);
        for item in &over {
            let left = into_mapping(item.clone(), None);
            let known = pools.iter().any(|(pool, _)| subnet(pool) == subnet(&left));
            if subnet(&left) != subnet(&right) && !known {
                pools.push((left, item.clone()));
                continue;
            }
            right = merge_maps(right, left, path)?;
            match pools.iter_mut().find(|(pool, _)| subnet(pool) == subnet(&right)) {
                Some((pool, _)) => *pool = right.clone(),
                None => pools.push((right.clone(), original.clone())),
            }
        }
    }
    Ok(pools.into_iter().map(|(map, node)| Node::new(Value::Map(map), &node.span)).collect())
}

/// The places of a file's `!reset` and `!override`; what is reset leaves the tree.
pub(super) fn take_resets(node: &mut Node) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    collect_resets(node, &mut Vec::new(), true, &mut found);
    found
}

fn collect_resets(
    node: &mut Node,
    path: &mut Vec<String>,
    record: bool,
    found: &mut Vec<Vec<String>>,
) {
    match &mut node.value {
        Value::Map(map) => map.retain(|key, value| {
            path.push(key.to_owned());
            if record && value.tag.is_some() {
                found.push(path.clone());
            }
            if value.tag.is_none() {
                collect_resets(value, path, record, found);
            }
            path.pop();
            value.tag != Some(Tag::Reset)
        }),
        // Compose has no way to name a list's item, so a tag there removes only the item itself.
        Value::List(items) => {
            items.retain(|item| item.tag != Some(Tag::Reset));
            for item in items {
                collect_resets(item, path, false, found);
            }
        }
        _ => {}
    }
}

/// Removes the named places from what the files before said.
pub(super) fn apply_resets(map: &mut Map, resets: &[Vec<String>]) {
    for path in resets {
        remove_at(map, path);
    }
}

fn remove_at(map: &mut Map, path: &[String]) {
    match path {
        [] => {}
        [key] => {
            map.remove(key);
        }
        [key, rest @ ..] => {
            if let Some(inner) = map.get_mut(key).and_then(Node::as_map_mut) {
                remove_at(inner, rest);
            }
        }
    }
}
