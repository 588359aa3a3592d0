//! A stand-in for DigitalOcean's API: it keeps what it is told, makes machines and ends actions later than
//! it answers, gives pages, and fails when it is asked to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::places::Project;
use crate::tailnet::now;

/// The token that it lets in.
pub const TOKEN: &str = "dop_v1_planted_3f9d0c";
/// How many things a page holds at most, whatever is asked for: small, so that there are pages.
const PAGE: usize = 2;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Too many requests; nothing is done.
    Limit,
    /// An error of the server's; nothing is done.
    Error,
    /// It is done, and the answer is lost.
    Drop,
    /// It is done a few requests later, and the answer is lost.
    Late,
}

/// A request and its answer.
pub struct Exchange {
    pub method: String,
    pub path: String,
    pub body: Option<Value>,
    pub status: u16,
    pub answer: Option<Value>,
}

/// An account.
#[derive(Default)]
pub struct Account {
    pub droplets: BTreeMap<u64, Value>,
    pub volumes: BTreeMap<String, Value>,
    pub vpcs: BTreeMap<String, Value>,
    pub firewalls: BTreeMap<String, Value>,
    pub tags: BTreeSet<String>,
    /// The records of each zone.
    pub zones: BTreeMap<String, BTreeMap<u64, Value>>,
    /// Which machine each reserved address leads to.
    pub reserved_ips: BTreeMap<String, Option<u64>>,
    /// Where those are about to lead that lead nowhere meanwhile.
    pub under_way: BTreeMap<String, Option<u64>>,
    pub balancers: BTreeMap<String, Value>,
    pub projects: BTreeMap<String, Project>,
    actions: BTreeMap<u64, Value>,
    /// Machines that are gone at the next look.
    leaving: BTreeSet<u64>,
    number: u64,
    /// What is done later: at which request, where, with what.
    late: Vec<(usize, String, Value)>,
    /// How many requests there have been.
    pub calls: usize,
    /// What happens to which request, counted from 1.
    pub faults: BTreeMap<usize, Fault>,
    /// The process that is killed at which request, when that has been done.
    pub kills: Option<(usize, u32)>,
    pub log: Vec<Exchange>,
    /// The addresses that machines get, by name; others get some.
    pub addresses: BTreeMap<String, String>,
    /// What else happens, where machines are more than what is told of them.
    pub really: Option<Really>,
    /// What machines were ordered with, by machine.
    user_data: BTreeMap<u64, String>,
}

/// What happens to machines and disks; machines are known by their addresses.
#[allow(dead_code, reason = "not every test has machines that are more than what is told of them")]
pub enum Event<'a> {
    /// A machine starts for the first time, with the data that it was ordered with.
    Booted(&'a str, &'a str),
    Off(&'a str),
    On(&'a str),
    /// A machine is given a disk of so many GiB, or the one that it has grows.
    Plugged(&'a str, &'a str, u64),
    Unplugged(&'a str),
    Scrapped(&'a str),
}

pub type Really = Box<dyn Fn(Event<'_>) + Send>;

/// A server with an account.
#[derive(Clone)]
pub struct Server {
    account: Arc<Mutex<Account>>,
    pub address: SocketAddr,
}

impl Server {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { account: Arc::default(), address: listener.local_addr().unwrap() };
        let router = Router::new().fallback(handle).with_state(server.account.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        server
    }

    pub fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

async fn handle(State(account): State<Arc<Mutex<Account>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    // Whoever is killed in the middle of a request is not heard.
    let Ok(bytes) = to_bytes(body, 1 << 20).await else {
        return Response::builder().status(400).body(Body::empty()).unwrap();
    };
    let body: Option<Value> = serde_json::from_slice(&bytes).ok();
    let right = format!("Bearer {TOKEN}");
    let let_in = head.headers.get("authorization").is_some_and(|given| *given == *right);
    let (status, answer, dropped) = {
        let mut account = account.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        account.calls += 1;
        account.catch_up();
        let fault = account.faults.get(&account.calls).copied();
        let (status, answer) = match fault {
            _ if !let_in => (401, Some(error("unauthorized", "Unable to authenticate you"))),
            Some(Fault::Limit) => {
                (429, Some(error("too_many_requests", "API Rate limit exceeded.")))
            }
            Some(Fault::Error) => {
                (500, Some(error("server_error", "Unexpected server-side error")))
            }
            Some(Fault::Late) if is_order(head.method.as_str(), head.uri.path()) => {
                let when = account.calls + LATE;
                account.late.push((when, head.uri.path().into(), body.clone().unwrap()));
                (504, None)
            }
            Some(Fault::Drop | Fault::Late) | None => {
                account.answer(&head.method, head.uri.path(), head.uri.query(), body.as_ref())
            }
        };
        account.log.push(Exchange {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            body,
            status,
            answer: answer.clone(),
        });
        if let Some((_, process)) = account.kills.filter(|(at, _)| *at == account.calls) {
            Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
        }
        let is_late = fault == Some(Fault::Late) && is_order(head.method.as_str(), head.uri.path());
        (status, answer, is_late || fault == Some(Fault::Drop))
    };
    if dropped {
        // The connection ends without an answer.
        std::panic::resume_unwind(Box::new("dropped"));
    }
    respond(status, answer)
}

/// An answer as it goes over the wire: a text as it is, anything else as JSON.
pub fn respond(status: u16, answer: Option<Value>) -> Response {
    let mut response = Response::builder().status(status);
    if status == 429 {
        response = response.header("retry-after", "0");
    }
    let body = match answer {
        Some(Value::String(text)) => Body::from(text),
        Some(answer) => {
            response = response.header("content-type", "application/json");
            Body::from(answer.to_string())
        }
        None => Body::empty(),
    };
    response.body(body).unwrap()
}

/// How many requests later something late is done.
const LATE: usize = 3;

/// Whether a request makes an object.
pub fn makes(it: &Exchange) -> bool {
    is_order(&it.method, &it.path)
}

fn is_order(method: &str, path: &str) -> bool {
    let makers = ["droplets", "volumes", "vpcs", "firewalls", "reserved_ips", "load_balancers"];
    method == "POST" && path.strip_prefix("/v2/").is_some_and(|path| makers.contains(&path))
}

fn error(id: &str, message: &str) -> Value {
    json!({ "id": id, "message": message, "request_id": "4d9d8375-3c56-4925-a3e7-eb137fed17e9" })
}

pub type Answer = (u16, Option<Value>);

pub fn ok(status: u16, answer: Value) -> Answer {
    (status, Some(answer))
}

pub fn refused(status: u16, id: &str, message: &str) -> Answer {
    (status, Some(error(id, message)))
}

pub fn absent() -> Answer {
    refused(404, "not_found", "The resource you were accessing could not be found.")
}

pub fn page(key: &str, all: Vec<Value>, query: &BTreeMap<&str, &str>) -> Answer {
    let number: usize = query.get("page").and_then(|page| page.parse().ok()).unwrap_or(1);
    let total = all.len();
    let from = ((number - 1) * PAGE).min(total);
    let to = (from + PAGE).min(total);
    let mut pages = Map::new();
    if to < total {
        let next = format!("https://api.digitalocean.com/v2/{key}?page={}", number + 1);
        pages.insert("next".into(), next.clone().into());
        pages.insert("last".into(), next.into());
    }
    let mut answer = json!({ "links": { "pages": pages }, "meta": { "total": total } });
    answer[key] = all[from..to].to_vec().into();
    ok(200, answer)
}

fn tag_of(name: &str) -> Value {
    let none = json!({ "count": 0 });
    let resources = json!({ "count": 0, "droplets": none, "images": none, "volumes": none,
        "volume_snapshots": none, "databases": none });
    json!({ "name": name, "resources": resources })
}

pub fn region(slug: &Value) -> Value {
    json!({ "name": "Frankfurt 1", "slug": slug, "features": ["storage"], "available": true, "sizes": [] })
}

impl Account {
    /// Does what is late and due.
    fn catch_up(&mut self) {
        let now = self.calls;
        let due = self.late.extract_if(.., |(when, ..)| *when <= now).collect::<Vec<_>>();
        for (_, path, body) in due {
            self.answer(&Method::POST, &path, None, Some(&body));
        }
    }

    pub fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub fn uuid(&mut self) -> String {
        format!("5a4981aa-9653-4bd1-bef5-{:012x}", self.next())
    }

    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let query: BTreeMap<&str, &str> =
            query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
        let parts: Vec<&str> = path.trim_start_matches("/v2/").split('/').collect();
        let nothing = Value::Null;
        let body = body.unwrap_or(&nothing);
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["droplets"]) => {
                let tag = query.get("tag_name").copied();
                let has = |it: &&Value| {
                    tag.is_none_or(|tag| it["tags"].as_array().unwrap().contains(&tag.into()))
                };
                let found = self.droplets.values().filter(has);
                page("droplets", found.map(|it| self.with_reserved(it)).collect(), &query)
            }
            ("POST", ["droplets"]) => self.make_droplet(body),
            ("GET", ["droplets", id]) => self.droplet(id.parse().unwrap()),
            ("DELETE", ["droplets", id]) => {
                let id: u64 = id.parse().unwrap();
                let Some(droplet) = self.droplets.get(&id) else { return absent() };
                if droplet["status"] != "off" && droplet["volume_ids"] != json!([]) {
                    return refused(422, "unprocessable_entity", "what it has not written is lost");
                }
                self.leaving.insert(id);
                (204, None)
            }
            ("POST", ["droplets", id, "actions"]) => self.droplet_action(id.parse().unwrap(), body),
            ("GET", ["volumes"]) => {
                page("volumes", self.volumes.values().cloned().collect(), &query)
            }
            ("POST", ["volumes"]) => self.make_volume(body),
            ("GET", ["volumes", id]) => match self.volumes.get(*id) {
                Some(volume) => ok(200, json!({ "volume": volume })),
                None => absent(),
            },
            ("DELETE", ["volumes", id]) => match self.volumes.get(*id) {
                None => absent(),
                Some(volume) if volume["droplet_ids"] != json!([]) => {
                    refused(409, "conflict", "volume is currently attached to a Droplet")
                }
                Some(volume) => {
                    self.really(Event::Scrapped(volume["name"].as_str().unwrap()));
                    self.volumes.remove(*id);
                    (204, None)
                }
            },
            ("POST", ["volumes", id, "actions"]) => self.volume_action(id, body),
            ("GET", [_, _, "actions", id]) => {
                let Some(action) = self.actions.get_mut(&id.parse().unwrap()) else {
                    return absent();
                };
                // Whoever asks for the first time is told that it is not yet done.
                let mut told = action.clone();
                told.as_object_mut().unwrap().remove("kind");
                action["status"] = "completed".into();
                ok(200, json!({ "action": told }))
            }
            ("GET", ["vpcs"]) => page("vpcs", self.vpcs.values().cloned().collect(), &query),
            ("POST", ["vpcs"]) => self.make_vpc(body),
            ("GET", ["vpcs", id]) => match self.vpcs.get(*id) {
                Some(vpc) => ok(200, json!({ "vpc": vpc })),
                None => absent(),
            },
            ("PATCH", ["vpcs", id]) => {
                let Some(vpc) = self.vpcs.get_mut(*id) else { return absent() };
                vpc["name"] = body["name"].clone();
                ok(200, json!({ "vpc": vpc }))
            }
            ("DELETE", ["vpcs", id])
                if self.vpcs.get(*id).is_some_and(|it| it["default"] == true) =>
            {
                refused(403, "forbidden", "Can not delete default VPCs")
            }
            ("DELETE", ["vpcs", id]) => {
                let members = self.droplets.values().chain(self.balancers.values());
                if members.clone().any(|it| it["vpc_uuid"] == **id) {
                    return refused(403, "forbidden", "Can not delete VPC with members");
                }
                if self.vpcs.remove(*id).is_some() { (204, None) } else { absent() }
            }
            ("GET", ["firewalls"]) => {
                page("firewalls", self.firewalls.values().cloned().collect(), &query)
            }
            ("POST", ["firewalls"]) => self.make_firewall(body),
            ("GET", ["firewalls", id]) => match self.firewalls.get(*id) {
                Some(firewall) => ok(200, json!({ "firewall": firewall })),
                None => absent(),
            },
            ("PUT", ["firewalls", id]) => {
                if !self.firewalls.contains_key(*id) {
                    return absent();
                }
                if let Some(refusal) = self.bad_firewall(body, Some(id)) {
                    return refusal;
                }
                let firewall = firewall(id, body);
                self.firewalls.insert((*id).to_owned(), firewall.clone());
                ok(200, json!({ "firewall": firewall }))
            }
            ("DELETE", ["firewalls", id]) => match self.firewalls.remove(*id) {
                Some(_) => (204, None),
                None => absent(),
            },
            ("POST", ["tags"]) => {
                let name = body["name"].as_str().unwrap().to_owned();
                self.tags.insert(name.clone());
                ok(201, json!({ "tag": tag_of(&name) }))
            }
            ("GET", ["tags", tag]) => match self.tags.contains(*tag) {
                true => ok(200, json!({ "tag": tag_of(tag) })),
                false => absent(),
            },
            ("DELETE", ["tags", tag]) => {
                let lists = self.droplets.values_mut().chain(self.volumes.values_mut());
                for tags in lists.filter_map(|it| it["tags"].as_array_mut()) {
                    tags.retain(|found| found != tag);
                }
                if self.tags.remove(*tag) { (204, None) } else { absent() }
            }
            (verb @ ("POST" | "DELETE"), ["tags", tag, "resources"]) => {
                if !self.tags.contains(*tag) {
                    return absent();
                }
                for resource in body["resources"].as_array().unwrap() {
                    let id = resource["resource_id"].as_str().unwrap();
                    let found = match resource["resource_type"].as_str().unwrap() {
                        "volume" => self.volumes.get_mut(id),
                        _ => self.droplets.get_mut(&id.parse().unwrap()),
                    };
                    let tags = found.unwrap()["tags"].as_array_mut().unwrap();
                    tags.retain(|found| found != tag);
                    if verb == "POST" {
                        tags.push((*tag).into());
                    }
                }
                (204, None)
            }
            (verb, ["domains", rest @ ..]) => self.domains(verb, rest, &query, body),
            (verb, ["reserved_ips", rest @ ..]) => self.reserved(verb, rest, &query, body),
            (verb, ["load_balancers", rest @ ..]) => self.balancing(verb, rest, &query, body),
            (verb, ["projects", rest @ ..]) => self.projects(verb, rest, &query, body),
            ("GET", ["tags"]) => {
                page("tags", self.tags.iter().map(|it| tag_of(it)).collect(), &query)
            }
            _ => refused(405, "method_not_allowed", &format!("{method} {path}")),
        }
    }

    pub fn make_droplet(&mut self, body: &Value) -> Answer {
        let vpc = &body["vpc_uuid"];
        if vpc.as_str().is_some_and(|vpc| !self.vpcs.contains_key(vpc)) {
            return refused(422, "unprocessable_entity", "VPC not found");
        }
        if body["size"] == "s-unknown" {
            return refused(422, "unprocessable_entity", "You specified an invalid size.");
        }
        let id = self.next();
        let mut features = vec![json!("droplet_agent")];
        for feature in ["backups", "monitoring"] {
            if body[feature] == true {
                features.push(feature.into());
            }
        }
        let tags = body["tags"].as_array().cloned().unwrap_or_default();
        self.tags.extend(tags.iter().map(|tag| tag.as_str().unwrap().to_owned()));
        let slug = &body["size"];
        let droplet = json!({
            "id": id, "name": body["name"], "memory": 1024, "vcpus": 1, "disk": 25,
            "locked": false, "status": "new", "created_at": now().to_string(),
            "features": features, "backup_ids": [], "next_backup_window": null,
            "snapshot_ids": [], "volume_ids": [], "size_slug": slug, "tags": tags,
            "image": { "id": 1, "name": "12 x64", "type": "base", "distribution": "Debian",
                "slug": body["image"], "public": true, "regions": [body["region"]],
                "created_at": "2026-01-01T00:00:00Z", "min_disk_size": 7, "size_gigabytes": 1.0,
                "description": "Debian", "tags": [], "status": "available" },
            "size": { "slug": slug, "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0,
                "price_monthly": 6.0, "price_hourly": 0.009, "regions": [body["region"]],
                "available": true, "description": "Basic" },
            "networks": { "v4": [], "v6": [] }, "region": region(&body["region"]),
            "vpc_uuid": vpc,
        });
        self.droplets.insert(id, droplet.clone());
        let data = body["user_data"].as_str().unwrap_or_default().to_owned();
        self.user_data.insert(id, data);
        let action = self.act("create", id, "droplet");
        let link = json!({ "id": action["id"], "rel": "create",
            "href": format!("https://api.digitalocean.com/v2/actions/{}", action["id"]) });
        ok(202, json!({ "droplet": droplet, "links": { "actions": [link] } }))
    }

    /// A machine, which is a little further along at every look.
    fn droplet(&mut self, id: u64) -> Answer {
        let Some(told) = self.droplets.get(&id).map(|it| self.with_reserved(it)) else {
            return absent();
        };
        let Some(droplet) = self.droplets.get_mut(&id) else { return absent() };
        if self.leaving.remove(&id) {
            self.droplets.remove(&id);
            for volume in self.volumes.values_mut() {
                if volume["droplet_ids"][0] == id
                    && let Some(really) = &self.really
                {
                    really(Event::Unplugged(volume["name"].as_str().unwrap()));
                }
                volume["droplet_ids"].as_array_mut().unwrap().retain(|holder| *holder != id);
            }
        } else if droplet["status"] == "new" {
            droplet["status"] = "active".into();
            let ip = |net: &str, kind: &str| {
                json!({ "ip_address": format!("{net}.{id}"), "netmask": "255.255.240.0",
                    "gateway": format!("{net}.254"), "type": kind })
            };
            let (mut private, mut public) = (ip("10.110.0", "private"), ip("203.0.113", "public"));
            if let Some(address) = self.addresses.get(droplet["name"].as_str().unwrap()) {
                private["ip_address"] = address.as_str().into();
                public["ip_address"] = address.as_str().into();
            }
            if let Some(really) = &self.really {
                let address = public["ip_address"].as_str().unwrap();
                really(Event::Booted(address, &self.user_data[&id]));
            }
            droplet["networks"]["v4"] = json!([private, public]);
        }
        ok(200, json!({ "droplet": told }))
    }

    /// A machine with the reserved addresses that lead to it among its own, and before them.
    fn with_reserved(&self, droplet: &Value) -> Value {
        let mut told = droplet.clone();
        let leads = |holder: &Option<u64>| holder.is_some_and(|id| droplet["id"] == id);
        for (ip, _) in self.reserved_ips.iter().filter(|(_, holder)| leads(holder)) {
            let own = json!({ "ip_address": ip, "netmask": "255.255.240.0", "gateway": "198.51.100.254",
                "type": "public" });
            told["networks"]["v4"].as_array_mut().unwrap().insert(0, own);
        }
        told
    }

    fn really(&self, event: Event<'_>) {
        if let Some(really) = &self.really {
            really(event);
        }
    }

    /// The public address of a machine.
    fn address(&self, id: u64) -> String {
        let v4 = &self.droplets[&id]["networks"]["v4"];
        v4[1]["ip_address"].as_str().unwrap_or_default().to_owned()
    }

    pub fn act(&mut self, kind: &str, resource: u64, what: &str) -> Value {
        let id = self.next();
        let action = json!({ "id": id, "status": "in-progress", "type": kind,
            "started_at": "2026-01-01T00:00:00Z", "completed_at": null, "resource_id": resource,
            "resource_type": what, "region": region(&json!("fra1")), "region_slug": "fra1" });
        self.actions.insert(id, action.clone());
        action
    }

    fn droplet_action(&mut self, id: u64, body: &Value) -> Answer {
        let Some(droplet) = self.droplets.get_mut(&id) else { return absent() };
        let kind = body["type"].as_str().unwrap().to_owned();
        let features = droplet["features"].as_array_mut().unwrap();
        features.retain(|feature| feature != "backups" || !kind.ends_with("_backups"));
        match kind.as_str() {
            "enable_backups" => features.push("backups".into()),
            "disable_backups" => {}
            "rename" => droplet["name"] = body["name"].clone(),
            "shutdown" | "power_off" => {
                droplet["status"] = "off".into();
                self.really(Event::Off(&self.address(id)));
            }
            "power_on" => {
                droplet["status"] = "active".into();
                self.really(Event::On(&self.address(id)));
            }
            "resize" if droplet["status"] != "off" => {
                return refused(422, "unprocessable_entity", "Droplet must be powered off");
            }
            "resize" if body["size"] == "s-unknown" => {
                return refused(422, "unprocessable_entity", "You specified an invalid size.");
            }
            "resize" => droplet["size_slug"] = body["size"].clone(),
            _ => return refused(422, "unprocessable_entity", "no such action"),
        }
        let action = self.act(&kind, id, "droplet");
        ok(201, json!({ "action": action }))
    }

    pub fn make_volume(&mut self, body: &Value) -> Answer {
        if self.volumes.values().any(|volume| volume["name"] == body["name"]) {
            return refused(409, "conflict", "a volume with this name exists already");
        }
        let id = self.uuid();
        let volume = json!({
            "id": id, "droplet_ids": [], "name": body["name"], "description": body["description"],
            "size_gigabytes": body["size_gigabytes"], "created_at": "2026-01-01T00:00:00Z",
            "region": region(&body["region"]), "filesystem_type": "ext4", "filesystem_label": "",
            "tags": body["tags"],
        });
        self.volumes.insert(id, volume.clone());
        ok(201, json!({ "volume": volume }))
    }

    fn volume_action(&mut self, id: &str, body: &Value) -> Answer {
        let Some(volume) = self.volumes.get_mut(id) else { return absent() };
        let kind = body["type"].as_str().unwrap().to_owned();
        let machine = body["droplet_id"].as_u64();
        let busy = |action: &Value| action["status"] == "in-progress" && action["kind"] == "disk";
        if machine.is_some_and(|machine| {
            self.actions.values().any(|action| busy(action) && action["resource_id"] == machine)
        }) {
            let message = "Droplet already has a pending event.";
            return refused(422, "unprocessable_entity", message);
        }
        if let Some(droplet) = machine.and_then(|machine| self.droplets.get_mut(&machine)) {
            let disks = droplet["volume_ids"].as_array_mut().unwrap();
            disks.retain(|disk| disk != id);
            if kind == "attach" {
                disks.push(id.into());
            } else if droplet["status"] != "off" {
                return refused(422, "unprocessable_entity", "what it has not written is lost");
            }
        }
        let holders = volume["droplet_ids"].as_array_mut().unwrap();
        match kind.as_str() {
            "attach" if !holders.is_empty() => {
                return refused(422, "unprocessable_entity", "attached to another Droplet");
            }
            "attach" => holders.push(body["droplet_id"].clone()),
            "detach" => holders.retain(|holder| *holder != body["droplet_id"]),
            "resize" => volume["size_gigabytes"] = body["size_gigabytes"].clone(),
            _ => return refused(422, "unprocessable_entity", "no such action"),
        }
        let volume = &self.volumes[id];
        let holder = volume["droplet_ids"][0].as_u64();
        let (name, size) = (volume["name"].as_str().unwrap(), volume["size_gigabytes"].as_u64());
        match holder {
            Some(holder) => {
                self.really(Event::Plugged(&self.address(holder), name, size.unwrap()));
            }
            None => self.really(Event::Unplugged(name)),
        }
        let mut action = self.act(&kind, machine.unwrap_or_default(), "backend");
        let number = action["id"].as_u64().unwrap();
        self.actions.get_mut(&number).unwrap()["kind"] = "disk".into();
        action["resource_id"] = Value::Null;
        ok(202, json!({ "action": action }))
    }

    pub fn make_vpc(&mut self, body: &Value) -> Answer {
        if self.vpcs.values().any(|vpc| vpc["name"] == body["name"]) {
            return refused(422, "unprocessable_entity", "This VPC name is already in use");
        }
        let is_first = !self.vpcs.values().any(|vpc| vpc["region"] == body["region"]);
        let id = self.uuid();
        let vpc = json!({ "id": id, "urn": format!("do:vpc:{id}"), "name": body["name"],
            "description": body["description"], "region": body["region"],
            "ip_range": "10.110.0.0/20", "default": is_first, "created_at": "2026-01-01T00:00:00Z" });
        self.vpcs.insert(id, vpc.clone());
        ok(201, json!({ "vpc": vpc }))
    }

    pub fn make_firewall(&mut self, body: &Value) -> Answer {
        if let Some(refusal) = self.bad_firewall(body, None) {
            return refusal;
        }
        let id = self.uuid();
        let firewall = firewall(&id, body);
        self.firewalls.insert(id, firewall.clone());
        ok(202, json!({ "firewall": firewall }))
    }

    /// Why a firewall can't be.
    fn bad_firewall(&self, body: &Value, own: Option<&str>) -> Option<Answer> {
        let tags = body["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(tag) = tags.into_iter().find(|tag| !self.tags.contains(*tag)) {
            let message = format!("tag {tag} does not exist");
            return Some(refused(422, "unprocessable_entity", &message));
        }
        let taken = self
            .firewalls
            .iter()
            .any(|(id, it)| it["name"] == body["name"] && Some(id.as_str()) != own);
        taken.then(|| refused(409, "conflict", "duplicate name"))
    }
}

fn firewall(id: &str, body: &Value) -> Value {
    let mut rules = body.clone();
    for (list, place) in [("inbound_rules", "sources"), ("outbound_rules", "destinations")] {
        for rule in rules[list].as_array_mut().into_iter().flatten() {
            assert!(rule[place].is_object(), "{rule}");
        }
    }
    let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
    json!({ "id": id, "status": "succeeded", "created_at": "2026-01-01T00:00:00Z",
        "pending_changes": [], "name": body["name"], "droplet_ids": [], "tags": list("tags"),
        "inbound_rules": rules["inbound_rules"].as_array().cloned().unwrap_or_default(),
        "outbound_rules": rules["outbound_rules"].as_array().cloned().unwrap_or_default() })
}
