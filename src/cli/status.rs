//! `stagecraft status`: what runs, and how it is.

use std::process::ExitCode;

use super::{Format, Global, block_on};
use crate::engine::Problem;
use crate::model::Request;
use crate::view::{self, status::Status};

pub fn run(global: &Global) -> Result<ExitCode, Problem> {
    let engine = global.open()?;
    let planned = block_on(engine.plan(&Request::default()))?;
    let status = Status::of(&planned.desired, &planned.observed);
    global.print(&match global.format {
        Format::Json => view::status::json(&status),
        Format::Text | Format::Markdown => view::status::text(&status, &global.options()),
    });
    Ok(if status.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
