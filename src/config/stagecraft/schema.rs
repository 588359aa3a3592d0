//! The JSON Schema of `stagecraft.yml`, written by the same declarations that read the file.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::decode::Decode;
use super::types::File;

/// The schemas of the named mappings, by name.
pub type Definitions = BTreeMap<String, Json>;

/// The schema of the whole file, as `stagecraft schema` prints it.
pub fn schema() -> Json {
    let mut definitions = Definitions::new();
    let file = File::schema(&mut definitions);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "stagecraft.yml",
        "definitions": definitions,
        "allOf": [file],
    })
}

/// The schema of a mapping, under construction.
#[derive(Debug, Default)]
pub struct Object {
    schema: Map<String, Json>,
    properties: Map<String, Json>,
    required: Vec<&'static str>,
}

impl Object {
    /// Adds a key.
    pub fn property(
        &mut self,
        key: &'static str,
        doc: &[&str],
        schema: Json,
        default: Option<Json>,
        required: bool,
    ) {
        let mut property = described(doc, schema);
        if let (Some(default), Json::Object(property)) = (default, &mut property) {
            property.insert("default".into(), default);
        }
        self.properties.insert(key.into(), property);
        if required {
            self.required.push(key);
        }
    }

    /// The schema itself, for what is not a key.
    pub fn extra(&mut self) -> &mut Map<String, Json> {
        &mut self.schema
    }
}

/// Defines a named mapping once and refers to it.
pub fn define(
    name: &str,
    doc: &[&str],
    definitions: &mut Definitions,
    fill: impl FnOnce(&mut Object, &mut Definitions),
) -> Json {
    if !definitions.contains_key(name) {
        // The place is taken first, so that a mapping may contain itself.
        definitions.insert(name.into(), Json::Null);
        let mut object = Object::default();
        fill(&mut object, definitions);
        let Object { mut schema, properties, required } = object;
        schema.insert("description".into(), text(doc).into());
        // A key with nothing after it counts as an empty mapping, unless something must be in it.
        schema.insert(
            "type".into(),
            if required.is_empty() { json!(["object", "null"]) } else { json!("object") },
        );
        schema.insert("properties".into(), Json::Object(properties));
        schema.entry("additionalProperties").or_insert(Json::Bool(false));
        if !required.is_empty() {
            schema.insert("required".into(), json!(required));
        }
        definitions.insert(name.into(), Json::Object(schema));
    }
    json!({ "$ref": format!("#/definitions/{name}") })
}

/// The lines of a documentation comment as one text.
fn text(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A schema with a description. Beside a reference draft 7 ignores every other word, hence `allOf`.
pub fn described(doc: &[&str], schema: Json) -> Json {
    let mut schema = match schema {
        Json::Object(schema) if !schema.contains_key("$ref") => schema,
        other => Map::from_iter([("allOf".to_owned(), Json::Array(vec![other]))]),
    };
    schema.insert("description".into(), text(doc).into());
    Json::Object(schema)
}
