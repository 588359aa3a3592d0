//! The private network between hosts: Tailscale, and Headscale, which serves Tailscale's clients.

mod control;
mod join;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::config::stagecraft::{Environment, Network, NetworkProvider};
use crate::model::{
    Act, Address, Attribute, Failure, Host, InfraObject, InfraSpec, Resource, Rule, Site, Spec,
    Transport,
};
use crate::world::tailnet::Status;

use super::host::{Facts, Hosts};
use super::http::Refusal;
use control::{Control, Device};

/// What a client says when it is on the network.
const RUNNING: &str = "Running";
const LASTING: &str = "none";

/// The tags that hosts have; the first is the mark by which devices are known as the environment's.
fn tags(network: &Network, site: &Site) -> Vec<String> {
    let given = match network.provider {
        NetworkProvider::Tailscale => network.tailscale.as_ref().map(|it| &it.tags),
        NetworkProvider::Headscale => network.headscale.as_ref().map(|it| &it.tags),
        NetworkProvider::None => None,
    };
    let given: Vec<String> = given.into_iter().flatten().map(|tag| tag.to_string()).collect();
    match given.is_empty() {
        true => vec![format!("tag:{}-{}", site.project, site.environment).replace('_', "-")],
        false => given,
    }
}

/// The membership that every host of an environment should have.
///
/// # Errors
/// A host has a name that the network can't have.
pub fn resources(
    environment: &Environment,
    network: &Network,
    site: &Site,
) -> Result<BTreeMap<Address, Resource>, Failure> {
    let mut resources = BTreeMap::new();
    if network.provider == NetworkProvider::None {
        return Ok(resources);
    }
    let mut tags = tags(network, site);
    tags.sort();
    let ssh = match network.provider {
        NetworkProvider::Tailscale => {
            network.tailscale.as_ref().and_then(|it| it.ssh).unwrap_or(true)
        }
        _ => false,
    };
    let server = network.headscale.as_ref().map(|it| it.login_server.to_string());
    let server = server.filter(|_| network.provider == NetworkProvider::Headscale);
    for (name, host) in &environment.hosts {
        if host.transport != Transport::Ssh {
            continue;
        }
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.chars().all(fits) {
            return Err(Failure::new(format!("`{name}` can't be a name on the private network"))
                .hint("use lower-case letters, digits and `-` for the host"));
        }
        let made = environment.machines.get(name).is_some_and(|machine| machine.made);
        let mut attributes = BTreeMap::new();
        let mut add = |name: &str, value: Value, rule| {
            attributes.insert(name.to_owned(), Attribute { value, rule });
        };
        if made {
            add("machine", Address::machine(name).to_string().into(), Rule::InPlace);
        }
        add("state", RUNNING.into(), Rule::InPlace);
        add("name", name.as_str().into(), Rule::InPlace);
        add("tags", tags.clone().into(), Rule::InPlace);
        add("key_expiry", LASTING.into(), Rule::InPlace);
        // A client says of others whether they answer, and not of itself.
        add("ssh", ssh.into(), Rule::Once);
        if let Some(server) = &server {
            add("login_server", server.as_str().into(), Rule::Once);
        }
        let spec = Spec::Infra(InfraSpec { name: name.clone(), attributes });
        // Packages are installed by one at a time.
        let after = [made.then(|| Address::machine(name)), Some(Address::bootstrap(name))];
        let after = after.into_iter().flatten().collect();
        resources.insert(Address::mesh(name), Resource { spec, after });
    }
    Ok(resources)
}

/// The network of one environment.
pub struct Mesh {
    control: Control,
    site: Site,
    /// The tag by which devices are known as the environment's.
    mark: String,
}

impl Mesh {
    /// The network that a configuration names, if it names one.
    ///
    /// # Errors
    /// A key is of a sort that opens nothing.
    pub fn open(network: &Network, site: &Site) -> Result<Option<Self>, Failure> {
        let control = match network.provider {
            NetworkProvider::None => return Ok(None),
            NetworkProvider::Tailscale => Control::tailscale(network.tailscale.as_ref())?,
            NetworkProvider::Headscale => Control::headscale(network.headscale.as_ref())?,
        };
        let mark = tags(network, site).swap_remove(0);
        Ok(Some(Self { control, site: site.clone(), mark }))
    }

    /// The devices of the environment; none where nothing opens the control server.
    pub fn devices(&self) -> Result<Option<Vec<Device>>, Failure> {
        let what = "the private network can't be asked for its devices";
        self.control.devices().map_err(|refusal| refusal.failure(what))
    }

    /// Everything that the network has of the environment. `facts` are those of the hosts that could be
    /// asked.
    pub fn read(
        &self,
        devices: Option<&[Device]>,
        facts: &BTreeMap<String, Facts>,
        made: &BTreeSet<String>,
    ) -> Vec<(Address, InfraObject)> {
        let mut found = Vec::new();
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for (host, facts) in facts {
            let (state, status) = state(facts);
            let own = status.as_ref().and_then(|status| status.own.as_ref());
            let own = own.filter(|_| state == RUNNING || state == "Stopped");
            let Some(own) = own else { continue };
            let device = devices.into_iter().flatten().find(|device| device.is(own));
            if let (Some(_), None) = (devices, device) {
                // The control server does not know it any more; it will hear of that.
                continue;
            }
            taken.extend(device.map(|device| device.id.as_str()));
            let mut tags = match device {
                Some(device) => device.tags.clone(),
                None => own.tags.clone().unwrap_or_default(),
            };
            tags.sort();
            let expires = match device {
                Some(device) => device.expires,
                None => own.key_expiry.is_some(),
            };
            let mut attributes = BTreeMap::from([
                ("state".to_owned(), json!(state)),
                ("name".to_owned(), json!(own.label())),
                ("tags".to_owned(), json!(tags)),
                ("key_expiry".to_owned(), json!(if expires { "some day" } else { LASTING })),
            ]);
            if made.contains(host) {
                attributes.insert("machine".into(), json!(Address::machine(host).to_string()));
            }
            let ips = own.ips.iter().flatten();
            let given = ips.take(1).map(|ip| ("private_ip".to_owned(), ip.clone())).collect();
            let id = device.map_or(&own.id, |device| &device.id).clone();
            let name = own.dns_name.trim_end_matches('.').to_owned();
            found.push((Address::mesh(host), InfraObject { id, name, attributes, given }));
        }
        // What is left belongs to machines that are gone, or can't be asked.
        let rest = devices.into_iter().flatten().filter(|device| !taken.contains(&*device.id));
        for device in rest.filter(|device| device.tags.contains(&self.mark)) {
            let host = &device.hostname;
            let mut attributes = BTreeMap::new();
            if let Some(facts) = facts.get(host) {
                attributes.insert("state".to_owned(), json!(state(facts).0));
            }
            if made.contains(host) {
                attributes.insert("machine".into(), json!(Address::machine(host).to_string()));
            }
            let given = device.ips.iter().take(1).map(|ip| ("private_ip".to_owned(), ip.clone()));
            let given = given.collect();
            let (id, name) = (device.id.clone(), device.name.clone());
            found.push((Address::mesh(host), InfraObject { id, name, attributes, given }));
        }
        found
    }

    /// Takes a host in, changes its membership, or ends it. `host` says how it is reached, where it can
    /// be.
    ///
    /// # Errors
    /// It could not be done.
    pub fn perform(&self, act: &Act, hosts: &Hosts, host: Option<&Host>) -> Result<(), Failure> {
        let reached = |address: &Address| {
            host.ok_or_else(|| {
                Failure::new(format!("nothing says how {} is reached", address.scope()))
                    .hint("its machine is not there any more: run it again")
            })
        };
        match act {
            Act::CreateObject { address, object } => self.join(hosts, reached(address)?, object),
            Act::ChangeObject { address, id, object, attributes } => {
                let by_server = |name: &String| name == "tags" || name == "key_expiry";
                if self.control.is_open() && attributes.iter().all(by_server) {
                    return self.correct(address, id, object, attributes);
                }
                self.join(hosts, reached(address)?, object)
            }
            Act::DestroyObject { address, id } => match self.control.is_open() {
                true => self.control.remove(id).map_err(|refusal| {
                    refusal.failure(&format!("could not take {address} off the private network"))
                }),
                // Nobody but the host itself can end its membership then.
                false => hosts.run(reached(address)?, join::LEAVE, join::TIME).map(|_| ()),
            },
            other => Err(Failure::new(format!("a network can't {} anything", other.name()))),
        }
    }

    /// Marks a device as the environment's.
    ///
    /// # Errors
    /// The control server can't be asked, or refuses.
    pub fn adopt(&self, address: &Address, id: &str) -> Result<(), Failure> {
        let tags = std::slice::from_ref(&self.mark);
        self.control
            .set_tags(id, tags)
            .map_err(|refusal| refusal.failure(&format!("could not take over {address}")))
    }

    fn correct(
        &self,
        address: &Address,
        id: &str,
        object: &InfraSpec,
        attributes: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let correct = || -> Result<(), Refusal> {
            if attributes.contains("tags") {
                self.control.set_tags(id, &listed(object.value("tags")))?;
            }
            if attributes.contains("key_expiry") {
                self.control.keep_key(id)?;
            }
            Ok(())
        };
        correct().map_err(|refusal| refusal.failure(&format!("could not change {address}")))
    }
}

fn listed(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The state of a host's client, and what it says.
fn state(facts: &Facts) -> (String, Option<Status>) {
    let Some(said) = &facts.tailscale else { return ("not installed".to_owned(), None) };
    match Status::read(said) {
        Some(status) => (status.backend_state.clone(), Some(status)),
        None => ("not running".to_owned(), None),
    }
}
