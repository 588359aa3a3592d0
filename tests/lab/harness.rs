//! What the tests do to the lab: run commands on hosts, cut and stop them, put files on them, ask
//! what they serve, and run the program under test against them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Checks the exit code, and shows what was printed when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs a command with `stdin` as its standard input.
pub fn run(command: &mut Command, stdin: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_owned();
    // A command may end without reading what it is given.
    let writer = std::thread::spawn(move || drop(pipe.write_all(stdin.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into(),
        stderr: String::from_utf8_lossy(&output.stderr).into(),
    }
}

/// The lab that `$STAGECRAFT_LAB` names.
#[derive(Clone)]
pub struct Lab {
    dir: PathBuf,
}

impl Lab {
    /// The lab, with every host on, linked and empty; or `None`, said loudly, where there is no lab.
    pub fn clean() -> Option<Self> {
        let lab = Self::open()?;
        let (on, off): (Vec<_>, Vec<_>) =
            lab.status().into_iter().partition(|(_, line)| line.contains("power on"));
        for (host, _) in &off {
            lab.control(&["start", host]);
        }
        for (host, line) in &on {
            if line.contains("link cut") {
                lab.control(&["heal", host]);
            }
        }
        for host in lab.hosts() {
            lab.control(&["start-docker", &host]);
            lab.console(&host, WIPE).ok();
        }
        for (host, _) in lab.status() {
            lab.console(&host, RESTORE).ok();
        }
        Some(lab)
    }

    /// The lab as it is.
    pub fn open() -> Option<Self> {
        let dir = std::env::var_os("STAGECRAFT_LAB").map(PathBuf::from).unwrap_or_default();
        if dir.join("ssh_config").exists() {
            return Some(Self { dir });
        }
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "there is no lab at $STAGECRAFT_LAB; tests/run lab brings one up"
        );
        eprintln!("!!! SKIPPED: there is no lab at $STAGECRAFT_LAB; tests/run lab brings one up");
        None
    }

    /// `ssh -F` this.
    pub fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }

    /// The reference by digest of an image such as `shop-api:v2`.
    pub fn image(&self, name: &str) -> String {
        let list = std::fs::read_to_string(self.dir.join("images")).unwrap();
        let wanted = format!("/shop/{name}@");
        let line = list.lines().find(|line| line.contains(&wanted));
        line.unwrap_or_else(|| panic!("the lab has no image {name}")).to_owned()
    }

    /// The hosts that have Docker: h1, h2, …
    pub fn hosts(&self) -> Vec<String> {
        self.status().into_iter().map(|(host, _)| host).filter(|h| h.starts_with('h')).collect()
    }

    /// Every host and its line of `lab status`.
    fn status(&self) -> Vec<(String, String)> {
        let text = self.control(&["status"]);
        let lines = text.lines().filter(|line| line.contains(" power "));
        lines.map(|line| (line.split(' ').next().unwrap().into(), line.into())).collect()
    }

    /// `lab VERB HOST`: cut, heal, stop, start, restart-docker, …
    pub fn control(&self, arguments: &[&str]) -> String {
        let mut lab = Command::new(root().join("tests/lab/lab"));
        run(lab.args(arguments).env("STAGECRAFT_LAB", &self.dir), "").ok()
    }

    /// Runs a shell script on a host's console, which needs no network.
    pub fn console(&self, host: &str, script: &str) -> Ran {
        let mut lab = Command::new(root().join("tests/lab/lab"));
        run(lab.args(["exec", host, "sh", "-s"]).env("STAGECRAFT_LAB", &self.dir), script)
    }

    /// A shell on a host's console that reads its script from a pipe.
    pub fn console_child(&self, host: &str) -> Child {
        let mut lab = Command::new(root().join("tests/lab/lab"));
        lab.args(["exec", host, "sh", "-s"]).env("STAGECRAFT_LAB", &self.dir);
        lab.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs a shell script on a host over SSH.
    pub fn ssh(&self, host: &str, script: &str) -> Ran {
        let mut ssh = Command::new("ssh");
        run(ssh.arg("-F").arg(self.ssh_config()).args([host, "sh -s"]), script)
    }

    /// Writes a file on a host, as root, with a mode such as "600".
    pub fn put(&self, host: &str, path: &str, mode: &str, content: &str) {
        let mut lab = Command::new(root().join("tests/lab/lab"));
        let script = "mkdir -p \"$(dirname \"$0\")\" && cat >\"$0\" && chmod \"$1\" \"$0\"";
        let arguments = ["exec", host, "sh", "-c", script, path, mode];
        run(lab.args(arguments).env("STAGECRAFT_LAB", &self.dir), content).ok();
    }

    /// The program under test, in `folder`, set up to reach the lab's hosts.
    pub fn stagecraft(&self, folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stagecraft"));
        command.current_dir(folder).env("STAGECRAFT_SSH_CONFIG", self.ssh_config());
        command
    }
}

/// Makes a host as it was when the lab came up, but for the pulled images of all parts but the api.
const WIPE: &str = "
containers=$(docker ps -aq)
[ -z \"$containers\" ] || docker rm -f $containers >/dev/null
docker network prune -f >/dev/null
volumes=$(docker volume ls -q)
[ -z \"$volumes\" ] || docker volume rm $volumes >/dev/null
images=$(docker images -q 10.99.0.1:5000/shop/shop-api)
[ -z \"$images\" ] || docker rmi -f $images >/dev/null
rm -rf /var/lib/stagecraft /etc/shop /srv/* /root/.docker
";

/// What a test took away from a host comes back.
const RESTORE: &str = "
rm -f /tmp/calls
/usr/bin/grep -ls 'notes calls for a test' /usr/local/bin/* | /usr/bin/xargs -r rm -f
for program in /usr/bin/docker /usr/libexec/docker/cli-plugins/docker-compose; do
  [ ! -e $program.away ] || mv $program.away $program
done
";

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of a fixture's files that a test may change.
pub fn copy(fixture: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(root().join(fixture)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

/// Replaces text that must occur in a file.
#[track_caller]
pub fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} lacks {from:?}", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

/// GETs `http://ADDRESS/PATH`: the status and the body.
pub fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let timeout = Duration::from_secs(2);
    let target: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("no answer"))?;
    Ok((status, body.to_owned()))
}

/// Waits until `done` says yes, for `seconds` at most.
#[track_caller]
pub fn eventually(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        assert!(Instant::now() < deadline, "waited {seconds} s in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
