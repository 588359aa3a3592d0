//! `stagecraft import`: take over a part of the infrastructure that somebody made by hand.

use std::process::ExitCode;

use super::{Global, block_on};
use crate::engine::Problem;
use crate::model::Address;
use crate::view;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it is to be, such as `machine.app-1` or `disk.db-1/data`
    address: Address,
    /// Its id where it is kept; of a name, the name
    id: String,
    /// Of a machine: the public key by which `ssh` is to know it, as in ssh_host_ed25519_key.pub
    #[arg(long, value_name = "KEY")]
    host_key: Option<String>,
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    let engine = global.open_infrastructure()?;
    block_on(engine.import(&args.address, &args.id, args.host_key.as_deref()))?;
    global.remark(&view::infrastructure::imported(&args.address));
    Ok(ExitCode::SUCCESS)
}
