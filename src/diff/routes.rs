//! Comparing routes: what a gateway's file lists with the containers that run, over all hosts; and
//! finding the files that are no longer wanted.

use std::collections::{BTreeMap, BTreeSet};

use super::resources::{mode_repair, unified};
use super::{Findings, Proposal};
use crate::model::{
    Act, Action, Address, Cause, Container, ContainerState, Desired, Effect, Health, HostState,
    Kind, Observed, Pick, RouteSpec, Servers, Spec, route_file, routed_service, stamp,
};

/// The routes by which services are reached: by service, each with its gateway.
pub(super) type Routing<'a> = BTreeMap<&'a str, Vec<(&'a str, &'a RouteSpec)>>;

/// All routes that are desired.
pub(super) fn routing(desired: &Desired) -> Routing<'_> {
    let mut routing = Routing::new();
    for (address, route) in wanted(desired) {
        let of = routing.entry(route.routes.service.as_str()).or_default();
        of.push((address.on_host().unwrap_or_default(), route));
    }
    routing
}

fn wanted(desired: &Desired) -> impl Iterator<Item = (&Address, &RouteSpec)> {
    desired.resources.iter().filter_map(|(address, resource)| match &resource.spec {
        Spec::Route(route) => Some((address, route.as_ref())),
        _ => None,
    })
}

/// Compares every route with what its gateway has and with the containers that it leads to. Comes
/// after the services: what happens to them is part of the answer.
pub(super) fn compare(desired: &Desired, observed: &Observed, findings: &mut Findings) {
    for (address, route) in wanted(desired) {
        let Some(state) = address.on_host().and_then(|gateway| observed.seen(gateway)) else {
            continue;
        };
        let comparison = Comparison { desired, observed, address, route, state };
        if let Some(proposal) = comparison.proposal(findings) {
            findings.propose(proposal);
        }
    }
}

struct Comparison<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    address: &'a Address,
    route: &'a RouteSpec,
    state: &'a HostState,
}

impl Comparison<'_> {
    fn proposal(&self, findings: &Findings) -> Option<Proposal> {
        let name = route_file(&self.route.routes.service);
        let found = self.state.files.get(&name);
        let mut servers = found.map(|file| self.route.read(&file.content)).unwrap_or_default();
        servers.retain(|host, _| self.route.sources.contains_key(host));
        let mut causes = Vec::new();
        let mut waits = Vec::new();
        for host in self.route.sources.keys() {
            // What a host in the dark serves stays as it is.
            let Some(state) = self.observed.seen(host) else { continue };
            match self.changes(host, findings) {
                Changes::Themselves => {}
                Changes::Before(address) => {
                    causes.push(Cause::Upstream { address, what: Vec::new() });
                }
                Changes::Nothing => {
                    let serving = self.serving(state);
                    waits.extend(self.wait(host, &serving));
                    let serving =
                        serving.iter().map(|(id, container)| (id.as_str(), &container.published));
                    servers.insert(host.clone(), self.route.servers(host, serving));
                }
            }
        }
        let text = self.route.text(&servers);
        let action = match found {
            None => {
                causes.push(Cause::Missing);
                Action::Create
            }
            Some(found) if found.content != text => {
                causes.push(self.cause(&found.content, &servers));
                Action::Update
            }
            Some(found) if causes.is_empty() => {
                let (path, mode) = (&self.route.path, self.route.mode);
                return (found.mode != mode)
                    .then(|| mode_repair(&self.gateway(), self.address, path, found.mode, mode));
            }
            Some(_) => Action::Update,
        };
        causes.sort();
        causes.dedup();
        let mut proposal = Proposal::new(self.address, action, causes);
        proposal.change.diff =
            found.map(|found| unified(&found.content, &text)).filter(|diff| !diff.is_empty());
        for wait in waits {
            proposal = proposal.step(wait);
        }
        Some(proposal.step(self.write()))
    }

    fn gateway(&self) -> String {
        self.address.on_host().unwrap_or_default().to_owned()
    }

    /// Why a file that is there is not as it should be.
    fn cause(&self, found: &str, servers: &Servers) -> Cause {
        if !stamp::is_intact(found) {
            let name = self.route.path.rsplit('/').next().unwrap_or_default();
            return Cause::Drifted { what: format!("{name} was edited") };
        }
        let before = self.route.read(found);
        if self.route.text(&before) != found {
            return Cause::Changed;
        }
        let others: Vec<&str> = servers
            .iter()
            .filter(|(host, of)| before.get(*host) != Some(*of))
            .map(|(host, _)| host.as_str())
            .collect();
        let service = &self.route.routes.service;
        Cause::Drifted { what: format!("{service} on {} answers elsewhere", others.join(", ")) }
    }

    /// What becomes of the containers on a host.
    fn changes(&self, host: &str, findings: &Findings) -> Changes {
        let address = Address::service(host, &self.route.routes.service);
        let Some(proposal) = findings.proposals.get(&address) else { return Changes::Nothing };
        let acts = || proposal.steps.iter().map(|step| &step.effect);
        let gateway = self.address.on_host();
        if acts().any(|effect| {
            matches!(effect.act, Act::Route { .. }) && Some(effect.host.as_str()) == gateway
        }) {
            return Changes::Themselves;
        }
        let moves = |effect: &Effect| {
            matches!(effect.act, Act::Start { .. } | Act::Recreate { .. } | Act::Resume { .. })
        };
        if acts().any(moves) { Changes::Before(address) } else { Changes::Nothing }
    }

    /// The containers that serve, or are about to.
    fn serving<'a>(&self, state: &'a HostState) -> Vec<(&'a String, &'a Container)> {
        let all = state.containers.iter();
        all.filter(|(_, container)| {
            container.ours
                && container.service == self.route.routes.service
                && container.state == ContainerState::Running
                && container.health != Some(Health::Unhealthy)
        })
        .collect()
    }

    /// Waits for containers whose health nobody knows yet, where nothing else does.
    fn wait(&self, host: &str, serving: &[(&String, &Container)]) -> Option<Effect> {
        let service = &self.route.routes.service;
        let starting = |(_, c): &&(&String, &Container)| c.health == Some(Health::Starting);
        serving.iter().find(starting)?;
        let resource = self.desired.resources.get(&Address::service(host, service))?;
        let Spec::Service(spec) = &resource.spec else { return None };
        let act = Act::AwaitHealthy {
            service: service.clone(),
            replicas: u32::try_from(serving.len()).unwrap_or(u32::MAX),
            beside: Vec::new(),
            timeout_ms: spec.rollout.health_timeout_ms,
            monitor_ms: 0,
            completes: false,
        };
        Some(Effect { host: host.to_owned(), act })
    }

    fn write(&self) -> Effect {
        let seen = |host: &&String| self.observed.seen(host).is_some();
        let all = self.route.sources.keys().filter(seen);
        let renew = all.map(|host| (host.clone(), Pick::Besides(Vec::new()))).collect();
        let act = Act::Route { route: Box::new(self.route.clone()), renew, needed: false };
        Effect { host: self.gateway(), act }
    }
}

/// What becomes of the containers that a route leads to.
enum Changes {
    /// Nothing that matters to the route.
    Nothing,
    /// Their rollout takes the route along.
    Themselves,
    /// They change, and the route follows.
    Before(Address),
}

/// Proposes to take away the files of routes that are not wanted. What they lead to is out of them
/// before anything of it is stopped.
pub(super) fn orphans(desired: &Desired, observed: &Observed, findings: &mut Findings) {
    let mut gone: BTreeSet<Address> = BTreeSet::new();
    for (gateway, state) in observed.hosts.keys().filter_map(|h| Some((h, observed.seen(h)?))) {
        for name in state.files.keys().filter_map(|path| routed_service(path)) {
            let address = Address::route(gateway, name);
            if desired.resources.contains_key(&address) {
                continue;
            }
            let path = desired.site.path(&route_file(name));
            let effect = Effect { host: gateway.clone(), act: Act::RemoveFile { path } };
            findings.propose(
                Proposal::new(&address, Action::Delete, vec![Cause::Orphaned]).step(effect),
            );
            gone.insert(address);
        }
    }
    for (address, proposal) in &mut findings.proposals {
        if address.kind() == Kind::Service && proposal.change.action != Action::Create {
            let own = gone.iter().filter(|route| route.name() == address.name());
            proposal.after.extend(own.cloned());
        }
    }
}
