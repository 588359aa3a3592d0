//! Comparing a service's containers on one host, and planning how they become the desired ones.

use std::collections::BTreeMap;

use serde_json::Value;

use super::resources::{EnvDelta, Scope, refs};
use super::{Draft, Proposal, fields};
use crate::model::definition::{comparable, replicas};
use crate::model::{
    Act, Action, Address, Blocked, BlockedReason, Cause, Container, ContainerRef, ContainerState,
    Effect, FieldChange, Health, Object, Pick, Rollout, RolloutOrder, RouteSpec, ServiceSpec,
};

/// What else on the host changes in a way that containers must follow.
pub(super) struct Upstream<'a> {
    pub env: &'a EnvDelta,
    /// Networks that are made anew, by Docker's name.
    pub networks: &'a BTreeMap<String, Address>,
}

/// A container with its id.
type Member<'a> = (&'a String, &'a Container);

/// A service's containers, sorted by what must be done with them.
#[derive(Default)]
struct Census<'a> {
    /// Made from the desired definition and good; may be more than wanted.
    fresh: Vec<Member<'a>>,
    /// Of the fresh: stopped or paused.
    asleep: Vec<Member<'a>>,
    /// To be replaced.
    stale: Vec<Member<'a>>,
    causes: Vec<Cause>,
    fields: Vec<FieldChange>,
}

/// What should happen to a service on a host; nothing when it is as desired.
pub(super) fn compare(
    scope: &Scope,
    address: &Address,
    spec: &ServiceSpec,
    upstream: &Upstream,
) -> Result<Option<Proposal>, Blocked> {
    let prior = scope.prior(spec);
    let census = take_census(scope, spec, prior, upstream);
    let routes: Vec<_> = scope.routes(&spec.service).collect();
    let plan = Rolling { scope, spec, prior, census: &census, routes: &routes };
    let steps = plan.steps();
    if steps.is_empty() {
        return Ok(None);
    }
    // Nothing is taken away that a gateway may still send requests to.
    let routed = |draft: &Draft| match draft.effect.act {
        Act::Route { .. } => scope.blind.contains(draft.effect.host.as_str()),
        _ => false,
    };
    if let Some(draft) = steps.iter().find(|draft| routed(draft)) {
        let detail = format!(
            "its gateway {} could not be seen, so nothing of it can be taken out of the routes",
            draft.effect.host
        );
        return Err(Blocked { reason: BlockedReason::GatewayUnseen, detail });
    }
    let exists = !census.fresh.is_empty() || !census.stale.is_empty();
    let action = if exists { Action::Update } else { Action::Create };
    let mut causes = census.causes.clone();
    causes.extend(plan.count_causes(exists));
    causes.sort();
    causes.dedup();
    let mut proposal = Proposal::new(address, action, causes);
    proposal.change.fields = census.fields.clone();
    proposal.change.rollout = Some(plan.summary());
    proposal.steps = steps;
    Ok(Some(proposal))
}

fn take_census<'a>(
    scope: &Scope<'a>,
    spec: &ServiceSpec,
    prior: Option<&Object>,
    upstream: &Upstream,
) -> Census<'a> {
    let mut census = Census::default();
    let members = scope.containers(&spec.service).iter().copied();
    let judge = Judge::new(scope, spec, prior, upstream);
    for member in members {
        let (causes, fields) = judge.stale(member.1);
        if !causes.is_empty() {
            census.stale.push(member);
            census.causes.extend(causes);
            census.fields.extend(fields);
            continue;
        }
        census.fresh.push(member);
        let (causes, fields) = judge.repairable(scope, member.1);
        census.causes.extend(causes);
        census.fields.extend(fields);
        if let Some(state) = asleep(member.1, spec) {
            census.asleep.push(member);
            census.causes.push(drifted(member.1, state));
        }
    }
    // What serves is kept before what sleeps: nothing is woken only for another to be stopped.
    census.fresh.sort_by_key(|(id, container)| (!serves(container), container.number, id.as_str()));
    if !census.stale.is_empty() && judge.spec_changed {
        let before = prior.map(comparable).unwrap_or_default();
        census.fields.extend(fields::changes(&before, &comparable(&spec.definition)));
    }
    census.fields.sort_by(|a, b| a.path.cmp(&b.path));
    census.fields.dedup();
    census
}

fn drifted(container: &Container, what: impl std::fmt::Display) -> Cause {
    Cause::Drifted { what: format!("{} {what}", container.name) }
}

/// The name that a container should have: the fixed one, or the one that Compose derives.
fn own_name(scope: &Scope, spec: &ServiceSpec, container: &Container) -> String {
    spec.container_name.clone().unwrap_or_else(|| {
        let project = scope.desired.site.compose_project();
        format!("{project}-{}-{}", spec.service, container.number)
    })
}

/// Whether a container may be answering somebody.
fn serves(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting)
}

fn serves_now(member: &Member) -> bool {
    serves(member.1)
}

/// How a container sleeps that could simply be woken.
fn asleep(container: &Container, spec: &ServiceSpec) -> Option<&'static str> {
    match container.state {
        ContainerState::Paused => Some("is paused"),
        ContainerState::Created => Some("was never started"),
        ContainerState::Exited if !(spec.completes && container.exit_code == 0) => {
            Some("is stopped")
        }
        _ => None,
    }
}

/// Whether containers made from two definitions would be different.
fn differ(one: &Object, other: &Object) -> bool {
    // Mostly nothing differs, and that is seen without a copy.
    one != other && comparable(one) != comparable(other)
}

/// Decides whether a container is still what is desired.
struct Judge<'a> {
    spec: &'a ServiceSpec,
    /// Compose's hash of the desired definition, where the file in force already says it.
    expected_hash: Option<&'a str>,
    /// The id that the image reference means on the host, or must mean.
    expected_image: Option<&'a str>,
    pinned: bool,
    spec_changed: bool,
    env: Option<Cause>,
    upstream: &'a Upstream<'a>,
}

impl<'a> Judge<'a> {
    fn new(
        scope: &Scope<'a>,
        spec: &'a ServiceSpec,
        prior: Option<&Object>,
        upstream: &'a Upstream<'a>,
    ) -> Self {
        let spec_changed = prior.is_some_and(|prior| differ(prior, &spec.definition));
        let deployed = scope.state.deployed.as_ref().filter(|_| prior.is_some() && !spec_changed);
        let hash = deployed.and_then(|deployed| deployed.hashes.get(&spec.service));
        let local = scope.state.images.get(&spec.image).map(|image| image.id.as_str());
        let pinned = spec.pin.as_ref().map(|pin| pin.id.as_str());
        Self {
            spec,
            expected_hash: hash.map(String::as_str),
            expected_image: pinned.or(local),
            pinned: pinned.is_some(),
            spec_changed,
            env: upstream
                .env
                .concerns(&spec.env)
                .map(|what| Cause::Upstream { address: Address::env(scope.host), what }),
            upstream,
        }
    }

    /// Why a container must be replaced; nothing when it need not.
    fn stale(&self, container: &Container) -> (Vec<Cause>, Vec<FieldChange>) {
        let (mut causes, mut changed) = (Vec::new(), Vec::new());
        if container.fingerprint != self.spec.fingerprint {
            causes.push(if self.spec_changed {
                Cause::Changed
            } else {
                Cause::Unfinished {
                    what: format!("{} was made from an earlier configuration", container.name),
                }
            });
            if container.image != self.spec.image && !self.spec_changed {
                changed.push(fields::field(
                    "image".into(),
                    Some(container.image.clone().into()),
                    Some(self.spec.image.clone().into()),
                ));
            }
            return (causes, changed);
        }
        causes.extend(self.env.clone());
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
    fn repairable(&self, scope: &Scope, container: &Container) -> (Vec<Cause>, Vec<FieldChange>) {
        let (mut causes, mut changed) = (Vec::new(), Vec::new());
        let name = own_name(scope, self.spec, container);
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

    fn networks(
        &self,
        container: &Container,
        causes: &mut Vec<Cause>,
        changed: &mut Vec<FieldChange>,
    ) {
        for (name, address) in self.upstream.networks {
            if container.networks.contains(name) {
                causes.push(Cause::Upstream { address: address.clone(), what: Vec::new() });
            }
        }
        let Some(wanted) = &self.spec.networks else { return };
        // A container that never started has no networks yet.
        if container.networks != *wanted && container.state != ContainerState::Created {
            causes.push(drifted(container, "is on other networks"));
            let list = |names: &std::collections::BTreeSet<String>| {
                Some(Value::from(names.iter().cloned().collect::<Vec<_>>()))
            };
            changed.push(fields::field("networks".into(), list(&container.networks), list(wanted)));
        }
    }
}

/// Turns a census into steps.
struct Rolling<'a> {
    scope: &'a Scope<'a>,
    spec: &'a ServiceSpec,
    prior: Option<&'a Object>,
    census: &'a Census<'a>,
    /// The routes that lead to it, each with its gateway.
    routes: &'a [(&'a str, &'a RouteSpec)],
}

impl Rolling<'_> {
    fn wanted(&self) -> usize {
        self.spec.replicas as usize
    }

    fn in_place(&self) -> bool {
        self.spec.rollout.order == RolloutOrder::StopFirst && !self.census.stale.is_empty()
    }

    /// The fresh containers that stay; the others are more than wanted.
    fn kept(&self) -> &[Member<'_>] {
        &self.census.fresh[..self.wanted().min(self.census.fresh.len())]
    }

    fn extra(&self) -> &[Member<'_>] {
        &self.census.fresh[self.kept().len()..]
    }

    fn starts(&self) -> usize {
        if self.in_place() { self.wanted() } else { self.wanted() - self.kept().len() }
    }

    fn count_causes(&self, exists: bool) -> Vec<Cause> {
        let mut causes = Vec::new();
        let was = self.prior.map(replicas);
        let short = self.kept().len() + self.census.stale.len() < self.wanted();
        let scaled = was.is_some_and(|was| was != self.spec.replicas);
        if !exists {
            causes.push(match (was, self.scope.finished) {
                (Some(_), true) => Cause::Drifted { what: "its containers are gone".into() },
                (Some(_), false) => Cause::Unfinished { what: "it was never started".into() },
                (None, _) => Cause::Missing,
            });
        } else if scaled {
            causes.push(Cause::Changed);
        } else if short && self.census.stale.is_empty() {
            let missing = self.wanted() - self.kept().len();
            causes.push(Cause::Drifted {
                what: format!("{missing} of {} containers missing", self.wanted()),
            });
        } else if !self.extra().is_empty() && self.census.stale.is_empty() {
            causes.push(Cause::Drifted {
                what: format!("{} more containers than wanted", self.extra().len()),
            });
        } else if short {
            causes.push(Cause::Unfinished { what: "containers are missing".into() });
        }
        causes
    }

    fn summary(&self) -> Rollout {
        let going = refs(self.census.stale.iter().chain(self.extra()).copied());
        Rollout {
            image: self.spec.image.clone(),
            order: self.spec.rollout.order,
            reason: self.spec.rollout.reason.clone(),
            replicas: self.spec.replicas,
            starts: u32::try_from(self.starts()).unwrap_or(u32::MAX),
            stops: going.into_iter().map(|container| container.name).collect(),
        }
    }

    fn draft(&self, act: Act) -> Draft {
        Draft { effect: self.scope.effect(act), undo: Vec::new(), early: false }
    }

    fn steps(&self) -> Vec<Draft> {
        let mut steps = Vec::new();
        if self.starts() > 0 {
            steps.extend(self.pull());
        }
        self.clear(&mut steps);
        self.repairs(&mut steps);
        let woken = self.wake(&mut steps);
        if self.in_place() {
            self.replace(&mut steps);
        } else {
            self.start_first(woken, &mut steps);
        }
        if !self.in_place() {
            self.drop_extra(&mut steps);
        }
        steps
    }

    /// The image comes before anything else happens, unless it is there already.
    fn pull(&self) -> Option<Draft> {
        let found = self.scope.state.images.get(&self.spec.image);
        let present = match (&self.spec.pin, found) {
            (Some(pin), Some(found)) => pin.id == found.id,
            (None, found) => found.is_some(),
            (Some(_), None) => false,
        };
        (!present).then(|| Draft {
            early: true,
            ..self.draft(Act::PullImage {
                image: self.spec.image.clone(),
                pin: self.spec.pin.clone(),
            })
        })
    }

    /// What can be put right in a running container without replacing it.
    fn repairs(&self, steps: &mut Vec<Draft>) {
        if self.in_place() {
            return;
        }
        // A container that goes may have been given the name that the next one gets.
        let prefix =
            format!("{}-{}-", self.scope.desired.site.compose_project(), self.spec.service);
        let in_the_way = self.census.stale.iter().filter(|(_, container)| {
            self.starts() > 0 && serves(container) && container.name.starts_with(&prefix)
        });
        for (id, container) in self.kept().iter().chain(in_the_way) {
            let expected = own_name(self.scope, self.spec, container);
            if container.name != expected {
                steps.push(self.draft(Act::Rename {
                    container: ContainerRef { id: (*id).clone(), name: container.name.clone() },
                    name: expected,
                }));
            }
        }
        let Some(policy) = &self.spec.limits.restart else { return };
        let other = |member: &&Member| member.1.restart != *policy;
        let containers = refs(self.kept().iter().filter(other).copied());
        if !containers.is_empty() {
            steps.push(self.draft(Act::SetRestart { containers, policy: policy.clone() }));
        }
    }

    /// Removes old containers that serve nobody: Compose would start them again, old as they are,
    /// or stumble over them.
    fn clear(&self, steps: &mut Vec<Draft>) {
        let idle = |member: &&Member| !serves(member.1);
        let containers = refs(self.census.stale.iter().filter(idle).copied());
        if !containers.is_empty() {
            steps.push(self.draft(Act::Remove { containers }));
        }
    }

    /// Wakes what sleeps, of what stays.
    fn wake(&self, steps: &mut Vec<Draft>) -> bool {
        let stays = |member: &&Member| self.kept().iter().any(|kept| kept.0 == member.0);
        let asleep = refs(self.census.asleep.iter().filter(stays).copied());
        if asleep.is_empty() || self.in_place() {
            return false;
        }
        steps.push(self.draft(Act::Resume { containers: asleep }));
        true
    }

    /// New beside old, healthy, then the old away.
    fn start_first(&self, woken: bool, steps: &mut Vec<Draft>) {
        let serving = |member: &&Member| serves(member.1);
        let stale = refs(self.census.stale.iter().filter(serving).copied());
        let extra = refs(self.extra().iter().copied());
        // What is left standing when it fails: everything that was there.
        let mut keep = refs(self.census.stale.iter().chain(&self.census.fresh).copied());
        keep.sort();
        let mut beside = stale.clone();
        beside.extend(extra);
        // Undone is what was started, as long as it has not proved healthy: what fails after that
        // fails in taking the old away, and then the new are all there is.
        let undo = match self.starts() {
            0 => Vec::new(),
            _ => vec![
                self.scope.effect(Act::RemoveBeside { service: self.spec.service.clone(), keep }),
            ],
        };
        if self.starts() > 0 {
            let start = self.draft(Act::Start {
                service: self.spec.service.clone(),
                replicas: self.spec.replicas,
                beside: beside.clone(),
            });
            steps.push(Draft { undo: undo.clone(), ..start });
        }
        if self.wanted() > 0 && (self.starts() > 0 || woken || !stale.is_empty()) {
            steps.push(Draft { undo: undo.clone(), ..self.await_healthy(beside) });
        }
        if !stale.is_empty() {
            self.take_away(stale, &undo, steps);
        }
    }

    /// Old away, new in its place; back to the old file's containers when that fails.
    fn replace(&self, steps: &mut Vec<Draft>) {
        let recreate = |compose| Act::Recreate {
            service: self.spec.service.clone(),
            replicas: self.spec.replicas,
            compose,
        };
        let undo = self.undo_replace(recreate);
        steps.push(Draft { undo: undo.clone(), ..self.draft(recreate(None)) });
        steps.push(Draft { undo, ..self.await_healthy(Vec::new()) });
    }

    fn undo_replace(&self, recreate: impl Fn(Option<String>) -> Act) -> Vec<Effect> {
        let file = self.scope.state.files.get(crate::model::COMPOSE_FILE);
        match (self.prior, file) {
            (Some(prior), Some(file)) if differ(prior, &self.spec.definition) => {
                vec![self.scope.effect(recreate(Some(file.content.clone())))]
            }
            _ => Vec::new(),
        }
    }

    fn await_healthy(&self, beside: Vec<ContainerRef>) -> Draft {
        let rollout = &self.spec.rollout;
        self.draft(Act::AwaitHealthy {
            service: self.spec.service.clone(),
            replicas: self.spec.replicas,
            beside,
            timeout_ms: rollout.health_timeout_ms,
            monitor_ms: rollout.monitor_ms,
            completes: self.spec.completes,
        })
    }

    /// Takes away what is more than wanted; what sleeps need not be stopped first.
    fn drop_extra(&self, steps: &mut Vec<Draft>) {
        let serving = |member: &&Member| serves(member.1);
        let idle = |member: &&Member| !serves(member.1);
        let asleep = refs(self.extra().iter().filter(idle).copied());
        let awake = refs(self.extra().iter().filter(serving).copied());
        if !awake.is_empty() {
            self.take_away(awake, &[], steps);
        }
        if !asleep.is_empty() {
            steps.push(self.draft(Act::Remove { containers: asleep }));
        }
    }

    /// Takes away containers that serve: out of the routes, drained, their hook run, then stopped. As
    /// long as the proxies have not let go of them, all can be `undo`ne.
    fn take_away(&self, containers: Vec<ContainerRef>, undo: &[Effect], steps: &mut Vec<Draft>) {
        let rollout = &self.spec.rollout;
        let grace_s = rollout.stop_grace_s;
        let mut back: Vec<Effect> = Vec::new();
        for (gateway, route) in self.routes {
            let act = |pick: Pick, needed| Act::Route {
                route: Box::new((*route).clone()),
                renew: [(self.scope.host.to_owned(), pick)].into(),
                needed,
            };
            let on = |act| Effect { host: (*gateway).to_owned(), act };
            let before = self.census.stale.iter().chain(&self.census.fresh).copied();
            back.push(on(act(Pick::Only(refs(before.filter(serves_now))), false)));
            let undo: Vec<Effect> = back.iter().chain(undo).cloned().collect();
            let effect = on(act(Pick::Besides(containers.clone()), self.wanted() > 0));
            steps.push(Draft { effect, undo, early: false });
        }
        if !self.routes.is_empty() && rollout.drain_ms > 0 {
            let timeout_ms = rollout.drain_ms;
            steps.push(self.draft(Act::Drain { containers: containers.clone(), timeout_ms }));
        }
        if rollout.settle_ms > 0 {
            steps.push(self.draft(Act::Settle { wait_ms: rollout.settle_ms }));
        }
        if !rollout.hook.is_empty() {
            let command = rollout.hook.clone();
            steps.push(self.draft(Act::Hook { containers: containers.clone(), command }));
        }
        steps.push(self.draft(Act::Stop { containers: containers.clone(), grace_s }));
        steps.push(self.draft(Act::Remove { containers }));
    }
}
