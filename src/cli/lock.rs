//! `stagecraft lock`: who holds the environment's lock.

use std::process::ExitCode;

use super::{Format, Global, block_on};
use crate::engine::Problem;
use crate::view;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Who holds it, at each place
    Status,
    /// Says why there is nothing to release
    Release,
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    let engine = global.open()?;
    let status = block_on(async { Ok(engine.store().lock_status().await?) })?;
    global.print(&match global.format {
        Format::Json => view::json::pretty(&status),
        Format::Text | Format::Markdown => view::status::locks(&status),
    });
    let held = status.values().any(Option::is_some);
    match args.verb {
        Verb::Release if held => {
            Err(crate::model::Failure::new("a lock can't be taken from its holder")
                .hint("it goes with their process or connection: end that, and it is gone")
                .into())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
