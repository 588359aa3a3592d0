//! Generated Compose files, read by this loader and by Docker Compose itself, where it is there.
//!
//! `STAGECRAFT_DOCKER_COMPOSE` names the `docker-compose` binary; otherwise `docker compose` is
//! tried. Only 2.40 is compared with: other versions print other models.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Map, Value, json};
use stagecraft::config::compose::{Interpolation, LoadOptions, Memory, Project, Variable, load};
use stagecraft::config::diagnostic::Diagnostic;
use stagecraft::config::yaml::emit;

/// How many cases each test has; each starts Docker Compose once or twice, at some 40 ms.
fn cases() -> u32 {
    std::env::var("STAGECRAFT_LIVE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// How Docker Compose is called, or why it isn't.
fn docker_compose() -> Result<Vec<String>, String> {
    let command = match std::env::var("STAGECRAFT_DOCKER_COMPOSE") {
        Ok(binary) => vec![binary],
        Err(_) => vec!["docker".to_owned(), "compose".to_owned()],
    };
    let output =
        Command::new(&command[0]).args(&command[1..]).args(["version", "--short"]).output();
    let version = match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        _ => return Err(format!("`{}` doesn't run", command.join(" "))),
    };
    match version.trim().trim_start_matches('v').starts_with("2.40.") {
        true => Ok(command),
        false => Err(format!("Docker Compose is {}, not 2.40", version.trim())),
    }
}

/// The model that Docker Compose prints, or nothing where it refuses.
fn theirs(
    command: &[String],
    dir: &Path,
    files: &[&str],
    variables: &BTreeMap<String, String>,
) -> Option<Value> {
    let mut run = Command::new(&command[0]);
    run.args(&command[1..]).args(["-p", "live"]);
    for file in files {
        run.args(["-f", file]);
    }
    run.args(["config", "--format", "json", "--no-path-resolution"]).current_dir(dir).env_clear();
    run.env("PATH", std::env::var("PATH").unwrap_or_default()).env("HOME", "/home/live");
    let output = run.envs(variables).output().unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

fn ours(
    files: &[(&str, String)],
    variables: &dyn Fn(&str) -> Variable,
    interpolation: Interpolation,
) -> Result<Project, Vec<Diagnostic>> {
    let names = files.iter().map(|(name, _)| (*name).into()).collect();
    let mut options = LoadOptions::new(names, variables);
    options.project_name = Some("live".to_owned());
    options.resolve_paths = false;
    options.interpolation = interpolation;
    let memory = Memory::new(files.iter().map(|(name, text)| (*name, text.clone())));
    load(&options, &memory).map(|loaded| loaded.project)
}

fn known(variables: &BTreeMap<String, String>) -> impl Fn(&str) -> Variable {
    |name: &str| match variables.get(name) {
        Some(value) => Variable::Value(value.clone()),
        None => Variable::Unset,
    }
}

fn variables() -> BTreeMap<String, String> {
    let pairs = [("A", "a"), ("E", ""), ("B", "b c"), ("D", "$x"), ("H", "h"), ("K", "k")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Strings with references in all forms, nested, and with plenty of odd text around them.
fn template() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["A", "E", "B", "D", "H", "K", "U", "V"]);
    let odd = prop::sample::select(vec![
        "x", "$$", "$", " ", ":", "-", "}", "{", "{}", ".", "é", "\n", "?", "+", "'", "\"", "1",
    ]);
    let leaf = prop_oneof![
        3 => odd.prop_map(str::to_owned),
        2 => name.clone().prop_map(|name| format!("${name}")),
        2 => name.clone().prop_map(|name| format!("${{{name}}}")),
    ];
    let operator = prop::sample::select(vec![":-", "-", ":+", "+", ":?", "?"]);
    let tree = leaf.prop_recursive(3, 12, 3, move |inner| {
        let argument = prop::collection::vec(inner, 0..3).prop_map(|pieces| pieces.concat());
        (name.clone(), operator.clone(), argument)
            .prop_map(|(name, operator, argument)| format!("${{{name}{operator}{argument}}}"))
    });
    prop::collection::vec(tree, 0..5).prop_map(|pieces| pieces.concat())
}

/// Values of one key, any of which may meet any other across files.
fn forms() -> Vec<(&'static str, Vec<Value>)> {
    let vary = |values: Value| values.as_array().cloned().unwrap_or_default();
    vec![
        ("command", vary(json!(["a 'b c'", ["d"], null, []]))),
        ("environment", vary(json!([{"A": 1, "X": null}, ["A=2", "K"], {"B": "$H"}, []]))),
        ("labels", vary(json!([{"a": 1.5, "b": true}, ["a=x", "c"], {"d": null}]))),
        (
            "ports",
            vary(
                json!([["80:80"], ["80", "81:81/udp"], [{"target": 80, "published": 8080}], ["8000-8002:80-82"]]),
            ),
        ),
        (
            "volumes",
            vary(
                json!([["./a:/x"], ["v:/x", "/y"], [{"type": "bind", "source": "b", "target": "/x"}], ["v:/y:ro"]]),
            ),
        ),
        (
            "networks",
            vary(json!([["n"], {"n": {"aliases": ["z"]}}, {"n": null, "m": {"priority": 1}}])),
        ),
        (
            "depends_on",
            vary(
                json!([["b"], {"b": {"condition": "service_healthy"}}, {"c": {"condition": "service_started", "required": false}}]),
            ),
        ),
        (
            "build",
            vary(
                json!([".", {"dockerfile": "D", "args": ["A", "Q=1"]}, {"args": {"Q": 2}, "tags": ["t"]}]),
            ),
        ),
        (
            "extra_hosts",
            vary(json!([["a:1.1.1.1"], {"a": "1.1.1.1", "b": ["2.2.2.2"]}, ["a=3.3.3.3"]])),
        ),
        ("dns", vary(json!(["1.1.1.1", ["1.1.1.1", "2.2.2.2"], [""]]))),
        ("tmpfs", vary(json!(["/t", ["/t", "/u"]]))),
        ("cap_add", vary(json!([["A"], ["B", "A"]]))),
        ("expose", vary(json!([[80], ["80", "90"]]))),
        ("ulimits", vary(json!([{"nofile": 1}, {"nofile": {"soft": 1, "hard": 2}, "nproc": 3}]))),
        (
            "logging",
            vary(
                json!([{"driver": "a", "options": {"x": "1"}}, {"driver": "b"}, {"options": {"y": 2}}]),
            ),
        ),
        (
            "healthcheck",
            vary(
                json!([{"test": "a", "interval": "90s"}, {"test": ["CMD", "b"], "retries": 2}, {"disable": true}]),
            ),
        ),
        (
            "deploy",
            vary(
                json!([{"replicas": 1, "labels": {"a": "b"}}, {"replicas": "2", "labels": ["c"]}, {"resources": {"limits": {"cpus": "0.5"}}}]),
            ),
        ),
        ("secrets", vary(json!([["s"], [{"source": "s", "target": "t"}]]))),
        ("configs", vary(json!([["c"], [{"source": "c", "target": "/c", "mode": 288}]]))),
        ("sysctls", vary(json!([{"a": 1}, ["b=2", "a=3"]]))),
        ("scale", vary(json!([1, "2", null]))),
        ("mem_limit", vary(json!(["64m", 1000, "1.5g"]))),
        ("stop_grace_period", vary(json!(["1m30s", "2d", "1.5s"]))),
        ("privileged", vary(json!([true, "no", "true"]))),
        ("devices", vary(json!([["/a:/b"], ["/c:/b:r", "/d"]]))),
        (
            "env_file",
            vary(json!([[{"path": "e", "required": false}], [{"path": "f", "required": false}]])),
        ),
    ]
}

/// A service with some of the keys in some of their forms.
fn service() -> impl Strategy<Value = Map<String, Value>> {
    let forms = forms();
    let count = forms.len();
    prop::collection::btree_map(0..count, any::<prop::sample::Index>(), 0..7).prop_map(
        move |picks| {
            picks
                .into_iter()
                .map(|(key, form)| {
                    let (key, values) = &forms[key];
                    ((*key).to_owned(), form.get(values).clone())
                })
                .collect()
        },
    )
}

fn base(mut service: Map<String, Value>) -> String {
    service.insert("image".to_owned(), json!("x"));
    let model = json!({
        "services": {"a": service, "b": {"image": "b"}, "c": {"image": "c"}},
        "networks": {"n": null, "m": {"driver": "d"}}, "volumes": {"v": null},
        "secrets": {"s": {"file": "s"}}, "configs": {"c": {"file": "c"}},
    });
    model.to_string()
}

fn run<S: Strategy>(strategy: &S, test: impl Fn(&[String], S::Value) -> Result<(), TestCaseError>) {
    let command = match docker_compose() {
        Ok(command) => command,
        Err(reason) => {
            eprintln!("SKIPPED: no live comparison, {reason}");
            return;
        }
    };
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(strategy, |value| test(&command, value)).unwrap();
}

fn agree(ours: Option<Value>, theirs: Option<Value>, what: &str) -> Result<(), TestCaseError> {
    match (&ours, &theirs) {
        (Some(ours), Some(theirs)) => {
            prop_assert_eq!(normal(ours), normal(theirs), "{}", what);
        }
        (None, None) => {}
        _ => {
            let side =
                if ours.is_some() { "only this loader accepts" } else { "only Compose accepts" };
            return Err(TestCaseError::fail(format!("{side} {what}")));
        }
    }
    Ok(())
}

/// `1` and `1.0` are the same number.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), normal(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn interpolation_agrees() {
    run(&template(), |command, text| {
        let dir = tempfile::tempdir()?;
        let model = json!({"services": {"a": {"image": "x", "labels": {"l": text}}}}).to_string();
        std::fs::write(dir.path().join("c.yml"), &model)?;
        let variables = variables();
        let theirs = theirs(command, dir.path(), &["c.yml"], &variables);
        let ours = ours(&[("c.yml", model.clone())], &known(&variables), Interpolation::Full);
        agree(ours.ok().map(|project| project.canonical()), theirs, &model)
    });
}

#[test]
fn overrides_agree() {
    run(&(service(), service()), |command, (first, second)| {
        let dir = tempfile::tempdir()?;
        let files =
            [("c.yml", base(first)), ("d.yml", json!({"services": {"a": second}}).to_string())];
        for (name, text) in &files {
            std::fs::write(dir.path().join(name), text)?;
        }
        let variables = variables();
        let theirs = theirs(command, dir.path(), &["c.yml", "d.yml"], &variables);
        let ours = ours(&files, &known(&variables), Interpolation::Full);
        agree(ours.ok().map(|project| project.canonical()), theirs, &format!("{files:?}"))
    });
}

/// What is rendered here and interpolated on the host is what one interpolation would have made.
#[test]
fn rendered_files_mean_the_same_on_the_host() {
    run(&(template(), template(), service()), |command, (image, label, mut service)| {
        let dir = tempfile::tempdir()?;
        service.insert("labels".to_owned(), json!({"l": label}));
        service.insert("hostname".to_owned(), json!(image));
        // Env files are read where they are: not part of what is rendered.
        service.remove("env_file");
        let model = base(service);
        std::fs::write(dir.path().join("c.yml"), &model)?;
        let all = variables();
        let host: BTreeMap<_, _> =
            all.iter().filter(|(name, _)| matches!(name.as_str(), "H" | "E" | "K")).collect();
        let host: BTreeMap<String, String> =
            host.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let lookup = |name: &str| match all.get(name) {
            Some(_) if host.contains_key(name) => Variable::Host,
            Some(value) => Variable::Value(value.clone()),
            None => Variable::Unset,
        };
        // A branch that isn't taken is refused before rendering for errors in it, but not after.
        let Some(expected) = theirs(command, dir.path(), &["c.yml"], &all) else { return Ok(()) };
        let rendered = match ours(&[("c.yml", model.clone())], &lookup, Interpolation::Template) {
            Ok(rendered) => rendered,
            // The one thing that a template can't say: a value with braces inside a reference.
            Err(problems) => {
                let problem = problems[0].to_string();
                prop_assert!(problem.contains("would end it early"), "{problem}: {model}");
                return Ok(());
            }
        };
        let text = emit(&rendered.document());
        std::fs::write(dir.path().join("r.yml"), &text)?;
        let actual = theirs(command, dir.path(), &["r.yml"], &host);
        agree(actual, Some(expected), &format!("{model}\nrendered as\n{text}"))
    });
}
