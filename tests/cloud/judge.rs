//! Holds requests and answers to the vendor's own description of the API, where it is at hand.

use std::path::Path;

use serde_json::{Value, json};

use super::digitalocean::Exchange;

/// A description in OpenAPI 3.0.
pub struct Judge {
    description: Value,
}

impl Judge {
    /// The description of DigitalOcean's API; none where it is not at hand.
    pub fn digitalocean() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let places = [
            std::env::var_os("STAGECRAFT_SPECS").map(Into::into),
            Some(root.join("../shared/specs")),
        ];
        let text = places
            .into_iter()
            .flatten()
            .find_map(|place| std::fs::read_to_string(place.join("digitalocean.json")).ok())?;
        let mut description: Value = serde_json::from_str(&text).unwrap();
        null_as_a_type(&mut description);
        Some(Self { description })
    }

    /// What is wrong with an exchange.
    pub fn faults(&self, exchange: &Exchange) -> Vec<String> {
        let Exchange { method, path, body, status, answer } = exchange;
        let what = format!("{method} {path} {status}");
        let Some(operation) = self.operation(path, &method.to_lowercase()) else {
            return vec![format!("{what}: there is no such operation")];
        };
        let mut faults = Vec::new();
        let wants =
            self.resolved(&operation["requestBody"])["content"]["application/json"]["schema"]
                .clone();
        match (body, wants.is_null()) {
            (Some(body), false) => self.check(&wants, body, &format!("{what}: body"), &mut faults),
            (Some(body), true) => faults.push(format!("{what}: a body, {body}")),
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
        let whole = json!({ "allOf": [schema], "components": self.description["components"] });
        let validator = jsonschema::draft4::new(&whole).unwrap();
        faults.extend(
            validator
                .iter_errors(value)
                .map(|error| format!("{what}{}: {error}", error.instance_path())),
        );
    }
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
