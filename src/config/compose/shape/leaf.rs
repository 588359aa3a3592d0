//! Scalars, commands and pairs: what each becomes in print.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::Shape;
use crate::config::compose::units::{parse_bytes, split_command};
use crate::config::yaml::{Map, Node, Value};
use crate::model::duration::{format_duration, parse_duration};

type Written = Result<Option<Json>, String>;

/// A value's printed form; `None` where nothing is printed.
pub(super) fn write(shape: &Shape, node: &Node) -> Written {
    match shape {
        Shape::Text => text(node).map(|text| (!text.is_empty()).then_some(Json::String(text))),
        Shape::Flag => Ok(boolean(node)?.then_some(Json::Bool(true))),
        Shape::Choice => boolean(node).map(|value| Some(Json::Bool(value))),
        Shape::Int => integer(node).map(|value| (value != 0).then(|| Json::from(value))),
        Shape::Count => integer(node).map(|value| Some(Json::from(value))),
        Shape::Unsigned => unsigned(node).map(|value| (value != 0).then(|| Json::from(value))),
        Shape::UnsignedCount => unsigned(node).map(|value| Some(Json::from(value))),
        Shape::Float => float(node),
        Shape::Bytes => {
            let bytes = match &node.value {
                Value::Int(bytes) => *bytes,
                Value::String(text) => parse_bytes(text)?,
                // Compose passes over a size with a fraction.
                _ => 0,
            };
            Ok((bytes != 0).then(|| Json::String(bytes.to_string())))
        }
        Shape::Duration => duration(node).map(|nanos| Some(Json::String(format_duration(nanos)))),
        Shape::Delay => {
            let nanos = duration(node)?;
            Ok((nanos != 0).then(|| Json::String(format_duration(nanos))))
        }
        Shape::Pairs => pairs(node, |value| Some(value.unwrap_or_default()), ""),
        Shape::Labels => pairs(node, |value| Some(value.unwrap_or_default()), ""),
        Shape::Environment => environment(node),
        Shape::MultiOptions => multi_options(node),
        Shape::Hosts => hosts(node),
        Shape::Strings => strings(node),
        Shape::Command => command(node),
        Shape::Test => test(node),
        Shape::Mode => mode(node),
        Shape::Ulimit => ulimit(node),
        Shape::Ssh => ssh(node),
        Shape::EnvFiles => env_files(node),
        Shape::DeviceCount => match node.as_str() {
            Some(text) if text.eq_ignore_ascii_case("all") => Ok(Some(Json::from(-1))),
            Some(text) => match text.parse::<i64>() {
                Ok(value) => Ok((value != 0).then(|| Json::from(value))),
                Err(_) => Err(format!("`{text}` is neither `all` nor a number")),
            },
            None => integer(node).map(|value| (value != 0).then(|| Json::from(value))),
        },
        Shape::Struct(..) | Shape::List(_) | Shape::MapOf(_) => Ok(None),
    }
}

fn wanted<T>(node: &Node, what: &str) -> Result<T, String> {
    Err(format!("must be {what}, not {}", node.kind_name()))
}

fn text(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::String(text) => Ok(text.clone()),
        Value::Int(value) => Ok(value.to_string()),
        _ => wanted(node, "a string"),
    }
}

fn boolean(node: &Node) -> Result<bool, String> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "y" | "yes" | "on" => Ok(true),
            "false" | "n" | "no" | "off" => Ok(false),
            _ => wanted(node, "true or false"),
        },
        _ => wanted(node, "true or false"),
    }
}

fn integer(node: &Node) -> Result<i64, String> {
    match &node.value {
        Value::Int(value) => Ok(*value),
        Value::Float(value) => Ok(*value as i64),
        Value::String(text) => {
            text.parse().map_err(|_| format!("must be a whole number, not `{text}`"))
        }
        _ => wanted(node, "a whole number"),
    }
}

/// Compose reads no text into these.
fn unsigned(node: &Node) -> Result<u64, String> {
    match node.value {
        Value::Int(value) => {
            u64::try_from(value).map_err(|_| format!("must be 0 or more, not {value}"))
        }
        Value::Float(value) if value >= 0.0 => Ok(value as u64),
        _ => wanted(node, "a whole number"),
    }
}

fn float(node: &Node) -> Written {
    let value = match &node.value {
        Value::String(text) => {
            text.parse().map_err(|_| format!("must be a number, not `{text}`"))?
        }
        _ => match node.as_f64() {
            Some(value) => value,
            None => return wanted(node, "a number"),
        },
    };
    let single = value as f32;
    if single == 0.0 {
        return Ok(None);
    }
    // The shortest digits of single precision, not those of the same value in double.
    match single.to_string().parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
        Some(number) => Ok(Some(whole(number))),
        None => wanted(node, "a finite number"),
    }
}

/// `1.0` as `1`, as Go prints it.
fn whole(number: serde_json::Number) -> Json {
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => Json::from(value as i64),
        _ => Json::Number(number),
    }
}

fn duration(node: &Node) -> Result<i64, String> {
    match node.scalar_text() {
        Some(text) => parse_duration(&text),
        None => wanted(node, "a duration"),
    }
}

/// A scalar as text, `None` for null.
fn printed(node: &Node) -> Option<String> {
    match node.is_null() {
        true => None,
        false => Some(node.scalar_text().unwrap_or_else(|| node.to_json().to_string())),
    }
}

fn object(pairs: BTreeMap<String, Json>) -> Option<Json> {
    (!pairs.is_empty()).then(|| Json::Object(pairs.into_iter().collect()))
}

fn pairs(node: &Node, keep: impl Fn(Option<String>) -> Option<String>, missing: &str) -> Written {
    let mut out = BTreeMap::new();
    match &node.value {
        Value::Map(map) => {
            for (key, value) in map.iter() {
                out.insert(key.to_owned(), keep(printed(value)).map_or(Json::Null, Json::String));
            }
        }
        Value::List(items) => {
            for item in items {
                let item = printed(item).unwrap_or_else(|| "<nil>".to_owned());
                let (key, value) = item.split_once('=').unwrap_or((&item, missing));
                out.insert(key.to_owned(), Json::String(value.to_owned()));
            }
        }
        _ => return wanted(node, "a mapping or a list"),
    }
    Ok(object(out))
}

fn environment(node: &Node) -> Written {
    let Value::List(items) = &node.value else {
        return pairs(node, |value| value, "");
    };
    let mut out = BTreeMap::new();
    for item in items {
        let item = printed(item).unwrap_or_else(|| "<nil>".to_owned());
        let (key, value) = match item.split_once('=') {
            Some((key, value)) => (key, Json::String(value.to_owned())),
            None => (item.as_str(), Json::Null),
        };
        if key.ends_with(char::is_whitespace) {
            return Err(format!("the variable `{key}` has a space before its `=`"));
        }
        out.insert(key.to_owned(), value);
    }
    Ok(object(out))
}

fn multi_options(node: &Node) -> Written {
    let Value::Map(map) = &node.value else { return wanted(node, "a mapping") };
    let mut out = BTreeMap::new();
    for (key, value) in map.iter() {
        let values: Vec<Json> = match &value.value {
            Value::List(items) => items.iter().map(|item| Json::from(printed(item))).collect(),
            _ => vec![Json::String(printed(value).unwrap_or_else(|| "<nil>".to_owned()))],
        };
        out.insert(key.to_owned(), Json::Array(values));
    }
    Ok(object(out))
}

fn hosts(node: &Node) -> Written {
    let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    match &node.value {
        Value::Map(map) => {
            for (host, value) in map.iter() {
                let addresses = match &value.value {
                    Value::Null => vec![String::new()],
                    Value::String(text) => vec![text.clone()],
                    Value::List(items) => items.iter().filter_map(printed).collect(),
                    _ => return wanted(value, "an address or a list of those"),
                };
                hosts.insert(host.to_owned(), addresses);
            }
        }
        Value::List(items) => {
            for item in items {
                let item = printed(item).unwrap_or_default();
                let Some((host, addresses)) = item.split_once('=').or_else(|| item.split_once(':'))
                else {
                    return Err(format!("`{item}` names no address; write `host=address`"));
                };
                let addresses = addresses.split(',').map(str::to_owned);
                hosts.entry(host.to_owned()).or_default().extend(addresses);
            }
        }
        _ => return wanted(node, "a mapping or a list"),
    }
    let mut lines = Vec::new();
    for (host, addresses) in hosts {
        if host.is_empty() || host.contains([':', '=']) {
            return Err(format!("`{host}` is not a host name"));
        }
        for address in addresses {
            let bare = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(inner) if !inner.is_empty() => inner,
                _ => &address,
            };
            lines.push(format!("{host}={bare}"));
        }
    }
    lines.sort();
    Ok((!lines.is_empty()).then(|| Json::from(lines)))
}

fn strings(node: &Node) -> Written {
    let items = match &node.value {
        Value::List(items) => items
            .iter()
            .map(|item| printed(item).ok_or_else(|| "an item is null".to_owned()))
            .collect::<Result<Vec<_>, _>>()?,
        Value::String(text) => vec![text.clone()],
        _ => return wanted(node, "a list"),
    };
    Ok((!items.is_empty()).then(|| Json::from(items)))
}

fn command(node: &Node) -> Written {
    let words = match &node.value {
        Value::String(line) => split_command(line)?,
        Value::List(items) => items.iter().map(text).collect::<Result<_, _>>()?,
        _ => return Ok(None),
    };
    Ok(Some(Json::from(words)))
}

fn test(node: &Node) -> Written {
    let words = match &node.value {
        Value::String(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        Value::List(items) => items.iter().map(text).collect::<Result<_, _>>()?,
        _ => return wanted(node, "a string or a list"),
    };
    Ok((!words.is_empty()).then(|| Json::from(words)))
}

fn mode(node: &Node) -> Written {
    let mode = match &node.value {
        Value::Int(mode) => *mode,
        Value::String(text) => i64::from_str_radix(text, 8)
            .map_err(|_| format!("`{text}` is not a mode in octal, such as `0440`"))?,
        _ => return wanted(node, "a mode in octal"),
    };
    Ok(Some(Json::String(format!("0{mode:o}"))))
}

fn ulimit(node: &Node) -> Written {
    let (single, soft, hard) = match &node.value {
        Value::Map(map) => {
            let limit = |map: &Map, key: &str| map.get(key).map_or(Ok(0), integer);
            (0, limit(map, "soft")?, limit(map, "hard")?)
        }
        _ => (integer(node)?, 0, 0),
    };
    if single != 0 {
        return Ok(Some(Json::from(single)));
    }
    Ok(Some(json!({ "soft": soft, "hard": hard })))
}

/// Agents and keys as `id` or `id=path`, the form that can be read back.
fn ssh(node: &Node) -> Written {
    let Value::Map(map) = &node.value else { return wanted(node, "a mapping or a list") };
    let mut keys: Vec<String> = map
        .iter()
        .map(|(id, path)| match printed(path) {
            Some(path) if !path.is_empty() => format!("{id}={path}"),
            _ => id.to_owned(),
        })
        .collect();
    keys.sort();
    Ok((!keys.is_empty()).then(|| Json::from(keys)))
}

fn env_files(node: &Node) -> Written {
    let Value::List(items) = &node.value else { return wanted(node, "a list") };
    let mut files = Vec::with_capacity(items.len());
    for item in items {
        let Value::Map(map) = &item.value else { return wanted(item, "a mapping") };
        let path = map.get("path").map(text).transpose()?.unwrap_or_default();
        if map.get("required").map_or(Ok(false), boolean)? {
            files.push(Json::String(path));
            continue;
        }
        files.push(json!({ "path": path, "required": false }));
    }
    Ok((!files.is_empty()).then_some(Json::Array(files)))
}
