//! Env files: `NAME=value` lines with Compose's own quoting, `export`, comments and references.
//!
//! Values may be secrets, so an error names the file and the line and never quotes what is there.

use std::collections::{BTreeMap, BTreeSet};

use super::Variable;
use super::interpolate::{Interpolator, Problem};
use crate::config::diagnostic::Diagnostic;

/// How values refer to other variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// References are replaced.
    #[default]
    Full,
    /// Values become templates: what only the host knows stays a reference.
    Template,
    /// As `Full`, but what would silently be another value than the one that somebody meant is refused:
    /// references to what nobody sets, names without a value, values without a name.
    Strict,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The variables.
    pub variables: BTreeMap<String, String>,
    /// Variables that values refer to and nobody sets.
    pub missing: BTreeSet<String>,
}

/// Reads a file whose values may refer to `lookup`'s variables and to earlier lines.
pub fn parse(
    name: &str,
    bytes: &[u8],
    lookup: &dyn Fn(&str) -> Variable,
    style: Style,
) -> Result<Parsed, Box<Diagnostic>> {
    let mut parsed = Parsed::default();
    parse_into(name, bytes, lookup, style, &mut parsed)?;
    Ok(parsed)
}

/// Reads a file on top of what earlier files said.
pub fn parse_into(
    name: &str,
    bytes: &[u8],
    lookup: &dyn Fn(&str) -> Variable,
    style: Style,
    parsed: &mut Parsed,
) -> Result<(), Box<Diagnostic>> {
    let text = utf8(name, bytes)?;
    let mut reader = Reader { name, rest: text, line: 1, style };
    while reader.skip_to_statement() {
        let (key, inherited) = reader.key()?;
        if inherited {
            if let Variable::Value(value) = lookup(&key) {
                let value = match style {
                    Style::Full | Style::Strict => value,
                    Style::Template => super::interpolate::escape(&value),
                };
                parsed.variables.insert(key, value);
            }
        } else {
            let value = reader.value(lookup, parsed)?;
            parsed.variables.insert(key, value);
        }
    }
    Ok(())
}

/// Reads a file of format `raw`: lines as they stand, as `docker run --env-file` takes them.
pub fn parse_raw(
    name: &str,
    bytes: &[u8],
    lookup: &dyn Fn(&str) -> Variable,
) -> Result<BTreeMap<String, String>, Box<Diagnostic>> {
    let mut variables = BTreeMap::new();
    for (index, line) in utf8(name, bytes)?.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (line, None),
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(problem(name, index + 1, "not a variable name before the `=`"));
        }
        let value = match (value, lookup(key)) {
            (Some(value), _) | (None, Variable::Value(value)) => value,
            (None, Variable::Unset | Variable::Host) => continue,
        };
        variables.insert(key.to_owned(), value);
    }
    Ok(variables)
}

fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Box<Diagnostic>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            Err(problem(name, line + 1, "not UTF-8 text"))
        }
    }
}

fn problem(name: &str, line: usize, what: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("compose::env-file", format!("{name}, line {line}: {what}")))
}

struct Reader<'a> {
    name: &'a str,
    rest: &'a str,
    line: usize,
    style: Style,
}

impl Reader<'_> {
    fn problem(&self, what: &str) -> Box<Diagnostic> {
        problem(self.name, self.line, what)
    }

    /// Passes over blank space and comments; whether anything is left.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            let text = self.rest.trim_start();
            self.line += self.rest[..self.rest.len() - text.len()].matches('\n').count();
            self.rest = text;
            if !text.starts_with('#') {
                return !text.is_empty();
            }
            self.rest = text.find('\n').map_or("", |end| &text[end..]);
        }
    }

    /// The name before `=` (or `:`); whether the line has a name alone.
    fn key(&mut self) -> Result<(String, bool), Box<Diagnostic>> {
        let mut text = self.rest;
        if let Some(after) = text.strip_prefix("export")
            && after.starts_with(char::is_whitespace)
        {
            text = after.trim_start_matches(is_blank);
        }
        let mut end = None;
        for (at, c) in text.char_indices() {
            match c {
                '=' | ':' | '\n' => {
                    end = Some((at, c));
                    break;
                }
                '_' | '.' | '-' | '[' | ']' => {}
                c if is_blank(c) || c.is_alphanumeric() => {}
                _ => return Err(self.problem("not a variable name at the start of the line")),
            }
        }
        // A last line without `=` and without a line break: a value that belongs to no name.
        let Some((end, separator)) = end else {
            if self.style == Style::Strict {
                return Err(self.problem("there is no `=` in this line"));
            }
            self.rest = text.trim_start_matches(is_blank);
            return Ok((String::new(), false));
        };
        let key = text[..end].trim_end();
        if key.contains(' ') {
            return Err(self.problem("a variable name with a space in it"));
        }
        let inherited = separator == '\n';
        if self.style == Style::Strict && (inherited || key.is_empty()) {
            let what =
                if inherited { "there is no `=` in this line" } else { "no name before the `=`" };
            return Err(self.problem(what));
        }
        self.line += usize::from(inherited);
        self.rest = text[end + 1..].trim_start_matches(is_blank);
        Ok((key.to_owned(), inherited))
    }

    fn value(
        &mut self,
        lookup: &dyn Fn(&str) -> Variable,
        parsed: &mut Parsed,
    ) -> Result<String, Box<Diagnostic>> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            let value = line.split_once(" #").map_or(line, |(value, _)| value).trim_end();
            let value = self.expand(value, lookup, parsed);
            self.line += 1;
            return value;
        };
        let start = self.line;
        let mut value = String::new();
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            self.line += usize::from(c == '\n');
            if c == quote && !escaped {
                self.rest = &self.rest[at + 1..];
                return match quote {
                    '"' => self.expand(&unescape(&value), lookup, parsed),
                    _ => Ok(value),
                };
            }
            if c == '\\' && !escaped {
                escaped = true;
                continue;
            }
            if escaped && c != quote {
                value.push('\\');
            }
            escaped = false;
            value.push(c);
        }
        Err(problem(self.name, start, "the quotes of this value are never closed"))
    }

    fn expand(
        &self,
        value: &str,
        lookup: &dyn Fn(&str) -> Variable,
        parsed: &mut Parsed,
    ) -> Result<String, Box<Diagnostic>> {
        if !value.contains('$') {
            return Ok(value.to_owned());
        }
        let missing = {
            let known = |name: &str| match (lookup(name), parsed.variables.get(name)) {
                (Variable::Unset, Some(value)) => Variable::Value(value.clone()),
                (found, _) => found,
            };
            let interpolator = match self.style {
                Style::Full | Style::Strict => Interpolator::new(&known),
                Style::Template => Interpolator::template(&known),
            };
            let value = interpolator.substitute(value).map_err(|problem| match problem {
                Problem::Required { name, .. } => {
                    self.problem(&format!("the variable `{name}` is required but has no value"))
                }
                Problem::Invalid(_) => self.problem("`$` starts no valid reference; write `$$`"),
                Problem::Unrepresentable(_) | Problem::TooMuch => {
                    self.problem("the references in this value can't be resolved")
                }
            })?;
            (interpolator.take_missing(), value)
        };
        let (missing, value) = missing;
        if self.style == Style::Strict && !missing.is_empty() {
            return Err(self.problem(
                "`$` refers to a variable that no line before sets; write `$$`, or put the value into single quotes",
            ));
        }
        parsed.missing.extend(missing);
        Ok(value)
    }
}

/// White space that doesn't end a line.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

/// The escapes of double quotes; `\$` becomes `$$`, which the references' reader understands.
fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let plain = match c {
            'a' => "\u{7}",
            'b' => "\u{8}",
            'f' => "\u{c}",
            'n' => "\n",
            'r' => "\r",
            't' => "\t",
            'v' => "\u{b}",
            '\\' => "\\",
            '"' => "\"",
            '$' => "$$",
            '0' => {
                let digits = rest.bytes().skip(1).take(3).take_while(u8::is_ascii_digit).count();
                let octal =
                    (digits == 3).then(|| u32::from_str_radix(&rest[1..4], 8).ok()).flatten();
                match octal.filter(|code| *code < 256).and_then(char::from_u32) {
                    Some(c) => out.push(c),
                    // Compose drops the zero even where what is left is no escape.
                    None => {
                        out.push('\\');
                        out.push_str(&rest[1..=digits]);
                    }
                }
                rest = &rest[1 + digits..];
                continue;
            }
            _ => {
                out.push('\\');
                continue;
            }
        };
        out.push_str(plain);
        rest = &rest[c.len_utf8()..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let lookup = |name: &str| match name {
            "OUT" => Variable::Value("o$o".to_owned()),
            "HOST" => Variable::Host,
            _ => Variable::Unset,
        };
        let parsed = parse("x.env", text.as_bytes(), &lookup, Style::Full);
        parsed.map(|parsed| parsed.variables.into_iter().collect()).map_err(|e| e.to_string())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn forms() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("A=1\nB: 2\n", &[("A", "1"), ("B", "2")]),
            ("export A = x y # c\n# d\nB=#e\n", &[("A", "x y"), ("B", "#e")]),
            ("A='$B\\n' # x\nB=\"l1\nl2\\n$A\"\n", &[("A", "$B\\n"), ("B", "l1\nl2\n$B\\n")]),
            ("A=1\nB=${A}2${C:-d}\n", &[("A", "1"), ("B", "12d")]),
            ("A=\"\\$x \\\" \\0101 \\q\"\n", &[("A", "$x \" A \\q")]),
            ("OUT\nNONE\nA=$OUT\n", &[("A", "o$o"), ("OUT", "o$o")]),
            ("A=\"x\"B=2\n", &[("A", "x"), ("B", "2")]),
            ("A=\n\nB=''\r\n", &[("A", ""), ("B", "")]),
            ("\u{feff}A=1", &[("A", "1")]),
            ("A.b-c[0]=1\n", &[("A.b-c[0]", "1")]),
            ("A=\"ends\\\\\"\n", &[("A", "ends\\")]),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), Ok(pairs(expected)), "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_line_and_never_the_value() {
        let cases = [
            ("A=1\nB C=s3cret\n", "x.env, line 2: a variable name with a space in it"),
            ("A=1\n\ns3cret!=1\n", "x.env, line 3: not a variable name at the start of the line"),
            ("A=\"s3cret\nmore\n", "x.env, line 1: the quotes of this value are never closed"),
            ("A=${s3cret\n", "x.env, line 1: `$` starts no valid reference; write `$$`"),
            ("#\nA=${B:?s3cret}\n", "x.env, line 2: the variable `B` is required but has no value"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap_err(), expected);
        }
        let error = parse("x.env", b"A=1\nB=\xff", &|_| Variable::Unset, Style::Full).unwrap_err();
        assert_eq!(error.to_string(), "x.env, line 2: not UTF-8 text");
    }

    #[test]
    fn a_strict_file_says_what_it_means() {
        let read = |text: &str| parse("x", text.as_bytes(), &|_| Variable::Unset, Style::Strict);
        let parsed = read("A=1\nB=a$$b$A'\nC='hunter2$x'\n").unwrap();
        assert_eq!((&*parsed.variables["B"], &*parsed.variables["C"]), ("a$b1'", "hunter2$x"));
        for text in
            ["A=hunter2$s3cret\n", "A=1\ns3cret", "s3cret\nA=1\n", "=s3cret\n", "A=\"${s3cret}\""]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("x, line ") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn templates_and_raw_files() {
        let lookup = |name: &str| match name {
            "HOST" => Variable::Host,
            _ => Variable::Unset,
        };
        let parsed = parse("x.env", b"A=$HOST$$\nB=$NO\n", &lookup, Style::Template).unwrap();
        assert_eq!(parsed.variables["A"], "${HOST}$$");
        assert!(parsed.missing.contains("NO"));
        let raw = parse_raw("x.env", b"# c\n A='b' # c\nHOST\n", &lookup).unwrap();
        assert_eq!(raw.into_iter().collect::<Vec<_>>(), pairs(&[("A", "'b' # c")]));
        assert!(parse_raw("x.env", b"A B=c\n", &lookup).is_err());
    }
}
