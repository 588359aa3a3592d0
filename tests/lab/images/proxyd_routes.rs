//! What the proxy knows: routers, services and their servers, read from a folder of files or from
//! containers' labels, as Traefik's two providers do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::data::{Data, map, parse};

#[derive(Debug)]
pub struct Router {
    pub name: String,
    pub entry_points: Vec<String>,
    pub middlewares: Vec<String>,
    pub service: String,
    pub text: String,
    pub rule: Option<Rule>,
    pub priority: f64,
    pub error: Option<String>,
}

#[derive(Debug)]
pub struct Service {
    /// `http://10.0.0.5:8080`, or `10.0.0.5:5432` over TCP.
    pub servers: Vec<String>,
    pub weighted: bool,
    pub turn: AtomicUsize,
}

/// One configuration. A request keeps the one that it began with.
#[derive(Debug, Default)]
pub struct Routes {
    pub provider: &'static str,
    pub http: Section,
    pub tcp: Section,
    /// What a middleware does to the path; those of other kinds do nothing here.
    pub paths: BTreeMap<String, Data>,
}

#[derive(Debug, Default)]
pub struct Section {
    /// The ones that are asked first come first.
    pub routers: Vec<Router>,
    pub services: BTreeMap<String, Service>,
}

impl Service {
    pub fn next(&self) -> Option<&str> {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        self.servers.get(turn % self.servers.len().max(1)).map(String::as_str)
    }
}

// ---- rules --------------------------------------------------------------------------------------

#[derive(Debug, PartialEq)]
pub enum Rule {
    All(Vec<Rule>),
    Any(Vec<Rule>),
    Not(Box<Rule>),
    Host(String),
    Path(String),
    PathPrefix(String),
    Method(String),
    Header(String, String),
    /// `HostSNI(*)`: any connection.
    Everything,
}

pub struct Asked<'a> {
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    pub headers: &'a [(String, String)],
}

impl Rule {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let rule = Self::any(&mut rest)?;
        match rest.trim() {
            "" => Ok(rule),
            rest => Err(format!("error while parsing rule {text}: not expected: {rest}")),
        }
    }

    fn any(rest: &mut &str) -> Result<Self, String> {
        let mut rules = vec![Self::all(rest)?];
        while skip(rest, "||") {
            rules.push(Self::all(rest)?);
        }
        Ok(if rules.len() == 1 { rules.remove(0) } else { Self::Any(rules) })
    }

    fn all(rest: &mut &str) -> Result<Self, String> {
        let mut rules = vec![Self::one(rest)?];
        while skip(rest, "&&") {
            rules.push(Self::one(rest)?);
        }
        Ok(if rules.len() == 1 { rules.remove(0) } else { Self::All(rules) })
    }

    fn one(rest: &mut &str) -> Result<Self, String> {
        if skip(rest, "!") {
            return Ok(Self::Not(Box::new(Self::one(rest)?)));
        }
        if skip(rest, "(") {
            let rule = Self::any(rest)?;
            return if skip(rest, ")") { Ok(rule) } else { Err("no `)`".into()) };
        }
        let open = rest.find('(').ok_or_else(|| format!("no matcher in {rest:?}"))?;
        let name = rest[..open].trim().to_owned();
        *rest = &rest[open + 1..];
        let mut arguments = Vec::new();
        while !skip(rest, ")") {
            arguments.push(argument(rest)?);
            skip(rest, ",");
        }
        match (name.to_lowercase().as_str(), arguments.as_slice()) {
            ("host", [host]) => Ok(Self::Host(host.to_lowercase())),
            ("path", [path]) => Ok(Self::Path(path.clone())),
            ("pathprefix", [path]) => Ok(Self::PathPrefix(path.clone())),
            ("method", [method]) => Ok(Self::Method(method.clone())),
            ("header", [name, value]) => Ok(Self::Header(name.to_lowercase(), value.clone())),
            ("hostsni", [any]) if any == "*" => Ok(Self::Everything),
            _ => Err(format!("unsupported function: {name} with {} arguments", arguments.len())),
        }
    }

    pub fn matches(&self, asked: &Asked) -> bool {
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.matches(asked)),
            Self::Any(rules) => rules.iter().any(|rule| rule.matches(asked)),
            Self::Not(rule) => !rule.matches(asked),
            Self::Host(host) => asked.host.eq_ignore_ascii_case(host),
            Self::Path(path) => asked.path == path,
            Self::PathPrefix(prefix) => asked.path.starts_with(prefix.as_str()),
            Self::Method(method) => asked.method.eq_ignore_ascii_case(method),
            Self::Header(name, value) => asked.headers.iter().any(|(n, v)| n == name && v == value),
            Self::Everything => true,
        }
    }
}

fn skip(rest: &mut &str, what: &str) -> bool {
    *rest = rest.trim_start();
    let there = rest.starts_with(what);
    *rest = if there { &rest[what.len()..] } else { rest };
    there
}

fn argument(rest: &mut &str) -> Result<String, String> {
    *rest = rest.trim_start();
    let quote = rest.chars().next().filter(|c| "`\"'".contains(*c)).ok_or("no quoted argument")?;
    let end = rest[1..].find(quote).ok_or("an argument does not end")?;
    let value = rest[1..=end].to_owned();
    *rest = &rest[end + 2..];
    Ok(value)
}

// ---- reading a configuration --------------------------------------------------------------------

impl Routes {
    /// Adds what one file or container says. A name that another has taken stays the other's.
    fn add(&mut self, document: &Data) -> Result<(), String> {
        for (name, middleware) in
            document.at(&["http", "middlewares"]).map_or(&[][..], Data::entries)
        {
            self.paths.entry(name.clone()).or_insert_with(|| middleware.clone());
        }
        self.http.add(document.get("http"), "url")?;
        self.tcp.add(document.get("tcp"), "address")
    }

    fn finish(mut self) -> Self {
        let middlewares: BTreeSet<String> = self.paths.keys().cloned().collect();
        self.http.finish(self.provider, Some(&middlewares));
        self.tcp.finish(self.provider, None);
        self
    }
}

impl Section {
    fn add(&mut self, section: Option<&Data>, address: &str) -> Result<(), String> {
        let Some(section) = section else { return Ok(()) };
        // What Traefik refuses, and with it every file.
        if section.entries().is_empty() {
            return Err("a section cannot be a standalone element".into());
        }
        for (name, _) in section.entries() {
            if !matches!(
                name.as_str(),
                "routers" | "services" | "middlewares" | "serversTransports"
            ) {
                return Err(format!("field not found, node: {name}"));
            }
        }
        for (name, router) in section.get("routers").map_or(&[][..], Data::entries) {
            for (option, _) in router.entries() {
                const KNOWN: [&str; 8] = [
                    "entryPoints",
                    "middlewares",
                    "service",
                    "rule",
                    "ruleSyntax",
                    "priority",
                    "tls",
                    "observability",
                ];
                if !KNOWN.contains(&option.as_str()) {
                    return Err(format!("field not found, node: {option}"));
                }
            }
            if self.routers.iter().any(|known| known.name == *name) {
                println!("router {name} is there already");
                continue;
            }
            let texts = |key| router.get(key).map(Data::texts).unwrap_or_default();
            let text = router.get("rule").and_then(Data::text).unwrap_or("").to_owned();
            let (rule, error) = match Rule::parse(&text) {
                Ok(rule) => (Some(rule), None),
                Err(error) => (None, Some(error)),
            };
            let priority = router.get("priority").and_then(Data::number).filter(|p| *p != 0.0);
            self.routers.push(Router {
                name: name.clone(),
                entry_points: texts("entryPoints"),
                middlewares: texts("middlewares"),
                service: router.get("service").and_then(Data::text).unwrap_or("").to_owned(),
                priority: priority.unwrap_or(text.len() as f64),
                text,
                rule,
                error,
            });
        }
        for (name, service) in section.get("services").map_or(&[][..], Data::entries) {
            let weighted = service.get("weighted").is_some();
            if !weighted && service.get("loadBalancer").is_none() {
                return Err(format!("service {name}: only `loadBalancer` is understood here"));
            }
            let servers = service.at(&["loadBalancer", "servers"]).map_or(&[][..], Data::items);
            let servers =
                servers.iter().filter_map(|s| s.get(address)?.text()).map(str::to_owned).collect();
            let service = Service { servers, weighted, turn: AtomicUsize::new(0) };
            self.services.entry(name.clone()).or_insert(service);
        }
        Ok(())
    }

    fn finish(&mut self, provider: &str, middlewares: Option<&BTreeSet<String>>) {
        self.routers.sort_by(|a, b| b.priority.total_cmp(&a.priority).then(a.name.cmp(&b.name)));
        let local = |name: &str| {
            name.strip_suffix(provider).and_then(|n| n.strip_suffix('@')).unwrap_or(name).to_owned()
        };
        for router in &mut self.routers {
            router.service = local(&router.service);
            router.middlewares = router.middlewares.iter().map(|name| local(name)).collect();
            let unknown = |name: &&String| middlewares.is_some_and(|known| !known.contains(*name));
            if let Some(name) = router.middlewares.iter().find(unknown) {
                router
                    .error
                    .get_or_insert(format!("middleware \"{name}@{provider}\" does not exist"));
            }
            let internal = router.service.ends_with("@internal");
            if !internal && !self.services.contains_key(&router.service) {
                let name = &router.service;
                router
                    .error
                    .get_or_insert(format!("the service \"{name}@{provider}\" does not exist"));
            }
        }
    }
}

// ---- the file provider --------------------------------------------------------------------------

/// The folder's files by name. What can't be read is not there.
pub fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known = [".yml", ".yaml", ".json"].iter().any(|end| name.ends_with(end));
        if path.is_dir() {
            let below = self::files(&path).into_iter();
            files.extend(below.map(|(inner, text)| (format!("{name}/{inner}"), text)));
        } else if known && let Ok(text) = fs::read_to_string(&path) {
            files.insert(name, text);
        }
    }
    files
}

/// One broken file, and Traefik takes none of them.
pub fn from_files(files: &BTreeMap<String, String>) -> Result<Routes, String> {
    let mut routes = Routes { provider: "file", ..Routes::default() };
    for (name, text) in files {
        // Files are templates; the one that means two braces is all that is needed here.
        let mark = "\u{1}";
        let text = text.replace("{{`{{`}}", mark);
        if text.contains("{{") {
            return Err(format!("{name}: a template"));
        }
        let document = parse(&text.replace(mark, "{{")).map_err(|e| format!("{name}: {e}"))?;
        routes.add(&document).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(routes.finish())
}

// ---- the Docker provider ------------------------------------------------------------------------

pub struct Docker {
    pub socket: String,
    pub network: String,
    pub exposed_by_default: bool,
}

impl Docker {
    fn ask(&self, path: &str) -> io::Result<BufReader<UnixStream>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        // HTTP/1.0, so that nothing comes in chunks.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status)?;
        if status.split(' ').nth(1) != Some("200") {
            return Err(io::Error::other(format!("{path}: {}", status.trim())));
        }
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        Ok(reader)
    }

    fn read(&self, path: &str) -> io::Result<Data> {
        let mut text = String::new();
        self.ask(path)?.read_to_string(&mut text)?;
        parse(&text).map_err(io::Error::other)
    }

    /// Calls `changed` for every event of a container, until the engine goes away.
    pub fn follow(&self, changed: impl Fn()) -> io::Result<()> {
        let mut events = self.ask("/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D")?;
        changed();
        let mut line = String::new();
        while events.read_line(&mut line)? > 0 {
            let event = parse(&line).unwrap_or(Data::Null);
            let action = event.get("Action").and_then(Data::text).unwrap_or("");
            if action == "start" || action == "die" || action.starts_with("health_status") {
                changed();
            }
            line.clear();
        }
        Ok(())
    }

    /// The running and, where they can be, healthy containers' labels.
    pub fn routes(&self) -> io::Result<Routes> {
        let mut routes = Routes { provider: "docker", ..Routes::default() };
        for listed in self.read("/containers/json")?.items() {
            let id = listed.get("Id").and_then(Data::text).unwrap_or("");
            // It may be gone since it was listed.
            let Ok(container) = self.read(&format!("/containers/{id}/json")) else { continue };
            if let Err(error) = self.add(&mut routes, &container) {
                println!("container {id}: {error}");
            }
        }
        Ok(routes.finish())
    }

    fn add(&self, routes: &mut Routes, container: &Data) -> Result<(), String> {
        let state = |path: &[&str]| container.at(path).and_then(Data::text).unwrap_or("");
        if state(&["State", "Status"]) != "running" {
            return Ok(());
        }
        if !matches!(state(&["State", "Health", "Status"]), "" | "none" | "healthy") {
            return Ok(());
        }
        let labels: BTreeMap<String, String> = container
            .at(&["Config", "Labels"])
            .map_or(&[][..], Data::entries)
            .iter()
            .filter_map(|(name, value)| Some((name.to_lowercase(), value.text()?.to_owned())))
            .collect();
        let label = |name: &str| labels.get(name).map(String::as_str);
        let enabled = label("traefik.enable").map(|on| on == "true");
        if !enabled.unwrap_or(self.exposed_by_default) {
            return Ok(());
        }
        let wanted = label("traefik.docker.network").unwrap_or(&self.network);
        let networks =
            container.at(&["NetworkSettings", "Networks"]).map_or(&[][..], Data::entries);
        let network = networks.iter().find(|(n, _)| n == wanted).or(networks.first());
        let ip = network.and_then(|(_, n)| n.get("IPAddress")?.text()).unwrap_or("");
        if ip.is_empty() {
            return Err("it has no address".into());
        }
        let exposed = container.at(&["Config", "ExposedPorts"]).map_or(&[][..], Data::entries);
        let lowest =
            exposed.iter().filter_map(|(p, _)| p.split('/').next()?.parse::<u16>().ok()).min();

        // name -> option -> value
        let mut routers: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        let mut services: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for (label, value) in &labels {
            let Some(rest) = label.strip_prefix("traefik.http.") else { continue };
            let mut parts = rest.splitn(3, '.');
            let (Some(kind), Some(name), Some(option)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            match kind {
                "routers" => routers.entry(name).or_default().insert(option, value),
                "services" => services.entry(name).or_default().insert(option, value),
                _ => None,
            };
        }
        let part = |name: &str| label(&format!("com.docker.compose.{name}")).unwrap_or("");
        let implied = format!("{}-{}", part("service"), part("project"));
        if services.is_empty() {
            services.insert(&implied, BTreeMap::new());
        }
        for (name, options) in &services {
            let option = |name: &str| options.get(format!("loadbalancer.server.{name}").as_str());
            let port = option("port").and_then(|port| port.parse().ok()).or(lowest);
            let port = port.ok_or("port is missing")?;
            let scheme = option("scheme").copied().unwrap_or("http");
            let service = routes.http.services.entry((*name).to_owned()).or_insert_with(|| {
                Service { servers: Vec::new(), weighted: false, turn: AtomicUsize::new(0) }
            });
            service.servers.push(format!("{scheme}://{ip}:{port}"));
        }
        let only = services.keys().next().filter(|_| services.len() == 1).copied();
        let routers = routers.into_iter().map(|(name, options)| {
            let list = |key: &str| -> Vec<String> {
                let items = options.get(key).copied().unwrap_or("").split(',').map(str::trim);
                items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
            };
            let service = options.get("service").copied().or(only).unwrap_or("");
            let mut router = vec![
                ("rule".to_owned(), Data::from(*options.get("rule").unwrap_or(&""))),
                ("service".to_owned(), service.into()),
                ("entryPoints".to_owned(), list("entrypoints").into()),
            ];
            if let Some(priority) = options.get("priority") {
                router.push(("priority".to_owned(), (*priority).into()));
            }
            (name.to_owned(), Data::Map(router))
        });
        // The other replicas say the same.
        let known: BTreeSet<&str> = routes.http.routers.iter().map(|r| r.name.as_str()).collect();
        let routers: Vec<_> = routers.filter(|(name, _)| !known.contains(name.as_str())).collect();
        if routers.is_empty() {
            return Ok(());
        }
        routes.add(&map([("http", map([("routers", Data::Map(routers))]))]))
    }
}
