//! View: the only room that writes words for people. It turns plans, events, releases, status and
//! errors into text, Markdown and JSON. It does no I/O but to a writer that it is handed.

pub mod error;
pub mod infrastructure;
pub mod json;
pub mod markdown;
pub mod plan;
pub mod progress;
pub mod release;
pub mod status;
pub mod style;

mod table;
mod text;
mod words;

#[cfg(test)]
mod sample;

pub use style::Paint;
pub use text::{block as clean_lines, line as clean};
pub use words::duration;

/// How a text is rendered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The colours.
    pub paint: Paint,
    /// Whether to show what is usually left out: all fields and diffs, the steps.
    pub verbose: bool,
}
