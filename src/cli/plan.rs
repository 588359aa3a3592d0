//! `stagecraft plan`: show what apply would change.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Global, block_on, run};
use crate::engine::Problem;
use crate::model::image::is_version;
use crate::model::{Address, Failure, Part, Request};
use crate::view;

/// Exit code that says that there are changes.
const CHANGES: u8 = 2;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub wish: Wish,
    /// Exit with 2 where there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    /// Save the plan, to be applied with `stagecraft apply FILE`
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What to plan for.
#[derive(Debug, clap::Args)]
pub struct Wish {
    /// The version to deploy (`IMAGE_TAG`); else the one that the newest release deployed
    #[arg(long, value_name = "VERSION", value_parser = version)]
    version: Option<String>,
    /// Destroy the volumes that nothing wants any more, with their data
    #[arg(long)]
    prune_volumes: bool,
    /// Forget a host that is gone for good and no longer in the configuration; repeatable
    #[arg(long, value_name = "HOST")]
    forget: Vec<String>,
    /// Leave what is below the application alone: plan what is on the hosts only
    #[arg(long, conflicts_with = "allow_destroy")]
    skip_infra: bool,
    /// Let this machine, disk or address be destroyed, with what is on it; repeatable
    #[arg(long, value_name = "ADDRESS")]
    allow_destroy: Vec<Address>,
}

/// A version as an argument: what can be the tag of an image.
pub fn version(text: &str) -> Result<String, &'static str> {
    match is_version(text) {
        true => Ok(text.to_owned()),
        false => {
            Err("it can't be the tag of an image: letters, digits, `_`, `.` and `-`, 128 at most")
        }
    }
}

impl Wish {
    pub fn request(&self) -> Request {
        Request {
            version: self.version.clone(),
            prune_volumes: self.prune_volumes,
            forget: self.forget.clone(),
            part: if self.skip_infra { Part::Application } else { Part::Everything },
            allow_destroy: self.allow_destroy.clone(),
            ..Request::default()
        }
    }
}

pub fn run(args: &Args, global: &Global) -> Result<ExitCode, Problem> {
    let engine = global.open()?;
    let planned = block_on(engine.plan(&args.wish.request()))?;
    let plan = &planned.plan;
    global.warn(&planned.warnings);
    run::show(plan, global);
    if let Some(path) = &args.out {
        std::fs::write(path, view::json::plan(plan)).map_err(|error| {
            Failure::new(format!("the plan can't be saved to {}: {error}", path.display()))
        })?;
        global.remark(&view::plan::saved(&path.display().to_string()));
    }
    let code = match (!plan.is_blocked(), plan.is_empty() || !args.detailed_exitcode) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(CHANGES),
    };
    // The process ends, and all of it at once: to take what is large apart would take its time.
    std::mem::forget((planned, engine));
    Ok(code)
}
