//! Canonical order: resources and steps as petgraph graphs, sorted by Kahn's algorithm with an
//! ordered ready set, so that the order depends on the graph and on nothing else.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use super::Proposal;
use crate::model::{Act, Action, Address, Desired, Kind, Spec, Step};

/// Resources that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these wait for each other: {}", .0.join(", "))]
pub struct Cycle(pub Vec<String>);

/// Every address, desired or proposed, each after those that it waits for; ties by address.
pub fn resources(
    desired: &Desired,
    proposals: &BTreeMap<Address, Proposal>,
) -> Result<Vec<Address>, Cycle> {
    let mut graph = DiGraph::<&Address, ()>::new();
    let addresses: BTreeSet<&Address> = desired.resources.keys().chain(proposals.keys()).collect();
    let nodes: BTreeMap<&Address, NodeIndex> =
        addresses.into_iter().map(|address| (address, graph.add_node(address))).collect();
    for (address, node) in &nodes {
        let declared = desired.resources.get(*address).map(|r| &r.after).into_iter().flatten();
        let added = proposals.get(*address).map(|p| &p.after).into_iter().flatten();
        for before in declared.chain(added).filter_map(|before| nodes.get(before)) {
            graph.update_edge(*before, *node, ());
        }
    }
    let order = sorted(&graph, |node| graph[node])?;
    Ok(order.into_iter().map(|node| graph[node].clone()).collect())
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

/// The numbered steps of all proposals.
pub fn steps(
    desired: &Desired,
    order: &[Address],
    proposals: &BTreeMap<Address, Proposal>,
) -> Result<Vec<Step>, Cycle> {
    let mut graph = DiGraph::<(usize, usize), ()>::new();
    let mut nodes: BTreeMap<&Address, Vec<NodeIndex>> = BTreeMap::new();
    for (position, address) in order.iter().enumerate() {
        let count = proposals.get(address).map_or(0, |proposal| proposal.steps.len());
        nodes.insert(address, (0..count).map(|i| graph.add_node((position, i))).collect());
    }
    let frontiers = frontiers(desired, order, proposals, &nodes);
    let pulls = pulls(proposals, &nodes);

    for (address, proposal) in proposals {
        let own = &nodes[address];
        let mut previous: Option<NodeIndex> = None;
        for (draft, node) in proposal.steps.iter().zip(own) {
            if draft.early {
                let host = address.on_host().map(Address::host);
                let first = host.and_then(|host| frontiers.get(&host)).into_iter().flatten();
                first.for_each(|before| {
                    graph.update_edge(*before, *node, ());
                });
                continue;
            }
            match previous {
                Some(before) => {
                    graph.update_edge(before, *node, ());
                }
                None => {
                    let service = address.name().filter(|_| address.kind() == Kind::Service);
                    let pulled = service.and_then(|s| pulls.get(s)).into_iter().flatten();
                    let waits = before(desired, proposals, address)
                        .filter_map(|before| frontiers.get(before))
                        .flatten();
                    for before in waits.chain(pulled) {
                        graph.update_edge(*before, *node, ());
                    }
                }
            }
            previous = Some(*node);
        }
    }

    let sorted = sorted(&graph, |node| {
        let (position, index) = graph[node];
        StepKey { position, index }
    })?;
    let numbers: BTreeMap<NodeIndex, usize> =
        sorted.iter().enumerate().map(|(index, node)| (*node, index + 1)).collect();
    Ok(sorted
        .into_iter()
        .map(|node| {
            let (position, index) = graph[node];
            let address = &order[position];
            let draft = &proposals[address].steps[index];
            let mut after: Vec<usize> = graph
                .neighbors_directed(node, Direction::Incoming)
                .map(|before| numbers[&before])
                .collect();
            after.sort_unstable();
            Step {
                id: numbers[&node],
                address: address.clone(),
                effect: draft.effect.clone(),
                after,
                undo: draft.undo.clone(),
            }
        })
        .collect())
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct StepKey {
    position: usize,
    index: usize,
}

impl std::fmt::Display for StepKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "step {} of resource {}", self.index, self.position)
    }
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

/// For each resource the steps after which it is as desired: its own last step or, where it does
/// not change, those of what it waits for.
fn frontiers(
    desired: &Desired,
    order: &[Address],
    proposals: &BTreeMap<Address, Proposal>,
    nodes: &BTreeMap<&Address, Vec<NodeIndex>>,
) -> BTreeMap<Address, BTreeSet<NodeIndex>> {
    let mut frontiers: BTreeMap<Address, BTreeSet<NodeIndex>> = BTreeMap::new();
    for address in order {
        let frontier = match nodes[address].last() {
            Some(last) => [*last].into(),
            None => before(desired, proposals, address)
                .filter_map(|before| frontiers.get(before))
                .flatten()
                .copied()
                .collect(),
        };
        frontiers.insert(address.clone(), frontier);
    }
    frontiers
}

/// The pull steps by service: nothing of a service starts anywhere before its image is everywhere.
fn pulls<'a>(
    proposals: &'a BTreeMap<Address, Proposal>,
    nodes: &BTreeMap<&Address, Vec<NodeIndex>>,
) -> BTreeMap<&'a str, Vec<NodeIndex>> {
    let mut pulls: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
    for (address, proposal) in proposals {
        let Some(service) = address.name().filter(|_| address.kind() == Kind::Service) else {
            continue;
        };
        for (draft, node) in proposal.steps.iter().zip(&nodes[address]) {
            if matches!(draft.effect.act, Act::PullImage { .. }) {
                pulls.entry(service).or_default().push(*node);
            }
        }
    }
    pulls
}
