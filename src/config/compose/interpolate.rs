//! Variables in strings: `$NAME`, `${NAME:-default}` and their kin, as Compose's templates read them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use super::Variable;

/// References nest this deep at most; real ones nest twice.
const MAX_NESTING: usize = 64;
/// A string grows to this at most.
const MAX_OUTPUT: usize = 16 << 20;

/// Why a string can't be interpolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Not a template: `${`, `${1}`, `${A:x}`.
    Invalid(String),
    /// `${NAME:?message}` without a value.
    Required {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
    /// A value that can't stand inside a kept reference, because its braces or lines would end it.
    Unrepresentable(String),
    /// Nesting or size that no real file has.
    TooMuch,
}

/// What a piece of a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// Text to copy.
    Text(&'a str),
    /// `$$`.
    Escape,
    /// `$NAME` or `${NAME<op>argument}`.
    Reference { name: &'a str, operator: Option<(&'a str, &'a str)> },
    /// `${` that starts nothing valid.
    Invalid,
}

/// Splits a template into its pieces.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// The last `}` of the line that ends at `.1`; kept so that a long line is searched once.
    line: Option<(Option<usize>, usize)>,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: None }
    }

    /// The last `}` of the line around `at`, where it lies at or after `at`.
    fn last_brace(&mut self, at: usize) -> Option<usize> {
        let (brace, _) = match self.line {
            Some(line) if at <= line.1 => line,
            _ => {
                let end = self.text[at..].find('\n').map_or(self.text.len(), |n| at + n);
                let line = (self.text[at..end].rfind('}').map(|n| at + n), end);
                *self.line.insert(line)
            }
        };
        brace.filter(|brace| *brace >= at)
    }

    /// What stands after a `${` whose name starts at `start`; the piece and where it ends.
    fn braced(&mut self, start: usize) -> Option<(Token<'a>, usize)> {
        let text = self.text;
        let name = name_at(&text[start..])?;
        let after = start + name.len();
        let rest = &text[after..];
        let width = operator_width(rest);
        if width > 0
            && let Some(last) = self.last_brace(after + width)
        {
            let open = start - 2;
            // Compose takes the line's last brace, then looks for the one that balances.
            let close = closing_brace(&text[open..=last]).map_or(last, |n| open + n);
            if close < after + width {
                return None;
            }
            let operator = Some((&rest[..width], &text[after + width..close]));
            return Some((Token::Reference { name, operator }, close + 1));
        }
        rest.starts_with('}').then_some((Token::Reference { name, operator: None }, after + 1))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let (token, end) = match rest.find('$') {
            None => (Token::Text(rest), self.text.len()),
            Some(0) => {
                let next = &rest[1..];
                if next.starts_with('$') {
                    (Token::Escape, self.at + 2)
                } else if let Some(name) = name_at(next) {
                    (Token::Reference { name, operator: None }, self.at + 1 + name.len())
                } else if next.starts_with('{') {
                    self.braced(self.at + 2).unwrap_or((Token::Invalid, self.at + 2))
                } else {
                    (Token::Text("$"), self.at + 1)
                }
            }
            Some(text) => (Token::Text(&rest[..text]), self.at + text),
        };
        self.at = end;
        Some(token)
    }
}

/// The variable name that `text` starts with.
fn name_at(text: &str) -> Option<&str> {
    let len = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    (len > 0 && !text.as_bytes()[0].is_ascii_digit()).then(|| &text[..len])
}

/// How long the operator is that `text` starts with: `:-`, `-`, `:?`, `?`, `:+`, `+`.
fn operator_width(text: &str) -> usize {
    match text.as_bytes() {
        [b':', b'-' | b'+' | b'?', ..] => 2,
        [b'-' | b'+' | b'?', ..] => 1,
        _ => 0,
    }
}

/// The brace that closes the first one. Like Compose's own count, it passes over the character
/// after each opening brace, so `{}` never closes.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (0, 0i64);
    while at < bytes.len() {
        match bytes[at] {
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            b'{' => {
                open += 1;
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Replaces references in strings.
pub struct Interpolator<'a> {
    lookup: &'a dyn Fn(&str) -> Variable,
    template: bool,
    missing: RefCell<BTreeSet<String>>,
    reported: RefCell<BTreeSet<String>>,
}

impl<'a> Interpolator<'a> {
    /// Replaces every reference by its value.
    pub fn new(lookup: &'a dyn Fn(&str) -> Variable) -> Self {
        Self { lookup, template: false, missing: RefCell::default(), reported: RefCell::default() }
    }

    /// Writes strings that are templates themselves: what only the host knows stays a reference.
    pub fn template(lookup: &'a dyn Fn(&str) -> Variable) -> Self {
        Self { template: true, ..Self::new(lookup) }
    }

    /// Whether it writes templates for hosts.
    pub fn is_template(&self) -> bool {
        self.template
    }

    /// The unset variables that were replaced by nothing, each once; Compose warns about them.
    pub fn take_missing(&self) -> BTreeSet<String> {
        let mut missing = self.missing.take();
        let mut reported = self.reported.borrow_mut();
        missing.retain(|name| reported.insert(name.clone()));
        missing
    }

    /// Replaces the references in a string.
    pub fn substitute(&self, text: &str) -> Result<String, Problem> {
        Ok(self.nested(text, 0)?.text)
    }

    fn nested(&self, text: &str, depth: usize) -> Result<Written, Problem> {
        if depth > MAX_NESTING {
            return Err(Problem::TooMuch);
        }
        let mut out = Written { text: String::with_capacity(text.len()), kept: Vec::new() };
        for token in Tokens::new(text) {
            match token {
                // A lone `$` could meet a name once pieces are joined, so a template escapes it.
                Token::Text("$") if self.template => out.text.push_str("$$"),
                Token::Text(text) => out.text.push_str(text),
                Token::Escape => out.text.push_str(if self.template { "$$" } else { "$" }),
                Token::Invalid => return Err(Problem::Invalid(text.to_owned())),
                Token::Reference { name, operator } => {
                    self.reference(name, operator, depth, &mut out)?;
                }
            }
            if out.text.len() > MAX_OUTPUT {
                return Err(Problem::TooMuch);
            }
        }
        // What is kept must be read on the host as it was meant: braces of values, or of other
        // references on the line, can end it elsewhere.
        if self.template && kept(&out.text) != out.kept {
            let names = out.kept.first().map(|range| &out.text[range.start + 2..]);
            let name = names.and_then(name_at).unwrap_or_default();
            return Err(Problem::Unrepresentable(name.to_owned()));
        }
        Ok(out)
    }

    fn reference(
        &self,
        name: &str,
        operator: Option<(&str, &str)>,
        depth: usize,
        out: &mut Written,
    ) -> Result<(), Problem> {
        let value = (self.lookup)(name);
        let Some((operator, argument)) = operator else {
            match value {
                Variable::Value(value) => self.push(&value, &mut out.text),
                Variable::Host if self.template => out.keep(&format!("${{{name}}}")),
                Variable::Host | Variable::Unset => {
                    self.missing.borrow_mut().insert(name.to_owned());
                }
            }
            return Ok(());
        };
        // The argument is read even where it isn't used: so are errors in it.
        let argument = self.nested(argument, depth + 1)?;
        let value = match value {
            Variable::Host if self.template => {
                out.keep(&format!("${{{name}{operator}{}}}", argument.text));
                return Ok(());
            }
            Variable::Value(value) => Some(value),
            Variable::Host | Variable::Unset => None,
        };
        let strict = operator.starts_with(':');
        let present = value.as_deref().is_some_and(|value| !strict || !value.is_empty());
        match (operator.trim_start_matches(':'), present) {
            ("-", false) | ("+", true) => out.append(argument),
            ("?", false) => {
                return Err(Problem::Required { name: name.to_owned(), message: argument.text });
            }
            ("+", false) => {}
            _ => self.push(&value.unwrap_or_default(), &mut out.text),
        }
        Ok(())
    }

    fn push(&self, value: &str, out: &mut String) {
        match self.template {
            true => out.push_str(&escape(value)),
            false => out.push_str(value),
        }
    }
}

/// Text, and where in it the references are that were kept.
struct Written {
    text: String,
    kept: Vec<Range<usize>>,
}

impl Written {
    fn keep(&mut self, reference: &str) {
        let start = self.text.len();
        self.text.push_str(reference);
        self.kept.push(start..self.text.len());
    }

    fn append(&mut self, other: Written) {
        let start = self.text.len();
        self.text.push_str(&other.text);
        self.kept
            .extend(other.kept.into_iter().map(|range| start + range.start..start + range.end));
    }
}

/// Where a template's references are, as its next reader will see them.
fn kept(text: &str) -> Vec<Range<usize>> {
    let mut tokens = Tokens::new(text);
    let mut found = Vec::new();
    loop {
        let start = tokens.at;
        match tokens.next() {
            None => return found,
            Some(Token::Reference { .. } | Token::Invalid) => found.push(start..tokens.at),
            Some(Token::Text(_) | Token::Escape) => {}
        }
    }
}

/// A value as a template that stands for it.
pub fn escape(value: &str) -> String {
    value.replace('$', "$$")
}

/// Whether a string refers to a variable (or tries to).
pub fn has_reference(text: &str) -> bool {
    text.contains('$')
        && Tokens::new(text).any(|token| matches!(token, Token::Reference { .. } | Token::Invalid))
}

/// The names of the variables that a template mentions, in its defaults too.
pub fn names(text: &str, out: &mut BTreeSet<String>) {
    collect(text, out, 0);
}

fn collect(text: &str, out: &mut BTreeSet<String>, depth: usize) {
    if depth > MAX_NESTING || !text.contains('$') {
        return;
    }
    for token in Tokens::new(text) {
        if let Token::Reference { name, operator } = token {
            out.insert(name.to_owned());
            if let Some((_, argument)) = operator {
                collect(argument, out, depth + 1);
            }
        }
    }
}

/// The position of each byte of `text` that lies outside every reference and equals `wanted`.
pub(super) fn outside_references(text: &str, wanted: char) -> Vec<usize> {
    let mut tokens = Tokens::new(text);
    let mut found = Vec::new();
    loop {
        let start = tokens.at;
        match tokens.next() {
            None => return found,
            Some(Token::Text(piece)) => {
                found.extend(piece.match_indices(wanted).map(|(at, _)| start + at));
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Variable {
        match name {
            "A" => Variable::Value("a".to_owned()),
            "E" => Variable::Value(String::new()),
            "D" => Variable::Value("$5".to_owned()),
            "B" => Variable::Value("a}b".to_owned()),
            "H" | "DB_PASSWORD" => Variable::Host,
            _ => Variable::Unset,
        }
    }

    fn full(text: &str) -> Result<String, Problem> {
        Interpolator::new(&lookup).substitute(text)
    }

    fn template(text: &str) -> Result<String, Problem> {
        Interpolator::template(&lookup).substitute(text)
    }

    #[test]
    fn every_form_follows_compose() {
        let cases = [
            ("$A ${A} $$A $1 $", "a a $A $1 $"),
            ("${E:-d}${E-d}${U:-d}${U-d}", "ddd".trim_start_matches('x')),
            ("${A:+x}${E:+x}${E+x}${U+x}", "xx"),
            ("${A:?no}${E?no}", "a"),
            ("${U:-${V:-${A}}}", "a"),
            ("${U:-{}}", "{}"),
            ("${U:-a}b}", "ab}"),
            ("${U:-$A}-${U-b}", "a-b"),
            ("$Ab$é", "$é"),
            ("${U:-a:-b}", "a:-b"),
        ];
        for (text, expected) in cases {
            assert_eq!(full(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${", "${}", "${1}", "${A", "${A:x}", "${U:-a\nb}", "${U:-${}}"] {
            assert!(matches!(full(text), Err(Problem::Invalid(_))), "{text}");
        }
        let required = Problem::Required { name: "U".to_owned(), message: "say a".to_owned() };
        assert_eq!(full("${U?say $A}"), Err(required.clone()));
        assert_eq!(full("${A:-${U?say a}}"), Err(required));
    }

    #[test]
    fn templates_keep_what_only_the_host_knows() {
        let cases = [
            ("$H", "${H}"),
            ("${DB_PASSWORD:?set it}", "${DB_PASSWORD:?set it}"),
            ("${H:-$A}", "${H:-a}"),
            ("${H:-${H}}", "${H:-${H}}"),
            ("$$H $D $1", "$$H $$5 $$1"),
            ("${U:-$H}", "${H}"),
            ("${A:+$H}", "${H}"),
            ("${A:-$H}", "a"),
            ("${U:-x$}A", "x$$A"),
        ];
        for (text, expected) in cases {
            assert_eq!(template(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${H:-$B}", "${H-{x:{}}} $H"] {
            assert_eq!(template(text), Err(Problem::Unrepresentable("H".to_owned())), "{text}");
        }
        assert_eq!(template("${H:-{}}").as_deref(), Ok("${H:-{}}"));
    }

    #[test]
    fn missing_variables_and_mentions_are_known() {
        let interpolator = Interpolator::new(&lookup);
        assert_eq!(interpolator.substitute("$U ${V:-} ${W}").as_deref(), Ok("  "));
        assert_eq!(interpolator.take_missing().into_iter().collect::<Vec<_>>(), ["U", "W"]);
        let mut found = BTreeSet::new();
        names("$A ${B:-${C}} $$D", &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["A", "B", "C"]);
        assert!(has_reference("a${B}") && !has_reference("a$$B $1"));
        assert_eq!(outside_references("${A:-b:c}:d:e", ':'), [9, 11]);
    }

    #[test]
    fn long_and_deep_strings_take_bounded_time() {
        assert_eq!(full(&"${U:-}".repeat(200_000)).as_deref(), Ok(""));
        let deep = format!("{}x{}", "${U:-".repeat(10_000), "}".repeat(10_000));
        assert_eq!(full(&deep), Err(Problem::TooMuch));
        assert!(full(&"${".repeat(100_000)).is_err());
    }
}
