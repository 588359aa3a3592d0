//! Tailscale's API, as its published description says; what that does not say is as users of it report.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    API_KEY, Answer, Asked, Credential, DAY, DOMAIN, Device, Key, OAUTH_SECRET, State, label, now,
    seconds, texts,
};

/// How long a token lasts.
const TOKEN_SECONDS: i64 = 3600;
/// What a device's id that nobody has is answered with.
const NO_DEVICE: &str = "no manageable device matching this ID found";
const NO_KEY: &str = "key not found";

/// Whom a token belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Person,
    /// The OAuth client.
    Client,
}

fn refused(status: u16, message: &str) -> Answer {
    (status, Some(json!({ "message": message })))
}

/// What is answered where there is nothing to say.
fn done() -> Answer {
    (200, Some(json!({})))
}

impl State {
    pub(super) fn tailscale(&mut self, asked: &Asked, parts: &[&str]) -> Answer {
        if parts == ["oauth", "token"] {
            return self.token(asked);
        }
        let who = match self.who(&asked.credential) {
            Ok(who) => who,
            Err(refusal) => return refusal,
        };
        if asked.garbled {
            return refused(400, "invalid request body");
        }
        let (scope, method) = (
            if parts.contains(&"keys") { "auth_keys" } else { "devices:core" },
            asked.method.as_str(),
        );
        if !self.may(who, scope, method) {
            return refused(
                403,
                "calling actor does not have enough permissions to perform this function",
            );
        }
        let nothing = Value::Null;
        let body = asked.body.as_ref().unwrap_or(&nothing);
        let all = asked.query.get("fields").is_some_and(|fields| fields == "all");
        match (method, parts) {
            (_, ["tailnet", tailnet, ..]) if *tailnet != "-" => refused(404, "tailnet not found"),
            ("GET", ["tailnet", _, "devices"]) => {
                let list: Vec<Value> = self.devices.values().map(|it| told(it, all)).collect();
                (200, Some(json!({ "devices": list })))
            }
            ("GET", ["tailnet", _, "keys"]) => (200, Some(json!({ "keys": self.active(who) }))),
            ("POST", ["tailnet", _, "keys"]) => self.make_key(who, body),
            ("GET", ["tailnet", _, "keys", id]) => match self.key_of(who, id) {
                Some(key) => (200, Some(key_told(key))),
                None => refused(404, NO_KEY),
            },
            ("DELETE", ["tailnet", _, "keys", id]) => {
                match self.key_of(who, id).map(|key| key.id.clone()) {
                    Some(id) => {
                        self.keys.get_mut(&id).unwrap().revoked.get_or_insert_with(now);
                        (200, None)
                    }
                    None => refused(404, NO_KEY),
                }
            }
            (_, ["device", id, rest @ ..]) => match self.device_id(id) {
                Some(id) => self.device(method, id, rest, body, all),
                None => refused(404, NO_DEVICE),
            },
            _ => refused(404, "not found"),
        }
    }

    /// A token for the OAuth client, whose secret comes in a form or as a password.
    fn token(&mut self, asked: &Asked) -> Answer {
        if asked.method != "POST" {
            return refused(405, "method not allowed");
        }
        let body = asked.body.clone().unwrap_or_default();
        let secret = match (&body["client_secret"], &asked.credential) {
            (Value::String(secret), _) => secret.clone(),
            (_, Credential::Basic(_, password)) => password.clone(),
            _ => String::new(),
        };
        let grant = body["grant_type"].as_str().unwrap_or("client_credentials");
        if secret != OAUTH_SECRET || grant != "client_credentials" {
            return refused(401, "API token invalid");
        }
        let token = format!("tskey-api-token{}CNTRL-5c0ffee5c0ffee", self.next());
        let until = now() + jiff::SignedDuration::from_secs(TOKEN_SECONDS);
        self.tokens.insert(token.clone(), until);
        let list = |words: &std::collections::BTreeSet<String>| {
            words.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        let answer = json!({ "access_token": token, "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS, "scope": list(&self.scopes), "tags": list(&self.client_tags) });
        (200, Some(answer))
    }

    fn who(&self, credential: &Credential) -> Result<Who, Answer> {
        let secret = match credential {
            Credential::None => return Err(refused(401, "API token invalid")),
            Credential::Bearer(secret) | Credential::Basic(secret, _) => secret,
        };
        match self.tokens.get(secret) {
            _ if secret == API_KEY => Ok(Who::Person),
            Some(until) if *until > Timestamp::now() => Ok(Who::Client),
            // The secret itself is no token, though it is known.
            None if secret == OAUTH_SECRET => Err(refused(
                403,
                "calling actor does not have enough permissions to perform this function",
            )),
            _ => Err(refused(401, "API token invalid")),
        }
    }

    fn may(&self, who: Who, scope: &str, method: &str) -> bool {
        let has = |scope: &str| self.scopes.contains(scope);
        let reads = method == "GET" && (has(&format!("{scope}:read")) || has("all:read"));
        who == Who::Person || has("all") || has(scope) || reads
    }

    /// A device may be called by its number or by the id of its node.
    fn device_id(&self, id: &str) -> Option<u64> {
        self.devices
            .values()
            .find(|it| it.id.to_string() == id || node_id(it) == id)
            .map(|it| it.id)
    }

    fn device(&mut self, method: &str, id: u64, rest: &[&str], body: &Value, all: bool) -> Answer {
        let owners = &self.owners;
        let client_tags = &self.client_tags;
        let device = self.devices.get_mut(&id).unwrap();
        let bad = |what: &str| refused(400, &format!("invalid {what}"));
        match (method, rest) {
            ("GET", []) => (200, Some(told(device, all))),
            ("DELETE", []) if device.external => {
                refused(501, "cannot delete devices outside of your tailnet")
            }
            ("DELETE", []) => {
                self.devices.remove(&id);
                (200, None)
            }
            (_, _) if device.external => refused(404, NO_DEVICE),
            ("POST", ["tags"]) => {
                let Some(list) = body["tags"].as_array() else { return bad("tags") };
                let tags = texts(&body["tags"]);
                let permitted = |tag: &String| owners.contains(tag) || client_tags.contains(tag);
                if list.is_empty() && !device.tags.is_empty() {
                    return refused(400, "tagged nodes cannot be untagged without reauth");
                }
                if let Some(message) = Self::tag_error(&tags, permitted) {
                    return refused(400, &message);
                }
                if device.tags.is_empty() {
                    device.key_expiry_disabled = true;
                }
                device.tags = tags;
                done()
            }
            ("POST", ["key"]) => match &body["keyExpiryDisabled"] {
                Value::Null => done(),
                Value::Bool(disabled) => {
                    device.key_expiry_disabled = *disabled;
                    done()
                }
                _ => bad("keyExpiryDisabled"),
            },
            ("POST", ["authorized"]) => match body["authorized"].as_bool() {
                Some(authorized) => {
                    device.authorized = authorized;
                    done()
                }
                None => bad("authorized"),
            },
            ("POST", ["expire"]) => {
                device.expires = now();
                device.key_expiry_disabled = false;
                (200, None)
            }
            ("POST", ["name"]) => match body["name"].as_str() {
                Some(name) => self.rename(id, name),
                None => bad("name"),
            },
            _ => refused(405, "method not allowed"),
        }
    }

    /// Gives a device another name, in full or its first part; none is its host's.
    fn rename(&mut self, id: u64, name: &str) -> Answer {
        let base = name.strip_suffix(&format!(".{DOMAIN}")).unwrap_or(name);
        if base != label(base) && !base.is_empty() {
            return refused(400, &format!("invalid name {name:?}"));
        }
        if self.devices.values().any(|it| it.id != id && it.name == base) {
            return refused(400, &format!("name {base:?} is already in use"));
        }
        let hostname = self.devices[&id].hostname.clone();
        let free = self.free_name(&hostname, id);
        let device = self.devices.get_mut(&id).unwrap();
        device.named = !base.is_empty();
        device.name = if base.is_empty() { free } else { base.to_owned() };
        done()
    }

    /// The keys that somebody may see: a person their own, the OAuth client the tailnet's.
    fn key_of(&self, who: Who, id: &str) -> Option<&Key> {
        let key = self.keys.get(id).filter(|key| !key.headscale);
        key.filter(|key| key.of_tailnet == (who == Who::Client))
    }

    fn active(&self, who: Who) -> Vec<Value> {
        let own = (who == Who::Person).then(|| "planted3CNTRL".to_owned());
        let keys = self.keys.values().filter(|key| key.is_valid());
        let keys = keys.filter(|key| self.key_of(who, &key.id).is_some()).map(|key| key.id.clone());
        keys.chain(own).map(|id| json!({ "id": id })).collect()
    }

    fn make_key(&mut self, who: Who, body: &Value) -> Answer {
        let devices = &body["capabilities"]["devices"];
        if !devices.is_object() {
            return refused(400, "capabilities.devices must be set");
        }
        let description = body["description"].as_str().unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " -_".contains(c);
        if description.len() > 50 || !description.chars().all(is_plain) {
            return refused(400, "description must be at most 50 alphanumeric characters");
        }
        let lasts = match &body["expirySeconds"] {
            Value::Null => DAY.as_secs() * 90,
            given => given.as_i64().unwrap_or(-1),
        };
        if lasts <= 0 || lasts > DAY.as_secs() * 90 {
            return refused(400, "expirySeconds must be between 1 second and 90 days");
        }
        let create = &devices["create"];
        let tags = texts(&create["tags"]);
        if let Some(message) = self.key_tags_error(who == Who::Client, &tags) {
            return refused(400, &message);
        }
        let is = |name: &str| create[name].as_bool().unwrap_or_default();
        let capabilities = [is("reusable"), is("ephemeral"), is("preauthorized")];
        let key = self.new_key(who == Who::Client, capabilities, tags, lasts, description);
        let mut answer = key_told(&key);
        answer["key"] = key.secret.into();
        (200, Some(answer))
    }

    /// Why a key can't have its tags. The OAuth client's keys have all of its tags, or such as they own.
    pub(super) fn key_tags_error(&self, by_client: bool, tags: &[String]) -> Option<String> {
        if by_client && tags.is_empty() {
            return Some("tailnet-owned auth key must have tags set".into());
        }
        let is_whole = self.client_tags.iter().all(|tag| tags.contains(tag));
        let own = |tag: &String| self.client_tags.contains(tag) && (is_whole || !by_client);
        Self::tag_error(tags, |tag| self.owners.contains(tag) || own(tag))
    }

    pub(super) fn new_key(
        &mut self,
        of_tailnet: bool,
        [reusable, ephemeral, preauthorized]: [bool; 3],
        tags: Vec<String>,
        lasts: i64,
        description: &str,
    ) -> Key {
        let id = format!("k{}standCNTRL", self.next());
        let key = Key {
            secret: format!("tskey-auth-{id}-{:032x}", u128::from(self.number) * 0x5c0f_fee5),
            id,
            reusable,
            ephemeral,
            preauthorized,
            tags,
            description: description.to_owned(),
            created: now(),
            expires: now() + jiff::SignedDuration::from_secs(lasts),
            of_tailnet,
            ..Key::default()
        };
        self.keys.insert(key.id.clone(), key.clone());
        key
    }
}

/// The id by which a node is called, as Tailscale prefers it.
pub(super) fn node_id(device: &Device) -> String {
    format!("n{}standCNTRL", device.id)
}

/// What is said of a device. What it does not have is left out: tags, and when it was last seen
/// while it is connected.
fn told(it: &Device, all: bool) -> Value {
    let ours = |text: String| if it.external { String::new() } else { text };
    let mut told = json!({
        "addresses": [it.address(), it.address6()], "authorized": it.authorized,
        "blocksIncomingConnections": false, "clientVersion": ours("1.98.4-tb6d2a8a5b".into()),
        "connectedToControl": it.online, "created": ours(it.created.to_string()),
        "expires": seconds(it.expires).to_string(), "hostname": it.hostname,
        "id": it.id.to_string(), "isEphemeral": it.ephemeral, "isExternal": it.external,
        "keyExpiryDisabled": it.key_expiry_disabled,
        "machineKey": ours(format!("mkey:{:064x}", it.id)),
        "name": it.dns_name().trim_end_matches('.'), "nodeId": node_id(it),
        "nodeKey": format!("nodekey:{}", it.node_key), "os": "linux", "updateAvailable": false,
        "tailnetLockError": "", "tailnetLockKey": format!("nlpub:{:064x}", it.id), "user": it.user,
    });
    if !it.tags.is_empty() {
        told["tags"] = json!(it.tags);
    }
    if !it.online {
        told["lastSeen"] = it.last_seen.to_string().into();
    }
    if all {
        let supports = json!({ "hairPinning": false, "ipv6": false, "pcp": false, "pmp": false,
            "udp": true, "upnp": false });
        told["enabledRoutes"] = json!([]);
        told["advertisedRoutes"] = json!([]);
        told["sshEnabled"] = it.ssh.into();
        told["clientConnectivity"] = json!({ "endpoints": [format!("{}:41641", it.underlay)],
            "mappingVariesByDestIP": false, "latency": {}, "clientSupports": supports });
    }
    told
}

/// What is said of a key, which is less when it can't be used any more.
fn key_told(key: &Key) -> Value {
    let mut told = json!({ "id": key.id, "created": key.created.to_string(),
        "expires": key.expires.to_string() });
    if let Some(revoked) = key.revoked {
        told["revoked"] = revoked.to_string().into();
    }
    if !key.is_valid() {
        told["invalid"] = true.into();
        return told;
    }
    told["description"] = key.description.clone().into();
    let create = &mut told["capabilities"]["devices"]["create"];
    *create = json!({ "reusable": key.reusable, "ephemeral": key.ephemeral,
        "preauthorized": key.preauthorized });
    if !key.tags.is_empty() {
        create["tags"] = json!(key.tags);
    }
    told
}
