//! `stagecraft deploy`: apply a version.

use std::process::ExitCode;

use super::{Global, block_on, run};
use crate::engine::Problem;
use crate::model::Request;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The version: the tag of the images, `IMAGE_TAG` in the Compose file
    #[arg(value_parser = super::plan::version)]
    version: String,
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    let engine = global.open()?;
    let version = Some(args.version.clone());
    let request = Request { version, ..Request::default() };
    block_on(run::carry_out(&engine, &request, global))
}
