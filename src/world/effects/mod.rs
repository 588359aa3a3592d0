//! Effects as scripts: one idempotent POSIX `sh` script for each act, and what its failure means.

mod containers;
mod files;
mod health;
mod objects;
mod releasing;
pub(super) mod routes;

use std::time::Duration;

use crate::model::{Act, Blocked, BlockedReason, Effect, Failure, RouteSpec, Servers};

use super::layout::Layout;
use super::quote::quote;
use super::refusal;
use super::secrets::Secrets;
use super::shell::PRELUDE;
use super::transport::Output;

/// What a script says on standard error right before it gives up, with the command that failed.
const COMMAND: &str = "stagecraft-command: ";
/// What a script says on standard error when it knows better than a command what is wrong.
const REASON: &str = "stagecraft-reason: ";

/// Functions that the scripts of effects use. `try` runs a command and gives up, naming it, when
/// it fails; `give_up` names a reason. `lenient PATTERN` is a `try` for which error lines that
/// match PATTERN are no failure. `listed SERVICE OPTION...` is `docker ps` for those of a service's containers that are ours,
/// and `members` prints their ids. `clock` sets `now` to a time in milliseconds. `mask` copies its input without the values of the env file in force:
/// an application may say them, and who rolls back need not know them.
const HELPERS: &str = r#"
give_up() { printf 'stagecraft-reason: %s\n' "$*" >&2; exit 1; }
try() { "$@" || { printf 'stagecraft-command: %s\n' "$*" >&2; exit 1; }; }
lenient() {
  pattern=$1
  shift
  said=$("$@" 2>&1 >/dev/null) && return 0
  left=$(printf '%s\n' "$said" | grep -v -i -e "$pattern" | grep -v '^[[:space:]]*$') || return 0
  printf '%s\nstagecraft-command: %s\n' "$left" "$*" >&2
  exit 1
}
clock() { if read -r up _ </proc/uptime; then now=${up%.*}${up#*.}0; else now=$(date +%s)000; fi 2>/dev/null; }
GONE='no such container\|no such network\|no such volume\|network .* not found\|removal of container .* is already in progress'
mask() {
  if [ -z "$E" ] || [ ! -r "$E" ]; then cat; return; fi
  awk -v file="$E" '
    function add(value,  i) {
      if (length(value) < 6) return
      for (i = ++count; i > 1 && length(values[i - 1]) < length(value); i--) values[i] = values[i - 1]
      values[i] = value
    }
    BEGIN {
      while ((getline line < file) > 0) {
        sub(/^[ \t]*(export[ \t]+)?[A-Za-z_][A-Za-z0-9_.-]*[ \t]*[=:][ \t]*/, "", line)
        sub(/[ \t\r]+$/, "", line)
        mark = substr(line, 1, 1)
        if (mark == "\"" || mark == "\047") line = substr(line, 2)
        if (line ~ /["\047]$/) line = substr(line, 1, length(line) - 1)
        if (mark == "\"") { gsub(/\\"/, "\"", line); gsub(/\\\$/, "$", line) }
        parts = split(line, part, /\\[nr]/)
        for (i = 1; i <= parts; i++) {
          add(part[i])
          if (mark == "\"" && part[i] ~ /\\\\/) { gsub(/\\\\/, "\\", part[i]); add(part[i]) }
        }
      }
    }
    {
      out = $0
      for (i = 1; i <= count; i++) {
        rest = out
        out = ""
        while ((at = index(rest, values[i])) > 0) {
          out = out substr(rest, 1, at - 1) "\001"
          rest = substr(rest, at + length(values[i]))
        }
        out = out rest
      }
      gsub(/\001/, "(sensitive)", out)
      print out
    }'
}
listed() {
  service=$1
  shift
  docker ps -a --no-trunc --filter "label=com.docker.compose.project=$P" --filter "label=stagecraft.environment=$MARK" \
    --filter "label=com.docker.compose.service=$service" --filter label=com.docker.compose.oneoff=False "$@"
}
members() {
  if quick; then
    only=$1 state=''
    shift
    for word; do case $word in status=*) state=",\"status\":[\"${word#status=}\"]" ;; esac; done
    said=$(engine -G -d all=1 --data-urlencode "filters={\"label\":[\"com.docker.compose.project=$P\",\"stagecraft.environment=$MARK\",\"com.docker.compose.service=$only\",\"com.docker.compose.oneoff=False\"]$state}" http://d/containers/json) &&
      { printf '%s' "$said" | container_ids; return; }
    set -- "$only" ${state:+--filter status=running}
  fi
  listed "$@" -q
}
"#;

/// Says that something is at work, for as long as it is: where the apply ends sooner, whoever looks next waits
/// for it. A shell ends where `exec` can't open a file, so that is tried before.
const AT_WORK: &str = r#"
if true >>"$D/store/work" && [ -r "$D/store/work" ]; then exec 8<"$D/store/work"; flock -s 8; fi 2>/dev/null
"#;

/// The script that performs an act.
pub fn script(layout: &Layout, secrets: Option<&Secrets>, act: &Act) -> Result<String, Failure> {
    let body = match act {
        Act::PrepareHost { directory } => files::prepare(directory),
        Act::WriteFile { path, mode, content } => files::write(path, *mode, content),
        Act::RemoveFile { path } => files::remove(path),
        Act::WriteEnv { path, keys } => files::write_env(path, keys, secrets)?,
        Act::RestoreEnv { path, version } => files::restore_env(path, version)?,
        Act::SetMode { path, mode } => files::set_mode(path, *mode),
        Act::CreateNetwork { name, key, definition } => {
            objects::create_network(layout, name, key, definition)
        }
        Act::RemoveNetwork { name } => objects::remove_network(name),
        Act::CreateVolume { name, key, definition } => {
            objects::create_volume(layout, name, key, definition)
        }
        Act::RemoveVolume { name } => objects::remove_volume(name),
        Act::PullImage { image, pin } => objects::pull(image, pin.as_ref()),
        Act::Start { service, replicas, beside, compose } => {
            containers::start(service, *replicas, beside, compose.as_deref())
        }
        Act::Recreate { service, replicas, compose } => {
            containers::recreate(service, *replicas, compose.as_deref())
        }
        Act::AwaitHealthy { service, replicas, beside, timeout_ms, monitor_ms, completes } => {
            health::wait(&health::Wait {
                service,
                replicas: *replicas,
                beside,
                timeout_ms: *timeout_ms,
                monitor_ms: *monitor_ms,
                completes: *completes,
            })
        }
        Act::Stop { containers, drain_ms, grace_s } => {
            let drain = match drain_ms {
                0 => String::new(),
                _ => routes::drain(containers, *drain_ms),
            };
            drain + &containers::stop(containers, *grace_s)
        }
        Act::Remove { containers } => containers::remove(containers),
        Act::RemoveBeside { service, keep, spare } => {
            containers::remove_beside(service, keep, *spare)
        }
        Act::Resume { containers } => containers::resume(containers),
        Act::Rename { container, name } => containers::rename(container, name),
        Act::SetRestart { containers, policy } => containers::set_restart(containers, policy),
        // What it writes depends on what is found: the world asks first.
        Act::Route { .. } => return Err(Failure::new("routes are written in two steps")),
        Act::Drain { containers, timeout_ms } => routes::drain(containers, *timeout_ms),
        Act::Settle { wait_ms } => routes::settle(*wait_ms),
        Act::Hook { containers, command } => routes::hook(containers, command),
        Act::Plugin { plugin, service, timeout_ms, settle_ms, hook } => {
            releasing::plugin(plugin, service, *timeout_ms, *settle_ms, hook)
        }
        Act::Run { service, command } => releasing::run(service, command),
        Act::Confirm { .. } => return Err(Failure::new("a host can't confirm anything")),
        Act::CreateObject { .. } | Act::ChangeObject { .. } | Act::DestroyObject { .. } => {
            return Err(Failure::new("a host can't do what its cloud does"));
        }
    };
    Ok(match is_watch(act) {
        true => whole(layout, &body),
        false => whole(layout, &format!("{AT_WORK}{body}")),
    })
}

/// Whether an act mostly waits: what it leaves when its apply is gone changes nothing, or is looked for.
pub fn is_watch(act: &Act) -> bool {
    matches!(
        act,
        Act::AwaitHealthy { .. } | Act::Drain { .. } | Act::Settle { .. } | Act::Run { .. }
    )
}

/// A script that asks which containers of a service serve.
pub(super) fn serving(layout: &Layout, service: &str) -> String {
    whole(layout, &routes::serving(service))
}

/// A script that prints a file of routes.
pub(super) fn read_route(layout: &Layout, path: &str) -> String {
    whole(layout, &routes::read(path))
}

/// A script that writes a file of routes and sees the proxy take it up.
pub(super) fn write_route(layout: &Layout, route: &RouteSpec, servers: &Servers) -> String {
    whole(layout, &format!("{AT_WORK}{}", routes::write(route, servers)))
}

fn whole(layout: &Layout, body: &str) -> String {
    format!("{PRELUDE}{}{HELPERS}{body}", layout.assignments())
}

/// How long an act may take before it counts as lost.
pub fn patience(act: &Act) -> Duration {
    match act {
        Act::PullImage { .. } => Duration::from_secs(30 * 60),
        Act::Start { .. } | Act::Recreate { .. } | Act::Resume { .. } => Duration::from_secs(600),
        Act::AwaitHealthy { timeout_ms, monitor_ms, .. } => {
            Duration::from_millis(timeout_ms.saturating_add(*monitor_ms)) + Duration::from_secs(30)
        }
        Act::Drain { timeout_ms: ms, .. } | Act::Settle { wait_ms: ms } => {
            Duration::from_millis(*ms) + Duration::from_secs(30)
        }
        Act::Hook { .. } => Duration::from_secs(600),
        Act::Plugin { timeout_ms, settle_ms, .. } => {
            Duration::from_millis(timeout_ms.saturating_add(*settle_ms)) + Duration::from_secs(600)
        }
        Act::Run { .. } => Duration::from_secs(3600),
        Act::Stop { grace_s, drain_ms, .. } => {
            Duration::from_secs(grace_s.saturating_add(60)) + Duration::from_millis(*drain_ms)
        }
        _ => Duration::from_secs(120),
    }
}

/// What an act does, for a sentence that begins with "could not".
fn describe(act: &Act) -> String {
    let names = |list: &[crate::model::ContainerRef]| {
        let names: Vec<&str> = list.iter().map(|it| it.name.as_str()).collect();
        names.join(", ")
    };
    match act {
        Act::PrepareHost { directory } => format!("prepare {directory}"),
        Act::WriteFile { path, .. } | Act::WriteEnv { path, .. } => format!("write {path}"),
        Act::RemoveFile { path } => format!("remove {path}"),
        Act::RestoreEnv { path, version } => format!("restore version {version} of {path}"),
        Act::SetMode { path, .. } => format!("set the mode of {path}"),
        Act::CreateNetwork { name, .. } => format!("create the network {name}"),
        Act::RemoveNetwork { name } => format!("remove the network {name}"),
        Act::CreateVolume { name, .. } => format!("create the volume {name}"),
        Act::RemoveVolume { name } => format!("remove the volume {name}"),
        Act::PullImage { image, .. } => format!("pull {image}"),
        Act::Start { service, .. } => format!("start {service}"),
        Act::Recreate { service, .. } => format!("recreate {service}"),
        Act::AwaitHealthy { service, .. } => format!("see {service} healthy"),
        Act::Stop { containers, .. } => format!("stop {}", names(containers)),
        Act::Remove { containers } => format!("remove {}", names(containers)),
        Act::RemoveBeside { service, .. } => format!("remove containers of {service}"),
        Act::Resume { containers } => format!("resume {}", names(containers)),
        Act::Rename { container, name } => format!("rename {} to {name}", container.name),
        Act::SetRestart { containers, .. } => {
            format!("set the restart policy of {}", names(containers))
        }
        Act::Route { route, .. } => format!("route to {}", route.routes.service),
        Act::Drain { containers, .. } => format!("drain {}", names(containers)),
        Act::Settle { .. } => "wait for the proxy".to_owned(),
        Act::Hook { containers, .. } => format!("run the hook of {}", names(containers)),
        Act::Plugin { service, .. } => format!("roll {service} by docker-rollout"),
        Act::Run { service, command } => format!("run `{}` for {service}", command.join(" ")),
        Act::Confirm { service, .. } => format!("confirm the rollout of {service}"),
        Act::CreateObject { address, .. } => format!("make {address}"),
        Act::ChangeObject { address, .. } => format!("change {address}"),
        Act::DestroyObject { address, .. } => format!("destroy {address}"),
    }
}

/// What an act that was done had to say.
pub fn said(act: &Act, output: &Output) -> Vec<String> {
    if !matches!(act, Act::Run { .. }) {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Whether a script did what it had to, from its output.
pub fn judge(effect: &Effect, output: &Output) -> Result<(), Failure> {
    if output.status == 0 {
        return Ok(());
    }
    if let Act::AwaitHealthy { service, .. } = &effect.act
        && let Some(failure) = health::failure(service, &effect.host, output)
    {
        return Err(failure);
    }
    let said = refusal::last_lines(&output.stderr, 40);
    let tagged = |tag: &str| said.iter().rev().find_map(|line| line.strip_prefix(tag));
    let mut detail: Vec<String> = said
        .iter()
        .filter(|line| !line.starts_with(COMMAND) && !line.starts_with(REASON))
        .cloned()
        .collect();
    detail.drain(..detail.len().saturating_sub(15));
    let hint = refusal::hint(&format!("{}\n{}", output.stderr, detail.join("\n")), &effect.host);
    let why = match (tagged(REASON), detail.last()) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some(last)) => last.clone(),
        (None, None) => format!("exit status {}", output.status),
    };
    if let Some(command) = tagged(COMMAND) {
        let docker = if command.starts_with("compose ") { "docker " } else { "" };
        detail.insert(0, format!("$ {docker}{command}"));
    }
    let what = format!("could not {} on {}: {why}", describe(&effect.act), effect.host);
    let failure = Failure::new(what).detail(detail);
    Err(match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

/// The failure of an act whose host could not be reached, or was lost on the way.
pub fn lost(effect: &Effect, blocked: &Blocked) -> Failure {
    let what =
        format!("could not {} on {}: {}", describe(&effect.act), effect.host, blocked.detail);
    let failure = Failure::new(what);
    match blocked.reason {
        BlockedReason::LoginRefused => {
            failure.hint(format!("check that `ssh` can log in to {}", effect.host))
        }
        _ => failure
            .hint("nothing is known about whether it was done; the next plan says what is left"),
    }
}

/// Quoted ids, separated by spaces.
fn ids(containers: &[crate::model::ContainerRef]) -> String {
    super::quote::quote_all(containers.iter().map(|it| it.id.as_str()))
}

/// Ids as one quoted word with a space around each, to look one up with `case`.
fn id_set(containers: &[crate::model::ContainerRef]) -> String {
    let ids: String = containers.iter().map(|it| format!("{} ", it.id)).collect();
    quote(&format!(" {ids}"))
}
