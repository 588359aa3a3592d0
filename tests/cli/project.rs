//! A copy of a fixture in a folder of its own, and the program run there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Where the sandbox's secrets are.
pub const SECRETS: &str = ".stagecraft/secrets/sandbox.env";

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

    /// A blog on the simulated host `a`, with the environment's settings and services as written.
    pub fn blog(environment: &str, services: &str, compose: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "project: {{name: blog}}\nservices: {{{services}}}\nenvironments:\n  sandbox: \
             {{world: simulated, hosts: {{app: [a]}}{environment}}}\n"
        );
        fs::write(folder.path().join("stagecraft.yml"), config).unwrap();
        fs::write(folder.path().join("docker-compose.yml"), compose).unwrap();
        Self { folder }
    }

    /// The same with secrets.
    pub fn blog_with_secrets(secrets: &str, compose: &str) -> Self {
        let project = Self::blog(", env_file: /etc/blog/env", "", compose);
        fs::create_dir_all(project.path(".stagecraft/secrets")).unwrap();
        fs::write(project.path(SECRETS), secrets).unwrap();
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stagecraft"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("STAGECRAFT_ENV", "sandbox");
        command
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

    /// Changes the simulated world behind the program's back.
    pub fn world(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path(".stagecraft/state/sandbox/world.json");
        let mut world: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut world);
        fs::write(path, serde_json::to_vec(&world).unwrap()).unwrap();
    }

    /// The steps of the plan, as the program tells them.
    pub fn steps(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(&[&["plan", "--format", "json"], arguments].concat());
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        plan["steps"].as_array().unwrap().clone()
    }

    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}");
        fs::write(self.path(name), text.replace(from, to)).unwrap();
    }
}
