//! Loading: a path and a way to read files in; a configuration, or everything wrong with it, out.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::compose::Files;
use crate::config::diagnostic::{Diagnostic, Source, Span};
use crate::config::yaml::{self, Node, Value};
use crate::model;

use super::check;
use super::decode::{Decode, Problems};
use super::types::File;

/// A loaded `stagecraft.yml`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The keys as they are written, with defaults.
    pub file: File,
    /// The text they came from.
    pub source: Arc<Source>,
    digest: String,
}

impl Config {
    /// The content digest of the data: the order of keys, comments and layout do not matter.
    pub fn digest(&self) -> String {
        self.digest.clone()
    }
}

/// Loads and checks a file. Everything wrong comes back at once, in the order of the file;
/// a configuration comes with its warnings.
pub fn load(path: &Path, files: &dyn Files) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let name = path.display().to_string();
    let bytes = files.read(path).map_err(|error| vec![unreadable(&name, &error)])?;
    let source = yaml::source(&name, bytes).map_err(|problem| vec![*problem])?;
    let (documents, mut found) = yaml::parse_all(&source);
    let document = match documents.as_slice() {
        [document, ..] => document.clone(),
        [] if found.is_empty() => {
            Node::new(Value::Null, &Span { source: source.clone(), range: 0..0 })
        }
        [] => return Err(found),
    };
    if let Some(second) = documents.get(1) {
        found.push(
            Diagnostic::error("config::documents", format!("{name} holds more than one document"))
                .at(&second.span, "the second begins here")
                .help("remove everything from the second `---` on"),
        );
    }
    let mut problems = Problems::default();
    let file = File::decode(&document, &mut problems);
    found.extend(problems.into_vec());
    if let Some(file) = file.as_ref().or(stand_in(&document).as_ref()) {
        found.extend(check::check(file));
    }
    sort(&mut found);
    match file {
        Some(file) if !found.iter().any(Diagnostic::is_error) => {
            let digest = model::digest_of(&document.to_json());
            Ok((Config { file, source, digest }, found))
        }
        _ => Err(found),
    }
}

/// The same file as if its project were in order, so that everything else is checked all the same.
fn stand_in(document: &Node) -> Option<File> {
    let mut document = document.clone();
    let span = document.span.clone();
    let name = Node::string("project", &span);
    let project =
        yaml::Map::from_iter([("name".to_owned(), yaml::Entry { key: span.clone(), value: name })]);
    document.as_map_mut()?.insert("project", Node::new(Value::Map(project), &span));
    File::decode(&document, &mut Problems::default())
}

fn unreadable(name: &str, error: &io::Error) -> Diagnostic {
    if error.kind() == io::ErrorKind::NotFound {
        return Diagnostic::error("config::not-found", format!("there is no {name}"))
            .help("`stagecraft init` writes one; `--config FILE` names another");
    }
    Diagnostic::error("config::unreadable", format!("{name} cannot be read: {error}"))
}

/// Problems in the order in which a reader meets them.
pub(super) fn sort(problems: &mut [Diagnostic]) {
    problems.sort_by_cached_key(|problem| {
        let at =
            problem.at.as_deref().map(|(span, _)| (span.source.name.clone(), span.range.start));
        (at, problem.message.clone())
    });
}
