//! Planning: from a request to a plan, by way of the configuration or of a stored release.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::compiling::Known;
use super::look::{Coming, Look};
use super::{Engine, Problem, host_keys, infrastructure};
use crate::config::diagnostic::Diagnostic;
use crate::desired::{Facts, Variables};
use crate::diff;
use crate::model::{
    Desired, EnvSource, Failure, Host, HostState, Note, Observed, Outcome, Part, Plan, Protection,
    Release, Request, Sight, Spec,
};
use crate::state::Store;

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
    /// What has to change below the application.
    pub below: Option<Box<Planned>>,
    /// What becomes of hosts when that is done.
    pub(super) coming: Coming,
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
        let mut planned = self.plan_at(request, coming.unwrap_or_default()).await?;
        planned.plan.infrastructure = below.as_ref().map(|below| Box::new(below.plan.clone()));
        Ok(Planned { below: below.map(Box::new), ..planned })
    }

    /// Plans what is asked for with hosts that are about to be, or have just become, empty.
    pub(super) async fn plan_at(
        &self,
        request: &Request,
        mut coming: Coming,
    ) -> Result<Planned, Problem> {
        if let Some(name) =
            request.forget.iter().find(|name| self.environment.hosts.contains_key(*name))
        {
            return Err(Failure::new(format!(
                "{name} can't be forgotten: it is in the configuration"
            ))
            .hint(format!("take {name} out of stagecraft.yml, or leave `--forget {name}` out"))
            .into());
        }
        let earlier = match request.rollback_to {
            Some(number) => Some((number, self.earlier(number).await?)),
            None => None,
        };
        // What it had on hosts that the configuration has no more, it will have there again.
        let besides = earlier.iter().flat_map(|(_, desired)| desired.hosts.values().cloned());
        let besides = besides.collect();
        let Look { mut observed, hosts, renamed } =
            self.look_at(&request.forget, &coming, besides).await?;
        let mut warnings = Vec::new();
        let desired = match earlier {
            _ if observed.infrastructure.is_some() => self.infrastructure(request)?,
            Some((number, mut desired)) => {
                observed.commands_since = self.commands_since(number).await?;
                desired.rename(&renamed);
                self.is_still_there(number, &desired, &observed)?;
                self.reach_as_now(&mut desired);
                desired.forget(&request.forget);
                desired
            }
            None if observed.is_blind() => self.nothing(),
            None => self.compile(request, &observed, &coming, &mut warnings)?,
        };
        self.read_deployed(&desired, &mut observed);
        let mut plan = diff::plan(&desired, &observed, request)?;
        if !coming.is_nobody() {
            // An earlier release's files hold the addresses of then.
            plan.falls_back_to = None;
        }
        let keeps = |host: &String| observed.seen(host).is_some_and(|seen| seen.head.is_some());
        if matches!(self.store, Store::Host(_)) && !observed.hosts.keys().any(keeps) {
            coming.head = observed.head.clone();
            plan.notes
                .extend(coming.head.iter().map(|head| Note::HistoryGoes { release: head.number }));
        }
        let below = None;
        Ok(Planned { plan, desired, observed, warnings, hosts: Arc::new(hosts), below, coming })
    }

    /// What is desired where nothing is known of the world: what hosts offer to interpolation
    /// cannot be told, so nothing can be compiled, and nothing would be planned in any case.
    fn nothing(&self) -> Desired {
        Desired {
            site: self.site.clone(),
            version: None,
            hosts: self.environment.hosts.clone(),
            addresses: BTreeMap::new(),
            partial: false,
            protection: Protection::Nothing,
            resources: BTreeMap::new(),
        }
    }

    /// The desired state of the configuration.
    fn compile(
        &self,
        request: &Request,
        observed: &Observed,
        coming: &Coming,
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
        let variables = Variables { values, on_host };
        let facts = Facts {
            version,
            secret_keys: self.secrets.as_ref().map(|secrets| secrets.keys()),
            mesh_ips: states
                .iter()
                .filter_map(|(name, state)| Some(((*name).clone(), state.mesh_ip.clone()?)))
                .collect(),
        };
        let lookup = |name: &str| variables.lookup(name);
        let known = Known { lookup: &lookup, facts, hosts: self.hosts_as_known(coming) };
        let (mut desired, found) = self.workspace.compile(&self.environment, known)?;
        // Those of the files alone were given when they were opened.
        warnings.extend(found.into_iter().filter(|warning| !self.warnings().contains(warning)));
        // A host by itself has no address of another's in its files.
        if self.environment.hosts.len() > 1 {
            let known = self.environment.hosts.keys().filter(|name| !coming.is_unknown(name));
            desired.addresses = known
                .filter_map(|name| Some((name.clone(), self.address_of(name, observed)?)))
                .collect();
        }
        Ok(desired)
    }

    /// The hosts, without the addresses that nobody knows yet.
    fn hosts_as_known(&self, coming: &Coming) -> BTreeMap<String, Host> {
        let mut hosts = self.environment.hosts.clone();
        for (_, host) in hosts.iter_mut().filter(|(name, _)| coming.is_unknown(name)) {
            host.address.clear();
            host.private_address = None;
            host.resolved = None;
            host.host_key = None;
            host.through_tailscale = false;
        }
        hosts
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
                    let host = address.on_host().unwrap_or_default();
                    if let Some(pin) = release.image(host, &spec.image) {
                        Arc::make_mut(spec).pin = Some(pin.clone());
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
        Ok(desired)
    }

    /// Where a host is reached now is what counts, not where it was reached then.
    fn reach_as_now(&self, desired: &mut Desired) {
        for (name, host) in &mut desired.hosts {
            if let Some(now) = self.environment.hosts.get(name) {
                host.clone_from(now);
            }
        }
    }

    /// Whether an earlier release's hosts have the addresses that its files hold.
    fn is_still_there(
        &self,
        number: u64,
        desired: &Desired,
        observed: &Observed,
    ) -> Result<(), Problem> {
        // Of a host that does not answer nobody knows it, and it is blocked.
        let seen = desired.addresses.iter().filter(|(name, _)| observed.seen(name).is_some());
        for (name, then) in seen {
            let Some(now) = self.address_of(name, observed).filter(|now| now != then) else {
                continue;
            };
            let what = format!("release {number} knew {name} at {then}, and it is at {now} by now");
            return Err(Failure::new(what)
                .hint("its files lead to the old address: deploy its version instead")
                .into());
        }
        Ok(())
    }

    /// Where other hosts reach a host, as far as that is an address.
    fn address_of(&self, name: &str, observed: &Observed) -> Option<String> {
        let seen = observed.seen(name).and_then(|seen| seen.mesh_ip.clone());
        let host = self.environment.hosts.get(name)?;
        let address = host.private_address.as_ref().unwrap_or(&host.address);
        let ip = || address.parse::<std::net::IpAddr>().ok().map(|ip| ip.to_string());
        seen.or_else(ip)
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
