//! References to images: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
//! Source: the grammar of `github.com/distribution/reference`.

/// A reference's parts.
struct Parts<'a> {
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(image: &'a str) -> Self {
        let (name, digest) = match image.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (image, None),
        };
        match name.rsplit_once(':') {
            // Behind a host it is a port.
            Some((repository, tag)) if !tag.contains('/') => {
                Self { repository, tag: Some(tag), digest }
            }
            _ => Self { repository: name, tag: None, digest },
        }
    }
}

/// A reference without its tag and digest.
pub fn repository(image: &str) -> &str {
    Parts::of(image).repository
}

/// A reference as Docker lists it: without its own registry, with the tag that it would take, and without one
/// beside a digest.
pub fn familiar(image: &str) -> String {
    let Parts { repository, tag, digest } = Parts::of(image);
    let hubs = ["docker.io/", "index.docker.io/"];
    let name = hubs.iter().find_map(|hub| repository.strip_prefix(hub)).unwrap_or(repository);
    let name = name.strip_prefix("library/").unwrap_or(name);
    match (digest, tag) {
        (Some(digest), _) => format!("{name}@{digest}"),
        (None, tag) => format!("{name}:{}", tag.unwrap_or("latest")),
    }
}

/// Whether a text is a reference that Docker takes.
pub fn is_reference(image: &str) -> bool {
    let Parts { repository, tag, digest } = Parts::of(image);
    let path = match repository.split_once('/') {
        Some((host, path)) if is_host(host) => path,
        _ => repository,
    };
    path.split('/').all(is_component) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest)
}

/// Whether a text is a tag, which may have a digest behind it.
pub fn is_version(text: &str) -> bool {
    match text.split_once('@') {
        Some((tag, digest)) => is_tag(tag) && is_digest(digest),
        None => is_tag(text),
    }
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(word) && text.chars().all(|c| word(c) || ".-".contains(c))
}

fn is_digest(text: &str) -> bool {
    let parts = text.split_once(':');
    parts.is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && hex.len() >= 32
            && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

/// Whether the first part of a name is a registry's host.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    };
    let telling =
        port.is_some() || name.contains('.') || name == "localhost" || name.starts_with('[');
    let upper = name.chars().any(|c| c.is_ascii_uppercase());
    (telling || upper)
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-[]:".contains(c))
        && port.is_none_or(|port| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()))
}

/// Lower-case letters and digits, between which may stand a full stop, one or two underscores, or hyphens.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    // Between two that are plain there is an empty one.
    let fits = |separator: &str| {
        matches!(separator, "." | "_" | "__") || separator.chars().all(|c| c == '-')
    };
    text.starts_with(plain) && text.ends_with(plain) && text.split(plain).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_a_tag() {
        assert_eq!(repository("nginx"), "nginx");
        assert_eq!(repository("10.0.0.1:5000/a/b"), "10.0.0.1:5000/a/b");
        assert_eq!(repository("10.0.0.1:5000/a/b:v1"), "10.0.0.1:5000/a/b");
        assert_eq!(repository("a/b:v1@sha256:0"), "a/b");
    }

    #[test]
    fn a_reference_is_found_as_docker_lists_it() {
        assert_eq!(familiar("redis"), "redis:latest");
        assert_eq!(familiar("docker.io/library/redis:7"), "redis:7");
        assert_eq!(familiar("index.docker.io/acme/a:1"), "acme/a:1");
        assert_eq!(familiar("r:5000/a"), "r:5000/a:latest");
        assert_eq!(familiar("r:5000/a:1@sha256:0"), "r:5000/a@sha256:0");
    }

    #[test]
    fn references_are_told_from_what_docker_refuses() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for image in [
            "nginx",
            "nginx:1.27-alpine",
            "library/a__b.c-d--e:V_1",
            "localhost/x",
            "10.0.0.1:5000/a/b:v1",
            "[fd00::1]:5000/a",
            "Registry.example/a",
            &format!("ghcr.io/a/b@{digest}"),
            &format!("a:v1@{digest}"),
        ] {
            assert!(is_reference(image), "{image}");
        }
        for image in [
            "",
            "blog:",
            ":v1",
            "blog:bad version",
            "blog:a/b:c",
            "Blog",
            "a//b",
            "a/",
            "a:-x",
            "a@sha256:0",
            "-a",
            "a___b",
        ] {
            assert!(!is_reference(image), "{image}");
        }
        assert!(is_version("v1.2-rc_3") && is_version(&format!("v1@{digest}")));
        assert!(!is_version("") && !is_version("a b") && !is_version("-x") && !is_version("a/b:c"));
    }
}
