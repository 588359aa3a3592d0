//! Reads what `ssh` and `docker` say when they refuse, and gives it a class, a short detail and a
//! hint. Pure functions over text.

use crate::model::{Blocked, BlockedReason};

/// The class of a failure of `ssh` itself, from its standard error.
pub fn of_ssh(stderr: &str) -> Blocked {
    const LOGIN: &[&str] = &[
        "permission denied (",
        "host key verification failed",
        "remote host identification has changed",
        "too many authentication failures",
        "no supported authentication methods",
        "no matching host key type",
        "unable to negotiate",
        "no matching key exchange",
        "unprotected private key file",
        "load key",
        "this account is currently not available",
        "account has expired",
    ];
    let lower = stderr.to_lowercase();
    let reason = if LOGIN.iter().any(|text| lower.contains(text)) {
        BlockedReason::LoginRefused
    } else {
        BlockedReason::Unreachable
    };
    let detail = last_lines(stderr, 2).join("; ");
    let detail = match (lower.contains("host key verification failed"), detail.is_empty()) {
        (true, _) if lower.contains("identification has changed") => {
            "the host key is not the known one; if that is expected, remove the old one with \
             `ssh-keygen -R`"
                .to_owned()
        }
        (true, _) => {
            "the host key is not known; connect once with `ssh` to check and accept it".to_owned()
        }
        (false, true) => "the connection was lost".to_owned(),
        (false, false) => detail,
    };
    Blocked { reason, detail }
}

/// The class of a failure of `docker`, from its standard error; none when it is not about Docker
/// as a whole.
pub fn of_docker(stderr: &str) -> Option<Blocked> {
    let lower = stderr.to_lowercase();
    let last = last_lines(stderr, 1).join("");
    let any = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    let (reason, detail) = if any(&["is not a docker command", "unknown shorthand flag: 'p' in -p"])
    {
        let detail = "Docker has no Compose plugin; install docker-compose-plugin (version 2.20 \
                      or later)";
        (BlockedReason::NoCompose, detail.to_owned())
    } else if lower.contains("permission denied") {
        let detail = "the log-in user may not use Docker; add it to the group docker";
        (BlockedReason::PermissionDenied, detail.to_owned())
    } else if any(&[
        "cannot connect to the docker daemon",
        "is the docker daemon running",
        "error during connect",
        "context deadline exceeded",
    ]) {
        (BlockedReason::EngineDown, last)
    } else {
        return None;
    };
    Some(Blocked { reason, detail })
}

/// What to do about a failure, where that is known from its text.
pub fn hint(text: &str, host: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let any = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    let hint = if any(&["no space left on device", "disk quota exceeded"]) {
        format!("free some space on {host}; `docker system df` there shows what Docker uses")
    } else if any(&["permission denied while trying to connect to the docker"]) {
        format!("add the log-in user to the group docker on {host}")
    } else if any(&["cannot connect to the docker daemon", "is the docker daemon running"]) {
        format!("start Docker on {host}; `systemctl status docker` there says why it is down")
    } else if any(&["pull access denied", "no basic auth credentials", "unauthorized"]) {
        format!("log in to the registry on {host} with `docker login`, and check the image's name")
    } else if any(&["manifest unknown", "manifest for", "not found: manifest"]) {
        "push the image first, or check its name and tag".to_owned()
    } else if any(&["no such image", "image not found"]) {
        format!("the image is not on {host}; the next plan pulls it")
    } else if any(&["port is already allocated", "address already in use"]) {
        format!("find what uses the port on {host} with `docker ps` or `ss -ltnp`")
    } else if any(&["server gave http response to https client"]) {
        format!("list the registry under insecure-registries in {host}'s /etc/docker/daemon.json")
    } else if any(&["is already in use by container", "conflict. the container name"]) {
        "another container has that name; rename or remove it".to_owned()
    } else if any(&["volume is in use"]) {
        "a container that is not of this environment uses the volume; remove it first".to_owned()
    } else if any(&["non-overlapping ipv4 address pool", "pool overlaps"]) {
        "give the network a subnet of its own, or remove networks that nothing uses".to_owned()
    } else if any(&["permission denied", "operation not permitted", "read-only file system"]) {
        format!(
            "the log-in user may not write there; give it the directory on {host}, or use another user"
        )
    } else if any(&["no such host", "i/o timeout", "tls handshake timeout", "connection refused"]) {
        format!("check that {host} can reach the registry")
    } else {
        return None;
    };
    Some(hint)
}

/// The last lines of a text that say something, without `ssh`'s remarks about shared connections.
pub fn last_lines(text: &str, count: usize) -> Vec<String> {
    let noise = |line: &str| {
        line.contains("disabling multiplexing") || line.starts_with("mux_client_request_session")
    };
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.trim().is_empty() && !noise(line))
        .collect();
    let start = lines.len().saturating_sub(count);
    lines.get(start..).unwrap_or_default().iter().map(|line| shorten(line)).collect()
}

/// A line without control characters, cut at 400 characters.
fn shorten(line: &str) -> String {
    let clean: String = line
        .chars()
        .map(|character| if character.is_control() && character != '\t' { ' ' } else { character })
        .collect();
    match clean.char_indices().nth(400) {
        Some((at, _)) => format!("{}…", clean.get(..at).unwrap_or_default()),
        None => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_that_ssh_fails_has_its_class() {
        let unreachable = [
            "ssh: Could not resolve hostname nowhere: Name or service not known",
            "ssh: connect to host 10.0.0.9 port 22: Connection refused",
            "ssh: connect to host 10.0.0.9 port 22: No route to host",
            "ssh: connect to host 10.0.0.9 port 22: Connection timed out",
            "Timeout, server 10.0.0.9 not responding.",
            "kex_exchange_identification: Connection closed by remote host",
            "client_loop: send disconnect: Broken pipe",
            "",
        ];
        for text in unreachable {
            assert_eq!(of_ssh(text).reason, BlockedReason::Unreachable, "{text}");
            assert!(!of_ssh(text).detail.is_empty());
        }
        let refused = [
            "deploy@10.0.0.9: Permission denied (publickey,password).",
            "No ED25519 host key is known for 10.0.0.9 and you have requested strict checking.\n\
             Host key verification failed.",
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "Received disconnect from 10.0.0.9 port 22:2: Too many authentication failures",
            "Unable to negotiate with 10.0.0.9 port 22: no matching host key type found.",
        ];
        for text in refused {
            assert_eq!(of_ssh(text).reason, BlockedReason::LoginRefused, "{text}");
        }
    }

    #[test]
    fn each_way_that_docker_fails_has_its_class() {
        let class = |text| of_docker(text).map(|blocked| blocked.reason);
        let socket = "Got permission denied while trying to connect to the Docker daemon socket at \
                      unix:///var/run/docker.sock: dial unix: connect: permission denied";
        assert_eq!(class(socket), Some(BlockedReason::PermissionDenied));
        let down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the \
                    docker daemon running?";
        assert_eq!(class(down), Some(BlockedReason::EngineDown));
        let compose = "docker: 'compose' is not a docker command.\nSee 'docker --help'";
        assert_eq!(class(compose), Some(BlockedReason::NoCompose));
        assert_eq!(class("Error: No such object: 0123"), None);
    }

    #[test]
    fn lines_are_the_last_that_say_something() {
        let text =
            "one\n\nControlSocket /x already exists, disabling multiplexing\r\ntwo\u{1b}[0m\n\n";
        assert_eq!(last_lines(text, 2), ["one", "two [0m"]);
        assert_eq!(last_lines(&"x".repeat(1000), 1)[0].chars().count(), 401);
    }
}
