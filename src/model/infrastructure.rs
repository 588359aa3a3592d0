//! What is below the application: machines, disks, networks, names, and what makes machines hosts, as
//! attributes, each with the rule by which it may change. They refer to each other by address, never by an
//! id that a cloud gives, so that a plan can name what does not exist yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Address, Blocked};

/// A part of the infrastructure that should exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct InfraSpec {
    /// Its name where it is kept.
    pub name: String,
    /// What it should be, by attribute.
    pub attributes: BTreeMap<String, Attribute>,
}

impl InfraSpec {
    /// Something with a name and attributes.
    pub fn new(
        name: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'static str, Value, Rule)>,
    ) -> Self {
        let attributes = attributes.into_iter();
        let attributes = attributes
            .map(|(attribute, value, rule)| (attribute.to_owned(), Attribute { value, rule }));
        Self { name: name.into(), attributes: attributes.collect() }
    }

    /// The value of an attribute.
    pub fn value(&self, attribute: &str) -> Option<&Value> {
        self.attributes.get(attribute).map(|attribute| &attribute.value)
    }
}

/// What an attribute should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Attribute {
    /// Its value.
    pub value: Value,
    /// How it may change.
    pub rule: Rule,
}

/// How an attribute may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Where the object is.
    InPlace,
    /// Where the object is, to a greater number; a lesser one makes another object.
    Grows,
    /// Only by making another object.
    Replaces,
    /// Not at all: it matters when the object is made, and the cloud does not tell it afterwards.
    Once,
}

/// What stands in a plan for a value that nobody knows yet.
pub const KNOWN_AFTER_APPLY: &str = "(known after apply)";

/// What is `given` to an object that the cloud does not let go of.
pub const FIXED: &str = "fixed";

/// What there is of an environment's infrastructure: what has our mark.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InfraState {
    /// By address; more than one where somebody copied the mark.
    pub objects: BTreeMap<Address, Vec<InfraObject>>,
    /// What could not be looked at, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blocked: BTreeMap<Address, Blocked>,
}

impl InfraState {
    /// What is there at an address: the one that counts.
    pub fn first(&self, address: &Address) -> Option<&InfraObject> {
        self.objects.get(address).and_then(|found| found.first())
    }
    /// Puts the one that was there first before its copies: it is the one that counts.
    pub fn sort(&mut self) {
        for found in self.objects.values_mut() {
            found.sort_by_key(|object| (object.id.parse::<u64>().ok(), object.id.clone()));
        }
    }
    /// Adds something that was found.
    pub fn add(&mut self, address: Address, object: InfraObject) {
        self.objects.entry(address).or_default().push(object);
    }
}

/// A part of the infrastructure that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfraObject {
    /// Its id where it is kept.
    pub id: String,
    /// Its name there.
    pub name: String,
    /// What it is, as far as can be told.
    pub attributes: BTreeMap<String, Value>,
    /// What it was given, such as `public_ip`.
    pub given: BTreeMap<String, String>,
}
