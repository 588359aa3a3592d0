//! Which keys and types a Compose file may have, by the specification's own schema.

use std::collections::HashSet;
use std::sync::OnceLock;

use serde_json::{Map as Object, Value as Json};

use super::conceal;
use super::interpolate::has_reference;
use super::path::Path;
use crate::config::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::config::yaml::{Map, Node, Value};

/// The schema as data; its first entry says where it comes from.
const SCHEMA: &str = include_str!("schema.json");

/// Reports stop here: nobody reads more, and each carries its file.
const MAX_PROBLEMS: usize = 20;

fn schema() -> &'static Json {
    static PARSED: OnceLock<Json> = OnceLock::new();
    PARSED.get_or_init(|| serde_json::from_str(SCHEMA).unwrap_or_default())
}

/// One violation, and how deep it lies: of alternatives, the one that got furthest is meant.
struct Violation {
    depth: usize,
    message: String,
    span: Span,
    label: &'static str,
    help: Option<String>,
}

/// Everything in a model that the schema forbids.
pub(super) fn validate(model: &Node, lenient: bool) -> Vec<Diagnostic> {
    let validator = Validator { root: schema(), lenient };
    let mut found = Vec::new();
    validator.check(model, validator.root, &Path::ROOT, None, &mut found);
    found
        .into_iter()
        .take(MAX_PROBLEMS)
        .map(|violation| {
            let diagnostic = Diagnostic::error("compose::schema", violation.message)
                .at(&violation.span, violation.label);
            match violation.help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            }
        })
        .collect()
}

struct Validator<'a> {
    root: &'a Json,
    lenient: bool,
}

impl<'a> Validator<'a> {
    fn check(
        &self,
        node: &Node,
        schema: &'a Json,
        path: &Path,
        key: Option<&Span>,
        found: &mut Vec<Violation>,
    ) {
        let Some(schema) = self.resolve(schema) else { return };
        if found.len() >= MAX_PROBLEMS {
            return;
        }
        // What a reference stands for is checked once it is known.
        if self.lenient && node.as_str().is_some_and(has_reference) {
            return;
        }
        if let Some(alternatives) = schema.get("oneOf").and_then(Json::as_array) {
            self.one_of(node, alternatives, path, key, found);
        }
        if let Some(kind) = schema.get("type")
            && !has_type(node, kind)
        {
            found.push(self.mismatch(node, &[kind], path, key));
            return;
        }
        if let Some(allowed) = schema.get("enum").and_then(Json::as_array)
            && !allowed
                .iter()
                .any(|value| value.as_str() == node.as_str() && node.as_str().is_some())
        {
            let words: Vec<&str> = allowed.iter().filter_map(Json::as_str).collect();
            let suggestion =
                node.as_str().and_then(|word| did_you_mean(word, words.iter().copied()));
            let message = format!("{} must be {}", place(path), either(&words));
            let help = suggestion.map(|word| format!("did you mean `{word}`?"));
            found.push(violation(path, message, node, "not one of those", help));
        }
        if let (Some(pattern), Some(text)) =
            (schema.get("pattern").and_then(Json::as_str), node.as_str())
            && !matches_pattern(pattern, text)
        {
            let message = format!("{}: `{text}` doesn't match `{pattern}`", place(path));
            found.push(violation(path, message, node, "here", None));
        }
        self.bounds(node, schema, path, found);
        match &node.value {
            Value::Map(map) => self.object(node, map, schema, path, found),
            Value::List(items) => self.array(items, schema, path, found),
            _ => {}
        }
    }

    fn resolve(&self, schema: &'a Json) -> Option<&'a Object<String, Json>> {
        let schema = schema.as_object()?;
        match schema.get("$ref").and_then(Json::as_str) {
            Some(reference) => self.root.pointer(reference.trim_start_matches('#'))?.as_object(),
            None => Some(schema),
        }
    }

    fn one_of(
        &self,
        node: &Node,
        alternatives: &'a [Json],
        path: &Path,
        key: Option<&Span>,
        found: &mut Vec<Violation>,
    ) {
        let mut failures: Vec<(bool, Vec<Violation>)> = Vec::new();
        let mut passed = 0;
        for alternative in alternatives {
            let kind = self.resolve(alternative).and_then(|schema| schema.get("type"));
            let typed = kind.is_some_and(|kind| has_type(node, kind));
            // Of another type it fails, and what is wrong with it will not be told.
            if kind.is_some() && !typed {
                continue;
            }
            let mut violations = Vec::new();
            self.check(node, alternative, path, key, &mut violations);
            if violations.is_empty() {
                passed += 1;
            }
            failures.push((typed, violations));
        }
        match passed {
            1 => {}
            0 => {
                let furthest = |(typed, list): &(bool, Vec<Violation>)| {
                    (*typed, list.iter().map(|violation| violation.depth).max())
                };
                if failures.iter().any(|(typed, _)| *typed) {
                    let best = failures.into_iter().max_by_key(furthest);
                    found.extend(best.into_iter().flat_map(|(_, violations)| violations));
                    return;
                }
                let kinds: Vec<&Json> = alternatives
                    .iter()
                    .filter_map(|alternative| self.resolve(alternative)?.get("type"))
                    .collect();
                found.push(self.mismatch(node, &kinds, path, key));
            }
            _ => {
                let message = format!("{} fits more than one form", place(path));
                found.push(violation(path, message, node, "here", None));
            }
        }
    }

    fn object(
        &self,
        node: &Node,
        map: &Map,
        schema: &'a Object<String, Json>,
        path: &Path,
        found: &mut Vec<Violation>,
    ) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let patterns = schema.get("patternProperties").and_then(Json::as_object);
        let additional = schema.get("additionalProperties");
        for (key, entry) in map.entries() {
            let inner = path.key(key);
            let mut known = false;
            if let Some(property) = properties.and_then(|properties| properties.get(key)) {
                known = true;
                self.check(&entry.value, property, &inner, Some(&entry.key), found);
            }
            for (pattern, property) in patterns.into_iter().flatten() {
                if matches_pattern(pattern, key) {
                    known = true;
                    self.check(&entry.value, property, &inner, Some(&entry.key), found);
                }
            }
            match additional {
                _ if known || found.len() >= MAX_PROBLEMS => {}
                Some(Json::Bool(false)) => {
                    let names = properties.into_iter().flat_map(|p| p.keys().map(String::as_str));
                    let help =
                        did_you_mean(key, names).map(|name| format!("did you mean `{name}`?"));
                    let message = match properties {
                        Some(_) => format!("{}: unknown key `{key}`", place(path)),
                        None => format!("{}: `{key}` is not a valid name", place(path)),
                    };
                    found.push(Violation {
                        depth: path.depth() + 1,
                        message,
                        span: entry.key.clone(),
                        label: "this key",
                        help,
                    });
                }
                Some(schema) => self.check(&entry.value, schema, &inner, Some(&entry.key), found),
                None => {}
            }
        }
        let required = schema.get("required").and_then(Json::as_array);
        for key in required.into_iter().flatten().filter_map(Json::as_str) {
            if !map.contains_key(key) {
                let message = format!("{}: the key `{key}` is missing", place(path));
                found.push(violation(path, message, node, "in this mapping", None));
            }
        }
    }

    fn array(
        &self,
        items: &[Node],
        schema: &'a Object<String, Json>,
        path: &Path,
        found: &mut Vec<Violation>,
    ) {
        if let Some(item) = schema.get("items") {
            for (index, node) in items.iter().enumerate() {
                self.check(node, item, &path.index(index), None, found);
            }
        }
        if schema.get("uniqueItems") == Some(&Json::Bool(true)) {
            let mut seen = HashSet::new();
            for node in items {
                if !seen.insert(node.to_json().to_string()) {
                    let message = format!("{}: an item stands there twice", place(path));
                    found.push(violation(path, message, node, "again here", None));
                }
            }
        }
    }

    fn bounds(
        &self,
        node: &Node,
        schema: &Object<String, Json>,
        path: &Path,
        found: &mut Vec<Violation>,
    ) {
        let Some(value) = node.as_f64() else { return };
        let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
        let message = match (bound("minimum"), bound("maximum")) {
            (Some(minimum), _) if value < minimum => format!("must be {minimum} or more"),
            (_, Some(maximum)) if value > maximum => format!("must be {maximum} or less"),
            _ => return,
        };
        found.push(violation(path, format!("{} {message}", place(path)), node, "here", None));
    }

    fn mismatch(&self, node: &Node, kinds: &[&Json], path: &Path, key: Option<&Span>) -> Violation {
        let mut names: Vec<&str> = Vec::new();
        for kind in kinds {
            let all = kind.as_array().map_or(std::slice::from_ref(*kind), Vec::as_slice);
            for name in all.iter().filter_map(Json::as_str).map(human) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let wanted = match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => "something else".to_owned(),
        };
        let message = match &node.value {
            Value::Timestamp(text) => {
                format!("{}: `{text}` reads as a date; put it in quotes", place(path))
            }
            _ => format!("{} must be {wanted}, not {}", place(path), node.kind_name()),
        };
        let span = match key {
            Some(key) if node.span.range().is_empty() => key.clone(),
            _ => node.span.clone(),
        };
        Violation { depth: path.depth(), message, span, label: "here", help: None }
    }
}

fn violation(
    path: &Path,
    message: String,
    node: &Node,
    label: &'static str,
    help: Option<String>,
) -> Violation {
    let message = conceal::conceal(&message, node);
    Violation { depth: path.depth(), message, span: node.span.clone(), label, help }
}

fn place(path: &Path) -> String {
    match path.depth() {
        0 => "the file".to_owned(),
        _ => path.to_string(),
    }
}

fn either(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

fn human(kind: &str) -> &'static str {
    match kind {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "null",
    }
}

fn has_type(node: &Node, kind: &Json) -> bool {
    match kind {
        Json::Array(kinds) => kinds.iter().any(|kind| has_type(node, kind)),
        Json::String(kind) => match (kind.as_str(), &node.value) {
            ("object", Value::Map(_))
            | ("array", Value::List(_))
            | ("string", Value::String(_))
            | ("integer" | "number", Value::Int(_) | Value::BigInt(_))
            | ("number", Value::Float(_))
            | ("boolean", Value::Bool(_))
            | ("null", Value::Null) => true,
            ("integer", Value::Float(value)) => value.fract() == 0.0,
            _ => false,
        },
        _ => true,
    }
}

/// The few patterns that the schema has.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match pattern {
        "^x-" => text.starts_with("x-"),
        "^.+$" => !text.is_empty() && !text.contains('\n'),
        ".+" => text.contains(|c| c != '\n'),
        "^[a-z]+$" => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase()),
        "^[a-zA-Z0-9._-]+$" => !text.is_empty() && text.chars().all(name),
        "[a-zA-Z0-9][a-zA-Z0-9_.-]+" => {
            let chars: Vec<char> = text.chars().collect();
            chars.windows(2).any(|pair| pair[0].is_ascii_alphanumeric() && name(pair[1]))
        }
        _ => {
            // The pull policies: words anywhere in the text, or `every_` and a period.
            let words = [
                "always",
                "never",
                "build",
                "if_not_present",
                "missing",
                "refresh",
                "daily",
                "weekly",
            ];
            words.iter().any(|word| text.contains(word))
                || text.match_indices("every_").any(|(at, _)| {
                    let rest = &text[at + "every_".len()..];
                    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    digits > 0 && rest[digits..].starts_with(['w', 'd', 'h', 'm', 's'])
                })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_whole_and_has_no_pattern_that_is_not_read() {
        fn patterns(value: &Json, found: &mut Vec<String>) {
            match value {
                Json::Object(map) => {
                    for (key, value) in map {
                        match (key.as_str(), value) {
                            ("patternProperties", Json::Object(map)) => {
                                found.extend(map.keys().cloned())
                            }
                            ("pattern", Json::String(text)) => found.push(text.clone()),
                            _ => {}
                        }
                        patterns(value, found);
                    }
                }
                Json::Array(items) => items.iter().for_each(|item| patterns(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        patterns(schema(), &mut found);
        found.sort();
        found.dedup();
        assert_eq!(
            found,
            [
                ".+",
                "[a-zA-Z0-9][a-zA-Z0-9_.-]+",
                "^.+$",
                "^[a-zA-Z0-9._-]+$",
                "^[a-z]+$",
                "^x-",
                "always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+",
            ]
        );
        assert!(matches_pattern(&found[6], "every_2d") && !matches_pattern(&found[6], "every_d"));
        assert!(!matches_pattern(&found[1], "a") && matches_pattern(&found[1], "ab"));
    }
}
