//! Diagnostics for people (the offending text underlined) and for programs (JSON).

use std::io::IsTerminal;

use miette::{GraphicalReportHandler, GraphicalTheme, Severity};
use serde_json::{Map, Value as Json, json};

use crate::config::diagnostic::{Diagnostic, Span};

/// Whether standard error wants colours: a terminal, and nobody said no.
pub fn colour_on_stderr() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stderr().is_terminal()
}

/// Every diagnostic with its lines underlined.
pub fn text(problems: &[Diagnostic], colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let mut out = String::new();
    for problem in problems {
        let mut one = String::new();
        // Writing to a String fails only where the source cannot be read: then say it plainly.
        if handler.render_report(&mut one, problem).is_err() {
            one = format!("{}\n", problem.message);
        }
        out.push_str(&one);
        out.push('\n');
    }
    out
}

/// One diagnostic as data: `code severity message file line column help`.
pub fn data(problem: &Diagnostic) -> Json {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Advice => "advice",
    };
    let mut object = Map::new();
    object.insert("code".into(), json!(problem.code));
    object.insert("severity".into(), json!(severity));
    object.insert("message".into(), json!(problem.message));
    if let Some((span, _)) = &problem.at {
        let (line, column) = position(span);
        object.insert("file".into(), json!(span.source.name));
        object.insert("line".into(), json!(line));
        object.insert("column".into(), json!(column));
    }
    if let Some(help) = &problem.help {
        object.insert("help".into(), json!(help));
    }
    Json::Object(object)
}

/// Line and column of a place, both from 1, the column in characters.
fn position(span: &Span) -> (usize, usize) {
    let before = span.source.text.get(..span.range.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
