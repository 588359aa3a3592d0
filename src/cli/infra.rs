//! `stagecraft infra`: what the environment has below its application.

use std::process::ExitCode;

use super::{Format, Global, block_on, run};
use crate::engine::Problem;
use crate::model::{Address, Failure, Part, Request};
use crate::view;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make it what the configuration says
    Up(Up),
    /// Destroy all of it
    Down(Down),
    /// What there is, with addresses
    Show,
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Let this machine, disk or address be destroyed, with what is on it
    #[arg(long, value_name = "ADDRESS")]
    allow_destroy: Vec<Address>,
}

#[derive(Debug, clap::Args)]
struct Down {
    /// Leave the disks, with their data
    #[arg(long)]
    keep_volumes: bool,
    /// The environment's name, in place of being asked for it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    let engine = global.open_infrastructure()?;
    match &args.verb {
        Verb::Up(Up { allow_destroy }) => {
            let request = Request {
                part: Part::Infrastructure,
                allow_destroy: allow_destroy.clone(),
                ..Request::default()
            };
            block_on(run::carry_out(&engine, &request, global))
        }
        Verb::Down(Down { keep_volumes, confirm }) => {
            let part = Part::NoInfrastructure { keep_disks: *keep_volumes };
            let request = Request { part, ..Request::default() };
            let name = &engine.environment().name;
            // A `yes` by habit must not be enough.
            let sure = match confirm {
                Some(given) if given == name => Global { yes: true, ..global.clone() },
                Some(given) => {
                    let what = format!("`--confirm {given}` is not the environment, {name}");
                    return Err(Failure::new(what)
                        .hint("give the name of the environment whose machines are to go")
                        .into());
                }
                None if global.yes && !global.dry_run => {
                    return Err(Failure::new("`--yes` does not confirm this")
                        .hint(format!("give `--confirm {name}`"))
                        .into());
                }
                None => global.clone(),
            };
            block_on(run::carry_out(&engine, &request, &sure))
        }
        Verb::Show => {
            let found = block_on(engine.survey())?;
            global.print(&match global.format {
                Format::Json => view::json::pretty(&found.objects),
                Format::Text | Format::Markdown => {
                    view::infrastructure::table(&found, global.paint())
                }
            });
            Ok(ExitCode::SUCCESS)
        }
    }
}
