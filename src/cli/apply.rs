//! `stagecraft apply`: make the environment what the configuration, or a saved plan, says.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Global, block_on, plan, run};
use crate::engine::{Engine, Planned, Problem};
use crate::model::{Failure, PLAN_FORMAT, Plan};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A plan that `stagecraft plan --out FILE` saved
    #[arg(value_name = "FILE", conflicts_with_all = ["version", "prune_volumes", "forget", "skip_infra", "allow_destroy"])]
    plan: Option<PathBuf>,
    #[command(flatten)]
    wish: plan::Wish,
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    let Some(path) = &args.plan else {
        let engine = global.open()?;
        return block_on(run::carry_out(&engine, &args.wish.request(), global));
    };
    let saved = read(path)?;
    if let Some(env) = global.environment().filter(|env| *env != saved.environment) {
        let what = format!("{} is a plan for {}, not for {env}", path.display(), saved.environment);
        return Err(Failure::new(what).into());
    }
    let engine = global.open_named(Some(&saved.environment))?;
    block_on(async {
        let planned = replan(&engine, &saved).await?;
        run::apply(&engine, &planned, None, global).await
    })
}

/// Makes a saved plan again; it must come out the same.
async fn replan(engine: &Engine, saved: &Plan) -> Result<Planned, Problem> {
    let planned = engine.plan(&saved.request).await?;
    match planned.plan.digest() == saved.digest() {
        true => Ok(planned),
        false => Err(Engine::stale(saved, &planned.plan).into()),
    }
}

fn read(path: &Path) -> Result<Plan, Problem> {
    let refuse = |what: String| Failure::new(format!("{} {what}", path.display()));
    let text =
        std::fs::read_to_string(path).map_err(|error| refuse(format!("can't be read: {error}")))?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| refuse(format!("is no saved plan: {error}")))?;
    let format = value.get("format_version").and_then(|format| format.as_str()).unwrap_or("none");
    if format.split('.').next() != PLAN_FORMAT.split('.').next() {
        return Err(refuse(format!("has plan format {format}; this program reads {PLAN_FORMAT}"))
            .hint("plan again with this program")
            .into());
    }
    serde_json::from_value(value)
        .map_err(|error| refuse(format!("is no saved plan: {error}")).into())
}
