//! What is seen from outside: reserved addresses, the load balancer, and the project that lists everything.

use serde_json::json;

use super::Shop;

const BALANCED: &str = "    load_balancer: 1\n";

/// A shop whose gateway has an address that stays, and no load balancer.
fn with_an_address() -> Shop {
    let shop = Shop::new();
    // Whoever has heard an answer is waited for.
    shop.edit(BALANCED, "    dns_ttl: 30\n");
    shop.edit("gateway: [app-1]", "gateway: [{ name: app-1, reserved_ip: true }]");
    shop.ok(&["up", "--yes"]);
    shop
}

/// The addresses of the gateway's name.
fn said(shop: &Shop) -> String {
    let said = shop.server.account().said("shop.example");
    said.into_iter().find(|it| it.starts_with("A @ ")).unwrap_or_default()
}

#[test]
fn a_reserved_address_stays_when_its_machine_is_another_one() {
    let shop = with_an_address();
    let before = said(&shop);
    assert!(before.starts_with("A @ 198.51.100."), "{before}");
    shop.edit("name: app-1, reserved", "name: app-1, image: debian-13-x64, reserved");
    let done = shop.ok(&["up", "--yes", "--allow-destroy", "machine.app-1"]);
    assert!(done.contains("-/+ machine.app-1") && done.contains("~ reserved_ip.app-1"), "{done}");
    assert!(!done.contains("dns."), "{done}");
    assert_eq!(said(&shop), before);
    let account = shop.server.account();
    assert!(account.under_way.is_empty());
    let leads = account.reserved_ips.values().flatten();
    assert!(
        leads.clone().count() == 2 && leads.clone().all(|id| account.droplets.contains_key(id))
    );
    drop(account);
    let plan = shop.ok(&["up", "--dry-run"]);
    assert!(plan.contains("No changes"), "{plan}");

    // To give it up is to lose it.
    shop.edit(", reserved_ip: true }]\n      db", " }]\n      db");
    let refused = shop.exits(1, &["up", "--yes"]);
    assert!(refused.contains("--allow-destroy reserved_ip.app-1"), "{refused}");
    let began = std::time::Instant::now();
    shop.ok(&["up", "--yes", "--allow-destroy", "reserved_ip.app-1"]);
    assert!(began.elapsed().as_secs() >= 30, "nobody was waited for");
    assert!(said(&shop).starts_with("A @ 203.0.113."), "{}", said(&shop));
    shop.is_in_order();
}

#[test]
fn a_reserved_address_of_somebody_elses_is_left_alone_until_it_is_taken_over() {
    let shop = with_an_address();
    let ip = said(&shop).replace("A @ ", "");
    // Without its mark it is a stranger's, whatever it leads to.
    shop.server.account().tags.retain(|tag| !tag.contains(":ip:app-1"));
    let refused = shop.exits(1, &["up", "--yes"]);
    let hint = format!("`stagecraft import reserved_ip.app-1 {ip}` takes it over");
    assert!(refused.contains(&hint), "{refused}");
    let other = format!("stagecraft:shop:production:ip:app-1:{}", ip.replace('.', "-"));
    shop.server.account().tags.insert(other.clone());
    let import = || shop.verb("import", &["reserved_ip.app-1", &ip]).output().unwrap();
    let said = String::from_utf8_lossy(&import().stderr).into_owned();
    assert!(said.contains("another environment's") && said.contains(&other), "{said}");
    shop.server.account().tags.remove(&other);
    assert!(import().status.success());
    let plan = shop.ok(&["up", "--dry-run"]);
    assert!(plan.contains("No changes"), "{plan}");
    shop.is_in_order();
}

#[test]
fn a_load_balancer_that_was_made_by_hand_is_taken_over() {
    let shop = Shop::new();
    let id = {
        let mut account = shop.server.account();
        account.tags.insert("web".into());
        let rule = json!({ "entry_protocol": "http", "entry_port": 80, "target_protocol": "http",
            "target_port": 8080 });
        let none = std::collections::BTreeMap::new();
        let body = json!({ "name": "by-hand", "region": "fra1", "size_unit": 2, "tag": "web",
            "vpc_uuid": "5a4981aa-9653-4bd1-bef5-0000000000aa", "forwarding_rules": [rule],
            "health_check": { "protocol": "http", "port": 80 } });
        account.balancing("POST", &[], &none, &body);
        account.balancers.keys().next().unwrap().clone()
    };
    let imported = shop.verb("import", &["load_balancer.gateways", &id]).output().unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    assert_eq!(shop.server.account().balancers[&id]["size_unit"], 2);
    let refused = shop.exits(1, &["up", "--yes"]);
    assert!(refused.contains("--allow-destroy load_balancer.gateways"), "{refused}");
    shop.ok(&["up", "--yes", "--allow-destroy", "load_balancer.gateways"]);
    shop.is_settled();
    // What is not ours to say stays when something is changed.
    for it in shop.server.account().balancers.values_mut() {
        it["enable_proxy_protocol"] = true.into();
        it["size_unit"] = 5.into();
    }
    shop.ok(&["up", "--yes"]);
    shop.is_settled();
    let account = shop.server.account();
    assert!(account.balancers.values().all(|it| it["enable_proxy_protocol"] == true));
    drop(account);
    shop.is_in_order();
}

/// When a request was made, by the place that it has among all.
fn asked(shop: &Shop, method: &str, part: &str) -> usize {
    let account = shop.server.account();
    let found = account.log.iter().rposition(|it| it.method == method && it.path.contains(part));
    found.unwrap_or_else(|| panic!("no {method} of {part}"))
}

#[test]
fn a_load_balancer_goes_when_nobody_remembers_it_any_more() {
    let shop = Shop::new();
    shop.edit(BALANCED, "    load_balancer: 1\n    dns_ttl: 30\n");
    shop.ok(&["up", "--yes"]);
    shop.edit("  staging:\n", "  staging:\n    cloud: { load_balancer: 0 }\n");
    let began = std::time::Instant::now();
    shop.ok(&["up", "--yes", "--allow-destroy", "load_balancer.gateways"]);
    assert!(began.elapsed().as_secs() >= 30, "nobody was waited for");
    assert!(asked(&shop, "DELETE", "/records/") < asked(&shop, "DELETE", "/load_balancers/"));
    assert!(said(&shop).starts_with("A @ 203.0.113."), "{}", said(&shop));
    shop.is_in_order();
}

#[test]
fn addresses_are_protected_with_everything_else() {
    let shop = Shop::new();
    shop.edit("  staging:\n", "  staging:\n    protect: true\n");
    shop.ok(&["up", "--yes"]);
    shop.edit(", reserved_ip: true", "");
    let refused = shop.exits(1, &["up", "--yes", "--allow-destroy", "reserved_ip.db-1"]);
    assert!(refused.contains("protect: true"), "{refused}");
    shop.edit(BALANCED, "");
    let refused = shop.exits(1, &["up", "--yes", "--allow-destroy", "load_balancer.gateways"]);
    assert!(refused.contains("protect: true"), "{refused}");
    assert_eq!(shop.server.account().balancers.len(), 1);
}

#[test]
fn a_project_that_others_use_stays() {
    let shop = Shop::up();
    let theirs = "do:domain:theirs.example".to_owned();
    for project in shop.server.account().projects.values_mut() {
        project.listed.push(theirs.clone());
    }
    let gone = shop.ok(&["down", "--confirm", "staging"]);
    assert!(gone.contains("project.staging stays"), "{gone}");
    let left = shop.server.account();
    assert!(left.projects.values().next().unwrap().listed.contains(&theirs));
    drop(left);
    shop.is_in_order();
}

#[test]
fn what_leads_nowhere_or_to_two_regions_is_refused() {
    let away = "gateway: [app-1, { name: app-2, region: ams3 }]";
    let mistakes = [
        ("gateway: [app-1]", "app: [app-1]", "the load balancer leads nowhere"),
        ("gateway: [app-1]", away, "the gateways are in several regions: ams3, fra1"),
    ];
    for (from, to, said) in mistakes {
        let shop = Shop::new();
        shop.edit(from, to);
        shop.edit("  web: { role: gateway }", "  web: { role: db }");
        let found = shop.exits(1, &["up", "--yes"]);
        assert!(found.contains(said) && found.contains("hint:"), "no {said:?} in:\n{found}");
    }
}
