//! What somebody changes by hand shows up in the plan, by name, and `apply` puts it right.

use crate::shop::{HOME, Shop};

/// The Compose project's containers are named after it.
const API_1: &str = "shop-staging-api-1";
const API_2: &str = "shop-staging-api-2";
const WORKER: &str = "shop-staging-worker-1";

/// Changes something on a host by hand; the plan must say so of one resource in these words.
#[track_caller]
fn drifts(shop: &Shop, host: &str, script: &str, address: &str, words: &str) {
    shop.lab.console(host, script).ok();
    let plan = shop.plan(&[]);
    plan.because(address, words);
    assert!(plan.change(address).to_string().contains("drifted"), "{:#}", plan.change(address));
}

/// Applies, after which nothing is left to do and the shop serves.
#[track_caller]
fn repaired(shop: &Shop) {
    shop.stagecraft(&["plan", "--detailed-exitcode"]).exits(2);
    shop.apply();
    shop.is_settled();
    let front = shop.front();
    assert_eq!((&front["version"], &front["db"]), (&"v1".into(), &"ok".into()), "{front}");
    for (host, service, count) in
        [("h1", "api", 2), ("h2", "api", 2), ("h1", "worker", 1), ("h2", "worker", 1)]
    {
        let states = shop.inspect(host, service, "{{.State.Status}}");
        assert_eq!(states, vec!["running"; count], "{service} on {host}");
    }
}

#[test]
fn what_can_be_put_right_in_a_container_is_and_it_stays_the_same() {
    let Some(shop) = Shop::applied() else { return };
    let places = [("h1", "api"), ("h2", "api"), ("h1", "worker"), ("h1", "postgres")];
    let ids = |shop: &Shop| {
        places.map(|(host, service)| {
            let mut ids = shop.containers(host, service);
            ids.sort();
            ids
        })
    };
    let before = ids(&shop);
    let stopped = format!("{API_1} is stopped");
    drifts(&shop, "h1", &format!("docker stop {API_1}"), "service.app-1/api", &stopped);
    let paused = format!("{API_2} is paused");
    drifts(&shop, "h2", &format!("docker pause {API_2}"), "service.app-2/api", &paused);
    let rename = format!("docker rename {WORKER} somebody");
    let named = format!("should be named {WORKER}");
    drifts(&shop, "h1", &rename, "service.app-1/worker", &named);
    let update = "docker update --restart=no shop-staging-postgres-1";
    drifts(&shop, "h1", update, "service.app-1/postgres", "restart policy no");
    repaired(&shop);
    assert_eq!(ids(&shop), before);
    let policy = shop.inspect("h1", "postgres", "{{.HostConfig.RestartPolicy.Name}}");
    assert_eq!(policy, ["unless-stopped"]);
    assert_eq!(shop.inspect("h1", "worker", "{{.Name}}"), [format!("/{WORKER}")]);
}

#[test]
fn what_cannot_be_put_right_in_a_container_makes_a_new_one() {
    let Some(shop) = Shop::applied() else { return };
    let memory = format!("docker update --memory 64m --memory-swap 128m {API_1}");
    drifts(&shop, "h1", &memory, "service.app-1/api", "\"memory\"");
    let cut = format!("docker network disconnect shop-staging_back {API_2}");
    drifts(&shop, "h2", &cut, "service.app-2/api", "\"networks\"");
    drifts(&shop, "h2", &format!("docker rm -f {WORKER}"), "service.app-2/worker", "gone");
    let more = format!(
        "docker compose -p shop-staging -f {HOME}/compose.yml --env-file /etc/shop/env \
         up -d --no-deps --no-recreate --scale worker=2 worker"
    );
    drifts(&shop, "h1", &more, "service.app-1/worker", "1 more");
    repaired(&shop);
    assert_eq!(shop.inspect("h1", "api", "{{.HostConfig.Memory}}"), ["0", "0"]);

    let one_less = "docker rm -f $(docker ps -q --filter name=api | head -n 1)";
    let words = "1 of 2 containers missing";
    drifts(&shop, "h2", one_less, "service.app-2/api", words);
    let network = "docker rm -f $(docker ps -q --filter name=gateway); \
                   for c in $(docker ps -q --filter name=api); do \
                   docker network disconnect -f shop-staging_front $c; done; \
                   docker network rm shop-staging_front";
    drifts(&shop, "h1", network, "service.app-1/api", "\"networks\"");
    assert_eq!(shop.plan(&[]).change("network.app-1/front")["action"], "create");
    repaired(&shop);

    // A tag that means another image than it did.
    let (old, new) = (shop.lab.image("shop-api:v1"), shop.lab.image("shop-api:v3"));
    let tag = old.split('@').next().unwrap();
    let retag = format!("docker pull -q {new} && docker tag {new} {tag}");
    drifts(&shop, "h2", &retag, "service.app-2/api", "image_id");
    shop.apply();
    shop.is_settled();
}

#[test]
fn files_changed_by_hand_are_written_again() {
    let Some(shop) = Shop::applied() else { return };
    let ids = |shop: &Shop| ["h1", "h2"].map(|host| shop.containers(host, "api"));
    let before = (ids(&shop), shop.cat("h1", &format!("{HOME}/compose.yml")));

    let edit = format!("sed -i 's/ shop.role: app/ shop.role: evil/' {HOME}/compose.yml");
    drifts(&shop, "h1", &edit, "file.app-1/compose.yml", "compose.yml was edited");
    assert!(
        shop.plan(&[]).change("file.app-1/compose.yml")["diff"]
            .as_str()
            .is_some_and(|diff| diff.contains("-      shop.role: evil"))
    );
    let delete = format!("rm {HOME}/compose.yml");
    drifts(&shop, "h2", &delete, "file.app-2/compose.yml", "compose.yml is gone");
    drifts(&shop, "h2", "chmod 644 /etc/shop/env", "env.app-2", "0644");
    repaired(&shop);
    assert_eq!((ids(&shop), shop.cat("h1", &format!("{HOME}/compose.yml"))), before);
    assert_eq!(shop.lab.console("h2", "stat -c %a /etc/shop/env").ok(), "600\n");

    let open = format!("chmod 666 {HOME}/compose.yml");
    drifts(&shop, "h1", &open, "file.app-1/compose.yml", "0666");
    drifts(
        &shop,
        "h1",
        "sed -i s/info/debug/ /etc/shop/env",
        "env.app-1",
        "/etc/shop/env was edited",
    );
    let plan = shop.plan(&[]);
    plan.because("env.app-1", "LOG_LEVEL");
    drifts(&shop, "h2", "rm /etc/shop/env", "env.app-2", "/etc/shop/env is gone");
    repaired(&shop);
    assert!(shop.cat("h1", "/etc/shop/env").contains("LOG_LEVEL='info'"));
    assert_eq!(shop.lab.console("h1", &format!("stat -c %a {HOME}/compose.yml")).ok(), "640\n");
    let environment = shop.inspect("h1", "api", "{{json .Config.Env}}");
    assert!(environment.iter().all(|env| env.contains("LOG_LEVEL=info")), "{environment:?}");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let Some(shop) = Shop::applied() else { return };
    let image = shop.lab.image("shop-worker:v1");
    let stranger = format!(
        "docker run -d --name stranger --label com.docker.compose.project=shop-staging \
         --label com.docker.compose.service=api --label com.docker.compose.oneoff=False {image}; docker run -d --name other {image}"
    );
    shop.lab.console("h2", &stranger).ok();
    let text = shop.stagecraft(&["plan", "--detailed-exitcode"]).exits(0).stdout;
    assert!(text.contains("stranger") && text.contains("left alone"), "{text}");
    shop.stagecraft(&["deploy", "v2", "--yes"]).exits(0);
    let left = "docker inspect -f '{{.State.Running}}' stranger other";
    assert_eq!(shop.lab.console("h2", left).ok(), "true\ntrue\n");
    shop.is_settled();
}
