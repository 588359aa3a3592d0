//! The form in which Compose prints a model: which keys there are, what their values become, and
//! what is left out when it is empty.

mod leaf;
mod table;

use serde_json::{Map as Object, Value as Json};

use super::conceal;
use super::interpolate::has_reference;
use super::path::Path;
use super::problems::Problems;
use crate::config::yaml::{Node, Value};

pub(super) use table::{CONFIG, MODEL, NETWORK, SECRET, SERVICE, VOLUME};

/// How a value is written.
#[derive(Debug)]
pub(super) enum Shape {
    /// Text; whole numbers become text. Empty text is left out.
    Text,
    /// A boolean that is left out when false.
    Flag,
    /// A boolean that is written whenever it was.
    Choice,
    /// A whole number that is left out when zero.
    Int,
    /// A whole number that is written whenever it was.
    Count,
    /// A whole number that can't be negative, left out when zero.
    Unsigned,
    /// A whole number that can't be negative, written whenever it was.
    UnsignedCount,
    /// A number in single precision, left out when zero.
    Float,
    /// A size in bytes, as text; left out when zero.
    Bytes,
    /// A duration, written whenever it was.
    Duration,
    /// A duration that is left out when zero.
    Delay,
    /// `KEY=value` pairs; no value is empty text.
    Pairs,
    /// `KEY=value` pairs; no value stays none.
    Environment,
    /// Labels: pairs whose values may be any scalar.
    Labels,
    /// A mapping to lists of text.
    MultiOptions,
    /// `host=address` lines.
    Hosts,
    /// A list of text, or one text.
    Strings,
    /// A command: a list, or a line that is split into words. Written even when empty.
    Command,
    /// A health check's command.
    Test,
    /// A file mode in octal.
    Mode,
    /// A limit, or its soft and hard ones.
    Ulimit,
    /// SSH agents and keys.
    Ssh,
    /// Env files.
    EnvFiles,
    /// `all` or a number of devices.
    DeviceCount,
    /// A mapping with known keys. Written even when empty by a pointer, left out by a value.
    Struct(&'static [Field], Hold),
    /// A list.
    List(&'static Shape),
    /// A mapping with any keys; null stays null.
    MapOf(&'static Shape),
}

/// How Go holds a struct, which decides whether an empty one is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Absent or there.
    Pointer,
    /// Always there: printed as `{}` in JSON, left out of YAML.
    Value,
}

/// A known key of a mapping.
#[derive(Debug)]
pub(super) struct Field {
    /// The key.
    pub key: &'static str,
    /// Its key in JSON, where that differs.
    pub json: &'static str,
    /// The form of its value.
    pub shape: Shape,
    /// What JSON prints where nothing is written.
    pub absent: Absent,
}

/// What stands for a key that isn't written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// Nothing.
    Omitted,
    /// `null` in JSON, nothing in YAML.
    Null,
    /// Zero or empty in both.
    Zero,
}

/// Writes values into their forms.
pub(super) struct Writer<'a> {
    /// Whether strings with references stand for any type.
    pub lenient: bool,
    pub problems: &'a mut Problems,
}

impl Writer<'_> {
    /// A value's form; `None` where nothing is printed.
    pub fn write(&mut self, node: &Node, shape: &Shape, path: &Path) -> Option<Json> {
        match shape {
            Shape::Struct(fields, hold) => {
                let object = self.object(node, fields, path)?;
                let empty = object.is_empty() && *hold == Hold::Value;
                (!empty).then_some(Json::Object(object))
            }
            Shape::List(item) => {
                let items = match &node.value {
                    Value::List(items) => items.iter().enumerate(),
                    _ => return self.unexpected(node, "a list", path),
                };
                let items: Vec<Json> = items
                    .map(|(at, node)| match self.kept(node) {
                        Some(kept) => kept,
                        None => self.write(node, item, &path.index(at)).unwrap_or(empty(item)),
                    })
                    .collect();
                (!items.is_empty()).then_some(Json::Array(items))
            }
            Shape::MapOf(item) => {
                let Value::Map(map) = &node.value else {
                    return if node.is_null() {
                        None
                    } else {
                        self.unexpected(node, "a mapping", path)
                    };
                };
                let mut object = Object::new();
                for (key, value) in map.iter() {
                    let value = match value.is_null() {
                        true => Json::Null,
                        false => self.write(value, item, &path.key(key)).unwrap_or(empty(item)),
                    };
                    object.insert(key.to_owned(), value);
                }
                (!object.is_empty()).then_some(Json::Object(object))
            }
            leaf => match self.kept(node) {
                Some(kept) => Some(kept),
                None => leaf::write(leaf, node).unwrap_or_else(|message| {
                    self.problem(node, format!("{path}: {message}"));
                    None
                }),
            },
        }
    }

    /// The entries of a mapping with known keys.
    fn object(
        &mut self,
        node: &Node,
        fields: &[Field],
        path: &Path,
    ) -> Option<Object<String, Json>> {
        let map = match &node.value {
            Value::Map(map) => map,
            Value::Null => return None,
            _ => return self.unexpected(node, "a mapping", path)?,
        };
        // Few of many known keys are written: it is quicker to look those up among the fields.
        let mut written = vec![None; fields.len()];
        for (key, value) in map.iter() {
            if let Some(at) = fields.iter().position(|field| field.key == key) {
                written[at] = Some(value);
            }
        }
        let mut object = Object::new();
        for (field, value) in fields.iter().zip(written) {
            let value = value.and_then(|value: &Node| {
                let inner = path.key(field.key);
                if value.is_null() { None } else { self.write(value, &field.shape, &inner) }
            });
            let absent = || (field.absent == Absent::Zero).then(|| zero(&field.shape));
            if let Some(value) = value.or_else(absent) {
                object.insert(field.key.to_owned(), value);
            }
        }
        let extensions = map.iter().filter(|(key, _)| key.starts_with("x-"));
        object.extend(extensions.map(|(key, value)| (key.to_owned(), value.to_json())));
        Some(object)
    }

    /// A string whose references the host will resolve stands for any value.
    fn kept(&self, node: &Node) -> Option<Json> {
        let text = node.as_str().filter(|text| self.lenient && has_reference(text))?;
        Some(Json::String(text.to_owned()))
    }

    fn unexpected<T>(&mut self, node: &Node, wanted: &str, path: &Path) -> Option<T> {
        self.problem(node, format!("{path} must be {wanted}, not {}", node.kind_name()));
        None
    }

    fn problem(&mut self, node: &Node, message: String) {
        self.problems.add(|| conceal::error("compose::type", &message, node));
    }
}

/// What Compose's JSON has of a canonical value: every key that Go would print, and no extensions.
pub(super) fn to_json(shape: &Shape, value: Json) -> Json {
    match (shape, value) {
        (Shape::Struct(fields, _), Json::Object(mut object)) => {
            let entries = fields.iter().filter_map(|field| {
                let value = match (object.remove(field.key), field.absent, &field.shape) {
                    (Some(value), ..) => to_json(&field.shape, value),
                    (None, Absent::Null, _) => Json::Null,
                    (None, Absent::Zero, shape) => zero(shape),
                    // A struct that Go holds by value is there without being written.
                    (None, _, Shape::Struct(inner, Hold::Value)) => empty_struct(inner),
                    (None, Absent::Omitted, _) => return None,
                };
                Some((field.json.to_owned(), value))
            });
            Json::Object(entries.collect())
        }
        (Shape::List(item), Json::Array(items)) => {
            items.into_iter().map(|value| to_json(item, value)).collect()
        }
        (Shape::MapOf(item), Json::Object(object)) => {
            object.into_iter().map(|(key, value)| (key, to_json(item, value))).collect()
        }
        (Shape::Ulimit, Json::Object(limits)) => {
            limits.into_iter().filter(|(_, limit)| *limit != 0).collect()
        }
        (_, value) => value,
    }
}

/// What an item is that is written but empty.
fn empty(shape: &Shape) -> Json {
    match shape {
        Shape::Struct(fields, _) => empty_struct(fields),
        other => zero(other),
    }
}

fn empty_struct(fields: &[Field]) -> Json {
    let entries = fields.iter().filter_map(|field| match (field.absent, &field.shape) {
        (Absent::Null, _) => Some((field.json.to_owned(), Json::Null)),
        (Absent::Zero, shape) => Some((field.json.to_owned(), zero(shape))),
        (_, Shape::Struct(inner, Hold::Value)) => {
            Some((field.json.to_owned(), empty_struct(inner)))
        }
        _ => None,
    });
    Json::Object(entries.collect())
}

fn zero(shape: &Shape) -> Json {
    match shape {
        Shape::Text => Json::String(String::new()),
        Shape::Bytes => Json::String("0".to_owned()),
        Shape::Flag | Shape::Choice => Json::Bool(false),
        Shape::Int
        | Shape::Count
        | Shape::Unsigned
        | Shape::UnsignedCount
        | Shape::Float
        | Shape::DeviceCount => Json::from(0),
        Shape::Duration | Shape::Delay => Json::String("0s".to_owned()),
        Shape::Strings | Shape::Command | Shape::List(_) => Json::Array(Vec::new()),
        _ => Json::Object(Object::new()),
    }
}
