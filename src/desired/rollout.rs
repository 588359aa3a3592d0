//! How a service's containers may be replaced: what can run twice, and how long health may take.

use std::time::Duration;

use serde_json::Value;

use super::render::point;
use super::{Blueprint, PLUGIN_FILE, Placed, routes};
use crate::config::compose::{Healthcheck, Mount, MountKind, Project, Service};
use crate::config::diagnostic::Diagnostic;
use crate::model::{Object, RolloutOrder, RolloutSpec};

/// How long a container without a healthcheck may take to be running, and one whose healthcheck
/// only its image knows to be healthy.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// How a service rolls on a host.
///
/// # Errors
/// The configuration asks for start-first where two containers cannot be beside each other, or for
/// docker-rollout where that can't roll or nothing says which script it is.
pub fn spec(
    blueprint: &Blueprint,
    project: &Project,
    placed: &Placed,
    definition: &Object,
) -> Result<RolloutSpec, Diagnostic> {
    let Placed { name, service, placement, .. } = *placed;
    let hindrance = hindrance(definition, !placed.published.is_empty());
    let risk = || single_writer(service, definition);
    let (order, reason) = match (placement.order, hindrance) {
        (Some(RolloutOrder::StartFirst), Some(reason)) => {
            let message = format!("service `{name}` can't roll start-first: {reason}");
            let problem = point(project, name, Diagnostic::error("rollout::start-first", message));
            return Err(problem.help("set `rollout: { order: stop-first }`, or lift the hindrance"));
        }
        (Some(order), _) => (order, None),
        (None, Some(reason)) => (RolloutOrder::StopFirst, Some(reason)),
        (None, None) => match risk() {
            Some(reason) => (RolloutOrder::StopFirst, Some(reason)),
            None => (RolloutOrder::StartFirst, None),
        },
    };
    let plugin = match placement.by_plugin {
        true => Some(plugin(blueprint, project, name, order)?),
        false => None,
    };
    let hook = match placement.drain_hook.as_slice() {
        [] => labelled_hook(service),
        command => command.to_vec(),
    };
    let check = service.healthcheck.as_ref();
    let has_healthcheck = check.is_some_and(|check| !disabled(check));
    let timeout = placement.health_timeout.unwrap_or_else(|| match check {
        Some(check) if has_healthcheck => deadline(check),
        _ => DEFAULT_TIMEOUT,
    });
    Ok(RolloutSpec {
        order,
        reason,
        health_timeout_ms: milliseconds(timeout),
        has_healthcheck,
        stop_grace_s: service.stop_grace_period.unwrap_or(Duration::from_secs(10)).as_secs(),
        monitor_ms: milliseconds(placement.monitor),
        max_parallel: placement.max_parallel,
        drain_ms: milliseconds(placement.drain),
        settle_ms: routes::settle_ms(blueprint, project, name),
        hook,
        batch: placement.batch,
        canary: placement.canary,
        on_failure: placement.on_failure,
        plugin,
    })
}

/// The path of docker-rollout on a host.
fn plugin(
    blueprint: &Blueprint,
    project: &Project,
    name: &str,
    order: RolloutOrder,
) -> Result<String, Diagnostic> {
    let refuse = |message: String, help: &str| {
        Err(point(project, name, Diagnostic::error("rollout::driver", message)).help(help))
    };
    if order == RolloutOrder::StopFirst {
        return refuse(
            format!("docker-rollout can't replace `{name}`, which rolls stop-first"),
            "leave `driver: docker-rollout` out for this service",
        );
    }
    if blueprint.plugin.is_none() {
        return refuse(
            format!("`{name}` rolls by docker-rollout, and nothing says which"),
            "set `docker_rollout: { file: PATH }` in stagecraft.yml to the plugin's script",
        );
    }
    Ok(blueprint.site.path(PLUGIN_FILE))
}

/// The hook that docker-rollout's label names: a line for the shell of the container that goes.
fn labelled_hook(service: &Service) -> Vec<String> {
    let label = service.labels.get("docker-rollout.pre-stop-hook");
    label
        .map(|line| vec!["sh".to_owned(), "-c".to_owned(), line.replace("$$", "$")])
        .unwrap_or_default()
}

fn disabled(check: &Healthcheck) -> bool {
    check.disable || check.test.first().is_some_and(|first| first == "NONE")
}

/// When a container must have become healthy: after its start period all retries may fail but the
/// last. Missing settings are Docker's defaults.
fn deadline(check: &Healthcheck) -> Duration {
    let second = Duration::from_secs;
    let interval = check.interval.unwrap_or(second(30));
    let timeout = check.timeout.unwrap_or(second(30));
    let retries = u32::try_from(check.retries.unwrap_or(3)).unwrap_or(u32::MAX);
    let start = check.start_period.unwrap_or_default();
    start.saturating_add(interval.saturating_add(timeout).saturating_mul(retries.max(1)))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What makes two containers of a definition on one host impossible.
fn hindrance(definition: &Object, published_for_others: bool) -> Option<String> {
    if definition.contains_key("container_name") {
        return Some("it has a fixed container_name".into());
    }
    if definition.get("network_mode").and_then(Value::as_str) == Some("host") {
        return Some("it uses the host's network".into());
    }
    if published_for_others {
        return Some("services on other hosts reach it at a fixed port".into());
    }
    let ports = definition.get("ports").and_then(Value::as_array).into_iter().flatten();
    let mut published = ports.filter_map(|port| port.get("published")).filter_map(|published| {
        let text = published.as_str().map_or_else(|| published.to_string(), str::to_owned);
        // A range leaves Docker a choice; 0 and nothing leave it every choice.
        (!text.is_empty() && text != "0" && !text.contains('-')).then_some(text)
    });
    published.next().map(|port| format!("it publishes host port {port}"))
}

/// Whether a single container owns data that a second one at the same time could damage.
fn single_writer(service: &Service, definition: &Object) -> Option<String> {
    if crate::model::definition::replicas(definition) != 1 {
        return None;
    }
    let reason = |mount: &Mount| match (mount.kind, mount.source.as_deref()) {
        (MountKind::Volume, Some(source)) => {
            Some(format!("its one container writes to volume {source}"))
        }
        // Compose hands it on to the container that it makes in the place of another.
        (MountKind::Volume, None) => {
            Some("its one container writes to a volume without a name".to_owned())
        }
        // What is there already is no data: sockets, devices.
        (MountKind::Bind, Some(source))
            if !source.ends_with(".sock") && !source.starts_with("/dev/") =>
        {
            Some(format!("its one container writes to {source} of the host"))
        }
        _ => None,
    };
    service.volumes.iter().filter(|mount| !mount.read_only).find_map(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_deadline_follows_the_healthcheck() {
        let second = |seconds| Some(Duration::from_secs(seconds));
        let check = Healthcheck {
            interval: second(1),
            timeout: second(2),
            start_period: second(4),
            retries: Some(5),
            ..Healthcheck::default()
        };
        assert_eq!(deadline(&check), Duration::from_secs(4 + 5 * 3));
        assert_eq!(deadline(&Healthcheck::default()), Duration::from_secs(180));
    }

    #[test]
    fn a_fixed_port_hinders_and_a_range_does_not() {
        let ports = |published: Value| {
            json!({"ports": [{"target": 80, "published": published}]}).as_object().unwrap().clone()
        };
        assert!(hindrance(&ports(json!("80")), false).unwrap().contains("port 80"));
        assert!(hindrance(&ports(json!("8000-8010")), false).is_none());
        assert!(hindrance(&ports(json!("0")), false).is_none());
        assert!(hindrance(&Object::new(), true).is_some());
    }
}
