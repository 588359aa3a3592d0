//! What routes and rollouts can't do is refused before anything happens, with the way out.

use std::fs;

use super::Project;

/// A mistake: what is edited in the example with Traefik, and what is said of it.
struct Mistake {
    edits: &'static [(&'static str, &'static str, &'static str)],
    said: &'static [&'static str],
}

const CONFIG: &str = "stagecraft.yml";
const COMPOSE: &str = "docker-compose.yml";
const FLAGS: &str = "    command:
      - --entryPoints.web.address=:80
      - --providers.file.directory=/etc/traefik/dynamic
      - --api.insecure=true
";
const PORT: &str = "      traefik.http.services.api.loadbalancer.server.port: \"8080\"\n";
const API: &str = "  api: { role: app }";

const MISTAKES: [Mistake; 12] = [
    Mistake {
        edits: &[(COMPOSE, FLAGS, "")],
        said: &["`traefik` runs Traefik without a flag", "as flags under `command:`"],
    },
    Mistake {
        edits: &[(COMPOSE, "directory=/etc/traefik/dynamic", "directory=dynamic")],
        said: &["`--providers.file.directory` of `traefik` is not an absolute path: dynamic"],
    },
    Mistake {
        edits: &[(
            COMPOSE,
            "    ports:\n      - \"80:80\"",
            "    volumes: [\"./mine:/etc/traefik/dynamic\"]\n    ports:\n      - \"80:80\"",
        )],
        said: &["`traefik` mounts something at /etc/traefik/dynamic, where the routes go"],
    },
    Mistake {
        edits: &[(COMPOSE, "shop/shop-api:${IMAGE_TAG:-v1}", "traefik:v3")],
        said: &["both run Traefik", "leave one of them out"],
    },
    Mistake {
        edits: &[(COMPOSE, PORT, ""), (COMPOSE, "    expose: [\"8080\"]\n", "")],
        said: &["which port api-edge-sandbox is reached at can't be told", "or `expose:`"],
    },
    Mistake {
        edits: &[(COMPOSE, PORT, "      traefik.udp.routers.api.entrypoints: web\n")],
        said: &[
            "the UDP service api-edge-sandbox can't be given servers in a file",
            "routes: labels",
        ],
    },
    Mistake {
        edits: &[
            (CONFIG, API, "  api: { role: app }\n  other: { role: app }"),
            (
                COMPOSE,
                "\nnetworks:\n  front:",
                "\n  other:\n    image: x:1\n    expose: [\"80\"]\n    labels:\n      \
                 traefik.http.routers.api.rule: PathPrefix(`/x`)\n\nnetworks:\n  front:",
            ),
        ],
        said: &["`traefik.http.routers.api` is defined by `api` and by `other`"],
    },
    Mistake {
        edits: &[
            (
                CONFIG,
                "    world: simulated",
                "    world: simulated\n    env_file: /etc/x.env\n    secrets: { file: x.env }",
            ),
            (COMPOSE, "PathPrefix(`/`)", "Host(`${DOMAIN}`)"),
        ],
        said: &["depends on `DOMAIN`, which only the host knows", "under `variables:`"],
    },
    Mistake {
        edits: &[
            (CONFIG, API, "  api: { role: app, rollout: { driver: docker-rollout } }"),
            (COMPOSE, "    stop_grace_period", "    container_name: api\n    stop_grace_period"),
            (COMPOSE, "${API_REPLICAS:-2}", "1"),
        ],
        said: &["docker-rollout can't replace `api`, which rolls stop-first"],
    },
    Mistake {
        edits: &[(CONFIG, API, "  api: { role: app, rollout: { driver: docker-rollout } }")],
        said: &["`api` rolls by docker-rollout, and nothing says which"],
    },
    Mistake {
        edits: &[(CONFIG, "project:", "docker_rollout: { file: nowhere }\nproject:")],
        said: &["docker-rollout can't be read from", "is relative to stagecraft.yml"],
    },
    Mistake {
        edits: &[(
            CONFIG,
            "project:",
            "docker_rollout:\n  file: bytes\n  sha256: b3d510ef04275ca8e698e5b3cbb0ece3949ef9252f0cdc839e9ee347409a2209\nproject:",
        )],
        said: &["is no script: it is not UTF-8", "of a release of the plugin"],
    },
];

#[test]
fn what_routes_and_rollouts_cannot_do_is_refused() {
    for Mistake { edits, said } in &MISTAKES {
        println!("{edits:?}");
        let edge = Project::of("edge");
        fs::write(edge.path("x.env"), "DOMAIN=shop.example\n").unwrap();
        fs::write(edge.path("bytes"), [0xff, 0xfe]).unwrap();
        for (file, from, to) in *edits {
            edge.edit(file, from, to);
        }
        let found = edge.exits(1, &["plan"]);
        let words = found.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>();
        for said in *said {
            assert!(words.join(" ").contains(said), "no {said:?} in:\n{found}");
        }
        assert!(!edge.path(".stagecraft").exists(), "{found}");
    }
}

#[test]
fn a_variable_that_nobody_sets_is_told_of() {
    let edge = Project::of("edge");
    edge.edit(COMPOSE, "PathPrefix(`/`)", "Host(`${DOMAIN}`)");
    for verb in [&["plan"][..], &["apply", "--dry-run"]] {
        let found = edge.ok(verb);
        let told = found.matches("the variable `DOMAIN` is not set").count();
        assert_eq!(told, 1, "{found}");
    }
    edge.edit(CONFIG, "    world: simulated", "    world: simulated\n    variables: { DOMAIN: x }");
    let found = edge.ok(&["plan"]);
    assert!(!found.contains("not set"), "{found}");
}
