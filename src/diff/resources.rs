//! Comparing hosts, networks, volumes, env files and files; finding what is no longer wanted.

use std::collections::{BTreeMap, BTreeSet};

use similar::TextDiff;

use super::routes::Routing;
use super::{Findings, Proposal, fields};
use crate::model::definition::{LABEL_DEFINITION, stop_grace};
use crate::model::{
    Act, Action, Address, Blocked, BlockedReason, COMPOSE_FILE, Cause, Container, ContainerRef,
    Desired, Effect, EnvSource, EnvState, EnvUse, FieldChange, FileSpec, HostSpec, HostState, Kind,
    NetworkSpec, Note, Object, Request, RouteSpec, ServiceSpec, Spec, VolumeSpec, digest_of,
    routed_service, stamp,
};

/// How long requests to a service that has moved away may take to end, in milliseconds.
const DRAIN_MS: u64 = 5000;
/// The mode of every env file: its owner alone may read it.
const ENV_MODE: u32 = 0o600;

/// What is the same for all hosts under comparison.
pub(super) struct Round<'a> {
    pub desired: &'a Desired,
    pub request: &'a Request,
    /// Whether the newest release did all that it planned.
    pub finished: bool,
    /// The hosts that could not be seen.
    pub blind: BTreeSet<&'a str>,
    /// The routes by which services are reached, by service.
    pub routes: Routing<'a>,
    /// The services of which a canary goes first: on which host, and how many replicas.
    pub canaries: BTreeMap<&'a str, (&'a str, u32)>,
}

/// One host under comparison.
pub(super) struct Scope<'a> {
    pub desired: &'a Desired,
    pub host: &'a str,
    pub state: &'a HostState,
    pub round: &'a Round<'a>,
    /// The name under which Compose knows the environment.
    pub project: String,
    /// Docker's names of the networks that should be there, by key.
    pub networks: BTreeMap<&'a str, &'a str>,
    /// The containers that are ours, by service.
    containers: BTreeMap<&'a str, Vec<(&'a String, &'a Container)>>,
    /// Whether the Compose file on the host is the desired one.
    is_in_force: bool,
}

impl<'a> Scope<'a> {
    pub fn new(
        round: &'a Round<'a>,
        host: &'a str,
        state: &'a HostState,
        wanted: &[(&'a Address, &'a Spec)],
    ) -> Self {
        let desired = round.desired;
        let mut containers: BTreeMap<&str, Vec<(&String, &Container)>> = BTreeMap::new();
        for member in state.containers.iter().filter(|(_, container)| container.ours) {
            containers.entry(&member.1.service).or_default().push(member);
        }
        let file = wanted.iter().find_map(|(address, spec)| match spec {
            Spec::File(spec) if address.name() == Some(COMPOSE_FILE) => Some(spec.content.as_str()),
            _ => None,
        });
        let networks = wanted.iter().filter_map(|(address, spec)| match spec {
            Spec::Network(spec) => Some((address.name()?, spec.name.as_str())),
            _ => None,
        });
        let found = state.files.get(COMPOSE_FILE).map(|file| file.content.as_str());
        Self {
            desired,
            host,
            state,
            round,
            project: desired.site.compose_project(),
            networks: networks.collect(),
            containers,
            is_in_force: found.is_some() && found == file,
        }
    }

    /// How many replicas of a service roll on this host before somebody has to confirm.
    pub fn canary(&self, service: &str) -> Option<u32> {
        let (host, canary) = self.round.canaries.get(service)?;
        (*host == self.host).then_some(*canary)
    }

    /// Whether a service runs on other hosts, too.
    pub fn is_spread(&self, service: &str) -> bool {
        let there = |host: &String| Address::service(host, service);
        let mut others = self.desired.hosts.keys().filter(|host| *host != self.host);
        others.any(|host| self.desired.resources.contains_key(&there(host)))
    }

    /// The definition that the Compose file in force has of a service. Where that file is the
    /// desired one, so are its definitions, and nobody need read it.
    pub fn prior(&self, spec: &'a ServiceSpec) -> Option<&'a Object> {
        match self.is_in_force {
            true => Some(&spec.definition),
            false => self.state.deployed.as_ref()?.services.get(&spec.service),
        }
    }

    /// The definition that the Compose file on the host has of a service.
    fn deployed(&self, service: &str) -> Option<&'a Object> {
        self.state.deployed.as_ref()?.services.get(service)
    }

    /// Whether a service should run on a host that could not be seen, so that nobody knows whether
    /// it does.
    fn may_be_needed(&self, service: &str) -> bool {
        let there = |host: &&str| Address::service(host, service);
        self.round.blind.iter().any(|host| self.desired.resources.contains_key(&there(host)))
    }

    /// The routes that lead to a service's containers on this host, each with its gateway.
    pub fn routes(&self, service: &str) -> impl Iterator<Item = (&'a str, &'a RouteSpec)> {
        let all = self.round.routes.get(service).into_iter().flatten().copied();
        all.filter(|(_, route)| route.sources.contains_key(self.host))
    }

    /// Whether Compose derives a name for containers of a service, whatever their number.
    pub fn is_derived(&self, service: &str, name: &str) -> bool {
        let rest = name.strip_prefix(&self.project).and_then(|rest| rest.strip_prefix('-'));
        let number = rest.and_then(|rest| rest.strip_prefix(service)?.strip_prefix('-'));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    }

    /// The containers of a service that are ours.
    pub fn containers(&self, service: &str) -> &[(&'a String, &'a Container)] {
        self.containers.get(service).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn effect(&self, act: Act) -> Effect {
        Effect { host: self.host.to_owned(), act }
    }

    /// Why something that should be there is not: taken away behind our back, where an earlier
    /// release has been here, or never made.
    pub fn missing(&self, was_here: bool, what: &str) -> Vec<Cause> {
        match was_here {
            true => vec![Cause::Drifted { what: format!("{what} is gone") }],
            false => vec![Cause::Missing],
        }
    }
}

/// Which keys of the env file change.
pub(super) enum EnvDelta {
    Keys(BTreeSet<String>),
    /// Another version comes into force, and what differs is known to nobody.
    Everything,
}

impl EnvDelta {
    /// The changed keys that a service uses; none when it is not concerned.
    pub fn concerns(&self, uses: &EnvUse) -> Option<Vec<String>> {
        match (self, uses) {
            (EnvDelta::Keys(keys), uses) => {
                let affected = uses.affected(keys);
                (!affected.is_empty()).then(|| affected.into_iter().map(str::to_owned).collect())
            }
            (EnvDelta::Everything, EnvUse::Keys(keys)) => (!keys.is_empty()).then(Vec::new),
            (EnvDelta::Everything, EnvUse::All) => Some(Vec::new()),
        }
    }
}

/// Compares the env file; says which keys change.
pub(super) fn env(
    scope: &Scope,
    wanted: &[(&Address, &Spec)],
    findings: &mut Findings,
) -> EnvDelta {
    let unchanged = EnvDelta::Keys(BTreeSet::new());
    let Some((address, spec)) = wanted.iter().find_map(|(address, spec)| match spec {
        Spec::Env(spec) => Some((*address, spec)),
        _ => None,
    }) else {
        return unchanged;
    };
    let found = scope.state.env.as_ref();
    match (&spec.source, found) {
        (EnvSource::Host, None) => {
            let detail = format!(
                "{} is not on the host, and no local secrets file says what is in it",
                spec.path
            );
            findings.block(
                Address::host(scope.host),
                Blocked { reason: BlockedReason::EnvMissing, detail },
            );
            unchanged
        }
        (EnvSource::Host, Some(found)) => {
            repair_mode(scope, address, &spec.path, found, findings);
            unchanged
        }
        (EnvSource::Secrets { keys }, None) => {
            let write = Act::WriteEnv { path: spec.path.clone(), keys: keys.clone() };
            let causes = scope.missing(!scope.state.env_versions.is_empty(), &spec.path);
            findings
                .propose(Proposal::new(address, Action::Create, causes).step(scope.effect(write)));
            EnvDelta::Keys(keys.clone())
        }
        (EnvSource::Secrets { .. }, Some(found)) if found.differing.is_empty() => {
            repair_mode(scope, address, &spec.path, found, findings);
            unchanged
        }
        (EnvSource::Secrets { keys }, Some(found)) => {
            let cause = if scope.state.env_versions.contains(&found.version) {
                Cause::Changed
            } else {
                Cause::Drifted { what: format!("{} was edited", spec.path) }
            };
            let write = Act::WriteEnv { path: spec.path.clone(), keys: keys.clone() };
            let mut proposal =
                Proposal::new(address, Action::Update, vec![cause]).step(scope.effect(write));
            proposal.change.fields = found
                .differing
                .iter()
                .map(|key| {
                    let shown = |there: bool| there.then(|| "(sensitive)".into());
                    FieldChange {
                        path: key.clone(),
                        before: shown(found.keys.contains(key)),
                        after: shown(keys.contains(key)),
                        sensitive: true,
                    }
                })
                .collect();
            findings.propose(proposal);
            EnvDelta::Keys(found.differing.clone())
        }
        (EnvSource::Version { id }, Some(found)) if found.version == *id => {
            repair_mode(scope, address, &spec.path, found, findings);
            unchanged
        }
        (EnvSource::Version { id }, found) if scope.state.env_versions.contains(id) => {
            let restore = Act::RestoreEnv { path: spec.path.clone(), version: id.clone() };
            let action = if found.is_some() { Action::Update } else { Action::Create };
            let mut proposal =
                Proposal::new(address, action, vec![Cause::Changed]).step(scope.effect(restore));
            let before = found.map(|found| found.version.clone().into());
            proposal.change.fields =
                vec![fields::field("version".into(), before, Some(id.clone().into()))];
            findings.propose(proposal);
            EnvDelta::Everything
        }
        (EnvSource::Version { id }, found) => {
            if scope.round.request.accept_current_secrets && found.is_some() {
                findings.notes.insert(Note::CurrentSecrets { host: scope.host.to_owned() });
            } else {
                let detail = format!("version {id} of {} is no longer kept", spec.path);
                findings
                    .block(address.clone(), Blocked { reason: BlockedReason::SecretsGone, detail });
            }
            unchanged
        }
    }
}

fn repair_mode(
    scope: &Scope,
    address: &Address,
    path: &str,
    found: &EnvState,
    findings: &mut Findings,
) {
    if found.mode != ENV_MODE {
        findings.propose(mode_repair(scope.host, address, path, found.mode, ENV_MODE));
    }
}

pub(super) fn mode_repair(
    host: &str,
    address: &Address,
    path: &str,
    found: u32,
    mode: u32,
) -> Proposal {
    let what = format!("its mode is {found:04o}");
    let mut proposal = Proposal::new(address, Action::Update, vec![Cause::Drifted { what }])
        .step(Effect { host: host.to_owned(), act: Act::SetMode { path: path.to_owned(), mode } });
    let octal = |mode: u32| Some(format!("{mode:04o}").into());
    proposal.change.fields = vec![fields::field("mode".into(), octal(found), octal(mode))];
    proposal
}

/// Compares the environment's directory.
pub(super) fn host(scope: &Scope, address: &Address, spec: &HostSpec, findings: &mut Findings) {
    if !scope.state.directory {
        let prepare = Act::PrepareHost { directory: spec.directory.clone() };
        findings.propose(
            Proposal::new(address, Action::Create, vec![Cause::Missing])
                .step(scope.effect(prepare)),
        );
    }
}

/// Compares a network; says whether it is made anew, so that what is on it must be, too.
pub(super) fn network(
    scope: &Scope,
    address: &Address,
    spec: &NetworkSpec,
    findings: &mut Findings,
) -> bool {
    let create = scope.effect(Act::CreateNetwork {
        name: spec.name.clone(),
        key: address.name().unwrap_or_default().to_owned(),
        definition: spec.definition.clone(),
    });
    match scope.state.networks.get(&spec.name) {
        None => {
            let was_here = uses_network(scope.state, &spec.name);
            let causes = scope.missing(was_here, &format!("network {}", spec.name));
            findings.propose(Proposal::new(address, Action::Create, causes).step(create));
            was_here
        }
        Some(found) if found.definition == digest_of(&spec.definition) => false,
        // Somebody else made it under the name that Compose looks for: it serves, and is not ours
        // to take away.
        Some(found) if !found.ours => {
            let note = Note::Stranger { host: scope.host.into(), name: spec.name.clone() };
            findings.notes.insert(note);
            false
        }
        Some(_) => {
            let cause = Cause::Replaced { field: "definition".into() };
            let remove = scope.effect(Act::RemoveNetwork { name: spec.name.clone() });
            findings.propose(
                Proposal::new(address, Action::Replace, vec![cause]).step(remove).step(create),
            );
            true
        }
    }
}

fn uses_network(state: &HostState, network: &str) -> bool {
    state.containers.values().any(|container| container.networks.contains_key(network))
}

/// Compares a volume. A definition that differs is never applied: it would cost the data.
pub(super) fn volume(scope: &Scope, address: &Address, spec: &VolumeSpec, findings: &mut Findings) {
    match scope.state.volumes.get(&spec.name) {
        None => {
            let create = Act::CreateVolume {
                name: spec.name.clone(),
                key: address.name().unwrap_or_default().to_owned(),
                definition: spec.definition.clone(),
            };
            findings.propose(
                Proposal::new(address, Action::Create, vec![Cause::Missing])
                    .step(scope.effect(create)),
            );
        }
        Some(found) if found.definition == digest_of(&spec.definition) => {}
        // Made by Compose or by hand before we came: its data is what counts.
        Some(found) if !found.ours => {}
        Some(_) => {
            let detail = format!(
                "volume {} was made from another definition, and can only be changed by \
                 destroying it",
                spec.name
            );
            findings.block(
                address.clone(),
                Blocked { reason: BlockedReason::WouldDestroyData, detail },
            );
        }
    }
}

/// Compares a file of ours: content, then mode.
pub(super) fn file(scope: &Scope, address: &Address, spec: &FileSpec, findings: &mut Findings) {
    let write = scope.effect(Act::WriteFile {
        path: spec.path.clone(),
        mode: spec.mode,
        content: spec.content.clone(),
    });
    let name = address.name().unwrap_or_default();
    match scope.state.files.get(name) {
        None => {
            let was_here = scope.state.containers.values().any(|container| container.ours);
            let causes = scope.missing(was_here && name == COMPOSE_FILE, name);
            findings.propose(Proposal::new(address, Action::Create, causes).step(write));
        }
        Some(found) if found.content != spec.content => {
            let cause = match stamp::is_intact(&found.content) {
                true => Cause::Changed,
                false => Cause::Drifted { what: format!("{name} was edited") },
            };
            let mut proposal = Proposal::new(address, Action::Update, vec![cause]).step(write);
            proposal.change.diff =
                Some(unified(&found.content, &spec.content)).filter(|diff| !diff.is_empty());
            findings.propose(proposal);
        }
        Some(found) if found.mode != spec.mode => {
            findings.propose(mode_repair(scope.host, address, &spec.path, found.mode, spec.mode));
        }
        Some(_) => {}
    }
}

/// A unified diff of two texts, without our own digests, which differ in any case, and without the
/// values of keys that people give to secrets.
pub(super) fn unified(before: &str, after: &str) -> String {
    let plain = |text: &str| -> String {
        let lines = stamp::body(text).split_inclusive('\n');
        lines.filter(|line| !line.contains(LABEL_DEFINITION)).collect()
    };
    let (before, after) = (plain(before), plain(after));
    let shown = |text: &str| -> Vec<String> { fields::lines_without_secrets(text).collect() };
    let (shown_before, shown_after) = (shown(&before), shown(&after));
    let diff = TextDiff::from_slices(&lines(&before), &lines(&after));
    let mut out = String::new();
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        out.push_str(&format!("{}\n", hunk.header()));
        for change in hunk.iter_changes() {
            let shown = match (change.old_index(), change.new_index()) {
                (_, Some(at)) => &shown_after[at],
                (Some(at), None) => &shown_before[at],
                (None, None) => continue,
            };
            out.push_str(&format!("{}{shown}\n", change.tag()));
        }
    }
    out
}

/// A line ends with a line feed, and with nothing else.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Proposes to take away what is ours on the host and not wanted.
pub(super) fn orphans(scope: &Scope, wanted: &[(&Address, &Spec)], findings: &mut Findings) {
    let specs = || wanted.iter().map(|(_, spec)| *spec);
    let services: BTreeSet<&str> = specs()
        .filter_map(|spec| match spec {
            Spec::Service(spec) => Some(spec.service.as_str()),
            _ => None,
        })
        .collect();
    let mut removals = BTreeSet::new();
    for container in scope.state.containers.values() {
        let address = Address::service(scope.host, &container.service);
        if !container.ours {
            let note = Note::Stranger { host: scope.host.into(), name: container.name.clone() };
            findings.notes.insert(note);
        } else if !services.contains(container.service.as_str()) {
            removals.insert(address);
        }
    }
    // What moves to a host in the dark stays where it is, and so does all that it uses.
    let orphaned = removals.len();
    removals.retain(|address| !scope.may_be_needed(address.name().unwrap_or_default()));
    let something_stays = removals.len() < orphaned;
    for address in &removals {
        let service = address.name().unwrap_or_default();
        let containers = refs(scope.containers(service).iter().copied());
        let proposal = Proposal::new(address, Action::Delete, vec![Cause::Orphaned]);
        // One that has moved, and the routes with it, ends here what it still works on.
        let drain_ms = if scope.round.routes.contains_key(service) { DRAIN_MS } else { 0 };
        let grace_s = scope.deployed(service).and_then(stop_grace).unwrap_or(10);
        let stop = Act::Stop { containers, drain_ms, grace_s };
        let mut proposal = proposal.step(scope.effect(stop));
        let heirs = heirs(scope, service, wanted);
        if !heirs.is_empty() {
            // Its place is taken by others: it must go first.
            for heir in heirs {
                if let Some(heir) = findings.proposals.get_mut(heir) {
                    heir.after.insert(address.clone());
                }
            }
        } else {
            // Elsewhere it may just have moved: start there, then stop here.
            proposal.after = findings
                .proposals
                .keys()
                .chain(scope.desired.resources.keys())
                .filter(|other| matches!(other.kind(), Kind::Service | Kind::Route))
                .filter(|other| !removals.contains(other))
                .cloned()
                .collect();
        }
        findings.propose(proposal);
    }
    if something_stays {
        return;
    }
    let remove = |address: Address, act: Act, after: BTreeSet<Address>, findings: &mut Findings| {
        let mut proposal =
            Proposal::new(&address, Action::Delete, vec![Cause::Orphaned]).step(scope.effect(act));
        proposal.after = after;
        findings.propose(proposal);
    };
    let on_host: BTreeSet<Address> = findings
        .proposals
        .keys()
        .filter(|address| address.kind() == Kind::Service && address.on_host() == Some(scope.host))
        .cloned()
        .collect();

    let networks: BTreeSet<&str> = specs()
        .filter_map(|spec| match spec {
            Spec::Network(spec) => Some(spec.name.as_str()),
            _ => None,
        })
        .collect();
    for (name, found) in &scope.state.networks {
        if found.ours && !networks.contains(name.as_str()) {
            let address = Address::network(scope.host, &found.key);
            remove(address, Act::RemoveNetwork { name: name.clone() }, on_host.clone(), findings);
        }
    }
    let volumes: BTreeSet<&str> = specs()
        .filter_map(|spec| match spec {
            Spec::Volume(spec) => Some(spec.name.as_str()),
            _ => None,
        })
        .collect();
    for (name, found) in &scope.state.volumes {
        if !found.ours || volumes.contains(name.as_str()) {
            continue;
        }
        let address = Address::volume(scope.host, &found.key);
        if scope.round.request.prune_volumes {
            remove(address, Act::RemoveVolume { name: name.clone() }, on_host.clone(), findings);
        } else {
            findings.notes.insert(Note::VolumeKept { address });
        }
    }
    let files: BTreeSet<&str> = wanted
        .iter()
        .filter(|(_, spec)| matches!(spec, Spec::File(_)))
        .filter_map(|(address, _)| address.name())
        .collect();
    let others = |path: &&String| !files.contains(path.as_str()) && routed_service(path).is_none();
    for path in scope.state.files.keys().filter(others) {
        let address = Address::file(scope.host, path);
        let act = Act::RemoveFile { path: scope.desired.site.path(path) };
        remove(address, act, on_host.clone(), findings);
    }
    let wants_env = specs().any(|spec| matches!(spec, Spec::Env(_)));
    if let (false, Some(env), Some(path)) =
        (wants_env, &scope.state.env, &scope.desired.site.env_path)
    {
        // Only what we wrote is ours to remove.
        if scope.state.env_versions.contains(&env.version) {
            let act = Act::RemoveFile { path: path.clone() };
            remove(Address::env(scope.host), act, on_host, findings);
        }
    }
}

/// Lets data go when everything else is done: until then it may be gone back to.
pub(super) fn data_goes_last(findings: &mut Findings) {
    let is_data = |(address, proposal): &(&Address, &Proposal)| {
        address.kind() == Kind::Volume && proposal.change.action == Action::Delete
    };
    let (goes, works): (Vec<_>, Vec<_>) = findings.proposals.iter().partition(is_data);
    if goes.is_empty() {
        return;
    }
    let addresses = |those: Vec<(&Address, _)>| -> BTreeSet<Address> {
        those.into_iter().map(|(address, _)| address.clone()).collect()
    };
    let (goes, works) = (addresses(goes), addresses(works));
    for address in goes {
        if let Some(proposal) = findings.proposals.get_mut(&address) {
            proposal.after.extend(works.iter().cloned());
        }
    }
}

/// The services that need a host port or a name that one that goes holds.
fn heirs<'a>(scope: &Scope, going: &str, wanted: &[(&'a Address, &Spec)]) -> Vec<&'a Address> {
    // What an apply that was killed has left may be in no file any more.
    let containers = scope.containers(going).iter().map(|(_, container)| container);
    let ports = containers.clone().flat_map(|container| container.published.values());
    let ports = ports.map(|port| format!("\"{port}\"/\"tcp\""));
    let names = containers.map(|container| format!("name \"{}\"", container.name));
    let mut holds: BTreeSet<String> = ports.chain(names).collect();
    holds.extend(scope.deployed(going).into_iter().flat_map(exclusive));
    let needs = |spec: &&Spec| match spec {
        Spec::Service(spec) => !exclusive(&spec.definition).is_disjoint(&holds),
        _ => false,
    };
    wanted.iter().filter(|(_, spec)| needs(spec)).map(|(address, _)| *address).collect()
}

/// What only one container on a host can have: published host ports and a fixed name.
fn exclusive(definition: &Object) -> BTreeSet<String> {
    let ports = definition.get("ports").and_then(|ports| ports.as_array()).into_iter().flatten();
    let published = ports.filter_map(|port| {
        let text = |key: &str| port.get(key).map(|value| value.to_string());
        Some(format!("{}/{}", text("published")?, text("protocol").unwrap_or_default()))
    });
    let name = definition.get("container_name").map(|name| format!("name {name}"));
    published.chain(name).collect()
}

/// Containers as a plan names them, in the order of their numbers.
pub(super) fn refs<'a>(
    containers: impl Iterator<Item = (&'a String, &'a Container)>,
) -> Vec<ContainerRef> {
    let mut containers: Vec<_> = containers.collect();
    containers.sort_by_key(|(id, container)| (container.number, id.as_str()));
    containers
        .into_iter()
        .map(|(id, container)| ContainerRef { id: id.clone(), name: container.name.clone() })
        .collect()
}
