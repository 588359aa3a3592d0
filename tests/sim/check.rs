//! What every plan keeps to, whatever it was made from.

use std::collections::{BTreeMap, BTreeSet};

use stagecraft::model::{Act, Address, Desired, Kind, Plan, Request, Step};

/// What is wrong with a plan; nothing if nothing is.
pub fn check(plan: &Plan, desired: &Desired, request: &Request) -> Option<String> {
    let changes: BTreeSet<&Address> = plan.changes.iter().map(|change| &change.address).collect();
    let blocked: BTreeSet<&str> = plan
        .blocked
        .iter()
        .filter(|entry| entry.address.kind() == Kind::Host)
        .filter_map(|entry| entry.address.on_host())
        .collect();
    if changes.len() != plan.changes.len() {
        return Some("an address has two changes".into());
    }
    for (step, id) in plan.steps.iter().zip(1..) {
        let name = format!("step {} ({} {})", step.id, step.address, step.effect.act.name());
        if step.id != id {
            return Some(format!("{name} is not numbered {id}"));
        }
        if step.after.iter().any(|before| *before >= id || *before == 0) {
            return Some(format!("{name} waits for a later step"));
        }
        if !step.after.is_sorted_by(|a, b| a < b) {
            return Some(format!("{name} waits twice for one step"));
        }
        if !changes.contains(&step.address) {
            return Some(format!("{name} belongs to no change"));
        }
        let host = step.address.on_host();
        let effects = std::iter::once(&step.effect).chain(&step.undo);
        // A rollout changes the routes on the gateways, and a route waits for those it leads to.
        let mut own = effects.filter(|effect| !matches!(effect.act, Act::Route { .. }));
        let elsewhere = own.any(|effect| Some(effect.host.as_str()) != host);
        if elsewhere && step.address.kind() != Kind::Route {
            return Some(format!("{name} acts on another host"));
        }
        let all = [host, Some(step.effect.host.as_str())];
        if all.into_iter().flatten().any(|host| blocked.contains(host)) {
            return Some(format!("{name} is on a host that is blocked"));
        }
        let effects = std::iter::once(&step.effect).chain(&step.undo);
        let mut destroys = effects.filter(|e| matches!(e.act, Act::RemoveVolume { .. }));
        if destroys.next().is_some() && !request.prune_volumes {
            return Some(format!("{name} destroys a volume unasked"));
        }
    }
    let stepless = plan.changes.iter().find(|change| {
        change.address.kind() != Kind::Release
            && !plan.steps.iter().any(|step| step.address == change.address)
    });
    if let Some(change) = stepless {
        return Some(format!("{} changes by no step", change.address));
    }
    edges(plan, desired)
}

/// Every edge of the desired graph is kept: what comes later waits, directly or not, for the last
/// step of what comes before. Pulls need not wait.
fn edges(plan: &Plan, desired: &Desired) -> Option<String> {
    let mut closure: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for step in &plan.steps {
        let mut all: BTreeSet<usize> = step.after.iter().copied().collect();
        all.extend(step.after.iter().filter_map(|before| closure.get(before)).flatten());
        closure.insert(step.id, all);
    }
    let of = |address: &Address| -> Vec<&Step> {
        let steps = plan.steps.iter().filter(|step| step.address == *address);
        steps.filter(|step| !matches!(step.effect.act, Act::PullImage { .. })).collect()
    };
    for (address, resource) in &desired.resources {
        for before in &resource.after {
            let (earlier, later) = (of(before), of(address));
            let Some(last) = earlier.last() else { continue };
            if let Some(step) = later.iter().find(|step| !closure[&step.id].contains(&last.id)) {
                return Some(format!("step {} of {address} does not wait for {before}", step.id));
            }
        }
    }
    None
}
