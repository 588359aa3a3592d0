//! Routes in the simulated world, where every proxy takes up a file as soon as it is written.

use std::collections::BTreeMap;

use super::SimulatedState;
use crate::model::{Act, Container, ContainerState, Failure, Health, Pick, RouteSpec, route_file};
use crate::world::routes::renewed;

impl SimulatedState {
    /// The file that a route comes to.
    pub(super) fn route(
        &self,
        gateway: &str,
        route: &RouteSpec,
        renew: &BTreeMap<String, Pick>,
        needed: bool,
    ) -> Result<Act, Failure> {
        let name = route_file(&route.routes.service);
        let found = self.hosts.get(gateway).and_then(|host| host.state.files.get(&name));
        let mut servers = found.map(|file| route.read(&file.content)).unwrap_or_default();
        for (host, pick) in renew {
            if self.faults.unreachable.contains(host) {
                return Err(Failure::new(format!("{host} can't be reached")));
            }
            let containers = self.hosts.get(host).map(|host| &host.state.containers);
            let mut running: Vec<(&String, &Container)> = containers
                .into_iter()
                .flatten()
                .filter(|(_, container)| {
                    container.ours
                        && container.service == route.routes.service
                        && container.state == ContainerState::Running
                })
                .collect();
            // The later one was made, the higher is its number.
            running.sort_by_key(|(id, container)| (container.number, id.as_str()));
            let running = running.into_iter().map(|(id, container)| {
                let healthy = matches!(container.health, None | Some(Health::Healthy));
                (id.as_str(), healthy, &container.published)
            });
            let serving = pick.from(running).into_iter();
            renewed(route, &mut servers, host, route.servers(host, serving), needed)?;
        }
        let (path, mode) = (route.path.clone(), route.mode);
        Ok(Act::WriteFile { path, mode, content: route.text(&servers) })
    }
}
