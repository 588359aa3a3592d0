//! `extends`: a service that starts from another one, of this file or of another.

use std::path::{Path as FilePath, PathBuf};

use super::environment::Environment;
use super::files::{clean, join, relative};
use super::load::Session;
use super::merge::{apply_resets, extend_service};
use super::paths::Resolver;
use super::problems::Problems;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::yaml::{Map, Node, Value};

/// Chains of `extends` longer than this are refused; real ones have two links.
const MAX_CHAIN: usize = 64;

type Problem = Box<Diagnostic>;
type Resets = Vec<Vec<String>>;

/// Where the services of one file are looked up.
struct Place<'a> {
    /// The file that the load started with: what stands for "this file" in a chain.
    file: String,
    /// The folder that its paths start at.
    dir: PathBuf,
    services: &'a mut Map,
    resets: Resets,
}

/// Applies `extends` to every service of a model.
pub(super) fn apply(
    session: &Session,
    env: &Environment,
    model: &mut Map,
    file: &FilePath,
    dir: &FilePath,
    resets: &Resets,
) -> Result<(), Problem> {
    let Some(services) = model.get_mut("services") else { return Ok(()) };
    let Value::Map(services) = &mut services.value else {
        let message = format!("services must be a mapping, not {}", services.kind_name());
        return Err(Box::new(
            Diagnostic::error("compose::schema", message).at(&services.span, "here"),
        ));
    };
    // Most services extend nothing, and are left as they are.
    let plain = |service: &Node| service.as_map().is_some_and(|map| !map.contains_key("extends"));
    let extending = services.iter().filter(|(_, service)| !plain(service));
    let names: Vec<String> = extending.map(|(name, _)| name.to_owned()).collect();
    let mut place = Place {
        file: file.to_string_lossy().into_owned(),
        dir: dir.to_owned(),
        services,
        resets: resets.clone(),
    };
    for name in names {
        extend(session, env, &name, &mut place, &mut Vec::new())?;
    }
    Ok(())
}

/// Resolves one service in place and returns it.
fn extend(
    session: &Session,
    env: &Environment,
    name: &str,
    place: &mut Place,
    chain: &mut Vec<(String, String)>,
) -> Result<Option<Node>, Problem> {
    let Some(service) = place.services.get(name) else { return Ok(None) };
    if service.is_null() {
        return Ok(None);
    }
    let Some(map) = service.as_map() else {
        let message = format!("services.{name} must be a mapping, not {}", service.kind_name());
        return Err(Box::new(
            Diagnostic::error("compose::schema", message).at(&service.span, "here"),
        ));
    };
    let Some(extends) = map.get("extends") else { return Ok(Some(service.clone())) };
    let (service, span) = (service.clone(), extends.span.clone());
    let (target, file) = reference(name, extends)?;
    let at = (file.clone().unwrap_or_else(|| place.file.clone()), name.to_owned());
    if chain.contains(&at) || chain.len() > MAX_CHAIN {
        let mut links: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).collect();
        links.push(name);
        return Err(problem(&span, format!("services extend each other: {}", links.join(" → "))));
    }
    chain.push(at);
    let base = match file {
        None => {
            if !place.services.contains_key(&target) {
                let file = &span.source.name;
                let message =
                    format!("services.{name} extends `{target}`, which {file} doesn't have");
                return Err(problem(&span, message));
            }
            extend(session, env, &target, place, chain)?
        }
        Some(file) => from_file(session, env, name, &target, &file, &span, place, chain)?,
    };
    chain.pop();
    let Some(base) = base else { return Ok(Some(service)) };
    let mut wrapped = Map::default();
    wrapped.insert(name, base);
    let mut model = Map::default();
    model.insert("services", Node::new(Value::Map(wrapped), &span));
    apply_resets(&mut model, &place.resets);
    let base = model
        .get_mut("services")
        .and_then(Node::as_map_mut)
        .and_then(|services| services.remove(name))
        .unwrap_or_else(|| Node::new(Value::Map(Map::default()), &span));
    let mut merged = extend_service(base, service)?;
    if let Some(map) = merged.as_map_mut() {
        map.remove("extends");
    }
    if let Some(slot) = place.services.get_mut(name) {
        slot.value = merged.value.clone();
    }
    Ok(Some(merged))
}

/// The service and the file that an `extends` names.
fn reference(name: &str, extends: &Node) -> Result<(String, Option<String>), Problem> {
    let unreadable = |node: &Node| {
        problem(
            &node.span,
            format!("services.{name}.extends must name a service, not {}", node.kind_name()),
        )
    };
    match &extends.value {
        Value::String(service) => Ok((service.clone(), None)),
        Value::Map(map) => {
            let service =
                map.get("service").and_then(Node::as_str).ok_or_else(|| unreadable(extends))?;
            let file = match map.get("file") {
                None => None,
                Some(file) if file.is_null() => None,
                Some(file) => Some(file.as_str().ok_or_else(|| unreadable(file))?.to_owned()),
            };
            Ok((service.to_owned(), file))
        }
        _ => Err(unreadable(extends)),
    }
}

#[allow(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
fn from_file(
    session: &Session,
    env: &Environment,
    name: &str,
    target: &str,
    file: &str,
    span: &Span,
    place: &Place,
    chain: &mut Vec<(String, String)>,
) -> Result<Option<Node>, Problem> {
    session.refuse_remote(file, span)?;
    let path = join(&place.dir, file);
    let dir = clean(path.parent().unwrap_or(FilePath::new("")));
    let (mut model, resets) = session.read_extended(&path, env, span)?;
    let Some(services) = model.get("services") else {
        return Err(problem(span, format!("{file} has no services")));
    };
    let known = services.as_map().is_some_and(|services| services.contains_key(target));
    if !known {
        return Err(problem(
            span,
            format!("services.{name} extends `{target}`, which {file} doesn't have"),
        ));
    }
    // Paths of the other file become relative to the folder of this one.
    let resolver = Resolver {
        base: relative(&place.dir, &dir).unwrap_or_else(|| dir.clone()),
        home: session.home(),
        files: session.files,
        lenient: session.lenient(),
    };
    let span_of_model = span.clone();
    let mut node = Node::new(Value::Map(std::mem::take(&mut model)), &span_of_model);
    let mut problems = Problems::default();
    resolver.resolve(&mut node, &mut problems);
    if let Some(problem) = problems.into_vec().pop() {
        return Err(Box::new(problem));
    }
    let Some(services) =
        node.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut)
    else {
        return Ok(None);
    };
    // `extends.file` was just made relative to this file's folder, so the next link starts there.
    let mut inner = Place { file: place.file.clone(), dir: place.dir.clone(), services, resets };
    extend(session, env, target, &mut inner, chain)
}

fn problem(span: &Span, message: String) -> Problem {
    Box::new(Diagnostic::error("compose::extends", message).at(span, "extended here"))
}
