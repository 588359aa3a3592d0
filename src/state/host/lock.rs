//! The lock on hosts: an `flock` that a live session holds on each of them. When this process or
//! the connection dies the lock is gone, so nobody ever has to break one. The release's journal
//! goes down the same session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;

use crate::model::Host;
use crate::world::quote::quote;
use crate::world::transport::Session;

use super::super::{Holder, StateError, holder_name};
use super::{HostStore, broken, fresh};

/// How often a sign of life goes to a holding session.
const BEAT: Duration = Duration::from_secs(5);
/// After how many seconds without one, up to twice as many, a holding session ends. A cut network can keep a dead connection
/// open on the host for hours.
const SILENCE_S: u32 = 15;

/// Takes the lock, then obeys lines: `+TEXT` adds a line to the journal, `jNUMBER` chooses it, `.`
/// is a sign of life. Only the shell itself has the lock's file open, so that it ends with it. A
/// watchdog ends it when nothing has been heard for a while.
const BODY: &str = r#"
room journal
command -v flock >/dev/null 2>&1 || { echo 'there is no flock command; install util-linux' >&2; exit 1; }
exec 9>>"$STORE/lock" || exit 1
if ! flock -n 9; then
  sleep 0.2 2>/dev/null || sleep 1
  if ! flock -n 9; then echo "$M locked $(cat "$STORE/holder" 2>/dev/null)"; exit 0; fi
fi
# What an apply has begun that is gone is let end, before anything is looked at under this lock.
at_rest "$STORE/work" 9>&-
printf '%s\n' "$HOLDER" >"$STORE/holder.new" && mv -f "$STORE/holder.new" "$STORE/holder" || exit 1
beats=0
echo 0 >"$STORE/beat"
(
  last=none
  while sleep "$SILENCE"; do
    read -r beat <"$STORE/beat" || beat=
    if [ "$beat" = "$last" ]; then kill -TERM $$; exit; fi
    last=$beat
  done
) 9>&- </dev/null >/dev/null 2>&1 &
watchdog=$!
trap 'rm -f "$STORE/holder" "$STORE/beat"; kill "$watchdog" 2>/dev/null' EXIT
trap 'exit 143' HUP INT TERM
journal=/dev/null
echo "$M held"
while IFS= read -r line; do
  case $line in
    +*) printf '%s\n' "${line#+}" >>"$journal" || exit 1 ;;
    j*) journal=$STORE/journal/${line#j}.jsonl ;;
  esac
  beats=$((beats + 1))
  echo "$beats" >"$STORE/beat"
done
[ "$journal" = /dev/null ] || sync "$journal" 2>/dev/null
echo "$M released"
"#;

const STATUS: &str = r#"
if [ -e "$STORE/lock" ]; then
  if ! (flock -s -n 9) 9<"$STORE/lock"; then say locked; cat "$STORE/holder" 2>/dev/null; fi
fi
"#;

/// One host's part of the lock.
#[derive(Debug)]
struct Held {
    host: String,
    session: Arc<Mutex<Session>>,
    lost: Arc<AtomicBool>,
    beat: JoinHandle<()>,
}

/// The lock on an environment's hosts. Dropping it lets go of it; `release` also waits until the
/// hosts have.
#[derive(Debug)]
pub struct HostLock {
    held: Vec<Held>,
    marker: String,
}

impl HostStore {
    /// Takes the lock on every host, in order, or on none.
    pub async fn lock(&self, holder: &Holder) -> Result<HostLock, StateError> {
        let marker = format!("@{}", fresh()?);
        let text = serde_json::to_string(holder).unwrap_or_default();
        let body = format!("HOLDER={}\nSILENCE={SILENCE_S}\n{BODY}", quote(&text));
        let script = self.script(&marker, &body);
        let mut lock = HostLock { held: Vec::new(), marker };
        for host in self.hosts() {
            match self.take(host, &script, &lock.marker).await {
                Ok(held) => lock.held.push(held),
                Err(error) => {
                    // What was taken is let go of whatever comes of it: the sessions end here.
                    let _ = lock.release().await;
                    return Err(error);
                }
            }
        }
        Ok(lock)
    }

    async fn take(&self, host: &Host, script: &str, marker: &str) -> Result<Held, StateError> {
        let place = host.name.clone();
        let mut session = self.world.hold(host, script).map_err(|blocked| {
            broken(&place, format!("could not be locked: {}", blocked.detail))
        })?;
        let wait = async {
            while let Some(line) = session.line().await {
                match line.strip_prefix(marker).map(str::trim) {
                    Some("held") => return Ok(()),
                    Some(said) => {
                        let holder = said.strip_prefix("locked").unwrap_or(said).trim();
                        return Err(StateError::Locked {
                            place: place.clone(),
                            holder: holder_name(holder),
                        });
                    }
                    None => {}
                }
            }
            let blocked = session.reason().await;
            let said = self.world.redact(&blocked.detail);
            Err(broken(&place, format!("could not be locked: {said}")))
        };
        match tokio::time::timeout(Duration::from_secs(30), wait).await {
            Ok(result) => result?,
            Err(_) => return Err(broken(&place, "could not be locked: no answer".to_owned())),
        }
        let session = Arc::new(Mutex::new(session));
        let lost = Arc::new(AtomicBool::new(false));
        let beat = tokio::spawn(beat(Arc::clone(&session), Arc::clone(&lost)));
        Ok(Held { host: host.name.clone(), session, lost, beat })
    }

    /// Who holds the lock on each host that answers; none where nobody does.
    pub async fn lock_status(&self) -> Result<BTreeMap<String, Option<String>>, StateError> {
        let answers = self.ask(STATUS).await?;
        let status = answers.into_iter().map(|(host, records)| {
            let holder = records.into_iter().next().map(|(_, text)| holder_name(&text));
            (host, holder)
        });
        Ok(status.collect())
    }
}

impl HostLock {
    /// Whether every session is still there, as far as is known.
    pub fn is_held(&self) -> bool {
        self.held.iter().all(|held| !held.lost.load(Ordering::Relaxed))
    }

    /// Chooses the release whose journal the next lines belong to.
    pub async fn open_journal(&self, number: u64) -> Result<(), StateError> {
        self.send(&format!("j{number:08}")).await
    }

    /// Adds a line to the journal on every host.
    pub async fn journal(&self, line: &str) -> Result<(), StateError> {
        self.send(&format!("+{}", line.replace(['\n', '\r'], " "))).await
    }

    async fn send(&self, line: &str) -> Result<(), StateError> {
        for held in &self.held {
            let mut session = held.session.lock().await;
            if held.lost.load(Ordering::Relaxed)
                || session.has_ended()
                || session.send(line).await.is_err()
            {
                held.lost.store(true, Ordering::Relaxed);
                let reason = session.reason().await.detail;
                let reason = if reason.is_empty() { "the session has ended" } else { &reason };
                return Err(broken(&held.host, format!("lost its lock: {reason}")));
            }
        }
        Ok(())
    }

    /// Lets go of the lock and waits until the hosts have; an error when one was lost before.
    pub async fn release(mut self) -> Result<(), StateError> {
        let mut result = Ok(());
        let end = format!("{} released", self.marker);
        for held in std::mem::take(&mut self.held) {
            held.beat.abort();
            let mut session: OwnedMutexGuard<Session> = held.session.lock_owned().await;
            let output = session.finish(Duration::from_secs(10)).await;
            if !String::from_utf8_lossy(&output.stdout).lines().any(|line| line == end) {
                let what = "lost its lock before it was released".to_owned();
                result = result.and(Err(broken(&held.host, what)));
            }
        }
        result
    }
}

impl Drop for HostLock {
    fn drop(&mut self) {
        for held in &self.held {
            // The task keeps the session alive.
            held.beat.abort();
        }
    }
}

/// Sends signs of life until the session ends.
async fn beat(session: Arc<Mutex<Session>>, lost: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(BEAT).await;
        let mut session = session.lock().await;
        if session.has_ended() || session.send(".").await.is_err() {
            lost.store(true, Ordering::Relaxed);
            return;
        }
    }
}
