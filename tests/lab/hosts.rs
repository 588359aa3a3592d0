//! The lab itself: what the other tests take for granted of its hosts and of the shop's images.

use crate::harness::{Lab, copy, edit, eventually, get, run};
use std::process::Command;

const GATEWAY: &str = "10.99.0.11:80";

/// Starts the whole shop on one host with plain Compose.
fn compose_up(lab: &Lab, host: &str, folder: &std::path::Path) {
    for name in ["docker-compose.yml", "example.env"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        lab.put(host, &format!("/srv/shop/{name}"), "600", &text);
    }
    lab.console(host, "cd /srv/shop && docker compose --env-file example.env up -d --wait").ok();
}

fn serves(version: &str) -> bool {
    let wanted = format!("\"version\":\"{version}\"");
    get(GATEWAY, "/").is_ok_and(|(status, body)| status == 200 && body.contains(&wanted))
}

#[test]
fn hosts_are_logged_in_to_by_either_name() {
    let Some(lab) = Lab::clean() else { return };
    assert_eq!(lab.ssh("h1", "hostname").ok(), "h1\n");
    assert_eq!(lab.ssh("app-1", "hostname").ok(), "h1\n");
    assert_eq!(lab.ssh("10.99.0.12", "hostname").ok(), "h2\n");
    lab.ssh("deploy@h1", "docker ps").ok();
    let refused = lab.ssh("guest@h1", "docker ps").exits(1);
    assert!(refused.stderr.contains("permission denied"), "{}", refused.stderr);
}

#[test]
fn the_shop_runs_under_plain_compose() {
    let Some(lab) = Lab::clean() else { return };
    let folder = copy("fixtures/shop");
    compose_up(&lab, "h1", folder.path());
    assert!(serves("v1"));
    let (_, body) = get(GATEWAY, "/").unwrap();
    assert!(body.contains("\"DB_PASSWORD\"") && !body.contains("change-me"), "{body}");
    let (_, first) = get(GATEWAY, "/visit").unwrap();
    assert_eq!(first.trim(), "{\"visits\":\"1\"}");
    // From another host, and from a container there.
    assert!(lab.ssh("h2", "curl -s http://app-1/").ok().contains("\"version\":\"v1\""));
    let image = lab.image("shop-api:v1");
    let script = format!(
        "docker run --rm --entrypoint /bin/sh {image} -c 'wget -qO- http://10.99.0.11/health'"
    );
    assert!(lab.ssh("h2", &script).ok().contains("ok"));
    // Stopping is graceful and quick.
    let started = std::time::Instant::now();
    lab.console("h1", "cd /srv/shop && docker compose --env-file example.env stop").ok();
    assert!(started.elapsed().as_secs() < 8, "{:?}", started.elapsed());
    let codes = "docker inspect -f '{{.State.ExitCode}}' $(docker ps -aq) | sort -u";
    assert_eq!(lab.console("h1", codes).ok(), "0\n");
}

#[test]
fn bad_versions_fail_as_they_should() {
    let Some(lab) = Lab::clean() else { return };
    let folder = copy("fixtures/shop");
    compose_up(&lab, "h1", folder.path());
    for (tag, state) in [("bad", "unhealthy"), ("crash", "restarting")] {
        let image = lab.image(&format!("shop-api:{tag}"));
        let script = format!(
            "docker rm -f one >/dev/null 2>&1
             docker run -d --name one --restart always --health-cmd '/shopd health' \
             --health-interval 0.3s --health-retries 2 {image}"
        );
        lab.console("h1", &script).ok();
        let status = "docker inspect -f '{{.State.Status}} {{.State.Health.Status}}' one";
        eventually(state, 20, || lab.console("h1", status).ok().contains(state));
    }
}

#[test]
fn a_host_keeps_its_disk_when_it_loses_power() {
    let Some(lab) = Lab::clean() else { return };
    let folder = copy("fixtures/shop");
    edit(&folder.path().join("docker-compose.yml"), "${IMAGE_TAG:-v1}", "v2");
    compose_up(&lab, "h1", folder.path());
    assert!(get(GATEWAY, "/visit").is_ok());
    lab.control(&["stop", "h1"]);
    assert!(get(GATEWAY, "/").is_err());
    lab.control(&["start", "h1"]);
    eventually("the shop to be back", 30, || serves("v2"));
    eventually("the database to be back", 30, || {
        get(GATEWAY, "/visit").is_ok_and(|(_, body)| body.trim() == "{\"visits\":\"2\"}")
    });
}

#[test]
fn containers_outlive_their_engine() {
    let Some(lab) = Lab::clean() else { return };
    compose_up(&lab, "h1", copy("fixtures/shop").path());
    let ids = "docker inspect -f '{{.Id}} {{.State.StartedAt}}' $(docker ps -q) | sort";
    let before = lab.console("h1", ids).ok();
    lab.control(&["restart-docker", "h1"]);
    lab.control(&["restart-docker", "h1", "--kill"]);
    assert!(serves("v1"));
    assert_eq!(lab.console("h1", ids).ok(), before);
}

#[test]
fn a_cut_host_is_out_of_reach_but_runs() {
    let Some(lab) = Lab::clean() else { return };
    lab.control(&["cut", "h2"]);
    let mut ssh = Command::new("ssh");
    let ssh = ssh.arg("-F").arg(lab.ssh_config()).args(["-o", "ConnectTimeout=1", "h2", "true"]);
    assert_eq!(run(ssh, "").code, 255);
    assert_eq!(lab.console("h2", "hostname").ok(), "h2\n");
    lab.control(&["heal", "h2"]);
    lab.ssh("h2", "docker ps").ok();
}

#[test]
fn the_program_under_test_starts() {
    let Some(lab) = Lab::open() else { return };
    run(lab.stagecraft(copy("fixtures/shop").path()).arg("--version"), "").ok();
}
