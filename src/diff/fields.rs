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

/// `${NAME}` and nothing else: the name of a secret, which is none.
fn is_reference(value: &Value) -> bool {
    let reference = value.as_str().and_then(|text| text.strip_prefix("${")?.strip_suffix('}'));
    reference.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
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
