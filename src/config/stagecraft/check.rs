//! Checks beyond single values: roles and hosts by themselves, then names against the Compose files.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::model::Transport;

use super::decode::list;
use super::environment::{EnvironmentSettings, ServiceOverride};
use super::hosts::{self, Machine};
use super::kinds::{Row, Spanned};
use super::load::{Config, sort};
use super::names::ComposeNames;
use super::texts::Name;
use super::types::{File, Mode, NetworkProvider, StateSettings, Store, World};

/// What is wrong with a file by itself.
pub(super) fn check(file: &File) -> Vec<Diagnostic> {
    let mut found = hosts::conflicts(&file.hosts);
    found.extend(providers(file));
    let known = all_roles(file);
    for (name, service) in file.services.iter() {
        found.extend(unknown_role(name, service.role.as_ref(), &known));
    }
    for (name, row) in file.environments.rows() {
        found.extend(environment(file, name, row, &known));
    }
    // One mistake at the top shows in every environment that inherits it: say it once.
    let mut unique: Vec<Diagnostic> = Vec::new();
    for problem in found {
        if !unique.contains(&problem) {
            unique.push(problem);
        }
    }
    unique
}

/// Every role that has hosts anywhere.
fn all_roles(file: &File) -> BTreeSet<&str> {
    let of_environments =
        file.environments.iter().filter_map(|(_, settings)| settings.hosts.as_ref());
    std::iter::once(&file.hosts).chain(of_environments).flat_map(|roles| roles.names()).collect()
}

fn unknown_role(
    service: &str,
    role: Option<&Spanned<Name>>,
    known: &BTreeSet<&str>,
) -> Option<Diagnostic> {
    let role = role.filter(|role| !known.contains(&*role.value))?;
    let name: &str = &role.value;
    let help = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "no roles have hosts yet: list some under `hosts`".to_owned(),
        None => format!("the roles are {}", list(&known.iter().collect::<Vec<_>>())),
    };
    let message = format!("the service `{service}` has the unknown role `{name}`");
    Some(
        Diagnostic::error("config::unknown-role", message)
            .at(&role.span, "no host has this role")
            .help(help),
    )
}

fn providers(file: &File) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if file.network.provider == NetworkProvider::Headscale && file.network.headscale.is_none() {
        let message = "the network `headscale` needs its options";
        found.push(
            Diagnostic::error("config::missing-options", message)
                .help("add `headscale: { login_server: https://… }` under `network`"),
        );
    }
    found.extend(file.state.as_ref().and_then(store));
    found
}

/// An `s3` store without a bucket.
fn store(state: &StateSettings) -> Option<Diagnostic> {
    let store = state.store.as_ref().filter(|store| store.value == Store::S3)?;
    state.s3.is_none().then(|| {
        Diagnostic::error("config::missing-options", "the store `s3` needs a bucket")
            .at(&store.span, "this store")
            .help("add `s3: { bucket: NAME }` under `state`")
    })
}

fn environment(
    file: &File,
    name: &str,
    row: &Row<EnvironmentSettings>,
    known: &BTreeSet<&str>,
) -> Vec<Diagnostic> {
    let settings = &row.value;
    let mut found = settings.hosts.as_ref().map(hosts::conflicts).unwrap_or_default();
    found.extend(settings.state.as_ref().and_then(store));
    for (service, of) in settings.rest.services.iter() {
        found.extend(unknown_role(service, of.role.as_ref(), known));
    }
    found.extend(twice(settings));
    let machines = hosts::machines(file, name, settings);
    if settings.world == World::Hosts {
        found.extend(hosts::same_machine(&machines));
        found.extend(env_path(settings, &machines));
    }
    if !machines.is_empty() {
        found.extend(placement(file, name, row, &machines, known));
    }
    found
}

/// Variables that are set under two names.
fn twice(settings: &EnvironmentSettings) -> Vec<Diagnostic> {
    let rows = settings.rest.variables.rows();
    rows.filter(|(key, _)| settings.variables.get(&key.to_ascii_uppercase()).is_some())
        .map(|(key, row)| {
            let message = format!("`{}` is set twice", key.to_ascii_uppercase());
            Diagnostic::error("config::set-twice", message)
                .at(&row.key, "`variables` sets it, too")
                .help("keep one of them")
        })
        .collect()
}

/// A path on the hosts means nothing unless it is absolute.
fn env_path(
    settings: &EnvironmentSettings,
    machines: &BTreeMap<String, Machine>,
) -> Option<Diagnostic> {
    let path = settings.env_file.as_ref()?;
    let remote = machines.values().any(|machine| machine.settings.transport() == Transport::Ssh);
    let clean = path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == ".");
    (remote && !clean).then(|| {
        Diagnostic::error("config::env-file", "`env_file` must be an absolute path on the hosts")
            .at(&path.span, "relative to what?")
            .help("write it like `/etc/shop/env`")
    })
}

/// Whether every service has a place in an environment with hosts.
fn placement(
    file: &File,
    name: &str,
    row: &Row<EnvironmentSettings>,
    machines: &BTreeMap<String, Machine>,
    known: &BTreeSet<&str>,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let roles = hosts::roles(file, name, &row.value);
    let specials = &row.value.rest.services;
    let usual = file.services.rows().map(|(service, of)| (service, &of.key));
    // A service that only this environment mentions needs a place once it is asked for.
    let own = specials.rows().filter(|(service, special)| {
        let asked = special.value.mode == Some(Mode::Container) || special.value.role.is_some();
        asked && file.services.get(service).is_none()
    });
    for (service, key) in usual.chain(own.map(|(service, of)| (service, &of.key))) {
        let special = specials.get(service);
        if special.is_some_and(|special| special.mode == Some(Mode::External)) {
            continue;
        }
        let usual = file.services.get(service).and_then(|usual| usual.role.as_ref());
        let Some(role) = role(usual, special) else {
            if machines.len() > 1 {
                found.push(homeless(service, Some(key)));
            }
            continue;
        };
        let word: &str = &role.value;
        if known.contains(word) && roles.is_none_or(|roles| roles.get(word).is_none()) {
            let message = format!("the environment `{name}` has no host with the role `{word}`");
            found.push(
                Diagnostic::error("config::role-without-host", message)
                    .at(&row.key, format!("the service `{service}` needs one here"))
                    .help(format!(
                        "add `{word}: [HOST]` to its `hosts`, or `{service}: {{ mode: external }}`"
                    )),
            );
        }
    }
    found
}

/// A service's role in an environment.
pub(super) fn role<'a>(
    usual: Option<&'a Spanned<Name>>,
    special: Option<&'a ServiceOverride>,
) -> Option<&'a Spanned<Name>> {
    special.and_then(|special| special.role.as_ref()).or(usual)
}

fn homeless(service: &str, at: Option<&Span>) -> Diagnostic {
    let message = format!("the service `{service}` has no role, and there is more than one host");
    let problem = Diagnostic::error("config::service-without-role", message)
        .help(format!("say where it runs, under `services`: `{service}: {{ role: ROLE }}`"));
    match at {
        Some(span) => problem.at(span, "where does it run?"),
        None => problem,
    }
}

impl Config {
    /// What does not agree with the Compose files: names of services and variables that they do
    /// not have, and services that have no place.
    pub fn check_against(&self, compose: &ComposeNames) -> Vec<Diagnostic> {
        let file = &self.file;
        let mut found = Vec::new();
        for (name, row) in file.services.rows() {
            found.extend(unknown_service(name, &row.key, compose));
        }
        let backend = file.backend.iter().flat_map(|backend| &backend.services);
        let frontend = file.frontend.iter().flat_map(|frontend| &frontend.services);
        for service in backend.chain(frontend) {
            found.extend(unknown_service(&service.value, &service.span, compose));
        }
        for (name, row) in file.environments.rows() {
            let rest = &row.value.rest;
            for (key, of) in rest.services.rows() {
                if !compose.services.contains_key(key) {
                    found.push(unknown_key(name, key, &of.key, &row.value, compose));
                }
            }
            for (key, of) in rest.variables.rows() {
                if compose.services.contains_key(key) {
                    let message = format!("the service `{key}` takes a mapping");
                    found.push(
                        Diagnostic::error("config::type", message)
                            .at(&of.key, "a service of the Compose files")
                            .help(format!("write `{key}: {{ mode: container }}`")),
                    );
                } else if !compose.variables.contains(&key.to_ascii_uppercase()) {
                    found.push(unknown_key(name, key, &of.key, &row.value, compose));
                }
            }
            for (variable, of) in row.value.variables.rows() {
                found.extend(doubtful_variable(variable, &of.key, compose));
            }
        }
        found.extend(self.without_place(compose));
        sort(&mut found);
        found
    }

    /// Services of the Compose files that nothing here mentions.
    fn without_place(&self, compose: &ComposeNames) -> Vec<Diagnostic> {
        let file = &self.file;
        let crowded: Vec<&EnvironmentSettings> = (file.environments.iter())
            .filter(|(name, settings)| hosts::machines(file, name, settings).len() > 1)
            .map(|(_, settings)| settings)
            .collect();
        let homeless_in = |service: &str, settings: &EnvironmentSettings| {
            let special = settings.rest.services.get(service);
            !special.is_some_and(|of| of.mode == Some(Mode::External) || of.role.is_some())
        };
        compose
            .services
            .iter()
            .filter(|(name, _)| {
                file.services.get(name).is_none() && !compose.optional.contains(*name)
            })
            .filter(|(name, _)| crowded.iter().any(|settings| homeless_in(name, settings)))
            .map(|(name, span)| homeless(name, span.as_ref()))
            .collect()
    }
}

fn unknown_service(name: &str, at: &Span, compose: &ComposeNames) -> Option<Diagnostic> {
    if compose.services.contains_key(name) {
        return None;
    }
    let names: Vec<&String> = compose.services.keys().collect();
    let help = match did_you_mean(name, names.iter().map(|name| name.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "the Compose files have no services".to_owned(),
        None => format!("the services are {}", list(&names)),
    };
    let message = format!("unknown service `{name}`");
    Some(
        Diagnostic::error("config::unknown-service", message)
            .at(at, "not a service of the Compose files")
            .help(help),
    )
}

/// A key of an environment that is nobody's.
fn unknown_key(
    environment: &str,
    key: &str,
    at: &Span,
    settings: &EnvironmentSettings,
    compose: &ComposeNames,
) -> Diagnostic {
    let variables: Vec<String> =
        compose.variables.iter().map(|name| name.to_ascii_lowercase()).collect();
    let known = (settings.rest.known.iter().copied())
        .chain(compose.services.keys().map(String::as_str))
        .chain(variables.iter().map(String::as_str));
    let help = match did_you_mean(key, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "it is neither a service nor a variable of the Compose files; the keys here are {}",
            list(&settings.rest.known)
        ),
    };
    Diagnostic::error("config::unknown-key", format!("unknown key `{key}`"))
        .at(at, format!("not a key of `environments.{environment}`"))
        .help(help)
}

/// A variable that nothing interpolates, where something of almost the same name is.
fn doubtful_variable(name: &str, at: &Span, compose: &ComposeNames) -> Option<Diagnostic> {
    if compose.variables.contains(name) {
        return None;
    }
    let near = did_you_mean(name, compose.variables.iter().map(String::as_str))?;
    Some(
        Diagnostic::warning(
            "config::unused-variable",
            format!("nothing uses the variable `{name}`"),
        )
        .at(at, "not in the Compose files")
        .help(format!("did you mean `{near}`?")),
    )
}
