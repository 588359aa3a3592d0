//! Scripts around routes: what serves on a host, a gateway's file, and whether its proxy has taken it
//! up; then draining what is out of the routes.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::{ContainerRef, Failure, Published, RouteSpec, Section, Servers};
use crate::world::quote::{quote, quote_all};

use super::{files, ids};

/// What a proxy without an API gets on top of its throttle, in milliseconds.
const MARGIN_MS: u64 = 1000;
/// How long a proxy with an API may take on top of its throttle, in milliseconds.
const PATIENCE_MS: u64 = 15_000;

/// A container that may serve, as `serving` lists it.
#[derive(Debug, Deserialize)]
pub struct Serving {
    /// Its id.
    pub id: String,
    /// Docker's state.
    pub state: String,
    /// Its health, `none` without a healthcheck.
    pub health: String,
    /// `NetworkSettings.Ports`.
    ports: Option<Ports>,
}

/// Docker's `NetworkSettings.Ports`: `8080/tcp` to what it is bound to on the host.
pub type Ports = BTreeMap<String, Option<Vec<Binding>>>;

/// Where a port is bound on the host.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Binding {
    host_port: String,
}

impl Serving {
    /// Whether it answers.
    pub fn is_healthy(&self) -> bool {
        self.state == "running" && matches!(self.health.as_str(), "none" | "healthy")
    }

    /// The TCP ports that it has published.
    pub fn published(&self) -> Published {
        self.ports.as_ref().map(published).unwrap_or_default()
    }
}

/// The TCP ports that are bound, each to the first port of the host.
pub fn published(ports: &Ports) -> Published {
    let bound = |(port, bindings): (&String, &Option<Vec<Binding>>)| {
        let port = port.strip_suffix("/tcp")?.parse().ok()?;
        Some((port, bindings.as_ref()?.first()?.host_port.parse().ok()?))
    };
    ports.iter().filter_map(bound).collect()
}

/// Prints one line of JSON for each container of a service.
pub fn serving(service: &str) -> String {
    let format = concat!(
        r#"{"id":{{json .ID}},"state":{{json .State.Status}},"#,
        r#""health":{{if .State.Health}}{{json .State.Health.Status}}{{else}}"none"{{end}},"#,
        r#""ports":{{json .NetworkSettings.Ports}}}"#,
    );
    format!(
        "all=$(members {}) || {{ echo 'stagecraft-command: docker ps' >&2; exit 1; }}\n[ -z \"$all\" ] || docker inspect --type container --format {} $all 2>/dev/null || :\n",
        quote(service),
        quote(format),
    )
}

/// Reads what `serving` printed.
pub fn read_serving(text: &str) -> Result<Vec<Serving>, Failure> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            serde_json::from_str(line).map_err(|error| {
                Failure::new("what Docker says of its containers can't be read")
                    .detail([error.to_string()])
            })
        })
        .collect()
}

/// Prints a file; nothing where there is none.
pub fn read(path: &str) -> String {
    let path = quote(path);
    format!("[ ! -e {path} ] || try cat {path}\n")
}

/// `fetch ID PATH` asks the API of a proxy at its `ips`, which `addresses` prints; from the host, or from
/// within where the host can't.
/// `servers` prints the servers of a service as the API has them, in order.
const SEE: &str = r#"
addresses() {
  docker inspect --type container --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$1" 2>/dev/null
}
fetch() {
  for ip in $ips 127.0.0.1; do
    if command -v curl >/dev/null 2>&1; then
      curl -q -s -g -f --max-time 2 --noproxy '*' "http://$ip:$API$2" 2>/dev/null && return
    elif command -v wget >/dev/null 2>&1; then
      wget -q -T 2 -O - "http://$ip:$API$2" 2>/dev/null && return
    fi
  done
  docker exec "$1" wget -q -T 2 -O - "http://127.0.0.1:$API$2" 2>/dev/null
}
servers() { tr '{,' '\n\n' | sed -n -e 's/^"url":"\([^"]*\)".*$/\1/p' -e 's/^"address":"\([^"]*\)".*$/\1/p' | sort; }
# has ID PATH SERVERS: whether the proxy lists exactly these.
has() {
  said=$(fetch "$1" "$2") || { ips=$(addresses "$1"); return 1; }
  answered=yes
  found=$(printf '%s\n' "$said" | servers)
  [ "$found" = "$3" ]
}
"#;

/// Writes the file, then waits until every proxy that runs on the host has taken it up: its API
/// lists the servers, or, where there is none to ask, the time has passed in which it would.
pub fn write(route: &RouteSpec, servers: &Servers) -> String {
    let place = files::write(&route.path, route.mode, &route.text(servers));
    let throttle = route.proxy.throttle_ms;
    let checks: String = match route.proxy.api {
        Some(_) => expected(route, servers)
            .into_iter()
            .map(|(path, list)| {
                format!("  has \"$id\" {} {} || return 1\n", quote(&path), quote(&list))
            })
            .collect(),
        None => "  return 1\n".to_owned(),
    };
    format!(
        "{place}{SEE}PROXY={}\nAPI={}\nseen() {{\n  id=$1\n{checks}  return 0\n}}\n\
         clock\nbegin=$now answered=''\n\
         for id in $(members \"$PROXY\" --filter status=running); do\n  ips=$(addresses \"$id\")\n  until seen \"$id\"; do\n    clock\n    past=$((now - begin))\n    \
         if [ -z \"$answered\" ] && [ \"$past\" -ge {quiet} ]; then break; fi\n    \
         if [ \"$past\" -ge {late} ]; then\n      docker logs --tail 5 \"$id\" 2>&1 | mask >&2\n      \
         give_up \"$PROXY has not taken up {path} within {seconds} s; it lists: $(echo $found)\"\n    \
         fi\n    sleep 0.02 2>/dev/null || sleep 1\n  done\ndone\n",
        quote(&route.proxy.service),
        route.proxy.api.unwrap_or_default(),
        quiet = throttle + MARGIN_MS,
        late = throttle + PATIENCE_MS,
        seconds = (throttle + PATIENCE_MS) / 1000,
        path = route.path,
    )
}

/// What the API has to list: by its path, the servers in order.
fn expected(route: &RouteSpec, servers: &Servers) -> Vec<(String, String)> {
    let backends = route.routes.backends.iter();
    backends
        .filter_map(|backend| {
            let of = servers.values().filter_map(|of_host| of_host.get(&backend.id())).flatten();
            let mut list: Vec<String> = of
                .map(|address| match backend.section {
                    Section::Http => format!("{}://{address}", backend.scheme),
                    _ => address.clone(),
                })
                .collect();
            list.sort();
            // What has no server has no list either: nothing to wait for.
            let path =
                format!("/api/{}/services/{}@file", backend.section.name(), escaped(&backend.name));
            (!list.is_empty()).then(|| (path, list.join("\n")))
        })
        .collect()
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// Succeeds while somebody from outside is connected to a port on which a process listens; the process
/// of a container that has stopped is 0. Fails with 2 where that can't be seen.
const BUSY: &str = r#"
busy() {
  [ "$1" -gt 0 ] || return 1
  [ -r "/proc/$1/net/tcp" ] || return 2
  cat "/proc/$1/net/tcp" "/proc/$1/net/tcp6" 2>/dev/null | awk '
    { port = $2; sub(/.*:/, "", port) }
    $4 == "0A" { listens[port] = 1 }
    $4 == "01" && $2 !~ /^(0100007F|.{24}0100007F|0{24}01000000):/ { open[port] = 1 }
    END { for (port in open) if (port in listens) exit 0; exit 1 }'
}
"#;

const DRAIN: &str = r#"
drain() {
clock
begin=$now
while :; do
  left=''
  for pid in $(docker inspect --type container --format '{{.State.Pid}}' $IDS 2>/dev/null); do
    busy "$pid"
    [ $? = 1 ] || left=yes
  done
  [ -n "$left" ] || return 0
  clock
  [ "$((now - begin))" -lt "$LIMIT" ] || return 0
  sleep 0.05 2>/dev/null || sleep 1
done
}
drain
"#;

pub fn drain(containers: &[ContainerRef], timeout_ms: u64) -> String {
    let ids: Vec<&str> = containers.iter().map(|container| container.id.as_str()).collect();
    format!("IDS={}\nLIMIT={timeout_ms}\n{BUSY}{DRAIN}", quote(&ids.join(" ")))
}

pub fn settle(wait_ms: u64) -> String {
    format!(
        "sleep {}.{:03} 2>/dev/null || sleep {}\n",
        wait_ms / 1000,
        wait_ms % 1000,
        wait_ms.div_ceil(1000)
    )
}

pub fn hook(containers: &[ContainerRef], command: &[String]) -> String {
    // A container that has gone needs no hook any more.
    format!(
        "for id in {}; do\n  state=$(docker inspect --type container --format '{{{{.State.Status}}}}' \
         \"$id\" 2>/dev/null) || continue\n  [ \"$state\" = running ] || continue\n  said=$(docker exec \
         \"$id\" {command} 2>&1) || {{\n    status=$?\n    printf '%s\\n' \"$said\" | tail -n 20 | \
         mask >&2\n    give_up \"the hook ended with exit status $status\"\n  }}\ndone\n",
        ids(containers),
        command = quote_all(command.iter().map(String::as_str)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_are_those_of_tcp_that_are_bound() {
        let line = r#"{"id":"a","state":"running","health":"none","ports":{"8080/tcp":[{"HostIp":"10.0.0.1","HostPort":"32768"}],"53/udp":[{"HostIp":"","HostPort":"53"}],"9000/tcp":null}}"#;
        let found = read_serving(line).expect("readable");
        assert!(found[0].is_healthy());
        assert_eq!(found[0].published(), Published::from([(8080, 32768)]));
    }
}
