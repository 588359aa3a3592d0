//! The whole corpus of public Compose files against what Docker Compose made of each.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stagecraft::config::compose::{Disk, LoadOptions, Variable, load};

/// Files on which the two differ, each explained in `docs/compose-conformance.md`.
fn listed() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compose-conformance.md");
    std::fs::read_to_string(page).unwrap_or_default()
}

#[test]
fn corpus_agrees_with_docker_compose() {
    let root = match std::env::var_os("STAGECRAFT_COMPOSE_CORPUS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/compose/corpus"),
    };
    let Some(parent) = root.parent().filter(|_| root.is_dir()) else {
        eprintln!("SKIPPED: there is no Compose corpus at {}", root.display());
        eprintln!("SKIPPED: set STAGECRAFT_COMPOSE_CORPUS to its folder");
        return;
    };
    let index = std::fs::read_to_string(parent.join("corpus.tsv")).unwrap();
    let home = std::env::var("HOME").unwrap_or_default();
    let listed = listed();
    let (mut agree, mut explained, mut total) = (0, 0, 0);
    let mut differences: BTreeMap<String, String> = BTreeMap::new();
    for row in index.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (repo, path, result) = (columns[0], columns[1], columns[5]);
        let place = format!("{}/{path}", repo.replace('/', "__"));
        total += 1;
        let difference = compare(&root, parent, &place, result == "accepts", &home);
        match difference {
            None => agree += 1,
            Some(_) if listed.contains(path) => explained += 1,
            Some(difference) => {
                differences.insert(place, difference);
            }
        }
    }
    println!(
        "{agree} of {total} agree, {explained} differ for a reason in docs/compose-conformance.md"
    );
    for (place, difference) in &differences {
        println!("{place}: {difference}");
    }
    assert!(differences.is_empty(), "{} files differ without a reason", differences.len());
    assert!(total > 0, "an empty corpus proves nothing");
}

fn compare(root: &Path, parent: &Path, place: &str, accepts: bool, home: &str) -> Option<String> {
    let file = root.join(place);
    let dir = file.parent()?.to_owned();
    let dotenv = dir.join(".env");
    let mut variables = BTreeMap::new();
    if let Ok(bytes) = std::fs::read(&dotenv) {
        let unset = |_: &str| Variable::Unset;
        let style = stagecraft::config::compose::dotenv::Style::Full;
        let parsed = stagecraft::config::compose::dotenv::parse(".env", &bytes, &unset, style);
        variables = parsed.map(|parsed| parsed.variables).unwrap_or_default();
    }
    variables.insert("HOME".to_owned(), home.to_owned());
    let lookup = |name: &str| match variables.get(name) {
        Some(value) => Variable::Value(value.clone()),
        None => Variable::Unset,
    };
    let mut options = LoadOptions::new(vec![file], &lookup);
    options.project_name = Some("golden".to_owned());
    options.resolve_paths = false;
    match (load(&options, &Disk::default()), accepts) {
        (Err(_), false) => None,
        (Ok(_), false) => Some("loads, but Docker Compose refuses it".to_owned()),
        (Err(problems), true) => Some(format!("is refused: {}", problems[0])),
        (Ok(loaded), true) => {
            let golden = parent.join("golden").join(format!("{place}.json"));
            let golden: Value = serde_json::from_slice(&std::fs::read(golden).ok()?).ok()?;
            difference(&loaded.project.canonical(), &golden, "$")
        }
    }
}

/// The first place at which two values differ.
fn difference(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()) {
                let inner = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => {
                        if let Some(found) = difference(a, b, &inner) {
                            return Some(found);
                        }
                    }
                    (Some(a), None) => return Some(format!("{inner}: only ours has {a}")),
                    (None, other) => return Some(format!("{inner}: only theirs has {other:?}")),
                }
            }
            None
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut items = a.iter().zip(b).enumerate();
            items.find_map(|(at, (a, b))| difference(a, b, &format!("{path}[{at}]")))
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        _ if ours == theirs => None,
        _ => Some(format!("{path}: ours {ours}, theirs {theirs}")),
    }
}
