//! Labels into typed configuration: dotted names into a tree, the tree into JSON by `options`. Knows
//! neither routers nor services. Reads as Traefik does: names without regard to case, the first
//! spelling counts for names that the user gives, `name[0]` for lists.

use serde_json::{Map, Value};

use super::options::{Bare, Field, Kind};

/// A part of a label's name with what is below it.
#[derive(Debug, Default)]
pub struct Node {
    name: String,
    /// The whole label, as far as this node.
    label: String,
    value: Option<String>,
    children: Vec<Node>,
}

impl Node {
    /// The tree of labels, in order of their names. Problems name the labels that fit nowhere.
    pub fn tree<'a>(
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut root = Self::default();
        for (label, value) in labels {
            match parts(label) {
                Some(parts) => root.insert(&parts, label, value, problems),
                None => problems.push(format!("`{label}` is no label that Traefik can read")),
            }
        }
        root
    }

    fn insert(&mut self, parts: &[&str], label: &str, value: &str, problems: &mut Vec<String>) {
        let Some((first, rest)) = parts.split_first() else {
            match &self.value {
                Some(_) => problems.push(format!("`{label}` is there twice, in other cases")),
                None => self.value = Some(value.to_owned()),
            }
            return;
        };
        let known = self.children.iter().position(|child| child.name.eq_ignore_ascii_case(first));
        let index = known.unwrap_or_else(|| {
            let dot = if self.label.is_empty() || first.starts_with('[') { "" } else { "." };
            let label = format!("{}{dot}{first}", self.label);
            self.children.push(Self { name: (*first).to_owned(), label, ..Self::default() });
            self.children.len() - 1
        });
        self.children[index].insert(rest, label, value, problems);
    }

    /// The children in the order of their indexes, where all have one.
    fn indexed(&self) -> Option<Vec<&Self>> {
        let index =
            |node: &&Self| node.name.strip_prefix('[')?.strip_suffix(']')?.parse::<usize>().ok();
        let mut numbered: Vec<(usize, &Self)> =
            self.children.iter().map(|node| Some((index(&node)?, node))).collect::<Option<_>>()?;
        numbered.sort_by_key(|(index, _)| *index);
        (!numbered.is_empty()).then(|| numbered.into_iter().map(|(_, node)| node).collect())
    }
}

/// `a.b[0].c` into `a`, `b`, `[0]`, `c`.
fn parts(label: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    for part in label.split('.') {
        match part.find('[') {
            Some(0) => return None,
            Some(at) if part.ends_with(']') => parts.extend([&part[..at], &part[at..]]),
            _ if part.is_empty() => return None,
            _ => parts.push(part),
        }
    }
    Some(parts)
}

/// Types a tree. `None` where there is nothing to say: an option that is turned off.
pub fn typed(node: &Node, kind: &Kind, problems: &mut Vec<String>) -> Option<Value> {
    match kind {
        Kind::Options(fields, bare) => options(node, fields, *bare, problems),
        Kind::Each(kind) => {
            let mut each = Map::new();
            for child in &node.children {
                if let Some(value) = typed(child, kind, problems) {
                    each.insert(child.name.clone(), value);
                }
            }
            complete(node, Value::Object(each), problems)
        }
        Kind::List(kind) => match node.indexed() {
            Some(items) => {
                let items = items.into_iter().filter_map(|item| typed(item, kind, problems));
                Some(Value::Array(items.collect()))
            }
            None => refuse(node, "is a list: write `[0]` behind its name", problems),
        },
        Kind::Texts | Kind::Names => {
            let items: Vec<&str> = match (node.indexed(), &node.value) {
                (Some(items), None) => items.iter().filter_map(|i| i.value.as_deref()).collect(),
                (None, Some(value)) if node.children.is_empty() => {
                    value.split(',').filter(|item| !item.trim().is_empty()).collect()
                }
                _ => return refuse(node, "is a list: `a,b`", problems),
            };
            let text = |item: &&str| match kind {
                Kind::Names => Value::String(provided(item.trim())),
                _ => Value::String(verbatim(item.trim())),
            };
            (!items.is_empty()).then(|| items.iter().map(text).collect())
        }
        Kind::Free => free(node, problems),
        _ => scalar(node, kind, problems),
    }
}

fn options(node: &Node, fields: &[Field], bare: Bare, problems: &mut Vec<String>) -> Option<Value> {
    match (&node.value, bare) {
        // As Traefik has it: anything but `true` turns the object off, whatever is below it.
        (Some(value), Bare::Allowed)
            if !value.is_empty() && !value.eq_ignore_ascii_case("true") =>
        {
            return None;
        }
        (Some(_), Bare::Refused) => {
            return refuse(node, "takes no value: it has options of its own", problems);
        }
        _ => {}
    }
    let mut object = Map::new();
    for child in &node.children {
        let Some((name, kind)) = fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(&child.name))
        else {
            problems.push(unknown(child, fields));
            continue;
        };
        if let Some(value) = typed(child, kind, problems) {
            object.insert((*name).to_owned(), value);
        }
    }
    Some(Value::Object(object))
}

fn unknown(node: &Node, fields: &[Field]) -> String {
    let label = &node.label;
    let name = node.name.to_lowercase();
    let distance = |field: &str| match name.len() >= 3 && field.starts_with(&name) {
        true => 1,
        false => strsim::damerau_levenshtein(field, &name),
    };
    let near = fields
        .iter()
        .map(|(field, _)| (distance(&field.to_lowercase()), field))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4);
    match near {
        Some((_, field)) => {
            format!("`{label}` is no option that Traefik's labels have; did you mean `{field}`?")
        }
        None => format!("`{label}` is no option that Traefik's labels have"),
    }
}

fn scalar(node: &Node, kind: &Kind, problems: &mut Vec<String>) -> Option<Value> {
    let Some(value) = node.value.as_deref().filter(|_| node.children.is_empty()) else {
        return refuse(node, "is one value, with nothing below it", problems);
    };
    let typed = match kind {
        Kind::Bool => match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true.into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false.into()),
            _ => None,
        },
        Kind::Int => value.parse::<i64>().ok().map(Value::from),
        Kind::Duration => is_duration(value).then(|| value.into()),
        Kind::Name => Some(provided(value).into()),
        _ => Some(verbatim(value).into()),
    };
    let wanted = match kind {
        Kind::Bool => "`true` or `false`",
        Kind::Int => "a whole number",
        _ => "a duration such as `10s`",
    };
    match typed {
        Some(typed) => Some(typed),
        None => refuse(node, &format!("wants {wanted}, not {value:?}"), problems),
    }
}

/// A plugin's configuration: only the plugin knows what it means.
fn free(node: &Node, problems: &mut Vec<String>) -> Option<Value> {
    if node.children.is_empty() {
        return refuse(node, "wants options", problems);
    }
    Some(free_value(node))
}

fn free_value(node: &Node) -> Value {
    if let Some(items) = node.indexed() {
        return items.into_iter().map(free_value).collect();
    }
    if node.children.is_empty() {
        return Value::String(verbatim(node.value.as_deref().unwrap_or_default()));
    }
    node.children.iter().map(|child| (child.name.clone(), free_value(child))).collect()
}

fn complete(node: &Node, value: Value, problems: &mut Vec<String>) -> Option<Value> {
    match node.value {
        Some(_) => refuse(node, "takes no value: names belong below it", problems),
        None => Some(value),
    }
}

fn refuse(node: &Node, why: &str, problems: &mut Vec<String>) -> Option<Value> {
    problems.push(format!("`{}` {why}", node.label));
    None
}

/// A name of the Docker provider's is one of the file provider's once it has been lifted.
fn provided(name: &str) -> String {
    verbatim(&match name.strip_suffix("@docker") {
        Some(name) => format!("{name}@file"),
        None => name.to_owned(),
    })
}

/// Traefik takes its files for templates, labels not.
fn verbatim(text: &str) -> String {
    text.replace("{{", "{{`{{`}}")
}

/// A number of seconds, or what Go's `time.ParseDuration` takes: `1h30m`, `1.5s`, `100ms`.
fn is_duration(text: &str) -> bool {
    if text.parse::<i64>().is_ok() {
        return true;
    }
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut any = false;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - after.len()];
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .into_iter()
            .filter(|unit| after.starts_with(unit))
            .max_by_key(|unit| unit.len());
        let (true, Some(unit)) = (number.parse::<f64>().is_ok(), unit) else { return false };
        (rest, any) = (&after[unit.len()..], true);
    }
    any
}
