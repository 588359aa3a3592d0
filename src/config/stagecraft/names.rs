//! The names that the Compose files bring: their services, and the variables they interpolate.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::compose::{self, Files, Interpolation, LoadOptions, Variable};
use crate::config::diagnostic::{Diagnostic, Span};

use super::load::Config;

/// The names that the Compose files bring.
#[derive(Debug, Clone, Default)]
pub struct ComposeNames {
    /// The services, and where each is declared.
    pub services: BTreeMap<String, Option<Span>>,
    /// The services that have profiles, and so need not run anywhere.
    pub optional: BTreeSet<String>,
    /// The variables that the files interpolate.
    pub variables: BTreeSet<String>,
}

impl ComposeNames {
    /// Reads the Compose files of a configuration with some variables; all others count as known
    /// to the hosts alone. Warnings come with the names.
    pub fn read(
        config: &Config,
        variables: &BTreeMap<String, String>,
        files: &dyn Files,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let asked = RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            match variables.get(name) {
                Some(value) => Variable::Value(value.clone()),
                None => Variable::Host,
            }
        };
        let mut options = LoadOptions::new(config.compose_files(), &lookup);
        options.project_name = Some(config.file.project.name.to_string());
        options.profiles = vec!["*".to_owned()];
        options.interpolation = Interpolation::Template;
        options.resolve_paths = false;
        options.resolve_env = false;
        let loaded = compose::load(&options, files)?;
        let services = loaded.project.services.keys().map(|name| {
            let span = loaded.project.spans.get(name).cloned();
            (name.clone(), span)
        });
        let optional = (loaded.project.services.iter())
            .filter(|(_, service)| !service.profiles.is_empty())
            .map(|(name, _)| name.clone());
        let names = Self {
            services: services.collect(),
            optional: optional.collect(),
            variables: asked.take(),
        };
        Ok((names, loaded.warnings))
    }

    /// Adds the names that another reading found.
    pub fn extend(&mut self, other: Self) {
        self.services.extend(other.services);
        self.optional.extend(other.optional);
        self.variables.extend(other.variables);
    }
}
