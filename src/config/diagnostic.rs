//! Diagnostics: what is wrong in a file, at which line, and what to write instead.

use std::ops::Range;
use std::sync::Arc;

use miette::{
    LabeledSpan, MietteError, NamedSource, Severity, SourceCode, SourceSpan, SpanContents,
};

/// A file's name and text, shared by every position that points into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The path as the user would recognise it (relative to where they stand).
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        self.text.read_span(span, context_lines_before, context_lines_after)
    }
}

/// A place in a source: a byte range of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The file.
    pub source: Arc<Source>,
    // Every node of a file has one, so they are kept small; no file is as long as that.
    start: u32,
    end: u32,
}

impl Span {
    /// The place of some bytes of a source.
    pub fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        let short = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self { source: source.clone(), start: short(range.start), end: short(range.end) }
    }

    /// Bytes of `source.text`.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// What is written there.
    pub fn text(&self) -> &str {
        self.source.text.get(self.range()).unwrap_or_default()
    }

    /// The line on which it starts, from 1.
    pub fn line(&self) -> usize {
        let before = self.source.text.get(..self.start as usize).unwrap_or_default();
        before.matches('\n').count() + 1
    }
}

/// One thing wrong (or doubtful) in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable identifier such as `config::unknown-key`, for people who search.
    pub code: &'static str,
    /// Errors refuse the configuration; warnings do not.
    pub severity: Severity,
    /// One sentence: what is wrong.
    pub message: String,
    /// Where, with what to write under the underline.
    pub at: Option<Box<(Span, String)>>,
    /// What to do next.
    pub help: Option<String>,
    code_source: Option<Box<NamedSource<Arc<Source>>>>,
}

impl Diagnostic {
    /// An error without a position.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            at: None,
            help: None,
            code_source: None,
        }
    }

    /// A warning without a position.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Points at a place and says what is there.
    pub fn at(mut self, span: &Span, label: impl Into<String>) -> Self {
        // Shared, not copied: there may be a diagnostic for each line of a large file.
        let source = NamedSource::new(&span.source.name, span.source.clone());
        self.code_source = Some(Box::new(source.with_language("yaml")));
        self.at = Some(Box::new((span.clone(), label.into())));
        self
    }

    /// Says what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether this refuses the configuration.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.code_source.as_deref().map(|source| source as _)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (span, label) = self.at.as_deref()?;
        let label = LabeledSpan::new_with_span(Some(label.clone()), span.range());
        Some(Box::new(std::iter::once(label)))
    }
}

/// The nearest of `known` to a misspelt `word`, where one is near enough to suggest.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate)
}
