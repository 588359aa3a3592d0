//! Requests while things change: a rollout, a failing one, a rollback and an engine that goes away drop
//! none of them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::edge::Edge;

/// Rolls forth, into a failure, and back, under load.
fn rolls_without_a_dropped_request(environment: &'static str, replicas: u32) {
    let Some(edge) = Edge::applied(environment, replicas) else { return };
    let load = edge.load();
    edge.stagecraft(&["deploy", "v2", "--yes"]).exits(0);
    edge.stagecraft(&["deploy", "bad", "--yes"]).exits(1);
    assert_eq!(edge.served(), "v2");
    edge.is_settled();
    edge.stagecraft(&["rollback", "--to", "1", "--yes"]).exits(0);
    load.dropped_nothing(&["v1", "v2"]);
    edge.is_clean("v1", replicas as usize);
}

#[test]
fn one_container_on_the_gateway_itself() {
    rolls_without_a_dropped_request("staging", 1);
}

#[test]
fn three_containers_on_each_of_two_hosts_behind_a_third() {
    rolls_without_a_dropped_request("production", 3);
}

#[test]
fn a_service_that_moves_to_another_host_is_served_all_the_time() {
    let Some(edge) = Edge::applied("production", 2) else { return };
    let load = edge.load();
    edge.edit("stagecraft.yml", "        - { name: app-1, address: 10.99.0.11 }\n", "");
    edge.stagecraft(&["apply", "--yes"]).exits(0);
    load.dropped_nothing(&["v1"]);
    assert_eq!(edge.versions("h1"), Vec::<String>::new());
    edge.is_settled();
}

#[test]
fn an_engine_that_restarts_in_the_middle_costs_no_more_than_its_own_gap() {
    let Some(edge) = Edge::applied("production", 2) else { return };
    let load = edge.load();
    let mut gaps = Vec::new();
    for (version, act) in [("v2", "start"), ("v3", "stop")] {
        let mut deploy = edge.follow(&["deploy", version]);
        deploy.wait_for("step_started", "service.app-1/api", act);
        let began = milliseconds();
        edge.lab.control(&["restart-docker", "h1"]);
        gaps.push(began..milliseconds());
        deploy.end();
        // Whether the step was done or not: what is left is finished.
        edge.stagecraft(&["apply", "--version", version, "--yes"]).exits(0);
        edge.is_clean(version, 2);
    }
    // An engine that starts lays its rules for published ports anew: who connects meanwhile is
    // refused. Nothing else is lost.
    let seen = load.end();
    let started = seen["started_epoch_ms"].as_u64().unwrap();
    for failure in seen["failures"].as_array().unwrap() {
        let at = started + failure["at_ms"].as_u64().unwrap();
        assert!(gaps.iter().any(|gap| gap.contains(&at)), "{failure} {gaps:?} {started}");
    }
}

fn milliseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

#[test]
fn a_cut_network_in_the_middle_costs_no_request() {
    let Some(edge) = Edge::applied("production", 2) else { return };
    // One of the two is cut off from the operator, not from the gateway: a firewall does it.
    let cut = |host: &str, what: &str| {
        let rule = format!("iptables {what} INPUT -i eth0 -s 10.99.0.1 -p tcp --dport 22 -j DROP");
        edge.lab.console(host, &rule).ok();
    };
    let load = edge.load();
    let mut deploy = edge.follow(&["deploy", "v2"]);
    deploy.wait_for("step_started", "service.app-2/api", "healthy");
    cut("h2", "-I");
    deploy.end().exits(1);
    cut("h2", "-D");
    edge.stagecraft(&["apply", "--version", "v2", "--yes"]).exits(0);
    load.dropped_nothing(&["v1", "v2"]);
    edge.is_clean("v2", 2);
}
