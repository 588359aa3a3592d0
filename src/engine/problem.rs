//! What stops a verb: diagnostics that point into files, or a failure with its hint.

use crate::config::diagnostic::Diagnostic;
use crate::diff::Cycle;
use crate::model::Failure;
use crate::state::StateError;

/// Why a verb could not do what was asked.
#[derive(Debug)]
pub enum Problem {
    /// Things wrong in configuration files.
    Diagnostics(Vec<Diagnostic>),
    /// Anything else.
    Failure(Failure),
}

impl Problem {
    /// The problem as one failure.
    pub fn into_failure(self) -> Failure {
        match self {
            Problem::Failure(failure) => failure,
            Problem::Diagnostics(found) => Failure::new("the configuration is not valid")
                .detail(found.iter().map(ToString::to_string)),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Problem::Failure(failure)
    }
}

impl From<Diagnostic> for Problem {
    fn from(diagnostic: Diagnostic) -> Self {
        Problem::Diagnostics(vec![diagnostic])
    }
}

impl From<Box<Diagnostic>> for Problem {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Problem::Diagnostics(vec![*diagnostic])
    }
}

impl From<Cycle> for Problem {
    fn from(cycle: Cycle) -> Self {
        Failure::new(cycle.to_string()).hint("break the circle in `depends_on`").into()
    }
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        let failure = Failure::new(error.to_string());
        match error {
            StateError::Locked { .. } => failure.hint(
                "wait until they are done; a lock goes with the process that holds it, so none is \
                 ever left behind",
            ),
            StateError::NoRelease(_) => failure.hint("`stagecraft releases list` shows them"),
            StateError::Broken { .. } => failure,
        }
        .into()
    }
}
