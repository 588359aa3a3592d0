//! The thin binary: arguments in, exit code out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stagecraft::cli::compose::{ConfigArgs, config};

#[derive(Parser)]
#[command(name = "stagecraft", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read Compose files
    #[command(subcommand)]
    Compose(Compose),
}

#[derive(Subcommand)]
enum Compose {
    /// Print the project in its canonical form
    Config(ConfigArgs),
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(Cli { command: Command::Compose(Compose::Config(args)) }) => config(args),
        Err(error) => {
            // Help and version are no errors; the rest is misuse.
            let code = if error.use_stderr() { 64 } else { 0 };
            match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::FAILURE,
            }
        }
    }
}
