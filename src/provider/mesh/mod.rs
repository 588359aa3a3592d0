//! The private network between hosts: Tailscale, and Headscale, which serves Tailscale's clients.

mod control;
mod join;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::config::stagecraft::{Environment, Network, NetworkProvider};
use crate::model::{
    Act, Address, Blocked, BlockedReason, Failure, Host, InfraObject, InfraSpec, InfraState,
    Resource, Rule, Site, Spec, Transport, sha256_hex,
};
use crate::world::tailnet::{Node, Status};

use super::host::{Facts, Hosts, is_root};
use super::http::Refusal;
use control::{Control, Device};

/// What a client says when it is on the network.
const RUNNING: &str = "Running";
/// What it says when it is a member that was taken down.
const STOPPED: &str = "Stopped";
/// What it says when it is no member.
const OUT: &str = "NeedsLogin";
const LASTING: &str = "none";

/// The tag by which devices are known as an environment's: `tag:PROJECT-ENVIRONMENT`. Where that could be
/// another environment's, too, or no tag at all, because it begins with a digit, a digest tells it apart.
pub fn mark(site: &Site) -> String {
    let names = [&site.project, &site.environment];
    let plain = names.map(|name| name.replace('_', "-")).join("-");
    match (site.project.starts_with(|c: char| c.is_ascii_alphabetic()), plain.matches('-').count())
    {
        (true, 1) => format!("tag:{plain}"),
        _ => format!("tag:at-{plain}-{}", &sha256_hex(site.mark())[..6]),
    }
}

/// The tags that hosts have: the mark, and what is asked for besides.
fn tags(network: &Network, site: &Site) -> Vec<String> {
    let given = match network.provider {
        NetworkProvider::Tailscale => network.tailscale.as_ref().map(|it| &it.tags),
        NetworkProvider::Headscale => network.headscale.as_ref().map(|it| &it.tags),
        NetworkProvider::None => None,
    };
    let given = given.into_iter().flatten().map(|tag| tag.to_string());
    let all: BTreeSet<String> = given.chain([mark(site)]).collect();
    all.into_iter().collect()
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
    let tags = tags(network, site);
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
        let mut attributes = Vec::new();
        if made {
            attributes.push(("machine", Address::machine(name).to_string().into(), Rule::InPlace));
        }
        attributes.push(("state", RUNNING.into(), Rule::InPlace));
        attributes.push(("name", name.as_str().into(), Rule::InPlace));
        attributes.push(("tags", tags.clone().into(), Rule::InPlace));
        // At a start Docker may be there before the network is, and does not try twice to publish a port.
        attributes.push(("binds_early", true.into(), Rule::InPlace));
        // Headscale's tagged nodes never expire.
        if network.provider == NetworkProvider::Tailscale {
            attributes.push(("key_expiry", LASTING.into(), Rule::InPlace));
        }
        // A client says of others whether they answer, and not of itself.
        attributes.push(("ssh", ssh.into(), Rule::Once));
        if let Some(server) = &server {
            attributes.push(("login_server", server.as_str().into(), Rule::Once));
        }
        let spec = Spec::Infra(InfraSpec::new(name, attributes));
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
        let mark = mark(site);
        Ok(Some(Self { control, site: site.clone(), mark }))
    }

    /// The devices of the environment; none where nothing opens the control server.
    pub fn devices(&self) -> Result<Option<Vec<Device>>, Failure> {
        let what = "the private network can't be asked for its devices";
        self.control.devices().map_err(|refusal| refusal.failure(what))
    }

    /// Adds everything that the network has of the environment. `facts` are those of the hosts that could be
    /// asked.
    pub fn read(
        &self,
        devices: Option<&[Device]>,
        facts: &BTreeMap<String, Facts>,
        made: &BTreeSet<String>,
        state: &mut InfraState,
    ) {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for (host, facts) in facts {
            let address = Address::mesh(host);
            match self.member(host, facts, devices, made.contains(host)) {
                Ok(Some((object, device))) => {
                    taken.extend(device.map(|device| device.id.as_str()));
                    state.add(address, object);
                }
                Ok(None) => {}
                Err(blocked) => drop(state.blocked.insert(address, blocked)),
            }
        }
        // What is left belongs to machines that are gone, or can't be asked.
        let rest = devices.into_iter().flatten().filter(|device| !taken.contains(&*device.id));
        for device in rest.filter(|device| device.tags.contains(&self.mark)) {
            let host = &device.hostname;
            let mut attributes = BTreeMap::new();
            if let Some(facts) = facts.get(host) {
                attributes.insert("state".to_owned(), json!(client(facts).0));
            }
            if made.contains(host) {
                attributes.insert("machine".into(), json!(Address::machine(host).to_string()));
            }
            state.add(
                Address::mesh(host),
                object(&device.id, &device.name, attributes, &device.ips),
            );
        }
    }

    /// What a host is on the network, with its device where the server knows one; none where it is not on
    /// it. What is not ours, or can't be told, is blocked.
    fn member<'a>(
        &self,
        host: &str,
        facts: &Facts,
        devices: Option<&'a [Device]>,
        made: bool,
    ) -> Result<Option<(InfraObject, Option<&'a Device>)>, Blocked> {
        let (state, status) = client(facts);
        if ["NoState", "Starting"].contains(&state.as_str()) {
            // It has yet to find out itself.
            let detail = format!("the Tailscale client on {host} is at {state}");
            return Err(Blocked { reason: BlockedReason::HalfAnswer, detail });
        }
        let own = status.as_ref().and_then(|status| status.own.as_ref());
        let has_place = |own: &&Node| own.ips.as_ref().is_some_and(|ips| !ips.is_empty());
        let Some(own) = own.filter(|_| state == RUNNING || state == STOPPED).filter(has_place)
        else {
            return Ok(None);
        };
        let device = devices.into_iter().flatten().find(|device| device.is(own));
        if devices.is_some() && device.is_none() && state == RUNNING {
            let detail =
                format!("{host} is on another private network; `tailscale logout` there first");
            return Err(Blocked { reason: BlockedReason::NotOurs, detail });
        }
        let mut tags = match device {
            Some(device) => device.tags.clone(),
            None => own.tags.clone().unwrap_or_default(),
        };
        tags.sort();
        if !made && !tags.contains(&self.mark) {
            let detail = format!("{host} is on the private network without the tag {}", self.mark);
            return Err(Blocked { reason: BlockedReason::NotOurs, detail });
        }
        let expires = match device {
            Some(device) => device.expires,
            None => own.key_expiry.is_some(),
        };
        let mut attributes = BTreeMap::from([
            ("state".to_owned(), json!(state)),
            ("name".to_owned(), json!(own.label())),
            ("tags".to_owned(), json!(tags)),
            ("binds_early".to_owned(), json!(facts.binds_early)),
            ("key_expiry".to_owned(), json!(if expires { "some day" } else { LASTING })),
        ]);
        if made {
            attributes.insert("machine".into(), json!(Address::machine(host).to_string()));
        }
        let id = device.map_or(&own.id, |device| &device.id);
        let ips = own.ips.clone().unwrap_or_default();
        let name = own.dns_name.trim_end_matches('.');
        Ok(Some((object(id, name, attributes, &ips), device)))
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
                let by_server =
                    |name: &String| ["tags", "key_expiry", "name"].contains(&name.as_str());
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
                false => {
                    let host = reached(address)?;
                    is_root(host, &hosts.await_facts(host)?)?;
                    hosts.run(host, join::LEAVE, join::TIME)
                }
            },
            other => Err(Failure::new(format!("a network can't {} anything", other.name()))),
        }
    }

    /// Marks a device as the environment's.
    ///
    /// # Errors
    /// The control server can't be asked, or refuses.
    pub fn adopt(&self, address: &Address, id: &str) -> Result<(), Failure> {
        let devices = self.devices()?.ok_or_else(|| {
            Failure::new("an auth key does not let us ask the private network for its devices")
                .hint("give an API token or an OAuth client's secret")
        })?;
        let device = devices.into_iter().find(|device| device.id == id).ok_or_else(|| {
            Failure::new(format!("the private network has no device {id}"))
                .hint("give the id that its control server has for it")
        })?;
        let mut tags = device.tags;
        tags.push(self.mark.clone());
        self.control
            .set_tags(id, &tags)
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
            if attributes.contains("name") {
                self.control.rename(id, &object.name)?;
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

/// Something on the network; the first of its addresses is given to it.
fn object(
    id: &str,
    name: &str,
    attributes: BTreeMap<String, Value>,
    ips: &[String],
) -> InfraObject {
    let given = ips.iter().take(1).map(|ip| ("private_ip".to_owned(), ip.clone())).collect();
    InfraObject { id: id.to_owned(), name: name.to_owned(), attributes, given }
}

/// The state of a host's client, and what it says.
fn client(facts: &Facts) -> (String, Option<Status>) {
    let Some(said) = &facts.tailscale else { return ("not installed".to_owned(), None) };
    match Status::read(said) {
        Some(status) => (status.backend_state.clone(), Some(status)),
        None => ("not running".to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_environments_have_the_same_mark() {
        let mark = |project: &str, environment: &str| {
            let (project, environment) = (project.to_owned(), environment.to_owned());
            mark(&Site { project, environment, env_path: None })
        };
        assert_eq!(mark("shop", "staging"), "tag:shop-staging");
        let alike = [("shop-eu", "prod"), ("shop", "eu-prod"), ("shop_eu", "prod")];
        let marks: BTreeSet<String> = alike.iter().map(|(one, other)| mark(one, other)).collect();
        assert_eq!(marks.len(), 3, "{marks:?}");
        // A tag begins with a letter.
        assert!(mark("2shop", "prod").starts_with("tag:at-2shop-prod-"));
    }
}
