//! Planning: from a request to a plan, by way of the configuration or of a stored release.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::look::Coming;
use super::{Engine, Problem, host_keys, infrastructure};
use crate::config::compose::Loaded;
use crate::config::diagnostic::Diagnostic;
use crate::config::stagecraft::{Driver, Mode, RoutesBy};
use crate::desired::{self, Blueprint, Facts, Placement, Variables};
use crate::diff;
use crate::model::{
    Desired, EnvSource, Failure, Host, HostState, Observed, Outcome, Part, Plan, Protection,
    Release, Request, Sight, Spec, Tier,
};

/// A plan with what it was made from.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// What should be.
    pub desired: Desired,
    /// What is.
    pub observed: Observed,
    /// What is doubtful in the Compose files with this environment's variables.
    pub warnings: Vec<Diagnostic>,
    /// Every host that was looked at.
    pub hosts: Arc<BTreeMap<String, Host>>,
    /// What has to change below the application first.
    pub below: Option<Box<Planned>>,
    /// The hosts that will be there, with nothing on them, when that is done.
    pub(super) coming: BTreeSet<String>,
}

impl Engine {
    /// Looks, and plans what was asked for.
    ///
    /// # Errors
    /// The configuration cannot be compiled, or the release to go back to cannot be read.
    pub async fn plan(&self, request: &Request) -> Result<Planned, Problem> {
        let below = match request.part {
            Part::Everything => self.plan_below(request).await?,
            _ => None,
        };
        let coming = below.as_ref().map(|below| infrastructure::coming(&below.plan));
        let coming = coming.unwrap_or_default();
        let at = Coming { hosts: &coming, are_there: false };
        let mut planned = self.plan_at(request, at).await?;
        planned.plan.infrastructure = below.as_ref().map(|below| Box::new(below.plan.clone()));
        Ok(Planned { below: below.map(Box::new), coming, ..planned })
    }

    /// Plans what is asked for with hosts that are about to be, or have just become, empty.
    pub(super) async fn plan_at(
        &self,
        request: &Request,
        coming: Coming<'_>,
    ) -> Result<Planned, Problem> {
        let (mut observed, hosts) = self.look_at(&request.forget, coming).await?;
        let mut warnings = Vec::new();
        let desired = match request.rollback_to {
            _ if observed.infrastructure.is_some() => self.infrastructure(request)?,
            Some(number) => {
                observed.commands_since = self.commands_since(number).await?;
                self.earlier(number).await?
            }
            None if observed.is_blind() => self.nothing(),
            None => self.compile(request, &observed, &mut warnings)?,
        };
        self.read_deployed(&desired, &mut observed);
        let plan = diff::plan(&desired, &observed, request)?;
        let (below, coming) = (None, BTreeSet::new());
        Ok(Planned { plan, desired, observed, warnings, hosts: Arc::new(hosts), below, coming })
    }

    /// What is desired where nothing is known of the world: what hosts offer to interpolation
    /// cannot be told, so nothing can be compiled, and nothing would be planned in any case.
    fn nothing(&self) -> Desired {
        Desired {
            site: self.site.clone(),
            version: None,
            hosts: self.environment.hosts.clone(),
            protection: Protection::Nothing,
            resources: BTreeMap::new(),
        }
    }

    /// The desired state of the configuration.
    fn compile(
        &self,
        request: &Request,
        observed: &Observed,
        warnings: &mut Vec<Diagnostic>,
    ) -> Result<Desired, Problem> {
        // A version stays until another is named: `apply` after `deploy` changes nothing.
        let in_force = observed.head.as_ref().and_then(|head| head.version_in_force());
        let version = request.version.clone().or(in_force.map(str::to_owned));
        let states: BTreeMap<&String, &HostState> = observed
            .hosts
            .iter()
            .filter_map(|(name, sight)| match sight {
                Sight::Seen(state) => Some((name, state.as_ref())),
                Sight::Blocked(_) => None,
            })
            .collect();
        let keys: BTreeMap<String, BTreeSet<String>> = states
            .iter()
            .filter_map(|(name, state)| Some(((*name).clone(), state.env.as_ref()?.keys.clone())))
            .collect();
        let mut values = self.environment.variables.clone();
        if let Some(version) = &version {
            values.insert("IMAGE_TAG".to_owned(), version.clone());
        }
        let on_host = host_keys(self.secrets.as_ref(), &keys);
        let Loaded { project, warnings: found } = self.project(&Variables { values, on_host })?;
        // Those of the files alone were given when they were opened.
        warnings.extend(found.into_iter().filter(|warning| !self.warnings().contains(warning)));
        let facts = Facts {
            version,
            secret_keys: self.secrets.as_ref().map(|secrets| secrets.keys()),
            mesh_ips: states
                .iter()
                .filter_map(|(name, state)| Some(((*name).clone(), state.mesh_ip.clone()?)))
                .collect(),
        };
        let placements = project
            .services
            .keys()
            .filter_map(|name| Some((name.clone(), self.placement(name)?)))
            .collect();
        let blueprint = Blueprint {
            site: self.site.clone(),
            hosts: self.environment.hosts.clone(),
            placements,
            registry: self.registry(),
            labels_route: self.environment.traefik.routes == Some(RoutesBy::Labels),
            plugin: self.workspace.plugin()?,
        };
        desired::compile(&blueprint, &project, &facts).map_err(Problem::Diagnostics)
    }

    fn registry(&self) -> Option<String> {
        self.workspace.config.file.project.registry.as_ref().map(|registry| registry.to_string())
    }

    fn placement(&self, name: &str) -> Option<Placement> {
        let service = self.environment.service(name);
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

    /// The commands that releases after one have run, by service.
    async fn commands_since(&self, number: u64) -> Result<BTreeSet<(String, String)>, Problem> {
        let releases = self.store.releases().await?.into_iter();
        let later = releases.filter(|release| release.number > number);
        Ok(later.flat_map(|release| release.commands).collect())
    }

    /// The desired state of an earlier release: its files, its images by digest, its env versions.
    async fn earlier(&self, number: u64) -> Result<Desired, Problem> {
        let release = self.store.release(number).await?;
        let mut desired = self.desired_of(&release).await?;
        for (address, resource) in &mut desired.resources {
            match &mut resource.spec {
                Spec::Service(spec) => {
                    if let Some(pin) = release.images.get(&spec.image) {
                        spec.pin = Some(pin.clone());
                    }
                }
                Spec::Env(spec) => {
                    let host = address.on_host().unwrap_or_default();
                    if let (EnvSource::Secrets { .. } | EnvSource::Version { .. }, Some(id)) =
                        (&spec.source, release.env_versions.get(host))
                    {
                        spec.source = EnvSource::Version { id: id.clone() };
                    }
                }
                _ => {}
            }
        }
        // Where a host is reached now is what counts, not where it was reached then.
        for (name, host) in &self.environment.hosts {
            if desired.hosts.contains_key(name) {
                desired.hosts.insert(name.clone(), host.clone());
            }
        }
        Ok(desired)
    }

    /// The release that a rollback goes back to: the one asked for, or the newest that succeeded
    /// before the one now in force.
    ///
    /// # Errors
    /// There is none, or the one asked for did not succeed.
    pub async fn rollback_target(&self, asked: Option<u64>) -> Result<u64, Problem> {
        let releases = self.store.releases().await?;
        let newest = releases.last().map(|release| release.number).unwrap_or_default();
        let good = |release: &&Release| release.outcome == Outcome::Succeeded;
        match asked {
            Some(number) => {
                let release = releases.iter().find(|release| release.number == number);
                let release = release.ok_or(crate::state::StateError::NoRelease(number))?;
                if !good(&release) {
                    let what = format!("release {number} {}", release.outcome.name());
                    return Err(Failure::new(what)
                        .hint(
                            "go back to one that succeeded; `stagecraft releases list` shows them",
                        )
                        .into());
                }
                Ok(number)
            }
            None => {
                let earlier = releases.iter().rev().filter(|release| release.number < newest);
                let mut earlier = earlier.filter(good);
                earlier.next().map(|release| release.number).ok_or_else(|| {
                    Failure::new("there is no earlier release that succeeded to go back to").into()
                })
            }
        }
    }
}
