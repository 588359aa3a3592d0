//! What would cost somebody their data or their service, and does not happen.

use serde_json::{Value, json};

use super::project::Project;

fn position(steps: &[Value], address: &str, act: &str) -> usize {
    let is = |step: &Value| step["address"] == address && step["effect"]["act"] == act;
    steps.iter().position(is).unwrap_or_else(|| panic!("no {act} of {address} in {steps:#?}"))
}

/// Whether a step waits for another, directly or not.
fn waits(steps: &[Value], step: usize, other: usize) -> bool {
    let after = steps[step]["after"].as_array().into_iter().flatten();
    let mut after = after.map(|id| usize::try_from(id.as_u64().unwrap()).unwrap() - 1);
    after.any(|before| before == other || waits(steps, before, other))
}

#[test]
fn no_two_containers_write_to_the_same_data() {
    for (mount, why) in [
        ("/srv/pg:/data", "its one container writes to /srv/pg of the host"),
        ("/data", "its one container writes to a volume without a name"),
        ("data:/data", "its one container writes to volume data"),
    ] {
        let compose = format!(
            "services:\n  db: {{image: pg, environment: {{A: b}}, volumes: ['{mount}', \
             '/run/x.sock:/x.sock', '/etc/localtime:/etc/localtime:ro']}}\nvolumes: {{data: {{}}}}\n"
        );
        let blog = Project::blog("", "", &compose);
        blog.ok(&["apply", "--yes"]);
        blog.edit("docker-compose.yml", "A: b", "A: c");
        let plan = blog.ok(&["plan"]);
        assert!(plan.contains(why) && !plan.contains("start-first"), "no {why:?} in\n{plan}");
    }
    let compose = "services: {web: {image: x, volumes: ['/run/x.sock:/x', '/srv:/s:ro']}}";
    let blog = Project::blog("", "", compose);
    blog.ok(&["apply", "--yes"]);
    blog.edit("docker-compose.yml", "image: x", "image: y");
    assert!(blog.ok(&["plan"]).contains("start-first"));
}

#[test]
fn a_rollback_looks_at_every_host_that_it_needs() {
    let blog = Project::blog("", "", "services: {web: {image: x}}");
    blog.ok(&["apply", "--yes"]);
    blog.edit("stagecraft.yml", "app: [a]", "app: [b]");
    blog.ok(&["apply", "--yes"]);
    blog.edit("docker-compose.yml", "image: x", "image: y");
    blog.ok(&["apply", "--yes"]);
    let plan = blog.ok(&["rollback", "--to", "1", "--dry-run"]);
    assert!(plan.contains("+ service.a/web") && plan.contains("- service.b/web"), "{plan}");
    // One that is gone for good can be left out, and is not by itself.
    blog.world(|world| world["faults"]["unreachable"] = json!(["a"]));
    let blocked = blog.exits(1, &["rollback", "--to", "1", "--yes"]);
    assert!(blocked.contains("--forget HOST"), "{blocked}");
    let forgotten = blog.ok(&["rollback", "--to", "1", "--dry-run", "--forget", "a"]);
    assert!(!forgotten.contains("service.a"), "{forgotten}");
}

#[test]
fn a_host_that_has_another_name_is_the_same_host() {
    let blog =
        Project::blog("", "", "services: {web: {image: x, volumes: ['dd:/d']}}\nvolumes: {dd: {}}");
    blog.ok(&["apply", "--yes"]);
    blog.edit("stagecraft.yml", "app: [a]", "app: [b]");
    blog.world(|world| world["hosts"]["b"] = world["hosts"]["a"].clone());
    let plan = blog.ok(&["plan", "--prune-volumes"]);
    assert!(!plan.contains("service.a") && !plan.contains("volume.a"), "{plan}");
    let other = Project::blog("", "", "services: {web: {image: x}}");
    other.edit("stagecraft.yml", "app: [a]", "app: [{name: a, address: 10.0.0.1}]");
    other.ok(&["apply", "--yes"]);
    other.edit("stagecraft.yml", "name: a", "name: b");
    assert!(!other.ok(&["plan"]).contains("service.a"));
}

/// A blog whose host has had another name since its first release.
fn renamed(compose: &str) -> Project {
    let blog = Project::blog("", "", compose);
    blog.edit("stagecraft.yml", "app: [a]", "app: [{name: a, address: 10.0.0.1}]");
    blog.ok(&["deploy", "v1", "--yes"]);
    blog.edit("stagecraft.yml", "name: a", "name: b");
    blog.world(|world| world["hosts"]["b"] = world["hosts"]["a"].clone());
    blog
}

#[test]
fn a_rollback_finds_hosts_under_the_names_that_they_have_by_now() {
    let compose = "services: {web: {image: 'x:$IMAGE_TAG', healthcheck: {test: [CMD, x]}}, other: {image: y}}";
    let blog = renamed(compose);
    blog.world(|world| world["faults"]["unhealthy_images"] = json!(["x:v2"]));
    let said = blog.exits(1, &["deploy", "v2", "--yes"]);
    assert!(said.contains("Everything is back as release 1 left it"), "{said}");
    assert!(!said.contains("service.b/other"), "{said}");
    let plan = blog.ok(&["plan"]);
    assert!(!plan.contains("service."), "{plan}");
    blog.world(|world| world["faults"]["unhealthy_images"] = json!([]));
    blog.ok(&["deploy", "v2", "--yes"]);
    let back = blog.ok(&["rollback", "--to", "1", "--dry-run"]);
    assert!(back.contains("~ service.b/web") && !back.contains("service.b/other"), "{back}");
}

#[test]
fn a_host_of_the_configuration_is_not_forgotten() {
    let blog = Project::blog("", "", "services: {web: {image: x}}");
    blog.ok(&["apply", "--yes"]);
    for verb in [vec!["plan"], vec!["apply", "--yes"], vec!["rollback", "--to", "1", "--dry-run"]] {
        let said = blog.exits(1, &[verb, vec!["--forget", "a"]].concat());
        assert!(said.contains("a can't be forgotten: it is in the configuration"), "{said}");
    }
}

#[test]
fn what_compose_made_without_us_is_not_taken_for_ours() {
    let blog = Project::blog("", "", "services: {web: {image: x}}");
    blog.ok(&["apply", "--yes"]);
    blog.world(|world| {
        let containers = world["hosts"]["a"]["state"]["containers"].as_object_mut().unwrap();
        let mut hand = containers.values().next().unwrap().clone();
        (hand["ours"], hand["name"]) = (false.into(), "by-hand".into());
        containers.insert("cafe".into(), hand);
    });
    blog.edit("docker-compose.yml", "image: x", "image: y");
    let blocked = blog.exits(1, &["apply", "--yes"]);
    assert!(blocked.contains("by-hand was made by Docker Compose without Stagecraft"), "{blocked}");
    assert!(blocked.contains("docker rm -f by-hand"), "{blocked}");
}

#[test]
fn data_goes_when_everything_else_is_done() {
    let compose = "services: {web: {image: x, volumes: ['dd:/d']}, last: {image: x}}\nvolumes: {dd: {}, ee: {}}";
    let blog = Project::blog("", "web: {role: app}, last: {role: gateway}", compose);
    blog.edit("stagecraft.yml", "app: [a]", "app: [a], gateway: [b]");
    blog.ok(&["apply", "--yes"]);
    blog.edit("docker-compose.yml", "dd:/d", "ee:/d");
    blog.edit("docker-compose.yml", "last: {image: x}", "last: {image: y}");
    let steps = blog.steps(&["--prune-volumes"]);
    let gone = position(&steps, "volume.a/dd", "remove_volume");
    let healthy = position(&steps, "service.b/last", "await_healthy");
    assert!(waits(&steps, gone, healthy), "{steps:#?}");
}

#[test]
fn what_makes_room_goes_no_sooner_than_its_heir_can_come() {
    let compose =
        "services: {old: {image: x, ports: ['80:80'], stop_grace_period: 5m}, app: {image: x}}";
    let blog = Project::blog("", "app: {role: app}, old: {role: gateway}", compose);
    blog.edit("stagecraft.yml", "app: [a]", "app: [a], gateway: [a]");
    blog.ok(&["apply", "--yes"]);
    blog.edit("docker-compose.yml", "old: {image: x", "front: {image: y");
    blog.edit("docker-compose.yml", "app: {image: x", "app: {image: z");
    blog.edit("stagecraft.yml", "old: {role", "front: {role");
    let steps = blog.steps(&[]);
    let stop = position(&steps, "service.a/old", "stop");
    for (address, act) in [
        ("service.a/front", "pull_image"),
        ("service.a/app", "await_healthy"),
        ("file.a/compose.yml", "write_file"),
    ] {
        assert!(waits(&steps, stop, position(&steps, address, act)), "{address}: {steps:#?}");
    }
    assert!(waits(&steps, position(&steps, "service.a/front", "start"), stop), "{steps:#?}");
    assert_eq!(steps[stop]["effect"]["grace_s"], 300);
}

#[test]
fn a_network_goes_no_sooner_than_its_heirs_can_come() {
    let compose = "services: {web: {image: x}}\nnetworks: {default: {labels: {a: b}}}";
    let blog = Project::blog("", "", compose);
    blog.ok(&["apply", "--yes"]);
    blog.edit("docker-compose.yml", "a: b", "a: c");
    blog.edit("docker-compose.yml", "image: x", "image: y");
    let plan = blog.ok(&["plan"]);
    assert!(plan.contains("the old have lost their network by then"), "{plan}");
    let steps = blog.steps(&[]);
    let gone = position(&steps, "network.a/default", "remove_network");
    assert!(waits(&steps, gone, position(&steps, "service.a/web", "pull_image")), "{steps:#?}");
}

#[test]
fn a_rollback_leaves_hosts_their_own_images() {
    // A tag means on each host what it meant when it was pulled there.
    let compose = "services: {cache: {image: 'redis'}, web: {image: x}}";
    let blog = Project::blog("", "cache: {role: app}, web: {role: app}", compose);
    blog.edit("stagecraft.yml", "app: [a]", "app: [a, b]");
    blog.ok(&["apply", "--yes"]);
    blog.world(|world| {
        let state = &mut world["hosts"]["a"]["state"];
        let id = json!(format!("sha256:{}", "a".repeat(64)));
        // As Docker lists it.
        let mut image = state["images"].as_object_mut().unwrap().remove("redis").unwrap();
        image["id"] = id.clone();
        state["images"]["redis:latest"] = image;
        for container in state["containers"].as_object_mut().unwrap().values_mut() {
            if container["service"] == "cache" {
                container["image_id"] = id.clone();
            }
        }
    });
    for image in ["y", "z"] {
        blog.edit("docker-compose.yml", "web: {image: ", &format!("web: {{image: {image}"));
        blog.ok(&["apply", "--yes"]);
    }
    let plan = blog.ok(&["rollback", "--dry-run"]);
    assert!(plan.contains("service.a/web") && !plan.contains("cache"), "{plan}");
}

#[test]
fn a_network_may_be_made_anew_below_a_service_that_stays() {
    let compose =
        "services: {db: {image: x}, app: {image: x}}\nnetworks: {default: {labels: {a: b}}}";
    let blog = Project::blog(", db: {replicas: 0}", "db: {role: db}, app: {role: app}", compose);
    blog.edit("stagecraft.yml", "app: [a]", "app: [a], db: [a]");
    blog.ok(&["apply", "--yes"]);
    blog.edit("docker-compose.yml", "a: b", "a: c");
    assert!(blog.ok(&["plan"]).contains("service.a/app"));
    blog.ok(&["apply", "--yes"]);
    blog.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn what_stays_after_going_back_is_the_version_gone_back_to() {
    let compose = "services: {web: {image: 'w:$IMAGE_TAG'}, zapi: {image: 'z:$IMAGE_TAG'}}";
    let rollout = "web: {rollout: {on_failure: pause}}";
    let blog = Project::blog("", rollout, compose);
    blog.ok(&["deploy", "v1", "--yes"]);
    blog.world(|world| world["faults"]["crashing_images"] = json!(["w:v2", "z:v3"]));
    blog.exits(1, &["deploy", "v2", "--yes"]);
    let said = blog.exits(1, &["deploy", "v3", "--yes"]);
    assert!(said.contains("Everything is back as release 1 left it"), "{said}");
    blog.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn an_edited_file_with_other_line_ends_is_planned() {
    let blog = Project::blog("", "", "services: {web: {image: x}}");
    blog.ok(&["apply", "--yes"]);
    blog.world(|world| {
        let file = &mut world["hosts"]["a"]["state"]["files"]["compose.yml"];
        file["content"] = "# edited\rDB_PASSWORD: hunter2\r\n\rx".into();
    });
    let plan = blog.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.contains("~ file.a/compose.yml") && !plan.contains("hunter2"), "{plan}");
}

#[test]
fn a_hook_runs_in_what_is_replaced_in_place() {
    let compose = "services: {web: {image: x, ports: ['80:80']}}";
    let blog = Project::blog("", "web: {rollout: {drain_hook: [drain]}}", compose);
    blog.ok(&["apply", "--yes"]);
    blog.edit("docker-compose.yml", "image: x", "image: y");
    let steps = blog.steps(&[]);
    let replaced = position(&steps, "service.a/web", "recreate");
    assert!(waits(&steps, replaced, position(&steps, "service.a/web", "hook")), "{steps:#?}");
}
