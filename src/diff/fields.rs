//! Attribute-level differences between two JSON values.

use serde_json::Value;

use crate::model::{FieldChange, Object};

/// What is shown instead of a secret.
const WITHHELD: &str = "(sensitive)";

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
            // A section that comes or goes is one of many attributes, too.
            (Some(Value::Object(old)), None) if !old.is_empty() => {
                walk(&path, old, &Object::new(), changes);
            }
            (None, Some(Value::Object(new))) if !new.is_empty() => {
                walk(&path, &Object::new(), new, changes);
            }
            (old, new) => changes.push(field(path, old.cloned(), new.cloned())),
        }
    }
}

/// One change; its values are withheld where the name says that they are secret.
pub fn field(path: String, before: Option<Value>, after: Option<Value>) -> FieldChange {
    let name = path.rsplit('.').next().unwrap_or(&path);
    let shown = |value: &Option<Value>| value.clone().map(|value| without_secrets(name, value));
    let (was, will_be) = (shown(&before), shown(&after));
    let sensitive = is_sensitive(name) || was != before || will_be != after;
    FieldChange { before: was, after: will_be, sensitive, path }
}

/// A value of a name, without what is secret in it.
fn without_secrets(name: &str, value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| (name.clone(), without_secrets(&name, value)))
            .collect(),
        Value::Array(items) => {
            items.into_iter().map(|value| without_secrets(name, value)).collect()
        }
        value if is_reference(&value) => value,
        Value::Null => Value::Null,
        _ if is_sensitive(name) => WITHHELD.into(),
        Value::String(text) => {
            let lines: Vec<String> = lines_without_secrets(&text).collect();
            lines.join("\n").into()
        }
        value => value,
    }
}

/// Whether a name is one that people give to secrets.
fn is_sensitive(name: &str) -> bool {
    const PARTS: [&str; 9] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "api_key",
        "apikey",
        "private_key",
        "credential",
    ];
    const WORDS: [&str; 2] = ["pass", "pwd"];
    let name = name.to_ascii_lowercase().replace('-', "_");
    PARTS.iter().any(|part| name.contains(part))
        || name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| WORDS.contains(&word))
}

/// A text without the passwords of the addresses in it: `scheme://user:password@host`.
fn without_password(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/\"'".contains(c));
        let authority = &after[..end.unwrap_or(after.len())];
        let password =
            authority.rfind('@').and_then(|end| Some((authority[..end].find(':')? + 1, end)));
        rest = match password {
            Some((start, end)) if !is_reference(&authority[start..end].into()) => {
                out.push_str(&authority[..start]);
                out.push_str(WITHHELD);
                &after[end..]
            }
            _ => after,
        };
    }
    out + rest
}

/// A text without the values of the flags and variables in it that people give to secrets: `--password=…`.
fn without_assignments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        let part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let key = before[..at].trim_end_matches(part);
        let key = &before[key.len()..at];
        let end = after.find(|c: char| c.is_whitespace() || "\"'&,".contains(c));
        let value = &after[..end.unwrap_or(after.len())];
        rest = after;
        if is_sensitive(key) && !value.is_empty() && !is_reference(&value.into()) {
            out.push_str(WITHHELD);
            rest = &after[value.len()..];
        }
    }
    out + rest
}

/// The lines of a Compose file (what is between line feeds), each as it may be shown: without the values of
/// keys that people give to secrets, also where they take several lines.
pub fn lines_without_secrets(text: &str) -> impl Iterator<Item = String> {
    let mut withheld_below = None;
    let line = move |line: &str| {
        let indent = line.len() - line.trim_start_matches([' ', '-']).len();
        if let Some(key) = withheld_below {
            if line.trim().is_empty() {
                return line.to_owned();
            }
            if indent > key {
                return format!("{}{WITHHELD}", &line[..indent]);
            }
            withheld_below = None;
        }
        let separator = match (line.find(": "), line.find('=')) {
            (Some(colon), Some(equals)) if equals < colon => "=",
            (None, _) => "=",
            _ => ": ",
        };
        match line.split_once(separator) {
            Some((key, value)) if is_sensitive(key) => {
                let bare = value.trim().trim_matches(['"', '\'']);
                if is_reference(&bare.into()) {
                    return line.to_owned();
                }
                withheld_below = Some(indent);
                format!("{key}{separator}{WITHHELD}")
            }
            _ => without_assignments(&without_password(line)),
        }
    };
    text.split('\n').map(line)
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
    fn lines_withhold_literal_secrets_and_show_references() {
        let shown = |text: &str| lines_without_secrets(text).collect::<Vec<_>>().join("\n");
        assert_eq!(
            shown("command: run --db-password=hunter2 -v"),
            "command: run --db-password=(sensitive) -v"
        );
        assert_eq!(shown("- \"--password=alpha: bravo\""), "- \"--password=(sensitive)");
        assert_eq!(shown("a\rb: c\n"), "a\rb: c\n");
        assert_eq!(shown("      DB_PASSWORD: hunter2"), "      DB_PASSWORD: (sensitive)");
        assert_eq!(shown("      - DB_PASS=hunter2"), "      - DB_PASS=(sensitive)");
        let reference = "      DB_PASSWORD: ${DB_PASSWORD:?set it}";
        assert_eq!(shown(reference), reference);
        assert_eq!(shown("       API_TOKEN: ${T:-abc}"), "       API_TOKEN: (sensitive)");
        assert_eq!(shown(" image: a:1\n secrets:\n - b"), " image: a:1\n secrets:\n - b");
        let key = "  PRIVATE_KEY: |\n    BEGIN\n\n    hunter2\n  NEXT: hunter2";
        let withheld =
            "  PRIVATE_KEY: (sensitive)\n    (sensitive)\n\n    (sensitive)\n  NEXT: hunter2";
        assert_eq!(shown(key), withheld);
        assert_eq!(
            shown("URL: postgres://shop:hunter2@db/shop?a=b"),
            "URL: postgres://shop:(sensitive)@db/shop?a=b"
        );
        let reference = "URL: postgres://shop:${DB_PASSWORD}@db:5432/shop";
        assert_eq!(shown(reference), reference);
    }

    #[test]
    fn a_section_that_comes_or_goes_withholds_what_its_attributes_would() {
        let with = json!({"environment": {"DB_PASSWORD": "hunter2", "A": "1"}, "l": [{"token": "hunter2"}],
            "command": ["--db-password=hunter2"], "text": "a: b\npassword: hunter2\n"});
        for (before, after) in [(json!({}), with.clone()), (with, json!({}))] {
            let differences = differences(before, after).join("\n");
            assert!(!differences.contains("hunter2"), "{differences}");
            assert!(differences.contains("environment.A"), "{differences}");
        }
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
