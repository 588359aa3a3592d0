//! Cloud objects: machines, disks, private networks and firewalls as attributes, each with the rule by
//! which it may change. Objects refer to each other by address, never by an id that the cloud gives, so
//! that a plan can name what does not exist yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Address;

/// A cloud object that should exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CloudSpec {
    /// The cloud's name for it.
    pub name: String,
    /// What it should be, by attribute.
    pub attributes: BTreeMap<String, Attribute>,
}

impl CloudSpec {
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

/// How an attribute of a cloud object may change.
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

/// What is `given` to an object that the cloud does not let go of.
pub const FIXED: &str = "fixed";

/// What a cloud has of an environment: the objects with our mark.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CloudState {
    /// By address; more than one where somebody copied the mark.
    pub objects: BTreeMap<Address, Vec<CloudObject>>,
}

/// A cloud object that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudObject {
    /// The cloud's id of it.
    pub id: String,
    /// The cloud's name for it.
    pub name: String,
    /// What it is, as far as the cloud tells.
    pub attributes: BTreeMap<String, Value>,
    /// What the cloud has given it, such as `public_ip`.
    pub given: BTreeMap<String, String>,
}
