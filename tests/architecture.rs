//! The house rules that a machine can check: which room may use which, and where a crate may be
//! named.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may use besides itself. `cli`, `engine` and `main` are bound in their own way.
const ROOMS: [(&str, &[&str]); 12] = [
    ("model", &[]),
    ("config", &["model"]),
    ("desired", &["config", "model"]),
    ("diff", &["model"]),
    ("world", &["model"]),
    ("provider", &["config", "model", "world"]),
    ("state", &["model", "world"]),
    ("apply", &["model", "world"]),
    ("view", &["model"]),
    ("engine", &["apply", "config", "desired", "diff", "model", "provider", "state", "world"]),
    ("cli", &["apply", "config", "desired", "diff", "engine", "model", "state", "view", "world"]),
    ("lib", &[]),
];

/// Crates that one file or room alone may name.
const CRATES: [(&str, &[&str]); 6] = [
    ("ureq", &["provider/http"]),
    ("serde_yaml", &["config/yaml"]),
    ("libyaml_safer", &["config/yaml"]),
    ("petgraph", &["diff/order"]),
    ("similar", &["diff/"]),
    ("clap", &["cli/", "view/style"]),
];

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false if path.extension().is_some_and(|end| end == "rs") => found.push(path),
                false => {}
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let name = |path: &Path| path.strip_prefix(&root).unwrap().display().to_string();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The rooms that a source reaches into, tests left out: they may build what they test from
/// anything.
fn reached(text: &str) -> BTreeSet<&str> {
    let text = text.split("#[cfg(test)]").next().unwrap();
    let uses = text.split("crate::").skip(1);
    uses.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap())
        .filter(|name| ROOMS.iter().any(|(room, _)| room == name))
        .collect()
}

fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.contains("/tests/") || name.ends_with("sample.rs")
}

#[test]
fn no_room_reaches_into_one_that_it_may_not_use() {
    let rules: BTreeMap<&str, &[&str]> = ROOMS.into();
    let mut wrong = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| !is_test(name)) {
        let room = name.split(['/', '.']).next().unwrap();
        let Some(allowed) = rules.get(room) else { continue };
        for other in reached(text).into_iter().filter(|o| *o != room && !allowed.contains(o)) {
            wrong.push(format!("src/{name} uses crate::{other}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_has_rules() {
    let rooms: BTreeSet<String> =
        sources().iter().map(|(name, _)| name.split(['/', '.']).next().unwrap().into()).collect();
    let known: BTreeSet<String> =
        ROOMS.iter().map(|(room, _)| (*room).to_owned()).chain(["main".to_owned()]).collect();
    assert_eq!(rooms, known);
}

#[test]
fn a_crate_has_one_place() {
    let mut wrong = Vec::new();
    for (name, text) in &sources() {
        for (krate, places) in CRATES {
            let named = [format!("{krate}::"), format!("use {krate}")];
            let here = places.iter().any(|place| name.starts_with(place));
            if !here && named.iter().any(|named| text.contains(named.as_str())) {
                wrong.push(format!("src/{name} names {krate}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_opens_with_its_purpose() {
    let modules = sources().into_iter().filter(|(name, _)| !is_test(name));
    let without = modules.filter(|(_, text)| !text.starts_with("//! "));
    let names: Vec<String> = without.map(|(name, _)| name).collect();
    assert!(names.is_empty(), "no `//!` line: {names:?}");
}

#[test]
fn the_rule_sees_what_it_should() {
    assert_eq!(reached("use crate::world::World;\n// crate::nothing"), ["world"].into());
    assert!(reached("#[cfg(test)]\nmod tests { use crate::world::World; }").is_empty());
}
