//! Compiling: from the configuration of an environment to what should be, with what is known of its hosts.

use std::collections::{BTreeMap, BTreeSet};

use super::{Problem, Workspace, read_secrets, site};
use crate::config::compose::{Loaded, Project, Variable, references};
use crate::config::diagnostic::Diagnostic;
use crate::config::stagecraft::{Driver, Environment, Mode, RoutesBy};
use crate::desired::{self, Blueprint, Facts, Placement};
use crate::model::{Desired, Host, Tier};

/// What is known of an environment's hosts.
pub(super) struct Known<'a> {
    /// What a variable of the Compose files means there.
    pub lookup: &'a dyn Fn(&str) -> Variable,
    pub facts: Facts,
    pub hosts: BTreeMap<String, Host>,
}

impl Workspace {
    /// What should be in an environment, and what is doubtful in its Compose files.
    ///
    /// # Errors
    /// What is wrong in the files, or can't be on these hosts.
    pub(super) fn compile(
        &self,
        environment: &Environment,
        known: Known,
    ) -> Result<(Desired, Vec<Diagnostic>), Problem> {
        let Loaded { project, warnings } = self.project(environment, known.lookup)?;
        let services = project.services.keys();
        let registry = self.config.file.project.registry.as_ref();
        let blueprint = Blueprint {
            site: site(environment),
            hosts: known.hosts,
            placements: services
                .filter_map(|name| Some((name.clone(), placement(environment, name)?)))
                .collect(),
            registry: registry.map(|registry| registry.to_string()),
            labels_route: environment.traefik.routes == Some(RoutesBy::Labels),
            plugin: self.plugin()?,
        };
        let desired = desired::compile(&blueprint, &project, &known.facts);
        Ok((desired.map_err(Problem::Diagnostics)?, warnings))
    }

    /// What would be refused in an environment or is doubtful there, as far as that can be told without its
    /// hosts: each is taken to have an address, and every variable that its env file may hold.
    ///
    /// # Errors
    /// There is no such environment, or something can't be read.
    pub fn check(&self, name: &str) -> Result<Vec<Diagnostic>, Problem> {
        let environment = self.config.environment(name)?;
        if environment.hosts.is_empty() {
            return Ok(Vec::new());
        }
        // Where the configuration is checked, secrets need not be.
        let there = self.folder.join(&environment.secrets.path).exists();
        let secrets = if there { read_secrets(&self.folder, &environment)? } else { None };
        let secret_keys = secrets.map(|secrets| secrets.keys());
        let version = "v1".to_owned();
        let offered = |name: &str| match (environment.variables.get(name), &secret_keys) {
            (Some(value), _) => Variable::Value(value.clone()),
            (None, _) if name == "IMAGE_TAG" => Variable::Value(version.clone()),
            (None, Some(keys)) if !keys.contains(name) => Variable::Unset,
            (None, _) if environment.env_file.is_none() => Variable::Unset,
            (None, _) => Variable::Host,
        };
        let needed_here = match self.project(&environment, &offered) {
            Ok(loaded) => needed_here(&environment, &loaded.project),
            Err(Problem::Diagnostics(found)) => return Ok(found),
            Err(problem) => return Err(problem),
        };
        let lookup = |name: &str| match offered(name) {
            Variable::Host if secret_keys.is_none() && needed_here.contains(name) => {
                Variable::Unset
            }
            found => found,
        };
        let somewhere = |name: &String| (name.clone(), "100.64.0.1".to_owned());
        let facts = Facts {
            version: Some(version.clone()),
            secret_keys: secret_keys.clone(),
            mesh_ips: environment.hosts.keys().map(somewhere).collect(),
        };
        let known = Known { lookup: &lookup, facts, hosts: environment.hosts.clone() };
        match self.compile(&environment, known) {
            Ok((_, warnings)) => Ok(warnings),
            Err(Problem::Diagnostics(found)) => Ok(found),
            Err(problem) => Err(problem),
        }
    }

    /// Loads the Compose project as an environment's hosts will read it.
    fn project(
        &self,
        environment: &Environment,
        lookup: &dyn Fn(&str) -> Variable,
    ) -> Result<Loaded, Problem> {
        let name = site(environment).compose_project();
        let mut loaded = self.load_compose(lookup, Vec::new(), Some(name.clone()))?;
        // A service that the environment asks for runs, whatever its profiles say.
        let requested = |service: &String| environment.service(service).requested;
        let wanted: BTreeSet<String> = loaded
            .project
            .disabled
            .iter()
            .filter(|(service, _)| requested(service))
            .flat_map(|(_, service)| service.profiles.clone())
            .collect();
        if !wanted.is_empty() {
            let profiles = wanted.into_iter().collect();
            loaded = self.load_compose(lookup, profiles, Some(name))?;
            let services = &mut loaded.project.services;
            services.retain(|name, service| service.profiles.is_empty() || requested(name));
        }
        Ok(loaded)
    }
}

/// The variables in images and routes, which have to be known here: no env file can hold them.
fn needed_here(environment: &Environment, project: &Project) -> BTreeSet<String> {
    let lifts = environment.traefik.routes != Some(RoutesBy::Labels);
    let services = || project.services.values();
    let images = services().filter_map(|service| service.image.as_deref());
    let labels = services().flat_map(|service| &service.labels);
    let labels = labels.filter(|(label, _)| lifts && label.starts_with("traefik."));
    let texts = images.chain(labels.map(|(_, value)| value.as_str()));
    texts.flat_map(|text| references(&text.into())).collect()
}

/// Where and how a service runs; none where somebody else runs it.
fn placement(environment: &Environment, name: &str) -> Option<Placement> {
    let service = environment.service(name);
    if service.mode == Mode::External {
        return None;
    }
    let rollout = service.rollout;
    Some(Placement {
        tier: Tier::of(service.role.as_deref().unwrap_or_default()),
        hosts: service.hosts,
        replicas: service.replicas,
        order: rollout.order,
        health_timeout: rollout.health_timeout,
        monitor: rollout.monitor,
        max_parallel: rollout.max_parallel,
        drain: rollout.drain,
        drain_hook: rollout.drain_hook.unwrap_or_default(),
        batch: rollout.batch,
        canary: rollout.canary,
        on_failure: rollout.on_failure,
        by_plugin: rollout.driver == Driver::DockerRollout,
        release_command: service.release_command.unwrap_or_default(),
    })
}
