//! Holds requests and answers to the vendor's own description of the API, where it is at hand.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::digitalocean::Exchange;

/// A description in the manner of OpenAPI 3.0.
pub struct Judge {
    description: Value,
    /// Whether a content that is required may not be missing.
    strict: bool,
    /// What holds values to a schema, by the schema's text: to make one takes its time.
    validators: RefCell<BTreeMap<String, Validator>>,
}

impl Judge {
    fn new(description: Value, strict: bool) -> Self {
        Self { description, strict, validators: RefCell::default() }
    }

    /// The description of DigitalOcean's API; none where it is not at hand.
    pub fn digitalocean() -> Option<Self> {
        let mut description = description("digitalocean.json")?;
        null_as_a_type(&mut description);
        Some(Self::new(description, false))
    }

    /// The description of Headscale's API; none where it is not at hand. It is in Swagger 2.0.
    pub fn headscale() -> Option<Self> {
        let mut description = description("headscale.swagger.json")?;
        null_as_not_set(&mut description["definitions"]);
        let paths = description["paths"].as_object_mut()?.values_mut();
        let operations = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
        operations.for_each(content_in_its_place);
        Some(Self::new(description, true))
    }

    /// What Tailscale says of its API in prose, as schemas of ours.
    pub fn tailscale() -> Self {
        Self::new(super::described::tailscale(), true)
    }

    /// What is wrong with an exchange.
    pub fn faults(&self, exchange: &Exchange) -> Vec<String> {
        let Exchange { method, path, body, status, answer } = exchange;
        let what = format!("{method} {path} {status}");
        let Some(operation) = self.operation(path, &method.to_lowercase()) else {
            return vec![format!("{what}: there is no such operation")];
        };
        let mut faults = Vec::new();
        let content = self.resolved(&operation["requestBody"]);
        let wants = content["content"]["application/json"]["schema"].clone();
        let required = self.strict && content["required"] == true;
        match (body, wants.is_null()) {
            (Some(body), false) => self.check(&wants, body, &format!("{what}: body"), &mut faults),
            (Some(body), true) => faults.push(format!("{what}: a body, {body}")),
            (None, _) if required => faults.push(format!("{what}: no body")),
            (None, _) => {}
        }
        let responses = &operation["responses"];
        let response = match &responses[status.to_string()] {
            Value::Null => &responses["default"],
            found => found,
        };
        let schema = &self.resolved(response)["content"]["application/json"]["schema"];
        match answer {
            Some(answer) if !schema.is_null() => {
                self.check(schema, answer, &format!("{what}: answer"), &mut faults);
            }
            Some(_) => faults.push(format!("{what}: an answer with a content")),
            None => {}
        }
        faults
    }

    fn operation(&self, path: &str, method: &str) -> Option<&Value> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &String| {
            let of: Vec<&str> = template.split('/').collect();
            of.len() == parts.len()
                && of.iter().zip(&parts).all(|(of, part)| of.starts_with('{') || of == part)
        };
        let mut paths: Vec<&String> =
            self.description["paths"].as_object()?.keys().filter(|path| fits(path)).collect();
        // What is spelled out goes before what is left open.
        paths.sort_by_key(|path| path.matches('{').count());
        paths.into_iter().find_map(|path| self.description["paths"][path].get(method))
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(place) => self.description.pointer(&place[1..]).unwrap(),
            None => value,
        }
    }

    fn check(&self, schema: &Value, value: &Value, what: &str, faults: &mut Vec<String>) {
        let mut validators = self.validators.borrow_mut();
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut whole = json!({ "allOf": [schema] });
            for place in ["components", "definitions"] {
                if self.description[place].is_object() {
                    whole[place] = self.description[place].clone();
                }
            }
            jsonschema::draft4::new(&whole).unwrap()
        });
        faults.extend(
            validator
                .iter_errors(value)
                .map(|error| format!("{what}{}: {error}", error.instance_path())),
        );
    }
}

/// A vendor's description, from where those are kept.
fn description(file: &str) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places =
        [std::env::var_os("STAGECRAFT_SPECS").map(Into::into), Some(root.join("../shared/specs"))];
    let mut places = places.into_iter().flatten();
    let text = places.find_map(|place| std::fs::read_to_string(place.join(file)).ok())?;
    serde_json::from_str(&text).unwrap()
}

/// OpenAPI 3.0 says `nullable` where JSON Schema names a type.
fn null_as_a_type(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(null_as_a_type),
        Value::Object(map) => {
            if map.get("nullable") == Some(&Value::Bool(true))
                && let Some(Value::String(kind)) = map.get("type")
            {
                let both = json!([kind, "null"]);
                map.insert("type".into(), both);
            }
            map.values_mut().for_each(null_as_a_type);
        }
        _ => {}
    }
}

/// Swagger 2.0 has what OpenAPI 3.0 calls a content in other places.
fn content_in_its_place(operation: &mut Value) {
    let content = |schema: &Value| json!({ "application/json": { "schema": schema } });
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    if let Some(body) = parameters.iter().find(|parameter| parameter["in"] == "body") {
        operation["requestBody"] =
            json!({ "content": content(&body["schema"]), "required": body["required"] });
    }
    for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        response["content"] = content(&response["schema"]);
    }
}

/// In protobuf's JSON an object or a time that is not set is null. The gateway passes over a field that
/// it does not know, so that nobody would notice a wrong one.
fn null_as_not_set(definitions: &mut Value) {
    for definition in definitions.as_object_mut().into_iter().flat_map(Map::values_mut) {
        // `Any` holds whatever there is.
        if definition["additionalProperties"].is_null() {
            definition["additionalProperties"] = false.into();
        }
        let properties = definition.get_mut("properties").and_then(Value::as_object_mut);
        for property in properties.into_iter().flat_map(Map::values_mut) {
            if property["$ref"].is_string() || property["format"] == "date-time" {
                *property = json!({ "anyOf": [property.clone(), { "type": "null" }] });
            } else if property["format"] == "uint64" {
                property["pattern"] = "^[0-9]+$".into();
            }
        }
    }
}
