//! Comparing infrastructure: what has our mark with what should have it, attribute by attribute.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Findings, Proposal, fields};
use crate::model::{
    Act, Action, Address, Attribute, Blocked, BlockedReason, CLOUD, Cause, Desired, Effect, FIXED,
    FieldChange, InfraObject, InfraSpec, InfraState, KNOWN_AFTER_APPLY, Kind, Note, Part, Request,
    Rule, Spec,
};

/// Compares everything that there is, or should be, below an environment's application. `drifts` says that the
/// newest apply has made it all like this.
pub(super) fn compare(
    desired: &Desired,
    state: &InfraState,
    request: &Request,
    drifts: bool,
    findings: &mut Findings,
) {
    let anew = BTreeSet::new();
    let mut comparison = Comparison { desired, state, request, drifts, findings, anew };
    let wanted = desired.resources.iter().filter_map(|(address, resource)| match &resource.spec {
        Spec::Infra(spec) => Some((address, spec)),
        _ => None,
    });
    // Addresses sort by kind: what an object refers to has been compared before it.
    // Names lead to an application, and what goes may still serve it.
    let early = request.part == Part::Foundation;
    for (address, spec) in wanted {
        match early && address.kind() == Kind::Dns {
            true => comparison.lead_away(address, spec),
            false => comparison.object(address, spec),
        }
    }
    comparison.one_by_one();
    if !early {
        comparison.orphans();
    }
}

struct Comparison<'a> {
    desired: &'a Desired,
    state: &'a InfraState,
    request: &'a Request,
    drifts: bool,
    findings: &'a mut Findings,
    /// What is made, or made anew: whatever refers to it has to be told.
    anew: BTreeSet<Address>,
}

impl Comparison<'_> {
    fn object(&mut self, address: &Address, spec: &InfraSpec) {
        if let Some(blocked) = self.state.blocked.get(address) {
            // What is made anew is not what could not be looked at.
            let machine = Address::machine(address.scope());
            let unseen = blocked.reason != BlockedReason::Unsupported
                && blocked.reason != BlockedReason::NotOurs;
            if unseen && self.opens_up(&machine) {
                // What keeps it from being looked at may be what is about to be mended.
                self.findings.notes.insert(Note::LookedAtLater { address: address.clone() });
                return;
            }
            if !self.anew.contains(&machine) {
                return self.findings.block(address.clone(), blocked.clone());
            }
        }
        let found = self.state.objects.get(address).map(Vec::as_slice).unwrap_or_default();
        let Some((first, copies)) = found.split_first() else {
            self.anew.insert(address.clone());
            let cause = match self.drifts {
                true => Cause::Drifted { what: format!("{address} is gone") },
                false => Cause::Missing,
            };
            let mut proposal = Proposal::new(address, Action::Create, vec![cause]);
            proposal.change.fields = self.unknown(spec);
            self.findings.propose(proposal.step(create(address, spec)));
            return;
        };
        let differing = self.differing(spec, first);
        let causes = self.causes(&differing, found.len());
        if causes.is_empty() {
            return;
        }
        let replaced = differing.iter().find(|one| one.replaces).map(|one| one.name.clone());
        if !self.may_destroy(address) {
            if let Some(field) = replaced {
                let why = format!("`{field}` can't be changed in place, and replacing");
                return self.refuse(address, &why);
            }
            if !copies.is_empty() {
                return self.refuse(address, "there are more of it, and destroying the others of");
            }
        }
        let action = if replaced.is_some() { Action::Replace } else { Action::Update };
        let mut proposal = Proposal::new(address, action, causes.into_iter().collect());
        for copy in copies {
            proposal = proposal.step(destroy(address, copy));
        }
        let attributes: BTreeSet<String> = differing.iter().map(|one| one.name.clone()).collect();
        if replaced.is_some() {
            self.anew.insert(address.clone());
            proposal = proposal.step(destroy(address, first)).step(create(address, spec));
        } else if !attributes.is_empty() {
            proposal = proposal.step(change(address, spec, first, attributes));
        }
        proposal.change.fields = differing.into_iter().filter_map(|one| one.changed).collect();
        self.findings.propose(proposal);
    }

    /// Takes the addresses out of a name that it should not have, as long as there are others: whoever they
    /// lead to will not serve any more.
    fn lead_away(&mut self, address: &Address, spec: &InfraSpec) {
        let listed = |value: Option<&Value>| -> BTreeSet<String> {
            let list = value.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let Some(found) = self.state.first(address) else { return };
        let (has, wants) = (listed(found.attributes.get("data")), listed(spec.value("data")));
        let place = |text: &String| text.parse::<Address>().ok();
        if has.iter().filter_map(place).any(|it| it.kind().is_lasting() && self.anew.contains(&it))
        {
            // What it leads to is made anew, and the address is another one at once.
            return self.object(address, spec);
        }
        // A host may be led to by another address of its own, and serves all along.
        let hosts: BTreeSet<String> =
            wants.iter().filter_map(place).map(|it| it.scope().to_owned()).collect();
        let serves = |it: &&String| place(it).is_some_and(|it| hosts.contains(it.scope()));
        let stay: Vec<String> = has.iter().filter(serves).cloned().collect();
        if stay.is_empty() || stay.len() == has.len() {
            return;
        }
        let mut fewer = spec.clone();
        if let Some(data) = fewer.attributes.get_mut("data") {
            data.value = stay.into();
        }
        self.object(address, &fewer);
    }

    /// Whether something changes that may let us in to a machine.
    fn opens_up(&self, machine: &Address) -> bool {
        let proposals = self.findings.proposals.keys();
        !self.anew.contains(machine)
            && proposals.clone().any(|it| it == machine || it.kind() == Kind::Firewall)
    }

    /// Why an object that is there, in `count` copies, is not as it should be.
    fn causes(&self, differing: &[Differing], count: usize) -> BTreeSet<Cause> {
        let mut causes = BTreeSet::new();
        for one in differing {
            causes.extend(one.upstream.clone().map(|address| {
                let what = Vec::new();
                Cause::Upstream { address, what }
            }));
            if one.changed.is_some() {
                causes.insert(match self.drifts {
                    true => Cause::Drifted { what: format!("`{}` was changed", one.name) },
                    false => Cause::Changed,
                });
            }
            if one.replaces {
                causes.insert(Cause::Replaced { field: one.name.clone() });
            }
        }
        if count > 1 {
            causes.insert(Cause::Drifted { what: format!("there are {count} of it") });
        }
        causes
    }

    /// The attributes that are not as they should be. One that the cloud does not tell is not compared.
    fn differing(&self, spec: &InfraSpec, found: &InfraObject) -> Vec<Differing> {
        let mut differing = Vec::new();
        for (name, Attribute { value, rule }) in &spec.attributes {
            let Some(before) = found.attributes.get(name) else { continue };
            if *rule == Rule::Once {
                continue;
            }
            if before == value {
                let upstream =
                    refers(value).into_iter().find(|address| self.anew.contains(address));
                if upstream.is_some() {
                    let name = name.clone();
                    differing.push(Differing { name, replaces: false, changed: None, upstream });
                }
                continue;
            }
            let replaces = match rule {
                Rule::Replaces => true,
                Rule::Grows => is_less(value, before),
                Rule::InPlace | Rule::Once => false,
            };
            let changed = Some(fields::field(
                name.clone(),
                Some(self.shown(name, before)),
                Some(self.shown(name, value)),
            ));
            differing.push(Differing { name: name.clone(), replaces, changed, upstream: None });
        }
        differing
    }

    /// A value as a reader wants it: in the place of what a name leads to, its public address.
    fn shown(&self, attribute: &str, value: &Value) -> Value {
        let Value::Array(list) = value else { return value.clone() };
        if attribute != "data" {
            return value.clone();
        }
        let shown = |one: &Value| {
            let Some(place) = refers(one).pop() else { return one.clone() };
            let found = self.state.first(&place).filter(|_| !self.anew.contains(&place));
            let ip = found.and_then(|found| found.given.get("public_ip"));
            ip.map_or_else(|| KNOWN_AFTER_APPLY.into(), |ip| ip.as_str().into())
        };
        list.iter().map(shown).collect()
    }

    /// The attributes of something new whose values nobody knows yet.
    fn unknown(&self, spec: &InfraSpec) -> Vec<FieldChange> {
        let shown = spec
            .attributes
            .iter()
            .map(|(name, attribute)| (name, self.shown(name, &attribute.value)))
            .filter(|(_, value)| {
                value.as_array().is_some_and(|list| list.iter().any(|one| one == KNOWN_AFTER_APPLY))
            });
        shown.map(|(name, value)| fields::field(name.clone(), None, Some(value))).collect()
    }

    /// Machines that may be off for a while change one after the other, so that not all are off at once.
    fn one_by_one(&mut self) {
        let mut before: Option<Address> = None;
        let stops = |proposal: &Proposal| {
            let change = &proposal.change;
            let field = |name: &str| change.fields.iter().any(|field| field.path == name);
            change.action == Action::Update && (field("size") || field("attached_to"))
        };
        let kinds = [Kind::Machine, Kind::Disk];
        for (address, proposal) in &mut self.findings.proposals {
            if kinds.contains(&address.kind()) && stops(proposal) {
                proposal.after.extend(before.replace(address.clone()));
            }
        }
    }

    /// What has our mark and is not wanted.
    fn orphans(&mut self) {
        let keep_disks = self.request.part == Part::NoInfrastructure { keep_disks: true };
        let mut gone: BTreeMap<&Address, &Vec<InfraObject>> = BTreeMap::new();
        for (address, found) in &self.state.objects {
            if self.desired.resources.contains_key(address) || self.stays(address) {
                continue;
            }
            if found.iter().all(|object| object.given.contains_key(FIXED)) {
                self.findings.notes.insert(Note::Fixed { address: address.clone() });
            } else if keep_disks && address.kind() == Kind::Disk {
                self.findings.notes.insert(Note::VolumeKept { address: address.clone() });
            } else if self.may_destroy(address) {
                gone.insert(address, found);
            } else {
                self.refuse(address, "it is no longer in the configuration, and destroying");
            }
        }
        let going: BTreeSet<Address> =
            gone.keys().copied().chain(self.findings.proposals.keys()).cloned().collect();
        for (address, found) in gone {
            let mut proposal = Proposal::new(address, Action::Delete, vec![Cause::Orphaned]);
            for object in found {
                proposal = proposal.step(destroy(address, object));
            }
            let before = goes_after(address.kind());
            let before = going.iter().filter(|other| before.contains(&other.kind()));
            proposal.after = before.cloned().collect();
            self.findings.propose(proposal);
        }
    }

    /// Whether nothing has to be done for something to be gone. What makes a machine a host goes with it, and
    /// stays where that is not ours.
    fn stays(&self, address: &Address) -> bool {
        let machine = Address::machine(address.scope());
        match address.kind() {
            Kind::Bootstrap => true,
            Kind::Mount => !self.desired.resources.contains_key(&machine),
            _ => false,
        }
    }

    /// Whether an object may be destroyed: what holds data only where somebody said so, and nothing that
    /// is protected.
    fn may_destroy(&self, address: &Address) -> bool {
        if self.desired.protection.covers(address) {
            return false;
        }
        // A device without a machine of ours may be another project's.
        let goes_along = address.kind() != Kind::Mesh
            || self.state.objects.contains_key(&Address::machine(address.scope()))
            || self.desired.resources.contains_key(address);
        (!address.kind().is_precious() && goes_along)
            || matches!(self.request.part, Part::NoInfrastructure { .. })
            || self.request.allow_destroy.contains(address)
    }

    /// `why` ends with what would be done to the object.
    fn refuse(&mut self, address: &Address, why: &str) {
        let detail = match self.desired.protection.covers(address) {
            true => format!("{why} {address} is refused: it is protected by `protect: true`"),
            false if address.kind() == Kind::Mesh => format!(
                "{why} {address} is refused: none of our machines is behind it; `--allow-destroy \
                 {address}` allows that"
            ),
            false => {
                let loses = match address.kind() {
                    Kind::ReservedIp | Kind::LoadBalancer => "gives its address up for good",
                    _ => "loses what is on it",
                };
                format!("{why} {address} {loses}; `--allow-destroy {address}` allows that")
            }
        };
        let blocked = Blocked { reason: BlockedReason::WouldDestroyData, detail };
        self.findings.block(address.clone(), blocked);
    }
}

/// What has to be gone before something of a kind is: names before the machines that they lead to, members
/// of the private network before their machines, machines before what they use.
fn goes_after(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Dns | Kind::Mesh | Kind::Mount => &[],
        Kind::Zone => &[Kind::Dns],
        Kind::ReservedIp | Kind::LoadBalancer => &[Kind::Dns],
        Kind::Machine => &[Kind::Dns, Kind::Mesh, Kind::ReservedIp, Kind::LoadBalancer],
        Kind::Disk => &[Kind::Machine, Kind::Mount],
        Kind::Vpc => &[Kind::Machine, Kind::LoadBalancer],
        Kind::Project => {
            &[Kind::Machine, Kind::Disk, Kind::ReservedIp, Kind::LoadBalancer, Kind::Zone]
        }
        _ => &[Kind::Machine],
    }
}

/// The addresses that a value is, or lists.
fn refers(value: &Value) -> Vec<Address> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().filter_map(|one| one.as_str()?.parse().ok()).collect()
}

/// An attribute that is not as it should be, or refers to something that is made anew.
struct Differing {
    name: String,
    replaces: bool,
    changed: Option<FieldChange>,
    upstream: Option<Address>,
}

fn is_less(one: &Value, other: &Value) -> bool {
    one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| one < other)
}

fn create(address: &Address, object: &InfraSpec) -> Effect {
    effect(Act::CreateObject { address: address.clone(), object: object.clone() })
}

fn change(
    address: &Address,
    object: &InfraSpec,
    found: &InfraObject,
    attributes: BTreeSet<String>,
) -> Effect {
    effect(Act::ChangeObject {
        address: address.clone(),
        id: found.id.clone(),
        object: object.clone(),
        attributes,
    })
}

fn destroy(address: &Address, found: &InfraObject) -> Effect {
    effect(Act::DestroyObject { address: address.clone(), id: found.id.clone() })
}

fn effect(act: Act) -> Effect {
    let host = match act.object() {
        Some(address) if matches!(address.kind(), Kind::Bootstrap | Kind::Mount | Kind::Mesh) => {
            address.scope()
        }
        _ => CLOUD,
    };
    Effect { host: host.to_owned(), act }
}
