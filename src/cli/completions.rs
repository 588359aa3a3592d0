//! `stagecraft completions`: a shell's completion script.

use std::process::ExitCode;

use clap::CommandFactory;

use super::{Cli, Global};
use crate::engine::Problem;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stagecraft", &mut script);
    global.print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
