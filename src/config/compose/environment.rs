//! The variables that a file sees: the caller's, then the env files of the includes around it.

use std::collections::BTreeMap;

use super::Variable;

/// Layers of variables; outer ones win.
#[derive(Clone)]
pub(super) struct Environment<'a> {
    base: &'a dyn Fn(&str) -> Variable,
    project: Option<String>,
    layers: Vec<BTreeMap<String, String>>,
}

impl<'a> Environment<'a> {
    pub fn new(base: &'a dyn Fn(&str) -> Variable) -> Self {
        Self { base, project: None, layers: Vec::new() }
    }

    /// Makes the project's name known as `COMPOSE_PROJECT_NAME`, as Compose does.
    pub fn set_project(&mut self, name: &str) {
        self.project = Some(name.to_owned());
    }

    /// The same variables with an inner layer.
    pub fn with_layer(&self, layer: BTreeMap<String, String>) -> Self {
        let mut inner = self.clone();
        inner.layers.push(layer);
        inner
    }

    pub fn get(&self, name: &str) -> Variable {
        if let (Some(project), "COMPOSE_PROJECT_NAME") = (&self.project, name) {
            return Variable::Value(project.clone());
        }
        match (self.base)(name) {
            Variable::Unset => {}
            known => return known,
        }
        match self.layers.iter().find_map(|layer| layer.get(name)) {
            Some(value) => Variable::Value(value.clone()),
            None => Variable::Unset,
        }
    }

    /// The value, where it is known here.
    pub fn value(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Variable::Value(value) => Some(value),
            Variable::Unset | Variable::Host => None,
        }
    }
}
