//! `volumes` of a service: `data:/var/lib`, `./conf:/etc/conf:ro` and the like into the long form.

use super::{Outcome, Reading, unexpected};
use crate::config::compose::interpolate::{has_reference, outside_references};
use crate::config::yaml::{Map, Node, Value};

/// A mount in its long form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::config::compose) struct Long {
    /// `bind` or `volume`.
    pub kind: &'static str,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    no_copy: Option<bool>,
    propagation: Option<String>,
    selinux: Option<String>,
}

/// Rewrites one mount.
pub(super) fn rewrite(node: &mut Node, reading: Reading) -> Outcome {
    let short = match &node.value {
        Value::Map(_) => return Ok(()),
        Value::String(short) => short.clone(),
        _ => return unexpected(node),
    };
    // What a reference stands for decides between a path and a volume's name.
    let undecided = reading == Reading::Template && short.starts_with("${") && {
        let first = outside_references(&short, ':').first().map_or("", |at| &short[..*at]);
        has_reference(first)
    };
    if undecided {
        return Ok(());
    }
    match parse(&short) {
        Ok(mount) => {
            node.value = mount.into_value(node);
            Ok(())
        }
        Err(_) if reading != Reading::Strict => Ok(()),
        Err(message) => Err(message),
    }
}

impl Long {
    fn into_value(self, node: &Node) -> Value {
        let text = |text: String| Node::string(text, &node.span);
        let flag = |value: bool| Node::new(Value::Bool(value), &node.span);
        let mut map = Map::default();
        map.insert("type", text(self.kind.to_owned()));
        if !self.source.is_empty() {
            map.insert("source", text(self.source));
        }
        map.insert("target", text(clean_target(&self.target)));
        if self.read_only {
            map.insert("read_only", flag(true));
        }
        let mut bind = Map::default();
        if let Some(selinux) = self.selinux {
            bind.insert("selinux", text(selinux));
        }
        if let Some(propagation) = self.propagation {
            bind.insert("propagation", text(propagation));
        }
        if self.kind == "bind" {
            // The short form has always created missing folders.
            bind.insert("create_host_path", flag(true));
        }
        if !bind.is_empty() {
            map.insert("bind", Node::new(Value::Map(bind), &node.span));
        }
        if let Some(no_copy) = self.no_copy {
            let mut volume = Map::default();
            if no_copy {
                volume.insert("nocopy", flag(true));
            }
            map.insert("volume", Node::new(Value::Map(volume), &node.span));
        }
        Value::Map(map)
    }
}

/// A target without `.`, `..` and doubled slashes.
pub(in crate::config::compose) fn clean_target(target: &str) -> String {
    if target.is_empty() || target.contains('$') {
        return target.to_owned();
    }
    super::super::files::clean(std::path::Path::new(target)).to_string_lossy().into_owned()
}

/// Reads a short form.
pub(in crate::config::compose) fn parse(short: &str) -> Result<Long, String> {
    let mut mount = Long { kind: "volume", ..Long::default() };
    match short.len() {
        0 => return Err("an empty mount".to_owned()),
        1 | 2 => {
            mount.target = short.to_owned();
            return Ok(mount);
        }
        _ => {}
    }
    let mut fields: Vec<String> = vec![String::new()];
    let mut braces = 0usize;
    let mut chars = short.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(field) = fields.last_mut() else { break };
        let drive = field.chars().count() == 1 && field.starts_with(char::is_alphabetic);
        match c {
            '$' if chars.peek() == Some(&'{') => braces += 1,
            '}' if braces > 0 => braces -= 1,
            ':' if braces == 0 && !drive => {
                fields.push(String::new());
                continue;
            }
            _ => {}
        }
        field.push(c);
    }
    if fields.iter().any(String::is_empty) {
        return Err(format!("`{short}` has nothing between two colons"));
    }
    let mut fields = fields.into_iter();
    let (first, second) = (fields.next().unwrap_or_default(), fields.next());
    match second {
        None => mount.target = first,
        Some(target) => (mount.source, mount.target) = (first, target),
    }
    let options = fields.next().unwrap_or_default();
    if fields.next().is_some() {
        return Err(format!("`{short}` has too many colons"));
    }
    for option in options.split(',') {
        match option {
            "ro" => mount.read_only = true,
            "rw" => mount.read_only = false,
            "nocopy" => mount.no_copy = Some(true),
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                mount.propagation = Some(option.to_owned());
            }
            "z" | "Z" => mount.selinux = Some(option.to_owned()),
            // Compose passes over what it doesn't know.
            _ => {}
        }
    }
    if is_path(&mount.source) {
        mount.kind = "bind";
    } else if mount.no_copy.is_none() {
        mount.no_copy = Some(false);
    }
    Ok(mount)
}

/// Whether a source is a path rather than a volume's name.
fn is_path(source: &str) -> bool {
    let mut chars = source.chars();
    let (first, second) = (chars.next(), chars.next());
    source.starts_with(['.', '/', '~'])
        || source.starts_with("\\\\")
        || (first.is_some_and(char::is_alphabetic) && second == Some(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        let show = |short: &str| {
            let mount = parse(short).unwrap();
            format!("{} {} {} {}", mount.kind, mount.source, mount.target, mount.read_only)
        };
        assert_eq!(show("/data"), "volume  /data false");
        assert_eq!(show("data:/d"), "volume data /d false");
        assert_eq!(show("./a:/d:ro"), "bind ./a /d true");
        assert_eq!(show("C:\\a:/d"), "bind C:\\a /d false");
        assert_eq!(show("~/a:/d:rw,z"), "bind ~/a /d false");
        assert_eq!(show("${A:-b}:/d"), "volume ${A:-b} /d false");
        for short in ["", "aa::b", ":abc", "aa:/b:cc:dd"] {
            assert!(parse(short).is_err(), "{short}");
        }
        assert_eq!(clean_target("/a/../b/"), "/b");
    }
}
