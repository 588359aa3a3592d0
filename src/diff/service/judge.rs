//! Judging one container: is it what is desired, can it be put right, or must it be replaced?

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Upstream, differ, drifted, own_name};
use crate::diff::fields;
use crate::diff::resources::Scope;
use crate::model::definition::{
    aliases, comparable, networks, shares, shares_with_others, sources,
};
use crate::model::{
    Address, COMPOSE_FILE, Cause, Container, ContainerState, EnvUse, FieldChange, Health, Object,
    ServiceSpec,
};

/// Decides whether a container is still what is desired.
pub(super) struct Judge<'a> {
    scope: &'a Scope<'a>,
    spec: &'a ServiceSpec,
    /// Compose's hash of the desired definition, where the file in force already says it.
    expected_hash: Option<&'a str>,
    /// The id that the image reference means on the host, or must mean.
    expected_image: Option<&'a str>,
    pinned: bool,
    pub spec_changed: bool,
    /// Whether Compose puts containers in the place of services that it names.
    is_resolved: bool,
    /// What its containers get when they are made, where only that has changed.
    beside: Option<Cause>,
    env: Option<Cause>,
    upstream: &'a Upstream<'a>,
}

impl<'a> Judge<'a> {
    pub fn new(
        scope: &'a Scope<'a>,
        spec: &'a ServiceSpec,
        prior: Option<&Object>,
        upstream: &'a Upstream<'a>,
    ) -> Self {
        let spec_changed = prior.is_some_and(|prior| differ(prior, &spec.definition));
        let is_same = |prior| comparable(prior) == comparable(&spec.definition);
        let beside = prior.filter(|prior| spec_changed && is_same(prior));
        // Compose puts containers in the place of services before it computes these.
        let is_resolved = shares(&spec.definition).next().is_some()
            || spec.definition.contains_key("volumes_from");
        let is_noted = prior.is_some() && !spec_changed && !is_resolved;
        let deployed = scope.state.deployed.as_ref().filter(|_| is_noted);
        let hash = deployed.and_then(|deployed| deployed.hashes.get(&spec.service));
        let local = scope.state.image(&spec.image).map(|image| image.id.as_str());
        let pinned = spec.pin.as_ref().map(|pin| pin.id.as_str());
        Self {
            scope,
            spec,
            expected_hash: hash.map(String::as_str),
            expected_image: pinned.or(local),
            pinned: pinned.is_some(),
            spec_changed,
            is_resolved,
            beside: beside.map(|_| Cause::Upstream {
                address: Address::file(scope.host, COMPOSE_FILE),
                what: beside_of(&spec.definition),
            }),
            env: upstream
                .env
                .concerns(&spec.env)
                .map(|what| Cause::Upstream { address: Address::env(scope.host), what }),
            upstream,
        }
    }

    /// Why a container must be replaced; nothing when it need not.
    pub fn stale(&self, container: &Container) -> (Vec<Cause>, Vec<FieldChange>) {
        let (mut causes, mut changed) = (Vec::new(), Vec::new());
        if container.fingerprint != self.spec.fingerprint {
            causes.push(match &self.beside {
                Some(cause) => cause.clone(),
                None if self.spec_changed => Cause::Changed,
                None => Cause::Unfinished {
                    what: format!("{} was made from an earlier configuration", container.name),
                },
            });
            if container.image != self.spec.image && !self.spec_changed {
                changed.push(fields::field(
                    "image".into(),
                    Some(container.image.clone().into()),
                    Some(self.spec.image.clone().into()),
                ));
            }
            self.renewed_networks(container, &mut causes);
            return (causes, changed);
        }
        causes.extend(self.env.clone());
        // Of such a service Compose's hash tells nothing, so that it is rolled to be sure.
        let uses_env = match &self.spec.env {
            EnvUse::All => true,
            EnvUse::Keys(keys) => !keys.is_empty(),
        };
        if self.is_resolved && uses_env && !self.scope.round.finished && causes.is_empty() {
            causes.push(Cause::Unfinished {
                what: format!("{} may have other environment values", container.name),
            });
        }
        let stale_hash =
            self.expected_hash.is_some_and(|expected| container.config_hash != expected);
        if stale_hash && causes.is_empty() {
            causes.push(Cause::Unfinished {
                what: format!("{} was made with other environment values", container.name),
            });
        }
        if self.expected_image.is_some_and(|expected| container.image_id != expected) {
            let expected = self.expected_image.unwrap_or_default();
            causes.push(match self.pinned {
                true => Cause::Changed,
                false => drifted(
                    container,
                    format!("runs another image than {} now means", self.spec.image),
                ),
            });
            changed.push(fields::field(
                "image_id".into(),
                Some(container.image_id.clone().into()),
                Some(expected.into()),
            ));
        }
        self.limits(container, &mut causes, &mut changed);
        self.networks(container, &mut causes, &mut changed);
        self.partners(container, &mut causes);
        match (container.state, container.health) {
            (ContainerState::Restarting, _) => {
                causes.push(drifted(container, "keeps restarting"));
            }
            (ContainerState::Dead | ContainerState::Removing, _) => {
                causes.push(drifted(container, "is dead"));
            }
            (ContainerState::Running, Some(Health::Unhealthy)) => {
                causes.push(drifted(container, "is unhealthy"));
            }
            _ => {}
        }
        (causes, changed)
    }

    /// What can be put right without replacing the container: its name and its restart policy.
    pub fn repairable(&self, container: &Container) -> (Vec<Cause>, Vec<FieldChange>) {
        let (mut causes, mut changed) = (Vec::new(), Vec::new());
        let name = own_name(self.scope, self.spec, container);
        if container.name != name {
            causes.push(drifted(container, format!("should be named {name}")));
        }
        if let Some(wanted) = self.spec.limits.restart.as_ref()
            && *wanted != container.restart
        {
            causes.push(drifted(container, format!("has restart policy {}", container.restart)));
            let (found, wanted) = (container.restart.clone().into(), wanted.clone().into());
            changed.push(fields::field("restart".into(), Some(found), Some(wanted)));
        }
        (causes, changed)
    }

    fn limits(
        &self,
        container: &Container,
        causes: &mut Vec<Cause>,
        changed: &mut Vec<FieldChange>,
    ) {
        let wanted = &self.spec.limits;
        let numbers = [
            ("memory", container.memory, wanted.memory),
            ("nano_cpus", container.nano_cpus, wanted.nano_cpus),
        ];
        for (name, found, wanted) in numbers {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                causes.push(drifted(container, format!("has {name} {found}")));
                changed.push(fields::field(
                    name.to_owned(),
                    Some(found.into()),
                    Some(wanted.into()),
                ));
            }
        }
    }

    fn renewed_networks(&self, container: &Container, causes: &mut Vec<Cause>) {
        let renewed = self.upstream.networks.iter();
        let renewed = renewed.filter(|(name, _)| container.networks.contains_key(*name));
        causes.extend(
            renewed
                .map(|(_, address)| Cause::Upstream { address: address.clone(), what: Vec::new() }),
        );
    }

    fn networks(
        &self,
        container: &Container,
        causes: &mut Vec<Cause>,
        changed: &mut Vec<FieldChange>,
    ) {
        self.renewed_networks(container, causes);
        let Some(wanted) = &self.spec.networks else { return };
        // A container that never started has no networks yet.
        let differ = !container.networks.keys().eq(wanted);
        if differ && container.state != ContainerState::Created {
            causes.push(drifted(container, "is on other networks"));
            let found = container.networks.keys().map(String::as_str).collect();
            let wanted = wanted.iter().map(String::as_str).collect();
            changed.push(fields::field("networks".into(), Some(found), Some(wanted)));
            return;
        }
        self.aliases(container, causes, changed);
    }

    /// A namespace goes with the container whose it is.
    fn partners(&self, container: &Container, causes: &mut Vec<Cause>) {
        let new = shares(&self.spec.definition).filter(|it| self.upstream.services.contains(*it));
        causes.extend(new.map(|partner| Cause::Upstream {
            address: Address::service(self.scope.host, partner),
            what: Vec::new(),
        }));
        // Whether somebody else's container is still there nobody has looked.
        let is_gone = |id: &String| !self.scope.state.containers.contains_key(id);
        if causes.is_empty()
            && !shares_with_others(&self.spec.definition)
            && container.shares.iter().any(is_gone)
        {
            causes.push(drifted(container, "shares a namespace of a container that is gone"));
        }
    }

    /// The names that a container answers to: somebody can take one away, or give it another's.
    fn aliases(
        &self,
        container: &Container,
        causes: &mut Vec<Cause>,
        changed: &mut Vec<FieldChange>,
    ) {
        let (definition, service) = (&self.spec.definition, self.spec.service.as_str());
        // Links are names, too, of others.
        if ["links", "external_links"].iter().any(|key| definition.contains_key(*key)) {
            return;
        }
        // Compose gives a container the name, too, that it first had.
        let is_own = |alias: &str| {
            self.scope.is_derived(service, alias)
                || self.spec.container_name.as_deref() == Some(alias)
        };
        for key in networks(definition).into_iter().flatten() {
            let Some(network) = self.scope.networks.get(key).copied() else { continue };
            let Some(found) = container.networks.get(network) else { continue };
            let found: BTreeSet<&str> =
                found.iter().map(String::as_str).filter(|alias| !is_own(alias)).collect();
            let wanted = aliases(definition, service, key);
            if found != wanted {
                causes.push(drifted(container, format!("has other names on {network}")));
                let path = format!("networks.{key}.aliases");
                let list = |names: BTreeSet<&str>| Some(names.into_iter().collect());
                changed.push(fields::field(path, list(found), list(wanted)));
            }
        }
    }
}

/// What containers get when they are made that their own definition only names.
fn beside_of(definition: &Object) -> Vec<String> {
    let files = ["configs", "secrets"].into_iter().flat_map(|section| sources(definition, section));
    let depends_on = definition.get("depends_on").and_then(Value::as_object).into_iter().flatten();
    let followed = depends_on.filter(|(_, entry)| entry.get("restart") == Some(&Value::Bool(true)));
    files.chain(followed.map(|(name, _)| name.as_str())).map(str::to_owned).collect()
}
