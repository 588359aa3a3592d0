//! `stagecraft validate`: everything that is wrong with the configuration, in one run.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::config::compose::{Disk, Files};
use crate::config::diagnostic::Diagnostic;
use crate::config::stagecraft::{self, Config};

use super::diagnostics;

/// Check stagecraft.yml and the Compose files without contacting anything.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Checks the files and shows what is wrong; `json` is `--format json`.
pub fn run(Args {}: &Args, path: &Path, environment: Option<&str>, json: bool) -> ExitCode {
    let (config, problems) = check(path, environment, &Disk::default());
    let valid = !problems.iter().any(Diagnostic::is_error);
    if json {
        let list: Vec<_> = problems.iter().map(diagnostics::data).collect();
        println!("{:#}", json!({ "valid": valid, "diagnostics": list }));
    } else {
        eprint!("{}", diagnostics::text(&problems, diagnostics::colour_on_stderr()));
        match config.filter(|_| valid) {
            Some(config) => println!("{}", summary(path, &config)),
            None => eprintln!("{}", count(&problems)),
        }
    }
    if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Loads a configuration with all its checks.
pub fn check(
    path: &Path,
    environment: Option<&str>,
    files: &dyn Files,
) -> (Option<Config>, Vec<Diagnostic>) {
    let (config, mut problems) = match stagecraft::load(path, files) {
        Ok((config, warnings)) => (config, warnings),
        Err(problems) => return (None, problems),
    };
    if let Some(name) = environment
        && let Err(problem) = config.environment(name)
    {
        problems.push(*problem);
    }
    (Some(config), problems)
}

fn summary(path: &Path, config: &Config) -> String {
    let names: Vec<&str> = config.environments().collect();
    let environments = match names.as_slice() {
        [] => "no environments".to_owned(),
        names => format!("environments: {}", names.join(", ")),
    };
    format!(
        "{} is valid: project {}, {environments}",
        path.display(),
        &*config.file.project.name.value
    )
}

fn count(problems: &[Diagnostic]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let plural = |number: usize, word: &str| match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    };
    match warnings {
        0 => plural(errors, "error"),
        _ => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::compose::Memory;

    fn checked(text: &str, environment: Option<&str>) -> Vec<Diagnostic> {
        check(Path::new("stagecraft.yml"), environment, &Memory::new([("stagecraft.yml", text)])).1
    }

    #[test]
    fn problems_are_data_for_programs() {
        let problems = checked("project: { name: é, nam: x }\n", None);
        let list: Vec<_> = problems.iter().map(diagnostics::data).collect();
        insta::assert_snapshot!(format!("{:#}", json!(list)), @r#"
        [
          {
            "code": "config::value",
            "column": 18,
            "file": "stagecraft.yml",
            "help": "use lower-case letters, digits, `_` and `-`, beginning with a letter or digit",
            "line": 1,
            "message": "`project.name` is not a lower-case name",
            "severity": "error"
          },
          {
            "code": "config::unknown-key",
            "column": 21,
            "file": "stagecraft.yml",
            "help": "did you mean `name`?",
            "line": 1,
            "message": "unknown key `nam`",
            "severity": "error"
          }
        ]
        "#);
        assert_eq!(count(&problems), "2 errors");
    }

    #[test]
    fn an_unknown_environment_is_a_problem() {
        let text = "project: { name: a }\nenvironments: { qa: {} }\n";
        assert_eq!(checked(text, Some("qa")), []);
        let problems = checked(text, Some("qaa"));
        assert_eq!(diagnostics::data(&problems[0])["help"], "did you mean `qa`?");
    }

    #[test]
    fn a_missing_file_is_a_problem() {
        let (_, problems) = check(Path::new("stagecraft.yml"), None, &Memory::default());
        insta::assert_snapshot!(diagnostics::text(&problems, false), @r#"
        config::not-found

          × there is no stagecraft.yml
          help: `stagecraft init` writes one; `--config FILE` names another
        "#);
    }
}
