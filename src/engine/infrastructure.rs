//! What an environment has below its application: what that should be, and where its hosts are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::look::Coming;
use super::{Engine, Planned, Problem, Workspace, site};
use crate::config::stagecraft::{self, Environment};
use crate::model::{
    Action, Address, Change, Desired, FIXED, Failure, Host, InfraState, Kind, Part, Plan,
    Protection, Request,
};
use crate::provider::{self, Finder, Ground};
use crate::state::StateError;
use crate::world::{Infrastructure, apart};

/// Where the records, journals and the lock of infrastructure are kept, below the project's folder. Hosts
/// can't keep them: there may be none yet.
pub(super) const STATE: &str = ".stagecraft/infrastructure";

/// Opens what is below an environment's application.
pub(super) fn open(
    workspace: &Workspace,
    environment: &Environment,
) -> Result<Arc<dyn Infrastructure>, Problem> {
    if environment.world == stagecraft::World::Simulated {
        let what = format!("environment `{}` is simulated; it is in no cloud", environment.name);
        return Err(Failure::new(what).hint("name another one with --env").into());
    }
    let ground = Ground::open(&workspace.config.file, environment, &site(environment))?;
    let ground = ground.ok_or_else(|| {
        Failure::new("the configuration names no infrastructure").hint(
            "add `cloud: { provider: digitalocean }`, a `network:` or `bootstrap: {}` to stagecraft.yml",
        )
    })?;
    Ok(Arc::new(ground))
}

/// Says of hosts where they are, when the configuration does not.
///
/// # Errors
/// The cloud can't be asked, or does not say by which key a machine is known.
pub(super) fn locate(workspace: &Workspace, environment: &mut Environment) -> Result<(), Problem> {
    if environment.world != stagecraft::World::Hosts {
        return Ok(());
    }
    let file = &workspace.config.file;
    let site = site(environment);
    let finder = Finder::new(file, environment, &site);
    let mut hosts = std::mem::take(&mut environment.hosts);
    let found = finder.find(&mut hosts, || provider::machines(file, environment, &site));
    environment.hosts = hosts;
    found?;
    for name in finder.made() {
        let Some(host) = environment.hosts.get(&name) else { continue };
        if host.host_key.is_none() && !host.address.is_empty() {
            let what = format!("the cloud does not say by which key {name} is known");
            return Err(Failure::new(what)
                .hint("set `address:` at the host, and log in once by hand; `ssh` decides then")
                .into());
        }
    }
    Ok(())
}

/// What a plan of infrastructure makes of hosts: which will be there with nothing on them yet, and which
/// will have another address.
pub(super) fn coming(plan: &Plan) -> Coming {
    let named = |fits: &dyn Fn(&Change) -> bool| -> BTreeSet<String> {
        let changes = plan.changes.iter().filter(|change| fits(change));
        changes.map(|change| change.address.scope().to_owned()).collect()
    };
    let is_made = |change: &Change| match change.address.kind() {
        Kind::Machine => matches!(change.action, Action::Create | Action::Replace),
        Kind::Bootstrap => change.action == Action::Create,
        _ => false,
    };
    // One that logs in anew may get another address.
    let logs_in = |change: &Change| {
        let anew = change.fields.iter().any(|field| field.path == "state");
        change.address.kind() == Kind::Mesh && (change.action == Action::Create || anew)
    };
    Coming { empty: named(&is_made), joining: named(&logs_in), are_there: false, head: None }
}

/// The hosts whose machines may have been off for a plan of infrastructure.
pub(super) fn restarted(plan: &Plan) -> BTreeSet<String> {
    let kinds = [Kind::Machine, Kind::Disk];
    let changes = plan
        .changes
        .iter()
        .filter(|change| kinds.contains(&change.address.kind()) && change.action != Action::Delete);
    changes.map(|change| change.address.scope().to_owned()).collect()
}

impl Engine {
    /// Plans what has to change below the application, where the cloud makes any of its hosts; none where
    /// nothing has to.
    pub(super) async fn plan_below(&self, request: &Request) -> Result<Option<Planned>, Problem> {
        let file = &self.workspace.config.file;
        let is_made = !Finder::new(file, &self.environment, &self.site).made().is_empty();
        if self.environment.world != stagecraft::World::Hosts || !is_made {
            return Ok(None);
        }
        let request = Request {
            part: Part::Infrastructure,
            allow_destroy: request.allow_destroy.clone(),
            ..Request::default()
        };
        let planned = Box::pin(self.below()?.plan(&request)).await?;
        Ok((!planned.plan.is_empty()).then_some(planned))
    }

    /// Finds hosts that the environment had once: whoever wrote down where they are may have been elsewhere.
    pub(super) async fn find_former(&self, hosts: Vec<Host>) -> Result<Vec<Host>, Problem> {
        if self.environment.world != stagecraft::World::Hosts {
            return Ok(hosts);
        }
        let (workspace, site) = (self.workspace.clone(), self.site.clone());
        let environment = self.environment.clone();
        let found = apart(move || -> Result<Vec<Host>, Failure> {
            let file = &workspace.config.file;
            let finder = Finder::former(file, &environment, &site, &hosts);
            let mut hosts: BTreeMap<String, Host> =
                hosts.into_iter().map(|host| (host.name.clone(), host)).collect();
            finder.find(&mut hosts, || provider::machines(file, &environment, &site))?;
            Ok(hosts.into_values().collect())
        });
        Ok(found.await?)
    }

    /// What is below this environment's application.
    pub(super) fn below(&self) -> Result<Engine, Problem> {
        Engine::open_infrastructure(self.workspace.clone(), &self.environment.name)
    }

    /// What there should be below the application.
    pub(super) fn infrastructure(&self, request: &Request) -> Result<Desired, Problem> {
        let file = &self.workspace.config.file;
        let resources = match request.part {
            Part::NoInfrastructure { .. } => BTreeMap::new(),
            _ => provider::resources(file, &self.environment, &self.site)?,
        };
        Ok(Desired {
            site: self.site.clone(),
            version: None,
            hosts: BTreeMap::new(),
            addresses: BTreeMap::new(),
            partial: request.part == Part::Foundation,
            protection: self.protection(),
            resources,
        })
    }

    /// Takes over something that somebody else has made: it becomes what is at an address.
    ///
    /// # Errors
    /// The configuration has no such address, there is something at it already, or it can't be marked.
    pub async fn import(
        &self,
        address: &Address,
        id: &str,
        key: Option<&str>,
    ) -> Result<(), Problem> {
        let request = Request { part: Part::Infrastructure, ..Request::default() };
        let lock = self.lock(&request).await?;
        let import = async {
            let wanted = self.infrastructure(&request)?.resources;
            if !wanted.contains_key(address) {
                let of_its_kind = wanted.keys().filter(|it| it.kind() == address.kind());
                let names: Vec<String> = of_its_kind.map(Address::to_string).collect();
                let hint = match names.is_empty() {
                    true => "add it to the configuration first".to_owned(),
                    false => format!("there is {}", names.join(", ")),
                };
                let what = format!("{address} is not in the configuration");
                return Err(Problem::from(Failure::new(what).hint(hint)));
            }
            if let Some(found) = self.survey().await?.first(address)
                && !found.given.contains_key(FIXED)
            {
                let what = format!("{address} is there already ({})", found.id);
                return Err(Failure::new(what).hint("nothing was changed").into());
            }
            Ok(self.world.adopt(address, id, key).await?)
        };
        let imported = import.await;
        let released = lock.release().await;
        imported?;
        Ok(released?)
    }

    /// Whether nobody holds the lock of the hosts. Those that are not there can't be asked, and nobody is at
    /// work on them.
    pub(super) async fn hosts_are_unlocked(&self) -> Result<(), StateError> {
        let Ok(engine) = Engine::open(self.workspace.clone(), &self.environment.name) else {
            return Ok(());
        };
        let held = engine.store.lock_status().await.unwrap_or_default();
        match held.into_iter().find_map(|(place, holder)| Some((place, holder?))) {
            Some((place, holder)) => Err(StateError::Locked { place, holder }),
            None => Ok(()),
        }
    }

    fn protection(&self) -> Protection {
        if self.environment.protect {
            return Protection::Everything;
        }
        let machines = self.environment.machines.iter();
        Protection::Hosts(
            machines.filter(|(_, machine)| machine.protect).map(|(name, _)| name.clone()).collect(),
        )
    }

    /// What there is below the application.
    ///
    /// # Errors
    /// Somebody did not answer, or the environment was not opened for its infrastructure.
    pub async fn survey(&self) -> Result<InfraState, Problem> {
        let found = self.world.survey().await?;
        Ok(found.ok_or_else(|| Failure::new("there is no infrastructure"))?)
    }
}
