//! This project's own Compose files against what Docker Compose 2.40.3 printed for each, so that
//! the tests stand alone. The goldens are its output, made in the fixture's folder with
//! `HOME=/home/ada REGION=eu docker compose … config --format json --no-path-resolution`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stagecraft::config::compose::{Discovery, Disk, LoadOptions, Project, discover, load};
use stagecraft::config::diagnostic::Source;
use stagecraft::config::yaml;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/compose").join(name)
}

fn read(name: &str, files: &[&str], profiles: &[&str]) -> Project {
    let dir = folder(name);
    let variables = [("HOME", "/home/ada"), ("REGION", "eu")];
    let given = Discovery {
        files: files.iter().map(PathBuf::from).collect(),
        profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
        variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..Discovery::default()
    };
    let found = discover(given, &dir, &Disk::default()).unwrap();
    let lookup = |name: &str| found.lookup(name);
    let mut options = LoadOptions::new(found.files.clone(), &lookup);
    options.project_dir = found.project_dir.clone();
    options.profiles = found.profiles.clone();
    options.resolve_paths = false;
    load(&options, &Disk::default()).unwrap().project
}

fn golden(name: &str, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(name).join(file)).unwrap()).unwrap()
}

/// Numbers as floating point: `1` and `1.0` are the same data.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), normal(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn a_project_of_many_files_is_what_compose_makes_of_it() {
    let project = read("shop", &[], &[]);
    assert_eq!(normal(&project.canonical()), normal(&golden("shop", "golden.json")));
    let files = ["compose.yml", "compose.prod.yml"];
    let project = read("shop", &files, &["mail"]);
    assert_eq!(normal(&project.canonical()), normal(&golden("shop", "golden.prod.json")));
}

#[test]
fn every_family_of_forms_is_what_compose_makes_of_it() {
    let project = read("forms", &[], &[]);
    assert_eq!(normal(&project.canonical()), normal(&golden("forms", "golden.json")));
}

/// The YAML print has the extensions and models that the JSON print leaves out.
#[test]
fn the_yaml_print_is_compose_s_too() {
    let text = std::fs::read_to_string(folder("forms").join("golden.yml")).unwrap();
    let source = Source { name: "golden.yml".to_owned(), text };
    let golden = yaml::parse(&source.into()).unwrap().remove(0).to_json();
    let project = read("forms", &[], &[]);
    assert_eq!(normal(&project.document()), normal(&golden));
    let printed = Source { name: "ours.yml".to_owned(), text: yaml::emit(&project.document()) };
    let back = yaml::parse(&printed.into()).unwrap().remove(0).to_json();
    assert_eq!(normal(&back), normal(&golden));
}

#[test]
fn the_typed_model_reads_the_canonical_one() {
    let project = read("shop", &["compose.yml", "compose.prod.yml"], &[]);
    let api = &project.services["api"];
    assert_eq!(api.image.as_deref(), Some("registry.example/shop/api:1.4.2"));
    assert_eq!(api.replicas, Some(3));
    assert_eq!(api.ports[0].target, Some(8080));
    assert_eq!(api.canonical["environment"]["GREETING"], "Hello,\neu");
    assert_eq!(api.canonical["secrets"][0]["source"], "signing_key");
    assert_eq!(project.disabled.keys().collect::<Vec<_>>(), ["mailer"]);
    let postgres = &project.services["postgres"];
    let health = postgres.healthcheck.clone().unwrap();
    assert_eq!(health.start_period, Some(std::time::Duration::from_secs(90)));
    assert_eq!(postgres.stop_grace_period, Some(std::time::Duration::from_secs(90)));
    let spans: BTreeMap<_, _> = project.spans.iter().map(|(k, v)| (k.as_str(), v)).collect();
    assert_eq!(spans["api"].source.name, "compose.yml");
    assert_eq!(spans["metrics"].source.name, "monitoring/compose.yml");
}
