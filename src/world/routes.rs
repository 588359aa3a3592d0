//! Writing a file of routes: who serves is asked on the hosts where it may have changed, everybody
//! else stays as the gateway's file has them.

use std::collections::BTreeMap;

use crate::model::{Effect, Failure, Host, Pick, RouteSpec, Servers};

use super::effects;
use super::effects::routes::{self, Serving};
use super::hosts::HostsWorld;

impl HostsWorld {
    /// Performs `Act::Route`.
    pub(super) async fn route(
        &self,
        hosts: &BTreeMap<String, Host>,
        effect: &Effect,
        route: &RouteSpec,
        renew: &BTreeMap<String, Pick>,
        needed: bool,
    ) -> Result<(), Failure> {
        // Two rollouts may change one file.
        let _alone = self.alone_with(&effect.host, &route.path).await;
        let service = &route.routes.service;
        let script = effects::read_route(self.layout(), &route.path);
        let file = self.carry_out(hosts, effect, &script);
        let (file, found) = tokio::join!(file, self.serving(hosts, effect, service, renew.keys()));
        let mut servers = route.read(&String::from_utf8_lossy(&file?.stdout));
        for (found, (name, pick)) in found?.iter().zip(renew) {
            // Docker lists the newest first.
            let running = found.iter().rev().filter(|found| found.state == "running");
            let running = running.map(|it| (it.id.as_str(), it.is_healthy(), it.published()));
            let picked = pick.from(running);
            let containers = picked.iter().map(|(id, published)| (*id, published));
            renewed(route, &mut servers, name, route.servers(name, containers), needed)?;
        }
        let script = effects::write_route(self.layout(), route, &servers);
        self.carry_out(hosts, effect, &script).await.map(|_| ())
    }

    /// What serves on each of some hosts.
    async fn serving(
        &self,
        hosts: &BTreeMap<String, Host>,
        effect: &Effect,
        service: &str,
        names: impl Iterator<Item = &String>,
    ) -> Result<Vec<Vec<Serving>>, Failure> {
        let script = effects::serving(self.layout(), service);
        let mut found = Vec::new();
        for name in names {
            let asked = Effect { host: name.clone(), act: effect.act.clone() };
            let answer = self.carry_out(hosts, &asked, &script).await?;
            found.push(routes::read_serving(&String::from_utf8_lossy(&answer.stdout))?);
        }
        Ok(found)
    }
}

/// Puts a host's servers in the place of those it had.
///
/// # Errors
/// There are none, although there must be: a route to nobody drops requests.
pub(super) fn renewed(
    route: &RouteSpec,
    servers: &mut Servers,
    host: &str,
    found: BTreeMap<String, Vec<String>>,
    needed: bool,
) -> Result<(), Failure> {
    let service = &route.routes.service;
    let without = route
        .routes
        .backends
        .iter()
        .find(|backend| needed && found.get(&backend.id()).is_none_or(Vec::is_empty));
    if let Some(backend) = without {
        let port = backend.port.unwrap_or_default();
        return Err(Failure::new(format!(
            "{service} has no healthy container on {host} that can be routed to at port {port}"
        ))
        .hint("`stagecraft plan` says what is there; nothing was taken out of the routes"));
    }
    servers.insert(host.to_owned(), found);
    Ok(())
}
