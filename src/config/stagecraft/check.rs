//! Checks beyond single values: what the file says about roles, hosts and services must fit together.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::model::Transport;

use super::decode::{Faults, list};
use super::environment::{EnvironmentSettings, ServiceOverride};
use super::hosts::{self, Machine};
use super::kinds::{Row, Spanned};
use super::texts::Name;
use super::types::{File, Mode, NetworkProvider, StateSettings, Store, World};

/// What is wrong with a file by itself.
pub(super) fn check(file: &File, faults: &Faults) -> Vec<Diagnostic> {
    let mut found = hosts::conflicts(&file.hosts);
    found.extend(providers(file));
    let scope = Scope { file, faults, known: all_roles(file) };
    for (name, service) in file.services.iter() {
        found.extend(scope.unknown_role(name, service.role.as_ref()));
    }
    for (name, row) in file.environments.rows() {
        found.extend(scope.environment(name, row));
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

/// What the checks of one environment need of the whole.
struct Scope<'a> {
    file: &'a File,
    faults: &'a Faults,
    known: BTreeSet<&'a str>,
}

/// Every role that has hosts anywhere.
fn all_roles(file: &File) -> BTreeSet<&str> {
    let of_environments =
        file.environments.iter().filter_map(|(_, settings)| settings.hosts.as_ref());
    std::iter::once(&file.hosts).chain(of_environments).flat_map(|roles| roles.names()).collect()
}

impl Scope<'_> {
    /// Whether the file's mistakes hide which hosts have a role.
    fn obscure(&self, role: &str) -> bool {
        let of_environments =
            self.file.environments.names().map(|name| format!("environments.{name}.hosts.{role}"));
        self.faults.touch(&format!("hosts.{role}"))
            || of_environments.into_iter().any(|path| self.faults.touch(&path))
    }

    fn unknown_role(&self, service: &str, role: Option<&Spanned<Name>>) -> Option<Diagnostic> {
        let role = role.filter(|role| !self.known.contains(&*role.value) && !self.obscure(role))?;
        let name: &str = &role.value;
        let help = match did_you_mean(name, self.known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.known.is_empty() => {
                "no roles have hosts yet: list some under `hosts`".to_owned()
            }
            None => format!("the roles are {}", list(&self.known.iter().collect::<Vec<_>>())),
        };
        let message = format!("the service `{service}` has the unknown role `{name}`");
        Some(
            Diagnostic::error("config::unknown-role", message)
                .at(&role.span, "no host has this role")
                .help(help),
        )
    }

    fn environment(&self, name: &str, row: &Row<EnvironmentSettings>) -> Vec<Diagnostic> {
        let settings = &row.value;
        let mut found = settings.hosts.as_ref().map(hosts::conflicts).unwrap_or_default();
        found.extend(settings.state.as_ref().and_then(store));
        for (service, of) in settings.rest.services.iter() {
            found.extend(self.unknown_role(service, of.role.as_ref()));
        }
        found.extend(twice(settings));
        found.extend(idle_secrets(settings));
        let machines = hosts::machines(self.file, name, settings);
        if settings.world == World::Hosts {
            found.extend(hosts::same_machine(&machines));
            found.extend(env_path(settings, &machines));
        }
        if !machines.is_empty() {
            found.extend(self.placement(name, row, machines.len()));
        }
        found
    }

    /// Whether every service has a place in an environment with hosts.
    fn placement(
        &self,
        name: &str,
        row: &Row<EnvironmentSettings>,
        hosts: usize,
    ) -> Vec<Diagnostic> {
        let Self { file, faults, known } = self;
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
            let obscure = faults.touch(&format!("services.{service}"))
                || faults.touch(&format!("environments.{name}.{service}"));
            if obscure || special.is_some_and(|special| special.mode == Some(Mode::External)) {
                continue;
            }
            let usual = file.services.get(service).and_then(|usual| usual.role.as_ref());
            let Some(role) = role(usual, special) else {
                if hosts > 1 {
                    found.push(homeless(service, Some(key)));
                }
                continue;
            };
            let word: &str = &role.value;
            let without = known.contains(word)
                && !self.obscure(word)
                && roles.is_none_or(|roles| roles.get(word).is_none());
            if without {
                let message =
                    format!("the environment `{name}` has no host with the role `{word}`");
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

/// Secrets go into the env file, and nowhere else.
fn idle_secrets(settings: &EnvironmentSettings) -> Option<Diagnostic> {
    let secrets = settings.secrets.as_ref().filter(|_| settings.env_file.is_none())?;
    let message = "an environment without `env_file` has no use for `secrets`";
    Some(
        Diagnostic::warning("config::secrets", message)
            .at(&secrets.file.span, "goes nowhere")
            .help("say where its hosts keep the values: `env_file: /etc/NAME/env`"),
    )
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

/// A service's role in an environment.
pub(super) fn role<'a>(
    usual: Option<&'a Spanned<Name>>,
    special: Option<&'a ServiceOverride>,
) -> Option<&'a Spanned<Name>> {
    special.and_then(|special| special.role.as_ref()).or(usual)
}

/// A service that has no place.
pub(super) fn homeless(service: &str, at: Option<&Span>) -> Diagnostic {
    let message = format!("the service `{service}` has no role, and there is more than one host");
    let problem = Diagnostic::error("config::service-without-role", message)
        .help(format!("say where it runs, under `services`: `{service}: {{ role: ROLE }}`"));
    match at {
        Some(span) => problem.at(span, "where does it run?"),
        None => problem,
    }
}
