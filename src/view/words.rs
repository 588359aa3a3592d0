//! The sentences: causes, acts, rollouts, blocked hosts and notes in words, without colour or
//! layout. Text and Markdown share them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Act, Address, Blocked, BlockedReason, Cause, Change, ContainerRef, Kind, Note, Pick, Plan,
    Rollout, RolloutOrder, RouteSpec, Step, Summary,
};

use super::text::{count, line, listing, some};

/// Why a resource changes, in a sentence without its full stop.
pub fn cause(cause: &Cause, plan: &Plan) -> String {
    let back = plan.request.rollback_to;
    match cause {
        Cause::Missing => "it should be there and is not".to_owned(),
        Cause::Changed => match back {
            Some(number) => format!("release {number} had it otherwise"),
            None => "its configuration changed".to_owned(),
        },
        Cause::Drifted { what } => format!("changed outside Stagecraft: {}", line(what)),
        Cause::Unfinished { what } => {
            format!("left by an apply that did not end: {}", line(what))
        }
        Cause::Orphaned => match back {
            Some(number) => format!("not part of release {number}"),
            None => "no longer in the configuration".to_owned(),
        },
        Cause::Replaced { field } => {
            format!("`{}` can't be changed in place", line(field))
        }
        Cause::Upstream { address, what } if what.is_empty() => {
            format!("it uses {}, which changes", line(&address.to_string()))
        }
        Cause::Upstream { address, what } => {
            let verb = if what.len() == 1 { "changes" } else { "change" };
            format!("it uses {} of {}, which {verb}", some(what), line(&address.to_string()))
        }
        Cause::Requested => "asked for".to_owned(),
    }
}

/// What a plan comes to: `3 to add, 1 to change, 0 to destroy`.
pub fn to_do(summary: &Summary) -> String {
    let Summary { add, change, destroy } = summary;
    format!("{add} to add, {change} to change, {destroy} to destroy")
}

/// What an apply came to: `3 added, 1 changed, 0 destroyed`.
pub fn done(summary: &Summary) -> String {
    let Summary { add, change, destroy } = summary;
    format!("{add} added, {change} changed, {destroy} destroyed")
}

/// How a service's containers become the wanted ones, on one line.
pub fn rollout(rollout: &Rollout, steps: &[&Step]) -> String {
    let Rollout { order, reason, replicas, starts, stops, batch, image: _, on_failure: _ } =
        rollout;
    let acts = || steps.iter().map(|step| &step.effect.act);
    // What is put right in containers that stay comes first.
    let mut parts: Vec<String> = acts()
        .filter(|act| {
            matches!(act, Act::Resume { .. } | Act::Rename { .. } | Act::SetRestart { .. })
        })
        .map(act)
        .collect();
    let health = acts().find_map(health);
    // Old containers that serve nobody are removed without being stopped.
    let (serving, idle): (Vec<&String>, Vec<&String>) =
        stops.iter().partition(|name| !is_cleared(name, steps));
    let in_place = *order == RolloutOrder::StopFirst && *starts > 0 && !stops.is_empty();
    let kept = if in_place { 0 } else { replicas.saturating_sub(*starts) };
    if in_place {
        let why = match reason {
            Some(reason) => format!(", because {}", line(reason)),
            None => " (stop-first)".to_owned(),
        };
        parts.push(format!("in place{why}: stop {}", some(stops)));
    } else if !idle.is_empty() {
        parts.push(format!("remove {}", some(&idle)));
    }
    if *starts > 0 {
        parts.push(match (in_place, serving.len(), kept) {
            (false, 0, 0) if idle.is_empty() => format!("start {starts}"),
            (true, ..) | (false, 0, 0) => format!("start {starts} new"),
            (false, 0, _) => format!("start {starts} more ({replicas} in all)"),
            (false, old, _) => format!("start-first: {starts} new beside {old} old"),
        });
    }
    if let (Some(batch), true) = (batch, *starts > 0) {
        parts.push(format!("{batch} at a time"));
    }
    if *starts > 0 || stops.is_empty() {
        parts.extend(health);
    }
    if !in_place && !serving.is_empty() {
        let then = if parts.is_empty() { "" } else { "then " };
        let stays = match kept {
            0 => String::new(),
            1 => "; 1 stays".to_owned(),
            more => format!("; {more} stay"),
        };
        parts.push(format!("{then}{}stop {}{stays}", leaving(steps), some(&serving)));
    }
    if acts().any(|act| matches!(act, Act::Plugin { .. })) {
        parts = vec![format!("docker-rollout: {starts} new beside {} old", stops.len())];
    }
    let canary = acts().find_map(|act| match act {
        Act::Confirm { canary, .. } => Some(*canary),
        _ => None,
    });
    parts.extend(canary.map(|canary| format!("with a pause for confirmation after {canary}")));
    parts.join(", ")
}

/// What happens to containers that serve before they are stopped.
fn leaving(steps: &[&Step]) -> String {
    let mut parts = Vec::new();
    let effects = || steps.iter().map(|step| &step.effect);
    let gateways: BTreeSet<&String> = effects()
        .filter(|effect| matches!(effect.act, Act::Route { .. }))
        .map(|effect| &effect.host)
        .collect();
    if !gateways.is_empty() {
        parts.push(format!("switch the routes on {}, ", some(&gateways)));
    }
    if effects().any(|effect| matches!(effect.act, Act::Settle { .. })) {
        parts.push("give the proxy time, ".to_owned());
    }
    let drains = |act: &Act| match act {
        Act::Drain { .. } => true,
        Act::Stop { drain_ms, .. } => *drain_ms > 0,
        _ => false,
    };
    if effects().any(|effect| drains(&effect.act)) {
        parts.push("drain, ".to_owned());
    }
    if effects().any(|effect| matches!(effect.act, Act::Hook { .. })) {
        parts.push("run the hook, ".to_owned());
    }
    parts.concat()
}

/// What an act waits for, if that is what it does.
fn health(act: &Act) -> Option<String> {
    match act {
        Act::AwaitHealthy { timeout_ms, completes: false, .. } => {
            Some(format!("wait for health ({})", duration(*timeout_ms)))
        }
        Act::AwaitHealthy { timeout_ms, completes: true, .. } => {
            Some(format!("wait until it has ended well ({})", duration(*timeout_ms)))
        }
        _ => None,
    }
}

/// Whether a container is removed without being stopped first.
fn is_cleared(name: &str, steps: &[&Step]) -> bool {
    let among =
        |containers: &[ContainerRef]| containers.iter().any(|container| container.name == name);
    let acts = || steps.iter().map(|step| &step.effect.act);
    acts().any(|act| matches!(act, Act::Remove { containers } if among(containers)))
        && !acts().any(|act| matches!(act, Act::Stop { containers, .. } if among(containers)))
}

/// What undoes a service's rollout when it fails; none where nothing does.
pub fn undo(change: &Change, steps: &[&Step]) -> Option<String> {
    let rollout = change.rollout.as_ref()?;
    let mut parts: Vec<String> = Vec::new();
    let loses_network = |cause: &Cause| match cause {
        Cause::Upstream { address, .. } => address.kind() == Kind::Network,
        _ => false,
    };
    let serve = match change.causes.iter().any(loses_network) {
        true => "the new containers are removed; the old have lost their network by then",
        false => "the new containers are removed, the old keep serving",
    };
    // What came last is undone first.
    for effect in steps.iter().rev().flat_map(|step| &step.undo) {
        let words = match &effect.act {
            Act::RemoveBeside { .. } => match (rollout.order, rollout.stops.is_empty()) {
                (RolloutOrder::StartFirst, false) => serve,
                (RolloutOrder::StopFirst, _) | (_, true) => "the new containers are removed",
            }
            .to_owned(),
            Act::Recreate { .. } | Act::Start { .. } => {
                "the containers from before are made again".to_owned()
            }
            Act::Route { .. } => "the routes lead to the old again".to_owned(),
            Act::AwaitHealthy { .. } => continue,
            Act::Resume { .. } => "the old containers are resumed".to_owned(),
            Act::Remove { .. } => "the new containers are removed".to_owned(),
            other => act(other),
        };
        if !parts.contains(&words) {
            parts.push(words);
        }
    }
    (!parts.is_empty()).then(|| format!("if it fails: {}", parts.join("; ")))
}

fn names(containers: &[ContainerRef]) -> String {
    some(containers.iter().map(|container| &container.name))
}

fn besides(containers: &[ContainerRef]) -> String {
    if containers.is_empty() { String::new() } else { format!(" beside {}", names(containers)) }
}

/// What an act does, as an order: `start 2 of api beside api-1`.
pub fn act(act: &Act) -> String {
    match act {
        Act::PrepareHost { directory } => format!("make {}", line(directory)),
        Act::WriteFile { path, mode, content } => {
            format!("write {} ({mode:04o}, {})", line(path), count(content.lines().count(), "line"))
        }
        Act::RemoveFile { path } => format!("delete {}", line(path)),
        Act::WriteEnv { path, keys } => {
            format!("write {} (0600, {})", line(path), count(keys.len(), "key"))
        }
        Act::RestoreEnv { path, version } => {
            format!("put version {} of {} back", short(version), line(path))
        }
        Act::SetMode { path, mode } => format!("give {} mode {mode:04o} again", line(path)),
        Act::CreateNetwork { name, .. } => format!("create network {}", line(name)),
        Act::RemoveNetwork { name } => format!("remove network {}", line(name)),
        Act::CreateVolume { name, .. } => format!("create volume {}", line(name)),
        Act::RemoveVolume { name } => {
            format!("remove volume {} and the data in it", line(name))
        }
        Act::PullImage { image, pin: None } => format!("pull {}", line(image)),
        Act::PullImage { image, pin: Some(pin) } => {
            let exact = pin.digest.as_deref().unwrap_or(&pin.id);
            format!("pull {} as {}", line(image), short(exact))
        }
        Act::Start { service, replicas, beside, compose } => {
            let again = if compose.is_some() { " again as before" } else { "" };
            format!("start {replicas} of {}{}{again}", line(service), besides(beside))
        }
        Act::Recreate { service, replicas, compose: None } => {
            format!("stop {} and start {replicas} new", line(service))
        }
        Act::Recreate { service, replicas, compose: Some(_) } => {
            format!("make {replicas} of {} again as before", line(service))
        }
        Act::AwaitHealthy { service, replicas, timeout_ms, completes: true, .. } => format!(
            "wait until {replicas} of {} ended well (at most {})",
            line(service),
            duration(*timeout_ms)
        ),
        Act::AwaitHealthy { service, replicas, beside, timeout_ms, .. } => format!(
            "wait until {replicas} of {}{} {} healthy (at most {})",
            line(service),
            besides(beside),
            if *replicas == 1 { "is" } else { "are" },
            duration(*timeout_ms)
        ),
        Act::Stop { containers, drain_ms: 0, grace_s } => {
            format!("stop and remove {} ({grace_s}s grace)", names(containers))
        }
        Act::Stop { containers, drain_ms, grace_s } => {
            let most = duration(*drain_ms);
            format!(
                "let requests to {} end (at most {most}), stop and remove them ({grace_s}s grace)",
                names(containers)
            )
        }
        Act::Remove { containers } => format!("remove {}", names(containers)),
        Act::RemoveBeside { service, keep, spare } => {
            let mut stay: Vec<String> = keep.iter().map(|kept| kept.name.clone()).collect();
            if *spare > 0 {
                stay.push(format!("the {spare} oldest others"));
            }
            let but = if stay.is_empty() { String::new() } else { format!(" but {}", some(stay)) };
            format!("remove the containers of {}{but}", line(service))
        }
        Act::Resume { containers } => format!("resume {}", names(containers)),
        Act::Rename { container, name } => {
            format!("rename {} to {}", line(&container.name), line(name))
        }
        Act::SetRestart { containers, policy } => {
            format!("set restart policy {} on {}", line(policy), names(containers))
        }
        Act::Route { route, renew, .. } => route_words(route, renew),
        Act::Drain { containers, timeout_ms } => {
            format!("let requests to {} end (at most {})", names(containers), duration(*timeout_ms))
        }
        Act::Settle { wait_ms } => {
            format!("give the proxy time to see the new containers ({})", duration(*wait_ms))
        }
        Act::Hook { containers, command } => {
            format!("run `{}` in {}", line(&command.join(" ")), names(containers))
        }
        Act::Plugin { service, .. } => format!("have docker-rollout roll {}", line(service)),
        Act::Run { command, .. } => format!("run `{}` once", line(&command.join(" "))),
        Act::Confirm { service, canary } => {
            format!("wait until somebody confirms {canary} of {}", line(service))
        }
        Act::CreateObject { address, .. } => format!("create {}", line(&address.to_string())),
        Act::ChangeObject { address, attributes, .. } => {
            format!("change {} of {}", some(attributes), line(&address.to_string()))
        }
        Act::DestroyObject { address, id } => {
            format!("destroy {} ({})", line(&address.to_string()), line(id))
        }
    }
}

/// What a file of routes comes to.
fn route_words(route: &RouteSpec, renew: &BTreeMap<String, Pick>) -> String {
    let service = line(&route.routes.service);
    let mut parts: Vec<String> = renew
        .iter()
        .map(|(host, pick)| match pick {
            Pick::Besides(old) if old.is_empty() => format!("all on {}", line(host)),
            Pick::Besides(old) => format!("all on {} but {}", line(host), names(old)),
            Pick::Only { these, spare: 0 } => names(these),
            Pick::Only { these, spare } => {
                format!("{} and the {spare} oldest others", names(these))
            }
        })
        .collect();
    if parts.is_empty() {
        parts.push("what it has".to_owned());
    }
    format!("route {service} to {}", parts.join(", "))
}

/// The first characters of a digest or id.
pub fn short(digest: &str) -> String {
    let (kind, hex) = digest.split_once(':').map_or(("", digest), |(kind, hex)| (kind, hex));
    let hex: String = line(hex).chars().take(12).collect();
    if kind.is_empty() { hex } else { format!("{}:{hex}", line(kind)) }
}

/// An act's name (`Act::name`) while it runs.
pub fn doing(act: &str) -> String {
    match act {
        "prepare" => "preparing",
        "write" => "writing",
        "delete" => "deleting",
        "restore" => "restoring",
        "chmod" => "setting the mode",
        "create" => "creating",
        "remove" => "removing",
        "pull" => "pulling the image",
        "start" => "starting",
        "recreate" => "replacing",
        "healthy" => "waiting for health",
        "stop" => "stopping",
        "resume" => "resuming",
        "rename" => "renaming",
        "update" => "updating",
        "route" => "switching the routes",
        "drain" => "draining",
        "settle" => "waiting for the proxy",
        "hook" => "running the hook",
        "roll" => "rolling",
        "run" => "running the command",
        "confirm" => "waiting for a confirmation",
        "change" => "changing",
        "destroy" => "destroying",
        other => return line(other).into_owned(),
    }
    .to_owned()
}

/// An act's name once it is done.
pub fn did(act: &str) -> String {
    match act {
        "prepare" => "prepared",
        "write" => "written",
        "delete" => "deleted",
        "restore" => "restored",
        "chmod" => "mode set",
        "create" => "created",
        "remove" => "removed",
        "pull" => "image pulled",
        "start" => "started",
        "recreate" => "replaced",
        "healthy" => "healthy",
        "stop" => "stopped",
        "resume" => "resumed",
        "rename" => "renamed",
        "update" => "updated",
        "route" => "routes switched",
        "drain" => "drained",
        "settle" => "proxy waited for",
        "hook" => "hook run",
        "roll" => "rolled",
        "run" => "command run",
        "confirm" => "confirmed",
        "change" => "changed",
        "destroy" => "destroyed",
        other => return format!("{} done", line(other)),
    }
    .to_owned()
}

/// Why something cannot be planned, and what to do about it.
pub fn blocked(address: &Address, blocked: &Blocked) -> (String, String) {
    let host = line(address.scope()).into_owned();
    match blocked.reason {
        BlockedReason::Unreachable => (
            format!("{host} can't be reached"),
            format!("see that it is on and that `ssh {host}` connects, then plan again"),
        ),
        BlockedReason::LoginRefused => (
            format!("{host} refuses the log-in, or is not the host that `ssh` knows"),
            format!("connect once by hand with `ssh {host}`, and mend what it says"),
        ),
        BlockedReason::NoMachine => (
            format!("{host} has no machine with an address"),
            "`stagecraft infra up` makes it, and waits until it has one".to_owned(),
        ),
        BlockedReason::Unsupported => (
            format!("{host} can't be made ready: {}", line(&blocked.detail)),
            "use Debian or Ubuntu, or install Docker there by hand".to_owned(),
        ),
        BlockedReason::NotOurs if address.kind() == Kind::Service => (
            format!(
                "{} was made by Docker Compose without Stagecraft, and would count as a container of {}",
                line(&blocked.detail),
                line(&address.to_string())
            ),
            format!("remove it: `docker rm -f {}` on {host}", line(&blocked.detail)),
        ),
        BlockedReason::NotOurs => (
            format!("{} is there, and is not ours", line(&address.to_string())),
            format!(
                "`stagecraft import {}` takes it over, or leave it out",
                line(&address.to_string())
            ),
        ),
        BlockedReason::NoDocker => (
            format!("{host} has no Docker"),
            "`stagecraft infra up` installs it, where `bootstrap:` is in stagecraft.yml".to_owned(),
        ),
        BlockedReason::EngineDown => (
            format!("the Docker engine on {host} does not answer"),
            format!("see `systemctl status docker` on {host}"),
        ),
        BlockedReason::NoCompose => (
            format!("Docker on {host} has no Compose plugin"),
            format!("install the package docker-compose-plugin on {host}"),
        ),
        BlockedReason::PermissionDenied => (
            format!("the log-in user may not use Docker or read Stagecraft's directory on {host}"),
            format!(
                "log in to {host} as root or as a user of the group docker (`user:` of the host)"
            ),
        ),
        BlockedReason::HalfAnswer => (
            format!("{host} answered only in part"),
            "plan again; if it stays so, `--verbose` shows what came back".to_owned(),
        ),
        BlockedReason::EnvMissing => (
            format!("{host} has no env file"),
            "write it on the host, or put the values into the environment's secrets file"
                .to_owned(),
        ),
        BlockedReason::GatewayUnseen => (
            "its gateway can't be seen".to_owned(),
            "see to the gateway first, then plan again".to_owned(),
        ),
        BlockedReason::SecretsGone => (
            format!("{host} no longer keeps the values that the release ran with"),
            "go on with the values now in force: `--accept-current-secrets`".to_owned(),
        ),
        BlockedReason::WouldDestroyData if address.is_infrastructure() => (
            "it would be destroyed".to_owned(),
            "take the change back, or allow what it says".to_owned(),
        ),
        BlockedReason::WouldDestroyData => (
            "it can't change without losing its data".to_owned(),
            "take the change back, or save the data and remove the volume by hand".to_owned(),
        ),
    }
}

/// What a reader should know besides, as a sentence.
pub fn note(note: &Note, plan: &Plan) -> String {
    match note {
        Note::VolumeKept { address } if address.is_infrastructure() => {
            format!("{} stays, with its data.", line(&address.to_string()))
        }
        Note::VolumeKept { address } => format!(
            "{} is no longer used and stays, with its data; `--prune-volumes` destroys it.",
            line(&address.to_string())
        ),
        Note::Fixed { address } if address.kind() == Kind::Zone => {
            format!("{} stays: it was not made by us.", line(&address.to_string()))
        }
        Note::Fixed { address } if address.kind() == Kind::Project => {
            format!("{} stays: it is not ours alone.", line(&address.to_string()))
        }
        Note::Fixed { address } => {
            format!("{} stays: the cloud does not let go of it.", line(&address.to_string()))
        }
        Note::HistoryGoes { release } => format!(
            "the releases on record, up to {release}, are kept on what is replaced alone, and go with it."
        ),
        Note::LookedAtLater { address } => format!(
            "{} can't be looked at yet; the next plan says what of it differs.",
            line(&address.to_string())
        ),
        Note::Stranger { host, name } => format!(
            "{} on {} has one of our names but not our mark; it is left alone.",
            line(name),
            line(host)
        ),
        Note::CommandStays { service, command } => format!(
            "`{}`, which has run for {} since, can't be undone by going back.",
            line(command),
            line(service)
        ),
        Note::CurrentSecrets { host } => {
            let release = plan
                .request
                .rollback_to
                .map_or("the release".to_owned(), |number| format!("release {number}"));
            format!(
                "the env values that {release} ran with are gone from {}; those in force stay.",
                line(host)
            )
        }
    }
}

/// A time span for people: `0.4s`, `12s`, `1m 5s`, `2h 3m`.
pub fn duration(milliseconds: u64) -> String {
    let seconds = (milliseconds + 500) / 1000;
    match milliseconds {
        0 => "0s".to_owned(),
        ms if ms < 9_900 && ms % 1000 != 0 => {
            // Something that took time never shows as none.
            let tenths = ((ms + 50) / 100).max(1);
            format!("{}.{}s", tenths / 10, tenths % 10)
        }
        _ if seconds < 60 => format!("{seconds}s"),
        _ if seconds < 3600 && seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ if seconds < 3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// What keeps a plan from being whole: `1 host is blocked`, or nothing.
pub fn blocked_count(plan: &Plan) -> Option<String> {
    let blocked: Vec<_> = plan.parts().flat_map(|part| &part.blocked).collect();
    let hosts = blocked.iter().filter(|entry| entry.address.kind() == Kind::Host).count();
    let others = blocked.len() - hosts;
    let parts: Vec<String> = [(hosts, "host"), (others, "resource")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| count(number, noun))
        .collect();
    let verb = if blocked.len() == 1 { "is" } else { "are" };
    (!parts.is_empty()).then(|| format!("{} {verb} blocked", listing(parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        let spans: Vec<String> =
            [0, 1, 1_240, 9_850, 9_999, 12_345, 60_000, 65_000, 3_600_000, 7_380_000]
                .map(duration)
                .to_vec();
        assert_eq!(
            spans,
            ["0s", "0.1s", "1.2s", "9.9s", "10s", "12s", "1m", "1m 5s", "1h 0m", "2h 3m"]
        );
    }
}
