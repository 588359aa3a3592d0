//! A finished model into the typed project: forms, profiles, env files, what services really use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use serde_json::{Map as Object, Value as Json};

use super::environment::Environment;
use super::load::{Session, reason};
use super::path::Path;
use super::places::Places;
use super::problems::Problems;
use super::shape::{self, Shape, Writer};
use super::{
    Config, Interpolation, LoadOptions, Network, Project, Secret, Service, Variable, Volume, check,
    dotenv, implicit, interpolate, unique,
};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::yaml::{Map, Node, Value};

type Printed = Object<String, Json>;

/// The lists of variables, which are gone through before they are printed.
static RESOLVED: LazyLock<Places<()>> =
    LazyLock::new(|| Places::new(&[("services.*.environment", ()), ("services.*.build.args", ())]));

type Section = BTreeMap<String, Printed>;
type Services = BTreeMap<String, Arc<Service>>;

/// A finished model: merged, with what is implied written out, and its resources in their canonical
/// form. Neither the project's name nor its profiles have a part in it.
pub(super) struct Model {
    map: Map,
    services: Services,
    networks: Section,
    volumes: Section,
    configs: Section,
    secrets: Section,
    models: Section,
}

impl Model {
    /// Brings the resources of a merged model into their forms.
    pub fn print(session: &Session, map: Map) -> Result<Self, Vec<Diagnostic>> {
        let raw = session.mode() == Interpolation::Off;
        let mut problems = Problems::default();
        let mut section = |key: &str, shape: &Shape| -> Section {
            let entries = map.get(key).and_then(Node::as_map).into_iter().flat_map(Map::iter);
            let path = Path::ROOT.key(key);
            entries
                .filter(|(_, node)| !node.is_null())
                .map(|(name, node)| {
                    let mut ignored = Problems::default();
                    // Without interpolation it isn't complete.
                    let problems = if raw { &mut ignored } else { &mut problems };
                    let mut writer = Writer { lenient: raw || session.lenient(), problems };
                    let object = match writer.write(node, shape, &path.key(name)) {
                        Some(Json::Object(object)) => object,
                        _ => Printed::new(),
                    };
                    (name.to_owned(), object)
                })
                .collect()
        };
        let services = section("services", &shape::SERVICE);
        let networks = section("networks", &shape::NETWORK);
        let volumes = section("volumes", &shape::VOLUME);
        let mut configs = section("configs", &shape::CONFIG);
        let secrets = section("secrets", &shape::SECRET);
        let models = section("models", &shape::MODEL);
        problems.result()?;
        // A config that takes its text from a variable prints the variable, not the text.
        for config in configs.values_mut().filter(|config| config.contains_key("environment")) {
            config.remove("content");
        }
        let services = services.into_iter().map(|(name, mut service)| {
            if !raw {
                copy_scale(&mut service);
            }
            (name, Arc::new(Service::from_canonical(service)))
        });
        Ok(Self { services: services.collect(), map, networks, volumes, configs, secrets, models })
    }

    /// A section's resources of which some are used, each with its name.
    fn section(
        &self,
        key: &str,
        resources: &Section,
        project: &str,
        is_used: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, Json> {
        let used = resources.iter().filter(|(name, _)| is_used(name));
        let mut section: Section = used.map(|(name, o)| (name.clone(), o.clone())).collect();
        for (key, name) in implicit::names(&self.map, key, project) {
            if let Some(resource) = section.get_mut(&key) {
                resource.insert("name".to_owned(), Json::String(name));
            }
        }
        section.into_iter().map(|(name, object)| (name, Json::Object(object))).collect()
    }

    /// Checks what some services and the rest of the model say about each other.
    fn check(
        &self,
        session: &Session,
        enabled: &Services,
        disabled: &Services,
    ) -> Result<(), Vec<Diagnostic>> {
        let services = enabled.iter().map(|(name, service)| (name.as_str(), &service.canonical));
        let context = check::Context {
            model: &self.map,
            lenient: session.lenient(),
            services: services.collect(),
            disabled: disabled.keys().map(String::as_str).collect(),
            networks: self.networks.keys().map(String::as_str).collect(),
            volumes: self.volumes.keys().map(String::as_str).collect(),
            configs: self.configs.keys().map(String::as_str).collect(),
            secrets: self.secrets.iter().map(|(name, s)| (name.as_str(), s)).collect(),
            models: self.models.keys().map(String::as_str).collect(),
        };
        let mut problems = Problems::default();
        check::consistency(&context, &mut problems);
        problems.result()
    }

    /// Reads the env and label files of services into them.
    fn read_files(
        &self,
        session: &Session,
        env: &Environment,
        services: &mut Services,
    ) -> Result<(), Vec<Diagnostic>> {
        let mut problems = Problems::default();
        let written = self.map.get("services").and_then(Node::as_map);
        for (name, service) in services {
            let files = ["env_file", "label_file"];
            if !files.iter().any(|key| service.canonical.contains_key(*key)) {
                continue;
            }
            let entry = written.and_then(|services| services.entry(name));
            let span = entry.map(|entry| &entry.key);
            let formats = entry.map(|entry| formats(&entry.value)).unwrap_or_default();
            let mut canonical = service.canonical.clone();
            let read = [
                read_env_files(session, env, &mut canonical, &formats, span),
                read_label_files(session, &mut canonical, span),
            ];
            for problem in read.into_iter().filter_map(Result::err) {
                problems.add(|| *problem);
            }
            *service = Arc::new(Service::from_canonical(canonical));
        }
        problems.result()
    }
}

/// Makes the project of a model.
pub(super) fn project(
    session: &Session,
    options: &LoadOptions,
    env: &Environment,
    name: String,
    model: &Model,
) -> Result<Project, Vec<Diagnostic>> {
    let raw = (session.mode() == Interpolation::Off).then(|| raw(&model.map, &name));
    let all = model.services.iter().map(|(name, service)| (name.clone(), service.clone()));
    let (mut enabled, disabled): (Services, Services) =
        all.partition(|(_, service)| raw.is_some() || is_enabled(service, &options.profiles));
    let mut used = None;
    if raw.is_none() {
        model.check(session, &enabled, &disabled)?;
        if options.resolve_env {
            model.read_files(session, env, &mut enabled)?;
        }
        used = Some(Used::by(&enabled));
    }
    let section = |key: &str, resources: &Section| -> BTreeMap<String, Json> {
        let is_used = |name: &str| used.as_ref().is_none_or(|used| used.contains(key, name));
        model.section(key, resources, &name, is_used)
    };
    let extensions = model.map.iter().filter(|(key, _)| key.starts_with("x-"));
    Ok(Project {
        networks: typed(section("networks", &model.networks), Network::from_canonical),
        volumes: typed(section("volumes", &model.volumes), Volume::from_canonical),
        configs: typed(section("configs", &model.configs), Config::from_canonical),
        secrets: typed(section("secrets", &model.secrets), Secret::from_canonical),
        models: section("models", &model.models),
        extensions: extensions.map(|(key, node)| (key.to_owned(), node.to_json())).collect(),
        spans: spans(&model.map),
        interpolation: session.mode(),
        services: enabled,
        disabled,
        raw,
        name,
    })
}

fn typed<T>(section: BTreeMap<String, Json>, typed: impl Fn(Json) -> T) -> BTreeMap<String, T> {
    section.into_iter().map(|(name, value)| (name, typed(value))).collect()
}

/// The formats of a service's env files, by path; the canonical form of required files has none.
fn formats(service: &Node) -> BTreeMap<String, String> {
    let files = service.as_map().and_then(|map| map.get("env_file")).and_then(Node::as_list);
    let entry = |file: &Node| {
        let text = |key: &str| file.as_map()?.get(key)?.as_str().map(str::to_owned);
        Some((text("path")?, text("format")?))
    };
    files.unwrap_or_default().iter().filter_map(entry).collect()
}

/// The model as it stands, which is all that Compose prints without interpolation.
fn raw(model: &Map, project: &str) -> Json {
    let entries =
        model.iter().map(|(key, node)| (key.to_owned(), raw_node(node, &Path::ROOT.key(key))));
    let mut raw: Printed = entries.collect();
    raw.insert("name".to_owned(), project.into());
    for (section, resources) in &mut raw {
        for (key, name) in implicit::names(model, section, project) {
            resources[key]["name"] = name.into();
        }
    }
    Json::Object(raw)
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

fn spans(model: &Map) -> BTreeMap<String, Span> {
    let services = model.get("services").and_then(Node::as_map).into_iter();
    services
        .flat_map(Map::entries)
        .map(|(name, entry)| (name.to_owned(), entry.key.clone()))
        .collect()
}

fn is_enabled(service: &Service, wanted: &[String]) -> bool {
    let profiles = &service.profiles;
    profiles.is_empty() || wanted.iter().any(|wanted| wanted == "*" || profiles.contains(wanted))
}

/// `scale` stands for `deploy.replicas` too, where there is a `deploy`.
fn copy_scale(service: &mut Printed) {
    let Some(scale) = service.get("scale").cloned() else { return };
    if let Some(deploy) = service.get_mut("deploy").and_then(Json::as_object_mut) {
        deploy.entry("replicas").or_insert(scale);
    }
}

/// The variables of a service's env files go under its own.
fn read_env_files(
    session: &Session,
    env: &Environment,
    service: &mut Printed,
    formats: &BTreeMap<String, String>,
    span: Option<&Span>,
) -> Result<(), Box<Diagnostic>> {
    let own: BTreeMap<String, Option<String>> = service
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
    let files = service.get("env_file").and_then(Json::as_array).cloned().unwrap_or_default();
    for file in &files {
        let path = file.as_str().or_else(|| file.get("path")?.as_str()).unwrap_or_default();
        let format = formats.get(path).map(String::as_str);
        let location = session.locate(path);
        if !session.files.exists(&location) {
            if file.is_string() {
                return Err(missing("env file", path, span));
            }
            continue;
        }
        let bytes = read(session, "env file", path, span)?;
        match format {
            None | Some("" | ".env") => {
                dotenv::parse_into(path, &bytes, &lookup, style, &mut parsed)?;
            }
            Some("raw") => {
                let variables = dotenv::parse_raw(path, &bytes, &lookup)?;
                let escape = |value: String| match style {
                    dotenv::Style::Template => interpolate::escape(&value),
                    dotenv::Style::Full | dotenv::Style::Strict => value,
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
        false => service.insert("environment".to_owned(), Json::Object(environment)),
    };
    Ok(())
}

/// The labels of a service's label files go under its own.
fn read_label_files(
    session: &Session,
    service: &mut Printed,
    span: Option<&Span>,
) -> Result<(), Box<Diagnostic>> {
    let files = service.get("label_file").and_then(Json::as_array).cloned();
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
        let own = service.get("labels").and_then(Json::as_object).cloned();
        labels.extend(own.into_iter().flatten());
        service.insert("labels".to_owned(), Json::Object(labels));
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

/// What services use.
#[derive(Default)]
struct Used(BTreeMap<&'static str, BTreeSet<String>>);

impl Used {
    fn by(services: &Services) -> Self {
        let mut used = Self::default();
        for service in services.values() {
            let service = &service.canonical;
            for section in ["networks", "models"] {
                let entries = service.get(section).and_then(Json::as_object);
                used.add(section, entries.into_iter().flatten().map(|(name, _)| name.as_str()));
            }
            for section in ["volumes", "configs", "secrets"] {
                used.add(section, sources(service.get(section), section));
            }
            let build = service.get("build").and_then(|build| build.get("secrets"));
            used.add("secrets", sources(build, "secrets"));
        }
        used
    }

    fn add<'a>(&mut self, section: &'static str, names: impl Iterator<Item = &'a str>) {
        let known = self.0.entry(section).or_default();
        for name in names {
            // Most are known after the first few services.
            if !known.contains(name) {
                known.insert(name.to_owned());
            }
        }
    }

    fn contains(&self, section: &str, name: &str) -> bool {
        self.0.get(section).is_some_and(|names| names.contains(name))
    }
}

/// The resources of a section that a list of a service mounts.
fn sources<'a>(list: Option<&'a Json>, section: &str) -> impl Iterator<Item = &'a str> {
    let volumes = section == "volumes";
    let items = list.and_then(Json::as_array).into_iter().flatten();
    let items = items
        .filter(move |item| !volumes || item.get("type").and_then(Json::as_str) == Some("volume"));
    items.filter_map(|item| item.get("source")?.as_str())
}
