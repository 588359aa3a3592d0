//! What a release does besides rolling each host: commands that run before, canaries that go first,
//! and where everything goes back to when it fails.

use std::collections::{BTreeMap, BTreeSet};

use super::resources::Round;
use super::{Findings, Proposal};
use crate::model::{
    Act, Action, Address, Cause, Change, Desired, Effect, Kind, Note, Observed, OnFailure, Request,
    ServiceSpec, Spec,
};

/// The services that are desired, each with its host.
fn services(desired: &Desired) -> impl Iterator<Item = (&str, &ServiceSpec)> {
    desired.resources.iter().filter_map(|(address, resource)| match &resource.spec {
        Spec::Service(spec) => Some((address.on_host()?, spec.as_ref())),
        _ => None,
    })
}

/// The services of which a canary is to go first, and where: on the first host that runs another
/// version, as long as there are not as many new ones as asked for. With several hosts in the dark
/// nobody knows, and nothing is planned there in any case.
pub(super) fn canaries<'a>(
    desired: &'a Desired,
    observed: &Observed,
) -> BTreeMap<&'a str, (&'a str, u32)> {
    let mut fresh: BTreeMap<&str, u32> = BTreeMap::new();
    let mut first: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
    for (host, spec) in services(desired) {
        let (Some(canary), Some(state)) = (spec.rollout.canary, observed.seen(host)) else {
            continue;
        };
        let own = state.containers.values().filter(|c| c.ours && c.service == spec.service);
        for container in own {
            if container.fingerprint == spec.fingerprint {
                *fresh.entry(&spec.service).or_default() += 1;
            } else {
                first.entry(&spec.service).or_insert((host, canary));
            }
        }
    }
    first.retain(|service, (_, canary)| {
        *canary = canary.saturating_sub(fresh.get(service).copied().unwrap_or_default());
        *canary > 0
    });
    first
}

/// Makes the hosts without the canary wait for the one that has it.
pub(super) fn canaries_first(round: &Round, findings: &mut Findings) {
    for (service, (host, _)) in &round.canaries {
        let first = Address::service(host, service);
        let confirms = findings.proposals.get(&first).is_some_and(|proposal| {
            let mut steps = proposal.steps.iter();
            steps.any(|step| matches!(step.effect.act, Act::Confirm { .. }))
        });
        if !confirms {
            continue;
        }
        for (address, proposal) in &mut findings.proposals {
            let same = address.kind() == Kind::Service && address.name() == Some(service);
            if same && *address != first && proposal.change.action != Action::Delete {
                proposal.after.insert(first.clone());
            }
        }
    }
}

/// Proposes the commands that run before a new version of their service does anything, once each, on
/// the first host that it comes to. Going back runs none: what one did cannot be undone, and that
/// is said.
pub(super) fn commands(round: &Round, observed: &Observed, findings: &mut Findings) {
    if round.request.rollback_to.is_some() {
        let stays = observed.commands_since.iter().map(|(service, command)| Note::CommandStays {
            service: service.clone(),
            command: command.clone(),
        });
        findings.notes.extend(stays);
        return;
    }
    let mut done = BTreeSet::new();
    for (host, spec) in services(round.desired) {
        let releases = |address: &Address| {
            findings.proposals.get(address).is_some_and(|proposal| proposal.releases)
        };
        let rolls = Address::service(host, &spec.service);
        if spec.release_command.is_empty() || !releases(&rolls) || !done.insert(&spec.service) {
            continue;
        }
        if is_released(round, observed, &spec.service, findings) {
            continue;
        }
        let address = Address::command(host, &spec.service);
        let act = Act::Run { service: spec.service.clone(), command: spec.release_command.clone() };
        let effect = Effect { host: host.to_owned(), act };
        let mut proposal =
            Proposal::new(&address, Action::Create, vec![Cause::Requested]).step(effect);
        proposal.after = round
            .desired
            .resources
            .get(&rolls)
            .map(|found| found.after.clone())
            .unwrap_or_default();
        findings.propose(proposal);
        for (other, proposal) in &mut findings.proposals {
            if other.kind() == Kind::Service && other.name() == Some(&spec.service) {
                proposal.after.insert(address.clone());
            }
        }
    }
}

/// Whether some host runs the desired version already: then its command has run.
fn is_released(round: &Round, observed: &Observed, service: &str, findings: &Findings) -> bool {
    services(round.desired).filter(|(_, spec)| spec.service == service).any(|(host, _)| {
        match findings.proposals.get(&Address::service(host, service)) {
            Some(proposal) => proposal.has_new,
            None => observed.seen(host).is_some(),
        }
    })
}

/// The release that everything goes back to when a service's rollout fails: the newest that
/// succeeded, where any service's rollout says so. A rollback has nothing to go back to.
pub(super) fn falls_back_to(
    observed: &Observed,
    request: &Request,
    changes: &[Change],
) -> Option<u64> {
    let goes_back = |change: &Change| {
        let rollout = change.rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.on_failure == OnFailure::Rollback)
    };
    let good = observed.head.as_ref().and_then(|head| head.good());
    let may = request.rollback_to.is_none() && !request.no_fall_back;
    good.filter(|_| may && changes.iter().any(goes_back))
}
