//! YAML with positions: text into a tree whose every node knows its place, and data back into text.
//!
//! `yaml/parse.rs` alone names the YAML crate, a port of the parser that `go-yaml` is a port of too,
//! so that what is valid to Docker Compose is valid here. Scalars are read as `go-yaml` v3 reads them
//! (what Docker Compose uses): `yes` and `on` are strings, `0777` and `0o777` are octal, `~` is
//! null. Anchors, aliases and `<<` merges are resolved here, so nobody downstream sees them.

mod emit;
mod parse;
mod scalar;

use indexmap::IndexMap;

use super::diagnostic::Span;

pub use emit::{emit, emit_entry};
pub use parse::{parse, parse_all, source};
pub use scalar::format_float;

/// The largest text that is parsed, in bytes. Real files are a thousand times smaller.
pub const MAX_BYTES: usize = 16 << 20;
/// The deepest nesting that is accepted, aliases included.
pub const MAX_DEPTH: usize = 128;
/// The most nodes that a file may stand for once its aliases are expanded.
pub const MAX_NODES: usize = 500_000;

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What is written.
    pub value: Value,
    /// Where: the whole scalar, or the first line of a mapping or list.
    pub span: Span,
    /// Compose's `!reset` or `!override`, where the node carries one.
    pub tag: Option<Tag>,
}

/// The kinds of value that a YAML file can hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond `i64`.
    BigInt(u64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// An unquoted date such as `2024-01-31`, which YAML 1.1 reads as a time.
    Timestamp(String),
    /// Text.
    String(String),
    /// `- a` or `[a]`.
    List(Vec<Node>),
    /// `key: value`.
    Map(Map),
}

/// Compose's own tags, which say how a value meets the files before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// Remove what the earlier files say.
    Reset,
    /// Replace what the earlier files say instead of merging with it.
    Override,
}

/// A mapping in the order it was written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    // Apart, so that the many nodes that are no mapping are small.
    entries: Box<IndexMap<String, Entry>>,
}

/// One `key: value` of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where the key is written.
    pub key: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A node that stands where `span` points.
    pub fn new(value: Value, span: &Span) -> Self {
        Self { value, span: span.clone(), tag: None }
    }

    /// Text that stands where `span` points.
    pub fn string(text: impl Into<String>, span: &Span) -> Self {
        Self::new(Value::String(text.into()), span)
    }

    /// The kind of this value with its article, for a sentence: `a mapping`, `a string`, `null`.
    pub fn kind_name(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::BigInt(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Timestamp(_) => "a date",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Whether nothing is written here.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The text, where this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean, where this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The number, where this is a whole one.
    pub fn as_i64(&self) -> Option<i64> {
        match self.value {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The number, where this is any.
    pub fn as_f64(&self) -> Option<f64> {
        match self.value {
            Value::Int(value) => Some(value as f64),
            Value::BigInt(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    /// The items, where this is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The items, where this is a list.
    pub fn as_list_mut(&mut self) -> Option<&mut Vec<Node>> {
        match &mut self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, where this is a mapping.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The entries, where this is a mapping.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// A scalar as the text that Go prints for it; `None` for null, lists and mappings.
    pub fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::BigInt(value) => Some(value.to_string()),
            Value::Float(value) => Some(format_float(*value)),
            Value::Timestamp(text) | Value::String(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The same data without positions.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::BigInt(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::Timestamp(text) => Json::String(scalar::format_timestamp(text)),
            Value::String(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(map) => Json::Object(
                map.iter().map(|(key, node)| (key.to_owned(), node.to_json())).collect(),
            ),
        }
    }
}

impl Map {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The value of a key.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// The value of a key and where the key stands.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Whether the key is written, be its value null.
    pub fn contains_key(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Adds or replaces a value; the key takes the value's place.
    pub fn insert(&mut self, key: impl Into<String>, value: Node) {
        let span = value.span.clone();
        self.insert_entry(key, Entry { key: span, value });
    }

    /// Adds or replaces an entry.
    pub fn insert_entry(&mut self, key: impl Into<String>, entry: Entry) {
        self.entries.insert(key.into(), entry);
    }

    /// Takes a value and leaves null in its place, to be filled again with [`Map::restore`].
    pub(crate) fn remove_in_place(&mut self, key: &str) -> Option<Node> {
        let value = self.get_mut(key)?;
        let empty = Node::new(Value::Null, &value.span);
        Some(std::mem::replace(value, empty))
    }

    /// Puts a value back where [`Map::remove_in_place`] took one.
    pub(crate) fn restore(&mut self, key: &str, node: Node) {
        if let Some(value) = self.get_mut(key) {
            *value = node;
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        self.entries.shift_remove(key).map(|entry| entry.value)
    }

    /// Keeps the entries that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Node) -> bool) {
        self.entries.retain(|key, entry| keep(key, &mut entry.value));
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), &entry.value))
    }

    /// Keys and values in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Node)> {
        self.entries.iter_mut().map(|(key, entry)| (key.as_str(), &mut entry.value))
    }

    /// Keys, their places and values in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl IntoIterator for Map {
    type Item = (String, Entry);
    type IntoIter = indexmap::map::IntoIter<String, Entry>;
    fn into_iter(self) -> Self::IntoIter {
        (*self.entries).into_iter()
    }
}

impl FromIterator<(String, Entry)> for Map {
    fn from_iter<T: IntoIterator<Item = (String, Entry)>>(iter: T) -> Self {
        Self { entries: Box::new(iter.into_iter().collect()) }
    }
}

#[cfg(test)]
mod tests;
