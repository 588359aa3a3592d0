//! The kinds of value that keys hold: numbers, durations, lists, tables, commands.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::diagnostic::{Diagnostic, Source, Span};
use crate::config::yaml::{Entry, Node, Value};

use super::decode::{Decode, Fields, Problems};
use super::schema::Definitions;
use super::texts::{Rule, Word};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value that no file holds.
    pub fn nowhere(value: T) -> Self {
        let source = Arc::new(Source { name: String::new(), text: String::new() });
        Self { value, span: Span::new(&source, 0..0) }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        T::decode(node, problems).map(|value| Self { value, span: node.span.clone() })
    }
    fn schema(definitions: &mut Definitions) -> Json {
        T::schema(definitions)
    }
    fn to_json(&self) -> Option<Json> {
        self.value.to_json()
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        T::decode(node, problems).map(Some)
    }
    fn schema(definitions: &mut Definitions) -> Json {
        T::schema(definitions)
    }
    fn to_json(&self) -> Option<Json> {
        self.as_ref().and_then(T::to_json)
    }
}

impl Decode for bool {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let value = node.as_bool();
        if value.is_none() {
            problems.expected("`true` or `false`", node);
        }
        value
    }
    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "boolean" })
    }
    fn to_json(&self) -> Option<Json> {
        Some(Json::Bool(*self))
    }
}

/// Reads a whole number within limits.
fn whole(node: &Node, problems: &mut Problems, what: &str, least: u32, most: u32) -> Option<u32> {
    let Value::Int(value) = node.value else {
        problems.expected(what, node);
        return None;
    };
    let value = u32::try_from(value).ok().filter(|value| (least..=most).contains(value));
    if value.is_none() {
        problems.refused(node, "is out of range", &format!("use {least} to {most}"));
    }
    value
}

/// Numbers of things: a whole number within limits.
macro_rules! number {
    ($($(#[doc = $doc:literal])+ $name:ident($type:ty): $what:literal, $least:literal..=$most:literal;)*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub $type);

        impl Decode for $name {
            fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
                let value = whole(node, problems, $what, $least, $most)?;
                <$type>::try_from(value).ok().map(Self)
            }
            fn schema(_: &mut Definitions) -> Json {
                json!({ "type": "integer", "minimum": $least, "maximum": $most })
            }
            fn to_json(&self) -> Option<Json> {
                Some(json!(self.0))
            }
        }
    )*};
}

number! {
    /// How many of something, at least one.
    Count(u32): "a whole number", 1..=10000;
    /// How many of something, possibly none.
    Amount(u32): "a whole number", 0..=10000;
    /// A TCP port.
    Port(u16): "a port number", 1..=65535;
    /// A size in gibibytes.
    Gibibytes(u32): "a whole number of GiB", 1..=65536;
    /// How many nodes a load balancer has.
    Nodes(u32): "a number of nodes", 0..=100;
    /// For how long a name may be remembered.
    Ttl(u32): "a number of seconds", 30..=86400;
}

impl Decode for Duration {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Some(text) = node.as_str() else {
            problems.expected("a duration such as `30s`", node);
            return None;
        };
        let duration = parse_duration(text);
        if duration.is_none() {
            let why = format!("is not a duration: `{text}`");
            problems.refused(node, &why, "write hours, minutes, seconds: `1h`, `1m30s`, `500ms`");
        }
        duration
    }
    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "pattern": "^([0-9]{1,9}(h|m|s|ms))+$" })
    }
    fn to_json(&self) -> Option<Json> {
        Some(Json::String(format_duration(*self)))
    }
}

/// Reads `1h`, `1m30s`, `500ms`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| (1..=9).contains(at))?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let milliseconds = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// Writes a duration as `parse_duration` reads it.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let parts = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut rest = milliseconds;
    let text: String = parts
        .iter()
        .filter_map(|(unit, size)| {
            let number = rest / size;
            rest %= size;
            (number > 0).then(|| format!("{number}{unit}"))
        })
        .collect();
    if text.is_empty() { "0s".into() } else { text }
}
/// A table from names to values, with the places of the names.
#[derive(Debug, Clone)]
pub struct Table<K, T> {
    rows: BTreeMap<String, Row<T>>,
    keys: PhantomData<K>,
}

/// A value in a table.
#[derive(Debug, Clone)]
pub struct Row<T> {
    /// Where the name stands.
    pub key: Span,
    /// The value.
    pub value: T,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), keys: PhantomData }
    }
}

impl<K, T> Table<K, T> {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.rows.get(name).map(|row| &row.value)
    }
    /// The value of a name and where the name stands.
    pub fn row(&self, name: &str) -> Option<&Row<T>> {
        self.rows.get(name)
    }
    /// Names with their values and places, sorted.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &Row<T>)> {
        self.rows.iter().map(|(name, row)| (name.as_str(), row))
    }
    /// Names with their values, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.rows.iter().map(|(name, row)| (name.as_str(), &row.value))
    }
    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl<K: Rule, T: Decode> Table<K, T> {
    /// Reads one row, where the name keeps the rule.
    pub fn read(&mut self, name: &str, entry: &Entry, problems: &mut Problems) {
        if !K::fits(name) {
            problems.push_below(
                name,
                Diagnostic::error("config::name", format!("`{name}` is not {}", K::WHAT))
                    .at(&entry.key, "this key")
                    .help(K::HELP),
            );
        }
        let value = problems.inside(name, |problems| T::decode(&entry.value, problems));
        if let Some(value) = value {
            self.rows.insert(name.to_owned(), Row { key: entry.key.clone(), value });
        }
    }
}

impl<K: Rule, T: Decode> Decode for Table<K, T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(node, problems)?;
        let mut table = Self::default();
        for (name, entry) in fields.leftover() {
            table.read(name, entry, fields.problems);
        }
        Some(table)
    }
    fn schema(definitions: &mut Definitions) -> Json {
        json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": K::PATTERN },
            "additionalProperties": T::schema(definitions),
        })
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Some(items) = node.as_list() else {
            problems.expected("a list", node);
            return None;
        };
        Some(items.iter().filter_map(|item| T::decode(item, problems)).collect())
    }
    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "type": "array", "items": T::schema(definitions) })
    }
}

/// One value, or a list of them; at least one.
#[derive(Debug, Clone)]
pub struct OneOrMore<T>(pub Vec<T>);

impl<T> Deref for OneOrMore<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Decode> Decode for OneOrMore<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                problems.refused(node, "is empty", "name at least one");
                None
            }
            Value::List(_) => Vec::decode(node, problems).map(Self),
            _ => T::decode(node, problems).map(|one| Self(vec![one])),
        }
    }
    fn schema(definitions: &mut Definitions) -> Json {
        let one = T::schema(definitions);
        json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
    }
    fn to_json(&self) -> Option<Json> {
        match self.0.as_slice() {
            [one] => one.to_json(),
            _ => None,
        }
    }
}

/// A list with at least one item.
#[derive(Debug, Clone)]
pub struct NonEmpty<T>(pub Vec<T>);

impl<T> Deref for NonEmpty<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Decode> Decode for NonEmpty<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let items = Vec::<T>::decode(node, problems)?;
        if node.as_list().is_some_and(<[Node]>::is_empty) {
            problems.refused(node, "is empty", "name at least one, or leave the key out");
        }
        Some(Self(items))
    }
    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "type": "array", "minItems": 1, "items": T::schema(definitions) })
    }
}

/// A command: its words, or one line for `sh -c`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command(pub Vec<String>);

impl Decode for Command {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        if let Some(line) = node.as_str().filter(|line| no_nul(line)) {
            return Some(Self(vec!["sh".into(), "-c".into(), line.into()]));
        }
        if node.as_list().is_none() {
            problems.expected("a list of words or a string for the shell", node);
            return None;
        }
        let words = NonEmpty::<Word>::decode(node, problems)?;
        Some(Self(words.0.into_iter().map(|word| word.0).collect()))
    }
    fn schema(definitions: &mut Definitions) -> Json {
        let word = Word::schema(definitions);
        json!({ "anyOf": [
            { "type": "string", "pattern": "^[^\\u0000]+$" },
            { "type": "array", "minItems": 1, "items": word },
        ] })
    }
}

fn no_nul(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}
