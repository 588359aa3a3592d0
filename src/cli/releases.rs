//! `stagecraft releases`: what was applied, when, by whom, and what came of it.

use std::process::ExitCode;

use super::{Format, Global, block_on};
use crate::engine::Problem;
use crate::view;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// All releases, oldest first
    List,
    /// One release
    Show {
        /// Its number
        number: u64,
        /// Print its journal instead
        #[arg(long)]
        journal: bool,
    },
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    let engine = global.open()?;
    let text = block_on(async {
        let store = engine.store();
        Ok(match args.verb {
            None | Some(Verb::List) => {
                let releases = store.releases().await?;
                match global.format {
                    Format::Text => view::release::list(&releases, &global.options()),
                    Format::Json => view::json::releases(&releases),
                    Format::Markdown => view::markdown::releases(&releases),
                }
            }
            Some(Verb::Show { number, journal: true }) => {
                store.release(number).await?;
                let lines = store.journal(number).await?;
                lines.into_iter().map(|line| line + "\n").collect()
            }
            Some(Verb::Show { number, journal: false }) => {
                let release = store.release(number).await?;
                match global.format {
                    Format::Text => view::release::show(&release, &global.options()),
                    Format::Json => view::json::release(&release),
                    Format::Markdown => view::markdown::release(&release),
                }
            }
        })
    })?;
    global.print(&text);
    Ok(ExitCode::SUCCESS)
}
