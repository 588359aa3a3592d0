//! Compose files into the model that Docker Compose makes of them, with errors that point at lines.
//!
//! The phases, in order, one file each: `interpolate`, `extends`, `include`, `merge` and `unique`
//! (several files into one), `schema`, `normalise` (short forms into long ones, defaults),
//! `paths`, `shape` (values into the form that Compose prints), `check` (references between
//! resources), `model` (the typed result). `load` runs them. `docs/compose-conformance.md` says
//! how the result is compared with Docker Compose's own.

mod assemble;
mod cast;
mod check;
mod conceal;
mod discover;
pub mod dotenv;
mod environment;
mod extends;
mod files;
mod implicit;
mod include;
pub mod interpolate;
mod load;
mod merge;
mod model;
mod models;
mod normalise;
mod path;
mod paths;
mod places;
mod problems;
mod schema;
mod shape;
mod unique;
mod units;

use std::path::PathBuf;

pub use crate::model::duration::{format_duration, parse_duration};
pub use discover::{Discovery, discover};
pub use files::{Disk, Files, Memory, clean};
pub use load::{load, load_text, references, references_of};
pub use model::{
    Condition, Config, Dependency, Healthcheck, Loaded, Mount, MountKind, Network, Port, Project,
    Secret, Service, Volume,
};
pub use models::Models;
pub use units::parse_bytes;

/// What is known about a variable that a Compose file mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// Its value.
    Value(String),
    /// It has none.
    Unset,
    /// Only the host that runs the project knows; matters to [`Interpolation::Template`] alone,
    /// elsewhere it counts as unset.
    Host,
}

/// What happens to variables in strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interpolation {
    /// Replace them, as `docker compose config` does.
    #[default]
    Full,
    /// Leave every string as written, as `docker compose config --no-interpolate` does.
    Off,
    /// Make strings that Compose will interpolate again on the host: values are written in with
    /// `$` as `$$`, references to [`Variable::Host`] stay references.
    Template,
}

/// What to load and how.
pub struct LoadOptions<'a> {
    /// The Compose files, first the base, then its overrides.
    pub files: Vec<PathBuf>,
    /// Where relative paths start; the first file's folder by default.
    pub project_dir: Option<PathBuf>,
    /// The project's name, over what the files or the folder say.
    pub project_name: Option<String>,
    /// The profiles to enable; `*` enables all.
    pub profiles: Vec<String>,
    /// The variables: the process's environment, `--env-file` and `.env` with the caller's
    /// precedence ([`discover`] has Compose's).
    pub variables: &'a dyn Fn(&str) -> Variable,
    /// What happens to variables.
    pub interpolation: Interpolation,
    /// Whether relative paths become absolute.
    pub resolve_paths: bool,
    /// Whether `env_file` files are read into `environment`. Where not, `env_file` stays listed.
    pub resolve_env: bool,
}

impl<'a> LoadOptions<'a> {
    /// Options as `docker compose config` has them.
    pub fn new(files: Vec<PathBuf>, variables: &'a dyn Fn(&str) -> Variable) -> Self {
        Self {
            files,
            project_dir: None,
            project_name: None,
            profiles: Vec::new(),
            variables,
            interpolation: Interpolation::Full,
            resolve_paths: true,
            resolve_env: true,
        }
    }
}

#[cfg(test)]
mod tests;
