//! Problems as they are found, of which only so many are kept.

use crate::config::diagnostic::Diagnostic;

/// Nobody reads more, and each carries its file.
const MAX: usize = 20;
/// The longest message, in characters.
const MAX_MESSAGE: usize = 500;

/// A list of problems that stays short.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Diagnostic>,
}

impl Problems {
    /// Whether more would be dropped.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MAX
    }

    /// Adds a problem, which is only made where it is kept.
    pub fn add(&mut self, problem: impl FnOnce() -> Diagnostic) {
        if self.is_full() {
            return;
        }
        let mut problem = problem();
        // A value may be megabytes long; its error needn't be.
        if let Some((cut, _)) = problem.message.char_indices().nth(MAX_MESSAGE) {
            problem.message.truncate(cut);
            problem.message.push('…');
        }
        self.found.push(problem);
    }

    /// Nothing, or what was found.
    pub fn result(self) -> Result<(), Vec<Diagnostic>> {
        match self.found.is_empty() {
            true => Ok(()),
            false => Err(self.found),
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found.
    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.found
    }
}
