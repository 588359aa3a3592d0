//! Text into nodes: the parser's events, with anchors, aliases and merges resolved and every
//! hostile size refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use libyaml_safer::{Event, EventData, Mark, Parser, ScalarStyle};

use super::{Entry, MAX_BYTES, MAX_DEPTH, MAX_NODES, Map, Node, Tag, Value, scalar};
use crate::config::diagnostic::{Diagnostic, Source, Span};

/// The most text that a file may stand for once its aliases are expanded.
const MAX_EXPANDED_BYTES: usize = 4 * MAX_BYTES;
/// Reporting stops here: nobody reads more, and each report carries its file.
const MAX_PROBLEMS: usize = 20;

/// Turns a file's bytes into a source, refusing what is not UTF-8 or too large to be meant.
pub fn source(name: &str, bytes: Vec<u8>) -> Result<Arc<Source>, Box<Diagnostic>> {
    if bytes.len() > MAX_BYTES {
        let message = format!("{name} is larger than {} MiB", MAX_BYTES >> 20);
        return Err(Box::new(Diagnostic::error("yaml::too-large", message)));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Arc::new(Source { name: name.to_owned(), text })),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let before = &error.as_bytes()[..valid];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            Err(Box::new(
                Diagnostic::error(
                    "yaml::not-utf8",
                    format!("{name} is not UTF-8 text (line {line}, byte {column} of the line)"),
                )
                .help("save the file as UTF-8"),
            ))
        }
    }
}

/// Parses the documents of a source, reporting as many problems as can be found.
pub fn parse(source: &Arc<Source>) -> Result<Vec<Node>, Vec<Diagnostic>> {
    match parse_all(source) {
        (documents, problems) if problems.is_empty() => Ok(documents),
        (_, problems) => Err(problems),
    }
}

/// Parses as [`parse`] does, and returns what could be read in spite of problems, so that whoever
/// reads the data can report theirs in the same run.
pub fn parse_all(source: &Arc<Source>) -> (Vec<Node>, Vec<Diagnostic>) {
    if source.text.len() > MAX_BYTES {
        let message = format!("{} is larger than {} MiB", source.name, MAX_BYTES >> 20);
        return (Vec::new(), vec![Diagnostic::error("yaml::too-large", message)]);
    }
    let start = if source.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let text = &source.text[start..];
    if let Some(stop) = empty_tag(source, start) {
        return (Vec::new(), vec![*stop]);
    }
    // The parser can't end inside a block of text, so the last line gets its break; the block
    // that it ends doesn't keep it.
    let last = text.rsplit('\n').next().unwrap_or_default();
    let unended = (!last.trim().is_empty()).then_some(start + text.len());
    let whole = format!("{text}\n");
    let mut input = whole.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    parser.set_encoding(libyaml_safer::Encoding::Utf8);
    let mut builder = Builder {
        parser,
        source,
        start,
        unended,
        anchors: HashMap::new(),
        open: HashSet::new(),
        nodes: 0,
        bytes: 0,
        problems: Vec::new(),
    };
    // The parser is another's, and guards some of its own rules with panics.
    let stream = std::panic::AssertUnwindSafe(|| builder.stream());
    match std::panic::catch_unwind(stream) {
        Ok(Ok(documents)) => (documents, builder.problems),
        Ok(Err(stop)) => {
            builder.problems.push(*stop);
            (Vec::new(), builder.problems)
        }
        Err(_) => {
            let message = format!("{} is not YAML that can be read", source.name);
            (Vec::new(), vec![Diagnostic::error("yaml::syntax", message)])
        }
    }
}

/// `[!tag, …]`, a tag with nothing behind it, which the parser can't take. The same characters may
/// stand in quotes or comments, so a copy without the tags tells whether a value begins there.
fn empty_tag(source: &Arc<Source>, start: usize) -> Option<Stop> {
    let text = &source.text.as_bytes()[start..];
    // Within a word `!` is only a character.
    let begins = |at: usize| at == 0 || !text[at - 1].is_ascii_alphanumeric();
    let ends = |at: usize| {
        let stop = |byte: &u8| b" \t\r\n[]{},".contains(byte);
        text[at..].iter().find(|byte| stop(byte)) == Some(&b',')
    };
    let marks = text.iter().enumerate().filter(|(_, byte)| **byte == b'!');
    let places: HashSet<usize> =
        marks.map(|(at, _)| at).filter(|at| begins(*at) && ends(*at)).collect();
    if places.is_empty() {
        return None;
    }
    let mut copy = text.to_vec();
    for at in &places {
        // A tag's own marks go with it; quotes stay, for they may end a text.
        let word = copy[*at..].iter_mut().take_while(|byte| **byte != b',');
        word.filter(|byte| b"!%<>&*|@`".contains(byte)).for_each(|byte| *byte = b'x');
    }
    copy.push(b'\n');
    let mut input = &copy[..];
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    parser.set_encoding(libyaml_safer::Encoding::Utf8);
    let stop = |message: &str, at: usize| {
        let at = start + at;
        let span = Span::new(source, at..at + 1);
        Box::new(Diagnostic::error("yaml::tag", message).at(&span, "here"))
    };
    loop {
        let event = match parser.parse() {
            Ok(event) => event,
            Err(error) => {
                let at = error.problem_mark().map_or(0, |mark| mark.index as usize);
                let at = (0..=at.min(text.len()))
                    .rev()
                    .find(|at| *at < text.len() && source.text.is_char_boundary(start + at));
                let message = format!("{} is not valid YAML: {}", source.name, error.problem());
                return Some(stop(&message, at.unwrap_or_default()));
            }
        };
        match event.data {
            EventData::StreamEnd => return None,
            EventData::Scalar { style: ScalarStyle::Plain, .. } => {
                let (from, to) = (event.start_mark.index as usize, event.end_mark.index as usize);
                // Nothing but other tags, anchors and comments stands before a tag.
                let leads = |at: &usize| {
                    let before = String::from_utf8_lossy(&text[from..*at]);
                    let lines =
                        before.lines().map(|line| line.split('#').next().unwrap_or_default());
                    let mut words = lines.flat_map(str::split_whitespace);
                    words.all(|word| word.starts_with(['!', '&']))
                };
                let found = places.iter().filter(|at| (from..to).contains(at)).find(|at| leads(at));
                if let Some(at) = found {
                    return Some(stop("a tag needs a value", *at));
                }
            }
            _ => {}
        }
    }
}

type Stop = Box<Diagnostic>;
type Built = Result<(Node, Weight), Stop>;

/// What a subtree costs when an alias repeats it.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    height: usize,
}

/// Where an event begins and ends.
#[derive(Debug, Clone, Copy)]
struct At {
    start: Mark,
    end: Mark,
}

impl At {
    fn of(event: &Event) -> Self {
        Self { start: event.start_mark, end: event.end_mark }
    }
}

struct Builder<'a, 'i, 't> {
    parser: Parser<&'i mut &'t [u8]>,
    source: &'a Arc<Source>,
    /// Where the text starts, after a byte order mark.
    start: usize,
    /// Where it ends, if that is without a line break.
    unended: Option<usize>,
    anchors: HashMap<String, (Node, Weight)>,
    /// Anchors whose values are not complete yet.
    open: HashSet<String>,
    nodes: usize,
    bytes: usize,
    problems: Vec<Diagnostic>,
}

impl Builder<'_, '_, '_> {
    fn stream(&mut self) -> Result<Vec<Node>, Stop> {
        let mut documents = Vec::new();
        loop {
            let event = self.next()?;
            match event.data {
                EventData::StreamEnd => return Ok(documents),
                EventData::DocumentStart { .. } => {
                    self.anchors.clear();
                    let first = self.next()?;
                    documents.push(self.node(first, 0)?.0);
                }
                EventData::StreamStart { .. } | EventData::DocumentEnd { .. } => {}
                _ => return Err(self.stop("yaml::syntax", "unexpected content", At::of(&event))),
            }
        }
    }

    fn next(&mut self) -> Result<Event, Stop> {
        self.parser.parse().map_err(|error| {
            let message = format!("{} is not valid YAML: {}", self.source.name, error.problem());
            let diagnostic = Diagnostic::error("yaml::syntax", message);
            Box::new(match error.problem_mark() {
                Some(mark) => diagnostic.at(&self.point(self.byte(mark)), "here"),
                None => diagnostic,
            })
        })
    }

    fn node(&mut self, event: Event, depth: usize) -> Built {
        let at = At::of(&event);
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.stop("yaml::too-deep", &message, at));
        }
        match event.data {
            EventData::Alias { anchor } => self.alias(&anchor, at, depth),
            EventData::Scalar { anchor, tag, mut value, style, .. } => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                if block && self.unended.is_some_and(|end| self.byte(at.end) >= end) {
                    value.truncate(value.strip_suffix('\n').unwrap_or(&value).len());
                }
                let span = self.span(at);
                let weight = Weight { nodes: 1, bytes: value.len(), height: 0 };
                let plain = style == ScalarStyle::Plain;
                let value = match tag.as_deref().filter(|tag| !matches!(*tag, "" | "!")) {
                    Some(tag) if compose_tag(tag).is_none() => {
                        scalar::resolve_tagged(value, short(tag), plain).map_err(|message| {
                            let problem = Diagnostic::error("yaml::tag", message);
                            Box::new(problem.at(&span, "tagged here"))
                        })?
                    }
                    _ if plain => scalar::resolve(value),
                    _ => Value::String(value),
                };
                self.finish(value, span, tag, anchor, weight, at)
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                self.open.extend(anchor.clone());
                let mut items = Vec::new();
                let mut weight = Weight { nodes: 1, ..Weight::default() };
                let end = loop {
                    let event = self.next()?;
                    if event.data == EventData::SequenceEnd {
                        break At::of(&event);
                    }
                    let (item, cost) = self.node(event, depth + 1)?;
                    weight.add(cost);
                    items.push(item);
                };
                let span = self.first_line(at, end);
                self.finish(Value::List(items), span, tag, anchor, weight, at)
            }
            EventData::MappingStart { anchor, tag, .. } => {
                self.open.extend(anchor.clone());
                let mut weight = Weight { nodes: 1, ..Weight::default() };
                let (map, end) = self.mapping(depth, &mut weight)?;
                let span = self.first_line(at, end);
                self.finish(Value::Map(map), span, tag, anchor, weight, at)
            }
            _ => Err(self.stop("yaml::syntax", "unexpected end of a value", at)),
        }
    }

    fn finish(
        &mut self,
        value: Value,
        span: Span,
        tag: Option<String>,
        anchor: Option<String>,
        weight: Weight,
        at: At,
    ) -> Built {
        let own = if weight.height == 0 { weight.bytes } else { 0 };
        self.spend(Weight { nodes: 1, bytes: own, height: 0 }, at)?;
        let node = Node { value, span, tag: tag.as_deref().and_then(compose_tag) };
        if let Some(anchor) = anchor {
            // The copy counts too, or nested anchors would multiply what is kept.
            self.spend(weight, at)?;
            self.open.remove(&anchor);
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        Ok((node, weight))
    }

    fn mapping(&mut self, depth: usize, weight: &mut Weight) -> Result<(Map, At), Stop> {
        let mut map = Map::default();
        let mut merges = None;
        let end = loop {
            let event = self.next()?;
            if event.data == EventData::MappingEnd {
                break At::of(&event);
            }
            let merge = matches!(
                &event.data,
                EventData::Scalar { value, style: ScalarStyle::Plain, .. } if value == "<<"
            );
            let (key, cost) = self.node(event, depth + 1)?;
            weight.add(cost);
            let value = self.next()?;
            let (value, cost) = self.node(value, depth + 1)?;
            weight.add(cost);
            let Value::String(name) = key.value else {
                let message = match key.scalar_text() {
                    Some(text) => format!("key `{text}` is {}, not a string", key.kind_name()),
                    None => format!("a key is {}, not a string", key.kind_name()),
                };
                self.problem(
                    Diagnostic::error("yaml::key", message)
                        .at(&key.span, "this key")
                        .help("put the key in quotes"),
                );
                continue;
            };
            if merge {
                if merges.replace((key.span.clone(), value)).is_some() {
                    self.duplicate("<<", &key.span, None);
                }
            } else if let Some(first) = map.entry(&name) {
                let first = first.key.clone();
                self.duplicate(&name, &key.span, Some(&first));
            } else {
                map.insert_entry(name, Entry { key: key.span, value });
            }
        };
        if let Some((span, merged)) = merges {
            self.merge(&mut map, merged, &span);
        }
        Ok((map, end))
    }

    /// Fills in what the mappings of a `<<` have and the mapping itself hasn't.
    fn merge(&mut self, map: &mut Map, merged: Node, span: &Span) {
        let sources = match merged.value {
            Value::List(items) => items,
            _ => vec![merged],
        };
        for source in sources {
            let Value::Map(source) = source.value else {
                let kind = source.kind_name();
                let message = format!("`<<` takes a mapping or a list of mappings, not {kind}");
                self.problem(Diagnostic::error("yaml::merge", message).at(span, "merged here"));
                continue;
            };
            for (key, entry) in source {
                map.entries.entry(key).or_insert(entry);
            }
        }
    }

    fn alias(&mut self, anchor: &str, at: At, depth: usize) -> Built {
        if self.open.contains(anchor) {
            return Err(self.stop("yaml::alias", "an alias stands inside its own anchor", at));
        }
        let Some((node, weight)) = self.anchors.get(anchor) else {
            let message = format!("there is no anchor `&{anchor}` before this alias");
            return Err(self.stop("yaml::alias", &message, at));
        };
        let (node, weight) = (node.clone(), *weight);
        if depth + weight.height > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.stop("yaml::too-deep", &message, at));
        }
        self.spend(weight, at)?;
        Ok((node, weight))
    }

    fn spend(&mut self, weight: Weight, at: At) -> Result<(), Stop> {
        self.nodes += weight.nodes;
        self.bytes += weight.bytes;
        if self.nodes > MAX_NODES || self.bytes > MAX_EXPANDED_BYTES {
            let message = "the file stands for too much data once its aliases are expanded";
            return Err(self.stop("yaml::too-much", message, at));
        }
        Ok(())
    }

    fn duplicate(&mut self, key: &str, at: &Span, first: Option<&Span>) {
        let message = match first.map(Span::line) {
            Some(line) => format!("key `{key}` is already defined at line {line}"),
            None => format!("key `{key}` is already defined"),
        };
        self.problem(Diagnostic::error("yaml::duplicate-key", message).at(at, "defined again"));
    }

    fn problem(&mut self, diagnostic: Diagnostic) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(diagnostic);
        }
    }

    fn stop(&self, code: &'static str, message: &str, at: At) -> Stop {
        Box::new(Diagnostic::error(code, message).at(&self.span(at), "here"))
    }

    fn byte(&self, mark: Mark) -> usize {
        let end = self.source.text.len();
        let index = usize::try_from(mark.index).unwrap_or(end);
        let at = (self.start + index).min(end);
        (0..=at).rev().find(|at| self.source.text.is_char_boundary(*at)).unwrap_or_default()
    }

    fn point(&self, at: usize) -> Span {
        let width = self.source.text[at..].chars().next().filter(|c| *c != '\n');
        Span::new(self.source, at..at + width.map_or(0, char::len_utf8))
    }

    fn span(&self, at: At) -> Span {
        let (start, end) = (self.byte(at.start), self.byte(at.end));
        let text = &self.source.text[start..end.max(start)];
        Span::new(self.source, start..start + text.trim_end().len())
    }

    fn first_line(&self, start: At, end: At) -> Span {
        let (start, end) = (self.byte(start.start), self.byte(end.start));
        let text = &self.source.text[start..end.max(start)];
        let line = text.lines().next().unwrap_or_default().trim_end();
        // A flow list that stands on one line ends with its bracket.
        let rest = &self.source.text[start + line.len()..];
        let blank = rest.len() - rest.trim_start_matches(' ').len();
        let flow = line.starts_with(['[', '{']) && rest[blank..].starts_with([']', '}']);
        let width = line.len() + if flow { blank + 1 } else { 0 };
        Span::new(self.source, start..start + width)
    }
}

impl Weight {
    fn add(&mut self, child: Weight) {
        self.nodes += child.nodes;
        self.bytes += child.bytes;
        self.height = self.height.max(child.height + 1);
    }
}

fn compose_tag(tag: &str) -> Option<Tag> {
    match tag {
        "!reset" => Some(Tag::Reset),
        "!override" => Some(Tag::Override),
        _ => None,
    }
}

/// A tag in YAML's short form: `!!str`, `!mine`.
fn short(tag: &str) -> String {
    match tag.strip_prefix("tag:yaml.org,2002:") {
        Some(name) => format!("!!{name}"),
        None => tag.to_owned(),
    }
}
