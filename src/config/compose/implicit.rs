//! What a model means without saying it: the default network, names, dependencies, build defaults.

use super::environment::Environment;
use super::normalise::volumes::clean_target;
use super::{Interpolation, Variable, interpolate};
use crate::config::diagnostic::Span;
use crate::config::yaml::{Map, Node, Value};

/// The sections whose resources have names in Docker.
const NAMED: [&str; 4] = ["networks", "volumes", "configs", "secrets"];

/// Writes out what is implied, but for names: those depend on the project's.
pub(super) fn apply(model: &mut Map, env: &Environment, mode: Interpolation) {
    networks(model);
    if let Some(services) = model.get_mut("services").and_then(Node::as_map_mut) {
        for (_, service) in services.iter_mut() {
            let span = service.span.clone();
            if let Some(service) = service.as_map_mut() {
                self::service(service, &span, env, mode);
            }
        }
    }
    for section in NAMED {
        let resources = model.get_mut(section).and_then(Node::as_map_mut);
        for (_, resource) in resources.into_iter().flat_map(Map::iter_mut) {
            if resource.is_null() {
                resource.value = Value::Map(Map::default());
            }
        }
    }
}

/// The names of a section's resources that have none, by key: the project and the key, or the key
/// alone of what is not the project's.
pub(super) fn names(model: &Map, section: &str, project: &str) -> Vec<(String, String)> {
    let resources = model.get(section).filter(|_| NAMED.contains(&section)).and_then(Node::as_map);
    let nameless = resources.into_iter().flat_map(Map::iter).filter_map(|(key, resource)| {
        let resource = resource.as_map()?;
        resource.get("name").is_none_or(Node::is_null).then_some((key, resource))
    });
    let named = nameless.map(|(key, resource)| {
        let external = resource.get("external").and_then(Node::scalar_text);
        let external =
            matches!(external.as_deref(), Some("true" | "1" | "t" | "T" | "TRUE" | "True"));
        let name = if external { key.to_owned() } else { format!("{project}_{key}") };
        (key.to_owned(), name)
    });
    named.collect()
}

/// Services without networks join `default`, which then exists.
fn networks(model: &mut Map) {
    let mut uses_default = None;
    if let Some(services) = model.get_mut("services").and_then(Node::as_map_mut) {
        for (_, service) in services.iter_mut() {
            let span = service.span.clone();
            let Some(service) = service.as_map_mut() else { continue };
            if service.contains_key("provider") || service.contains_key("network_mode") {
                continue;
            }
            let joined = service.get("networks").and_then(Node::as_map);
            if joined.is_none_or(Map::is_empty) {
                let mut only = Map::default();
                only.insert("default", Node::new(Value::Null, &span));
                service.insert("networks", Node::new(Value::Map(only), &span));
                uses_default = Some(span);
            } else if joined.is_some_and(|joined| joined.contains_key("default")) {
                uses_default = Some(span);
            }
        }
    }
    let Some(span) = uses_default else { return };
    if model.get("networks").and_then(Node::as_map).is_none() {
        model.insert("networks", Node::new(Value::Map(Map::default()), &span));
    }
    if let Some(networks) = model.get_mut("networks").and_then(Node::as_map_mut)
        && !networks.contains_key("default")
    {
        networks.insert("default", Node::new(Value::Null, &span));
    }
}

fn service(service: &mut Map, span: &Span, env: &Environment, mode: Interpolation) {
    if let Some(policy) = service.get_mut("pull_policy")
        && policy.as_str() == Some("if_not_present")
    {
        policy.value = Value::String("missing".to_owned());
    }
    if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) {
        let absent = |map: &Map, key: &str| map.get(key).is_none_or(Node::is_null);
        if absent(build, "context") {
            build.insert("context", Node::string(".", span));
        }
        if absent(build, "dockerfile") && absent(build, "dockerfile_inline") {
            build.insert("dockerfile", Node::string("Dockerfile", span));
        }
        if let Some(args) = build.get_mut("args") {
            resolve(args, env, mode, false);
        }
    }
    if let Some(environment) = service.get_mut("environment") {
        resolve(environment, env, mode, true);
    }
    if let Some(volumes) = service.get_mut("volumes").and_then(Node::as_list_mut) {
        for volume in volumes.iter_mut() {
            let target = volume.as_map_mut().and_then(|map| map.get_mut("target"));
            if let Some(Value::String(target)) = target.map(|node| &mut node.value) {
                *target = clean_target(target);
            }
        }
    }
    dependencies(service, span);
}

/// Links, shared namespaces and `volumes_from` are dependencies too.
fn dependencies(service: &mut Map, span: &Span) {
    let mut found: Vec<(String, bool)> = Vec::new();
    let strings = |key: &str| {
        let items = service.get(key).and_then(Node::as_list).unwrap_or_default();
        items.iter().filter_map(Node::as_str)
    };
    for link in strings("links") {
        let parts: Vec<&str> = link.split(':').collect();
        found.push((if parts.len() == 2 { parts[0] } else { link }.to_owned(), true));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let shared = service.get(key).and_then(Node::as_str);
        if let Some(name) = shared.and_then(|shared| shared.strip_prefix("service:")) {
            found.push((name.to_owned(), true));
        }
    }
    for from in strings("volumes_from").filter(|from| !from.starts_with("container:")) {
        found.push((from.split(':').next().unwrap_or_default().to_owned(), false));
    }
    if found.is_empty() {
        return;
    }
    if service.get("depends_on").and_then(Node::as_map).is_none() {
        service.insert("depends_on", Node::new(Value::Map(Map::default()), span));
    }
    let Some(dependencies) = service.get_mut("depends_on").and_then(Node::as_map_mut) else {
        return;
    };
    for (name, restart) in found {
        if dependencies.contains_key(&name) {
            continue;
        }
        let mut entry = Map::default();
        entry.insert("condition", Node::string("service_started", span));
        entry.insert("restart", Node::new(Value::Bool(restart), span));
        entry.insert("required", Node::new(Value::Bool(true), span));
        dependencies.insert(name, Node::new(Value::Map(entry), span));
    }
}

/// Fills in variables that are named without a value; those that nobody sets stay or go.
pub(super) fn resolve(node: &mut Node, env: &Environment, mode: Interpolation, keep: bool) {
    let value = |name: &str| match (env.get(name), mode) {
        (Variable::Value(value), Interpolation::Template) => Some(interpolate::escape(&value)),
        (Variable::Value(value), _) => Some(value),
        (Variable::Host | Variable::Unset, _) => None,
    };
    let kept =
        |name: &str| keep || (mode == Interpolation::Template && env.get(name) == Variable::Host);
    match &mut node.value {
        Value::Map(map) => map.retain(|key, entry| {
            if !entry.is_null() {
                return true;
            }
            match value(key) {
                Some(value) => {
                    entry.value = Value::String(value);
                    true
                }
                None => kept(key),
            }
        }),
        Value::List(items) => items.retain_mut(|item| {
            let Some(text) = item.as_str().filter(|text| !text.contains('=')) else { return true };
            match value(text) {
                Some(value) => {
                    item.value = Value::String(format!("{text}={value}"));
                    true
                }
                None => kept(text),
            }
        }),
        _ => {}
    }
}
