//! Real hosts: probes them and performs effects on them, over SSH or a local shell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use crate::model::{Act, Blocked, BlockedReason, Effect, Failure, Host, Said, Sight, Site};

use super::layout::Layout;
use super::secrets::Secrets;
use super::transport::{Limits, Output, Reach, Session};
use super::{effects, inspect, probe, shell};

/// How many scripts of a kind run on one host at a time. `sshd` allows ten sessions on a
/// connection; the lock's session and another command of the operator's want some of them.
const AT_ONCE: usize = 4;
/// How long a probe may take.
const PROBE: Duration = Duration::from_secs(30);

/// What a script waits its turn for. Waiting for health takes long and costs little: it does not
/// keep others from their work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Work,
    Watch,
}

/// The locks of files, by host and path.
type FileLocks = BTreeMap<(String, String), Arc<tokio::sync::Mutex<()>>>;

/// The hosts of one environment.
#[derive(Debug)]
pub struct HostsWorld {
    layout: Layout,
    secrets: Option<Secrets>,
    reach: Reach,
    gates: Mutex<BTreeMap<(String, Turn), Arc<Semaphore>>>,
    /// One for each file of routes, by gateway and path: held while it is read, changed and written.
    routes: Mutex<FileLocks>,
}

impl HostsWorld {
    /// The hosts of an environment, with its secrets where they are known on this machine.
    pub fn new(site: &Site, secrets: Option<Secrets>) -> Self {
        Self {
            layout: Layout::from(site),
            secrets,
            reach: Reach::from_env(),
            gates: Mutex::default(),
            routes: Mutex::default(),
        }
    }

    /// The same with its files in another directory, for tests.
    pub fn with_directory(mut self, directory: impl Into<String>) -> Self {
        self.layout.directory = directory.into();
        self
    }

    /// The same with another way to reach hosts, for tests.
    pub fn with_reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Where the environment lives on its hosts.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How shells are opened: for terminals and streams.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// A text without the secrets that are known here.
    pub fn redact(&self, text: &str) -> String {
        match &self.secrets {
            Some(secrets) => secrets.redact(text),
            None => text.to_owned(),
        }
    }

    /// What is on a host.
    pub async fn probe(&self, host: &Host) -> Sight {
        match self.look(host).await {
            Ok(state) => Sight::Seen(Box::new(state)),
            Err(blocked) => Sight::Blocked(self.without_secrets(blocked)),
        }
    }

    async fn look(&self, host: &Host) -> Result<crate::model::HostState, Blocked> {
        let random = |bytes| {
            shell::random_hex(bytes).map_err(|error| Blocked {
                reason: BlockedReason::HalfAnswer,
                detail: format!("this machine gives no random bytes: {error}"),
            })
        };
        let marker = format!("@{}", random(16)?);
        let nonce = random(32)?;
        let question = probe::question(&self.layout, self.secrets.as_ref(), marker, &nonce);
        let output = self.run(host, &question.script, Limits::within(PROBE)).await?;
        inspect::read(&self.layout, &question, &output)
    }

    /// Performs an effect; what it had to say.
    pub async fn perform(
        &self,
        hosts: &BTreeMap<String, Host>,
        effect: &Effect,
    ) -> Result<Said, Failure> {
        let result = match &effect.act {
            Act::Route { route, renew, needed } => {
                self.route(hosts, effect, route, renew, *needed).await.map(|()| Said::new())
            }
            act => match effects::script(&self.layout, self.secrets.as_ref(), act) {
                Ok(script) => self.carry_out(hosts, effect, &script).await.map(|output| {
                    effects::said(act, &output).iter().map(|line| self.redact(line)).collect()
                }),
                Err(failure) => Err(failure),
            },
        };
        result.map_err(|failure| Failure {
            what: self.redact(&failure.what),
            detail: failure.detail.iter().map(|line| self.redact(line)).collect(),
            hint: failure.hint,
        })
    }

    /// Runs the script of an effect where it belongs.
    pub(super) async fn carry_out(
        &self,
        hosts: &BTreeMap<String, Host>,
        effect: &Effect,
        script: &str,
    ) -> Result<Output, Failure> {
        let host = reached(hosts, &effect.host)?;
        let takes_long = effects::is_watch(&effect.act) || matches!(effect.act, Act::Plugin { .. });
        let turn = if takes_long { Turn::Watch } else { Turn::Work };
        let _turn = self.turn(host, turn).await;
        let limits = Limits::within(effects::patience(&effect.act));
        match self.reach.run(host, script, limits).await {
            Ok(output) => effects::judge(effect, &output).map(|()| output),
            Err(blocked) => Err(effects::lost(effect, &blocked)),
        }
    }

    /// Runs a script on a host, when its turn has come.
    pub async fn run(&self, host: &Host, script: &str, limits: Limits) -> Result<Output, Blocked> {
        let _turn = self.turn(host, Turn::Work).await;
        self.reach.run(host, script, limits).await
    }

    /// Starts a script on a host to which lines can be sent. It does not count as one at work.
    pub fn hold(&self, host: &Host, script: &str) -> Result<Session, Blocked> {
        self.reach.hold(host, script)
    }

    async fn turn(&self, host: &Host, turn: Turn) -> Option<OwnedSemaphorePermit> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            let gate = gates.entry((host.name.clone(), turn));
            Arc::clone(gate.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
        };
        gate.acquire_owned().await.ok()
    }

    /// Waits until nobody else is about to change a file of routes.
    pub(super) async fn alone_with(&self, gateway: &str, path: &str) -> OwnedMutexGuard<()> {
        let file = {
            let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(routes.entry((gateway.to_owned(), path.to_owned())).or_default())
        };
        file.lock_owned().await
    }

    fn without_secrets(&self, blocked: Blocked) -> Blocked {
        Blocked { reason: blocked.reason, detail: self.redact(&blocked.detail) }
    }
}

/// How a host is reached.
pub(super) fn reached<'a>(
    hosts: &'a BTreeMap<String, Host>,
    name: &str,
) -> Result<&'a Host, Failure> {
    hosts.get(name).ok_or_else(|| {
        Failure::new(format!("nothing says how to reach {name}"))
            .hint("name the host in stagecraft.yml again, or clean it up by hand")
    })
}
