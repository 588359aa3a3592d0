//! Errors: `error: …`, what was said about it behind `|`, and `hint: …`. The same in JSON.

use serde_json::{Value, json};

use crate::model::{BlockedEntry, Failure};

use super::style::{Paint, Role};
use super::{text, words};

/// A failure as the terminal shows it.
pub fn failure(failure: &Failure, paint: Paint) -> String {
    message(&failure.what, &failure.detail, failure.hint.as_deref(), paint)
}

/// An error of any sort: one sentence, lines that were said about it, what to do next.
pub fn message(what: &str, detail: &[String], hint: Option<&str>, paint: Paint) -> String {
    let error = paint.paint(Role::Error, "error:");
    let mut out = format!("{error} {}\n", sentence(what));
    out.push_str(&detail_and_hint("", detail, hint, paint));
    out
}

/// A warning: one sentence and what to do about it.
pub fn warning(what: &str, hint: Option<&str>, paint: Paint) -> String {
    let warning = paint.paint(Role::Warn, "warning:");
    format!("{warning} {}\n{}", sentence(what), detail_and_hint("", &[], hint, paint))
}

/// A host or resource that cannot be planned, indented as part of a plan.
pub fn blocked_entry(entry: &BlockedEntry, paint: Paint) -> String {
    let (what, hint) = words::blocked(&entry.address, &entry.blocked);
    let address = entry.address.to_string();
    let mut out = format!("  {} {}: {what}\n", paint.paint(Role::Error, "!"), text::line(&address));
    let detail = std::slice::from_ref(&entry.blocked.detail);
    out.push_str(&detail_and_hint("      ", detail, Some(&hint), paint));
    out
}

/// The lines under an error.
pub(super) fn detail_and_hint(
    indent: &str,
    detail: &[String],
    hint: Option<&str>,
    paint: Paint,
) -> String {
    let mut out = String::new();
    let bar = paint.paint(Role::Dim, "|");
    for line in detail.iter().flat_map(|detail| text::block(detail)) {
        let line = format!("{indent}{bar} {line}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for (at, line) in hint.iter().flat_map(|hint| text::block(hint)).enumerate() {
        let word = if at == 0 { paint.paint(Role::Hint, "hint:") } else { "     ".to_owned() };
        out.push_str(&format!("{indent}{word} {line}\n"));
    }
    out
}

fn sentence(what: &str) -> String {
    text::block(what).collect::<Vec<_>>().join("\n       ")
}

/// Errors and warnings in files: where, the line, the offending text underlined, what to do.
pub fn diagnostic(diagnostic: &dyn miette::Diagnostic, paint: Paint) -> String {
    let what = diagnostic.to_string();
    let help = diagnostic.help().map(|help| help.to_string());
    let (word, role) = match diagnostic.severity() {
        None | Some(miette::Severity::Error) => ("error:", Role::Error),
        Some(miette::Severity::Warning) => ("warning:", Role::Warn),
        Some(miette::Severity::Advice) => ("note:", Role::Hint),
    };
    let mut out = format!("{} {}\n", paint.paint(role, word), sentence(&what));
    if let Some(place) = Place::of(diagnostic) {
        out.push_str(&place.text(paint, role));
    }
    out.push_str(&detail_and_hint("", &[], help.as_deref(), paint));
    out
}

/// Where a diagnostic points: the first label's first line.
struct Place {
    file: String,
    line: usize,
    column: usize,
    text: String,
    width: usize,
    label: String,
}

impl Place {
    fn of(diagnostic: &dyn miette::Diagnostic) -> Option<Place> {
        let label = diagnostic.labels()?.next()?;
        let source = diagnostic.source_code()?;
        // With a line of context on either side, the line itself is whole.
        let contents = source.read_span(label.inner(), 1, 1).ok()?;
        let data = std::str::from_utf8(contents.data()).ok()?;
        let (before, rest) = data.split_at_checked(label.offset() - contents.span().offset())?;
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let line = data[begin..].lines().next().unwrap_or_default();
        let here = rest.lines().next().unwrap_or_default();
        let marked = here.get(..label.len().min(here.len())).unwrap_or(here);
        Some(Place {
            file: contents.name().unwrap_or_default().to_owned(),
            line: contents.line() + before.matches('\n').count() + 1,
            column: text::width(&data[begin..before.len()]) + 1,
            width: text::width(marked).max(1),
            text: line.to_owned(),
            label: label.label().unwrap_or_default().to_owned(),
        })
    }

    fn text(&self, paint: Paint, role: Role) -> String {
        let number = self.line.to_string();
        let blank = " ".repeat(number.len());
        let bar = paint.paint(Role::Dim, "|");
        let Place { line, column, .. } = self;
        // A tab would put the underline in the wrong place.
        let shown: String = self.text.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
        let mark = format!("{} {}", "^".repeat(self.width), text::line(&self.label));
        format!(
            "{blank} {arrow} {file}:{line}:{column}\n{blank} {bar}\n{number} {bar} {shown}\n\
             {blank} {bar} {skip}{mark}\n",
            arrow = paint.paint(Role::Dim, "-->"),
            file = text::line(&self.file),
            shown = text::line(&shown),
            skip = " ".repeat(column - 1),
            mark = paint.paint(role, mark.trim_end()),
        )
    }
}

/// `{"error": {"what": …, "detail": […], "hint": …}}`, for `--format json`.
pub fn json(failure: &Failure) -> String {
    super::json::pretty(&json!({ "error": failure }))
}

/// The JSON form of diagnostics: `{"error": {"what": …, "diagnostics": […]}}`.
pub fn diagnostics_json<'a>(
    what: &str,
    diagnostics: impl IntoIterator<Item = &'a dyn miette::Diagnostic>,
) -> String {
    let diagnostics: Vec<Value> = diagnostics.into_iter().map(diagnostic_json).collect();
    super::json::pretty(&json!({ "error": { "what": what, "diagnostics": diagnostics } }))
}

/// One diagnostic in JSON: severity, code, message, and its place, label and hint where it has one.
pub fn diagnostic_json(diagnostic: &dyn miette::Diagnostic) -> Value {
    let mut object = json!({
        "severity": match diagnostic.severity() {
            None | Some(miette::Severity::Error) => "error",
            Some(miette::Severity::Warning) => "warning",
            Some(miette::Severity::Advice) => "note",
        },
        "message": diagnostic.to_string(),
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
            object.insert(key.to_owned(), value);
        }
    };
    set("code", diagnostic.code().map(|code| code.to_string().into()));
    set("hint", diagnostic.help().map(|help| help.to_string().into()));
    if let Some(place) = Place::of(diagnostic) {
        set("file", Some(place.file.into()));
        set("line", Some(place.line.into()));
        set("column", Some(place.column.into()));
        set("label", (!place.label.is_empty()).then(|| place.label.into()));
    }
    object
}
