//! Loading: a path and a way to read files in; a configuration, or everything wrong with it, out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::compose::{Files, Models};
use crate::config::diagnostic::{Diagnostic, Source, Span};
use crate::config::yaml::{self, Node, Value};
use crate::model;

use super::FilePath;
use super::decode::{Decode, Faults, Problems};
use super::kinds::Spanned;
use super::names::ComposeNames;
use super::types::File;
use super::{check, names};

/// A loaded `stagecraft.yml`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The keys as they are written, with defaults.
    pub file: File,
    /// The text they came from.
    pub source: Arc<Source>,
    folder: PathBuf,
    digest: String,
}

impl Config {
    /// Where a path of the file leads: paths are relative to the file's folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The Compose files, in the order in which they are merged.
    pub fn compose_files(&self) -> Vec<PathBuf> {
        self.file.compose.iter().map(|file| self.path(file)).collect()
    }

    /// The content digest of the data: the order of keys, comments and layout do not matter.
    pub fn digest(&self) -> String {
        self.digest.clone()
    }
}

/// Loads and checks a file. Everything wrong comes back at once, in the order of the file;
/// a configuration comes with its warnings.
pub fn load(path: &Path, files: &dyn Files) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    Draft::read(path, files)?.finish()
}

/// Loads and checks a file together with the Compose files that it names: what is wrong in either,
/// or between them, comes back at once. The Compose files' model is among `models` then.
pub fn load_project(
    path: &Path,
    files: &dyn Files,
    models: &Models,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut draft = Draft::read(path, files)?;
    draft.compare(files, models);
    draft.finish()
}

/// A file that has been read as far as possible.
struct Draft {
    source: Arc<Source>,
    document: Node,
    folder: PathBuf,
    /// The file, unless it is unusable.
    file: Option<File>,
    /// The file with a project of our own, where its project is what makes it unusable.
    stand_in: Option<File>,
    faults: Faults,
    found: Vec<Diagnostic>,
}

impl Draft {
    fn read(path: &Path, files: &dyn Files) -> Result<Self, Vec<Diagnostic>> {
        let name = path.display().to_string();
        let bytes = files.read(path).map_err(|error| vec![unreadable(&name, &error)])?;
        let source = yaml::source(&name, bytes).map_err(|problem| vec![*problem])?;
        let (documents, mut found) = yaml::parse_all(&source);
        if let Some(second) = documents.get(1) {
            let message = format!("{name} holds more than one document");
            found.push(
                Diagnostic::error("config::documents", message)
                    .at(&second.span, "the second begins here")
                    .help("remove everything from the second `---` on"),
            );
        }
        let document = match documents.into_iter().next() {
            Some(document) => document,
            None if found.is_empty() => Node::new(Value::Null, &Span::new(&source, 0..0)),
            None => return Err(found),
        };
        let mut problems = Problems::default();
        let file = File::decode(&document, &mut problems);
        let (problems, faults) = problems.finish();
        found.extend(problems);
        let stand_in = if file.is_none() { stand_in(&document) } else { None };
        if let Some(file) = file.as_ref().or(stand_in.as_ref()) {
            found.extend(check::check(file, &faults));
        }
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { source, document, folder, file, stand_in, faults, found })
    }

    /// Compares the file with the Compose files that it names.
    fn compare(&mut self, files: &dyn Files, models: &Models) {
        let Some(file) = self.file.as_ref().or(self.stand_in.as_ref()) else { return };
        if self.faults.touch("compose") {
            return;
        }
        let missing = file.compose.iter().filter_map(|path| self.missing(path, files));
        let missing: Vec<Diagnostic> = missing.collect();
        if !missing.is_empty() {
            return self.found.extend(missing);
        }
        let compose = file.compose.iter().map(|path| self.folder.join(&***path)).collect();
        // Which values there are is an environment's matter; names can be checked now.
        let (project, none) = (&file.project.name, BTreeMap::new());
        let found = match ComposeNames::read(compose, project, &none, files, models) {
            Ok((names, mut warnings)) => {
                warnings.extend(names::against(file, &self.faults, &names));
                warnings
            }
            Err(errors) => errors,
        };
        self.found.extend(found);
    }

    /// What is wrong with the name of a Compose file that is not there.
    fn missing(&self, path: &Spanned<FilePath>, files: &dyn Files) -> Option<Diagnostic> {
        let full = self.folder.join(&***path);
        let what = match (files.is_dir(&full), files.exists(&full)) {
            (true, _) => "is a folder",
            (false, false) => "is not there",
            (false, true) => return None,
        };
        let message = format!("the Compose file {} {what}", full.display());
        let problem = Diagnostic::error("config::compose-file", message);
        let place = if files.is_dir(&full) { full.as_path() } else { self.folder.as_path() };
        let usual = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
        let there = usual.map(|name| place.join(name)).into_iter().find(|it| files.exists(it));
        let name = there.as_ref().and_then(|there| there.strip_prefix(&self.folder).ok());
        let help = match name {
            Some(name) => format!("there is one: `compose: {}`", name.display()),
            None => {
                "write it, or say where it is: `compose: PATH`, from this file's folder".to_owned()
            }
        };
        // The usual name is nobody's.
        let problem = match path.span.source.name.is_empty() {
            true => problem,
            false => problem.at(&path.span, "named here"),
        };
        Some(problem.help(help))
    }

    fn finish(self) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
        let Self { source, document, folder, file, mut found, .. } = self;
        sort(&source.name, &mut found);
        match file {
            Some(file) if !found.iter().any(Diagnostic::is_error) => {
                let digest = model::digest_of(&document.to_json());
                Ok((Config { file, source, folder, digest }, found))
            }
            _ => Err(found),
        }
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
            .help("`--config FILE` names another");
    }
    Diagnostic::error("config::unreadable", format!("{name} cannot be read: {error}"))
}

/// Problems in the order in which a reader meets them: this file first, then others.
pub(super) fn sort(name: &str, problems: &mut [Diagnostic]) {
    problems.sort_by_cached_key(|problem| {
        let at = problem.at.as_deref().map(|(span, _)| {
            (span.source.name != name, span.source.name.clone(), span.range().start)
        });
        (at.is_none(), at, problem.message.clone())
    });
}
