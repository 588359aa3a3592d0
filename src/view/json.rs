//! JSON: the plan's published format and its schema, events a line each, releases.

use serde::Serialize;

use crate::model::{Event, Plan, Release};

use super::text;

/// Any value as people can read it too: indented, with a newline at the end.
pub fn pretty(value: &impl Serialize) -> String {
    // Every type of the model serialises: keys are strings and nothing in it can fail.
    safe(serde_json::to_string_pretty(value).unwrap_or_default()) + "\n"
}

/// JSON without a raw character that could drive a terminal: the encoder escapes those below a
/// blank, but not the others.
fn safe(json: String) -> String {
    let raw = |c: char| c != '\n' && text::drives(c);
    if !json.contains(raw) {
        return json;
    }
    // Such a character stands within a string, where JSON lets each be escaped.
    json.chars().fold(String::with_capacity(json.len() + 32), |mut safe, c| {
        if raw(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
        safe
    })
}

/// A plan in the format that `docs/plan-format.md` documents.
pub fn plan(plan: &Plan) -> String {
    pretty(plan)
}

/// The JSON Schema of a plan, as in `docs/plan.schema.json`.
pub fn plan_schema() -> String {
    pretty(&schemars::schema_for!(Plan))
}

/// An event on a line of its own.
pub fn event(event: &Event) -> String {
    safe(serde_json::to_string(event).unwrap_or_default()) + "\n"
}

/// Releases, in the order given.
pub fn releases(releases: &[Release]) -> String {
    pretty(&serde_json::json!({ "releases": releases }))
}

/// One release.
pub fn release(release: &Release) -> String {
    pretty(release)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use serde_json::Value;

    use super::super::sample;
    use super::*;

    fn doc(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
    }

    /// Compares a file with what it should hold; `UPDATE=1` writes it instead.
    fn check(name: &str, expected: &str) {
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(doc(name), expected).unwrap();
        }
        let found = std::fs::read_to_string(doc(name)).unwrap_or_default();
        assert!(found == expected, "docs/{name} is stale; run the tests with UPDATE=1");
    }

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        check("plan.schema.json", &plan_schema());
    }

    #[test]
    fn the_documented_example_is_a_real_plan() {
        const OPEN: &str = "<!-- example -->\n```json\n";
        let text = std::fs::read_to_string(doc("plan-format.md")).unwrap();
        let (before, rest) = text.split_once(OPEN).unwrap();
        let (_, after) = rest.split_once("```\n").unwrap();
        let example = plan(&sample::new_image());
        check("plan-format.md", &format!("{before}{OPEN}{example}```\n{after}"));
    }

    #[test]
    fn every_field_and_word_of_the_format_is_documented() {
        let text = std::fs::read_to_string(doc("plan-format.md")).unwrap();
        let mut words = BTreeSet::new();
        collect(&serde_json::to_value(schemars::schema_for!(Plan)).unwrap(), &mut words);
        assert!(words.contains("format_version") && words.contains("await_healthy"), "{words:?}");
        let missing: Vec<&String> =
            words.iter().filter(|word| !text.contains(&format!("`{word}`"))).collect();
        assert!(missing.is_empty(), "docs/plan-format.md doesn't mention {missing:?}");
    }

    /// The names of properties and the constant texts in a schema.
    fn collect(schema: &Value, words: &mut BTreeSet<String>) {
        match schema {
            Value::Object(object) => {
                for (key, value) in object {
                    match (key.as_str(), value) {
                        ("properties", Value::Object(properties)) => {
                            words.extend(properties.keys().cloned());
                        }
                        ("const", Value::String(word)) => drop(words.insert(word.clone())),
                        ("enum", Value::Array(options)) => words
                            .extend(options.iter().filter_map(|one| one.as_str()).map(Into::into)),
                        _ => {}
                    }
                    collect(value, words);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, words)),
            _ => {}
        }
    }

    #[test]
    fn a_plan_reads_back_as_it_was_written_and_whole() {
        let mut long = sample::new_image();
        let value = serde_json::json!("\u{1b}\u{9b}\u{202e}ä".repeat(5000));
        long.changes[1].fields = vec![sample::field("x", value, Value::Null)];
        let text = plan(&long);
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), long);
        assert!(text.ends_with("}\n") && text.contains("\\u001b\\u009b\\u202eä"), "{text}");
    }

    #[test]
    fn releases_read_back() {
        let all = [sample::release(2), sample::release(1)];
        let mut back: Value = serde_json::from_str(&releases(&all)).unwrap();
        let back: Vec<Release> = serde_json::from_value(back["releases"].take()).unwrap();
        assert_eq!(back, all);
        assert_eq!(serde_json::from_str::<Release>(&release(&all[0])).unwrap(), all[0]);
    }
}
