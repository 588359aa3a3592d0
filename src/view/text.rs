//! Text from outside made fit to print: control characters shown instead of obeyed, long values
//! cut, and pieces laid out in columns.

use std::borrow::Cow;

use serde_json::Value;

/// Longest value that a text shows whole, in characters. JSON always has all of it.
pub const LONGEST: usize = 200;

/// Whether a character can move a cursor, change colours, or reorder what is read.
pub fn drives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| drives(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if drives(c) && !keep(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// A text from outside for one line: every control character is escaped.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Lines from outside (a log, a diff, a command's words), each fit to print. Colours that a log
/// line brings are dropped; anything else that could drive the terminal is escaped.
pub fn block(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|one| {
        let one = one.trim_end_matches('\r');
        escaped(&without_colors(one), |c| c == '\t').into_owned()
    })
}

/// Drops the sequences `ESC [ … m`, which only colour.
fn without_colors(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        let (before, sequence) = rest.split_at(at);
        clean.push_str(before);
        let body = &sequence[2..];
        let end = body.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':');
        match end {
            Some(end) if body[end..].starts_with('m') => rest = &body[end + 1..],
            _ => {
                clean.push_str("\u{1b}[");
                rest = body;
            }
        }
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// A value as a text shows it: compact JSON.
pub fn value(value: &Value) -> String {
    line(&value.to_string()).into_owned()
}

/// How many columns a text takes, near enough: one each character.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// The text, with spaces after it up to a width.
pub fn pad(text: &str, to: usize) -> String {
    let spaces = to.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(spaces))
}

/// A text cut to so many characters, the last of them an ellipsis.
pub fn fit(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A long value without its middle or end; `from` is where the reader's interest begins.
pub fn elide(text: &str, from: usize) -> String {
    let length = width(text);
    if length <= LONGEST {
        return text.to_owned();
    }
    // A few characters of what both values share stand before the first difference.
    let start = if from + 40 < LONGEST { 0 } else { (from - 40).min(length - LONGEST / 2) };
    let shown: String = text.chars().skip(start).take(LONGEST - 40).collect();
    let left = length - start - width(&shown);
    let before = if start > 0 { "… " } else { "" };
    let after = if left > 0 { " …" } else { "" };
    format!("{before}{shown}{after} ({length} characters)")
}

/// Two values, both shortened around the place where they begin to differ.
pub fn elide_pair(before: &str, after: &str) -> (String, String) {
    let same = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    (elide(before, same), elide(after, same))
}

/// Names in a row: `a, b and c`.
pub fn listing<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<S> = names.into_iter().collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", most.join(", "), last.as_ref())
        }
    }
}

/// Names in a row with commas, the far ones counted: `a, b, c and 4 more`.
pub fn some<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    const MOST: usize = 5;
    let names: Vec<String> = names.into_iter().map(|name| line(name.as_ref()).into()).collect();
    if names.len() <= MOST + 1 {
        return names.join(", ");
    }
    format!("{} and {} more", names[..MOST].join(", "), names.len() - MOST)
}

/// A number with its noun: `1 host`, `2 hosts`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_drive_a_terminal_is_shown_instead() {
        assert_eq!(line("api\u{1b}[2J\u{7}\n\u{9b}K"), r"api\u{1b}[2J\u{7}\n\u{9b}K");
        assert_eq!(line("a\u{202e}b"), r"a\u{202e}b");
        assert_eq!(line("größer → 日本"), "größer → 日本");
    }

    #[test]
    fn logs_lose_their_colours_and_nothing_else() {
        let log = "\u{1b}[1;31merror\u{1b}[0m:\tport\r\n\u{1b}]0;title\u{7}\u{1b}[31\u{1b}[5A";
        let lines: Vec<String> = block(log).collect();
        assert_eq!(lines, ["error:\tport", r"\u{1b}]0;title\u{7}\u{1b}[31\u{1b}[5A"]);
    }

    #[test]
    fn a_long_value_is_shown_where_it_differs() {
        let one = format!("{}one{}", "a".repeat(300), "b".repeat(300));
        let two = format!("{}two{}", "a".repeat(300), "b".repeat(300));
        let (before, after) = elide_pair(&one, &two);
        assert!(before.contains("one") && after.contains("two"));
        assert!(width(&before) < LONGEST && before.ends_with("… (603 characters)"), "{before}");
        assert_eq!(elide_pair("short", &two).0, "short");
        assert!(elide(&one, 0).starts_with("aaa"));
        assert!(elide(&one, 600).contains("bbb"));
    }

    #[test]
    fn names_in_a_row() {
        assert_eq!(listing(["a"]), "a");
        assert_eq!(listing(["a", "b", "c"]), "a, b and c");
        assert_eq!(some(["a", "b"]), "a, b");
        assert_eq!(some(["1", "2", "3", "4", "5", "6", "7"]), "1, 2, 3, 4, 5 and 2 more");
        assert_eq!(fit("abcdef", 4), "abc…");
    }
}
