//! `stagecraft validate`: everything that is wrong with the configuration, in one run.

use std::process::ExitCode;

use serde_json::json;

use super::{Format, Global};
use crate::config::diagnostic::Diagnostic;
use crate::engine::{Problem, Workspace};
use crate::view;

pub fn run(global: &Global) -> Result<ExitCode, Problem> {
    let path = global.config_path()?;
    let opened = Workspace::open(&path).and_then(|workspace| {
        if let Some(name) = &global.env {
            workspace.config.environment(name)?;
        }
        Ok(workspace)
    });
    let (summary, problems) = match opened {
        Ok(workspace) => (Some(summary(&workspace)), workspace.warnings),
        Err(Problem::Diagnostics(problems)) => (None, problems),
        Err(problem) => return Err(problem),
    };
    let shown = || problems.iter().map(|problem| problem as &dyn miette::Diagnostic);
    if global.format == Format::Json {
        let list: Vec<_> = shown().map(view::error::diagnostic_json).collect();
        global.print(&view::json::pretty(
            &json!({ "valid": summary.is_some(), "diagnostics": list }),
        ));
    } else {
        shown().for_each(|d| global.remark(&view::error::diagnostic(d, global.paint_errors())));
        match &summary {
            Some(summary) => {
                global.print(&format!("{} is valid: {summary}\n", path.display()));
            }
            None => global.remark(&format!("{}\n", count(&problems))),
        }
    }
    Ok(if summary.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(workspace: &Workspace) -> String {
    let names = workspace.environments();
    let environments = match names.as_slice() {
        [] => "no environments".to_owned(),
        names => format!("environments: {}", names.join(", ")),
    };
    format!("project {}, {environments}", &*workspace.config.file.project.name.value)
}

fn count(problems: &[Diagnostic]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let plural = |number: usize, word: &str| match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    };
    match problems.len() - errors {
        0 => plural(errors, "error"),
        warnings => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}
