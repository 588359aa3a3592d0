//! How a script gets to a host and its answer back: the system's `ssh`, or a shell on this machine.
//!
//! A script travels on standard input, never in an argument. It is wrapped so that the shell
//! parses all of it before it runs any of it: a connection that breaks in the middle runs nothing,
//! and a command in it cannot eat the rest of it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::model::{Blocked, BlockedReason, Host, Transport, sha256_hex};

use super::quote::quote_all;
use super::refusal;

/// The environment variables that a shell on this machine keeps. The rest stays out, so that a
/// variable of the operator's cannot change what a Compose file means.
const KEPT_VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// The name under which a host is known whose key we were told.
const KNOWN_AS: &str = "stagecraft";
/// How much of standard error is kept: its end.
const STDERR_KEPT: usize = 64 * 1024;
/// How long standard error may stay open after the command has ended: a connection's master
/// process may hold it.
const STDERR_GRACE: Duration = Duration::from_millis(300);

/// What a script may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it may take.
    pub time: Duration,
    /// How many bytes it may write.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), bytes: 32 * 1024 * 1024 }
    }
}

impl Limits {
    /// The usual size within another time.
    pub fn within(time: Duration) -> Self {
        Self { time, ..Self::default() }
    }
}

/// What a script answered.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status; 128 and the signal's number when it was killed.
    pub status: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error.
    pub stderr: String,
    /// Whether it wrote more than it may and was cut off.
    pub truncated: bool,
}

/// Opens shells on hosts.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Arguments for every `ssh`.
    arguments: Vec<OsString>,
    /// Where the sockets of shared connections are; none when no safe short place was found.
    sockets: Option<PathBuf>,
    /// Where a shell on this machine looks for programs first.
    programs: Option<PathBuf>,
}

impl Reach {
    /// As the process's environment says: `STAGECRAFT_SSH_CONFIG` is a configuration file for
    /// `ssh`, `STAGECRAFT_SSH_ARGS` more arguments, separated by white space.
    pub fn from_env() -> Self {
        let mut arguments = Vec::new();
        if let Some(file) = std::env::var_os("STAGECRAFT_SSH_CONFIG").filter(|it| !it.is_empty()) {
            arguments.extend([OsString::from("-F"), file]);
        }
        if let Ok(more) = std::env::var("STAGECRAFT_SSH_ARGS") {
            arguments.extend(more.split_whitespace().map(OsString::from));
        }
        Self { arguments, sockets: socket_directory(), programs: None }
    }

    /// The same, with shells on this machine finding programs in a folder first; for tests.
    pub fn with_programs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.programs = Some(folder.into());
        self
    }

    /// Whether a host can be connected to at all.
    fn is_ready(&self, host: &Host) -> Result<(), Blocked> {
        if host.address.is_empty() {
            // The cloud has yet to make it.
            let detail = format!("the cloud was asked for the address of {}", host.name);
            return Err(Blocked { reason: BlockedReason::NoMachine, detail });
        }
        let Some(key) = &host.host_key else { return Ok(()) };
        let kept = match &self.sockets {
            Some(folder) => known_hosts(folder, key).map_err(|error| error.to_string()),
            None => Err("no private folder in $XDG_RUNTIME_DIR or $HOME".to_owned()),
        };
        kept.map(|_| ()).map_err(|why| Blocked {
            reason: BlockedReason::Unreachable,
            detail: format!("the key of {} can't be kept for `ssh`: {why}", host.name),
        })
    }

    /// Runs a script and waits for its end.
    pub async fn run(&self, host: &Host, script: &str, limits: Limits) -> Result<Output, Blocked> {
        let work = self.run_unbounded(host, script, limits.bytes);
        match tokio::time::timeout(limits.time, work).await {
            Ok(result) => result,
            Err(_) => Err(Blocked {
                reason: BlockedReason::Unreachable,
                detail: format!("no answer within {} s", limits.time.as_secs()),
            }),
        }
    }

    async fn run_unbounded(&self, host: &Host, script: &str, cap: u64) -> Result<Output, Blocked> {
        self.is_ready(host)?;
        let mut command = self.shell(host);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // An interrupt at the terminal is for us to handle: what runs is finished.
        command.process_group(0);
        let mut child =
            command.kill_on_drop(true).spawn().map_err(|error| no_start(host, error))?;
        let stderr = Tail::of(child.stderr.take());
        let feed = feed(child.stdin.take(), whole(script));
        let read = async {
            let mut answer = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                // What was read before an error is judged by its frame.
                let _ = stdout.take(cap.saturating_add(1)).read_to_end(&mut answer).await;
            }
            answer
        };
        let (stdout, _) = tokio::join!(read, feed);
        if stdout.len() as u64 > cap {
            return Ok(Output { status: -1, stdout, stderr: stderr.end().await, truncated: true });
        }
        let status = child.wait().await.map_err(|error| no_start(host, error))?;
        let output =
            Output { status: code(status), stdout, stderr: stderr.end().await, truncated: false };
        match lost(host, &output) {
            Some(blocked) => Err(blocked),
            None => Ok(output),
        }
    }

    /// Starts a script whose standard input stays open. Nothing may be sent before the script has
    /// said something: until then the shell may still be reading itself.
    pub fn hold(&self, host: &Host, script: &str) -> Result<Session, Blocked> {
        self.is_ready(host)?;
        let mut command = self.shell(host);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // An interrupt at the terminal is for us to handle: what runs is finished.
        command.process_group(0);
        let mut child =
            command.kill_on_drop(true).spawn().map_err(|error| no_start(host, error))?;
        let stderr = Tail::of(child.stderr.take());
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(no_start(host, io::Error::other("no pipes")));
        };
        Ok(Session {
            host: host.clone(),
            script: Some(whole(script)),
            stdin: Some(stdin),
            lines: BufReader::new(stdout).lines(),
            child,
            stderr: Some(stderr),
        })
    }

    /// Runs a script with its output going to ours, until it ends; its exit status. It is ended
    /// on the host too when this process or the connection goes away, so its long command should
    /// be run by `exec`.
    pub async fn stream(&self, host: &Host, script: &str) -> Result<i32, Blocked> {
        self.is_ready(host)?;
        let script = format!(
            "exec 3<&0\n(\n{script}\n) </dev/null 3<&- & work=$!\n\
             (cat >/dev/null; kill \"$work\") <&3 >/dev/null 2>&1 & watch=$!\nexec 3<&-\n\
             wait \"$work\"; status=$?\nkill \"$watch\" 2>/dev/null\nexit \"$status\""
        );
        let mut command = self.shell(host);
        command.stdin(Stdio::piped()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let mut child =
            command.kill_on_drop(true).spawn().map_err(|error| no_start(host, error))?;
        let mut stdin = child.stdin.take();
        if let Some(pipe) = &mut stdin {
            let _ = pipe.write_all(whole(&script).as_bytes()).await;
            let _ = pipe.flush().await;
        }
        let status = child.wait().await.map_err(|error| no_start(host, error))?;
        drop(stdin);
        Ok(code(status))
    }

    /// A command that gives the terminal to a program on the host, or to a log-in shell when no
    /// program is named.
    pub fn interactive(&self, host: &Host, program: &[String]) -> std::process::Command {
        let line = quote_all(program.iter().map(String::as_str));
        if host.transport == Transport::Local {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| "sh".into());
            let mut command = std::process::Command::new(shell);
            if !program.is_empty() {
                command.arg("-c").arg(line);
            }
            return command;
        }
        let mut command = std::process::Command::new("ssh");
        command.args(self.ssh_arguments(host)).arg("-t").arg("--").arg(&host.address);
        if !program.is_empty() {
            command.arg(line);
        }
        command
    }

    /// The command that opens a shell reading its script from standard input.
    fn shell(&self, host: &Host) -> Command {
        match host.transport {
            Transport::Local => {
                let mut command = Command::new("sh");
                command.env_clear();
                for name in KEPT_VARIABLES {
                    if let Some(value) = std::env::var_os(name) {
                        command.env(name, value);
                    }
                }
                if let Some(folder) = &self.programs {
                    let mut path = folder.clone().into_os_string();
                    path.push(":");
                    path.push(std::env::var_os("PATH").unwrap_or_default());
                    command.env("PATH", path);
                }
                command
            }
            Transport::Ssh => {
                let mut command = Command::new("ssh");
                command.args(self.ssh_arguments(host)).args(["-T", "-o", "BatchMode=yes"]);
                command.arg("--").arg(&host.address).arg("exec sh");
                command
            }
        }
    }

    fn ssh_arguments(&self, host: &Host) -> Vec<OsString> {
        let mut list = self.arguments.clone();
        if let Some(user) = &host.user {
            list.extend(["-l".into(), user.into()]);
        }
        if let Some(port) = host.port {
            list.extend(["-p".into(), port.to_string().into()]);
        }
        if let Some(file) = &host.identity_file {
            list.extend(["-i".into(), file.into()]);
        }
        if let Some(ip) = &host.resolved {
            list.extend(["-o".into(), format!("HostName={ip}").into()]);
        }
        if host.through_tailscale {
            list.extend(["-o".into(), "ProxyCommand=tailscale nc %h %p".into()]);
        }
        if let Some(key) = &host.host_key {
            let known = self.sockets.as_ref().and_then(|folder| known_hosts(folder, key).ok());
            // Where it can't be kept nobody is let in; `is_ready` has said so.
            let known = known.unwrap_or_else(|| PathBuf::from("/dev/null"));
            let known = known.to_string_lossy().replace('%', "%%");
            let file = OsString::from(format!("UserKnownHostsFile=\"{known}\""));
            let alias = format!("HostKeyAlias={KNOWN_AS}");
            for option in [
                file,
                alias.into(),
                "GlobalKnownHostsFile=/dev/null".into(),
                "StrictHostKeyChecking=yes".into(),
            ] {
                list.extend(["-o".into(), option]);
            }
        }
        for option in [
            "LogLevel=ERROR",
            "ConnectTimeout=10",
            "ServerAliveInterval=3",
            "ServerAliveCountMax=3",
        ] {
            list.extend(["-o".into(), option.into()]);
        }
        if let Some(directory) = &self.sockets {
            // Everything that decides where a connection goes is in the socket's name.
            let identity = sha256_hex(format!("{list:?} {}", host.address));
            let socket = directory.join(&identity[..16]);
            let mut path = OsString::from("ControlPath=");
            path.push(socket);
            list.extend(["-o".into(), path]);
            for option in ["ControlMaster=auto", "ControlPersist=60s"] {
                list.extend(["-o".into(), option.into()]);
            }
        }
        list
    }
}

/// A script that is running, to which lines can be sent.
#[derive(Debug)]
pub struct Session {
    host: Host,
    script: Option<String>,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
    stderr: Option<Tail>,
}

impl Session {
    /// The next line that it says; none when it has ended.
    pub async fn line(&mut self) -> Option<String> {
        if let (Some(script), Some(stdin)) = (self.script.take(), &mut self.stdin) {
            let _ = stdin.write_all(script.as_bytes()).await;
            let _ = stdin.flush().await;
        }
        self.lines.next_line().await.ok().flatten()
    }

    /// Sends a line.
    pub async fn send(&mut self, line: &str) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        stdin.write_all(line.as_bytes()).await?;
        stdin.write_all(b"\n").await?;
        stdin.flush().await
    }

    /// Whether it is known to have ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes its standard input, waits a while for its end, and says how it ended.
    pub async fn finish(&mut self, patience: Duration) -> Output {
        self.stdin = None;
        let mut stdout = Vec::new();
        let status = tokio::time::timeout(patience, async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                stdout.extend_from_slice(line.as_bytes());
                stdout.push(b'\n');
            }
            self.child.wait().await
        })
        .await;
        let status = match status {
            Ok(Ok(status)) => code(status),
            _ => {
                let _ = self.child.start_kill();
                -1
            }
        };
        let stderr = match self.stderr.take() {
            Some(tail) => tail.end().await,
            None => String::new(),
        };
        Output { status, stdout, stderr, truncated: false }
    }

    /// Why it ended before it said what it had to.
    pub async fn reason(&mut self) -> Blocked {
        let output = self.finish(Duration::from_secs(5)).await;
        lost(&self.host, &output).unwrap_or_else(|| Blocked {
            reason: BlockedReason::HalfAnswer,
            detail: refusal::last_lines(&output.stderr, 3).join("; "),
        })
    }
}

/// The end of a command's standard error, read while it runs.
#[derive(Debug)]
struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    task: Option<JoinHandle<()>>,
}

impl Tail {
    fn of<R: AsyncRead + Unpin + Send + 'static>(reader: Option<R>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let task = reader.map(|mut reader| {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut piece = vec![0; 8192];
                while let Ok(count @ 1..) = reader.read(&mut piece).await {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend_from_slice(piece.get(..count).unwrap_or_default());
                    let surplus = kept.len().saturating_sub(STDERR_KEPT);
                    kept.drain(..surplus);
                }
            })
        });
        Self { kept, task }
    }

    async fn end(self) -> String {
        if let Some(task) = self.task {
            let stop = task.abort_handle();
            if tokio::time::timeout(STDERR_GRACE, task).await.is_err() {
                stop.abort();
            }
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

/// A script that the shell parses as a whole before it runs any of it.
fn whole(script: &str) -> String {
    format!("{{\n{script}\nexit\n}}\n")
}

/// Writes a script and closes the pipe. A command that ended early does not read it all, and its
/// exit status says why.
async fn feed(stdin: Option<ChildStdin>, script: String) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(script.as_bytes()).await;
        let _ = stdin.shutdown().await;
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Whether it was `ssh` itself that failed, and why.
fn lost(host: &Host, output: &Output) -> Option<Blocked> {
    (host.transport == Transport::Ssh && output.status == 255)
        .then(|| refusal::of_ssh(&output.stderr))
}

fn no_start(host: &Host, error: io::Error) -> Blocked {
    let program = match host.transport {
        Transport::Ssh => "ssh",
        Transport::Local => "sh",
    };
    let detail = match error.kind() {
        io::ErrorKind::NotFound => format!("there is no `{program}` command on this machine"),
        _ => format!("`{program}` could not be run on this machine: {error}"),
    };
    Blocked { reason: BlockedReason::Unreachable, detail }
}

/// A directory for sockets that is private to this user and whose paths are short enough for them
/// (`ssh` appends 17 characters to a socket's name while it makes it).
fn socket_directory() -> Option<PathBuf> {
    let variable =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let runtime = variable("XDG_RUNTIME_DIR").map(|path| path.join("stagecraft"));
    let cache = variable("HOME").map(|path| path.join(".cache/stagecraft/ssh"));
    [runtime, cache].into_iter().flatten().find(|path| make_private(path))
}

/// A file for `ssh` that knows one key. Its name says which, so that it never has to change.
fn known_hosts(folder: &Path, key: &str) -> io::Result<PathBuf> {
    let path = folder.join(format!("key-{}", &sha256_hex(key)[..16]));
    if !path.exists() {
        let beside = path.with_extension(std::process::id().to_string());
        fs::write(&beside, format!("{KNOWN_AS} {key}\n"))?;
        // Somebody may have been faster, with the same.
        fs::rename(&beside, &path)
            .or_else(|error| if path.exists() { Ok(()) } else { Err(error) })?;
    }
    Ok(path)
}

fn make_private(path: &Path) -> bool {
    if path.as_os_str().len() + 1 + 16 + 17 > 100 {
        return false;
    }
    if fs::DirBuilder::new().recursive(true).mode(0o700).create(path).is_err() {
        return false;
    }
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_script_that_is_cut_anywhere_runs_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("ran");
        let script = whole(&format!("touch {0}\ncat <<'X'\ntext\nX\ntouch {0}", mark.display()));
        for end in 0..script.len() - 2 {
            let mut shell = std::process::Command::new("sh")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("sh starts");
            let mut stdin = shell.stdin.take().expect("piped");
            stdin.write_all(&script.as_bytes()[..end]).expect("written");
            drop(stdin);
            shell.wait().expect("sh ends");
            assert!(!mark.exists(), "{:?}", &script[..end]);
        }
    }

    #[test]
    fn only_what_was_given_is_in_the_arguments_of_ssh() {
        let mut host = Host { address: "-oProxyCommand=x".into(), ..Host::named("app") };
        let reach = Reach::default();
        let list = format!("{:?}", reach.shell(&host).as_std());
        assert!(list.ends_with(r#""--" "-oProxyCommand=x" "exec sh""#), "{list}");
        assert!(!list.contains("\"-l\"") && !list.contains("ControlPath"), "{list}");
        host.user = Some("deploy".into());
        host.port = Some(2222);
        let reach = Reach { sockets: Some("/run/x".into()), ..reach };
        let list = format!("{:?}", reach.shell(&host).as_std());
        assert!(list.contains(r#""-l" "deploy" "-p" "2222""#), "{list}");
        assert!(list.contains("ControlPath=/run/x/"), "{list}");
    }
}
