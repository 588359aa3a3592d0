//! The command line: one file per verb, arguments in and an exit code out.

pub mod diagnostics;
pub mod schema;
pub mod validate;
