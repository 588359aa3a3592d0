//! The program can end at any instant: what is left is told truthfully, and finished by the next
//! apply.

use crate::harness::eventually;
use crate::shop::{Following, HOME, Shop};

/// After an end in the middle: the plan says that there is something to do, the next apply does it,
/// and nothing is left over.
#[track_caller]
fn is_finished_by_the_next(shop: &Shop, version: &str) {
    comes_to_rest(shop);
    shop.stagecraft(&["plan", "--detailed-exitcode"]).exits(2);
    shop.apply();
    shop.is_settled();
    shop.is_unlocked();
    for host in ["h1", "h2"] {
        let image = format!("shop-api:{version}");
        assert_eq!(shop.images(host, "api"), [image.clone(), image]);
        let all = shop.lab.console(host, "docker ps -aq | wc -l").ok();
        assert_eq!(all.trim(), if host == "h1" { "5" } else { "3" });
        let files = "find /etc/shop /var/lib/stagecraft -name '*new*'";
        assert_eq!(shop.lab.console(host, files).ok(), "");
    }
    assert_eq!(shop.version(), version);
}

/// What a killed apply had begun on a host ends by itself; an apply that comes meanwhile finds
/// that the world moved since its plan, and says so.
fn comes_to_rest(shop: &Shop) {
    eventually("the hosts to come to rest", 30, || shop.plan(&[]).0 == shop.plan(&[]).0);
}

#[track_caller]
fn kill(mut apply: Following, event: &str, address: &str, act: &str) {
    apply.wait_for(event, address, act);
    apply.signal("KILL");
    assert_eq!(apply.end().code, -1);
}

#[test]
fn what_a_killed_apply_left_at_work_is_waited_for() {
    let Some(shop) = Shop::applied() else { return };
    // As a script that outlives its apply: it has begun, and its only trace is the lock that it holds.
    let left = format!(
        "(flock -s 8; touch /run/begun; sleep 3; docker stop -t 0 shop-staging-api-1) \
         8>>{HOME}/store/work >/dev/null 2>&1 &"
    );
    shop.lab.console("h1", &left).ok();
    eventually("it to begin", 10, || shop.lab.console("h1", "test -e /run/begun").code == 0);
    let plan = shop.stagecraft(&["plan"]).ok();
    assert!(plan.contains("shop-staging-api-1 is stopped"), "{plan}");
    shop.lab.console("h1", "rm /run/begun").ok();
    shop.apply();
    // So does an apply that has the lock itself.
    shop.lab.console("h1", &left).ok();
    eventually("it to begin", 10, || shop.lab.console("h1", "test -e /run/begun").code == 0);
    shop.apply();
    shop.is_settled();
    shop.lab.console("h1", "rm /run/begun").ok();
    // An apply that is there keeps nobody waiting: what it does next is not seen yet.
    let alive = format!(
        "(flock 9; flock -s 8; touch /run/begun; sleep 8; docker stop -t 0 shop-staging-api-1; \
         rm /run/begun) 8>>{HOME}/store/work 9>>{HOME}/store/lock >/dev/null 2>&1 &"
    );
    shop.lab.console("h1", &alive).ok();
    eventually("it to begin", 10, || shop.lab.console("h1", "test -e /run/begun").code == 0);
    shop.is_settled();
    eventually("it to end", 20, || shop.lab.console("h1", "test ! -e /run/begun").code == 0);
    shop.apply();
    shop.is_settled();
}

#[test]
fn a_killed_rollout_is_finished_by_the_next_apply() {
    let Some(shop) = Shop::applied() else { return };
    let instants = [
        ("started", "", ""),
        ("step_started", "service.app-1/api", "start"),
        ("step_started", "service.app-1/api", "stop"),
        ("step_done", "service.app-2/api", "start"),
    ];
    for (turn, (event, address, act)) in instants.into_iter().enumerate() {
        eprintln!("killed at {event} {address} {act}");
        let version = ["v2", "v3"][turn % 2];
        kill(shop.follow(&["deploy", version]), event, address, act);
        let release = shop.release();
        assert_eq!(release["outcome"], "running", "{release}");
        is_finished_by_the_next(&shop, version);
    }
}

#[test]
fn a_killed_first_apply_is_finished_by_the_next() {
    let Some(shop) = Shop::new() else { return };
    // What a killed apply had under way may still be done, so no later event can be counted on but
    // the first of its kind.
    for event in ["step_started", "step_done", "step_started", "step_done", "step_done"] {
        eprintln!("killed at the first {event}");
        let mut apply = shop.follow(&["apply"]);
        apply.wait_for(event, "", "");
        apply.signal("KILL");
        apply.end();
        comes_to_rest(&shop);
    }
    is_finished_by_the_next(&shop, "v1");
}

#[test]
fn an_interrupted_apply_finishes_what_runs_and_stops() {
    let Some(shop) = Shop::applied() else { return };
    let mut apply = shop.follow(&["deploy", "v2"]);
    apply.wait_for("step_started", "service.app-1/api", "start");
    apply.signal("INT");
    apply.wait_for("stopping", "", "");
    apply.wait_for("step_done", "service.app-1/api", "start");
    apply.wait_for("finished", "", "");
    let events = apply.seen.clone();
    apply.end().exits(1);
    let begun = |act: &str| {
        let mut begun = events.iter().filter(|event| event["event"] == "step_started");
        begun.any(|event| event["act"] == act && event["address"] == "service.app-1/api")
    };
    assert!(begun("start") && !begun("stop") && !begun("healthy"), "{events:#?}");
    assert_eq!(shop.release()["outcome"], "interrupted");
    shop.is_unlocked();
    is_finished_by_the_next(&shop, "v2");

    // Whoever asks twice does not want to wait.
    let mut apply = shop.follow(&["deploy", "v3"]);
    apply.wait_for("step_started", "service.app-1/api", "healthy");
    apply.signal("TERM");
    apply.wait_for("stopping", "", "");
    apply.signal("INT");
    apply.end().exits(130);
    is_finished_by_the_next(&shop, "v3");
}
