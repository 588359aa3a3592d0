//! The differ: (desired, observed) to a plan. Pure: no clock, no randomness, no environment, no I/O;
//! the same inputs give the same bytes.

mod fields;
mod infrastructure;
mod order;
mod releasing;
mod resources;
mod routes;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::thread;

use crate::model::definition::shares;
use crate::model::{
    Action, Address, Blocked, BlockedEntry, BlockedReason, Cause, Change, Desired, Effect,
    HostState, Kind, Note, Observed, Outcome, PLAN_FORMAT, Plan, Request, Sight, Spec, Summary,
    digest_of,
};

pub use order::Cycle;

/// What is proposed for one resource: the change as people see it, and the steps that make it.
struct Proposal {
    change: Change,
    steps: Vec<Draft>,
    /// Addresses that go first, besides those the desired graph names.
    after: BTreeSet<Address>,
    /// For services: whether a new version, or another configuration of it, takes over.
    releases: bool,
    /// For services: whether some of its containers are as desired already.
    has_new: bool,
}

impl Proposal {
    fn new(address: &Address, action: Action, causes: Vec<Cause>) -> Self {
        let change = Change {
            address: address.clone(),
            action,
            causes,
            fields: Vec::new(),
            diff: None,
            rollout: None,
        };
        Self { change, steps: Vec::new(), after: BTreeSet::new(), releases: false, has_new: false }
    }

    fn step(mut self, effect: Effect) -> Self {
        self.steps.push(Draft { effect, undo: Vec::new(), early: false });
        self
    }
}

/// A step without its number.
struct Draft {
    effect: Effect,
    undo: Vec<Effect>,
    /// Waits for its host alone, not for what the resource waits for: pulls.
    early: bool,
}

/// What the comparisons have found so far.
#[derive(Default)]
struct Findings {
    proposals: BTreeMap<Address, Proposal>,
    blocked: Vec<BlockedEntry>,
    notes: BTreeSet<Note>,
}

impl Findings {
    fn propose(&mut self, proposal: Proposal) {
        self.proposals.insert(proposal.change.address.clone(), proposal);
    }

    fn block(&mut self, address: Address, blocked: Blocked) {
        self.blocked.push(BlockedEntry { address, blocked });
    }
}

/// The plan that turns what was observed into what is desired.
///
/// Hosts that could not be observed are blocked entries: nothing is planned for them.
///
/// # Errors
/// A cycle among the desired resources, which a compiled configuration cannot have and a stored
/// one should not.
pub fn plan(desired: &Desired, observed: &Observed, request: &Request) -> Result<Plan, Cycle> {
    // To write all of it down for its digest takes about as long as to compare it.
    thread::scope(|scope| {
        let digest = scope.spawn(|| desired.digest());
        let plan = compare(desired, observed, request)?;
        let desired_digest = digest.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok(Plan { desired_digest, ..plan })
    })
}

/// The plan, but for the digest of what is desired.
fn compare(desired: &Desired, observed: &Observed, request: &Request) -> Result<Plan, Cycle> {
    let mut findings = Findings::default();
    let mut wanted: BTreeMap<&str, Vec<(&Address, &Spec)>> = BTreeMap::new();
    for (address, resource) in &desired.resources {
        if let Some(host) = address.on_host() {
            wanted.entry(host).or_default().push((address, &resource.spec));
        }
    }
    // Not all that is wanted need be on hosts that were looked at.
    let unknown = wanted.keys().copied().filter(|host| !observed.hosts.contains_key(*host));
    let unknown: BTreeSet<&str> = unknown.collect();
    let blocked = observed.hosts.iter().filter_map(|entry| match entry.1 {
        Sight::Blocked(_) => Some(entry.0.as_str()),
        Sight::Seen(_) => None,
    });
    let blind: BTreeSet<&str> = blocked.chain(unknown.iter().copied()).collect();
    let round = resources::Round {
        desired,
        request,
        finished: observed.head.as_ref().is_none_or(|head| head.outcome == Outcome::Succeeded),
        blind,
        routes: routes::routing(desired),
        canaries: releasing::canaries(desired, observed),
    };
    for (name, sight) in &observed.hosts {
        match sight {
            Sight::Blocked(blocked) => findings.block(Address::host(name), blocked.clone()),
            Sight::Seen(state) => {
                let wanted = wanted.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
                let scope = resources::Scope::new(&round, name, state, wanted);
                compare_host(&scope, wanted, &mut findings);
            }
        }
    }
    for host in unknown {
        let detail = "nothing says how it is reached".to_owned();
        let blocked = Blocked { reason: BlockedReason::Unreachable, detail };
        findings.block(Address::host(host), blocked);
    }
    resources::data_goes_last(&mut findings);
    releasing::commands(&round, observed, &mut findings);
    releasing::canaries_first(&round, &mut findings);
    routes::compare(desired, observed, &mut findings);
    routes::orphans(desired, observed, &mut findings);
    if let Some(state) = &observed.infrastructure {
        let drifts = observed.head.as_ref().is_some_and(|head| {
            head.outcome == Outcome::Succeeded && head.desired == digest_of(desired)
        });
        infrastructure::compare(desired, state, request, drifts, &mut findings);
    }
    let resources = order::resources(desired, &findings.proposals)?;
    order::chain_rollouts(desired, &resources, &mut findings.proposals);
    let steps = order::steps(desired, &resources, &findings.proposals)?;

    let mut changes: Vec<Change> = Vec::new();
    for address in &resources {
        if let Some(proposal) = findings.proposals.remove(address) {
            changes.push(proposal.change);
        }
    }
    let summary = summarise(&changes);
    if !changes.is_empty() && request.part.has_application() {
        let release = Address::release(&desired.site.environment);
        changes.push(Proposal::new(&release, Action::Create, vec![Cause::Requested]).change);
    }
    Ok(Plan {
        format_version: PLAN_FORMAT.to_owned(),
        project: desired.site.project.clone(),
        environment: desired.site.environment.clone(),
        request: request.clone(),
        version: desired.version.clone(),
        base_release: observed.head.as_ref().map(|head| head.number),
        desired_digest: String::new(),
        observed_digest: observed_digest(observed, &changes),
        summary,
        falls_back_to: releasing::falls_back_to(observed, request, &changes),
        changes,
        blocked: findings.blocked,
        notes: findings.notes.into_iter().collect(),
        steps,
        infrastructure: None,
    })
}

/// Compares everything on one host that was seen.
fn compare_host(scope: &resources::Scope, wanted: &[(&Address, &Spec)], findings: &mut Findings) {
    let blocked_before = findings.blocked.len();
    let env = resources::env(scope, wanted, findings);
    if findings.blocked.len() > blocked_before {
        return;
    }
    let mut replaced_networks = BTreeMap::new();
    for (address, spec) in wanted {
        match spec {
            Spec::Host(spec) => resources::host(scope, address, spec, findings),
            Spec::Network(spec) => {
                if resources::network(scope, address, spec, findings) {
                    replaced_networks.insert(spec.name.clone(), (*address).clone());
                }
            }
            Spec::Volume(spec) => resources::volume(scope, address, spec, findings),
            Spec::File(spec) => resources::file(scope, address, spec, findings),
            Spec::Env(_) | Spec::Service(_) | Spec::Route(_) | Spec::Infra(_) => {}
        }
    }
    let services = wanted.iter().filter_map(|(address, spec)| match spec {
        Spec::Service(spec) => Some((*address, spec.as_ref())),
        _ => None,
    });
    // Those that live in the namespaces of others come after these.
    let (alone, guests): (Vec<_>, Vec<_>) =
        services.partition(|(_, spec)| shares(&spec.definition).next().is_none());
    let mut renewed = BTreeSet::new();
    for (address, spec) in alone.into_iter().chain(guests) {
        let upstream =
            service::Upstream { env: &env, networks: &replaced_networks, services: &renewed };
        match service::compare(scope, address, spec, &upstream) {
            Ok(None) => {}
            Ok(Some(proposal)) => {
                if proposal.change.rollout.as_ref().is_some_and(|rollout| !rollout.stops.is_empty())
                {
                    renewed.insert(spec.service.clone());
                }
                findings.propose(proposal);
            }
            Err(blocked) => findings.block((*address).clone(), blocked),
        }
    }
    resources::orphans(scope, wanted, findings);
}

fn summarise(changes: &[Change]) -> Summary {
    let mut summary = Summary::default();
    // A command leaves nothing behind that could be counted.
    let things = changes.iter().filter(|change| change.address.kind() != Kind::Command);
    for change in things {
        match change.action {
            Action::Create => summary.add += 1,
            Action::Update => summary.change += 1,
            Action::Delete => summary.destroy += 1,
            Action::Replace => {
                summary.add += 1;
                summary.destroy += 1;
            }
        }
    }
    summary
}

/// The digest of what was seen on the hosts that the plan touches. Health comes and goes without
/// anybody's doing and is left out.
fn observed_digest(observed: &Observed, changes: &[Change]) -> String {
    let touched: BTreeSet<&str> =
        changes.iter().filter_map(|change| change.address.on_host()).collect();
    let states: BTreeMap<&str, HostState> = touched
        .into_iter()
        .filter_map(|host| {
            let mut state = observed.seen(host)?.clone();
            state.containers.values_mut().for_each(|container| container.health = None);
            Some((host, state))
        })
        .collect();
    match &observed.infrastructure {
        Some(found) => digest_of(&(states, found)),
        None => digest_of(&states),
    }
}

#[cfg(test)]
mod tests;
