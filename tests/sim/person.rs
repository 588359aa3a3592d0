//! What people do on hosts without asking anybody.

use stagecraft::model::{COMPOSE_FILE, ContainerState, Health, ObjectState};

use crate::rng::Rng;
use crate::sim::Inner;

impl Inner {
    /// A person does something on a host.
    pub fn meddle(&mut self) {
        let hosts: Vec<String> = self.state.hosts.keys().cloned().collect();
        let Some(host) = self.rng.pick(&hosts).cloned() else { return };
        if self.state.faults.unreachable.contains(&host) {
            return;
        }
        let what = {
            let mut rng = Rng::new(self.rng.next());
            meddle(self, &host, &mut rng)
        };
        let Some(what) = what else { return };
        self.say(format_args!("somebody on {host}: {what}"));
        self.watch.forgive(&self.state, &host, self.shelf.holder.is_some());
        self.observe("somebody meddles");
    }
}

fn meddle(inner: &mut Inner, host: &str, rng: &mut Rng) -> Option<String> {
    let made = inner.state.made;
    let found = inner.state.hosts.get_mut(host)?;
    let ids: Vec<String> = found
        .state
        .containers
        .iter()
        .filter(|(_, container)| container.ours)
        .map(|(id, _)| id.clone())
        .collect();
    let id = rng.pick(&ids).cloned();
    let what = rng.between(0, 21);
    if what >= 12 {
        return meddle_with_things(inner, host, rng, what);
    }
    let id = id?;
    if what == 0 {
        let gone = found.state.containers.remove(&id)?;
        return Some(format!("removes {}", gone.name));
    }
    if what == 1 {
        let mut copy = found.state.containers.get(&id)?.clone();
        copy.number += 10;
        copy.published.values_mut().for_each(|port| *port = 60_000 + (made % 5000) as u16);
        copy.name = format!("{}-copy{made}", copy.name);
        let name = copy.name.clone();
        inner.state.made += 1;
        found.state.containers.insert(format!("{made}{id}")[..64].to_owned(), copy);
        return Some(format!("adds {name}"));
    }
    let other = rng.next();
    let number = found.state.containers.values().map(|c| c.number).max().unwrap_or(0) + 1;
    let taken = |name: &str| found.state.containers.values().any(|c| c.name == name);
    let next = {
        let container = found.state.containers.get(&id)?;
        format!("shop-test-{}-{number}", container.service)
    };
    let next_is_taken = taken(&next);
    let container = found.state.containers.get_mut(&id)?;
    let name = container.name.clone();
    let does = match what {
        2 | 3 => {
            if container.state == ContainerState::Created {
                return None;
            }
            container.state = ContainerState::Exited;
            container.exit_code = 137;
            container.health = container.health.map(|_| Health::Unhealthy);
            "stops"
        }
        4 | 5 => {
            if container.state != ContainerState::Running {
                return None;
            }
            container.state = ContainerState::Paused;
            "pauses"
        }
        6 => {
            container.name = format!("mine-{}", other % 100_000);
            "renames"
        }
        7 if !next_is_taken => {
            container.name = next;
            "renames to the next name"
        }
        8 => {
            container.restart = "no".into();
            "takes the restart policy of"
        }
        9 => {
            container.memory = 64 << 20;
            "limits"
        }
        10 if other.is_multiple_of(2) => {
            container.networks.clear();
            "disconnects"
        }
        10 => {
            let names = container.networks.values_mut().next()?;
            match other % 3 {
                0 => names.push("db".into()),
                _ => drop(names.pop()),
            }
            "gives other names to"
        }
        _ => {
            if container.state != ContainerState::Running || container.health.is_none() {
                return None;
            }
            container.health = Some(Health::Unhealthy);
            "makes sick"
        }
    };
    Some(format!("{does} {name}"))
}

fn meddle_with_things(inner: &mut Inner, host: &str, rng: &mut Rng, what: u64) -> Option<String> {
    let made = inner.state.made;
    let found = inner.state.hosts.get_mut(host)?;
    let files = &mut found.state.files;
    let does = match what {
        12 => {
            files.get_mut(COMPOSE_FILE)?.content.push_str("\n# mine\n");
            "edits the Compose file".to_owned()
        }
        13 => {
            files.remove(COMPOSE_FILE)?;
            "removes the Compose file".to_owned()
        }
        14 => {
            files.get_mut(COMPOSE_FILE)?.mode = 0o666;
            "opens the Compose file to all".to_owned()
        }
        15 => {
            let env = found.env.as_mut()?;
            let key = env.keys().next()?.clone();
            env.insert(key.clone(), format!("edited {made}"));
            format!("edits {key} in the env file")
        }
        16 => {
            found.env.take()?;
            "removes the env file".to_owned()
        }
        17 => {
            found.env.as_ref()?;
            found.env_mode = Some(0o644);
            "opens the env file to all".to_owned()
        }
        18 => {
            let names: Vec<String> = found.state.networks.keys().cloned().collect();
            let name = rng.pick(&names)?.clone();
            found.state.networks.remove(&name);
            found.state.containers.values_mut().for_each(|container| {
                container.networks.remove(&name);
            });
            format!("removes network {name}")
        }
        19 => {
            let images: Vec<String> = found.state.images.keys().cloned().collect();
            let image = rng.pick(&images)?.clone();
            found.state.images.remove(&image);
            format!("removes image {image}")
        }
        20 => {
            let name = format!("shop-test_mine{made}");
            let stranger = ObjectState { key: name.clone(), ours: false, definition: "".into() };
            inner.state.made += 1;
            match rng.chance(50) {
                true => found.state.volumes.insert(name.clone(), stranger),
                false => found.state.networks.insert(name.clone(), stranger),
            };
            format!("makes {name}")
        }
        _ => {
            let mut copy = found.state.containers.values().next()?.clone();
            copy.ours = false;
            copy.fingerprint.clear();
            copy.service = format!("adminer{made}");
            copy.name = format!("shop-test-adminer{made}-1");
            let name = copy.name.clone();
            inner.state.made += 1;
            found.state.containers.insert(format!("{made:064}"), copy);
            format!("runs {name}")
        }
    };
    Some(does)
}
