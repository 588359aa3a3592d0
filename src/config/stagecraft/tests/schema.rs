//! The schema says what the loader does: both are held against the same files, good and spoilt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value as Json, json};

use super::super::decode::{Decode, Problems};
use super::super::*;
use super::FULL;
use crate::config::yaml;

/// Whether the loader can read some data, before it looks at what the data means.
fn loader_accepts(data: &Json) -> Result<(), String> {
    let source = yaml::source("data.yml", data.to_string().into_bytes()).unwrap();
    let documents = yaml::parse(&source).unwrap();
    let mut problems = Problems::default();
    File::decode(&documents[0], &mut problems);
    match problems.finish().0.as_slice() {
        [] => Ok(()),
        problems => Err(super::brief(problems)),
    }
}

fn data(text: &str) -> Json {
    let source = yaml::source("data.yml", text.into()).unwrap();
    yaml::parse(&source).unwrap()[0].to_json()
}

#[test]
fn the_published_schema_is_this_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/stagecraft.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == text, "run the tests with UPDATE=1 and commit {}", path.display());
}

#[test]
fn good_files_validate() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config");
    for name in ["full.yml", "small.yml"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let errors: Vec<_> = validator.iter_errors(&data(&text)).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
    if let Ok(text) = std::fs::read_to_string("../shared/reference/stagecraft-yml.md") {
        let sample = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        assert!(validator.is_valid(&data(sample)));
    }
}

/// The keys of every named mapping of the schema.
fn keys() -> BTreeMap<String, BTreeSet<String>> {
    let schema = schema();
    let definitions = schema["definitions"].as_object().unwrap();
    let keys = |of: &Json| of["properties"].as_object().unwrap().keys().cloned().collect();
    definitions.iter().map(|(name, of)| (name.clone(), keys(of))).collect()
}

#[test]
fn the_full_fixture_uses_every_key() {
    let full = data(FULL);
    let mut used = BTreeSet::new();
    walk(&full, &mut Vec::new(), &mut |_, value| {
        used.extend(value.as_object().into_iter().flat_map(|object| object.keys().cloned()));
    });
    for (name, keys) in keys() {
        let missing: Vec<_> = keys.difference(&used).collect();
        assert!(missing.is_empty(), "fixtures/config/full.yml has no {missing:?} of {name}");
    }
}

/// Calls `visit` with the path of every value.
fn walk(value: &Json, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], &Json)) {
    visit(path, value);
    let children: Vec<(String, &Json)> = match value {
        Json::Object(object) => object.iter().map(|(key, child)| (key.clone(), child)).collect(),
        Json::Array(items) => {
            items.iter().enumerate().map(|(at, child)| (at.to_string(), child)).collect()
        }
        _ => Vec::new(),
    };
    for (key, child) in children {
        path.push(key);
        walk(child, path, visit);
        path.pop();
    }
}

fn at<'a>(data: &'a mut Json, path: &[String]) -> &'a mut Json {
    path.iter().fold(data, |data, key| match data {
        Json::Array(items) => &mut items[key.parse::<usize>().unwrap()],
        object => &mut object[key.as_str()],
    })
}

#[test]
fn the_schema_and_the_loader_agree_on_every_spoilt_file() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let full = data(FULL);
    let mut places = Vec::new();
    walk(&full, &mut Vec::new(), &mut |path, value| places.push((path.to_vec(), value.clone())));
    let others = [
        json!(null),
        json!(true),
        json!(7),
        json!(0),
        json!(-1),
        json!(70000),
        json!(1.5),
        json!(""),
        json!("word"),
        json!("60s"),
        json!("-x"),
        json!("a b"),
        json!("A_b"),
        json!("http://x"),
        json!("/a/b"),
        json!("é"),
        json!("a\nb"),
        json!([]),
        json!([7]),
        json!(["word"]),
        json!([["word"]]),
        json!({}),
        json!({ "word": "word" }),
        json!({ "Wo-rd": "word" }),
        json!({ "-x": {} }),
    ];
    let (mut accepted, mut refused) = (0, 0);
    let mut quarrels = Vec::new();
    let mut judge = |spoilt: &Json, what: &str| {
        let (loader, valid) = (loader_accepts(spoilt), validator.is_valid(spoilt));
        match loader {
            Ok(()) => accepted += 1,
            Err(_) => refused += 1,
        }
        if loader.is_ok() != valid {
            quarrels.push(format!("{what}: the schema says {valid}, the loader {loader:?}"));
        }
    };
    for (path, value) in &places {
        // Only the part of the file that matters, or the many files take long.
        let part = match path.first() {
            Some(first) => json!({ "project": full["project"], first: full[first] }),
            None => full.clone(),
        };
        for other in &others {
            let mut spoilt = part.clone();
            *at(&mut spoilt, path) = other.clone();
            judge(&spoilt, &format!("{} = {other}", path.join(".")));
        }
        let Some(object) = value.as_object() else { continue };
        for key in object.keys() {
            let mut spoilt = part.clone();
            at(&mut spoilt, path).as_object_mut().unwrap().remove(key);
            judge(&spoilt, &format!("{} without {key}", path.join(".")));
        }
        for (key, other) in [
            ("word", json!("word")),
            ("word", json!({})),
            ("Wo.rd", json!("word")),
            ("Wo.rd", json!({})),
        ] {
            let mut spoilt = part.clone();
            at(&mut spoilt, path)[key] = other;
            judge(&spoilt, &format!("{} with {key}", path.join(".")));
        }
    }
    assert!(quarrels.is_empty(), "{}", quarrels.join("\n"));
    assert!(accepted > 500 && refused > 1000, "{accepted} accepted, {refused} refused");
}

/// The keys that each table of the specification lists, by the heading above it.
fn documented(spec: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in spec.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        } else if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            tables.entry(heading.clone()).or_default().insert(key.to_owned());
        }
    }
    tables
}

#[test]
fn the_specification_lists_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/stagecraft-spec.md");
    let tables = documented(&std::fs::read_to_string(path).unwrap());
    for (name, keys) in keys() {
        let found = tables.values().any(|documented| *documented == keys);
        assert!(
            found,
            "no table of docs/stagecraft-spec.md lists exactly the keys of {name}: {keys:?}"
        );
    }
}

/// A rule in code and the same rule as the schema's pattern.
fn rule<R: Rule>() -> (fn(&str) -> bool, jsonschema::Validator) {
    let pattern = json!({ "pattern": R::PATTERN });
    (R::fits, jsonschema::validator_for(&pattern).unwrap())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(8))]

    #[test]
    fn patterns_are_the_rules(texts in proptest::collection::vec("[aZ0._/:@%*~$ é\n\0-]{0,5}|https?://[a/ ]{0,3}", 200)) {
        let rules = [
            rule::<Name>(), rule::<Label>(), rule::<Variable>(), rule::<SnakeCase>(),
            rule::<HostAddress>(), rule::<User>(), rule::<Domain>(), rule::<Registry>(),
            rule::<Url>(), rule::<FilePath>(), rule::<Text>(), rule::<Word>(),
        ];
        for (at, (fits, pattern)) in rules.iter().enumerate() {
            for text in &texts {
                proptest::prop_assert_eq!(fits(text), pattern.is_valid(&json!(text)), "rule {}: {:?}", at, text);
            }
        }
    }
}

#[test]
fn names_cannot_climb_or_command() {
    for text in ["a", "A1", "app-1", "a.b_c", "0"] {
        assert!(Name::fits(text), "{text}");
    }
    for text in ["", ".", "..", "-a", "a/b", "a b", "a\n", "_a", "é", "a\\b", "$a", "a:b", "a@b"] {
        assert!(!Name::fits(text), "{text}");
    }
}
