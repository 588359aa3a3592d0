//! One file per verb: its arguments and how they reach the rooms that do the work.

pub mod compose;
pub mod diagnostics;
pub mod schema;
pub mod validate;
