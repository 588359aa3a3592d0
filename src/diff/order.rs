//! Canonical order: resources and steps as petgraph graphs, sorted by Kahn's algorithm with an
//! ordered ready set, so that the order depends on the graph and on nothing else.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use super::Proposal;
use crate::model::{Act, Action, Address, Desired, Kind, Spec, Step, Tier};

/// Resources that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these wait for each other: {}", .0.join(", "))]
pub struct Cycle(pub Vec<String>);

/// A point in the order of resources: a resource, or the one that stands between two tiers. As a
/// node it spares an edge from each service of a tier to each of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Point<'a> {
    /// Everything of the tiers before this one. It is passed as soon as it can be, so that it does
    /// not show in the order of the others.
    Tier(Tier),
    Resource(&'a Address),
}

impl std::fmt::Display for Point<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Point::Tier(tier) => write!(f, "tier {tier:?}"),
            Point::Resource(address) => address.fmt(f),
        }
    }
}

const TIERS: [Tier; 3] = [Tier::Stateful, Tier::Application, Tier::Gateway];

/// The tier of a service, and of the command that runs before it.
fn tier(desired: &Desired, address: &Address) -> Option<Tier> {
    let own = match address.kind() {
        Kind::Command => &Address::service(address.on_host()?, address.name()?),
        _ => address,
    };
    match &desired.resources.get(own)?.spec {
        Spec::Service(spec) => Some(spec.tier),
        _ => None,
    }
}

/// Every address, desired or proposed, each after those that it waits for; ties by address. Where nothing
/// is proposed there is nothing to order.
pub fn resources(
    desired: &Desired,
    proposals: &BTreeMap<Address, Proposal>,
) -> Result<Vec<Address>, Cycle> {
    if proposals.is_empty() {
        return Ok(Vec::new());
    }
    let mut graph = DiGraph::<Point, ()>::new();
    let addresses: BTreeSet<&Address> = desired.resources.keys().chain(proposals.keys()).collect();
    let gates = gates(&mut graph, Point::Tier);
    let nodes: BTreeMap<&Address, NodeIndex> = addresses
        .into_iter()
        .map(|address| (address, graph.add_node(Point::Resource(address))))
        .collect();
    for (address, node) in &nodes {
        for before in before(desired, proposals, address).filter_map(|before| nodes.get(before)) {
            graph.add_edge(*before, *node, ());
        }
        if let Some(tier) = tier(desired, address) {
            graph.add_edge(gates[&tier], *node, ());
            if let Some(next) = after_tier(tier) {
                graph.add_edge(*node, gates[&next], ());
            }
        }
    }
    let order = sorted(&graph, |node| graph[node])?;
    let resource = |node: NodeIndex| match graph[node] {
        Point::Resource(address) => Some(address.clone()),
        Point::Tier(_) => None,
    };
    Ok(order.into_iter().filter_map(resource).collect())
}

/// Adds the points between the tiers, one after the other.
fn gates<N>(graph: &mut DiGraph<N, ()>, point: impl Fn(Tier) -> N) -> BTreeMap<Tier, NodeIndex> {
    let gates: BTreeMap<Tier, NodeIndex> =
        TIERS.into_iter().map(|tier| (tier, graph.add_node(point(tier)))).collect();
    for (earlier, later) in gates.values().zip(gates.values().skip(1)) {
        graph.add_edge(*earlier, *later, ());
    }
    gates
}

fn after_tier(tier: Tier) -> Option<Tier> {
    TIERS.into_iter().find(|other| *other > tier)
}

/// Kahn's algorithm; among what is ready the smallest key goes first.
fn sorted<N, K: Ord + ToString>(
    graph: &DiGraph<N, ()>,
    key: impl Fn(NodeIndex) -> K,
) -> Result<Vec<NodeIndex>, Cycle> {
    let mut waiting: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.neighbors_directed(node, Direction::Incoming).count())
        .collect();
    let mut ready: BTreeSet<(K, NodeIndex)> = graph
        .node_indices()
        .filter(|node| waiting[node.index()] == 0)
        .map(|node| (key(node), node))
        .collect();
    let mut order = Vec::with_capacity(graph.node_count());
    while let Some((_, node)) = ready.pop_first() {
        order.push(node);
        for next in graph.neighbors(node) {
            waiting[next.index()] -= 1;
            if waiting[next.index()] == 0 {
                ready.insert((key(next), next));
            }
        }
    }
    if order.len() < graph.node_count() {
        let stuck = graph.node_indices().filter(|node| waiting[node.index()] > 0);
        return Err(Cycle(stuck.map(|node| key(node).to_string()).collect()));
    }
    Ok(order)
}

/// Makes the rollouts of one service wait for each other, so that no more than `max_parallel` hosts
/// roll at once and a failure leaves the later hosts untouched. First starts need not wait.
pub fn chain_rollouts(
    desired: &Desired,
    order: &[Address],
    proposals: &mut BTreeMap<Address, Proposal>,
) {
    let mut rolling: BTreeMap<&str, Vec<&Address>> = BTreeMap::new();
    for address in order.iter().filter(|address| address.kind() == Kind::Service) {
        let rolls = proposals.get(address).is_some_and(|p| p.change.action == Action::Update);
        if let (true, Some(service)) = (rolls, address.name()) {
            rolling.entry(service).or_default().push(address);
        }
    }
    for hosts in rolling.values() {
        for (index, address) in hosts.iter().enumerate() {
            let at_once = max_parallel(desired, address);
            if let (Some(before), Some(proposal)) =
                (index.checked_sub(at_once), proposals.get_mut(*address))
            {
                proposal.after.insert(hosts[before].clone());
            }
        }
    }
}

fn max_parallel(desired: &Desired, address: &Address) -> usize {
    match desired.resources.get(address).map(|resource| &resource.spec) {
        Some(Spec::Service(spec)) => spec.rollout.max_parallel.max(1) as usize,
        _ => 1,
    }
}

/// A point in the order of steps: a step, or a place where many wait for many. As a node it spares
/// an edge from each of the ones to each of the others; steps name what they wait for outright.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop<'a> {
    /// Everything of the tiers before this one is as desired.
    Tier(Tier),
    /// A service's image is everywhere: nothing of it starts anywhere before.
    Pulled(&'a str),
    /// The step of a resource, by the resource's place in the order.
    Step { position: usize, index: usize },
}

impl std::fmt::Display for Stop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The numbered steps of all proposals.
pub fn steps(
    desired: &Desired,
    order: &[Address],
    proposals: &BTreeMap<Address, Proposal>,
) -> Result<Vec<Step>, Cycle> {
    let graph = stops(desired, order, proposals);
    let sorted = sorted(&graph, |node| graph[node])?;
    let mut numbers: BTreeMap<NodeIndex, usize> = BTreeMap::new();
    // What waiting for a node means, in step numbers.
    let mut meaning: BTreeMap<NodeIndex, Vec<usize>> = BTreeMap::new();
    let mut steps = Vec::new();
    for node in sorted {
        let mut after: Vec<usize> = Vec::new();
        for before in graph.neighbors_directed(node, Direction::Incoming) {
            match numbers.get(&before) {
                Some(number) => after.push(*number),
                None => after.extend(meaning.get(&before).into_iter().flatten()),
            }
        }
        after.sort_unstable();
        after.dedup();
        let Stop::Step { position, index } = graph[node] else {
            meaning.insert(node, after);
            continue;
        };
        let (id, address) = (steps.len() + 1, &order[position]);
        let draft = &proposals[address].steps[index];
        numbers.insert(node, id);
        steps.push(Step {
            id,
            address: address.clone(),
            effect: draft.effect.clone(),
            after,
            undo: draft.undo.clone(),
        });
    }
    Ok(steps)
}

/// The graph of the steps.
fn stops<'a>(
    desired: &Desired,
    order: &[Address],
    proposals: &'a BTreeMap<Address, Proposal>,
) -> DiGraph<Stop<'a>, ()> {
    let mut graph = DiGraph::<Stop, ()>::new();
    let gates = gates(&mut graph, Stop::Tier);
    let mut nodes: BTreeMap<&Address, Vec<NodeIndex>> = BTreeMap::new();
    for (position, address) in order.iter().enumerate() {
        let count = proposals.get(address).map_or(0, |proposal| proposal.steps.len());
        let steps = (0..count).map(|index| graph.add_node(Stop::Step { position, index }));
        nodes.insert(address, steps.collect());
    }
    let frontiers = frontiers(desired, order, proposals, &gates, &nodes);
    for address in order {
        let next = tier(desired, address).and_then(after_tier);
        for (next, last) in next.iter().flat_map(|n| frontiers[address].iter().map(move |l| (n, l)))
        {
            graph.update_edge(*last, gates[next], ());
        }
    }
    let pulled = pulled(&mut graph, proposals, &nodes);

    for (address, proposal) in proposals {
        let own = &nodes[address];
        let mut previous: Option<NodeIndex> = None;
        for (draft, node) in proposal.steps.iter().zip(own) {
            if draft.early {
                let host = address.on_host().map(Address::host);
                let first = host.and_then(|host| frontiers.get(&host)).into_iter().flatten();
                first.for_each(|before| {
                    graph.add_edge(*before, *node, ());
                });
                continue;
            }
            match previous {
                Some(before) => {
                    graph.add_edge(before, *node, ());
                }
                None => {
                    let pulled = service(address).and_then(|service| pulled.get(service));
                    let waits = before(desired, proposals, address)
                        .filter_map(|before| frontiers.get(before))
                        .flatten()
                        .chain(gate(desired, proposals, address, &gates));
                    for before in waits.chain(pulled).collect::<BTreeSet<_>>() {
                        graph.add_edge(*before, *node, ());
                    }
                }
            }
            previous = Some(*node);
        }
    }
    late(&mut graph, desired, proposals, &nodes, &frontiers, &pulled, &gates);
    graph
}

/// What is torn down for others to take its place goes no sooner than these could come: their images and
/// files are there, and everything of the tiers before the first of them.
fn late<'a>(
    graph: &mut DiGraph<Stop<'a>, ()>,
    desired: &Desired,
    proposals: &'a BTreeMap<Address, Proposal>,
    nodes: &BTreeMap<&Address, Vec<NodeIndex>>,
    frontiers: &BTreeMap<&Address, BTreeSet<NodeIndex>>,
    pulled: &BTreeMap<&'a str, NodeIndex>,
    gates: &BTreeMap<Tier, NodeIndex>,
) {
    let is_ground =
        |address: &&Address| matches!(address.kind(), Kind::File | Kind::Env | Kind::Volume);
    let is_torn_down = |(address, proposal): &(&Address, &Proposal)| {
        matches!(
            (address.kind(), proposal.change.action),
            (Kind::Service, Action::Delete) | (Kind::Network, Action::Replace)
        )
    };
    let torn: BTreeSet<&Address> =
        proposals.iter().filter(is_torn_down).map(|(address, _)| address).collect();
    if torn.is_empty() {
        return;
    }
    // Also those that stay as they are: their tier ends no sooner than what they wait for.
    let services = desired.resources.keys().chain(proposals.keys());
    let mut heirs: BTreeMap<&Address, BTreeSet<&Address>> = BTreeMap::new();
    for address in services.filter(|address| address.kind() == Kind::Service) {
        for going in before(desired, proposals, address).filter(|before| torn.contains(before)) {
            heirs.entry(going).or_default().insert(address);
        }
    }
    for (going, heirs) in heirs {
        let Some(first) = nodes.get(going).and_then(|steps| steps.first()) else { continue };
        let images = heirs.iter().filter_map(|heir| pulled.get(service(heir)?));
        let tier = heirs.iter().filter_map(|heir| tier(desired, heir)).min();
        let ground = heirs.iter().flat_map(|heir| before(desired, proposals, heir));
        let ground = ground.filter(is_ground).filter_map(|before| frontiers.get(before)).flatten();
        for before in images.chain(tier.and_then(|tier| gates.get(&tier))).chain(ground) {
            graph.update_edge(*before, *first, ());
        }
    }
}

/// The service whose image an address needs.
fn service(address: &Address) -> Option<&str> {
    address.name().filter(|_| matches!(address.kind(), Kind::Service | Kind::Command))
}

/// The point between tiers that a service waits at, unless something of its own tier that it waits
/// for, and that changes, has waited there.
fn gate<'a>(
    desired: &Desired,
    proposals: &BTreeMap<Address, Proposal>,
    address: &Address,
    gates: &'a BTreeMap<Tier, NodeIndex>,
) -> Option<&'a NodeIndex> {
    let own = tier(desired, address)?;
    let waited = before(desired, proposals, address).any(|before| {
        tier(desired, before) == Some(own)
            && proposals.get(before).is_some_and(|proposal| !proposal.steps.is_empty())
    });
    gates.get(&own).filter(|_| !waited)
}

fn before<'a>(
    desired: &'a Desired,
    proposals: &'a BTreeMap<Address, Proposal>,
    address: &Address,
) -> impl Iterator<Item = &'a Address> {
    let declared = desired.resources.get(address).map(|resource| &resource.after);
    let added = proposals.get(address).map(|proposal| &proposal.after);
    declared.into_iter().chain(added).flatten()
}

/// For each resource the points after which it is as desired: its own last step or, where it does
/// not change, those of what it waits for.
fn frontiers<'a>(
    desired: &Desired,
    order: &'a [Address],
    proposals: &BTreeMap<Address, Proposal>,
    gates: &BTreeMap<Tier, NodeIndex>,
    nodes: &BTreeMap<&Address, Vec<NodeIndex>>,
) -> BTreeMap<&'a Address, BTreeSet<NodeIndex>> {
    let mut frontiers: BTreeMap<&Address, BTreeSet<NodeIndex>> = BTreeMap::new();
    for address in order {
        let frontier = match nodes[address].last() {
            Some(last) => [*last].into(),
            None => before(desired, proposals, address)
                .filter_map(|before| frontiers.get(before))
                .flatten()
                .chain(tier(desired, address).and_then(|tier| gates.get(&tier)))
                .copied()
                .collect(),
        };
        frontiers.insert(address, frontier);
    }
    frontiers
}

/// The points at which the services' images are everywhere, by service.
fn pulled<'a>(
    graph: &mut DiGraph<Stop<'a>, ()>,
    proposals: &'a BTreeMap<Address, Proposal>,
    nodes: &BTreeMap<&Address, Vec<NodeIndex>>,
) -> BTreeMap<&'a str, NodeIndex> {
    let mut pulled: BTreeMap<&str, NodeIndex> = BTreeMap::new();
    for (address, proposal) in proposals {
        let Some(service) = service(address) else { continue };
        for (draft, node) in proposal.steps.iter().zip(&nodes[address]) {
            if matches!(draft.effect.act, Act::PullImage { .. }) {
                let point =
                    pulled.entry(service).or_insert_with(|| graph.add_node(Stop::Pulled(service)));
                graph.add_edge(*node, *point, ());
            }
        }
    }
    pulled
}
