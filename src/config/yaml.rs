//! YAML with positions: text into a tree whose every node knows its place, and data back into text.
//!
//! This is the only file that names the YAML crate. Scalars are read as `go-yaml` v3 reads them
//! (what Docker Compose uses): `yes` and `on` are strings, `0777` and `0o777` are octal, `~` is
//! null. Anchors, aliases and `<<` merges are resolved here, so nobody downstream sees them.

mod emit;
mod scalar;

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::diagnostic::{Diagnostic, Source, Span};

pub use emit::emit;
pub use scalar::format_float;

/// The largest text that is parsed, in bytes. Real files are a thousand times smaller.
pub const MAX_BYTES: usize = 16 << 20;
/// The deepest nesting that is accepted, aliases included.
pub const MAX_DEPTH: usize = 128;
/// The most nodes that a file may stand for once its aliases are expanded.
pub const MAX_NODES: usize = 500_000;
/// The most text that a file may stand for once its aliases are expanded.
const MAX_EXPANDED_BYTES: usize = 4 * MAX_BYTES;
/// Reporting stops here: nobody reads more, and each report carries its file.
const MAX_PROBLEMS: usize = 20;

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
    entries: IndexMap<String, Entry>,
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
            Value::Timestamp(text) | Value::String(text) => Json::String(text.clone()),
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
        self.entries.into_iter()
    }
}

impl FromIterator<(String, Entry)> for Map {
    fn from_iter<T: IntoIterator<Item = (String, Entry)>>(iter: T) -> Self {
        Self { entries: iter.into_iter().collect() }
    }
}

/// Turns a file's bytes into a source, refusing what is not UTF-8 or too large to be meant.
pub fn source(name: &str, bytes: Vec<u8>) -> Result<Arc<Source>, Box<Diagnostic>> {
    if bytes.len() > MAX_BYTES {
        let message = format!("{name} is larger than {} MiB", MAX_BYTES >> 20);
        return Err(Box::new(Diagnostic::error("yaml::too-large", message)));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Arc::new(Source { name: name.to_owned(), text })),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let before = &error.as_bytes()[..valid];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            Err(Box::new(
                Diagnostic::error(
                    "yaml::not-utf8",
                    format!("{name} is not UTF-8 text (line {line}, byte {column} of the line)"),
                )
                .help("save the file as UTF-8"),
            ))
        }
    }
}

/// Parses the documents of a source, reporting as many problems as can be found.
pub fn parse(source: &Arc<Source>) -> Result<Vec<Node>, Vec<Diagnostic>> {
    match parse_all(source) {
        (documents, problems) if problems.is_empty() => Ok(documents),
        (_, problems) => Err(problems),
    }
}

/// Parses as `parse` does, and returns what could be read in spite of problems, so that whoever
/// reads the data can report theirs in the same run.
pub fn parse_all(source: &Arc<Source>) -> (Vec<Node>, Vec<Diagnostic>) {
    if source.text.len() > MAX_BYTES {
        let message = format!("{} is larger than {} MiB", source.name, MAX_BYTES >> 20);
        return (Vec::new(), vec![Diagnostic::error("yaml::too-large", message)]);
    }
    let mut builder = Builder {
        parser: Parser::new_from_str(&source.text),
        source,
        offsets: offsets(&source.text),
        anchors: HashMap::new(),
        nodes: 0,
        bytes: 0,
        problems: Vec::new(),
    };
    match builder.stream() {
        Ok(documents) => (documents, builder.problems),
        Err(stop) => {
            builder.problems.push(*stop);
            (Vec::new(), builder.problems)
        }
    }
}

/// Byte offsets by character, needed only where the two differ.
fn offsets(text: &str) -> Option<Vec<u32>> {
    // MAX_BYTES keeps every offset within u32.
    (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at as u32).collect())
}

type Stop = Box<Diagnostic>;
type Events<'a> = (Event<'a>, saphyr_parser::Span);

/// What a subtree costs when an alias repeats it.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    height: usize,
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    source: &'a Arc<Source>,
    offsets: Option<Vec<u32>>,
    anchors: HashMap<usize, (Node, Weight)>,
    nodes: usize,
    bytes: usize,
    problems: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    fn stream(&mut self) -> Result<Vec<Node>, Stop> {
        let mut documents = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(documents),
                Event::DocumentStart(_) => {
                    let first = self.next()?;
                    documents.push(self.node(first, 0)?.0);
                }
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                _ => return Err(self.stop("yaml::syntax", "unexpected content", span)),
            }
        }
    }

    fn next(&mut self) -> Result<Events<'a>, Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = self.byte(error.marker().index());
                let message = format!("{} is not valid YAML: {}", self.source.name, error.info());
                Err(Box::new(
                    Diagnostic::error("yaml::syntax", message).at(&self.point(at), "here"),
                ))
            }
            None => Ok((Event::StreamEnd, saphyr_parser::Span::default())),
        }
    }

    fn node(&mut self, event: Events<'a>, depth: usize) -> Result<(Node, Weight), Stop> {
        let (event, at) = event;
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.stop("yaml::too-deep", &message, at));
        }
        let (node, weight, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let span = self.span(at);
                let tag = tag.as_deref();
                let text = text.into_owned();
                let bytes = text.len();
                let value = if tag.is_some_and(|tag| compose_tag(tag).is_none()) {
                    let plain = style == ScalarStyle::Plain;
                    scalar::resolve_tagged(text, tag.map(tag_name).unwrap_or_default(), plain)
                        .map_err(|message| {
                            Box::new(
                                Diagnostic::error("yaml::tag", message).at(&span, "tagged here"),
                            )
                        })?
                } else if style == ScalarStyle::Plain {
                    scalar::resolve(text)
                } else {
                    Value::String(text)
                };
                let node = Node { value, span, tag: tag.and_then(compose_tag) };
                (node, Weight { nodes: 1, bytes, height: 0 }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                let mut weight = Weight { nodes: 1, ..Weight::default() };
                let end = loop {
                    let (event, at) = self.next()?;
                    if event == Event::SequenceEnd {
                        break at;
                    }
                    let (item, cost) = self.node((event, at), depth + 1)?;
                    weight.add(cost);
                    items.push(item);
                };
                let span = self.first_line(at, end);
                let tag = tag.as_deref().and_then(compose_tag);
                (Node { value: Value::List(items), span, tag }, weight, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                let mut weight = Weight { nodes: 1, ..Weight::default() };
                let (map, end) = self.mapping(depth, &mut weight)?;
                let span = self.first_line(at, end);
                let tag = tag.as_deref().and_then(compose_tag);
                (Node { value: Value::Map(map), span, tag }, weight, anchor)
            }
            _ => return Err(self.stop("yaml::syntax", "unexpected end of a value", at)),
        };
        self.spend(Weight { nodes: 1, bytes: weight.bytes, height: 0 }, at)?;
        if anchor > 0 {
            // The copy counts too, or nested anchors would multiply what is kept.
            self.spend(weight, at)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        Ok((node, weight))
    }

    fn mapping(
        &mut self,
        depth: usize,
        weight: &mut Weight,
    ) -> Result<(Map, saphyr_parser::Span), Stop> {
        let mut map = Map::default();
        let mut merges = None;
        let end = loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                break at;
            }
            let merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let (key, cost) = self.node((event, at), depth + 1)?;
            weight.add(cost);
            let value = self.next()?;
            let (value, cost) = self.node(value, depth + 1)?;
            weight.add(cost);
            let Value::String(name) = key.value else {
                let message = match key.scalar_text() {
                    Some(text) => format!("key `{text}` is {}, not a string", key.kind_name()),
                    None => format!("a key is {}, not a string", key.kind_name()),
                };
                self.problem(
                    Diagnostic::error("yaml::key", message)
                        .at(&key.span, "this key")
                        .help("put the key in quotes"),
                );
                continue;
            };
            if merge {
                if merges.replace((key.span.clone(), value)).is_some() {
                    self.duplicate("<<", &key.span, None);
                }
            } else if let Some(first) = map.entry(&name) {
                let first = first.key.clone();
                self.duplicate(&name, &key.span, Some(&first));
            } else {
                map.insert_entry(name, Entry { key: key.span, value });
            }
        };
        if let Some((span, merged)) = merges {
            let sources = match merged.value {
                Value::List(items) => items,
                _ => vec![merged],
            };
            for source in sources {
                let Value::Map(source) = source.value else {
                    self.problem(
                        Diagnostic::error(
                            "yaml::merge",
                            format!(
                                "`<<` takes a mapping or a list of mappings, not {}",
                                source.kind_name()
                            ),
                        )
                        .at(&span, "merged here"),
                    );
                    continue;
                };
                for (key, entry) in source {
                    map.entries.entry(key).or_insert(entry);
                }
            }
        }
        Ok((map, end))
    }

    fn alias(
        &mut self,
        anchor: usize,
        at: saphyr_parser::Span,
        depth: usize,
    ) -> Result<(Node, Weight), Stop> {
        let Some((node, weight)) = self.anchors.get(&anchor) else {
            return Err(self.stop("yaml::alias", "an alias stands inside its own anchor", at));
        };
        let (node, weight) = (node.clone(), *weight);
        if depth + weight.height > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.stop("yaml::too-deep", &message, at));
        }
        self.spend(weight, at)?;
        Ok((node, weight))
    }

    fn spend(&mut self, weight: Weight, at: saphyr_parser::Span) -> Result<(), Stop> {
        self.nodes += weight.nodes;
        self.bytes += weight.bytes;
        if self.nodes > MAX_NODES || self.bytes > MAX_EXPANDED_BYTES {
            let message = "the file stands for too much data once its aliases are expanded";
            return Err(self.stop("yaml::too-much", message, at));
        }
        Ok(())
    }

    fn duplicate(&mut self, key: &str, at: &Span, first: Option<&Span>) {
        let message = match first
            .map(|first| first.source.text[..first.range.start].matches('\n').count() + 1)
        {
            Some(line) => format!("key `{key}` is already defined at line {line}"),
            None => format!("key `{key}` is already defined"),
        };
        self.problem(Diagnostic::error("yaml::duplicate-key", message).at(at, "defined again"));
    }

    fn problem(&mut self, diagnostic: Diagnostic) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(diagnostic);
        }
    }

    fn stop(&self, code: &'static str, message: &str, at: saphyr_parser::Span) -> Stop {
        Box::new(Diagnostic::error(code, message).at(&self.span(at), "here"))
    }

    fn byte(&self, character: usize) -> usize {
        let end = self.source.text.len();
        match &self.offsets {
            None => character.min(end),
            Some(offsets) => offsets.get(character).map_or(end, |at| *at as usize),
        }
    }

    fn point(&self, at: usize) -> Span {
        let width = self.source.text[at..].chars().next().filter(|c| *c != '\n');
        Span { source: self.source.clone(), range: at..at + width.map_or(0, char::len_utf8) }
    }

    fn span(&self, at: saphyr_parser::Span) -> Span {
        let (start, end) = (self.byte(at.start.index()), self.byte(at.end.index()));
        let text = &self.source.text[start..end.max(start)];
        Span { source: self.source.clone(), range: start..start + text.trim_end().len() }
    }

    fn first_line(&self, start: saphyr_parser::Span, end: saphyr_parser::Span) -> Span {
        let (start, end) = (self.byte(start.start.index()), self.byte(end.end.index()));
        let text = &self.source.text[start..end.max(start)];
        let line = text.lines().next().unwrap_or_default().trim_end();
        Span { source: self.source.clone(), range: start..start + line.len() }
    }
}

impl Weight {
    fn add(&mut self, child: Weight) {
        self.nodes += child.nodes;
        self.bytes += child.bytes;
        self.height = self.height.max(child.height + 1);
    }
}

fn compose_tag(tag: &saphyr_parser::Tag) -> Option<Tag> {
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "reset") => Some(Tag::Reset),
        ("!", "override") => Some(Tag::Override),
        _ => None,
    }
}

/// A tag as YAML's short form: `!!str`, `!mine`.
fn tag_name(tag: &saphyr_parser::Tag) -> String {
    match tag.is_yaml_core_schema() {
        true => format!("!!{}", tag.suffix),
        false => format!("{}{}", tag.handle, tag.suffix),
    }
}

#[cfg(test)]
mod tests;
