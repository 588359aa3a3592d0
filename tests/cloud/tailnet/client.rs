//! What the stand-in for the `tailscale` command asks: it has no daemon, so that the server does what
//! one would do and says what it would print. Answers are texts; one that is not 200 goes to the
//! command's standard error. "backend error: " begins what a daemon hears from a control server.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::tailscale::node_id;
use super::{DAY, DOMAIN, Device, Form, Key, OAUTH_SECRET, PERSON, State, now};

/// The version of the client.
const VERSION: &str = "1.98.4-tb6d2a8a5b-gb0d2a5a8b";
/// The users that devices are shown under: the person, and the one of what is tagged.
const PERSONS: u64 = 4711;
const TAGGED: u64 = 2_147_455_555;
/// How Go writes a time that is not set.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

type Said = (u16, String);

fn failed(message: impl Into<String>) -> Said {
    (409, message.into())
}

/// A value of a form, empty when there is none.
fn of<'a>(form: &'a Form, name: &str) -> &'a str {
    form.get(name).map_or("", String::as_str)
}

fn list(text: &str, between: char) -> Vec<String> {
    text.split(between).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// How a client is, by the words of its daemon.
fn backend_state(device: Option<&Device>, form: &Form) -> &'static str {
    match device {
        None => "NeedsLogin",
        Some(it) if it.is_expired() || !of(form, "error").is_empty() => "NeedsLogin",
        Some(_) if of(form, "down") == "true" => "Stopped",
        Some(it) if !it.authorized => "NeedsMachineAuth",
        Some(_) => "Running",
    }
}

impl State {
    pub(super) fn client(&mut self, verb: &str, form: &Form) -> Said {
        // A client that has logged out has forgotten which device it was.
        let id = of(form, "id").parse().unwrap_or_default();
        let device = self.devices.get(&id).filter(|it| it.machine == of(form, "machine"));
        let device = device.cloned();
        match verb {
            "register" => self.register(form),
            "state" => {
                let address = device.as_ref().map(Device::address).unwrap_or_default();
                (200, format!("{} {address}", backend_state(device.as_ref(), form)))
            }
            "status" => (200, self.status(device.as_ref(), form)),
            "table" => self.table(device.as_ref(), form),
            "peer" => self.peer(device.as_ref(), form),
            "set" => self.set(device, form),
            "online" => {
                if let Some(device) = device.and_then(|it| self.devices.get_mut(&it.id)) {
                    device.online = of(form, "online") == "true";
                    device.last_seen = now();
                }
                (200, String::new())
            }
            "logout" => {
                match device {
                    Some(it) if it.ephemeral => drop(self.devices.remove(&it.id)),
                    Some(it) => {
                        let device = self.devices.get_mut(&it.id).unwrap();
                        device.logged_out = true;
                        device.online = false;
                        device.expires = now();
                        device.last_seen = now();
                    }
                    None => {}
                }
                (200, String::new())
            }
            _ => (404, format!("no such verb: {verb}")),
        }
    }

    /// Registers a device, and answers its number, its address and how the client is.
    fn register(&mut self, form: &Form) -> Said {
        let requested = list(of(form, "tags"), ',');
        let mut secret = of(form, "key").to_owned();
        if secret.starts_with("tskey-client-") {
            match self.key_of_client(&secret, &requested) {
                Ok(key) => secret = key.secret,
                // The command itself says this, and no daemon has heard of the key.
                Err(message) => return failed(message),
            }
        }
        let device = Device {
            machine: of(form, "machine").to_owned(),
            hostname: of(form, "hostname").to_owned(),
            online: true,
            underlay: of(form, "underlay").to_owned(),
            ssh: of(form, "ssh") == "true",
            host_keys: list(of(form, "host_keys"), '\n'),
            ..Device::default()
        };
        let registered = if secret.starts_with("hskey-auth-") {
            self.headscale_device(&secret, device.clone(), &requested)
        } else {
            self.tailscale_device(&secret, device.clone(), &requested)
        };
        let id = match registered {
            Ok(id) => id,
            Err(message) => return failed(format!("backend error: {message}")),
        };
        let name = self.free_name(&device.hostname, id);
        let it = self.devices.get_mut(&id).unwrap();
        if !it.named {
            it.name = name;
        }
        it.hostname = device.hostname;
        it.underlay = device.underlay;
        it.ssh = device.ssh;
        it.host_keys = device.host_keys;
        it.online = !it.is_expired();
        it.last_seen = now();
        (200, format!("{id} {} {}", it.address(), backend_state(Some(it), &Form::new())))
    }

    /// The key that the command gets with an OAuth client's secret, which may have attributes.
    fn key_of_client(&mut self, secret: &str, requested: &[String]) -> Result<Key, String> {
        if requested.is_empty() {
            return Err("oauth authkeys require --advertise-tags".into());
        }
        let (secret, attributes) = secret.split_once('?').unwrap_or((secret, ""));
        let (mut ephemeral, mut preauthorized) = (true, false);
        for (name, value) in super::form(attributes.as_bytes()) {
            let place = match name.as_str() {
                "ephemeral" => &mut ephemeral,
                "preauthorized" => &mut preauthorized,
                "baseURL" => continue,
                _ => return Err(format!("unknown attribute {name:?}")),
            };
            *place = match value.as_str() {
                "" => *place,
                "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
                "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
                _ => {
                    return Err(format!(
                        "invalid attribute boolean attribute {name} value {value:?}"
                    ));
                }
            };
        }
        if secret != OAUTH_SECRET {
            let url = "https://api.tailscale.com/api/v2/tailnet/-/keys";
            let answer = "Response: {\"message\":\"API token invalid\"}";
            return Err(format!(
                "Post \"{url}\": oauth2: cannot fetch token: 401 Unauthorized\n{answer}"
            ));
        }
        let refused =
            |status: u16, message: &str| Err(format!("Status: {status}, Message: {message:?}"));
        if !self.scopes.contains("auth_keys") && !self.scopes.contains("all") {
            let what = "calling actor does not have enough permissions to perform this function";
            return refused(403, what);
        }
        if let Some(message) = self.key_tags_error(true, requested) {
            return refused(400, &message);
        }
        let is = [false, ephemeral, preauthorized];
        Ok(self.new_key(true, is, requested.to_vec(), DAY.as_secs() * 90, ""))
    }

    /// Registers a device with a key of Tailscale's; `Err` is what the command says.
    fn tailscale_device(
        &mut self,
        secret: &str,
        device: Device,
        requested: &[String],
    ) -> Result<u64, String> {
        let known = self.keys.values().find(|key| !key.headscale && key.secret == secret).cloned();
        let Some(key) = known else {
            let is_one = secret.starts_with("tskey-");
            let what = if is_one { "API key does not exist" } else { "unable to validate API key" };
            return Err(format!("invalid key: {what}"));
        };
        if !key.is_valid() {
            return Err(format!("invalid key: API key {} not valid", key.id));
        }
        // A key with tags lets no others be asked for.
        let permitted = |tag: &String| match key.tags.as_slice() {
            [] => self.owners.contains(tag) || self.client_tags.contains(tag),
            tags => tags.contains(tag),
        };
        if let Some(message) = Self::tag_error(requested, permitted) {
            return Err(message);
        }
        self.keys.get_mut(&key.id).unwrap().used = true;
        let tags = if requested.is_empty() { key.tags } else { requested.to_vec() };
        let authorized = key.preauthorized || !self.approval;
        let fresh = |device: Device| Device {
            key_expiry_disabled: !tags.is_empty(),
            tags: tags.clone(),
            user: if key.of_tailnet { "tagged-devices".into() } else { PERSON.into() },
            ephemeral: key.ephemeral,
            key: Some(key.id.clone()),
            logged_out: false,
            ..device
        };
        let same = |it: &&Device| it.machine == device.machine && !it.external;
        // The same machine is the same device again, with a new key.
        if let Some(old) = self.devices.values().find(same).cloned() {
            let node_key = format!("{:064x}", self.next());
            let device = Device { expires: now() + DAY * 180, node_key, ..fresh(old) };
            let id = device.id;
            self.devices.insert(id, device);
            return Ok(id);
        }
        let device = Device { authorized, ..fresh(device) };
        Ok(self.join(device))
    }

    /// Changes what a running client says of itself.
    fn set(&mut self, device: Option<Device>, form: &Form) -> Said {
        let Some(device) = device else { return (200, String::new()) };
        let tags = form.get("tags").map(|tags| list(tags, ','));
        if let Some(message) = tags.as_ref().and_then(|tags| {
            Self::tag_error(tags, |tag| self.owners.contains(tag) || device.tags.contains(tag))
        }) {
            return failed(format!("backend error: {message}"));
        }
        let hostname = form.get("hostname").unwrap_or(&device.hostname).clone();
        let name = self.free_name(&hostname, device.id);
        let it = self.devices.get_mut(&device.id).unwrap();
        if hostname != it.hostname && !it.named {
            it.name = name;
        }
        it.hostname = hostname;
        if let Some(ssh) = form.get("ssh") {
            it.ssh = ssh == "true";
            it.host_keys = list(of(form, "host_keys"), '\n');
        }
        if let Some(tags) = tags.filter(|tags| !tags.is_empty()) {
            it.tags = tags;
        }
        (200, String::new())
    }

    /// The other devices that a device sees: those that somebody has approved of.
    fn peers(&self, device: &Device) -> impl Iterator<Item = &Device> {
        let id = device.id;
        let is_in = device.authorized;
        self.devices.values().filter(move |it| is_in && it.authorized && it.id != id)
    }

    /// The whole document of `tailscale status --json`.
    fn status(&self, device: Option<&Device>, form: &Form) -> String {
        let state = backend_state(device, form);
        let mut told = json!({
            "Version": VERSION, "TUN": of(form, "userspace") != "true", "BackendState": state,
            "HaveNodeKey": device.is_some(), "AuthURL": "", "TailscaleIPs": null, "Self": null,
            "Health": [], "MagicDNSSuffix": "", "CurrentTailnet": null, "CertDomains": null,
            "Peer": null, "User": null, "ClientVersion": null,
        });
        if !told["HaveNodeKey"].as_bool().unwrap() {
            told.as_object_mut().unwrap().remove("HaveNodeKey");
        }
        let Some(it) = device.filter(|_| state != "NeedsLogin") else {
            let nobody = Device { hostname: of(form, "hostname").into(), ..Device::default() };
            told["Self"] = peer_status(&nobody, true);
            told["Health"] = match of(form, "error") {
                "" => json!(["You are logged out."]),
                error => {
                    json!([format!("You are logged out. The last login error was: {error}")])
                }
            };
            return printed(&told);
        };
        told["TailscaleIPs"] = json!([it.address(), it.address6()]);
        told["Self"] = peer_status(it, true);
        told["Self"]["Online"] = (state == "Running").into();
        told["MagicDNSSuffix"] = DOMAIN.into();
        told["CurrentTailnet"] =
            json!({ "Name": PERSON, "MagicDNSSuffix": DOMAIN, "MagicDNSEnabled": true });
        if of(form, "peers") != "false" {
            let peers = self.peers(it).map(|peer| (public_key(peer), peer_status(peer, false)));
            let peers: Map<String, Value> = peers.collect();
            if !peers.is_empty() {
                told["Peer"] = peers.into();
            }
        }
        let user = |id: u64, login: &str, name: &str| json!({ "ID": id, "LoginName": login, "DisplayName": name });
        told["User"] = json!({
            PERSONS.to_string(): user(PERSONS, PERSON, "Amelie"),
            TAGGED.to_string(): user(TAGGED, "tagged-devices", "Tagged Devices"),
        });
        printed(&told)
    }

    /// What `tailscale status` prints without `--json`, which is an error where nothing runs.
    fn table(&self, device: Option<&Device>, form: &Form) -> Said {
        let told = match backend_state(device, form) {
            "Running" => self.rows(device.unwrap()),
            "Stopped" => return failed("Tailscale is stopped."),
            "NeedsMachineAuth" => return failed("Machine is not yet approved by tailnet admin."),
            _ => return failed("Logged out."),
        };
        (200, told)
    }

    fn rows(&self, device: &Device) -> String {
        let mut told = String::new();
        for it in std::iter::once(device).chain(self.peers(device)) {
            let owner = if it.tags.is_empty() { "amelie@" } else { "tagged-devices" };
            let state = if it.online { "-" } else { "offline" };
            let (address, name) = (it.address(), &it.name);
            writeln!(told, "{address:<15} {name:<20} {owner:<15} linux  {state}").unwrap();
        }
        told
    }

    /// Where a device is that is called by its name or an address: its addresses, the one without the
    /// mesh first.
    fn peer(&self, device: Option<&Device>, form: &Form) -> Said {
        let host = of(form, "host");
        let Some(own) = device else { return failed("not logged in") };
        let fits = |it: &&Device| {
            let full = it.dns_name();
            let names = [it.name.as_str(), full.as_str(), full.trim_end_matches('.')];
            let has = |name: &&str| name.eq_ignore_ascii_case(host);
            names.iter().any(has) || it.address() == host || it.address6() == host
        };
        match std::iter::once(own).chain(self.peers(own)).find(fits) {
            Some(it) if !it.online || it.is_expired() => (504, "offline".into()),
            Some(it) => (200, format!("{} {} {}", it.underlay, it.address(), it.address6())),
            None => (404, "no such host".into()),
        }
    }
}

fn public_key(it: &Device) -> String {
    let key = if it.node_key.is_empty() { "0" } else { &it.node_key };
    format!("nodekey:{key:0>64}")
}

/// A peer, or the device itself, which does not say what its keys for SSH are, and when it was last
/// seen. A peer that is online was never seen last.
fn peer_status(it: &Device, is_own: bool) -> Value {
    let (is_member, online) = (it.id != 0, it.online && !it.is_expired());
    let time = |is: bool, time: &jiff::Timestamp| {
        if is { time.to_string() } else { NO_TIME.into() }
    };
    let mut told = json!({
        "ID": if is_member { node_id(it) } else { String::new() }, "NodeID": it.id,
        "PublicKey": public_key(it), "HostName": it.hostname,
        "DNSName": if is_member { it.dns_name() } else { String::new() }, "OS": "linux",
        "UserID": match (is_member, it.tags.is_empty()) {
            (false, _) => 0,
            (true, true) => PERSONS,
            (true, false) => TAGGED,
        },
        "TailscaleIPs": is_member.then(|| [it.address(), it.address6()]), "Addrs": [],
        "CurAddr": "", "Relay": "", "PeerRelay": "", "RxBytes": 0, "TxBytes": 0,
        "Created": time(is_member, &it.created), "LastWrite": NO_TIME,
        "LastSeen": time(!is_own && !online, &it.last_seen), "LastHandshake": NO_TIME,
        "Online": online, "ExitNode": false, "ExitNodeOption": false, "Active": false,
        "PeerAPIURL": null, "TaildropTarget": 0, "NoFileSharingReason": "",
        "InNetworkMap": is_member, "InMagicSock": is_member && !is_own,
        "InEngine": false,
    });
    let map = told.as_object_mut().unwrap();
    if is_member {
        let allowed = [format!("{}/32", it.address()), format!("{}/128", it.address6())];
        map.insert("AllowedIPs".into(), json!(allowed));
    }
    if !it.tags.is_empty() {
        map.insert("Tags".into(), json!(it.tags));
    }
    if !is_own && it.ssh && !it.host_keys.is_empty() {
        map.insert("sshHostKeys".into(), json!(it.host_keys));
    }
    if is_member && it.is_expired() {
        map.insert("Expired".into(), true.into());
    }
    if is_member && (!it.key_expiry_disabled || it.logged_out) {
        map.insert("KeyExpiry".into(), it.expires.to_string().into());
    }
    told
}

fn printed(told: &Value) -> String {
    serde_json::to_string_pretty(told).unwrap()
}
