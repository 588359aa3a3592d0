//! The store on the environment's own hosts: releases, blobs and journals in `store/`, so that
//! everybody who can reach the hosts shares one history.

mod lock;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Blocked, Host, Release, sha256_hex};
use crate::world::HostsWorld;
use crate::world::quote::quote;
use crate::world::refusal;
use crate::world::shell::{PRELUDE, random_hex};
use crate::world::transport::{Limits, Output};

use super::StateError;

pub use lock::HostLock;

/// The store on some hosts. What is written goes to all of them; what is read comes from whichever
/// have it.
#[derive(Debug, Clone)]
pub struct HostStore {
    world: Arc<HostsWorld>,
    hosts: Vec<Host>,
}

/// Functions of the store's scripts: `place NAME` puts its input in a file below the store, whole
/// or not at all. `room NAME` makes a folder below it.
const HELPERS: &str = r#"
umask 077
say() { printf '\n%s %s\n' "$M" "$*"; }
room() { (umask 022; mkdir -p "$D") && mkdir -p "$STORE/$1" || exit 1; }
place() {
  room "${1%/*}"
  new=$STORE/$1.$$.new
  cat >"$new" || exit 1
  size=$(wc -c <"$new") || exit 1
  if [ "$size" -ne "$2" ]; then rm -f "$new"; echo "$1 was not written whole" >&2; exit 1; fi
  sync "$new" 2>/dev/null || sync
  mv -f "$new" "$STORE/$1" || exit 1
  sync "$STORE/${1%/*}" 2>/dev/null || sync
}
"#;

impl HostStore {
    /// The store on these hosts.
    pub fn new(world: Arc<HostsWorld>, hosts: impl IntoIterator<Item = Host>) -> Self {
        let mut hosts: Vec<Host> = hosts.into_iter().collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        hosts.dedup_by(|a, b| a.name == b.name);
        Self { world, hosts }
    }

    /// The hosts, by name.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Every release on record, oldest first. A host that lacks one, or cannot be reached, is no
    /// obstacle as long as another answers; where two records of a release differ, the later counts.
    pub async fn releases(&self) -> Result<Vec<Release>, StateError> {
        let body = "if [ -d \"$STORE/releases\" ]; then\n  cd \"$STORE/releases\" || exit 1\n  for f \
                    in [0-9]*.json; do [ ! -f \"$f\" ] || { say \"$f\"; cat \"$f\"; }; done\nfi\n";
        let mut found: BTreeMap<u64, Release> = BTreeMap::new();
        for (host, records) in self.ask(body).await? {
            for (name, text) in records {
                let release = super::parse_release(text.as_bytes())
                    .map_err(|error| broken(&host, format!("has a bad record {name}: {error}")))?;
                match found.get(&release.number) {
                    Some(known) if age(known) >= age(&release) => {}
                    _ => {
                        found.insert(release.number, release);
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// One release.
    pub async fn release(&self, number: u64) -> Result<Release, StateError> {
        let all = self.releases().await?;
        let found = all.into_iter().find(|release| release.number == number);
        found.ok_or(StateError::NoRelease(number))
    }

    /// Puts a release on record on every host, in place of an earlier record of it.
    pub async fn put(&self, release: &Release) -> Result<(), StateError> {
        self.place(&[record(release)?]).await
    }

    /// Puts a release on record on every host, after the desired state that it names, in one go.
    pub async fn begin(&self, release: &Release, desired: &str) -> Result<(), StateError> {
        let blob = (format!("blobs/{}", release.desired), desired.to_owned());
        self.place(&[blob, record(release)?]).await
    }

    /// The content at an address.
    pub async fn get_blob(&self, digest: &str) -> Result<String, StateError> {
        let path = quote(&format!("blobs/{digest}"));
        let body =
            format!("cd \"$STORE\" 2>/dev/null && [ -f {path} ] && {{ say blob; cat {path}; }}\n:");
        for (_, records) in self.ask(&body).await? {
            for (_, text) in records {
                if sha256_hex(&text) == digest {
                    return Ok(text);
                }
            }
        }
        Err(broken(&self.names(), format!("has no content {digest}")))
    }

    /// The lines of a release's journal, from the host that has the most.
    pub async fn journal(&self, number: u64) -> Result<Vec<String>, StateError> {
        let path = format!("journal/{number:08}.jsonl");
        let body =
            format!("cd \"$STORE\" 2>/dev/null && [ -f {path} ] && {{ say j; cat {path}; }}\n:");
        let answers = self.ask(&body).await?;
        let texts = answers.into_iter().flat_map(|(_, records)| records).map(|(_, text)| text);
        let longest = texts.max_by_key(String::len).unwrap_or_default();
        Ok(longest.lines().map(str::to_owned).collect())
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        names.join(", ")
    }

    fn script(&self, marker: &str, body: &str) -> String {
        format!(
            "{PRELUDE}{}STORE=$D/store\nM={marker}\n{HELPERS}{body}",
            self.world.layout().assignments()
        )
    }

    /// Runs a script on all hosts at once.
    async fn all(&self, script: &str) -> Vec<(String, Result<Output, Blocked>)> {
        let tasks: Vec<_> = self
            .hosts
            .iter()
            .map(|host| {
                let (world, host, script) =
                    (Arc::clone(&self.world), host.clone(), script.to_owned());
                let name = host.name.clone();
                let limits = Limits::default();
                (name, tokio::spawn(async move { world.run(&host, &script, limits).await }))
            })
            .collect();
        let mut answers = Vec::with_capacity(tasks.len());
        for (name, task) in tasks {
            if let Ok(answer) = task.await {
                answers.push((name, answer));
            }
        }
        answers
    }

    /// Asks all hosts; the framed records of those that answered. An error when none did.
    async fn ask(&self, body: &str) -> Result<Vec<(String, Vec<(String, String)>)>, StateError> {
        let marker = format!("@{}", fresh()?);
        let script = self.script(&marker, &format!("{body}\nsay end\n"));
        let mut answers = Vec::new();
        let mut trouble = None;
        for (host, answer) in self.all(&script).await {
            let text = match &answer {
                Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
                Err(_) => String::new(),
            };
            let frame = format!("\n{marker} ");
            let mut records: Vec<(String, String)> = text
                .split(frame.as_str())
                .skip(1)
                .map(|part| {
                    let (head, body) = part.split_once('\n').unwrap_or((part, ""));
                    (head.to_owned(), body.to_owned())
                })
                .collect();
            match records.pop() {
                Some((head, _)) if head == "end" => answers.push((host, records)),
                _ => trouble = trouble.or(Some(self.refused(&host, "could not be read", answer))),
            }
        }
        match trouble {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok(answers),
        }
    }

    /// Writes files below the store on every host, one after the other: by their names, with their content.
    async fn place(&self, files: &[(String, String)]) -> Result<(), StateError> {
        let line = |(name, content): &(String, String)| {
            let length = content.len();
            format!("printf %s {} | place {} {length} || exit 1\n", quote(content), quote(name))
        };
        let body: String = files.iter().map(line).collect();
        let script = self.script("@", &body);
        for (host, answer) in self.all(&script).await {
            if !matches!(&answer, Ok(output) if output.status == 0) {
                return Err(self.refused(&host, "could not be written", answer));
            }
        }
        Ok(())
    }

    fn refused(&self, host: &str, what: &str, answer: Result<Output, Blocked>) -> StateError {
        let said = match answer {
            Ok(output) => refusal::last_lines(&output.stderr, 2).join("; "),
            Err(blocked) => blocked.detail,
        };
        broken(host, format!("{what}: {}", self.world.redact(&said)))
    }
}

/// The file of a release's record.
fn record(release: &Release) -> Result<(String, String), StateError> {
    let text = serde_json::to_string(release)
        .map_err(|error| broken("this machine", format!("cannot hold the record: {error}")))?;
    Ok((format!("releases/{:08}.json", release.number), text))
}

/// Which of two records of one release is the later: an ended one comes after a running one.
fn age(release: &Release) -> (&Option<String>, &str, Reverse<String>) {
    let text = serde_json::to_string(release).unwrap_or_default();
    (&release.finished, release.started.as_str(), Reverse(text))
}

fn fresh() -> Result<String, StateError> {
    random_hex(16).map_err(|error| broken("this machine", format!("has no random bytes: {error}")))
}

fn broken(place: &str, what: String) -> StateError {
    StateError::Broken { place: place.to_owned(), what }
}
