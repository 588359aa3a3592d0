//! The phases in order: files into one model, the model into a project.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use super::assemble::Model;
use super::environment::Environment;
use super::files::{Files, Memory, clean, join};
use super::interpolate::{Interpolator, names};
use super::model::Loaded;
use super::normalise::Reading;
use super::path::Path;
use super::paths::Resolver;
use super::problems::Problems;
use super::{
    Interpolation, LoadOptions, Variable, assemble, cast, check, dotenv, extends, implicit,
    include, merge, normalise, schema, unique,
};
use crate::config::diagnostic::{Diagnostic, Source, Span};
use crate::config::yaml::{self, Map, Node, Value};
use crate::model::Object;

/// A load reads at most this many documents, so that includes can't multiply without end.
const MAX_DOCUMENTS: usize = 500;
/// A load reads at most this much text.
const MAX_TEXT: usize = 4 * yaml::MAX_BYTES;

type Refused = Vec<Diagnostic>;
type Problem = Box<Diagnostic>;

/// What stays the same throughout a load.
pub(super) struct Session<'a> {
    pub files: &'a dyn Files,
    mode: Interpolation,
    home: Option<String>,
    project_dir: PathBuf,
    warnings: RefCell<Vec<Diagnostic>>,
    /// Documents and bytes so far.
    read: Cell<(usize, usize)>,
}

/// The folders of one model.
pub(super) struct Place {
    /// What its paths are resolved against: absolute for the project, relative for an include.
    pub working_dir: PathBuf,
    /// Where its files are found.
    pub loader_dir: PathBuf,
    /// Whether its paths are resolved.
    pub resolve_paths: bool,
}

/// Loads Compose files.
pub fn load(options: &LoadOptions, files: &dyn Files) -> Result<Loaded, Vec<Diagnostic>> {
    load_by(options, files, |session, env, place| {
        Ok(Arc::new(session.model(&options.files, env, place)?))
    })
}

/// Loads Compose files of which somebody makes the model.
pub(super) fn load_by(
    options: &LoadOptions,
    files: &dyn Files,
    model: impl FnOnce(&Session, &Environment, &Place) -> Result<Arc<Model>, Refused>,
) -> Result<Loaded, Refused> {
    let Some(first) = options.files.first() else {
        return Err(vec![Diagnostic::error("compose::no-file", "no Compose file is named")]);
    };
    let dir = match &options.project_dir {
        Some(dir) => clean(dir),
        None => clean(first.parent().unwrap_or(FilePath::new(""))),
    };
    let session = Session {
        files,
        mode: options.interpolation,
        home: match (options.variables)("HOME") {
            Variable::Value(home) => Some(home),
            _ => None,
        },
        project_dir: dir.clone(),
        warnings: RefCell::default(),
        read: Cell::default(),
    };
    // Without interpolation Compose looks no variable up, not even for `environment: [NAME]`.
    let unset = |_: &str| Variable::Unset;
    let named = Environment::new(options.variables);
    let mut env = match options.interpolation {
        Interpolation::Off => Environment::new(&unset),
        Interpolation::Full | Interpolation::Template => named.clone(),
    };
    let name = session.project_name(options, &named, &dir)?;
    env.set_project(&name);
    let place = Place {
        working_dir: dir.clone(),
        loader_dir: dir.clone(),
        resolve_paths: options.resolve_paths,
    };
    let model = model(&session, &env, &place)?;
    let project = assemble::project(&session, options, &env, name, &model)?;
    Ok(Loaded { project, warnings: session.warnings.take() })
}

/// Reads back one rendered file: variables stay references, nothing is looked up.
pub fn load_text(name: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let host = |_: &str| Variable::Host;
    let mut options = LoadOptions::new(vec![PathBuf::from(name)], &host);
    options.interpolation = Interpolation::Template;
    options.resolve_paths = false;
    options.resolve_env = false;
    options.profiles = vec!["*".to_owned()];
    load(&options, &Memory::new([(name, text)]))
}

/// The variables that a canonical subtree leaves to the host: references in its strings, and
/// entries of `environment` without a value.
pub fn references(canonical: &Json) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    mentions(canonical, &mut found);
    found
}

/// The variables that a canonical definition leaves to the host, as `references`.
pub fn references_of(definition: &Object) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    mentions_of(definition, &mut found);
    found
}

fn mentions(value: &Json, found: &mut BTreeSet<String>) {
    match value {
        Json::String(text) => names(text, found),
        Json::Array(items) => items.iter().for_each(|item| mentions(item, found)),
        Json::Object(map) => mentions_of(map, found),
        _ => {}
    }
}

fn mentions_of(map: &Object, found: &mut BTreeSet<String>) {
    for (key, value) in map {
        match (key.as_str(), value) {
            ("environment" | "args", Json::Object(entries)) => {
                let unset = entries.iter().filter(|(_, value)| value.is_null());
                found.extend(unset.map(|(name, _)| name.clone()));
            }
            // A secret or config that takes its value from a variable.
            ("environment", Json::String(name)) if !name.contains('$') => {
                found.insert(name.clone());
            }
            _ => {}
        }
        mentions(value, found);
    }
}

impl Session<'_> {
    /// Whether strings with references stand for any type.
    pub fn lenient(&self) -> bool {
        self.mode == Interpolation::Template
    }

    pub fn mode(&self) -> Interpolation {
        self.mode
    }

    pub fn home(&self) -> Option<&str> {
        self.home.as_deref()
    }

    pub fn reading(&self) -> Reading {
        match self.mode {
            Interpolation::Full => Reading::Strict,
            Interpolation::Template => Reading::Template,
            Interpolation::Off => Reading::Raw,
        }
    }

    pub fn warn(&self, warning: Diagnostic) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.iter().any(|known| known.message == warning.message) && warnings.len() < 100 {
            warnings.push(warning);
        }
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        self.warnings.borrow().clone()
    }

    /// A path as people would write it: from where they are, or from the project's folder, where it lies below.
    pub fn display(&self, path: &FilePath) -> String {
        let shown = match path.is_relative() {
            true => path,
            false => path.strip_prefix(&self.project_dir).unwrap_or(path),
        };
        shown.to_string_lossy().into_owned()
    }

    /// Where a path of the project lies.
    pub fn locate(&self, path: &str) -> PathBuf {
        join(&self.project_dir, path)
    }

    /// Compose would fetch this; a deployment must not depend on what a URL serves that day.
    pub fn refuse_remote(&self, path: &str, span: &Span) -> Result<(), Problem> {
        let remote = ["https://", "http://", "git://", "ssh://", "git@", "oci://", "github.com/"];
        match remote.iter().any(|prefix| path.starts_with(prefix)) {
            false => Ok(()),
            true => Err(Box::new(
                Diagnostic::error("compose::remote", format!("`{path}` is not on this machine"))
                    .at(span, "named here")
                    .help("fetch it into the project and name the copy"),
            )),
        }
    }

    fn project_name(
        &self,
        options: &LoadOptions,
        env: &Environment,
        dir: &FilePath,
    ) -> Result<String, Refused> {
        let given = options
            .project_name
            .clone()
            .or_else(|| env.value("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty()));
        if let Some(name) = given.filter(|name| !name.is_empty()) {
            if normal_name(&name) == name {
                return Ok(name);
            }
            return Err(vec![
                Diagnostic::error("compose::name", format!("`{name}` is not a project name")).help(
                    "use lowercase letters, digits, `-` and `_`, starting with a letter or digit",
                ),
            ]);
        }
        let mut named = None;
        for file in &options.files {
            for document in self.read_documents(file, None)? {
                let name = document.as_map().and_then(|map| map.get("name")).cloned();
                named = name
                    .filter(|name| name.scalar_text().is_some_and(|text| !text.is_empty()))
                    .or(named);
            }
        }
        let Some(mut node) = named else {
            let folder = dir.file_name().map(|name| name.to_string_lossy().into_owned());
            return match normal_name(&folder.unwrap_or_default()) {
                name if name.is_empty() => Err(vec![
                    Diagnostic::error("compose::name", "the project has no name")
                        .help("write `name:` in the Compose file, or name the folder"),
                ]),
                name => Ok(name),
            };
        };
        if self.mode != Interpolation::Off {
            // The name is needed here, so what only the host knows counts as unset.
            let lookup = |name: &str| env.get(name);
            let mut problems = Problems::default();
            let mut ignored = Problems::default();
            let interpolator = Interpolator::new(&lookup);
            cast::interpolate(
                &mut node,
                &Path::ROOT.key("name"),
                &interpolator,
                &mut problems,
                &mut ignored,
            );
            problems.result()?;
        }
        match normal_name(&node.scalar_text().unwrap_or_default()) {
            name if name.is_empty() => Err(vec![
                Diagnostic::error("compose::name", "nothing of the project's name is left")
                    .at(&node.span, "here")
                    .help("use lowercase letters, digits, `-` and `_`"),
            ]),
            name => Ok(name),
        }
    }

    fn read_documents(&self, path: &FilePath, from: Option<&Span>) -> Result<Vec<Node>, Refused> {
        let refused = |message: String| {
            let diagnostic = Diagnostic::error("compose::read", message);
            vec![match from {
                Some(span) => diagnostic.at(span, "named here"),
                None => diagnostic,
            }]
        };
        let name = self.display(path);
        let bytes = self
            .files
            .read(path)
            .map_err(|error| refused(format!("{name} can't be read: {}", reason(&error))))?;
        let source: Arc<Source> = yaml::source(&name, bytes).map_err(|problem| vec![*problem])?;
        let (documents, bytes) = self.read.get();
        if documents > MAX_DOCUMENTS || bytes + source.text.len() > MAX_TEXT {
            return Err(refused("the project has more files than any real one".to_owned()));
        }
        let parsed = yaml::parse(&source)?;
        self.read.set((documents + parsed.len().max(1), bytes + source.text.len()));
        match documents + parsed.len() > MAX_DOCUMENTS {
            true => Err(refused(format!("{name} has more documents than any real file"))),
            false => Ok(parsed),
        }
    }

    /// The finished model of some files.
    pub fn model(
        &self,
        files: &[PathBuf],
        env: &Environment,
        place: &Place,
    ) -> Result<Model, Refused> {
        let mut merged = self.merge(files, env, place, &[])?;
        if merged.is_empty() {
            let name = files.first().map(|first| self.display(first)).unwrap_or_default();
            return Err(vec![Diagnostic::error("compose::empty", format!("{name} says nothing"))]);
        }
        implicit::apply(&mut merged, env, self.mode);
        Model::print(self, merged)
    }

    /// Loads files over each other.
    pub fn merge(
        &self,
        files: &[PathBuf],
        env: &Environment,
        place: &Place,
        chain: &[PathBuf],
    ) -> Result<Map, Refused> {
        let mut model = Map::default();
        for file in files {
            for document in self.read_documents(file, None)? {
                model = self.add_document(model, document, file, env, place, chain)?;
            }
        }
        let Some(span) = model.entries().next().map(|(_, entry)| entry.key.clone()) else {
            return Ok(model);
        };
        let mut node = Node::new(Value::Map(model), &span);
        let mut problems = Problems::default();
        normalise::defaults(&mut node, self.reading(), &mut problems);
        check::values(&node, self.lenient(), &mut problems);
        problems.result()?;
        if place.resolve_paths {
            let resolver = Resolver {
                base: place.working_dir.clone(),
                home: self.home(),
                files: self.files,
                lenient: self.lenient(),
            };
            let mut problems = Problems::default();
            resolver.resolve(&mut node, &mut problems);
            problems.result()?;
        }
        let Value::Map(mut model) = node.value else { return Ok(Map::default()) };
        // An include's own variables reach the lists of its services, as in Compose.
        if let Some(services) = model.get_mut("services").and_then(Node::as_map_mut) {
            for (_, service) in services.iter_mut() {
                let environment = service.as_map_mut().and_then(|map| map.get_mut("environment"));
                if let Some(environment) = environment.filter(|node| node.as_list().is_some()) {
                    implicit::resolve(environment, env, self.mode, true);
                }
            }
        }
        Ok(model)
    }

    fn add_document(
        &self,
        mut model: Map,
        document: Node,
        file: &FilePath,
        env: &Environment,
        place: &Place,
        chain: &[PathBuf],
    ) -> Result<Map, Refused> {
        let span = document.span.clone();
        let (mut document, resets) = self.prepare(document, env)?;
        extends::apply(self, env, &mut document, file, &place.loader_dir, &resets)
            .map_err(|problem| vec![*problem])?;
        merge::apply_resets(&mut model, &resets);
        let mut chain = chain.to_vec();
        chain.push(file.to_owned());
        include::apply(self, env, &mut document, place, &chain)?;
        let mut node = self.combine(model, document, &span)?;
        let violations = schema::validate(&node, self.lenient());
        if !violations.is_empty() {
            return Err(violations);
        }
        if let Some(version) = node.as_map_mut().and_then(|map| map.remove("version")) {
            let message = format!("{}: `version` means nothing any more", span.source.name);
            self.warn(
                Diagnostic::warning("compose::version", message)
                    .at(&version.span, "ignored")
                    .help("remove the line"),
            );
        }
        self.canonical(node)
    }

    /// Interpolates a document and takes its `!reset` places out.
    fn prepare(
        &self,
        mut document: Node,
        env: &Environment,
    ) -> Result<(Map, Vec<Vec<String>>), Refused> {
        let resets = merge::take_resets(&mut document);
        if self.mode != Interpolation::Off {
            let lookup = |name: &str| env.get(name);
            let interpolator = match self.mode {
                Interpolation::Template => Interpolator::template(&lookup),
                _ => Interpolator::new(&lookup),
            };
            let (mut problems, mut warnings) = (Problems::default(), Problems::default());
            cast::interpolate(
                &mut document,
                &Path::ROOT,
                &interpolator,
                &mut problems,
                &mut warnings,
            );
            warnings.into_vec().into_iter().for_each(|warning| self.warn(warning));
            problems.result()?;
        }
        match document.value {
            Value::Map(map) => Ok((map, resets)),
            _ => {
                let message =
                    format!("a Compose file must be a mapping, not {}", document.kind_name());
                Err(vec![Diagnostic::error("compose::schema", message).at(&document.span, "here")])
            }
        }
    }

    /// What a model becomes under a document that stands at `span`.
    fn combine(&self, model: Map, document: Map, span: &Span) -> Result<Node, Refused> {
        let merged =
            merge::merge_maps(model, document, &Path::ROOT).map_err(|problem| vec![*problem])?;
        let mut node = Node::new(Value::Map(merged), span);
        self.unique(&mut node)?;
        Ok(node)
    }

    fn unique(&self, node: &mut Node) -> Result<(), Refused> {
        let mut problems = Problems::default();
        unique::enforce(node, self.lenient(), &mut problems);
        problems.result()
    }

    fn canonical(&self, mut node: Node) -> Result<Map, Refused> {
        let mut problems = Problems::default();
        normalise::canonical(&mut node, self.reading(), &mut problems);
        problems.result()?;
        drop_empty_dns(&mut node);
        self.unique(&mut node)?;
        match node.value {
            Value::Map(map) => Ok(map),
            _ => Ok(Map::default()),
        }
    }

    /// The services of a file that another one extends, and what that file resets.
    pub fn read_extended(
        &self,
        path: &FilePath,
        env: &Environment,
        span: &Span,
    ) -> Result<(Map, Vec<Vec<String>>), Problem> {
        let first = |problems: Refused| {
            let fallback =
                || Diagnostic::error("compose::extends", "the extended file can't be read");
            Box::new(problems.into_iter().next().unwrap_or_else(fallback))
        };
        let mut model = Map::default();
        let mut resets = Vec::new();
        for document in self.read_documents(path, Some(span)).map_err(first)? {
            let span = document.span.clone();
            let (document, found) = self.prepare(document, env).map_err(first)?;
            merge::apply_resets(&mut model, &found);
            let node = self.combine(model, document, &span).map_err(first)?;
            model = self.canonical(node).map_err(first)?;
            resets = found;
        }
        Ok((model, resets))
    }

    /// The variables of env files, outer variables known to their references.
    pub fn read_env_files(
        &self,
        files: &[PathBuf],
        env: &Environment,
    ) -> Result<BTreeMap<String, String>, Problem> {
        let mut parsed = dotenv::Parsed::default();
        for file in files {
            let name = self.display(file);
            let bytes = self.files.read(file).map_err(|error| {
                let message = format!("{name} can't be read: {}", reason(&error));
                Box::new(Diagnostic::error("compose::env-file", message))
            })?;
            let lookup = |name: &str| env.get(name);
            dotenv::parse_into(&name, &bytes, &lookup, dotenv::Style::Full, &mut parsed)?;
        }
        self.warn_missing(&parsed.missing);
        Ok(parsed.variables)
    }

    pub fn warn_missing(&self, missing: &BTreeSet<String>) {
        for name in missing {
            self.warn(Diagnostic::warning(
                "compose::unset-variable",
                format!("the variable `{name}` is not set; nothing stands in its place"),
            ));
        }
    }
}

/// Why a file can't be read, in a few words.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it is not there".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}

/// A name as Compose makes one of anything: lowercase, without what it can't have.
fn normal_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

/// Empty name servers, typically from unset variables, mean none.
fn drop_empty_dns(model: &mut Node) {
    let services = model.as_map_mut().and_then(|map| map.get_mut("services"));
    let Some(services) = services.and_then(Node::as_map_mut) else { return };
    for (_, service) in services.iter_mut() {
        let dns = service.as_map_mut().and_then(|map| map.get_mut("dns"));
        if let Some(items) = dns.and_then(Node::as_list_mut) {
            items.retain(|item| !item.is_null() && item.as_str() != Some(""));
        }
    }
}
