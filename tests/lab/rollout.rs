//! Rolling a new version out: host by host, old ones away when new ones serve, and back off when a
//! version is no good.

use std::collections::BTreeSet;

use crate::shop::{Shop, at};

/// What a new version of the api changes: the two files that name it and the two rollouts.
const ROLL: [&str; 5] = [
    "update file.app-1/compose.yml",
    "update file.app-2/compose.yml",
    "update service.app-1/api",
    "update service.app-2/api",
    "create release.staging",
];

fn sorted(list: &[impl ToString]) -> BTreeSet<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_version_rolls_the_api_alone_host_by_host() {
    let Some(shop) = Shop::applied() else { return };
    let database = shop.containers("h1", "postgres");
    let others = |shop: &Shop| {
        [("h1", "worker"), ("h2", "worker"), ("h1", "gateway")].map(|(h, s)| shop.containers(h, s))
    };
    let untouched = others(&shop);
    let old = [shop.containers("h1", "api"), shop.containers("h2", "api")];

    let plan = shop.plan(&["--version", "v2"]);
    assert_eq!(sorted(&plan.changes()), sorted(&ROLL));
    plan.because("service.app-1/api", "shop-api:v2");
    shop.stagecraft(&["deploy", "v2", "--yes"]).exits(0);

    let journal = shop.journal(2);
    let first_away = at(&journal, "step_done", "service.app-1/api", "stop");
    let second_begins = at(&journal, "step_started", "service.app-2/api", "start");
    assert!(first_away < second_begins, "{journal:#?}");
    for address in ["service.app-1/api", "service.app-2/api"] {
        let healthy = at(&journal, "step_done", address, "healthy");
        assert!(healthy < at(&journal, "step_started", address, "stop"));
    }
    // Both hosts have the image before either begins.
    for address in ["service.app-1/api", "service.app-2/api"] {
        let pulled = at(&journal, "step_done", address, "pull");
        assert!(pulled < at(&journal, "step_started", "service.app-1/api", "start"));
    }
    assert_eq!(shop.containers("h1", "postgres"), database);
    assert_eq!(others(&shop), untouched);
    for (host, old) in ["h1", "h2"].into_iter().zip(&old) {
        assert_eq!(shop.images(host, "api"), ["shop-api:v2"; 2]);
        assert!(shop.containers(host, "api").iter().all(|id| !old.contains(id)));
    }
    assert_eq!((shop.version(), &shop.front()["db"]), ("v2".into(), &"ok".into()));
    assert_eq!((&shop.release()["version"], shop.releases().len()), (&"v2".into(), 2));
    shop.is_settled();
}

/// Deploys a version that is no good and checks that it leaves everything as it was.
fn backs_off(version: &str, last_words: &[&str]) {
    let Some(shop) = Shop::applied() else { return };
    let ids = |shop: &Shop| ["h1", "h2"].map(|host| shop.containers(host, "api"));
    let before = ids(&shop);
    let polls = ["h1", "h2"].map(|host| {
        let addresses = shop.addresses(host, "api");
        let addresses: Vec<String> = addresses.iter().map(|ip| format!("{ip}:8080")).collect();
        assert_eq!(addresses.len(), 2);
        shop.poll(host, &addresses)
    });
    let failed = shop.stagecraft(&["deploy", version, "--yes"]).exits(1);
    let said = format!("{}{}", failed.stdout, failed.stderr);
    for words in last_words {
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }
    polls.into_iter().for_each(|poll| poll.never_failed());
    assert_eq!(ids(&shop), before, "the old ones stay, and nothing else is left");
    assert_eq!(shop.version(), "v1");
    let release = shop.release();
    assert_eq!((&release["number"], &release["outcome"]), (&2.into(), &"failed".into()));
    assert!(release["failure"].as_str().unwrap().contains("service.app-1/api"), "{release}");
    let journal = shop.journal(2);
    let begun = journal.iter().any(|event| {
        event["event"] == "step_started"
            && event["address"] == "service.app-2/api"
            && event["act"] == "start"
    });
    assert!(!begun, "the other host was touched: {journal:#?}");

    // The files of both hosts have gone back to the version in force.
    assert_eq!(release["fell_back"]["outcome"], "succeeded");
    shop.is_settled();
    // Trying again would roll the api again.
    let again = shop.plan(&["--version", version]);
    assert_eq!(again.change("service.app-2/api")["rollout"]["starts"], 2, "{again:#?}");

    shop.stagecraft(&["deploy", "v2", "--yes"]).exits(0);
    assert_eq!(shop.version(), "v2");
    for host in ["h1", "h2"] {
        assert_eq!(shop.images(host, "api"), ["shop-api:v2"; 2]);
    }
    shop.is_settled();
}

#[test]
fn a_version_that_never_becomes_healthy_leaves_the_old_one_serving() {
    backs_off("bad", &["api bad starts", "listens on port 8080", "is unhealthy"]);
}

#[test]
fn a_version_that_crashes_leaves_the_old_one_serving() {
    backs_off("crash", &["cannot start: this version always crashes", "restarts"]);
}

#[test]
fn a_version_that_is_not_in_the_registry_changes_nothing_but_files() {
    let Some(shop) = Shop::applied() else { return };
    let before = ["h1", "h2"].map(|host| shop.containers(host, "api"));
    let failed = shop.stagecraft(&["deploy", "v99", "--yes"]).exits(1);
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert!(said.contains("shop-api:v99"), "{said}");
    assert!(said.contains("check its name and tag"), "{said}");
    assert_eq!(["h1", "h2"].map(|host| shop.containers(host, "api")), before);
    assert_eq!(shop.release()["outcome"], "failed");
    // Back to the version that runs: nothing is left to do to containers.
    shop.stagecraft(&["deploy", "v1", "--yes"]).exits(0);
    assert_eq!(["h1", "h2"].map(|host| shop.containers(host, "api")), before);
    shop.is_settled();
}
