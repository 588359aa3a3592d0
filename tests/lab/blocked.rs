//! What cannot be seen is blocked, with its reason, and nothing is planned for it.

use std::time::{Duration, Instant};

use crate::harness::edit;
use crate::shop::Shop;

/// How long a plan may take to find out that a host does not answer.
const BOUND: Duration = Duration::from_secs(25);

/// The plan exits 1, blocks app-2 for this reason, and plans nothing for it.
#[track_caller]
fn is_blocked(shop: &Shop, reason: &str, words: &str) {
    let plan = shop.plan(&[]);
    assert_eq!(plan.blocked(), [format!("{reason} host.app-2")], "{:#}", plan.0["blocked"]);
    assert!(!plan.changes().iter().any(|change| change.contains(".app-2")), "{plan:#?}");
    for flags in [&["plan"][..], &["plan", "--detailed-exitcode"]] {
        let ran = shop.stagecraft(flags).exits(1);
        assert!(ran.stdout.contains(words), "no {words:?} in {}", ran.stdout);
    }
}

#[test]
fn a_host_whose_link_is_cut_is_blocked() {
    let Some(shop) = Shop::applied() else { return };
    shop.lab.console("h2", "docker stop shop-staging-worker-1").ok();
    shop.lab.console("h1", "docker stop shop-staging-worker-1").ok();
    shop.lab.control(&["cut", "h2"]);
    // The connection of the apply is still open here.
    let began = Instant::now();
    let plan = shop.plan(&[]);
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert_eq!(plan.blocked(), ["unreachable host.app-2"]);
    plan.because("service.app-1/worker", "is stopped");
    assert!(!plan.changes().iter().any(|change| change.contains(".app-2")), "{plan:#?}");
    let began = Instant::now();
    let ran = shop.stagecraft(&["plan", "--detailed-exitcode"]).exits(1);
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert!(ran.stdout.contains("app-2 can't be reached"), "{}", ran.stdout);

    let refused = shop.stagecraft(&["apply", "--yes"]).exits(1);
    assert!(refused.stderr.contains("nothing was changed"), "{}", refused.stderr);
    assert_eq!(shop.inspect("h1", "worker", "{{.State.Status}}"), ["exited"]);
    shop.lab.control(&["heal", "h2"]);
    shop.apply();
    shop.is_settled();
    assert_eq!(shop.releases().len(), 2);
}

#[test]
fn each_reason_is_told_apart() {
    let Some(shop) = Shop::new() else { return };
    let away = |host: &str, program: &str| {
        shop.lab.console(host, &format!("mv {program} {program}.away")).ok();
    };
    let back = |host: &str, program: &str| {
        shop.lab.console(host, &format!("mv {program}.away {program}")).ok();
    };
    for (program, reason, words) in [
        ("/usr/bin/docker", "no_docker", "has no Docker"),
        ("/usr/libexec/docker/cli-plugins/docker-compose", "no_compose", "Compose plugin"),
    ] {
        away("h2", program);
        is_blocked(&shop, reason, words);
        back("h2", program);
    }
    shop.lab.control(&["stop-docker", "h2"]);
    is_blocked(&shop, "engine_down", "does not answer");
    shop.lab.control(&["start-docker", "h2"]);

    let config = shop.file("stagecraft.yml");
    edit(&config, "address: 10.99.0.12 }", "address: 10.99.0.12, user: guest }");
    is_blocked(&shop, "permission_denied", "may not use Docker");
    edit(&config, "user: guest }", "user: nobody-knows }");
    is_blocked(&shop, "login_refused", "refuses the log-in");
    edit(&config, "address: 10.99.0.12, user: nobody-knows }", "address: 10.99.0.99 }");
    is_blocked(&shop, "unreachable", "can't be reached");
    edit(&config, "address: 10.99.0.99 }", "address: no-such-name.invalid }");
    let ran = shop.stagecraft(&["plan"]).exits(1);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("app-2"), "{}", ran.stdout);
}
