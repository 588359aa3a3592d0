//! Containers of the simulated world, which behave as Docker's and Compose's do: what `up` counts
//! and starts, when health is known, what comes back after a reboot.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::stage::Stage;
use super::{ComposeFile, Faults, SimulatedHost, SimulatedState};
use crate::model::{
    Act, Container, ContainerRef, ContainerState, Failure, Health, Object, ObjectState, definition,
    sha256_hex,
};

/// The exit code of a container that was killed.
const EXIT_KILLED: i32 = 137;

/// What a wait for health has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There are as many healthy containers as are waited for.
    Good,
    /// Not yet; what is said when there is no more time.
    NotYet(Failure),
    /// Waiting longer won't help.
    Hopeless(Failure),
}

impl SimulatedState {
    /// Lets time pass: the health of containers that were starting becomes known.
    pub fn advance(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        for host in self.hosts.values_mut() {
            let (due, later) = std::mem::take(&mut host.due)
                .into_iter()
                .partition(|(_, at): &(String, u64)| *at <= now_ms);
            host.due = later;
            let due: BTreeMap<String, u64> = due;
            for id in due.keys() {
                if let Some(container) = host.state.containers.get_mut(id)
                    && container.state == ContainerState::Running
                    && container.health.is_some()
                {
                    container.health = Some(known_health(container, &self.faults));
                }
            }
        }
    }

    /// A host goes down and comes up again: Docker starts what its restart policy says.
    pub fn reboot(&mut self, host: &str) {
        let Some(host) = self.hosts.get_mut(host) else { return };
        let ids: Vec<String> = host.state.containers.keys().cloned().collect();
        for id in ids {
            let Some(container) = host.state.containers.get_mut(&id) else { continue };
            let was_up = matches!(
                container.state,
                ContainerState::Running | ContainerState::Restarting | ContainerState::Paused
            );
            let again = match container.restart.as_str() {
                "always" => container.state != ContainerState::Created,
                "no" => false,
                _ => was_up,
            };
            if was_up {
                container.state = ContainerState::Exited;
                container.exit_code = EXIT_KILLED;
                unhealthy_when_down(container);
            }
            if again {
                run(host, &id, &self.faults, self.now_ms);
            }
        }
    }

    /// What a wait for health would say now; none for other acts.
    pub fn verdict(&self, host: &str, act: &Act) -> Option<Verdict> {
        let nothing = BTreeMap::new();
        let found = self.hosts.get(host);
        verdict(found.map_or(&nothing, |found| &found.state.containers), host, act)
    }
}

fn verdict(containers: &BTreeMap<String, Container>, host: &str, act: &Act) -> Option<Verdict> {
    let Act::AwaitHealthy { service, replicas, beside, completes, .. } = act else {
        return None;
    };
    let (mut good, mut bad, mut waiting) = (0, Vec::new(), Vec::new());
    let members = containers.iter().filter(|(_, container)| container.service == *service);
    for (_, container) in members.filter(|(id, _)| !names(beside, id)) {
        let name = &container.name;
        match (container.state, container.health) {
            (ContainerState::Exited, _) if *completes && container.exit_code == 0 => good += 1,
            (ContainerState::Exited | ContainerState::Dead, _) => {
                bad.push(format!("{name} exited with code {}", container.exit_code));
            }
            (ContainerState::Restarting, _) if !completes => {
                bad.push(format!("{name} keeps restarting"));
            }
            (_, Some(Health::Unhealthy)) => bad.push(format!("{name} is unhealthy")),
            (ContainerState::Running, None | Some(Health::Healthy)) if !completes => good += 1,
            _ => waiting.push(format!("{name} is not healthy yet")),
        }
    }
    if !bad.is_empty() {
        let what = format!("{service} did not become healthy on {host}");
        return Some(Verdict::Hopeless(Failure::new(what).detail(bad)));
    }
    if good >= *replicas {
        return Some(Verdict::Good);
    }
    let what = format!("{service} did not become healthy in time on {host}: {good} of {replicas}");
    Some(Verdict::NotYet(Failure::new(what).detail(waiting)))
}

fn names(containers: &[ContainerRef], id: &str) -> bool {
    containers.iter().any(|named| named.id == id)
}

/// What the healthcheck of a running container finds in the end.
fn known_health(container: &Container, faults: &Faults) -> Health {
    match faults.unhealthy_images.contains(&container.image) {
        true => Health::Unhealthy,
        false => Health::Healthy,
    }
}

fn stop(container: &mut Container) {
    if !matches!(container.state, ContainerState::Created | ContainerState::Exited) {
        container.state = ContainerState::Exited;
        container.exit_code = 0;
        unhealthy_when_down(container);
    }
}

/// Docker calls a stopped container with a healthcheck unhealthy.
fn unhealthy_when_down(container: &mut Container) {
    if container.health.is_some() {
        container.health = Some(Health::Unhealthy);
    }
}

/// Starts a container that does not run.
fn run(host: &mut SimulatedHost, id: &str, faults: &Faults, now_ms: u64) {
    let Some(container) = host.state.containers.get_mut(id) else { return };
    if faults.crashing_images.contains(&container.image) {
        container.state = match container.restart.as_str() {
            "no" => ContainerState::Exited,
            _ => ContainerState::Restarting,
        };
        container.exit_code = 1;
        unhealthy_when_down(container);
        return;
    }
    container.state = ContainerState::Running;
    container.exit_code = 0;
    // Docker picks host ports anew whenever a container starts.
    for port in container.published.values_mut() {
        host.picked = host.picked.wrapping_add(1);
        *port = 32768 + host.picked % 28_000;
    }
    // An image that can be unhealthy brings a healthcheck of its own.
    if container.health.is_some() || faults.unhealthy_images.contains(&container.image) {
        container.health = match faults.start_ms {
            0 => Some(known_health(container, faults)),
            wait => {
                host.due.insert(id.to_owned(), now_ms + wait);
                Some(Health::Starting)
            }
        };
    }
}

fn has_healthcheck(definition: &Object) -> bool {
    definition.get("healthcheck").is_some_and(|check| {
        let disabled = check.get("disable").and_then(Value::as_bool).unwrap_or(false);
        let test = check.get("test").and_then(Value::as_array);
        let none = test.and_then(|test| test.first()).and_then(Value::as_str) == Some("NONE");
        !disabled && !none
    })
}

/// Whether others in the file wait for the service to end.
fn is_job(compose: &ComposeFile, service: &str) -> bool {
    compose.services.values().any(|other| {
        let condition = other.get("depends_on").and_then(|on| on.get(service)?.get("condition"));
        condition.and_then(Value::as_str) == Some("service_completed_successfully")
    })
}

impl Stage<'_> {
    pub fn perform_on_containers(&mut self, act: &Act) -> Result<(), Failure> {
        match act {
            Act::Start { service, replicas, beside, compose } => {
                let compose = self.compose(compose.as_deref());
                self.start(service, &compose, *replicas, beside)
            }
            Act::Recreate { service, replicas, compose } => {
                let compose = self.compose(compose.as_deref());
                self.recreate(service, &compose, *replicas)
            }
            Act::AwaitHealthy { .. } => self.await_healthy(act),
            Act::Stop { containers, .. } => {
                self.each(containers, stop)?;
                containers.iter().try_for_each(|container| self.remove(&container.id))
            }
            Act::Remove { containers } => {
                containers.iter().try_for_each(|container| self.remove(&container.id))
            }
            Act::RemoveBeside { service, keep, spare } => {
                let ids = self.members(service);
                let others = ids.iter().filter(|id| !names(keep, id));
                others.skip(*spare as usize).try_for_each(|id| self.remove(id))
            }
            Act::Plugin { service, .. } => self.roll_by_plugin(service),
            Act::Run { service, .. } => self.run_command(service),
            Act::Resume { containers } => {
                containers.iter().try_for_each(|container| self.resume(&container.id))
            }
            Act::Rename { container, name } => self.rename(container, name),
            Act::SetRestart { containers, policy } => {
                self.each(containers, |found| found.restart.clone_from(policy))
            }
            // The other acts are performed on other things.
            _ => Ok(()),
        }
    }

    /// The ids of all containers of a service, ours or not, by number.
    fn members(&self, service: &str) -> Vec<String> {
        let containers = self.host.state.containers.iter();
        let mut members: Vec<_> = containers.filter(|(_, c)| c.service == service).collect();
        members.sort_by_key(|(id, container)| (container.number, id.as_str()));
        members.into_iter().map(|(id, _)| id.clone()).collect()
    }

    fn each(
        &mut self,
        containers: &[ContainerRef],
        act: impl Fn(&mut Container),
    ) -> Result<(), Failure> {
        for container in containers {
            self.change()?;
            if let Some(found) = self.host.state.containers.get_mut(&container.id) {
                act(found);
            }
        }
        Ok(())
    }

    fn remove(&mut self, id: &str) -> Result<(), Failure> {
        self.change()?;
        self.host.state.containers.remove(id);
        Ok(())
    }

    fn resume(&mut self, id: &str) -> Result<(), Failure> {
        self.change()?;
        let container = self.host.state.containers.get_mut(id);
        let gone = || Failure::new(format!("{}: no such container: {id}", self.name));
        let container = container.ok_or_else(gone)?;
        match container.state {
            ContainerState::Running | ContainerState::Restarting => {}
            ContainerState::Paused => {
                container.state = ContainerState::Running;
                // Docker calls a container unhealthy while it is paused; the next check tells.
                if container.health.is_some() {
                    container.health = Some(known_health(container, self.faults));
                }
            }
            _ => run(self.host, id, self.faults, self.now_ms),
        }
        Ok(())
    }

    fn rename(&mut self, container: &ContainerRef, name: &str) -> Result<(), Failure> {
        self.change()?;
        self.refuse_taken(name, Some(&container.id))?;
        let found = self.host.state.containers.get_mut(&container.id);
        let gone = || Failure::new(format!("{}: no such container: {}", self.name, container.name));
        found.ok_or_else(gone)?.name = name.to_owned();
        Ok(())
    }

    fn refuse_taken(&self, name: &str, but: Option<&str>) -> Result<(), Failure> {
        let mut others = self.host.state.containers.iter();
        match others.any(|(id, other)| other.name == name && Some(id.as_str()) != but) {
            true => Err(Failure::new(format!("{}: the name {name} is in use", self.name))),
            false => Ok(()),
        }
    }

    /// `up --no-recreate --scale`: what is there counts, whatever its state; what is missing is
    /// created; then everything that does not run is started, and a paused one is stumbled over.
    fn start(
        &mut self,
        service: &str,
        compose: &ComposeFile,
        replicas: u32,
        beside: &[ContainerRef],
    ) -> Result<(), Failure> {
        let members = self.members(service);
        let new = members.iter().filter(|id| !names(beside, id)).count();
        let mut number = members
            .iter()
            .filter_map(|id| self.host.state.containers.get(id))
            .map(|container| container.number)
            .max()
            .unwrap_or(0);
        for _ in new..replicas as usize {
            number += 1;
            self.create(service, compose, number)?;
        }
        self.start_all(service, compose)
    }

    /// As docker-rollout does it: as many new beside the old, and the old away if the new are well.
    fn roll_by_plugin(&mut self, service: &str) -> Result<(), Failure> {
        let old: Vec<ContainerRef> = self
            .members(service)
            .into_iter()
            .map(|id| ContainerRef { name: id.clone(), id })
            .collect();
        let replicas = u32::try_from(old.len()).unwrap_or(u32::MAX);
        let compose = self.compose(None);
        self.start(service, &compose, replicas, &old)?;
        let wait = Act::AwaitHealthy {
            service: service.to_owned(),
            replicas,
            beside: old.clone(),
            timeout_ms: 0,
            monitor_ms: 0,
            completes: false,
        };
        let result = self.await_healthy(&wait);
        let goes: Vec<String> = match result {
            Ok(()) => old.into_iter().map(|old| old.id).collect(),
            Err(_) => self.members(service).into_iter().filter(|id| !names(&old, id)).collect(),
        };
        goes.iter().try_for_each(|id| self.remove(id))?;
        result
    }

    /// A command in a container of its own ends well where the image does.
    fn run_command(&mut self, service: &str) -> Result<(), Failure> {
        let compose = self.compose(None);
        let (_, image, _) = self.makings(service, &compose)?;
        self.change()?;
        match self.faults.crashing_images.contains(&image) {
            true => Err(Failure::new(format!("{}: the command of {service} failed", self.name))),
            false => Ok(()),
        }
    }

    /// `up --force-recreate --scale`: what is too many goes, every other is replaced by one of the
    /// same number, and then as in `start`. An image that is missing is found out before anything
    /// is touched.
    fn recreate(
        &mut self,
        service: &str,
        compose: &ComposeFile,
        replicas: u32,
    ) -> Result<(), Failure> {
        self.makings(service, compose)?;
        let members = self.members(service);
        let (kept, extra) = members.split_at(members.len().min(replicas as usize));
        for id in extra {
            self.remove(id)?;
        }
        for id in kept {
            let number = self.host.state.containers.get(id).map_or(1, |c| c.number);
            self.remove(id)?;
            self.create(service, compose, number)?;
        }
        self.start(service, compose, replicas, &[])
    }

    fn start_all(&mut self, service: &str, compose: &ComposeFile) -> Result<(), Failure> {
        let ids = self.members(service);
        let state = |id: &String| self.host.state.containers.get(id).map(|c| c.state);
        if ids.iter().any(|id| state(id) == Some(ContainerState::Paused)) {
            return Err(Failure::new(format!("{}: cannot start a paused container", self.name)));
        }
        for id in ids {
            let Some(container) = self.host.state.containers.get_mut(&id) else { continue };
            if !matches!(container.state, ContainerState::Running | ContainerState::Restarting) {
                self.change()?;
                run(self.host, &id, self.faults, self.now_ms);
            }
            if is_job(compose, service)
                && let Some(container) = self.host.state.containers.get_mut(&id)
                && container.state == ContainerState::Running
            {
                container.state = ContainerState::Exited;
            }
        }
        Ok(())
    }

    /// What a container of the service is made from, if it can be made.
    fn makings<'c>(
        &self,
        service: &str,
        compose: &'c ComposeFile,
    ) -> Result<(&'c Object, String, String), Failure> {
        let definition = compose.services.get(service).ok_or_else(|| {
            Failure::new(format!("the Compose file on {} has no service {service}", self.name))
        })?;
        let image = definition.get("image").and_then(Value::as_str).unwrap_or_default();
        let Some(pin) = self.host.state.images.get(image) else {
            return Err(Failure::new(format!("{}: no such image: {image}", self.name)));
        };
        Ok((definition, image.to_owned(), pin.id.clone()))
    }

    fn create(&mut self, service: &str, compose: &ComposeFile, number: u32) -> Result<(), Failure> {
        let (definition, image, image_id) = self.makings(service, compose)?;
        let project = self.site.compose_project();
        let fixed = definition.get("container_name").and_then(Value::as_str).map(str::to_owned);
        let name = fixed.unwrap_or_else(|| format!("{project}-{service}-{number}"));
        self.refuse_taken(&name, None)?;
        self.write()?;
        let limits = definition::limits(definition);
        let label = |name| definition::label(definition, name).unwrap_or_default();
        let named = |key: &str| compose.networks.get(key).map_or(key, String::as_str).to_owned();
        let mut networks = BTreeMap::new();
        for key in definition::networks(definition).unwrap_or_default() {
            let network = named(key);
            let names = definition::aliases(definition, service, key);
            // Compose makes what is missing, without a mark of ours.
            let made = ObjectState { key: key.to_owned(), ours: false, definition: String::new() };
            self.host.state.networks.entry(network.clone()).or_insert(made);
            networks.insert(network, names.into_iter().map(str::to_owned).collect());
        }
        let mut shares = BTreeSet::new();
        for partner in definition::shares(definition) {
            let members = self.host.state.containers.iter();
            let members = members.filter(|(_, container)| container.service == partner);
            let Some((id, _)) = members.min_by_key(|(_, container)| container.number) else {
                return Err(Failure::new(format!("{}: {partner} has no container", self.name)));
            };
            shares.insert(id.clone());
        }
        *self.made += 1;
        let id = sha256_hex(format!("{} {service} {}", self.name, self.made));
        let container = Container {
            name,
            service: service.to_owned(),
            number,
            ours: label(definition::LABEL_ENVIRONMENT) == self.site.mark(),
            fingerprint: label(definition::LABEL_DEFINITION).to_owned(),
            state: ContainerState::Created,
            health: has_healthcheck(definition).then_some(Health::Starting),
            image,
            image_id,
            config_hash: self.host.config_hash(definition),
            restart: limits.restart.unwrap_or_else(|| "no".into()),
            memory: limits.memory.unwrap_or(0),
            nano_cpus: limits.nano_cpus.unwrap_or(0),
            networks,
            shares,
            exit_code: 0,
            published: definition::picked_ports(definition).map(|port| (port, 0)).collect(),
        };
        self.host.state.containers.insert(id, container);
        Ok(())
    }

    /// Time does not pass within an effect: who wants to wait asks for `verdict` again and again.
    fn await_healthy(&self, act: &Act) -> Result<(), Failure> {
        match verdict(&self.host.state.containers, self.name, act) {
            Some(Verdict::NotYet(failure) | Verdict::Hopeless(failure)) => Err(failure),
            Some(Verdict::Good) | None => Ok(()),
        }
    }
}
