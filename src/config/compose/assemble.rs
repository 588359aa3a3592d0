//! A finished model into the typed project: forms, profiles, env files, what services really use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map as Object, Value as Json};

use super::environment::Environment;
use super::load::{Session, reason};
use super::path::Path;
use super::places::Places;
use super::problems::Problems;
use super::shape::{self, Flavour, Shape, Writer};
use super::{
    Config, Interpolation, LoadOptions, Network, Project, Secret, Service, Variable, Volume, check,
    dotenv, interpolate, unique,
};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::yaml::{Map, Node, Value};

type Printed = Object<String, Json>;

/// The lists of variables, which are gone through before they are printed.
static RESOLVED: LazyLock<Places<()>> =
    LazyLock::new(|| Places::new(&[("services.*.environment", ()), ("services.*.build.args", ())]));

/// A resource in Compose's two prints.
#[derive(Debug, Clone, Default)]
struct Prints {
    json: Printed,
    yaml: Printed,
    formats: BTreeMap<String, String>,
}

impl Prints {
    fn set(&mut self, key: &str, value: Json) {
        self.json.insert(key.to_owned(), value.clone());
        self.yaml.insert(key.to_owned(), value);
    }

    /// The format that an env file's entry names; the print for required files leaves it out.
    fn format_of(&self, path: &str) -> Option<String> {
        self.formats.get(path).cloned()
    }

    fn remove(&mut self, key: &str) {
        self.json.remove(key);
        self.yaml.remove(key);
    }
}

type Section = BTreeMap<String, Prints>;
/// Resources in the print that can be read back.
type Canonical = BTreeMap<String, Printed>;

/// Makes the project of a model.
pub(super) fn project(
    session: &Session,
    options: &LoadOptions,
    env: &Environment,
    name: String,
    model: Map,
) -> Result<Project, Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let mut section = |key: &str, shape: &Shape| -> Section {
        let entries = model.get(key).and_then(Node::as_map).into_iter().flat_map(Map::iter);
        let path = Path::ROOT.key(key);
        entries
            .filter(|(_, node)| !node.is_null())
            .map(|(name, node)| {
                let mut print = |flavour| {
                    let mut ignored = Problems::default();
                    let raw = session.mode() == Interpolation::Off;
                    let problems = match flavour {
                        Flavour::Json if !raw => &mut problems,
                        // The same problems a second time, or a model that isn't complete.
                        _ => &mut ignored,
                    };
                    let lenient = raw || session.lenient();
                    let mut writer = Writer { flavour, lenient, problems };
                    match writer.write(node, shape, &path.key(name)) {
                        Some(Json::Object(object)) => object,
                        _ => Printed::new(),
                    }
                };
                let (json, yaml) = (print(Flavour::Json), print(Flavour::Yaml));
                let prints = Prints { json, yaml, formats: formats(node) };
                (name.to_owned(), prints)
            })
            .collect()
    };
    let services = section("services", &shape::SERVICE);
    let mut networks = section("networks", &shape::NETWORK);
    let mut volumes = section("volumes", &shape::VOLUME);
    let mut configs = section("configs", &shape::CONFIG);
    let mut secrets = section("secrets", &shape::SECRET);
    let mut models = section("models", &shape::MODEL);
    problems.result()?;
    // A config that takes its text from a variable prints the variable, not the text.
    for prints in configs.values_mut() {
        if prints.json.contains_key("environment") {
            prints.remove("content");
        }
    }
    let spans = spans(&model);
    let raw = (session.mode() == Interpolation::Off).then(|| raw(&model));
    let (mut enabled, disabled): (Section, Section) = services
        .into_iter()
        .partition(|(_, service)| raw.is_some() || is_enabled(&service.json, &options.profiles));
    if raw.is_none() {
        for service in enabled.values_mut() {
            copy_scale(service);
        }
        let context = check::Context {
            model: &model,
            lenient: session.lenient(),
            services: enabled.iter().map(|(name, s)| (name.as_str(), &s.json)).collect(),
            disabled: disabled.keys().map(String::as_str).collect(),
            networks: networks.keys().map(String::as_str).collect(),
            volumes: volumes.keys().map(String::as_str).collect(),
            configs: configs.keys().map(String::as_str).collect(),
            secrets: secrets.iter().map(|(name, s)| (name.as_str(), &s.json)).collect(),
            models: models.keys().map(String::as_str).collect(),
        };
        let mut problems = Problems::default();
        check::consistency(&context, &mut problems);
        problems.result()?;
        let mut problems = Problems::default();
        for (name, service) in &mut enabled {
            if options.resolve_env {
                let span = spans.get(name);
                if let Err(problem) = read_env_files(session, env, service, span) {
                    problems.add(|| *problem);
                }
                if let Err(problem) = read_label_files(session, service, span) {
                    problems.add(|| *problem);
                }
            }
        }
        problems.result()?;
        let used = Used::by(&enabled);
        networks.retain(|name, _| used.networks.contains(name));
        volumes.retain(|name, _| used.volumes.contains(name));
        configs.retain(|name, _| used.configs.contains(name));
        secrets.retain(|name, _| used.secrets.contains(name));
        models.retain(|name, _| used.models.contains(name));
    }
    let (services, enabled) = split(enabled);
    let (network_prints, networks) = split(networks);
    let (volume_prints, volumes) = split(volumes);
    let (secret_prints, secrets) = split(secrets);
    let (config_prints, configs) = split(configs);
    let (_, models) = split(models);
    let extensions: BTreeMap<String, Json> = model
        .iter()
        .filter(|(key, _)| key.starts_with("x-"))
        .map(|(key, node)| (key.to_owned(), node.to_json()))
        .collect();
    let printed = match raw {
        Some(raw) => raw,
        None => print(
            &name,
            services,
            [
                ("networks", network_prints),
                ("volumes", volume_prints),
                ("secrets", secret_prints),
                ("configs", config_prints),
            ],
            &extensions,
        ),
    };
    let typed = |section: Canonical| -> BTreeMap<String, Service> {
        let services = section.into_iter();
        services.map(|(name, object)| (name, Service::from_canonical(object))).collect()
    };
    Ok(Project {
        name,
        services: typed(enabled),
        disabled: typed(split(disabled).1),
        networks: resources(networks, Network::from_canonical),
        volumes: resources(volumes, Volume::from_canonical),
        configs: resources(configs, Config::from_canonical),
        secrets: resources(secrets, Secret::from_canonical),
        models: resources(models, |value| value),
        extensions,
        spans,
        interpolation: session.mode(),
        printed,
    })
}

fn formats(service: &Node) -> BTreeMap<String, String> {
    let files = service.as_map().and_then(|map| map.get("env_file")).and_then(Node::as_list);
    let entry = |file: &Node| {
        let text = |key: &str| file.as_map()?.get(key)?.as_str().map(str::to_owned);
        Some((text("path")?, text("format")?))
    };
    files.unwrap_or_default().iter().filter_map(entry).collect()
}

fn resources<T>(section: Canonical, typed: impl Fn(Json) -> T) -> BTreeMap<String, T> {
    section.into_iter().map(|(name, object)| (name, typed(Json::Object(object)))).collect()
}

/// The two prints of a section.
fn split(section: Section) -> (Printed, Canonical) {
    let prints = section.into_iter();
    prints.map(|(name, p)| ((name.clone(), Json::Object(p.json)), (name, p.yaml))).unzip()
}

/// The model as it stands, which is all that Compose prints without interpolation.
fn raw(model: &Map) -> Json {
    let entries =
        model.iter().map(|(key, node)| (key.to_owned(), raw_node(node, &Path::ROOT.key(key))));
    Json::Object(entries.collect())
}

fn raw_node(node: &Node, path: &Path) -> Json {
    match &node.value {
        Value::Map(map) => {
            let entries = map.iter();
            let entries =
                entries.map(|(key, node)| (key.to_owned(), raw_node(node, &path.key(key))));
            Json::Object(entries.collect())
        }
        // Compose prints an empty list as null, but where it has looked for doubles.
        Value::List(items) if items.is_empty() => {
            match unique::is_indexed(path) && RESOLVED.at(path).is_none_or(|p| p.here.is_none()) {
                true => Json::Array(Vec::new()),
                false => Json::Null,
            }
        }
        Value::List(items) => {
            let items = items.iter().enumerate();
            Json::Array(items.map(|(at, item)| raw_node(item, &path.index(at))).collect())
        }
        _ => node.to_json(),
    }
}

fn print(
    name: &str,
    services: Printed,
    sections: [(&str, Printed); 4],
    extensions: &BTreeMap<String, Json>,
) -> Json {
    let mut out = Printed::new();
    out.insert("name".to_owned(), Json::String(name.to_owned()));
    out.insert("services".to_owned(), Json::Object(services));
    for (key, section) in sections {
        if !section.is_empty() {
            out.insert(key.to_owned(), Json::Object(section));
        }
    }
    out.extend(extensions.iter().map(|(key, value)| (key.clone(), value.clone())));
    Json::Object(out)
}

fn spans(model: &Map) -> BTreeMap<String, Span> {
    let services = model.get("services").and_then(Node::as_map).into_iter();
    services
        .flat_map(Map::entries)
        .map(|(name, entry)| (name.to_owned(), entry.key.clone()))
        .collect()
}

fn is_enabled(service: &Printed, wanted: &[String]) -> bool {
    let profiles = service.get("profiles").and_then(Json::as_array);
    let Some(profiles) = profiles.filter(|profiles| !profiles.is_empty()) else { return true };
    wanted.iter().any(|wanted| {
        wanted == "*" || profiles.iter().any(|profile| profile.as_str() == Some(wanted))
    })
}

/// `scale` stands for `deploy.replicas` too, where there is a `deploy`.
fn copy_scale(service: &mut Prints) {
    for object in [&mut service.json, &mut service.yaml] {
        let Some(scale) = object.get("scale").cloned() else { continue };
        if let Some(deploy) = object.get_mut("deploy").and_then(Json::as_object_mut) {
            deploy.entry("replicas").or_insert(scale);
        }
    }
}

/// The variables of a service's env files go under its own.
fn read_env_files(
    session: &Session,
    env: &Environment,
    service: &mut Prints,
    span: Option<&Span>,
) -> Result<(), Box<Diagnostic>> {
    let own: BTreeMap<String, Option<String>> = service
        .json
        .get("environment")
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().map(str::to_owned)))
        .collect();
    let known = own.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
    let mut parsed = dotenv::Parsed { variables: known.collect(), ..Default::default() };
    let lookup = |name: &str| match (env.get(name), own.get(name)) {
        (Variable::Unset, Some(Some(value))) => Variable::Value(value.clone()),
        (found, _) => found,
    };
    let style = match session.mode() {
        Interpolation::Template => dotenv::Style::Template,
        Interpolation::Full | Interpolation::Off => dotenv::Style::Full,
    };
    let files = service.json.get("env_file").and_then(Json::as_array).cloned().unwrap_or_default();
    for file in &files {
        let path = file.as_str().or_else(|| file.get("path")?.as_str()).unwrap_or_default();
        let format = service.format_of(path);
        let location = session.locate(path);
        if !session.files.exists(&location) {
            if file.is_string() {
                return Err(missing("env file", path, span));
            }
            continue;
        }
        let bytes = read(session, "env file", path, span)?;
        match format.as_deref() {
            None | Some("" | ".env") => {
                dotenv::parse_into(path, &bytes, &lookup, style, &mut parsed)?;
            }
            Some("raw") => {
                let variables = dotenv::parse_raw(path, &bytes, &lookup)?;
                let escape = |value: String| match style {
                    dotenv::Style::Template => interpolate::escape(&value),
                    dotenv::Style::Full => value,
                };
                parsed.variables.extend(variables.into_iter().map(|(k, v)| (k, escape(v))));
            }
            Some(format) => {
                let message = format!("the env file {path} has the unknown format `{format}`");
                return Err(Box::new(Diagnostic::error("compose::env-file", message)));
            }
        }
    }
    session.warn_missing(&parsed.missing);
    service.remove("env_file");
    let mut environment: Printed =
        parsed.variables.into_iter().map(|(key, value)| (key, Json::String(value))).collect();
    environment.extend(own.into_iter().map(|(key, value)| (key, Json::from(value))));
    match environment.is_empty() {
        true => service.remove("environment"),
        false => service.set("environment", Json::Object(environment)),
    }
    Ok(())
}

/// The labels of a service's label files go under its own.
fn read_label_files(
    session: &Session,
    service: &mut Prints,
    span: Option<&Span>,
) -> Result<(), Box<Diagnostic>> {
    let files = service.json.get("label_file").and_then(Json::as_array).cloned();
    let mut labels = Printed::new();
    for path in files.iter().flatten().filter_map(Json::as_str) {
        if !session.files.exists(&session.locate(path)) {
            return Err(missing("label file", path, span));
        }
        let bytes = read(session, "label file", path, span)?;
        let lookup = |name: &str| match labels.get(name).and_then(Json::as_str) {
            Some(value) => Variable::Value(value.to_owned()),
            None => Variable::Unset,
        };
        let parsed = dotenv::parse(path, &bytes, &lookup, dotenv::Style::Full)?;
        session.warn_missing(&parsed.missing);
        let escape = |value: String| match session.mode() {
            Interpolation::Template => interpolate::escape(&value),
            Interpolation::Full | Interpolation::Off => value,
        };
        labels.extend(parsed.variables.into_iter().map(|(k, v)| (k, Json::String(escape(v)))));
    }
    service.remove("label_file");
    if !labels.is_empty() {
        let own = service.json.get("labels").and_then(Json::as_object).cloned();
        labels.extend(own.into_iter().flatten());
        service.set("labels", Json::Object(labels));
    }
    Ok(())
}

fn missing(kind: &str, path: &str, span: Option<&Span>) -> Box<Diagnostic> {
    let diagnostic =
        Diagnostic::error("compose::env-file", format!("the {kind} {path} is not there"));
    Box::new(match span {
        Some(span) => diagnostic.at(span, "needed by this service"),
        None => diagnostic,
    })
}

fn read(
    session: &Session,
    kind: &str,
    path: &str,
    span: Option<&Span>,
) -> Result<Vec<u8>, Box<Diagnostic>> {
    session.files.read(&session.locate(path)).map_err(|error| {
        let message = format!("the {kind} {path} can't be read: {}", reason(&error));
        let diagnostic = Diagnostic::error("compose::env-file", message);
        Box::new(match span {
            Some(span) => diagnostic.at(span, "needed by this service"),
            None => diagnostic,
        })
    })
}

/// What the enabled services use.
#[derive(Default)]
struct Used {
    networks: BTreeSet<String>,
    volumes: BTreeSet<String>,
    configs: BTreeSet<String>,
    secrets: BTreeSet<String>,
    models: BTreeSet<String>,
}

impl Used {
    fn by(services: &Section) -> Self {
        let mut used = Self::default();
        for service in services.values() {
            let keys = |key: &str| {
                let map = service.json.get(key).and_then(Json::as_object).into_iter().flatten();
                map.map(|(name, _)| name.clone())
            };
            used.networks.extend(keys("networks"));
            used.models.extend(keys("models"));
            let sources = |list: Option<&Json>, volumes: bool| -> Vec<String> {
                let items = list.and_then(Json::as_array).into_iter().flatten();
                let items = items.filter(|item| {
                    !volumes || item.get("type").and_then(Json::as_str) == Some("volume")
                });
                items.filter_map(|item| item.get("source")?.as_str().map(str::to_owned)).collect()
            };
            used.volumes.extend(sources(service.json.get("volumes"), true));
            used.configs.extend(sources(service.json.get("configs"), false));
            used.secrets.extend(sources(service.json.get("secrets"), false));
            let build = service.json.get("build").and_then(|build| build.get("secrets"));
            used.secrets.extend(sources(build, false));
        }
        used
    }
}
