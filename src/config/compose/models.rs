//! Models that earlier loads made: files that read as they did, with variables that mean what they
//! meant, make the same model, and nothing need be parsed and merged again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::assemble::Model;
use super::environment::Environment;
use super::load::load_by;
use super::{Files, Interpolation, LoadOptions, Loaded, Variable};
use crate::config::diagnostic::Diagnostic;

/// Loads Compose files, and keeps the newest model for loads that ask for the same.
#[derive(Default)]
pub struct Models {
    newest: Mutex<Option<Known>>,
}

/// A model with everything that it was made from.
struct Known {
    ground: Ground,
    variables: BTreeMap<String, Variable>,
    looks: Vec<Look>,
    model: Arc<Model>,
    warnings: Vec<Diagnostic>,
}

/// What of a load's options and place a model depends on.
#[derive(PartialEq)]
struct Ground {
    files: Vec<PathBuf>,
    working_dir: PathBuf,
    interpolation: Interpolation,
    resolve_paths: bool,
    home: Option<String>,
}

/// A look at a file, and what was seen.
struct Look {
    path: PathBuf,
    seen: Seen,
}

#[derive(PartialEq)]
enum Seen {
    Bytes(Vec<u8>),
    /// It could not be read, which may be otherwise next time.
    Unreadable,
    Exists(bool),
    IsDir(bool),
    Link(PathBuf),
}

impl Models {
    /// Loads Compose files as [`super::load`] does.
    ///
    /// # Errors
    /// As [`super::load`].
    pub fn load(
        &self,
        options: &LoadOptions,
        files: &dyn Files,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        let witness = Witness { files, looks: RefCell::default() };
        load_by(options, &witness, |session, env, place| {
            let ground = Ground {
                files: options.files.clone(),
                working_dir: place.working_dir.clone(),
                interpolation: options.interpolation,
                resolve_paths: options.resolve_paths,
                home: session.home().map(str::to_owned),
            };
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = newest.as_ref().filter(|known| known.serves(&ground, env, files)) {
                known.warnings.iter().for_each(|warning| session.warn(warning.clone()));
                return Ok(known.model.clone());
            }
            let variables = RefCell::new(BTreeMap::new());
            let lookup = |name: &str| {
                let meaning = env.get(name);
                variables.borrow_mut().insert(name.to_owned(), meaning.clone());
                meaning
            };
            // What was looked at before has no part in the model.
            witness.looks.take();
            let model = session.model(&options.files, &Environment::new(&lookup), place)?;
            let model = Arc::new(model);
            *newest = Some(Known {
                ground,
                variables: variables.take(),
                looks: witness.looks.take(),
                model: model.clone(),
                warnings: session.warnings(),
            });
            Ok(model)
        })
    }
}

impl Known {
    /// Whether a load would make this model again.
    fn serves(&self, ground: &Ground, env: &Environment, files: &dyn Files) -> bool {
        self.ground == *ground
            && self.variables.iter().all(|(name, meaning)| env.get(name) == *meaning)
            && self.looks.iter().all(|look| look.is_as_then(files))
    }
}

impl Look {
    fn is_as_then(&self, files: &dyn Files) -> bool {
        match &self.seen {
            Seen::Bytes(bytes) => files.read(&self.path).is_ok_and(|now| now == *bytes),
            Seen::Unreadable => false,
            Seen::Exists(then) => files.exists(&self.path) == *then,
            Seen::IsDir(then) => files.is_dir(&self.path) == *then,
            Seen::Link(then) => files.follow_link(&self.path) == *then,
        }
    }
}

/// Files that are looked at, and remember how.
struct Witness<'a> {
    files: &'a dyn Files,
    looks: RefCell<Vec<Look>>,
}

impl Witness<'_> {
    fn note(&self, path: &Path, seen: Seen) {
        self.looks.borrow_mut().push(Look { path: path.to_owned(), seen });
    }
}

impl Files for Witness<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.files.read(path);
        let seen = found.as_ref().map_or(Seen::Unreadable, |bytes| Seen::Bytes(bytes.clone()));
        self.note(path, seen);
        found
    }

    fn exists(&self, path: &Path) -> bool {
        let found = self.files.exists(path);
        self.note(path, Seen::Exists(found));
        found
    }

    fn is_dir(&self, path: &Path) -> bool {
        let found = self.files.is_dir(path);
        self.note(path, Seen::IsDir(found));
        found
    }

    fn follow_link(&self, path: &Path) -> PathBuf {
        let found = self.files.follow_link(path);
        self.note(path, Seen::Link(found.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::config::compose::{Memory, load};

    const TEXT: &str = "services: { web: { image: 'web:${TAG}', command: '${HELLO}' } }\n";

    /// Loads through `models`, and says the image; it is as if nothing had been loaded before.
    fn image(models: &Models, tag: Variable, text: &str) -> String {
        let lookup = |name: &str| match name {
            "TAG" => tag.clone(),
            _ => Variable::Unset,
        };
        let files = Memory::new([("compose.yml", text)]);
        let mut options = LoadOptions::new(vec!["compose.yml".into()], &lookup);
        options.project_name = Some("shop".to_owned());
        options.interpolation = Interpolation::Template;
        let (known, new) =
            (models.load(&options, &files).unwrap(), load(&options, &files).unwrap());
        assert_eq!(known.project.document(), new.project.document());
        let warnings = |loaded: &Loaded| -> Vec<String> {
            loaded.warnings.iter().map(|warning| warning.message.clone()).collect()
        };
        assert_eq!(warnings(&known), warnings(&new));
        known.project.services["web"].image.clone().unwrap()
    }

    #[test]
    fn a_model_serves_while_files_and_variables_are_as_they_were() {
        let models = Models::default();
        let one = || Variable::Value("1".to_owned());
        assert_eq!(image(&models, one(), TEXT), "web:1");
        assert_eq!(image(&models, one(), TEXT), "web:1");
        assert_eq!(image(&models, Variable::Host, TEXT), "web:${TAG}");
        assert_eq!(image(&models, Variable::Value("2".to_owned()), TEXT), "web:2");
        let edited = TEXT.replace("'web:", "'site:");
        assert_eq!(image(&models, Variable::Value("2".to_owned()), &edited), "site:2");
    }
}
