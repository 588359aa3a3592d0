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

/// What a Compose file says beside `services:`, and the services' own settings in stagecraft.yml.
struct Impossible {
    compose: &'static str,
    services: &'static str,
    said: &'static [&'static str],
}

const IMPOSSIBLE: [Impossible; 16] = [
    Impossible {
        compose: "services: {web: {image: x, volumes: ['./conf:/etc/x']}}",
        services: "",
        said: &["`volumes` of `web` is ./conf of the project's folder", "mount an absolute path"],
    },
    Impossible {
        compose: "services: {web: {image: x, volumes: [{type: bind, source: conf/x, target: /x}]}}",
        services: "",
        said: &["`volumes` of `web` is conf/x of the project's folder"],
    },
    Impossible {
        compose: "services: {web: {image: x, env_file: app.env}}",
        services: "",
        said: &["`env_file` of `web` is app.env", "${STAGECRAFT_ENV_FILE}"],
    },
    Impossible {
        compose: "services: {web: {image: x, env_file: '${STAGECRAFT_ENV_FILE}'}}",
        services: "",
        said: &["`env_file` of `web` comes to nothing"],
    },
    Impossible {
        compose: "services: {web: {image: x, label_file: l.txt}}",
        services: "",
        said: &["`label_file` of `web` is l.txt"],
    },
    Impossible {
        compose: "services: {web: {image: x, secrets: [t]}}\nsecrets: {t: {file: t.txt}}",
        services: "",
        said: &["`secrets.file` of `web` is t.txt", "with `environment:`"],
    },
    Impossible {
        compose: "services: {web: {image: x, configs: [t]}}\nconfigs: {t: {file: ./t.txt}}",
        services: "",
        said: &["`configs.file` of `web` is ./t.txt", "under `content:`"],
    },
    Impossible {
        compose: "services: {web: {image: x, volumes: ['vol:/v']}}\nvolumes: {vol: {driver_opts: {type: none, o: 'rw,bind', device: ./d}}}",
        services: "",
        said: &["`driver_opts.device` of `web` is ./d"],
    },
    Impossible {
        compose: "services: {web: {image: x, network_mode: 'service:db'}, db: {image: x, expose: ['1']}}",
        services: "web: {role: app}, db: {role: db}",
        said: &[
            "`web` shares a namespace with `db`, which does not run beside it on a",
            "same hosts",
        ],
    },
    Impossible {
        compose: "services: {web: {image: x, volumes_from: ['db:ro']}, db: {image: x, expose: ['1']}}",
        services: "web: {role: app}, db: {role: db}",
        said: &["`web` shares volumes with `db`"],
    },
    Impossible {
        compose: "services: {web: {image: x, ports: ['80:80'], deploy: {replicas: 3}}}",
        services: "",
        said: &["`web` has 3 replicas, and only one can have port 80 of the host"],
    },
    Impossible {
        compose: "services: {web: {image: x, ports: ['80:80']}, www: {image: x, ports: ['127.0.0.1:80:8080']}}",
        services: "",
        said: &["`web` and `www` both publish port 80 of a"],
    },
    Impossible {
        compose: "services: {web: {image: 'x:${IMAGE_TAG}'}}",
        services: "",
        said: &["comes to `x:`, which is no reference", "give a version with --version"],
    },
    Impossible {
        compose: "services: {web: {image: 'x:${IMAGE_TAG:?say which}'}}",
        services: "",
        said: &["`IMAGE_TAG` is required", "`--version VERSION`, or `deploy VERSION`"],
    },
    Impossible {
        compose: "services: {web: {image: x, environment: {A: '${A:?say which}'}}}",
        services: "",
        said: &[
            "`A` is required",
            "`variables:` in stagecraft.yml",
            "neither `.env` nor this shell",
        ],
    },
    Impossible {
        compose: "services: {web: {image: x}, db: {image: Y}}",
        services: "",
        said: &["comes to `Y`, which is no reference", "IMAGE_TAG"],
    },
];

#[test]
fn what_hosts_cannot_run_is_refused() {
    for Impossible { compose, services, said } in IMPOSSIBLE {
        let blog = Project::blog("", services, compose);
        if services.contains("role: db") {
            blog.edit("stagecraft.yml", "app: [a]", "app: [a], db: [b]");
        }
        let text = blog.exits(1, &["plan"]);
        for words in said {
            assert!(text.contains(words), "no {words:?} in:\n{text}\nof:\n{compose}");
        }
        // Who validates names no version.
        blog.exits(i32::from(!compose.contains("IMAGE_TAG")), &["validate"]);
    }
}

#[test]
fn an_environment_asks_for_no_more_replicas_than_there_can_be() {
    let compose = "services: {web: {image: x, container_name: foo}}";
    let blog = Project::blog(", web: {replicas: 2}", "", compose);
    let said = blog.exits(1, &["plan"]);
    assert!(said.contains("only one can have `container_name: foo`"), "{said}");
}

#[test]
fn services_may_share_a_host_in_many_ways() {
    let compose = "services:\n  web: {image: x, ports: ['80:80', '127.0.0.1:81:81'], expose: ['82'], volumes: ['/srv:/s', '~/x:/x']}\n  \
        www: {image: x, ports: ['127.0.0.2:81:81', '80:80/udp'], links: [web]}\n  \
        blue: {image: x, ports: ['80:80'], deploy: {replicas: 0}}\n  \
        six: {image: x, ports: ['[::1]:81:81', '0.0.0.0:83:83'], env_file: [{path: ./x.env, required: false}]}\n  \
        too: {image: x, ports: ['[::1]:83:83']}\n  \
        many: {image: x, ports: ['9000-9001:90'], deploy: {replicas: 2}}\n  \
        far: {image: x, links: ['web:front', web]}\n";
    let blog = Project::blog(
        "",
        "web: {role: app}, www: {role: app}, many: {role: app}, blue: {role: app}, six: {role: app}, too: {role: app}, far: {role: db}",
        compose,
    );
    blog.edit("stagecraft.yml", "app: [a]", "app: [a], db: [b]");
    blog.ok(&["plan"]);
    let rendered = blog.ok(&["compose", "render", "--host", "b"]);
    let at = rendered.split("web=").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert!(rendered.contains(&format!("- front={at}\n")), "{rendered}");
    assert!(!rendered.contains("links"), "{rendered}");
}

#[test]
fn a_compose_file_is_named_as_it_is_found() {
    let blog = Project::blog("", "", "services: {web: {image: x}}");
    fs::create_dir(blog.path("deploy")).unwrap();
    fs::write(blog.path("deploy/more.yml"), "services: {web: {imag: x}}").unwrap();
    let with = |compose: &str| {
        let config = fs::read_to_string(blog.path("stagecraft.yml")).unwrap();
        let config =
            config.split_once("\ncompose:").map_or(&*config, |(config, _)| config).trim_end();
        fs::write(blog.path("stagecraft.yml"), format!("{config}\ncompose: {compose}\n")).unwrap();
        blog.exits(1, &["validate"])
    };
    let said = with("[docker-compose.yml, deploy/more.yml]");
    assert!(said.contains("deploy/more.yml:1:"), "{said}");
    let said = with("deploy");
    assert!(said.contains("the Compose file deploy is a folder"), "{said}");
    let said = with("[docker-compose.yml, other.yml]");
    assert!(said.contains("other.yml is not there") && said.contains("stagecraft.yml:"), "{said}");
    fs::rename(blog.path("docker-compose.yml"), blog.path("compose.yaml")).unwrap();
    let said = with("docker-compose.yml");
    assert!(said.contains("there is one: `compose: compose.yaml`"), "{said}");
}

#[test]
fn a_version_that_no_image_can_have_is_a_usage_error() {
    let blog = Project::blog("", "", "services: {web: {image: 'x:$IMAGE_TAG'}}");
    for version in ["", "bad version", "a/b:c"] {
        let said = blog.exits(64, &["deploy", version]);
        assert!(said.contains("it can't be the tag of an image"), "{said}");
    }
    assert!(blog.ok(&["compose", "render", "--version", "v1"]).contains("image: x:v1"));
}

#[test]
fn a_secrets_file_that_means_something_else_than_it_says_is_refused() {
    let compose = "services: {web: {image: x, environment: {P: $PASSWORD}}}";
    for (secrets, said) in [
        ("A=1\nPASSWORD=hunter2$x\n", "line 2: `$` refers to a variable"),
        ("PASSWORD\n", "line 1: there is no `=` in this line"),
        ("PASSWORD=x\nhunter2", "line 2: there is no `=` in this line"),
        ("=hunter2\n", "line 1: no name before the `=`"),
    ] {
        let blog = Project::blog_with_secrets(secrets, compose);
        let text = blog.exits(1, &["plan"]);
        assert!(text.contains(said) && !text.contains("hunter2"), "no {said:?} in:\n{text}");
    }
}

#[test]
fn a_warning_is_told_in_every_format() {
    let blog = Project::blog("", "", "services: {web: {image: x, environment: {A: $FOO}}}");
    for format in ["text", "json", "markdown"] {
        let output = blog.run(&["plan", "--format", format]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the variable `FOO` is not set"), "{format}: {said}");
        assert!(said.contains("`variables:`"), "{format}: {said}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let blog = Project::blog("", "", "services: {web: {image: x}}");
    for verb in ["plan", "schema", "validate", "completions"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = blog.command(&[verb]);
        if verb == "completions" {
            command.arg("fish");
        }
        let output = command.stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {said}");
        assert!(said.contains("standard output can't be written"), "{verb}: {said}");
    }
}
