//! Texts with rules: names, variables, addresses, paths.

use std::ops::Deref;

use serde_json::{Value as Json, json};

use crate::config::yaml::Node;

use super::decode::{Decode, Problems};
use super::schema::Definitions;

/// Texts with a rule: what they are, the schema's pattern, the same rule in code, and what to
/// write instead.
macro_rules! text {
    ($($(#[doc = $doc:literal])+ $name:ident: $what:literal, $pattern:literal, $rule:expr, $help:literal;)*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub String);

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Rule for $name {
            const WHAT: &str = $what;
            const PATTERN: &str = $pattern;
            const HELP: &str = $help;
            fn fits(text: &str) -> bool {
                let rule: fn(&str) -> bool = $rule;
                rule(text)
            }
        }

        impl Decode for $name {
            fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
                let Some(text) = node.as_str() else {
                    problems.expected(concat!("a string: ", $what), node);
                    return None;
                };
                if !Self::fits(text) {
                    problems.refused(node, concat!("is not ", $what), $help);
                    return None;
                }
                Some(Self(text.to_owned()))
            }
            fn schema(_: &mut Definitions) -> Json {
                json!({ "type": "string", "pattern": $pattern })
            }
            fn to_json(&self) -> Option<Json> {
                Some(Json::String(self.0.clone()))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

/// A rule for texts.
pub trait Rule {
    /// What such a text is, with its article.
    const WHAT: &str;
    /// The rule as a regular expression.
    const PATTERN: &str;
    /// What to write instead of a text that breaks the rule.
    const HELP: &str;
    /// Whether a text keeps the rule.
    fn fits(text: &str) -> bool;
}

/// First one character, then more of the same or another sort.
fn shaped(text: &str, first: fn(&char) -> bool, rest: fn(&char) -> bool) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| first(&c)) && chars.all(|c| rest(&c))
}

fn alphanumeric(c: &char) -> bool {
    c.is_ascii_alphanumeric()
}

fn lower(c: &char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn no_control(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

text! {
    /// A name of a host, role or service: safe in a path, an address and a command.
    Name: "a name", "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        |text| shaped(text, alphanumeric, |c| alphanumeric(c) || "._-".contains(*c)),
        "use letters, digits, `.`, `_` and `-`, beginning with a letter or digit";
    /// A name that is also a part of a Compose project's name: a project or an environment.
    Label: "a lower-case name", "^[a-z0-9][a-z0-9_-]*$",
        |text| shaped(text, lower, |c| lower(c) || "_-".contains(*c)),
        "use lower-case letters, digits, `_` and `-`, beginning with a letter or digit";
    /// The name of an environment variable.
    Variable: "a variable's name", "^[A-Za-z_][A-Za-z0-9_]*$",
        |text| shaped(text, |c| c.is_ascii_alphabetic() || *c == '_', |c| alphanumeric(c) || *c == '_'),
        "use letters, digits and `_`, not beginning with a digit";
    /// A key that stands for a variable.
    SnakeCase: "a variable in snake_case", "^[a-z][a-z0-9_]*$",
        |text| shaped(text, char::is_ascii_lowercase, |c| lower(c) || *c == '_'),
        "use lower-case letters, digits and `_`";
    /// What `ssh` connects to: a host name or an IP address.
    HostAddress: "a host name or an IP address", "^[A-Za-z0-9:_][A-Za-z0-9:._%-]*$",
        |text| shaped(text, |c| alphanumeric(c) || ":_".contains(*c), |c| alphanumeric(c) || ":._%-".contains(*c)),
        "write a name or an IP address alone; user and port have keys of their own";
    /// A log-in name.
    User: "a user's name", "^[A-Za-z0-9_][A-Za-z0-9._-]*$",
        |text| shaped(text, |c| alphanumeric(c) || *c == '_', |c| alphanumeric(c) || "._-".contains(*c)),
        "use letters, digits, `.`, `_` and `-`";
    /// A tag of a tailnet.
    MeshTag: "a tag", "^tag:[a-z][a-z0-9-]*$",
        |text| text.strip_prefix("tag:").is_some_and(
            |name| shaped(name, char::is_ascii_lowercase, |c| lower(c) || *c == '-')),
        "write it like `tag:shop`, with lower-case letters, digits and `-`";
    /// A DNS name.
    Domain: "a domain name", "^[A-Za-z0-9*_][A-Za-z0-9._-]*$",
        |text| shaped(text, |c| alphanumeric(c) || "*_".contains(*c), |c| alphanumeric(c) || "._-".contains(*c)),
        "write it like `shop.example`, without a scheme or a path";
    /// A range of IP addresses.
    Cidr: "a range of addresses", "^[0-9A-Fa-f.:]+/[0-9]{1,3}$",
        |text| text.split_once('/').is_some_and(|(ip, bits)| {
            let most = match ip.parse::<std::net::IpAddr>() {
                Ok(std::net::IpAddr::V4(_)) => 32,
                Ok(std::net::IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        }),
        "write it like `203.0.113.0/24`";
    /// The place of a project's images: a registry, possibly with a path.
    Registry: "a registry", "^(?!.*//)[A-Za-z0-9][A-Za-z0-9.:/_-]*[A-Za-z0-9]$",
        |text| text.len() > 1 && text.ends_with(|c: char| alphanumeric(&c)) && !text.contains("//")
            && shaped(text, alphanumeric, |c| alphanumeric(c) || ".:/_-".contains(*c)),
        "write it like `ghcr.io/acme/shop`: no scheme, no slash at the end";
    /// An address on the web.
    Url: "an address", "^https?://[^\\s/][^\\s]*$",
        |text| ["http://", "https://"].iter().filter_map(|scheme| text.strip_prefix(scheme)).any(
            |rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)),
        "write it like `http://localhost:4000`";
    /// A path of a file or folder.
    FilePath: "a path", "^[^\\u0000-\\u001f\\u007f-\\u009f]+$", no_control, "write a path of at least one character";
    /// A folder in which a host has a disk.
    MountPoint: "an absolute path", "^(/[A-Za-z0-9_@%+=-][A-Za-z0-9._@%+=-]*)+$",
        |text| text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(
            |part| shaped(part, |c| alphanumeric(c) || "_@%+=-".contains(*c), |c| alphanumeric(c) || "._@%+=-".contains(*c)))),
        "write it like `/var/lib/shop`: no spaces, no part that begins with a dot, no slash at the end";
    /// Some text on one line.
    Text: "a text on one line", "^[^\\u0000-\\u001f\\u007f-\\u009f]+$", no_control, "write at least one character";
    /// One word of a command.
    Word: "a word of a command", "^[^\\u0000]*$", |text| !text.contains('\0'), "leave out the NUL character";
}
