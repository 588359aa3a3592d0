//! What a Compose file may say and hosts can't do: said before anything is planned.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Placed;
use super::render::{Surroundings, point};
use crate::config::compose::Project;
use crate::config::diagnostic::Diagnostic;
use crate::model::Object;
use crate::model::definition::{replicas, shares, sources};

/// Refuses a service that could not run on its host as its Compose file will have it.
///
/// # Errors
/// What is wrong, and at which service.
pub fn service(
    project: &Project,
    host: &str,
    placed: &Placed,
    definition: &Object,
    surroundings: &Surroundings,
) -> Result<(), Diagnostic> {
    project_files(project, placed.name, definition)?;
    absent_partners(project, host, placed.name, definition, surroundings)?;
    too_many(project, placed.name, definition)
}

/// Files of the project's folder do not exist on hosts.
fn project_files(project: &Project, name: &str, definition: &Object) -> Result<(), Diagnostic> {
    for (key, path) in files(project, definition) {
        if path.is_empty() {
            let message = format!("`{key}` of `{name}` comes to nothing");
            let problem = Diagnostic::error("render::project-file", message);
            return Err(point(project, name, problem)
                .help("name a path of the host; `${STAGECRAFT_ENV_FILE}` has one where the environment has an `env_file`"));
        }
        // What only the host knows may be anything there.
        if ["/", "~", "$"].iter().any(|start| path.starts_with(start)) {
            continue;
        }
        let message = format!(
            "`{key}` of `{name}` is {path} of the project's folder, which hosts don't have"
        );
        return Err(point(project, name, Diagnostic::error("render::project-file", message))
            .help(help(key)));
    }
    Ok(())
}

fn help(key: &str) -> &'static str {
    match key {
        "env_file" => {
            "write `env_file: ${STAGECRAFT_ENV_FILE}` for the environment's own, or `environment:`"
        }
        "configs.file" => {
            "write it under `content:`, name an absolute path of the host, or put it into the image"
        }
        "secrets.file" => {
            "take it from a variable of the secrets file with `environment:`, or name an absolute path of the host"
        }
        _ => "mount an absolute path of the host or a volume, or put it into the image",
    }
}

/// The paths that a service names outside its containers, each with the key that does.
fn files<'a>(
    project: &'a Project,
    definition: &'a Object,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let list = |key: &str| definition.get(key).and_then(Value::as_array).into_iter().flatten();
    let is_bind = |mount: &&Value| text(mount, "type") == Some("bind");
    let binds = list("volumes").filter(is_bind).filter_map(|mount| text(mount, "source"));
    // One that need not be there is not missed.
    let is_required = |entry: &&Value| entry.get("required") != Some(&Value::Bool(false));
    let env_files = list("env_file").filter(is_required);
    let env_files = env_files.filter_map(|entry| entry.as_str().or(text(entry, "path")));
    let labels = definition.get("label_file");
    let labels = labels.into_iter().flat_map(|labels| match labels {
        Value::Array(labels) => labels.iter().collect(),
        one => vec![one],
    });
    let configs = sources(definition, "configs").filter_map(|key| project.configs.get(key));
    let configs = configs.filter_map(|config| text(&config.canonical, "file"));
    let secrets = sources(definition, "secrets").filter_map(|key| project.secrets.get(key));
    let secrets = secrets.filter_map(|secret| text(&secret.canonical, "file"));
    let volumes = super::render::volumes(definition).filter_map(|key| project.volumes.get(key));
    let devices = volumes.filter_map(|volume| {
        let options = volume.canonical.get("driver_opts")?;
        text(options, "o")?.split(',').find(|option| *option == "bind" || *option == "rbind")?;
        text(options, "device")
    });
    let with = |key: &'static str| move |path| (key, path);
    (binds.map(with("volumes")))
        .chain(env_files.map(with("env_file")))
        .chain(labels.filter_map(Value::as_str).map(with("label_file")))
        .chain(configs.map(with("configs.file")))
        .chain(secrets.map(with("secrets.file")))
        .chain(devices.map(with("driver_opts.device")))
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// What containers share with others they share on their host.
fn absent_partners(
    project: &Project,
    host: &str,
    name: &str,
    definition: &Object,
    surroundings: &Surroundings,
) -> Result<(), Diagnostic> {
    let volumes = definition.get("volumes_from").and_then(Value::as_array).into_iter().flatten();
    let volumes = volumes.filter_map(Value::as_str).filter(|from| !from.starts_with("container:"));
    let volumes = volumes.map(|from| ("volumes", from.split(':').next().unwrap_or_default()));
    let spaces = shares(definition).map(|with| ("a namespace", with));
    match volumes.chain(spaces).find(|(_, with)| !surroundings.has(with)) {
        None => Ok(()),
        Some((what, with)) => {
            let message = format!(
                "`{name}` shares {what} with `{with}`, which does not run beside it on {host}"
            );
            Err(point(project, name, Diagnostic::error("render::elsewhere", message))
                .help(format!("give `{name}` and `{with}` the same hosts in stagecraft.yml")))
        }
    }
}

/// A name or a port of the host is for one container alone.
fn too_many(project: &Project, name: &str, definition: &Object) -> Result<(), Diagnostic> {
    if replicas(definition) < 2 {
        return Ok(());
    }
    let only = match definition.get("container_name").and_then(Value::as_str) {
        Some(container) => Some((format!("`container_name: {container}`"), "take the name out")),
        None => claims(definition).next().map(|claim| {
            (format!("port {} of the host", claim.port), "publish no fixed port, or a range")
        }),
    };
    match only {
        None => Ok(()),
        Some((what, help)) => {
            let count = replicas(definition);
            let message = format!("`{name}` has {count} replicas, and only one can have {what}");
            Err(point(project, name, Diagnostic::error("render::replicas", message))
                .help(format!("{help}, or set `replicas: 1`")))
        }
    }
}

/// A port of the host that containers of a service are reached at.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Claim<'a> {
    ip: Option<&'a str>,
    port: u16,
    protocol: &'a str,
}

impl Claim<'_> {
    fn excludes(&self, other: &Self) -> bool {
        let all = |ip: &str| matches!(ip, "0.0.0.0" | "::");
        let meet = match (self.ip, other.ip) {
            (None, _) | (_, None) => true,
            (Some(one), Some(two)) => {
                one == two || one.contains(':') == two.contains(':') && (all(one) || all(two))
            }
        };
        self.port == other.port && self.protocol == other.protocol && meet
    }
}

/// The single ports of the host that a service asks for.
fn claims(definition: &Object) -> impl Iterator<Item = Claim<'_>> {
    let ports = definition.get("ports").and_then(Value::as_array).into_iter().flatten();
    ports.filter_map(|entry| {
        let port = text(entry, "published")?.parse().ok().filter(|port| *port > 0)?;
        let protocol = text(entry, "protocol").unwrap_or("tcp");
        let ip = text(entry, "host_ip").filter(|ip| !ip.is_empty());
        Some(Claim { ip, port, protocol })
    })
}

/// Refuses services of one host that ask for the same port of it.
///
/// # Errors
/// Which, and of which of them.
pub fn clashes<'a>(
    project: &Project,
    host: &str,
    services: impl Iterator<Item = (&'a str, &'a Object)>,
) -> Result<(), Diagnostic> {
    let mut taken: BTreeMap<u16, Vec<(Claim, &str)>> = BTreeMap::new();
    for (name, definition) in services.filter(|(_, definition)| replicas(definition) > 0) {
        for claim in claims(definition) {
            let others = taken.entry(claim.port).or_default();
            if let Some((_, other)) =
                others.iter().find(|(it, by)| *by != name && it.excludes(&claim))
            {
                let message =
                    format!("`{other}` and `{name}` both publish port {} of {host}", claim.port);
                return Err(point(project, name, Diagnostic::error("render::port", message))
                    .help("publish another port of one of them, or give them other hosts"));
            }
            others.push((claim, name));
        }
    }
    Ok(())
}
