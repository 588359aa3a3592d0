//! `stagecraft validate`: everything that is wrong with the configuration, in one run.

use std::process::ExitCode;

use serde_json::json;

use super::{Format, Global};
use crate::config::compose::Disk;
use crate::config::diagnostic::Diagnostic;
use crate::engine::{Problem, Workspace};
use crate::view;

pub fn run(global: &Global) -> Result<ExitCode, Problem> {
    let path = global.config_path()?;
    let opened = Workspace::open(&path).and_then(|workspace| {
        let problems = with_values(&workspace, global.environment())?;
        Ok((summary(&workspace), problems))
    });
    let (summary, problems) = match opened {
        Ok((summary, problems)) => {
            ((!problems.iter().any(Diagnostic::is_error)).then_some(summary), problems)
        }
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

/// What is wrong or doubtful in one environment, or in each: with the values of its variables, and on its hosts.
fn with_values(workspace: &Workspace, name: Option<&str>) -> Result<Vec<Diagnostic>, Problem> {
    let names = name.map_or_else(|| workspace.environments(), |name| vec![name.to_owned()]);
    let mut problems = workspace.warnings.clone();
    for name in names {
        let environment = workspace.config.environment(&name)?;
        let mut found = workspace.config.check_values(&environment, &Disk::default());
        if !found.iter().any(Diagnostic::is_error) {
            found.extend(workspace.check(&name)?);
        }
        for problem in found {
            // The environments share their Compose files, and most of what is wrong there.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    Ok(problems)
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
