//! Short forms into long ones, one family per file, and the defaults that Compose writes out.

mod ports;
pub(super) mod volumes;

use std::sync::LazyLock;

use super::conceal;
use super::path::Path;
use super::places::Places;
use super::problems::Problems;
use crate::config::diagnostic::Span;
use crate::config::yaml::{Map, Node, Value};

/// How strictly forms are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// A form that can't be read is an error.
    Strict,
    /// A form whose references the host resolves stays as written where it must.
    Template,
    /// A form that can't be read stays as written.
    Raw,
}

type Outcome = Result<(), String>;
type Transform = fn(&mut Node, Reading) -> Outcome;

/// What is rewritten where.
static FORMS: LazyLock<Places<Transform>> = LazyLock::new(|| {
    Places::new(&[
        ("services.*.build", build),
        ("services.*.build.secrets.*", file_mount),
        ("services.*.build.provenance", printed),
        ("services.*.build.sbom", printed),
        ("services.*.build.additional_contexts", key_values),
        ("services.*.build.ssh", ssh),
        ("services.*.depends_on", depends_on),
        ("services.*.env_file", env_file),
        ("services.*.label_file", string_or_list),
        ("services.*.extends", extends),
        ("services.*.gpus", gpus),
        ("services.*.networks", keys),
        ("services.*.models", keys),
        ("services.*.volumes.*", volumes::rewrite),
        ("services.*.dns", string_or_list),
        ("services.*.devices.*", device),
        ("services.*.secrets.*", file_mount),
        ("services.*.configs.*", file_mount),
        ("services.*.ports", ports::rewrite),
        ("services.*.develop.watch.*.ignore", string_or_list),
        ("services.*.develop.watch.*.include", string_or_list),
        ("volumes.*", external),
        ("networks.*", external),
        ("secrets.*", external),
        ("configs.*", external),
    ])
});

static DEFAULTS: LazyLock<Places<Transform>> = LazyLock::new(|| {
    Places::new(&[
        ("services.*.build", default_context),
        ("services.*.secrets.*", default_secret_target),
        ("services.*.ports.*", default_port),
        ("services.*.deploy.resources.reservations.devices.*", default_count),
        ("services.*.gpus.*", default_count),
    ])
});

/// Rewrites the short forms below `node`.
pub(super) fn canonical(node: &mut Node, reading: Reading, problems: &mut Problems) {
    walk(node, &Path::ROOT, &FORMS, reading, problems);
}

/// Fills in what Compose fills in.
pub(super) fn defaults(node: &mut Node, reading: Reading, problems: &mut Problems) {
    walk(node, &Path::ROOT, &DEFAULTS, reading, problems);
}

fn walk(
    node: &mut Node,
    path: &Path,
    place: &Places<Transform>,
    reading: Reading,
    problems: &mut Problems,
) {
    if let Some(transform) = place.here
        && let Err(message) = transform(node, reading)
    {
        problems.add(|| conceal::error("compose::form", &format!("{path}: {message}"), node));
        return;
    }
    match &mut node.value {
        Value::Map(map) => {
            for (key, value) in map.iter_mut() {
                if let Some(place) = place.key(key) {
                    walk(value, &path.key(key), place, reading, problems);
                }
            }
        }
        Value::List(items) => {
            let Some(place) = place.item() else { return };
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &path.index(index), place, reading, problems);
            }
        }
        _ => {}
    }
}

/// A mapping with one entry.
fn single(key: &str, value: Node) -> Value {
    let mut map = Map::default();
    map.insert(key, value);
    Value::Map(map)
}

fn unexpected(node: &Node) -> Outcome {
    Err(format!("{} is not expected here", node.kind_name()))
}

fn set_default(map: &mut Map, key: &str, value: Node) {
    if !map.contains_key(key) {
        map.insert(key, value);
    }
}

fn build(node: &mut Node, _: Reading) -> Outcome {
    match &node.value {
        Value::Map(_) => {}
        Value::String(text) => node.value = single("context", Node::string(text, &node.span)),
        _ => return unexpected(node),
    }
    Ok(())
}

fn file_mount(node: &mut Node, _: Reading) -> Outcome {
    match &node.value {
        Value::Map(_) => {}
        Value::String(text) => node.value = single("source", Node::string(text, &node.span)),
        _ => return unexpected(node),
    }
    Ok(())
}

fn extends(node: &mut Node, _: Reading) -> Outcome {
    match &node.value {
        Value::Map(_) => {}
        Value::String(text) => node.value = single("service", Node::string(text, &node.span)),
        _ => return unexpected(node),
    }
    Ok(())
}

/// A scalar as the string that Go prints for it.
fn printed(node: &mut Node, _: Reading) -> Outcome {
    node.value = Value::String(node.scalar_text().unwrap_or_else(|| "<nil>".to_owned()));
    Ok(())
}

fn string_or_list(node: &mut Node, _: Reading) -> Outcome {
    if let Value::String(text) = &node.value {
        node.value = Value::List(vec![Node::string(text, &node.span)]);
    }
    Ok(())
}

fn key_values(node: &mut Node, reading: Reading) -> Outcome {
    let Value::List(items) = &node.value else {
        return if node.as_map().is_some() { Ok(()) } else { unexpected(node) };
    };
    let mut map = Map::default();
    for item in items {
        match item.as_str().and_then(|text| text.split_once('=')) {
            Some((key, value)) => map.insert(key, Node::string(value, &item.span)),
            None if reading != Reading::Strict => return Ok(()),
            None => return Err("an item must be `key=value`".to_owned()),
        }
    }
    node.value = Value::Map(map);
    Ok(())
}

fn ssh(node: &mut Node, _: Reading) -> Outcome {
    let Value::List(items) = &node.value else {
        return if node.as_map().is_some() { Ok(()) } else { unexpected(node) };
    };
    let mut map = Map::default();
    for item in items {
        match item.as_str().map(|text| (text, text.split_once('='))) {
            Some((_, Some((id, path)))) => map.insert(id, Node::string(path, &item.span)),
            Some(("default", None)) => map.insert("default", Node::new(Value::Null, &item.span)),
            _ => return Err("an SSH key is `default` or `id=path`".to_owned()),
        }
    }
    node.value = Value::Map(map);
    Ok(())
}

fn depends_on(node: &mut Node, _: Reading) -> Outcome {
    let started = |entry: &mut Map, span: &Span| {
        set_default(entry, "condition", Node::string("service_started", span));
        set_default(entry, "required", Node::new(Value::Bool(true), span));
    };
    match &mut node.value {
        Value::Map(map) => {
            for (key, value) in map.iter_mut() {
                let span = value.span.clone();
                match value.as_map_mut() {
                    Some(entry) => started(entry, &span),
                    None => return Err(format!("`{key}` must be a mapping")),
                }
            }
        }
        Value::List(items) => {
            let mut map = Map::default();
            for item in items {
                let mut entry = Map::default();
                started(&mut entry, &item.span);
                if let Some(name) = item.as_str() {
                    map.insert(name, Node::new(Value::Map(entry), &item.span));
                }
            }
            node.value = Value::Map(map);
        }
        _ => return unexpected(node),
    }
    Ok(())
}

fn env_file(node: &mut Node, _: Reading) -> Outcome {
    if let Value::String(text) = &node.value {
        node.value = Value::List(vec![Node::string(text, &node.span)]);
    }
    let Value::List(items) = &mut node.value else { return unexpected(node) };
    for item in items {
        let required = Node::new(Value::Bool(true), &item.span);
        if let Value::String(text) = &item.value {
            item.value = single("path", Node::string(text, &item.span));
        }
        if let Value::Map(map) = &mut item.value {
            set_default(map, "required", required);
        }
    }
    Ok(())
}

fn gpus(node: &mut Node, _: Reading) -> Outcome {
    match &node.value {
        Value::List(_) => {}
        Value::String(_) => {
            let all = single("count", Node::string("all", &node.span));
            node.value = Value::List(vec![Node::new(all, &node.span)]);
        }
        _ => return unexpected(node),
    }
    Ok(())
}

/// A list of names as a mapping of those to nothing.
fn keys(node: &mut Node, _: Reading) -> Outcome {
    if let Value::List(items) = &node.value {
        let mut map = Map::default();
        for item in items {
            if let Some(name) = item.as_str() {
                map.insert(name, Node::new(Value::Null, &item.span));
            }
        }
        node.value = Value::Map(map);
    }
    Ok(())
}

fn device(node: &mut Node, reading: Reading) -> Outcome {
    let text = match &node.value {
        Value::Map(_) => return Ok(()),
        Value::String(text) => text.clone(),
        _ => return unexpected(node),
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts[..] {
        [source] => (source, "", "rwm"),
        [source, target] => (source, target, "rwm"),
        [source, target, permissions] => (source, target, permissions),
        _ if reading != Reading::Strict => ("", "", "rwm"),
        _ => return Err("too many colons in a device; use the long form".to_owned()),
    };
    let target = if target.is_empty() { source } else { target };
    let mut map = Map::default();
    map.insert("source", Node::string(source, &node.span));
    map.insert("target", Node::string(target, &node.span));
    map.insert("permissions", Node::string(permissions, &node.span));
    node.value = Value::Map(map);
    Ok(())
}

/// `external: {name: x}`, the deprecated form, as `external: true` and `name: x`.
fn external(node: &mut Node, _: Reading) -> Outcome {
    let Some(map) = node.as_map_mut() else {
        return if node.is_null() { Ok(()) } else { unexpected(node) };
    };
    let Some(external) = map.get_mut("external") else { return Ok(()) };
    let Some(inner) = external.as_map() else { return Ok(()) };
    let name = inner.get("name").cloned();
    external.value = Value::Bool(true);
    match (name, map.get("name")) {
        (Some(name), Some(own)) if own.value != name.value => {
            Err("`name` and `external.name` differ; keep `name`".to_owned())
        }
        (Some(name), None) => {
            map.insert("name", name);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn default_context(node: &mut Node, _: Reading) -> Outcome {
    let context = Node::string(".", &node.span);
    if let Some(map) = node.as_map_mut() {
        set_default(map, "context", context);
    }
    Ok(())
}

fn default_secret_target(node: &mut Node, _: Reading) -> Outcome {
    let span = node.span.clone();
    let Some(map) = node.as_map_mut() else { return unexpected(node) };
    let source = map.get("source").and_then(Node::scalar_text).unwrap_or_default();
    set_default(map, "target", Node::string(format!("/run/secrets/{source}"), &span));
    Ok(())
}

fn default_port(node: &mut Node, _: Reading) -> Outcome {
    let span = node.span.clone();
    if let Some(map) = node.as_map_mut() {
        set_default(map, "protocol", Node::string("tcp", &span));
        set_default(map, "mode", Node::string("ingress", &span));
    }
    Ok(())
}

fn default_count(node: &mut Node, _: Reading) -> Outcome {
    let span = node.span.clone();
    let Some(map) = node.as_map_mut() else { return unexpected(node) };
    if !map.contains_key("count") && !map.contains_key("device_ids") {
        map.insert("count", Node::string("all", &span));
    }
    Ok(())
}
