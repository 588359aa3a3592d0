//! The shop on the lab's first two hosts, as its operator sees it: a folder with its files, the
//! program's verbs in it, and what runs where.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::harness::{Lab, Ran, copy, get, run};

/// Where the gateway of h1 answers.
pub const GATEWAY: &str = "10.99.0.11:80";
/// Everything of ours on a host.
pub const HOME: &str = "/var/lib/stagecraft/shop/staging";
/// The secrets that a test begins with.
pub const SECRETS: &str = "DB_PASSWORD=first-password\nSTRIPE_API_KEY=sk_first\nLOG_LEVEL=info\n";

/// The application under test.
pub struct Shop {
    pub lab: Lab,
    folder: tempfile::TempDir,
}

impl Shop {
    /// The shop's files, on clean hosts; `None` where there is no lab.
    pub fn new() -> Option<Self> {
        let shop = Self { lab: Lab::clean()?, folder: copy("fixtures/shop") };
        shop.secrets(SECRETS);
        Some(shop)
    }

    /// The shop, applied: release 1.
    pub fn applied() -> Option<Self> {
        let shop = Self::new()?;
        shop.stagecraft(&["apply", "--yes"]).exits(0);
        Some(shop)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes the operator's secrets.
    pub fn secrets(&self, text: &str) {
        let file = self.file(".stagecraft/secrets/staging.env");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.stagecraft(self.folder());
        command.args(arguments).args(["--env", "staging"]);
        command
    }

    pub fn stagecraft(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments), "")
    }

    /// The plan, whatever it says.
    #[track_caller]
    pub fn plan(&self, more: &[&str]) -> Plan {
        Plan::of(&self.stagecraft(&[&["plan", "--format", "json"], more].concat()))
    }

    /// Says that there is nothing to do.
    #[track_caller]
    pub fn is_settled(&self) {
        let ran = self.stagecraft(&["plan", "--detailed-exitcode"]);
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("No changes"), "{}", ran.stdout);
    }

    #[track_caller]
    pub fn apply(&self) -> Ran {
        self.stagecraft(&["apply", "--yes"]).exits(0)
    }

    /// Starts a verb whose events can be followed.
    pub fn follow(&self, arguments: &[&str]) -> Following {
        Following::of(self.command(arguments))
    }

    /// The releases on record, oldest first.
    #[track_caller]
    pub fn releases(&self) -> Vec<Value> {
        let text = self.stagecraft(&["releases", "list", "--format", "json"]).ok();
        match serde_json::from_str(&text).unwrap() {
            Value::Array(list) => list,
            Value::Object(mut object) => match object.remove("releases") {
                Some(Value::Array(list)) => list,
                _ => panic!("{text}"),
            },
            _ => panic!("{text}"),
        }
    }

    /// The newest release.
    #[track_caller]
    pub fn release(&self) -> Value {
        self.releases().pop().unwrap()
    }

    /// A release's journal.
    pub fn journal(&self, number: u64) -> Vec<Value> {
        let number = number.to_string();
        let text = self.stagecraft(&["releases", "show", &number, "--journal"]).ok();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The ids of a service's containers on a host, running or not, oldest first.
    pub fn containers(&self, host: &str, service: &str) -> Vec<String> {
        let script = format!(
            "docker ps -aq --no-trunc --filter label=com.docker.compose.project=shop-staging \
             --filter label=com.docker.compose.service={service} | tac"
        );
        self.lab.console(host, &script).ok().lines().map(str::to_owned).collect()
    }

    /// What `docker inspect --format` says of a service's containers on a host, sorted.
    pub fn inspect(&self, host: &str, service: &str, format: &str) -> Vec<String> {
        let ids = self.containers(host, service).join(" ");
        if ids.is_empty() {
            return Vec::new();
        }
        let script = format!("docker inspect --format '{format}' {ids}");
        let mut lines: Vec<String> =
            self.lab.console(host, &script).ok().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// The image references that a service's containers on a host were made from.
    pub fn images(&self, host: &str, service: &str) -> Vec<String> {
        let images = self.inspect(host, service, "{{.Config.Image}}");
        images.iter().map(|image| image.rsplit('/').next().unwrap().to_owned()).collect()
    }

    /// The address in its own network of each running container of a service on a host.
    pub fn addresses(&self, host: &str, service: &str) -> Vec<String> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let all = self.inspect(host, service, format);
        all.iter().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    /// Everything of ours that Docker and the file system of a host hold, by name.
    pub fn traces(&self, host: &str) -> Vec<String> {
        let script = format!(
            "F='label=stagecraft.environment=shop/staging'
             docker ps -a --filter $F --format 'container {{{{.Names}}}}'
             docker network ls --filter $F --format 'network {{{{.Name}}}}'
             docker volume ls --filter $F --format 'volume {{{{.Name}}}}'
             for f in {HOME}/compose.yml /etc/shop/env; do [ ! -e $f ] || echo file $f; done"
        );
        let mut lines: Vec<String> =
            self.lab.console(host, &script).ok().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// The text of a file on a host.
    #[track_caller]
    pub fn cat(&self, host: &str, path: &str) -> String {
        self.lab.console(host, &format!("cat {path}")).ok()
    }

    /// What the gateway answers.
    pub fn front(&self) -> Value {
        get(GATEWAY, "/")
            .ok()
            .filter(|(status, _)| *status == 200)
            .and_then(|(_, body)| serde_json::from_str(&body).ok())
            .unwrap_or_default()
    }

    /// The version that the gateway's api answers with.
    pub fn version(&self) -> String {
        self.front()["version"].as_str().unwrap_or_default().to_owned()
    }

    /// Nobody holds the lock.
    #[track_caller]
    pub fn is_unlocked(&self) {
        let status = self.stagecraft(&["lock", "status"]).ok();
        assert_eq!(status.matches("free").count(), 2, "{status}");
    }

    /// Asks addresses on a host, from that host, over and over until told to stop.
    pub fn poll(&self, host: &str, addresses: &[String]) -> Poll {
        let addresses: Vec<String> =
            addresses.iter().map(|address| format!("http://{address}/")).collect();
        let script = format!(
            "echo $$; while :; do for url in {}; do
               curl -s -o /dev/null --max-time 3 -w '%{{http_code}} %{{url_effective}}\\n' $url
             done; sleep 0.05; done",
            addresses.join(" ")
        );
        let mut child = self.lab.console_child(host);
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut process = String::new();
        output.read_line(&mut process).unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            text
        });
        let process = process.trim().to_owned();
        Poll { lab: self.lab.clone(), host: host.to_owned(), process, child, reader: Some(reader) }
    }
}

/// Requests that are being made all the time.
pub struct Poll {
    lab: Lab,
    host: String,
    /// The process on the host.
    process: String,
    child: Child,
    reader: Option<JoinHandle<String>>,
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.end();
    }
}

impl Poll {
    /// Ends it: what it has printed.
    fn end(&mut self) -> String {
        let Some(reader) = self.reader.take() else { return String::new() };
        self.lab.console(&self.host, &format!("kill {}", self.process));
        let _ = self.child.wait();
        reader.join().unwrap()
    }

    /// Every request until now was answered with 200, and there were enough.
    #[track_caller]
    pub fn never_failed(mut self) {
        let text = self.end();
        // It may have ended in the middle of a line.
        let text = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let (good, bad): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("200 "));
        assert!(bad.is_empty(), "{} good, and on {}: {bad:?}", good.len(), self.host);
        assert!(good.len() > 20, "only {} requests", good.len());
    }
}

/// A verb at work, and its events so far.
pub struct Following {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub seen: Vec<Value>,
}

impl Following {
    /// Starts a verb that asks nothing and tells its events.
    pub fn of(mut command: Command) -> Self {
        command.args(["--yes", "--format", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Following { child, lines, seen: Vec::new() }
    }

    /// Waits for so many events; whether there were as many.
    pub fn wait_for_number(&mut self, number: usize) -> bool {
        while self.seen.len() < number {
            let Some(Ok(line)) = self.lines.next() else { return false };
            // An empty plan is printed over many lines, none of which is an event.
            self.seen.extend(serde_json::from_str(&line).ok().filter(Value::is_object));
        }
        true
    }

    /// Waits for an event, such as `("step_started", "service.app-1/api", "stop")`; an empty word
    /// matches whatever there is.
    #[track_caller]
    pub fn wait_for(&mut self, event: &str, address: &str, act: &str) {
        while let Some(Ok(line)) = self.lines.next() {
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            let found = is(&value, event, address, act);
            self.seen.push(value);
            if found {
                return;
            }
        }
        let mut stderr = String::new();
        let _ = self.child.stderr.take().unwrap().read_to_string(&mut stderr);
        panic!("no {event} of {address} {act} in {:#?}\n{stderr}", self.seen);
    }

    /// Sends it a signal, such as `KILL`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args(["-s", name, &pid]), "").ok();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        let mut stdout = String::new();
        for line in self.lines.by_ref() {
            stdout.push_str(&line.unwrap());
            stdout.push('\n');
        }
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ran { code: self.child.wait().unwrap().code().unwrap_or(-1), stdout, stderr }
    }
}

/// Whether an event is of this sort.
fn is(value: &Value, event: &str, address: &str, act: &str) -> bool {
    let like = |key: &str, wanted: &str| wanted.is_empty() || value[key] == wanted;
    like("event", event) && like("address", address) && like("act", act)
}

/// The place of an event in a journal.
#[track_caller]
pub fn at(journal: &[Value], event: &str, address: &str, act: &str) -> usize {
    let place = journal.iter().position(|value| is(value, event, address, act));
    place.unwrap_or_else(|| panic!("no {event} of {address} {act} in {journal:#?}"))
}

/// A plan's JSON form.
#[derive(Debug)]
pub struct Plan(pub Value);

impl Plan {
    /// What `plan --format json` printed.
    #[track_caller]
    pub fn of(ran: &Ran) -> Self {
        match serde_json::from_str(&ran.stdout) {
            Ok(plan) => Plan(plan),
            Err(error) => panic!("no plan ({error}):\n{}\n{}", ran.stdout, ran.stderr),
        }
    }

    /// What changes, as `ACTION ADDRESS`.
    pub fn changes(&self) -> Vec<String> {
        let changes = self.0["changes"].as_array().unwrap().iter();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        changes.map(|it| word(&it["action"]) + " " + &word(&it["address"])).collect()
    }

    /// The change of one resource, if there is one.
    pub fn find(&self, address: &str) -> Option<&Value> {
        let mut changes = self.0["changes"].as_array().unwrap().iter();
        changes.find(|change| change["address"] == address)
    }

    /// The change of one resource.
    #[track_caller]
    pub fn change(&self, address: &str) -> &Value {
        self.find(address)
            .unwrap_or_else(|| panic!("no change of {address} in {:#?}", self.changes()))
    }

    /// Checks why a resource changes: its causes, or one of its fields, say these words.
    #[track_caller]
    pub fn because(&self, address: &str, words: &str) {
        let change = self.change(address);
        let why = format!("{} {}", change["causes"], change["fields"]);
        assert!(why.contains(words), "{address} does not say {words:?} but {why}");
    }

    /// What is blocked, as `REASON ADDRESS`.
    pub fn blocked(&self) -> Vec<String> {
        let entries = self.0["blocked"].as_array().unwrap().iter();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        entries.map(|it| word(&it["reason"]) + " " + &word(&it["address"])).collect()
    }
}
