//! What no schema can say: values that exclude each other, references that lead nowhere, cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use serde_json::{Map as Object, Value as Json};

use super::conceal;
use super::interpolate::has_reference;
use super::path::Path;
use super::places::Places;
use super::problems::Problems;
use crate::config::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::config::yaml::{Map, Node, Value};

type Printed = Object<String, Json>;

/// What is checked of single values.
#[derive(Debug, Clone, Copy)]
enum Check {
    /// A volume of others has no settings of ours.
    Volume,
    /// A config or secret has one of these keys.
    Source(&'static [&'static str]),
    /// A port's address is one.
    Port,
    /// A watched path is not empty.
    Watched,
    /// Devices are counted or named.
    Devices,
}

static CHECKS: LazyLock<Places<Check>> = LazyLock::new(|| {
    Places::new(&[
        ("volumes.*", Check::Volume),
        ("configs.*", Check::Source(&["file", "environment", "content"])),
        ("secrets.*", Check::Source(&["file", "environment"])),
        ("services.*.ports.*", Check::Port),
        ("services.*.develop.watch.*.path", Check::Watched),
        ("services.*.deploy.resources.reservations.devices.*", Check::Devices),
        ("services.*.gpus.*", Check::Devices),
    ])
});

/// Checks single values of a model that is otherwise complete.
pub(super) fn values(model: &Node, lenient: bool, problems: &mut Problems) {
    walk(model, &Path::ROOT, &CHECKS, lenient, problems);
}

fn walk(node: &Node, path: &Path, place: &Places<Check>, lenient: bool, problems: &mut Problems) {
    if let Some(check) = place.here {
        return value(check, node, path, lenient, problems);
    }
    match &node.value {
        Value::Map(map) => {
            for (key, value) in map.iter() {
                if let Some(place) = place.key(key) {
                    walk(value, &path.key(key), place, lenient, problems);
                }
            }
        }
        Value::List(items) => {
            let Some(place) = place.item() else { return };
            for (index, item) in items.iter().enumerate() {
                walk(item, &path.index(index), place, lenient, problems);
            }
        }
        _ => {}
    }
}

fn value(check: Check, node: &Node, path: &Path, lenient: bool, problems: &mut Problems) {
    let mut report = |message: String, span: &Span| {
        let message = conceal::conceal(&format!("{path}{message}"), node);
        problems.add(|| Diagnostic::error("compose::value", message).at(span, "here"));
    };
    match check {
        Check::Volume => {
            if let Some(map) = node.as_map()
                && map.get("external").and_then(Node::as_bool) == Some(true)
            {
                let own = |key: &str| !matches!(key, "name" | "external") && !key.starts_with("x-");
                if let Some((key, entry)) = map.entries().find(|(key, _)| own(key)) {
                    report(format!(" is external, so `{key}` can't be set"), &entry.key);
                }
            }
        }
        Check::Source(keys) => {
            let empty = Map::default();
            let map = node.as_map().unwrap_or(&empty);
            match keys.iter().filter(|key| map.contains_key(key)).count() {
                0 if !map.contains_key("driver") && !map.contains_key("external") => {
                    report(format!(" needs one of {}", keys.join(", ")), &node.span);
                }
                0 | 1 => {}
                _ => report(format!(" can have only one of {}", keys.join(", ")), &node.span),
            }
        }
        Check::Port => {
            let ip = node.as_map().and_then(|map| map.get("host_ip"));
            if let Some(text) = ip.and_then(Node::as_str)
                && !(lenient && has_reference(text))
                && text.parse::<IpAddr>().is_err()
            {
                report(format!(": `{text}` is not an IP address"), &node.span);
            }
        }
        Check::Watched => {
            if node.as_str() == Some("") {
                report(" is empty".to_owned(), &node.span);
            }
        }
        Check::Devices => {
            if let Some(map) = node.as_map()
                && map.contains_key("count")
                && map.contains_key("device_ids")
            {
                report(": `count` and `device_ids` exclude each other".to_owned(), &node.span);
            }
        }
    }
}

/// A project as far as its parts refer to each other.
pub(super) struct Context<'a> {
    pub model: &'a Map,
    pub lenient: bool,
    pub services: BTreeMap<&'a str, &'a Printed>,
    pub disabled: BTreeSet<&'a str>,
    pub networks: BTreeSet<&'a str>,
    pub volumes: BTreeSet<&'a str>,
    pub configs: BTreeSet<&'a str>,
    pub secrets: BTreeMap<&'a str, &'a Printed>,
    pub models: BTreeSet<&'a str>,
}

/// Checks what parts of a project say about each other.
pub(super) fn consistency(context: &Context, problems: &mut Problems) {
    for (name, service) in &context.services {
        if problems.is_full() {
            return;
        }
        Checker { context, name, service, problems }.check();
    }
    for (name, secret) in &context.secrets {
        let external = secret.get("external") == Some(&Json::Bool(true));
        if !external && !secret.contains_key("file") && !secret.contains_key("environment") {
            let message = format!("secrets.{name} needs `file` or `environment`");
            problems.add(|| context.problem(&["secrets", name], message));
        }
    }
    container_names(context, problems);
    if problems.is_empty() {
        cycle(context, problems);
    }
}

impl Context<'_> {
    /// A problem at the deepest of these keys that is written somewhere.
    fn problem(&self, path: &[&str], message: String) -> Diagnostic {
        let diagnostic = Diagnostic::error("compose::consistency", message);
        let mut map = Some(self.model);
        let mut span = None;
        for key in path {
            let Some(entry) = map.and_then(|map| map.entry(key)) else { break };
            span = Some(&entry.key);
            map = entry.value.as_map();
        }
        match span {
            Some(span) => diagnostic.at(span, "here"),
            None => diagnostic,
        }
    }
}

struct Checker<'a, 'c> {
    context: &'a Context<'c>,
    name: &'a str,
    service: &'a Printed,
    problems: &'a mut Problems,
}

impl Checker<'_, '_> {
    fn check(&mut self) {
        let service = self.service;
        let has = |key: &str| service.contains_key(key);
        if !has("image") && !has("build") && !has("provider") {
            self.report(&[], "needs an `image` or a `build`");
        }
        self.build();
        if let (Some(mode), Some(networks)) = (self.text("network_mode"), service.get("networks"))
            && networks.as_object().is_some_and(|networks| !networks.is_empty())
        {
            let message = format!("can't have `network_mode: {mode}` and `networks`");
            self.report(&["network_mode"], &message);
        }
        self.references();
        self.dependencies();
        if let Some(first) =
            service.get("healthcheck").and_then(|check| check.get("test")?.get(0)?.as_str())
            && !matches!(first, "CMD" | "CMD-SHELL" | "NONE")
            && !self.is_kept(first)
        {
            self.report(
                &["healthcheck", "test"],
                "healthcheck.test must start with CMD, CMD-SHELL or NONE",
            );
        }
        self.limits();
        self.watch();
        self.targets();
    }

    fn report(&mut self, path: &[&str], message: &str) {
        self.report_with(path, message, None);
    }

    fn report_with(&mut self, path: &[&str], message: &str, help: Option<String>) {
        let full: Vec<&str> =
            ["services", self.name].into_iter().chain(path.iter().copied()).collect();
        let message = format!("services.{} {message}", self.name);
        let context = self.context;
        self.problems.add(|| {
            let problem = context.problem(&full, message);
            match help {
                Some(help) => problem.help(help),
                None => problem,
            }
        });
    }

    fn text(&self, key: &str) -> Option<String> {
        self.service.get(key).and_then(Json::as_str).map(str::to_owned)
    }

    fn is_kept(&self, text: &str) -> bool {
        self.context.lenient && has_reference(text)
    }

    fn build(&mut self) {
        let Some(build) = self.service.get("build") else { return };
        if build.get("dockerfile_inline").is_some() && build.get("dockerfile").is_some() {
            self.report(&["build"], "can't have `dockerfile` and `dockerfile_inline`");
        }
        let contexts = build.get("additional_contexts").and_then(Json::as_object);
        for (key, target) in contexts.into_iter().flatten() {
            let Some(target) = target.as_str().and_then(|text| text.strip_prefix("service:"))
            else {
                continue;
            };
            let message = match self.context.services.get(target) {
                None => format!("takes the unknown service `{target}` as the context `{key}`"),
                Some(service) if !service.contains_key("build") => {
                    format!("takes `{target}` as the context `{key}`, but that one isn't built")
                }
                Some(_) => continue,
            };
            self.report(&["build", "additional_contexts"], &message);
        }
        let platforms = build.get("platforms").and_then(Json::as_array);
        if let (Some(platforms), Some(platform)) = (platforms, self.text("platform"))
            && !platforms.iter().any(|other| other.as_str() == Some(&platform))
        {
            let message = format!("runs on {platform}, which `build.platforms` leaves out");
            self.report(&["platform"], &message);
        }
    }

    fn references(&mut self) {
        let keys = |value: Option<&Json>| -> Vec<String> {
            let map = value.and_then(Json::as_object).into_iter().flatten();
            map.map(|(key, _)| key.clone()).collect()
        };
        let sources = |value: Option<&Json>, volumes: bool| -> Vec<String> {
            let items = value.and_then(Json::as_array).into_iter().flatten();
            let items = items.filter(|item| {
                !volumes || item.get("type").and_then(Json::as_str) == Some("volume")
            });
            let source = |item: &Json| item.get("source").and_then(Json::as_str).map(str::to_owned);
            items.map(|item| source(item).unwrap_or_default()).collect()
        };
        let context = self.context;
        let secrets: BTreeSet<&str> = context.secrets.keys().copied().collect();
        let service = self.service;
        let build = service.get("build").and_then(|build| build.get("secrets"));
        let found = [
            ("networks", "network", keys(service.get("networks")), &context.networks),
            ("volumes", "volume", sources(service.get("volumes"), true), &context.volumes),
            ("configs", "config", sources(service.get("configs"), false), &context.configs),
            ("secrets", "secret", sources(service.get("secrets"), false), &secrets),
            ("build", "build secret", sources(build, false), &secrets),
            ("models", "model", keys(service.get("models")), &context.models),
        ];
        for (key, kind, names, declared) in found {
            for name in names {
                // An anonymous volume has no name.
                if declared.contains(name.as_str())
                    || self.is_kept(&name)
                    || (key == "volumes" && name.is_empty())
                {
                    continue;
                }
                let message = format!("uses the undefined {kind} `{name}`");
                let section = if key == "build" { "secrets" } else { key };
                let help = match did_you_mean(&name, declared.iter().copied()) {
                    Some(close) => format!("did you mean `{close}`?"),
                    None => format!("declare it under the top-level `{section}`"),
                };
                self.report_with(&[key, &name], &message, Some(help));
            }
        }
    }

    fn dependencies(&mut self) {
        let context = self.context;
        let dependencies = self.service.get("depends_on").and_then(Json::as_object);
        for (target, entry) in dependencies.into_iter().flatten() {
            if context.services.contains_key(target.as_str()) {
                continue;
            }
            let required = entry.get("required").and_then(Json::as_bool).unwrap_or(true);
            let disabled = context.disabled.contains(target.as_str());
            if disabled && !required {
                continue;
            }
            let message = match disabled {
                true => format!("depends on `{target}`, which no enabled profile includes"),
                false => format!("depends on the undefined service `{target}`"),
            };
            let close = did_you_mean(target, context.services.keys().copied());
            let help = close.map(|close| format!("did you mean `{close}`?"));
            self.report_with(&["depends_on", target], &message, help);
        }
        if let Some(mode) = self.text("network_mode")
            && let Some(target) = mode.strip_prefix("service:")
            && !context.services.contains_key(target)
            && !self.is_kept(target)
        {
            let message = format!("shares the network of `{target}`, which is not there");
            self.report(&["network_mode"], &message);
        }
    }

    fn limits(&mut self) {
        let deploy = self.service.get("deploy");
        let scale = self.service.get("scale").and_then(Json::as_i64);
        let replicas = deploy.and_then(|deploy| deploy.get("replicas")).and_then(Json::as_i64);
        if let (Some(scale), Some(replicas)) = (scale, replicas)
            && scale != replicas
        {
            self.report(&["scale"], "has a `scale` and a `deploy.replicas` that differ");
        }
        for (key, value) in [("scale", scale), ("deploy", replicas)] {
            if value.is_some_and(|value| value < 0) {
                self.report(&[key], "can't run fewer than 0 containers");
            }
        }
        if scale.or(replicas).is_some_and(|count| count > 1)
            && self.service.contains_key("container_name")
        {
            self.report(
                &["container_name"],
                "can't have a `container_name` and more than one container",
            );
        }
        let resources = deploy.and_then(|deploy| deploy.get("resources"));
        for (key, side, name) in [
            ("cpus", "limits", "cpus"),
            ("mem_limit", "limits", "memory"),
            ("mem_reservation", "reservations", "memory"),
            ("pids_limit", "limits", "pids"),
        ] {
            let Some(own) = self.service.get(key) else { continue };
            let Some(side_of) = resources.and_then(|resources| resources.get(side)) else {
                continue;
            };
            if side_of.get(name) != Some(own) {
                let message =
                    format!("has a `{key}` and a `deploy.resources.{side}.{name}` that differ");
                self.report(&[key], &message);
            }
        }
    }

    fn watch(&mut self) {
        let rules =
            self.service.get("develop").and_then(|develop| develop.get("watch")?.as_array());
        for rule in rules.into_iter().flatten() {
            let action = rule.get("action").and_then(Json::as_str).unwrap_or_default();
            if rule.get("target").is_none() && !matches!(action, "rebuild" | "restart") {
                let message = format!("has a watch rule `{action}` without a `target`");
                self.report(&["develop", "watch"], &message);
            }
        }
    }

    /// No two mounts may share a target.
    fn targets(&mut self) {
        let items =
            |key: &str| self.service.get(key).and_then(Json::as_array).into_iter().flatten();
        let tmpfs = items("tmpfs").filter_map(Json::as_str);
        let tmpfs = tmpfs.map(|text| ("tmpfs", text.split(':').next().unwrap_or_default()));
        let volumes = items("volumes").filter(|volume| volume.is_object());
        let volumes = volumes.map(|volume| {
            ("volumes", volume.get("target").and_then(Json::as_str).unwrap_or_default())
        });
        let mut seen = BTreeSet::new();
        let twice: Vec<(&str, &str)> =
            tmpfs.chain(volumes).filter(|(_, at)| !seen.insert(*at)).collect();
        for (key, target) in twice {
            let message = format!("mounts `{target}` twice");
            self.report(&[key], &message);
        }
    }
}

fn container_names(context: &Context, problems: &mut Problems) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, service) in &context.services {
        let Some(container) = service.get("container_name").and_then(Json::as_str) else {
            continue;
        };
        if let Some(other) = seen.insert(container, name) {
            let message =
                format!("services.{name} has the container name `{container}` of services.{other}");
            problems.add(|| context.problem(&["services", name, "container_name"], message));
        }
    }
}

/// Takes away services that wait for nothing until none is left, or a cycle.
fn cycle(context: &Context, problems: &mut Problems) {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut waited: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, service) in &context.services {
        let targets = service.get("depends_on").and_then(Json::as_object).into_iter().flatten();
        let targets: BTreeSet<&str> = targets
            .map(|(target, _)| target.as_str())
            .filter(|target| context.services.contains_key(target))
            .collect();
        for target in &targets {
            waited.entry(target).or_default().push(name);
        }
        waiting.insert(name, targets);
    }
    let mut ready: Vec<&str> =
        waiting.iter().filter(|(_, targets)| targets.is_empty()).map(|(name, _)| *name).collect();
    while let Some(done) = ready.pop() {
        waiting.remove(done);
        for name in waited.get(done).into_iter().flatten() {
            if let Some(targets) = waiting.get_mut(name) {
                targets.remove(done);
                if targets.is_empty() {
                    ready.push(name);
                }
            }
        }
    }
    let Some((start, _)) = waiting.first_key_value() else { return };
    let mut path: Vec<&str> = vec![start];
    while let Some(next) = path.last().and_then(|name| waiting.get(name)?.first()) {
        if let Some(at) = path.iter().position(|name| name == next) {
            let links = [&path[at..], &[*next]].concat().join(" → ");
            let message = format!("services depend on each other: {links}");
            problems.add(|| context.problem(&["services", next, "depends_on"], message));
            return;
        }
        path.push(next);
    }
}
