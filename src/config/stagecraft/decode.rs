//! Reading positioned YAML into types: every type says once how it is read and how the schema
//! describes it, so that the loader, the JSON Schema and the documentation cannot disagree.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::config::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::config::yaml::{Entry, Map, Node, Value};

use super::schema::Definitions;

/// A type that the configuration file can hold.
pub trait Decode: Sized {
    /// Reads the type, reporting everything that is wrong. `None` means reported and unusable.
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self>;
    /// The JSON Schema of what `decode` accepts.
    fn schema(definitions: &mut Definitions) -> Json;
    /// This value as the file would hold it, where the schema should show it as a default.
    fn to_json(&self) -> Option<Json> {
        None
    }
}

/// Reporting stops here: each report carries its file, and a hostile file would fill the memory.
const MOST: usize = 200;

/// What is wrong so far, and where in the file's tree the reader stands.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Diagnostic>,
    path: Vec<String>,
    faults: Faults,
}

/// The places of the file that could not be read, by dotted path. What is said there is unknown,
/// so nobody should complain that it is missing.
#[derive(Debug, Clone, Default)]
pub struct Faults(BTreeSet<String>);

impl Faults {
    /// Whether something is wrong at a path, below it, or with all that it is a part of.
    pub fn touch(&self, path: &str) -> bool {
        let below = format!("{path}.");
        let mut above = path.match_indices('.').map(|(at, _)| &path[..at]);
        self.0.contains(path)
            || self.0.range(below.clone()..).next().is_some_and(|fault| fault.starts_with(&below))
            || above.any(|prefix| self.0.contains(prefix))
    }
}

impl Problems {
    /// Adds a problem with the value being read, unless there are more already than anybody reads.
    pub fn push(&mut self, problem: Diagnostic) {
        self.push_at(&self.path(), problem);
    }

    /// Adds a problem with something below the value being read.
    pub fn push_below(&mut self, key: &str, problem: Diagnostic) {
        self.push_at(&self.place(key), problem);
    }

    fn push_at(&mut self, path: &str, problem: Diagnostic) {
        if self.found.len() < MOST {
            self.found.push(problem);
            self.faults.0.insert(path.to_owned());
        }
    }

    /// All problems, and where they are.
    pub fn finish(self) -> (Vec<Diagnostic>, Faults) {
        (self.found, self.faults)
    }

    /// The dotted path of a key of the value being read.
    fn place(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path()),
        }
    }

    /// The dotted path of the value being read; empty at the top.
    pub fn path(&self) -> String {
        self.path.join(".")
    }

    /// Reads something one level down.
    pub fn inside<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let result = read(self);
        self.path.pop();
        result
    }

    /// Reports that a value is not of the kind that belongs here.
    pub fn expected(&mut self, what: &str, node: &Node) {
        let found = match node.is_null() {
            true => "nothing".to_owned(),
            false => node.kind_name().to_owned(),
        };
        let place = match self.path.is_empty() {
            true => "the file".to_owned(),
            false => format!("`{}`", self.path()),
        };
        let message = format!("{place} must be {what}, not {found}");
        let mut problem = Diagnostic::error("config::type", message).at(&node.span, found);
        if what.contains("a string") && node.scalar_text().is_some() {
            problem = problem.help("put the value in quotes");
        }
        self.push(problem);
    }

    /// Reports a value of the right kind that is not acceptable.
    pub fn refused(&mut self, node: &Node, why: &str, help: &str) {
        let message = format!("`{}` {why}", self.path());
        let problem = Diagnostic::error("config::value", message).at(&node.span, "this value");
        self.push(problem.help(help));
    }
}

/// A mapping from which known keys are taken; what is left over is unknown.
pub struct Fields<'a> {
    map: Option<&'a Map>,
    span: &'a Span,
    taken: Vec<&'static str>,
    /// Where problems go.
    pub problems: &'a mut Problems,
}

impl<'a> Fields<'a> {
    /// Starts on a mapping; nothing at all counts as an empty one.
    pub fn open(node: &'a Node, problems: &'a mut Problems) -> Option<Self> {
        let map = match &node.value {
            Value::Map(map) => Some(map),
            Value::Null => None,
            _ => {
                problems.expected("a mapping", node);
                return None;
            }
        };
        Some(Self { map, span: &node.span, taken: Vec::new(), problems })
    }

    /// Takes a key that may be missing. `Err` means that it was there and wrong.
    fn take<T: Decode>(&mut self, key: &'static str) -> Result<Option<T>, ()> {
        self.taken.push(key);
        let Some(node) = self.map.and_then(|map| map.get(key)) else { return Ok(None) };
        self.problems.inside(key, |problems| T::decode(node, problems)).map(Some).ok_or(())
    }

    /// Takes a key that may be missing; one that is wrong is reported and taken as missing.
    pub fn optional<T: Decode>(&mut self, key: &'static str) -> Option<T> {
        self.take(key).unwrap_or_default()
    }

    /// Takes a key that must be there.
    pub fn required<T: Decode>(&mut self, key: &'static str) -> Option<T> {
        let taken = self.take(key);
        if let Ok(None) = taken {
            let path = self.problems.path();
            let message = match path.is_empty() {
                true => format!("there is no `{key}`"),
                false => format!("`{path}` has no `{key}`"),
            };
            self.problems.push_below(
                key,
                Diagnostic::error("config::missing-key", message)
                    .at(self.span, format!("`{key}` belongs here")),
            );
        }
        taken.ok().flatten()
    }

    /// The keys that nothing has taken.
    pub fn leftover(&self) -> Vec<(&'a str, &'a Entry)> {
        let entries = self.map.into_iter().flat_map(Map::entries);
        entries.filter(|(key, _)| !self.taken.contains(key)).collect()
    }

    /// The keys that were taken.
    pub fn known(&self) -> &[&'static str] {
        &self.taken
    }

    /// Reports a key that does not belong here.
    pub fn unknown(&mut self, key: &str, at: &Span, also: &[&str]) {
        let path = self.problems.path();
        let place = match path.is_empty() {
            true => "not a key of the file".to_owned(),
            false => format!("not a key of `{path}`"),
        };
        let known = self.taken.iter().copied().chain(also.iter().copied());
        let help = match did_you_mean(key, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys here are {}", list(&self.taken)),
        };
        let message = format!("unknown key `{key}`");
        let problem = Diagnostic::error("config::unknown-key", message).at(at, place).help(help);
        self.problems.push_below(key, problem);
    }

    /// Reports every leftover as unknown.
    pub fn close(mut self) {
        for (key, entry) in self.leftover() {
            self.unknown(key, &entry.key, &[]);
        }
    }
}

/// `a`, `b` and `c`.
pub fn list<S: AsRef<str>>(words: &[S]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// What becomes of the keys of a mapping that its type does not name.
pub trait Rest: Sized {
    /// Reads them.
    fn decode(fields: &mut Fields<'_>) -> Self;
    /// Adds them to the schema of the mapping.
    fn schema(object: &mut serde_json::Map<String, Json>, definitions: &mut Definitions);
}

/// Declares a mapping of the file: a struct, how it is read, and its schema.
///
/// A field is `key: Type` (missing: the type's default), `key: Type = default`, or
/// `key: Type => required`. Parentheses after the name hold a field for all other keys.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $(#[derive($derive:ident)])?
        pub struct $name:ident $(( $(#[doc = $rest_doc:literal])+ $rest:ident : $rest_type:ty ))? {
            $(
                $(#[doc = $field_doc:literal])+
                $field:ident : $type:ty $(= $default:expr)? $(=> $required:ident)? ,
            )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone $(, $derive)?)]
        pub struct $name {
            $( $(#[doc = $field_doc])+ pub $field: $type, )*
            $( $(#[doc = $rest_doc])+ pub $rest: $rest_type, )?
        }

        impl $name {
            /// The keys of the mapping.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl $crate::config::stagecraft::decode::Decode for $name {
            fn decode(
                node: &$crate::config::yaml::Node,
                problems: &mut $crate::config::stagecraft::decode::Problems,
            ) -> Option<Self> {
                let mut fields =
                    $crate::config::stagecraft::decode::Fields::open(node, problems)?;
                $( let $field: Option<$type> =
                    record!(@take fields, $field $(, = $default)? $(, $required)?); )*
                record!(@finish fields, [$($field)*] [$($rest : $rest_type)?])
            }

            fn schema(
                definitions: &mut $crate::config::stagecraft::schema::Definitions,
            ) -> serde_json::Value {
                $crate::config::stagecraft::schema::define(
                    stringify!($name),
                    &[$($doc),+],
                    definitions,
                    |object, definitions| {
                        $( object.property(
                            stringify!($field),
                            &[$($field_doc),+],
                            <$type as $crate::config::stagecraft::decode::Decode>::schema(definitions),
                            record!(@default $type $(, = $default)?),
                            record!(@required $($required)?),
                        ); )*
                        $( <$rest_type as $crate::config::stagecraft::decode::Rest>::schema(
                            object.extra(), definitions); )?
                    },
                )
            }
        }
    };
    (@take $fields:ident, $field:ident) => {
        Some($fields.optional(stringify!($field)).unwrap_or_default())
    };
    (@take $fields:ident, $field:ident, = $default:expr) => {
        Some($fields.optional(stringify!($field)).unwrap_or_else(|| $default))
    };
    (@take $fields:ident, $field:ident, required) => {
        $fields.required(stringify!($field))
    };
    (@default $type:ty) => { None };
    (@default $type:ty, = $default:expr) => {{
        let default: $type = $default;
        $crate::config::stagecraft::decode::Decode::to_json(&default)
    }};
    (@required) => { false };
    (@required required) => { true };
    (@finish $fields:ident, [$($field:ident)*] []) => {{
        $fields.close();
        Some(Self { $($field: $field?,)* })
    }};
    (@finish $fields:ident, [$($field:ident)*] [$rest:ident : $rest_type:ty]) => {{
        let $rest = <$rest_type as $crate::config::stagecraft::decode::Rest>::decode(&mut $fields);
        Some(Self { $($field: $field?,)* $rest })
    }};
}
pub(super) use record;
