//! Saved plans: applied as they were shown, or not at all.

use crate::harness::edit;
use crate::shop::Shop;

/// Applies the saved plan `p`, which must be refused as stale for this reason.
#[track_caller]
fn is_stale(shop: &Shop, why: &str) {
    let releases = shop.releases().len();
    let refused = shop.stagecraft(&["apply", "p", "--yes"]).exits(1);
    assert!(refused.stderr.contains("the plan is stale"), "{}", refused.stderr);
    assert!(refused.stderr.contains(why), "no {why:?} in {}", refused.stderr);
    assert_eq!(shop.releases().len(), releases);
}

#[test]
fn a_saved_plan_is_applied_once_and_only_while_it_is_true() {
    let Some(shop) = Shop::new() else { return };
    shop.stagecraft(&["plan", "--out", "p"]).exits(0);
    let saved = std::fs::read_to_string(shop.file("p")).unwrap();
    shop.stagecraft(&["apply", "p", "--yes"]).exits(0);
    assert_eq!(shop.version(), "v1");
    is_stale(&shop, "release 1 was made since");
    shop.is_settled();

    shop.stagecraft(&["plan", "--version", "v2", "--out", "p"]).exits(0);
    let compose = shop.file("docker-compose.yml");
    edit(&compose, "stop_grace_period: 10s", "stop_grace_period: 9s");
    is_stale(&shop, "the configuration has changed since");
    edit(&compose, "stop_grace_period: 9s", "stop_grace_period: 10s");

    let worker = shop.containers("h1", "worker")[0].clone();
    shop.lab.console("h1", &format!("docker stop {worker}")).ok();
    is_stale(&shop, "on app-1");
    shop.lab.console("h1", &format!("docker start {worker}")).ok();
    // As it was when the plan was made: it may be applied.
    shop.stagecraft(&["apply", "p", "--yes"]).exits(0);
    assert_eq!(shop.version(), "v2");
    is_stale(&shop, "release 2 was made since");

    std::fs::write(shop.file("p"), saved).unwrap();
    is_stale(&shop, "release 2 was made since");
    shop.is_settled();
    assert_eq!(shop.version(), "v2");
}

#[test]
fn a_saved_plan_that_was_tampered_with_is_refused() {
    let Some(shop) = Shop::new() else { return };
    shop.stagecraft(&["plan", "--out", "p"]).exits(0);
    edit(&shop.file("p"), "shop-worker:v1", "shop-worker:v2");
    shop.stagecraft(&["apply", "p", "--yes"]).exits(1);
    std::fs::write(shop.file("p"), "{}").unwrap();
    shop.stagecraft(&["apply", "p", "--yes"]).exits(1);
    assert!(shop.traces("h1").is_empty());
}
