//! Who is at work, where, and on what: the facts about this machine that a release records.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who is at work: whoever runs this process, or somebody whom a test makes up.
pub enum Operator {
    /// This machine's user, in a folder, by this machine's clock.
    Here(PathBuf),
    /// Somebody with a name, and a clock of their own.
    Named {
        /// `user@machine`.
        who: String,
        /// Says the time: RFC 3339, UTC.
        clock: fn() -> String,
    },
}

impl Operator {
    /// `user@machine`, as far as they are known.
    pub fn who(&self) -> String {
        match self {
            Operator::Here(_) => who(),
            Operator::Named { who, .. } => who.clone(),
        }
    }

    /// The time: RFC 3339, UTC, to the second.
    pub fn now(&self) -> String {
        match self {
            Operator::Here(_) => now(),
            Operator::Named { clock, .. } => clock(),
        }
    }

    /// The commit that the folder is at, where it is known.
    pub fn commit(&self) -> Option<String> {
        match self {
            Operator::Here(folder) => git_commit(folder),
            Operator::Named { .. } => None,
        }
    }
}

/// `user@machine`, as far as they are known.
fn who() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).or_else(|| output("id", &["-un"]));
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .or_else(|| output("hostname", &[]));
    let unknown = || "unknown".to_owned();
    format!("{}@{}", user.unwrap_or_else(unknown), machine.unwrap_or_else(unknown))
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The commit that a folder is at, with `-dirty` where it has changes; none outside git.
fn git_commit(folder: &Path) -> Option<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let dirty = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    Some(if dirty { format!("{commit}-dirty") } else { commit })
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
