//! The laws that hold at every instant, checked after every change of the simulated world.

use std::collections::{BTreeMap, BTreeSet};

use stagecraft::model::{
    Act, Address, Container, ContainerState, Desired, Effect, Health, RolloutOrder, Spec,
};
use stagecraft::world::simulated::{SimulatedState, mesh_ip};

/// A service on a host.
type Place = (String, String);

/// What is watched.
#[derive(Default)]
pub struct Watch {
    /// How many healthy replicas a start-first service must have, once an apply has ended well.
    floors: BTreeMap<Place, u32>,
    /// How many it should have.
    wanted: BTreeMap<Place, u32>,
    /// Services of which one container at a time may run.
    single: BTreeSet<Place>,
    /// What processes are about to make come true.
    intents: BTreeMap<u32, Desired>,
}

fn healthy(container: &Container) -> bool {
    container.ours
        && container.state == ContainerState::Running
        && matches!(container.health, None | Some(Health::Healthy))
}

fn up(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting)
}

fn count(state: &SimulatedState, place: &Place, which: fn(&Container) -> bool) -> u32 {
    let containers = state.hosts.get(&place.0).map(|host| host.state.containers.values());
    let found = containers.into_iter().flatten();
    found.filter(|c| c.service == place.1 && which(c)).count() as u32
}

impl Watch {
    /// A process is about to apply a plan for this.
    pub fn intends(&mut self, process: u32, desired: &Desired) {
        self.intents.insert(process, desired.clone());
    }

    /// A process performs its first effect, or another: what it intends is what counts now.
    pub fn begins(&mut self, process: u32) {
        let Some(desired) = self.intents.remove(&process) else { return };
        let (mut wanted, mut single) = (BTreeMap::new(), BTreeSet::new());
        for (address, resource) in &desired.resources {
            let (Spec::Service(spec), Some(host)) = (&resource.spec, address.on_host()) else {
                continue;
            };
            let place = (host.to_owned(), spec.service.clone());
            match spec.rollout.order {
                RolloutOrder::StartFirst => {
                    wanted.insert(place, spec.replicas);
                }
                RolloutOrder::StopFirst if spec.replicas == 1 => {
                    single.insert(place);
                }
                RolloutOrder::StopFirst => {}
            }
        }
        self.floors.retain(|place, floor| match wanted.get(place) {
            Some(wanted) => {
                *floor = (*floor).min(*wanted);
                true
            }
            None => false,
        });
        (self.wanted, self.single) = (wanted, single);
    }

    /// Somebody else has had their hands in a host: no more can be asked for than is left, and
    /// nothing while an apply is at work, whose plan knows nothing of it.
    pub fn forgive(&mut self, state: &SimulatedState, host: &str, at_work: bool) {
        if at_work {
            self.floors.retain(|place, _| place.0 != host);
        }
        for (place, floor) in &mut self.floors {
            if place.0 == host {
                *floor = (*floor).min(count(state, place, healthy));
            }
        }
    }

    /// An apply has ended well: from now on a service must stay as it is.
    pub fn settle(&mut self, state: &SimulatedState) {
        for (place, wanted) in &self.wanted {
            if count(state, place, healthy) >= *wanted {
                self.floors.insert(place.clone(), *wanted);
            }
        }
    }

    /// Looks at the present; what is wrong with it.
    pub fn look(&self, state: &SimulatedState) -> Option<String> {
        self.floors.iter().find_map(|(place, floor)| {
            let healthy = count(state, place, healthy);
            (healthy < *floor).then(|| {
                let address = Address::service(&place.0, &place.1);
                format!("{address} has {healthy} healthy replicas instead of {floor}")
            })
        })
    }

    /// Looks at what an effect has done; what it should not have.
    pub fn compare(
        &self,
        before: &SimulatedState,
        after: &SimulatedState,
        effect: &Effect,
        may_prune: bool,
    ) -> Option<String> {
        let name = effect.act.name();
        for (host, earlier) in &before.hosts {
            let Some(later) = after.hosts.get(host) else {
                return Some(format!("{host} is gone"));
            };
            let (earlier, later) = (&earlier.state, &later.state);
            for volume in earlier.volumes.keys() {
                let named = matches!(&effect.act, Act::RemoveVolume { name } if name == volume);
                if !(later.volumes.contains_key(volume) || named && may_prune) {
                    return Some(format!("{name} on {host} destroys volume {volume} unasked"));
                }
            }
            for (id, container) in earlier.containers.iter().filter(|(_, c)| !c.ours) {
                let kept = later.containers.get(id).is_some_and(|now| {
                    (now.state, &now.name) == (container.state, &container.name)
                });
                if !kept {
                    return Some(format!("{name} on {host} touches {}", container.name));
                }
            }
            for network in earlier.networks.iter().filter(|(_, found)| !found.ours) {
                if later.networks.get(network.0) != Some(network.1) {
                    return Some(format!("{name} on {host} touches network {}", network.0));
                }
            }
            if earlier != later && *host != effect.host {
                return Some(format!("{name} on {} changes {host}", effect.host));
            }
        }
        self.dropped(before, after, effect).or_else(|| self.doubled(before, after, name))
    }

    /// A container that serves and that a gateway still sends requests to must not go.
    fn dropped(
        &self,
        before: &SimulatedState,
        after: &SimulatedState,
        effect: &Effect,
    ) -> Option<String> {
        let (earlier, later) = (before.hosts.get(&effect.host)?, after.hosts.get(&effect.host)?);
        let serving = earlier.state.containers.iter().filter(|(_, container)| healthy(container));
        for (id, container) in serving {
            let place = (effect.host.clone(), container.service.clone());
            let stays = later.state.containers.get(id).is_some_and(healthy);
            if stays || !self.wanted.contains_key(&place) {
                continue;
            }
            let file = format!("routes/{}.yml", container.service);
            let gateways = after.hosts.iter().filter_map(|(gateway, host)| {
                Some((gateway, &host.state.files.get(&file)?.content))
            });
            for (gateway, text) in gateways {
                let beside = *gateway == effect.host && text.contains(&format!("//{}:", &id[..12]));
                let afar = container
                    .published
                    .values()
                    .any(|port| text.contains(&format!("//{}:{port}\"", mesh_ip(&effect.host))));
                if beside || afar {
                    let act = effect.act.name();
                    return Some(format!(
                        "{act} of {} while {gateway} still routes to it",
                        container.name
                    ));
                }
            }
        }
        None
    }

    /// Of some services one container at a time may run.
    fn doubled(
        &self,
        before: &SimulatedState,
        after: &SimulatedState,
        name: &str,
    ) -> Option<String> {
        self.single.iter().find_map(|place| {
            let (was, is) = (count(before, place, up), count(after, place, up));
            (is > 1 && is > was).then(|| {
                format!("{name}: {is} containers of {} run at once on {}", place.1, place.0)
            })
        })
    }
}
