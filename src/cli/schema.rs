//! `stagecraft schema`: the JSON Schema of `stagecraft.yml`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::stagecraft;

/// Print the JSON Schema of stagecraft.yml.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the schema.
pub fn run(Args {}: &Args) -> ExitCode {
    let written = writeln!(io::stdout(), "{:#}", stagecraft::schema());
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
