use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::config::diagnostic::Diagnostic;
use crate::config::yaml;

const KNOWN: [(&str, &str); 3] = [("A", "a"), ("MONEY", "$5"), ("SECRET", "s3cret")];

fn lookup(name: &str) -> Variable {
    match (KNOWN.iter().find(|(known, _)| *known == name), name) {
        (Some((_, value)), _) => Variable::Value((*value).to_owned()),
        (None, "H" | "DB_PASSWORD" | "PORT") => Variable::Host,
        (None, _) => Variable::Unset,
    }
}

fn read_with(
    files: &[(&str, &str)],
    change: impl FnOnce(&mut LoadOptions),
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut options = LoadOptions::new(vec![PathBuf::from(files[0].0)], &lookup);
    options.project_name = Some("p".to_owned());
    options.resolve_paths = false;
    change(&mut options);
    load(&options, &Memory::new(files.iter().copied()))
}

fn read(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    read_with(&[("compose.yml", text)], |_| {})
}

fn template(text: &str) -> Project {
    let change = |options: &mut LoadOptions| {
        options.interpolation = Interpolation::Template;
        options.resolve_env = false;
    };
    read_with(&[("compose.yml", text)], change).unwrap().project
}

fn render(problems: &[Diagnostic]) -> String {
    let theme = miette::GraphicalTheme::unicode_nocolor();
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(100);
    let mut out = String::new();
    for problem in problems {
        handler.render_report(&mut out, problem).unwrap();
        out.push('\n');
    }
    out
}

fn refusal(text: &str) -> String {
    render(&read(text).unwrap_err())
}

#[test]
fn unknown_keys_are_all_named_with_what_was_meant() {
    insta::assert_snapshot!(refusal(
        "services:\n  web:\n    imgae: nginx\n    ports: 80\n  db:\n    image: [postgres]\n    restart: 3\nvolume:\n  data:\n"
    ));
}

#[test]
fn wrong_values_say_what_would_be_right() {
    insta::assert_snapshot!(refusal(
        "services:\n  web:\n    image: 2024-01-31\n    depends_on:\n      db: {condition: healthy}\n    oom_score_adj: 5000\n    cap_add: [A, A, A]\n    healthcheck: {tset: x}\n"
    ));
    insta::assert_snapshot!(refusal("services:\n  web:\n    image: x\n    ports: ['80:eighty']\n"));
    insta::assert_snapshot!(refusal(
        "services:\n  web:\n    image: x\n    stop_grace_period: 30\n"
    ));
}

#[test]
fn references_that_lead_nowhere_are_all_named() {
    insta::assert_snapshot!(refusal(
        "services:\n  web:\n    image: x\n    networks: [backned]\n    volumes: ['data:/data', '/x', '/x']\n    depends_on: [bd]\n  db: {build: .}\nnetworks:\n  backend:\n"
    ));
    insta::assert_snapshot!(refusal(
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, links: [c]}\n  c: {image: x, network_mode: 'service:a'}\n"
    ));
}

#[test]
fn variables_that_are_missing_are_named() {
    insta::assert_snapshot!(refusal(
        "services:\n  web:\n    image: nginx:${TAG:?say which version}\n    command: echo ${\n"
    ));
    let loaded = read("services:\n  web:\n    image: nginx$NOPE\n    privileged: 'yes'\n").unwrap();
    insta::assert_snapshot!(render(&loaded.warnings));
}

#[test]
fn broken_yaml_points_at_the_place() {
    insta::assert_snapshot!(refusal("services:\n  web:\n    image: x\n   ports: []\n"));
    insta::assert_snapshot!(refusal("services:\n  web: {image: x}\n  web: {image: y}\n"));
}

#[test]
fn what_a_variable_holds_is_in_no_error() {
    for text in [
        "services: {a: {image: x, ports: ['$SECRET:80']}}",
        "services: {a: {image: x, scale: $SECRET}}",
        "services: {a: {image: x, mem_limit: $SECRET}}",
        "services: {a: {image: x, stop_grace_period: '${SECRET}'}}",
        "services: {a: {image: x, container_name: '-$SECRET-'}}",
        "services: {a: {image: x, volumes: ['vol:$SECRET:cc:dd']}}",
        "services: {a: {image: x, pull_policy: $SECRET}}",
        "services: {a: {image: x, healthcheck: {interval: $SECRET}}}",
        "services: {a: {image: x, extra_hosts: [$SECRET]}}",
        "services: {a: {image: x, ports: [{target: 80, host_ip: $SECRET}]}}",
        "services: {a: {image: x, command: \"'$SECRET\"}}",
    ] {
        match read(text) {
            Err(problems) => {
                assert!(!render(&problems).contains("s3cret"), "{}", render(&problems))
            }
            Ok(_) => assert!(text.contains("container_name"), "{text} loads"),
        }
    }
    let files =
        [("compose.yml", "services: {a: {image: x, env_file: e}}"), ("e", "A=1\nB='s3cret\n")];
    let problems = render(&read_with(&files, |_| {}).unwrap_err());
    assert!(problems.contains("e, line 2") && !problems.contains("s3cret"), "{problems}");
}

#[test]
fn templates_leave_to_the_host_what_only_it_knows() {
    let project = template(
        r#"
services:
  api:
    image: "api:$A"
    container_name: c-${H}
    command: ["pay", "$MONEY", "$$x"]
    environment:
      URL: postgres://u:${DB_PASSWORD:?set it}@db
      FROM_HOST: $H
      H:
      A:
      GONE:
    ports: ["${PORT:-80}:8080", "127.0.0.1:${PORT}:${PORT}/udp", "9000"]
    volumes: ["${H}/data:/data:ro", "./x:/x", "${H}:/y"]
    deploy: {replicas: "${H}"}
    stop_grace_period: ${H}
    mem_limit: ${H}m
    privileged: ${H:-false}
    healthcheck: {test: "x", interval: "${H}s", retries: 3}
    labels: {"cost": "$MONEY"}
"#,
    );
    let api = &project.services["api"];
    let expected = json!({
        "image": "api:a", "container_name": "c-${H}", "command": ["pay", "$$5", "$$x"],
        "environment": {
            "URL": "postgres://u:${DB_PASSWORD:?set it}@db", "FROM_HOST": "${H}", "H": null,
            "A": "a", "GONE": null,
        },
        "ports": [
            {"mode": "ingress", "target": 8080, "published": "${PORT:-80}", "protocol": "tcp"},
            {"mode": "ingress", "host_ip": "127.0.0.1", "target": "${PORT}", "published": "${PORT}", "protocol": "udp"},
            {"mode": "ingress", "target": 9000, "protocol": "tcp"},
        ],
        "volumes": [
            "${H}/data:/data:ro",
            {"type": "bind", "source": "./x", "target": "/x", "bind": {"create_host_path": true}},
            "${H}:/y",
        ],
        "deploy": {"replicas": "${H}"}, "stop_grace_period": "${H}", "mem_limit": "${H}m",
        "privileged": "${H:-false}", "healthcheck": {"test": ["CMD-SHELL", "x"], "interval": "${H}s", "retries": 3},
        "labels": {"cost": "$$5"}, "networks": {"default": null},
    });
    assert_eq!(Value::Object(api.canonical.clone()), expected);
    assert_eq!((api.ports[0].target, api.ports[1].target), (Some(8080), None));
    assert_eq!(api.ports[0].published.as_deref(), Some("${PORT:-80}"));
    assert_eq!(
        (api.volumes[0].kind, api.volumes[1].kind),
        (MountKind::Unresolved, MountKind::Bind)
    );
    assert_eq!((api.replicas, api.stop_grace_period), (None, None));
    let names = references(&Value::Object(api.canonical.clone()));
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["DB_PASSWORD", "GONE", "H", "PORT"]);
}

#[test]
fn a_rendered_file_reads_back_as_the_same_project() {
    let project = template(
        "services:\n  a:\n    image: x:${H}\n    environment: [PASSWORD=$DB_PASSWORD, M=$MONEY, H]\n    ports: ['${PORT}:80']\n    volumes: ['v:/v', '${H}:/h']\n    profiles: [p]\n    x-kept: 1\n  b: {image: y}\nvolumes: {v: }\nx-top: {a: 1}\n",
    );
    assert_eq!(project.services.len(), 1);
    let text = yaml::emit(&project.document());
    let back = load_text("rendered.yml", &text).unwrap().project;
    assert_eq!(back.document(), project.document());
    assert_eq!(back.name, "p");
    assert_eq!(yaml::emit(&back.document()), text);
}

#[test]
fn values_that_would_break_a_kept_reference_are_refused() {
    let vars = |name: &str| match name {
        "BRACE" => Variable::Value("a}b".to_owned()),
        "H" => Variable::Host,
        _ => Variable::Unset,
    };
    let mut options = LoadOptions::new(vec![PathBuf::from("c.yml")], &vars);
    options.interpolation = Interpolation::Template;
    options.project_name = Some("p".to_owned());
    let files = Memory::new([("c.yml", "services: {a: {image: '${H:-$BRACE}'}}")]);
    let problems = load(&options, &files).unwrap_err();
    assert!(problems[0].message.contains("would end it early"), "{problems:?}");
}

#[test]
fn profiles_split_the_services_and_unused_resources_go() {
    let text = "services:\n  a: {image: x}\n  b: {image: y, profiles: [p], volumes: ['vol:/v']}\nvolumes: {vol: }\n";
    let project = read(text).unwrap().project;
    assert_eq!(project.services.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(project.disabled.keys().collect::<Vec<_>>(), ["b"]);
    assert!(project.volumes.is_empty());
    let all = |options: &mut LoadOptions| options.profiles = vec!["*".to_owned()];
    let project = read_with(&[("compose.yml", text)], all).unwrap().project;
    assert_eq!(project.services.len(), 2);
    assert_eq!(project.volumes["vol"].name, "p_vol");
}

#[test]
fn hostile_projects_are_refused_in_bounded_time() {
    let many = |count: usize, line: &dyn Fn(usize) -> String| -> String {
        (0..count).map(line).collect::<Vec<_>>().concat()
    };
    // Ranges of ports multiply.
    let ports = "      - 1-65535
      - 1-65535/udp
";
    assert!(read(&format!("services:\n  a:\n    image: x\n    ports:\n{ports}")).is_err());
    // A chain of extends.
    let chain = many(400, &|at| format!("  s{at}: {{extends: s{}}}\n", at + 1));
    assert!(read(&format!("services:\n{chain}  s400: {{image: x}}\n")).is_err());
    // A long chain of dependencies is no cycle.
    let chain = many(400, &|at| format!("  s{at}: {{image: x, depends_on: [s{}]}}\n", at + 1));
    assert!(read(&format!("services:\n{chain}  s400: {{image: x}}\n")).is_ok());
    // Includes that include each other, and a file that includes itself a thousand times.
    let files = [
        ("compose.yml", "include: [a.yml]\nservices: {x: {image: x}}"),
        ("a.yml", "include: [b.yml]\nservices: {y: {image: x}}"),
        ("b.yml", "include: [a.yml]\nservices: {z: {image: x}}"),
    ];
    let problems = render(&read_with(&files, |_| {}).unwrap_err());
    assert!(problems.contains("files include each other"), "{problems}");
    let list = many(600, &|_| "- a.yml\n".to_owned());
    let text = format!("include:\n{list}\nservices: {{x: {{image: x}}}}");
    let files = [("compose.yml", text.as_str()), ("a.yml", "services: {y: {image: x}}")];
    assert!(render(&read_with(&files, |_| {}).unwrap_err()).contains("than any real"));
    // Many errors are cut short.
    let keys = many(500, &|at| format!("    unknown{at}: 1\n"));
    assert!(read(&format!("services:\n  a:\n{keys}")).unwrap_err().len() <= 20);
}

#[test]
fn names_follow_compose_s_precedence() {
    let named = |text: &str, change: &dyn Fn(&mut LoadOptions)| {
        let change = |options: &mut LoadOptions| {
            options.project_name = None;
            options.project_dir = Some(PathBuf::from("/home/My Folder"));
            change(options);
        };
        read_with(&[("compose.yml", text)], change).map(|loaded| loaded.project.name)
    };
    let services = "services: {a: {image: x}}";
    assert_eq!(named(services, &|_| {}).as_deref(), Ok("myfolder"));
    let text = format!("name: Shop-${{A}}\n{services}");
    assert_eq!(named(&text, &|_| {}).as_deref(), Ok("shop-a"));
    assert_eq!(named(&text, &|o| o.project_name = Some("mine".to_owned())).as_deref(), Ok("mine"));
    assert!(named(&text, &|o| o.project_name = Some("Not Mine".to_owned())).is_err());
}

#[test]
fn discovery_follows_compose_s_precedence() {
    let files = Memory::new([
        ("/p/compose.yaml", ""),
        ("/p/docker-compose.yml", ""),
        ("/p/compose.override.yml", ""),
        ("/p/.env", "A=file\nB=file\nCOMPOSE_PROFILES=x, y\n"),
        ("/p/sub/x", ""),
        ("/p/other.env", "A=other\nC=$A\n"),
    ]);
    let variables = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let given = Discovery { variables: variables(&[("A", "process")]), ..Discovery::default() };
    let found = discover(given, std::path::Path::new("/p/sub"), &files).unwrap();
    let expected = ["/p/compose.yaml", "/p/compose.override.yml"].map(PathBuf::from);
    assert_eq!(found.files, expected);
    assert_eq!(found.project_dir, Some(PathBuf::from("/p")));
    assert_eq!((found.variables["A"].as_str(), found.variables["B"].as_str()), ("process", "file"));
    assert_eq!(found.profiles, ["x", "y"]);
    assert_eq!(found.warnings.len(), 1);
    let given = Discovery {
        env_files: vec![PathBuf::from("../other.env")],
        files: vec![PathBuf::from("../compose.yaml")],
        ..Discovery::default()
    };
    let found = discover(given, std::path::Path::new("/p/sub"), &files).unwrap();
    assert_eq!(found.variables, variables(&[("A", "other"), ("C", "other")]));
    assert!(discover(Discovery::default(), std::path::Path::new("/q"), &files).is_err());
}
