//! Rollout policies on real hosts: batches, canaries, commands before a release, other drivers, and what
//! a failure takes back.

use std::fs;

use crate::edge::Edge;
use crate::harness::root;

#[test]
fn a_canary_waits_and_the_next_apply_goes_on_batch_by_batch() {
    let Some(edge) = Edge::applied("production", 2) else { return };
    edge.settle("rollout: { batch: 1, canary: 1, monitor: 500ms }");
    let load = edge.load();
    let paused = edge.stagecraft(&["deploy", "v2", "--yes"]).exits(1).stdout;
    assert!(paused.contains("waits for a confirmation"), "{paused}");
    assert_eq!(edge.release()["outcome"], "paused");
    let versions = edge.versions("h1");
    assert_eq!(versions.iter().filter(|version| *version == "v2").count(), 1, "{versions:?}");
    assert_eq!(edge.versions("h2"), ["v1", "v1"]);
    edge.stagecraft(&["apply", "--yes"]).exits(0);
    load.dropped_nothing(&["v1", "v2"]);
    edge.is_clean("v2", 2);
}

#[test]
fn a_failure_on_the_second_host_takes_the_first_one_back() {
    let Some(edge) = Edge::applied("production", 2) else { return };
    // On the second host the same tag means a version that never becomes healthy.
    let bad = edge.lab.image("shop-api:bad");
    let good = edge.lab.image("shop-api:v2");
    let tag = good.split('@').next().unwrap();
    edge.lab.console("h2", &format!("docker pull -q {bad} && docker tag {bad} {tag}")).ok();
    let load = edge.load();
    let said = edge.stagecraft(&["deploy", "v2", "--yes"]).exits(1).stdout;
    assert!(said.contains("Everything is back as release 1 left it"), "{said}");
    load.dropped_nothing(&["v1", "v2"]);
    assert_eq!(edge.release()["fell_back"]["outcome"], "succeeded");
    edge.is_clean("v1", 2);

    edge.settle("rollout: { on_failure: pause }");
    edge.stagecraft(&["deploy", "v2", "--yes"]).exits(1);
    assert_eq!(
        (edge.versions("h1"), edge.versions("h2")),
        (vec!["v2".to_owned(); 2], vec!["v1".to_owned(); 2])
    );
    edge.lab.console("h2", &format!("docker rmi -f {tag}")).ok();
    edge.stagecraft(&["apply", "--version", "v2", "--yes"]).exits(0);
    edge.is_clean("v2", 2);
}

#[test]
fn a_command_runs_once_before_the_rollout_and_its_output_is_kept() {
    let Some(edge) = Edge::applied("production", 1) else { return };
    edge.settle("release_command: [migrate, \"200\"]");
    let load = edge.load();
    let done = edge.stagecraft(&["deploy", "v2", "--yes"]).exits(0).stdout;
    assert_eq!(done.matches("migrates to v2").count(), 1, "{done}");
    let journal = edge.stagecraft(&["releases", "show", "2", "--journal"]).ok();
    let ran = journal.find("migrates to v2").unwrap();
    assert!(ran < journal.find("\"act\":\"start\"").unwrap(), "{journal}");

    // A run that a killed apply has left at work is waited for; then it runs again.
    edge.edit("stagecraft.yml", "\"200\"", "\"3000\"");
    let mut killed = edge.follow(&["deploy", "v3"]);
    killed.wait_for("step_started", "command.app-1/api", "run");
    crate::harness::eventually("the command to run", 20, || {
        let running = "docker ps -q --filter label=com.docker.compose.oneoff=True";
        !edge.lab.console("h1", running).ok().is_empty()
    });
    killed.signal("KILL");
    killed.end();
    edge.stagecraft(&["apply", "--yes"]).exits(0);
    edge.is_clean("v3", 1);

    edge.edit("stagecraft.yml", "\"3000\"", "\"0\", \"7\"");
    let failed = edge.stagecraft(&["deploy", "v1", "--yes"]).exits(1).stdout;
    assert!(failed.contains("it ended with exit status 7"), "{failed}");
    assert!(failed.contains("migrates to v1"), "{failed}");
    load.dropped_nothing(&["v1", "v2", "v3"]);
    edge.is_clean("v3", 1);
    let back = edge.stagecraft(&["rollback", "--to", "2", "--dry-run"]).exits(0).stdout;
    assert!(back.contains("`migrate 3000`, which has run for api since"), "{back}");
}

#[test]
fn docker_rollout_is_installed_pinned_and_handed_the_step() {
    let Some(edge) = Edge::applied("staging", 2) else { return };
    let plugin = fs::read_to_string(root().join("tests/lab/docker-rollout")).unwrap();
    fs::write(edge.folder().join("roll"), &plugin).unwrap();
    let digest = stagecraft::model::sha256_hex(&plugin);
    edge.settle("rollout: { driver: docker-rollout, drain_hook: \"echo bye\" }");
    let pin = format!("docker_rollout: {{ file: roll, sha256: {digest} }}\nproject:");
    edge.edit("stagecraft.yml", "project:", &pin);
    let done = edge.stagecraft(&["deploy", "v2", "--yes"]).exits(0).stdout;
    assert!(done.contains("service.app-1/api: rolled"), "{done}");
    edge.is_clean("v2", 2);
    let failed = edge.stagecraft(&["deploy", "bad", "--yes"]).exits(1).stdout;
    assert!(failed.contains("New containers are not healthy"), "{failed}");
    edge.is_clean("v2", 2);

    let path = "/var/lib/stagecraft/edge/staging/docker-rollout";
    edge.lab.console("h1", &format!("echo >>{path}")).ok();
    let plan = edge.plan();
    assert_eq!(plan.changes(), ["update file.app-1/docker-rollout", "create release.staging"]);
    edge.stagecraft(&["apply", "--yes"]).exits(0);
    assert_eq!(edge.lab.console("h1", &format!("cat {path}")).ok(), plugin);
}
