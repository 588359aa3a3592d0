//! `stagecraft completions`: a shell's completion script.

use std::process::ExitCode;

use clap::CommandFactory;

use super::Cli;
use crate::engine::Problem;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub fn run(args: &Args) -> Result<ExitCode, Problem> {
    clap_complete::generate(args.shell, &mut Cli::command(), "stagecraft", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
