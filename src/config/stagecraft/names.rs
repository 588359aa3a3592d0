//! The names that the Compose files bring, services and variables, and what does not agree with them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::config::compose::{Files, Interpolation, LoadOptions, Models, Variable};
use crate::config::diagnostic::{Diagnostic, Span, did_you_mean};

use super::check::homeless;
use super::decode::{Faults, list};
use super::environment::EnvironmentSettings;
use super::hosts;
use super::load::{Config, sort};
use super::resolve::Environment;
use super::texts::{Name, Rule};
use super::types::File;

/// The names that the Compose files bring.
#[derive(Debug, Clone, Default)]
pub struct ComposeNames {
    /// The services, and where each is declared.
    pub services: BTreeMap<String, Option<Span>>,
    /// The services that have profiles, and so need not run anywhere.
    pub optional: BTreeSet<String>,
    /// The variables that the files interpolate.
    pub variables: BTreeSet<String>,
}

impl ComposeNames {
    /// Reads Compose files with some variables; all others count as known to the hosts alone.
    /// Warnings come with the names.
    pub fn read(
        compose_files: Vec<PathBuf>,
        project: &str,
        variables: &BTreeMap<String, String>,
        files: &dyn Files,
        models: &Models,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let asked = RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            match variables.get(name) {
                Some(value) => Variable::Value(value.clone()),
                None => Variable::Host,
            }
        };
        let mut options = LoadOptions::new(compose_files, &lookup);
        options.project_name = Some(project.to_owned());
        options.profiles = vec!["*".to_owned()];
        options.interpolation = Interpolation::Template;
        options.resolve_paths = false;
        options.resolve_env = false;
        let loaded = models.load(&options, files)?;
        let services = loaded.project.services.keys().map(|name| {
            let span = loaded.project.spans.get(name).cloned();
            (name.clone(), span)
        });
        let optional = (loaded.project.services.iter())
            .filter(|(_, service)| !service.profiles.is_empty())
            .map(|(name, _)| name.clone());
        let mut variables = asked.take();
        // The loader itself asks for it, for the sake of `~`.
        variables.remove("HOME");
        let names = Self { services: services.collect(), optional: optional.collect(), variables };
        Ok((names, loaded.warnings))
    }
}

impl Config {
    /// What does not agree with the Compose files: names of services and variables that they do
    /// not have, and services that have no place.
    pub fn check_against(&self, compose: &ComposeNames) -> Vec<Diagnostic> {
        let mut found = against(&self.file, &Faults::default(), compose);
        sort(&self.source.name, &mut found);
        found
    }

    /// What is wrong in the Compose files with the variables of one environment.
    pub fn check_values(&self, environment: &Environment, files: &dyn Files) -> Vec<Diagnostic> {
        let project = &self.file.project.name;
        let (compose, models) = (self.compose_files(), Models::default());
        match ComposeNames::read(compose, project, &environment.variables, files, &models) {
            Ok((_, warnings)) => warnings,
            Err(errors) => errors,
        }
    }
}

/// What of a file, read as far as its faults allow, does not agree with the Compose files.
pub(super) fn against(file: &File, faults: &Faults, compose: &ComposeNames) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let listed = file.services.rows().map(|(name, row)| (name, &row.key));
    let backend = file.backend.iter().flat_map(|backend| &backend.services);
    let frontend = file.frontend.iter().flat_map(|frontend| &frontend.services);
    let built = backend.chain(frontend).map(|name| (&*name.value.0, &name.span));
    // Services that a misspelt name was meant for are mentioned after all.
    let mut meant = BTreeSet::new();
    for (name, at) in listed.chain(built) {
        // A name that is none has been complained about already.
        if !compose.services.contains_key(name) && Name::fits(name) {
            let near = did_you_mean(name, compose.services.keys().map(String::as_str));
            meant.extend(near);
            found.push(unknown_service(name, at, near, compose));
        }
    }
    for (name, row) in file.environments.rows() {
        found.extend(environment(name, &row.value, compose));
    }
    let without_place = without_place(file, compose)
        .into_iter()
        .filter(|(name, _)| !meant.contains(name) && !faults.touch(&format!("services.{name}")));
    found.extend(without_place.map(|(name, span)| homeless(name, span)));
    found
}

/// The keys of an environment that are nobody's, and variables that nothing uses.
fn environment(
    name: &str,
    settings: &EnvironmentSettings,
    compose: &ComposeNames,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (key, of) in settings.rest.services.rows() {
        if !compose.services.contains_key(key) {
            found.push(unknown_key(name, key, &of.key, settings, compose));
        }
    }
    for (key, of) in settings.rest.variables.rows() {
        if compose.services.contains_key(key) {
            let message = format!("the service `{key}` takes a mapping");
            found.push(
                Diagnostic::error("config::type", message)
                    .at(&of.key, "a service of the Compose files")
                    .help(format!("write `{key}: {{ mode: container }}`")),
            );
        } else if !compose.variables.contains(&key.to_ascii_uppercase()) {
            found.push(unknown_key(name, key, &of.key, settings, compose));
        }
    }
    for (variable, of) in settings.variables.rows() {
        found.extend(doubtful_variable(variable, &of.key, compose));
    }
    found
}

/// Services of the Compose files that nothing here mentions, although it would have to.
fn without_place<'a>(file: &File, compose: &'a ComposeNames) -> Vec<(&'a str, Option<&'a Span>)> {
    let crowded: Vec<&EnvironmentSettings> = (file.environments.iter())
        .filter(|(name, settings)| hosts::machines(file, name, settings).len() > 1)
        .map(|(_, settings)| settings)
        .collect();
    let homeless_in = |service: &str, settings: &EnvironmentSettings| {
        let special = settings.rest.services.get(service);
        !special.is_some_and(|of| of.mode.is_some() || of.role.is_some())
    };
    let unmentioned = compose
        .services
        .iter()
        .filter(|(name, _)| file.services.get(name).is_none() && !compose.optional.contains(*name));
    unmentioned
        .filter(|(name, _)| crowded.iter().any(|settings| homeless_in(name, settings)))
        .map(|(name, span)| (name.as_str(), span.as_ref()))
        .collect()
}

fn unknown_service(
    name: &str,
    at: &Span,
    near: Option<&str>,
    compose: &ComposeNames,
) -> Diagnostic {
    let names: Vec<&String> = compose.services.keys().collect();
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "the Compose files have no services".to_owned(),
        None => format!("the services are {}", list(&names)),
    };
    Diagnostic::error("config::unknown-service", format!("unknown service `{name}`"))
        .at(at, "not a service of the Compose files")
        .help(help)
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
