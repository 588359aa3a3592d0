//! A copy of a fixture in a folder of its own, and the program run there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A project.
pub struct Project {
    pub folder: tempfile::TempDir,
}

impl Project {
    /// A copy of a fixture that the simulated world can run.
    pub fn of(fixture: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
        for entry in fs::read_dir(fixture).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_stagecraft"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("STAGECRAFT_ENV", "sandbox")
            .output()
            .unwrap()
    }

    /// Runs a verb that must exit with a code; both outputs.
    pub fn exits(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}:\n{text}");
        text
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        self.exits(0, arguments)
    }

    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}");
        fs::write(self.path(name), text.replace(from, to)).unwrap();
    }
}
