//! Comparing a service's containers on one host: which are as desired, which must be replaced, and
//! what is proposed.

mod judge;
mod rolling;

use std::collections::{BTreeMap, BTreeSet};

use super::resources::{EnvDelta, Scope};
use super::{Draft, Proposal, fields};
use crate::model::definition::{LABEL_DEFINITION, comparable, label};
use crate::model::{
    Act, Action, Address, Blocked, BlockedReason, Cause, Container, ContainerState, FieldChange,
    Object, ServiceSpec,
};

use judge::Judge;
use rolling::Rolling;

/// What else on the host changes in a way that containers must follow.
pub(super) struct Upstream<'a> {
    pub env: &'a EnvDelta,
    /// Networks that are made anew, by Docker's name.
    pub networks: &'a BTreeMap<String, Address>,
    /// Services that get new containers for old ones.
    pub services: &'a BTreeSet<String>,
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
    /// Why the stale ones are.
    stale_causes: Vec<Cause>,
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
    // Compose counts it, and takes it for one that it may keep or replace.
    let counts =
        |it: &&Container| !it.ours && it.service == spec.service && !it.config_hash.is_empty();
    let stranger = scope.state.containers.values().find(counts);
    if let Some(container) = stranger {
        let detail = container.name.clone();
        return Err(Blocked { reason: BlockedReason::NotOurs, detail });
    }
    let prior = scope.prior(spec);
    let census = take_census(scope, spec, prior, upstream);
    let routes: Vec<_> = scope.routes(&spec.service).collect();
    let plan = Rolling::new(scope, spec, prior, &census, &routes);
    let steps = plan.steps();
    if steps.is_empty() {
        return Ok(None);
    }
    // Nothing is taken away that a gateway may still send requests to.
    let routed = |draft: &Draft| match draft.effect.act {
        Act::Route { .. } => scope.round.blind.contains(draft.effect.host.as_str()),
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
    let counted = plan.count_causes(exists);
    let mut proposal = Proposal::new(address, action, Vec::new());
    // Containers that were only changed by hand are put back as they were: no release of anything.
    let reasons = if exists { &census.stale_causes } else { &counted };
    proposal.has_new = !census.fresh.is_empty();
    proposal.releases = plan.starts() > 0
        && !proposal.has_new
        && reasons.iter().any(|cause| !matches!(cause, Cause::Drifted { .. }));
    let causes = &mut proposal.change.causes;
    causes.extend(census.causes.iter().cloned().chain(counted));
    causes.sort();
    causes.dedup();
    proposal.change.fields = census.fields.clone();
    proposal.change.rollout = Some(plan.summary());
    proposal.steps = steps;
    Ok(Some(proposal))
}

fn take_census<'a>(
    scope: &'a Scope<'a>,
    spec: &'a ServiceSpec,
    prior: Option<&Object>,
    upstream: &'a Upstream<'a>,
) -> Census<'a> {
    let mut census = Census::default();
    let members = scope.containers(&spec.service).iter().copied();
    let judge = Judge::new(scope, spec, prior, upstream);
    for member in members {
        let (causes, fields) = judge.stale(member.1);
        if !causes.is_empty() {
            census.stale.push(member);
            census.causes.extend(causes.iter().cloned());
            census.stale_causes.extend(causes);
            census.fields.extend(fields);
            continue;
        }
        census.fresh.push(member);
        let (causes, fields) = judge.repairable(member.1);
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
    spec.container_name
        .clone()
        .unwrap_or_else(|| format!("{}-{}-{}", scope.project, spec.service, container.number))
}

/// Whether a container may be answering somebody.
fn serves(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting)
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
    // Mostly they are the same one, or nothing differs, and that is seen without a copy.
    // The digest also covers what is beside a definition.
    let made_from = |definition| label(definition, LABEL_DEFINITION);
    !std::ptr::eq(one, other)
        && one != other
        && (made_from(one) != made_from(other) || comparable(one) != comparable(other))
}
