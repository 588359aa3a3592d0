//! Errors: `error: …`, what was said about it behind `|`, and `hint: …`. The same in JSON.

use miette::{GraphicalReportHandler, GraphicalTheme};
use serde_json::{Value, json};

use crate::model::{BlockedEntry, Failure};

use super::style::{Paint, Role};
use super::{text, words};

/// A failure as the terminal shows it.
pub fn failure(failure: &Failure, paint: Paint) -> String {
    message(&failure.what, &failure.detail, failure.hint.as_deref(), paint)
}

/// Any error as a failure: what it says, and behind it the reasons that it names.
pub fn of(error: &dyn std::error::Error) -> Failure {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    Failure::new(error.to_string()).detail(causes.map(ToString::to_string))
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
    let theme = match paint.is_on() {
        true => GraphicalTheme::unicode(),
        false => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let mut out = String::new();
    // Writing to a String fails only where the source cannot be read: then say it plainly.
    if handler.render_report(&mut out, diagnostic).is_err() {
        out = format!("{diagnostic}\n");
    }
    // What the file holds is shown, but drives no terminal.
    let kept = |c: char| c == '\n' || c == '\u{1b}' && paint.is_on() || !c.is_control();
    out.chars().map(|c| if kept(c) { c } else { '\u{fffd}' }).chain(['\n']).collect()
}

/// Where a diagnostic points: the first label's first line.
struct Place {
    file: String,
    line: usize,
    column: usize,
    label: String,
}

impl Place {
    fn of(diagnostic: &dyn miette::Diagnostic) -> Option<Place> {
        let label = diagnostic.labels()?.next()?;
        let source = diagnostic.source_code()?;
        // With a line of context on either side, the line itself is whole.
        let contents = source.read_span(label.inner(), 1, 1).ok()?;
        let data = std::str::from_utf8(contents.data()).ok()?;
        let at = label.offset().checked_sub(contents.span().offset())?;
        let (before, _) = data.split_at_checked(at)?;
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        Some(Place {
            file: contents.name().unwrap_or_default().to_owned(),
            line: contents.line() + before.matches('\n').count() + 1,
            column: text::width(&data[begin..before.len()]) + 1,
            label: label.label().unwrap_or_default().to_owned(),
        })
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

/// The JSON form of warnings: `{"warnings": […]}`.
pub fn warnings_json<'a>(warnings: impl Iterator<Item = &'a dyn miette::Diagnostic>) -> String {
    let warnings: Vec<Value> = warnings.map(diagnostic_json).collect();
    super::json::pretty(&json!({ "warnings": warnings }))
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

#[cfg(test)]
mod tests {
    use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Severity};

    use super::*;

    #[test]
    fn a_failure_with_what_was_said_and_a_hint() {
        let failed = Failure::new("shop-api-2 on app-1 exited with code 1")
            .detail(["one\r\ntwo", "", "\u{1b}[1mthree\u{1b}[0m \u{1b}[H"])
            .hint("see its log\nand mend it");
        insta::assert_snapshot!(failure(&failed, Paint::PLAIN), @r"
        error: shop-api-2 on app-1 exited with code 1
        | one
        | two
        | three \u{1b}[H
        hint: see its log
              and mend it
        ");
        insta::assert_snapshot!(json(&failed), @r#"
        {
          "error": {
            "detail": [
              "one\r\ntwo",
              "",
              "\u001b[1mthree\u001b[0m \u001b[H"
            ],
            "hint": "see its log\nand mend it",
            "what": "shop-api-2 on app-1 exited with code 1"
          }
        }
        "#);
        assert_eq!(failure(&Failure::new("x"), Paint::PLAIN), "error: x\n");
    }

    #[test]
    fn an_error_brings_its_reasons() {
        let reason = std::io::Error::other("no route");
        let error = std::io::Error::other(miette::miette!("x"));
        assert_eq!(of(&error).what, "x");
        let report = miette::Report::from_err(reason).wrap_err("can't connect");
        assert_eq!(of(report.as_ref()), Failure::new("can't connect").detail(["no route"]));
    }

    #[test]
    fn words_are_coloured_and_the_sentence_is_not() {
        let warned = warning("no healthcheck", Some("add one"), Paint::COLOR);
        let expected =
            "\u{1b}[35mwarning:\u{1b}[0m no healthcheck\n\u{1b}[36mhint:\u{1b}[0m add one\n";
        assert_eq!(warned, expected);
    }

    fn misspelt(text: &str, word: &str) -> miette::Report {
        let at = text.find(word).unwrap();
        let diagnostic = MietteDiagnostic::new("unknown key `hots`")
            .with_code("config::unknown-key")
            .with_help("did you mean `hosts`?")
            .with_label(LabeledSpan::new_with_span(Some("not a key".into()), (at, word.len())));
        miette::Report::new(diagnostic)
            .with_source_code(NamedSource::new("stagecraft.yml", text.to_owned()))
    }

    #[test]
    fn a_diagnostic_underlines_what_it_means() {
        let report =
            misspelt("project: shop\nenvironments:\n  \u{e9}t\u{e9}: { hots: [] }\n", "hots");
        insta::assert_snapshot!(diagnostic(report.as_ref(), Paint::PLAIN), @"
        config::unknown-key

          × unknown key `hots`
           ╭─[stagecraft.yml:3:12]
         2 │ environments:
         3 │   été: { hots: [] }
           ·          ──┬─
           ·            ╰── not a key
           ╰────
          help: did you mean `hosts`?
        ");
        let json = diagnostics_json("stagecraft.yml has 1 error", [report.as_ref()]);
        insta::assert_snapshot!(json, @r#"
        {
          "error": {
            "diagnostics": [
              {
                "code": "config::unknown-key",
                "column": 10,
                "file": "stagecraft.yml",
                "hint": "did you mean `hosts`?",
                "label": "not a key",
                "line": 3,
                "message": "unknown key `hots`",
                "severity": "error"
              }
            ],
            "what": "stagecraft.yml has 1 error"
          }
        }
        "#);
    }

    #[test]
    fn a_diagnostic_at_an_edge_of_its_file() {
        for (text, place) in [("hots", ":1:1"), ("a\n\thots", ":2:2"), ("hots\nb\n", ":1:1")] {
            let shown = diagnostic(misspelt(text, "hots").as_ref(), Paint::PLAIN);
            assert!(shown.contains(place) && shown.contains("not a key"), "{shown}");
        }
        let bare = MietteDiagnostic::new("no file").with_severity(Severity::Warning);
        assert!(diagnostic(&bare, Paint::PLAIN).contains("no file"));
    }

    #[test]
    fn what_a_file_holds_drives_no_terminal() {
        let shown = diagnostic(misspelt("a\u{1b}[2Jhots", "hots").as_ref(), Paint::PLAIN);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}
