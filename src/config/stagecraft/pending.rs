//! Keys that change how an environment is deployed and that nothing acts on yet: said on every run,
//! so that nobody relies on them.

use crate::config::diagnostic::Diagnostic;

use super::load::Config;
use super::types::{Driver, OnFailure, RolloutSettings};

impl Config {
    /// A warning for each key that is set and has no effect yet.
    pub fn pending(&self) -> Vec<Diagnostic> {
        let mut keys: Vec<String> = Vec::new();
        for (name, service) in self.file.services.iter() {
            rollout(&format!("services.{name}"), &service.rollout, &mut keys);
            if service.release_command.is_some() {
                keys.push(format!("services.{name}.release_command"));
            }
        }
        for (name, environment) in self.file.environments.iter() {
            let at = format!("environments.{name}");
            rollout(&at, &environment.rollout, &mut keys);
            for (service, settings) in environment.rest.services.iter() {
                rollout(&format!("{at}.{service}"), &settings.rollout, &mut keys);
                if settings.release_command.is_some() {
                    keys.push(format!("{at}.{service}.release_command"));
                }
            }
        }
        keys.into_iter()
            .map(|key| {
                let message = format!("`{key}` has no effect yet");
                Diagnostic::warning("config::pending", message)
                    .help("deploys go on without it; take it out to silence this")
            })
            .collect()
    }
}

fn rollout(at: &str, settings: &RolloutSettings, keys: &mut Vec<String>) {
    let set = [
        ("batch", settings.batch.is_some()),
        ("canary", settings.canary.is_some()),
        // Going back is what happens to the service that fails; the others stay as they are.
        ("on_failure", settings.on_failure == Some(OnFailure::Pause)),
        ("driver", settings.driver == Some(Driver::DockerRollout)),
    ];
    let set = set.into_iter().filter(|(_, set)| *set);
    keys.extend(set.map(|(key, _)| format!("{at}.rollout.{key}")));
}
