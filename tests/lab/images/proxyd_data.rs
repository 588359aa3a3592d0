//! Data as the proxy reads it: JSON, and YAML as people and programs mostly write it (block and flow
//! collections, comments, plain and quoted strings, `|` and `>` texts). No anchors, tags or documents.

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Data>),
    Map(Vec<(String, Data)>),
}

impl Data {
    pub fn get(&self, key: &str) -> Option<&Data> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub fn at(&self, path: &[&str]) -> Option<&Data> {
        path.iter().try_fold(self, |data, key| data.get(key))
    }

    pub fn entries(&self) -> &[(String, Data)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Data] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn texts(&self) -> Vec<String> {
        self.items().iter().filter_map(|item| item.text().map(str::to_owned)).collect()
    }

    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub fn json(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(on) => on.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => quoted(text),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::json).collect::<Vec<_>>().join(","))
            }
            Self::Map(entries) => {
                let entry =
                    |(name, value): &(String, Self)| format!("{}:{}", quoted(name), value.json());
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<String>> for Data {
    fn from(texts: Vec<String>) -> Self {
        Self::List(texts.into_iter().map(Self::Text).collect())
    }
}

pub fn map(entries: impl IntoIterator<Item = (&'static str, Data)>) -> Data {
    Data::Map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Reads one document; a JSON document is one of YAML's.
pub fn parse(text: &str) -> Result<Data, String> {
    let mut start = text.trim_start();
    while start.starts_with('#') {
        start = start.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
    }
    if start.starts_with(['{', '[']) {
        let mut flow = Flow { text: start, at: 0 };
        let data = flow.value()?;
        flow.space();
        return match flow.rest() {
            "" => Ok(data),
            rest => Err(format!("not expected: {:?}", rest.lines().next().unwrap_or(""))),
        };
    }
    let mut lines = Vec::new();
    for (number, raw) in text.lines().enumerate() {
        lines.push(Line { number: number + 1, raw });
    }
    let mut block = Block { lines, at: 0 };
    match block.peek() {
        None => Ok(Data::Null),
        Some((indent, _)) => {
            let data = block.value(indent)?;
            match block.peek() {
                None => Ok(data),
                Some(_) => block.fail("not expected"),
            }
        }
    }
}

// ---- block style --------------------------------------------------------------------------------

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    raw: &'a str,
}

struct Block<'a> {
    lines: Vec<Line<'a>>,
    at: usize,
}

impl<'a> Block<'a> {
    fn fail<T>(&self, what: &str) -> Result<T, String> {
        let line = self.lines.get(self.at.min(self.lines.len().saturating_sub(1)));
        Err(format!("line {}: {what}", line.map_or(0, |line| line.number)))
    }

    /// The next line with content: its indentation and the content without a comment.
    fn peek(&mut self) -> Option<(usize, &'a str)> {
        while let Some(line) = self.lines.get(self.at) {
            let content = without_comment(line.raw);
            if !content.trim().is_empty() && content.trim() != "---" {
                let indent = content.len() - content.trim_start_matches(' ').len();
                return Some((indent, content.trim()));
            }
            self.at += 1;
        }
        None
    }

    fn value(&mut self, indent: usize) -> Result<Data, String> {
        match self.peek() {
            Some((_, content)) if content == "-" || content.starts_with("- ") => self.list(indent),
            Some((_, content)) if split_key(content).is_some() => self.map(indent),
            Some((_, content)) => {
                self.at += 1;
                scalar(content)
            }
            None => Ok(Data::Null),
        }
    }

    fn list(&mut self, indent: usize) -> Result<Data, String> {
        let mut items = Vec::new();
        while let Some((i, content)) = self.peek() {
            if i != indent || !(content == "-" || content.starts_with("- ")) {
                break;
            }
            let rest = content[1..].trim_start();
            if rest.is_empty() {
                self.at += 1;
                items.push(self.below(indent + 1)?);
            } else if split_key(rest).is_some() || rest.starts_with("- ") {
                // `- a: 1` is a mapping that begins where `a` is.
                let inner = indent + (content.len() - rest.len());
                let raw = self.lines[self.at].raw;
                let blank = " ".repeat(inner);
                let line = format!("{blank}{}", &raw[inner..]);
                self.lines[self.at].raw = Box::leak(line.into_boxed_str());
                items.push(self.value(inner)?);
            } else {
                items.push(self.scalar_or_text(rest, indent)?);
            }
        }
        Ok(Data::List(items))
    }

    fn map(&mut self, indent: usize) -> Result<Data, String> {
        let mut entries: Vec<(String, Data)> = Vec::new();
        while let Some((i, content)) = self.peek() {
            if i != indent {
                break;
            }
            let Some((key, rest)) = split_key(content) else {
                return self.fail("a key is expected");
            };
            let key = match scalar(key)? {
                Data::Text(text) => text,
                other => other.json(),
            };
            if entries.iter().any(|(known, _)| *known == key) {
                return self.fail(&format!("`{key}` is there already"));
            }
            let value = if rest.is_empty() {
                self.at += 1;
                match self.peek() {
                    // A list may be as far out as its key.
                    Some((i, c)) if i == indent && (c == "-" || c.starts_with("- ")) => {
                        self.list(indent)?
                    }
                    _ => self.below(indent + 1)?,
                }
            } else {
                self.scalar_or_text(rest, indent)?
            };
            entries.push((key, value));
        }
        match self.peek() {
            Some((i, _)) if i > indent => self.fail("indented too far"),
            _ => Ok(Data::Map(entries)),
        }
    }

    /// A value on lines of its own, indented by `least` or more.
    fn below(&mut self, least: usize) -> Result<Data, String> {
        match self.peek() {
            Some((indent, _)) if indent >= least => self.value(indent),
            _ => Ok(Data::Null),
        }
    }

    fn scalar_or_text(&mut self, rest: &str, indent: usize) -> Result<Data, String> {
        self.at += 1;
        let Some(header) = rest.strip_prefix(['|', '>']) else { return scalar(rest) };
        let mut lines: Vec<&str> = Vec::new();
        let mut inner = None;
        while let Some(line) = self.lines.get(self.at) {
            let blank = line.raw.trim().is_empty();
            let depth = line.raw.len() - line.raw.trim_start_matches(' ').len();
            if !blank && depth <= indent {
                break;
            }
            if !blank {
                inner.get_or_insert(depth);
            }
            lines.push(line.raw.get(inner.unwrap_or(depth)..).unwrap_or(""));
            self.at += 1;
        }
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        let mut text = lines.join(if rest.starts_with('>') { " " } else { "\n" });
        if !header.contains('-') {
            text.push('\n');
        }
        Ok(Data::Text(text))
    }
}

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before == ' ' => return &line[..at],
            (None, '"' | '\'') if matches!(before, ' ' | '[' | '{' | ',' | ':') => quote = Some(c),
            (Some('"'), '\\') if before == '\\' => {
                before = ' ';
                continue;
            }
            (Some(q), c) if c == q && before != '\\' => quote = None,
            _ => {}
        }
        before = c;
    }
    line
}

/// `key: rest`, where the key may be quoted.
fn split_key(content: &str) -> Option<(&str, &str)> {
    if content.starts_with(['{', '[']) {
        return None;
    }
    let from = match content.chars().next()? {
        quote @ ('"' | '\'') => 1 + content[1..].find(quote)? + 1,
        _ => 0,
    };
    let rest = &content[from..];
    let at = from + rest.find(": ").or_else(|| rest.ends_with(':').then(|| rest.len() - 1))?;
    Some((content[..at].trim(), content[at + 1..].trim()))
}

fn scalar(text: &str) -> Result<Data, String> {
    if text.starts_with(['{', '[', '"', '\'']) {
        let mut flow = Flow { text, at: 0 };
        let data = flow.value()?;
        flow.space();
        return match flow.rest() {
            "" => Ok(data),
            rest => Err(format!("not expected: {rest:?}")),
        };
    }
    Ok(plain(text))
}

fn plain(text: &str) -> Data {
    match text {
        "" | "~" | "null" => Data::Null,
        "true" => Data::Bool(true),
        "false" => Data::Bool(false),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            text.parse().map_or_else(|_| text.into(), Data::Number)
        }
        _ => text.into(),
    }
}

// ---- flow style: JSON and its relatives ---------------------------------------------------------

struct Flow<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Flow<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, c: char) -> bool {
        self.space();
        let there = self.rest().starts_with(c);
        self.at += if there { c.len_utf8() } else { 0 };
        there
    }

    fn value(&mut self) -> Result<Data, String> {
        self.space();
        match self.rest().chars().next() {
            Some('{') => {
                self.at += 1;
                let mut entries = Vec::new();
                while !self.take('}') {
                    let Data::Text(key) = self.value()? else {
                        return Err("a key is expected".into());
                    };
                    if !self.take(':') {
                        return Err(format!("no `:` behind {key:?}"));
                    }
                    entries.push((key, self.value()?));
                    if !self.take(',') && !self.rest().starts_with('}') {
                        return Err("no `}`".into());
                    }
                }
                Ok(Data::Map(entries))
            }
            Some('[') => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.take(']') {
                    items.push(self.value()?);
                    if !self.take(',') && !self.rest().starts_with(']') {
                        return Err("no `]`".into());
                    }
                }
                Ok(Data::List(items))
            }
            Some(quote @ ('"' | '\'')) => {
                self.at += 1;
                self.string(quote).map(Data::Text)
            }
            Some(_) => {
                let rest = self.rest();
                let end = rest.find([',', ']', '}', '\n']).unwrap_or(rest.len());
                let end = rest[..end].find(": ").unwrap_or(end);
                self.at += end;
                Ok(plain(rest[..end].trim()))
            }
            None => Err("the text ends too early".into()),
        }
    }

    fn string(&mut self, quote: char) -> Result<String, String> {
        let mut out = String::new();
        loop {
            match self.next().ok_or("a string does not end")? {
                '\'' if quote == '\'' && self.rest().starts_with('\'') => {
                    self.at += 1;
                    out.push('\'');
                }
                c if c == quote => return Ok(out),
                '\\' if quote == '"' => match self.next().ok_or("a string does not end")? {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    'b' => out.push('\u{8}'),
                    'f' => out.push('\u{c}'),
                    'x' => out.push(self.hex(2)?),
                    'u' => out.push(self.hex(4)?),
                    'U' => out.push(self.hex(8)?),
                    c => out.push(c),
                },
                c => out.push(c),
            }
        }
    }

    fn hex(&mut self, digits: usize) -> Result<char, String> {
        let code = self.rest().get(..digits).ok_or("a string does not end")?;
        self.at += digits;
        let code = u32::from_str_radix(code, 16).map_err(|e| e.to_string())?;
        Ok(char::from_u32(code).unwrap_or('\u{fffd}'))
    }
}
