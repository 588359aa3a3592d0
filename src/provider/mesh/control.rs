//! The servers that decide who is on a private network: Tailscale's API, version 2, and Headscale's,
//! version 1. Where only an auth key is given, neither can be asked.
//! Sources: tailscale.com/api; Headscale's own Swagger description.

use std::env;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::http::{Api, Refusal};
use crate::config::stagecraft;
use crate::model::Failure;
use crate::world::tailnet::Node;

/// Where Tailscale's API is. `TAILSCALE_BASE_URL` names another place.
const TAILSCALE: &str = "https://api.tailscale.com";
/// How long a key is good for that was made for one host.
const KEY_LIFE: Duration = Duration::from_secs(600);
/// How much the clock here may be behind a server's that wants to know when a key ends.
const CLOCKS: Duration = Duration::from_secs(3600);

/// A device that a control server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The server's id of it.
    pub id: String,
    /// The name that it gave itself.
    pub hostname: String,
    /// Its name on the network.
    pub name: String,
    /// Its addresses on the network.
    pub ips: Vec<String>,
    /// The public key of its client, `nodekey:…`.
    pub key: String,
    /// The tags that own it.
    pub tags: Vec<String>,
    /// Whether its key ends some day.
    pub expires: bool,
}

impl Device {
    /// Whether it is what a client says of itself. Each network has addresses of its own, and two of them
    /// may give out the same: the key tells.
    pub fn is(&self, node: &Node) -> bool {
        match self.key.is_empty() || node.key.is_empty() {
            true => node.ips.iter().flatten().any(|ip| self.ips.contains(ip)),
            false => self.key == node.key,
        }
    }
}

/// A control server.
pub enum Control {
    /// Tailscale.
    Tailscale(Access),
    /// Headscale, where hosts belong to a user if one is named.
    Headscale(Access, Option<String>),
}

/// What opens a control server.
pub struct Access {
    /// Its API, where we may use it.
    api: Option<Api>,
    /// A key with which hosts may join, where somebody gave one.
    key: Option<String>,
    /// The variable that says more.
    variable: String,
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

impl Control {
    /// Tailscale, opened by an OAuth client's secret, an API token, or only an auth key.
    ///
    /// # Errors
    /// The secret gives no token.
    pub fn tailscale(settings: Option<&stagecraft::Tailscale>) -> Result<Self, Failure> {
        let name = settings.map_or("TS_AUTHKEY".into(), |it| it.auth_key_env.to_string());
        let base = variable("TAILSCALE_BASE_URL").unwrap_or_else(|| TAILSCALE.to_owned());
        let mut access = Access { api: None, key: None, variable: name };
        match variable(&access.variable) {
            Some(secret) if secret.starts_with("tskey-client-") => {
                // Parameters are for clients that take the secret for an auth key.
                let secret = secret.split('?').next().unwrap_or_default();
                let token = Api::client_token(&base, "/api/v2/oauth/token", secret);
                let what = format!("the OAuth client in ${} gives no token", access.variable);
                let token = token.map_err(|refusal| refusal.failure(&what))?;
                access.api = Some(Api::new(&base, &token));
            }
            Some(token) if token.starts_with("tskey-api-") => {
                access.api = Some(Api::new(&base, &token));
            }
            key => access.key = key,
        }
        Ok(Control::Tailscale(access))
    }

    /// Headscale, opened by the key of its API, or only a pre-auth key.
    ///
    /// # Errors
    /// Nothing says where it is.
    pub fn headscale(settings: Option<&stagecraft::Headscale>) -> Result<Self, Failure> {
        let settings = settings.ok_or_else(|| {
            Failure::new("nothing says where Headscale is")
                .hint("set `network: { headscale: { login_server: … } }`")
        })?;
        let base = settings.login_server.to_string();
        let api = variable(&settings.api_key_env).map(|key| Api::new(&base, &key));
        let key = variable(&settings.auth_key_env);
        let variable = match api.is_some() {
            true => settings.auth_key_env.to_string(),
            false => settings.api_key_env.to_string(),
        };
        let user = settings.user.as_ref().map(|user| user.to_string());
        Ok(Control::Headscale(Access { api, key, variable }, user))
    }

    fn access(&self) -> &Access {
        match self {
            Control::Tailscale(access) | Control::Headscale(access, _) => access,
        }
    }

    /// Whether the server can be asked.
    pub fn is_open(&self) -> bool {
        self.access().api.is_some()
    }

    fn api(&self) -> Result<&Api, Refusal> {
        let Access { api, variable, .. } = self.access();
        api.as_ref().ok_or_else(|| Refusal::Said {
            status: 401,
            message: format!("${variable} holds nothing that opens the control server"),
        })
    }

    /// All devices; none where the server can't be asked.
    pub fn devices(&self) -> Result<Option<Vec<Device>>, Refusal> {
        let Some(api) = &self.access().api else { return Ok(None) };
        let (path, key) = match self {
            Control::Tailscale(_) => ("/api/v2/tailnet/-/devices", "devices"),
            Control::Headscale(..) => ("/api/v1/node", "nodes"),
        };
        let answer = api.get(path)?;
        let Some(list) = answer[key].as_array() else {
            return Err(Refusal::Lost(format!("GET {path} answered without `{key}`")));
        };
        Ok(Some(list.iter().map(|it| self.device(it)).collect()))
    }

    fn device(&self, it: &Value) -> Device {
        let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
        let list = |key: &str| -> Vec<String> {
            let list = it[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        match self {
            Control::Tailscale(_) => Device {
                id: match text("nodeId").is_empty() {
                    true => text("id"),
                    false => text("nodeId"),
                },
                hostname: text("hostname"),
                name: text("name"),
                ips: list("addresses"),
                key: text("nodeKey"),
                tags: list("tags"),
                expires: it["keyExpiryDisabled"] != Value::Bool(true),
            },
            Control::Headscale(..) => Device {
                id: text("id"),
                hostname: text("name"),
                name: text("givenName"),
                ips: list("ipAddresses"),
                key: text("nodeKey"),
                tags: list("tags"),
                expires: false,
            },
        }
    }

    /// A key with which one host may join.
    ///
    /// # Errors
    /// None was given and none can be had.
    pub fn key(&self, tags: &[String], what: &str) -> Result<String, Refusal> {
        let access = self.access();
        if let (None, Some(key)) | (Some(_), Some(key)) = (&access.api, &access.key) {
            return Ok(key.clone());
        }
        let api = self.api()?;
        let (path, body) = match self {
            Control::Tailscale(_) => {
                let may = json!({ "reusable": false, "ephemeral": false, "preauthorized": true,
                    "tags": tags });
                let body = json!({ "capabilities": { "devices": { "create": may } },
                    "expirySeconds": KEY_LIFE.as_secs(), "description": described(what) });
                ("/api/v2/tailnet/-/keys", body)
            }
            Control::Headscale(_, user) => {
                let end = jiff::Timestamp::now() + KEY_LIFE + CLOCKS;
                let mut body = json!({ "reusable": false, "ephemeral": false, "aclTags": tags,
                    "expiration": end.to_string() });
                if let Some(user) = user {
                    body["user"] = self.user(api, user)?.into();
                }
                ("/api/v1/preauthkey", body)
            }
        };
        // A second key costs nothing: it opens the door once, and not for long.
        let answer = match api.post(path, &body) {
            Err(Refusal::Lost(_)) => api.post(path, &body)?,
            other => other?,
        };
        let key = match self {
            Control::Tailscale(_) => &answer["key"],
            Control::Headscale(..) => &answer["preAuthKey"]["key"],
        };
        let key = key.as_str().map(str::to_owned);
        key.ok_or_else(|| Refusal::Lost(format!("POST {path} answered without a key")))
    }

    /// The id of a user of Headscale's, who is made if need be.
    fn user(&self, api: &Api, name: &str) -> Result<String, Refusal> {
        let find = || -> Result<Option<String>, Refusal> {
            let answer = api.get("/api/v1/user")?;
            let users = answer["users"].as_array().into_iter().flatten();
            let mut users = users.filter(|user| user["name"] == name);
            Ok(users.find_map(|user| user["id"].as_str().map(str::to_owned)))
        };
        if let Some(id) = find()? {
            return Ok(id);
        }
        match api.post("/api/v1/user", &json!({ "name": name })) {
            Ok(_) | Err(Refusal::Lost(_)) => {}
            Err(refusal) => return Err(refusal),
        }
        find()?.ok_or_else(|| Refusal::Lost(format!("the user {name} was made and is not there")))
    }

    /// Takes a device off the network; it may be gone already.
    pub fn remove(&self, id: &str) -> Result<(), Refusal> {
        let path = match self {
            Control::Tailscale(_) => format!("/api/v2/device/{id}"),
            Control::Headscale(..) => format!("/api/v1/node/{id}"),
        };
        self.api()?.delete(&path, None)
    }

    /// Gives a device its tags.
    pub fn set_tags(&self, id: &str, tags: &[String]) -> Result<(), Refusal> {
        let path = match self {
            Control::Tailscale(_) => format!("/api/v2/device/{id}/tags"),
            Control::Headscale(..) => format!("/api/v1/node/{id}/tags"),
        };
        self.repeated(&path, &json!({ "tags": tags }))
    }

    /// Lets a device's key live for ever: a host whose key ends is out of reach one day. At Headscale the
    /// keys of tagged nodes never end.
    pub fn keep_key(&self, id: &str) -> Result<(), Refusal> {
        match self {
            Control::Tailscale(_) => {
                let body = json!({ "keyExpiryDisabled": true });
                self.repeated(&format!("/api/v2/device/{id}/key"), &body)
            }
            Control::Headscale(..) => Ok(()),
        }
    }

    /// Gives a device its name on the network.
    pub fn rename(&self, id: &str, name: &str) -> Result<(), Refusal> {
        match self {
            Control::Tailscale(_) => {
                self.repeated(&format!("/api/v2/device/{id}/name"), &json!({ "name": name }))
            }
            Control::Headscale(..) => {
                self.repeated(&format!("/api/v1/node/{id}/rename/{name}"), &Value::Null)
            }
        }
    }

    /// Posts what may be posted twice.
    fn repeated(&self, path: &str, body: &Value) -> Result<(), Refusal> {
        let api = self.api()?;
        match api.post(path, body) {
            Err(Refusal::Lost(_)) => api.post(path, body).map(|_| ()),
            other => other.map(|_| ()),
        }
    }
}

/// A description as Tailscale takes it: letters, digits, hyphens and spaces, 50 at most.
fn described(what: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { ' ' };
    format!("stagecraft {what}").chars().map(plain).take(50).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> Control {
        let access = Access { api: None, key: None, variable: "TS_AUTHKEY".into() };
        Control::Tailscale(access)
    }

    #[test]
    fn a_key_that_was_given_is_taken_and_none_is_said_so() {
        let refused = control().key(&[], "app-1").unwrap_err();
        assert!(refused.to_string().contains("$TS_AUTHKEY"), "{refused}");
        let access = Access { api: None, key: Some("k".into()), variable: "V".into() };
        assert_eq!(Control::Headscale(access, None).key(&[], "app-1").unwrap(), "k");
    }

    #[test]
    fn descriptions_have_only_what_they_may() {
        assert_eq!(described("shop/staging app-1"), "stagecraft shop staging app-1");
        assert_eq!(described(&"x".repeat(80)).len(), 50);
    }

    #[test]
    fn a_device_is_the_client_with_its_key_whatever_its_address() {
        let node = |ip: &str, key: &str| Node {
            ips: Some(vec![ip.into()]),
            key: key.into(),
            ..Node::default()
        };
        let said = json!({ "nodeId": "n1", "addresses": ["100.64.0.1"], "nodeKey": "nodekey:01" });
        let device = control().device(&said);
        assert!(device.is(&node("100.64.0.9", "nodekey:01")));
        assert!(!device.is(&node("100.64.0.1", "nodekey:02")), "that is on another network");
        // Where one of them says no key, the address is what there is.
        assert!(device.is(&node("100.64.0.1", "")) && !device.is(&node("100.64.0.9", "")));
    }

    #[test]
    fn a_device_is_read_as_each_server_tells_it() {
        let said = json!({ "id": "1", "nodeId": "n1CNTRL", "hostname": "app-1",
            "name": "app-1.t.ts.net", "addresses": ["100.64.0.1"], "tags": ["tag:shop"],
            "nodeKey": "nodekey:01", "keyExpiryDisabled": true });
        let device = control().device(&said);
        assert_eq!((&*device.id, &*device.key, device.expires), ("n1CNTRL", "nodekey:01", false));
        let access = Access { api: None, key: None, variable: String::new() };
        let said = json!({ "id": "7", "name": "app-1", "givenName": "app-1",
            "ipAddresses": ["100.64.0.1"], "tags": ["tag:shop"], "nodeKey": "nodekey:02",
            "expiry": null });
        let device = Control::Headscale(access, None).device(&said);
        assert_eq!((&*device.id, &*device.key, device.expires), ("7", "nodekey:02", false));
    }
}
