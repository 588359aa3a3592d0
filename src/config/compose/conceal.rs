//! What an error may quote: what the file says, never what a variable put there.

use crate::config::diagnostic::Diagnostic;
use crate::config::yaml::{Node, Value};

/// An error about a node. Of its words, those that came from a variable become `…`: a variable
/// may hold a secret.
pub(super) fn error(code: &'static str, message: &str, node: &Node) -> Diagnostic {
    Diagnostic::error(code, conceal(message, node)).at(&node.span, "here")
}

/// A message without the words in backticks that came from a variable.
pub(super) fn conceal(message: &str, node: &Node) -> String {
    let mut foreign = Vec::new();
    collect(node, &mut foreign);
    if foreign.is_empty() {
        return message.to_owned();
    }
    let hide = |(at, piece): (usize, &str)| {
        let quoted = at % 2 == 1 && !piece.is_empty();
        let secret =
            |(value, written): &(&str, &str)| value.contains(piece) && !written.contains(piece);
        match quoted && foreign.iter().any(secret) {
            true => "…".to_owned(),
            false => piece.to_owned(),
        }
    };
    message.split('`').enumerate().map(hide).collect::<Vec<_>>().join("`")
}

/// The strings that were interpolated, each with what is written in its place.
fn collect<'a>(node: &'a Node, found: &mut Vec<(&'a str, &'a str)>) {
    match &node.value {
        Value::String(text) => {
            let written = node.span.text();
            if written.contains('$') {
                found.push((text, written));
            }
        }
        Value::List(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Map(map) => map.iter().for_each(|(_, value)| collect(value, found)),
        _ => {}
    }
}
