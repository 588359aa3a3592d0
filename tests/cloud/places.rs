//! The stand-in's reserved addresses, load balancers and projects, as DigitalOcean keeps them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::digitalocean::{Account, Answer, absent, ok, page, refused, region};

const DEFAULT_PROJECT: &str = "746c6152-2fa2-11ed-92d3-27aaa54e4988";
const UNPROCESSABLE: &str = "unprocessable_entity";

impl Account {
    /// Answers what is asked of `/v2/reserved_ips/…`.
    pub fn reserved(
        &mut self,
        method: &str,
        parts: &[&str],
        query: &BTreeMap<&str, &str>,
        body: &Value,
    ) -> Answer {
        match (method, parts) {
            ("GET", []) => {
                let all = self.reserved_ips.keys().map(|ip| self.reserved_ip(ip)).collect();
                self.catch_up_with_addresses();
                page("reserved_ips", all, query)
            }
            ("POST", []) => {
                let machine = body["droplet_id"].as_u64().unwrap();
                if self.reserved_ips.values().any(|holder| *holder == Some(machine)) {
                    let message = "The Droplet already has a reserved IP assigned.";
                    return refused(422, UNPROCESSABLE, message);
                }
                let ip = format!("198.51.100.{}", self.next() % 256);
                self.assign(&ip, Some(machine));
                ok(202, json!({ "reserved_ip": self.reserved_ip(&ip), "links": { "actions": [] } }))
            }
            (_, [ip, ..]) if !self.reserved_ips.contains_key(*ip) => absent(),
            ("GET", [ip]) => {
                let told = self.reserved_ip(ip);
                self.catch_up_with_addresses();
                ok(200, json!({ "reserved_ip": told }))
            }
            (_, [ip, ..]) if self.under_way.contains_key(*ip) => {
                self.catch_up_with_addresses();
                refused(422, UNPROCESSABLE, "The reserved IP already has a pending event.")
            }
            ("DELETE", [ip]) => {
                if self.reserved_ips[*ip].is_some() {
                    return refused(422, UNPROCESSABLE, "it is assigned to a Droplet");
                }
                self.reserved_ips.remove(*ip);
                (204, None)
            }
            ("POST", [ip, "actions"]) => {
                self.assign(ip, body["droplet_id"].as_u64());
                let kind = body["type"].as_str().unwrap();
                let action = self.act(kind, 0, "reserved_ip");
                ok(201, json!({ "action": action }))
            }
            _ => refused(405, "method_not_allowed", method),
        }
    }

    /// Begins to make an address lead to a machine; until that is done, it leads nowhere.
    fn assign(&mut self, ip: &str, machine: Option<u64>) {
        self.reserved_ips.insert(ip.to_owned(), None);
        self.under_way.insert(ip.to_owned(), machine);
    }

    fn catch_up_with_addresses(&mut self) {
        let done = std::mem::take(&mut self.under_way);
        self.reserved_ips.extend(done);
    }

    /// A reserved address. One whose machine is gone leads nowhere.
    fn reserved_ip(&self, ip: &str) -> Value {
        let machine = self.reserved_ips[ip].and_then(|id| self.droplets.get(&id));
        let locked = self.under_way.contains_key(ip);
        json!({ "ip": ip, "region": region(&json!("fra1")), "droplet": machine, "locked": locked,
            "project_id": DEFAULT_PROJECT })
    }

    /// Answers what is asked of `/v2/load_balancers/…`.
    pub fn balancing(
        &mut self,
        method: &str,
        parts: &[&str],
        query: &BTreeMap<&str, &str>,
        body: &Value,
    ) -> Answer {
        match (method, parts) {
            ("GET", []) => {
                page("load_balancers", self.balancers.values().cloned().collect(), query)
            }
            ("POST", []) => {
                if self.balancers.values().any(|it| it["name"] == body["name"]) {
                    return refused(422, UNPROCESSABLE, "this name is already in use");
                }
                if !self.tags.contains(body["tag"].as_str().unwrap()) {
                    return refused(422, UNPROCESSABLE, "tag does not exist");
                }
                let id = self.uuid();
                let it = balancer(&id, body, "new", "");
                self.balancers.insert(id, it.clone());
                ok(202, json!({ "load_balancer": it }))
            }
            (_, [id]) if !self.balancers.contains_key(*id) => absent(),
            ("GET", [id]) => {
                let ip = format!("192.0.2.{}", 100 + self.balancers.len());
                let it = self.balancers.get_mut(*id).unwrap();
                let told = it.clone();
                // At the next look it serves.
                if it["status"] == "new" {
                    it["status"] = "active".into();
                    it["ip"] = ip.into();
                }
                ok(200, json!({ "load_balancer": told }))
            }
            ("PUT", [id]) => {
                let ip = self.balancers[*id]["ip"].as_str().unwrap().to_owned();
                let it = balancer(id, body, "active", &ip);
                self.balancers.insert((*id).to_owned(), it.clone());
                ok(200, json!({ "load_balancer": it }))
            }
            ("DELETE", [id]) => {
                self.balancers.remove(*id);
                (204, None)
            }
            _ => refused(405, "method_not_allowed", method),
        }
    }

    /// Answers what is asked of `/v2/projects/…`. The one that is the account's default has no id of its own.
    pub fn projects(
        &mut self,
        method: &str,
        parts: &[&str],
        query: &BTreeMap<&str, &str>,
        body: &Value,
    ) -> Answer {
        self.forget_what_is_gone();
        match (method, parts) {
            ("GET", []) => {
                let all = self.projects.iter().map(|(id, it)| project(id, &it.told)).collect();
                page("projects", all, query)
            }
            ("POST", []) => {
                if self.projects.values().any(|it| it.told["name"] == body["name"]) {
                    return refused(409, "conflict", "name is already in use");
                }
                let id = self.uuid();
                let told = project(&id, body);
                self.projects.insert(id, Project { told: body.clone(), listed: Vec::new() });
                ok(201, json!({ "project": told }))
            }
            ("POST", ["default", "resources"]) => {
                self.list_in(DEFAULT_PROJECT, &urns(body));
                ok(200, json!({ "resources": [] }))
            }
            (_, [id, ..]) if !self.projects.contains_key(*id) => absent(),
            ("PATCH", [id]) => {
                let it = self.projects.get_mut(*id).unwrap();
                it.told["name"] = body["name"].clone();
                ok(200, json!({ "project": project(id, &it.told) }))
            }
            ("DELETE", [id]) => {
                let balanced = self.balancers.values().any(|it| it["project_id"] == **id);
                if balanced || !self.projects[*id].listed.is_empty() {
                    return refused(
                        412,
                        "precondition_failed",
                        "cannot delete a project with resources",
                    );
                }
                self.projects.remove(*id);
                (204, None)
            }
            ("GET", [id, "resources"]) => {
                let all = self.projects[*id].listed.iter().map(resource).collect();
                page("resources", all, query)
            }
            ("POST", [id, "resources"]) => {
                let moved = urns(body);
                if moved.iter().all(|urn| urn.starts_with("do:floatingip:")) {
                    let message = "Cannot move a Reserved IP with an associated Droplet.";
                    return refused(412, "precondition_failed", message);
                }
                self.list_in(id, &moved);
                let listed = self.projects[*id].listed.iter().map(resource).collect::<Vec<_>>();
                ok(200, json!({ "resources": listed }))
            }
            _ => refused(405, "method_not_allowed", method),
        }
    }

    /// Load balancers say themselves where they are listed, and are not listed there.
    fn list_in(&mut self, project: &str, moved: &[String]) {
        for project in self.projects.values_mut() {
            project.listed.retain(|urn| !moved.contains(urn));
        }
        for urn in moved {
            match urn.strip_prefix("do:loadbalancer:") {
                Some(id) => self.balancers.get_mut(id).unwrap()["project_id"] = project.into(),
                None => {
                    let project = self.projects.get_mut(project);
                    project.into_iter().for_each(|it| it.listed.push(urn.clone()));
                }
            }
        }
    }

    fn forget_what_is_gone(&mut self) {
        let droplets = self.droplets.keys().map(|id| format!("do:droplet:{id}"));
        let volumes = self.volumes.keys().map(|id| format!("do:volume:{id}"));
        let ips = self.reserved_ips.keys().map(|ip| format!("do:floatingip:{ip}"));
        let balancers = self.balancers.keys().map(|id| format!("do:loadbalancer:{id}"));
        let there: Vec<String> = droplets.chain(volumes).chain(ips).chain(balancers).collect();
        for project in self.projects.values_mut() {
            project.listed.retain(|urn| there.contains(urn) || urn.starts_with("do:domain:"));
        }
    }
}

/// A project: what was said of it, and what it lists.
pub struct Project {
    pub told: Value,
    pub listed: Vec<String>,
}

fn project(id: &str, told: &Value) -> Value {
    json!({ "id": id, "owner_uuid": "99525febec065ca37b2ffe4f852fd2b2581895e7", "owner_id": 258992,
        "name": told["name"], "description": told["description"], "purpose": told["purpose"],
        "environment": "Development", "is_default": false, "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z" })
}

fn urns(body: &Value) -> Vec<String> {
    let list = body["resources"].as_array().into_iter().flatten();
    list.map(|urn| urn.as_str().unwrap().to_owned()).collect()
}

fn resource(urn: &String) -> Value {
    json!({ "urn": urn, "assigned_at": "2026-01-01T00:00:00Z", "status": "ok",
        "links": { "self": "https://api.digitalocean.com/v2/droplets/1" } })
}

fn balancer(id: &str, body: &Value, status: &str, ip: &str) -> Value {
    let mut rules = body["forwarding_rules"].clone();
    for rule in rules.as_array_mut().unwrap() {
        rule["tls_passthrough"] = false.into();
    }
    let mut health = json!({ "path": "", "check_interval_seconds": 10, "response_timeout_seconds": 5,
        "unhealthy_threshold": 5, "healthy_threshold": 3 });
    for (key, value) in body["health_check"].as_object().unwrap() {
        health[key] = value.clone();
    }
    json!({ "id": id, "name": body["name"], "ip": ip, "status": status, "size": "lb-small",
        "algorithm": "round_robin", "size_unit": body["size_unit"], "vpc_uuid": body["vpc_uuid"],
        "created_at": "2026-01-01T00:00:00Z", "forwarding_rules": rules, "health_check": health,
        "sticky_sessions": { "type": "none" }, "region": region(&body["region"]),
        "tag": body["tag"].as_str().unwrap_or_default(), "droplet_ids": [],
        "redirect_http_to_https": false, "enable_backend_keepalive": false,
        "enable_proxy_protocol": body["enable_proxy_protocol"].as_bool().unwrap_or_default(),
        "http_idle_timeout_seconds": 60,
        "project_id": body["project_id"].as_str().unwrap_or(DEFAULT_PROJECT) })
}
