//! Routes: how a proxy on a gateway reaches the containers of a service, as a file of Traefik's file
//! provider. The servers are what a file in force and the containers that run come to.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ContainerRef, is_default, stamp};

/// A part of Traefik's configuration that routes to servers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// Routed by request.
    Http,
    /// Routed by connection.
    Tcp,
    /// Routed by entry point.
    Udp,
}

impl Section {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Http, Self::Tcp, Self::Udp];

    /// Its name in a configuration and in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A load balancer that wants servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Backend {
    /// Where it is configured.
    pub section: Section,
    /// Its name there.
    pub name: String,
    /// The containers' port: the one that the labels name, else the lowest that they expose.
    pub port: Option<u16>,
    /// What the servers speak; `http` unless the labels say otherwise. Without meaning for TCP and
    /// UDP.
    pub scheme: String,
    /// What each server carries besides its address: `weight`, `preservePath`, `tls`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub server: Map<String, Value>,
}

impl Backend {
    /// What tells it from the others of the same routes: an HTTP and a TCP service may share a name.
    pub fn id(&self) -> String {
        format!("{}/{}", self.section.name(), self.name)
    }
}

/// How a Compose service is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Routes {
    /// The Compose service.
    pub service: String,
    /// The Docker network on which the labels want the proxy to reach it.
    pub network: Option<String>,
    /// The sections `http`, `tcp`, `udp` and `tls`; load balancers are without servers.
    pub document: Value,
    /// The load balancers, in order.
    pub backends: Vec<Backend>,
}

impl Routes {
    /// The complete configuration for one file. `servers` gives the addresses (`10.0.0.5:8080`) of
    /// each backend by its `id`.
    ///
    /// A backend without servers is one that answers for itself: over HTTP with 503, as a balancer
    /// of nothing; over TCP and UDP it can't be said, so its routers are left out.
    pub fn render(&self, servers: &BTreeMap<String, Vec<String>>) -> Value {
        let mut document = self.document.clone();
        for backend in &self.backends {
            let addresses = servers.get(&backend.id()).map(Vec::as_slice).unwrap_or_default();
            let Some(section) =
                document.get_mut(backend.section.name()).and_then(Value::as_object_mut)
            else {
                continue;
            };
            if addresses.is_empty() && backend.section != Section::Http {
                backend.leave(section);
                continue;
            }
            for (_, service) in
                section_objects(section, "services").filter(|(n, _)| **n == backend.name)
            {
                if addresses.is_empty() {
                    *service = Map::from_iter([("weighted".into(), json!({ "services": [] }))]);
                } else if let Some(Value::Object(balancer)) = service.get_mut("loadBalancer") {
                    let list = addresses.iter().map(|address| backend.entry(address)).collect();
                    balancer.insert("servers".into(), list);
                }
            }
        }
        if let Some(sections) = document.as_object_mut() {
            // Traefik refuses a file with an empty section.
            sections.retain(|_, section| section.as_object().is_some_and(|s| !s.is_empty()));
        }
        document
    }
}

impl Backend {
    fn entry(&self, address: &str) -> Value {
        let mut entry = self.server.clone();
        match self.section {
            Section::Http => {
                entry.insert("url".into(), format!("{}://{address}", self.scheme).into())
            }
            _ => entry.insert("address".into(), address.into()),
        };
        entry.into()
    }

    /// Takes the service and its routers out of a section.
    fn leave(&self, section: &mut Map<String, Value>) {
        if let Some(services) = section.get_mut("services").and_then(Value::as_object_mut) {
            services.remove(&self.name);
        }
        if let Some(routers) = section.get_mut("routers").and_then(Value::as_object_mut) {
            routers.retain(|_, router| {
                let service = router.get("service").and_then(Value::as_str).unwrap_or_default();
                service.strip_suffix("@file").unwrap_or(service) != self.name
            });
        }
        section.retain(|_, objects| objects.as_object().is_some_and(|o| !o.is_empty()));
    }
}

/// The named objects of one kind in a section, e.g. its services.
pub fn section_objects<'a>(
    content: &'a mut Map<String, Value>,
    kind: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Map<String, Value>)> {
    let all = content.get_mut(kind).and_then(Value::as_object_mut).into_iter().flatten();
    all.filter_map(|(name, object)| Some((name, object.as_object_mut()?)))
}

/// The file of a service's routes on one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RouteSpec {
    /// Its absolute path on the gateway.
    pub path: String,
    /// The permission bits.
    pub mode: u32,
    /// What is routed, without servers.
    pub routes: Routes,
    /// The hosts whose containers serve, and how the gateway reaches them.
    pub sources: BTreeMap<String, Reach>,
    /// The proxy that reads the file.
    pub proxy: Proxy,
}

/// How a gateway reaches the containers of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Reach {
    /// They share a Docker network with the proxy: each answers to the first characters of its id,
    /// which stay the same when it is restarted or renamed.
    Network,
    /// Each is published on the host's mesh address, on a port that Docker picked.
    Mesh {
        /// The address.
        ip: String,
    },
}

/// The proxy on a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Proxy {
    /// Its Compose service.
    pub service: String,
    /// The port in its container on which its API answers without a password, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<u16>,
    /// How long it may put a changed configuration off, in milliseconds
    /// (`providers.providersThrottleDuration`).
    pub throttle_ms: u64,
}

/// Which containers of a host a route is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// The healthy ones but these.
    Besides(Vec<ContainerRef>),
    /// Of some, those that still run.
    Only {
        /// Which.
        these: Vec<ContainerRef>,
        /// How many of the others, the oldest, are picked, too.
        #[serde(default, skip_serializing_if = "is_default")]
        spare: u32,
    },
}

impl Pick {
    /// The containers that are picked, of those that run: the oldest first, each with whether it is
    /// healthy.
    pub fn from<'a, T>(
        &self,
        running: impl IntoIterator<Item = (&'a str, bool, T)>,
    ) -> Vec<(&'a str, T)> {
        let named = |list: &[ContainerRef], id: &str| list.iter().any(|listed| listed.id == id);
        let mut spared = 0;
        let mut takes = |id: &str, healthy: bool| match self {
            Pick::Besides(left_out) => healthy && !named(left_out, id),
            Pick::Only { these, .. } if named(these, id) => true,
            Pick::Only { spare, .. } => {
                spared += 1;
                spared <= *spare
            }
        };
        let picked = running.into_iter().filter(|(id, healthy, _)| takes(id, *healthy));
        picked.map(|(id, _, with)| (id, with)).collect()
    }
}

/// The ports that a container has published: its own TCP port to the host's.
pub type Published = BTreeMap<u16, u16>;

/// The servers of a route: by host, by backend, in order.
pub type Servers = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// The folder of the files of routes, below an environment's directory.
pub const ROUTES_FOLDER: &str = "routes";

/// The file of a service's routes, below an environment's directory.
pub fn route_file(service: &str) -> String {
    format!("{ROUTES_FOLDER}/{service}.yml")
}

/// The service whose routes are in a file, by its path below an environment's directory.
pub fn routed_service(path: &str) -> Option<&str> {
    let name = path.strip_prefix(ROUTES_FOLDER)?.strip_prefix('/')?.strip_suffix(".yml")?;
    (!name.contains('/')).then_some(name)
}

/// Two opening braces, to a Go template.
const BRACES: &str = "{{`{{`}}";
/// How many characters of its id a container answers to.
const SHORT_ID: usize = 12;

impl RouteSpec {
    /// The servers that containers of a host make.
    pub fn servers<'a>(
        &self,
        host: &str,
        containers: impl Iterator<Item = (&'a str, &'a Published)>,
    ) -> BTreeMap<String, Vec<String>> {
        let mut servers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let Some(reach) = self.sources.get(host) else { return servers };
        for (id, published) in containers {
            for backend in &self.routes.backends {
                let port = backend.port.unwrap_or_default();
                let address = match reach {
                    Reach::Network => Some(format!("{}:{port}", &id[..SHORT_ID.min(id.len())])),
                    Reach::Mesh { ip } => published.get(&port).map(|port| authority(ip, *port)),
                };
                servers.entry(backend.id()).or_default().extend(address);
            }
        }
        servers.values_mut().for_each(|addresses| addresses.sort());
        servers
    }

    /// The file's text.
    pub fn text(&self, servers: &Servers) -> String {
        let mut together: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (backend, addresses) in servers.values().flatten() {
            together.entry(backend.clone()).or_default().extend(addresses.iter().cloned());
        }
        let document = self.routes.render(&together);
        // JSON is YAML, and what we can read back without a parser of our own. Writing a value that
        // is one already cannot fail.
        let text = serde_json::to_string_pretty(&document).unwrap_or_default();
        // Traefik takes its files for Go templates.
        stamp::stamped(&(text.replace("{{", BRACES) + "\n"))
    }

    /// The servers that a text like ours lists, each under the host whose address it has. Nothing
    /// where it is not like ours.
    pub fn read(&self, text: &str) -> Servers {
        let text = stamp::body(text).replace(BRACES, "{{");
        let document: Value = serde_json::from_str(&text).unwrap_or_default();
        let mut servers = Servers::new();
        for backend in &self.routes.backends {
            let service = &document[backend.section.name()]["services"][&backend.name];
            let listed = service["loadBalancer"]["servers"].as_array().into_iter().flatten();
            for entry in listed {
                let entry = entry.get("url").or_else(|| entry.get("address"));
                let address = entry.and_then(Value::as_str).unwrap_or_default();
                let address = address.split_once("://").map_or(address, |(_, rest)| rest);
                if let Some(host) = self.host_of(address) {
                    let of_host = servers.entry(host.to_owned()).or_default();
                    of_host.entry(backend.id()).or_default().push(address.to_owned());
                }
            }
        }
        servers
    }

    /// The host that an address leads to.
    fn host_of(&self, address: &str) -> Option<&str> {
        let of_mesh = self.sources.iter().find(|(_, reach)| match reach {
            Reach::Mesh { ip } => address.starts_with(&authority(ip, "")),
            Reach::Network => false,
        });
        let beside = || self.sources.iter().find(|(_, reach)| **reach == Reach::Network);
        let ours = |address: &str| {
            let name = address.split(':').next().unwrap_or_default();
            name.len() == SHORT_ID && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let found = of_mesh.or_else(|| beside().filter(|_| ours(address)));
        found.map(|(host, _)| host.as_str())
    }
}

/// An IP address and a port as one text.
fn authority(ip: &str, port: impl fmt::Display) -> String {
    match ip.contains(':') {
        true => format!("[{ip}]:{port}"),
        false => format!("{ip}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RouteSpec {
        let backend = Backend {
            section: Section::Http,
            name: "api".into(),
            port: Some(8080),
            scheme: "http".into(),
            server: Map::new(),
        };
        let document = json!({ "http": {
            "routers": { "api": { "rule": "PathPrefix(`/`)", "service": "api" } },
            "services": { "api": { "loadBalancer": {} } },
        } });
        let mesh = |ip: &str| Reach::Mesh { ip: ip.into() };
        RouteSpec {
            path: "/var/lib/stagecraft/shop/staging/routes/api.yml".into(),
            mode: 0o644,
            routes: Routes {
                service: "api".into(),
                network: None,
                document,
                backends: vec![backend],
            },
            sources: [
                ("gw-1".to_owned(), Reach::Network),
                ("app-1".to_owned(), mesh("10.0.0.1")),
                ("app-2".to_owned(), mesh("10.0.0.11")),
                ("app-3".to_owned(), mesh("fd7a::1")),
            ]
            .into(),
            proxy: Proxy { service: "traefik".into(), api: None, throttle_ms: 2000 },
        }
    }

    #[test]
    fn a_text_reads_back_as_it_was_made() {
        let spec = spec();
        let id = "0123456789abcdef0123";
        let published = |port| Published::from([(8080, port)]);
        let mut servers = Servers::new();
        for (host, port) in [("gw-1", 1), ("app-1", 2), ("app-2", 3), ("app-3", 4)] {
            let ports = published(port);
            servers.insert(host.into(), spec.servers(host, [(id, &ports)].into_iter()));
        }
        let text = spec.text(&servers);
        for address in ["http://0123456789ab:8080", "10.0.0.1:2", "10.0.0.11:3", "[fd7a::1]:4"] {
            assert!(text.contains(&format!("{address}\"")), "{address} in {text}");
        }
        assert_eq!(spec.read(&text), servers);
        assert!(stamp::is_intact(&text));
    }

    #[test]
    fn a_file_of_routes_is_known_by_its_name() {
        assert_eq!(routed_service(&route_file("api")), Some("api"));
        for other in ["routes/a/b.yml", "routes/api.yaml", "routesapi.yml", "api.yml"] {
            assert_eq!(routed_service(other), None, "{other}");
        }
    }

    #[test]
    fn a_container_that_published_nothing_serves_nobody_from_afar() {
        let nothing = Published::new();
        let servers = spec().servers("app-1", [("0123456789abcdef", &nothing)].into_iter());
        assert_eq!(servers["http/api"], Vec::<String>::new());
    }

    #[test]
    fn what_a_person_wrote_is_nobodys_server() {
        assert_eq!(spec().read("http: {}"), Servers::new());
        let foreign = spec().text(&Servers::from([(
            "app-9".into(),
            [("http/api".to_owned(), vec!["10.9.9.9:80".to_owned()])].into(),
        )]));
        assert_eq!(spec().read(&foreign), Servers::new());
    }
}
