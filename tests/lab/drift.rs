//! What somebody changes by hand shows up in the plan, by name, and `apply` puts it right: each row of
//! the table in `docs/drift.md`.

use std::collections::BTreeSet;

use crate::edge::Edge;
use crate::harness::{eventually, root};
use crate::shop::{HOME, Plan, Shop};

/// The Compose project's containers are named after it.
const API_1: &str = "shop-staging-api-1";
const API_2: &str = "shop-staging-api-2";
const WORKER: &str = "shop-staging-worker-1";

/// A row of the table, and how it is done.
struct Row {
    /// What the table calls it.
    what: &'static str,
    host: &'static str,
    script: String,
    address: &'static str,
    /// Further words in the plan, besides those of the table.
    words: &'static str,
}

fn row(
    what: &'static str,
    host: &'static str,
    script: impl Into<String>,
    address: &'static str,
    words: &'static str,
) -> Row {
    Row { what, host, script: script.into(), address, words }
}

/// The rows that repair what is there: every container stays the same.
fn repairs() -> Vec<Row> {
    let postgres = "docker update --restart=no shop-staging-postgres-1";
    vec![
        row("stops a container", "h1", format!("docker stop {API_1}"), "service.app-1/api", API_1),
        row(
            "pauses a container",
            "h2",
            format!("docker pause {API_2}"),
            "service.app-2/api",
            API_2,
        ),
        row(
            "renames a container",
            "h1",
            format!("docker rename {WORKER} somebody"),
            "service.app-1/worker",
            WORKER,
        ),
        row(
            "changes a restart policy (`docker update --restart`)",
            "h1",
            postgres,
            "service.app-1/postgres",
            "unless-stopped",
        ),
        row(
            "changes a file's mode",
            "h1",
            format!("chmod 666 {HOME}/compose.yml"),
            "file.app-1/compose.yml",
            "0640",
        ),
        row("changes an env file's mode", "h2", "chmod 644 /etc/shop/env", "env.app-2", "0600"),
    ]
}

/// The rows that make new containers, in rounds that don't touch each other.
fn replacements(shop: &Shop) -> Vec<Vec<Row>> {
    let api = "service.app-1/api";
    let again = |names: &str| {
        let connect = format!("docker network connect {names} shop-staging_back");
        move |name: &str| {
            format!("docker network disconnect shop-staging_back {name}; {connect} {name}")
        }
    };
    let scale = format!(
        "docker compose -p shop-staging -f {HOME}/compose.yml --env-file /etc/shop/env \
         up -d --no-deps --no-recreate --scale worker=2 worker"
    );
    let freeze =
        |name: &str| format!("kill -STOP $(docker inspect -f '{{{{.State.Pid}}}}' {name})");
    let (old, new) = (shop.lab.image("shop-api:v1"), shop.lab.image("shop-api:v3"));
    let tag = old.split('@').next().unwrap();
    let first = "$(docker ps -q --filter name=-api- | tail -n 1)";
    vec![
        vec![
            row(
                "limits memory (`docker update --memory`)",
                "h1",
                format!("docker update --memory 64m --memory-swap 128m {API_1}"),
                api,
                API_1,
            ),
            row(
                "limits CPUs (`docker update --cpus`)",
                "h1",
                format!("docker update --cpus 0.5 {WORKER}"),
                "service.app-1/worker",
                "500000000",
            ),
            row(
                "takes a container off a network",
                "h2",
                format!("docker network disconnect shop-staging_back {API_2}"),
                "service.app-2/api",
                "shop-staging_front",
            ),
            row(
                "puts a container on another network",
                "h2",
                format!("docker network create x; docker network connect x {WORKER}"),
                "service.app-2/worker",
                "\"x\"",
            ),
            row(
                "removes the only container of a service",
                "h1",
                "docker rm -f shop-staging-gateway-1",
                "service.app-1/gateway",
                "",
            ),
        ],
        vec![
            row(
                "connects a container again without its name",
                "h1",
                again("")(first),
                api,
                "networks.back.aliases",
            ),
            row(
                "gives a container another service's name",
                "h2",
                again("--alias api --alias postgres")(first),
                "service.app-2/api",
                "postgres",
            ),
            row("adds a container (`--scale`)", "h1", scale, "service.app-1/worker", ""),
        ],
        vec![row("freezes a process until its healthcheck fails", "h1", freeze(first), api, "")],
        vec![
            row(
                "edits a Compose file",
                "h1",
                format!("sed -i 's/ shop.role: app/ shop.role: evil/' {HOME}/compose.yml"),
                "file.app-1/compose.yml",
                "-      shop.role: evil",
            ),
            row(
                "deletes a Compose file",
                "h2",
                format!("rm {HOME}/compose.yml"),
                "file.app-2/compose.yml",
                "",
            ),
            row(
                "removes one of several containers",
                "h2",
                format!("docker rm -f {first}; docker network rm x"),
                "service.app-2/api",
                "",
            ),
        ],
        vec![
            row(
                "edits an env file",
                "h1",
                "sed -i s/info/debug/ /etc/shop/env",
                "env.app-1",
                "LOG_LEVEL",
            ),
            row("deletes an env file", "h2", "rm /etc/shop/env", "env.app-2", ""),
            row(
                "removes a network",
                "h1",
                "docker rm -f $(docker ps -q --filter name=gateway); \
                 for c in $(docker ps -q --filter name=-api-); do \
                 docker network disconnect -f shop-staging_front $c; done; \
                 docker network rm shop-staging_front",
                "network.app-1/front",
                "",
            ),
        ],
        vec![row(
            "removes a volume",
            "h1",
            "docker rm -f shop-staging-postgres-1; docker volume rm shop-staging_postgres_data",
            "volume.app-1/postgres_data",
            "",
        )],
        vec![row(
            "retags an image",
            "h2",
            format!("docker pull -q {new} && docker tag {new} {tag}"),
            "service.app-2/api",
            "image_id",
        )],
    ]
}

/// The rows about routes, at the edge.
fn routes() -> Vec<Row> {
    let file = "/var/lib/stagecraft/edge/production/routes/api.yml";
    let address = "route.app-3/api";
    vec![
        row(
            "restarts a container that is routed to from another host",
            "h1",
            "docker restart $(docker ps -q --filter name=-api- | tail -n 1)",
            address,
            "app-1",
        ),
        row("edits a file of routes", "h3", format!("echo >>{file}"), address, ""),
        row("deletes a file of routes", "h3", format!("rm {file}"), address, ""),
        row(
            "changes the mode of a file of routes",
            "h3",
            format!("chmod 600 {file}"),
            address,
            "0644",
        ),
    ]
}

/// The table: what somebody does, and the words that the plan has for it.
fn table() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("docs/drift.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        (cells[0].to_owned(), cells[2].trim_matches('`').to_owned())
    })
    .collect()
}

/// Does what a row says, and waits until the plan has the words for it.
#[track_caller]
fn drifts(lab: &crate::harness::Lab, row: &Row, plan: impl Fn() -> Plan) {
    let table = table();
    let words = table.iter().find(|(what, _)| what == row.what);
    let (_, words) = words.unwrap_or_else(|| panic!("docs/drift.md lacks {:?}", row.what));
    lab.console(row.host, &row.script);
    eventually(row.what, 30, || {
        let plan = plan();
        let change = plan.find(row.address).map(ToString::to_string).unwrap_or_default();
        change.contains(words) && change.contains(row.words)
    });
}

/// Applies, after which nothing is left to do and the shop serves.
#[track_caller]
fn repaired(shop: &Shop) {
    shop.stagecraft(&["plan", "--detailed-exitcode"]).exits(2);
    shop.apply();
    shop.is_settled();
    // A part that has lost its database notices at its next request.
    eventually("the shop to serve", 10, || {
        let front = shop.front();
        (&front["version"], &front["db"]) == (&"v1".into(), &"ok".into())
    });
    for (host, service, count) in
        [("h1", "api", 2), ("h2", "api", 2), ("h1", "worker", 1), ("h2", "worker", 1)]
    {
        let states = shop.inspect(host, service, "{{.State.Status}}");
        assert_eq!(states, vec!["running"; count], "{service} on {host}");
    }
}

#[test]
fn what_can_be_put_right_is_and_stays_the_same() {
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
    for row in repairs() {
        drifts(&shop.lab, &row, || shop.plan(&[]));
    }
    repaired(&shop);
    assert_eq!(ids(&shop), before);
    let policy = shop.inspect("h1", "postgres", "{{.HostConfig.RestartPolicy.Name}}");
    assert_eq!(policy, ["unless-stopped"]);
    assert_eq!(shop.inspect("h1", "worker", "{{.Name}}"), [format!("/{WORKER}")]);
    let modes = format!("stat -c %a {HOME}/compose.yml /etc/shop/env");
    assert_eq!(shop.lab.console("h2", &modes).ok(), "640\n600\n");
    assert_eq!(shop.lab.console("h1", &modes).ok(), "640\n600\n");
}

#[test]
fn what_cannot_be_put_right_is_made_anew() {
    let Some(shop) = Shop::applied() else { return };
    let file = shop.cat("h1", &format!("{HOME}/compose.yml"));
    let mut rounds = replacements(&shop);
    let retagged = rounds.pop().unwrap();
    for round in rounds {
        for row in &round {
            drifts(&shop.lab, row, || shop.plan(&[]));
        }
        repaired(&shop);
    }
    assert_eq!(shop.cat("h1", &format!("{HOME}/compose.yml")), file);
    assert!(shop.cat("h1", "/etc/shop/env").contains("LOG_LEVEL='info'"));
    assert_eq!(shop.inspect("h1", "api", "{{.HostConfig.Memory}}"), ["0", "0"]);
    let environment = shop.inspect("h1", "api", "{{json .Config.Env}}");
    assert!(environment.iter().all(|env| env.contains("LOG_LEVEL=info")), "{environment:?}");

    // What a tag means now is what runs from now on: the plan says so, and the others stay as they are.
    drifts(&shop.lab, &retagged[0], || shop.plan(&[]));
    shop.apply();
    shop.is_settled();
}

#[test]
fn routes_that_were_changed_are_written_again() {
    let Some(edge) = Edge::applied("production", 2) else { return };
    for row in routes() {
        drifts(&edge.lab, &row, || edge.plan());
        edge.stagecraft(&["apply", "--yes"]).exits(0);
        edge.is_settled();
        assert_eq!(edge.served(), "v1");
    }
}

#[test]
fn the_table_and_the_tests_are_about_the_same() {
    let Some(shop) = Shop::new() else { return };
    let tested: Vec<&str> = repairs()
        .iter()
        .chain(replacements(&shop).iter().flatten())
        .chain(&routes())
        .map(|row| row.what)
        .collect();
    let table = table();
    let listed: BTreeSet<&str> = table.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(tested.iter().copied().collect::<BTreeSet<_>>(), listed);
    assert_eq!(tested.len(), listed.len());
}

#[test]
fn nothing_drifts_by_itself() {
    let Some(shop) = Shop::applied() else { return };
    for _ in 0..100 {
        shop.is_settled();
    }
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
    // What Compose itself would count can't be left alone.
    let counted = format!(
        "docker rm -f stranger other && docker run -d --name by-hand \
         --label com.docker.compose.project=shop-staging --label com.docker.compose.service=api \
         --label com.docker.compose.oneoff=False --label com.docker.compose.config-hash=x \
         --label com.docker.compose.container-number=7 {image}"
    );
    shop.lab.console("h2", &counted).ok();
    let blocked = shop.stagecraft(&["apply", "--version", "v3", "--yes"]).exits(1);
    assert!(blocked.stdout.contains("by-hand was made by Docker Compose"), "{}", blocked.stdout);
    shop.lab.console("h2", "docker rm -f by-hand").ok();
    shop.is_settled();
}
