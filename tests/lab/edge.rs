//! The edge as its operator sees it: an api behind a proxy, on one host or on two behind a third, and a
//! steady load on it that notices every request that fails.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::{Lab, Ran, copy, edit, get, root, run};
use crate::shop::{Following, Plan};

/// The application under test.
pub struct Edge {
    pub lab: Lab,
    folder: tempfile::TempDir,
    environment: &'static str,
}

impl Edge {
    /// The edge on clean hosts with release 1 in force; `None` where there is no lab.
    pub fn applied(environment: &'static str, replicas: u32) -> Option<Self> {
        let edge = Self { lab: Lab::clean()?, folder: copy("fixtures/edge"), environment };
        let settings = format!("    api: {{ replicas: {replicas} }}\n    hosts:\n");
        edge.edit("stagecraft.yml", "    hosts:\n", &settings);
        edge.stagecraft(&["apply", "--yes"]).exits(0);
        Some(edge)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces text in one of its files.
    #[track_caller]
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        edit(&self.folder().join(name), from, to);
    }

    /// Says how the api rolls out.
    #[track_caller]
    pub fn settle(&self, settings: &str) {
        self.edit(
            "stagecraft.yml",
            "api: { role: app }",
            &format!("api: {{ role: app, {settings} }}"),
        );
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.stagecraft(self.folder());
        command.args(arguments).args(["--env", self.environment]);
        command
    }

    pub fn stagecraft(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments), "")
    }

    /// Starts a verb whose events can be followed.
    pub fn follow(&self, arguments: &[&str]) -> Following {
        Following::of(self.command(arguments))
    }

    /// The plan, whatever it says.
    #[track_caller]
    pub fn plan(&self) -> Plan {
        Plan::of(&self.stagecraft(&["plan", "--format", "json"]))
    }

    #[track_caller]
    pub fn is_settled(&self) {
        let ran = self.stagecraft(&["plan", "--detailed-exitcode"]);
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    }

    /// The newest release.
    #[track_caller]
    pub fn release(&self) -> Value {
        let text = self.stagecraft(&["releases", "list", "--format", "json"]).ok();
        let list: Value = serde_json::from_str(&text).unwrap();
        let list = list.as_array().or(list["releases"].as_array()).unwrap().clone();
        list.last().unwrap().clone()
    }

    /// The hosts that run the api.
    pub fn hosts(&self) -> &'static [&'static str] {
        if self.environment == "production" { &["h1", "h2"] } else { &["h1"] }
    }

    /// Where requests go.
    fn address(&self) -> &'static str {
        if self.environment == "production" { "10.99.0.13:80" } else { "10.99.0.11:80" }
    }

    /// The version that answers.
    pub fn served(&self) -> String {
        let answer = get(self.address(), "/").map(|(_, body)| body).unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        answer["version"].as_str().unwrap_or_default().to_owned()
    }

    /// The versions of the api's containers on a host, running or not.
    pub fn versions(&self, host: &str) -> Vec<String> {
        let filter = "--filter label=com.docker.compose.service=api";
        let script = format!("docker ps -a {filter} --format '{{{{.Image}}}}'");
        let images = self.lab.console(host, &script).ok();
        images.lines().map(|image| image.rsplit(':').next().unwrap().to_owned()).collect()
    }

    /// Nothing of an apply that ended is left behind anywhere.
    #[track_caller]
    pub fn is_clean(&self, version: &str, replicas: usize) {
        self.is_settled();
        for host in self.hosts() {
            assert_eq!(self.versions(host), vec![version; replicas], "{host}");
        }
        let leftovers = "find /var/lib/stagecraft -name '*stagecraft-new*'; \
                         docker ps -aq --filter label=com.docker.compose.oneoff=True";
        for host in ["h1", "h2", "h3"] {
            assert_eq!(self.lab.console(host, leftovers).ok(), "", "{host}");
        }
        let status = self.stagecraft(&["lock", "status"]).ok();
        assert!(!status.contains("locked"), "{status}");
    }

    /// Puts a steady load on it, without a retry, until it is told to end.
    pub fn load(&self) -> Load {
        let mut meter = Command::new(meter());
        meter.args([self.address(), "--rate", "200", "--seconds", "3600", "--until-eof"]);
        meter.stdin(Stdio::piped()).stdout(Stdio::piped());
        Load(Some(meter.spawn().unwrap()))
    }
}

/// Requests that are being made all the time.
pub struct Load(Option<Child>);

impl Load {
    /// Ends it; what it has seen.
    pub fn end(mut self) -> Value {
        let mut meter = self.0.take().unwrap();
        drop(meter.stdin.take());
        let output = meter.wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Ends it: not one request has failed, and all these versions have answered.
    #[track_caller]
    pub fn dropped_nothing(self, versions: &[&str]) {
        let seen = self.end();
        assert_eq!(seen["failed"], 0, "{seen:#}");
        assert!(seen["sent"].as_u64() > Some(200), "{seen:#}");
        for version in versions {
            assert!(seen["versions"][version].as_u64() > Some(0), "{version}: {seen:#}");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(meter) = &mut self.0 {
            let _ = meter.kill();
            let _ = meter.wait();
        }
    }
}

/// The load meter, built from its source when that is newer.
fn meter() -> &'static Path {
    static METER: OnceLock<PathBuf> = OnceLock::new();
    METER.get_or_init(|| {
        let source = root().join("tests/bench/rollout/meter.rs");
        let meter = root().join("target/lab/meter");
        let changed = |path: &Path| std::fs::metadata(path).and_then(|it| it.modified()).ok();
        if changed(&meter) < changed(&source) {
            std::fs::create_dir_all(meter.parent().unwrap()).unwrap();
            let mut rustc = Command::new("rustc");
            rustc.args(["--edition", "2024", "-O", "-o"]).arg(&meter).arg(&source);
            run(&mut rustc, "").ok();
        }
        meter
    })
}
