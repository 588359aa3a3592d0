//! Taking over what somebody made by hand: the environment's mark is put on it, and nothing else changes.

use serde_json::{Value, json};

use super::super::http::Refusal;
use super::{DigitalOcean, balancer, hostkey, read, wanted};
use crate::model::{Address, Failure, Kind};

impl DigitalOcean {
    /// Puts the environment's mark on an object, so that it is what is at an address. A machine needs the
    /// key by which it is known.
    ///
    /// # Errors
    /// There is no such object, it can't be marked, or it is not known whether it was.
    pub fn adopt(&self, address: &Address, id: &str, key: Option<&str>) -> Result<(), Failure> {
        let tag = match (address.kind(), key) {
            (Kind::Machine, Some(key)) => Some(hostkey::tag_of(key).ok_or_else(|| {
                Failure::new("that is not a key of a host")
                    .hint("give the line of /etc/ssh/ssh_host_ed25519_key.pub on the machine")
            })?),
            (Kind::Machine, None) => {
                return Err(Failure::new(format!("nothing says by which key {id} is known")).hint(
                    "give `--host-key \"ssh-ed25519 …\"`, from /etc/ssh/ssh_host_ed25519_key.pub on the \
                     machine",
                ));
            }
            _ => None,
        };
        self.mark(address, id, tag)
            .map_err(|refusal| refusal.failure(&format!("could not take over {address}")))
    }

    fn mark(&self, address: &Address, id: &str, key: Option<String>) -> Result<(), Refusal> {
        match address.kind() {
            Kind::Machine => self.mark_machine(address.scope(), id, key),
            Kind::Disk => {
                let it = self.api.get(&format!("/v2/volumes/{id}"))?;
                self.refuse_other(&it["volume"])?;
                // Its description can't be changed any more.
                let tag = wanted::disk_mark(&self.site, address).ok_or_else(|| Refusal::Said {
                    status: 422,
                    message: format!("{address} has a name that no tag can have"),
                })?;
                self.put_tag(&tag, id, "volume")
            }
            Kind::Vpc => {
                let it = self.api.get(&format!("/v2/vpcs/{id}"))?;
                self.refuse_other(&it["vpc"])?;
                let name = wanted::name(&self.site, address.scope());
                self.api.patch(&format!("/v2/vpcs/{id}"), &json!({ "name": name })).map(|_| ())
            }
            Kind::Firewall => {
                let mut it = self.api.get(&format!("/v2/firewalls/{id}"))?["firewall"].take();
                self.refuse_other(&it)?;
                it["name"] = wanted::name(&self.site, address.scope()).into();
                // What the API tells besides is not for it to be told.
                let body = it.as_object_mut().map(|it| {
                    it.retain(|key, _| {
                        ["name", "inbound_rules", "outbound_rules", "droplet_ids", "tags"]
                            .contains(&key.as_str())
                    });
                    Value::Object(std::mem::take(it))
                });
                let body = body.unwrap_or_default();
                self.api.put(&format!("/v2/firewalls/{id}"), &body).map(|_| ())
            }
            Kind::ReservedIp => {
                self.api.get(&format!("/v2/reserved_ips/{id}"))?;
                match self.owner_of_ip(address.scope(), id)? {
                    Some(owner) => Err(wanted::belongs_to(&owner)),
                    None => self.mark_ip(address, id),
                }
            }
            Kind::LoadBalancer => {
                let it = self.api.get(&format!("/v2/load_balancers/{id}"))?["load_balancer"].take();
                self.refuse_other(&it)?;
                let name = wanted::name(&self.site, address.scope());
                let body = balancer::changed(it, json!({ "name": name }));
                self.patiently(|| self.api.put(&format!("/v2/load_balancers/{id}"), &body))
                    .map(|_| ())
            }
            _ => self.adopt_name(address),
        }
    }

    /// Whether an object has the mark of another environment.
    fn refuse_other(&self, it: &Value) -> Result<(), Refusal> {
        let ours = wanted::mark(&self.site);
        let is_other = |tag: &&str| {
            tag.starts_with("stagecraft:") && **tag != ours && !tag.starts_with(&format!("{ours}:"))
        };
        let text = |key: &str| it[key].as_str().unwrap_or_default();
        let described = text("description").starts_with("stagecraft ")
            && !text("description").starts_with(&read::mark_of(&self.site));
        let named = text("name").starts_with("stagecraft.")
            && !text("name").starts_with(&wanted::name(&self.site, ""));
        match (read::tags(it).find(is_other), described, named) {
            (Some(tag), ..) => Err(wanted::belongs_to(tag)),
            (None, true, _) => Err(wanted::belongs_to(text("description"))),
            (None, false, true) => Err(wanted::belongs_to(text("name"))),
            (None, false, false) => Ok(()),
        }
    }

    fn mark_machine(&self, name: &str, id: &str, key: Option<String>) -> Result<(), Refusal> {
        let it = self.api.get(&format!("/v2/droplets/{id}"))?;
        self.refuse_other(&it["droplet"])?;
        if it["droplet"]["name"] != name {
            self.machine_action(id, json!({ "type": "rename", "name": name }))?;
        }
        // The key that was given counts, whatever was said of another before.
        let known = read::tags(&it["droplet"]).filter(|tag| hostkey::is_tag(tag));
        for tag in known.filter(|tag| key.as_deref() != Some(tag)) {
            self.api.delete(&format!("/v2/tags/{tag}"), None)?;
        }
        if let Some(tag) = &key {
            self.put_tag(tag, id, "droplet")?;
        }
        // Last of all: with its mark it is ours.
        self.put_tag(&wanted::mark(&self.site), id, "droplet")
    }

    fn put_tag(&self, tag: &str, id: &str, kind: &str) -> Result<(), Refusal> {
        let body = json!({ "resources": [{ "resource_id": id, "resource_type": kind }] });
        self.make_tag(tag)?;
        self.api.post(&format!("/v2/tags/{tag}/resources"), &body).map(|_| ())
    }
}
