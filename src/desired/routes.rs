//! Routes: the `traefik.*` labels of services become files on the gateways, where the proxy finds them,
//! and the services are published for gateways that are other hosts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::render::{mesh_ip, point, push};
use super::{Blueprint, Facts, Placed, Places, traefik};
use crate::config::compose::{Project, references};
use crate::config::diagnostic::Diagnostic;
use crate::model::definition::networks;
use crate::model::{
    Address, Backend, Object, Proxy, ROUTES_FOLDER, Reach, Resource, RouteSpec, Routes, Section,
    Spec, route_file,
};

/// Where the proxy finds them when its own settings name no folder.
const TARGET: &str = "/etc/stagecraft/routes";
/// Mode of a file of routes: the proxy need not be root.
const MODE: u32 = 0o644;
/// Traefik's own `providers.providersThrottleDuration`.
const THROTTLE_MS: u64 = 2000;
/// What a proxy that follows labels gets on top of its throttle to see a container, in milliseconds.
const MARGIN_MS: u64 = 1000;
const DIRECTORY: &str = "providers.file.directory";

/// What is routed, and by whom; nothing where no service of the environment runs Traefik.
#[derive(Debug, Default)]
pub struct Traffic {
    proxy: Option<Gate>,
    routed: BTreeMap<String, Routes>,
}

/// The proxy of an environment.
#[derive(Debug)]
struct Gate {
    proxy: Proxy,
    hosts: Vec<String>,
    networks: BTreeSet<String>,
    /// The folder in its container from which it reads routes.
    target: String,
    /// Whether its settings name that folder.
    named: bool,
}

impl Traffic {
    /// Finds the proxy and lifts the labels; with what is wrong with either.
    pub fn of(blueprint: &Blueprint, project: &Project) -> (Self, Vec<Diagnostic>) {
        if blueprint.labels_route {
            return Default::default();
        }
        let proxies: Vec<&str> = (blueprint.placements.keys())
            .filter(|name| project.services.get(*name).is_some_and(|s| runs_traefik(&s.image)))
            .map(String::as_str)
            .collect();
        let name = match proxies.as_slice() {
            [] => return Default::default(),
            [one] => *one,
            [first, second, ..] => {
                let message = format!("`{first}` and `{second}` both run Traefik");
                let problem = Diagnostic::error("route::proxies", message);
                let problem = point(project, second, problem)
                    .help("leave one of them out, or set `traefik: { routes: labels }`");
                return (Self::default(), vec![problem]);
            }
        };
        let (routed, mut problems) = lifted(blueprint, project);
        match gate(blueprint, project, name) {
            Ok(gate) => (Self { proxy: Some(gate), routed }, problems),
            Err(problem) => {
                problems.push(problem);
                (Self::default(), problems)
            }
        }
    }

    /// Fits a service's definition to what is routed.
    pub fn adapt(&self, blueprint: &Blueprint, name: &str, definition: &mut Object) {
        let Some(gate) = &self.proxy else { return };
        if name == gate.proxy.service {
            gate.mount(&blueprint.site.path(ROUTES_FOLDER), definition);
        }
        if let (true, Some(Value::Object(labels))) =
            (self.routed.contains_key(name), definition.get_mut("labels"))
        {
            labels.retain(|label, _| !is_traefiks(label));
            // A proxy that follows containers, too, leaves this one alone.
            labels.insert("traefik.enable".into(), "false".into());
        }
    }

    /// The container ports that a service's host publishes on its mesh address, for gateways on others.
    pub fn published(&self, host: &str, placed: &Placed) -> Vec<u16> {
        let (Some(gate), Some(routes)) = (&self.proxy, self.routed.get(placed.name)) else {
            return Vec::new();
        };
        let definition = &placed.service.canonical;
        if gate.hosts.iter().all(|gateway| gate.is_beside(gateway, host, definition)) {
            return Vec::new();
        }
        let ports: BTreeSet<u16> = routes.backends.iter().filter_map(|b| b.port).collect();
        ports.into_iter().collect()
    }

    /// Adds the routes, each after the services that it leads to.
    pub fn connect(
        &self,
        blueprint: &Blueprint,
        facts: &Facts,
        places: &Places,
        resources: &mut BTreeMap<Address, Resource>,
    ) -> Result<(), Diagnostic> {
        let Some(gate) = &self.proxy else { return Ok(()) };
        for (name, routes) in &self.routed {
            let placed = places.get(name);
            let serves = |host: &&String| placed.is_some_and(|placed| placed.is_on(host));
            let serving: Vec<&String> = blueprint.hosts.keys().filter(serves).collect();
            for gateway in &gate.hosts {
                let mut sources = BTreeMap::new();
                let mut after = BTreeSet::from([Address::host(gateway)]);
                for host in serving.iter().copied().filter(|_| !routes.backends.is_empty()) {
                    let address = Address::service(host, name);
                    let Some(Spec::Service(service)) = resources.get(&address).map(|r| &r.spec)
                    else {
                        continue;
                    };
                    let reach = match gate.is_beside(gateway, host, &service.definition) {
                        true => Reach::Network,
                        false => Reach::Mesh { ip: mesh_ip(blueprint, facts, host)? },
                    };
                    sources.insert(host.clone(), reach);
                    after.insert(address);
                }
                let spec = RouteSpec {
                    path: blueprint.site.path(&route_file(name)),
                    mode: MODE,
                    routes: routes.clone(),
                    sources,
                    proxy: gate.proxy.clone(),
                };
                let resource = Resource { spec: Spec::Route(Box::new(spec)), after };
                resources.insert(Address::route(gateway, name), resource);
            }
        }
        Ok(())
    }
}

/// How long a proxy that follows labels may take to see a service's new containers, in milliseconds;
/// 0 for a service that none routes to.
pub fn settle_ms(blueprint: &Blueprint, project: &Project, name: &str) -> u64 {
    let labels = &project.services[name].labels;
    match blueprint.labels_route && labels.keys().any(|label| is_traefiks(label)) {
        true => THROTTLE_MS + MARGIN_MS,
        false => 0,
    }
}

impl Gate {
    /// Whether the proxy on a gateway reaches a host's containers of a service by their names.
    fn is_beside(&self, gateway: &str, host: &str, definition: &Object) -> bool {
        let on = networks(definition).unwrap_or_default();
        gateway == host && on.iter().any(|key| self.networks.contains(*key))
    }

    /// Gives the proxy the folder of routes.
    fn mount(&self, folder: &str, definition: &mut Object) {
        let mount = json!({
            "type": "bind", "source": folder, "target": self.target, "read_only": true,
            "bind": { "create_host_path": true },
        });
        push(definition, "volumes", [mount]);
        if !self.named {
            let flag = format!("--{DIRECTORY}={}", self.target);
            push(definition, "command", [flag.into()]);
        }
    }
}

fn is_traefiks(label: &str) -> bool {
    label.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("traefik."))
}

/// Whether an image is Traefik's, whatever registry it comes from.
fn runs_traefik(image: &Option<String>) -> bool {
    let Some(image) = image else { return false };
    let name = image.split('@').next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    name.split(':').next() == Some("traefik")
}

/// Reads the proxy's settings.
fn gate(blueprint: &Blueprint, project: &Project, name: &str) -> Result<Gate, Diagnostic> {
    let service = &project.services[name];
    let refuse = |message: String, help: &str| {
        Err(point(project, name, Diagnostic::error("route::proxy", message)).help(help))
    };
    let flags = service.command.as_deref().unwrap_or_default();
    if !flags.iter().any(|flag| flag.starts_with('-')) {
        return refuse(
            format!("`{name}` runs Traefik without a flag, so it can't be told where routes are"),
            "give its settings as flags under `command:`, or set `traefik: { routes: labels }`",
        );
    }
    let named = setting(flags, DIRECTORY);
    let target = named.clone().unwrap_or_else(|| TARGET.to_owned());
    if target.contains('$') || !target.starts_with('/') {
        return refuse(
            format!("`--{DIRECTORY}` of `{name}` is not an absolute path: {target}"),
            "name a folder of the container, such as /etc/traefik/dynamic",
        );
    }
    if service.volumes.iter().any(|mount| mount.target == target) {
        return refuse(
            format!("`{name}` mounts something at {target}, where the routes go"),
            "name another folder with `--providers.file.directory`, or set `traefik: { routes: \
             labels }`",
        );
    }
    let on = |value: Option<String>| value.is_some_and(|value| value.is_empty() || value == "true");
    let api = on(setting(flags, "api.insecure")).then(|| {
        let address = setting(flags, "entrypoints.traefik.address").unwrap_or_default();
        address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(8080)
    });
    let throttle = setting(flags, "providers.providersthrottleduration");
    let on = networks(&service.canonical).unwrap_or_default();
    Ok(Gate {
        proxy: Proxy {
            service: name.to_owned(),
            api,
            throttle_ms: throttle.and_then(|text| milliseconds(&text)).unwrap_or(THROTTLE_MS),
        },
        hosts: blueprint.placements[name].hosts.clone(),
        networks: on.into_iter().map(str::to_owned).collect(),
        target,
        named: named.is_some(),
    })
}

/// A setting among flags, as `--name=value` or `--name value`; without regard to case, as Traefik
/// reads them.
fn setting(flags: &[String], name: &str) -> Option<String> {
    flags.iter().enumerate().find_map(|(at, flag)| {
        let flag = flag.trim_start_matches('-');
        let (found, value) = flag.split_once('=').unwrap_or((flag, ""));
        if !found.eq_ignore_ascii_case(name) {
            return None;
        }
        let next = flags.get(at + 1).filter(|next| !next.starts_with('-'));
        Some(match (flag.contains('='), next) {
            (false, Some(next)) => next.clone(),
            _ => value.to_owned(),
        })
    })
}

/// A duration as Go writes it, or whole seconds.
fn milliseconds(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1000);
    }
    let nanoseconds = crate::config::compose::parse_duration(text).ok()?;
    (nanoseconds / 1_000_000).try_into().ok()
}

/// The routes of all services, each with names of its own.
fn lifted(blueprint: &Blueprint, project: &Project) -> (BTreeMap<String, Routes>, Vec<Diagnostic>) {
    let (mut routed, mut problems) = (BTreeMap::new(), Vec::new());
    // Who has which name: Traefik drops what two files define.
    let mut taken: BTreeMap<(String, String, String), (String, Value)> = BTreeMap::new();
    for name in blueprint.placements.keys().filter(|name| project.services.contains_key(*name)) {
        let mut problem = |message: String, help: &str| {
            let problem = Diagnostic::error("route::labels", message);
            problems.push(point(project, name, problem).help(help));
        };
        match lift(blueprint, project, name) {
            Ok(None) => {}
            Ok(Some(mut routes)) => {
                for twice in claim(name, &mut routes, &mut taken) {
                    problem(
                        twice,
                        "names of routers, services and middlewares are Traefik's as a whole",
                    );
                }
                routed.insert(name.clone(), routes);
            }
            Err(found) => {
                for message in found {
                    problem(format!("`{name}`: {message}"), "see the labels of the service");
                }
            }
        }
    }
    (routed, problems)
}

/// Notes the names that a service's routes define, and says which are others' already. The same
/// middleware may stand at several services; it is kept at the first.
fn claim(
    name: &str,
    routes: &mut Routes,
    taken: &mut BTreeMap<(String, String, String), (String, Value)>,
) -> Vec<String> {
    let mut twice = Vec::new();
    for (section, kinds) in routes.document.as_object_mut().into_iter().flatten() {
        for (kind, objects) in kinds.as_object_mut().into_iter().flatten() {
            let Some(objects) = objects.as_object_mut() else { continue };
            objects.retain(|object, value| {
                let key = (section.clone(), kind.clone(), object.clone());
                let Some((owner, same)) = taken.get(&key) else {
                    taken.insert(key, (name.to_owned(), value.clone()));
                    return true;
                };
                if same == value && !matches!(kind.as_str(), "routers" | "services") {
                    return false;
                }
                twice.push(format!(
                    "`traefik.{section}.{kind}.{object}` is defined by `{owner}` and by `{name}`"
                ));
                true
            });
        }
        if let Some(kinds) = kinds.as_object_mut() {
            kinds.retain(|_, objects| objects.as_object().is_none_or(|o| !o.is_empty()));
        }
    }
    twice
}

/// A service's routes.
fn lift(
    blueprint: &Blueprint,
    project: &Project,
    name: &str,
) -> Result<Option<Routes>, Vec<String>> {
    let service = &project.services[name];
    let mut labels = BTreeMap::new();
    for (label, value) in service.labels.iter().filter(|(label, _)| is_traefiks(label)) {
        if let Some(variable) = references(&Value::from(value.as_str())).into_iter().next() {
            return Err(vec![format!(
                "`{label}` depends on `{variable}`, which only the host knows; set it under \
                 `variables:` of the environment"
            )]);
        }
        labels.insert(label.clone(), value.replace("$$", "$"));
    }
    let exposed = service.canonical.get("expose").and_then(Value::as_array).into_iter().flatten();
    let exposed = exposed.filter_map(|port| {
        let text = port.as_str().map_or_else(|| port.to_string(), str::to_owned);
        text.trim_end_matches("/tcp").parse::<u16>().ok()
    });
    let targets = service.ports.iter().filter_map(|port| port.target);
    let exposed: Vec<u16> = exposed.chain(targets).collect();
    let project_name = blueprint.site.compose_project();
    let routes = traefik::lift(&project_name, name, &labels, &exposed)?;
    let lost: Vec<String> =
        routes.iter().flat_map(|routes| &routes.backends).filter_map(unreachable).collect();
    if lost.is_empty() { Ok(routes) } else { Err(lost) }
}

/// Why a backend can't be given servers.
fn unreachable(backend: &Backend) -> Option<String> {
    let Backend { section, name, port, .. } = backend;
    match (section, port) {
        (Section::Udp, _) => Some(format!(
            "the UDP service {name} can't be given servers in a file; `traefik: {{ routes: labels \
             }}` leaves it to Traefik"
        )),
        (_, None) => Some(format!(
            "which port {name} is reached at can't be told; write \
             `traefik.{}.services.{name}.loadbalancer.server.port`, or `expose:`",
            section.name()
        )),
        _ => None,
    }
}
