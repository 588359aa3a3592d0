//! `stagecraft schema`: the JSON Schemas of the formats that people and programs write against.

use std::process::ExitCode;

use clap::ValueEnum;

use super::Global;
use crate::config::stagecraft;
use crate::engine::Problem;
use crate::view;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which format
    #[arg(value_enum, default_value_t)]
    of: Of,
}

/// The formats that have a schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Of {
    /// stagecraft.yml
    #[default]
    Config,
    /// The JSON form of plans
    Plan,
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    global.print(&match args.of {
        Of::Config => view::json::pretty(&stagecraft::schema()),
        Of::Plan => view::json::plan_schema(),
    });
    Ok(ExitCode::SUCCESS)
}
