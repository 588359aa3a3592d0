//! Data into YAML that every reader understands alike, YAML 1.1 ones included.

use serde_json::{Map, Value};

/// Data as a YAML document in block style. Keys keep their order; a string is quoted wherever a
/// reader could take it for something else (`yes`, `0123`, `1:30`, `null`, `2024-01-31`).
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0, &mut out),
        Value::Array(items) if !items.is_empty() => block(value, 0, &mut out),
        _ => {
            inline(value, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// An entry of a document in block style, as `emit` writes it where it lies `indent` deep.
pub fn emit_entry(key: &str, map: &Map<String, Value>, indent: usize) -> String {
    // About what an entry is long.
    let mut out = String::with_capacity(1024);
    pad(indent, &mut out);
    text(key, &mut out);
    if map.is_empty() {
        out.push_str(": {}\n");
        return out;
    }
    out.push_str(":\n");
    pad(indent + 2, &mut out);
    mapping(map, indent + 2, &mut out);
    out
}

/// A mapping or list, each entry on lines of its own.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) => mapping(map, indent, out),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    pad(indent, out);
                }
                out.push_str("- ");
                match is_nested(item) {
                    true => block(item, indent + 2, out),
                    false => {
                        inline(item, indent, out);
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn mapping(map: &Map<String, Value>, indent: usize, out: &mut String) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            pad(indent, out);
        }
        text(key, out);
        out.push(':');
        entry(value, indent, out);
    }
}

/// What follows a key's colon.
fn entry(value: &Value, indent: usize, out: &mut String) {
    if is_nested(value) {
        out.push('\n');
        pad(indent + 2, out);
        block(value, indent + 2, out);
    } else {
        out.push(' ');
        inline(value, indent, out);
        out.push('\n');
    }
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn inline(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(string) if is_literal(string) => literal(string, indent, out),
        Value::String(string) => text(string, out),
        other => out.push_str(&other.to_string()),
    }
}

/// Whether the `|` form keeps every character: several lines, no odd spaces, all printable.
fn is_literal(string: &str) -> bool {
    let body = string.strip_suffix('\n').unwrap_or(string);
    body.contains('\n')
        && !string.ends_with("\n\n")
        && !string.starts_with([' ', '\n', '\t'])
        && string.split('\n').all(|line| {
            !line.ends_with([' ', '\t']) && line.chars().all(|c| is_printable(c) || c == '\t')
        })
}

fn literal(string: &str, indent: usize, out: &mut String) {
    let (body, header) = match string.strip_suffix('\n') {
        Some(body) => (body, "|"),
        None => (string, "|-"),
    };
    out.push_str(header);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent + 2, out);
            out.push_str(line);
        }
    }
}

fn text(string: &str, out: &mut String) {
    if is_plain(string) {
        out.push_str(string);
        return;
    }
    out.push('"');
    for c in string.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
}

/// Whether unquoted text means this string to every reader. Refuses more than it must: a quote
/// too many costs nothing.
fn is_plain(string: &str) -> bool {
    let bytes = string.as_bytes();
    let begins = match bytes {
        [b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'/' | b'$', ..] => true,
        [b'.', rest @ ..] => rest.starts_with(b"/"),
        _ => false,
    };
    // `:` and braces start something in other places; `=` alone is a YAML 1.1 tag.
    let calm = |byte: &u8| {
        matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'/' | b'.' | b'-' | b' '
            | b':' | b'=' | b'@' | b'+' | b',' | b'$' | b'{' | b'}' | b'(' | b')' | b'?' | b';'
            | b'~' | b'<' | b'>')
    };
    begins
        && bytes.iter().all(calm)
        && !bytes.windows(2).any(|pair| pair == b": ")
        && !bytes.ends_with(b" ")
        && !bytes.ends_with(b":")
        && !is_word_with_meaning(string)
}

fn is_word_with_meaning(string: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    WORDS.iter().any(|word| string.eq_ignore_ascii_case(word))
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}')
}

fn pad(width: usize, out: &mut String) {
    const SPACES: &str = "                                ";
    let mut left = width;
    while left > 0 {
        let some = left.min(SPACES.len());
        out.push_str(&SPACES[..some]);
        left -= some;
    }
}
