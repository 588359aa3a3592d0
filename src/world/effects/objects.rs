//! Acts on networks, volumes and images.

use serde_json::Value;

use crate::model::image::repository;
use crate::model::{ImagePin, Object, digest_of};
use crate::world::layout::{DEFINITION_LABEL, ENVIRONMENT_LABEL, Layout};
use crate::world::quote::{quote, quote_all};

/// A value as Docker's flags take it.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The pairs of a mapping, or of a list of `KEY=VALUE`, as `KEY=VALUE`.
fn pairs(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Object(map)) => {
            map.iter().map(|(key, value)| format!("{key}={}", scalar(value))).collect()
        }
        Some(Value::Array(list)) => list.iter().map(scalar).collect(),
        _ => Vec::new(),
    }
}

struct Flags(Vec<String>);

impl Flags {
    fn one(&mut self, flag: &str, value: Option<&Value>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.0.extend([flag.to_owned(), scalar(value)]);
        }
    }
    fn each(&mut self, flag: &str, value: Option<&Value>) {
        for pair in pairs(value) {
            self.0.extend([flag.to_owned(), pair]);
        }
    }
    fn switch(&mut self, flag: &str, value: Option<&Value>) {
        if value.and_then(Value::as_bool) == Some(true) {
            self.0.push(flag.to_owned());
        }
    }
    fn marks(&mut self, layout: &Layout, kind: &str, key: &str, definition: &Object) {
        for label in [
            format!("com.docker.compose.project={}", layout.project),
            format!("com.docker.compose.{kind}={key}"),
            format!("{ENVIRONMENT_LABEL}={}", layout.mark),
            format!("{DEFINITION_LABEL}={}", digest_of(definition)),
        ] {
            self.0.extend(["--label".to_owned(), label]);
        }
    }
    fn quoted(&self) -> String {
        quote_all(self.0.iter().map(String::as_str))
    }
}

/// Creates an object unless it is there, made from the same definition.
fn create(kind: &str, name: &str, definition: &Object, flags: &Flags) -> String {
    let labels = match kind {
        "network" => "docker network inspect --format '{{json .Labels}}'",
        _ => "docker volume inspect --format '{{json .Labels}}'",
    };
    format!(
        "if labels=$({labels} {name} 2>/dev/null); then\n  case $labels in *{digest}*) exit 0 ;; \
         esac\n  give_up {taken}\nfi\ntry docker {kind} create {flags} {name} >/dev/null\n",
        name = quote(name),
        digest = quote(&format!("\"{DEFINITION_LABEL}\":\"{}\"", digest_of(definition))),
        taken = quote(&format!("a {kind} of that name is there and was not made from this file")),
        flags = flags.quoted(),
    )
}

pub fn create_network(layout: &Layout, name: &str, key: &str, definition: &Object) -> String {
    let mut flags = Flags(Vec::new());
    flags.one("--driver", definition.get("driver"));
    flags.each("--opt", definition.get("driver_opts"));
    flags.switch("--internal", definition.get("internal"));
    flags.switch("--attachable", definition.get("attachable"));
    flags.switch("--ipv6", definition.get("enable_ipv6"));
    if let Some(Value::Object(ipam)) = definition.get("ipam") {
        flags.one("--ipam-driver", ipam.get("driver"));
        flags.each("--ipam-opt", ipam.get("options"));
        let pools = ipam.get("config").and_then(Value::as_array);
        for pool in pools.into_iter().flatten().filter_map(Value::as_object) {
            flags.one("--subnet", pool.get("subnet"));
            flags.one("--ip-range", pool.get("ip_range"));
            flags.one("--gateway", pool.get("gateway"));
            flags.each("--aux-address", pool.get("aux_addresses"));
        }
    }
    flags.each("--label", definition.get("labels"));
    flags.marks(layout, "network", key, definition);
    create("network", name, definition, &flags)
}

pub fn remove_network(name: &str) -> String {
    let name = quote(name);
    format!(
        "for id in $(docker network inspect --format '{{{{range $id, $it := \
         .Containers}}}}{{{{$id}}}} {{{{end}}}}' {name} 2>/dev/null); do\n  lenient \"$GONE\\|is not \
         connected to\" docker network disconnect -f {name} \"$id\"\ndone\n\
         lenient \"$GONE\" docker network rm {name}\n"
    )
}

pub fn create_volume(layout: &Layout, name: &str, key: &str, definition: &Object) -> String {
    let mut flags = Flags(Vec::new());
    flags.one("--driver", definition.get("driver"));
    flags.each("--opt", definition.get("driver_opts"));
    flags.each("--label", definition.get("labels"));
    flags.marks(layout, "volume", key, definition);
    create("volume", name, definition, &flags)
}

pub fn remove_volume(name: &str) -> String {
    format!("lenient \"$GONE\" docker volume rm {}\n", quote(name))
}

pub fn pull(image: &str, pin: Option<&ImagePin>) -> String {
    let reference = quote(image);
    let id_of = "docker image inspect --format '{{.Id}}'";
    let Some(pin) = pin else {
        return format!(
            "{id_of} {reference} >/dev/null 2>&1 || try docker pull -q {reference} >/dev/null\n"
        );
    };
    let id = quote(&pin.id);
    // An image whose last name went keeps its layers but forgets its digest. It is asked for again
    // so that a later release can still name it; without the registry it runs all the same.
    let remember = match &pin.digest {
        Some(digest) => {
            let exact = quote(&format!("{}@{digest}", repository(image)));
            format!(
                "{id_of} {exact} >/dev/null 2>&1 || docker pull -q {exact} >/dev/null 2>&1 || :\n  "
            )
        }
        None => String::new(),
    };
    let mut script = format!(
        "[ \"$({id_of} {reference} 2>/dev/null)\" != {id} ] || exit 0\n\
         if {id_of} {id} >/dev/null 2>&1; then\n  {remember}try docker tag {id} {reference}\n  \
         exit 0\nfi\n"
    );
    match &pin.digest {
        Some(digest) => {
            let exact = quote(&format!("{}@{digest}", repository(image)));
            script.push_str(&format!("try docker pull -q {exact} >/dev/null\n"));
            if !image.contains('@') {
                script.push_str(&format!("try docker tag {exact} {reference}\n"));
            }
        }
        None => script.push_str(&format!(
            "try docker pull -q {reference} >/dev/null\n\
             [ \"$({id_of} {reference})\" = {id} ] || give_up 'the registry has another image \
             under that reference, and the one that was asked for has no digest'\n"
        )),
    }
    script
}
