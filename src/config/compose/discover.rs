//! Which files, variables, profiles and folder a command line means, by Compose's precedence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files::{Files, clean};
use super::load::reason;
use super::{Variable, dotenv};
use crate::config::diagnostic::Diagnostic;

const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What a command line says; then, completed, what it means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Compose files (`-f`); completed from `COMPOSE_FILE` or the usual names.
    pub files: Vec<PathBuf>,
    /// Env files (`--env-file`); completed from `COMPOSE_ENV_FILES` or `.env`.
    pub env_files: Vec<PathBuf>,
    /// The project's folder (`--project-directory`); completed from the first file.
    pub project_dir: Option<PathBuf>,
    /// Profiles (`--profile`); completed from `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// The process's variables; completed from the env files, which don't override them.
    pub variables: BTreeMap<String, String>,
    /// What is doubtful about the choice.
    pub warnings: Vec<Diagnostic>,
}

impl Discovery {
    /// Looks a variable up.
    pub fn lookup(&self, name: &str) -> Variable {
        match self.variables.get(name) {
            Some(value) => Variable::Value(value.clone()),
            None => Variable::Unset,
        }
    }
}

/// Completes a command line. `cwd` is where relative paths start; it must be absolute.
pub fn discover(
    given: Discovery,
    cwd: &Path,
    files: &dyn Files,
) -> Result<Discovery, Vec<Diagnostic>> {
    let mut found = given;
    let absolute = |path: &Path| match path.as_os_str() == "-" {
        true => path.to_owned(),
        false => clean(&cwd.join(path)),
    };
    found.files = found.files.iter().map(|path| absolute(path)).collect();
    found.project_dir = found.project_dir.as_deref().map(&absolute);
    if let Some(list) = found.variables.get("COMPOSE_ENV_FILES")
        && found.env_files.is_empty()
    {
        let names = list.split(',').filter(|name| !name.is_empty());
        found.env_files = names.map(PathBuf::from).collect();
    }
    found.env_files = found.env_files.iter().map(|path| absolute(path)).collect();
    let named_env_files = !found.env_files.is_empty();
    let use_default = match found.variables.get("COMPOSE_DISABLE_ENV_FILE").map(String::as_str) {
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => false,
        None | Some("0" | "f" | "F" | "FALSE" | "false" | "False") => true,
        Some(_) => {
            let message = "COMPOSE_DISABLE_ENV_FILE is neither true nor false";
            return Err(vec![Diagnostic::error("compose::environment", message)]);
        }
    };
    // Twice: the first `.env` may name the Compose files, whose folder may have another one.
    for pass in 0..2 {
        let dir = folder(&found, cwd);
        if !named_env_files && use_default {
            let default = dir.join(".env");
            if files.exists(&default) && !files.is_dir(&default) {
                found.env_files = vec![default];
            }
        }
        read_env_files(&mut found, files)?;
        if pass == 0 {
            find_files(&mut found, cwd, files)?;
        }
    }
    if found.profiles.is_empty()
        && let Some(list) = found.variables.get("COMPOSE_PROFILES")
    {
        found.profiles = list.split(',').map(|name| name.trim().to_owned()).collect();
    }
    found.project_dir = Some(folder(&found, cwd));
    Ok(found)
}

/// The project's folder as far as it is known.
fn folder(found: &Discovery, cwd: &Path) -> PathBuf {
    let first = found.files.iter().find(|path| path.as_os_str() != "-");
    match (&found.project_dir, first) {
        (Some(dir), _) => dir.clone(),
        (None, Some(file)) => clean(file.parent().unwrap_or(cwd)),
        (None, None) => cwd.to_owned(),
    }
}

fn read_env_files(found: &mut Discovery, files: &dyn Files) -> Result<(), Vec<Diagnostic>> {
    let mut parsed = dotenv::Parsed::default();
    for path in &found.env_files {
        let name = path.to_string_lossy();
        let bytes = files.read(path).map_err(|error| {
            let message = format!("the env file {name} can't be read: {}", reason(&error));
            vec![Diagnostic::error("compose::env-file", message)]
        })?;
        let lookup = |name: &str| found.lookup(name);
        dotenv::parse_into(&name, &bytes, &lookup, dotenv::Style::Full, &mut parsed)
            .map_err(|problem| vec![*problem])?;
    }
    for name in &parsed.missing {
        let message = format!("the variable `{name}` is not set; nothing stands in its place");
        let warning = Diagnostic::warning("compose::unset-variable", message);
        if !found.warnings.contains(&warning) {
            found.warnings.push(warning);
        }
    }
    for (name, value) in parsed.variables {
        found.variables.entry(name).or_insert(value);
    }
    Ok(())
}

fn find_files(found: &mut Discovery, cwd: &Path, files: &dyn Files) -> Result<(), Vec<Diagnostic>> {
    if !found.files.is_empty() {
        return Ok(());
    }
    if let Some(list) = found.variables.get("COMPOSE_FILE") {
        let separator =
            found.variables.get("COMPOSE_PATH_SEPARATOR").filter(|text| !text.is_empty());
        let separator = separator.map_or(":", String::as_str);
        for name in list.split(separator) {
            let path = clean(&cwd.join(name));
            if !files.exists(&path) {
                let message = format!("COMPOSE_FILE names {name}, which is not there");
                return Err(vec![Diagnostic::error("compose::no-file", message)]);
            }
            found.files.push(path);
        }
        return Ok(());
    }
    let start = folder(found, cwd);
    for dir in start.ancestors() {
        let present = |names: &[&str]| -> Vec<PathBuf> {
            names.iter().map(|name| dir.join(name)).filter(|path| files.exists(path)).collect()
        };
        let mut choose = |candidates: Vec<PathBuf>| {
            if let [first, _, ..] = &candidates[..] {
                let names: Vec<String> =
                    candidates.iter().map(|path| path.to_string_lossy().into_owned()).collect();
                let message =
                    format!("found {}; using {}", names.join(", "), first.to_string_lossy());
                found.warnings.push(Diagnostic::warning("compose::several-files", message));
            }
            found.files.extend(candidates.into_iter().next());
        };
        let main = present(&NAMES);
        if !main.is_empty() {
            choose(main);
            choose(present(&OVERRIDES));
            return Ok(());
        }
    }
    let message = format!("no Compose file in {} or the folders above", start.to_string_lossy());
    Err(vec![
        Diagnostic::error("compose::no-file", message)
            .help("name one with `-f`, or call it `compose.yaml`"),
    ])
}
