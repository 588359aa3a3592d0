//! What is no longer wanted goes: services, hosts, and volumes only when told so.

use crate::harness::{edit, eventually};
use crate::shop::{Shop, at};

/// Takes a service out of both files.
fn drop_service(shop: &Shop, name: &str, role: &str) {
    edit(&shop.file("stagecraft.yml"), &format!("  {name}: {{ role: {role} }}\n"), "");
    let file = shop.file("docker-compose.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    let head = format!("\n  {name}:\n");
    let start = text.find(&head).unwrap();
    let rest = &text[start + head.len()..];
    let end = rest.find("\n\n").map_or(text.len(), |end| start + head.len() + end + 1);
    std::fs::write(&file, format!("{}{}", &text[..start], &text[end..])).unwrap();
}

#[test]
fn a_dropped_service_goes_and_its_volume_stays_until_it_is_pruned() {
    let Some(shop) = Shop::applied() else { return };
    let compose = shop.file("docker-compose.yml");
    drop_service(&shop, "postgres", "db");
    let waits = "    depends_on:\n      postgres:\n        condition: service_healthy\n";
    edit(&compose, waits, "");
    edit(&compose, "      DB_HOST: postgres\n", "");
    edit(&compose, "\nvolumes:\n  postgres_data:\n", "");
    let plan = shop.plan(&[]);
    let changes = plan.changes();
    assert!(changes.contains(&"delete service.app-1/postgres".into()), "{changes:?}");
    assert!(!changes.iter().any(|change| change.contains("volume")), "{changes:?}");
    let text = shop.stagecraft(&["plan"]).ok();
    assert!(text.contains("--prune-volumes") && text.contains("postgres_data"), "{text}");
    shop.apply();
    assert_eq!(shop.containers("h1", "postgres"), Vec::<String>::new());
    let volume = "volume shop-staging_postgres_data".to_owned();
    assert!(shop.traces("h1").contains(&volume));
    shop.is_settled();

    let plan = shop.plan(&["--prune-volumes"]);
    assert_eq!(
        plan.changes(),
        ["delete volume.app-1/postgres_data", "create release.staging"],
        "{plan:#?}"
    );
    shop.stagecraft(&["apply", "--prune-volumes", "--yes"]).exits(0);
    assert!(!shop.traces("h1").contains(&volume));
    shop.is_settled();
}

#[test]
fn a_dropped_host_is_cleared() {
    let Some(shop) = Shop::applied() else { return };
    edit(&shop.file("stagecraft.yml"), "        - { name: app-2, address: 10.99.0.12 }\n", "");
    let plan = shop.plan(&[]);
    for address in ["service.app-2/api", "service.app-2/worker", "file.app-2/compose.yml"] {
        assert_eq!(plan.change(address)["action"], "delete");
    }
    // Killed on the way, the host is not forgotten.
    let mut apply = shop.follow(&["apply"]);
    apply.wait_for("step_done", "service.app-2/worker", "stop");
    apply.signal("KILL");
    apply.end();
    let left = shop.plan(&[]);
    assert!(left.changes().contains(&"delete file.app-2/compose.yml".to_owned()), "{left:#?}");
    shop.apply();
    assert_eq!(shop.traces("h2"), Vec::<String>::new());
    // The database was replaced, since nobody on another host needs its port any more; the api
    // notices at its next question.
    eventually("the api to find its database", 20, || shop.front()["db"] == "ok");
    assert_eq!(shop.version(), "v1");
    shop.is_settled();
    assert_eq!(shop.release()["hosts"], serde_json::json!(["app-1"]));
}

#[test]
fn a_moved_service_starts_there_before_it_stops_here() {
    let Some(shop) = Shop::applied() else { return };
    let config = shop.file("stagecraft.yml");
    edit(&config, "worker: { role: app }", "worker: { role: jobs }");
    let host =
        |number| format!("      jobs: [{{ name: app-{number}, address: 10.99.0.1{number} }}]\n");
    let gateway = "      gateway: [{ name: app-1, address: 10.99.0.11 }]\n";
    edit(&config, gateway, &format!("{gateway}{}", host(1)));
    edit(&config, "      gateway: [app-1]\n", "      gateway: [app-1]\n      jobs: [app-1]\n");
    shop.apply();
    assert_eq!(["h1", "h2"].map(|h| shop.containers(h, "worker").len()), [1, 0]);
    edit(&config, &host(1), &host(2));
    let plan = shop.plan(&[]);
    assert_eq!(plan.change("service.app-1/worker")["action"], "delete");
    assert_eq!(plan.change("service.app-2/worker")["action"], "create");
    shop.apply();
    assert_eq!(["h1", "h2"].map(|h| shop.containers(h, "worker").len()), [0, 1]);
    let journal = shop.journal(3);
    let there = at(&journal, "step_done", "service.app-2/worker", "healthy");
    assert!(there < at(&journal, "step_started", "service.app-1/worker", "stop"), "{journal:#?}");
    shop.is_settled();
}
