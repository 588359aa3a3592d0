//! `stagecraft validate`: everything that is wrong with the configuration, in one run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::config::compose::{Disk, Files};
use crate::config::diagnostic::Diagnostic;
use crate::config::stagecraft::{self, ComposeNames, Config};

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

/// Loads a configuration and its Compose files with all checks, for one environment or for each.
pub fn check(
    path: &Path,
    environment: Option<&str>,
    files: &dyn Files,
) -> (Option<Config>, Vec<Diagnostic>) {
    let (config, mut problems) = match stagecraft::load(path, files) {
        Ok((config, warnings)) => (config, warnings),
        Err(problems) => return (None, problems),
    };
    let wanted = match environment {
        Some(name) => vec![config.environment(name)],
        None => config.environments().map(|name| config.environment(name)).collect(),
    };
    let mut readings = Vec::new();
    for environment in wanted {
        match environment {
            Ok(environment) => readings.push(environment.variables),
            Err(problem) => problems.push(*problem),
        }
    }
    if readings.is_empty() {
        readings.push(BTreeMap::new());
    }
    let mut names = Some(ComposeNames::default());
    for variables in &readings {
        let found = match ComposeNames::read(&config, variables, files) {
            Ok((read, warnings)) => {
                names.iter_mut().for_each(|names| names.extend(read.clone()));
                warnings
            }
            // Without all names, none can be called unknown.
            Err(errors) => {
                names = None;
                errors
            }
        };
        // The environments share their Compose files, and so most of what is wrong there.
        let new: Vec<_> = found.into_iter().filter(|problem| !problems.contains(problem)).collect();
        problems.extend(new);
    }
    problems.extend(names.iter().flat_map(|names| config.check_against(names)));
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

    const COMPOSE: &str = "
services:
  api: { image: \"api:${API_TAG}\" }
  db: { image: db, volumes: [\"${DB_VOLUME:?}:/data\"], profiles: [own-db] }
volumes: { data: {} }
";

    fn checked(text: &str, environment: Option<&str>) -> Vec<Diagnostic> {
        let files = [("stagecraft.yml", text), ("docker-compose.yml", COMPOSE)];
        check(Path::new("stagecraft.yml"), environment, &Memory::new(files)).1
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
    fn names_are_compared_with_the_compose_files() {
        let text = "project: { name: a }
hosts: { app: [one, two] }
services: { apy: { role: app } }
environments: { qa: { db_volume: data, api_tga: x, db: { replicas: 1 } }, dev: { db_volume: data } }
";
        insta::assert_snapshot!(diagnostics::text(&checked(text, None), false), @r#"
        config::service-without-role

          × the service `api` has no role, and there is more than one host
           ╭─[docker-compose.yml:3:3]
         2 │ services:
         3 │   api: { image: "api:${API_TAG}" }
           ·   ─┬─
           ·    ╰── where does it run?
         4 │   db: { image: db, volumes: ["${DB_VOLUME:?}:/data"], profiles: [own-db] }
           ╰────
          help: say where it runs, under `services`: `api: { role: ROLE }`

        config::unknown-service

          × unknown service `apy`
           ╭─[stagecraft.yml:3:13]
         2 │ hosts: { app: [one, two] }
         3 │ services: { apy: { role: app } }
           ·             ─┬─
           ·              ╰── not a service of the Compose files
         4 │ environments: { qa: { db_volume: data, api_tga: x, db: { replicas: 1 } }, dev: { db_volume: data } }
           ╰────
          help: did you mean `api`?

        config::unknown-key

          × unknown key `api_tga`
           ╭─[stagecraft.yml:4:40]
         3 │ services: { apy: { role: app } }
         4 │ environments: { qa: { db_volume: data, api_tga: x, db: { replicas: 1 } }, dev: { db_volume: data } }
           ·                                        ───┬───
           ·                                           ╰── not a key of `environments.qa`
           ╰────
          help: did you mean `api_tag`?
        "#);
    }

    #[test]
    fn a_missing_file_is_a_problem() {
        let (_, problems) = check(Path::new("stagecraft.yml"), None, &Memory::default());
        insta::assert_snapshot!(diagnostics::text(&problems, false), @r#"
        config::not-found

          × there is no stagecraft.yml
          help: `stagecraft init` writes one; `--config FILE` names another
        "#);
        let files = Memory::new([("stagecraft.yml", "project: { name: a }")]);
        let (_, problems) = check(Path::new("stagecraft.yml"), None, &files);
        insta::assert_snapshot!(diagnostics::text(&problems, false), @r#"
        compose::read

          × docker-compose.yml can't be read: it is not there
        "#);
    }
}
