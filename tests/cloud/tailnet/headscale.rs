//! Headscale's API as its version 0.29.2 has it, behind grpc-gateway: numbers are texts, what is not set
//! is said all the same, fields that it does not know are passed over, and an error of its own that
//! has no kind is 500 with the code 2.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, Asked, Credential, Device, HEADSCALE_KEY, Key, State, now, seconds, texts};

/// The user that tagged nodes are listed under.
const TAGGED_DEVICES: u64 = 2_147_455_555;
/// What a time that is not set is written as.
const NO_TIME: &str = "0001-01-01T00:00:00Z";
const AUTH_KEY_PREFIX: &str = "hskey-auth-";
/// How far in the past a time lies that was never set.
const LONG_AGO: Timestamp = Timestamp::MIN;

/// An error and its status, by gRPC's codes.
fn refused(code: u64, message: &str) -> Answer {
    let status = match code {
        3 => 400,
        5 => 404,
        12 => 501,
        _ => 500,
    };
    (status, Some(json!({ "code": code, "message": message, "details": [] })))
}

fn ok(answer: Value) -> Answer {
    (200, Some(answer))
}

/// A number in a body or a query, where a text does as well; 0 when it is not set.
fn number(value: &Value) -> Result<u64, Answer> {
    let parsed = match value {
        Value::Null => Some(0),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    parsed.ok_or_else(|| refused(3, &format!("invalid value for uint64 field value: {value}")))
}

fn time(time: Timestamp) -> String {
    if time == LONG_AGO { NO_TIME.into() } else { time.to_string() }
}

fn tag_error(tag: &str) -> Option<&'static str> {
    if !tag.starts_with("tag:") {
        return Some("tag must start with the string 'tag:'");
    }
    if tag.to_lowercase() != tag {
        return Some("tag should be lowercase");
    }
    tag.contains(char::is_whitespace).then_some("tags must not contain spaces")
}

impl State {
    pub(super) fn headscale(&mut self, asked: &Asked, parts: &[&str]) -> Answer {
        if !matches!(&asked.credential, Credential::Bearer(key) if key == HEADSCALE_KEY) {
            // The gateway is not reached, so that this is no JSON.
            return (401, Some("Unauthorized".into()));
        }
        if asked.garbled {
            return refused(3, "proto: syntax error (line 1:1): unexpected token");
        }
        let body = asked.body.clone().unwrap_or_default();
        self.gateway(asked, parts, &body).unwrap_or_else(|refusal| refusal)
    }

    fn gateway(&mut self, asked: &Asked, parts: &[&str], body: &Value) -> Result<Answer, Answer> {
        let query = |name: &str| asked.query.get(name).filter(|text| !text.is_empty());
        let id = |name: &str, text: &str| {
            text.parse::<u64>().map_err(|_| {
                let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
                refused(3, &format!("type mismatch, parameter: {name}, error: {why}"))
            })
        };
        Ok(match (asked.method.as_str(), parts) {
            ("GET", ["health"]) => ok(json!({ "databaseConnectivity": true })),
            ("GET", ["user"]) => {
                let wanted = query("id").map(|text| id("id", text)).transpose()?;
                let fits = |(number, name): &(&u64, &String)| match (query("name"), query("email"))
                {
                    (Some(wanted), _) => wanted == *name,
                    (None, Some(_)) => false,
                    (None, None) => wanted.is_none_or(|wanted| wanted == **number),
                };
                let found = self.users.iter().filter(fits);
                ok(json!({ "users": found.map(|(id, _)| self.user(*id)).collect::<Vec<_>>() }))
            }
            ("POST", ["user"]) => self.make_user(body),
            ("DELETE", ["user", user]) => self.delete_user(id("id", user)?),
            ("GET", ["preauthkey"]) => {
                let mut keys: Vec<&Key> = self.keys.values().filter(|key| key.headscale).collect();
                keys.sort_by_key(|key| key.id.parse::<u64>().unwrap());
                let list: Vec<Value> = keys.into_iter().map(|key| self.key(key, false)).collect();
                ok(json!({ "preAuthKeys": list }))
            }
            ("POST", ["preauthkey"]) => self.make_preauthkey(body)?,
            ("POST", ["preauthkey", "expire"]) => {
                // A key that there is not is no error.
                let id = number(&body["id"])?.to_string();
                if let Some(key) = self.keys.get_mut(&id).filter(|key| key.headscale) {
                    key.expires = now();
                }
                ok(json!({}))
            }
            ("DELETE", ["preauthkey"]) => {
                let id = query("id").map_or(Ok(0), |text| id("id", text))?.to_string();
                if self.keys.get(&id).is_some_and(|key| key.headscale) {
                    self.keys.remove(&id);
                }
                ok(json!({}))
            }
            ("GET", ["node"]) => {
                let user = query("user");
                if user.is_some_and(|user| !self.users.values().any(|it| it == user)) {
                    return Ok(refused(2, "user not found"));
                }
                let owned =
                    |it: &&Device| user.is_none_or(|user| it.tags.is_empty() && it.user == *user);
                let list = self.devices.values().filter(|it| !it.external).filter(owned);
                ok(json!({ "nodes": list.map(|it| self.node(it, true)).collect::<Vec<_>>() }))
            }
            (method, ["node", node, rest @ ..]) => {
                let id = id("nodeId", node)?;
                self.one_node(asked, method, id, rest, body)?
            }
            (_, ["health" | "user" | "preauthkey" | "node"] | ["user", _] | ["preauthkey", _]) => {
                refused(12, "Method Not Allowed")
            }
            _ => refused(5, "Not Found"),
        })
    }

    fn one_node(
        &mut self,
        asked: &Asked,
        method: &str,
        id: u64,
        rest: &[&str],
        body: &Value,
    ) -> Result<Answer, Answer> {
        let is_there = self.devices.get(&id).is_some_and(|it| !it.external);
        Ok(match (method, rest) {
            ("GET" | "DELETE", []) if !is_there => refused(5, "node not found"),
            ("GET", []) => ok(json!({ "node": self.node(&self.devices[&id], false) })),
            ("DELETE", []) => {
                self.devices.remove(&id);
                ok(json!({}))
            }
            ("POST", ["expire"]) => {
                let disable = asked.query.get("disableExpiry").is_some_and(|text| text == "true");
                let until = asked.query.get("expiry").map(|text| {
                    let parsed = text.parse::<Timestamp>();
                    parsed.map_err(|error| {
                        let what = "type mismatch, parameter: expiry, error:";
                        refused(3, &format!("{what} {error}"))
                    })
                });
                let until = until.transpose()?;
                if disable && until.is_some() {
                    return Ok(refused(3, "cannot set both disable_expiry and expiry"));
                }
                if !is_there {
                    return Ok(refused(2, &format!("node no longer exists in NodeStore: {id}")));
                }
                let device = self.devices.get_mut(&id).unwrap();
                device.logged_out = false;
                device.key_expiry_disabled = disable;
                device.expires = until.unwrap_or_else(now);
                ok(json!({ "node": self.node(&self.devices[&id], false) }))
            }
            ("POST", ["tags"]) => {
                let mut tags = texts(&body["tags"]);
                if tags.is_empty() {
                    let why = "tagged nodes must have at least one tag";
                    return Ok(refused(3, &format!("cannot remove all tags from a node - {why}")));
                }
                if let Some(message) = tags.iter().find_map(|tag| tag_error(tag)) {
                    return Ok(refused(2, message));
                }
                if !is_there {
                    return Ok(refused(5, "node not found"));
                }
                if let Some(message) = Self::tag_error(&tags, |tag| self.owners.contains(tag)) {
                    return Ok(refused(3, &message));
                }
                tags.sort();
                tags.dedup();
                // Whoever owned it owns it no more; its expiry stays as it is.
                let device = self.devices.get_mut(&id).unwrap();
                device.tags = tags;
                device.user = String::new();
                ok(json!({ "node": self.node(&self.devices[&id], false) }))
            }
            (_, [] | ["expire" | "tags"]) => refused(12, "Method Not Allowed"),
            _ => refused(5, "Not Found"),
        })
    }

    fn make_user(&mut self, body: &Value) -> Answer {
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        if self.users.values().any(|it| *it == name) {
            let why = "constraint failed: UNIQUE constraint failed: users.name (2067)";
            return refused(13, &format!("creating user: creating user: {why}"));
        }
        let id = self.users.keys().next_back().map_or(1, |last| last + 1);
        self.users.insert(id, name);
        ok(json!({ "user": self.user(id) }))
    }

    /// Tagged nodes are nobody's, so that they don't keep a user from being deleted.
    fn delete_user(&mut self, id: u64) -> Answer {
        let Some(name) = self.users.get(&id).cloned() else { return refused(2, "user not found") };
        if self.devices.values().any(|it| it.tags.is_empty() && it.user == name) {
            return refused(2, "user not empty: node(s) found");
        }
        self.keys.retain(|_, key| !key.headscale || key.user != Some(id));
        self.users.remove(&id);
        ok(json!({}))
    }

    /// Whether a tag is in the policy is looked at neither here nor when a node comes with the key.
    fn make_preauthkey(&mut self, body: &Value) -> Result<Answer, Answer> {
        let mut tags = texts(&body["aclTags"]);
        if let Some(message) = tags.iter().find_map(|tag| tag_error(tag)) {
            return Ok(refused(3, message));
        }
        let user = Some(number(&body["user"])?).filter(|user| *user != 0);
        if user.is_some_and(|user| !self.users.contains_key(&user)) {
            return Ok(refused(2, "user not found"));
        }
        if user.is_none() && tags.is_empty() {
            return Ok(refused(2, "auth-key must be either tagged or owned by user"));
        }
        // A key without an expiration expired in the year 1.
        let expires = match &body["expiration"] {
            Value::Null => LONG_AGO,
            given => match given.as_str().map(str::parse) {
                Some(Ok(time)) => time,
                _ => return Ok(refused(3, &format!("invalid google.protobuf.Timestamp: {given}"))),
            },
        };
        tags.sort();
        tags.dedup();
        self.headscale_keys += 1;
        let id = self.headscale_keys;
        let key = Key {
            id: id.to_string(),
            secret: format!(
                "{AUTH_KEY_PREFIX}standin{id:05}-{:064x}",
                u128::from(id) * 0x5c0f_fee5
            ),
            reusable: body["reusable"].as_bool().unwrap_or_default(),
            ephemeral: body["ephemeral"].as_bool().unwrap_or_default(),
            preauthorized: true,
            tags,
            created: now(),
            expires,
            headscale: true,
            user,
            ..Key::default()
        };
        let told = self.key(&key, true);
        self.keys.insert(key.id.clone(), key);
        Ok(ok(json!({ "preAuthKey": told })))
    }

    fn user(&self, id: u64) -> Value {
        let (name, display, created) = match id {
            TAGGED_DEVICES => ("tagged-devices", "Tagged Devices", NO_TIME),
            id => (self.users[&id].as_str(), "", "2026-01-01T00:00:00Z"),
        };
        json!({ "id": id.to_string(), "name": name, "createdAt": created, "displayName": display,
            "email": "", "providerId": "", "provider": "", "profilePicUrl": "" })
    }

    /// What is said of a key, which is said whole only once.
    fn key(&self, key: &Key, whole: bool) -> Value {
        let masked = || format!("{}-***", &key.secret[..AUTH_KEY_PREFIX.len() + 12]);
        json!({
            "user": key.user.map(|user| self.user(user)), "id": key.id,
            "key": if whole { key.secret.clone() } else { masked() }, "reusable": key.reusable,
            "ephemeral": key.ephemeral, "used": key.used, "expiration": time(key.expires),
            "createdAt": key.created.to_string(), "aclTags": key.tags,
        })
    }

    /// A node. Only in a list is a tagged one said to be of a user, and of a special one.
    fn node(&self, it: &Device, in_list: bool) -> Value {
        let owner = self.users.iter().find(|(_, name)| **name == it.user);
        let user = match owner {
            _ if !it.tags.is_empty() => in_list.then_some(TAGGED_DEVICES),
            owner => owner.map(|(id, _)| *id),
        };
        let key = it.key.as_ref().and_then(|id| self.keys.get(id)).filter(|key| key.headscale);
        let expires = !it.key_expiry_disabled || it.logged_out;
        let method = if it.key.is_some() { "AUTH_KEY" } else { "CLI" };
        json!({
            "id": it.id.to_string(), "machineKey": format!("mkey:{:064x}", it.id),
            "nodeKey": format!("nodekey:{}", it.node_key),
            "discoKey": format!("discokey:{:064x}", it.id),
            "ipAddresses": [it.address(), it.address6()], "name": it.hostname,
            "user": user.map(|user| self.user(user)), "lastSeen": it.last_seen.to_string(),
            "expiry": expires.then(|| seconds(it.expires).to_string()),
            "preAuthKey": key.map(|key| self.key(key, false)),
            "createdAt": it.created.to_string(),
            "registerMethod": format!("REGISTER_METHOD_{method}"), "givenName": it.name,
            "online": it.online, "approvedRoutes": [], "availableRoutes": [], "subnetRoutes": [],
            "tags": it.tags,
        })
    }

    /// Registers a node with a key of Headscale's; `Err` is what the command says.
    pub(super) fn headscale_device(
        &mut self,
        secret: &str,
        device: Device,
        requested: &[String],
    ) -> Result<u64, String> {
        let known = self.keys.values().find(|key| key.headscale && key.secret == secret).cloned();
        let Some(key) = known else { return Err("invalid pre auth key".into()) };
        let owner = key.user.and_then(|user| self.users.get(&user)).cloned().unwrap_or_default();
        let is_own = |it: &&Device| {
            it.machine == device.machine
                && (!it.tags.is_empty() || !key.tags.is_empty() || it.user == owner)
        };
        let old = self.devices.values().find(is_own).cloned();
        let is_same = old
            .as_ref()
            .is_some_and(|old| !old.is_expired() && (key.tags.is_empty() || !old.tags.is_empty()));
        // What is let in already needs no good key.
        if !is_same {
            if key.expires <= Timestamp::now() {
                return Err("authkey expired".into());
            }
            if key.used && !key.reusable {
                return Err("authkey already used".into());
            }
        }
        let used = |state: &mut Self| {
            if let Some(key) = state.keys.get_mut(&key.id) {
                key.used |= !key.reusable;
            }
        };
        let Some(old) = old else {
            if !requested.is_empty() {
                // A node has its tags from its key, and may not ask for any itself.
                let message = Self::tag_error(requested, |_| false).unwrap_or_default();
                let what = "handling register with auth key: creating new node";
                return Err(format!("{what}: {message}"));
            }
            used(self);
            let tagged = !key.tags.is_empty();
            return Ok(self.join(Device {
                user: if tagged { String::new() } else { owner },
                tags: key.tags,
                ephemeral: key.ephemeral,
                authorized: true,
                headscale: true,
                key: Some(key.id),
                key_expiry_disabled: true,
                ..device
            }));
        };
        used(self);
        // A tagged node that has logged out stays expired, whatever key it brings: the client asks once
        // more, with a key that is used by then, or for ever.
        let number = self.next();
        let node = self.devices.get_mut(&old.id).unwrap();
        node.node_key = format!("{number:064x}");
        node.key = Some(key.id);
        if !key.tags.is_empty() && old.tags.is_empty() {
            node.tags = key.tags;
            node.user = String::new();
            node.key_expiry_disabled = true;
            node.logged_out = false;
        } else if old.tags.is_empty() {
            node.logged_out = false;
            node.key_expiry_disabled = true;
        } else if node.is_expired() && !key.reusable {
            return Err("authkey already used".into());
        }
        Ok(old.id)
    }
}
