mod mistakes;
mod schema;

use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::*;
use crate::config::compose::{Memory, Models};
use crate::config::diagnostic::Diagnostic;
use crate::model::Transport;

const FULL: &str = include_str!("../../../fixtures/config/full.yml");
const TEN_MISTAKES: &str = include_str!("../../../fixtures/config/ten-mistakes.yml");

fn read(text: &str) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    load(Path::new("stagecraft.yml"), &Memory::new([("stagecraft.yml", text)]))
}

fn good(text: &str) -> Config {
    match read(text) {
        Ok((config, _)) => config,
        Err(problems) => panic!("refused:\n{}", shown(&problems)),
    }
}

/// What a person would see.
fn shown(problems: &[Diagnostic]) -> String {
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(90);
    let mut text = String::new();
    for problem in problems {
        handler.render_report(&mut text, problem).unwrap();
    }
    text
}

/// One line for each problem: where, what, and what to do.
fn brief(problems: &[Diagnostic]) -> String {
    let lines = problems.iter().map(|problem| {
        let at = problem.at.as_deref().map_or(String::from("-"), |(span, label)| {
            format!("{} `{}` {label}", span.line(), span.text())
        });
        let help = problem.help.as_deref().unwrap_or("-");
        format!("{at} | {} | {} | {help}\n", problem.code, problem.message)
    });
    lines.collect()
}

fn wrong(text: &str) -> String {
    match read(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => brief(&problems),
    }
}

#[test]
fn every_key_works() {
    let config = good(FULL);
    assert_eq!(
        config.environments().collect::<Vec<_>>(),
        ["dev", "production", "sandbox", "staging"]
    );
    assert_eq!(config.file.compose.len(), 2);
}

#[test]
fn the_reference_loads() {
    let Ok(text) = std::fs::read_to_string("../shared/reference/stagecraft-yml.md") else { return };
    let sample = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = good(sample);
    let staging = config.environment("staging").unwrap();
    assert_eq!(staging.services["api"].hosts, ["staging-1"]);
    assert_eq!(staging.variables["SHOP_ENV_FILE"], "/etc/shop/env");
}

#[test]
fn ten_mistakes_are_reported_in_one_run() {
    insta::assert_snapshot!(shown(&read(TEN_MISTAKES).unwrap_err()), @"
    config::missing-key

      × `project` has no `name`
       ╭─[stagecraft.yml:1:10]
     1 │ project: { nam: kiosk }
       ·          ───────┬──────
       ·                 ╰── `name` belongs here
     2 │ hosts:
       ╰────
    config::unknown-key

      × unknown key `nam`
       ╭─[stagecraft.yml:1:12]
     1 │ project: { nam: kiosk }
       ·            ─┬─
       ·             ╰── not a key of `project`
     2 │ hosts:
       ╰────
      help: did you mean `name`?
    config::value

      × `hosts.app.port` is out of range
       ╭─[stagecraft.yml:3:37]
     2 │ hosts:
     3 │   app: [app-1, { name: app-2, port: 70000 }]
       ·                                     ──┬──
       ·                                       ╰── this value
     4 │   db: [{ name: app-1, address: 10.0.0.1 }]
       ╰────
      help: use 1 to 65535
    config::host-conflict

      × the host `app-1` has two different addresses
       ╭─[stagecraft.yml:5:37]
     4 │   db: [{ name: app-1, address: 10.0.0.1 }]
     5 │   gateway: [{ name: app-1, address: 10.0.0.2 }]
       ·                                     ────┬───
       ·                                         ╰── the other stands elsewhere under `hosts`
     6 │   cache: []
       ╰────
      help: describe the host in one role and give only its name in the others
    config::value

      × `hosts.cache` is empty
       ╭─[stagecraft.yml:6:10]
     5 │   gateway: [{ name: app-1, address: 10.0.0.2 }]
     6 │   cache: []
       ·          ─┬
       ·           ╰── this value
     7 │ services:
       ╰────
      help: name at least one
    config::unknown-role

      × the service `api` has the unknown role `ap`
       ╭─[stagecraft.yml:8:16]
     7 │ services:
     8 │   api: { role: ap, rollout: { health_timeout: [60s], order: start-frist } }
       ·                ─┬
       ·                 ╰── no host has this role
     9 │   ../etc: { role: app }
       ╰────
      help: did you mean `app`?
    config::type

      × `services.api.rollout.health_timeout` must be a duration such as `30s`, not a list
       ╭─[stagecraft.yml:8:47]
     7 │ services:
     8 │   api: { role: ap, rollout: { health_timeout: [60s], order: start-frist } }
       ·                                               ──┬──
       ·                                                 ╰── a list
     9 │   ../etc: { role: app }
       ╰────
    config::value

      × `services.api.rollout.order` does not know `start-frist`
       ╭─[stagecraft.yml:8:61]
     7 │ services:
     8 │   api: { role: ap, rollout: { health_timeout: [60s], order: start-frist } }
       ·                                                             ─────┬─────
       ·                                                                  ╰── this value
     9 │   ../etc: { role: app }
       ╰────
      help: did you mean `start-first`?
    config::name

      × `../etc` is not a name
        ╭─[stagecraft.yml:9:3]
      8 │   api: { role: ap, rollout: { health_timeout: [60s], order: start-frist } }
      9 │   ../etc: { role: app }
        ·   ───┬──
        ·      ╰── this key
     10 │ environments:
        ╰────
      help: use letters, digits, `.`, `_` and `-`, beginning with a letter or digit
    config::type

      × `environments.staging.protect` must be `true` or `false`, not a string
        ╭─[stagecraft.yml:11:23]
     10 │ environments:
     11 │   staging: { protect: maybe }
        ·                       ──┬──
        ·                         ╰── a string
     12 │   staging: { world: simulated }
        ╰────
    yaml::duplicate-key

      × key `staging` is already defined at line 11
        ╭─[stagecraft.yml:12:3]
     11 │   staging: { protect: maybe }
     12 │   staging: { world: simulated }
        ·   ───┬───
        ·      ╰── defined again
        ╰────
    ");
}

/// An environment as data small enough to read.
fn outline(environment: &Environment) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for host in environment.hosts.values() {
        let user = host.user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
        let roles: Vec<&str> = host.roles.iter().map(String::as_str).collect();
        writeln!(text, "host {}: {user}{}{port} {}", host.name, host.address, roles.join(" "))
            .unwrap();
    }
    for (name, service) in &environment.services {
        let mode = service.mode.name();
        writeln!(text, "service {name}: {mode} on {}", service.hosts.join(" ")).unwrap();
    }
    for (name, value) in &environment.variables {
        writeln!(text, "{name}={value}").unwrap();
    }
    text
}

#[test]
fn an_environment_is_resolved() {
    let environment = good(FULL).environment("production").unwrap();
    insta::assert_snapshot!(outline(&environment), @r#"
        host app-1: app-1.example.ts.net app
        host app-2: deploy@203.0.113.7:2222 app
        host db-1: db-1.example.ts.net db
        host edge-1: edge-1.example.ts.net gateway
        service api: container on app-1 app-2
        service postgres: container on db-1
        service traefik: container on edge-1
        service web: container on app-1 app-2
        service worker: container on app-1 app-2
        API_HOST=app-1.example.ts.net
        POSTGRES_HOST=db-1.example.ts.net
        STAGECRAFT_ENV=production
        TRAEFIK_HOST=edge-1.example.ts.net
        WEB_HOST=app-1.example.ts.net
        WORKER_HOST=app-1.example.ts.net
        "#);
}

#[test]
fn an_environment_overrides_what_is_above_it() {
    let environment = good(FULL).environment("staging").unwrap();
    insta::assert_snapshot!(outline(&environment), @r#"
        host staging-1: staging-1.example.ts.net app db gateway
        service api: container on staging-1
        service postgres: container on staging-1
        service traefik: container on staging-1
        service web: container on staging-1
        service worker: container on staging-1
        API_HOST=staging-1.example.ts.net
        DOMAIN=staging.kiosk.example
        KIOSK_ENV_FILE=/etc/kiosk/env
        LOG_LEVEL=debug
        LOG_RETENTION_DAYS=30
        Mixed_Case=yes
        POSTGRES_HOST=staging-1.example.ts.net
        POSTGRES_TAG=17.10
        POSTGRES_VOLUME=/var/lib/kiosk/postgres
        STAGECRAFT_ENV=staging
        STAGECRAFT_ENV_FILE=/etc/kiosk/env
        TRACING=true
        TRAEFIK_HOST=staging-1.example.ts.net
        WEB_HOST=staging-1.example.ts.net
        WORKER_HOST=staging-1.example.ts.net
        "#);
    let api = environment.service("api");
    insta::assert_debug_snapshot!(api, @r#"
    Service {
        role: Some(
            "app",
        ),
        hosts: [
            "staging-1",
        ],
        mode: Container,
        requested: true,
        url: None,
        replicas: Some(
            2,
        ),
        rollout: Rollout {
            order: Some(
                StartFirst,
            ),
            health_timeout: Some(
                90s,
            ),
            max_parallel: 2,
            batch: Some(
                1,
            ),
            monitor: 30s,
            drain: 20s,
            drain_hook: Some(
                [
                    "sh",
                    "-c",
                    "touch /tmp/draining",
                ],
            ),
            on_failure: Pause,
            canary: Some(
                1,
            ),
            driver: DockerRollout,
        },
        release_command: Some(
            [
                "sh",
                "-c",
                "npm run migrate",
            ],
        ),
    }
    "#);
    assert_eq!(environment.service("postgres").rollout.monitor.as_secs(), 5);
    assert_eq!(environment.domains, ["staging.kiosk.example", "www.staging.kiosk.example"]);
    assert_eq!(
        environment.secrets,
        SecretsFile { path: ".stagecraft/staging.env".into(), required: true }
    );
    assert!(matches!(&environment.state, State::S3(s3) if &*s3.bucket == "kiosk-staging"));
    let machine = &environment.machines["staging-1"];
    assert_eq!(machine.region.as_deref(), Some("lon1"));
    assert!(machine.protect && environment.protect);
    assert_eq!(environment.branch.as_deref(), Some("main"));
}

#[test]
fn development_has_no_hosts() {
    let environment = good(FULL).environment("dev").unwrap();
    insta::assert_snapshot!(outline(&environment), @r#"
        service api: external on 
        service postgres: container on 
        service traefik: container on 
        service web: container on 
        service worker: container on 
        KIOSK_ENV_FILE=.env.local
        POSTGRES_VOLUME=postgres_data
        STAGECRAFT_ENV=dev
        STAGECRAFT_ENV_FILE=.env.local
        "#);
    assert!(environment.is_local());
    assert!(matches!(environment.state, State::Local { .. }));
    assert_eq!(environment.service("api").url.as_deref(), Some("http://localhost:4000"));
}

#[test]
fn a_simulation_keeps_its_state_here() {
    let environment = good(FULL).environment("sandbox").unwrap();
    assert_eq!(environment.world, World::Simulated);
    assert_eq!(environment.hosts.len(), 4);
    assert!(!environment.is_local());
    assert!(matches!(environment.state, State::Local { .. }));
}

const LOCAL: &str = "
project: { name: kiosk }
hosts: { all: [{ name: here, transport: local }] }
services: { api: {} }
environments: { home: { env_file: .env } }
";

#[test]
fn one_local_host_needs_no_roles_and_no_remote_store() {
    let environment = good(LOCAL).environment("home").unwrap();
    assert!(environment.is_local());
    assert_eq!(environment.hosts["here"].transport, Transport::Local);
    assert_eq!(environment.service("api").hosts, ["here"]);
    assert_eq!(environment.service("unmentioned").hosts, ["here"]);
    assert!(matches!(environment.state, State::Local { .. }));
    assert_eq!(environment.secrets.path, ".stagecraft/secrets/home.env");
    assert_eq!(environment.variables["KIOSK_ENV_FILE"], ".env");
}

#[test]
fn paths_start_at_the_file() {
    let files = Memory::new([("shop/stagecraft.yml", FULL)]);
    let (config, _) = load(Path::new("shop/stagecraft.yml"), &files).unwrap();
    let names = ["shop/docker-compose.yml", "shop/docker-compose.extra.yml"];
    assert_eq!(config.compose_files(), names.map(Path::new));
    assert_eq!(config.path("/etc/x"), Path::new("/etc/x"));
}

#[test]
fn an_unknown_environment_has_a_neighbour() {
    let problem = good(FULL).environment("stagin").unwrap_err();
    assert_eq!(problem.help.as_deref(), Some("did you mean `staging`?"));
    let problem = good(FULL).environment("qa").unwrap_err();
    assert!(problem.help.unwrap().contains("`dev`, `production`, `sandbox` and `staging`"));
}

#[test]
fn the_digest_is_of_the_data() {
    let one = good("project: { name: kiosk, registry: a.example }\nhosts: { a: [x], b: [y] }\n");
    let other = "# words\nhosts:\n  b:\n    - y\n  a: [x]\nproject:\n  registry: a.example\n  name: \"kiosk\"\n";
    assert_eq!(one.digest(), good(other).digest());
    assert_ne!(one.digest(), good(&other.replace("[x]", "[z]")).digest());
}

#[test]
fn variables_are_taken_as_written() {
    let text = "
project: { name: kiosk }
environments:
  qa: { hosts: { app: [one] }, a: 3.10, b: 0777, c: true, d: 1e3, e: \" x \", f: 2024-01-31, g: -1, h: 'no' }
";
    let variables = good(text).environment("qa").unwrap().variables;
    let values: Vec<&str> = ["A", "B", "C", "D", "E", "F", "G", "H"]
        .iter()
        .map(|name| variables[*name].as_str())
        .collect();
    assert_eq!(values, ["3.10", "0777", "true", "1e3", " x ", "2024-01-31", "-1", "no"]);
}

#[test]
fn a_named_host_keeps_what_is_said_at_the_top() {
    let text = "
project: { name: kiosk }
hosts: { app: [{ name: one, address: 192.0.2.1, user: root }] }
environments:
  qa: { hosts: { app: [one, { name: two, address: 192.0.2.2 }] } }
  other: { hosts: { app: [{ name: one, user: deploy }] } }
";
    let config = good(text);
    assert_eq!(config.environment("qa").unwrap().hosts["one"].address, "192.0.2.1");
    let other = config.environment("other").unwrap();
    assert_eq!(other.hosts["one"].address, "192.0.2.1");
    assert_eq!(other.hosts["one"].user.as_deref(), Some("deploy"));
}

#[test]
fn the_compose_files_have_the_last_word_on_names() {
    let text = "
project: { name: kiosk }
backend: { provider: generic, services: [apy] }
hosts: { app: [one], db: [two] }
services: { api: { role: app }, postgrs: { role: db } }
environments:
  qa:
    env_fiel: /etc/env
    postgres_volum: x
    wroker: { mode: external }
    api: 3
    postgres_volume: y
    variables: { POSTGRES_VOLUMES: x, ANYTHING: y }
";
    let config = good(text);
    let names = ComposeNames {
        services: ["api", "postgres", "worker", "debug"].map(|name| (name.into(), None)).into(),
        optional: ["debug".to_owned()].into(),
        variables: ["POSTGRES_VOLUME".to_owned()].into(),
    };
    insta::assert_snapshot!(brief(&config.check_against(&names)), @r#"
        3 `apy` not a service of the Compose files | config::unknown-service | unknown service `apy` | did you mean `api`?
        5 `postgrs` not a service of the Compose files | config::unknown-service | unknown service `postgrs` | did you mean `postgres`?
        8 `env_fiel` not a key of `environments.qa` | config::unknown-key | unknown key `env_fiel` | did you mean `env_file`?
        9 `postgres_volum` not a key of `environments.qa` | config::unknown-key | unknown key `postgres_volum` | did you mean `postgres_volume`?
        10 `wroker` not a key of `environments.qa` | config::unknown-key | unknown key `wroker` | did you mean `worker`?
        11 `api` a service of the Compose files | config::type | the service `api` takes a mapping | write `api: { mode: container }`
        13 `POSTGRES_VOLUMES` not in the Compose files | config::unused-variable | nothing uses the variable `POSTGRES_VOLUMES` | did you mean `POSTGRES_VOLUME`?
        - | config::service-without-role | the service `worker` has no role, and there is more than one host | say where it runs, under `services`: `worker: { role: ROLE }`
        "#);
}

const COMPOSE: &str = "
services:
  api: { image: \"api:${API_TAG}\" }
  db: { image: db, volumes: [\"${DB_VOLUME:?}:/data\"], profiles: [own-db] }
  worker: { image: worker }
volumes: { data: {} }
";

/// Everything that is wrong with a file and the Compose files.
fn project(text: &str, compose: &str) -> Vec<Diagnostic> {
    let files = Memory::new([("stagecraft.yml", text), ("docker-compose.yml", compose)]);
    match load_project(Path::new("stagecraft.yml"), &files, &Models::default()) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    }
}

#[test]
fn mistakes_in_the_file_and_against_the_compose_files_come_together() {
    let text = "
project: { nam: a }
hosts: { app: [one, two], db: [] }
services: { apy: { role: app }, db: { role: db }, worker: { rol: app }, /x: {} }
environments: { qa: { db_volume: data, api_tga: x, db: { replicas: many } }, dev: { domain: [] } }
";
    insta::assert_snapshot!(brief(&project(text, COMPOSE)), @"
    2 `{ nam: a }` `name` belongs here | config::missing-key | `project` has no `name` | -
    2 `nam` not a key of `project` | config::unknown-key | unknown key `nam` | did you mean `name`?
    3 `[]` this value | config::value | `hosts.db` is empty | name at least one
    4 `apy` not a service of the Compose files | config::unknown-service | unknown service `apy` | did you mean `api`?
    4 `rol` not a key of `services.worker` | config::unknown-key | unknown key `rol` | did you mean `role`?
    4 `/x` this key | config::name | `/x` is not a name | use letters, digits, `.`, `_` and `-`, beginning with a letter or digit
    5 `api_tga` not a key of `environments.qa` | config::unknown-key | unknown key `api_tga` | did you mean `api_tag`?
    5 `many` a string | config::type | `environments.qa.db.replicas` must be a whole number, not a string | -
    5 `[]` a list | config::type | `environments.dev.domain` must be a string: a domain name, not a list | -
    ");
}

#[test]
fn mistakes_in_the_compose_files_come_with_those_in_the_file() {
    let text = "project: { name: a }\nnetwrk: {}\n";
    insta::assert_snapshot!(brief(&project(text, "services: { api: { imge: x } }")), @r#"
        2 `netwrk` not a key of the file | config::unknown-key | unknown key `netwrk` | did you mean `network`?
        1 `imge` this key | compose::schema | services.api: unknown key `imge` | did you mean `image`?
        "#);
    insta::assert_snapshot!(brief(&wrong_project_without_compose(text)), @r#"
        2 `netwrk` not a key of the file | config::unknown-key | unknown key `netwrk` | did you mean `network`?
        - | config::compose-file | the Compose file docker-compose.yml is not there | write it, or say where it is: `compose: PATH`, from this file's folder
        "#);
    // Where it is unclear which Compose files are meant, none is missed.
    let unclear = "project: { name: a }\ncompose: { a: b }\n";
    assert_eq!(wrong_project_without_compose(unclear).len(), 1);
}

fn wrong_project_without_compose(text: &str) -> Vec<Diagnostic> {
    load_project(
        Path::new("stagecraft.yml"),
        &Memory::new([("stagecraft.yml", text)]),
        &Models::default(),
    )
    .unwrap_err()
}

#[test]
fn values_are_checked_for_each_environment() {
    let compose = "services: { api: { image: api, deploy: { replicas: \"${REPLICAS}\" } } }";
    let text =
        "project: { name: a }\nenvironments: { qa: { replicas: many }, dev: { replicas: 2 } }\n";
    let files = Memory::new([("stagecraft.yml", text), ("docker-compose.yml", compose)]);
    let (config, _) =
        load_project(Path::new("stagecraft.yml"), &files, &Models::default()).unwrap();
    let found = |name| config.check_values(&config.environment(name).unwrap(), &files);
    assert_eq!(brief(&found("dev")), "");
    insta::assert_snapshot!(brief(&found("qa")), @r#"1 `"${REPLICAS}"` here | compose::type | services.api.deploy.replicas must be a whole number, not `…` | -"#);
}

#[test]
fn a_good_project_has_nothing_to_complain_about() {
    let text = "
project: { name: a }
hosts: { app: [one, two] }
services: { api: { role: app }, worker: { role: app } }
environments: { qa: { db_volume: data, api_tag: 1.0, db: { mode: external } } }
";
    assert_eq!(project(text, COMPOSE), []);
    let unplaced = text.replace(", worker: { role: app }", "");
    assert_eq!(project(&unplaced, COMPOSE).len(), 1);
    assert_eq!(project(&text.replace("db_volume", "bd_volume"), COMPOSE).len(), 1);
}

#[test]
fn durations_read_and_write() {
    for text in ["0s", "1ms", "60s", "1m30s", "1h1m1s1ms", "90m"] {
        let duration = parse_duration(text).unwrap();
        assert_eq!(parse_duration(&format_duration(duration)), Some(duration), "{text}");
    }
    for text in ["", "s", "1", "1 s", "-1s", "1d", "1.5s", "9999999999s", "1s1"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
    assert_eq!(parse_duration("1m30s").unwrap().as_secs(), 90);
}

proptest::proptest! {
    #[test]
    fn garbage_is_refused_not_feared(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn near_misses_are_refused_not_feared(
        from in 0..FULL.len(),
        length in 0..60usize,
        with in "[a-z0-9{}\\[\\]:,&*!#\"'\n -]{0,8}",
    ) {
        let to = (from + length).min(FULL.len());
        let text = format!("{}{with}{}", &FULL[..from], &FULL[to..]);
        if let Ok((config, _)) = read(&text) {
            for name in config.environments() {
                proptest::prop_assert!(config.environment(name).is_ok());
            }
            config.check_against(&ComposeNames::default());
        }
    }
}

#[test]
fn secrets_that_go_nowhere_are_told_of() {
    let file = |env_file: &str| {
        format!(
            "project: {{ name: a }}\nhosts: {{ app: [one] }}\n\
             services: {{ api: {{ role: app }}, db: {{ role: app }}, worker: {{ role: app }} }}\n\
             environments: {{ qa: {{ db_volume: data, secrets: {{ file: x.env }}{env_file} }} }}\n"
        )
    };
    let told = brief(&project(&file(""), COMPOSE));
    assert!(told.contains("config::secrets") && told.contains("x.env"), "{told}");
    assert_eq!(brief(&project(&file(", env_file: /etc/a/env"), COMPOSE)), "");
}
