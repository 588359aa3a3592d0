//! The configurations that a seed draws, the changes that people make to them, and the files that
//! they are written to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};
use stagecraft::model::Site;
use stagecraft::world::secrets::Secrets;

use crate::rng::Rng;

/// The environment's name.
pub const ENVIRONMENT: &str = "test";
const NAMES: [&str; 5] = ["api", "web", "worker", "cache", "db"];
const KEYS: [&str; 3] = ["DB_PASSWORD", "TOKEN", "LEVEL"];

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    pub version: u64,
    pub replicas: u32,
    pub hosts: BTreeSet<String>,
    pub stop_first: bool,
    pub healthcheck: bool,
    pub volume: bool,
    pub fixed_port: bool,
    pub max_parallel: u32,
    pub monitor_s: u64,
    pub restart: &'static str,
    pub depends_on: Option<&'static str>,
    /// Env keys that it uses.
    pub keys: BTreeSet<&'static str>,
    /// A literal that changes the definition and nothing else.
    pub note: u64,
    /// Whether the proxy routes to it.
    pub routed: bool,
    pub batch: Option<u64>,
    pub canary: Option<u64>,
    pub pauses: bool,
    /// Whether a command runs before it rolls.
    pub command: bool,
}

/// A configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Shop {
    pub hosts: Vec<String>,
    pub services: BTreeMap<&'static str, Service>,
    pub secrets: BTreeMap<String, String>,
    /// The version of the service whose image is built here, if there is one.
    pub tag: Option<u64>,
    /// A number that goes up with every new version.
    pub latest: u64,
    /// Networks' second definition.
    pub internal: bool,
    /// The hosts on which the proxy runs; none where there is no proxy.
    pub gateways: BTreeSet<String>,
}

/// Where everything is.
pub fn site() -> Site {
    Site {
        project: "shop".into(),
        environment: ENVIRONMENT.into(),
        env_path: Some("/etc/shop/env".into()),
    }
}

/// An image's reference.
pub fn image(service: &str, version: u64) -> String {
    format!("registry.test/{service}:{version}")
}

impl Shop {
    /// A shop of one to three hosts and one to four services.
    pub fn draw(rng: &mut Rng) -> Self {
        let hosts: Vec<String> = (1..=rng.between(1, 3)).map(|n| format!("h{n}")).collect();
        let secrets = KEYS.iter().map(|key| ((*key).to_owned(), format!("{key}-secret-1")));
        let mut shop = Shop {
            hosts,
            services: BTreeMap::new(),
            secrets: secrets.collect(),
            tag: rng.chance(30).then_some(1),
            latest: 1,
            internal: false,
            gateways: BTreeSet::new(),
        };
        if rng.chance(50) {
            shop.gateways = shop.draw_hosts(rng);
        }
        for _ in 0..rng.between(1, 4) {
            shop.add(rng);
        }
        shop
    }

    fn add(&mut self, rng: &mut Rng) {
        let name = NAMES[rng.index(NAMES.len())];
        if self.services.contains_key(name) {
            return;
        }
        let hosts = self.draw_hosts(rng);
        // Only on the same hosts: a dependency elsewhere needs ports, which have tests of their own.
        let earlier: Vec<&'static str> = self
            .services
            .iter()
            .filter(|(other, service)| **other < name && service.hosts.is_superset(&hosts))
            .map(|(other, _)| *other)
            .collect();
        let keys = KEYS.iter().copied().filter(|_| rng.chance(30)).collect();
        let service = Service {
            version: 1,
            replicas: rng.between(1, 3) as u32,
            stop_first: rng.chance(20),
            healthcheck: rng.chance(75),
            volume: rng.chance(25),
            fixed_port: false,
            max_parallel: rng.between(1, 2) as u32,
            monitor_s: if rng.chance(20) { 3 } else { 0 },
            restart: rng.pick(&["always", "unless-stopped", "on-failure:3", "no"]).unwrap_or(&"no"),
            depends_on: rng.pick(&earlier).copied().filter(|_| rng.chance(50)),
            keys,
            note: 0,
            routed: rng.chance(60),
            batch: rng.chance(30).then(|| rng.between(1, 3)),
            canary: rng.chance(20).then(|| rng.between(1, 2)),
            pauses: rng.chance(30),
            command: rng.chance(25),
            hosts,
        };
        let mut service = service;
        if service.replicas == 1 && rng.chance(15) {
            service.fixed_port = true;
        }
        self.services.insert(name, service);
    }

    fn draw_hosts(&self, rng: &mut Rng) -> BTreeSet<String> {
        let mut hosts: BTreeSet<String> =
            self.hosts.iter().filter(|_| rng.chance(55)).cloned().collect();
        if hosts.is_empty() {
            hosts.extend(rng.pick(&self.hosts).cloned());
        }
        hosts
    }

    fn some(&self, rng: &mut Rng) -> Option<&'static str> {
        let names: Vec<&'static str> = self.services.keys().copied().collect();
        rng.pick(&names).copied()
    }

    /// Something that a person changes; says what.
    pub fn change(&mut self, rng: &mut Rng) -> String {
        let Some(name) = self.some(rng) else {
            self.add(rng);
            return "a service comes".into();
        };
        let hosts = self.draw_hosts(rng);
        self.latest += 1;
        let latest = self.latest;
        let only = self.services.len() == 1;
        let Some(service) = self.services.get_mut(name) else { return String::new() };
        match rng.between(0, 14) {
            0..=3 => {
                service.version = latest;
                format!("{name} has version {latest}")
            }
            4 | 5 => {
                service.replicas = if service.fixed_port { 1 } else { rng.between(1, 4) as u32 };
                format!("{name} has {} replicas", service.replicas)
            }
            6 => {
                let key = KEYS[rng.index(KEYS.len())];
                self.secrets.insert(key.into(), format!("{key}-secret-{latest}"));
                format!("{key} has another value")
            }
            7 if !only => {
                self.services.remove(name);
                for other in self.services.values_mut() {
                    other.depends_on = other.depends_on.filter(|on| *on != name);
                }
                format!("{name} is dropped")
            }
            8 => {
                service.hosts = hosts;
                for other in self.services.values_mut() {
                    other.depends_on = None;
                }
                format!("{name} moves to {:?}", self.services[name].hosts)
            }
            9 => {
                service.note = latest;
                format!("{name} has another variable")
            }
            10 => {
                service.stop_first = !service.stop_first;
                format!("{name} changes its order")
            }
            11 if self.tag.is_some() => {
                self.tag = Some(latest);
                format!("version {latest} is deployed")
            }
            13 => {
                service.routed = !service.routed;
                format!("{name} is {}routed", if service.routed { "" } else { "no longer " })
            }
            14 if !self.gateways.is_empty() => {
                self.gateways = hosts;
                format!("the proxy runs on {:?}", self.gateways)
            }
            12 if rng.chance(30) => {
                self.internal = !self.internal;
                "the networks are others".into()
            }
            _ => {
                self.add(rng);
                "a service may come".into()
            }
        }
    }

    /// Gives a service a version that is not good; the image.
    pub fn break_one(&mut self, rng: &mut Rng) -> Option<String> {
        let name = self.some(rng)?;
        self.latest += 1;
        let service = self.services.get_mut(name)?;
        service.version = self.latest;
        (!self.is_tagged(name)).then(|| image(name, self.latest))
    }

    /// Whether the version on the command line is the service's.
    pub fn is_tagged(&self, name: &str) -> bool {
        self.tag.is_some() && self.services.keys().next().is_some_and(|first| *first == name)
    }

    /// The image that a service must run.
    pub fn image(&self, name: &str) -> String {
        match self.tag {
            Some(tag) if self.is_tagged(name) => image(name, tag),
            _ => image(name, self.services[name].version),
        }
    }

    /// The version on the command line.
    pub fn version(&self) -> Option<String> {
        self.tag.map(|tag| tag.to_string())
    }

    /// The secrets as a process holds them.
    pub fn secrets(&self) -> Secrets {
        Secrets::new(self.secrets.clone())
    }

    /// Writes the files into a folder. JSON is YAML, too.
    pub fn write(&self, folder: &Path) {
        let put = |name: &str, text: String| {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        };
        put("docker-compose.yml", self.compose().to_string());
        put("stagecraft.yml", self.stagecraft().to_string());
        put("secrets.env", self.secrets().render());
    }

    fn compose(&self) -> Value {
        let mut volumes = Map::new();
        let mut services = Map::new();
        for (name, service) in &self.services {
            let tag = match self.is_tagged(name) {
                true => "${IMAGE_TAG:?}".to_owned(),
                false => service.version.to_string(),
            };
            let mut environment = Map::from_iter([("NOTE".to_owned(), json!(service.note))]);
            environment.extend(
                service.keys.iter().map(|key| ((*key).into(), json!(format!("${{{key}}}")))),
            );
            let mut definition = json!({
                "image": format!("registry.test/{name}:{tag}"),
                "restart": service.restart,
                "environment": environment,
                "deploy": {"replicas": service.replicas},
                "networks": ["back"],
            });
            if service.healthcheck {
                definition["healthcheck"] = json!({"test": ["CMD", "check"], "interval": "1s",
                    "timeout": "1s", "retries": 5, "start_period": "2s"});
            }
            if service.volume {
                definition["volumes"] = json!([format!("{name}_data:/data")]);
                volumes.insert(format!("{name}_data"), json!({}));
            }
            if service.fixed_port {
                let port = 8000 + NAMES.iter().position(|n| n == name).unwrap_or(0);
                definition["ports"] = json!([format!("{port}:80")]);
            }
            if service.routed {
                definition["expose"] = json!(["8080"]);
                definition["labels"] = json!({ format!("traefik.http.routers.{name}.rule"): format!("Host(`{name}.test`)") });
            }
            if let Some(on) = service.depends_on {
                let healthy = self.services.get(on).is_some_and(|on| on.healthcheck);
                let condition = if healthy { "service_healthy" } else { "service_started" };
                definition["depends_on"] = json!({on: {"condition": condition}});
            }
            services.insert((*name).to_owned(), definition);
        }
        if !self.gateways.is_empty() {
            let definition = json!({
                "image": image("traefik", 1),
                "command": ["--providers.file.directory=/routes"],
                "ports": ["80:80"],
                "networks": ["back"],
            });
            services.insert("traefik".into(), definition);
        }
        json!({"name": "shop", "services": services, "volumes": volumes,
               "networks": {"back": {"internal": self.internal}}})
    }

    fn stagecraft(&self) -> Value {
        let mut roles = Map::new();
        let mut services = Map::new();
        let number = |host: &str| host.trim_start_matches('h').parse::<u64>().unwrap_or(0);
        let listed = |hosts: &BTreeSet<String>| -> Vec<Value> {
            let address = |host: &String| format!("10.0.0.{}", number(host));
            hosts.iter().map(|host| json!({"name": host, "address": address(host)})).collect()
        };
        if !self.gateways.is_empty() {
            services.insert("traefik".into(), json!({"role": "gateway"}));
            roles.insert("gateway".into(), listed(&self.gateways).into());
        }
        for (name, service) in &self.services {
            let role = if *name == "db" { "db".to_owned() } else { format!("r-{name}") };
            let hosts = listed(&service.hosts);
            let mut rollout = json!({"max_parallel": service.max_parallel,
                "monitor": format!("{}s", service.monitor_s)});
            if service.stop_first {
                rollout["order"] = "stop-first".into();
            }
            if service.pauses {
                rollout["on_failure"] = "pause".into();
            }
            for (key, value) in [("batch", service.batch), ("canary", service.canary)] {
                if let Some(value) = value {
                    rollout[key] = value.into();
                }
            }
            let mut settings = json!({"role": role, "rollout": rollout});
            if service.command {
                settings["release_command"] = json!(["migrate"]);
            }
            services.insert((*name).to_owned(), settings);
            roles.insert(role, hosts.into());
        }
        json!({
            "project": {"name": "shop"}, "compose": "docker-compose.yml", "services": services,
            "environments": {ENVIRONMENT: {"env_file": "/etc/shop/env", "hosts": roles,
                "secrets": {"file": "secrets.env"}}},
        })
    }
}
