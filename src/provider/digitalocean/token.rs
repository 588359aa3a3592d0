//! The API token: from a variable, or from doctl's own configuration.

use std::path::PathBuf;

use crate::model::Failure;

/// Finds the token. `var` looks variables up.
///
/// # Errors
/// Neither place has one.
pub fn find(name: &str, var: &dyn Fn(&str) -> Option<String>) -> Result<String, Failure> {
    if let Some(token) = var(name).map(|token| token.trim().to_owned()).filter(|t| !t.is_empty()) {
        return Ok(token);
    }
    if let Some(path) = place(var).filter(|path| path.exists()) {
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::new(format!("doctl's {} can't be read: {error}", path.display()))
                .hint(format!("or set ${name}"))
        })?;
        if let Some(context) = other_context(&text) {
            let what =
                format!("doctl works with its context `{context}`, and not with its own token");
            return Err(Failure::new(what).hint(format!("set ${name} to the token that is meant")));
        }
        if let Some(token) = of_doctl(&text) {
            return Ok(token);
        }
    }
    Err(Failure::new(format!("there is no token for DigitalOcean in ${name}"))
        .hint("set the variable, or log in with `doctl auth init`"))
}

/// Where doctl keeps its configuration: `$XDG_CONFIG_HOME/doctl/config.yaml` on Linux.
fn place(var: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(var("HOME")?));
    let folder = match var("XDG_CONFIG_HOME") {
        Some(folder) => PathBuf::from(folder),
        None if cfg!(target_os = "macos") => home()?.join("Library/Application Support"),
        None => home()?.join(".config"),
    };
    Some(folder.join("doctl/config.yaml"))
}

/// The context that doctl works with, if it is not the default one: that has a token of its own.
fn other_context(text: &str) -> Option<&str> {
    let value = text.lines().find_map(|line| line.strip_prefix("context:"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty() && value != "default").then_some(value)
}

/// `access-token` of doctl's configuration, which is for its default context.
fn of_doctl(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("access-token:"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doctls_token_is_found_and_nobody_elses() {
        let text =
            "access-token: dop_v1_one\nauth-contexts:\n  other: dop_v1_two\ncontext: default\n";
        assert_eq!(of_doctl(text).as_deref(), Some("dop_v1_one"));
        assert_eq!(of_doctl("access-token: \"\"\n"), None);
        assert_eq!(other_context(text), None);
        assert_eq!(other_context("context: other\n"), Some("other"));
        let refused = find("TOKEN", &|_| None).unwrap_err();
        assert_eq!(refused.what, "there is no token for DigitalOcean in $TOKEN");
        let found = find("TOKEN", &|name| (name == "TOKEN").then(|| " dop \n".into()));
        assert_eq!(found.unwrap(), "dop");
    }
}
