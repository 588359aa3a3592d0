//! What Tailscale says of its API in prose (its `publicapi` folder), in schemas. Requests are held to it to the
//! letter; `/name`, which that prose names but does not describe, is as its own client has it.

use serde_json::{Value, json};

/// A description in the manner of OpenAPI 3.0, of the operations that are used. The content of a token's
/// request is a form, which is written here as the object that it comes to.
pub fn tailscale() -> Value {
    let text = json!({ "type": "string" });
    let truth = json!({ "type": "boolean" });
    let time =
        json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9-]{5}T[0-9:]{8}(\\.[0-9]+)?Z$" });
    let tags = json!({ "type": "array", "items": { "type": "string", "pattern": "^tag:[a-zA-Z][a-zA-Z0-9-]*$" } });
    let create = object(
        &[],
        json!({ "reusable": truth, "ephemeral": truth, "preauthorized": truth, "tags": tags }),
    );
    let devices = object(&[], json!({ "create": create }));
    let capabilities = object(&["devices"], json!({ "devices": devices }));
    let key = json!({ "id": text, "key": text, "created": time, "expires": time, "revoked": time,
        "capabilities": capabilities, "description": text, "invalid": truth });
    let key = object(&["id", "created", "expires"], key);
    let wanted = json!({ "capabilities": capabilities,
        "expirySeconds": { "type": "integer", "minimum": 1 },
        "description": { "type": "string", "maxLength": 50, "pattern": "^[a-zA-Z0-9 _-]*$" } });
    let token = json!({ "access_token": text, "token_type": text, "expires_in": { "type": "integer" },
        "scope": text, "tags": text });
    let grant = json!({ "client_id": text, "client_secret": text, "scope": text, "tags": text,
        "grant_type": { "enum": ["client_credentials"] } });
    let id = object(&["id"], json!({ "id": text }));
    let listed = |name: &str, item: &Value| {
        object(&[name], json!({ name: { "type": "array", "items": item } }))
    };
    let one = |name: &str, kind: &Value| Some(object(&[name], json!({ name: kind })));
    let nothing = object(&[], json!({}));
    let device = device(&text, &truth, &tags);
    json!({ "paths": {
        "/api/v2/oauth/token": {
            "post": operation(
                Some(object(&["client_secret"], grant)),
                Some(object(&["access_token", "token_type", "expires_in", "scope"], token)),
            ),
        },
        "/api/v2/tailnet/{tailnet}/devices": { "get": operation(None, Some(listed("devices", &device))) },
        "/api/v2/tailnet/{tailnet}/keys": {
            "get": operation(None, Some(listed("keys", &id))),
            "post": operation(Some(object(&["capabilities"], wanted)), Some(key.clone())),
        },
        "/api/v2/tailnet/{tailnet}/keys/{id}": {
            "get": operation(None, Some(key)),
            "delete": operation(None, None),
        },
        "/api/v2/device/{id}": {
            "get": operation(None, Some(device)),
            "delete": operation(None, None),
        },
        "/api/v2/device/{id}/expire": { "post": operation(None, None) },
        "/api/v2/device/{id}/tags": { "post": operation(one("tags", &tags), Some(nothing.clone())) },
        "/api/v2/device/{id}/name": { "post": operation(one("name", &text), Some(nothing.clone())) },
        "/api/v2/device/{id}/authorized": {
            "post": operation(one("authorized", &truth), Some(nothing.clone())),
        },
        "/api/v2/device/{id}/key": {
            "post": operation(Some(object(&[], json!({ "keyExpiryDisabled": truth }))), Some(nothing)),
        },
    } })
}

/// An object that has nothing else.
fn object(required: &[&str], properties: Value) -> Value {
    let mut object =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    // Draft 4 wants no empty list.
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// An operation that is asked with a content and answers one, or an error.
fn operation(body: Option<Value>, answer: Option<Value>) -> Value {
    let content =
        |schema: Value| json!({ "content": { "application/json": { "schema": schema } } });
    let error = json!({ "message": { "type": "string" },
        "data": { "type": "array" }, "status": { "type": "integer" } });
    let mut operation = json!({ "responses": { "200": {},
        "default": content(object(&["message"], error)) } });
    if let Some(answer) = answer {
        operation["responses"]["200"] = content(answer);
    }
    if let Some(body) = body {
        operation["requestBody"] = content(body);
        operation["requestBody"]["required"] = true.into();
    }
    operation
}

/// A device. Of one that is shared in, some texts are empty.
fn device(text: &Value, truth: &Value, tags: &Value) -> Value {
    let texts = json!({ "type": "array", "items": text });
    let mut properties = json!({
        "addresses": texts, "enabledRoutes": texts, "advertisedRoutes": texts, "tags": tags,
        "clientConnectivity": { "type": "object" }, "postureIdentity": { "type": "object" },
        "distro": { "type": "object" },
    });
    let always = [
        "id",
        "nodeId",
        "user",
        "name",
        "hostname",
        "clientVersion",
        "os",
        "created",
        "expires",
        "machineKey",
        "nodeKey",
    ];
    for name in always.into_iter().chain(["lastSeen", "tailnetLockError", "tailnetLockKey"]) {
        properties[name] = text.clone();
    }
    let truths = [
        "updateAvailable",
        "keyExpiryDisabled",
        "authorized",
        "isExternal",
        "blocksIncomingConnections",
        "isEphemeral",
        "connectedToControl",
    ];
    for name in truths.into_iter().chain(["sshEnabled"]) {
        properties[name] = truth.clone();
    }
    object(&[&["addresses"], always.as_slice(), truths.as_slice()].concat(), properties)
}
