//! An apply that is killed anywhere: the service goes on, the next apply finishes, nothing is left.
//!
//! It is killed at every line of its journal, and at some instants in between: 6, or as many as
//! `STAGECRAFT_SWEEP` says, and then the lines are those of a rollout on two hosts instead of one. Every
//! one is under load.

use std::time::{Duration, Instant};

use crate::edge::Edge;
use crate::harness::eventually;

/// The instants that are drawn where nobody says how many.
const INSTANTS: u64 = 6;

/// After an end in the middle: the next apply finishes, and the plan after it is empty.
#[track_caller]
fn is_finished_by_the_next(edge: &Edge, version: &str, replicas: usize) {
    // What a killed apply has begun on a host ends by itself.
    eventually("the hosts to come to rest", 30, || edge.plan().0 == edge.plan().0);
    edge.stagecraft(&["apply", "--version", version, "--yes"]).exits(0);
    edge.is_clean(version, replicas);
}

/// How many instants somebody has asked for.
fn asked() -> Option<u64> {
    std::env::var("STAGECRAFT_SWEEP").ok()?.parse().ok()
}

#[test]
fn killed_at_every_line_of_the_journal() {
    let environment = if asked().is_some() { "production" } else { "staging" };
    let Some(edge) = Edge::applied(environment, 2) else { return };
    // How many lines there are when nobody is killed, and every image is there.
    let mut least = 0;
    for version in ["v2", "v3", "v1"] {
        least = edge.follow(&["deploy", version]).end().stdout.lines().count();
    }
    assert!(least > 10, "only {least} lines");
    let load = edge.load();
    let mut lines = 0;
    loop {
        lines += 1;
        let version = ["v2", "v3", "v1"][lines % 3];
        let mut deploy = edge.follow(&["deploy", version]);
        let killed = deploy.wait_for_number(lines);
        if killed {
            deploy.signal("KILL");
        }
        deploy.end();
        is_finished_by_the_next(&edge, version, 2);
        if !killed {
            break;
        }
    }
    assert!(lines >= least, "only {lines} of {least} lines");
    load.dropped_nothing(&["v1", "v2", "v3"]);
}

#[test]
fn killed_at_any_instant() {
    let Some(edge) = Edge::applied("production", 1) else { return };
    let load = edge.load();
    let began = Instant::now();
    edge.stagecraft(&["deploy", "v2", "--yes"]).exits(0);
    let whole = u64::try_from(began.elapsed().as_millis()).unwrap();
    let instants = asked().unwrap_or(INSTANTS);
    for turn in 0..instants {
        let version = ["v3", "v1", "v2"][turn as usize % 3];
        let deploy = edge.follow(&["deploy", version]);
        // An instant is no event: spread over the whole, and never the same.
        let after = whole * (2 * turn + 1) / (2 * instants) + turn * 7919 % 97;
        std::thread::sleep(Duration::from_millis(after));
        deploy.signal("KILL");
        deploy.end();
        is_finished_by_the_next(&edge, version, 1);
    }
    load.dropped_nothing(&["v1", "v2"]);
}

#[test]
fn a_closed_terminal_and_a_polite_signal_stop_in_good_order() {
    let Some(edge) = Edge::applied("staging", 1) else { return };
    for (signal, version) in [("HUP", "v2"), ("TERM", "v3"), ("INT", "v1")] {
        let mut deploy = edge.follow(&["deploy", version]);
        deploy.wait_for("step_started", "service.app-1/api", "start");
        deploy.signal(signal);
        deploy.end().exits(1);
        let release = edge.release();
        assert_eq!(release["outcome"], "interrupted", "{signal}");
        let number = release["number"].to_string();
        let journal = edge.stagecraft(&["releases", "show", &number, "--journal"]).ok();
        for event in ["stopping", "step_skipped", "finished"] {
            assert!(journal.contains(&format!("\"event\":\"{event}\"")), "{signal}: {journal}");
        }
        assert!(!edge.stagecraft(&["lock", "status"]).ok().contains("locked"), "{signal}");
        is_finished_by_the_next(&edge, version, 1);
    }
}
