//! `stagecraft rollback`: apply an earlier release's stored state.

use std::process::ExitCode;

use super::{Global, block_on, run};
use crate::engine::Problem;
use crate::model::Request;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The release to go back to; else the newest that succeeded before the one in force
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Go on with the secret values now in force where a host no longer keeps the earlier ones
    #[arg(long)]
    accept_current_secrets: bool,
    /// Forget a host that is gone for good and no longer in the configuration; repeatable
    #[arg(long, value_name = "HOST")]
    forget: Vec<String>,
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    let engine = global.open()?;
    block_on(async {
        let request = Request {
            rollback_to: Some(engine.rollback_target(args.to).await?),
            accept_current_secrets: args.accept_current_secrets,
            forget: args.forget.clone(),
            ..Request::default()
        };
        let planned = engine.plan(&request).await?;
        // What it goes back to depends on the newest release: it is planned again under the lock.
        run::apply(&engine, &planned, None, global).await
    })
}
