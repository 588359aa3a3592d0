//! Interpolation of a whole file, and the types that some strings take once interpolated.

use std::sync::LazyLock;

use super::conceal;
use super::interpolate::{Interpolator, Problem, has_reference};
use super::path::Path;
use super::places::Places;
use super::problems::Problems;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::yaml::{Node, Value};

/// The type that a string becomes.
#[derive(Debug, Clone, Copy)]
enum Cast {
    Integer,
    Number,
    Boolean,
}

/// Compose casts interpolated strings in these places, before it validates them.
static CASTS: LazyLock<Places<Cast>> = LazyLock::new(|| {
    Places::new(&[
        ("services.*.cpu_count", Cast::Integer),
        ("services.*.cpu_percent", Cast::Number),
        ("services.*.cpu_period", Cast::Integer),
        ("services.*.cpu_quota", Cast::Integer),
        ("services.*.cpu_rt_period", Cast::Integer),
        ("services.*.cpu_rt_runtime", Cast::Integer),
        ("services.*.cpus", Cast::Number),
        ("services.*.cpu_shares", Cast::Integer),
        ("services.*.init", Cast::Boolean),
        ("services.*.deploy.replicas", Cast::Integer),
        ("services.*.deploy.update_config.parallelism", Cast::Integer),
        ("services.*.deploy.update_config.max_failure_ratio", Cast::Number),
        ("services.*.deploy.rollback_config.parallelism", Cast::Integer),
        ("services.*.deploy.rollback_config.max_failure_ratio", Cast::Number),
        ("services.*.deploy.restart_policy.max_attempts", Cast::Integer),
        ("services.*.deploy.placement.max_replicas_per_node", Cast::Integer),
        ("services.*.healthcheck.retries", Cast::Integer),
        ("services.*.healthcheck.disable", Cast::Boolean),
        ("services.*.oom_kill_disable", Cast::Boolean),
        ("services.*.oom_score_adj", Cast::Integer),
        ("services.*.pids_limit", Cast::Integer),
        ("services.*.ports.*.target", Cast::Integer),
        ("services.*.privileged", Cast::Boolean),
        ("services.*.read_only", Cast::Boolean),
        ("services.*.scale", Cast::Integer),
        ("services.*.stdin_open", Cast::Boolean),
        ("services.*.tty", Cast::Boolean),
        ("services.*.ulimits.*", Cast::Integer),
        ("services.*.ulimits.*.hard", Cast::Integer),
        ("services.*.ulimits.*.soft", Cast::Integer),
        ("services.*.volumes.*.read_only", Cast::Boolean),
        ("services.*.volumes.*.volume.nocopy", Cast::Boolean),
        ("networks.*.external", Cast::Boolean),
        ("networks.*.internal", Cast::Boolean),
        ("networks.*.attachable", Cast::Boolean),
        ("networks.*.enable_ipv4", Cast::Boolean),
        ("networks.*.enable_ipv6", Cast::Boolean),
        ("volumes.*.external", Cast::Boolean),
        ("secrets.*.external", Cast::Boolean),
        ("configs.*.external", Cast::Boolean),
    ])
});

/// Interpolates every string below `node`, reporting every one that can't be.
pub(super) fn interpolate(
    node: &mut Node,
    path: &Path,
    with: &Interpolator,
    problems: &mut Problems,
    warnings: &mut Problems,
) {
    walk(node, path, CASTS.at(path), with, problems, warnings);
}

fn walk(
    node: &mut Node,
    path: &Path,
    place: Option<&Places<Cast>>,
    with: &Interpolator,
    problems: &mut Problems,
    warnings: &mut Problems,
) {
    match &mut node.value {
        Value::String(text) => {
            if text.contains('$') {
                match with.substitute(text) {
                    Ok(replaced) => *text = replaced,
                    Err(problem) => {
                        problems.add(|| report(problem, &path.to_string(), &node.span, with));
                        return;
                    }
                }
                for name in with.take_missing() {
                    warnings.add(|| {
                        let what = format!(
                            "the variable `{name}` is not set; nothing stands in its place"
                        );
                        let warning = Diagnostic::warning("compose::unset-variable", what)
                            .at(&node.span, "used here");
                        // Docker Compose reads the same places as we do then.
                        match with.is_template() {
                            true => warning.help(how_to_set(&name, with)),
                            false => warning,
                        }
                    });
                }
            }
            if let Some(kind) = place.and_then(|place| place.here) {
                cast(node, kind, path, problems, warnings);
            }
        }
        Value::List(items) => {
            let place = place.and_then(Places::item);
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &path.index(index), place, with, problems, warnings);
            }
        }
        Value::Map(map) => {
            for (key, value) in map.iter_mut() {
                let place = place.and_then(|place| place.key(key));
                walk(value, &path.key(key), place, with, problems, warnings);
            }
        }
        _ => {}
    }
}

/// Where a variable gets its value.
fn how_to_set(name: &str, with: &Interpolator) -> String {
    match (with.is_template(), name) {
        (false, _) => format!("set `{name}` in the environment or in an env file"),
        (true, "IMAGE_TAG") => {
            "give a version: `--version VERSION`, or `deploy VERSION`".to_owned()
        }
        // Nobody sees on a host what a shell or a folder here holds.
        (true, _) => format!(
            "set `{name}` under the environment's `variables:` in stagecraft.yml, or in its secrets \
             file; neither `.env` nor this shell is asked"
        ),
    }
}

/// A problem in the words of a diagnostic.
fn report(problem: Problem, path: &str, span: &Span, with: &Interpolator) -> Diagnostic {
    match problem {
        Problem::Invalid(text) => {
            let message = match text.len() {
                0..=80 => format!("{path}: `{text}` is not a valid template"),
                _ => format!("{path}: not a valid template"),
            };
            Diagnostic::error("compose::interpolation", message)
                .at(span, "in this value")
                .help("write `${NAME}`, or `$$` for a dollar sign")
        }
        Problem::Required { name, message } => {
            let reason = if message.is_empty() { String::new() } else { format!(": {message}") };
            Diagnostic::error(
                "compose::required-variable",
                format!("{path}: the variable `{name}` is required but has no value{reason}"),
            )
            .at(span, "required here")
            .help(how_to_set(&name, with))
        }
        Problem::Unrepresentable(name) => Diagnostic::error(
            "compose::interpolation",
            format!("{path}: what stands inside `${{{name}…}}` has braces or line breaks that would end it early"),
        )
        .at(span, "in this value"),
        Problem::TooMuch => Diagnostic::error(
            "compose::interpolation",
            format!("{path}: references nest too deeply or become too long"),
        )
        .at(span, "in this value"),
    }
}

fn cast(
    node: &mut Node,
    cast: Cast,
    path: &Path,
    problems: &mut Problems,
    warnings: &mut Problems,
) {
    let Value::String(text) = &node.value else { return };
    if has_reference(text) {
        return;
    }
    let value = match cast {
        Cast::Integer => text.parse().ok().map(Value::Int),
        Cast::Number => text.parse().ok().map(Value::Float),
        Cast::Boolean => boolean(text, &node.span, warnings).map(Value::Bool),
    };
    match value {
        Some(value) => node.value = value,
        None => {
            let kind = match cast {
                Cast::Integer => "a whole number",
                Cast::Number => "a number",
                Cast::Boolean => "true or false",
            };
            let message = format!("{path} must be {kind}, not `{text}`");
            problems.add(|| conceal::error("compose::type", &message, node));
        }
    }
}

/// A boolean as Compose reads strings, YAML 1.1 words included, with its warning for those.
pub(super) fn boolean(text: &str, span: &Span, warnings: &mut Problems) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let value = match lower.as_str() {
        "true" | "y" | "yes" | "on" => true,
        "false" | "n" | "no" | "off" => false,
        _ => return None,
    };
    if !matches!(lower.as_str(), "true" | "false") {
        warnings.add(|| {
            Diagnostic::warning(
                "compose::boolean",
                format!("`{text}` is no boolean in YAML 1.2; write `{value}`"),
            )
            .at(span, "here")
        });
    }
    Some(value)
}
