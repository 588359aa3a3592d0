//! Secrets: values that travel to a host's env file and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An environment's secret values by key. It has no `Serialize`, and its `Debug` shows no value, so
/// that a value can reach a file only through `render`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Key to rendered line (`KEY='value'`), in the quoting that Compose's dotenv reader undoes.
    lines: BTreeMap<String, String>,
    /// The bare values, for redaction.
    values: BTreeMap<String, String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines.keys()).finish()
    }
}

impl Secrets {
    /// Secrets from parsed pairs.
    pub fn new(values: BTreeMap<String, String>) -> Self {
        let lines = values.iter().map(|(key, value)| (key.clone(), line(key, value))).collect();
        Self { lines, values }
    }

    /// The keys.
    pub fn keys(&self) -> BTreeSet<String> {
        self.lines.keys().cloned().collect()
    }

    /// The env file: one line per key, sorted. The only way a value leaves this type.
    pub fn render(&self) -> String {
        self.lines.values().map(|line| format!("{line}\n")).collect()
    }

    /// Key to its line in the env file, for keyed digests.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().map(|(key, line)| (key.as_str(), line.as_str()))
    }

    /// A text with every value of six characters or more replaced by `(sensitive)`. Shorter values
    /// (`on`, `5432`) would blank out ordinary words and protect nothing.
    pub fn redact(&self, text: &str) -> String {
        let mut values: Vec<&str> =
            self.values.values().map(String::as_str).filter(|value| value.len() >= 6).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        // A mark stands for what was there until all is replaced: no value is sought in its name.
        let text =
            values.into_iter().fold(text.to_owned(), |text, value| text.replace(value, "\u{1}"));
        text.replace('\u{1}', "(sensitive)")
    }
}

/// `KEY='value'`, or `KEY="value"` with escapes where the value holds a quote or a line break.
fn line(key: &str, value: &str) -> String {
    if !value.contains(['\'', '\n', '\r', '\\']) {
        return format!("{key}='{value}'");
    }
    let mut quoted = String::with_capacity(value.len() + 8);
    for character in value.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '"' | '\\' | '$' => quoted.extend(['\\', character]),
            other => quoted.push(other),
        }
    }
    format!("{key}=\"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_visible_in_the_rendered_file_alone() {
        let secrets = Secrets::new([("TOKEN".into(), "hunter2hunter2".into())].into());
        assert_eq!(secrets.render(), "TOKEN='hunter2hunter2'\n");
        assert!(!format!("{secrets:?}").contains("hunter2"));
        assert_eq!(secrets.redact("got hunter2hunter2!"), "got (sensitive)!");
    }

    #[test]
    fn a_longer_value_is_redacted_before_a_shorter_one_inside_it() {
        let values = [("A".into(), "abcdef".into()), ("B".into(), "abcdefgh".into())];
        assert_eq!(Secrets::new(values.into()).redact("abcdefgh"), "(sensitive)");
    }
}
