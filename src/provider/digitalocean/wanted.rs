//! What the configuration wants of DigitalOcean: resources with their attributes and rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::super::http::Refusal;
use super::rules::{ANYWHERE, text};
use super::{balancer, dns, project};
use crate::config::stagecraft::{DigitalOcean, Environment, NetworkProvider};
use crate::model::{Address, Failure, InfraSpec, Resource, Rule, Site, Spec};

/// The role whose machines take requests from everybody.
const GATEWAY: &str = "gateway";
/// The port on which Tailscale's clients like to be reached directly.
const MESH_PORT: &str = "41641";
/// How long the name of a volume may be.
const LONGEST_DISK: usize = 64;
const PUBLIC_PORTS: [&str; 2] = ["80", "443"];

/// The tag that marks what is an environment's.
pub fn mark(site: &Site) -> String {
    format!("stagecraft:{}:{}", site.project, site.environment)
}

/// A zone's name as the API has it.
pub fn zone_name(zone: &str) -> String {
    zone.trim_end_matches('.').to_lowercase()
}

/// What something is refused with that has the mark of another environment.
pub fn belongs_to(mark: &str) -> Refusal {
    let message = format!("it is another environment's already: `{mark}`");
    Refusal::Said { status: 409, message }
}

/// The tag of an environment's gateways.
fn gateway_mark(site: &Site) -> String {
    format!("{}:gateway", mark(site))
}

/// The tag that marks a disk which was not made by us; the others have a description. None where its name
/// can't be in a tag.
pub fn disk_mark(site: &Site, address: &Address) -> Option<String> {
    let fits = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let name = address.name().filter(|name| fits(name) && fits(address.scope()))?;
    Some(format!("{}:disk:{}:{name}", mark(site), address.scope()))
}

/// The address of a disk that has such a tag.
pub fn marked_disk(site: &Site, tag: &str) -> Option<Address> {
    let rest = tag.strip_prefix(&mark(site))?.strip_prefix(":disk:")?;
    let (host, name) = rest.split_once(':')?;
    Some(Address::disk(host, name))
}

/// The firewalls, by the names in their addresses: each is for the machines with a tag.
const HOSTS: &str = "hosts";
const GATEWAYS: &str = "gateways";

/// The tag of the machines that a firewall of ours is for.
pub fn tag(site: &Site, firewall: &str) -> Option<String> {
    match firewall {
        HOSTS => Some(mark(site)),
        GATEWAYS => Some(gateway_mark(site)),
        _ => None,
    }
}

/// The name of something of an environment that has no tags, by which it is known.
pub fn name(site: &Site, rest: &str) -> String {
    format!("stagecraft.{}.{}.{rest}", site.project, site.environment)
}

/// What the cloud has to have for an environment.
///
/// # Errors
/// A host has no region, size or image, or the cloud can't have such names.
pub fn resources(
    environment: &Environment,
    settings: &DigitalOcean,
    mesh: NetworkProvider,
    site: &Site,
) -> Result<BTreeMap<Address, Resource>, Failure> {
    let made = || environment.machines.iter().filter(|(_, machine)| machine.made);
    for name in [&site.project, &site.environment].into_iter().chain(made().map(|(name, _)| name)) {
        if name.contains('_') {
            return Err(Failure::new(format!("`{name}` can't be a name at DigitalOcean"))
                .hint("its machines, firewalls and networks have names without `_`; use `-`"));
        }
    }
    if settings.ssh_keys.is_empty() && made().next().is_some() {
        return Err(Failure::new("nothing says who may log in to new machines").hint(
            "set `ssh_keys` under `cloud: { digitalocean: … }`: `doctl compute ssh-key list` shows them",
        ));
    }
    let mut wanted = Wanted { site, settings, resources: BTreeMap::new() };
    wanted.firewalls(mesh);
    for (host, machine) in made() {
        let lacks = |what: &str| {
            let says = format!("nothing says which {what} `{host}` is to have");
            Failure::new(says)
                .hint(format!("set `{what}` under `cloud: {{ digitalocean: … }}`, or at the host"))
        };
        let region = machine.region.as_deref().ok_or_else(|| lacks("region"))?;
        let size = machine.size.as_deref().ok_or_else(|| lacks("size"))?;
        let image = machine.image.as_deref().ok_or_else(|| lacks("image"))?;
        let is_gateway = is_gateway(environment, host);
        wanted.network(region);
        wanted.machine(host, Machine { region, size, image, is_gateway });
        if machine.reserved_ip {
            wanted.reserved_ip(host, region);
        }
        for disk in &machine.volumes {
            wanted.disk(host, &disk.name, u64::from(disk.size.0), region)?;
        }
    }
    wanted.balancer(environment)?;
    wanted.names(environment)?;
    wanted.project(environment);
    Ok(wanted.resources)
}

fn is_gateway(environment: &Environment, host: &str) -> bool {
    environment.hosts.get(host).is_some_and(|host| host.roles.contains(GATEWAY))
}

/// The gateways that the cloud makes.
fn gateways(environment: &Environment) -> Vec<&String> {
    let made = environment.machines.iter().filter(|(_, machine)| machine.made);
    made.map(|(host, _)| host).filter(|host| is_gateway(environment, host)).collect()
}

/// Where whoever asks for a host from outside is led to.
fn place(environment: &Environment, host: &str) -> Address {
    match environment.machines[host].reserved_ip {
        true => Address::reserved_ip(host),
        false => Address::machine(host),
    }
}

/// A range of addresses as the API gives it back: its first address, and how many bits that has.
fn canonical(range: &str) -> String {
    let Some((ip, bits)) = range.split_once('/') else { return range.to_owned() };
    match (ip.parse(), bits.parse::<u32>()) {
        (Ok(IpAddr::V4(ip)), Ok(bits)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            format!("{}/{bits}", Ipv4Addr::from(u32::from(ip) & mask))
        }
        (Ok(IpAddr::V6(ip)), Ok(bits)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            format!("{}/{bits}", Ipv6Addr::from(u128::from(ip) & mask))
        }
        _ => range.to_owned(),
    }
}

/// What a machine is made of.
struct Machine<'a> {
    region: &'a str,
    size: &'a str,
    image: &'a str,
    is_gateway: bool,
}

struct Wanted<'a> {
    site: &'a Site,
    settings: &'a DigitalOcean,
    resources: BTreeMap<Address, Resource>,
}

impl Wanted<'_> {
    fn add(
        &mut self,
        address: Address,
        name: String,
        attributes: impl IntoIterator<Item = (&'static str, Value, Rule)>,
        after: impl IntoIterator<Item = Address>,
    ) {
        let spec = Spec::Infra(InfraSpec::new(name, attributes));
        self.resources.insert(address, Resource { spec, after: after.into_iter().collect() });
    }

    /// The private network of a region.
    fn network(&mut self, region: &str) {
        let name = name(self.site, region);
        self.add(Address::vpc(region), name, [("region", region.into(), Rule::Replaces)], []);
    }

    /// One firewall for all machines, one more for gateways.
    fn firewalls(&mut self, mesh: NetworkProvider) {
        let anywhere = ANYWHERE.map(str::to_owned);
        let from: Vec<String> = match self.settings.ssh_from.as_slice() {
            [] => anywhere.to_vec(),
            ranges => ranges.iter().map(|range| canonical(&range.value)).collect(),
        };
        let mut inbound = vec![text("tcp", "22", "from", &from)];
        match mesh {
            // Without a mesh the hosts see each other on the private network.
            NetworkProvider::None => {
                let ours = [format!("tag {}", mark(self.site))];
                inbound.extend(["tcp", "udp"].map(|it| text(it, "all", "from", &ours)));
            }
            _ => inbound.push(text("udp", MESH_PORT, "from", &anywhere)),
        }
        let outbound = ["icmp", "tcp", "udp"].map(|it| text(it, "all", "to", &anywhere)).to_vec();
        self.firewall(HOSTS, inbound, outbound);
        let public = PUBLIC_PORTS.map(|port| text("tcp", port, "from", &anywhere)).to_vec();
        self.firewall(GATEWAYS, public, Vec::new());
    }

    fn firewall(&mut self, firewall: &str, mut inbound: Vec<String>, outbound: Vec<String>) {
        inbound.sort();
        let attributes = [
            ("inbound", inbound.into(), Rule::InPlace),
            ("outbound", outbound.into(), Rule::InPlace),
            ("tags", json!(Vec::from_iter(tag(self.site, firewall))), Rule::InPlace),
        ];
        self.add(Address::firewall(firewall), name(self.site, firewall), attributes, []);
    }

    /// The zones that are asked for, and in them the environment's domains, which lead to its gateways.
    fn names(&mut self, environment: &Environment) -> Result<(), Failure> {
        let zones: Vec<String> =
            self.settings.dns.iter().map(|zone| zone_name(&zone.value)).collect();
        if zones.is_empty() {
            return Ok(());
        }
        let gateways = gateways(environment);
        for domain in &environment.domains {
            let Some(zone) = dns::zone_of(domain, zones.iter().map(String::as_str)) else {
                return Err(Failure::new(format!("`{domain}` is in no zone of `dns`"))
                    .hint("add its zone to `dns` under `cloud: { digitalocean: … }`"));
            };
            if gateways.is_empty() {
                return Err(Failure::new(format!("`{domain}` leads nowhere"))
                    .hint("give the environment a host with the role `gateway`"));
            }
            let places: Vec<Address> = match environment.load_balancer {
                Some(_) => vec![Address::load_balancer(GATEWAYS)],
                None => gateways.iter().map(|host| place(environment, host)).collect(),
            };
            let data: Vec<String> = places.iter().map(Address::to_string).collect();
            let attributes = [
                ("data", data.into(), Rule::InPlace),
                ("ttl", self.settings.dns_ttl.0.into(), Rule::InPlace),
            ];
            // Whoever is led to a host should find one.
            let ready = gateways.iter().flat_map(|h| [Address::bootstrap(h), Address::mesh(h)]);
            let after = places.into_iter().chain(ready).chain([Address::zone(zone)]);
            self.add(Address::dns(domain, "A"), domain.clone(), attributes, after);
            self.add(Address::zone(zone), zone.to_owned(), [], []);
        }
        Ok(())
    }

    /// What spreads requests over the gateways, where that is asked for.
    fn balancer(&mut self, environment: &Environment) -> Result<(), Failure> {
        let Some(nodes) = environment.load_balancer else { return Ok(()) };
        let gateways = gateways(environment);
        let region = |host: &&String| environment.machines[*host].region.as_deref();
        let regions: BTreeSet<&str> = gateways.iter().filter_map(region).collect();
        let Some(first) = regions.first() else {
            return Err(Failure::new("the load balancer leads nowhere").hint(
                "give the environment a host with the role `gateway` that has no `address`, or set \
                     `load_balancer: 0` under its `cloud`",
            ));
        };
        if regions.len() > 1 {
            let all: Vec<&str> = regions.iter().copied().collect();
            let what = format!("the gateways are in several regions: {}", all.join(", "));
            return Err(Failure::new(what).hint("a load balancer serves one region alone"));
        }
        let vpc = Address::vpc(first);
        let mut forwards = PUBLIC_PORTS.map(|port| format!("tcp {port}")).to_vec();
        forwards.sort();
        let attributes = [
            ("region", (*first).into(), Rule::Replaces),
            ("nodes", nodes.into(), Rule::InPlace),
            ("vpc", vpc.to_string().into(), Rule::Replaces),
            ("tag", gateway_mark(self.site).into(), Rule::InPlace),
            ("health_check", format!("tcp {}", PUBLIC_PORTS[0]).into(), Rule::InPlace),
            ("forwards", forwards.into(), Rule::InPlace),
            ("state", balancer::ACTIVE.into(), Rule::InPlace),
        ];
        let name = name(self.site, GATEWAYS);
        let after = gateways.iter().map(|host| Address::machine(host)).chain([vpc]);
        let after: Vec<Address> = after.collect();
        self.add(Address::load_balancer(GATEWAYS), name, attributes, after);
        Ok(())
    }

    /// An address that leads to a host's machine, whichever that is.
    fn reserved_ip(&mut self, host: &str, region: &str) {
        let machine = Address::machine(host);
        let attributes = [
            ("region", region.into(), Rule::Replaces),
            ("leads_to", machine.to_string().into(), Rule::InPlace),
            ("marked", true.into(), Rule::InPlace),
        ];
        self.add(Address::reserved_ip(host), host.to_owned(), attributes, [machine]);
    }

    /// The project that lists everything else, where one is asked for.
    fn project(&mut self, environment: &Environment) {
        let Some(name) = &environment.cloud_project else { return };
        let listed: Vec<Address> =
            self.resources.keys().filter(|it| project::lists(it)).cloned().collect();
        let mut names: Vec<String> = listed.iter().map(Address::to_string).collect();
        names.sort();
        let attributes = [
            ("name", name.as_str().into(), Rule::InPlace),
            ("resources", names.into(), Rule::InPlace),
        ];
        let address = Address::project(&self.site.environment);
        self.add(address, name.clone(), attributes, listed);
    }

    fn machine(&mut self, host: &str, plan: Machine<'_>) {
        let mut tags = vec![mark(self.site)];
        tags.extend(plan.is_gateway.then(|| gateway_mark(self.site)));
        let keys: Vec<&str> = self.settings.ssh_keys.iter().map(|key| &*key.value.0).collect();
        let vpc = Address::vpc(plan.region);
        let is_number = plan.image.parse::<u64>().is_ok();
        let attributes = [
            ("region", plan.region.into(), Rule::Replaces),
            ("size", plan.size.into(), Rule::InPlace),
            // An image of one's own has a number, by which the cloud does not tell it.
            ("image", plan.image.into(), if is_number { Rule::Once } else { Rule::Replaces }),
            ("vpc", vpc.to_string().into(), Rule::Replaces),
            ("tags", tags.into(), Rule::InPlace),
            ("backups", self.settings.backups.into(), Rule::InPlace),
            ("monitoring", self.settings.monitoring.into(), Rule::Once),
            ("ssh_keys", keys.into(), Rule::Once),
            ("power", "on".into(), Rule::InPlace),
        ];
        // The firewalls stand before what they protect.
        let after = [vpc, Address::firewall(HOSTS), Address::firewall(GATEWAYS)];
        self.add(Address::machine(host), host.to_owned(), attributes, after);
    }

    fn disk(&mut self, host: &str, name: &str, size: u64, region: &str) -> Result<(), Failure> {
        let machine = Address::machine(host);
        let attributes = [
            ("region", region.into(), Rule::Replaces),
            ("size_gib", size.into(), Rule::Grows),
            ("attached_to", machine.to_string().into(), Rule::InPlace),
        ];
        let Site { project, environment, .. } = self.site;
        let full = format!("{project}-{environment}-{host}-{name}").to_lowercase();
        let full = full.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        if full.len() > LONGEST_DISK {
            let what = format!("`{full}` is too long for the name of a disk");
            return Err(Failure::new(what).hint("give the volume or the host a shorter name"));
        }
        self.add(Address::disk(host, name), full, attributes, [machine]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_out_as_the_api_gives_them_back() {
        assert_eq!(canonical("203.0.113.9/24"), "203.0.113.0/24");
        assert_eq!(canonical("2001:DB8::1/32"), "2001:db8::/32");
        assert_eq!(canonical("0.0.0.0/0"), "0.0.0.0/0");
    }
}
