//! `stagecraft.yml`: its keys as types, read with positions, checked, and resolved per environment.

mod check;
mod choices;
mod decode;
mod environment;
mod hosts;
mod kinds;
mod load;
mod names;
mod resolve;
mod schema;
mod texts;
mod types;

pub use environment::{EnvironmentRest, EnvironmentSettings, Scalar, ServiceOverride};
pub use kinds::*;
pub use load::{Config, load, load_project};
pub use names::ComposeNames;
pub use resolve::{CloudHost, Environment, Rollout, SecretsFile, Service, State};
pub use schema::schema;
pub use texts::*;
pub use types::*;

#[cfg(test)]
mod tests;
