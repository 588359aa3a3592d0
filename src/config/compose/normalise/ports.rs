//! `ports`: `8080:80`, `127.0.0.1:8000-8010:80/udp` and ranges, each into the long form.

use std::net::IpAddr;

use super::{Outcome, Reading, unexpected};
use crate::config::compose::interpolate::{has_reference, outside_references};
use crate::config::diagnostic::Span;
use crate::config::yaml::{Map, Node, Value};

/// A service publishes fewer ports than this; ranges could otherwise fill the memory.
const MAX_PORTS: usize = 100_000;

/// Rewrites a list of ports.
pub(super) fn rewrite(node: &mut Node, reading: Reading) -> Outcome {
    let Value::List(items) = &mut node.value else { return unexpected(node) };
    let mut ports = Vec::with_capacity(items.len());
    for item in items.iter() {
        let short = match &item.value {
            Value::Map(_) => {
                ports.push(item.clone());
                continue;
            }
            Value::Int(port) => port.to_string(),
            Value::String(short) => short.clone(),
            _ => return unexpected(item),
        };
        match parse(&short) {
            Ok(found) => ports.extend(found.into_iter().map(|port| port.into_node(&item.span))),
            // Without interpolation Compose leaves the whole list as it is.
            Err(_) if reading == Reading::Raw => return Ok(()),
            Err(_) if reading == Reading::Template && has_reference(&short) => {
                match templated(&short) {
                    Some(port) => ports.push(port.into_node(&item.span)),
                    None => ports.push(item.clone()),
                }
            }
            Err(message) => return Err(message),
        }
        if ports.len() > MAX_PORTS {
            return Err("publishes more ports than a machine has".to_owned());
        }
    }
    *items = ports;
    Ok(())
}

/// A port in its long form.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Long {
    host_ip: String,
    published: String,
    target: Target,
    protocol: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Port(u16),
    Reference(String),
}

impl Long {
    fn into_node(self, span: &Span) -> Node {
        let mut map = Map::default();
        map.insert("mode", Node::string("ingress", span));
        if !self.host_ip.is_empty() {
            map.insert("host_ip", Node::string(self.host_ip, span));
        }
        match self.target {
            Target::Port(0) => {}
            Target::Port(port) => map.insert("target", Node::new(Value::Int(port.into()), span)),
            Target::Reference(text) => map.insert("target", Node::string(text, span)),
        }
        if !self.published.is_empty() {
            map.insert("published", Node::string(self.published, span));
        }
        map.insert("protocol", Node::string(self.protocol, span));
        Node::new(Value::Map(map), span)
    }
}

/// Address, host port, container port.
fn split(short: &str, colons: &[usize]) -> (String, String, String) {
    let part = |from: usize, to: usize| short[from..to].to_owned();
    match colons {
        [] => (String::new(), String::new(), short.to_owned()),
        [one] => (String::new(), part(0, *one), part(one + 1, short.len())),
        [.., before, last] => {
            (part(0, *before), part(before + 1, *last), part(last + 1, short.len()))
        }
    }
}

/// The protocol and the port before it.
fn split_protocol(port: &str) -> (String, &str) {
    match port.split_once('/').unwrap_or((port, "")) {
        ("", _) => (String::new(), ""),
        (port, "") => ("tcp".to_owned(), port),
        (port, protocol) => (protocol.to_ascii_lowercase(), port),
    }
}

fn parse(short: &str) -> Result<Vec<Long>, String> {
    let colons: Vec<usize> = short.match_indices(':').map(|(at, _)| at).collect();
    let (address, published, target) = split(short, &colons);
    let (protocol, target) = split_protocol(&target);
    let host_ip = address_of(&address)?;
    if target.is_empty() {
        return Err(format!("`{short}` names no container port"));
    }
    let (start, end) = range(target)
        .ok_or_else(|| format!("`{target}` is not a container port or a range of those"))?;
    let host = match published.as_str() {
        "" => None,
        text => Some(
            range(text)
                .ok_or_else(|| format!("`{text}` is not a host port or a range of those"))?,
        ),
    };
    if let Some((first, last)) = host
        && last - first != end - start
        && start != end
    {
        return Err(format!("the ranges `{published}` and `{target}` differ in length"));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{protocol}` is no protocol; use tcp, udp or sctp"));
    }
    let mut ports: Vec<Long> = (0..=end - start)
        .map(|offset| Long {
            host_ip: host_ip.clone(),
            published: match host {
                None => String::new(),
                Some((first, last)) if start == end && first != last => format!("{first}-{last}"),
                Some((first, _)) => (u32::from(first) + u32::from(offset)).to_string(),
            },
            target: Target::Port(start + offset),
            protocol: protocol.clone(),
        })
        .collect();
    // Compose lists a range by its ports' text.
    ports.sort_by_key(|port| match &port.target {
        Target::Port(target) => target.to_string(),
        Target::Reference(text) => text.clone(),
    });
    Ok(ports)
}

/// `80` or `80-90`.
fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let mut parts = text.split('-');
    let start = number(parts.next()?)?;
    match parts.next() {
        None => Some((start, start)),
        Some(end) => number(end).filter(|end| *end >= start).map(|end| (start, end)),
    }
}

/// The address before the ports; an IPv6 one may stand in brackets.
fn address_of(text: &str) -> Result<String, String> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match inner.is_empty() || inner.parse::<IpAddr>().is_ok() {
        true => Ok(inner.to_owned()),
        false => Err(format!("`{text}` is not an IP address")),
    }
}

/// A short form with references in it, where its parts can be told apart.
fn templated(short: &str) -> Option<Long> {
    let (host_ip, published, target) = split(short, &outside_references(short, ':'));
    let (target, protocol) = match outside_references(&target, '/')[..] {
        [] => (target.as_str(), "tcp"),
        [slash] => (&target[..slash], &target[slash + 1..]),
        _ => return None,
    };
    let target = match target.parse() {
        Ok(port) => Target::Port(port),
        // A range's length must be known here.
        Err(_) if !has_reference(target) || !outside_references(target, '-').is_empty() => {
            return None;
        }
        Err(_) => Target::Reference(target.to_owned()),
    };
    Some(Long { host_ip, published, target, protocol: protocol.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(short: &str) -> Vec<String> {
        parse(short)
            .unwrap()
            .into_iter()
            .map(|port| {
                let Target::Port(target) = port.target else { panic!("a reference") };
                format!("{}|{}|{}|{}", port.host_ip, port.published, target, port.protocol)
            })
            .collect()
    }

    #[test]
    fn short_forms() {
        assert_eq!(long("80"), ["||80|tcp"]);
        assert_eq!(long("127.0.0.1:8080:80/UDP"), ["127.0.0.1|8080|80|udp"]);
        assert_eq!(long("[::1]::80"), ["::1||80|tcp"]);
        assert_eq!(long("::1:80:80"), ["::1|80|80|tcp"]);
        assert_eq!(long("8000-8001:80-81"), ["|8000|80|tcp", "|8001|81|tcp"]);
        assert_eq!(long("8000-8010:80"), ["|8000-8010|80|tcp"]);
        assert_eq!(long("99-100"), ["||100|tcp", "||99|tcp"]);
        for short in ["", "a", "80:", "1-2:3-5", "80/tcp/x", "80/x", "70000", "x:1:1", "+80"] {
            assert!(parse(short).is_err(), "{short}");
        }
    }

    #[test]
    fn short_forms_with_references() {
        let port = templated("${IP}:${P:-80}:8080/udp").unwrap();
        assert_eq!((port.host_ip.as_str(), port.published.as_str()), ("${IP}", "${P:-80}"));
        assert_eq!((port.target, port.protocol.as_str()), (Target::Port(8080), "udp"));
        assert_eq!(templated("${P}").unwrap().target, Target::Reference("${P}".to_owned()));
        assert_eq!(templated("${A}-${B}"), None);
    }
}
