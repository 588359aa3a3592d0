//! `include`: whole Compose projects whose resources join this one, with folders of their own.

use std::path::{Path as FilePath, PathBuf};

use super::environment::Environment;
use super::files::{clean, join, relative};
use super::load::{Place, Session};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::yaml::{Entry, Map, Node, Value};

type Problems = Vec<Diagnostic>;

const SECTIONS: [&str; 6] = ["services", "volumes", "networks", "secrets", "configs", "models"];

/// One entry of `include`.
struct Include {
    paths: Vec<(String, Span)>,
    project_dir: Option<String>,
    env_files: Vec<(String, Span)>,
    span: Span,
}

/// Loads what a model includes and takes its resources over. `chain` names the files on the way.
pub(super) fn apply(
    session: &Session,
    env: &Environment,
    model: &mut Map,
    place: &Place,
    chain: &[PathBuf],
) -> Result<(), Problems> {
    let Some(include) = model.remove("include") else { return Ok(()) };
    for entry in entries(session, &include).map_err(|problem| vec![*problem])? {
        let imported = load(session, env, &entry, place, chain)?;
        take_over(imported, model)?;
    }
    Ok(())
}

fn load(
    session: &Session,
    env: &Environment,
    entry: &Include,
    place: &Place,
    chain: &[PathBuf],
) -> Result<Map, Problems> {
    let one = |span: &Span, message: String| vec![problem(span, message)];
    let mut files = Vec::with_capacity(entry.paths.len());
    for (path, span) in &entry.paths {
        session.refuse_remote(path, span).map_err(|problem| vec![*problem])?;
        files.push(join(&place.loader_dir, path));
    }
    let Some(first) = files.first() else {
        let warning = Diagnostic::warning("compose::include", "an include names no file");
        session.warn(warning.at(&entry.span, "ignored"));
        return Ok(Map::default());
    };
    if chain.contains(first) {
        let mut links: Vec<String> = chain.iter().map(|path| session.display(path)).collect();
        links.push(session.display(first));
        return Err(one(&entry.span, format!("files include each other: {}", links.join(" → "))));
    }
    let within =
        |dir: &FilePath| relative(&place.loader_dir, dir).unwrap_or_else(|| dir.to_owned());
    let (loader_dir, working_dir) = match &entry.project_dir {
        None => {
            let dir = clean(first.parent().unwrap_or(FilePath::new("")));
            (dir.clone(), within(&dir))
        }
        Some(dir) if FilePath::new(dir).is_absolute() => (dir.into(), dir.into()),
        Some(dir) => {
            let full = join(&place.loader_dir, dir);
            let folder = match session.files.is_dir(&full) {
                true => full.clone(),
                false => clean(full.parent().unwrap_or(FilePath::new(""))),
            };
            (full, within(&folder))
        }
    };
    let mut env_files = Vec::new();
    for (file, span) in &entry.env_files {
        let path = join(&place.loader_dir, file);
        if !session.files.exists(&path) || session.files.is_dir(&path) {
            return Err(one(span, format!("the env file {file} is not there")));
        }
        env_files.push(path);
    }
    let default = loader_dir.join(".env");
    if env_files.is_empty() && session.files.exists(&default) && !session.files.is_dir(&default) {
        env_files.push(default);
    }
    let layer = session.read_env_files(&env_files, env).map_err(|problem| vec![*problem])?;
    let env = env.with_layer(layer);
    let place = Place { working_dir, loader_dir, resolve_paths: true };
    session.merge(&files, &env, &place, chain)
}

fn entries(session: &Session, include: &Node) -> Result<Vec<Include>, Box<Diagnostic>> {
    let wrong = |node: &Node, what: &str| {
        Box::new(problem(&node.span, format!("{what}, not {}", node.kind_name())))
    };
    let items = match &include.value {
        Value::List(items) => items,
        Value::Null => return Ok(Vec::new()),
        _ => return Err(wrong(include, "`include` must be a list")),
    };
    let strings = |node: Option<&Node>| match node.map(|node| (node, &node.value)) {
        None | Some((_, Value::Null)) => Ok(Vec::new()),
        Some((node, Value::String(text))) => Ok(vec![(text.clone(), node.span.clone())]),
        Some((_, Value::List(items))) => items
            .iter()
            .map(|item| match item.as_str() {
                Some(text) => Ok((text.to_owned(), item.span.clone())),
                None => Err(wrong(item, "a path must be a string")),
            })
            .collect(),
        Some((node, _)) => Err(wrong(node, "a path must be a string or a list of those")),
    };
    items
        .iter()
        .map(|item| match &item.value {
            Value::String(path) => Ok(Include {
                paths: vec![(path.clone(), item.span.clone())],
                project_dir: None,
                env_files: Vec::new(),
                span: item.span.clone(),
            }),
            Value::Map(map) => {
                let known = ["path", "env_file", "project_directory"];
                for (key, entry) in map.entries() {
                    if !known.contains(&key) && !key.starts_with("x-") {
                        let message = format!("include: `{key}` means nothing here");
                        let warning = Diagnostic::warning("compose::include", message);
                        session.warn(warning.at(&entry.key, "ignored"));
                    }
                }
                let dir = map.get("project_directory").and_then(Node::as_str);
                Ok(Include {
                    paths: strings(map.get("path"))?,
                    project_dir: dir.filter(|dir| !dir.is_empty()).map(str::to_owned),
                    env_files: strings(map.get("env_file"))?,
                    span: item.span.clone(),
                })
            }
            _ => Err(wrong(item, "an include must be a path or a mapping")),
        })
        .collect()
}

/// Adds the imported resources; one that is there already must be the same.
fn take_over(mut imported: Map, model: &mut Map) -> Result<(), Problems> {
    let mut problems = Vec::new();
    for section in SECTIONS {
        let Some(from) = imported.remove(section) else { continue };
        let span = from.span.clone();
        let Value::Map(from) = from.value else { continue };
        if model.get(section).and_then(Node::as_map).is_none() {
            model.insert(section, Node::new(Value::Map(Map::default()), &span));
        }
        let Some(to) = model.get_mut(section).and_then(Node::as_map_mut) else { continue };
        for (name, entry) in from {
            let Entry { key, value } = &entry;
            match to.get(&name) {
                Some(own) if own.to_json() == value.to_json() => {}
                Some(own) => problems.push(
                    problem(
                        key,
                        format!("{section}.{name} is included, but another one has its name"),
                    )
                    .help(format!("the other one is in {}", own.span.source.name)),
                ),
                None => to.insert_entry(name, entry),
            }
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems),
    }
}

fn problem(span: &Span, message: String) -> Diagnostic {
    Diagnostic::error("compose::include", message).at(span, "included here")
}
