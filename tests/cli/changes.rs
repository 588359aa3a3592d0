//! What makes containers anew besides their own definition, and what a plan shows of it.

use super::project::{Project, SECRETS};

const BESIDE: &str = r#"
services:
  web: {image: nginx, secrets: [tok], configs: [{source: conf, target: /etc/app.conf}]}
  other: {image: nginx}
secrets: {tok: {environment: TOKEN}}
configs: {conf: {content: "mode=a\n"}}
"#;

#[test]
fn a_changed_config_or_secret_rolls_the_services_that_have_it() {
    let blog = Project::blog_with_secrets("TOKEN=hunter1\n", BESIDE);
    blog.ok(&["apply", "--yes"]);
    blog.edit("docker-compose.yml", "mode=a", "mode=b");
    let plan = blog.ok(&["plan"]);
    assert!(plan.contains("~ service.a/web"), "{plan}");
    assert!(plan.contains("it uses conf, tok of file.a/compose.yml"), "{plan}");
    assert!(!plan.contains("service.a/other"), "{plan}");
    blog.ok(&["apply", "--yes"]);
    blog.ok(&["plan", "--detailed-exitcode"]);
    blog.edit(SECRETS, "hunter1", "hunter2");
    let plan = blog.ok(&["plan"]);
    assert!(plan.contains("~ service.a/web") && !plan.contains("service.a/other"), "{plan}");
    blog.ok(&["apply", "--yes"]);
    blog.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn a_service_follows_one_whose_namespace_it_shares_or_with_which_it_restarts() {
    let compose = r#"
services:
  vpn: {image: "vpn:1", environment: {KEY: $KEY}}
  web: {image: nginx, network_mode: "service:vpn"}
  after: {image: nginx, depends_on: {vpn: {condition: service_started, restart: true}}}
  other: {image: nginx, depends_on: [vpn]}
"#;
    let blog = Project::blog_with_secrets("KEY=hunter1\n", compose);
    blog.ok(&["apply", "--yes"]);
    for (file, from, to) in [("docker-compose.yml", "vpn:1", "vpn:2"), (SECRETS, "er1", "er2")] {
        blog.edit(file, from, to);
        let plan = blog.ok(&["plan"]);
        for service in ["vpn", "web", "after"] {
            assert!(plan.contains(&format!("~ service.a/{service}")), "{service}: {plan}");
        }
        assert!(!plan.contains("service.a/other"), "{plan}");
        blog.ok(&["apply", "--yes"]);
        blog.ok(&["plan", "--detailed-exitcode"]);
    }
    // A container that somebody has removed takes its namespace with it.
    blog.world(|world| {
        let containers = world["hosts"]["a"]["state"]["containers"].as_object_mut().unwrap();
        containers.retain(|_, container| container["service"] != "vpn");
    });
    let plan = blog.ok(&["plan"]);
    assert!(plan.contains("shares a namespace of a container that is gone"), "{plan}");
    blog.ok(&["apply", "--yes"]);
    blog.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn a_namespace_of_somebody_elses_container_is_left_to_them() {
    let blog = Project::blog("", "", "services: {web: {image: x, network_mode: 'container:vpn'}}");
    blog.ok(&["apply", "--yes"]);
    // As a host tells it.
    blog.world(|world| {
        let containers = world["hosts"]["a"]["state"]["containers"].as_object_mut().unwrap();
        containers.values_mut().for_each(|container| container["shares"] = ["vpn"].into());
    });
    blog.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn a_secret_reaches_whoever_shares_a_namespace_also_after_a_failure() {
    let compose = r#"
services:
  vpn: {image: vpn}
  web: {image: web, environment: {K: $KEY}, network_mode: "service:vpn"}
"#;
    let blog = Project::blog_with_secrets("KEY=hunter1\n", compose);
    blog.edit("stagecraft.yml", "services: {}", "services: {web: {rollout: {on_failure: pause}}}");
    blog.ok(&["apply", "--yes"]);
    blog.edit(SECRETS, "er1", "er2");
    blog.world(|world| world["faults"]["crashing_images"] = ["web"].into());
    blog.exits(1, &["apply", "--yes"]);
    blog.world(|world| world["faults"]["crashing_images"] = serde_json::json!([]));
    let plan = blog.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.contains("service.a/web"), "{plan}");
    blog.ok(&["apply", "--yes"]);
    blog.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn a_literal_secret_is_shown_in_no_plan() {
    let plain = "services:\n  web:\n    image: nginx\n";
    let with = format!(
        "{plain}    environment:\n      A: b\n      DB_PASSWORD: hunter2\n      \
         URL: postgres://me:hunter2@db/x\n      PRIVATE_KEY: |\n        one\n        hunter2\n        three\n"
    );
    for (before, after) in
        [(plain, &*with), (&*with, plain), (&with, &with.replace("hunter2", "hunter3"))]
    {
        let blog = Project::blog("", "", before);
        blog.ok(&["apply", "--yes"]);
        std::fs::write(blog.path("docker-compose.yml"), after).unwrap();
        for format in ["text", "markdown"] {
            let plan = blog.exits(2, &["plan", "--detailed-exitcode", "--format", format]);
            assert!(plan.contains("DB_PASSWORD"), "{plan}");
            assert!(!plan.contains("hunter"), "{plan}");
        }
    }
}
