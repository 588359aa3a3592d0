//! What the Compose file's variables mean on hosts: from the configuration, or only known there.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::compose::Variable;

/// The variables offered to interpolation. The operator's shell has no say: a laptop and CI must
/// render the same file.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// Values from the configuration, by name.
    pub values: BTreeMap<String, String>,
    /// The names that the env file holds; their values stay on the host.
    pub on_host: BTreeSet<String>,
}

impl Variables {
    /// What a name means. The configuration goes before the env file, as more exact.
    pub fn lookup(&self, name: &str) -> Variable {
        match self.values.get(name) {
            Some(value) => Variable::Value(value.clone()),
            None if self.on_host.contains(name) => Variable::Host,
            None => Variable::Unset,
        }
    }
}
