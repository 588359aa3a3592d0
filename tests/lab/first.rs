//! The first apply: everything is made, the shop serves, and there is nothing left to do.

use crate::harness::{eventually, get, run};
use crate::shop::{GATEWAY, HOME, Shop};

#[test]
fn a_first_apply_makes_everything_and_a_second_plan_is_empty() {
    let Some(shop) = Shop::new() else { return };
    let planned = shop.stagecraft(&["plan", "--detailed-exitcode"]).exits(2);
    assert!(planned.stdout.contains("17 to add, 0 to change, 0 to destroy"), "{}", planned.stdout);

    let applied = shop.apply();
    assert!(applied.stdout.contains("Apply complete"), "{}", applied.stdout);
    for (host, service, count) in [
        ("h1", "postgres", 1),
        ("h1", "api", 2),
        ("h1", "worker", 1),
        ("h1", "gateway", 1),
        ("h2", "api", 2),
        ("h2", "worker", 1),
        ("h2", "postgres", 0),
        ("h2", "gateway", 0),
    ] {
        let states = shop.inspect(host, service, "{{.State.Status}}");
        assert_eq!(states, vec!["running"; count], "{service} on {host}");
    }
    // From the gateway to the api, and from there to the database.
    let front = shop.front();
    assert_eq!((&front["version"], &front["db"]), (&"v1".into(), &"ok".into()), "{front}");
    let (status, body) = get(GATEWAY, "/visit").unwrap();
    assert_eq!((status, body.trim()), (200, r#"{"visits":"1"}"#));
    // The other host's api reaches the same database.
    let address = shop.addresses("h2", "api")[0].clone();
    let other = shop.lab.console("h2", &format!("curl -s http://{address}:8080/visit")).ok();
    assert_eq!(other.trim(), r#"{"visits":"2"}"#);
    eventually("the workers to work", 20, || shop.front()["jobs"] != "0");

    let second = shop.stagecraft(&["plan", "--detailed-exitcode"]).exits(0);
    assert!(second.stdout.contains("No changes"), "{}", second.stdout);
    let ids = [shop.containers("h1", "api"), shop.containers("h2", "api")];
    let again = shop.apply();
    assert!(again.stdout.contains("No changes"), "{}", again.stdout);
    assert_eq!(ids, [shop.containers("h1", "api"), shop.containers("h2", "api")]);
    assert_eq!(shop.releases().len(), 1);
    let release = shop.release();
    assert_eq!((&release["number"], &release["outcome"]), (&1.into(), &"succeeded".into()));
    shop.is_unlocked();
    let modes = format!("stat -c '%a %U' /etc/shop/env {HOME}/compose.yml {HOME}/env {HOME}/store");
    assert_eq!(shop.lab.console("h2", &modes).ok(), "600 root\n640 root\n700 root\n700 root\n");
}

#[test]
fn nothing_is_applied_that_nobody_confirmed() {
    let Some(shop) = Shop::new() else { return };
    let refused = shop.stagecraft(&["apply"]).exits(1);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    shop.stagecraft(&["apply", "--yes", "--dry-run"]).exits(0);
    shop.stagecraft(&["deploy", "v2", "--yes", "--dry-run"]).exits(0);
    for host in ["h1", "h2"] {
        assert_eq!(shop.traces(host), Vec::<String>::new());
        shop.lab.console(host, "[ ! -e /var/lib/stagecraft ]").ok();
    }
    assert!(shop.releases().is_empty());
}

#[test]
fn a_user_who_may_use_docker_and_own_the_folders_needs_not_be_root() {
    let Some(shop) = Shop::new() else { return };
    let text = std::fs::read_to_string(shop.file("stagecraft.yml")).unwrap();
    let text = text
        .replace("address: 10.99.0.11 }", "address: 10.99.0.11, user: deploy }")
        .replace("address: 10.99.0.12 }", "address: 10.99.0.12, user: deploy }");
    std::fs::write(shop.file("stagecraft.yml"), text).unwrap();
    for host in ["h1", "h2"] {
        let own =
            "mkdir -p /var/lib/stagecraft /etc/shop; chown deploy /var/lib/stagecraft /etc/shop";
        shop.lab.console(host, own).ok();
    }
    run(&mut shop.command(&["apply", "--yes"]), "").exits(0);
    shop.is_settled();
}
