//! One environment's keys: Stagecraft's own, services by name, and variables in snake_case.

use serde_json::{Map as JsonMap, Value as Json, json};

use crate::config::diagnostic::did_you_mean;
use crate::config::yaml::{Node, Value};

use super::decode::{Decode, Fields, Problems, Rest, record};
use super::kinds::*;
use super::schema::Definitions;
use super::texts::*;
use super::types::*;

record! {
    /// An environment. Besides the keys here it takes names of Compose services, with what is
    /// different for them, and in snake_case the variables that the Compose files interpolate:
    /// `postgres_volume` sets `POSTGRES_VOLUME`.
    pub struct EnvironmentSettings (
        /// What is different for services, and variables.
        rest: EnvironmentRest
    ) {
        /// The env file: its absolute path on remote hosts, else a path relative to this file.
        env_file: Option<Spanned<FilePath>>,
        /// What the hosts are.
        world: World = World::Hosts,
        /// The hosts of each role, in place of those at the top.
        hosts: Option<Table<Name, OneOrMore<Listed>>>,
        /// The domain that it is served under. It also sets the variable `DOMAIN`.
        domain: Option<Domain>,
        /// Further domains.
        domains: Vec<Domain>,
        /// How Traefik is set up.
        traefik: Traefik,
        /// Variables for the Compose files, by their exact names.
        variables: Table<Variable, Scalar>,
        /// How services roll out, where they do not say otherwise.
        rollout: RolloutSettings,
        /// Where releases, the lock and the journal are kept, in place of the setting at the top.
        state: Option<StateSettings>,
        /// The file on this machine that holds secret values, in place of the setting at the top.
        secrets: Option<Secrets>,
        /// Options of its cloud.
        cloud: Option<CloudOverride>,
        /// Whether Stagecraft refuses to destroy its hosts and volumes.
        protect: bool,
        /// When CI deploys it.
        ci: Option<EnvironmentCi>,
    }
}

record! {
    /// What is different for a service in an environment.
    pub struct ServiceOverride {
        /// Where it runs. Missing: `container`. Said outright, `container` also deploys a service
        /// whose Compose profile is not enabled.
        mode: Option<Mode>,
        /// Where an `external` service is found.
        url: Option<Url>,
        /// How many containers run on each host, in place of the Compose file's number.
        replicas: Option<Amount>,
        /// The role whose hosts run it.
        role: Option<Spanned<Name>>,
        /// How it rolls out.
        rollout: RolloutSettings,
        /// A command that runs once per release: words, or a line for the shell.
        release_command: Option<Command>,
    }
}

/// A variable's value: text, or a number or boolean as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar(pub String);

impl Decode for Scalar {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Some(text) = written(node) else {
            problems.expected("a string, a number or a boolean", node);
            return None;
        };
        if text.contains('\0') {
            problems.refused(node, "holds a NUL character", "leave it out");
            return None;
        }
        Some(Self(text))
    }
    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

/// Whether a mapping is rather one of Stagecraft's own keys misspelt than a service: the name is
/// near, and nothing in it is a key of a service.
fn misspelt(key: &str, node: &Node, known: &[&str]) -> bool {
    let Some(map) = node.as_map().filter(|map| !map.is_empty()) else { return false };
    did_you_mean(key, known.iter().copied()).is_some()
        && map.keys().all(|key| !ServiceOverride::KEYS.contains(&key))
}

/// A scalar as it is written, so that `3.10` stays `3.10`.
fn written(node: &Node) -> Option<String> {
    let text = node.scalar_text()?;
    if matches!(node.value, Value::String(_)) {
        return Some(text);
    }
    let written = node.span.text();
    let plain = !written.is_empty()
        && written.chars().all(|c| c.is_ascii_alphanumeric() || "+-._:".contains(c));
    Some(if plain { written.to_owned() } else { text })
}

/// The keys of an environment that are not Stagecraft's own.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentRest {
    /// What is different for services, by name.
    pub services: Table<Name, ServiceOverride>,
    /// Variables by the snake_case key.
    pub variables: Table<SnakeCase, Scalar>,
    /// Where Stagecraft's own keys could have been meant.
    pub known: Vec<&'static str>,
}

impl Rest for EnvironmentRest {
    fn decode(fields: &mut Fields<'_>) -> Self {
        let mut rest = Self { known: fields.known().to_vec(), ..Self::default() };
        for (key, entry) in fields.leftover() {
            match &entry.value.value {
                Value::Map(_) | Value::Null
                    if Name::fits(key) && !misspelt(key, &entry.value, &rest.known) =>
                {
                    rest.services.read(key, entry, fields.problems);
                }
                Value::Map(_) | Value::Null | Value::List(_) => {
                    fields.unknown(key, &entry.key, &[]);
                }
                _ if SnakeCase::fits(key) => rest.variables.read(key, entry, fields.problems),
                _ => fields.unknown(key, &entry.key, &[]),
            }
        }
        rest
    }
    fn schema(object: &mut JsonMap<String, Json>, definitions: &mut Definitions) {
        let (service, variable) =
            (ServiceOverride::schema(definitions), Scalar::schema(definitions));
        // Only a snake_case key can be a variable; none of Stagecraft's own keys is anything else.
        object.insert("patternProperties".into(), json!({ "^[^a-z]|[^a-z0-9_]": service }));
        object.insert("additionalProperties".into(), json!({ "anyOf": [variable, service] }));
        object.insert("propertyNames".into(), json!({ "pattern": Name::PATTERN }));
    }
}
