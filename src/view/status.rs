//! Status: what runs where, beside what should.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::model::{
    Address, Blocked, BlockedEntry, Container, ContainerState, Desired, Health, HostState,
    Observed, ReleaseHead, ServiceSpec, Sight, Spec,
};

use super::style::Role;
use super::table::{Cell, Table};
use super::{Options, error, text};

/// What runs in an environment beside what should.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// The newest release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseHead>,
    /// The hosts, by name.
    pub hosts: Vec<HostStatus>,
}

/// A host and its services.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostStatus {
    /// The host.
    pub host: String,
    /// Why nothing is known about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Its services, by name.
    pub services: Vec<ServiceStatus>,
}

/// A service on a host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// The service.
    pub service: String,
    /// How many containers there should be; none where the configuration has no such service here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<u32>,
    /// How many run and are healthy, or have ended well where that is what they are for. Unknown
    /// on a host that is blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<u32>,
    /// What it comes to, in a few words.
    pub state: String,
    /// The images that its containers were made with, or that they will be.
    pub images: BTreeSet<String>,
    /// Its containers, by name.
    pub containers: Vec<ContainerStatus>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Its state, in a few words: `healthy`, `paused`, `exited (137)`.
    pub state: String,
    /// Docker's state.
    pub docker_state: ContainerState,
    /// Docker's health state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

impl Status {
    /// Lays the desired state beside the observed one.
    pub fn of(desired: &Desired, observed: &Observed) -> Self {
        let mut wanted: BTreeMap<&str, BTreeMap<&str, &ServiceSpec>> = BTreeMap::new();
        for (address, resource) in &desired.resources {
            if let (Spec::Service(spec), Some(host)) = (&resource.spec, address.on_host()) {
                wanted.entry(host).or_default().insert(&spec.service, spec);
            }
        }
        let none = BTreeMap::new();
        let hosts: BTreeSet<&String> = desired.hosts.keys().chain(observed.hosts.keys()).collect();
        let hosts = hosts
            .into_iter()
            .map(|host| {
                let wanted = wanted.get(host.as_str()).unwrap_or(&none);
                let (blocked, state) = match observed.hosts.get(host) {
                    Some(Sight::Seen(state)) => (None, Some(&**state)),
                    Some(Sight::Blocked(blocked)) => (Some(blocked.clone()), None),
                    None => (None, None),
                };
                HostStatus { host: host.clone(), blocked, services: services(wanted, state) }
            })
            .collect();
        Self {
            project: desired.site.project.clone(),
            environment: desired.site.environment.clone(),
            release: observed.head.clone(),
            hosts,
        }
    }

    /// Whether every host answered and runs exactly as many healthy containers as it should.
    pub fn is_well(&self) -> bool {
        self.hosts.iter().all(|host| {
            host.blocked.is_none()
                && host.services.iter().all(|service| {
                    service.wanted == service.healthy
                        && Some(service.containers.len()) == service.healthy.map(|n| n as usize)
                })
        })
    }
}

fn services(
    wanted: &BTreeMap<&str, &ServiceSpec>,
    state: Option<&HostState>,
) -> Vec<ServiceStatus> {
    let mut found: BTreeMap<&str, Vec<&Container>> = BTreeMap::new();
    for container in state.iter().flat_map(|state| state.containers.values()) {
        found.entry(&container.service).or_default().push(container);
    }
    let names: BTreeSet<&str> = wanted.keys().chain(found.keys()).copied().collect();
    names
        .into_iter()
        .map(|name| {
            let spec = wanted.get(name).copied();
            let mut containers = found.remove(name).unwrap_or_default();
            containers.sort_by_key(|container| (container.number, container.name.as_str()));
            service(name, spec, &containers, state.is_some())
        })
        .collect()
}

fn service(
    name: &str,
    spec: Option<&ServiceSpec>,
    found: &[&Container],
    seen: bool,
) -> ServiceStatus {
    let completes = spec.is_some_and(|spec| spec.completes);
    let well = found.iter().filter(|container| is_well(container, completes)).count();
    let mut images: BTreeSet<String> = found.iter().map(|one| one.image.clone()).collect();
    if images.is_empty() {
        images.extend(spec.map(|spec| spec.image.clone()));
    }
    let containers: Vec<ContainerStatus> = found
        .iter()
        .map(|container| ContainerStatus {
            name: container.name.clone(),
            state: condition(container, completes),
            docker_state: container.state,
            health: container.health,
        })
        .collect();
    let mut state = match (seen, containers.is_empty()) {
        (false, _) => "unknown".to_owned(),
        (true, true) => "missing".to_owned(),
        (true, false) => tally(&containers),
    };
    if spec.is_none() {
        state.push_str("; not in the configuration");
    }
    ServiceStatus {
        service: name.to_owned(),
        wanted: spec.map(|spec| spec.replicas),
        healthy: seen.then(|| u32::try_from(well).unwrap_or(u32::MAX)),
        state,
        images,
        containers,
    }
}

/// The containers' states with how many have each, or the one that all share.
fn tally(containers: &[ContainerStatus]) -> String {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for container in containers {
        *states.entry(&container.state).or_default() += 1;
    }
    if let (1, Some((state, _))) = (states.len(), states.first_key_value()) {
        return (*state).to_owned();
    }
    let parts: Vec<String> =
        states.iter().map(|(state, number)| format!("{number} {state}")).collect();
    parts.join(", ")
}

fn is_well(container: &Container, completes: bool) -> bool {
    match container.state {
        ContainerState::Running => container.health.is_none_or(|health| health == Health::Healthy),
        ContainerState::Exited => completes && container.exit_code == 0,
        _ => false,
    }
}

/// A container's state in a few words.
fn condition(container: &Container, completes: bool) -> String {
    match (container.state, container.health) {
        (ContainerState::Running, None) => "running".to_owned(),
        (ContainerState::Running, Some(Health::Starting)) => "starting".to_owned(),
        (ContainerState::Running, Some(Health::Healthy)) => "healthy".to_owned(),
        (ContainerState::Running, Some(Health::Unhealthy)) => "unhealthy".to_owned(),
        (ContainerState::Exited, _) if completes && container.exit_code == 0 => {
            "completed".to_owned()
        }
        (ContainerState::Exited, _) => format!("exited ({})", container.exit_code),
        (ContainerState::Created, _) => "created, not started".to_owned(),
        (ContainerState::Paused, _) => "paused".to_owned(),
        (ContainerState::Restarting, _) => "restarting".to_owned(),
        (ContainerState::Removing, _) => "being removed".to_owned(),
        (ContainerState::Dead, _) => "dead".to_owned(),
    }
}

impl Status {
    /// The environment and its newest release, in a line.
    pub(super) fn headline(&self) -> String {
        let environment = text::line(&self.environment);
        let Some(head) = &self.release else { return format!("{environment}: no release yet") };
        let version = match &head.version {
            Some(version) => format!(" ({})", text::line(version)),
            None => String::new(),
        };
        format!("{environment}: release {}{version} {}", head.number, head.outcome.name())
    }

    /// Hosts and services; with `verbose`, each container too.
    pub(super) fn table(&self, verbose: bool) -> Table {
        let mut table = Table::new(["HOST", "SERVICE", "REPLICAS", "STATE", "IMAGE"]);
        for host in &self.hosts {
            for (at, service) in host.services.iter().enumerate() {
                table.row(row(if at == 0 { &host.host } else { "" }, service));
                for container in service.containers.iter().filter(|_| verbose) {
                    let name = format!("  {}", container.name);
                    table.row(["".into(), name.into(), "".into(), container.state.clone().into()]);
                }
            }
            if host.services.is_empty() {
                let state = if host.blocked.is_some() { "blocked" } else { "no service" };
                table.row([host.host.clone().into(), "-".into(), "".into(), state.into()]);
            }
        }
        table
    }

    /// The hosts that could not be looked at, as a plan has them.
    pub(super) fn blocked(&self) -> impl Iterator<Item = BlockedEntry> {
        self.hosts.iter().filter_map(|host| {
            let blocked = host.blocked.clone()?;
            Some(BlockedEntry { address: Address::host(&host.host), blocked })
        })
    }
}

/// The status as text: the release, a table of hosts and services, what is blocked. With
/// `verbose`, each container too.
pub fn text(status: &Status, options: &Options) -> String {
    let paint = options.paint;
    let mut out = paint.paint(Role::Strong, status.headline()) + "\n\n";
    out.push_str(&status.table(options.verbose).text(paint));
    for entry in status.blocked() {
        out.push('\n');
        out.push_str(&error::blocked_entry(&entry, paint));
    }
    out
}

fn row(host: &str, service: &ServiceStatus) -> [Cell; 5] {
    let number = |number: Option<u32>| number.map_or("?".to_owned(), |number| number.to_string());
    let replicas = match service.wanted {
        Some(wanted) => format!("{}/{wanted}", number(service.healthy)),
        None => number(service.healthy),
    };
    let well = service.wanted.is_some() && service.wanted == service.healthy;
    let role = match well {
        true if service.containers.len() == service.healthy.unwrap_or(0) as usize => Role::Add,
        _ if service.healthy.is_none_or(|number| number > 0) => Role::Change,
        _ => Role::Destroy,
    };
    let images: Vec<&str> = service.images.iter().map(String::as_str).collect();
    [
        host.into(),
        service.service.clone().into(),
        replicas.into(),
        Cell::new(service.state.clone(), Some(role)),
        images.join(", ").into(),
    ]
}

/// Who holds the lock at each place.
pub fn locks(holders: &BTreeMap<String, Option<String>>) -> String {
    let told = |(place, holder): (&String, &Option<String>)| match holder {
        Some(holder) => format!("{}: held by {}\n", text::line(place), text::line(holder)),
        None => format!("{}: free\n", text::line(place)),
    };
    holders.iter().map(told).collect()
}

/// The status in JSON.
pub fn json(status: &Status) -> String {
    super::json::pretty(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BlockedReason, EnvUse, Host, Resource, RolloutSpec, Site};

    fn wanted(name: &str, replicas: u32, completes: bool) -> ServiceSpec {
        ServiceSpec {
            service: name.into(),
            definition: Default::default(),
            image: format!("shop/{name}:v1"),
            pin: None,
            replicas,
            fingerprint: String::new(),
            limits: Default::default(),
            networks: None,
            container_name: None,
            env: EnvUse::All,
            rollout: RolloutSpec::default(),
            tier: crate::model::Tier::Application,
            completes,
            release_command: Vec::new(),
        }
    }

    fn desired(services: &[(&str, ServiceSpec)]) -> Desired {
        let host = |name: &str| Host::named(name);
        Desired {
            addresses: BTreeMap::new(),
            partial: false,
            site: Site { project: "shop".into(), environment: "staging".into(), env_path: None },
            version: None,
            hosts: services.iter().map(|(name, _)| ((*name).to_owned(), host(name))).collect(),
            protection: Default::default(),
            resources: services
                .iter()
                .map(|(host, spec)| {
                    let spec = Spec::Service(std::sync::Arc::new(spec.clone()));
                    let address = match &spec {
                        Spec::Service(spec) => Address::service(host, &spec.service),
                        _ => Address::host(host),
                    };
                    (address, Resource { spec, after: BTreeSet::new() })
                })
                .collect(),
        }
    }

    fn found(
        service: &str,
        number: u32,
        state: ContainerState,
        health: Option<Health>,
    ) -> Container {
        Container {
            name: format!("shop-{service}-{number}"),
            service: service.into(),
            number,
            ours: true,
            fingerprint: String::new(),
            state,
            health,
            image: format!("shop/{service}:v1"),
            image_id: "sha256:1".into(),
            config_hash: String::new(),
            restart: "always".into(),
            memory: 0,
            nano_cpus: 0,
            networks: Default::default(),
            shares: BTreeSet::new(),
            exit_code: 0,
            published: [].into(),
        }
    }

    fn seen(containers: Vec<Container>) -> Sight {
        let containers = containers.into_iter().map(|one| (one.name.clone(), one)).collect();
        Sight::Seen(Box::new(HostState { containers, ..HostState::default() }))
    }

    fn status() -> Status {
        let desired = desired(&[
            ("app-1", wanted("api", 2, false)),
            ("app-1", wanted("migrate", 1, true)),
            ("app-1", wanted("worker", 1, false)),
            ("app-2", wanted("api", 2, false)),
            ("db-1", wanted("postgres", 1, false)),
        ]);
        let mut killed = found("api", 2, ContainerState::Exited, None);
        killed.exit_code = 137;
        let blocked =
            Blocked { reason: BlockedReason::Unreachable, detail: "ssh: timed out".into() };
        let observed = Observed {
            infrastructure: None,
            head: Some(ReleaseHead {
                number: 4,
                version: Some("v4".into()),
                previous_version: None,
                outcome: crate::model::Outcome::Succeeded,
                desired: String::new(),
                hosts: Vec::new(),
                previous_good: None,
                fell_back: None,
            }),
            commands_since: Default::default(),
            hosts: [
                (
                    "app-1".to_owned(),
                    seen(vec![
                        found("api", 1, ContainerState::Running, Some(Health::Healthy)),
                        killed,
                        found("migrate", 1, ContainerState::Exited, None),
                        found("old\u{1b}[2J", 1, ContainerState::Running, None),
                    ]),
                ),
                ("app-2".to_owned(), Sight::Blocked(blocked)),
                (
                    "db-1".to_owned(),
                    seen(vec![found("postgres", 1, ContainerState::Running, None)]),
                ),
            ]
            .into(),
        };
        Status::of(&desired, &observed)
    }

    #[test]
    fn what_runs_beside_what_should() {
        let status = status();
        insta::assert_snapshot!(text(&status, &Options::default()), @r"
        staging: release 4 (v4) succeeded

        HOST   SERVICE       REPLICAS  STATE                              IMAGE
        app-1  api           1/2       1 exited (137), 1 healthy          shop/api:v1
               migrate       1/1       completed                          shop/migrate:v1
               old\u{1b}[2J  1         running; not in the configuration  shop/old\u{1b}[2J:v1
               worker        0/1       missing                            shop/worker:v1
        app-2  api           ?/2       unknown                            shop/api:v1
        db-1   postgres      1/1       running                            shop/postgres:v1

          ! host.app-2: app-2 can't be reached
              | ssh: timed out
              hint: see that it is on and that `ssh app-2` connects, then plan again
        ");
        assert!(!status.is_well());
        let verbose = text(&status, &Options { verbose: true, ..Options::default() });
        assert!(verbose.contains("  shop-api-2      "), "{verbose}");
    }

    #[test]
    fn the_same_in_markdown() {
        insta::assert_snapshot!(super::super::markdown::status(&status()), @r"
        ### staging: release 4 (v4) succeeded

        | host | service | replicas | state | image |
        |---|---|---|---|---|
        | app-1 | api | 1/2 | 1 exited (137), 1 healthy | shop/api:v1 |
        |  | migrate | 1/1 | completed | shop/migrate:v1 |
        |  | old\\u{1b}\[2J | 1 | running; not in the configuration | shop/old\\u{1b}\[2J:v1 |
        |  | worker | 0/1 | missing | shop/worker:v1 |
        | app-2 | api | ?/2 | unknown | shop/api:v1 |
        | db-1 | postgres | 1/1 | running | shop/postgres:v1 |

        - `host.app-2`: app-2 can't be reached<br>
          `ssh: timed out`<br>
          Hint: see that it is on and that `ssh app-2` connects, then plan again
        ");
    }

    #[test]
    fn all_is_well_when_each_runs_as_often_as_it_should() {
        let desired = desired(&[("db-1", wanted("postgres", 1, false))]);
        let one = |state| {
            let hosts = [("db-1".to_owned(), seen(vec![found("postgres", 1, state, None)]))];
            Status::of(&desired, &Observed { hosts: hosts.into(), ..Observed::default() })
        };
        assert!(one(ContainerState::Running).is_well());
        assert!(!one(ContainerState::Paused).is_well());
        assert!(
            text(&one(ContainerState::Running), &Options::default()).contains("no release yet")
        );
    }

    #[test]
    fn json_holds_what_the_table_leaves_out() {
        let json: serde_json::Value = serde_json::from_str(&json(&status())).unwrap();
        insta::assert_snapshot!(format!("{:#}", json["hosts"][0]["services"][0]), @r#"
        {
          "containers": [
            {
              "docker_state": "running",
              "health": "healthy",
              "name": "shop-api-1",
              "state": "healthy"
            },
            {
              "docker_state": "exited",
              "name": "shop-api-2",
              "state": "exited (137)"
            }
          ],
          "healthy": 1,
          "images": [
            "shop/api:v1"
          ],
          "service": "api",
          "state": "1 exited (137), 1 healthy",
          "wanted": 2
        }
        "#);
        assert_eq!(json["hosts"][1]["blocked"]["reason"], "unreachable");
        assert_eq!(json["hosts"][1]["services"][0]["healthy"], serde_json::Value::Null);
    }
}
