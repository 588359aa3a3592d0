//! A secret value is in the operator's file, in the hosts' env file and its kept versions, in the
//! containers' own environment, and nowhere else. Another test leaks it on purpose, so that it is
//! known that the search can see.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::{edit, run};
use crate::shop::Shop;

/// A value that is nowhere else in the world.
fn planted(name: &str) -> String {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{name}-{:x}", time.as_nanos())
}

/// How long a process is young.
const YOUNG: Duration = Duration::from_millis(300);

/// Looks into every process of this machine, the hosts' and the containers' included, all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

#[derive(Default)]
struct Seen {
    leaks: BTreeSet<String>,
    /// The programs that were looked into.
    programs: BTreeSet<String>,
    sweeps: usize,
    /// When each process was first met.
    met: HashMap<OsString, Instant>,
}

impl Watch {
    fn start(values: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, values) = (Arc::clone(&stop), values.to_vec());
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !ended.load(Ordering::Relaxed) {
                seen.sweep(&values);
                std::thread::sleep(Duration::from_micros(200));
            }
            seen
        });
        Self { stop, thread }
    }

    fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

impl Seen {
    fn sweep(&mut self, values: &[String]) {
        self.sweeps += 1;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            // Most processes live for a moment and become another program in it: the young are
            // looked into in every sweep, the old now and then.
            let met = *self.met.entry(entry.file_name()).or_insert_with(Instant::now);
            if met.elapsed() > YOUNG && !self.sweeps.is_multiple_of(100) {
                continue;
            }
            let process = entry.path();
            let read = |name: &str| std::fs::read(process.join(name)).unwrap_or_default();
            let arguments = read("cmdline");
            if arguments.is_empty() {
                continue;
            }
            let environment = environment(&process).unwrap_or_default();
            let program = String::from_utf8_lossy(&read("comm")).trim().to_owned();
            // The environment of the images' own processes is where a value is to be.
            let inside = contains(&environment, "SHOPD_ROLE=");
            for value in values {
                if contains(&arguments, value) {
                    self.leaks.insert(format!("arguments of {program}"));
                }
                if contains(&environment, value) && !inside {
                    self.leaks.insert(format!("environment of {program}"));
                }
            }
            if !environment.is_empty() {
                self.programs.insert(program);
            }
        }
    }
}

/// A process's environment, in one piece: of one that ends between two reads there would be a part, without
/// what tells whose it is.
fn environment(process: &Path) -> std::io::Result<Vec<u8>> {
    let mut said = vec![0; 64 << 10];
    let length = std::fs::File::open(process.join("environ"))?.read(&mut said)?;
    said.truncate(length);
    Ok(said)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What the program has said, by the command that made it say so.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    /// Runs a verb, which must end with this code.
    #[track_caller]
    fn hear(&mut self, shop: &Shop, code: i32, arguments: &[&str]) {
        let mut command = shop.command(arguments);
        // What it may leave on this machine is left where it is looked for.
        let home = shop.file("home");
        std::fs::create_dir_all(&home).unwrap();
        command.env("HOME", &home).env("XDG_CACHE_HOME", &home).env("XDG_STATE_HOME", &home);
        let ran = run(command.env("TMPDIR", &home), "").exits(code);
        self.0.push((arguments.join(" "), ran.stdout + &ran.stderr));
    }
}

/// Everywhere that a value is found: what was said, the operator's folder, the hosts' files. What
/// Docker itself keeps of its containers is their own environment.
fn places(shop: &Shop, said: &Said, values: &[String]) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for value in values {
        for (arguments, text) in &said.0 {
            if text.contains(value) {
                places.insert(format!("said by {arguments}"));
            }
        }
        in_folder(shop.folder(), shop.folder(), value, &mut places);
        for host in ["h1", "h2"] {
            let script = format!(
                "PATH=/usr/bin; find / \\( -path /proc -o -path /sys -o -path /dev -o -path /usr \\) -prune -o \
                 -type f -print0 | xargs -0 grep -lsF -e {value} | \
                 grep -vE '^(/var/lib/docker/containers/[0-9a-f]+/config.v2.json|\
                 /var/lib/docker/containerd/.*/meta.db|/run/docker/.*|/tmp/runc-process[0-9]+)$'"
            );
            let found = shop.lab.console(host, &script).stdout;
            let name = |path: &str| match path.rsplit_once('/') {
                Some((folder, name)) if folder.ends_with("/env") && name.len() == 16 => {
                    format!("{host}: {folder}/VERSION")
                }
                Some((folder, name)) if name.len() == 64 => format!("{host}: {folder}/BLOB"),
                _ => format!("{host}: {path}"),
            };
            places.extend(found.lines().map(name));
        }
    }
    places
}

fn in_folder(top: &Path, folder: &Path, value: &str, places: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            in_folder(top, &path, value, places);
        } else if kind.is_file() && contains(&std::fs::read(&path).unwrap(), value) {
            places.insert(path.strip_prefix(top).unwrap().display().to_string());
        }
    }
}

/// Where values may be.
const HOMES: [&str; 5] = [
    ".stagecraft/secrets/staging.env",
    "h1: /etc/shop/env",
    "h1: /var/lib/stagecraft/shop/staging/env/VERSION",
    "h2: /etc/shop/env",
    "h2: /var/lib/stagecraft/shop/staging/env/VERSION",
];

/// Makes the programs that scripts call by name write down on the hosts, in /tmp/calls, what they
/// are given: most of them live for too short a time to be looked into. `Lab::clean` ends it.
const NOTE_CALLS: &str = r#"
for program in awk base64 cat chmod chown cp curl cut date dd docker env flock grep head id \
  install kill ls mkdir mktemp mv od printf rm sed sha256sum sort stat sync tail tee tr uname wc \
  xargs; do
  [ -x /usr/bin/$program ] || continue
  [ ! -e /usr/local/bin/$program ] || continue
  cat >/usr/local/bin/$program <<WRAPPER
#!/bin/sh
# notes calls for a test
{ printf '%s\n' "$program \$*"; /usr/bin/cat /proc/\$\$/environ; } >>/tmp/calls
exec /usr/bin/$program "\$@"
WRAPPER
  /usr/bin/chmod 755 /usr/local/bin/$program
done
"#;

#[test]
fn a_value_is_found_nowhere_but_where_it_belongs() {
    let Some(shop) = Shop::new() else { return };
    for host in ["h1", "h2"] {
        shop.lab.console(host, NOTE_CALLS).ok();
    }
    let values = ["db", "key", "odd", "db2", "key2"].map(planted);
    let [db, key, odd, db2, key2] = &values;
    let secrets = |db: &str, key: &str| {
        shop.secrets(&format!(
            "DB_PASSWORD={db}\nSTRIPE_API_KEY=\"{key}\"\nODD=\"it's $$5 \\\"{odd}\\\"\\nand more\"\n"
        ));
    };
    secrets(db, key);
    let watch = Watch::start(&values);
    let mut said = Said::default();
    for format in ["text", "json", "markdown"] {
        said.hear(&shop, 0, &["plan", "--verbose", "--format", format]);
    }
    said.hear(&shop, 0, &["plan", "--out", "saved.plan"]);
    said.hear(&shop, 0, &["apply", "saved.plan", "--yes", "--verbose"]);
    secrets(db2, key2);
    for format in ["text", "json", "markdown"] {
        said.hear(&shop, 2, &["plan", "--verbose", "--detailed-exitcode", "--format", format]);
    }
    said.hear(&shop, 0, &["deploy", "v2", "--yes", "--verbose", "--format", "json"]);
    said.hear(&shop, 1, &["deploy", "crash", "--yes", "--verbose"]);
    // A version that prints all it knows before it dies.
    let tell = "    entrypoint: [sh, -c, 'env; echo; env >&2; exit 1']\n    expose: [\"8080\"]";
    edit(&shop.file("docker-compose.yml"), "    expose: [\"8080\"]", tell);
    said.hear(&shop, 1, &["deploy", "v3", "--yes", "--verbose"]);
    assert!(said.0.last().unwrap().1.contains("DB_HOST=postgres"), "{}", said.0.last().unwrap().1);
    let logs = "docker ps -aq --filter name=api | xargs -n 1 docker logs 2>&1 | grep -c DB_HOST";
    assert_eq!(shop.lab.console("h1", logs).stdout.trim(), "0", "no such container is left");
    said.hear(&shop, 0, &["rollback", "--to", "1", "--yes", "--verbose", "--format", "markdown"]);
    for number in ["1", "2", "4", "5"] {
        said.hear(&shop, 0, &["releases", "show", number, "--verbose"]);
        said.hear(&shop, 0, &["releases", "show", number, "--format", "json"]);
        said.hear(&shop, 0, &["releases", "show", number, "--journal"]);
    }
    said.hear(&shop, 0, &["releases", "list", "--verbose"]);
    said.hear(&shop, 0, &["status", "--verbose"]);
    said.hear(&shop, 0, &["status", "--format", "json"]);
    let seen = watch.end();
    for host in ["h1", "h2"] {
        let calls = shop.cat(host, "/tmp/calls");
        for call in ["docker ", "chmod 0600 /etc/shop/env", "mv -f", "cat"] {
            assert!(calls.contains(call), "{call} is not among the calls on {host}");
        }
    }
    let found = places(&shop, &said, &values);
    assert_eq!(found, HOMES.map(str::to_owned).into());
    assert_eq!(seen.leaks, BTreeSet::new());
    for program in ["stagecraft", "ssh", "sshd", "sh", "docker", "docker-compose", "shopd"] {
        let looked = |seen: &String| seen == program;
        assert!(seen.programs.iter().any(looked), "{program} is not in {:?}", seen.programs);
    }
    assert!(seen.sweeps > 100, "{} sweeps", seen.sweeps);

    // A file of secrets that cannot be read is not quoted.
    let mut said = Said::default();
    shop.secrets(&format!("DB_PASSWORD={db}\nthis is no line {key}\nODD=\"{odd}\n"));
    said.hear(&shop, 1, &["plan", "--verbose"]);
    said.hear(&shop, 1, &["plan", "--format", "json"]);
    for value in &values {
        assert!(said.0.iter().all(|(_, text)| !text.contains(value)), "{:?}", said.0);
    }
}

#[test]
fn a_value_that_is_leaked_is_found() {
    let Some(shop) = Shop::new() else { return };
    let value = planted("leak");
    shop.secrets(&format!("DB_PASSWORD={value}\n"));
    let literal = format!("      DB_PORT: \"5432\"\n      BANNER: {value}");
    edit(&shop.file("docker-compose.yml"), "      DB_PORT: \"5432\"", &literal);
    let watch = Watch::start(std::slice::from_ref(&value));
    let mut said = Said::default();
    said.hear(&shop, 0, &["plan", "--format", "json", "--out", "saved.plan"]);
    said.hear(&shop, 0, &["apply", "saved.plan", "--yes"]);
    shop.lab.console("h2", NOTE_CALLS).ok();
    shop.lab.ssh("h2", &format!("env printf %s {value}")).ok();
    // In an argument list, and in an environment, on a host.
    let script = format!("sh -c 'sleep 1; exit' {value} & V={value} sh -c 'sleep 1; exit'; wait");
    shop.lab.ssh("h2", &script).ok();
    let mut child = Command::new("sleep").arg("1").env("V", &value).stdin(Stdio::null()).spawn();
    child.as_mut().unwrap().wait().unwrap();
    let seen = watch.end();
    let found = places(&shop, &said, &[value]);
    for place in HOMES.into_iter().chain([
        "said by plan --format json --out saved.plan",
        "saved.plan",
        "docker-compose.yml",
        "h1: /var/lib/stagecraft/shop/staging/compose.yml",
        "h2: /var/lib/stagecraft/shop/staging/compose.yml",
        "h1: /var/lib/stagecraft/shop/staging/store/blobs/BLOB",
        "h2: /tmp/calls",
    ]) {
        assert!(found.contains(place), "{place} is not in {found:#?}");
    }
    for place in ["arguments of sh", "environment of sh", "environment of sleep"] {
        assert!(seen.leaks.contains(place), "{place} is not in {:#?}", seen.leaks);
    }
}
