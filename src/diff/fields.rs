//! Attribute-level differences between two JSON values.

use serde_json::Value;

use crate::model::{FieldChange, Object};

/// The attributes in which two definitions differ, by dotted path. Lists are compared whole.
pub fn changes(before: &Object, after: &Object) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    walk("", before, after, &mut changes);
    changes
}

fn walk(path: &str, before: &Object, after: &Object, changes: &mut Vec<FieldChange>) {
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (before.get(key), after.get(key)) {
            (old, new) if old == new => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) => walk(&path, old, new, changes),
            (old, new) => changes.push(field(path, old.cloned(), new.cloned())),
        }
    }
}

/// One change; its values are withheld where the name says that they are secret.
pub fn field(path: String, before: Option<Value>, after: Option<Value>) -> FieldChange {
    let sensitive = is_sensitive(path.rsplit('.').next().unwrap_or(&path));
    let shown = |value: Option<Value>| {
        value.map(
            |value| if sensitive && !is_reference(&value) { "(sensitive)".into() } else { value },
        )
    };
    FieldChange { before: shown(before), after: shown(after), sensitive, path }
}

/// Whether a name is one that people give to secrets.
fn is_sensitive(name: &str) -> bool {
    const WORDS: [&str; 8] =
        ["password", "passwd", "secret", "token", "api_key", "apikey", "private_key", "credential"];
    let name = name.to_ascii_lowercase().replace('-', "_");
    WORDS.iter().any(|word| name.contains(word))
}

/// A line of a Compose file (`KEY: value`) without its value where the key is one of a secret.
pub fn without_secret(line: &str) -> String {
    match line.split_once(": ") {
        Some((key, value)) if is_sensitive(key) => {
            let bare = value.trim().trim_matches(['"', '\'']);
            let shown = if is_reference(&bare.into()) { value } else { "(sensitive)" };
            format!("{key}: {shown}")
        }
        _ => line.to_owned(),
    }
}

/// `${NAME}` and nothing else: the name of a secret, which is none.
fn is_reference(value: &Value) -> bool {
    let reference = value.as_str().and_then(|text| text.strip_prefix("${")?.strip_suffix('}'));
    // What stands behind an operator is a message or a default, and a default may be a secret.
    let name = reference.map(|inner| inner.split([':', '?']).next().unwrap_or(inner));
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    name.is_some_and(plain) && !reference.is_some_and(|inner| inner.contains(['-', '+']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn differences(before: Value, after: Value) -> Vec<String> {
        changes(before.as_object().unwrap(), after.as_object().unwrap())
            .iter()
            .map(|f| format!("{} {:?} {:?}", f.path, f.before, f.after))
            .collect()
    }

    #[test]
    fn nested_attributes_have_dotted_paths() {
        let before = json!({"image": "api:1", "environment": {"A": "1", "B": "2"}, "ports": [1]});
        let after = json!({"image": "api:2", "environment": {"A": "1", "C": "3"}, "ports": [1]});
        insta::assert_debug_snapshot!(differences(before, after), @r#"
        [
            "environment.B Some(String(\"2\")) None",
            "environment.C None Some(String(\"3\"))",
            "image Some(String(\"api:1\")) Some(String(\"api:2\"))",
        ]
        "#);
    }

    #[test]
    fn a_diff_withholds_literal_secrets_and_shows_references() {
        assert_eq!(
            without_secret("+      DB_PASSWORD: hunter2"),
            "+      DB_PASSWORD: (sensitive)"
        );
        let reference = "-      DB_PASSWORD: ${DB_PASSWORD:?set it}";
        assert_eq!(without_secret(reference), reference);
        assert_eq!(without_secret("       API_TOKEN: ${T:-abc}"), "       API_TOKEN: (sensitive)");
        assert_eq!(without_secret(" image: a:1"), " image: a:1");
    }

    #[test]
    fn a_literal_password_is_withheld_and_a_reference_is_not() {
        let before = json!({"environment": {"DB_PASSWORD": "${DB_PASSWORD}"}});
        let after = json!({"environment": {"DB_PASSWORD": "hunter2"}});
        insta::assert_debug_snapshot!(differences(before, after), @r#"
        [
            "environment.DB_PASSWORD Some(String(\"${DB_PASSWORD}\")) Some(String(\"(sensitive)\"))",
        ]
        "#);
    }
}
